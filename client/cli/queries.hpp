#pragma once
// Lists of jobs, for `list` and `dead`.

#include "verbs.hpp"

namespace jobyard::cli {

/// What a job must be beyond what the broker filters by; none: nothing more.
using Wanted = std::function<bool(const JobInfo&)>;

/// Up to `most` jobs; `more` says whether there may be others.
Result<std::vector<JobInfo>> list_jobs(Client& client, const JobFilter& filter, const Wanted& wanted,
                                       std::uint64_t most, bool& more, std::chrono::milliseconds limit);
/// Prints them; `most` 0 is all.
int print_list(const Globals& globals, const JobFilter& filter, std::uint64_t most, const Wanted& wanted = {});
/// Of a verb that shows jobs.
void add_show_options(CLI::App& verb, Globals& globals);
/// All that is known of them, with their attempts.
int show_jobs(const Globals& globals, const std::vector<std::uint64_t>& numbers);

}  // namespace jobyard::cli
