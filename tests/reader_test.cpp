#include "reader.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include "record.hpp"
#include "temporary_directory.hpp"

namespace jobyard::broker {
namespace {

struct ReaderTest : testing::Test {
    test::TemporaryDirectory directory;
    std::unique_ptr<Store> store;

    void SetUp() override {
        auto opened = Store::open({directory / "store", std::uint64_t{1} << 30});
        ASSERT_TRUE(opened) << opened.error().text;
        store = std::move(*opened);
    }
    void put(std::uint64_t seq, const std::string& value) {
        Batch batch;
        batch.seq = seq;
        batch.put(Table::done, "key", value);
        batch.put(Table::meta, kMetaApplied, big_endian(seq));
        ASSERT_TRUE(store->apply(batch));
    }
    static std::vector<ReadAnswer> take(Reader& reader, std::size_t count) {
        std::vector<ReadAnswer> answers;
        while (answers.size() < count) {
            pollfd item{reader.fd(), POLLIN, 0};
            if (::poll(&item, 1, 10'000) != 1) {
                ADD_FAILURE() << "no answer";
                break;
            }
            EXPECT_TRUE(reader.take(answers));
        }
        return answers;
    }
};

const Need kNeed{Need::Kind::row, Table::done, "key"};

TEST_F(ReaderTest, AnswersEveryQuestionInOrderWithItsNeeds) {
    put(1, "value");
    Reader reader(*store);
    constexpr std::uint64_t kQuestions = 2000;
    for (std::uint64_t ticket = 0; ticket < kQuestions; ++ticket)
        reader.ask(ticket, {{Need::Kind::row, Table::done, "absent"}, kNeed});
    const auto answers = take(reader, kQuestions);
    ASSERT_EQ(answers.size(), kQuestions);
    for (std::uint64_t ticket = 0; ticket < kQuestions; ++ticket) {
        const ReadAnswer& answer = answers[ticket];
        ASSERT_EQ(answer.ticket, ticket);
        ASSERT_EQ(answer.needs.size(), 2U);
        ASSERT_EQ(answer.snapshot.applied_seq, 1U);
        ASSERT_TRUE(answer.snapshot.rows.at(0).empty());
        ASSERT_EQ((*answer.snapshot.rows.at(1).begin()).value, "value");
    }
}

TEST_F(ReaderTest, AnAnswerSeesEveryBatchThatWasDurableWhenItWasAsked) {
    Reader reader(*store);
    std::vector<ReadAnswer> answers;
    for (std::uint64_t seq = 1; seq <= 100; ++seq) {
        put(seq, std::to_string(seq));
        reader.ask(seq, {kNeed});
    }
    for (const ReadAnswer& answer : take(reader, 100)) EXPECT_GE(answer.snapshot.applied_seq, answer.ticket);
}

TEST_F(ReaderTest, StopsWithQuestionsLeft) {
    Reader reader(*store);
    for (std::uint64_t ticket = 0; ticket < 1000; ++ticket) reader.ask(ticket, {kNeed});
}

}  // namespace
}  // namespace jobyard::broker
