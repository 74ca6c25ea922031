#include "settings.hpp"

namespace jobyard::cli {
program::Table table_of(Settings& settings) {
    program::Table table{
        "jobyard", "JOBYARD_", {"/etc/jobyard/client.toml", "$XDG_CONFIG_HOME/jobyard/client.toml"}, {}};
    table.settings = {
        {.key = "broker",
         .flag = "--broker",
         .field = &settings.broker,
         .takes = "ENDPOINT",
         .text = "Where the broker is: ipc://PATH or tcp://HOST:PORT",
         .unset = "the broker of this user on this machine",
         .example = {"ipc:///run/jobyard/broker"}},
        {.key = "server_key",
         .flag = "--server-key",
         .field = &settings.server_key,
         .takes = "KEY",
         .text = "The broker's public key, over tcp: the 40 characters, or the file that has them",
         .unset = "a broker without keys",
         .example = {"/etc/jobyard/broker"}},
        {.key = "key_file",
         .flag = "--key-file",
         .field = &settings.key_file,
         .takes = "FILE",
         .text = "The secret key to come with (jobyard keygen makes keys)",
         .unset = "none",
         .example = {"/home/ann/.config/jobyard/ann_secret"}},
        {.key = "time_limit",
         .flag = "--time-limit",
         .field = &settings.time_limit,
         .unit = program::Unit::milliseconds,
         .alone = std::chrono::seconds(1),
         .max = static_cast<std::uint64_t>(std::chrono::milliseconds(std::chrono::days(3650)).count()),
         .text = "How long to try before giving up; waiting for jobs to end is limited by the flag alone"},
    };
    return table;
}

}  // namespace jobyard::cli
