#pragma once
// A network that misbehaves on demand: a TCP proxy in front of a broker, with a thread of its own.

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace jobyard::test {

class Proxy {
 public:
    explicit Proxy(int broker_port);
    ~Proxy();
    Proxy(const Proxy&) = delete;
    Proxy& operator=(const Proxy&) = delete;

    [[nodiscard]] std::string endpoint() const { return "tcp://127.0.0.1:" + std::to_string(port_); }

    enum class Mode : int {
        forward,
        lose_answers,    ///< what the broker says is read and thrown away
        lose_questions,  ///< what is said to the broker is
        freeze,          ///< nothing moves in either direction, nothing is closed
        slow,            ///< what has come moves on every 100 ms
        refuse,          ///< new connections are closed at once
    };
    /// Returns when no byte moves in the old way any more. A connection that has lost bytes never goes on: TCP has no
    /// such, so it is closed when its bytes would arrive again.
    void set(Mode mode);
    /// Closes every connection there is, both sides. Returns when it is done.
    void cut();

 private:
    struct Pair {
        int client;
        int broker;
        bool has_lost = false;
    };
    void run();
    void accept_one();
    static bool move(int from, int to, bool lose);
    /// Waits, but not for what has come, as long as the mode is `slow`.
    void delay();
    int broker_port_;
    int listener_ = -1;
    int port_ = 0;
    std::atomic<Mode> mode_{Mode::forward};
    std::atomic<std::uint64_t> turns_{0};
    std::atomic<int> cuts_wanted_{0};
    std::atomic<int> cuts_done_{0};
    std::atomic<bool> quit_{false};
    std::vector<Pair> pairs_;  // the thread's own
    std::thread thread_;
};

}  // namespace jobyard::test
