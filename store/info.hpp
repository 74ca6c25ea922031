#pragma once
// What a store is and how large: `jobyard store info`.

#include <string>

#include "image.hpp"

namespace jobyard::store {

/// The process that holds the lock of this data directory; 0 if none does. Takes no lock, so that a broker that starts
/// at this moment is not turned away.
int holder_of(const std::string& data);

Result<std::string> info_text(const std::string& path);
Result<std::string> info_json(const std::string& path);

}  // namespace jobyard::store
