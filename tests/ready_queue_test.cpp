// Who runs next.

#include "ready_queue.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace jobyard::broker {
namespace {

struct ReadyQueueTest : testing::Test {
    JobTable jobs;
    ReadyQueue ready{jobs};
    std::uint64_t next_number = 1;

    JobHandle make(const std::string& queue, const std::string& type, std::uint8_t priority) {
        const JobHandle handle = jobs.add({next_number});
        jobs[handle].order = next_number++;
        jobs[handle].priority = priority;
        jobs[handle].class_id = ready.class_of(queue, type);
        return handle;
    }
    JobHandle add(std::uint8_t priority = 5, const std::string& queue = "q", const std::string& type = "t") {
        const JobHandle handle = make(queue, type, priority);
        ready.push(handle);
        return handle;
    }
    std::vector<JobHandle> drain(ServiceId service) {
        std::vector<JobHandle> order;
        while (ready.ready(service)) order.push_back(ready.pick(service));
        return order;
    }
};

TEST_F(ReadyQueueTest, OldestFirstAmongEquals) {
    const ServiceId s = ready.join({"q"}, {"t"});
    const JobHandle a = add();
    const JobHandle b = add();
    const JobHandle c = add();
    EXPECT_EQ(drain(s), (std::vector{a, b, c}));
    EXPECT_FALSE(ready.ready(s));
}

TEST_F(ReadyQueueTest, HighestPriorityFirst) {
    const ServiceId s = ready.join({"q"}, {"t"});
    std::vector<JobHandle> by_priority;
    for (std::uint8_t priority = 1; priority <= 10; ++priority) by_priority.push_back(add(priority));
    std::reverse(by_priority.begin(), by_priority.end());
    EXPECT_EQ(drain(s), by_priority);
}

TEST_F(ReadyQueueTest, PriorityHoldsAcrossTheTypesOfAQueue) {
    const ServiceId s = ready.join({"q"}, {"t", "u"});
    const JobHandle low = add(5, "q", "t");
    const JobHandle high = add(6, "q", "u");
    const JobHandle older = add(5, "q", "u");
    EXPECT_EQ(drain(s), (std::vector{high, low, older}));
}

TEST_F(ReadyQueueTest, ReturnedJobKeepsItsPlace) {
    const ServiceId s = ready.join({"q"}, {"t"});
    const JobHandle a = add();
    const JobHandle b = add();
    const JobHandle c = add();
    EXPECT_EQ(ready.pick(s), a);
    EXPECT_EQ(ready.pick(s), b);
    ready.push(b);
    ready.push(a);
    const JobHandle d = add();
    EXPECT_EQ(drain(s), (std::vector{a, b, c, d}));
}

TEST_F(ReadyQueueTest, JobMovedBackGoesBehind) {
    const ServiceId s = ready.join({"q"}, {"t"});
    const JobHandle a = add();
    const JobHandle b = add();
    EXPECT_EQ(ready.pick(s), a);
    jobs[a].order = next_number;  // as a redrive does
    ready.push(a);
    const JobHandle c = add();
    EXPECT_EQ(drain(s), (std::vector{b, a, c}));
}

TEST_F(ReadyQueueTest, RemovedJobIsGoneWhereverItStood) {
    const ServiceId s = ready.join({"q"}, {"t"});
    std::vector<JobHandle> all;
    for (int i = 0; i < 5; ++i) all.push_back(add());
    const JobHandle returned = ready.pick(s);
    ready.push(returned);
    ready.remove(all[4]);
    ready.remove(all[2]);
    ready.remove(returned);
    EXPECT_EQ(drain(s), (std::vector{all[1], all[3]}));
}

TEST_F(ReadyQueueTest, QueuesTakeTurnsWhateverTheirPriorities) {
    const ServiceId s = ready.join({"a", "b", "c"}, {"t"});
    for (int i = 0; i < 4; ++i) {
        add(10, "a");
        add(1, "b");
    }
    add(5, "c");
    std::string queues;
    for (const JobHandle job : drain(s)) queues += ready.info(jobs[job].class_id).queue_name;
    EXPECT_EQ(queues, "abcababab");
}

TEST_F(ReadyQueueTest, EveryTwentiethPickOfAQueueIsItsOldestOfAnyTypeAndPriority) {
    const ServiceId s = ready.join({"a", "b"}, {"t", "u"});
    std::vector<JobHandle> old;
    for (int i = 0; i < 6; ++i) old.push_back(add(1, i % 2 == 0 ? "a" : "b", i % 4 < 2 ? "t" : "u"));
    for (int i = 0; i < 200; ++i) add(10, i % 2 == 0 ? "a" : "b", "t");
    const std::vector<JobHandle> order = drain(s);  // the queues in turn
    for (std::size_t i = 0; i < 120; ++i)
        EXPECT_EQ(jobs[order[i]].priority == 1, (i / 2 + 1) % kAgingShare == 0) << "pick " << i + 1;
    for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(order[(i / 2 + 1) * kAgingShare * 2 - 2 + i % 2], old[i]);
}

TEST_F(ReadyQueueTest, AgingLooksAtReturnedJobsToo) {
    const ServiceId s = ready.join({"q"}, {"t"});
    const JobHandle oldest = add(2);
    EXPECT_EQ(ready.pick(s), oldest);
    add(2);
    for (int i = 0; i < 40; ++i) add(9);
    ready.push(oldest);  // behind nothing: it stands among the returned
    for (int pick = 2; pick < 20; ++pick) EXPECT_NE(ready.pick(s), oldest);
    EXPECT_EQ(ready.pick(s), oldest);
}

TEST_F(ReadyQueueTest, TypesNobodyServesBlockNobody) {
    const ServiceId s = ready.join({"q"}, {"t"});
    const ServiceId other = ready.join({"q"}, {"u"});
    for (int i = 0; i < 30; ++i) add(10, "q", "unserved");
    for (int i = 0; i < 30; ++i) add(10, "unserved", "t");
    EXPECT_FALSE(ready.ready(s));
    std::vector<JobHandle> mine;
    for (int i = 0; i < 30; ++i) mine.push_back(add(1));
    EXPECT_EQ(drain(s), mine);
    EXPECT_FALSE(ready.ready(other));
}

TEST_F(ReadyQueueTest, ServiceMadeLaterFindsWhatWaits) {
    const JobHandle job = add();
    EXPECT_TRUE(ready.ready(ready.join({"q"}, {"t"})));
    EXPECT_EQ(drain(ready.join({"q", "r"}, {"t", "u"})), std::vector{job});
    EXPECT_FALSE(ready.ready(ready.join({"q"}, {"t"}))) << "taken by the other";
}

TEST_F(ReadyQueueTest, ClassMadeLaterIsServedByServicesThatMatch) {
    const ServiceId s = ready.join({"new queue", "q"}, {"new type"});
    add(5, "new queue", "new type");
    EXPECT_TRUE(ready.ready(s));
    EXPECT_TRUE(ready.serves(s, ready.class_of("q", "new type")));
    EXPECT_FALSE(ready.serves(s, ready.class_of("q", "t")));
}

TEST_F(ReadyQueueTest, LikeWorkersShareAService) {
    EXPECT_EQ(ready.join({"a", "b"}, {"t", "u"}), ready.join({"b", "a", "b"}, {"u", "t"}));
    EXPECT_NE(ready.join({"a"}, {"t"}), ready.join({"a", "b"}, {"t"}));
    EXPECT_EQ(ready.services(), 3U);
}

TEST_F(ReadyQueueTest, WhatNoWorkerComesWithAnyMoreIsForgotten) {
    add(5, "q", "t");
    add(5, "r", "u");
    const ServiceId stays = ready.join({"q"}, {"t"});
    const ReadyQueue::Sizes before = ready.sizes();
    EXPECT_EQ(before, (ReadyQueue::Sizes{1, 1, 1, 2}));
    for (int i = 0; i < 5'000; ++i) {
        const std::string name = std::to_string(i);
        EXPECT_EQ(ready.new_names({"q", "r", name}, {"t", "u", name}), 6U);
        const ServiceId one = ready.join({"q", "r", name}, {"t", "u", name});
        EXPECT_EQ(ready.new_names({name, "r", "q"}, {"t", "u", name, name}), 0U) << "it is there";
        EXPECT_EQ(ready.new_names({"q"}, {"t", "u", name}), 1U) << "its types are";
        const ServiceId two = ready.join({"q", name}, {"t", "u", name});
        EXPECT_EQ(ready.served_names(), before.names + 8);
        EXPECT_TRUE(ready.ready(one));
        ready.leave(one);
        EXPECT_TRUE(ready.ready(two)) << "the other with these types goes on";
        ready.leave(two);
    }
    EXPECT_EQ(ready.sizes(), (ReadyQueue::Sizes{3, 2, 3, 2})) << "as many as there were at a time, and their names";
    EXPECT_EQ(drain(stays).size(), 1U);
}

TEST_F(ReadyQueueTest, WorkersThatComeForAJobEachStarveNobody) {
    const JobHandle old = add(1, "a");
    for (int i = 0; i < 30; ++i) add(9, "a");
    const JobHandle in_turn = add(1, "b");
    std::vector<JobHandle> order;
    for (int i = 0; i < 21; ++i) {
        const ServiceId s = ready.join({"a", "b"}, {"t"});
        order.push_back(ready.pick(s));
        ready.leave(s);
    }
    EXPECT_EQ(order[1], in_turn);
    EXPECT_EQ(order[20], old) << "one pick in twenty of a queue is its oldest's";
}

TEST_F(ReadyQueueTest, WorkersThatComeAndGoInPairsStarveNobody) {
    const JobHandle old = add(1, "a");
    for (int i = 0; i < 100; ++i) add(9, "a");
    std::vector<JobHandle> order;
    for (int round = 0; round < 3; ++round) {
        const ServiceId one = ready.join({"a"}, {"t", "u"});
        const ServiceId two = ready.join({"a"}, {"t"});
        for (const ServiceId s : {one, two})
            for (int i = 0; i < 10; ++i) order.push_back(ready.pick(s));
        ready.leave(one);
        ready.leave(two);
    }
    EXPECT_EQ(order[20], old);
}

TEST_F(ReadyQueueTest, ClassesAreInterned) {
    const ClassId one = ready.class_of("q", "t");
    EXPECT_EQ(ready.class_of("q", "t"), one);
    EXPECT_EQ(ready.find_class("q", "t"), one);
    EXPECT_EQ(ready.find_class("t", "q"), std::nullopt);
    EXPECT_NE(ready.class_of("q", "u"), one);
    EXPECT_EQ(ready.classes(), 2U);
    EXPECT_EQ(ready.queues(), 1U);
    EXPECT_EQ(ready.info(one).queue_name, "q");
    EXPECT_EQ(ready.info(one).type_name, "t");
    EXPECT_TRUE(ready.find_queue("q").has_value());
    EXPECT_FALSE(ready.find_queue("t").has_value());
}

/// The rules written the slow way: look at every waiting job and every service each time.
class Reference {
 public:
    Reference(const JobTable& jobs, const ReadyQueue& ready) : jobs_(jobs), ready_(ready) {}

    ServiceId add_service(ReadyQueue& ready, const std::vector<std::string>& queues,
                          const std::vector<std::string>& types) {
        const ServiceId service = ready.join(queues, types);
        const bool is_new = !states_.contains(service);
        State& state = states_[service];
        if (is_new) state.next_turn = std::exchange(turn_to_go_on_, 0);
        state.named = {queues.begin(), queues.end()};
        state.types = {types.begin(), types.end()};
        for (const std::string& queue : state.named)
            if (ready.find_queue(queue)) learn(state, queue);
        return service;
    }
    void forget(ServiceId service) {
        turn_to_go_on_ = states_.at(service).next_turn;
        const State gone = std::move(states_.at(service));
        states_.erase(service);
        for (const std::string& queue : gone.queues) {
            const bool shared = std::any_of(states_.begin(), states_.end(), [&](const auto& other) {
                return other.second.types == gone.types && other.second.named.contains(queue);
            });
            if (shared) continue;
            const auto line = picks_.find({queue, gone.types});
            picks_to_go_on_[queue] = std::min(picks_to_go_on_[queue] + line->second, 19U);
            picks_.erase(line);
        }
    }
    void saw_queue(const std::string& queue) {
        for (auto& [service, state] : states_)
            if (state.named.contains(queue)) learn(state, queue);
    }
    void push(JobHandle job) { waiting_.push_back(job); }
    void remove(JobHandle job) { waiting_.erase(std::find(waiting_.begin(), waiting_.end(), job)); }
    void set_room(ServiceId service, std::optional<Load> room) { states_[service].room = room; }
    [[nodiscard]] const std::vector<JobHandle>& waiting() const { return waiting_; }

    [[nodiscard]] bool ready(ServiceId service) const {
        return std::any_of(waiting_.begin(), waiting_.end(),
                           [&](JobHandle job) { return ready_.serves(service, jobs_[job].class_id); });
    }

    [[nodiscard]] std::optional<ServiceId> next_service() const {
        std::optional<std::pair<Load, ServiceId>> least;
        for (const auto& [service, state] : states_)
            if (state.room && (!least || *state.room < least->first) && ready(service)) least = {*state.room, service};
        return least ? std::optional(least->second) : std::nullopt;
    }

    JobHandle pick(ServiceId service) {
        State& state = states_[service];
        std::vector<JobHandle> fit;
        for (const JobHandle job : waiting_)
            if (ready_.serves(service, jobs_[job].class_id)) fit.push_back(job);
        if (fit.empty()) return kNoJob;
        JobHandle chosen = kNoJob;
        std::map<std::size_t, std::vector<JobHandle>> by_queue;  // in the order of their turns
        for (const JobHandle job : fit)
            by_queue[state.turn_of(ready_.info(jobs_[job].class_id).queue_name)].push_back(job);
        auto turn = by_queue.lower_bound(state.next_turn);
        if (turn == by_queue.end()) turn = by_queue.begin();
        state.next_turn = turn->first + 1;
        std::uint32_t& picks = picks_.at({state.queues[turn->first], state.types});
        const bool for_age = ++picks == 20;
        if (for_age) picks = 0;
        chosen = *std::min_element(turn->second.begin(), turn->second.end(), [&](JobHandle a, JobHandle b) {
            if (for_age) return age(a) < age(b);
            return std::pair(-jobs_[a].priority, age(a)) < std::pair(-jobs_[b].priority, age(b));
        });
        remove(chosen);
        return chosen;
    }

 private:
    struct State {
        std::set<std::string> named;
        std::vector<std::string> queues;  // those that are there, in the order in which it came to know them
        std::set<std::string> types;
        std::size_t next_turn = 0;
        std::optional<Load> room;

        [[nodiscard]] std::size_t turn_of(std::string_view queue) const {
            return static_cast<std::size_t>(std::find(queues.begin(), queues.end(), queue) - queues.begin());
        }
    };
    void learn(State& state, const std::string& queue) {
        if (state.turn_of(queue) < state.queues.size()) return;
        state.queues.push_back(queue);
        if (!picks_.contains({queue, state.types}))
            picks_[{queue, state.types}] = std::exchange(picks_to_go_on_[queue], 0);
    }
    [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> age(JobHandle job) const {
        return {jobs_[job].order, jobs_[job].id.value};
    }
    const JobTable& jobs_;
    const ReadyQueue& ready_;
    std::vector<JobHandle> waiting_;
    std::map<ServiceId, State> states_;
    std::size_t turn_to_go_on_ = 0;
    std::map<std::pair<std::string, std::set<std::string>>, std::uint32_t> picks_;  // of a queue, by like workers
    std::map<std::string, std::uint32_t> picks_to_go_on_;
};

struct Shape {
    unsigned queues;
    unsigned types;
    unsigned priorities;
    unsigned services;
};
void PrintTo(const Shape& shape, std::ostream* out) {
    *out << shape.queues << " queues, " << shape.types << " types, " << shape.priorities << " priorities, "
         << shape.services << " services";
}
class ReadyQueueChaos : public testing::TestWithParam<Shape> {};

TEST_P(ReadyQueueChaos, AgreesWithTheRulesWrittenTheSlowWay) {
    const Shape shape = GetParam();
    for (unsigned seed = 1; seed <= 3; ++seed) {
        std::mt19937 rng(seed);
        const auto names = [&](const char* name, unsigned count) {  // mostly all of them
            std::vector<std::string> some;
            const bool all = rng() % 2 == 0;
            for (unsigned i = 0; i < count; ++i)
                if (all || rng() % 3 == 0) some.push_back(name + std::to_string(i));
            return some;
        };
        JobTable jobs;
        ReadyQueue queue(jobs);
        Reference truth(jobs, queue);
        const auto add_service = [&] {
            return truth.add_service(queue, names("q", shape.queues), names("t", shape.types));
        };
        std::vector<ServiceId> services{add_service()};
        std::vector<JobHandle> out;  // picked or removed, and not come back
        std::uint64_t next_number = 1;
        const auto push = [&](JobHandle job) {
            queue.push(job);
            truth.push(job);
        };
        for (unsigned i = 0; i < 6'000; ++i) {
            const std::string at = "seed " + std::to_string(seed) + " step " + std::to_string(i);
            if (i % (3'000 / shape.services) == 0)  // while half of it goes on, some of them alike
                services.push_back(add_service());
            const bool fills = i / 250 % 2 == 0;  // in turns the queues fill up and run dry
            const unsigned what = rng() % 16;
            if (what < (fills ? 8U : 3U)) {
                const JobHandle job = jobs.add({next_number});
                jobs[job].order = next_number++;
                jobs[job].priority = static_cast<std::uint8_t>(kPriorityMax - rng() % shape.priorities);
                const unsigned named = 1 + i / 500;  // their names come to be one after the other
                const std::string name = "q" + std::to_string(rng() % std::min(shape.queues, 3 * named));
                jobs[job].class_id =
                    queue.class_of(name, "t" + std::to_string(rng() % std::min(shape.types, 10 * named)));
                truth.saw_queue(name);
                push(job);
            } else if (what < 10 && what % 2 == 0) {
                if (out.empty()) continue;  // one comes back, sometimes redriven
                std::swap(out[rng() % out.size()], out.back());
                if (rng() % 4 == 0) jobs[out.back()].order = next_number;
                push(out.back());
                out.pop_back();
            } else if (what == 11) {
                if (truth.waiting().empty()) continue;  // cancelled while it waits
                const JobHandle job = truth.waiting()[rng() % truth.waiting().size()];
                queue.remove(job);
                truth.remove(job);
                out.push_back(job);
            } else if (what == 12 && rng() % 8 == 0) {  // a worker goes, and another one comes
                std::swap(services[rng() % services.size()], services.back());
                const ServiceId gone = services.back();
                services.pop_back();
                queue.leave(gone);
                if (std::find(services.begin(), services.end(), gone) == services.end()) truth.forget(gone);
                services.push_back(add_service());
            } else if (what == 12) {
                const ServiceId service = services[rng() % services.size()];
                std::optional<Load> room;
                if (rng() % 4 != 0) room = {rng() % 3, service};
                queue.set_room(service, room);
                truth.set_room(service, room);
            } else {
                const ServiceId service = services[rng() % services.size()];
                const JobHandle expected = truth.pick(service);
                ASSERT_EQ(queue.ready(service), expected != kNoJob) << at;
                if (expected == kNoJob) continue;
                ASSERT_EQ(queue.pick(service), expected) << at;
                out.push_back(expected);
            }
            ASSERT_EQ(queue.next_service(), truth.next_service()) << at;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, ReadyQueueChaos,
                         testing::Values(Shape{1, 1, 1, 1}, Shape{1, 1, 10, 1}, Shape{1, 40, 1, 1}, Shape{1, 40, 10, 8},
                                         Shape{30, 1, 3, 8}, Shape{6, 6, 10, 20}));

TEST_F(ReadyQueueTest, TheServiceWithTheLeastLoadThatHasRoomAndWorkIsNext) {
    const ServiceId one = ready.join({"a"}, {"t"});
    const ServiceId two = ready.join({"b"}, {"t"});
    ready.set_room(one, Load{1, 7});
    EXPECT_EQ(ready.next_service(), std::nullopt) << "nothing waits";
    add(5, "a");
    add(5, "b");
    EXPECT_EQ(ready.next_service(), one) << "the other has no room";
    ready.set_room(two, Load{1, 6});
    EXPECT_EQ(ready.next_service(), two) << "as much to do: the older session first";
    ready.pick(two);
    EXPECT_EQ(ready.next_service(), one);
    ready.set_room(one, std::nullopt);
    EXPECT_EQ(ready.next_service(), std::nullopt);
}

}  // namespace
}  // namespace jobyard::broker
