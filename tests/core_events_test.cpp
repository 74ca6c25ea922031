// The event stream: what it tells, where a reader goes on, and how it is followed.

#include "core_fixture.hpp"

namespace jobyard::broker {
namespace {

using namespace test;
using nlohmann::json;

struct CoreEvents : YardTest {
    struct Page {
        std::vector<json> events;
        std::uint64_t last = 0;
        std::uint64_t gone = 0;
        bool more = false;
    };
    Page page_of(const Got<Events>& got) {
        Page page{{}, got->last, got->gone, got->more};
        for (const std::string& map : got.payloads) page.events.push_back(json::from_msgpack(map));
        return page;
    }
    Page read(const Peer& peer, const ReadEvents& question) {
        send(peer, question);
        return page_of(expect<Events>(peer));
    }
    /// Everything behind `question.after`, a page after the other, one event an entry.
    std::vector<json> read_all(const Peer& peer, ReadEvents question) {
        std::vector<json> all;
        for (int pages = 0; pages < 1000; ++pages) {
            const Page page = read(peer, question);
            EXPECT_EQ(page.gone, 0U);
            for (json event : page.events) {
                const std::uint64_t count = event.value("count", 1U);
                event.erase("count");
                for (std::uint64_t i = 0; i < count; ++i) {
                    all.push_back(event);
                    event["event"] = event["event"].get<std::uint64_t>() + 1;
                    if (event.contains("job")) event["job"] = event["job"].get<std::uint64_t>() + 1;
                }
            }
            question.after = page.last;
            if (!page.more) return all;
        }
        ADD_FAILURE() << "the events never end";
        return all;
    }
    static std::vector<std::string> kinds_of(const std::vector<json>& events) {
        std::vector<std::string> kinds;
        for (const json& event : events) kinds.push_back(event["kind"]);
        return kinds;
    }
    using Kinds = std::vector<std::string>;
};

TEST_F(CoreEvents, TellWhatHappenedToWhatAndWhy) {
    Peer client = submitter();
    const Peer w = worker({.name = "w1", .queues = {"q"}, .types = {"t"}});
    const JobId job = submit(client, {.queue = "q", .type = "t", .max_attempts = 2});
    fail(w, take(w), {.error = "exit status 3"});
    advance(2'000);
    fail(w, take(w), {.error = "exit status 4"});
    goodbye(w);
    const std::vector<json> events = read_all(client, {.after = 0});
    ASSERT_EQ(kinds_of(events), (Kinds{"worker_joined", "submitted", "failed", "dead", "worker_left"}));
    for (std::size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i]["event"], i + 1);
    EXPECT_EQ(events[0]["worker"], "w1");
    EXPECT_FALSE(events[0].contains("job"));
    EXPECT_EQ(events[1]["job"], job.value);
    EXPECT_EQ(events[1]["queue"], "q");
    EXPECT_EQ(events[1]["type"], "t");
    EXPECT_FALSE(events[1].contains("worker"));
    EXPECT_EQ(events[2]["worker"], "w1");
    EXPECT_EQ(events[2]["text"], "exit status 3");
    EXPECT_EQ(events[3]["text"], "failed: exit status 4");
    EXPECT_EQ(events[4]["text"], "it said goodbye");
    EXPECT_EQ(events[4]["at"], wall_ms);
}

TEST_F(CoreEvents, JobsOfOneKindInARowAreOneEntryAndEachIsAnEvent) {
    Peer client = submitter();
    std::vector<SubmitItem> items(5, SubmitItem{.type = "t"});
    items[3].type = "other";
    send(client, Submit{0, 1, items});
    expect<Answers>(client);
    const Page page = read(client, {.after = 0});
    ASSERT_EQ(page.events.size(), 3U);
    EXPECT_EQ(page.events[0]["count"], 3);
    EXPECT_EQ(page.events[1]["type"], "other");
    EXPECT_EQ(page.events[1]["event"], 4);
    EXPECT_EQ(page.events[2]["event"], 5);
    EXPECT_EQ(page.last, 5U);
    EXPECT_FALSE(page.more);
}

TEST_F(CoreEvents, EachIsToldByItsTypeInWhateverOrderTypesCome) {
    Peer client = submitter();
    const std::string types = "abcccdaabababbbbabcdeedcba";
    std::vector<std::string> names;
    for (const char type : types) names.emplace_back(1, type);
    std::vector<SubmitItem> items;
    for (const std::string& name : names) items.push_back({.type = name});
    for (int batch = 0; batch < 3; ++batch) {
        hold_commits();  // a batch of more than one row
        const std::size_t rows = disk[Table::events].size();
        for (int n = 0; n < 60; ++n) {
            send(client, Submit{client.confirmed, client.next_number, items});
            client.next_number += items.size();
        }
        commit();
        EXPECT_GT(disk[Table::events].size(), rows + 1);
    }
    inbox.clear();
    for (const std::uint32_t limit : {7U, 30U, 1000U}) {
        const std::vector<json> events = read_all(client, {.after = 0, .limit = limit});
        ASSERT_EQ(events.size(), 180 * types.size());
        for (std::size_t i = 0; i < events.size(); ++i) {
            ASSERT_EQ(events[i]["type"], names[i % names.size()]) << i;
            ASSERT_EQ(events[i]["job"], i + 1);
        }
    }
    EXPECT_EQ(read_all(client, {.after = 0, .type = "e"}).size(), 360U);
}

TEST_F(CoreEvents, APageLooksAtSoManyAndTheNextGoesOn) {
    Peer client = submitter();
    const std::vector<SubmitItem> items{{.type = "a"}, {.type = "b"}};
    for (int batch = 0; batch < 12; ++batch) {
        hold_commits();
        for (int n = 0; n < 1'500; ++n) {
            send(client, Submit{client.confirmed, client.next_number, items});
            client.next_number += items.size();
        }
        if (batch == 11) send(client, Submit{client.confirmed, client.next_number++, {{.type = "c"}}});
        commit();
        client.confirmed = client.next_number - 1;
    }
    inbox.clear();
    const Page page = read(client, {.after = 0, .type = "c"});
    EXPECT_TRUE(page.events.empty());
    EXPECT_TRUE(page.more);
    EXPECT_GT(page.last, 10'000U);
    EXPECT_LT(page.last, 36'000U);
    const std::vector<json> events = read_all(client, {.after = 0, .type = "c"});
    ASSERT_EQ(events.size(), 1U);
    EXPECT_EQ(events[0]["event"], 36'001);
}

TEST_F(CoreEvents, AreReadFromAnyNumberInPagesOfAnySize) {
    Peer client = submitter();
    for (int batch = 0; batch < 20; ++batch) {
        send(client, Submit{client.confirmed, client.next_number, std::vector<SubmitItem>(7, {.type = "t"})});
        client.next_number += 7;
        expect<Answers>(client);
    }
    for (const std::uint64_t after : {0U, 1U, 6U, 7U, 8U, 100U, 138U, 139U, 140U})
        for (const std::uint32_t limit : {1U, 3U, 7U, 1000U}) {
            const std::vector<json> events = read_all(client, {.after = after, .limit = limit});
            ASSERT_EQ(events.size(), 140U - after) << after << " " << limit;
            for (std::size_t i = 0; i < events.size(); ++i) {
                EXPECT_EQ(events[i]["event"], after + i + 1);
                EXPECT_EQ(events[i]["job"], after + i + 1);
            }
        }
}

TEST_F(CoreEvents, FiltersLetThroughWhatTheySayAndCountWhatTheyHoldBackAsSeen) {
    Peer client = submitter();
    for (const auto& [queue, type] : {std::pair("a", "x"), {"a", "y"}, {"b", "x"}, {"a", "x"}})
        submit(client, {.queue = queue, .type = type});
    cancel(client, {2});
    const auto numbers = [&](ReadEvents question) {
        question.after = 0;
        std::vector<std::uint64_t> found;
        for (const json& event : read_all(client, question)) found.push_back(event["event"]);
        return found;
    };
    using Numbers = std::vector<std::uint64_t>;
    EXPECT_EQ(numbers({}), (Numbers{1, 2, 3, 4, 5}));
    EXPECT_EQ(numbers({.queue = "a"}), (Numbers{1, 2, 4, 5}));
    EXPECT_EQ(numbers({.type = "x"}), (Numbers{1, 3, 4}));
    EXPECT_EQ(numbers({.queue = "b", .type = "y"}), Numbers{});
    EXPECT_EQ(numbers({.job = {2}}), (Numbers{2, 5}));
    EXPECT_EQ(numbers({.kinds = {EventKind::cancelled, EventKind::dead}}), Numbers{5});
    EXPECT_EQ(read(client, {.after = 0, .queue = "none"}).last, 5U);
}

TEST_F(CoreEvents, OneJobIsFoundInsideARun) {
    Peer client = submitter();
    send(client, Submit{0, 1, std::vector<SubmitItem>(100, {.type = "t"})});
    expect<Answers>(client);
    const Page page = read(client, {.after = 10, .job = {50}});
    ASSERT_EQ(page.events.size(), 1U);
    EXPECT_EQ(page.events[0]["event"], 50);
    EXPECT_EQ(page.events[0]["job"], 50);
    EXPECT_EQ(page.last, 100U);
    EXPECT_TRUE(read(client, {.after = 50, .job = {50}}).events.empty());
}

TEST_F(CoreEvents, AnEventIsToldOnlyWhenItIsDurable) {
    Peer client = submitter();
    hold_commits();
    submit(client);
    const Page before = read(client, {.after = 0});
    EXPECT_TRUE(before.events.empty()) << "its batch is not even complete";
    EXPECT_EQ(before.last, 0U);
    seal();
    send(client, ReadEvents{.after = 0});
    const auto got = expect<Events>(client);
    EXPECT_EQ(got->items.size(), 1U);
    EXPECT_GE(got.rests_on, in_flight.back()->seq) << "the answer waits for the batch with the event";
    commit();
}

TEST_F(CoreEvents, FromNowNamesTheNewestEvent) {
    Peer client = submitter();
    EXPECT_EQ(read(client, {}).last, 0U);
    submit(client);
    submit(client);
    const Page page = read(client, {.wait_ms = 1'000});
    EXPECT_EQ(page.last, 2U);
    EXPECT_TRUE(page.events.empty());
    EXPECT_FALSE(page.more);
}

TEST_F(CoreEvents, AFollowerIsAnsweredWhenSomethingItWantsHappens) {
    Peer client = submitter();
    const Peer follower = submitter("follower");
    send(follower, ReadEvents{.after = 0, .wait_ms = 10'000, .queue = "q"});
    expect_silence();
    submit(client, {.queue = "other", .type = "t"});
    tick();
    expect_silence();
    const JobId job = submit(client, {.queue = "q", .type = "t"});
    tick();  // its batch is complete
    const Page page = page_of(expect<Events>(follower));
    ASSERT_EQ(page.events.size(), 1U);
    EXPECT_EQ(page.events[0]["job"], job.value);
    EXPECT_EQ(page.last, 2U);
    submit(client, {.queue = "q", .type = "t"});
    tick();
    expect_silence();  // it asks again for more
    EXPECT_EQ(read_all(follower, {.after = page.last}).size(), 1U);
}

TEST_F(CoreEvents, AFollowerIsAnsweredAtItsTimeWithHowFarItHasSeen) {
    Peer client = submitter();
    send(client, ReadEvents{.after = 0, .wait_ms = 2'000, .queue = "q"});
    submit(client, {.queue = "other", .type = "t"});
    advance(1'999);
    expect_silence();
    EXPECT_EQ(core->next_deadline(), now_ms + 1);
    advance(1);
    const Page page = page_of(expect<Events>(client));
    EXPECT_TRUE(page.events.empty());
    EXPECT_EQ(page.last, 1U);
}

TEST_F(CoreEvents, NoFollowerWaitsLongerThanHalfAMinute) {
    const Peer client = submitter();
    send(client, ReadEvents{.after = 0, .wait_ms = UINT32_MAX});
    advance(15'000);
    advance(15'000);
    EXPECT_EQ(expect<Events>(client)->last, 0U);
}

TEST_F(CoreEvents, WhatAFollowerFindsInTheStoreIsAnsweredAtOnce) {
    Peer client = submitter();
    submit(client);
    EXPECT_EQ(read(client, {.after = 0, .wait_ms = 10'000}).events.size(), 1U);
}

TEST_F(CoreEvents, FollowersAreBounded) {
    const Peer client = submitter();
    for (int i = 0; i < 16; ++i) send(client, ReadEvents{.after = 0, .wait_ms = 10'000});
    EXPECT_EQ(refused(client, ReadEvents{.after = 0, .wait_ms = 10'000})->code, Code::busy);
    EXPECT_TRUE(read(client, {.after = 0}).events.empty()) << "who does not wait needs no room";
    gone(client);
    const Peer again = submitter("another");
    send(again, ReadEvents{.after = 0, .wait_ms = 10'000});
    expect_silence();
    submit(const_cast<Peer&>(again));
    tick();
    EXPECT_EQ(expect<Events>(again)->items.size(), 1U);
}

TEST_F(CoreEvents, SayWhatRetentionHasRemoved) {
    with({.events_bytes = 300});
    Peer client = submitter();
    for (int i = 0; i < 50; ++i) submit(client);
    background();
    const Page page = read(client, {.after = 3});
    EXPECT_GT(page.gone, 3U);
    ASSERT_FALSE(page.events.empty());
    EXPECT_EQ(page.events[0]["event"], page.gone + 1);
    EXPECT_EQ(page.last, 50U);
    EXPECT_EQ(read(client, {.after = page.gone}).gone, 0U) << "who has seen those misses nothing";
}

TEST_F(CoreEvents, APageOfRowsThatAreJustBeingRemovedIsAskedForAgain) {
    with({.events_bytes = 300});
    Peer client = submitter();
    constexpr std::uint64_t kRows = 600;  // more than a page, one a submit
    for (std::uint64_t i = 0; i < kRows; ++i) submit(client);
    const Waiting reading = arrive(client, ReadEvents{.after = 0});
    // Its rows have been read, and are removed before it is decided.
    for (int steps = 0; steps < 200 && disk[Table::events].size() > 10; ++steps) {
        background();
        advance(1000);
    }
    decide(reading);
    const Page page = page_of(expect<Events>(client));
    EXPECT_TRUE(page.events.empty());
    EXPECT_EQ(page.last, 0U) << "what is behind them was not read";
    EXPECT_EQ(page.gone, 0U);
    EXPECT_TRUE(page.more);
    const Page again = read(client, {.after = page.last});
    EXPECT_GT(again.gone, 0U);
    ASSERT_FALSE(again.events.empty());
    EXPECT_EQ(again.last, kRows);
}

TEST_F(CoreEvents, GoOnThroughCrashesWithoutAGapOrARepeat) {
    Peer client = submitter();
    std::vector<json> seen;
    std::uint64_t after = 0;
    for (int round = 0; round < 5; ++round) {
        for (int i = 0; i < 3; ++i) submit(client);
        hold_commits();
        submit(client);  // is lost, and its number is given to another event
        seal();
        crash();
        resume_commits();
        come_back(client);
        for (const json& event : read_all(client, {.after = after})) seen.push_back(event);
        after = seen.back()["event"];
    }
    for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i]["event"], i + 1);
    EXPECT_EQ(seen.size() + 1, core->numbers().next_event);
}

TEST_F(CoreEvents, ANumberThatIsStillToComeIsRefused) {
    Peer client = submitter();
    submit(client);
    EXPECT_EQ(refused(client, ReadEvents{.after = 2})->field, "after");
}

TEST_F(CoreEvents, EntriesThatNameNothingAreReadAndNoFilterFindsThem) {
    Peer client = submitter();
    submit(client);
    hold_commits();  // each would find that the row has another size than the broker wrote
    Batch old;
    const Slice value = append_row(old, EventsRow{77, config.epoch, {{1, {1}, 1}}});
    disk[Table::events].begin()->second = old.view(value);
    EXPECT_EQ(read(client, {.after = 0}).events,
              (std::vector<json>{{{"event", 1}, {"at", 77}, {"kind", "submitted"}, {"job", 1}}}));
    EXPECT_TRUE(read(client, {.after = 0, .queue = "default"}).events.empty());
    EXPECT_EQ(read(client, {.after = 0, .job = {1}}).events.size(), 1U);
}

TEST_F(CoreEvents, ARowOfManySubjectsStaysInsideAPage) {
    with({.classes = 2'000});
    Peer client = submitter();
    const std::string long_name(200, 'n');
    std::vector<std::string> types;
    for (int i = 0; i < 200; ++i) types.push_back(long_name + std::to_string(i));
    std::vector<SubmitItem> items;
    for (const std::string& type : types) items.push_back({.type = type});
    send(client, Submit{0, 1, items});
    expect<Answers>(client);
    for (const auto& [key, value] : disk[Table::events]) EXPECT_LE(value.size(), kRowBytes);
    EXPECT_EQ(read_all(client, {.after = 0}).size(), 200U);
}

TEST_F(CoreEvents, ADamagedRowIsAGapThatIsTold) {
    Peer client = submitter();
    for (int i = 0; i < 3; ++i) submit(client);
    std::next(disk[Table::events].begin())->second[7] ^= 1;
    const Page before = read(client, {.after = 0});
    EXPECT_EQ(before.last, 1U);
    EXPECT_TRUE(before.more);
    const Page page = read(client, {.after = 1});
    EXPECT_EQ(page.gone, 2U);
    ASSERT_EQ(page.events.size(), 1U);
    EXPECT_EQ(page.events[0]["event"], 3);
}

TEST_F(CoreEvents, WhatTheyAreAboutCostsTwoBytesARunAndItsWordsOnceARow) {
    Peer client = submitter();
    hold_commits();
    for (int round = 0; round < 40; ++round) {
        send(client, Submit{client.confirmed, client.next_number,
                            std::vector<SubmitItem>(10, {.queue = "images", .type = "resize"})});
        client.next_number += 10;
        const Peer other =
            worker({.name = "other" + std::to_string(round % 2), .queues = {"images"}, .types = {"resize"}});
        expect<Answers>(client);
        for (const Held& held : take_all(other)) complete(other, held);
        for (const Held& held : take_all(other)) release(other, held);
        goodbye(other);
        inbox.clear();  // it was handed out again at once
    }
    commit();
    std::size_t bytes = 0;
    std::size_t bare_bytes = 0;
    std::size_t runs = 0;
    std::size_t rows = 0;
    for (const auto& [key, value] : disk[Table::events]) {
        EventsRow row;
        ASSERT_TRUE(read_row(value, row));
        ++rows;
        runs += row.events.size();
        bytes += value.size();
        row.subjects.clear();
        row.words.clear();
        for (EventsRow::Entry& entry : row.events) {
            EXPECT_LT(entry.class_number, 0x80U) << "a byte";
            EXPECT_LT(entry.subject, 0x80U) << "a byte";
        }
        Batch bare;
        bare_bytes += append_row(bare, row).size;
    }
    EXPECT_GT(runs, 100U);
    EXPECT_LE(bytes - bare_bytes, rows * 220) << bytes << " and " << bare_bytes << " bytes of " << runs << " runs";
}

TEST_F(CoreEvents, OfAThousandQueuesInTurnTakeAFewBytesEach) {
    with({.queues = 2'000, .classes = 2'000});
    Peer client = submitter();
    const auto submit_to_all = [&] {
        std::vector<SubmitItem> items;
        std::vector<std::string> queues;
        for (int i = 0; i < 1000; ++i) queues.push_back("a queue with a rather long name " + std::to_string(i));
        for (const std::string& queue : queues) items.push_back({.queue = queue, .type = "t"});
        send(client, Submit{client.confirmed, client.next_number, items});
        client.next_number += 1000;
        expect<Answers>(client);
    };
    submit_to_all();
    EXPECT_EQ(disk[Table::classes].size(), 1000U);
    const std::uint64_t before = core->numbers().event_bytes;
    submit_to_all();
    EXPECT_EQ(disk[Table::classes].size(), 1000U);
    EXPECT_LE(core->numbers().event_bytes - before, 3'200U);
    EXPECT_EQ(read_all(client, {.after = 1999})[0]["queue"], "a queue with a rather long name 999");
}

// --- names of classes, one epoch after the other ---------------------------------------------------------------------

struct CoreEventClasses : CoreEvents {
    Peer client = submitter();
    void restart() {
        crash();
        come_back(client);
    }
    /// Many epochs with other queues under the same numbers.
    void live_through(int epochs) {
        for (int epoch = 0; epoch < epochs; ++epoch) {
            if (epoch > 0) restart();
            for (int i = 3 * epoch; i < 3 * epoch + 5; ++i)
                submit(client, {.queue = "q" + std::to_string(i), .type = "t" + std::to_string(i)});
        }
    }
    [[nodiscard]] std::vector<json> submitted() {
        std::vector<json> jobs;
        for (const json& event : read_all(client, {.after = 0}))
            if (event["kind"] == "submitted") jobs.push_back(event);
        return jobs;
    }
};

TEST_F(CoreEventClasses, OfEveryEpochAreTold) {
    live_through(4);
    const std::vector<json> jobs = submitted();
    ASSERT_EQ(jobs.size(), 20U);
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        const std::string number = std::to_string(i / 5 * 3 + i % 5);
        EXPECT_EQ(jobs[i]["queue"], "q" + number);
        EXPECT_EQ(jobs[i]["type"], "t" + number);
    }
    EXPECT_EQ(read(client, {.after = 0, .queue = "q3"}).events.size(), 2U) << "of the first epoch and of the second";
    EXPECT_EQ(read(client, {.after = 0, .type = "t13"}).events.size(), 1U);
}

TEST_F(CoreEventClasses, GoWithTheLastEventOfTheirEpoch) {
    live_through(3);
    EXPECT_EQ(disk[Table::classes].size(), 15U);
    Limits less = config.limits;
    less.events_bytes = 1;  // less than the names of this epoch take: no event stays
    core->set_limits(less);
    for (int i = 0; i < 30; ++i) {
        advance(100);
        submit(client, {.queue = "last", .type = "t"});
        background();
    }
    for (const auto& [key, value] : disk[Table::classes]) EXPECT_EQ(from_big_endian(key), config.epoch);
    EXPECT_EQ(disk[Table::classes].size(), 6U);
}

TEST_F(CoreEventClasses, ThatAreMoreThanAStepTakesGoInSeveral) {
    with({.queues = 20'000, .classes = 20'000});
    client = submitter();
    std::vector<std::string> queues;
    for (int i = 0; i < 8'000; ++i) queues.push_back("q" + std::to_string(i));
    for (std::size_t first = 0; first < queues.size(); first += 1000) {
        std::vector<SubmitItem> items;
        for (std::size_t i = first; i < first + 1000; ++i) items.push_back({.queue = queues[i], .type = "t"});
        send(client, Submit{client.confirmed, client.next_number, items});
        client.next_number += 1000;
        expect<Answers>(client);
    }
    restart();
    Limits less = config.limits;
    less.events_bytes = 1;
    core->set_limits(less);
    for (int i = 0; i < 30; ++i) {
        advance(100);
        submit(client, {.queue = "last", .type = "t"});
        background();
    }
    EXPECT_EQ(disk[Table::classes].size(), 1U);
}

TEST_F(CoreEventClasses, OneThatIsDamagedLeavesItsEventsNameless) {
    live_through(2);
    hold_commits();  // each would find what is done here
    std::next(disk[Table::classes].begin(), 2)->second[7] ^= 1;
    const std::vector<json> jobs = submitted();
    ASSERT_EQ(jobs.size(), 10U);
    EXPECT_EQ(jobs[1]["queue"], "q1");
    EXPECT_FALSE(jobs[2].contains("queue"));
    EXPECT_EQ(jobs[3]["queue"], "q3");
    disk[Table::classes].erase(std::next(disk[Table::classes].begin(), 2));
    EXPECT_EQ(submitted(), jobs) << "nor does one that is not there give them another's";
    EXPECT_EQ(read(client, {.after = 0, .queue = "q3"}).events.size(), 3U) << "it may be of that queue";
}

TEST_F(CoreEventClasses, ThatWereNotAskedForEndThePage) {
    live_through(3);
    // Retention may have taken the rows that were looked at before: those that are there now are of other epochs.
    Waiting waiting = arrive(client, ReadEvents{.after = 0});
    waiting.needs.push_back({Need::Kind::after, Table::classes, {}, 5});
    waiting.snapshot = disk.read(waiting.needs);
    decide(waiting);
    const Page page = page_of(expect<Events>(client));
    EXPECT_EQ(page.events.size(), 5U);
    EXPECT_EQ(page.last, 5U);
    EXPECT_TRUE(page.more);
    decide(arrive(client, ReadEvents{.after = 5}));
    const Page none = page_of(expect<Events>(client));
    EXPECT_TRUE(none.events.empty() && none.more && none.gone == 0);
    EXPECT_EQ(none.last, 5U) << "it is asked again";
}

}  // namespace
}  // namespace jobyard::broker
