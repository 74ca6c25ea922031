// The C interface: what can be asked about jobs, arrays, queues, tasks, events and workers, and what is said about
// many.

#include "c_api.hpp"
#include "c_api_retry.hpp"

namespace jobyard::c_api {
namespace {

constexpr jobyard_job_filter kAnyJob = JOBYARD_JOB_FILTER_INIT;
constexpr jobyard_queue_change kNoChange = JOBYARD_QUEUE_CHANGE_INIT;
constexpr jobyard_task kUsualTask = JOBYARD_TASK_INIT;
constexpr jobyard_event_filter kAnyEvent = JOBYARD_EVENT_FILTER_INIT;

// What is passed in.

/// A number of the wire, which has a byte for it; what it means, and whether it is known, the broker says.
template <class Enum>
Result<Enum> word_from(int number, const char* name) {
    if (number < 0 || number > UINT8_MAX)
        return bad_field(name, std::to_string(number) + ": expected a value of its enum");
    return static_cast<Enum>(number);
}

Result<JobFilter> filter_from(const jobyard_job_filter& given) {
    const Result<jobyard_job_filter> taken = take(given, kAnyJob, "filter", offsetof(jobyard_job_filter, array));
    if (!taken) return taken.error();
    const auto state = word_from<JobState>(taken->state, "state");
    if (!state) return state.error();
    return JobFilter{*state, to_string(taken->queue), to_string(taken->type), JobId{taken->array}};
}

Result<QueueChange> change_from(const jobyard_queue_change& given) {
    const Result<jobyard_queue_change> taken = take(given, kNoChange, "change");
    if (!taken) return taken.error();
    const auto paused = flag_from(taken->paused, "paused");
    if (!paused) return paused.error();
    const auto max_running = number_from(taken->max_running, "max_running", Takes::unsaid);
    if (!max_running) return max_running.error();
    const auto retry = retry_from(taken->retry, Takes::unset);
    if (!retry) return retry.error();
    return QueueChange{*paused, to_string(taken->by), to_string(taken->why), *max_running, *retry};
}

Result<TaskSpec> task_from(const jobyard_task& given) {
    const Result<jobyard_task> taken = take(given, kUsualTask, "task");
    if (!taken) return taken.error();
    const jobyard_task& task = *taken;
    const auto action = word_from<TaskAction>(task.action, "action");
    if (!action) return action.error();
    const auto state = word_from<JobState>(task.state, "state");
    if (!state) return state.error();
    const auto reason = word_from<Reason>(task.reason, "reason");
    if (!reason) return reason.error();
    if (task.jobs == nullptr && task.job_count != 0) return bad_field("jobs", "is NULL, but job_count is not 0");
    return TaskSpec{.action = *action,
                    .state = *state,
                    .queue = to_string(task.queue),
                    .type = to_string(task.type),
                    .reason = *reason,
                    .error = to_string(task.error),
                    .older_than_ms = task.older_than_ms,
                    .newer_than_ms = task.newer_than_ms,
                    .count_only = task.count_only,
                    .by = to_string(task.by),
                    .jobs = to_ids(task.jobs, task.job_count)};
}

Result<EventFilter> filter_from(const jobyard_event_filter& given) {
    const Result<jobyard_event_filter> taken = take(given, kAnyEvent, "filter");
    if (!taken) return taken.error();
    if (taken->kinds == nullptr && taken->kind_count != 0)
        return bad_field("kinds", "is NULL, but kind_count is not 0");
    EventFilter filter{to_string(taken->queue), to_string(taken->type), JobId{taken->job}, {}};
    for (std::size_t i = 0; i < taken->kind_count; ++i) {
        const auto kind = word_from<EventKind>(taken->kinds[i], "kinds");
        if (!kind) return kind.error();
        filter.kinds.push_back(*kind);
    }
    return filter;
}

// What comes out.

std::uint64_t to_c(WallTime time) { return static_cast<std::uint64_t>(time.time_since_epoch().count()); }
std::uint64_t to_c(const std::optional<WallTime>& time) { return time ? to_c(*time) : 0; }

void show(Reply& reply, AttemptInfo attempt, jobyard_attempt_info& shown) {
    shown.attempt = attempt.attempt;
    shown.worker = reply.text(std::move(attempt.worker));
    shown.token = attempt.token.value;
    shown.started_at = to_c(attempt.started_at);
    shown.ended_at = to_c(attempt.ended_at);
    shown.outcome = reply.text(std::move(attempt.outcome));
    shown.error = reply.text(std::move(attempt.error));
    shown.tail_size = attempt.tail.size();
    shown.tail = reply.text(std::move(attempt.tail));
}

void show(Reply& reply, JobInfo job, jobyard_job_info& shown) {
    shown.id = job.id.value;
    shown.queue = reply.text(std::move(job.queue));
    shown.type = reply.text(std::move(job.type));
    shown.priority = job.priority;
    shown.state = c_api::to_c(job.state);
    shown.reason = reply.text(std::move(job.reason));
    shown.attempt = job.attempt;
    shown.max_attempts = job.max_attempts;
    shown.errors = job.errors;
    shown.crashes = job.crashes;
    shown.timeout_ms = job.timeout_ms;
    shown.created_at = to_c(job.created_at);
    shown.payload_bytes = job.payload_bytes;
    shown.key = reply.text(std::move(job.key));
    shown.due_at = to_c(job.due_at);
    shown.started_at = to_c(job.started_at);
    shown.ended_at = to_c(job.ended_at);
    shown.worker = reply.text(std::move(job.worker));
    shown.token = job.token.value;
    shown.cancel_requested = job.cancel_requested;
    shown.progress = job.progress.value_or(-1);
    shown.progress_text = reply.text(std::move(job.progress_text));
    shown.error = reply.text(std::move(job.error));
    shown.result_bytes = job.result_bytes ? static_cast<std::int64_t>(*job.result_bytes) : -1;
    shown.attempt_count = job.attempts.size();
    shown.attempts = reply.items<jobyard_attempt_info>(
        std::move(job.attempts),
        [](Reply& owner, AttemptInfo&& attempt, jobyard_attempt_info& item) { show(owner, std::move(attempt), item); });
    shown.edited_at = to_c(job.edited_at);
    shown.array = job.array.value;
    shown.array_index = job.array_index ? static_cast<std::int64_t>(*job.array_index) : -1;
}

void show(Reply& reply, ArrayInfo array, jobyard_array_info& shown) {
    shown.array = array.array.value;
    shown.name = reply.text(std::move(array.name));
    shown.queue = reply.text(std::move(array.queue));
    shown.type = reply.text(std::move(array.type));
    shown.state = c_api::to_c(array.state);
    shown.created_at = to_c(array.created_at);
    shown.ended_at = to_c(array.ended_at);
    shown.key = reply.text(std::move(array.key));
    shown.count = array.count;
    shown.first = array.first.value_or(0);
    shown.step = array.step.value_or(0);
    shown.at_once = array.at_once;
    shown.making = array.making;
    shown.made = array.made;
    shown.waiting = array.waiting;
    shown.running = array.running;
    shown.completed = array.completed;
    shown.dead = array.dead;
    shown.cancelled = array.cancelled;
    shown.left_dead = array.left_dead;
    shown.left_cancelled = array.left_cancelled;
    shown.resubmits = array.resubmits.value;
    shown.resubmitted_as = array.resubmitted_as.value;
}

void show(Reply& reply, TypePolicy policy, jobyard_type_policy& shown) {
    shown.type = reply.text(std::move(policy.type));
    shown.retry = c_api::to_c(policy.retry);
}

void show(Reply& reply, QueueInfo queue, jobyard_queue_info& shown) {
    shown.name = reply.text(std::move(queue.name));
    shown.queued = queue.queued;
    shown.running = queue.running;
    shown.unended = queue.unended;
    shown.completed = queue.completed;
    shown.failed = queue.failed;
    shown.dead = queue.dead;
    shown.oldest_at = to_c(queue.oldest_at);
    shown.waiting = queue.waiting;
    shown.paused = queue.paused;
    shown.paused_at = to_c(queue.paused_at);
    shown.paused_by = reply.text(std::move(queue.paused_by));
    shown.paused_why = reply.text(std::move(queue.paused_why));
    shown.max_running = queue.max_running;
    shown.retry = c_api::to_c(queue.retry);
    shown.type_count = queue.types.size();
    shown.types = reply.items<jobyard_type_policy>(
        std::move(queue.types),
        [](Reply& owner, TypePolicy&& policy, jobyard_type_policy& item) { show(owner, std::move(policy), item); });
}

void show(Reply& reply, TaskInfo task, jobyard_task_info& shown) {
    shown.task = task.task;
    shown.action = reply.text(std::move(task.action));
    shown.state = reply.text(std::move(task.state));
    shown.count_only = task.count_only;
    shown.job_state = reply.text(std::move(task.job_state));
    shown.reason = reply.text(std::move(task.reason));
    shown.queue = reply.text(std::move(task.queue));
    shown.type = reply.text(std::move(task.type));
    shown.error = reply.text(std::move(task.error));
    shown.by = reply.text(std::move(task.by));
    shown.started_at = to_c(task.started_at);
    shown.ended_at = to_c(task.ended_at);
    shown.total = task.total;
    shown.looked = task.looked;
    shown.done = task.done;
    shown.refused = task.refused;
}

void show(Reply& reply, EventInfo event, jobyard_event_info& shown) {
    shown.event = event.event;
    shown.at = to_c(event.at);
    shown.kind = reply.text(std::move(event.kind));
    shown.job = event.job.value;
    shown.queue = reply.text(std::move(event.queue));
    shown.type = reply.text(std::move(event.type));
    shown.worker = reply.text(std::move(event.worker));
    shown.text = reply.text(std::move(event.text));
}

const char* const* texts(Reply& reply, std::vector<std::string> names) {
    const char** shown = reply.array<const char*>(names.size());
    for (std::size_t i = 0; i < names.size(); ++i) shown[i] = reply.text(std::move(names[i]));
    return shown;
}

void show(Reply& reply, WorkerInfo worker, jobyard_worker_info& shown) {
    shown.name = reply.text(std::move(worker.name));
    shown.state = reply.text(std::move(worker.state));
    shown.draining = worker.draining;
    shown.slots = worker.slots;
    shown.credit = worker.credit;
    shown.running = worker.running;
    shown.queue_count = worker.queues.size();
    shown.queues = texts(reply, std::move(worker.queues));
    shown.type_count = worker.types.size();
    shown.types = texts(reply, std::move(worker.types));
    shown.queues_total = worker.queues_total;
    shown.types_total = worker.types_total;
    shown.software = reply.text(std::move(worker.software));
    shown.connected_at = to_c(worker.connected_at);
    shown.heard_at = to_c(worker.heard_at);
    shown.job_count = worker.jobs.size();
    auto* jobs = reply.array<std::uint64_t>(worker.jobs.size());
    std::transform(worker.jobs.begin(), worker.jobs.end(), jobs, [](JobId job) { return job.value; });
    shown.jobs = jobs;
    shown.host = reply.text(std::move(worker.host));
    shown.pid = worker.pid;
}

void show(Reply& reply, BrokerStats stats, jobyard_broker_stats& shown) {
    shown.scheduled = stats.scheduled;
    shown.queued = stats.queued;
    shown.assigned = stats.assigned;
    shown.running = stats.running;
    shown.retrying = stats.retrying;
    shown.submitted_total = stats.submitted_total;
    shown.completed_total = stats.completed_total;
    shown.cancelled_total = stats.cancelled_total;
    shown.dead_total = stats.dead_total;
    shown.retried_total = stats.retried_total;
    shown.completed_kept = stats.completed_kept;
    shown.dead = stats.dead;
    shown.workers = stats.workers;
    shown.submitters = stats.submitters;
    shown.slots = stats.slots;
    shown.queue_count = stats.queues.size();
    shown.queues = reply.items<jobyard_queue_info>(
        std::move(stats.queues),
        [](Reply& owner, QueueInfo&& queue, jobyard_queue_info& item) { show(owner, std::move(queue), item); });
    shown.map_size = stats.map.size();
    shown.map = reply.text(std::move(stats.map));
}

/// Any of these, as something that can be passed on.
constexpr auto kShow = [](Reply& reply, auto&& value, auto& shown) {
    show(reply, std::forward<decltype(value)>(value), shown);
};

template <class Item, class List, class Value>
void show_list(Reply& reply, std::vector<Value> values, List& list) {
    list.count = values.size();
    list.items = reply.items<Item>(std::move(values), kShow);
}

}  // namespace
}  // namespace jobyard::c_api

using namespace jobyard::c_api;  // all that follows is of this interface, and at global scope
using jobyard::JobId;
using jobyard::Result;

// --- jobs ------------------------------------------------------------------------------------------------------------

jobyard_code jobyard_show(jobyard_client* client, uint64_t job, int64_t limit_ms, jobyard_job_info** info,
                          jobyard_error* error) {
    if (info != nullptr) *info = nullptr;
    return guarded(error, {{client, "client"}, {info, "info"}},
                   [&] { return give_result(client->client.show(JobId{job}, to_limit(limit_ms)), info, kShow); });
}

jobyard_code jobyard_payload(jobyard_client* client, uint64_t job, int64_t limit_ms, jobyard_bytes** payload,
                             jobyard_error* error) {
    if (payload != nullptr) *payload = nullptr;
    return guarded(error, {{client, "client"}, {payload, "payload"}}, [&] {
        return give_result(client->client.payload(JobId{job}, to_limit(limit_ms)), payload,
                           [](Reply& reply, std::string&& bytes, jobyard_bytes& shown) {
                               shown.size = bytes.size();
                               shown.bytes = reply.text(std::move(bytes));
                           });
    });
}

jobyard_code jobyard_list(jobyard_client* client, const jobyard_job_filter* filter, uint64_t cursor, uint32_t page_size,
                          int64_t limit_ms, jobyard_job_page** page, jobyard_error* error) {
    if (page != nullptr) *page = nullptr;
    return guarded(error, {{client, "client"}, {page, "page"}}, [&]() -> Result<void> {
        const auto which = filter_from(filter == nullptr ? kAnyJob : *filter);
        if (!which) return which.error();
        return give_result(client->client.list(*which, cursor, page_size, to_limit(limit_ms)), page,
                           [](Reply& reply, jobyard::JobPage&& value, jobyard_job_page& shown) {
                               show_list<jobyard_job_info>(reply, std::move(value.jobs), shown);
                               shown.next_cursor = value.next_cursor;
                           });
    });
}

// --- arrays ----------------------------------------------------------------------------------------------------------

jobyard_code jobyard_arrays(jobyard_client* client, int64_t limit_ms, jobyard_array_list** arrays,
                            jobyard_error* error) {
    if (arrays != nullptr) *arrays = nullptr;
    return guarded(error, {{client, "client"}, {arrays, "arrays"}}, [&] {
        return give_result(client->client.arrays(to_limit(limit_ms)), arrays,
                           [](Reply& reply, std::vector<jobyard::ArrayInfo>&& values, jobyard_array_list& shown) {
                               show_list<jobyard_array_info>(reply, std::move(values), shown);
                           });
    });
}

jobyard_code jobyard_array(jobyard_client* client, uint64_t array, int64_t limit_ms, jobyard_array_info** info,
                           jobyard_error* error) {
    if (info != nullptr) *info = nullptr;
    return guarded(error, {{client, "client"}, {info, "info"}},
                   [&] { return give_result(client->client.array(JobId{array}, to_limit(limit_ms)), info, kShow); });
}

jobyard_code jobyard_stop_array(jobyard_client* client, uint64_t array, int64_t limit_ms, jobyard_error* error) {
    return guarded(error, {{client, "client"}},
                   [&] { return client->client.stop_array(JobId{array}, to_limit(limit_ms)); });
}

jobyard_code jobyard_resubmit(jobyard_client* client, uint64_t array, bool cancelled, int64_t limit_ms,
                              uint64_t* number, jobyard_error* error) {
    return guarded(error, {{client, "client"}, {number, "number"}}, [&]() -> Result<void> {
        const auto made = client->client.resubmit(JobId{array}, cancelled, to_limit(limit_ms));
        if (!made) return made.error();
        *number = made->value;
        return {};
    });
}

// --- queues ----------------------------------------------------------------------------------------------------------

jobyard_code jobyard_set_queue(jobyard_client* client, const char* queue, const char* type,
                               const jobyard_queue_change* change, int64_t limit_ms, jobyard_error* error) {
    return guarded(error, {{client, "client"}, {queue, "queue"}, {change, "change"}}, [&]() -> Result<void> {
        const auto what = change_from(*change);
        if (!what) return what.error();
        return client->client.set_queue(queue, *what, to_string(type), to_limit(limit_ms));
    });
}

jobyard_code jobyard_queues(jobyard_client* client, int64_t limit_ms, jobyard_queue_list** queues,
                            jobyard_error* error) {
    if (queues != nullptr) *queues = nullptr;
    return guarded(error, {{client, "client"}, {queues, "queues"}}, [&] {
        return give_result(client->client.queues(to_limit(limit_ms)), queues,
                           [](Reply& reply, std::vector<jobyard::QueueInfo>&& values, jobyard_queue_list& shown) {
                               show_list<jobyard_queue_info>(reply, std::move(values), shown);
                           });
    });
}

jobyard_code jobyard_queue(jobyard_client* client, const char* name, int64_t limit_ms, jobyard_queue_info** queue,
                           jobyard_error* error) {
    if (queue != nullptr) *queue = nullptr;
    return guarded(error, {{client, "client"}, {name, "name"}, {queue, "queue"}},
                   [&] { return give_result(client->client.queue(name, to_limit(limit_ms)), queue, kShow); });
}

// --- tasks -----------------------------------------------------------------------------------------------------------

jobyard_code jobyard_start_task(jobyard_client* client, const jobyard_task* task, int64_t limit_ms, uint64_t* number,
                                jobyard_error* error) {
    return guarded(error, {{client, "client"}, {task, "task"}, {number, "number"}}, [&]() -> Result<void> {
        const auto what = task_from(*task);
        if (!what) return what.error();
        const auto started = client->client.start_task(*what, to_limit(limit_ms));
        if (!started) return started.error();
        *number = *started;
        return {};
    });
}

jobyard_code jobyard_tasks(jobyard_client* client, int64_t limit_ms, jobyard_task_list** tasks, jobyard_error* error) {
    if (tasks != nullptr) *tasks = nullptr;
    return guarded(error, {{client, "client"}, {tasks, "tasks"}}, [&] {
        return give_result(client->client.tasks(to_limit(limit_ms)), tasks,
                           [](Reply& reply, std::vector<jobyard::TaskInfo>&& values, jobyard_task_list& shown) {
                               show_list<jobyard_task_info>(reply, std::move(values), shown);
                           });
    });
}

jobyard_code jobyard_show_task(jobyard_client* client, uint64_t number, int64_t limit_ms, jobyard_task_info** task,
                               jobyard_error* error) {
    if (task != nullptr) *task = nullptr;
    return guarded(error, {{client, "client"}, {task, "task"}},
                   [&] { return give_result(client->client.task(number, to_limit(limit_ms)), task, kShow); });
}

jobyard_code jobyard_stop_task(jobyard_client* client, uint64_t number, int64_t limit_ms, jobyard_error* error) {
    return guarded(error, {{client, "client"}}, [&] { return client->client.stop_task(number, to_limit(limit_ms)); });
}

// --- the broker ------------------------------------------------------------------------------------------------------

jobyard_code jobyard_stats(jobyard_client* client, int64_t limit_ms, jobyard_broker_stats** stats,
                           jobyard_error* error) {
    if (stats != nullptr) *stats = nullptr;
    return guarded(error, {{client, "client"}, {stats, "stats"}},
                   [&] { return give_result(client->client.stats(to_limit(limit_ms)), stats, kShow); });
}

jobyard_code jobyard_events(jobyard_client* client, const jobyard_event_filter* filter, uint64_t after, int64_t wait_ms,
                            uint32_t page_size, int64_t limit_ms, jobyard_event_page** page, jobyard_error* error) {
    if (page != nullptr) *page = nullptr;
    return guarded(error, {{client, "client"}, {page, "page"}}, [&]() -> Result<void> {
        const auto which = filter_from(filter == nullptr ? kAnyEvent : *filter);
        if (!which) return which.error();
        return give_result(client->client.events(*which, after, to_limit(wait_ms), page_size, to_limit(limit_ms)), page,
                           [](Reply& reply, jobyard::EventPage&& value, jobyard_event_page& shown) {
                               show_list<jobyard_event_info>(reply, std::move(value.events), shown);
                               shown.last = value.last;
                               shown.gone = value.gone;
                               shown.more = value.more;
                           });
    });
}

jobyard_code jobyard_workers(jobyard_client* client, const char* name, int64_t limit_ms, jobyard_worker_list** workers,
                             jobyard_error* error) {
    if (workers != nullptr) *workers = nullptr;
    return guarded(error, {{client, "client"}, {workers, "workers"}}, [&] {
        return give_result(client->client.workers(to_string(name), to_limit(limit_ms)), workers,
                           [](Reply& reply, std::vector<jobyard::WorkerInfo>&& values, jobyard_worker_list& shown) {
                               show_list<jobyard_worker_info>(reply, std::move(values), shown);
                           });
    });
}

namespace {

Result<void> give_count(const Result<std::size_t>& result, size_t* count) {
    if (!result) return result.error();
    if (count != nullptr) *count = *result;
    return {};
}

}  // namespace

jobyard_code jobyard_drain(jobyard_client* client, const char* name, int64_t limit_ms, size_t* count,
                           jobyard_error* error) {
    return guarded(error, {{client, "client"}, {name, "name"}},
                   [&] { return give_count(client->client.drain(name, to_limit(limit_ms)), count); });
}

jobyard_code jobyard_resume(jobyard_client* client, const char* name, int64_t limit_ms, size_t* count,
                            jobyard_error* error) {
    return guarded(error, {{client, "client"}, {name, "name"}},
                   [&] { return give_count(client->client.resume(name, to_limit(limit_ms)), count); });
}
