// What is asked for of jobs that wait: when they may begin and until when, hold, change, snooze, and how long a key
// names them (PROTOCOL.md, sections 4 to 6).

#include "core_fixture.hpp"

namespace jobyard::broker::test {
namespace {

struct CoreSteer : YardTest {
    Peer client = submitter();

    Code change(const Change& what) { return ask(client, what).code; }
    Code hold(JobId job, bool held = true) { return change({{job}, 0, {}, held}); }
    /// None is out now.
    void expect_nothing_for(const Peer& worker) { EXPECT_TRUE(take_all(worker).empty()); }
};

// --- times -----------------------------------------------------------------------------------------------------------

TEST_F(CoreSteer, RunAtIsATimeOfDayAndHoldsAlsoOverARestart) {
    const Peer w = worker();
    const auto at = static_cast<std::uint64_t>(wall_ms + 5000);
    const JobId job = submit(client, {.type = "t", .run_at = at});
    EXPECT_EQ(show(client, job)["due_at"], at);
    advance(4999);
    expect_nothing_for(w);
    advance(1);
    EXPECT_EQ(take(w).job, job);

    const JobId later = submit(client, {.type = "t", .run_at = static_cast<std::uint64_t>(wall_ms + 60'000)});
    crash_after_commit();
    advance(59'999);
    const Peer again = worker({.name = "again", .slots = 2});
    take_all(again);
    EXPECT_EQ(state(later), JobState::scheduled);
    advance(1);
    EXPECT_EQ(state(later), JobState::assigned);
    take_all(again);
}

TEST_F(CoreSteer, ATimeInThePastIsNowAndOneTooFarAwayIsRefused) {
    EXPECT_EQ(state(submit(client, {.type = "t", .run_at = 1})), JobState::queued);
    const auto far = static_cast<std::uint64_t>(wall_ms) + kMaxDelayMs + 1;
    EXPECT_EQ(ask_submit(client, {.type = "t", .run_at = far}).field, "run_at");
    EXPECT_EQ(ask_submit(client, {.type = "t", .delay_ms = 1, .run_at = 1}).field, "run_at");
}

TEST_F(CoreSteer, AJobPastItsDeadlineIsDeadWhereverItIs) {
    const Peer w = worker();
    const JobId waiting = submit(client, {.type = "other", .deadline_ms = 1000});
    const JobId scheduled = submit(client, {.type = "t", .delay_ms = 5000, .deadline_ms = 1000});
    const JobId running = submit(client, {.type = "t", .deadline_ms = 1000});
    const Held held = take(w);
    EXPECT_EQ(held.job, running);
    advance(999);
    EXPECT_EQ(state(running), JobState::assigned);
    advance(1);
    for (const JobId job : {waiting, scheduled, running}) {
        EXPECT_EQ(ended(job).state, JobState::dead);
        EXPECT_EQ(ended(job).reason, Reason::expired);
        EXPECT_EQ(ended(job).last.error, "its deadline passed");
    }
    EXPECT_EQ(ended(running).last.outcome, Outcome::timeout);
    EXPECT_EQ(expect<Stop>(w)->items.at(0).job, running);
    EXPECT_EQ(complete(w, held), Code::stale_lease) << "too late is too late";
}

TEST_F(CoreSteer, DeadlinesCountFromTheSubmitAlsoOverARestart) {
    const JobId job = submit(client, {.type = "t", .deadline_ms = 10'000});
    advance(4000);
    crash_after_commit();
    advance(5999);
    EXPECT_EQ(state(job), JobState::queued);
    advance(1);
    EXPECT_EQ(ended(job).reason, Reason::expired);
}

TEST_F(CoreSteer, NothingExpiresWhileTheClaimWindowIsOpen) {
    worker();
    const JobId job = submit(client, {.type = "other", .deadline_ms = 1000});
    advance(500);
    crash_after_commit();
    advance(2999);
    EXPECT_TRUE(core->in_claim_window());
    EXPECT_EQ(state(job), JobState::queued);
    advance(1);
    EXPECT_FALSE(core->in_claim_window());
    EXPECT_EQ(ended(job).reason, Reason::expired);
}

TEST_F(CoreSteer, AJobThatNobodyTakesInItsQueueTimeoutIsDead) {
    const JobId job = submit(client, {.type = "t", .delay_ms = 1000, .queue_timeout_ms = 2000});
    advance(2999);
    EXPECT_EQ(state(job), JobState::queued) << "it counts from when it could have begun";
    advance(1);
    EXPECT_EQ(ended(job).reason, Reason::expired);
    EXPECT_EQ(ended(job).last.error, "no attempt began within its queue_timeout");
    EXPECT_EQ(ended(job).last.outcome, Outcome::none);
}

TEST_F(CoreSteer, AJobThatHasBegunHasNoQueueTimeoutAnyMore) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t", .backoff = {.initial_ms = 5000}, .queue_timeout_ms = 2000});
    EXPECT_EQ(fail(w, take(w)), Code::ok);
    crash_after_commit();
    advance(4000);
    EXPECT_EQ(state(job), JobState::retrying);
}

TEST_F(CoreSteer, ARedrivenJobHasItsTimesAnew) {
    const JobId job = submit(client, {.type = "t", .deadline_ms = 1000});
    advance(1000);
    EXPECT_EQ(ended(job).reason, Reason::expired);
    advance(5000);
    EXPECT_EQ(redrive(client, job).code, Code::ok);
    crash_after_commit();
    advance(999);
    EXPECT_EQ(state(job), JobState::queued);
    advance(1);
    EXPECT_EQ(ended(job).reason, Reason::expired);
}

TEST_F(CoreSteer, AnExpiredJobThatIsRedrivenBelievesNoOlderToken) {
    Peer w = worker();
    const JobId job = submit(client, {.type = "t", .backoff = {.initial_ms = 5000}, .deadline_ms = 1000});
    const Held held = take(w);
    EXPECT_EQ(fail(w, held), Code::ok);
    advance(1000);
    EXPECT_EQ(ended(job).reason, Reason::expired);
    EXPECT_EQ(redrive(client, job).code, Code::ok);
    const Held again = take(w);
    EXPECT_EQ(again.attempt, 2U) << "the first attempt is still on record";
    crash();
    come_back(w, {.claims = {{job, held.token}}});
    EXPECT_EQ(w.claims, std::vector{Code::stale_lease});
    take_all(w);
}

// --- hold and change -------------------------------------------------------------------------------------------------

TEST_F(CoreSteer, AHeldJobWaitsUntilItIsLetGoAlsoOverARestart) {
    const JobId held_from_the_start = submit(client, {.type = "t", .held = true});
    const JobId held_later = submit(client);
    EXPECT_EQ(hold(held_later), Code::ok);
    for (const JobId job : {held_from_the_start, held_later}) {
        EXPECT_EQ(state(job), JobState::scheduled);
        EXPECT_EQ(show(client, job)["reason"], "held");
    }
    crash_after_commit();
    client = submitter("again");
    const Peer w = worker({.slots = 4});
    advance(10'000);
    expect_nothing_for(w);
    EXPECT_EQ(hold(held_from_the_start, false), Code::ok);
    EXPECT_EQ(take(w).job, held_from_the_start);
    crash_after_commit();
    client = submitter("once more");
    EXPECT_EQ(state(held_later), JobState::scheduled);
    EXPECT_EQ(hold(held_later, false), Code::ok);
    EXPECT_EQ(state(held_later), JobState::queued);
}

TEST_F(CoreSteer, ADelayGoesOnWhileItsJobIsHeld) {
    const JobId job = submit(client, {.type = "t", .delay_ms = 5000, .held = true});
    advance(1000);
    EXPECT_EQ(hold(job, false), Code::ok);
    EXPECT_EQ(state(job), JobState::scheduled);
    advance(3999);
    EXPECT_EQ(state(job), JobState::scheduled);
    advance(1);
    EXPECT_EQ(state(job), JobState::queued);
}

TEST_F(CoreSteer, AChangeMakesNoPauseLongerIfTheClockWasSetBack) {
    const JobId changed = submit(client, {.type = "t", .delay_ms = 5000});
    const JobId held = submit(client, {.type = "t", .delay_ms = 5000, .held = true});
    wall_ms -= 3'600'000;
    advance(1000);
    EXPECT_EQ(change({{changed}, 9, {}, {}}), Code::ok);
    EXPECT_EQ(show(client, changed)["due_at"], wall_ms + 4000);
    EXPECT_EQ(hold(held, false), Code::ok);
    crash_after_commit();
    client = submitter("again");
    advance(3999);
    for (const JobId job : {changed, held}) EXPECT_EQ(state(job), JobState::scheduled);
    advance(1);
    for (const JobId job : {changed, held}) EXPECT_EQ(state(job), JobState::queued);
}

TEST_F(CoreSteer, TheQueueTimeoutOfAJobThatWasLetGoCountsFromTheEndOfItsDelay) {
    for (const bool restarts : {false, true}) {
        const JobId job = submit(client, {.type = "t", .delay_ms = 5000, .queue_timeout_ms = 1000, .held = true});
        advance(1000);
        EXPECT_EQ(hold(job, false), Code::ok);
        if (restarts) crash_after_commit();
        advance(4000);
        EXPECT_EQ(state(job), JobState::queued);
        advance(999);
        EXPECT_EQ(state(job), JobState::queued);
        advance(1);
        EXPECT_EQ(ended(job).reason, Reason::expired);
    }
}

TEST_F(CoreSteer, AHeldJobKeepsItsDeadlineAndGetsItsQueueTimeoutWhenLetGo) {
    const JobId job = submit(client, {.type = "t", .deadline_ms = 10'000, .queue_timeout_ms = 1000, .held = true});
    advance(9000);
    EXPECT_EQ(hold(job, false), Code::ok);
    advance(999);
    EXPECT_EQ(state(job), JobState::queued);
    advance(1);
    EXPECT_EQ(ended(job).reason, Reason::expired);
}

TEST_F(CoreSteer, AJobOfAnotherPriorityStandsWhereItsAgeSays) {
    const JobId first = submit(client);
    const JobId second = submit(client, {.type = "t", .priority = 8});
    const JobId third = submit(client, {.type = "t", .priority = 8});
    EXPECT_EQ(change({{first}, 8, {}, {}}), Code::ok);
    crash_after_commit();
    const Peer w = worker();
    for (const JobId job : {first, second, third}) {
        const Held held = take(w);
        EXPECT_EQ(held.job, job);
        EXPECT_EQ(held.item.priority, 8);
        complete(w, held);
    }
}

TEST_F(CoreSteer, AMovedJobRunsInItsNewQueueAlsoAfterItsDeathAndRedrive) {
    const JobId job = submit(client, {.queue = "slow", .type = "t", .max_attempts = 1});
    EXPECT_EQ(change({{job}, 0, "fast", {}}), Code::ok);
    crash_after_commit();
    client = submitter("again");
    const Peer slow = worker({.name = "slow", .queues = {"slow"}});
    expect_nothing_for(slow);
    const Peer fast = worker({.name = "fast", .queues = {"fast"}});
    const Held held = take(fast);
    EXPECT_EQ(held.queue, "fast");
    EXPECT_EQ(fail(fast, held), Code::ok);
    EXPECT_EQ(ended(job).queue, "fast");
    EXPECT_EQ(redrive(client, job).code, Code::ok);
    EXPECT_EQ(take(fast).queue, "fast");
    EXPECT_EQ(refused(client, ListQueues{{}, 1, "slow"})->code, Code::unknown_queue) << "where it came from";
}

TEST_F(CoreSteer, ChangesDoNotMakeAPauseShorter) {
    const JobId job = submit(client, {.type = "t", .delay_ms = 5000});
    const std::int64_t due = wall_ms + 5000;
    for (int n = 0; n < 20; ++n) {
        wall_ms += n % 2 == 0 ? 1 : -1;  // each clock is cut to milliseconds, and not at the same moment
        ASSERT_EQ(change({.jobs = {job}, .priority = static_cast<std::uint8_t>(n % 10 + 1)}), Code::ok);
    }
    EXPECT_EQ(show(client, job)["due_at"], due);
}

TEST_F(CoreSteer, AClockThatIsSetBackGivesAJobWithoutAPauseNone) {
    const JobId job = submit(client, {.type = "t", .held = true});
    wall_ms -= 5000;
    ASSERT_EQ(change({.jobs = {job}, .priority = 7}), Code::ok);
    EXPECT_FALSE(show(client, job).contains("due_at")) << show(client, job);
}

TEST_F(CoreSteer, OnlyWhatWaitsCanBeChanged) {
    const Peer w = worker();
    const JobId running = submit(client);
    const Held held = take(w);
    EXPECT_EQ(change({{running}, 9, {}, {}}), Code::not_waiting);
    complete(w, held);
    EXPECT_EQ(change({{running}, 9, {}, {}}), Code::ended);
    EXPECT_EQ(change({{{999}}, 9, {}, {}}), Code::unknown_job);
    const JobId named = submit(client, {.type = "other", .key = "k"});
    EXPECT_EQ(ask(client, Change{{named}, 0, "elsewhere", {}}).field, "queue");
    EXPECT_EQ(change({{named}, 7, {}, {}}), Code::ok);
    EXPECT_EQ(refused(client, Change{{named}, 0, {}, {}})->code, Code::bad_field);
    EXPECT_EQ(refused(client, Change{{named}, 11, {}, {}})->field, "priority");
    EXPECT_EQ(refused(client, Change{{named}, 0, "\n", {}})->field, "queue");
}

TEST_F(CoreSteer, AReleasedJobComesBackAfterItsDelayAndIsChargedNothing) {
    Peer w = worker();
    const JobId job = submit(client);
    const Held held = take(w);
    send(w, Release{{{held.job, held.token, 5000}}});
    EXPECT_EQ(only_answer(w).code, Code::ok);
    EXPECT_EQ(state(job), JobState::scheduled);
    EXPECT_EQ(show(client, job)["reason"], "delayed");
    crash_after_commit();
    come_back(w);
    advance(4999);
    expect_nothing_for(w);
    advance(1);
    const Held again = take(w);
    EXPECT_EQ(again.attempt, 1U);
    EXPECT_EQ(core->job(job)->errors, 0);
    EXPECT_EQ(core->job(job)->crashes, 0);
}

// --- keys ------------------------------------------------------------------------------------------------------------

TEST_F(CoreSteer, AKeyWithoutATimeNamesItsJobOnlyWhileItLives) {
    const Peer w = worker();
    const SubmitItem item{.type = "t", .key = "k", .key_ttl_ms = 0};
    const JobId first = submit(client, item);
    const Answer again = ask_submit(client, item);
    EXPECT_EQ(again.code, Code::existing);
    EXPECT_EQ(again.job, first);
    complete(w, take(w));
    EXPECT_TRUE(disk[Table::keys].empty());
    const Answer next = ask_submit(client, item);
    EXPECT_EQ(next.code, Code::ok);
    EXPECT_NE(next.job, first);
    take(w);
}

TEST_F(CoreSteer, ARedriveDoesNotTakeSuchAKeyBackIfTheClockWasSetBack) {
    const Peer w = worker({.slots = 2});
    const SubmitItem item{.type = "t", .max_attempts = 1, .key = "k", .key_ttl_ms = 0};
    const JobId first = submit(client, item);
    fail(w, take(w));
    const JobId second = submit(client, item);
    take(w);
    wall_ms -= 60'000;
    EXPECT_EQ(redrive(client, first).code, Code::ok);
    EXPECT_EQ(ask_submit(client, item).job, second);
    complete(w, take(w));
    EXPECT_EQ(ask_submit(client, item).job, second) << "the end of the first has freed the key of the second";
}

/// What was free once may be another job's, whatever the clock says later.
TEST_F(CoreSteer, ARedriveDoesNotTakeAKeyThatWasFreedBackIfTheClockWasSetBack) {
    const Peer w = worker({.slots = 2});
    const SubmitItem item{.type = "t", .max_attempts = 1, .key = "k", .key_ttl_ms = 10'000};
    const JobId first = submit(client, item);
    fail(w, take(w));
    advance(120'000);
    background();
    const JobId second = submit(client, item);
    take(w);
    wall_ms -= 121'000;
    crash_after_commit();
    client = submitter("again");
    const Peer again = worker({.slots = 2});
    advance(3'000);
    EXPECT_EQ(redrive(client, first).code, Code::ok);
    EXPECT_EQ(ask_submit(client, item).job, second);
    for (const Held& held : take_all(again)) complete(again, held);
    EXPECT_EQ(ask_submit(client, item).job, second) << "the end of the first has freed the key of the second";
}

TEST_F(CoreSteer, AKeyNamesItsJobForItsOwnTimeAfterTheEnd) {
    const Peer w = worker();
    const SubmitItem item{.type = "t", .key = "k", .key_ttl_ms = 5000};
    const JobId first = submit(client, item);
    complete(w, take(w));
    crash_after_commit();
    advance(4000);
    background();
    client = submitter("again");
    EXPECT_EQ(ask_submit(client, item).job, first);
    advance(120'000);
    background();
    EXPECT_EQ(ask_submit(client, item).code, Code::ok);
}

TEST_F(CoreSteer, AnotherScopeIsOtherContent) {
    const JobId first = submit(client, {.type = "t", .key = "k"});
    for (const SubmitItem& other :
         {SubmitItem{.type = "t", .key = "k", .run_at = 1}, SubmitItem{.type = "t", .key = "k", .deadline_ms = 1},
          SubmitItem{.type = "t", .key = "k", .queue_timeout_ms = 1}, SubmitItem{.type = "t", .key = "k", .held = true},
          SubmitItem{.type = "t", .key = "k", .key_ttl_ms = 1}}) {
        const Answer answer = ask_submit(client, other);
        EXPECT_EQ(answer.code, Code::conflict);
        EXPECT_EQ(answer.job, first) << "the answer says which job has the key";
    }
}

}  // namespace
}  // namespace jobyard::broker::test
