// Who works here, as people see it; and drain.

#include "core_fixture.hpp"

namespace jobyard::broker {
namespace {

using namespace test;
using nlohmann::json;

struct CoreWorkers : YardTest {
    std::vector<json> workers(const Peer& peer, const ListWorkers& question = {}) {
        send(peer, question);
        const auto maps = expect<Maps>(peer);
        std::vector<json> all;
        for (const std::string& map : maps.payloads) all.push_back(json::from_msgpack(map));
        return all;
    }
    std::string state_of(const Peer& peer, std::string_view name) {
        const std::vector<json> found = workers(peer, {.name = name});
        return found.size() == 1 ? found[0]["state"].get<std::string>() : std::to_string(found.size()) + " workers";
    }
    std::vector<Code> steer(const Peer& peer, std::string_view name, WorkerAction action) {
        send(peer, SteerWorker{name, action});
        std::vector<Code> codes;
        for (const Answer& answer : answers(peer)) codes.push_back(answer.code);
        return codes;
    }
    using Codes = std::vector<Code>;
};

TEST_F(CoreWorkers, AreListedWithWhatTheyServeAndHold) {
    Peer client = submitter();
    const Peer w = worker({.name = "w1", .slots = 2, .queues = {"q", "p"}, .types = {"t"}});
    const JobId job = submit(client, {.queue = "q", .type = "t"});
    take(w);
    advance(1'000);
    const std::vector<json> all = workers(client);
    ASSERT_EQ(all.size(), 1U);
    const json& one = all[0];
    EXPECT_EQ(one["name"], "w1");
    EXPECT_EQ(one["state"], "busy");
    EXPECT_EQ(one["slots"], 2);
    EXPECT_EQ(one["running"], 1);
    EXPECT_EQ(one["queues"], (json{"p", "q"}));
    EXPECT_EQ(one["types"], json{"t"});
    EXPECT_EQ(one["connected_at"], wall_ms - 1'000);
    EXPECT_EQ(one["heard_at"], wall_ms);
    EXPECT_FALSE(one.contains("jobs"));
    EXPECT_EQ(workers(client, {.name = "w1"})[0]["jobs"], json{job.value});
    EXPECT_TRUE(workers(client, {.name = "w2"}).empty());
}

TEST_F(CoreWorkers, SayWhereTheyRunIfTheyLikeAlsoWhenTheyComeBack) {
    const Peer client = submitter();
    Peer w = worker({.name = "w", .host = "h1", .pid = 4711});
    worker({.name = "silent"});
    EXPECT_EQ(workers(client, {.name = "w"})[0]["host"], "h1");
    EXPECT_EQ(workers(client, {.name = "w"})[0]["pid"], 4711);
    const json silent = workers(client, {.name = "silent"})[0];
    EXPECT_FALSE(silent.contains("host") || silent.contains("pid"));
    gone(w);
    EXPECT_EQ(workers(client, {.name = "w"})[0]["host"], "h1") << "of one that is away it is known, too";
    come_back(w, {.name = "w", .host = "h2", .pid = 4711});
    EXPECT_EQ(workers(client, {.name = "w"})[0]["host"], "h2");
}

TEST_F(CoreWorkers, AreListedInPages) {
    const Peer client = submitter();
    for (int i = 0; i < 5; ++i) worker({.name = "w" + std::to_string(i)});
    std::vector<std::string> names;
    std::string cursor;
    for (int pages = 1;; ++pages) {
        send(client, ListWorkers{cursor, 2});
        const auto maps = expect<Maps>(client);
        for (const std::string& map : maps.payloads) names.push_back(json::from_msgpack(map)["name"]);
        cursor = maps->next;
        if (!cursor.empty()) continue;
        EXPECT_EQ(pages, 3);
        break;
    }
    EXPECT_EQ(names, (std::vector<std::string>{"w0", "w1", "w2", "w3", "w4"}));
    EXPECT_EQ(refused(client, ListWorkers{"no number"})->field, "cursor");
}

TEST_F(CoreWorkers, ADrainedWorkerFinishesWhatItHoldsAndGetsNothingMore) {
    Peer client = submitter();
    const Peer w = worker({.name = "w", .slots = 2});
    submit(client);
    const Held held = take(w);
    EXPECT_EQ(steer(client, "w", WorkerAction::drain), Codes{Code::ok});
    EXPECT_EQ(state_of(client, "w"), "draining");
    const JobId waiting = submit(client);
    advance(5'000);
    EXPECT_FALSE(has_message(w));
    EXPECT_EQ(show(client, waiting)["reason"], "no_worker");
    EXPECT_EQ(complete(w, held), Code::ok);
    EXPECT_FALSE(has_message(w));
    EXPECT_EQ(steer(client, "w", WorkerAction::resume), Codes{Code::ok});
    EXPECT_EQ(take(w).job, waiting);
}

TEST_F(CoreWorkers, DrainSurvivesTheWorkersReconnectAndTheBrokersRestart) {
    Peer client = submitter();
    Peer w = worker({.name = "w"});
    steer(client, "w", WorkerAction::drain);
    gone(w);
    EXPECT_EQ(state_of(client, "w"), "away");
    come_back(w, {.name = "w"});
    submit(client);
    EXPECT_FALSE(has_message(w));
    crash();
    come_back(client);
    EXPECT_EQ(state_of(client, "w"), "away");
    come_back(w, {.name = "w"});
    tick();
    EXPECT_FALSE(has_message(w));
    EXPECT_EQ(state_of(client, "w"), "draining");
    steer(client, "w", WorkerAction::resume);
    take(w);
}

TEST_F(CoreWorkers, AWorkerThatIsAwaitedCanBeDrained) {
    Peer client = submitter();
    Peer w = worker({.name = "w"});
    submit(client, {.type = "other"});
    crash();
    come_back(client);
    EXPECT_EQ(steer(client, "w", WorkerAction::drain), Codes{Code::ok});
    come_back(w, {.name = "w"});
    EXPECT_EQ(state_of(client, "w"), "draining");
}

TEST_F(CoreWorkers, AllOfANameAreSteeredAndCounted) {
    Peer client = submitter();
    std::vector<Peer> same;
    for (const char* instance : {"a", "b", "c"}) {
        Peer peer;
        peer.role = Role::worker;
        peer.instance = uuid(instance);
        hello(peer, {.name = "shared"});
        same.push_back(peer);
    }
    EXPECT_EQ(steer(client, "shared", WorkerAction::drain), (Codes{Code::ok, Code::ok, Code::ok}));
    submit(client);
    tick();
    for (const Peer& peer : same) EXPECT_FALSE(has_message(peer));
    EXPECT_EQ(steer(client, "shared", WorkerAction::resume).size(), 3U);
    std::size_t dispatched = 0;
    for (const Peer& peer : same) dispatched += take_all(peer).size();
    EXPECT_EQ(dispatched, 1U);
}

TEST_F(CoreWorkers, ANameThatIsNotHereIsRefused) {
    Peer client = submitter();
    const Peer w = worker({.name = "w"});
    EXPECT_EQ(steer(client, "v", WorkerAction::drain), Codes{Code::unknown_worker});
    goodbye(w);
    EXPECT_EQ(steer(client, "w", WorkerAction::drain), Codes{Code::unknown_worker});
    EXPECT_EQ(refused(client, SteerWorker{"w", static_cast<WorkerAction>(3)})->field, "action");
}

TEST_F(CoreWorkers, DrainingTwiceIsOneEvent) {
    Peer client = submitter();
    worker({.name = "w"});
    steer(client, "w", WorkerAction::drain);
    const std::uint64_t next = core->numbers().next_event;
    EXPECT_EQ(steer(client, "w", WorkerAction::drain), Codes{Code::ok});
    EXPECT_EQ(core->numbers().next_event, next);
}

}  // namespace
}  // namespace jobyard::broker
