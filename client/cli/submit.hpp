#pragma once
// `jobyard submit`, shared by its two ways: one job from the command line, many from a file.

#include <cstdint>
#include <string>
#include <vector>

#include "verbs.hpp"

namespace jobyard::cli {

struct SubmitOptions {
    std::string queue = "default";
    std::string type;
    std::string payload;  ///< a file, or "-"
    int priority = kDefaultPriority;
    std::string delay;
    std::string at;
    std::string timeout;
    std::string deadline;
    std::string queue_timeout;
    bool hold = false;
    std::string key;
    std::string key_for;
    std::optional<std::uint32_t> max_attempts;
    std::string backoff_initial;
    std::optional<std::uint32_t> backoff_factor;
    std::string backoff_max;
    std::optional<std::uint32_t> backoff_jitter;
    std::vector<std::string> env;
    std::string cwd;
    std::string batch;  ///< a file, or "-"
    std::string array;  ///< FIRST-LAST[:STEP][%N]
    std::string array_name;
    bool wait = false;
};

/// Submits each line of the file; what a line does not say is taken from the options.
int submit_batch(const Globals& globals, const SubmitOptions& options);

/// What the options say about any job: all but its type, payload and key.
JobSpec common_spec(const SubmitOptions& options);
/// The bytes of a file, or of standard input for "-".
Result<std::string> read_all(const std::string& name);
/// False if it is not of the form K=V.
bool add_environment(std::map<std::string, std::string>& environment, const std::string& assignment);

}  // namespace jobyard::cli
