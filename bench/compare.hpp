#pragma once
// Two brokers side by side, measured turn by turn: on a machine whose speed changes from minute to minute only the
// ratio within a round says anything.

#include "yard.hpp"

namespace jobyard::bench {

struct Contender {
    Yard& yard;
    MakeJob make;
};

/// Medians over the rounds; `share` and the two ratios are medians of each round's own ratio, not ratios of medians.
struct Comparison {
    double jobs_per_s = 0;  ///< end to end
    double plain_jobs_per_s = 0;
    double share = 0;      ///< of the plain one's rate
    double share_min = 0;  ///< of a round: what lies between them is the machine's noise
    double share_max = 0;
    double broker_us = 0;  ///< processor time of the broker for a job
    double plain_broker_us = 0;
    double broker_ratio = 0;
    double us = 0;  ///< processor time of broker, workers and client for a job
    double plain_us = 0;
    double ratio = 0;
};

/// Who goes first changes from round to round.
Comparison compare(const Contender& plain, const Contender& other, std::size_t jobs, unsigned rounds);

}  // namespace jobyard::bench
