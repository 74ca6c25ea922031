#pragma once
// What was decided leaves when what it rests on is durable, in each peer's order, with the payloads that it names. A
// payload is sent from the batch that it came in while that is in hand, and read from the store else; meanwhile all
// that goes to its peer is held. Owned by the loop, like the batches it looks into; one thread.

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "batches.hpp"
#include "found.hpp"
#include "output.hpp"

namespace jobyard::broker {

class Outbox {
 public:
    /// Where it leads.
    class Edge {
     public:
        Edge() = default;
        virtual ~Edge() = default;
        Edge(const Edge&) = delete;
        Edge& operator=(const Edge&) = delete;

        virtual void send(const Outgoing& message, const std::vector<KeptBytes>& payload) = 0;
        /// Has these rows read, of a store that has at least what it has now, for answered(). Returns a number that no
        /// other read has.
        virtual std::uint64_t read(PeerId peer, std::vector<Need> needs) = 0;
        /// A job is not handed out after all, because its payload is not there any more: it has ended, or the store is
        /// damaged.
        virtual void payload_is_gone(JobId job, LeaseToken token) = 0;
        /// A result of that many bytes, which counted against the session's grant, is not there any more.
        virtual void result_is_gone(PeerId peer, SessionId session, std::uint64_t bytes) = 0;
    };
    Outbox(const Batches& batches, Edge& edge) : batches_(batches), edge_(edge) {}

    /// Queues what was decided, or sends it if what it rests on is durable already.
    void post(Output& out);
    /// Nothing waits for a batch. Something may still wait for a payload.
    [[nodiscard]] bool nothing_rests() const { return resting_[0].empty() && resting_[1].empty(); }
    /// Sends what rested on the batch that has just become durable; to workers last, because somebody may wait for each
    /// submit and each result, and nobody for the answer to an end.
    void on_durable();
    /// The store has more batches than before.
    void on_applied();
    /// What was read for a peer. An answer to another read than the last one for it is passed over.
    void answered(PeerId peer, std::uint64_t read, const Snapshot& snapshot);
    /// The peer is gone.
    void drop(PeerId peer) { held_.erase(peer); }

 private:
    void send_or_hold(Outgoing& message);
    bool send(Outgoing& message);
    void keep(Outgoing& message, bool is_behind) const;
    void read_for(PeerId peer);
    void do_without_payload(Outgoing& message);

    const Batches& batches_;
    Edge& edge_;
    std::array<std::vector<Outgoing>, 2> resting_;  // on the batch in flight or the open one, the next
    struct Held {
        std::deque<Outgoing> messages;
        std::uint64_t read = 0;  ///< what the first of them waits for
    };
    std::unordered_map<PeerId, Held> held_;
    std::vector<std::pair<PeerId, std::uint64_t>> early_;  // of held_, read again once the store has that batch
    std::vector<KeptBytes> pieces_;
};

}  // namespace jobyard::broker
