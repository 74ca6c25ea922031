#pragma once
// A run that fails is made small: faults and features off, fewer clients, workers and jobs, shorter, as long as the
// same promise is broken; then what is left of its story is cut to what concerns the job, or the process, that it is
// about.

#include <string>
#include <vector>

#include "cluster.hpp"

namespace jobyard::sim {

struct Shrunk {
    RunOptions options;
    Broken broken;
    std::vector<std::string> story;  ///< cut
    std::size_t lines = 0;           ///< of the whole story
    std::uint64_t tried = 0;         ///< runs
};
/// `options` fails with `broken`. Tries about so many runs at most.
Shrunk shrink(const RunOptions& options, const Broken& broken, std::uint64_t tries);

/// The lines that tell what happened to what `broken` is about.
std::vector<std::string> cut(const std::vector<std::string>& story, const Broken& broken);

}  // namespace jobyard::sim
