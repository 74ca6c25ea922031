#pragma once
// Whether a broker is as well after a long time as it was before. Pure.
//
// Samples that a fault disturbs are left out, but for the size of files, which has a bound at all times.
//
// Memory and descriptors are compared within the last half, in which nobody kills the broker: what a process has after
// it was started again is another amount, made by reading the store and not by serving, and says nothing of what
// serving costs. For both the median of the half's first third is held against that of its last third: half of a third
// may be odd (a neighbour on the machine, a burst) and changes nothing, and a step is found as well as a slope, which a
// median of slopes would not see. The middles of these thirds are two thirds of the half apart, so the difference in
// memory is multiplied by 1.5: that is what a steady growth adds up to in the whole half; a step counts for more.
//
// For p99 each half has the median of its samples' p99, so that a noisy minute of the machine does not decide.

#include <cstdint>
#include <string>
#include <vector>

#include "samples.hpp"

namespace jobyard::torture {

struct Bounds {
    double memory_growth = 0.02;  ///< of the last half
    double p99_ratio = 1.5;       ///< of the last half to the first
    std::uint64_t store_bytes = 0;
    std::uint64_t log_bytes = 0;
};

struct Health {
    std::vector<std::string> broken;  ///< a sentence each
    std::size_t samples = 0;
    std::size_t undisturbed = 0;
    std::uint64_t memory_before = 0;
    std::uint64_t memory_after = 0;
    double memory_growth = 0;
    std::uint64_t descriptors_before = 0;
    std::uint64_t descriptors_after = 0;
    std::uint64_t largest_store = 0;
    std::uint64_t largest_log = 0;
    std::uint64_t p99_us_first = 0;
    std::uint64_t p99_us_last = 0;
    double p99_ratio = 0;
};

Health judge_health(const std::vector<Sample>& samples, const Bounds& bounds);

}  // namespace jobyard::torture
