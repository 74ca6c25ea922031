// A PeerSocket with nothing behind it: no libzmq, nobody who answers, only the sleep and the wake-up. So a thread
// sanitizer sees all there is of the threads around it. Linked in place of protocol/peer/peer_socket.cpp.

#include <condition_variable>
#include <mutex>

#include "peer/peer_socket.hpp"

namespace jobyard {

struct PeerSocket::Impl {
    mutable std::mutex mutex;
    std::condition_variable wakes;
    bool woken = false;
    bool asleep = false;
    Error no_trouble;
};

PeerSocket::PeerSocket(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PeerSocket::~PeerSocket() = default;

Result<std::unique_ptr<PeerSocket>> PeerSocket::open(const Options& /*options*/) {
    return std::unique_ptr<PeerSocket>(new PeerSocket(std::make_unique<Impl>()));
}

bool PeerSocket::may_sleep() {
    const std::lock_guard lock(impl_->mutex);
    impl_->asleep = !std::exchange(impl_->woken, false);
    return impl_->asleep;
}

void PeerSocket::sleep(std::chrono::milliseconds timeout) {
    std::unique_lock lock(impl_->mutex);
    impl_->wakes.wait_for(lock, timeout, [this] { return impl_->woken; });
    impl_->woken = false;
    impl_->asleep = false;
}

bool PeerSocket::was_woken() {
    const std::lock_guard lock(impl_->mutex);
    return std::exchange(impl_->woken, false);
}

bool PeerSocket::is_asleep() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->asleep && !impl_->woken;
}

void PeerSocket::wake() {
    const std::lock_guard lock(impl_->mutex);
    impl_->woken = true;
    impl_->wakes.notify_one();
}

bool PeerSocket::send(std::string_view /*header*/, const std::vector<KeptBytes>& /*payload*/) { return false; }
bool PeerSocket::has_input() { return false; }
bool PeerSocket::receive(Frames& /*frames*/) { return false; }
std::shared_ptr<const void> PeerSocket::keep_payload() { return nullptr; }
bool PeerSocket::next_event(Connection& /*event*/) { return false; }
const Error& PeerSocket::trouble() const { return impl_->no_trouble; }
void PeerSocket::reopen() {}
void PeerSocket::close() {}

}  // namespace jobyard
