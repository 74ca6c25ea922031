#pragma once
// One run: a cluster made from a seed, faults for a while, then calm, in which everything must end. Same options, same
// run, event for event.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "simulated.hpp"
#include "model.hpp"
#include "world.hpp"

namespace jobyard::sim {

struct RunOptions {
    std::uint64_t seed = 1;
    std::int64_t fault_seconds = 0;  ///< 0: as the seed says
    broker::PlantedBug bug = broker::PlantedBug::none;
    World::Listener listener = {};  ///< to read the story
};

struct Report {
    std::uint64_t seed = 0;
    std::optional<Broken> broken;
    std::uint64_t hash = 0;  ///< of all that travelled, and when
    std::uint64_t events = 0;
    std::int64_t simulated_us = 0;
    std::map<std::string, std::uint64_t> faults;  ///< how many of each kind
    Totals totals;
};

Report run(const RunOptions& options);
/// The last lines of the story of a run that is known to fail.
std::vector<std::string> last_of_story(RunOptions options, std::size_t lines);
/// If an assertion ends the process, it says in which seed.
void name_seed_on_abort();

}  // namespace jobyard::sim
