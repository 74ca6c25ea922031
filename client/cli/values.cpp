#include "values.hpp"

#include <charconv>
#include <cstdio>
#include <ctime>

#include "program/values.hpp"

namespace jobyard::cli {

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
    return program::parse_duration(text, std::chrono::seconds(1));
}

std::optional<WallTime> parse_time(std::string_view text) {
    using namespace std::chrono;
    const auto digits = [&](std::size_t at, std::size_t count, int& value) {
        if (at + count > text.size()) return false;
        const char* const end = text.data() + at + count;
        const auto [stop, error] = std::from_chars(text.data() + at, end, value);
        return error == std::errc() && stop == end && text[at] != '-';
    };
    int year_ = 0, month_ = 0, day_ = 0, hour = 0, minute = 0, second = 0;
    const bool whole = digits(0, 4, year_) && digits(5, 2, month_) && digits(8, 2, day_) && digits(11, 2, hour) &&
                       digits(14, 2, minute) && digits(17, 2, second) && text[4] == '-' && text[7] == '-' &&
                       (text[10] == 'T' || text[10] == ' ') && text[13] == ':' && text[16] == ':';
    const year_month_day date{year(year_), month(static_cast<unsigned>(month_)), day(static_cast<unsigned>(day_))};
    if (!whole || !date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
    WallTime time = sys_days(date) + hours(hour) + minutes(minute) + seconds(second);
    std::size_t at = 19;
    if (at < text.size() && text[at] == '.') {
        milliseconds unit(100);
        for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, unit /= 10)
            time += unit * (text[at] - '0');
    }
    const std::string_view zone = text.substr(at);
    if (zone == "Z") return time;
    int zone_hour = 0, zone_minute = 0;
    if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':' || !digits(at + 1, 2, zone_hour) ||
        !digits(at + 4, 2, zone_minute))
        return std::nullopt;
    const auto offset = hours(zone_hour) + minutes(zone_minute);
    return zone[0] == '+' ? time - offset : time + offset;
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
