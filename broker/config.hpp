#pragma once
// What the broker is told, as a value: complete, consistent, and nothing done about it yet. `settings()` is the table
// that flags, environment, file, checks and reference are made from.

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "access.hpp"
#include "jobyard/result.hpp"
#include "limits.hpp"
#include "peer/keys.hpp"
#include "program/settings.hpp"

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
    std::string group_name;      ///< whose members may use the ipc sockets; empty: nobody else
    std::optional<gid_t> group;  ///< its number
    bool insecure = false;
    std::string key_file;     ///< of the secret key that tcp endpoints have; empty: none
    std::string access_file;  ///< who may connect, and what each may do; empty: everybody, everything
    std::string log_level = "info";
    std::string log_file;  ///< empty: standard error
    std::uint64_t map_bytes = std::uint64_t{64} << 30;
    int ready_fd = -1;  ///< -1: nobody waits for it
    Timing timing;
    Limits limits;
    std::vector<std::string> notes;  ///< odd, but no error: for the log

    // What the files say that the settings name:
    struct Listen {
        std::string address;  ///< of `listen`, without its key
        std::optional<KeyPair> key;
    };
    std::vector<Listen> endpoints;
    std::shared_ptr<const Access> access;  ///< null: none
};

/// The parts of an endpoint "tcp://ADDRESS:PORT?key=FILE".
struct WrittenEndpoint {
    std::string address;
    std::string key_file;  ///< empty: the one of all
};
WrittenEndpoint split_endpoint(const std::string& listen);

/// Reads the key files and the access file that the settings name.
Result<void> read_key_files(Config& config);

/// Every setting, pointing into `config`, which must outlive the table.
program::Table settings(Config& config);

/// What no single setting can tell.
Result<void> check(const Config& config);

/// The configuration; or, once help, the version, the effective settings or what is wrong has been printed, the exit to
/// take.
std::variant<Config, Exit> read_command_line(int argc, const char* const* argv);

/// Reads all sources again and takes over into `running` what can change while the broker runs. An error, which says
/// what is wrong, changes nothing.
Result<std::vector<program::Change>> reread(Config& running, int argc, const char* const* argv);

}  // namespace jobyard::broker
