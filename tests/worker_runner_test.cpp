// Commands as real processes, and the keeper that outlives their worker.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <map>
#include <thread>

#include "keeper.hpp"
#include "runner.hpp"
#include "wire.hpp"

namespace jobyard::worker {
namespace {

using namespace std::chrono_literals;

/// State of other processes cannot be waited for as an event; it is looked at until it is so, or ten seconds passed.
bool becomes_true(const std::function<bool()>& condition) {
    const auto until = std::chrono::steady_clock::now() + 10s;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > until) return false;
        poll(nullptr, 0, 5);
    }
    return true;
}

bool group_exists(pid_t group) { return kill(-group, 0) == 0; }

/// The map a command's result is.
struct ResultMap {
    std::map<std::string, std::uint64_t, std::less<>> numbers;
    std::map<std::string, std::string, std::less<>> bytes;
    bool truncated = false;
};
ResultMap read_map(std::string_view encoded) {
    ResultMap map;
    wire::Reader in(encoded);
    const std::uint32_t count = in.map();
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::string key(in.str());
        if (key == "stdout" || key == "stderr") {
            map.bytes[key] = in.bin();
        } else if (key == "truncated") {
            map.truncated = in.boolean();
        } else {
            map.numbers[key] = in.uint();
        }
    }
    EXPECT_FALSE(in.failed());
    EXPECT_TRUE(in.at_end());
    EXPECT_EQ(count, 8U);
    return map;
}

class CommandRunner : public testing::Test {
 protected:
    static Command shell(const std::string& script) {
        return {.argv = {"sh", "-c", script}, .env = {}, .cwd = {}, .input = {}};
    }
    HandlerResult run(const Command& command, std::chrono::milliseconds kill_grace = 10s) {
        return run_command(command, name, keeper, cancel_fd, kill_grace);
    }
    ResultMap succeed(const Command& command) {
        const HandlerResult result = run(command);
        if (const auto* failure = std::get_if<Failure>(&result)) {
            ADD_FAILURE() << failure->message << ": " << failure->tail;
            return {};
        }
        return read_map(std::get<Success>(result).result);
    }
    Failure fail(const Command& command, std::chrono::milliseconds kill_grace = 10s) {
        HandlerResult result = run(command, kill_grace);
        if (std::holds_alternative<Success>(result)) {
            ADD_FAILURE() << "expected a failure";
            return {};
        }
        return std::get<Failure>(result);
    }
    void cancel() const { eventfd_write(cancel_fd, 1); }

    AttemptName name{{77}, 3, {123456789}};
    Keeper keeper = std::move(Keeper::start().value());
    int cancel_fd = eventfd(0, EFD_CLOEXEC);
    ~CommandRunner() override { close(cancel_fd); }
};

TEST_F(CommandRunner, GivesWhatTheCommandWroteAndItsStatus) {
    const ResultMap map = succeed(shell("echo out; echo err >&2"));
    EXPECT_EQ(map.bytes.at("stdout"), "out\n");
    EXPECT_EQ(map.bytes.at("stderr"), "err\n");
    EXPECT_EQ(map.numbers.at("exit_status"), 0U);
    EXPECT_EQ(map.numbers.at("signal"), 0U);
    EXPECT_EQ(map.numbers.at("stdout_bytes"), 4U);
    EXPECT_EQ(map.numbers.at("stderr_bytes"), 4U);
    EXPECT_FALSE(map.truncated);
}

TEST_F(CommandRunner, TellsTheCommandWhichAttemptItIs) {
    EXPECT_EQ(succeed(shell("echo $JOBYARD_JOB_ID $JOBYARD_ATTEMPT $JOBYARD_LEASE_TOKEN")).bytes.at("stdout"),
              "77 3 123456789\n");
}

TEST_F(CommandRunner, TellsTheCommandItsIndexInAnArray) {
    name.array = {57};
    name.array_index = 12;
    EXPECT_EQ(succeed(shell("echo $JOBYARD_ARRAY_ID $JOBYARD_ARRAY_INDEX")).bytes.at("stdout"), "57 12\n");
    name.array = {};
    EXPECT_EQ(succeed(shell("echo ${JOBYARD_ARRAY_INDEX-none}")).bytes.at("stdout"), "none\n");
}

TEST_F(CommandRunner, AddsToTheEnvironmentAndEntersTheDirectory) {
    setenv("JOBYARD_TEST_KEPT", "kept", 1);
    setenv("JOBYARD_TEST_CHANGED", "old", 1);
    Command command = shell("echo $JOBYARD_TEST_KEPT $JOBYARD_TEST_CHANGED; pwd");
    command.env = {{"JOBYARD_TEST_CHANGED", "new"}};
    command.cwd = "/";
    EXPECT_EQ(succeed(command).bytes.at("stdout"), "kept new\n/\n");
}

TEST_F(CommandRunner, GivesTheCommandItsInput) {
    Command command{.argv = {"cat"}, .env = {}, .cwd = {}, .input = std::string(200'000, 'i')};
    EXPECT_EQ(succeed(command).bytes.at("stdout"), command.input);
    command.input.clear();
    EXPECT_EQ(succeed(command).bytes.at("stdout"), "");
}

TEST_F(CommandRunner, KeepsTheBeginningOfStdoutAndTheEndOfStderr) {
    const ResultMap map =
        succeed(shell("printf first; head -c 1000000 /dev/zero | tr '\\0' o;"
                      "head -c 1000000 /dev/zero | tr '\\0' e >&2; printf last >&2"));
    EXPECT_EQ(map.bytes.at("stdout").size(), kStdoutKept);
    EXPECT_TRUE(map.bytes.at("stdout").starts_with("first"));
    EXPECT_EQ(map.numbers.at("stdout_bytes"), 1'000'005U);
    EXPECT_EQ(map.bytes.at("stderr").size(), kStderrKept);
    EXPECT_TRUE(map.bytes.at("stderr").ends_with("elast"));
    EXPECT_EQ(map.numbers.at("stderr_bytes"), 1'000'004U);
    EXPECT_TRUE(map.truncated);
}

TEST_F(CommandRunner, FailsWithTheStatusAndTheTailOfStderr) {
    const Failure failure = fail(shell("echo part; echo 'it broke' >&2; exit 3"));
    EXPECT_EQ(failure.message, "exit status 3");
    EXPECT_EQ(failure.tail, "it broke\n");
    EXPECT_TRUE(failure.retryable);
    EXPECT_EQ(read_map(failure.result).numbers.at("exit_status"), 3U);
    EXPECT_EQ(read_map(failure.result).bytes.at("stdout"), "part\n");
}

TEST_F(CommandRunner, SaysWhichSignalEndedTheCommand) {
    const Failure failure = fail(shell("kill -9 $$"));
    EXPECT_EQ(failure.message, "killed by signal 9");
    EXPECT_EQ(read_map(failure.result).numbers.at("exit_status"), 137U);
    EXPECT_EQ(read_map(failure.result).numbers.at("signal"), 9U);
}

TEST_F(CommandRunner, SaysThatACommandWasNotFound) {
    const Failure failure = fail({.argv = {"no-such-command-here"}, .env = {}, .cwd = {}, .input = {}});
    EXPECT_EQ(failure.message, "command not found: \"no-such-command-here\"");
    EXPECT_EQ(read_map(failure.result).numbers.at("exit_status"), 127U);
}

TEST_F(CommandRunner, SaysThatAFileIsNotExecutable) {
    const Failure failure = fail({.argv = {"/etc/passwd"}, .env = {}, .cwd = {}, .input = {}});
    EXPECT_EQ(failure.message, "cannot run \"/etc/passwd\": Permission denied");
    EXPECT_EQ(read_map(failure.result).numbers.at("exit_status"), 126U);
}

TEST_F(CommandRunner, SaysThatADirectoryDoesNotExist) {
    Command command = shell("true");
    command.cwd = "/no/such/directory";
    EXPECT_EQ(fail(command).message, "cannot enter directory \"/no/such/directory\": No such file or directory");
}

TEST_F(CommandRunner, LooksForTheCommandInItsOwnPath) {
    const Command command{.argv = {"sh", "-c", "true"}, .env = {{"PATH", "/nowhere"}}, .cwd = {}, .input = {}};
    EXPECT_EQ(fail(command).message, "command not found: \"sh\"");
}

TEST_F(CommandRunner, GivesTheCommandNoOtherDescriptors) {
    const int inheritable = dup(0);  // without close-on-exec, as a careless parent would leave it
    EXPECT_EQ(succeed(shell("ls /proc/self/fd")).bytes.at("stdout"), "0\n1\n2\n3\n");  // 3: ls reads the directory
    close(inheritable);
}

TEST_F(CommandRunner, GivesTheCommandACleanSlateOfSignals) {
    sigset_t terminate;
    sigemptyset(&terminate);
    sigaddset(&terminate, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &terminate, nullptr);
    std::signal(SIGUSR1, SIG_IGN);
    EXPECT_EQ(succeed(shell("grep -E 'SigBlk|SigIgn' /proc/self/status")).bytes.at("stdout"),
              "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    std::signal(SIGUSR1, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &terminate, nullptr);
}

TEST_F(CommandRunner, TerminatesTheWholeGroupWhenCancelled) {
    cancel();
    const Failure failure = fail(shell("sleep 1000 & sleep 1000; wait"));
    EXPECT_EQ(failure.message, "killed by signal 15");
}

TEST_F(CommandRunner, LetsACommandEndItselfOnSigterm) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const std::string path = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(ready[1]);
    std::thread canceller([&] {  // not before the trap is set
        char byte = 0;
        EXPECT_EQ(read(ready[0], &byte, 1), 1);
        cancel();
    });
    const Failure failure = fail(shell("trap 'echo bye; exit 5' TERM; echo > " + path + "; sleep 1000 & wait"));
    canceller.join();
    EXPECT_EQ(failure.message, "exit status 5");
    EXPECT_EQ(read_map(failure.result).bytes.at("stdout"), "bye\n");
    close(ready[0]);
    close(ready[1]);
}

TEST_F(CommandRunner, KillsACommandThatIgnoresSigterm) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const std::string path = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(ready[1]);
    std::thread canceller([&] {
        char byte = 0;
        EXPECT_EQ(read(ready[0], &byte, 1), 1);
        cancel();
    });
    const Failure failure = fail(shell("trap '' TERM; echo > " + path + "; while :; do sleep 1000; done"), 50ms);
    canceller.join();
    EXPECT_EQ(failure.message, "killed by signal 9");
    close(ready[0]);
    close(ready[1]);
}

TEST_F(CommandRunner, TerminatesACommandThatIsStopped) {
    cancel();
    EXPECT_EQ(fail(shell("kill -STOP $$; sleep 1000")).message, "killed by signal 15");
}

TEST_F(CommandRunner, LeavesNoProcessOfTheGroupBehind) {
    const ResultMap map = succeed(shell("sleep 1000 & echo $$"));
    const pid_t group = std::atoi(map.bytes.at("stdout").c_str());
    ASSERT_GT(group, 1);
    EXPECT_TRUE(becomes_true([&] { return !group_exists(group); }));
}

TEST_F(CommandRunner, DoesNotWaitForAProcessThatLeftTheGroupWithTheStreams) {
    const auto began = std::chrono::steady_clock::now();
    const ResultMap map =
        succeed(shell("setsid sleep 1000 & left=$!;"
                      "until [ \"$(cut -d' ' -f6 /proc/$left/stat)\" = $left ]; do :; done; echo $left"));
    EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);  // it sleeps for longer
    kill(std::atoi(map.bytes.at("stdout").c_str()), SIGKILL);
}

// --- the payload

std::string encode(const std::function<void(wire::Writer&)>& write) {
    std::string bytes;
    wire::Writer writer(bytes);
    write(writer);
    writer.flush();
    return bytes;
}

TEST(CommandPayload, IsReadInFull) {
    const auto command = decode_command(encode([](wire::Writer& out) {
        out.map(4);
        out.str("argv");
        out.array(2);
        out.str("echo");
        out.str("hi");
        out.str("env");
        out.map(1);
        out.str("A");
        out.str("1");
        out.str("cwd");
        out.str("/tmp");
        out.str("stdin");
        out.bin(std::string_view("\0x", 2));
    }));
    ASSERT_TRUE(command) << command.error().text;
    EXPECT_EQ(command->argv, (std::vector<std::string>{"echo", "hi"}));
    EXPECT_EQ(command->env, (std::vector<std::pair<std::string, std::string>>{{"A", "1"}}));
    EXPECT_EQ(command->cwd, "/tmp");
    EXPECT_EQ(command->input, std::string("\0x", 2));
}

TEST(CommandPayload, IsRefusedWithTheReason) {
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"", "insufficient"},
        {"\xc1", "parse"},
        {std::string("\xdd\xff\xff\xff\xff", 5), "array size overflow"},
        {encode([](wire::Writer& out) { out.uint(1); }), "expected a map"},
        {encode([](wire::Writer& out) { out.map(0); }), "argv is missing"},
        {encode([](wire::Writer& out) { out.map(1), out.str("argv"), out.array(0); }), "argv is missing"},
        {encode([](wire::Writer& out) { out.map(1), out.str("argv"), out.str("echo"); }), "argv must be a list"},
        {encode([](wire::Writer& out) { out.map(1), out.str("argv"), out.array(1), out.uint(1); }),
         "argv must be text"},
        {encode([](wire::Writer& out) {
             out.map(1), out.str("argv"), out.array(1), out.str(std::string_view("a\0b", 3));
         }),
         "contains a NUL"},
        {encode([](wire::Writer& out) { out.map(1), out.str("env"), out.map(1), out.str("A=B"), out.str("x"); }),
         "cannot be the name"},
        {encode([](wire::Writer& out) { out.map(1), out.str("stdin"), out.str("text"); }), "stdin must be bytes"},
        {encode([](wire::Writer& out) { out.map(1), out.str("shell"), out.boolean(true); }), "\"shell\" is not known"},
        {encode([](wire::Writer& out) { out.map(0), out.nil(); }), "bytes follow"},
    };
    for (const auto& [payload, reason] : cases) {
        const auto command = decode_command(payload);
        ASSERT_FALSE(command) << reason;
        EXPECT_NE(command.error().text.find(reason), std::string::npos) << command.error().text;
    }
}

// --- the keeper

TEST(KeeperProcess, KillsTheCommandsOfAWorkerThatWasKilled) {
    // Orphans come to this process, so that they can be waited for here whatever runs as process 1.
    ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    int report[2];
    ASSERT_EQ(pipe(report), 0);
    const pid_t worker = fork();
    ASSERT_GE(worker, 0);
    if (worker == 0) {
        auto keeper = Keeper::start();
        if (!keeper) _exit(1);
        // The command tells its process number and goes on for ever, with a child.
        const std::string path = "/proc/" + std::to_string(getppid()) + "/fd/" + std::to_string(report[1]);
        const Command command{
            .argv = {"sh", "-c", "trap '' TERM; sleep 1000 & echo $$ > " + path + "; while :; do sleep 1000; done"},
            .env = {},
            .cwd = {},
            .input = {}};
        run_command(command, {}, *keeper, -1, 1s);
        _exit(0);
    }
    char line[32] = {};
    ASSERT_GT(read(report[0], line, sizeof line - 1), 0);
    const pid_t group = std::atoi(line);
    ASSERT_GT(group, 1);
    ASSERT_TRUE(group_exists(group));
    kill(worker, SIGKILL);
    EXPECT_TRUE(becomes_true([&] {
        while (waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        return !group_exists(group);
    }));
    close(report[0]);
    close(report[1]);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST(KeeperProcess, IgnoresTheSignalsThatStopAWorker) {
    const auto keeper = Keeper::start();
    ASSERT_TRUE(keeper);
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM}) kill(keeper->pid(), signal);
    const HandlerResult result =
        run_command({.argv = {"true"}, .env = {}, .cwd = {}, .input = {}}, {}, *keeper, -1, 1s);
    EXPECT_TRUE(std::holds_alternative<Success>(result));
}

TEST(KeeperProcess, WhenItIsGoneNoCommandRuns) {
    const auto keeper = Keeper::start();
    ASSERT_TRUE(keeper);
    kill(keeper->pid(), SIGKILL);
    siginfo_t ended{};
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(keeper->pid()), &ended, WEXITED | WNOWAIT), 0);
    const HandlerResult result =
        run_command({.argv = {"true"}, .env = {}, .cwd = {}, .input = {}}, {}, *keeper, -1, 1s);
    ASSERT_TRUE(std::holds_alternative<Failure>(result));
    EXPECT_NE(std::get<Failure>(result).message.find("keeper process is gone"), std::string::npos);
}

TEST(KeeperProcess, HoldsNothingOpenOfWhatTheWorkerHas) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const auto keeper = Keeper::start();
    ASSERT_TRUE(keeper);
    close(ends[1]);
    char byte = 0;
    EXPECT_EQ(read(ends[0], &byte, 1), 0);  // the end of the stream, though the keeper lives
    close(ends[0]);
}

}  // namespace
}  // namespace jobyard::worker
