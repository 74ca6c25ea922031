// Steering jobs that are there: cancel, redrive, change.

#include <algorithm>

#include "core.hpp"
#include "simulated.hpp"

namespace jobyard::broker {
namespace {

constexpr std::uint32_t kRoomSoonMs = 1000;  // room that comes as jobs end

}  // namespace

void Core::on_cancel(Session& session, RequestId request, const Cancel& cancel, const Found& found, Turn turn,
                     Output& out) {
    Answers answers;
    for (const JobId id : cancel.jobs) {
        if (const auto refusal = may_not(session, id, found, Scope::act)) {
            answers.items.push_back(*refusal);
            continue;
        }
        const JobHandle handle = jobs_.find(id);
        if (handle != kNoJob) {
            answers.items.push_back(cancel_job(handle, turn, out));
            continue;
        }
        if (arrays_.contains(id)) {
            answers.items.push_back(cancel_array(id, turn));
            continue;
        }
        EndRow row;
        const bool by_this_message = std::any_of(answers.items.begin(), answers.items.end(), [&](const Answer& answer) {
            return answer.job == id && answer.code == Code::ok;
        });
        if (by_this_message) answers.items.push_back({Code::ended, id, JobState::cancelled});
        else if (find_ended(found, id, row)) answers.items.push_back({Code::ended, id, row.state});
        else answers.items.push_back({code_of_absent(id), id});
    }
    answer(session, request, std::move(answers), out);
}

Answer Core::cancel_job(JobHandle handle, Turn turn, Output& out) {
    Job& job = jobs_[handle];
    const JobId id = job.id;
    if (!job.leased()) {
        end_job(handle, JobState::cancelled, Reason::none, {}, {}, turn, out);
        return {Code::ok, id, JobState::cancelled};
    }
    if (!job.cancel_requested) {
        job.cancel_requested = true;
        // While it is leased the token is live, not a floor: after a restart its worker may still claim it.
        write_state(handle, turn, out);
        record(EventKind::cancel_requested, id, job.class_id, worker_name(job));
        queue_stop(*sessions_.at(job.worker), job, StopReason::cancel, out);
    }
    return {Code::cancel_requested, id, job.state};
}

void Core::on_redrive(Session& session, RequestId request, const Redrive& redrive, const Found& found, Turn turn,
                      Output& out) {
    Answers answers;
    for (const JobId id : redrive.jobs) {
        const auto refusal = may_not(session, id, found, Scope::act);
        answers.items.push_back(refusal ? *refusal : redrive_job(id, found, turn, out));
    }
    answer(session, request, std::move(answers), out);
}

std::optional<Answer> Core::read_dead(JobId id, const char* of_array, const Found& found, EndRow& dead,
                                      LiveRow& submitted) const {
    if (const Job* live = job(id)) return Answer{Code::not_dead, id, live->state};
    if (const auto array = arrays_.find(id); array != arrays_.end())
        return Answer{Code::not_dead, id, state_of(array->second), of_array};
    const std::string key = job_key(id);
    const auto dead_bytes = found.get(Table::dead, key);
    const auto buried_bytes = found.get(Table::buried, key);
    if (!dead_bytes || !buried_bytes) {
        const bool ended = find_ended(found, id, dead);
        return Answer{ended ? Code::not_dead : code_of_absent(id), id, ended ? dead.state : JobState::none};
    }
    if (!read_row(*dead_bytes, dead) || !read_row(*buried_bytes, submitted) ||
        (submitted.array && !arrays_.contains(submitted.array)))
        return Answer{Code::not_dead, id, JobState::dead, "its record is damaged"};
    return std::nullopt;
}

Answer Core::redrive_job(JobId id, const Found& found, Turn turn, Output& out) {
    EndRow dead;
    LiveRow live;
    if (const auto refusal = read_dead(id, "it is an array, which is resubmitted", found, dead, live)) return *refusal;
    if (free_disk_ < config_.limits.submit_free_bytes) {
        return {Code::disk_full, id, JobState::dead, "the broker's disk is nearly full", {}, 5000};
    }
    // It lives again, so it needs what a new job needs, except for a rate.
    const Array* const array = live.array ? &arrays_.at(live.array) : nullptr;
    std::uint64_t bytes = live.payload_size;
    if (array != nullptr) bytes = array->row.ended_at == 0 ? 0 : array->job.payload_size;  // it lives again, with this
    if (jobs_.size() >= config_.limits.jobs) {
        return {Code::busy, id,         JobState::dead, "the broker holds as many unended jobs as it may (limit jobs)",
                {},         kRoomSoonMs};
    }
    if (bytes != 0 && counters_.payload_bytes + bytes > config_.limits.payload_total_bytes) {
        return {Code::busy,
                id,
                JobState::dead,
                "the unended jobs' payloads are as large as they may be (limit payload_total_bytes)",
                {},
                kRoomSoonMs};
    }
    if (queue_is_full(dead.queue)) {
        return {Code::queue_full, id, JobState::dead, "this queue holds as many jobs as it may", {}, kRoomSoonMs};
    }
    if (auto over =
            over_quota(owner_of(live.owner), array != nullptr ? array->queue : dead.queue, bytes, false, turn)) {
        over->job = id;
        over->state = JobState::dead;
        return *over;
    }
    if (!has_room_for(dead.queue, live.type)) {
        return {Code::busy, id,    JobState::dead, "there are as many queues as there may be (limits queues, classes)",
                {},         60'000};
    }
    Batch& batch = *out.batch;
    // Forgotten a day after the job ended: it may name another job by now.
    const bool key_forgotten = !live.key.empty() && key_is_over(dead.ended_at, live.key_ttl_ms, turn);
    if (key_forgotten) live.key = {};
    LiveRow as_it_was = live;
    as_it_was.queue = dead.queue;
    as_it_was.priority = dead.priority;
    as_it_was.held = false;
    as_it_was.delay_ms = 0;
    const JobHandle handle = add_job(id, as_it_was);
    Job& job = jobs_[handle];
    job.changed = live.queue != dead.queue || live.priority != dead.priority;
    count_expiry(handle, as_it_was, turn.wall, turn.wall, turn);
    job.order = numbers_.next_job;  // behind all that are here now
    job.attempts = static_cast<std::uint16_t>(dead.last.attempt);
    job.token = {dead.last.token.value + 1};
    if (dead.last.outcome != Outcome::none) {
        const Slice attempt_key = batch.append(job_part_key(id, dead.last.attempt));
        batch.put(Table::attempts, attempt_key, append_row(batch, dead.last));
    }
    for (std::uint32_t n = 0; n < dead.result_chunks; ++n) batch.erase(Table::results, job_part_key(id, n));
    const std::string key = job_key(id);
    batch.erase(Table::dead, key);
    if (key_forgotten) {
        batch.erase(Table::buried, key);
        const Slice live_key = batch.append(key);
        batch.put(Table::live, live_key, append_row(batch, live));
    } else if (planted(PlantedBug::dead_job_lost_on_redrive)) {
        batch.erase(Table::buried, key);
    } else {
        batch.move(Table::buried, Table::live, key);
    }
    if (job.has_key) {
        const Key& named = keys_.at(id);
        const Slice name_key = batch.append(named.row_key);
        batch.put(Table::keys, name_key, append_row(batch, KeyRow{id, named.content, JobState::none}));
        batch.erase(Table::key_ends, key_end(dead.ended_at, named.ttl_ms) + key);
    }
    --numbers_.dead_rows;
    if (live.array) redriven_in_array({live.array, live.array_index}, out);
    enqueue(handle);
    write_state(handle, turn, out);
    record(EventKind::redriven, id, job.class_id);
    return {Code::ok, id, JobState::queued};
}

// --- changing what waits -----------------------------------------------------------------------------------------

void Core::on_change(Session& session, RequestId request, const Change& change, const Found& found, Turn turn,
                     Output& out) {
    const auto bad = [&](const char* field, const char* text) {
        refuse(session.peer, session.id, request, Code::bad_field, text, field, out);
    };
    if (change.priority == 0 && change.queue.empty() && !change.held)
        return bad("priority", "say what is to change: priority, queue or held");
    if (change.priority > kPriorityMax) return bad("priority", "a priority is 1 (last) to 10 (first)");
    if (!change.queue.empty() && !is_name(change.queue))
        return bad("queue", "1 to 255 bytes of UTF-8 without control characters");
    Answers answers;
    for (const JobId id : change.jobs) {
        auto refusal = may_not(session, id, found, Scope::act);
        if (!refusal) refusal = refusal_of(change, id, found);
        if (refusal) {
            answers.items.push_back(*refusal);
            continue;
        }
        const JobHandle handle = jobs_.find(id);
        apply(change, handle, turn, out);
        answers.items.push_back({Code::ok, id, jobs_[handle].state});
    }
    answer(session, request, std::move(answers), out);
}

std::optional<Answer> Core::refusal_of(const Change& change, JobId id, const Found& found) const {
    const Job* job = this->job(id);
    if (job == nullptr) {
        EndRow row;
        if (const auto array = arrays_.find(id); array != arrays_.end())
            return Answer{
                Code::not_waiting, id, state_of(array->second), "it is an array; its jobs can be changed", {}, 0};
        if (find_ended(found, id, row)) return Answer{Code::ended, id, row.state};
        return Answer{code_of_absent(id), id};
    }
    if (job->leased())
        return Answer{Code::not_waiting, id, job->state, "it runs: only what waits can be changed", {}, 0};
    const auto& info = ready_.info(job->class_id);
    if (change.queue.empty() || change.queue == info.queue_name) return std::nullopt;
    if (job->has_key)
        return Answer{Code::bad_field, id, job->state, "a job with a key stays in the queue of its key", "queue", 0};
    const auto queue = ready_.find_queue(change.queue);
    if (queue && queue_is_full(*queue))
        return Answer{
            Code::queue_full, id, job->state, "this queue holds as many jobs as it may (limit queue_jobs)", {},
            kRoomSoonMs};
    if (!job->in_array && queue_has_no_room_for(change.queue, job->payload_size))
        return Answer{Code::over_quota, id, job->state, kQueueIsTooLarge, {}, kRoomSoonMs};
    if ((!queue && ready_.queues() >= config_.limits.queues) ||
        (!ready_.find_class(change.queue, info.type_name) && ready_.classes() >= config_.limits.classes))
        return Answer{Code::busy, id,
                      job->state, "there are as many queues as there may be (limits queues, classes)",
                      {},         60'000};
    return std::nullopt;
}

/// It keeps its age: among jobs of its new priority, or queue, it stands where it would have stood.
void Core::apply(const Change& change, JobHandle handle, Turn turn, Output& out) {
    Job& job = jobs_[handle];
    const JobState waited = job.state;
    if (waited == JobState::queued) ready_.remove(handle);
    set_state(job, JobState::none);
    if (change.priority != 0 && change.priority != job.priority) {
        job.priority = change.priority;
        job.changed = true;
    }
    const auto& info = ready_.info(job.class_id);
    if (!change.queue.empty() && change.queue != info.queue_name) {
        --queue_counts_[info.queue].unended;
        if (!job.in_array) count_payload(job.owner, info.queue, job.payload_size, false);
        job.class_id = ready_.class_of(change.queue, info.type_name);
        count_new_queues();
        const QueueId now = ready_.info(job.class_id).queue;
        ++queue_counts_[now].unended;
        if (!job.in_array) count_payload(job.owner, now, job.payload_size, true);
        job.changed = true;
    }
    // A wall clock that was set back meanwhile must not make a pause longer than it was meant to be. By one millisecond
    // the two clocks may differ, because each is cut to milliseconds; who took that for a step would make the pause
    // shorter with each change.
    const std::int64_t meant = turn.wall + (job.hard_end - turn.now);
    if (job.granted_at != 0 && job.granted_at > meant + 1) job.granted_at = meant;
    const bool let_go = job.held && change.held == false;
    if (change.held) job.held = *change.held;
    if (let_go && job.expires) {
        Expiry& expiry = expiries_.at(handle);
        if (expiry.queue_timeout_ms != 0 && expiry.ready_at >= 0) {
            const std::int64_t wait = std::max<std::int64_t>(job.granted_at - turn.wall, 0);  // its delay's rest
            expiry.ready_at = turn.wall + wait;
            expiry.start_by = turn.now + wait + static_cast<std::int64_t>(expiry.queue_timeout_ms);
        }
    }
    wait_or_enqueue(handle, waited == JobState::queued ? JobState::scheduled : waited, turn);
    write_state(handle, turn, out);
    record(EventKind::changed, job.id, job.class_id);
}

}  // namespace jobyard::broker
