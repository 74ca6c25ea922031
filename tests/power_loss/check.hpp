#pragma once
// Opens what a power loss left, with the code a broker starts with, and holds it against what had been told.

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "told.hpp"

namespace jobyard::power_loss {

/// What must be so at a point.
struct Expected {
    Told told;
    /// Jobs that had ended by the end of the trace: retention may have removed them, but never so many that fewer than
    /// `kept_jobs` ended ones are left.
    const std::set<JobId>* may_be_retired = nullptr;
    std::uint64_t kept_jobs = 0;
    /// Backups that were said to be made, with the jobs that had been told when each began.
    std::map<std::string, std::set<JobId>> backups;
};

/// Below `directory` are data/ and the backups. What is wrong, in a sentence; nothing if all is as it should be.
std::optional<std::string> check(const std::string& directory, const Expected& expected);

/// How many of the jobs that were told are no longer in the store at `path`.
std::uint64_t count_gone(const std::string& path, const Told& told);

}  // namespace jobyard::power_loss
