// The client library against a broker of a few lines: a ROUTER that welcomes everybody and answers as the test tells it
// to. What is tested here is what the session cannot show: threads, sockets, time limits, fork.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "jobyard/client.hpp"
#include "jobyard/codec.hpp"
#include "wire.hpp"

namespace jobyard {
namespace {

using std::chrono::milliseconds;

class FakeBroker {
 public:
    /// Answers what was received, on the broker's thread, with reply() and its like.
    using Script = std::function<void(FakeBroker&, const Envelope&, std::string_view payload)>;

    explicit FakeBroker(Script script) : script_(std::move(script)) {
        static std::atomic<int> brokers{0};
        endpoint_ = "ipc:///tmp/jobyard-test-" + std::to_string(getpid()) + "-" + std::to_string(++brokers);
        start();
    }
    ~FakeBroker() {
        stop();
        unlink(endpoint_.c_str() + std::strlen("ipc://"));
    }
    FakeBroker(const FakeBroker&) = delete;
    FakeBroker& operator=(const FakeBroker&) = delete;

    [[nodiscard]] const std::string& endpoint() const { return endpoint_; }

    void start() {
        stopping_ = false;
        context_ = zmq_ctx_new();
        socket_ = zmq_socket(context_, ZMQ_ROUTER);
        const int none = 0;
        zmq_setsockopt(socket_, ZMQ_LINGER, &none, sizeof none);
        zmq_setsockopt(socket_, ZMQ_SNDHWM, &none, sizeof none);  // no bound: a ROUTER drops what is above it
        ASSERT_EQ(zmq_bind(socket_, endpoint_.c_str()), 0);
        thread_ = std::thread([this] { run(); });
    }
    /// What a peer sees when the broker dies.
    void stop() {
        if (!thread_.joinable()) return;
        stopping_ = true;
        thread_.join();
        zmq_close(socket_);
        zmq_ctx_term(context_);
    }

    // For scripts:
    void reply(const Envelope& to, Message message, std::string_view payload = {}) {
        send({to.session, to.request, std::move(message)}, payload);
    }
    void push(const Envelope& to, Message message, std::string_view payload = {}) {
        send({to.session, {}, std::move(message)}, payload);
    }
    void accept(const Envelope& envelope, std::size_t items) {
        Answers answers;
        for (std::size_t i = 0; i < items; ++i) {
            Answer answer;
            answer.job = {++last_job};
            answer.state = JobState::queued;
            answers.items.push_back(answer);
        }
        reply(envelope, std::move(answers));
    }
    std::uint64_t last_job = 0;
    InstanceState welcome_as = InstanceState::fresh;

 private:
    void run() {
        while (!stopping_) {
            zmq_pollitem_t item{socket_, 0, ZMQ_POLLIN, 0};
            if (zmq_poll(&item, 1, 5) <= 0) continue;
            std::string frames[3];
            for (std::string& frame : frames) {
                zmq_msg_t message;
                zmq_msg_init(&message);
                zmq_msg_recv(&message, socket_, 0);
                frame.assign(static_cast<const char*>(zmq_msg_data(&message)), zmq_msg_size(&message));
                zmq_msg_close(&message);
            }
            peer_ = frames[0];
            const auto decoded = decode_header(frames[1], frames[2].size());
            const auto* envelope = std::get_if<Envelope>(&decoded);
            ASSERT_NE(envelope, nullptr) << std::get<DecodeError>(decoded).text;
            if (std::holds_alternative<Hello>(envelope->message)) {
                Welcome welcome;
                welcome.instance = std::get<Hello>(envelope->message).resumed ? InstanceState::resumed : welcome_as;
                welcome.store.bytes.fill(1);
                welcome.heartbeat_ms = 5'000;
                welcome.lost_after_ms = 20'000;
                welcome.window = kSubmitWindow;
                welcome.max_payload = kMaxPayloadBytes;
                send({{++last_session_}, envelope->request, welcome}, {});
            }
            script_(*this, *envelope, frames[2]);
        }
    }
    void send(Envelope envelope, std::string_view payload) {
        std::string header;
        encode_header(envelope, header);
        zmq_send(socket_, peer_.data(), peer_.size(), ZMQ_SNDMORE);
        zmq_send(socket_, header.data(), header.size(), ZMQ_SNDMORE);
        zmq_send(socket_, payload.data(), payload.size(), 0);
    }

    Script script_;
    std::string endpoint_;
    void* context_ = nullptr;
    void* socket_ = nullptr;
    std::string peer_;  // of the message in hand
    std::uint64_t last_session_ = 0;
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

/// Something a test waits for.
class Latch {
 public:
    void open() {
        const std::lock_guard lock(mutex_);
        open_ = true;
        opened_.notify_all();
    }
    bool wait() {
        std::unique_lock lock(mutex_);
        return opened_.wait_for(lock, std::chrono::seconds(20), [this] { return open_; });
    }

 private:
    std::mutex mutex_;
    std::condition_variable opened_;
    bool open_ = false;
};

void accept_submits(FakeBroker& broker, const Envelope& envelope, std::string_view) {
    if (const auto* submit = std::get_if<Submit>(&envelope.message)) broker.accept(envelope, submit->items.size());
}

TEST(ClientLibrary, SubmitsAndTellsTheJobsNumber) {
    FakeBroker broker(accept_submits);
    Client client({.broker = broker.endpoint()});
    const Submission job = client.submit({.type = "t", .payload = "bytes"});
    const Result<JobId> id = job.id();
    ASSERT_TRUE(id) << id.error().text;
    EXPECT_EQ(id->value, 1U);
    EXPECT_FALSE(job.was_existing());
    EXPECT_TRUE(client.connect());
}

TEST(ClientLibrary, SubmitsALoopInFewMessages) {
    std::atomic<int> messages{0};
    FakeBroker broker([&](FakeBroker& self, const Envelope& envelope, std::string_view payload) {
        messages += std::holds_alternative<Submit>(envelope.message);
        accept_submits(self, envelope, payload);
    });
    Client client({.broker = broker.endpoint()});
    std::vector<Submission> jobs;
    for (int i = 0; i < 20'000; ++i) jobs.push_back(client.submit({.type = "t", .payload = std::to_string(i)}));
    std::set<std::uint64_t> ids;
    for (const Submission& job : jobs) ids.insert(job.id().value().value);
    EXPECT_EQ(ids.size(), jobs.size());
    EXPECT_LT(messages, 10'000);
}

TEST(ClientLibrary, ALostAnswerIsAskedForAgainUnderTheSameNumbers) {
    std::mutex mutex;
    std::vector<std::uint64_t> numbers;
    Latch first_came;
    std::atomic<bool> answering{false};
    FakeBroker broker([&](FakeBroker& self, const Envelope& envelope, std::string_view payload) {
        const auto* submit = std::get_if<Submit>(&envelope.message);
        if (submit == nullptr) return;
        {
            const std::lock_guard lock(mutex);
            numbers.push_back(submit->first_number);
        }
        if (answering) accept_submits(self, envelope, payload);
        first_came.open();
    });
    Client client({.broker = broker.endpoint()});
    const Submission job = client.submit({.type = "t"});
    ASSERT_TRUE(first_came.wait());
    broker.stop();
    answering = true;
    broker.start();
    ASSERT_TRUE(job.id());
    const std::lock_guard lock(mutex);
    EXPECT_EQ(numbers, (std::vector<std::uint64_t>{1, 1}));
}

TEST(ClientLibrary, ABusyBrokerIsAskedAgainWithANewNumber) {
    std::mutex mutex;
    std::vector<std::uint64_t> numbers;
    FakeBroker broker([&](FakeBroker& self, const Envelope& envelope, std::string_view payload) {
        const auto* submit = std::get_if<Submit>(&envelope.message);
        if (submit == nullptr) return;
        const std::lock_guard lock(mutex);
        numbers.push_back(submit->first_number);
        if (numbers.size() > 1) return accept_submits(self, envelope, payload);
        Answer busy;
        busy.code = Code::busy;
        busy.retry_after_ms = 20;
        self.reply(envelope, Answers{{busy}});
    });
    Client client({.broker = broker.endpoint()});
    ASSERT_TRUE(client.submit({.type = "t"}).id());
    const std::lock_guard lock(mutex);
    EXPECT_EQ(numbers, (std::vector<std::uint64_t>{1, 2}));
}

void complete_watched(FakeBroker& broker, const Envelope& envelope, std::string_view payload) {
    std::vector<JobId> ended;
    if (const auto* submit = std::get_if<Submit>(&envelope.message)) {
        for (std::size_t i = 0; i < submit->items.size(); ++i)
            if (submit->items[i].watch) ended.push_back({broker.last_job + i + 1});
        accept_submits(broker, envelope, payload);
    } else if (const auto* watch = std::get_if<Watch>(&envelope.message)) {
        ended = watch->jobs;
        broker.reply(envelope, Answers{std::vector<Answer>(ended.size())});
    }
    for (const JobId job : ended) {
        ResultItem item;
        item.payload_length = 6;
        item.job = job;
        item.state = JobState::completed;
        item.attempt = 2;
        broker.push(envelope, Results{{item}}, "result");
    }
}

TEST(ClientLibrary, ResultsArePushed) {
    FakeBroker broker(complete_watched);
    Client client({.broker = broker.endpoint()});
    const Result<JobResult> run = client.run({.type = "t"});
    ASSERT_TRUE(run) << run.error().text;
    EXPECT_TRUE(run->completed());
    EXPECT_EQ(run->bytes, "result");
    EXPECT_EQ(run->attempt, 2U);
    EXPECT_EQ(client.wait(JobId{77})->job.value, 77U);
    const JobId many[] = {{5}, {6}, {7}};
    for (const Result<JobResult>& one : client.wait(many)) EXPECT_TRUE(one);
    const Result<JobResult> unasked = client.submit({.type = "t"}).result();
    EXPECT_EQ(unasked.error().code, Code::not_allowed);
}

TEST(ClientLibrary, WatchedJobsThatOutgrowTheGrantAllComeThrough) {
    FakeBroker broker(complete_watched);
    Client client({.broker = broker.endpoint()});
    std::vector<Submission> jobs;
    for (int i = 0; i < 5'000; ++i) jobs.push_back(client.submit({.type = "t", .watch = true}));
    for (auto job = jobs.rbegin(); job != jobs.rend(); ++job) ASSERT_TRUE(job->result());
}

TEST(ClientLibrary, EveryWaitHasATimeLimitThatSaysWhy) {
    FakeBroker broker([](FakeBroker&, const Envelope&, std::string_view) {});
    Client client({.broker = broker.endpoint(), .linger = milliseconds(0)});
    ASSERT_TRUE(client.connect());
    EXPECT_EQ(client.submit({.type = "t"}).id(milliseconds(20)).error().code, Code::timeout);
    EXPECT_EQ(client.wait(JobId{1}, milliseconds(20)).error().code, Code::timeout);
    EXPECT_EQ(client.show(JobId{1}, milliseconds(20)).error().code, Code::timeout);
    EXPECT_EQ(client.cancel(JobId{1}, milliseconds(20)).error().code, Code::timeout);
    EXPECT_EQ(client.stats(milliseconds(20)).error().code, Code::timeout);

    Client alone(
        {.broker = "ipc:///tmp/jobyard-test-nobody", .submit_limit = milliseconds(30), .linger = milliseconds(0)});
    EXPECT_EQ(alone.connect(milliseconds(20)).error().code, Code::timeout);
    const Result<JobId> id = alone.submit({.type = "t"}).id();
    EXPECT_EQ(id.error().code, Code::timeout);
    EXPECT_NE(id.error().text.find("ipc:///tmp/jobyard-test-nobody"), std::string::npos) << id.error().text;
}

TEST(ClientLibrary, RefusesWhatMustNotBeSent) {
    FakeBroker broker(accept_submits);
    Client client({.broker = broker.endpoint()});
    const Error large = client.submit({.type = "t", .payload = std::string(kMaxPayloadBytes + 1, 'x')}).id().error();
    EXPECT_EQ(large.code, Code::too_large);
    EXPECT_NE(large.text.find("262145"), std::string::npos) << large.text;
    EXPECT_NE(large.text.find("262144"), std::string::npos) << large.text;
    EXPECT_EQ(client.submit({.type = ""}).id().error().code, Code::bad_field);
    EXPECT_EQ(client.submit({.type = "t", .queue = std::string(256, 'q')}).id().error().code, Code::bad_field);
    EXPECT_EQ(client.submit({.type = "t", .key = "a\nb"}).id().error().code, Code::bad_field);
}

TEST(ClientLibrary, AFullWindowIsSeenByTheCaller) {
    Latch asked;
    std::atomic<bool> answering{false};
    FakeBroker broker([&](FakeBroker& self, const Envelope& envelope, std::string_view payload) {
        if (answering) return accept_submits(self, envelope, payload);
        if (std::holds_alternative<Submit>(envelope.message)) asked.open();
    });
    Client client({.broker = broker.endpoint(), .submit_limit = milliseconds(50), .max_pending = 3});
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(client.try_submit({.type = "t"}));
    const Submission job = client.submit({.type = "t"});
    EXPECT_EQ(client.pending(), 3U);
    const Result<Submission> fourth = client.try_submit({.type = "t"});
    ASSERT_FALSE(fourth);
    EXPECT_EQ(fourth.error().code, Code::not_accepted);
    EXPECT_EQ(client.submit({.type = "t"}).id().error().code, Code::timeout);  // waited for its limit
    ASSERT_TRUE(asked.wait());
    broker.stop();
    answering = true;
    broker.start();
    EXPECT_TRUE(job.id());
    EXPECT_TRUE(client.submit({.type = "t"}).id());
}

TEST(ClientLibrary, ServesSeveralThreads) {
    FakeBroker broker(complete_watched);
    Client client({.broker = broker.endpoint(), .max_pending = 500});
    std::mutex mutex;
    std::set<std::uint64_t> ids;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            std::vector<Submission> jobs;
            for (int j = 0; j < 1'000; ++j) jobs.push_back(client.submit({.type = "t", .watch = j % 10 == 0}));
            for (int j = 0; j < 1'000; ++j) {
                const Submission& job = jobs[static_cast<std::size_t>(j)];
                if (j % 10 == 0) {
                    EXPECT_TRUE(job.result());
                }
                const JobId id = job.id().value();
                const std::lock_guard lock(mutex);
                ids.insert(id.value);
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(ids.size(), 4'000U);
}

TEST(ClientLibrary, AChildProcessIsToldToMakeItsOwn) {
    FakeBroker broker(accept_submits);
    Client client({.broker = broker.endpoint()});
    const Submission before = client.submit({.type = "t"});
    ASSERT_TRUE(before.id());
    const pid_t child = fork();
    if (child == 0) {
        const bool told = client.submit({.type = "t"}).id().error().code == Code::forked &&
                          client.try_submit({.type = "t"}).error().code == Code::forked &&
                          client.show(JobId{1}).error().code == Code::forked &&
                          client.wait(JobId{1}).error().code == Code::forked &&
                          client.stats().error().code == Code::forked &&
                          client.connect().error().code == Code::forked && before.id().error().code == Code::forked;
        _exit(told ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(client.submit({.type = "t"}).id());
}

TEST(ClientLibrary, CloseWaitsForAnswersAndSaysGoodbye) {
    std::atomic<std::uint64_t> confirmed{0};
    FakeBroker broker([&](FakeBroker& self, const Envelope& envelope, std::string_view payload) {
        if (const auto* goodbye = std::get_if<Goodbye>(&envelope.message)) confirmed = goodbye->confirmed;
        accept_submits(self, envelope, payload);
    });
    Client client({.broker = broker.endpoint()});
    std::vector<Submission> jobs;
    for (int i = 0; i < 100; ++i) jobs.push_back(client.submit({.type = "t"}));
    EXPECT_TRUE(client.close());
    for (const Submission& job : jobs) EXPECT_TRUE(job.has_id());
    EXPECT_EQ(client.submit({.type = "t"}).id().error().code, Code::closed);
    EXPECT_EQ(client.stats().error().code, Code::closed);
    while (confirmed == 0) std::this_thread::yield();
    EXPECT_EQ(confirmed, 100U);
}

TEST(ClientLibrary, WhatIsUnansweredWhenTheClientGoesIsClosed) {
    FakeBroker broker([](FakeBroker&, const Envelope&, std::string_view) {});
    auto client = std::make_unique<Client>(Client::Options{.broker = broker.endpoint(), .linger = milliseconds(10)});
    const Submission job = client->submit({.type = "t"});
    client.reset();
    EXPECT_EQ(job.id().error().code, Code::closed);
}

TEST(ClientLibrary, AnEndpointThatIsNoneIsSaidByEveryCall) {
    for (const char* endpoint : {"nonsense", "tcp://127.0.0.1", "tcp://:7466", "tcp://127.0.0.1:0",
                                 "tcp://127.0.0.1:99999", "tcp://127.0.0.1:1x", "http://127.0.0.1:80", "ipc://"}) {
        Client client({.broker = endpoint});
        EXPECT_EQ(client.submit({.type = "t"}).id().error().code, Code::bad_field) << endpoint;
        EXPECT_EQ(client.show(JobId{1}).error().code, Code::bad_field) << endpoint;
        const Error refused = client.connect().error();
        EXPECT_EQ(refused.code, Code::bad_field) << endpoint;
        EXPECT_NE(refused.text.find(endpoint), std::string::npos) << refused.text;
        EXPECT_NE(refused.text.find("expected ipc://PATH or tcp://HOST:PORT"), std::string::npos) << refused.text;
    }
}

/// A job's map as the broker writes it.
std::string job_map() {
    std::string map;
    wire::Writer out(map);
    out.map(7);
    out.str("id"), out.uint(7);
    out.str("state"), out.str("running");
    out.str("reason"), out.str(to_string(Reason::none));
    out.str("created_at"), out.uint(1'795'246'500'123);
    out.str("of_a_newer_broker"), out.array(2), out.uint(1), out.nil();
    out.str("progress"), out.real(0.5);
    out.str("attempts"), out.array(1), out.map(2);
    out.str("attempt"), out.uint(1);
    out.str("outcome"), out.str("failed");
    out.flush();
    return map;
}

TEST(ClientLibrary, ShowsAndListsJobs) {
    FakeBroker broker([](FakeBroker& self, const Envelope& envelope, std::string_view) {
        const std::string map = job_map();
        const JobItem item{static_cast<std::uint32_t>(map.size()), Code::ok, {7}};
        if (std::holds_alternative<Show>(envelope.message)) self.reply(envelope, Jobs{0, {item}}, map);
        if (std::holds_alternative<List>(envelope.message)) self.reply(envelope, Jobs{9, {item, item}}, map + map);
    });
    Client client({.broker = broker.endpoint()});
    const Result<JobInfo> job = client.show(JobId{7});
    ASSERT_TRUE(job) << job.error().text;
    EXPECT_EQ(job->id.value, 7U);
    EXPECT_EQ(job->state, JobState::running);
    EXPECT_TRUE(job->reason.empty());
    EXPECT_EQ(job->progress, 0.5);
    EXPECT_EQ(job->created_at.time_since_epoch().count(), 1'795'246'500'123);
    EXPECT_FALSE(job->ended_at);
    ASSERT_EQ(job->attempts.size(), 1U);
    EXPECT_EQ(job->attempts[0].outcome, "failed");
    const Result<JobPage> page = client.list({.state = JobState::running});
    ASSERT_TRUE(page);
    EXPECT_EQ(page->jobs.size(), 2U);
    EXPECT_EQ(page->next_cursor, 9U);
}

TEST(ClientLibrary, AMapThatCannotBeReadIsAnErrorNotACrash) {
    const std::string good = job_map();
    for (std::size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(decode_job_info(good.substr(0, size)));
    EXPECT_FALSE(decode_stats("\xc1"));
    EXPECT_FALSE(decode_job_info(good + "x"));
}

}  // namespace
}  // namespace jobyard
