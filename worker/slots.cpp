#include "slots.hpp"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <system_error>
#include <utility>

namespace jobyard {

struct Context::Impl {
    worker::Task& task;
    worker::Slots& slots;
};

std::chrono::steady_clock::time_point Context::deadline() const {
    const worker::Task& task = impl_.task;
    if (task.timeout_ms == 0) return std::chrono::steady_clock::time_point::max();
    return std::chrono::steady_clock::time_point(std::chrono::milliseconds(task.began_ms + task.timeout_ms));
}

bool Context::cancelled() const { return impl_.task.cancelled.load(std::memory_order_relaxed); }

int Context::cancel_fd() {
    worker::Task& task = impl_.task;
    const std::lock_guard lock(task.mutex);
    if (task.cancel_fd < 0) task.cancel_fd = eventfd(task.cancelled ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
    return task.cancel_fd;
}

void Context::progress(double fraction, std::string_view text) {
    worker::Task& task = impl_.task;
    {
        const std::lock_guard lock(task.mutex);
        task.progress = fraction;
        task.progress_text = text;
        if (std::exchange(task.progress_reported, true)) return;
    }
    impl_.slots.report_progress(task);
}

/// The one who may make a Context.
class WorkerThreads {
 public:
    static HandlerResult call(worker::Task& task, worker::Slots& slots) {
        Context::Impl impl{task, slots};
        Context context(impl);
        if (task.handler == nullptr) return Failure{.message = "this worker has no handler for type " + task.type};
        try {
            return (*task.handler)(task.job, context);
        } catch (const std::exception& e) {
            return Failure{.message = e.what()};
        } catch (...) {
            return Failure{.message = "the handler threw something that is not a std::exception"};
        }
    }
};

namespace worker {
namespace {

void set_cancelled(Task& task) {
    const std::lock_guard lock(task.mutex);
    task.cancelled = true;
    if (task.cancel_fd >= 0) eventfd_write(task.cancel_fd, 1);
}

Ending to_ending(HandlerResult result) {
    if (auto* success = std::get_if<Success>(&result)) return {.result = std::move(success->result)};
    if (const auto* snooze = std::get_if<Snooze>(&result))
        return {.outcome = Outcome::released,
                .delay_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(snooze->delay.count(), 0))};
    auto& failure = std::get<Failure>(result);
    return {Outcome::failed,           failure.retryable,
            std::move(failure.result), std::move(failure.message),
            std::move(failure.tail),   0};
}

}  // namespace

Slots::Slots(Handlers handlers, Turns& turns) : handlers_(std::move(handlers)), turns_(turns) {}

// --- turns -----------------------------------------------------------------------------------------------------------

Result<void> Slots::start(unsigned count) {
    // Signals are for the threads of the program that uses us: ours take none.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    Result<void> started;
    try {
        for (unsigned i = 0; i < count; ++i) {
            Thread& thread = threads_.emplace_back();
            // Shared with the threads, because a handler that never returns outlives run() and perhaps its Worker.
            thread.thread = std::thread([self = shared_from_this(), &thread] { self->run(thread); });
        }
    } catch (const std::system_error& e) {
        started = Error{Code::internal, "cannot start " + std::to_string(count) + " slot threads: " + e.what()};
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started;
}

Task& Slots::make_task(LeaseToken token) {
    if (free_.empty()) free_.push_back(&tasks_.emplace_back());
    Task& task = *free_.back();
    free_.pop_back();
    task.token = token;
    return task;
}

void Slots::free_task(Task& task) {
    constexpr std::size_t kKeptPayloadBytes = 4096;  // its memory serves the next; that of a great one does not stay
    if (task.payload.capacity() > kKeptPayloadBytes) task.payload = {};
    task.large_payload.reset();
    task.token = {};
    task.ending = {};
    task.cancelled = false;
    task.progress_reported = false;
    free_.push_back(&task);
}

std::vector<Task*> Slots::find(const std::vector<LeaseToken>& tokens) {
    // One pass over all tasks for each list of stops, which are rare, in place of an index kept for each job.
    std::vector<LeaseToken> wanted = tokens;
    std::sort(wanted.begin(), wanted.end());
    std::vector<Task*> found;
    for (Task& task : tasks_)
        if (task.token && std::binary_search(wanted.begin(), wanted.end(), task.token)) found.push_back(&task);
    return found;
}

void Slots::offer(const std::vector<Task*>& tasks) {
    std::size_t to_wake = 0;
    {
        const std::lock_guard lock(mutex_);
        ready_.insert(ready_.end(), tasks.begin(), tasks.end());
        to_wake = std::min<std::size_t>(idle_, tasks.size() - (leading_ ? 1 : 0));
    }
    for (; to_wake > 0; --to_wake) work_.notify_one();
}

std::vector<Task*> Slots::stop(const std::vector<Task*>& tasks) {
    std::vector<Task*> taken_back;
    {
        const std::lock_guard lock(mutex_);
        for (Task* task : tasks) task->withdrawn = true;
        std::erase_if(ready_, [&](Task* task) {
            if (!std::exchange(task->withdrawn, false)) return false;
            taken_back.push_back(task);
            return true;
        });
    }
    for (Task* task : tasks)
        if (std::exchange(task->withdrawn, false)) set_cancelled(*task);  // it is not there: a slot has it, or had it
    return taken_back;
}

bool Slots::are_occupied() {
    const std::lock_guard lock(mutex_);
    return ready_.size() + busy_ == threads_.size();
}

void Slots::take_reports(std::vector<Report>& reports) {
    reports.clear();
    const std::lock_guard lock(mutex_);
    reports.swap(reports_);
}

unsigned Slots::close(std::chrono::steady_clock::time_point deadline) {
    unsigned left = 0;
    {
        std::unique_lock lock(mutex_);
        closed_ = true;
        work_.notify_all();
        returned_.wait_until(lock, deadline, [&] { return busy_ == 0; });
        left = busy_;
        for (Thread& thread : threads_)
            if (thread.runs_handler) thread.thread.detach();
    }
    for (Thread& thread : threads_)
        if (thread.thread.joinable()) thread.thread.join();
    return left;
}

const Handler* Slots::handler_of(std::string_view type) const {
    const auto at = handlers_.find(type);
    return at == handlers_.end() ? nullptr : &at->second;
}

// --- the slots -------------------------------------------------------------------------------------------------------

void Slots::run(Thread& self) {
    ::pthread_setname_np(::pthread_self(), "jobyard-slot");
    Task* task = nullptr;
    while ((task = next(self, task)) != nullptr) {
        task->ending = to_ending(WorkerThreads::call(*task, *this));
        task->ended_ms = steady_ms();
        const std::lock_guard lock(task->mutex);
        if (task->cancel_fd >= 0) ::close(std::exchange(task->cancel_fd, -1));
    }
}

/// Reports what this slot has finished and takes the next job, waiting for one; null: the slots are closed.
Task* Slots::next(Thread& self, Task* finished) {
    std::unique_lock lock(mutex_);
    bool untold = false;
    if (finished != nullptr) {
        reports_.push_back({Report::Kind::finished, finished});
        untold = true;
        self.runs_handler = false;
        --busy_;
        if (closed_) returned_.notify_one();
    }
    for (;;) {
        if (closed_) return nullptr;
        if (!ready_.empty()) {
            Task* task = ready_.front();
            ready_.pop_front();
            task->began_ms = steady_ms();
            if (task->began_ms >= task->lease_until_ms) {
                reports_.push_back({Report::Kind::unstarted, task});
                untold = true;
                continue;
            }
            reports_.push_back({Report::Kind::began, task});
            self.runs_handler = true;
            ++busy_;
            if (untold) turns_.wake();
            return task;
        }
        if (std::exchange(untold, false)) {
            tell_and_lead(lock);
            continue;
        }
        ++idle_;
        work_.wait(lock);
        --idle_;
    }
}

/// For a slot that has nothing to do: tells itself what it has finished, and waits for the next job where it will come.
/// Unlocks meanwhile; the turns are there until close(), which waits for slots that run no handler.
void Slots::tell_and_lead(std::unique_lock<std::mutex>& lock) {
    lock.unlock();
    turns_.take();
    lock.lock();
    if (!ready_.empty() || closed_ || leading_) return;
    leading_ = true;
    lock.unlock();
    turns_.lead([this] {
        const std::lock_guard guard(mutex_);
        return !ready_.empty() || closed_;
    });
    lock.lock();
    leading_ = false;
}

void Slots::report_progress(Task& task) {
    const std::lock_guard lock(mutex_);
    reports_.push_back({Report::Kind::progress, &task});  // wakes nobody: it is told with the next renewal
}

}  // namespace worker
}  // namespace jobyard
