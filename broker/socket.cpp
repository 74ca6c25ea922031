#include "socket.hpp"

#include <netinet/in.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>

#include "jobyard/assert.hpp"
#include "jobyard/limits.hpp"
#include "peer/endpoint.hpp"
#include "peer/kept_frame.hpp"

namespace jobyard::broker {
namespace {

using std::chrono::steady_clock;

constexpr std::string_view kIpc = "ipc://";
constexpr std::string_view kTcp = "tcp://";
/// Of libzmq: one goes to the limit of one core with ciphers.
constexpr int kThreadsWithKeys = 2;
/// Not in zmq.h of a stable libzmq, but in the library.
constexpr int kZapEnforceDomain = 93;
constexpr const char* kMonitorAddress = "inproc://jobyard-monitor";

/// More than a mistake: who sends so many frames in a message loses its connection.
constexpr std::size_t kKickAboveFrames = 64;
/// A frame this small may be part of libzmq's receive buffer.
constexpr std::size_t kReceiveBufferBytes = 8192;
/// When a peer is named as disconnected, after the event.
constexpr std::array<std::chrono::milliseconds, 4> kNameAfter{
    {std::chrono::milliseconds(0), std::chrono::milliseconds(5), std::chrono::milliseconds(50),
     std::chrono::milliseconds(500)}};

static_assert(sizeof(zmq_msg_t) == 64 && alignof(zmq_msg_t) <= alignof(void*));
zmq_msg_t* as_message(std::byte* bytes) { return reinterpret_cast<zmq_msg_t*>(bytes); }

/// False when there is nothing. Anything else would be a bug, or a socket that is closed, which is one too.
bool receive_part(void* socket, zmq_msg_t* part) {
    int rc;
    do rc = zmq_msg_recv(part, socket, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    JOBYARD_ASSERT(rc >= 0 || errno == EAGAIN);
    return rc >= 0;
}

bool may_receive(void* socket) {
    int events = 0;
    std::size_t size = sizeof events;
    JOBYARD_ASSERT(zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) == 0 || errno == EINTR);
    return (events & ZMQ_POLLIN) != 0;
}

/// Readable when libzmq has news for the socket.
int descriptor_of(void* socket) {
    int fd = -1;
    std::size_t size = sizeof fd;
    JOBYARD_ASSERT(zmq_getsockopt(socket, ZMQ_FD, &fd, &size) == 0);
    return fd;
}

/// Takes the part over, whatever comes of it. Zero or the errno.
int send_part(void* socket, zmq_msg_t* part, int flags) {
    int rc;
    do rc = zmq_msg_send(part, socket, flags | ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    if (rc >= 0) return 0;
    const int error = errno;
    zmq_msg_close(part);
    return error;
}

char* allocate(zmq_msg_t* part, std::size_t size) {
    if (zmq_msg_init_size(part, size) != 0) throw std::bad_alloc();
    return static_cast<char*>(zmq_msg_data(part));
}

/// libzmq names an IPv4 address as one of IPv6, which is right but no use to give to anybody.
std::string plain(std::string endpoint) {
    constexpr std::string_view kMapped = "tcp://[::ffff:";
    if (!endpoint.starts_with(kMapped)) return endpoint;
    const std::size_t end = endpoint.find(']');
    return std::string(kTcp) + endpoint.substr(kMapped.size(), end - kMapped.size()) + endpoint.substr(end + 1);
}

/// The routing ids that libzmq generates: a zero byte, then 32 bits that only count up.
constexpr std::size_t kRoutingIdBytes = 5;

std::optional<PeerId> peer_of(zmq_msg_t* routing_id) {
    if (zmq_msg_size(routing_id) != kRoutingIdBytes) return std::nullopt;
    const auto* bytes = static_cast<const unsigned char*>(zmq_msg_data(routing_id));
    if (bytes[0] != 0) return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t i = 1; i < kRoutingIdBytes; ++i) value = value << 8U | bytes[i];
    return PeerId{value};
}

/// The identity of an open socket; nothing if the descriptor is not one.
std::optional<ino_t> inode_of(int fd) {
    struct stat info {};
    if (fd < 0 || ::fstat(fd, &info) != 0 || !S_ISSOCK(info.st_mode)) return std::nullopt;
    return info.st_ino;
}

/// libzmq takes routing ids from rand(), and never seeds it: without this they could be guessed by any peer.
void seed_routing_ids() {
    unsigned seed;
    JOBYARD_ASSERT(::getrandom(&seed, sizeof seed, 0) == sizeof seed);
    std::srand(seed);
}

/// Who may connect is who may write to the socket's file.
Result<void> give_to_group(const std::string& path, gid_t group) {
    if (::chown(path.c_str(), static_cast<uid_t>(-1), group) == 0 && ::chmod(path.c_str(), 0660) == 0) return {};
    return Error{Code::internal, "cannot give " + path + " to group " + std::to_string(group) + ": " +
                                     std::strerror(errno) + "; the user of the broker must be a member of it"};
}

}  // namespace

Frame::Frame() { zmq_msg_init(as_message(message_)); }
Frame::~Frame() { zmq_msg_close(as_message(message_)); }
Frame::Frame(Frame&& other) noexcept : Frame() { zmq_msg_move(as_message(message_), as_message(other.message_)); }
Frame& Frame::operator=(Frame&& other) noexcept {
    zmq_msg_move(as_message(message_), as_message(other.message_));
    return *this;
}

std::string_view Frame::view() const {
    // zmq_msg_data() takes no const message but changes nothing.
    zmq_msg_t* message = as_message(const_cast<std::byte*>(message_));
    return {static_cast<const char*>(zmq_msg_data(message)), zmq_msg_size(message)};
}

std::string Frame::user() const {
    const char* user = zmq_msg_gets(as_message(const_cast<std::byte*>(message_)), "User-Id");
    return user == nullptr ? "" : user;
}

void Frame::detach() {
    const std::string_view bytes = view();
    if (bytes.empty() || bytes.size() > kReceiveBufferBytes) return;
    zmq_msg_t copy;
    std::memcpy(allocate(&copy, bytes.size()), bytes.data(), bytes.size());
    zmq_msg_move(as_message(message_), &copy);
    zmq_msg_close(&copy);
}

Result<std::unique_ptr<Socket>> Socket::open(const std::vector<Endpoint>& endpoints, std::optional<gid_t> group,
                                             IsKnownKey is_known) {
    std::unique_ptr<Socket> socket(new Socket(is_known != nullptr));
    if (is_known)
        if (auto ready = socket->authenticate(std::move(is_known)); !ready) return ready.error();
    for (const Endpoint& endpoint : endpoints)
        if (auto bound = socket->bind(endpoint, group); !bound) return bound.error();
    return socket;
}

Socket::Socket(bool with_keys) {
    seed_routing_ids();
    context_ = zmq_ctx_new();
    JOBYARD_ASSERT(context_ != nullptr);
    if (with_keys) JOBYARD_ASSERT(zmq_ctx_set(context_, ZMQ_IO_THREADS, kThreadsWithKeys) == 0);
    router_ = zmq_socket(context_, ZMQ_ROUTER);
    monitor_ = zmq_socket(context_, ZMQ_PAIR);
    JOBYARD_ASSERT(router_ != nullptr && monitor_ != nullptr);
    set_options();
    open_monitor();
}

Socket::~Socket() {
    const int goodbye_ms = 500;  // for what was sent last: who reads it has it, who does not cannot hold us up
    zmq_setsockopt(router_, ZMQ_LINGER, &goodbye_ms, sizeof goodbye_ms);
    zmq_socket_monitor(router_, nullptr, 0);
    zmq_close(monitor_);
    zmq_close(router_);
    if (zap_) zmq_ctx_shutdown(context_);  // which ends its thread
    zap_.reset();
    while (zmq_ctx_term(context_) != 0 && errno == EINTR) continue;
}

std::vector<std::string> Socket::endpoints() const {
    std::vector<std::string> endpoints;
    for (const Bound& bound : bound_) endpoints.push_back(plain(bound.at));
    return endpoints;
}

Result<void> Socket::authenticate(IsKnownKey is_known) {
    if (zmq_has("curve") == 0)
        return Error{Code::internal,
                     "this libzmq was built without CURVE, so there can be no keys; install one that "
                     "has it (Debian's does)"};
    auto handler = ZapHandler::start(context_, std::move(is_known));
    if (!handler) return handler.error();
    zap_ = *std::move(handler);
    return zap_->probe();
}

Result<void> Socket::listen(const std::vector<Endpoint>& endpoints, std::optional<gid_t> group) {
    for (Bound& bound : bound_) bound.stays = false;
    std::vector<const Endpoint*> fresh;
    for (const Endpoint& endpoint : endpoints) {
        const auto there = std::ranges::find(bound_, endpoint.address, &Bound::given);
        if (there == bound_.end()) {
            fresh.push_back(&endpoint);
            continue;
        }
        if (there->public_key != (endpoint.key ? endpoint.key->public_key : ""))
            return Error{Code::bad_field, endpoint.address +
                                              " has another key, which cannot change while it is used: "
                                              "listen with the new one at another address too"};
        there->stays = true;
    }
    for (const Endpoint* endpoint : fresh)
        if (auto bound = bind(*endpoint, group); !bound) return bound;
    for (auto at = bound_.begin(); at != bound_.end();) {
        if (at->stays) {
            ++at;
            continue;
        }
        if (zmq_unbind(router_, at->at.c_str()) != 0)
            return Error{Code::internal, "cannot stop to listen on " + at->given + ": " + zmq_strerror(errno)};
        at = bound_.erase(at);
        // Its connections end with it, and no event says which they were.
        for (const auto& [peer, connection] : connections_) suspects_[peer] = {0, steady_clock::now()};
    }
    return {};
}

void Socket::set_options() {
    const auto set = [this](int option, auto value) {
        JOBYARD_ASSERT(zmq_setsockopt(router_, option, &value, sizeof value) == 0);
    };
    set(ZMQ_ROUTER_MANDATORY, 1);  // a send tells whether the peer is there
    set(ZMQ_ROUTER_HANDOVER, 0);   // nobody takes over another's connection
    // More than a peer can make us owe it while it reads: an answer to each submit of its window, or a dispatch for
    // each job of its credit. One commit releases them all at once.
    set(ZMQ_SNDHWM, static_cast<int>(kSubmitWindow) + 1024);
    set(ZMQ_RCVHWM, 1000);
    set(ZMQ_MAXMSGSIZE, static_cast<std::int64_t>(kMaxMessageBytes + kMaxHeaderBytes));
    set(ZMQ_LINGER, 0);
    set(ZMQ_BACKLOG, 1024);
    set(ZMQ_IPV6, 1);
    set(ZMQ_HANDSHAKE_IVL, 5000);
    // Half-open connections and peers that stopped reading. Not ZMTP heartbeats: they would end the connection of a
    // peer whose messages wait for us.
    set(ZMQ_TCP_MAXRT, 20000);
    set(ZMQ_TCP_KEEPALIVE, 1);
    set(ZMQ_TCP_KEEPALIVE_IDLE, 15);
    set(ZMQ_TCP_KEEPALIVE_INTVL, 5);
    set(ZMQ_TCP_KEEPALIVE_CNT, 3);
}

void Socket::open_monitor() {
    // No high-water mark: a full monitor would stop libzmq's I/O thread.
    const int unbounded = 0;
    JOBYARD_ASSERT(zmq_setsockopt(monitor_, ZMQ_RCVHWM, &unbounded, sizeof unbounded) == 0);
    JOBYARD_ASSERT(zmq_setsockopt(monitor_, ZMQ_LINGER, &unbounded, sizeof unbounded) == 0);
    constexpr int kEvents = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                            ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    JOBYARD_ASSERT(zmq_socket_monitor(router_, kMonitorAddress, kEvents) == 0);
    JOBYARD_ASSERT(zmq_connect(monitor_, kMonitorAddress) == 0);
}

/// libzmq copies the options when it binds: each endpoint has its own.
Result<void> Socket::set_mechanism(const Endpoint& endpoint) {
    const bool ipc = endpoint.address.starts_with(kIpc);
    if (!endpoint.key && !zap_) return {};
    if (endpoint.key && (!zap_ || ipc))
        return Error{Code::internal, "cannot listen on " + endpoint.address + " with a key: " +
                                         (ipc ? "the system guards ipc" : "nobody says which keys are known")};
    if (!endpoint.key && !ipc)
        return Error{Code::internal, "cannot listen on " + endpoint.address + " without a key: others are told apart"};
    const std::string_view domain = endpoint.key ? kKeyDomain : kLocalDomain;
    const int server = endpoint.key ? 1 : 0;
    const int enforce = 1;
    const bool all_set =
        (!endpoint.key || zmq_setsockopt(router_, ZMQ_CURVE_SECRETKEY, endpoint.key->secret_key.c_str(),
                                         endpoint.key->secret_key.size() + 1) == 0) &&
        zmq_setsockopt(router_, ZMQ_CURVE_SERVER, &server, sizeof server) == 0 &&
        zmq_setsockopt(router_, ZMQ_ZAP_DOMAIN, domain.data(), domain.size()) == 0 &&
        zmq_setsockopt(router_, kZapEnforceDomain, &enforce, sizeof enforce) == 0;
    if (all_set) return {};
    return Error{Code::internal,
                 std::string("this libzmq cannot be made to let in only known keys: ") + zmq_strerror(errno)};
}

Result<void> Socket::bind(const Endpoint& listen, std::optional<gid_t> group) {
    const std::string& endpoint = listen.address;
    const bool ipc = endpoint.starts_with(kIpc);
    if (!ipc && !endpoint.starts_with(kTcp))
        return Error{Code::bad_field, "cannot listen on " + endpoint + ": expected ipc://PATH or tcp://ADDRESS:PORT"};
    if (ipc)
        if (auto prepared = prepare_ipc(endpoint, endpoint.substr(kIpc.size()), group); !prepared) return prepared;
    if (auto set = set_mechanism(listen); !set) return set;
    const int send_buffer = send_buffer_bytes(endpoint);  // of the connections made here
    JOBYARD_ASSERT(zmq_setsockopt(router_, ZMQ_SNDBUF, &send_buffer, sizeof send_buffer) == 0);
    // An ipc socket is for this user alone, until it is given to a group: without keys nothing else tells who connects.
    const mode_t before = ::umask(0177);
    const int rc = zmq_bind(router_, endpoint.c_str());
    const int error = errno;
    ::umask(before);
    if (rc != 0) {
        std::string text = "cannot listen on " + endpoint + ": " + zmq_strerror(error);
        if (error == EADDRINUSE) text += "; stop whoever listens there, or choose another port";
        else if (error == EINVAL) text += "; expected ipc://PATH or tcp://ADDRESS:PORT";
        else if (error == ENODEV || error == EADDRNOTAVAIL) text += "; the address is not one of this machine";
        else if (error == EACCES) text += "; ports below 1024 need privileges";
        return Error{Code::internal, text};
    }
    if (ipc && group)
        if (auto given = give_to_group(endpoint.substr(kIpc.size()), *group); !given) return given;
    char bound[256];
    std::size_t size = sizeof bound;
    JOBYARD_ASSERT(zmq_getsockopt(router_, ZMQ_LAST_ENDPOINT, bound, &size) == 0);
    bound_.push_back({endpoint, listen.key ? listen.key->public_key : "", bound, true});
    return {};
}

Result<void> Socket::prepare_ipc(const std::string& endpoint, const std::string& path, std::optional<gid_t> group) {
    const auto refuse = [&endpoint](const std::string& why) {
        return Error{Code::internal, "cannot listen on " + endpoint + ": " + why};
    };
    if (path.empty() || path[0] == '@' || path[0] == '*')
        return refuse("expected the path of a file, which has an owner and a mode");
    if (path.size() >= sizeof(sockaddr_un::sun_path))
        return refuse("the path is longer than " + std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes");
    if (auto checked = check_endpoint(endpoint); !checked) return refuse(checked.error().text);
    if (group) {
        const std::size_t slash = path.rfind('/');
        const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
        struct stat place {};
        if (::stat(directory.c_str(), &place) == 0 && (place.st_mode & 022U) != 0)
            return refuse(directory +
                          " can be written by others, who could put a socket of theirs in the place of a "
                          "broker that is away; run: chmod go-w " +
                          directory);
    }
    // libzmq removes whatever is at the path, a running broker's socket too, and binds in its place.
    auto lock = lock_file(path + ".lock");
    if (!lock) return refuse((lock.error().code == Code::busy ? "another broker does: " : "") + lock.error().text);
    struct stat info {};
    if (::lstat(path.c_str(), &info) == 0 && !S_ISSOCK(info.st_mode))
        return refuse("there is a file of that name that is not a socket");
    ipc_locks_.push_back(std::move(*lock));
    return {};
}

void Socket::wait(const std::vector<int>& fds, int timeout_ms, std::chrono::microseconds awake) {
    // libzmq's descriptors tell of what came since it was last asked, so ask: there may be a message already.
    if (may_receive(router_)) return;
    polled_ = {{descriptor_of(router_), POLLIN, 0}, {descriptor_of(monitor_), POLLIN, 0}};
    for (const int fd : fds) polled_.push_back({fd, POLLIN, 0});
    const auto now = steady_clock::now();
    for (const auto& [peer, suspect] : suspects_) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(suspect.due - now).count();
        if (timeout_ms < 0 || left < timeout_ms) timeout_ms = static_cast<int>(std::max<long>(left, 0));
    }
    const auto poll_for = [this](int ms) {
        const int ready = ::poll(polled_.data(), polled_.size(), ms);
        JOBYARD_ASSERT(ready >= 0 || errno == EINTR);
        return ready;
    };
    if (timeout_ms != 0) {
        for (const auto until = now + awake; steady_clock::now() < until; ::sched_yield())
            if (poll_for(0) != 0) return;
    }
    poll_for(timeout_ms);
}

bool Socket::receive(std::vector<Incoming>& messages, std::size_t max_messages, std::size_t max_bytes) {
    std::size_t bytes = 0;
    for (std::size_t count = 0; count < max_messages && bytes < max_bytes; ++count) {
        Frame routing_id;
        if (!receive_part(router_, as_message(routing_id.message_))) return false;
        // Every part is there at once, and is let go as it comes unless it is one of the two.
        Incoming incoming;
        std::size_t frames = 0;
        for (bool more = zmq_msg_more(as_message(routing_id.message_)) != 0; more; ++frames) {
            Frame beyond;
            Frame& frame = frames == 0 ? incoming.header_frame : frames == 1 ? incoming.payload_frame : beyond;
            JOBYARD_ASSERT(receive_part(router_, as_message(frame.message_)));
            more = zmq_msg_more(as_message(frame.message_)) != 0;
            bytes += frame.view().size();
        }
        const auto peer = peer_of(as_message(routing_id.message_));
        if (!peer) {
            ++counters_.wrong_routing_id;
            continue;
        }
        if (frames > 0 && !connections_.contains(*peer)) remember(*peer, incoming.header_frame);
        if (frames != 2) {
            ++counters_.wrong_frames;
            if (frames > kKickAboveFrames) kick(*peer);
            continue;
        }
        incoming.peer = *peer;
        messages.push_back(std::move(incoming));
        ++counters_.received;
    }
    return true;
}

Sent Socket::send(PeerId peer, std::string_view header, const std::vector<KeptBytes>& pieces) {
    zmq_msg_t part;
    char* routing_id = allocate(&part, kRoutingIdBytes);
    routing_id[0] = 0;
    for (std::size_t i = 1; i < kRoutingIdBytes; ++i)
        routing_id[i] = static_cast<char>(peer.value >> (8 * (kRoutingIdBytes - 1 - i)));
    // If this is refused nothing may follow: the next frame would be taken for a routing id. Once it is accepted the
    // rest is, too.
    if (const int error = send_part(router_, &part, ZMQ_SNDMORE); error != 0) {
        JOBYARD_ASSERT(error == EHOSTUNREACH || error == EAGAIN);
        if (error == EAGAIN) return Sent::stuck;
        forget(peer);
        return Sent::gone;
    }
    std::memcpy(allocate(&part, header.size()), header.data(), header.size());
    JOBYARD_ASSERT(send_part(router_, &part, ZMQ_SNDMORE) == 0);
    if (pieces.size() == 1 && pieces.front().owner != nullptr) {
        JOBYARD_ASSERT(refer_to(part, pieces.front()));
    } else {
        std::size_t size = 0;
        for (const KeptBytes& piece : pieces) size += piece.bytes.size();
        char* at = allocate(&part, size);
        for (const KeptBytes& piece : pieces) at = std::copy(piece.bytes.begin(), piece.bytes.end(), at);
    }
    JOBYARD_ASSERT(send_part(router_, &part, 0) == 0);
    ++counters_.sent;
    return Sent::ok;
}

bool Socket::kick(PeerId peer) {
    const auto found = connections_.find(peer);
    if (found == connections_.end() || inode_of(found->second.fd) != found->second.inode) return false;
    // Not close(): the descriptor is libzmq's, which sees the end of the stream and closes it.
    if (::shutdown(found->second.fd, SHUT_RDWR) != 0) return false;
    ++counters_.kicked;
    return true;
}

void Socket::remember(PeerId peer, Frame& frame) {
    // Asked of a body frame: the routing id's frame has no properties once it went through zmq_poll().
    const int fd = zmq_msg_get(as_message(frame.message_), ZMQ_SRCFD);
    const auto inode = inode_of(fd);
    const auto owner = owners_.find(fd);
    const bool owned = owner != owners_.end() && owner->second != peer;
    if (!inode || (owned && is_older(peer, owner->second))) {
        // What it sent outlived its connection.
        suspects_[peer] = {0, steady_clock::now()};
        return;
    }
    if (owned) {
        suspects_[owner->second] = {0, steady_clock::now()};
        connections_.erase(owner->second);
    }
    connections_[peer] = {fd, *inode};
    owners_[fd] = peer;
}

void Socket::forget(PeerId peer) {
    suspects_.erase(peer);
    const auto found = connections_.find(peer);
    if (found == connections_.end()) return;
    owners_.erase(found->second.fd);
    connections_.erase(found);
}

void Socket::read_monitor() {
    // An event is two frames: what and which descriptor; then the endpoint.
    Frame event;
    while (receive_part(monitor_, as_message(event.message_))) {
        Frame endpoint;
        JOBYARD_ASSERT(receive_part(monitor_, as_message(endpoint.message_)));
        std::uint16_t what;
        std::uint32_t value;
        JOBYARD_ASSERT(event.view().size() == sizeof what + sizeof value);
        std::memcpy(&what, event.view().data(), sizeof what);
        std::memcpy(&value, event.view().data() + sizeof what, sizeof value);
        if (what != ZMQ_EVENT_DISCONNECTED) {
            ++counters_.handshakes_failed;
            continue;
        }
        const auto owner = owners_.find(static_cast<int>(value));
        if (owner != owners_.end()) suspects_[owner->second] = {0, steady_clock::now()};
    }
}

void Socket::take_disconnected(std::vector<PeerId>& peers) {
    read_monitor();
    const auto now = steady_clock::now();
    for (auto at = suspects_.begin(); at != suspects_.end();) {
        auto& [peer, suspect] = *at;
        if (suspect.due > now) {
            ++at;
            continue;
        }
        peers.push_back(peer);
        if (++suspect.named == kNameAfter.size()) {
            at = suspects_.erase(at);
        } else {
            suspect.due = now + kNameAfter[suspect.named];
            ++at;
        }
    }
}

}  // namespace jobyard::broker
