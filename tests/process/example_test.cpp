// The example programs, as a reader of the README would run them.

#include <gtest/gtest.h>
#include <signal.h>

#include "harness.hpp"

namespace jobyard::test {
namespace {

TEST(Examples, ASubmitterGetsFromAWorkerWhatItAskedFor) {
    BrokerProcess broker;
    const std::map<std::string, std::string> env{{"JOBYARD_BROKER", broker.endpoint()}};
    Process worker({.argv = {program("example_worker")}, .env = env});
    Process submit({.argv = {program("example_submit"), "one", "two", "three"}, .env = env});
    EXPECT_EQ(submit.wait(), 0) << submit.errors();
    EXPECT_EQ(submit.output(), "job 1 is durable\n3 words\n");
    Process in_c({.argv = {program("example_submit_c"), "one", "two"}, .env = env});
    EXPECT_EQ(in_c.wait(), 0) << in_c.errors();
    EXPECT_EQ(in_c.output(), "job 2 is durable\n2 words\n");
    Process nothing({.argv = {program("example_submit")}, .env = env});
    EXPECT_EQ(nothing.wait(), 1);
    EXPECT_NE(nothing.errors().find("dead"), std::string::npos) << nothing.errors();
    worker.signal(SIGINT);
    EXPECT_EQ(worker.wait(), 0) << worker.errors();
}

TEST(Examples, TheWorkerMayComeLater) {
    BrokerProcess broker;
    const std::map<std::string, std::string> env{{"JOBYARD_BROKER", broker.endpoint()}};
    Process submit({.argv = {program("example_submit"), "late"}, .env = env});
    Client client(client_options(broker.endpoint()));
    ASSERT_TRUE(eventually([&] { return counter(client, "jobs.queued") == 1; }));
    Process worker({.argv = {program("example_worker")}, .env = env});
    EXPECT_EQ(submit.wait(), 0) << submit.errors();
    EXPECT_NE(submit.output().find("1 words"), std::string::npos) << submit.output();
}

}  // namespace
}  // namespace jobyard::test
