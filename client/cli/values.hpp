#pragma once
// Durations and times as people write and read them.

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "jobyard/job_info.hpp"

namespace jobyard::cli {

/// "1500ms", "90s", "5m", "1.5h", "2d"; a number alone is seconds. Nothing if it is none of these.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);
constexpr const char* kDurationForm = "a duration such as 1500ms, 90s, 5m, 2h or 1d (a number alone is seconds)";

/// A time of day: "2026-11-21T07:35:00Z", with fractions of a second or without, or with an offset such as "+01:00" in
/// place of the Z. Nothing if it is none.
std::optional<WallTime> parse_time(std::string_view text);
constexpr const char* kTimeForm = "a time such as 2026-11-21T07:35:00Z or 2026-11-21T07:35:00+01:00";

/// "350ms", "12s", "4m10s", "3h5m", "2d4h".
std::string short_duration(std::chrono::milliseconds duration);

/// "2026-11-21T07:35:00.123Z".
std::string iso_time(WallTime time);

}  // namespace jobyard::cli
