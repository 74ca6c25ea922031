#pragma once
// The settings of a table as options of a command line.

#include <CLI/CLI.hpp>

#include <map>
#include <string>
#include <vector>

#include "program/settings.hpp"

namespace jobyard::program {

/// Adds an option for each setting, and --config. What was given is assigned only afterwards: flags
/// weigh more than the file that one of them names.
class Flags {
 public:
    Flags(CLI::App& app, const Table& table);
    Flags(const Flags&) = delete;
    Flags& operator=(const Flags&) = delete;

    /// After app.parse(): file, environment and flags into the table, which is of the same program.
    Result<void> read_all(Table& table, std::vector<std::string>& notes) const;

 private:
    Result<void> assign_named(Table& table, const std::string& flag, const std::string& assignment) const;

    std::map<std::string, std::vector<std::string>> given_;  // by flag, as words
    std::string config_;
};

/// For --help: the settings of the shared flag with their defaults, a line each.
std::string named_settings(const Table& table, const std::string& flag);

}  // namespace jobyard::program
