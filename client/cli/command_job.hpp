#pragma once
// Jobs of type `command`, which jobyard-worker runs: PROTOCOL.md, "Commands".

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jobyard/result.hpp"

namespace jobyard::cli {

inline constexpr const char* kCommandType = "command";

struct Command {
    std::vector<std::string> argv;
    std::map<std::string, std::string> env;
    std::string cwd;
    std::string input;  ///< standard input
};
std::string encode_command(const Command& command);
/// The payload of a command as JSON for people, with the keys that a line of `submit --batch` has; and back. The error
/// says what is not as expected.
Result<std::string> command_text(std::string_view payload);
Result<std::string> command_payload_of(std::string_view text);

struct CommandResult {
    int exit_status = 0;
    int signal = 0;
    std::string output;
    std::uint64_t output_bytes = 0;  ///< of which `output` is the beginning
    bool truncated = false;
    std::string errors;
    std::uint64_t errors_bytes = 0;  ///< of which `errors` is the end
    std::uint64_t duration_ms = 0;
};
/// Nothing if the bytes are not such a result.
std::optional<CommandResult> decode_command_result(std::string_view bytes);

}  // namespace jobyard::cli
