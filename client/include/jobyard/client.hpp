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
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "jobyard/backoff.hpp"
#include "jobyard/export.hpp"
#include "jobyard/ids.hpp"
#include "jobyard/job.hpp"
#include "jobyard/job_info.hpp"
#include "jobyard/limits.hpp"
#include "jobyard/result.hpp"

namespace jobyard {

namespace client {
struct Watched;
}

inline constexpr std::chrono::milliseconds kDefaultTimeLimit{30'000};
/// For waits that may last: as long as it takes.
inline constexpr std::chrono::milliseconds kNoTimeLimit = std::chrono::milliseconds::max();

/// A job to make. The names are those of PROTOCOL.md, "Submitting".
struct JobSpec {
    std::string type = {};     ///< decides which workers can run it
    std::string payload = {};  ///< any bytes; see Client::max_payload()
    std::string queue = "default";
    std::uint8_t priority = kDefaultPriority;  ///< 1 to 10, 10 first
    std::string key = {};  ///< your own name for it within its queue: the same key again makes no second job
    std::uint64_t delay_ms = 0;
    std::uint32_t timeout_ms = kDefaultTimeoutMs;  ///< of one attempt; 0: none
    std::uint32_t max_attempts = kDefaultMaxAttempts;
    Backoff backoff = {};
    bool watch = false;  ///< have the result sent to this client: Submission::result()
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
    /// Code::outcome_unknown: it can never be known (the broker was away for longer than it remembers this client).
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
};
struct JobPage {
    std::vector<JobInfo> jobs;
    std::uint64_t next_cursor = 0;  ///< for the next page; 0: this was the last
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
    };

    /// Starts to connect in the background; a broker that is not there yet is no error. If the client can never work
    /// (an endpoint that is none, a directory others can write to) every call says so.
    Client();
    explicit Client(Options options);
    /// close(linger). What is not answered by then may or may not have been made; its handles say Code::closed.
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    /// Waits until the broker has taken this client in, for those who want to know before they begin.
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
    Result<JobInfo> show(JobId job, std::chrono::milliseconds limit = kDefaultTimeLimit);
    /// One page. It may have fewer jobs than `size`, even none, and not be the last.
    Result<JobPage> list(const JobFilter& filter, std::uint64_t cursor = 0, std::uint32_t size = 100,
                         std::chrono::milliseconds limit = kDefaultTimeLimit);
    Result<BrokerStats> stats(std::chrono::milliseconds limit = kDefaultTimeLimit);

 private:
    struct JOBYARD_HIDDEN Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace jobyard
