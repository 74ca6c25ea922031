#pragma once
// The threads that run handlers, and what passes between them and the network: jobs to begin one way, reports the
// other, both in lists under one lock that is never held while a handler runs. Either side makes a system call to wake
// the other only if that sleeps.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "jobyard/worker.hpp"
#include "peer/turns.hpp"
#include "session.hpp"

namespace jobyard::worker {

/// So that a type can be looked up without making a string of it.
struct TypeHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view type) const { return std::hash<std::string_view>{}(type); }
};
/// By type. Hashed, because every job is looked up, also where a worker serves a thousand types.
using Handlers = std::unordered_map<std::string, Handler, TypeHash, std::equal_to<>>;

/// One start of a job: made in a turn, run by a slot, then used again for another.
struct Task {
    // Written in the turn that offers the task; everybody may read it from then on.
    LeaseToken token;  ///< 0: free
    Job job;           ///< views into what follows
    std::string queue;
    std::string type;
    std::string payload;
    std::shared_ptr<const void> large_payload;  ///< the frame that it is in, in place of `payload`
    std::uint32_t timeout_ms = 0;
    const Handler* handler = nullptr;
    std::int64_t lease_until_ms = 0;

    bool withdrawn = false;  ///< within Slots::stop()

    // Written by the slot, read in the turn that takes the report.
    std::int64_t began_ms = 0;
    std::int64_t ended_ms = 0;
    Ending ending;

    // Shared while the handler runs.
    std::atomic<bool> cancelled{false};
    std::mutex mutex;  ///< guards the rest
    int cancel_fd = -1;
    double progress = 0;
    std::string progress_text;
    bool progress_reported = false;  ///< a report of it is on its way already
};

struct Report {
    enum class Kind : std::uint8_t { began, finished, unstarted, progress } kind = Kind::began;
    Task* task = nullptr;
};

class Slots : public std::enable_shared_from_this<Slots> {
 public:
    /// Until close() somebody takes one of `turns` when there are reports; except that of jobs that began in slots that
    /// were idle, for which whoever offered them will look.
    Slots(Handlers handlers, Turns& turns);
    Slots(const Slots&) = delete;
    Slots& operator=(const Slots&) = delete;

    // --- for turns

    /// On an error some may have been started: close() all the same.
    Result<void> start(unsigned count);
    /// A free task with its token set; the caller fills in the rest and offers it.
    Task& make_task(LeaseToken token);
    void free_task(Task& task);
    /// The tasks of these tokens that are not free.
    std::vector<Task*> find(const std::vector<LeaseToken>& tokens);
    /// To be begun in this order, as slots are free and while `lease_until_ms` is ahead.
    void offer(const std::vector<Task*>& tasks);
    /// Takes back those of `tasks` that no slot has begun, and tells the others to stop. Returns what it took back.
    std::vector<Task*> stop(const std::vector<Task*>& tasks);
    /// All slots have a job, and none waits for another: until a slot comes back no job can begin, nor has ended.
    [[nodiscard]] bool are_occupied();
    /// What happened since the last call, in order; `reports` is overwritten.
    void take_reports(std::vector<Report>& reports);
    /// No handler is begun any more. Waits for those that run, but not beyond `deadline`; returns how many are left.
    unsigned close(std::chrono::steady_clock::time_point deadline);

    [[nodiscard]] const Handler* handler_of(std::string_view type) const;

    // --- for handlers, through Context

    void report_progress(Task& task);

 private:
    struct Thread {
        std::thread thread;
        bool runs_handler = false;
    };
    void run(Thread& self);
    Task* next(Thread& self, Task* finished);
    void tell_and_lead(std::unique_lock<std::mutex>& lock);

    const Handlers handlers_;
    std::deque<Task> tasks_;  // a deque: tasks never move
    std::vector<Task*> free_;

    std::mutex mutex_;  // guards all below
    // Used by slots until closed_: without the lock only while they run no handler, because close() waits for those.
    Turns& turns_;
    std::deque<Task*> ready_;
    std::vector<Report> reports_;
    std::condition_variable work_;      // something is ready, or closed_
    std::condition_variable returned_;  // a handler has returned
    unsigned idle_ = 0;                 // waiting for work_
    bool leading_ = false;              // one waits at the socket, who takes the first of what is offered
    unsigned busy_ = 0;
    bool closed_ = false;
    std::deque<Thread> threads_;
};

}  // namespace jobyard::worker
