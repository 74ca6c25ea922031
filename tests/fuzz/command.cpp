// What the command line and jobyard-worker read that others wrote: a line of `submit --batch`, a command's payload as
// JSON (`dead edit`) and as a map, its result, and the maps that a broker describes things with.

#include "client/cli/batch_line.hpp"
#include "client/cli/command_job.hpp"
#include "jobyard/job_info.hpp"
#include "runner.hpp"
#include "target.hpp"

namespace jobyard::fuzz {
namespace {

void read_line(std::string_view bytes) {
    try {
        const JobSpec spec = cli::read_batch_line(std::string(bytes), {});
        must(!spec.type.empty(), "a line that is taken says what is to be run");
    } catch (const cli::BadLine& bad) {
        must(*bad.what() != '\0', "a refusal says what is wrong");
    }
}

template <class T>
void must_say(const Result<T>& read) {
    must(read.has_value() || !read.error().text.empty(), "an error says what is wrong");
}

void read_command(std::string_view payload) {
    const auto text = cli::command_text(payload);
    must_say(text);
    const auto taken = worker::decode_command(payload);
    must_say(taken);
    // One that no worker would run is shown as it is, and mended by who edits it.
    if (text && taken) must(cli::command_payload_of(*text).has_value(), "a command that is shown can be taken back");
}

void read_maps(std::string_view map) {
    must_say(decode_job_info(map));
    must_say(decode_queue_info(map));
    must_say(decode_task_info(map));
    must_say(decode_array_info(map));
    must_say(decode_stats(map));
    must_say(decode_worker(map));
    must_say(decode_events({std::string(map)}));
}

}  // namespace

void run(std::string_view bytes) {
    Input input(bytes);
    switch (input.byte() % 5) {
        case 0: return read_line(input.rest());
        case 1: return must_say(cli::command_payload_of(input.rest()));
        case 2: return read_command(input.rest());
        case 3: static_cast<void>(cli::decode_command_result(input.rest())); return;
        default: return read_maps(input.rest());
    }
}

std::vector<std::string> seeds() {
    const std::vector<std::string> lines{
        R"({"command": ["gzip", "a.log"]})",
        R"({"command": ["env"], "env": {"A": "b"}, "cwd": "/tmp", "stdin": "text", "queue": "q", "key": "k"})",
        R"({"type": "resize", "payload": {"width": 100, "name": "ä"}, "priority": 9, "max_attempts": 3})",
        R"({"type": "t", "payload": "p", "delay": "5s", "timeout": 250, "deadline": "1h", "queue_timeout": "7d"})",
        R"({"type": "t", "at": "2026-11-21T07:35:00Z", "hold": true, "key": "k", "key_for": "active"})",
        R"({"type": "t", "backoff_initial": "1s", "backoff_factor": 200, "backoff_max": "1h", "backoff_jitter": 10})",
        R"({"payload": )" + std::string(90, '[') + std::string(90, ']') + R"(, "type": "t"})",
    };
    std::vector<std::string> made;
    for (const std::string& line : lines) {
        made.push_back(std::string(1, 0) + line);
        made.push_back(std::string(1, 1) + line);
    }
    const std::string command = cli::encode_command({{"cat", "-"}, {{"A", "b"}}, "/tmp", "input"});
    for (const char kind : {'\2', '\3', '\4'}) made.push_back(kind + command);
    // What is nested deeper than a stack is.
    constexpr std::size_t kDeep = 300'000;
    for (const std::string& deep :
         {std::string(kDeep, '['), R"({"type": )" + std::string(kDeep, '[') + std::string(kDeep, ']') + "}",
          R"({"argv": )" + std::string(kDeep, '[') + std::string(kDeep, ']') + "}", std::string(kDeep, '\x91'),
          std::string("\x81\xa4") + "argv" + std::string(kDeep, '\x91') + '\xc0'})
        for (char kind = 0; kind < 5; ++kind) made.push_back(kind + deep);
    return made;
}

}  // namespace jobyard::fuzz
