// What a client asks about events and workers, and what becomes of the answers.

#include <gtest/gtest.h>

#include "client/session.hpp"

namespace jobyard::client {
namespace {

struct ClientQuestions : testing::Test {
    ClientQuestions() { welcome(1); }
    void welcome(std::uint64_t session) {
        session_.on_connected(0);
        const OutgoingMessage hello = next();
        Welcome message;
        message.max_payload = 1000;
        session_.on_message({{session}, hello.envelope.request, message}, {}, 0);
        current_ = {session};
    }
    OutgoingMessage next() {
        OutgoingMessage message;
        EXPECT_TRUE(session_.next_message(message, 0));
        return message;
    }
    template <class M>
    M ask(Question question) {
        session_.ask(7, std::move(question), 1000);
        const OutgoingMessage message = next();
        request_ = message.envelope.request;
        const M* asked = std::get_if<M>(&message.envelope.message);
        EXPECT_NE(asked, nullptr);
        return asked == nullptr ? M{} : *asked;
    }
    void answer(const Message& message, std::string_view payload = {}) {
        session_.on_message({current_, request_, message}, payload, 0);
    }
    template <class C>
    C only() {
        EXPECT_EQ(session_.completions().size(), 1U);
        const C* completion = session_.completions().empty() ? nullptr : std::get_if<C>(&session_.completions()[0]);
        EXPECT_NE(completion, nullptr);
        C taken = completion == nullptr ? C{} : *completion;
        session_.completions().clear();
        return taken;
    }

    Session session_{{.new_instance = [] { return uuid_from_bytes("0123456789abcdef"); }, .software = "test"}, 0};
    SessionId current_;
    RequestId request_;
};

TEST_F(ClientQuestions, EventsAreAskedForAsWantedAndComeWithWhereTheyGoOn) {
    const auto asked = ask<ReadEvents>(EventsQuestion{5, 10, 2'000, "q", "t", {9}, {EventKind::dead}});
    EXPECT_EQ(asked.after, 5U);
    EXPECT_EQ(asked.limit, 10U);
    EXPECT_EQ(asked.wait_ms, 2'000U);
    EXPECT_EQ(asked.job, JobId{9});
    EXPECT_EQ(asked.kinds, std::vector<EventKind>{EventKind::dead});
    answer(Events{20, 8, true, {{2}, {3}}}, "aabbb");
    const Found found = only<Found>();
    EXPECT_EQ(found.ticket, 7U);
    EXPECT_EQ(found.next_cursor, 20U);
    EXPECT_EQ(found.gone, 8U);
    EXPECT_TRUE(found.more);
    EXPECT_EQ(found.maps, (std::vector<std::string_view>{"aa", "bbb"}));
}

TEST_F(ClientQuestions, AQuestionThatWaitsIsAskedAgainInTheNextSession) {
    ask<ReadEvents>(EventsQuestion{5, 10, 20'000, {}, {}, {}, {}});
    session_.on_disconnected();
    welcome(2);
    const OutgoingMessage again = next();
    ASSERT_TRUE(std::holds_alternative<ReadEvents>(again.envelope.message));
    EXPECT_EQ(std::get<ReadEvents>(again.envelope.message).after, 5U);
    request_ = again.envelope.request;
    answer(Events{6, 0, false, {{1}}}, "x");
    EXPECT_EQ(only<Found>().next_cursor, 6U);
}

TEST_F(ClientQuestions, AnEditIsAskedAgainWithItsPayload) {
    const auto payload = std::make_shared<const std::string>("new");
    ask<Edit>(MessageQuestion{Edit{{{9}}, 3, true}, payload, *payload});
    session_.on_disconnected();
    welcome(2);
    const OutgoingMessage again = next();
    const auto* edit = std::get_if<Edit>(&again.envelope.message);
    ASSERT_NE(edit, nullptr);
    EXPECT_EQ(edit->jobs, std::vector<JobId>{{9}});
    ASSERT_EQ(again.payload.size(), 1U);
    EXPECT_EQ(again.payload[0].bytes, "new");
    request_ = again.envelope.request;
    answer(Answers{{{Code::not_dead, {9}}}});
    EXPECT_EQ(only<AnsweredAll>().items.at(0).code, Code::not_dead);
}

TEST_F(ClientQuestions, WorkersComeInPagesWithATextForTheNext) {
    EXPECT_EQ(ask<ListWorkers>(WorkersQuestion{"3", 50, "name"}).cursor, "3");
    answer(Maps{"17", {{1}}}, "m");
    EXPECT_EQ(only<Found>().next, "17");
}

TEST_F(ClientQuestions, SteeringSaysHowManyOrWhyNot) {
    EXPECT_EQ(ask<SteerWorker>(SteerQuestion{"w", WorkerAction::resume}).action, WorkerAction::resume);
    answer(Answers{{{Code::ok, {}}, {Code::ok, {}}, {Code::ok, {}}}});
    EXPECT_EQ(only<Answered>().count, 3U);
    ask<SteerWorker>(SteerQuestion{"w", WorkerAction::drain});
    answer(Answers{{{Code::unknown_worker, {}, {}, "nobody here"}}});
    const Failed failed = only<Failed>();
    EXPECT_EQ(failed.error.code, Code::unknown_worker);
    EXPECT_EQ(failed.error.text, "nobody here");
}

}  // namespace
}  // namespace jobyard::client
