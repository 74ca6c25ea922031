#pragma once

#include <string>

namespace jobyard::bench {

struct LatencyOptions {
    unsigned jobs = 0;  ///< 0: 5,000 one at a time (500 with pauses); `seconds` of an offered rate
    unsigned payload = 100;
    unsigned workers = 2;
    unsigned slots = 1;
    unsigned credit = 1024;
    unsigned pause_ms = 0;
    std::string rate = {};  ///< jobs a second, or "half" of what is measured first; empty: one job at a time
    double seconds = 5;
    std::string directory = {};
    std::string broker = {};  ///< empty: one of its own
    bool against_limits = false;
    bool json = false;
};

/// Prints a table, or one JSON object. Throws std::runtime_error if a job does not complete.
void run_latency(const LatencyOptions& options);

}  // namespace jobyard::bench
