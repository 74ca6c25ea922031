// What many connected workers cost: the rate with N of them, compared with two, turn by turn. Once all but two are idle
// (they serve another type, and say every few seconds that they are alive), once all serve the type that is measured.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "compare.hpp"
#include "options.hpp"
#include "report.hpp"
#include "subcommand.hpp"

namespace jobyard::bench {
namespace {

struct Options {
    std::vector<unsigned> workers = {10, 100, 1'000, 2'000};
    std::size_t jobs = 100'000;
    unsigned rounds = 5;
    std::size_t payload = 100;
    unsigned credit = 1024;
    std::string directory = {};
    bool idle_only = false;
    bool json = false;
};

constexpr unsigned kBusy = 2;
constexpr unsigned kSessionsPerProcess = 200;  // each has four threads and about a dozen descriptors

void add_sessions(Yard& yard, unsigned count, WorkerProcess::Options worker) {
    Progress progress("connecting");
    for (unsigned left = count; left > 0; left -= worker.sessions) {
        progress.show(count - left, count, "workers");
        worker.sessions = std::min(left, kSessionsPerProcess);
        yard.add_workers(1, worker);
    }
}

Comparison compare_with_two(const Options& options, Yard& crowd) {
    const std::string payload(options.payload, 'x');
    const MakeJob make = [&payload](std::size_t) { return JobSpec{.type = "bench", .payload = payload}; };
    Yard two({options.directory, {}}, kBusy, {.credit = options.credit});
    for (Yard* yard : {&two, &crowd}) yard->end_to_end(options.jobs / 2, make);  // warm
    return compare({two, make}, {crowd, make}, options.jobs, options.rounds);
}

Json measure(const Options& options, unsigned workers) {
    Json row{{"workers", workers}};
    {
        Yard crowd({options.directory, {}}, kBusy, {.credit = options.credit});
        add_sessions(crowd, workers - kBusy, {.types = {"idle"}, .credit = 1});
        const Comparison idle = compare_with_two(options, crowd);
        row.update({{"idle_jobs_per_s", idle.jobs_per_s},
                    {"idle_share_of_two", idle.share},
                    {"idle_share_min", idle.share_min},
                    {"idle_share_max", idle.share_max},
                    {"idle_broker_us", idle.broker_us},
                    {"two_broker_us", idle.plain_broker_us}});
    }
    if (options.idle_only) return row;
    // Together they may hold as many jobs as the two, else the comparison were one of credit.
    const unsigned credit = std::max(kBusy * options.credit / workers, 1U);
    Yard crowd({options.directory, {}}, 0);
    add_sessions(crowd, workers, {.credit = credit});
    const Comparison all = compare_with_two(options, crowd);
    row.update({{"all_credit", credit},
                {"all_jobs_per_s", all.jobs_per_s},
                {"all_share_of_two", all.share},
                {"all_broker_us", all.broker_us}});
    return row;
}

void run(const Options& options) {
    Json out = heading("fanout");
    out.update({{"payload_bytes", options.payload},
                {"busy_workers", kBusy},
                {"credit", options.credit},
                {"batch", "as many as come while one commit runs"},
                {"jobs_a_round", options.jobs},
                {"rounds", options.rounds}});
    Json rows = Json::array();
    for (const unsigned workers : options.workers) rows.push_back(measure(options, workers));
    out["fanout"] = rows;
    print(out, options.json);
}

}  // namespace

Subcommand add_fanout(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* command =
        app.add_subcommand("fanout", "the rate with many connected workers, idle or not, compared with two");
    add_count(*command, "--workers", options->workers, "workers connected; a list gives rows for each", kBusy + 1,
              9'000);
    add_count(*command, "--jobs", options->jobs, "jobs a round");
    add_count(*command, "--rounds", options->rounds, "rounds, each against both brokers");
    add_payload(*command, options->payload, "bytes a job, 0 to 256KiB");
    add_count(*command, "--credit", options->credit, "jobs each of the two busy workers may hold (prefetch)", 1,
              kMaxCredit);
    command->add_flag("--idle-only", options->idle_only, "leave out the case that all of them work");
    add_directory(*command, options->directory);
    add_json(*command, options->json);
    return {command, [options] { run(*options); }};
}

}  // namespace jobyard::bench
