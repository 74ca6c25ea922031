// The worker's session as a state machine: the tests play the broker, the slots and the clock.

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "jobyard/codec.hpp"
#include "session.hpp"

namespace jobyard::worker {
namespace {

constexpr std::int64_t kHeartbeatMs = 5'000;
constexpr std::int64_t kLostAfterMs = 20'000;
constexpr std::int64_t kLeaseMs = 30'000;
constexpr std::int64_t kRenewMs = 10'000;
constexpr std::int64_t kStuckGraceMs = 15'000;

class WorkerSession : public testing::Test {
 protected:
    struct Sent {
        Envelope envelope;
        std::string header;  // what the envelope's views point into
        std::string payload;
    };

    static Session::Options options(std::uint32_t slots = 4, std::uint32_t credit = 0) {
        Session::Options made;
        made.instance.bytes[0] = 7;
        made.name = "w1";
        made.software = "test";
        made.host = "h1";
        made.pid = 4711;
        made.slots = slots;
        made.credit = credit;
        made.queues = {"default"};
        made.types = {"t"};
        made.stuck_grace_ms = kStuckGraceMs;
        return made;
    }
    void use(std::uint32_t slots, std::uint32_t credit = 0) { session = Session(options(slots, credit), now); }

    /// Ends a turn: ticks, carries messages over the wire (encoded and decoded) and collects starts and stops.
    void tick(std::int64_t passed_ms = 0) {
        now += passed_ms;
        session.on_tick(now);
        for (OutgoingMessage& message : session.outbox().messages) {
            Sent& to = sent.emplace_back();
            encode_header(message.envelope, to.header);
            for (const KeptBytes& piece : message.payload) to.payload += piece.bytes;
            auto decoded = decode_header(to.header, to.payload.size());
            ASSERT_TRUE(std::holds_alternative<Envelope>(decoded)) << std::get<DecodeError>(decoded).text;
            to.envelope = std::get<Envelope>(decoded);
        }
        take_orders();
        reopened = session.outbox().reopen;
        session.outbox().clear();
    }
    void take_orders() {
        for (const Start& start : session.outbox().starts)
            started[start.item.token.value] = {std::string(start.payload), start.lease_until_ms};
        for (const StopOrder& order : session.outbox().stops) stopped[order.token.value] = order.cause;
        session.outbox().starts.clear();
        session.outbox().stops.clear();
    }

    template <class M>
    std::vector<const Sent*> all() const {
        std::vector<const Sent*> found;
        for (const Sent& message : sent)
            if (std::holds_alternative<M>(message.envelope.message)) found.push_back(&message);
        return found;
    }
    /// The only message of its kind since the last take().
    template <class M>
    M only() const {
        const auto found = all<M>();
        EXPECT_EQ(found.size(), 1U);
        return found.empty() ? M{} : std::get<M>(found.front()->envelope.message);
    }
    template <class M>
    RequestId request_of() const {
        const auto found = all<M>();
        EXPECT_FALSE(found.empty());
        return found.empty() ? RequestId{} : found.back()->envelope.request;
    }
    void forget_sent() { sent.clear(); }

    void receive(Message message, RequestId request = {}, std::string_view payload = {}) {
        session.on_message({number, request, std::move(message)}, payload, now);
        take_orders();
    }
    Welcome welcome_message(std::vector<Code> claims = {}) const {
        Welcome welcome;
        welcome.store.bytes[0] = store;
        welcome.heartbeat_ms = kHeartbeatMs;
        welcome.lost_after_ms = kLostAfterMs;
        welcome.lease_ms = kLeaseMs;
        welcome.renew_ms = kRenewMs;
        welcome.max_result = kMaxResultBytes;
        welcome.claims = std::move(claims);
        return welcome;
    }
    /// Connects; returns the HELLO it says.
    Hello connect() {
        session.on_connected(now);
        forget_sent();
        tick();
        return only<Hello>();
    }
    void welcome(std::vector<Code> claims = {}) {
        const RequestId hello = request_of<Hello>();
        ++number.value;
        receive(welcome_message(std::move(claims)), hello);
        forget_sent();
        tick();
    }
    void join() {
        connect();
        welcome();
        forget_sent();
    }
    void dispatch(const std::vector<std::uint64_t>& tokens, std::uint32_t timeout_ms = 0) {
        Dispatch message;
        for (const std::uint64_t token : tokens) {
            DispatchItem item;
            item.job = {100 + token};
            item.token = {token};
            item.attempt = 1;
            item.queue = "default";
            item.type = "t";
            item.timeout_ms = timeout_ms;
            message.items.push_back(item);
        }
        receive(std::move(message));
    }
    void begin(std::uint64_t token) { session.on_began({token}, now); }
    void finish(std::uint64_t token, std::string result = "done") {
        session.on_finished({token}, {.result = std::move(result)}, now);
    }
    void fail(std::uint64_t token, std::string error = "broken") {
        session.on_finished({token}, {.outcome = Outcome::failed, .error = std::move(error)}, now);
    }
    void answer(RequestId request, const std::vector<Code>& codes) {
        Answers answers;
        for (const Code code : codes) answers.items.push_back({.code = code, .job = {}, .text = {}, .field = {}});
        receive(std::move(answers), request);
    }

    struct Offered {
        std::string payload;
        std::int64_t lease_until_ms = 0;
    };
    std::int64_t now = 1'000'000;
    Session session{options(), now};
    SessionId number{40};  // of the session the broker speaks of
    unsigned char store = 1;
    std::deque<Sent> sent;
    std::map<std::uint64_t, Offered> started;
    std::map<std::uint64_t, StopCause> stopped;
    bool reopened = false;
};

// --- joining

TEST_F(WorkerSession, SaysNothingBeforeItIsConnected) {
    tick();
    EXPECT_TRUE(sent.empty());
}

TEST_F(WorkerSession, SaysHelloAtEveryConnection) {
    const Hello hello = connect();
    EXPECT_EQ(hello.role, Role::worker);
    EXPECT_EQ(hello.slots, 4U);
    EXPECT_EQ(hello.credit, 4U);
    EXPECT_EQ(hello.host, "h1");
    EXPECT_EQ(hello.pid, 4711U);
    EXPECT_FALSE(hello.resumed);
    EXPECT_EQ(hello.queues, std::vector<std::string_view>{"default"});
    EXPECT_EQ(hello.types, std::vector<std::string_view>{"t"});
    welcome();
    const Hello again = connect();
    EXPECT_TRUE(again.resumed);
    EXPECT_EQ(again.store.bytes[0], 1);
}

TEST_F(WorkerSession, StatesAConfiguredCredit) {
    use(2, 16);
    EXPECT_EQ(connect().credit, 16U);
}

TEST_F(WorkerSession, IgnoresTheWelcomeOfAnEarlierHello) {
    connect();
    const RequestId old = request_of<Hello>();
    connect();
    receive(welcome_message(), old);
    EXPECT_FALSE(session.is_welcomed());
}

TEST_F(WorkerSession, DropsMessagesOfAnotherSession) {
    join();
    session.on_message({{number.value - 1}, {}, Dispatch{{{.job = {1}, .token = {1}, .queue = {}, .type = {}}}}}, {},
                       now);
    take_orders();
    EXPECT_TRUE(started.empty());
}

TEST_F(WorkerSession, TriesAgainWhenTheBrokerIsBusy) {
    connect();
    const RequestId hello = request_of<Hello>();
    receive(Refusal{.code = Code::busy, .text = {}, .field = {}, .retry_after_ms = 700}, hello);
    forget_sent();
    tick(699);
    EXPECT_TRUE(all<Hello>().empty());
    tick(1);
    EXPECT_EQ(all<Hello>().size(), 1U);
}

TEST_F(WorkerSession, SaysThatABrokerOfAnOlderMinorVersionNeglectsTheDelayOfARelease) {
    for (const std::uint8_t minor : {std::uint8_t{0}, kProtocolMinor}) {
        EXPECT_EQ(connect().minor, kProtocolMinor);
        Welcome message = welcome_message();
        message.minor = minor;
        ++number.value;
        receive(std::move(message), request_of<Hello>());
        dispatch({1});
        begin(1);
        session.on_finished({1}, {.outcome = Outcome::released, .delay_ms = 5'000}, now);
        session.outbox().notices.clear();
        session.on_tick(now);
        ASSERT_EQ(session.outbox().notices.size(), minor == 0 ? 1U : 0U);
        if (minor == 0) {
            EXPECT_NE(session.outbox().notices[0].text.find("the broker speaks protocol 1.0"), std::string::npos);
        }
        tick();
        answer(request_of<Release>(), {Code::ok});
    }
}

TEST_F(WorkerSession, IsRefusedByABrokerOfAnotherVersion) {
    connect();
    receive(Refusal{.code = Code::version_not_spoken, .text = {}, .field = {}, .min_version = 2, .max_version = 3},
            request_of<Hello>());
    ASSERT_TRUE(session.refused());
    EXPECT_EQ(session.refused()->code, Code::version_not_spoken);
    EXPECT_NE(session.refused()->text.find("2 to 3"), std::string::npos);
}

TEST_F(WorkerSession, IsRefusedWithTheFieldThatWasBad) {
    connect();
    receive(Refusal{.code = Code::bad_field, .text = "too many", .field = "queues"}, request_of<Hello>());
    ASSERT_TRUE(session.refused());
    EXPECT_NE(session.refused()->text.find("queues: too many"), std::string::npos);
}

TEST_F(WorkerSession, StopsEverythingWhenReplaced) {
    join();
    dispatch({1});
    begin(1);
    receive(Refusal{.code = Code::replaced, .text = {}, .field = {}});
    EXPECT_TRUE(session.refused());
    EXPECT_EQ(stopped.at(1), StopCause::lease_lost);
}

TEST_F(WorkerSession, SaysHelloAgainWhenItsSessionIsNotKnown) {
    join();
    dispatch({1});
    receive(Refusal{.code = Code::no_session, .text = {}, .field = {}});
    tick();
    EXPECT_EQ(only<Hello>().claims.size(), 1U);
    EXPECT_TRUE(stopped.empty());
}

// --- liveness

TEST_F(WorkerSession, SendsAHeartbeatOnlyWhenItSaidNothingElse) {
    join();
    tick(kHeartbeatMs - 1);
    EXPECT_TRUE(all<Heartbeat>().empty());
    tick(1);
    EXPECT_EQ(all<Heartbeat>().size(), 1U);
    dispatch({1});
    begin(1);
    now += kHeartbeatMs - 1;
    finish(1);
    tick();
    forget_sent();
    tick(kHeartbeatMs - 1);
    EXPECT_TRUE(all<Heartbeat>().empty());
}

TEST_F(WorkerSession, OpensANewConnectionWhenItHearsNothing) {
    join();
    tick(kLostAfterMs - 1);
    EXPECT_FALSE(reopened);
    receive(Heartbeat{});
    tick(kLostAfterMs - 1);
    EXPECT_FALSE(reopened);
    tick(1);
    EXPECT_TRUE(reopened);
    EXPECT_FALSE(session.is_welcomed());
}

TEST_F(WorkerSession, OpensANewConnectionWhenHelloIsNotAnswered) {
    connect();
    tick(kLostAfterMs);
    EXPECT_TRUE(reopened);
}

TEST_F(WorkerSession, GoesOnRunningWhenTheBrokerSaysGoodbye) {
    join();
    dispatch({1});
    begin(1);
    receive(Goodbye{GoodbyeReason::restarting});
    finish(1);
    tick();
    EXPECT_TRUE(stopped.empty());
    EXPECT_TRUE(all<Complete>().empty());
    connect();
    welcome({Code::ok});
    EXPECT_EQ(only<Complete>().items.at(0).token.value, 1U);
}

TEST_F(WorkerSession, NamesADeadlineNotLaterThanWhatIsDueNext) {
    join();
    EXPECT_EQ(session.next_deadline_ms(), now + kHeartbeatMs);
    dispatch({1}, 400);
    begin(1);
    EXPECT_EQ(session.next_deadline_ms(), now + 10);
    tick(10);
    EXPECT_EQ(session.next_deadline_ms(), now - 10 + 400);
}

// --- running

TEST_F(WorkerSession, StartsWhatIsDispatchedWithItsOwnPayload) {
    join();
    Dispatch message;
    for (const std::uint32_t length : {3U, 0U, 2U}) {
        DispatchItem item;
        item.payload_length = length;
        item.job = item.job;
        item.token = {message.items.size() + 1};
        message.items.push_back(item);
    }
    receive(std::move(message), {}, "abcde");
    EXPECT_EQ(started.at(1).payload, "abc");
    EXPECT_EQ(started.at(2).payload, "");
    EXPECT_EQ(started.at(3).payload, "de");
}

TEST_F(WorkerSession, CountsALeaseFromTheTurnBefore) {
    join();
    now += 2'000;
    dispatch({1});
    EXPECT_EQ(started.at(1).lease_until_ms, now - 2'000 + kLeaseMs);
}

TEST_F(WorkerSession, ReleasesWhatArrivedWhileTheProcessWasStopped) {
    join();
    now += kLeaseMs + 1;  // no tick: the process slept, and the message waited in the socket
    dispatch({1});
    EXPECT_TRUE(started.empty());
    tick();
    EXPECT_EQ(only<Release>().items.at(0).token.value, 1U);
}

TEST_F(WorkerSession, ReleasesAJobWhoseLeasePassedBeforeItBegan) {
    join();
    dispatch({1});
    session.on_disconnected();
    now += kLeaseMs;
    EXPECT_FALSE(session.on_unstarted({1}, now));
    connect();
    welcome({Code::ok});
    EXPECT_EQ(only<Release>().items.size(), 1U);
}

TEST_F(WorkerSession, OffersAJobAgainWhoseLeaseWasRenewedMeanwhile) {
    join();
    dispatch({1});
    const std::int64_t first = started.at(1).lease_until_ms;
    tick(kRenewMs);
    const std::int64_t renewed = now;
    answer(request_of<Renew>(), {Code::ok});
    now = first;
    EXPECT_EQ(session.on_unstarted({1}, now), renewed + kLeaseMs);
}

TEST_F(WorkerSession, CompletesInListsWithTheResultsEndToEnd) {
    join();
    dispatch({1, 2, 3});
    for (const std::uint64_t token : {1U, 2U, 3U}) {
        begin(token);
        now += 5;
        finish(token, "r" + std::to_string(token));
    }
    tick();
    const Complete complete = only<Complete>();
    ASSERT_EQ(complete.items.size(), 3U);
    EXPECT_EQ(complete.items[1].token.value, 2U);
    EXPECT_EQ(complete.items[1].duration_ms, 5U);
    EXPECT_EQ(all<Complete>().front()->payload, "r1r2r3");
    EXPECT_EQ(session.unsettled(), 3U);
    answer(request_of<Complete>(), {Code::ok, Code::ok, Code::ok});
    EXPECT_EQ(session.unsettled(), 0U);
}

TEST_F(WorkerSession, GathersEndsWhileAnAnswerIsOnItsWayAndThereIsMoreToDo) {
    use(1, 8);
    join();
    dispatch({1, 2, 3, 4, 5});
    const auto run = [&](std::uint64_t token) {
        begin(token);
        finish(token, "");
        tick();
    };
    run(1);
    EXPECT_EQ(only<Complete>().items.size(), 1U);
    const RequestId first = request_of<Complete>();
    forget_sent();
    run(2);
    run(3);
    EXPECT_TRUE(all<Complete>().empty());
    answer(first, {Code::ok});
    tick();
    EXPECT_EQ(only<Complete>().items.size(), 2U);
    forget_sent();
    run(4);  // nothing is left behind its slot, and half of its credit is taken: the broker should know
    EXPECT_EQ(only<Complete>().items.size(), 1U);
}

TEST_F(WorkerSession, WaitsForAnAnswerAMillisecondAtMostWithWhatHasEndedSince) {
    use(1, 8);
    join();
    dispatch({1, 2, 3, 4, 5});
    for (const std::uint64_t token : {1U, 2U}) {
        begin(token);
        finish(token, "");
        tick();
    }
    EXPECT_EQ(only<Complete>().items.size(), 1U);
    forget_sent();
    EXPECT_LE(session.next_deadline_ms(), now + 1);
    tick(1);
    EXPECT_EQ(only<Complete>().items.size(), 1U);
}

TEST_F(WorkerSession, FailsWithTextThatIsCutAndClean) {
    join();
    dispatch({1});
    begin(1);
    session.on_finished(
        {1}, {Outcome::failed, false, "r", std::string(600, 'e') + "\x01", std::string(2000, 't') + "\xff"}, now);
    tick();
    const FailItem item = only<Fail>().items.at(0);
    EXPECT_EQ(item.outcome, Outcome::failed);
    EXPECT_FALSE(item.retryable);
    EXPECT_EQ(item.error, std::string(512, 'e'));
    EXPECT_EQ(item.tail, std::string(1023, 't') + "?");
}

TEST_F(WorkerSession, FailsForGoodWhatGaveTooLargeAResult) {
    join();
    dispatch({1});
    begin(1);
    finish(1, std::string(kMaxResultBytes + 1, 'x'));
    tick();
    const FailItem item = only<Fail>().items.at(0);
    EXPECT_FALSE(item.retryable);
    EXPECT_EQ(item.payload_length, 0U);
    EXPECT_NE(item.error.find(std::to_string(kMaxResultBytes)), std::string_view::npos);
}

TEST_F(WorkerSession, CutsListsOfEndsAtOneMebibyte) {
    use(8);
    join();
    dispatch({1, 2, 3, 4});
    for (const std::uint64_t token : {1U, 2U, 3U, 4U}) {
        begin(token);
        finish(token, std::string(300 << 10, 'x'));
    }
    tick();
    const auto lists = all<Complete>();
    ASSERT_EQ(lists.size(), 2U);
    EXPECT_EQ(std::get<Complete>(lists[0]->envelope.message).items.size(), 3U);
    EXPECT_LT(lists[0]->payload.size(), kCutListBytes);
}

TEST_F(WorkerSession, CutsListsOfFailuresBelowTheHeaderLimit) {
    use(1, 1024);
    join();
    std::vector<std::uint64_t> tokens;
    for (std::uint64_t token = 1; token <= 200; ++token) tokens.push_back(token);
    dispatch(tokens);
    for (const std::uint64_t token : tokens) {
        begin(token);
        fail(token, std::string(512, 'e'));
    }
    tick();
    std::size_t items = 0;
    for (const Sent* list : all<Fail>()) {
        EXPECT_LE(list->header.size(), kMaxHeaderBytes);
        items += std::get<Fail>(list->envelope.message).items.size();
    }
    EXPECT_EQ(items, 200U);
}

TEST_F(WorkerSession, SaysStartedOnlyForJobsThatStillRunAfterTenMilliseconds) {
    join();
    dispatch({1, 2});
    begin(1);
    begin(2);
    now += 5;
    finish(1);
    tick();
    EXPECT_TRUE(all<Started>().empty());
    tick(5);
    ASSERT_EQ(only<Started>().items.size(), 1U);
    EXPECT_EQ(only<Started>().items[0].token.value, 2U);
    tick(100);
    EXPECT_EQ(all<Started>().size(), 1U);
}

TEST_F(WorkerSession, SaysStartedAgainToANewSession) {
    join();
    dispatch({1});
    begin(1);
    tick(10);
    connect();
    welcome({Code::ok});
    EXPECT_EQ(only<Started>().items.size(), 1U);
}

// --- leases

TEST_F(WorkerSession, RenewsAllItHoldsStartedOrNot) {
    join();
    dispatch({1, 2, 3});
    begin(1);
    finish(1);
    begin(2);
    session.on_progress({2}, 0.5, "half");
    tick(kRenewMs);
    const Renew renew = only<Renew>();
    ASSERT_EQ(renew.items.size(), 2U);
    EXPECT_EQ(renew.items[0].token.value, 2U);
    EXPECT_EQ(renew.items[0].progress, 0.5);
    EXPECT_EQ(renew.items[0].text, "half");
    EXPECT_EQ(renew.items[1].token.value, 3U);
}

TEST_F(WorkerSession, SaysThatAJobStartedBeforeItsProgress) {
    join();
    tick(kRenewMs - 1);
    dispatch({1});
    begin(1);
    session.on_progress({1}, 0.5, "half");
    tick(1);
    EXPECT_EQ(only<Started>().items.size(), 1U);
    EXPECT_EQ(only<Renew>().items.size(), 1U);
    const auto place = [&](const Sent* message) {
        return std::find_if(sent.begin(), sent.end(), [&](const Sent& one) { return &one == message; }) - sent.begin();
    };
    EXPECT_LT(place(all<Started>()[0]), place(all<Renew>()[0]));
}

TEST_F(WorkerSession, StopsAndForgetsAJobWhoseRenewalIsStale) {
    join();
    dispatch({1, 2});
    begin(1);
    begin(2);
    tick(kRenewMs);
    answer(request_of<Renew>(), {Code::stale_lease, Code::ok});
    EXPECT_EQ(stopped.at(1), StopCause::lease_lost);
    EXPECT_FALSE(stopped.contains(2));
    finish(1);
    tick();
    EXPECT_TRUE(all<Complete>().empty());
}

TEST_F(WorkerSession, StopsAJobWhoseRenewalSaysThatItWasCancelled) {
    join();
    dispatch({1});
    begin(1);
    tick(kRenewMs);
    answer(request_of<Renew>(), {Code::cancel_requested});
    EXPECT_EQ(stopped.at(1), StopCause::cancelled);
}

TEST_F(WorkerSession, DoesNotRenewAJobPastItsTimeout) {
    join();
    dispatch({1}, 400);
    begin(1);
    tick(400);
    tick(kRenewMs);
    EXPECT_TRUE(all<Renew>().empty());
}

// --- timeouts and stuck slots

TEST_F(WorkerSession, FailsAJobAtItsTimeoutAndTellsItToStop) {
    join();
    dispatch({1, 2}, 400);
    begin(1);
    now += 100;
    begin(2);
    tick(299);
    EXPECT_TRUE(all<Fail>().empty());
    tick(1);
    ASSERT_EQ(only<Fail>().items.size(), 1U);
    EXPECT_EQ(only<Fail>().items[0].outcome, Outcome::timeout);
    EXPECT_EQ(stopped.at(1), StopCause::timed_out);
    EXPECT_FALSE(stopped.contains(2));
}

TEST_F(WorkerSession, TakesAStuckSlotOffTheCreditUntilItsHandlerReturns) {
    join();
    dispatch({1}, 400);
    begin(1);
    tick(400);
    EXPECT_EQ(only<Credit>().credit, 3U);
    // Before the end: otherwise the broker would fill the place the end makes.
    EXPECT_TRUE(std::holds_alternative<Credit>(sent.front().envelope.message));
    answer(request_of<Fail>(), {Code::ok});
    forget_sent();
    finish(1, "too late");
    tick();
    EXPECT_EQ(only<Credit>().credit, 4U);
    EXPECT_TRUE(all<Complete>().empty());
}

TEST_F(WorkerSession, SaysWhenAllSlotsAreStuckForLongerThanTheGrace) {
    use(2);
    join();
    dispatch({1, 2}, 400);
    begin(1);
    begin(2);
    tick(400);
    EXPECT_EQ(only<Credit>().credit, 0U);
    tick(kStuckGraceMs - 1);
    EXPECT_FALSE(session.all_slots_stuck());
    tick(1);
    EXPECT_TRUE(session.all_slots_stuck());
}

TEST_F(WorkerSession, IsNotStuckWhenAHandlerReturnsInTime) {
    use(1);
    join();
    dispatch({1}, 400);
    begin(1);
    tick(400);
    tick(kStuckGraceMs - 1);
    finish(1);
    tick();
    tick(kStuckGraceMs);
    EXPECT_FALSE(session.all_slots_stuck());
}

// --- coming back

TEST_F(WorkerSession, KeepsAResultUntilItIsAnsweredThroughReconnects) {
    join();
    dispatch({1});
    begin(1);
    finish(1, "precious");
    tick();
    for (int i = 0; i < 3; ++i) {
        session.on_disconnected();
        const Hello hello = connect();
        ASSERT_EQ(hello.claims.size(), 1U);
        EXPECT_TRUE(hello.claims[0].finished);
        welcome({Code::ok});
        EXPECT_EQ(only<Complete>().items.size(), 1U);
        EXPECT_EQ(all<Complete>().front()->payload, "precious");
    }
    answer(request_of<Complete>(), {Code::ok});
    EXPECT_TRUE(connect().claims.empty());
}

TEST_F(WorkerSession, DoesNotTakeAnAnswerFromTheSessionBefore) {
    join();
    dispatch({1});
    begin(1);
    finish(1);
    tick();
    const RequestId old = request_of<Complete>();
    connect();
    welcome({Code::ok});
    answer(old, {Code::ok});
    EXPECT_EQ(session.unsettled(), 1U);
}

TEST_F(WorkerSession, ClaimsWhatRunsWhatWaitsAndWhatIsUnanswered) {
    join();
    dispatch({1, 2, 3});
    begin(1);
    finish(1);
    begin(2);
    session.on_disconnected();
    const Hello hello = connect();
    ASSERT_EQ(hello.claims.size(), 3U);
    std::map<std::uint64_t, bool> finished;
    for (const Claim& claim : hello.claims) finished[claim.token.value] = claim.finished;
    EXPECT_EQ(finished, (std::map<std::uint64_t, bool>{{1, true}, {2, false}, {3, false}}));
}

TEST_F(WorkerSession, ObeysTheAnswersToItsClaims) {
    join();
    dispatch({1, 2, 3});
    for (const std::uint64_t token : {1U, 2U, 3U}) begin(token);
    const Hello hello = connect();
    ASSERT_EQ(hello.claims.size(), 3U);
    ASSERT_EQ(hello.claims[0].token.value, 1U);
    welcome({Code::ok, Code::stale_lease, Code::cancel_requested});
    EXPECT_EQ(stopped, (std::map<std::uint64_t, StopCause>{{2, StopCause::lease_lost}, {3, StopCause::cancelled}}));
    for (const std::uint64_t token : {1U, 2U, 3U}) finish(token);
    tick();
    EXPECT_EQ(only<Complete>().items.size(), 2U);
}

TEST_F(WorkerSession, DropsAllClaimsWhenTheBrokerHasAnotherStore) {
    join();
    dispatch({1, 2});
    begin(1);
    finish(1);
    begin(2);
    connect();
    store = 2;
    welcome({Code::ok, Code::ok});
    EXPECT_TRUE(all<Complete>().empty());
    EXPECT_EQ(stopped.at(2), StopCause::lease_lost);
    EXPECT_EQ(session.unsettled(), 0U);
}

TEST_F(WorkerSession, NeverClaimsMoreThanAListMayHold) {
    use(1, 1024);
    join();
    std::vector<std::uint64_t> first;
    for (std::uint64_t token = 1; token <= 1000; ++token) first.push_back(token);
    dispatch(first);
    for (const std::uint64_t token : first) {
        begin(token);
        finish(token);
    }
    tick();  // sent, not answered: the broker has room again and fills it
    std::vector<std::uint64_t> second;
    for (std::uint64_t token = 2001; token <= 2100; ++token) second.push_back(token);
    dispatch(second);
    const Hello hello = connect();
    EXPECT_EQ(hello.claims.size(), 1024U);
    std::size_t finished = 0;
    for (const Claim& claim : hello.claims) finished += claim.finished ? 1 : 0;
    EXPECT_EQ(finished, 1000U);
    // What it could not claim had not begun; it goes back to its queue.
    EXPECT_EQ(stopped.size(), 76U);
}

TEST_F(WorkerSession, RenewsAtOnceAfterAReconnect) {
    join();
    dispatch({1});
    begin(1);
    connect();
    welcome({Code::ok});
    EXPECT_EQ(only<Renew>().items.size(), 1U);
}

TEST_F(WorkerSession, SendsEndsAgainThatTheBrokerWasTooBusyFor) {
    join();
    dispatch({1});
    begin(1);
    finish(1);
    tick();
    const RequestId refused = request_of<Complete>();
    receive(Refusal{.code = Code::busy, .text = {}, .field = {}, .retry_after_ms = 500}, refused);
    forget_sent();
    tick(499);
    EXPECT_TRUE(all<Complete>().empty());
    EXPECT_EQ(session.next_deadline_ms(), now + 1);
    tick(1);
    EXPECT_EQ(only<Complete>().items.size(), 1U);
}

// --- being told to stop

TEST_F(WorkerSession, ReportsACancelledJobThatFailedAsCancelled) {
    join();
    dispatch({1});
    begin(1);
    receive(Stop{{{{101}, {1}, StopReason::cancel}}});
    EXPECT_EQ(stopped.at(1), StopCause::cancelled);
    fail(1);
    tick();
    EXPECT_EQ(only<Fail>().items.at(0).outcome, Outcome::cancelled);
}

TEST_F(WorkerSession, CompletesACancelledJobThatFinishedFirst) {
    join();
    dispatch({1});
    begin(1);
    receive(Stop{{{{101}, {1}, StopReason::cancel}}});
    finish(1);
    tick();
    EXPECT_EQ(only<Complete>().items.size(), 1U);
}

TEST_F(WorkerSession, ReportsAJobCancelledBeforeItBegan) {
    join();
    dispatch({1});
    receive(Stop{{{{101}, {1}, StopReason::cancel}}});
    EXPECT_FALSE(session.on_unstarted({1}, now));
    tick();
    EXPECT_EQ(only<Fail>().items.at(0).outcome, Outcome::cancelled);
}

TEST_F(WorkerSession, ReportsNothingOfAJobWhoseLeaseWasLost) {
    join();
    dispatch({1, 2});
    begin(1);
    receive(Stop{{{{101}, {1}, StopReason::lease_lost}, {{102}, {2}, StopReason::lease_lost}}});
    EXPECT_EQ(stopped.size(), 2U);
    EXPECT_FALSE(session.on_unstarted({2}, now));
    fail(1);
    tick();
    EXPECT_TRUE(all<Fail>().empty());
    EXPECT_TRUE(all<Release>().empty());
    EXPECT_TRUE(connect().claims.empty());
}

// --- leaving

TEST_F(WorkerSession, DrainsByReleasingWhatHasNotBegunAndFinishingTheRest) {
    join();
    dispatch({1, 2});
    begin(1);
    session.drain({now + 25'000, now + 40'000});
    take_orders();
    EXPECT_EQ(stopped, (std::map<std::uint64_t, StopCause>{{2, StopCause::draining}}));
    EXPECT_FALSE(session.on_unstarted({2}, now));
    tick();
    EXPECT_EQ(only<Credit>().credit, 0U);
    EXPECT_EQ(only<Release>().items.at(0).token.value, 2U);
    answer(request_of<Release>(), {Code::ok});
    finish(1);
    tick();
    EXPECT_FALSE(session.has_left());
    answer(request_of<Complete>(), {Code::ok});
    tick();
    EXPECT_EQ(only<Goodbye>().reason, GoodbyeReason::leaving);
    EXPECT_TRUE(session.has_left());
}

TEST_F(WorkerSession, LeavesAtOnceWithNothingToSay) {
    session.drain({now + 25'000, now + 40'000});
    tick();
    EXPECT_TRUE(session.has_left());
}

TEST_F(WorkerSession, ReleasesWhatIsDispatchedWhileDraining) {
    join();
    dispatch({1});
    begin(1);
    session.drain({now + 25'000, now + 40'000});
    dispatch({2});
    EXPECT_FALSE(started.contains(2));
    tick();
    EXPECT_EQ(only<Release>().items.at(0).token.value, 2U);
}

TEST_F(WorkerSession, ReleasesAJobThatTheEndOfTheDrainInterrupted) {
    join();
    dispatch({1, 2});
    begin(1);
    begin(2);
    session.drain({now + 15'000, now + 30'000});
    tick(14'999);
    EXPECT_TRUE(stopped.empty());
    tick(1);
    EXPECT_EQ(stopped.size(), 2U);
    fail(1);
    finish(2);
    tick();
    EXPECT_EQ(only<Release>().items.at(0).token.value, 1U);
    EXPECT_EQ(only<Complete>().items.at(0).token.value, 2U);
}

TEST_F(WorkerSession, ReleasesAJobThatDoesNotStopAndLeavesWithoutIt) {
    join();
    dispatch({1});
    begin(1);
    session.drain({now, now + 1'000});
    tick();
    tick(1'000);
    EXPECT_EQ(only<Release>().items.size(), 1U);
    answer(request_of<Release>(), {Code::ok});
    tick();
    EXPECT_TRUE(session.has_left());
    EXPECT_EQ(session.running(), 1U);
}

TEST_F(WorkerSession, DoesNotWaitForAnswersForEver) {
    join();
    dispatch({1});
    begin(1);
    finish(1);
    session.drain({now, now});
    tick();
    EXPECT_FALSE(session.has_left());
    const std::int64_t began = now;
    while (!session.has_left()) {
        ASSERT_LE(session.next_deadline_ms(), began + 5'000);
        tick(session.next_deadline_ms() - now);
    }
}

TEST_F(WorkerSession, DrainsSoonerWhenToldASecondTime) {
    join();
    dispatch({1});
    begin(1);
    session.drain({now + 25'000, now + 40'000});
    tick();
    EXPECT_TRUE(stopped.empty());
    session.drain({now, now + 1'000});
    tick();
    EXPECT_EQ(stopped.at(1), StopCause::draining);
}

// --- what a broker must not do

TEST_F(WorkerSession, IgnoresATokenDispatchedTwice) {
    join();
    dispatch({1});
    begin(1);
    started.clear();
    dispatch({1});
    EXPECT_TRUE(started.empty());
}

TEST_F(WorkerSession, SettlesAListThatTheBrokerRefusesForGood) {
    join();
    dispatch({1});
    begin(1);
    finish(1);
    tick();
    receive(Refusal{.code = Code::bad_message, .text = "?", .field = {}}, request_of<Complete>());
    EXPECT_EQ(session.unsettled(), 0U);
}

TEST_F(WorkerSession, BearsAnswersOfAnotherLength) {
    join();
    dispatch({1, 2});
    begin(1);
    begin(2);
    finish(1);
    finish(2);
    tick();
    answer(request_of<Complete>(), {Code::ok});
    EXPECT_EQ(session.unsettled(), 1U);
    answer(request_of<Complete>(), {Code::ok, Code::ok, Code::ok});
    EXPECT_EQ(session.unsettled(), 1U);
}

}  // namespace
}  // namespace jobyard::worker
