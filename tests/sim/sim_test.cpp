// The promises under simulated faults: 200 seeds, the same each time. A seed that fails is to be read with
// `jobyard-simulate --verbose SEED`.

#include <gtest/gtest.h>

#include <optional>

#include "cluster.hpp"

namespace jobyard::sim {
namespace {

constexpr std::uint64_t kSeedsPerTest = 20;
constexpr std::uint64_t kTests = 10;

std::string story_of(const RunOptions& options) {
    std::string text;
    for (const std::string& line : last_of_story(options, 40)) text += line + "\n";
    return text;
}

class Simulation : public testing::TestWithParam<std::uint64_t> {
 protected:
    static void SetUpTestSuite() { name_seed_on_abort(); }
};

TEST_P(Simulation, KeepsEveryPromise) {
    Totals totals;
    for (std::uint64_t seed = GetParam(); seed < GetParam() + kSeedsPerTest; ++seed) {
        const RunOptions options{.seed = seed};
        const Report report = run(options);
        ASSERT_FALSE(report.broken) << "seed " << seed << ": " << report.broken->rule << ": " << report.broken->how
                                    << "\n"
                                    << story_of(options);
        totals.add(report.totals);
    }
    // A simulator in which nothing happens finds nothing.
    EXPECT_GT(totals.completed, 1000U);
    EXPECT_GT(totals.dead, 0U);
    EXPECT_GT(totals.cancelled, 0U);
    EXPECT_GT(totals.redriven, 0U);
    EXPECT_GT(totals.run_twice, 0U);
    EXPECT_GT(totals.stale_ends, 0U);
    EXPECT_GT(totals.claims_kept, 0U);
    EXPECT_GT(totals.arrays, 0U);
    EXPECT_GT(totals.resubmitted, 0U);
}
INSTANTIATE_TEST_SUITE_P(Seeds, Simulation,
                         testing::Range<std::uint64_t>(1, 1 + kSeedsPerTest * kTests, kSeedsPerTest));

TEST(SimulationItself, SameSeedGivesTheSameRun) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        const Report first = run({.seed = seed});
        const Report again = run({.seed = seed});
        EXPECT_EQ(first.hash, again.hash) << "seed " << seed;
        EXPECT_EQ(first.events, again.events) << "seed " << seed;
        EXPECT_GT(first.events, 1000U) << "seed " << seed;
        EXPECT_NE(first.hash, run({.seed = seed + 1000}).hash);
    }
}

/// How many seeds it takes, from 1 on, until a promise is broken.
std::optional<std::uint64_t> seeds_to_find(broker::PlantedBug bug, const std::string& promise, std::uint64_t most) {
    for (std::uint64_t seed = 1; seed <= most; ++seed) {
        const Report report = run({.seed = seed, .bug = bug});
        if (report.broken && report.broken->rule.starts_with(promise)) return seed;
    }
    return std::nullopt;
}

TEST(SimulationItself, FindsAnAnswerThatLeavesBeforeItsCommitWithin3Seeds) {
    EXPECT_TRUE(seeds_to_find(broker::PlantedBug::answer_before_commit, "P1", 3));
}

TEST(SimulationItself, FindsATokenUsedAgainAfterARestartWithin10Seeds) {
    EXPECT_TRUE(seeds_to_find(broker::PlantedBug::token_reuse_after_restart, "P3", 10));
}

}  // namespace
}  // namespace jobyard::sim
