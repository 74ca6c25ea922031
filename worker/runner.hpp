#pragma once
// Runs commands: jobs of the type `command`, as PROTOCOL.md, "Commands", has them. A command runs in a process group of
// its own; when run_command returns, no process of that group is left.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jobyard/ids.hpp"
#include "jobyard/result.hpp"
#include "jobyard/worker.hpp"
#include "keeper.hpp"

namespace jobyard::worker {

inline constexpr std::string_view kCommandType = "command";
inline constexpr std::size_t kStdoutKept = std::size_t{256} << 10;  ///< of its beginning
inline constexpr std::size_t kStderrKept = std::size_t{64} << 10;   ///< of its end

struct Command {
    std::vector<std::string> argv;                         ///< not empty
    std::vector<std::pair<std::string, std::string>> env;  ///< added to the worker's
    std::optional<std::string> cwd;
    std::string input;  ///< its standard input
};

/// Reads a job's payload. The error says what is wrong with it; it will be as wrong the next time.
Result<Command> decode_command(std::string_view payload);

/// Which attempt a command is; told to it as JOBYARD_JOB_ID, JOBYARD_ATTEMPT and JOBYARD_LEASE_TOKEN, and to one of an
/// array as JOBYARD_ARRAY_ID and JOBYARD_ARRAY_INDEX.
struct AttemptName {
    JobId job;
    std::uint32_t attempt = 1;
    LeaseToken token;
    JobId array = {};  ///< 0: of none
    std::uint64_t array_index = 0;
};

/// Runs `command` until it has ended, or `cancel_fd` is readable: then its group gets SIGTERM and, `kill_grace` later,
/// SIGKILL. Success is exit status 0; everything else is a Failure that says what happened. In any thread.
HandlerResult run_command(const Command& command, const AttemptName& name, const Keeper& keeper, int cancel_fd,
                          std::chrono::milliseconds kill_grace);

}  // namespace jobyard::worker
