// How long work stands still when something is killed with -9: from the death of a worker to its jobs running in
// another one, and from the death of the broker to the first job after it was started again, by the jobs it holds.

#include <memory>
#include <string>
#include <vector>

#include "options.hpp"
#include "report.hpp"
#include "restart.hpp"
#include "stamps.hpp"
#include "subcommand.hpp"
#include "yard.hpp"

namespace jobyard::bench {
namespace {

struct Options {
    std::vector<std::size_t> depths = {0, 100'000, 1'000'000};
    unsigned rounds = 5;
    unsigned held = 4;
    unsigned grace_ms = 3'000;
    std::size_t payload = 100;
    std::string directory = {};
    bool json = false;
};

constexpr unsigned kWorkers = 2;
constexpr unsigned kLongUs = 600'000'000;

/// Milliseconds from the death of a worker to the start of each of its jobs in another.
std::vector<double> worker_failover(const Options& options) {
    Stamps stamps(options.held);
    Yard yard({options.directory, {"--reconnect-grace", std::to_string(options.grace_ms)}}, 0);
    const auto connected = [&yard](unsigned workers) {
        wait_until([&] { return yard.stats().workers == workers; }, std::to_string(workers) + " workers are connected");
    };
    const auto all_stamped = [&stamps] {
        for (std::size_t i = 0; i < stamps.size(); ++i)
            if (stamps.get(i) == 0) return false;
        return true;
    };
    std::vector<double> took;
    Progress progress("killing workers");
    for (unsigned round = 0; round < options.rounds; ++round) {
        progress.show(round, options.rounds, "kills");
        for (std::size_t i = 0; i < stamps.size(); ++i) stamps.set(i, 0);
        const unsigned held = options.held;
        WorkerProcess victim(yard.broker.endpoint(),
                             {.slots = held, .credit = held, .handler_us = kLongUs, .stamps = &stamps});
        connected(1);
        std::vector<Submission> jobs;
        jobs.reserve(held);
        for (std::size_t i = 0; i < held; ++i)
            jobs.push_back(
                yard.client.submit({.type = "bench", .payload = Stamps::payload(i, options.payload), .watch = true}));
        wait_until(all_stamped, "the jobs run");
        WorkerProcess heir(yard.broker.endpoint(), {.slots = held, .credit = held, .stamps = &stamps});
        connected(2);
        for (std::size_t i = 0; i < stamps.size(); ++i) stamps.set(i, 0);
        const std::int64_t killed = monotonic_ns();
        victim.kill();
        wait_until(all_stamped, "the jobs of the killed worker run in another");
        for (std::size_t i = 0; i < stamps.size(); ++i)
            took.push_back(static_cast<double>(stamps.get(i) - killed) / 1e6);
        for (const Submission& job : jobs) job.result().value();
        heir.kill();
        connected(0);
    }
    return took;
}

Json broker_failover(const Options& options, std::size_t depth) {
    const std::string payload(options.payload, 'x');
    const std::string jobs = std::to_string(depth + 1'000'000);
    Yard yard({options.directory, {"--limit", "queue_jobs=" + jobs, "--limit", "jobs=" + jobs}}, kWorkers);
    yard.fill(
        depth, [&](std::size_t) { return JobSpec{.type = "nobody", .payload = payload}; }, "filling");
    std::vector<double> ready, answered, first_job;
    Progress progress("killing the broker");
    for (unsigned round = 0; round < options.rounds; ++round) {
        progress.show(round, options.rounds, "kills");
        const Restart took = restart(yard, {.type = "bench", .payload = payload});
        ready.push_back(took.ready_s);
        answered.push_back(took.answered_s);
        first_job.push_back(took.first_job_s);
    }
    return {{"depth", depth},
            {"ready_s", median(ready)},
            {"answered_s", median(answered)},
            {"first_job_s", median(first_job)}};
}

void run(const Options& options) {
    Json out = heading("failover");
    out.update({{"payload_bytes", options.payload},
                {"workers", kWorkers},
                {"batch", "none"},
                {"rounds", options.rounds},
                {"jobs_held", options.held},
                {"grace_ms", options.grace_ms}});
    const std::vector<double> took = worker_failover(options);
    std::vector<double> beyond;
    beyond.reserve(took.size());
    for (const double ms : took) beyond.push_back(ms - options.grace_ms);
    out["worker_killed_ms"] = percentiles(took);
    out["beyond_grace_ms"] = percentiles(beyond);
    Json rows = Json::array();
    for (const std::size_t depth : options.depths) rows.push_back(broker_failover(options, depth));
    out["broker_killed"] = rows;
    print(out, options.json);
}

}  // namespace

Subcommand add_failover(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* command =
        app.add_subcommand("failover", "how long work stands still when a worker, or the broker, is killed with -9");
    add_count(*command, "--depth", options->depths, "jobs queued when the broker is killed; a list gives a row each",
              0);
    add_count(*command, "--rounds", options->rounds, "kills of each kind");
    add_count(*command, "--held", options->held, "jobs the killed worker runs", 1, kMaxCredit);
    add_count(*command, "--grace-ms", options->grace_ms,
              "how long the broker waits for a worker whose connection closed (its --reconnect-grace)");
    add_payload(*command, options->payload, "bytes a job, 8 to 256KiB", Stamps::kLeastPayload);
    add_directory(*command, options->directory);
    add_json(*command, options->json);
    return {command, [options] { run(*options); }};
}

}  // namespace jobyard::bench
