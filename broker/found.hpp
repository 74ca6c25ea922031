#pragma once
// How the core sees rows that it does not hold in memory. It names what it needs; the edge reads a snapshot (on a
// thread that may wait for the disk); what batches newer than that snapshot did is laid over it. So a decision never
// rests on a row that the core itself has changed since.

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "batch.hpp"

namespace jobyard::broker {

struct Need {
    enum class Kind : std::uint8_t {
        row,      ///< the row under `key`
        prefix,   ///< those whose key begins with `key`
        after,    ///< up to `limit` after `key`
        from,     ///< up to `limit` from the last one on that is not behind `key`; from the first if all are
        payload,  ///< of the unended job, or array, under `key`: one row whose value is the payload, however it is
                  ///< stored
        result,   ///< of the ended job under `key`, likewise
    };
    Kind kind = Kind::row;
    Table table = Table::meta;
    std::string key;
    std::uint32_t limit = 1024;
    /// Of `after`: rows that are in newer batches only may be left out. For whoever comes back for them later.
    bool newest_may_lack = false;
};

struct RowView {
    std::string_view key;
    std::string_view value;
};

/// Rows in one piece of memory, because thousands are read at a time. Views into it end when it grows.
class RowList {
 public:
    RowList() = default;
    RowList(std::initializer_list<RowView> rows) {
        for (const RowView& row : rows) push_back(row);
    }
    void push_back(RowView row) {
        const std::array<std::uint32_t, 2> sizes{static_cast<std::uint32_t>(row.key.size()),
                                                 static_cast<std::uint32_t>(row.value.size())};
        bytes_.append(reinterpret_cast<const char*>(sizes.data()), sizeof sizes);
        bytes_.append(row.key).append(row.value);
        ++count_;
    }
    [[nodiscard]] std::size_t size() const { return count_; }
    [[nodiscard]] bool empty() const { return count_ == 0; }

    class Iterator {
     public:
        explicit Iterator(const char* at) : at_(at) {}
        RowView operator*() const {
            const auto [key, value] = sizes();
            return {{at_ + kSizes, key}, {at_ + kSizes + key, value}};
        }
        Iterator& operator++() {
            const auto [key, value] = sizes();
            at_ += kSizes + key + value;
            return *this;
        }
        friend bool operator==(const Iterator&, const Iterator&) = default;

     private:
        static constexpr std::size_t kSizes = 2 * sizeof(std::uint32_t);
        [[nodiscard]] std::array<std::uint32_t, 2> sizes() const {
            std::array<std::uint32_t, 2> sizes;
            std::memcpy(sizes.data(), at_, sizeof sizes);
            return sizes;
        }
        const char* at_;
    };
    [[nodiscard]] Iterator begin() const { return Iterator(bytes_.data()); }
    [[nodiscard]] Iterator end() const { return Iterator(bytes_.data() + bytes_.size()); }

 private:
    std::string bytes_;
    std::size_t count_ = 0;
};

/// What one read transaction saw: for each need, its rows in key order.
struct Snapshot {
    std::uint64_t applied_seq = 0;
    std::vector<RowList> rows;
};

/// A snapshot with the newer batches laid over it: a view of the snapshot and of the needs, which must outlive it.
class Found {
 public:
    Found() = default;
    Found(Found&&) = default;
    Found& operator=(Found&&) = default;
    /// `newer`: every batch with a number above the snapshot's, oldest first.
    Found(const std::vector<Need>& needs, const Snapshot& snapshot, const std::vector<const Batch*>& newer);
    Found(const std::vector<Need>& needs, Snapshot&& snapshot, const std::vector<const Batch*>& newer) = delete;

    /// Whether a page that was asked for (after, from) reaches over this key.
    [[nodiscard]] bool is_in_page(Table table, std::string_view key) const;
    /// The row's value, if there is one; it must have been covered by a need.
    [[nodiscard]] std::optional<std::string_view> get(Table table, std::string_view key) const;
    /// The rows whose keys begin with `prefix`, in key order; must have been covered by a need.
    [[nodiscard]] std::vector<RowView> with_prefix(Table table, std::string_view prefix) const;
    /// The rows after `key` (of a need `from`: those that it names), in key order, as far as the page that was read
    /// went. `more`: the table goes on behind it.
    [[nodiscard]] std::vector<RowView> after(Table table, std::string_view key, bool& more) const;

 private:
    struct Entry {
        Table table;
        std::string_view key;
        std::string_view value;
        [[nodiscard]] std::pair<Table, std::string_view> place() const { return {table, key}; }
    };
    struct Page {
        Table table = Table::meta;
        std::string_view asked;  ///< the need's key
        std::string_view from;   ///< what comes before it does not belong to the page
        bool with_from = false;  ///< nor does it itself, unless this is true
        std::string_view last;   ///< what comes behind it belongs to the next page, if `ends`
        bool ends = false;
        bool more = false;
    };
    [[nodiscard]] std::vector<Entry>::const_iterator from(Table table, std::string_view key) const;
    void lay_over(const std::vector<Need>& needs, const std::vector<const Batch*>& newer);

    std::vector<Entry> entries_;  // by table and key
    std::vector<Page> pages_;
    std::deque<std::pair<std::string, std::string>> copies_;  // what is not in the snapshot
};

}  // namespace jobyard::broker
