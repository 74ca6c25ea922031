#include "peer/turns.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace jobyard {
namespace {

using std::chrono::milliseconds;

/// How long one may wait at the socket, and how often the standing thread looks whether somebody does. Who waits longer
/// would not notice the wake-up that it spares.
constexpr std::int64_t kLendMs = 2;
constexpr std::int64_t kLongestSleepMs = 3'600'000;

}  // namespace

std::int64_t steady_ms() {
    return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Turns::run() {
    std::unique_lock lock(mutex_);
    while (!ended_) {
        bool again = false;
        if (post_ != Post::leader) {
            const After after = turn();
            again = after.again;
            if (after.lend) {
                post_ = Post::nobody;
                was_led_ = true;  // for the first look: whoever comes has until the second
            }
        }
        if (ended_ || again) continue;
        if (post_ == Post::standing_thread) {
            sleep(lock, next_ms_);
            continue;
        }
        if (post_ == Post::nobody && socket_.was_woken()) continue;
        const auto looked = standing_by_.wait_for(lock, milliseconds(kLendMs));
        if (looked == std::cv_status::timeout && post_ == Post::nobody && !std::exchange(was_led_, false))
            post_ = Post::standing_thread;
    }
    socket_.wake();
    standing_by_.wait(lock, [this] { return post_ != Post::leader; });
}

void Turns::take() {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || !(socket_.is_asleep() || post_ == Post::nobody)) return wake();
    if (ended_) return;
    const After after = turn();
    const bool sleeper_is_late = socket_.is_asleep() && (after.next_ms < sleeps_until_ms_ || socket_.has_input());
    const bool leader_is_done = leader_is_done_ != nullptr && (*leader_is_done_)();
    if (after.ended || after.again || sleeper_is_late || leader_is_done) wake();
}

void Turns::wake() {
    socket_.wake();
    if (post_ == Post::nobody) standing_by_.notify_one();
}

void Turns::lead(const std::function<bool()>& done, std::int64_t deadline_ms) {
    std::unique_lock lock(mutex_);
    if (post_ != Post::nobody || ended_) return;
    post_ = Post::leader;
    leader_is_done_ = &done;
    const std::int64_t until_ms = std::min(steady_ms() + kLendMs, deadline_ms);
    bool stays_lent = done();
    for (bool again = false; !ended_ && !done() && steady_ms() < until_ms;) {
        if (!again) sleep(lock, std::min(until_ms, next_ms_));
        if (ended_) break;
        const After after = turn();
        again = after.again;
        stays_lent = after.lend && !after.again && done();
        was_led_ = true;
    }
    leader_is_done_ = nullptr;
    post_ = stays_lent ? Post::nobody : Post::standing_thread;
    if (!stays_lent || ended_) standing_by_.notify_one();
}

Turns::After Turns::turn() {
    const After after = turn_();
    ended_ = after.ended;
    next_ms_ = after.next_ms;
    return after;
}

void Turns::sleep(std::unique_lock<std::mutex>& lock, std::int64_t until_ms) {
    const std::int64_t now = steady_ms();
    sleeps_until_ms_ = std::clamp(until_ms, now, now + kLongestSleepMs);
    if (!socket_.may_sleep()) return;
    lock.unlock();
    socket_.sleep(milliseconds(sleeps_until_ms_ - now));
    lock.lock();
}

}  // namespace jobyard
