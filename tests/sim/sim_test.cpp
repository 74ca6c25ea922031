// The promises under simulated faults, the same seeds each time; that they reach what can happen; and that planted bugs
// are found. A seed that fails is to be read with `jobyard-simulate --shrink SEED`.

#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "runs.hpp"
#include "shrink.hpp"

namespace jobyard::sim {
namespace {

// A run takes many times as long under a sanitizer: there are fewer, and what only many of them reach is not asked for.
// ThreadSanitizer has nothing to find: a simulated cluster has one thread.
#if defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kSeeds = 100;
#elif defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t kSeeds = 500;
#else
constexpr std::uint64_t kSeeds = 1500;
#endif
constexpr bool kReachesAll = kSeeds == 1500;
constexpr std::uint64_t kTriesToShrink = kReachesAll ? 400 : 100;

Sum run_seeds(std::uint64_t seeds, const RunOptions& each = {}, std::uint64_t failures = UINT64_MAX) {
    Many many;
    many.each = each;
    many.seeds = seeds;
    many.failures = failures;
    many.processes = 2;
    return run_many(many, [](const Sum&) {});
}

/// What PROTOCOL.md says a message may be answered: "CANCEL ended".
std::set<std::string> documented_answers() {
    std::ifstream file(JOBYARD_SOURCE_DIR "/protocol/PROTOCOL.md");
    std::set<std::string> answers;
    const std::regex row(R"(\| \d+ \| ([A-Z_]+) \| (submitter|worker|peer) \|.*\| ([^|]*) \|)");
    const std::regex word("`([a-z_]+)`");
    for (std::string line; std::getline(file, line);) {
        std::smatch match;
        if (!std::regex_match(line, match, row)) continue;
        const std::string codes = match[3];
        for (auto at = std::sregex_iterator(codes.begin(), codes.end(), word); at != std::sregex_iterator(); ++at)
            answers.insert(match[1].str() + " " + (*at)[1].str());
    }
    return answers;
}

/// Of these, what the sessions never bring about, or hardly any run is large enough for; and which test does.
const std::set<std::string> kNotHere = {
    "HELLO bad_field",           // CoreSession
    "HELLO version_not_spoken",  // CoreSession
    "HELLO not_allowed",         // CoreAccess: keys may do everything here
    "COMPLETE too_large",        // CoreLife: the worker's session says it has failed
    "COMPLETE unknown_job",      // CoreLife
    "EDIT busy",                 // CoreEdit
    "EDIT too_large",            // CoreEdit
    "READ_EVENTS busy",          // CoreEvents
    "START_TASK busy",           // CoreTasks
    "STEER_ARRAY bad_field",     // CoreArrays
    "STEER_ARRAY busy",          // CoreArrays
};

TEST(Simulation, KeepsEveryPromise) {
    const Sum sum = run_seeds(kSeeds);
    for (const auto& [seed, broken] : sum.broken)
        ADD_FAILURE() << "seed " << seed << ": " << broken.rule << ": " << broken.how;
    ASSERT_TRUE(sum.broken.empty()) << "see jobyard-simulate --shrink " << sum.broken.front().first;
    EXPECT_EQ(sum.seeds, kSeeds);
    if (!kReachesAll) return;
    EXPECT_EQ(what_is_missing(sum.counts), "") << "a simulator in which nothing happens finds nothing";
    for (const std::string& answer : documented_answers())
        EXPECT_TRUE(sum.counts.contains("answer " + answer) || kNotHere.contains(answer))
            << answer << " is in PROTOCOL.md: it must be reached, or stand in kNotHere";
    for (const char* what :
         {"executions run twice", "ends refused as stale", "claims kept", "of these resubmitted", "arrays forgotten",
          "edited", "of these expired", "keys free again", "tasks done", "messages of connections left behind",
          "fault: commit failure", "fault: full disk", "fault: one-way cut", "fault: store stall", "fault: clock jump"})
        EXPECT_GT(sum.counts.at(what), 0U) << what;
}

TEST(Simulation, KnowsWhatTheProtocolAnswers) {
    const std::set<std::string> answers = documented_answers();
    EXPECT_GT(answers.size(), 60U);
    EXPECT_TRUE(answers.contains("CANCEL cancel_requested"));
    for (const std::string& answer : kNotHere) EXPECT_TRUE(answers.contains(answer)) << answer;
}

TEST(SimulationItself, SameSeedGivesTheSameRun) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        const Report first = run({.seed = seed});
        const Report again = run({.seed = seed});
        EXPECT_EQ(first.hash, again.hash) << "seed " << seed;
        EXPECT_EQ(first.events, again.events) << "seed " << seed;
        EXPECT_GT(first.events, 500U) << "seed " << seed;
        EXPECT_NE(first.hash, run({.seed = seed + 1000}).hash);
        EXPECT_NE(first.hash, run({.seed = seed, .turn = 1}).hash);
    }
}

// --- planted bugs ----------------------------------------------------------------------------------------------------

struct Planted {
    broker::PlantedBug bug;
    std::uint64_t within;  ///< so many seeds
    const char* promise;   ///< one of those that it breaks
};

class PlantedBug : public testing::TestWithParam<Planted> {};

std::string name_of(broker::PlantedBug bug) {
    for (const broker::PlantedBugName& known : broker::kPlantedBugs)
        if (known.bug == bug) return std::string(known.name);
    return "none";
}

TEST_P(PlantedBug, IsFoundWithinSoManySeeds) {
    const Planted& planted = GetParam();
    const Sum sum = run_seeds(planted.within, {.bug = planted.bug});
    ASSERT_FALSE(sum.broken.empty()) << "not found in " << planted.within << " seeds";
    std::string rules;
    for (const auto& [seed, broken] : sum.broken) rules += "\n" + broken.rule;
    EXPECT_NE(rules.find("\n" + std::string(planted.promise)), std::string::npos) << rules;
}

INSTANTIATE_TEST_SUITE_P(OfTheCore, PlantedBug,
                         testing::Values(Planted{broker::PlantedBug::answer_before_commit, 3, "P1"},
                                         Planted{broker::PlantedBug::token_reuse_after_restart, 5, "P3"},
                                         Planted{broker::PlantedBug::lost_retry, 10, "P2"},
                                         Planted{broker::PlantedBug::double_dispatch_after_claim, 20, "P7"},
                                         Planted{broker::PlantedBug::priority_inversion, 20, "P5"},
                                         Planted{broker::PlantedBug::credit_leak, 20, "P9"},
                                         Planted{broker::PlantedBug::budget_charged_twice, 10, "P6"},
                                         Planted{broker::PlantedBug::dead_job_lost_on_redrive, 10, "P2"},
                                         Planted{broker::PlantedBug::expiry_before_inbox, 40, "P6"},
                                         Planted{broker::PlantedBug::dropped_event, 10, "P2"},
                                         Planted{broker::PlantedBug::window_forgotten_too_early, 20, "P4"},
                                         Planted{broker::PlantedBug::pause_forgotten_on_restart, 40, "P5"},
                                         Planted{broker::PlantedBug::queue_limit_overrun, 30, "P5"},
                                         Planted{broker::PlantedBug::stale_end_accepted, 80, "P3"},
                                         Planted{broker::PlantedBug::snooze_ignored, 10, "P2"},
                                         Planted{broker::PlantedBug::quota_forgotten_on_restart, 80, "P8"}),
                         [](const auto& test) { return name_of(test.param.bug); });

TEST(PlantedBugs, AreAllLookedFor) {
    const auto* const suite = testing::UnitTest::GetInstance();
    int tests = 0;
    for (int i = 0; i < suite->total_test_suite_count(); ++i)
        if (std::string(suite->GetTestSuite(i)->name()) == "OfTheCore/PlantedBug")
            tests = suite->GetTestSuite(i)->total_test_count();
    EXPECT_EQ(static_cast<std::size_t>(tests), std::size(broker::kPlantedBugs));
}

// --- making a failure small ------------------------------------------------------------------------------------------

std::size_t settings_not_calm(const RunOptions& options) {
    const std::string text = to_text(plan_of(options));
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '='));
}

/// An ordinary broken promise, and a process that ends by an assertion.
class Shrink : public testing::TestWithParam<broker::PlantedBug> {};

TEST_P(Shrink, MakesAFailureSmallAndTellsItsStory) {
    const Sum sum = run_seeds(30, {.bug = GetParam()}, 1);
    ASSERT_FALSE(sum.broken.empty());
    const RunOptions options{.seed = sum.broken.front().first, .bug = GetParam()};
    const Shrunk shrunk = shrink(options, sum.broken.front().second, kTriesToShrink);
    EXPECT_EQ(shrunk.broken.rule, sum.broken.front().second.rule);
    EXPECT_LT(2 * settings_not_calm(shrunk.options), settings_not_calm(options));
    EXPECT_LE(shrunk.story.size(), 121U);
    EXPECT_GE(shrunk.story.size(), 4U);
    const Apart again = run_apart(shrunk.options, false);
    ASSERT_TRUE(again.broken);
    EXPECT_EQ(again.broken->rule, shrunk.broken.rule);
}
INSTANTIATE_TEST_SUITE_P(Planted, Shrink,
                         testing::Values(broker::PlantedBug::budget_charged_twice, broker::PlantedBug::credit_leak),
                         [](const auto& test) { return name_of(test.param); });

TEST(Story, IsCutToTheJobAndWhatBefellAll) {
    const std::vector<std::string> story = {
        "  0.1  broker      starts, batch 1",
        "  0.2  worker-1    begins job 1 under token 1:1",
        "  0.3  worker-1    begins job 17 under token 1:2",
        "  0.4  broker      sends ANSWERS on connection 1",
        "  0.5  worker-2    crashes, running 1 jobs",
        "  0.6  disk        job 1 has lost an attempt: worker_lost",
        "  0.7  MODEL       P6: job 1 under token 1:1",
    };
    const std::vector<std::string> told = cut(story, {"P6", "job 1 under token 1:1 is charged"});
    EXPECT_EQ(told, (std::vector<std::string>{story[0], story[1], story[4], story[5], story[6]}));
}

TEST(Plan, IsTextThatGivesTheSamePlan) {
    RunOptions options{.seed = 3};
    const Plan plan = plan_of(options);
    std::istringstream words(to_text(plan));
    RunOptions other{.seed = 4};
    for (const Knob& knob : knobs()) other.settings.emplace_back(&knob, knob.calm);
    for (std::string word; words >> word;) {
        const std::size_t equals = word.find('=');
        const Knob* const knob = find_knob(word.substr(0, equals));
        ASSERT_NE(knob, nullptr) << word;
        other.settings.emplace_back(knob, std::stoll(word.substr(equals + 1)));
    }
    EXPECT_EQ(to_text(plan_of(other)), to_text(plan));
    EXPECT_EQ(find_knob("nobody's"), nullptr);
}

}  // namespace
}  // namespace jobyard::sim
