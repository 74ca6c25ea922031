// Arrays: a broker that is killed while it makes them, and the `jobyard` command.

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using nlohmann::json;

class Arrays : public testing::Test {
 protected:
    Ran run(const std::vector<std::string>& arguments) { return jobyard_command(broker_.endpoint(), arguments, {}); }
    std::string first_line(const std::vector<std::string>& arguments) {
        const Ran ran = run(arguments);
        EXPECT_EQ(ran.exit, 0) << ran.errors;
        const std::vector<std::string> lines = lines_of(ran.output);
        return lines.empty() ? "" : lines[0];
    }
    json object(std::vector<std::string> arguments) {
        arguments.push_back("--json");
        return json::parse(first_line(arguments), nullptr, false);
    }
    ArrayInfo shown(Client& client, JobId array) {
        const Result<ArrayInfo> info = client.array(array, kPatience);
        EXPECT_TRUE(info) << info.error().text;
        return info ? *info : ArrayInfo{};
    }
    void kill_and_start() {
        broker_.kill();
        broker_.start();
    }
    /// Which jobs each index was run as.
    std::map<std::uint64_t, std::set<std::uint64_t>> jobs_by_index() const {
        std::map<std::uint64_t, std::set<std::uint64_t>> jobs;
        std::istringstream lines(read_file(log_));
        for (std::uint64_t job = 0, index = 0; lines >> job >> index;) jobs[index].insert(job);
        return jobs;
    }

    TemporaryDirectory files_;
    const std::string log_ = files_ / "indices";
    BrokerProcess broker_{{"--limit", "queue_jobs=500"}};
};

TEST_F(Arrays, EachIndexIsMadeOnceAndTheFailedAgainHoweverOftenTheBrokerIsKilled) {
    constexpr std::uint64_t kJobs = 3000;
    Client client(client_options(broker_.endpoint()));
    const Submission submitted =
        client.submit({.type = "index", .payload = log_, .watch = true, .array = {.count = kJobs}});
    const JobId array = submitted.id(kPatience).value();
    // The queue takes 500: there it stands in the middle, and again after each 500 that are done.
    ASSERT_TRUE(eventually([&] { return shown(client, array).made == 500; }));
    kill_and_start();
    EXPECT_EQ(shown(client, array).made, 500U);
    EXPECT_EQ(shown(client, array).waiting, 500U);
    auto worker = start_test_worker(broker_.endpoint(), {{"slots", "8"}, {"credit", "64"}});
    for (const std::uint64_t part : {700U, 1500U, 2600U}) {
        ASSERT_TRUE(eventually([&] { return shown(client, array).made >= part; }));
        kill_and_start();
    }
    const Result<JobResult> end = submitted.result(kPatience);
    ASSERT_TRUE(end) << end.error().text;
    EXPECT_EQ(end->state, JobState::dead);
    EXPECT_EQ(end->error, "300 dead of 3000 jobs");
    const ArrayInfo info = shown(client, array);
    EXPECT_EQ(info.made, kJobs);
    EXPECT_EQ(info.completed, kJobs - 300);
    auto jobs = jobs_by_index();
    EXPECT_EQ(jobs.size(), kJobs) << "none was left out";
    for (const auto& [index, ids] : jobs) EXPECT_EQ(ids.size(), 1U) << "index " << index << " was made twice";
    EXPECT_EQ(counter(client, "jobs.submitted_total"), kJobs);

    write_file(log_ + ".mended", "");
    const JobId again = client.resubmit(array, false, kPatience).value();
    kill_and_start();
    EXPECT_EQ(client.resubmit(array, false, kPatience).value(), again) << "as if the answer had been lost";
    const Result<JobResult> mended = client.wait(again, kPatience);
    ASSERT_TRUE(mended) << mended.error().text;
    EXPECT_EQ(mended->state, JobState::completed);
    EXPECT_EQ(shown(client, again).completed, 300U);
    jobs = jobs_by_index();
    for (const auto& [index, ids] : jobs) EXPECT_EQ(ids.size(), index % 10 == 7 ? 2U : 1U) << "index " << index;
    EXPECT_EQ(counter(client, "jobs.submitted_total"), kJobs + 300);
    EXPECT_EQ(counter(client, "jobs.dead"), 0U);
}

TEST_F(Arrays, ACommandFindsItsIndexAndTheExitCodeTells) {
    auto worker = start_command_worker(broker_.endpoint(), {"--slots", "4"});
    const std::string note = "echo $JOBYARD_ARRAY_ID $JOBYARD_ARRAY_INDEX >> " + log_;
    Ran ran = run({"submit", "--wait", "--array", "5-25:10", "--array-name", "seeds", "--", "sh", "-c", note});
    EXPECT_EQ(ran.exit, 0) << ran.errors;
    EXPECT_NE(ran.output.find("completed"), std::string::npos) << ran.output;
    const json listed = object({"array", "list"});
    EXPECT_EQ(listed["name"], "seeds");
    EXPECT_EQ(listed["completed"], 3);
    std::set<std::string> indices;
    for (const std::string& line : lines_of(read_file(log_))) {
        const std::size_t space = line.find(' ');
        EXPECT_EQ(line.substr(0, space), listed["array"]);
        indices.insert(line.substr(space + 1));
    }
    EXPECT_EQ(indices, (std::set<std::string>{"5", "15", "25"}));

    const std::string unless = "test -e " + log_ + ".mended || test $JOBYARD_ARRAY_INDEX != 2";
    ran = run({"submit", "--wait", "--max-attempts", "1", "--array", "0-4%2", "--", "sh", "-c", unless});
    EXPECT_EQ(ran.exit, 1) << ran.errors;
    EXPECT_NE(ran.output.find("1 dead of 5 jobs"), std::string::npos) << ran.output;
    const std::string array = object({"array", "list"})["array"];
    EXPECT_EQ(object({"list", "--array", array, "--state", "dead"})["array_index"], 2);
    EXPECT_EQ(object({"show", array})["at_once"], 2);
    write_file(log_ + ".mended", "");
    ran = run({"array", "resubmit", array, "--failed", "--wait"});
    EXPECT_EQ(ran.exit, 0) << ran.errors;
    EXPECT_EQ(object({"array", "list"})["resubmits"], array);
    EXPECT_EQ(object({"array", "list"})["count"], 1);
    EXPECT_EQ(run({"wait", array}).exit, 1) << "of what it was";
    EXPECT_EQ(run({"dead", "list"}).output, "");
}

TEST_F(Arrays, AreStoppedAndCancelled) {
    const std::string array = first_line({"submit", "--array", "1-1000", "--", "true"});
    ASSERT_TRUE(eventually([&] { return object({"array", "show", array})["made"] == 500; }));
    EXPECT_EQ(run({"array", "stop", array}).exit, 0);
    EXPECT_EQ(run({"array", "stop", array}).exit, 4);
    EXPECT_NE(run({"array", "show", array}).output.find("stopped"), std::string::npos);
    EXPECT_EQ(run({"cancel", array}).exit, 0);
    EXPECT_EQ(run({"wait", array}).exit, 1);
    EXPECT_EQ(object({"array", "show", array})["cancelled"], 500);
    EXPECT_EQ(run({"array", "resubmit", array}).exit, 4) << "nothing is dead";
    EXPECT_EQ(run({"array", "show", "999"}).exit, 4);
    for (const std::string wrong : {"9-0", "0", "a-b", "0-9:0", "0-9%0", "0-9x", "0-99999999999999999999"}) {
        const Ran ran = run({"submit", "--array", wrong, "--", "true"});
        EXPECT_EQ(ran.exit, 2) << wrong;
        EXPECT_NE(ran.errors.find("FIRST-LAST"), std::string::npos) << ran.errors;
    }
    EXPECT_EQ(run({"submit", "--array-name", "x", "--", "true"}).exit, 2);
    EXPECT_EQ(run({"submit", "--array", "0-9", "--hold", "--", "true"}).exit, 2);
}

}  // namespace
}  // namespace jobyard::test
