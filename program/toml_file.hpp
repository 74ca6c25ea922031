#pragma once
// A configuration file. The only file that includes toml++ is toml_file.cpp.

#include <string>

#include "program/settings.hpp"

namespace jobyard::program {

/// A file of Table::files where it is for this user: $XDG_CONFIG_HOME at its beginning is that variable, else
/// ~/.config.
std::string expanded(const std::string& file);

/// Assigns what the file says. The error names file, line, what is wrong and what was expected.
Result<void> read_toml_file(Table& table, const std::string& path);

}  // namespace jobyard::program
