#include "wire.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace jobyard::bench {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

[[noreturn]] void fail(const char* what) {
    throw std::runtime_error(std::string("the connection to the server failed: ") + what + ": " + std::strerror(errno));
}

sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

int connected(int port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = loopback(port);
    if (fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
    if (fd >= 0) ::close(fd);
    return -1;
}

}  // namespace

Wire::Wire(int port) : fd_(connected(port)), in_(kBufferBytes) {
    if (fd_ < 0) fail("connect");
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Wire::~Wire() { ::close(fd_); }

void Wire::exchange() {
    for (;;) {
        send_some();
        if (receive_some()) return;
        wait(true);
    }
}

void Wire::flush() {
    for (;;) {
        send_some();
        if (out.empty()) return;
        receive_some();  // a server that waits for us to read would never read what we send
        wait(false);
    }
}

std::string_view Wire::line() {
    for (;;) {
        const std::size_t end = in().find("\r\n");
        if (end != std::string_view::npos) {
            const std::string_view found = in().substr(0, end);
            consume(end + 2);
            return found;
        }
        exchange();
    }
}

void Wire::send_some() {
    while (sent_ < out.size()) {
        const ssize_t bytes = ::send(fd_, out.data() + sent_, out.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (bytes < 0 && errno == EAGAIN) return;
        if (bytes < 0) fail("send");
        sent_ += static_cast<std::size_t>(bytes);
    }
    out.clear();
    sent_ = 0;
}

bool Wire::receive_some() {
    if (begin_ == end_) begin_ = end_ = 0;
    if (end_ == in_.size()) {
        if (begin_ == 0) in_.resize(in_.size() * 2);
        std::memmove(in_.data(), in_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
    }
    const ssize_t bytes = ::recv(fd_, in_.data() + end_, in_.size() - end_, MSG_DONTWAIT);
    if (bytes < 0 && errno == EAGAIN) return false;
    if (bytes < 0) fail("receive");
    if (bytes == 0) throw std::runtime_error("the server closed the connection");
    end_ += static_cast<std::size_t>(bytes);
    return true;
}

void Wire::wait(bool for_input) {
    pollfd event{.fd = fd_, .events = 0, .revents = 0};
    if (for_input || !out.empty()) event.events |= POLLIN;
    if (!out.empty()) event.events |= POLLOUT;
    // Without a time limit: an idle worker waits here; who measures has a limit and ends us.
    if (::poll(&event, 1, -1) < 0 && errno != EINTR) fail("poll");
}

bool port_answers(int port) {
    const int fd = connected(port);
    if (fd >= 0) ::close(fd);
    return fd >= 0;
}

int free_port() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
        fail("finding a free port");
    ::close(fd);
    return ntohs(address.sin_port);
}

}  // namespace jobyard::bench
