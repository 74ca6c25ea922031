#include "applier.hpp"

#include <pthread.h>

#include <algorithm>
#include <vector>

namespace jobyard::broker {
namespace {

constexpr std::size_t kSmallCommit = std::size_t{128} << 10;
/// Of batches, in one transaction while commits are small: a disk writes what comes of it in less than a millisecond.
constexpr std::size_t kSmallTransaction = std::size_t{1} << 20;
// Then the store is also written in short stretches, so that no thread a caller waits for waits long for a core; unless
// it is behind.
constexpr std::chrono::microseconds kStretch{100};
constexpr std::chrono::microseconds kRest{50};

}  // namespace

Applier::Applier(Store& store, CommitLog& log, std::uint64_t applied, Window window)
    : window_(window), store_(store), log_(log), applied_(applied), thread_([this] { run(); }) {
    log_.on_full([this] { hurry(); });
}

Applier::~Applier() { static_cast<void>(finish()); }

void Applier::add(const Batch& batch) {
    const std::lock_guard lock(mutex_);
    waiting_.push_back({&batch, Clock::now()});
    bytes_ += batch.bytes();
    if (waiting_.size() == 1 || presses()) wake_.notify_one();
}

Result<std::uint64_t> Applier::applied() {
    done_.clear();
    const std::lock_guard lock(mutex_);
    if (error_) return *error_;
    return applied_;
}

std::size_t Applier::waiting_bytes() const {
    const std::lock_guard lock(mutex_);
    return bytes_ + applying_bytes_;
}

void Applier::hurry() {
    const std::lock_guard lock(mutex_);
    hurry_ = true;
    wake_.notify_one();
}

Result<void> Applier::finish() {
    {
        const std::lock_guard lock(mutex_);
        finishing_ = true;
        wake_.notify_one();
    }
    if (thread_.joinable()) thread_.join();
    if (error_) return *error_;
    return {};
}

bool Applier::presses() const { return finishing_ || hurry_ || bytes_ >= 2 * window_.bytes; }

bool Applier::are_small() const { return bytes_ <= waiting_.size() * kSmallCommit; }

/// How many of the batches that wait are to be applied now; if none, `next` is when to look again.
std::size_t Applier::due(Clock::time_point now, Clock::time_point& next) const {
    if (finishing_ || hurry_) return waiting_.size();
    const std::size_t worth = are_small() ? kSmallTransaction : window_.bytes;
    const auto at_last = waiting_.front().came + 2 * window_.time;
    std::size_t count = 0;
    std::size_t bytes = 0;  // of as many as are worth it
    next = at_last;
    for (std::size_t i = 0; i < waiting_.size() && bytes < worth; ++i) {
        const Waiting& each = waiting_[i];
        bytes += each.batch->bytes();
        const auto of_age = each.came + window_.time;
        if (count == i && (of_age <= now || bytes_ - bytes >= window_.bytes)) ++count;
        if (bytes >= worth) next = std::min(of_age, at_last);
    }
    return next <= now || presses() ? std::max<std::size_t>(count, 1) : 0;
}

void Applier::run() {
    ::pthread_setname_np(::pthread_self(), "applier");
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [&] { return !waiting_.empty() || finishing_; });
        if (waiting_.empty()) return;
        Clock::time_point next;
        const std::size_t count = due(Clock::now(), next);
        if (count == 0) {
            wake_.wait_until(lock, next, [this] { return presses(); });
            continue;
        }
        hurry_ = false;
        const bool in_stretches = are_small();
        std::vector<const Batch*> batches;
        std::vector<const Batch*> ahead;
        for (const Waiting& each : waiting_) (batches.size() < count ? batches : ahead).push_back(each.batch);
        waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
        for (const Batch* batch : batches) applying_bytes_ += batch->bytes();
        bytes_ -= applying_bytes_;
        lock.unlock();
        Clock::time_point rests_at = Clock::now() + kStretch;
        auto done = store_.apply(batches, ahead, [&] {
            if (!in_stretches || Clock::now() < rests_at) return;
            std::unique_lock resting(mutex_);
            const auto is_behind = [this] {
                return presses() || (!waiting_.empty() && waiting_.front().came + 2 * window_.time < Clock::now());
            };
            wake_.wait_for(resting, kRest, is_behind);
            rests_at = Clock::now() + kStretch;
        });
        if (done) log_.set_applied(batches.back()->seq);
        else log_.give_up();
        lock.lock();
        applying_bytes_ = 0;
        if (done) applied_ = batches.back()->seq;
        else error_ = done.error();
        done_.signal();
        if (error_) return;
    }
}

}  // namespace jobyard::broker
