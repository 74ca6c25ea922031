#pragma once
// Lists of jobs, for `list` and `dead`.

#include "verbs.hpp"

namespace jobyard::cli {

/// Up to `most` jobs; `more` says whether there may be others.
Result<std::vector<JobInfo>> list_jobs(Client& client, const JobFilter& filter, std::uint64_t most, bool& more,
                                       std::chrono::milliseconds limit);
/// Prints them; `most` 0 is all.
int print_list(const Globals& globals, const JobFilter& filter, std::uint64_t most);
/// All that is known of them, with their attempts.
/// Of a verb that shows jobs.
void add_show_options(CLI::App& verb, Globals& globals);
int show_jobs(const Globals& globals, const std::vector<std::uint64_t>& numbers);

}  // namespace jobyard::cli
