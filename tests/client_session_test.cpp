// The rules of a submitter's conversation, one test each. The fixture plays the broker: it takes what the session sends
// and hands in answers. Messages pass through the codec, as they do between processes.

#include <gtest/gtest.h>

#include <deque>
#include <string>

#include "client/session.hpp"
#include "jobyard/codec.hpp"

namespace jobyard::client {
namespace {

constexpr std::int64_t kHeartbeatMs = 5'000;
constexpr std::int64_t kLostAfterMs = 20'000;

Uuid uuid(unsigned char byte) {
    Uuid id;
    id.bytes.fill(byte);
    return id;
}

class ClientSession : public testing::Test {
 protected:
    explicit ClientSession(bool retries = true) : retry_refused(retries) {}
    /// Fails the test if the session did or said something that the test did not take.
    ~ClientSession() override {
        EXPECT_TRUE(session.completions().empty());
        OutgoingMessage more;
        EXPECT_FALSE(session.next_message(more, now)) << message_name(more.envelope.message);
    }

    Session::Options options() {
        Session::Options options;
        options.new_instance = [this] { return uuid(++instances); };
        options.software = "test";
        options.result_grant = 1'000;
        options.retry_refused = retry_refused;
        return options;
    }

    // --- the caller

    void submit(Ticket ticket, bool watch = false, std::string bytes = "p") {
        payloads.push_back(std::move(bytes));
        SubmitItem item;
        item.type = "t";
        item.watch = watch;
        session.submit(ticket, item, payloads.back(), now);
    }
    void ask(Ticket ticket, JobVerb verb, std::uint64_t job, std::int64_t limit_ms = 30'000) {
        session.ask(ticket, JobQuestion{verb, {job}}, now + limit_ms);
    }
    void pass(std::int64_t ms) {
        now += ms;
        session.on_tick(now);
    }
    /// The next completion, which must be of this kind.
    template <class T>
    T completed() {
        std::vector<Completion>& all = session.completions();
        if (all.empty() || !std::holds_alternative<T>(all.front())) {
            ADD_FAILURE() << "expected a completion of another kind";
            return {};
        }
        T first = std::get<T>(std::move(all.front()));
        all.erase(all.begin());
        return first;
    }
    /// Takes the completion of a submit that must have made (or found) this job.
    void expect_submitted(Ticket ticket, std::uint64_t job) {
        const auto submitted = completed<Submitted>();
        EXPECT_EQ(submitted.ticket, ticket);
        EXPECT_EQ(submitted.job.value, job);
    }
    void expect_failed(Ticket ticket, Code code) {
        const auto failed = completed<Failed>();
        EXPECT_EQ(failed.ticket, ticket);
        EXPECT_EQ(failed.error.code, code) << failed.error.text;
    }

    // --- the broker

    /// The next message, which must be of this kind. Its views hold until the next call.
    template <class T>
    T sent() {
        OutgoingMessage message;
        if (!session.next_message(message, now)) {
            ADD_FAILURE() << "expected a message";
            return {};
        }
        sent_header.clear();
        encode_header(message.envelope, sent_header);
        sent_payload.clear();
        for (const KeptBytes& piece : message.payload) sent_payload += piece.bytes;
        auto decoded = decode_header(sent_header, sent_payload.size());
        if (const auto* error = std::get_if<DecodeError>(&decoded)) {
            ADD_FAILURE() << "cannot be read: " << error->text;
            return {};
        }
        const Envelope& envelope = std::get<Envelope>(decoded);
        request = envelope.request;
        sent_session = envelope.session;
        if (!std::holds_alternative<T>(envelope.message)) {
            ADD_FAILURE() << "sent " << message_name(envelope.message);
            return {};
        }
        return std::get<T>(envelope.message);
    }
    void expect_submit(std::uint64_t first_number, std::size_t items) {
        const auto submit = sent<Submit>();
        EXPECT_EQ(submit.first_number, first_number);
        EXPECT_EQ(submit.items.size(), items);
    }
    void expect_silence() {
        OutgoingMessage message;
        EXPECT_FALSE(session.next_message(message, now)) << message_name(message.envelope.message);
    }
    template <class T>
    void receive(T message, RequestId answered = {}, std::string_view bytes = {}) {
        session.on_message({session_id, answered, std::move(message)}, bytes, now);
    }
    /// Answers the last request: each item with this code, and jobs counted up from `job`.
    void answer(std::size_t items, std::uint64_t job, Code code = Code::ok) { answer(request, items, job, code); }
    void answer(RequestId to, std::size_t items, std::uint64_t job, Code code = Code::ok) {
        Answers answers;
        for (std::size_t i = 0; i < items; ++i)
            answers.items.push_back(
                {code, {job == 0 ? 0 : job + i}, JobState::queued, {}, {}, code == Code::busy ? 100U : 0U});
        receive(std::move(answers), to);
    }
    Welcome welcome(InstanceState instance = InstanceState::fresh) {
        Welcome message;
        message.store = store;
        message.instance = instance;
        message.heartbeat_ms = kHeartbeatMs;
        message.lost_after_ms = kLostAfterMs;
        message.window = window;
        message.max_payload = 1 << 18;
        return message;
    }
    Hello connect() {
        session.on_connected(now);
        Hello hello = sent<Hello>();
        hello_request = request;
        return hello;
    }
    void welcomed(InstanceState instance = InstanceState::fresh) {
        session_id = {session_id.value + 1};
        receive(welcome(instance), hello_request);
    }
    void establish() {
        connect();
        welcomed();
    }
    void reconnect() {
        session.on_disconnected();
        connect();
        welcomed(InstanceState::resumed);
    }
    void push_result(std::uint64_t job, std::string_view bytes) {
        Results results;
        results.items.push_back(
            {static_cast<std::uint32_t>(bytes.size()), {job}, JobState::completed, Reason::none, 1, {}});
        receive(std::move(results), {}, bytes);
    }

    unsigned char instances = 0;
    const bool retry_refused;
    std::uint32_t window = 8;
    std::int64_t now = 1'000'000;
    Uuid store = uuid(0xee);
    std::deque<std::string> payloads;
    std::string sent_header;
    std::string sent_payload;
    RequestId request;
    RequestId hello_request;
    SessionId sent_session;
    SessionId session_id;
    Session session{options(), now};
};

// --- sessions --------------------------------------------------------------------------------------------------------

TEST_F(ClientSession, SaysHelloAtEveryConnect) {
    const Hello first = connect();
    EXPECT_EQ(first.role, Role::submitter);
    EXPECT_EQ(first.instance, uuid(1));
    EXPECT_FALSE(first.resumed);
    EXPECT_TRUE(first.store.is_nil());
    EXPECT_EQ(first.grant, 1'000U);
    EXPECT_EQ(sent_session, SessionId{});
    welcomed();
    session.on_disconnected();
    const Hello second = connect();
    EXPECT_EQ(second.instance, uuid(1));
    EXPECT_TRUE(second.resumed);
    EXPECT_EQ(second.store, store);
}

TEST_F(ClientSession, SendsNothingBeforeWelcome) {
    submit(1);
    expect_silence();
    connect();
    expect_silence();
    welcomed();
    expect_submit(1, 1);
    EXPECT_EQ(sent_session, session_id);
}

TEST_F(ClientSession, IsNotResumedBeforeItsFirstWelcome) {
    connect();
    session.on_disconnected();
    EXPECT_FALSE(connect().resumed);
}

TEST_F(ClientSession, DropsFramesOfAnotherSession) {
    establish();
    submit(1);
    expect_submit(1, 1);
    Answers answers;
    answers.items.push_back({Code::ok, {7}, JobState::queued, {}, {}, 0});
    session.on_message({{session_id.value + 9}, request, answers}, {}, now);
    EXPECT_TRUE(session.completions().empty());
    answer(1, 7);
    expect_submitted(1, 7);
}

TEST_F(ClientSession, AsksABrokerOfAnOlderMinorVersionForNothingThatItWouldNeglect) {
    const auto submit_held = [this](Ticket ticket) {
        SubmitItem item;
        item.type = "t";
        item.held = true;
        session.submit(ticket, item, std::string_view("p"), now);
    };
    const auto welcomed_by_minor = [this](std::uint8_t minor) {
        session.on_disconnected();
        EXPECT_EQ(connect().minor, kProtocolMinor);
        session_id = {session_id.value + 1};
        Welcome message = welcome();
        message.minor = minor;
        receive(message, hello_request);
    };
    const auto expect_too_old = [this](Ticket ticket) {
        const auto failed = completed<Failed>();
        EXPECT_EQ(failed.ticket, ticket);
        EXPECT_EQ(failed.error.code, Code::unknown_message);
        EXPECT_EQ(failed.error.text,
                  "the broker speaks protocol 1.0, and this needs 1.1; upgrade the broker, or do without");
    };
    submit_held(1);
    submit(2);
    session.ask(3, EventsQuestion{}, now + 30'000);
    ask(4, JobVerb::show, 5);
    welcomed_by_minor(0);
    expect_too_old(1);
    expect_too_old(3);
    sent<Show>();
    expect_submit(1, 1);
    submit_held(5);
    expect_too_old(5);
    session.ask(6, MessageQuestion{ListTasks{}, nullptr}, now + 30'000);
    expect_too_old(6);
    SubmitItem item;
    item.type = "t";
    session.submit(10, item, std::string_view("p"), now, std::make_shared<const SubmitArray>(SubmitArray{0, 0, {}, 3}));
    expect_too_old(10);
    ListQuestion jobs_of_array;
    jobs_of_array.array = {7};
    session.ask(11, jobs_of_array, now + 30'000);
    expect_too_old(11);
    expect_silence();

    // A newer one that took its place knows all; and the old one again cannot say what became of that.
    welcomed_by_minor(kProtocolMinor);
    submit_held(7);
    session.ask(8, SteerQuestion{"w", WorkerAction::drain}, now + 30'000);
    sent<Show>();
    sent<SteerWorker>();
    expect_submit(1, 2);
    welcomed_by_minor(0);
    expect_failed(7, Code::outcome_unknown);
    expect_too_old(8);
    sent<Show>();
    const auto again = sent<Submit>();
    EXPECT_EQ(again.first_number, 1U);
    EXPECT_EQ(again.items.size(), 1U);
    answer(1, 10);
    expect_submitted(2, 10);
    submit(9);
    EXPECT_EQ(sent<Submit>().first_number, 3U) << "the number whose job may be somewhere is not used again";
}

TEST_F(ClientSession, DropsAWelcomeThatAnswersAnOlderHello) {
    connect();
    const RequestId old = hello_request;
    session.on_disconnected();
    connect();
    receive(welcome(), old);
    EXPECT_FALSE(session.is_welcomed());
}

TEST_F(ClientSession, SaysHelloAgainWhenTheBrokerHasNoSession) {
    establish();
    submit(1);
    expect_submit(1, 1);
    receive(Refusal{.code = Code::no_session}, request);
    EXPECT_TRUE(sent<Hello>().resumed);
    hello_request = request;
    welcomed(InstanceState::resumed);
    expect_submit(1, 1);
    answer(1, 7);
    expect_submitted(1, 7);
}

TEST_F(ClientSession, SaysHelloAgainWhenABusyBrokerSaysTo) {
    connect();
    EXPECT_FALSE(session.put_off());
    receive(Refusal{.code = Code::busy, .text = "no room", .retry_after_ms = 300}, hello_request);
    ASSERT_TRUE(session.put_off());
    EXPECT_EQ(session.put_off()->text, "no room") << "who waits for the connection is told why";
    pass(299);
    expect_silence();
    EXPECT_LE(session.next_deadline_ms(), now + 1);
    pass(1);
    sent<Hello>();
    EXPECT_TRUE(session.put_off());
    hello_request = request;
    welcomed();
    EXPECT_FALSE(session.put_off());
    connect();
    receive(Refusal{.code = Code::busy, .text = "no room", .retry_after_ms = 300}, hello_request);
    session.on_disconnected();
    EXPECT_FALSE(session.put_off()) << "another broker may be in its place";
}

TEST_F(ClientSession, EndsWhenItsVersionIsNotSpoken) {
    submit(1);
    ask(2, JobVerb::show, 5);
    connect();
    receive(Refusal{.code = Code::version_not_spoken, .min_version = 2, .max_version = 3}, hello_request);
    const auto failed = completed<Failed>();
    EXPECT_EQ(failed.ticket, 1U);
    EXPECT_EQ(failed.error.code, Code::version_not_spoken);
    EXPECT_EQ(failed.error.text,
              "the broker speaks versions 2 to 3 of the protocol and this library 1; install versions that have one in "
              "common");
    expect_failed(2, Code::version_not_spoken);
    submit(3);
    expect_failed(3, Code::version_not_spoken);
    session.on_connected(now);
    expect_silence();
}

TEST_F(ClientSession, EndsWhenReplaced) {
    establish();
    submit(1);
    expect_submit(1, 1);
    receive(Refusal{.code = Code::replaced});
    expect_failed(1, Code::replaced);
    ASSERT_TRUE(session.ended());
}

TEST_F(ClientSession, SendsHeartbeatsOnlyWhenOtherwiseSilent) {
    establish();
    pass(kHeartbeatMs - 1);
    expect_silence();
    submit(1);
    expect_submit(1, 1);
    answer(1, 7);
    expect_submitted(1, 7);
    pass(1);
    expect_silence();
    EXPECT_EQ(session.next_deadline_ms(), now - 1 + kHeartbeatMs);
    pass(kHeartbeatMs - 1);
    sent<Heartbeat>();
}

TEST_F(ClientSession, ReopensWhenNothingWasHeardForTooLong) {
    establish();
    pass(kLostAfterMs - 1);
    sent<Heartbeat>();
    EXPECT_FALSE(session.wants_reopen());
    receive(Heartbeat{});
    pass(kLostAfterMs - 1);
    sent<Heartbeat>();
    EXPECT_FALSE(session.wants_reopen());
    pass(1);
    EXPECT_TRUE(session.wants_reopen());
    EXPECT_FALSE(session.wants_reopen());
    expect_silence();
}

TEST_F(ClientSession, GoesOnAfterTheBrokersGoodbye) {
    establish();
    receive(Goodbye{GoodbyeReason::restarting});
    submit(1);
    expect_silence();
    reconnect();
    expect_submit(1, 1);
}

// --- submit windows --------------------------------------------------------------------------------------------------

TEST_F(ClientSession, PutsWhatHasComeTogetherIntoOneList) {
    establish();
    for (Ticket ticket = 1; ticket <= 5; ++ticket) submit(ticket, false, std::string(ticket, 'x'));
    const auto list = sent<Submit>();
    ASSERT_EQ(list.items.size(), 5U);
    EXPECT_EQ(list.items[2].payload_length, 3U);
    EXPECT_EQ(sent_payload.size(), 1U + 2 + 3 + 4 + 5);
    answer(5, 100);
    for (Ticket ticket = 1; ticket <= 5; ++ticket) expect_submitted(ticket, 99 + ticket);
    EXPECT_EQ(session.confirmed(), 5U);
}

TEST_F(ClientSession, NumbersSubmitsWhenItFirstSendsThem) {
    submit(1);
    submit(2);
    EXPECT_EQ(connect().confirmed, 0U);
    welcomed(InstanceState::retired);  // nothing had a number, so nothing is unknown
    EXPECT_EQ(sent<Hello>().instance, uuid(2));
    hello_request = request;
    welcomed();
    expect_submit(1, 2);
}

TEST_F(ClientSession, ResendsUnansweredSubmitsWithTheSameNumbersAfterAReconnect) {
    establish();
    submit(1);
    submit(2);
    expect_submit(1, 2);
    session.on_disconnected();
    submit(3);
    connect();
    welcomed(InstanceState::resumed);
    expect_submit(1, 3);
    answer(3, 50);
    for (Ticket ticket = 1; ticket <= 3; ++ticket) expect_submitted(ticket, 49 + ticket);
}

TEST_F(ClientSession, GathersJobsWhileAnAnswerIsOnItsWay) {
    window = 8192;
    establish();
    submit(1);
    expect_submit(1, 1);
    submit(2);
    submit(3);
    expect_silence();
    EXPECT_TRUE(session.gathers(now));
    answer(1, 7);
    expect_submitted(1, 7);
    EXPECT_FALSE(session.gathers(now));
    expect_submit(2, 2);
    const RequestId under_way = request;
    for (Ticket ticket = 4; ticket < 4 + kGatheredJobs - 1; ++ticket) submit(ticket);
    expect_silence();
    submit(4 + kGatheredJobs - 1);
    expect_submit(4, kGatheredJobs);  // enough for a message of their own
    answer(under_way, 2, 8);
    expect_submitted(2, 8);
    expect_submitted(3, 9);
    submit(4 + kGatheredJobs);
    expect_silence();  // the second list is still unanswered
    EXPECT_LE(session.next_deadline_ms(), now + 1);
    pass(1);  // and takes too long to wait for
    expect_submit(4 + kGatheredJobs, 1);
}

TEST_F(ClientSession, ResendsInContiguousRunsAroundWhatWasAnswered) {
    establish();
    RequestId requests[3];
    for (Ticket ticket = 1; ticket <= 3; ++ticket) {
        submit(ticket, false, std::string(kGatheredBytes, 'p'));  // worth a message each
        expect_submit(ticket, 1);
        requests[ticket - 1] = request;
    }
    answer(requests[1], 1, 20);
    expect_submitted(2, 20);
    EXPECT_EQ(session.confirmed(), 0U);  // number 1 is open
    reconnect();
    expect_submit(1, 1);
    answer(1, 19);
    expect_submitted(1, 19);
    EXPECT_EQ(session.confirmed(), 2U);
    const auto last = sent<Submit>();
    EXPECT_EQ(last.first_number, 3U);
    EXPECT_EQ(last.confirmed, 2U);
}

TEST_F(ClientSession, AnAnswerThatComesTwiceCountsOnce) {
    establish();
    submit(1);
    expect_submit(1, 1);
    answer(1, 7);
    answer(1, 7);
    expect_submitted(1, 7);
}

TEST_F(ClientSession, NeverRunsAheadOfTheWindow) {
    establish();
    for (Ticket ticket = 1; ticket <= 10; ++ticket) submit(ticket);
    expect_submit(1, 8);
    expect_silence();
    answer(8, 1);
    session.completions().clear();
    const auto rest = sent<Submit>();
    EXPECT_EQ(rest.confirmed, 8U);
    EXPECT_EQ(rest.first_number, 9U);
    EXPECT_EQ(rest.items.size(), 2U);
}

TEST_F(ClientSession, HasNoMoreUnansweredThanTheBrokerWouldHaveIt) {
    window = 8192;
    establish();
    const auto answer_with = [this](std::size_t items, std::uint32_t in_flight) {
        Answers answers;
        answers.items.resize(items, {Code::ok, {1}, JobState::queued});
        answers.in_flight = in_flight;
        receive(std::move(answers), request);
        session.completions().clear();
    };
    Ticket ticket = 0;
    while (ticket < 1'000) submit(++ticket);
    expect_submit(1, 1'000);
    answer_with(1'000, 100);
    while (ticket < 1'250) submit(++ticket);
    expect_submit(1'001, 100);
    expect_silence();
    answer_with(100, 120);
    expect_submit(1'101, 120);
    expect_silence();
    reconnect();  // it may be another broker, or have forgotten
    expect_submit(1'101, 150);
    answer_with(150, 100);
    while (ticket < 1'400) submit(++ticket);
    expect_submit(1'251, 100);
    answer_with(100, 0);
    while (ticket < 1'600) submit(++ticket);
    expect_submit(1'351, 250);
}

TEST_F(ClientSession, CutsListsAtTheirNumberOfItems) {
    window = 8192;
    establish();
    for (Ticket ticket = 1; ticket <= 1'500; ++ticket) submit(ticket);
    std::size_t items = 0;
    for (int lists = 0; lists < 2; ++lists) {
        const auto list = sent<Submit>();
        EXPECT_LE(list.items.size(), kMaxItems);
        EXPECT_EQ(list.first_number, items + 1);
        items += list.items.size();
    }
    EXPECT_EQ(items, 1'500U);
}

TEST_F(ClientSession, CutsListsAtTheirBytes) {
    window = 64;
    establish();
    for (Ticket ticket = 1; ticket <= 30; ++ticket) submit(ticket, false, std::string(60'000, 'x'));
    expect_submit(1, 17);
    EXPECT_LE(sent_header.size() + sent_payload.size(), kCutListBytes);
    expect_submit(18, 13);
}

TEST_F(ClientSession, ALargePayloadGoesInAListOfItsOwn) {
    establish();
    submit(1, false, "small");
    submit(2, false, std::string(kLargePayloadBytes - 1, 'x'));
    submit(3, false, std::string(kLargePayloadBytes, 'y'));
    submit(4, false, std::string(kMaxPayloadBytes, 'z'));
    expect_submit(1, 2);
    expect_submit(3, 1);
    expect_submit(4, 1);
    EXPECT_EQ(sent_payload, std::string(kMaxPayloadBytes, 'z'));
}

TEST_F(ClientSession, LargePayloadsWithKeysShareLists) {
    establish();
    const std::string large(kLargePayloadBytes, 'x');
    for (Ticket ticket = 1; ticket <= 4; ++ticket) {
        SubmitItem item;
        item.type = "t";
        item.key = "k";
        session.submit(ticket, item, large, now);
    }
    expect_submit(1, 4);
}

TEST_F(ClientSession, AnArrayGoesAloneUnderItsNumberAndIsSentAgainUnderIt) {
    establish();
    submit(1);
    SubmitItem item;
    item.type = "t";
    session.submit(2, item, "all", now,
                   std::make_shared<const SubmitArray>(SubmitArray{0, 0, {}, 100, 5, 10, 3, "seeds"}));
    submit(3);
    expect_submit(1, 1);
    const RequestId first = request;
    const auto expect_array = [&](std::uint64_t confirmed) {
        const auto array = sent<SubmitArray>();
        EXPECT_EQ(array.confirmed, confirmed);
        EXPECT_EQ(array.first_number, 2U);
        ASSERT_EQ(array.items.size(), 1U);
        EXPECT_EQ(array.items[0].type, "t");
        EXPECT_EQ(sent_payload, "all");
        EXPECT_EQ(array.count, 100U);
        EXPECT_EQ(array.first, 5U);
        EXPECT_EQ(array.step, 10U);
        EXPECT_EQ(array.at_once, 3U);
        EXPECT_EQ(array.name, "seeds");
    };
    pass(200);  // an answer that takes so long is not waited for
    expect_array(0);
    pass(200);
    expect_submit(3, 1);
    answer(first, 1, 41);
    expect_submitted(1, 41);
    reconnect();
    expect_array(1);
    const RequestId again = request;
    expect_submit(3, 1);
    answer(again, 1, 57);
    expect_submitted(2, 57);
    answer(1, 58);
    expect_submitted(3, 58);
}

TEST_F(ClientSession, CutsListsAtTheSizeOfTheHeader) {
    window = 8192;
    establish();
    const std::string name(kMaxNameBytes, 'n');
    for (Ticket ticket = 1; ticket <= 300; ++ticket) {
        SubmitItem item;
        item.queue = item.type = item.key = name;
        session.submit(ticket, item, {}, now);
    }
    std::size_t items = 0;
    while (items < 300) {
        items += sent<Submit>().items.size();
        EXPECT_LE(sent_header.size(), kMaxHeaderBytes);
        ASSERT_FALSE(HasFailure());
        pass(100);  // what is left may be so little that it would wait for an answer
    }
}

TEST_F(ClientSession, TriesARefusedSubmitAgainWithANewNumber) {
    establish();
    submit(1);
    expect_submit(1, 1);
    answer(1, 0, Code::busy);
    EXPECT_EQ(session.confirmed(), 1U);
    pass(99);
    expect_silence();
    EXPECT_EQ(session.next_deadline_ms(), now + 1);
    pass(1);
    expect_submit(2, 1);
    answer(1, 7);
    expect_submitted(1, 7);
}

TEST_F(ClientSession, WaitsLongerAfterEachRefusal) {
    establish();
    submit(1);
    expect_submit(1, 1);
    answer(1, 0, Code::busy);
    pass(100);
    expect_submit(2, 1);
    answer(1, 0, Code::busy);
    pass(199);
    expect_silence();
    pass(1);
    expect_submit(3, 1);
}

TEST_F(ClientSession, ARefusalIsFinalWhenTheLimitWouldPassBeforeTheNextTry) {
    establish();
    submit(1);
    expect_submit(1, 1);
    now += 29'950;
    answer(1, 0, Code::busy);  // again after 100 ms
    expect_failed(1, Code::busy);
    sent<Heartbeat>();
}

TEST_F(ClientSession, ResendsTheSameNumbersWhenAWholeListWasRefusedBusy) {
    establish();
    submit(1);
    submit(2);
    expect_submit(1, 2);
    reconnect();
    expect_submit(1, 2);  // may have made jobs in the first session
    receive(Refusal{.code = Code::busy, .retry_after_ms = 40}, request);
    submit(3);
    expect_silence();
    pass(40);
    expect_submit(1, 3);
}

TEST_F(ClientSession, AnErrorForAListEndsItsSubmits) {
    establish();
    submit(1);
    submit(2);
    expect_submit(1, 2);
    receive(Refusal{.code = Code::bad_message, .text = "no"}, request);
    expect_failed(1, Code::bad_message);
    expect_failed(2, Code::bad_message);
    EXPECT_EQ(session.confirmed(), 2U);
}

TEST_F(ClientSession, AnItemsRefusalSaysWhichFieldAndWhy) {
    establish();
    submit(1);
    expect_submit(1, 1);
    Answers answers;
    answers.items.push_back({Code::bad_field, {}, JobState::none, "expected 1 to 10", "priority", 0});
    receive(std::move(answers), request);
    EXPECT_EQ(completed<Failed>().error.text, "priority: expected 1 to 10");
}

TEST_F(ClientSession, ASubmitThatWasNeverSentFailsAtItsLimit) {
    submit(1);
    pass(29'999);
    EXPECT_TRUE(session.completions().empty());
    EXPECT_TRUE(session.wants_reopen());
    pass(1);
    expect_failed(1, Code::timeout);
}

TEST_F(ClientSession, ASubmitOnItsWayNeverFailsForTime) {
    establish();
    submit(1);
    expect_submit(1, 1);
    const RequestId list = request;
    for (int i = 0; i < 10; ++i) {
        pass(kHeartbeatMs);
        sent<Heartbeat>();
        receive(Heartbeat{});
    }
    EXPECT_TRUE(session.completions().empty());
    answer(list, 1, 7);
    expect_submitted(1, 7);
}

TEST_F(ClientSession, ARetiredInstanceLeavesSentSubmitsUnknownAndGoesOnAsANewOne) {
    establish();
    submit(1);
    expect_submit(1, 1);
    answer(1, 7);
    expect_submitted(1, 7);
    submit(2);
    expect_submit(2, 1);
    session.on_disconnected();
    submit(3);
    connect();
    welcomed(InstanceState::retired);
    expect_failed(2, Code::outcome_unknown);
    const auto hello = sent<Hello>();
    EXPECT_EQ(hello.instance, uuid(2));
    EXPECT_FALSE(hello.resumed);
    EXPECT_EQ(hello.confirmed, 0U);
    hello_request = request;
    welcomed();
    expect_submit(1, 1);
    answer(1, 8);
    expect_submitted(3, 8);
}

TEST_F(ClientSession, AnAnswerOfTheWrongLengthLeavesTheOutcomeUnknown) {
    establish();
    submit(1);
    submit(2);
    expect_submit(1, 2);
    answer(1, 7);
    expect_failed(1, Code::outcome_unknown);
    expect_failed(2, Code::outcome_unknown);
}

class ClientSessionWithoutRetry : public ClientSession {
 protected:
    ClientSessionWithoutRetry() : ClientSession(false) {}
};

TEST_F(ClientSessionWithoutRetry, TellsTheCallerWhenToTryAgain) {
    establish();
    submit(1);
    expect_submit(1, 1);
    answer(1, 0, Code::busy);
    const auto failed = completed<Failed>();
    EXPECT_EQ(failed.error.code, Code::busy);
    EXPECT_EQ(failed.error.retry_after_ms, 100U);
}

// --- watching --------------------------------------------------------------------------------------------------------

TEST_F(ClientSession, AWatchedSubmitEndsWithItsResult) {
    establish();
    submit(1, true);
    EXPECT_TRUE(sent<Submit>().items.at(0).watch);
    answer(1, 7);
    expect_submitted(1, 7);
    expect_silence();  // the submit asked for it
    push_result(7, "done");
    const auto ended = completed<Ended>();
    EXPECT_EQ(ended.ticket, 1U);
    EXPECT_EQ(ended.item.state, JobState::completed);
    EXPECT_EQ(ended.payload, "done");
}

TEST_F(ClientSession, AJobThatHasEndedWhenItsSubmitIsAnsweredIsWatchedByNumber) {
    establish();
    submit(1, true);
    expect_submit(1, 1);
    Answers answers;
    answers.items.push_back({Code::existing, {7}, JobState::completed, {}, {}, 0});
    receive(std::move(answers), request);
    expect_submitted(1, 7);
    EXPECT_EQ(sent<Watch>().jobs, std::vector<JobId>{{7}});
    answer(1, 7, Code::retired);
    expect_failed(1, Code::retired);
}

TEST_F(ClientSession, WatchesAgainAfterAReconnect) {
    establish();
    submit(1, true);
    expect_submit(1, 1);
    answer(1, 7);
    expect_submitted(1, 7);
    ask(2, JobVerb::watch, 9);
    EXPECT_EQ(sent<Watch>().jobs, std::vector<JobId>{{9}});
    answer(1, 9);
    reconnect();
    EXPECT_EQ(sent<Watch>().jobs, (std::vector<JobId>{{9}, {7}})) << "what was asked, then what was submitted";
    answer(2, 9, Code::ended);
    push_result(9, "");
    EXPECT_EQ(completed<Ended>().ticket, 2U);
    push_result(7, "");
    EXPECT_EQ(completed<Ended>().ticket, 1U);
    push_result(7, "");  // pushed twice, told once
}

TEST_F(ClientSession, AllWhoWatchAJobAreTold) {
    establish();
    ask(1, JobVerb::watch, 7);
    ask(2, JobVerb::watch, 7);
    sent<Watch>();
    answer(2, 7);
    push_result(7, "r");
    EXPECT_EQ(completed<Ended>().ticket + completed<Ended>().ticket, 3U);
}

TEST_F(ClientSession, AWatchEndsAtItsTimeLimit) {
    establish();
    ask(1, JobVerb::watch, 7, 1'000);
    sent<Watch>();
    answer(1, 7);
    pass(1'000);
    expect_failed(1, Code::timeout);
    push_result(7, "too late");
    reconnect();
    expect_silence();
}

TEST_F(ClientSession, AWatchOfAJobThatIsGoneFails) {
    establish();
    ask(1, JobVerb::watch, 7);
    ask(2, JobVerb::watch, 8);
    sent<Watch>();
    Answers answers;
    answers.items.push_back({Code::retired, {7}, JobState::retired, {}, {}, 0});
    answers.items.push_back({Code::unknown_job, {8}, JobState::none, {}, {}, 0});
    receive(std::move(answers), request);
    expect_failed(1, Code::retired);
    expect_failed(2, Code::unknown_job);
}

TEST_F(ClientSession, NamesNoJobsOfOneStoreToAnother) {
    establish();
    submit(1, true);
    expect_submit(1, 1);
    answer(1, 7);
    expect_submitted(1, 7);
    session.on_disconnected();
    ask(2, JobVerb::cancel, 7);
    session.ask(3, StatsQuestion{}, now + 1'000);
    ListQuestion list;
    list.array = {7};
    session.ask(4, list, now + 1'000);
    connect();
    store = uuid(0xdd);
    welcomed(InstanceState::retired);
    expect_failed(2, Code::outcome_unknown);
    expect_failed(4, Code::outcome_unknown);
    expect_failed(1, Code::outcome_unknown);
    sent<Hello>();
    hello_request = request;
    welcomed();
    sent<AskStats>();
}

/// A store restored from a backup may know the instance, as it was then: its numbers are not to be trusted.
TEST_F(ClientSession, WhatWasSentToAnotherStoreIsUnknownAndWhatWasNotIsSentAnew) {
    establish();
    submit(1);
    submit(2);
    expect_submit(1, 2);
    session.on_disconnected();
    submit(3);
    const Uuid before = connect().instance;
    store = uuid(0xdd);
    welcomed(InstanceState::resumed);
    expect_failed(1, Code::outcome_unknown);
    expect_failed(2, Code::outcome_unknown);
    const Hello again = sent<Hello>();
    EXPECT_NE(again.instance, before);
    EXPECT_EQ(again.store, store);
    EXPECT_FALSE(again.resumed);
    hello_request = request;
    welcomed();
    expect_submit(1, 1);
    answer(1, 9);
    expect_submitted(3, 9);
}

TEST_F(ClientSession, RestatesTheGrantWhenHalfOfItIsUsed) {
    establish();
    push_result(1, std::string(400, 'x'));  // 464 of 1,000 bytes
    expect_silence();
    push_result(2, "");
    EXPECT_EQ(sent<Grant>().total_bytes, 464U + 64 + 1'000);
    expect_silence();
    reconnect();  // counted anew from here
    push_result(3, std::string(436, 'x'));
    EXPECT_EQ(sent<Grant>().total_bytes, 500U + 1'000);
}

// --- asking and steering ---------------------------------------------------------------------------------------------

TEST_F(ClientSession, AsksInListsByVerbAndInOrder) {
    establish();
    ask(1, JobVerb::cancel, 1);
    ask(2, JobVerb::cancel, 2);
    ask(3, JobVerb::redrive, 3);
    EXPECT_EQ(sent<Cancel>().jobs, (std::vector<JobId>{{1}, {2}}));
    answer(2, 1);
    EXPECT_EQ(completed<Answered>().ticket, 1U);
    EXPECT_EQ(completed<Answered>().ticket, 2U);
    EXPECT_EQ(sent<Redrive>().jobs, (std::vector<JobId>{{3}}));
    answer(1, 3, Code::not_dead);
    expect_failed(3, Code::not_dead);
}

TEST_F(ClientSession, AsksAgainAfterAReconnectWhatWasNotAnswered) {
    establish();
    ask(1, JobVerb::cancel, 1);
    sent<Cancel>();
    reconnect();
    EXPECT_EQ(sent<Cancel>().jobs, (std::vector<JobId>{{1}}));
    answer(1, 1, Code::cancel_requested);
    EXPECT_EQ(completed<Answered>().code, Code::cancel_requested);
}

TEST_F(ClientSession, AQuestionEndsAtItsTimeLimit) {
    ask(1, JobVerb::show, 1, 500);
    EXPECT_EQ(session.next_deadline_ms(), now + 500);
    pass(500);
    expect_failed(1, Code::timeout);
    establish();
    expect_silence();
}

TEST_F(ClientSession, AQuestionRefusedBusyIsAskedAgain) {
    establish();
    ask(1, JobVerb::redrive, 3, 1'000);
    sent<Redrive>();
    answer(1, 3, Code::busy);
    expect_silence();
    pass(100);
    sent<Redrive>();
    receive(Refusal{.code = Code::busy, .retry_after_ms = 5'000}, request);
    expect_failed(1, Code::busy);  // its limit would pass before
}

TEST_F(ClientSession, ShowsOneJobAMessage) {
    establish();
    ask(1, JobVerb::show, 1);
    ask(2, JobVerb::show, 2);
    sent<Show>();
    const RequestId first = request;
    sent<Show>();
    Jobs none;
    none.items.push_back({0, Code::unknown_job, {2}});
    receive(std::move(none), request);
    expect_failed(2, Code::unknown_job);
    Jobs one;
    one.items.push_back({3, Code::ok, {1}});
    receive(std::move(one), first, "map");
    EXPECT_EQ(completed<Found>().maps, std::vector<std::string_view>{"map"});
}

TEST_F(ClientSession, ListsAPage) {
    establish();
    session.ask(1, ListQuestion{JobState::dead, "q", "", 5, 10}, now + 1'000);
    const auto list = sent<List>();
    EXPECT_EQ(list.state, JobState::dead);
    EXPECT_EQ(list.queue, "q");
    EXPECT_EQ(list.cursor, 5U);
    EXPECT_EQ(list.limit, 10U);
    Jobs page;
    page.next_cursor = 77;
    page.items.push_back({1, Code::ok, {1}});
    page.items.push_back({2, Code::ok, {2}});
    receive(std::move(page), request, "abb");
    const auto found = completed<Found>();
    EXPECT_EQ(found.next_cursor, 77U);
    EXPECT_EQ(found.maps, (std::vector<std::string_view>{"a", "bb"}));
}

// --- leaving ---------------------------------------------------------------------------------------------------------

TEST_F(ClientSession, SaysGoodbyeWithItsLastConfirmation) {
    establish();
    submit(1);
    expect_submit(1, 1);
    answer(1, 7);
    expect_submitted(1, 7);
    session.close();
    EXPECT_EQ(sent<Goodbye>().confirmed, 1U);
    submit(2);
    expect_failed(2, Code::closed);
}

TEST_F(ClientSession, KeepsItsWindowAtTheBrokerIfSomethingIsUnanswered) {
    establish();
    submit(1);
    expect_submit(1, 1);
    ask(2, JobVerb::show, 7);
    session.close();
    expect_failed(1, Code::closed);
    expect_failed(2, Code::closed);
    expect_silence();
}

}  // namespace
}  // namespace jobyard::client
