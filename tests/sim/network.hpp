#pragma once
// The network as ZeroMQ shows it: a connection delivers whole messages in order, late or not at all; when it breaks,
// what was on its way is lost from some message on, in each direction on its own; each side notices sooner, later, or
// never (then only silence tells). Nothing is lost or repeated inside a connection that holds: what comes twice is what
// a session sends again, on its next connection. What was under way on the old one may still arrive after the new one
// is open; connections do not wait for each other.

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "plan.hpp"
#include "world.hpp"

namespace jobyard::sim {

struct Frames {
    std::string header;
    std::string payload;
};

/// Never used again for another; the broker's name for a peer.
using ConnectionId = std::uint32_t;

/// Who holds one side of a connection. The calls come when something reaches the machine, whatever the process does: it
/// reads them in its next turn.
class End {
 public:
    explicit End(World& world, std::string name) : process(world, std::move(name)) {}
    virtual ~End() = default;
    virtual void on_opened(ConnectionId connection) = 0;
    virtual void on_frames(ConnectionId connection, Frames frames) = 0;
    virtual void on_closed(ConnectionId connection) = 0;

    Process process;
};

enum class Side : std::uint8_t { peer, broker };

class Network {
 public:
    /// Something happens, up to that time, that may make the other side of the end's connection think it dead.
    using Disturbed = std::function<void(const End& peer, std::int64_t until_us)>;

    Network(World& world, const Plan& plan, Disturbed disturbed)
        : world_(world), plan_(plan), random_(world.random().fork()), disturbed_(std::move(disturbed)) {}

    /// The broker's process is there to take connections, or (null) not.
    void listen(End* broker) { broker_ = broker; }
    /// Opens a connection to the broker, as soon as one listens; then both ends are told. To be closed in the end.
    ConnectionId connect(End& peer, std::int64_t longest_pause_us);
    /// False: this side knows that it is closed.
    bool send(ConnectionId connection, Side from, Frames frames);
    /// This side has closed it, or died: it is told nothing more, and the other side notices or does not.
    void close(ConnectionId connection, Side by);
    /// All of the broker's side.
    void close_all();
    /// Whose it is.
    [[nodiscard]] const std::string& peer_name(ConnectionId connection) const {
        return connections_.at(connection).peer->process.name();
    }

    // --- faults

    /// Any open connection breaks. False: there is none.
    bool cut_one();
    /// One direction of any open connection delivers nothing for so long.
    bool slow_one(std::int64_t time_us);
    /// One direction of any open connection loses all that is sent from now on; after so long the connection breaks.
    bool cut_one_way(std::int64_t time_us);
    void be_calm() { calm_ = true; }
    /// What arrived at the broker on a connection that its peer had left for a newer one.
    [[nodiscard]] std::uint64_t from_the_past() const { return from_the_past_; }

 private:
    struct Direction {
        std::uint64_t sent = 0;
        std::uint64_t arrived = 0;
        std::uint64_t cut_at = UINT64_MAX;  ///< messages from this one on are lost
        std::int64_t last_arrival_us = 0;
    };
    struct Connection {
        End* peer = nullptr;
        bool opened = false;
        std::array<bool, 2> knows_open{};  // by Side: it has not closed it nor noticed that it broke
        bool broken = false;
        std::array<Direction, 2> from;  // by Side
    };

    ConnectionId any_open();
    void break_it(ConnectionId id);
    void try_to_open(ConnectionId id, std::int64_t pause_us, std::int64_t longest_pause_us);
    void lose_tail(Connection& connection);
    void let_notice(ConnectionId id, Side side);
    [[nodiscard]] End* end(const Connection& connection, Side side) const {
        return side == Side::peer ? connection.peer : broker_;
    }
    std::vector<ConnectionId> open_ones() const;
    std::int64_t delay() { return random_.any_size(50, plan_.network_delay); }

    World& world_;
    const Plan& plan_;
    Random random_;
    End* broker_ = nullptr;
    std::map<ConnectionId, Connection> connections_;
    ConnectionId last_connection_ = 0;
    std::map<const End*, ConnectionId> newest_;  // that is open, of each peer
    std::uint64_t from_the_past_ = 0;
    Disturbed disturbed_;
    bool calm_ = false;
};

}  // namespace jobyard::sim
