#include "committer.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include "temporary_directory.hpp"

namespace jobyard::broker {
namespace {

bool readable(int fd, int timeout_ms) {
    pollfd item{fd, POLLIN, 0};
    return ::poll(&item, 1, timeout_ms) == 1;
}

struct CommitterTest : testing::Test {
    test::TemporaryDirectory directory;
    std::unique_ptr<CommitLog> log;

    void open() {
        log.reset();
        auto opened = CommitLog::open(directory.path());
        ASSERT_TRUE(opened) << opened.error().text;
        log = std::move(*opened);
    }
    static Batch batch(std::uint64_t seq) {
        Batch made;
        made.seq = seq;
        made.put(Table::live, big_endian(seq), "value");
        return made;
    }
    /// The number of the last batch that a start would find.
    std::uint64_t last_on_disk() {
        open();
        std::uint64_t last = 0;
        EXPECT_TRUE(log->replay(0, [&](const Batch& found) -> Result<void> {
            last = found.seq;
            return {};
        }));
        return last;
    }
};

TEST_F(CommitterTest, SaysWhenABatchIsDurable) {
    open();
    {
        Committer committer(*log);
        EXPECT_TRUE(committer.idle());
        EXPECT_FALSE(committer.take());
        for (std::uint64_t seq = 1; seq <= 50; ++seq) {
            const Batch made = batch(seq);
            committer.start(made);
            EXPECT_FALSE(committer.idle());
            ASSERT_TRUE(readable(committer.fd(), 10'000));
            EXPECT_FALSE(committer.idle()) << "until it has been taken";
            const auto taken = committer.take();
            ASSERT_TRUE(taken && *taken);
            EXPECT_EQ(**taken, seq);
            EXPECT_TRUE(committer.idle());
            EXPECT_FALSE(readable(committer.fd(), 0));
        }
        EXPECT_EQ(committer.wakeups(), 50U);
    }
    EXPECT_EQ(last_on_disk(), 50U);
}

TEST_F(CommitterTest, IsBusyUntilThereWasSomethingToTake) {
    open();
    Batch made = batch(1);
    made.put(Table::chunks, "large", std::string(std::size_t{16} << 20, 'x'));
    Committer committer(*log);
    committer.start(made);
    while (!committer.idle()) {
        const bool taken = committer.take().has_value();
        ASSERT_EQ(committer.idle(), taken);
    }
}

TEST_F(CommitterTest, FinishesTheBatchInFlightWhenItStops) {
    open();
    const Batch made = batch(1);
    {
        Committer committer(*log);
        committer.start(made);
    }
    EXPECT_EQ(last_on_disk(), 1U);
}

TEST_F(CommitterTest, HandsOnWhyACommitFailed) {
    if (!directory.mount_disk(std::size_t{5} << 20)) GTEST_SKIP() << "cannot mount a disk: " << std::strerror(errno);
    open();
    Batch made = batch(1);
    made.put(Table::chunks, "large", std::string(std::size_t{8} << 20, 'x'));
    Committer committer(*log);
    committer.start(made);
    ASSERT_TRUE(readable(committer.fd(), 10'000));
    const auto taken = committer.take();
    ASSERT_TRUE(taken && !*taken);
    EXPECT_EQ(taken->error().code, Code::disk_full);
}

}  // namespace
}  // namespace jobyard::broker
