// The C interface, driven by a program in C (c_client.c) through every function; a scenario of it is a test.

#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "harness.hpp"

namespace jobyard::test {
namespace {

struct CInterface : testing::Test {
    const TemporaryDirectory files;

    void expect_fine(const std::string& scenario, const std::string& endpoint, const std::string& directory) {
        Process process({.argv = {JOBYARD_TEST_BIN_DIR "/c_client", scenario, endpoint, directory}});
        EXPECT_EQ(process.wait(), 0) << process.errors();
        EXPECT_EQ(process.errors(), "");
    }
    void expect_fine(const std::string& scenario, const BrokerProcess& broker) {
        expect_fine(scenario, broker.endpoint(), files.path());
    }
    std::unique_ptr<Process> start_worker(const BrokerProcess& broker) {
        return start_test_worker(broker.endpoint(), {{"name", "here"}, {"gate", files / "gate"}});
    }
};

TEST_F(CInterface, WordsNumbersAndVersionAreThoseOfTheLibrary) { expect_fine("words", "", JOBYARD_VERSION); }

TEST_F(CInterface, SubmitsOneAndManyAndWaitsForThem) {
    const BrokerProcess broker;
    const auto worker = start_worker(broker);
    expect_fine("submit", broker);
}

TEST_F(CInterface, ChangesCancelsAndRedrivesJobs) {
    const BrokerProcess broker({"--renew", "50ms"});  // which is how often a job's progress is told
    const auto worker = start_worker(broker);
    expect_fine("steer", broker);
}

TEST_F(CInterface, ShowsAndListsJobsAndCounters) {
    const BrokerProcess broker;
    const auto worker = start_worker(broker);
    expect_fine("ask", broker);
}

TEST_F(CInterface, SubmitsStopsAndResubmitsArrays) {
    const BrokerProcess broker;
    const auto worker = start_worker(broker);
    expect_fine("arrays", broker);
}

TEST_F(CInterface, SetsQueuesAndDoesThingsToManyJobs) {
    const BrokerProcess broker;
    expect_fine("queues", broker);
}

TEST_F(CInterface, FollowsEventsAndSteersWorkers) {
    const BrokerProcess broker;
    const auto worker = start_worker(broker);
    expect_fine("watch", broker);
}

TEST_F(CInterface, ABrokerThatIsAwayIsATimeoutThatNamesIt) {
    expect_fine("away", "ipc://" + (files / "nobody"), files.path());
}

TEST_F(CInterface, WrongArgumentsAreErrors) {
    const BrokerProcess broker;
    expect_fine("wrong", broker);
}

TEST_F(CInterface, TooLittleMemoryIsAnError) {
    if (kSanitized) GTEST_SKIP() << "a sanitizer ends a program that asks for more memory than there is";
    const BrokerProcess broker;
    expect_fine("memory", broker);
}

TEST_F(CInterface, TheProgramInCCallsEveryFunctionOfTheHeader) {
    const std::string header = read_file(JOBYARD_SOURCE_DIR "/client/include/jobyard/jobyard.h");
    const std::string program = read_file(JOBYARD_SOURCE_DIR "/tests/process/c_client.c");
    const std::regex declared(R"(JOBYARD_C_API [^;(]*?(jobyard_[a-z_]+)\()");
    std::set<std::string> functions;
    for (std::sregex_iterator at(header.begin(), header.end(), declared), end; at != end; ++at) {
        functions.insert((*at)[1]);
        EXPECT_NE(program.find((*at)[1].str() + "("), std::string::npos) << (*at)[1];
    }
    EXPECT_EQ(functions.size(), 56U) << "as many as were looked for";
}

}  // namespace
}  // namespace jobyard::test
