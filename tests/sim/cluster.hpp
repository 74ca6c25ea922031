#pragma once
// One run: a cluster made from a seed, faults for a while, then calm, in which everything must end. Same options, same
// run, event for event.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coverage.hpp"
#include "plan.hpp"
#include "simulated.hpp"
#include "world.hpp"

namespace jobyard::sim {

struct RunOptions {
    std::uint64_t seed = 1;
    std::uint64_t turn = 0;                                           ///< another run of the same plan
    std::vector<std::pair<const Knob*, std::int64_t>> settings = {};  ///< in place of what the seed says
    broker::PlantedBug bug = broker::PlantedBug::none;
    World::Listener listener = {};  ///< to read the story
};

struct Report {
    std::uint64_t seed = 0;
    std::optional<Broken> broken;
    std::uint64_t hash = 0;  ///< of all that travelled, and when
    std::uint64_t events = 0;
    std::int64_t simulated_us = 0;
    Counts counts;  ///< of faults, of what became of jobs, and of what was reached
};

/// The plan that it will follow.
Plan plan_of(const RunOptions& options);
Report run(const RunOptions& options);

}  // namespace jobyard::sim
