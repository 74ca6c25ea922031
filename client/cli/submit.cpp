#include "submit.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>

#include "arrays.hpp"
#include "command_job.hpp"
#include "job_json.hpp"
#include "program/usage.hpp"
#include "values.hpp"

namespace jobyard::cli {
namespace {

constexpr const char* kFooter = R"text(
In three ways:
  jobyard submit [OPTIONS] -- COMMAND [ARGS...]
  jobyard submit [OPTIONS] --type TYPE [--payload FILE|-]
  jobyard submit [OPTIONS] --batch FILE.jsonl|-

The number of each job is printed when it is durable.

With --array FIRST-LAST[:STEP][%N] the broker makes a job for each index, no more than N of them at once. A command finds
its index in JOBYARD_ARRAY_INDEX, and the array's number in JOBYARD_ARRAY_ID. The number that is printed is the array's,
for jobyard wait, cancel, list --array, and jobyard array.

A line of a batch is a JSON object: {"command": ["convert", "a.png", "b.png"]} or {"type": "resize", "payload": "…"},
with the options as keys: queue, priority, delay, at, hold (true), timeout, deadline, queue_timeout, key, key_for,
max_attempts, backoff_initial, backoff_factor, backoff_max, backoff_jitter, and for commands env ({"K": "V"}), cwd and
stdin. Durations are as here ("90s"; a number is seconds). A payload that is no string is submitted as its JSON text. When it exits 0 all are durable. Lines with a key
make no second job when the batch is run again.

Examples:
  jobyard submit -- gzip -k /data/a.log
  jobyard submit --wait --timeout 30s -- make -C /src test
  jobyard submit --queue images --priority 8 --type resize --payload picture.png
  jobyard submit --array 0-9999%50 --wait -- sh -c './simulate --seed $JOBYARD_ARRAY_INDEX'
  seq 100 | jq -c '{command: ["work", tostring], key: "n\(.)"}' | jobyard submit --batch -

Exit codes: 0 submitted; 2 wrong usage, or a line that cannot be read; 3 no broker, or the time limit passed; 4 refused.
With --wait: the command's own exit code (0 or 1 for jobs that are no commands; for a batch that of the worst; for an
array 0 if all of its jobs completed, else 1).)text";

}  // namespace

Result<std::string> read_all(const std::string& name) {
    std::ifstream file;
    if (name != "-") {
        file.open(name, std::ios::binary);
        if (!file) return Error{Code::bad_field, "cannot open " + name + ": " + std::strerror(errno), 0};
    }
    std::istream& in = name == "-" ? std::cin : file;
    std::ostringstream bytes;
    bytes << in.rdbuf();
    if (in.bad()) return Error{Code::bad_field, "cannot read " + name + ": " + std::strerror(errno), 0};
    return std::move(bytes).str();
}

namespace {

int usage(const Globals& globals, const std::string& text) {
    return wrong_usage(globals, text + "; see jobyard submit --help");
}

int submit_one(const Globals& globals, const SubmitOptions& options, const std::vector<std::string>& command) {
    if (command.empty() && options.type.empty())
        return usage(globals, "nothing to submit: expected a command after --, --type with --payload, or --batch");
    if (!command.empty() && !options.type.empty())
        return usage(globals, "--type and a command exclude each other: a command is a job of type command");
    if (command.empty() && (!options.env.empty() || !options.cwd.empty()))
        return usage(globals, "--env and --cwd are for commands, and there is none after --");

    if (!options.at.empty() && !options.delay.empty()) return usage(globals, "--delay and --at exclude each other");

    JobSpec spec = common_spec(options);
    spec.key = options.key;
    spec.watch = options.wait;
    const bool is_array = !options.array.empty();
    if (!is_array && !options.array_name.empty()) return usage(globals, "--array-name is for --array");
    if (is_array && options.hold)
        return usage(globals, "an array is not held; pause its queue instead (jobyard queue pause)");
    if (is_array) {
        Result<ArrayRange> range = parse_array(options.array);
        if (!range) return usage(globals, "--array " + range.error().text);
        spec.array = *std::move(range);
        spec.array.name = options.array_name;
    }
    if (!options.payload.empty()) {
        Result<std::string> bytes = read_all(options.payload);
        if (!bytes) return usage(globals, bytes.error().text);
        spec.payload = *std::move(bytes);
    }
    if (command.empty()) {
        spec.type = options.type;
    } else {
        Command job{command, {}, options.cwd, std::move(spec.payload)};
        for (const std::string& assignment : options.env)
            if (!add_environment(job.env, assignment))
                return usage(globals, "--env \"" + assignment + "\": expected NAME=VALUE");
        spec.type = kCommandType;
        spec.payload = encode_command(job);
    }

    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Submission job = client->submit(std::move(spec));
    const Result<JobId> id = job.id(globals.call_limit());
    if (!id) return complain(globals, id.error());
    if (!options.wait) {
        print_line(globals.json ? submitted_json(*id, job.was_existing()) : std::to_string(id->value));
        return kExitOk;
    }
    Progress progress((is_array ? "array " : "job ") + std::to_string(id->value));
    if (is_array) {
        const Result<JobResult> ended = wait_with_progress(globals, *client, *id, job, progress);
        progress.clear();
        return report_end(globals, *id, ended);
    }
    progress.show(-1, "submitted, waiting for its end");
    const Result<JobResult> result = job.result(globals.wait_limit());
    progress.clear();
    if (!result) return complain_about(globals, *id, result.error());
    return report_result(globals, *result, !command.empty(), true);
}

}  // namespace

namespace {
std::uint64_t milliseconds_of(const std::string& given) {
    return static_cast<std::uint64_t>(duration_of(given).count());
}
}  // namespace

JobSpec common_spec(const SubmitOptions& options) {
    JobSpec spec;
    spec.queue = options.queue;
    spec.priority = static_cast<std::uint8_t>(options.priority);
    spec.max_attempts = options.max_attempts;
    spec.held = options.hold;
    if (!options.at.empty())
        spec.run_at = static_cast<std::uint64_t>(parse_time(options.at)->time_since_epoch().count());
    if (!options.deadline.empty()) spec.deadline_ms = milliseconds_of(options.deadline);
    if (!options.queue_timeout.empty()) spec.queue_timeout_ms = milliseconds_of(options.queue_timeout);
    if (options.key_for == "active") spec.key_ttl_ms = 0;
    else if (!options.key_for.empty()) spec.key_ttl_ms = milliseconds_of(options.key_for);
    if (!options.delay.empty()) spec.delay_ms = static_cast<std::uint64_t>(duration_of(options.delay).count());
    if (!options.timeout.empty()) spec.timeout_ms = static_cast<std::uint32_t>(duration_of(options.timeout).count());
    const auto pause = [](const std::string& given) -> std::optional<std::uint32_t> {
        if (given.empty()) return std::nullopt;
        return static_cast<std::uint32_t>(duration_of(given).count());
    };
    spec.backoff = {pause(options.backoff_initial), options.backoff_factor, pause(options.backoff_max),
                    options.backoff_jitter};
    return spec;
}

bool add_environment(std::map<std::string, std::string>& environment, const std::string& assignment) {
    const std::size_t equals = assignment.find('=');
    if (equals == std::string::npos || equals == 0) return false;
    environment[assignment.substr(0, equals)] = assignment.substr(equals + 1);
    return true;
}

void add_submit(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("submit", "Submit a command, any other job, or a file of jobs");
    auto options = std::make_shared<SubmitOptions>();
    verb->footer(kFooter);
    verb->add_option("--queue", options->queue, "Queue")->capture_default_str();
    verb->add_option("--priority", options->priority, "1 to 10; 10 goes first")
        ->capture_default_str()
        ->check(CLI::Range(kPriorityMin, kPriorityMax));
    verb->add_option("--type", options->type, "Type of the job, which decides the workers that can run it");
    verb->add_option("--payload", options->payload,
                     "File with the payload (of a command: its standard input); - reads it here")
        ->type_name("FILE");
    verb->add_option("--delay", options->delay, "Not before this long from now")
        ->check(is_duration(std::chrono::milliseconds(kMaxDelayMs)));
    verb->add_option("--at", options->at,
                     "Not before this time (2026-11-21T07:35:00Z), by the broker's clock; or --delay")
        ->check(is_time());
    verb->add_flag("--hold", options->hold, "Wait until somebody says `jobyard release`");
    verb->add_option("--timeout", options->timeout, "Of one attempt; 0 for none [the queue's, or 5m]")
        ->check(is_duration(std::chrono::milliseconds(kMaxTimeoutMs)));
    verb->add_option("--deadline", options->deadline, "Dead if it has not ended so long from now")
        ->check(is_duration(std::chrono::milliseconds(kMaxDelayMs)));
    verb->add_option("--queue-timeout", options->queue_timeout, "Dead if no worker was given it within this long")
        ->check(is_duration(std::chrono::milliseconds(kMaxDelayMs)));
    verb->add_option("--key", options->key,
                     "Your own name for the job in its queue: the same key again makes no second job");
    verb->add_option("--key-for", options->key_for,
                     "How long after its end the key still names it; \"active\": only until its end [1d]")
        ->check(or_word(is_duration(std::chrono::milliseconds(kMaxKeyTtlMs)), "active"));
    verb->add_option("--max-attempts", options->max_attempts, "How often it may be tried [the queue's, or 4]")
        ->check(CLI::Range(1U, kMaxAttemptsLimit));
    verb->add_option("--backoff-initial", options->backoff_initial, "Pause after the first error [the queue's, or 1s]")
        ->check(is_duration(std::chrono::milliseconds(kMaxBackoffMs)));
    verb->add_option("--backoff-factor", options->backoff_factor,
                     "Percent of the pause before that each pause has (200: twice) [the queue's, or 200]")
        ->check(is_number(100, kMaxBackoffFactorPercent));
    verb->add_option("--backoff-max", options->backoff_max, "Longest pause [the queue's, or 60s]")
        ->check(is_duration(std::chrono::milliseconds(kMaxBackoffMs)));
    verb->add_option("--backoff-jitter", options->backoff_jitter,
                     "Percent that chance adds to a pause [the queue's, or 20]")
        ->check(is_number(0, 100));
    verb->add_option("--env", options->env, "NAME=VALUE for the command, added to the worker's own; may be repeated")
        ->expected(1)
        ->take_all();
    verb->add_option("--cwd", options->cwd, "Directory the command runs in")->type_name("DIR");
    verb->add_option("--array", options->array, "A job for each index")->type_name("FIRST-LAST[:STEP][%N]");
    verb->add_option("--array-name", options->array_name, "A name for the array, for people")->type_name("NAME");
    verb->add_option("--batch", options->batch, "File with a job a line; - reads standard input")->type_name("FILE");
    verb->add_flag("--wait", options->wait, "Wait for the end; pass on output and exit code");
    add_common(*verb, globals);
    verb->allow_extras();  // to say more about them than that they were not expected
    verb->callback([&globals, options, verb] {
        const std::vector<std::string> extras = verb->remaining();
        globals.action = [&globals, options, extras, verb]() -> int {
            const std::vector<std::string>& command = globals.command;
            if (!extras.empty() && extras.front().starts_with('-'))
                return usage(globals, program::no_such_option(*verb, extras.front()));
            if (!extras.empty())
                return usage(globals, "\"" + extras.front() + "\" was not expected; a command stands after --");
            if (options->batch.empty()) return submit_one(globals, *options, command);
            const bool more = !command.empty() || !options->type.empty() || !options->payload.empty() ||
                              !options->key.empty() || !options->env.empty() || !options->cwd.empty();
            if (more)
                return usage(globals, "with --batch, command, type, payload, key, env and cwd stand in the lines");
            if (!options->array.empty()) return usage(globals, "--array and --batch exclude each other");
            return submit_batch(globals, *options);
        };
    });
}

}  // namespace jobyard::cli
