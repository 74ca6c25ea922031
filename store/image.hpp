#pragma once
// All rows of a store as of one moment: what LMDB has, with what only the commit log has laid over. Every tool of this
// directory reads an image and nothing else, so none of them cares whether a broker is running, was killed or has
// stopped, or whether it is a backup.
//
// It is taken beside a running broker without asking it. First the read transaction: from then on LMDB keeps its
// moment. Then the log, which has every batch that was durable by then and that this moment lacks, because a log file
// is used again only when the store has all that is in it; should that happen just while it is read, the batches do not
// continue the store any more, and another moment is taken.

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "commit_log.hpp"
#include "record.hpp"
#include "store_view.hpp"

namespace jobyard::store {

using broker::Batch;
using broker::kTables;
using broker::StoreView;
using broker::Table;

class Image {
 public:
    /// `path` is a broker's data directory, or a backup. Error: there is no store, it cannot be read, or its log does
    /// not continue it.
    static Result<std::unique_ptr<Image>> open(const std::string& path);

    /// What is given out lasts as long as the image.
    [[nodiscard]] Result<std::optional<std::string_view>> get(Table table, std::string_view key) const;
    /// In key order, until the end or an error.
    [[nodiscard]] Result<void> for_each(Table table, const StoreView::Row& row) const;

    /// A number of `meta`, 8 bytes big-endian; 0 if it is not there.
    [[nodiscard]] Result<std::uint64_t> number(std::string_view name) const;
    [[nodiscard]] Result<broker::NumbersRow> numbers() const;
    [[nodiscard]] Result<Uuid> store_id() const;
    /// When it was made, if it is a backup.
    [[nodiscard]] Result<std::optional<std::int64_t>> backup_at() const;

    [[nodiscard]] const StoreView& view() const { return *view_; }
    /// About how many rows there are.
    [[nodiscard]] std::uint64_t rows() const;
    /// The last batch that LMDB has, and the last of all.
    [[nodiscard]] std::uint64_t applied() const { return applied_; }
    [[nodiscard]] std::uint64_t last_batch() const { return last_batch_; }
    /// Of the batches that only the log has.
    [[nodiscard]] std::uint64_t log_batch_bytes() const { return log_batch_bytes_; }

 private:
    Result<void> lay_over(const std::string& directory);
    Result<void> lay_over(const Batch& batch);

    std::unique_ptr<StoreView> view_;
    std::uint64_t applied_ = 0;
    std::uint64_t last_batch_ = 0;
    std::uint64_t log_batch_bytes_ = 0;
    std::deque<Batch> batches_;  // whose bytes the values below are
    /// By key what the log made of a row; nothing if it is erased.
    std::array<std::map<std::string, std::optional<std::string_view>, std::less<>>, kTables> over_;
};

}  // namespace jobyard::store
