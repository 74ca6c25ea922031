// Submits: windows, keys, and every reason to refuse one (PROTOCOL.md, sections 5 and 9).

#include "core_fixture.hpp"

namespace jobyard::broker::test {
namespace {

constexpr std::int64_t kDayMs = std::int64_t{24} * 3600 * 1000;

/// Fails an attempt for good.
constexpr Failure kForGood{.retryable = false};

struct CoreWindow : YardTest {
    Peer client = submitter();

    /// Sends numbers first, first + 1, … and gives the answers.
    std::vector<Answer> submit_run(const Peer& peer, std::uint64_t confirmed, std::uint64_t first, std::size_t count,
                                   const SubmitItem& item = {.type = "t"}) {
        send(peer, Submit{confirmed, first, std::vector<SubmitItem>(count, item)});
        return answers(peer);
    }
    std::size_t jobs() const { return core->numbers().submitted_total; }
};

TEST_F(CoreWindow, AListMakesAJobForEachItemInOrder) {
    const auto made = submit_run(client, 0, 1, 3);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(made[i].code, Code::ok);
        EXPECT_EQ(made[i].job, JobId{i + 1});
    }
}

TEST_F(CoreWindow, PayloadsGoToTheirItems) {
    const Peer w = worker({.slots = 3});
    SubmitItem item{.type = "t"};
    Submit list{0, 1, {}};
    for (const std::uint32_t size : {2U, 0U, 3U}) {
        item.payload_length = size;
        list.items.push_back(item);
    }
    send(client, list, "aaccc");
    answers(client);
    std::map<std::uint64_t, std::string> payloads;
    for (const Held& held : take_all(w)) payloads[held.job.value] = held.payload;
    EXPECT_EQ(payloads, (std::map<std::uint64_t, std::string>{{1, "aa"}, {2, ""}, {3, "ccc"}}));
}

TEST_F(CoreWindow, ResendIsAnsweredWithTheSameJobs) {
    const auto first = submit_run(client, 0, 1, 3);
    const auto again = submit_run(client, 0, 1, 3);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(again[i].code, Code::ok);
        EXPECT_EQ(again[i].job, first[i].job);
    }
    EXPECT_EQ(jobs(), 3U);
}

TEST_F(CoreWindow, ResendThatOverlapsMakesOnlyWhatIsNew) {
    submit_run(client, 0, 1, 3);
    const auto again = submit_run(client, 0, 2, 4);
    EXPECT_EQ(again[0].job, JobId{2});
    EXPECT_EQ(again[1].job, JobId{3});
    EXPECT_EQ(again[2].job, JobId{4});
    EXPECT_EQ(again[3].job, JobId{5});
    EXPECT_EQ(jobs(), 5U);
}

TEST_F(CoreWindow, ResendAfterTheJobEndedIsStillAnsweredOk) {
    const Peer w = worker();
    submit_run(client, 0, 1, 1);
    complete(w, take(w));
    const auto again = submit_run(client, 0, 1, 1);
    EXPECT_EQ(again[0].code, Code::ok);
    EXPECT_EQ(again[0].job, JobId{1});
    EXPECT_EQ(jobs(), 1U);
}

TEST_F(CoreWindow, ResendAfterACrashThatKeptTheBatchFindsTheJobs) {
    hold_commits();
    submit_run(client, 0, 1, 3);
    crash_after_commit();
    come_back(client);
    EXPECT_EQ(client.instance_state, InstanceState::resumed);
    const auto again = submit_run(client, 0, 1, 3);
    EXPECT_EQ(again[2].job, JobId{3});
    EXPECT_EQ(jobs(), 3U);
}

TEST_F(CoreWindow, ResendAfterACrashThatLostTheBatchMakesTheJobs) {
    hold_commits();
    submit_run(client, 0, 1, 2);
    crash();
    EXPECT_EQ(jobs(), 0U);
    come_back(client);
    EXPECT_EQ(client.instance_state, InstanceState::resumed) << "its row was durable before its WELCOME left";
    EXPECT_EQ(submit_run(client, 0, 1, 2)[1].code, Code::ok);
    EXPECT_EQ(jobs(), 2U);
}

TEST_F(CoreWindow, ResendOutOfOrderAfterLostMessagesFillsTheGap) {
    const auto later = submit_run(client, 0, 4, 2);
    const auto earlier = submit_run(client, 0, 1, 3);
    EXPECT_EQ(earlier[0].job, JobId{3});
    for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(submit_run(client, 0, 4, 2)[1].job, later[1].job);
        const auto all = submit_run(client, 0, 1, 5);
        EXPECT_EQ(all[0].job, earlier[0].job);
        EXPECT_EQ(all[2].job, earlier[2].job);
        EXPECT_EQ(all[3].job, later[0].job);
        crash();
        come_back(client);
    }
    EXPECT_EQ(jobs(), 5U);
}

TEST_F(CoreWindow, RefusedNumberIsDecidedAfresh) {
    core->set_free_disk(0);
    EXPECT_EQ(submit_run(client, 0, 1, 1)[0].code, Code::disk_full);
    core->set_free_disk(UINT64_MAX);
    EXPECT_EQ(submit_run(client, 0, 1, 1)[0].code, Code::ok);
}

TEST_F(CoreWindow, RefusalInTheMiddleOfAListTouchesNothingElse) {
    Submit list{0, 1, std::vector<SubmitItem>(3, {.type = "t"})};
    list.items[1].priority = 11;
    send(client, list);
    const auto codes = answers(client);
    EXPECT_EQ(codes[0].code, Code::ok);
    EXPECT_EQ(codes[1].code, Code::bad_field);
    EXPECT_EQ(codes[2].code, Code::ok);
    const auto again = submit_run(client, 0, 1, 3);
    EXPECT_EQ(again[0].job, codes[0].job);
    EXPECT_EQ(again[1].job, JobId{3}) << "what was refused made no job";
    EXPECT_EQ(again[2].job, codes[2].job);
}

TEST_F(CoreWindow, NumberAtOrBelowTheConfirmedMarkMakesNoJob) {
    submit_run(client, 0, 1, 3);
    const auto again = submit_run(client, 3, 2, 3);
    EXPECT_EQ(again[0].code, Code::bad_field);
    EXPECT_EQ(again[0].field, "first_number");
    EXPECT_EQ(again[1].code, Code::bad_field);
    EXPECT_EQ(again[2].code, Code::ok);
    EXPECT_EQ(jobs(), 4U);
}

TEST_F(CoreWindow, ConfirmedMarkNeverGoesBack) {
    submit_run(client, 0, 1, 3);
    submit_run(client, 3, 4, 1);
    EXPECT_EQ(submit_run(client, 0, 1, 1)[0].code, Code::bad_field);
}

TEST_F(CoreWindow, ConfirmedInTheMiddleOfARunKeepsTheRest) {
    submit_run(client, 0, 1, 5);
    const auto again = submit_run(client, 2, 3, 3);
    EXPECT_EQ(again[0].job, JobId{3});
    EXPECT_EQ(again[2].job, JobId{5});
    EXPECT_EQ(jobs(), 5U);
}

TEST_F(CoreWindow, NumbersAreCountedFromOne) {
    EXPECT_EQ(refused(client, Submit{0, 0, {{.type = "t"}}})->field, "first_number");
}

TEST_F(CoreWindow, WindowBeyondItsLimitIsBusyUntilSomethingIsConfirmed) {
    EXPECT_EQ(submit_run(client, 0, kSubmitWindow, 1)[0].code, Code::ok);
    const auto over = submit_run(client, 0, kSubmitWindow + 1, 1);
    EXPECT_EQ(over[0].code, Code::busy);
    EXPECT_GT(over[0].retry_after_ms, 0U);
    EXPECT_EQ(submit_run(client, 1, kSubmitWindow + 1, 1)[0].code, Code::ok);
}

TEST_F(CoreWindow, WhoHasManyUnansweredIsToldToHaveFewerWhileAnotherSubmitsLittle) {
    const Peer other = submitter("other");
    const auto told = [&](std::uint64_t first) {
        send(client, Submit{first - 1, first, std::vector<SubmitItem>(100, {.type = "t"})});
        return expect<Answers>(client)->in_flight;
    };
    EXPECT_EQ(told(1), 0U);
    submit_run(other, 0, 1, 1);
    EXPECT_EQ(told(101), Limits{}.shared_window);
    gone(other);
    EXPECT_EQ(told(201), 0U);
}

TEST_F(CoreWindow, NumbersAtTheEndOfTheRangeMakeNoJob) {
    EXPECT_EQ(submit_run(client, 0, UINT64_MAX, 2)[0].code, Code::busy);
    EXPECT_EQ(submit_run(client, UINT64_MAX, UINT64_MAX, 1)[0].code, Code::bad_field);
    EXPECT_EQ(submit_run(client, UINT64_MAX, UINT64_MAX - 1, 3)[2].code, Code::bad_field);
    EXPECT_EQ(jobs(), 0U);
}

TEST_F(CoreWindow, WindowIsWrittenOncePerBatchNotPerJob) {
    hold_commits();
    for (std::uint64_t i = 0; i < 10; ++i) submit_run(client, 0, 1 + 10 * i, 10);
    seal();
    std::size_t writes = 0;
    for (const Op& op : in_flight.back()->ops()) writes += op.table == Table::instances;
    EXPECT_EQ(writes, 1U);
    InstanceRow row;
    commit();
    ASSERT_TRUE(read_row(disk[Table::instances].begin()->second, row));
    EXPECT_EQ(row.runs.size(), 1U);
}

TEST_F(CoreWindow, InstancesDoNotShareNumbers) {
    const Peer other = submitter("other");
    EXPECT_EQ(submit_run(client, 0, 1, 1)[0].job, JobId{1});
    EXPECT_EQ(submit_run(other, 0, 1, 1)[0].job, JobId{2});
}

TEST_F(CoreWindow, OlderSessionOfTheInstanceIsReplacedAndMaySubmitNoMore) {
    const Peer older = client;
    come_back(client);
    EXPECT_EQ(expect<Refusal>(older)->code, Code::replaced);
    EXPECT_EQ(refused(older, Submit{0, 1, {{.type = "t"}}})->code, Code::replaced);
    EXPECT_EQ(submit_run(client, 0, 1, 1)[0].code, Code::ok);
}

TEST_F(CoreWindow, GoodbyeWithTheFinalConfirmationForgetsTheInstance) {
    submit_run(client, 0, 1, 3);
    goodbye(client, 3);
    EXPECT_TRUE(disk[Table::instances].empty());
    come_back(client);
    EXPECT_EQ(client.instance_state, InstanceState::retired);
}

TEST_F(CoreWindow, GoodbyeWithUnansweredSubmitsKeepsTheWindow) {
    submit_run(client, 0, 1, 3);
    goodbye(client, 2);
    come_back(client);
    EXPECT_EQ(client.instance_state, InstanceState::resumed);
    EXPECT_EQ(submit_run(client, 2, 3, 1)[0].job, JobId{3});
}

TEST_F(CoreWindow, RetiredInstanceIsToldSoAndMayNotSubmit) {
    goodbye(client);
    come_back(client);
    const auto refusal = refused(client, Submit{0, 1, {{.type = "t"}}});
    EXPECT_EQ(refusal->code, Code::no_session);
    EXPECT_EQ(refusal->field, "instance");
    EXPECT_EQ(show(client, {1})["code"], "unknown_job") << "it may ask, though";
}

TEST_F(CoreWindow, InstanceWithoutASessionIsKeptForADayOfRunningTime) {
    submit_run(client, 0, 1, 1);
    gone(client);
    advance(kDayMs - 1000);
    come_back(client);
    EXPECT_EQ(client.instance_state, InstanceState::resumed);
    gone(client);
    advance(kDayMs);
    advance(1000);
    come_back(client);
    EXPECT_EQ(client.instance_state, InstanceState::retired);
    EXPECT_TRUE(disk[Table::instances].empty());
}

TEST_F(CoreWindow, TheDayOfAnInstanceBeginsAnewWithEachStart) {
    submit_run(client, 0, 1, 1);
    gone(client);
    advance(kDayMs - 10'000);
    crash();
    advance(kDayMs - 10'000);
    come_back(client);
    EXPECT_EQ(client.instance_state, InstanceState::resumed);
}

TEST_F(CoreWindow, SilentSubmitterIsLostButItsWindowIsNot) {
    submit_run(client, 0, 1, 1);
    silence(client);
    advance(config.timing.lost_after_ms);
    EXPECT_EQ(core->submitters(), 0U);
    EXPECT_EQ(refused(client, Submit{0, 1, {{.type = "t"}}})->code, Code::no_session);
    come_back(client);
    EXPECT_EQ(submit_run(client, 0, 1, 1)[0].job, JobId{1});
}

TEST_F(CoreWindow, AtTheLimitTheLongestGoneInstanceWithNothingUnconfirmedGoesFirst) {
    with({.instances = 3});
    Peer unconfirmed = submitter("unconfirmed");
    submit(unconfirmed);
    gone(unconfirmed);
    advance(10);
    Peer first = submitter("first");
    gone(first);
    advance(10);
    Peer second = submitter("second");
    gone(second);
    submitter("new");
    come_back(first);
    EXPECT_EQ(first.instance_state, InstanceState::retired);
    come_back(second);
    EXPECT_EQ(second.instance_state, InstanceState::resumed);
    come_back(unconfirmed);
    EXPECT_EQ(unconfirmed.instance_state, InstanceState::resumed);
}

TEST_F(CoreWindow, AtTheLimitOfInstancesHelloIsBusyIfNoneMayGo) {
    with({.instances = 1});
    const Peer first = submitter("first");
    Peer second;
    second.id = {900};
    second.instance = uuid("second");
    const auto refusal = refused(second, hello_of(second, {}));
    EXPECT_EQ(refusal->code, Code::busy);
    EXPECT_GT(refusal->retry_after_ms, 0U);
}

// --- keys ------------------------------------------------------------------------------------------------------------

struct CoreKeys : YardTest {
    Peer client = submitter();
    SubmitItem keyed{.type = "t", .key = "order-17"};
};

TEST_F(CoreKeys, SameKeyWithSameContentIsExisting) {
    const JobId job = submit(client, keyed, "x");
    const Answer again = ask_submit(client, keyed, "x");
    EXPECT_EQ(again.code, Code::existing);
    EXPECT_EQ(again.job, job);
    EXPECT_EQ(again.state, JobState::queued);
}

TEST_F(CoreKeys, SameKeyWithOtherContentIsConflict) {
    const JobId job = submit(client, keyed, "x");
    const auto differs = [&](auto&& change, std::string_view payload = "x") {
        SubmitItem item = keyed;
        change(item);
        const Answer answer = ask_submit(client, item, payload);
        EXPECT_EQ(answer.job, job);
        return answer.code;
    };
    EXPECT_EQ(differs([](SubmitItem&) {}, "y"), Code::conflict);
    EXPECT_EQ(differs([](SubmitItem& item) { item.type = "u"; }), Code::conflict);
    EXPECT_EQ(differs([](SubmitItem& item) { item.priority = 6; }), Code::conflict);
    EXPECT_EQ(differs([](SubmitItem& item) { item.delay_ms = 1; }), Code::conflict);
    EXPECT_EQ(differs([](SubmitItem& item) { item.timeout_ms = 1; }), Code::conflict);
    EXPECT_EQ(differs([](SubmitItem& item) { item.max_attempts = 1; }), Code::conflict);
    EXPECT_EQ(differs([](SubmitItem& item) { item.backoff.initial_ms = 1; }), Code::conflict);
    EXPECT_EQ(differs([](SubmitItem& item) { item.backoff.factor_percent = 100; }), Code::conflict);
    EXPECT_EQ(differs([](SubmitItem& item) { item.backoff.max_ms = 1; }), Code::conflict);
    EXPECT_EQ(differs([](SubmitItem& item) { item.backoff.jitter_percent = 1; }), Code::conflict);
    EXPECT_EQ(differs([](SubmitItem& item) { item.watch = true; }), Code::existing)
        << "who wants the result is not content";
}

TEST_F(CoreKeys, KeysOfDifferentQueuesAreDifferent) {
    submit(client, keyed);
    SubmitItem elsewhere = keyed;
    elsewhere.queue = "elsewhere";
    EXPECT_EQ(ask_submit(client, elsewhere).code, Code::ok);
}

TEST_F(CoreKeys, KeyTwiceInOneMessageMakesOneJob) {
    send(client, Submit{0, 1, {keyed, keyed, {.type = "other", .key = keyed.key}}});
    const auto codes = answers(client);
    EXPECT_EQ(codes[0].code, Code::ok);
    EXPECT_EQ(codes[1].code, Code::existing);
    EXPECT_EQ(codes[1].job, codes[0].job);
    EXPECT_EQ(codes[2].code, Code::conflict);
}

TEST_F(CoreKeys, ExistingSaysWhereTheJobIs) {
    const Peer w = worker();
    const JobId job = submit(client, keyed);
    const Held held = take(w);
    started(w, held);
    EXPECT_EQ(ask_submit(client, keyed).state, JobState::running);
    complete(w, held);
    const Answer answer = ask_submit(client, keyed);
    EXPECT_EQ(answer.code, Code::existing);
    EXPECT_EQ(answer.job, job);
    EXPECT_EQ(answer.state, JobState::completed);
}

TEST_F(CoreKeys, KeyIsFoundWhileItsBatchIsNotDurableYet) {
    hold_commits();
    const JobId job = submit(client, keyed);
    seal();
    EXPECT_EQ(ask_submit(client, keyed).job, job);
    commit();
    EXPECT_EQ(ask_submit(client, keyed).job, job);
}

TEST_F(CoreKeys, WhatWasReadBeforeTheKeyWasTakenIsNotBelieved) {
    Peer other = submitter("other");
    const auto waiting = arrive(other, Submit{0, 1, {keyed}});
    const JobId job = submit(client, keyed);
    decide(waiting);
    const Answer answer = only_answer(other);
    EXPECT_EQ(answer.code, Code::existing);
    EXPECT_EQ(answer.job, job);
}

TEST_F(CoreKeys, KeySurvivesARestart) {
    const JobId job = submit(client, keyed, "x");
    crash();
    come_back(client);
    EXPECT_EQ(ask_submit(client, keyed, "x").job, job);
    EXPECT_EQ(ask_submit(client, keyed, "y").code, Code::conflict);
}

TEST_F(CoreKeys, ResendOfTheNumberThatMadeTheKeyedJobIsOkNotExisting) {
    const JobId job = submit(client, keyed);
    send(client, Submit{0, 1, {keyed}});
    const Answer again = only_answer(client);
    EXPECT_EQ(again.code, Code::ok);
    EXPECT_EQ(again.job, job);
}

TEST_F(CoreKeys, KeyIsKeptForADayAfterTheEndAndThenForgotten) {
    const Peer w = worker();
    submit(client, keyed);
    complete(w, take(w));
    advance(kDayMs - 10);
    background();
    EXPECT_EQ(ask_submit(client, keyed).code, Code::existing);
    advance(60'010);
    background();
    EXPECT_TRUE(disk[Table::keys].empty());
    EXPECT_TRUE(disk[Table::key_ends].empty());
    EXPECT_EQ(ask_submit(client, keyed).code, Code::ok);
    take(w);
}

TEST_F(CoreKeys, KeyOfAnUnendedJobIsNeverForgotten) {
    submit(client, keyed);
    advance(30 * kDayMs);
    background();
    EXPECT_EQ(ask_submit(client, keyed).code, Code::existing);
}

TEST_F(CoreKeys, KeyOutlivesItsJobsRecordAndSaysRetired) {
    with({.kept_jobs = 0});
    client = submitter();
    const Peer w = worker();
    const JobId job = submit(client, keyed);
    complete(w, take(w));
    background();
    EXPECT_TRUE(disk[Table::done].empty());
    const Answer answer = ask_submit(client, keyed);
    EXPECT_EQ(answer.code, Code::existing);
    EXPECT_EQ(answer.job, job);
    EXPECT_EQ(answer.state, JobState::retired);
    advance(kDayMs + 60'000);
    background();
    EXPECT_TRUE(disk[Table::keys].empty());
}

TEST_F(CoreKeys, CancelledJobKeepsItsKey) {
    cancel(client, submit(client, keyed));
    EXPECT_EQ(ask_submit(client, keyed).state, JobState::cancelled);
}

TEST_F(CoreKeys, RedriveKeepsTheKeyAlive) {
    const Peer w = worker();
    const JobId job = submit(client, keyed);
    fail(w, take(w), kForGood);
    redrive(client, job);
    EXPECT_EQ(ask_submit(client, keyed).state, JobState::assigned);
    const Held held = take(w);
    advance_renewing(60'000, w, {held});
    wall_ms += 2 * kDayMs;
    now_ms += 120'000;
    background();
    EXPECT_EQ(ask_submit(client, keyed).code, Code::existing);
    inbox.clear();
}

TEST_F(CoreKeys, RedrivenJobsKeyIsKeptForADayAfterItsLastEnd) {
    const Peer w = worker();
    const JobId job = submit(client, keyed);
    fail(w, take(w), kForGood);
    advance(kDayMs - 1000);
    redrive(client, job);
    complete(w, take(w));
    advance(61'000);
    background();
    EXPECT_EQ(ask_submit(client, keyed).code, Code::existing) << "it ended a minute ago";
    advance(kDayMs);
    background();
    EXPECT_TRUE(disk[Table::keys].empty());
}

TEST_F(CoreKeys, RedriveAfterTheKeyWasForgottenDoesNotTakeItFromAnotherJob) {
    const Peer w = worker();
    const JobId first = submit(client, keyed);
    fail(w, take(w), kForGood);
    advance(kDayMs + 60'000);
    background();
    const JobId second = submit(client, keyed);
    EXPECT_NE(first, second);
    EXPECT_EQ(redrive(client, first).code, Code::ok);
    EXPECT_EQ(ask_submit(client, keyed).job, second);
    complete(w, take(w));
    complete(w, take(w));
    EXPECT_EQ(ask_submit(client, keyed).job, second);
}

TEST_F(CoreKeys, RedriveWhenTheKeysDayIsOverButItsRowIsStillThere) {
    Peer w = worker();
    const JobId job = submit(client, keyed);
    fail(w, take(w), kForGood);
    advance(kDayMs);
    redrive(client, job);
    take(w);
    background();
    EXPECT_TRUE(disk[Table::keys].empty());
    EXPECT_EQ(ask_submit(client, keyed).code, Code::ok);
    crash();
    EXPECT_NE(core->job(job), nullptr);
}

TEST_F(CoreKeys, AtTheLimitKeyedSubmitsAreBusyAndNoneIsForgotten) {
    with({.keys = 1});
    client = submitter();
    submit(client, keyed);
    const Answer answer = ask_submit(client, {.type = "t", .key = "another"});
    EXPECT_EQ(answer.code, Code::busy);
    EXPECT_NE(std::string(answer.text).find("keys"), std::string::npos);
    EXPECT_EQ(ask_submit(client, {.type = "t"}).code, Code::ok) << "a job without a key";
}

// --- refusals --------------------------------------------------------------------------------------------------------

struct CoreRefusals : YardTest {
    Peer client = submitter();

    Answer refuse(const SubmitItem& item, std::string_view payload = {}) {
        const std::uint64_t before = core->numbers().submitted_total;
        const Answer answer = ask_submit(client, item, payload);
        EXPECT_NE(answer.code, Code::ok);
        EXPECT_FALSE(answer.job) << "a refusal names no job";
        EXPECT_FALSE(answer.text.empty()) << "a refusal says what was expected";
        EXPECT_EQ(core->numbers().submitted_total, before);
        return answer;
    }
    void restart_with(const Limits& limits) {
        with(limits);
        client = submitter();
    }
};

TEST_F(CoreRefusals, BadFieldsAreNamed) {
    const std::string long_name(256, 'x');
    const auto field = [&](const SubmitItem& item) {
        const Answer answer = refuse(item);
        EXPECT_EQ(answer.code, Code::bad_field);
        return std::string(answer.field);
    };
    EXPECT_EQ(field({.queue = "", .type = "t"}), "queue");
    EXPECT_EQ(field({.queue = long_name, .type = "t"}), "queue");
    EXPECT_EQ(field({.queue = "a\nb", .type = "t"}), "queue");
    EXPECT_EQ(field({.queue = "\xff", .type = "t"}), "queue");
    EXPECT_EQ(field({.type = ""}), "type");
    EXPECT_EQ(field({.type = long_name}), "type");
    EXPECT_EQ(field({.type = "t", .priority = 0}), "priority");
    EXPECT_EQ(field({.type = "t", .priority = 11}), "priority");
    EXPECT_EQ(field({.type = "t", .delay_ms = kMaxDelayMs + 1}), "delay_ms");
    EXPECT_EQ(field({.type = "t", .timeout_ms = kMaxTimeoutMs + 1}), "timeout_ms");
    EXPECT_EQ(field({.type = "t", .max_attempts = 0}), "max_attempts");
    EXPECT_EQ(field({.type = "t", .max_attempts = 1001}), "max_attempts");
    EXPECT_EQ(field({.type = "t", .key = long_name}), "key");
    EXPECT_EQ(field({.type = "t", .key = std::string_view("a\0b", 3)}), "key");
    EXPECT_EQ(field({.type = "t", .backoff = {.initial_ms = kMaxBackoffMs + 1}}), "backoff_initial_ms");
    EXPECT_EQ(field({.type = "t", .backoff = {.max_ms = kMaxBackoffMs + 1}}), "backoff_max_ms");
    EXPECT_EQ(field({.type = "t", .backoff = {.factor_percent = 99}}), "backoff_factor_percent");
    EXPECT_EQ(field({.type = "t", .backoff = {.factor_percent = 10'001}}), "backoff_factor_percent");
    EXPECT_EQ(field({.type = "t", .backoff = {.jitter_percent = 101}}), "backoff_jitter_percent");
}

TEST_F(CoreRefusals, ValuesAtTheirBoundsAreTaken) {
    const std::string longest(255, 'x');
    submit(client, {.queue = longest, .type = longest, .key = longest});
    submit(client,
           {.type = "t", .priority = 1, .delay_ms = kMaxDelayMs, .timeout_ms = kMaxTimeoutMs, .max_attempts = 1000});
    submit(client, {.type = "t", .priority = 10, .timeout_ms = 0, .max_attempts = 1});
    submit(client, {.type = "t", .backoff = {kMaxBackoffMs, 10'000, kMaxBackoffMs, 100}});
    submit(client, {.type = "t", .backoff = {0, 100, 0, 0}});
    submit(client, {.type = "ü€😀"});
}

TEST_F(CoreRefusals, PayloadBeyondTheLimitNamesSizeAndLimit) {
    restart_with({.payload_bytes = 100});
    submit(client, {.type = "t"}, std::string(100, 'p'));
    const Answer answer = refuse({.type = "t"}, std::string(101, 'p'));
    EXPECT_EQ(answer.code, Code::too_large);
    const std::string text(answer.text);
    EXPECT_NE(text.find("101"), std::string::npos);
    EXPECT_NE(text.find("100"), std::string::npos);
    EXPECT_NE(text.find("payload_bytes"), std::string::npos);
}

TEST_F(CoreRefusals, FullQueueRefusesUntilAJobEnds) {
    restart_with({.queue_jobs = 2});
    const JobId job = submit(client);
    submit(client);
    const Answer answer = refuse({.type = "t"});
    EXPECT_EQ(answer.code, Code::queue_full);
    EXPECT_GT(answer.retry_after_ms, 0U);
    submit(client, {.queue = "another", .type = "t"});
    cancel(client, job);
    submit(client);
}

TEST_F(CoreRefusals, FullQueueIsFullForNewTypesToo) {
    restart_with({.queue_jobs = 1});
    submit(client);
    EXPECT_EQ(refuse({.type = "a type that is new"}).code, Code::queue_full);
}

TEST_F(CoreRefusals, FullQueueRefusesARedriveAlsoAfterARestart) {
    restart_with({.queue_jobs = 1});
    Peer w = worker({.types = {"dies"}});
    const JobId dead = submit(client, {.type = "dies"});
    fail(w, take(w), kForGood);
    submit(client);
    EXPECT_EQ(redrive(client, dead).code, Code::queue_full);
    crash();
    come_back(client);
    EXPECT_EQ(redrive(client, dead).code, Code::queue_full);
}

TEST_F(CoreRefusals, LimitOfUnendedJobsIsBusy) {
    restart_with({.jobs = 2});
    submit(client, {.queue = "a", .type = "t"});
    submit(client, {.queue = "b", .type = "t"});
    EXPECT_EQ(refuse({.queue = "c", .type = "t"}).code, Code::busy);
}

TEST_F(CoreRefusals, LimitOfPayloadBytesIsBusy) {
    restart_with({.payload_total_bytes = 10});
    const JobId job = submit(client, {.type = "t"}, "123456");
    EXPECT_EQ(refuse({.type = "t"}, "12345").code, Code::busy);
    submit(client, {.type = "t"}, "1234");
    cancel(client, job);
    submit(client, {.type = "t"}, "123456");
}

TEST_F(CoreRefusals, LimitsOfQueuesAndClassesAreBusy) {
    restart_with({.queues = 1, .classes = 2});
    submit(client, {.queue = "a", .type = "t"});
    EXPECT_EQ(refuse({.queue = "b", .type = "t"}).code, Code::busy);
    submit(client, {.queue = "a", .type = "u"});
    EXPECT_EQ(refuse({.queue = "a", .type = "v"}).code, Code::busy);
    submit(client, {.queue = "a", .type = "u"});
}

TEST_F(CoreRefusals, DiskBelowItsWatermarkRefusesSubmitsAndRedrivesButTakesEnds) {
    restart_with({.submit_free_bytes = 1000, .dispatch_free_bytes = 10});
    const Peer w = worker({.slots = 2});
    const JobId job = submit(client);
    const JobId dead = submit(client);
    std::vector<Held> held = take_all(w);
    fail(w, held[1], kForGood);
    core->set_free_disk(999);
    const Answer answer = refuse({.type = "t"});
    EXPECT_EQ(answer.code, Code::disk_full);
    EXPECT_GT(answer.retry_after_ms, 0U);
    EXPECT_EQ(redrive(client, dead).code, Code::disk_full);
    EXPECT_EQ(complete(w, held[0]), Code::ok);
    EXPECT_EQ(state(job), JobState::completed);
    core->set_free_disk(1000);
    EXPECT_EQ(redrive(client, dead).code, Code::ok);
    take(w);
    submit(client);
    take(w);
}

TEST_F(CoreRefusals, AListOfRefusalsFitsItsMessage) {
    Submit list{0, 1, std::vector<SubmitItem>(1024, {.type = "t"})};
    core->set_free_disk(0);
    send(client, list);
    std::vector<Answer> refused = answers(client);
    ASSERT_EQ(refused.size(), 1024U);
    EXPECT_FALSE(refused.front().text.empty());
    for (const Answer& answer : refused) EXPECT_EQ(answer.code, Code::disk_full);
    for (SubmitItem& item : list.items) item.backoff.factor_percent = 99;
    send(client, list);
    refused = answers(client);
    ASSERT_EQ(refused.size(), 1024U);
    for (const Answer& answer : refused) EXPECT_EQ(answer.field, "backoff_factor_percent");
}

TEST_F(CoreRefusals, LimitOfWatchesHoldsForSubmitsToo) {
    restart_with({.watches = 2});
    submit(client, {.type = "t", .watch = true});
    submit(client, {.type = "t", .watch = true});
    EXPECT_EQ(refuse({.type = "t", .watch = true}).code, Code::busy);
    submit(client, {.type = "t"});
}

}  // namespace
}  // namespace jobyard::broker::test
