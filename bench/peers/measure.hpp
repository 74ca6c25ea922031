#pragma once
// One measurement of one system: its server fresh, two workers and one submitter, each a process.

#include <string>

#include "../report.hpp"
#include "peer.hpp"

namespace jobyard::bench {

/// {"submit_jobs_per_s", "end_to_end_jobs_per_s", "latency_us": {...}, "cpu": {...}}. Throws std::runtime_error with
/// the reason if it cannot be measured. `directory`: where to make the temporary one.
Json measure(const Variant& variant, const std::string& directory);

}  // namespace jobyard::bench
