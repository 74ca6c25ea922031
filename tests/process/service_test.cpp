// What the programs tell the service manager that has started them. The manager is the test.

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <stdexcept>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using namespace std::chrono_literals;

/// The socket of $NOTIFY_SOCKET.
class Manager {
 public:
    explicit Manager(std::string address) : address_(std::move(address)) {
        sockaddr_un name{};
        name.sun_family = AF_UNIX;
        std::memcpy(name.sun_path, address_.data(), address_.size());
        if (address_[0] == '@') name.sun_path[0] = '\0';
        const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
        socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (::bind(socket_, reinterpret_cast<const sockaddr*>(&name), size) != 0) throw std::runtime_error("bind");
    }
    ~Manager() { ::close(socket_); }
    Manager(const Manager&) = delete;
    Manager& operator=(const Manager&) = delete;

    /// The next message; empty if there was none.
    std::string next(std::chrono::milliseconds patience = kPatience) const {
        pollfd waiting{socket_, POLLIN, 0};
        if (::poll(&waiting, 1, static_cast<int>(patience.count())) != 1) return "";
        char text[4096];
        const ssize_t size = ::recv(socket_, text, sizeof text, 0);
        return size > 0 ? std::string(text, static_cast<std::size_t>(size)) : "";
    }
    /// The next message that does not only say that its sender lives.
    std::string next_news() const {
        std::string text;
        do text = next();
        while (text == "WATCHDOG=1");
        return text;
    }
    const std::string& address() const { return address_; }

 private:
    const std::string address_;
    int socket_;
};

constexpr auto kWatchdog = 300ms;

std::map<std::string, std::string> environment(const Manager& manager) {
    const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(kWatchdog).count();
    return {{"NOTIFY_SOCKET", manager.address()}, {"WATCHDOG_USEC", std::to_string(microseconds)}};
}

bool is_stopped(pid_t pid) {
    const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    return stat.substr(stat.rfind(')') + 2, 1) == "T";
}

/// It says that it lives while it runs, and not while it does not.
void expect_a_life_that_shows(const Manager& manager, Process& process) {
    for (int i = 0; i < 3; ++i) EXPECT_EQ(manager.next(), "WATCHDOG=1");
    process.signal(SIGSTOP);
    ASSERT_TRUE(eventually([&] { return is_stopped(process.pid()); }));
    while (!manager.next(0ms).empty()) continue;  // said before
    EXPECT_EQ(manager.next(kWatchdog), "") << "it hangs, and nobody would know";
    process.signal(SIGCONT);
    EXPECT_EQ(manager.next(), "WATCHDOG=1");
}

class BrokerAsAService : public testing::TestWithParam<const char*> {
 protected:
    TemporaryDirectory files;
    Manager manager{std::string(GetParam()) == "path" ? files / "notify" : "@jobyard-test-" + std::to_string(getpid())};
};

TEST_P(BrokerAsAService, SaysWhenItIsReadyThatItLivesAndWhenItStops) {
    const std::string endpoint = "ipc://" + files / "broker";
    Process broker({.argv = {program("jobyard-broker"), "--data", files / "data", "--listen", endpoint},
                    .env = environment(manager)});
    EXPECT_EQ(manager.next(), "READY=1\nSTATUS=listening on " + endpoint) << broker.errors();
    EXPECT_TRUE(exists(files / "broker")) << "it was not ready";
    expect_a_life_that_shows(manager, broker);
    broker.signal(SIGTERM);
    EXPECT_EQ(manager.next_news(), "STOPPING=1\nSTATUS=stopping");
    EXPECT_EQ(broker.wait(), 0) << broker.errors();
}

INSTANTIATE_TEST_SUITE_P(AtASocketOf, BrokerAsAService, testing::Values("path", "abstract"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST(WorkerAsAService, SaysTheSameAndKeepsItFromItsCommands) {
    const TemporaryDirectory files;
    const Manager manager(files / "notify");
    BrokerProcess broker;
    Process worker({.argv = {program("jobyard-worker"), "--broker", broker.endpoint()}, .env = environment(manager)});
    EXPECT_EQ(manager.next(), "READY=1\nSTATUS=serves " + broker.endpoint()) << worker.errors();
    expect_a_life_that_shows(manager, worker);
    Client client(client_options(broker.endpoint()));
    const auto ran = client.run(
        {.type = "command", .payload = command_payload({"sh", "-c", R"(test -z "$NOTIFY_SOCKET$WATCHDOG_USEC")"})},
        kPatience);
    ASSERT_TRUE(ran) << ran.error().text;
    EXPECT_EQ(ran->state, JobState::completed) << "a command could speak for its worker";
    worker.signal(SIGTERM);
    EXPECT_EQ(manager.next_news(), "STOPPING=1\nSTATUS=stopping");
    EXPECT_EQ(worker.wait(), 0) << worker.errors();
}

TEST(WorkerAsAService, IsReadyAndLivesWhileItsBrokerIsAway) {
    const TemporaryDirectory files;
    const Manager manager(files / "notify");
    Process worker(
        {.argv = {program("jobyard-worker"), "--broker", "ipc://" + files / "nobody"}, .env = environment(manager)});
    EXPECT_TRUE(manager.next().starts_with("READY=1")) << worker.errors();
    expect_a_life_that_shows(manager, worker);
    worker.signal(SIGTERM);
    EXPECT_EQ(worker.wait(), 0) << worker.errors();
}

TEST(AProgramThatNobodyManages, StartsAllTheSame) {
    const TemporaryDirectory files;
    for (const std::string address : {"relative", "/nonexistent/socket", "@"}) {
        Process worker({.argv = {program("jobyard-worker"), "--broker", "ipc://" + files / "nobody"},
                        .env = {{"NOTIFY_SOCKET", address}, {"WATCHDOG_USEC", "many"}}});
        ASSERT_TRUE(eventually([&] { return worker.errors().find("starting") != std::string::npos; }));
        worker.signal(SIGTERM);
        EXPECT_EQ(worker.wait(), 0) << worker.errors();
    }
}

}  // namespace
}  // namespace jobyard::test
