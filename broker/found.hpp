#pragma once
// How the core sees rows that it does not hold in memory. It names what it needs; the edge reads a snapshot (on a
// thread that may wait for the disk); what batches newer than that snapshot did is laid over it. So a decision never
// rests on a row that the core itself has changed since.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "batch.hpp"

namespace jobyard::broker {

/// Rows to read: those whose key begins with `key` (exact = false), the one under `key`, or up to `limit` after `key`.
struct Need {
    enum class Kind : std::uint8_t { row, prefix, after };
    Kind kind = Kind::row;
    Table table = Table::meta;
    std::string key;
    std::uint32_t limit = 1024;
};

struct Row {
    std::string key;
    std::string value;
};

/// What one read transaction saw: for each need, its rows in key order.
struct Snapshot {
    std::uint64_t applied_seq = 0;
    std::vector<std::vector<Row>> rows;
};

/// A snapshot with the newer batches laid over it.
class Found {
 public:
    Found() = default;
    /// `newer`: every batch with a number above the snapshot's, oldest first. All must outlive this.
    Found(const std::vector<Need>& needs, const Snapshot& snapshot, const std::vector<const Batch*>& newer);

    /// The row, if there is one; it must have been covered by a need.
    [[nodiscard]] const std::string* get(Table table, std::string_view key) const;
    /// The rows whose keys begin with `prefix`, in key order; must have been covered by a need.
    [[nodiscard]] std::vector<const Row*> with_prefix(Table table, std::string_view prefix) const;
    /// The rows after `key`, in key order, as far as the page that was read went. `more`: the table goes on behind it.
    [[nodiscard]] std::vector<const Row*> after(Table table, std::string_view key, bool& more) const;

 private:
    struct Page {
        Table table;
        std::string from;
        std::string last;
        bool more = false;
    };
    std::map<std::pair<Table, std::string>, Row> rows_;
    std::vector<Page> pages_;
};

}  // namespace jobyard::broker
