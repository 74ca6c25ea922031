#pragma once
// The loop: bytes in, the core decides, one batch at a time becomes durable, and what waited for it leaves. Everything
// that waits in the broker waits here, in one of three places:
//
//   backlog_   messages of submitters that arrived while the open batch was full
//   inbox_     messages (by peer, in order) whose rows are being read
//   outbox_    messages decided but not yet durable, and those (by peer, in order) whose payloads are being read
//
// One thread. Signals must be blocked before it is made; SIGTERM and SIGINT end run(), SIGHUP asks for new limits.

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "applier.hpp"
#include "backlog.hpp"
#include "batches.hpp"
#include "commit_log.hpp"
#include "committer.hpp"
#include "core.hpp"
#include "data_directory.hpp"
#include "inbox.hpp"
#include "outbox.hpp"
#include "reader.hpp"
#include "service/notifier.hpp"
#include "socket.hpp"
#include "store.hpp"
#include "zap.hpp"

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

class Server : private Inbox::Edge, private Outbox::Edge {
 public:
    /// The core holds what the store holds, up to batch `applied_seq` (recovery.hpp).
    Server(Core& core, std::uint64_t applied_seq, DataDirectory& directory, Store& store, CommitLog& log,
           Socket& socket, service::Notifier& manager);
    /// What holds from a SIGHUP on.
    struct Settings {
        Limits limits;
        std::vector<Endpoint> endpoints;
        std::optional<gid_t> group;
        std::shared_ptr<const Access> access;  ///< null: as it was
    };
    /// Called on SIGHUP, in the loop, so it must not take long: reads the settings again; nothing if something is wrong
    /// with them.
    using Reload = std::function<std::optional<Settings>()>;
    void set_reload(Reload reload) { reload_ = std::move(reload); }
    /// Before run(), if there is an access file. `shared` is what the socket's connections are let in by.
    void set_access(std::shared_ptr<SharedAccess> shared);

    /// Until a signal. An error: the store failed, and nothing that was not durable has been answered.
    Result<void> run();

 private:
    struct Asked {
        enum class For : std::uint8_t { message, payload, agenda };
        For what = For::message;
        PeerId peer;
        std::uint64_t applied_then = 0;  ///< what is read has at least the batches up to this one
    };

    /// False if the broker is to stop.
    bool take_signals();
    void take_settings(const Settings& settings);
    /// Gives how many sessions that ended.
    std::size_t guard(const std::shared_ptr<const Access>& access);
    void introduce(PeerId peer, const std::string& user);
    void close_revoked(Turn now);
    void log_denials();
    [[nodiscard]] Turn turn();
    [[nodiscard]] Output output();
    Result<void> one_turn();
    [[nodiscard]] bool full() const;
    void decide(PeerId peer, const Inbox::Message& message, const Found& found, Turn now, Output& out) override;
    std::uint64_t look_up(PeerId peer, std::vector<Need> needs) override;
    Result<void> take_answers(Turn now, Output& out);
    std::uint64_t ask(Asked asked, std::vector<Need> needs);
    void hand_over(Turn now, Output& out);
    Result<void> take_durable();
    Result<void> take_applied();
    void note_gone(PeerId peer) { gone_.push_back(peer); }
    void trim();
    void send(const Outgoing& message, const std::vector<KeptBytes>& payload) override;
    std::uint64_t read(PeerId peer, std::vector<Need> needs) override;
    void payload_is_gone(JobId job, LeaseToken token) override;
    void result_is_gone(PeerId peer, SessionId session, std::uint64_t bytes) override;
    void watch_disk();
    void watch_descriptors();
    [[nodiscard]] std::string edge_map() const;
    Result<void> say_goodbye();

    DataDirectory& directory_;
    Store& store_;
    CommitLog& log_;
    Socket& socket_;
    service::Notifier& manager_;
    Core& core_;
    BrokerClock clock_;
    std::uint64_t random_;

    Fd signals_;
    Reload reload_;
    std::shared_ptr<SharedAccess> access_;                 ///< null: whoever connects may do everything
    std::deque<std::pair<std::int64_t, PeerId>> revoked_;  ///< whose connections are closed then
    std::int64_t next_denial_log_ = 0;
    std::uint64_t keys_refused_ = 0;  ///< of which the log has told
    Batches batches_;
    Inbox inbox_;
    Outbox outbox_;
    Applier applier_;
    Committer committer_;  // ends before the applier, of which the log may want room
    Reader reader_;

    std::size_t last_ops_ = 0;     ///< of the batch last handed over
    std::size_t clients_ops_ = 0;  ///< of the open batch, by what is not work
    Backlog backlog_;
    std::map<std::uint64_t, Asked> asked_;
    std::uint64_t last_ticket_ = 0;
    std::vector<PeerId> gone_;

    std::vector<Incoming> incoming_;
    std::string header_;
    std::int64_t next_disk_look_ = 0;
    bool descriptors_are_left_ = true;
    std::int64_t next_reader_check_ = 0;
    bool more_input_ = false;
    std::uint64_t turns_ = 0;
    std::uint64_t held_back_ = 0;
    std::uint64_t busy_us_max_ = 0;
};

}  // namespace jobyard::broker
