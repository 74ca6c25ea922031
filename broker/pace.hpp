#pragma once
// When the busy clients' messages may be taken while small clients submit too (shares.hpp). After each turn, and after
// each commit of what the busy ones sent, the broker rests from them, in proportion to what that took. What is not
// taken they do not send: so neither the broker nor they fill the machine's cores or its disk, and who has one job
// finds them free, in the broker and at his own end. To serve him first is not enough: on a full machine he waits for
// the scheduler, and that much longer than for any turn.
//
// Pure; of one thread. Times are microseconds of any one clock.

#include <algorithm>
#include <cstdint>

namespace jobyard::broker {

class Pace {
 public:
    /// Of rest for each part of work: the busy ones get a sixth of the broker's time.
    static constexpr std::int64_t kRest = 5;
    /// However long others have kept the broker.
    static constexpr std::int64_t kLongestRestUs = 20'000;

    void worked(std::int64_t took, std::int64_t now) {
        due_ = std::min(std::max(due_, now) + took * kRest, now + kLongestRestUs);
    }
    /// When the rest is over.
    [[nodiscard]] std::int64_t due() const { return due_; }

 private:
    std::int64_t due_ = 0;
};

}  // namespace jobyard::broker
