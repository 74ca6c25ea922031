#pragma once
// Completion scripts for shells, from the same tree of commands that --help is printed from. A script knows all verbs,
// options and fixed values by itself; completing starts no program.

#include <CLI/CLI.hpp>

#include <string>

namespace jobyard::program {

enum class Shell : std::uint8_t { bash, zsh, fish };

/// After the word "--" a command of the system is completed, as `jobyard submit` takes it.
std::string completion_script(const CLI::App& app, Shell shell);

}  // namespace jobyard::program
