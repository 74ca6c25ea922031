// The checker finds each kind of broken promise in a record made for it, and nothing in one that keeps them.

#include "checker.hpp"

#include <gtest/gtest.h>

namespace jobyard::torture {
namespace {

class CheckerTest : public testing::Test {
 protected:
    void note(Entry entry, std::string who = "client0.1") {
        entry.us = us += 10;
        entry.who = std::move(who);
        history.push_back(std::move(entry));
    }
    void wants(std::uint64_t wish, const std::string& type = "quick", int priority = 5) {
        Entry entry{.seen = Seen::wants, .wish = wish};
        entry.priority = priority;
        entry.text = type;
        note(std::move(entry));
    }
    void has(std::uint64_t wish, std::uint64_t job) {
        note({.seen = Seen::has, .wish = wish, .job = job, .text = "made"});
    }
    void begins(std::uint64_t wish, std::uint64_t job, std::uint64_t attempt, std::uint64_t token,
                const std::string& who = "worker0.1") {
        note({.seen = Seen::begins, .wish = wish, .job = job, .attempt = attempt, .token = token}, who);
    }
    void ends(std::uint64_t job, std::uint64_t token, const std::string& who = "worker0.1") {
        note({.seen = Seen::ends, .job = job, .token = token, .text = "succeeds"}, who);
    }
    void result(std::uint64_t job, const std::string& text) { note({.seen = Seen::result, .job = job, .text = text}); }
    void final(std::uint64_t job, std::uint64_t attempt, const std::string& text = "completed ") {
        note({.seen = Seen::final, .job = job, .attempt = attempt, .text = text}, "yard");
    }
    void event(std::uint64_t job, const std::string& kind) {
        note({.seen = Seen::event, .job = job, .attempt = 1, .text = kind}, "yard");
    }
    /// A whole life; its token is 100 times its number.
    void live(std::uint64_t number) {
        wants(number);
        has(number, number);
        begins(number, number, 1, number * 100);
        ends(number, number * 100);
        result(number, "completed " + std::to_string(number * 100));
        final(number, 1);
        event(number, "submitted");
        event(number, "completed");
    }
    std::uint64_t broken(const std::string& kind) {
        const Verdict verdict = check(history);
        for (const auto& [other, count] : verdict.broken_count)
            EXPECT_TRUE(other == kind) << verdict.broken.at(other).front();
        return verdict.broken_count.contains(kind) ? verdict.broken_count.at(kind) : 0;
    }

    std::vector<Entry> history;
    std::int64_t us = 0;
};

TEST_F(CheckerTest, FindsNothingWhereAllWasKept) {
    live(1);
    live(2);
    wants(3);
    note({.seen = Seen::refused, .wish = 3, .text = "busy"});
    const Verdict verdict = check(history);
    EXPECT_TRUE(verdict.kept());
    EXPECT_EQ(verdict.wanted, 3U);
    EXPECT_EQ(verdict.acknowledged, 2U);
    EXPECT_EQ(verdict.refused, 1U);
    EXPECT_EQ(verdict.executions, 2U);
}

TEST_F(CheckerTest, FindsWhatIsLost) {
    live(1);
    wants(2);
    has(2, 2);
    wants(3);
    has(3, 3);
    final(3, 1, "running ");
    EXPECT_EQ(broken("lost"), 2U);
}

TEST_F(CheckerTest, FindsTwoJobsOfOneSubmit) {
    live(1);
    begins(1, 2, 1, 300);
    EXPECT_EQ(broken("made_twice"), 1U);
}

TEST_F(CheckerTest, FindsAJobThatWasRefused) {
    wants(1);
    note({.seen = Seen::refused, .wish = 1, .text = "busy"});
    begins(1, 2, 1, 300);
    EXPECT_EQ(broken("made_though_refused"), 1U);
}

TEST_F(CheckerTest, FindsTwoEnds) {
    live(1);
    event(1, "dead");
    live(2);
    result(2, "dead 200");
    EXPECT_EQ(broken("ended_twice"), 3U) << "an event too many; and two results, one of them not the last word";
}

TEST_F(CheckerTest, WhatWasRetiredHasEndedIfAClientOrTheEventStreamSaysSo) {
    const auto submit_and_retire = [&](std::uint64_t job, bool result_is_seen, bool end_is_seen) {
        wants(job);
        has(job, job);
        begins(job, job, 1, job * 100);
        ends(job, job * 100);
        if (result_is_seen) result(job, "completed " + std::to_string(job * 100));
        if (end_is_seen) event(job, "completed");
        event(job, "retired");
    };
    submit_and_retire(1, true, true);
    submit_and_retire(2, true, false);
    submit_and_retire(3, false, true);
    const Verdict verdict = check(history);
    EXPECT_TRUE(verdict.kept());
    EXPECT_EQ(verdict.retired, 3U);
    EXPECT_EQ(verdict.ended.at("completed"), 3U);
    submit_and_retire(4, false, false);
    event(4, "completed");
    EXPECT_EQ(broken("lost"), 1U) << "nobody was told that job 4 had ended when it was retired";
}

TEST_F(CheckerTest, AResultIsNotEnoughForAJobThatIsGoneAndWasNotRetired) {
    live(1);
    std::erase_if(history, [](const Entry& entry) { return entry.seen == Seen::final; });
    EXPECT_EQ(broken("lost"), 1U);
}

TEST_F(CheckerTest, FindsThatAClientWasToldAnotherEndThanTheOneBeforeItWasRetired) {
    live(1);
    std::erase_if(history, [](const Entry& entry) { return entry.seen == Seen::final; });
    result(1, "dead 100");
    event(1, "retired");
    EXPECT_EQ(broken("ended_twice"), 2U) << "two results, one of them not the first";
}

TEST_F(CheckerTest, ARedriveBeginsANewRound) {
    live(1);
    event(1, "redriven");
    event(1, "completed");
    EXPECT_TRUE(check(history).kept());
}

TEST_F(CheckerTest, FindsThatAHolderWasBelievedThatHadLostItsLease) {
    wants(1);
    has(1, 1);
    begins(1, 1, 1, 100);
    begins(1, 1, 2, 200, "worker1.1");
    ends(1, 100);
    result(1, "completed 100");
    final(1, 1);
    event(1, "submitted");
    event(1, "worker_lost");
    event(1, "completed");
    EXPECT_EQ(broken("stale_believed"), 1U);
}

TEST_F(CheckerTest, FindsAResultThatIsOfAnotherAttempt) {
    wants(1);
    has(1, 1);
    begins(1, 1, 1, 100);
    begins(1, 1, 2, 200, "worker1.1");
    result(1, "completed 100");
    final(1, 2);
    event(1, "worker_lost");
    event(1, "completed");
    EXPECT_EQ(broken("stale_believed"), 2U) << "by its lease, and by the attempt that the broker names";
}

TEST_F(CheckerTest, FindsAResultThatNobodyMade) {
    live(1);
    history.erase(std::find_if(history.begin(), history.end(), [](const Entry& e) { return e.seen == Seen::begins; }));
    EXPECT_EQ(broken("wrong_result"), 1U);
}

TEST_F(CheckerTest, FindsALeaseThatWasBegunTwice) {
    live(1);
    begins(1, 1, 1, 100, "worker1.1");
    EXPECT_EQ(broken("begun_twice"), 1U);
}

/// Jobs 1 and 2 keep the two workers busy, so that what follows waits in the queue.
class OrderTest : public CheckerTest {
 protected:
    void whole(std::uint64_t job) {
        final(job, 1);
        event(job, "completed");
    }
    void run(std::uint64_t job, const std::string& who) {
        begins(job, job, 1, job * 100, who);
        ends(job, job * 100, who);
    }
    void want(std::uint64_t job, int priority) {
        wants(job, kOrderedType, priority);
        has(job, job);
    }
};

TEST_F(OrderTest, FindsAJobThatPassedAHigherAndAnOlderOne) {
    for (const std::uint64_t job : {1U, 2U, 3U}) want(job, 5);
    want(4, 9);
    want(5, 1);
    run(1, "a");
    begins(2, 2, 1, 200, "b");
    run(5, "a");  // 3 is older, 4 is higher
    ends(2, 200, "b");
    run(4, "b");
    run(3, "a");
    for (std::uint64_t job = 1; job <= 5; ++job) whole(job);
    EXPECT_EQ(broken("overtaken"), 1U);
}

TEST_F(OrderTest, TheLongestWaitingMayPass) {
    for (const std::uint64_t job : {1U, 2U, 3U}) want(job, 5);
    want(4, 9);
    run(1, "a");
    begins(2, 2, 1, 200, "b");
    run(3, "a");
    ends(2, 200, "b");
    run(4, "b");
    for (std::uint64_t job = 1; job <= 4; ++job) whole(job);
    const Verdict verdict = check(history);
    EXPECT_TRUE(verdict.kept());
    EXPECT_EQ(verdict.aged, 1U);
}

TEST_F(OrderTest, WhatMayHaveBeenHandedOutBeforeIsNotJudged) {
    for (const std::uint64_t job : {1U, 2U, 3U}) want(job, 5);
    want(4, 9);
    want(5, 1);
    run(1, "a");
    run(2, "b");
    begins(5, 5, 1, 500, "a");
    begins(4, 4, 1, 400, "b");  // b was free before 5 began, so 4 may have been on its way
    run(3, "c");
    for (std::uint64_t job = 1; job <= 5; ++job) whole(job);
    EXPECT_TRUE(check(history).kept());
}

TEST(History, ComesBackAsItWasWritten) {
    Entry entry{.us = 12, .who = "worker3.1", .seen = Seen::ends, .wish = 1, .job = 2, .attempt = 3, .token = 4};
    entry.priority = 5;
    entry.text = "succeeds at last";
    std::string line = format(entry);
    line.pop_back();
    Entry read;
    ASSERT_TRUE(parse(line, read));
    EXPECT_EQ(format(read), line + "\n");
    EXPECT_FALSE(parse("12 worker3.1 en", read));
    EXPECT_FALSE(parse("", read));
}

}  // namespace
}  // namespace jobyard::torture
