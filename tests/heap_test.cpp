// A heap, and the list of those that come in order beside it.

#include "heap.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace jobyard::broker {
namespace {

TEST(Heap, FirstIsTheLeastOfTheHeapAndTheList) {
    Heap<int> heap;
    heap.append(0, 10);
    heap.append(1, 20);
    heap.put(2, 15);
    EXPECT_EQ(heap.first().member, 0U);
    heap.drop(0);
    EXPECT_EQ(heap.first().member, 2U);
    heap.drop(2);
    EXPECT_EQ(heap.first().member, 1U);
    heap.drop(1);
    EXPECT_TRUE(heap.empty());
}

TEST(Heap, AppendingWhatIsOutOfOrderPutsIt) {
    Heap<int> heap;
    heap.append(0, 10);
    heap.append(1, 5);
    EXPECT_EQ(heap.first().member, 1U);
    EXPECT_EQ(heap.key_of(1), 5);
    heap.append(1, 20);  // moves back into the list
    EXPECT_EQ(heap.first().member, 0U);
    heap.append(0, 30);
    EXPECT_EQ(heap.first().member, 1U);
}

TEST(Heap, AdvanceMovesForwardOnly) {
    Heap<int> heap;
    heap.advance(0, 10);
    heap.advance(1, 20);
    heap.advance(1, 25);
    EXPECT_EQ(heap.key_of(1), 20);
    heap.advance(1, 5);
    EXPECT_EQ(heap.first().member, 1U);
    EXPECT_EQ(heap.key_of(1), 5);
}

TEST(Heap, WhoStaysKeepsNoPlacesOfThoseWhoCameAndWent) {
    Heap<int> heap;
    for (std::uint32_t member = 0; member < 10; ++member) heap.append(member, 0);
    std::size_t most = 0;
    for (int i = 1; i < 100'000; ++i) {
        heap.append(10, i);
        most = std::max(most, heap.entries());
        heap.drop(10);
    }
    EXPECT_LT(most, 500U);
    for (std::uint32_t member = 0; member < 10; ++member) {
        ASSERT_TRUE(heap.contains(member));
        EXPECT_EQ(heap.key_of(member), 0);
    }
}

TEST(Heap, InTurnTheyTakeNoMoreThanTwiceThePlacesOfThoseThatAreThere) {
    Heap<int> heap;
    for (std::uint32_t i = 0; i < 100'000; ++i) {
        heap.append(i % 2'000, static_cast<int>(i));
        if (i >= 1'000) heap.drop((i - 1'000) % 2'000);
        ASSERT_LE(heap.entries(), 2'100U);
    }
}

/// With few or many that are out of order, and members that stay or go.
class HeapInUse : public testing::TestWithParam<int> {};

TEST_P(HeapInUse, AgreesWithASortedMap) {
    std::mt19937 rng(static_cast<unsigned>(GetParam()) + 7);
    Heap<std::int64_t> heap;
    std::map<std::uint32_t, std::int64_t> truth;
    std::int64_t now = 0;
    const auto percent = [&](int share) { return static_cast<int>(rng() % 100) < share; };
    for (int i = 0; i < 200'000; ++i) {
        const auto member = static_cast<std::uint32_t>(rng() % 300);
        const std::int64_t key = percent(GetParam()) ? now - static_cast<std::int64_t>(rng() % 500) : ++now;
        switch (rng() % 5) {
            case 0:
                heap.put(member, key);
                truth[member] = key;
                break;
            case 1:
                heap.append(member, key);
                truth[member] = key;
                break;
            case 2: {
                heap.advance(member, key);
                const auto at = truth.try_emplace(member, key).first;
                at->second = std::min(at->second, key);
                break;
            }
            case 3:
                if (!truth.empty()) {
                    const std::uint32_t first = heap.first().member;
                    heap.drop(first);
                    truth.erase(first);
                }
                break;
            default: heap.drop(member); truth.erase(member);
        }
        ASSERT_EQ(heap.empty(), truth.empty());
        ASSERT_EQ(heap.contains(member), truth.contains(member));
        if (heap.contains(member)) {
            ASSERT_EQ(heap.key_of(member), truth.at(member));
        }
        if (truth.empty()) continue;
        ASSERT_EQ(truth.at(heap.first().member), heap.first().key);
        if (i % 64 != 0) continue;
        std::int64_t least = INT64_MAX;
        for (const auto& [each, of] : truth) least = std::min(least, of);
        ASSERT_EQ(heap.first().key, least);
    }
    for (std::int64_t last = INT64_MIN; !heap.empty(); heap.drop(heap.first().member)) {
        ASSERT_GE(heap.first().key, last);
        last = heap.first().key;
        ASSERT_EQ(truth.at(heap.first().member), last);
        truth.erase(heap.first().member);
    }
    EXPECT_TRUE(truth.empty());
}

INSTANTIATE_TEST_SUITE_P(PercentOutOfOrder, HeapInUse, testing::Values(0, 1, 20, 100));

}  // namespace
}  // namespace jobyard::broker
