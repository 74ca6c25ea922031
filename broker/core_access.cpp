// Who may do what: each message is authorised here, by who sent it, what it is, and which queues it is about. The table
// is in access.cpp. What a list says of single jobs is answered job by job, so that one of them that may not be touched
// does not hold up the others; all else is refused as a whole.

#include <algorithm>

#include "core.hpp"

namespace jobyard::broker {
namespace {

constexpr std::size_t kDenialsKept = 16;  // until the edge takes them for its log

}  // namespace

void Core::introduce(PeerId peer, Who who) { introduced_[peer] = std::move(who); }

Who Core::who_is(PeerId peer) const {
    if (!guarded_) return anybody();
    const auto known = introduced_.find(peer);
    return known == introduced_.end() ? nullptr : known->second;
}

bool Core::covers(Session& session, QueueId queue) const {
    if (session.who->is_admin()) return true;
    enum : std::uint8_t { unknown, yes, no };
    if (session.covered.size() <= queue) session.covered.resize(ready_.queues(), unknown);
    std::uint8_t& covered = session.covered[queue];
    if (covered == unknown) covered = session.who->covers(ready_.queue_name(queue)) ? yes : no;
    return covered == yes;
}

/// Of a job or an array that is there, in memory or in what was found.
std::optional<std::string_view> Core::queue_of(JobId id, const Found& found) const {
    if (const Job* live = job(id)) return ready_.info(live->class_id).queue_name;
    if (const auto array = arrays_.find(id); array != arrays_.end()) return array->second.queue;
    EndRow ended;
    if (find_ended(found, id, ended)) return ended.queue;
    return std::nullopt;
}

/// Of a number that is no job's there is nothing to hide.
std::optional<Answer> Core::may_not(const Session& session, JobId id, const Found& found, Scope scope) {
    if (session.who->covers_all() || (scope == Scope::see && session.who->sees_all())) return std::nullopt;
    const auto queue = queue_of(id, found);
    if (!queue || session.who->covers(*queue)) return std::nullopt;
    deny(session, scope == Scope::see ? "see jobs in this queue" : "act on jobs in this queue");
    return Answer{Code::not_allowed, id, JobState::none, "this key does not cover the queue of this job"};
}

void Core::deny(const Session& session, std::string_view what) { deny(*session.who, what); }

void Core::deny(const Principal& who, std::string_view what) {
    ++counters_.denied;
    if (denials_.size() < kDenialsKept) denials_.push_back({who.name, std::string(what)});
}

std::vector<Denial> Core::take_denials() { return std::exchange(denials_, {}); }

std::string Core::roles_text(const Principal& who) {
    std::string text;
    for (const KeyRole role : {KeyRole::submit, KeyRole::work, KeyRole::observe, KeyRole::operate, KeyRole::admin})
        if (who.has(static_cast<KeyRoles>(role))) text += (text.empty() ? "" : ", ") + std::string(to_string(role));
    return text;
}

/// Why the message may not be sent, as far as that does not depend on single jobs of its list.
std::optional<std::string> Core::may_not(const Session& session, const Message& message) const {
    const Principal& who = *session.who;
    if (!may_send(who, message))
        return "the key " + who.name + " (" + roles_text(who) + ") may not send " + message_name(message);
    if (who.covers_all()) return std::nullopt;
    const auto outside = [&who](std::string_view queue) -> std::optional<std::string> {
        if (queue.empty()) return "the key " + who.name + " covers some queues only: name one of them";
        if (who.covers(queue)) return std::nullopt;
        return "the key " + who.name + " does not cover the queue " + std::string(queue);
    };
    if (const auto* list = std::get_if<List>(&message)) return who.sees_all() ? std::nullopt : outside(list->queue);
    if (const auto* queues = std::get_if<ListQueues>(&message))
        return who.sees_all() ? std::nullopt : outside(queues->name);
    const auto array_queue = [&](JobId id) -> std::optional<std::string> {
        const auto array = arrays_.find(id);
        if (array == arrays_.end()) return id ? std::nullopt : outside({});
        return outside(array->second.queue);
    };
    if (const auto* arrays = std::get_if<ListArrays>(&message))
        return who.sees_all() ? std::nullopt : array_queue(arrays->array);
    if (const auto* steer = std::get_if<SteerArray>(&message)) return array_queue(steer->array);
    // "*" is no queue here but all of them, and a pattern may fit its letter.
    if (const auto* set = std::get_if<SetQueue>(&message))
        return outside(set->queue == "*" ? std::string_view{} : set->queue);
    if (const auto* change = std::get_if<Change>(&message); change != nullptr && !change->queue.empty())
        return outside(change->queue);
    if (const auto* edit = std::get_if<Edit>(&message); edit != nullptr && !edit->queue.empty())
        return outside(edit->queue);
    if (const auto* start = std::get_if<StartTask>(&message)) return outside(start->queue);
    if (const auto* stop = std::get_if<StopTask>(&message)) {
        const auto task = tasks_.find(stop->task);
        if (task == tasks_.end()) return std::nullopt;
        if (task->second.row.action == TaskAction::purge)
            return "the key " + who.name + " (" + roles_text(who) + ") may not stop a purge";
        return outside(task->second.queue);
    }
    if (const auto* steer = std::get_if<SteerWorker>(&message)) {
        for (const auto& [index, worker] : sessions_) {
            if (worker->role != Role::worker || worker->name != steer->name) continue;
            for (const std::string& queue : ready_.queues_of(worker->service))
                if (!who.covers(queue)) return outside(queue);
        }
        // Which queues those serve that are away since a restart is not known.
        for (const auto& [instance, worker] : awaited_)
            if (worker.name == steer->name) return "the worker " + worker.name + " has not come back yet: try again";
    }
    return std::nullopt;
}

/// An instance, and with it a submit window, is its key's, also while it has no session.
bool Core::is_of_another_key(const Principal& who, const Hello& hello, const Session* older) const {
    if (older != nullptr) return older->who->public_key != who.public_key;
    const auto known = instance_numbers_.find(hello.instance);
    return known != instance_numbers_.end() && instances_.at(known->second).usage->public_key != who.public_key;
}

/// Why a HELLO is refused.
std::optional<std::string> Core::may_not(const Who& who, const Hello& hello, const Session* older) const {
    if (!who) return "this key is not known here any more";
    if (!may_send(*who, hello))
        return "the key " + who->name + " (" + roles_text(*who) + ") may not come as a " +
               (hello.role == Role::worker ? "worker" : "submitter");
    if (is_of_another_key(*who, hello, older)) return "this instance is that of another key";
    if (hello.role != Role::worker || who->covers_all()) return std::nullopt;
    for (const std::string_view queue : hello.queues)
        if (!who->covers(queue))
            return "the key " + who->name + " does not cover the queue " + std::string(queue) +
                   ", which this worker serves";
    return std::nullopt;
}

// --- another access file ---------------------------------------------------------------------------------------------

std::vector<PeerId> Core::set_access(const Access& access, Turn turn, Output& out) {
    guarded_ = true;
    set_quotas(access);
    const auto now_of = [&access](const Who& who) -> Who {
        if (!who) return nullptr;
        return who->public_key.empty() ? access.local : access.find(who->public_key);
    };
    for (auto& [peer, who] : introduced_) who = now_of(who);
    std::vector<SessionIndex> cut;
    std::vector<SessionIndex> again;
    for (auto& [index, session] : sessions_) {
        Who now = now_of(session->who);
        Hello as_it_is;  // would it be let in today?
        as_it_is.role = session->role;
        if (session->role == Role::worker)
            for (const std::string& queue : ready_.queues_of(session->service)) as_it_is.queues.emplace_back(queue);
        if (may_not(now, as_it_is, nullptr)) {
            cut.push_back(index);
            continue;
        }
        const bool may_be_less = now->roles != session->who->roles || now->queues != session->who->queues;
        if (session->role == Role::submitter && may_be_less) again.push_back(index);
        session->owner = owner_of(*now);
        session->who = std::move(now);  // with the same public key: its share stays
        session->covered.clear();
    }
    // What they watch and wait for, they were let in for as they were: asked for again, it is judged again.
    for (const SessionIndex index : again) {
        Session& session = *sessions_.at(index);
        refuse(session.peer, session.id, {}, Code::no_session, "the rights of this key have changed: say HELLO again",
               "", out);
        end_session(session, turn);
    }
    std::vector<PeerId> peers;
    for (const SessionIndex index : cut) {
        Session& session = *sessions_.at(index);
        const bool connected = session.gone_at < 0;
        if (connected) peers.push_back(session.peer);
        revoke(session, turn, out);
    }
    return peers;
}

/// Ends the session at once, and says why. What it holds goes to others, charged to nobody.
void Core::revoke(Session& session, Turn turn, Output& out) {
    deny(session, "be here any more: its key was revoked, or may not do what it does");
    if (session.gone_at < 0)
        refuse(session.peer, session.id, {}, Code::not_allowed,
               "the key " + session.who->name + " was revoked, or may not do this any more", "", out);
    if (session.role == Role::submitter) return end_session(session, turn);
    while (session.leases != kNoJob) {
        queue_stop(session, jobs_[session.leases], StopReason::lease_lost, out);
        Attempted attempted;
        attempted.outcome = Outcome::released;
        attempted.error = "the key of its worker was revoked";
        end_attempt(session.leases, attempted, turn, out);
    }
    out.batch->erase(Table::workers, big_endian(session.row));
    record_about(EventKind::worker_left, {.worker = session.name, .text = "its key was revoked"});
    end_session(session, turn);
}

}  // namespace jobyard::broker
