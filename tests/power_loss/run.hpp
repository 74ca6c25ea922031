#pragma once
// A short life of a real broker under the recorder: its first start, jobs that are submitted, fail, end, are cancelled
// and forgotten, payloads for which map and log must grow, a backup, an orderly restart, and a kill in the middle of
// work.

#include <cstdint>
#include <string>

namespace jobyard::power_loss {

inline constexpr std::uint64_t kKeptJobs = 20;

/// What a test says in the trace when a backup begins and when it is done, followed by its name.
inline constexpr const char* kBackupBegins = "backup begins ";
inline constexpr const char* kBackupDone = "backup done ";

/// Runs in the directory `root`, which is empty, and leaves its trace in the file `trace`. `rounds`: how much load.
void record_run(const std::string& root, const std::string& trace, unsigned rounds);

}  // namespace jobyard::power_loss
