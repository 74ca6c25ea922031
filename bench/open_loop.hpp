#pragma once
// Jobs at a fixed rate, whatever comes back: each has a time at which it is to be submitted, and what it waited counts
// from that time, also if the sender was late (no coordinated omission).
//
// How exact: the sender sleeps until a job is due and then submits all that are; two threads take the handles in order
// and note when each was answered and ended. A handle that is ready before an older one is noted with that one, which
// can only make a time longer. When nothing is outstanding a collector looks again after 50 microseconds; no answer
// comes so fast, since there is an fsync before it.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "jobyard/client.hpp"
#include "report.hpp"

namespace jobyard::bench {

struct OpenLoop {
    double rate = 0;     ///< jobs a second
    unsigned warm = 0;   ///< of them, first: not recorded
    unsigned count = 0;  ///< recorded
};

/// Nanoseconds of CLOCK_MONOTONIC, by job (without the warm ones).
struct OpenLoopTimes {
    std::vector<std::int64_t> intended;
    std::vector<std::int64_t> sent;
    std::vector<std::int64_t> answered;
    std::vector<std::int64_t> ended;
};

/// `payload` gives that of job i, counted from 0, the warm ones first. Throws std::runtime_error if a job does not
/// complete.
OpenLoopTimes run_open_loop(Client& client, const OpenLoop& loop, const std::function<std::string(unsigned)>& payload,
                            Progress& progress);

}  // namespace jobyard::bench
