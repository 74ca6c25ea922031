#pragma once
// Bytes, times and payloads as people and JSON have them.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace jobyard::store {

/// "350 B", "12 KiB", "1.5 GiB".
std::string bytes_text(std::uint64_t bytes);
/// "2026-11-21T07:35:00.123Z", of milliseconds since 1970.
std::string iso_time(std::int64_t wall_ms);

/// Whether JSON can have it as a string: UTF-8, with whatever control characters.
bool is_text(std::string_view bytes);
std::string base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);
std::string hex(std::string_view bytes);
std::optional<std::string> from_hex(std::string_view text);
/// Digits only, all of them read.
std::optional<std::uint64_t> number_of(std::string_view digits);

}  // namespace jobyard::store
