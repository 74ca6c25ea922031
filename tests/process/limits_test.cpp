// Every row of PROTOCOL.md's table of limits, and every refusal, through a real socket. Limits that are settings are
// lowered with --limit. Rows about what is kept are in retention_test.cpp.

#include <gtest/gtest.h>
#include <signal.h>

#include <set>

#include "harness.hpp"
#include "raw_peer.hpp"
#include "wire.hpp"

namespace jobyard::test {
namespace {

using namespace std::chrono_literals;

/// A session that submits one job at a time.
class Submitter {
 public:
    explicit Submitter(const BrokerProcess& broker) : peer(broker.endpoint()) { peer.hello(submitter_hello()); }
    /// The texts of the answer are good until the next one.
    Answer submit(SubmitItem item = {}, const std::string& payload = {}) {
        if (item.type.empty()) item.type = "nobody";
        item.payload_length = static_cast<std::uint32_t>(payload.size());
        return answer_in(peer.call(Submit{0, next++, {item}}, payload));
    }
    RawPeer peer;
    std::uint64_t next = 1;
};

std::vector<std::string> limit(const std::vector<std::string>& settings) {
    std::vector<std::string> flags;
    for (const std::string& setting : settings) {
        flags.push_back("--limit");
        flags.push_back(setting);
    }
    return flags;
}

/// A limit was named, and when to try again was said.
void expect_refusal(const Answer& answer, Code code, std::string_view limit_name) {
    EXPECT_EQ(answer.code, code) << answer.text;
    EXPECT_EQ(answer.job.value, 0U);
    EXPECT_NE(answer.text.find(limit_name), std::string_view::npos) << answer.text;
    EXPECT_GT(answer.retry_after_ms, 0U);
}

void expect_bad_field(const Answer& answer, std::string_view field) {
    EXPECT_EQ(answer.code, Code::bad_field) << field;
    EXPECT_EQ(answer.field, field);
    EXPECT_FALSE(answer.text.empty());
}

void expect_bad_field(const Refusal& refusal, std::string_view field) {
    EXPECT_EQ(refusal.code, Code::bad_field) << field;
    EXPECT_EQ(refusal.field, field);
    EXPECT_FALSE(refusal.text.empty());
}

class Limits : public testing::Test {
 protected:
    Submitter& plain() {
        if (!submitter_) {
            broker_ = std::make_unique<BrokerProcess>();
            submitter_ = std::make_unique<Submitter>(*broker_);
        }
        return *submitter_;
    }
    Submitter& limited(const std::vector<std::string>& settings) {
        broker_ = std::make_unique<BrokerProcess>(limit(settings));
        submitter_ = std::make_unique<Submitter>(*broker_);
        return *submitter_;
    }
    std::unique_ptr<BrokerProcess> broker_;
    std::unique_ptr<Submitter> submitter_;
};

// --- messages --------------------------------------------------------------------------------------------------------

TEST_F(Limits, AHeaderHas64KiB) {
    RawPeer& peer = plain().peer;
    EXPECT_EQ(refusal_in(peer.call_frames({std::string((64U << 10U) + 1, '\x90'), ""})).code, Code::too_large);
    EXPECT_EQ(plain().submit().code, Code::ok) << "the session goes on";
}

TEST_F(Limits, AMessageHas2MiB) {
    RawPeer& peer = plain().peer;
    EXPECT_EQ(
        refusal_in(peer.call_frames({header_of({peer.session(), {7}, AskStats{}}), std::string(2U << 20U, 'p')})).code,
        Code::too_large);
    EXPECT_EQ(plain().submit().code, Code::ok);
}

TEST_F(Limits, AFrameBeyond2MiBAnd64KiBClosesTheConnection) {
    RawPeer& peer = plain().peer;
    EXPECT_TRUE(peer.send_frames(
        {header_of({peer.session(), {7}, AskStats{}}), std::string((2U << 20U) + (64U << 10U) + 1, 'p')}));
    // The socket connects again by itself; the session was the old connection's.
    EXPECT_TRUE(eventually([&] {
        peer.send(AskStats{}, {}, {8});
        const auto received = peer.receive(1s);
        const Refusal* refusal = received ? std::get_if<Refusal>(&received->envelope.message) : nullptr;
        return refusal != nullptr && refusal->code == Code::no_session;
    }));
    Submitter other(*broker_);
    EXPECT_EQ(other.submit().code, Code::ok);
}

TEST_F(Limits, AListHas1024Items) {
    RawPeer& peer = plain().peer;
    Watch watch{std::vector<JobId>(1024, JobId{1})};
    EXPECT_EQ(std::get<Answers>(peer.call(watch).envelope.message).items.size(), 1024U);
    watch.jobs.push_back({1});
    EXPECT_EQ(refusal_in(peer.call(watch)).code, Code::too_large);
}

TEST_F(Limits, AHeaderIsNestedEightDeep) {
    RawPeer& peer = plain().peer;
    const auto nested = [&](int depth) {
        std::string header;
        wire::Writer out(header);
        out.array(5);
        out.uint(1);
        out.uint(23);  // ASK_STATS, with a field of some later minor version
        out.uint(peer.session().value);
        out.uint(9);
        for (int i = 0; i < depth; ++i) out.array(1);
        out.nil();
        out.flush();
        return header;
    };
    EXPECT_TRUE(std::holds_alternative<Stats>(peer.call_frames({nested(3), ""}).envelope.message));
    EXPECT_EQ(refusal_in(peer.call_frames({nested(9), ""})).code, Code::bad_message);
    EXPECT_EQ(refusal_in(peer.call_frames({nested(10'000), ""})).code, Code::bad_message);
}

TEST_F(Limits, ATypeThatIsNotKnownIsAnsweredUnknownMessage) {
    RawPeer& peer = plain().peer;
    for (const std::uint64_t type : {0U, 9U, 99U, 4000U}) {
        std::string header;
        wire::Writer out(header);
        out.array(4);
        out.uint(1);
        out.uint(type);
        out.uint(peer.session().value);
        out.uint(77);
        out.flush();
        const auto received = peer.call_frames({header, ""});
        EXPECT_EQ(refusal_in(received).code, Code::unknown_message) << type;
        EXPECT_EQ(received.envelope.request.value, 77U);
    }
}

TEST_F(Limits, AVersionThatIsNotSpokenIsAnsweredWithThoseThatAre) {
    RawPeer& peer = plain().peer;
    Hello hello = submitter_hello();
    hello.min_version = 2;
    hello.max_version = 3;
    const Refusal refusal = refusal_in(peer.call(hello));
    EXPECT_EQ(refusal.code, Code::version_not_spoken);
    EXPECT_EQ(refusal.min_version, 1U);
    EXPECT_EQ(refusal.max_version, 1U);
    std::string header;
    wire::Writer out(header);
    out.array(4);
    for (const std::uint64_t field : {2U, 1U, 0U, 5U}) out.uint(field);
    out.flush();
    EXPECT_EQ(refusal_in(peer.call_frames({header, ""})).code, Code::version_not_spoken);
    hello.min_version = 1;  // from 1 to 3: one is common
    EXPECT_EQ(peer.hello(hello).version, 1U);
}

TEST_F(Limits, AFieldOfAnotherTypeIsNamed) {
    RawPeer& peer = plain().peer;
    std::string header;
    wire::Writer out(header);
    out.array(6);
    for (const std::uint64_t field : {std::uint64_t{1}, std::uint64_t{10}, peer.session().value, std::uint64_t{5}})
        out.uint(field);
    out.str("no number");
    out.uint(1);
    out.flush();
    const Refusal refusal = refusal_in(peer.call_frames({header, ""}));
    expect_bad_field(refusal, "confirmed");
}

TEST_F(Limits, ARoleMaySendOnlyWhatIsItsOwn) {
    RawPeer& peer = plain().peer;
    EXPECT_EQ(refusal_in(peer.call(Renew{{{{1}, {1}}}})).code, Code::not_allowed);
    EXPECT_EQ(refusal_in(peer.call(Complete{{{0, {1}, {1}}}})).code, Code::not_allowed);
    RawPeer worker(broker_->endpoint());
    worker.hello(worker_hello("worker", {"nobody"}));
    EXPECT_EQ(refusal_in(worker.call(Submit{0, 1, {{.type = "nobody"}}})).code, Code::not_allowed);
    EXPECT_EQ(refusal_in(worker.call(Cancel{{{1}}})).code, Code::not_allowed);
}

TEST_F(Limits, WithoutASessionOneIsAskedToSayHelloAndAReplacedOneIsToldSo) {
    plain();
    RawPeer early(broker_->endpoint());
    early.set_session({4711});
    EXPECT_EQ(refusal_in(early.call(AskStats{})).code, Code::no_session);
    const Hello hello = submitter_hello();
    RawPeer first(broker_->endpoint());
    first.hello(hello);
    RawPeer second(broker_->endpoint());
    Hello again = hello;
    again.resumed = true;
    second.hello(again);
    EXPECT_EQ(refusal_in(first.call(AskStats{})).code, Code::replaced);
    EXPECT_TRUE(std::holds_alternative<Stats>(second.call(AskStats{}).envelope.message));
}

// --- fields of a submit ----------------------------------------------------------------------------------------------

TEST_F(Limits, NamesHave1To255BytesOfCleanText) {
    Submitter& submitter = plain();
    const std::string longest(255, 'n');
    EXPECT_EQ(submitter.submit({.queue = longest, .type = longest, .key = longest}).code, Code::ok);
    for (const std::string& name :
         {std::string(256, 'n'), std::string("a\nb"), std::string("\xff\xfe"), std::string("a\0b", 3)}) {
        expect_bad_field(submitter.submit({.queue = name, .type = "t"}), "queue");
        expect_bad_field(submitter.submit({.type = name}), "type");
        expect_bad_field(submitter.submit({.type = "t", .key = name}), "key");
        expect_bad_field(refusal_in(RawPeer(broker_->endpoint()).call(worker_hello(name, {"t"}))), "name");
        expect_bad_field(refusal_in(RawPeer(broker_->endpoint()).call(worker_hello("w", {name}))), "types");
    }
    expect_bad_field(submitter.submit({.queue = "", .type = "t"}), "queue");
    expect_bad_field(refusal_in(RawPeer(broker_->endpoint()).call(worker_hello("", {"t"}))), "name");
}

TEST_F(Limits, NumbersOfASubmitHaveRangesAndTheRefusalNamesTheField) {
    Submitter& submitter = plain();
    EXPECT_EQ(submitter.submit({.priority = 1}).code, Code::ok);
    EXPECT_EQ(submitter.submit({.priority = 10}).code, Code::ok);
    expect_bad_field(submitter.submit({.priority = 0}), "priority");
    expect_bad_field(submitter.submit({.priority = 11}), "priority");
    EXPECT_EQ(submitter.submit({.max_attempts = 1000}).code, Code::ok);
    expect_bad_field(submitter.submit({.max_attempts = 0}), "max_attempts");
    expect_bad_field(submitter.submit({.max_attempts = 1001}), "max_attempts");
    EXPECT_EQ(submitter.submit({.delay_ms = kMaxDelayMs}).code, Code::ok);
    expect_bad_field(submitter.submit({.delay_ms = kMaxDelayMs + 1}), "delay_ms");
    EXPECT_EQ(submitter.submit({.timeout_ms = kMaxTimeoutMs}).code, Code::ok);
    expect_bad_field(submitter.submit({.timeout_ms = kMaxTimeoutMs + 1}), "timeout_ms");
    EXPECT_EQ(submitter.submit({.backoff = {kMaxBackoffMs, 10'000, kMaxBackoffMs, 100}}).code, Code::ok);
    expect_bad_field(submitter.submit({.backoff = {kMaxBackoffMs + 1, 200, 1, 0}}), "backoff_initial_ms");
    expect_bad_field(submitter.submit({.backoff = {1, 200, kMaxBackoffMs + 1, 0}}), "backoff_max_ms");
    expect_bad_field(submitter.submit({.backoff = {1, 99, 1, 0}}), "backoff_factor_percent");
    expect_bad_field(submitter.submit({.backoff = {1, 10'001, 1, 0}}), "backoff_factor_percent");
    expect_bad_field(submitter.submit({.backoff = {1, 200, 1, 101}}), "backoff_jitter_percent");
}

TEST_F(Limits, ARefusedItemDoesNotTouchTheOthersOfItsList) {
    Submitter& submitter = plain();
    const auto received =
        submitter.peer.call(Submit{0, 1, {{.type = "a"}, {.type = "b", .priority = 99}, {.type = "c"}}});
    const auto& answers = std::get<Answers>(received.envelope.message);
    ASSERT_EQ(answers.items.size(), 3U);
    EXPECT_EQ(answers.items[0].code, Code::ok);
    EXPECT_EQ(answers.items[1].code, Code::bad_field);
    EXPECT_EQ(answers.items[2].code, Code::ok);
}

TEST_F(Limits, APayloadIsRefusedByTheClientFirstAndByTheBrokerAllTheSame) {
    Submitter& submitter = limited({"payload_bytes=1000"});
    EXPECT_EQ(submitter.submit({}, std::string(1000, 'p')).code, Code::ok);
    const Answer answer = submitter.submit({}, std::string(1001, 'p'));
    EXPECT_EQ(answer.code, Code::too_large);
    EXPECT_NE(answer.text.find("1001"), std::string_view::npos) << answer.text;
    EXPECT_NE(answer.text.find("1000"), std::string_view::npos) << answer.text;

    Client client(client_options(broker_->endpoint()));
    ASSERT_TRUE(client.connect());
    EXPECT_EQ(client.max_payload(), 1000U);
    const std::uint64_t refused = counter(client, "refused");
    const Result<JobId> id = client.submit({.type = "nobody", .payload = std::string(2000, 'p')}).id();
    ASSERT_FALSE(id);
    EXPECT_EQ(code_of(id), Code::too_large);
    EXPECT_NE(id.error().text.find("2000"), std::string::npos) << id.error().text;
    EXPECT_NE(id.error().text.find("1000"), std::string::npos) << id.error().text;
    EXPECT_EQ(counter(client, "refused"), refused) << "it never left the client";
}

TEST_F(Limits, AResultThatIsTooLargeFailsTheJobForGood) {
    Submitter& submitter = limited({"result_bytes=1000"});
    const JobId id = submitter.submit({.type = "raw"}).job;
    RawPeer worker(broker_->endpoint());
    worker.hello(worker_hello("raw", {"raw"}));
    const auto dispatched = worker.receive_a<Dispatch>();
    ASSERT_TRUE(dispatched);
    const LeaseToken token = std::get<Dispatch>(dispatched->envelope.message).items.at(0).token;
    EXPECT_EQ(answer_in(worker.call(Complete{{{1001, id, token, 1}}}, std::string(1001, 'r'))).code, Code::too_large);

    auto library = start_test_worker(broker_->endpoint(), {});
    Client client(client_options(broker_->endpoint()));
    for (const JobId job : {id, client.submit({.type = "large", .payload = "1001"}).id().value()}) {
        const Result<JobResult> result = client.wait(job, kPatience);
        ASSERT_TRUE(result) << result.error().text;
        EXPECT_EQ(result->state, JobState::dead);
        EXPECT_EQ(result->reason, Reason::not_retryable);
        EXPECT_NE(result->error.find("result"), std::string::npos) << result->error;
    }
    EXPECT_EQ(client.run({.type = "large", .payload = "1000"}, kPatience).value().bytes.size(), 1000U);
}

TEST_F(Limits, TextsOfAnAttemptAreCut) {
    plain();
    const TemporaryDirectory files;
    BrokerProcess quick({"--renew", "200"});
    auto worker = start_test_worker(quick.endpoint(), {{"gate", files / "gate"}});
    Client client(client_options(quick.endpoint()));
    const Result<JobResult> result = client.run({.type = "wordy"}, kPatience);
    ASSERT_TRUE(result) << result.error().text;
    const AttemptInfo attempt = client.show(result->job).value().attempts.at(0);
    EXPECT_EQ(attempt.error.size(), 512U);
    EXPECT_EQ(attempt.tail.size(), 1024U);

    const JobId id = client.submit({.type = "report"}).id().value();
    EXPECT_TRUE(eventually([&] { return client.show(id).value().progress.has_value(); }));
    EXPECT_EQ(client.show(id).value().progress, 0.25);
    EXPECT_EQ(client.show(id).value().progress_text, std::string(255, 'p'));
    open_gate(files / "gate");
}

// --- windows, workers, sessions --------------------------------------------------------------------------------------

TEST_F(Limits, SubmitsRunAtMostTheWindowAheadOfWhatIsConfirmed) {
    Submitter& submitter = plain();
    RawPeer& peer = submitter.peer;
    const std::vector<SubmitItem> one{{.type = "nobody"}};
    EXPECT_EQ(answer_in(peer.call(Submit{0, 8192, one})).code, Code::ok);
    EXPECT_EQ(answer_in(peer.call(Submit{0, 8193, one})).code, Code::busy);
    EXPECT_EQ(answer_in(peer.call(Submit{1, 8193, one})).code, Code::ok);
    expect_bad_field(answer_in(peer.call(Submit{1, 1, one})), "first_number");
    EXPECT_EQ(refusal_in(peer.call(Submit{1, 0, one})).field, "first_number");
}

TEST_F(Limits, WhoSubmitsMuchIsToldToHaveFewerUnansweredWhileAnotherSubmitsLittle) {
    Submitter& little = limited({"shared_window=300"});
    RawPeer much(broker_->endpoint());
    much.hello(submitter_hello());
    std::uint64_t numbers = 0;
    const auto told = [&] {
        const Submit list{numbers, numbers + 1, std::vector<SubmitItem>(33, {.type = "nobody"})};
        numbers += 33;
        const auto answers = much.call(list);
        return std::get<Answers>(answers.envelope.message).in_flight;
    };
    EXPECT_EQ(told(), 0U);
    EXPECT_TRUE(eventually([&] { return little.submit().code == Code::ok && told() == 300; }));
    little.peer.send(Goodbye{});
    EXPECT_TRUE(eventually([&] { return told() == 0; }));
}

TEST_F(Limits, AWorkerHoldsAtMost1024Jobs) {
    plain();
    RawPeer worker(broker_->endpoint());
    expect_bad_field(refusal_in(worker.call(worker_hello("w", {"t"}, 1, 1025))), "credit");
    expect_bad_field(refusal_in(worker.call(worker_hello("w", {"t"}, 1025, 1))), "slots");
    worker.hello(worker_hello("w", {"t"}, 1, 1024));
    expect_bad_field(refusal_in(worker.call(Credit{1025})), "credit");
}

TEST_F(Limits, AWorkerIsNeverSentMoreThanItsCredit) {
    Submitter& submitter = plain();
    for (int i = 0; i < 5; ++i) EXPECT_EQ(submitter.submit({.type = "raw"}).code, Code::ok);
    RawPeer worker(broker_->endpoint());
    worker.hello(worker_hello("w", {"raw"}, 1, 2));
    std::size_t held = 0;
    while (held < 2) {
        const auto received = worker.receive_a<Dispatch>();
        ASSERT_TRUE(received);
        held += std::get<Dispatch>(received->envelope.message).items.size();
    }
    EXPECT_EQ(held, 2U);
    // Whatever it was going to send has been sent when it has answered this.
    EXPECT_TRUE(std::holds_alternative<Answers>(worker.call(Renew{{{{1}, {1}}}}).envelope.message));
    Client client(client_options(broker_->endpoint()));
    EXPECT_EQ(counter(client, "dispatched"), 2U);
    worker.send(Credit{3});
    const auto more = worker.receive_a<Dispatch>();
    ASSERT_TRUE(more);
    EXPECT_EQ(std::get<Dispatch>(more->envelope.message).items.size(), 1U);
}

TEST_F(Limits, AWorkerServesAtMost256QueuesAnd1024Types) {
    plain();
    std::vector<std::string> names;
    for (int i = 0; i < 1025; ++i) names.push_back("name" + std::to_string(i));
    RawPeer worker(broker_->endpoint());
    Hello hello = worker_hello("w", {"t"});
    hello.queues.assign(names.begin(), names.begin() + 257);
    expect_bad_field(refusal_in(worker.call(hello)), "queues");
    hello.queues.pop_back();
    hello.types.assign(names.begin(), names.end());
    const Refusal refusal = refusal_in(worker.call(hello));
    EXPECT_TRUE(refusal.code == Code::bad_field || refusal.code == Code::too_large) << to_string(refusal.code);
    EXPECT_EQ(refusal.field, "types");
    hello.types.pop_back();
    worker.hello(hello);
}

TEST_F(Limits, OfASessionAtMost64MessagesWaitForTheDisk) {
    Submitter& submitter = plain();
    const JobId id = submitter.submit().job;
    EXPECT_EQ(answer_in(submitter.peer.call(Cancel{{id}})).code, Code::ok);
    // While the broker stands still they pile up, and are then all there at once.
    broker_->process().signal(SIGSTOP);
    constexpr std::uint64_t kAsked = 900;
    for (std::uint64_t i = 0; i < kAsked; ++i) submitter.peer.send(Show{{id}}, {}, {1000 + i});
    broker_->process().signal(SIGCONT);
    std::size_t shown = 0;
    std::size_t busy = 0;
    for (std::uint64_t i = 0; i < kAsked; ++i) {
        const auto received = submitter.peer.receive();
        ASSERT_TRUE(received) << "answer " << i;
        if (std::holds_alternative<Jobs>(received->envelope.message)) {
            ++shown;
            continue;
        }
        const Refusal refusal = refusal_in(*received);
        EXPECT_EQ(refusal.code, Code::busy) << refusal.text;
        EXPECT_GT(refusal.retry_after_ms, 0U);
        ++busy;
    }
    EXPECT_GE(shown, 64U);
    EXPECT_GT(busy, 0U);
    EXPECT_EQ(submitter.submit().code, Code::ok);
}

TEST_F(Limits, Sessions) {
    limited({"sessions=2"});
    RawPeer second(broker_->endpoint());
    second.hello(submitter_hello());
    RawPeer third(broker_->endpoint());
    const Refusal refusal = refusal_in(third.call(submitter_hello()));
    EXPECT_EQ(refusal.code, Code::busy);
    EXPECT_NE(refusal.text.find("sessions"), std::string_view::npos);
    EXPECT_GT(refusal.retry_after_ms, 0U);
    second.send(Goodbye{});
    EXPECT_TRUE(
        eventually([&] { return std::holds_alternative<Welcome>(third.call(submitter_hello()).envelope.message); }));
}

TEST_F(Limits, NamesThatWorkersServe) {
    limited({"served_names=4"});
    RawPeer first(broker_->endpoint());
    first.hello(worker_hello("first", {"a", "b", "c"}));  // and the queue "default"
    RawPeer like_it(broker_->endpoint());
    like_it.hello(worker_hello("like it", {"a", "b", "c"}));
    RawPeer third(broker_->endpoint());
    const Hello other = worker_hello("third", {"d"});
    const Refusal refusal = refusal_in(third.call(other));
    EXPECT_EQ(refusal.code, Code::busy);
    EXPECT_NE(refusal.text.find("served_names"), std::string_view::npos);
    EXPECT_GT(refusal.retry_after_ms, 0U);
    like_it.send(Goodbye{});
    first.send(Goodbye{});
    EXPECT_TRUE(eventually([&] { return std::holds_alternative<Welcome>(third.call(other).envelope.message); }));
    for (int i = 0; i < 1'000; ++i) {
        const std::string type = std::to_string(i);
        third.hello(worker_hello("ever new", {type}));
    }
}

TEST_F(Limits, Instances) {
    Submitter& first = limited({"instances=2"});
    EXPECT_EQ(first.submit().code, Code::ok);
    auto second = std::make_unique<Submitter>(*broker_);
    EXPECT_EQ(second->submit().code, Code::ok);
    RawPeer third(broker_->endpoint());
    const Refusal refusal = refusal_in(third.call(submitter_hello()));
    EXPECT_EQ(refusal.code, Code::busy);
    EXPECT_NE(refusal.text.find("instances"), std::string_view::npos);
    EXPECT_GT(refusal.retry_after_ms, 0U);
    second->peer.send(Goodbye{GoodbyeReason::leaving, 1});  // all it submitted was answered
    EXPECT_TRUE(
        eventually([&] { return std::holds_alternative<Welcome>(third.call(submitter_hello()).envelope.message); }));
}

// --- what the broker holds -------------------------------------------------------------------------------------------

TEST_F(Limits, JobsInOneQueue) {
    Submitter& submitter = limited({"queue_jobs=2"});
    const JobId id = submitter.submit().job;
    EXPECT_EQ(submitter.submit().code, Code::ok);
    expect_refusal(submitter.submit(), Code::queue_full, "queue_jobs");
    EXPECT_EQ(submitter.submit({.queue = "other"}).code, Code::ok);
    EXPECT_EQ(answer_in(submitter.peer.call(Cancel{{id}})).code, Code::ok);
    EXPECT_EQ(submitter.submit().code, Code::ok) << "there is room again";
}

TEST_F(Limits, AFullQueueHoldsTheClientBackUntilThereIsRoomOrItsLimitPasses) {
    limited({"queue_jobs=2"});
    Client client(client_options(broker_->endpoint()));
    const JobId first = client.submit({.type = "nobody"}).id().value();
    ASSERT_TRUE(client.submit({.type = "nobody"}).id());
    const Submission waits = client.submit({.type = "nobody"});
    EXPECT_EQ(code_of(waits.id(500ms)), Code::timeout);
    ASSERT_TRUE(client.cancel(first));
    EXPECT_TRUE(waits.id(kPatience)) << "it was tried again by itself";

    Client::Options impatient = client_options(broker_->endpoint());
    impatient.retry_refused = false;
    Client other(impatient);
    const Result<JobId> refused = other.submit({.type = "nobody"}).id();
    EXPECT_EQ(code_of(refused), Code::queue_full);
    EXPECT_GT(refused.error().retry_after_ms, 0U);
}

TEST_F(Limits, UnendedJobs) {
    Submitter& submitter = limited({"jobs=2"});
    EXPECT_EQ(submitter.submit({.queue = "a"}).code, Code::ok);
    EXPECT_EQ(submitter.submit({.queue = "b"}).code, Code::ok);
    expect_refusal(submitter.submit({.queue = "c"}), Code::busy, "limit jobs");
}

TEST_F(Limits, BytesOfUnendedPayloads) {
    Submitter& submitter = limited({"payload_total_bytes=1000"});
    EXPECT_EQ(submitter.submit({}, std::string(900, 'p')).code, Code::ok);
    expect_refusal(submitter.submit({}, std::string(101, 'p')), Code::busy, "payload_total_bytes");
    EXPECT_EQ(submitter.submit({}, std::string(100, 'p')).code, Code::ok);
}

TEST_F(Limits, Queues) {
    Submitter& submitter = limited({"queues=2"});
    EXPECT_EQ(submitter.submit({.queue = "a"}).code, Code::ok);
    EXPECT_EQ(submitter.submit({.queue = "b"}).code, Code::ok);
    expect_refusal(submitter.submit({.queue = "c"}), Code::busy, "limit queues");
    EXPECT_EQ(submitter.submit({.queue = "b"}).code, Code::ok);
}

TEST_F(Limits, PairsOfQueueAndType) {
    Submitter& submitter = limited({"classes=2"});
    EXPECT_EQ(submitter.submit({.type = "a"}).code, Code::ok);
    EXPECT_EQ(submitter.submit({.type = "b"}).code, Code::ok);
    expect_refusal(submitter.submit({.type = "c"}), Code::busy, "limit classes");
    EXPECT_EQ(submitter.submit({.type = "b"}).code, Code::ok);
}

TEST_F(Limits, Keys) {
    Submitter& submitter = limited({"keys=2"});
    const JobId first = submitter.submit({.key = "a"}).job;
    EXPECT_EQ(submitter.submit({.key = "b"}).code, Code::ok);
    expect_refusal(submitter.submit({.key = "c"}), Code::busy, "limit keys");
    const Answer existing = submitter.submit({.key = "a"});
    EXPECT_EQ(existing.code, Code::existing) << "those that are remembered are never forgotten for new ones";
    EXPECT_EQ(existing.job, first);
    EXPECT_EQ(submitter.submit({.key = "a"}, "other content").code, Code::conflict);
    EXPECT_EQ(submitter.submit().code, Code::ok) << "jobs without a key are not concerned";
}

TEST_F(Limits, Watches) {
    Submitter& submitter = limited({"watches=2"});
    Watch watch;
    for (int i = 0; i < 3; ++i) watch.jobs.push_back(submitter.submit().job);
    const auto received = submitter.peer.call(watch);
    const auto& answers = std::get<Answers>(received.envelope.message);
    ASSERT_EQ(answers.items.size(), 3U);
    EXPECT_EQ(answers.items[0].code, Code::ok);
    EXPECT_EQ(answers.items[1].code, Code::ok);
    EXPECT_EQ(answers.items[2].code, Code::busy);
    EXPECT_GT(answers.items[2].retry_after_ms, 0U);
}

TEST_F(Limits, FreeDiskForSubmits) {
    Submitter& submitter = limited({"submit_free_bytes=100000G"});
    expect_refusal(submitter.submit(), Code::disk_full, "submit_free_bytes");
    Client::Options impatient = client_options(broker_->endpoint());
    impatient.retry_refused = false;
    Client client(impatient);
    EXPECT_EQ(code_of(client.submit({.type = "nobody"}).id()), Code::disk_full);
}

TEST_F(Limits, FreeDiskForDispatchStopsNewWorkAndStillTakesWhatEnds) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    BrokerProcess broker;
    auto worker = start_test_worker(broker.endpoint(), {{"log", log}, {"gate", files / "gate"}});
    Client client(client_options(broker.endpoint()));
    const Submission running = client.submit({.type = "gated", .watch = true});
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 1; }));
    const Submission queued = client.submit({.type = "echo", .watch = true});
    ASSERT_TRUE(queued.id());
    EXPECT_EQ(broker.terminate(), 0);
    broker.set_flags(limit({"submit_free_bytes=100000G", "dispatch_free_bytes=100000G"}));
    broker.start();
    ASSERT_TRUE(workers_arrived(client, 1));
    open_gate(files / "gate");
    EXPECT_EQ(running.result(kPatience).value().state, JobState::completed);
    const JobInfo info = client.show(*queued.id()).value();
    EXPECT_EQ(info.state, JobState::queued);
    EXPECT_EQ(info.reason, "disk_full");
    EXPECT_EQ(client.cancel(*queued.id()).value().code, Code::ok) << "what frees space is never refused";
    EXPECT_EQ(executions(log).size(), 1U);
}

}  // namespace
}  // namespace jobyard::test
