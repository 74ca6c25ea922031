#pragma once
// How long a job rests between two attempts: first `initial_ms`, then each time `factor_percent` of the pause before,
// at most `max_ms`; and up to `jitter_percent` more, by chance.

#include <cstdint>

#include "jobyard/limits.hpp"

namespace jobyard {

struct Backoff {
    std::uint32_t initial_ms = kDefaultBackoffInitialMs;
    std::uint32_t factor_percent = kDefaultBackoffFactorPercent;
    std::uint32_t max_ms = kDefaultBackoffMaxMs;
    std::uint32_t jitter_percent = kDefaultBackoffJitterPercent;
    friend bool operator==(const Backoff&, const Backoff&) = default;
};

}  // namespace jobyard
