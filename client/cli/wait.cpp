// `jobyard wait` and `jobyard result`.

#include <algorithm>

#include "arrays.hpp"
#include "command_job.hpp"
#include "verbs.hpp"

namespace jobyard::cli {
namespace {

/// Watched at a time: fewer than a broker allows a session.
constexpr std::size_t kWatched = 16'384;
/// Looked at while they are waited for: they may be arrays.
constexpr std::size_t kFew = 16;

int wait(const Globals& globals, const std::vector<std::uint64_t>& numbers) {
    const std::vector<JobId> jobs = job_ids(numbers);
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    Progress progress("waiting");
    int worst = kExitOk;
    for (std::size_t first = 0; first < jobs.size(); first += kWatched) {
        const std::span<const JobId> some = std::span(jobs).subspan(first, std::min(kWatched, jobs.size() - first));
        const std::vector<Submission> watched = client->watch(some, globals.wait_limit());
        for (std::size_t i = 0; i < some.size(); ++i) {
            if (!watched[i].has_result())
                progress.show(static_cast<double>(first + i) / static_cast<double>(jobs.size()),
                              std::to_string(first + i) + " of " + std::to_string(jobs.size()) + " have ended");
            const Result<JobResult> result = jobs.size() <= kFew
                                                 ? wait_with_progress(globals, *client, some[i], watched[i], progress)
                                                 : watched[i].result(globals.wait_limit());
            progress.clear();
            worst = std::max(worst, report_end(globals, some[i], result));
            std::fflush(stdout);
        }
    }
    return worst;
}

int result(const Globals& globals, JobId id) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Result<JobInfo> job = client->show(id, globals.call_limit());
    if (!job) return complain_about(globals, id, job.error());
    if (!has_ended(job->state)) {
        complain("job " + std::to_string(id.value) + " is " + to_string(job->state) +
                 " and has no result yet; jobyard wait " + std::to_string(id.value) + " waits for its end");
        return kExitNotCompleted;
    }
    const Result<JobResult> ended = client->wait(id, globals.call_limit());
    if (!ended) return complain_about(globals, id, ended.error());
    return report_result(globals, *ended, job->type == kCommandType, false);
}

}  // namespace

void add_wait(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("wait", "Wait until jobs have ended and tell how");
    auto numbers = std::make_shared<std::vector<std::uint64_t>>();
    verb->add_option("ID", *numbers, "Numbers of jobs, or of arrays")->required();
    verb->footer(
        "\nAn array has ended when all of its jobs have, and is completed if they all are.\n"
        "\nExamples:\n  jobyard wait 17 18 19\n  jobyard wait --time-limit 10m --json 17\n\n"
        "Exit codes, of the worst: 0 all completed; 1 one is dead or cancelled; 2 wrong usage; 3 no broker, or the "
        "time\n"
        "limit passed; 4 one is not known, or retention has removed it.");
    add_common(*verb, globals);
    verb->callback([&globals, numbers] { globals.action = [&globals, numbers] { return wait(globals, *numbers); }; });
}

void add_result(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("result", "Print the result of a job that has ended");
    auto number = std::make_shared<std::uint64_t>();
    verb->add_option("ID", *number, "Number of a job")->required();
    verb->footer(
        "\nOf a command: what it wrote to standard output and standard error. Of any other job: its result, as it is.\n"
        "With --json a command's output is text in which bytes that are no UTF-8 are replaced; another result that is "
        "no\n"
        "UTF-8 is \"result_base64\".\n\n"
        "Examples:\n  jobyard result 17 > out.bin\n  jobyard result --json 17 | jq .result.exit_status\n\n"
        "Exit codes: 0 the job completed; 1 it did not, or has not ended; 2 wrong usage; 3 no broker, or the time "
        "limit\n"
        "passed; 4 it is not known, or retention has removed it.");
    add_common(*verb, globals);
    verb->callback([&globals, number] { globals.action = [&globals, number] { return result(globals, {*number}); }; });
}

}  // namespace jobyard::cli
