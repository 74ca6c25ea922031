// The commit log: what was appended is found at the next start, whole, in order and not twice, whatever was on its way
// when the power went.

#include "commit_log.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
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

TEST_F(CommitLogTest, WritesABatchOfManyPieces) {
    constexpr std::size_t kPieces = 1'500;
    const auto large = std::make_shared<const std::string>(3'000, 'x');
    Batch made;
    made.seq = 1;
    for (std::size_t i = 0; i < kPieces; ++i) {
        const Slice key = made.append(big_endian(i));
        made.put(Table::chunks, key, made.keep({std::string_view(*large).substr(i), large}));
    }
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

/// Of a page, of less than a block, of exactly some blocks and around that: with the header and the operation each has
/// 108 bytes beside its value and key.
const std::vector<std::size_t> kSizes = [] {
    std::vector<std::size_t> sizes{1, 200'000};
    for (const std::size_t border : {std::size_t{256} << 10, std::size_t{1} << 20, std::size_t{2} << 20})
        for (const std::size_t less : {8'000U, 4'000U, 109U, 108U, 107U, 0U}) sizes.push_back(border - less);
    sizes.push_back(std::size_t{5} << 20);
    return sizes;
}();

Batch batch_of(std::size_t i) {
    std::string value(kSizes[i], '\0');
    for (std::size_t at = 0; at < value.size(); ++at) value[at] = static_cast<char>(at / 16 * 7 + i);
    Batch made;
    made.seq = i + 1;
    const auto kept = std::make_shared<const std::string>(std::move(value));
    const Slice key = made.append(big_endian(i));
    made.put(Table::chunks, key, made.keep({*kept, kept}));
    return made;
}

void append_all_sizes(CommitLog& log) {
    for (std::size_t i = 0; i < kSizes.size(); ++i) {
        const auto done = log.append(batch_of(i));
        ASSERT_TRUE(done) << kSizes[i] << " bytes: " << done.error().text;
    }
}

/// How many of them are there as they were.
std::size_t count_all_sizes(CommitLog& log) {
    std::size_t i = 0;
    const auto done = log.replay(0, [&](const Batch& got) -> Result<void> {
        const Batch expected = batch_of(i);
        EXPECT_EQ(got.ops().size(), 1U);
        EXPECT_TRUE(got.value(got.ops()[0]) == expected.value(expected.ops()[0])) << kSizes[i] << " bytes";
        ++i;
        return {};
    });
    EXPECT_TRUE(done) << done.error().text;
    return i;
}

TEST_F(CommitLogTest, ABatchOfAnySizeIsFoundWhole) {
    append_all_sizes(*log);
    open();
    EXPECT_EQ(count_all_sizes(*log), kSizes.size());
}

/// From now on this thread, and no other, is refused the call with EINVAL if that argument has one of the bits, or (of
/// a descriptor) if it is the one.
bool refuse_if_bits(unsigned call, unsigned argument, unsigned bits, bool equal = false) {
    const auto offset = static_cast<unsigned>(offsetof(seccomp_data, args) + argument * sizeof(std::uint64_t));
    std::array<sock_filter, 6> program{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset),
        sock_filter BPF_JUMP(static_cast<std::uint16_t>(BPF_JMP | (equal ? BPF_JEQ : BPF_JSET) | BPF_K), bits, 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
}

TEST_F(CommitLogTest, AFileSystemWithoutDirectWritesWillDo) {
    log.reset();
    bool refused = false;
    std::thread([&] {
        refused = refuse_if_bits(SYS_openat, 2, O_DIRECT);
        if (!refused) return;
        EXPECT_LT(::open((directory / "log.0").c_str(), O_RDWR | O_DIRECT | O_CLOEXEC), 0);
        open();
        append_all_sizes(*log);
    }).join();
    if (!refused) GTEST_SKIP() << "cannot refuse a system call: " << std::strerror(errno);
    open();
    EXPECT_EQ(count_all_sizes(*log), kSizes.size());
}

TEST_F(CommitLogTest, AFileSystemThatTakesTheFlagButNotTheWriteWillDo) {
    std::vector<unsigned> direct;  // descriptors of the log
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        const int fd = std::stoi(entry.path().filename());
        if (!std::filesystem::read_symlink(entry.path(), gone).string().starts_with(directory.path())) continue;
        if ((::fcntl(fd, F_GETFL) & O_DIRECT) != 0) direct.push_back(static_cast<unsigned>(fd));
    }
    if (direct.empty()) GTEST_SKIP() << "the file system here has no direct writes";
    bool refused = false;
    std::thread([&] {
        refused = std::all_of(direct.begin(), direct.end(),
                              [](unsigned fd) { return refuse_if_bits(SYS_pwrite64, 0, fd, true); });
        if (refused) append_all_sizes(*log);
    }).join();
    if (!refused) GTEST_SKIP() << "cannot refuse a system call: " << std::strerror(errno);
    open();
    EXPECT_EQ(count_all_sizes(*log), kSizes.size());
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

/// The same of one that is written in several blocks, over others of an earlier turn.
TEST_F(CommitLogTest, ALargeRecordThatWasCutShortIsNotFoundAndCostsNoneBeforeIt) {
    constexpr std::size_t kBytes = 3'000'000;
    constexpr std::size_t kTorn = std::size_t{64} << 10;
    std::mt19937 rng(12);
    for (int round = 0; round < 4; ++round) {
        for (const int file : {0, 1}) std::filesystem::remove(directory / ("log." + std::to_string(file)));
        open();
        const std::uint64_t last = 12 + rng() % 3;
        for (std::uint64_t seq = 1; seq <= last; ++seq) {
            append(seq, seq, kBytes);
            log->set_applied(seq - 1);
        }
        const std::string before[] = {bytes_of(0), bytes_of(1)};
        append(last + 1, last + 1, kBytes);
        const std::string after[] = {bytes_of(0), bytes_of(1)};
        bool whole = true;
        for (const int file : {0, 1}) {
            std::string torn = before[file];
            torn.resize(after[file].size());
            for (std::size_t at = 0; at < torn.size(); at += kTorn) {
                if (torn.compare(at, kTorn, after[file], at, kTorn) == 0) continue;
                if (rng() % 32 != 0) torn.replace(at, kTorn, after[file], at, kTorn);
                else whole = false;
            }
            write(file, torn);
        }
        ASSERT_EQ(found(last - 1, kBytes), numbers(last, whole ? last + 1 : last)) << "round " << round;
    }
}

}  // namespace
}  // namespace jobyard::broker
