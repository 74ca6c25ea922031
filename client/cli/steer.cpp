// `jobyard cancel`, and what changes jobs that wait: hold, release, reprioritize, move.

#include <algorithm>

#include "job_json.hpp"
#include "tasks.hpp"

namespace jobyard::cli {
namespace {

constexpr const char* kExitCodes =
    "\nExit codes: 0 ok; 2 wrong usage; 3 no broker, or the time limit passed; 4 refused, or no such job.";

int cancel(const Globals& globals, const std::vector<std::uint64_t>& numbers) {
    const std::vector<JobId> jobs = job_ids(numbers);
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const std::vector<Result<CancelAnswer>> answers = client->cancel(jobs, globals.call_limit());
    int worst = kExitOk;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        const Result<CancelAnswer>& answer = answers[i];
        if (!answer) {
            if (globals.json) print_line(answer_json(jobs[i], answer.error().code, answer.error().text));
            worst = std::max(worst, complain_about(jobs[i], answer.error()));
        } else if (globals.json) {
            print_line(answer_json(jobs[i], answer->code));
        } else {
            const std::string text = answer->code == Code::ok ? "cancelled"
                                     : answer->code == Code::cancel_requested
                                         ? "running; it is told to stop"
                                         : std::string("had ended: ") + to_string(answer->state);
            print_line(std::to_string(jobs[i].value) + "  " + text);
        }
    }
    return worst;
}

struct CancelOptions {
    std::vector<std::uint64_t> numbers;
    bool all = false;
    std::string state;
    TaskOptions task;
};

int cancel_verb(const Globals& globals, CancelOptions& options) {
    if (options.all == !options.numbers.empty() || (!options.all && (!options.state.empty() || options.task.used())))
        return wrong_usage(
            globals,
            "expected numbers of jobs, or --all, which --state, --queue, --type, --older and --newer may narrow");
    if (!options.all) return cancel(globals, options.numbers);
    TaskSpec spec = options.task.spec(TaskAction::cancel);
    spec.state = job_state_from(options.state);
    return run_task(globals, spec, options.task);
}

/// Asks for the change of all jobs, and tells what `done` says of each.
int change(const Globals& globals, const std::vector<std::uint64_t>& numbers, const JobChange& change,
           const std::string& done) {
    const std::vector<JobId> jobs = job_ids(numbers);
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const std::vector<Result<void>> answers = client->change(jobs, change, globals.call_limit());
    int worst = kExitOk;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        const Code code = answers[i] ? Code::ok : answers[i].error().code;
        if (globals.json) print_line(answer_json(jobs[i], code, answers[i] ? "" : answers[i].error().text));
        else if (answers[i]) print_line(std::to_string(jobs[i].value) + "  " + done);
        if (!answers[i]) worst = std::max(worst, complain_about(jobs[i], answers[i].error()));
    }
    return worst;
}

}  // namespace

void add_cancel(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("cancel", "Cancel jobs, running or not");
    auto options = std::make_shared<CancelOptions>();
    verb->add_option("ID", options->numbers, "Numbers of jobs, or of arrays (with all of their jobs)");
    verb->add_flag("--all", options->all, "All jobs that have not ended");
    verb->add_option("--state", options->state, "With --all: only jobs in this state")
        ->check(CLI::IsMember({"scheduled", "queued", "assigned", "running", "retrying"}));
    options->task.add_to(*verb);
    verb->footer(std::string("\nA running job gets TERM, then KILL; it is cancelled when its worker says so, unless it "
                             "completes first.\nWith --all the broker does it, job by job; what is submitted meanwhile "
                             "is left alone.\n\n"
                             "Examples:\n  jobyard cancel 17\n  jobyard cancel --all --queue tests --state queued\n"
                             "  jobyard cancel --all --older 1d --dry-run\n") +
                 kExitCodes);
    add_common(*verb, globals);
    verb->callback(
        [&globals, options] { globals.action = [&globals, options] { return cancel_verb(globals, *options); }; });
}

void add_changes(CLI::App& app, Globals& globals) {
    struct Options {
        std::vector<std::uint64_t> numbers;
        JobChange change;
        int priority = 0;
    };
    const auto add = [&](const char* name, const char* what, const std::string& text) {
        CLI::App* verb = app.add_subcommand(name, what);
        auto options = std::make_shared<Options>();
        verb->footer("\n" + text + "\n" + kExitCodes);
        add_common(*verb, globals);
        return std::pair(verb, options);
    };
    const auto [hold, held] = add("hold", "Hold jobs back until they are released",
                                  "A held job keeps its place; one that runs cannot be held.\n\n"
                                  "Example:\n  jobyard hold 17 18");
    hold->add_option("ID", held->numbers, "Numbers of jobs that wait")->required();
    hold->callback([&globals, held = held] {
        held->change.held = true;
        globals.action = [&globals, held] { return change(globals, held->numbers, held->change, "held"); };
    });
    const auto [release, released] = add("release", "Let jobs go that were held",
                                         "Also those submitted with --hold. A delay that has not passed goes on.\n\n"
                                         "Example:\n  jobyard release 17");
    release->add_option("ID", released->numbers, "Numbers of held jobs")->required();
    release->callback([&globals, released = released] {
        released->change.held = false;
        globals.action = [&globals, released] {
            return change(globals, released->numbers, released->change, "released");
        };
    });
    const auto [reprioritize, urgent] = add("reprioritize", "Give jobs that wait another priority",
                                            "Among jobs of its new priority it stands where its age says.\n\n"
                                            "Example:\n  jobyard reprioritize 9 17 18");
    reprioritize->add_option("PRIORITY", urgent->priority, "1 to 10; 10 goes first")
        ->required()
        ->check(CLI::Range(kPriorityMin, kPriorityMax));
    reprioritize->add_option("ID", urgent->numbers, "Numbers of jobs that wait")->required();
    reprioritize->callback([&globals, urgent = urgent] {
        urgent->change.priority = static_cast<std::uint8_t>(urgent->priority);
        globals.action = [&globals, urgent] {
            return change(globals, urgent->numbers, urgent->change, "priority " + std::to_string(urgent->priority));
        };
    });
    const auto [move, moved] = add("move", "Move jobs that wait to another queue",
                                   "A job with a key stays in its queue, which the key belongs to.\n\n"
                                   "Example:\n  jobyard move slow 17 18");
    move->add_option("QUEUE", moved->change.queue, "The other queue")->required()->check([](const std::string& given) {
        return given.empty() ? "expected the name of a queue" : "";
    });
    move->add_option("ID", moved->numbers, "Numbers of jobs that wait")->required();
    move->callback([&globals, moved = moved] {
        globals.action = [&globals, moved] {
            return change(globals, moved->numbers, moved->change, "in queue " + moved->change.queue);
        };
    });
}

}  // namespace jobyard::cli
