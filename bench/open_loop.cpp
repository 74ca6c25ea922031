#include "open_loop.hpp"

#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <optional>
#include <stdexcept>
#include <thread>

namespace jobyard::bench {
namespace {

constexpr std::chrono::minutes kPatience{2};
constexpr std::int64_t kSecond = 1'000'000'000;
/// Whoever sends more often than this sends what has become due meanwhile together: the sender must not be the load.
constexpr std::int64_t kLeastSleep = 100'000;

std::int64_t now_ns() { return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1); }

void sleep_until(std::int64_t at) {
    const timespec time{at / kSecond, at % kSecond};
    ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr);
}

/// Handles in the order in which they were submitted, for one collector, which gives each up once it has noted it.
class Line {
 public:
    explicit Line(std::size_t size) : handles_(size) {}
    void put(Submission handle) {
        const std::size_t at = ready_.load(std::memory_order_relaxed);
        handles_[at] = std::move(handle);
        ready_.store(at + 1, std::memory_order_release);
    }
    /// Calls `note(i, handle)` for each in order; ends early when the sender has given up.
    template <class Note>
    void collect(Note note) {
        for (std::size_t i = 0; i < handles_.size(); ++i) {
            while (ready_.load(std::memory_order_acquire) <= i) {
                if (given_up_.load(std::memory_order_relaxed)) return;
                sleep_until(now_ns() + 50'000);
            }
            note(i, *handles_[i]);
            handles_[i].reset();
        }
    }
    void give_up() { given_up_ = true; }

 private:
    std::vector<std::optional<Submission>> handles_;
    std::atomic<std::size_t> ready_ = 0;
    std::atomic<bool> given_up_ = false;
};

}  // namespace

OpenLoopTimes run_open_loop(Client& client, const OpenLoop& loop, const std::function<std::string(unsigned)>& payload,
                            Progress& progress) {
    const unsigned all = loop.warm + loop.count;
    OpenLoopTimes times{std::vector<std::int64_t>(all), std::vector<std::int64_t>(all), std::vector<std::int64_t>(all),
                        std::vector<std::int64_t>(all)};
    Line to_answer(all);
    Line to_end(all);
    std::atomic<std::size_t> ended = 0;
    std::exception_ptr answer_failure;
    std::exception_ptr end_failure;
    const auto guarded = [&](std::exception_ptr& failure, auto body) {
        return [&failure, &to_answer, &to_end, body] {
            try {
                body();
            } catch (...) {
                failure = std::current_exception();
                to_answer.give_up();
                to_end.give_up();
            }
        };
    };
    std::thread answers(guarded(answer_failure, [&] {
        to_answer.collect([&](std::size_t i, const Submission& job) {
            job.id(kPatience).value();
            times.answered[i] = now_ns();
        });
    }));
    std::thread results(guarded(end_failure, [&] {
        to_end.collect([&](std::size_t i, const Submission& job) {
            if (!job.result(kPatience).value().completed()) throw std::runtime_error("a job did not complete");
            times.ended[i] = now_ns();
            ended.store(i, std::memory_order_relaxed);
        });
    }));

    ::prctl(PR_SET_TIMERSLACK, 1UL);  // else the system may wake this thread 50 microseconds late
    const double interval = static_cast<double>(kSecond) / loop.rate;
    const std::int64_t began = now_ns() + 1'000'000;
    std::int64_t slept_until = began;
    for (unsigned i = 0; i < all; ++i) {
        times.intended[i] = began + static_cast<std::int64_t>(interval * i);
        std::int64_t now = now_ns();
        if (now < times.intended[i]) {
            progress.show(static_cast<double>(ended.load(std::memory_order_relaxed)), all, "jobs");
            sleep_until(std::max(times.intended[i], slept_until + kLeastSleep));
            now = slept_until = now_ns();
        }
        times.sent[i] = now;
        Submission job = client.submit({.type = "bench", .payload = payload(i), .watch = true});
        to_answer.put(job);
        to_end.put(std::move(job));
    }
    answers.join();
    results.join();
    for (const std::exception_ptr& failure : {answer_failure, end_failure})
        if (failure) std::rethrow_exception(failure);
    for (auto* list : {&times.intended, &times.sent, &times.answered, &times.ended})
        list->erase(list->begin(), list->begin() + loop.warm);
    return times;
}

}  // namespace jobyard::bench
