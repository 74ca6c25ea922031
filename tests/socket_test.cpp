#include "socket.hpp"

#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "jobyard/limits.hpp"
#include "peer/endpoint.hpp"
#include "temporary_directory.hpp"

namespace jobyard::broker {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr auto kPatience = 10s;

/// A peer, as anybody could write it.
class Dealer {
 public:
    struct Options {
        std::string routing_id;
        int receive_mark = 0;
        int linger_ms = 0;
        std::optional<PeerKeys> keys = {};
    };
    explicit Dealer(const std::string& endpoint) : Dealer(endpoint, Options{}) {}
    Dealer(const std::string& endpoint, const Options& options)
        : context_(zmq_ctx_new()), socket_(zmq_socket(context_, ZMQ_DEALER)) {
        const int only_connected = 1;
        const int patience = 10'000;
        zmq_setsockopt(socket_, ZMQ_IMMEDIATE, &only_connected, sizeof only_connected);
        zmq_setsockopt(socket_, ZMQ_LINGER, &options.linger_ms, sizeof options.linger_ms);
        zmq_setsockopt(socket_, ZMQ_SNDTIMEO, &patience, sizeof patience);
        zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &patience, sizeof patience);
        zmq_setsockopt(socket_, ZMQ_RCVHWM, &options.receive_mark, sizeof options.receive_mark);
        if (!options.routing_id.empty())
            zmq_setsockopt(socket_, ZMQ_ROUTING_ID, options.routing_id.data(), options.routing_id.size());
        if (options.keys) {
            const auto set_key = [this](int option, const std::string& key) {
                zmq_setsockopt(socket_, option, key.c_str(), key.size() + 1);
            };
            set_key(ZMQ_CURVE_SERVERKEY, options.keys->server);
            set_key(ZMQ_CURVE_PUBLICKEY, options.keys->own.public_key);
            set_key(ZMQ_CURVE_SECRETKEY, options.keys->own.secret_key);
        }
        connect(endpoint);
    }
    ~Dealer() {
        zmq_close(socket_);
        zmq_ctx_term(context_);
    }
    Dealer(const Dealer&) = delete;
    Dealer& operator=(const Dealer&) = delete;

    void connect(const std::string& endpoint) { ASSERT_EQ(zmq_connect(socket_, endpoint.c_str()), 0); }
    void disconnect(const std::string& endpoint) { ASSERT_EQ(zmq_disconnect(socket_, endpoint.c_str()), 0); }
    /// libzmq closes what was disconnected only while its socket is in use.
    void linger() {
        zmq_pollitem_t item{socket_, 0, ZMQ_POLLIN, 0};
        zmq_poll(&item, 1, 10);
    }
    /// Waits for the connection if need be.
    void send(const std::vector<std::string>& frames) {
        for (std::size_t i = 0; i < frames.size(); ++i)
            ASSERT_GE(zmq_send(socket_, frames[i].data(), frames[i].size(), i + 1 < frames.size() ? ZMQ_SNDMORE : 0),
                      0);
    }
    /// The frames of the next message; none if it does not come.
    std::vector<std::string> receive() {
        std::vector<std::string> frames;
        int more = 1;
        while (more != 0) {
            zmq_msg_t frame;
            zmq_msg_init(&frame);
            if (zmq_msg_recv(&frame, socket_, 0) < 0) return {};
            frames.emplace_back(static_cast<const char*>(zmq_msg_data(&frame)), zmq_msg_size(&frame));
            more = zmq_msg_more(&frame);
            zmq_msg_close(&frame);
        }
        return frames;
    }

 private:
    void* context_;
    void* socket_;
};

using Frames = std::vector<std::string>;

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

/// What every transport must do.
struct SocketTest : testing::TestWithParam<const char*> {
    test::TemporaryDirectory directory;
    std::unique_ptr<Socket> socket;
    std::string endpoint;

    void SetUp() override {
        auto opened =
            Socket::open({std::string(GetParam()) == "ipc" ? "ipc://" + (directory / "broker") : "tcp://127.0.0.1:0"});
        ASSERT_TRUE(opened) << opened.error().text;
        socket = std::move(*opened);
        endpoint = socket->endpoints().at(0);
    }

    /// Turns the loop until `done`, collecting what it yields.
    std::vector<Incoming> messages;
    std::vector<PeerId> disconnected;
    template <class Done>
    bool run_until(Done done) {
        const auto deadline = steady_clock::now() + kPatience;
        for (;;) {
            while (socket->receive(messages, 100, std::size_t{1} << 20)) continue;
            socket->take_disconnected(disconnected);
            if (done()) return true;
            if (steady_clock::now() > deadline) return false;
            socket->wait({}, 20);
        }
    }
    /// The id by which the socket knows a dealer that says something.
    PeerId introduce(Dealer& dealer) {
        const std::size_t before = messages.size();
        dealer.send({"hello", ""});
        EXPECT_TRUE(run_until([&] { return messages.size() > before; }));
        return messages.size() > before ? messages.back().peer : PeerId{};
    }
    bool is_named(PeerId peer) {
        return std::find(disconnected.begin(), disconnected.end(), peer) != disconnected.end();
    }
    /// Sends, as the server does, to whoever is named, and says whether that found the peer gone.
    bool run_until_gone(PeerId peer) {
        bool gone = false;
        return run_until([&] {
            for (const PeerId named : disconnected)
                gone |= socket->send(named, "probe", {}) == Sent::gone && named == peer;
            disconnected.clear();
            return gone;
        });
    }
};

INSTANTIATE_TEST_SUITE_P(Transports, SocketTest, testing::Values("ipc", "tcp"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST_P(SocketTest, CarriesTwoFramesEachWayAndGathersThePieces) {
    Dealer dealer(endpoint);
    const std::string large(300'000, 'x');
    dealer.send({"header", large});
    dealer.send({"", ""});
    ASSERT_TRUE(run_until([&] { return messages.size() == 2; }));
    EXPECT_EQ(messages[0].header(), "header");
    EXPECT_EQ(messages[0].payload(), large);
    EXPECT_EQ(messages[1].header(), "");
    EXPECT_EQ(messages[1].payload(), "");
    EXPECT_EQ(messages[0].peer, messages[1].peer);
    EXPECT_EQ(socket->send(messages[0].peer, "answer", {"one", "", large, "two"}), Sent::ok);
    EXPECT_EQ(socket->send(messages[0].peer, "empty", {}), Sent::ok);
    EXPECT_EQ(dealer.receive(), (Frames{"answer", "one" + large + "two"}));
    EXPECT_EQ(dealer.receive(), (Frames{"empty", ""}));
    EXPECT_EQ(socket->counters().received, 2U);
    EXPECT_EQ(socket->counters().sent, 2U);
}

TEST_P(SocketTest, SendsWhatIsKeptFromWhereItStandsAndThenLetsGoOfIt) {
    Dealer dealer(endpoint);
    dealer.send({"header", ""});
    ASSERT_TRUE(run_until([&] { return messages.size() == 1; }));
    std::promise<void> let_go;
    const auto* bytes = new std::string(300'000, 'x');
    const std::string expected = *bytes;
    KeptBytes kept(*bytes, std::shared_ptr<const void>(bytes, [&let_go](const void* gone) {
        delete static_cast<const std::string*>(gone);
        let_go.set_value();
    }));
    EXPECT_EQ(socket->send(messages[0].peer, "answer", {std::exchange(kept, {})}), Sent::ok);
    EXPECT_EQ(dealer.receive(), (Frames{"answer", expected}));
    let_go.get_future().wait();
}

TEST_P(SocketTest, ReceiveStopsAtItsBounds) {
    Dealer dealer(endpoint);
    for (int i = 0; i < 20; ++i) dealer.send({"header", std::string(1000, 'x')});
    std::size_t total = 0;
    const auto receive = [&](std::size_t max_messages, std::size_t max_bytes, std::size_t at_most) {
        std::vector<Incoming> some;
        socket->wait({}, 10'000);
        const bool more = socket->receive(some, max_messages, max_bytes);
        EXPECT_LE(some.size(), at_most);
        EXPECT_EQ(more, some.size() == at_most);
        total += some.size();
    };
    for (int turns = 0; total < 10 && turns < 100; ++turns) receive(3, std::size_t{1} << 20, 3);
    for (int turns = 0; total < 20 && turns < 100; ++turns)
        receive(100, 1500, 2);  // the one that reaches it is the last
    EXPECT_EQ(total, 20U);
}

TEST_P(SocketTest, WaitEndsWhenADescriptorIsReadable) {
    const Fd event(::eventfd(1, EFD_CLOEXEC));
    const auto began = steady_clock::now();
    socket->wait({event.get()}, 60'000);
    EXPECT_LT(steady_clock::now() - began, 30s);
}

TEST_P(SocketTest, WaitEndsWhenItsTimeIsOver) {
    const auto began = steady_clock::now();
    socket->wait({}, 30);
    EXPECT_GE(steady_clock::now() - began, 29ms);
}

TEST_P(SocketTest, AnUnknownPeerIsGone) {
    EXPECT_EQ(socket->send(PeerId{12345}, "header", {"payload"}), Sent::gone);
    // And nothing of that message was taken for another's routing id.
    Dealer dealer(endpoint);
    const PeerId peer = introduce(dealer);
    EXPECT_EQ(socket->send(peer, "header", {}), Sent::ok);
    EXPECT_EQ(dealer.receive(), (Frames{"header", ""}));
}

TEST_P(SocketTest, AnotherNumberOfFramesIsDroppedAndCounted) {
    Dealer dealer(endpoint);
    dealer.send({"one"});
    dealer.send({"one", "two", "three"});
    dealer.send({"still", "here"});
    ASSERT_TRUE(run_until([&] { return !messages.empty(); }));
    EXPECT_EQ(messages.size(), 1U);
    EXPECT_EQ(messages[0].header(), "still");
    EXPECT_EQ(socket->counters().wrong_frames, 2U);
    EXPECT_EQ(socket->counters().kicked, 0U);
}

TEST_P(SocketTest, AThousandFramesCostTheirSenderItsConnectionAndNobodyElse) {
    Dealer good(endpoint);
    const PeerId good_peer = introduce(good);
    Dealer bad(endpoint);
    const PeerId bad_peer = introduce(bad);
    bad.send(Frames(1000, std::string(1000, 'x')));
    ASSERT_TRUE(run_until([&] { return socket->counters().wrong_frames == 1; }));
    EXPECT_EQ(socket->counters().kicked, 1U);
    EXPECT_TRUE(run_until_gone(bad_peer));
    EXPECT_EQ(socket->send(good_peer, "header", {}), Sent::ok);
    EXPECT_EQ(good.receive(), (Frames{"header", ""}));
    EXPECT_EQ(messages.size(), 2U);
}

TEST_P(SocketTest, AThousandFramesAsTheFirstMessageAreMetTheSame) {
    Dealer bad(endpoint);
    bad.send(Frames(1000, "x"));
    EXPECT_TRUE(run_until([&] { return socket->counters().kicked == 1; }));
    EXPECT_EQ(socket->counters().wrong_frames, 1U);
}

TEST_P(SocketTest, APeerWithARoutingIdOfItsOwnIsDroppedAndCounted) {
    std::vector<std::unique_ptr<Dealer>> dealers;
    const std::vector<std::string> ids{
        "w", "worker-1", "five5", std::string(255, 'x'), std::string("\0abc", 4), std::string("\0abcde", 6)};
    for (const std::string& id : ids) {
        dealers.push_back(std::make_unique<Dealer>(endpoint, Dealer::Options{id}));
        dealers.back()->send({"hello", ""});
    }
    Dealer proper(endpoint);
    introduce(proper);
    ASSERT_TRUE(run_until([&] { return socket->counters().wrong_routing_id == ids.size(); }));
    EXPECT_EQ(messages.size(), 1U);
}

TEST_P(SocketTest, RoutingIdsCannotBeGuessedFromTheStartOfTheProcess) {
    std::srand(1);
    const auto unseeded = static_cast<std::uint32_t>(std::rand());
    std::srand(1);
    auto opened = Socket::open({"tcp://127.0.0.1:0"});
    ASSERT_TRUE(opened);
    socket = std::move(*opened);
    Dealer dealer(socket->endpoints().at(0));
    EXPECT_GT(introduce(dealer).value - unseeded, 16U);
}

TEST_P(SocketTest, AClosedConnectionIsNamedAndThenGone) {
    auto dealer = std::make_unique<Dealer>(endpoint);
    const PeerId peer = introduce(*dealer);
    EXPECT_EQ(socket->send(peer, "header", {}), Sent::ok);
    EXPECT_TRUE(disconnected.empty());
    dealer.reset();
    ASSERT_TRUE(run_until([&] { return is_named(peer); }));
    EXPECT_TRUE(run_until_gone(peer));
    EXPECT_EQ(socket->send(peer, "header", {}), Sent::gone);
}

TEST_P(SocketTest, APeerThatWasGoneIsNotNamedAgain) {
    auto dealer = std::make_unique<Dealer>(endpoint);
    const PeerId peer = introduce(*dealer);
    dealer.reset();
    ASSERT_TRUE(run_until_gone(peer));
    const auto until = steady_clock::now() + 700ms;
    ASSERT_TRUE(run_until([&] { return steady_clock::now() > until; }));
    EXPECT_FALSE(is_named(peer));
}

TEST_P(SocketTest, EveryOneOfManyShortConnectionsIsFoundGone) {
    std::set<PeerId> alive;
    const auto probe = [&] {
        for (const PeerId peer : disconnected)
            if (socket->send(peer, "probe", {}) == Sent::gone) alive.erase(peer);
        disconnected.clear();
    };
    for (int i = 0; i < 100; ++i) {  // descriptors are used again and again
        Dealer dealer(endpoint);
        alive.insert(introduce(dealer));
        probe();
    }
    EXPECT_TRUE(run_until([&] {
        probe();
        return alive.empty();
    })) << alive.size()
        << " never found gone";
}

TEST_P(SocketTest, AHintAboutALivePeerIsRefutedByASend) {
    Dealer dealer(endpoint);
    const PeerId peer = introduce(dealer);
    {
        Dealer other(endpoint);
        introduce(other);
    }
    ASSERT_TRUE(run_until([&] { return !disconnected.empty(); }));
    EXPECT_FALSE(is_named(peer));
    EXPECT_EQ(socket->send(peer, "probe", {}), Sent::ok);
}

TEST_P(SocketTest, AKickedPeerIsGone) {
    Dealer dealer(endpoint);
    Dealer other(endpoint);
    const PeerId peer = introduce(dealer);
    const PeerId other_peer = introduce(other);
    EXPECT_TRUE(socket->kick(peer));
    EXPECT_TRUE(run_until_gone(peer));
    EXPECT_FALSE(socket->kick(peer));
    EXPECT_EQ(socket->send(other_peer, "header", {}), Sent::ok);
    EXPECT_EQ(socket->counters().kicked, 1U);
}

TEST_P(SocketTest, AKickNeverHitsALaterConnectionWithTheSameDescriptor) {
    Dealer dealer(endpoint);
    const PeerId peer = introduce(dealer);
    dealer.disconnect(endpoint);
    ASSERT_TRUE(run_until([&] {
        dealer.linger();
        return is_named(peer);  // and never sent to, so it is still known
    }));
    dealer.connect(endpoint);
    dealer.send({"later", ""});  // connected, most likely with the descriptor that has just become free; not yet read
    EXPECT_FALSE(socket->kick(peer));
    EXPECT_FALSE(socket->kick(PeerId{12345}));
    ASSERT_TRUE(run_until([&] { return messages.size() == 2; }));
    EXPECT_EQ(socket->send(messages[1].peer, "header", {}), Sent::ok);
    EXPECT_EQ(dealer.receive(), (Frames{"header", ""}));
}

TEST_P(SocketTest, APeerWhoseDescriptorIsAnothersByNowIsNamedAllTheSame) {
    std::optional<Dealer> dealer(endpoint);
    PeerId peer = introduce(*dealer);
    for (int i = 0; i < 20; ++i) {
        dealer.reset();
        dealer.emplace(endpoint);
        const PeerId later = introduce(*dealer);
        ASSERT_TRUE(run_until([&] { return is_named(peer); })) << i;
        peer = later;
    }
}

TEST_P(SocketTest, APeerThatLeftBeforeItsFirstMessageWasReadIsNamed) {
    const std::size_t before = open_descriptors();
    { Dealer(endpoint, {{}, 0, 10'000}).send({"hello", ""}); }
    while (open_descriptors() > before) socket->wait({}, 1);
    socket->take_disconnected(disconnected);  // of somebody not yet known
    EXPECT_TRUE(disconnected.empty());
    ASSERT_TRUE(run_until([&] { return messages.size() == 1; }));
    EXPECT_TRUE(run_until_gone(messages[0].peer));
}

TEST_P(SocketTest, APeerThatDoesNotReadIsStuckAndTheOthersAreServed) {
    Dealer lazy(endpoint, {{}, 1});
    Dealer diligent(endpoint);
    const PeerId lazy_peer = introduce(lazy);
    const PeerId diligent_peer = introduce(diligent);
    const std::string piece(std::size_t{8} << 10, 'x');
    Sent sent = Sent::ok;
    for (int i = 0; i < 20'000 && sent == Sent::ok; ++i) sent = socket->send(lazy_peer, "header", {piece});
    EXPECT_EQ(sent, Sent::stuck);
    EXPECT_EQ(socket->send(diligent_peer, "header", {}), Sent::ok);
    EXPECT_EQ(diligent.receive(), (Frames{"header", ""}));
    EXPECT_TRUE(socket->kick(lazy_peer));
    EXPECT_TRUE(run_until_gone(lazy_peer));
}

TEST_P(SocketTest, AFrameBeyondTheLimitClosesTheConnection) {
    Dealer dealer(endpoint);
    const PeerId peer = introduce(dealer);
    dealer.send({"header", std::string(kMaxMessageBytes, 'x')});
    ASSERT_TRUE(run_until([&] { return messages.size() == 2; }));
    dealer.send({"header", std::string(kMaxMessageBytes + kMaxHeaderBytes + 1, 'x')});
    EXPECT_TRUE(run_until_gone(peer));
    EXPECT_EQ(messages.size(), 2U);
}

TEST_P(SocketTest, WhatIsDetachedStaysAndDoesNotHoldTheReceiveBuffer) {
    Dealer dealer(endpoint);
    introduce(dealer);
    constexpr std::size_t kMessages = 500;
    messages.reserve(2 * kMessages);
    const std::string payload(100, 'p');
    const std::size_t before = ::mallinfo2().uordblks;
    for (std::size_t i = 0; i < kMessages; ++i) {  // one by one: each in a buffer of its own
        const std::size_t count = messages.size();
        dealer.send({"header " + std::to_string(i) + std::string(40, 'h'), payload});
        ASSERT_TRUE(run_until([&] { return messages.size() > count; }));
        messages.back().detach();
    }
    EXPECT_LT(::mallinfo2().uordblks, before + kMessages * 2000);
    EXPECT_EQ(messages[1].header(), "header 0" + std::string(40, 'h'));
    EXPECT_EQ(messages[1].payload(), payload);
}

TEST_P(SocketTest, AMovedMessageIsTheSame) {
    Dealer dealer(endpoint);
    dealer.send({"short", std::string(5000, 'x')});
    ASSERT_TRUE(run_until([&] { return messages.size() == 1; }));
    Incoming moved = std::move(messages[0]);
    Incoming again;
    again = std::move(moved);
    EXPECT_EQ(again.header(), "short");
    EXPECT_EQ(again.payload(), std::string(5000, 'x'));
}

struct BindTest : testing::Test {
    test::TemporaryDirectory directory;
    std::string path = directory / "broker";
    std::string endpoint = "ipc://" + path;

    static std::string refusal(const std::string& refused) {
        const auto opened = Socket::open({refused});
        EXPECT_FALSE(opened) << refused;
        return opened ? "" : opened.error().text;
    }
    static bool mentions(const std::string& text, const std::string& part) {
        return text.find(part) != std::string::npos;
    }
    /// Whether `header` comes next; a wait ends at other events also, such as a connection made.
    static bool receives(Socket& socket, const std::string& header) {
        std::vector<Incoming> messages;
        for (const auto deadline = steady_clock::now() + kPatience; messages.empty();) {
            if (steady_clock::now() > deadline) return false;
            socket.wait({}, 1000);
            socket.receive(messages, 1, 1000);
        }
        return messages.front().header() == header;
    }
};

TEST_F(BindTest, ASecondBrokerOnAnIpcPathIsRefusedAndTheFirstGoesOn) {
    auto first = Socket::open({endpoint});
    ASSERT_TRUE(first) << first.error().text;
    const std::string text = refusal(endpoint);
    EXPECT_TRUE(mentions(text, endpoint) && mentions(text, "process " + std::to_string(::getpid()))) << text;
    Dealer dealer(endpoint);
    dealer.send({"hello", ""});
    EXPECT_TRUE(receives(**first, "hello"));
}

TEST_F(BindTest, AnIpcPathIsFreeAgainWhenItsBrokerIsGone) {
    ASSERT_TRUE(Socket::open({endpoint}));
    EXPECT_TRUE(Socket::open({endpoint}));
}

TEST_F(BindTest, TheSocketFileOfADeadBrokerIsReplaced) {
    const Fd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_TRUE(Socket::open({endpoint}));
}

TEST_F(BindTest, AFileThatIsNotASocketIsLeftAlone) {
    std::ofstream(path) << "precious";
    EXPECT_TRUE(mentions(refusal(endpoint), "not a socket"));
    std::string content;
    std::ifstream(path) >> content;
    EXPECT_EQ(content, "precious");
}

TEST_F(BindTest, AnIpcSocketIsForItsOwnerOnly) {
    const auto opened = Socket::open({endpoint});
    ASSERT_TRUE(opened);
    struct stat info {};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 077U, 0U);
}

TEST_F(BindTest, AnIpcSocketIsGivenToTheGroupThatIsNamed) {
    const auto opened = Socket::open({endpoint}, ::getgid());
    ASSERT_TRUE(opened) << opened.error().text;
    struct stat info {};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0660U);
    EXPECT_EQ(info.st_gid, ::getgid());
}

TEST_F(BindTest, ADirectoryInWhichOthersCouldPutASocketIsRefusedForAGroup) {
    ASSERT_EQ(::chmod(directory.path().c_str(), 0770), 0);
    const auto opened = Socket::open({endpoint}, ::getgid());
    ASSERT_FALSE(opened);
    EXPECT_TRUE(mentions(opened.error().text, "chmod go-w")) << opened.error().text;
}

TEST_F(BindTest, AClientFindsTheMachinesBrokerUnlessItHasOneOfItsOwn) {
    const std::string machine = directory / "machine";
    ::setenv("XDG_RUNTIME_DIR", directory.path().c_str(), 1);
    ::unsetenv("JOBYARD_BROKER");
    const std::string own = broker_endpoint({});
    EXPECT_EQ(client_endpoint({}, machine), own) << "there is no other";
    ASSERT_EQ(::mkdir(machine.c_str(), 0750), 0);
    EXPECT_EQ(client_endpoint({}, machine), "ipc://" + machine + "/broker");
    EXPECT_EQ(client_endpoint(own, machine), own) << "whoever names one gets it";
    EXPECT_EQ(broker_endpoint({}), own) << "workers and brokers stay with their user";
    const auto opened = Socket::open({own});
    ASSERT_TRUE(opened);
    EXPECT_EQ(client_endpoint({}, machine), own) << "one's own comes first";
}

TEST_F(BindTest, WhoMayNotUseABrokerIsToldSoAndWhoMayIsNot) {
    const std::string machine = directory / "machine";
    ::setenv("XDG_RUNTIME_DIR", directory.path().c_str(), 1);
    ::unsetenv("JOBYARD_BROKER");
    const std::string own = broker_endpoint({});
    EXPECT_EQ(why_not_allowed(own, machine), "") << "the machine has none";
    ASSERT_EQ(::mkdir(machine.c_str(), 0750), 0);
    EXPECT_EQ(why_not_allowed("ipc://" + machine + "/broker", machine), "");
    EXPECT_EQ(why_not_allowed("tcp://127.0.0.1:7466", machine), "");
    ASSERT_EQ(::chmod(machine.c_str(), 0), 0);
    ASSERT_EQ(::chmod(directory.path().c_str(), 0755), 0);
    // Root may use everything, so somebody else looks.
    const pid_t other = ::fork();
    if (other == 0) {
        if (::geteuid() == 0 && ::setuid(65534) != 0) std::_Exit(2);
        ::unsetenv("XDG_RUNTIME_DIR");
        const bool told = mentions(why_not_allowed(broker_endpoint({}), machine), "may use") &&
                          mentions(why_not_allowed("ipc://" + machine + "/broker", machine), "permission denied") &&
                          why_not_allowed("tcp://127.0.0.1:7466", machine).empty();
        std::_Exit(told ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(other, &status, 0), other);
    EXPECT_EQ(status, 0);
    ASSERT_EQ(::chmod(machine.c_str(), 0700), 0);
}

TEST_F(BindTest, TheDefaultDirectoryIsMadePrivateAndRefusedWhenItIsNot) {
    ::setenv("XDG_RUNTIME_DIR", directory.path().c_str(), 1);
    ::unsetenv("JOBYARD_BROKER");
    const std::string default_endpoint = broker_endpoint({});
    EXPECT_TRUE(Socket::open({default_endpoint}));
    struct stat info {};
    ASSERT_EQ(::stat((directory / "jobyard").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0700U);
    ASSERT_EQ(::chmod((directory / "jobyard").c_str(), 0755), 0);
    EXPECT_TRUE(mentions(refusal(default_endpoint), "chmod 700"));
}

TEST_F(BindTest, AddressesThatCannotBeOwnedOrReachedAreRefused) {
    EXPECT_TRUE(mentions(refusal("ipc://@abstract"), "owner"));
    EXPECT_TRUE(mentions(refusal("ipc://*"), "owner"));
    EXPECT_TRUE(mentions(refusal("ipc://"), "owner"));
    EXPECT_TRUE(mentions(refusal("ipc://" + directory.path() + "/" + std::string(107, 'x')), "107 bytes"));
    EXPECT_TRUE(mentions(refusal("ipc://" + (directory / "not/there")), "No such file"));
    EXPECT_TRUE(mentions(refusal("inproc://broker"), "expected ipc://PATH or tcp://"));
    EXPECT_TRUE(mentions(refusal("tcp://127.0.0.1"), "expected"));
    EXPECT_TRUE(mentions(refusal("tcp://192.0.2.1:0"), "not one of this machine"));
}

TEST_F(BindTest, ATcpAddressInUseIsRefusedNamingIt) {
    const auto first = Socket::open({"tcp://127.0.0.1:0"});
    ASSERT_TRUE(first);
    const std::string bound = (*first)->endpoints().at(0);
    EXPECT_TRUE(bound.starts_with("tcp://127.0.0.1:")) << bound << " is not what one would give to --listen";
    const std::string text = refusal(bound);
    EXPECT_TRUE(mentions(text, bound) && mentions(text, "Address already in use") && mentions(text, "another port"))
        << text;
}

TEST_F(BindTest, SeveralEndpointsAreOneSocket) {
    const auto opened = Socket::open({endpoint, "tcp://127.0.0.1:0"});
    ASSERT_TRUE(opened) << opened.error().text;
    ASSERT_EQ((*opened)->endpoints().size(), 2U);
    for (const std::string& one : (*opened)->endpoints()) {
        Dealer dealer(one);
        dealer.send({one, ""});
        EXPECT_TRUE(receives(**opened, one));
    }
}

TEST(Loopback, IsWhatOnlyThisMachineReaches) {
    for (const char* endpoint :
         {"ipc:///tmp/broker", "tcp://127.0.0.1:7466", "tcp://127.9.9.9:*", "tcp://[::1]:7466", "tcp://localhost:7466"})
        EXPECT_TRUE(is_loopback(endpoint)) << endpoint;
    for (const char* endpoint : {"tcp://0.0.0.0:7466", "tcp://*:7466", "tcp://[::]:7466", "tcp://10.0.0.1:7466",
                                 "tcp://127.example.org:7466", "tcp://eth0:7466", "tcp://", "inproc://x", ""})
        EXPECT_FALSE(is_loopback(endpoint)) << endpoint;
}

TEST(Loopback, IsWhereASendBufferIsBounded) {
    for (const char* endpoint : {"tcp://127.0.0.1:7466", "tcp://[::1]:7466", "tcp://localhost:7466"})
        EXPECT_EQ(send_buffer_bytes(endpoint), 512 << 10) << endpoint;
    for (const char* endpoint : {"tcp://10.0.0.1:7466", "tcp://*:7466", "ipc:///tmp/broker"})
        EXPECT_EQ(send_buffer_bytes(endpoint), -1) << endpoint << ": far away it would bound the rate";
}

// --- keys ------------------------------------------------------------------------------------------------------------

TEST(Zap, LetsInKnownKeysOfItsDomainAndTheSystemsOwnAndNobodyElse) {
    const std::string bytes(32, 'k');
    const std::string key = key_text(reinterpret_cast<const unsigned char*>(bytes.data()));
    const auto is_known = [&](std::string_view asked) { return asked == key; };
    const auto ask = [&](std::vector<std::string> frames) { return zap_reply(frames, is_known); };
    const std::string keys(kKeyDomain);
    const std::string local(kLocalDomain);
    const ZapReply good = ask({"1.0", "1", keys, "10.0.0.1", "", "CURVE", bytes});
    EXPECT_STREQ(good.status, "200");
    EXPECT_EQ(good.user, key);
    EXPECT_EQ(ask({"1.0", "1", local, "", "", "NULL"}).user, "local");
    const std::vector<std::string> refused[] = {{},
                                                {"1.0"},
                                                {"1.0", "1", keys, "", "", "CURVE"},
                                                {"2.0", "1", keys, "", "", "CURVE", bytes},
                                                {"1.0", "1", keys, "", "", "CURVE", std::string(32, 'x')},
                                                {"1.0", "1", keys, "", "", "CURVE", bytes + "k"},
                                                {"1.0", "1", keys, "", "", "CURVE", bytes, "more"},
                                                {"1.0", "1", keys, "", "", "NULL"},
                                                {"1.0", "1", keys, "", "", "PLAIN", "user", "password"},
                                                {"1.0", "1", local, "", "", "CURVE", bytes},
                                                {"1.0", "1", "", "", "", "NULL"},
                                                {"1.0", "1", "", "", "", "CURVE", bytes}};
    for (const auto& frames : refused) {
        const ZapReply reply = ask(frames);
        EXPECT_STREQ(reply.status, "400") << testing::PrintToString(frames);
        EXPECT_EQ(reply.user, "");
    }
}

struct GuardedSocket : testing::Test {
    test::TemporaryDirectory directory;
    KeyPair server = *make_key_pair();
    KeyPair known = *make_key_pair();
    std::unique_ptr<Socket> socket;
    std::vector<Incoming> messages;
    std::vector<PeerId> closed;

    void open(IsKnownKey is_known) {
        auto opened = Socket::open({Endpoint("tcp://127.0.0.1:0", server), Endpoint("ipc://" + (directory / "broker"))},
                                   {}, std::move(is_known));
        ASSERT_TRUE(opened) << opened.error().text;
        socket = std::move(*opened);
    }
    static Dealer::Options with_keys(const std::string& of_server, const KeyPair& own) {
        Dealer::Options options;
        options.keys = PeerKeys{of_server, own};
        return options;
    }
    [[nodiscard]] std::unique_ptr<Dealer> dealer(const KeyPair& own) const {
        return std::make_unique<Dealer>(socket->endpoints()[0], with_keys(server.public_key, own));
    }
    template <class Done>
    bool run_until(Done done) {
        for (const auto deadline = steady_clock::now() + kPatience; steady_clock::now() < deadline;) {
            socket->take_disconnected(closed);
            while (socket->receive(messages, 100, std::size_t{1} << 20)) continue;
            if (done()) return true;
            socket->wait({}, 20);
        }
        return false;
    }
};

TEST_F(GuardedSocket, EachMessageSaysWhoHasSentIt) {
    open([&](std::string_view key) { return key == known.public_key; });
    const auto remote = dealer(known);
    remote->send({"hello", ""});
    ASSERT_TRUE(run_until([&] { return messages.size() == 1; }));
    EXPECT_EQ(messages[0].header_frame.user(), known.public_key);
    Dealer local(socket->endpoints()[1]);
    local.send({"hello", ""});
    ASSERT_TRUE(run_until([&] { return messages.size() == 2; }));
    EXPECT_EQ(messages[1].header_frame.user(), kLocalUser);
    EXPECT_EQ(socket->refused_keys(), 0U);
}

TEST_F(GuardedSocket, WhoIsNotKnownOrHasNoKeyDoesNotGetIn) {
    open([&](std::string_view key) { return key == known.public_key; });
    const KeyPair stranger = *make_key_pair();
    const auto refused = dealer(stranger);
    ASSERT_TRUE(run_until([&] { return socket->refused_keys() > 0; }));
    EXPECT_NE(socket->last_refused_key().find(stranger.public_key), std::string::npos);
    const std::uint64_t failed = socket->counters().handshakes_failed;
    const Dealer plain(socket->endpoints()[0]);
    EXPECT_TRUE(run_until([&] { return socket->counters().handshakes_failed > failed; }));
    EXPECT_TRUE(messages.empty());
}

TEST_F(GuardedSocket, WhileTheHandlerIsStalledWhoIsThereGoesOnAndWhoComesWaits) {
    const KeyPair late = *make_key_pair();
    std::promise<void> go_on;
    std::promise<void> asked;
    const auto gate = go_on.get_future().share();
    open([&](std::string_view key) {
        if (key == late.public_key) {
            asked.set_value();
            gate.wait();
        }
        return key == late.public_key || key == known.public_key;
    });
    const auto first = dealer(known);
    first->send({"1", ""});
    ASSERT_TRUE(run_until([&] { return messages.size() == 1; }));
    const auto second = dealer(late);
    ASSERT_EQ(asked.get_future().wait_for(kPatience), std::future_status::ready);
    first->send({"2", ""});
    EXPECT_TRUE(run_until([&] { return messages.size() == 2; })) << "the handler held up who was there";
    go_on.set_value();
    second->send({"3", ""});
    EXPECT_TRUE(run_until([&] { return messages.size() == 3; }));
    socket.reset();  // and with it the handler's thread, which uses what this test has
}

TEST_F(GuardedSocket, ListensElsewhereWithAnotherKeyAndThenNoMoreWhereItDid) {
    open([&](std::string_view key) { return key == known.public_key; });
    const auto first = dealer(known);
    first->send({"1", ""});
    ASSERT_TRUE(run_until([&] { return messages.size() == 1; }));
    const KeyPair next = *make_key_pair();
    EXPECT_FALSE(socket->listen({Endpoint("tcp://127.0.0.1:0", next)}, {})) << "the same address with another key";
    EXPECT_EQ(socket->endpoints().size(), 2U);
    ASSERT_TRUE(socket->listen({Endpoint("tcp://127.0.0.1:0", server), Endpoint("tcp://127.0.0.1:*", next)}, {}));
    ASSERT_EQ(socket->endpoints().size(), 2U) << "ipc is not among them any more";
    Dealer second(socket->endpoints()[1], with_keys(next.public_key, known));
    second.send({"2", ""});
    first->send({"3", ""});
    ASSERT_TRUE(run_until([&] { return messages.size() == 3; })) << "both keys are in use";
    ASSERT_TRUE(socket->listen({Endpoint("tcp://127.0.0.1:*", next)}, {}));
    const PeerId left = messages[0].peer;
    EXPECT_TRUE(run_until([&] {
        const bool is_named = std::find(closed.begin(), closed.end(), left) != closed.end();
        return is_named && socket->send(left, "probe", {}) == Sent::gone;
    })) << "libzmq closes the connections of an endpoint with it";
    second.send({"4", ""});
    EXPECT_TRUE(run_until([&] { return messages.size() == 4; }));
    EXPECT_FALSE(socket->listen({Endpoint("tcp://127.0.0.1:0")}, {})) << "an endpoint without a key among others";
}

TEST(SocketKeys, AHandlerThatLetsInWhatItDoesNotKnowIsNoStart) {
    const auto opened = Socket::open({Endpoint("tcp://127.0.0.1:0", *make_key_pair())}, {}, [](auto) { return true; });
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().text.find("lets in what it does not know"), std::string::npos);
}

TEST(SocketKeys, AKeyWithNobodyToSayWhichAreKnownIsAnError) {
    EXPECT_FALSE(Socket::open({Endpoint("tcp://127.0.0.1:0", *make_key_pair())}));
}

}  // namespace
}  // namespace jobyard::broker
