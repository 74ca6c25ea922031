// kill -9, of workers and of the broker, while there is load. Executions are counted from the file that the handlers
// append to, never from what the broker believes.

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using namespace std::chrono_literals;

std::string names_of(const std::vector<Execution>& executions) {
    std::string text;
    for (const Execution& e : executions)
        text +=
            " [attempt " + std::to_string(e.attempt) + " token " + std::to_string(e.token) + " on " + e.worker + "]";
    return text;
}

TEST(WorkerKill, EveryAcknowledgedJobEndsAndOnlyWhatTheDeadWorkerHeldRunsTwice) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    BrokerProcess broker({"--reconnect-grace", "300"});
    std::map<std::string, std::unique_ptr<Process>> workers;
    for (const std::string name : {"victim", "second", "third"})
        workers[name] = start_test_worker(broker.endpoint(), {{"name", name}, {"slots", "2"}, {"log", log}});
    Client client(client_options(broker.endpoint()));
    ASSERT_TRUE(workers_arrived(client, 3));

    constexpr std::size_t kJobs = 600;
    std::vector<Submission> jobs;
    for (std::size_t i = 0; i < kJobs; ++i)
        jobs.push_back(client.submit({.type = "work", .payload = "5", .watch = true}));
    ASSERT_TRUE(eventually([&] { return executions(log).size() >= kJobs / 4; }));
    workers["victim"]->kill();

    std::set<std::uint64_t> ids;
    for (const Submission& job : jobs) {
        const Result<JobResult> result = job.result(kPatience);
        ASSERT_TRUE(result) << result.error().text;
        EXPECT_EQ(result->state, JobState::completed);
        EXPECT_TRUE(ids.insert(result->job.value).second) << "number " << result->job.value << " was given twice";
    }
    std::size_t run_twice = 0;
    for (const auto& [job, count] : execution_counts(log)) {
        EXPECT_TRUE(ids.contains(job));
        const std::vector<Execution> runs = executions_of(log, JobId{job});
        if (count == 1) continue;
        ++run_twice;
        EXPECT_EQ(runs[0].worker, "victim") << "job " << job << names_of(runs);
        EXPECT_EQ(runs.size(), 2U) << "job " << job << names_of(runs);
        EXPECT_LT(runs[0].token, runs[1].token) << "job " << job << names_of(runs);
    }
    EXPECT_EQ(execution_counts(log).size(), kJobs);
    EXPECT_LE(run_twice, 2U) << "the dead worker held two jobs at most";
    EXPECT_EQ(counter(client, "jobs.completed_total"), kJobs);
    EXPECT_EQ(counter(client, "workers_lost"), 1U);
}

TEST(WorkerKill, LeasesAreTakenUpOnlyAfterTheReconnectGraceAndChargedToTheCrashBudget) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    const std::string gate = files / "gate";
    BrokerProcess broker({"--reconnect-grace", "700"});
    auto first = start_test_worker(broker.endpoint(), {{"name", "first"}, {"log", log}, {"gate", gate}});
    Client client(client_options(broker.endpoint()));
    const Submission job = client.submit({.type = "gated", .max_attempts = 1, .watch = true});
    const JobId id = job.id().value();
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 1; }));
    auto second = start_test_worker(broker.endpoint(), {{"name", "second"}, {"log", log}, {"gate", gate}});
    ASSERT_TRUE(workers_arrived(client, 2));
    const auto killed = std::chrono::system_clock::now();
    first->kill();
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 2; }));
    open_gate(gate);
    const Result<JobResult> result = job.result(kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->state, JobState::completed) << "a lost worker is not the job's own error";
    EXPECT_EQ(result->attempt, 2U);

    const Result<JobInfo> info = client.show(id);
    ASSERT_TRUE(info) << info.error().text;
    ASSERT_EQ(info->attempts.size(), 2U);
    EXPECT_EQ(info->attempts[0].worker, "first");
    EXPECT_EQ(info->attempts[0].outcome, "worker_lost");
    EXPECT_EQ(info->attempts[1].worker, "second");
    EXPECT_EQ(info->attempts[1].outcome, "completed");
    ASSERT_TRUE(info->attempts[0].ended_at.has_value());
    EXPECT_GE(*info->attempts[0].ended_at - killed, 690ms) << "it was taken up before the grace had passed";
}

/// Submits in a loop until told to stop, and keeps every handle.
class Load {
 public:
    Load(Client& client, const std::string& payload) : client_(client), payload_(payload), thread_([this] { run(); }) {}
    ~Load() { stop(); }
    void stop() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
    }
    [[nodiscard]] std::size_t acknowledged() const { return acknowledged_; }
    /// After stop().
    [[nodiscard]] const std::vector<Submission>& jobs() const { return jobs_; }

 private:
    void run() {
        while (!stop_) {
            std::vector<Submission> some;
            for (int i = 0; i < 10; ++i)
                some.push_back(client_.submit({.type = "work", .payload = payload_, .watch = true}));
            for (const Submission& job : some) {
                const Result<JobId> id = job.id(2 * kPatience);
                if (id) ++acknowledged_;
                else ADD_FAILURE() << "a submit failed: " << id.error().text;
                jobs_.push_back(job);
            }
        }
    }
    Client& client_;
    const std::string payload_;
    std::atomic<bool> stop_{false};
    std::atomic<std::size_t> acknowledged_{0};
    std::vector<Submission> jobs_;
    std::thread thread_;
};

class BrokerKill : public testing::TestWithParam<BrokerProcess::Listen> {};

TEST_P(BrokerKill, UnderLoadLosesNoAcknowledgedJobAndRunsNothingTwiceThatStayedAlive) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    // The window closes as soon as all workers are back; this long it stays open only for a slow machine.
    BrokerProcess broker({"--claim-window", "60000", "--reconnect-grace", "60000"}, GetParam());
    std::vector<std::unique_ptr<Process>> workers;
    for (const std::string name : {"first", "second"})
        workers.push_back(
            start_test_worker(broker.endpoint(), {{"name", name}, {"slots", "3"}, {"credit", "6"}, {"log", log}}));
    Client client(client_options(broker.endpoint()));
    ASSERT_TRUE(workers_arrived(client, 2));

    Load load(client, "3");
    std::mt19937 random(7);
    constexpr int kKills = 5;
    for (int round = 0; round < kKills; ++round) {
        const std::size_t enough = load.acknowledged() + 40 + random() % 40;
        ASSERT_TRUE(eventually([&] { return load.acknowledged() >= enough; })) << "round " << round;
        broker.kill();
        broker.start();
    }
    const std::size_t enough = load.acknowledged() + 50;
    ASSERT_TRUE(eventually([&] { return load.acknowledged() >= enough; }));
    load.stop();

    std::set<std::uint64_t> ids;
    for (const Submission& job : load.jobs()) {
        const Result<JobId> id = job.id();
        ASSERT_TRUE(id) << id.error().text;
        EXPECT_TRUE(ids.insert(id->value).second) << "number " << id->value << " was given to two jobs";
        const Result<JobResult> result = job.result(kPatience);
        ASSERT_TRUE(result) << "job " << id->value << ": " << result.error().text;
        EXPECT_EQ(result->state, JobState::completed) << "job " << id->value;
        EXPECT_EQ(result->attempt, 1U) << "job " << id->value;
    }
    const std::vector<JobInfo> kept = all_jobs(client);
    EXPECT_EQ(kept.size(), ids.size()) << "the broker holds a job that nobody was told of, or has lost one";
    for (const JobInfo& job : kept) {
        EXPECT_TRUE(ids.contains(job.id.value)) << "job " << job.id.value << " was acknowledged to nobody";
        EXPECT_EQ(job.state, JobState::completed) << "job " << job.id.value;
    }
    EXPECT_EQ(counter(client, "jobs.submitted_total"), ids.size());
    EXPECT_EQ(counter(client, "jobs.completed_total"), ids.size());
    EXPECT_EQ(counter(client, "epoch"), kKills + 1U);

    std::size_t run_twice = 0;
    for (const auto& [job, count] : execution_counts(log)) {
        if (count == 1) continue;
        ++run_twice;
        ADD_FAILURE() << "job " << job << " ran " << count << " times:" << names_of(executions_of(log, JobId{job}));
    }
    EXPECT_EQ(execution_counts(log).size(), ids.size());
    std::cout << ids.size() << " jobs, " << kKills << " kills of the broker, lost 0, run twice " << run_twice << "\n";
}

INSTANTIATE_TEST_SUITE_P(Over, BrokerKill, testing::Values(BrokerProcess::Listen::ipc, BrokerProcess::Listen::tcp),
                         [](const auto& kind) { return kind.param == BrokerProcess::Listen::ipc ? "Ipc" : "Tcp"; });

TEST(BrokerKillAndWorkerKill, TogetherUnderLoadLoseNothing) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    BrokerProcess broker({"--claim-window", "500", "--reconnect-grace", "300"});
    std::map<std::string, std::unique_ptr<Process>> workers;
    for (const std::string name : {"victim", "second"})
        workers[name] = start_test_worker(broker.endpoint(), {{"name", name}, {"slots", "2"}, {"log", log}});
    Client client(client_options(broker.endpoint()));
    ASSERT_TRUE(workers_arrived(client, 2));
    Load load(client, "3");
    for (int round = 0; round < 3; ++round) {
        const std::size_t enough = load.acknowledged() + 50;
        ASSERT_TRUE(eventually([&] { return load.acknowledged() >= enough; }));
        workers["victim"]->kill();
        broker.kill();
        broker.start();
        workers["victim"] = start_test_worker(broker.endpoint(), {{"name", "victim"}, {"slots", "2"}, {"log", log}});
    }
    load.stop();
    std::set<std::uint64_t> ids;
    for (const Submission& job : load.jobs()) {
        const Result<JobResult> result = job.result(kPatience);
        ASSERT_TRUE(result) << result.error().text;
        EXPECT_EQ(result->state, JobState::completed);
        ids.insert(result->job.value);
    }
    EXPECT_EQ(ids.size(), load.jobs().size());
    EXPECT_EQ(all_jobs(client).size(), ids.size());
    EXPECT_EQ(counter(client, "jobs.completed_total"), ids.size());
    EXPECT_EQ(execution_counts(log).size(), ids.size());
}

TEST(BrokerRestart, AJobThatStillRunsGoesOnUnderItsLease) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    const std::string gate = files / "gate";
    BrokerProcess broker({"--claim-window", "60000"});
    auto worker = start_test_worker(broker.endpoint(), {{"log", log}, {"gate", gate}});
    Client client(client_options(broker.endpoint()));
    const Submission job = client.submit({.type = "gated", .watch = true});
    const JobId id = job.id().value();
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 1; }));
    const LeaseToken token = client.show(id).value().token;
    for (int restart = 0; restart < 2; ++restart) {
        broker.kill();
        broker.start();
        ASSERT_TRUE(workers_arrived(client, 1));
        const JobInfo info = client.show(id).value();
        EXPECT_EQ(info.state, JobState::running);
        EXPECT_EQ(info.token, token);
    }
    open_gate(gate);
    const Result<JobResult> result = job.result(kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->state, JobState::completed);
    EXPECT_EQ(result->attempt, 1U);
    const std::vector<Execution> runs = executions(log);
    ASSERT_EQ(runs.size(), 1U);
    EXPECT_EQ(runs[0].token, token.value);
}

TEST(BrokerRestart, AResultThatWasMadeWhileTheBrokerWasAwayIsTaken) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    const std::string gate = files / "gate";
    BrokerProcess broker({"--claim-window", "60000"});
    auto worker = start_test_worker(broker.endpoint(), {{"log", log}, {"gate", gate}});
    Client client(client_options(broker.endpoint()));
    const Submission gated = client.submit({.type = "gated", .watch = true});
    ASSERT_TRUE(gated.id());
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 1; }));
    broker.kill();
    open_gate(gate);
    broker.start();
    const Result<JobResult> result = gated.result(kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->state, JobState::completed);
    EXPECT_EQ(result->attempt, 1U);
    EXPECT_EQ(executions(log).size(), 1U);
}

TEST(BrokerRestart, AJobWhoseWorkerDiedMeanwhileRunsAgainWhenTheWindowHasClosed) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    const std::string gate = files / "gate";
    BrokerProcess broker({"--claim-window", "1000"});
    auto first = start_test_worker(broker.endpoint(), {{"name", "first"}, {"log", log}, {"gate", gate}});
    Client client(client_options(broker.endpoint()));
    const Submission job = client.submit({.type = "gated", .watch = true});
    ASSERT_TRUE(job.id());
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 1; }));
    broker.kill();
    first->kill();
    const auto restarted = std::chrono::steady_clock::now();
    broker.start();
    auto second = start_test_worker(broker.endpoint(), {{"name", "second"}, {"log", log}, {"gate", gate}});
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 2; }));
    EXPECT_GE(std::chrono::steady_clock::now() - restarted, 1000ms)
        << "dispatched although a worker could still come back";
    open_gate(gate);
    const Result<JobResult> result = job.result(kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->state, JobState::completed);
    EXPECT_EQ(result->attempt, 1U) << "an attempt that was out when the broker died is charged to nobody";
    const std::vector<Execution> runs = executions(log);
    ASSERT_EQ(runs.size(), 2U);
    EXPECT_LT(runs[0].token, runs[1].token);
    EXPECT_EQ(runs[1].worker, "second");
}

TEST(BrokerRestart, ACancelThatWasAnsweredIsNeverForgotten) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    BrokerProcess broker({"--claim-window", "500"});
    auto worker = start_test_worker(broker.endpoint(), {{"name", "first"}, {"log", log}, {"gate", files / "gate"}});
    Client client(client_options(broker.endpoint()));
    const Submission job = client.submit({.type = "deaf", .watch = true});
    const JobId id = job.id().value();
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 1; }));
    const Result<CancelAnswer> answer = client.cancel(id);
    ASSERT_TRUE(answer) << answer.error().text;
    EXPECT_EQ(answer->code, Code::cancel_requested);
    broker.kill();
    worker->kill();
    broker.start();
    auto second = start_test_worker(broker.endpoint(), {{"name", "second"}, {"log", log}, {"gate", files / "gate"}});
    const Result<JobResult> result = job.result(kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->state, JobState::cancelled);
    EXPECT_EQ(executions(log).size(), 1U) << "it was dispatched after its cancel was answered";
}

}  // namespace
}  // namespace jobyard::test
