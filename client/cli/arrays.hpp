#pragma once
// Arrays on the command line: how their indices are written, and how one is followed to its end.

#include <string>
#include <string_view>

#include "verbs.hpp"

namespace jobyard::cli {

/// "FIRST-LAST[:STEP][%N]". Errors say what was expected.
Result<ArrayRange> parse_array(std::string_view text);
/// What has become of its jobs, in a few words.
std::string counts_text(const ArrayInfo& array);
/// Waits for the end of `job`, a handle of `id`; if that is an array it shows how far it is.
Result<JobResult> wait_with_progress(const Globals& globals, Client& client, JobId id, const Submission& job,
                                     Progress& progress);
/// All that is known of it.
void print_array(const Globals& globals, const ArrayInfo& array);

}  // namespace jobyard::cli
