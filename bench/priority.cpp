// How long an urgent job waits until its handler starts, while jobs of low priority keep all slots busy and more keep
// coming. Workers hold no more jobs than they have slots: what is fetched ahead cannot be overtaken.

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "options.hpp"
#include "report.hpp"
#include "stamps.hpp"
#include "subcommand.hpp"
#include "yard.hpp"

namespace jobyard::bench {
namespace {

struct Options {
    std::size_t urgent = 2'000;
    unsigned every_us = 5'000;
    unsigned handler_us = 1'000;
    std::size_t depth = 100'000;
    unsigned flood_rate = 10'000;
    unsigned workers = 2;
    unsigned slots = 4;
    std::size_t payload = 100;
    std::string directory = {};
    bool json = false;
};

constexpr std::size_t kUnstamped = SIZE_MAX;

class Priority {
 public:
    explicit Priority(const Options& options)
        : options_(options), quiet_(options.urgent), flooded_(options.urgent), yard_({options.directory, {}}, 0) {}

    Json measure() {
        yard_.add_workers(1, worker(quiet_));
        const std::vector<double> quiet = run_urgent(quiet_, "without a flood");
        yard_.kill_workers();

        yard_.fill(options_.depth, flood_job(), "filling");
        yard_.add_workers(options_.workers, worker(flooded_));
        std::jthread flood([this](const std::stop_token& stop) { pour(stop); });
        const std::uint64_t before = yard_.stats().completed_total;
        const std::uint64_t commits = yard_.broker_number("batches");
        const std::uint64_t commit_us = yard_.broker_number("commit_us");
        const auto began = std::chrono::steady_clock::now();
        const std::vector<double> flooded = run_urgent(flooded_, "beside the flood");
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
        const BrokerStats after = yard_.stats();
        if (after.queued < options_.slots * options_.workers)
            throw std::runtime_error("the flood ran dry: give it more --depth or --flood-rate");

        const Json in_flood = percentiles(flooded);
        Json out{{"completed_per_s", static_cast<double>(after.completed_total - before) / seconds},
                 {"queued_at_end", after.queued},
                 {"commit_us_mean", static_cast<double>(yard_.broker_number("commit_us") - commit_us) /
                                        static_cast<double>(yard_.broker_number("batches") - commits)},
                 {"started_us", in_flood},
                 {"started_us_without_flood", percentiles(quiet)}};
        if (in_flood.contains("p99"))
            out["p99_beyond_a_handler_us"] = in_flood.at("p99").get<double>() - options_.handler_us;
        return out;
    }

 private:
    [[nodiscard]] WorkerProcess::Options worker(const Stamps& stamps) const {
        return {
            .slots = options_.slots, .credit = options_.slots, .handler_us = options_.handler_us, .stamps = &stamps};
    }

    [[nodiscard]] MakeJob flood_job() const {
        return [this](std::size_t) {
            return JobSpec{.type = "bench", .payload = Stamps::payload(kUnstamped, options_.payload), .priority = 1};
        };
    }

    void pour(const std::stop_token& stop) {
        constexpr auto kBeat = std::chrono::milliseconds(5);
        Client client({.broker = yard_.broker.endpoint()});
        const MakeJob make = flood_job();
        const auto began = std::chrono::steady_clock::now();
        for (double poured = 0; !stop.stop_requested(); std::this_thread::sleep_for(kBeat)) {
            const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
            for (; poured < seconds * options_.flood_rate && !stop.stop_requested(); ++poured) client.submit(make(0));
        }
    }

    /// Microseconds from the call of submit() to the start of the handler.
    std::vector<double> run_urgent(Stamps& stamps, const std::string& what) {
        Progress progress(what);
        std::vector<std::int64_t> submitted;
        std::vector<Submission> jobs;
        auto next = std::chrono::steady_clock::now();
        for (std::size_t i = 0; i < options_.urgent; ++i) {
            std::this_thread::sleep_until(next += std::chrono::microseconds(options_.every_us));
            JobSpec job{.type = "bench", .payload = Stamps::payload(i, options_.payload), .priority = 10};
            job.watch = true;
            submitted.push_back(monotonic_ns());
            jobs.push_back(yard_.client.submit(std::move(job)));
            progress.show(static_cast<double>(i), static_cast<double>(options_.urgent), "urgent jobs");
        }
        std::vector<double> waited;
        for (std::size_t i = 0; i < options_.urgent; ++i) {
            if (!jobs[i].result().value().completed()) throw std::runtime_error("an urgent job did not complete");
            waited.push_back(static_cast<double>(stamps.get(i) - submitted[i]) / 1e3);
        }
        return waited;
    }

    const Options& options_;
    Stamps quiet_;
    Stamps flooded_;
    Yard yard_;
};

void run(const Options& options) {
    Json out = heading("priority");
    out.update({{"payload_bytes", options.payload},
                {"workers", options.workers},
                {"slots", options.slots},
                {"credit", options.slots},
                {"batch", "one urgent job each"},
                {"handler_us", options.handler_us},
                {"urgent_jobs", options.urgent},
                {"every_us", options.every_us},
                {"flood_depth", options.depth},
                {"flood_jobs_per_s", options.flood_rate}});
    out.update(Priority(options).measure());
    print(out, options.json);
}

}  // namespace

Subcommand add_priority(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* command =
        app.add_subcommand("priority", "how long urgent jobs wait for their handler beside a flood of others");
    add_count(*command, "--urgent", options->urgent, "urgent jobs");
    add_count(*command, "--every-us", options->every_us, "microseconds between two of them");
    add_count(*command, "--handler-us", options->handler_us, "how long a handler, of any job, sleeps", 0);
    add_count(*command, "--depth", options->depth, "jobs of low priority queued before", 0);
    add_count(*command, "--flood-rate", options->flood_rate,
              "jobs of low priority submitted a second meanwhile; 0: none but those queued", 0);
    add_count(*command, "--workers", options->workers, "worker processes", 1, 256);
    add_count(*command, "--slots", options->slots, "slots of each, and the jobs it may hold", 1, kMaxCredit);
    add_payload(*command, options->payload, "bytes a job, 8 to 256KiB", Stamps::kLeastPayload);
    add_directory(*command, options->directory);
    add_json(*command, options->json);
    return {command, [options] { run(*options); }};
}

}  // namespace jobyard::bench
