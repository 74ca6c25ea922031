// What is forgotten, and when (PROTOCOL.md, section 9: what is kept).

#include "core_fixture.hpp"

namespace jobyard::broker::test {
namespace {

constexpr std::int64_t kDayMs = std::int64_t{24} * 3600 * 1000;
constexpr std::int64_t kPassMs = 60'000;  // how often the tables are looked through for what is too old

struct CoreRetention : YardTest {
    Peer client = submitter();
    Peer w = worker({.slots = 10});

    void begin(const Limits& limits) {
        with(limits);
        client = submitter();
        w = worker({.slots = 10});
    }
    JobId complete_one(std::string_view result = {}) {
        const JobId job = submit(client);
        complete(w, take(w), result);
        return job;
    }
    JobId kill_one() {
        const JobId job = submit(client, {.type = "t"}, std::string(5000, 'p'));
        fail(w, take(w), {.retryable = false, .result = std::string(3000, 'r')});
        return job;
    }
    /// Takes the next step if there is one; how many rows it read.
    std::size_t step() {
        const std::vector<Need> needs = core->agenda_needs(now());
        if (needs.empty()) return 0;
        const Snapshot snapshot = disk.read(needs);
        Output out{open.get(), {}};
        core->agenda_step(Found(needs, snapshot, {open.get()}), now(), out);
        commit();
        return snapshot.rows.at(0).size();
    }
    std::set<std::uint64_t> kept(Table table) const {
        std::set<std::uint64_t> ids;
        for (const auto& [key, value] : disk[table]) ids.insert(from_big_endian(key));
        return ids;
    }
};

TEST_F(CoreRetention, NothingIsDoneWhileNothingIsOver) {
    complete_one();
    kill_one();
    background();
    EXPECT_EQ(background(), 0);
    EXPECT_EQ(disk[Table::done].size(), 1U);
    EXPECT_EQ(disk[Table::dead].size(), 1U);
}

TEST_F(CoreRetention, EndedJobsBeyondTheirNumberAreRetiredOldestFirst) {
    begin({.kept_jobs = 3});
    for (int i = 0; i < 5; ++i) complete_one(std::string(5000, 'r'));
    background();
    EXPECT_EQ(kept(Table::done), (std::set<std::uint64_t>{3, 4, 5}));
    EXPECT_EQ(kept(Table::results), (std::set<std::uint64_t>{3, 4, 5}));
}

TEST_F(CoreRetention, CancelledJobsCountAsEnded) {
    begin({.kept_jobs = 1});
    cancel(client, submit(client, {.type = "u"}));
    complete_one();
    background();
    EXPECT_EQ(kept(Table::done), std::set<std::uint64_t>{2});
}

TEST_F(CoreRetention, EndedJobsBeyondTheirBytesAreRetired) {
    begin({.kept_bytes = 25'000});
    for (int i = 0; i < 5; ++i) complete_one(std::string(10'000, 'r'));
    background();
    EXPECT_EQ(kept(Table::done), (std::set<std::uint64_t>{4, 5}));
    EXPECT_LE(core->numbers().done_bytes, 25'000U);
}

TEST_F(CoreRetention, EndedJobsAreRetiredByAge) {
    begin({.kept_ms = kDayMs});
    complete_one();
    advance(kDayMs / 2);
    complete_one();
    background();
    advance(kDayMs / 2 + kPassMs + 1);
    background();
    EXPECT_EQ(kept(Table::done), std::set<std::uint64_t>{2});
}

TEST_F(CoreRetention, AgeCountsFromTheEndNotFromTheSubmit) {
    begin({.kept_ms = kDayMs});
    const JobId long_runner = submit(client, {.type = "t", .timeout_ms = 0});
    const Held held = take(w);
    complete_one();
    advance_renewing(2 * kDayMs / 100, w, {held});
    complete(w, held);
    wall_ms += kDayMs - 2 * kDayMs / 100 + 1000;
    advance(kPassMs + 1);
    background();
    EXPECT_EQ(kept(Table::done), std::set<std::uint64_t>{long_runner.value});
}

TEST_F(CoreRetention, DeadJobsHaveLimitsOfTheirOwn) {
    begin({.kept_jobs = 0, .dead_jobs = 2, .dead_ms = std::uint64_t{2} * kDayMs});
    for (int i = 0; i < 3; ++i) kill_one();
    complete_one();
    background();
    EXPECT_TRUE(disk[Table::done].empty());
    EXPECT_EQ(kept(Table::dead), (std::set<std::uint64_t>{2, 3}));
    EXPECT_EQ(kept(Table::buried), (std::set<std::uint64_t>{2, 3}));
    EXPECT_EQ(kept(Table::chunks), (std::set<std::uint64_t>{2, 3}));
    EXPECT_EQ(kept(Table::results), (std::set<std::uint64_t>{2, 3}));
    advance(2 * kDayMs + kPassMs + 1);
    background();
    EXPECT_TRUE(disk[Table::dead].empty());
    EXPECT_TRUE(disk[Table::chunks].empty());
    EXPECT_TRUE(disk[Table::results].empty());
}

TEST_F(CoreRetention, AttemptsGoWithTheirJob) {
    begin({.kept_jobs = 0, .dead_jobs = 0});
    submit(client, {.type = "t", .backoff = {.initial_ms = 0}});
    fail(w, take(w));
    release(w, take(w));
    complete(w, take(w));
    const JobId dead = submit(client, {.type = "t", .max_attempts = 2, .backoff = {.initial_ms = 0}});
    fail(w, take(w));
    fail(w, take(w));
    redrive(client, dead);
    fail(w, take(w));
    fail(w, take(w));
    const JobId cancelled = submit(client);
    fail(w, take(w));
    cancel(client, cancelled);
    background();
    EXPECT_TRUE(disk[Table::attempts].empty());
}

TEST_F(CoreRetention, RetiredJobsAnswerRetired) {
    begin({.kept_jobs = 0});
    const JobId job = submit(client);
    const Held held = take(w);
    complete(w, held);
    background();
    EXPECT_EQ(watch(client, job).code, Code::retired);
    EXPECT_EQ(cancel(client, job).code, Code::retired);
    EXPECT_EQ(redrive(client, job).code, Code::retired);
    EXPECT_EQ(show(client, job)["code"], "retired");
    EXPECT_EQ(complete(w, held), Code::retired);
    EXPECT_EQ(fail(w, held), Code::retired);
    EXPECT_EQ(release(w, held), Code::retired);
    EXPECT_TRUE(list_all(client, {}).empty());
}

TEST_F(CoreRetention, UnendedJobsAreNeverRetired) {
    begin({.kept_jobs = 0, .kept_ms = 0, .dead_jobs = 0, .dead_ms = 0});
    const JobId job = submit(client, {.type = "u"});
    advance(400 * kDayMs);
    background();
    EXPECT_EQ(state(job), JobState::queued);
}

TEST_F(CoreRetention, WhatWasReadBeforeARedriveIsNotRetired) {
    begin({.dead_jobs = 0});
    const JobId job = kill_one();
    const std::vector<Need> needs = core->agenda_needs(now());
    ASSERT_FALSE(needs.empty());
    const Snapshot snapshot = disk.read(needs);
    redrive(client, job);
    Output out{open.get(), {}};
    core->agenda_step(Found(needs, snapshot, {durable.back().get(), open.get()}), now(), out);
    commit();
    EXPECT_NE(core->job(job), nullptr);
    EXPECT_EQ(take(w).payload, std::string(5000, 'p'));
}

TEST_F(CoreRetention, OneStepAtATime) {
    begin({.kept_jobs = 0});
    complete_one();
    const auto needs = core->agenda_needs(now());
    EXPECT_FALSE(needs.empty());
    EXPECT_TRUE(core->agenda_needs(now()).empty()) << "the step before has not been taken";
    const Snapshot snapshot = disk.read(needs);
    Output out{open.get(), {}};
    core->agenda_step(Found(needs, snapshot, {open.get()}), now(), out);
    commit();
    EXPECT_TRUE(disk[Table::done].empty());
}

TEST_F(CoreRetention, StepsTakeTwiceWhatEndedAndAreBoundedAndManyStepsDoTheWork) {
    begin({.kept_jobs = 10});
    hold_commits();
    const auto end_hundreds = [&](int hundreds) {
        for (int i = 0; i < hundreds; ++i) {
            send(client,
                 Submit{client.next_number - 1, client.next_number, std::vector<SubmitItem>(100, {.type = "u"})});
            client.next_number += 100;
            std::vector<JobId> jobs;
            for (const Answer& answer : answers(client)) jobs.push_back(answer.job);
            send(client, Cancel{jobs});
            answers(client);
        }
        commit();
    };
    end_hundreds(50);
    EXPECT_EQ(step(), 4096U) << "as many as can end in a turn";
    EXPECT_EQ(disk[Table::done].size(), 904U);
    EXPECT_EQ(step(), 0U) << "one a millisecond";
    advance(1);
    EXPECT_EQ(step(), 250U) << "nothing has ended since";
    end_hundreds(4);
    advance(1);
    EXPECT_EQ(step(), 800U);
    EXPECT_EQ(disk[Table::done].size(), 254U);
    end_hundreds(4);
    advance(100);
    EXPECT_EQ(step(), 250U) << "gently after a rest, though much has ended meanwhile";
    advance(100);
    background();
    advance(100);
    background();
    commit();
    EXPECT_EQ(disk[Table::done].size(), 10U);
    EXPECT_EQ(*kept(Table::done).begin(), 5791U);
}

TEST_F(CoreRetention, APassForAgeGoesOnByItselfAndTheOldestGoFirstMeanwhile) {
    begin({.kept_jobs = 300});
    for (int i = 0; i < 300; ++i) cancel(client, submit(client, {.type = "u"}));
    commit();
    background();  // the first pass
    advance(kPassMs);
    ASSERT_EQ(step(), 250U) << "a part of the table";
    EXPECT_TRUE(core->agenda_needs(now()).empty()) << "one step a millisecond";
    EXPECT_EQ(core->next_deadline(), now().now + 1) << "nothing else need happen";
    for (int i = 0; i < 10; ++i) cancel(client, submit(client, {.type = "u"}));
    commit();
    background();
    commit();
    EXPECT_EQ(disk[Table::done].size(), 300U);
    EXPECT_EQ(*kept(Table::done).begin(), 11U);
}

TEST_F(CoreRetention, WhatIsErasedIsNotReadInCirclesUntilTheStoreKnows) {
    begin({.kept_jobs = 0});
    const auto end_many = [&] {
        send(client, Submit{client.next_number - 1, client.next_number, std::vector<SubmitItem>(1000, {.type = "u"})});
        client.next_number += 1000;
        std::vector<JobId> jobs;
        for (const Answer& answer : answers(client)) jobs.push_back(answer.job);
        send(client, Cancel{jobs});
        answers(client);
    };
    end_many();
    const FakeStore behind = disk;
    end_many();
    EXPECT_LE(background(behind), 3);
    for (int i = 0; i < 10; ++i) {
        advance(100);
        EXPECT_LE(background(behind), 2) << "a look now and then";
    }
    commit();
    EXPECT_EQ(disk[Table::done].size(), 1000U) << "those that the store did not have";
    for (int i = 0; i < 4; ++i) {
        advance(100);
        background();
    }
    commit();
    EXPECT_TRUE(disk[Table::done].empty());
}

TEST_F(CoreRetention, OldestEventsAreDroppedBeyondTheirBytes) {
    begin({.events_bytes = 1000});
    for (int i = 0; i < 100; ++i) complete_one();
    for (int i = 0; i < 30; ++i) {
        advance(100);  // less than a page of rows waits for more
        background();
    }
    EXPECT_LE(core->numbers().event_bytes, 1000U);
    EXPECT_FALSE(disk[Table::events].empty());
    EventsRow last;
    ASSERT_TRUE(read_row(disk[Table::events].rbegin()->second, last));
    EXPECT_EQ(from_big_endian(disk[Table::events].rbegin()->first) + last.events.size(), core->numbers().next_event);
}

TEST_F(CoreRetention, EventsAreNumberedWithoutAGapThroughRestarts) {
    hold_commits();
    for (int i = 0; i < 300; ++i) submit(client, {.type = "u"});
    for (std::uint64_t id = 1; id <= 300; id += 2) cancel(client, {id});  // each an entry of its own
    commit();
    crash();
    come_back(client);
    cancel(client, {2});
    commit();
    std::uint64_t next = 1;
    for (const auto& [key, value] : disk[Table::events]) {
        EXPECT_EQ(from_big_endian(key), next);
        EXPECT_LE(value.size(), kRowBytes);
        EventsRow row;
        ASSERT_TRUE(read_row(value, row));
        for (const EventsRow::Entry& entry : row.events) next += entry.count;
    }
    EXPECT_EQ(next, core->numbers().next_event);
    EXPECT_EQ(next - 1, 1U + 300U + 150U + 1U) << "the first is that the worker came";
}

TEST_F(CoreRetention, DamagedRecordIsKeptForSomebodyToLookAt) {
    begin({.kept_ms = kDayMs});
    complete_one();
    const std::string key = disk[Table::done].begin()->first;
    const std::string whole = disk[Table::done].begin()->second;
    advance(10 * kDayMs);
    disk[Table::done].begin()->second.back() ^= 1;
    const std::vector<Need> needs = core->agenda_needs(now());
    ASSERT_FALSE(needs.empty());
    Output out{open.get(), {}};
    const Snapshot snapshot = disk.read(needs);
    core->agenda_step(Found(needs, snapshot, {}), now(), out);
    for (const Op& op : open->ops()) EXPECT_FALSE(op.table == Table::done && open->key(op) == key);
    disk[Table::done][key] = whole;
}

TEST_F(CoreRetention, ADamagedRecordThatIsLargerThanAllThatWasCountedLeavesNoBytes) {
    begin({.kept_jobs = 1});
    complete_one();
    const std::string whole = disk[Table::done].begin()->second;
    complete_one();
    disk[Table::done].begin()->second.append(2 * whole.size(), 'x');  // a block of rows, for one
    const std::vector<Need> needs = core->agenda_needs(now());
    ASSERT_FALSE(needs.empty());
    Output out{open.get(), {}};
    const Snapshot snapshot = disk.read(needs);
    core->agenda_step(Found(needs, snapshot, {}), now(), out);
    EXPECT_EQ(core->numbers().done_rows, 1U);
    EXPECT_EQ(core->numbers().done_bytes, 0U);
    disk[Table::done].begin()->second = whole;
}

}  // namespace
}  // namespace jobyard::broker::test
