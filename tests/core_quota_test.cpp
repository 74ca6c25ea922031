// How much one key, or one queue, may have (PROTOCOL.md, section 12).

#include "core_fixture.hpp"

namespace jobyard::broker::test {
namespace {

struct CoreQuota : YardTest {
    Access access;

    void allow(const std::string& name, const Quota& quota) {
        Principal principal;
        principal.name = name;
        principal.public_key = "key of " + name;
        principal.quota = quota;
        access.keys[principal.public_key] = std::make_shared<const Principal>(principal);
    }
    Peer come(const std::string& name, const std::string& instance) {
        who = access.find("key of " + name);
        return submitter(instance);
    }
    Answer give(Peer& peer, std::string_view payload = {}, std::string_view queue = "default") {
        SubmitItem item;
        item.type = "t";
        item.queue = queue;
        return ask_submit(peer, item, payload);
    }
    /// What arrays have to do.
    void take_steps() {
        for (int i = 0; i < 20; ++i) {
            advance(100);
            if (const auto needs = core->agenda_needs(now()); !needs.empty()) run_step(needs, disk.read(needs));
        }
    }
    Peer root() {
        allow("root", {});
        guard(access);
        return come("root", "root");
    }
};

TEST_F(CoreQuota, AKeyHasSoManyUnendedJobsInAllOfItsSessionsAndNoMore) {
    allow("greedy", {2, 0, 0});
    Peer other = root();
    Peer first = come("greedy", "first");
    Peer second = come("greedy", "second");
    const Answer made = give(first);
    EXPECT_EQ(made.code, Code::ok);
    EXPECT_EQ(give(second, {}, "elsewhere").code, Code::ok);
    const Answer refused = give(first);
    EXPECT_EQ(refused.code, Code::over_quota);
    EXPECT_GT(refused.retry_after_ms, 0U);
    EXPECT_EQ(give(other).code, Code::ok) << "it has nothing to do with another key";
    EXPECT_EQ(ask(other, Cancel{{made.job}}).code, Code::ok);
    EXPECT_EQ(give(second).code, Code::ok);
    EXPECT_EQ(give(second).code, Code::over_quota);
}

TEST_F(CoreQuota, PayloadsCountWhileTheirJobsLive) {
    allow("greedy", {0, 10, 0});
    Peer other = root();
    Peer peer = come("greedy", "p");
    const Answer made = give(peer, "1234567");
    EXPECT_EQ(made.code, Code::ok);
    EXPECT_EQ(give(peer, "1234").code, Code::over_quota);
    EXPECT_EQ(give(peer, "123").code, Code::ok);
    EXPECT_EQ(ask(other, Cancel{{made.job}}).code, Code::ok);
    EXPECT_EQ(give(peer, "1234567").code, Code::ok);
}

TEST_F(CoreQuota, ARateLetsASecondsWorthThroughAndThenWaits) {
    allow("greedy", {0, 0, 5});
    root();
    Peer peer = come("greedy", "p");
    for (int i = 0; i < 5; ++i) EXPECT_EQ(give(peer).code, Code::ok) << i;
    const Answer refused = give(peer);
    EXPECT_EQ(refused.code, Code::over_quota);
    EXPECT_LE(refused.retry_after_ms, 200U);
    advance(refused.retry_after_ms);
    EXPECT_EQ(give(peer).code, Code::ok) << "that is when it said";
    EXPECT_EQ(give(peer).code, Code::over_quota);
    advance(10'000);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(give(peer).code, Code::ok) << i;
    EXPECT_EQ(give(peer).code, Code::over_quota) << "what was not used long ago is gone";
}

TEST_F(CoreQuota, AQueueHasLimitsOfItsOwnWhoeverSubmits) {
    access.queues = {{"small", {1, 0, 0}}, {"light.*", {0, 10, 0}}, {"*", {0, 0, 2}}};
    Peer peer = root();
    EXPECT_EQ(give(peer, {}, "small").code, Code::ok);
    EXPECT_EQ(give(peer, {}, "small").code, Code::queue_full);
    EXPECT_EQ(give(peer, "12345678", "light.a").code, Code::ok);
    EXPECT_EQ(give(peer, "12345678", "light.a").code, Code::over_quota);
    EXPECT_EQ(give(peer, "12345678", "light.b").code, Code::ok) << "each queue that fits has its own";
    EXPECT_EQ(give(peer, {}, "other").code, Code::ok);
    EXPECT_EQ(give(peer, {}, "other").code, Code::ok);
    EXPECT_EQ(give(peer, {}, "other").code, Code::over_quota);
}

TEST_F(CoreQuota, TheFirstJobOfAQueueCountsAsTheOthers) {
    access.queues = {{"small", {0, 10, 0}}, {"slow", {0, 0, 1}}};
    Peer peer = root();
    EXPECT_EQ(give(peer, std::string(11, 'x'), "small").code, Code::over_quota);
    EXPECT_EQ(give(peer, std::string(10, 'x'), "small").code, Code::ok);
    EXPECT_EQ(give(peer, {}, "slow").code, Code::ok);
    EXPECT_EQ(give(peer, {}, "slow").code, Code::over_quota);
}

TEST_F(CoreQuota, WhatIsRefusedNeedsNothingAndWhatWasMadeIsAnsweredAllTheSame) {
    allow("greedy", {1, 0, 0});
    root();
    Peer peer = come("greedy", "p");
    SubmitItem item;
    item.type = "t";
    item.key = "k";
    EXPECT_EQ(ask_submit(peer, item).code, Code::ok);
    EXPECT_EQ(give(peer).code, Code::over_quota);
    EXPECT_EQ(ask_submit(peer, item).code, Code::existing);
}

TEST_F(CoreQuota, WhatAKeyHasIsKnownAfterARestart) {
    allow("greedy", {2, 100, 0});
    root();
    Peer peer = come("greedy", "p");
    EXPECT_EQ(give(peer, std::string(60, 'x')).code, Code::ok);
    crash_after_commit();
    guard(access);
    who = access.find("key of greedy");
    come_back(peer);
    EXPECT_EQ(give(peer, std::string(60, 'x')).code, Code::over_quota);
    EXPECT_EQ(give(peer).code, Code::ok);
    EXPECT_EQ(give(peer).code, Code::over_quota);
}

TEST_F(CoreQuota, AnotherFileHoldsAtOnce) {
    allow("greedy", {1, 0, 0});
    root();
    Peer peer = come("greedy", "p");
    EXPECT_EQ(give(peer).code, Code::ok);
    EXPECT_EQ(give(peer).code, Code::over_quota);
    allow("greedy", {2, 0, 0});
    access.queues = {{"default", {2, 0, 0}}};
    guard(access);
    EXPECT_EQ(give(peer).code, Code::ok);
    EXPECT_EQ(give(peer, {}, "elsewhere").code, Code::over_quota);
    allow("greedy", {});
    guard(access);
    EXPECT_EQ(give(peer, {}, "elsewhere").code, Code::ok);
    EXPECT_EQ(give(peer).code, Code::queue_full);
}

TEST_F(CoreQuota, WhatIsResubmittedCountsToo) {
    allow("greedy", {0, 10, 0});
    Peer other = root();
    Peer peer = come("greedy", "p");
    SubmitArray array;
    array.first_number = peer.next_number++;
    array.items = {{.payload_length = 8, .type = "t"}};
    array.count = 1;
    const JobId id = ask(peer, array, "12345678").job;
    take_steps();
    ASSERT_EQ(maps(peer, ListArrays{{}, 1, id}).at(0)["made"], 1);
    EXPECT_EQ(ask(other, Cancel{{id}}).code, Code::cancel_requested);
    take_steps();
    EXPECT_EQ(give(peer, "123").code, Code::ok);
    EXPECT_EQ(ask(peer, SteerArray{id, ArrayAction::resubmit, true}).code, Code::over_quota);
}

TEST_F(CoreQuota, AnArrayGoesOnThoughItsPayloadIsMoreThanMayBeByNow) {
    allow("greedy", {1, 10, 0});
    root();
    Peer peer = come("greedy", "p");
    SubmitArray array;
    array.first_number = peer.next_number++;
    array.items = {{.payload_length = 8, .type = "t"}};
    array.count = 2;
    const JobId id = ask(peer, array, "12345678").job;
    take_steps();
    allow("greedy", {0, 5, 0});
    access.queues = {{"*", {0, 5, 0}}};
    guard(access);
    config.limits.payload_total_bytes = 5;
    core->set_limits(config.limits);
    take_steps();
    EXPECT_EQ(maps(peer, ListArrays{{}, 1, id}).at(0)["made"], 2) << "else it would never end";
    EXPECT_EQ(give(peer, "1").code, Code::busy);
}

TEST_F(CoreQuota, AnArrayMakesItsJobsWithinTheQuotaOfItsKey) {
    allow("greedy", {2, 0, 0});
    root();
    Peer peer = come("greedy", "p");
    SubmitArray array;
    array.first_number = peer.next_number++;
    array.items.emplace_back();
    array.items[0].type = "t";
    array.items[0].queue = "default";
    array.count = 5;
    const JobId id = ask(peer, array).job;
    take_steps();
    EXPECT_EQ(maps(peer, ListArrays{{}, 1, id}).at(0)["made"], 2);
    EXPECT_EQ(give(peer).code, Code::over_quota);
}

// --- what lives again, or comes from elsewhere
// ------------------------------------------------------------------------

struct CoreQuotaSteer : CoreQuota {
    Peer other;

    void guarded() { other = root(); }
    JobId bury(Peer& peer, std::string_view payload, std::string_view queue = "q", std::string_view key = {}) {
        SubmitItem item{.queue = queue, .type = "t", .max_attempts = 1, .key = key};
        const Answer made = ask_submit(peer, item, payload);
        EXPECT_EQ(made.code, Code::ok);
        who = access.find("key of root");
        const Peer w = worker({.name = "w", .queues = {std::string(queue)}});
        EXPECT_EQ(fail(w, take(w)), Code::ok);
        gone(w);
        advance(config.timing.reconnect_grace_ms + 1);
        return made.job;
    }
};

TEST_F(CoreQuotaSteer, ARedriveNeedsRoomInItsQueueAsASubmitDoes) {
    access.queues = {{"few", {1, 0, 0}}, {"light", {0, 10, 0}}};
    guarded();
    const JobId few = bury(other, "x", "few");
    const JobId light = bury(other, "1234567", "light");
    EXPECT_EQ(give(other, {}, "few").code, Code::ok);
    const Answer in_the_way = give(other, "1234", "light");
    EXPECT_EQ(in_the_way.code, Code::ok);
    send(other, Redrive{{few, light}});
    const auto refused = answers(other);
    ASSERT_EQ(refused.size(), 2U);
    EXPECT_EQ(refused[0].code, Code::queue_full);
    EXPECT_EQ(refused[1].code, Code::over_quota);
    EXPECT_EQ(refused[1].job, light);
    EXPECT_EQ(refused[1].state, JobState::dead) << "it stays where it is";
    EXPECT_GT(refused[1].retry_after_ms, 0U);
    EXPECT_EQ(ask(other, Cancel{{in_the_way.job}}).code, Code::ok);
    EXPECT_EQ(ask(other, Redrive{{light}}).code, Code::ok);
}

TEST_F(CoreQuotaSteer, ARedriveCountsToTheKeyThatSubmittedTheJobWhoeverAsks) {
    allow("greedy", {2, 10, 0});
    guarded();
    who = access.find("key of greedy");
    Peer peer = submitter("p");
    const JobId dead = bury(peer, "1234567");
    const Answer large = give(peer, "1234");
    EXPECT_EQ(ask(other, Redrive{{dead}}).code, Code::over_quota) << "of its bytes";
    EXPECT_EQ(ask(other, Cancel{{large.job}}).code, Code::ok);
    EXPECT_EQ(give(peer).code, Code::ok);
    const Answer second = give(peer);
    EXPECT_EQ(second.code, Code::ok);
    EXPECT_EQ(ask(other, Redrive{{dead}}).code, Code::over_quota) << "of its jobs";
    EXPECT_EQ(ask(other, Cancel{{second.job}}).code, Code::ok);
    EXPECT_EQ(ask(other, Redrive{{dead}}).code, Code::ok);
    EXPECT_EQ(give(peer).code, Code::over_quota) << "it counts again";
}

TEST_F(CoreQuotaSteer, ARedriveCountsToNoRate) {
    allow("greedy", {0, 0, 1});
    guarded();
    who = access.find("key of greedy");
    Peer peer = submitter("p");
    const JobId dead = bury(peer, "x");
    EXPECT_EQ(give(peer).code, Code::ok);
    EXPECT_EQ(give(peer).code, Code::over_quota);
    EXPECT_EQ(ask(other, Redrive{{dead}}).code, Code::ok);
}

TEST_F(CoreQuotaSteer, ATaskThatRedrivesWaitsForRoom) {
    access.queues = {{"light", {0, 10, 0}}};
    guarded();
    const JobId dead = bury(other, "1234567", "light");
    const Answer in_the_way = give(other, "1234", "light");
    StartTask start;
    start.action = TaskAction::redrive;
    start.queue = "light";
    EXPECT_EQ(ask(other, start).code, Code::ok);
    take_steps();
    EXPECT_EQ(core->job(dead), nullptr);
    EXPECT_EQ(maps(other, ListTasks{}).at(0)["state"], "running");
    EXPECT_EQ(ask(other, Cancel{{in_the_way.job}}).code, Code::ok);
    take_steps();
    EXPECT_NE(core->job(dead), nullptr);
    EXPECT_EQ(maps(other, ListTasks{}).at(0)["state"], "done");
    EXPECT_EQ(maps(other, ListTasks{}).at(0)["refused"], 0);
}

TEST_F(CoreQuotaSteer, AJobMovesOnlyIntoAQueueThatHasRoomForIt) {
    access.queues = {{"few", {1, 0, 0}}, {"light.*", {0, 10, 0}}};
    guarded();
    const Answer made = give(other, "1234567");
    EXPECT_EQ(give(other, {}, "few").code, Code::ok);
    EXPECT_EQ(ask(other, Change{{made.job}, 0, "few", {}}).code, Code::queue_full);
    EXPECT_EQ(give(other, "1234", "light.a").code, Code::ok);
    const Answer refused = ask(other, Change{{made.job}, 0, "light.a", {}});
    EXPECT_EQ(refused.code, Code::over_quota);
    EXPECT_EQ(refused.job, made.job);
    EXPECT_EQ(ask(other, Change{{made.job}, 0, "light.b", {}}).code, Code::ok) << "it has room of its own";
    const Answer large = give(other, "12345678901");
    EXPECT_EQ(ask(other, Change{{large.job}, 0, "light.c", {}}).code, Code::over_quota)
        << "also if the queue is not known yet";
    EXPECT_EQ(ask(other, Change{{large.job}, 7, {}, {}}).code, Code::ok) << "what stays where it is needs no room";
}

TEST_F(CoreQuotaSteer, JobsOfAnArrayHaveNoPayloadsOfTheirOwnThatCount) {
    access.queues = {{"light", {0, 10, 0}}};
    guarded();
    SubmitArray array;
    array.first_number = other.next_number++;
    array.items = {{.payload_length = 8, .queue = "default", .type = "t"}};
    array.count = 3;
    const JobId id = ask(other, array, "12345678").job;
    take_steps();
    for (std::uint64_t n = 1; n <= 3; ++n)
        EXPECT_EQ(ask(other, Change{{{id.value + n}}, 0, "light", {}}).code, Code::ok) << n;
}

TEST_F(CoreQuotaSteer, ARedriveIntoAnArrayThatHasEndedNeedsRoomForItsPayloadAgain) {
    access.queues = {{"default", {0, 10, 0}}};
    guarded();
    SubmitArray array;
    array.first_number = other.next_number++;
    array.items = {{.payload_length = 8, .queue = "default", .type = "t", .max_attempts = 1}};
    array.count = 2;
    const JobId id = ask(other, array, "12345678").job;
    take_steps();
    const Peer w = worker({.name = "w", .slots = 2, .queues = {"default"}});
    for (const Held& held : take_all(w)) EXPECT_EQ(fail(w, held), Code::ok);
    gone(w);
    advance(config.timing.reconnect_grace_ms + 1);
    const Answer in_the_way = give(other, "1234");
    EXPECT_EQ(in_the_way.code, Code::ok);
    EXPECT_EQ(ask(other, Redrive{{{id.value + 1}}}).code, Code::over_quota);
    EXPECT_EQ(ask(other, Cancel{{in_the_way.job}}).code, Code::ok);
    EXPECT_EQ(ask(other, Redrive{{{id.value + 1}}}).code, Code::ok);
    EXPECT_EQ(give(other, "123").code, Code::over_quota) << "it counts again";
    access.queues = {{"default", {0, 5, 0}}};
    guard(access);
    config.limits.payload_total_bytes = 5;
    core->set_limits(config.limits);
    EXPECT_EQ(ask(other, Redrive{{{id.value + 2}}}).code, Code::ok) << "the payload is there, and needs no more room";
}

TEST(CoreQuotaLimits, ARedriveNeedsRoomAmongAllUnendedJobs) {
    Yard yard({.jobs = 1, .payload_total_bytes = 10});
    Peer client = yard.submitter();
    const Peer w = yard.worker();
    const auto bury = [&](std::string_view payload) {
        const JobId job = yard.submit(client, {.type = "t", .max_attempts = 1}, payload);
        EXPECT_EQ(yard.fail(w, yard.take(w)), Code::ok);
        return job;
    };
    const JobId dead = bury("1234567");
    yard.gone(w);
    yard.advance(yard.config.timing.reconnect_grace_ms + 1);
    const JobId there = yard.submit(client, {.type = "t"}, "x");
    EXPECT_EQ(yard.ask(client, Redrive{{dead}}).code, Code::busy);
    yard.config.limits.jobs = 2;
    yard.config.limits.payload_total_bytes = 7;
    yard.core->set_limits(yard.config.limits);
    EXPECT_EQ(yard.ask(client, Redrive{{dead}}).code, Code::busy) << "nor for its payload";
    EXPECT_EQ(yard.ask(client, Cancel{{there}}).code, Code::ok);
    EXPECT_EQ(yard.ask(client, Redrive{{dead}}).code, Code::ok);
}

// --- sessions and instances ------------------------------------------------------------------------------------------

/// Keys with roles, of a broker that remembers few instances.
struct CoreShares : YardTest {
    Access access;
    std::uint32_t instances_made = 0;

    void start(Limits limits) {
        with(limits);
        allow("web", KeyRole::submit);
        allow("eye", KeyRole::observe);
        allow("arm", KeyRole::work);
        allow("duty", KeyRole::operate);
        allow("root", KeyRole::admin);
        guard(access);
    }
    void allow(const std::string& name, KeyRole role, std::uint64_t sessions = 0, std::uint64_t instances = 0) {
        Principal principal;
        principal.name = name;
        principal.public_key = "key of " + name;
        principal.roles = static_cast<KeyRoles>(role);
        principal.max_sessions = sessions;
        principal.max_instances = instances;
        access.keys[principal.public_key] = std::make_shared<const Principal>(principal);
    }
    Peer come(const std::string& name) {
        who = access.find("key of " + name);
        return submitter(new_name());
    }
    Got<Refusal> not_let_in(const std::string& name, const WorkerSpec& spec = {}, Role role = Role::submitter) {
        Peer peer = stranger(access.find("key of " + name), role, new_name());
        return refused(peer, hello_of(peer, spec));
    }
    /// It comes, makes a job, and goes without saying that it has heard of it.
    void leave_one_behind(const std::string& name) {
        Peer peer = come(name);
        EXPECT_EQ(ask_submit(peer, {.type = "t"}).code, Code::ok);
        gone(peer);
    }
    std::string new_name() { return "i" + std::to_string(++instances_made); }
};

TEST_F(CoreShares, AKeyHasATenthOfTheInstancesIfNothingElseIsSaid) {
    start({.instances = 30});
    for (int i = 0; i < 3; ++i) leave_one_behind("web");
    const auto refusal = not_let_in("web");
    EXPECT_EQ(refusal->code, Code::busy);
    EXPECT_GT(refusal->retry_after_ms, 0U);
    EXPECT_NE(std::string(refusal->text).find("max_instances"), std::string::npos) << "how to let it have more";
    come("eye");
    come("duty");
    allow("web", KeyRole::submit, 0, 5);
    guard(access);
    leave_one_behind("web");
    leave_one_behind("web");
    EXPECT_EQ(not_let_in("web")->code, Code::busy);
    EXPECT_EQ(disk[Table::instances].size(), 7U);
}

TEST_F(CoreShares, WhatAKeyHasOfTheInstancesIsKnownAfterARestart) {
    start({.instances = 30});
    for (int i = 0; i < 3; ++i) leave_one_behind("web");
    crash_after_commit();
    guard(access);
    EXPECT_EQ(not_let_in("web")->code, Code::busy);
    come("eye");
    advance(std::int64_t{24} * 3600 * 1000 + 1'000);
    come("web");
}

TEST_F(CoreShares, AtItsOwnLimitAKeysOwnIdleInstanceGoesFirstAndNoneOfAnother) {
    start({.instances = 20});
    Peer others = come("eye");
    gone(others);
    advance(10);
    Peer mine = come("web");
    gone(mine);
    leave_one_behind("web");
    come("web");
    who = access.find("key of eye");
    come_back(others);
    EXPECT_EQ(others.instance_state, InstanceState::resumed);
    who = access.find("key of web");
    come_back(mine);
    EXPECT_EQ(mine.instance_state, InstanceState::retired);
}

TEST_F(CoreShares, WhoOperatesIsLetInHoweverManyInstancesOthersHave) {
    start({.instances = 3});
    for (const std::string name : {"web", "web2", "web3"}) {
        allow(name, KeyRole::submit);
        guard(access);
        leave_one_behind(name);
    }
    EXPECT_NE(std::string(not_let_in("eye")->text).find("(limit instances)"), std::string::npos);
    come("duty");
    come("root");
    EXPECT_EQ(not_let_in("root")->code, Code::busy) << "its own share is a tenth, and one at least";
    allow("root", KeyRole::admin, 0, 100);
    guard(access);
    come("root");
    come("root");
    EXPECT_EQ(not_let_in("root")->code, Code::busy) << "alone it has no more than there may be";
    who = access.local;  // through ipc
    submitter("local");
}

TEST_F(CoreShares, AnInstanceStaysItsKeysWhenItsSessionHasEndedAndAfterARestart) {
    start({});
    Peer mine = come("web");
    const Answer made = ask_submit(mine, {.type = "t"});
    gone(mine);
    for (const bool after_a_restart : {false, true}) {
        if (after_a_restart) {
            crash_after_commit();
            guard(access);
        }
        for (const std::string thief : {"eye", "root"}) {
            Peer peer = mine;
            peer.id = stranger(access.find("key of " + thief)).id;
            peer.session = {};
            peer.said.resumed = true;
            const auto refusal = refused(peer, hello_of(peer, {}));
            EXPECT_EQ(refusal->code, Code::not_allowed) << thief;
            EXPECT_NE(std::string(refusal->text).find("another key"), std::string::npos);
        }
        Peer worker = stranger(access.find("key of arm"), Role::worker);
        worker.instance = mine.instance;
        EXPECT_EQ(refused(worker, hello_of(worker, {}))->code, Code::not_allowed) << "as a worker neither";
    }
    who = access.find("key of web");
    --mine.next_number;
    come_back(mine);
    EXPECT_EQ(mine.instance_state, InstanceState::resumed);
    EXPECT_EQ(ask_submit(mine, {.type = "t"}).job, made.job) << "its window is whole";
}

TEST_F(CoreShares, AClientWithANewKeyGoesOnAsANewInstance) {
    start({});
    Peer before = come("web");
    ask_submit(before, {.type = "t"});
    gone(before);
    allow("web-2027", KeyRole::submit);
    guard(access);
    Peer after = come("web-2027");
    EXPECT_EQ(after.instance_state, InstanceState::fresh);
    EXPECT_EQ(ask_submit(after, {.type = "t"}).code, Code::ok);
}

TEST_F(CoreShares, WithoutKeysAllInstancesAreOfAnybody) {
    with({.instances = 3});
    for (const char* name : {"a", "b", "c"}) {
        Peer peer = submitter(name);
        ask_submit(peer, {.type = "t"});
    }
    Peer fourth = stranger(nullptr, Role::submitter, "d");
    EXPECT_NE(std::string(refused(fourth, hello_of(fourth, {}))->text).find("(limit instances)"), std::string::npos);
}

TEST_F(CoreShares, AKeyHasAsManySessionsAsItsSectionSays) {
    start({.sessions = 4});
    allow("arm", KeyRole::work, 2);
    guard(access);
    who = access.find("key of arm");
    Peer w = worker({.name = "1"});
    worker({.name = "2"});
    const auto refusal = not_let_in("arm", {.name = "3"}, Role::worker);
    EXPECT_EQ(refusal->code, Code::busy);
    EXPECT_NE(std::string(refusal->text).find("max_sessions"), std::string::npos);
    who = access.find("key of arm");
    gone(w);
    come_back(w, {.name = "1"});
    goodbye(w);
    worker({.name = "3"});
}

TEST_F(CoreShares, ANewInstanceOnTheSameConnectionTakesThePlaceOfTheSessionThatEnds) {
    start({.sessions = 1});
    allow("web", KeyRole::submit, 1);
    guard(access);
    Peer peer = come("web");
    peer.instance = uuid(new_name());
    hello_here(peer);
    EXPECT_EQ(ask_submit(peer, {.type = "t"}).code, Code::ok);
    EXPECT_EQ(not_let_in("web")->code, Code::busy);
}

TEST_F(CoreShares, WhoOperatesIsLetInHoweverManySessionsOthersHave) {
    start({.sessions = 3});
    who = access.find("key of arm");
    for (const char* name : {"1", "2", "3"}) worker({.name = name});
    EXPECT_NE(std::string(not_let_in("web")->text).find("(limit sessions)"), std::string::npos);
    come("root");
    come("duty");
    who = access.local;
    submitter("local");
    for (int i = 0; i < 2; ++i) come("root");
    EXPECT_EQ(not_let_in("root")->code, Code::busy) << "alone it has no more than there may be";
}

TEST_F(CoreShares, WorkersThatComeWithEverNewListsLeaveNothingBehind) {
    start({.served_names = 10});
    who = access.find("key of arm");
    worker({.name = "stays", .queues = {"q"}, .types = {"t"}});
    for (int i = 0; i < 3'000; ++i) {
        const std::string name = std::to_string(i);
        const Peer w = worker({.name = "w", .queues = {"q", name}, .types = {"t", name}});
        goodbye(w);
    }
    Peer w = worker({.name = "w", .queues = {"a", "b", "c", "d"}, .types = {"a", "b", "c", "d"}});
    const auto refusal = not_let_in("arm", {.name = "x", .queues = {"e"}, .types = {"t"}}, Role::worker);
    EXPECT_EQ(refusal->code, Code::busy);
    EXPECT_GT(refusal->retry_after_ms, 0U);
    EXPECT_NE(std::string(refusal->text).find("served_names"), std::string::npos);
    who = access.find("key of arm");
    worker({.name = "like the first", .queues = {"q"}, .types = {"t"}});
    config.limits.served_names = 1;
    core->set_limits(config.limits);
    worker({.name = "like the first, when there may be fewer", .queues = {"q"}, .types = {"t"}});
    config.limits.served_names = 10;
    core->set_limits(config.limits);
    gone(w);
    come_back(w, {.name = "w", .queues = {"a", "b", "c", "d"}, .types = {"a", "b", "c", "d"}});
    gone(w);
    advance(config.timing.reconnect_grace_ms + 1);
    worker({.name = "y", .queues = {"e"}, .types = {"t"}});
}

}  // namespace
}  // namespace jobyard::broker::test
