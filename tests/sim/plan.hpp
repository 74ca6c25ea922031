#pragma once
// What a seed decides before the run begins: how large the cluster is, which faults befall it and how often, which
// features are used. Each fault and each feature is off in some runs and frequent in others (swarm testing), because
// bugs hide where everything happens a little. All of it is numbers with names (kKnobs): so a run that fails can be
// tried again with one of them calm, and told to somebody else as a seed and a few settings.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "limits.hpp"
#include "random.hpp"

namespace jobyard::sim {

struct Plan {
    // How large.
    std::int64_t clients = 1;
    std::int64_t workers = 1;
    std::int64_t fault_seconds = 60;  ///< how long faults and submits go on; then all is calm and everything must end
    std::int64_t jobs = 20;           ///< submits at most
    std::int64_t priorities = 1;
    std::int64_t queues = 1;
    std::int64_t workers_differ = 0;  ///< in the queues and types they serve
    std::int64_t prefetch = 0;        ///< jobs a worker holds beyond its slots

    // How long it takes, at most, in microseconds.
    std::int64_t network_delay = 100;  ///< a message
    std::int64_t commit_time = 100;
    std::int64_t read_time = 50;   ///< one answer of the reader
    std::int64_t apply_time = 50;  ///< until the store has what is durable
    std::int64_t run_time = 1000;  ///< a handler that does not hang

    // Faults: the mean pause between two of a kind, anywhere in the cluster, in milliseconds; 0: never.
    std::int64_t broker_crash = 0;
    std::int64_t broker_restart = 0;  ///< SIGTERM
    std::int64_t broker_stall = 0;    ///< SIGSTOP
    std::int64_t commit_failure = 0;  ///< a write or a flush of the log fails: the broker must end
    std::int64_t disk_full = 0;       ///< for a while: below the watermark, or to the last byte
    std::int64_t store_stall = 0;     ///< the store is not brought up for a while (its map grows, its disk is busy)
    std::int64_t worker_crash = 0;
    std::int64_t worker_pause = 0;
    std::int64_t worker_drain = 0;
    std::int64_t client_crash = 0;
    std::int64_t client_close = 0;
    std::int64_t cut = 0;  ///< a connection breaks
    std::int64_t one_way_cut =
        0;                  ///< one direction loses all from now on, and nobody is told before some time has passed
    std::int64_t slow = 0;  ///< one direction of a connection delivers nothing for a while
    std::int64_t clock_jump = 0;  ///< of the broker's wall clock
    std::int64_t unnoticed = 0;   ///< percent: how often a side does not notice that its connection broke
    std::int64_t reload = 0;      ///< SIGHUP: other quotas, other limits; at a start of the broker, too

    // Features. Percent of jobs:
    std::int64_t keyed = 0;
    std::int64_t short_keys = 0;  ///< of these: their keys name them while they live, or for some seconds
    std::int64_t delayed = 0;
    std::int64_t watched = 0;
    std::int64_t large = 0;
    std::int64_t held = 0;
    std::int64_t deadlines = 0;
    std::int64_t queue_timeouts = 0;
    std::int64_t open_policy = 0;  ///< leave open how they are tried, so that the policies of type and queue count
    std::int64_t wrong = 0;        ///< ask for what is refused
    // Percent of runs of a handler:
    std::int64_t failing = 0;
    std::int64_t hanging = 0;
    std::int64_t snoozing = 0;  ///< it hands the job back, for later
    // Percent of the times when a client does something:
    std::int64_t cancels = 0;
    std::int64_t redrives = 0;
    std::int64_t looks = 0;   ///< show, list, stats
    std::int64_t arrays = 0;  ///< of submits those that make one, and of times those that steer one
    std::int64_t pauses = 0;
    std::int64_t queue_limits = 0;
    std::int64_t policies = 0;
    std::int64_t changes = 0;  ///< priority, queue, hold
    std::int64_t edits = 0;
    std::int64_t tasks = 0;
    std::int64_t worker_drains = 0;  ///< by the broker, for somebody who asked for it
    std::int64_t follows = 0;        ///< the event stream

    // Limits; 0: as they are.
    std::int64_t result_grant = 0;  ///< of a client, in bytes
    std::int64_t limit_queue_jobs = 0;
    std::int64_t limit_jobs = 0;
    std::int64_t limit_watches = 0;
    std::int64_t limit_sessions = 0;
    std::int64_t limit_keys = 0;
    std::int64_t limit_queues = 0;
    std::int64_t limit_result_bytes = 0;
    std::int64_t limit_events_bytes = 0;
    std::int64_t limit_kept_jobs = 0;
    std::int64_t limit_dead_jobs = 0;
    std::int64_t limit_kept_ms = 0;
    std::int64_t quota_jobs = 0;  ///< at most, of each queue; how much of it changes with the broker's settings
    std::int64_t quota_bytes = 0;
    std::int64_t quota_rate = 0;
    std::int64_t key_quotas = 0;         ///< each client has such a quota, too
    std::int64_t unapplied_batches = 0;  ///< a store that is so far behind is waited for
    std::int64_t quick_timing = 0;       ///< losses are noticed sooner, so that more of them happens

    [[nodiscard]] broker::Limits limits() const;
    [[nodiscard]] broker::Timing timing() const;
    /// Ended jobs are forgotten during the run.
    [[nodiscard]] bool retention() const { return limit_kept_jobs != 0; }
};

struct Knob {
    std::string_view name;
    std::int64_t Plan::*value;
    std::int64_t calm = 0;  ///< off, or as little as there can be
};
/// All of them, those first that make a run much smaller.
[[nodiscard]] std::span<const Knob> knobs();
[[nodiscard]] const Knob* find_knob(std::string_view name);
/// What is not calm in it: "clients=2 jobs=40 broker_crash=8000 …".
[[nodiscard]] std::string to_text(const Plan& plan);

Plan make_plan(Random random);

}  // namespace jobyard::sim
