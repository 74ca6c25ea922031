#include "applier.hpp"

#include <pthread.h>

#include <utility>

namespace jobyard::broker {
namespace {

// Where commits are small, it is not throughput that counts but how long each takes. Then the store is written in short
// stretches, so that no thread a caller waits for waits long for a core; unless the next window is over already.
constexpr std::size_t kSmallCommit = std::size_t{64} << 10;
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
    if (waiting_.empty()) due_ = Clock::now() + window_.time;
    waiting_.push_back(&batch);
    waiting_bytes_ += batch.bytes();
    window_bytes_ += batch.bytes();
    if (waiting_.size() == 1 || window_bytes_ >= window_.bytes) wake_.notify_one();
}

Result<std::uint64_t> Applier::applied() {
    done_.clear();
    const std::lock_guard lock(mutex_);
    if (error_) return *error_;
    return applied_;
}

std::size_t Applier::waiting_bytes() const {
    const std::lock_guard lock(mutex_);
    return waiting_bytes_;
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

void Applier::run() {
    ::pthread_setname_np(::pthread_self(), "applier");
    std::unique_lock lock(mutex_);
    std::size_t older = 0;  // of waiting_, those of the window before
    for (;;) {
        const auto is_due = [this] { return finishing_ || hurry_ || window_bytes_ >= window_.bytes; };
        wake_.wait(lock, [&] { return !waiting_.empty() || finishing_; });
        if (waiting_.empty()) return;
        wake_.wait_until(lock, due_, is_due);
        if (finishing_ || std::exchange(hurry_, false)) older = waiting_.size();
        const auto border = waiting_.begin() + static_cast<std::ptrdiff_t>(older);
        const std::vector<const Batch*> batches(waiting_.begin(), border);
        waiting_.erase(waiting_.begin(), border);
        const std::vector<const Batch*> ahead = waiting_;
        older = waiting_.size();
        window_bytes_ = 0;
        due_ = Clock::now() + window_.time;
        if (batches.empty()) continue;
        std::size_t bytes = 0;
        for (const Batch* batch : batches) bytes += batch->bytes();
        lock.unlock();
        const bool in_stretches = bytes / batches.size() <= kSmallCommit;
        Clock::time_point rests_at = Clock::now() + kStretch;
        auto done = store_.apply(batches, ahead, [&] {
            if (!in_stretches || Clock::now() < rests_at) return;
            std::unique_lock resting(mutex_);
            const auto is_behind = [&] { return is_due() || Clock::now() >= due_; };
            wake_.wait_for(resting, kRest, is_behind);
            rests_at = Clock::now() + kStretch;
        });
        if (done) log_.set_applied(batches.back()->seq);
        else log_.give_up();
        lock.lock();
        waiting_bytes_ -= bytes;
        if (done) applied_ = batches.back()->seq;
        else error_ = done.error();
        done_.signal();
        if (error_) return;
    }
}

}  // namespace jobyard::broker
