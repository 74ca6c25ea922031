// Which job is due next.

#include "deadlines.hpp"

#include <gtest/gtest.h>

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
