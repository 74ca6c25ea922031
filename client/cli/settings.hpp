#pragma once
// What the `jobyard` command can be set with beside its flags: the client's table of settings.

#include <chrono>
#include <string>

#include "jobyard/client.hpp"
#include "program/settings.hpp"

namespace jobyard::cli {

struct Settings {
    std::string broker;
    std::string server_key;
    std::string key_file;
    std::chrono::milliseconds time_limit = kDefaultTimeLimit;
};

/// Every setting, pointing into `settings`, which must outlive the table. A user's own file wins over the system's.
program::Table table_of(Settings& settings);

}  // namespace jobyard::cli
