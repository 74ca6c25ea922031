#pragma once
// A job in memory. There are millions of these: what is not needed to decide (payload, names, earlier attempts) stays
// in the store. Handles are indices into the JobTable; they are used again after a job has ended, job numbers never
// are.

#include <cstdint>

#include "jobyard/ids.hpp"
#include "jobyard/job.hpp"

namespace jobyard::broker {

using JobHandle = std::uint32_t;
inline constexpr JobHandle kNoJob = 0xffffffff;

using QueueId = std::uint16_t;
using ClassId = std::uint16_t;       ///< a (queue, type) pair: what decides which workers can take a job
using OwnerId = std::uint16_t;       ///< a key with a quota; 0: none
using SessionIndex = std::uint32_t;  ///< a session in memory; never used again for another; 0: none

struct alignas(32) Job {
    // What the queue reads and writes, in one cache line: where there are many queues or types it is seldom warm.
    JobId id;
    std::uint64_t order = 0;  ///< place among its priority: the job number, until a redrive
    // A job is in a ready list, or in the list of its worker's leases, or in neither.
    JobHandle previous = kNoJob;
    JobHandle next = kNoJob;
    ClassId class_id = 0;
    JobState state = JobState::none;
    std::uint8_t priority = 0;
    bool cancel_requested : 1 = false;
    bool has_state_row : 1 = false;
    bool has_claim_row : 1 = false;
    bool has_key : 1 = false;
    bool has_progress : 1 = false;
    bool returned : 1 = false;  ///< ready, but in the set of those that came back out of order
    bool more_watchers : 1 = false;
    bool held : 1 = false;      ///< waits until somebody lets it go
    bool changed : 1 = false;   ///< its priority or queue is not that of its row
    bool expires : 1 = false;   ///< has its place in Core::expiries_
    bool in_array : 1 = false;  ///< one of the jobs of Core::array_runs_
    std::uint8_t crashes = 0;   ///< of this round, charged to the crash budget

    LeaseToken token;             ///< leased: the live token; else the floor: every smaller token is void
    std::int64_t created_at = 0;  ///< wall clock
    std::int64_t granted_at = 0;  ///< wall clock, of the lease; scheduled and retrying: due then
    std::int64_t hard_end = 0;    ///< broker clock: no renewal past this, 0: no bound yet; scheduled and retrying: due
    std::uint32_t timer = 0xffffffff;  ///< its place in Deadlines; all ones: it has no deadline
    SessionIndex worker = 0;           ///< who holds the lease
    SessionIndex watcher = 0;          ///< the first session that watches it; more of them stand in Watches
    std::uint32_t timeout_ms = 0;
    std::uint32_t payload_size = 0;
    std::uint16_t max_attempts = 0;
    std::uint16_t errors = 0;    ///< of this round, charged to max_attempts
    std::uint16_t attempts = 0;  ///< number of the last attempt that was charged
    std::uint16_t chunks = 0;    ///< rows of its payload outside its own row
    std::uint16_t backoff = 0;   ///< interned
    OwnerId owner = 0;           ///< whose quota it counts to

    [[nodiscard]] bool leased() const { return state == JobState::assigned || state == JobState::running; }
    [[nodiscard]] std::uint32_t attempt() const { return attempts + 1U; }
};
static_assert(sizeof(Job) == 96, "ten million of these must stay affordable");

}  // namespace jobyard::broker
