#pragma once
// Who takes the turns of a conversation with the broker: reads the socket, lets the session decide, sends.
//
// A thread of its own stands by for them (run()). But the way through a second thread costs a job a wake-up there and
// one back, which is as much as its way through the network. So whoever has something to send takes a turn himself
// while that thread sleeps (take()), and whoever waits for an answer may wait at the socket in its place (lead()). For
// that the standing thread lends the socket: it sleeps elsewhere, looks every few milliseconds, and takes the socket
// back when nobody has come for it.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>

#include "peer/peer_socket.hpp"

namespace jobyard {

/// Milliseconds of the steady clock: what the sessions call time.
std::int64_t steady_ms();

class Turns {
 public:
    static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

    /// How a turn has left things.
    struct After {
        bool ended = false;  ///< it was the last one
        bool again = false;  ///< there is more to do at once
        bool lend = false;   ///< somebody will soon call lead(), and until then nothing that may come is urgent
        std::int64_t next_ms = kNever;  ///< of steady_ms(): when it must be at last
    };
    /// `turn` is called under the lock of the turns, and not after a turn that ended them.
    Turns(PeerSocket& socket, std::function<After()> turn) : socket_(socket), turn_(std::move(turn)) {}
    Turns(const Turns&) = delete;
    Turns& operator=(const Turns&) = delete;

    /// Takes turns, or sees that others do, until one ends them. After it nobody uses socket and `turn` any more.
    void run();

    // From any thread, also after the end; not from signal handlers, which may wake the socket.

    /// There is something to do: does it, or wakes whoever will.
    void take();
    /// There is something to do, but not for this thread.
    void wake();
    /// If the socket is lent, waits there, with the turns that it makes, until `done`; not beyond the deadline, and at
    /// most for some milliseconds, so that the caller has to look, and to wait on by other means. `done` is called
    /// under the lock.
    void lead(const std::function<bool()>& done, std::int64_t deadline_ms = kNever);

 private:
    /// Who is at the socket, or about to be.
    enum class Post : std::uint8_t { standing_thread, nobody, leader };

    After turn();
    void sleep(std::unique_lock<std::mutex>& lock, std::int64_t until_ms);

    PeerSocket& socket_;
    const std::function<After()> turn_;

    std::mutex mutex_;                               // of whoever takes a turn; guards all below, and the socket
    std::atomic<Post> post_{Post::standing_thread};  // wake() reads it without
    bool was_led_ = false;                           // since the standing thread looked
    const std::function<bool()>* leader_is_done_ = nullptr;
    bool ended_ = false;
    std::int64_t next_ms_ = 0;  // as the newest turn said
    std::int64_t sleeps_until_ms_ = 0;
    std::condition_variable standing_by_;  // where the standing thread waits while the socket is lent
};

}  // namespace jobyard
