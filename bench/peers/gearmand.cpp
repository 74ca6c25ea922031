// gearmand, in its binary protocol: a header of twelve bytes (magic, kind, size) and arguments ended by zero bytes.
// Jobs are background jobs; but in one() in memory, which waits for the result of a foreground job. (gearmand keeps no
// foreground job in its table: with sqlite one() is a background job too.)
//
// What makes it fast: the submitter keeps thousands of requests under way; a worker has many GRAB_JOB under way and
// answers each job with WORK_COMPLETE and the next GRAB_JOB, many to a write.

#include <arpa/inet.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <stdexcept>

#include "peer.hpp"
#include "server.hpp"
#include "wire.hpp"

namespace jobyard::bench {
namespace {

enum Kind : std::uint32_t {
    kCanDo = 1,
    kPreSleep = 4,
    kNoop = 6,
    kSubmitJob = 7,
    kJobCreated = 8,
    kGrabJob = 9,
    kNoJob = 10,
    kJobAssign = 11,
    kWorkComplete = 13,
    kSubmitJobBackground = 18,
    kError = 19,
};

constexpr std::size_t kHeaderBytes = 12;
constexpr unsigned kSubmitsUnderWay = 8192;
constexpr unsigned kGrabsUnderWay = 256;

class Gearmand : public Peer {
 public:
    Gearmand(unsigned threads, bool sqlite) : threads_(threads), sqlite_(sqlite) {}

    void start(const std::string& directory) override {
        port_ = free_port();
        std::vector<std::string> command{"gearmand",
                                         "--listen=127.0.0.1",
                                         "--port=" + std::to_string(port_),
                                         "--threads=" + std::to_string(threads_),
                                         "--hashtable-buckets=100003",
                                         "--log-file=" + directory + "/gearmand.log",
                                         "--pid-file=" + directory + "/gearmand.pid"};
        if (sqlite_) {
            command.push_back("--queue-type=libsqlite3");
            command.push_back("--libsqlite3-db=" + directory + "/queue.sqlite");
        }
        if (::geteuid() == 0) command.push_back("--user=root");
        server_.emplace(Server::Options{.command = command, .log = directory + "/log", .port = port_});
    }
    void stop() override { server_.reset(); }
    double server_cpu() const override { return server_->cpu(); }
    void connect() override { wire_.emplace(port_); }

    void submit(unsigned jobs, bool /*watched*/) override {
        unsigned sent = 0;
        unsigned created = 0;
        while (created < jobs) {
            while (sent < jobs && sent - created < kSubmitsUnderWay && wire_->out.size() < 65'536)
                put_submit(kSubmitJobBackground, sent++);
            wire_->exchange();
            created += count_created();
        }
    }

    Times one() override {
        put_submit(sqlite_ ? kSubmitJobBackground : kSubmitJob, ++ones_);
        Times times;
        for (;;) {
            wire_->exchange();
            while (const auto packet = next()) {
                if (packet->kind == kJobCreated) {
                    times.acked = now_ns();
                    if (sqlite_) return times;
                }
                if (packet->kind != kWorkComplete) continue;
                times.ended = now_ns();
                return times;
            }
        }
    }

    void work(WorkerLine& line) override {
        put(kCanDo, {"bench"});
        unsigned grabs = 0;
        const auto grab = [&] {
            put(kGrabJob, {});
            ++grabs;
        };
        while (grabs < kGrabsUnderWay) grab();
        line.ready();
        for (;;) {
            wire_->exchange();
            unsigned taken = 0;
            while (const auto packet = next()) {
                switch (packet->kind) {
                    case kJobAssign:
                        if (taken++ == 0) line.took();
                        --grabs;
                        put(kWorkComplete, {packet->body.substr(0, packet->body.find('\0')), {}});
                        grab();
                        break;
                    case kNoJob:
                        if (--grabs == 0) put(kPreSleep, {});
                        break;
                    case kNoop:
                        while (grabs < kGrabsUnderWay) grab();
                        break;
                    default: throw std::runtime_error("gearmand sent packet " + std::to_string(packet->kind));
                }
            }
            if (taken == 0) continue;
            wire_->flush();
            line.done(taken);
        }
    }

 private:
    struct Packet {
        std::uint32_t kind;
        std::string_view body;  ///< good until the next exchange()
    };

    void put(Kind kind, std::initializer_list<std::string_view> arguments) {
        std::size_t size = arguments.size() > 0 ? arguments.size() - 1 : 0;
        for (const std::string_view argument : arguments) size += argument.size();
        const std::uint32_t words[2] = {htonl(kind), htonl(static_cast<std::uint32_t>(size))};
        std::string& out = wire_->out;
        out.append("\0REQ", 4).append(reinterpret_cast<const char*>(words), sizeof words);
        bool first = true;
        for (const std::string_view argument : arguments) {
            if (!first) out.push_back('\0');
            out.append(argument);
            first = false;
        }
    }

    void put_submit(Kind kind, unsigned number) {
        // In memory a job needs no unique name; a table needs one as its key.
        const std::string unique = sqlite_ ? std::to_string(::getpid()) + "-" + std::to_string(number) : std::string();
        put(kind, {"bench", unique, kPayload});
    }

    std::optional<Packet> next() {
        const std::string_view in = wire_->in();
        if (in.size() < kHeaderBytes) return std::nullopt;
        std::uint32_t words[2];
        std::memcpy(words, in.data() + 4, sizeof words);
        const std::size_t size = ntohl(words[1]);
        if (in.size() < kHeaderBytes + size) return std::nullopt;
        wire_->consume(kHeaderBytes + size);
        const Packet packet{ntohl(words[0]), in.substr(kHeaderBytes, size)};
        if (packet.kind == kError) throw std::runtime_error("gearmand says: " + std::string(packet.body));
        return packet;
    }

    unsigned count_created() {
        unsigned created = 0;
        while (const auto packet = next()) created += packet->kind == kJobCreated ? 1 : 0;
        return created;
    }

    unsigned threads_;
    bool sqlite_;
    int port_ = 0;
    unsigned ones_ = 0;
    std::optional<Server> server_;
    std::optional<Wire> wire_;
};

}  // namespace

std::unique_ptr<Peer> make_gearmand(unsigned threads, bool sqlite) {
    return std::make_unique<Gearmand>(threads, sqlite);
}

}  // namespace jobyard::bench
