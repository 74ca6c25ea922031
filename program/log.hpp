#pragma once
// The log of a program that runs for long: to standard error or a file, written by a thread of its own, which drops the
// oldest lines rather than making anybody wait for whoever reads them. spdlog's default logger is what it sets up.

#include <string>
#include <vector>

#include "program/settings.hpp"

namespace jobyard::program {

struct LogOptions {
    std::string name;
    std::string pattern;
    std::string level = "info";       ///< trace, debug, info, warn, error
    std::string flush_from = "warn";  ///< lines of this level and above are written out at once
    std::string file = {};            ///< is appended to; empty: standard error
};

/// Once. Error: the file cannot be opened.
Result<void> open_log(const LogOptions& options);

/// Opens the file anew, after somebody has moved it away, or another one. Error: the log goes on where it was.
Result<void> reopen_log(const LogOptions& options);

/// A line for each setting, reloaded or needs a restart, at whatever level the log is; then the level is `level`.
void log_changes(const std::vector<Change>& changes, const std::string& level);

/// Writes out what is left. Whoever reads it may have stopped reading: it takes a moment at most. False if that was
/// not enough; the process is to end by std::_Exit then.
[[nodiscard]] bool close_log();

}  // namespace jobyard::program
