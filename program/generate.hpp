#pragma once
// How man pages, references and default files are made: every program has a hidden option --generate DIR, which writes
// what follows from its own tables and ends the program.

#include <CLI/CLI.hpp>

#include <map>
#include <string>

#include "program/settings.hpp"

namespace jobyard::program {

/// It writes DIR/man/NAME.SECTION; with a table also DIR/settings/NAME.md, a chapter of docs/CONFIGURATION.md, and
/// DIR/settings/NAME.toml, the commented configuration file. The table must outlive the parsing; it may be null.
/// `more` are further files of DIR/settings, by name, with their text.
void add_generate(CLI::App& app, int section, const Table* table, const std::map<std::string, std::string>& more = {});

}  // namespace jobyard::program
