#pragma once
// What the kernel says of a process.

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace jobyard::torture {

/// Nothing if it has gone.
std::uint64_t descriptors_of(pid_t pid);
/// A line of its status that is an amount of memory ("RssAnon", "VmData"), in bytes; 0 if it has gone.
std::uint64_t memory_of(pid_t pid, const std::string& line);

}  // namespace jobyard::torture
