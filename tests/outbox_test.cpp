// The batches in hand, and what leaves with their payloads.

#include "outbox.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "record.hpp"

namespace jobyard::broker {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Batches make_batches(std::size_t kept = 2) { return {10, JobId{100}, {SIZE_MAX, kept}}; }

/// Puts a job's payload into the open batch.
void submit(Batches& batches, JobId job, std::string_view payload) {
    batches.open().note_payload(job, batches.open().append(payload));
}
/// Gives a dead job another payload in the open batch.
void edit(Batches& batches, JobId job, std::string_view payload) {
    batches.open().note_edit(job, batches.open().append(payload));
}
std::uint64_t commit(Batches& batches, JobId next_job) {
    batches.hand_over(next_job);
    return batches.land().seq;
}
PayloadRef of_job(std::uint64_t job, std::size_t size) {
    return {PayloadRef::Kind::of_job, job, {0, static_cast<std::uint32_t>(size)}};
}
std::vector<std::uint64_t> numbers(const std::vector<const Batch*>& batches) {
    std::vector<std::uint64_t> all;
    all.reserve(batches.size());
    for (const Batch* batch : batches) all.push_back(batch->seq);
    return all;
}

TEST(Batches, GoFromOpenThroughFlightToDurable) {
    Batches batches = make_batches();
    EXPECT_EQ(batches.open().seq, 11U);
    const Batch& sealed = batches.hand_over({100});
    EXPECT_EQ(sealed.seq, 11U);
    EXPECT_EQ(batches.in_flight(), &sealed);
    EXPECT_EQ(batches.open().seq, 12U);
    EXPECT_EQ(batches.durable(), 10U);
    EXPECT_EQ(&batches.land(), &sealed) << "the committer and the applier know where it stands";
    EXPECT_EQ(batches.durable(), 11U);
    EXPECT_EQ(batches.in_flight(), nullptr);
}

TEST(Batches, AreKeptUntilTheStoreHasThemAndNobodyReadsAnOlderOne) {
    Batches batches = make_batches(0);
    for (int i = 0; i < 5; ++i) commit(batches, {100});
    batches.trim(15);
    EXPECT_THAT(numbers(batches.after(10)), ElementsAre(11, 12, 13, 14, 15, 16)) << "the store has none of them";
    batches.set_applied(14);
    batches.trim(12);
    EXPECT_THAT(numbers(batches.after(12)), ElementsAre(13, 14, 15, 16)) << "a read may see the store as of 12";
    batches.trim(14);
    EXPECT_THAT(numbers(batches.after(14)), ElementsAre(15, 16));
    EXPECT_THAT(numbers(batches.after(15)), ElementsAre(16));
    batches.hand_over({100});
    EXPECT_THAT(numbers(batches.after(15)), ElementsAre(16, 17));
}

TEST(Batches, FindPayloadsWhereverTheyStand) {
    Batches batches = make_batches(100);
    submit(batches, {100}, "first");
    submit(batches, {102}, "third");  // 101 was refused
    const std::uint64_t first = commit(batches, {103});
    commit(batches, {103});  // without a submit
    submit(batches, {103}, "fourth");
    commit(batches, {104});
    KeptBytes found;
    EXPECT_TRUE(batches.find(of_job(100, 5), found));
    EXPECT_EQ(found.bytes, "first");
    EXPECT_TRUE(batches.find(of_job(102, 5), found));
    EXPECT_EQ(found.bytes, "third");
    EXPECT_TRUE(batches.find(of_job(103, 6), found));
    EXPECT_EQ(found.bytes, "fourth");
    EXPECT_FALSE(batches.find(of_job(99, 5), found));
    EXPECT_FALSE(batches.find(of_job(101, 5), found));
    EXPECT_TRUE(batches.find(of_job(7, 0), found)) << "nothing is never far";
    EXPECT_TRUE(batches.find({PayloadRef::Kind::in_batch, first, {0, 2}}, found));
    EXPECT_EQ(found.bytes, "fi");
    EXPECT_FALSE(batches.find({PayloadRef::Kind::result_of, 100, {0, 5}}, found));
}

TEST(Batches, ThePayloadOfADurableEditTakesThePlaceOfTheOneThatWasSubmittedAsLongAsItIsInHand) {
    Batches batches = make_batches(2);
    submit(batches, {100}, "old");
    submit(batches, {101}, "other");
    commit(batches, {102});
    edit(batches, {100}, "new");
    KeptBytes found;
    EXPECT_TRUE(batches.find(of_job(100, 3), found));
    EXPECT_EQ(found.bytes, "old") << "the edit is in the open batch";
    batches.hand_over({102});
    EXPECT_TRUE(batches.find(of_job(100, 3), found));
    EXPECT_EQ(found.bytes, "old") << "it is in flight";
    batches.land();
    EXPECT_TRUE(batches.find(of_job(100, 3), found));
    EXPECT_EQ(found.bytes, "new");
    edit(batches, {100}, "newer");
    commit(batches, {102});
    EXPECT_TRUE(batches.find(of_job(100, 5), found));
    EXPECT_EQ(found.bytes, "newer");
    EXPECT_FALSE(batches.find(of_job(100, 3), found)) << "whoever means the one before looks in the store";
    EXPECT_TRUE(batches.find(of_job(101, 5), found));
    EXPECT_EQ(found.bytes, "other");
    batches.set_applied(13);
    commit(batches, {102});
    commit(batches, {102});
    batches.trim(13);
    EXPECT_FALSE(batches.find(of_job(100, 5), found)) << "the store has it by now";
}

TEST(Batches, KnowTheNewestResult) {
    Batches batches = make_batches(100);
    EndRow ended;
    ended.result = "new";
    ended.result_size = 3;
    Batch& open = batches.open();
    const Slice key = open.append(job_key({50}));
    open.put(Table::done, key, append_row(open, ended));
    std::string bytes;
    EXPECT_FALSE(batches.append_result({50}, 10, bytes)) << "not durable";
    const std::uint64_t seq = commit(batches, {100});
    EXPECT_TRUE(batches.append_result({50}, seq - 1, bytes));
    EXPECT_EQ(std::exchange(bytes, {}), "new");
    batches.open().erase(Table::done, job_key({50}));
    EXPECT_TRUE(batches.append_result({50}, seq - 1, bytes)) << "that it goes is not durable";
    EXPECT_EQ(bytes, "new");
    EXPECT_FALSE(batches.append_result({50}, seq, bytes)) << "the store has it";
    EXPECT_FALSE(batches.append_result({51}, seq - 1, bytes));
}

struct OutboxTest : testing::Test, Outbox::Edge {
    Batches batches = make_batches(0);
    Outbox outbox{batches, *this};
    std::vector<std::string> sent;  // "peer:payload"
    std::vector<std::uint64_t> reads;
    std::vector<std::uint64_t> lost;
    std::uint64_t results_lost = 0;

    void send(const Outgoing& message, const std::vector<KeptBytes>& payload) override {
        std::string text = std::to_string(message.peer.value) + ":";
        if (const auto* results = std::get_if<Results>(&message.envelope.message))
            for (const ResultItem& item : results->items) text += std::string(to_string(item.state)) + ":";
        if (const auto* dispatch = std::get_if<Dispatch>(&message.envelope.message))
            text += std::to_string(dispatch->items.size()) + ":";
        for (const KeptBytes& piece : payload) text += piece.bytes;
        sent.push_back(text);
    }
    std::uint64_t read(PeerId peer, std::vector<Need> needs) override {
        reads.push_back(peer.value);
        asked = std::move(needs);
        return reads.size();
    }
    void payload_is_gone(JobId job, LeaseToken) override { lost.push_back(job.value); }
    void result_is_gone(PeerId, SessionId, std::uint64_t bytes) override { results_lost += bytes; }
    std::vector<Need> asked;

    void post(std::uint32_t peer, std::uint64_t rests_on, std::vector<PayloadRef> payloads = {}) {
        Output out{&batches.open(), {}};
        Outgoing& message = out.messages.emplace_back();
        message.peer = {peer};
        message.rests_on = rests_on;
        message.to_worker = true;
        Dispatch dispatch;
        for (const PayloadRef& payload : payloads) {
            DispatchItem item;
            item.job = {payload.number};
            item.payload_length = payload.slice.size;
            dispatch.items.push_back(item);
        }
        message.envelope.message = std::move(dispatch);
        message.payloads = std::move(payloads);
        outbox.post(out);
    }
    /// Tells the peer that these jobs have completed.
    void post_results(std::uint32_t peer, std::uint64_t rests_on, std::vector<PayloadRef> payloads) {
        Output out{&batches.open(), {}};
        Outgoing& message = out.messages.emplace_back();
        message.peer = {peer};
        message.rests_on = rests_on;
        Results results;
        for (const PayloadRef& payload : payloads) {
            ResultItem item;
            item.job = {payload.number};
            item.state = JobState::completed;
            item.payload_length = payload.slice.size;
            results.items.push_back(item);
        }
        message.envelope.message = std::move(results);
        message.payloads = std::move(payloads);
        outbox.post(out);
    }
    /// Writes the end of a job into the open batch; returns where its result stands.
    PayloadRef end(JobId job, std::string_view result) {
        EndRow ended;
        ended.result = result;
        ended.result_size = static_cast<std::uint32_t>(result.size());
        Batch& open = batches.open();
        const Slice key = open.append(job_key(job));
        const Slice row = append_row(open, ended);
        open.put(Table::done, key, row);
        return {PayloadRef::Kind::in_batch, open.seq, {row.at + row.size - ended.result_size, ended.result_size}};
    }
    /// To the last read, or to an earlier one.
    void answer(std::uint32_t peer, std::uint64_t applied, const std::vector<std::string>& found,
                std::uint64_t read = 0) {
        Snapshot snapshot{applied, {}};
        for (const std::string& bytes : found) {
            RowList& rows = snapshot.rows.emplace_back();
            if (!bytes.empty()) rows.push_back({"key", bytes});
        }
        outbox.answered({peer}, read == 0 ? reads.size() : read, snapshot);
    }
    void become_durable(JobId next_job = {100}) {
        commit(batches, next_job);
        outbox.on_durable();
    }
    void store_has(std::uint64_t seq) {
        batches.set_applied(seq);
        batches.trim(seq);
        outbox.on_applied();
    }
    std::vector<std::string> taken() { return std::exchange(sent, {}); }
};

TEST_F(OutboxTest, NothingLeavesBeforeWhatItRestsOnIsDurable) {
    post(1, 10);
    EXPECT_THAT(taken(), ElementsAre("1:0:")) << "durable long ago";
    post(1, 11);
    batches.hand_over({100});
    post(2, 12);
    EXPECT_THAT(taken(), IsEmpty());
    batches.land();
    outbox.on_durable();
    EXPECT_THAT(taken(), ElementsAre("1:0:"));
    EXPECT_FALSE(outbox.nothing_rests());
    become_durable();
    EXPECT_THAT(taken(), ElementsAre("2:0:"));
    EXPECT_TRUE(outbox.nothing_rests());
}

TEST_F(OutboxTest, OfOneBatchWorkersAreToldLast) {
    post(1, 11);
    post_results(2, 11, {});
    post(3, 11);
    post_results(4, 11, {});
    become_durable();
    EXPECT_THAT(taken(), ElementsAre("2:", "4:", "1:0:", "3:0:"));
}

TEST_F(OutboxTest, PayloadsInHandGoAtOnce) {
    submit(batches, {100}, "one");
    submit(batches, {101}, "two");
    post(1, 11, {of_job(101, 3), of_job(100, 3)});
    become_durable({102});
    EXPECT_THAT(taken(), ElementsAre("1:2:twoone"));
    EXPECT_THAT(reads, IsEmpty());
}

TEST_F(OutboxTest, APeersMessagesWaitInOrderForAPayloadThatIsReadAndNobodyElses) {
    post(1, 10, {of_job(5, 4)});
    post(1, 10);
    post(2, 10);
    EXPECT_THAT(taken(), ElementsAre("2:0:"));
    EXPECT_THAT(reads, ElementsAre(1));
    ASSERT_EQ(asked.size(), 1U);
    EXPECT_EQ(asked[0].kind, Need::Kind::payload);
    EXPECT_EQ(asked[0].key, job_key({5}));
    answer(1, 10, {"five"});
    EXPECT_THAT(taken(), ElementsAre("1:1:five", "1:0:"));
}

TEST_F(OutboxTest, WhatIsInHandIsKeptWhileTheRestIsRead) {
    submit(batches, {100}, "new");
    become_durable({101});
    post(1, 11, {of_job(5, 4), of_job(100, 3)});
    EXPECT_THAT(reads, ElementsAre(1));
    store_has(11);  // the batch is let go
    answer(1, 11, {"five"});
    EXPECT_THAT(taken(), ElementsAre("1:2:fivenew"));
}

TEST_F(OutboxTest, AJobThatEndedMeanwhileIsLeftOut) {
    post(1, 10, {of_job(5, 4), of_job(6, 3)});
    answer(1, 10, {"", "six"});
    EXPECT_THAT(taken(), ElementsAre("1:1:six"));
    EXPECT_THAT(lost, ElementsAre(5));
}

// Of a dispatch that waits for a commit, or behind others: by its turn a job may have passed its deadline and be
// edited.
TEST_F(OutboxTest, AJobThatDiedAndWasEditedBeforeItsDispatchLeftIsSentAsItWas) {
    submit(batches, {100}, "old");
    submit(batches, {101}, "other");
    post(1, 11, {of_job(100, 3), of_job(101, 5)});
    batches.hand_over({102});
    edit(batches, {100}, "longer");
    batches.land();
    outbox.on_durable();
    EXPECT_THAT(taken(), ElementsAre("1:2:oldother"));
}

TEST_F(OutboxTest, AJobWhoseEditIsDurableBeforeItsDispatchLeftIsLeftOut) {
    submit(batches, {100}, "old");
    submit(batches, {101}, "other");
    become_durable({102});
    post(1, 11, {of_job(5, 4)});
    post(1, 11, {of_job(100, 3), of_job(101, 5)});  // behind it
    edit(batches, {100}, "longer");
    become_durable({102});
    answer(1, 12, {"five"});
    EXPECT_THAT(taken(), ElementsAre("1:1:five"));
    ASSERT_THAT(reads, ElementsAre(1, 1));
    EXPECT_EQ(asked.at(0).key, job_key({100}));
    answer(1, 12, {""});  // it is buried
    EXPECT_THAT(taken(), ElementsAre("1:1:other"));
    EXPECT_THAT(lost, ElementsAre(100));
}

TEST_F(OutboxTest, AJobWhoseEditIsDurableIsLeftOutAlsoWhenTheRestOfItsListIsRead) {
    submit(batches, {100}, "old");
    become_durable({101});
    edit(batches, {100}, "longer");
    become_durable({101});
    post(1, 12, {of_job(100, 3), of_job(5, 4)});
    answer(1, 12, {"", "five"});
    EXPECT_THAT(taken(), ElementsAre("1:1:five"));
    EXPECT_THAT(lost, ElementsAre(100));
}

TEST_F(OutboxTest, APayloadThatTheStoreDoesNotHaveYetIsReadAgainWhenItHas) {
    become_durable();  // 11, in which the job came back from the dead letter queue
    post(1, 11, {of_job(5, 4)});
    answer(1, 10, {""});
    EXPECT_THAT(reads, ElementsAre(1));
    EXPECT_THAT(taken(), IsEmpty());
    store_has(11);
    EXPECT_THAT(reads, ElementsAre(1, 1));
    answer(1, 11, {"five"});
    EXPECT_THAT(taken(), ElementsAre("1:1:five"));
    EXPECT_THAT(lost, IsEmpty());
}

TEST_F(OutboxTest, AnAnswerFromBeforeTheStoreWentOnIsAskedForAgainAtOnce) {
    become_durable();
    post(1, 11, {of_job(5, 4)});
    store_has(11);
    answer(1, 10, {""});
    EXPECT_THAT(reads, ElementsAre(1, 1));
    answer(1, 11, {"five"});
    EXPECT_THAT(taken(), ElementsAre("1:1:five"));
}

TEST_F(OutboxTest, AResultThatTheStoreDoesNotHaveYetIsInHand) {
    end({5}, "result");
    become_durable();
    post_results(1, 11, {{PayloadRef::Kind::result_of, 5, {0, 6}}});
    answer(1, 10, {""});
    EXPECT_THAT(taken(), ElementsAre("1:completed:result"));
    EXPECT_EQ(results_lost, 0U);
}

TEST_F(OutboxTest, WhoeverWaitsForAResultThatIsGoneIsToldThatItIsRetired) {
    post_results(1, 10, {{PayloadRef::Kind::result_of, 5, {0, 6}}});
    answer(1, 10, {""});
    EXPECT_THAT(taken(), ElementsAre("1:retired:"));
    EXPECT_EQ(results_lost, 6U);
}

TEST_F(OutboxTest, AResultThatRetentionIsAboutToRemoveIsNotGone) {
    post_results(1, 10, {{PayloadRef::Kind::result_of, 5, {0, 6}}});
    batches.open().erase(Table::done, job_key({5}));
    answer(1, 10, {"result"});
    EXPECT_THAT(taken(), ElementsAre("1:completed:result"));
}

TEST_F(OutboxTest, AResultOfABatchInHandIsKeptWhileItsMessageIsBehindAnother) {
    post(1, 10, {of_job(5, 4)});
    const PayloadRef result = end({6}, "result");
    post_results(1, 11, {result});
    become_durable();
    store_has(11);  // the batch is let go
    answer(1, 11, {"five"});
    EXPECT_THAT(taken(), ElementsAre("1:1:five", "1:completed:result"));
}

TEST_F(OutboxTest, ForAPeerThatIsGoneNothingIsHeld) {
    post(1, 10, {of_job(5, 4)});
    outbox.drop({1});
    answer(1, 10, {"five"});
    EXPECT_THAT(taken(), IsEmpty());
    post(1, 10);
    EXPECT_THAT(taken(), ElementsAre("1:0:"));
}

TEST_F(OutboxTest, AnAnswerToWhatWasHeldBeforeIsNotTakenForAnothersPayload) {
    post(1, 10, {of_job(5, 4)});
    outbox.drop({1});
    post(1, 10, {of_job(6, 3)});
    answer(1, 10, {"five"}, 1);
    EXPECT_THAT(taken(), IsEmpty());
    answer(1, 10, {"six"}, 2);
    EXPECT_THAT(taken(), ElementsAre("1:1:six"));
}

}  // namespace
}  // namespace jobyard::broker
