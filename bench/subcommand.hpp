#pragma once
// One question jobyard-bench answers: what main() needs to offer it and to run it.

#include <functional>

namespace CLI {
class App;
}

namespace jobyard::bench {

struct Subcommand {
    CLI::App* app = nullptr;
    /// Prints the answer. Throws std::exception if there is none.
    std::function<void()> run;
};

Subcommand add_worker(CLI::App& app);  // not for people: how this program starts its workers
Subcommand add_flood(CLI::App& app);   // nor this: how it starts the greedy client of `greedy`
Subcommand add_backlog(CLI::App& app);
Subcommand add_cost(CLI::App& app);
Subcommand add_fanout(CLI::App& app);
Subcommand add_priority(CLI::App& app);
Subcommand add_failover(CLI::App& app);
Subcommand add_greedy(CLI::App& app);

}  // namespace jobyard::bench
