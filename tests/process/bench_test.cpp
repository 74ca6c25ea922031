// The benchmarks run, and their JSON has what scripts read. What comes out is not judged: that is for a quiet machine.

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "harness.hpp"

namespace jobyard::test {
namespace {

nlohmann::json measured(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), program("jobyard-bench"));
    arguments.emplace_back("--json");
    Process bench({.argv = arguments});
    EXPECT_EQ(bench.wait(), 0) << bench.errors();
    const nlohmann::json result = nlohmann::json::parse(bench.output(), nullptr, false);
    EXPECT_TRUE(result.is_object()) << "not one JSON object: " << bench.output();
    for (const char* key : {"benchmark", "version", "durability", "processor", "kernel"})
        EXPECT_TRUE(result.contains(key)) << key;
    return result;
}

void expect_positive(const nlohmann::json& result, const std::vector<std::string>& pointers) {
    for (const std::string& pointer : pointers) {
        const nlohmann::json::json_pointer at(pointer);
        if (!result.contains(at)) {
            ADD_FAILURE() << pointer << " is missing in " << result.dump();
            continue;
        }
        EXPECT_GT(result.at(at).get<double>(), 0) << pointer;
    }
}

TEST(Bench, ThroughputSaysWhatAJobCosts) {
    const nlohmann::json result = measured({"throughput", "--jobs", "2000", "--payload", "100,16KiB"});
    expect_positive(result,
                    {"/jobs", "/payload_bytes", "/workers", "/submit_jobs_per_s", "/submit_alone_jobs_per_s",
                     "/end_to_end_jobs_per_s", "/lmdb_operations_per_job", "/value_bytes_per_job", "/jobs_per_commit",
                     "/handoffs_per_job", "/rows/1/end_to_end_mb_per_s", "/rows/1/disk_mb_per_s"});
    ASSERT_EQ(result["rows"].size(), 3U) << "two payloads, and the row without prefetch";
    EXPECT_EQ(result["rows"][2]["prefetch"], 0);
    EXPECT_EQ(result["rows"][2]["slots"], 64);
}

TEST(Bench, LatencyKnowsWhenAHandlerBegan) {
    const nlohmann::json result = measured({"latency", "--jobs", "200"});
    expect_positive(result, {"/submit_us/p50", "/submit_us/p99", "/submit_us/max", "/start_us/p50", "/start_us/p99",
                             "/start_us/max", "/round_trip_us/p50", "/round_trip_us/p99", "/round_trip_us/max"});
}

TEST(Bench, LatencyOffersARate) {
    const nlohmann::json result = measured({"latency", "--rate", "500", "--jobs", "300"});
    expect_positive(result, {"/offered_jobs_per_s", "/ended_jobs_per_s", "/sent_late_us/p50", "/submit_us/p50",
                             "/start_us/p50", "/round_trip_us/p99"});
}

TEST(Bench, GreedyComparesAClientAloneWithOneBesideAnother) {
    const nlohmann::json result = measured({"greedy", "--rounds", "2", "--rate", "200", "--seconds", "0.5"});
    expect_positive(result, {"/alone_submit_us/p50", "/alone_submit_us/p99", "/beside_submit_us/p99",
                             "/alone_round_trip_us/p99", "/beside_round_trip_us/p99", "/ratio_submit_p50",
                             "/ratio_submit_p99", "/ratio_round_trip_p99", "/greedy_jobs_per_s", "/commit_us_mean"});
    EXPECT_EQ(result["rounds"], 2);
}

TEST(Bench, LeavesNothingWhenItIsInterrupted) {
    const TemporaryDirectory directory;
    Process bench(
        {.argv = {program("jobyard-bench"), "throughput", "--jobs", "100000000", "--directory", directory.path()}});
    ASSERT_TRUE(eventually([&] {
        const std::filesystem::directory_iterator runs(directory.path());
        return std::any_of(begin(runs), end(runs),
                           [](const auto& run) { return std::filesystem::exists(run.path() / "data/store/data.mdb"); });
    })) << "its broker has made no files";
    bench.signal(SIGINT);
    EXPECT_EQ(bench.wait(), 128 + SIGINT);
    EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(Bench, ARunningBrokerCanBeMeasured) {
    BrokerProcess broker;
    const nlohmann::json result = measured({"throughput", "--jobs", "500", "--broker", broker.endpoint()});
    expect_positive(result, {"/submit_jobs_per_s", "/end_to_end_jobs_per_s", "/cpu_us_per_job/client"});
    EXPECT_EQ(result["transport"], "ipc");
    EXPECT_FALSE(result.contains("bytes_written_per_job")) << "its process is not ours";
    Client client(client_options(broker.endpoint()));
    EXPECT_EQ(counter(client, "jobs.queued"), 0U);
}

TEST(Bench, WhatCannotBeMeasuredIsSaid) {
    const std::vector<std::vector<std::string>> wrong{
        {"throughput", "--workers", "0"}, {"throughput", "--broker", ""}, {"backlog", "--depth", "0"},
        {"priority", "--payload", "7"},   {"greedy", "--rate", "0"},      {"throughput", "--payload", "300KiB"}};
    for (std::vector<std::string> arguments : wrong) {
        const std::string option = arguments[1];
        arguments.insert(arguments.begin(), program("jobyard-bench"));
        Process bench({.argv = arguments});
        EXPECT_EQ(bench.wait(), 2) << option;
        EXPECT_NE(bench.errors().find(option), std::string::npos) << bench.errors();
    }
}

TEST(Bench, SaysWhenNothingHappens) {
    BrokerProcess broker;
    Process bench({.argv = {program("jobyard-bench"), "throughput", "--workers", "0", "--jobs", "10", "--broker",
                            broker.endpoint()}});
    EXPECT_TRUE(eventually([&] { return bench.errors().find("a worker that serves") != std::string::npos; }));
}

}  // namespace
}  // namespace jobyard::test
