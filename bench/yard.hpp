#pragma once
// A broker, its workers and one client, all connected: what the benchmarks that compare two brokers side by side have
// two of; and the loops they measure them with.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "broker_process.hpp"
#include "jobyard/client.hpp"
#include "report.hpp"
#include "worker.hpp"

namespace jobyard::bench {

/// The specification of the i-th job of a loop.
using MakeJob = std::function<JobSpec(std::size_t i)>;

class Yard {
 public:
    /// `workers` processes, each as `worker` says.
    Yard(BrokerProcess::Options broker, unsigned workers, const WorkerProcess::Options& worker = {});

    /// Starts more, and returns when all that are alive are connected.
    void add_workers(unsigned count, const WorkerProcess::Options& worker);
    /// Kills them all, and returns when the broker has noticed.
    void kill_workers();

    /// Submits as fast as it can and waits until all have completed. In jobs a second.
    double end_to_end(std::size_t jobs, const MakeJob& make);
    /// One at a time, from submit to result, in microseconds.
    std::vector<double> round_trips(std::size_t jobs, const MakeJob& make);
    /// Submits and waits until all are acknowledged. `what` is for the terminal.
    void fill(std::size_t jobs, const MakeJob& make, const std::string& what);

    /// Processor time so far: the broker's, the workers' and this process's, in which the client is.
    [[nodiscard]] double cpu_seconds() const;
    /// A number of the broker's own statistics ("store_bytes").
    std::uint64_t broker_number(const char* name);
    BrokerStats stats() { return client.stats().value(); }

    BrokerProcess broker;
    Client client;

 private:
    void wait_until_connected();

    std::vector<std::unique_ptr<WorkerProcess>> workers_;
    std::uint64_t sessions_ = 0;
};

/// Throws std::runtime_error with `what` if `reached` does not hold within a time limit.
void wait_until(const std::function<bool()>& reached, const std::string& what, double seconds = 60);

}  // namespace jobyard::bench
