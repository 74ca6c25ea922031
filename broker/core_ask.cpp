// What people and their programs ask: watch, show, list, stats.

#include <algorithm>

#include "core.hpp"
#include "job_map.hpp"

namespace jobyard::broker {
namespace {

constexpr std::uint64_t kResultOverhead = 64;  // what a result counts for beside its bytes
constexpr std::size_t kResultItemBytes = 48;   // of header, beside its error
constexpr std::size_t kStepsPerListPage =
    4096;  // unended jobs, or empty pages of their table, looked at for a page of LIST
constexpr std::size_t kListBytes = std::size_t{1} << 20;
constexpr std::size_t kAttemptsBytes = 900'000;  // of one job in SHOW: with a list that is nearly full, still a message
constexpr std::size_t kAttemptMapBytes = 80;     // of an attempt, beside what its row has: the names of the fields

constexpr int kCursorPhaseShift = 62;
enum ListPhase : std::uint64_t { kLive = 0, kDead = 1, kDone = 2 };

}  // namespace

bool Core::find_ended(const Found& found, JobId id, EndRow& row) {
    const std::string key = job_key(id);
    for (const Table table : {Table::done, Table::dead})
        // One that cannot be read does not say that the other table has none: it may be a block of other jobs' rows.
        if (const auto bytes = found.get(table, key); bytes && read_row(*bytes, row)) return true;
    return false;
}

/// Of a job that is in no table: it ended and was retired, or it never was.
Code Core::code_of_absent(JobId id) const {
    const bool unknown = std::any_of(unknown_jobs_.begin(), unknown_jobs_.end(),
                                     [id](const auto& range) { return range.first <= id && id < range.second; });
    return !unknown && id.value != 0 && id.value < numbers_.next_job ? Code::retired : Code::unknown_job;
}

// --- watching --------------------------------------------------------------------------------------------------------

void Core::on_watch(Session& session, RequestId request, const Watch& watched, const Found& found, Turn turn,
                    Output& out) {
    static_cast<void>(turn);
    Answers answers;
    std::vector<PendingResult> ended;
    const auto enough = [](JobId id) {
        return Answer{Code::busy, id, {}, "this session watches as many jobs as it may (limit watches)", {}, 1000};
    };
    for (const JobId id : watched.jobs) {
        if (const auto refusal = may_not(session, id, found, Scope::act)) {
            answers.items.push_back(*refusal);
            continue;
        }
        const JobHandle handle = jobs_.find(id);
        if (handle != kNoJob) {
            if (watches_enough(session, ended.size())) {
                answers.items.push_back(enough(id));
                continue;
            }
            watch(session, jobs_[handle]);
            answers.items.push_back({Code::ok, id, jobs_[handle].state});
            continue;
        }
        if (const auto at = arrays_.find(id); at != arrays_.end()) {
            Array& array = at->second;
            if (watches_enough(session, ended.size())) {
                answers.items.push_back(enough(id));
            } else if (array.row.ended_at == 0) {
                watch_array(session, array);
                answers.items.push_back({Code::ok, id, state_of(array)});
            } else {
                answers.items.push_back({Code::ended, id, state_of(array)});
                ended.push_back(result_of(id, array));
            }
            continue;
        }
        EndRow row;
        if (!find_ended(found, id, row)) {
            answers.items.push_back({code_of_absent(id), id, JobState::none});
            continue;
        }
        if (watches_enough(session, ended.size())) {
            answers.items.push_back(enough(id));
            continue;
        }
        answers.items.push_back({Code::ended, id, row.state});
        PendingResult result{id, row.state, row.reason, row.last.attempt, std::string(row.last.error), {}, {}};
        result.payload = {PayloadRef::Kind::result_of, id.value, {0, row.result_size}};
        if (row.result_chunks == 0) {
            result.payload.kind = PayloadRef::Kind::own;
            result.bytes = row.result;
        }
        ended.push_back(std::move(result));
    }
    answer(session, request, std::move(answers), out);
    for (PendingResult& result : ended) push(session, std::move(result));
}

/// Results that wait for a grant count too: a session that grants nothing must not fill our memory.
bool Core::watches_enough(const Session& session, std::size_t more) const {
    return session.watches + session.results.size() + more >= config_.limits.watches;
}

void Core::watch(Session& session, Job& job) {
    if (job.watcher == session.index) return;
    const bool first_is_gone = job.watcher != 0 && !sessions_.contains(job.watcher);
    if (job.watcher == 0 || first_is_gone) {
        job.watcher = session.index;
        ++session.watches;
    } else {
        job.more_watchers = true;
        if (more_watchers_[job.id].insert(session.index).second) ++session.watches;
    }
}

void Core::push_to_watchers(Job& job, const PendingResult& result) {
    const auto give = [&](SessionIndex index) {
        const auto session = sessions_.find(index);
        if (session == sessions_.end()) return;
        --session->second->watches;
        push(*session->second, result);
    };
    give(job.watcher);
    if (!job.more_watchers) return;
    const auto more = more_watchers_.extract(job.id);
    if (more.empty()) return;
    for (const SessionIndex index : more.mapped())
        if (index != job.watcher) give(index);
}

void Core::push(Session& session, PendingResult result) {
    session.results.push_back(std::move(result));
    list_results(session);
}

void Core::list_results(Session& session) {
    if (!std::exchange(session.listed, true)) with_results_.insert(session.index);
}

void Core::result_is_gone(PeerId peer, SessionId id, std::uint64_t bytes) {
    Session* session = session_of(peer, id);
    if (session == nullptr) return;
    session->pushed -= bytes;  // the peer will never count them, and would never grant them again
    list_results(*session);
}

void Core::flush_results(Session& session, Output& out) {
    session.listed = false;
    while (!session.results.empty() && session.pushed <= session.granted) {
        Results list;
        Outgoing message;
        std::size_t header = kResultItemBytes;
        std::size_t bytes = 0;
        while (!session.results.empty() && session.pushed <= session.granted && list.items.size() < kMaxItems) {
            PendingResult& result = session.results.front();
            const std::size_t item_header = kResultItemBytes + result.error.size();
            const std::size_t size = result.payload.slice.size;
            if (!list.items.empty() && (header + item_header > kMaxHeaderBytes || bytes + size > kCutListBytes)) break;
            header += item_header;
            bytes += size;
            session.pushed += size + kResultOverhead;
            if (result.payload.kind == PayloadRef::Kind::own) {
                result.payload.slice.at = static_cast<std::uint32_t>(message.bytes.size());
                message.bytes += result.bytes;
            }
            message.payloads.push_back(result.payload);
            const std::string_view error =
                result.error.empty() ? std::string_view{} : message.keep(std::move(result.error));
            list.items.push_back(
                {result.payload.slice.size, result.job, result.state, result.reason, result.attempt, error});
            session.results.pop_front();
        }
        message.rests_on = rests_on(out);
        message.envelope.message = std::move(list);
        address(message, session);
        out.messages.push_back(std::move(message));
    }
    // What must wait for a grant is not kept here, and will not find its batch in hand: it is read from the store then.
    for (PendingResult& result : session.results) {
        result.payload.kind = PayloadRef::Kind::result_of;
        result.payload.number = result.job.value;
        result.bytes = {};
    }
}

// --- showing ---------------------------------------------------------------------------------------------------------

Reason Core::waiting_for(const Job& job) const {
    if (job.held) return Reason::held;
    if (job.state == JobState::scheduled) return Reason::delayed;
    if (job.state == JobState::retrying) return Reason::backoff;
    if (job.state != JobState::queued) return Reason::none;
    if (window_open_) return Reason::claim_window;
    if (free_disk_ < config_.limits.dispatch_free_bytes) return Reason::disk_full;
    const QueueId queue = ready_.info(job.class_id).queue;
    if (!ready_.open(queue)) return queue_counts_[queue].paused ? Reason::queue_paused : Reason::queue_limit;
    for (const auto& [index, session] : sessions_)
        if (session->role == Role::worker && session->gone_at < 0 && !session->draining &&
            ready_.serves(session->service, job.class_id))
            return Reason::no_free_slot;
    return Reason::no_worker;
}

void Core::append_map(const Job& job, const Found* found, std::optional<std::string_view> payload,
                      std::string& bytes) const {
    const auto& info = ready_.info(job.class_id);
    MapWriter map;
    map.uint("id", job.id.value);
    map.text("queue", info.queue_name);
    map.text("type", info.type_name);
    map.uint("priority", job.priority);
    map.text("state", to_string(job.state));
    map.text("reason", to_string(waiting_for(job)));
    map.uint("attempt", job.leased() ? job.attempt() : job.attempts);
    map.uint("max_attempts", job.max_attempts);
    map.uint("errors", job.errors);
    map.uint("crashes", job.crashes);
    map.uint("timeout_ms", job.timeout_ms);
    map.integer("created_at", job.created_at);
    map.uint("payload_bytes", job.payload_size);
    if (job.has_key) map.text("key", keys_.at(job.id).name);
    if (const ArrayPlace place = place_of(job); place.array) {
        map.uint("array", place.array.value);
        map.uint("array_index", place.index);
    }
    if (job.leased()) {
        map.integer("started_at", job.granted_at);
        map.text("worker", worker_name(job));
        map.uint("token", job.token.value);
    } else if (job.granted_at != 0) {
        map.integer("due_at", job.granted_at);
    }
    if (job.cancel_requested) map.boolean("cancel_requested", true);
    if (job.has_progress) {
        const auto& [share, text] = progress_.at(jobs_.find(job.id));
        map.real("progress", share);
        map.text("progress_text", text);
    }
    if (found != nullptr) {
        std::vector<AttemptRow> attempts = attempts_of(*found, job.id);
        if (job.leased())
            attempts.push_back({job.attempt(), worker_name(job), job.token, job.granted_at, 0, Outcome::none, {}, {}});
        map.attempts(attempts);
    }
    if (payload) map.bytes("payload", *payload);
    map.append_to(bytes);
}

/// Of a job that is in no array, its row is needed besides.
void Core::needs_of_payload(JobId job_or_array, std::vector<Need>& needs) {
    const std::string key = job_key(job_or_array);
    needs.push_back({Need::Kind::row, Table::arrays, key, 1});
    needs.push_back({Need::Kind::prefix, Table::chunks, key, 1024});
}

/// Which array a dead job is of, and so where its payload stands, only its row says; and rows of events say which
/// classes they name.
std::vector<Need> Core::needs_besides(const Envelope& envelope, const Found& found) const {
    std::vector<Need> needs;
    if (const auto* events = std::get_if<ReadEvents>(&envelope.message)) needs_besides(*events, found, needs);
    const auto* show = std::get_if<Show>(&envelope.message);
    if (show == nullptr || !show->payload || show->jobs.size() != 1) return needs;
    const auto row = found.get(Table::dead, job_key(show->jobs.front()));
    EndRow dead;
    if (row && read_row(*row, dead) && dead.array && !found.get(Table::arrays, job_key(dead.array)))
        needs_of_payload(dead.array, needs);
    return needs;
}

/// Its map, with the payload in place of the attempts, if it is unended or dead: the payload of others is gone.
Code Core::append_with_payload(JobId id, const Found& found, std::string& bytes) const {
    std::optional<std::string> payload;
    const auto take = [&](Table table, JobId whose) {
        LiveRow row;
        const auto stored = found.get(table, job_key(whose));
        if (!stored || !read_row(*stored, row)) return;
        payload = row.payload;
        for (const RowView& piece : found.with_prefix(Table::chunks, job_key(whose))) *payload += piece.value;
    };
    EndRow ended;
    if (const Job* live = job(id)) {
        const JobId array = place_of(*live).array;
        take(array ? Table::arrays : Table::live, array ? array : id);
        append_map(*live, nullptr, payload, bytes);
    } else if (const auto array = arrays_.find(id); array != arrays_.end()) {
        take(Table::arrays, id);
        append_array_map(id, array->second, payload, bytes);
    } else if (find_ended(found, id, ended)) {
        const bool is_dead = found.get(Table::dead, job_key(id)).has_value();
        if (is_dead) take(ended.array ? Table::arrays : Table::buried, ended.array ? ended.array : id);
        append_ended_map(id, ended, nullptr, payload, bytes);
    } else {
        return code_of_absent(id);
    }
    return Code::ok;
}

/// The newest, as many as fit.
std::vector<AttemptRow> Core::attempts_of(const Found& found, JobId id) {
    const std::vector<RowView> rows = found.with_prefix(Table::attempts, job_key(id));
    std::size_t bytes = 0;
    const auto first = std::find_if(rows.rbegin(), rows.rend(), [&](const RowView& row) {
        bytes += row.value.size() + kAttemptMapBytes;
        return bytes > kAttemptsBytes;
    });
    std::vector<AttemptRow> attempts;
    for (auto row = first.base(); row != rows.end(); ++row) {
        AttemptRow attempt;
        if (read_row(row->value, attempt)) attempts.push_back(attempt);
    }
    return attempts;
}

void Core::answer_maps(const Session& session, RequestId request, std::string_view next,
                       const std::vector<std::string>& maps, Output& out) {
    Outgoing& message = answer(session, request, Maps{}, out);
    Maps list;
    list.next = message.keep(std::string(next));
    for (const std::string& map : maps) {
        const Slice slice{static_cast<std::uint32_t>(message.bytes.size()), static_cast<std::uint32_t>(map.size())};
        message.bytes += map;
        message.payloads.push_back({PayloadRef::Kind::own, 0, slice});
        list.items.push_back({slice.size});
    }
    message.envelope.message = std::move(list);
}

void Core::on_show(Session& session, RequestId request, const Show& show, const Found& found, Output& out) {
    if (show.payload && show.jobs.size() > 1)
        return refuse(session.peer, session.id, request, Code::too_large, "with payloads one job at a time", "jobs",
                      out);
    Jobs jobs;
    Outgoing message;
    for (const JobId id : show.jobs) {
        const std::size_t at = message.bytes.size();
        EndRow row;
        Code code = Code::ok;
        // Payloads, and what attempts have written, are for those whose key covers the queue.
        const bool is_covered = session.who->covers_all() || session.who->covers(queue_of(id, found).value_or(""));
        if (message.bytes.size() > kListBytes) {
            code = Code::busy;  // the answer is full: ask for the rest in another message
        } else if (may_not(session, id, found, show.payload ? Scope::act : Scope::see)) {
            code = Code::not_allowed;
        } else if (show.payload) {
            code = append_with_payload(id, found, message.bytes);
        } else if (const Job* live = job(id)) {
            append_map(*live, is_covered ? &found : nullptr, {}, message.bytes);
        } else if (const auto array = arrays_.find(id); array != arrays_.end()) {
            append_array_map(id, array->second, {}, message.bytes);
        } else if (find_ended(found, id, row)) {
            std::vector<AttemptRow> attempts = attempts_of(found, id);
            if (row.last.outcome != Outcome::none) attempts.push_back(row.last);
            append_ended_map(id, row, is_covered ? &attempts : nullptr, {}, message.bytes);
        } else {
            code = code_of_absent(id);
        }
        const Slice slice{static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(message.bytes.size() - at)};
        jobs.items.push_back({slice.size, code, id});
        message.payloads.push_back({PayloadRef::Kind::own, 0, slice});
    }
    message.rests_on = rests_on(out);
    message.envelope = {{}, request, std::move(jobs)};
    address(message, session);
    out.messages.push_back(std::move(message));
}

Core::ListPlace Core::list_place(const List& list) {
    std::uint64_t phase = list.cursor >> kCursorPhaseShift;
    const std::uint64_t number = list.cursor & ((std::uint64_t{1} << kCursorPhaseShift) - 1);
    if (list.cursor == 0 && list.state == JobState::dead) phase = kDead;
    if (list.cursor == 0 && (list.state == JobState::completed || list.state == JobState::cancelled)) phase = kDone;
    ListPlace place;
    place.number = number;
    if (phase == kLive) return place;
    place.table = phase == kDead ? Table::dead : Table::done;
    if (number != 0) place.after = job_key({number});
    return place;
}

/// Moves `next` past numbers that no job of this store has; gives where it must be moved again, or numbers end.
std::uint64_t Core::numbers_go_on(std::uint64_t& next) const {
    for (const auto& [first, end] : unknown_jobs_) {
        if (next < first.value) return first.value;
        next = std::max(next, end.value);
    }
    return numbers_.next_job;
}

void Core::on_list(Session& session, RequestId request, const List& list, const Found& found, Output& out) {
    const ListPlace place = list_place(list);
    const std::size_t limit = std::clamp<std::size_t>(list.limit, 1, kMaxItems);
    Jobs jobs;
    Outgoing message;
    const auto add = [&](JobId id, auto&& append) {
        const std::size_t at = message.bytes.size();
        append();
        const Slice slice{static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(message.bytes.size() - at)};
        jobs.items.push_back({slice.size, Code::ok, id});
        message.payloads.push_back({PayloadRef::Kind::own, 0, slice});
    };
    const auto full = [&] { return jobs.items.size() >= limit || message.bytes.size() > kListBytes; };
    const auto wanted = [&](JobState state, std::string_view queue, std::string_view type, JobId array) {
        return (list.state == JobState::none || list.state == state) && (list.queue.empty() || list.queue == queue) &&
               (list.type.empty() || list.type == type) && (!list.array || list.array == array);
    };
    bool more = true;
    std::uint64_t next = place.number;
    if (!place.table) {
        std::size_t budget = kStepsPerListPage;
        while (budget > 0 && !full()) {
            const std::uint64_t end = numbers_go_on(next);
            const JobHandle handle = jobs_.next_from(next, end, budget);
            if (handle == kNoJob && next >= end && end != numbers_.next_job) continue;
            if (handle == kNoJob) break;
            const Job& job = jobs_[handle];
            const auto& info = ready_.info(job.class_id);
            if (wanted(job.state, info.queue_name, info.type_name, list.array ? place_of(job).array : JobId{}))
                add(job.id, [&] { append_map(job, nullptr, {}, message.bytes); });
        }
        more = next < numbers_.next_job;
        jobs.next_cursor = next;
    } else {
        bool page_goes_on = false;
        bool stopped = false;
        for (const RowView& row : found.after(*place.table, place.after, page_goes_on)) {
            if (full()) {
                stopped = true;
                break;
            }
            next = from_big_endian(row.key);
            EndRow ended;
            if (read_row(row.value, ended) && wanted(ended.state, ended.queue, ended.type, ended.array))
                add({next}, [&] { append_ended_map({next}, ended, nullptr, {}, message.bytes); });
        }
        more = stopped || page_goes_on;
        jobs.next_cursor =
            (*place.table == Table::dead ? std::uint64_t{kDead} : std::uint64_t{kDone}) << kCursorPhaseShift | next;
    }
    if (!more) {
        // On to the next table, if all states are wanted.
        const bool every_state = list.state == JobState::none;
        if (every_state && !place.table) jobs.next_cursor = std::uint64_t{kDead} << kCursorPhaseShift;
        else if (every_state && place.table == Table::dead)
            jobs.next_cursor = std::uint64_t{kDone} << kCursorPhaseShift;
        else jobs.next_cursor = 0;
    }
    message.rests_on = rests_on(out);
    message.envelope = {{}, request, std::move(jobs)};
    address(message, session);
    out.messages.push_back(std::move(message));
}

void Core::append_stats(std::string& bytes) const {
    const auto in = [&](JobState state) { return counters_.by_state[static_cast<std::size_t>(state)]; };
    std::string jobs;
    {
        MapWriter map;
        for (const JobState state :
             {JobState::scheduled, JobState::queued, JobState::assigned, JobState::running, JobState::retrying})
            map.uint(to_string(state), in(state));
        map.uint("submitted_total", numbers_.submitted_total);
        map.uint("completed_total", numbers_.completed_total);
        map.uint("cancelled_total", numbers_.cancelled_total);
        map.uint("dead_total", numbers_.dead_total);
        map.uint("retried_total", numbers_.retried_total);
        map.uint("completed_kept", numbers_.done_rows);
        map.uint("dead", numbers_.dead_rows);
        map.uint("payload_bytes", counters_.payload_bytes);
        map.append_to(jobs);
    }
    std::vector<std::string> queues;
    std::size_t queue_bytes = 0;
    for (QueueId id = 0; id < queue_counts_.size() && queue_bytes < kListBytes; ++id) {
        const QueueCounts& counts = queue_counts_[id];
        if (counts.unended + counts.completed + counts.failed + counts.dead == 0) continue;
        MapWriter map;
        map.text("name", ready_.queue_name(id));
        map.uint("queued", counts.queued);
        map.uint("running", counts.running);
        map.uint("unended", counts.unended);
        map.uint("completed", counts.completed);
        map.uint("failed", counts.failed);
        map.uint("dead", counts.dead);
        if (counts.queued > 0) map.integer("oldest_at", ready_.oldest_in(id));
        map.append_to(queues.emplace_back());
        queue_bytes += queues.back().size();
    }
    std::uint64_t slots = 0;
    for (const auto& [index, session] : sessions_) slots += session->role == Role::worker ? session->slots : 0;
    MapWriter map;
    map.raw("jobs", jobs);
    map.list("queues", queues);
    map.uint("workers", workers());
    map.uint("submitters", submitters());
    map.uint("slots", slots);
    map.uint("instances", instances_.size());
    map.uint("arrays", arrays_.size());
    map.uint("epoch", config_.epoch);
    map.boolean("claim_window", window_open_);
    map.uint("dispatched", counters_.dispatched);
    map.uint("refused", counters_.refused);
    map.uint("denied", counters_.denied);
    map.uint("stale_leases", counters_.stale_leases);
    map.uint("workers_lost", counters_.sessions_lost);
    map.uint("next_event", numbers_.next_event);
    if (!edge_map_.empty()) map.raw("broker", edge_map_);
    map.append_to(bytes);
}

}  // namespace jobyard::broker
