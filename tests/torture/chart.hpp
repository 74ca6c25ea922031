#pragma once
// A soak run as a picture: each thing that was sampled over time, and the faults. Pure.

#include <string>
#include <vector>

#include "health.hpp"
#include "samples.hpp"

namespace jobyard::torture {

/// SVG. What stands below the pictures: `foot`.
std::string draw(const std::vector<Sample>& samples, const std::vector<Disturbance>& faults, const Bounds& bounds,
                 const std::string& foot);

}  // namespace jobyard::torture
