// Bytes from peers that do not know the protocol, or do not mean well: a typed error or a counted drop, and everybody
// else goes on.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include <cstring>
#include <iostream>
#include <memory>
#include <random>
#include <thread>
#include <utility>

#include "harness.hpp"
#include "raw_peer.hpp"
#include "wire.hpp"

namespace jobyard::test {
namespace {

using namespace std::chrono_literals;

/// Whatever is done to the broker, what was acknowledged before is there after it, and a good client's job is run.
class Hostile : public testing::Test {
 protected:
    explicit Hostile(std::vector<std::string> flags = {})
        : broker_(with_log(std::move(flags)), BrokerProcess::Listen::tcp) {}

    void SetUp() override {
        ASSERT_TRUE(honest_.connect());
        for (int i = 0; i < 10; ++i) kept_.push_back(honest_.submit({.type = "nobody"}).id(kPatience).value());
        pid_ = broker_.process().pid();
    }
    void TearDown() override {
        EXPECT_TRUE(broker_.process().running());
        EXPECT_EQ(broker_.process().pid(), pid_);
        const auto worker = start_test_worker(broker_.endpoint(), {{"name", "good"}, {"queue", "good"}});
        const Result<JobResult> result = honest_.run({.type = "echo", .payload = "x", .queue = "good"}, kPatience);
        ASSERT_TRUE(result) << "others are not served any more: " << result.error().text;
        EXPECT_EQ(result->bytes, "x");
        for (const JobId job : kept_) EXPECT_EQ(state_of(honest_, job), JobState::queued) << "job " << job.value;
    }

    static std::vector<std::string> with_log(std::vector<std::string> flags) {
        flags.insert(flags.begin(), {"--log-level", "debug"});
        return flags;
    }
    /// What the broker's system lets it have, from now on.
    void limit(__rlimit_resource resource, std::uint64_t to) {
        const rlimit limits{to, to};
        ASSERT_EQ(::prlimit(broker_.process().pid(), resource, &limits, nullptr), 0);
    }

    BrokerProcess broker_;
    Client honest_{client_options(broker_.endpoint())};
    std::vector<JobId> kept_;
    pid_t pid_ = 0;
};

TEST_F(Hostile, MessagesWithMoreOrFewerThanTwoFramesAreDroppedAndCounted) {
    RawPeer peer(broker_.endpoint());
    peer.hello(submitter_hello());
    const std::string ask = header_of({peer.session(), {5}, AskStats{}});
    ASSERT_TRUE(peer.send_frames({ask}));
    ASSERT_TRUE(peer.send_frames({ask, "", ""}));
    ASSERT_TRUE(peer.send_frames({""}));
    EXPECT_TRUE(eventually([&] { return counter(honest_, "broker.wrong_frames") == 3; }));
    EXPECT_TRUE(std::holds_alternative<Stats>(peer.call(AskStats{}).envelope.message)) << "and nothing else happened";
}

TEST_F(Hostile, AMessageOfAThousandFramesCostsItsSenderTheConnection) {
    RawPeer peer(broker_.endpoint());
    peer.hello(submitter_hello());
    ASSERT_TRUE(peer.send_frames(std::vector<std::string>(1000, "x")));
    EXPECT_TRUE(eventually([&] { return counter(honest_, "broker.kicked") == 1; }));
    EXPECT_EQ(counter(honest_, "broker.wrong_frames"), 1U);
}

TEST_F(Hostile, GarbageIsAnsweredBadMessageAndHasNoEffect) {
    RawPeer peer(broker_.endpoint());
    const std::string session = [&] {
        peer.hello(submitter_hello());
        std::string bytes;
        wire::Writer(bytes).uint(peer.session().value);
        return bytes;
    }();
    const std::vector<std::string> headers{
        "",
        std::string(1, '\0'),
        "GET / HTTP/1.1\r\n\r\n",
        "\xc1",
        "\x94",                                                 // a list that is not there
        "\xdd\xff\xff\xff\xff",                                 // four thousand million fields
        "\x95\x01\x0c" + session + "\x05\xdd\xff\xff\xff\xff",  // WATCH of as many jobs
        std::string("\xdf\xff\xff\xff\xff"),
        "\x94\x01\x17" + session + "\x05 trailing",
        "\x94\xc0\xc0\xc0\xc0",
        "\x94\x01\x17\xff\x05",  // a session below zero
        std::string(60'000, '\x91'),
    };
    for (const std::string& header : headers) {
        const Refusal refusal = refusal_in(peer.call_frames({header, ""}));
        EXPECT_TRUE(refusal.code == Code::bad_message || refusal.code == Code::bad_field ||
                    refusal.code == Code::too_large)
            << to_string(refusal.code);
    }
    EXPECT_EQ(
        refusal_in(peer.call_frames({header_of({peer.session(), {5}, AskStats{}}), "a payload for nothing"})).code,
        Code::bad_message);
    Submit submit{0, 1, {{.payload_length = 10, .type = "t"}}};
    EXPECT_EQ(refusal_in(peer.call(submit, "short")).code, Code::bad_message);
    EXPECT_EQ(counter(honest_, "jobs.submitted_total"), kept_.size());
    EXPECT_TRUE(std::holds_alternative<Stats>(peer.call(AskStats{}).envelope.message)) << "its session is as it was";
}

TEST_F(Hostile, RandomAndDamagedMessagesNeverHurt) {
    RawPeer peer(broker_.endpoint());
    peer.hello(submitter_hello());
    std::mt19937 random(11);
    const std::vector<std::string> good{
        header_of({peer.session(), {1}, Submit{0, 1, {{.type = "t", .key = "k"}, {.type = "u"}}}}),
        header_of({peer.session(), {2}, Watch{{{1}, {2}, {3}}}}),
        header_of({peer.session(), {3}, List{}}),
        header_of({peer.session(), {4}, Cancel{{{1}}}}),
        header_of({{}, {5}, submitter_hello()}),
        header_of({{}, {6}, worker_hello("w", {"t"})}),
    };
    for (int i = 0; i < 5000; ++i) {
        std::string header = good[random() % good.size()];
        for (unsigned flips = 1 + random() % 4; flips > 0; --flips)
            header[random() % header.size()] = static_cast<char>(random());
        if (random() % 4 == 0) header.resize(random() % (header.size() + 1));
        ASSERT_TRUE(peer.send_frames({header, random() % 3 == 0 ? "payload" : ""}));
        while (peer.receive(0ms)) {
        }
    }
    RawPeer other(broker_.endpoint());
    other.hello(submitter_hello());
    EXPECT_TRUE(std::holds_alternative<Stats>(other.call(AskStats{}).envelope.message));
}

TEST_F(Hostile, OversizeFramesAreNotTakenIntoMemory) {
    RawPeer peer(broker_.endpoint());
    const std::uint64_t before = broker_.private_bytes();
    for (int i = 0; i < 20; ++i) {
        RawPeer sender(broker_.endpoint());
        ASSERT_TRUE(sender.send_frames({"x", std::string(8U << 20U, 'p')}));
        ASSERT_TRUE(honest_.stats(kPatience));
    }
    const std::uint64_t after = broker_.private_bytes();
    std::cout << "private memory before " << (before >> 20U) << " MiB, after 20 frames of 8 MiB " << (after >> 20U)
              << " MiB\n";
    EXPECT_LT(after, before + (64U << 20U));
}

TEST_F(Hostile, AHundredThousandSmallMessagesDoNotGrowTheBroker) {
    RawPeer peer(broker_.endpoint());
    peer.hello(submitter_hello());
    ASSERT_TRUE(peer.send_frames({"warm", ""}));
    ASSERT_TRUE(peer.receive());
    const std::uint64_t before = broker_.private_bytes();
    for (int i = 0; i < 100'000; ++i) {
        ASSERT_TRUE(peer.send_frames({"garbage", ""}));
        while (peer.receive(0ms)) {
        }
    }
    ASSERT_TRUE(honest_.stats(kPatience));
    const std::uint64_t after = broker_.private_bytes();
    std::cout << "private memory before " << (before >> 20U) << " MiB, after " << (after >> 20U) << " MiB\n";
    EXPECT_LT(after, before + (64U << 20U));
}

TEST_F(Hostile, APeerThatNeverReadsItsAnswersLosesItsConnectionAndIsBounded) {
    const std::uint64_t before = broker_.private_bytes();
    RawPeer deaf(broker_.endpoint(), 1);
    deaf.hello(submitter_hello());
    const std::string ask = header_of({deaf.session(), {5}, AskStats{}});
    EXPECT_TRUE(eventually([&] {
        for (int i = 0; i < 1000; ++i) deaf.send_frames({ask, ""});
        return counter(honest_, "broker.kicked") > 0;
    }));
    EXPECT_TRUE(honest_.submit({.type = "nobody"}).id(kPatience)) << "others do not wait for it";
    const std::uint64_t after = broker_.private_bytes();
    std::cout << "private memory before " << (before >> 20U) << " MiB, after " << (after >> 20U) << " MiB\n";
    EXPECT_LT(after, before + (200U << 20U));
}

TEST_F(Hostile, FiftyPeersThatNeverReadTheirAnswersLoseTheirConnectionsAndAreBounded) {
    constexpr std::size_t kPeers = kSanitized ? 5 : 50;  // many for their memory, which is not looked at there
    const std::uint64_t before = broker_.private_bytes();
    std::vector<std::unique_ptr<RawPeer>> deaf;
    std::vector<std::string> asks;
    for (std::size_t i = 0; i < kPeers; ++i) {
        deaf.push_back(std::make_unique<RawPeer>(broker_.endpoint(), 1));
        deaf.back()->hello(submitter_hello());
        asks.push_back(header_of({deaf.back()->session(), {5}, AskStats{}}));
    }
    std::uint64_t most = before;
    EXPECT_TRUE(eventually([&] {
        for (std::size_t i = 0; i < kPeers; ++i)
            for (int n = 0; n < 200; ++n) deaf[i]->send_frames({asks[i], ""});
        const std::uint64_t kicked = counter(honest_, "broker.kicked");
        most = std::max(most, broker_.private_bytes());
        return kicked >= kPeers;
    }));
    EXPECT_TRUE(honest_.submit({.type = "nobody"}).id(kPatience)) << "others do not wait for them";
    std::cout << "private memory before " << (before >> 20U) << " MiB, at most " << (most >> 20U) << " MiB\n";
    EXPECT_LT(most, before + (std::uint64_t{kPeers} * 16 << 20U));
}

TEST_F(Hostile, APeerThatChoosesItsRoutingIdIsDroppedAndCounted) {
    void* const context = zmq_ctx_new();
    void* const socket = zmq_socket(context, ZMQ_DEALER);
    const int no_linger = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &no_linger, sizeof no_linger);
    zmq_setsockopt(socket, ZMQ_ROUTING_ID, "chosen", 6);
    ASSERT_EQ(zmq_connect(socket, broker_.endpoint().c_str()), 0);
    const std::string hello = header_of({{}, {1}, submitter_hello()});
    ASSERT_GE(zmq_send(socket, hello.data(), hello.size(), ZMQ_SNDMORE), 0);
    ASSERT_GE(zmq_send(socket, "", 0, 0), 0);
    EXPECT_TRUE(eventually([&] { return counter(honest_, "broker.wrong_routing_id") == 1; }));
    zmq_close(socket);
    zmq_ctx_term(context);
}

/// A plain TCP connection.
class Stream {
 public:
    explicit Stream(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0)
            << std::strerror(errno);
        const timeval patience{kPatience.count(), 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    }
    ~Stream() { ::close(fd_); }
    Stream(Stream&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    /// False if the other side has hung up.
    bool say(std::string_view bytes) const {
        while (!bytes.empty()) {
            const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent <= 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
        return true;
    }
    /// Reads until `words` came, or the end.
    bool hears(std::string_view words) const {
        std::string heard;
        char bytes[4096];
        for (ssize_t got = 0; (got = ::recv(fd_, bytes, sizeof bytes, 0)) > 0;) {
            heard.append(bytes, static_cast<std::size_t>(got));
            if (heard.find(words) != std::string::npos) return true;
        }
        return false;
    }
    /// Reads until the other side has hung up; false if it does not.
    bool is_hung_up_on() const {
        char bytes[4096];
        ssize_t got = 0;
        while ((got = ::recv(fd_, bytes, sizeof bytes, 0)) > 0) continue;
        return got == 0 || errno == ECONNRESET;
    }

 private:
    int fd_;
};

TEST_F(Hostile, AnHttpRequestIsHungUpOn) {
    const Stream stream(broker_.port());
    stream.say("GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: somebody\r\nAccept: */*\r\n\r\n" +
               std::string(200, '\n'));
    EXPECT_TRUE(stream.is_hung_up_on()) << "the connection was left open";
}

TEST_F(Hostile, RawBytesOnTheStreamAreHungUpOnOrIgnored) {
    std::mt19937 random(5);
    std::vector<Stream> open;
    for (int i = 0; i < 50; ++i) {
        std::string bytes(1 + random() % 3000, '\0');
        for (char& byte : bytes) byte = static_cast<char>(random());
        if (i % 2 == 0)
            bytes.replace(0, std::min<std::size_t>(bytes.size(), 10),
                          std::string("\xff\0\0\0\0\0\0\0\x01\x7f", 10).substr(0, bytes.size()));
        open.emplace_back(broker_.port()).say(bytes);
    }
    EXPECT_TRUE(honest_.submit({.type = "nobody"}).id(kPatience)) << "half-open connections do not stop others";
}

// --- ZMTP, by hand (rfc.zeromq.org/spec/13, 15 and 23) ---

const std::string kSignature("\xff\0\0\0\0\0\0\0\x01\x7f", 10);

/// The greeting of version 3.`minor`, without security.
std::string greeting3(char minor) {
    std::string greeting = kSignature + '\x03' + minor + "NULL";
    greeting.resize(64);
    return greeting;
}
std::string frame(std::string_view body, char flags) {
    if (body.size() < 256) return std::string{flags, static_cast<char>(body.size())} + std::string(body);
    std::string bytes{static_cast<char>(flags | 2)};
    for (int shift = 56; shift >= 0; shift -= 8)
        bytes += static_cast<char>(body.size() >> static_cast<unsigned>(shift));
    return bytes.append(body);
}
std::string message_of_two(std::string_view header) { return frame(header, 1) + frame("", 0); }
std::string ready_of_a_dealer() {
    const auto property = [](std::string_view name, std::string_view value) {
        return static_cast<char>(name.size()) + std::string(name) + std::string(3, '\0') +
               static_cast<char>(value.size()) + std::string(value);
    };
    return frame("\x05READY" + property("Socket-Type", "DEALER") + property("Identity", ""), 4);
}

/// With READY. Byte by byte as it would be done: libzmq hangs up on whoever sends all of it at once.
void greet(const Stream& stream) {
    EXPECT_TRUE(stream.say(greeting3(0)));
    EXPECT_TRUE(stream.hears("NULL"));
    EXPECT_TRUE(stream.say(ready_of_a_dealer()));
}

TEST_F(Hostile, PeersOfOlderZmtpAreServedTheSame) {
    const std::string hello = header_of({{}, {1}, submitter_hello()});
    const std::string welcome = "jobyard-broker/";  // stands in it
    {
        const Stream stream(broker_.port());
        greet(stream);
        ASSERT_TRUE(stream.say(message_of_two(hello)));
        EXPECT_TRUE(stream.hears(welcome)) << "3.0";
    }
    {
        const Stream stream(broker_.port());
        ASSERT_TRUE(stream.say(kSignature + std::string("\x01\x05", 2)));
        ASSERT_TRUE(stream.hears(kSignature));
        ASSERT_TRUE(stream.say(std::string("\x00\x00", 2) + message_of_two(hello)));
        EXPECT_TRUE(stream.hears(welcome)) << "2.0";
    }
    {
        // 1.0: each frame is its length with the flags, the flags, the body; the first is the routing id, of none.
        const Stream stream(broker_.port());
        ASSERT_TRUE(stream.say(std::string("\x01\x00", 2) + static_cast<char>(hello.size() + 1) + '\x01' + hello +
                               std::string("\x01\x00", 2)));
        EXPECT_TRUE(stream.hears(welcome)) << "1.0";
    }
}

TEST_F(Hostile, BrokenZmtpIsHungUpOn) {
    const std::string ready = ready_of_a_dealer();
    const std::vector<std::pair<const char*, std::string>> broken{
        {"a frame of 2^63 bytes", ready + std::string("\x02\x80\0\0\0\0\0\0\0", 9)},
        {"a frame of more than a message may have", ready + std::string("\x02\0\0\0\0\x10\0\0\0", 9)},
        {"a READY that is cut off", frame("\x05READY\x0bSocket-T", 4)},
        {"a READY of a socket that does not fit", frame(std::string("\x05READY\x0bSocket-Type\0\0\0\x03PUB", 25), 4)},
        {"a message before the READY", message_of_two("x")},
        {"a command that is none", frame("\x07NOTHING", 4)},
    };
    for (const auto& [what, bytes] : broken) {
        const Stream stream(broker_.port());
        ASSERT_TRUE(stream.say(greeting3(0)) && stream.hears("NULL")) << what;
        stream.say(bytes);
        EXPECT_TRUE(stream.is_hung_up_on()) << what;
    }
    const Stream stream(broker_.port());
    stream.say(kSignature + std::string("\x03\0NOTHING", 9) + std::string(45, '\0'));
    EXPECT_TRUE(stream.is_hung_up_on()) << "a mechanism that is not known";
}

TEST_F(Hostile, AGreetingThatComesByteByByteHoldsNobodyUp) {
    std::vector<Stream> slow;
    for (int i = 0; i < 50; ++i) slow.emplace_back(broker_.port());
    const std::string greeting = greeting3(0);
    for (std::size_t at = 0; at + 1 < greeting.size(); ++at) {  // never whole
        for (const Stream& stream : slow) stream.say(greeting.substr(at, 1));
        ASSERT_TRUE(honest_.submit({.type = "nobody"}).id(kPatience)) << "at byte " << at;
    }
    for (const Stream& stream : slow) EXPECT_TRUE(stream.is_hung_up_on()) << "it may take as long as it likes";
}

TEST_F(Hostile, ThousandsOfSilentConnectionsAreHungUpOnAndOthersAreServed) {
    rlimit ours{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &ours), 0);
    const std::size_t count = std::min<std::size_t>(2000, ours.rlim_cur - 100);
    const std::uint64_t before = broker_.private_bytes();
    std::vector<Stream> silent;
    for (std::size_t i = 0; i < count; ++i) {
        silent.emplace_back(broker_.port());
        if (i % 100 == 0) {
            ASSERT_TRUE(honest_.submit({.type = "nobody"}).id(kPatience));
        }
    }
    const std::uint64_t with = broker_.private_bytes();
    for (const Stream& stream : silent) ASSERT_TRUE(stream.is_hung_up_on());
    std::cout << count << " connections; private memory before " << (before >> 20U) << " MiB, with them "
              << (with >> 20U) << " MiB, after " << (broker_.private_bytes() >> 20U) << " MiB\n";
    EXPECT_LT(with, before + (200U << 20U));
}

TEST_F(Hostile, MoreConnectionsThanDescriptorsAreSurvivedToldOfAndForgotten) {
    limit(RLIMIT_NOFILE, 128);
    {
        std::vector<Stream> flood;
        for (int i = 0; i < 400; ++i) flood.emplace_back(broker_.port());
        EXPECT_TRUE(eventually([&] { return broker_.log().find("no file descriptor is left") != std::string::npos; }));
        EXPECT_TRUE(honest_.submit({.type = "nobody"}).id(kPatience)) << "who is connected is served";
    }
    EXPECT_TRUE(
        eventually([&] { return broker_.log().find("there are file descriptors again") != std::string::npos; }));
    Client another(client_options(broker_.endpoint()));
    EXPECT_TRUE(another.submit({.type = "nobody"}).id(kPatience)) << "who comes later, too";
}

// --- peers that are not what they should be ---

TEST_F(Hostile, RoutingIdsThatArePeersOwnOrTakenAreDroppedAndCounted) {
    struct Chosen {
        explicit Chosen(const std::string& endpoint, const std::string& id)
            : context(zmq_ctx_new()), socket(zmq_socket(context, ZMQ_DEALER)) {
            const int no_linger = 0;
            zmq_setsockopt(socket, ZMQ_LINGER, &no_linger, sizeof no_linger);
            EXPECT_EQ(zmq_setsockopt(socket, ZMQ_ROUTING_ID, id.data(), id.size()), 0);
            EXPECT_EQ(zmq_connect(socket, endpoint.c_str()), 0);
        }
        ~Chosen() {
            zmq_close(socket);
            zmq_ctx_term(context);
        }
        Chosen(const Chosen&) = delete;
        Chosen& operator=(const Chosen&) = delete;
        void say_hello() const {
            const std::string hello = header_of({{}, {1}, submitter_hello()});
            EXPECT_GE(zmq_send(socket, hello.data(), hello.size(), ZMQ_SNDMORE), 0);
            EXPECT_GE(zmq_send(socket, "", 0, 0), 0);
        }
        void* context;
        void* socket;
    };
    const Chosen one(broker_.endpoint(), "1");
    const Chosen longest(broker_.endpoint(), std::string(255, 'x'));
    const Chosen twin(broker_.endpoint(), "twin");
    const Chosen like_ours(broker_.endpoint(), std::string("\0abc", 4));  // of a generated one's beginning
    for (const Chosen* peer : {&one, &longest, &twin, &like_ours}) peer->say_hello();
    EXPECT_TRUE(eventually([&] { return counter(honest_, "broker.wrong_routing_id") == 4; }));
    const Chosen other_twin(broker_.endpoint(), "twin");  // nobody will ever hear it
    other_twin.say_hello();
    twin.say_hello();
    EXPECT_TRUE(eventually([&] { return counter(honest_, "broker.wrong_routing_id") == 5; }));
    EXPECT_EQ(honest_.stats(kPatience).value().submitters, 1U) << "none of them has a session";
}

/// One that is right ends libzmq, so the broker begins to count at a number that nobody knows (DESIGN.md, 11).
TEST_F(Hostile, GuessesOfTheNextGeneratedRoutingIdEndNothing) {
    constexpr std::uint32_t kGuesses = 256;
    void* const context = zmq_ctx_new();
    std::vector<void*> sockets;
    const std::string hello = header_of({{}, {1}, submitter_hello()});
    for (std::uint32_t guess = 0; guess < kGuesses; ++guess) {
        const std::string id = {'\0', '\0', '\0', '\0', static_cast<char>(guess)};
        void* const socket = sockets.emplace_back(zmq_socket(context, ZMQ_DEALER));
        const int no_linger = 0;
        zmq_setsockopt(socket, ZMQ_LINGER, &no_linger, sizeof no_linger);
        ASSERT_EQ(zmq_setsockopt(socket, ZMQ_ROUTING_ID, id.data(), id.size()), 0);
        ASSERT_EQ(zmq_connect(socket, broker_.endpoint().c_str()), 0);
        ASSERT_GE(zmq_send(socket, hello.data(), hello.size(), ZMQ_SNDMORE), 0);
        ASSERT_GE(zmq_send(socket, "", 0, 0), 0);
    }
    for (void* const socket : sockets) {  // they cannot be told from others
        const int patience_ms = static_cast<int>(kPatience.count()) * 1000;
        zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience_ms, sizeof patience_ms);
        ASSERT_GE(zmq_recv(socket, nullptr, 0, 0), 0) << "the broker answers";
    }
    Client another(client_options(broker_.endpoint()));
    EXPECT_TRUE(another.submit({.type = "nobody"}).id(kPatience));
    for (void* const socket : sockets) zmq_close(socket);
    zmq_ctx_term(context);
}

class HostileWorker : public Hostile {
 protected:
    HostileWorker()
        : Hostile({"--lease", "1500", "--renew", "500", "--heartbeat", "300", "--lost-after", "1500",
                   "--reconnect-grace", "100"}) {}

    void takes_jobs_and_never_reads(std::size_t workers) {
        constexpr std::size_t kJobs = 300;
        const std::string payload(200'000, 'p');
        const std::uint64_t before = broker_.private_bytes();
        std::vector<Submission> jobs;
        for (std::size_t i = 0; i < kJobs; ++i)
            jobs.push_back(honest_.submit({.type = "echo", .payload = payload, .watch = true}));
        for (const Submission& job : jobs) ASSERT_TRUE(job.id(kPatience));
        std::vector<std::unique_ptr<RawPeer>> deaf;
        for (std::size_t i = 0; i < workers; ++i) {
            deaf.push_back(std::make_unique<RawPeer>(broker_.endpoint(), 1));
            deaf.back()->hello(worker_hello("deaf" + std::to_string(i), {"echo"}, 1, 1024));
        }
        EXPECT_TRUE(eventually([&] {
            return counter(honest_, "dispatched") >= kJobs || counter(honest_, "workers_lost") >= workers;
        })) << "they were given them all, or as many as it could before they were lost";
        EXPECT_GT(counter(honest_, "dispatched"), 0U);
        const std::uint64_t with = broker_.private_bytes();
        const auto worker = start_test_worker(broker_.endpoint(), {{"name", "honest"}, {"slots", "4"}});
        for (const Submission& job : jobs) {
            const Result<JobResult> result = job.result(kPatience);
            ASSERT_TRUE(result) << result.error().text;
            if (workers > kCrashBudget && result->state == JobState::dead) continue;  // went from one to the next
            EXPECT_EQ(result->state, JobState::completed);
        }
        std::cout << (kJobs * payload.size() >> 20U) << " MiB of payloads; private memory before " << (before >> 20U)
                  << " MiB, with " << workers << " deaf workers " << (with >> 20U) << " MiB\n";
        EXPECT_LT(with, before + 3 * kJobs * payload.size());
    }
};

TEST_F(HostileWorker, ThatTakesCreditAndNeverReadsCostsBoundedMemoryAndItsJobsRunElsewhere) {
    takes_jobs_and_never_reads(1);
}

/// A job that goes from one of them to the next may be dead at the end of its crash budget.
TEST_F(HostileWorker, OfWhichThereAreFiftyCostsNoMore) { takes_jobs_and_never_reads(50); }

class HostileMemory : public Hostile {
 protected:
    HostileMemory() : Hostile({"--map-size", "64M"}) {}
};

/// libzmq keeps the frames of a message until its last one, where nobody can look. When it gets no more memory it
/// mostly hangs up; or the broker ends, which is no worse than a kill.
TEST_F(HostileMemory, OfEndlessFramesIsBoundedByALimitOfTheSystemAndNothingIsLost) {
    if (kSanitized) GTEST_SKIP() << "a sanitizer cannot live with a limit of addresses";
    std::uint64_t size = 0;
    for (const std::string& line : lines_of(read_file("/proc/" + std::to_string(pid_) + "/status")))
        if (line.starts_with("VmSize:")) size = std::strtoull(line.c_str() + 7, nullptr, 10) << 10U;
    ASSERT_GT(size, 0U);
    limit(RLIMIT_AS, size + (std::uint64_t{200} << 20U));
    const Stream stream(broker_.port());
    greet(stream);
    const std::string more = frame(std::string(60'000, 'm'), 1);
    std::size_t said = 0;
    while (said < 20'000 && stream.say(more)) ++said;
    EXPECT_LT(said, 20'000U) << "it took a gigabyte";
    EXPECT_GT(said, 1000U) << "it was hung up on before it could hurt";
    // Whichever comes first shows what became of it.
    Client another(client_options(broker_.endpoint()));
    const Submission job = another.submit({.type = "nobody"});
    EXPECT_TRUE(eventually([&] { return job.has_id() || !broker_.process().running(); }));
    const bool ended = !broker_.process().running();
    std::cout << "hung up after " << (said * more.size() >> 20U) << " MiB; the broker " << (ended ? "ended" : "went on")
              << "\n";
    if (!ended) return;
    broker_.start();
    pid_ = broker_.process().pid();
    EXPECT_TRUE(job.id(kPatience));
}

TEST_F(Hostile, PeersThatComeAndGoByTheHundredsLeaveNothingBehind) {
    for (int i = 0; i < 300; ++i) {
        RawPeer peer(broker_.endpoint());
        peer.hello(submitter_hello());
        peer.send(Submit{0, 1, {{.type = "nobody"}}}, {}, {1});
        if (i % 2 == 0) continue;  // without waiting for the answer
        EXPECT_TRUE(peer.receive());
    }
    EXPECT_TRUE(eventually([&] { return honest_.stats(kPatience).value().submitters == 1; })) << "the honest one";
}

TEST_F(Hostile, AWorkerThatLiesAboutItsJobsChangesNothing) {
    const JobId queued = honest_.submit({.type = "nobody"}).id().value();
    RawPeer liar(broker_.endpoint());
    Hello hello = worker_hello("liar", {"other"});
    hello.claims = {{queued, {12345}, false}, {{999}, {1}, true}};
    const Welcome welcome = liar.hello(hello);
    ASSERT_EQ(welcome.claims.size(), 2U);
    EXPECT_EQ(welcome.claims[0], Code::stale_lease);
    EXPECT_EQ(answer_in(liar.call(Complete{{{4, queued, {12345}, 1}}}, "fake")).code, Code::stale_lease);
    EXPECT_EQ(answer_in(liar.call(Complete{{{4, {999}, {1}, 1}}}, "fake")).code, Code::unknown_job);
    EXPECT_EQ(answer_in(liar.call(Renew{{{queued, {12345}}}})).code, Code::stale_lease);
    EXPECT_EQ(answer_in(liar.call(Release{{{queued, {12345}}}})).code, Code::stale_lease);
    EXPECT_EQ(state_of(honest_, queued), JobState::queued);
}

}  // namespace
}  // namespace jobyard::test
