// What becomes of a dead job that is edited before its redrive (PROTOCOL.md, section 6, Editing).

#include "core_fixture.hpp"

namespace jobyard::broker::test {
namespace {

struct CoreEdit : YardTest {
    Peer client = submitter();

    JobId die(const SubmitItem& item, std::string_view payload = {}, std::string_view result = {}) {
        const Peer w = worker({.name = "undertaker", .queues = {"default", "mail"}});
        const JobId job = submit(client, item, payload);
        EXPECT_EQ(fail(w, take(w), {.error = "broken", .result = result}), Code::ok);
        EXPECT_EQ(state(job), JobState::dead) << "it is to have one attempt";
        goodbye(w);
        return job;
    }
    Answer edit(const Edit& what) { return ask(client, what); }
    Answer edit_payload(JobId job, std::string_view payload) {
        return ask(client, Edit{{job}, static_cast<std::uint32_t>(payload.size()), true}, payload);
    }
    /// Its redrive, as a worker of all queues and of these types gets it.
    Held redriven(JobId job, std::vector<std::string> types = {"t"}) {
        EXPECT_EQ(redrive(client, job).code, Code::ok);
        const Peer w = worker({.name = "again", .queues = {"default", "mail"}, .types = std::move(types)});
        return take(w);
    }
    LiveRow buried(JobId job) {
        LiveRow row;
        EXPECT_TRUE(read_row(disk[Table::buried].at(job_key(job)), row));
        return row;
    }
};

TEST_F(CoreEdit, ChangesWhatItSaysAndKeepsTheRest) {
    const JobId job = die({.type = "t", .priority = 7, .timeout_ms = 4321, .max_attempts = 1}, "input", "half");
    const EndRow before = ended(job);
    ++wall_ms;
    EXPECT_EQ(edit({{job}, 0, false, "u", "mail", 9, {.max_attempts = 5, .backoff = {.initial_ms = 77}}}).code,
              Code::ok);
    const EndRow after = ended(job);
    EXPECT_EQ(after.type, "u");
    EXPECT_EQ(after.queue, "mail");
    EXPECT_EQ(after.priority, 9);
    EXPECT_EQ(after.max_attempts, 5U);
    EXPECT_EQ(after.timeout_ms, 4321U);
    EXPECT_EQ(after.edited_at, wall_ms);
    EXPECT_EQ(after.ended_at, before.ended_at);
    EXPECT_EQ(after.last.error, "broken");
    EXPECT_EQ(after.result, "half");
    EXPECT_EQ(buried(job).backoff.initial_ms, 77U);
    EXPECT_EQ(show(client, job)["edited_at"], wall_ms);
    const Held held = redriven(job, {"u"});
    EXPECT_EQ(held.job, job);
    EXPECT_EQ(held.payload, "input");
    EXPECT_EQ(held.queue, "mail");
    EXPECT_EQ(held.type, "u");
    EXPECT_EQ(held.item.priority, 9);
    EXPECT_EQ(held.item.timeout_ms, 4321U);
    EXPECT_EQ(held.item.max_attempts, 5U);
    EXPECT_EQ(held.attempt, 2U);
}

TEST_F(CoreEdit, APayloadMayGrowShrinkAndBeEmpty) {
    const JobId job = die({.type = "t", .max_attempts = 1}, "input");
    for (const std::size_t size : {5'000U, 9'999U, 3'000U, 10U, 0U, 4'000U}) {
        const std::string payload(size, static_cast<char>('a' + size % 26));
        EXPECT_EQ(edit_payload(job, payload).code, Code::ok);
        EXPECT_EQ(ended(job).payload_size, size);
        EXPECT_EQ(disk[Table::chunks].size(), ended(job).payload_chunks) << "none is left over";
    }
    EXPECT_EQ(redriven(job).payload, std::string(4'000, static_cast<char>('a' + 4'000 % 26)));
}

TEST_F(CoreEdit, TheNewestPayloadIsWhatIsHandedOutThoughNothingOfItIsInTheStoreYet) {
    const Peer w = worker();
    const JobId job = submit(client, {.type = "t", .max_attempts = 1}, "old");
    const Held first = take(w);
    hold_commits();
    send(w, Fail{{{0, job, first.token, 0, Outcome::failed, false, "broken"}}});
    answers(w);
    seal();
    send(client, Edit{{job}, 3, true}, "new");
    seal();
    send(client, Edit{{job}, 5, true}, "newer");
    send(client, Redrive{{job}});
    resume_commits();
    commit();
    for (int asked = 0; asked < 3; ++asked) EXPECT_EQ(answers(client).at(0).code, Code::ok);
    EXPECT_EQ(take(w).payload, "newer");
}

TEST_F(CoreEdit, SurvivesARestartWholeOrNotAtAll) {
    const JobId job = die({.type = "t", .max_attempts = 1}, "input");
    hold_commits();
    send(client, Edit{{job}, 3, true, "u"}, "new");
    crash();
    EXPECT_EQ(ended(job).type, "t");
    EXPECT_EQ(buried(job).payload, "input");
    resume_commits();
    client = submitter("again");
    EXPECT_EQ(ask(client, Edit{{job}, 3, true, "u"}, "new").code, Code::ok);
    crash_after_commit();
    client = submitter("and again");
    EXPECT_EQ(redriven(job, {"u"}).payload, "new");
    crash_after_commit();
    const Peer w = worker({.name = "third", .types = {"u"}});
    advance(config.timing.claim_window_ms);  // for the one that had it
    EXPECT_EQ(take(w).payload, "new");
}

TEST_F(CoreEdit, OnlyTheDeadCanBeEdited) {
    const Peer w = worker();
    const JobId completed = submit(client);
    complete(w, take(w));
    goodbye(w);
    const JobId queued = submit(client, {.type = "nobody serves this"});
    const Answer of_completed = edit({{completed}, 0, false, {}, {}, 9});
    EXPECT_EQ(of_completed.code, Code::not_dead);
    EXPECT_EQ(of_completed.state, JobState::completed);
    EXPECT_EQ(edit({{queued}, 0, false, {}, {}, 9}).code, Code::not_dead);
    EXPECT_EQ(edit({{{99}}, 0, false, {}, {}, 9}).code, Code::unknown_job);
    const JobId dead = die({.type = "t", .max_attempts = 1}, "input");
    send(client, Edit{{dead, queued}, 0, false, {}, {}, 9});
    const std::vector<Answer> both = answers(client);
    EXPECT_EQ(both.at(0).code, Code::ok) << "each job for itself";
    EXPECT_EQ(both.at(1).code, Code::not_dead);
    EXPECT_EQ(ended(dead).priority, 9);
}

TEST_F(CoreEdit, AJobWithAKeyStaysInItsQueueAndItsKeyNamesWhatWasSubmitted) {
    const SubmitItem item{.type = "t", .max_attempts = 1, .key = "k"};
    const JobId job = die(item, "input");
    const Answer moved = edit({{job}, 0, false, {}, "mail"});
    EXPECT_EQ(moved.code, Code::bad_field);
    EXPECT_EQ(moved.field, "queue");
    EXPECT_EQ(ended(job).queue, "default");
    EXPECT_EQ(edit_payload(job, "new").code, Code::ok);
    EXPECT_EQ(ask_submit(client, item, "input").code, Code::existing);
    EXPECT_EQ(redriven(job).payload, "new");
    EXPECT_EQ(ask_submit(client, item, "input").job, job);
    EXPECT_EQ(ask_submit(client, item, "new").code, Code::conflict);
}

TEST_F(CoreEdit, WhatMakesNoSenseIsRefusedAndChangesNothing) {
    const JobId job = die({.type = "t", .max_attempts = 1}, "input");
    const auto field = [&](const Edit& what, std::string_view payload = {}) {
        return std::string(refused(client, what, payload)->field);
    };
    EXPECT_EQ(field({{job}}), "new_payload") << "it says nothing";
    EXPECT_EQ(field({{job}, 3, false, "u"}, "new"), "new_payload");
    EXPECT_EQ(field({{job}, 0, false, "\n"}), "type");
    EXPECT_EQ(field({{job}, 0, false, {}, std::string(256, 'q')}), "queue");
    EXPECT_EQ(field({{job}, 0, false, {}, {}, 11}), "priority");
    EXPECT_EQ(field({{job}, 0, false, {}, {}, 0, {.max_attempts = 0}}), "max_attempts");
    EXPECT_EQ(field({{job}, 0, false, {}, {}, 0, {.max_attempts = kUnset}}), "max_attempts");
    const std::string large(config.limits.payload_bytes + 1, 'x');
    EXPECT_EQ(refused(client, Edit{{job}, static_cast<std::uint32_t>(large.size()), true}, large)->code,
              Code::too_large);
    const std::string payload(200'000, 'x');
    Edit many{{}, 200'000, true};
    many.jobs.assign(11, job);
    EXPECT_EQ(refused(client, many, payload)->code, Code::too_large) << "more than 2 MiB, once for each job";
    EXPECT_EQ(ended(job).edited_at, 0);
    EXPECT_EQ(buried(job).payload, "input");
}

TEST_F(CoreEdit, NewNamesAreBoundedHereAndAtTheRedrive) {
    const JobId job = die({.type = "t", .max_attempts = 1});
    const JobId other = die({.type = "t", .max_attempts = 1});
    config.limits.classes = 2;
    core->set_limits(config.limits);
    EXPECT_EQ(edit({{job}, 0, false, "u"}).code, Code::ok);
    EXPECT_EQ(edit({{other}, 0, false, "v"}).code, Code::ok) << "a name is taken by the redrive";
    EXPECT_EQ(redrive(client, job).code, Code::ok);
    EXPECT_EQ(redrive(client, other).code, Code::busy);
    EXPECT_EQ(edit({{other}, 0, false, "w"}).code, Code::busy);
    EXPECT_EQ(edit({{other}, 0, false, "u"}).code, Code::ok);
    EXPECT_EQ(redrive(client, other).code, Code::ok);
}

TEST_F(CoreEdit, IsRefusedWhileTheDiskIsNearlyFull) {
    const JobId job = die({.type = "t", .max_attempts = 1});
    core->set_free_disk(config.limits.submit_free_bytes - 1);
    EXPECT_EQ(edit_payload(job, "new").code, Code::disk_full);
    core->set_free_disk(config.limits.submit_free_bytes);
    EXPECT_EQ(edit_payload(job, "new").code, Code::ok);
}

TEST_F(CoreEdit, IsAnEventThatSaysWhat) {
    const JobId job = die({.type = "t", .max_attempts = 1});
    EXPECT_EQ(ask(client, Edit{{job}, 3, true, "u", {}, 0, {.timeout_ms = 5}}, "new").code, Code::ok);
    EventsRow last;
    ASSERT_TRUE(read_row(disk[Table::events].rbegin()->second, last));
    const EventsRow::Entry& entry = last.events.back();
    EXPECT_EQ(entry.kind, static_cast<std::uint8_t>(EventKind::changed));
    EXPECT_EQ(entry.job, job);
    EXPECT_EQ(last.subject_of(entry).text, "edited: payload, type, timeout");
    EXPECT_EQ(last.subject_of(entry).type, "u");
}

TEST_F(CoreEdit, WhatWasReadBeforeARedriveIsNotBelieved) {
    const JobId job = die({.type = "t", .max_attempts = 1}, "input");
    const auto waiting = arrive(client, Edit{{job}, 3, true}, "new");
    EXPECT_EQ(redrive(client, job).code, Code::ok);
    decide(waiting);
    EXPECT_EQ(only_answer(client).code, Code::not_dead);
    const Peer w = worker();
    EXPECT_EQ(take(w).payload, "input");
}

TEST_F(CoreEdit, NorIsWhatWasReadBeforeAPurge) {
    const JobId job = die({.type = "t", .max_attempts = 1}, std::string(5000, 'i'));
    const auto waiting = arrive(client, Edit{{job}, 3, true}, "new");
    EXPECT_EQ(ask(client, StartTask{.action = TaskAction::purge, .jobs = {job}}).code, Code::ok);
    background();
    decide(waiting);
    EXPECT_EQ(only_answer(client).code, Code::retired);
    EXPECT_TRUE(disk[Table::dead].empty() && disk[Table::buried].empty() && disk[Table::chunks].empty());
}

TEST_F(CoreEdit, AskedAgainAfterALostAnswerIsTheSame) {
    const JobId job = die({.type = "t", .max_attempts = 1}, "input");
    const std::string payload(5000, 'n');
    const Edit edit{{job}, 5000, true, "u", "mail"};
    send(client, edit, payload);
    crash_after_commit();
    client = submitter("anew");
    EXPECT_EQ(ask(client, edit, payload).code, Code::ok);
    EXPECT_EQ(disk[Table::chunks].size(), ended(job).payload_chunks);
    advance(config.timing.claim_window_ms);
    EXPECT_EQ(redriven(job, {"u"}).payload, payload);
    EXPECT_EQ(ask(client, edit, "other" + payload.substr(5)).code, Code::not_dead) << "nor does it reach a new round";
}

TEST_F(CoreEdit, LongerNamesPushPayloadAndResultOutOfTheirRows) {
    const std::string bytes(kRowBytes - 300, 'b');
    const JobId job = die({.type = "t", .max_attempts = 1}, bytes, bytes);
    EXPECT_EQ(ended(job).payload_chunks + ended(job).result_chunks, 0U);
    const std::string type(255, 't');
    EXPECT_EQ(edit({{job}, 0, false, type}).code, Code::ok);
    for (const Table table : {Table::dead, Table::buried})
        EXPECT_LE(disk[table].at(job_key(job)).size(), kRowBytes) << to_string(table);
    EXPECT_EQ(ended(job).payload_chunks, 1U);
    EXPECT_EQ(ended(job).result_chunks, 1U);
    EXPECT_EQ(edit({{job}, 0, false, "u"}).code, Code::ok);
    EXPECT_EQ(redriven(job, {"u"}).payload, bytes);
    EXPECT_TRUE(disk[Table::results].empty());
}

// --- the payload of a job, for whoever edits it ----------------------------------------------------------------------

TEST_F(CoreEdit, ThePayloadOfAJobThatIsUnendedOrDeadCanBeRead) {
    const auto payload = [&](JobId job) {
        send(client, Show{{job}, true});
        const auto jobs = expect<Jobs>(client);
        const auto map = nlohmann::json::from_msgpack(jobs.payloads.at(0));
        EXPECT_FALSE(map.contains("attempts"));
        if (!map.contains("payload")) return std::string("none");
        const auto& bytes = map["payload"].get_binary();
        return std::string(bytes.begin(), bytes.end());
    };
    const std::string large(10'000, 'l');
    const JobId dead = die({.type = "t", .max_attempts = 1}, large);
    EXPECT_EQ(payload(dead), large);
    EXPECT_EQ(payload(submit(client, {.type = "other"}, "small")), "small");
    EXPECT_EQ(payload(submit(client, {.type = "other"}, large)), large);
    EXPECT_EQ(edit_payload(dead, "").code, Code::ok);
    EXPECT_EQ(payload(dead), "");
    const Peer w = worker();
    const JobId completed = submit(client, {.type = "t"}, "input");
    complete(w, take(w));
    EXPECT_EQ(payload(completed), "none");
    EXPECT_EQ(refused(client, Show{{dead, completed}, true})->code, Code::too_large);
}

}  // namespace
}  // namespace jobyard::broker::test
