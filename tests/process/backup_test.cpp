// Backups beside a broker under load, and what clients see when a restored store takes the place of another. The
// commands of docs/BACKUP.md are run by tests/documents.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr std::uint64_t kAhead = std::uint64_t{1} << 32;

Ran store(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "store");
    return jobyard_command("ipc:///nobody", std::move(arguments));
}

/// The broker goes, and one with a store restored from the backup comes at the same endpoint.
void replace(BrokerProcess& broker, const std::string& backup) {
    broker.kill();
    std::filesystem::remove_all(broker.data());
    const Ran restored = store({"restore", backup, "--to", broker.data()});
    ASSERT_EQ(restored.exit, 0) << restored.errors;
    broker.start();
}

TEST(Backup, OfABrokerUnderLoadHasAllThatWasAcknowledgedBefore) {
    const TemporaryDirectory files;
    BrokerProcess broker;
    auto worker = start_test_worker(broker.endpoint(), {{"slots", "4"}, {"log", files / "executions"}});
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> acknowledged{0};  // every number up to it
    std::thread load([&] {
        Client client(client_options(broker.endpoint()));
        const std::string payload(8'000, 'x');  // the log's files are used again and again
        while (!stop) {
            std::vector<Submission> some;
            for (int i = 0; i < 20; ++i)
                some.push_back(
                    client.submit({.type = i % 4 != 0 ? "work" : "nobody", .payload = i % 4 != 0 ? "0" : payload}));
            for (const Submission& job : some) acknowledged = job.id(kPatience).value().value;
        }
    });
    EXPECT_TRUE(eventually([&] { return acknowledged > 200; }));
    std::vector<std::uint64_t> before;
    for (int round = 0; round < 2; ++round) {
        before.push_back(acknowledged);
        const Ran made = store({"backup", broker.data(), "--to", files / ("backup" + std::to_string(round))});
        EXPECT_EQ(made.exit, 0) << made.errors;
        EXPECT_TRUE(eventually([&] { return acknowledged > before.back(); })) << "commits go on";
    }
    stop = true;
    load.join();
    for (int round = 0; round < 2; ++round) {
        const Ran verified = store({"verify", files / ("backup" + std::to_string(round))});
        EXPECT_EQ(verified.exit, 0) << verified.output << verified.errors;
    }
    const Ran running = store({"verify", broker.data()});
    EXPECT_EQ(running.exit, 0) << running.output << running.errors;
    broker.kill();
    const Ran killed = store({"verify", broker.data()});
    EXPECT_EQ(killed.exit, 0) << killed.output << killed.errors;

    worker.reset();
    replace(broker, files / "backup1");
    Client client(client_options(broker.endpoint()));
    for (std::uint64_t id = 1; id <= before[1]; id += 1 + before[1] / 50)
        EXPECT_TRUE(client.show({id}, kPatience)) << "job " << id << " had been acknowledged";
    EXPECT_TRUE(client.show({before[1]}, kPatience));
}

TEST(Restore, AClientOfTheOldStoreIsToldThatItCannotKnow) {
    const TemporaryDirectory files;
    BrokerProcess broker;
    Client client(client_options(broker.endpoint()));
    const Submission kept = client.submit({.type = "nobody", .watch = true});
    ASSERT_EQ(kept.id(kPatience).value().value, 1U);
    ASSERT_EQ(store({"backup", broker.data(), "--to", files / "backup"}).exit, 0);
    const Submission lost = client.submit({.type = "nobody", .watch = true});
    ASSERT_EQ(lost.id(kPatience).value().value, 2U);
    broker.process().signal(SIGSTOP);
    const Submission unanswered = client.submit({.type = "nobody"});
    EXPECT_EQ(code_of(unanswered.id(std::chrono::milliseconds(200))), Code::timeout) << "it is on its way";
    replace(broker, files / "backup");

    EXPECT_EQ(code_of(unanswered.id(kPatience)), Code::outcome_unknown);
    EXPECT_EQ(code_of(kept.result(kPatience)), Code::outcome_unknown);
    EXPECT_EQ(code_of(lost.result(kPatience)), Code::outcome_unknown);
    const Submission next = client.submit({.type = "nobody"});
    EXPECT_EQ(next.id(kPatience).value().value, 2 + kAhead) << "no number is given twice";
    EXPECT_EQ(state_of(client, {1}), JobState::queued) << "jobs keep their numbers";
    EXPECT_EQ(code_of(client.show({2}, kPatience)), Code::unknown_job) << "it did not end: it never was here";
    EXPECT_EQ(all_jobs(client).size(), 2U) << "a list goes on over the numbers that are left out";
}

TEST(Restore, AWorkerOfTheOldStoreDropsWhatItHolds) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    const std::string gate = files / "gate";
    BrokerProcess broker({"--claim-window", "200"});
    auto worker = start_test_worker(broker.endpoint(), {{"name", "first"}, {"log", log}, {"gate", gate}});
    Client client(client_options(broker.endpoint()));
    ASSERT_TRUE(client.submit({.type = "gated"}).id(kPatience));
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 1; }));
    ASSERT_EQ(store({"backup", broker.data(), "--to", files / "backup"}).exit, 0);
    replace(broker, files / "backup");
    auto second = start_test_worker(broker.endpoint(), {{"name", "second"}, {"log", log}, {"gate", gate}});
    ASSERT_TRUE(eventually([&] { return executions(log).size() == 2; })) << "it is dispatched again, with a new token";
    open_gate(gate);
    Client again(client_options(broker.endpoint()));
    const Result<JobResult> result = again.watch({1}).result(kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->state, JobState::completed);
    const std::vector<Execution> runs = executions(log);
    EXPECT_GE((runs[1].token >> 44U) - (runs[0].token >> 44U), 1024U);
}

/// The way from one format to another, with one version for both.
TEST(DumpAndLoad, GiveABrokerThatServesAllThatWasThere) {
    const TemporaryDirectory files;
    const std::string log = files / "executions";
    BrokerProcess broker;
    JobId completed, dead, waits, paused;
    {
        auto worker = start_test_worker(broker.endpoint(), {{"name", "old"}, {"log", log}});
        Client client(client_options(broker.endpoint()));
        completed = client.run({.type = "echo", .payload = "kept", .key = "done"}, kPatience).value().job;
        dead = client.run({.type = "mend", .payload = files / "mended", .max_attempts = 1}, kPatience).value().job;
        ASSERT_EQ(worker->running(), true);
        worker->signal(SIGTERM);
        ASSERT_EQ(worker->wait(), 0);
        waits =
            client.submit({.type = "echo", .payload = std::string(5'000, 'l'), .key = "waits"}).id(kPatience).value();
        paused = client.submit({.type = "echo", .queue = "stopped"}).id(kPatience).value();
        ASSERT_TRUE(client.set_queue("stopped", {.paused = true, .why = "moving"}, {}, kPatience));
    }
    EXPECT_EQ(broker.terminate(), 0);
    const Ran dumped = store({"dump", broker.data(), "--to", files / "jobs.jsonl"});
    ASSERT_EQ(dumped.exit, 0) << dumped.errors;
    std::filesystem::rename(broker.data(), files / "old");
    const Ran loaded = store({"load", files / "jobs.jsonl", "--to", broker.data()});
    ASSERT_EQ(loaded.exit, 0) << loaded.errors;
    broker.start();

    auto worker = start_test_worker(broker.endpoint(), {{"name", "new"}, {"log", log}});
    auto of_stopped = start_test_worker(broker.endpoint(), {{"name", "other"}, {"log", log}, {"queue", "stopped"}});
    Client client(client_options(broker.endpoint()));
    const Result<JobResult> result = client.watch(waits).result(kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->bytes, std::string(5'000, 'l'));
    EXPECT_EQ(client.watch(completed).result(kPatience).value().bytes, "kept");
    EXPECT_EQ(client.submit({.type = "echo", .payload = "kept", .key = "done"}).id(kPatience).value(), completed);
    EXPECT_EQ(state_of(client, dead), JobState::dead);
    open_gate(files / "mended");
    ASSERT_TRUE(client.redrive(dead, kPatience));
    EXPECT_EQ(client.watch(dead).result(kPatience).value().state, JobState::completed);
    ASSERT_TRUE(workers_arrived(client, 2));
    EXPECT_EQ(state_of(client, paused), JobState::queued);
    ASSERT_TRUE(client.set_queue("stopped", {.paused = false}, {}, kPatience));
    EXPECT_EQ(client.watch(paused).result(kPatience).value().state, JobState::completed);
    EXPECT_EQ(execution_counts(log)[completed.value], 1);
    EXPECT_EQ(all_jobs(client).size(), 4U);
}

TEST(Store, TellsWhatIsWrongByItsExitCode) {
    const TemporaryDirectory files;
    EXPECT_EQ(store({}).exit, 2);
    EXPECT_EQ(store({"backup", files / "nowhere"}).exit, 2) << "--to is missing";
    const Ran nowhere = store({"verify", files / "nowhere"});
    EXPECT_EQ(nowhere.exit, 3);
    EXPECT_THAT(nowhere.errors, HasSubstr("there is no store in"));
    BrokerProcess broker;
    {
        Client client(client_options(broker.endpoint()));
        ASSERT_TRUE(client.submit({.type = "nobody"}).id(kPatience));
    }
    const json held = json::parse(store({"info", broker.data(), "--json"}).output, nullptr, false);
    EXPECT_EQ(held["held_by_process"], broker.process().pid());
    ASSERT_EQ(broker.terminate(), 0);
    const json info = json::parse(store({"info", broker.data(), "--json"}).output, nullptr, false);
    EXPECT_EQ(info["tables"]["live"]["rows"], 1);
    EXPECT_EQ(info["held_by_process"], 0);
    const json whole = json::parse(store({"verify", broker.data(), "--json"}).output, nullptr, false);
    EXPECT_EQ(whole["found"], 0);

    // Rubbish over every page but LMDB's first ones: whatever reading it does, it is told.
    std::string bytes = read_file(broker.data() + "/store/data.mdb");
    for (std::size_t at = 8192; at < bytes.size(); ++at) bytes[at] = '\x5a';
    write_file(broker.data() + "/store/data.mdb", bytes);
    // A signal may end what reads it, also where a sanitizer would catch that.
    const Ran damaged = jobyard_command("ipc:///nobody", {"store", "verify", broker.data()}, {}, "jobyard",
                                        tell_sanitizer("handle_segv=0:handle_sigbus=0"));
    EXPECT_TRUE(damaged.exit == 1 || damaged.exit == 3) << damaged.exit << damaged.output << damaged.errors;
    EXPECT_FALSE((damaged.output + damaged.errors).empty());
}

}  // namespace
}  // namespace jobyard::test
