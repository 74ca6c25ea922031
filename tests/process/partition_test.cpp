// Workers that fall silent and come back, and answers that get lost on the way.

#include <gtest/gtest.h>
#include <signal.h>

#include <future>
#include <map>
#include <set>
#include <thread>

#include "harness.hpp"
#include "proxy.hpp"
#include "raw_peer.hpp"

namespace jobyard::test {
namespace {

using namespace std::chrono_literals;

const std::vector<std::string> kQuickToLose{"--heartbeat", "200", "--lost-after", "1500",
                                            "--renew",     "300", "--lease",      "2500"};

TEST(SilentWorker, AStoppedOneLosesItsJobAndItsLateResultChangesNothing) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    BrokerProcess broker(kQuickToLose);
    auto first = start_test_worker(broker.endpoint(), {{"name", "first"}, {"log", log}, {"gate", files / "gate1"}});
    Client client(client_options(broker.endpoint()));
    const Submission job = client.submit({.type = "deaf", .watch = true});
    const JobId id = job.id().value();
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 1; }));
    first->signal(SIGSTOP);
    open_gate(files / "gate2");
    auto second = start_test_worker(broker.endpoint(), {{"name", "second"}, {"log", log}, {"gate", files / "gate2"}});
    const Result<JobResult> result = job.result(kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->state, JobState::completed);
    EXPECT_EQ(result->bytes, "second");
    const std::uint64_t attempts = client.show(id).value().attempts.size();

    open_gate(files / "gate1");
    first->signal(SIGCONT);
    // It has been refused: either its result, or its claim to the job when it came back without one.
    EXPECT_TRUE(eventually([&] {
        return counter(client, "stale_leases") > 0 ||
               first->errors().find("belongs to somebody else") != std::string::npos;
    })) << first->errors();
    EXPECT_TRUE(workers_arrived(client, 2)) << "the late worker is welcome again";
    const JobInfo info = client.show(id).value();
    EXPECT_EQ(info.state, JobState::completed);
    EXPECT_EQ(info.worker, "second");
    EXPECT_EQ(info.attempts.size(), attempts);
    EXPECT_EQ(info.attempts[0].outcome, "worker_lost");
    EXPECT_EQ(counter(client, "jobs.completed_total"), 1U);
}

TEST(SilentWorker, BehindABrokenNetworkFinishesTooLateAndIsAnsweredStaleLease) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    BrokerProcess broker(kQuickToLose, BrokerProcess::Listen::tcp);
    Proxy network(broker.port());
    auto first = start_test_worker(network.endpoint(), {{"name", "first"}, {"log", log}, {"gate", files / "gate1"}});
    Client client(client_options(broker.endpoint()));
    const Submission job = client.submit({.type = "deaf", .watch = true});
    const JobId id = job.id().value();
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 1; }));
    network.set(Proxy::Mode::freeze);
    open_gate(files / "gate1");  // it finishes, and cannot say so
    ASSERT_TRUE(eventually([&] { return counter(client, "workers_lost") == 1; }));
    open_gate(files / "gate2");
    auto second = start_test_worker(broker.endpoint(), {{"name", "second"}, {"log", log}, {"gate", files / "gate2"}});
    const Result<JobResult> result = job.result(kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->bytes, "second");

    network.cut();
    network.set(Proxy::Mode::forward);
    EXPECT_TRUE(eventually([&] { return counter(client, "stale_leases") > 0; })) << first->errors();
    EXPECT_TRUE(workers_arrived(client, 2));
    EXPECT_EQ(client.show(id).value().worker, "second");
    EXPECT_EQ(counter(client, "jobs.completed_total"), 1U);
}

TEST(SilentWorker, AZombieThatReportsUnderItsOldLeaseIsRefusedAndTheSameEndTwiceIsAnsweredTwice) {
    BrokerProcess broker(kQuickToLose);
    Client client(client_options(broker.endpoint()));
    const JobId id = client.submit({.type = "raw", .watch = true}).id().value();
    RawPeer zombie(broker.endpoint());
    const Hello hello = worker_hello("zombie", {"raw"});
    zombie.hello(hello);
    const auto first = zombie.receive_a<Dispatch>();
    ASSERT_TRUE(first);
    const LeaseToken old_token = std::get<Dispatch>(first->envelope.message).items.at(0).token;
    ASSERT_TRUE(eventually([&] { return counter(client, "workers_lost") == 1; })) << "it says nothing";

    RawPeer heir(broker.endpoint());
    heir.hello(worker_hello("heir", {"raw"}));
    const auto second = heir.receive_a<Dispatch>();
    ASSERT_TRUE(second);
    const LeaseToken token = std::get<Dispatch>(second->envelope.message).items.at(0).token;
    EXPECT_GT(token, old_token);

    // Without a session it is told to say HELLO; with one, and a claim, that its lease is gone.
    EXPECT_EQ(refusal_in(zombie.call(Complete{{{4, id, old_token, 1}}}, "late")).code, Code::no_session);
    Hello again = hello;
    again.resumed = true;
    again.claims = {{id, old_token, false}};
    EXPECT_EQ(zombie.hello(again).claims, std::vector<Code>{Code::stale_lease});
    EXPECT_EQ(answer_in(zombie.call(Complete{{{4, id, old_token, 1}}}, "late")).code, Code::stale_lease);
    EXPECT_GE(counter(client, "stale_leases"), 1U);

    EXPECT_EQ(answer_in(heir.call(Complete{{{4, id, token, 1}}}, "good")).code, Code::ok);
    EXPECT_EQ(answer_in(heir.call(Complete{{{4, id, token, 1}}}, "good")).code, Code::ok);
    EXPECT_EQ(answer_in(zombie.call(Complete{{{4, id, old_token, 1}}}, "late")).code, Code::stale_lease);
    const Result<JobResult> result = client.wait(id);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->bytes, "good");
    EXPECT_EQ(counter(client, "jobs.completed_total"), 1U);
}

TEST(SilentWorker, AStoppedBrokerLosesNobody) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    BrokerProcess broker(kQuickToLose);
    auto worker = start_test_worker(broker.endpoint(), {{"log", log}, {"gate", files / "gate"}});
    Client client(client_options(broker.endpoint()));
    const Submission job = client.submit({.type = "gated", .watch = true});
    ASSERT_TRUE(job.id());
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 1; }));
    broker.process().signal(SIGSTOP);
    // Longer than any lease and any patience of the broker's with silent peers.
    std::this_thread::sleep_for(4s);
    broker.process().signal(SIGCONT);
    ASSERT_TRUE(workers_arrived(client, 1));
    open_gate(files / "gate");
    const Result<JobResult> result = job.result(kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->attempt, 1U);
    EXPECT_EQ(executions(log).size(), 1U);
    EXPECT_EQ(counter(client, "workers_lost"), 0U);
}

// --- answers that get lost -------------------------------------------------------------------------------------------

std::set<std::uint64_t> numbers_of(const std::vector<JobInfo>& jobs) {
    std::set<std::uint64_t> numbers;
    for (const JobInfo& job : jobs) numbers.insert(job.id.value);
    return numbers;
}

class LostAnswers : public testing::Test {
 protected:
    static constexpr std::size_t kJobs = 300;
    BrokerProcess broker_{{}, BrokerProcess::Listen::tcp};
    Proxy network_{broker_.port()};
    Client watcher_{client_options(broker_.endpoint())};
    Client client_{client_options(network_.endpoint())};

    /// Submits while the broker hears the client and the client not the broker.
    std::vector<Submission> submit_unheard() {
        EXPECT_TRUE(client_.connect());
        network_.set(Proxy::Mode::lose_answers);
        std::vector<Submission> jobs;
        for (std::size_t i = 0; i < kJobs; ++i)
            jobs.push_back(client_.submit({.type = "nobody", .payload = std::to_string(i)}));
        EXPECT_TRUE(eventually([&] { return counter(watcher_, "jobs.submitted_total") == kJobs; }));
        EXPECT_FALSE(jobs.back().has_id());
        return jobs;
    }
    void heal() {
        network_.cut();
        network_.set(Proxy::Mode::forward);
    }
    void expect_each_made_once(const std::vector<Submission>& jobs) {
        std::set<std::uint64_t> ids;
        for (const Submission& job : jobs) {
            const Result<JobId> id = job.id(kPatience);
            ASSERT_TRUE(id) << id.error().text;
            EXPECT_FALSE(job.was_existing());
            EXPECT_TRUE(ids.insert(id->value).second);
        }
        EXPECT_EQ(numbers_of(all_jobs(watcher_)), ids);
        EXPECT_EQ(counter(watcher_, "jobs.submitted_total"), kJobs);
    }
    /// How often each array has each index.
    std::map<std::pair<JobId, std::uint64_t>, int> indices_made() {
        std::map<std::pair<JobId, std::uint64_t>, int> made;
        for (const JobInfo& job : all_jobs(watcher_)) ++made[{job.array, job.array_index.value()}];
        return made;
    }
};

TEST_F(LostAnswers, AreGivenAgainAfterAReconnectWithTheSameNumbers) {
    const std::vector<Submission> jobs = submit_unheard();
    heal();
    expect_each_made_once(jobs);
}

TEST_F(LostAnswers, AreGivenAgainByABrokerThatWasKilledBetweenSubmitAndAnswer) {
    const std::vector<Submission> jobs = submit_unheard();
    const std::set<std::uint64_t> made = numbers_of(all_jobs(watcher_));
    network_.set(Proxy::Mode::refuse);
    broker_.kill();
    broker_.start();
    heal();
    expect_each_made_once(jobs);
    EXPECT_EQ(numbers_of(all_jobs(watcher_)), made);
}

TEST_F(LostAnswers, OfASubmitThatWasCutInTheMiddleCostNothing) {
    ASSERT_TRUE(client_.connect());
    std::vector<Submission> jobs;
    for (std::size_t i = 0; i < kJobs; ++i) {
        jobs.push_back(client_.submit({.type = "nobody", .payload = std::string(2000, 'x')}));
        if (i % 60 == 30) network_.cut();
    }
    expect_each_made_once(jobs);
}

TEST_F(LostAnswers, OfAnArrayMakeItOnceAndEachOfItsIndices) {
    ASSERT_TRUE(client_.connect());
    network_.set(Proxy::Mode::lose_answers);
    const Submission submitted = client_.submit({.type = "nobody", .array = {.count = kJobs}});
    ASSERT_TRUE(eventually([&] { return counter(watcher_, "jobs.submitted_total") == kJobs; }));
    EXPECT_FALSE(submitted.has_id());
    heal();
    const JobId array = submitted.id(kPatience).value();
    EXPECT_FALSE(submitted.was_existing());

    // And of one that the broker knows from its store, or not at all.
    network_.set(Proxy::Mode::lose_answers);
    const Submission second = client_.submit({.type = "nobody", .array = {.count = kJobs, .first = 7}});
    ASSERT_TRUE(eventually([&] { return watcher_.arrays(kPatience).value().size() == 2; }));
    network_.set(Proxy::Mode::refuse);
    broker_.kill();
    broker_.start();
    heal();
    const JobId other = second.id(kPatience).value();

    const std::vector<ArrayInfo> arrays = watcher_.arrays(kPatience).value();
    ASSERT_EQ(arrays.size(), 2U);
    EXPECT_EQ(arrays[0].array, other);
    EXPECT_EQ(arrays[1].array, array);
    ASSERT_TRUE(eventually([&] { return counter(watcher_, "jobs.submitted_total") == 2 * kJobs; }));
    const auto made = indices_made();
    EXPECT_EQ(made.size(), 2 * kJobs);
    for (const auto& [index, times] : made) EXPECT_EQ(times, 1) << "index " << index.second;
    EXPECT_EQ(made.begin()->first, std::pair(array, std::uint64_t{0}));
    EXPECT_EQ(made.rbegin()->first, std::pair(other, std::uint64_t{kJobs + 6}));
}

TEST_F(LostAnswers, OfArraysThatWereCutInTheMiddleCostNothing) {
    constexpr std::size_t kArrays = 40;
    ASSERT_TRUE(client_.connect());
    std::vector<Submission> submitted;
    for (std::size_t i = 0; i < kArrays; ++i) {
        submitted.push_back(
            client_.submit({.type = "nobody", .payload = std::string(2000, 'x'), .array = {.count = 10}}));
        if (i % 8 == 4) network_.cut();
    }
    std::set<std::uint64_t> ids;
    for (const Submission& array : submitted) ids.insert(array.id(kPatience).value().value);
    EXPECT_EQ(ids.size(), kArrays);
    EXPECT_EQ(watcher_.arrays(kPatience).value().size(), kArrays);
    ASSERT_TRUE(eventually([&] { return counter(watcher_, "jobs.submitted_total") >= kArrays * 10; }));
    const auto made = indices_made();
    EXPECT_EQ(made.size(), kArrays * 10);
    for (const auto& [index, times] : made) EXPECT_EQ(times, 1) << "index " << index.second;
    EXPECT_EQ(counter(watcher_, "jobs.submitted_total"), kArrays * 10);
}

TEST_F(LostAnswers, OfATaskBeginItOnce) {
    const JobId before = watcher_.submit({.type = "nobody"}).id(kPatience).value();
    ASSERT_TRUE(client_.connect());
    network_.set(Proxy::Mode::lose_answers);
    auto started = std::async(std::launch::async, [&] { return client_.start_task({}, kPatience); });
    ASSERT_TRUE(eventually([&] { return state_of(watcher_, before) == JobState::cancelled; }));
    const JobId after = watcher_.submit({.type = "nobody"}).id(kPatience).value();
    heal();
    const Result<std::uint64_t> task = started.get();
    ASSERT_TRUE(task) << task.error().text;
    const std::vector<TaskInfo> tasks = watcher_.tasks(kPatience).value();
    ASSERT_EQ(tasks.size(), 1U);
    EXPECT_EQ(tasks[0].task, *task);
    EXPECT_EQ(state_of(watcher_, after), JobState::queued) << "it came when the task had begun";
}

TEST_F(LostAnswers, OfAWorkerAreGivenAgainAndItsResultsCountOnce) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    auto worker = start_test_worker(network_.endpoint(), {{"log", log}, {"slots", "4"}, {"gate", files / "gate"}});
    std::vector<Submission> jobs;
    for (int i = 0; i < 4; ++i) jobs.push_back(watcher_.submit({.type = "gated", .watch = true}));
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 4; }));
    network_.set(Proxy::Mode::lose_answers);
    open_gate(files / "gate");
    ASSERT_TRUE(eventually([&] { return counter(watcher_, "jobs.completed_total") == 4; }));
    heal();
    // It sends its ends again, and goes on working.
    const Result<JobResult> more = watcher_.run({.type = "echo", .payload = "after"}, kPatience);
    ASSERT_TRUE(more) << more.error().text;
    for (const Submission& job : jobs) EXPECT_EQ(job.result(kPatience).value().attempt, 1U);
    EXPECT_EQ(executions(log).size(), 5U);
    EXPECT_EQ(counter(watcher_, "jobs.completed_total"), 5U);
    EXPECT_EQ(counter(watcher_, "stale_leases"), 0U) << "a repeated end is answered as the first time";
}

TEST(SubmitWindow, ARepeatedNumberNamesTheSameJobInAnyLaterSessionAndRun) {
    BrokerProcess broker;
    const Uuid instance = new_instance();
    const Submit submit{0, 1, {{.payload_length = 1, .type = "nobody"}, {.payload_length = 1, .type = "nobody"}}};
    std::vector<JobId> ids;
    for (int session = 0; session < 4; ++session) {
        RawPeer peer(broker.endpoint());
        Hello hello = submitter_hello(instance);
        hello.resumed = session > 0;
        const Welcome welcome = peer.hello(hello);
        EXPECT_EQ(welcome.instance, session == 0 ? InstanceState::fresh : InstanceState::resumed);
        for (int repeat = 0; repeat < 2; ++repeat) {
            const auto received = peer.call(submit, "ab");
            const auto& answers = std::get<Answers>(received.envelope.message);
            ASSERT_EQ(answers.items.size(), 2U);
            for (std::size_t i = 0; i < 2; ++i) {
                EXPECT_EQ(answers.items[i].code, Code::ok);
                if (ids.size() < 2) ids.push_back(answers.items[i].job);
                EXPECT_EQ(answers.items[i].job, ids[i]);
            }
        }
        if (session == 1) {
            broker.kill();
            broker.start();
        }
    }
    EXPECT_NE(ids[0], ids[1]);
    Client client(client_options(broker.endpoint()));
    EXPECT_EQ(counter(client, "jobs.submitted_total"), 2U);
}

}  // namespace
}  // namespace jobyard::test
