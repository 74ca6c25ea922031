// NATS JetStream, in the NATS text protocol: a stream with work-queue retention, publishes acknowledged by the stream,
// and one durable pull consumer that both workers fetch from, 256 at a time and always one fetch ahead.

#include <unistd.h>

#include <charconv>
#include <fstream>
#include <optional>
#include <stdexcept>

#include "peer.hpp"
#include "server.hpp"
#include "wire.hpp"

namespace jobyard::bench {
namespace {

constexpr unsigned kPublishesUnderWay = 4096;
constexpr unsigned kFetch = 256;

class Nats : public Peer {
 public:
    explicit Nats(bool memory) : memory_(memory) {}

    void start(const std::string& directory) override {
        port_ = free_port();
        const std::string config = directory + "/nats.conf";
        std::ofstream(config) << "listen: \"127.0.0.1:" << port_ << "\"\njetstream { store_dir: \"" << directory
                              << "\" }\n";
        server_.emplace(
            Server::Options{.command = {"nats-server", "-c", config}, .log = directory + "/log", .port = port_});
        connect();
        request("$JS.API.STREAM.CREATE.BENCH",
                std::string(R"({"name":"BENCH","subjects":["bench"],"retention":"workqueue","storage":")") +
                    (memory_ ? "memory" : "file") + "\"}");
        request("$JS.API.CONSUMER.DURABLE.CREATE.BENCH.W",
                R"({"stream_name":"BENCH","config":{"durable_name":"W","deliver_policy":"all","ack_policy":"explicit",)"
                R"("ack_wait":120000000000,"max_ack_pending":65536}})");
        wire_.reset();
    }
    void stop() override { server_.reset(); }
    double server_cpu() const override { return server_->cpu(); }

    void connect() override {
        wire_.emplace(port_);
        inbox_ = "i" + std::to_string(::getpid());
        wire_->out =
            "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"lang\":\"c\","
            "\"version\":\"1\",\"protocol\":1}\r\nSUB " +
            inbox_ + " 1\r\nPING\r\n";
        while (wire_->line() != "PONG") {
        }
    }

    void submit(unsigned jobs, bool /*watched*/) override {
        unsigned sent = 0;
        unsigned stored = 0;
        while (stored < jobs) {
            for (; sent < jobs && sent - stored < kPublishesUnderWay && wire_->out.size() < 65'536; ++sent)
                publish("bench", inbox_, kPayload);
            wire_->exchange();
            while (const auto message = next()) {
                check(*message);
                ++stored;
            }
        }
    }

    Times one() override {
        request("bench", kPayload);
        return {.acked = now_ns()};
    }

    void work(WorkerLine& line) override {
        const std::string fetch = "{\"batch\":" + std::to_string(kFetch) + "}";
        unsigned asked = 0;
        line.ready();
        for (;;) {
            while (asked <= kFetch) {
                publish("$JS.API.CONSUMER.MSG.NEXT.BENCH.W", inbox_, fetch);
                asked += kFetch;
            }
            wire_->exchange();
            unsigned taken = 0;
            while (const auto message = next()) {
                if (message->reply.empty()) check(*message);
                if (taken++ == 0) line.took();
                publish(message->reply, {}, "+ACK");
                --asked;
            }
            if (taken == 0) continue;
            wire_->flush();
            line.done(taken);
        }
    }

 private:
    /// Good until the next exchange().
    struct Message {
        std::string_view reply;
        std::string_view body;
        bool has_headers = false;
    };

    void publish(std::string_view subject, std::string_view reply, std::string_view body) {
        std::string& out = wire_->out;
        out.append("PUB ").append(subject).push_back(' ');
        if (!reply.empty()) out.append(reply).push_back(' ');
        out.append(std::to_string(body.size())).append("\r\n").append(body).append("\r\n");
    }

    void request(std::string_view subject, std::string_view body) {
        publish(subject, inbox_, body);
        for (;;) {
            wire_->exchange();
            if (const auto message = next()) return check(*message);
        }
    }

    /// Of an answer: it must be no error and no status (which comes with headers).
    static void check(const Message& message) {
        if (message.has_headers || message.body.find("\"error\"") != std::string_view::npos)
            throw std::runtime_error("NATS answered " + std::string(message.body));
    }

    /// The next message to our inbox; everything else is dealt with here.
    std::optional<Message> next() {
        for (;;) {
            const std::string_view in = wire_->in();
            const std::size_t end = in.find("\r\n");
            if (end == std::string_view::npos) return std::nullopt;
            const std::string_view line = in.substr(0, end);
            const bool has_headers = line.starts_with("HMSG ");
            if (!has_headers && !line.starts_with("MSG ")) {
                wire_->consume(end + 2);
                if (line == "PING") wire_->out += "PONG\r\n";
                if (line.starts_with("-ERR")) throw std::runtime_error("NATS says " + std::string(line));
                continue;
            }
            // MSG subject sid [reply] bytes; HMSG subject sid [reply] header-bytes bytes
            std::size_t bytes = 0;
            std::from_chars(line.data() + line.rfind(' ') + 1, line.data() + line.size(), bytes);
            if (in.size() < end + 2 + bytes + 2) return std::nullopt;
            wire_->consume(end + 2 + bytes + 2);
            Message message{.reply = {}, .body = in.substr(end + 2, bytes), .has_headers = has_headers};
            if (!has_headers) {
                const std::size_t sid = line.find(' ', 4) + 1;
                const std::size_t after_sid = line.find(' ', sid) + 1;
                const std::size_t after_reply = line.find(' ', after_sid);
                if (after_reply != std::string_view::npos)
                    message.reply = line.substr(after_sid, after_reply - after_sid);
            }
            return message;
        }
    }

    bool memory_;
    int port_ = 0;
    std::string inbox_;
    std::optional<Server> server_;
    std::optional<Wire> wire_;
};

}  // namespace

std::unique_ptr<Peer> make_nats(bool memory) { return std::make_unique<Nats>(memory); }

}  // namespace jobyard::bench
