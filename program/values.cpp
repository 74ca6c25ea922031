#include "program/values.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <utility>
#include <vector>

namespace jobyard::program {
namespace {

using std::chrono::milliseconds;

struct DurationUnit {
    std::string_view name;
    std::int64_t ms;
};
constexpr DurationUnit kDurationUnits[] = {{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}};
constexpr std::string_view kByteUnits = "KMG";  // each 1024 of the one before

std::string_view rest(std::string_view text, const char* from) {
    return text.substr(static_cast<std::size_t>(from - text.data()));
}

}  // namespace

std::optional<milliseconds> parse_duration(std::string_view text, milliseconds alone) {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc() || !(number >= 0)) return std::nullopt;
    const std::string_view given = rest(text, end);
    const auto* unit = std::ranges::find(kDurationUnits, given, &DurationUnit::name);
    if (unit == std::end(kDurationUnits) && !given.empty()) return std::nullopt;
    const double ms = number * static_cast<double>(given.empty() ? alone.count() : unit->ms);
    constexpr double kLongest = 1e15;
    if (ms > kLongest) return std::nullopt;
    return milliseconds(static_cast<std::int64_t>(ms + 0.5));
}

std::optional<std::uint64_t> parse_count(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
    if (text.empty()) return std::nullopt;
    const std::size_t power = kByteUnits.find(static_cast<char>(text.back() & ~0x20));
    if (power == std::string_view::npos) return parse_count(text);
    const auto value = parse_count(text.substr(0, text.size() - 1));
    const int shift = 10 * static_cast<int>(power + 1);
    if (!value || *value > UINT64_MAX >> shift) return std::nullopt;
    return *value << shift;
}

std::string exact_duration(milliseconds duration) {
    for (const DurationUnit& unit : kDurationUnits)
        if (duration.count() % unit.ms == 0 && duration.count() != 0)
            return std::to_string(duration.count() / unit.ms) + std::string(unit.name);
    return "0s";
}

std::string exact_bytes(std::uint64_t bytes) {
    std::size_t power = 0;
    while (bytes != 0 && power < kByteUnits.size() && bytes % 1024 == 0) {
        bytes /= 1024;
        ++power;
    }
    return std::to_string(bytes) + (power == 0 ? "" : std::string(1, kByteUnits[power - 1]));
}

std::size_t edits_between(std::string_view one, std::string_view other) {
    std::vector<std::size_t> row(other.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= one.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= other.size(); ++j) {
            const std::size_t replaced = diagonal + (one[i - 1] == other[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row.back();
}

const std::string& nearest(std::string_view word, const std::vector<std::string>& names) {
    return *std::ranges::min_element(names, {}, [word](const std::string& name) { return edits_between(word, name); });
}

}  // namespace jobyard::program
