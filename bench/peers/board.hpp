#pragma once
// What the processes of one measurement tell each other without a system call: a small file all of them map. The Node
// script of BullMQ reads and writes the same file at the offsets given here (bullmq.mjs), so the layout is fixed.

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace jobyard::bench {

/// Nanoseconds of the monotonic clock, which all processes of a machine share.
inline std::uint64_t now_ns() {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
            .count());
}

/// One process' line of the board. Written by that process only, but for `go`.
struct Slot {
    std::atomic<std::uint64_t> ready;   ///< 1: connected, waiting for `go` (a submitter) or for jobs (a worker)
    std::atomic<std::uint64_t> go;      ///< 1: begin
    std::atomic<std::uint64_t> done;    ///< a worker's: jobs taken and acknowledged; a submitter's: 1 when finished
    std::atomic<std::uint64_t> at;      ///< a worker's: when it took the latest job
    std::atomic<std::uint64_t> began;   ///< a submitter's: before the first submit
    std::atomic<std::uint64_t> acked;   ///< when the last submit was acknowledged
    std::atomic<std::uint64_t> ended;   ///< when it had the last result; 0: this system sends none
    std::atomic<std::uint64_t> cpu_us;  ///< its user and system time from `began` to `ended`
    char error[448];                    ///< why it gave up, ends with a zero byte
};
static_assert(sizeof(Slot) == 512 && sizeof(std::atomic<std::uint64_t>) == 8);

inline constexpr unsigned kWorkers = 2;
inline constexpr unsigned kSubmitter = kWorkers;  ///< its slot comes after those of the workers
inline constexpr std::size_t kMaxLatencies = 8192;

struct BoardPage {
    Slot slots[kWorkers + 1];
    std::uint64_t acked_ns[kMaxLatencies];  ///< one job at a time: until its submit was acknowledged
    std::uint64_t ended_ns[kMaxLatencies];  ///< until its result was there, or until a worker had it
};

class Board {
 public:
    /// Makes the file; removed with the directory it is in. Throws std::runtime_error.
    explicit Board(const std::string& directory);
    ~Board();
    Board(const Board&) = delete;
    Board& operator=(const Board&) = delete;

    BoardPage* operator->() const { return page_; }
    [[nodiscard]] Slot& submitter() const { return page_->slots[kSubmitter]; }
    [[nodiscard]] const std::string& path() const { return path_; }
    /// By all workers together.
    [[nodiscard]] std::uint64_t done() const;
    /// When a worker took the latest job of all.
    [[nodiscard]] std::uint64_t latest() const;

 private:
    std::string path_;
    BoardPage* page_ = nullptr;
};

/// A worker's end of the board.
class WorkerLine {
 public:
    explicit WorkerLine(Slot& slot) : slot_(slot) {}
    void ready() { slot_.ready = 1; }
    /// To be called when a job, or the first of a list, has arrived.
    void took() { slot_.at.store(now_ns(), std::memory_order_release); }
    /// To be called when jobs have been acknowledged to the server.
    void done(std::uint64_t jobs) { slot_.done.fetch_add(jobs, std::memory_order_release); }

 private:
    Slot& slot_;
};

}  // namespace jobyard::bench
