// How a broker starts, refuses to start, stops, and comes back.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <iostream>
#include <thread>

#include "harness.hpp"
#include "raw_peer.hpp"

namespace jobyard::test {
namespace {

using namespace std::chrono_literals;

Ran run_broker(const std::vector<std::string>& flags) {
    std::vector<std::string> argv{program("jobyard-broker")};
    argv.insert(argv.end(), flags.begin(), flags.end());
    Process process({.argv = argv});
    Ran ran;
    ran.exit = process.wait().value_or(-1);
    ran.output = process.output();
    ran.errors = process.errors();
    return ran;
}

TEST(Start, ASecondBrokerOnADataDirectoryIsRefused) {
    const TemporaryDirectory files;
    BrokerProcess broker;
    const Ran second = run_broker({"--data", broker.data(), "--listen", "ipc://" + files / "other"});
    EXPECT_EQ(second.exit, 4);
    EXPECT_NE(second.errors.find("another broker uses the data directory"), std::string::npos) << second.errors;
    EXPECT_NE(second.errors.find("process " + std::to_string(broker.process().pid())), std::string::npos)
        << second.errors;
    Client client(client_options(broker.endpoint()));
    EXPECT_TRUE(client.submit({.type = "nobody"}).id()) << "the first is not disturbed";
}

TEST(Start, ASecondBrokerOnAnIpcPathIsRefused) {
    const TemporaryDirectory files;
    BrokerProcess broker;
    const Ran second = run_broker({"--data", files / "data", "--listen", broker.endpoint()});
    EXPECT_EQ(second.exit, 5);
    EXPECT_NE(second.errors.find("another broker"), std::string::npos) << second.errors;
    Client client(client_options(broker.endpoint()));
    EXPECT_TRUE(client.submit({.type = "nobody"}).id()) << "the first is not disturbed";
}

TEST(Start, ATakenPortIsRefused) {
    const TemporaryDirectory files;
    BrokerProcess broker({}, BrokerProcess::Listen::tcp);
    const Ran second = run_broker({"--data", files / "data", "--listen", broker.endpoint()});
    EXPECT_EQ(second.exit, 5);
    EXPECT_NE(second.errors.find("cannot listen on " + broker.endpoint()), std::string::npos) << second.errors;
}

TEST(Start, AnAddressBeyondLoopbackNeedsInsecure) {
    const TemporaryDirectory files;
    const Ran refused = run_broker({"--data", files / "data", "--listen", "tcp://0.0.0.0:*"});
    EXPECT_EQ(refused.exit, 2);
    EXPECT_NE(refused.errors.find("--insecure"), std::string::npos) << refused.errors;
    EXPECT_FALSE(exists(files / "data")) << "nothing was made";
    Process allowed(
        {.argv = {program("jobyard-broker"), "--data", files / "data", "--listen", "tcp://0.0.0.0:*", "--insecure"}});
    EXPECT_TRUE(eventually([&] { return allowed.errors().find("listening on") != std::string::npos; }))
        << allowed.errors();
}

TEST(Start, ADataDirectoryThatCannotBeMadeIsRefused) {
    const TemporaryDirectory files;
    write_file(files / "file", "");
    EXPECT_EQ(run_broker({"--data", files / "file/data"}).exit, 3);
    EXPECT_EQ(run_broker({"--data"}).exit, 2);
    EXPECT_EQ(run_broker({"--help"}).exit, 0);
}

TEST(Start, TheIpcSocketIsForItsUserAlone) {
    BrokerProcess broker;
    struct stat info {};
    ASSERT_EQ(::stat(broker.endpoint().substr(6).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

TEST(Stop, SigtermCommitsSaysGoodbyeAndExitsWithZero) {
    BrokerProcess broker;
    Client client(client_options(broker.endpoint()));
    RawPeer peer(broker.endpoint());
    peer.hello(submitter_hello());
    std::vector<Submission> jobs;
    for (int i = 0; i < 100; ++i) jobs.push_back(client.submit({.type = "nobody"}));
    ASSERT_TRUE(jobs.back().id());
    const auto asked = std::chrono::steady_clock::now();
    EXPECT_EQ(broker.terminate(), 0);
    EXPECT_LT(std::chrono::steady_clock::now() - asked, 15s);
    const auto goodbye = peer.receive_a<Goodbye>();
    ASSERT_TRUE(goodbye);
    EXPECT_EQ(std::get<Goodbye>(goodbye->envelope.message).reason, GoodbyeReason::restarting);
}

TEST(Stop, WorkersRunOnAndComeBackToTheNextRunWhichHasEverything) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    BrokerProcess broker({"--claim-window", "60000"});
    auto worker = start_test_worker(broker.endpoint(), {{"log", log}, {"gate", files / "gate"}});
    Client client(client_options(broker.endpoint()));
    const Submission running = client.submit({.type = "gated", .watch = true});
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 1; }));
    const Submission queued = client.submit({.type = "echo", .payload = "queued", .watch = true});
    const Submission other = client.submit({.type = "nobody", .priority = 9, .key = "k"});
    const Submission delayed = client.submit({.type = "nobody", .delay_ms = 3'600'000});
    const Submission cancelled = client.submit({.type = "nobody"});
    ASSERT_TRUE(client.cancel(cancelled.id().value()));
    ASSERT_TRUE(other.id() && delayed.id());
    EXPECT_EQ(broker.terminate(), 0);
    EXPECT_TRUE(worker->running());
    broker.start();
    ASSERT_TRUE(workers_arrived(client, 1));
    EXPECT_EQ(state_of(client, *running.id()), JobState::running);
    EXPECT_EQ(state_of(client, *delayed.id()), JobState::scheduled);
    EXPECT_EQ(state_of(client, *cancelled.id()), JobState::cancelled);
    const JobInfo kept = client.show(*other.id()).value();
    EXPECT_EQ(kept.state, JobState::queued);
    EXPECT_EQ(kept.priority, 9U);
    EXPECT_EQ(kept.key, "k");
    open_gate(files / "gate");
    EXPECT_EQ(running.result(kPatience).value().attempt, 1U);
    EXPECT_EQ(queued.result(kPatience).value().bytes, "queued");
    EXPECT_EQ(executions_of(log, *running.id()).size(), 1U);
    EXPECT_EQ(all_jobs(client).size(), 5U);
}

TEST(Stop, AStartAndAStopWithoutAnyPeerLeaveADirectoryThatOpensAgain) {
    BrokerProcess broker;
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(broker.terminate(), 0);
        broker.start();
    }
    Client client(client_options(broker.endpoint()));
    EXPECT_EQ(counter(client, "epoch"), 4U);
}

TEST(Stop, WhoSaysGoodbyeIsGoneAtOnceHoweverSoonItsConnectionCloses) {
    BrokerProcess broker({"--reconnect-grace", "1h"});
    Client client(client_options(broker.endpoint()));
    for (int i = 0; i < 20; ++i) {
        auto worker = start_command_worker(broker.endpoint());
        ASSERT_TRUE(client.run({.type = "command", .payload = command_payload({"true"})}, kPatience));
        worker->signal(SIGTERM);
        EXPECT_EQ(worker->wait(), 0);
        EXPECT_TRUE(eventually([&] { return counter(client, "workers") == 0; })) << "after worker " << i;
        EXPECT_EQ(jobyard_command(broker.endpoint(), {"submit", "--type", "nobody"}).exit, 0);
    }
    EXPECT_EQ(counter(client, "workers_lost"), 0U);
    EXPECT_TRUE(eventually([&] { return counter(client, "instances") == 1; })) << counter(client, "instances");
}

/// A pipe that is full and that nobody reads.
class FullPipe {
 public:
    FullPipe() {
        if (::pipe2(ends_, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
        ::fcntl(ends_[1], F_SETFL, O_NONBLOCK);
        const std::string junk(4096, '.');
        while (::write(ends_[1], junk.data(), junk.size()) > 0) {
        }
        while (::write(ends_[1], ".", 1) > 0) {
        }
        ::fcntl(ends_[1], F_SETFL, 0);
    }
    ~FullPipe() {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    [[nodiscard]] int writer() const { return ends_[1]; }

 private:
    int ends_[2];
};

TEST(Log, ThatNobodyReadsDoesNotStopTheLoop) {
    const FullPipe pipe;
    BrokerProcess broker({"--log-level", "trace", "--reconnect-grace", "50"});
    broker.kill();
    broker.set_errors_to(pipe.writer());
    broker.start();
    Client client(client_options(broker.endpoint()));
    // Its own incidents: every one of these is a line in the log.
    for (int i = 0; i < 3; ++i) {
        broker.process().signal(SIGSTOP);
        std::this_thread::sleep_for(1800ms);
        broker.process().signal(SIGCONT);
        for (int n = 0; n < 100; ++n) ASSERT_TRUE(client.submit({.type = "nobody"}).id(kPatience));
    }
    const std::uint64_t longest_us = counter(client, "broker.longest_turn_us");
    std::cout << "the longest turn took " << static_cast<double>(longest_us) / 1000 << " ms\n";
    EXPECT_LT(longest_us, 5'000'000U);
    const auto asked = std::chrono::steady_clock::now();
    EXPECT_EQ(broker.terminate(), 0) << "nobody reads its log, and it does not end";
    EXPECT_LT(std::chrono::steady_clock::now() - asked, 15s);
}

TEST(Log, OfAWorkerThatNobodyReadsDoesNotStopItEither) {
    const FullPipe pipe;
    BrokerProcess broker;
    Process worker({.argv = {program("jobyard-worker"), "--broker", broker.endpoint()}, .errors_to = pipe.writer()});
    Client client(client_options(broker.endpoint()));
    const Result<JobResult> result = client.run({.type = "command", .payload = command_payload({"true"})}, kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->state, JobState::completed);
    worker.signal(SIGTERM);
    EXPECT_EQ(worker.wait(), 0) << "nobody reads its log, and it does not end";
    EXPECT_TRUE(workers_arrived(client, 0));
}

}  // namespace
}  // namespace jobyard::test
