#pragma once
// What people read about a table of settings, made from it: the reference and the commented configuration file.

#include <string>

#include "program/settings.hpp"

namespace jobyard::program {

/// The program's chapter of docs/CONFIGURATION.md.
std::string reference_markdown(const Table& table);

/// The settings of a section that a file may have many times, as a chapter below that.
std::string section_markdown(const Table& table);

/// Every setting with its meaning, commented out. Without the first # of a line that holds a setting it sets what is
/// the default anyway, or an example where there is none.
std::string commented_file(const Table& table);

}  // namespace jobyard::program
