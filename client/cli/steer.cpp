// `jobyard cancel` and `jobyard dead`.

#include <algorithm>

#include "job_json.hpp"
#include "queries.hpp"

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
                                         ? "running; its worker is told to stop it"
                                         : std::string("had ended: ") + to_string(answer->state);
            print_line(std::to_string(jobs[i].value) + "  " + text);
        }
    }
    return worst;
}

/// Tells the answers; the number of jobs redriven is added to `redriven`.
int redrive(const Globals& globals, Client& client, const std::vector<JobId>& jobs, std::uint64_t& redriven) {
    const std::vector<Result<void>> answers = client.redrive(jobs, globals.call_limit());
    int worst = kExitOk;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        const Code code = answers[i] ? Code::ok : answers[i].error().code;
        if (globals.json) print_line(answer_json(jobs[i], code, answers[i] ? "" : answers[i].error().text));
        if (answers[i]) ++redriven;
        else worst = std::max(worst, complain_about(jobs[i], answers[i].error()));
    }
    return worst;
}

int redrive_all(const Globals& globals, Client& client, JobFilter filter, std::uint64_t& redriven) {
    filter.state = JobState::dead;
    Progress progress("redriving");
    std::uint64_t cursor = 0;
    int worst = kExitOk;
    do {
        const Result<JobPage> page = client.list(filter, cursor, 256, globals.call_limit());
        if (!page) {
            progress.clear();
            return complain(page.error());
        }
        std::vector<JobId> jobs;
        for (const JobInfo& job : page->jobs) jobs.push_back(job.id);
        cursor = page->next_cursor;
        progress.clear();
        worst = std::max(worst, redrive(globals, client, jobs, redriven));
        progress.show(-1, std::to_string(redriven) + " jobs");
    } while (cursor != 0 && worst == kExitOk);
    return worst;
}

struct RedriveOptions {
    std::vector<std::uint64_t> numbers;
    bool all = false;
    JobFilter filter;
};

int redrive_verb(const Globals& globals, const RedriveOptions& options) {
    const bool filtered = !options.filter.queue.empty() || !options.filter.type.empty();
    if (options.all == !options.numbers.empty() || (filtered && !options.all)) {
        complain("expected numbers of jobs, or --all, which --queue and --type may narrow");
        return kExitUsage;
    }
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    std::uint64_t redriven = 0;
    const int exit = options.all ? redrive_all(globals, *client, options.filter, redriven)
                                 : redrive(globals, *client, job_ids(options.numbers), redriven);
    if (!globals.json) print_line(std::to_string(redriven) + (redriven == 1 ? " job redriven" : " jobs redriven"));
    return exit;
}

}  // namespace

void add_cancel(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("cancel", "Cancel jobs, running or not");
    auto numbers = std::make_shared<std::vector<std::uint64_t>>();
    verb->add_option("ID", *numbers, "Numbers of jobs")->required();
    verb->footer(std::string("\nA running job gets TERM, then KILL; it is cancelled when its worker says so, unless it "
                             "completes first.\n\n"
                             "Example:\n  jobyard list --json --queue tests | jq -r .id | xargs jobyard cancel\n") +
                 kExitCodes);
    add_common(*verb, globals);
    verb->callback([&globals, numbers] { globals.action = [&globals, numbers] { return cancel(globals, *numbers); }; });
}

void add_dead(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("dead", "The dead letter queue: jobs that failed for good");
    verb->require_subcommand(1);

    CLI::App* list = verb->add_subcommand("list", "List dead jobs and what killed them");
    auto filter = std::make_shared<JobFilter>(JobFilter{JobState::dead});
    auto most = std::make_shared<std::uint64_t>(100);
    list->add_option("--queue", filter->queue, "Only jobs of this queue");
    list->add_option("--type", filter->type, "Only jobs of this type");
    list->add_option("--limit", *most, "At most so many; 0 for all")->capture_default_str();
    list->footer(kExitCodes);
    add_common(*list, globals);
    list->callback([&globals, filter, most] {
        globals.action = [&globals, filter, most] { return print_list(globals, *filter, *most); };
    });

    CLI::App* again = verb->add_subcommand("redrive", "Give dead jobs a new round");
    auto options = std::make_shared<RedriveOptions>();
    again->add_option("ID", options->numbers, "Numbers of dead jobs");
    again->add_flag("--all", options->all, "All dead jobs");
    again->add_option("--queue", options->filter.queue, "With --all: only those of this queue");
    again->add_option("--type", options->filter.type, "With --all: only those of this type");
    again->footer(std::string("\nThey keep their numbers and options; errors and lost workers count from 0 again.\n\n"
                              "Examples:\n  jobyard dead redrive 17\n  jobyard dead redrive --all --queue images\n") +
                  kExitCodes);
    add_common(*again, globals);
    again->callback(
        [&globals, options] { globals.action = [&globals, options] { return redrive_verb(globals, *options); }; });
}

}  // namespace jobyard::cli
