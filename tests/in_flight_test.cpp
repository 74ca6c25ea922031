// Who is told to have fewer submits unanswered, and when.

#include "in_flight.hpp"

#include <gtest/gtest.h>

namespace jobyard::broker {
namespace {

constexpr std::uint64_t kTogether = 512;
constexpr std::uint64_t kMany = 5'000;
constexpr std::uint64_t kFew = 1;

struct InFlightTest : testing::Test {
    InFlight in_flight;
    std::int64_t now = 10'500;
    InFlight::Use uses[64];

    std::uint32_t submits(std::uint64_t who, std::uint64_t unanswered, std::uint64_t together = kTogether) {
        return in_flight.submits(who, uses[who], unanswered, together, now);
    }
};

TEST_F(InFlightTest, AloneNobodyIsToldAnything) {
    EXPECT_EQ(submits(1, kFew), 0U);
    EXPECT_EQ(submits(1, kMany), 0U) << "what it began with does not make another of it";
    EXPECT_EQ(submits(1, kFew), 0U);
    EXPECT_EQ(submits(1, kMany), 0U) << "nor what it has between two bursts";
}

TEST_F(InFlightTest, AmongThemselvesThoseWhoSubmitMuchAreToldNothing) {
    for (const std::uint64_t who : {1U, 2U, 3U, 1U, 2U, 3U}) {
        EXPECT_EQ(submits(who, kFew), 0U);
        EXPECT_EQ(submits(who, kMany), 0U);
    }
}

TEST_F(InFlightTest, WhileSomebodySubmitsLittleWhoSubmitsMuchHasFew) {
    submits(1, kMany);
    EXPECT_EQ(submits(2, kFew), 0U);
    EXPECT_EQ(submits(1, kMany), kTogether);
    EXPECT_EQ(submits(1, kTogether), kTogether);
    EXPECT_EQ(submits(2, InFlight::kLittle), 0U);
}

TEST_F(InFlightTest, TheyShareWhatTheyHaveTogether) {
    for (std::uint64_t who = 1; who <= 4; ++who) submits(who, kMany);
    submits(10, kFew);
    EXPECT_EQ(submits(1, kMany), kTogether / 4);
    now += InFlight::kGoesOnMs;
    submits(10, kFew);
    EXPECT_EQ(submits(1, kMany), kTogether / 4) << "the others may come yet";
}

TEST_F(InFlightTest, AShareStillCountsAsMuch) {
    for (std::uint64_t who = 1; who < 64; ++who) submits(who, kMany);
    submits(0, kFew);
    submits(63, kMany);
    submits(62, kFew);  // a moment with few
    submits(10, kMany);
    InFlight::Use one_more;
    EXPECT_EQ(in_flight.submits(99, one_more, kFew, kTogether, now), 0U);
    EXPECT_EQ(submits(1, kMany), 2 * InFlight::kLittle);
}

TEST_F(InFlightTest, ItEndsWithWhoSubmittedLittle) {
    submits(1, kMany);
    submits(2, kFew);
    EXPECT_EQ(submits(1, kMany), kTogether);
    in_flight.leaves(2);
    EXPECT_EQ(submits(1, kMany), 0U);
    submits(2, kFew);
    now += InFlight::kGoesOnMs - 1;
    EXPECT_EQ(submits(1, kMany), kTogether);
    ++now;
    EXPECT_EQ(submits(1, kMany), 0U);
}

TEST_F(InFlightTest, WhoHasSubmittedMuchMaySubmitLittleAfterAWhile) {
    submits(1, kMany);
    submits(2, kMany);
    now += InFlight::kGoesOnMs - 1;
    submits(1, kFew);
    EXPECT_EQ(submits(2, kMany), 0U);
    ++now;
    submits(1, kFew);
    EXPECT_EQ(submits(2, kMany), kTogether / 2) << "it may come back to it";
}

TEST_F(InFlightTest, WithoutALimitNobodyIsToldAnything) {
    submits(1, kMany, 0);
    submits(2, kFew, 0);
    EXPECT_EQ(submits(1, kMany, 0), 0U);
}

}  // namespace
}  // namespace jobyard::broker
