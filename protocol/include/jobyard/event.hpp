#pragma once
// What can happen, as the event stream tells it. Numbers are stable: they stand on the wire and in the store.

#include <cstdint>
#include <string_view>

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
    retired = 10,     ///< its record was removed by retention
    // About a worker.
    worker_joined = 32,
    worker_left = 33,
    worker_drained = 34,  ///< it is handed nothing more
    worker_resumed = 35,
};

/// The word, as PROTOCOL.md writes it ("worker_lost").
const char* to_string(EventKind kind);
/// The kind of that word; EventKind::none if there is none.
EventKind event_kind_from(std::string_view word);

}  // namespace jobyard
