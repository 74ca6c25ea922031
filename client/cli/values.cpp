#include "values.hpp"

#include <charconv>
#include <cstdio>
#include <ctime>

namespace jobyard::cli {

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc() || !(number >= 0)) return std::nullopt;
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    double unit_ms = 0;
    if (unit == "ms") unit_ms = 1;
    if (unit.empty() || unit == "s") unit_ms = 1'000;
    if (unit == "m") unit_ms = 60'000;
    if (unit == "h") unit_ms = 3'600'000;
    if (unit == "d") unit_ms = 86'400'000;
    constexpr double kLongest = 1e15;
    if (unit_ms == 0 || number * unit_ms > kLongest) return std::nullopt;
    return std::chrono::milliseconds(static_cast<std::int64_t>(number * unit_ms + 0.5));
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
