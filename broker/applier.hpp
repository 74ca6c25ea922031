#pragma once
// Brings the store up to the commit log, on a thread of its own, in transactions of many batches, and one window late:
// of the jobs that have ended by then, which are most, the store need only see the end (Store::apply).
//
// How large a transaction is depends on what counts. While commits are large, that is throughput: it takes all of a
// window. While they are small, it is how long each takes, and the disk, which does one thing after another, makes a
// commit wait for as long as a transaction takes to write: then it takes a part of a window at a time.
//
// All functions are for the server's thread. Signals must be blocked before this is made: threads inherit the mask.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "batch.hpp"
#include "commit_log.hpp"
#include "fd.hpp"
#include "jobyard/result.hpp"
#include "store.hpp"

namespace jobyard::broker {

class Applier {
 public:
    /// A batch may be applied when a window has passed since it came, in time or in bytes, and is after two. Long
    /// enough for most jobs of a busy broker; short enough that reading what the store does not have yet stays cheap
    /// (Found). Two windows, and the batch that fills each, must fit into a file of the log, else the applier is
    /// hurried and writes what was about to end.
    struct Window {
        std::chrono::milliseconds time{100};
        std::size_t bytes = std::size_t{36} << 20;
    };
    /// The store has every batch up to `applied`.
    Applier(Store& store, CommitLog& log, std::uint64_t applied, Window window);
    /// Applies what is left.
    ~Applier();
    Applier(const Applier&) = delete;
    Applier& operator=(const Applier&) = delete;

    /// A batch that is durable, in order. It must stay as and where it is until applied() has reached it.
    void add(const Batch& batch);
    /// Readable when applied() may have changed.
    [[nodiscard]] int fd() const { return done_.fd(); }
    /// The newest batch that the store has. An error: the store failed, and the process must end.
    Result<std::uint64_t> applied();
    /// Bytes of batches that the store does not have yet.
    [[nodiscard]] std::size_t waiting_bytes() const;
    /// Returns when the store has all; nothing may be added after it.
    Result<void> finish();

 private:
    using Clock = std::chrono::steady_clock;
    struct Waiting {
        const Batch* batch;
        Clock::time_point came;
    };
    void run();
    void hurry();
    [[nodiscard]] bool presses() const;
    [[nodiscard]] bool are_small() const;
    [[nodiscard]] std::size_t due(Clock::time_point now, Clock::time_point& next) const;

    const Window window_;
    Store& store_;
    CommitLog& log_;
    Event done_;

    mutable std::mutex mutex_;  ///< guards what follows
    std::condition_variable wake_;
    std::deque<Waiting> waiting_;
    std::size_t bytes_ = 0;           ///< of waiting_
    std::size_t applying_bytes_ = 0;  ///< of those being applied
    std::uint64_t applied_;
    std::optional<Error> error_;
    bool hurry_ = false;
    bool finishing_ = false;

    std::thread thread_;  ///< last: it uses all of the above
};

}  // namespace jobyard::broker
