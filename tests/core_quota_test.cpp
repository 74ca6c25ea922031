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

}  // namespace
}  // namespace jobyard::broker::test
