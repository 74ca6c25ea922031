#pragma once
// Where a batch becomes durable: appended to a file and flushed once. The store has it later, in larger
// transactions (applier.hpp); until then it is here, and at the next start whatever the store lacks is replayed.
//
// Two files in turns, so that space is used again without being freed. One that is full before the store has all of the
// other one gets twice as large, up to 96 MiB, so that nobody waits for the store; it stays as large as it has become.
// A record begins at a multiple of 4 KiB, so that no write touches a page of an earlier one:
//
//     magic, store, sequence number, checksum, number of operations, bytes (8 bytes each, as this machine has them) ·
//     operations · bytes they point into
//
// A record is good if its checksum is (XXH3, seeded: belongs_to); a file's records are those from its beginning on
// whose numbers follow each other, because what is behind them is of an earlier turn.

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "batch.hpp"
#include "fd.hpp"
#include "jobyard/result.hpp"
#include "jobyard/session_ids.hpp"

namespace jobyard::broker {

/// Of each of the two files.
inline constexpr std::uint64_t kMaxLogBytes = std::uint64_t{96} << 20;

class CommitLog {
 public:
    /// In the store's directory. Error `disk_full` if space was what lacked; `internal` else.
    static Result<std::unique_ptr<CommitLog>> open(const std::string& directory,
                                                   std::uint64_t max_bytes = kMaxLogBytes);

    /// The files as they are, for replay() alone: beside a broker, or of one that is not running. Whatever is appended
    /// meanwhile may be missed; if a file is used again meanwhile, replay() fails.
    static Result<std::unique_ptr<CommitLog>> open_to_read(const std::string& directory);

    /// Of which store it is, as every record says, and with what its checksums begin: a number that is another one at
    /// each start and told to nobody, so that neither what an earlier start left behind nor a payload made to look like
    /// a record is ever taken for one. Of the last start before replay(), of this one before append().
    void belongs_to(const Uuid& store, std::uint64_t secret);
    /// Whether open() made it, or a part of it.
    [[nodiscard]] bool is_new() const { return is_new_; }
    /// Leaves the files as open() found them: for a store that should have had a log, so that it is refused again.
    void take_back() const;

    /// Gives every batch above `applied`, in order. For start-up, before anything is appended. An error if there are
    /// later batches but not the next one: then the store is older than its log.
    Result<void> replay(std::uint64_t applied, const std::function<Result<void>(Batch&& batch)>& apply);

    /// Returns when the batch is durable. Waits if the store is so far behind that both files are full and as large as
    /// they may be, or the disk is nearly full. Used by one thread. After an error the process must end and recover.
    Result<void> append(const Batch& batch);

    /// The store has every batch up to this one: their space may be used again. From any thread.
    void set_applied(std::uint64_t seq);
    /// Called when append() waits for space; to be set before the first append().
    void on_full(std::function<void()> call) { on_full_ = std::move(call); }
    /// No space will come: append() fails instead of waiting. From any thread.
    void give_up();

    struct Counters {
        std::uint64_t commits = 0;
        std::uint64_t commit_us = 0;  ///< from the first byte to durable, over all
        std::uint64_t commit_us_max = 0;
    };
    [[nodiscard]] Counters counters() const;

 private:
    struct alignas(4096) Page {
        std::array<char, 4096> bytes;
    };
    struct File {
        Fd fd;
        Fd direct;                   ///< the same file past the page cache, if the file system has that
        std::uint64_t bytes = 0;     ///< to be used of it
        std::uint64_t last_seq = 0;  ///< of the batches in it
        std::uint64_t found_bytes = 0;
    };
    CommitLog(std::string directory, std::uint64_t max_bytes)
        : directory_(std::move(directory)), max_bytes_(max_bytes) {}
    Result<void> make_room(std::uint64_t size);
    bool grow(File& file, std::uint64_t least) const;
    [[nodiscard]] Error failure(const char* what, int error) const;

    std::string directory_;
    std::uint64_t max_bytes_;
    bool is_new_ = false;
    std::uint64_t store_ = 0;  ///< of its identity, the first bytes
    std::uint64_t secret_ = 0;
    std::array<File, 2> files_;
    std::size_t current_ = 0;
    std::uint64_t at_ = 0;  ///< where the next record of the current file goes
    std::function<void()> on_full_;
    std::vector<Page> blocks_;  ///< what a record is written from

    std::mutex mutex_;  ///< guards what follows
    std::condition_variable room_;
    std::uint64_t applied_ = 0;
    bool given_up_ = false;

    struct {
        std::atomic<std::uint64_t> commits{0}, commit_us{0}, commit_us_max{0};
    } counted_;
};

}  // namespace jobyard::broker
