// The store is brought up in the background, and what is read meanwhile is not older than what was promised.

#include "applier.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <deque>
#include <memory>
#include <vector>

#include "record.hpp"
#include "temporary_directory.hpp"

namespace jobyard::broker {
namespace {

bool readable(int fd) {
    pollfd item{fd, POLLIN, 0};
    return ::poll(&item, 1, 30'000) == 1;
}

struct ApplierTest : testing::Test {
    test::TemporaryDirectory directory;
    std::unique_ptr<Store> store;
    std::unique_ptr<CommitLog> log;
    std::deque<Batch> batches;

    void open() {
        auto opened = Store::open({directory / "store", std::uint64_t{1} << 30});
        ASSERT_TRUE(opened) << opened.error().text;
        store = std::move(*opened);
        auto opened_log = CommitLog::open(directory / "store", std::uint64_t{4} << 20);
        ASSERT_TRUE(opened_log) << opened_log.error().text;
        log = std::move(*opened_log);
    }
    Batch& next_batch() {
        Batch& batch = batches.emplace_back();
        batch.seq = batches.size();
        batch.first_job = {batches.size()};
        batch.put(Table::meta, kMetaApplied, big_endian(batch.seq));
        return batch;
    }
    std::uint64_t in_store() {
        const auto applied = store->get(Table::meta, kMetaApplied);
        EXPECT_TRUE(applied && *applied);
        return from_big_endian(**applied);
    }
};

TEST_F(ApplierTest, BringsTheStoreUpByItself) {
    open();
    Applier applier(*store, *log, 0, {});
    for (std::uint64_t seq = 1; seq <= 3; ++seq) {
        applier.add(next_batch());
        EXPECT_GT(applier.waiting_bytes(), 0U);
        while (applier.applied().value() < seq) ASSERT_TRUE(readable(applier.fd()));
        EXPECT_EQ(in_store(), seq);
        EXPECT_EQ(applier.waiting_bytes(), 0U);
    }
}

TEST_F(ApplierTest, TheStoreHasWhatItSaysAndAllOfItInTheEnd) {
    open();
    Applier applier(*store, *log, 0, {});
    for (std::uint64_t job = 1; job <= 200; ++job) {
        Batch& batch = next_batch();
        batch.put(Table::live, big_endian(job), "job");
        ASSERT_TRUE(log->append(batch));
        applier.add(batch);
        const auto applied = applier.applied();
        ASSERT_TRUE(applied);
        ASSERT_GE(store->read({})->applied_seq, *applied);
    }
    EXPECT_GT(applier.waiting_bytes(), 0U);
    ASSERT_TRUE(applier.finish());
    EXPECT_EQ(*applier.applied(), 200U);
    EXPECT_EQ(applier.waiting_bytes(), 0U);
    EXPECT_EQ(in_store(), 200U);
    EXPECT_LT(store->counters().transactions, 100U) << "many batches in one transaction";
}

/// Each batch ends a window, and the job of the one before: whichever of them are applied together, the next is known.
TEST_F(ApplierTest, AJobThatEndsInTheNextWindowIsNotWritten) {
    open();
    Applier applier(*store, *log, 0, {std::chrono::hours(1), 1'000});
    std::uint64_t job = 0;
    while (applier.applied().value() == 0 || job < 10) {
        Batch& batch = next_batch();
        if (job > 0) batch.erase(Table::live, big_endian(job));
        batch.put(Table::live, big_endian(++job), std::string(1'000, 'x'));
        applier.add(batch);
    }
    const auto seen = store->read({{Need::Kind::row, Table::meta, std::string(kMetaRelied)}});
    ASSERT_TRUE(seen && !seen->rows.front().empty());
    EXPECT_GT(from_big_endian((*seen->rows.front().begin()).value), seen->applied_seq);
    ASSERT_TRUE(applier.finish());
    EXPECT_EQ(store->counters().erases, 0U);
    EXPECT_TRUE(store->get(Table::live, big_endian(job)).value());
}

/// So that no commit waits for long behind what a disk has to write of one.
TEST_F(ApplierTest, WhileCommitsAreSmallATransactionTakesAPartOfAWindow) {
    open();
    Applier applier(*store, *log, 0, {std::chrono::milliseconds(1), std::size_t{24} << 20});
    for (std::uint64_t job = 1; job <= 100; ++job) {
        Batch& batch = next_batch();
        batch.put(Table::chunks, big_endian(job), std::string(100'000, 'x'));  // 10 MB in all
        applier.add(batch);
    }
    while (applier.applied().value() < 100) ASSERT_TRUE(readable(applier.fd()));
    EXPECT_GE(store->counters().transactions, 9U);
}

TEST_F(ApplierTest, ABatchThatIsLargerThanTwoWindowsIsApplied) {
    open();
    Applier applier(*store, *log, 0, {std::chrono::hours(1), 1'000});
    Batch& batch = next_batch();
    batch.put(Table::chunks, big_endian(1), std::string(5'000, 'x'));
    applier.add(batch);
    while (applier.applied().value() < 1) ASSERT_TRUE(readable(applier.fd()));
    EXPECT_EQ(in_store(), 1U);
}

TEST_F(ApplierTest, AFullLogMakesItHurry) {
    open();
    Applier applier(*store, *log, 0, {});
    for (std::uint64_t n = 1; n <= 600; ++n) {
        Batch& batch = next_batch();
        batch.put(Table::chunks, big_endian(n), std::string(20'000, 'x'));
        ASSERT_TRUE(log->append(batch));  // 12 MB through two files of 4 MiB: it waits, and does not wait for ever
        applier.add(batch);
    }
    ASSERT_TRUE(applier.finish());
    EXPECT_EQ(in_store(), 600U);
}

TEST_F(ApplierTest, AFailureOfTheStoreIsTold) {
    if (!directory.mount_disk(std::size_t{8} << 20)) GTEST_SKIP() << "cannot mount a disk: " << std::strerror(errno);
    open();
    Applier applier(*store, *log, 0, {});
    Batch& batch = next_batch();
    for (std::uint64_t job = 1; job <= 8'000; ++job) batch.put(Table::live, big_endian(job), std::string(1'000, 'x'));
    applier.add(batch);
    while (applier.applied()) ASSERT_TRUE(readable(applier.fd()));
    EXPECT_EQ(applier.applied().error().code, Code::disk_full);
}

}  // namespace
}  // namespace jobyard::broker
