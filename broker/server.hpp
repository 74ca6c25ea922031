#pragma once
// The loop: bytes in, the core decides, one batch at a time becomes durable, and what waited for it leaves. Everything
// that waits in the broker waits here, in one of four places:
//
//   backlog_   messages of submitters that arrived while the open batch was full
//   waiting_   messages (by peer, in order) whose rows are being read
//   outbox_    messages decided but not yet durable
//   held_      messages (by peer, in order) whose payloads are being read
//
// One thread. Signals must be blocked before it is made; SIGTERM and SIGINT end run().

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "applier.hpp"
#include "commit_log.hpp"
#include "committer.hpp"
#include "core.hpp"
#include "data_directory.hpp"
#include "reader.hpp"
#include "socket.hpp"
#include "store.hpp"

namespace jobyard::broker {

/// Milliseconds that pass only while the broker runs: a stall of the process (SIGSTOP, a slow disk, a paused machine)
/// is taken out, so that nobody's lease ends because the broker could not listen.
class BrokerClock {
 public:
    BrokerClock();
    /// `may_sleep_ms`: how long the loop meant to sleep since the last call. Whatever passed beyond that is a stall.
    void tick(std::int64_t may_sleep_ms);
    [[nodiscard]] std::int64_t now() const { return now_us_ / 1000; }
    [[nodiscard]] std::int64_t stalled_ms() const { return stalled_us_ / 1000; }

 private:
    std::chrono::steady_clock::time_point last_;
    std::int64_t now_us_ = 0;
    std::int64_t stalled_us_ = 0;  ///< in all
};

class Server {
 public:
    /// The core holds what the store holds, up to batch `applied_seq` (recovery.hpp).
    Server(Core& core, std::uint64_t applied_seq, DataDirectory& directory, Store& store, CommitLog& log,
           Socket& socket);
    /// Until a signal. An error: the store failed, and nothing that was not durable has been answered.
    Result<void> run();

 private:
    /// A message from its arrival until it has been decided. The envelope's views point into the frames, which do not
    /// move: they are on the heap once a message has to wait.
    struct Pending {
        std::unique_ptr<Incoming> frames;
        Envelope envelope;
        Settled settled;
        std::vector<Need> needs;
    };
    struct Asked {
        enum class For : std::uint8_t { message, payload, agenda };
        For what = For::message;
        PeerId peer;
        std::uint64_t applied_then = 0;  ///< what is read has at least the batches up to this one
    };

    [[nodiscard]] Turn turn();
    [[nodiscard]] Output output();
    Result<void> one_turn();
    [[nodiscard]] bool full() const;
    static void keep(Pending& pending);
    void post(Output& out);
    void take(PeerId peer, Pending pending, Turn now, Output& out);
    void decide(PeerId peer, Pending& pending, const Found& found, Turn now, Output& out);
    void ask_for_head(PeerId peer);
    Result<void> take_answers(Turn now, Output& out);
    void answered_message(PeerId peer, const ReadAnswer& answer, Turn now, Output& out);
    void answered_payloads(PeerId peer, const ReadAnswer& answer);
    [[nodiscard]] Found found_from(const ReadAnswer& answer) const;
    [[nodiscard]] std::vector<const Batch*> batches_after(std::uint64_t seq) const;
    void ask_for_payloads(PeerId peer);
    bool append_newer_result(JobId job, std::uint64_t applied, std::string& bytes) const;
    std::uint64_t ask(Asked asked, std::vector<Need> needs);
    void hand_over(Turn now, Output& out);
    Result<void> take_durable();
    Result<void> take_applied();
    void release();
    void send_or_hold(Outgoing& message);
    bool send(Outgoing& message);
    void do_without_payload(Outgoing& message);
    [[nodiscard]] bool in_hand(const PayloadRef& payload, std::string_view& bytes) const;
    [[nodiscard]] bool payload_in_hand(JobId job, std::string_view& bytes) const;
    void note_gone(PeerId peer) { gone_.push_back(peer); }
    void trim_retained();
    [[nodiscard]] std::unique_ptr<Batch> new_batch(std::uint64_t seq);
    void watch_disk();
    [[nodiscard]] std::string edge_map() const;
    Result<void> say_goodbye();

    DataDirectory& directory_;
    Store& store_;
    CommitLog& log_;
    Socket& socket_;
    Core& core_;
    BrokerClock clock_;
    std::uint64_t random_;

    Fd signals_;
    std::deque<std::unique_ptr<Batch>> retained_;  // durable, oldest first; the store may lack the newest
    std::unique_ptr<Batch> in_flight_;
    Applier applier_;
    Committer committer_;  // ends before the applier, of which the log may want room
    Reader reader_;

    std::unique_ptr<Batch> open_;
    std::vector<std::unique_ptr<Batch>> spare_;
    std::uint64_t durable_ = 0;
    std::size_t last_ops_ = 0;   ///< of the batch last handed over
    std::uint64_t applied_ = 0;  ///< the store has every batch up to this one

    std::deque<std::pair<PeerId, Pending>> backlog_;
    std::size_t backlog_bytes_ = 0;
    std::unordered_map<PeerId, std::deque<Pending>> waiting_;
    std::map<std::uint64_t, Asked> asked_;
    std::uint64_t last_ticket_ = 0;
    std::array<std::vector<Outgoing>, 2>
        outbox_;  // by what they rest on: the batch in flight or the open one, the next
    std::unordered_map<PeerId, std::deque<Outgoing>> held_;
    std::vector<std::pair<PeerId, std::uint64_t>> early_;  // of held_, read again once the store has that batch
    std::vector<PeerId> gone_;

    std::vector<Incoming> incoming_;
    std::string header_;
    std::vector<std::string_view> pieces_;
    std::int64_t next_disk_look_ = 0;
    std::int64_t next_reader_check_ = 0;
    bool more_input_ = false;
    std::uint64_t turns_ = 0;
    std::uint64_t held_back_ = 0;
    std::uint64_t busy_us_max_ = 0;
};

}  // namespace jobyard::broker
