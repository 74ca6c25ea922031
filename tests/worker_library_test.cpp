// The worker library against a broker of a few lines: a ROUTER and the codec.

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>
#include <zmq.h>

#include <atomic>
#include <deque>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "jobyard/codec.hpp"
#include "jobyard/worker.hpp"

namespace jobyard {
namespace {

using namespace std::chrono_literals;

/// Speaks to one worker. Its calls wait up to ten seconds for what they expect.
class Broker {
 public:
    explicit Broker(std::string endpoint) : endpoint_(std::move(endpoint)), context_(zmq_ctx_new()) {
        socket_ = zmq_socket(context_, ZMQ_ROUTER);
        const int none = 0;
        zmq_setsockopt(socket_, ZMQ_LINGER, &none, sizeof none);
        EXPECT_EQ(zmq_bind(socket_, endpoint_.c_str()), 0) << zmq_strerror(zmq_errno());
    }
    ~Broker() {
        zmq_close(socket_);
        zmq_ctx_term(context_);
    }
    Broker(const Broker&) = delete;
    Broker& operator=(const Broker&) = delete;

    /// A received message; its views point into `header`.
    struct Got {
        std::string header;
        std::string payload;
        Envelope envelope;
    };

    /// The next message of type M; heartbeats, STARTED, CREDIT and renewals are passed over unless asked for.
    template <class M>
    std::optional<Got> expect() {
        const auto until = std::chrono::steady_clock::now() + 10s;
        while (std::chrono::steady_clock::now() < until) {
            auto got = receive();
            if (!got) continue;
            if (std::holds_alternative<M>(got->envelope.message)) return got;
            const Message& other = got->envelope.message;
            // What a worker said before it saw that its last broker is gone reaches the next one; it is said again.
            if constexpr (std::is_same_v<M, Hello>) continue;
            if (std::holds_alternative<Heartbeat>(other) || std::holds_alternative<Started>(other) ||
                std::holds_alternative<Credit>(other) || std::holds_alternative<Renew>(other))
                continue;
            ADD_FAILURE() << "expected another message than " << message_name(other);
            return std::nullopt;
        }
        ADD_FAILURE() << "nothing came";
        return std::nullopt;
    }

    Hello welcome(std::vector<Code> claims = {}) {
        hello_ = expect<Hello>();
        if (!hello_) return {};
        session_.value += 1;
        Welcome welcome;
        welcome.store.bytes[0] = 1;
        welcome.heartbeat_ms = 100;
        welcome.lost_after_ms = 2'000;
        welcome.lease_ms = 3'000;
        welcome.renew_ms = 1'000;
        welcome.max_result = kMaxResultBytes;
        welcome.claims = std::move(claims);
        send(welcome, hello_->envelope.request);
        return std::get<Hello>(hello_->envelope.message);
    }
    void refuse(Code code) {
        hello_ = expect<Hello>();
        if (!hello_) return;
        send(Refusal{.code = code, .text = "not you", .field = {}}, hello_->envelope.request);
    }

    void dispatch(std::uint64_t first_token, const std::vector<std::string>& payloads, std::string_view type = "t",
                  std::uint32_t timeout_ms = 0) {
        Dispatch message;
        std::string payload;
        for (const std::string& one : payloads) {
            DispatchItem item;
            item.payload_length = static_cast<std::uint32_t>(one.size());
            item.token = {first_token + message.items.size()};
            item.job = {100 + item.token.value};
            item.attempt = 2;
            item.queue = "default";
            item.type = type;
            item.priority = 7;
            item.timeout_ms = timeout_ms;
            message.items.push_back(item);
            payload += one;
        }
        send(std::move(message), {}, payload);
    }
    void stop(std::uint64_t token, StopReason reason) { send(Stop{{{{100 + token}, {token}, reason}}}); }

    template <class M>
    void answer(const Got& got, Code code = Code::ok) {
        Answers answers;
        for (const auto& item : std::get<M>(got.envelope.message).items)
            answers.items.push_back({.code = code, .job = item.job, .text = {}, .field = {}});
        send(std::move(answers), got.envelope.request);
    }

    void send(Message message, RequestId request = {}, std::string_view payload = {}) {
        std::string header;
        encode_header({session_, request, std::move(message)}, header);
        zmq_send(socket_, peer_.data(), peer_.size(), ZMQ_SNDMORE);
        zmq_send(socket_, header.data(), header.size(), ZMQ_SNDMORE);
        zmq_send(socket_, payload.data(), payload.size(), 0);
    }
    void set_session(std::uint64_t session) { session_ = {session}; }

 private:
    std::string frame() {
        zmq_msg_t message;
        zmq_msg_init(&message);
        std::string bytes;
        if (zmq_msg_recv(&message, socket_, 0) >= 0)
            bytes.assign(static_cast<const char*>(zmq_msg_data(&message)), zmq_msg_size(&message));
        zmq_msg_close(&message);
        return bytes;
    }
    std::optional<Got> receive() {
        zmq_pollitem_t item{socket_, -1, ZMQ_POLLIN, 0};
        if (zmq_poll(&item, 1, 1'000) <= 0) return std::nullopt;
        peer_ = frame();
        std::optional<Got> got(std::in_place);
        got->header = frame();
        got->payload = frame();
        auto decoded = decode_header(got->header, got->payload.size());
        if (const auto* error = std::get_if<DecodeError>(&decoded)) {
            ADD_FAILURE() << error->text;
            return std::nullopt;
        }
        got->envelope = std::get<Envelope>(decoded);
        if (std::holds_alternative<Heartbeat>(got->envelope.message)) send(Heartbeat{});
        return got;
    }

    std::string endpoint_;
    void* context_;
    void* socket_ = nullptr;
    std::string peer_;
    SessionId session_;
    std::optional<Got> hello_;
};

class WorkerLibrary : public testing::Test {
 protected:
    void SetUp() override {
        std::string pattern = (std::filesystem::temp_directory_path() / "jobyard-test-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        directory = pattern;
        broker.emplace(endpoint());
        set_options({});
    }
    void TearDown() override {
        if (runner.joinable()) {
            worker->stop_now();
            runner.join();
        }
        worker.reset();
        broker.reset();
        std::filesystem::remove_all(directory);
    }
    [[nodiscard]] std::string endpoint() const { return "ipc://" + directory + "/broker"; }

    void set_options(WorkerOptions options) {
        options.broker = endpoint();
        options.name = "test";
        if (options.slots == 0) options.slots = 4;
        worker.emplace(std::move(options));
    }
    void run() {
        runner = std::thread([this] { end = worker->run(); });
    }
    void join() { runner.join(); }

    std::string directory;
    std::optional<Broker> broker;
    std::optional<Worker> worker;
    std::thread runner;
    WorkerEnd end;
};

/// Waits until the job is told to stop; true if that came within ten seconds.
bool wait_for_stop(Context& context) {
    pollfd fd{context.cancel_fd(), POLLIN, 0};
    return poll(&fd, 1, 10'000) == 1 && context.cancelled();
}

TEST_F(WorkerLibrary, RunsJobsAndReportsThemInLists) {
    worker->on("t", [](const Job& job, Context& context) -> HandlerResult {
        EXPECT_EQ(job.id.value, 100 + job.token.value);
        EXPECT_EQ(job.attempt, 2U);
        EXPECT_EQ(job.priority, 7);
        EXPECT_EQ(job.queue, "default");
        EXPECT_EQ(job.type, "t");
        EXPECT_EQ(context.deadline(), std::chrono::steady_clock::time_point::max());
        return Success{"<" + std::string(job.payload) + ">"};
    });
    run();
    const Hello hello = broker->welcome();
    EXPECT_EQ(hello.name, "test");
    EXPECT_EQ(hello.credit, 4U);
    EXPECT_EQ(hello.types, std::vector<std::string_view>{"t"});
    broker->dispatch(1, {"a", "bb", ""});
    std::map<std::uint64_t, std::string> results;
    while (results.size() < 3) {
        const auto got = broker->expect<Complete>();
        ASSERT_TRUE(got);
        std::size_t at = 0;
        for (const CompleteItem& item : std::get<Complete>(got->envelope.message).items) {
            results[item.token.value] = got->payload.substr(at, item.payload_length);
            at += item.payload_length;
        }
        broker->answer<Complete>(*got);
    }
    EXPECT_EQ(results, (std::map<std::uint64_t, std::string>{{1, "<a>"}, {2, "<bb>"}, {3, "<>"}}));
    worker->stop();
    EXPECT_TRUE(broker->expect<Goodbye>());
    join();
    EXPECT_EQ(end.cause, WorkerEnd::Cause::stopped);
    EXPECT_EQ(end.handlers_left, 0U);
}

TEST_F(WorkerLibrary, SendsAResultAgainToARestartedBroker) {
    worker->on("t", [](const Job&, Context&) -> HandlerResult { return Success{"kept"}; });
    run();
    broker->welcome();
    broker->dispatch(1, {"x"});
    ASSERT_TRUE(broker->expect<Complete>());  // and dies before it answers
    broker.reset();
    broker.emplace(endpoint());
    broker->set_session(900);
    const Hello hello = broker->welcome({Code::ok});
    EXPECT_TRUE(hello.resumed);
    ASSERT_EQ(hello.claims.size(), 1U);
    EXPECT_TRUE(hello.claims[0].finished);
    const auto again = broker->expect<Complete>();
    ASSERT_TRUE(again);
    EXPECT_EQ(again->payload, "kept");
    broker->answer<Complete>(*again);
    worker->stop();
    EXPECT_TRUE(broker->expect<Goodbye>());
}

TEST_F(WorkerLibrary, RunsOnWhileTheBrokerIsAway) {
    std::atomic<bool> go{false};
    worker->on("t", [&](const Job&, Context&) -> HandlerResult {
        go.wait(false);
        return Success{"done"};
    });
    run();
    broker->welcome();
    broker->dispatch(1, {"x"});
    ASSERT_TRUE(broker->expect<Started>());
    broker.reset();
    go = true;
    go.notify_all();
    broker.emplace(endpoint());
    broker->set_session(900);
    EXPECT_EQ(broker->welcome({Code::ok}).claims.size(), 1U);
    const auto got = broker->expect<Complete>();
    ASSERT_TRUE(got);
    broker->answer<Complete>(*got);
}

TEST_F(WorkerLibrary, PulsesWhileItsLoopTurnsAndNotWhileThatHangs) {
    std::atomic<int> pulses{0};
    std::atomic<bool> hangs{false};
    std::atomic<bool> go{false};
    set_options({.log =
                     [&](LogLevel, const std::string&) {
                         hangs = true;
                         hangs.notify_all();
                         go.wait(false);
                     },
                 .pulse =
                     [&] {
                         ++pulses;
                         pulses.notify_all();
                     },
                 .pulse_interval = 5ms});
    worker->on("t", [](const Job&, Context&) -> HandlerResult { return Success{}; });
    const auto more_pulses = [&pulses] {
        for (const int before = pulses; pulses < before + 3;) pulses.wait(pulses);
    };
    run();
    more_pulses();
    broker->welcome();  // of which the loop tells, to somebody who does not return
    hangs.wait(false);
    const int then = pulses;
    std::this_thread::sleep_for(50ms);
    EXPECT_EQ(pulses, then);
    go = true;
    go.notify_all();
    more_pulses();
    worker->stop_now();
    join();  // what it calls is on this stack
}

TEST_F(WorkerLibrary, MakesExceptionsRetryableFailures) {
    worker->on("t", [](const Job& job, Context&) -> HandlerResult {
        if (job.payload == "throw") throw std::runtime_error("it broke");
        return Failure{.message = "no good", .retryable = false, .result = "half", .tail = "last words"};
    });
    run();
    broker->welcome();
    broker->dispatch(1, {"throw"});
    auto got = broker->expect<Fail>();
    ASSERT_TRUE(got);
    const FailItem thrown = std::get<Fail>(got->envelope.message).items.at(0);
    EXPECT_EQ(thrown.error, "it broke");
    EXPECT_TRUE(thrown.retryable);
    broker->answer<Fail>(*got);
    broker->dispatch(2, {"fail"});
    got = broker->expect<Fail>();
    ASSERT_TRUE(got);
    const FailItem failed = std::get<Fail>(got->envelope.message).items.at(0);
    EXPECT_EQ(failed.error, "no good");
    EXPECT_EQ(failed.tail, "last words");
    EXPECT_FALSE(failed.retryable);
    EXPECT_EQ(got->payload, "half");
    broker->answer<Fail>(*got);
}

TEST_F(WorkerLibrary, TellsARunningHandlerToStop) {
    worker->on("t", [](const Job&, Context& context) -> HandlerResult {
        EXPECT_TRUE(wait_for_stop(context));
        return Failure{.message = "stopped"};
    });
    run();
    broker->welcome();
    broker->dispatch(1, {"x"});
    ASSERT_TRUE(broker->expect<Started>());
    broker->stop(1, StopReason::cancel);
    const auto got = broker->expect<Fail>();
    ASSERT_TRUE(got);
    EXPECT_EQ(std::get<Fail>(got->envelope.message).items.at(0).outcome, Outcome::cancelled);
    broker->answer<Fail>(*got);
}

TEST_F(WorkerLibrary, RenewsWithProgress) {
    worker->on("t", [](const Job&, Context& context) -> HandlerResult {
        context.progress(0.25, "a quarter");
        EXPECT_TRUE(wait_for_stop(context));
        return Success{};
    });
    run();
    broker->welcome();
    broker->dispatch(1, {"x"});
    auto got = broker->expect<Renew>();
    ASSERT_TRUE(got);
    if (std::get<Renew>(got->envelope.message).items.at(0).progress == 0) {  // sent before the handler began
        broker->answer<Renew>(*got);
        got = broker->expect<Renew>();
        ASSERT_TRUE(got);
    }
    const RenewItem item = std::get<Renew>(got->envelope.message).items.at(0);
    EXPECT_EQ(item.progress, 0.25);
    EXPECT_EQ(item.text, "a quarter");
    broker->answer<Renew>(*got, Code::cancel_requested);
    const auto completed = broker->expect<Complete>();
    ASSERT_TRUE(completed);
    broker->answer<Complete>(*completed);
}

TEST_F(WorkerLibrary, HandsBackWhatItCannotFinishInTheDrain) {
    set_options({.slots = 1, .credit = 2, .drain = 50ms});
    worker->on("t", [](const Job&, Context& context) -> HandlerResult {
        EXPECT_TRUE(wait_for_stop(context));
        return Failure{.message = "interrupted"};
    });
    run();
    broker->welcome();
    broker->dispatch(1, {"runs", "waits"});
    ASSERT_TRUE(broker->expect<Started>());
    worker->stop();
    for (const std::uint64_t token : {2U, 1U}) {  // what waits goes back first, at once
        const auto got = broker->expect<Release>();
        ASSERT_TRUE(got);
        EXPECT_EQ(std::get<Release>(got->envelope.message).items.at(0).token.value, token);
        broker->answer<Release>(*got);
    }
    EXPECT_TRUE(broker->expect<Goodbye>());
    join();
    EXPECT_EQ(end.cause, WorkerEnd::Cause::stopped);
}

TEST_F(WorkerLibrary, EndsWhenAllSlotsAreStuck) {
    set_options({.slots = 1, .stop_grace = 50ms});
    // Shared, because the handler's thread may outlive this test.
    auto go = std::make_shared<std::atomic<bool>>(false);
    worker->on("t", [go](const Job&, Context&) -> HandlerResult {
        go->wait(false);
        return Success{};
    });
    run();
    broker->welcome();
    broker->dispatch(1, {"x"}, "t", 20);
    const auto got = broker->expect<Fail>();
    ASSERT_TRUE(got);
    EXPECT_EQ(std::get<Fail>(got->envelope.message).items.at(0).outcome, Outcome::timeout);
    broker->answer<Fail>(*got);
    EXPECT_TRUE(broker->expect<Goodbye>());
    join();
    EXPECT_EQ(end.cause, WorkerEnd::Cause::all_slots_stuck);
    EXPECT_EQ(end.handlers_left, 1U);
    *go = true;
    go->notify_all();
}

TEST_F(WorkerLibrary, EndsWhenTheBrokerRefusesIt) {
    worker->on("t", [](const Job&, Context&) -> HandlerResult { return Success{}; });
    run();
    broker->refuse(Code::bad_field);
    join();
    EXPECT_EQ(end.cause, WorkerEnd::Cause::refused);
    EXPECT_EQ(end.error.code, Code::bad_field);
}

TEST_F(WorkerLibrary, SaysWhatIsWrongWithItsOptions) {
    EXPECT_EQ(worker->run().error.code, Code::bad_field);  // no handlers
    set_options({.queues = {"a\nb"}});
    worker->on("t", [](const Job&, Context&) -> HandlerResult { return Success{}; });
    const WorkerEnd refused = worker->run();
    EXPECT_EQ(refused.cause, WorkerEnd::Cause::refused);
    EXPECT_NE(refused.error.text.find("queues"), std::string::npos);
}

TEST_F(WorkerLibrary, StopsThoughNoBrokerWasEverThere) {
    broker.reset();
    worker->on("t", [](const Job&, Context&) -> HandlerResult { return Success{}; });
    worker->stop();
    EXPECT_EQ(worker->run().cause, WorkerEnd::Cause::stopped);
}

TEST_F(WorkerLibrary, RunsManySmallJobsFetchedAhead) {
    set_options({.slots = 2, .credit = 1024});
    worker->on("t", [](const Job& job, Context&) -> HandlerResult { return Success{std::string(job.payload)}; });
    run();
    broker->welcome();
    constexpr std::size_t kJobs = 50'000;
    std::size_t dispatched = 0;
    std::size_t completed = 0;
    const auto fill = [&] {
        const std::size_t room = std::min(1024 - (dispatched - completed), kJobs - dispatched);
        if (room == 0) return;
        broker->dispatch(dispatched + 1, std::vector<std::string>(room, "0123456789"));
        dispatched += room;
    };
    fill();
    while (completed < kJobs) {
        const auto got = broker->expect<Complete>();
        ASSERT_TRUE(got);
        completed += std::get<Complete>(got->envelope.message).items.size();
        broker->answer<Complete>(*got);
        fill();
    }
    EXPECT_EQ(completed, kJobs);
}

}  // namespace
}  // namespace jobyard
