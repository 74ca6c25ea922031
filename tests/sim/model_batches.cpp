// What becomes durable, operation by operation.

#include <algorithm>
#include <cmath>

#include "jobyard/assert.hpp"
#include "model.hpp"
#include "model_text.hpp"
#include "record.hpp"

namespace jobyard::sim {

using broker::AttemptRow;
using broker::Batch;
using broker::EndRow;
using broker::Op;
using broker::StateRow;
using broker::Table;

namespace {

/// The broker's pause after so many errors, without jitter.
std::int64_t pause_us(const Backoff& backoff, std::uint32_t errors) {
    const double grown = backoff.initial_ms * std::pow(backoff.factor_percent / 100.0, errors - 1);
    return static_cast<std::int64_t>(std::min<double>(grown, backoff.max_ms) * kMs);
}

}  // namespace

void Model::durable(const Batch& batch) {
    arrays_.begin(batch);
    puts_.clear();
    new_payloads_.clear();
    for (const Op& op : batch.ops())
        if (op.table == Table::live && op.kind == Op::Kind::put) puts_[{broker::from_big_endian(batch.key(op))}] = &op;
    for (const auto& [job, slice] : batch.edits()) new_payloads_[job].emplace(batch.view(slice));
    for (const Op& op : batch.ops()) note(batch, op);
    arrays_.end();
    stream_.end();
}

void Model::note(const Batch& batch, const Op& op) {
    const std::string_view key = batch.key(op);
    const std::string_view value = batch.value(op);
    const bool put = op.kind == Op::Kind::put;
    const bool erased = op.kind == Op::Kind::erase;
    switch (op.table) {
        case Table::meta: return;
        case Table::queues: {
            broker::QueueRow row;
            if (put) JOBYARD_ASSERT(read_row(value, row));
            return queues_.written(key, put ? &row : nullptr);
        }
        case Table::classes:
            if (put) stream_.named(key, value);
            return;
        case Table::events:
            if (put) stream_.written(key, value);
            else if (plan_.limit_events_bytes == 0) broken("P2 events are kept", "one was removed");
            return;
        case Table::keys:
            if (erased) key_freed(key);
            return;
        case Table::tasks:
            if (put) note_task(broker::from_big_endian(key), value);
            return;
        case Table::workers: {
            const std::uint64_t number = broker::from_big_endian(key);
            if (erased) {
                worker_rows_.erase(number);
                return;
            }
            broker::WorkerRow row;
            JOBYARD_ASSERT(read_row(value, row));
            worker_rows_[number] = {row.instance, {std::string(row.name), row.draining}};
            return;
        }
        default: break;
    }
    if (key.size() < 8) return;
    const JobId job{broker::from_big_endian(key)};
    if (op.table == Table::arrays && put) {
        Wish& wish = wish_made(job, batch.view(batch.payload_of(job).value()));
        broker::LiveRow row;
        JOBYARD_ASSERT(read_row(value, row));
        if (!arrays_.is_successor(job)) check_submitted(wish, row);
        arrays_.made(job, wish);
        ++totals_.arrays;
    }
    if (op.table == Table::arrays && erased) array_forgotten(job);
    if (op.table == Table::counts && put) {
        broker::ArrayRow row;
        JOBYARD_ASSERT(read_row(value, row));
        world_.tell("disk", "array ", job.value, " has made ", row.made, " of ", row.count,
                    row.makes ? ", makes more" : "", row.ended_at != 0 ? ", has ended" : "");
    }
    if (op.table == Table::chunks) arrays_.chunk(job, put);
    if (op.table == Table::leftovers && put) arrays_.left(key, value);
    if (op.table == Table::leftovers && erased) {
        const Array* array = arrays_.find(job);
        const auto left = array->jobs.find(broker::from_big_endian(key.substr(8)));
        arrays_.left_no_more(key, left != array->jobs.end() && record(left->second).is_live());
    }
    if (op.table == Table::live && put) {
        broker::LiveRow row;
        JOBYARD_ASSERT(read_row(value, row));
        if (record(job).stage != Record::Stage::absent) {  // from the dead letter queue, and its key is forgotten
            if (!row.key.empty()) broken("P4 a key is forgotten with its time", text(job) + " has it again");
            record(job).key.clear();
            job_redriven(job);
        } else if (!row.array) {
            Wish& wish = wish_made(job, batch.view(batch.payload_of(job).value()));
            check_submitted(wish, row);
            job_made(job, wish, row);
        } else {
            arrays_.made_job(row.array, row.array_index, job);
            const Array& array = *arrays_.find(row.array);
            job_made(job, *array.wish, row);
            Record& known = record(job);
            known.array = row.array;
            known.array_index = row.array_index;
            known.told = true;  // it is in every list
            told_.push_back(job);
            ++totals_.array_jobs;
            if (array.counts.of) {
                known.not_before = 0;
                ++totals_.resubmitted;
            }
        }
    }
    if (op.table == Table::state && put) state_written(job, value);
    if (op.table == Table::dead && put && record(job).stage == Record::Stage::ended) {
        touched_.insert(job);
        return;  // edited: table buried says how
    }
    if ((op.table == Table::done || op.table == Table::dead) && put) job_ended(job, value);
    if (op.table == Table::buried && put) {
        broker::LiveRow row;
        JOBYARD_ASSERT(read_row(value, row));
        edited(job, row);
    }
    if (op.table == Table::dead && op.kind == Op::Kind::move) {
        Record& known = record(job);
        if (known.stage != Record::Stage::ended || known.resubmitted || !known.array)
            broken("P11 what is resubmitted is dead", text(job));
        known.resubmitted = true;
        arrays_.job_left_dead(known.array);
    }
    // What is put into `live` after that is redriven without its key.
    const auto put_after = puts_.find(job);
    const bool is_redriven = put_after != puts_.end() && put_after->second > &op;
    const bool is_buried = op.table == Table::buried && !record(job).resubmitted && !is_redriven;
    if ((op.table == Table::done || is_buried) && erased) job_retired(job);
    if (op.table == Table::buried && op.kind == Op::Kind::move) job_redriven(job);
    if (op.table != Table::attempts || !put) return;
    AttemptRow row;
    JOBYARD_ASSERT(read_row(value, row));
    const Record& known = record(job);
    // A redrive copies the end of the round before among the attempts.
    if (known.is_live() || known.ends.empty() || known.ends.back().token != row.token)
        attempt_ended(job, row, "attempts");
}

/// The wish that has made this job or array. What an array's successor is made of is the same wish.
Wish& Model::wish_made(JobId id, std::string_view payload) {
    const auto found = wishes_.find(std::string(payload.substr(0, payload.find(';'))));
    if (found == wishes_.end() || found->second->payload != payload)
        broken("P1 what is submitted is what is kept", text(id) + " has a payload that nobody submitted");
    Wish& wish = *found->second;
    if (wish.job && arrays_.is_successor(id)) return wish;
    if (wish.job) broken("P4 one job a submit", wish.name + " made " + text(wish.job) + " and " + text(id));
    if (wish.refused) broken("P4 a refused submit makes no job", wish.name + " was refused and made " + text(id));
    if (!wish.key.empty() && !keys_.emplace(wish.queue + "/" + wish.key, id).second)
        broken("P4 one job a key", "key " + wish.key + " of queue " + wish.queue + " made a second job: " + text(id));
    wish.job = id;
    return wish;
}

/// Whether what was written is what was submitted. What that left open is as set for the queue and the type.
void Model::check_submitted(const Wish& wish, const broker::LiveRow& row) const {
    const SubmitItem& item = wish.item;
    const RetryPolicy policy = queues_.policy_of(item);
    Backoff backoff;
    backoff.initial_ms = policy.backoff.initial_ms.value_or(backoff.initial_ms);
    backoff.factor_percent = policy.backoff.factor_percent.value_or(backoff.factor_percent);
    backoff.max_ms = policy.backoff.max_ms.value_or(backoff.max_ms);
    backoff.jitter_percent = policy.backoff.jitter_percent.value_or(backoff.jitter_percent);
    if (row.queue != item.queue || row.type != item.type || row.priority != item.priority || row.key != item.key ||
        row.held != item.held || row.deadline_ms != item.deadline_ms || row.queue_timeout_ms != item.queue_timeout_ms ||
        row.key_ttl_ms != item.key_ttl_ms || (item.run_at == 0 && row.delay_ms != item.delay_ms))
        broken("P1 what is submitted is what is kept", wish.name + " was written otherwise");
    if (row.max_attempts != policy.max_attempts.value_or(kDefaultMaxAttempts) ||
        row.timeout_ms != policy.timeout_ms.value_or(kDefaultTimeoutMs) || row.backoff != backoff)
        broken("P6 a job is tried as it, its type or its queue says",
               wish.name + " is to be tried in another way: max_attempts=" + std::to_string(row.max_attempts) +
                   " timeout_ms=" + std::to_string(row.timeout_ms));
}

void Model::job_made(JobId job, Wish& wish, const broker::LiveRow& row) {
    Record& known = record(job);
    if (known.stage != Record::Stage::absent) broken("P1 a job number is issued once", text(job) + " was made twice");
    known.wish = &wish;
    known.stage = Record::Stage::live;
    known.is.queue = row.queue;
    known.is.type = row.type;
    known.is.priority = row.priority;
    known.is.held = row.held;
    known.is.max_attempts = row.max_attempts;
    known.is.timeout_ms = row.timeout_ms;
    known.is.backoff = row.backoff;
    known.was.push_back(known.is);
    known.deadline_ms = row.deadline_ms;
    known.queue_timeout_ms = row.queue_timeout_ms;
    known.key = row.key;
    known.round_at = wish.wished_at;
    known.begun_by = world_.now();
    known.not_before = wish.wished_at + static_cast<std::int64_t>(wish.item.delay_ms) * kMs;
    known.due_at = row.delay_ms == 0 ? 0 : row.created_at + static_cast<std::int64_t>(row.delay_ms);
    known.waits_as = row.delay_ms != 0 || row.held ? JobState::scheduled : JobState::none;
    touched_.insert(job);
    world_.tell("disk", job, " is submitted: ", wish.name);
    stream_.happened(EventKind::submitted, job);
    ++totals_.submitted;
    ++unended_;
}

/// The rows of a dead job were written anew.
void Model::edited(JobId job, const broker::LiveRow& row) {
    Record& known = record(job);
    if (known.stage != Record::Stage::ended || known.ends.back().state != JobState::dead || known.resubmitted)
        broken("P2 only the dead are edited", text(job));
    const Settings before = known.is;
    known.is.queue = row.queue;
    known.is.type = row.type;
    known.is.priority = row.priority;
    known.is.max_attempts = row.max_attempts;
    known.is.timeout_ms = row.timeout_ms;
    known.is.backoff = row.backoff;
    const std::string& payload = before.payload.empty() ? known.wish->payload : before.payload;
    const std::set<std::string>& new_ones = new_payloads_[job];  // of this batch: one, nearly always
    const auto asked = std::find_if(known.edits_asked.begin(), known.edits_asked.end(), [&](const EditAsked& wanted) {
        const Edit& edit = wanted.edit;
        return row.queue == (edit.queue.empty() ? std::string_view(before.queue) : edit.queue) &&
               row.type == (edit.type.empty() ? std::string_view(before.type) : edit.type) &&
               row.priority == (edit.priority == 0 ? before.priority : edit.priority) &&
               row.max_attempts == edit.retry.max_attempts.value_or(before.max_attempts) &&
               row.timeout_ms == edit.retry.timeout_ms.value_or(before.timeout_ms) &&
               row.payload_size == (edit.new_payload ? wanted.payload : payload).size() &&
               (!edit.new_payload || new_ones.contains(wanted.payload));
    });
    if (asked == known.edits_asked.end())
        broken("P2 what is edited is what was asked for", text(job) + " was written in a way nobody asked for");
    if (asked->edit.new_payload) known.is.payload = asked->payload;
    known.was.push_back(known.is);
    world_.tell("disk", job, " is edited");
    ++totals_.edited;
}

void Model::note_task(std::uint64_t number, std::string_view bytes) {
    broker::TaskRow row;
    JOBYARD_ASSERT(read_row(bytes, row));
    broker::TaskState& state = tasks_.try_emplace(number, broker::TaskState::running).first->second;
    if (state != broker::TaskState::running)
        broken("P2 a task ends once", "task " + std::to_string(number) + " was written after its end");
    state = row.state;
    if (state != broker::TaskState::done) return;
    ++totals_.tasks_done;
    task_ended(number, row);
}

/// A task has seen all that was there when it began.
void Model::task_ended(std::uint64_t number, const broker::TaskRow& row) const {
    if (row.action != TaskAction::cancel || row.count_only || row.job_state != JobState::none || row.made_before != 0 ||
        row.made_after != 0 || plan_.changes != 0 || plan_.edits != 0)
        return;
    for (const auto& [job, known] : jobs_)
        if (job.value < row.end && known.is_live() && known.ends.empty() && !known.cancel_requested &&
            (row.queue.empty() || row.queue == known.is.queue) && (row.type.empty() || row.type == known.is.type))
            broken("P2 a task does all that it is for",
                   "task " + std::to_string(number) + " is done and " + text(job) + " is not cancelled");
}

/// A key names something as long as it was asked to, and no longer.
void Model::key_freed(std::string_view row_key) {
    std::string key(row_key);
    std::replace(key.begin(), key.end(), '\0', '/');
    const auto holder = keys_.find(key);
    if (holder == keys_.end()) return;
    const JobId job = holder->second;
    Record& known = record(job);
    Wish& wish = *known.wish;
    const auto ttl = static_cast<std::int64_t>(wish.item.key_ttl_ms);
    if (known.is_live() && !known.key.empty())  // a redrive in time takes it along
        broken("P4 one job a key", "the key of " + text(job) + " is free, and the job has not ended");
    const std::int64_t wall = wall_offset_ms_ + world_.now_ms();
    if (plan_.clock_jump == 0 && !known.key.empty() && wall < known.ended_at_ms + ttl)
        broken("P4 a key is kept as long as it was asked to", "that of " + text(job) + " is free too early");
    ++totals_.keys_freed;
    freed_keys_.insert(key);
    keys_.erase(holder);
    wish.job = {};
}

/// Its key may name something else from now on.
void Model::array_forgotten(JobId id) {
    if (!retention_) broken("P2 what has ended is kept until retention retires it", text(id) + " was forgotten");
    arrays_.forgotten(id);
    ++totals_.arrays_forgotten;
    Wish& wish = *arrays_.find(id)->wish;
    const auto key = keys_.find(wish.queue + "/" + wish.key);
    if (wish.key.empty() || key == keys_.end() || key->second != id) return;
    freed_keys_.insert(key->first);
    keys_.erase(key);
    wish.job = {};
}

/// `expired`: the job's time was over, which is charged to nobody.
void Model::attempt_ended(JobId job, const AttemptRow& row, const char* table, bool expired) {
    Record& known = record(job);
    touched_.insert(job);
    if (known.leased == row.token) known.leased = {};
    const std::string what = text(job, row.token) + " (" + to_string(row.outcome) + ", table " + table + ")";
    if (!known.is_live()) broken("P2 every job ends once per round", what + " ended after its job had ended");
    const auto sent = executions_.find(row.token);
    if (sent == executions_.end() || sent->second.job != job) {
        const bool of_handler =
            row.outcome == Outcome::completed || row.outcome == Outcome::failed || row.outcome == Outcome::timeout;
        if (of_handler && !expired)
            broken("P3 a result is accepted only with the live token", what + " was never sent to anybody");
        ended_unsent_[row.token] = row.outcome;
    } else {
        Execution& execution = sent->second;
        if (execution.recorded) broken("P3 exactly-once recorded completion", what + " was recorded twice");
        execution.recorded = true;
        execution.outcome = row.outcome;
        if (!expired) check_cause(job, row, execution);
    }
    if (known.newest_sent > row.token)
        broken("P3 a token is void once a newer one was sent",
               what + " was recorded after " + text(known.newest_sent) + " had been sent");
    if (expired) return;
    // A handler that gives up on its own is charged like one that failed.
    const bool own_error = row.outcome == Outcome::failed || row.outcome == Outcome::timeout ||
                           (row.outcome == Outcome::cancelled && !known.cancel_requested);
    const bool ends_the_job = std::string_view(table) == "ended";
    coverage_.outcome(row.outcome);
    if (own_error) {
        ++known.errors;
        std::int64_t since = world_.now();
        if (sent != executions_.end())
            since = row.outcome == Outcome::timeout ? sent->second.began_at : sent->second.ended_at;
        known.not_before = since + pause_us(known.is.backoff, known.errors);
    }
    if (row.outcome == Outcome::released && sent != executions_.end() && row.error == "handed back by its worker")
        known.not_before = sent->second.not_before;
    if (row.outcome == Outcome::worker_lost || row.outcome == Outcome::lease_expired) ++known.crashes;
    if (ends_the_job) return;
    world_.tell("disk", job, " has lost an attempt: ", to_string(row.outcome));
    if (row.outcome != Outcome::released) ++known.attempts;
    if (row.attempt != known.attempts + (row.outcome == Outcome::released ? 1 : 0))
        broken("P6 attempts are charged to the right budget",
               what + " has number " + std::to_string(row.attempt) + " after " + std::to_string(known.attempts));
    known.waits_as = own_error                          ? JobState::retrying
                     : row.outcome == Outcome::released ? JobState::scheduled
                                                        : JobState::none;
    stream_.happened(own_error                          ? EventKind::failed
                     : row.outcome == Outcome::released ? EventKind::released
                                                        : EventKind::worker_lost,
                     job);
}

/// Whether what was recorded is what happened.
void Model::check_cause(JobId job, const AttemptRow& row, const Execution& execution) const {
    const std::string what = text(job, row.token) + " of " + execution.worker;
    const bool finished = execution.ended_at >= 0 && execution.outcome_of_handler != Outcome::none;
    const std::int64_t timeout_us = std::int64_t{jobs_.at(job).is.timeout_ms} * kMs;
    switch (row.outcome) {
        case Outcome::completed:
            if (!finished || !execution.succeeded())
                broken("P3 a result is what a handler gave", what + " is completed without a success");
            break;
        case Outcome::failed:
            if (!finished || execution.outcome_of_handler != Outcome::failed)
                broken("P6 attempts are charged to the right budget",
                       what + " is charged with an error it did not make");
            break;
        case Outcome::timeout:
            if (execution.began_at < 0 || timeout_us == 0 || world_.now() - execution.began_at < timeout_us - kRounding)
                broken("P6 attempts are charged to the right budget", what + " timed out before its time");
            break;
        case Outcome::cancelled:
            if (!cancel_was_asked(job, jobs_.at(job)))
                broken("P2 every job ends once per round", what + " was cancelled by nobody");
            break;
        case Outcome::worker_lost:
        case Outcome::lease_expired: {
            const auto disturbed = disturbed_until_.find(execution.worker);
            const std::int64_t until =
                std::max(broker_disturbed_until_, disturbed == disturbed_until_.end() ? 0 : disturbed->second);
            const std::int64_t patience =
                (std::int64_t{plan_.timing().lease_ms} + plan_.timing().lost_after_ms) * kMs + 10 * kSecond;
            if (by_broker(world_.now()) - until > patience)
                broken("P6 a worker that nothing happened to is not lost",
                       what + " is charged with a " + to_string(row.outcome));
            break;
        }
        case Outcome::released:
        case Outcome::none: break;
    }
}

void Model::job_ended(JobId job, std::string_view bytes) {
    EndRow row;
    JOBYARD_ASSERT(read_row(bytes, row));
    Record& known = record(job);
    if (!known.is_live())
        broken("P2 every job ends exactly once per round",
               text(job) + " ended a second time, as " + to_string(row.state));
    const bool expired = row.reason == Reason::expired;
    if (row.last.outcome != Outcome::none) attempt_ended(job, row.last, "ended", expired);
    if (row.errors != known.errors || row.crashes != known.crashes)
        broken("P6 attempts are charged to the right budget",
               text(job) + " ended with errors=" + std::to_string(row.errors) +
                   " crashes=" + std::to_string(row.crashes) + "; there were " + std::to_string(known.errors) +
                   " and " + std::to_string(known.crashes));
    const bool last_was_retryable =
        row.last.token && executions_.contains(row.last.token) && executions_.at(row.last.token).retryable;
    bool right = false;
    switch (row.state) {
        case JobState::completed: right = row.last.outcome == Outcome::completed; break;
        case JobState::cancelled: right = cancel_was_asked(job, known) && row.last.outcome != Outcome::completed; break;
        case JobState::dead:
            if (row.reason == Reason::crash_loop) right = known.crashes == kCrashBudget;
            if (row.reason == Reason::failed) right = known.errors >= known.is.max_attempts;
            if (row.reason == Reason::not_retryable) right = !last_was_retryable;
            if (expired) right = has_expired(known);
            break;
        default: break;
    }
    if (!right)
        broken("P2 a job ends for a reason", text(job) + " ended as " + to_string(row.state) + " (" +
                                                 to_string(row.reason) + ") after " + to_string(row.last.outcome));
    if (row.queue != known.is.queue || row.type != known.is.type || row.priority != known.is.priority)
        broken("P1 acknowledged means durable", text(job) + " ended with another queue, type or priority");
    known.stage = Record::Stage::ended;
    known.changed_at = world_.now();
    known.ended_at_ms = row.ended_at;
    known.attempts = row.last.attempt;
    known.cancel_requested = false;
    // What is leased now is a grant of the next round: this end has taken its own lease above. A redrive and a grant
    // may be decided before the batch that has both is durable; only the DISPATCH waits for that.
    touched_.insert(job);
    stream_.happened(row.state == JobState::completed ? EventKind::completed
                     : row.state == JobState::dead    ? EventKind::dead
                                                      : EventKind::cancelled,
                     job);
    coverage_.reason(row.reason);
    if (expired) ++totals_.expired;
    world_.tell("disk", job, " has ended: ", to_string(row.state), row.reason == Reason::none ? "" : ", ",
                row.reason == Reason::none ? "" : to_string(row.reason));
    known.ends.push_back({row.state, row.reason, row.last.token, row.result_size});
    if (known.array) arrays_.job_ended(known.array, row.state);
    --unended_;
    (row.state == JobState::completed ? totals_.completed
     : row.state == JobState::dead    ? totals_.dead
                                      : totals_.cancelled) += 1;
}

/// A round is over for want of time. The broker's clock stands still while it does, and is set by the wall at a start.
bool Model::has_expired(const Record& known) const {
    if (known.deadline_ms == 0 && known.queue_timeout_ms == 0) return false;
    if (plan_.clock_jump != 0) return true;
    const auto is_over = [&](std::uint64_t limit_ms, std::int64_t from) {
        return limit_ms != 0 && world_.now() - from + kRounding >= static_cast<std::int64_t>(limit_ms) * kMs;
    };
    return is_over(known.deadline_ms, known.round_at) ||
           is_over(known.queue_timeout_ms, std::max(known.round_at, known.not_before));
}

void Model::state_written(JobId job, std::string_view bytes) {
    StateRow row;
    JOBYARD_ASSERT(read_row(bytes, row));
    Record& known = record(job);
    if (!known.is_live()) return;  // of a batch in which it ends as well
    touched_.insert(job);
    if (row.errors != known.errors || row.crashes != known.crashes || row.attempts != known.attempts)
        broken("P6 attempts are charged to the right budget",
               text(job) + " was written with errors=" + std::to_string(row.errors) +
                   " crashes=" + std::to_string(row.crashes) + " attempts=" + std::to_string(row.attempts) +
                   "; there were " + std::to_string(known.errors) + ", " + std::to_string(known.crashes) + " and " +
                   std::to_string(known.attempts));
    if (row.cancel_requested && !known.cancel_requested) {
        if (!cancel_was_asked(job, known)) broken("P2 a job is cancelled by who asked for it", text(job));
        known.cancel_requested = true;
    }
    Settings now = known.is;
    if (row.priority != 0) now.priority = row.priority;
    if (!row.queue.empty()) now.queue = row.queue;
    now.held = row.held;
    const auto asked_for = [&](auto&& says) {
        return std::any_of(known.changes_asked.begin(), known.changes_asked.end(), says);
    };
    if ((now.priority != known.is.priority &&
         !asked_for([&](const Change& change) { return change.priority == now.priority; })) ||
        (now.queue != known.is.queue && !asked_for([&](const Change& change) { return change.queue == now.queue; })) ||
        (now.held != known.is.held && !asked_for([&](const Change& change) { return change.held == now.held; })))
        broken("P2 what is changed is what was asked for", text(job) + " was written in a way nobody asked for");
    // What is held waits as it did, or if it was queued, as if for a delay.
    if (now.held && (known.errors == 0 || row.scheduled)) known.waits_as = JobState::scheduled;
    if (row.due_at != 0 && known.waits_as == JobState::none) known.waits_as = JobState::scheduled;
    known.is = now;
    known.was.push_back(now);
    known.due_at = row.due_at;
    if (row.due_at == 0 || row.scheduled || known.errors == 0 || plan_.clock_jump != 0) return;
    // The pause after an error: what was asked for, and some more by chance.
    const std::int64_t least_us = pause_us(known.is.backoff, known.errors);
    const std::int64_t least = least_us / kMs;
    const std::int64_t most = least_us * (100 + known.is.backoff.jitter_percent) / 100 / kMs + 1;
    const auto pause = static_cast<std::int64_t>(row.pause_ms);
    if (pause > most || (pause < least - 1 && known.changes_asked.empty()))
        broken("P2 delays and pauses are kept", text(job) + " rests for " + std::to_string(pause) + " ms, not for " +
                                                    std::to_string(least) + " to " + std::to_string(most));
}

void Model::job_redriven(JobId job) {
    Record& known = record(job);
    const bool asked = known.redrive_asked || is_in_task(TaskAction::redrive, job, known);
    if (known.stage != Record::Stage::ended || known.ends.back().state != JobState::dead || !asked || known.resubmitted)
        broken("P2 only the dead are redriven, by who asked for it", text(job));
    known.stage = Record::Stage::live;
    known.errors = known.crashes = 0;
    known.not_before = known.due_at = 0;
    known.is.held = false;
    known.waits_as = JobState::none;
    world_.tell("disk", job, " is redriven");
    known.round_at = (known.ended_at_ms - wall_offset_ms_) * kMs;
    known.changed_at = world_.now();
    known.begun_by = world_.now();
    touched_.insert(job);
    stream_.happened(EventKind::redriven, job);
    candidates_.push_back(job);
    if (known.array) arrays_.job_redriven(known.array);
    ++totals_.redriven;
    ++unended_;
}

void Model::job_retired(JobId job) {
    Record& known = record(job);
    const bool is_dead = !known.ends.empty() && known.ends.back().state == JobState::dead;
    if (!retention_ && !(is_dead && is_in_task(TaskAction::purge, job, known)))
        broken("P2 ended jobs are kept until retention retires them", text(job) + " was retired");
    if (known.stage != Record::Stage::ended) broken("P2 unended jobs are never retired", text(job));
    known.stage = Record::Stage::retired;
    stream_.happened(EventKind::retired, job);
    world_.tell("disk", job, " is retired");
    if (known.array && is_dead && !known.resubmitted) arrays_.job_left_dead(known.array);
    ++totals_.retired;
}

}  // namespace jobyard::sim
