// Something done to many jobs: cancel, redrive, purge by a filter, in steps.

#include "core_fixture.hpp"

#include "jobyard/fingerprint.hpp"

namespace jobyard::broker::test {
namespace {

struct CoreTasks : YardTest {
    Peer client = submitter();

    std::uint64_t start(const StartTask& what) {
        const Answer answer = ask(client, what);
        EXPECT_EQ(answer.code, Code::ok);
        return answer.job.value;
    }
    nlohmann::json task(std::uint64_t number) { return maps(client, ListTasks{number}).at(0); }
    std::vector<JobId> submit_some(int count, const SubmitItem& item = {.type = "t"}) {
        std::vector<JobId> jobs;
        for (int i = 0; i < count; ++i) jobs.push_back(submit(client, item));
        return jobs;
    }
    void kill_some(int count, std::string_view error = "broken", const SubmitItem& like = {.type = "t"}) {
        const Peer w = worker();
        SubmitItem item = like;
        item.max_attempts = 1;
        for (int i = 0; i < count; ++i) {
            submit(client, item);
            EXPECT_EQ(fail(w, take(w), {.error = error}), Code::ok);
        }
        goodbye(w);
    }
};

TEST_F(CoreTasks, CancelsWhatTheFilterLetsThroughAndWasThereWhenItBegan) {
    const auto mail = submit_some(500, {.queue = "mail", .type = "t"});
    const JobId other = submit(client);
    const std::uint64_t number = start({.action = TaskAction::cancel, .queue = "mail", .by = "me"});
    const JobId later = submit(client, {.queue = "mail", .type = "t"});
    EXPECT_GT(background(), 2) << "in steps";
    for (const JobId job : mail) EXPECT_EQ(ended(job).state, JobState::cancelled);
    EXPECT_EQ(state(other), JobState::queued);
    EXPECT_EQ(state(later), JobState::queued);
    const auto shown = task(number);
    EXPECT_EQ(shown["state"], "done");
    EXPECT_EQ(shown["done"], 500);
    EXPECT_EQ(shown["looked"], 501);
    EXPECT_EQ(shown["by"], "me");
}

TEST_F(CoreTasks, RunningJobsAreToldToStop) {
    const Peer w = worker();
    const JobId job = submit(client);
    const Held held = take(w);
    start({.action = TaskAction::cancel});
    background();
    EXPECT_EQ(expect<Stop>(w)->items.at(0).job, job);
    EXPECT_EQ(fail(w, held, {.outcome = Outcome::cancelled}), Code::ok);
    EXPECT_EQ(ended(job).state, JobState::cancelled);
}

TEST_F(CoreTasks, StateAndAgeNarrowACancel) {
    const JobId old = submit(client);
    const JobId old_scheduled = submit(client, {.type = "t", .delay_ms = 1'000'000});
    advance(10'000);
    const JobId young = submit(client);
    start({.action = TaskAction::cancel, .state = JobState::queued, .older_than_ms = 5000});
    background();
    EXPECT_EQ(ended(old).state, JobState::cancelled);
    EXPECT_EQ(state(old_scheduled), JobState::scheduled);
    EXPECT_EQ(state(young), JobState::queued);
    start({.action = TaskAction::cancel, .newer_than_ms = 5000});
    background();
    EXPECT_EQ(ended(young).state, JobState::cancelled);
    EXPECT_EQ(state(old_scheduled), JobState::scheduled);
}

TEST_F(CoreTasks, RedrivesTheDeadByTheFingerprintOfTheirError) {
    kill_some(300, "cannot open /data/17.png: no such file");
    kill_some(3, "out of memory");
    const std::string print = fingerprint("t", "cannot open /data/99.png: no such file");
    const std::uint64_t counted = start({.action = TaskAction::redrive, .error = print, .count_only = true});
    background();
    EXPECT_EQ(task(counted)["done"], 300);
    EXPECT_EQ(disk[Table::dead].size(), 303U) << "nothing was changed";
    const std::uint64_t number = start({.action = TaskAction::redrive, .error = print});
    background();
    EXPECT_EQ(task(number)["done"], 300);
    EXPECT_EQ(disk[Table::dead].size(), 3U);
    EXPECT_EQ(core->counters().by_state[static_cast<std::size_t>(JobState::queued)], 300U);
}

TEST_F(CoreTasks, RedriveWhatIsStillOnItsWayToTheStore) {
    const FakeStore behind = disk;
    kill_some(3);
    const std::uint64_t number = start({.action = TaskAction::redrive});
    background(behind);
    EXPECT_EQ(task(number)["done"], 3);
    EXPECT_EQ(task(number)["refused"], 0);
}

TEST_F(CoreTasks, PurgesTheDeadAndAllThatIsTheirs) {
    kill_some(5);
    kill_some(1, "broken", {.type = "t", .key = "k"});
    const auto dead = list_all(client, {.state = JobState::dead});
    ASSERT_GE(dead.size(), 6U);
    StartTask one{.action = TaskAction::purge};
    one.jobs = {dead[1]};
    start(one);
    background();
    EXPECT_EQ(list_all(client, {.state = JobState::dead}).size(), dead.size() - 1);
    start({.action = TaskAction::purge, .reason = Reason::failed});
    background();
    EXPECT_TRUE(disk[Table::dead].empty());
    EXPECT_TRUE(disk[Table::buried].empty());
    EXPECT_EQ(ask(client, Cancel{{dead[0]}}).code, Code::retired);
}

TEST_F(CoreTasks, GoOnAfterARestartWhereTheyWere) {
    submit_some(1000);
    const std::uint64_t number = start({.action = TaskAction::cancel});
    const auto step = [&] {
        std::vector<Need> needs;
        while ((needs = core->agenda_needs(now())).empty()) advance(1);
        const Snapshot snapshot = disk.read(needs);
        run_step(needs, snapshot);
    };
    step();
    step();
    const auto before = task(number)["done"].get<int>();
    EXPECT_GT(before, 0);
    EXPECT_LT(before, 1000);
    crash_after_commit();
    client = submitter("again");
    EXPECT_EQ(task(number)["done"], before);
    background();
    EXPECT_EQ(task(number)["done"], 1000);
    EXPECT_EQ(task(number)["state"], "done");
    EXPECT_EQ(core->counters().by_state[static_cast<std::size_t>(JobState::queued)], 0U);
}

TEST_F(CoreTasks, AStartThatIsRepeatedNamesTheTaskThatItBegan) {
    submit_some(3);
    const StartTask what{.action = TaskAction::cancel, .nonce = 7};
    const std::uint64_t number = start(what);
    background();
    const JobId later = submit(client);
    EXPECT_EQ(start(what), number) << "it is done, and is not done again";
    crash_after_commit();
    client = submitter("again");
    EXPECT_EQ(start(what), number);
    background();
    EXPECT_EQ(state(later), JobState::queued);
    EXPECT_EQ(task(number)["done"], 3);
    StartTask one = what;
    for (one.nonce = 8; one.nonce < 8 + 16; ++one.nonce) EXPECT_EQ(start(one), number + one.nonce - 7);
    EXPECT_EQ(start(what), number) << "also where no more may run";
    EXPECT_EQ(refused(client, one)->code, Code::busy);
    background();
    one.nonce = 0;
    const std::uint64_t first = start(one);
    EXPECT_EQ(start(one), first + 1) << "who gives none means another one each time";
}

TEST_F(CoreTasks, AreStoppedAndWhatIsDoneStaysDone) {
    submit_some(1000);
    const std::uint64_t number = start({.action = TaskAction::cancel});
    EXPECT_EQ(ask(client, StopTask{number}).code, Code::ok);
    EXPECT_EQ(ask(client, StopTask{number}).code, Code::ended);
    EXPECT_EQ(ask(client, StopTask{99}).code, Code::unknown_task);
    background();
    EXPECT_EQ(core->counters().by_state[static_cast<std::size_t>(JobState::queued)], 1000U);
    EXPECT_EQ(task(number)["state"], "stopped");
    EXPECT_EQ(refused(client, ListTasks{99})->code, Code::unknown_task);
}

TEST_F(CoreTasks, ARedriveWaitsForRoomInTheQueue) {
    Limits limits;
    limits.queue_jobs = 2;
    with(limits);
    client = submitter();
    kill_some(4);
    const std::uint64_t number = start({.action = TaskAction::redrive});
    for (int i = 0; i < 1000; ++i) {  // it rests in between, but does not end
        const auto needs = core->agenda_needs(now());
        if (needs.empty()) {
            advance(1);
            continue;
        }
        run_step(needs, disk.read(needs));
    }
    EXPECT_EQ(task(number)["state"], "running");
    EXPECT_EQ(task(number)["done"], 2);
    const Peer w = worker({.slots = 2});
    for (int i = 0; i < 4; ++i) {
        for (const Held& held : take_all(w)) complete(w, held);
        for (int n = 0; n < 500; ++n) {
            advance(1);
            if (const auto needs = core->agenda_needs(now()); !needs.empty()) run_step(needs, disk.read(needs));
        }
    }
    for (const Held& held : take_all(w)) complete(w, held);
    EXPECT_EQ(task(number)["state"], "done");
    EXPECT_EQ(task(number)["done"], 4);
}

TEST_F(CoreTasks, WhatMakesNoSenseIsRefused) {
    const auto field = [&](const StartTask& what) { return std::string(refused(client, what)->field); };
    EXPECT_EQ(field({.action = static_cast<TaskAction>(9)}), "action");
    EXPECT_EQ(field({.action = TaskAction::cancel, .state = JobState::dead}), "state");
    EXPECT_EQ(field({.action = TaskAction::redrive, .state = JobState::queued}), "state");
    EXPECT_EQ(field({.action = TaskAction::cancel, .error = "x"}), "error");
    EXPECT_EQ(field({.action = TaskAction::purge, .queue = "\n"}), "queue");
    StartTask some{.action = TaskAction::cancel};
    some.jobs = {{1}};
    EXPECT_EQ(field(some), "jobs");
    submit_some(1);
    for (int i = 0; i < 16; ++i) start({.action = TaskAction::cancel});
    EXPECT_EQ(refused(client, StartTask{.action = TaskAction::cancel})->code, Code::busy);
}

TEST(Fingerprint, IsTheSameForErrorsThatDifferInNumbersNamesAndPaths) {
    EXPECT_EQ(error_shape("cannot open \"a b.txt\": errno 2"), "cannot open #: errno #");
    EXPECT_EQ(error_shape("no such file: /tmp/x1/y\nsecond line"), "no such file: #");
    EXPECT_EQ(error_shape("it's broken"), "it's broken");
    EXPECT_EQ(fingerprint("t", "timeout after 17 s"), fingerprint("t", "timeout after 4711 s"));
    EXPECT_NE(fingerprint("t", "timeout after 17 s"), fingerprint("u", "timeout after 17 s"));
    EXPECT_NE(fingerprint("t", "timeout"), fingerprint("t", "refused"));
    EXPECT_EQ(fingerprint("command", "exit status 3"), fingerprint("command", "exit status 5"));
}

}  // namespace
}  // namespace jobyard::broker::test
