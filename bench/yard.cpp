#include "yard.hpp"

#include <chrono>
#include <stdexcept>
#include <thread>

#include "usage.hpp"

namespace jobyard::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::minutes kPatience{2};  // with one job
constexpr std::chrono::minutes kFillPatience{10};

double seconds_since(Clock::time_point began) { return std::chrono::duration<double>(Clock::now() - began).count(); }

void expect_completed(const Submission& job) {
    if (!job.result(kPatience).value().completed()) throw std::runtime_error("a job did not complete");
}

}  // namespace

void wait_until(const std::function<bool()>& reached, const std::string& what, double seconds) {
    const auto began = Clock::now();
    while (!reached()) {
        if (seconds_since(began) > seconds) throw std::runtime_error("waited in vain until " + what);
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
}

Yard::Yard(BrokerProcess::Options options, unsigned workers, const WorkerProcess::Options& worker)
    : broker(std::move(options)), client({.broker = broker.endpoint()}) {
    client.connect().value();
    add_workers(workers, worker);
}

void Yard::add_workers(unsigned count, const WorkerProcess::Options& worker) {
    for (unsigned i = 0; i < count; ++i) workers_.push_back(std::make_unique<WorkerProcess>(broker.endpoint(), worker));
    sessions_ += std::uint64_t{count} * worker.sessions;
    wait_until_connected();
}

void Yard::kill_workers() {
    workers_.clear();
    sessions_ = 0;
    wait_until_connected();
}

void Yard::wait_until_connected() {
    wait_until([&] { return stats().workers == sessions_; }, std::to_string(sessions_) + " workers are connected");
}

double Yard::end_to_end(std::size_t jobs, const MakeJob& make) {
    const auto began = Clock::now();
    std::vector<Submission> submitted;
    submitted.reserve(jobs);
    for (std::size_t i = 0; i < jobs; ++i) {
        JobSpec job = make(i);
        job.watch = true;
        submitted.push_back(client.submit(std::move(job)));
    }
    for (const Submission& job : submitted) expect_completed(job);
    return static_cast<double>(jobs) / seconds_since(began);
}

std::vector<double> Yard::round_trips(std::size_t jobs, const MakeJob& make) {
    std::vector<double> took;
    for (std::size_t i = 0; i < jobs; ++i) {
        JobSpec job = make(i);
        job.watch = true;
        const auto began = Clock::now();
        expect_completed(client.submit(std::move(job)));
        took.push_back(seconds_since(began) * 1e6);
    }
    return took;
}

void Yard::fill(std::size_t jobs, const MakeJob& make, const std::string& what) {
    const std::uint64_t before = stats().submitted_total;
    Client filler({.broker = broker.endpoint()});
    Progress progress(what);
    for (std::size_t i = 0; i < jobs; ++i) {
        filler.submit(make(i));
        if (i % 1024 == 0) progress.show(static_cast<double>(i), static_cast<double>(jobs), "jobs");
    }
    filler.close(kFillPatience).value();
    if (const std::uint64_t made = stats().submitted_total - before; made != jobs)
        throw std::runtime_error("of " + std::to_string(jobs) + " jobs the broker took " + std::to_string(made));
}

double Yard::cpu_seconds() const {
    double seconds = own_cpu() + broker.process().cpu_seconds();
    for (const auto& worker : workers_) seconds += worker->process().cpu_seconds();
    return seconds;
}

std::uint64_t Yard::broker_number(const char* name) {
    return nlohmann::json::from_msgpack(stats().map).at("broker").at(name).get<std::uint64_t>();
}

}  // namespace jobyard::bench
