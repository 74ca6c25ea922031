#pragma once
// What an operator may set, as one table for each program. All else is derived from the table: the flags with their
// help, the names in the environment, the keys of the configuration file, the checks, what a reload may change, and the
// reference in docs/CONFIGURATION.md.
//
// A setting points to its field in the program's own Config, whose initial value is the default. Sources are read in
// the order of their weight, each over the one before: file, environment, flags.

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "jobyard/result.hpp"

namespace jobyard::program {

/// Where the value goes; says what kind of value it is.
using Field = std::variant<std::string*, bool*, std::vector<std::string>*, std::uint32_t*, std::uint64_t*,
                           std::chrono::milliseconds*>;

/// What a number counts.
enum class Unit : std::uint8_t { things, bytes, milliseconds };

inline constexpr std::uint64_t kNoMax = UINT64_MAX;

struct Setting {
    std::string key = {};   ///< in the file: "log.level" is `level` in the section [log]
    std::string flag = {};  ///< "--log-level"
    bool named = false;     ///< the flag is shared: "--limit NAME=VALUE", NAME being the last part of the key
    Field field = {};
    std::string takes = {};  ///< in help, what stands for the value: "DIR"; empty: by its kind
    Unit unit = Unit::things;
    std::chrono::milliseconds alone{1};     ///< of a duration: what a number without a unit counts
    std::uint64_t min = 0;                  ///< of a number
    std::uint64_t max = kNoMax;             ///< of a number
    std::vector<std::string> choices = {};  ///< of a text: nothing but these
    std::string text = {};                  ///< one line for people
    std::string unset = {};                 ///< what the initial value means, if that does not show: "standard error"
    std::vector<std::string> example = {};  ///< for the commented file, if the initial value is no good there
    bool required = false;                  ///< there is no default
    bool reloadable = false;                ///< SIGHUP changes it in a running program
    std::string variable = {};              ///< in the environment; empty: the program's prefix and the key
    std::string from = "default";           ///< which source its value is from
};

struct Table {
    std::string program;             ///< "jobyard-broker"
    std::string prefix;              ///< of its names in the environment: "JOBYARD_BROKER_"
    std::vector<std::string> files;  ///< where its configuration file is, if nothing says so; later ones win
    std::vector<Setting> settings;
};

/// Takes the words as the setting's value: one, for a list any number. Error: what was expected.
Result<void> assign(Setting& setting, const std::vector<std::string>& words, std::string from);

/// The value as words that assign() takes.
std::vector<std::string> words_of(const Setting& setting);
/// The value for people: "64G", "a, b"; what an empty one means in brackets.
std::string value_text(const Setting& setting);
/// "a duration such as 5s or 250ms, from 1ms to 1d".
std::string expected(const Setting& setting);
/// The same for a table: "duration, 1ms to 1d; a plain number is ms".
std::string accepted(const Setting& setting);

/// "JOBYARD_BROKER_LOG_LEVEL".
std::string variable_of(const Table& table, const Setting& setting);
/// As on the command line: "--log-level", "--limit queue_jobs=".
std::string flag_of(const Setting& setting);
/// In help: "DIR", "BYTES", "a|b|c"; nothing for a flag that is set by being there.
std::string placeholder(const Setting& setting);
/// The setting whose key that is, or null.
Setting* find(Table& table, std::string_view key);

/// Reads the configuration file: `given` if not empty, else the file that $PREFIX_CONFIG names, else those of
/// `table.files` that exist. Then the environment. `notes` gets what is odd but no error.
Result<void> read_files_and_environment(Table& table, const std::string& given, std::vector<std::string>& notes);

/// Whether all that is required is there.
Result<void> check_required(const Table& table);

/// Each setting with its value and where that is from, a line each.
std::string effective(const Table& table);

struct Change {
    std::string key;
    std::string before;
    std::string after;
    bool reloadable = false;
};
/// What differs in `fresh`; `running`, of the same program, takes over what can change while it runs.
std::vector<Change> take_changes(Table& running, const Table& fresh);

}  // namespace jobyard::program
