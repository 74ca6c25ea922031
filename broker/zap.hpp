#pragma once
// ZAP (RFC 27): libzmq asks, once for each connection, whether it may exist and who it is. One thread answers, by a
// look into what is in memory; it reads no file and writes no log. While it does not answer, new connections wait and
// then fail; those that are there go on.
//
// It fails closed: whatever is not exactly a question of one of our two domains is refused, and a socket whose domain
// nobody answers for lets nobody in (ZMQ_ZAP_ENFORCE_DOMAIN). Also for ipc, where everybody is let in: because the
// answer names the user, no peer can name itself (libzmq lets a peer's own properties in, if ZAP has set none).

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "access.hpp"
#include "jobyard/result.hpp"

namespace jobyard::broker {

/// Of endpoints with keys: CURVE, and the key must be known.
inline constexpr std::string_view kKeyDomain = "jobyard-keys";
/// Of ipc endpoints, which the system guards.
inline constexpr std::string_view kLocalDomain = "jobyard-local";
/// The user of a connection through ipc; others are named by their public key.
inline constexpr std::string_view kLocalUser = "local";

struct ZapReply {
    const char* status = "400";
    const char* text = "";
    std::string user = {};
};
/// Called by the handler's thread.
using IsKnownKey = std::function<bool(std::string_view public_key)>;
/// The decision. `frames` are those of a request, from the version on.
ZapReply zap_reply(const std::vector<std::string>& frames, const IsKnownKey& is_known);

/// What the threads that let in and the loop share: swapped as a whole.
class SharedAccess {
 public:
    [[nodiscard]] std::shared_ptr<const Access> get() const {
        const std::lock_guard lock(mutex_);
        return access_;
    }
    void set(std::shared_ptr<const Access> access) {
        const std::lock_guard lock(mutex_);
        access_.swap(access);
    }

 private:
    mutable std::mutex mutex_;
    std::shared_ptr<const Access> access_ = std::make_shared<const Access>();
};

class ZapHandler {
 public:
    /// Binds in the context, before any other socket of it does, and starts the thread.
    static Result<std::unique_ptr<ZapHandler>> start(void* context, IsKnownKey is_known);
    /// The context must have been shut down: that ends the thread.
    ~ZapHandler();
    ZapHandler(const ZapHandler&) = delete;
    ZapHandler& operator=(const ZapHandler&) = delete;

    /// Whether it answers, and refuses what it does not know: for the start.
    Result<void> probe();
    [[nodiscard]] std::uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }
    /// The last that was refused, for the log: "10.0.0.7: this key is not known here: KEY".
    [[nodiscard]] std::string last_refused() const {
        const std::lock_guard lock(mutex_);
        return last_refused_;
    }

 private:
    ZapHandler(void* context, void* socket, IsKnownKey is_known);
    void run();
    void note_refused(const std::vector<std::string>& frames, const ZapReply& reply);

    void* const context_;
    void* const socket_;
    const IsKnownKey is_known_;
    std::atomic<std::uint64_t> refused_{0};
    mutable std::mutex mutex_;
    std::string last_refused_;
    std::thread thread_;
};

}  // namespace jobyard::broker
