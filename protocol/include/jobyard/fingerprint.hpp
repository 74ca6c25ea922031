#pragma once
// Errors that differ only in numbers, addresses, quoted names or paths are the same error seen again.

#include <cstddef>
#include <string>
#include <string_view>

#include "jobyard/export.hpp"

namespace jobyard {

inline constexpr std::size_t kFingerprintBytes = 16;

/// The error's text without what changes from one time to the next: the first line, each word that has a digit or a
/// slash in it, and each quoted text, as `#`.
JOBYARD_API std::string error_shape(std::string_view error);

/// Of a type's error: 16 hexadecimal digits, FNV-1a (64 bits) of type, a zero byte, and the error's shape. The same in
/// every version, so that it can be written down.
JOBYARD_API std::string fingerprint(std::string_view type, std::string_view error);

}  // namespace jobyard
