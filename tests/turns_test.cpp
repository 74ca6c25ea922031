// Who takes a turn, in real threads at a socket that nobody answers.

#include "peer/turns.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <semaphore>
#include <thread>
#include <utility>
#include <vector>

namespace jobyard {
namespace {

using After = Turns::After;

void await(const std::function<bool()>& holds) {
    while (!holds()) std::this_thread::yield();
}

class TurnsTest : public testing::Test {
 protected:
    TurnsTest()
        : socket_(*PeerSocket::open({.endpoint = "ipc:///nonexistent/broker", .linger_ms = 0})),
          turns_(*socket_, [this] { return turn(); }) {}
    ~TurnsTest() override {
        if (!standing_.joinable()) return;
        from_now_on([] { return After{.ended = true}; });
        turns_.wake();
        standing_.join();
    }

    void start() {
        standing_ = std::thread([this] { turns_.run(); });
        await_asleep();
    }
    void await_asleep() {
        await([this] { return socket_->is_asleep(); });
    }
    /// False if the socket was not lent.
    bool lead(const std::function<bool()>& done) {
        bool led = false;
        turns_.lead([&] {
            led = true;
            return done();
        });
        return led;
    }
    /// Until the standing thread has lent the socket, and somebody has come and had nothing to wait for.
    void lend() {
        await([this] {  // again if this thread stood still until it was taken back
            next([] { return After{.lend = true}; });
            turns_.wake();
            return lead([] { return true; });
        });
        next(nullptr);
    }
    void next(std::function<After()> answer) {
        const std::lock_guard lock(mutex_);
        next_ = std::move(answer);
    }
    void from_now_on(std::function<After()> answer) {
        const std::lock_guard lock(mutex_);
        answer_ = std::move(answer);
    }
    [[nodiscard]] std::size_t taken() {
        const std::lock_guard lock(mutex_);
        return takers_.size();
    }
    [[nodiscard]] std::thread::id last_taker() {
        const std::lock_guard lock(mutex_);
        return takers_.back();
    }

    std::unique_ptr<PeerSocket> socket_;
    Turns turns_;
    std::thread standing_;

 private:
    After turn() {
        std::function<After()> answer;
        {
            const std::lock_guard lock(mutex_);
            takers_.push_back(std::this_thread::get_id());
            answer = next_ ? std::exchange(next_, nullptr) : answer_;
        }
        return answer();
    }
    std::mutex mutex_;
    std::vector<std::thread::id> takers_;
    std::function<After()> next_;
    std::function<After()> answer_ = [] { return After{}; };
};

TEST_F(TurnsTest, WhoHasSomethingToDoTakesTheTurnWhileTheStandingThreadSleeps) {
    start();
    const std::size_t before = taken();
    turns_.take();
    EXPECT_EQ(taken(), before + 1);
    EXPECT_EQ(last_taker(), std::this_thread::get_id());
    EXPECT_TRUE(socket_->is_asleep());
}

TEST_F(TurnsTest, WhileAnotherTakesATurnTakeOnlySaysThatThereIsMore) {
    std::binary_semaphore began{0};
    std::binary_semaphore goes_on{0};
    start();
    const std::size_t before = taken();
    next([&] {
        began.release();
        goes_on.acquire();
        return After{};
    });
    turns_.wake();
    began.acquire();
    turns_.take();
    EXPECT_EQ(taken(), before + 1);
    goes_on.release();
    await([&] { return taken() == before + 2; });
    EXPECT_EQ(last_taker(), standing_.get_id());
}

TEST_F(TurnsTest, WakeLeavesTheTurnToTheStandingThread) {
    start();
    const std::size_t before = taken();
    turns_.wake();
    await([&] { return taken() > before; });
    EXPECT_EQ(last_taker(), standing_.get_id());
}

TEST_F(TurnsTest, ATurnThatIsDueSoonerThanTheStandingThreadWakesEndsItsSleep) {
    start();
    const std::size_t before = taken();
    next([] { return After{.next_ms = steady_ms() + 1}; });
    turns_.take();
    await([&] { return taken() > before + 1; });
    EXPECT_EQ(last_taker(), standing_.get_id());
}

TEST_F(TurnsTest, ATurnThatLeftSomethingIsFollowedByAnother) {
    start();
    const std::size_t before = taken();
    next([] { return After{.again = true}; });
    turns_.take();
    await([&] { return taken() > before + 1; });
}

TEST_F(TurnsTest, NobodyLeadsUnlessTheSocketIsLent) {
    start();
    EXPECT_FALSE(lead([] { return true; }));
}

TEST_F(TurnsTest, TheLeaderTakesTheTurnsAtTheLentSocket) {
    start();
    for (bool led = false; !led;) {  // again if this thread stood still for so long that the socket was taken back
        lend();
        const std::size_t before = taken();
        lead([&] { return taken() > before; });
        led = taken() > before && last_taker() == std::this_thread::get_id();
    }
    await_asleep();  // that turn did not lend the socket again
}

TEST_F(TurnsTest, ASocketStaysLentWhileTurnsSaySo) {
    start();
    from_now_on([] { return After{.lend = true}; });
    lend();
    const std::size_t before = taken();
    await([&] { return lead([&] { return taken() > before; }) && taken() > before; });
    await([&] { return lead([] { return true; }); });
}

TEST_F(TurnsTest, ASocketForWhichNobodyComesIsTakenBack) {
    start();
    lend();
    await_asleep();
    const std::size_t before = taken();
    turns_.wake();
    await([&] { return taken() > before; });
    EXPECT_EQ(last_taker(), standing_.get_id());
}

TEST_F(TurnsTest, ALeaderWaitsOnlyForAMoment) {
    start();
    await([this] {
        lend();
        return lead([] { return false; });
    });
    EXPECT_FALSE(lead([] { return true; })) << "it gives the socket back";
    await_asleep();
}

TEST_F(TurnsTest, ALeadersTurnMayBeTheLast) {
    start();
    lend();
    from_now_on([] { return After{.ended = true}; });
    lead([] { return false; });
    standing_.join();
    const std::size_t before = taken();
    turns_.take();
    EXPECT_FALSE(lead([] { return false; }));
    EXPECT_EQ(taken(), before);
}

TEST_F(TurnsTest, RunReturnsOnlyWhenNobodyIsAtTheSocketAnyMore) {
    start();
    std::atomic<bool> leads{false};
    std::thread leader([&] {
        await([&] {
            lend();
            return lead([&] {
                leads = true;
                return false;
            });
        });
    });
    await([&] { return leads.load(); });
    from_now_on([] { return After{.ended = true}; });
    turns_.take();
    standing_.join();
    EXPECT_FALSE(socket_->is_asleep());
    leader.join();
}

}  // namespace
}  // namespace jobyard
