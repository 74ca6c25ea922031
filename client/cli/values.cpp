#include "values.hpp"

#include <cstdio>
#include <ctime>

#include "program/values.hpp"

namespace jobyard::cli {

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
    return program::parse_duration(text, std::chrono::seconds(1));
}

std::string short_duration(std::chrono::milliseconds duration) {
    const std::int64_t ms = duration.count();
    if (ms < 1'000) return std::to_string(ms) + "ms";
    const std::int64_t s = ms / 1'000;
    const auto two = [](std::int64_t big, const char* unit, std::int64_t small, const char* small_unit) {
        return std::to_string(big) + unit + (small == 0 ? "" : std::to_string(small) + small_unit);
    };
    if (s < 60) return std::to_string(s) + "s";
    if (s < 3'600) return two(s / 60, "m", s % 60, "s");
    if (s < 86'400) return two(s / 3'600, "h", s % 3'600 / 60, "m");
    return two(s / 86'400, "d", s % 86'400 / 3'600, "h");
}

std::string iso_time(WallTime time) {
    const std::int64_t ms = time.time_since_epoch().count();
    const std::time_t seconds = static_cast<std::time_t>(ms / 1'000);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    char text[40];
    const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    char millis[8];
    std::snprintf(millis, sizeof millis, ".%03dZ", static_cast<int>(ms % 1'000));
    return std::string(text, size) + millis;
}

}  // namespace jobyard::cli
