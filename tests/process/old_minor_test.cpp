// Programs of different minor versions of the protocol, and of no common version. The old ones, of tests/old_minor, are
// those of protocol 1.0: they leave out every field that was appended since, and do not know the messages that were
// added.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <array>

#include "harness.hpp"
#include "raw_peer.hpp"

namespace jobyard::test {
namespace {

using testing::HasSubstr;

struct Mix {
    std::string name;
    std::string broker, worker, client;  // "" or "old/"
};
std::ostream& operator<<(std::ostream& out, const Mix& mix) { return out << mix.name; }

/// One broker and one worker; the command line does what everybody does. The files show what was run.
class Minors : public testing::TestWithParam<Mix> {
 protected:
    Minors()
        : broker({"--claim-window", "60000", "--reconnect-grace", "60000"}, BrokerProcess::Listen::ipc,
                 GetParam().broker + "jobyard-broker"),
          worker(start_worker("worker-1")) {}

    std::unique_ptr<Process> start_worker(const std::string& name) const {
        return start_command_worker(broker.endpoint(), {"--name", name, "--slots", "2"},
                                    GetParam().worker + "jobyard-worker");
    }
    Ran run(std::vector<std::string> arguments, const std::string& input = {}) const {
        return jobyard_command(broker.endpoint(), std::move(arguments), input, GetParam().client + "jobyard");
    }
    /// What it prints; it must succeed.
    std::string said(std::vector<std::string> arguments, const std::string& input = {}) const {
        const Ran ran = run(arguments, input);
        EXPECT_EQ(ran.exit, 0) << arguments[0] << ": " << ran.errors;
        return ran.output.substr(0, ran.output.find_last_not_of('\n') + 1);
    }
    [[nodiscard]] bool old_broker() const { return !GetParam().broker.empty(); }

    const TemporaryDirectory files;
    BrokerProcess broker;
    std::unique_ptr<Process> worker;
};

TEST_P(Minors, SubmitRunFailRetryCancelAndRedriveAndLoseNothing) {
    EXPECT_EQ(said({"submit", "--wait", "--priority", "9", "--key", "a", "--", "echo", "ran"}), "ran");
    const std::string twice =
        "echo x >>" + files / "tries" + "; [ $JOBYARD_ATTEMPT = 2 ] || exit 3; echo attempt $JOBYARD_ATTEMPT";
    EXPECT_EQ(said({"submit", "--wait", "--", "sh", "-c", twice}), "attempt 2");
    EXPECT_EQ(read_file(files / "tries"), "x\nx\n");

    const std::string fails = said({"submit", "--max-attempts", "1", "--", "sh", "-c", "[ -e " + files / "mended ]"});
    EXPECT_EQ(run({"wait", fails}).exit, 1);
    EXPECT_THAT(said({"dead", "list"}), HasSubstr("exit status 1"));
    open_gate(files / "mended");
    said({"dead", "redrive", fails});
    EXPECT_THAT(said({"wait", fails}), HasSubstr("completed"));

    const std::string gate = files / "gate";
    const std::string runs = said({"submit", "--", "sleep", "1000"});
    ASSERT_TRUE(eventually([&] { return run({"show", runs}).output.find("running") != std::string::npos; }));
    said({"cancel", runs});
    EXPECT_THAT(run({"wait", runs}).output, HasSubstr("cancelled"));
    const std::string waits = said({"submit", "--delay", "1d", "--", "true"});
    said({"cancel", waits});
    EXPECT_THAT(run({"wait", waits}).output, HasSubstr("cancelled"));

    std::string batch;
    for (int i = 0; i < 500; ++i)
        batch += R"({"command": ["sh", "-c", "echo )" + std::to_string(i) + " >>" + files / "batch" +
                 R"("], "key": "k)" + std::to_string(i) + "\"}\n";
    std::vector<std::string> ids = lines_of(said({"submit", "--batch", "-"}, batch));
    ids.insert(ids.begin(), "wait");
    said(ids);
    std::vector<std::string> ran = lines_of(read_file(files / "batch"));
    EXPECT_EQ(ran.size(), 500U);
    std::sort(ran.begin(), ran.end());
    EXPECT_EQ(std::unique(ran.begin(), ran.end()), ran.end()) << "something ran twice";

    const Ran events = jobyard_command(broker.endpoint(), {"events", "--kind", "redriven", "--kind", "worker_lost"});
    if (old_broker()) {
        EXPECT_THAT(events.errors, HasSubstr("the broker speaks protocol 1.0, and this needs 1.1"));
    } else {
        EXPECT_THAT(events.output, HasSubstr("redriven  job " + fails));
        EXPECT_EQ(lines_of(events.output).size(), 1U) << events.output;
    }
}

TEST_P(Minors, ABrokerOfAnotherMinorTakesOverAndWhatRunsGoesOn) {
    const std::string gate = files / "gate";
    const std::string job = said({"submit", "--", "sh", "-c",
                                  "echo x >>" + files / "runs" + "; until [ -e " + gate + " ]; do sleep 0.05; done"});
    ASSERT_TRUE(eventually([&] { return exists(files / "runs"); }));
    EXPECT_EQ(broker.terminate(), 0);
    broker.set_program(old_broker() ? "jobyard-broker" : "old/jobyard-broker");
    broker.start();
    open_gate(gate);
    EXPECT_THAT(said({"wait", job}), HasSubstr("completed"));
    EXPECT_EQ(read_file(files / "runs"), "x\n") << "it was begun again";
}

TEST_P(Minors, AWorkerIsDrainedBySignalAndByCommandWhereBothKnowIt) {
    const std::string gate = files / "gate";
    const std::string runs = said({"submit", "--", "sh", "-c", "until [ -e " + gate + " ]; do sleep 0.05; done"});
    ASSERT_TRUE(eventually([&] { return run({"show", runs}).output.find("running") != std::string::npos; }));
    // By whoever knows how: the worker needs not know of it.
    const Ran drained = jobyard_command(broker.endpoint(), {"worker", "drain", "worker-1"});
    if (old_broker()) {
        EXPECT_EQ(drained.exit, 4);
        EXPECT_THAT(drained.errors,
                    HasSubstr("the broker speaks protocol 1.0, and this needs 1.1; upgrade the broker"));
    } else {
        EXPECT_EQ(drained.exit, 0) << drained.errors;
    }
    worker->signal(SIGTERM);
    const std::string next = said({"submit", "--", "true"});
    open_gate(gate);
    EXPECT_EQ(worker->wait(), 0) << worker->errors();
    EXPECT_THAT(said({"wait", runs}), HasSubstr("completed"));
    EXPECT_THAT(said({"show", next}), HasSubstr("queued"));
    worker = start_worker("worker-2");
    EXPECT_THAT(said({"wait", next}), HasSubstr("completed"));
}

/// An old worker would run a job of an array without its index: any of them, and more than once.
TEST_P(Minors, AnArrayIsRunByWorkersThatAreToldTheIndex) {
    const std::string each = "echo $JOBYARD_ARRAY_INDEX >>" + files / "indices";
    const Ran submitted = jobyard_command(broker.endpoint(), {"submit", "--array", "1-20", "--", "sh", "-c", each});
    if (old_broker()) {
        EXPECT_EQ(submitted.exit, 4);
        EXPECT_THAT(submitted.errors, HasSubstr("the broker speaks protocol 1.0, and this needs 1.1"));
        return;
    }
    ASSERT_EQ(submitted.exit, 0) << submitted.errors;
    const std::string array = lines_of(submitted.output).at(0);
    std::unique_ptr<Process> newer;
    if (!GetParam().worker.empty()) {
        const auto told = [&] { return jobyard_command(broker.endpoint(), {"events", "--kind", "worker_drained"}); };
        ASSERT_TRUE(eventually([&] { return !told().output.empty(); }));
        EXPECT_THAT(told().output, HasSubstr("it speaks protocol 1.0, and a job of an array needs 1.1; upgrade it"));
        EXPECT_FALSE(exists(files / "indices"));
        newer = start_command_worker(broker.endpoint(), {"--name", "newer"});
    }
    EXPECT_EQ(jobyard_command(broker.endpoint(), {"wait", array}).exit, 0);
    std::vector<std::string> indices = lines_of(read_file(files / "indices"));
    std::vector<std::string> all;
    for (int i = 1; i <= 20; ++i) all.push_back(std::to_string(i));
    EXPECT_THAT(indices, testing::UnorderedElementsAreArray(all));
}

INSTANTIATE_TEST_SUITE_P(Of, Minors,
                         testing::Values(Mix{"OldWorkerAndClient", "", "old/", "old/"},
                                         Mix{"OldWorker", "", "old/", ""}, Mix{"OldClient", "", "", "old/"},
                                         Mix{"OldBroker", "old/", "", ""},
                                         Mix{"OldBrokerAndWorker", "old/", "old/", ""}),
                         [](const auto& mix) { return mix.param.name; });

TEST(AnOldBroker, IsAskedForNothingThatItWouldNeglect) {
    BrokerProcess broker({}, BrokerProcess::Listen::ipc, "old/jobyard-broker");
    const std::string too_old = "the broker speaks protocol 1.0, and this needs 1.1; upgrade the broker";
    const std::vector<std::vector<std::string>> refused{
        {"submit", "--hold", "--", "true"},
        {"submit", "--deadline", "1h", "--", "true"},
        {"submit", "--at", "2100-01-01T00:00:00Z", "--", "true"},
        {"hold", "1"},
        {"queue", "pause", "default"},
        {"queue", "list"},
        {"events"},
        {"worker", "list"},
        {"dead", "purge", "--all", "--yes"},
        {"task", "list"},
        {"submit", "--array", "1-3", "--", "true"},
        {"submit", "--array", "1-3", "--wait", "--", "true"},
        {"array", "list"},
        {"array", "show", "1"},
        {"array", "stop", "1"},
        {"array", "resubmit", "1"},
        {"list", "--array", "1"},
    };
    for (const std::vector<std::string>& arguments : refused) {
        const Ran ran = jobyard_command(broker.endpoint(), arguments);
        EXPECT_EQ(ran.exit, 4) << testing::PrintToString(arguments) << ran.output;
        EXPECT_THAT(ran.errors, HasSubstr(too_old)) << testing::PrintToString(arguments);
    }
    EXPECT_EQ(jobyard_command(broker.endpoint(), {"list"}).output, "") << "one of them made a job";
    const Ran version = jobyard_command(broker.endpoint(), {"version"});
    EXPECT_THAT(version.output, HasSubstr(", protocol 1.1\n"));
    EXPECT_THAT(version.output, HasSubstr(", protocol 1.0, at " + broker.endpoint()));
}

TEST(AnUnknownMessage, IsAnsweredWithTheVersionThatIsSpoken) {
    BrokerProcess broker({}, BrokerProcess::Listen::ipc, "old/jobyard-broker");
    RawPeer peer(broker.endpoint());
    EXPECT_EQ(peer.hello(submitter_hello()).minor, 0U);
    const Refusal refusal = refusal_in(peer.call(ReadEvents{}));
    EXPECT_EQ(refusal.code, Code::unknown_message);
    EXPECT_EQ(refusal.text, "message type 25 is not known here, where protocol 1.0 is spoken");
}

/// Answers every HELLO as a broker does that speaks versions 2 and 3 only.
class BrokerOfAnotherVersion {
 public:
    explicit BrokerOfAnotherVersion(const std::string& endpoint)
        : context_(zmq_ctx_new()), socket_(zmq_socket(context_, ZMQ_ROUTER)) {
        const int linger = 0;
        zmq_setsockopt(socket_, ZMQ_LINGER, &linger, sizeof linger);
        if (zmq_bind(socket_, endpoint.c_str()) != 0) throw std::runtime_error("bind");
    }
    ~BrokerOfAnotherVersion() {
        zmq_close(socket_);
        zmq_ctx_term(context_);
    }
    BrokerOfAnotherVersion(const BrokerOfAnotherVersion&) = delete;
    BrokerOfAnotherVersion& operator=(const BrokerOfAnotherVersion&) = delete;

    void answer_until_ended(Process& peer) {
        EXPECT_TRUE(eventually([&] {
            std::vector<std::string> frames;
            for (std::array<char, 4096> bytes; frames.size() < 3;) {
                const int size = zmq_recv(socket_, bytes.data(), bytes.size(), ZMQ_DONTWAIT);
                if (size < 0) return !peer.running();
                frames.emplace_back(bytes.data(), static_cast<std::size_t>(size));
            }
            const auto hello = std::get<Envelope>(decode_header(frames[1], 0));
            const std::string header = header_of(
                {{}, hello.request, Refusal{.code = Code::version_not_spoken, .min_version = 2, .max_version = 3}});
            zmq_send(socket_, frames[0].data(), frames[0].size(), ZMQ_SNDMORE);
            zmq_send(socket_, header.data(), header.size(), ZMQ_SNDMORE);
            zmq_send(socket_, "", 0, 0);
            return false;
        }));
    }

 private:
    void* context_;
    void* socket_;
};

TEST(NoCommonVersion, IsSaidByClientAndWorkerWithBothVersions) {
    const TemporaryDirectory files;
    const std::string endpoint = "ipc://" + files / "broker";
    BrokerOfAnotherVersion broker(endpoint);
    Process client({.argv = {program("jobyard"), "list", "--broker", endpoint}});
    broker.answer_until_ended(client);
    EXPECT_EQ(client.wait(), 3);
    EXPECT_THAT(client.errors(), HasSubstr("the broker speaks versions 2 to 3 of the protocol and this library 1"));
    Process version({.argv = {program("jobyard"), "version", "--broker", endpoint, "--time-limit", "60s"}});
    broker.answer_until_ended(version);
    EXPECT_THAT(version.output(), HasSubstr("no broker: the broker speaks versions 2 to 3 of the protocol"));
    Process worker({.argv = {program("jobyard-worker"), "--broker", endpoint}});
    broker.answer_until_ended(worker);
    EXPECT_EQ(worker.wait(), 3);
    EXPECT_THAT(worker.errors(), HasSubstr("the broker speaks protocol versions 2 to 3, this worker only 1"));
}

TEST(NoCommonVersion, IsSaidByTheBrokerWithBothVersions) {
    BrokerProcess broker;
    RawPeer peer(broker.endpoint());
    Hello hello = submitter_hello();
    hello.min_version = 2;
    hello.max_version = 3;
    const Refusal refusal = refusal_in(peer.call(hello));
    EXPECT_EQ(refusal.code, Code::version_not_spoken);
    EXPECT_EQ(refusal.text, "this broker speaks protocol version 1, this peer 2 to 3");
    EXPECT_EQ(refusal.min_version, 1U);
    EXPECT_EQ(refusal.max_version, 1U);
}

}  // namespace
}  // namespace jobyard::test
