// How long one job takes: until the submit is answered (durable), until its handler starts, and until the result is
// seen (its completion durable too). One at a time, or at a fixed offered rate.

#include "latency.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "callers.hpp"
#include "cluster.hpp"
#include "disk_floor.hpp"
#include "jobyard/client.hpp"
#include "open_loop.hpp"
#include "report.hpp"
#include "scratch.hpp"
#include "start_board.hpp"
#include "usage.hpp"
#include "zmq_floor.hpp"

namespace jobyard::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::minutes kPatience{2};  // with one job
constexpr unsigned kJobs = 5'000;
constexpr unsigned kPausedJobs = 500;
constexpr unsigned kRounds = 5;
/// Some seconds. Of less the maximum would be one that does not last: the store and retention come tenths of a second
/// behind, and would hardly take part. The backlog that the caller makes meanwhile costs some of it.
constexpr unsigned kJobsForMaximum = 1'000'000;
constexpr unsigned kKeptJobs = 10'000;  // as `throughput` does: retention removes as much as is added

double us_since(std::int64_t began, std::int64_t then) { return static_cast<double>(then - began) / 1e3; }

/// What was measured of each job, in microseconds.
struct Samples {
    std::vector<double> submit;
    std::vector<double> start;
    std::vector<double> round_trip;
    void add_to(Json& out, bool with_start) && {
        out["submit_us"] = percentiles(std::move(submit));
        if (with_start) out["start_us"] = percentiles(std::move(start));
        out["round_trip_us"] = percentiles(std::move(round_trip));
    }
};

/// Broker, workers that write on the board, and a client. Jobs are numbered through, so that no two share a place.
struct Ground {
    StartBoard board;
    Cluster cluster;
    Client client;
    std::uint64_t next = 0;

    explicit Ground(const LatencyOptions& options)
        : cluster({.directory = options.directory,
                   .workers = options.workers,
                   .slots = options.slots,
                   .credit = options.credit,
                   .kept_jobs = kKeptJobs,
                   .broker = options.broker,
                   .board = &board}),
          client(Client::Options{.broker = cluster.endpoint(), .submit_limit = std::chrono::minutes(2)}) {
        client.connect(std::chrono::seconds(10)).value();
    }
};

Samples one_at_a_time(Ground& ground, const LatencyOptions& options, unsigned jobs) {
    const auto ns = [](Clock::time_point time) { return time.time_since_epoch() / std::chrono::nanoseconds(1); };
    const unsigned warm = std::max(jobs / 10, 1U);  // connections, files, caches
    Samples samples;
    Progress progress("one at a time");
    for (unsigned i = 0; i < jobs + warm; ++i) {
        if (options.pause_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(options.pause_ms));
        std::string payload = StartBoard::payload(ground.next, options.payload);
        const std::int64_t began = ns(Clock::now());
        const Submission job = ground.client.submit({.type = "bench", .payload = std::move(payload), .watch = true});
        job.id(kPatience).value();
        const std::int64_t answered = ns(Clock::now());
        if (!job.result(kPatience).value().completed()) throw std::runtime_error("a job did not complete");
        const std::int64_t ended = ns(Clock::now());
        const std::int64_t started = ground.board.began_at(ground.next++);
        progress.show(i, jobs + warm, "jobs");
        if (i < warm) continue;
        samples.submit.push_back(us_since(began, answered));
        samples.start.push_back(us_since(began, started));
        samples.round_trip.push_back(us_since(began, ended));
    }
    return samples;
}

double measured_maximum(const Ground& ground, const LatencyOptions& options) {
    Progress progress("maximum");
    Callers callers({ground.cluster.endpoint(), 1, options.payload, 1});
    callers.run(kJobsForMaximum / 5, progress);
    return kJobsForMaximum / callers.run(kJobsForMaximum, progress).ended;
}

double rate_of(const std::string& text) {
    std::size_t used = 0;
    double rate = 0;
    try {
        rate = std::stod(text, &used);
    } catch (const std::exception&) {
        used = 0;
    }
    if (used == 0 || used != text.size() || !(rate > 0) || rate > 1e7)
        throw std::runtime_error("--rate \"" + text + "\": expected jobs a second, more than 0, or \"half\"");
    return rate;
}

void add_offered(Ground& ground, const LatencyOptions& options, Json& out) {
    OpenLoop loop;
    if (options.rate == "half") {
        const double most = measured_maximum(ground, options);
        out["maximum_jobs_per_s"] = most;
        loop.rate = most / 2;
    } else {
        loop.rate = rate_of(options.rate);
    }
    loop.count = options.jobs > 0 ? options.jobs : static_cast<unsigned>(std::ceil(loop.rate * options.seconds));
    loop.warm = std::max(loop.count / 10, 1U);
    Progress progress("offered");
    const std::uint64_t first = ground.next;
    ground.next += loop.warm + loop.count;
    const OpenLoopTimes times = run_open_loop(
        ground.client, loop, [&](unsigned i) { return StartBoard::payload(first + i, options.payload); }, progress);
    Samples samples;
    std::vector<double> late;
    for (unsigned i = 0; i < loop.count; ++i) {
        const std::int64_t began = times.intended[i];
        late.push_back(us_since(began, times.sent[i]));
        samples.submit.push_back(us_since(began, times.answered[i]));
        samples.start.push_back(us_since(began, ground.board.began_at(first + loop.warm + i)));
        samples.round_trip.push_back(us_since(began, times.ended[i]));
    }
    out["jobs"] = loop.count;
    out["offered_jobs_per_s"] = loop.rate;
    out["ended_jobs_per_s"] = loop.count / (us_since(times.intended.front(), times.ended.back()) / 1e6);
    out["sent_late_us"] = percentiles(std::move(late));  // counted in what follows
    std::move(samples).add_to(out, options.workers > 0);
}

/// The broker and libzmq in turns, so that what else the machine does meets both.
void add_against_limits(Ground& ground, ZmqFloor& zmq, const LatencyOptions& options, unsigned jobs, Json& out) {
    constexpr std::size_t kSyncedBytes = 4096;
    struct Round {
        std::vector<double> p50, p99;
        void add(std::vector<double> samples) {
            std::sort(samples.begin(), samples.end());
            p50.push_back(samples[samples.size() / 2]);
            p99.push_back(samples[samples.size() * 99 / 100]);
        }
        [[nodiscard]] Json medians() const { return {{"p50", median(p50)}, {"p99", median(p99)}}; }
    };
    Round submit;
    Round start;
    Round round_trip;
    Round floor;
    Round sync;
    for (unsigned i = 0; i < kRounds; ++i) {
        Samples samples = one_at_a_time(ground, options, jobs / kRounds);
        submit.add(std::move(samples.submit));
        start.add(std::move(samples.start));
        round_trip.add(std::move(samples.round_trip));
        floor.add(zmq.round_trips_us(2'000));
        sync.add(synced_writes_us(options.directory, kSyncedBytes, 200));
    }
    out["rounds"] = kRounds;
    out["submit_us"] = submit.medians();
    out["start_us"] = start.medians();
    out["round_trip_us"] = round_trip.medians();
    out["zmq_round_trip_us"] = floor.medians();
    out["fdatasync_us"] = sync.medians();
    out["ratio_submit_p50_to_zmq_round_trip_p50"] = median_ratio(submit.p50, floor.p50);
    out["ratio_start_p50_to_zmq_round_trip_p50"] = median_ratio(start.p50, floor.p50);
    out["ratio_round_trip_p50_to_zmq_round_trip_p50"] = median_ratio(round_trip.p50, floor.p50);
    out["ratio_submit_p50_to_fdatasync_p50"] = median_ratio(submit.p50, sync.p50);
    out["ratio_submit_p99_to_p50"] = median_ratio(submit.p99, submit.p50);
    out["ratio_round_trip_p99_to_p50"] = median_ratio(round_trip.p99, round_trip.p50);
}

void check(const LatencyOptions& options) {
    if (options.payload < StartBoard::kLeastPayload)
        throw std::runtime_error("--payload: expected at least 8 bytes, in which a job carries its number");
    if (!options.rate.empty() && options.pause_ms > 0)
        throw std::runtime_error("--pause is between jobs one at a time; expected it without --rate");
    if (options.against_limits && (!options.rate.empty() || options.pause_ms > 0 || options.workers == 0))
        throw std::runtime_error(
            "--against-limits is for jobs one at a time with workers of its own; expected it"
            " without --rate, --pause and --workers 0");
    if (!options.rate.empty() && options.rate != "half") rate_of(options.rate);
}

}  // namespace

void run_latency(const LatencyOptions& options) {
    check(options);
    std::optional<ZmqFloor> zmq;
    if (options.against_limits) zmq.emplace();
    Ground ground(options);
    const unsigned usual = options.pause_ms > 0 ? kPausedJobs : kJobs;
    const unsigned jobs = options.jobs > 0 ? options.jobs : usual;
    Json out = heading("latency");
    out["filesystem"] = filesystem_of(temporary_directory(options.directory));
    out["load"] = !options.rate.empty()  ? "at a fixed rate, counted from when each was due"
                  : options.pause_ms > 0 ? "one at a time, with pauses"
                                         : "one at a time";
    out["jobs"] = jobs;
    out["payload_bytes"] = options.payload;
    out["batch"] = 1;
    if (options.workers > 0)
        out.update({{"workers", options.workers}, {"slots", options.slots}, {"credit", options.credit}});
    else out["workers"] = "somebody else's";
    if (options.pause_ms > 0) out["pause_ms"] = options.pause_ms;
    out["transport"] = ground.cluster.endpoint().substr(0, ground.cluster.endpoint().find(':'));
    if (!options.rate.empty()) add_offered(ground, options, out);
    else if (zmq) add_against_limits(ground, *zmq, options, jobs, out);
    else one_at_a_time(ground, options, jobs).add_to(out, options.workers > 0);
    print(out, options.json);
}

}  // namespace jobyard::bench
