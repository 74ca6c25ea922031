#pragma once
// How often, for how long, and with which pauses a job is tried.

#include <cstdint>
#include <optional>

#include "jobyard/limits.hpp"

namespace jobyard {

/// How long a job rests between two attempts: first `initial_ms`, then each time `factor_percent` of the pause before,
/// at most `max_ms`; and up to `jitter_percent` more, by chance.
struct Backoff {
    std::uint32_t initial_ms = kDefaultBackoffInitialMs;
    std::uint32_t factor_percent = kDefaultBackoffFactorPercent;
    std::uint32_t max_ms = kDefaultBackoffMaxMs;
    std::uint32_t jitter_percent = kDefaultBackoffJitterPercent;
    friend bool operator==(const Backoff&, const Backoff&) = default;
};

/// What was asked for; what was not is decided elsewhere.
struct BackoffPolicy {
    std::optional<std::uint32_t> initial_ms = {};
    std::optional<std::uint32_t> factor_percent = {};
    std::optional<std::uint32_t> max_ms = {};
    std::optional<std::uint32_t> jitter_percent = {};
    friend bool operator==(const BackoffPolicy&, const BackoffPolicy&) = default;
};

/// How often, for how long, and with which pauses a job is tried: asked for by a job, or set for a queue, or for a type
/// in a queue. What none of them says is the usual (limits.hpp).
struct RetryPolicy {
    std::optional<std::uint32_t> max_attempts = {};
    std::optional<std::uint32_t> timeout_ms = {};  ///< of one attempt; 0: none
    BackoffPolicy backoff = {};
    friend bool operator==(const RetryPolicy&, const RetryPolicy&) = default;
};

/// In place of a value, when a policy is set: nothing is set any more.
inline constexpr std::uint32_t kUnset = UINT32_MAX;

}  // namespace jobyard
