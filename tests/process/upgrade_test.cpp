// jobyard-rolling-restart: broker and workers are replaced under load. What ran, and how often, is counted from the
// file that the commands themselves write.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <set>
#include <thread>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using namespace std::chrono_literals;

/// The programs of an installation, children of this test, which restarts them when a file is there that asks for it.
/// The file is made by the command that jobyard-rolling-restart is given, which then waits for the answer.
class Installation {
 public:
    explicit Installation(std::vector<std::string> broker_flags) : broker_(std::move(broker_flags)) {}

    /// Named NAME, or as workers are that nobody has named.
    void add_worker(const std::string& unit, const std::string& name) {
        names_[unit] = name;
        start_worker(unit);
    }
    [[nodiscard]] BrokerProcess& broker() { return broker_; }
    [[nodiscard]] Process& worker(const std::string& unit) { return *workers_.at(unit); }
    [[nodiscard]] std::string command(const std::string& what) const {
        return "touch " + files_ / (what + ".asked") + "; until [ -e " + files_ / (what + ".done") +
               " ]; do sleep 0.02; done";
    }
    [[nodiscard]] const TemporaryDirectory& files() const { return files_; }
    [[nodiscard]] const std::vector<std::string>& restarted() const { return restarted_; }

    std::unique_ptr<Process> start_script(std::vector<std::string> options) {
        const std::string programs = program("jobyard").substr(0, program("jobyard").rfind('/'));
        std::vector<std::string> argv{program("jobyard-rolling-restart")};
        argv.insert(argv.end(), options.begin(), options.end());
        return std::make_unique<Process>(
            Process::Options{.argv = argv,
                             .env = {{"PATH", files_.path() + ":" + programs + ":/usr/bin:/bin"},
                                     {"JOBYARD_BROKER", broker_.endpoint()}}});
    }
    /// Its exit code. Before each restart of the broker `before` is called.
    int serve(
        Process& script, const std::function<void()>& before = [] {}) {
        EXPECT_TRUE(eventually(
            [&] {
                if (asked("broker")) {
                    before();
                    EXPECT_EQ(broker_.terminate(), 0);
                    broker_.start();
                    answer("broker");
                }
                for (auto& [unit, process] : workers_)
                    if (asked(unit)) {
                        process->signal(SIGTERM);
                        EXPECT_EQ(process->wait(), 0) << unit << ": " << process->errors();
                        start_worker(unit);
                        answer(unit);
                    }
                return !script.running();
            },
            5 * kPatience))
            << script.output() << script.errors();
        return script.wait(0ms).value_or(-1);
    }

 private:
    void start_worker(const std::string& unit) {
        std::vector<std::string> flags{"--slots", "4", "--credit", "8"};
        if (!names_[unit].empty()) flags.insert(flags.end(), {"--name", names_[unit]});
        workers_[unit] = start_command_worker(broker_.endpoint(), flags);
        write_file(files_ / (unit + ".pid"), std::to_string(workers_[unit]->pid()) + "\n");
    }
    bool asked(const std::string& what) { return ::unlink((files_ / (what + ".asked")).c_str()) == 0; }
    void answer(const std::string& what) {
        restarted_.push_back(what);
        open_gate(files_ / (what + ".done"));
    }

    const TemporaryDirectory files_;
    BrokerProcess broker_;
    std::map<std::string, std::string> names_;
    std::map<std::string, std::unique_ptr<Process>> workers_;
    std::vector<std::string> restarted_;
};

/// So long that only what is really gone is given up, however slow the machine is.
const std::vector<std::string> kPatientBroker{"--claim-window", "60000", "--reconnect-grace", "60000"};

/// A client that has a number of jobs on their way at any time: commands that write down when they begin and when they
/// end, three tenths of a second later.
class Submitter {
 public:
    Submitter(const std::string& broker, const std::string& log)
        : client_(client_options(broker)), log_(log), thread_([this] { run(); }) {}
    ~Submitter() { stop(); }
    /// Waits for all that it has submitted.
    void stop() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
    }
    [[nodiscard]] std::size_t ended() const { return ended_; }
    /// After stop().
    [[nodiscard]] const std::set<std::uint64_t>& acknowledged() const { return acknowledged_; }

 private:
    void run() {
        std::deque<Submission> on_their_way;
        const std::string line = R"(echo "$JOBYARD_JOB_ID $JOBYARD_ATTEMPT $JOBYARD_LEASE_TOKEN )";
        const std::string payload = command_payload(
            {"sh", "-c", line + R"(began" >>"$LOG"; sleep 0.3; )" + line + R"(ended" >>"$LOG")"}, {{"LOG", log_}});
        while (!stop_ || !on_their_way.empty()) {
            if (!stop_ && on_their_way.size() < kOnTheirWay) {
                on_their_way.push_back(client_.submit({.type = "command", .payload = payload, .watch = true}));
                const Result<JobId> id = on_their_way.back().id(2 * kPatience);
                if (!id) ADD_FAILURE() << "a submit failed: " << id.error().text;
                else EXPECT_TRUE(acknowledged_.insert(id->value).second) << "number " << id->value << " twice";
                continue;
            }
            const Result<JobResult> result = on_their_way.front().result(2 * kPatience);
            if (!result) {
                ADD_FAILURE() << "an acknowledged job has no end: " << result.error().text;
            } else {
                EXPECT_EQ(result->state, JobState::completed) << "job " << result->job.value << ": " << result->error;
                EXPECT_EQ(result->attempt, 1U) << "job " << result->job.value;
            }
            on_their_way.pop_front();
            ++ended_;
        }
    }
    static constexpr std::size_t kOnTheirWay = 30;
    Client client_;
    const std::string log_;
    std::atomic<bool> stop_{false};
    std::atomic<std::size_t> ended_{0};
    std::set<std::uint64_t> acknowledged_;
    std::thread thread_;
};

/// How many have begun (or ended) according to what they wrote, by job.
std::map<std::uint64_t, int> lines_that_say(const std::string& what, const std::string& log) {
    std::map<std::uint64_t, int> counts;
    for (const Execution& line : executions(log))
        if (line.worker == what) ++counts[line.job];
    return counts;
}

std::vector<std::string> events_of(Client& client, std::vector<EventKind> kinds) {
    std::vector<std::string> found;
    std::uint64_t after = 0;
    for (bool more = true; more;) {
        const Result<EventPage> page = client.events({.kinds = kinds}, after, 0ms, 1000, kPatience);
        if (!page) return {page.error().text};
        for (const EventInfo& event : page->events)
            found.push_back(event.kind + " of job " + std::to_string(event.job.value) + " on " + event.worker);
        after = page->last;
        more = page->more;
    }
    return found;
}

TEST(RollingRestart, UnderLoadLosesNothingAndRunsNothingTwice) {
    Installation installation(kPatientBroker);
    const std::string log = installation.files() / "log";
    const std::vector<std::string> names{"worker-1", "worker-2", "worker-3"};
    for (const std::string& name : names) installation.add_worker(name, name);
    Client client(client_options(installation.broker().endpoint()));
    ASSERT_TRUE(workers_arrived(client, names.size()));
    Submitter one(installation.broker().endpoint(), log);
    Submitter other(installation.broker().endpoint(), log);
    const auto ended = [&] { return one.ended() + other.ended(); };
    ASSERT_TRUE(eventually([&] { return ended() >= 20; }));

    std::vector<std::string> options{"--time-limit", "5m", "--broker-command", installation.command("broker")};
    for (const std::string& name : names)
        options.insert(options.end(), {"--worker-command", name + "=" + installation.command(name)});
    auto script = installation.start_script(options);
    std::size_t ran_on = 0;
    EXPECT_EQ(installation.serve(
                  *script, [&] { ran_on = lines_that_say("began", log).size() - lines_that_say("ended", log).size(); }),
              0)
        << script->errors();
    EXPECT_EQ(installation.restarted(), (std::vector<std::string>{"broker", "worker-1", "worker-2", "worker-3"}));
    EXPECT_GT(ran_on, 0U) << "the broker was restarted while nothing ran, which shows nothing";
    const std::string said = script->output();
    for (const std::string part :
         {"broker: back after ", "worker-1: draining\n", "worker-3: back after ", "\nDone. Jobs completed meanwhile: "})
        EXPECT_NE(said.find(part), std::string::npos) << said;

    const std::size_t before = ended();
    EXPECT_TRUE(eventually([&] { return ended() >= before + 20; })) << "nothing ran on after the last restart";
    one.stop();
    other.stop();
    std::set<std::uint64_t> acknowledged = one.acknowledged();
    acknowledged.insert(other.acknowledged().begin(), other.acknowledged().end());
    EXPECT_EQ(acknowledged.size(), one.acknowledged().size() + other.acknowledged().size());
    for (const std::string what : {"began", "ended"}) {
        const std::map<std::uint64_t, int> counts = lines_that_say(what, log);
        EXPECT_EQ(counts.size(), acknowledged.size()) << what;
        for (const auto& [job, count] : counts) {
            EXPECT_TRUE(acknowledged.contains(job)) << "job " << job << " was acknowledged to nobody";
            EXPECT_EQ(count, 1) << "job " << job << " " << what << " so often";
        }
    }
    EXPECT_THAT(events_of(client, {EventKind::worker_lost, EventKind::released}), testing::IsEmpty());
    EXPECT_EQ(counter(client, "workers_lost"), 0U);
    EXPECT_EQ(counter(client, "stale_leases"), 0U);
    EXPECT_EQ(counter(client, "epoch"), 2U);
    EXPECT_EQ(counter(client, "jobs.completed_total"), acknowledged.size());
    std::cout << acknowledged.size() << " jobs, " << ran_on << " of them running when the broker was stopped\n";
}

/// As little of systemd as is asked for: systemctl list-units, show and restart.
void write_systemctl(const Installation& installation, const std::vector<std::string>& units) {
    std::string script = "#!/bin/sh\nfor last; do :; done\ncase \"$1\" in\nlist-units)\n";
    for (const std::string& unit : units)
        script += "  case " + unit + ".service in $last) echo '" + unit + ".service loaded active running It';; esac\n";
    script +=
        "  ;;\nshow) cat " + installation.files().path() + "/\"${last%.service}\".pid;;\nrestart)\n  case \"$2\" in\n";
    for (const std::string& unit : units)
        script +=
            "  " + unit + ".service) " + installation.command(unit == "jobyard-broker" ? "broker" : unit) + ";;\n";
    script += "  *) exit 5;;\n  esac;;\n*) exit 6;;\nesac\n";
    write_file(installation.files() / "systemctl", script);
    ASSERT_EQ(::chmod((installation.files() / "systemctl").c_str(), 0755), 0);
}

TEST(RollingRestart, FindsTheUnitsOfTheMachineAndTheirWorkersByProcess) {
    Installation installation(kPatientBroker);
    installation.add_worker("jobyard-worker", "");
    installation.add_worker("jobyard-worker@second", "a-name");
    write_systemctl(installation, {"jobyard-broker", "jobyard-worker", "jobyard-worker@second"});
    Client client(client_options(installation.broker().endpoint()));
    ASSERT_TRUE(workers_arrived(client, 2));

    auto script = installation.start_script({});
    EXPECT_EQ(installation.serve(*script), 1) << "a worker with a name of its own cannot be found by its process";
    EXPECT_NE(script->errors().find("say --worker-unit jobyard-worker@second.service=NAME"), std::string::npos)
        << script->errors();
    EXPECT_THAT(installation.restarted(), testing::IsEmpty());

    script =
        installation.start_script({"--time-limit", "5m", "--broker-unit", "jobyard-broker.service", "--worker-unit",
                                   "jobyard-worker.service", "--worker-unit", "jobyard-worker@second.service=a-name"});
    EXPECT_EQ(installation.serve(*script), 0) << script->output() << script->errors();
    EXPECT_THAT(installation.restarted(), testing::ElementsAre("broker", "jobyard-worker", "jobyard-worker@second"));
}

TEST(RollingRestart, StopsAtAWorkerThatDoesNotFinishInTimeAndLetsItGoOn) {
    Installation installation(kPatientBroker);
    installation.add_worker("worker-1", "worker-1");
    Client client(client_options(installation.broker().endpoint()));
    ASSERT_TRUE(workers_arrived(client, 1));
    const std::string gate = installation.files() / "gate";
    const Submission job =
        client.submit({.type = "command",
                       .payload = command_payload({"sh", "-c", "until [ -e " + gate + " ]; do sleep 0.05; done"}),
                       .watch = true});
    ASSERT_TRUE(eventually([&] { return state_of(client, job.id().value()) == JobState::running; }));

    auto script = installation.start_script(
        {"--drain-limit", "1s", "--worker-command", "worker-*=" + installation.command("worker-1")});
    EXPECT_EQ(installation.serve(*script), 1);
    EXPECT_NE(script->errors().find("worker-1 was not drained"), std::string::npos) << script->errors();
    EXPECT_NE(script->output().find("worker-1: resumed"), std::string::npos) << script->output();
    EXPECT_THAT(installation.restarted(), testing::IsEmpty());
    EXPECT_FALSE(client.workers("worker-1", kPatience).value().at(0).draining);
    open_gate(gate);
    const Result<JobResult> result = job.result(kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->attempt, 1U);
}

TEST(RollingRestart, StopsWhenAnAttemptWasLostAndSaysWhich) {
    Installation installation({"--reconnect-grace", "100"});
    installation.add_worker("worker-1", "worker-1");
    Client client(client_options(installation.broker().endpoint()));
    ASSERT_TRUE(workers_arrived(client, 1));
    const Result<JobId> job =
        client.submit({.type = "command", .payload = command_payload({"sleep", "1000"})}).id(kPatience);
    ASSERT_TRUE(job);
    ASSERT_TRUE(eventually([&] { return state_of(client, *job) == JobState::running; }));
    installation.add_worker("worker-2", "worker-2");
    ASSERT_TRUE(workers_arrived(client, 2));

    const std::string kill_another = "kill -9 " + std::to_string(installation.worker("worker-1").pid()) +
                                     "; until jobyard events --kind worker_lost | grep -q .; do sleep 0.1; done; ";
    auto script = installation.start_script(
        {"--time-limit", "5m", "--worker-command", "worker-2=" + kill_another + installation.command("worker-2")});
    EXPECT_EQ(installation.serve(*script), 1);
    EXPECT_NE(script->errors().find("attempts were lost when worker-2 was restarted"), std::string::npos)
        << script->errors();
    EXPECT_NE(script->errors().find("worker_lost  job " + std::to_string(job->value)), std::string::npos)
        << script->errors();
}

TEST(RollingRestart, RefusesWhatItCannotDoBeforeItTouchesAnything) {
    Installation installation(kPatientBroker);
    installation.add_worker("worker-1", "worker-1");
    Client client(client_options(installation.broker().endpoint()));
    ASSERT_TRUE(workers_arrived(client, 1));
    const std::string touch = "touch " + installation.files() / "touched";
    const struct {
        std::vector<std::string> options;
        int exit;
        std::string says;
    } cases[] = {
        {{"--broker-command", touch, "--worker-command", "nobody=" + touch}, 1, "no worker named nobody is connected"},
        {{"--broker-command", touch, "--worker-unit", "none.service=nobody"}, 1, "the worker of none.service is not"},
        {{"--broker-command", touch, "--broker-unit", "a.service"}, 2, "not both"},
        {{"--broker-command", touch, "--drain-limit", "1d"}, 2, "--drain-limit is 1d; expected a number and s, m or h"},
        {{"--worker-command", touch}, 2, "expected NAME=COMMAND"},
        {{"--broker-command"}, 2, "--broker-command wants a value"},
        {{"--everything"}, 2, "--everything is no option"},
        {{"--broker", "ipc://" + installation.files() / "no", "--time-limit", "1s", "--broker-command", touch},
         1,
         "no broker to talk to"},
        {{"--dry-run", "--broker-command", touch, "--worker-command", "worker-1=" + touch}, 0, ""},
    };
    for (const auto& each : cases) {
        auto script = installation.start_script(each.options);
        EXPECT_EQ(script->wait(), each.exit) << script->errors();
        EXPECT_NE(script->errors().find(each.says), std::string::npos) << script->errors();
        EXPECT_FALSE(exists(installation.files() / "touched")) << each.options.front();
    }
    auto failing = installation.start_script({"--broker-command", "exit 7", "--worker-command", "worker-1=" + touch});
    EXPECT_EQ(failing->wait(), 1);
    EXPECT_NE(failing->errors().find("broker: that failed with exit status 7"), std::string::npos) << failing->errors();
    EXPECT_FALSE(exists(installation.files() / "touched")) << "it went on though the first step failed";
}

}  // namespace
}  // namespace jobyard::test
