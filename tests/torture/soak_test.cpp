// That a short soak run runs: it samples, does what it planned, loses nothing and draws. Whether the broker is well
// takes longer and a quiet machine; what would be said of it is tested by HealthTest.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "../process/harness.hpp"

namespace jobyard::test {
namespace {

TEST(Soak, SamplesDisturbsLosesNothingAndDraws) {
    const TemporaryDirectory directory;
    const std::string svg = directory / "soak.svg";
    Process soak({.argv = {program("jobyard-soak"), "--minutes", "0.25", "--json", "--svg", svg, "--directory",
                           directory / ""}});
    ASSERT_EQ(soak.wait(2 * kPatience), 0) << soak.errors();
    const nlohmann::json told = nlohmann::json::parse(soak.output());
    EXPECT_EQ(told.at("broken"), nlohmann::json::object());
    EXPECT_EQ(told.at("judged"), false);
    EXPECT_GT(told.at("retired"), 0) << "retention works meanwhile";
    for (const char* kind : {"broker_killed", "broker_stopped", "half_open", "worker_killed"})
        EXPECT_GE(told.at("faults").value(kind, 0), 1) << kind;
    const nlohmann::json& samples = told.at("sampled");
    ASSERT_GE(samples.size(), 5U);
    std::uint64_t answers = 0;
    for (const nlohmann::json& sample : samples) {
        EXPECT_GT(sample.at("memory_bytes"), 0);
        EXPECT_GT(sample.at("descriptors"), 10);
        EXPECT_GT(sample.at("store_bytes"), 0);
        answers += sample.at("answers").get<std::uint64_t>();
    }
    EXPECT_GT(answers, 0U);
    const std::string picture = read_file(svg);
    EXPECT_TRUE(picture.starts_with("<svg")) << picture.substr(0, 100);
    EXPECT_NE(picture.find("<title>worker_killed</title>"), std::string::npos);
    EXPECT_NE(picture.find("</svg>"), std::string::npos);
}

}  // namespace
}  // namespace jobyard::test
