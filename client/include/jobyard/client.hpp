#pragma once
// Submitting jobs, waiting for them, steering and asking:
//
//     jobyard::Client client;
//     jobyard::Submission job = client.submit({.type = "resize", .payload = bytes, .watch = true});
//     jobyard::Result<jobyard::JobId> id = job.id();             // durable now
//     jobyard::Result<jobyard::JobResult> result = job.result(5min);
//
// submit() returns at once; what a loop submits travels in lists. The client reconnects by itself and sends again what
// was not answered; a job is made once however often that happens. Results are pushed, not polled for.
//
// A Client may be used from several threads. It has one thread of its own, which never runs the caller's code. Every
// call that waits has a time limit, 30 s unless said otherwise, and then gives Code::timeout. In a child process after
// fork() every call gives Code::forked: make a client there.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "jobyard/event.hpp"
#include "jobyard/export.hpp"
#include "jobyard/ids.hpp"
#include "jobyard/job.hpp"
#include "jobyard/job_info.hpp"
#include "jobyard/limits.hpp"
#include "jobyard/result.hpp"
#include "jobyard/retry_policy.hpp"

namespace jobyard {

namespace client {
struct Watched;
}

inline constexpr std::chrono::milliseconds kDefaultTimeLimit{30'000};
/// For waits that may last: as long as it takes.
inline constexpr std::chrono::milliseconds kNoTimeLimit = std::chrono::milliseconds::max();

/// Many jobs of one submit, which differ in their index alone: `first`, `first` + `step`, … The handler of each is told
/// its index (worker.hpp: Job::array_index). An array has a number as a job has one, and is watched and cancelled as
/// a job is: its result comes when all of its jobs have ended, `completed` if they all have completed.
struct ArrayRange {
    std::uint64_t count = 0;  ///< 0: no array, one job
    std::uint64_t first = 0;
    std::uint64_t step = 1;
    std::uint32_t at_once = 0;  ///< no more of its jobs are unended at a time; 0: as many as there is room for
    std::string name = {};      ///< for people
};

/// A job to make. The names are those of PROTOCOL.md, "Submitting".
struct JobSpec {
    std::string type = {};     ///< decides which workers can run it
    std::string payload = {};  ///< any bytes; see Client::max_payload()
    std::string queue = "default";
    std::uint8_t priority = kDefaultPriority;  ///< 1 to 10, 10 first
    std::string key = {};  ///< your own name for it within its queue: the same key again makes no second job
    std::uint64_t delay_ms = 0;
    // What is not said here is as the type's policy says, in this queue or else in all, else the queue's
    // (Client::set_queue), else 5 minutes, 4 attempts, and pauses of 1 s × 2 up to 60 s plus up to 20 %.
    std::optional<std::uint32_t> timeout_ms = {};  ///< of one attempt; 0: none
    std::optional<std::uint32_t> max_attempts = {};
    BackoffPolicy backoff = {};
    bool watch = false;        ///< have the result sent to this client: Submission::result()
    std::uint64_t run_at = 0;  ///< not before then: milliseconds since 1970 UTC, by the broker's clock; or delay_ms
    std::uint64_t deadline_ms = 0;       ///< dead (`expired`) if it has not ended so long after its submit; 0: none
    std::uint64_t queue_timeout_ms = 0;  ///< dead (`expired`) if no worker was given it so long after it was ready
    bool held = false;                   ///< waits until Client::change lets it go
    std::uint64_t key_ttl_ms = kDefaultKeyTtlMs;  ///< how long after its end `key` still names it; 0: only till then
    ArrayRange array = {};  ///< with a count: an array of such jobs; `key` names it as long as it is remembered
};

/// What is to be another way with jobs that wait; what is not said stays.
struct JobChange {
    std::uint8_t priority = 0;  ///< 0: as it is
    std::string queue = {};     ///< empty: where it is; a job with a key stays in its queue
    std::optional<bool> held = {};
};

/// What is to be another way with dead jobs, before a redrive; what is not said stays.
struct JobEdit {
    std::optional<std::string> payload = {};
    std::string type = {};
    std::string queue = {};     ///< a job with a key stays in its queue
    std::uint8_t priority = 0;  ///< 0: as it is
    RetryPolicy retry = {};
};

/// What is to be another way with a queue; what is not said stays. Of a type in a queue there is `retry` only.
struct QueueChange {
    std::optional<bool> paused = {};  ///< nothing of it is handed out; survives restarts
    std::string by = {};              ///< who pauses, and why; for people
    std::string why = {};
    std::optional<std::uint32_t> max_running = {};  ///< jobs of it that may be out to workers; 0: no limit
    RetryPolicy retry = {};                         ///< of jobs that do not say themselves; kUnset takes a field back
};

/// Something to do to many jobs: those that are there now and that all of these let through.
struct TaskSpec {
    TaskAction action = TaskAction::cancel;
    JobState state = JobState::none;  ///< of cancel; none: any
    std::string queue = {};           ///< empty: any
    std::string type = {};
    Reason reason = Reason::none;     ///< of the dead; none: any
    std::string error = {};           ///< fingerprint of their last error (fingerprint.hpp); empty: any
    std::uint64_t older_than_ms = 0;  ///< made (the dead: ended) at least so long ago
    std::uint64_t newer_than_ms = 0;  ///< at most so long ago; 0: any
    bool count_only = false;          ///< change nothing: TaskInfo::done says how many it would be
    std::string by = {};              ///< for people
    std::vector<JobId> jobs = {};     ///< of redrive and purge: only these, at most 1,024; none: all
};

/// How a job ended.
struct JobResult {
    JobId job;
    JobState state = JobState::none;  ///< completed, dead or cancelled
    Reason reason = Reason::none;     ///< of a dead one
    std::uint32_t attempt = 0;
    std::string error;  ///< of the last attempt, if it failed
    std::string bytes;  ///< the result; of a dead job that of its last attempt, if that gave one

    [[nodiscard]] bool completed() const { return state == JobState::completed; }
};

/// A job that was submitted or is watched: a light handle, copied freely. It may outlive its client. What is known of
/// the job, its result included, stays in memory as long as a handle does.
class JOBYARD_API Submission {
 public:
    /// Waits until the job is durable, or it is certain that it was not made. Code::timeout says neither: ask again.
    /// Code::outcome_unknown: it can never be known (the broker was away for longer than it remembers
    /// this client, or has come back with another store, such as one restored from a backup).
    [[nodiscard]] Result<JobId> id(std::chrono::milliseconds limit = kDefaultTimeLimit) const;
    /// Waits until the job has ended, however it ended. Only if it was submitted with `watch` or comes from
    /// Client::watch.
    [[nodiscard]] Result<JobResult> result(std::chrono::milliseconds limit = kDefaultTimeLimit) const;
    /// Once id() has answered: the key named this job already, so none was made.
    [[nodiscard]] bool was_existing() const;
    /// Without waiting: id() (or result()) would answer at once.
    [[nodiscard]] bool has_id() const;
    [[nodiscard]] bool has_result() const;

 private:
    friend class Client;
    explicit Submission(std::shared_ptr<client::Watched> watched) : watched_(std::move(watched)) {}
    std::shared_ptr<client::Watched> watched_;
};

struct JobFilter {
    JobState state = JobState::none;  ///< none: any
    std::string queue = {};           ///< empty: any
    std::string type = {};
    JobId array = {};  ///< 0: any
};
struct JobPage {
    std::vector<JobInfo> jobs;
    std::uint64_t next_cursor = 0;  ///< for the next page; 0: this was the last
};

/// Events that all of this lets through.
struct EventFilter {
    std::string queue = {};  ///< empty: any
    std::string type = {};
    JobId job = {};                     ///< 0: any
    std::vector<EventKind> kinds = {};  ///< none: all
};
struct EventPage {
    std::vector<EventInfo> events;
    std::uint64_t last = 0;  ///< go on behind this one; it may be beyond the last of `events`
    std::uint64_t gone = 0;  ///< if not 0: those up to this one, behind what was asked for, have been removed
    bool more = false;       ///< there is something behind `last` already
};

/// What became of a cancel: `ok` (cancelled now), `cancel_requested` (it runs; its worker is told) or `ended` (as
/// `state` says, before).
struct CancelAnswer {
    Code code = Code::ok;
    JobState state = JobState::none;
};

class JOBYARD_API Client {
 public:
    struct Options {
        /// Endpoint; empty: $JOBYARD_BROKER, else that of this user's own broker if it is there, else that of the
        /// machine's (ipc:///run/jobyard/broker) if this user may use it.
        std::string broker = {};
        /// How long a submit may wait, for room here or for the broker to take it, before it fails.
        std::chrono::milliseconds submit_limit = kDefaultTimeLimit;
        /// Try jobs again that the broker refused `busy`, `queue_full` or `disk_full`, until the limit.
        bool retry_refused = true;
        /// Jobs and payload bytes that may be unanswered; beyond them submit() waits and try_submit() refuses.
        std::size_t max_pending = 65'536;
        std::size_t max_pending_bytes = std::size_t{64} << 20;
        /// How long the destructor waits for answers.
        std::chrono::milliseconds linger{2'000};
        /// For a broker with keys, over tcp. Its public key: the 40 characters, or the file that has them; empty:
        /// $JOBYARD_SERVER_KEY.
        std::string server_key = {};
        /// The file of this client's secret key (jobyard keygen); empty: $JOBYARD_KEY_FILE.
        std::string key_file = {};
    };

    /// Starts to connect in the background; a broker that is not there yet is no error. If the client can never work
    /// (an endpoint that is none, a directory others can write to) every call says so.
    Client();
    explicit Client(Options options);
    /// close(linger). What is not answered by then may or may not have been made; its handles say Code::closed.
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    /// Waits until the broker has taken this client in, for those who want to know before they begin. Code::not_allowed
    /// if its key is refused, or handshakes fail so that the broker's is probably another.
    Result<void> connect(std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// Waits until every submit is answered (Code::timeout if they are not), then ends the client: calls that wait, and
    /// all that come later, get Code::closed. May wait a second more for the last message to leave.
    Result<void> close(std::chrono::milliseconds limit = kDefaultTimeLimit);

    /// Returns at once while there is room (Options::max_pending), else waits for room up to `submit_limit`. What
    /// cannot be submitted says so in the handle's id().
    Submission submit(JobSpec spec);
    std::vector<Submission> submit_all(std::vector<JobSpec> specs);
    /// Never waits: Code::not_accepted if there is no room.
    Result<Submission> try_submit(JobSpec spec);
    /// Submits and waits for the result.
    Result<JobResult> run(JobSpec spec, std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// Submitted and not answered yet; right after an answer it may still be counted.
    [[nodiscard]] std::size_t pending() const;
    /// The largest payload the broker takes, as far as it is known.
    [[nodiscard]] std::size_t max_payload() const;

    /// Has the result of a job sent here; it need not be one this client submitted. Ends with `timeout` after `limit`.
    Submission watch(JobId job, std::chrono::milliseconds limit = kDefaultTimeLimit);
    std::vector<Submission> watch(std::span<const JobId> jobs, std::chrono::milliseconds limit = kDefaultTimeLimit);
    Result<JobResult> wait(JobId job, std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// All of them, in order, within one limit.
    std::vector<Result<JobResult>> wait(std::span<const JobId> jobs,
                                        std::chrono::milliseconds limit = kDefaultTimeLimit);

    Result<CancelAnswer> cancel(JobId job, std::chrono::milliseconds limit = kDefaultTimeLimit);
    std::vector<Result<CancelAnswer>> cancel(std::span<const JobId> jobs,
                                             std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// Takes a job out of the dead letter queue for a new round.
    Result<void> redrive(JobId job, std::chrono::milliseconds limit = kDefaultTimeLimit);
    std::vector<Result<void>> redrive(std::span<const JobId> jobs, std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// Priority, queue, held or not, of jobs that wait; Code::not_waiting for one that runs.
    Result<void> change(JobId job, const JobChange& change, std::chrono::milliseconds limit = kDefaultTimeLimit);
    std::vector<Result<void>> change(std::span<const JobId> jobs, const JobChange& change,
                                     std::chrono::milliseconds limit = kDefaultTimeLimit);

    /// Payload, type, queue, priority or policy of dead jobs: all that is said, or nothing; Code::not_dead for others.
    /// A job of an array keeps its payload, which is that of all of them.
    Result<void> edit(JobId job, const JobEdit& edit, std::chrono::milliseconds limit = kDefaultTimeLimit);
    std::vector<Result<void>> edit(std::span<const JobId> jobs, const JobEdit& edit,
                                   std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// The payload of an array, or of a job that is unended or dead; Code::ended for others, which have none any more.
    Result<std::string> payload(JobId job, std::chrono::milliseconds limit = kDefaultTimeLimit);

    /// Pause, resume, limit a queue, or say how its jobs are tried; with `type` only those of this type, and if the
    /// queue is "*" those of it in all queues. A queue need not have jobs yet.
    Result<void> set_queue(const std::string& queue, const QueueChange& change, const std::string& type = {},
                           std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// All queues that have had jobs since the broker started, or for which something is set, in order of their names.
    Result<std::vector<QueueInfo>> queues(std::chrono::milliseconds limit = kDefaultTimeLimit);
    Result<QueueInfo> queue(const std::string& name, std::chrono::milliseconds limit = kDefaultTimeLimit);

    /// Begins it; gives its number. It goes on in the broker, also without this client, and after a restart.
    Result<std::uint64_t> start_task(const TaskSpec& task, std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// Those that run and the last 100 that ended, the newest first.
    Result<std::vector<TaskInfo>> tasks(std::chrono::milliseconds limit = kDefaultTimeLimit);
    Result<TaskInfo> task(std::uint64_t number, std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// What it has done stays done. Code::ended if it was over.
    Result<void> stop_task(std::uint64_t number, std::chrono::milliseconds limit = kDefaultTimeLimit);

    /// All arrays that are remembered, the newest first.
    Result<std::vector<ArrayInfo>> arrays(std::chrono::milliseconds limit = kDefaultTimeLimit);
    Result<ArrayInfo> array(JobId array, std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// Makes no more of its jobs; those that are made go on. Code::ended if all were made. (To cancel them too:
    /// cancel.)
    Result<void> stop_array(JobId array, std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// Another array, of the indices whose jobs are dead, or with `cancelled` were cancelled: its number. If that has
    /// been done already, the number of that one. Code::not_dead if there is none.
    Result<JobId> resubmit(JobId array, bool cancelled = false, std::chrono::milliseconds limit = kDefaultTimeLimit);

    Result<JobInfo> show(JobId job, std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// One page. It may have fewer jobs than `size`, even none, and not be the last.
    Result<JobPage> list(const JobFilter& filter, std::uint64_t cursor = 0, std::uint32_t size = 100,
                         std::chrono::milliseconds limit = kDefaultTimeLimit);
    Result<BrokerStats> stats(std::chrono::milliseconds limit = kDefaultTimeLimit);

    /// A page of what has happened behind event `after`, at most `size` events. To follow: ask for kFromNow (which
    /// gives none, and the newest as `last`), or for 0, or for where one came to in another life; then go on behind
    /// `last`, with a `wait`. So nothing is missed or seen twice, whatever breaks meanwhile. While it waits (30 s at
    /// most) it returns when something happens that the filter lets through, or with none; `limit` begins when it may
    /// return.
    Result<EventPage> events(const EventFilter& filter, std::uint64_t after = kFromNow,
                             std::chrono::milliseconds wait = std::chrono::milliseconds(0), std::uint32_t size = 1000,
                             std::chrono::milliseconds limit = kDefaultTimeLimit);

    /// All that are connected, or away for a moment; or only those of that name, each with its jobs.
    Result<std::vector<WorkerInfo>> workers(const std::string& name = {},
                                            std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// All workers of that name are handed nothing more, finish what they hold, and stay; how many they are.
    /// Code::unknown_worker if there is none.
    Result<std::size_t> drain(const std::string& name, std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// Takes that back.
    Result<std::size_t> resume(const std::string& name, std::chrono::milliseconds limit = kDefaultTimeLimit);

 private:
    struct JOBYARD_HIDDEN Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace jobyard
