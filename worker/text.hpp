#pragma once
// Text that people will read, made safe to send: what a handler or a command wrote may be any bytes.

#include <cstddef>
#include <string>
#include <string_view>

namespace jobyard::worker {

/// The beginning of `text`, at most `max_bytes` of it: UTF-8 in which each byte that is not, and each control character
/// but newline and tab, is a '?'. Never cut inside a character.
std::string clean_head(std::string_view text, std::size_t max_bytes);

/// The same of the end of `text`.
std::string clean_tail(std::string_view text, std::size_t max_bytes);

}  // namespace jobyard::worker
