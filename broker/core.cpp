#include "core.hpp"

#include <algorithm>
#include <utility>

#include "jobyard/assert.hpp"
#include "simulated.hpp"

namespace jobyard::broker {

Core::Core(CoreConfig config) : config_(std::move(config)) {}

// --- start-up --------------------------------------------------------------------------------------------------------

void Core::load_live(JobId id, const LiveRow& submitted, const StateRow* state, Turn turn) {
    LiveRow row = submitted;
    if (planted(PlantedBug::quota_forgotten_on_restart)) row.owner = {};
    if (state != nullptr) {
        row.held = state->held;
        if (state->priority != 0) row.priority = state->priority;
        if (!state->queue.empty()) row.queue = state->queue;
    }
    const JobHandle handle = add_job(id, row);
    Job& job = jobs_[handle];
    job.changed = row.priority != submitted.priority || row.queue != submitted.queue;
    JobState waiting = JobState::none;
    std::int64_t due = 0;
    std::uint64_t pause = 0;
    if (state != nullptr) {
        job.has_state_row = true;
        job.order = state->order;
        job.errors = static_cast<std::uint16_t>(state->errors);
        job.crashes = static_cast<std::uint8_t>(state->crashes);
        job.attempts = static_cast<std::uint16_t>(state->attempts);
        job.token = {state->token_floor};
        job.cancel_requested = state->cancel_requested;
        if (job.cancel_requested) cancelled_before_.push_back(id);
        due = state->due_at;
        pause = state->pause_ms;
        // It may have been held while it seemed to wait, and written since while its worker had it.
        if (state->scheduled || (due == 0 && row.held)) waiting = JobState::scheduled;
        else if (due != 0) waiting = JobState::retrying;
    } else if (row.delay_ms > 0 || row.held) {
        pause = row.delay_ms;
        if (row.delay_ms > 0) due = row.created_at + static_cast<std::int64_t>(row.delay_ms);
        waiting = JobState::scheduled;
    }
    // A wall clock that was set back meanwhile must not make a pause longer than it was meant to be.
    if (due != 0) job.granted_at = std::min(due, turn.wall + static_cast<std::int64_t>(pause));
    count_expiry(handle, row, state == nullptr ? 0 : state->round_at, state == nullptr ? 0 : state->ready_at, turn);
    wait_or_enqueue(handle, waiting, turn);
}

void Core::wait_or_enqueue(JobHandle handle, JobState waiting, Turn turn) {
    Job& job = jobs_[handle];
    if (!job.held && job.granted_at <= turn.wall) return enqueue(handle);
    set_state(job, waiting);
    job.hard_end = turn.now + (job.granted_at - turn.wall);
    arm(handle, job.held ? INT64_MAX : job.hard_end);
}

void Core::enqueue(JobHandle handle) {
    Job& job = jobs_[handle];
    job.granted_at = 0;
    set_state(job, JobState::queued);
    arm(handle, INT64_MAX);
    ready_.push(handle);
}

JobHandle Core::add_job(JobId id, const LiveRow& row) {
    const JobHandle handle = jobs_.add(id);
    Job& job = jobs_[handle];
    job.order = id.value;
    job.created_at = row.created_at;
    job.timeout_ms = row.timeout_ms;
    job.payload_size = row.payload_size;
    job.chunks = static_cast<std::uint16_t>(row.chunks);
    job.max_attempts = static_cast<std::uint16_t>(row.max_attempts);
    job.priority = row.priority;
    job.held = row.held;
    job.class_id = ready_.class_of(row.queue, row.type);
    job.backoff = intern(row.backoff).value_or(0);
    if (!row.key.empty()) {
        job.has_key = true;
        keys_[id] = {name_pair_key(row.queue, row.key), std::string(row.key), row.content, row.key_ttl_ms};
    }
    count_new_queues();
    const QueueId queue = ready_.info(job.class_id).queue;
    ++queue_counts_[queue].unended;
    job.owner = owner_of(row.owner);
    ++owners_[job.owner].jobs;
    if (row.array) join_array(job, row.array, row.array_index);
    else count_payload(job.owner, queue, row.payload_size, true);
    return handle;
}

void Core::forget_job(JobHandle handle) {
    Job& job = jobs_[handle];
    if (job.state == JobState::queued) ready_.remove(handle);
    deadlines_.drop(handle);
    set_state(job, JobState::none);
    const QueueId queue = ready_.info(job.class_id).queue;
    --queue_counts_[queue].unended;
    --owners_[job.owner].jobs;
    if (job.in_array) leave_array(job);
    else count_payload(job.owner, queue, job.payload_size, false);
    if (job.has_key) keys_.erase(job.id);
    if (job.expires) expiries_.erase(handle);
    jobs_.remove(handle);
}

/// `round_at` and `ready_at` are 0 for a job that counts from its submit.
void Core::count_expiry(JobHandle handle, const LiveRow& row, std::int64_t round_at, std::int64_t ready_at, Turn turn) {
    if (row.deadline_ms == 0 && row.queue_timeout_ms == 0) return;
    jobs_[handle].expires = true;
    Expiry& expiry = expiries_[handle];
    expiry.round_at = round_at;
    expiry.ready_at = ready_at;
    expiry.queue_timeout_ms = row.queue_timeout_ms;
    // Here too a clock that was set back must not make it longer.
    const auto until = [&](std::int64_t from, std::uint64_t length) {
        const auto ms = static_cast<std::int64_t>(length);
        return turn.now + std::min(from + ms - turn.wall, ms);
    };
    if (row.deadline_ms != 0) expiry.deadline = until(round_at != 0 ? round_at : row.created_at, row.deadline_ms);
    if (row.queue_timeout_ms == 0 || ready_at < 0) return;
    const std::int64_t ready = ready_at != 0 ? ready_at : row.created_at + static_cast<std::int64_t>(row.delay_ms);
    const std::int64_t wait = std::max<std::int64_t>(jobs_[handle].granted_at - turn.wall, 0);  // its delay's rest
    expiry.start_by = until(std::min(ready, turn.wall), row.queue_timeout_ms) + wait;
}

std::int64_t Core::expires_at(JobHandle handle) const {
    const Job& job = jobs_[handle];
    if (!job.expires) return INT64_MAX;
    const Expiry& expiry = expiries_.at(handle);
    return job.leased() || job.held ? expiry.deadline : std::min(expiry.deadline, expiry.start_by);
}

void Core::arm(JobHandle handle, std::int64_t at) {
    at = std::min(at, expires_at(handle));
    if (at == INT64_MAX) deadlines_.drop(handle);
    else if (jobs_[handle].leased()) deadlines_.append(handle, at);  // all last as long
    else deadlines_.set(handle, at);
}

void Core::start(Turn turn) {
    sealed_jobs_ = open_jobs_ = {numbers_.next_job};
    window_open_ = true;
    window_ends_ = turn.now + (awaited_.empty() ? 0 : config_.timing.claim_window_ms);
    next_session_check_ = turn.now;
}

// --- one turn --------------------------------------------------------------------------------------------------------

namespace {

bool from_worker(const Message& message) {
    return std::holds_alternative<Credit>(message) || std::holds_alternative<Started>(message) ||
           std::holds_alternative<Renew>(message) || std::holds_alternative<Complete>(message) ||
           std::holds_alternative<Fail>(message) || std::holds_alternative<Release>(message);
}

bool from_submitter(const Message& message) {
    return std::holds_alternative<Submit>(message) || std::holds_alternative<Watch>(message) ||
           std::holds_alternative<Grant>(message) || std::holds_alternative<Cancel>(message) ||
           std::holds_alternative<Redrive>(message) || std::holds_alternative<Change>(message) ||
           std::holds_alternative<Edit>(message) || std::holds_alternative<SetQueue>(message) ||
           std::holds_alternative<ListQueues>(message) || std::holds_alternative<StartTask>(message) ||
           std::holds_alternative<ListTasks>(message) || std::holds_alternative<StopTask>(message) ||
           std::holds_alternative<SubmitArray>(message) || std::holds_alternative<ListArrays>(message) ||
           std::holds_alternative<SteerArray>(message) || std::holds_alternative<Show>(message) ||
           std::holds_alternative<List>(message) || std::holds_alternative<AskStats>(message) ||
           std::holds_alternative<ReadEvents>(message) || std::holds_alternative<ListWorkers>(message) ||
           std::holds_alternative<SteerWorker>(message);
}

}  // namespace

std::vector<Need> Core::needs(PeerId peer, const Envelope& envelope) const {
    std::vector<Need> needs;
    const auto found = by_peer_.find(peer);
    if (found == by_peer_.end()) return needs;  // it will be refused
    const auto session = sessions_.find(found->second);
    if (session == sessions_.end() || session->second->id != envelope.session) return needs;
    const auto row = [&](Table table, std::string key) {
        needs.push_back({Need::Kind::row, table, std::move(key), 1});
    };
    const auto ended = [&](JobId job) {
        row(Table::done, job_key(job));
        row(Table::dead, job_key(job));
    };
    const auto buried = [&](JobId job) {
        ended(job);
        row(Table::buried, job_key(job));
        row(Table::live, job_key(job));
    };
    const auto attempts = [&](JobId job) {
        needs.push_back({Need::Kind::prefix, Table::attempts, job_key(job), 1024});
    };
    // If one job of a list has to be looked up, all are: one that lives now may have ended by the time the rows are
    // here.
    const auto if_any_is_absent = [&](const std::vector<JobId>& jobs, auto&& lookup) {
        const bool absent = std::any_of(jobs.begin(), jobs.end(), [&](JobId job) {
            return jobs_.find(job) == kNoJob && job.value != 0 && job.value < numbers_.next_job &&
                   !arrays_.contains(job);
        });
        if (absent) std::for_each(jobs.begin(), jobs.end(), lookup);
    };
    const auto ends = [&](const auto& items) {
        for (const auto& item : items) {
            if (held(*session->second, item.job, item.token) != kNoJob || item.job.value >= numbers_.next_job) continue;
            ended(item.job);
            attempts(item.job);
        }
    };
    const Message& message = envelope.message;
    if (const auto* submit = std::get_if<Submit>(&message)) {
        for (const SubmitItem& item : submit->items)
            if (!item.key.empty()) row(Table::keys, name_pair_key(item.queue, item.key));
    } else if (const auto* array = std::get_if<SubmitArray>(&message)) {
        for (const SubmitItem& item : array->items)
            if (!item.key.empty()) row(Table::keys, name_pair_key(item.queue, item.key));
    } else if (const auto* steer = std::get_if<SteerArray>(&message)) {
        if (steer->action == ArrayAction::resubmit) {  // its payload is copied
            row(Table::arrays, job_key(steer->array));
            needs.push_back({Need::Kind::prefix, Table::chunks, job_key(steer->array), 1024});
        }
    } else if (const auto* watch = std::get_if<Watch>(&message)) {
        if_any_is_absent(watch->jobs, ended);
    } else if (const auto* cancel = std::get_if<Cancel>(&message)) {
        if_any_is_absent(cancel->jobs, ended);
    } else if (const auto* change = std::get_if<Change>(&message)) {
        if_any_is_absent(change->jobs, ended);
    } else if (const auto* redrive = std::get_if<Redrive>(&message)) {
        std::for_each(redrive->jobs.begin(), redrive->jobs.end(), buried);
    } else if (const auto* edit = std::get_if<Edit>(&message)) {
        std::for_each(edit->jobs.begin(), edit->jobs.end(), buried);
    } else if (const auto* show = std::get_if<Show>(&message)) {
        for (const JobId job : show->jobs) {
            if (show->payload && show->jobs.size() > 1) break;  // it will be refused
            if (show->payload) {
                buried(job);
                const Job* live = this->job(job);
                const JobId whole = live != nullptr ? place_of(*live).array : JobId{};
                needs_of_payload(whole ? whole : job, needs);
            } else {
                ended(job);
                attempts(job);
            }
        }
    } else if (const auto* list = std::get_if<List>(&message)) {
        const auto place = list_place(*list);
        if (place.table) needs.push_back({Need::Kind::after, *place.table, place.after, kListPage});
    } else if (const auto* events = std::get_if<ReadEvents>(&message)) {
        needs_of(*events, needs);
    } else if (const auto* complete = std::get_if<Complete>(&message)) {
        ends(complete->items);
    } else if (const auto* fail = std::get_if<Fail>(&message)) {
        ends(fail->items);
    } else if (const auto* release = std::get_if<Release>(&message)) {
        ends(release->items);
    }
    return needs;
}

void Core::heard(PeerId peer, Turn turn) {
    const auto found = by_peer_.find(peer);
    if (found == by_peer_.end() || found->second == 0) return;
    Session& session = *sessions_.at(found->second);
    session.heard_at = turn.now;
}

void Core::settle_live(PeerId peer, const Envelope& envelope, std::string_view payload, Settled& settled, Turn turn,
                       Output& out) {
    Session* session = session_of(peer, envelope.session);
    if (session != nullptr && session->role == Role::worker && from_worker(envelope.message))
        on_ends(*session, envelope.request, envelope.message, payload, nullptr, settled, turn, out);
}

void Core::handle(PeerId peer, const Envelope& envelope, const KeptBytes& payload, const Found& found,
                  const Settled& settled, Turn turn, Output& out) {
    const Message& message = envelope.message;
    if (const auto* hello = std::get_if<Hello>(&message)) return on_hello(peer, envelope.request, *hello, turn, out);
    Session* session = session_of(peer, envelope.session);
    if (session == nullptr) {
        if (std::holds_alternative<Heartbeat>(message) && envelope.session.value == 0) return;
        const auto known = by_peer_.find(peer);
        const bool replaced = known != by_peer_.end() && known->second == 0;
        return refuse(peer, envelope.session, envelope.request, replaced ? Code::replaced : Code::no_session,
                      replaced ? "a newer session of this instance has taken over" : "say HELLO first", "session", out);
    }
    const bool worker = session->role == Role::worker;
    if ((from_worker(message) && !worker) || (from_submitter(message) && worker))
        return refuse(peer, session->id, envelope.request, Code::not_allowed,
                      std::string("a ") + (worker ? "worker" : "submitter") + " may not send " + message_name(message),
                      "type", out);
    if (!session->who->is_admin())
        if (auto why = may_not(*session, message)) {
            deny(*session, message_name(message));
            return refuse(peer, session->id, envelope.request, Code::not_allowed, *std::move(why), "", out);
        }
    const RequestId request = envelope.request;
    if (std::holds_alternative<Heartbeat>(message)) {
        send(peer, session->id, {}, Heartbeat{}, 0, out);
    } else if (const auto* goodbye = std::get_if<Goodbye>(&message)) {
        on_goodbye(*session, *goodbye, turn, out);
    } else if (const auto* submit = std::get_if<Submit>(&message)) {
        on_submit(*session, request, *submit, nullptr, payload, found, turn, out);
    } else if (const auto* array = std::get_if<SubmitArray>(&message)) {
        if (array->items.size() != 1)
            return refuse(peer, session->id, request, Code::bad_field, "an array has exactly one item", "items", out);
        on_submit(*session, request, {array->confirmed, array->first_number, array->items}, array, payload, found, turn,
                  out);
    } else if (const auto* arrays = std::get_if<ListArrays>(&message)) {
        on_list_arrays(*session, request, *arrays, out);
    } else if (const auto* steered = std::get_if<SteerArray>(&message)) {
        on_steer_array(*session, request, *steered, found, turn, out);
    } else if (const auto* watched = std::get_if<Watch>(&message)) {
        on_watch(*session, request, *watched, found, turn, out);
    } else if (const auto* granted = std::get_if<Grant>(&message)) {
        session->granted = std::max(session->granted, granted->total_bytes);
        flush_results(*session, out);
    } else if (const auto* cancel = std::get_if<Cancel>(&message)) {
        on_cancel(*session, request, *cancel, found, turn, out);
    } else if (const auto* redrive = std::get_if<Redrive>(&message)) {
        on_redrive(*session, request, *redrive, found, turn, out);
    } else if (const auto* change = std::get_if<Change>(&message)) {
        on_change(*session, request, *change, found, turn, out);
    } else if (const auto* edit = std::get_if<Edit>(&message)) {
        on_edit(*session, request, *edit, payload, found, turn, out);
    } else if (const auto* set = std::get_if<SetQueue>(&message)) {
        on_set_queue(*session, request, *set, turn, out);
    } else if (const auto* queues = std::get_if<ListQueues>(&message)) {
        on_list_queues(*session, request, *queues, out);
    } else if (const auto* start = std::get_if<StartTask>(&message)) {
        on_start_task(*session, request, *start, turn, out);
    } else if (const auto* tasks = std::get_if<ListTasks>(&message)) {
        on_list_tasks(*session, request, *tasks, out);
    } else if (const auto* stop = std::get_if<StopTask>(&message)) {
        on_stop_task(*session, request, *stop, turn, out);
    } else if (const auto* show = std::get_if<Show>(&message)) {
        on_show(*session, request, *show, found, out);
    } else if (const auto* list = std::get_if<List>(&message)) {
        on_list(*session, request, *list, found, out);
    } else if (const auto* events = std::get_if<ReadEvents>(&message)) {
        on_read_events(*session, request, *events, found, turn, out);
    } else if (const auto* workers = std::get_if<ListWorkers>(&message)) {
        on_list_workers(*session, request, *workers, turn, out);
    } else if (const auto* steer = std::get_if<SteerWorker>(&message)) {
        on_steer_worker(*session, request, *steer, out);
    } else if (std::holds_alternative<AskStats>(message)) {
        Outgoing& stats = answer(*session, request, Stats{}, out);
        append_stats(stats.bytes);
        const auto size = static_cast<std::uint32_t>(stats.bytes.size());
        stats.envelope.message = Stats{size};
        stats.payloads.push_back({PayloadRef::Kind::own, 0, {0, size}});
    } else if (const auto* credit = std::get_if<Credit>(&message)) {
        if (credit->credit > kMaxCredit)
            return refuse(peer, session->id, request, Code::bad_field, "credit is at most 1024", "credit", out);
        session->credit = credit->credit;
        reposition(*session);
    } else if (const auto* started = std::get_if<Started>(&message)) {
        on_started(*session, *started, turn);
    } else if (const auto* renew = std::get_if<Renew>(&message)) {
        on_renew(*session, request, *renew, turn, out);
    } else if (from_worker(message)) {
        Settled rest = settled;
        on_ends(*session, request, message, payload.bytes, &found, rest, turn, out);
    } else {
        refuse(peer, session->id, request, Code::unknown_message,
               std::string(message_name(message)) + " is sent by the broker, not to it", "type", out);
    }
}

void Core::refuse(PeerId peer, SessionId session, RequestId request, Code code, std::string text, std::string field,
                  Output& out, std::uint32_t retry_after_ms) {
    ++counters_.refused;
    Outgoing& message = send(peer, session, request, Refusal{}, 0, out);
    Refusal refusal;
    refusal.code = code;
    refusal.text = message.keep(std::move(text));
    refusal.field = message.keep(std::move(field));
    refusal.retry_after_ms = retry_after_ms;
    message.envelope.message = refusal;
}

void Core::set_limits(const Limits& limits) {
    const Limits told = std::exchange(config_.limits, limits);
    config_.limits.payload_bytes = told.payload_bytes;
    config_.limits.result_bytes = told.result_bytes;
}

void Core::expire(Turn turn, Output& out) {
    if (window_open_ && (turn.now >= window_ends_ || awaited_.empty())) close_claim_window(turn, out);
    while (!deadlines_.empty() && deadlines_.next_at() <= turn.now) {
        const JobHandle handle = deadlines_.next_job();
        const Job& job = jobs_[handle];
        // Nothing ends while workers are still coming back: what waits may be running, or even done.
        if (window_open_ && (job.leased() || turn.now >= expires_at(handle))) {
            const std::int64_t later = window_ends_ + (job.leased() ? config_.timing.lease_ms : 0);
            deadlines_.set(handle, std::max(window_ends_, std::min(later, expires_at(handle))));
            continue;
        }
        if (turn.now >= expires_at(handle)) {
            expire_job(handle, turn, out);
            continue;
        }
        if (job.leased()) {
            Session& session = *sessions_.at(job.worker);
            queue_stop(session, job, StopReason::lease_lost, out);
            const bool timed_out = job.hard_end != 0 && turn.now >= job.hard_end;
            Attempted attempted;
            attempted.outcome = timed_out ? Outcome::timeout : Outcome::lease_expired;
            attempted.error = timed_out ? "still running after its timeout" : "its worker did not renew the lease";
            end_attempt(handle, attempted, turn, out);
            reposition(session);
            continue;
        }
        enqueue(handle);
    }
    expire_sessions(turn, out);
    expire_followers(turn, out);
}

std::int64_t Core::next_deadline() const {
    std::int64_t next = next_session_check_;
    if (!deadlines_.empty()) next = std::min(next, deadlines_.next_at());
    if (window_open_) next = std::min(next, window_ends_);
    if (!followers_.empty()) next = std::min(next, followers_.begin()->first);
    return std::min(next, next_agenda());
}

void Core::stop(Output& out) {
    for (const auto& [index, session] : sessions_)
        if (session->gone_at < 0) answer(*session, {}, Goodbye{GoodbyeReason::restarting, 0}, out);
}

// --- the open batch --------------------------------------------------------------------------------------------------

std::uint64_t Core::rests_on(const Output& out) const {
    if (planted(PlantedBug::answer_before_commit)) return 0;
    return has_writes(out) ? out.batch->seq : sealed_seq_;
}

/// A job that was never out before has had one write, its submit; whatever came of an earlier attempt must be durable
/// before another. A worker hears nothing before its WELCOME, nor of a job in place of one that was taken from it
/// before it is told to stop that.
std::uint64_t Core::grant_rests_on(const Session& session, const Job& job, const Output& out) const {
    if (planted(PlantedBug::answer_before_commit)) return 0;
    if (job.has_state_row || job.has_claim_row || job.id >= open_jobs_) return rests_on(out);
    const std::uint64_t submit = job.id >= sealed_jobs_ ? sealed_seq_ : 0;
    return std::max({submit, session.hears_first, window_closed_in_});
}

Outgoing& Core::send(PeerId peer, SessionId session, RequestId request, Message message, std::uint64_t rests_on,
                     Output& out) {
    Outgoing& added = out.messages.emplace_back();
    added.peer = peer;
    added.rests_on = rests_on;
    added.envelope = {session, request, std::move(message)};
    return added;
}

namespace {

/// 1,024 refusals with their texts would not fit a header: what comes later goes without. Codes and fields always fit.
void cut_texts(Answers& answers) {
    std::size_t left = std::size_t{16} << 10;
    for (Answer& answer : answers.items) {
        if (answer.text.size() > left) answer.text = {};
        left -= answer.text.size();
    }
}

}  // namespace

Outgoing& Core::answer(const Session& session, RequestId request, Message message, Output& out) {
    if (auto* answers = std::get_if<Answers>(&message)) cut_texts(*answers);
    Outgoing& added = send(session.peer, session.id, request, std::move(message), rests_on(out), out);
    address(added, session);
    return added;
}

void Core::address(Outgoing& message, const Session& session) {
    message.peer = session.peer;
    message.to_worker = session.role == Role::worker;
    message.envelope.session = session.id;
}

void Core::seal(Turn turn, Output& out) {
    Batch& batch = *out.batch;
    for (const std::uint64_t number : dirty_instances_) {
        Instance& instance = instances_.at(number);
        instance.dirty = false;
        const Slice key = batch.append(big_endian(number));
        batch.put(Table::instances, key,
                  append_row(batch, InstanceRow{instance.id,
                                                instance.confirmed,
                                                {instance.runs.begin(), instance.runs.end()},
                                                instance.usage->public_key}));
    }
    dirty_instances_.clear();
    write_arrays(out);
    write_events(turn, out);
    const Slice numbers_key = batch.append(kMetaNumbers);
    batch.put(Table::meta, numbers_key, append_row(batch, numbers_));
    batch.put(Table::meta, kMetaApplied, big_endian(batch.seq));
    sealed_seq_ = batch.seq;
    sealed_jobs_ = std::exchange(open_jobs_, JobId{numbers_.next_job});
    touched_ = false;
}

void Core::write_state(JobHandle handle, Turn turn, Output& out) {
    Job& job = jobs_[handle];
    job.has_state_row = true;
    StateRow row;
    row.order = job.order;
    row.errors = job.errors;
    row.crashes = job.crashes;
    row.attempts = job.attempts;
    row.token_floor = job.token.value;
    row.scheduled = job.state == JobState::scheduled;
    if (row.scheduled || job.state == JobState::retrying) {
        row.due_at = job.granted_at;
        row.pause_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(job.granted_at - turn.wall, 0));
    }
    row.cancel_requested = job.cancel_requested;
    row.held = job.held;
    if (job.changed) {
        row.priority = job.priority;
        row.queue = ready_.info(job.class_id).queue_name;
    }
    if (job.expires) {
        row.round_at = expiries_.at(handle).round_at;
        row.ready_at = expiries_.at(handle).ready_at;
    }
    const Slice key = out.batch->append(job_key(job.id));
    out.batch->put(Table::state, key, append_row(*out.batch, row));
}

// --- what is derived -------------------------------------------------------------------------------------------------

void Core::set_state(Job& job, JobState state) {
    const QueueId queue_id = ready_.info(job.class_id).queue;
    QueueCounts& queue = queue_counts_[queue_id];
    const auto count = [&](JobState which, std::uint64_t by) {
        if (which == JobState::none) return;
        counters_.by_state[static_cast<std::size_t>(which)] += by;
        if (which == JobState::queued) queue.queued += by;
        if (which == JobState::assigned || which == JobState::running) queue.running += by;
    };
    count(job.state, std::uint64_t{0} - 1);
    const bool was_leased = job.leased();
    saw(job.id, job.state, state);
    job.state = state;
    count(job.state, 1);
    if (job.in_array && was_leased != job.leased()) {
        Array& array = arrays_.at(place_of(job).array);
        was_leased ? --array.running : ++array.running;
    }
    if (queue.max_running != 0) reconsider(queue_id);
}

std::optional<std::uint16_t> Core::intern(const Backoff& backoff) {
    if (last_backoff_ < backoffs_.size() && backoffs_[last_backoff_] == backoff) return last_backoff_;
    const std::array<std::uint32_t, 4> key{backoff.initial_ms, backoff.factor_percent, backoff.max_ms,
                                           backoff.jitter_percent};
    const auto known = backoff_ids_.find(key);
    if (known != backoff_ids_.end()) return last_backoff_ = known->second;
    if (backoffs_.size() > UINT16_MAX) return std::nullopt;
    backoffs_.push_back(backoff);
    return backoff_ids_[key] = static_cast<std::uint16_t>(backoffs_.size() - 1);
}

Core::Session* Core::session_of(PeerId peer, SessionId id) {
    const auto found = by_peer_.find(peer);
    if (found == by_peer_.end() || found->second == 0) return nullptr;
    Session* session = sessions_.at(found->second).get();
    return session->id == id ? session : nullptr;
}

std::size_t Core::workers() const {
    return static_cast<std::size_t>(std::count_if(sessions_.begin(), sessions_.end(),
                                                  [](const auto& s) { return s.second->role == Role::worker; }));
}

std::size_t Core::submitters() const { return sessions_.size() - workers(); }

const Job* Core::job(JobId id) const {
    const JobHandle handle = jobs_.find(id);
    return handle == kNoJob ? nullptr : &jobs_[handle];
}

bool Core::is_leased(JobId id, LeaseToken token) const {
    const Job* found = job(id);
    return found != nullptr && found->leased() && found->token == token;
}

void Core::check_invariants() const {
    Counters counted;
    std::map<SessionIndex, std::uint32_t> outstanding;
    std::map<JobId, std::pair<std::uint64_t, std::uint64_t>> in_arrays;
    std::map<OwnerId, std::pair<std::uint64_t, std::uint64_t>> owned;  // jobs, bytes
    std::map<QueueId, std::uint64_t> queued_bytes;
    const auto count_bytes = [&](OwnerId owner, QueueId queue, std::uint64_t bytes) {
        counted.payload_bytes += bytes;
        owned[owner].second += bytes;
        queued_bytes[queue] += bytes;
    };
    for (JobHandle handle = 0; handle < jobs_.handles(); ++handle) {
        const Job& job = jobs_[handle];
        if (job.state == JobState::none) continue;
        ++counted.by_state[static_cast<std::size_t>(job.state)];
        if (job.in_array) {
            auto& [unended, running] = in_arrays[place_of(job).array];
            ++unended;
            if (job.leased()) ++running;
        } else {
            count_bytes(job.owner, ready_.info(job.class_id).queue, job.payload_size);
        }
        ++owned[job.owner].first;
        JOBYARD_ASSERT(job.leased() == (job.worker != 0));
        JOBYARD_ASSERT(job.leased() || job.state == JobState::queued || job.held || job.timer != 0xffffffff);
        JOBYARD_ASSERT(!job.cancel_requested || job.leased() || window_open_);
        if (job.leased()) {
            JOBYARD_ASSERT(sessions_.contains(job.worker));
            ++outstanding[job.worker];
        }
    }
    std::uint64_t in_runs = 0;
    for (const auto& [first, run] : array_runs_) in_runs += run.unended;
    for (const auto& [id, array] : arrays_) {
        const ArrayRow& row = array.row;
        JOBYARD_ASSERT(in_arrays[id] == std::pair(array.unended, array.running));
        JOBYARD_ASSERT(row.made == array.unended + row.completed + row.dead + row.cancelled_jobs);
        JOBYARD_ASSERT(row.ended_at == 0 || (array.unended == 0 && !row.makes && !row.cancels));
        JOBYARD_ASSERT((row.ended_at != 0) == ended_arrays_.contains({row.ended_at, id}));
        JOBYARD_ASSERT(row.made <= row.count);
        JOBYARD_ASSERT(row.buried <= row.left_dead && row.left_dead <= row.dead);
        in_runs -= array.unended;
        if (row.ended_at == 0) count_bytes(array.owner, *ready_.find_queue(array.queue), array.job.payload_size);
    }
    for (OwnerId owner = 0; owner < owners_.size(); ++owner)
        JOBYARD_ASSERT(owned[owner] == std::pair(owners_[owner].jobs, owners_[owner].bytes));
    for (QueueId queue = 0; queue < queue_counts_.size(); ++queue)
        JOBYARD_ASSERT(queued_bytes[queue] == queue_counts_[queue].bytes);
    JOBYARD_ASSERT(in_runs == 0);
    JOBYARD_ASSERT(counted.by_state == counters_.by_state);
    JOBYARD_ASSERT(counted.payload_bytes == counters_.payload_bytes);
    std::map<const KeyUsage*, std::pair<std::uint64_t, std::uint64_t>> shared;  // sessions, instances
    for (const auto& [index, session] : sessions_) {
        const auto held = outstanding.find(index);
        JOBYARD_ASSERT(session->outstanding == (held == outstanding.end() ? 0 : held->second));
        JOBYARD_ASSERT(session->usage->public_key == session->who->public_key);
        ++shared[session->usage].first;
    }
    std::size_t idle = 0;
    for (const auto& [number, instance] : instances_) {
        ++shared[instance.usage].second;
        const bool is_gone = instance.session == 0;
        JOBYARD_ASSERT(is_gone == gone_instances_.contains({instance.gone_at, number}));
        const bool is_idle = is_gone && instance.runs.empty();
        JOBYARD_ASSERT(is_idle == instance.usage->idle.contains({instance.gone_at, number}));
        if (is_idle) ++idle;
    }
    for (const auto& [key, usage] : usage_) {
        JOBYARD_ASSERT(shared[&usage] == std::pair(usage.sessions, usage.instances));
        idle -= usage.idle.size();
    }
    JOBYARD_ASSERT(idle == 0);
}

}  // namespace jobyard::broker
