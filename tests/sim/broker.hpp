#pragma once
// The broker's process: the real core in a loop that keeps the order of the real one (broker/server.cpp), over the
// simulated disk and network. What dies with the process is its Life; a start makes a new one from the disk, as
// broker/recovery.cpp does.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "batches.hpp"
#include "core.hpp"
#include "disk.hpp"
#include "inbox.hpp"
#include "model.hpp"
#include "network.hpp"
#include "outbox.hpp"

namespace jobyard::sim {

class Broker : public End, private broker::Inbox::Edge, private broker::Outbox::Edge {
 public:
    Broker(World& world, Network& network, Disk& disk, Model& model, const Plan& plan);

    void start();
    /// kill -9; it is started again some time later.
    void crash();
    /// SIGTERM: says goodbye and ends.
    void stop();
    [[nodiscard]] bool is_up() const { return life_ != nullptr; }
    /// Starts again soon from now on.
    void be_calm() { calm_ = true; }
    void jump_clock(std::int64_t ms) { wall_offset_ms_ += ms; }
    [[nodiscard]] const broker::Core* core() const { return life_ == nullptr ? nullptr : life_->core.get(); }

    void on_opened(ConnectionId) override {}
    void on_frames(ConnectionId connection, Frames frames) override;
    void on_closed(ConnectionId connection) override;

 private:
    struct Asked {
        enum class For : std::uint8_t { message, payload, agenda } what = For::message;
        broker::PeerId peer;
        std::vector<broker::Need> needs;
        broker::Snapshot snapshot;
        std::uint64_t applied_then = 0;
        std::uint64_t ticket = 0;
    };
    struct Peer {
        std::string name;
        Uuid instance;
        std::map<RequestId, std::vector<Claim>> claims;  ///< of each HELLO
    };
    enum class Leaving : std::uint8_t { no, asked, said };
    struct Life {
        explicit Life(Broker& broker) : loop(broker.process, [&broker] { broker.turn(); }) {}
        Loop loop;
        std::unique_ptr<broker::Core> core;
        Leaving leaving = Leaving::no;

        // Time: the broker's own stands still while it is stopped.
        std::int64_t now_us = 0;
        std::int64_t looked_us = 0;  ///< simulated time at the last turn
        std::int64_t sleeps_us = 0;  ///< as it meant to, since then

        std::optional<broker::Batches> batches;
        std::optional<broker::Inbox> inbox;
        std::optional<broker::Outbox> outbox;
        bool committed = false;  ///< the batch in flight has become durable
        bool applying = false;   ///< the store will have what is durable

        std::vector<std::pair<broker::PeerId, Frames>> arrived;
        std::vector<broker::PeerId> gone;
        std::deque<Asked> asked;  ///< the reader takes them in order
        std::deque<Asked> answered;
        std::uint64_t last_ticket = 0;
        std::map<broker::PeerId, Peer> peers;
    };

    void recover();
    void turn();
    void leave(broker::Turn now, broker::Output& out);
    void pass_time();
    [[nodiscard]] broker::Turn reading();
    void end_process();
    void decode(broker::PeerId peer, Frames frames,
                std::vector<std::pair<broker::PeerId, broker::Inbox::Message>>& rest, broker::Turn now,
                broker::Output& out);
    void decide(broker::PeerId peer, const broker::Inbox::Message& message, const broker::Found& found,
                broker::Turn now, broker::Output& out) override;
    std::uint64_t look_up(broker::PeerId peer, std::vector<broker::Need> needs) override;
    std::uint64_t ask(Asked::For what, broker::PeerId peer, std::vector<broker::Need> needs);
    void read_next();
    void take_durable();
    void bring_up();
    void take_applied();
    void trim();
    void send(const broker::Outgoing& message, const std::vector<KeptBytes>& payload) override;
    std::uint64_t read(broker::PeerId peer, std::vector<broker::Need> needs) override;
    void payload_is_gone(JobId job, LeaseToken token) override;
    void result_is_gone(broker::PeerId peer, SessionId session, std::uint64_t bytes) override;
    void hand_over(broker::Turn now, broker::Output& out);
    void check_dispatch(const broker::Output& out);
    void check_submit(const Submit& submit) const;
    void tell_model(const broker::Outgoing& message, std::string_view payload);

    World& world_;
    Network& network_;
    Disk& disk_;
    Model& model_;
    const Plan& plan_;
    Random random_;
    std::int64_t wall_offset_ms_ = 1'700'000'000'000;
    bool calm_ = false;
    std::unique_ptr<Life> life_;
};

}  // namespace jobyard::sim
