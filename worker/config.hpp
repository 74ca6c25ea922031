#pragma once
// What jobyard-worker is told, as a value. `settings()` is the table that flags, environment, file, checks and
// reference are made from.

#include <chrono>
#include <string>
#include <variant>
#include <vector>

#include "jobyard/result.hpp"
#include "jobyard/worker.hpp"
#include "program/settings.hpp"

namespace jobyard::worker {

/// Why the process ended. Shown by --help; numbers are never reused.
enum class Exit : int { drained = 0, unexpected = 1, usage = 2, refused = 3, stuck = 4 };

struct Config {
    WorkerOptions worker;
    bool allow_commands = false;
    std::chrono::milliseconds kill_grace{10'000};
    std::string log_level = "info";
    std::string log_file;            ///< empty: standard error
    std::vector<std::string> notes;  ///< odd, but no error: for the log
};

/// Every setting, pointing into `config`, which must outlive the table.
program::Table settings(Config& config);

/// What no single setting can tell.
Result<void> check(const Config& config);

/// The configuration; or, once help, the version, the effective settings or what is wrong has been printed, the exit to
/// take.
std::variant<Config, Exit> read_command_line(int argc, const char* const* argv);

/// Reads all sources again and takes over into `running` what can change while the worker runs. An error, which says
/// what is wrong, changes nothing.
Result<std::vector<program::Change>> reread(Config& running, int argc, const char* const* argv);

}  // namespace jobyard::worker
