// What is set for a queue: paused or not, how many of its jobs may run, and how they are tried.

#include "core_fixture.hpp"

namespace jobyard::broker::test {
namespace {

struct CoreQueues : YardTest {
    Peer client = submitter();

    Code set(const SetQueue& what) { return ask(client, what).code; }
    nlohmann::json queue(const std::string& name) { return maps(client, ListQueues{{}, 1, name}).at(0); }
};

TEST_F(CoreQueues, NothingOfAPausedQueueIsHandedOutUntilItIsResumed) {
    const Peer w = worker({.slots = 4, .queues = {"mail", "other"}});
    EXPECT_EQ(set({.queue = "mail", .paused = true, .by = "me@here", .why = "the relay is down"}), Code::ok);
    const JobId waiting = submit(client, {.queue = "mail", .type = "t"});
    const JobId other = submit(client, {.queue = "other", .type = "t"});
    EXPECT_EQ(take(w).job, other);
    EXPECT_EQ(show(client, waiting)["reason"], "queue_paused");
    const auto shown = queue("mail");
    EXPECT_EQ(shown["paused"], true);
    EXPECT_EQ(shown["paused_by"], "me@here");
    EXPECT_EQ(shown["paused_why"], "the relay is down");
    EXPECT_EQ(shown["paused_at"], wall_ms);
    EXPECT_EQ(shown["queued"], 1);
    EXPECT_EQ(set({.queue = "mail", .paused = false}), Code::ok);
    EXPECT_EQ(take(w).job, waiting);
    EXPECT_TRUE(disk[Table::queues].empty()) << "nothing is set for it any more";
}

TEST_F(CoreQueues, APauseSurvivesARestart) {
    EXPECT_EQ(set({.queue = "mail", .paused = true, .by = "me", .why = "w"}), Code::ok);
    const JobId job = submit(client, {.queue = "mail", .type = "t"});
    crash_after_commit();
    const Peer w = worker({.queues = {"mail"}});
    EXPECT_TRUE(take_all(w).empty());
    client = submitter("again");
    EXPECT_EQ(queue("mail")["paused_why"], "w");
    EXPECT_EQ(set({.queue = "mail", .paused = false}), Code::ok);
    EXPECT_EQ(take(w).job, job);
}

TEST_F(CoreQueues, NoMoreJobsOfAQueueRunThanItsLimitWhicheverWorkersThereAre) {
    const Peer a = worker({.name = "a", .slots = 4, .queues = {"mail"}});
    const Peer b = worker({.name = "b", .slots = 4, .queues = {"mail"}});
    EXPECT_EQ(set({.queue = "mail", .max_running = 3}), Code::ok);
    std::vector<JobId> jobs;
    for (int i = 0; i < 6; ++i) jobs.push_back(submit(client, {.queue = "mail", .type = "t"}));
    auto held = take_all(a);
    const auto at_b = take_all(b);
    EXPECT_EQ(held.size() + at_b.size(), 3U);
    EXPECT_EQ(show(client, jobs[5])["reason"], "queue_limit");
    EXPECT_EQ(queue("mail")["running"], 3);
    complete(a, held.at(0));
    EXPECT_EQ(take_all(a).size() + take_all(b).size(), 1U) << "one for one";
    EXPECT_EQ(set({.queue = "mail", .max_running = 0}), Code::ok);
    EXPECT_EQ(take_all(a).size() + take_all(b).size(), 2U);
}

TEST_F(CoreQueues, ALimitThatIsLoweredStopsNothingThatRuns) {
    const Peer w = worker({.slots = 4, .queues = {"mail"}});
    for (int i = 0; i < 4; ++i) submit(client, {.queue = "mail", .type = "t"});
    const auto held = take_all(w);
    EXPECT_EQ(held.size(), 4U);
    EXPECT_EQ(set({.queue = "mail", .max_running = 1}), Code::ok);
    submit(client, {.queue = "mail", .type = "t"});
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(complete(w, held[static_cast<std::size_t>(i)]), Code::ok);
        EXPECT_TRUE(take_all(w).empty());
    }
    complete(w, held[3]);
    EXPECT_EQ(take_all(w).size(), 1U);
}

TEST_F(CoreQueues, ARetryPolicyIsTheJobsThenItsTypesThenItsQueues) {
    EXPECT_EQ(set({.queue = "mail", .retry = {.max_attempts = 7, .timeout_ms = 1000, .backoff = {.initial_ms = 5}}}),
              Code::ok);
    EXPECT_EQ(set({.queue = "mail", .type = "digest", .retry = {.timeout_ms = 2000}}), Code::ok);
    crash_after_commit();
    client = submitter("again");
    const auto tried = [&](const SubmitItem& item) {
        const auto job = show(client, submit(client, item));
        return std::pair(job["max_attempts"].get<int>(), job["timeout_ms"].get<int>());
    };
    EXPECT_EQ(tried({.queue = "mail", .type = "t"}), std::pair(7, 1000));
    EXPECT_EQ(tried({.queue = "mail", .type = "digest"}), std::pair(7, 2000));
    EXPECT_EQ(tried({.queue = "mail", .type = "digest", .timeout_ms = 0, .max_attempts = 2}), std::pair(2, 0));
    EXPECT_EQ(tried({.queue = "other", .type = "digest"}), std::pair(4, 300'000));
    EXPECT_EQ(set({.queue = "mail",
                   .retry = {.max_attempts = kUnset, .timeout_ms = kUnset, .backoff = {.initial_ms = kUnset}}}),
              Code::ok);
    EXPECT_EQ(tried({.queue = "mail", .type = "t"}), std::pair(4, 300'000));
    EXPECT_EQ(queue("mail")["types"][0]["timeout_ms"], 2000);
}

TEST_F(CoreQueues, TheBackoffOfAQueueIsThatOfItsJobs) {
    const Peer w = worker({.queues = {"mail"}});
    EXPECT_EQ(set({.queue = "mail", .retry = {.backoff = {.initial_ms = 5000, .jitter_percent = 0}}}), Code::ok);
    const JobId job = submit(client, {.queue = "mail", .type = "t"});
    fail(w, take(w));
    advance(4999);
    EXPECT_EQ(state(job), JobState::retrying);
    advance(1);
    take(w);
}

TEST_F(CoreQueues, ATypesPolicyInAllQueuesStandsBetweenThatInItsQueueAndItsQueues) {
    const auto attempts = [&](const SubmitItem& item) { return core->job(submit(client, item))->max_attempts; };
    EXPECT_EQ(set({.queue = "*", .type = "t", .retry = {.max_attempts = 7}}), Code::ok);
    EXPECT_EQ(attempts({.queue = "never heard of", .type = "t"}), 7);
    EXPECT_EQ(attempts({.queue = "mail", .type = "other"}), kDefaultMaxAttempts);
    EXPECT_EQ(set({.queue = "mail", .retry = {.max_attempts = 8, .timeout_ms = 88}}), Code::ok);
    EXPECT_EQ(attempts({.queue = "mail", .type = "t"}), 7) << "before its queue's";
    EXPECT_EQ(core->job(submit(client, {.queue = "mail", .type = "t"}))->timeout_ms, 88U) << "field by field";
    EXPECT_EQ(set({.queue = "mail", .type = "t", .retry = {.max_attempts = 9}}), Code::ok);
    EXPECT_EQ(attempts({.queue = "mail", .type = "t"}), 9) << "behind that in its queue";
    EXPECT_EQ(attempts({.queue = "mail", .type = "t", .max_attempts = 2}), 2);
    crash_after_commit();
    client = submitter("again");
    EXPECT_EQ(attempts({.queue = "other", .type = "t"}), 7);
    EXPECT_EQ(queue("*")["types"][0]["max_attempts"], 7);
    EXPECT_EQ(set({.queue = "*", .type = "t", .retry = {.max_attempts = kUnset}}), Code::ok);
    EXPECT_EQ(attempts({.queue = "other", .type = "t"}), kDefaultMaxAttempts);
}

TEST_F(CoreQueues, WhatMakesNoSenseIsRefusedAndChangesNothing) {
    const auto field = [&](const SetQueue& what) { return std::string(refused(client, what)->field); };
    const std::string long_text(256, 'x');
    EXPECT_EQ(field({.queue = ""}), "queue");
    EXPECT_EQ(field({.queue = "q", .type = "\n"}), "type");
    EXPECT_EQ(field({.queue = "q", .type = "t", .paused = true}), "type");
    EXPECT_EQ(field({.queue = "q", .type = "t", .max_running = 1}), "type");
    EXPECT_EQ(field({.queue = "*", .paused = true}), "type");
    EXPECT_EQ(field({.queue = "q", .paused = true, .why = long_text}), "why");
    EXPECT_EQ(field({.queue = "q", .paused = true, .by = long_text}), "by");
    EXPECT_EQ(field({.queue = "q", .retry = {.max_attempts = 0}}), "max_attempts");
    EXPECT_EQ(field({.queue = "q", .retry = {.timeout_ms = kMaxTimeoutMs + 1}}), "timeout_ms");
    EXPECT_EQ(field({.queue = "q", .retry = {.backoff = {.factor_percent = 99}}}), "backoff_factor_percent");
    EXPECT_EQ(refused(client, ListQueues{{}, 1, "q"})->code, Code::unknown_queue);
    EXPECT_TRUE(disk[Table::queues].empty());
}

TEST_F(CoreQueues, AreListedInPagesByName) {
    for (const std::string_view name : {"c", "a", "b"}) submit(client, {.queue = name, .type = "t"});
    send(client, ListQueues{{}, 2, {}});
    const Got<Maps> first = expect<Maps>(client);
    ASSERT_EQ(first.payloads.size(), 2U);
    EXPECT_EQ(nlohmann::json::from_msgpack(first.payloads[0])["name"], "a");
    EXPECT_EQ(first->next, "b");
    send(client, ListQueues{"b", 2, {}});
    const Got<Maps> second = expect<Maps>(client);
    ASSERT_EQ(second.payloads.size(), 1U);
    EXPECT_EQ(nlohmann::json::from_msgpack(second.payloads[0])["name"], "c");
    EXPECT_EQ(second->next, "");
}

}  // namespace
}  // namespace jobyard::broker::test
