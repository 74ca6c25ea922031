#pragma once
// What processes have used so far, as the system counts it.

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace jobyard::bench {

/// How often the threads that the process has now were waked from a sleep: the sum of their voluntary context switches.
/// Threads that have ended are not in it.
std::uint64_t wake_ups(pid_t pid);
std::uint64_t wake_ups(const std::vector<pid_t>& pids);
/// User and system time of this process, in seconds.
double own_cpu();
/// The file system a path is on ("ext4"): fsync means little on tmpfs.
std::string filesystem_of(const std::string& path);

}  // namespace jobyard::bench
