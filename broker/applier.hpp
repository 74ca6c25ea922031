#pragma once
// Brings the store up to the commit log, on a thread of its own, in transactions of many batches, and one window late:
// of the jobs that have ended by then, which are most, the store need only see the end (Store::apply).
//
// All functions are for the server's thread. Signals must be blocked before this is made: threads inherit the mask.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "batch.hpp"
#include "commit_log.hpp"
#include "fd.hpp"
#include "jobyard/result.hpp"
#include "store.hpp"

namespace jobyard::broker {

class Applier {
 public:
    /// A batch is applied when the next window has passed behind it. Long enough for most jobs of a busy broker; short
    /// enough that reading what the store does not have yet stays cheap (Found).
    struct Window {
        std::chrono::milliseconds time{100};
        std::size_t bytes = std::size_t{24} << 20;
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
    void run();
    void hurry();

    const Window window_;
    Store& store_;
    CommitLog& log_;
    Event done_;

    mutable std::mutex mutex_;  ///< guards what follows
    std::condition_variable wake_;
    std::vector<const Batch*> waiting_;
    std::size_t waiting_bytes_ = 0;  ///< with those being applied
    std::size_t window_bytes_ = 0;   ///< of those that came in this window
    Clock::time_point due_;          ///< when it ends
    std::uint64_t applied_;
    std::optional<Error> error_;
    bool hurry_ = false;
    bool finishing_ = false;

    std::thread thread_;  ///< last: it uses all of the above
};

}  // namespace jobyard::broker
