#include "inbox.hpp"

#include <utility>
#include <variant>

namespace jobyard::broker {
namespace {

/// Work whose live jobs are settled at once, even if the rest of the list has to wait for the disk.
bool is_end(const Message& message) {
    return std::holds_alternative<Complete>(message) || std::holds_alternative<Fail>(message) ||
           std::holds_alternative<Release>(message);
}

/// What never waits behind a message of its session that is being looked up: it changes nothing that one could see.
bool overtakes(const Message& message) {
    return std::holds_alternative<Heartbeat>(message) || std::holds_alternative<Renew>(message) ||
           std::holds_alternative<Started>(message) || std::holds_alternative<Credit>(message) ||
           std::holds_alternative<Grant>(message);
}

}  // namespace

bool is_work(const Message& message) {
    const auto* hello = std::get_if<Hello>(&message);
    return (hello != nullptr && hello->role == Role::worker) || std::holds_alternative<Credit>(message) ||
           std::holds_alternative<Started>(message) || std::holds_alternative<Renew>(message) || is_end(message);
}

void Inbox::take(PeerId peer, Message message, Turn now, Output& out) {
    const auto waiting = waiting_.find(peer);
    const bool behind = waiting != waiting_.end() && !overtakes(message.envelope.message);
    message.needs = core_.needs(peer, message.envelope);
    if (!behind && message.needs.empty()) return edge_.decide(peer, message, {}, now, out);
    if (is_end(message.envelope.message))
        core_.settle_live(peer, message.envelope, message.payload, message.settled, now, out);
    std::deque<Message>& queue = waiting_[peer];
    if (queue.size() >= kMaxWaitingMessages)
        return core_.refuse(peer, message.envelope.session, message.envelope.request, Code::busy,
                            "64 messages of this session wait for the disk already", "", out, 100);
    message.frames->detach(message);
    queue.push_back(std::move(message));
    if (queue.size() == 1) look_up_first(peer);
}

void Inbox::look_up_first(PeerId peer) {
    Message& first = waiting_.at(peer).front();
    first.read = edge_.look_up(peer, first.needs);
}

/// False: with what was found it needs more.
bool Inbox::decide_first(PeerId peer, Message& first, const Snapshot& snapshot, Turn now, Output& out) {
    std::vector<Need> besides;
    {
        const Found found =
            first.needs.empty() ? Found{} : Found(first.needs, snapshot, batches_.after(snapshot.applied_seq));
        if (!std::exchange(first.has_all_needs, true)) besides = core_.needs_besides(first.envelope, found);
        if (besides.empty()) {
            edge_.decide(peer, first, found, now, out);
            return true;
        }
    }
    for (Need& need : besides) first.needs.push_back(std::move(need));
    return false;
}

void Inbox::answered(PeerId peer, std::uint64_t read, const Snapshot& snapshot, Turn now, Output& out) {
    const auto waiting = waiting_.find(peer);
    // It is gone, or was (drop) and this was for what waited then.
    if (waiting == waiting_.end() || waiting->second.front().read != read) return;
    std::deque<Message>& queue = waiting->second;
    if (!decide_first(peer, queue.front(), snapshot, now, out)) return look_up_first(peer);
    queue.pop_front();
    while (!queue.empty()) {
        queue.front().needs = core_.needs(peer, queue.front().envelope);
        if (!queue.front().needs.empty()) return look_up_first(peer);
        edge_.decide(peer, queue.front(), {}, now, out);
        queue.pop_front();
    }
    waiting_.erase(waiting);
}

}  // namespace jobyard::broker
