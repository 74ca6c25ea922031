// When batches are to be short, and for whom; and how long the broker rests from the busy ones.

#include "shares.hpp"

#include <gtest/gtest.h>

#include "pace.hpp"

namespace jobyard::broker {
namespace {

constexpr PeerId kGreedy{1};
constexpr PeerId kQuiet{2};
constexpr std::uint64_t kMuch = Shares::kBusy;

TEST(Shares, OneClientAloneIsNeverUneven) {
    Shares shares;
    for (std::int64_t now = 0; now < 60'000; now += 100) {
        shares.note(kGreedy, now < 30'000 ? kMuch : 1, now);
        EXPECT_FALSE(shares.are_uneven(now)) << now;
        EXPECT_FALSE(shares.is_small(kGreedy)) << now;
    }
}

TEST(Shares, AFewJobsBesideManyAreUnevenUntilTheyHaveNotComeForAWhile) {
    Shares shares;
    shares.note(kGreedy, kMuch, 0);
    shares.note(kQuiet, 1, 10);
    EXPECT_TRUE(shares.is_small(kQuiet));
    EXPECT_FALSE(shares.is_small(kGreedy));
    EXPECT_TRUE(shares.are_uneven(9 + Shares::kMemoryMs));
    shares.note(kGreedy, kMuch, 9 + Shares::kMemoryMs);
    EXPECT_FALSE(shares.are_uneven(10 + Shares::kMemoryMs));
}

TEST(Shares, WhoSubmitsTheSameIsNotSmall) {
    Shares shares;
    for (int i = 0; i < 100; ++i)
        for (const PeerId peer : {kGreedy, kQuiet}) shares.note(peer, kMuch, i);
    EXPECT_FALSE(shares.are_uneven(100));
}

TEST(Shares, WhoCatchesUpIsSmallNoLonger) {
    Shares shares;
    shares.note(kGreedy, kMuch, 0);
    shares.note(kQuiet, 1, 1);
    EXPECT_TRUE(shares.are_uneven(1));
    shares.note(kQuiet, kMuch, 2);
    EXPECT_FALSE(shares.are_uneven(2));
}

TEST(Shares, NobodyIsBusyWithLittle) {
    Shares shares;
    shares.note(kGreedy, kMuch - 1, 0);
    shares.note(kQuiet, 1, 1);
    EXPECT_FALSE(shares.are_uneven(1));
}

TEST(Shares, WithTheBusyOneOrTheLastSmallOneItIsOver) {
    Shares shares;
    shares.note(kGreedy, kMuch, 0);
    shares.note(kQuiet, 1, 1);
    shares.drop(kGreedy);
    EXPECT_FALSE(shares.are_uneven(1));
    EXPECT_FALSE(shares.is_small(kQuiet));
    shares.note(kGreedy, kMuch, 2);
    shares.note(kQuiet, 1, 3);
    shares.drop(kQuiet);
    EXPECT_FALSE(shares.are_uneven(3));
}

TEST(Shares, WhatWasLongAgoIsForgotten) {
    Shares shares;
    shares.note(kGreedy, kMuch, 0);
    shares.note(kQuiet, 1, 2 * Shares::kMemoryMs);
    EXPECT_FALSE(shares.are_uneven(2 * Shares::kMemoryMs));
    shares.note(kGreedy, kMuch, 2 * Shares::kMemoryMs);
    shares.note(kQuiet, 1, 4 * Shares::kMemoryMs - 1);
    EXPECT_TRUE(shares.are_uneven(4 * Shares::kMemoryMs - 1)) << "that is not so long ago";
}

TEST(Pace, RestsInProportionToTheWork) {
    Pace pace;
    EXPECT_LE(pace.due(), 0);
    pace.worked(500, 1'000);
    EXPECT_EQ(pace.due(), 1'000 + 500 * Pace::kRest);
    pace.worked(100, 1'200);
    EXPECT_EQ(pace.due(), 1'000 + 600 * Pace::kRest) << "the rest that is left comes on top";
    pace.worked(100, 50'000);
    EXPECT_EQ(pace.due(), 50'000 + 100 * Pace::kRest) << "what it could have taken long ago is not made up for";
}

TEST(Pace, NobodyWaitsForEver) {
    Pace pace;
    for (std::int64_t now = 0; now < 100'000; now += 1'000) {
        pace.worked(1'000, now);
        EXPECT_LE(pace.due(), now + Pace::kLongestRestUs);
    }
}

}  // namespace
}  // namespace jobyard::broker
