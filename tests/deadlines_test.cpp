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

TEST_F(DeadlinesTest, ManyOfEitherKindAreDueInOrder) {
    std::mt19937 rng(11);
    std::vector<JobHandle> handles;
    for (int i = 0; i < 12'000; ++i) handles.push_back(add());
    std::map<JobHandle, std::int64_t> truth;
    std::int64_t now = 0;
    for (int i = 0; i < 100'000; ++i) {
        const JobHandle job = handles[rng() % handles.size()];
        if (rng() % 4 == 0) {
            deadlines.drop(job);
            truth.erase(job);
        } else if (rng() % 2 == 0) {
            deadlines.append(job, truth[job] = ++now);
        } else {
            const std::int64_t at = now + static_cast<std::int64_t>(rng() % 10'000) - 5'000;
            deadlines.set(job, truth[job] = at);
        }
    }
    for (std::int64_t last = INT64_MIN; !deadlines.empty(); deadlines.drop(deadlines.next_job())) {
        ASSERT_GE(deadlines.next_at(), last);
        last = deadlines.next_at();
        ASSERT_EQ(truth.at(deadlines.next_job()), last);
        truth.erase(deadlines.next_job());
    }
    EXPECT_TRUE(truth.empty());
}

TEST_F(DeadlinesTest, AppendedOnesAreDueBesideTheOthers) {
    const JobHandle delayed = add();
    const JobHandle first = add();
    const JobHandle second = add();
    deadlines.set(delayed, 15);
    deadlines.append(first, 10);
    deadlines.append(second, 20);
    EXPECT_EQ(deadlines.next_job(), first);
    deadlines.append(first, 30);  // renewed
    EXPECT_EQ(deadlines.next_job(), delayed);
    deadlines.drop(delayed);
    EXPECT_EQ(deadlines.next_job(), second);
    deadlines.set(first, 5);
    EXPECT_EQ(deadlines.next_job(), first);
    EXPECT_EQ(deadlines.at(second), 20);
}

}  // namespace
}  // namespace jobyard::broker
