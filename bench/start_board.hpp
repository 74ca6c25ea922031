#pragma once
// Where handlers, which run in other processes of this machine, write when they began: memory that is shared because
// it was mapped before they were forked. A job's payload begins with its place on the board.

#include <cstdint>
#include <string>
#include <string_view>

namespace jobyard::bench {

class StartBoard {
 public:
    static constexpr std::size_t kLeastPayload = sizeof(std::uint64_t);

    /// Throws std::runtime_error.
    StartBoard();
    ~StartBoard();
    StartBoard(const StartBoard&) = delete;
    StartBoard& operator=(const StartBoard&) = delete;

    /// Of `size` bytes, at least kLeastPayload.
    static std::string payload(std::uint64_t job, std::size_t size);
    /// Called by the handler. Nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
    void began(std::string_view payload);
    /// 0 if it has not begun. Jobs a multiple of 2^24 apart share a place.
    [[nodiscard]] std::int64_t began_at(std::uint64_t job) const;

 private:
    std::int64_t* places_ = nullptr;
};

}  // namespace jobyard::bench
