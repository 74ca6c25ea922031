#pragma once
// What --json prints. Ids and tokens are strings of digits, because they pass 2^53; times are ISO 8601 in UTC with
// milliseconds. Keys are only ever added.

#include <optional>
#include <string>

#include "command_job.hpp"
#include "jobyard/client.hpp"

namespace jobyard::cli {

/// Dead jobs whose last errors are the same but for numbers, names and paths (fingerprint.hpp).
struct ErrorGroup {
    std::string fingerprint;
    std::string type;
    std::uint64_t count = 0;
    WallTime first_at = WallTime::max();
    WallTime last_at = WallTime::min();
    JobId last_job;
    std::string error;  ///< of that one
};

/// Each is one line without its end.
std::string job_json(const JobInfo& job, const std::optional<CommandResult>& result = std::nullopt);
/// How a job ended; with `bytes` the result too: as a map for a command, else as text, or in base64 if it is none.
std::string result_json(const JobResult& result, bool bytes);
std::string submitted_json(JobId job, bool existing);
/// A question that has no answer: `code` is the word of an error, or "usage".
std::string error_json(const std::string& code, const std::string& text);
/// `code` is that of an answer or an error.
std::string answer_json(JobId job, Code code, const std::string& text = {});
std::string queue_json(const QueueInfo& queue);
std::string task_json(const TaskInfo& task);
std::string array_json(const ArrayInfo& array);
std::string error_group_json(const ErrorGroup& group);
std::string stats_json(const BrokerStats& stats);
std::string event_json(const EventInfo& event);
/// In the place of events that the broker has dropped.
std::string events_gone_json(std::uint64_t first, std::uint64_t last);
std::string worker_json(const WorkerInfo& worker);
/// What became of a drain or a resume of all workers of a name.
std::string steered_json(const std::string& name, std::size_t count, bool drained);

}  // namespace jobyard::cli
