// Who gets which job, and how long it may keep it (PROTOCOL.md, sections 4 and 7).

#include "core_fixture.hpp"

namespace jobyard::broker::test {
namespace {

struct CoreDispatch : YardTest {
    Peer client = submitter();

    /// The order in which one slot gets what is queued.
    std::vector<JobId> drain(const Peer& w) {
        std::vector<JobId> order;
        while (has_message(w)) {
            const Held held = take(w);
            order.push_back(held.job);
            complete(w, held);
        }
        return order;
    }
    /// Keeps a slot busy until it is completed.
    Held busy(const Peer& w) {
        submit(client);
        return take(w);
    }
};

TEST_F(CoreDispatch, HighestPriorityGoesFirstAndTheOldestAmongEquals) {
    const JobId middle = submit(client);
    const JobId last = submit(client, {.type = "t", .priority = 1});
    const JobId first = submit(client, {.type = "t", .priority = 10});
    const JobId middle_too = submit(client);
    EXPECT_EQ(drain(worker()), (std::vector{first, middle, middle_too, last}));
}

TEST_F(CoreDispatch, JobThatReturnsKeepsItsPlace) {
    const Peer w = worker();
    const JobId first = submit(client, {.type = "t", .backoff = {.initial_ms = 0}});
    const JobId second = submit(client);
    const JobId third = submit(client);
    EXPECT_EQ(release(w, take(w)), Code::ok);
    EXPECT_EQ(fail(w, take(w)), Code::ok);
    EXPECT_EQ(drain(w), (std::vector{first, second, third}));
}

TEST_F(CoreDispatch, PlaceSurvivesARestart) {
    const JobId first = submit(client);
    const JobId second = submit(client);
    Peer w = worker();
    release(w, take(w));
    EXPECT_EQ(take(w).job, first);
    goodbye(w);
    crash();
    EXPECT_EQ(drain(worker()), (std::vector{first, second}));
}

TEST_F(CoreDispatch, OneDispatchInTwentyGoesToTheLongestWaitingJob) {
    const JobId old = submit(client, {.type = "t", .priority = 1});
    for (int i = 0; i < 60; ++i) submit(client, {.type = "t", .priority = 10});
    const std::vector<JobId> order = drain(worker());
    ASSERT_EQ(order.size(), 61U);
    EXPECT_EQ(order[19], old);
}

TEST_F(CoreDispatch, AnOldBacklogNeverOvertakesUrgentWorkWholesale) {
    for (int i = 0; i < 100; ++i) submit(client, {.type = "t", .priority = 1});
    const std::uint64_t last_of_backlog = core->numbers().next_job - 1;
    for (int i = 0; i < 100; ++i) submit(client, {.type = "t", .priority = 10});
    const std::vector<JobId> order = drain(worker());
    std::size_t old_ones = 0;
    for (std::size_t i = 0; i < 100; ++i) old_ones += order[i].value <= last_of_backlog;
    EXPECT_EQ(old_ones, 5U);
}

TEST_F(CoreDispatch, QueuesTakeTurns) {
    for (int i = 0; i < 3; ++i) submit(client, {.queue = "a", .type = "t", .priority = 10});
    for (int i = 0; i < 3; ++i) submit(client, {.queue = "b", .type = "t", .priority = 1});
    const Peer w = worker({.queues = {"a", "b"}});
    std::string queues;
    while (has_message(w)) {
        const Held held = take(w);
        queues += held.queue;
        complete(w, held);
    }
    EXPECT_EQ(queues, "ababab");
}

TEST_F(CoreDispatch, JobOfATypeNobodyServesBlocksNobody) {
    submit(client, {.type = "nobody serves this", .priority = 10});
    submit(client, {.queue = "nor this", .type = "t", .priority = 10});
    const JobId job = submit(client, {.type = "t", .priority = 1});
    EXPECT_EQ(drain(worker()), std::vector{job});
}

TEST_F(CoreDispatch, JobsGoOnlyToWorkersOfTheirQueueAndType) {
    const Peer mail = worker({.name = "mail", .queues = {"mail"}, .types = {"send", "t"}});
    const Peer web = worker({.name = "web", .queues = {"web"}, .types = {"fetch", "t"}});
    EXPECT_EQ((submit(client, {.queue = "mail", .type = "send"}), take(mail).type), "send");
    EXPECT_EQ((submit(client, {.queue = "web", .type = "fetch"}), take(web).type), "fetch");
    submit(client, {.queue = "web", .type = "send"});
    submit(client, {.queue = "mail", .type = "fetch"});
    expect_silence();
}

TEST_F(CoreDispatch, NeverMoreThanTheCredit) {
    const Peer w = worker({.slots = 4, .credit = 2});
    for (int i = 0; i < 5; ++i) submit(client);
    std::vector<Held> held = take_all(w);
    EXPECT_EQ(held.size(), 2U);
    complete(w, held[0]);
    EXPECT_EQ(take_all(w).size(), 1U);
}

TEST_F(CoreDispatch, CreditMayGrowShrinkAndBeLowerThanWhatIsHeld) {
    const Peer w = worker({.slots = 4, .credit = 0});
    for (int i = 0; i < 6; ++i) submit(client);
    expect_silence();
    send(w, Credit{3});
    std::vector<Held> held = take_all(w);
    EXPECT_EQ(held.size(), 3U);
    send(w, Credit{1});
    complete(w, held[0]);
    complete(w, held[1]);
    expect_silence();
    complete(w, held[2]);
    EXPECT_EQ(take_all(w).size(), 1U);
}

TEST_F(CoreDispatch, CreditBeyondTheLimitIsRefused) {
    const Peer w = worker({.credit = 0});
    send(w, Credit{kMaxCredit});
    const auto refusal = refused(w, Credit{kMaxCredit + 1});
    EXPECT_EQ(refusal->code, Code::bad_field);
    EXPECT_EQ(refusal->field, "credit");
}

TEST_F(CoreDispatch, LeastLoadedShareOfSlotsGetsTheNextJob) {
    const Peer small = worker({.name = "small", .slots = 2});
    const Peer large = worker({.name = "large", .slots = 6});
    for (int i = 0; i < 4; ++i) submit(client);
    EXPECT_EQ(take_all(small).size(), 1U);
    EXPECT_EQ(take_all(large).size(), 3U);
}

TEST_F(CoreDispatch, NoWorkIsHoardedWhileAnotherWorkerIsIdle) {
    const Peer hoarder = worker({.name = "hoarder", .slots = 1, .credit = 100});
    const Peer second = worker({.name = "second"});
    const Peer third = worker({.name = "third"});
    for (int i = 0; i < 3; ++i) submit(client);
    EXPECT_EQ(take_all(hoarder).size(), 1U);
    EXPECT_EQ(take_all(second).size(), 1U);
    EXPECT_EQ(take_all(third).size(), 1U);
    submit(client);
    EXPECT_EQ(take_all(hoarder).size(), 1U) << "now everybody is busy, and prefetch is its wish";
}

TEST_F(CoreDispatch, WorkersOfDifferentServicesShareWhatBothCanTake) {
    const Peer narrow = worker({.name = "narrow", .slots = 2});
    const Peer wide = worker({.name = "wide", .slots = 2, .types = {"t", "u"}});
    for (int i = 0; i < 4; ++i) submit(client);
    EXPECT_EQ(take_all(narrow).size(), 2U);
    EXPECT_EQ(take_all(wide).size(), 2U);
}

TEST_F(CoreDispatch, ListsAreCutWhereTheWireBoundsThem) {
    Peer peer = submitter("bulk");
    const std::string payload(200'000, 'p');
    for (int i = 0; i < 7; ++i) submit(peer, {.type = "t"}, payload);
    const std::string queue(255, 'q');
    for (int round = 0; round < 3; ++round) {
        send(peer,
             Submit{peer.confirmed, peer.next_number, std::vector<SubmitItem>(200, {.queue = queue, .type = "t"})});
        peer.next_number += 200;
        answers(peer);
    }
    const Peer w = worker({.slots = 1024, .queues = {"default", queue}});
    std::size_t lists = 0;
    std::size_t jobs = 0;
    while (has_message(w)) {
        const auto dispatch = expect<Dispatch>(w);
        ++lists;
        jobs += dispatch->items.size();
        std::size_t bytes = 0;
        for (const std::string& one : dispatch.payloads) bytes += one.size();
        EXPECT_LE(bytes, kCutListBytes);
        EXPECT_LE(dispatch.header->size(), kMaxHeaderBytes);
    }
    EXPECT_EQ(jobs, 607U);
    EXPECT_GE(lists, 4U);
}

TEST_F(CoreDispatch, ALargePayloadGoesInAListOfItsOwn) {
    Peer peer = submitter("bulk");
    for (const std::size_t size : {std::size_t{10}, kLargePayloadBytes - 1, kLargePayloadBytes, std::size_t{10}})
        submit(peer, {.type = "t"}, std::string(size, 'p'));
    const Peer w = worker({.slots = 1024});
    std::vector<std::vector<std::size_t>> lists;
    while (has_message(w)) {
        auto& sizes = lists.emplace_back();
        for (const std::string& one : expect<Dispatch>(w).payloads) sizes.push_back(one.size());
    }
    EXPECT_EQ(lists, (std::vector<std::vector<std::size_t>>{{10, kLargePayloadBytes - 1}, {kLargePayloadBytes}, {10}}));
}

TEST_F(CoreDispatch, AFullListOfTheSmallestJobsFits) {
    Peer peer = submitter("bulk");
    for (int i = 0; i < 2; ++i) {
        send(peer, Submit{0, peer.next_number, std::vector<SubmitItem>(1024, {.type = "t"})});
        peer.next_number += 1024;
        answers(peer);
    }
    EXPECT_EQ(take_all(worker({.slots = 1024})).size(), 1024U);
}

TEST_F(CoreDispatch, DiskBelowItsFloorStopsDispatchUntilThereIsRoom) {
    with({.submit_free_bytes = 0, .dispatch_free_bytes = 1000});
    client = submitter();
    const Peer w = worker({.slots = 2});
    core->set_free_disk(999);
    const JobId job = submit(client);
    EXPECT_EQ(show(client, job)["reason"], "disk_full");
    core->set_free_disk(1000);
    tick();
    EXPECT_EQ(take(w).job, job);
}

TEST_F(CoreDispatch, WorkerWhoseConnectionClosedGetsNothing) {
    const Peer w = worker();
    gone(w);
    const JobId job = submit(client);
    EXPECT_EQ(state(job), JobState::queued);
}

TEST_F(CoreDispatch, NothingIsDispatchedBeforeItsSubmitIsDurable) {
    hold_commits();
    const Peer w = worker();
    submit(client);
    const auto dispatch = expect<Dispatch>(w);
    EXPECT_EQ(dispatch.rests_on, open_seq());
    commit();
}

TEST_F(CoreDispatch, RegrantRestsOnTheBatchThatRaisesTheFloor) {
    hold_commits();
    const Peer w = worker();
    submit(client);
    const Held held = take(w);
    commit();
    EXPECT_EQ(release(w, held), Code::ok);
    const auto again = expect<Dispatch>(w);
    EXPECT_EQ(again.rests_on, open_seq()) << "else a crash could leave two holders with good tokens";
    commit();
    StateRow row;
    ASSERT_TRUE(read_row(disk[Table::state].at(job_key(held.job)), row));
    EXPECT_GT(row.token_floor, held.token.value);
}

// --- leases ----------------------------------------------------------------------------------------------------------

struct CoreLease : CoreDispatch {
    const std::int64_t lease = config.timing.lease_ms;
};

TEST_F(CoreLease, ExpiredLeaseQueuesJobAgainAndChargesTheCrashBudget) {
    const Peer w = worker({.slots = 2});
    const JobId job = submit(client);
    const Held held = take(w);
    advance(lease - 1);
    EXPECT_EQ(state(job), JobState::assigned);
    advance(1);
    const auto stop = expect<Stop>(w);
    EXPECT_EQ(stop->items.at(0).token, held.token);
    EXPECT_EQ(stop->items.at(0).reason, StopReason::lease_lost);
    const Held again = take(w);
    EXPECT_EQ(again.attempt, 2U);
    EXPECT_EQ(core->job(job)->crashes, 1);
    EXPECT_EQ(core->job(job)->errors, 0);
    EXPECT_EQ(attempts(job).at(0).outcome, Outcome::lease_expired);
    EXPECT_EQ(complete(w, held), Code::stale_lease);
    EXPECT_EQ(complete(w, again), Code::ok);
}

TEST_F(CoreLease, NothingComesInPlaceOfALostJobBeforeItsStop) {
    const Peer w = worker();
    submit(client, {.type = "t", .deadline_ms = 1000});
    take(w);
    const JobId next = submit(client);
    hold_commits();
    submit(client);  // so that the open batch has something, on which the STOP will rest
    advance(1000);
    const auto stop = expect<Stop>(w);
    const auto dispatch = expect<Dispatch>(w);
    EXPECT_EQ(dispatch->items.at(0).job, next);
    EXPECT_EQ(stop.rests_on, open_seq());
    EXPECT_EQ(dispatch.rests_on, stop.rests_on) << "else it would overtake the STOP, and the worker hold two";
    resume_commits();
    commit();
}

TEST_F(CoreLease, RenewalMovesTheEnd) {
    const Peer w = worker();
    const Held held = busy(w);
    advance(lease - 1);
    EXPECT_EQ(renew(w, held), Code::ok);
    advance(lease - 1);
    EXPECT_EQ(renew(w, held), Code::ok);
    advance(lease);
    expect<Stop>(w);
    take(w);
    EXPECT_EQ(renew(w, held), Code::stale_lease);
}

TEST_F(CoreLease, RenewalOfWhatIsNotHeldIsStale) {
    const Peer w = worker();
    const Held held = busy(w);
    EXPECT_EQ(renew(w, {.job = held.job, .token = {held.token.value + 1}}), Code::stale_lease);
    EXPECT_EQ(renew(w, {.job = {99}, .token = held.token}), Code::stale_lease);
    complete(w, held);
    EXPECT_EQ(renew(w, held), Code::stale_lease);
}

TEST_F(CoreLease, OneJobsRenewalDoesNotRenewAnother) {
    const Peer w = worker({.slots = 2});
    const Held first = busy(w);
    const Held second = busy(w);
    advance(lease - 1);
    renew(w, first);
    advance(1);
    EXPECT_EQ(expect<Stop>(w)->items.at(0).job, second.job);
    take(w);
    EXPECT_EQ(renew(w, first), Code::ok);
}

TEST_F(CoreLease, StartedJobIsNotRenewedPastItsTimeoutAndALease) {
    const Peer w = worker({.slots = 2});
    const JobId job = submit(client, {.type = "t", .timeout_ms = 60'000, .max_attempts = 1});
    const Held held = take(w);
    advance(5000);
    started(w, held);
    advance_renewing(60'000 + lease - 1, w, {held});
    EXPECT_EQ(state(job), JobState::running);
    advance(1);
    expect<Stop>(w);
    EXPECT_EQ(ended(job).last.outcome, Outcome::timeout);
    EXPECT_EQ(ended(job).reason, Reason::failed) << "its own error, not the worker's";
}

TEST_F(CoreLease, JobThatHasNotStartedMayBeRenewedForEver) {
    const Peer w = worker();
    submit(client, {.type = "t", .timeout_ms = 1000});
    const Held held = take(w);
    advance_renewing(10 * lease, w, {held});
    EXPECT_EQ(complete(w, held), Code::ok);
}

TEST_F(CoreLease, TimeoutOfZeroIsNone) {
    const Peer w = worker();
    submit(client, {.type = "t", .timeout_ms = 0});
    const Held held = take(w);
    started(w, held);
    advance_renewing(10 * lease, w, {held});
    EXPECT_EQ(complete(w, held), Code::ok);
}

TEST_F(CoreLease, StartedTwiceDoesNotMoveTheHardEnd) {
    const Peer w = worker({.slots = 2});
    submit(client, {.type = "t", .timeout_ms = 1000, .max_attempts = 1});
    const Held held = take(w);
    started(w, held);
    advance(10'000);
    started(w, held);
    renew(w, held);
    advance(1000 + lease - 10'000);
    expect<Stop>(w);
}

TEST_F(CoreLease, HardEndSurvivesAReconnect) {
    Peer w = worker({.slots = 2});
    const JobId job = submit(client, {.type = "t", .timeout_ms = 1000, .max_attempts = 1});
    const Held held = take(w);
    started(w, held);
    gone(w);
    advance(1000);
    come_back(w, {.slots = 2, .claims = {{held.job, held.token, false}}});
    EXPECT_EQ(w.claims, std::vector{Code::ok});
    advance_renewing(lease - 1, w, {held});
    EXPECT_EQ(state(job), JobState::running);
    advance(1);
    expect<Stop>(w);
    EXPECT_EQ(ended(job).last.outcome, Outcome::timeout);
}

TEST_F(CoreLease, StartedForAnotherTokenIsIgnored) {
    const Peer w = worker();
    const Held held = busy(w);
    send(w, Started{{{held.job, {held.token.value + 1}}, {{99}, held.token}}});
    EXPECT_EQ(state(held.job), JobState::assigned);
}

TEST_F(CoreLease, ProgressIsShownWhileTheAttemptRuns) {
    const Peer w = worker();
    const Held held = busy(w);
    EXPECT_EQ(renew(w, held, 0.25, "a quarter"), Code::ok);
    const auto map = show(client, held.job);
    EXPECT_EQ(map["progress"], 0.25);
    EXPECT_EQ(map["progress_text"], "a quarter");
    renew(w, held, 7, std::string(300, 'x'));
    EXPECT_EQ(show(client, held.job)["progress"], 1.0);
    EXPECT_EQ(show(client, held.job)["progress_text"], std::string(255, 'x'));
    renew(w, held, std::numeric_limits<double>::quiet_NaN(), "odd");
    EXPECT_EQ(show(client, held.job)["progress"], 0.0);
    release(w, held);
    EXPECT_FALSE(show(client, held.job).contains("progress"));
    take(w);
}

TEST_F(CoreLease, ManyLeasesExpireInOneTurn) {
    const Peer w = worker({.slots = 100});
    for (int i = 0; i < 100; ++i) submit(client);
    EXPECT_EQ(take_all(w).size(), 100U);
    silence(w);
    gone(w);
    advance(3000);
    for (std::uint64_t id = 1; id <= 100; ++id) EXPECT_EQ(core->job({id})->crashes, 1);
}

}  // namespace
}  // namespace jobyard::broker::test
