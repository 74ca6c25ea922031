#pragma once
// What a worker's and a client's process have in common: one connection that is made anew, and what has arrived on it
// until the process reads it. Connection events are read before messages, as the real drivers do.

#include <cstdint>
#include <deque>
#include <string_view>
#include <vector>

#include "jobyard/assert.hpp"
#include "jobyard/codec.hpp"
#include "jobyard/result.hpp"
#include "network.hpp"

namespace jobyard::sim {

class Link {
 public:
    Link(Network& network, End& end, std::int64_t longest_pause_us)
        : network_(network), end_(end), longest_pause_us_(longest_pause_us) {
        reopen();
    }
    ~Link() { network_.close(connection_, Side::peer); }
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

    void opened(ConnectionId connection) {
        if (connection == connection_) events_.push_back(true);
    }
    void closed(ConnectionId connection) {
        if (connection != connection_) return;
        events_.push_back(false);
        connection_ = network_.connect(end_, longest_pause_us_);
    }
    void arrived(Frames frames) { inbox_.push_back(std::move(frames)); }

    /// The next connection event: true for connected.
    bool next_event(bool& connected) {
        if (events_.empty()) return false;
        connected = events_.front();
        events_.pop_front();
        return true;
    }
    bool next_message(Frames& frames) {
        if (inbox_.empty()) return false;
        frames = std::move(inbox_.front());
        inbox_.pop_front();
        return true;
    }
    /// False: the connection is gone.
    bool send(const Envelope& envelope, const std::vector<KeptBytes>& pieces) {
        Frames frames;
        encode_header(envelope, frames.header);
        for (const KeptBytes& piece : pieces) frames.payload += piece.bytes;
        end_.process.tell("sends ", message_name(envelope.message));
        return network_.send(connection_, Side::peer, std::move(frames));
    }
    /// Drops the connection and makes another.
    void reopen() {
        if (connection_ != 0) network_.close(connection_, Side::peer);
        connection_ = network_.connect(end_, longest_pause_us_);
    }

 private:
    Network& network_;
    End& end_;
    std::int64_t longest_pause_us_;
    ConnectionId connection_ = 0;
    std::deque<bool> events_;
    std::deque<Frames> inbox_;
};

/// The broker sends nothing that cannot be read.
inline Envelope decode_or_die(const Frames& frames) {
    auto decoded = decode_header(frames.header, frames.payload.size());
    JOBYARD_ASSERT(std::holds_alternative<Envelope>(decoded));
    return std::move(std::get<Envelope>(decoded));
}

}  // namespace jobyard::sim
