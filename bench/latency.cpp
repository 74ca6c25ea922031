// How long one job takes, hot, when its caller waits for each before the next: until the submit is answered (durable),
// and until the result is seen (its completion durable too).

#include "latency.hpp"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <stdexcept>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include <nlohmann/json.hpp>

#include "cluster.hpp"
#include "jobyard/client.hpp"

namespace jobyard::bench {
namespace {

nlohmann::ordered_json percentiles(std::vector<double> us) {
    std::sort(us.begin(), us.end());
    const auto at = [&](double share) {
        return us[static_cast<std::size_t>(share * static_cast<double>(us.size() - 1))];
    };
    return {{"p50", at(0.5)}, {"p90", at(0.9)}, {"p99", at(0.99)}, {"p999", at(0.999)}, {"max", us.back()}};
}

}  // namespace

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
    const nlohmann::ordered_json out = {
        {"benchmark", "latency"},
        {"durability", "fsync before every answer, dispatch and result"},
        {"jobs", options.jobs},
        {"payload_bytes", options.payload},
        {"workers", options.workers},
        {"submit_us", percentiles(std::move(answered))},
        {"round_trip_us", percentiles(std::move(ended))},
    };
    if (options.json) {
        std::cout << out.dump() << '\n';
        return;
    }
    for (const char* what : {"submit_us", "round_trip_us"}) {
        std::cout << fmt::format("  {:<14}", what);
        for (const auto& [name, value] : out[what].items())
            std::cout << fmt::format("  {} {:.0f}", name, value.get<double>());
        std::cout << '\n';
    }
}

}  // namespace jobyard::bench
