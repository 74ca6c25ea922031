#include "c_api_retry.hpp"

namespace jobyard::c_api {

Result<std::optional<std::uint32_t>> number_from(std::int64_t number, const char* name, Takes takes) {
    if (number == JOBYARD_UNSAID) return std::optional<std::uint32_t>();
    if (number == JOBYARD_UNSET && takes == Takes::unset) return std::optional(kUnset);
    if (number < 0 || number >= kUnset)
        return bad_field(name,
                         std::to_string(number) + ": expected 0 to " + std::to_string(kUnset - 1) +
                             (takes == Takes::unset ? ", JOBYARD_UNSAID or JOBYARD_UNSET" : " or JOBYARD_UNSAID"));
    return std::optional(static_cast<std::uint32_t>(number));
}

Result<std::optional<bool>> flag_from(int flag, const char* name) {
    if (flag == JOBYARD_UNSAID) return std::optional<bool>();
    if (flag != 0 && flag != 1) return bad_field(name, std::to_string(flag) + ": expected 0, 1 or JOBYARD_UNSAID");
    return std::optional(flag == 1);
}

namespace {

/// Each field of the one beside its field of the other.
template <class Visit>
void for_each_field(auto& given, auto& retry, Visit visit) {
    visit(given.max_attempts, retry.max_attempts, "max_attempts");
    visit(given.timeout_ms, retry.timeout_ms, "timeout_ms");
    visit(given.backoff_initial_ms, retry.backoff.initial_ms, "backoff_initial_ms");
    visit(given.backoff_factor_percent, retry.backoff.factor_percent, "backoff_factor_percent");
    visit(given.backoff_max_ms, retry.backoff.max_ms, "backoff_max_ms");
    visit(given.backoff_jitter_percent, retry.backoff.jitter_percent, "backoff_jitter_percent");
}

}  // namespace

Result<RetryPolicy> retry_from(const jobyard_retry& given, Takes takes) {
    RetryPolicy retry;
    std::optional<Error> wrong;
    for_each_field(given, retry, [&](std::int64_t from, std::optional<std::uint32_t>& to, const char* name) {
        const auto number = number_from(from, name, takes);
        if (number) to = *number;
        else if (!wrong) wrong = number.error();
    });
    if (wrong) return *wrong;
    return retry;
}

jobyard_retry to_c(const RetryPolicy& retry) {
    jobyard_retry shown = JOBYARD_RETRY_INIT;
    for_each_field(shown, retry, [](std::int64_t& to, const std::optional<std::uint32_t>& from, const char*) {
        if (from) to = *from;
    });
    return shown;
}

}  // namespace jobyard::c_api
