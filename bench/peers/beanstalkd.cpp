// beanstalkd, in its text protocol.
//
// It handles one command of a connection after the other, and a `reserve` that waits holds up what comes after it. So a
// busy worker has many `reserve-with-timeout 0` under way, each followed, when its job is there, by a `delete`; only
// when all of them came back empty does it send a `reserve` that waits.

#include <charconv>
#include <optional>
#include <stdexcept>

#include "peer.hpp"
#include "server.hpp"
#include "wire.hpp"

namespace jobyard::bench {
namespace {

constexpr unsigned kPutsUnderWay = 4096;
constexpr unsigned kReservesUnderWay = 128;

class Beanstalkd : public Peer {
 public:
    explicit Beanstalkd(bool fsync) : fsync_(fsync) {}

    void start(const std::string& directory) override {
        port_ = free_port();
        std::vector<std::string> command{"beanstalkd", "-l", "127.0.0.1", "-p", std::to_string(port_)};
        if (fsync_) command.insert(command.end(), {"-b", directory, "-f", "0"});
        server_.emplace(Server::Options{.command = command, .log = directory + "/log", .port = port_});
    }
    void stop() override { server_.reset(); }
    double server_cpu() const override { return server_->cpu(); }
    void connect() override { wire_.emplace(port_); }

    void submit(unsigned jobs, bool /*watched*/) override {
        unsigned sent = 0;
        unsigned inserted = 0;
        while (inserted < jobs) {
            for (; sent < jobs && sent - inserted < kPutsUnderWay && wire_->out.size() < 65'536; ++sent) put();
            wire_->exchange();
            while (const auto reply = whole_line()) {
                if (!reply->starts_with("INSERTED")) unexpected(*reply);
                ++inserted;
            }
        }
    }

    Times one() override {
        put();
        const std::string_view reply = wire_->line();
        if (!reply.starts_with("INSERTED")) unexpected(reply);
        return {.acked = now_ns()};
    }

    void work(WorkerLine& line) override {
        unsigned reserves = 0;
        unsigned deletes = 0;
        const auto reserve = [&] {
            wire_->out += "reserve-with-timeout 0\r\n";
            ++reserves;
        };
        reserve();
        line.ready();
        for (;;) {
            wire_->exchange();
            bool took = false;
            unsigned deleted = 0;
            while (const auto reply = whole_reply()) {
                if (reply->starts_with("RESERVED ")) {
                    if (!took) line.took();
                    took = true;
                    --reserves;
                    const std::string_view rest = reply->substr(9);
                    wire_->out.append("delete ").append(rest.substr(0, rest.find(' '))).append("\r\n");
                    ++deletes;
                    // Two for one, so that they become many while there is much, and few when most come back empty.
                    for (int i = 0; i < 2 && reserves < kReservesUnderWay; ++i) reserve();
                } else if (*reply == "DELETED") {
                    --deletes;
                    ++deleted;
                } else if (*reply == "TIMED_OUT") {
                    --reserves;
                } else {
                    unexpected(*reply);
                }
            }
            if (deleted > 0) line.done(deleted);
            if (reserves > 0 || deletes > 0) continue;
            wire_->out += "reserve\r\n";
            ++reserves;
        }
    }

 private:
    void put() { wire_->out.append("put 1024 0 120 100\r\n").append(kPayload).append("\r\n"); }

    [[noreturn]] static void unexpected(std::string_view reply) {
        throw std::runtime_error("beanstalkd answered " + std::string(reply));
    }

    std::optional<std::string_view> whole_line() {
        const std::size_t end = wire_->in().find("\r\n");
        if (end == std::string_view::npos) return std::nullopt;
        const std::string_view line = wire_->in().substr(0, end);
        wire_->consume(end + 2);
        return line;
    }

    /// A line and, after RESERVED, the body it announces, which is skipped.
    std::optional<std::string_view> whole_reply() {
        const std::string_view in = wire_->in();
        const std::size_t end = in.find("\r\n");
        if (end == std::string_view::npos) return std::nullopt;
        const std::string_view line = in.substr(0, end);
        std::size_t size = end + 2;
        if (line.starts_with("RESERVED ")) {
            std::size_t body = 0;
            std::from_chars(line.data() + line.rfind(' ') + 1, line.data() + line.size(), body);
            size += body + 2;
        }
        if (in.size() < size) return std::nullopt;
        wire_->consume(size);
        return line;
    }

    bool fsync_;
    int port_ = 0;
    std::optional<Server> server_;
    std::optional<Wire> wire_;
};

}  // namespace

std::unique_ptr<Peer> make_beanstalkd(bool fsync) { return std::make_unique<Beanstalkd>(fsync); }

}  // namespace jobyard::bench
