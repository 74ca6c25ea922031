// Whose turn it is when there is more than fits into a batch.

#include "backlog.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace jobyard::broker {
namespace {

struct Kept : Inbox::Frames {
    int detached = 0;
    void detach(Inbox::Message&) override { ++detached; }
};

struct BacklogTest : testing::Test {
    Backlog backlog{100};
    std::shared_ptr<Kept> frames = std::make_shared<Kept>();
    std::uint64_t last = 0;

    void push(std::uint32_t peer, std::size_t bytes = 1) {
        Inbox::Message message;
        message.envelope.request = {++last};
        message.frames = frames;
        message.bytes = bytes;
        backlog.push({peer}, std::move(message));
    }
    std::vector<std::uint64_t> pop_all() {
        std::vector<std::uint64_t> order;
        while (!backlog.empty()) order.push_back(backlog.pop().second.envelope.request.value);
        return order;
    }
};

TEST_F(BacklogTest, PeersTakeTurnsAndEachKeepsItsOrder) {
    for (int i = 0; i < 4; ++i) push(1);  // 1 to 4
    push(2);                              // 5
    push(3);                              // 6
    push(2);                              // 7
    EXPECT_EQ(pop_all(), (std::vector<std::uint64_t>{1, 5, 6, 2, 7, 3, 4}));
}

TEST_F(BacklogTest, WhoHasNothingThereFindsRoomWhenAnotherHasFilledHisHalf) {
    push(1, 50);
    EXPECT_FALSE(backlog.has_room({1}, 1));
    EXPECT_TRUE(backlog.has_room({2}, 50));
    EXPECT_FALSE(backlog.has_room({2}, 51));
    static_cast<void>(backlog.pop());
    EXPECT_TRUE(backlog.has_room({1}, 100));
}

TEST_F(BacklogTest, WhoIsGoneIsForgotten) {
    push(1, 50);
    push(2);
    backlog.drop({1});
    EXPECT_TRUE(backlog.has_room({3}, 99));
    EXPECT_EQ(pop_all(), (std::vector<std::uint64_t>{2}));
    backlog.drop({1});
}

TEST_F(BacklogTest, WhatStaysIsKeptOnce) {
    push(1);
    push(1);
    EXPECT_EQ(backlog.keep(), 2U);
    push(1);
    EXPECT_EQ(backlog.keep(), 1U);
    EXPECT_EQ(backlog.keep(), 0U);
    EXPECT_EQ(frames->detached, 3);
}

}  // namespace
}  // namespace jobyard::broker
