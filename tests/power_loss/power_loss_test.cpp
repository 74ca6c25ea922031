// The power fails at every point of a recorded run of a real broker. tests/power_loss/disk.hpp says what is left then.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <thread>

#include "../temporary_directory.hpp"
#include "disk.hpp"
#include "replay.hpp"
#include "run.hpp"

namespace jobyard::power_loss {
namespace {

// A look at what is left has one thread, in which there is nothing to find for ThreadSanitizer; and it maps files,
// hundreds of times, which takes that one a second each. The run of the broker is under it.
#ifdef __SANITIZE_THREAD__
constexpr const char* kNoLooks =
    "hundreds of looks with one thread take ThreadSanitizer many minutes, and tell it nothing";
#else
constexpr const char* kNoLooks = nullptr;
#endif

struct RecordedRun {
    RecordedRun() {
        std::filesystem::create_directory(root);
        record_run(root, trace, 1);
    }
    [[nodiscard]] Replayed lose(ReplayOptions options = {}) const {
        options.processes = std::max(1U, std::thread::hardware_concurrency());
        return replay(root, trace, options);
    }
    test::TemporaryDirectory files;
    std::string root = files / "run";
    std::string trace = files / "trace";
};

TEST(PowerLoss, AtNoPointLosesWhatWasToldOrLeavesAStoreThatCannotBeOpened) {
    const RecordedRun run;
    if (kNoLooks != nullptr) GTEST_SKIP() << kNoLooks;
    const Replayed replayed = run.lose({.seeds = 2});
    EXPECT_EQ(replayed.wrong, 0U) << replayed.first_wrong;
    EXPECT_GE(replayed.checked, replayed.points);
    EXPECT_GT(replayed.points, 150U);
    EXPECT_GT(replayed.store_bytes, 1U << 20U) << "the map did not have to grow";
    EXPECT_GT(replayed.retired, 0U) << "retention had nothing to do";
    EXPECT_GT(replayed.jobs, 50U);
    std::cout << replayed.checked << " power losses at " << replayed.points << " points, " << replayed.writes
              << " writes, " << replayed.syncs << " syncs, " << replayed.jobs << " jobs, " << replayed.facts
              << " things told\n";
}

/// What is believed to be durable and is not must be found out.
struct Ignored {
    const char* test;
    const char* name;
    bool at_first;
};

class PowerLossItself : public testing::TestWithParam<Ignored> {};

TEST_P(PowerLossItself, FindsThatASyncDoesNotHappen) {
    if (kNoLooks != nullptr) GTEST_SKIP() << kNoLooks;
    const RecordedRun run;
    const Replayed replayed =
        run.lose({.seeds = 3, .ignored = GetParam().name, .ignored_at_first = GetParam().at_first});
    EXPECT_GT(replayed.wrong, 0U) << "nobody noticed";
    std::cout << replayed.first_wrong << "\n";
}

INSTANTIATE_TEST_SUITE_P(Of, PowerLossItself,
                         testing::Values(Ignored{"TheLogInTheMaking", "log.0", true},
                                         Ignored{"TheLogWhenAJobIsAnswered", "log.0", false},
                                         Ignored{"TheStoreInTheMaking", "data.mdb", true},
                                         Ignored{"TheStoreBehindTheLog", "data.mdb", false},
                                         Ignored{"TheDirectoryOfTheStore", "store", true},
                                         Ignored{"TheDataDirectory", "data", true}),
                         [](const auto& ignored) { return ignored.param.test; });

}  // namespace
}  // namespace jobyard::power_loss
