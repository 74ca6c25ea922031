#pragma once
// What is done to many jobs: the filters of cancel, redrive and purge, and how a task is followed to its end.

#include <cstdint>
#include <string>
#include <variant>

#include "verbs.hpp"

namespace jobyard::cli {

struct TaskOptions {
    std::string queue;
    std::string type;
    std::string older;
    std::string newer;
    bool dry_run = false;

    /// --queue, --type, --older, --newer, --dry-run.
    void add_to(CLI::App& verb);
    /// Whether one of them was given.
    [[nodiscard]] bool used() const;
    [[nodiscard]] TaskSpec spec(TaskAction action) const;
};

/// Begins the task, shows how far it is, and tells what came of it.
int run_task(const Globals& globals, const TaskSpec& spec, const TaskOptions& options);
/// The same with a client that is there already: how many jobs it was, or the exit code for what went wrong.
std::variant<std::uint64_t, int> follow_task(const Globals& globals, Client& client, const TaskSpec& spec);

}  // namespace jobyard::cli
