#pragma once
// Reads rows on a thread of its own, so that a wait for the disk is never a wait of the server. Each question is
// answered from one read transaction, begun after it was asked: it sees every batch that the store had then, which
// may lack the newest durable ones (Found lays them over it). Answers come in the order of the questions.
//
// All functions are for the server's thread. It bounds what it asks: transactions are to last milliseconds, because an
// old one holds back the reuse of pages. Signals must be blocked before this is made: threads inherit the mask.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "fd.hpp"
#include "found.hpp"
#include "jobyard/result.hpp"
#include "store.hpp"

namespace jobyard::broker {

struct ReadAnswer {
    std::uint64_t ticket = 0;
    std::vector<Need> needs;  ///< as they were asked
    Snapshot snapshot;
};

class Reader {
 public:
    explicit Reader(Store& store);
    /// What has not been read by now is not answered.
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    void ask(std::uint64_t ticket, std::vector<Need> needs);
    /// Readable when there is something to take.
    [[nodiscard]] int fd() const { return done_.fd(); }
    /// Appends what has been answered. An error means that the store cannot be read: then the process must end, since a
    /// row that cannot be read must not pass for one that is not there.
    Result<void> take(std::vector<ReadAnswer>& answers);

 private:
    struct Question {
        std::uint64_t ticket;
        std::vector<Need> needs;
    };
    void run();

    Store& store_;
    Event done_;

    std::mutex mutex_;  ///< guards what follows
    std::condition_variable wake_;
    std::deque<Question> questions_;
    std::vector<ReadAnswer> answers_;
    std::optional<Error> error_;
    bool stopping_ = false;

    std::thread thread_;  ///< last: it uses all of the above
};

}  // namespace jobyard::broker
