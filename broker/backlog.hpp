#pragma once
// Messages that have arrived and wait for room in a batch. Peers take turns, a message each: one that sends much waits
// behind its own messages, and not the others behind it. A peer's own order is kept.

#include <cstddef>
#include <deque>
#include <unordered_map>
#include <utility>

#include "inbox.hpp"
#include "output.hpp"

namespace jobyard::broker {

class Backlog {
 public:
    /// All but a half of `bytes` is only for peers of whom nothing waits yet.
    explicit Backlog(std::size_t bytes) : limit_(bytes) {}

    [[nodiscard]] bool empty() const { return turns_.empty(); }
    [[nodiscard]] bool has_room(PeerId peer, std::size_t bytes) const {
        return bytes_ + bytes <= (waiting_.contains(peer) ? limit_ / 2 : limit_);
    }
    void push(PeerId peer, Inbox::Message message) {
        bytes_ += message.bytes;
        std::deque<Waiting>& queue = waiting_[peer];
        if (queue.empty()) turns_.push_back(peer);
        queue.push_back({std::move(message), false});
    }
    /// Of whose turn it is, the first. Not if empty.
    std::pair<PeerId, Inbox::Message> pop() {
        const PeerId peer = turns_.front();
        turns_.pop_front();
        const auto queue = waiting_.find(peer);
        Inbox::Message message = std::move(queue->second.front().message);
        queue->second.pop_front();
        bytes_ -= message.bytes;
        if (queue->second.empty()) waiting_.erase(queue);
        else turns_.push_back(peer);
        return {peer, std::move(message)};
    }
    /// At the end of a turn: what still waits no longer keeps the buffers it was received in. Gives how many are new.
    std::size_t keep() {
        std::size_t kept = 0;
        for (auto& [peer, queue] : waiting_)
            for (auto at = queue.rbegin(); at != queue.rend() && !at->is_kept; ++at, ++kept) {
                at->message.frames->detach(at->message);
                at->is_kept = true;
            }
        return kept;
    }
    /// The peer is gone.
    void drop(PeerId peer) {
        const auto queue = waiting_.find(peer);
        if (queue == waiting_.end()) return;
        for (const Waiting& waiting : queue->second) bytes_ -= waiting.message.bytes;
        waiting_.erase(queue);
        std::erase(turns_, peer);
    }

 private:
    struct Waiting {
        Inbox::Message message;
        bool is_kept = false;
    };
    const std::size_t limit_;
    std::size_t bytes_ = 0;
    std::unordered_map<PeerId, std::deque<Waiting>> waiting_;  ///< none of them empty
    std::deque<PeerId> turns_;                                 ///< each of them once
};

}  // namespace jobyard::broker
