#include "network.hpp"

#include <algorithm>
#include <utility>

namespace jobyard::sim {
namespace {

std::size_t index(Side side) { return static_cast<std::size_t>(side); }
Side other(Side side) { return side == Side::peer ? Side::broker : Side::peer; }

}  // namespace

ConnectionId Network::connect(End& peer, std::int64_t longest_pause_us) {
    const ConnectionId id = ++last_connection_;
    connections_[id].peer = &peer;
    try_to_open(id, 100 * kMs, longest_pause_us);
    return id;
}

void Network::try_to_open(ConnectionId id, std::int64_t pause_us, std::int64_t longest_pause_us) {
    world_.after(delay() + random_.between(0, pause_us), [this, id, pause_us, longest_pause_us] {
        const auto found = connections_.find(id);
        if (found == connections_.end()) return;  // given up
        if (broker_ == nullptr) return try_to_open(id, std::min(2 * pause_us, longest_pause_us), longest_pause_us);
        Connection& connection = found->second;
        connection.opened = true;
        connection.knows_open = {true, true};
        newest_[connection.peer] = id;
        broker_->on_opened(id);
        connection.peer->on_opened(id);
    });
}

bool Network::send(ConnectionId id, Side from, Frames frames) {
    const auto found = connections_.find(id);
    if (found == connections_.end()) return false;
    Connection& connection = found->second;
    if (!connection.opened || !connection.knows_open[index(from)]) return false;
    Direction& direction = connection.from[index(from)];
    const std::uint64_t number = direction.sent++;
    if (number >= direction.cut_at) return true;  // into the void
    direction.last_arrival_us = std::max(direction.last_arrival_us, world_.now() + delay());
    world_.after(direction.last_arrival_us - world_.now(),
                 [this, id, from, number, sent = std::move(frames)]() mutable {
                     const auto at = connections_.find(id);
                     if (at == connections_.end()) return;
                     Direction& way = at->second.from[index(from)];
                     if (number >= way.cut_at) return;
                     way.arrived = number + 1;
                     End* to = end(at->second, other(from));
                     if (to == nullptr || !at->second.knows_open[index(other(from))]) return;
                     if (from == Side::peer && newest_[at->second.peer] > id) ++from_the_past_;
                     world_.note(sent.header);
                     world_.note(sent.payload);
                     to->on_frames(id, std::move(sent));
                 });
    return true;
}

void Network::close(ConnectionId id, Side by) {
    const auto found = connections_.find(id);
    if (found == connections_.end()) return;
    Connection& connection = found->second;
    if (!connection.opened) {
        connections_.erase(found);
        return;
    }
    disturbed_(*connection.peer, world_.now());
    connection.knows_open[index(by)] = false;
    lose_tail(connection);
    if (connection.knows_open[index(other(by))]) let_notice(id, other(by));
}

void Network::close_all() {
    for (const ConnectionId id : open_ones()) close(id, Side::broker);
}

/// Of each direction some message is the first that is lost.
void Network::lose_tail(Connection& connection) {
    if (std::exchange(connection.broken, true)) return;
    for (Direction& direction : connection.from) {
        const std::int64_t cut_at =
            random_.between(static_cast<std::int64_t>(direction.arrived), static_cast<std::int64_t>(direction.sent));
        direction.cut_at = std::min(direction.cut_at, static_cast<std::uint64_t>(cut_at));
    }
}

void Network::let_notice(ConnectionId id, Side side) {
    if (!calm_ && random_.percent(plan_.unnoticed)) return;
    // Not before what still arrives has arrived.
    const Connection& connection = connections_.at(id);
    const std::int64_t last = connection.from[index(other(side))].last_arrival_us;
    const std::int64_t at = std::max(last, world_.now() + random_.any_size(50, 20 * kMs));
    world_.after(at - world_.now(), [this, id, side] {
        Connection& broken = connections_.at(id);
        if (!std::exchange(broken.knows_open[index(side)], false)) return;
        if (End* told = end(broken, side); told != nullptr) told->on_closed(id);
    });
}

std::vector<ConnectionId> Network::open_ones() const {
    std::vector<ConnectionId> open;
    for (const auto& [id, connection] : connections_)
        if (connection.opened && connection.knows_open[index(Side::broker)]) open.push_back(id);
    return open;
}

/// 0: there is none.
ConnectionId Network::any_open() {
    const std::vector<ConnectionId> open = open_ones();
    return open.empty() ? 0 : open[random_.below(open.size())];
}

void Network::break_it(ConnectionId id) {
    Connection& connection = connections_.at(id);
    disturbed_(*connection.peer, world_.now());
    lose_tail(connection);
    for (const Side side : {Side::peer, Side::broker})
        if (connection.knows_open[index(side)]) let_notice(id, side);
}

bool Network::cut_one() {
    const ConnectionId id = any_open();
    if (id == 0) return false;
    world_.tell("network", "cuts connection ", id, " of ", connections_.at(id).peer->process.name());
    break_it(id);
    return true;
}

bool Network::cut_one_way(std::int64_t time_us) {
    const ConnectionId id = any_open();
    if (id == 0) return false;
    Connection& connection = connections_.at(id);
    const Side from = random_.percent(50) ? Side::peer : Side::broker;
    world_.tell("network", "loses all that the ", from == Side::peer ? "peer" : "broker", " sends on connection ", id,
                " of ", connection.peer->process.name());
    Direction& direction = connection.from[index(from)];
    direction.cut_at = std::min(direction.cut_at, direction.sent);
    disturbed_(*connection.peer, world_.now() + time_us);
    world_.after(time_us, [this, id] { break_it(id); });
    return true;
}

bool Network::slow_one(std::int64_t time_us) {
    const ConnectionId id = any_open();
    if (id == 0) return false;
    Connection& connection = connections_.at(id);
    const Side from = random_.percent(50) ? Side::peer : Side::broker;
    world_.tell("network", "holds back what the ", from == Side::peer ? "peer" : "broker", " sends on connection ", id,
                " of ", connection.peer->process.name(), " for ", time_us / kMs, " ms");
    Direction& direction = connection.from[index(from)];
    direction.last_arrival_us = std::max(direction.last_arrival_us, world_.now() + time_us);
    disturbed_(*connection.peer, direction.last_arrival_us);
    return true;
}

}  // namespace jobyard::sim
