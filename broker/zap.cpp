#include "zap.hpp"

#include <pthread.h>
#include <zmq.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "peer/keys.hpp"

namespace jobyard::broker {
namespace {

constexpr const char* kAddress = "inproc://zeromq.zap.01";
constexpr std::string_view kVersion = "1.0";
constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kMaxFrames = 16;  // a question has 6 or 7
constexpr int kProbeMs = 2000;

// The frames of a question, from RFC 27: version, request, domain, address, identity, mechanism, credentials.
enum Question : std::size_t { version, request, domain, address, identity, mechanism, credentials };

Error failed(const char* what) {
    return {Code::internal, std::string(what) + ": " + zmq_strerror(zmq_errno()) + "; nobody is let in without it"};
}

/// All frames of a message, or nothing if the context is shut down (or the time is over).
std::optional<std::vector<std::string>> receive(void* socket) {
    std::vector<std::string> frames;
    for (int more = 1; more != 0;) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        int rc = 0;
        do rc = zmq_msg_recv(&frame, socket, 0);
        while (rc < 0 && zmq_errno() == EINTR);
        if (rc >= 0 && frames.size() < kMaxFrames)
            frames.emplace_back(static_cast<const char*>(zmq_msg_data(&frame)), zmq_msg_size(&frame));
        more = rc >= 0 ? zmq_msg_more(&frame) : 0;
        zmq_msg_close(&frame);
        if (rc < 0) return std::nullopt;
    }
    return frames;
}

bool send(void* socket, const std::vector<std::string_view>& frames) {
    for (std::size_t i = 0; i < frames.size(); ++i) {
        int rc = 0;
        do rc = zmq_send(socket, frames[i].data(), frames[i].size(), i + 1 < frames.size() ? ZMQ_SNDMORE : 0);
        while (rc < 0 && zmq_errno() == EINTR);
        if (rc < 0) return false;
    }
    return true;
}

}  // namespace

ZapReply zap_reply(const std::vector<std::string>& frames, const IsKnownKey& is_known) {
    if (frames.size() <= mechanism || frames[version] != kVersion) return {"400", "not a question of ZAP 1.0"};
    if (frames[domain] == kLocalDomain && frames[mechanism] == "NULL" && frames.size() == credentials)
        return {"200", "OK", std::string(kLocalUser)};
    const bool is_key = frames[domain] == kKeyDomain && frames[mechanism] == "CURVE" &&
                        frames.size() == credentials + 1 && frames[credentials].size() == kKeyBytes;
    if (!is_key) return {"400", "not a domain and mechanism of this broker"};
    std::string key = key_text(reinterpret_cast<const unsigned char*>(frames[credentials].data()));
    if (!is_known(key)) return {"400", "this key is not known here"};
    return {"200", "OK", std::move(key)};
}

Result<std::unique_ptr<ZapHandler>> ZapHandler::start(void* context, IsKnownKey is_known) {
    void* socket = zmq_socket(context, ZMQ_REP);
    if (socket == nullptr) return failed("cannot make the socket that authenticates connections");
    const int none = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    if (zmq_bind(socket, kAddress) != 0) {
        const Error error = failed("cannot bind the socket that authenticates connections");
        zmq_close(socket);
        return error;
    }
    return std::unique_ptr<ZapHandler>(new ZapHandler(context, socket, std::move(is_known)));
}

ZapHandler::ZapHandler(void* context, void* socket, IsKnownKey is_known)
    : context_(context), socket_(socket), is_known_(std::move(is_known)), thread_([this] { run(); }) {}

ZapHandler::~ZapHandler() { thread_.join(); }

void ZapHandler::run() {
    ::pthread_setname_np(::pthread_self(), "zap");
    while (const auto frames = receive(socket_)) {
        const ZapReply reply = zap_reply(*frames, is_known_);
        if (reply.user.empty()) note_refused(*frames, reply);
        const std::string_view id = frames->size() > request ? std::string_view((*frames)[request]) : "";
        if (!send(socket_, {kVersion, id, reply.status, reply.text, reply.user, ""})) break;
    }
    zmq_close(socket_);
}

/// A public key is no secret, and who has forgotten to list it wants to see it.
void ZapHandler::note_refused(const std::vector<std::string>& frames, const ZapReply& reply) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    const std::lock_guard lock(mutex_);
    last_refused_ = (frames.size() > address ? frames[address] + ": " : "") + reply.text;
    if (frames.size() > credentials && frames[credentials].size() == kKeyBytes)
        last_refused_ += ": " + key_text(reinterpret_cast<const unsigned char*>(frames[credentials].data()));
}

Result<void> ZapHandler::probe() {
    void* socket = zmq_socket(context_, ZMQ_REQ);
    if (socket == nullptr) return failed("cannot ask the thread that authenticates connections");
    const int none = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &kProbeMs, sizeof kProbeMs);
    std::optional<std::vector<std::string>> answer;
    // A key of zero bytes is nobody's.
    if (zmq_connect(socket, kAddress) == 0 &&
        send(socket, {kVersion, "probe", kKeyDomain, "", "", "CURVE", std::string(kKeyBytes, '\0')}))
        answer = receive(socket);
    const Error silent = failed("the thread that authenticates connections does not answer");
    zmq_close(socket);
    refused_.store(0, std::memory_order_relaxed);
    if (!answer) return silent;
    if (answer->size() == 6 && (*answer)[1] == "probe" && (*answer)[2] == "400") return {};
    return Error{Code::internal, "the thread that authenticates connections lets in what it does not know"};
}

}  // namespace jobyard::broker
