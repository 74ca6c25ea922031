// From HELLO to loss, and across restarts (PROTOCOL.md, sections 3 and 7).

#include "core_fixture.hpp"

namespace jobyard::broker::test {
namespace {

constexpr std::int64_t kGraceMs = 3000;
constexpr std::int64_t kClaimWindowMs = 3000;

struct CoreSession : YardTest {
    Peer client = submitter();

    /// A HELLO on a connection of its own that is refused.
    Got<Refusal> refused_hello(const Hello& message) {
        Peer peer;
        peer.id = {next_stranger_++};
        return refused(peer, message);
    }
    Hello good_worker() {
        Hello message;
        message.role = Role::worker;
        message.instance = uuid("stranger");
        message.name = "stranger";
        message.slots = 1;
        message.credit = 1;
        message.queues = {"default"};
        message.types = {"t"};
        return message;
    }
    Held one_job(const Peer& w) {
        submit(client);
        return take(w);
    }

 private:
    std::uint32_t next_stranger_ = 5000;
};

TEST_F(CoreSession, WelcomeTellsWhatThePeerNeedsToKnow) {
    Peer peer;
    peer.id = {77};
    Hello message;
    message.instance = uuid("p");
    send(peer, message);
    const auto welcome = expect<Welcome>(peer);
    EXPECT_TRUE(welcome.session);
    EXPECT_EQ(welcome->version, kProtocolVersion);
    EXPECT_EQ(welcome->store, config.store);
    EXPECT_EQ(welcome->epoch, config.epoch);
    EXPECT_EQ(welcome->instance, InstanceState::fresh);
    EXPECT_EQ(welcome->heartbeat_ms, config.timing.heartbeat_ms);
    EXPECT_EQ(welcome->lost_after_ms, config.timing.lost_after_ms);
    EXPECT_EQ(welcome->lease_ms, config.timing.lease_ms);
    EXPECT_EQ(welcome->renew_ms, config.timing.renew_ms);
    EXPECT_EQ(welcome->window, kSubmitWindow);
    EXPECT_EQ(welcome->max_payload, kMaxPayloadBytes);
    EXPECT_EQ(welcome->max_result, kMaxResultBytes);
}

TEST_F(CoreSession, FirstWelcomesRestOnTheirRows) {
    hold_commits();
    Peer peer;
    peer.id = {77};
    Hello message;
    message.instance = uuid("p");
    send(peer, message);
    EXPECT_EQ(expect<Welcome>(peer).rests_on, open_seq()) << "from then on a missing row means retired";
    commit();
    EXPECT_EQ(disk[Table::instances].size(), 2U);
    peer.id = {78};
    send(peer, good_worker());
    EXPECT_EQ(expect<Welcome>(peer).rests_on, open_seq()) << "these rows are the workers known at a crash";
    commit();
    EXPECT_EQ(disk[Table::workers].size(), 1U);
}

TEST_F(CoreSession, HelloIsRefusedForEachBadField) {
    const auto field_of = [&](auto&& change) {
        Hello message = good_worker();
        change(message);
        const auto refusal = refused_hello(message);
        EXPECT_EQ(refusal->code, Code::bad_field);
        EXPECT_FALSE(refusal->text.empty());
        return std::string(refusal->field);
    };
    const std::string long_name(256, 'x');
    const std::vector<std::string_view> too_many(257, "q");
    EXPECT_EQ(field_of([](Hello& m) {
                  m.instance = uuid_from_bytes(std::string_view("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16));
              }),
              "instance");
    EXPECT_EQ(field_of([](Hello& m) { m.role = static_cast<Role>(3); }), "role");
    EXPECT_EQ(field_of([](Hello& m) { m.name = ""; }), "name");
    EXPECT_EQ(field_of([&](Hello& m) { m.name = long_name; }), "name");
    EXPECT_EQ(field_of([](Hello& m) { m.slots = 0; }), "slots");
    EXPECT_EQ(field_of([](Hello& m) { m.slots = 1025; }), "slots");
    EXPECT_EQ(field_of([](Hello& m) { m.credit = 1025; }), "credit");
    EXPECT_EQ(field_of([](Hello& m) { m.queues.clear(); }), "queues");
    EXPECT_EQ(field_of([&](Hello& m) { m.queues = too_many; }), "queues");
    EXPECT_EQ(field_of([](Hello& m) { m.queues = {"a", "b\n"}; }), "queues");
    EXPECT_EQ(field_of([](Hello& m) { m.types.clear(); }), "types");
    EXPECT_EQ(field_of([](Hello& m) { m.types = {""}; }), "types");
    EXPECT_EQ(field_of([](Hello& m) {
                  m.role = Role::submitter;
                  m.name = "bad\x01";
              }),
              "name");
    EXPECT_EQ(core->workers(), 0U);
}

TEST_F(CoreSession, HelloWithoutACommonVersionNamesThoseSpoken) {
    Hello message = good_worker();
    message.min_version = 2;
    message.max_version = 3;
    const auto refusal = refused_hello(message);
    EXPECT_EQ(refusal->code, Code::version_not_spoken);
    EXPECT_EQ(refusal->min_version, kProtocolVersion);
    EXPECT_EQ(refusal->max_version, kProtocolVersion);
    message.min_version = 0;
    message.max_version = 0;
    EXPECT_EQ(refused_hello(message)->code, Code::version_not_spoken);
}

TEST_F(CoreSession, NewerPeerThatAlsoSpeaksVersionOneIsWelcome) {
    Peer peer;
    peer.id = {77};
    Hello message = good_worker();
    message.max_version = 200;
    message.minor = 9;
    send(peer, message);
    EXPECT_EQ(expect<Welcome>(peer)->version, 1);
}

TEST_F(CoreSession, InstanceKeepsItsRole) {
    Hello message = good_worker();
    message.instance = client.instance;
    EXPECT_EQ(refused_hello(message)->field, "role");
}

TEST_F(CoreSession, LimitOfSessionsIsBusyButTheSameInstanceMayComeBack) {
    with({.sessions = 2});
    client = submitter();
    Peer w = worker();
    const auto refusal = refused_hello(good_worker());
    EXPECT_EQ(refusal->code, Code::busy);
    EXPECT_GT(refusal->retry_after_ms, 0U);
    gone(w);
    come_back(w);
    EXPECT_EQ(core->workers(), 1U);
}

TEST_F(CoreSession, WithoutHelloEverythingIsNoSession) {
    Peer stranger;
    stranger.id = {900};
    stranger.session = {12345};
    EXPECT_EQ(refused(stranger, Submit{0, 1, {{.type = "t"}}})->code, Code::no_session);
    EXPECT_EQ(refused(stranger, Renew{})->code, Code::no_session);
    EXPECT_EQ(refused(stranger, Heartbeat{})->code, Code::no_session);
    EXPECT_EQ(refused(stranger, AskStats{})->code, Code::no_session);
}

TEST_F(CoreSession, AnotherSessionNumberIsNoSession) {
    Peer wrong = client;
    wrong.session = {client.session.value + 2};
    EXPECT_EQ(refused(wrong, Submit{0, 1, {{.type = "t"}}})->code, Code::no_session);
    EXPECT_EQ(core->numbers().submitted_total, 0U);
}

TEST_F(CoreSession, HeartbeatIsAnsweredWithOne) {
    send(client, Heartbeat{});
    EXPECT_EQ(expect<Heartbeat>(client).rests_on, 0U);
}

TEST_F(CoreSession, HeartbeatBeforeHelloIsIgnored) {
    Peer stranger;
    stranger.id = {900};
    send(stranger, Heartbeat{});
}

TEST_F(CoreSession, SessionNumbersAreNotGuessable) {
    std::set<std::uint64_t> numbers;
    for (int i = 0; i < 100; ++i) numbers.insert(submitter("p" + std::to_string(i)).session.value);
    EXPECT_EQ(numbers.size(), 100U);
    EXPECT_GT(*numbers.rbegin() - *numbers.begin(), std::uint64_t{1} << 60);
}

TEST_F(CoreSession, AnotherInstanceOnTheSameConnectionEndsTheFirst) {
    Peer w = worker();
    const Held held = one_job(w);
    Peer second = w;
    second.instance = uuid("second");
    hello_here(second, {.name = "second"});
    EXPECT_EQ(core->workers(), 1U);
    EXPECT_EQ(take(second).job, held.job);
    EXPECT_EQ(refused(w, Renew{})->code, Code::no_session);
}

// --- loss ------------------------------------------------------------------------------------------------------------

TEST_F(CoreSession, WorkerWhoseConnectionClosedKeepsItsLeasesForAGrace) {
    const Peer w = worker();
    const Held held = one_job(w);
    gone(w);
    advance(kGraceMs - 1);
    EXPECT_EQ(state(held.job), JobState::assigned);
    advance(1);
    EXPECT_EQ(state(held.job), JobState::queued);
    EXPECT_EQ(core->job(held.job)->crashes, 1);
    EXPECT_EQ(attempts(held.job).at(0).outcome, Outcome::worker_lost);
    EXPECT_TRUE(disk[Table::workers].empty());
}

TEST_F(CoreSession, SilentWorkerIsLostAfterItsTime) {
    const Peer w = worker();
    const Held held = one_job(w);
    silence(w);
    advance(config.timing.lost_after_ms - 1);
    EXPECT_EQ(state(held.job), JobState::assigned);
    advance(1);
    EXPECT_EQ(state(held.job), JobState::queued);
    EXPECT_EQ(core->job(held.job)->crashes, 1);
    EXPECT_EQ(refused(w, Complete{{{0, held.job, held.token, 0}}})->code, Code::no_session);
}

TEST_F(CoreSession, AnyMessageIsASignOfLife) {
    const Peer w = worker();
    silence(w);
    for (int i = 0; i < 10; ++i) {
        advance(config.timing.lost_after_ms - 1);
        send(w, Credit{1});
    }
    EXPECT_EQ(core->workers(), 1U);
}

TEST_F(CoreSession, WorkerThatLeavesHandsItsJobsBackUncharged) {
    const Peer w = worker();
    const Held held = one_job(w);
    goodbye(w);
    EXPECT_EQ(state(held.job), JobState::queued);
    EXPECT_EQ(core->job(held.job)->crashes, 0);
    EXPECT_EQ(core->job(held.job)->errors, 0);
    EXPECT_TRUE(disk[Table::workers].empty());
    EXPECT_EQ(take(worker({.name = "other"})).attempt, 1U);
}

TEST_F(CoreSession, LostWorkersLateResultIsRefusedAsStale) {
    Peer lost = worker({.name = "lost"});
    const Held held = one_job(lost);
    gone(lost);
    advance(kGraceMs);
    const Peer other = worker({.name = "other"});
    const Held again = take(other);
    come_back(lost, {.name = "lost", .claims = {{held.job, held.token, true}}});
    EXPECT_EQ(complete(lost, held, "late"), Code::stale_lease);
    EXPECT_EQ(complete(other, again, "good"), Code::ok);
    EXPECT_EQ(complete(lost, held, "late"), Code::stale_lease);
    EXPECT_EQ(ended(held.job).result, "good");
}

// --- coming back -----------------------------------------------------------------------------------------------------

TEST_F(CoreSession, WorkerThatComesBackGoesOnWithWhatItLists) {
    Peer w = worker({.slots = 3});
    for (int i = 0; i < 3; ++i) submit(client);
    const std::vector<Held> held = take_all(w);
    gone(w);
    advance(kGraceMs - 1);
    come_back(w, {.slots = 3, .claims = {{held[0].job, held[0].token, false}, {held[2].job, held[2].token, true}}});
    EXPECT_EQ(w.claims, (std::vector{Code::ok, Code::ok}));
    std::vector<Held> again = take_all(w);
    EXPECT_EQ(renew(w, held[0]), Code::ok);
    EXPECT_EQ(complete(w, held[2], "kept"), Code::ok);
    ASSERT_EQ(again.size(), 1U) << "what it did not list was never received";
    EXPECT_EQ(again[0].job, held[1].job);
    EXPECT_EQ(again[0].attempt, 1U);
    EXPECT_GT(again[0].token, held[1].token);
    EXPECT_EQ(core->job(held[1].job)->crashes, 0);
    EXPECT_EQ(complete(w, held[1]), Code::stale_lease);
    EXPECT_EQ(disk[Table::workers].size(), 1U);
    advance(kGraceMs);
    EXPECT_EQ(core->workers(), 1U) << "the session it had is over";
}

TEST_F(CoreSession, NewSessionOfALivingWorkerReplacesTheOlder) {
    Peer w = worker();
    const Held held = one_job(w);
    const Peer older = w;
    come_back(w, {.claims = {{held.job, held.token, false}}});
    EXPECT_EQ(expect<Refusal>(older)->code, Code::replaced);
    EXPECT_EQ(refused(older, Complete{{{0, held.job, held.token, 0}}})->code, Code::replaced);
    EXPECT_EQ(state(held.job), JobState::assigned);
    EXPECT_EQ(complete(w, held), Code::ok);
    gone(older);
    EXPECT_EQ(refused(older, Heartbeat{})->code, Code::no_session);
}

TEST_F(CoreSession, HelloAgainOnTheSameConnectionIsANewSession) {
    Peer w = worker();
    const Held held = one_job(w);
    const Peer older = w;
    hello_here(w, {.claims = {{held.job, held.token, false}}});
    EXPECT_NE(older.session, w.session);
    EXPECT_EQ(refused(older, Renew{})->code, Code::no_session);
    EXPECT_EQ(complete(w, held), Code::ok);
}

TEST_F(CoreSession, ClaimsAreAnsweredOneByOne) {
    Peer other = worker({.name = "other"});
    const Held others = one_job(other);
    Peer w = worker({.slots = 5});
    const Held mine = one_job(w);
    const Held cancelled = one_job(w);
    cancel(client, cancelled.job);
    expect<Stop>(w);
    const Held completed = one_job(w);
    complete(w, completed);
    gone(w);
    come_back(w, {.slots = 5,
                  .claims = {{mine.job, mine.token, false},
                             {cancelled.job, cancelled.token, false},
                             {completed.job, completed.token, true},
                             {completed.job, completed.token, false},
                             {others.job, others.token, false},
                             {mine.job, {mine.token.value - 1}, false},
                             {{99}, {1}, false}}});
    EXPECT_EQ(w.claims, (std::vector{Code::ok, Code::cancel_requested, Code::ok, Code::stale_lease, Code::stale_lease,
                                     Code::stale_lease, Code::stale_lease}));
    EXPECT_EQ(expect<Stop>(w)->items.at(0).job, cancelled.job) << "told again: the first may have been lost";
    EXPECT_EQ(complete(w, mine), Code::ok);
    EXPECT_EQ(complete(other, others), Code::ok);
}

TEST_F(CoreSession, BrokerWithAnotherStoreTakesNoClaims) {
    Peer w = worker();
    const Held held = one_job(w);
    gone(w);
    come_back(w, {.claims = {{held.job, held.token, false}}, .store = uuid("another store")});
    EXPECT_EQ(w.claims, std::vector{Code::stale_lease});
    EXPECT_GT(take(w).token, held.token);
}

TEST_F(CoreSession, StoppingBrokerSaysGoodbyeToWhoIsThere) {
    const Peer w = worker();
    const Peer away = worker({.name = "away"});
    gone(away);
    Output out{open.get(), {}};
    core->stop(out);
    std::set<PeerId> told;
    for (const Outgoing& message : out.messages) {
        told.insert(message.peer);
        EXPECT_EQ(std::get<Goodbye>(message.envelope.message).reason, GoodbyeReason::restarting);
    }
    EXPECT_EQ(told, (std::set{client.id, w.id}));
}

// --- restart ---------------------------------------------------------------------------------------------------------

struct CoreRestart : CoreSession {
    Peer w = worker({.slots = 4});

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
