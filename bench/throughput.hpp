#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace jobyard::bench {

struct ThroughputOptions {
    unsigned jobs = 0;  ///< 0: 200,000, fewer for payloads beyond 8 KiB
    std::vector<std::size_t> payloads = {100};
    std::vector<unsigned> clients = {1};
    std::vector<unsigned> workers = {2};
    std::vector<unsigned> batches = {1};
    unsigned slots = 1;
    unsigned credit = 1024;
    unsigned kept_jobs = 10'000;  ///< few, so that retention removes as much as is added and its cost is counted
    std::string directory = {};
    std::string broker = {};  ///< empty: one of its own
    bool against_limits = false;
    bool brief = false;  ///< neither the run without workers nor the row without prefetch
    bool json = false;
};

/// Prints a table, or one JSON object. Throws std::runtime_error if the run is not what it claims to measure.
void run_throughput(const ThroughputOptions& options);

}  // namespace jobyard::bench
