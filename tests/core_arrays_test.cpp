// Arrays: many jobs made of one submit, bit by bit, each index once.

#include <random>

#include "core_fixture.hpp"

namespace jobyard::broker::test {
namespace {

struct CoreArrays : YardTest {
    Peer client = submitter();

    SubmitArray message(std::uint64_t count, const SubmitItem& item = {.type = "t"}, std::string_view payload = {}) {
        SubmitArray array;
        array.confirmed = client.confirmed;
        array.first_number = client.next_number++;
        array.items = {item};
        array.items[0].payload_length = static_cast<std::uint32_t>(payload.size());
        array.count = count;
        return array;
    }
    JobId submit_array(const SubmitArray& array, std::string_view payload = {}) {
        const Answer answer = ask(client, array, payload);
        EXPECT_EQ(answer.code, Code::ok) << answer.text;
        EXPECT_EQ(answer.state, JobState::running);
        return answer.job;
    }
    JobId submit_array(std::uint64_t count, const SubmitItem& item = {.type = "t"}, std::string_view payload = {}) {
        return submit_array(message(count, item, payload), payload);
    }
    nlohmann::json shown(JobId array) { return maps(client, ListArrays{{}, 1, array}).at(0); }
    Answer resubmit(JobId array, bool cancelled = false) {
        return ask(client, SteerArray{array, ArrayAction::resubmit, cancelled});
    }
    /// The answer to an end, though more may have been dispatched before it came.
    Code end(const Peer& worker, const Message& message) {
        const RequestId request = send(worker, message);
        const auto at = std::find_if(inbox.begin(), inbox.end(), [&](const Received& got) {
            return got.envelope.request == request && std::holds_alternative<Answers>(got.envelope.message);
        });
        if (at == inbox.end()) return Code::timeout;
        const Code code = std::get<Answers>(at->envelope.message).items.at(0).code;
        inbox.erase(at);
        return code;
    }
    void complete(const Peer& worker, const Held& held) {
        EXPECT_EQ(end(worker, Complete{{{0, held.job, held.token}}}), Code::ok);
    }
    void kill(const Peer& worker, const Held& held, std::string_view error = {}) {
        EXPECT_EQ(end(worker, Fail{{{0, held.job, held.token, 0, Outcome::failed, false, error}}}), Code::ok);
    }
    /// One step of the background.
    void step() {
        std::vector<Need> needs;
        for (int ms = 0; ms < 1000 && (needs = core->agenda_needs(now())).empty(); ++ms) advance(1);
        ASSERT_FALSE(needs.empty());
        run_step(needs, disk.read(needs));
    }
    /// Jobs with their indices, as the worker is given them, until there are no more; each ends as `end` says.
    template <class End>
    std::vector<std::uint64_t> work_off(const Peer& worker, JobId array, End end) {
        std::vector<std::uint64_t> indices;
        for (int idle = 0; idle < 3;) {
            const std::vector<Held> taken = take_all(worker);
            for (const Held& held : taken) {
                EXPECT_EQ(held.item.array, array);
                indices.push_back(held.item.array_index);
                end(held);
            }
            idle = taken.empty() ? idle + 1 : 0;
            background();
        }
        std::sort(indices.begin(), indices.end());
        return indices;
    }
    /// The indices of multiples of three fail for good.
    std::vector<std::uint64_t> work_off_with_failures(const Peer& worker, JobId array) {
        return work_off(worker, array, [&](const Held& held) {
            if (held.item.array_index % 3 != 0) complete(worker, held);
            else kill(worker, held, "broken");
        });
    }
    static std::vector<std::uint64_t> range(std::uint64_t count, std::uint64_t first = 0, std::uint64_t step = 1) {
        std::vector<std::uint64_t> indices;
        for (std::uint64_t i = 0; i < count; ++i) indices.push_back(first + i * step);
        return indices;
    }
};

TEST_F(CoreArrays, MakesAJobForEachIndexWithThePayloadOfAll) {
    const Peer w = worker({.slots = 64});
    SubmitArray some = message(1000, {.type = "t", .priority = 7}, "hello");
    some.first = 5;
    some.step = 10;
    some.name = "seeds";
    const JobId array = submit_array(some, "hello");
    background();
    EXPECT_EQ(shown(array)["made"], 1000);
    const auto indices = work_off(w, array, [&](const Held& held) {
        EXPECT_EQ(held.payload, "hello");
        EXPECT_EQ(held.item.priority, 7);
        complete(w, held);
    });
    EXPECT_EQ(indices, range(1000, 5, 10));
    const auto map = shown(array);
    EXPECT_EQ(map["state"], "completed");
    EXPECT_EQ(map["completed"], 1000);
    EXPECT_EQ(map["name"], "seeds");
    EXPECT_EQ(map["waiting"], 0);
    EXPECT_EQ(map["making"], false);
    EXPECT_TRUE(disk[Table::leftovers].empty()) << "a job that completes leaves nothing behind";
}

TEST_F(CoreArrays, ALargePayloadStandsOnce) {
    const Peer w = worker({.slots = 10});
    const std::string large(100'000, 'x');
    const JobId array = submit_array(10, {.type = "t"}, large);
    background();
    EXPECT_EQ(disk[Table::chunks].size(), (large.size() + kRowBytes - 1) / kRowBytes);
    EXPECT_EQ(core->counters().payload_bytes, large.size());
    EXPECT_EQ(work_off(w, array,
                       [&](const Held& held) {
                           EXPECT_EQ(held.payload, large);
                           complete(w, held);
                       }),
              range(10));
}

TEST_F(CoreArrays, ThePayloadOfAJobIsThatOfItsArray) {
    const Peer w = worker({.slots = 3});
    const auto payload = [&](JobId job) {
        send(client, Show{{job}, true});
        const auto jobs = expect<Jobs>(client);
        const auto map = nlohmann::json::from_msgpack(jobs.payloads.at(0));
        if (!map.contains("payload")) return std::string("none");
        const auto& bytes = map["payload"].get_binary();
        return std::string(bytes.begin(), bytes.end());
    };
    for (const std::string& whole : {std::string("small"), std::string(10'000, 'l')}) {
        const JobId array = submit_array(3, {.type = "t", .max_attempts = 1}, whole);
        background();
        const std::vector<Held> held = take_all(w);
        ASSERT_EQ(held.size(), 3U);
        complete(w, held[0]);
        kill(w, held[1]);
        EXPECT_EQ(payload(array), whole);
        EXPECT_EQ(payload(held[0].job), "none") << "it has completed";
        EXPECT_EQ(payload(held[1].job), whole) << "of which array it is, only its final record says";
        EXPECT_EQ(payload(held[2].job), whole) << "it runs";
        complete(w, held[2]);
        const JobId again = resubmit(array).job;
        background();
        EXPECT_EQ(payload(held[1].job), "none") << "another job has its index now";
        EXPECT_EQ(work_off(w, again, [&](const Held& one) { complete(w, one); }).size(), 1U);
    }
}

TEST_F(CoreArrays, TheSameNumberAgainIsTheSameArray) {
    const SubmitArray some = message(300);
    const JobId array = submit_array(some);
    const Answer again = ask(client, some);
    EXPECT_EQ(again.code, Code::ok);
    EXPECT_EQ(again.job, array);
    crash_after_commit();
    come_back(client);
    EXPECT_EQ(client.instance_state, InstanceState::resumed);
    EXPECT_EQ(ask(client, some).job, array);
    background();
    EXPECT_EQ(core->counters().by_state[static_cast<std::size_t>(JobState::queued)], 300U);
    EXPECT_EQ(core->numbers().submitted_total, 300U);
    const JobId job = submit(client);
    EXPECT_EQ(job.value, array.value + 301) << "it has a number as a job has one";
}

TEST_F(CoreArrays, WhatWasNotDurableWasNeverMade) {
    hold_commits();
    const SubmitArray some = message(100);
    send(client, some);
    crash();
    resume_commits();
    come_back(client);
    const JobId array = submit_array(some);
    background();
    EXPECT_EQ(shown(array)["made"], 100);
    EXPECT_EQ(core->counters().by_state[static_cast<std::size_t>(JobState::queued)], 100U);
}

TEST_F(CoreArrays, GoOnAfterARestartWithoutRepeatingOrLeavingOut) {
    const JobId array = submit_array(1000);
    step();
    step();
    const auto before = shown(array)["made"].get<int>();
    EXPECT_GT(before, 0);
    EXPECT_LT(before, 1000);
    hold_commits();
    step();  // and this one is lost
    crash();
    resume_commits();
    client = submitter("again");
    EXPECT_EQ(shown(array)["made"], before);
    EXPECT_EQ(shown(array)["waiting"], before);
    background();
    EXPECT_EQ(work_off_with_failures(worker({.slots = 50}), array), range(1000));
    EXPECT_EQ(shown(array)["dead"], 334);
    crash_after_commit();
    client = submitter("once more");
    EXPECT_EQ(shown(array)["dead"], 334);
    EXPECT_EQ(shown(array)["completed"], 666);
    EXPECT_EQ(shown(array)["state"], "dead");
}

TEST_F(CoreArrays, OrdinaryJobsInBetweenKeepTheirOwnPlaces) {
    submit_array(500);
    std::set<std::uint64_t> ordinary;
    for (int i = 0; i < 3; ++i) {
        ordinary.insert(submit(client).value);
        step();
        ordinary.insert(submit(client).value);
    }
    background();
    crash_after_commit();
    client = submitter("again");
    const Peer w = worker({.slots = 100});
    std::vector<std::uint64_t> indices;
    for (int rounds = 0; rounds < 10; ++rounds)
        for (const Held& held : take_all(w)) {
            EXPECT_EQ(held.item.array.value == 0, ordinary.erase(held.job.value) == 1);
            if (held.item.array) indices.push_back(held.item.array_index);
            complete(w, held);
        }
    std::sort(indices.begin(), indices.end());
    EXPECT_EQ(indices, range(500));
    EXPECT_TRUE(ordinary.empty());
}

TEST_F(CoreArrays, WaitForRoomInTheQueue) {
    Limits limits;
    limits.queue_jobs = 20;
    with(limits);
    client = submitter();
    const JobId array = submit_array(100);
    for (int i = 0; i < 500; ++i)
        if (const auto needs = core->agenda_needs(now()); needs.empty()) advance(1);
        else run_step(needs, disk.read(needs));
    EXPECT_EQ(shown(array)["made"], 20);
    EXPECT_EQ(shown(array)["making"], true);
    const Peer w = worker({.slots = 20});
    std::vector<std::uint64_t> indices;
    for (int i = 0; i < 5000 && indices.size() < 100; ++i) {
        for (const Held& held : take_all(w)) {
            indices.push_back(held.item.array_index);
            complete(w, held);
        }
        if (const auto needs = core->agenda_needs(now()); needs.empty()) advance(1);
        else run_step(needs, disk.read(needs));
    }
    EXPECT_EQ(indices, range(100));
    EXPECT_EQ(shown(array)["state"], "completed");
}

TEST_F(CoreArrays, NoMoreThanSoManyAtOnce) {
    const Peer w = worker({.slots = 100});
    SubmitArray some = message(50);
    some.at_once = 4;
    const JobId array = submit_array(some);
    background();
    EXPECT_EQ(shown(array)["made"], 4);
    EXPECT_EQ(shown(array)["running"], 4);
    std::vector<Held> held = take_all(w);
    ASSERT_EQ(held.size(), 4U);
    complete(w, held[0]);
    complete(w, held[1]);
    background();
    std::vector<Held> more = take_all(w);
    EXPECT_EQ(more.size(), 2U);
    fail(w, held[2], {.retryable = true});  // it waits for its next attempt, and is one of the four
    background();
    EXPECT_EQ(shown(array)["running"], 3);
    EXPECT_EQ(shown(array)["waiting"], 1);
    EXPECT_EQ(shown(array)["made"], 6);
    complete(w, held[3]);
    for (const Held& one : more) complete(w, one);
    advance(10'000);
    EXPECT_EQ(work_off(w, array, [&](const Held& one) { complete(w, one); }).size(), 45U);
    EXPECT_EQ(shown(array)["completed"], 50);
}

TEST_F(CoreArrays, IsWatchedAsAJobIs) {
    const Peer w = worker({.slots = 10});
    SubmitArray some = message(6, {.type = "t", .watch = true});
    const JobId array = submit_array(some);
    Peer other = submitter("other");
    EXPECT_EQ(watch(other, array).code, Code::ok);
    EXPECT_EQ(watch(other, array).code, Code::ok) << "twice is once";
    background();
    work_off_with_failures(w, array);
    for (const Peer& peer : {client, other}) {
        const auto results = expect<Results>(peer);
        ASSERT_EQ(results->items.size(), 1U);
        EXPECT_EQ(results->items[0].job, array);
        EXPECT_EQ(results->items[0].state, JobState::dead);
        EXPECT_EQ(results->items[0].reason, Reason::failed);
        EXPECT_EQ(results->items[0].error, "2 dead of 6 jobs");
    }
    EXPECT_EQ(watch(other, array).code, Code::ended);
    EXPECT_EQ(expect<Results>(other)->items[0].state, JobState::dead);
    EXPECT_EQ(show(client, array)["state"], "dead");
}

TEST_F(CoreArrays, IsCancelledWithAllOfItsJobs) {
    const Peer w = worker({.slots = 3});
    const JobId other = submit(client, {.type = "none"});
    const JobId array = submit_array(2000);
    while (shown(array)["made"] < 900) step();
    const std::vector<Held> held = take_all(w);
    ASSERT_EQ(held.size(), 3U);
    const auto made = shown(array)["made"].get<std::uint64_t>();
    EXPECT_EQ(watch(client, array).code, Code::ok);
    EXPECT_EQ(cancel(client, array).code, Code::cancel_requested);
    crash_after_commit();  // it goes on with that too
    come_back(client);
    EXPECT_EQ(watch(client, array).code, Code::ok);
    WorkerSpec back{.slots = 3};
    for (const Held& one : held) back.claims.push_back({one.job, one.token});
    Peer again = worker(back);
    advance(5000);
    background();
    for (const Held& one : held) {
        EXPECT_EQ(expect<Stop>(again)->items.at(0).reason, StopReason::cancel);
        static_cast<void>(one);
    }
    EXPECT_EQ(shown(array)["cancelled"], made - 3);
    EXPECT_EQ(shown(array)["state"], "running");
    for (const Held& one : held) EXPECT_EQ(fail(again, one, {.outcome = Outcome::cancelled}), Code::ok);
    EXPECT_EQ(expect<Results>(client)->items[0].state, JobState::cancelled);
    EXPECT_EQ(shown(array)["cancelled"], made);
    EXPECT_EQ(shown(array)["made"], made) << "no more were made";
    EXPECT_EQ(state(other), JobState::queued);
    EXPECT_EQ(cancel(client, array).code, Code::ended);
}

TEST_F(CoreArrays, StoppedItMakesNoMoreAndTheRestGoesOn) {
    const Peer w = worker({.slots = 50});
    const JobId array = submit_array(1000);
    step();
    const auto made = shown(array)["made"].get<std::uint64_t>();
    EXPECT_EQ(ask(client, SteerArray{array, ArrayAction::stop}).code, Code::ok);
    EXPECT_EQ(ask(client, SteerArray{array, ArrayAction::stop}).code, Code::ended);
    EXPECT_EQ(work_off(w, array, [&](const Held& held) { complete(w, held); }), range(made));
    EXPECT_EQ(shown(array)["state"], "cancelled") << "not all of it was done";
    EXPECT_EQ(shown(array)["completed"], made);
}

TEST_F(CoreArrays, WhatIsSteeredWhileItsRowsAreReadMakesNoMore) {
    const JobId array = submit_array(1000);
    step();
    std::vector<Need> needs;
    while ((needs = core->agenda_needs(now())).empty()) advance(1);
    const Snapshot rows = disk.read(needs);
    const auto made = shown(array)["made"].get<std::uint64_t>();
    EXPECT_EQ(ask(client, SteerArray{array, ArrayAction::stop}).code, Code::ok);
    run_step(needs, rows);
    EXPECT_EQ(shown(array)["made"], made);
    EXPECT_EQ(cancel(client, array).code, Code::cancel_requested);
    while ((needs = core->agenda_needs(now())).empty()) advance(1);
    run_step(needs, disk.read(needs));
    background();
    EXPECT_EQ(shown(array)["cancelled"], made);
}

TEST_F(CoreArrays, ThatItMakesNoMoreIsWrittenEvenIfTheLastStepMadeNothing) {
    const JobId first = submit_array(200);  // as many leftovers as are looked at in one step
    background();
    ask(client, Cancel{{first}});
    background();
    const Answer again = resubmit(first, true);
    background();
    ArrayRow row;
    ASSERT_TRUE(read_row(disk[Table::counts].at(job_key(again.job)), row));
    EXPECT_EQ(row.made, 200U);
    EXPECT_FALSE(row.makes) << "who stops it now is told that it had stopped";
}

TEST_F(CoreArrays, AJobRedrivenOrPurgedWhileLeftoversAreReadIsNotMadeTwice) {
    const Peer w = worker({.slots = 3});
    const JobId array = submit_array(3);
    background();
    const std::vector<Held> held = take_all(w);
    ASSERT_EQ(held.size(), 3U);
    for (const Held& one : held) kill(w, one);
    const JobId again = resubmit(array).job;
    std::vector<Need> needs;
    while ((needs = core->agenda_needs(now())).empty()) advance(1);
    const Snapshot rows = disk.read(needs);
    EXPECT_EQ(redrive(client, held[1].job).code, Code::ok);
    run_step(needs, rows);
    background();
    std::multiset<std::uint64_t> indices;
    for (const Held& one : take_all(w)) {
        indices.insert(one.item.array_index);
        EXPECT_EQ(one.item.array, one.item.array_index == 1 ? array : again);
        complete(w, one);
    }
    EXPECT_EQ(indices, (std::multiset<std::uint64_t>{0, 1, 2}));
    EXPECT_EQ(shown(again)["count"], 2);
}

TEST_F(CoreArrays, ResubmitsExactlyWhatIsDead) {
    const Peer w = worker({.slots = 50});
    const JobId array = submit_array(1000, {.type = "t"}, "same");
    background();
    work_off_with_failures(w, array);
    EXPECT_EQ(disk[Table::dead].size(), 334U);
    const Answer made = resubmit(array);
    EXPECT_EQ(made.code, Code::ok);
    EXPECT_EQ(resubmit(array).code, Code::existing) << "asked for again after a lost answer";
    step();
    crash_after_commit();
    client = submitter("again");
    EXPECT_EQ(resubmit(array).job, made.job);
    advance(5000);  // its worker does not come back
    background();
    const Answer again = resubmit(array);
    EXPECT_EQ(again.code, Code::existing);
    EXPECT_EQ(again.job, made.job);
    EXPECT_TRUE(disk[Table::dead].empty()) << "who was resubmitted is not redriven too";
    EXPECT_TRUE(disk[Table::leftovers].empty());
    const Peer back = worker({.name = "back", .slots = 50});
    EXPECT_EQ(work_off(back, made.job,
                       [&](const Held& held) {
                           EXPECT_EQ(held.payload, "same");
                           complete(back, held);
                       }),
              range(334, 0, 3));
    EXPECT_EQ(shown(made.job)["state"], "completed");
    EXPECT_EQ(shown(made.job)["resubmits"], array.value);
    EXPECT_EQ(shown(array)["resubmitted_as"], made.job.value);
    EXPECT_EQ(shown(array)["dead"], 334);
    EXPECT_EQ(shown(array)["left_dead"], 0);
}

TEST_F(CoreArrays, ADeadJobThatWasResubmittedCannotBeRedriven) {
    const Peer w = worker({.slots = 1});
    const JobId array = submit_array(1);
    background();
    const Held held = take(w);
    kill(w, held, "broken");
    EXPECT_EQ(resubmit(array).code, Code::ok);
    background();
    take(w);
    EXPECT_EQ(redrive(client, held.job).code, Code::not_dead);
    EXPECT_EQ(show(client, held.job)["error"], "broken") << "its record is kept";
}

TEST_F(CoreArrays, ARedrivenJobIsNoLongerLeft) {
    const Peer w = worker({.slots = 1});
    const JobId array = submit_array(2);
    background();
    for (int i = 0; i < 2; ++i) kill(w, take(w));
    EXPECT_EQ(shown(array)["state"], "dead");
    const auto dead = list_all(client, {.state = JobState::dead, .array = array});
    ASSERT_EQ(dead.size(), 2U);
    EXPECT_EQ(redrive(client, dead[0]).code, Code::ok);
    EXPECT_EQ(shown(array)["state"], "running");
    EXPECT_EQ(shown(array)["left_dead"], 1);
    crash_after_commit();
    client = submitter("again");
    advance(5000);
    const Peer again = worker({.name = "another"});
    const Held held = take(again);
    EXPECT_EQ(held.item.array, array);
    EXPECT_EQ(held.item.array_index, 0U);
    complete(again, held);
    EXPECT_EQ(shown(array)["completed"], 1);
    EXPECT_EQ(resubmit(array).code, Code::ok);
    background();
    EXPECT_EQ(take(again).item.array_index, 1U);
}

TEST_F(CoreArrays, ADeadJobOfItCanBeEditedButForItsPayload) {
    const Peer w = worker({.slots = 10});
    const JobId array = submit_array(2, {.type = "t", .max_attempts = 1}, "of all");
    background();
    std::vector<JobId> dead;
    work_off(w, array, [&](const Held& held) {
        dead.push_back(held.job);
        kill(w, held);
    });
    const Answer refused = ask(client, Edit{{dead[0]}, 3, true}, "new");
    EXPECT_EQ(refused.code, Code::bad_field);
    EXPECT_EQ(refused.field, "new_payload");
    EXPECT_NE(refused.text.find("submit a job with the new one"), std::string_view::npos) << refused.text;
    const std::string elsewhere(200, 'q');
    const Edit edit{{dead[0]}, 0, false, "u", elsewhere, 9, {.timeout_ms = 5}};
    EXPECT_EQ(ask(client, edit).code, Code::ok) << "of which the leftover counts the bytes (check_disk)";
    Edit of_array = edit;
    of_array.jobs = {array};
    const Answer whole = ask(client, of_array);
    EXPECT_EQ(whole.code, Code::not_dead);
    EXPECT_EQ(whole.text, "it is an array; its dead jobs can be edited");
    EXPECT_EQ(redrive(client, dead[0]).code, Code::ok);
    const Peer again = worker({.name = "again", .queues = {elsewhere}, .types = {"u"}});
    const Held held = take(again);
    EXPECT_EQ(held.payload, "of all");
    EXPECT_EQ(held.item.array, array);
    EXPECT_EQ(held.item.timeout_ms, 5U);
    complete(again, held);

    // Edited and resubmitted, and edited with what was read before that.
    Edit longer = edit;
    longer.jobs = {dead[1]};
    EXPECT_EQ(ask(client, longer).code, Code::ok);
    const auto waiting = arrive(client, longer);
    const JobId successor = resubmit(array).job;
    background();
    decide(waiting);
    EXPECT_EQ(only_answer(client).code, Code::not_dead);
    EXPECT_EQ(work_off(w, successor, [&](const Held& one) { complete(w, one); }).size(), 1U) << "in its own queue";
}

TEST_F(CoreArrays, WhatWasPurgedOrCancelledCanBeResubmitted) {
    const Peer w = worker({.slots = 1});
    const JobId array = submit_array(4);
    background();
    kill(w, take(w));
    const Held running = take(w);
    EXPECT_EQ(ask(client, StartTask{.action = TaskAction::purge}).code, Code::ok);
    background();
    EXPECT_TRUE(disk[Table::dead].empty());
    cancel(client, array);
    background();
    expect<Stop>(w);
    fail(w, running, {.outcome = Outcome::cancelled});
    background();
    EXPECT_EQ(shown(array)["left_dead"], 1);
    EXPECT_EQ(shown(array)["left_cancelled"], 3);
    const JobId first = resubmit(array).job;
    background();
    EXPECT_EQ(work_off(w, first, [&](const Held& held) { complete(w, held); }), range(1));
    EXPECT_EQ(resubmit(array).code, Code::existing);
    const Answer second = resubmit(array, true);
    EXPECT_EQ(second.code, Code::ok);
    background();
    EXPECT_EQ(work_off(w, second.job, [&](const Held& held) { complete(w, held); }), range(3, 1));
}

TEST_F(CoreArrays, NothingLeftIsNothingToResubmit) {
    const Peer w = worker({.slots = 1});
    const JobId array = submit_array(1);
    background();
    complete(w, take(w));
    EXPECT_EQ(resubmit(array).code, Code::not_dead);
    EXPECT_EQ(resubmit({999}).code, Code::unknown_job);
    EXPECT_EQ(resubmit({999}).text, "no array of this number is remembered");
    EXPECT_EQ(redrive(client, array).code, Code::not_dead);
    EXPECT_EQ(ask(client, Change{{array}, 3}).code, Code::not_waiting);
    EXPECT_EQ(refused(client, ListArrays{{}, 1, {999}})->code, Code::unknown_job);
    EXPECT_EQ(refused(client, SteerArray{array, static_cast<ArrayAction>(9)})->field, "action");
}

TEST_F(CoreArrays, AKeyNamesItAsLongAsItIsRemembered) {
    const SubmitItem keyed{.type = "t", .key = "nightly"};
    const JobId array = submit_array(10, keyed);
    const Answer again = ask(client, message(10, keyed));
    EXPECT_EQ(again.code, Code::existing);
    EXPECT_EQ(again.job, array);
    EXPECT_EQ(again.state, JobState::running);
    EXPECT_EQ(ask(client, message(11, keyed)).code, Code::conflict);
    EXPECT_EQ(ask_submit(client, keyed).code, Code::conflict) << "a job is not an array";
    crash_after_commit();
    client = submitter("again");
    EXPECT_EQ(ask(client, message(10, keyed)).job, array);
    submit(client, {.type = "t", .key = "a job's"});
    EXPECT_EQ(ask(client, message(1, {.type = "t", .key = "a job's"})).code, Code::conflict);
}

TEST_F(CoreArrays, AreForgottenWhenNothingOfThemIsNeeded) {
    Limits limits;
    limits.kept_ms = 1000;
    with(limits);
    client = submitter();
    const Peer w = worker({.slots = 10});
    const std::string large(5000, 'x');
    const JobId good = submit_array(3, {.type = "t", .key = "k"}, large);
    background();
    for (const Held& held : take_all(w)) complete(w, held);
    const JobId bad = submit_array(3);
    background();
    for (const Held& held : take_all(w)) kill(w, held);
    advance(120'000);
    background();
    EXPECT_EQ(refused(client, ListArrays{{}, 1, good})->code, Code::retired);
    EXPECT_TRUE(disk[Table::chunks].empty());
    EXPECT_EQ(shown(bad)["dead"], 3) << "its jobs may be redriven, and have its payload";
    EXPECT_EQ(ask(client, StartTask{.action = TaskAction::purge}).code, Code::ok);
    background();
    advance(120'000);
    background();
    EXPECT_EQ(refused(client, ListArrays{{}, 1, bad})->code, Code::retired);
    for (const Table table : {Table::arrays, Table::counts, Table::leftovers}) EXPECT_TRUE(disk[table].empty());
    EXPECT_EQ(core->counters().payload_bytes, 0U);
    EXPECT_EQ(ask(client, message(3, {.type = "t", .key = "k"})).code, Code::ok) << "the key is free";
}

TEST_F(CoreArrays, WhatHasBegunToBeForgottenIsNotResubmittedInPart) {
    Limits limits;
    limits.kept_ms = 1000;
    with(limits);
    client = submitter();
    const JobId array = submit_array(2500);
    background();
    cancel(client, array);
    background();
    ASSERT_EQ(shown(array)["left_cancelled"], 2500);
    advance(120'000);
    while (core->has_array(array) && shown(array)["left_cancelled"] == 2500) step();
    ASSERT_LT(shown(array)["left_cancelled"], 2500);
    EXPECT_EQ(resubmit(array, true).code, Code::retired) << "some of its leftovers are gone";
    limits.kept_ms = 1'000'000;  // it would be kept now
    config.limits = limits;
    crash_after_commit();
    client = submitter("again");
    background();
    EXPECT_EQ(refused(client, ListArrays{{}, 1, array})->code, Code::retired);
    EXPECT_TRUE(disk[Table::leftovers].empty());
}

TEST_F(CoreArrays, TheLastThousandThatEndedAreKeptWhenEverTheyWereMade) {
    const JobId old = submit_array(1, {.type = "t", .key = "old"});
    background();
    std::vector<JobId> others;
    for (int i = 0; i < 1000; ++i) {
        others.push_back(submit_array(1));
        EXPECT_EQ(ask(client, SteerArray{others.back(), ArrayAction::stop}).code, Code::ok);
    }
    advance(5000);
    background();
    EXPECT_EQ(shown(others.front())["state"], "cancelled");
    const Peer w = worker();
    complete(w, take(w));
    advance(5000);
    background();
    EXPECT_EQ(shown(old)["state"], "completed") << "it is the last that ended";
    EXPECT_EQ(ask(client, message(1, {.type = "t", .key = "old"})).code, Code::existing);
    EXPECT_EQ(refused(client, ListArrays{{}, 1, others.front()})->code, Code::retired);
    EXPECT_EQ(shown(others[1])["state"], "cancelled");
}

TEST_F(CoreArrays, ThePayloadOfOneThatEndedTakesNoRoom) {
    Limits limits;
    limits.payload_total_bytes = 150'000;
    with(limits);
    client = submitter();
    const Peer w = worker();
    const std::string large(100'000, 'x');
    const JobId array = submit_array(1, {.type = "t"}, large);
    background();
    EXPECT_EQ(ask(client, message(1, {.type = "t"}, large), large).code, Code::busy);
    const Held held = take(w);
    kill(w, held);
    EXPECT_EQ(core->counters().payload_bytes, 0U);
    EXPECT_EQ(redrive(client, held.job).code, Code::ok);
    EXPECT_EQ(core->counters().payload_bytes, large.size());
    EXPECT_EQ(shown(array)["state"], "running");
    crash_after_commit();
    EXPECT_EQ(core->counters().payload_bytes, large.size());
    client = submitter("again");
    advance(5000);
    const Peer again = worker({.name = "another"});
    complete(again, take(again));
    submit_array(1, {.type = "t"}, large);
}

TEST_F(CoreArrays, AResubmitTakesInWhatDiesMeanwhile) {
    Limits limits;
    limits.queue_jobs = 4;
    with(limits);
    client = submitter();
    const Peer w = worker({.slots = 4});
    const JobId array = submit_array(4);
    background();
    const std::vector<Held> held = take_all(w);
    ASSERT_EQ(held.size(), 4U);
    kill(w, held[0]);
    const JobId again = resubmit(array).job;
    EXPECT_EQ(shown(again)["count"], 1);
    for (int i = 1; i < 4; ++i) kill(w, held[static_cast<std::size_t>(i)]);
    for (int i = 0; i < 2; ++i) submit(client, {.type = "none"});
    step();
    EXPECT_EQ(shown(again)["made"], 2) << "there is no room for more";
    EXPECT_EQ(shown(again)["count"], 3) << "and at least one more";
    EXPECT_EQ(watch(client, again).code, Code::ok);
    EXPECT_EQ(ask(client, SteerArray{again, ArrayAction::stop}).code, Code::ok);
    for (const Held& one : take_all(w)) complete(w, one);
    const auto results = expect<Results>(client);
    EXPECT_EQ(results->items.at(0).state, JobState::cancelled);
    EXPECT_EQ(results->items[0].error, "1 not made of 3 jobs");
    EXPECT_EQ(shown(array)["left_dead"], 2);
}

TEST_F(CoreArrays, AResubmitWithoutTheCancelledIsNotTakenForOneWithThem) {
    const Peer w = worker({.slots = 2});
    const JobId array = submit_array(3);
    background();
    const std::vector<Held> held = take_all(w);
    ASSERT_EQ(held.size(), 2U);
    const auto waiting = list_all(client, {.state = JobState::queued, .array = array});
    EXPECT_EQ(cancel(client, waiting.at(0)).code, Code::ok);
    for (const Held& one : held) kill(w, one);
    const JobId dead = resubmit(array).job;
    EXPECT_EQ(resubmit(array, true).code, Code::busy) << "one that lacks them is being made";
    EXPECT_EQ(resubmit(array).job, dead);
    background();
    const Answer rest = resubmit(array, true);
    EXPECT_EQ(rest.code, Code::ok);
    EXPECT_NE(rest.job, dead);
    EXPECT_EQ(shown(rest.job)["count"], 1);
    take_all(w);
}

TEST_F(CoreArrays, ItsJobsAreListed) {
    const Peer w = worker({.slots = 1});
    submit(client, {.type = "none"});
    const JobId array = submit_array(5);
    background();
    complete(w, take(w));
    const Held held = take(w);
    const auto listing = list(client, {.state = JobState::queued, .array = array});
    EXPECT_EQ(listing.ids.size(), 3U);
    EXPECT_EQ(listing.jobs.at(0)["array"], array.value);
    EXPECT_EQ(listing.jobs.at(0)["array_index"], 2);
    EXPECT_EQ(list_all(client, {.array = array}).size(), 5U);
    EXPECT_EQ(show(client, held.job)["array_index"], 1);
}

TEST_F(CoreArrays, AreListedTheNewestFirstInPages) {
    std::vector<std::uint64_t> made;
    for (int i = 0; i < 5; ++i) made.push_back(submit_array(1).value);
    std::reverse(made.begin(), made.end());
    std::vector<std::uint64_t> seen;
    JobId cursor;
    do {
        send(client, ListArrays{cursor, 2, {}});
        const auto page = expect<Maps>(client);
        for (const std::string& map : page.payloads)
            seen.push_back(nlohmann::json::from_msgpack(map)["array"].get<std::uint64_t>());
        cursor = page->next.empty() ? JobId{} : JobId{seen.back()};
    } while (cursor);
    EXPECT_EQ(seen, made);
}

TEST_F(CoreArrays, WhatMakesNoSenseIsRefused) {
    const auto field = [&](const SubmitArray& array) { return std::string(ask(client, array).field); };
    EXPECT_EQ(field(message(0)), "count");
    EXPECT_EQ(field(message(kMaxArrayJobs + 1)), "count");
    SubmitArray array = message(2);
    array.step = 0;
    EXPECT_EQ(field(array), "step");
    array = message(2);
    array.first = kMaxArrayIndex;
    EXPECT_EQ(field(array), "first");
    array = message(2);
    array.name = "\n";
    EXPECT_EQ(field(array), "name");
    EXPECT_EQ(field(message(2, {.type = "t", .held = true})), "held");
    EXPECT_EQ(field(message(2, {.type = "t", .priority = 11})), "priority");
    array = message(2);
    array.items.clear();
    EXPECT_EQ(refused(client, array)->field, "items");
    EXPECT_TRUE(disk[Table::arrays].empty());
}

/// Steps, commits, crashes, ends and resubmits in any order; at the end each index has one job in each array it is of.
void shake(std::uint64_t seed) {
    constexpr std::uint64_t kCount = 700;
    std::mt19937_64 random(seed);
    Yard yard({}, {}, seed);
    Peer client = yard.submitter("c");
    std::optional<Peer> worker;
    int workers = 0;
    SubmitArray message;
    message.first_number = 1;
    message.items = {{.type = "t"}};
    message.count = kCount;
    message.at_once = seed % 3 == 0 ? 40 : 0;
    yard.hold_commits();
    JobId array;
    const auto ask_for_it = [&] {
        yard.send(client, message);
        const Answer answer = yard.answers(client).at(0);
        ASSERT_EQ(answer.code, Code::ok);
        array = answer.job;
    };
    ask_for_it();
    const auto restart = [&](bool after_commit) {
        after_commit ? yard.crash_after_commit() : yard.crash();
        worker.reset();
        yard.come_back(client);
        if (client.instance_state == InstanceState::retired) client = yard.submitter("c" + std::to_string(++workers));
        ask_for_it();
    };
    const auto step = [&](const FakeStore& store) {
        std::vector<Need> needs = yard.core->agenda_needs(yard.now());
        if (needs.empty()) yard.advance(1), needs = yard.core->agenda_needs(yard.now());
        if (!needs.empty()) yard.run_step(needs, store.read(needs));
    };
    const auto work = [&] {
        if (!worker) worker = yard.worker({.name = "w" + std::to_string(++workers), .slots = 20});
        for (const Held& held : yard.take_all(*worker)) {
            if (random() % 4 == 0) yard.send(*worker, Fail{{{0, held.job, held.token, 0, Outcome::failed, false}}});
            else yard.send(*worker, Complete{{{0, held.job, held.token}}});
            std::erase_if(yard.inbox,
                          [](const Received& got) { return std::holds_alternative<Answers>(got.envelope.message); });
        }
    };
    FakeStore behind = yard.disk;
    for (int i = 0; i < 600; ++i) {
        switch (random() % 12) {
            case 0: yard.commit(); break;
            case 1: behind = yard.disk; break;
            case 2:
                if (random() % 8 == 0) restart(random() % 2 == 0), behind = yard.disk;
                break;
            case 3:
            case 4: work(); break;
            case 5:
                if (random() % 4 == 0)
                    yard.send(client, SteerArray{array, ArrayAction::resubmit}), yard.answers(client);
                break;
            default: step(random() % 2 == 0 ? behind : yard.disk); break;
        }
        ASSERT_FALSE(testing::Test::HasFailure()) << "seed " << seed << " at " << i;
    }
    yard.resume_commits();
    restart(true);
    yard.advance(5000);  // its worker does not come back
    for (int idle = 0; idle < 5; ++idle) {
        const auto ended = yard.core->numbers().completed_total + yard.core->numbers().dead_total;
        work();
        yard.background(1000);
        if (ended != yard.core->numbers().completed_total + yard.core->numbers().dead_total) idle = 0;
    }
    std::map<JobId, std::map<std::uint64_t, int>> seen;
    for (const Table table : {Table::live, Table::done, Table::dead})
        for (const auto& [key, value] : yard.disk[table]) {
            EndRow ended;
            ASSERT_TRUE(table != Table::live) << "a job has not ended";
            ASSERT_TRUE(read_row(value, ended));
            ++seen[ended.array][ended.array_index];
        }
    EXPECT_EQ(seen[array].size(), kCount) << "seed " << seed;
    EXPECT_EQ((*seen[array].rbegin()).first, kCount - 1);
    for (const auto& [id, indices] : seen)
        for (const auto& [index, jobs] : indices)
            EXPECT_EQ(jobs, 1) << "seed " << seed << " array " << id.value << " index " << index;
    yard.check_disk();
}

TEST(CoreArraysShaken, NoIndexIsLeftOutOrMadeTwiceWhateverCrashes) {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) shake(seed);
}

TEST_F(CoreArrays, AWorkerTooOldToBeToldTheIndexIsDrained) {
    Peer old;
    old.role = Role::worker;
    old.instance = uuid("old");
    old.said.minor = 0;
    hello(old, {.name = "old", .slots = 2});
    submit(client);
    const Held held = take(old);
    const JobId array = submit_array(3);
    background();
    EXPECT_FALSE(has_message(old));
    EXPECT_EQ(maps(client, ListWorkers{.name = "old"}).at(0)["state"], "draining");
    EXPECT_EQ(show(client, {array.value + 1})["reason"], "no_worker");
    complete(old, held);
    ReadEvents read;
    read.after = 0;
    read.kinds = {EventKind::worker_drained};
    send(client, read);
    const auto events = expect<Events>(client).payloads;
    ASSERT_EQ(events.size(), 1U);
    const auto event = nlohmann::json::from_msgpack(events[0]);
    EXPECT_EQ(event["worker"], "old");
    EXPECT_EQ(event["text"], "it speaks protocol 1.0, and a job of an array needs 1.1; upgrade it");
    const Peer w = worker({.name = "new", .slots = 2});
    EXPECT_EQ(work_off(w, array, [&](const Held& job) { complete(w, job); }), range(3)) << "none of them is lost";
    goodbye(w);
    EXPECT_EQ(ask(client, SteerWorker{"old", WorkerAction::resume}).code, Code::ok);
    const JobId ordinary = submit(client);
    EXPECT_EQ(take(old).job, ordinary);
}

TEST_F(CoreArrays, AnOrdinaryJobIsWrittenAsBefore) {
    const auto puts = [&](Table table) { return disk[table].size(); };
    submit(client);
    const Peer w = worker();
    complete(w, take(w));
    EXPECT_EQ(puts(Table::arrays) + puts(Table::counts) + puts(Table::leftovers), 0U);
    EXPECT_LE(sizeof(Job), 96U) << "what an array needs stands beside the jobs";
}

}  // namespace
}  // namespace jobyard::broker::test
