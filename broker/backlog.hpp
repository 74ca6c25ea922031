#pragma once
// Messages that have arrived and wait for room in a batch. Peers take turns, a message each: one that sends much waits
// behind its own messages, and not the others behind it. Small clients (shares.hpp) have turns of their own, between
// those of the busy ones, so that they wait for one message of these at most. A peer's own order is kept.

#include <array>
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

    /// Nothing waits; or nothing of small clients, if only theirs is asked for.
    [[nodiscard]] bool empty(bool only_small = false) const {
        return turns_of(true).empty() && (only_small || turns_of(false).empty());
    }
    [[nodiscard]] bool has_room(PeerId peer, std::size_t bytes) const {
        return bytes_ + bytes <= (waiting_.contains(peer) ? limit_ / 2 : limit_);
    }
    /// If it was small before and is not now, or the other way round, that holds from its next turn on.
    void push(PeerId peer, Inbox::Message message, bool is_small = false) {
        bytes_ += message.bytes;
        Line& line = waiting_[peer];
        if (line.messages.empty()) turns_of(is_small).push_back(peer);
        line.is_small = is_small;
        line.messages.push_back({std::move(message), false});
    }
    /// Of whose turn it is, the first: of a small client and of a busy one alternately, if both wait. Not if empty.
    std::pair<PeerId, Inbox::Message> pop(bool only_small = false) {
        small_is_next_ = only_small || turns_of(false).empty() || (small_is_next_ && !turns_of(true).empty());
        std::deque<PeerId>& turns = turns_of(small_is_next_);
        small_is_next_ = !small_is_next_;
        const PeerId peer = turns.front();
        turns.pop_front();
        const auto line = waiting_.find(peer);
        Inbox::Message message = std::move(line->second.messages.front().message);
        line->second.messages.pop_front();
        bytes_ -= message.bytes;
        if (line->second.messages.empty()) waiting_.erase(line);
        else turns_of(line->second.is_small).push_back(peer);
        return {peer, std::move(message)};
    }
    /// At the end of a turn: what still waits no longer keeps the buffers it was received in. Gives how many are new.
    std::size_t keep() {
        std::size_t kept = 0;
        for (auto& [peer, line] : waiting_)
            for (auto at = line.messages.rbegin(); at != line.messages.rend() && !at->is_kept; ++at, ++kept) {
                at->message.frames->detach(at->message);
                at->is_kept = true;
            }
        return kept;
    }
    /// The peer is gone.
    void drop(PeerId peer) {
        const auto line = waiting_.find(peer);
        if (line == waiting_.end()) return;
        for (const Waiting& waiting : line->second.messages) bytes_ -= waiting.message.bytes;
        waiting_.erase(line);
        for (std::deque<PeerId>& turns : turns_) std::erase(turns, peer);
    }

 private:
    struct Waiting {
        Inbox::Message message;
        bool is_kept = false;
    };
    struct Line {
        std::deque<Waiting> messages;
        bool is_small = false;
    };

    [[nodiscard]] std::deque<PeerId>& turns_of(bool small) { return turns_[small ? 1 : 0]; }
    [[nodiscard]] const std::deque<PeerId>& turns_of(bool small) const { return turns_[small ? 1 : 0]; }

    const std::size_t limit_;
    std::size_t bytes_ = 0;
    std::unordered_map<PeerId, Line> waiting_;  ///< none of them empty
    std::array<std::deque<PeerId>, 2> turns_;   ///< busy, small: each of them once, in one of the two
    bool small_is_next_ = true;
};

}  // namespace jobyard::broker
