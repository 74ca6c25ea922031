// Something done to many jobs: cancel, redrive or purge those that a filter lets through. A task goes on in steps among
// the broker's other work; how far it is stands in its row, so that it goes on after a restart. It touches only jobs
// that were there when it began.

#include <algorithm>

#include "core.hpp"
#include "job_map.hpp"
#include "jobyard/fingerprint.hpp"

namespace jobyard::broker {
namespace {

constexpr std::size_t kJobsPerStep = 200;     // cancelled, redriven or removed
constexpr std::size_t kLookedPerStep = 4096;  // unended jobs, or empty pages of their table
constexpr std::size_t kRunningTasks = 16;
constexpr std::size_t kTasksRemembered = 100;
constexpr std::int64_t kRestMs = 200;      // while there is no room
constexpr std::uint32_t kSoonMs = 10'000;  // what is refused for longer is not waited for

std::string_view to_string(TaskAction action) {
    switch (action) {
        case TaskAction::cancel: return "cancel";
        case TaskAction::redrive: return "redrive";
        case TaskAction::purge: return "purge";
    }
    return "unknown";
}

std::string_view to_string(TaskState state) {
    switch (state) {
        case TaskState::running: return "running";
        case TaskState::done: return "done";
        case TaskState::stopped: return "stopped";
    }
    return "unknown";
}

}  // namespace

void Core::on_start_task(Session& session, RequestId request, const StartTask& start, Turn turn, Output& out) {
    const auto refused = [&](Code code, const char* field, const char* text, std::uint32_t retry_after_ms = 0) {
        refuse(session.peer, session.id, request, code, text, field, out, retry_after_ms);
    };
    const bool cancel = start.action == TaskAction::cancel;
    if (!cancel && start.action != TaskAction::redrive && start.action != TaskAction::purge)
        return refused(Code::bad_field, "action", "1 (cancel), 2 (redrive) or 3 (purge)");
    if (has_ended(start.state) || (!cancel && start.state != JobState::none))
        return refused(Code::bad_field, "state",
                       "only unended jobs are cancelled; redrive and purge are for dead ones");
    if (cancel && !start.jobs.empty())
        return refused(Code::bad_field, "jobs", "jobs are cancelled by their numbers with CANCEL");
    if (cancel && (start.reason != Reason::none || !start.error.empty()))
        return refused(Code::bad_field, "error", "only dead jobs have a reason and an error");
    for (const auto& [field, text] : {std::pair("queue", start.queue), {"type", start.type}})
        if (!text.empty() && !is_name(text))
            return refused(Code::bad_field, field, "1 to 255 bytes of UTF-8 without control characters");
    if (start.error.size() > kFingerprintBytes || start.by.size() > kMaxWhyBytes || !is_clean_text(start.by))
        return refused(Code::bad_field, "error", "a fingerprint has 16 characters; `by` at most 255 bytes of UTF-8");
    const auto begun = [&](std::uint64_t number) {
        Answers answers;
        answers.items.push_back({Code::ok, {number}});
        answer(session, request, std::move(answers), out);
    };
    // The answer was lost, and it is asked for again.
    const auto same = std::find_if(tasks_.begin(), tasks_.end(), [&](const auto& task) {
        return start.nonce != 0 && task.second.row.nonce == start.nonce;
    });
    if (same != tasks_.end()) return begun(same->first);
    if (running_tasks_ >= kRunningTasks)
        return refused(Code::busy, "", "as many tasks run as may (16): wait for one, or stop one", 1000);
    while (tasks_.size() - running_tasks_ >= kTasksRemembered) {
        const auto oldest = std::find_if(tasks_.begin(), tasks_.end(),
                                         [](const auto& task) { return task.second.row.state != TaskState::running; });
        out.batch->erase(Table::tasks, big_endian(oldest->first));
        tasks_.erase(oldest);
    }
    const std::uint64_t number = numbers_.next_task++;
    BulkTask& task = tasks_[number];
    ++running_tasks_;
    task.row.action = start.action;
    task.row.count_only = start.count_only;
    task.row.nonce = start.nonce;
    task.row.job_state = start.state;
    task.row.reason = start.reason;
    task.queue = start.queue;
    task.type = start.type;
    task.error = start.error;
    task.by = start.by;
    std::vector<JobId> only = start.jobs;
    std::sort(only.begin(), only.end());
    for (const JobId job : only) task.only += job_key(job);
    const auto ago = [&](std::uint64_t ms) { return turn.wall - static_cast<std::int64_t>(std::min(ms, kMaxDelayMs)); };
    if (start.older_than_ms != 0) task.row.made_before = ago(start.older_than_ms);
    if (start.newer_than_ms != 0) task.row.made_after = ago(start.newer_than_ms);
    task.row.started_at = turn.wall;
    task.row.end = numbers_.next_job;
    task.row.total = cancel ? jobs_.size() : numbers_.dead_rows;
    write_task(number, task, out);
    begun(number);
}

void Core::on_list_tasks(Session& session, RequestId request, const ListTasks& list, Output& out) {
    std::vector<std::string> maps;
    for (auto at = tasks_.rbegin(); at != tasks_.rend(); ++at) {
        const auto& [number, task] = *at;
        if (list.task != 0 && list.task != number) continue;
        MapWriter map;
        map.uint("task", number);
        map.text("action", to_string(task.row.action));
        map.text("state", to_string(task.row.state));
        map.boolean("count_only", task.row.count_only);
        if (task.row.job_state != JobState::none) map.text("job_state", jobyard::to_string(task.row.job_state));
        if (task.row.reason != Reason::none) map.text("reason", jobyard::to_string(task.row.reason));
        map.text("queue", task.queue);
        map.text("type", task.type);
        map.text("error", task.error);
        map.text("by", task.by);
        map.integer("started_at", task.row.started_at);
        if (task.row.ended_at != 0) map.integer("ended_at", task.row.ended_at);
        map.uint("total", task.row.total);
        map.uint("looked", task.row.looked);
        map.uint("done", task.row.done);
        map.uint("refused", task.row.refused);
        map.append_to(maps.emplace_back());
    }
    if (list.task != 0 && maps.empty())
        return refuse(session.peer, session.id, request, Code::unknown_task,
                      "no task of this number runs, or is remembered", "task", out);
    answer_maps(session, request, {}, maps, out);
}

void Core::on_stop_task(Session& session, RequestId request, const StopTask& stop, Turn turn, Output& out) {
    const auto found = tasks_.find(stop.task);
    Answers answers;
    if (found == tasks_.end()) {
        answers.items.push_back({Code::unknown_task, {stop.task}});
    } else if (found->second.row.state != TaskState::running) {
        answers.items.push_back({Code::ended, {stop.task}});
    } else {
        end_task(found->second, TaskState::stopped, turn);
        write_task(stop.task, found->second, out);
        answers.items.push_back({Code::ok, {stop.task}});
    }
    answer(session, request, std::move(answers), out);
}

void Core::load_task(std::uint64_t number, const TaskRow& row) {
    BulkTask& task = tasks_[number];
    task.row = row;
    task.queue = row.queue;
    task.type = row.type;
    task.error = row.error;
    task.by = row.by;
    task.only = row.only;
    if (row.state == TaskState::running) ++running_tasks_;
}

void Core::write_task(std::uint64_t number, const BulkTask& task, Output& out) {
    TaskRow row = task.row;
    row.queue = task.queue;
    row.type = task.type;
    row.error = task.error;
    row.by = task.by;
    row.only = task.only;
    const Slice key = out.batch->append(big_endian(number));
    out.batch->put(Table::tasks, key, append_row(*out.batch, row));
}

void Core::end_task(BulkTask& task, TaskState state, Turn turn) {
    task.row.state = state;
    task.row.ended_at = turn.wall;
    task.chosen.clear();
    --running_tasks_;
}

// --- steps -----------------------------------------------------------------------------------------------------------

std::int64_t Core::next_bulk_step() const {
    if (running_tasks_ == 0 || window_open_) return INT64_MAX;
    std::int64_t next = INT64_MAX;
    for (const auto& [number, task] : tasks_)
        if (task.row.state == TaskState::running) next = std::min(next, std::max(task.rests_until, next_step_));
    return next;
}

/// The tasks take turns.
std::vector<Need> Core::bulk_needs(Turn turn) {
    if (running_tasks_ == 0 || window_open_) return {};
    const auto ready = [&](const auto& entry) {
        return entry.second.row.state == TaskState::running && entry.second.rests_until <= turn.now;
    };
    auto next = std::find_if(tasks_.upper_bound(last_bulk_), tasks_.end(), ready);
    if (next == tasks_.end()) next = std::find_if(tasks_.begin(), tasks_.end(), ready);
    if (next == tasks_.end()) return {};
    last_bulk_ = next->first;
    const BulkTask& task = next->second;
    std::vector<Need> needs;
    const auto row = [&](Table table, const std::string& key) { needs.push_back({Need::Kind::row, table, key, 1}); };
    if (task.row.action == TaskAction::cancel) {
        row(Table::meta, std::string(kMetaNumbers));  // what it needs is in memory
    } else if (task.chosen.empty()) {
        const std::string after = task.row.cursor == 0 ? std::string() : job_key({task.row.cursor});
        needs.push_back({Need::Kind::after, Table::dead, after, kJobsPerStep});
    } else {
        for (const JobId job : task.chosen)
            for (const Table table : {Table::done, Table::dead, Table::buried, Table::live}) row(table, job_key(job));
    }
    return needs;
}

void Core::bulk_step(const Found& found, Turn turn, Output& out) {
    const auto at = tasks_.find(last_bulk_);
    if (at == tasks_.end() || at->second.row.state != TaskState::running) return;  // stopped meanwhile
    BulkTask& task = at->second;
    if (task.row.action == TaskAction::cancel) cancel_some(task, turn, out);
    else if (task.chosen.empty()) look_at_dead(task, found, turn, out);
    else redrive_chosen(task, found, turn, out);
    write_task(at->first, task, out);
}

/// Whether it is among those that the task is for.
bool Core::names(const BulkTask& task, std::string_view key) {
    if (task.only.empty()) return true;
    std::size_t low = 0;
    for (std::size_t high = task.only.size() / 8; low < high;) {
        const std::size_t middle = (low + high) / 2;
        if (std::string_view(task.only).substr(middle * 8, 8) < key) low = middle + 1;
        else high = middle;
    }
    return std::string_view(task.only).substr(low * 8, 8) == key;
}

bool Core::wants(const BulkTask& task, std::string_view queue, std::string_view type, std::int64_t at) {
    return (task.queue.empty() || task.queue == queue) && (task.type.empty() || task.type == type) &&
           (task.row.made_before == 0 || at <= task.row.made_before) && at >= task.row.made_after;
}

void Core::cancel_some(BulkTask& task, Turn turn, Output& out) {
    std::size_t budget = kLookedPerStep;
    std::size_t acted = 0;
    while (budget > 0 && acted < kJobsPerStep) {
        const JobHandle handle = jobs_.next_from(task.row.cursor, task.row.end, budget);
        if (handle == kNoJob) break;
        const Job& job = jobs_[handle];
        ++task.row.looked;
        const auto& info = ready_.info(job.class_id);
        if ((task.row.job_state != JobState::none && task.row.job_state != job.state) ||
            !wants(task, info.queue_name, info.type_name, job.created_at))
            continue;
        ++task.row.done;
        ++acted;
        if (!task.row.count_only) cancel_job(handle, turn, out);
    }
    if (task.row.cursor >= task.row.end) end_task(task, TaskState::done, turn);
}

void Core::look_at_dead(BulkTask& task, const Found& found, Turn turn, Output& out) {
    bool more = false;
    const std::string after = task.row.cursor == 0 ? std::string() : job_key({task.row.cursor});
    std::uint64_t last = task.row.cursor;
    for (const RowView& row : found.after(Table::dead, after, more)) {
        last = from_big_endian(row.key);
        if (last >= task.row.end) {
            more = false;
            break;
        }
        ++task.row.looked;
        EndRow dead;
        if (!names(task, row.key) || !read_row(row.value, dead) || !wants(task, dead.queue, dead.type, dead.ended_at) ||
            dead.ended_at > task.row.started_at ||
            (task.row.reason != Reason::none && task.row.reason != dead.reason) ||
            (!task.error.empty() && task.error != fingerprint(dead.type, dead.last.error)))
            continue;
        if (task.row.action == TaskAction::redrive && !task.row.count_only) {
            task.chosen.push_back({last});
            continue;
        }
        ++task.row.done;
        if (!task.row.count_only) retire(Table::dead, row, dead, turn, out);
    }
    if (!task.chosen.empty()) {
        task.chosen_up_to = last;
        task.last_page = !more;
        return;
    }
    task.row.cursor = last;
    if (!more) end_task(task, TaskState::done, turn);
}

void Core::redrive_chosen(BulkTask& task, const Found& found, Turn turn, Output& out) {
    std::vector<JobId> left;
    for (const JobId job : task.chosen) {
        const Answer answer = redrive_job(job, found, turn, out);
        const bool has_room_soon = answer.retry_after_ms != 0 && answer.retry_after_ms <= kSoonMs;
        if (answer.code == Code::ok) ++task.row.done;
        else if (has_room_soon) left.push_back(job);
        else ++task.row.refused;  // somebody else was faster, or its record is damaged
    }
    task.chosen = std::move(left);
    if (!task.chosen.empty()) {
        task.rests_until = turn.now + kRestMs;
        return;
    }
    task.row.cursor = task.chosen_up_to;
    if (task.last_page) end_task(task, TaskState::done, turn);
}

}  // namespace jobyard::broker
