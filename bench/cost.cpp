// Whether a job costs the broker more when there is more of everything else: jobs that are done, queues, types. Each
// is compared with a plain broker that has the same workers, turn by turn.

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "compare.hpp"
#include "jobyard/limits.hpp"
#include "options.hpp"
#include "report.hpp"
#include "subcommand.hpp"

namespace jobyard::bench {
namespace {

struct Options {
    std::size_t done = 1'000'000;
    std::size_t queues = 10'000;
    std::size_t types = 1'000;
    std::size_t jobs = 100'000;
    unsigned rounds = 15;
    std::size_t payload = 100;
    std::string directory = {};
    bool json = false;
};

constexpr unsigned kWorkers = 2;

/// All of one length: what a longer name costs is no matter of how many there are.
std::string numbered(const char* name, std::size_t number) {
    constexpr std::size_t kDigits = 5;
    const std::string digits = std::to_string(number);
    return name + std::string(kDigits - std::min(kDigits, digits.size()), '0') + digits;
}

std::vector<std::string> names(const char* name, std::size_t first, std::size_t count) {
    std::vector<std::string> all;
    all.reserve(count);
    for (std::size_t i = first; i < first + count; ++i) all.push_back(numbered(name, i));
    return all;
}

class Cost {
 public:
    explicit Cost(const Options& options) : options_(options), payload_(options.payload, 'x') {}

    Json measure() {
        if (options_.done > 0) jobs_done();
        if (options_.queues > 0) {
            queues_served_in_part();
            queues_served_by_many();
        }
        if (options_.types > 0) types();
        return rows_;
    }

 private:
    void jobs_done() {
        const std::string kept = std::to_string(options_.done + 100'000'000);
        Yard other({options_.directory, {"--limit", "kept_jobs=" + kept, "--limit", "kept_bytes=1000G"}}, kWorkers);
        {
            constexpr std::size_t kAtOnce = 100'000;
            Progress progress("running jobs to be done");
            for (std::size_t done = 0; done < options_.done; done += kAtOnce) {
                other.end_to_end(std::min(kAtOnce, options_.done - done), plain_job());
                progress.show(static_cast<double>(done), static_cast<double>(options_.done), "jobs");
            }
        }
        Yard plain({options_.directory, {}}, kWorkers);
        add_row(std::to_string(options_.done) + " jobs done", plain, plain_job(), other, plain_job());
    }

    /// A worker serves 256 queues at most: each of these as many as it can, and every other queue holds a job.
    void queues_served_in_part() {
        Yard other({options_.directory, queue_limits()}, 0);
        std::size_t served = 0;
        for (unsigned i = 0; i < kWorkers; ++i) served += serve_queues(other, served);
        other.fill(options_.queues - served, in_queue(served, options_.queues - served), "filling queues");
        Yard plain({options_.directory, {}}, kWorkers, {.queues = names("queue-", 0, 1)});
        add_row(std::to_string(options_.queues) + " queues, " + std::to_string(served) + " served, a job in each other",
                plain, in_one_queue(served), other, in_queue(0, served));
    }

    void queues_served_by_many() {
        Yard other({options_.directory, queue_limits()}, 0);
        unsigned workers = 0;
        for (std::size_t served = 0; served < options_.queues; ++workers) served += serve_queues(other, served);
        Yard plain({options_.directory, {}}, workers, {.queues = names("queue-", 0, 1)});
        add_row(std::to_string(options_.queues) + " queues, all served, by " + std::to_string(workers) + " workers",
                plain, in_one_queue(options_.queues), other, in_queue(0, options_.queues));
    }

    void types() {
        const std::size_t count = options_.types;
        Yard other({options_.directory, {}}, kWorkers, {.types = names("type-", 0, count)});
        Yard plain({options_.directory, {}}, kWorkers, {.types = names("type-", 0, 1)});
        add_row(std::to_string(count) + " types", plain,
                in_turn(count, [](JobSpec& job, std::size_t) { job.type = numbered("type-", 0); }), other,
                in_turn(count, [](JobSpec& job, std::size_t i) { job.type = numbered("type-", i); }));
    }

    /// Adds a worker for the queues from `first` on; returns how many it serves.
    std::size_t serve_queues(Yard& yard, std::size_t first) {
        const std::size_t count = std::min<std::size_t>(options_.queues - first, kMaxQueuesPerWorker);
        if (count > 0) yard.add_workers(1, {.queues = names("queue-", first, count)});
        return count;
    }

    [[nodiscard]] std::vector<std::string> queue_limits() const {
        return {"--limit", "queues=" + std::to_string(options_.queues + 10)};
    }

    /// Jobs of so many kinds one after the other. They are made beforehand: what a caller pays to name its queues and
    /// types is not the broker's. Nor is what it pays to have so many at hand: plain jobs are as many, and all alike.
    template <class Change>
    [[nodiscard]] MakeJob in_turn(std::size_t kinds, const Change& change) const {
        std::vector<JobSpec> jobs(kinds, {.type = "bench"});
        for (std::size_t i = 0; i < kinds; ++i) change(jobs[i], i);
        return [this, jobs = std::move(jobs)](std::size_t i) {
            JobSpec job = jobs[i % jobs.size()];
            job.payload = payload_;  // kept once: it may be large
            return job;
        };
    }
    [[nodiscard]] MakeJob plain_job() const {
        return in_turn(1, [](JobSpec&, std::size_t) {});
    }
    [[nodiscard]] MakeJob in_queue(std::size_t first, std::size_t count) const {
        return in_turn(count, [first](JobSpec& job, std::size_t i) { job.queue = numbered("queue-", first + i); });
    }

    [[nodiscard]] MakeJob in_one_queue(std::size_t count) const {
        return in_turn(count, [](JobSpec& job, std::size_t) { job.queue = numbered("queue-", 0); });
    }

    void add_row(const std::string& what, Yard& plain, const MakeJob& make_plain, Yard& other, const MakeJob& make) {
        plain.end_to_end(options_.jobs / 2, make_plain);  // warm
        other.end_to_end(options_.jobs / 2, make);
        const Comparison result = compare({plain, make_plain}, {other, make}, options_.jobs, options_.rounds);
        rows_.push_back({{"what", what},
                         {"us_per_job", result.us},
                         {"plain_us_per_job", result.plain_us},
                         {"ratio", result.ratio},
                         {"broker_us_per_job", result.broker_us},
                         {"broker_ratio", result.broker_ratio},
                         {"share_of_rate", result.share},
                         {"share_min", result.share_min},
                         {"share_max", result.share_max}});
    }

    const Options& options_;
    std::string payload_;
    Json rows_ = Json::array();
};

void run(const Options& options) {
    Json out = heading("cost");
    out.update({{"payload_bytes", options.payload},
                {"workers", kWorkers},
                {"credit", WorkerProcess::Options{}.credit},
                {"batch", "as many as come while one commit runs"},
                {"jobs_a_round", options.jobs},
                {"rounds", options.rounds},
                {"cost", Cost(options).measure()}});
    print(out, options.json);
}

}  // namespace

Subcommand add_cost(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* command = app.add_subcommand(
        "cost", "what processor time a job costs with many jobs done, queues or types, compared with a plain one");
    add_count(*command, "--done", options->done, "jobs done; 0: leave this out", 0);
    add_count(*command, "--queues", options->queues, "queues; 0: leave this out", 0, 59'000);
    add_count(*command, "--types", options->types, "types; 0: leave this out", 0, kMaxTypesPerWorker);
    add_count(*command, "--jobs", options->jobs, "jobs a round");
    add_count(*command, "--rounds", options->rounds, "rounds, each against both brokers");
    add_payload(*command, options->payload, "bytes a job, 0 to 256KiB");
    add_directory(*command, options->directory);
    add_json(*command, options->json);
    return {command, [options] {
                if (options->done + options->queues + options->types == 0)
                    throw std::runtime_error("--done, --queues and --types are all 0: nothing is left to measure");
                run(*options);
            }};
}

}  // namespace jobyard::bench
