// From HELLO to loss (PROTOCOL.md, sections 3 and 7).

#include "core_fixture.hpp"

namespace jobyard::broker::test {
namespace {

constexpr std::int64_t kGraceMs = 3000;

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
    EXPECT_EQ(field_of([&](Hello& m) { m.host = long_name; }), "host");
    EXPECT_EQ(field_of([](Hello& m) { m.host = "a\nb"; }), "host");
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
    EXPECT_EQ(refusal->text, "this broker speaks protocol version 1, this peer 2 to 3");
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

}  // namespace
}  // namespace jobyard::broker::test
