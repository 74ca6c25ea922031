#pragma once
// The words for where a job is and how it ended. Numbers are stable: they stand on the wire and in the store.

#include <cstdint>

#include "jobyard/export.hpp"

namespace jobyard {

enum class JobState : std::uint8_t {
    none = 0,       ///< not known, or no such job
    scheduled = 1,  ///< its delay has not passed
    queued = 3,     ///< may run as soon as a worker has room
    assigned = 4,   ///< sent to a worker that has not said `started`
    running = 5,
    retrying = 6,  ///< an attempt failed; waits for its backoff
    completed = 7,
    dead = 8,  ///< in the dead letter queue, with a reason
    cancelled = 9,
    retired = 10,  ///< ended, and removed by retention
};

/// Why a job is where it is: for a dead one what killed it, for a waiting one what it waits for (worked out when
/// asked).
enum class Reason : std::uint8_t {
    none = 0,
    failed = 1,         ///< dead: every attempt failed
    not_retryable = 2,  ///< dead: the handler said that trying again is no use
    crash_loop = 3,     ///< dead: as many workers were lost under it as the crash budget allows
    expired = 4,        ///< dead: its deadline passed, or its time to wait in the queue
    no_worker = 16,     ///< waits: no connected worker serves its queue and type
    no_free_slot = 17,  ///< waits: those that do are full
    claim_window = 18,  ///< waits: the broker has restarted and gives workers time to come back
    disk_full = 19,     ///< waits: too little disk is free to start work
    delayed = 20,       ///< waits: for its delay
    backoff = 21,       ///< waits: between two attempts
    held = 22,          ///< waits: until somebody lets it go
    queue_paused = 23,  ///< waits: until its queue is resumed
    queue_limit = 24,   ///< waits: as many jobs of its queue run as may (max_running)
};

/// How one attempt ended.
enum class Outcome : std::uint8_t {
    none = 0,
    completed = 1,
    failed = 2,   ///< charged to max_attempts
    timeout = 3,  ///< charged to max_attempts
    cancelled = 4,
    released = 5,       ///< handed back or never received; charged to nobody
    worker_lost = 6,    ///< charged to the crash budget
    lease_expired = 7,  ///< the worker lives but did not renew; charged to the crash budget
};

/// What a task does to many jobs.
enum class TaskAction : std::uint8_t {
    cancel = 1,   ///< unended jobs
    redrive = 2,  ///< dead ones
    purge = 3,    ///< dead ones: removed for good
};

JOBYARD_API const char* to_string(JobState state);
JOBYARD_API const char* to_string(Reason reason);
JOBYARD_API const char* to_string(Outcome outcome);

[[nodiscard]] inline bool has_ended(JobState state) {
    return state == JobState::completed || state == JobState::dead || state == JobState::cancelled ||
           state == JobState::retired;
}

}  // namespace jobyard
