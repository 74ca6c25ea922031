#pragma once
// Durations and sizes as people write and read them: in files, in the environment and on the command line.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace jobyard::program {

/// "250ms", "5s", "1.5h", "7d"; a number alone is so many of `alone`. Nothing if it is none of these.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text, std::chrono::milliseconds alone);
/// "4096", "64K", "16m", "1G": units of 1024. Nothing if it is none of these, or more than 64 bits hold.
std::optional<std::uint64_t> parse_bytes(std::string_view text);
std::optional<std::uint64_t> parse_count(std::string_view text);

/// In the largest unit that loses nothing: "90s", "7d", "1500ms"; "64K", "1G", "1000". What they give can be parsed.
std::string exact_duration(std::chrono::milliseconds duration);
std::string exact_bytes(std::uint64_t bytes);

/// How many letters must be put in, taken out or replaced.
std::size_t edits_between(std::string_view one, std::string_view other);
/// Which of `names`, not empty, `word` was probably meant to be.
const std::string& nearest(std::string_view word, const std::vector<std::string>& names);

}  // namespace jobyard::program
