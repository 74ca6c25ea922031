#include "yard.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <stdexcept>

#include "checker.hpp"

namespace jobyard::torture {
namespace {

constexpr std::uint64_t kWishesOfALife = 10'000'000;
/// In a row: longer than any fault keeps it from starting.
constexpr unsigned kMostFailedStarts = 300;
// Short, so that much happens in a minute.
constexpr const char* kLeaseMs = "4000";

}  // namespace

Yard::Yard(const Options& options, Place& place) : options_(options), place_(place), port_(test::free_port()) {
    records_.push_back(place.directory() + "/yard.record");
    own_ = std::make_unique<Recorder>(records_.back(), "yard");
    const std::string log = place.directory() + "/broker.log";
    broker_log_ = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    start_broker();
    proxy_ = std::make_unique<test::Proxy>(port_);
    const unsigned ways = place.has_far_machine() ? 3 : 2;
    const auto add = [&](const std::string& kind, unsigned number, const std::string& queue, unsigned slots) {
        Peer& peer = peers_.emplace_back();
        peer.kind = kind;
        peer.number = number;
        peer.queue = queue;
        peer.slots = slots;
        peer.way = static_cast<Peer::Way>(number % ways);
    };
    for (unsigned i = 0; i < options.workers; ++i)
        add("worker", i, i % 2 == 0 ? "default" : kOrderedQueue, i % 2 == 0 ? 8 : 1);
    for (unsigned i = 0; i < options.clients; ++i) add("client", i, {}, 0);
    for (Peer& peer : peers_) start(peer);
}

void Yard::start_broker() {
    int ready[2];
    if (::pipe2(ready, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    std::vector<std::string> words{test::program("jobyard-broker"),
                                   "--data",
                                   data(),
                                   "--listen",
                                   endpoint(),
                                   "--ready-fd",
                                   std::to_string(ready[1]),
                                   "--map-size",
                                   "4M",
                                   "--heartbeat",
                                   "500ms",
                                   "--lost-after",
                                   "3s",
                                   "--lease",
                                   std::string(kLeaseMs) + "ms",
                                   "--renew",
                                   "1s",
                                   "--claim-window",
                                   "1500ms",
                                   "--reconnect-grace",
                                   "1s"};
    for (const char* limit : {"submit_free_bytes=8M", "dispatch_free_bytes=4M"})
        words.insert(words.end(), {"--limit", limit});
    for (const std::string& limit : options_.limits) words.insert(words.end(), {"--limit", limit});
    if (place_.has_far_machine())
        words.insert(
            words.end(),
            {"--listen", "tcp://" + std::string(Place::kNearAddress) + ":" + std::to_string(port_), "--insecure"});
    broker_ = std::make_unique<test::Process>(
        test::Process::Options{.argv = std::move(words),
                               .env = {{"LD_PRELOAD", JOBYARD_IO_ERROR}, {"TORTURE_IO_ERROR", io_error_file()}},
                               .pass_fd = ready[1],
                               .errors_to = broker_log_});
    ::close(ready[1]);
    char first = 0;
    const bool is_ready = ::read(ready[0], &first, 1) == 1;  // or it has ended: whoever tends it starts it again
    ::close(ready[0]);
    failed_starts_ = is_ready ? 0 : failed_starts_ + 1;
    if (failed_starts_ == kMostFailedStarts)
        throw std::runtime_error("the broker cannot be started any more; its log: " + broker_log());
    if (is_ready) own_->note({.seen = Seen::restart, .text = std::to_string(broker_->pid())});
}

void Yard::stop_broker(int signal) {
    hold_broker(true);
    broker_->signal(signal);
    broker_->wait();
}

void Yard::start(Peer& peer) {
    const std::string before = peer.name();
    ++peer.lives;
    const std::string record = place_.directory() + "/" + peer.name() + ".record";
    std::string endpoint = this->endpoint();
    std::vector<std::string> words;
    if (peer.way == Peer::Way::proxy) endpoint = proxy_->endpoint();
    if (peer.way == Peer::Way::far) {
        endpoint = "tcp://" + std::string(Place::kNearAddress) + ":" + std::to_string(port_);
        words = place_.on_far_machine();
    }
    words.insert(words.end(), {JOBYARD_TORTURE_DIR "/torture_" + peer.kind, endpoint, record, peer.name()});
    if (peer.kind == "worker") {
        words.insert(words.end(), {peer.queue, std::to_string(peer.slots), kLeaseMs});
    } else {
        const std::uint64_t life = ++lives_;
        words.insert(words.end(), {std::to_string(life * kWishesOfALife), std::to_string(options_.seed * 1000 + life),
                                   std::to_string(options_.jobs_per_s), options_.gentle ? "gentle" : "rough"});
        own_->note({.seen = Seen::starts, .text = "after " + before});
    }
    records_.push_back(record);
    peer.process = std::make_unique<test::Process>(test::Process::Options{.argv = std::move(words)});
}

void Yard::tend() {
    if (!broker_->running() && !broker_is_held_) {
        ++deaths_;
        start_broker();
    }
    for (Peer& peer : peers_) {
        if (peer.process == nullptr || peer.process->running() || (finishing_ && peer.kind == "client")) continue;
        ++deaths_;
        start(peer);
    }
}

std::vector<std::string> Yard::finish_clients(std::chrono::seconds patience) {
    finishing_ = true;
    for (Peer& peer : peers_)
        if (peer.kind == "client") peer.process->signal(SIGTERM);
    std::vector<std::string> late;
    test::eventually(
        [&] {
            tend();
            late.clear();
            for (Peer& peer : peers_)
                if (peer.kind == "client" && peer.process->running()) late.push_back(peer.name());
            return late.empty();
        },
        patience);
    return late;
}

void Yard::stop_workers() {
    for (Peer& peer : peers_)
        if (peer.kind == "worker") peer.process->signal(SIGTERM);
    for (Peer& peer : peers_)
        if (peer.kind == "worker") peer.process->wait();
}

std::string Yard::broker_log() const { return test::read_file(place_.directory() + "/broker.log"); }

}  // namespace jobyard::torture
