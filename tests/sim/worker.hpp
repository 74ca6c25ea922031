#pragma once
// A worker's process: the real session, driven in the turns that worker/session.hpp asks for, with simulated slots
// whose handlers take their time, succeed, fail, hang past their timeout, and mind being told to stop or do not.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model.hpp"
#include "peer.hpp"
#include "worker/session.hpp"

namespace jobyard::sim {

class Worker : public End {
 public:
    Worker(World& world, Network& network, Model& model, const Plan& plan, std::string name);

    void start();
    /// kill -9; it is started again some time later.
    void crash();
    /// SIGTERM.
    void drain();
    [[nodiscard]] bool is_up() const { return life_ != nullptr; }
    /// No handler hangs from now on.
    void be_calm() { calm_ = true; }

    void on_opened(ConnectionId connection) override;
    void on_frames(ConnectionId connection, Frames frames) override;
    void on_closed(ConnectionId connection) override;

 private:
    struct Task {
        JobId job;
        LeaseToken token;
        std::string type;
        std::int64_t lease_until_ms = 0;
        bool running = false;
        bool stopped = false;  ///< its handler was told
        bool lost = false;     ///< the broker counts it no more: its lease is lost, or it was reported as timed out
    };
    struct Report {
        enum class Kind : std::uint8_t { began, finished, unstarted } kind = Kind::began;
        LeaseToken token;
        std::int64_t at_ms = 0;
        worker::Ending ending;
    };
    struct Life {
        Life(Worker& worker, worker::Session::Options options);
        Link link;
        Loop loop;
        worker::Session session;
        const std::uint32_t slots;
        std::map<LeaseToken, Task> tasks;
        std::deque<LeaseToken> ready;
        std::uint32_t busy = 0;
        std::vector<Report> reports;
        std::map<RequestId, std::vector<std::pair<LeaseToken, Outcome>>> ends_sent;
        std::uint32_t most_credit = 0;  ///< stated in this session
    };

    /// What a handler does in the end.
    struct How {
        Outcome outcome = Outcome::completed;  ///< or failed, or released
        bool retryable = true;
        std::uint64_t delay_ms = 0;  ///< released: not before so long from now
    };
    void turn();
    void take_messages();
    void take_starts();
    void take_reports();
    void unstarted(LeaseToken token);
    void carry_out();
    void stop(const worker::StopOrder& order);
    void begin_ready();
    void run(Task& task);
    void finish(LeaseToken token, const How& how);
    void note_sent(const Envelope& envelope);
    void note_received(const Envelope& envelope);
    void check_credit() const;
    void end_process();
    void start_later();
    [[nodiscard]] std::int64_t now_ms() const { return process.world().now_ms(); }

    Network& network_;
    Model& model_;
    const Plan& plan_;
    Random random_;
    bool calm_ = false;
    std::unique_ptr<Life> life_;
};

}  // namespace jobyard::sim
