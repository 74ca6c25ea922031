#pragma once
// The command line as a value: complete, consistent, and nothing done about it yet.

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "limits.hpp"

namespace jobyard::broker {

/// Why the process ended. Shown by --help; numbers are never reused.
enum class Exit : int {
    ok = 0,
    unexpected = 1,
    usage = 2,
    data_directory = 3,
    in_use = 4,
    bind = 5,
    disk = 6,
};

struct Config {
    std::string data;
    std::vector<std::string> listen;
    std::optional<gid_t> group;  ///< whose members may use the ipc sockets
    bool insecure = false;
    std::string log_level = "info";
    std::string log_file;  ///< empty: standard error
    std::uint64_t map_bytes = std::uint64_t{64} << 30;
    int ready_fd = -1;  ///< -1: nobody waits for it
    Timing timing;
    Limits limits;
};

/// The configuration; or, once help, the version or what is wrong has been printed, the exit to take.
std::variant<Config, Exit> read_command_line(int argc, const char* const* argv);

}  // namespace jobyard::broker
