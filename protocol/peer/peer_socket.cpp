#include "peer/peer_socket.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>

#include "jobyard/limits.hpp"
#include "peer/endpoint.hpp"
#include "peer/kept_frame.hpp"

namespace jobyard {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// A broker that cannot read a handshake, because its key is not the one it is taken for, closes the connection: as one
/// that is killed meanwhile does, or a proxy with no broker behind it. So often in a row it is worth a word.
constexpr int kTroubledHandshakes = 3;
constexpr std::chrono::duration<int, std::milli> kReconnect{100};  // the first time; then it doubles, up to the option

/// libzmq takes its reconnect jitter from rand(), which it never seeds: without this every peer of a restarted broker
/// would come back in step.
void seed_jitter_once() {
    static std::once_flag seeded;
    std::call_once(seeded, [] {
        unsigned seed = 0;
        if (getrandom(&seed, sizeof seed, 0) == static_cast<ssize_t>(sizeof seed)) srand(seed);
    });
}

Error zmq_failed(const std::string& what) { return {Code::internal, what + ": " + zmq_strerror(zmq_errno())}; }

/// A received or outgoing frame; closed with its owner.
struct Frame {
    zmq_msg_t message;
    Frame() { zmq_msg_init(&message); }
    ~Frame() { zmq_msg_close(&message); }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

    [[nodiscard]] std::string_view view() {
        return {static_cast<const char*>(zmq_msg_data(&message)), zmq_msg_size(&message)};
    }
    /// False for want of memory, as in the next two.
    bool allocate(std::size_t size) {
        zmq_msg_close(&message);
        if (zmq_msg_init_size(&message, size) == 0) return true;
        zmq_msg_init(&message);
        return false;
    }
    /// The pieces end to end.
    bool copy(const std::vector<KeptBytes>& pieces) {
        std::size_t size = 0;
        for (const KeptBytes& piece : pieces) size += piece.bytes.size();
        if (!allocate(size)) return false;
        char* at = static_cast<char*>(zmq_msg_data(&message));
        for (const KeptBytes& piece : pieces) at = std::copy(piece.bytes.begin(), piece.bytes.end(), at);
        return true;
    }
    bool refer_to(const KeptBytes& kept) {
        zmq_msg_close(&message);
        return jobyard::refer_to(message, kept);
    }
    bool receive(void* socket) {
        int rc = 0;
        do rc = zmq_msg_recv(&message, socket, ZMQ_DONTWAIT);
        while (rc < 0 && zmq_errno() == EINTR);
        return rc >= 0;
    }
    bool send(void* socket, int flags) {
        int rc = 0;
        do rc = zmq_msg_send(&message, socket, flags | ZMQ_DONTWAIT);
        while (rc < 0 && zmq_errno() == EINTR);
        return rc >= 0;
    }
    [[nodiscard]] bool more() { return zmq_msg_more(&message) != 0; }
};

/// So that wake() needs a system call only when somebody sleeps.
enum class Sleeper : std::uint8_t { none, woken, asleep };

/// What poll() may wait for in place of the socket; -1 if there is no socket, which poll() passes over.
int descriptor_of(void* socket) {
    int fd = -1;
    std::size_t size = sizeof fd;
    if (socket != nullptr) zmq_getsockopt(socket, ZMQ_FD, &fd, &size);
    return fd;
}

/// Takes what stands in the socket's mailbox; only after that its descriptor tells of what comes next.
bool input_of(void* socket) {
    if (socket == nullptr) return false;
    int events = 0;
    std::size_t size = sizeof events;
    int rc = 0;
    do rc = zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size);
    while (rc != 0 && zmq_errno() == EINTR);
    return rc == 0 && (events & ZMQ_POLLIN) != 0;
}

}  // namespace

struct PeerSocket::Impl {
    Options options;
    void* context = nullptr;
    void* socket = nullptr;
    void* monitor = nullptr;
    int monitors_made = 0;  // each monitor needs an address of its own
    int wake_fd = -1;
    std::optional<steady_clock::time_point> connect_at;  ///< there is no socket until then
    std::atomic<Sleeper> sleeper{Sleeper::none};
    std::array<pollfd, 3> watched{};                      ///< by the sleeper
    std::optional<steady_clock::time_point> sleep_until;  ///< with regard to `connect_at`
    int handshakes_failed = 0;                            ///< since one succeeded
    bool refused = false;
    Error trouble;
    Frame header;
    Frame payload;

    explicit Impl(Options given) : options(std::move(given)) {}
    ~Impl() {
        close();
        if (wake_fd >= 0) ::close(wake_fd);
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    [[nodiscard]] bool set(int option, int value) const {
        return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
    }

    Result<void> connect() {
        socket = zmq_socket(context, ZMQ_DEALER);
        if (socket == nullptr) return zmq_failed("cannot make a socket");
        const std::int64_t max_frame = kMaxMessageBytes + kMaxHeaderBytes;
        const bool all_set =
            set(ZMQ_RECONNECT_IVL, kReconnect.count()) && set(ZMQ_RECONNECT_IVL_MAX, options.reconnect_max_ms) &&
            set(ZMQ_CONNECT_TIMEOUT, 3000) && set(ZMQ_HANDSHAKE_IVL, 5000) &&
            zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max_frame, sizeof max_frame) == 0 &&
            set(ZMQ_SNDHWM, kSubmitWindow + 64) &&  // more than a peer can have unanswered
            set(ZMQ_RCVHWM, 0) &&                   // the owner always reads; credit and grants bound what comes
            set(ZMQ_SNDBUF, send_buffer_bytes(options.endpoint)) && set(ZMQ_LINGER, options.linger_ms) &&
            set(ZMQ_IPV6, 1) && set(ZMQ_TCP_KEEPALIVE, 1) && set(ZMQ_TCP_KEEPALIVE_IDLE, 15) &&
            set(ZMQ_TCP_KEEPALIVE_INTVL, 5) && set(ZMQ_TCP_KEEPALIVE_CNT, 3) && set(ZMQ_TCP_MAXRT, 20000);
        if (!all_set || !set_keys()) return zmq_failed("cannot set a socket option");
        // No routing id: the broker drops peers that set one. No ZMTP heartbeats: the application's decide.
        // Not ZMQ_IMMEDIATE: with it a connection that ends between two frames of a message that is being received ends
        // the process (fq.cpp, `!_more`; libzmq#3663). What it is for, that nothing queued for one connection is sent
        // on the next, a new socket for each connection gives.

        const std::string address = "inproc://monitor-" + std::to_string(monitors_made++);
        constexpr int kEvents = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |
                                ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                                ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
        if (zmq_socket_monitor(socket, address.c_str(), kEvents) != 0) return zmq_failed("cannot watch the connection");
        monitor = zmq_socket(context, ZMQ_PAIR);
        if (monitor == nullptr || zmq_connect(monitor, address.c_str()) != 0)
            return zmq_failed("cannot watch the connection");
        if (zmq_connect(socket, options.endpoint.c_str()) != 0)
            return zmq_failed("cannot connect to \"" + options.endpoint + "\"");
        return {};
    }

    [[nodiscard]] bool set_keys() const {
        if (!options.keys) return true;
        const auto set_key = [this](int option, const std::string& key) {
            return zmq_setsockopt(socket, option, key.c_str(), key.size() + 1) == 0;
        };
        return set_key(ZMQ_CURVE_SERVERKEY, options.keys->server) &&
               set_key(ZMQ_CURVE_PUBLICKEY, options.keys->own.public_key) &&
               set_key(ZMQ_CURVE_SECRETKEY, options.keys->own.secret_key);
    }

    /// What of a failed handshake is worth telling.
    std::optional<Connection> handshake_failed(int event, std::uint32_t detail) {
        ++handshakes_failed;
        const std::string broker = "the broker at " + options.endpoint;
        const auto tell = [this](Connection what, std::string text) {
            // Without keys it may be a proxy with no broker behind it, as well.
            trouble = {what == Connection::refused || options.keys ? Code::not_allowed : Code::timeout,
                       std::move(text)};
            refused = what == Connection::refused;
            return what;
        };
        if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
            return tell(Connection::refused, broker + " refused this key (" +
                                                 (options.keys ? options.keys->own.public_key : "none") +
                                                 "): its access file does not name it");
        if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL && detail == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
            return tell(Connection::refused,
                        options.keys ? broker +
                                           " has no key at this endpoint, and here one is expected of it: it may be "
                                           "another than it is taken for"
                                     : broker +
                                           " wants a key; name its public key with --server-key and the file of "
                                           "your own with --key-file (or $JOBYARD_SERVER_KEY, $JOBYARD_KEY_FILE)");
        if (handshakes_failed != kTroubledHandshakes) return std::nullopt;
        // A broker with keys may close the connection before it is known here that it has some.
        return tell(Connection::troubled,
                    "no answer to the handshake from " + broker +
                        (options.keys ? ": is the server key right? (Or the broker has no key at this endpoint.)"
                                      : ": it may want a key"));
    }

    void wake() {
        if (sleeper.exchange(Sleeper::woken) != Sleeper::asleep) return;
        const int saved = errno;  // for the code that a signal handler interrupts
        eventfd_write(wake_fd, 1);
        errno = saved;
    }

    void disconnect() {
        if (sleeper.load() == Sleeper::asleep) wake();  // it watches what ends here
        if (socket != nullptr) {
            zmq_socket_monitor(socket, nullptr, 0);
            zmq_close(socket);
            socket = nullptr;
        }
        if (monitor != nullptr) {
            const int none = 0;
            zmq_setsockopt(monitor, ZMQ_LINGER, &none, sizeof none);
            zmq_close(monitor);
            monitor = nullptr;
        }
    }

    void close() {
        disconnect();
        if (context == nullptr) return;
        while (zmq_ctx_term(context) != 0 && zmq_errno() == EINTR) {
        }
        context = nullptr;
    }
};

PeerSocket::PeerSocket(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PeerSocket::~PeerSocket() = default;

Result<std::unique_ptr<PeerSocket>> PeerSocket::open(const Options& options) {
    if (Result<void> checked = check_address(options.endpoint); !checked) return checked.error();
    seed_jitter_once();
    auto impl = std::make_unique<Impl>(options);
    impl->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (impl->wake_fd < 0) return Error{Code::internal, std::string("cannot make an eventfd: ") + std::strerror(errno)};
    impl->context = zmq_ctx_new();
    if (impl->context == nullptr) return zmq_failed("cannot start ZeroMQ");
    if (Result<void> connected = impl->connect(); !connected) return connected.error();
    return std::unique_ptr<PeerSocket>(new PeerSocket(std::move(impl)));
}

bool PeerSocket::send(std::string_view header, const std::vector<KeptBytes>& payload) {
    // Both frames are made before the first is sent: nothing can fail between them but the connection.
    Frame first;
    Frame second;
    const bool is_kept = payload.size() == 1 && payload.front().owner != nullptr;
    if (!first.allocate(header.size()) || !(is_kept ? second.refer_to(payload.front()) : second.copy(payload)))
        return false;
    std::memcpy(zmq_msg_data(&first.message), header.data(), header.size());
    if (!first.send(impl_->socket, ZMQ_SNDMORE)) return false;
    // libzmq counts whole messages, so the second frame always has room. If the connection ended just now it takes back
    // the first, or swallows both: never half a message. The owner learns of it by `disconnected`.
    return second.send(impl_->socket, 0);
}

bool PeerSocket::may_sleep() {
    if (input_of(impl_->socket) || input_of(impl_->monitor)) return false;
    impl_->watched = {pollfd{descriptor_of(impl_->socket), POLLIN, 0}, pollfd{descriptor_of(impl_->monitor), POLLIN, 0},
                      pollfd{impl_->wake_fd, POLLIN, 0}};
    impl_->sleep_until = impl_->connect_at;
    if (was_woken()) return false;
    Sleeper before = Sleeper::none;
    return impl_->sleeper.compare_exchange_strong(before, Sleeper::asleep);
}

void PeerSocket::sleep(std::chrono::milliseconds timeout) {
    if (impl_->sleep_until)
        timeout = std::clamp(std::chrono::ceil<milliseconds>(*impl_->sleep_until - steady_clock::now()),
                             milliseconds(0), timeout);
    // An interrupted sleep ends early: whoever handles signals has something to look at.
    poll(impl_->watched.data(), impl_->watched.size(),
         static_cast<int>(std::min<milliseconds::rep>(timeout.count(), INT_MAX)));
    impl_->sleeper.store(Sleeper::none);
    if ((impl_->watched.back().revents & POLLIN) != 0) {
        eventfd_t count = 0;
        eventfd_read(impl_->wake_fd, &count);
    }
}

bool PeerSocket::was_woken() {
    Sleeper before = Sleeper::woken;
    return impl_->sleeper.compare_exchange_strong(before, Sleeper::none);
}

bool PeerSocket::has_input() { return input_of(impl_->socket); }

bool PeerSocket::is_asleep() const { return impl_->sleeper.load() == Sleeper::asleep; }

bool PeerSocket::receive(Frames& frames) {
    while (impl_->header.receive(impl_->socket)) {
        int count = 1;
        for (bool more = impl_->header.more(); more; ++count) {
            // Past the second frame each overwrites the one before: such a message is dropped anyway.
            if (!impl_->payload.receive(impl_->socket)) return false;
            more = impl_->payload.more();
        }
        if (count != 2) continue;
        frames = {impl_->header.view(), impl_->payload.view()};
        return true;
    }
    return false;
}

std::shared_ptr<const void> PeerSocket::keep_payload() {
    auto kept = std::make_shared<Frame>();
    zmq_msg_move(&kept->message, &impl_->payload.message);
    return kept;
}

bool PeerSocket::next_event(Connection& event) {
    if (impl_->connect_at && steady_clock::now() >= *impl_->connect_at) reopen();
    Frame frame;
    while (frame.receive(impl_->monitor)) {  // two frames: 16 bits of event and 32 of value; an address
        std::uint16_t kind = 0;
        std::uint32_t value = 0;
        if (frame.view().size() >= sizeof kind + sizeof value) {
            std::memcpy(&kind, frame.view().data(), sizeof kind);
            std::memcpy(&value, frame.view().data() + sizeof kind, sizeof value);
        }
        while (frame.more() && frame.receive(impl_->monitor)) {
        }
        const bool failed = kind == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL ||
                            kind == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL || kind == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
        if (failed)
            if (const auto told = impl_->handshake_failed(kind, value)) {
                if (*told == Connection::refused) impl_->disconnect();
                event = *told;
                return true;
            }
        if (kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            impl_->handshakes_failed = 0;
            // The new connection stands in the socket's mailbox, which a send does not always look into; asking for the
            // socket's events does, so that the HELLO that follows finds it.
            int ready = 0;
            std::size_t size = sizeof ready;
            zmq_getsockopt(impl_->socket, ZMQ_EVENTS, &ready, &size);
            event = Connection::connected;
            return true;
        }
        if (kind == ZMQ_EVENT_DISCONNECTED) {
            impl_->disconnect();
            impl_->connect_at = steady_clock::now() + kReconnect + milliseconds(rand() % kReconnect.count());
            event = Connection::disconnected;
            return true;
        }
    }
    return false;
}

const Error& PeerSocket::trouble() const { return impl_->trouble; }

void PeerSocket::wake() { impl_->wake(); }

void PeerSocket::reopen() {
    if (impl_->refused) return;  // it would only be refused again
    static_cast<void>(impl_->set(ZMQ_LINGER, 0));
    impl_->disconnect();
    impl_->connect_at.reset();
    if (impl_->connect()) return;
    // For want of descriptors or memory, which can happen after hours of running.
    impl_->disconnect();
    impl_->connect_at = steady_clock::now() + kReconnect;
}

void PeerSocket::close() { impl_->close(); }

}  // namespace jobyard
