// `jobyard task`, and tasks as the verbs for many jobs use them.

#include "tasks.hpp"

#include <thread>

#include "job_json.hpp"
#include "values.hpp"

namespace jobyard::cli {
namespace {

constexpr const char* kExitCodes =
    "\nExit codes: 0 ok; 2 wrong usage; 3 no broker, or the time limit passed; 4 refused, or no such task.";
constexpr std::chrono::milliseconds kLookEvery{100};

std::string jobs_text(std::uint64_t count) { return std::to_string(count) + (count == 1 ? " job" : " jobs"); }

const char* past(TaskAction action) {
    return action == TaskAction::cancel ? "cancelled" : action == TaskAction::redrive ? "redriven" : "purged";
}

int list_tasks(const Globals& globals) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Result<std::vector<TaskInfo>> tasks = client->tasks(globals.call_limit());
    if (!tasks) return complain(globals, tasks.error());
    if (globals.json) {
        for (const TaskInfo& task : *tasks) print_line(task_json(task));
        return kExitOk;
    }
    Table table({{"TASK", Table::Kind::right},
                 {"ACTION"},
                 {"STATE"},
                 {"DONE", Table::Kind::right},
                 {"LOOKED AT", Table::Kind::right},
                 {"STARTED"},
                 {"BY", Table::Kind::flexible},
                 {"QUEUE", Table::Kind::flexible},
                 {"TYPE", Table::Kind::flexible}});
    for (const TaskInfo& task : *tasks)
        table.add({std::to_string(task.task), task.action + (task.count_only ? " (count)" : ""), task.state,
                   std::to_string(task.done), std::to_string(task.looked) + "/" + std::to_string(task.total),
                   task.started_at ? iso_time(*task.started_at) : "", task.by, task.queue, task.type});
    if (!tasks->empty()) print(table.format(Terminal::of(stdout)));
    return kExitOk;
}

int stop_task(const Globals& globals, std::uint64_t number) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Result<void> stopped = client->stop_task(number, globals.call_limit());
    if (!stopped)
        return complain(globals,
                        Error{stopped.error().code, "task " + std::to_string(number) + ": " + stopped.error().text, 0});
    const Result<TaskInfo> task = client->task(number, globals.call_limit());
    if (!task) return complain(globals, task.error());
    print_line(globals.json ? task_json(*task) : "stopped; done with " + jobs_text(task->done));
    return kExitOk;
}

}  // namespace

void TaskOptions::add_to(CLI::App& verb) {
    const auto duration = is_duration(std::chrono::milliseconds(kMaxDelayMs));
    verb.add_option("--queue", queue, "With --all: only those of this queue");
    verb.add_option("--type", type, "With --all: only those of this type");
    verb.add_option("--older", older, "With --all: only those made (dead ones: ended) at least so long ago")
        ->check(duration);
    verb.add_option("--newer", newer, "With --all: only those made (dead ones: ended) at most so long ago")
        ->check(duration);
    verb.add_flag("--dry-run", dry_run, "With --all: only say how many it would be");
}

bool TaskOptions::used() const {
    return !queue.empty() || !type.empty() || !older.empty() || !newer.empty() || dry_run;
}

TaskSpec TaskOptions::spec(TaskAction action) const {
    TaskSpec spec;
    spec.action = action;
    spec.queue = queue;
    spec.type = type;
    if (!older.empty()) spec.older_than_ms = static_cast<std::uint64_t>(duration_of(older).count());
    if (!newer.empty()) spec.newer_than_ms = static_cast<std::uint64_t>(duration_of(newer).count());
    spec.count_only = dry_run;
    spec.by = who();
    return spec;
}

std::variant<std::uint64_t, int> follow_task(const Globals& globals, Client& client, const TaskSpec& spec) {
    const Result<std::uint64_t> number = client.start_task(spec, globals.call_limit());
    if (!number) return complain(globals, number.error());
    Progress progress("task " + std::to_string(*number));
    const auto deadline = std::chrono::steady_clock::now() +
                          std::min(globals.wait_limit(), std::chrono::milliseconds(std::chrono::years(1)));
    for (;;) {
        const Result<TaskInfo> task = client.task(*number, globals.call_limit());
        if (!task) {
            progress.clear();
            return complain(globals, task.error());
        }
        if (task->state == "done") return task->done;
        if (task->state != "running") {
            progress.clear();
            complain("task " + std::to_string(*number) + " was stopped; done with " + jobs_text(task->done));
            return kExitRefused;
        }
        if (std::chrono::steady_clock::now() >= deadline) {
            progress.clear();
            complain("task " + std::to_string(*number) +
                     " goes on; see `jobyard task list`, end it with `jobyard task stop " + std::to_string(*number) +
                     "`");
            return kExitUnreachable;
        }
        const double share =
            task->total == 0 ? -1 : static_cast<double>(task->looked) / static_cast<double>(task->total);
        progress.show(share, jobs_text(task->done) + "; `jobyard task stop " + std::to_string(*number) + "` ends it");
        std::this_thread::sleep_for(kLookEvery);
    }
}

int run_task(const Globals& globals, const TaskSpec& spec, const TaskOptions& options) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const std::variant<std::uint64_t, int> ended = follow_task(globals, *client, spec);
    if (const int* exit = std::get_if<int>(&ended)) return *exit;
    const std::uint64_t count = std::get<std::uint64_t>(ended);
    if (globals.json)
        print_line("{\"" + std::string(options.dry_run ? "would_be" : past(spec.action)) +
                   "\":" + std::to_string(count) + "}");
    else print_line(jobs_text(count) + (options.dry_run ? " would be " : " ") + past(spec.action));
    if (count >= spec.jobs.size()) return kExitOk;
    complain(std::to_string(spec.jobs.size() - count) + " of these are not in the dead letter queue");
    return kExitRefused;
}

void add_task(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("task", "What the broker is doing to many jobs: list, stop");
    add_group_help(*verb, "  jobyard task list\n  jobyard task stop 3\n");
    CLI::App* list = verb->add_subcommand("list", "List tasks that run, and the last that ended");
    list->footer(std::string("\nExample:\n  jobyard task list\n") + kExitCodes);
    add_common(*list, globals);
    list->callback([&globals] { globals.action = [&globals] { return list_tasks(globals); }; });
    CLI::App* stop = verb->add_subcommand("stop", "Stop a task; what it has done stays done");
    auto number = std::make_shared<std::uint64_t>();
    stop->add_option("TASK", *number, "Its number")->required();
    stop->footer(std::string("\nExample:\n  jobyard task stop 3\n") + kExitCodes);
    add_common(*stop, globals);
    stop->callback([&globals, number] { globals.action = [&globals, number] { return stop_task(globals, *number); }; });
}

}  // namespace jobyard::cli
