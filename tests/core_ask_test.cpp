// Watching, showing, listing, counting; and who may send what (PROTOCOL.md, sections 5 and 6).

#include "core_fixture.hpp"

namespace jobyard::broker::test {
namespace {

constexpr std::uint64_t kOverhead = 64;  // what a result counts for beside its bytes

struct CoreWatch : YardTest {
    Peer client = submitter();
    Peer w = worker({.slots = 10});

    JobId run(std::string_view result, bool watched = true) {
        submit(client, {.type = "t", .watch = watched});
        const Held held = take(w);
        EXPECT_EQ(complete(w, held, result), Code::ok);
        return held.job;
    }
};

TEST_F(CoreWatch, ResultIsPushedWhenTheJobEnds) {
    const JobId job = run("the result");
    const auto results = expect<Results>(client);
    ASSERT_EQ(results->items.size(), 1U);
    EXPECT_EQ(results->items[0].job, job);
    EXPECT_EQ(results->items[0].state, JobState::completed);
    EXPECT_EQ(results->items[0].attempt, 1U);
    EXPECT_EQ(results.payloads[0], "the result");
    EXPECT_EQ(results.request, RequestId{});
}

TEST_F(CoreWatch, NobodyIsToldWhoDidNotAsk) {
    run("", false);
    expect_silence();
}

TEST_F(CoreWatch, DeadJobsResultSaysWhyAndCarriesItsLastAttempts) {
    submit(client, {.type = "t", .watch = true});
    fail(w, take(w), {.retryable = false, .error = "no disk", .result = "partial"});
    const auto results = expect<Results>(client);
    EXPECT_EQ(results->items.at(0).state, JobState::dead);
    EXPECT_EQ(results->items.at(0).reason, Reason::not_retryable);
    EXPECT_EQ(results->items.at(0).error, "no disk");
    EXPECT_EQ(results.payloads.at(0), "partial");
}

TEST_F(CoreWatch, CancelledJobsResultComesAfterTheAnswer) {
    const JobId job = submit(client, {.type = "u", .watch = true});
    send(client, Cancel{{job}});
    EXPECT_EQ(only_answer(client).code, Code::ok);
    EXPECT_EQ(expect<Results>(client)->items.at(0).state, JobState::cancelled);
}

TEST_F(CoreWatch, ResultRestsOnTheBatchOfTheEnd) {
    submit(client, {.type = "t", .watch = true});
    const Held held = take(w);
    hold_commits();
    complete(w, held);
    EXPECT_EQ(expect<Results>(client).rests_on, open_seq());
    commit();
}

TEST_F(CoreWatch, WatchOfALivingJobIsOkAndOfAnEndedOneTheResultFollowsAtOnce) {
    const JobId job = submit(client);
    const Answer living = watch(client, job);
    EXPECT_EQ(living.code, Code::ok);
    EXPECT_EQ(living.state, JobState::assigned);
    complete(w, take(w), "r");
    EXPECT_EQ(expect<Results>(client).payloads.at(0), "r");
    const Answer ended = watch(client, job);
    EXPECT_EQ(ended.code, Code::ended);
    EXPECT_EQ(ended.state, JobState::completed);
    EXPECT_EQ(expect<Results>(client).payloads.at(0), "r");
}

TEST_F(CoreWatch, WatchOfALargeEndedResultIsReadFromTheDisk) {
    const std::string large(100'000, 'r');
    const JobId job = run(large, false);
    watch(client, job);
    EXPECT_EQ(expect<Results>(client).payloads.at(0), large);
}

TEST_F(CoreWatch, WatchOfWhatIsNotThere) {
    EXPECT_EQ(watch(client, {99}).code, Code::unknown_job);
    EXPECT_EQ(watch(client, {0}).code, Code::unknown_job);
    with({.kept_jobs = 0});
    client = submitter();
    w = worker();
    const JobId job = run("", false);
    background();
    EXPECT_EQ(watch(client, job).code, Code::retired);
}

TEST_F(CoreWatch, TwiceWatchedIsPushedOnce) {
    const JobId job = submit(client, {.type = "t", .watch = true});
    watch(client, job);
    send(client, Watch{{job, job}});
    answers(client);
    complete(w, take(w));
    expect<Results>(client);
    expect_silence();
}

TEST_F(CoreWatch, EverySessionThatWatchesIsTold) {
    const JobId job = submit(client, {.type = "t", .watch = true});
    const Peer second = submitter("second");
    const Peer third = submitter("third");
    watch(second, job);
    watch(third, job);
    complete(w, take(w), "r");
    for (const Peer& peer : {client, second, third}) EXPECT_EQ(expect<Results>(peer).payloads.at(0), "r");
}

TEST_F(CoreWatch, WatchBelongsToTheSessionAndEndsWithIt) {
    const JobId job = submit(client, {.type = "t", .watch = true});
    const Peer second = submitter("second");
    watch(second, job);
    const Held held = take(w);
    gone(client);
    gone(second);
    come_back(client);
    complete(w, held);
    expect_silence();
}

TEST_F(CoreWatch, LaterWatcherTakesThePlaceOfOneThatIsGone) {
    const JobId job = submit(client, {.type = "t", .watch = true});
    gone(client);
    const Peer second = submitter("second");
    watch(second, job);
    complete(w, take(w));
    expect<Results>(second);
}

TEST_F(CoreWatch, ResendOfAWatchedSubmitWatchesInItsNewSession) {
    const JobId job = submit(client, {.type = "t", .watch = true});
    gone(client);
    come_back(client);
    send(client, Submit{0, 1, {{.type = "t", .watch = true}}});
    EXPECT_EQ(only_answer(client).job, job);
    complete(w, take(w));
    expect<Results>(client);
}

TEST_F(CoreWatch, ExistingKeyCanBeWatched) {
    submit(client, {.type = "t", .key = "k"});
    Peer second = submitter("second");
    EXPECT_EQ(ask_submit(second, {.type = "t", .watch = true, .key = "k"}).code, Code::existing);
    complete(w, take(w));
    expect<Results>(second);
}

TEST_F(CoreWatch, ResultNeverComesBeforeTheAnswerToItsSubmit) {
    // Cancelled, and so ended, in the very turn of its submit.
    hold_commits();
    send(client, Submit{0, 1, {{.type = "u", .watch = true}}});
    send(submitter("second"), Cancel{{{1}}});
    commit();
    EXPECT_EQ(only_answer(client).code, Code::ok);
    EXPECT_EQ(expect<Results>(client)->items.at(0).state, JobState::cancelled);
    inbox.clear();
}

TEST_F(CoreWatch, ResultsAreHeldBackBeyondTheGrantAndGoOnWithTheNext) {
    const Peer thrifty = submitter("thrifty", 3 * (kOverhead + 100));
    std::vector<Held> held;
    for (int i = 0; i < 6; ++i) {
        watch(thrifty, submit(client));
        held.push_back(take(w));
    }
    for (const Held& one : held) complete(w, one, std::string(100, 'r'));
    std::size_t pushed = 0;
    for (; has_message(thrifty); ++pushed) EXPECT_EQ(expect<Results>(thrifty).payloads.size(), 1U);
    EXPECT_GE(pushed, 3U);
    EXPECT_LE(pushed, 4U);
    send(thrifty, Grant{100 * (kOverhead + 100)});
    const auto rest = expect<Results>(thrifty);
    EXPECT_EQ(rest->items.size(), 6 - pushed) << "in one list now";
    for (const std::string& payload : rest.payloads) EXPECT_EQ(payload, std::string(100, 'r'));
}

TEST_F(CoreWatch, GrantHoldsWithinAListToo) {
    const Peer thrifty = submitter("thrifty", 3 * (kOverhead + 100));
    std::vector<JobId> jobs;
    for (int i = 0; i < 10; ++i) jobs.push_back(run(std::string(100, 'r'), false));
    send(thrifty, Watch{jobs});
    answers(thrifty);
    EXPECT_EQ(expect<Results>(thrifty)->items.size(), 4U) << "the sum was not above the grant before the last";
    EXPECT_FALSE(has_message(thrifty));
}

TEST_F(CoreWatch, OneResultMayAlwaysBeSentHoweverSmallTheGrant) {
    const Peer thrifty = submitter("thrifty", 1);
    const JobId job = submit(client);
    watch(thrifty, job);
    const std::string large(300'000, 'r');
    complete(w, take(w), large);
    EXPECT_EQ(expect<Results>(thrifty).payloads.at(0), large);
    watch(thrifty, job);
    EXPECT_FALSE(has_message(thrifty)) << "the grant is spent";
    send(thrifty, Grant{large.size() + kOverhead + 1});
    EXPECT_EQ(expect<Results>(thrifty).payloads.at(0), large);
}

TEST_F(CoreWatch, ResultThatWasRetiredBeforeItCouldBeSentIsNotCounted) {
    const Peer thrifty = submitter("thrifty", 1);
    watch(thrifty, run(std::string(100, 'r'), false));
    EXPECT_EQ(expect<Results>(thrifty).payloads.at(0).size(), 100U);
    watch(thrifty, run("next", false));
    EXPECT_FALSE(has_message(thrifty)) << "the grant is spent";
    core->result_is_gone(thrifty.id, thrifty.session, 100 + kOverhead);
    tick();
    EXPECT_EQ(expect<Results>(thrifty).payloads.at(0), "next");
    core->result_is_gone(thrifty.id, {thrifty.session.value + 2}, 100);
    core->result_is_gone({4711}, thrifty.session, 100);
    tick();
}

TEST_F(CoreWatch, GreatestGrantCounts) {
    const Peer thrifty = submitter("thrifty", 1);
    watch(thrifty, run("", false));
    expect<Results>(thrifty);
    send(thrifty, Grant{1000});
    send(thrifty, Grant{2});
    watch(thrifty, run("", false));
    expect<Results>(thrifty);
}

TEST_F(CoreWatch, HeldBackResultIsReadFromTheDiskWhenItIsGranted) {
    const Peer thrifty = submitter("thrifty", 1);
    watch(thrifty, run("first", false));
    expect<Results>(thrifty);
    const JobId job = submit(client);
    watch(thrifty, job);
    complete(w, take(w), "second");
    durable.clear();  // its batch is no longer in hand
    send(thrifty, Grant{1'000'000});
    EXPECT_EQ(expect<Results>(thrifty).payloads.at(0), "second");
}

TEST_F(CoreWatch, ListsOfResultsAreCutWhereTheWireBoundsThem) {
    const Peer reader = submitter("reader");
    const std::string error(500, 'e');
    std::vector<JobId> jobs;
    for (int i = 0; i < 300; ++i) {
        jobs.push_back(submit(client, {.type = "t", .max_attempts = 1}));
        fail(w, take(w), {.error = error, .result = std::string(5000, 'r')});
    }
    send(reader, Watch{jobs});
    answers(reader);
    std::size_t results = 0;
    std::size_t lists = 0;
    for (; has_message(reader); ++lists) results += expect<Results>(reader)->items.size();
    EXPECT_EQ(results, 300U);
    EXPECT_GE(lists, 3U);
}

TEST_F(CoreWatch, WatchBeyondTheLimitIsBusyAndEndsMakeRoom) {
    with({.watches = 2});
    client = submitter();
    w = worker({.slots = 3});
    for (int i = 0; i < 3; ++i) submit(client);
    const std::vector<Held> held = take_all(w);
    send(client, Watch{{held[0].job, held[1].job, held[2].job}});
    const auto codes = answers(client);
    EXPECT_EQ(codes[0].code, Code::ok);
    EXPECT_EQ(codes[1].code, Code::ok);
    EXPECT_EQ(codes[2].code, Code::busy);
    EXPECT_GT(codes[2].retry_after_ms, 0U);
    complete(w, held[0]);
    expect<Results>(client);
    EXPECT_EQ(watch(client, held[2].job).code, Code::ok);
}

TEST_F(CoreWatch, ResultsThatWaitForAGrantCountAsWatches) {
    with({.watches = 3});
    client = submitter();
    w = worker();
    const Peer miser = submitter("miser", 0);
    const JobId job = run("r", false);
    watch(miser, job);
    expect<Results>(miser);
    send(miser, Watch{{job, job, job, job}});
    std::vector<Code> codes;
    for (const Answer& answer : answers(miser)) codes.push_back(answer.code);
    EXPECT_EQ(codes, (std::vector{Code::ended, Code::ended, Code::ended, Code::busy}));
    EXPECT_EQ(watch(miser, submit(client)).code, Code::busy);
    take(w);
}

// --- show ------------------------------------------------------------------------------------------------------------

struct CoreShow : CoreWatch {};

TEST_F(CoreShow, QueuedJobIsShownWithWhatWasAskedFor) {
    const JobId job = submit(
        client, {.queue = "q", .type = "u", .priority = 3, .timeout_ms = 9, .max_attempts = 2, .key = "k"}, "12345");
    const auto map = show(client, job);
    EXPECT_EQ(map["id"], 1);
    EXPECT_EQ(map["queue"], "q");
    EXPECT_EQ(map["type"], "u");
    EXPECT_EQ(map["priority"], 3);
    EXPECT_EQ(map["state"], "queued");
    EXPECT_EQ(map["attempt"], 0);
    EXPECT_EQ(map["max_attempts"], 2);
    EXPECT_EQ(map["errors"], 0);
    EXPECT_EQ(map["crashes"], 0);
    EXPECT_EQ(map["timeout_ms"], 9);
    EXPECT_EQ(map["created_at"], wall_ms);
    EXPECT_EQ(map["payload_bytes"], 5);
    EXPECT_EQ(map["key"], "k");
    EXPECT_TRUE(map["attempts"].empty());
    for (const char* key :
         {"due_at", "started_at", "ended_at", "worker", "token", "cancel_requested", "progress", "error"})
        EXPECT_FALSE(map.contains(key)) << key;
}

TEST_F(CoreShow, RunningJobIsShownWithItsAttempt) {
    submit(client);
    const Held held = take(w);
    started(w, held);
    const auto map = show(client, held.job);
    EXPECT_EQ(map["state"], "running");
    EXPECT_EQ(map["reason"], "");
    EXPECT_EQ(map["attempt"], 1);
    EXPECT_EQ(map["worker"], "w");
    EXPECT_EQ(map["token"], held.token.value);
    EXPECT_EQ(map["started_at"], wall_ms);
    ASSERT_EQ(map["attempts"].size(), 1U);
    EXPECT_EQ(map["attempts"][0]["attempt"], 1);
    EXPECT_FALSE(map["attempts"][0].contains("ended_at"));
    cancel(client, held.job);
    expect<Stop>(w);
    EXPECT_EQ(show(client, held.job)["cancel_requested"], true);
}

TEST_F(CoreShow, EveryAttemptIsKeptWithTheJob) {
    const JobId job = submit(client, {.type = "t", .backoff = {.initial_ms = 0}});
    const Held first = take(w);
    advance(100);
    fail(w, first, {.error = "first", .tail = "stderr"});
    const Held second = take(w);
    advance(10);
    complete(w, second, "result");
    const auto map = show(client, job);
    EXPECT_EQ(map["state"], "completed");
    EXPECT_EQ(map["attempt"], 2);
    EXPECT_EQ(map["errors"], 1);
    EXPECT_EQ(map["result_bytes"], 6);
    EXPECT_EQ(map["ended_at"], wall_ms);
    ASSERT_EQ(map["attempts"].size(), 2U);
    EXPECT_EQ(map["attempts"][0]["outcome"], "failed");
    EXPECT_EQ(map["attempts"][0]["error"], "first");
    EXPECT_EQ(map["attempts"][0]["tail"], "stderr");
    EXPECT_EQ(map["attempts"][0]["worker"], "w");
    EXPECT_EQ(map["attempts"][0]["token"], first.token.value);
    EXPECT_EQ(map["attempts"][0]["ended_at"].get<std::int64_t>() - map["attempts"][0]["started_at"].get<std::int64_t>(),
              100);
    EXPECT_EQ(map["attempts"][1]["outcome"], "completed");
}

TEST_F(CoreShow, AReleasedAttemptAndItsSuccessorAreBothShown) {
    submit(client);
    release(w, take(w));
    complete(w, take(w));
    const auto map = show(client, {1});
    ASSERT_EQ(map["attempts"].size(), 2U);
    EXPECT_EQ(map["attempts"][0]["outcome"], "released");
    EXPECT_EQ(map["attempts"][1]["outcome"], "completed");
}

TEST_F(CoreShow, DeadJobSaysWhy) {
    submit(client, {.type = "t", .max_attempts = 1});
    fail(w, take(w), {.error = "broken"});
    const auto map = show(client, {1});
    EXPECT_EQ(map["state"], "dead");
    EXPECT_EQ(map["reason"], "failed");
    EXPECT_EQ(map["error"], "broken");
}

TEST_F(CoreShow, JobCancelledWhileItWaitedHasNoAttempt) {
    const JobId job = submit(client, {.type = "u"});
    cancel(client, job);
    const auto map = show(client, job);
    EXPECT_EQ(map["state"], "cancelled");
    EXPECT_EQ(map["attempt"], 0);
    EXPECT_FALSE(map.contains("worker"));
    EXPECT_TRUE(map["attempts"].empty());
}

TEST_F(CoreShow, WhyAJobWaitsIsWorkedOutWhenAsked) {
    const JobId unserved = submit(client, {.type = "u"});
    EXPECT_EQ(show(client, unserved)["reason"], "no_worker");
    const Peer other = worker({.name = "other", .credit = 0, .types = {"u"}});
    EXPECT_EQ(show(client, unserved)["reason"], "no_free_slot");
    gone(other);
    EXPECT_EQ(show(client, unserved)["reason"], "no_worker");
    const JobId delayed = submit(client, {.type = "t", .delay_ms = 500});
    EXPECT_EQ(show(client, delayed)["reason"], "delayed");
    EXPECT_EQ(show(client, delayed)["due_at"], wall_ms + 500);
    submit(client, {.type = "t", .backoff = {.initial_ms = 700, .jitter_percent = 0}});
    const Held held = take(w);
    fail(w, held);
    EXPECT_EQ(show(client, held.job)["reason"], "backoff");
    EXPECT_EQ(show(client, held.job)["due_at"], wall_ms + 700);
    EXPECT_EQ(show(client, held.job)["attempt"], 1);
}

TEST_F(CoreShow, WhatIsNotThereHasACodeAndNoMap) {
    EXPECT_EQ(show(client, {99})["code"], "unknown_job");
    EXPECT_EQ(show(client, {0})["code"], "unknown_job");
}

TEST_F(CoreShow, ManyAreShownInOneAnswerInOrder) {
    for (int i = 0; i < 3; ++i) submit(client, {.type = "u"});
    send(client, Show{{{3}, {99}, {1}}});
    const auto jobs = expect<Jobs>(client);
    ASSERT_EQ(jobs->items.size(), 3U);
    EXPECT_EQ(nlohmann::json::from_msgpack(jobs.payloads[0])["id"], 3);
    EXPECT_EQ(jobs->items[1].code, Code::unknown_job);
    EXPECT_TRUE(jobs.payloads[1].empty());
    EXPECT_EQ(nlohmann::json::from_msgpack(jobs.payloads[2])["id"], 1);
    EXPECT_EQ(jobs->next_cursor, 0U);
}

TEST_F(CoreShow, WhatDoesNotFitIsBusyAndCanBeAskedForAgain) {
    const JobId job = submit(client, {.type = "t", .max_attempts = 1000, .backoff = {.initial_ms = 0}});
    const std::string error(kMaxErrorBytes, 'e');
    const std::string tail(kMaxTailBytes, 't');
    for (int i = 0; i < 300; ++i) fail(w, take(w), {.error = error, .tail = tail});
    send(client, Show{std::vector<JobId>(10, job)});
    const auto jobs = expect<Jobs>(client);
    EXPECT_EQ(jobs->items.front().code, Code::ok);
    EXPECT_EQ(jobs->items.back().code, Code::busy);
    EXPECT_TRUE(jobs.payloads.back().empty());
    take(w);
}

TEST_F(CoreShow, AJobOfManyAttemptsIsShownWithAsManyOfTheNewestAsFit) {
    const JobId job = submit(client, {.type = "t", .max_attempts = 1000, .backoff = {.initial_ms = 0}});
    const std::string error(kMaxErrorBytes, 'e');
    const std::string tail(kMaxTailBytes, 't');
    for (int i = 0; i < 999; ++i) fail(w, take(w), {.error = error, .tail = tail});
    send(client, Show{{job, job}});
    const auto jobs = expect<Jobs>(client);
    const auto map = nlohmann::json::from_msgpack(jobs.payloads.at(0));
    EXPECT_GE(map["attempts"].size(), 500U);
    EXPECT_EQ(map["attempts"].back()["attempt"], 1000);
    EXPECT_EQ(map["attempts"][0]["attempt"], 1000 - (map["attempts"].size() - 1));
    take(w);
}

TEST_F(CoreShow, WhatWasReadBeforeTheJobEndedIsNotBelieved) {
    submit(client);
    const Held held = take(w);
    const auto waiting = arrive(client, Show{{held.job}});
    complete(w, held);
    decide(waiting);
    const auto jobs = expect<Jobs>(client);
    EXPECT_EQ(nlohmann::json::from_msgpack(jobs.payloads.at(0))["state"], "completed");
}

// --- list ------------------------------------------------------------------------------------------------------------

struct CoreList : CoreWatch {
    std::vector<JobId> in(std::initializer_list<std::uint64_t> numbers) {
        std::vector<JobId> ids;
        for (const std::uint64_t number : numbers) ids.push_back({number});
        return ids;
    }
    /// 1 dead, 2 completed, 3 queued in q, 4 cancelled, 5 scheduled, 6 running, 7 retrying.
    void one_of_each() {
        submit(client);
        fail(w, take(w), {.retryable = false});
        submit(client);
        complete(w, take(w));
        submit(client, {.queue = "q", .type = "u"});
        cancel(client, submit(client, {.type = "u"}));
        submit(client, {.type = "t", .delay_ms = 1000});
        submit(client);
        const Held running = take(w);
        started(w, running);
        submit(client);
        fail(w, take(w));
    }
};

TEST_F(CoreList, EveryJobIsListedOnceUnendedFirstThenDeadThenEnded) {
    one_of_each();
    EXPECT_EQ(list_all(client, {}), in({3, 5, 6, 7, 1, 2, 4}));
    EXPECT_EQ(list_all(client, {.limit = 1}), in({3, 5, 6, 7, 1, 2, 4}));
    EXPECT_EQ(list_all(client, {.limit = 3}), in({3, 5, 6, 7, 1, 2, 4}));
}

TEST_F(CoreList, StatesAreFiltered) {
    one_of_each();
    EXPECT_EQ(list_all(client, {.state = JobState::dead}), in({1}));
    EXPECT_EQ(list_all(client, {.state = JobState::completed}), in({2}));
    EXPECT_EQ(list_all(client, {.state = JobState::queued}), in({3}));
    EXPECT_EQ(list_all(client, {.state = JobState::cancelled}), in({4}));
    EXPECT_EQ(list_all(client, {.state = JobState::scheduled}), in({5}));
    EXPECT_EQ(list_all(client, {.state = JobState::running}), in({6}));
    EXPECT_EQ(list_all(client, {.state = JobState::retrying}), in({7}));
    EXPECT_EQ(list_all(client, {.state = JobState::assigned}), in({}));
    EXPECT_EQ(list_all(client, {.state = JobState::retired}), in({}));
    EXPECT_EQ(list_all(client, {.state = static_cast<JobState>(200)}), in({}));
}

TEST_F(CoreList, QueuesAndTypesAreFiltered) {
    one_of_each();
    EXPECT_EQ(list_all(client, {.queue = "q"}), in({3}));
    EXPECT_EQ(list_all(client, {.type = "u"}), in({3, 4}));
    EXPECT_EQ(list_all(client, {.queue = "default", .type = "u"}), in({4}));
    EXPECT_EQ(list_all(client, {.queue = "none"}), in({}));
}

TEST_F(CoreList, MapsOfAListHaveNoAttempts) {
    one_of_each();
    for (const auto& map : list(client, {}).jobs) EXPECT_FALSE(map.contains("attempts"));
}

TEST_F(CoreList, LongListsComeInPages) {
    for (int i = 0; i < 3; ++i) {
        send(client, Submit{client.confirmed, client.next_number, std::vector<SubmitItem>(1000, {.type = "u"})});
        client.next_number += 1000;
        answers(client);
    }
    std::vector<JobId> cancelled;
    for (std::uint64_t id = 1; id <= 1200; ++id) cancelled.push_back({2 * id});
    for (std::size_t at = 0; at < cancelled.size(); at += 600) {
        send(client, Cancel{{cancelled.begin() + static_cast<std::ptrdiff_t>(at),
                             cancelled.begin() + static_cast<std::ptrdiff_t>(at) + 600}});
        answers(client);
    }
    EXPECT_EQ(list_all(client, {.state = JobState::cancelled}), cancelled);
    EXPECT_EQ(list_all(client, {.state = JobState::cancelled, .limit = 1024}).size(), 1200U);
    EXPECT_EQ(list_all(client, {.state = JobState::queued}).size(), 1800U);
    EXPECT_EQ(list_all(client, {}).size(), 3000U);
    EXPECT_EQ(list_all(client, {.state = JobState::running}).size(), 0U);
}

TEST_F(CoreList, PageHoldsAsManyAsAskedForIfThereAreSo) {
    send(client, Submit{0, 1, std::vector<SubmitItem>(1000, {.type = "u"})});
    answers(client);
    EXPECT_EQ(list(client, {}).ids.size(), 100U);
    EXPECT_EQ(list(client, {.limit = 1000}).ids.size(), 1000U);
}

TEST_F(CoreList, LimitIsAtLeastOneAndAtMostWhatAListHolds) {
    send(client, Submit{0, 1, std::vector<SubmitItem>(1024, {.type = "u"})});
    answers(client);
    submit(client, {.type = "u"});
    EXPECT_EQ(list(client, {.limit = 0}).ids.size(), 1U);
    EXPECT_LE(list(client, {.limit = UINT32_MAX}).ids.size(), 1024U);
}

TEST_F(CoreList, AnyCursorIsAnswered) {
    one_of_each();
    for (const std::uint64_t cursor :
         {std::uint64_t{1}, std::uint64_t{100}, std::uint64_t{1} << 61, std::uint64_t{1} << 62,
          (std::uint64_t{1} << 62) + 500, std::uint64_t{2} << 62, std::uint64_t{3} << 62, UINT64_MAX})
        list_all(client, {.cursor = cursor});
}

TEST_F(CoreList, WhatIsNotDurableYetIsListed) {
    hold_commits();
    one_of_each();
    EXPECT_EQ(list_all(client, {}), in({3, 5, 6, 7, 1, 2, 4}));
    seal();
    EXPECT_EQ(list_all(client, {.limit = 1}), in({3, 5, 6, 7, 1, 2, 4}));
    commit();
}

TEST_F(CoreList, LargePagesAreCutBeforeTheWireWould) {
    const std::string name(255, 'n');
    const std::string error(500, 'e');
    std::vector<SubmitItem> items(100, {.queue = name, .type = name, .max_attempts = 1});
    Peer wide = worker({.name = name, .slots = 1024, .queues = {name}, .types = {name}});
    for (int i = 0; i < 10; ++i) {
        send(client, Submit{0, client.next_number, items});
        client.next_number += items.size();
        answers(client);
    }
    for (const Held& held : take_all(wide)) fail(wide, held, {.error = error});
    EXPECT_EQ(list_all(client, {.state = JobState::dead, .limit = 1024}).size(), 1000U);
}

// --- stats -----------------------------------------------------------------------------------------------------------

TEST_F(CoreList, StatsCountEveryState) {
    one_of_each();
    const auto map = stats(client);
    const auto& jobs = map["jobs"];
    EXPECT_EQ(jobs["scheduled"], 1);
    EXPECT_EQ(jobs["queued"], 1);
    EXPECT_EQ(jobs["assigned"], 0);
    EXPECT_EQ(jobs["running"], 1);
    EXPECT_EQ(jobs["retrying"], 1);
    EXPECT_EQ(jobs["submitted_total"], 7);
    EXPECT_EQ(jobs["completed_total"], 1);
    EXPECT_EQ(jobs["cancelled_total"], 1);
    EXPECT_EQ(jobs["dead_total"], 1);
    EXPECT_EQ(jobs["retried_total"], 1);
    EXPECT_EQ(jobs["completed_kept"], 2) << "completed and cancelled";
    EXPECT_EQ(jobs["dead"], 1);
    EXPECT_EQ(map["workers"], 1);
    EXPECT_EQ(map["submitters"], 1);
    EXPECT_EQ(map["slots"], 10);
    ASSERT_EQ(map["queues"].size(), 2U);
    EXPECT_EQ(map["queues"][0]["name"], "default");
    EXPECT_EQ(map["queues"][0]["running"], 1);
    EXPECT_EQ(map["queues"][1]["name"], "q");
    EXPECT_EQ(map["queues"][1]["queued"], 1);
}

TEST_F(CoreList, TotalsOutliveTheirJobsAndRestarts) {
    one_of_each();
    crash();
    come_back(client);
    const auto jobs = stats(client)["jobs"];
    EXPECT_EQ(jobs["submitted_total"], 7);
    EXPECT_EQ(jobs["completed_total"], 1);
    EXPECT_EQ(jobs["dead_total"], 1);
    EXPECT_EQ(jobs["retried_total"], 1);
    EXPECT_EQ(jobs["queued"], 2) << "the running one waits for its claim";
}

TEST_F(CoreList, StatsOfVeryManyQueuesStillFitAMessage) {
    for (int i = 0; i < 50; ++i) {
        std::vector<std::string> names;
        for (int k = 0; k < 200; ++k) names.push_back(std::string(250, 'q') + std::to_string(i * 200 + k));
        Submit list{client.next_number - 1, client.next_number, {}};
        for (const std::string& name : names) list.items.push_back({.queue = name, .type = "u"});
        client.next_number += 200;
        send(client, list);
        answers(client);
    }
    EXPECT_GT(stats(client)["queues"].size(), 3000U);
}

TEST_F(CoreList, WhatTheEdgesCountStandsInTheSameMap) {
    core->set_edge_map(std::string("\x81\xa5turns\x05", 8));
    EXPECT_EQ(stats(client)["broker"]["turns"], 5);
}

// --- who may send what -----------------------------------------------------------------------------------------------

TEST_F(CoreWatch, EveryMessageIsTakenOnlyFromItsRole) {
    const Message of_submitters[] = {
        Submit{},     Watch{},       Grant{},       Cancel{},      Redrive{},    Change{},     SetQueue{},
        Show{},       List{},        AskStats{},    ListQueues{},  StartTask{},  ListTasks{},  StopTask{},
        ReadEvents{}, ListWorkers{}, SteerWorker{}, SubmitArray{}, ListArrays{}, SteerArray{}, Edit{}};
    const Message of_workers[] = {Credit{}, Started{}, Renew{}, Complete{}, Fail{}, Release{}};
    Welcome welcome;
    welcome.store = config.store;
    const Message of_the_broker[] = {welcome, Refusal{},  Answers{}, Results{}, Jobs{},
                                     Stats{}, Dispatch{}, Stop{},    Events{},  Maps{}};
    for (const Message& message : of_submitters) {
        const auto refusal = refused(w, message);
        EXPECT_EQ(refusal->code, Code::not_allowed) << message_name(message);
        EXPECT_NE(std::string(refusal->text).find(message_name(message)), std::string::npos);
    }
    for (const Message& message : of_workers)
        EXPECT_EQ(refused(client, message)->code, Code::not_allowed) << message_name(message);
    for (const Message& message : of_the_broker)
        for (const Peer& peer : {client, w})
            EXPECT_EQ(refused(peer, message)->code, Code::unknown_message) << message_name(message);
    EXPECT_EQ(std::size(of_submitters) + std::size(of_workers) + std::size(of_the_broker) + 3,
              std::variant_size_v<Message>)
        << "HELLO, HEARTBEAT and GOODBYE are everybody's";
}

TEST_F(CoreWatch, EmptyListsAreAnsweredWithEmptyLists) {
    for (const Message& message :
         {Message{Submit{0, 1, {}}}, Message{Watch{}}, Message{Cancel{}}, Message{Redrive{}}}) {
        send(client, message);
        EXPECT_TRUE(answers(client).empty());
    }
    for (const Message& message : {Message{Renew{}}, Message{Complete{}}, Message{Fail{}}, Message{Release{}}}) {
        send(w, message);
        EXPECT_TRUE(answers(w).empty());
    }
    send(client, Show{});
    EXPECT_TRUE(expect<Jobs>(client)->items.empty());
    send(w, Started{});
}

}  // namespace
}  // namespace jobyard::broker::test
