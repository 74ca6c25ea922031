#pragma once
// The processes of a torture run: a broker, workers and clients, some behind proxies and some on the far machine. Who
// dies is started again, as a service manager does it, unless it is held down.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../process/harness.hpp"
#include "../process/proxy.hpp"
#include "history.hpp"
#include "place.hpp"

namespace jobyard::torture {

class Yard {
 public:
    struct Options {
        unsigned clients = 4;
        unsigned workers = 8;
        double jobs_per_s = 100;  ///< of each client
        std::uint64_t seed = 1;
        bool gentle = false;  ///< no job kills its worker or keeps a processor busy
        /// The broker's; beside those that let it fill a small disk.
        std::vector<std::string> limits = {"kept_jobs=1000000000", "kept_bytes=1000G", "dead_jobs=1000000000",
                                           "events_bytes=1000G"};
    };
    Yard(const Options& options, Place& place);

    // --- the broker

    test::Process& broker() { return *broker_; }
    void stop_broker(int signal);
    void hold_broker(bool down) { broker_is_held_ = down; }
    [[nodiscard]] std::string io_error_file() const { return place_.directory() + "/io-error"; }
    [[nodiscard]] std::string data() const { return place_.data() + "/data"; }
    [[nodiscard]] int port() const { return port_; }
    [[nodiscard]] std::string endpoint() const { return "tcp://127.0.0.1:" + std::to_string(port_); }

    // --- the others

    struct Peer {
        std::string kind;  ///< "client" or "worker"
        unsigned number = 0;
        std::string queue;  ///< of a worker
        unsigned slots = 0;
        enum class Way : std::uint8_t { near, proxy, far } way = Way::near;
        unsigned lives = 0;
        std::unique_ptr<test::Process> process;
        [[nodiscard]] std::string name() const { return kind + std::to_string(number) + "." + std::to_string(lives); }
    };
    std::vector<Peer>& peers() { return peers_; }
    test::Proxy& proxy() { return *proxy_; }

    /// Starts again who has died. To be called often.
    void tend();
    /// Lets the clients finish and waits for them; who is not done by then is in the answer.
    std::vector<std::string> finish_clients(std::chrono::seconds patience);
    void stop_workers();
    [[nodiscard]] std::uint64_t deaths() const { return deaths_; }

    [[nodiscard]] std::vector<std::string> records() const { return records_; }
    const Recorder& own() const { return *own_; }
    [[nodiscard]] std::string broker_log() const;

 private:
    void start_broker();
    void start(Peer& peer);

    const Options options_;
    Place& place_;
    std::vector<std::string> records_;
    std::unique_ptr<Recorder> own_;
    int port_ = 0;
    std::unique_ptr<test::Process> broker_;
    int broker_log_ = -1;
    unsigned failed_starts_ = 0;
    bool broker_is_held_ = false;
    bool finishing_ = false;
    std::unique_ptr<test::Proxy> proxy_;
    std::vector<Peer> peers_;
    std::uint64_t lives_ = 0;
    std::uint64_t deaths_ = 0;
};

}  // namespace jobyard::torture
