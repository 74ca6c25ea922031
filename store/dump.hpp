#pragma once
// A store as JSON lines, to look at, to move to another format, or to change on the way: docs/BACKUP.md is the format's
// description. It has the jobs, their attempts and results, the arrays, the keys, what is set for queues, and the
// totals; not what is of one store alone (windows of clients, claims of workers, events and the names in them, tasks).

#include <cstdint>
#include <iosfwd>
#include <string>

#include "backup.hpp"
#include "image.hpp"

namespace jobyard::store {

/// Raised when an older `load` would misread a line. Lines may get more members without that.
inline constexpr std::uint64_t kDumpFormat = 1;

/// The number of lines.
Result<std::uint64_t> dump(const std::string& path, std::ostream& out, const Progress& progress);
/// Makes a data directory of a dump. `to` is made if absent, and must be empty. Errors name the line.
Result<std::uint64_t> load(std::istream& in, const std::string& to, const Progress& progress);

}  // namespace jobyard::store
