// Images, backups, verification and dumps, of stores made by hand: each fault is planted by a batch. With a broker, and
// through the command line, they are in process/backup_test.cpp.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "damaged_block.hpp"
#include "store/backup.hpp"
#include "store/dump.hpp"
#include "store/info.hpp"
#include "store/verify.hpp"
#include "store/words.hpp"
#include "temporary_directory.hpp"

namespace jobyard::store {
namespace {

using namespace broker;  // NOLINT: the rows are its
using testing::HasSubstr;

constexpr std::uint64_t kSecret = 4711;
const Progress kQuiet = [](std::uint64_t, std::uint64_t) {};

template <class Row>
Slice put_row(Batch& batch, Table table, std::string_view key_bytes, const Row& row) {
    const Slice key = batch.append(key_bytes);
    const Slice value = append_row(batch, row);
    batch.put(table, key, value);
    return value;
}

AttemptRow attempt(std::uint32_t number, Outcome outcome) {
    AttemptRow row;
    row.attempt = number;
    row.worker = "here";
    row.token = {17};
    row.started_at = 5;
    row.ended_at = 6;
    row.outcome = outcome;
    row.error = "exit status 1";
    return row;
}

LiveRow live_row(std::string_view queue, std::string_view payload = {}) {
    LiveRow row;
    row.queue = queue;
    row.type = "work";
    row.payload = payload;
    row.payload_size = static_cast<std::uint32_t>(payload.size());
    return row;
}

EndRow end_row(JobState state, std::string_view queue) {
    EndRow row;
    row.state = state;
    row.reason = state == JobState::dead ? Reason::failed : Reason::none;
    row.queue = queue;
    row.type = "work";
    return row;
}

/// A data directory as a broker leaves it, with a row of every table but `claims` and `workers`: job 1 unended, keyed,
/// large, with a past; 2 completed, keyed, with a large result; 3 dead; 4 retired; 5 unended and new.
struct StoreTools : testing::Test {
    test::TemporaryDirectory directory;
    const std::string data = directory / "data";
    const std::string large = std::string(3'000, '\xff');  // no text, and more than a row
    std::uint64_t seq = 1;
    NumbersRow numbers;

    void SetUp() override {
        std::filesystem::create_directory(data);
        Batch batch;
        batch.put(Table::meta, kMetaStore, uuid_from_bytes(std::string(16, 's')).view());
        batch.put(Table::meta, kMetaEpoch, big_endian(3));
        batch.put(Table::meta, kMetaLogSecret, big_endian(kSecret));
        batch.put(Table::meta, kMetaApplied, big_endian(seq));

        LiveRow live = live_row("images");
        live.payload_size = 3'000;
        live.chunks = 2;
        live.key = "mine";
        put_row(batch, Table::live, job_key({1}), live);
        batch.put(Table::chunks, job_part_key({1}, 0), large.substr(0, kRowBytes));
        batch.put(Table::chunks, job_part_key({1}, 1), large.substr(kRowBytes));
        put_row(batch, Table::state, job_key({1}), StateRow{.order = 1, .errors = 1, .attempts = 1, .token_floor = 18});
        put_row(batch, Table::attempts, job_part_key({1}, 1), attempt(1, Outcome::failed));
        put_row(batch, Table::keys, name_pair_key("images", "mine"), KeyRow{{1}, {}, JobState::none});

        EndRow done{.state = JobState::completed,
                    .queue = "images",
                    .type = "resize",
                    .created_at = 1,
                    .ended_at = 7,
                    .result_size = 3'000,
                    .result_chunks = 2,
                    .last = attempt(1, Outcome::completed),
                    .key = "yours",
                    .array = {}};
        const Slice done_value = put_row(batch, Table::done, job_key({2}), done);
        batch.put(Table::results, job_part_key({2}, 0), large.substr(0, kRowBytes));
        batch.put(Table::results, job_part_key({2}, 1), large.substr(kRowBytes));
        put_row(batch, Table::keys, name_pair_key("images", "yours"), KeyRow{{2}, {}, JobState::completed});
        batch.put(Table::key_ends, big_endian(7) + job_key({2}), name_pair_key("images", "yours"));

        EndRow dead{.state = JobState::dead,
                    .reason = Reason::failed,
                    .queue = "mail",
                    .type = "send",
                    .ended_at = 8,
                    .payload_size = 5,
                    .last = attempt(1, Outcome::failed),
                    .array = {},
                    .edited_at = 9};
        put_row(batch, Table::dead, job_key({3}), dead);
        put_row(batch, Table::buried, job_key({3}), live_row("mail", "hello"));
        put_row(batch, Table::live, job_key({5}), live_row("mail", "a\nb"));

        put_row(batch, Table::instances, big_endian(1),
                InstanceRow{uuid_from_bytes(std::string(16, 'i')), 0, {{1, 5, 1}}});
        numbers.event_bytes = put_row(batch, Table::classes, class_key(3, 1), ClassRow{"mail", "send"}).size;
        EventsRow events;
        events.epoch = 3;
        events.events = {{1, {1}, 5, 1}, {10, {4}, 1}};
        numbers.event_bytes += put_row(batch, Table::events, big_endian(1), events).size;
        numbers.next_event = 7;
        numbers.next_job = 6;
        numbers.next_instance = 2;
        numbers.submitted_total = 5;
        numbers.completed_total = 2;
        numbers.dead_total = 1;
        numbers.done_rows = numbers.dead_rows = 1;
        numbers.done_bytes = done_value.size + 3'000;
        numbers.key_rows = 2;
        put_numbers(batch);
        plant(batch);
        const auto log = CommitLog::open(data + "/store");
        ASSERT_TRUE(log) << log.error().text;
    }

    void put_numbers(Batch& batch) { put_row(batch, Table::meta, kMetaNumbers, numbers); }
    /// What LMDB has.
    void plant(const Batch& batch) {
        auto store = Store::open({data + "/store"});
        ASSERT_TRUE(store) << store.error().text;
        ASSERT_TRUE((*store)->apply(batch));
    }
    /// What only the log has, as when the broker was killed.
    void append(Batch& batch) {
        batch.seq = ++seq;
        batch.put(Table::meta, kMetaApplied, big_endian(seq));
        auto log = CommitLog::open(data + "/store");
        ASSERT_TRUE(log) << log.error().text;
        (*log)->belongs_to(uuid_from_bytes(std::string(16, 's')), kSecret);
        ASSERT_TRUE((*log)->append(batch));
    }
    std::vector<std::string> findings(const std::string& path) {
        const auto verified = verify(path, kQuiet);
        EXPECT_TRUE(verified) << verified.error().text;
        std::vector<std::string> found;
        if (!verified) return found;
        for (const Finding& finding : verified->findings)
            found.push_back(std::string(to_string(finding.kind)) + " " + to_string(finding.table) + ": " +
                            finding.text);
        EXPECT_EQ(found.size(), verified->found);
        return found;
    }
    std::vector<std::string> findings() { return findings(data); }
    std::string dumped(const std::string& path) {
        std::ostringstream out;
        const auto lines = dump(path, out, kQuiet);
        EXPECT_TRUE(lines) << lines.error().text;
        return out.str();
    }
    void expect_load_refused(const std::string& text, const std::string& why) {
        std::istringstream in(text);
        const auto loaded = load(in, directory / "refused", kQuiet);
        ASSERT_FALSE(loaded) << text;
        EXPECT_THAT(loaded.error().text, HasSubstr(why));
        EXPECT_FALSE(std::filesystem::exists(directory / "refused/store")) << "half a store is none";
        EXPECT_FALSE(std::filesystem::exists(directory / "refused/store.unfinished"));
    }
};

// --- verify ----------------------------------------------------------------------------------------------------------

TEST_F(StoreTools, AWholeStoreHasNoFindings) { EXPECT_THAT(findings(), testing::IsEmpty()); }

struct Fault {
    const char* name;
    void (*plant)(StoreTools& test, Batch& batch);
    std::vector<const char*> found;  ///< in the order of the tables
};

class StoreFault : public StoreTools, public testing::WithParamInterface<Fault> {};

TEST_P(StoreFault, IsFound) {
    Batch batch;
    GetParam().plant(*this, batch);
    plant(batch);
    std::vector<testing::Matcher<std::string>> expected;
    for (const char* each : GetParam().found) expected.push_back(testing::StartsWith(each));
    EXPECT_THAT(findings(), testing::ElementsAreArray(expected));
}

const std::vector<Fault>& faults() {
    static const std::vector<Fault> kFaults{
        {"ADamagedRow",
         [](StoreTools&, Batch& b) { b.put(Table::live, job_key({5}), "nonsense"); },
         {"damaged live: the row of number 5"}},
        {"ADamagedKey",
         [](StoreTools&, Batch& b) { b.put(Table::state, "abc", "x"); },
         {"damaged state: a key of 3 bytes"}},
        {"ADamagedEventsRow",
         [](StoreTools&, Batch& b) { b.put(Table::events, big_endian(7), "x"); },
         {"damaged events", "miscounted meta: event_bytes"}},
        {"ADamagedClass",
         [](StoreTools&, Batch& b) { b.put(Table::classes, class_key(3, 1), "x"); },
         {"damaged classes: number 1 of epoch 3", "miscounted meta: event_bytes"}},
        {"AClassThatEventsName",
         [](StoreTools&, Batch& b) { b.erase(Table::classes, class_key(3, 1)); },
         {"lost classes: number 1 of epoch 3 or one before it, which events name", "miscounted meta: event_bytes"}},
        {"AClassBetweenOthers",
         [](StoreTools& t, Batch& b) {
             t.numbers.event_bytes += put_row(b, Table::classes, class_key(3, 3), ClassRow{"mail", "send"}).size;
             t.put_numbers(b);
         },
         {"lost classes: numbers 2 to before 3 of epoch 3"}},
        {"EpochsThatGoBack",
         [](StoreTools& t, Batch& b) {
             EventsRow events;
             events.epoch = 2;
             events.events = {{2, {2}, 1}};
             t.numbers.event_bytes += put_row(b, Table::events, big_endian(7), events).size;
             t.numbers.next_event = 8;
             t.put_numbers(b);
         },
         {"unlike events: those from 7 on are of an earlier epoch than those before"}},
        {"AnEpochThatWillBeGivenAgain",
         [](StoreTools&, Batch& b) { b.put(Table::meta, kMetaEpoch, big_endian(2)); },
         {"miscounted meta: epoch is 2, but classes has epoch 3",
          "miscounted meta: epoch is 2, but events has epoch 3"}},
        {"NoStoreId",
         [](StoreTools&, Batch& b) { b.erase(Table::meta, kMetaStore); },
         {"lost meta: there is no row store"}},
        {"AJobThatIsNowhere",
         [](StoreTools&, Batch& b) { b.erase(Table::live, job_key({5})); },
         {"lost live: 1 jobs of those from 1 to 5 were submitted, did not retire, and are nowhere; the first is "
          "job 5"}},
        {"AJobInTwoPlaces",
         [](StoreTools& t, Batch& b) {
             put_row(b, Table::live, job_key({2}), live_row("q"));
             static_cast<void>(t);
         },
         {"doubled live: job 2 is unended and also in done"}},
        {"AJobDoneAndDead",
         [](StoreTools& t, Batch& b) {
             ++t.numbers.done_rows;
             t.numbers.done_bytes += put_row(b, Table::done, job_key({3}), end_row(JobState::cancelled, "q")).size;
             t.put_numbers(b);
         },
         {"doubled done: job 3 is done and also dead"}},
        {"AJobMadeTwice",
         [](StoreTools& t, Batch& b) {
             put_row(b, Table::instances, big_endian(2),
                     InstanceRow{uuid_from_bytes(std::string(16, 'j')), 0, {{1, 1, 3}}});
             t.numbers.next_instance = 3;
             t.put_numbers(b);
         },
         {"doubled instances: job 3 was made by two submits"}},
        {"APieceOfAPayloadGone",
         [](StoreTools&, Batch& b) { b.erase(Table::chunks, job_part_key({1}, 1)); },
         {"lost chunks: job 1 has 1 pieces of 1990 bytes, not all of its 2 pieces of 3000 bytes"}},
        {"TheFirstPieceOfAPayloadGone",
         [](StoreTools&, Batch& b) { b.erase(Table::chunks, job_part_key({1}, 0)); },
         {"lost chunks: job 1 lacks the first", "lost chunks: job 1 has 1 pieces"}},
        {"APieceOfAResultGone",
         [](StoreTools&, Batch& b) { b.erase(Table::results, job_part_key({2}, 1)); },
         {"lost results: job 2 has 1 pieces"}},
        {"PiecesOfNobody",
         [](StoreTools&, Batch& b) { b.put(Table::chunks, job_part_key({5}, 0), "abc"); },
         {"orphaned chunks: 1 pieces of 3 bytes of job 5"}},
        {"ResultsOfNobody",
         [](StoreTools&, Batch& b) { b.put(Table::results, job_part_key({4}, 0), "abc"); },
         {"orphaned results"}},
        {"AStateOfNobody",
         [](StoreTools&, Batch& b) { put_row(b, Table::state, job_key({4}), StateRow{}); },
         {"orphaned state: a row of job 4"}},
        {"AnAttemptOfNobody",
         [](StoreTools&, Batch& b) { put_row(b, Table::attempts, job_part_key({4}, 1), attempt(1, Outcome::failed)); },
         {"orphaned attempts"}},
        {"AnAttemptTooMany",
         [](StoreTools&, Batch& b) { put_row(b, Table::attempts, job_part_key({1}, 3), attempt(3, Outcome::failed)); },
         {"unlike attempts: attempt 3 of job 1"}},
        {"AClaimOfNobody",
         [](StoreTools&, Batch& b) { b.put(Table::claims, job_key({2}), big_endian(1)); },
         {"orphaned claims"}},
        {"APayloadBuriedWithNobody",
         [](StoreTools&, Batch& b) { put_row(b, Table::buried, job_key({4}), live_row("q")); },
         {"orphaned buried"}},
        {"ADeadJobWithoutItsPayload",
         [](StoreTools&, Batch& b) { b.erase(Table::buried, job_key({3})); },
         {"lost buried: job 3 is dead, and its payload is gone"}},
        {"AnEndInTheWrongTable",
         [](StoreTools&, Batch& b) { put_row(b, Table::dead, job_key({3}), end_row(JobState::completed, "mail")); },
         {"unlike dead: job 3 is there as completed"}},
        {"AKeyOfAJobThatIsNotUnended",
         [](StoreTools& t, Batch& b) {
             put_row(b, Table::keys, name_pair_key("q", "k"), KeyRow{{4}, {}, JobState::none});
             ++t.numbers.key_rows;
             t.put_numbers(b);
         },
         {"orphaned keys: a key names job 4"}},
        {"AKeyOfAJobWithAnother",
         [](StoreTools& t, Batch& b) {
             put_row(b, Table::keys, name_pair_key("q", "k"), KeyRow{{1}, {}, JobState::none});
             ++t.numbers.key_rows;
             t.put_numbers(b);
         },
         {"unlike keys: a key names job 1, which has another key"}},
        {"AKeyThatIsNotRemembered",
         [](StoreTools& t, Batch& b) {
             b.erase(Table::keys, name_pair_key("images", "mine"));
             --t.numbers.key_rows;
             t.put_numbers(b);
         },
         {"lost keys: job 1 has a key that is not remembered"}},
        {"AKeyThatNamesAnotherJob",
         [](StoreTools&, Batch& b) {
             put_row(b, Table::keys, name_pair_key("images", "mine"), KeyRow{{5}, {}, JobState::none});
         },
         {"unlike keys: the key of job 1 names job 5", "unlike keys: a key names job 5"}},
        {"AKeyThatSaysAnotherEnd",
         [](StoreTools&, Batch& b) {
             put_row(b, Table::keys, name_pair_key("images", "yours"), KeyRow{{2}, {}, JobState::cancelled});
         },
         {"unlike keys: the key of job 2 says cancelled, its record completed"}},
        {"AKeyThatIsNeverForgotten",
         [](StoreTools&, Batch& b) { b.erase(Table::key_ends, big_endian(7) + job_key({2})); },
         {"lost key_ends: the key of job 2"}},
        {"AnEndOfNoKey",
         [](StoreTools&, Batch& b) { b.put(Table::key_ends, big_endian(9) + job_key({3}), "q\0k"); },
         {"orphaned key_ends: a key of job 3"}},
        {"AnEndOfAnotherJobsKey",
         [](StoreTools&, Batch& b) {
             b.put(Table::key_ends, big_endian(9) + job_key({3}), name_pair_key("images", "yours"));
         },
         {"unlike key_ends: a key of job 3 is to be forgotten, but names job 2"}},
        {"WrongCounters",
         [](StoreTools& t, Batch& b) {
             t.numbers.done_rows = t.numbers.done_bytes = t.numbers.dead_rows = t.numbers.key_rows = 99;
             t.numbers.event_bytes = t.numbers.next_event = 99;
             t.put_numbers(b);
         },
         {"miscounted meta: done_rows is 99, counted are 1", "miscounted meta: done_bytes",
          "miscounted meta: dead_rows", "miscounted meta: key_rows", "miscounted meta: event_bytes",
          "miscounted meta: next_event"}},
        {"ANumberThatWillBeGivenAgain",
         [](StoreTools& t, Batch& b) {
             t.numbers.next_job = 5;
             t.numbers.next_instance = 1;
             t.put_numbers(b);
         },
         {"miscounted meta: next_job is 5, but live has job 5", "miscounted meta: next_instance",
          "miscounted meta: next_job is 5, but instances has job 5"}},
        {"AGapInTheEvents",
         [](StoreTools& t, Batch& b) {
             EventsRow events;
             events.epoch = 3;
             events.events = {{2, {2}, 1}};
             t.numbers.event_bytes += put_row(b, Table::events, big_endian(9), events).size;
             t.numbers.next_event = 10;
             t.put_numbers(b);
         },
         {"lost events: events 7 to before 9"}}};
    return kFaults;
}

INSTANTIATE_TEST_SUITE_P(OfEachKind, StoreFault, testing::ValuesIn(faults()),
                         [](const auto& fault) { return std::string(fault.param.name); });

TEST_F(StoreTools, ADamagedBlockIsFoundAndNoOtherJobIsTakenForOneOfIt) {
    Batch batch;
    for (std::uint64_t job = 6; job < 200; ++job) {
        numbers.done_bytes += put_row(batch, Table::done, job_key({job}), end_row(JobState::completed, "mail")).size;
        ++numbers.done_rows;
    }
    numbers.next_job = 200;
    EventsRow events;
    events.epoch = 3;
    events.events = {{1, {6}, 194}};
    numbers.event_bytes += put_row(batch, Table::events, big_endian(7), events).size;
    numbers.next_event += 194;
    numbers.submitted_total += 194;
    numbers.completed_total += 194;
    put_numbers(batch);
    plant(batch);
    ASSERT_THAT(findings(), testing::IsEmpty()) << "the test itself";

    // With it the records of 2 and of 6 and so on are damaged, not those of 3, which is dead, and of 5, which has not
    // ended.
    const auto [first, behind] = test::damage_block(data + "/store", job_key({2}));
    ASSERT_EQ(first, job_key({2}));
    const std::uint64_t gone = from_big_endian(behind) - 6;
    EXPECT_THAT(findings(),
                testing::ElementsAre(
                    testing::StartsWith("damaged done: the row of number 2 cannot be read, or the block of rows"),
                    testing::StartsWith("miscounted meta: done_rows is 195, counted are " + std::to_string(195 - gone)),
                    testing::StartsWith("miscounted meta: done_bytes"),
                    testing::StartsWith("lost live: " + std::to_string(gone) + " jobs of those from 1 to 199")));
    std::ostringstream out;
    const auto dumped = dump(data, out, kQuiet);
    ASSERT_FALSE(dumped);
    EXPECT_THAT(dumped.error().text, HasSubstr("table done cannot be read (number 2)"));
    ASSERT_TRUE(back_up(data, directory / "backup", kQuiet));
    EXPECT_THAT(findings(directory / "backup"),
                testing::Contains(testing::StartsWith("damaged done: the row of number 2")))
        << "a backup has what there is";
}

TEST_F(StoreTools, WhatOnlyTheLogHasCounts) {
    Batch batch;
    batch.move(Table::live, Table::buried, job_key({5}));
    put_row(batch, Table::dead, job_key({5}), end_row(JobState::dead, "mail"));
    numbers.dead_rows = 2;
    put_numbers(batch);
    append(batch);
    EXPECT_THAT(findings(), testing::IsEmpty());
    const auto verified = verify(data, kQuiet);
    ASSERT_TRUE(verified);
    EXPECT_EQ(verified->unended, 1U);
    EXPECT_EQ(verified->dead, 2U);
}

TEST_F(StoreTools, AStoreThatHasLookedAheadToWhatTheLogLacksIsRefused) {
    Batch one;
    append(one);
    Batch two;
    two.seq = 3;
    {
        auto store = Store::open({data + "/store"});
        ASSERT_TRUE(store);
        two.first_job = {6};
        ASSERT_TRUE((*store)->apply({&one}, {&two}));
    }
    const auto verified = verify(data, kQuiet);
    ASSERT_FALSE(verified);
    EXPECT_THAT(verified.error().text, HasSubstr("ends with batch 2 but had batch 3"));
}

TEST_F(StoreTools, AStoreWithoutItsLogIsRefused) {
    std::filesystem::remove(data + "/store/log.0");
    std::filesystem::remove(data + "/store/log.1");
    const auto verified = verify(data, kQuiet);
    ASSERT_FALSE(verified);
    EXPECT_THAT(verified.error().text, HasSubstr("the commit log (log.0 and log.1) is missing"));
}

TEST_F(StoreTools, AFileThatIsCutShortIsRefused) {
    std::filesystem::resize_file(data + "/store/data.mdb", 8192 * 2);
    const auto verified = verify(data, kQuiet);
    ASSERT_FALSE(verified);
    EXPECT_THAT(verified.error().text, HasSubstr("is cut short"));
}

TEST_F(StoreTools, WhatIsNoStoreIsRefused) {
    const auto verified = verify(directory.path(), kQuiet);
    ASSERT_FALSE(verified);
    EXPECT_THAT(verified.error().text, HasSubstr("there is no store in"));
}

// --- backup and restore ----------------------------------------------------------------------------------------------

TEST_F(StoreTools, ABackupHasWhatTheLogHas) {
    Batch batch;
    batch.erase(Table::live, job_key({5}));
    numbers.done_bytes += put_row(batch, Table::done, job_key({5}), end_row(JobState::cancelled, "mail")).size;
    numbers.done_rows = 2;
    put_numbers(batch);
    append(batch);
    std::uint64_t told = 0;
    const auto copied = back_up(data, directory / "backup", [&](std::uint64_t done, std::uint64_t all) {
        EXPECT_LE(done, all);
        told = done;
    });
    ASSERT_TRUE(copied) << copied.error().text;
    EXPECT_EQ(copied->last_batch, 2U);
    EXPECT_GT(told, 15U) << "progress goes to the last row";
    EXPECT_THAT(findings(directory / "backup"), testing::IsEmpty());
    const auto image = Image::open(directory / "backup");
    ASSERT_TRUE(image) << image.error().text;
    EXPECT_FALSE((*image)->get(Table::live, job_key({5})).value());
    EXPECT_TRUE((*image)->get(Table::done, job_key({5})).value());
    EXPECT_EQ((*image)->store_id().value(), uuid_from_bytes(std::string(16, 's')));
    EXPECT_FALSE(std::filesystem::exists(directory / "backup/store/lock.mdb")) << "a backup is read without a trace";
}

TEST_F(StoreTools, ARestoredStoreHasAnIdOfItsOwnAndNumbersNobodyHasGiven) {
    Batch batch;
    batch.put(Table::claims, job_key({1}), big_endian(17));
    put_row(batch, Table::workers, big_endian(1), WorkerRow{uuid_from_bytes(std::string(16, 'w')), "here"});
    numbers.next_worker = 2;
    put_numbers(batch);
    append(batch);
    ASSERT_TRUE(back_up(data, directory / "backup", kQuiet));
    const auto copied = restore(directory / "backup", directory / "again", kQuiet);
    ASSERT_TRUE(copied) << copied.error().text;
    EXPECT_THAT(findings(directory / "again"), testing::IsEmpty());
    const auto image = Image::open(directory / "again");
    ASSERT_TRUE(image) << image.error().text;
    EXPECT_NE((*image)->store_id().value(), uuid_from_bytes(std::string(16, 's')));
    EXPECT_FALSE((*image)->backup_at().value());
    EXPECT_EQ((*image)->numbers().value().next_job, 6 + (std::uint64_t{1} << 32));
    EXPECT_EQ((*image)->number(kMetaEpoch).value(), 3U + 1024);
    EXPECT_EQ((*image)->number(kMetaFloor).value() >> kTokenCounterBits, 3U + 1024);
    EXPECT_EQ((*image)->get(Table::meta, kMetaUnknownJobs).value(),
              big_endian(6) + big_endian(6 + (std::uint64_t{1} << 32)));
    EXPECT_TRUE((*image)->get(Table::live, job_key({1})).value()) << "jobs keep their numbers";
    for (const Table table : {Table::claims, Table::workers, Table::instances})
        EXPECT_EQ((*image)->view().size(table).rows, 0U) << to_string(table);
}

TEST_F(StoreTools, NothingIsOverwritten) {
    std::filesystem::create_directory(directory / "full");
    std::ofstream(directory / "full/file") << "mine";
    const auto copied = back_up(data, directory / "full", kQuiet);
    ASSERT_FALSE(copied);
    EXPECT_THAT(copied.error().text, HasSubstr("is not empty (file is in it)"));
    ASSERT_TRUE(back_up(data, directory / "backup", kQuiet));
    EXPECT_FALSE(restore(directory / "backup", data, kQuiet));
    EXPECT_FALSE(restore(data, directory / "again", kQuiet)) << "only a backup is restored";
}

TEST_F(StoreTools, ABackupOnAFullDiskLeavesNothing) {
    test::TemporaryDirectory disk;
    if (!disk.mount_disk(std::size_t{100} << 10)) GTEST_SKIP() << "cannot mount a disk: " << std::strerror(errno);
    Batch batch;
    for (std::uint64_t i = 0; i < 200; ++i)
        put_row(batch, Table::live, job_key({10 + i}), live_row("q", large.substr(0, 1'000)));
    plant(batch);
    const auto copied = back_up(data, disk / "backup", kQuiet);
    ASSERT_FALSE(copied);
    EXPECT_EQ(copied.error().code, Code::disk_full) << copied.error().text;
    EXPECT_TRUE(std::filesystem::is_empty(disk / "backup"));
}

// --- dump and load ---------------------------------------------------------------------------------------------------

std::string without_first_line(const std::string& text) { return text.substr(text.find('\n') + 1); }

TEST_F(StoreTools, WhatWasDumpedAndLoadedIsDumpedTheSame) {
    const std::string first = dumped(data);
    std::istringstream in(first);
    const auto loaded = load(in, directory / "loaded", kQuiet);
    ASSERT_TRUE(loaded) << loaded.error().text;
    EXPECT_EQ(*loaded, 7U) << "the store, four jobs, a key that a job does not say, the totals";
    EXPECT_THAT(findings(directory / "loaded"), testing::IsEmpty());
    EXPECT_EQ(without_first_line(dumped(directory / "loaded")), without_first_line(first));
    const auto image = Image::open(directory / "loaded");
    ASSERT_TRUE(image);
    EXPECT_NE((*image)->store_id().value(), uuid_from_bytes(std::string(16, 's')));
    EXPECT_EQ((*image)->number(kMetaEpoch).value(), 3U + 1024);
    EXPECT_EQ((*image)->numbers().value().next_job, 6 + (std::uint64_t{1} << 32));
}

TEST_F(StoreTools, ADumpOfRowsThatAreNoneSaysWhich) {
    const auto refused = [this](Table table, const std::string& key, const auto& row) {
        Batch batch;
        put_row(batch, table, key, row);
        plant(batch);
        std::ostringstream out;
        const auto dumped = dump(data, out, kQuiet);
        ASSERT_FALSE(dumped);
        EXPECT_THAT(dumped.error().text, HasSubstr(std::string("a row of table ") + to_string(table)));
    };
    refused(Table::done, job_key({2}), end_row(JobState::completed, "\xff"));  // no text
    refused(Table::done, "short", end_row(JobState::completed, "mail"));
}

/// As it was before jobs could be timed, held and moved, and keys be kept for another time than a day.
TEST_F(StoreTools, ADumpOfAnOlderVersionIsLoaded) {
    const std::string today = dumped(data);
    std::string older = today;
    const auto replace = [](std::string& text, const std::string& what, const std::string& by) {
        const std::size_t at = text.find(what);
        ASSERT_NE(at, std::string::npos) << what;
        text.replace(at, what.size(), by);
    };
    replace(older, R"(,"scheduled":false,"held":false,"priority":0,"queue":"","round_at":0,"ready_at":0)", "");
    replace(older, R"("forget_at":7)", R"("ended_at":7)");
    while (older.find(R"("key_ttl_ms":86400000,)") != std::string::npos)
        replace(older, R"("key_ttl_ms":86400000,)", "");
    std::istringstream in(older);
    const auto loaded = load(in, directory / "loaded", kQuiet);
    ASSERT_TRUE(loaded) << loaded.error().text;
    EXPECT_THAT(findings(directory / "loaded"), testing::IsEmpty());
    std::string expected = without_first_line(today);
    replace(expected, R"("forget_at":7)", R"("forget_at":86400007)");
    EXPECT_EQ(without_first_line(dumped(directory / "loaded")), expected);
}

/// And array 6 with a large payload: its job 7 unended, 8 dead, 9 dead and resubmitted as job 11 of array 10, purged.
struct StoreToolsWithArrays : StoreTools {
    ArrayRow counts;
    void SetUp() override {
        StoreTools::SetUp();
        Batch batch;
        batch.seq = seq;
        LiveRow array = live_row("images");
        array.payload_size = 3'000;
        array.chunks = 2;
        put_row(batch, Table::arrays, job_key({6}), array);
        batch.put(Table::chunks, job_part_key({6}, 0), large.substr(0, kRowBytes));
        batch.put(Table::chunks, job_part_key({6}, 1), large.substr(kRowBytes));
        counts.name = "seeds";
        counts.count = counts.made = 3;
        counts.makes = false;
        counts.dead = 2;
        counts.buried = counts.left_dead = 1;
        counts.resubmitted_as = {10};
        put_row(batch, Table::counts, job_key({6}), counts);
        LiveRow job = live_row("images");
        job.payload_size = 3'000;
        job.array = {6};
        job.owner = "greedy";
        put_row(batch, Table::live, job_key({7}), job);
        job.owner = {};
        job.array_index = 1;
        put_row(batch, Table::buried, job_key({8}), job);
        EndRow dead = end_row(JobState::dead, "images");
        dead.payload_size = 3'000;
        dead.array = {6};
        dead.array_index = 1;
        const Slice value = put_row(batch, Table::dead, job_key({8}), dead);
        put_row(batch, Table::leftovers, array_index_key({6}, 1), LeftoverRow{{8}, JobState::dead, value.size});
        dead.array_index = 2;
        numbers.done_bytes += put_row(batch, Table::done, job_key({9}), dead).size;
        put_row(batch, Table::arrays, job_key({10}), live_row("images", "small"));
        ArrayRow again;
        again.of = {6};
        again.makes = false;
        again.count = again.made = again.dead = again.left_dead = 1;
        again.ended_at = 9;
        put_row(batch, Table::counts, job_key({10}), again);
        put_row(batch, Table::leftovers, array_index_key({10}, 2), LeftoverRow{{11}, JobState::retired, 0});
        numbers.next_job = 12;
        ++numbers.done_rows;
        ++numbers.dead_rows;
        put_numbers(batch);
        batch.put(Table::meta, kMetaApplied, big_endian(seq));
        plant(batch);
    }
};

TEST_F(StoreToolsWithArrays, AWholeStoreHasNoFindings) { EXPECT_THAT(findings(), testing::IsEmpty()); }

TEST_F(StoreToolsWithArrays, WhatIsWrongIsFound) {
    Batch batch;
    batch.erase(Table::leftovers, array_index_key({6}, 1));
    batch.erase(Table::live, job_key({7}));
    batch.erase(Table::arrays, job_key({10}));
    batch.put(Table::meta, kMetaApplied, big_endian(seq));
    plant(batch);
    EXPECT_THAT(findings(),
                testing::ElementsAre(
                    testing::StartsWith("miscounted counts: 3 jobs of array 6 were made, of which 2 have ended and 0"),
                    testing::StartsWith("orphaned counts: a row of job 10"),
                    testing::StartsWith("miscounted leftovers: array 6")));
}

TEST_F(StoreToolsWithArrays, AJobWithoutItsArrayIsFound) {
    Batch batch;
    batch.erase(Table::arrays, job_key({6}));
    batch.put(Table::meta, kMetaApplied, big_endian(seq));
    plant(batch);
    EXPECT_THAT(findings(), testing::IsSupersetOf({testing::StartsWith("lost arrays: array 6, which has the payload of "
                                                                       "job 7"),
                                                   testing::StartsWith("orphaned chunks")}));
}

TEST_F(StoreToolsWithArrays, WhatWasDumpedAndLoadedIsDumpedTheSame) {
    const std::string first = dumped(data);
    EXPECT_THAT(first, HasSubstr("\"array_index\":\"1\""));
    EXPECT_THAT(first, HasSubstr("\"owner\":\"greedy\""));
    std::istringstream in(first);
    const auto loaded = load(in, directory / "loaded", kQuiet);
    ASSERT_TRUE(loaded) << loaded.error().text;
    EXPECT_THAT(findings(directory / "loaded"), testing::IsEmpty());
    EXPECT_EQ(without_first_line(dumped(directory / "loaded")), without_first_line(first));
}

TEST_F(StoreTools, ADumpIsOneObjectALine) {
    std::istringstream lines(dumped(data));
    std::map<std::string, nlohmann::json> jobs;
    for (std::string line; std::getline(lines, line);) {
        const auto object = nlohmann::json::parse(line, nullptr, false);
        ASSERT_TRUE(object.is_object()) << line;
        if (object["kind"] == "job") jobs[object["id"]] = object;
    }
    EXPECT_EQ(jobs["1"]["state"], "unended");
    EXPECT_EQ(jobs["1"]["payload_base64"], base64(large)) << "no text";
    EXPECT_EQ(jobs["1"]["past"]["errors"], 1);
    EXPECT_EQ(jobs["1"]["attempts"][0]["outcome"], "failed");
    EXPECT_EQ(jobs["2"]["result_base64"], base64(large));
    EXPECT_EQ(jobs["3"]["state"], "dead");
    EXPECT_EQ(jobs["3"]["payload"], "hello");
    EXPECT_EQ(jobs["3"]["edited_at"], 9);
    EXPECT_EQ(jobs["5"]["payload"], "a\nb");
}

TEST_F(StoreTools, LoadRefusesWhatIsNoWholeDumpNamingTheLine) {
    const std::string whole = dumped(data);
    const std::string head = whole.substr(0, whole.find('\n') + 1);
    expect_load_refused("", "line 0: the dump ends before its totals");
    expect_load_refused("nonsense\n", "line 1: no JSON");
    expect_load_refused("[]\n", "line 1: expected a JSON object");
    expect_load_refused(R"({"kind":"job"})", "line 1: a dump begins with");
    expect_load_refused(R"({"kind":"store","format":2,"epoch":1})", "this jobyard reads 1");
    expect_load_refused(whole.substr(0, whole.rfind("{\"kind\":\"totals\"")), "the dump ends before its totals");
    expect_load_refused(head + R"({"kind":"job","state":"unended","id":7})", "line 2: \"id\" must be a string");
    expect_load_refused(head + R"({"kind":"job","state":"gone","id":"7"})", "line 2: \"state\" is \"gone\"");
    expect_load_refused(head + R"({"kind":"wish"})", "line 2: the kind \"wish\" is not known");
    const std::string rest = without_first_line(whole);
    expect_load_refused(head + rest.substr(0, rest.find('\n') + 1) + rest, "job 1 is there twice");
}

TEST_F(StoreTools, LoadRefusesADirectoryThatIsNotEmpty) {
    std::istringstream in(dumped(data));
    const auto loaded = load(in, data, kQuiet);
    ASSERT_FALSE(loaded);
    EXPECT_THAT(loaded.error().text, HasSubstr("is not empty"));
}

TEST(Base64, GivesBackWhatItWasGiven) {
    for (const std::string bytes : {"", "a", "ab", "abc", "\xff\x00\x7f\x80z"})
        EXPECT_EQ(from_base64(base64(bytes)), bytes);
    EXPECT_EQ(base64("ab"), "YWI=");
    for (const char* wrong : {"a", "ab=c", "a*cd"}) EXPECT_FALSE(from_base64(wrong)) << wrong;
}

// --- info ------------------------------------------------------------------------------------------------------------

TEST_F(StoreTools, InfoTellsWhatThereIs) {
    Batch batch;
    batch.erase(Table::live, job_key({5}));
    append(batch);
    const auto text = info_json(data);
    ASSERT_TRUE(text) << text.error().text;
    const auto info = nlohmann::json::parse(*text);
    EXPECT_EQ(info["kind"], "data directory");
    EXPECT_EQ(info["format"], kFormatVersion);
    EXPECT_EQ(info["store"], to_hex(uuid_from_bytes(std::string(16, 's'))));
    EXPECT_EQ(info["epoch"], 3);
    EXPECT_EQ(info["next_job"], "6");
    EXPECT_EQ(info["applied_batch"], 1);
    EXPECT_EQ(info["last_batch"], 2);
    EXPECT_EQ(info["tables"]["live"]["rows"], 1);
    EXPECT_EQ(info["tables"]["keys"]["rows"], 2);
    EXPECT_EQ(info["held_by_process"], 0);
    EXPECT_GT(info["file_bytes"], 0);
    const auto lock = lock_file(data + "/lock");
    ASSERT_TRUE(lock);
    EXPECT_EQ(holder_of(data), ::getpid());
}

}  // namespace
}  // namespace jobyard::store
