// How much longer one client waits for its broker while another submits as fast as it can, with no quota set: at a low
// fixed rate, alone and beside the greedy one in turns.

#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "open_loop.hpp"
#include "options.hpp"
#include "process.hpp"
#include "report.hpp"
#include "stamps.hpp"
#include "subcommand.hpp"
#include "yard.hpp"

namespace jobyard::bench {
namespace {

struct Options {
    unsigned rounds = 5;
    double rate = 500;
    double seconds = 2;
    unsigned workers = 1;
    std::size_t payload = 100;
    std::size_t pending = 65'536;
    std::optional<std::size_t> shared_window = {};
    std::string directory = {};
    bool json = false;
};

/// The command line of the greedy process.
struct Flood {
    std::string broker;
    std::size_t payload = 100;
    std::size_t pending = 0;
};

constexpr const char* kQueue = "greedy";
constexpr std::uint64_t kFlows = 10'000;  // jobs after which the flood has begun
constexpr unsigned kRates = 100'000;
constexpr int kLast = 19;  // of setpriority()

/// Until it is killed. It takes what is left of the cores, as if it ran on a machine of its own: that it does not keep
/// the other client's threads from running is for the broker to see to, that it shares a machine with them is not.
[[noreturn]] void pour(const Flood& flood) {
    static_cast<void>(::setpriority(PRIO_PROCESS, 0, kLast));
    Client client({.broker = flood.broker, .max_pending = flood.pending});
    const std::string payload(flood.payload, 'x');
    for (;;) client.submit({.type = "bench", .payload = payload, .queue = kQueue});
}

/// The two percentiles of a phase, by phase.
struct Phases {
    std::vector<double> p50, p99;
    void add(const std::vector<std::int64_t>& from, const std::vector<std::int64_t>& to) {
        std::vector<double> us;
        for (std::size_t i = 0; i < from.size(); ++i) us.push_back(static_cast<double>(to[i] - from[i]) / 1e3);
        std::sort(us.begin(), us.end());
        p50.push_back(us[us.size() / 2]);
        p99.push_back(us[us.size() * 99 / 100]);
    }
    [[nodiscard]] Json medians() const { return {{"p50", median(p50)}, {"p99", median(p99)}}; }
};

struct Side {
    Phases submit;
    Phases round_trip;
};

class Greedy {
 public:
    explicit Greedy(const Options& options) : options_(options), yard_({options.directory, limits(options)}, 1) {
        if (options.workers > 0) yard_.add_workers(options.workers, {.queues = {kQueue}});
    }

    Json measure() {
        for (unsigned round = 0; round < options_.rounds; ++round) {
            phase(alone_, "alone");
            beside();
        }
        return {{"alone_submit_us", alone_.submit.medians()},
                {"beside_submit_us", beside_.submit.medians()},
                {"alone_round_trip_us", alone_.round_trip.medians()},
                {"beside_round_trip_us", beside_.round_trip.medians()},
                {"ratio_submit_p50", median_ratio(beside_.submit.p50, alone_.submit.p50)},
                {"ratio_submit_p99", median_ratio(beside_.submit.p99, alone_.submit.p99)},
                {"ratio_round_trip_p50", median_ratio(beside_.round_trip.p50, alone_.round_trip.p50)},
                {"ratio_round_trip_p99", median_ratio(beside_.round_trip.p99, alone_.round_trip.p99)},
                {"greedy_jobs_per_s", median(greedy_rates_)},
                {"commit_us_mean", median(commit_us_)}};
    }

 private:
    static std::vector<std::string> limits(const Options& options) {
        std::vector<std::string> words{"--limit", "queue_jobs=100000000", "--limit", "jobs=100000000"};
        if (options.shared_window)
            words.insert(words.end(), {"--limit", "shared_window=" + std::to_string(*options.shared_window)});
        return words;
    }
    void phase(Side& side, const char* what) {
        OpenLoop loop{.rate = options_.rate, .count = static_cast<unsigned>(options_.rate * options_.seconds)};
        loop.count = std::max(loop.count, 100U);
        loop.warm = loop.count / 10;
        Progress progress(what);
        const OpenLoopTimes times = run_open_loop(
            yard_.client, loop, [this](unsigned) { return std::string(options_.payload, 'q'); }, progress);
        side.submit.add(times.intended, times.answered);
        side.round_trip.add(times.intended, times.ended);
    }

    void beside() {
        const std::uint64_t before = yard_.stats().submitted_total;
        Process flood({program_beside_this("jobyard-bench"), "flood", "--broker", yard_.broker.endpoint(), "--payload",
                       std::to_string(options_.payload), "--pending", std::to_string(options_.pending)});
        wait_until([&] { return yard_.stats().submitted_total > before + kFlows; }, "the greedy client submits");
        const Mark began = mark();
        phase(beside_, "beside the greedy one");
        const Mark ended = mark();
        const double seconds = static_cast<double>(ended.at - began.at) / 1e9;
        const auto own = static_cast<std::uint64_t>(options_.rate * seconds);
        greedy_rates_.push_back(static_cast<double>(ended.submitted - began.submitted - own) / seconds);
        commit_us_.push_back(static_cast<double>(ended.commit_us - began.commit_us) /
                             static_cast<double>(ended.commits - began.commits));
        flood.kill();
        // What it leaves behind is not to meet who is alone.
        const auto is_over = [this] {
            return (options_.workers == 0 || yard_.stats().queued == 0) && yard_.stats().submitters == 1 &&
                   yard_.broker_number("store_behind_bytes") == 0;
        };
        wait_until(is_over, "the greedy client's jobs are done", 600);
    }

    struct Mark {
        std::int64_t at = 0;
        std::uint64_t submitted = 0;
        std::uint64_t commits = 0;
        std::uint64_t commit_us = 0;
    };
    Mark mark() {
        return {monotonic_ns(), yard_.stats().submitted_total, yard_.broker_number("batches"),
                yard_.broker_number("commit_us")};
    }

    const Options& options_;
    Yard yard_;
    Side alone_;
    Side beside_;
    std::vector<double> greedy_rates_;
    std::vector<double> commit_us_;
};

void run(const Options& options) {
    Json out = heading("greedy");
    out.update({{"payload_bytes", options.payload},
                {"offered_jobs_per_s", options.rate},
                {"seconds", options.seconds},
                {"rounds", options.rounds},
                {"greedy_pending", options.pending},
                {"greedy_workers", options.workers}});
    if (options.shared_window) out["shared_window"] = *options.shared_window;
    out.update(Greedy(options).measure());
    print(out, options.json);
}

}  // namespace

Subcommand add_greedy(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* command = app.add_subcommand(
        "greedy",
        "how much longer one client waits while another submits as fast as it can: alone and beside it in\n"
        "turns, at a fixed rate, counted from when each job was due; medians of the rounds. No quota is set");
    add_count(*command, "--rounds", options->rounds, "rounds: alone, then beside the greedy client", 1, 1'000);
    command->add_option("--rate", options->rate, "jobs a second of the client that is measured")
        ->check(CLI::Range(1U, kRates))
        ->capture_default_str();
    command
        ->add_option("--seconds", options->seconds, "how long it submits, in each half of a round; 100 jobs at least")
        ->check(CLI::Range(0.1, 3600.0))
        ->capture_default_str();
    add_count(*command, "--workers", options->workers,
              "worker processes that take the greedy client's jobs; the other client always has one of its own", 0,
              256);
    add_count(*command, "--pending", options->pending, "jobs the greedy client keeps unanswered (its max_pending)");
    command
        ->add_option("--shared-window", options->shared_window,
                     "the broker's limit shared_window, if not what it has by itself: submits the greedy client may\n"
                     "have unanswered meanwhile; 0: as many as its window has")
        ->check(CLI::Range(0U, kSubmitWindow));
    add_payload(*command, options->payload, "bytes a job, of both, 0 to 256KiB");
    add_directory(*command, options->directory);
    add_json(*command, options->json);
    return {command, [options] { run(*options); }};
}

Subcommand add_flood(CLI::App& app) {
    const auto flood = std::make_shared<Flood>();
    CLI::App* command = app.add_subcommand("flood", "submits for the subcommand greedy")->group("");
    command->add_option("--broker", flood->broker, "endpoint")->required();
    command->add_option("--payload", flood->payload, "bytes a job");
    command->add_option("--pending", flood->pending, "jobs it keeps unanswered")->required();
    return {command, [flood] { pour(*flood); }};
}

}  // namespace jobyard::bench
