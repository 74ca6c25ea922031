#include "command_job.hpp"

#include <nlohmann/json.hpp>

namespace jobyard::cli {
namespace {

using nlohmann::json;

std::uint64_t number(const json& map, const char* key) {
    const auto found = map.find(key);
    return found != map.end() && found->is_number_integer() ? found->get<std::uint64_t>() : 0;
}

std::string bytes(const json& map, const char* key) {
    const auto found = map.find(key);
    if (found == map.end()) return {};
    if (found->is_string()) return found->get<std::string>();
    if (!found->is_binary()) return {};
    const json::binary_t& binary = found->get_binary();
    return {binary.begin(), binary.end()};
}

}  // namespace

std::string encode_command(const Command& command) {
    json map{{"argv", command.argv}};
    if (!command.env.empty()) map["env"] = command.env;
    if (!command.cwd.empty()) map["cwd"] = command.cwd;
    if (!command.input.empty()) map["stdin"] = json::binary({command.input.begin(), command.input.end()});
    std::string out;
    json::to_msgpack(map, out);
    return out;
}

std::optional<CommandResult> decode_command_result(std::string_view encoded) {
    const json map = json::from_msgpack(encoded.begin(), encoded.end(), true, false);
    if (!map.is_object() || !map.contains("exit_status")) return std::nullopt;
    CommandResult result;
    result.exit_status = static_cast<int>(number(map, "exit_status"));
    result.signal = static_cast<int>(number(map, "signal"));
    result.output = bytes(map, "stdout");
    result.output_bytes = number(map, "stdout_bytes");
    result.truncated = map.contains("truncated") && map["truncated"] == true;
    result.errors = bytes(map, "stderr");
    result.errors_bytes = number(map, "stderr_bytes");
    result.duration_ms = number(map, "duration_ms");
    return result;
}

}  // namespace jobyard::cli
