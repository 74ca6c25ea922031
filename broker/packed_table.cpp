#include "packed_table.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <tuple>

namespace jobyard::broker {
namespace {

using KeySize = std::uint16_t;
using ValueSize = std::uint32_t;
using Count = std::uint16_t;
using Checksum = std::uint32_t;
constexpr std::size_t kHeaderBytes = sizeof(Checksum) + sizeof(Count);
constexpr std::size_t kSizesBytes = sizeof(KeySize) + sizeof(ValueSize);

std::size_t bytes_in_block(const RowView& row) { return kSizesBytes + row.key.size() + row.value.size(); }

Checksum checksum(std::string_view bytes) { return static_cast<Checksum>(XXH3_64bits(bytes.data(), bytes.size())); }

template <class T>
void append(std::string& bytes, T number) {
    bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
}

/// There must be that much.
template <class T>
T take(std::string_view& bytes) {
    T number;
    std::memcpy(&number, bytes.data(), sizeof number);
    bytes.remove_prefix(sizeof number);
    return number;
}

bool unpack_whole(std::string_view block, std::vector<RowView>& rows) {
    if (block.size() < kHeaderBytes) return false;
    std::string_view rest = block;
    const auto sum = take<Checksum>(rest);
    const std::string_view checked = rest;
    const auto count = take<Count>(rest);
    if (count == 0 || rest.size() < count * kSizesBytes) return false;
    std::string_view sizes = rest.substr(0, count * kSizesBytes);
    rest.remove_prefix(sizes.size());
    const std::size_t first = rows.size();
    std::size_t key_bytes = 0;
    std::size_t value_bytes = 0;
    for (Count i = 0; i < count; ++i) {
        const auto key = take<KeySize>(sizes);
        const auto value = take<ValueSize>(sizes);
        if (rest.size() < key_bytes + key) return false;
        rows.push_back({rest.substr(key_bytes, key), std::string_view(rest.data(), value)});
        key_bytes += key;
        value_bytes += value;
    }
    if (rest.size() != key_bytes + value_bytes) return false;
    if (sum != checksum(checked.substr(0, checked.size() - value_bytes))) return false;
    rest.remove_prefix(key_bytes);
    for (auto row = rows.begin() + static_cast<std::ptrdiff_t>(first); row != rows.end(); ++row) {
        row->value = rest.substr(0, row->value.size());
        rest.remove_prefix(row->value.size());
    }
    return true;
}

std::uint64_t prefix_of(std::string_view key) {
    std::uint64_t prefix = 0;
    std::memcpy(&prefix, key.data(), std::min(key.size(), sizeof prefix));
    return __builtin_bswap64(prefix);
}

}  // namespace

void append_block(std::span<const RowView> rows, std::string& block) {
    const std::size_t start = block.size();
    append(block, Checksum{});
    append(block, static_cast<Count>(rows.size()));
    for (const RowView& row : rows) {
        append(block, static_cast<KeySize>(row.key.size()));
        append(block, static_cast<ValueSize>(row.value.size()));
    }
    for (const RowView& row : rows) block.append(row.key);
    const Checksum sum = checksum(std::string_view(block).substr(start + sizeof(Checksum)));
    std::memcpy(block.data() + start, &sum, sizeof sum);
    for (const RowView& row : rows) block.append(row.value);
}

bool unpack(std::string_view key, std::string_view block, std::vector<RowView>& rows) {
    rows.clear();
    if (unpack_whole(block, rows) && rows.front().key == key) return true;
    rows.assign({{key, block}});
    return false;
}

// --- reading ---------------------------------------------------------------------------------------------------------

bool RowCursor::open_block(bool at_block) {
    rows_.clear();
    at_ = 0;
    if (at_block) unpack(cursor_.key(), cursor_.value(), rows_);
    return at_block;
}

bool RowCursor::seek(std::string_view at_or_after) {
    if (!packed_) return cursor_.seek(at_or_after);
    if (!open_block(at_or_after.empty() ? cursor_.seek({}) : cursor_.seek_back(at_or_after))) return false;
    while (key() < at_or_after)
        if (!next()) return false;
    return true;
}

bool RowCursor::seek_back(std::string_view at_or_before) {
    if (!packed_) return cursor_.seek_back(at_or_before);
    if (!open_block(cursor_.seek_back(at_or_before))) return false;
    while (at_ + 1 < rows_.size() && rows_[at_ + 1].key <= at_or_before) ++at_;
    return true;
}

bool RowCursor::next() {
    if (!packed_) return cursor_.next();
    return ++at_ < rows_.size() || open_block(cursor_.next());
}

int find_row(Cursor& rows, Table table, std::string_view key, std::optional<std::string_view>& value) {
    value.reset();
    if (table != kPackedTable) {
        if (rows.find(key)) value = rows.value();
        return rows.error();
    }
    if (!rows.seek_back(key)) return rows.error();
    std::vector<RowView> unpacked;
    const bool whole = unpack(rows.key(), rows.value(), unpacked);
    const auto row = std::find_if(unpacked.begin(), unpacked.end(),
                                  [&](const RowView& each) { return whole ? each.key == key : each.key <= key; });
    if (row != unpacked.end()) value = row->value;
    return 0;
}

// --- writing ---------------------------------------------------------------------------------------------------------

void BlockWriter::add(Change change) {
    places_.push_back({prefix_of(change.key), static_cast<std::uint32_t>(changes_.size())});
    changes_.push_back(change);
}

int BlockWriter::write() {
    std::sort(places_.begin(), places_.end(), [this](const Place& a, const Place& b) {
        if (a.prefix != b.prefix) return a.prefix < b.prefix;
        return std::tie(changes_[a.change].key, a.change) < std::tie(changes_[b.change].key, b.change);
    });
    int rc = 0;
    for (std::vector<Place>::const_iterator place = places_.begin(); rc == 0 && place != places_.end();)
        rc = write_block(place);
    places_.clear();
    changes_.clear();
    copies_.clear();
    return rc;
}

/// All changes from `place` on that concern the same block.
int BlockWriter::write_block(std::vector<Place>::const_iterator& place) {
    const auto key_at = [this](const Place& at) { return changes_[at.change].key; };
    old_key_.clear();
    next_key_.clear();
    old_.clear();
    bool whole = true;
    if (blocks_.seek_back(key_at(*place))) {
        old_key_ = blocks_.key();
        old_block_ = blocks_.value();
        whole = unpack(old_key_, old_block_, old_);
        if (blocks_.next()) next_key_ = blocks_.key();
    }
    if (blocks_.error() != 0) return blocks_.error();
    if (!whole && key_at(*place) != old_key_) {  // it stays as it is, and new rows stand in blocks of their own
        if (key_at(*place) < old_key_) next_key_ = old_key_;
        old_key_.clear();
        old_.clear();
    }
    rows_.clear();
    bool changed = false;
    auto old = old_.begin();
    for (; place != places_.end() && (next_key_.empty() || key_at(*place) < next_key_); ++place) {
        const auto next = std::next(place);
        if (next != places_.end() && key_at(*next) == key_at(*place)) continue;  // the last one counts
        const Change& change = changes_[place->change];
        for (; old != old_.end() && old->key < change.key; ++old) rows_.push_back(*old);
        const bool was_there = old != old_.end() && old->key == change.key;
        if (was_there) ++old;
        if (change.value) rows_.push_back({change.key, *change.value});
        changed = changed || was_there || change.value;
    }
    rows_.insert(rows_.end(), old, old_.end());
    return changed ? put_rows() : 0;
}

/// In place of the old block. New rows mostly come at the end of the table: there blocks are filled. Elsewhere what is
/// too much for one becomes several of the same size, so that each has room for more.
int BlockWriter::put_rows() {
    if (!old_key_.empty() && (rows_.empty() || rows_.front().key != old_key_))
        if (const int rc = erase_block_(old_key_); rc != 0) return rc;
    constexpr std::size_t kRoom = kBlockBytes - kHeaderBytes;
    std::size_t fill = kRoom;
    if (!next_key_.empty()) {
        std::size_t all = 0;
        for (const RowView& row : rows_) all += bytes_in_block(row);
        const std::size_t blocks = (all + kRoom - 1) / kRoom;
        fill = blocks == 0 ? 0 : (all + blocks - 1) / blocks;
    }
    for (auto row = rows_.cbegin(); row != rows_.cend();) {
        const auto first = row;
        std::size_t bytes = 0;
        do bytes += bytes_in_block(*row++);
        while (row != rows_.cend() && bytes < fill && bytes + bytes_in_block(*row) <= kRoom);
        block_.clear();
        append_block({first, row}, block_);
        if (const int rc = put_block_(first->key, block_); rc != 0) return rc;
    }
    return 0;
}

}  // namespace jobyard::broker
