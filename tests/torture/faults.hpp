#pragma once
// What goes wrong in a torture run. Of the faults of one ground (the broker's process and disk, peers' processes, the
// network) one is under way at a time, so up to three together.

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "yard.hpp"

namespace jobyard::torture {

struct Fault {
    enum class Ground : std::uint8_t { broker, peers, network };
    std::string kind;
    Ground ground;
    double longest_s;  ///< how long it lasts at most; 0: it is over at once
    /// Begins it; what is returned ends it, and may be empty.
    std::function<std::function<void()>()> begin;
};

/// Those that are possible here.
std::vector<Fault> faults(Yard& yard, Place& place, std::mt19937_64& random);

}  // namespace jobyard::torture
