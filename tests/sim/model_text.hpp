#pragma once
// How the model's rules name jobs and leases, and how exact times are. For model*.cpp.

#include <string>

#include "world.hpp"

namespace jobyard::sim {

inline constexpr std::int64_t kRounding = 2 * kMs;  ///< times are cut to milliseconds on both sides

inline std::string text(JobId job) { return "job " + std::to_string(job.value); }
inline std::string text(LeaseToken token) { return "token " + to_text(token); }
inline std::string text(JobId job, LeaseToken token) { return text(job) + " under " + text(token); }

}  // namespace jobyard::sim
