#pragma once

#include <string>

namespace jobyard::bench {

struct LimitsOptions {
    unsigned rounds = 3;
    std::string directory = {};
    bool json = false;
};

/// Prints a table, or one JSON object. Throws std::runtime_error.
void run_limits(const LimitsOptions& options);

}  // namespace jobyard::bench
