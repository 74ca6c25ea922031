#pragma once
// What a program says to a command line that it cannot read.

#include <CLI/CLI.hpp>

#include <string>

namespace jobyard::program {

/// What is wrong with it, the nearest name where it may be a slip, and where to read on: "there is no option --quue;
/// the nearest is --queue; see jobyard list --help". For errors of app.parse() that are no --help or --version.
std::string wrong_usage(const CLI::App& app, const CLI::ParseError& error);

/// The first part of it, for a program that says more about words that it did not expect.
std::string no_such_option(const CLI::App& verb, const std::string& given);

/// When all options are there: a number is digits and nothing else. CLI11 alone takes "-1" for 2^64 - 1, and "010" for
/// 8.
void check_numbers(CLI::App& app);

}  // namespace jobyard::program
