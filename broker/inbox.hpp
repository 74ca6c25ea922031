#pragma once
// Messages from their arrival until the core decides them: at once, or when the rows that they need have been read, in
// their session's order. Owned by the loop; one thread.

#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "batches.hpp"
#include "core.hpp"
#include "found.hpp"
#include "output.hpp"

namespace jobyard::broker {

class Inbox {
 public:
    class Frames;
    struct Message {
        Envelope envelope;
        std::string_view payload;
        std::shared_ptr<Frames> frames;  ///< what both look into
        std::size_t bytes = 0;           ///< of the frames
        // While it waits:
        Settled settled = {};
        std::vector<Need> needs = {};
        bool has_all_needs = false;  ///< needs_besides() was asked
        std::uint64_t read = 0;      ///< the first of its session: what it waits for
    };
    class Frames {
     public:
        Frames() = default;
        virtual ~Frames() = default;
        Frames(const Frames&) = delete;
        Frames& operator=(const Frames&) = delete;
        /// The message stays longer than this turn: it must not pin what it shares with others. Renews its views.
        virtual void detach(Message& message) = 0;
    };
    class Edge {
     public:
        Edge() = default;
        virtual ~Edge() = default;
        Edge(const Edge&) = delete;
        Edge& operator=(const Edge&) = delete;

        /// Has the core handle it.
        virtual void decide(PeerId peer, const Message& message, const Found& found, Turn now, Output& out) = 0;
        /// Has these rows read, for answered(). Returns a number that no other read has.
        virtual std::uint64_t look_up(PeerId peer, std::vector<Need> needs) = 0;
    };
    Inbox(Core& core, const Batches& batches, Edge& edge) : core_(core), batches_(batches), edge_(edge) {}

    /// Decides it now, or when its turn comes.
    void take(PeerId peer, Message message, Turn now, Output& out);
    /// What was read for a peer. An answer to another read than the last one for it is passed over.
    void answered(PeerId peer, std::uint64_t read, const Snapshot& snapshot, Turn now, Output& out);
    /// The peer is gone.
    void drop(PeerId peer) { waiting_.erase(peer); }

 private:
    void look_up_first(PeerId peer);
    bool decide_first(PeerId peer, Message& first, const Snapshot& snapshot, Turn now, Output& out);

    Core& core_;
    const Batches& batches_;
    Edge& edge_;
    std::unordered_map<PeerId, std::deque<Message>> waiting_;
};

/// Lists that workers send while they work. They are taken before the clients' messages: finishing frees room.
bool is_work(const Message& message);

}  // namespace jobyard::broker
