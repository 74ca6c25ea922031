#pragma once
// A configuration file. The only file that includes toml++ is toml_file.cpp.

#include <functional>
#include <string>
#include <vector>

#include "program/settings.hpp"

namespace jobyard::program {

/// A file of Table::files where it is for this user: $XDG_CONFIG_HOME at its beginning is that variable, else
/// ~/.config.
std::string expanded(const std::string& file);

/// Assigns what the file says. The error names file, line, what is wrong and what was expected.
Result<void> read_toml_file(Table& table, const std::string& path);

/// Sections of which the user gives the names: [keys.NAME] are of the kind "keys". A kind without names is one section.
struct SectionKind {
    std::string kind;
    bool has_names = true;
    /// The settings of the section of that name; they point to where its values go.
    std::function<Table(const std::string& name)> settings;
    /// All of it has been read; `from` is its place in the file, for errors.
    std::function<Result<void>(const std::string& from)> done;
};
/// Reads a file of nothing but such sections, each kind in the order of the file.
Result<void> read_sections(const std::string& path, const std::vector<SectionKind>& kinds);

}  // namespace jobyard::program
