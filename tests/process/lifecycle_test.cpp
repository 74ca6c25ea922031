// The life of a job through real processes: order, cancel, delay, retries, timeout, the dead letter queue, crash loops.

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using namespace std::chrono_literals;

constexpr BackoffPolicy kQuick{.initial_ms = 20, .factor_percent = 200, .max_ms = 100, .jitter_percent = 20};

class Lifecycle : public testing::Test {
 protected:
    std::unique_ptr<Process> worker(const std::string& name = "worker",
                                    std::map<std::string, std::string> settings = {}) {
        settings.insert({"name", name});
        settings.insert({"log", log_});
        settings.insert({"gate", gate_});
        return start_test_worker(broker_.endpoint(), settings);
    }
    JobResult result_of(const Submission& job) {
        const Result<JobResult> result = job.result(kPatience);
        EXPECT_TRUE(result) << result.error().text;
        return result ? *result : JobResult{};
    }
    bool begun(std::size_t count) {
        return eventually([&] { return executions(log_).size() >= count; });
    }
    const TemporaryDirectory files_;
    const std::string log_ = files_ / "executions";
    const std::string gate_ = files_ / "gate";
    BrokerProcess broker_{{"--reconnect-grace", "100"}};
    Client client_{client_options(broker_.endpoint())};
};

TEST_F(Lifecycle, TheHighestPriorityGoesFirstAndTheOldestAmongEquals) {
    // The gate keeps the one slot while the queue fills. 18 picks: the 20th would go to the longest waiting.
    const Submission first = client_.submit({.type = "gated", .watch = true});
    auto single = worker();
    ASSERT_TRUE(begun(1));
    const std::vector<std::uint8_t> priorities{5, 1, 10, 5, 7, 10, 1, 3, 9, 5, 10, 2, 8, 1, 6, 4};
    std::vector<Submission> jobs;
    jobs.reserve(priorities.size());
    for (const std::uint8_t priority : priorities)
        jobs.push_back(client_.submit({.type = "echo", .priority = priority, .watch = true}));
    std::vector<std::pair<int, std::uint64_t>> expected;
    for (std::size_t i = 0; i < jobs.size(); ++i) expected.emplace_back(-priorities[i], jobs[i].id().value().value);
    std::sort(expected.begin(), expected.end());
    open_gate(gate_);
    for (const Submission& job : jobs) EXPECT_EQ(result_of(job).state, JobState::completed);
    std::vector<std::uint64_t> order;
    for (const Execution& execution : executions(log_)) order.push_back(execution.job);
    std::vector<std::uint64_t> wanted{first.id().value().value};
    for (const auto& [priority, id] : expected) wanted.push_back(id);
    EXPECT_EQ(order, wanted);
}

TEST_F(Lifecycle, OneDispatchInTwentyGoesToTheLongestWaiting) {
    const Submission first = client_.submit({.type = "gated"});
    auto single = worker();
    ASSERT_TRUE(begun(1));
    const Submission low = client_.submit({.type = "echo", .priority = 1, .watch = true});
    std::vector<Submission> urgent;
    urgent.reserve(60);
    for (int i = 0; i < 60; ++i) urgent.push_back(client_.submit({.type = "echo", .priority = 10, .watch = true}));
    for (const Submission& job : urgent) ASSERT_TRUE(job.id());
    open_gate(gate_);
    result_of(low);
    for (const Submission& job : urgent) result_of(job);
    const std::vector<Execution> runs = executions(log_);
    const auto place =
        std::find_if(runs.begin(), runs.end(), [&](const Execution& e) { return e.job == low.id()->value; });
    EXPECT_LE(place - runs.begin(), 20) << "it would have starved";
    EXPECT_GE(place - runs.begin(), 15) << "it would have overtaken urgent work";
}

TEST_F(Lifecycle, ACancelledQueuedJobIsNeverRun) {
    const Submission job = client_.submit({.type = "echo", .watch = true});
    const JobId id = job.id().value();
    const Result<CancelAnswer> answer = client_.cancel(id);
    ASSERT_TRUE(answer) << answer.error().text;
    EXPECT_EQ(answer->code, Code::ok);
    EXPECT_EQ(result_of(job).state, JobState::cancelled);
    auto late = worker();
    ASSERT_TRUE(client_.run({.type = "echo"}, kPatience));
    EXPECT_TRUE(executions_of(log_, id).empty());
    const Result<CancelAnswer> again = client_.cancel(id);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->code, Code::ended);
    EXPECT_EQ(again->state, JobState::cancelled);
}

TEST_F(Lifecycle, ACancelledRunningHandlerIsToldAndTheJobEndsCancelled) {
    auto one = worker();
    const Submission job = client_.submit({.type = "gated", .watch = true});
    ASSERT_TRUE(begun(1));
    EXPECT_EQ(client_.cancel(job.id().value()).value().code, Code::cancel_requested);
    EXPECT_EQ(result_of(job).state, JobState::cancelled);
    EXPECT_EQ(client_.show(*job.id()).value().attempts.at(0).outcome, "cancelled");
}

TEST_F(Lifecycle, ASuccessThatArrivesAfterTheCancelStillCompletes) {
    auto one = worker();
    const Submission job = client_.submit({.type = "deaf", .watch = true});
    ASSERT_TRUE(begun(1));
    EXPECT_EQ(client_.cancel(job.id().value()).value().code, Code::cancel_requested);
    open_gate(gate_);
    EXPECT_EQ(result_of(job).state, JobState::completed);
}

TEST_F(Lifecycle, ADelayedJobIsScheduledAndNotBegunBeforeItsTime) {
    auto one = worker();
    ASSERT_TRUE(workers_arrived(client_, 1));
    const auto submitted = std::chrono::steady_clock::now();
    const Submission job = client_.submit({.type = "echo", .delay_ms = 1500, .watch = true});
    ASSERT_TRUE(job.id());
    const JobInfo info = client_.show(*job.id()).value();
    if (std::chrono::steady_clock::now() - submitted < 1400ms) {
        EXPECT_EQ(info.state, JobState::scheduled);
        EXPECT_EQ(info.reason, "delayed");
    }
    EXPECT_EQ(result_of(job).state, JobState::completed);
    EXPECT_GE(std::chrono::steady_clock::now() - submitted, 1500ms);
}

TEST_F(Lifecycle, AHandlerMaySnoozeAndIsChargedNothing) {
    auto one = worker();
    const std::string awaited = files_ / "awaited";
    const Submission job = client_.submit({.type = "await", .payload = awaited, .max_attempts = 1, .watch = true});
    const JobId id = job.id().value();
    ASSERT_TRUE(eventually([&] { return client_.show(id).value().state == JobState::scheduled; }));
    write_file(awaited, "");
    EXPECT_EQ(result_of(job).bytes, "attempt 1");
    EXPECT_EQ(client_.show(id).value().errors, 0U);
}

TEST_F(Lifecycle, AJobThatFailsIsTriedAgainUntilItSucceeds) {
    auto one = worker();
    const Submission job = client_.submit({.type = "fail", .payload = "2", .backoff = kQuick, .watch = true});
    const JobResult result = result_of(job);
    EXPECT_EQ(result.state, JobState::completed);
    EXPECT_EQ(result.attempt, 3U);
    EXPECT_EQ(result.bytes, "after 2 failures");
    const JobInfo info = client_.show(result.job).value();
    ASSERT_EQ(info.attempts.size(), 3U);
    EXPECT_EQ(info.attempts[0].outcome, "failed");
    EXPECT_EQ(info.attempts[0].error, "attempt 1 fails on purpose");
    EXPECT_EQ(info.attempts[1].error, "attempt 2 fails on purpose");
    EXPECT_EQ(info.attempts[2].outcome, "completed");
    ASSERT_TRUE(info.attempts[0].ended_at && info.attempts[1].started_at);
    // Both are whole milliseconds, one of them reckoned back from a duration: two may be missing.
    EXPECT_GE(*info.attempts[1].started_at - *info.attempts[0].ended_at, 18ms) << "the pause was left out";
    EXPECT_EQ(counter(client_, "jobs.retried_total"), 2U);
}

TEST_F(Lifecycle, AJobThatFailsItsLastAttemptIsDeadWithAllItsErrorsAndItsLastResult) {
    auto one = worker();
    const Submission job =
        client_.submit({.type = "fail", .payload = "100", .max_attempts = 3, .backoff = kQuick, .watch = true});
    const JobResult result = result_of(job);
    EXPECT_EQ(result.state, JobState::dead);
    EXPECT_EQ(result.reason, Reason::failed);
    EXPECT_EQ(result.attempt, 3U);
    EXPECT_EQ(result.bytes, "partial");
    EXPECT_EQ(result.error, "attempt 3 fails on purpose");
    EXPECT_EQ(executions(log_).size(), 3U);
    EXPECT_EQ(client_.show(result.job).value().attempts.size(), 3U);
    EXPECT_EQ(counter(client_, "jobs.dead"), 1U);
}

TEST_F(Lifecycle, AnErrorThatIsNotRetryableIsNotRetried) {
    auto one = worker();
    const JobResult result = result_of(client_.submit({.type = "refuse", .watch = true}));
    EXPECT_EQ(result.state, JobState::dead);
    EXPECT_EQ(result.reason, Reason::not_retryable);
    EXPECT_EQ(executions(log_).size(), 1U);
}

TEST_F(Lifecycle, AHandlerPastItsTimeoutIsToldAndTheAttemptCountsAsTimeout) {
    auto one = worker();
    const Submission job =
        client_.submit({.type = "gated", .timeout_ms = 300, .max_attempts = 2, .backoff = kQuick, .watch = true});
    const JobResult result = result_of(job);
    EXPECT_EQ(result.state, JobState::dead);
    EXPECT_EQ(result.reason, Reason::failed);
    const JobInfo info = client_.show(result.job).value();
    ASSERT_EQ(info.attempts.size(), 2U);
    for (const AttemptInfo& attempt : info.attempts) EXPECT_EQ(attempt.outcome, "timeout");
    EXPECT_TRUE(client_.run({.type = "echo"}, kPatience)) << "its slot is free again";
}

TEST_F(Lifecycle, ADeadJobWaitsToBeRedrivenUnderItsNumberAndItsPolicy) {
    auto one = worker();
    const std::string cause = files_ / "cause";
    const Submission job = client_.submit({.type = "mend",
                                           .payload = cause,
                                           .priority = 7,
                                           .key = "mine",
                                           .max_attempts = 2,
                                           .backoff = kQuick,
                                           .watch = true});
    EXPECT_EQ(result_of(job).state, JobState::dead);
    const JobId id = job.id().value();
    const std::vector<JobInfo> dead = all_jobs(client_, {.state = JobState::dead});
    ASSERT_EQ(dead.size(), 1U);
    EXPECT_EQ(dead[0].id, id);
    EXPECT_EQ(dead[0].error, cause + " is not there");

    // A round that fails again has its full budget, and is dead again.
    ASSERT_TRUE(client_.redrive(id));
    EXPECT_EQ(client_.wait(id, kPatience).value().state, JobState::dead);
    EXPECT_EQ(executions(log_).size(), 4U);
    write_file(cause, "");
    ASSERT_TRUE(client_.redrive(id));
    const Result<JobResult> result = client_.wait(id, kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->state, JobState::completed);
    EXPECT_EQ(result->bytes, "mended");
    const JobInfo info = client_.show(id).value();
    EXPECT_EQ(info.priority, 7U);
    EXPECT_EQ(info.key, "mine");
    EXPECT_EQ(info.max_attempts, 2U);
    EXPECT_EQ(info.attempts.size(), 5U) << "every attempt of every round is on record";
    EXPECT_TRUE(all_jobs(client_, {.state = JobState::dead}).empty());
    EXPECT_EQ(code_of(client_.redrive(id)), Code::not_dead);
    EXPECT_EQ(code_of(client_.redrive({id.value + 100})), Code::unknown_job);
}

// What is redriven, and its payload and results, may be in the commit log only, behind which the store is.
TEST_F(Lifecycle, AJobThatDiedInAnEarlierRunGoesOnAtOnceWithItsPayloadAndGivesItsNewResult) {
    auto one = worker();
    const std::string cause = files_ / "cause";
    std::vector<JobId> jobs;
    for (int i = 0; i < 8; ++i) {
        const Submission job =
            client_.submit({.type = "mend_large", .payload = cause, .max_attempts = 1, .watch = true});
        EXPECT_EQ(result_of(job).state, JobState::dead);
        jobs.push_back(job.id().value());
    }
    broker_.kill();
    broker_.start();
    EXPECT_EQ(client_.wait(jobs[0], kPatience).value().bytes, std::string(5000, 'o'));
    write_file(cause, "");
    for (const JobId id : jobs) {
        ASSERT_TRUE(client_.redrive(id));
        const Result<JobResult> result = client_.wait(id, kPatience);
        ASSERT_TRUE(result) << result.error().text;
        EXPECT_EQ(result->state, JobState::completed);
        EXPECT_EQ(result->bytes, std::string(5000, 'n'));
        EXPECT_EQ(client_.wait(id, kPatience).value().bytes, std::string(5000, 'n')) << "asked again";
        const JobInfo info = client_.show(id).value();
        EXPECT_EQ(info.crashes, 0U) << "it was handed out without its payload, and its lease ran out";
    }
}

TEST_F(Lifecycle, AJobThatKillsThreeWorkersIsDeadOfCrashLoopAndItsErrorsAreCountedApart) {
    // One attempt of its own would be all it has: workers lost are charged elsewhere.
    const Submission job = client_.submit({.type = "crash", .max_attempts = 1, .watch = true});
    ASSERT_TRUE(job.id());
    for (std::size_t i = 1; i <= 3; ++i) {
        auto victim = worker("victim" + std::to_string(i));
        ASSERT_TRUE(begun(i));
        EXPECT_EQ(victim->wait(), 128 + SIGKILL);
    }
    const JobResult result = result_of(job);
    EXPECT_EQ(result.state, JobState::dead);
    EXPECT_EQ(result.reason, Reason::crash_loop);
    const JobInfo info = client_.show(result.job).value();
    EXPECT_EQ(info.crashes, 3U);
    EXPECT_EQ(info.errors, 0U);
    EXPECT_EQ(info.reason, "crash_loop");
    ASSERT_EQ(info.attempts.size(), 3U);
    for (const AttemptInfo& attempt : info.attempts) EXPECT_EQ(attempt.outcome, "worker_lost");
    EXPECT_EQ(executions(log_).size(), 3U);
}

TEST_F(Lifecycle, AKeyNamesOneJobForAsLongAsItIsRemembered) {
    auto one = worker();
    const Submission first = client_.submit({.type = "echo", .payload = "a", .key = "invoice 7", .watch = true});
    EXPECT_EQ(result_of(first).state, JobState::completed);
    const Submission same = client_.submit({.type = "echo", .payload = "a", .key = "invoice 7", .watch = true});
    EXPECT_EQ(same.id().value(), first.id().value());
    EXPECT_TRUE(same.was_existing());
    EXPECT_EQ(result_of(same).bytes, "a") << "its result comes all the same";
    broker_.kill();
    broker_.start();
    EXPECT_EQ(client_.submit({.type = "echo", .payload = "a", .key = "invoice 7"}).id().value(), first.id().value());
    EXPECT_EQ(code_of(client_.submit({.type = "echo", .payload = "b", .key = "invoice 7"}).id()), Code::conflict);
    EXPECT_NE(client_.submit({.type = "echo", .payload = "b", .queue = "other", .key = "invoice 7"}).id().value(),
              first.id().value());
    EXPECT_EQ(executions(log_).size(), 1U);
}

TEST_F(Lifecycle, CallersWhoWaitForEachOfTheirJobsShareAClient) {
    // Each of their threads takes turns at the client's one socket, as the slots do at the workers'.
    auto single = worker("single", {{"slots", "1"}});
    auto several = worker("several", {{"slots", "3"}});
    constexpr int kEach = 200;
    std::atomic<int> completed{0};
    const auto caller = [&](int number) {
        for (int i = 0; i < kEach; ++i) {
            const std::string payload = std::to_string(number) + "/" + std::to_string(i);
            const Result<JobResult> result = client_.run({.type = "echo", .payload = payload}, kPatience);
            if (result && result->completed() && result->bytes == payload) ++completed;
        }
    };
    caller(0);  // alone
    std::vector<std::jthread> callers;
    for (int number = 1; number < 4; ++number) callers.emplace_back(caller, number);
    callers.clear();
    EXPECT_EQ(completed, 4 * kEach);
}

TEST_F(Lifecycle, NoWorkWaitsOnAWorkerWhileAnotherIsIdle) {
    auto one = worker("one", {{"slots", "2"}});
    auto two = worker("two", {{"slots", "2"}});
    ASSERT_TRUE(workers_arrived(client_, 2));
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(client_.submit({.type = "gated"}).id());
    ASSERT_TRUE(begun(4)) << "all four slots run";
    const std::vector<Execution> runs = executions(log_);
    EXPECT_EQ(std::count_if(runs.begin(), runs.end(), [](const Execution& e) { return e.worker == "one"; }), 2);
    const Submission waits = client_.submit({.type = "gated"});
    EXPECT_EQ(client_.show(waits.id().value()).value().reason, "no_free_slot");
    const Submission nobody = client_.submit({.type = "unheard of"});
    EXPECT_EQ(client_.show(nobody.id().value()).value().reason, "no_worker");
    open_gate(gate_);
}

}  // namespace
}  // namespace jobyard::test
