// The words for codes, states, reasons and outcomes, and the small things that ids and results need.

#include <cstdio>
#include <cstdlib>

#include "jobyard/assert.hpp"
#include "jobyard/event.hpp"
#include "jobyard/ids.hpp"
#include "jobyard/job.hpp"
#include "jobyard/result.hpp"
#include "jobyard/session_ids.hpp"

namespace jobyard {

const char* to_string(Code code) {
    switch (code) {
        case Code::ok: return "ok";
        case Code::existing: return "existing";
        case Code::conflict: return "conflict";
        case Code::stale_lease: return "stale_lease";
        case Code::retired: return "retired";
        case Code::unknown_job: return "unknown_job";
        case Code::ended: return "ended";
        case Code::cancel_requested: return "cancel_requested";
        case Code::not_dead: return "not_dead";
        case Code::busy: return "busy";
        case Code::queue_full: return "queue_full";
        case Code::disk_full: return "disk_full";
        case Code::too_large: return "too_large";
        case Code::bad_field: return "bad_field";
        case Code::bad_message: return "bad_message";
        case Code::unknown_message: return "unknown_message";
        case Code::version_not_spoken: return "version_not_spoken";
        case Code::no_session: return "no_session";
        case Code::replaced: return "replaced";
        case Code::not_allowed: return "not_allowed";
        case Code::outcome_unknown: return "outcome_unknown";
        case Code::timeout: return "timeout";
        case Code::closed: return "closed";
        case Code::forked: return "forked";
        case Code::not_accepted: return "not_accepted";
        case Code::internal: return "internal";
        case Code::unknown_worker: return "unknown_worker";
        case Code::not_waiting: return "not_waiting";
        case Code::unknown_queue: return "unknown_queue";
        case Code::unknown_task: return "unknown_task";
        case Code::over_quota: return "over_quota";
    }
    return "unknown_code";
}

const char* to_string(JobState state) {
    switch (state) {
        case JobState::none: return "none";
        case JobState::scheduled: return "scheduled";
        case JobState::queued: return "queued";
        case JobState::assigned: return "assigned";
        case JobState::running: return "running";
        case JobState::retrying: return "retrying";
        case JobState::completed: return "completed";
        case JobState::dead: return "dead";
        case JobState::cancelled: return "cancelled";
        case JobState::retired: return "retired";
    }
    return "unknown_state";
}

const char* to_string(Reason reason) {
    switch (reason) {
        case Reason::none: return "";
        case Reason::failed: return "failed";
        case Reason::not_retryable: return "not_retryable";
        case Reason::crash_loop: return "crash_loop";
        case Reason::expired: return "expired";
        case Reason::no_worker: return "no_worker";
        case Reason::no_free_slot: return "no_free_slot";
        case Reason::claim_window: return "claim_window";
        case Reason::disk_full: return "disk_full";
        case Reason::delayed: return "delayed";
        case Reason::backoff: return "backoff";
        case Reason::held: return "held";
        case Reason::queue_paused: return "queue_paused";
        case Reason::queue_limit: return "queue_limit";
    }
    return "unknown_reason";
}

const char* to_string(Outcome outcome) {
    switch (outcome) {
        case Outcome::none: return "";
        case Outcome::completed: return "completed";
        case Outcome::failed: return "failed";
        case Outcome::timeout: return "timeout";
        case Outcome::cancelled: return "cancelled";
        case Outcome::released: return "released";
        case Outcome::worker_lost: return "worker_lost";
        case Outcome::lease_expired: return "lease_expired";
    }
    return "unknown_outcome";
}

const char* to_string(EventKind kind) {
    switch (kind) {
        case EventKind::none: return "";
        case EventKind::submitted: return "submitted";
        case EventKind::completed: return "completed";
        case EventKind::failed: return "failed";
        case EventKind::dead: return "dead";
        case EventKind::cancelled: return "cancelled";
        case EventKind::cancel_requested: return "cancel_requested";
        case EventKind::redriven: return "redriven";
        case EventKind::worker_lost: return "worker_lost";
        case EventKind::released: return "released";
        case EventKind::retired: return "retired";
        case EventKind::worker_joined: return "worker_joined";
        case EventKind::worker_left: return "worker_left";
        case EventKind::worker_drained: return "worker_drained";
        case EventKind::worker_resumed: return "worker_resumed";
        case EventKind::changed: return "changed";
        case EventKind::queue_paused: return "queue_paused";
        case EventKind::queue_resumed: return "queue_resumed";
        case EventKind::queue_set: return "queue_set";
        case EventKind::array_submitted: return "array_submitted";
        case EventKind::array_stopped: return "array_stopped";
        case EventKind::array_ended: return "array_ended";
    }
    return "unknown_event";
}

EventKind event_kind_from(std::string_view word) {
    if (word == to_string(static_cast<EventKind>(UINT8_MAX))) return EventKind::none;
    for (int number = 1; number < UINT8_MAX; ++number)
        if (const auto kind = static_cast<EventKind>(number); word == to_string(kind)) return kind;
    return EventKind::none;
}

std::string to_hex(const Uuid& id) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(32);
    for (const unsigned char byte : id.bytes) {
        text.push_back(kDigits[byte >> 4U]);
        text.push_back(kDigits[byte & 15U]);
    }
    return text;
}

Uuid uuid_from_bytes(std::string_view bytes) {
    JOBYARD_ASSERT(bytes.size() == 16);
    Uuid id;
    std::memcpy(id.bytes.data(), bytes.data(), 16);
    return id;
}

void assertion_failed(const char* expression, const char* file, int line) {
    std::fprintf(stderr, "jobyard: this must be true: %s (%s:%d). Please report it.\n", expression, file, line);
    std::abort();
}

}  // namespace jobyard
