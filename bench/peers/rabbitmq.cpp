// RabbitMQ, in AMQP 0-9-1, as much of it as is needed here: frames are written into one buffer, so that many publishes
// or acknowledgements leave in one write, which no client library does.
//
// The submitter uses publisher confirms; a worker has a prefetch of 1,000 and acknowledges all it has with one frame.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <vector>

#include "peer.hpp"
#include "server.hpp"
#include "wire.hpp"

namespace jobyard::bench {
namespace {

constexpr unsigned kPublishesUnderWay = 4096;
constexpr std::uint16_t kPrefetch = 1000;

/// A method's number: its class, then its own.
constexpr std::uint32_t method(std::uint16_t of_class, std::uint16_t number) {
    return std::uint32_t{of_class} << 16 | number;
}
constexpr std::uint32_t kStart = method(10, 10);
constexpr std::uint32_t kStartOk = method(10, 11);
constexpr std::uint32_t kTune = method(10, 30);
constexpr std::uint32_t kTuneOk = method(10, 31);
constexpr std::uint32_t kOpen = method(10, 40);
constexpr std::uint32_t kOpenOk = method(10, 41);
constexpr std::uint32_t kConnectionClose = method(10, 50);
constexpr std::uint32_t kChannelOpen = method(20, 10);
constexpr std::uint32_t kChannelOpenOk = method(20, 11);
constexpr std::uint32_t kChannelClose = method(20, 40);
constexpr std::uint32_t kQueueDeclare = method(50, 10);
constexpr std::uint32_t kQueueDeclareOk = method(50, 11);
constexpr std::uint32_t kQos = method(60, 10);
constexpr std::uint32_t kQosOk = method(60, 11);
constexpr std::uint32_t kConsume = method(60, 20);
constexpr std::uint32_t kConsumeOk = method(60, 21);
constexpr std::uint32_t kPublish = method(60, 40);
constexpr std::uint32_t kDeliver = method(60, 60);
constexpr std::uint32_t kAck = method(60, 80);
constexpr std::uint32_t kNack = method(60, 120);
constexpr std::uint32_t kConfirmSelect = method(85, 10);
constexpr std::uint32_t kConfirmSelectOk = method(85, 11);

constexpr std::uint8_t kMethodFrame = 1;
constexpr std::uint8_t kHeaderFrame = 2;
constexpr std::uint8_t kBodyFrame = 3;
constexpr char kFrameEnd = '\xCE';

template <class Number>
std::string number(Number value) {
    std::string bytes(sizeof value, '\0');
    for (std::size_t i = sizeof value; i-- > 0;) {
        bytes[i] = static_cast<char>(value & 0xFF);
        value = static_cast<Number>(value >> 8 * (sizeof value > 1));
    }
    return bytes;
}

std::uint64_t number_at(std::string_view bytes, std::size_t size) {
    std::uint64_t value = 0;
    for (const char byte : bytes.substr(0, size)) value = value << 8 | static_cast<std::uint8_t>(byte);
    return value;
}

std::string short_text(std::string_view text) { return static_cast<char>(text.size()) + std::string(text); }
std::string long_text(std::string_view text) {
    return number(static_cast<std::uint32_t>(text.size())) + std::string(text);
}
const std::string kBit0(1, '\0');
const std::string kEmptyTable(4, '\0');

std::string frame(std::uint8_t kind, std::uint16_t channel, std::string_view payload) {
    std::string bytes = number(kind) + number(channel) + number(static_cast<std::uint32_t>(payload.size()));
    return bytes.append(payload) + kFrameEnd;
}

std::string call(std::uint16_t channel, std::uint32_t number_of_method, std::string_view arguments) {
    return frame(kMethodFrame, channel, number(number_of_method).append(arguments));
}

class RabbitMq : public Peer {
 public:
    explicit RabbitMq(bool quorum) : quorum_(quorum) {
        // The same bytes every time.
        publish_ = call(1, kPublish, number(std::uint16_t{0}) + short_text("") + short_text("bench") + kBit0);
        const std::string delivery_mode_only = number(std::uint16_t{0x1000});
        const char persistent = quorum ? 2 : 1;
        publish_ += frame(kHeaderFrame, 1,
                          number(std::uint16_t{60}) + number(std::uint16_t{0}) +
                              number(std::uint64_t{kPayload.size()}) + delivery_mode_only + persistent);
        publish_ += frame(kBodyFrame, 1, kPayload);
    }

    void start(const std::string& directory) override {
        // Debian's own script in sbin would change the user; this one runs as who we are.
        const std::string program = "/usr/lib/rabbitmq/bin/rabbitmq-server";
        if (!is_installed(program)) throw std::runtime_error("rabbitmq-server is not installed");
        const std::string home = directory + "/home";
        std::filesystem::create_directory(home);
        std::ofstream(directory + "/rabbitmq.conf") << "loopback_users.guest = true\n";
        std::ofstream(directory + "/enabled_plugins") << "[].\n";
        std::ofstream(directory + "/rabbitmq-env.conf") << "";
        // Erlang's name service: would be started by itself, on all addresses, and stay.
        const std::string name_port = std::to_string(free_port());
        names_.emplace(Server::Options{.command = {"epmd", "-port", name_port, "-address", "127.0.0.1"},
                                       .log = directory + "/epmd.log",
                                       .port = std::stoi(name_port)});
        port_ = free_port();
        server_.emplace(Server::Options{
            .command = {program},
            .environment = {"HOME=" + home, "RABBITMQ_NODENAME=bench" + std::to_string(::getpid()) + "@localhost",
                            "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", "RABBITMQ_NODE_PORT=" + std::to_string(port_),
                            "RABBITMQ_DIST_PORT=" + std::to_string(free_port()), "ERL_EPMD_PORT=" + name_port,
                            "ERL_EPMD_ADDRESS=127.0.0.1",
                            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
                            "RABBITMQ_MNESIA_BASE=" + directory + "/mnesia", "RABBITMQ_LOG_BASE=" + directory,
                            "RABBITMQ_PID_FILE=" + directory + "/pid",
                            "RABBITMQ_CONFIG_FILE=" + directory + "/rabbitmq.conf",
                            "RABBITMQ_CONF_ENV_FILE=" + directory + "/rabbitmq-env.conf",
                            "RABBITMQ_ENABLED_PLUGINS_FILE=" + directory + "/enabled_plugins",
                            "RABBITMQ_GENERATED_CONFIG_DIR=" + directory + "/config"},
            .log = directory + "/log",
            .port = port_,
            .limit = std::chrono::seconds(60)});
        connect();
        const char durable = quorum_ ? 0b10 : 0;
        const std::string kind = quorum_ ? short_text("x-queue-type") + "S" + long_text("quorum") : std::string();
        wire_->out +=
            call(1, kQueueDeclare, number(std::uint16_t{0}) + short_text("bench") + durable + long_text(kind));
        await(kQueueDeclareOk);
        wire_.reset();
    }
    void stop() override {
        server_.reset();
        names_.reset();
    }
    double server_cpu() const override { return server_->cpu(); }

    void connect() override {
        wire_.emplace(port_);
        std::string& out = wire_->out;
        out.append("AMQP\0\0\x09\x01", 8);
        await(kStart);
        using namespace std::string_view_literals;
        out +=
            call(0, kStartOk, kEmptyTable + short_text("PLAIN") + long_text("\0guest\0guest"sv) + short_text("en_US"));
        await(kTune);
        out += call(0, kTuneOk, number(std::uint16_t{16}) + number(std::uint32_t{131'072}) + number(std::uint16_t{0}));
        out += call(0, kOpen, short_text("/") + short_text("") + kBit0);
        await(kOpenOk);
        out += call(1, kChannelOpen, short_text(""));
        await(kChannelOpenOk);
        out += call(1, kConfirmSelect, kBit0);
        await(kConfirmSelectOk);
    }

    void submit(unsigned jobs, bool /*watched*/) override {
        const std::uint64_t goal = published_ + jobs;
        while (confirmed_ < goal) {
            for (; published_ < goal && published_ - confirmed_ < kPublishesUnderWay && wire_->out.size() < 65'536;
                 ++published_)
                wire_->out += publish_;
            wire_->exchange();
            while (const auto got = next()) note_confirm(*got);
        }
    }

    Times one() override {
        submit(1, false);
        return {.acked = now_ns()};
    }

    void work(WorkerLine& line) override {
        wire_->out += call(1, kQos, number(std::uint32_t{0}) + number(kPrefetch) + kBit0);
        await(kQosOk);
        wire_->out +=
            call(1, kConsume, number(std::uint16_t{0}) + short_text("bench") + short_text("c") + kBit0 + kEmptyTable);
        await(kConsumeOk);
        line.ready();
        for (;;) {
            wire_->exchange();
            unsigned taken = 0;
            while (const auto got = next()) {
                // A job is there when its body is; header and method came before.
                if (got->kind == kMethodFrame && got->method == kDeliver) tag_ = got->payload.substr(2 + 4, 8);
                if (got->kind != kBodyFrame) continue;
                if (taken++ == 0) line.took();
            }
            if (taken == 0) continue;
            wire_->out += call(1, kAck, tag_ + '\1');  // this one and all before
            wire_->flush();
            line.done(taken);
        }
    }

 private:
    struct Frame {
        std::uint8_t kind;
        std::uint32_t method;      ///< of a method frame
        std::string_view payload;  ///< good until the next exchange()
    };

    std::optional<Frame> next() {
        const std::string_view in = wire_->in();
        if (in.size() < 8) return std::nullopt;
        const std::size_t size = number_at(in.substr(3), 4);
        if (in.size() < 7 + size + 1) return std::nullopt;
        wire_->consume(7 + size + 1);
        Frame got{static_cast<std::uint8_t>(in[0]), 0, in.substr(7, size)};
        if (got.kind == kMethodFrame) got.method = static_cast<std::uint32_t>(number_at(got.payload, 4));
        if (got.method == kConnectionClose || got.method == kChannelClose)
            throw std::runtime_error("RabbitMQ closes: " + std::string(got.payload.substr(7)));
        return got;
    }

    void await(std::uint32_t wanted) {
        for (;;) {
            wire_->exchange();
            while (const auto got = next())
                if (got->method == wanted) return;
        }
    }

    void note_confirm(const Frame& got) {
        if (got.method == kNack) throw std::runtime_error("RabbitMQ refused a job");
        if (got.method != kAck) return;
        const std::uint64_t tag = number_at(got.payload.substr(4), 8);
        const bool all_before = got.payload[12] != 0;
        // Confirms for one job may come before those of earlier ones.
        is_confirmed_.resize(published_ + 1);
        for (std::uint64_t each = all_before ? all_through_ + 1 : tag; each <= tag; ++each) {
            confirmed_ += is_confirmed_[each] ? 0 : 1;
            is_confirmed_[each] = true;
        }
        while (all_through_ < published_ && is_confirmed_[all_through_ + 1]) ++all_through_;
    }

    bool quorum_;
    int port_ = 0;
    std::string publish_;
    std::uint64_t published_ = 0;
    std::uint64_t confirmed_ = 0;
    std::uint64_t all_through_ = 0;  ///< every job up to this one is confirmed
    std::vector<bool> is_confirmed_;
    std::string tag_;  ///< of the latest job
    std::optional<Server> names_;
    std::optional<Server> server_;
    std::optional<Wire> wire_;
};

}  // namespace

std::unique_ptr<Peer> make_rabbitmq(bool quorum) { return std::make_unique<RabbitMq>(quorum); }

}  // namespace jobyard::bench
