#pragma once
// What can happen, as the event stream tells it. Numbers are stable: they stand on the wire and in the store.

#include <cstdint>
#include <string_view>

#include "jobyard/export.hpp"

namespace jobyard {

enum class EventKind : std::uint8_t {
    none = 0,
    // About a job.
    submitted = 1,
    completed = 2,
    failed = 3,  ///< an attempt; another follows
    dead = 4,
    cancelled = 5,
    cancel_requested = 6,  ///< it runs; its worker is told
    redriven = 7,
    worker_lost = 8,  ///< an attempt ended with its worker or its lease; another follows
    released = 9,     ///< handed back, charged to nobody
    retired = 10,     ///< its record was removed by retention, or purged
    changed = 11,     ///< its priority, its queue, whether it is held; or, while it was dead, what the text says
    // About a worker.
    worker_joined = 32,
    worker_left = 33,
    worker_drained = 34,  ///< it is handed nothing more
    worker_resumed = 35,
    // About a queue.
    queue_paused = 48,
    queue_resumed = 49,
    queue_set = 50,  ///< its limit, or how its jobs are tried
    // About an array; `job` is its number.
    array_submitted = 64,
    array_stopped = 65,  ///< no more of its jobs are made
    array_ended = 66,    ///< all of its jobs have ended
};

/// In place of an event's number: none, but where to go on from.
inline constexpr std::uint64_t kFromNow = UINT64_MAX;

/// The word, as PROTOCOL.md writes it ("worker_lost").
JOBYARD_API const char* to_string(EventKind kind);
/// The kind of that word; EventKind::none if there is none.
JOBYARD_API EventKind event_kind_from(std::string_view word);

}  // namespace jobyard
