// BullMQ on Redis: bullmq.mjs beside this file, which bench/peers/run installs with what it needs in the build
// directory. Here are the server and the way into that program.

#include <unistd.h>

#include <optional>
#include <stdexcept>

#include "peer.hpp"
#include "server.hpp"
#include "wire.hpp"

namespace jobyard::bench {
namespace {

const std::string kScript = JOBYARD_BULLMQ_DIR "/bullmq.mjs";

class BullMq : public Peer {
 public:
    explicit BullMq(bool fsync) : fsync_(fsync) {}

    void start(const std::string& directory) override {
        if (!is_installed("node")) throw std::runtime_error("node (18 or later) is not installed");
        if (::access(JOBYARD_BULLMQ_DIR "/node_modules/bullmq", R_OK) != 0 || ::access(kScript.c_str(), R_OK) != 0)
            throw std::runtime_error("bullmq is not installed: bench/peers/run does that");
        port_ = free_port();
        std::vector<std::string> command{"redis-server",        "--bind", "127.0.0.1", "--port",
                                         std::to_string(port_), "--dir",  directory};
        if (fsync_) command.insert(command.end(), {"--appendonly", "yes", "--appendfsync", "always"});
        server_.emplace(Server::Options{.command = command, .log = directory + "/log", .port = port_});
    }
    void stop() override { server_.reset(); }
    double server_cpu() const override { return server_->cpu(); }

    void become_client(const std::string& role, unsigned jobs, unsigned slot, const std::string& board) override {
        ::execlp("node", "node", kScript.c_str(), role.c_str(), std::to_string(jobs).c_str(),
                 std::to_string(slot).c_str(), board.c_str(), std::to_string(port_).c_str(), nullptr);
        throw std::runtime_error("node cannot be started");
    }
    void connect() override { never(); }
    void submit(unsigned /*jobs*/, bool /*watched*/) override { never(); }
    Times one() override { never(); }
    void work(WorkerLine& /*line*/) override { never(); }

 private:
    [[noreturn]] static void never() { throw std::logic_error("the client of BullMQ is bullmq.mjs"); }

    bool fsync_;
    int port_ = 0;
    std::optional<Server> server_;
};

}  // namespace

std::unique_ptr<Peer> make_bullmq(bool fsync) { return std::make_unique<BullMq>(fsync); }

}  // namespace jobyard::bench
