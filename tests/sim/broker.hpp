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
#include "coverage.hpp"
#include "disk.hpp"
#include "inbox.hpp"
#include "model.hpp"
#include "network.hpp"
#include "outbox.hpp"
#include "quotas.hpp"
#include "simulated.hpp"

namespace jobyard::sim {

class Broker : public End, private broker::Inbox::Edge, private broker::Outbox::Edge, private broker::Watcher {
 public:
    Broker(World& world, Network& network, Disk& disk, Model& model, Coverage& coverage, Quotas& quotas,
           const Plan& plan);
    ~Broker() override { broker::watcher = nullptr; }

    void start();
    /// kill -9; it is started again some time later.
    void crash();
    /// SIGTERM: says goodbye and ends.
    void stop();
    [[nodiscard]] bool is_up() const { return life_ != nullptr; }
    /// SIGHUP: the access file and the limits are others.
    void reload();
    /// The store is not brought up for so long.
    void stall_store(std::int64_t time_us) { life_->store_rests_until_us = world_.now() + time_us; }
    /// Starts again soon from now on.
    void be_calm() { calm_ = true; }
    void jump_clock(std::int64_t ms) { wall_offset_ms_ += ms; }
    /// All that was decided is on disk.
    [[nodiscard]] bool has_nothing_to_write() const;
    /// The core's whole state, by the model.
    void be_checked() { model_.check_all(*life_->core, wall_offset_ms_); }
    [[nodiscard]] const broker::Core* core() const { return life_ == nullptr ? nullptr : life_->core.get(); }

    void on_opened(ConnectionId connection) override;
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
        std::string process;  ///< whose connection it is
        std::string name;     ///< as it says
        Uuid instance;
        std::map<RequestId, std::vector<Claim>> claims;  ///< of each HELLO
        std::map<RequestId, const char*> asked;          ///< which message it was
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

        bool reloads = false;  ///< it was told to, and has not done it yet

        std::optional<broker::Batches> batches;
        std::optional<broker::Inbox> inbox;
        std::optional<broker::Outbox> outbox;
        bool committed = false;      ///< the batch in flight has become durable
        bool commit_failed = false;  ///< or has not, or nobody knows
        bool applying = false;       ///< the store will have what is durable
        std::int64_t store_rests_until_us = 0;
        std::int64_t next_disk_look_ms = 0;
        std::uint64_t free_disk = UINT64_MAX;  ///< as the core was told

        std::vector<std::pair<broker::PeerId, Frames>> arrived;
        std::deque<std::pair<broker::PeerId, broker::Inbox::Message>> backlog;
        std::vector<broker::PeerId> gone;
        std::deque<Asked> asked;  ///< the reader takes them in order
        std::deque<Asked> answered;
        std::uint64_t last_ticket = 0;
        std::map<broker::PeerId, Peer> peers;
    };

    [[nodiscard]] bool recover();
    void turn();
    void read_messages(broker::Turn now, broker::Output& out);
    void take(broker::PeerId peer, broker::Inbox::Message message, broker::Turn now, broker::Output& out);
    void take_answers(broker::Turn now, broker::Output& out);
    void expire(broker::Turn now, broker::Output& out);
    void watch_disk();
    [[nodiscard]] bool full() const;
    void leave(broker::Turn now, broker::Output& out);
    void pass_time();
    [[nodiscard]] broker::Turn reading();
    void use_settings(broker::Turn now);
    void end_process();
    void decode(broker::PeerId peer, Frames frames,
                std::vector<std::pair<broker::PeerId, broker::Inbox::Message>>& rest, broker::Turn now,
                broker::Output& out);
    void decide(broker::PeerId peer, const broker::Inbox::Message& message, const broker::Found& found,
                broker::Turn now, broker::Output& out) override;
    std::uint64_t look_up(broker::PeerId peer, std::vector<broker::Need> needs) override;
    std::uint64_t ask(Asked::For what, broker::PeerId peer, std::vector<broker::Need> needs);
    void read_next();
    [[nodiscard]] bool take_durable();
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
    void check_quotas(broker::PeerId peer, const Envelope& asked, JobId first,
                      const std::vector<Quotas::Wanted>& wanted, const broker::Output& out);
    void check_state(const broker::Output& out);
    void saw(JobId job, JobState from, JobState to) override;
    void settle(std::string_view why);
    void count_answers(const broker::Outgoing& message);
    void tell_model(const broker::Outgoing& message, std::string_view payload);

    World& world_;
    Network& network_;
    Disk& disk_;
    Model& model_;
    Coverage& coverage_;
    Quotas& quotas_;
    const Plan& plan_;
    Random random_;
    std::int64_t wall_offset_ms_ = 1'700'000'000'000;
    bool calm_ = false;
    std::unique_ptr<Life> life_;

    // Of the step of the core that is under way:
    std::map<JobId, std::pair<JobState, JobState>> changed_;
    std::size_t ops_before_ = 0;
};

}  // namespace jobyard::sim
