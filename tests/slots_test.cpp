// Slots and turns together, in real threads, at a socket that nobody answers.

#include "slots.hpp"

#include <gtest/gtest.h>
#include <link.h>
#include <poll.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace jobyard::worker {
namespace {

constexpr unsigned kSlots = 4;

TEST(ThreadsTestItself, HasNoLibzmq) {
    const int found = dl_iterate_phdr([](dl_phdr_info* info, std::size_t,
                                         void*) { return std::strstr(info->dlpi_name, "libzmq") != nullptr ? 1 : 0; },
                                      nullptr);
    EXPECT_EQ(found, 0) << "this program is to have no threads but ours";
}

/// Hands out jobs in turns, as a worker does, until all have ended. Each turn is under the lock of the turns.
class SlotsTest : public testing::Test {
 protected:
    struct Seen {
        int began = 0;
        int finished = 0;
        int unstarted = 0;
        double progress = 0;
        Ending ending = {};
    };

    SlotsTest() : socket_(*PeerSocket::open({})), turns_(*socket_, [this] { return turn(); }) {}

    /// Makes jobs 1 to `jobs`, up to `at_once` at a time, and returns when all have ended.
    void work_off(std::uint64_t jobs, std::size_t at_once, Handler handler) {
        jobs_ = jobs;
        at_once_ = at_once;
        handler_ = std::move(handler);
        slots_ = std::make_shared<Slots>(Handlers{{"work", handler_}}, turns_);
        ASSERT_TRUE(slots_->start(kSlots));
        turns_.run();
        EXPECT_EQ(slots_->close(std::chrono::steady_clock::time_point::max()), 0U);
    }

    /// Called in each turn, after the reports.
    std::function<void()> in_each_turn_ = [] {};
    std::int64_t lease_ms_ = Turns::kNever;
    std::map<std::uint64_t, Seen> seen_;
    std::size_t in_work_ = 0;
    std::unique_ptr<PeerSocket> socket_;
    Turns turns_;
    std::shared_ptr<Slots> slots_;

 private:
    Turns::After turn() {
        slots_->take_reports(reports_);
        for (const Report& report : reports_) take(report);
        in_each_turn_();
        std::vector<Task*> offered;
        for (; made_ < jobs_ && in_work_ < at_once_; ++in_work_) offered.push_back(&make(++made_));
        if (!offered.empty()) slots_->offer(offered);
        // Nobody says that a job began; so there is a look soon, as a worker's.
        return {.ended = made_ == jobs_ && in_work_ == 0,
                .lend = !offered.empty() && slots_->are_occupied(),
                .next_ms = steady_ms() + 5};
    }
    Task& make(std::uint64_t number) {
        Task& task = slots_->make_task({number});
        task.type = "work";
        task.payload = "payload " + std::to_string(number);
        task.handler = slots_->handler_of(task.type);
        task.lease_until_ms = lease_ms_;
        task.job = {};
        task.job.id = {number};
        task.job.payload = task.payload;
        return task;
    }
    void take(const Report& report) {
        Task& task = *report.task;
        Seen& seen = seen_[task.token.value];
        switch (report.kind) {
            case Report::Kind::began: ++seen.began; return;
            case Report::Kind::progress: {
                const std::lock_guard lock(task.mutex);
                task.progress_reported = false;
                seen.progress = task.progress;
                return;
            }
            case Report::Kind::unstarted: ++seen.unstarted; break;
            case Report::Kind::finished: ++seen.finished; seen.ending = std::move(task.ending);
        }
        slots_->free_task(task);
        --in_work_;
    }

    std::uint64_t jobs_ = 0;
    std::uint64_t made_ = 0;
    std::size_t at_once_ = 0;
    Handler handler_;
    std::vector<Report> reports_;
};

class ManySlotsTest : public SlotsTest, public testing::WithParamInterface<std::size_t> {};

TEST_P(ManySlotsTest, EveryJobBeginsOnceAndItsEndIsReportedOnce) {
    constexpr std::uint64_t kJobs = 3000;
    work_off(kJobs, GetParam(),
             [](const Job& job, Context&) -> HandlerResult { return Success{std::string(job.payload)}; });
    ASSERT_EQ(seen_.size(), kJobs);
    for (const auto& [number, seen] : seen_) {
        ASSERT_EQ(seen.began, 1) << number;
        ASSERT_EQ(seen.finished, 1) << number;
        ASSERT_EQ(seen.ending.result, "payload " + std::to_string(number));
    }
}
INSTANTIATE_TEST_SUITE_P(JobsAtOnce, ManySlotsTest, testing::Values(1, kSlots, 64));

TEST_F(SlotsTest, WhatWasToldToStopIsTakenBackOrItsHandlerSeesIt) {
    std::uint64_t taken_back = 0;
    in_each_turn_ = [&] {
        if (seen_.empty()) return;  // not before one has begun
        std::vector<LeaseToken> all;
        for (std::uint64_t number = 1; number <= 500; ++number) all.push_back({number});
        for (Task* task : slots_->stop(slots_->find(all))) {
            ++taken_back;
            --in_work_;
            slots_->free_task(*task);
        }
    };
    // Some look, some wait for the descriptor.
    work_off(500, 16, [](const Job& job, Context& context) -> HandlerResult {
        pollfd item{job.id.value % 2 == 0 ? context.cancel_fd() : -1, POLLIN, 0};
        if (item.fd >= 0) ::poll(&item, 1, -1);
        while (!context.cancelled()) std::this_thread::yield();
        return Failure{.message = "cancelled"};
    });
    std::uint64_t finished = 0;
    for (const auto& [number, seen] : seen_) {
        ASSERT_LE(seen.finished, 1) << number;
        if (seen.finished == 1) {
            EXPECT_EQ(seen.ending.error, "cancelled");
        }
        finished += static_cast<std::uint64_t>(seen.finished);
    }
    EXPECT_EQ(finished + taken_back, 500U);
    EXPECT_GT(finished, 0U);
}

TEST_F(SlotsTest, TheLastProgressOfAHandlerIsReported) {
    work_off(50, 8, [](const Job&, Context& context) -> HandlerResult {
        for (int step = 1; step <= 100; ++step) context.progress(step / 100.0, "a step of a hundred");
        return Success{};
    });
    for (const auto& [number, seen] : seen_) EXPECT_EQ(seen.progress, 1.0) << number;
}

TEST_F(SlotsTest, AJobWhoseLeaseHasRunOutIsReportedUnstarted) {
    lease_ms_ = 0;
    work_off(200, 8, [](const Job&, Context&) -> HandlerResult { return Success{}; });
    for (const auto& [number, seen] : seen_)
        EXPECT_EQ(std::pair(seen.began, seen.unstarted), std::pair(0, 1)) << number;
}

TEST_F(SlotsTest, AHandlerThatIsStillThereAfterCloseDisturbsNobody) {
    // Shared: the handler may be about to leave them when the test ends.
    const auto may_return = std::make_shared<std::binary_semaphore>(0);
    const auto began = std::make_shared<std::binary_semaphore>(0);
    const std::weak_ptr<Slots> left = [&] {
        slots_ = std::make_shared<Slots>(Handlers{{"work",
                                                   [may_return, began](const Job&, Context&) -> HandlerResult {
                                                       began->release();
                                                       may_return->acquire();
                                                       return Success{};
                                                   }}},
                                         turns_);
        EXPECT_TRUE(slots_->start(2));
        Task& task = slots_->make_task({1});
        task.handler = slots_->handler_of("work");
        task.lease_until_ms = Turns::kNever;
        slots_->offer({&task});
        began->acquire();
        EXPECT_EQ(slots_->close(std::chrono::steady_clock::now()), 1U);
        return std::exchange(slots_, nullptr);
    }();
    may_return->release();
    while (!left.expired()) std::this_thread::yield();
}

}  // namespace
}  // namespace jobyard::worker
