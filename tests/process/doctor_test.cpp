// `jobyard doctor`: each finding is shown by planting its cause.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using nlohmann::json;

/// Of each check its text if it is a problem, "ok" if it is none.
std::map<std::string, std::string> doctor(const std::string& broker, std::vector<std::string> arguments = {},
                                          const std::string& limits = "ulimit -n 20000") {
    std::string command = limits + "; exec " + program("jobyard") + " doctor --json";
    for (const std::string& argument : arguments) command += " " + argument;
    Process process({.argv = {"/bin/sh", "-c", command}, .env = {{"JOBYARD_BROKER", broker}}});
    const int exit = process.wait().value_or(-1);
    std::map<std::string, std::string> told;
    bool problems = false;
    for (const std::string& line : lines_of(process.output())) {
        const json object = json::parse(line, nullptr, false);
        const bool problem = object.value("status", "") == "problem";
        told[object.value("check", "?")] = problem ? object.value("text", "") : "ok";
        EXPECT_EQ(problem, object.contains("do")) << line;
        problems = problems || problem;
    }
    EXPECT_EQ(exit, problems ? 1 : 0) << process.output() << process.errors();
    return told;
}

testing::AssertionResult says(const std::map<std::string, std::string>& told, const std::string& check,
                              const std::string& part) {
    const auto found = told.find(check);
    if (found == told.end()) return testing::AssertionFailure() << "there is no check " << check;
    if (found->second.find(part) == std::string::npos)
        return testing::AssertionFailure() << check << ": " << found->second;
    return testing::AssertionSuccess();
}

TEST(Doctor, FindsNothingWrongWhereNothingIs) {
    BrokerProcess broker;
    const auto told = doctor(broker.endpoint(), {"--data", broker.data()});
    for (const char* check : {"endpoint", "broker", "data directory", "store", "lock", "descriptors", "address space",
                              "workers", "dead letters"})
        EXPECT_TRUE(says(told, check, "ok"));
}

TEST(Doctor, NobodyAtTheEndpoint) {
    const TemporaryDirectory files;
    EXPECT_TRUE(says(doctor("ipc://" + files / "broker"), "broker", "no broker answers at ipc://"));
    EXPECT_TRUE(says(doctor("tcp://nowhere"), "endpoint", "tcp://nowhere"));
}

TEST(Doctor, AnEndpointDirectoryThatOthersMayOpen) {
    const TemporaryDirectory files;
    std::filesystem::create_directory(files / "jobyard");
    ASSERT_EQ(::chmod((files / "jobyard").c_str(), 0777), 0);
    const auto told = doctor("", {}, "unset JOBYARD_BROKER; export XDG_RUNTIME_DIR=" + files.path());
    EXPECT_TRUE(says(told, "endpoint", files / "jobyard"));
}

TEST(Doctor, ADataDirectoryThatIsOpenOrNotThere) {
    BrokerProcess broker;
    ASSERT_EQ(::chmod(broker.data().c_str(), 0755), 0);
    EXPECT_TRUE(says(doctor(broker.endpoint(), {"--data", broker.data()}), "data directory", "is open to other users"));
    const auto told = doctor(broker.endpoint(), {"--data", broker.data() + "/none"});
    EXPECT_TRUE(says(told, "data directory", "No such file"));
    EXPECT_TRUE(says(told, "store", "there is no store in"));
}

TEST(Doctor, AFileSystemOfMemoryThatIsNearlyFull) {
    TemporaryDirectory disk;
    if (!disk.mount_disk(std::size_t{64} << 20)) GTEST_SKIP() << "cannot mount a disk: " << std::strerror(errno);
    const auto told = doctor("ipc://" + disk / "broker", {"--data", disk.path()});
    EXPECT_TRUE(says(told, "file system", "a memory file system"));
    EXPECT_TRUE(says(told, "free space", "new jobs are refused"));
}

TEST(Doctor, AStoreWithoutItsLog) {
    BrokerProcess broker;
    ASSERT_EQ(broker.terminate(), 0);
    std::filesystem::remove(broker.data() + "/store/log.0");
    std::filesystem::remove(broker.data() + "/store/log.1");
    EXPECT_TRUE(says(doctor(broker.endpoint(), {"--data", broker.data()}), "store", "commit log"));
}

TEST(Doctor, ALockThatIsNotOfTheBrokerThatAnswers) {
    BrokerProcess one;
    BrokerProcess other;
    ASSERT_EQ(other.terminate(), 0);
    EXPECT_TRUE(says(doctor(one.endpoint(), {"--data", other.data()}), "lock", "but it does not use"));
    EXPECT_TRUE(says(doctor(other.endpoint(), {"--data", one.data()}), "lock",
                     "process " + std::to_string(one.process().pid()) + " holds"));
}

TEST(Doctor, LimitsThatABrokerStartedHereWouldMeet) {
    const TemporaryDirectory files;
    const auto told = doctor("ipc://" + files / "broker", {}, "ulimit -n 1024; ulimit -v 8000000");
    EXPECT_TRUE(says(told, "descriptors", "may have 1024 descriptors"));
    EXPECT_TRUE(says(told, "address space", "may map 7.6 GiB"));
}

TEST(Doctor, JobsThatNobodyServesAndDeadOnes) {
    const TemporaryDirectory files;
    BrokerProcess broker;
    auto worker = start_command_worker(broker.endpoint());
    Client client(client_options(broker.endpoint()));
    ASSERT_TRUE(client.submit({.type = "nobody", .queue = "forgotten"}).id(kPatience));
    const Result<JobResult> failed =
        client.run({.type = "command", .payload = command_payload({"false"}), .max_attempts = 1}, kPatience);
    ASSERT_TRUE(failed) << failed.error().text;
    const auto told = doctor(broker.endpoint());
    EXPECT_TRUE(says(told, "workers", "no worker serves the oldest job of 1 queue (forgotten)"));
    EXPECT_TRUE(says(told, "dead letters", "1 jobs have failed for good"));
}

}  // namespace
}  // namespace jobyard::test
