// `jobyard events` and `jobyard worker` with real programs: exact through crashes of the broker.

#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using nlohmann::json;

class Events : public testing::Test {
 protected:
    std::unique_ptr<Process> follow(std::vector<std::string> flags = {}) {
        std::vector<std::string> argv{program("jobyard"), "events",   "--follow",
                                      "--json",           "--broker", broker_.endpoint()};
        argv.insert(argv.end(), flags.begin(), flags.end());
        return std::make_unique<Process>(Process::Options{.argv = std::move(argv)});
    }
    static std::vector<json> objects(const std::string& text) {
        std::vector<json> found;
        for (const std::string& line : lines_of(text)) {
            found.push_back(json::parse(line, nullptr, false));
            EXPECT_TRUE(found.back().is_object()) << line;
        }
        return found;
    }
    std::vector<json> read(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), {"events", "--json"});
        const Ran ran = jobyard_command(broker_.endpoint(), arguments);
        EXPECT_EQ(ran.exit, 0) << ran.errors;
        return objects(ran.output);
    }
    JobId submit(const JobSpec& spec) {
        const Result<JobId> id = client_.submit(spec).id(kPatience);
        EXPECT_TRUE(id);
        return id ? *id : JobId{};
    }
    static std::uint64_t number_of(const json& event) { return std::stoull(event["event"].get<std::string>()); }

    BrokerProcess broker_;
    Client client_{client_options(broker_.endpoint())};
};

TEST_F(Events, AFollowerSeesEachOnceThroughKillsOfTheBroker) {
    const auto follower = follow({"--after", "0"});
    std::size_t jobs = 0;
    for (int round = 0; round < 4; ++round) {
        std::vector<JobSpec> specs(500, {.type = "t", .queue = "q" + std::to_string(round)});
        const std::vector<Submission> made = client_.submit_all(specs);
        if (round > 0) broker_.kill();
        if (round > 0) broker_.start();
        for (const Submission& job : made) ASSERT_EQ(code_of(job.id(kPatience)), Code::ok);
        jobs += made.size();
    }
    ASSERT_TRUE(eventually([&] { return lines_of(follower->output()).size() >= jobs; }));
    EXPECT_TRUE(follower->running());
    const std::vector<json> events = objects(follower->output());
    ASSERT_EQ(events.size(), jobs);
    for (std::size_t i = 0; i < events.size(); ++i) {
        ASSERT_EQ(number_of(events[i]), i + 1) << "nothing is missed or seen twice";
        EXPECT_EQ(events[i]["kind"], "submitted");
        EXPECT_EQ(events[i]["queue"], "q" + std::to_string(i / 500));
    }
}

TEST_F(Events, AnotherRunGoesOnBehindTheLastNumber) {
    for (int i = 0; i < 10; ++i) submit({.type = "t"});
    const std::vector<json> some = read({"--limit", "4"});
    ASSERT_EQ(some.size(), 4U);
    const std::vector<json> rest = read({"--after", some.back()["event"]});
    ASSERT_EQ(rest.size(), 6U);
    EXPECT_EQ(rest[0]["event"], "5");
}

TEST_F(Events, FollowingBeginsNowAndTellsWhoDidWhatAndWhy) {
    submit({.type = "early"});
    const auto follower = follow({"--kind", "dead", "--kind", "worker_joined", "--limit", "2"});
    // It has begun when it sees what comes now.
    ASSERT_TRUE(eventually([&] { return counter(client_, "submitters") == 2; }));
    const auto worker = start_command_worker(broker_.endpoint(), {"--name", "here"});
    JobSpec spec{.type = "command", .payload = command_payload({"sh", "-c", "exit 3"})};
    spec.max_attempts = 1;
    const JobId job = submit(spec);
    EXPECT_EQ(follower->wait(), 0);
    const std::vector<json> events = objects(follower->output());
    ASSERT_EQ(events.size(), 2U);
    EXPECT_EQ(events[0]["kind"], "worker_joined");
    EXPECT_EQ(events[0]["worker"], "here");
    EXPECT_EQ(events[1]["kind"], "dead");
    EXPECT_EQ(events[1]["job"], std::to_string(job.value));
    EXPECT_EQ(events[1]["type"], "command");
    EXPECT_EQ(events[1]["worker"], "here");
    EXPECT_EQ(events[1]["text"], "failed: exit status 3");
}

TEST_F(Events, WhatRetentionDroppedIsSaid) {
    broker_.terminate();
    broker_.set_flags({"--limit", "events_bytes=400"});
    broker_.start();
    for (int i = 0; i < 100; ++i) submit({.type = "t"});
    ASSERT_TRUE(eventually([&] {
        const std::vector<json> events = read({});
        return !events.empty() && number_of(events[0]) > 50;
    }));
    const std::vector<json> events = read({"--after", "7"});
    ASSERT_GE(events.size(), 2U);
    EXPECT_EQ(events[0]["kind"], "gone");
    EXPECT_EQ(events[0]["first"], "8");
    EXPECT_EQ(std::stoull(events[0]["last"].get<std::string>()) + 1, number_of(events[1]));
    const Ran ran = jobyard_command(broker_.endpoint(), {"events", "--after", "7"});
    EXPECT_NE(ran.errors.find("events 8–"), std::string::npos) << ran.errors;
    EXPECT_NE(ran.errors.find("are gone"), std::string::npos) << ran.errors;
}

TEST_F(Events, WrongUsageIsRefusedWithWhatWasExpected) {
    const Ran kind = jobyard_command(broker_.endpoint(), {"events", "--kind", "exploded"});
    EXPECT_EQ(kind.exit, 2);
    EXPECT_NE(kind.errors.find("worker_lost"), std::string::npos) << kind.errors;
    const Ran ahead = jobyard_command(broker_.endpoint(), {"events", "--after", "99"});
    EXPECT_EQ(ahead.exit, 4);
    EXPECT_NE(ahead.errors.find("newest event is 0"), std::string::npos) << ahead.errors;
}

class Workers : public Events {
 protected:
    std::vector<json> workers(std::vector<std::string> arguments, int exit = 0) {
        arguments.insert(arguments.begin(), "worker");
        arguments.push_back("--json");
        const Ran ran = jobyard_command(broker_.endpoint(), arguments);
        EXPECT_EQ(ran.exit, exit) << ran.errors;
        return objects(ran.output);
    }
    const TemporaryDirectory files_;
};

TEST_F(Workers, AreListedAndShownWithTheirJobs) {
    const auto worker = start_command_worker(broker_.endpoint(), {"--name", "here", "--slots", "2"});
    const JobId job = submit(
        {.type = "command",
         .payload = command_payload({"sh", "-c", "while [ ! -e " + (files_ / "gate") + " ]; do sleep 0.05; done"})});
    ASSERT_TRUE(eventually([&] { return state_of(client_, job) == JobState::running; }));
    const std::vector<json> all = workers({"list"});
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0]["name"], "here");
    EXPECT_EQ(all[0]["state"], "busy");
    EXPECT_EQ(all[0]["slots"], 2);
    EXPECT_EQ(all[0]["types"], json{"command"});
    const std::vector<json> one = workers({"show", "here"});
    ASSERT_EQ(one.size(), 1U);
    EXPECT_EQ(one[0]["jobs"], json{std::to_string(job.value)});
    const Ran shown = jobyard_command(broker_.endpoint(), {"worker", "show", "here"});
    EXPECT_NE(shown.output.find("JOB"), std::string::npos);
    char host[256] = "";
    ASSERT_EQ(gethostname(host, sizeof host - 1), 0);
    EXPECT_EQ(one[0]["host"], host);
    EXPECT_EQ(one[0]["pid"], worker->pid());
    EXPECT_NE(shown.output.find("host          " + std::string(host)), std::string::npos) << shown.output;
    EXPECT_NE(shown.output.find("pid           " + std::to_string(worker->pid())), std::string::npos);
    const Ran listed = jobyard_command(broker_.endpoint(), {"worker", "list"});
    EXPECT_NE(listed.output.find(" " + std::string(host) + " "), std::string::npos) << listed.output;
    EXPECT_NE(listed.output.find(" " + std::to_string(worker->pid()) + "  jobyard-cpp"), std::string::npos)
        << listed.output;
    const Ran unknown = jobyard_command(broker_.endpoint(), {"worker", "show", "there"});
    EXPECT_EQ(unknown.exit, 4);
    EXPECT_NE(unknown.errors.find("there"), std::string::npos);
    open_gate(files_ / "gate");
}

TEST_F(Workers, DrainWaitsForWhatIsHeldAndKeepsTheRestWaitingThroughARestart) {
    const auto worker = start_command_worker(broker_.endpoint(), {"--name", "here", "--slots", "1"});
    const JobId held = submit(
        {.type = "command",
         .payload = command_payload({"sh", "-c", "while [ ! -e " + (files_ / "gate") + " ]; do sleep 0.05; done"})});
    ASSERT_TRUE(eventually([&] { return state_of(client_, held) == JobState::running; }));
    Process drain({.argv = {program("jobyard"), "worker", "drain", "--wait", "here", "--broker", broker_.endpoint()}});
    ASSERT_TRUE(eventually([&] { return workers({"list"})[0]["state"] == "draining"; }));
    const JobId later = submit({.type = "command", .payload = command_payload({"true"})});
    EXPECT_TRUE(drain.running());
    open_gate(files_ / "gate");
    EXPECT_EQ(drain.wait(), 0) << drain.errors();
    EXPECT_NE(drain.output().find("1 worker drained, and empty"), std::string::npos) << drain.output();
    EXPECT_EQ(state_of(client_, held), JobState::completed);
    broker_.kill();
    broker_.start();
    ASSERT_TRUE(eventually([&] { return workers({"list"})[0]["state"] == "draining"; }));
    EXPECT_EQ(state_of(client_, later), JobState::queued);
    EXPECT_EQ(workers({"resume", "here"})[0]["workers"], 1);
    EXPECT_TRUE(client_.wait(later, kPatience));
    EXPECT_EQ(jobyard_command(broker_.endpoint(), {"worker", "drain", "nobody"}).exit, 4);
}

}  // namespace
}  // namespace jobyard::test
