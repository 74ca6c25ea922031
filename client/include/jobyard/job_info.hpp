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
};

struct QueueInfo {
    std::string name;
    std::uint64_t queued = 0;
    std::uint64_t running = 0;
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

/// The state of that name ("queued"); JobState::none if there is none.
JOBYARD_API JobState job_state_from(std::string_view word);

}  // namespace jobyard
