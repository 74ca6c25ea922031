// `jobyard watch` on a terminal: what it draws, how much of it, and how it leaves.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using Clock = std::chrono::steady_clock;

/// `jobyard watch` with a pseudo terminal as its standard streams, which stays open when the program has gone.
class Watching {
 public:
    explicit Watching(const std::string& broker, winsize size = {24, 80, 0, 0}) {
        EXPECT_EQ(openpty(&master_, &slave_, nullptr, nullptr, &size), 0);
        EXPECT_EQ(tcgetattr(slave_, &before_), 0);
        pid_ = fork();
        if (pid_ == 0) {
            setsid();
            ioctl(slave_, TIOCSCTTY, 0);
            for (const int fd : {0, 1, 2}) dup2(slave_, fd);
            const std::string path = program("jobyard");
            execl(path.c_str(), "jobyard", "watch", "--broker", broker.c_str(), nullptr);
            _exit(127);
        }
    }
    ~Watching() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            waitpid(pid_, nullptr, 0);
        }
        close(master_);
        close(slave_);
    }
    Watching(const Watching&) = delete;
    Watching& operator=(const Watching&) = delete;

    /// Reads for that long, or until the text has been there; how much came in the worst second.
    bool read(std::chrono::milliseconds patience, const std::string& until = {}) {
        const auto ends = Clock::now() + patience;
        while (Clock::now() < ends) {
            if (!until.empty() && all.find(until, searched) != std::string::npos) {
                searched = all.find(until, searched) + until.size();
                return true;
            }
            pollfd wait{master_, POLLIN, 0};
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(ends - Clock::now());
            if (poll(&wait, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0))) <= 0) continue;
            char bytes[4096];
            const ssize_t count = ::read(master_, bytes, sizeof bytes);
            if (count <= 0) return false;
            all.append(bytes, static_cast<std::size_t>(count));
        }
        return until.empty();
    }
    void type(const char* keys) const {
        EXPECT_EQ(::write(master_, keys, strlen(keys)), static_cast<ssize_t>(strlen(keys)));
    }
    void signal(int number) const { ::kill(pid_, number); }
    void resize(winsize size) const { EXPECT_EQ(ioctl(master_, TIOCSWINSZ, &size), 0); }
    std::optional<int> wait() {
        int status = 0;
        if (!eventually([&] { return waitpid(pid_, &status, WNOHANG) == pid_; })) return std::nullopt;
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    /// The other screen was left, the cursor is there again, and keys come as lines.
    void expect_restored() {
        read(std::chrono::milliseconds(200));
        EXPECT_TRUE(all.ends_with("\033[?25h\033[?1049l"));
        termios now{};
        ASSERT_EQ(tcgetattr(slave_, &now), 0);
        EXPECT_EQ(now.c_lflag, before_.c_lflag);
        EXPECT_EQ(now.c_cc[VSUSP], before_.c_cc[VSUSP]);
    }

    std::string all;

 private:
    std::size_t searched = 0;
    int master_ = -1;
    int slave_ = -1;
    pid_t pid_ = -1;
    termios before_{};
};

class Watch : public testing::Test {
 protected:
    BrokerProcess broker_;
    Client client_{client_options(broker_.endpoint())};
};

TEST_F(Watch, ShowsQueuesWorkersAndFailuresAndQuitsWithQ) {
    const auto worker = start_command_worker(broker_.endpoint(), {"--name", "here"});
    Watching watching(broker_.endpoint());
    EXPECT_TRUE(watching.read(kPatience, "here"));
    JobSpec spec{.type = "command", .payload = command_payload({"sh", "-c", "exit 3"}), .queue = "default"};
    spec.max_attempts = 1;
    ASSERT_EQ(code_of(client_.submit(spec).id()), Code::ok);
    EXPECT_TRUE(watching.read(kPatience, "exit status 3"));
    watching.type("q");
    EXPECT_EQ(watching.wait(), 0);
    watching.expect_restored();
}

TEST_F(Watch, SendsAtMostFourKibibytesASecondWhateverHappens) {
    std::vector<JobSpec> specs;
    for (int queue = 0; queue < 300; ++queue)
        specs.push_back({.type = "t", .queue = "a-queue-with-quite-a-long-name-" + std::to_string(queue)});
    for (const Submission& job : client_.submit_all(specs)) ASSERT_EQ(code_of(job.id()), Code::ok);
    // Against the time since before its start: then it does not matter when this process was given a core.
    const auto began = Clock::now();
    Watching watching(broker_.endpoint(), {100, 240, 0, 0});
    EXPECT_TRUE(watching.read(kPatience, "a-queue"));
    for (unsigned short rows = 50; watching.all.size() <= 16'384; rows = rows == 50 ? 100 : 50) {
        watching.resize({rows, 240, 0, 0});  // it redraws all of it
        for (const Submission& job : client_.submit_all(specs)) ASSERT_EQ(code_of(job.id()), Code::ok);
        watching.read(std::chrono::milliseconds(300));
        const auto seconds = std::chrono::floor<std::chrono::seconds>(Clock::now() - began).count();
        ASSERT_LE(watching.all.size(), 4096 * (static_cast<std::size_t>(seconds) + 1));
        ASSERT_LT(seconds, kPatience.count()) << "it is not drawn again and again";
    }
    watching.type("q");
    EXPECT_EQ(watching.wait(), 0);
}

TEST_F(Watch, AnIdleScreenCostsNearlyNothing) {
    Watching watching(broker_.endpoint());
    EXPECT_TRUE(watching.read(kPatience, "queued"));
    watching.read(std::chrono::milliseconds(1'500));
    const std::size_t before = watching.all.size();
    watching.read(std::chrono::seconds(3));
    EXPECT_GT(watching.all.size(), before) << "the clock goes on";
    EXPECT_LE(watching.all.size() - before, 400U);
    watching.type("q");
    EXPECT_EQ(watching.wait(), 0);
}

TEST_F(Watch, RestoresTheTerminalOnASignal) {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
        Watching watching(broker_.endpoint());
        EXPECT_TRUE(watching.read(kPatience, "queued"));
        watching.signal(signal);
        EXPECT_EQ(watching.wait(), 0);
        watching.expect_restored();
    }
}

TEST_F(Watch, FollowsTheSizeOfTheTerminal) {
    Watching watching(broker_.endpoint(), {24, 30, 0, 0});
    EXPECT_TRUE(watching.read(kPatience, "queued"));
    EXPECT_EQ(watching.all.find("q quits"), std::string::npos) << "that does not fit";
    watching.resize({24, 200, 0, 0});
    EXPECT_TRUE(watching.read(kPatience, "q quits"));
    watching.type("q");
    EXPECT_EQ(watching.wait(), 0);
}

TEST_F(Watch, SaysThatTheBrokerIsAwayAndGoesOnWhenItIsBack) {
    Watching watching(broker_.endpoint());
    EXPECT_TRUE(watching.read(kPatience, "queued"));
    broker_.kill();
    EXPECT_TRUE(watching.read(kPatience, "no answer"));
    broker_.start();
    ASSERT_EQ(code_of(client_.submit({.type = "t", .queue = "after"}).id(kPatience)), Code::ok);
    EXPECT_TRUE(watching.read(kPatience, "after"));
    watching.type("q");
    EXPECT_EQ(watching.wait(), 0);
    watching.expect_restored();
}

TEST_F(Watch, WithoutATerminalPrintsWhatItSeesOnce) {
    ASSERT_EQ(code_of(client_.submit({.type = "t", .queue = "plain"}).id()), Code::ok);
    const Ran ran = jobyard_command(broker_.endpoint(), {"watch"});
    EXPECT_EQ(ran.exit, 0) << ran.errors;
    EXPECT_NE(ran.output.find("plain"), std::string::npos);
    EXPECT_EQ(ran.output.find('\033'), std::string::npos);
}

}  // namespace
}  // namespace jobyard::test
