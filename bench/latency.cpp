// How long one job takes, hot, when its caller waits for each before the next: until the submit is answered (durable),
// and until the result is seen (its completion durable too).

#include "latency.hpp"

#include <chrono>
#include <stdexcept>
#include <vector>

#include "cluster.hpp"
#include "jobyard/client.hpp"
#include "report.hpp"

namespace jobyard::bench {
void run_latency(const LatencyOptions& options) {
    using Clock = std::chrono::steady_clock;
    const auto us = [](auto duration) { return std::chrono::duration<double, std::micro>(duration).count(); };
    Cluster cluster({.directory = options.directory, .workers = options.workers});
    Client client({.broker = cluster.endpoint()});
    client.connect().value();
    const std::string payload(options.payload, 'x');
    std::vector<double> answered;
    std::vector<double> ended;
    for (unsigned i = 0; i < options.jobs + options.jobs / 10; ++i) {
        const auto began = Clock::now();
        const Submission job = client.submit({.type = "bench", .payload = payload, .watch = true});
        job.id().value();
        const auto durable = Clock::now();
        if (!job.result().value().completed()) throw std::runtime_error("a job did not complete");
        if (i < options.jobs / 10) continue;  // warm: connections, files, caches
        answered.push_back(us(durable - began));
        ended.push_back(us(Clock::now() - began));
    }
    Json out = heading("latency");
    out.update({
        {"jobs", options.jobs},
        {"payload_bytes", options.payload},
        {"workers", options.workers},
        {"submit_us", percentiles(std::move(answered))},
        {"round_trip_us", percentiles(std::move(ended))},
    });
    print(out, options.json);
}

}  // namespace jobyard::bench
