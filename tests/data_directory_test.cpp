#include "data_directory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "store.hpp"
#include "temporary_directory.hpp"

namespace jobyard::broker {
namespace {

constexpr std::uint64_t kSmallBallast = std::uint64_t{256} << 10;

struct DataDirectoryTest : testing::Test {
    test::TemporaryDirectory temporary;
    std::string path = temporary / "data";

    std::unique_ptr<DataDirectory> open() {
        auto opened = DataDirectory::open(path, kSmallBallast);
        EXPECT_TRUE(opened) << opened.error().text;
        return opened ? std::move(*opened) : nullptr;
    }
    [[nodiscard]] bool has_ballast() const { return std::filesystem::exists(path + "/ballast"); }
};

TEST_F(DataDirectoryTest, IsMadeForItsOwnerOnly) {
    const auto directory = open();
    struct stat info {};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0700U);
}

TEST_F(DataDirectoryTest, ASecondBrokerIsRefusedNamingTheFirstAndTheDirectory) {
    const auto first = open();
    const auto second = DataDirectory::open(path, kSmallBallast);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::busy);
    EXPECT_NE(second.error().text.find(path), std::string::npos) << second.error().text;
    EXPECT_NE(second.error().text.find("process " + std::to_string(::getpid())), std::string::npos);
}

TEST_F(DataDirectoryTest, IsFreeAgainWhenTheFirstBrokerIsGone) {
    open().reset();
    EXPECT_NE(open(), nullptr);
}

TEST_F(DataDirectoryTest, AMissingParentIsAnError) {
    const auto opened = DataDirectory::open(temporary / "not/there", kSmallBallast);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Code::internal);
}

TEST_F(DataDirectoryTest, BallastTakesItsSpaceAndGivesItBack) {
    const auto directory = open();
    struct stat info {};
    ASSERT_EQ(::stat((path + "/ballast").c_str(), &info), 0);
    EXPECT_GE(static_cast<std::uint64_t>(info.st_blocks) * 512, kSmallBallast) << "it must not be sparse";
    EXPECT_TRUE(directory->drop_ballast());
    EXPECT_FALSE(has_ballast());
    EXPECT_FALSE(directory->drop_ballast());
    EXPECT_TRUE(directory->ensure_ballast());
    EXPECT_TRUE(has_ballast());
}

TEST_F(DataDirectoryTest, TheBallastIsMadeOnlyWhereSpaceIsAmple) {
    if (!temporary.mount_disk(3 * kSmallBallast)) GTEST_SKIP() << "cannot mount a disk: " << std::strerror(errno);
    const auto directory = open();
    EXPECT_FALSE(has_ballast());
    EXPECT_FALSE(directory->ensure_ballast());
}

TEST_F(DataDirectoryTest, OnAFullDiskTheBallastOpensTheStore) {
    constexpr std::size_t kDisk = std::size_t{4} << 20;
    if (!temporary.mount_disk(kDisk)) GTEST_SKIP() << "cannot mount a disk: " << std::strerror(errno);
    const auto directory = open();
    ASSERT_TRUE(has_ballast());
    {
        const Fd hog(::open((temporary / "hog").c_str(), O_WRONLY | O_CREAT, 0600));
        ASSERT_EQ(::posix_fallocate(hog.get(), 0, static_cast<off_t>(directory->free_bytes())), 0);
    }
    ASSERT_EQ(directory->free_bytes(), 0U);

    const auto refused = Store::open({directory->store_path()});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::disk_full) << refused.error().text;

    ASSERT_TRUE(directory->drop_ballast());
    {
        const auto opened = Store::open({directory->store_path()});
        ASSERT_TRUE(opened) << opened.error().text;
        Batch batch;
        batch.put(Table::meta, "epoch", "1");
        EXPECT_TRUE((*opened)->apply(batch));
    }
    EXPECT_FALSE(directory->ensure_ballast()) << "the store needs what little there is";
    ASSERT_EQ(::unlink((temporary / "hog").c_str()), 0);
    EXPECT_TRUE(directory->ensure_ballast());
}

TEST_F(DataDirectoryTest, AMemoryFileSystemIsWarnedOf) {
    if (!temporary.mount_disk(std::size_t{1} << 20)) GTEST_SKIP() << "cannot mount a disk: " << std::strerror(errno);
    EXPECT_NE(open()->warning().find("memory"), std::string::npos);
}

}  // namespace
}  // namespace jobyard::broker
