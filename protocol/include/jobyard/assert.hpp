#pragma once
// For what only a bug can break. On in every build.

namespace jobyard {

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace jobyard

/// Only a bug can make this false: prints where, then aborts.
#define JOBYARD_ASSERT(expression) \
    ((expression) ? static_cast<void>(0) : ::jobyard::assertion_failed(#expression, __FILE__, __LINE__))
