#pragma once
// What only the simulator's own build of the core has (JOBYARD_SIMULATED): mistakes for it to find, so that it is known
// that it would, and a look at each change of a job's state, which it counts. In any other build `planted()` is false
// and `saw()` nothing when they are compiled, and nothing of them is left.

#include <cstdint>
#include <string_view>

#include "jobyard/ids.hpp"
#include "jobyard/job.hpp"

namespace jobyard::broker {

enum class PlantedBug : std::uint8_t {
    none,
    answer_before_commit,
    token_reuse_after_restart,
    lost_retry,
    double_dispatch_after_claim,
    priority_inversion,
    credit_leak,
    budget_charged_twice,
    dead_job_lost_on_redrive,
    expiry_before_inbox,
    dropped_event,
    window_forgotten_too_early,
    pause_forgotten_on_restart,
    queue_limit_overrun,
    stale_end_accepted,
    snooze_ignored,
    quota_forgotten_on_restart,
};

struct PlantedBugName {
    PlantedBug bug;
    std::string_view name;
    std::string_view text;
};

inline constexpr PlantedBugName kPlantedBugs[] = {
    {PlantedBug::answer_before_commit, "answer_before_commit", "an answer leaves before what it rests on is on disk"},
    {PlantedBug::token_reuse_after_restart, "token_reuse_after_restart", "every start grants the same tokens again"},
    {PlantedBug::lost_retry, "lost_retry", "a job whose attempt failed is never tried again"},
    {PlantedBug::double_dispatch_after_claim, "double_dispatch_after_claim",
     "a claim after a restart is answered ok, and the job stays in its queue"},
    {PlantedBug::priority_inversion, "priority_inversion", "the oldest job goes first, whatever its priority"},
    {PlantedBug::credit_leak, "credit_leak", "a cancelled attempt does not give its worker's room back"},
    {PlantedBug::budget_charged_twice, "budget_charged_twice", "a timeout is charged as two errors"},
    {PlantedBug::dead_job_lost_on_redrive, "dead_job_lost_on_redrive", "a redriven job is in memory, not on disk"},
    {PlantedBug::expiry_before_inbox, "expiry_before_inbox",
     "a broker that stood still expires leases before it reads what arrived meanwhile"},
    {PlantedBug::dropped_event, "dropped_event", "a cancelled job is no event"},
    {PlantedBug::window_forgotten_too_early, "window_forgotten_too_early",
     "which submits made which jobs is forgotten when their client reconnects"},
    {PlantedBug::pause_forgotten_on_restart, "pause_forgotten_on_restart", "a paused queue runs again after a restart"},
    {PlantedBug::queue_limit_overrun, "queue_limit_overrun", "one job more of a queue runs than may"},
    {PlantedBug::stale_end_accepted, "stale_end_accepted", "an end counts whatever its token"},
    {PlantedBug::snooze_ignored, "snooze_ignored", "a job that was handed back for later is queued at once"},
    {PlantedBug::quota_forgotten_on_restart, "quota_forgotten_on_restart",
     "after a restart no job counts to the quota of its key"},
};

#ifdef JOBYARD_SIMULATED
inline thread_local PlantedBug planted_bug = PlantedBug::none;
inline bool planted(PlantedBug bug) { return planted_bug == bug; }

/// Of the core's, which knows no end: an ended job is `none`.
struct Watcher {
    virtual ~Watcher() = default;
    virtual void saw(JobId job, JobState from, JobState to) = 0;
};
inline thread_local Watcher* watcher = nullptr;
inline void saw(JobId job, JobState from, JobState to) {
    if (watcher != nullptr) watcher->saw(job, from, to);
}
#else
constexpr bool planted(PlantedBug) { return false; }
constexpr void saw(JobId, JobState, JobState) {}
#endif

}  // namespace jobyard::broker
