#pragma once
// What a seed decides before the run begins: how large the cluster is, which faults befall it and how often, which
// features are used. Each fault and each feature is off in some runs and frequent in others (swarm testing), because
// bugs hide where everything happens a little.

#include <cstdint>

#include "limits.hpp"
#include "random.hpp"

namespace jobyard::sim {

struct Plan {
    int clients = 0;
    int workers = 0;
    std::int64_t fault_seconds = 0;  ///< how long faults and submits go on; then all is calm and everything must end
    std::uint64_t jobs = 0;          ///< submits at most

    // Times in microseconds.
    std::int64_t network_delay = 0;  ///< at most, of a message
    std::int64_t commit_time = 0;    ///< at most
    std::int64_t read_time = 0;      ///< at most, of one answer of the reader
    std::int64_t apply_time = 0;     ///< at most, until the store has what is durable

    /// Mean pause between two faults of a kind, anywhere in the cluster, in milliseconds; 0: never.
    struct Faults {
        std::int64_t broker_crash = 0;
        std::int64_t broker_restart = 0;  ///< SIGTERM
        std::int64_t broker_stall = 0;    ///< SIGSTOP
        std::int64_t worker_crash = 0;
        std::int64_t worker_pause = 0;
        std::int64_t worker_drain = 0;
        std::int64_t client_crash = 0;
        std::int64_t client_close = 0;
        std::int64_t cut = 0;         ///< a connection breaks
        std::int64_t slow = 0;        ///< one direction of a connection delivers nothing for a while
        std::int64_t clock_jump = 0;  ///< of the broker's wall clock
    } faults;
    std::uint64_t unnoticed_percent = 0;  ///< how often a side does not notice that its connection broke

    // Percentages of jobs, actions, runs of a handler.
    std::uint64_t keyed = 0;
    std::uint64_t delayed = 0;
    std::uint64_t watched = 0;
    std::uint64_t large = 0;
    std::uint64_t cancels = 0;
    std::uint64_t redrives = 0;
    std::uint64_t looks = 0;   ///< show, list, stats
    std::uint64_t arrays = 0;  ///< of submits those that make one, and of actions those that steer one
    std::uint64_t failing = 0;
    std::uint64_t hanging = 0;
    int priorities = 1;
    int queues = 1;
    bool workers_differ = false;     ///< in the queues and types they serve
    std::int64_t run_time = 0;       ///< at most, of a handler that does not hang
    std::uint32_t prefetch = 0;      ///< jobs a worker holds beyond its slots
    std::uint64_t result_grant = 0;  ///< of a client

    broker::Limits limits;
    broker::Timing timing;
    bool retention = false;  ///< limits so low that ended jobs are forgotten during the run
};

Plan make_plan(Random random);

}  // namespace jobyard::sim
