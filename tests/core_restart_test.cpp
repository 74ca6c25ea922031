// What a restart of the broker leaves of leases, sessions and claims (PROTOCOL.md, section 7).

#include "core_fixture.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "wire.hpp"

namespace jobyard::broker::test {
namespace {

constexpr std::int64_t kGraceMs = 3000;
constexpr std::int64_t kClaimWindowMs = 3000;

struct CoreRestart : YardTest {
    Peer client = submitter();
    Peer w = worker({.slots = 4});

    Held one_job(const Peer& by) {
        submit(client);
        return take(by);
    }

    void back(const std::vector<Claim>& claims, const std::string& name = "w") {
        w.said.resumed = true;
        hello(w, {.name = name, .slots = 4, .claims = claims});
    }
    void restart() {
        crash();
        come_back(client);
    }
    static Claim running(const Held& held) { return {held.job, held.token, false}; }
    static Claim finished(const Held& held) { return {held.job, held.token, true}; }
};

TEST_F(CoreRestart, EpochGrowsWithEveryStart) {
    EXPECT_EQ(w.epoch, 1U);
    restart();
    back({});
    EXPECT_EQ(w.epoch, 2U);
}

/// The row with so many fields at most, as an older version of this format has written it, which knew no more.
std::string cut(std::string_view row, std::uint32_t fields) {
    wire::Reader in(row.substr(5));
    const std::uint32_t has = in.array();
    const std::string_view first = in.rest();
    std::uint32_t field = 0;
    for (; field < std::min(has, fields); ++field) in.skip();
    const std::string_view kept = first.substr(0, first.size() - in.rest().size());
    for (; field < has; ++field) in.skip();
    std::string body;
    wire::Writer(body).array(std::min(has, fields));
    body.append(kept).append(in.rest());  // the tail stays
    const auto sum = static_cast<std::uint32_t>(XXH3_64bits(body.data(), body.size()));
    std::string bytes(row.substr(0, 1));
    return bytes.append(reinterpret_cast<const char*>(&sum), sizeof sum).append(body);
}

TEST_F(CoreRestart, WhatAnOlderVersionOfTheFormatHasWrittenIsServed) {
    const JobId done = submit(client, {.type = "t", .key = "done"});
    EXPECT_EQ(complete(w, take(w), "result"), Code::ok);
    const JobId retrying = submit(client, {.type = "t", .key = "retrying"}, "payload");
    EXPECT_EQ(fail(w, take(w)), Code::ok);
    const JobId dead = submit(client, {.type = "t", .max_attempts = 1});
    EXPECT_EQ(fail(w, take(w)), Code::ok);
    // What only this version has said must be as if it had not.
    const JobId held = submit(client, {.type = "t", .deadline_ms = 1, .held = true});
    const Answer moved = ask(client, Change{{retrying}, 9, "elsewhere", true});
    EXPECT_EQ(moved.code, Code::bad_field) << "a job with a key stays in its queue";
    EXPECT_EQ(ask(client, Change{{retrying}, 9, {}, true}).code, Code::ok);
    EXPECT_EQ(ask(client, SteerWorker{"w", WorkerAction::drain}).code, Code::ok);
    EXPECT_EQ(ask(client, SetQueue{.queue = "default", .paused = true}).code, Code::ok);

    const struct {
        Table table;
        std::uint32_t fields;
    } older[] = {{Table::live, 15}, {Table::state, 8},   {Table::done, 26},
                 {Table::dead, 26}, {Table::buried, 15}, {Table::workers, 2}};
    for (const auto& each : older)
        for (auto& [key, row] : disk[each.table]) row = cut(row, each.fields);
    std::string& numbers = disk[Table::meta].at(std::string(kMetaNumbers));
    numbers = cut(numbers, 14);
    disk[Table::queues].clear();  // tables that it had not
    disk[Table::tasks].clear();
    restart();
    back({});

    EXPECT_EQ(show(client, done)["state"], "completed");
    const Held again = take(w);
    EXPECT_EQ(again.job, held) << "no queue is paused, no worker drained, nothing held";
    EXPECT_EQ(complete(w, again), Code::ok);
    advance(2'000);
    const Held retried = take(w);
    EXPECT_EQ(retried.job, retrying);
    EXPECT_EQ(show(client, retrying)["priority"], 5);
    EXPECT_EQ(complete(w, retried), Code::ok);
    EXPECT_EQ(ask(client, Redrive{{dead}}).code, Code::ok);
    EXPECT_EQ(complete(w, take(w)), Code::ok);
    EXPECT_EQ(ask(client, StartTask{.action = TaskAction::cancel}).job.value, 1U) << "the first task";
}

TEST_F(CoreRestart, WithoutKnownWorkersTheWindowIsClosedAtOnce) {
    goodbye(w);
    restart();
    EXPECT_FALSE(core->in_claim_window());
}

TEST_F(CoreRestart, NothingIsDispatchedWhileAKnownWorkerMayStillComeBack) {
    const JobId job = submit(client, {.type = "u"});
    restart();
    const Peer newcomer = worker({.name = "new", .types = {"t", "u"}});
    advance(kClaimWindowMs - 1);
    expect_silence();
    EXPECT_EQ(show(client, job)["reason"], "claim_window");
    advance(1);
    EXPECT_EQ(take(newcomer).job, job);
    EXPECT_TRUE(disk[Table::workers].size() == 1) << "who did not come back is forgotten";
}

TEST_F(CoreRestart, WindowClosesEarlyWhenAllKnownWorkersAreBack) {
    Peer second = worker({.name = "second"});
    restart();
    back({});
    EXPECT_TRUE(core->in_claim_window());
    come_back(second, {.name = "second"});
    EXPECT_FALSE(core->in_claim_window());
}

TEST_F(CoreRestart, WorkerThatIsBackKeepsItsRowAndTakesItAlongWhenItLeaves) {
    restart();
    back({});
    EXPECT_EQ(disk[Table::workers].size(), 1U);
    goodbye(w);
    EXPECT_TRUE(disk[Table::workers].empty()) << "else every start to come would wait for it";
}

TEST_F(CoreRestart, ClaimedJobGoesOnUnderItsToken) {
    const Held held = one_job(w);
    restart();
    EXPECT_EQ(state(held.job), JobState::queued);
    back({running(held)});
    EXPECT_EQ(w.claims, std::vector{Code::ok});
    EXPECT_EQ(state(held.job), JobState::running);
    EXPECT_EQ(renew(w, held), Code::ok);
    EXPECT_EQ(complete(w, held, "r"), Code::ok);
    EXPECT_EQ(ended(held.job).last.attempt, 1U);
    EXPECT_EQ(ended(held.job).last.token, held.token);
}

TEST_F(CoreRestart, UnclaimedAttemptIsChargedToNobodyAndItsNumberUsedAgain) {
    const Held held = one_job(w);
    restart();
    back({});
    const Held again = take(w);
    EXPECT_EQ(again.job, held.job);
    EXPECT_EQ(again.attempt, 1U);
    EXPECT_GT(again.token, held.token);
    EXPECT_TRUE(attempts(held.job).empty());
    EXPECT_EQ(complete(w, held), Code::stale_lease);
    EXPECT_EQ(complete(w, again), Code::ok);
}

TEST_F(CoreRestart, ClaimAfterTheWindowIsStale) {
    const Held held = one_job(w);
    restart();
    advance(kClaimWindowMs);
    back({running(held)});
    EXPECT_EQ(w.claims, std::vector{Code::stale_lease});
    EXPECT_GT(take(w).token, held.token);
}

TEST_F(CoreRestart, FinishedJobOfALateWorkerIsJudgedByItsEnd) {
    const Held held = one_job(w);
    restart();
    advance(kClaimWindowMs);
    back({finished(held)});
    EXPECT_EQ(w.claims, std::vector{Code::ok}) << "its end, sent again, says how it stands";
    take(w);
    EXPECT_EQ(complete(w, held), Code::stale_lease);
}

TEST_F(CoreRestart, FinishedClaimInTheWindowIsTakenAndCompletes) {
    const Held held = one_job(w);
    restart();
    back({finished(held)});
    EXPECT_EQ(complete(w, held, "not lost"), Code::ok);
    EXPECT_EQ(ended(held.job).result, "not lost");
}

TEST_F(CoreRestart, EndThatWasNotDurableIsTakenWhenItComesAgain) {
    const Held completed = one_job(w);
    const Held failed = one_job(w);
    hold_commits();
    EXPECT_EQ(complete(w, completed, "r"), Code::ok);
    EXPECT_EQ(fail(w, failed), Code::ok);
    restart();
    commit();
    back({finished(completed), finished(failed)});
    EXPECT_EQ(complete(w, completed, "r"), Code::ok);
    EXPECT_EQ(fail(w, failed), Code::ok);
    EXPECT_EQ(fail(w, failed), Code::ok);
    commit();
    EXPECT_EQ(ended(completed.job).result, "r");
    EXPECT_EQ(core->job(failed.job)->errors, 1);
}

TEST_F(CoreRestart, TokenOfAnEndedAttemptCannotBeClaimed) {
    const Held failed = one_job(w);
    fail(w, failed);
    const Held released = one_job(w);
    release(w, released);
    take(w);
    restart();
    back({running(failed), running(released)});
    EXPECT_EQ(w.claims, (std::vector{Code::stale_lease, Code::stale_lease}));
    take_all(w);
}

TEST_F(CoreRestart, TokenOfThisEpochCannotBeClaimedFromNowhere) {
    const JobId job = submit(client, {.type = "u"});
    restart();
    back({{job, {std::uint64_t{config.epoch} << kTokenCounterBits | 7U}, false}, {job, {UINT64_MAX}, false}});
    EXPECT_EQ(w.claims, (std::vector{Code::stale_lease, Code::stale_lease}));
}

TEST_F(CoreRestart, OneClaimOfAJobIsEnough) {
    const Held held = one_job(w);
    Peer second = worker({.name = "second"});
    restart();
    back({running(held)});
    come_back(second, {.name = "second", .claims = {running(held)}});
    EXPECT_EQ(second.claims, std::vector{Code::stale_lease});
    EXPECT_EQ(complete(w, held), Code::ok);
}

TEST_F(CoreRestart, AcceptedClaimSurvivesASecondCrashAfterTheWindow) {
    const Held held = one_job(w);
    restart();
    back({running(held)});
    EXPECT_FALSE(core->in_claim_window());
    EXPECT_EQ(disk[Table::claims].size(), 1U);
    restart();
    back({running(held)});
    EXPECT_EQ(w.claims, std::vector{Code::ok});
    EXPECT_EQ(complete(w, held), Code::ok);
    EXPECT_TRUE(disk[Table::claims].empty());
}

TEST_F(CoreRestart, TheFloorOfAClosedWindowKillsEveryOtherOldToken) {
    const Held held = one_job(w);
    restart();
    advance(kClaimWindowMs);
    restart();
    back({running(held)});
    EXPECT_EQ(w.claims, std::vector{Code::stale_lease});
    take(w);
}

TEST_F(CoreRestart, SecondCrashInsideTheWindowBeginsItAgain) {
    const Held held = one_job(w);
    Peer late = worker({.name = "late", .types = {"u"}});
    submit(client, {.type = "u"});
    const Held lates = take(late);
    restart();
    back({running(held)});
    EXPECT_TRUE(core->in_claim_window());
    restart();
    EXPECT_TRUE(core->in_claim_window());
    back({running(held)});
    come_back(late, {.name = "late", .types = {"u"}, .claims = {running(lates)}});
    EXPECT_EQ(w.claims, std::vector{Code::ok});
    EXPECT_EQ(late.claims, std::vector{Code::ok});
    EXPECT_EQ(complete(w, held), Code::ok);
    EXPECT_EQ(complete(late, lates), Code::ok);
}

TEST_F(CoreRestart, CrashBeforeTheClosingOfTheWindowIsDurableBeginsItAgain) {
    const Held held = one_job(w);
    hold_commits();
    restart();
    back({running(held)});
    EXPECT_FALSE(core->in_claim_window());
    restart();
    EXPECT_TRUE(core->in_claim_window());
    back({running(held)});
    EXPECT_EQ(w.claims, std::vector{Code::ok});
    commit();
}

TEST_F(CoreRestart, DispatchAfterTheWindowRestsOnTheFloor) {
    submit(client);
    take(w);
    hold_commits();
    restart();
    back({});
    const auto dispatch = expect<Dispatch>(w);
    EXPECT_EQ(dispatch.rests_on, open_seq());
    commit();
    EXPECT_EQ(from_big_endian(disk[Table::meta].at(std::string(kMetaFloor))), std::uint64_t{2} << kTokenCounterBits);
}

TEST_F(CoreRestart, RegrantedOldJobKeepsNoClaim) {
    const Held held = one_job(w);
    restart();
    back({running(held)});
    EXPECT_EQ(release(w, held), Code::ok);
    const Held again = take(w);
    restart();
    back({running(held), running(again)});
    EXPECT_EQ(w.claims, (std::vector{Code::stale_lease, Code::ok}));
}

TEST_F(CoreRestart, CancelRequestSurvivesAndIsToldAgainToWhoClaims) {
    const Held held = one_job(w);
    cancel(client, held.job);
    expect<Stop>(w);
    restart();
    back({running(held)});
    EXPECT_EQ(w.claims, std::vector{Code::cancel_requested});
    EXPECT_EQ(expect<Stop>(w)->items.at(0).job, held.job);
    EXPECT_EQ(fail(w, held, {.outcome = Outcome::cancelled}), Code::ok);
    EXPECT_EQ(ended(held.job).state, JobState::cancelled);
}

TEST_F(CoreRestart, CancelledJobThatNobodyClaimsEndsWhenTheWindowCloses) {
    const Held held = one_job(w);
    cancel(client, held.job);
    expect<Stop>(w);
    restart();
    EXPECT_EQ(state(held.job), JobState::queued);
    EXPECT_EQ(watch(client, held.job).code, Code::ok);
    back({});
    EXPECT_EQ(state(held.job), JobState::cancelled) << "it is never dispatched again";
    EXPECT_EQ(expect<Results>(client)->items.at(0).state, JobState::cancelled);
}

TEST_F(CoreRestart, CancelRequestThatWasNotDurableIsLostWithItsAnswer) {
    const Held held = one_job(w);
    hold_commits();
    send(client, Cancel{{held.job}});
    EXPECT_EQ(expect<Answers>(client).rests_on, open_seq());
    EXPECT_EQ(expect<Stop>(w).rests_on, open_seq());
    restart();
    back({running(held)});
    EXPECT_EQ(w.claims, std::vector{Code::ok});
    commit();
}

TEST_F(CoreRestart, SubmitsEndsAndCancelsGoOnInTheWindow) {
    Peer missing = worker({.name = "missing", .types = {"u"}});
    const Held held = one_job(w);
    const JobId waiting = submit(client, {.type = "nobody serves this"});
    restart();
    back({running(held)});
    EXPECT_TRUE(core->in_claim_window());
    submit(client, {.type = "nobody serves this"});
    EXPECT_EQ(complete(w, held), Code::ok);
    EXPECT_EQ(cancel(client, waiting).code, Code::ok);
}

TEST_F(CoreRestart, JobCancelledInTheWindowCannotBeClaimedAnyMore) {
    const Held held = one_job(w);
    restart();
    EXPECT_EQ(cancel(client, held.job).code, Code::ok);
    back({running(held)});
    EXPECT_EQ(w.claims, std::vector{Code::stale_lease});
    EXPECT_EQ(complete(w, held), Code::stale_lease);
}

TEST_F(CoreRestart, JobHeldInTheWindowGoesOnIfItIsClaimedAndIsHeldWhenItFails) {
    submit(client, {.type = "t", .backoff = {.initial_ms = 1000, .jitter_percent = 0}});
    const Held held = take(w);
    restart();
    EXPECT_EQ(ask(client, Change{{held.job}, 0, {}, true}).code, Code::ok) << "it seems to wait";
    back({running(held)});
    EXPECT_EQ(w.claims, std::vector{Code::ok});
    EXPECT_EQ(fail(w, held), Code::ok);
    EXPECT_EQ(state(held.job), JobState::retrying);
    advance(10'000);
    EXPECT_EQ(state(held.job), JobState::retrying);
    EXPECT_TRUE(take_all(w).empty());
    EXPECT_EQ(ask(client, Change{{held.job}, 0, {}, false}).code, Code::ok);
    EXPECT_EQ(take(w).attempt, 2U);
}

TEST_F(CoreRestart, JobHeldInTheWindowAndCancelledWhileItRunsIsKnownAfterAnotherRestart) {
    const Held held = one_job(w);
    restart();
    EXPECT_EQ(ask(client, Change{{held.job}, 0, {}, true}).code, Code::ok);
    back({running(held)});
    EXPECT_EQ(cancel(client, held.job).code, Code::cancel_requested);
    restart();
    EXPECT_EQ(state(held.job), JobState::scheduled) << "held, and so not queued";
    advance(kClaimWindowMs);
    EXPECT_EQ(ended(held.job).state, JobState::cancelled);
}

TEST_F(CoreRestart, DeadlineThatPassesInTheWindowEndsAClaimedJobWhenThatCloses) {
    worker({.name = "missing"});
    submit(client, {.type = "t", .deadline_ms = 1000});
    const Held held = take(w);
    restart();
    back({running(held)});
    advance(kClaimWindowMs - 1);
    EXPECT_EQ(state(held.job), JobState::running);
    advance(1);
    EXPECT_EQ(ended(held.job).reason, Reason::expired) << "and not only when its lease is over";
    EXPECT_EQ(expect<Stop>(w)->items.at(0).job, held.job);
}

TEST_F(CoreRestart, NoLeaseAndNoSessionEndsWhileTheWindowIsOpen) {
    with({}, {.lost_after_ms = 500, .lease_ms = 1000, .renew_ms = 300});
    client = submitter();
    w = worker({.slots = 4});
    worker({.name = "missing"});
    const Held held = (submit(client), take(w));
    restart();
    back({running(held)});
    silence(w);
    advance(kClaimWindowMs - 1);
    EXPECT_EQ(state(held.job), JobState::running);
    EXPECT_EQ(core->workers(), 1U);
    EXPECT_EQ(renew(w, held), Code::ok);
}

TEST_F(CoreRestart, WaitingJobsGoOnWaitingForWhatIsLeft) {
    const JobId delayed = submit(client, {.type = "t", .delay_ms = 10'000});
    submit(client, {.type = "t", .backoff = {.initial_ms = 8000, .jitter_percent = 0}});
    const Held failed = take(w);
    fail(w, failed);
    advance(4000);
    goodbye(w);
    wall_ms += 1000;  // the broker is away for a second
    restart();
    EXPECT_EQ(state(delayed), JobState::scheduled);
    EXPECT_EQ(state(failed.job), JobState::retrying);
    advance(2999);
    EXPECT_EQ(state(failed.job), JobState::retrying);
    advance(1);
    EXPECT_EQ(state(failed.job), JobState::queued);
    advance(1999);
    EXPECT_EQ(state(delayed), JobState::scheduled);
    advance(1);
    EXPECT_EQ(state(delayed), JobState::queued);
}

TEST_F(CoreRestart, JobsThatFellDueMeanwhileAreQueuedInTheirOrder) {
    const JobId first = submit(client, {.type = "t", .delay_ms = 10'000});
    const JobId second = submit(client, {.type = "u"});
    const JobId third = submit(client, {.type = "t", .delay_ms = 5000});
    goodbye(w);
    wall_ms += 60'000;
    restart();
    EXPECT_FALSE(show(client, first).contains("due_at")) << "it is due";
    back({});
    std::vector<JobId> order;
    for (const Held& held : take_all(w)) order.push_back(held.job);
    EXPECT_EQ(order, (std::vector{first, third}));
    static_cast<void>(second);
}

TEST_F(CoreRestart, WallClockThatWasSetBackMakesNoPauseLongerThanItWasMeantToBe) {
    const JobId delayed = submit(client, {.type = "u", .delay_ms = 10'000});
    submit(client, {.type = "t", .backoff = {.initial_ms = 8000, .jitter_percent = 0}});
    const Held failed = take(w);
    fail(w, failed);
    goodbye(w);
    wall_ms -= 3'600'000;
    restart();
    advance(8000);
    EXPECT_EQ(state(failed.job), JobState::queued);
    advance(2000);
    EXPECT_EQ(state(delayed), JobState::queued);
}

TEST_F(CoreRestart, BudgetsSurvive) {
    submit(client, {.type = "t", .max_attempts = 2, .backoff = {.initial_ms = 0}});
    const Held first = take(w);
    fail(w, first);
    const Held second = take(w);
    gone(w);
    advance(kGraceMs);
    restart();
    EXPECT_EQ(core->job(first.job)->errors, 1);
    EXPECT_EQ(core->job(first.job)->crashes, 1);
    back({});
    const Held third = take(w);
    EXPECT_EQ(third.attempt, 3U);
    fail(w, third);
    EXPECT_EQ(ended(second.job).reason, Reason::failed);
}

TEST_F(CoreRestart, NumbersAreNeverIssuedTwiceEvenIfEveryJobIsGone) {
    with({.kept_jobs = 0});
    client = submitter();
    w = worker({.slots = 4});
    const Held held = (submit(client), take(w));
    complete(w, held);
    background();
    restart();
    back({});
    EXPECT_EQ(submit(client, {.type = "u"}), JobId{2});
}

TEST_F(CoreRestart, NothingIsLostAndNothingRunsTwiceAcrossManyRestarts) {
    std::vector<Held> held;
    for (int i = 0; i < 4; ++i) held.push_back(one_job(w));
    for (int crashes = 0; crashes < 5; ++crashes) {
        restart();
        std::vector<Claim> claims;
        for (const Held& one : held) claims.push_back(running(one));
        back(claims);
        EXPECT_EQ(w.claims, std::vector<Code>(4, Code::ok));
        advance_renewing(5000, w, held);
    }
    for (const Held& one : held) EXPECT_EQ(complete(w, one), Code::ok);
    EXPECT_EQ(core->numbers().completed_total, 4U);
    EXPECT_TRUE(disk[Table::claims].empty());
}

}  // namespace
}  // namespace jobyard::broker::test
