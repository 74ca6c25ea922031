#pragma once
// Makes batches durable on a thread of its own, one at a time, while the server fills the next. No delay is added: the
// next batch is whatever has gathered while this one was written.
//
// All functions are for the server's thread. Signals must be blocked before this is made: threads inherit the mask.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

#include "batch.hpp"
#include "commit_log.hpp"
#include "fd.hpp"
#include "jobyard/result.hpp"

namespace jobyard::broker {

class Committer {
 public:
    explicit Committer(CommitLog& log);
    /// Waits for the batch in flight.
    ~Committer();
    Committer(const Committer&) = delete;
    Committer& operator=(const Committer&) = delete;

    /// No batch is in flight or waits to be taken.
    [[nodiscard]] bool idle() const { return idle_; }
    /// Only when idle. The batch must stay as and where it is until `take()` has given its number.
    void start(const Batch& batch);
    /// Readable when there is something to take.
    [[nodiscard]] int fd() const { return done_.fd(); }
    /// The number of the batch that has become durable, or why it has not: then the process must end. Nothing while it
    /// is being written.
    std::optional<Result<std::uint64_t>> take();
    /// How often the thread woke: once a batch.
    [[nodiscard]] std::uint64_t wakeups() const { return wakeups_.load(std::memory_order_relaxed); }

 private:
    void run();

    CommitLog& log_;
    bool idle_ = true;  ///< the server's view
    Event done_;
    std::atomic<std::uint64_t> wakeups_{0};

    std::mutex mutex_;  ///< guards what follows
    std::condition_variable wake_;
    const Batch* batch_ = nullptr;
    std::optional<Result<std::uint64_t>> result_;
    bool stopping_ = false;

    std::thread thread_;  ///< last: it uses all of the above
};

}  // namespace jobyard::broker
