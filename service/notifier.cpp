#include "service/notifier.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace jobyard::service {
namespace {

/// Its value, and it is gone.
std::string take(const char* name) {
    const char* value = std::getenv(name);
    std::string taken = value == nullptr ? "" : value;
    unsetenv(name);
    return taken;
}

std::uint64_t number(const std::string& text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

}  // namespace

Notifier Notifier::from_environment() {
    using namespace std::chrono;
    Notifier notifier;
    std::string address = take("NOTIFY_SOCKET");
    const microseconds watchdog(number(take("WATCHDOG_USEC")));
    const std::string meant_for = take("WATCHDOG_PID");
    if (address.size() < 2 || address.size() >= sizeof(sockaddr_un::sun_path)) return notifier;
    if (address[0] == '@') address[0] = '\0';  // an abstract name
    else if (address[0] != '/') return notifier;
    notifier.socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    notifier.address_ = std::move(address);
    const bool is_meant = meant_for.empty() || number(meant_for) == static_cast<std::uint64_t>(getpid());
    // Three times in its time, so that one that is late by scheduling is no death.
    if (watchdog.count() > 0 && is_meant)
        notifier.interval_ = std::max(duration_cast<milliseconds>(watchdog / 3), milliseconds(1));
    return notifier;
}

Notifier::Notifier(Notifier&& other) noexcept
    : address_(std::move(other.address_)),
      socket_(std::exchange(other.socket_, -1)),
      interval_(other.interval_),
      next_(other.next_) {}

Notifier::~Notifier() {
    if (socket_ >= 0) ::close(socket_);
}

void Notifier::ready(std::string_view status) const {
    tell("READY=1\nSTATUS=" + std::string(status.substr(0, status.find('\n'))));
}

void Notifier::stopping() const { tell("STOPPING=1\nSTATUS=stopping"); }

void Notifier::alive() {
    if (!interval_) return;
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return;
    next_ = now + *interval_;
    tell("WATCHDOG=1");
}

void Notifier::tell(std::string_view state) const {
    if (socket_ < 0) return;
    sockaddr_un manager{};
    manager.sun_family = AF_UNIX;
    std::memcpy(manager.sun_path, address_.data(), address_.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
    static_cast<void>(
        ::sendto(socket_, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&manager), size));
}

}  // namespace jobyard::service
