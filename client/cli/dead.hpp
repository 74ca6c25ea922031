#pragma once
// Verbs of `jobyard dead` that have a file of their own.

#include "verbs.hpp"

namespace jobyard::cli {

void add_dead_edit(CLI::App& dead, Globals& globals);

}  // namespace jobyard::cli
