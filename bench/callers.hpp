#pragma once
// Who makes the load of `throughput`: callers, each a thread with a Client of its own, who submit in a plain loop and
// wait for what they submitted.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "jobyard/client.hpp"
#include "report.hpp"

namespace jobyard::bench {

class Callers {
 public:
    struct Options {
        std::string endpoint;
        unsigned callers = 1;
        std::size_t payload = 100;
        unsigned batch = 1;  ///< 1: submit(), one after the other; more: lists of as many by submit_all()
    };
    /// From the common start until the last caller had what the name says, in seconds.
    struct Times {
        double submitted = 0;  ///< every submit acknowledged
        double ended = 0;      ///< every result seen
    };

    /// All are connected when it returns. This and all calls throw std::runtime_error.
    explicit Callers(Options options);
    ~Callers();
    Callers(const Callers&) = delete;
    Callers& operator=(const Callers&) = delete;

    /// `jobs` among them, submitted and waited for. What it took is counted while the threads live: their clients and
    /// they themselves are there before and after it.
    Times run(unsigned jobs, Progress& progress);
    /// The two halves of run().
    Times submit(unsigned jobs, Progress& progress);
    void wait_for_results(Progress& progress);

    /// The first caller's, while none runs.
    Client& client();

 private:
    enum class Task : std::uint8_t { none, submit, results, both, leave };
    struct Caller;
    using Clock = std::chrono::steady_clock;

    Times perform(Task task, unsigned jobs, Progress& progress);
    void live(Caller& caller);
    void submit_all_of(Caller& caller);
    void wait_for_all_of(Caller& caller);

    const Options options_;
    std::vector<std::unique_ptr<Caller>> callers_;
    std::mutex mutex_;
    std::condition_variable begins_;
    std::condition_variable ends_;
    Task task_ = Task::none;
    unsigned round_ = 0;
    unsigned busy_ = 0;
};

}  // namespace jobyard::bench
