#pragma once
// A packed table: its rows are small, are put nearly in the order of their keys, and leave in that order. One by one
// they would be most of what the store does; so LMDB has them in blocks, tens of rows in one of its own. Nobody but
// store.cpp and store_view.cpp can tell.
//
// A block's key is that of its first row, and it has all rows up to the next block's key. Its bytes:
//
//     checksum of what follows, up to the rows' values (4 bytes, the low half of XXH3) · number of rows (2) · for each
//     row the sizes of its key (2) and value (4) · the keys, in order · the values
//
// in the byte order of the machine, like all of LMDB's file. The values have checksums of their own (record.hpp). Where
// a block's own is wrong, the block stands for one row with its key and bytes, which nobody can read: so whoever looks
// for one of its rows is told of damage, not that there is none. It stays so, and new rows among its keys stand in
// blocks behind it, until the row of its own key is put or erased.

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "found.hpp"
#include "lmdb_handles.hpp"

namespace jobyard::broker {

inline constexpr Table kPackedTable = Table::done;

/// What a block has at most, unless it is one row that is larger: as many bytes as LMDB puts into half a page.
inline constexpr std::size_t kBlockBytes = 2020;

/// Appends a block of these rows, which are one at least.
void append_block(std::span<const RowView> rows, std::string& block);
/// Its rows, as views into it. A damaged block is one row, with `key`; then the answer is false.
bool unpack(std::string_view key, std::string_view block, std::vector<RowView>& rows);

/// Walks the rows of a table forward, packed or not. Must not outlive its transaction.
class RowCursor {
 public:
    RowCursor(MDB_txn* txn, MDB_dbi handle, Table table) : cursor_(txn, handle), packed_(table == kPackedTable) {}

    /// True at a row; then `key()` and `value()` are its. False at the end of the table or on an error.
    bool seek(std::string_view at_or_after);
    /// The last row whose key is not greater; the first of all if each is.
    bool seek_back(std::string_view at_or_before);
    bool next();
    [[nodiscard]] std::string_view key() const { return packed_ ? rows_[at_].key : cursor_.key(); }
    [[nodiscard]] std::string_view value() const { return packed_ ? rows_[at_].value : cursor_.value(); }
    [[nodiscard]] int error() const { return cursor_.error(); }

 private:
    bool open_block(bool at_block);

    Cursor cursor_;
    bool packed_;
    std::vector<RowView> rows_;  ///< of the block
    std::size_t at_ = 0;
};

/// The value of one row, or what there is of the block it would be in; nothing if it is in none. Returns LMDB's error.
/// `rows` walks the table as LMDB has it.
int find_row(Cursor& rows, Table table, std::string_view key, std::optional<std::string_view>& value);

/// Gathers what is done to a packed table's rows, and changes its blocks, many rows at a time. Of one transaction.
class BlockWriter {
 public:
    /// Returns LMDB's error, 0 if none.
    using Put = std::function<int(std::string_view key, std::string_view block)>;
    using Erase = std::function<int(std::string_view key)>;
    /// `blocks` walks the table's own rows, which are changed with the other two.
    BlockWriter(Cursor& blocks, Put put, Erase erase)
        : blocks_(blocks), put_block_(std::move(put)), erase_block_(std::move(erase)) {}

    /// Views must last until write() or the end.
    void put(std::string_view key, std::string_view value) { add({key, value}); }
    void put_copy(std::string_view key, std::string_view value) { add({key, copies_.emplace_back(value)}); }
    void erase(std::string_view key) { add({key, std::nullopt}); }
    /// It would be worth it to write.
    [[nodiscard]] bool is_full() const { return changes_.size() >= kWorthWriting; }
    /// Returns LMDB's error, 0 if none.
    int write();

 private:
    static constexpr std::size_t kWorthWriting = 256;  // some ten microseconds' work
    struct Change {
        std::string_view key;
        std::optional<std::string_view> value;  ///< none: the row is erased
    };
    /// Sorting looks at these, which is quicker than at keys.
    struct Place {
        std::uint64_t prefix;  ///< of the key, its first eight bytes
        std::uint32_t change;
    };
    void add(Change change);
    int write_block(std::vector<Place>::const_iterator& place);
    int put_rows();

    Cursor& blocks_;
    Put put_block_;
    Erase erase_block_;
    std::vector<Change> changes_;
    std::deque<std::string> copies_;
    std::vector<Place> places_;
    // Of the block that is being written.
    std::string old_key_;  ///< empty: there was none
    std::string old_block_;
    std::string next_key_;  ///< of the block behind it; empty: it is the last
    std::vector<RowView> old_;
    std::vector<RowView> rows_;
    std::string block_;
};

}  // namespace jobyard::broker
