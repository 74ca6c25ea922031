#include "jobyard/job_info.hpp"

#include <limits>

#include "wire.hpp"

namespace jobyard {
namespace {

// One `read` for each kind of field; the key decides which, so a map may have its keys in any order.

template <class T>
requires std::is_unsigned_v<T>
void read(wire::Reader& in, T& value) {
    const std::uint64_t number = in.uint();
    if (number > std::numeric_limits<T>::max()) return in.fail();
    value = static_cast<T>(number);
}
template <class Tag>
void read(wire::Reader& in, Id<Tag>& id) {
    id.value = in.uint();
}
void read(wire::Reader& in, bool& value) { value = in.boolean(); }
void read(wire::Reader& in, double& value) { value = in.real(); }
void read(wire::Reader& in, std::string& text) { text = in.str(); }
void read(wire::Reader& in, WallTime& time) {
    time = WallTime(std::chrono::milliseconds(static_cast<std::int64_t>(in.uint())));
}
void read(wire::Reader& in, JobState& state) { state = job_state_from(in.str()); }
template <class T>
void read(wire::Reader& in, std::optional<T>& value) {
    read(in, value.emplace());
}
template <class T>
requires std::is_same_v<T, std::string> || std::is_same_v<T, JobId>
void read(wire::Reader& in, std::vector<T>& items) {
    const std::uint32_t count = in.array();
    for (std::uint32_t i = 0; i < count && !in.failed(); ++i) read(in, items.emplace_back());
}
template <class T>
void read_map(wire::Reader& in, T& value);
template <class T>
void read(wire::Reader& in, std::vector<T>& items) {
    const std::uint32_t count = in.array();
    for (std::uint32_t i = 0; i < count && !in.failed(); ++i) read_map(in, items.emplace_back());
}

/// Reads the value of the first field that has the key; false if none has.
class Field {
 public:
    Field(wire::Reader& in, std::string_view key) : in_(in), key_(key) {}
    template <class T>
    Field& operator()(std::string_view name, T& value) {
        if (!taken_ && name == key_) {
            taken_ = true;
            if (!in_.take_nil()) read(in_, value);
        }
        return *this;
    }
    Field& bytes(std::string_view name, std::optional<std::string>& value) {
        if (!taken_ && name == key_) {
            taken_ = true;
            if (!in_.take_nil()) value = in_.bin();
        }
        return *this;
    }
    [[nodiscard]] bool taken() const { return taken_; }

 private:
    wire::Reader& in_;
    std::string_view key_;
    bool taken_ = false;
};

void fields(Field& field, AttemptInfo& attempt) {
    field("attempt", attempt.attempt)("worker", attempt.worker)("token", attempt.token);
    field("started_at", attempt.started_at)("ended_at", attempt.ended_at)("outcome", attempt.outcome);
    field("error", attempt.error)("tail", attempt.tail);
}
void fields(Field& field, JobInfo& job) {
    field("id", job.id)("queue", job.queue)("type", job.type)("priority", job.priority)("state", job.state);
    field("reason", job.reason)("attempt", job.attempt)("max_attempts", job.max_attempts)("errors", job.errors);
    field("crashes", job.crashes)("timeout_ms", job.timeout_ms)("created_at", job.created_at);
    field("payload_bytes", job.payload_bytes)("key", job.key)("due_at", job.due_at)("started_at", job.started_at);
    field("ended_at", job.ended_at)("worker", job.worker)("token", job.token);
    field("cancel_requested", job.cancel_requested)("progress", job.progress)("progress_text", job.progress_text);
    field("error", job.error)("result_bytes", job.result_bytes)("attempts", job.attempts);
    field("edited_at", job.edited_at).bytes("payload", job.payload);
    field("array", job.array)("array_index", job.array_index);
}
void fields(Field& field, ArrayInfo& array) {
    field("array", array.array)("name", array.name)("queue", array.queue)("type", array.type)("state", array.state);
    field("created_at", array.created_at)("ended_at", array.ended_at)("key", array.key)("count", array.count);
    field("first", array.first)("step", array.step)("at_once", array.at_once)("making", array.making);
    field("made", array.made)("waiting", array.waiting)("running", array.running)("completed", array.completed);
    field("dead", array.dead)("cancelled", array.cancelled)("left_dead", array.left_dead);
    field("left_cancelled", array.left_cancelled)("resubmits", array.resubmits);
    field("resubmitted_as", array.resubmitted_as);
}
void fields(Field& field, RetryPolicy& retry) {
    field("max_attempts", retry.max_attempts)("timeout_ms", retry.timeout_ms);
    BackoffPolicy& backoff = retry.backoff;
    field("backoff_initial_ms", backoff.initial_ms)("backoff_factor_percent", backoff.factor_percent);
    field("backoff_max_ms", backoff.max_ms)("backoff_jitter_percent", backoff.jitter_percent);
}
void fields(Field& field, TypePolicy& policy) {
    field("type", policy.type);
    fields(field, policy.retry);
}
void fields(Field& field, QueueInfo& queue) {
    field("name", queue.name)("queued", queue.queued)("running", queue.running)("waiting", queue.waiting);
    field("paused", queue.paused)("paused_at", queue.paused_at)("paused_by", queue.paused_by);
    field("paused_why", queue.paused_why)("max_running", queue.max_running)("types", queue.types);
    field("unended", queue.unended)("completed", queue.completed)("failed", queue.failed)("dead", queue.dead);
    field("oldest_at", queue.oldest_at);
    fields(field, queue.retry);
}
void fields(Field& field, TaskInfo& task) {
    field("task", task.task)("action", task.action)("state", task.state)("count_only", task.count_only);
    field("job_state", task.job_state)("reason", task.reason)("queue", task.queue)("type", task.type);
    field("error", task.error)("by", task.by)("started_at", task.started_at)("ended_at", task.ended_at);
    field("total", task.total)("looked", task.looked)("done", task.done)("refused", task.refused);
}
void fields(Field& field, WorkerInfo& worker) {
    field("name", worker.name)("state", worker.state)("draining", worker.draining)("slots", worker.slots);
    field("credit", worker.credit)("running", worker.running)("queues", worker.queues)("types", worker.types);
    field("queues_total", worker.queues_total)("types_total", worker.types_total)("software", worker.software);
    field("host", worker.host)("pid", worker.pid)("connected_at", worker.connected_at)("heard_at", worker.heard_at)(
        "jobs", worker.jobs);
}
/// As many events with consecutive numbers, of jobs with consecutive numbers.
struct EventRun {
    EventInfo first;
    std::uint64_t count = 1;
};
void fields(Field& field, EventRun& run) {
    EventInfo& first = run.first;
    field("event", first.event)("at", first.at)("kind", first.kind)("job", first.job)("count", run.count);
    field("queue", first.queue)("type", first.type)("worker", first.worker)("text", first.text);
}
/// The counters of jobs are a map of their own inside the statistics.
struct JobCounters {
    BrokerStats& stats;
};
void fields(Field& field, JobCounters& jobs) {
    BrokerStats& stats = jobs.stats;
    field("scheduled", stats.scheduled)("queued", stats.queued)("assigned", stats.assigned)("running", stats.running);
    field("retrying", stats.retrying)("submitted_total", stats.submitted_total);
    field("completed_total", stats.completed_total)("cancelled_total", stats.cancelled_total);
    field("dead_total", stats.dead_total)("retried_total", stats.retried_total);
    field("completed_kept", stats.completed_kept)("dead", stats.dead);
}
void read(wire::Reader& in, JobCounters& jobs) { read_map(in, jobs); }
void fields(Field& field, BrokerStats& stats) {
    JobCounters jobs{stats};
    field("jobs", jobs)("queues", stats.queues)("workers", stats.workers)("submitters", stats.submitters);
    field("slots", stats.slots);
}

template <class T>
void read_map(wire::Reader& in, T& value) {
    const std::uint32_t count = in.map();
    for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
        const std::string_view key = in.str();
        Field field(in, key);
        fields(field, value);
        if (!field.taken()) in.skip();
    }
}

template <class T>
Result<T> decode(std::string_view map, const char* what) {
    wire::Reader in(map);
    T value;
    read_map(in, value);
    if (in.failed() || !in.at_end())
        return Error{Code::bad_message, std::string("the broker's ") + what +
                                            " cannot be read; is it of another version than this library?"};
    return value;
}

}  // namespace

JobState job_state_from(std::string_view word) {
    for (int number = 0; number <= static_cast<int>(JobState::retired); ++number)
        if (const auto state = static_cast<JobState>(number); word == to_string(state)) return state;
    return JobState::none;
}

Result<JobInfo> decode_job_info(std::string_view map) { return decode<JobInfo>(map, "description of a job"); }

Result<QueueInfo> decode_queue_info(std::string_view map) { return decode<QueueInfo>(map, "description of a queue"); }
Result<TaskInfo> decode_task_info(std::string_view map) { return decode<TaskInfo>(map, "description of a task"); }
Result<ArrayInfo> decode_array_info(std::string_view map) { return decode<ArrayInfo>(map, "description of an array"); }

Result<BrokerStats> decode_stats(std::string_view map) {
    Result<BrokerStats> stats = decode<BrokerStats>(map, "statistics");
    if (stats) stats->map = map;
    return stats;
}

Result<WorkerInfo> decode_worker(std::string_view map) { return decode<WorkerInfo>(map, "description of a worker"); }

Result<std::vector<EventInfo>> decode_events(const std::vector<std::string>& maps) {
    std::vector<EventInfo> events;
    for (const std::string& map : maps) {
        const Result<EventRun> run = decode<EventRun>(map, "description of an event");
        if (!run) return run.error();
        for (std::uint64_t i = 0; i < run->count; ++i) {
            EventInfo& event = events.emplace_back(run->first);
            event.event += i;
            if (event.job) event.job.value += i;
        }
    }
    return events;
}

}  // namespace jobyard
