// Every unended job, by number and by handle.

#include "job_table.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace jobyard::broker {
namespace {

TEST(ChunkedVector, GrowsAndShrinksAcrossItsChunks) {
    ChunkedVector<int, 4> vector;
    EXPECT_TRUE(vector.empty());
    for (int i = 0; i < 20; ++i) vector.push_back(i);
    for (int i = 19; i >= 10; --i) vector.pop_back();
    for (int i = 10; i < 13; ++i) vector.push_back(i);
    EXPECT_EQ(vector.size(), 13U);
    for (std::size_t i = 0; i < 13; ++i) EXPECT_EQ(vector[i], static_cast<int>(i));
    while (!vector.empty()) vector.pop_back();
    vector.push_back(7);
    EXPECT_EQ(vector[0], 7);
}

TEST(ChunkedVector, NeverMovesAnElement) {
    ChunkedVector<int, 4> vector;
    vector.push_back(1);
    const int* first = &vector[0];
    for (int i = 0; i < 1000; ++i) vector.push_back(i);
    EXPECT_EQ(&vector[0], first);
}

TEST(JobTable, FindsWhatWasAddedAndNothingElse) {
    JobTable jobs;
    const JobHandle a = jobs.add({1});
    const JobHandle b = jobs.add({257});
    EXPECT_EQ(jobs.find({1}), a);
    EXPECT_EQ(jobs.find({257}), b);
    EXPECT_EQ(jobs.find({2}), kNoJob);
    EXPECT_EQ(jobs.find({256}), kNoJob);
    EXPECT_EQ(jobs.find({0}), kNoJob);
    EXPECT_EQ(jobs.find({UINT64_MAX}), kNoJob);
    EXPECT_EQ(jobs.size(), 2U);
    EXPECT_EQ(jobs[b].id, JobId{257});
}

TEST(JobTable, HandleOfARemovedJobIsUsedAgainWithNothingOfItsPast) {
    JobTable jobs;
    const JobHandle a = jobs.add({1});
    jobs[a].errors = 7;
    jobs[a].cancel_requested = true;
    jobs.remove(a);
    EXPECT_EQ(jobs.find({1}), kNoJob);
    EXPECT_EQ(jobs[a].state, JobState::none);
    const JobHandle b = jobs.add({2});
    EXPECT_EQ(b, a);
    EXPECT_EQ(jobs[b].errors, 0);
    EXPECT_FALSE(jobs[b].cancel_requested);
    EXPECT_EQ(jobs[b].next, kNoJob);
    EXPECT_EQ(jobs.handles(), 1U);
}

TEST(JobTable, SparseNumbersAreFoundInOrder) {
    JobTable jobs;
    for (const std::uint64_t number : {3ULL, 255ULL, 256ULL, 100'000ULL, 1ULL << 40}) jobs.add({number});
    std::uint64_t from = 0;
    std::size_t budget = 100'000;
    std::vector<std::uint64_t> found;
    while (from < 200'000) {
        const JobHandle handle = jobs.next_from(from, 200'000, budget);
        if (handle == kNoJob) break;
        found.push_back(jobs[handle].id.value);
    }
    EXPECT_EQ(found, (std::vector<std::uint64_t>{3, 255, 256, 100'000}));
    EXPECT_EQ(from, 200'192U) << "past what was looked at, whole pages at a time";
}

TEST(JobTable, SearchStopsWhenItsBudgetIsSpentAndGoesOnFromThere) {
    JobTable jobs;
    jobs.add({1'000'000});
    std::uint64_t from = 1;
    int calls = 0;
    JobHandle found = kNoJob;
    for (; found == kNoJob && calls < 1000; ++calls) {
        std::size_t budget = 10;
        found = jobs.next_from(from, 2'000'000, budget);
    }
    EXPECT_EQ(jobs[found].id, JobId{1'000'000});
    EXPECT_GT(calls, 100) << "a call looks at a bounded number of pages";
}

TEST(JobTable, SearchNeverPassesTheEnd) {
    JobTable jobs;
    jobs.add({10});
    jobs.add({20});
    std::uint64_t from = 5;
    std::size_t budget = 100;
    EXPECT_NE(jobs.next_from(from, 11, budget), kNoJob);
    EXPECT_EQ(jobs.next_from(from, 11, budget), kNoJob);
    EXPECT_EQ(from, 11U);
    from = 20;
    EXPECT_EQ(jobs.next_from(from, 20, budget), kNoJob);
}

TEST(JobTable, AgreesWithAMapThroughRandomUse) {
    std::mt19937_64 rng(5);
    JobTable jobs;
    std::map<std::uint64_t, JobHandle> truth;
    std::uint64_t next = 1;
    for (int i = 0; i < 50'000; ++i) {
        if (truth.empty() || rng() % 2 == 0) {
            next += 1 + (rng() % 50 == 0 ? rng() % 5000 : 0);
            truth[next] = jobs.add({next});
        } else {
            auto at = truth.lower_bound(rng() % (next + 1));
            if (at == truth.end()) at = truth.begin();
            jobs.remove(at->second);
            truth.erase(at);
        }
        ASSERT_EQ(jobs.size(), truth.size());
    }
    for (const auto& [number, handle] : truth) ASSERT_EQ(jobs.find({number}), handle);
    std::uint64_t from = 0;
    for (const auto& [number, handle] : truth) {
        std::size_t budget = SIZE_MAX;
        ASSERT_EQ(jobs.next_from(from, next + 1, budget), handle);
    }
}

}  // namespace
}  // namespace jobyard::broker
