#pragma once
// The C interface's numbers that may be unsaid, as std::optional, and back.

#include "c_api.hpp"

namespace jobyard::c_api {

/// Whether JOBYARD_UNSET means something there too.
enum class Takes : bool { unsaid, unset };

Result<std::optional<std::uint32_t>> number_from(std::int64_t number, const char* name, Takes takes);
/// 0, 1 or JOBYARD_UNSAID.
Result<std::optional<bool>> flag_from(int flag, const char* name);
Result<RetryPolicy> retry_from(const jobyard_retry& given, Takes takes);
jobyard_retry to_c(const RetryPolicy& retry);

}  // namespace jobyard::c_api
