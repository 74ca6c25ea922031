// How many jobs a second: submit and end to end, from one caller in a plain loop, every answer after an fsync.

#include <sys/resource.h>

#include <chrono>
#include <string>
#include <vector>

#include "cluster.hpp"
#include "jobyard/client.hpp"
#include "report.hpp"
#include "throughput.hpp"

namespace jobyard::bench {
namespace {

using Clock = std::chrono::steady_clock;

double own_cpu() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// How much the broker has done, in all.
struct Work {
    std::uint64_t operations = 0;
    std::uint64_t batches = 0;
    std::uint64_t value_bytes = 0;
};

Work work_so_far(Client& client) {
    const auto broker = nlohmann::json::from_msgpack(client.stats().value().map).at("broker");
    const auto count = [&](const char* name) { return broker.at(name).get<std::uint64_t>(); };
    return {count("puts") + count("erases") + count("moves"), count("batches"), count("value_bytes")};
}

}  // namespace

void run_throughput(const ThroughputOptions& options) {
    Cluster cluster({options.directory, options.workers, options.slots, options.credit, options.kept_jobs});
    Client client({.broker = cluster.endpoint()});
    client.connect().value();
    const std::string payload(options.payload, 'x');
    const auto submit_one = [&] { return client.submit({.type = "bench", .payload = payload, .watch = true}); };
    // Warm: connections, files, caches.
    {
        std::vector<Submission> jobs;
        for (unsigned i = 0; i < options.jobs / 10; ++i) jobs.push_back(submit_one());
        for (const Submission& job : jobs) job.result(std::chrono::minutes(1)).value();
    }
    const Work before = work_so_far(client);
    const std::uint64_t written_before = cluster.broker_write_bytes();
    const double broker_before = cluster.broker_cpu();
    const double workers_before = cluster.workers_cpu();
    const double own_before = own_cpu();

    const auto began = Clock::now();
    std::vector<Submission> jobs;
    jobs.reserve(options.jobs);
    for (unsigned i = 0; i < options.jobs; ++i) jobs.push_back(submit_one());
    for (const Submission& job : jobs) job.id(std::chrono::minutes(1)).value();
    const auto submitted = Clock::now();
    for (const Submission& job : jobs)
        if (!job.result(std::chrono::minutes(1)).value().completed())
            throw std::runtime_error("a job did not complete");
    const auto ended = Clock::now();

    const Work after = work_so_far(client);
    const auto seconds = [](auto duration) { return std::chrono::duration<double>(duration).count(); };
    const double count = options.jobs;
    const double us = 1e6 / count;
    Json out = heading("throughput");
    out.update({
        {"jobs", options.jobs},
        {"payload_bytes", options.payload},
        {"workers", options.workers},
        {"slots", options.slots},
        {"credit", options.credit},
        {"kept_jobs", options.kept_jobs},
        {"transport", "tcp"},
        {"submit_jobs_per_s", count / seconds(submitted - began)},
        {"end_to_end_jobs_per_s", count / seconds(ended - began)},
        {"lmdb_operations_per_job", static_cast<double>(after.operations - before.operations) / count},
        {"bytes_written_per_job", static_cast<double>(cluster.broker_write_bytes() - written_before) / count},
        {"value_bytes_per_job", static_cast<double>(after.value_bytes - before.value_bytes) / count},
        {"jobs_per_commit", count / static_cast<double>(std::max<std::uint64_t>(after.batches - before.batches, 1))},
        {"cpu_us_per_job",
         {{"client", (own_cpu() - own_before) * us},
          {"broker", (cluster.broker_cpu() - broker_before) * us},
          {"workers", (cluster.workers_cpu() - workers_before) * us}}},
    });
    print(out, options.json);
}

}  // namespace jobyard::bench
