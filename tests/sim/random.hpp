#pragma once
// Chance for the simulator: our own generator, so that a seed means the same on every machine and with every library.

#include <cstdint>

#include "jobyard/session_ids.hpp"

namespace jobyard::sim {

/// splitmix64 (Steele, Lea, Flood 2014).
class Random {
 public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    std::uint64_t next() {
        state_ += 0x9E3779B97F4A7C15ULL;
        std::uint64_t x = state_;
        x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
        x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
        return x ^ (x >> 31U);
    }
    /// 0 to n-1.
    std::uint64_t below(std::uint64_t n) { return next() % n; }
    /// Both ends included.
    std::int64_t between(std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low + 1)));
    }
    bool percent(std::uint64_t n) { return below(100) < n; }
    bool percent(std::int64_t n) { return percent(static_cast<std::uint64_t>(n)); }
    bool percent(int n) { return percent(static_cast<std::uint64_t>(n)); }
    /// As likely between 1 and 2 as between 1,000 and 2,000: for times that may be of any size. `low` is at least 1.
    std::int64_t any_size(std::int64_t low, std::int64_t high) {
        int doublings = 0;
        while (low << (doublings + 1) <= high) ++doublings;
        const std::int64_t base = low << below(static_cast<std::uint64_t>(doublings) + 1);
        const std::int64_t value = between(base, 2 * base);
        return value < high ? value : high;
    }
    Uuid uuid() {
        Uuid id;
        for (unsigned char& byte : id.bytes) byte = static_cast<unsigned char>(below(256));
        return id;
    }
    /// A stream of its own, so that what one actor draws does not change what another does.
    Random fork() { return Random(next()); }

 private:
    std::uint64_t state_;
};

}  // namespace jobyard::sim
