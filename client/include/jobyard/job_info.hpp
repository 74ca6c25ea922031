#pragma once
// What a broker tells about a job and about itself, as values. PROTOCOL.md, "A job as a map" and "Counters".

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jobyard/export.hpp"
#include "jobyard/ids.hpp"
#include "jobyard/job.hpp"
#include "jobyard/result.hpp"
#include "jobyard/retry_policy.hpp"

namespace jobyard {

/// A time of day by the broker's clock.
using WallTime = std::chrono::sys_time<std::chrono::milliseconds>;

struct AttemptInfo {
    std::uint32_t attempt = 0;
    std::string worker;
    LeaseToken token;
    std::optional<WallTime> started_at;
    std::optional<WallTime> ended_at;
    std::string outcome;  ///< "completed", "failed", "timeout", …
    std::string error;
    std::string tail;  ///< the end of standard error
};

/// A field that does not apply is empty, 0 or nullopt.
struct JobInfo {
    JobId id;
    std::string queue;
    std::string type;
    std::uint32_t priority = 0;
    JobState state = JobState::none;
    std::string reason;         ///< of a dead job, what killed it; of a waiting one, what it waits for
    std::uint32_t attempt = 0;  ///< the last or the running one
    std::uint32_t max_attempts = 0;
    std::uint32_t errors = 0;
    std::uint32_t crashes = 0;
    std::uint32_t timeout_ms = 0;
    WallTime created_at;
    std::uint64_t payload_bytes = 0;
    std::string key;
    std::optional<WallTime> due_at;
    std::optional<WallTime> started_at;
    std::optional<WallTime> ended_at;
    std::string worker;
    LeaseToken token;
    bool cancel_requested = false;
    std::optional<double> progress;  ///< 0 to 1
    std::string progress_text;
    std::string error;
    std::optional<std::uint64_t> result_bytes;
    std::vector<AttemptInfo> attempts;  ///< only from Client::show
    JobId array;                        ///< one of the jobs of this array; its own number: it is the array
    std::optional<std::uint64_t> array_index;
    std::optional<WallTime> edited_at;   ///< of a dead job
    std::optional<std::string> payload;  ///< only where it was asked for (Client::payload)
};

/// Many jobs of one submit.
struct ArrayInfo {
    JobId array;
    std::string name;
    std::string queue;
    std::string type;
    JobState state = JobState::none;  ///< running; or how it ended: completed, dead (one is), cancelled
    std::optional<WallTime> created_at;
    std::optional<WallTime> ended_at;
    std::string key;
    std::uint64_t count = 0;                  ///< jobs in all
    std::optional<std::uint64_t> first = {};  ///< indices; not of an array that resubmits
    std::optional<std::uint64_t> step = {};
    std::uint32_t at_once = 0;  ///< 0: no limit
    bool making = false;        ///< there are jobs to make yet
    std::uint64_t made = 0;     ///< of these are:
    std::uint64_t waiting = 0;
    std::uint64_t running = 0;
    std::uint64_t completed = 0;
    std::uint64_t dead = 0;
    std::uint64_t cancelled = 0;
    std::uint64_t left_dead = 0;  ///< dead and not resubmitted
    std::uint64_t left_cancelled = 0;
    JobId resubmits;       ///< it makes what another array left; 0: it does not
    JobId resubmitted_as;  ///< the last array that was made of what it left
};

/// How jobs of a type in a queue are tried.
struct TypePolicy {
    std::string type;
    RetryPolicy retry;
};

struct QueueInfo {
    std::string name;
    std::uint64_t queued = 0;
    std::uint64_t running = 0;
    std::uint64_t unended = 0;
    // Since the broker started:
    std::uint64_t completed = 0;
    std::uint64_t failed = 0;  ///< attempts
    std::uint64_t dead = 0;
    std::optional<WallTime> oldest_at;  ///< when the oldest of the queued was submitted
    // Only from Client::queues and Client::queue:
    std::uint64_t waiting = 0;  ///< for a time, a backoff, or to be let go
    bool paused = false;
    std::optional<WallTime> paused_at;
    std::string paused_by;
    std::string paused_why;
    std::uint32_t max_running = 0;  ///< 0: no limit
    RetryPolicy retry;              ///< of jobs that do not say themselves
    std::vector<TypePolicy> types;  ///< the first 100 that have one
};

/// Something done to many jobs.
struct TaskInfo {
    std::uint64_t task = 0;
    std::string action;
    std::string state;  ///< "running", "done" or "stopped"
    bool count_only = false;
    std::string job_state;
    std::string reason;
    std::string queue;
    std::string type;
    std::string error;
    std::string by;
    std::optional<WallTime> started_at;
    std::optional<WallTime> ended_at;
    std::uint64_t total = 0;    ///< about how many jobs there are to look at
    std::uint64_t looked = 0;   ///< of these, so far
    std::uint64_t done = 0;     ///< jobs cancelled, redriven, purged or, with `count_only`, counted
    std::uint64_t refused = 0;  ///< that somebody else was faster with, or that are damaged
};

struct WorkerInfo {
    std::string name;
    std::string state;      ///< "idle", "busy", "draining" or "away"
    bool draining = false;  ///< it is handed nothing more
    std::uint32_t slots = 0;
    std::uint32_t credit = 0;
    std::uint64_t running = 0;
    std::vector<std::string> queues;  ///< the first hundred, of `queues_total`
    std::vector<std::string> types;
    std::uint64_t queues_total = 0;
    std::uint64_t types_total = 0;
    std::string software;
    std::string host;       ///< where it says it runs; empty: it does not say
    std::uint32_t pid = 0;  ///< its process there
    std::optional<WallTime> connected_at;
    std::optional<WallTime> heard_at;
    std::vector<JobId> jobs;  ///< that it holds; only if it was asked for by name
};

/// What happened. `kind` is a word of EventKind, or one that this library does not know.
struct EventInfo {
    std::uint64_t event = 0;  ///< its number; the one after it has the next
    WallTime at;
    std::string kind;
    JobId job;  ///< 0: it is about no job
    std::string queue;
    std::string type;
    std::string worker;
    std::string text;  ///< why
};

struct BrokerStats {
    std::uint64_t scheduled = 0;
    std::uint64_t queued = 0;
    std::uint64_t assigned = 0;
    std::uint64_t running = 0;
    std::uint64_t retrying = 0;
    std::uint64_t submitted_total = 0;
    std::uint64_t completed_total = 0;
    std::uint64_t cancelled_total = 0;
    std::uint64_t dead_total = 0;
    std::uint64_t retried_total = 0;
    std::uint64_t completed_kept = 0;
    std::uint64_t dead = 0;
    std::vector<QueueInfo> queues;
    std::uint64_t workers = 0;
    std::uint64_t submitters = 0;
    std::uint64_t slots = 0;
    std::string map;  ///< all that the broker said, a MessagePack map; it may have more from version to version
};

/// From the MessagePack map in a JOBS or STATS payload; unknown keys are passed over.
JOBYARD_API Result<JobInfo> decode_job_info(std::string_view map);
JOBYARD_API Result<BrokerStats> decode_stats(std::string_view map);
JOBYARD_API Result<QueueInfo> decode_queue_info(std::string_view map);
JOBYARD_API Result<TaskInfo> decode_task_info(std::string_view map);
JOBYARD_API Result<ArrayInfo> decode_array_info(std::string_view map);
JOBYARD_API Result<WorkerInfo> decode_worker(std::string_view map);
/// From the maps of EVENTS: each may stand for many.
JOBYARD_API Result<std::vector<EventInfo>> decode_events(const std::vector<std::string>& maps);

/// The state of that name ("queued"); JobState::none if there is none.
JOBYARD_API JobState job_state_from(std::string_view word);

}  // namespace jobyard
