#pragma once

#include <string>

namespace jobyard::bench {

struct LatencyOptions {
    unsigned jobs = 5'000;
    unsigned payload = 100;
    unsigned workers = 2;
    std::string directory = {};
    bool json = false;
};

/// Prints a table, or one JSON object. Throws std::runtime_error if a job does not complete.
void run_latency(const LatencyOptions& options);

}  // namespace jobyard::bench
