// What a long queue costs: rate and latency of new jobs while N others are queued, compared with an empty broker that
// runs beside it, turn by turn, because machines are noisy; memory and disk a job; the time a killed broker needs to
// serve again; and how fast the backlog itself drains.

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "compare.hpp"
#include "options.hpp"
#include "report.hpp"
#include "restart.hpp"
#include "subcommand.hpp"
#include "yard.hpp"

namespace jobyard::bench {
namespace {

struct Options {
    std::vector<std::size_t> depths = {1'000'000};
    std::size_t jobs = 100'000;
    unsigned rounds = 5;
    std::size_t round_trips = 300;
    std::size_t payload = 100;
    unsigned workers = 2;
    unsigned credit = 1024;
    double drain_seconds = 3;
    std::string directory = {};
    bool json = false;
};

constexpr std::uint8_t kUrgent = 8;
constexpr std::uint8_t kBacklog = 3;

/// The broker is done with what it was told, and with the memory that took.
void settle() { std::this_thread::sleep_for(std::chrono::seconds(1)); }

class Backlog {
 public:
    Backlog(const Options& options, std::size_t depth)
        : options_(options),
          depth_(depth),
          payload_(options.payload, 'x'),
          empty_({options.directory, {}}, options.workers, {.credit = options.credit}),
          full_({options.directory, arguments(depth)}, options.workers, {.credit = options.credit}) {}

    Json measure() {
        for (Yard* yard : {&empty_, &full_}) yard->end_to_end(options_.jobs / 2, new_job());  // warm
        Json row{{"depth", depth_}};
        measure_fill(row);
        measure_side_by_side(row);
        measure_restart(row);
        measure_drain(row);
        return row;
    }

 private:
    static std::vector<std::string> arguments(std::size_t depth) {
        const std::string jobs = std::to_string(depth + 2'000'000);
        return {"--limit", "queue_jobs=" + jobs, "--limit", "jobs=" + jobs};
    }

    /// New jobs are of a type, the backlog of another, in the same queue: the depth stays what it is.
    [[nodiscard]] MakeJob new_job() const {
        return [this](std::size_t) { return JobSpec{.type = "bench", .payload = payload_, .priority = kUrgent}; };
    }
    [[nodiscard]] MakeJob backlog_job(std::uint8_t priority) const {
        return [this, priority](std::size_t) {
            return JobSpec{.type = "backlog", .payload = payload_, .priority = priority};
        };
    }

    void measure_fill(Json& row) {
        settle();
        const double memory = static_cast<double>(full_.broker.process().anonymous_bytes());
        const double disk = static_cast<double>(full_.broker_number("store_bytes"));
        const auto began = std::chrono::steady_clock::now();
        full_.fill(depth_, backlog_job(kBacklog), "filling");
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
        settle();
        const double jobs = static_cast<double>(depth_);
        row["fill_jobs_per_s"] = jobs / seconds;
        row["broker_bytes_per_job"] = (static_cast<double>(full_.broker.process().anonymous_bytes()) - memory) / jobs;
        row["disk_bytes_per_job"] = (static_cast<double>(full_.broker_number("store_bytes")) - disk) / jobs;
    }

    void measure_side_by_side(Json& row) {
        const Comparison rates = compare({empty_, new_job()}, {full_, new_job()}, options_.jobs, options_.rounds);
        row["jobs_per_s"] = rates.jobs_per_s;
        row["empty_jobs_per_s"] = rates.plain_jobs_per_s;
        row["share_of_empty"] = rates.share;
        row["share_of_empty_min"] = rates.share_min;
        row["share_of_empty_max"] = rates.share_max;
        row["broker_us_per_job"] = rates.broker_us;
        row["empty_broker_us_per_job"] = rates.plain_broker_us;
        std::vector<double> trips;
        std::vector<double> empty_trips;
        const std::size_t a_round = std::max<std::size_t>(options_.round_trips / options_.rounds, 1);
        for (unsigned round = 0; round < options_.rounds; ++round) {
            for (const double us : empty_.round_trips(a_round, new_job())) empty_trips.push_back(us);
            for (const double us : full_.round_trips(a_round, new_job())) trips.push_back(us);
        }
        row["round_trip_us"] = percentiles(std::move(trips));
        row["empty_round_trip_us"] = percentiles(std::move(empty_trips));
    }

    void measure_restart(Json& row) {
        Progress progress("restarting");
        progress.show(0, 1, "restarts");
        const Restart took = restart(full_, new_job()(0));
        row["ready_s"] = took.ready_s;
        row["restart_s"] = took.first_job_s;
        const double memory = static_cast<double>(full_.broker.process().anonymous_bytes());
        row["restarted_bytes_per_job"] = memory / static_cast<double>(depth_);
    }

    /// Now with workers that serve the backlog too: first beside new jobs of its own type, which go before it but for
    /// the share of those that have waited longest; then alone.
    void measure_drain(Json& row) {
        full_.kill_workers();
        full_.add_workers(options_.workers, {.types = {"backlog"}, .credit = options_.credit});
        const std::uint64_t before = full_.stats().completed_total;
        const auto began = std::chrono::steady_clock::now();
        const auto seconds = [&began] {
            return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
        };
        const double fresh = full_.end_to_end(options_.jobs, backlog_job(kUrgent));
        const double mixed = static_cast<double>(full_.stats().completed_total - before) / seconds();
        row["mixed_jobs_per_s"] = fresh;
        row["mixed_backlog_jobs_per_s"] = std::max(mixed - fresh, 0.0);

        const std::uint64_t drained_before = full_.stats().completed_total;
        const auto drain_began = std::chrono::steady_clock::now();
        const auto drained_for = [&drain_began] {
            return std::chrono::duration<double>(std::chrono::steady_clock::now() - drain_began).count();
        };
        Progress progress("draining");
        BrokerStats now = full_.stats();
        while (drained_for() < options_.drain_seconds && now.queued > depth_ / 10) {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            now = full_.stats();
            progress.show(static_cast<double>(depth_ - now.queued), static_cast<double>(depth_), "jobs");
        }
        row["drain_jobs_per_s"] = static_cast<double>(now.completed_total - drained_before) / drained_for();
    }

    const Options& options_;
    std::size_t depth_;
    std::string payload_;
    Yard empty_;
    Yard full_;
};

void run(const Options& options) {
    Json out = heading("backlog");
    out.update({{"payload_bytes", options.payload},
                {"workers", options.workers},
                {"credit", options.credit},
                {"batch", "as many as come while one commit runs"},
                {"jobs_a_round", options.jobs},
                {"rounds", options.rounds}});
    Json rows = Json::array();
    for (const std::size_t depth : options.depths) rows.push_back(Backlog(options, depth).measure());
    // One depth, one object without levels; the deepest, if there are several, and a list of all.
    out.update(rows.back());
    if (rows.size() > 1) out["depths"] = rows;
    print(out, options.json);
}

}  // namespace

Subcommand add_backlog(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* command = app.add_subcommand(
        "backlog", "what a long queue costs: rate, latency, memory, disk, and the time to start again after kill -9");
    add_count(*command, "--depth", options->depths, "jobs queued; a list gives a row each");
    add_count(*command, "--jobs", options->jobs, "new jobs a round");
    add_count(*command, "--rounds", options->rounds, "rounds, each against the empty broker and against the full one");
    add_count(*command, "--round-trips", options->round_trips, "jobs run one at a time, for the latency");
    add_payload(*command, options->payload, "bytes a job, 0 to 256KiB");
    add_count(*command, "--workers", options->workers, "worker processes of each broker", 1, 256);
    add_count(*command, "--credit", options->credit, "jobs each may hold (prefetch)", 1, kMaxCredit);
    add_count(*command, "--drain-seconds", options->drain_seconds, "how long to watch the backlog itself drain");
    add_directory(*command, options->directory);
    add_json(*command, options->json);
    return {command, [options] {
                std::sort(options->depths.begin(), options->depths.end());
                run(*options);
            }};
}

}  // namespace jobyard::bench
