#include "store.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <deque>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "record.hpp"
#include "store_view.hpp"
#include "temporary_directory.hpp"

namespace jobyard::broker {
namespace {

using Rows = std::map<std::string, std::string>;

struct StoreTest : testing::Test {
    test::TemporaryDirectory directory;
    std::unique_ptr<Store> store;
    std::uint64_t seq = 0;

    void open(std::uint64_t map_bytes = std::uint64_t{1} << 30) {
        store.reset();  // LMDB must not have a file open twice
        auto opened = Store::open({directory / "store", map_bytes});
        ASSERT_TRUE(opened) << opened.error().text;
        store = std::move(*opened);
    }
    void SetUp() override { open(); }

    /// As the core does: numbered, and with its number among its rows.
    void number(Batch& batch) {
        batch.seq = ++seq;
        batch.put(Table::meta, kMetaApplied, big_endian(seq));
    }
    void apply(Batch& batch) {
        number(batch);
        const auto applied = store->apply(batch);
        ASSERT_TRUE(applied) << applied.error().text;
    }
    void put(Table table, std::string_view key, std::string_view value) {
        Batch batch;
        batch.put(table, key, value);
        apply(batch);
    }
    Rows rows(Table table) {
        Rows found;
        EXPECT_TRUE(
            store->for_each(table, [&](std::string_view key, std::string_view value) { found.emplace(key, value); }));
        return found;
    }
    RowList read(const Need& need) {
        auto snapshot = store->read({need});
        EXPECT_TRUE(snapshot);
        return snapshot ? snapshot->rows.at(0) : RowList{};
    }
};

std::vector<std::string> keys_of(const RowList& rows) {
    std::vector<std::string> keys;
    for (const RowView row : rows) keys.emplace_back(row.key);
    return keys;
}

using Keys = std::vector<std::string>;

TEST_F(StoreTest, RowsOfEveryTableAreThereAfterReopening) {
    Batch batch;
    for (std::size_t i = 0; i < kTables; ++i) batch.put(static_cast<Table>(i), "key", "value " + std::to_string(i));
    apply(batch);
    open();
    for (std::size_t i = 0; i < kTables; ++i) {
        const auto value = store->get(static_cast<Table>(i), "key");
        ASSERT_TRUE(value);
        EXPECT_EQ(*value, "value " + std::to_string(i)) << to_string(static_cast<Table>(i));
    }
}

TEST_F(StoreTest, AnAppliedBatchSurvivesAKilledProcess) {
    store.reset();
    const pid_t child = ::fork();
    if (child == 0) {
        auto opened = Store::open({directory / "store", std::uint64_t{1} << 30});
        Batch batch;
        batch.put(Table::live, "job", "payload");
        if (opened && (*opened)->apply(batch)) ::raise(SIGKILL);
        ::_exit(1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    open();
    EXPECT_EQ(rows(Table::live), (Rows{{"job", "payload"}}));
}

TEST_F(StoreTest, ABatchAppliedAgainGivesTheSameRows) {
    put(Table::live, "a", "of before");
    Batch batch;
    batch.put(Table::live, "b", "1");
    batch.move(Table::live, Table::buried, "a");
    batch.put(Table::done, "b", "2");
    batch.erase(Table::live, "b");
    apply(batch);
    const auto dump = [this] {
        std::vector<Rows> all;
        for (std::size_t i = 0; i < kTables; ++i) all.push_back(rows(static_cast<Table>(i)));
        return all;
    };
    const auto once = dump();
    ASSERT_TRUE(store->apply(batch));
    EXPECT_EQ(dump(), once);
}

TEST_F(StoreTest, OperationsApplyInTheOrderOfTheBatch) {
    Batch batch;
    batch.put(Table::live, "a", "1");
    batch.erase(Table::live, "a");
    batch.put(Table::live, "b", "1");
    batch.put(Table::live, "b", "2");
    batch.erase(Table::live, "never there");
    batch.put(Table::live, "c", "1");
    batch.move(Table::live, Table::buried, "c");
    batch.put(Table::live, "c", "2");
    apply(batch);
    EXPECT_EQ(rows(Table::live), (Rows{{"b", "2"}, {"c", "2"}}));
    EXPECT_EQ(rows(Table::buried), (Rows{{"c", "1"}}));
}

TEST_F(StoreTest, WhoeverWritesIsAskedBetweenOperationsAndReadersSeeNothingUntilTheEnd) {
    Batch batch;
    for (std::uint64_t job = 1; job <= 100; ++job) batch.put(Table::live, big_endian(job), "job");
    number(batch);
    int asked = 0;
    ASSERT_TRUE(store->apply({&batch}, {}, [&] {
        ++asked;
        EXPECT_TRUE(rows(Table::live).empty());
    }));
    EXPECT_GE(asked, 5);
    EXPECT_LE(asked, 50) << "each time costs a look at the clock";
    EXPECT_EQ(rows(Table::live).size(), 100U);
}

TEST_F(StoreTest, AMovedRowIsOnlyInItsNewTable) {
    const std::string large(100'000, 'x');
    put(Table::live, "small", "value");
    put(Table::live, "large", large);
    put(Table::buried, "small", "of before");
    Batch batch;
    batch.move(Table::live, Table::buried, "small");
    batch.move(Table::live, Table::buried, "large");
    batch.move(Table::live, Table::buried, "absent");
    apply(batch);
    EXPECT_EQ(rows(Table::live), Rows{});
    EXPECT_EQ(rows(Table::buried), (Rows{{"small", "value"}, {"large", large}}));
}

TEST_F(StoreTest, KeysMayComeInAnyOrder) {
    Rows expected;
    const auto put_number = [&](std::uint64_t number) {
        put(Table::live, big_endian(number), std::to_string(number));
        expected[big_endian(number)] = std::to_string(number);
    };
    for (const std::uint64_t number : {5, 9, 3, 9, 7}) put_number(number);
    Batch batch;  // the greatest goes, and smaller ones than it come
    batch.erase(Table::live, big_endian(9));
    expected.erase(big_endian(9));
    apply(batch);
    put_number(8);
    open();
    for (const std::uint64_t number : {4, 8, 10, 1}) put_number(number);
    EXPECT_EQ(rows(Table::live), expected);
}

TEST_F(StoreTest, RowsInKeyOrderFillTheirPages) {
    Batch batch;
    constexpr std::uint64_t kRows = 2000;
    constexpr std::size_t kBytes = kRowBytes - 8;  // two fit a page
    const auto before = store->counters().used_bytes;
    for (std::uint64_t i = 0; i < kRows; ++i) batch.put(Table::live, big_endian(i), std::string(kBytes, 'x'));
    apply(batch);
    // Pages that are split when full would stay half empty.
    EXPECT_LT(store->counters().used_bytes - before, kRows * (kBytes + 16) * 115 / 100);
}

TEST_F(StoreTest, ANeedOfARowFindsThatRowOnly) {
    put(Table::done, "aa", "1");
    EXPECT_EQ(keys_of(read({Need::Kind::row, Table::done, "aa"})), Keys{"aa"});
    EXPECT_EQ(keys_of(read({Need::Kind::row, Table::done, "a"})), Keys{});
    EXPECT_EQ(keys_of(read({Need::Kind::row, Table::live, "aa"})), Keys{});
}

TEST_F(StoreTest, ManyNeedsOfRowsAreEachFoundInWhateverOrder) {
    std::mt19937 rng(3);
    Batch batch;
    for (const Table table : {Table::live, Table::done, Table::chunks})
        for (std::uint64_t n = 100; n < (table == Table::chunks ? 120 : 30'000); n += 3)
            batch.put(table, big_endian(n), std::to_string(n));
    apply(batch);
    std::vector<Need> needs;
    for (int i = 0; i < 3'000; ++i) {
        const Table table = std::array{Table::live, Table::done, Table::chunks, Table::dead}[rng() % 4];
        // Beside the one before, or anywhere; before the first and behind the last too.
        const std::uint64_t n = i > 0 && rng() % 2 == 0 ? from_big_endian(needs.back().key) + 1 : rng() % 31'000;
        needs.push_back({Need::Kind::row, table, big_endian(n)});
    }
    const auto snapshot = store->read(needs);
    ASSERT_TRUE(snapshot);
    for (std::size_t i = 0; i < needs.size(); ++i) {
        const std::uint64_t n = from_big_endian(needs[i].key);
        const std::uint64_t end = needs[i].table == Table::dead ? 0 : needs[i].table == Table::chunks ? 120 : 30'000;
        const bool is_there = n >= 100 && n < end && n % 3 == 1;
        ASSERT_EQ(snapshot->rows[i].size(), is_there ? 1U : 0U) << to_string(needs[i].table) << ' ' << n;
        if (is_there) {
            ASSERT_EQ((*snapshot->rows[i].begin()).value, std::to_string(n));
        }
    }
}

TEST_F(StoreTest, ANeedOfAPrefixFindsAllItsRowsInOrder) {
    Batch batch;
    for (const char* key : {"a", "ba", "bb", "b", "c"}) batch.put(Table::chunks, key, "");
    apply(batch);
    EXPECT_EQ(keys_of(read({Need::Kind::prefix, Table::chunks, "b"})), (Keys{"b", "ba", "bb"}));
    EXPECT_EQ(keys_of(read({Need::Kind::prefix, Table::chunks, "c"})), Keys{"c"});
    EXPECT_EQ(keys_of(read({Need::Kind::prefix, Table::chunks, "d"})), Keys{});
    EXPECT_EQ(keys_of(read({Need::Kind::prefix, Table::chunks, "b", 1})).size(), 3U) << "a prefix has no limit";
}

TEST_F(StoreTest, ANeedOfWhatComesAfterFindsUpToItsLimit) {
    Batch batch;
    for (const char* key : {"a", "b", "c", "d"}) batch.put(Table::done, key, "");
    apply(batch);
    EXPECT_EQ(keys_of(read({Need::Kind::after, Table::done, "", 2})), (Keys{"a", "b"}));
    EXPECT_EQ(keys_of(read({Need::Kind::after, Table::done, "b", 9})), (Keys{"c", "d"}));
    EXPECT_EQ(keys_of(read({Need::Kind::after, Table::done, "bb", 1})), Keys{"c"});
    EXPECT_EQ(keys_of(read({Need::Kind::after, Table::done, "d", 9})), Keys{});
    EXPECT_EQ(keys_of(read({Need::Kind::from, Table::done, "b", 2})), (Keys{"b", "c"}));
    EXPECT_EQ(keys_of(read({Need::Kind::from, Table::done, "bb", 2})), (Keys{"b", "c"}));
    EXPECT_EQ(keys_of(read({Need::Kind::from, Table::done, "z", 9})), Keys{"d"});
    EXPECT_EQ(keys_of(read({Need::Kind::from, Table::done, "A", 9})), (Keys{"a", "b", "c", "d"}))
        << "all are behind it";
    EXPECT_EQ(keys_of(read({Need::Kind::from, Table::dead, "a", 9})), Keys{});
}

TEST_F(StoreTest, ASnapshotSaysWhichBatchItSaw) {
    EXPECT_EQ(store->read({})->applied_seq, 0U);
    put(Table::live, "a", "");
    put(Table::live, "b", "");
    EXPECT_EQ(store->read({})->applied_seq, 2U);
}

TEST_F(StoreTest, AReaderSeesWholeBatchesWhileTheMapGrows) {
    open(std::uint64_t{256} << 10);
    std::atomic<bool> stop{false};
    std::atomic<int> reads{0};
    std::string wrong;
    std::thread reader([&] {
        while (!stop) {
            const auto snapshot =
                store->read({{Need::Kind::row, Table::live, "a"}, {Need::Kind::row, Table::done, "a"}});
            const auto text = [&](std::size_t i) {
                return snapshot->rows[i].empty() ? std::string() : std::string((*snapshot->rows[i].begin()).value);
            };
            if (!snapshot) wrong = snapshot.error().text;
            else if (text(0) != text(1) ||
                     (snapshot->applied_seq != 0 && text(0) != std::to_string(snapshot->applied_seq)))
                wrong = "batch " + std::to_string(snapshot->applied_seq) + " has " + text(0) + " and " + text(1);
            ++reads;
        }
    });
    for (std::uint64_t i = 1; i <= 200 || reads < 200; ++i) {
        Batch batch;
        batch.put(Table::live, "a", std::to_string(i));
        batch.put(Table::chunks, big_endian(i), std::string(20'000, 'x'));
        batch.put(Table::done, "a", std::to_string(i));
        apply(batch);
    }
    stop = true;
    reader.join();
    EXPECT_EQ(wrong, "");
    EXPECT_GE(store->counters().growths, 3U);
    EXPECT_EQ(rows(Table::chunks).size(), seq);
}

TEST_F(StoreTest, ABatchLargerThanTheMapIsAppliedWholeAfterGrowth) {
    open(std::uint64_t{256} << 10);
    Batch batch;
    for (std::uint64_t i = 0; i < 2000; ++i) batch.put(Table::live, big_endian(i), std::string(1000, 'x'));
    apply(batch);
    EXPECT_GE(store->counters().growths, 3U);
    EXPECT_EQ(store->counters().transactions, 1U);
    EXPECT_EQ(rows(Table::live).size(), 2000U);
}

TEST_F(StoreTest, TheMapGrowsBeforeItIsFull) {
    open(std::uint64_t{1} << 20);
    for (std::uint64_t i = 0; i < 1000; ++i) {
        put(Table::live, big_endian(i), std::string(1000, 'x'));
        const auto counters = store->counters();
        ASSERT_LE(counters.used_bytes, counters.map_bytes / 100 * 85);
    }
    EXPECT_GE(store->counters().growths, 1U);
}

TEST_F(StoreTest, AStoreLargerThanTheConfiguredMapOpens) {
    Batch batch;
    for (std::uint64_t i = 0; i < 2000; ++i) batch.put(Table::live, big_endian(i), std::string(1000, 'x'));
    apply(batch);
    open(std::uint64_t{256} << 10);
    EXPECT_EQ(rows(Table::live).size(), 2000U);
    put(Table::live, big_endian(2000), "one more");
}

void expect_format_refused(int format, const std::string& what_to_do) {
    const test::TemporaryDirectory directory;
    {
        auto store = Store::open({directory.path()});
        ASSERT_TRUE(store) << store.error().text;
        Batch batch;
        batch.put(Table::meta, kMetaFormat, std::to_string(format));
        ASSERT_TRUE((*store)->apply(batch));
    }
    for (int attempt = 0; attempt < 2; ++attempt) {
        const auto opened = Store::open({directory.path()});
        ASSERT_FALSE(opened);
        const auto viewed = StoreView::open(directory.path(), StoreView::Sharing::with_broker);
        ASSERT_FALSE(viewed);
        EXPECT_EQ(viewed.error().text, opened.error().text) << "the tools say the same";
        for (const std::string& part :
             {"has format " + std::to_string(format), "reads format " + std::to_string(kFormatVersion), what_to_do})
            EXPECT_NE(opened.error().text.find(part), std::string::npos) << opened.error().text;
    }
}

TEST_F(StoreTest, AnOlderFormatIsRefusedSayingWhatToDo) {
    expect_format_refused(kFormatVersion - 1, "let the older one finish its jobs");
}

TEST_F(StoreTest, ANewerFormatIsRefusedSayingWhatToDo) {
    expect_format_refused(kFormatVersion + 1, "install that version again");
}

TEST_F(StoreTest, FilesAreForTheirOwnerOnly) {
    for (const char* name : {"store/data.mdb", "store/lock.mdb", "store"}) {
        struct stat info {};
        ASSERT_EQ(::stat((directory / name).c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 077U, 0U) << name;
    }
}

TEST_F(StoreTest, WhatIsNotAStoreIsRefused) {
    store.reset();
    std::ofstream(directory / "store/data.mdb", std::ios::trunc) << std::string(8192, 'x');
    const auto opened = Store::open({directory / "store"});
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Code::internal);
}

TEST_F(StoreTest, WhatAPowerLossLeavesOfTheFirstTwoPagesIsMadeAnew) {
    const std::string path = directory / "store/data.mdb";
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    store.reset();
    std::string whole(2 * page, '\0');
    std::ifstream(path, std::ios::binary).read(whole.data(), static_cast<std::streamsize>(whole.size()));
    for (const bool has_first : {false, true}) {
        for (const bool has_second : {false, true}) {
            for (const std::size_t size : {std::size_t{512}, page, page + 512, 2 * page}) {
                std::string left(size, '\0');
                if (has_first) left.replace(0, 512, whole.substr(0, 512));
                if (has_second && size > page) left.replace(page, 512, whole.substr(page, 512));
                std::ofstream(path, std::ios::binary | std::ios::trunc) << left;
                ASSERT_NO_FATAL_FAILURE(open()) << size << has_first << has_second;
                EXPECT_TRUE(rows(Table::live).empty());
                store.reset();
            }
        }
    }
}

TEST_F(StoreTest, CountersAddUp) {
    Batch batch;
    batch.put(Table::live, "a", "12345");
    batch.put(Table::live, "b", "123");
    batch.erase(Table::live, "a");
    batch.move(Table::live, Table::buried, "b");
    apply(batch);  // puts its number too, and how far the store has looked ahead
    const StoreCounters counters = store->counters();
    EXPECT_EQ(counters.transactions, 1U);
    EXPECT_EQ(counters.puts, 4U);
    EXPECT_EQ(counters.erases, 1U);
    EXPECT_EQ(counters.moves, 1U);
    EXPECT_EQ(counters.value_bytes, 5U + 3U + 2 * 8U);
    EXPECT_GT(counters.apply_us, 0U);
    EXPECT_EQ(counters.apply_us_max, counters.apply_us);
    EXPECT_GT(counters.used_bytes, 0U);
}

TEST_F(StoreTest, OfAJobThatCameAndWentInARunOfBatchesOnlyTheEndIsWritten) {
    Batch submit;
    submit.put(Table::live, big_endian(7), "job");
    submit.put(Table::live, big_endian(8), "stays");
    for (const std::uint64_t job : {7U, 8U}) submit.put(Table::chunks, big_endian(job) + big_endian(0), "slice");
    number(submit);
    Batch end;
    end.put(Table::done, big_endian(7), "ended");
    end.erase(Table::live, big_endian(7));
    end.erase(Table::chunks, big_endian(7) + big_endian(0));
    number(end);
    const std::uint64_t puts = store->counters().puts;
    ASSERT_TRUE(store->apply({&submit, &end}));
    EXPECT_EQ(rows(Table::live), (Rows{{big_endian(8), "stays"}}));
    EXPECT_EQ(rows(Table::chunks), (Rows{{big_endian(8) + big_endian(0), "slice"}}));
    EXPECT_EQ(rows(Table::done), (Rows{{big_endian(7), "ended"}}));
    EXPECT_EQ(store->counters().puts - puts, 6U)
        << "the end, the other job and its slice, the two numbers, and how far it has looked";
    EXPECT_EQ(store->counters().erases, 0U);
}

TEST_F(StoreTest, OfAJobThatEndsInABatchAheadOnlyTheEndIsWritten) {
    Batch submit;
    submit.first_job = {7};
    for (const std::uint64_t job : {7U, 8U}) {
        submit.put(Table::live, big_endian(job), "job");
        submit.put(Table::chunks, big_endian(job) + big_endian(0), "slice");
    }
    number(submit);
    const auto end = [this](std::uint64_t job) {
        Batch batch;
        batch.first_job = {9};
        batch.put(Table::done, big_endian(job), "ended");
        batch.erase(Table::live, big_endian(job));
        batch.erase(Table::chunks, big_endian(job) + big_endian(0));
        number(batch);
        return batch;
    };
    const Batch first = end(7);
    const Batch second = end(8);
    const StoreCounters before = store->counters();
    ASSERT_TRUE(store->apply({&submit}, {&first}));
    EXPECT_EQ(rows(Table::live), (Rows{{big_endian(8), "job"}})) << "that it will end is not known yet";
    EXPECT_EQ(rows(Table::chunks), (Rows{{big_endian(8) + big_endian(0), "slice"}}));
    ASSERT_TRUE(store->apply({&first}, {&second}));
    EXPECT_EQ(store->counters().erases, before.erases) << "what was never put";
    ASSERT_TRUE(store->apply({&second}));
    EXPECT_TRUE(rows(Table::live).empty());
    EXPECT_TRUE(rows(Table::chunks).empty());
    EXPECT_EQ(rows(Table::done), (Rows{{big_endian(7), "ended"}, {big_endian(8), "ended"}}));
}

/// What is known of a job is known until the batch that ends it has been applied, however many transactions later.
TEST_F(StoreTest, OfAJobWhoseEndIsFarAheadOnlyTheEndIsWritten) {
    constexpr std::uint64_t kJobs = 6;
    std::vector<Batch> batches(kJobs + 1);  // one puts a job each, the last ends the first job
    for (std::uint64_t i = 0; i <= kJobs; ++i) {
        batches[i].first_job = {i + 1};
        if (i < kJobs) {
            batches[i].put(Table::live, big_endian(i + 1), "job");
        } else {
            batches[i].put(Table::done, big_endian(1), "ended");
            batches[i].erase(Table::live, big_endian(1));
        }
        number(batches[i]);
    }
    const StoreCounters before = store->counters();
    for (std::size_t i = 0; i <= kJobs; ++i) {
        std::vector<const Batch*> ahead;
        for (std::size_t later = i + 1; later <= kJobs; ++later) ahead.push_back(&batches[later]);
        ASSERT_TRUE(store->apply({&batches[i]}, ahead));
    }
    EXPECT_EQ(store->counters().erases, before.erases) << "what was never put";
    EXPECT_EQ(rows(Table::live).size(), kJobs - 1);
    EXPECT_EQ(rows(Table::done), (Rows{{big_endian(1), "ended"}}));
}

/// It was in the store before: as a dead one, with the slices of its payload.
TEST_F(StoreTest, AJobThatCameBackAndWentInARunOfBatchesLeavesNothing) {
    const std::string slice = big_endian(7) + big_endian(0);
    Batch died;
    died.put(Table::buried, big_endian(7), "job");
    died.put(Table::chunks, slice, "slice");
    apply(died);
    open();  // and forget what was appended last
    Batch redriven;
    redriven.erase(Table::buried, big_endian(7));
    redriven.put(Table::live, big_endian(7), "job");
    number(redriven);
    Batch cancelled;
    cancelled.erase(Table::live, big_endian(7));
    cancelled.erase(Table::chunks, slice);
    number(cancelled);
    ASSERT_TRUE(store->apply({&redriven, &cancelled}));
    EXPECT_TRUE(rows(Table::live).empty());
    EXPECT_TRUE(rows(Table::chunks).empty());
}

/// Whatever is left out makes no difference once all that was ahead is applied: two stores, one given them one by one.
TEST_F(StoreTest, ARunOfBatchesIsTheSameAsOneAfterTheOther) {
    std::mt19937 rng(5);
    auto other = Store::open({directory / "other", std::uint64_t{1} << 30});
    ASSERT_TRUE(other);
    std::uint64_t next = 1;
    std::deque<std::vector<Batch>> kept;
    std::vector<const Batch*> waiting;
    for (int round = 0; round < 120; ++round) {
        std::vector<Batch>& batches = kept.emplace_back(rng() % 5 + 1);
        std::vector<const Batch*> run;
        for (Batch& batch : batches) {
            batch.first_job = {next};
            for (std::uint32_t n = rng() % 30; n > 0; --n) {
                const std::string fresh = big_endian(next);
                const std::string known = big_endian(next - std::min<std::uint64_t>(next - 1, rng() % 20));
                const std::string value = std::to_string(rng());
                switch (rng() % 9) {
                    case 0:
                    case 1:
                    case 2:
                        batch.put(Table::live, fresh, value);
                        batch.put(Table::chunks, fresh + big_endian(0), value);
                        ++next;
                        break;
                    case 3:  // the slices of a payload go when their row goes
                        batch.erase(Table::live, known);
                        batch.erase(Table::chunks, known + big_endian(0));
                        break;
                    case 4:  // as a redrive may
                        batch.erase(Table::buried, known);
                        batch.put(Table::live, known, value);
                        break;
                    case 5: batch.move(Table::live, Table::buried, known); break;
                    case 6: batch.move(Table::buried, Table::live, known); break;
                    case 7: batch.put(Table::done, known, value); break;
                    default: batch.erase(rng() % 2 == 0 ? Table::buried : Table::done, known);
                }
            }
            number(batch);
            run.push_back(&batch);
        }
        for (const Batch* batch : run) ASSERT_TRUE((*other)->apply(*batch));
        if (rng() % 3 > 0) {
            if (!waiting.empty()) {
                ASSERT_TRUE(store->apply(waiting, run));
            }
            waiting = run;
            continue;
        }
        waiting.insert(waiting.end(), run.begin(), run.end());
        ASSERT_TRUE(store->apply(std::exchange(waiting, {})));
        for (const Table table : {Table::live, Table::buried, Table::done, Table::chunks}) {
            Rows expected;
            ASSERT_TRUE((*other)->for_each(
                table, [&](std::string_view key, std::string_view value) { expected.emplace(key, value); }));
            ASSERT_EQ(rows(table), expected) << to_string(table) << ", round " << round;
        }
    }
}

TEST_F(StoreTest, OnAFullDiskABatchIsRefusedWholeAndErasesStillWork) {
    store.reset();
    if (!directory.mount_disk(std::size_t{4} << 20)) GTEST_SKIP() << "cannot mount a disk: " << std::strerror(errno);
    open();
    for (std::uint64_t i = 0; i < 500; ++i) put(Table::live, big_endian(i), std::string(1000, 'x'));
    Batch batch;
    for (std::uint64_t i = 500; i < 8000; ++i) batch.put(Table::live, big_endian(i), std::string(1000, 'x'));
    const auto applied = store->apply(batch);
    ASSERT_FALSE(applied);
    EXPECT_EQ(applied.error().code, Code::disk_full) << applied.error().text;
    open();
    EXPECT_EQ(rows(Table::live).size(), 500U);
    Batch erases;
    for (std::uint64_t i = 0; i < 500; ++i) erases.erase(Table::live, big_endian(i));
    apply(erases);
    EXPECT_EQ(rows(Table::live).size(), 0U);
}

}  // namespace
}  // namespace jobyard::broker
