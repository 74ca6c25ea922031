// `jobyard dead`: what failed for good, what killed it, and what becomes of it.

#include <unistd.h>

#include <algorithm>
#include <map>

#include "dead.hpp"
#include "job_json.hpp"
#include "jobyard/fingerprint.hpp"
#include "queries.hpp"
#include "tasks.hpp"
#include "values.hpp"

namespace jobyard::cli {
namespace {

constexpr const char* kExitCodes =
    "\nExit codes: 0 ok; 2 wrong usage; 3 no broker, or the time limit passed; 4 refused, or no such job.";

/// The most frequent first.
int print_groups(const Globals& globals, const JobFilter& filter) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    std::map<std::string, ErrorGroup> groups;
    std::uint64_t cursor = 0;
    std::uint64_t seen = 0;
    Progress progress("looking");
    do {
        const Result<JobPage> page = client->list(filter, cursor, kMaxItems, globals.call_limit());
        if (!page) {
            progress.clear();
            return complain(globals, page.error());
        }
        cursor = page->next_cursor;
        for (const JobInfo& job : page->jobs) {
            ErrorGroup& group = groups[fingerprint(job.type, job.error)];
            const WallTime ended = job.ended_at.value_or(job.created_at);
            ++group.count;
            group.first_at = std::min(group.first_at, ended);
            if (ended < group.last_at) continue;
            group.last_at = ended;
            group.last_job = job.id;
            group.type = job.type;
            group.error = job.error;
        }
        seen += page->jobs.size();
        progress.show(-1, std::to_string(seen) + " dead jobs");
    } while (cursor != 0);
    progress.clear();
    std::vector<ErrorGroup> order;
    for (auto& [print, group] : groups) {
        group.fingerprint = print;
        order.push_back(std::move(group));
    }
    std::stable_sort(order.begin(), order.end(),
                     [](const ErrorGroup& a, const ErrorGroup& b) { return a.count > b.count; });
    if (globals.json) {
        for (const ErrorGroup& group : order) print_line(error_group_json(group));
        return kExitOk;
    }
    Table table({{"COUNT", Table::Kind::right},
                 {"FINGERPRINT"},
                 {"TYPE", Table::Kind::flexible},
                 {"FIRST"},
                 {"LAST"},
                 {"LAST JOB", Table::Kind::right},
                 {"ERROR", Table::Kind::flexible}});
    for (const ErrorGroup& group : order)
        table.add({std::to_string(group.count), group.fingerprint, group.type, iso_time(group.first_at),
                   iso_time(group.last_at), std::to_string(group.last_job.value), group.error});
    if (!order.empty()) print(table.format(Terminal::of(stdout)));
    return kExitOk;
}

CLI::Validator is_reason() { return CLI::IsMember({"failed", "not_retryable", "crash_loop", "expired"}); }

CLI::Validator is_fingerprint() {
    return {[](const std::string& given) -> std::string {
                const bool hex = given.find_first_not_of("0123456789abcdef") == std::string::npos;
                if (hex && given.size() == kFingerprintBytes) return "";
                return "expected a fingerprint of 16 hexadecimal digits, as `jobyard dead list --group` prints them";
            },
            ""};
}

struct DeadOptions {
    std::vector<std::uint64_t> numbers;
    bool all = false;
    std::string reason;
    std::string error;
    TaskOptions task;
    bool yes = false;

    void add_to(CLI::App& verb) {
        verb.add_option("ID", numbers, "Numbers of dead jobs");
        verb.add_flag("--all", all, "All dead jobs");
        verb.add_option("--reason", reason, "With --all: only those that are dead for this reason")->check(is_reason());
        verb.add_option("--error", error, "With --all: only those with this fingerprint (`jobyard dead list --group`)")
            ->check(is_fingerprint());
        task.add_to(verb);
    }
    /// Nothing if they go together; else it is said why not, and this is the exit code.
    [[nodiscard]] std::optional<int> wrong(const Globals& globals) const {
        const bool narrowed = task.used() || !reason.empty() || !error.empty();
        if (all == numbers.empty() && (all || !narrowed)) return std::nullopt;
        return wrong_usage(globals,
                           "expected numbers of jobs, or --all, which --queue, --type, --reason, --error, --older and "
                           "--newer may narrow");
    }
    [[nodiscard]] TaskSpec spec(TaskAction action) const {
        TaskSpec spec = task.spec(action);
        spec.error = error;
        for (const Reason each : {Reason::failed, Reason::not_retryable, Reason::crash_loop, Reason::expired})
            if (reason == to_string(each)) spec.reason = each;
        spec.jobs = job_ids(numbers);
        return spec;
    }
};

int redrive(const Globals& globals, const std::vector<JobId>& jobs) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const std::vector<Result<void>> answers = client->redrive(jobs, globals.call_limit());
    int worst = kExitOk;
    std::uint64_t redriven = 0;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        const Code code = answers[i] ? Code::ok : answers[i].error().code;
        if (globals.json) print_line(answer_json(jobs[i], code, answers[i] ? "" : answers[i].error().text));
        if (answers[i]) ++redriven;
        else worst = std::max(worst, complain_about(jobs[i], answers[i].error()));
    }
    if (!globals.json) print_line(std::to_string(redriven) + (redriven == 1 ? " job redriven" : " jobs redriven"));
    return worst;
}

/// Asks on the terminal whether it is meant, with how many jobs it would be.
int purge(const Globals& globals, DeadOptions& options) {
    if (options.numbers.size() > kMaxItems) return wrong_usage(globals, "at most 1024 numbers at a time");
    TaskSpec spec = options.spec(TaskAction::purge);
    if (options.yes || options.task.dry_run) return run_task(globals, spec, options.task);
    if (::isatty(STDIN_FILENO) == 0)
        return wrong_usage(globals,
                           "purged jobs are gone for good: say --yes, or --dry-run to see how many it would be");
    {
        const std::unique_ptr<Client> client = connected_client(globals);
        if (!client) return kExitUnreachable;
        spec.count_only = true;
        const std::variant<std::uint64_t, int> counted = follow_task(globals, *client, spec);
        if (const int* exit = std::get_if<int>(&counted)) return *exit;
        std::fprintf(stderr, "Remove %llu dead jobs, with their payloads, for good? [y/N] ",
                     static_cast<unsigned long long>(std::get<std::uint64_t>(counted)));
    }
    const int answer = std::getchar();
    if (answer != 'y' && answer != 'Y') {
        complain("nothing was removed");
        return kExitOk;
    }
    spec.count_only = false;
    return run_task(globals, spec, options.task);
}

}  // namespace

void add_dead(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("dead", "The dead letter queue: jobs that failed for good");
    add_group_help(*verb,
                   "  jobyard dead list --group\n  jobyard dead show 17\n  jobyard dead redrive --all --queue images\n"
                   "  jobyard dead purge --all --older 7d --dry-run\n");

    CLI::App* list = verb->add_subcommand("list", "List dead jobs and what killed them");
    struct ListOptions {
        JobFilter filter{JobState::dead};
        std::string reason;
        std::string error;
        std::uint64_t most = 100;
        bool group = false;
    };
    auto listed = std::make_shared<ListOptions>();
    list->add_option("--queue", listed->filter.queue, "Only jobs of this queue");
    list->add_option("--type", listed->filter.type, "Only jobs of this type");
    list->add_option("--reason", listed->reason, "Only those that are dead for this reason")->check(is_reason());
    list->add_option("--error", listed->error, "Only those with this fingerprint, as --group prints them")
        ->check(is_fingerprint());
    list->add_option("--limit", listed->most, "At most so many; 0 for all")->capture_default_str();
    list->add_flag("--group", listed->group,
                   "Count by error: those that differ only in numbers, names and paths are one");
    list->footer(std::string("\nExamples:\n  jobyard dead list --queue images\n  jobyard dead list --group\n"
                             "  jobyard dead list --error 8c3b1f60a92d4e57\n") +
                 kExitCodes);
    add_common(*list, globals);
    list->callback([&globals, listed] {
        globals.action = [&globals, listed] {
            const Wanted wanted = [&](const JobInfo& job) {
                return (listed->reason.empty() || job.reason == listed->reason) &&
                       (listed->error.empty() || fingerprint(job.type, job.error) == listed->error);
            };
            const bool narrowed = !listed->reason.empty() || !listed->error.empty();
            if (listed->group && narrowed)
                return wrong_usage(globals, "--group counts all; --reason and --error exclude it");
            if (listed->group) return print_groups(globals, listed->filter);
            return print_list(globals, listed->filter, listed->most, narrowed ? wanted : Wanted());
        };
    });

    CLI::App* show = verb->add_subcommand("show", "Show dead jobs with their attempts");
    show->footer(std::string("\nExample:\n  jobyard dead show 17\n") + kExitCodes);
    add_show_options(*show, globals);

    add_dead_edit(*verb, globals);

    CLI::App* again = verb->add_subcommand("redrive", "Give dead jobs a new round");
    auto redriven = std::make_shared<DeadOptions>();
    redriven->add_to(*again);
    again->footer(std::string("\nThey keep their numbers and options; errors and lost workers count from 0 again.\n\n"
                              "Examples:\n  jobyard dead redrive 17\n  jobyard dead redrive --all --queue images\n"
                              "  jobyard dead redrive --all --error 8c3b1f60a92d4e57 --dry-run\n") +
                  kExitCodes);
    add_common(*again, globals);
    again->callback([&globals, redriven] {
        globals.action = [&globals, redriven] {
            if (const std::optional<int> wrong = redriven->wrong(globals)) return *wrong;
            if (!redriven->all) return redrive(globals, job_ids(redriven->numbers));
            return run_task(globals, redriven->spec(TaskAction::redrive), redriven->task);
        };
    });

    CLI::App* away = verb->add_subcommand("purge", "Remove dead jobs for good");
    auto purged = std::make_shared<DeadOptions>();
    purged->add_to(*away);
    away->add_flag("--yes", purged->yes, "Do not ask");
    away->footer(
        std::string("\nOn a terminal it says how many it would be, and asks.\n\n"
                    "Examples:\n  jobyard dead purge 17 --yes\n  jobyard dead purge --all --older 7d --dry-run\n") +
        kExitCodes);
    add_common(*away, globals);
    away->callback([&globals, purged] {
        globals.action = [&globals, purged] {
            if (const std::optional<int> wrong = purged->wrong(globals)) return *wrong;
            return purge(globals, *purged);
        };
    });
}

}  // namespace jobyard::cli
