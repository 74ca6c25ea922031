#pragma once
// The worker library: a handler for each type of job, and run().
//
//     jobyard::Worker worker({.slots = 4});
//     worker.on("greet", [](const jobyard::Job& job, jobyard::Context&) -> jobyard::HandlerResult {
//         return jobyard::Success{"hello " + std::string(job.payload)};
//     });
//     jobyard::WorkerEnd end = worker.run();
//
// A job may be run more than once (a worker may die between doing and reporting); its completion is recorded once. What
// a handler changes outside should bear that: pass `job.token`, which only grows, and refuse what comes with a smaller
// one.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "jobyard/export.hpp"
#include "jobyard/ids.hpp"
#include "jobyard/result.hpp"

namespace jobyard {

/// One attempt of one job, as its handler sees it. The views last until the handler returns.
struct Job {
    JobId id;
    LeaseToken token;                ///< this attempt's lease; greater than that of any attempt before
    std::uint32_t attempt = 1;       ///< counted from 1
    std::uint32_t max_attempts = 1;  ///< errors after which the job is dead
    int priority = 0;                ///< 10 is highest
    std::string_view queue;
    std::string_view type;
    std::string_view payload;       ///< as submitted
    JobId array = {};               ///< one of the jobs of this array; 0: of none
    std::uint64_t array_index = 0;  ///< which of them
};

/// A handler's line to the library while it runs. Every call may be made from any thread until the handler returns.
class JOBYARD_API Context {
 public:
    /// When the attempt will be failed for having run too long; `time_point::max()` if the job has no timeout.
    [[nodiscard]] std::chrono::steady_clock::time_point deadline() const;

    /// True from when the job should stop: it was cancelled, its lease was lost, its timeout has passed, or the worker
    /// is leaving. What the handler returns afterwards: a Success still counts if nothing was reported before; a
    /// Failure is reported as the cause (cancelled, or handed back uncharged).
    [[nodiscard]] bool cancelled() const;

    /// A file descriptor that is readable from when cancelled() is true, for handlers that wait in poll(). Owned by the
    /// library; do not read or close it. -1 if the process has no descriptor left.
    [[nodiscard]] int cancel_fd();

    /// Says how far the job is: `fraction` from 0 to 1, `text` up to 255 bytes. Cheap; the broker learns the latest
    /// with the next renewal of the lease (10 s).
    void progress(double fraction, std::string_view text = {});

    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

 private:
    friend class WorkerThreads;
    struct JOBYARD_HIDDEN Impl;
    explicit Context(Impl& impl) : impl_(impl) {}
    Impl& impl_;
};

/// The job is done. `result` (up to 384 KiB unless the broker is set otherwise) is what its submitter gets.
struct Success {
    std::string result = {};
};

/// The attempt failed; the job is tried again while it has attempts left.
struct Failure {
    std::string message = {};  ///< for people; the first 512 bytes are kept
    bool retryable = true;     ///< false: trying again is of no use, the job is dead at once
    std::string result = {};   ///< kept if this was the last attempt
    std::string tail = {};     ///< the end of what the job wrote; the last 1 KiB is kept
};

/// Hands the job back, charged to nobody: another attempt begins not before `delay` from now (0: as soon as a worker
/// has room), perhaps elsewhere. Whoever waits for something outside says so with this rather than by sleeping in a
/// slot.
struct Snooze {
    std::chrono::milliseconds delay{0};  ///< at most 366 days
};

using HandlerResult = std::variant<Success, Failure, Snooze>;

/// Called in a slot's thread; several slots may call the same handler at once. An exception is a retryable Failure with
/// its what().
using Handler = std::function<HandlerResult(const Job& job, Context& context)>;

enum class LogLevel : std::uint8_t { info, warning, error };

/// Why run() returned.
struct WorkerEnd {
    enum class Cause : std::uint8_t {
        stopped,          ///< stop() or stop_now() was called, and all is handed over
        all_slots_stuck,  ///< no handler stopped when told to
        refused,          ///< the broker will not have this worker, or it could not start: see `error`
    };
    Cause cause = Cause::stopped;
    Error error = {};
    /// Handlers that had not returned. Their threads go on, and with them what the handlers use: end the process with
    /// std::_Exit rather than by destroying that.
    unsigned handlers_left = 0;
};

struct WorkerOptions {
    /// Where the broker is ("ipc://…", "tcp://host:7466"); empty: $JOBYARD_BROKER, else the user's default endpoint.
    std::string broker = {};
    /// For a broker with keys, over tcp. Its public key: the 40 characters, or the file that has them; empty:
    /// $JOBYARD_SERVER_KEY.
    std::string server_key = {};
    /// The file of this worker's secret key (jobyard keygen); empty: $JOBYARD_KEY_FILE.
    std::string key_file = {};
    /// For people, in logs and in the records of attempts; empty: host name and process number.
    std::string name = {};
    /// Handlers that may run at once, each in a thread of its own; at most 1,024. 0: half as many as there are cores,
    /// at least 1.
    unsigned slots = 0;
    /// Jobs held at most, running ones included; more than `slots` means fetching ahead, which short jobs want and long
    /// ones do not. At most 1,024; 0: as many as there are slots.
    unsigned credit = 0;
    /// The queues served, in turns; at most 256.
    std::vector<std::string> queues = {"default"};
    /// After stop(): how long running handlers may go on before they are told to stop.
    std::chrono::milliseconds drain{25'000};
    /// How long a handler that was told to stop may take before its slot is given up.
    std::chrono::milliseconds stop_grace{15'000};
    /// Is told of incidents, a line for each. Called by the thread in run() or a slot's, one at a time; it must return
    /// soon. May be empty.
    std::function<void(LogLevel, const std::string&)> log = {};
    /// Is called from the loop that speaks with the broker, at once when run() begins and then about every
    /// `pulse_interval`, the broker being there or not: what a watchdog wants to hear. If it stops, the loop hangs. It
    /// must return at once. May be empty.
    std::function<void()> pulse = {};
    std::chrono::milliseconds pulse_interval{1'000};
};

class JOBYARD_API Worker {
 public:
    explicit Worker(WorkerOptions options);
    /// run() must have returned.
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /// Says who runs jobs of `type`; a later handler of the same type takes the earlier one's place. Before run().
    void on(std::string type, Handler handler);

    /// Connects, and runs jobs until stopped. It keeps trying while the broker is away, and through any number of
    /// restarts; results are kept until the broker has answered them. The calling thread becomes the network thread; it
    /// runs no handlers. Once in the life of a Worker.
    WorkerEnd run();

    /// Makes run() finish: nothing new is begun, jobs that were not begun go back at once, running ones have `drain`
    /// time to end, are then told to stop and go back uncharged. From any thread and from a signal handler.
    void stop();
    /// The same without waiting: running handlers are told to stop at once and have a second.
    void stop_now();

 private:
    struct JOBYARD_HIDDEN Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace jobyard
