// `jobyard show`, `jobyard list` and `jobyard stats`.

#include "queries.hpp"

#include <algorithm>
#include <functional>

#include "arrays.hpp"
#include "command_job.hpp"
#include "job_json.hpp"
#include "values.hpp"

namespace jobyard::cli {
namespace {

constexpr const char* kExitCodes =
    "\nExit codes: 0 ok; 2 wrong usage; 3 no broker, or the time limit passed; 4 refused, or no such job.";

std::string ago(const std::optional<WallTime>& time) {
    if (!time) return "";
    const auto now = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
    return short_duration(std::max(now - *time, std::chrono::milliseconds(0)));
}

std::string progress_of(const JobInfo& job) {
    if (!job.progress) return "";
    std::string text = std::to_string(static_cast<int>(*job.progress * 100)) + "%";
    if (!job.progress_text.empty()) text += " " + job.progress_text;
    return text;
}

/// What a person wants to know of a job in a list, whatever its state.
std::string note_of(const JobInfo& job) {
    if (job.cancel_requested && !has_ended(job.state)) return "cancel requested";
    if (job.state == JobState::running && job.progress) return progress_of(job);
    if (!job.error.empty()) return job.reason.empty() ? job.error : job.reason + ": " + job.error;
    return job.reason;
}

void print_attempts(const JobInfo& job, const Terminal& terminal) {
    if (job.attempts.empty()) return;
    Table table({{"ATTEMPT", Table::Kind::right},
                 {"WORKER", Table::Kind::flexible},
                 {"STARTED"},
                 {"TOOK", Table::Kind::right},
                 {"OUTCOME"},
                 {"ERROR", Table::Kind::flexible}});
    for (const AttemptInfo& attempt : job.attempts) {
        const bool timed = attempt.started_at && attempt.ended_at;
        const bool good = attempt.outcome == to_string(Outcome::completed);
        table.add({std::to_string(attempt.attempt),
                   attempt.worker,
                   attempt.started_at ? iso_time(*attempt.started_at) : "",
                   timed ? short_duration(*attempt.ended_at - *attempt.started_at) : "",
                   {attempt.outcome, good ? Colour::green : Colour::red},
                   attempt.error});
    }
    print("\n" + table.format(terminal));
    const AttemptInfo& last = job.attempts.back();
    if (!last.tail.empty()) {
        print("\nEnd of the last attempt's standard error:\n");
        for (std::size_t at = 0; at < last.tail.size();) {
            const std::size_t end = std::min(last.tail.find('\n', at), last.tail.size());
            print("  " + printable(std::string_view(last.tail).substr(at, end - at)) + "\n");
            at = end + 1;
        }
    }
}

void print_job(const JobInfo& job, const std::optional<CommandResult>& result) {
    const Terminal terminal = Terminal::of(stdout);
    const auto field = [&](const char* name, const std::string& text) {
        if (text.empty()) return;
        const std::string label = std::string(name) + std::string(14 - std::string_view(name).size(), ' ');
        print_line(painted(terminal, Colour::dim, label) + text);
    };
    const auto time = [&](const char* name, const std::optional<WallTime>& when) {
        if (when) field(name, iso_time(*when));
    };
    field("job", std::to_string(job.id.value));
    field("state", painted(terminal, colour_of(job.state), to_string(job.state)) +
                       (job.reason.empty() ? "" : " (" + printable(job.reason) + ")") +
                       (job.cancel_requested && !has_ended(job.state) ? ", cancel requested" : ""));
    field("type", printable(job.type));
    field("queue", printable(job.queue));
    field("priority", std::to_string(job.priority));
    field("key", printable(job.key));
    if (job.array_index)
        field("array", std::to_string(job.array.value) + ", index " + std::to_string(*job.array_index));
    field("attempt", std::to_string(job.attempt) + " of " + std::to_string(job.max_attempts) +
                         (job.crashes == 0 ? "" : ", " + std::to_string(job.crashes) + " workers lost"));
    field("timeout", job.timeout_ms == 0 ? "none" : short_duration(std::chrono::milliseconds(job.timeout_ms)));
    field("progress", printable(progress_of(job)));
    field("worker", printable(job.worker));
    time("created", job.created_at);
    time("due", job.due_at);
    time("started", job.started_at);
    time("ended", job.ended_at);
    time("edited", job.edited_at);
    field("payload", std::to_string(job.payload_bytes) + " bytes");
    if (result)
        field("result", "exit status " + std::to_string(result->exit_status) +
                            (result->signal == 0 ? "" : " (signal " + std::to_string(result->signal) + ")") + ", " +
                            std::to_string(result->output_bytes) + " bytes of output" +
                            (result->truncated ? " (truncated)" : "") + ", " + std::to_string(result->errors_bytes) +
                            " bytes of errors");
    else if (job.result_bytes) field("result", std::to_string(*job.result_bytes) + " bytes");
    field("error", printable(job.error));
    print_attempts(job, terminal);
}

int print_payload(const Globals& globals, const std::vector<std::uint64_t>& numbers) {
    if (numbers.size() > 1) {
        complain("--payload is for one job at a time");
        return kExitUsage;
    }
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const JobId id = job_ids(numbers).front();
    const Result<JobInfo> job = client->show(id, globals.call_limit());
    if (!job) return complain_about(id, job.error());
    const Result<std::string> payload = client->payload(id, globals.call_limit());
    if (!payload) return complain_about(id, payload.error());
    if (job->type != kCommandType) {
        print(*payload);
        return kExitOk;
    }
    const Result<std::string> text = command_text(*payload);
    if (!text) return complain_about(id, text.error());
    print(*text);
    return kExitOk;
}

int stats(const Globals& globals) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Result<BrokerStats> stats = client->stats(globals.call_limit());
    if (!stats) return complain(globals, stats.error());
    if (globals.json) {
        print_line(stats_json(*stats));
        return kExitOk;
    }
    const Terminal terminal = Terminal::of(stdout);
    Table jobs({{"JOBS"}, {"NOW", Table::Kind::right}, {"IN ALL"}, {"", Table::Kind::right}});
    const auto number = [](std::uint64_t value) { return std::to_string(value); };
    jobs.add({"scheduled", number(stats->scheduled), "submitted", number(stats->submitted_total)});
    jobs.add({"queued", number(stats->queued), "completed", number(stats->completed_total)});
    jobs.add({"assigned", number(stats->assigned), "retried", number(stats->retried_total)});
    jobs.add({"running", number(stats->running), "cancelled", number(stats->cancelled_total)});
    jobs.add({"retrying", number(stats->retrying), "dead", number(stats->dead_total)});
    jobs.add({"dead", number(stats->dead), "completed, kept", number(stats->completed_kept)});
    print(jobs.format(terminal));
    if (!stats->queues.empty()) {
        Table queues(
            {{"QUEUE", Table::Kind::flexible}, {"QUEUED", Table::Kind::right}, {"RUNNING", Table::Kind::right}});
        for (const QueueInfo& queue : stats->queues)
            queues.add({queue.name, number(queue.queued), number(queue.running)});
        print("\n" + queues.format(terminal));
    }
    print_line("\nworkers " + number(stats->workers) + ", slots " + number(stats->slots) + ", submitters " +
               number(stats->submitters));
    return kExitOk;
}

}  // namespace

int show_jobs(const Globals& globals, const std::vector<std::uint64_t>& numbers) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    int worst = kExitOk;
    for (const JobId id : job_ids(numbers)) {
        const Result<JobInfo> job = client->show(id, globals.call_limit());
        if (!job) {
            worst = std::max(worst, complain_about(globals, id, job.error()));
            continue;
        }
        if (job->array == id) {
            const Result<ArrayInfo> array = client->array(id, globals.call_limit());
            if (array) print_array(globals, *array);
            else worst = std::max(worst, complain_about(globals, id, array.error()));
            continue;
        }
        // The broker never looks into a result; what it says about a command's is in there.
        std::optional<CommandResult> command;
        if (job->type == kCommandType && has_ended(job->state) && job->result_bytes.value_or(0) > 0)
            if (const Result<JobResult> result = client->wait(id, globals.call_limit()))
                command = decode_command_result(result->bytes);
        if (globals.json) print_line(job_json(*job, command));
        else print_job(*job, command);
    }
    return worst;
}

Result<std::vector<JobInfo>> list_jobs(Client& client, const JobFilter& filter, const Wanted& wanted,
                                       std::uint64_t most, bool& more, std::chrono::milliseconds limit) {
    constexpr std::uint32_t kPage = 256;
    std::vector<JobInfo> jobs;
    std::uint64_t cursor = 0;
    do {
        const std::uint64_t left = wanted ? kPage : most - jobs.size();
        Result<JobPage> page =
            client.list(filter, cursor, static_cast<std::uint32_t>(std::min<std::uint64_t>(left, kPage)), limit);
        if (!page) return page.error();
        cursor = page->next_cursor;
        if (wanted) std::erase_if(page->jobs, std::not_fn(wanted));
        std::move(page->jobs.begin(), page->jobs.end(), std::back_inserter(jobs));
    } while (cursor != 0 && jobs.size() < most);
    more = cursor != 0 || jobs.size() > most;
    if (jobs.size() > most) jobs.resize(most);
    return jobs;
}

int print_list(const Globals& globals, const JobFilter& filter, std::uint64_t most, const Wanted& wanted) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    bool more = false;
    const Result<std::vector<JobInfo>> jobs =
        list_jobs(*client, filter, wanted, most == 0 ? UINT64_MAX : most, more, globals.call_limit());
    if (!jobs) return complain(globals, jobs.error());
    if (globals.json) {
        for (const JobInfo& job : *jobs) print_line(job_json(job));
    } else {
        // Of an array: which of its indices. Of other lists the column would be empty.
        const bool of_array = static_cast<bool>(filter.array);
        Table table(
            {{"ID", Table::Kind::right},
             of_array ? Table::Column{"INDEX", Table::Kind::right} : Table::Column{"QUEUE", Table::Kind::flexible},
             {"TYPE", Table::Kind::flexible},
             {"PRI", Table::Kind::right},
             {"STATE"},
             {"ATTEMPT", Table::Kind::right},
             {"AGE", Table::Kind::right},
             {"WORKER", Table::Kind::flexible},
             {"NOTE", Table::Kind::flexible}});
        for (const JobInfo& job : *jobs)
            table.add({std::to_string(job.id.value),
                       of_array ? std::to_string(job.array_index.value_or(0)) : job.queue,
                       job.type,
                       std::to_string(job.priority),
                       {to_string(job.state), colour_of(job.state)},
                       std::to_string(job.attempt) + "/" + std::to_string(job.max_attempts),
                       ago(job.created_at),
                       job.worker,
                       note_of(job)});
        if (!jobs->empty()) print(table.format(Terminal::of(stdout)));
    }
    std::fflush(stdout);
    if (more) complain("there are more than these " + std::to_string(jobs->size()) + "; --limit 0 shows all");
    return kExitOk;
}

void add_show(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("show", "Show all that is known of jobs, with their attempts");
    verb->footer(std::string("\nExamples:\n  jobyard show 17\n  jobyard show --json 17 | jq '.attempts[].error'\n"
                             "  jobyard show --payload 17\n") +
                 kExitCodes);
    add_show_options(*verb, globals);
}

void add_show_options(CLI::App& verb, Globals& globals) {
    auto numbers = std::make_shared<std::vector<std::uint64_t>>();
    auto payload = std::make_shared<bool>(false);
    verb.add_option("ID", *numbers, "Numbers of jobs, or of arrays")->required();
    verb.add_flag("--payload", *payload,
                  "Print the payload of a job that is unended or dead, or of an array, and nothing else; a command as "
                  "JSON");
    add_common(verb, globals);
    verb.callback([&globals, numbers, payload] {
        globals.action = [&globals, numbers, payload] {
            return *payload ? print_payload(globals, *numbers) : show_jobs(globals, *numbers);
        };
    });
}

void add_list(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("list", "List jobs");
    auto filter = std::make_shared<JobFilter>();
    auto state = std::make_shared<std::string>();
    auto most = std::make_shared<std::uint64_t>(100);
    verb->add_option("--state", *state, "Only jobs in this state")
        ->check(CLI::IsMember(
            {"scheduled", "queued", "assigned", "running", "retrying", "completed", "dead", "cancelled"}));
    verb->add_option("--queue", filter->queue, "Only jobs of this queue");
    verb->add_option("--type", filter->type, "Only jobs of this type");
    verb->add_option("--array", filter->array.value, "Only jobs of this array");
    verb->add_option("--limit", *most, "At most so many; 0 for all")->capture_default_str();
    verb->footer(std::string("\nExamples:\n  jobyard list --state running\n"
                             "  jobyard list --json --limit 0 --queue images | jq -r .id\n") +
                 kExitCodes);
    add_common(*verb, globals);
    verb->callback([&globals, filter, state, most] {
        filter->state = job_state_from(*state);
        globals.action = [&globals, filter, most] { return print_list(globals, *filter, *most); };
    });
}

void add_stats(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("stats", "Show the broker's counters");
    verb->footer(std::string("\nExample:\n  jobyard stats --json | jq .jobs.queued\n") + kExitCodes);
    add_common(*verb, globals);
    verb->callback([&globals] { globals.action = [&globals] { return stats(globals); }; });
}

}  // namespace jobyard::cli
