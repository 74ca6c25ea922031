#pragma once
// What can be read off a tree of commands (CLI::App): for man pages and completion, which must know every verb that
// anybody adds without being told of it.

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace jobyard::program {

enum class Takes : std::uint8_t { nothing, word, choice, file, directory };

struct OptionInfo {
    std::vector<std::string> names;  ///< "-h", "--help"; none for a positional
    std::string value;               ///< "FILE"; of a positional its name
    Takes takes = Takes::nothing;
    std::vector<std::string> choices;  ///< what may stand there, if that is known
    std::string text;                  ///< on one line
    bool required = false;
    bool repeated = false;
};

/// In the order they were added, without the hidden.
std::vector<OptionInfo> options_of(const CLI::App& app);
std::vector<const CLI::App*> verbs_of(const CLI::App& app);

/// A text that was broken for --help, on one line.
std::string on_one_line(const std::string& text);

/// "jobyard dead list".
std::string full_name(const CLI::App& app);

}  // namespace jobyard::program
