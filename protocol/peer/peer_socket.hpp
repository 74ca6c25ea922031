#pragma once
// One peer's connection to a broker: a DEALER socket with the options PROTOCOL.md asks for, its monitor, and a wake-up
// for other threads. It knows frames and connection events, not messages.
//
// Used by one thread at a time, under a lock of its owner's; only sleep() and wake() are called without it. So a thread
// that has something to send while the one that waits for messages sleeps can send it itself. Reconnecting is libzmq's,
// with growing pauses (seeded, so that peers do not come back in step); `reopen()` makes a new socket, for when the
// connection is half dead.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jobyard/kept_bytes.hpp"
#include "jobyard/result.hpp"
#include "peer/keys.hpp"

namespace jobyard {

enum class Connection : std::uint8_t {
    connected,     ///< a handshake completed: say HELLO
    disconnected,  ///< the connection closed
    refused,       ///< it is of no use to go on: trouble() says why
    troubled,      ///< handshakes fail; trouble() says what may be the cause; it goes on trying
};

class PeerSocket {
 public:
    struct Options {
        std::string endpoint;
        int reconnect_max_ms = 1000;  ///< a worker 1 s, a submitter 5 s
        int linger_ms = 1000;         ///< how long the destructor waits for what was sent
        std::optional<PeerKeys> keys = {};
    };
    /// Opens the socket and starts to connect (in the background; a broker that is not there yet is no error).
    static Result<std::unique_ptr<PeerSocket>> open(const Options& options);
    ~PeerSocket();
    PeerSocket(const PeerSocket&) = delete;
    PeerSocket& operator=(const PeerSocket&) = delete;

    struct Frames {
        std::string_view header;
        std::string_view payload;
    };
    /// Sends both frames without blocking. `payload` pieces are gathered into one frame; a single one with an owner is
    /// sent from where it stands. False: not connected, or the socket's queue is full; the caller keeps what it has and
    /// tries again after the next connection or wait.
    bool send(std::string_view header, const std::vector<KeptBytes>& payload);
    bool send(std::string_view header) { return send(header, {}); }

    /// Before sleep(), under the lock: false if a frame or a connection event is here, or wake() was called since the
    /// last sleep.
    bool may_sleep();
    /// After a may_sleep() that said yes, without the lock, one thread at a time: sleeps until a frame or a connection
    /// event is there, wake() was called, or `timeout` passed.
    void sleep(std::chrono::milliseconds timeout);
    /// wake() was called since the last sleep; forgets that.
    bool was_woken();
    /// A frame is here.
    [[nodiscard]] bool has_input();
    /// Somebody is in sleep(), or about to be. Under the lock: what is done now, may_sleep() has not seen.
    [[nodiscard]] bool is_asleep() const;
    /// The next message that is here, without waiting; false if none. Views last until the next call. A message without
    /// exactly two frames is read to its end and passed over.
    bool receive(Frames& frames);
    /// Keeps the payload frame that was received last: its view lasts as long as the owner that is returned.
    std::shared_ptr<const void> keep_payload();
    /// The next connection event, without waiting; false if none.
    bool next_event(Connection& event);

    /// After Connection::refused or troubled: keys that do not fit, or one side that has none.
    [[nodiscard]] const Error& trouble() const;

    /// Ends a current or the next sleep(). From any thread and from signal handlers; cheap when nobody sleeps.
    void wake();
    /// Drops the connection, with what was not sent yet, and connects anew, with a new identity at the broker. The old
    /// connection gives no more events.
    void reopen();
    /// Waits up to `linger_ms` for what was sent to leave, then closes. After it only wake() may be called, and does
    /// nothing; an owner whose other threads may still call wake() closes first and destroys when they are gone.
    void close();

 private:
    struct Impl;
    explicit PeerSocket(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace jobyard
