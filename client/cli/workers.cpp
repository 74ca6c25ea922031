// `jobyard worker`: who works, and drain.

#include <algorithm>

#include "job_json.hpp"
#include "jobyard/message.hpp"
#include "values.hpp"
#include "verbs.hpp"

namespace jobyard::cli {
namespace {

constexpr const char* kExitCodes =
    "\nExit codes: 0 ok; 2 wrong usage; 3 no broker, or the time limit passed; 4 refused, or no such worker.";

std::string ago(const std::optional<WallTime>& time) {
    if (!time) return "";
    const auto now = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
    return short_duration(std::max(now - *time, std::chrono::milliseconds(0)));
}

std::string joined(const std::vector<std::string>& names, std::uint64_t total) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return total > names.size() ? text + ", … (" + std::to_string(total) + ")" : text;
}

Colour colour_of_worker(const std::string& state) {
    if (state == "busy") return Colour::cyan;
    if (state == "draining") return Colour::yellow;
    if (state == "away") return Colour::red;
    return Colour::none;
}

/// All of them, by name.
Result<std::vector<WorkerInfo>> workers_of(const Globals& globals, Client& client, const std::string& name = {}) {
    Result<std::vector<WorkerInfo>> workers = client.workers(name, globals.call_limit());
    if (workers && !name.empty() && workers->empty())
        return Error{Code::unknown_worker,
                     "no worker named \"" + name + "\" is connected; `jobyard worker list` shows those that are", 0};
    if (workers)
        std::stable_sort(workers->begin(), workers->end(),
                         [](const WorkerInfo& a, const WorkerInfo& b) { return a.name < b.name; });
    return workers;
}

int list(const Globals& globals) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Result<std::vector<WorkerInfo>> workers = workers_of(globals, *client);
    if (!workers) return complain(globals, workers.error());
    if (globals.json) {
        for (const WorkerInfo& worker : *workers) print_line(worker_json(worker));
        return kExitOk;
    }
    Table table({{"NAME", Table::Kind::flexible},
                 {"STATE"},
                 {"RUNNING", Table::Kind::right},
                 {"SLOTS", Table::Kind::right},
                 {"QUEUES", Table::Kind::flexible},
                 {"TYPES", Table::Kind::flexible},
                 {"HOST", Table::Kind::flexible},
                 {"PID", Table::Kind::right},
                 {"SOFTWARE", Table::Kind::flexible},
                 {"SINCE", Table::Kind::right},
                 {"HEARD", Table::Kind::right}});
    for (const WorkerInfo& worker : *workers)
        table.add({worker.name,
                   {worker.state, colour_of_worker(worker.state)},
                   std::to_string(worker.running),
                   std::to_string(worker.slots),
                   joined(worker.queues, worker.queues_total),
                   joined(worker.types, worker.types_total),
                   worker.host,
                   worker.pid == 0 ? "" : std::to_string(worker.pid),
                   worker.software,
                   ago(worker.connected_at),
                   ago(worker.heard_at)});
    if (!workers->empty()) print(table.format(Terminal::of(stdout)));
    return kExitOk;
}

void print_worker(const Globals& globals, Client& client, const WorkerInfo& worker) {
    const Terminal terminal = Terminal::of(stdout);
    const auto field = [&](const char* name, const std::string& text) {
        if (text.empty()) return;
        const std::string label = std::string(name) + std::string(14 - std::string_view(name).size(), ' ');
        print_line(painted(terminal, Colour::dim, label) + printable(text));
    };
    field("worker", worker.name);
    const bool is_away = worker.state == "away";
    print_line(painted(terminal, Colour::dim, "state         ") +
               painted(terminal, colour_of_worker(worker.state), printable(worker.state)) +
               (is_away && worker.draining ? " (drained)" : ""));
    field("running", std::to_string(worker.running) + " of " + std::to_string(worker.slots) + " slots, room for " +
                         std::to_string(worker.credit));
    field("queues", joined(worker.queues, worker.queues_total));
    field("types", joined(worker.types, worker.types_total));
    field("software", worker.software);
    field("host", worker.host);
    if (worker.pid != 0) field("pid", std::to_string(worker.pid));
    if (worker.connected_at) field("connected", iso_time(*worker.connected_at));
    if (worker.heard_at) field("heard", ago(worker.heard_at) + " ago");
    if (worker.jobs.empty()) return;
    Table jobs({{"JOB", Table::Kind::right},
                {"QUEUE", Table::Kind::flexible},
                {"TYPE", Table::Kind::flexible},
                {"STATE"},
                {"ATTEMPT", Table::Kind::right},
                {"FOR", Table::Kind::right}});
    for (const JobId id : worker.jobs)
        if (const Result<JobInfo> job = client.show(id, globals.call_limit()))
            jobs.add({std::to_string(id.value),
                      job->queue,
                      job->type,
                      {to_string(job->state), colour_of(job->state)},
                      std::to_string(job->attempt) + "/" + std::to_string(job->max_attempts),
                      ago(job->started_at)});
    print("\n" + jobs.format(terminal));
}

int show(const Globals& globals, const std::string& name) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Result<std::vector<WorkerInfo>> workers = workers_of(globals, *client, name);
    if (!workers) return complain(globals, workers.error());
    for (const WorkerInfo& worker : *workers) {
        if (globals.json) {
            print_line(worker_json(worker));
            continue;
        }
        if (&worker != &workers->front()) print("\n");
        print_worker(globals, *client, worker);
    }
    return kExitOk;
}

/// Until none of that name holds a job. What it lets go of is an event that names it, so events say when to look.
int wait_until_empty(const Globals& globals, Client& client, const std::string& name, std::uint64_t after) {
    const auto ends = std::chrono::steady_clock::now() +
                      std::min(globals.wait_limit(), std::chrono::milliseconds(std::chrono::years(10)));
    const EventFilter ends_of_attempts{.kinds = {EventKind::completed, EventKind::failed, EventKind::dead,
                                                 EventKind::cancelled, EventKind::worker_lost, EventKind::released,
                                                 EventKind::worker_left}};
    for (bool look = true;;) {
        if (look) {
            const Result<std::vector<WorkerInfo>> workers = client.workers(name, globals.call_limit());
            if (!workers) return complain(globals, workers.error());
            if (std::all_of(workers->begin(), workers->end(), [](const WorkerInfo& w) { return w.running == 0; }))
                return kExitOk;
        }
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(ends - std::chrono::steady_clock::now());
        if (left.count() <= 0)
            return complain(Error{Code::timeout, "\"" + name + "\" still holds jobs; it stays drained", 0});
        const Result<EventPage> page =
            client.events(ends_of_attempts, after, std::min<std::chrono::milliseconds>(left, std::chrono::seconds(25)));
        if (!page) return complain(globals, page.error());
        after = page->last;
        // A worker that is away has its events when its time is over; one that the events have lost is looked up.
        look = page->gone != 0 || std::any_of(page->events.begin(), page->events.end(),
                                              [&](const EventInfo& event) { return event.worker == name; });
    }
}

int steer(const Globals& globals, const std::string& name, WorkerAction action, bool wait) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    std::uint64_t after = 0;
    if (wait) {
        const Result<EventPage> now =
            client->events({}, kFromNow, std::chrono::milliseconds(0), 1, globals.call_limit());
        if (!now) return complain(globals, now.error());
        after = now->last;
    }
    const bool drain = action == WorkerAction::drain;
    const Result<std::size_t> done =
        drain ? client->drain(name, globals.call_limit()) : client->resume(name, globals.call_limit());
    if (!done) return complain(globals, Error{done.error().code, "\"" + name + "\": " + done.error().text, 0});
    const int exit = wait ? wait_until_empty(globals, *client, name, after) : kExitOk;
    if (globals.json) {
        print_line(steered_json(name, *done, drain));
    } else if (exit == kExitOk) {
        const std::string count = std::to_string(*done) + (*done == 1 ? " worker " : " workers ");
        print_line(name + "  " + count + (drain ? "drained" : "resumed") + (wait ? ", and empty" : ""));
    }
    return exit;
}

}  // namespace

void add_worker(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("worker", "Show workers, drain and resume them");
    add_group_help(*verb,
                   "  jobyard worker list\n  jobyard worker show build-7\n  jobyard worker drain --wait build-7\n");

    CLI::App* all = verb->add_subcommand("list", "List the workers that are connected");
    all->footer(std::string("\nStates: idle, busy, draining (it is handed nothing more), away (its connection closed a "
                            "moment ago).\n") +
                kExitCodes);
    add_common(*all, globals);
    all->callback([&globals] { globals.action = [&globals] { return list(globals); }; });

    auto name = std::make_shared<std::string>();
    CLI::App* one = verb->add_subcommand("show", "Show a worker and the jobs it holds");
    one->add_option("NAME", *name, "Its name")->required();
    one->footer(kExitCodes);
    add_common(*one, globals);
    one->callback([&globals, name] { globals.action = [&globals, name] { return show(globals, *name); }; });

    auto wait = std::make_shared<bool>(false);
    CLI::App* drain = verb->add_subcommand("drain", "Hand a worker nothing more; it finishes what it holds and stays");
    drain->add_option("NAME", *name, "Its name; all workers that share it are drained")->required();
    drain->add_flag("--wait", *wait, "Return when it holds nothing any more");
    drain->footer(std::string("\nIt stays drained until it is resumed or leaves, also when it reconnects or the broker "
                              "restarts.\n\nExample:\n  jobyard worker drain --wait build-7 && ssh build-7 reboot\n") +
                  kExitCodes);
    add_common(*drain, globals);
    drain->callback([&globals, name, wait] {
        globals.action = [&globals, name, wait] { return steer(globals, *name, WorkerAction::drain, *wait); };
    });

    CLI::App* resume = verb->add_subcommand("resume", "Hand a drained worker jobs again");
    resume->add_option("NAME", *name, "Its name; all workers that share it are resumed")->required();
    resume->footer(kExitCodes);
    add_common(*resume, globals);
    resume->callback([&globals, name] {
        globals.action = [&globals, name] { return steer(globals, *name, WorkerAction::resume, false); };
    });
}

}  // namespace jobyard::cli
