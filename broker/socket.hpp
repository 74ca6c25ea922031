#pragma once
// The broker's one ROUTER socket, for all addresses, and the only code that knows ZeroMQ. It moves frames, never
// blocks, and knows peers only as connections: a peer that reconnects is another PeerId.
//
// What no option of libzmq prevents, said here so that nobody looks for it below: a message of endless frames grows in
// libzmq until it ends, unseen by us; and a peer that sets a routing id of the shape of a generated one is not told
// from others (if it guesses the next one, of 2^32, libzmq aborts). Both are for those who may connect at all.
//
// Owned and used by one thread; signals blocked before it is made, because libzmq's threads inherit the mask.

#include <poll.h>
#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fd.hpp"
#include "jobyard/kept_bytes.hpp"
#include "jobyard/result.hpp"
#include "output.hpp"
#include "peer/keys.hpp"
#include "zap.hpp"

namespace jobyard::broker {

/// One received frame. Its view ends when it is moved, detached or destroyed.
class Frame {
 public:
    Frame();
    ~Frame();
    Frame(Frame&& other) noexcept;
    Frame& operator=(Frame&& other) noexcept;
    [[nodiscard]] std::string_view view() const;
    /// Who has sent it, as ZAP has named the connection; empty without keys. Not of a frame that was detached.
    [[nodiscard]] std::string user() const;
    /// To be called on what is kept for long: a small frame otherwise keeps the 8 KiB it was received in.
    void detach();

 private:
    friend class Socket;
    alignas(void*) std::byte message_[64];  ///< zmq_msg_t
};

struct Incoming {
    PeerId peer;
    Frame header_frame;
    Frame payload_frame;

    [[nodiscard]] std::string_view header() const { return header_frame.view(); }
    [[nodiscard]] std::string_view payload() const { return payload_frame.view(); }
    void detach() {
        header_frame.detach();
        payload_frame.detach();
    }
};

enum class Sent : std::uint8_t {
    ok,     ///< accepted; not: arrived
    gone,   ///< no such connection any more, for certain
    stuck,  ///< the peer does not read and its queue is full
};

/// Where to listen. With a key, whoever connects must have one that is known.
struct Endpoint {
    std::string address;
    std::optional<KeyPair> key = {};
    Endpoint(std::string listen, std::optional<KeyPair> own = {}) : address(std::move(listen)), key(std::move(own)) {}
    Endpoint(const char* listen) : address(listen) {}
};

struct SocketCounters {
    std::uint64_t received = 0;
    std::uint64_t sent = 0;
    std::uint64_t wrong_frames = 0;      ///< messages without exactly two frames, dropped
    std::uint64_t wrong_routing_id = 0;  ///< messages from peers that chose their routing id, dropped
    std::uint64_t kicked = 0;
    std::uint64_t handshakes_failed = 0;
};

class Socket {
 public:
    /// Binds every endpoint: `ipc://PATH` (the path is locked, so that a second broker cannot take it over), `tcp://…`.
    /// An ipc socket is for this user, and for the members of `group` if there is one.
    /// With `is_known`, connections are authenticated: through an endpoint with a key by theirs, and ipc by the system.
    /// Then an endpoint that is neither is an error.
    static Result<std::unique_ptr<Socket>> open(const std::vector<Endpoint>& endpoints, std::optional<gid_t> group = {},
                                                IsKnownKey is_known = {});
    /// Gives what was sent last half a second to leave.
    ~Socket();
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;

    /// The endpoints as bound: with the port, where it was left to the system.
    [[nodiscard]] std::vector<std::string> endpoints() const;
    /// Listens from now on at these: begins with what is new, then ends what is not among them any more, and with it
    /// the connections that came through it. An error says what it could not do. The key of an endpoint that is there
    /// does not change.
    Result<void> listen(const std::vector<Endpoint>& endpoints, std::optional<gid_t> group);
    [[nodiscard]] bool has_keys() const { return zap_ != nullptr; }

    /// Returns when there is a message or a disconnect, one of `fds` is readable, or the time is over (-1: never).
    /// Stays awake for the first `awake` of it, giving way to threads that can run: for what will come at once.
    void wait(const std::vector<int>& fds, int timeout_ms, std::chrono::microseconds awake = {});

    /// Appends messages that are here. True if it stopped at a bound and there may be more.
    bool receive(std::vector<Incoming>& messages, std::size_t max_messages, std::size_t max_bytes);

    /// Two frames: the header, and the pieces end to end. A single one with an owner is sent from where it stands.
    Sent send(PeerId peer, std::string_view header, const std::vector<KeptBytes>& pieces);

    /// Closes the peer's connection. False if it is not known or already closed.
    bool kick(PeerId peer);

    /// Appends peers whose connection has probably closed. Only a send tells: it is `gone`, or the hint was wrong. A
    /// peer is named several times within half a second, because libzmq reports a close a little before it acts on it.
    void take_disconnected(std::vector<PeerId>& peers);

    [[nodiscard]] const SocketCounters& counters() const { return counters_; }
    /// Connections whose key was not known.
    [[nodiscard]] std::uint64_t refused_keys() const { return zap_ == nullptr ? 0 : zap_->refused(); }
    [[nodiscard]] std::string last_refused_key() const { return zap_ == nullptr ? "" : zap_->last_refused(); }

 private:
    struct Connection {
        int fd;
        ino_t inode;  ///< tells this connection from a later one with the same descriptor
    };
    struct Suspect {
        std::size_t named;  ///< how often
        std::chrono::steady_clock::time_point due;
    };

    struct Bound {
        std::string given;       ///< as in the settings
        std::string public_key;  ///< empty: without
        std::string at;          ///< as libzmq names it
        bool stays = true;
    };

    explicit Socket(bool with_keys);
    void set_options();
    Result<void> authenticate(IsKnownKey is_known);
    Result<void> set_mechanism(const Endpoint& endpoint);
    Result<void> bind(const Endpoint& endpoint, std::optional<gid_t> group);
    Result<void> prepare_ipc(const std::string& endpoint, const std::string& path, std::optional<gid_t> group);
    void open_monitor();
    void read_monitor();
    void remember(PeerId peer, Frame& frame);
    void forget(PeerId peer);

    std::vector<Fd> ipc_locks_;  ///< given up after the socket is closed
    void* context_;
    void* router_;
    void* monitor_;
    std::vector<pollfd> polled_;
    std::vector<Bound> bound_;
    std::unique_ptr<ZapHandler> zap_;

    /// Connections whose descriptor is known, from their first message on. A descriptor has one owner, the newest.
    std::unordered_map<PeerId, Connection> connections_;
    std::unordered_map<int, PeerId> owners_;
    /// Named until a send finds them gone, or often enough.
    std::map<PeerId, Suspect> suspects_;

    SocketCounters counters_;
};

}  // namespace jobyard::broker
