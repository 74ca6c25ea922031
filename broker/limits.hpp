#pragma once
// What an operator may set: the bounds marked † in PROTOCOL.md, "Limits", and the intervals the broker tells its peers.
// `kLimitNames` is the one table of the bounds' names; config.cpp reads and documents them from it.

#include <cstdint>
#include <iterator>
#include <string_view>

#include "jobyard/limits.hpp"

namespace jobyard::broker {

struct Limits {
    std::uint64_t payload_bytes = kMaxPayloadBytes;
    std::uint64_t result_bytes = kMaxResultBytes;
    std::uint64_t queue_jobs = 10'000'000;
    std::uint64_t jobs = 20'000'000;
    std::uint64_t payload_total_bytes = std::uint64_t{64} << 30;
    std::uint64_t queues = 10'000;
    std::uint64_t classes = 60'000;
    std::uint64_t sessions = 10'000;
    std::uint64_t instances = 100'000;
    std::uint64_t served_names = 1'000'000;
    std::uint64_t keys = 1'000'000;
    std::uint64_t watches = 1'000'000;
    std::uint64_t submit_free_bytes = std::uint64_t{1} << 30;
    std::uint64_t dispatch_free_bytes = std::uint64_t{256} << 20;
    std::uint64_t kept_jobs = 1'000'000;
    std::uint64_t kept_bytes = std::uint64_t{8} << 30;
    std::uint64_t kept_ms = std::uint64_t{7} * 24 * 3600 * 1000;
    std::uint64_t dead_jobs = 100'000;
    std::uint64_t dead_ms = std::uint64_t{30} * 24 * 3600 * 1000;
    std::uint64_t events_bytes = std::uint64_t{256} << 20;
    std::uint64_t shared_window = 512;
};

struct LimitName {
    std::string_view name;
    std::uint64_t Limits::*value;
    std::uint64_t max;  ///< beyond it something else breaks: a message no longer fits, a packed field overflows
    std::string_view text;
    bool told_at_welcome = false;  ///< peers act by it, so that a change needs a restart
};

inline constexpr std::uint64_t kNoMax = UINT64_MAX;

inline constexpr LimitName kLimitNames[] = {
    {"payload_bytes", &Limits::payload_bytes, kMaxMessageBytes - kMaxHeaderBytes, "largest payload of a job", true},
    {"result_bytes", &Limits::result_bytes, kMaxMessageBytes - kMaxHeaderBytes, "largest result of a job", true},
    {"queue_jobs", &Limits::queue_jobs, UINT32_MAX, "unended jobs in one queue"},
    {"jobs", &Limits::jobs, UINT32_MAX, "unended jobs"},
    {"payload_total_bytes", &Limits::payload_total_bytes, kNoMax, "payload bytes of all unended jobs"},
    {"queues", &Limits::queues, 60'000, "queues"},
    {"classes", &Limits::classes, 60'000, "pairs of queue and type"},
    {"sessions", &Limits::sessions, 1'000'000, "connected clients and workers"},
    {"instances", &Limits::instances, UINT32_MAX, "client instances remembered"},
    {"served_names", &Limits::served_names, UINT32_MAX,
     "names in the lists of queues and types of connected workers, like lists once"},
    {"keys", &Limits::keys, UINT32_MAX, "idempotency keys remembered"},
    {"watches", &Limits::watches, UINT32_MAX, "jobs one session watches"},
    {"submit_free_bytes", &Limits::submit_free_bytes, kNoMax, "free disk below which submits are refused"},
    {"dispatch_free_bytes", &Limits::dispatch_free_bytes, kNoMax, "free disk below which nothing is dispatched"},
    {"kept_jobs", &Limits::kept_jobs, UINT32_MAX, "ended jobs kept"},
    {"kept_bytes", &Limits::kept_bytes, kNoMax, "bytes of ended jobs kept"},
    {"kept_ms", &Limits::kept_ms, kNoMax, "how long ended jobs are kept"},
    {"dead_jobs", &Limits::dead_jobs, UINT32_MAX, "jobs kept in the dead letter queue"},
    {"dead_ms", &Limits::dead_ms, kNoMax, "how long dead jobs are kept"},
    {"events_bytes", &Limits::events_bytes, kNoMax, "bytes of events kept, and of the names in them"},
    {"shared_window", &Limits::shared_window, kSubmitWindow,
     "unanswered submits of all who submit much, at least 64 each, while others submit little (0: no limit)"},
};
static_assert(sizeof(Limits) == std::size(kLimitNames) * sizeof(std::uint64_t), "every limit has its name");

struct Timing {
    std::uint32_t heartbeat_ms = 5'000;        ///< a peer with nothing to say says so this often
    std::uint32_t lost_after_ms = 20'000;      ///< a peer silent for so long is lost
    std::uint32_t lease_ms = 30'000;           ///< how long a dispatched job is held without renewal
    std::uint32_t renew_ms = 10'000;           ///< how often a worker renews
    std::uint32_t claim_window_ms = 3'000;     ///< after a restart, how long known workers may come back first
    std::uint32_t reconnect_grace_ms = 3'000;  ///< how long a worker whose connection closed keeps its leases
};

}  // namespace jobyard::broker
