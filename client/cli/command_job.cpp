#include "command_job.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "shallow_json.hpp"

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

Result<std::string> command_text(std::string_view payload) {
    const json map = shallow_msgpack(payload);
    if (!map.is_object() || !map.contains("argv"))
        return Error{Code::bad_field, "its payload is no command (PROTOCOL.md, Commands)", 0};
    nlohmann::ordered_json text{{"command", map["argv"]}};
    for (const char* key : {"env", "cwd"})
        if (map.contains(key)) text[key] = map[key];
    if (map.contains("stdin")) text["stdin"] = bytes(map, "stdin");
    try {
        return text.dump(2) + "\n";
    } catch (const json::type_error&) {
        return Error{Code::bad_field, "it has bytes that are no text, so it cannot be shown as JSON", 0};
    }
}

Result<std::string> command_payload_of(std::string_view text) {
    const auto bad = [](const std::string& what) { return Error{Code::bad_field, what, 0}; };
    const auto is_text = [](const json& value) { return value.is_string(); };
    const json object = shallow_json(text);
    if (!object.is_object())
        return bad("this is no JSON object; expected one such as {\"command\": [\"gzip\", \"a.log\"]}");
    Command command;
    for (const auto& [key, value] : object.items()) {
        if (key == "command") {
            if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_text))
                return bad("\"command\" is " + value.dump() + ": expected a list of strings");
            command.argv = value.get<std::vector<std::string>>();
        } else if (key == "env") {
            if (!value.is_object() || !std::all_of(value.begin(), value.end(), is_text))
                return bad("\"env\" is " + value.dump() + ": expected an object of strings");
            command.env = value.get<std::map<std::string, std::string>>();
        } else if (key == "cwd" || key == "stdin") {
            if (!value.is_string()) return bad("\"" + key + "\" is " + value.dump() + ": expected a string");
            (key == "cwd" ? command.cwd : command.input) = value.get<std::string>();
        } else {
            return bad("unknown key \"" + key + "\"; expected command, env, cwd or stdin");
        }
    }
    if (command.argv.empty()) return bad("\"command\" is missing or empty: expected a list of strings");
    return encode_command(command);
}

std::optional<CommandResult> decode_command_result(std::string_view encoded) {
    const json map = shallow_msgpack(encoded);
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
