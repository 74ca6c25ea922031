// Work: grants, leases, and the ways an attempt ends.

#include <algorithm>
#include <cmath>

#include "core.hpp"
#include "jobyard/assert.hpp"
#include "simulated.hpp"

namespace jobyard::broker {
namespace {

// One DISPATCH: the header must stay below 64 KiB; an item takes at most this much beside its names.
constexpr std::size_t kDispatchItemBytes = 84;
constexpr std::uint8_t kArrayMinor = 1;  // from here on DISPATCH tells the array and the index

std::string_view cut(std::string_view text, std::size_t most) {
    if (text.size() <= most) return text;
    while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0U) == 0x80) --most;  // not inside a character
    return text.substr(0, most);
}

std::string_view clean(std::string_view text, std::size_t most) {
    // New lines and tabs are welcome here; bytes that are no UTF-8 are not, because readers take this for text.
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = text.find_first_of("\n\r\t", at);
        if (!is_clean_text(text.substr(at, end - at))) return "(not UTF-8 text)";
        if (end == std::string_view::npos) break;
        at = end + 1;
    }
    return cut(text, most);
}

}  // namespace

// --- what a worker says ----------------------------------------------------------------------------------------------

JobHandle Core::held(const Session& session, JobId id, LeaseToken token) const {
    const JobHandle handle = jobs_.find(id);
    if (handle == kNoJob) return kNoJob;
    const Job& job = jobs_[handle];
    const bool is_live = job.token == token || planted(PlantedBug::stale_end_accepted);
    return job.leased() && job.worker == session.index && is_live ? handle : kNoJob;
}

void Core::on_started(Session& session, const Started& started, Turn turn) {
    for (const Lease& lease : started.items) {
        const JobHandle handle = held(session, lease.job, lease.token);
        if (handle == kNoJob || jobs_[handle].state == JobState::running) continue;
        Job& job = jobs_[handle];
        set_state(job, JobState::running);
        job.granted_at = turn.wall;
        // The worker ends an attempt at its timeout; a worker that only goes on renewing is not believed for ever.
        if (job.timeout_ms != 0) job.hard_end = turn.now + job.timeout_ms + config_.timing.lease_ms;
    }
}

void Core::on_renew(Session& session, RequestId request, const Renew& renew, Turn turn, Output& out) {
    Answers answers;
    answers.items.reserve(renew.items.size());
    for (const RenewItem& item : renew.items) {
        const JobHandle handle = held(session, item.job, item.token);
        if (handle == kNoJob) {
            answers.items.push_back({Code::stale_lease, item.job});
            continue;
        }
        Job& job = jobs_[handle];
        const std::int64_t until = turn.now + config_.timing.lease_ms;
        arm(handle, job.hard_end == 0 ? until : std::min(until, job.hard_end));
        if (item.progress != 0 || !item.text.empty()) {
            const double share = std::isfinite(item.progress) ? std::clamp(item.progress, 0.0, 1.0) : 0.0;
            progress_[handle] = {share, std::string(clean(item.text, kMaxProgressTextBytes))};
            job.has_progress = true;
        }
        answers.items.push_back({job.cancel_requested ? Code::cancel_requested : Code::ok, item.job, job.state});
    }
    answer(session, request, std::move(answers), out);
}

void Core::on_ends(Session& session, RequestId request, const Message& message, std::string_view payload,
                   const Found* found, Settled& settled, Turn turn, Output& out) {
    std::size_t at = 0;
    std::size_t index = 0;
    const auto each = [&](const auto& items, auto&& payload_size, auto&& end) {
        settled.resize(items.size());
        for (const auto& item : items) {
            const std::string_view result = payload.substr(at, payload_size(item));
            at += result.size();
            std::optional<Answer>& answer = settled[index++];
            if (answer) continue;
            const JobHandle handle = held(session, item.job, item.token);
            Attempted attempted = end(item);
            attempted.result = result;
            const bool too_large = result.size() > config_.limits.result_bytes;
            if (handle == kNoJob) {
                // Ended by this very message? What was read cannot tell.
                for (std::size_t i = 0; i + 1 < index && !answer; ++i)
                    if (items[i].job == item.job && items[i].token == item.token) answer = settled[i];
                if (answer || found == nullptr) continue;  // without its rows it waits for the disk
                Code code = repeated(item.job, item.token, too_large ? Outcome::failed : attempted.outcome, *found);
                if (code == Code::ok && too_large) code = Code::too_large;
                if (code == Code::stale_lease) ++counters_.stale_leases;
                answer = {code, item.job};
                continue;
            }
            if (too_large) {
                attempted = {Outcome::failed,
                             attempted.duration_ms,
                             false,
                             "the result is larger than limit result_bytes",
                             {},
                             {},
                             0};
                answer = {Code::too_large, item.job};
            } else {
                answer = {Code::ok, item.job};
            }
            end_attempt(handle, attempted, turn, out);
        }
    };
    const auto size_of = [](const auto& item) { return std::size_t{item.payload_length}; };
    if (const auto* complete = std::get_if<Complete>(&message)) {
        each(complete->items, size_of, [](const CompleteItem& item) {
            return Attempted{Outcome::completed, item.duration_ms, true, {}, {}, {}, 0};
        });
    } else if (const auto* fail = std::get_if<Fail>(&message)) {
        each(fail->items, size_of, [](const FailItem& item) {
            const bool known = item.outcome == Outcome::timeout || item.outcome == Outcome::cancelled;
            return Attempted{known ? item.outcome : Outcome::failed,
                             item.duration_ms,
                             item.retryable,
                             clean(item.error, kMaxErrorBytes),
                             clean(item.tail, kMaxTailBytes),
                             {},
                             0};
        });
    } else if (const auto* release = std::get_if<Release>(&message)) {
        each(
            release->items, [](const ReleaseItem&) { return std::size_t{0}; },
            [](const ReleaseItem& item) {
                return Attempted{Outcome::released,
                                 0,
                                 true,
                                 "handed back by its worker",
                                 {},
                                 {},
                                 std::min(item.delay_ms, kMaxDelayMs)};
            });
    }
    reposition(session);
    if (found == nullptr) return;
    Answers answers;
    answers.items.reserve(settled.size());
    for (const std::optional<Answer>& item : settled) answers.items.push_back(*item);
    answer(session, request, std::move(answers), out);
}

/// What to say to an end that holds no live lease: the same as the first time, if there was one.
Code Core::repeated(JobId id, LeaseToken token, Outcome outcome, const Found& found) const {
    const auto same = [&](Outcome recorded) {
        if (outcome == Outcome::completed) return recorded == outcome;
        // Whatever ends an attempt of a job that was to be cancelled, but its success, is recorded as cancelled.
        if (outcome == Outcome::released) return recorded == outcome || recorded == Outcome::cancelled;
        return recorded == Outcome::failed || recorded == Outcome::timeout || recorded == Outcome::cancelled;
    };
    for (const RowView& row : found.with_prefix(Table::attempts, job_key(id))) {
        AttemptRow attempt;
        if (read_row(row.value, attempt) && attempt.token == token)
            return same(attempt.outcome) ? Code::ok : Code::stale_lease;
    }
    EndRow ended;
    if (find_ended(found, id, ended))
        return ended.last.token == token && same(ended.last.outcome) ? Code::ok : Code::stale_lease;
    if (jobs_.find(id) != kNoJob) return Code::stale_lease;
    return code_of_absent(id);
}

// --- grants ----------------------------------------------------------------------------------------------------------

void Core::dispatch(Turn turn, Output& out) {
    tell_followers(out);
    const bool may_start = !window_open_ && free_disk_ >= config_.limits.dispatch_free_bytes;
    while (may_start) {
        // The least loaded of all workers that have room and something they can take.
        const auto service = ready_.next_service();
        if (!service) break;
        Session& session = *sessions_.at(free_[*service].begin()->second);
        // What a worker only holds ready behind its busy slots comes in runs, an eighth of what it has: consecutive
        // jobs end together, and their rows are neighbours.
        const std::uint32_t run = session.outstanding < session.slots ? 0 : session.outstanding / 8;
        const std::uint32_t until = std::min(session.credit, session.outstanding + 1 + run);
        while (session.outstanding < until && ready_.ready(*service) && !session.draining) {
            const JobHandle job = ready_.pick(*service);
            if (jobs_[job].in_array && session.minor < kArrayMinor) drain_for_array(session, job, out);
            else grant(session, job, turn, out);
        }
        reposition(session);
    }
    for (const SessionIndex index : with_dispatch_) flush_dispatch(*sessions_.at(index), out);
    with_dispatch_.clear();
    for (const SessionIndex index : with_results_) flush_results(*sessions_.at(index), out);
    with_results_.clear();
}

/// The worker is too old to be told which index it is to run. The job waits for a newer one; this one, which would only
/// stand before the same job again, is handed nothing more.
void Core::drain_for_array(Session& session, JobHandle job, Output& out) {
    ready_.push(job);
    set_draining(session.draining, session.row, {session.instance, session.name, true},
                 "it speaks protocol " + protocol_text(kProtocolVersion, session.minor) +
                     ", and a job of an array needs " + protocol_text(kProtocolVersion, kArrayMinor) + "; upgrade it",
                 out);
}

void Core::grant(Session& session, JobHandle handle, Turn turn, Output& out) {
    Job& job = jobs_[handle];
    const std::uint64_t epoch = planted(PlantedBug::token_reuse_after_restart) ? 1 : config_.epoch;
    JOBYARD_ASSERT(last_token_ < kTokenCounterMask);  // 2^44 grants in one run: 5 years at 100,000 a second
    const LeaseToken token{epoch << kTokenCounterBits | ++last_token_};
    JOBYARD_ASSERT(token >= job.token || planted(PlantedBug::token_reuse_after_restart));
    job.token = token;
    job.granted_at = turn.wall;
    job.hard_end = 0;
    set_state(job, JobState::assigned);
    take_lease(session, handle, turn.now + config_.timing.lease_ms);
    ++counters_.dispatched;

    const auto& info = ready_.info(job.class_id);
    const ArrayPlace place = place_of(job);
    const std::size_t header = kDispatchItemBytes + info.queue_name.size() + info.type_name.size();
    auto* list = std::get_if<Dispatch>(&session.dispatch.envelope.message);
    const auto goes_alone = [](std::uint32_t payload_bytes) { return payload_bytes >= kLargePayloadBytes; };
    if (list != nullptr && (list->items.size() == kMaxItems || session.dispatch_header + header > kMaxHeaderBytes ||
                            session.dispatch_bytes + job.payload_size > kCutListBytes || goes_alone(job.payload_size) ||
                            goes_alone(list->items.back().payload_length))) {
        flush_dispatch(session, out);
        list = nullptr;
    }
    if (list == nullptr) {
        list = &session.dispatch.envelope.message.emplace<Dispatch>();
        session.dispatch_header = kDispatchItemBytes;
        session.dispatch_bytes = 0;
        with_dispatch_.insert(session.index);
    }
    session.dispatch.rests_on = std::max(session.dispatch.rests_on, grant_rests_on(session, job, out));
    session.dispatch_header += header;
    session.dispatch_bytes += job.payload_size;
    list->items.push_back({job.payload_size, job.id, token, job.attempt(), info.queue_name, info.type_name,
                           job.priority, job.timeout_ms, job.max_attempts, place.array, place.index});
    // The jobs of an array have its payload.
    const JobId payload_of = place.array ? place.array : job.id;
    session.dispatch.payloads.push_back({PayloadRef::Kind::of_job, payload_of.value, {0, job.payload_size}});
}

void Core::flush_dispatch(Session& session, Output& out) {
    if (!std::holds_alternative<Dispatch>(session.dispatch.envelope.message)) return;
    address(session.dispatch, session);
    out.messages.push_back(std::exchange(session.dispatch, {}));
}

void Core::take_lease(Session& session, JobHandle handle, std::int64_t until) {
    Job& job = jobs_[handle];
    job.worker = session.index;
    job.previous = kNoJob;
    job.next = session.leases;
    if (job.next != kNoJob) jobs_[job.next].previous = handle;
    session.leases = handle;
    ++session.outstanding;
    arm(handle, until);
}

void Core::drop_lease(JobHandle handle) {
    Job& job = jobs_[handle];
    Session& session = *sessions_.at(job.worker);
    (job.previous == kNoJob ? session.leases : jobs_[job.previous].next) = job.next;
    if (job.next != kNoJob) jobs_[job.next].previous = job.previous;
    job.previous = job.next = kNoJob;
    job.worker = 0;
    job.hard_end = 0;
    if (!planted(PlantedBug::credit_leak) || !job.cancel_requested) --session.outstanding;
    deadlines_.drop(handle);
    if (job.has_progress) progress_.erase(handle);
    job.has_progress = false;
}

/// Keeps the session's place among those with room.
void Core::reposition(Session& session) {
    std::optional<std::uint64_t> load;
    if (session.gone_at < 0 && !session.draining && session.outstanding < session.credit)
        load = (std::uint64_t{session.outstanding} << 16U) / session.slots;
    if (load == session.free_at) return;
    std::set<Load>& free = free_[session.service];
    if (session.free_at && load) {  // its node moves: no memory is given back and taken again
        auto place = free.extract({*session.free_at, session.index});
        place.value().first = *load;
        free.insert(std::move(place));
    } else if (load) {
        free.insert({*load, session.index});
    } else {
        free.erase({*session.free_at, session.index});
    }
    session.free_at = load;
    tell_room(session.service);
}

void Core::tell_room(ServiceId service) {
    const std::set<Load>& free = free_[service];
    ready_.set_room(service, free.empty() ? std::nullopt : std::optional(*free.begin()));
}

void Core::queue_stop(Session& session, const Job& job, StopReason reason, Output& out) {
    if (session.gone_at >= 0) return;  // it will be told in WELCOME
    const Outgoing& stop = answer(session, {}, Stop{{{job.id, job.token, reason}}}, out);
    if (reason == StopReason::lease_lost) session.hears_first = stop.rests_on;
}

std::string_view Core::worker_name(const Job& job) const {
    return job.worker == 0 ? std::string_view{} : std::string_view(sessions_.at(job.worker)->name);
}

// --- ends ------------------------------------------------------------------------------------------------------------

AttemptRow Core::record_of(const Job& job, const Attempted& attempted, Turn turn) const {
    AttemptRow row;
    row.attempt = job.attempt();
    row.worker = worker_name(job);
    row.token = job.token;
    row.ended_at = turn.wall;
    row.started_at = attempted.duration_ms != 0 ? turn.wall - attempted.duration_ms : job.granted_at;
    row.outcome = attempted.outcome;
    row.error = attempted.error;
    row.tail = attempted.tail;
    return row;
}

/// An attempt is over, however that came. Whatever does not end the job charges the right budget and raises its token
/// floor in a batch that the next grant rests on, so the holder of this lease is fenced for ever. The caller
/// repositions the worker, once for all that it ended.
void Core::end_attempt(JobHandle handle, const Attempted& attempted, Turn turn, Output& out) {
    Job& job = jobs_[handle];
    AttemptRow row = record_of(job, attempted, turn);
    drop_lease(handle);
    if (attempted.outcome == Outcome::completed)
        return end_job(handle, JobState::completed, Reason::none, row, attempted.result, turn, out);
    if (job.cancel_requested) {
        row.outcome = Outcome::cancelled;
        return end_job(handle, JobState::cancelled, Reason::none, row, attempted.result, turn, out);
    }
    if (attempted.outcome != Outcome::released) ++queue_counts_[ready_.info(job.class_id).queue].failed;
    const bool own_error = attempted.outcome == Outcome::failed || attempted.outcome == Outcome::timeout ||
                           attempted.outcome == Outcome::cancelled;  // which nobody asked for
    if (own_error) {
        ++job.errors;
        if (planted(PlantedBug::budget_charged_twice) && attempted.outcome == Outcome::timeout) ++job.errors;
        if (!attempted.retryable)
            return end_job(handle, JobState::dead, Reason::not_retryable, row, attempted.result, turn, out);
        if (job.errors >= job.max_attempts)
            return end_job(handle, JobState::dead, Reason::failed, row, attempted.result, turn, out);
        record(EventKind::failed, job.id, job.class_id, row.worker, row.error);
    } else if (attempted.outcome != Outcome::released) {
        ++job.crashes;
        if (job.crashes >= kCrashBudget) return end_job(handle, JobState::dead, Reason::crash_loop, row, {}, turn, out);
        record(EventKind::worker_lost, job.id, job.class_id, row.worker, row.error);
    } else {
        record(EventKind::released, job.id, job.class_id, row.worker, row.error);
    }
    const Slice key = out.batch->append(job_part_key(job.id, row.attempt));
    out.batch->put(Table::attempts, key, append_row(*out.batch, row));
    if (attempted.outcome != Outcome::released) ++job.attempts;
    job.token.value += 1;
    if (job.has_claim_row) out.batch->erase(Table::claims, job_key(job.id));
    job.has_claim_row = false;
    if (job.expires) {  // it has begun
        expiries_.at(handle).start_by = INT64_MAX;
        expiries_.at(handle).ready_at = -1;
    }
    if (own_error) return retry_later(handle, turn, out);
    const bool at_once = attempted.delay_ms == 0 || planted(PlantedBug::snooze_ignored);
    job.granted_at = at_once ? 0 : turn.wall + static_cast<std::int64_t>(attempted.delay_ms);
    wait_or_enqueue(handle, JobState::scheduled, turn);
    write_state(handle, turn, out);
}

/// Its deadline has passed, or its time to wait for a first attempt. What still runs is stopped and not believed.
void Core::expire_job(JobHandle handle, Turn turn, Output& out) {
    Job& job = jobs_[handle];
    const bool deadline = turn.now >= expiries_.at(handle).deadline;
    Attempted attempted;
    attempted.outcome = Outcome::timeout;
    attempted.error = deadline ? "its deadline passed" : "no attempt began within its queue_timeout";
    if (!job.leased()) {
        AttemptRow last;  // none; but a redrive goes on behind what was before
        last.attempt = job.attempts;
        last.token = {job.token.value == 0 ? 0 : job.token.value - 1};
        last.error = attempted.error;
        return end_job(handle, JobState::dead, Reason::expired, last, {}, turn, out);
    }
    Session& session = *sessions_.at(job.worker);
    queue_stop(session, job, StopReason::lease_lost, out);
    AttemptRow last = record_of(job, attempted, turn);
    drop_lease(handle);
    if (job.cancel_requested) last.outcome = Outcome::cancelled;
    end_job(handle, job.cancel_requested ? JobState::cancelled : JobState::dead,
            job.cancel_requested ? Reason::none : Reason::expired, last, {}, turn, out);
    reposition(session);
}

void Core::retry_later(JobHandle handle, Turn turn, Output& out) {
    Job& job = jobs_[handle];
    const Backoff policy = backoff(job);
    double pause = policy.initial_ms;
    for (std::uint32_t n = 1; n < job.errors && pause < policy.max_ms; ++n) pause *= policy.factor_percent / 100.0;
    pause = std::min<double>(pause, policy.max_ms);
    // The jitter is added, never taken off, so that a pause is at least what was asked for.
    const double share = static_cast<double>((turn.random ^ job.id.value * 0x9E3779B97F4A7C15ULL) >> 11U) * 0x1.0p-53;
    const auto pause_ms = static_cast<std::uint32_t>(pause + pause * share * policy.jitter_percent / 100.0);
    ++numbers_.retried_total;
    job.granted_at = turn.wall + pause_ms;
    // It may be held: what its worker claimed after a restart had been changed before, while it seemed to wait.
    wait_or_enqueue(handle, JobState::retrying, turn);
    if (planted(PlantedBug::lost_retry)) arm(handle, INT64_MAX - 1);
    write_state(handle, turn, out);
}

Core::PutEnded Core::put_ended(Table table, JobId id, EndRow& row, std::string_view result, Batch& batch) {
    const std::size_t fixed = kEndFieldsAtMost + row.queue.size() + row.type.size() + row.key.size() +
                              row.last.worker.size() + row.last.error.size() + row.last.tail.size();
    const bool inlined = fixed + result.size() <= kRowBytes;
    row.result_size = static_cast<std::uint32_t>(result.size());
    row.result = inlined ? result : std::string_view{};
    Slice whole;
    if (!inlined) {
        whole = batch.append(result);
        row.result_chunks = static_cast<std::uint32_t>((result.size() + kRowBytes - 1) / kRowBytes);
        for (std::uint32_t n = 0; n < row.result_chunks; ++n) {
            const auto at = static_cast<std::uint32_t>(n * kRowBytes);
            const Slice chunk_key = batch.append(job_part_key(id, n));
            batch.put(Table::results, chunk_key,
                      {whole.at + at, std::min<std::uint32_t>(whole.size - at, static_cast<std::uint32_t>(kRowBytes))});
        }
    }
    const Slice key = batch.append(job_key(id));
    const Slice value = append_row(batch, row);
    batch.put(table, key, value);
    if (inlined) whole = {value.at + value.size - row.result_size, row.result_size};
    return {whole, value.size + (inlined ? 0 : row.result_size)};
}

void Core::end_job(JobHandle handle, JobState state, Reason reason, const AttemptRow& last, std::string_view result,
                   Turn turn, Output& out) {
    Job& job = jobs_[handle];
    const auto& info = ready_.info(job.class_id);
    Batch& batch = *out.batch;
    const JobId id = job.id;
    const std::string key = job_key(id);
    const Table table = state == JobState::dead ? Table::dead : Table::done;

    EndRow row;
    row.state = state;
    row.reason = reason;
    row.queue = info.queue_name;
    row.type = info.type_name;
    row.priority = job.priority;
    row.created_at = job.created_at;
    row.ended_at = turn.wall;
    row.max_attempts = job.max_attempts;
    row.timeout_ms = job.timeout_ms;
    row.errors = job.errors;
    row.crashes = job.crashes;
    row.attempts = job.has_state_row ? job.attempt() : 0;
    row.payload_size = job.payload_size;
    row.payload_chunks = state == JobState::dead ? job.chunks : 0;
    row.last = last;
    if (job.has_key) {
        row.key = keys_.at(id).name;
        row.content = keys_.at(id).content;
        row.key_ttl_ms = keys_.at(id).ttl_ms;
    }
    const ArrayPlace place = place_of(job);
    row.array = place.array;
    row.array_index = place.index;
    const auto [result_slice, row_bytes] = put_ended(table, id, row, result, batch);
    if (state == JobState::dead) {
        batch.move(Table::live, Table::buried, key);  // the payload and the policy, for a redrive
    } else {
        batch.erase(Table::live, key);
        for (std::uint32_t n = 0; n < job.chunks; ++n) batch.erase(Table::chunks, job_part_key(id, n));
    }
    if (job.has_state_row) batch.erase(Table::state, key);
    if (job.has_claim_row) batch.erase(Table::claims, key);
    if (job.has_key) {
        const Key& named = keys_.at(id);
        if (named.ttl_ms == 0) {
            batch.erase(Table::keys, named.row_key);
            --numbers_.key_rows;
        } else {
            const Slice name_key = batch.append(named.row_key);
            batch.put(Table::keys, name_key, append_row(batch, KeyRow{id, named.content, state}));
            batch.put(Table::key_ends, key_end(turn.wall, named.ttl_ms) + key, named.row_key);
        }
    }
    switch (state) {
        case JobState::completed:
            ++numbers_.completed_total;
            record(EventKind::completed, id, job.class_id, last.worker);
            ++queue_counts_[info.queue].completed;
            break;
        case JobState::cancelled:
            ++numbers_.cancelled_total;
            record(EventKind::cancelled, id, job.class_id, last.worker);
            break;
        default:
            ++numbers_.dead_total;
            record(EventKind::dead, id, job.class_id, last.worker,
                   std::string(to_string(reason)) + ": " + std::string(last.error));
            ++queue_counts_[info.queue].dead;
            break;
    }
    if (table == Table::dead) {
        ++numbers_.dead_rows;
    } else {
        ++numbers_.done_rows;
        numbers_.done_bytes += row_bytes;
    }
    if (job.watcher != 0)
        push_to_watchers(job, {id,
                               state,
                               reason,
                               last.attempt,
                               std::string(last.error),
                               {PayloadRef::Kind::in_batch, batch.seq, result_slice},
                               {}});
    forget_job(handle);
    if (place.array) ended_in_array(id, place, state, row_bytes, turn, out);
}

}  // namespace jobyard::broker
