#pragma once

#include <string>

namespace jobyard::bench {

struct ThroughputOptions {
    unsigned jobs = 200'000;
    unsigned payload = 100;
    unsigned workers = 2;
    unsigned slots = 1;
    unsigned credit = 1024;
    unsigned kept_jobs = 10'000;  ///< few, so that retention removes as much as is added and its cost is counted
    std::string directory = {};
    bool json = false;
};

/// Prints a table, or one JSON object. Throws std::runtime_error if the run is not what it claims to measure.
void run_throughput(const ThroughputOptions& options);

}  // namespace jobyard::bench
