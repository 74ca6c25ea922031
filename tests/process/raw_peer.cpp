#include "raw_peer.hpp"

#include <gtest/gtest.h>
#include <zmq.h>

#include <random>
#include <stdexcept>

namespace jobyard::test {

RawPeer::RawPeer(const std::string& endpoint, int receive_mark)
    : context_(zmq_ctx_new()), socket_(zmq_socket(context_, ZMQ_DEALER)) {
    const auto set = [this](int option, int value) {
        if (zmq_setsockopt(socket_, option, &value, sizeof value) != 0) throw std::runtime_error("zmq_setsockopt");
    };
    set(ZMQ_IMMEDIATE, 0);  // unlike a real peer: what arrived before a connection ended can still be looked at
    set(ZMQ_LINGER, 0);
    set(ZMQ_SNDHWM, 0);
    set(ZMQ_RCVHWM, receive_mark);
    set(ZMQ_SNDTIMEO, static_cast<int>(std::chrono::milliseconds(kPatience).count()));
    if (zmq_connect(socket_, endpoint.c_str()) != 0) throw std::runtime_error("zmq_connect to " + endpoint);
}

RawPeer::~RawPeer() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
}

bool RawPeer::send_frames(const std::vector<std::string>& frames) {
    for (std::size_t i = 0; i < frames.size(); ++i)
        if (zmq_send(socket_, frames[i].data(), frames[i].size(), i + 1 < frames.size() ? ZMQ_SNDMORE : 0) < 0)
            return false;
    return true;
}

void RawPeer::send(const Message& message, std::string_view payload, RequestId request) {
    EXPECT_TRUE(send_frames({header_of({session_, request, message}), std::string(payload)}));
}

bool RawPeer::wait(std::chrono::milliseconds patience) {
    zmq_pollitem_t item{socket_, 0, ZMQ_POLLIN, 0};
    return zmq_poll(&item, 1, patience.count()) == 1;
}

std::optional<RawPeer::Received> RawPeer::receive(std::chrono::milliseconds patience) {
    const auto until = std::chrono::steady_clock::now() + patience;
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
        if (!wait(std::max(left, std::chrono::milliseconds(0)))) return std::nullopt;
        std::vector<std::string> frames;
        int more = 1;
        while (more != 0) {
            zmq_msg_t part;
            zmq_msg_init(&part);
            if (zmq_msg_recv(&part, socket_, 0) < 0) throw std::runtime_error("zmq_msg_recv");
            frames.emplace_back(static_cast<const char*>(zmq_msg_data(&part)), zmq_msg_size(&part));
            more = zmq_msg_more(&part);
            zmq_msg_close(&part);
        }
        if (frames.size() != 2) {
            ADD_FAILURE() << "the broker sent a message of " << frames.size() << " frames";
            return std::nullopt;
        }
        header_ = std::move(frames[0]);
        payload_ = std::move(frames[1]);
        auto decoded = decode_header(header_, payload_.size());
        if (const auto* error = std::get_if<DecodeError>(&decoded)) {
            ADD_FAILURE() << "the broker sent what is no message: " << error->text;
            return std::nullopt;
        }
        auto& envelope = std::get<Envelope>(decoded);
        if (!std::holds_alternative<Heartbeat>(envelope.message)) return Received{std::move(envelope), payload_};
    }
}

RawPeer::Received RawPeer::call(const Message& message, std::string_view payload) {
    const RequestId request{++last_request_};
    send(message, payload, request);
    while (auto received = receive())
        if (received->envelope.request == request) return *std::move(received);
    ADD_FAILURE() << "no answer to " << message_name(message);
    return {};
}

RawPeer::Received RawPeer::call_frames(const std::vector<std::string>& frames) {
    EXPECT_TRUE(send_frames(frames));
    auto received = receive();
    if (received) return *std::move(received);
    ADD_FAILURE() << "no answer";
    return {};
}

Welcome RawPeer::hello(const Hello& hello) {
    session_ = {};
    const Received received = call(hello);
    if (const auto* welcome = std::get_if<Welcome>(&received.envelope.message)) {
        session_ = received.envelope.session;
        return *welcome;
    }
    ADD_FAILURE() << "HELLO was answered " << message_name(received.envelope.message);
    return {};
}

Uuid new_instance() {
    static std::random_device random;
    Uuid id;
    for (unsigned char& byte : id.bytes) byte = static_cast<unsigned char>(random());
    return id;
}

Hello submitter_hello(const Uuid& instance) {
    Hello hello;
    hello.role = Role::submitter;
    hello.instance = instance;
    hello.software = "process-test";
    hello.grant = std::uint64_t{1} << 30;
    return hello;
}

Hello worker_hello(std::string_view name, std::vector<std::string_view> types, std::uint32_t slots,
                   std::uint32_t credit) {
    Hello hello;
    hello.role = Role::worker;
    hello.instance = new_instance();
    hello.name = name;
    hello.software = "process-test";
    hello.slots = slots;
    hello.credit = credit;
    hello.queues = {"default"};
    hello.types = std::move(types);
    return hello;
}

std::string header_of(const Envelope& envelope) {
    std::string header;
    encode_header(envelope, header);
    return header;
}

Refusal refusal_in(const RawPeer::Received& received) {
    if (const auto* refusal = std::get_if<Refusal>(&received.envelope.message)) return *refusal;
    ADD_FAILURE() << "expected ERROR, got " << message_name(received.envelope.message);
    return {Code::ok};
}

Answer answer_in(const RawPeer::Received& received) {
    const auto* answers = std::get_if<Answers>(&received.envelope.message);
    if (answers != nullptr && answers->items.size() == 1) return answers->items[0];
    ADD_FAILURE() << "expected ANSWERS with one item, got " << message_name(received.envelope.message);
    return {};
}

}  // namespace jobyard::test
