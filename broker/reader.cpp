#include "reader.hpp"

#include <pthread.h>

#include <iterator>
#include <utility>

namespace jobyard::broker {

Reader::Reader(Store& store) : store_(store), thread_([this] { run(); }) {}

Reader::~Reader() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

void Reader::ask(std::uint64_t ticket, std::vector<Need> needs) {
    {
        const std::lock_guard lock(mutex_);
        questions_.push_back({ticket, std::move(needs)});
    }
    wake_.notify_one();
}

Result<void> Reader::take(std::vector<ReadAnswer>& answers) {
    done_.clear();
    const std::lock_guard lock(mutex_);
    std::move(answers_.begin(), answers_.end(), std::back_inserter(answers));
    answers_.clear();
    if (error_) return *error_;
    return {};
}

void Reader::run() {
    ::pthread_setname_np(::pthread_self(), "reader");
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return !questions_.empty() || stopping_; });
        if (stopping_) return;
        Question question = std::move(questions_.front());
        questions_.pop_front();
        lock.unlock();
        // A transaction for each: beginning one costs less than a row, and one shared with later questions could be
        // older than a batch they must see.
        auto snapshot = store_.read(question.needs);
        lock.lock();
        if (!snapshot) {
            error_ = snapshot.error();
            done_.signal();
            return;
        }
        if (answers_.empty()) done_.signal();
        answers_.push_back({question.ticket, std::move(question.needs), std::move(*snapshot)});
    }
}

}  // namespace jobyard::broker
