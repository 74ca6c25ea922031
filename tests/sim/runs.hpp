#pragma once
// Runs in processes of their own, many at a time: so an assertion, a signal, or a run without end is a broken promise
// like any other, with a seed.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cluster.hpp"

namespace jobyard::sim {

struct Apart {
    std::optional<Broken> broken;
    std::uint64_t events = 0;        ///< 0: the process ended before it could say
    std::vector<std::string> story;  ///< if it was asked for
};
Apart run_apart(const RunOptions& options, bool with_story);

struct Many {
    RunOptions each;  ///< but for the seed
    std::uint64_t first = 1;
    std::uint64_t seeds = 0;  ///< 0: no limit
    double seconds = 0;       ///< of real time; 0: no limit
    unsigned processes = 1;
    std::uint64_t failures = UINT64_MAX;  ///< enough of them
};
struct Sum {
    std::uint64_t seeds = 0;
    std::uint64_t events = 0;
    std::int64_t simulated_us = 0;
    Counts counts;
    std::vector<std::pair<std::uint64_t, Broken>> broken;  ///< by seed
};
/// `progress` is called a few times a second.
Sum run_many(const Many& many, const std::function<void(const Sum&)>& progress);

}  // namespace jobyard::sim
