// The life of a job, transition by transition (PROTOCOL.md, section 4).

#include "core_fixture.hpp"

#include <functional>

namespace jobyard::broker::test {
namespace {

struct CoreLife : YardTest {
    Peer client = submitter();

    /// One attempt that fails.
    void fail_once(const Peer& worker, const Failure& how = {}) {
        EXPECT_EQ(fail(worker, take(worker), how), Code::ok);
    }
};

TEST_F(CoreLife, SubmittedJobIsQueued) {
    const Answer answer = ask_submit(client, {.type = "t"});
    EXPECT_EQ(answer.code, Code::ok);
    EXPECT_EQ(answer.job, JobId{1});
    EXPECT_EQ(answer.state, JobState::queued);
}

TEST_F(CoreLife, JobNumbersOnlyGrow) {
    for (std::uint64_t number = 1; number <= 5; ++number) EXPECT_EQ(submit(client), JobId{number});
}

TEST_F(CoreLife, DelayedJobIsScheduledUntilItsDelayIsOver) {
    const Peer w = worker();
    const Answer answer = ask_submit(client, {.type = "t", .delay_ms = 500});
    EXPECT_EQ(answer.state, JobState::scheduled);
    advance(499);
    EXPECT_EQ(state(answer.job), JobState::scheduled);
    advance(1);
    EXPECT_EQ(take(w).job, answer.job);
}

TEST_F(CoreLife, SentJobIsAssignedAndRunsWhenItsWorkerSaysStarted) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t"}, "input");
    const Held held = take(w);
    EXPECT_EQ(state(job), JobState::assigned);
    started(w, held);
    EXPECT_EQ(state(job), JobState::running);
}

TEST_F(CoreLife, DispatchCarriesWhatTheWorkerNeedsToKnow) {
    const Peer w = worker({.queues = {"mail"}, .types = {"send"}});
    submit(client, {.queue = "mail", .type = "send", .priority = 8, .timeout_ms = 1234, .max_attempts = 7}, "dear all");
    const Held held = take(w);
    EXPECT_EQ(held.payload, "dear all");
    EXPECT_EQ(held.queue, "mail");
    EXPECT_EQ(held.type, "send");
    EXPECT_EQ(held.attempt, 1U);
    EXPECT_EQ(held.item.priority, 8);
    EXPECT_EQ(held.item.timeout_ms, 1234U);
    EXPECT_EQ(held.item.max_attempts, 7U);
}

TEST_F(CoreLife, CompletedJobKeepsItsResultAndDropsItsPayload) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t"}, "input");
    EXPECT_EQ(complete(w, take(w), "output", 40), Code::ok);
    const EndRow row = ended(job);
    EXPECT_EQ(row.state, JobState::completed);
    EXPECT_EQ(row.result, "output");
    EXPECT_EQ(row.last.attempt, 1U);
    EXPECT_EQ(row.last.worker, "w");
    EXPECT_EQ(row.last.ended_at - row.last.started_at, 40);
    EXPECT_TRUE(disk[Table::live].empty());
}

TEST_F(CoreLife, LargePayloadAndResultTravelWholeThroughChunks) {
    const Peer w = worker();
    std::string input(100'000, 'i');
    input[1990] = 'x';
    std::string output(50'000, 'o');
    output[1989] = 'y';
    const JobId job = submit(client, {.type = "t", .watch = true}, input);
    EXPECT_EQ(disk[Table::chunks].size(), (input.size() + kRowBytes - 1) / kRowBytes);
    const Held held = take(w);
    EXPECT_EQ(held.payload, input);
    EXPECT_EQ(complete(w, held, output), Code::ok);
    EXPECT_EQ(expect<Results>(client).payloads.at(0), output);
    EXPECT_TRUE(disk[Table::chunks].empty());
    EXPECT_EQ(disk[Table::results].size(), (output.size() + kRowBytes - 1) / kRowBytes);
    EXPECT_EQ(show(client, job)["result_bytes"], output.size());
}

TEST_F(CoreLife, EveryInlineRowFitsItsPage) {
    const Peer w =
        worker({.name = std::string(255, 'w'), .queues = {std::string(255, 'q')}, .types = {std::string(255, 't')}});
    const std::string queue(255, 'q');
    const std::string type(255, 't');
    for (std::size_t size = 800; size < 2000; size += 7) {
        const std::string key = std::string(250, 'k') + std::to_string(size);
        submit(client, {.queue = queue, .type = type, .max_attempts = 1000, .key = key}, std::string(size, 'p'));
        complete(w, take(w), std::string(size, 'r'), 1);
    }
    for (const auto& batch : durable)
        for (const Op& op : batch->ops())
            if (op.table == Table::live || op.table == Table::done || op.table == Table::results ||
                op.table == Table::chunks) {
                EXPECT_LE(batch->value(op).size(), kRowBytes) << "in table " << to_string(op.table);
            }
}

TEST_F(CoreLife, FailedAttemptIsRetriedAfterItsBackoff) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t", .backoff = {.initial_ms = 1000, .jitter_percent = 0}});
    fail_once(w, {.error = "no such file"});
    EXPECT_EQ(state(job), JobState::retrying);
    advance(999);
    EXPECT_EQ(state(job), JobState::retrying);
    advance(1);
    const Held again = take(w);
    EXPECT_EQ(again.attempt, 2U);
    EXPECT_EQ(complete(w, again), Code::ok);
    EXPECT_EQ(attempts(job).size(), 1U);
    EXPECT_EQ(attempts(job)[0].error, "no such file");
    EXPECT_EQ(attempts(job)[0].outcome, Outcome::failed);
}

TEST_F(CoreLife, BackoffGrowsByItsFactorUpToItsMaximum) {
    const Peer w = worker();
    submit(client, {.type = "t",
                    .max_attempts = 6,
                    .backoff = {.initial_ms = 100, .factor_percent = 300, .max_ms = 1000, .jitter_percent = 0}});
    for (const std::int64_t pause : {100, 300, 900, 1000, 1000}) {
        fail_once(w);
        advance(pause - 1);
        EXPECT_FALSE(has_message(w)) << "before " << pause << " ms had passed";
        advance(1);
    }
    take(w);
}

TEST_F(CoreLife, JitterIsAddedNeverTakenOffAndStaysInItsBounds) {
    const Peer w = worker({.slots = 400});
    const std::int64_t failed_at = now_ms;
    for (int i = 0; i < 400; ++i) submit(client, {.type = "t", .backoff = {.initial_ms = 1000, .jitter_percent = 20}});
    std::set<std::int64_t> pauses;
    for (const Held& held : take_all(w)) {
        EXPECT_EQ(fail(w, held), Code::ok);
        const Job& job = *core->job(held.job);
        pauses.insert(job.granted_at - wall_ms);  // when it is due
    }
    EXPECT_EQ(now_ms, failed_at);
    EXPECT_GE(*pauses.begin(), 1000);
    EXPECT_LE(*pauses.rbegin(), 1200);
    EXPECT_LT(*pauses.begin(), 1010);
    EXPECT_GT(*pauses.rbegin(), 1190);
    EXPECT_GT(pauses.size(), 100U) << "they would all come back at once";
}

TEST_F(CoreLife, PauseOfZeroQueuesAtOnce) {
    const Peer w = worker();
    submit(client, {.type = "t", .backoff = {.initial_ms = 0}});
    fail_once(w);
    EXPECT_EQ(take(w).attempt, 2U);
}

TEST_F(CoreLife, JobIsDeadWhenItsAttemptsAreSpent) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t", .max_attempts = 3, .backoff = {.initial_ms = 0}});
    fail_once(w, {.error = "first"});
    fail_once(w, {.error = "second"});
    fail_once(w, {.error = "third", .tail = "stderr", .result = "partial"});
    const EndRow row = ended(job);
    EXPECT_EQ(row.state, JobState::dead);
    EXPECT_EQ(row.reason, Reason::failed);
    EXPECT_EQ(row.errors, 3U);
    EXPECT_EQ(row.last.attempt, 3U);
    EXPECT_EQ(row.last.error, "third");
    EXPECT_EQ(row.last.tail, "stderr");
    EXPECT_EQ(row.result, "partial");
    EXPECT_EQ(attempts(job).size(), 2U);
}

TEST_F(CoreLife, SingleAttemptDiesAtItsFirstFailure) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t", .max_attempts = 1});
    fail_once(w);
    EXPECT_EQ(ended(job).reason, Reason::failed);
}

TEST_F(CoreLife, NotRetryableFailureKillsAtOnce) {
    const Peer w = worker();
    const JobId job = submit(client);
    fail_once(w, {.retryable = false});
    EXPECT_EQ(ended(job).reason, Reason::not_retryable);
}

TEST_F(CoreLife, ReportedTimeoutIsChargedToTheAttempts) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t", .max_attempts = 1});
    fail_once(w, {.outcome = Outcome::timeout});
    EXPECT_EQ(ended(job).reason, Reason::failed);
    EXPECT_EQ(ended(job).last.outcome, Outcome::timeout);
}

TEST_F(CoreLife, ReleasedAttemptIsChargedToNobodyAndItsNumberUsedAgain) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t", .max_attempts = 1});
    for (int i = 0; i < 10; ++i) EXPECT_EQ(release(w, take(w)), Code::ok);
    const Held held = take(w);
    EXPECT_EQ(held.attempt, 1U);
    EXPECT_EQ(core->job(job)->errors, 0);
    EXPECT_EQ(core->job(job)->crashes, 0);
    EXPECT_EQ(complete(w, held), Code::ok);
}

TEST_F(CoreLife, EveryGrantHasAGreaterToken) {
    const Peer w = worker();
    submit(client, {.type = "t", .max_attempts = 1000, .backoff = {.initial_ms = 0}});
    LeaseToken last;
    for (int i = 0; i < 5; ++i) {
        const Held held = take(w);
        EXPECT_GT(held.token, last);
        last = held.token;
        i % 2 == 0 ? fail(w, held) : release(w, held);
    }
    take(w);
}

TEST_F(CoreLife, ErrorAndTailAreCutToTheirLimitsBetweenCharacters) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t", .max_attempts = 1});
    std::string error;
    while (error.size() < 600) error += "ä";
    const std::string tail(3000, 't');
    fail_once(w, {.error = "x" + error, .tail = tail});
    EXPECT_EQ(ended(job).last.error.size(), 511U);
    EXPECT_TRUE(is_clean_text(ended(job).last.error));
    EXPECT_EQ(ended(job).last.tail.size(), kMaxTailBytes);
}

TEST_F(CoreLife, TextThatIsNoUtf8IsNotShownToPeople) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t", .max_attempts = 1});
    fail_once(w, {.error = "\xff\xfe", .tail = "two\nlines\tare fine"});
    EXPECT_EQ(ended(job).last.error, "(not UTF-8 text)");
    EXPECT_EQ(ended(job).last.tail, "two\nlines\tare fine");
}

TEST_F(CoreLife, FailureWithAnUnknownOutcomeCountsAsFailed) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t", .max_attempts = 1});
    fail_once(w, {.outcome = Outcome::completed});
    EXPECT_EQ(ended(job).state, JobState::dead);
    EXPECT_EQ(ended(job).last.outcome, Outcome::failed);
}

// --- the same end again ----------------------------------------------------------------------------------------------

TEST_F(CoreLife, RepeatedCompleteIsAnsweredOkAndCountedOnce) {
    const Peer w = worker();
    submit(client);
    const Held held = take(w);
    EXPECT_EQ(complete(w, held, "r"), Code::ok);
    EXPECT_EQ(complete(w, held, "r"), Code::ok);
    EXPECT_EQ(core->numbers().completed_total, 1U);
}

TEST_F(CoreLife, RepeatedFailIsAnsweredOkWhileTheJobWaitsRunsAgainAndIsDead) {
    const Peer w = worker();
    const JobId job =
        submit(client, {.type = "t", .max_attempts = 2, .backoff = {.initial_ms = 100, .jitter_percent = 0}});
    const Held first = take(w);
    EXPECT_EQ(fail(w, first), Code::ok);
    EXPECT_EQ(fail(w, first), Code::ok);
    advance(100);
    const Held second = take(w);
    EXPECT_EQ(fail(w, first), Code::ok);
    EXPECT_EQ(fail(w, second), Code::ok);
    EXPECT_EQ(fail(w, first), Code::ok);
    EXPECT_EQ(fail(w, second), Code::ok);
    EXPECT_EQ(ended(job).errors, 2U);
}

TEST_F(CoreLife, RepeatedReleaseIsAnsweredOk) {
    const Peer w = worker();
    submit(client);
    const Held first = take(w);
    EXPECT_EQ(release(w, first), Code::ok);
    take(w);
    EXPECT_EQ(release(w, first), Code::ok);
}

TEST_F(CoreLife, EndTwiceInOneMessageIsAnsweredTheSameTwice) {
    const Peer w = worker({.slots = 2});
    submit(client);
    const Held held = take(w);
    send(w, Complete{{{0, held.job, held.token, 0}, {0, held.job, held.token, 0}}});
    const std::vector<Answer> both = answers(w);
    EXPECT_EQ(both.at(0).code, Code::ok);
    EXPECT_EQ(both.at(1).code, Code::ok);
}

TEST_F(CoreLife, RepeatedEndsAreAnsweredAsTheFirstTimeByARestartedBroker) {
    Peer w = worker({.slots = 2});
    submit(client);
    submit(client);
    const std::vector<Held> held = take_all(w);
    EXPECT_EQ(complete(w, held[0]), Code::ok);
    EXPECT_EQ(fail(w, held[1]), Code::ok);
    crash();
    come_back(w, {.slots = 2, .claims = {{held[0].job, held[0].token, true}, {held[1].job, held[1].token, true}}});
    EXPECT_EQ(w.claims, (std::vector{Code::ok, Code::ok}));
    EXPECT_EQ(complete(w, held[0]), Code::ok);
    EXPECT_EQ(fail(w, held[1]), Code::ok);
    EXPECT_EQ(core->numbers().completed_total, 1U);
    EXPECT_EQ(core->job(held[1].job)->errors, 1);
}

TEST_F(CoreLife, AnotherEndForAnEndedAttemptIsStale) {
    const Peer w = worker();
    const JobId job = submit(client);
    const Held held = take(w);
    EXPECT_EQ(complete(w, held), Code::ok);
    EXPECT_EQ(fail(w, held), Code::stale_lease);
    EXPECT_EQ(release(w, held), Code::stale_lease);
    EXPECT_EQ(state(job), JobState::completed);
}

TEST_F(CoreLife, CompleteAfterFailIsStaleAndChangesNothing) {
    const Peer w = worker();
    const JobId job = submit(client);
    const Held held = take(w);
    EXPECT_EQ(fail(w, held), Code::ok);
    EXPECT_EQ(complete(w, held), Code::stale_lease);
    EXPECT_EQ(state(job), JobState::retrying);
}

TEST_F(CoreLife, EndsOfJobsThatNeverWereAreUnknown) {
    const Peer w = worker();
    EXPECT_EQ(complete(w, {.job = {7}, .token = {1}}), Code::unknown_job);
    EXPECT_EQ(fail(w, {.job = {7}, .token = {1}}), Code::unknown_job);
    EXPECT_EQ(release(w, {.job = {7}, .token = {1}}), Code::unknown_job);
    EXPECT_EQ(complete(w, {.job = {0}, .token = {1}}), Code::unknown_job);
}

TEST_F(CoreLife, AListOfEndsIsAnsweredItemByItemInOrder) {
    const Peer w = worker({.slots = 3});
    for (int i = 0; i < 3; ++i) submit(client);
    const std::vector<Held> held = take_all(w);
    send(w,
         Complete{{{1, held[2].job, held[2].token, 0},
                   {0, {99}, held[0].token, 0},
                   {2, held[0].job, held[0].token, 0},
                   {0, held[1].job, {held[1].token.value + 100}, 0}}},
         "abb");
    std::vector<Code> codes;
    for (const Answer& answer : answers(w)) codes.push_back(answer.code);
    EXPECT_EQ(codes, (std::vector{Code::ok, Code::unknown_job, Code::ok, Code::stale_lease}));
    EXPECT_EQ(ended(held[2].job).result, "a");
    EXPECT_EQ(ended(held[0].job).result, "bb");
    EXPECT_EQ(state(held[1].job), JobState::assigned);
}

TEST_F(CoreLife, OneWorkersTokenIsNoGoodInAnotherWorkersHands) {
    const Peer first = worker({.name = "first"});
    submit(client);
    const Held held = take(first);
    const Peer second = worker({.name = "second"});
    EXPECT_EQ(complete(second, held), Code::stale_lease);
    EXPECT_EQ(renew(second, held), Code::stale_lease);
    EXPECT_EQ(complete(first, held), Code::ok);
}

TEST_F(CoreLife, ResultBeyondTheLimitFailsTheAttemptForGoodAndSaysSoEachTime) {
    with({.result_bytes = 100});
    client = submitter();
    const Peer w = worker();
    const JobId job = submit(client);
    const Held held = take(w);
    EXPECT_EQ(complete(w, held, std::string(101, 'r')), Code::too_large);
    EXPECT_EQ(ended(job).reason, Reason::not_retryable);
    EXPECT_EQ(ended(job).result_size, 0U);
    EXPECT_EQ(complete(w, held, std::string(101, 'r')), Code::too_large) << "the same end again";
}

// --- cancel ----------------------------------------------------------------------------------------------------------

TEST_F(CoreLife, WaitingJobsAreCancelledAtOnce) {
    const Peer w = worker();
    const JobId scheduled = submit(client, {.type = "t", .delay_ms = 1000});
    const JobId queued = submit(client, {.type = "nobody serves this"});
    const JobId retrying = submit(client);
    fail_once(w);
    for (const JobId job : {scheduled, queued, retrying}) {
        const Answer answer = cancel(client, job);
        EXPECT_EQ(answer.code, Code::ok);
        EXPECT_EQ(answer.state, JobState::cancelled);
        EXPECT_EQ(state(job), JobState::cancelled);
    }
    advance(100'000);
    expect_silence();
}

TEST_F(CoreLife, CancelOfARunningJobIsToldToItsWorkerAndEndsWithItsFailure) {
    const Peer w = worker();
    const JobId job = submit(client);
    const Held held = take(w);
    EXPECT_EQ(cancel(client, job).code, Code::cancel_requested);
    const auto stop = expect<Stop>(w);
    EXPECT_EQ(stop->items.at(0).job, job);
    EXPECT_EQ(stop->items.at(0).token, held.token);
    EXPECT_EQ(stop->items.at(0).reason, StopReason::cancel);
    EXPECT_EQ(renew(w, held), Code::cancel_requested);
    EXPECT_EQ(fail(w, held, {.outcome = Outcome::cancelled}), Code::ok);
    EXPECT_EQ(ended(job).state, JobState::cancelled);
    EXPECT_EQ(ended(job).last.outcome, Outcome::cancelled);
    EXPECT_EQ(fail(w, held, {.outcome = Outcome::cancelled}), Code::ok) << "the same end again";
}

TEST_F(CoreLife, CancelTwiceTellsTheWorkerOnce) {
    const Peer w = worker();
    const JobId job = submit(client);
    take(w);
    EXPECT_EQ(cancel(client, job).code, Code::cancel_requested);
    EXPECT_EQ(cancel(client, job).code, Code::cancel_requested);
    expect<Stop>(w);
}

TEST_F(CoreLife, SuccessThatArrivesBeforeTheCancelIsCompleted) {
    const Peer w = worker();
    const JobId job = submit(client);
    const Held held = take(w);
    cancel(client, job);
    expect<Stop>(w);
    EXPECT_EQ(complete(w, held, "in time"), Code::ok);
    EXPECT_EQ(ended(job).state, JobState::completed);
}

TEST_F(CoreLife, AnyOtherEndOfACancelledJobMakesItCancelled) {
    struct Way {
        const char* name;
        std::function<void(const Peer&, const Held&)> end;
    };
    const Way ways[] = {
        {"failed for good", [&](const Peer& w, const Held& held) { fail(w, held, {.retryable = false}); }},
        {"timeout", [&](const Peer& w, const Held& held) { fail(w, held, {.outcome = Outcome::timeout}); }},
        {"released", [&](const Peer& w, const Held& held) { release(w, held); }},
        {"worker left", [&](const Peer& w, const Held&) { goodbye(w); }},
        {"worker gone",
         [&](const Peer& w, const Held&) {
             gone(w);
             advance(3000);
         }},
        {"lease expired",
         [&](const Peer& w, const Held&) {
             advance(30'000);
             expect<Stop>(w);
         }},
    };
    for (const Way& way : ways) {
        const Peer w = worker({.name = way.name});
        const JobId job = submit(client);
        const Held held = take(w);
        cancel(client, job);
        expect<Stop>(w);
        way.end(w, held);
        EXPECT_EQ(state(job), JobState::cancelled) << way.name;
        goodbye(w);
        inbox.clear();  // of one that had left before: no_session
    }
}

TEST_F(CoreLife, ReleaseOfACancelledJobIsAnsweredTheSameTwice) {
    const Peer w = worker();
    submit(client);
    const Held held = take(w);
    cancel(client, held.job);
    expect<Stop>(w);
    EXPECT_EQ(release(w, held), Code::ok);
    EXPECT_EQ(release(w, held), Code::ok);
}

TEST_F(CoreLife, CancelOfAnEndedJobSaysHowItEnded) {
    const Peer w = worker();
    const JobId completed = submit(client);
    complete(w, take(w));
    const JobId dead = submit(client, {.type = "t", .max_attempts = 1});
    fail_once(w);
    EXPECT_EQ(cancel(client, completed).code, Code::ended);
    EXPECT_EQ(cancel(client, completed).state, JobState::completed);
    EXPECT_EQ(cancel(client, dead).state, JobState::dead);
    EXPECT_EQ(cancel(client, {99}).code, Code::unknown_job);
    EXPECT_EQ(cancel(client, {0}).code, Code::unknown_job);
}

TEST_F(CoreLife, CancelTwiceInOneMessageSaysEndedTheSecondTime) {
    const JobId job = submit(client);
    send(client, Cancel{{job, job}});
    const std::vector<Answer> both = answers(client);
    EXPECT_EQ(both.at(0).code, Code::ok);
    EXPECT_EQ(both.at(1).code, Code::ended);
    EXPECT_EQ(both.at(1).state, JobState::cancelled);
}

TEST_F(CoreLife, FailWithOutcomeCancelledThatNobodyAskedForIsTheJobsOwnError) {
    const Peer w = worker();
    const JobId job = submit(client);
    fail_once(w, {.outcome = Outcome::cancelled});
    EXPECT_EQ(state(job), JobState::retrying);
    EXPECT_EQ(core->job(job)->errors, 1);
}

// --- crash budget ----------------------------------------------------------------------------------------------------

TEST_F(CoreLife, LostWorkersAreChargedToTheCrashBudgetUntilTheJobIsDead) {
    const JobId job = submit(client, {.type = "t", .max_attempts = 1});
    for (std::uint32_t crashes = 1; crashes <= kCrashBudget; ++crashes) {
        const Peer w = worker({.name = "w" + std::to_string(crashes)});
        EXPECT_EQ(take(w).attempt, crashes);
        gone(w);
        advance(3000);
        if (crashes < kCrashBudget) {
            EXPECT_EQ(core->job(job)->crashes, crashes);
        }
    }
    EXPECT_EQ(ended(job).state, JobState::dead);
    EXPECT_EQ(ended(job).reason, Reason::crash_loop);
    EXPECT_EQ(ended(job).errors, 0U);
    EXPECT_EQ(ended(job).last.outcome, Outcome::worker_lost);
}

TEST_F(CoreLife, TheTwoBudgetsAreSeparate) {
    const JobId job = submit(client, {.type = "t", .max_attempts = 3, .backoff = {.initial_ms = 0}});
    for (int i = 0; i < 2; ++i) {
        const Peer w = worker({.name = "w" + std::to_string(i)});
        fail_once(w);
        take(w);
        gone(w);
        advance(3000);
    }
    EXPECT_EQ(core->job(job)->errors, 2);
    EXPECT_EQ(core->job(job)->crashes, 2);
    EXPECT_EQ(state(job), JobState::queued);
    EXPECT_EQ(take(worker()).attempt, 5U);
}

}  // namespace
}  // namespace jobyard::broker::test
