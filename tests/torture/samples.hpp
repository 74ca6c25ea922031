#pragma once
// What a soak run sees of its broker every few seconds, and what its clients saw in between. Pure.

#include <cstdint>
#include <string>
#include <vector>

#include "history.hpp"

namespace jobyard::torture {

struct Sample {
    std::int64_t us = 0;  ///< when, on the record's clock; what clients saw is of the time since the one before
    int life = 0;         ///< the broker's process
    std::uint64_t memory_bytes = 0;  ///< of its own, without mapped files (RssAnon)
    std::uint64_t descriptors = 0;
    std::uint64_t store_bytes = 0;       ///< data.mdb, as large as it has become
    std::uint64_t store_used_bytes = 0;  ///< up to its last page in use
    std::uint64_t log_bytes = 0;         ///< the commit log's files

    bool disturbed = false;  ///< a fault was under way, or had ended a short time before
    std::uint64_t answers = 0;
    std::uint64_t p50_us = 0;  ///< from the call of submit to its answer, as the client's own clock has it
    std::uint64_t p99_us = 0;
    double jobs_per_s = 0;  ///< whose results clients were told
};

/// Where a fault begins and ends.
struct Disturbance {
    std::int64_t began = 0;
    std::int64_t ended = 0;
    std::string kind = {};
};
std::vector<Disturbance> disturbances(const std::vector<Entry>& history);

/// Puts into the samples what the record has. A sample is disturbed if a fault touches its time, or the `settle` after
/// that fault.
void add_what_clients_saw(std::vector<Sample>& samples, const std::vector<Entry>& history, std::int64_t settle_us);

}  // namespace jobyard::torture
