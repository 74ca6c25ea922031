// How many jobs a second: submitted and end to end, every answer after an fsync, and what each job costs.

#include "throughput.hpp"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <thread>

#include <spdlog/fmt/fmt.h>

#include "callers.hpp"
#include "cluster.hpp"
#include "disk_floor.hpp"
#include "jobyard/client.hpp"
#include "report.hpp"
#include "scratch.hpp"
#include "usage.hpp"
#include "zmq_floor.hpp"

namespace jobyard::bench {
namespace {

constexpr unsigned kJobs = 200'000;
constexpr std::size_t kLargePayload = 8 * 1024;
constexpr std::size_t kLargeBytes = std::size_t{128} << 20;  // what a row of large payloads submits in all
constexpr unsigned kSlotsWithoutPrefetch = 64;
constexpr unsigned kRounds = 5;

struct Row {
    unsigned jobs = 0;
    std::size_t payload = 100;
    unsigned clients = 1;
    unsigned batch = 1;
    unsigned workers = 2;
    unsigned slots = 1;
    unsigned credit = 1024;
    bool alone = true;  ///< measure submitting without workers too
};

unsigned jobs_of(const ThroughputOptions& options, std::size_t payload) {
    if (options.jobs > 0) return options.jobs;
    return payload <= kLargePayload ? kJobs : static_cast<unsigned>(kLargeBytes / payload);
}

/// How much the broker has done, in all.
struct Work {
    std::uint64_t operations = 0;
    std::uint64_t batches = 0;
    std::uint64_t value_bytes = 0;
};

nlohmann::json stats_of(Client& client) { return nlohmann::json::from_msgpack(client.stats().value().map); }

/// Once the store has all that is durable.
Work work_so_far(Client& client) {
    auto broker = stats_of(client).at("broker");
    while (broker.at("store_behind_bytes").get<std::uint64_t>() > 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        broker = stats_of(client).at("broker");
    }
    const auto count = [&](const char* name) { return broker.at(name).get<std::uint64_t>(); };
    return {count("puts") + count("erases") + count("moves"), count("batches"), count("value_bytes")};
}

unsigned workers_now(Client& client) { return stats_of(client).at("workers").get<unsigned>(); }

void wait_for_workers(Client& client, unsigned count) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (workers_now(client) < count) {
        if (std::chrono::steady_clock::now() > until)
            throw std::runtime_error(
                fmt::format("the broker has {} workers after 30 s; expected {}", workers_now(client), count));
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

/// What has been used so far, by whom.
struct Used {
    Work work;
    std::uint64_t written = 0;
    double broker_cpu = 0;
    double workers_cpu = 0;
    double client_cpu = 0;
    std::uint64_t broker_wakes = 0;
    std::uint64_t workers_wakes = 0;
    std::uint64_t client_wakes = 0;

    Used(const Cluster& cluster, Client& client)
        : work(work_so_far(client)), workers_cpu(cluster.workers_cpu()), client_cpu(own_cpu()) {
        if (cluster.broker_pid() > 0) {
            written = cluster.broker_write_bytes();
            broker_cpu = cluster.broker_cpu();
            broker_wakes = wake_ups(cluster.broker_pid());
        }
        workers_wakes = wake_ups(cluster.worker_pids());
        client_wakes = wake_ups(::getpid());
    }
};

std::string transport_of(const std::string& endpoint) { return endpoint.substr(0, endpoint.find(':')); }

Cluster::Options cluster_options(const ThroughputOptions& options, const Row& row) {
    return {.directory = options.directory,
            .workers = row.workers,
            .slots = row.slots,
            .credit = row.credit,
            .kept_jobs = options.kept_jobs,
            .broker = options.broker,
            .hold_workers = true};
}

/// A broker, workers and callers, ready to be measured.
struct Ground {
    Cluster cluster;
    Callers callers;
    unsigned others;  ///< workers that were there before ours

    Ground(const ThroughputOptions& options, const Row& row)
        : cluster(cluster_options(options, row)),
          callers({cluster.endpoint(), row.clients, row.payload, row.batch}),
          others(workers_now(callers.client())) {}

    void start_workers(unsigned count) {
        cluster.release_workers();
        wait_for_workers(callers.client(), others + count);
    }
};

Json measure(const ThroughputOptions& options, const Row& row) {
    Ground ground(options, row);
    const Cluster& cluster = ground.cluster;
    Progress progress(fmt::format("{} B", row.payload));
    std::optional<double> alone;
    if (row.alone && row.workers > 0 && ground.others == 0) {
        ground.callers.submit(std::max(row.jobs / 10, 1U), progress);  // warm: connections, files, caches
        const double seconds = ground.callers.submit(row.jobs, progress).submitted;
        alone = row.jobs / seconds;
        ground.start_workers(row.workers);
        ground.callers.wait_for_results(progress);
    } else {
        ground.start_workers(row.workers);
    }
    ground.callers.run(std::max(row.jobs / 10, 1U), progress);

    Client& client = ground.callers.client();
    const Used before(cluster, client);
    const Callers::Times times = ground.callers.run(row.jobs, progress);
    const Used after(cluster, client);

    const double count = row.jobs;
    const double us = 1e6 / count;
    const bool own_broker = cluster.broker_pid() > 0;
    const double mb = count * static_cast<double>(row.payload) / 1e6;
    Json out{
        {"payload_bytes", row.payload},
        {"jobs", row.jobs},
        {"clients", row.clients},
        {"batch", row.batch},
        {"workers", row.workers},
        {"slots", row.slots},
        {"credit", row.credit},
        {"prefetch", row.credit > row.slots ? row.credit - row.slots : 0},
        {"transport", transport_of(cluster.endpoint())},
    };
    if (row.workers == 0) {
        for (const char* unknown : {"slots", "credit", "prefetch"}) out.erase(unknown);
        out["workers"] = "somebody else's";
    }
    if (own_broker) out["kept_jobs"] = options.kept_jobs;
    out["submit_jobs_per_s"] = count / times.submitted;
    if (alone) out["submit_alone_jobs_per_s"] = *alone;
    out["end_to_end_jobs_per_s"] = count / times.ended;
    if (row.payload >= kLargePayload) {
        out["submit_mb_per_s"] = mb / times.submitted;
        out["end_to_end_mb_per_s"] = mb / times.ended;
        const double disk = disk_mb_per_s(options.directory, row.payload);
        out["disk_mb_per_s"] = disk;
        out["ratio_submit_to_disk"] = mb / times.submitted / disk;
    }
    const double batches =
        std::max(1.0, static_cast<double>(after.work.batches) - static_cast<double>(before.work.batches));
    out["lmdb_operations_per_job"] = static_cast<double>(after.work.operations - before.work.operations) / count;
    if (own_broker) out["bytes_written_per_job"] = static_cast<double>(after.written - before.written) / count;
    out["value_bytes_per_job"] = static_cast<double>(after.work.value_bytes - before.work.value_bytes) / count;
    out["jobs_per_commit"] = count / batches;
    Json& cpu = out["cpu_us_per_job"] = {{"client", (after.client_cpu - before.client_cpu) * us}};
    if (own_broker) cpu["broker"] = (after.broker_cpu - before.broker_cpu) * us;
    if (row.workers > 0) cpu["workers"] = (after.workers_cpu - before.workers_cpu) * us;
    if (own_broker && row.workers > 0) {
        const double client_wakes = static_cast<double>(after.client_wakes - before.client_wakes) / count;
        const double broker_wakes = static_cast<double>(after.broker_wakes - before.broker_wakes) / count;
        const double workers_wakes = static_cast<double>(after.workers_wakes - before.workers_wakes) / count;
        out["handoffs_per_job"] = client_wakes + broker_wakes + workers_wakes;
        out["handoffs_of"] = {{"client", client_wakes}, {"broker", broker_wakes}, {"workers", workers_wakes}};
    }
    return out;
}

/// The rates and the floors in turns, so that what else the machine does meets both.
Json measure_against_limits(const ThroughputOptions& options, const Row& row) {
    constexpr unsigned kZmqJobs = 64;
    constexpr unsigned kLmdbJobs = 1024;
    ZmqFloor zmq;
    Ground ground(options, row);
    LmdbFloor lmdb(options.directory);
    Progress progress("rounds");
    ground.start_workers(row.workers);
    const unsigned jobs = std::max(row.jobs / 2, 1U);
    ground.callers.run(std::max(jobs / 4, 1U), progress);
    std::vector<double> submit;
    std::vector<double> end_to_end;
    std::vector<double> forward;
    std::vector<double> stored;
    for (unsigned round = 0; round < kRounds; ++round) {
        const Callers::Times times = ground.callers.run(jobs, progress);
        submit.push_back(jobs / times.submitted);
        end_to_end.push_back(jobs / times.ended);
        forward.push_back(zmq.forward_jobs_per_s(kZmqJobs));
        stored.push_back(lmdb.jobs_per_s(kLmdbJobs));
    }
    return {{"rounds", kRounds},
            {"payload_bytes", row.payload},
            {"jobs", jobs},
            {"clients", row.clients},
            {"batch", row.batch},
            {"workers", row.workers},
            {"slots", row.slots},
            {"credit", row.credit},
            {"transport", transport_of(ground.cluster.endpoint())},
            {"submit_jobs_per_s", median(submit)},
            {"end_to_end_jobs_per_s", median(end_to_end)},
            {"zmq_forward_64_jobs_per_s", median(forward)},
            {"lmdb_1024_jobs_per_s", median(stored)},
            {"ratio_submit_to_zmq_forward_64", median_ratio(submit, forward)},
            {"ratio_end_to_end_to_zmq_forward_64", median_ratio(end_to_end, forward)},
            {"ratio_submit_to_lmdb_1024", median_ratio(submit, stored)},
            {"ratio_end_to_end_to_lmdb_1024", median_ratio(end_to_end, stored)}};
}

}  // namespace

void run_throughput(const ThroughputOptions& options) {
    Json out = heading("throughput");
    out["filesystem"] = filesystem_of(temporary_directory(options.directory));
    std::vector<Row> rows;
    for (const std::size_t payload : options.payloads)
        for (const unsigned clients : options.clients)
            for (const unsigned workers : options.workers)
                for (const unsigned batch : options.batches)
                    rows.push_back({.jobs = jobs_of(options, payload),
                                    .payload = payload,
                                    .clients = clients,
                                    .batch = batch,
                                    .workers = workers,
                                    .slots = options.slots,
                                    .credit = options.credit,
                                    .alone = !options.brief});
    if (options.against_limits) {
        if (rows.size() != 1 || rows.front().workers == 0)
            throw std::runtime_error(
                "--against-limits: expected one payload, one number of clients, of workers (not 0)"
                " and of jobs in a list");
        out.update(measure_against_limits(options, rows.front()));
        return print(out, options.json);
    }
    if (options.workers.front() > 0 && !options.brief) {
        Row plain = rows.front();
        plain.jobs = options.jobs > 0 ? options.jobs : std::max(plain.jobs / 4, 1U);
        plain.slots = plain.credit = kSlotsWithoutPrefetch;
        plain.alone = false;
        rows.push_back(plain);
    }
    Json measured = Json::array();
    for (const Row& row : rows) measured.push_back(measure(options, row));
    if (!options.json) {
        print(out, false);
        print_side_by_side(measured);
        return;
    }
    out.update(measured.front());  // the first row's members stand in the object itself too
    out["rows"] = std::move(measured);
    print(out, true);
}

}  // namespace jobyard::bench
