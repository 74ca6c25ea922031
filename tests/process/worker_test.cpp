// jobyard-worker and the worker library as processes: commands, their streams and groups, draining, stuck slots.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using namespace std::chrono_literals;

constexpr BackoffPolicy kQuick{.initial_ms = 20, .factor_percent = 100, .max_ms = 20, .jitter_percent = 0};

class Commands : public testing::Test {
 protected:
    Submission submit(const std::string& script, JobSpec spec = {}) {
        spec.type = "command";
        spec.payload = command_payload({"/bin/sh", "-c", script});
        spec.watch = true;
        return client_.submit(std::move(spec));
    }
    static nlohmann::json decoded(const std::string& bytes) { return nlohmann::json::from_msgpack(bytes); }
    static std::string text(const nlohmann::json& bytes) {
        const auto& binary = bytes.get_binary();
        return {binary.begin(), binary.end()};
    }
    JobResult result_of(const Submission& job) {
        const Result<JobResult> result = job.result(kPatience);
        EXPECT_TRUE(result) << result.error().text;
        return result ? *result : JobResult{};
    }
    std::string note_in_log() const {
        return "echo $JOBYARD_JOB_ID $JOBYARD_ATTEMPT $JOBYARD_LEASE_TOKEN >> " + log_ + "; ";
    }
    bool begun(std::size_t count) {
        return eventually([&] { return executions(log_).size() >= count; });
    }
    const TemporaryDirectory files_;
    const std::string log_ = files_ / "executions";
    const std::string gate_ = files_ / "gate";
    const std::string wait_for_gate_ = "while [ ! -e " + gate_ + " ]; do sleep 0.02; done; ";
    BrokerProcess broker_{{"--reconnect-grace", "100"}};
    Client client_{client_options(broker_.endpoint())};
};

TEST_F(Commands, GiveTheirOutputTheirErrorsAndTheirExitStatus) {
    auto worker = start_command_worker(broker_.endpoint());
    const JobResult result = result_of(submit("echo to output; echo to errors >&2; exit 3", {.max_attempts = 1}));
    EXPECT_EQ(result.state, JobState::dead);
    const auto map = decoded(result.bytes);
    EXPECT_EQ(map["exit_status"], 3);
    EXPECT_EQ(map["signal"], 0);
    EXPECT_EQ(text(map["stdout"]), "to output\n");
    EXPECT_EQ(text(map["stderr"]), "to errors\n");
    EXPECT_EQ(map["truncated"], false);
    EXPECT_EQ(client_.show(result.job).value().attempts.at(0).tail, "to errors\n");
    const JobResult good = result_of(submit("true"));
    EXPECT_EQ(good.state, JobState::completed);
    const JobResult killed = result_of(submit("kill -9 $$", {.max_attempts = 1}));
    EXPECT_EQ(decoded(killed.bytes)["exit_status"], 128 + SIGKILL);
    EXPECT_EQ(decoded(killed.bytes)["signal"], SIGKILL);
}

TEST_F(Commands, KeepTheFirst256KiBOfOutputAndTheLast64KiBOfErrors) {
    auto worker = start_command_worker(broker_.endpoint());
    const JobResult result =
        result_of(submit("printf first; head -c 400000 /dev/zero | tr '\\0' o; head -c 100000 /dev/zero | tr '\\0' e "
                         ">&2; printf last >&2"));
    ASSERT_EQ(result.state, JobState::completed);
    const auto map = decoded(result.bytes);
    const std::string output = text(map["stdout"]);
    const std::string errors = text(map["stderr"]);
    EXPECT_EQ(output.size(), 256U << 10U);
    EXPECT_EQ(output.substr(0, 6), "firsto");
    EXPECT_EQ(map["stdout_bytes"], 400005);
    EXPECT_EQ(map["truncated"], true);
    EXPECT_EQ(errors.size(), 64U << 10U);
    EXPECT_EQ(errors.substr(errors.size() - 5), "elast");
    EXPECT_EQ(map["stderr_bytes"], 100004);
}

TEST_F(Commands, KnowTheirJobTheirAttemptAndTheirToken) {
    auto worker = start_command_worker(broker_.endpoint(), {"--name", "here"});
    const Submission job =
        client_.submit({.type = "command",
                        .payload = command_payload(
                            {"/bin/sh", "-c", "echo $JOBYARD_JOB_ID $JOBYARD_ATTEMPT $JOBYARD_LEASE_TOKEN $GIVEN"},
                            {{"GIVEN", "and this"}}),
                        .watch = true});
    const JobResult result = result_of(job);
    const JobInfo info = client_.show(result.job).value();
    EXPECT_EQ(info.worker, "here");
    EXPECT_EQ(
        text(decoded(result.bytes)["stdout"]),
        std::to_string(result.job.value) + " 1 " + std::to_string(info.attempts.at(0).token.value) + " and this\n");
}

TEST_F(Commands, ThatCannotBeBegunOrAreNoCommandFailWithAReason) {
    auto worker = start_command_worker(broker_.endpoint());
    const JobResult missing = result_of(client_.submit(
        {.type = "command", .payload = command_payload({"/no/such/program"}), .max_attempts = 1, .watch = true}));
    EXPECT_EQ(missing.state, JobState::dead);
    EXPECT_NE(missing.error.find("/no/such/program"), std::string::npos) << missing.error;
    const JobResult garbage = result_of(client_.submit({.type = "command", .payload = "garbage", .watch = true}));
    EXPECT_EQ(garbage.state, JobState::dead);
    EXPECT_EQ(garbage.reason, Reason::not_retryable);
    EXPECT_FALSE(garbage.error.empty());
}

TEST_F(Commands, ThatHangPastTheirTimeoutAreStopped) {
    auto worker = start_command_worker(broker_.endpoint());
    const JobResult result = result_of(submit("sleep 1000 & echo $! >> " + (files_ / "pids") + "; wait",
                                              {.timeout_ms = 400, .max_attempts = 2, .backoff = kQuick}));
    EXPECT_EQ(result.state, JobState::dead);
    const JobInfo info = client_.show(result.job).value();
    ASSERT_EQ(info.attempts.size(), 2U);
    EXPECT_EQ(info.attempts[0].outcome, "timeout");
    EXPECT_EQ(info.attempts[1].outcome, "timeout");
    for (const std::string& pid : lines_of(read_file(files_ / "pids")))
        EXPECT_TRUE(eventually([&] { return !is_alive(std::stoi(pid)); })) << "a child of the command lives on";
}

TEST_F(Commands, ACancelledOneGetsTermAndEnds) {
    auto worker = start_command_worker(broker_.endpoint());
    const std::string told = files_ / "told";
    const Submission job =
        submit("trap 'echo term > " + told + "; exit 0' TERM; " + note_in_log() + "while :; do sleep 0.02; done");
    ASSERT_TRUE(begun(1));
    EXPECT_EQ(client_.cancel(job.id().value()).value().code, Code::cancel_requested);
    const JobResult result = result_of(job);
    EXPECT_EQ(read_file(told), "term\n");
    // It ended by itself with 0: a success that came first, or a cancelled one; never anything else.
    EXPECT_TRUE(result.state == JobState::cancelled || result.state == JobState::completed) << to_string(result.state);
}

TEST_F(Commands, ACancelledOneThatIgnoresTermIsKilledAfterTheGrace) {
    auto worker = start_command_worker(broker_.endpoint(), {"--kill-grace", "1"});
    const Submission job =
        submit("trap '' TERM; echo $$ > " + (files_ / "pid") + "; " + note_in_log() + "while :; do sleep 0.02; done");
    ASSERT_TRUE(begun(1));
    const auto asked = std::chrono::steady_clock::now();
    EXPECT_EQ(client_.cancel(job.id().value()).value().code, Code::cancel_requested);
    EXPECT_EQ(result_of(job).state, JobState::cancelled);
    EXPECT_GE(std::chrono::steady_clock::now() - asked, 1s) << "KILL came before TERM had its time";
    EXPECT_FALSE(is_alive(std::stoi(read_file(files_ / "pid"))));
}

TEST_F(Commands, OfAKilledWorkerAreKilledWithTheirWholeGroups) {
    auto worker = start_command_worker(broker_.endpoint(), {"--slots", "2"});
    const std::string pids = files_ / "pids";
    const std::string script = "sleep 1000 & echo $! >> " + pids + "; echo $$ >> " + pids + "; wait";
    submit(script);
    submit(script);
    ASSERT_TRUE(eventually([&] { return lines_of(read_file(pids)).size() == 4; }));
    worker->kill();
    for (const std::string& pid : lines_of(read_file(pids)))
        EXPECT_TRUE(eventually([&] { return !is_alive(std::stoi(pid)); }))
            << "process " << pid << " outlived its worker";
}

TEST_F(Commands, AreRefusedOverTheNetworkWithoutAllowCommands) {
    BrokerProcess reachable({}, BrokerProcess::Listen::tcp);
    auto refused = start_command_worker(reachable.endpoint());
    EXPECT_EQ(refused->wait(), 2);
    EXPECT_NE(refused->errors().find("--allow-commands"), std::string::npos) << refused->errors();
    auto allowed = start_command_worker(reachable.endpoint(), {"--allow-commands"});
    Client client(client_options(reachable.endpoint()));
    const Result<JobResult> result = client.run({.type = "command", .payload = command_payload({"true"})}, kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->state, JobState::completed);
}

TEST_F(Commands, RunOnWhileTheBrokerIsAwayAndAreNotRunAgain) {
    auto worker = start_command_worker(broker_.endpoint());
    const Submission job = submit(note_in_log() + wait_for_gate_ + "echo done");
    ASSERT_TRUE(begun(1));
    broker_.kill();
    broker_.start();
    open_gate(gate_);
    const JobResult result = result_of(job);
    EXPECT_EQ(result.state, JobState::completed);
    EXPECT_EQ(result.attempt, 1U);
    EXPECT_EQ(executions(log_).size(), 1U);
}

// --- leaving ---------------------------------------------------------------------------------------------------------

TEST_F(Commands, ADrainingWorkerLetsRunningOnesEndAndHandsTheOthersBackUncharged) {
    auto worker = start_command_worker(broker_.endpoint(), {"--name", "leaving", "--slots", "1", "--credit", "3"});
    std::vector<Submission> jobs;
    for (int i = 0; i < 3; ++i) jobs.push_back(submit(note_in_log() + wait_for_gate_));
    ASSERT_TRUE(begun(1));
    ASSERT_TRUE(eventually([&] { return counter(client_, "dispatched") == 3; })) << "it holds two ahead";
    worker->signal(SIGTERM);
    ASSERT_TRUE(eventually([&] { return counter(client_, "jobs.queued") == 2; })) << "they went back at once";
    EXPECT_TRUE(worker->running()) << "its running command has not ended";
    auto other = start_command_worker(broker_.endpoint(), {"--name", "staying", "--slots", "3"});
    ASSERT_TRUE(begun(3));
    open_gate(gate_);
    for (const Submission& job : jobs) {
        const JobResult result = result_of(job);
        EXPECT_EQ(result.state, JobState::completed);
        EXPECT_EQ(result.attempt, 1U);
    }
    EXPECT_EQ(worker->wait(), 0);
    EXPECT_EQ(client_.show(jobs[0].id().value()).value().worker, "leaving");
    EXPECT_EQ(client_.show(jobs[1].id().value()).value().worker, "staying");
    EXPECT_EQ(executions(log_).size(), 3U);
    EXPECT_EQ(counter(client_, "workers_lost"), 0U);
}

TEST_F(Commands, ThatRunBeyondTheDrainTimeAreStoppedAndHandedBackUncharged) {
    auto worker = start_command_worker(broker_.endpoint(), {"--drain", "1", "--kill-grace", "1"});
    const Submission job = submit("trap '' TERM; " + note_in_log() + wait_for_gate_, {.max_attempts = 1});
    ASSERT_TRUE(begun(1));
    worker->signal(SIGTERM);
    EXPECT_EQ(worker->wait(), 0);
    EXPECT_EQ(state_of(client_, job.id().value()), JobState::queued);
    open_gate(gate_);
    auto other = start_command_worker(broker_.endpoint());
    const JobResult result = result_of(job);
    EXPECT_EQ(result.state, JobState::completed);
    EXPECT_EQ(result.attempt, 1U);
    const std::vector<Execution> runs = executions(log_);
    ASSERT_EQ(runs.size(), 2U);
    EXPECT_EQ(runs[1].attempt, 1U);
    EXPECT_LT(runs[0].token, runs[1].token);
}

TEST_F(Commands, ASecondSigtermHandsEverythingBackAtOnce) {
    auto worker = start_command_worker(broker_.endpoint());
    const Submission job = submit(note_in_log() + wait_for_gate_);
    ASSERT_TRUE(begun(1));
    worker->signal(SIGTERM);
    ASSERT_TRUE(eventually([&] { return worker->errors().find("leaving") != std::string::npos; })) << worker->errors();
    worker->signal(SIGTERM);
    EXPECT_EQ(worker->wait(), 0);
    EXPECT_EQ(state_of(client_, job.id().value()), JobState::queued);
}

// --- stuck slots -----------------------------------------------------------------------------------------------------

TEST_F(Commands, AHandlerThatHangsFailsItsAttemptAtOnceAndKeepsItsSlot) {
    auto worker = start_test_worker(broker_.endpoint(), {{"slots", "2"}, {"log", log_}, {"gate", gate_}});
    const JobResult hung =
        result_of(client_.submit({.type = "hang", .timeout_ms = 300, .max_attempts = 1, .watch = true}));
    EXPECT_EQ(hung.state, JobState::dead);
    EXPECT_EQ(client_.show(hung.job).value().attempts.at(0).outcome, "timeout");
    // One slot is left, so of two gated jobs one waits.
    const Submission first = client_.submit({.type = "gated", .watch = true});
    const Submission second = client_.submit({.type = "gated", .watch = true});
    ASSERT_TRUE(begun(2));
    EXPECT_EQ(state_of(client_, second.id().value()), JobState::queued);
    open_gate(gate_);
    EXPECT_EQ(result_of(first).state, JobState::completed);
    EXPECT_EQ(result_of(second).state, JobState::completed);
}

TEST_F(Commands, AWorkerWhoseSlotsAreAllStuckExitsWithItsOwnCode) {
    auto worker = start_test_worker(broker_.endpoint(), {{"slots", "2"}, {"grace_ms", "500"}});
    const JobSpec hang{.type = "hang", .timeout_ms = 200, .max_attempts = 1, .watch = true};
    const Submission first = client_.submit(hang);
    const Submission second = client_.submit(hang);
    EXPECT_EQ(result_of(first).state, JobState::dead);
    EXPECT_EQ(result_of(second).state, JobState::dead);
    EXPECT_EQ(worker->wait(), 4);
    EXPECT_NE(worker->errors().find("stuck"), std::string::npos) << worker->errors();
    EXPECT_TRUE(workers_arrived(client_, 0));
}

TEST_F(Commands, AHandlerThatRunsLongerThanALeaseKeepsItsLease) {
    BrokerProcess quick({"--heartbeat", "200", "--lost-after", "4000", "--renew", "300", "--lease", "4000"});
    auto worker = start_test_worker(quick.endpoint(), {{"log", log_}});
    Client client(client_options(quick.endpoint()));
    // Longer than a lease and longer than a silent worker is believed.
    const Result<JobResult> result = client.run({.type = "work", .payload = "6000"}, kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->attempt, 1U);
    EXPECT_EQ(executions(log_).size(), 1U);
}

}  // namespace
}  // namespace jobyard::test
