// What a broker forgets, and what it says about it.

#include <gtest/gtest.h>

#include "harness.hpp"

namespace jobyard::test {
namespace {

std::vector<JobId> ended_jobs(Client& client, int count, std::size_t payload_bytes = 10) {
    std::vector<JobId> ids;
    for (int i = 0; i < count; ++i) {
        const Result<JobResult> result =
            client.run({.type = "echo", .payload = std::string(payload_bytes, 'x')}, kPatience);
        EXPECT_TRUE(result);
        if (result) ids.push_back(result->job);
    }
    return ids;
}

void expect_oldest_retired(BrokerProcess& broker, Client& client, const std::vector<JobId>& ids, std::size_t at_most) {
    EXPECT_TRUE(eventually([&] { return counter(client, "jobs.completed_kept") <= at_most; }));
    for (int run = 0; run < 2; ++run) {
        EXPECT_EQ(code_of(client.show(ids.front())), Code::retired) << "not `unknown_job`: it was there";
        EXPECT_EQ(code_of(client.wait(ids.front())), Code::retired);
        EXPECT_EQ(code_of(client.cancel(ids.front())), Code::retired);
        EXPECT_EQ(code_of(client.redrive(ids.front())), Code::retired);
        EXPECT_EQ(code_of(client.show({ids.back().value + 1000})), Code::unknown_job);
        EXPECT_EQ(counter(client, "jobs.completed_total"), ids.size());
        broker.kill();
        broker.start();
    }
}

TEST(Retention, KeepsAsManyEndedJobsAsItMayAndRetiresTheOldest) {
    BrokerProcess broker({"--limit", "kept_jobs=5"});
    auto worker = start_test_worker(broker.endpoint(), {});
    Client client(client_options(broker.endpoint()));
    const std::vector<JobId> ids = ended_jobs(client, 20);
    ASSERT_EQ(ids.size(), 20U);
    expect_oldest_retired(broker, client, ids, 5);
    EXPECT_EQ(state_of(client, ids.back()), JobState::completed);
}

TEST(Retention, KeepsAsManyBytesOfEndedJobsAsItMay) {
    BrokerProcess broker({"--limit", "kept_bytes=100K"});
    auto worker = start_test_worker(broker.endpoint(), {});
    Client client(client_options(broker.endpoint()));
    const std::vector<JobId> ids = ended_jobs(client, 20, 20'000);
    ASSERT_EQ(ids.size(), 20U);
    expect_oldest_retired(broker, client, ids, 10);
}

TEST(Retention, KeepsEndedJobsAsLongAsItMay) {
    BrokerProcess broker({"--limit", "kept_ms=300"});
    auto worker = start_test_worker(broker.endpoint(), {});
    Client client(client_options(broker.endpoint()));
    const std::vector<JobId> ids = ended_jobs(client, 3);
    ASSERT_EQ(ids.size(), 3U);
    expect_oldest_retired(broker, client, ids, 0);
}

TEST(Retention, KeepsAsManyDeadJobsAsItMayAndLongerThanOthers) {
    BrokerProcess broker({"--limit", "dead_jobs=3", "--limit", "kept_jobs=1"});
    auto worker = start_test_worker(broker.endpoint(), {});
    Client client(client_options(broker.endpoint()));
    std::vector<JobId> dead;
    for (int i = 0; i < 8; ++i) dead.push_back(client.run({.type = "refuse"}, kPatience).value().job);
    EXPECT_TRUE(eventually([&] { return counter(client, "jobs.dead") <= 3; }));
    EXPECT_EQ(code_of(client.show(dead.front())), Code::retired);
    EXPECT_EQ(code_of(client.redrive(dead.front())), Code::retired);
    EXPECT_EQ(state_of(client, dead.back()), JobState::dead);
    ended_jobs(client, 5);
    EXPECT_TRUE(eventually([&] { return counter(client, "jobs.completed_kept") <= 1; }));
    EXPECT_EQ(state_of(client, dead.back()), JobState::dead);
}

TEST(Retention, KeepsDeadJobsAsLongAsItMay) {
    BrokerProcess broker({"--limit", "dead_ms=300"});
    auto worker = start_test_worker(broker.endpoint(), {});
    Client client(client_options(broker.endpoint()));
    const JobId dead = client.run({.type = "refuse"}, kPatience).value().job;
    EXPECT_TRUE(eventually([&] { return counter(client, "jobs.dead") == 0; }));
    EXPECT_EQ(code_of(client.show(dead)), Code::retired);
}

TEST(Retention, NeverRetiresAJobThatHasNotEnded) {
    BrokerProcess broker({"--limit", "kept_jobs=1", "--limit", "kept_ms=1", "--limit", "kept_bytes=1"});
    auto worker = start_test_worker(broker.endpoint(), {});
    Client client(client_options(broker.endpoint()));
    const JobId waiting = client.submit({.type = "nobody"}).id().value();
    ended_jobs(client, 10);
    EXPECT_TRUE(eventually([&] { return counter(client, "jobs.completed_kept") <= 1; }));
    EXPECT_EQ(state_of(client, waiting), JobState::queued);
}

TEST(Retention, AKeyOutlivesTheRecordOfItsJob) {
    BrokerProcess broker({"--limit", "kept_jobs=1"});
    auto worker = start_test_worker(broker.endpoint(), {});
    Client client(client_options(broker.endpoint()));
    const JobId id = client.run({.type = "echo", .payload = "a", .key = "mine"}, kPatience).value().job;
    ended_jobs(client, 5);
    EXPECT_TRUE(eventually([&] { return code_of(client.show(id)) == Code::retired; }));
    const Submission again = client.submit({.type = "echo", .payload = "a", .key = "mine"});
    EXPECT_EQ(again.id().value(), id);
    EXPECT_TRUE(again.was_existing());
}

TEST(Events, AreRecordedForWhatHappens) {
    BrokerProcess broker;
    Client client(client_options(broker.endpoint()));
    const std::uint64_t before = counter(client, "next_event");
    const JobId id = client.submit({.type = "nobody"}).id().value();
    ASSERT_TRUE(client.cancel(id));
    EXPECT_TRUE(eventually([&] { return counter(client, "next_event") >= before + 2; }));
    const std::uint64_t recorded = counter(client, "next_event");
    broker.kill();
    broker.start();
    EXPECT_GE(counter(client, "next_event"), recorded) << "their numbers only grow";
}

}  // namespace
}  // namespace jobyard::test
