#pragma once
// Options that several subcommands have, so that they are read and refused alike everywhere.

#include <CLI/CLI.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace jobyard::bench {

inline constexpr std::size_t kMaxPayload = std::size_t{256} << 10;
inline constexpr unsigned kMaxCredit = 1024;
inline constexpr std::size_t kMaxJobs = 100'000'000;

/// A number, or a list of numbers with commas between them.
template <class T>
CLI::Option* add_count(CLI::App& command, const std::string& name, T& value, const std::string& what,
                       std::size_t least = 1, std::size_t most = kMaxJobs) {
    return command.add_option(name, value, what)->delimiter(',')->check(CLI::Range(least, most))->capture_default_str();
}

/// One, or a list of them; "4KiB" is one too.
template <class T>
CLI::Option* add_payload(CLI::App& command, T& value, const std::string& what, std::size_t least = 0) {
    return command.add_option("--payload", value, what)
        ->delimiter(',')
        ->transform(CLI::AsSizeValue(false))
        ->check(CLI::Range(least, kMaxPayload))
        ->capture_default_str();
}

inline void add_directory(CLI::App& command, std::string& directory) {
    command.add_option("--directory", directory, "where temporary directories are made [$TMPDIR or /tmp]")
        ->check(CLI::ExistingDirectory);
}

inline void add_json(CLI::App& command, bool& json) { command.add_flag("--json", json, "one JSON object"); }

}  // namespace jobyard::bench
