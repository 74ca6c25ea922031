// What a soak run says of samples that were made up.

#include "health.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "chart.hpp"

namespace jobyard::torture {
namespace {

constexpr std::uint64_t kMi = 1 << 20;
constexpr Bounds kBounds{.store_bytes = 50 * kMi, .log_bytes = 100 * kMi};

/// An hour, in samples of 5 s. Half of them are of the last half; its thirds have 120 each.
class HealthTest : public testing::Test {
 protected:
    HealthTest() {
        for (int i = 1; i <= 720; ++i) {
            Sample& sample = samples.emplace_back();
            sample.us = i * 5'000'000LL;
            sample.life = 1;
            // What is usual: a little up and down.
            sample.memory_bytes = 100 * kMi + static_cast<std::uint64_t>(i % 7) * 10'000;
            sample.descriptors = 40 + (i % 50 == 0 ? 1 : 0);
            sample.store_bytes = 30 * kMi;
            sample.store_used_bytes = 25 * kMi;
            sample.log_bytes = 16 * kMi;
            sample.answers = 500;
            sample.p50_us = 900;
            sample.p99_us = 4'000 + static_cast<std::uint64_t>(i % 5) * 100;
            sample.jobs_per_s = 100;
        }
    }
    void in(std::size_t from, std::size_t to, const std::function<void(Sample&)>& change) {
        for (std::size_t i = from; i < to; ++i) change(samples[i]);
    }
    /// The only thing that is wrong.
    std::string wrong() {
        const Health health = judge_health(samples, kBounds);
        EXPECT_LE(health.broken.size(), 1U) << health.broken.back();
        return health.broken.empty() ? "nothing" : health.broken.front();
    }
    void expect_wrong(const std::string& part) { EXPECT_NE(wrong().find(part), std::string::npos) << wrong(); }
    /// By so much of itself from the beginning of the last half to the end.
    void grow_memory(double part) {
        for (std::size_t i = 360; i < 720; ++i)
            samples[i].memory_bytes +=
                static_cast<std::uint64_t>(static_cast<double>(100 * kMi) * part * static_cast<double>(i - 360) / 360);
    }

    std::vector<Sample> samples;
};

TEST_F(HealthTest, OfASteadyBrokerNothingIsWrong) {
    const Health health = judge_health(samples, kBounds);
    EXPECT_TRUE(health.broken.empty()) << health.broken.front();
    EXPECT_EQ(health.samples, 720U);
    EXPECT_EQ(health.undisturbed, 720U);
    EXPECT_EQ(health.largest_store, 30 * kMi);
    EXPECT_EQ(health.descriptors_after, 40U);
    EXPECT_NEAR(health.p99_ratio, 1, 0.01);
}

TEST_F(HealthTest, MemoryThatGrowsByThreePercentIsFound) {
    grow_memory(0.03);
    EXPECT_NEAR(judge_health(samples, kBounds).memory_growth, 0.03, 0.001);
    expect_wrong("memory grew by ");
}

TEST_F(HealthTest, MemoryThatGrowsByOnePercentIsAllowed) {
    grow_memory(0.01);
    EXPECT_EQ(wrong(), "nothing");
}

TEST_F(HealthTest, AStepInMemoryIsFound) {
    in(540, 720, [](Sample& sample) { sample.memory_bytes += 3 * kMi; });
    expect_wrong("memory grew by 4.");
}

TEST_F(HealthTest, MemoryMayGrowInTheFirstHalfAndShrinkInTheLast) {
    for (std::size_t i = 0; i < 360; ++i) samples[i].memory_bytes -= (360 - i) * 100'000;
    in(600, 720, [](Sample& sample) { sample.memory_bytes -= 10 * kMi; });
    EXPECT_EQ(wrong(), "nothing");
}

TEST_F(HealthTest, AFewOddSamplesDecideNothing) {
    in(700, 720, [](Sample& sample) {
        sample.memory_bytes += 50 * kMi;
        sample.descriptors += 100;
        sample.p99_us = 500'000;
    });
    EXPECT_EQ(wrong(), "nothing");
}

TEST_F(HealthTest, OneDescriptorMoreOrLessIsFound) {
    in(550, 720, [](Sample& sample) { ++sample.descriptors; });
    expect_wrong("40 descriptors in the first third of the last half and 41");
    in(550, 720, [](Sample& sample) { sample.descriptors -= 2; });
    expect_wrong("40 descriptors in the first third of the last half and 39");
}

TEST_F(HealthTest, AFileBeyondItsBoundIsFoundEvenInOneDisturbedSample) {
    samples[100].store_bytes = 51 * kMi;
    samples[100].disturbed = true;
    expect_wrong("the store has had 51.0 MiB; with its limits it may have 50.0 MiB");
    samples[100].store_bytes = 50 * kMi;
    samples[400].log_bytes = 101 * kMi;
    expect_wrong("the commit log has had 101.0 MiB");
}

TEST_F(HealthTest, SubmitsThatAreAnsweredLaterAndLaterAreFound) {
    in(360, 720, [](Sample& sample) { sample.p99_us += sample.p99_us * 6 / 10; });
    expect_wrong("1.60 times as long");
}

TEST_F(HealthTest, ALittleLaterIsAllowed) {
    in(360, 720, [](Sample& sample) { sample.p99_us += sample.p99_us * 4 / 10; });
    EXPECT_EQ(wrong(), "nothing");
}

TEST_F(HealthTest, WhatAFaultDisturbsIsLeftOut) {
    in(360, 480, [](Sample& sample) {
        sample.disturbed = true;
        sample.memory_bytes /= 2;
        sample.descriptors = 12;
    });
    in(360, 400, [](Sample& sample) { sample.disturbed = false, sample.memory_bytes *= 2, sample.descriptors = 40; });
    in(600, 720, [](Sample& sample) { sample.disturbed = sample.us % 10'000'000 == 0; });
    in(600, 720, [](Sample& sample) { sample.p99_us *= sample.disturbed ? 1000 : 1; });
    EXPECT_EQ(wrong(), "nothing");
}

TEST_F(HealthTest, ABrokerThatDiedInTheLastHalfIsFound) {
    in(500, 720, [](Sample& sample) { sample.life = 2; });
    expect_wrong("started again in the last half");
}

TEST_F(HealthTest, ABrokerMayBeKilledInTheFirstHalf) {
    in(0, 200, [](Sample& sample) { sample.life = 0; });
    EXPECT_EQ(wrong(), "nothing");
}

TEST_F(HealthTest, ATimeWithoutAnswersIsNotTakenForAQuickOne) {
    in(0, 200, [](Sample& sample) { sample.answers = sample.p99_us = 0; });
    EXPECT_EQ(wrong(), "nothing");
    in(0, 357, [](Sample& sample) { sample.answers = sample.p99_us = 0; });
    expect_wrong("nearly no submit was answered");
}

TEST_F(HealthTest, TooFewSamplesAreNoProof) {
    in(360, 480, [](Sample& sample) { sample.disturbed = true; });
    expect_wrong("too few samples");
    samples.clear();
    expect_wrong("there are no samples");
}

/// 100 submits, a millisecond apart, each answered after as many microseconds as it is the nth.
class SamplesTest : public testing::Test {
 protected:
    SamplesTest() {
        for (std::uint64_t wish = 1; wish <= 100; ++wish) {
            const auto us = static_cast<std::int64_t>(wish * 1'000);
            history.push_back({.us = us, .seen = Seen::wants, .wish = wish});
            history.push_back(
                {.us = us + static_cast<std::int64_t>(wish), .seen = Seen::has, .wish = wish, .job = wish});
        }
        history.push_back({.us = 150'000, .seen = Seen::result, .job = 1});
        history.push_back({.us = 150'001, .seen = Seen::result, .job = 2});
        for (const std::int64_t us : {101'000, 201'000, 301'000}) samples.emplace_back().us = us;
    }
    void fault(std::int64_t us, const std::string& word) {
        history.push_back({.us = us, .seen = Seen::fault, .text = "half_open " + word});
        std::stable_sort(history.begin(), history.end(), [](const Entry& a, const Entry& b) { return a.us < b.us; });
    }
    std::vector<bool> disturbed(std::int64_t settle) {
        add_what_clients_saw(samples, history, settle);
        std::vector<bool> all;
        for (const Sample& sample : samples) all.push_back(sample.disturbed);
        return all;
    }

    std::vector<Entry> history;
    std::vector<Sample> samples;
};

TEST_F(SamplesTest, HaveTheTimesOfTheAnswersThatCameSinceTheOneBefore) {
    add_what_clients_saw(samples, history, 0);
    EXPECT_EQ(samples[0].answers, 100U);
    EXPECT_EQ(samples[0].p50_us, 50U);
    EXPECT_EQ(samples[0].p99_us, 99U);
    EXPECT_EQ(samples[0].jobs_per_s, 0);
    EXPECT_EQ(samples[1].answers, 0U);
    EXPECT_EQ(samples[1].jobs_per_s, 20) << "two results in a tenth of a second";
}

TEST_F(SamplesTest, AreDisturbedByAFaultAndForATimeAfterIt) {
    EXPECT_EQ(disturbed(0), (std::vector{false, false, false}));
    fault(110'000, "begins");
    fault(190'000, "ends");
    EXPECT_EQ(disturbed(0), (std::vector{false, true, false}));
    EXPECT_EQ(disturbed(11'000), (std::vector{false, true, true}));
    fault(100'500, "begins");
    fault(100'600, "ends");
    EXPECT_EQ(disturbed(0), (std::vector{true, true, false}));
}

TEST_F(SamplesTest, AFaultThatNeverEndsDisturbsAllThatFollow) {
    fault(150'000, "begins");
    EXPECT_EQ(disturbed(0), (std::vector{false, true, true}));
}

TEST_F(SamplesTest, ArePicturedEachInALineWithTheFaults) {
    fault(110'000, "begins");
    fault(190'000, "ends");
    samples.back().life = 1;  // of the broker, so another line
    const std::string svg = draw(samples, disturbances(history), kBounds, "foot & \"more\"");
    const auto count = [&](const std::string& word) {
        std::size_t found = 0;
        for (std::size_t at = svg.find(word); at != std::string::npos; at = svg.find(word, at + 1)) ++found;
        return found;
    };
    EXPECT_EQ(count("<polyline"), 14U) << "seven lines in five pictures, two lives";
    EXPECT_EQ(count("<title>half_open</title>"), 5U);
    EXPECT_EQ(count("foot &amp;"), 1U);
    EXPECT_EQ(count("nan"), 0U);
    EXPECT_EQ(draw({}, {}, kBounds, {}).find("nan"), std::string::npos);
}

}  // namespace
}  // namespace jobyard::torture
