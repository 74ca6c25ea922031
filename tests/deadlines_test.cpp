// Which job is due next.

#include "deadlines.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace jobyard::broker {
namespace {

struct DeadlinesTest : testing::Test {
    JobTable jobs;
    Deadlines deadlines{jobs};
    JobHandle add() { return jobs.add({jobs.handles() + 1}); }
};

TEST_F(DeadlinesTest, EarliestIsNext) {
    const JobHandle a = add();
    const JobHandle b = add();
    const JobHandle c = add();
    deadlines.set(a, 30);
    deadlines.set(b, 10);
    deadlines.set(c, 20);
    EXPECT_EQ(deadlines.next_job(), b);
    EXPECT_EQ(deadlines.next_at(), 10);
    deadlines.drop(b);
    EXPECT_EQ(deadlines.next_job(), c);
}

TEST_F(DeadlinesTest, DeadlineIsMovedInPlace) {
    const JobHandle a = add();
    const JobHandle b = add();
    deadlines.set(a, 10);
    deadlines.set(b, 20);
    deadlines.set(a, 30);
    EXPECT_EQ(deadlines.next_job(), b);
    EXPECT_EQ(deadlines.at(a), 30);
    deadlines.set(a, 5);
    EXPECT_EQ(deadlines.next_job(), a);
}

TEST_F(DeadlinesTest, DropOfAJobWithoutOneDoesNothing) {
    const JobHandle a = add();
    const JobHandle b = add();
    deadlines.set(b, 1);
    deadlines.drop(a);
    EXPECT_EQ(deadlines.next_job(), b);
    deadlines.drop(b);
    deadlines.drop(b);
    EXPECT_TRUE(deadlines.empty());
}

TEST_F(DeadlinesTest, AgreesWithASortedMapThroughRandomUse) {
    std::mt19937 rng(11);
    std::vector<JobHandle> handles;
    for (int i = 0; i < 500; ++i) handles.push_back(add());
    std::map<JobHandle, std::int64_t> truth;
    for (int i = 0; i < 100'000; ++i) {
        const JobHandle job = handles[rng() % handles.size()];
        if (rng() % 3 == 0) {
            deadlines.drop(job);
            truth.erase(job);
        } else {
            const auto at = static_cast<std::int64_t>(rng() % 1000) - 500;
            deadlines.set(job, at);
            truth[job] = at;
        }
        ASSERT_EQ(deadlines.empty(), truth.empty());
        if (truth.empty()) continue;
        std::int64_t earliest = INT64_MAX;
        if (i % 16 == 0)
            for (const auto& [handle, due] : truth) earliest = std::min(earliest, due);
        else earliest = deadlines.next_at();
        ASSERT_EQ(deadlines.next_at(), earliest);
        ASSERT_EQ(truth.at(deadlines.next_job()), earliest);
    }
    std::int64_t last = INT64_MIN;
    for (; !deadlines.empty(); truth.erase(deadlines.next_job()), deadlines.drop(deadlines.next_job())) {
        EXPECT_GE(deadlines.next_at(), last);
        last = deadlines.next_at();
        EXPECT_EQ(truth.at(deadlines.next_job()), last);
    }
    EXPECT_TRUE(truth.empty());
}

}  // namespace
}  // namespace jobyard::broker
