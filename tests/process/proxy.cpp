#include "proxy.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>

#include "harness.hpp"

namespace jobyard::test {
namespace {

sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

}  // namespace

Proxy::Proxy(int broker_port) : broker_port_(broker_port), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 64) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
        throw std::runtime_error("the proxy cannot listen");
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
}

Proxy::~Proxy() {
    quit_ = true;
    thread_.join();
    for (const Pair& pair : pairs_) {
        ::close(pair.client);
        ::close(pair.broker);
    }
    ::close(listener_);
}

void Proxy::set(Mode mode) {
    mode_ = mode;
    const std::uint64_t now = turns_;
    eventually([&] { return turns_ >= now + 2; });
}

void Proxy::cut() {
    const int wanted = ++cuts_wanted_;
    eventually([&] { return cuts_done_ >= wanted; });
}

void Proxy::run() {
    for (; !quit_; ++turns_) {
        if (const int wanted = cuts_wanted_; cuts_done_ != wanted) {
            for (const Pair& pair : pairs_) {
                ::close(pair.client);
                ::close(pair.broker);
            }
            pairs_.clear();
            cuts_done_ = wanted;
        }
        delay();
        const bool frozen = mode_ == Mode::freeze;
        std::vector<pollfd> fds{{listener_, POLLIN, 0}};
        for (const Pair& pair : pairs_) {
            fds.push_back({frozen ? -1 : pair.client, POLLIN, 0});
            fds.push_back({frozen ? -1 : pair.broker, POLLIN, 0});
        }
        if (::poll(fds.data(), fds.size(), 10) <= 0) continue;
        std::vector<Pair> kept;
        for (std::size_t i = 0; i < pairs_.size(); ++i) {
            Pair pair = pairs_[i];
            const bool loses_questions = mode_ == Mode::lose_questions;
            const bool loses_answers = mode_ == Mode::lose_answers;
            bool open = !pair.has_lost || loses_questions || loses_answers;
            if (open && fds[1 + 2 * i].revents != 0) open = move(pair.client, pair.broker, loses_questions);
            if (open && fds[2 + 2 * i].revents != 0) open = move(pair.broker, pair.client, loses_answers);
            pair.has_lost = pair.has_lost || (fds[1 + 2 * i].revents != 0 && loses_questions) ||
                            (fds[2 + 2 * i].revents != 0 && loses_answers);
            if (open) {
                kept.push_back(pair);
                continue;
            }
            ::close(pair.client);
            ::close(pair.broker);
        }
        pairs_ = std::move(kept);
        if (fds[0].revents != 0) accept_one();
    }
}

void Proxy::delay() {
    constexpr int kDelayMs = 100;
    constexpr int kLookMs = 10;
    for (int ms = 0; ms < kDelayMs && mode_ == Mode::slow && !quit_; ms += kLookMs) ::poll(nullptr, 0, kLookMs);
}

void Proxy::accept_one() {
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    const int broker = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = loopback(broker_port_);
    if (mode_ == Mode::refuse || ::connect(broker, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        ::close(client);
        ::close(broker);
        return;
    }
    // As libzmq's own: else each small message waits up to 40 ms for the acknowledgement of the one before.
    const int at_once = 1;
    for (const int fd : {client, broker}) ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    pairs_.push_back({client, broker});
}

/// What is there, once. False: this side has closed.
bool Proxy::move(int from, int to, bool lose) {
    char bytes[65536];
    const ssize_t got = ::recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got <= 0) return got < 0 && (errno == EAGAIN || errno == EINTR);
    for (ssize_t at = 0; !lose && at < got;) {
        const ssize_t sent = ::send(to, bytes + at, static_cast<std::size_t>(got - at), MSG_NOSIGNAL);
        if (sent <= 0) return false;
        at += sent;
    }
    return true;
}

}  // namespace jobyard::test
