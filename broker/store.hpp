#pragma once
// The rows on disk, in LMDB, which nobody else writes. Batches are applied whole or not at all; before that it
// is the commit log that makes them durable.
//
// Threads: `apply` on one thread at a time (the applier, once the broker runs: a write transaction belongs to its
// thread); `read`, `get`, `for_each`, `counters` and `check_readers` on any. Rows are given out as copies, or as views
// that last for a callback.

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "batch.hpp"
#include "found.hpp"
#include "jobyard/result.hpp"
#include "passing.hpp"

struct MDB_env;
struct MDB_cursor;
struct MDB_txn;

namespace jobyard::broker {

/// Since this process opened the store.
struct StoreCounters {
    std::uint64_t transactions = 0;
    std::uint64_t puts = 0;
    std::uint64_t erases = 0;
    std::uint64_t moves = 0;
    std::uint64_t value_bytes = 0;  ///< put, keys not counted
    std::uint64_t apply_us = 0;     ///< from the first operation to durable, over all transactions
    std::uint64_t apply_us_max = 0;
    std::uint64_t map_bytes = 0;   ///< address space: how far the file may grow before the map must
    std::uint64_t used_bytes = 0;  ///< the file up to its last page in use; freed pages inside it are used again
    std::uint64_t growths = 0;     ///< of the map
};

class Store {
 public:
    struct Options {
        std::string path;                                   ///< directory of the files, made if absent
        std::uint64_t map_bytes = std::uint64_t{64} << 30;  ///< to begin with; grows by itself
    };
    /// Error `disk_full` if space was what lacked; `internal` else, a store of another format included.
    static Result<std::unique_ptr<Store>> open(const Options& options);
    ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    /// Returns when the batch is durable. After an error nothing of it is in the store, or (when the very last write
    /// failed) that cannot be known: the process must end and recover.
    Result<void> apply(const Batch& batch) { return apply({&batch}); }
    /// All of `batches` in one transaction, in order. Of a job that was submitted in one of them, and has ended in one
    /// of them or in one of those `ahead`, the store sees only the end. `ahead` are durable too, will be the first of
    /// the next call's `batches`, and know their `first_job`. In the row kMetaRelied stands how far it has looked: a
    /// log without that batch does not belong to this store any more. `between` is called after every few operations
    /// and may wait, while the transaction is open.
    Result<void> apply(
        const std::vector<const Batch*>& batches, const std::vector<const Batch*>& ahead = {},
        const std::function<void()>& between = [] {});

    /// The rows that are needed, all from one moment, which is not before the call.
    Result<Snapshot> read(const std::vector<Need>& needs);
    Result<std::optional<std::string>> get(Table table, std::string_view key);
    /// Every row in key order, for start-up: holds back the reuse of freed pages as long as it runs. The callback must
    /// not call the store.
    Result<void> for_each(Table table, const std::function<void(std::string_view key, std::string_view value)>& row);

    [[nodiscard]] StoreCounters counters() const;
    /// Frees the slots of readers that died; they would hold back the reuse of pages. Call now and then.
    Result<void> check_readers();

 private:
    class Reading;
    class Writing;
    Store(std::string path, MDB_env* env) : path_(std::move(path)), env_(env) {}
    Result<void> open_tables();
    int write(const std::vector<const Batch*>& batches, const std::function<void()>& between);
    int put(MDB_cursor* cursor, Table table, std::string_view key, std::string_view value);
    Result<void> grow();
    void measure();
    [[nodiscard]] Error failure(const std::string& what, int error) const;
    [[nodiscard]] Error damaged(std::string_view name) const;
    [[nodiscard]] unsigned handle(Table table) const { return tables_[static_cast<std::size_t>(table)]; }

    std::string path_;
    MDB_env* env_;
    std::array<unsigned, kTables> tables_{};

    /// Per table a key that none is greater than. What comes after it is appended, which packs pages full.
    std::array<std::string, kTables> bounds_;

    Passing passing_;

    /// What the transaction being written does, by kind of operation.
    std::array<std::uint64_t, 3> written_{};
    std::uint64_t written_bytes_ = 0;

    /// Shared by every read transaction; held alone while the map moves, because LMDB does not look who is using it.
    std::shared_mutex map_;

    struct {
        std::atomic<std::uint64_t> transactions{0}, puts{0}, erases{0}, moves{0}, value_bytes{0}, apply_us{0},
            apply_us_max{0}, map_bytes{0}, used_bytes{0}, growths{0};
    } counted_;
};

}  // namespace jobyard::broker
