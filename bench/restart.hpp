#pragma once
// How long a broker that was killed takes to serve again.

#include "yard.hpp"

namespace jobyard::bench {

/// Seconds from kill -9; the broker is started again at once, on the same data.
struct Restart {
    double ready_s = 0;      ///< it says it is ready
    double answered_s = 0;   ///< a submit is answered
    double first_job_s = 0;  ///< a job has run: the workers of before are back, or the claim window is over
};

/// `job` must be of a type the yard's workers serve. When it returns the yard's own client is back as well.
Restart restart(Yard& yard, const JobSpec& job);

}  // namespace jobyard::bench
