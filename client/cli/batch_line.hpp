#pragma once
// One line of `jobyard submit --batch`: a job as a JSON object.

#include <stdexcept>
#include <string>

#include "jobyard/client.hpp"

namespace jobyard::cli {

/// Says what is wrong with a line; caught where its number is known.
struct BadLine : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// What the line does not say is taken from `defaults`.
JobSpec read_batch_line(const std::string& line, const JobSpec& defaults);

}  // namespace jobyard::cli
