// The commit log: what was appended is found at the next start, whole, in order and not twice, whatever was on its way
// when the power went.

#include "commit_log.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <climits>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "record.hpp"
#include "temporary_directory.hpp"

namespace jobyard::broker {
namespace {

struct CommitLogTest : testing::Test {
    test::TemporaryDirectory directory;
    std::unique_ptr<CommitLog> log;

    void open(std::uint64_t max_bytes = kMaxLogBytes) {
        log.reset();
        auto opened = CommitLog::open(directory.path(), max_bytes);
        ASSERT_TRUE(opened) << opened.error().text;
        log = std::move(*opened);
    }
    void SetUp() override { open(); }

    static Batch batch(std::uint64_t seq, std::size_t value_bytes = 100) {
        Batch made;
        made.seq = seq;
        made.put(Table::live, big_endian(seq), std::string(value_bytes, static_cast<char>('a' + seq % 26)));
        made.erase(Table::done, big_endian(seq + 1));
        made.move(Table::live, Table::buried, big_endian(seq + 2));
        return made;
    }
    void append(std::uint64_t first, std::uint64_t last, std::size_t value_bytes = 100) {
        for (std::uint64_t seq = first; seq <= last; ++seq) {
            const auto done = log->append(batch(seq, value_bytes));
            ASSERT_TRUE(done) << done.error().text;
        }
    }
    /// The numbers that a start finds; each batch must be as it was.
    std::vector<std::uint64_t> found(std::uint64_t applied = 0, std::size_t value_bytes = 100) {
        open();
        std::vector<std::uint64_t> numbers;
        const auto done = log->replay(applied, [&](const Batch& got) -> Result<void> {
            const Batch expected = batch(got.seq, value_bytes);
            EXPECT_EQ(got.ops().size(), expected.ops().size());
            for (std::size_t i = 0; i < got.ops().size(); ++i) {
                EXPECT_EQ(got.ops()[i].kind, expected.ops()[i].kind);
                EXPECT_EQ(got.ops()[i].table, expected.ops()[i].table);
                EXPECT_EQ(got.ops()[i].to, expected.ops()[i].to);
                EXPECT_EQ(got.key(got.ops()[i]), expected.key(expected.ops()[i]));
                EXPECT_EQ(got.value(got.ops()[i]), expected.value(expected.ops()[i]));
            }
            numbers.push_back(got.seq);
            return {};
        });
        EXPECT_TRUE(done) << done.error().text;
        return numbers;
    }
    static std::vector<std::uint64_t> numbers(std::uint64_t first, std::uint64_t last) {
        std::vector<std::uint64_t> all;
        for (std::uint64_t seq = first; seq <= last; ++seq) all.push_back(seq);
        return all;
    }
    [[nodiscard]] std::string bytes_of(int file) const {
        std::ifstream in(directory / ("log." + std::to_string(file)), std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    void write(int file, const std::string& bytes) const {
        std::ofstream(directory / ("log." + std::to_string(file)), std::ios::binary | std::ios::trunc) << bytes;
    }
};

TEST_F(CommitLogTest, WritesABatchOfMorePiecesThanOneWriteTakes) {
    constexpr std::size_t kPieces = 1'500;
    const auto large = std::make_shared<const std::string>(3'000, 'x');
    Batch made;
    made.seq = 1;
    for (std::size_t i = 0; i < kPieces; ++i) {
        const Slice key = made.append(big_endian(i));
        made.put(Table::chunks, key, made.keep({std::string_view(*large).substr(i), large}));
    }
    ASSERT_GT(made.pieces().size(), std::size_t{IOV_MAX});
    ASSERT_TRUE(log->append(made));
    open();
    std::size_t rows = 0;
    const auto done = log->replay(0, [&](const Batch& got) -> Result<void> {
        for (const Op& op : got.ops()) {
            EXPECT_EQ(got.key(op), big_endian(rows));
            EXPECT_EQ(got.value(op), std::string_view(*large).substr(rows++));
        }
        return {};
    });
    EXPECT_TRUE(done) << done.error().text;
    EXPECT_EQ(rows, kPieces);
}

TEST_F(CommitLogTest, WhatWasAppendedIsFoundInOrder) {
    EXPECT_TRUE(found().empty());
    append(1, 20);
    EXPECT_EQ(found(), numbers(1, 20));
    EXPECT_EQ(found(7), numbers(8, 20)) << "the store had 7";
    EXPECT_TRUE(found(20).empty());
    EXPECT_TRUE(found(25).empty()) << "a store that is ahead has them all";
}

TEST_F(CommitLogTest, ARestoredBatchKnowsWhatItTouches) {
    append(5, 5);
    open();
    ASSERT_TRUE(log->replay(4, [](const Batch& got) -> Result<void> {
        EXPECT_TRUE(got.may_touch(Table::live, big_endian(5), big_endian(5)));
        EXPECT_FALSE(got.may_touch(Table::live, big_endian(8), big_endian(9)));
        EXPECT_TRUE(got.may_touch(Table::buried, big_endian(7), big_endian(7)));
        EXPECT_FALSE(got.may_touch(Table::dead, big_endian(0), big_endian(99)));
        return {};
    }));
}

TEST_F(CommitLogTest, SpaceIsUsedAgainOnceTheStoreHasWhatWasThere) {
    std::uint64_t seq = 0;
    for (int round = 0; round < 40; ++round) {
        append(seq + 1, seq + 20, 20'000);
        seq += 20;
        log->set_applied(seq - 5);
    }
    EXPECT_LE(bytes_of(0).size() + bytes_of(1).size(), std::size_t{8} << 20) << "16 MB went through it";
    EXPECT_EQ(found(seq - 5, 20'000), numbers(seq - 4, seq));
}

TEST_F(CommitLogTest, GrowsInsteadOfWaitingForTheStore) {
    std::atomic<int> asked{0};
    log->on_full([&] { ++asked; });
    append(1, 500, 20'000);  // 10 MB, and the store has none of it
    EXPECT_EQ(asked, 0);
    EXPECT_EQ(found(0, 20'000), numbers(1, 500));
}

/// Appends more than fits, on a thread of its own, until it asks for room; then lets it have some.
void fill(CommitLog& log, const std::function<Batch(std::uint64_t)>& batch, std::uint64_t count) {
    std::atomic<int> asked{0};
    std::atomic<std::uint64_t> appended{0};
    std::atomic<bool> ended{false};
    log.on_full([&] { ++asked; });
    std::thread writer([&] {
        for (std::uint64_t seq = 1; seq <= count; ++seq) {
            const auto done = log.append(batch(seq));
            EXPECT_TRUE(done) << done.error().text;
            if (!done) break;
            appended = seq;
        }
        ended = true;
    });
    while (asked == 0 && !ended) std::this_thread::yield();
    EXPECT_GT(asked, 0);
    EXPECT_LT(appended, count);
    while (!ended) {
        log.set_applied(appended);
        std::this_thread::yield();
    }
    writer.join();
}

TEST_F(CommitLogTest, WaitsForTheStoreWhenItMayNotGrow) {
    constexpr std::uint64_t kMost = std::uint64_t{4} << 20;
    open(kMost);
    fill(
        *log, [](std::uint64_t seq) { return batch(seq, 20'000); }, 600);  // 12 MB through 8
    EXPECT_LE(std::filesystem::file_size(directory / "log.0"), kMost);
    EXPECT_LE(std::filesystem::file_size(directory / "log.1"), kMost);
    EXPECT_EQ(found(599, 20'000), numbers(600, 600));
}

TEST_F(CommitLogTest, WaitsForTheStoreWhenTheDiskIsNearlyFull) {
    log.reset();
    if (!directory.mount_disk(std::size_t{8} << 20)) GTEST_SKIP() << "cannot mount a disk: " << std::strerror(errno);
    open();
    fill(
        *log, [](std::uint64_t seq) { return batch(seq, 20'000); }, 600);
    EXPECT_EQ(std::filesystem::file_size(directory / "log.0"), std::uint64_t{2} << 20) << "the rest is for the store";
    EXPECT_EQ(found(599, 20'000), numbers(600, 600));
}

TEST_F(CommitLogTest, GivesUpWaitingWhenTheStoreHasFailed) {
    open(std::uint64_t{4} << 20);
    Result<void> last;
    std::thread giver;
    log->on_full([&] { giver = std::thread([&] { log->give_up(); }); });
    for (std::uint64_t seq = 1; last && seq <= 1000; ++seq) last = log->append(batch(seq, 20'000));
    ASSERT_TRUE(giver.joinable()) << "it never asked for room";
    giver.join();
    ASSERT_FALSE(last);
    EXPECT_EQ(last.error().code, Code::internal);
}

TEST_F(CommitLogTest, AStoreOlderThanItsLogIsNoted) {
    append(5, 9);
    open();
    const auto done = log->replay(2, [](const Batch&) -> Result<void> { return {}; });
    ASSERT_FALSE(done);
    EXPECT_NE(done.error().text.find("begins with batch 5"), std::string::npos) << done.error().text;
}

TEST_F(CommitLogTest, DamageBeforeWhatIsGoodIsNoEnd) {
    append(1, 5);
    log.reset();
    std::string bytes = bytes_of(0);
    bytes[2 * 4096 + 60] ^= 1;  // the third of five
    write(0, bytes);
    open();
    const auto done = log->replay(0, [](Batch&&) -> Result<void> { return {}; });
    ASSERT_FALSE(done);
    EXPECT_NE(done.error().text.find("damaged at batch 3"), std::string::npos) << done.error().text;
}

TEST_F(CommitLogTest, AnotherStoresLogIsRefused) {
    Uuid other;
    other.bytes[0] = 1;
    log->belongs_to(other, 5);
    append(1, 5);
    open();
    const auto done = log->replay(0, [](Batch&&) -> Result<void> { return {}; });
    ASSERT_FALSE(done);
    EXPECT_NE(done.error().text.find("another store's"), std::string::npos) << done.error().text;
}

TEST_F(CommitLogTest, WhatAnEarlierStartWroteIsNotRead) {
    append(1, 9);
    open();
    log->belongs_to({}, 7);
    append(10, 12);  // over 1 to 3; 4 to 9 stand behind them
    open();
    std::vector<std::uint64_t> numbers;
    log->belongs_to({}, 7);
    ASSERT_TRUE(log->replay(9, [&](Batch&& got) -> Result<void> {
        numbers.push_back(got.seq);
        return {};
    }));
    EXPECT_EQ(numbers, (std::vector<std::uint64_t>{10, 11, 12}));
    open();
    log->belongs_to({}, 8);
    ASSERT_TRUE(log->replay(9, [&](Batch&&) -> Result<void> {
        ADD_FAILURE() << "of another start";
        return {};
    }));
}

TEST_F(CommitLogTest, KnowsThatItIsNew) {
    log.reset();
    std::filesystem::remove(directory / "log.1");
    open();
    EXPECT_TRUE(log->is_new());
    open();
    EXPECT_FALSE(log->is_new());
}

TEST_F(CommitLogTest, WhatTheStoreCannotTakeIsHandedOn) {
    append(1, 3);
    open();
    int given = 0;
    const auto done = log->replay(0, [&](const Batch&) -> Result<void> {
        if (++given == 2) return Error{Code::disk_full, "full"};
        return {};
    });
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Code::disk_full);
    EXPECT_EQ(given, 2);
}

/// A power loss while the last record is written: each of its sectors may be new or as it was in an earlier turn. All
/// before it is found, and it itself only if it is whole.
TEST_F(CommitLogTest, ARecordThatWasCutShortIsNotFoundAndCostsNoneBeforeIt) {
    constexpr std::size_t kSector = 512;
    std::mt19937 rng(11);
    for (int round = 0; round < 6; ++round) {
        for (const int file : {0, 1}) std::filesystem::remove(directory / ("log." + std::to_string(file)));
        open();
        const bool grows = round % 2 == 1;
        for (std::uint64_t seq = 1; seq <= 500; ++seq) {  // twice through both files, or once through one that grows
            append(seq, seq, 9'000);
            if (!grows) log->set_applied(seq);
        }
        const std::uint64_t last = 500 + rng() % 60;
        append(501, last, 9'000);
        const std::string before[] = {bytes_of(0), bytes_of(1)};
        append(last + 1, last + 1, 9'000);
        const std::string after[] = {bytes_of(0), bytes_of(1)};
        bool whole = true;
        for (const int file : {0, 1}) {
            std::string torn = before[file];
            torn.resize(after[file].size());
            ASSERT_EQ(file == 1 && grows, torn.size() > (std::size_t{2} << 20));
            for (std::size_t at = 0; at < torn.size(); at += kSector) {
                if (torn.compare(at, kSector, after[file], at, kSector) == 0) continue;
                if (rng() % 8 != 0) torn.replace(at, kSector, after[file], at, kSector);
                else whole = false;
            }
            write(file, torn);
        }
        ASSERT_EQ(found(500, 9'000), numbers(501, whole ? last + 1 : last)) << "round " << round;
        if (grows) {
            ASSERT_EQ(found(0, 9'000), numbers(1, whole ? last + 1 : last)) << "round " << round;
        }
    }
}

}  // namespace
}  // namespace jobyard::broker
