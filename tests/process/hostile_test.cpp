// Bytes from peers that do not know the protocol, or do not mean well: a typed error or a counted drop, and everybody
// else goes on.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include <iostream>
#include <random>
#include <thread>

#include "harness.hpp"
#include "raw_peer.hpp"
#include "wire.hpp"

namespace jobyard::test {
namespace {

using namespace std::chrono_literals;

class Hostile : public testing::Test {
 protected:
    void SetUp() override { ASSERT_TRUE(honest_.connect()); }
    void TearDown() override {
        EXPECT_TRUE(broker_.process().running());
        const Result<JobId> id = honest_.submit({.type = "nobody"}).id(kPatience);
        EXPECT_TRUE(id) << "others are not served any more: " << id.error().text;
    }
    BrokerProcess broker_{{"--log-level", "debug"}, BrokerProcess::Listen::tcp};
    Client honest_{client_options(broker_.endpoint())};
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
    EXPECT_EQ(counter(honest_, "jobs.submitted_total"), 0U);
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

/// A plain TCP connection that says `bytes` and nothing else.
int say(int port, const std::string& bytes) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
    return fd;
}

TEST_F(Hostile, AnHttpRequestIsHungUpOn) {
    const int fd =
        say(broker_.port(), "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: somebody\r\nAccept: */*\r\n\r\n" +
                                std::string(200, '\n'));
    timeval patience{60, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    char byte[4096];
    ssize_t got;
    while ((got = ::recv(fd, byte, sizeof byte, 0)) > 0) continue;
    EXPECT_TRUE(got == 0 || errno == ECONNRESET) << "the connection was left open";
    ::close(fd);
}

TEST_F(Hostile, RawBytesOnTheStreamAreHungUpOnOrIgnored) {
    std::mt19937 random(5);
    std::vector<int> open;
    for (int i = 0; i < 50; ++i) {
        std::string bytes(1 + random() % 3000, '\0');
        for (char& byte : bytes) byte = static_cast<char>(random());
        if (i % 2 == 0)
            bytes.replace(0, std::min<std::size_t>(bytes.size(), 10),
                          std::string("\xff\0\0\0\0\0\0\0\x01\x7f", 10).substr(0, bytes.size()));
        open.push_back(say(broker_.port(), bytes));
    }
    EXPECT_TRUE(honest_.submit({.type = "nobody"}).id(kPatience)) << "half-open connections do not stop others";
    for (const int fd : open) ::close(fd);
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
