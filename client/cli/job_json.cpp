#include "job_json.hpp"

#include <nlohmann/json.hpp>

#include "jobyard/codec.hpp"
#include "values.hpp"

namespace jobyard::cli {
namespace {

using Json = nlohmann::ordered_json;

/// Text of jobs may be any bytes; JSON is UTF-8.
std::string line(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string digits(std::uint64_t number) { return std::to_string(number); }

void put_time(Json& out, const char* key, const std::optional<WallTime>& time) {
    if (time) out[key] = iso_time(*time);
}
void put_text(Json& out, const char* key, const std::string& text) {
    if (!text.empty()) out[key] = text;
}

Json attempt_object(const AttemptInfo& attempt) {
    Json out;
    out["attempt"] = attempt.attempt;
    out["worker"] = attempt.worker;
    out["token"] = digits(attempt.token.value);
    put_time(out, "started_at", attempt.started_at);
    put_time(out, "ended_at", attempt.ended_at);
    out["outcome"] = attempt.outcome;
    out["error"] = attempt.error;
    put_text(out, "tail", attempt.tail);
    return out;
}

Json command_object(const CommandResult& result, bool output) {
    Json out;
    out["exit_status"] = result.exit_status;
    out["signal"] = result.signal;
    if (output) out["stdout"] = result.output;
    out["stdout_bytes"] = result.output_bytes;
    out["truncated"] = result.truncated;
    if (output) out["stderr"] = result.errors;
    out["stderr_bytes"] = result.errors_bytes;
    out["duration_ms"] = result.duration_ms;
    return out;
}

std::string base64(std::string_view bytes) {
    constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        for (std::size_t k = 0; k < 3; ++k)
            group = group << 8U | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
        for (std::size_t k = 0; k < 4; ++k) out += i + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63U] : '=';
    }
    return out;
}

}  // namespace

std::string job_json(const JobInfo& job, const std::optional<CommandResult>& result) {
    Json out;
    out["id"] = digits(job.id.value);
    out["queue"] = job.queue;
    out["type"] = job.type;
    out["priority"] = job.priority;
    out["state"] = to_string(job.state);
    out["reason"] = job.reason;
    out["attempt"] = job.attempt;
    out["max_attempts"] = job.max_attempts;
    out["errors"] = job.errors;
    out["crashes"] = job.crashes;
    out["timeout_ms"] = job.timeout_ms;
    out["created_at"] = iso_time(job.created_at);
    put_time(out, "due_at", job.due_at);
    put_time(out, "started_at", job.started_at);
    put_time(out, "ended_at", job.ended_at);
    put_time(out, "edited_at", job.edited_at);
    out["payload_bytes"] = job.payload_bytes;
    if (job.result_bytes) out["result_bytes"] = *job.result_bytes;
    put_text(out, "key", job.key);
    if (job.array) out["array"] = digits(job.array.value);
    if (job.array_index) out["array_index"] = *job.array_index;
    put_text(out, "worker", job.worker);
    if (job.token) out["token"] = digits(job.token.value);
    if (job.cancel_requested) out["cancel_requested"] = true;
    if (job.progress) out["progress"] = *job.progress;
    put_text(out, "progress_text", job.progress_text);
    put_text(out, "error", job.error);
    if (result) out["result"] = command_object(*result, false);
    if (!job.attempts.empty()) {
        out["attempts"] = Json::array();
        for (const AttemptInfo& attempt : job.attempts) out["attempts"].push_back(attempt_object(attempt));
    }
    return line(out);
}

std::string result_json(const JobResult& result, bool bytes) {
    Json out;
    out["id"] = digits(result.job.value);
    out["state"] = to_string(result.state);
    out["reason"] = to_string(result.reason);
    out["attempt"] = result.attempt;
    out["error"] = result.error;
    if (bytes) {
        if (const std::optional<CommandResult> command = decode_command_result(result.bytes))
            out["result"] = command_object(*command, true);
        else if (Json text = result.bytes; line(text) == text.dump(-1, ' ', false, Json::error_handler_t::ignore))
            out["result"] = std::move(text);
        else out["result_base64"] = base64(result.bytes);
    }
    return line(out);
}

std::string submitted_json(JobId job, bool existing) {
    Json out;
    out["id"] = digits(job.value);
    out["code"] = existing ? "existing" : "created";
    return line(out);
}

std::string error_json(const std::string& code, const std::string& text) {
    Json out;
    out["code"] = code;
    put_text(out, "text", text);
    return line(out);
}

std::string answer_json(JobId job, Code code, const std::string& text) {
    Json out;
    out["id"] = digits(job.value);
    out["code"] = to_string(code);
    put_text(out, "text", text);
    return line(out);
}

namespace {

void put_policy(Json& out, const RetryPolicy& retry) {
    const auto put = [&](const char* key, const std::optional<std::uint32_t>& value) {
        if (value) out[key] = *value;
    };
    put("max_attempts", retry.max_attempts);
    put("timeout_ms", retry.timeout_ms);
    put("backoff_initial_ms", retry.backoff.initial_ms);
    put("backoff_factor_percent", retry.backoff.factor_percent);
    put("backoff_max_ms", retry.backoff.max_ms);
    put("backoff_jitter_percent", retry.backoff.jitter_percent);
}

}  // namespace

std::string queue_json(const QueueInfo& queue) {
    Json out;
    out["name"] = queue.name;
    out["queued"] = queue.queued;
    out["running"] = queue.running;
    out["waiting"] = queue.waiting;
    out["paused"] = queue.paused;
    put_time(out, "paused_at", queue.paused_at);
    put_text(out, "paused_by", queue.paused_by);
    put_text(out, "paused_why", queue.paused_why);
    if (queue.max_running != 0) out["max_running"] = queue.max_running;
    put_policy(out, queue.retry);
    for (const TypePolicy& type : queue.types) {
        Json entry{{"type", type.type}};
        put_policy(entry, type.retry);
        out["types"].push_back(std::move(entry));
    }
    return line(out);
}

std::string task_json(const TaskInfo& task) {
    Json out;
    out["task"] = digits(task.task);
    out["action"] = task.action;
    out["state"] = task.state;
    out["count_only"] = task.count_only;
    put_text(out, "job_state", task.job_state);
    put_text(out, "reason", task.reason);
    put_text(out, "queue", task.queue);
    put_text(out, "type", task.type);
    put_text(out, "error", task.error);
    put_text(out, "by", task.by);
    put_time(out, "started_at", task.started_at);
    put_time(out, "ended_at", task.ended_at);
    out["total"] = task.total;
    out["looked"] = task.looked;
    out["done"] = task.done;
    out["refused"] = task.refused;
    return line(out);
}

std::string array_json(const ArrayInfo& array) {
    Json out;
    out["array"] = digits(array.array.value);
    put_text(out, "name", array.name);
    out["queue"] = array.queue;
    out["type"] = array.type;
    put_text(out, "key", array.key);
    out["state"] = to_string(array.state);
    put_time(out, "created_at", array.created_at);
    put_time(out, "ended_at", array.ended_at);
    if (array.first) out["first"] = *array.first;
    if (array.step) out["step"] = *array.step;
    out["count"] = array.count;
    if (array.at_once != 0) out["at_once"] = array.at_once;
    out["making"] = array.making;
    out["made"] = array.made;
    out["waiting"] = array.waiting;
    out["running"] = array.running;
    out["completed"] = array.completed;
    out["dead"] = array.dead;
    out["cancelled"] = array.cancelled;
    out["left_dead"] = array.left_dead;
    out["left_cancelled"] = array.left_cancelled;
    if (array.resubmits) out["resubmits"] = digits(array.resubmits.value);
    if (array.resubmitted_as) out["resubmitted_as"] = digits(array.resubmitted_as.value);
    return line(out);
}

std::string error_group_json(const ErrorGroup& group) {
    Json out;
    out["fingerprint"] = group.fingerprint;
    out["type"] = group.type;
    out["count"] = group.count;
    put_time(out, "first_at", group.first_at);
    put_time(out, "last_at", group.last_at);
    out["last_job"] = digits(group.last_job.value);
    out["error"] = group.error;
    return line(out);
}

std::string event_json(const EventInfo& event) {
    Json out;
    out["event"] = digits(event.event);
    out["at"] = iso_time(event.at);
    out["kind"] = event.kind;
    if (event.job) out["job"] = digits(event.job.value);
    put_text(out, "queue", event.queue);
    put_text(out, "type", event.type);
    put_text(out, "worker", event.worker);
    put_text(out, "text", event.text);
    return line(out);
}

std::string events_gone_json(std::uint64_t first, std::uint64_t last) {
    Json out;
    out["kind"] = "gone";
    out["first"] = digits(first);
    out["last"] = digits(last);
    return line(out);
}

std::string worker_json(const WorkerInfo& worker) {
    Json out;
    out["name"] = worker.name;
    out["state"] = worker.state;
    out["draining"] = worker.draining;
    out["slots"] = worker.slots;
    out["credit"] = worker.credit;
    out["running"] = worker.running;
    out["queues"] = worker.queues;
    out["types"] = worker.types;
    out["queues_total"] = worker.queues_total;
    out["types_total"] = worker.types_total;
    out["software"] = worker.software;
    if (!worker.host.empty()) out["host"] = worker.host;
    if (worker.pid != 0) out["pid"] = worker.pid;
    put_time(out, "connected_at", worker.connected_at);
    put_time(out, "heard_at", worker.heard_at);
    if (!worker.jobs.empty()) {
        out["jobs"] = Json::array();
        for (const JobId job : worker.jobs) out["jobs"].push_back(digits(job.value));
    }
    return line(out);
}

std::string steered_json(const std::string& name, std::size_t count, bool drained) {
    Json out;
    out["name"] = name;
    out["workers"] = count;
    out["draining"] = drained;
    return line(out);
}

std::string stats_json(const BrokerStats& stats) { return line(Json::from_msgpack(stats.map, true, false)); }

}  // namespace jobyard::cli
