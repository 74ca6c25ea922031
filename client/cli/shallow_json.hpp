#pragma once
// JSON and MessagePack that somebody else wrote, as a value: discarded if it is neither, or nested deeper than whoever
// copies or prints it by calling himself has a stack for.

#include <string_view>

#include <nlohmann/json.hpp>

namespace jobyard::cli {

/// At most this deep. MessagePack, which only we write, less.
inline constexpr int kMaxJsonDepth = 100;

[[nodiscard]] nlohmann::json shallow_json(std::string_view text);
[[nodiscard]] nlohmann::json shallow_msgpack(std::string_view bytes);

}  // namespace jobyard::cli
