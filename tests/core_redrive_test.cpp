// A dead job's new round (PROTOCOL.md, section 4).

#include "core_fixture.hpp"

namespace jobyard::broker::test {
namespace {

struct CoreRedrive : YardTest {
    Peer client = submitter();

    void fail_once(const Peer& worker, const Failure& how = {}) {
        EXPECT_EQ(fail(worker, take(worker), how), Code::ok);
    }
    JobId die(const Peer& w, const SubmitItem& item, std::string_view payload = {}, std::string_view result = {}) {
        const JobId job = submit(client, item, payload);
        while (state(job) != JobState::dead) fail_once(w, {.error = "broken", .result = result});
        return job;
    }
};

TEST_F(CoreRedrive, BeginsANewRoundWithTheSamePolicyPayloadAndNumber) {
    const Peer w = worker();
    const JobId job = die(
        w, {.type = "t", .priority = 7, .timeout_ms = 4321, .max_attempts = 2, .backoff = {.initial_ms = 0}}, "input");
    const Answer answer = redrive(client, job);
    EXPECT_EQ(answer.code, Code::ok);
    EXPECT_EQ(answer.state, JobState::queued);
    const Held held = take(w);
    EXPECT_EQ(held.job, job);
    EXPECT_EQ(held.payload, "input");
    EXPECT_EQ(held.attempt, 3U);
    EXPECT_EQ(held.item.priority, 7);
    EXPECT_EQ(held.item.timeout_ms, 4321U);
    EXPECT_EQ(core->job(job)->errors, 0);
    EXPECT_EQ(attempts(job).size(), 2U) << "what happened before is kept";
    EXPECT_EQ(fail(w, held), Code::ok);
    fail_once(w);
    EXPECT_EQ(ended(job).state, JobState::dead);
    EXPECT_EQ(ended(job).errors, 2U);
    EXPECT_EQ(ended(job).last.attempt, 4U);
}

/// Where a block of final records is damaged, the store gives it for each of the numbers among which it stands.
TEST_F(CoreRedrive, ADeadJobIsThereThoughAmongTheDoneOnesIsDamageAtItsNumber) {
    const JobId job = die(worker(), {.type = "t", .max_attempts = 1});
    Waiting asked = arrive(client, Show{{job}});
    bool planted = false;
    for (std::size_t i = 0; i < asked.needs.size(); ++i) {
        if (asked.needs[i].table != Table::done) continue;
        asked.snapshot.rows[i].push_back({job_key(job), "damaged"});
        planted = true;
    }
    ASSERT_TRUE(planted);
    decide(asked);
    const auto shown = expect<Jobs>(client);
    ASSERT_EQ(shown->items.size(), 1U);
    EXPECT_EQ(shown->items[0].code, Code::ok);
}

TEST_F(CoreRedrive, LargePayloadSurvivesDeath) {
    const Peer w = worker();
    const std::string input(10'000, 'i');
    const JobId job = die(w, {.type = "t", .max_attempts = 1}, input, std::string(10'000, 'r'));
    redrive(client, job);
    EXPECT_TRUE(disk[Table::results].empty());
    EXPECT_EQ(take(w).payload, input);
}

TEST_F(CoreRedrive, GoesBehindTheJobsOfItsPriority) {
    const Peer w = worker();
    const JobId job = die(w, {.type = "t", .max_attempts = 1});
    const Held busy = (submit(client), take(w));
    const JobId waiting = submit(client);
    redrive(client, job);
    const JobId later = submit(client);
    complete(w, busy);
    for (const JobId next : {waiting, job, later}) {
        const Held held = take(w);
        EXPECT_EQ(held.job, next);
        complete(w, held);
    }
}

TEST_F(CoreRedrive, NewRoundAndPlaceSurviveARestart) {
    Peer w = worker();
    const JobId job = die(w, {.type = "t", .max_attempts = 1}, "input");
    goodbye(w);
    const JobId waiting = submit(client);
    redrive(client, job);
    crash();
    w = worker();
    const Held first = take(w);
    EXPECT_EQ(first.job, waiting);
    complete(w, first);
    const Held second = take(w);
    EXPECT_EQ(second.job, job);
    EXPECT_EQ(second.attempt, 2U);
    EXPECT_EQ(second.payload, "input");
    EXPECT_EQ(complete(w, second), Code::ok);
}

TEST_F(CoreRedrive, DelayIsNotServedTwiceEvenAcrossARestart) {
    Peer w = worker();
    const JobId job = submit(client, {.type = "t", .delay_ms = 1000, .max_attempts = 1});
    advance(1000);
    fail_once(w);
    goodbye(w);
    redrive(client, job);
    EXPECT_EQ(state(job), JobState::queued);
    wall_ms -= 5000;  // and the wall clock was set back
    crash();
    EXPECT_EQ(state(job), JobState::queued);
}

TEST_F(CoreRedrive, OldTokensStayVoid) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t", .max_attempts = 1});
    const Held before = take(w);
    fail(w, before);
    redrive(client, job);
    const Held after = take(w);
    EXPECT_GT(after.token, before.token);
    EXPECT_EQ(complete(w, before), Code::stale_lease);
    EXPECT_EQ(fail(w, before), Code::ok) << "that end was answered ok before";
    EXPECT_EQ(complete(w, after), Code::ok);
}

TEST_F(CoreRedrive, OnlyTheDeadCanBeRedriven) {
    const Peer w = worker();
    const JobId completed = submit(client);
    complete(w, take(w));
    const JobId cancelled = submit(client, {.type = "t", .delay_ms = 10});
    cancel(client, cancelled);
    const JobId queued = submit(client, {.type = "nobody serves this"});
    EXPECT_EQ(redrive(client, completed).code, Code::not_dead);
    EXPECT_EQ(redrive(client, completed).state, JobState::completed);
    EXPECT_EQ(redrive(client, cancelled).state, JobState::cancelled);
    EXPECT_EQ(redrive(client, queued).code, Code::not_dead);
    EXPECT_EQ(redrive(client, queued).state, JobState::queued);
    EXPECT_EQ(redrive(client, {99}).code, Code::unknown_job);
}

TEST_F(CoreRedrive, TwiceInOneMessageIsDoneOnce) {
    const Peer w = worker();
    const JobId job = die(w, {.type = "t", .max_attempts = 1});
    goodbye(w);
    send(client, Redrive{{job, job}});
    const std::vector<Answer> both = answers(client);
    EXPECT_EQ(both.at(0).code, Code::ok);
    EXPECT_EQ(both.at(1).code, Code::not_dead);
}

TEST_F(CoreRedrive, CrashLoopAlsoStartsFromZero) {
    const JobId job = submit(client);
    for (int i = 0; i < 3; ++i) {
        const Peer w = worker({.name = "w" + std::to_string(i)});
        take(w);
        gone(w);
        advance(3000);
    }
    EXPECT_EQ(ended(job).reason, Reason::crash_loop);
    redrive(client, job);
    EXPECT_EQ(core->job(job)->crashes, 0);
}

TEST_F(CoreRedrive, WhatWasReadBeforeTheJobDiedIsNotBelieved) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t", .max_attempts = 1}, "input");
    const Held held = take(w);
    const auto waiting = arrive(client, Redrive{{job}});
    fail(w, held);
    decide(waiting);
    EXPECT_EQ(only_answer(client).code, Code::ok);
    EXPECT_EQ(take(w).payload, "input");
}

TEST_F(CoreRedrive, WhatWasReadBeforeAnotherRedriveIsNotBelieved) {
    const Peer w = worker();
    const JobId job = die(w, {.type = "t", .max_attempts = 1});
    const auto waiting = arrive(client, Redrive{{job}});
    redrive(client, job);
    complete(w, take(w));
    decide(waiting);
    EXPECT_EQ(only_answer(client).code, Code::not_dead);
}

}  // namespace
}  // namespace jobyard::broker::test
