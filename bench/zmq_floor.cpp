#include "zmq_floor.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace jobyard::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kUnansweredJobs = 16'384;
constexpr std::size_t kAnswerBytes = 8;
constexpr char kEcho = 'e';    // first byte of a message that is to come back as it is
constexpr char kAnswer = 'a';  // … that wants a few bytes back

void unbounded(void* socket) {
    const int none = 0;
    zmq_setsockopt(socket, ZMQ_SNDHWM, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
}

/// Of two peers: what comes from one goes to the other. The worker speaks first, and then the client.
[[noreturn]] void run_forwarder(int report_to) {
    void* context = zmq_ctx_new();
    void* router = zmq_socket(context, ZMQ_ROUTER);
    unbounded(router);
    std::array<char, 256> endpoint{};
    std::size_t size = endpoint.size();
    if (zmq_bind(router, "tcp://127.0.0.1:*") != 0 ||
        zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoint.data(), &size) != 0)
        std::_Exit(1);
    if (::write(report_to, endpoint.data(), std::strlen(endpoint.data())) < 0) std::_Exit(1);
    ::close(report_to);
    std::string worker;
    std::string client;
    for (;;) {
        zmq_msg_t from;
        zmq_msg_t body;
        zmq_msg_init(&from);
        zmq_msg_init(&body);
        if (zmq_msg_recv(&from, router, 0) < 0 || zmq_msg_recv(&body, router, 0) < 0) std::_Exit(1);
        const std::string_view id(static_cast<const char*>(zmq_msg_data(&from)), zmq_msg_size(&from));
        if (worker.empty() || (client.empty() && id != worker)) {
            (worker.empty() ? worker : client) = id;
            zmq_send(router, id.data(), id.size(), ZMQ_SNDMORE);  // its greeting comes back: it is known now
        } else {
            const std::string& to = id == worker ? client : worker;
            zmq_send(router, to.data(), to.size(), ZMQ_SNDMORE);
        }
        zmq_msg_close(&from);
        if (zmq_msg_send(&body, router, 0) < 0) zmq_msg_close(&body);
    }
}

void* greeted_dealer(void* context, const std::string& endpoint) {
    void* dealer = zmq_socket(context, ZMQ_DEALER);
    unbounded(dealer);
    std::array<char, 8> bytes{};
    if (zmq_connect(dealer, endpoint.c_str()) != 0 || zmq_send(dealer, "hello", 5, 0) != 5 ||
        zmq_recv(dealer, bytes.data(), bytes.size(), 0) != 5) {
        zmq_close(dealer);
        return nullptr;
    }
    return dealer;
}

[[noreturn]] void run_worker(const std::string& endpoint, int report_to) {
    void* dealer = greeted_dealer(zmq_ctx_new(), endpoint);
    if (dealer == nullptr || ::write(report_to, "+", 1) != 1) std::_Exit(1);
    ::close(report_to);
    for (;;) {
        zmq_msg_t message;
        zmq_msg_init(&message);
        if (zmq_msg_recv(&message, dealer, 0) < 0) std::_Exit(1);
        if (*static_cast<const char*>(zmq_msg_data(&message)) == kEcho) {
            zmq_msg_send(&message, dealer, 0);
            continue;
        }
        zmq_msg_close(&message);
        const std::array<char, kAnswerBytes> answer{};
        zmq_send(dealer, answer.data(), answer.size(), 0);
    }
}

/// Forks; the child runs `body` with the writing end of a pipe and does not return. What it wrote goes to `said`.
template <class Body>
pid_t start(Body body, std::string& said) {
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) throw std::runtime_error("no pipe can be made");
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::close(ends[0]);
        body(ends[1]);
    }
    ::close(ends[1]);
    std::array<char, 256> bytes{};
    for (ssize_t got = 0; (got = ::read(ends[0], bytes.data(), bytes.size())) > 0;)
        said.append(bytes.data(), static_cast<std::size_t>(got));
    ::close(ends[0]);
    return pid;
}

}  // namespace

ZmqFloor::ZmqFloor() {
    forwarder_ = start([](int pipe) { run_forwarder(pipe); }, endpoint_);
    std::string ready;
    if (!endpoint_.empty()) worker_ = start([&](int pipe) { run_worker(endpoint_, pipe); }, ready);
    if (ready.empty()) throw std::runtime_error("the processes that measure libzmq did not start");
}

ZmqFloor::~ZmqFloor() {
    if (socket_ != nullptr) zmq_close(socket_);
    if (context_ != nullptr) zmq_ctx_term(context_);
    for (const pid_t pid : {worker_, forwarder_}) {
        if (pid <= 0) continue;
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }
}

/// Only when it is used: until then this process has no thread of libzmq and may fork.
void ZmqFloor::connect() {
    if (socket_ != nullptr) return;
    context_ = zmq_ctx_new();
    socket_ = greeted_dealer(context_, endpoint_);
    if (socket_ == nullptr) throw std::runtime_error("the process that forwards messages does not answer");
    const int patience_ms = 10'000;
    zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &patience_ms, sizeof patience_ms);
}

void ZmqFloor::send(std::size_t size) {
    zmq_msg_t message;
    zmq_msg_init_size(&message, size);
    std::memset(zmq_msg_data(&message), size == kJobBytes ? kEcho : kAnswer, size);
    zmq_msg_send(&message, socket_, 0);
}

void ZmqFloor::receive() {
    zmq_msg_t message;
    zmq_msg_init(&message);
    const int got = zmq_msg_recv(&message, socket_, 0);
    zmq_msg_close(&message);
    if (got < 0) throw std::runtime_error("a message through libzmq did not come back");
}

std::vector<double> ZmqFloor::round_trips_us(unsigned count) {
    connect();
    std::vector<double> took;
    for (unsigned i = 0; i < count + count / 10; ++i) {
        const auto began = Clock::now();
        send(kJobBytes);
        receive();
        if (i >= count / 10) took.push_back(std::chrono::duration<double, std::micro>(Clock::now() - began).count());
    }
    return took;
}

double ZmqFloor::forward_jobs_per_s(unsigned jobs_a_message) {
    connect();
    const std::size_t window = std::max<std::size_t>(kUnansweredJobs / jobs_a_message, 8);
    // A message of one job has a byte more, which tells the two measurements apart.
    const std::size_t size = std::max(kJobBytes * jobs_a_message, kJobBytes + 1);
    std::size_t unanswered = 0;
    std::size_t answered = 0;
    const auto began = Clock::now();
    auto now = began;
    while (now - began < std::chrono::milliseconds(330)) {
        for (; unanswered < window; ++unanswered) send(size);
        for (; unanswered > window / 2; --unanswered, ++answered) receive();
        now = Clock::now();
    }
    for (; unanswered > 0; --unanswered, ++answered) receive();
    now = Clock::now();
    return static_cast<double>(answered) * jobs_a_message / std::chrono::duration<double>(now - began).count();
}

}  // namespace jobyard::bench
