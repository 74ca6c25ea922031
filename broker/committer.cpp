#include "committer.hpp"

#include <pthread.h>

#include <utility>

#include "jobyard/assert.hpp"

namespace jobyard::broker {

Committer::Committer(CommitLog& log) : log_(log), thread_([this] { run(); }) {}

Committer::~Committer() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

void Committer::start(const Batch& batch) {
    JOBYARD_ASSERT(idle_);
    idle_ = false;
    {
        const std::lock_guard lock(mutex_);
        batch_ = &batch;
    }
    wake_.notify_one();
}

std::optional<Result<std::uint64_t>> Committer::take() {
    done_.clear();
    const std::lock_guard lock(mutex_);
    if (result_) idle_ = true;
    return std::exchange(result_, std::nullopt);
}

void Committer::run() {
    ::pthread_setname_np(::pthread_self(), "committer");
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return batch_ != nullptr || stopping_; });
        if (batch_ == nullptr) return;
        wakeups_.fetch_add(1, std::memory_order_relaxed);
        const Batch& batch = *std::exchange(batch_, nullptr);
        lock.unlock();
        auto appended = log_.append(batch);
        lock.lock();
        if (appended) result_ = batch.seq;
        else result_ = appended.error();
        done_.signal();
    }
}

}  // namespace jobyard::broker
