#pragma once
// Manual pages from the same tree of commands that --help is printed from.

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "program/settings.hpp"

namespace jobyard::program {

struct ManPage {
    std::string file;  ///< "jobyard-list.1"
    std::string text;  ///< roff
};

/// The page of the program and one for each of its verbs; what is below a verb stands on the verb's page. `table`, or
/// null, is what the program can be set with.
std::vector<ManPage> man_pages(const CLI::App& app, int section, const Table* table);

}  // namespace jobyard::program
