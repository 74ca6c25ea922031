#include "batch_line.hpp"

#include <nlohmann/json.hpp>

#include <map>
#include <vector>

#include "command_job.hpp"
#include "shallow_json.hpp"
#include "values.hpp"

namespace jobyard::cli {
namespace {

using nlohmann::json;

std::string text_of(const json& value, const std::string& key) {
    if (!value.is_string()) throw BadLine("\"" + key + "\" is " + value.dump() + ": expected a string");
    return value.get<std::string>();
}

std::int64_t number_of(const json& value, const std::string& key, std::int64_t from, std::int64_t to) {
    if (!value.is_number_integer() || value.get<std::int64_t>() < from || value.get<std::int64_t>() > to)
        throw BadLine("\"" + key + "\" is " + value.dump() + ": expected a whole number from " + std::to_string(from) +
                      " to " + std::to_string(to));
    return value.get<std::int64_t>();
}

std::int64_t milliseconds_of(const json& value, const std::string& key, std::uint64_t most_ms) {
    const auto duration = parse_duration(value.is_string() ? value.get<std::string>() : value.dump());
    if (!duration || static_cast<std::uint64_t>(duration->count()) > most_ms)
        throw BadLine("\"" + key + "\" is " + value.dump() + ": expected " + kDurationForm + ", at most " +
                      short_duration(std::chrono::milliseconds(most_ms)));
    return duration->count();
}

std::vector<std::string> argv_of(const json& value) {
    if (!value.is_array() || value.empty())
        throw BadLine("\"command\" is " + value.dump() + ": expected a list of strings");
    std::vector<std::string> argv;
    for (const json& word : value) argv.push_back(text_of(word, "command"));
    return argv;
}

std::map<std::string, std::string> environment_of(const json& value) {
    if (!value.is_object()) throw BadLine("\"env\" is " + value.dump() + ": expected an object of strings");
    std::map<std::string, std::string> environment;
    for (const auto& [name, text] : value.items()) environment[name] = text_of(text, "env." + name);
    return environment;
}

}  // namespace

JobSpec read_batch_line(const std::string& line, const JobSpec& defaults) {
    const json object = shallow_json(line);
    if (object.is_discarded()) throw BadLine("not JSON, or nested too deep: expected one object on this line");
    if (!object.is_object()) throw BadLine("expected a JSON object such as {\"command\": [\"gzip\", \"a.log\"]}");
    JobSpec spec = defaults;
    Command command;
    const char* only_for_commands = nullptr;
    for (const auto& [key, value] : object.items()) {
        if (key == "command") {
            command.argv = argv_of(value);
        } else if (key == "env") {
            command.env = environment_of(value), only_for_commands = "env";
        } else if (key == "cwd") {
            command.cwd = text_of(value, key), only_for_commands = "cwd";
        } else if (key == "stdin") {
            command.input = text_of(value, key), only_for_commands = "stdin";
        } else if (key == "type") {
            spec.type = text_of(value, key);
        } else if (key == "payload") {
            spec.payload = value.is_string() ? value.get<std::string>() : value.dump();
        } else if (key == "queue") {
            spec.queue = text_of(value, key);
        } else if (key == "key") {
            spec.key = text_of(value, key);
        } else if (key == "priority") {
            spec.priority = static_cast<std::uint8_t>(number_of(value, key, kPriorityMin, kPriorityMax));
        } else if (key == "max_attempts") {
            spec.max_attempts = static_cast<std::uint32_t>(number_of(value, key, 1, kMaxAttemptsLimit));
        } else if (key == "delay") {
            spec.delay_ms = static_cast<std::uint64_t>(milliseconds_of(value, key, kMaxDelayMs));
        } else if (key == "at") {
            const auto at = parse_time(text_of(value, key));
            if (!at) throw BadLine("\"at\" is " + value.dump() + ": expected " + kTimeForm);
            spec.run_at = static_cast<std::uint64_t>(at->time_since_epoch().count());
        } else if (key == "hold") {
            if (!value.is_boolean()) throw BadLine("\"hold\" is " + value.dump() + ": expected true or false");
            spec.held = value.get<bool>();
        } else if (key == "deadline") {
            spec.deadline_ms = static_cast<std::uint64_t>(milliseconds_of(value, key, kMaxDelayMs));
        } else if (key == "queue_timeout") {
            spec.queue_timeout_ms = static_cast<std::uint64_t>(milliseconds_of(value, key, kMaxDelayMs));
        } else if (key == "key_for") {
            spec.key_ttl_ms =
                value == "active" ? 0 : static_cast<std::uint64_t>(milliseconds_of(value, key, kMaxKeyTtlMs));
        } else if (key == "backoff_initial") {
            spec.backoff.initial_ms = static_cast<std::uint32_t>(milliseconds_of(value, key, kMaxBackoffMs));
        } else if (key == "backoff_factor") {
            spec.backoff.factor_percent =
                static_cast<std::uint32_t>(number_of(value, key, 100, kMaxBackoffFactorPercent));
        } else if (key == "backoff_max") {
            spec.backoff.max_ms = static_cast<std::uint32_t>(milliseconds_of(value, key, kMaxBackoffMs));
        } else if (key == "backoff_jitter") {
            spec.backoff.jitter_percent = static_cast<std::uint32_t>(number_of(value, key, 0, 100));
        } else if (key == "timeout") {
            spec.timeout_ms = static_cast<std::uint32_t>(milliseconds_of(value, key, kMaxTimeoutMs));
        } else {
            throw BadLine("unknown key \"" + key + "\"; jobyard submit --help names those there are");
        }
    }
    if (command.argv.empty() == spec.type.empty()) throw BadLine("expected either \"command\" or \"type\"");
    if (command.argv.empty()) {
        if (only_for_commands != nullptr)
            throw BadLine("\"" + std::string(only_for_commands) + "\" is for commands only");
        return spec;
    }
    if (!spec.payload.empty()) throw BadLine("a command has no \"payload\"; its standard input is \"stdin\"");
    spec.type = kCommandType;
    spec.payload = encode_command(command);
    return spec;
}

}  // namespace jobyard::cli
