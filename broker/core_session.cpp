// From HELLO to loss: who is there, what they may go on with, and what becomes of what they held.

#include <algorithm>

#include "core.hpp"
#include "jobyard/assert.hpp"
#include "simulated.hpp"

namespace jobyard::broker {
namespace {

constexpr std::int64_t kInstanceKeptMs =
    std::int64_t{24} * 3600 * 1000;  // of the broker's running time, without a session
constexpr std::int64_t kSessionCheckMs = 1000;
constexpr std::uint32_t kBusyMs = 5000;  // for room that may come when somebody goes

/// splitmix64 (Steele, Lea, Flood 2014).
std::uint64_t mix(std::uint64_t x) {
    x += 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31U);
}

}  // namespace

std::optional<Refusal> Core::check(const Hello& hello, const Session* older, PeerId peer, const Principal& who) {
    const auto busy = [](const char* text) {
        Refusal refusal;
        refusal.code = Code::busy;
        refusal.text = text;
        refusal.retry_after_ms = kBusyMs;
        return refusal;
    };
    const auto refuse = [](Code code, const char* text, const char* field) {
        Refusal refusal;
        refusal.code = code;
        refusal.text = text;
        refusal.field = field;
        return refusal;
    };
    if (hello.instance.is_nil()) return refuse(Code::bad_field, "an instance is 16 random bytes", "instance");
    if (older != nullptr && older->role != hello.role)
        return refuse(Code::bad_field, "this instance has said HELLO in another role", "role");
    const auto here = by_peer_.find(peer);
    const bool ends_another = older != nullptr || (here != by_peer_.end() && here->second != 0);
    if (!ends_another)
        if (const char* why = no_room_for_session(who)) return busy(why);
    if (hello.role == Role::submitter) {
        if (!hello.name.empty() && !is_name(hello.name))
            return refuse(Code::bad_field, "a name is 1 to 255 bytes of UTF-8 without control characters", "name");
        return std::nullopt;
    }
    if (hello.role != Role::worker) return refuse(Code::bad_field, "a role is 1 (submitter) or 2 (worker)", "role");
    if (!is_name(hello.name))
        return refuse(Code::bad_field, "a worker's name is 1 to 255 bytes of UTF-8 without control characters", "name");
    if (hello.slots == 0 || hello.slots > kMaxCredit) return refuse(Code::bad_field, "slots are 1 to 1024", "slots");
    if (hello.credit > kMaxCredit) return refuse(Code::bad_field, "credit is at most 1024", "credit");
    if (hello.queues.empty() || hello.queues.size() > kMaxQueuesPerWorker)
        return refuse(Code::bad_field, "a worker serves 1 to 256 queues", "queues");
    if (hello.types.empty()) return refuse(Code::bad_field, "a worker registers 1 to 1024 types", "types");
    if (!std::all_of(hello.queues.begin(), hello.queues.end(), is_name))
        return refuse(Code::bad_field, "a queue is 1 to 255 bytes of UTF-8 without control characters", "queues");
    if (!std::all_of(hello.types.begin(), hello.types.end(), is_name))
        return refuse(Code::bad_field, "a type is 1 to 255 bytes of UTF-8 without control characters", "types");
    if (!hello.host.empty() && !is_name(hello.host))
        return refuse(Code::bad_field, "a host is at most 255 bytes of UTF-8 without control characters", "host");
    const std::uint64_t limit = config_.limits.served_names;
    if (ready_.served_names() + hello.queues.size() + hello.types.size() <= limit) return std::nullopt;
    // Lists that are there already need no room, also if the limit has become less since they came.
    const std::size_t names =
        ready_.new_names({hello.queues.begin(), hello.queues.end()}, {hello.types.begin(), hello.types.end()});
    if (names == 0 || ready_.served_names() + names <= limit) return std::nullopt;
    return busy(
        "the workers here serve as many different lists of queues and types as they may: workers with the "
        "same lists count once (limit served_names)");
}

void Core::on_hello(PeerId peer, RequestId request, const Hello& hello, Turn turn, Output& out) {
    if (hello.min_version > kProtocolVersion || hello.max_version < kProtocolVersion)
        return refuse(peer, {}, request, Code::version_not_spoken,
                      "this broker speaks protocol version " + std::to_string(kProtocolVersion) + ", this peer " +
                          std::to_string(hello.min_version) + " to " + std::to_string(hello.max_version),
                      "min_version", out);
    const auto place = by_instance_.find(hello.instance);
    Session* older = place == by_instance_.end() ? nullptr : sessions_.at(place->second).get();
    const Who who = who_is(peer);
    if (auto why = may_not(who, hello, older)) {
        deny(who ? *who : Principal{.name = "unknown"}, "HELLO");
        return refuse(peer, {}, request, Code::not_allowed, *std::move(why), "role", out);
    }
    if (const auto refusal = check(hello, older, peer, *who)) {
        send(peer, {}, request, *refusal, 0, out);
        ++counters_.refused;
        return;
    }
    // An instance leaves a connection for a newer one. What was still unread of the one it left says nothing any more.
    if (older != nullptr && is_older(peer, older->peer))
        return refuse(peer, {}, request, Code::replaced, "this instance has said HELLO on a newer connection", "", out);
    // This connection may have been somebody else before; a new HELLO ends that.
    const auto known = by_peer_.find(peer);
    if (known != by_peer_.end() && known->second != 0 && (older == nullptr || known->second != older->index)) {
        Session& other = *sessions_.at(known->second);
        if (other.role == Role::worker) lose_worker(other, turn, out);
        else end_session(other, turn);
    }
    auto made = std::make_unique<Session>();
    Session& session = *made;
    session.index = ++last_session_;
    session.id = {mix(turn.random ^ mix(session.index)) | 1U};
    session.peer = peer;
    session.role = hello.role;
    session.instance = hello.instance;
    session.name = hello.name;
    session.who = who;
    session.usage = &usage_of(who->public_key);
    session.owner = owner_of(*who);
    session.heard_at = turn.now;

    Welcome welcome;
    welcome.minor = protocol_minor();
    welcome.store = config_.store;
    welcome.epoch = config_.epoch;
    welcome.software = config_.software;
    welcome.heartbeat_ms = config_.timing.heartbeat_ms;
    welcome.lost_after_ms = config_.timing.lost_after_ms;
    welcome.lease_ms = config_.timing.lease_ms;
    welcome.renew_ms = config_.timing.renew_ms;
    welcome.window = kSubmitWindow;
    welcome.max_payload = static_cast<std::uint32_t>(config_.limits.payload_bytes);
    welcome.max_result = static_cast<std::uint32_t>(config_.limits.result_bytes);
    if (hello.role == Role::submitter) {
        if (const char* why = join_instance(session, hello, welcome, turn, out))
            return refuse(peer, {}, request, Code::busy, why, "", out, kBusyMs);
    } else {
        join_worker(session, hello, older, welcome, turn, out);
    }
    if (older != nullptr) {
        if (older->peer != peer && by_peer_.contains(older->peer)) {
            refuse(older->peer, older->id, {}, Code::replaced, "a newer session of this instance has taken over", "",
                   out);
            by_peer_[older->peer] = 0;
        }
        end_session(*older, turn);
    }
    by_peer_[peer] = session.index;
    ++session.usage->sessions;
    sessions_[session.index] = std::move(made);
    by_instance_[session.instance] = session.index;
    if (session.instance_number != 0) {
        Instance& instance = instances_.at(session.instance_number);
        gone_instances_.erase({instance.gone_at, session.instance_number});
        instance.usage->idle.erase({instance.gone_at, session.instance_number});
        instance.session = session.index;
    }
    session.hears_first = rests_on(out);
    answer(session, request, std::move(welcome), out);
    if (session.role == Role::worker) {
        for (JobHandle handle = session.leases; handle != kNoJob; handle = jobs_[handle].next)
            if (jobs_[handle].cancel_requested) queue_stop(session, jobs_[handle], StopReason::cancel, out);
        reposition(session);
    }
}

/// A retired instance gets a session (so that it hears of it) but may not submit.
const char* Core::join_instance(Session& session, const Hello& hello, Welcome& welcome, Turn turn, Output& out) {
    session.granted = hello.grant;
    const auto known = instance_numbers_.find(hello.instance);
    if (known != instance_numbers_.end()) {
        session.instance_number = known->second;
        welcome.instance = InstanceState::resumed;
        confirm(instances_.at(known->second), hello.confirmed);
        if (planted(PlantedBug::window_forgotten_too_early)) instances_.at(known->second).runs.clear();
        return nullptr;
    }
    if (hello.resumed) {
        welcome.instance = InstanceState::retired;
        return nullptr;
    }
    if (const char* why = no_room_for_instance(*session.who, out)) return why;
    const std::uint64_t number = numbers_.next_instance++;
    Instance& instance = add_instance(number, hello.instance, session.who->public_key);
    instance.confirmed = hello.confirmed;
    instance.gone_at = turn.now;
    instance.dirty = true;
    dirty_instances_.insert(number);
    touched_ = true;  // the row is durable before WELCOME leaves: from then on a missing row means "retired"
    session.instance_number = number;
    return nullptr;
}

Core::Instance& Core::add_instance(std::uint64_t number, const Uuid& id, std::string_view public_key) {
    Instance& instance = instances_[number];
    instance.id = id;
    instance.usage = &usage_of(public_key);
    ++instance.usage->instances;
    instance_numbers_[id] = number;
    return instance;
}

/// It has no session now.
void Core::leave_instance(std::uint64_t number, Turn turn) {
    Instance& instance = instances_.at(number);
    instance.session = 0;
    instance.gone_at = turn.now;
    gone_instances_.insert({turn.now, number});
    if (instance.runs.empty()) instance.usage->idle.insert({turn.now, number});
}

void Core::forget_instance(std::uint64_t number, Output& out) {
    const Instance& instance = instances_.at(number);
    out.batch->erase(Table::instances, big_endian(number));
    gone_instances_.erase({instance.gone_at, number});
    instance.usage->idle.erase({instance.gone_at, number});
    --instance.usage->instances;
    dirty_instances_.erase(number);
    instance_numbers_.erase(instance.id);
    instances_.erase(number);
}

void Core::load_instance(std::uint64_t number, const InstanceRow& row, Turn turn) {
    Instance& instance = add_instance(number, row.instance, row.key);
    instance.confirmed = row.confirmed;
    instance.runs.assign(row.runs.begin(), row.runs.end());
    leave_instance(number, turn);
}

void Core::join_worker(Session& session, const Hello& hello, Session* older, Welcome& welcome, Turn turn, Output& out) {
    session.minor = hello.minor;
    session.software = hello.software;
    session.host = hello.host;
    session.pid = hello.pid;
    session.connected_at = turn.wall;
    session.slots = hello.slots;
    session.credit = hello.credit;
    session.service = ready_.join({hello.queues.begin(), hello.queues.end()}, {hello.types.begin(), hello.types.end()});
    free_.resize(std::max(free_.size(), ready_.services()));
    const auto awaited = awaited_.find(hello.instance);
    if (older != nullptr) {
        session.row = older->row;
        older->row = 0;  // the row goes on with the new session
        session.draining = older->draining;
    } else if (awaited != awaited_.end()) {
        session.row = awaited->second.row;
        session.draining = awaited->second.draining;
    } else {
        session.row = numbers_.next_worker++;
        const Slice key = out.batch->append(big_endian(session.row));
        out.batch->put(Table::workers, key, append_row(*out.batch, WorkerRow{session.instance, session.name}));
        record_about(EventKind::worker_joined, {.worker = session.name});
    }
    if (awaited != awaited_.end()) awaited_.erase(awaited);
    // A broker with another store knows nothing of these jobs, whatever their numbers.
    const bool same_store = hello.store.is_nil() || hello.store == config_.store;
    for (const Claim& claimed : hello.claims)
        welcome.claims.push_back(same_store ? claim(session, older, claimed, turn) : Code::stale_lease);
    if (older == nullptr) return;
    // What was out to it and is not listed was never received.
    while (older->leases != kNoJob) {
        Attempted attempted;
        attempted.outcome = Outcome::released;
        attempted.error = "its worker came back without it";
        end_attempt(older->leases, attempted, turn, out);
    }
}

Code Core::claim(Session& session, const Session* older, const Claim& claim, Turn turn) {
    // A finished one is judged when its end arrives again: a repeated end is answered as the first time.
    const Code refused = claim.finished ? Code::ok : Code::stale_lease;
    const JobHandle handle = jobs_.find(claim.job);
    if (handle == kNoJob) return refused;
    Job& job = jobs_[handle];
    // A number and a token can be guessed.
    if (!covers(session, ready_.info(job.class_id).queue)) return refused;
    if (job.leased()) {
        if (older == nullptr || job.worker != older->index || job.token != claim.token) return refused;
        const std::int64_t hard_end = job.hard_end;
        drop_lease(handle);
        job.hard_end = hard_end;  // the attempt goes on, and its timeout with it
    } else {
        const auto accepted_before = old_claims_.find(claim.job);
        const bool good =
            window_open_ && claim.token >= job.token && (claim.token.value >> kTokenCounterBits) < config_.epoch &&
            (claim.token >= floor_ || (accepted_before != old_claims_.end() && accepted_before->second == claim.token));
        if (!good) return refused;
        if (planted(PlantedBug::double_dispatch_after_claim)) return Code::ok;
        if (job.state == JobState::queued) ready_.remove(handle);
        deadlines_.drop(handle);
        job.token = claim.token;
        job.granted_at = turn.wall;
        job.hard_end = 0;
        set_state(job, JobState::running);
    }
    const std::int64_t until = turn.now + config_.timing.lease_ms;
    take_lease(session, handle, job.hard_end == 0 ? until : std::min(until, job.hard_end));
    return job.cancel_requested ? Code::cancel_requested : Code::ok;
}

void Core::close_claim_window(Turn turn, Output& out) {
    window_open_ = false;
    for (const auto& [instance, worker] : awaited_) {
        out.batch->erase(Table::workers, big_endian(worker.row));
        record_about(EventKind::worker_left,
                     {.worker = worker.name, .text = "it did not come back after the broker's restart"});
    }
    awaited_.clear();
    for (const auto& [job, token] : old_claims_) {
        const JobHandle handle = jobs_.find(job);
        if (handle == kNoJob || !jobs_[handle].leased()) out.batch->erase(Table::claims, job_key(job));
        else jobs_[handle].has_claim_row = true;
    }
    old_claims_.clear();
    const LeaseToken first_of_epoch{std::uint64_t{config_.epoch} << kTokenCounterBits};
    for (const auto& [index, session] : sessions_)
        for (JobHandle handle = session->leases; handle != kNoJob; handle = jobs_[handle].next) {
            Job& job = jobs_[handle];
            if (job.token >= first_of_epoch || job.has_claim_row) continue;
            job.has_claim_row = true;
            out.batch->put(Table::claims, job_key(job.id), big_endian(job.token.value));
        }
    // Cancelled before the crash and claimed by nobody: nobody runs them, so they end here.
    for (const JobId id : cancelled_before_) {
        const JobHandle handle = jobs_.find(id);
        if (handle != kNoJob && !jobs_[handle].leased())
            end_job(handle, JobState::cancelled, Reason::none, {}, {}, turn, out);
    }
    cancelled_before_.clear();
    floor_ = first_of_epoch;
    out.batch->put(Table::meta, kMetaFloor, big_endian(floor_.value));
    window_closed_in_ = out.batch->seq;
}

void Core::on_goodbye(Session& session, const Goodbye& goodbye, Turn turn, Output& out) {
    if (session.role == Role::submitter) {
        const std::uint64_t number = session.instance_number;
        end_session(session, turn);
        if (number == 0) return;
        Instance& instance = instances_.at(number);
        confirm(instance, goodbye.confirmed);
        if (instance.runs.empty()) forget_instance(number, out);
        return;
    }
    while (session.leases != kNoJob) {
        Attempted attempted;
        attempted.outcome = Outcome::released;
        attempted.error = "its worker left";
        end_attempt(session.leases, attempted, turn, out);
    }
    out.batch->erase(Table::workers, big_endian(session.row));
    record_about(EventKind::worker_left, {.worker = session.name, .text = "it said goodbye"});
    end_session(session, turn);
}

/// Takes the session out of every list. A worker's leases must have gone elsewhere before.
void Core::end_session(Session& session, Turn turn) {
    JOBYARD_ASSERT(session.leases == kNoJob);
    if (session.free_at) {
        free_[session.service].erase({*session.free_at, session.index});
        tell_room(session.service);
    }
    if (session.role == Role::worker) ready_.leave(session.service);
    --session.usage->sessions;
    const auto newest = by_instance_.find(session.instance);
    if (newest != by_instance_.end() && newest->second == session.index) by_instance_.erase(newest);
    if (session.instance_number != 0) {
        in_flight_.leaves(session.instance_number);
        const Instance& instance = instances_.at(session.instance_number);
        if (instance.session == session.index) leave_instance(session.instance_number, turn);
    }
    const auto place = by_peer_.find(session.peer);
    if (place != by_peer_.end() && place->second == session.index) by_peer_.erase(place);
    with_results_.erase(session.index);
    with_dispatch_.erase(session.index);
    forget_followers(session);
    const auto ended = sessions_.find(session.index);
    if (session.role == Role::worker && !events_.empty()) left_sessions_.push_back(std::move(ended->second));
    sessions_.erase(ended);
}

void Core::lose_worker(Session& session, Turn turn, Output& out) {
    ++counters_.sessions_lost;
    const bool closed = session.gone_at >= 0;
    while (session.leases != kNoJob) {
        Attempted attempted;
        attempted.outcome = Outcome::worker_lost;
        attempted.error = closed ? "the connection to its worker closed" : "its worker fell silent";
        end_attempt(session.leases, attempted, turn, out);
    }
    out.batch->erase(Table::workers, big_endian(session.row));
    record_about(EventKind::worker_left,
                 {.worker = session.name, .text = closed ? "its connection closed" : "it fell silent"});
    end_session(session, turn);
}

void Core::peer_gone(PeerId peer, Turn turn) {
    introduced_.erase(peer);
    const auto found = by_peer_.find(peer);
    if (found == by_peer_.end()) return;
    if (found->second == 0) {
        by_peer_.erase(found);
        return;
    }
    Session& session = *sessions_.at(found->second);
    if (session.role == Role::submitter) return end_session(session, turn);
    by_peer_.erase(found);
    session.gone_at = turn.now;
    next_session_check_ = std::min(next_session_check_, turn.now + config_.timing.reconnect_grace_ms);
    reposition(session);
}

void Core::expire_sessions(Turn turn, Output& out) {
    if (turn.now < next_session_check_) return;
    const std::int64_t lost_after = config_.timing.lost_after_ms;
    std::int64_t next = turn.now + std::min(kSessionCheckMs, std::max<std::int64_t>(lost_after / 10, 1));
    std::vector<SessionIndex> lost;
    for (const auto& [index, session] : sessions_) {
        const std::int64_t ends = session->gone_at >= 0 ? session->gone_at + config_.timing.reconnect_grace_ms
                                                        : session->heard_at + lost_after;
        if (ends > turn.now) next = std::min(next, ends);
        else if (!window_open_) lost.push_back(index);
    }
    for (const SessionIndex index : lost) {
        Session& session = *sessions_.at(index);
        session.role == Role::worker ? lose_worker(session, turn, out) : end_session(session, turn);
    }
    std::vector<std::uint64_t> retired;
    for (const auto& [gone_at, number] : gone_instances_) {
        if (gone_at + kInstanceKeptMs > turn.now || retired.size() == 1000) break;
        retired.push_back(number);
    }
    for (const std::uint64_t number : retired) forget_instance(number, out);
    next_session_check_ = next;
}

}  // namespace jobyard::broker
