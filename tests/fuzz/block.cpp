// The reader of a packed table's blocks: a key and a block's bytes, with the right checksum or as they are.

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "packed_table.hpp"
#include "rows.hpp"
#include "target.hpp"

namespace jobyard::fuzz {
namespace {

using namespace broker;  // NOLINT: the blocks are its

/// As packed_table.hpp says. Where the sizes are wrong there is no right one.
void put_checksum(std::string& block) {
    constexpr std::size_t kHeader = 6;
    constexpr std::size_t kSizes = 6;
    std::uint16_t count = 0;
    if (block.size() < kHeader) return;
    std::memcpy(&count, block.data() + 4, sizeof count);
    std::size_t behind_keys = block.size();
    for (std::size_t at = kHeader; count > 0 && at + kSizes <= block.size(); at += kSizes, --count) {
        std::uint32_t value = 0;
        std::memcpy(&value, block.data() + at + 2, sizeof value);
        behind_keys -= std::min<std::size_t>(value, behind_keys);
    }
    if (behind_keys < kHeader) return;
    const auto sum = static_cast<std::uint32_t>(XXH3_64bits(block.data() + 4, behind_keys - 4));
    std::memcpy(block.data(), &sum, sizeof sum);
}

std::string input_of(char as_it_is, std::string_view key, std::string_view block) {
    return std::string{as_it_is, static_cast<char>(key.size())}.append(key).append(block);
}

}  // namespace

void run(std::string_view bytes) {
    Input input(bytes);
    const bool as_it_is = input.byte() % 2 != 0;
    const std::string key(input.piece(input.byte()));
    std::string block(input.rest());
    if (!as_it_is) put_checksum(block);
    std::vector<RowView> rows;
    if (!unpack(key, block, rows)) {
        must(rows.size() == 1 && rows[0].key == key && rows[0].value == block, "damage is one row");
        return;
    }
    must(!rows.empty() && rows[0].key == key, "a block has the key of its first row");
    std::string again;
    append_block(rows, again);
    must(again == block, "a block that was read is written the same");
}

std::vector<std::string> seeds() {
    std::vector<std::string> made;
    std::vector<RowView> rows;
    const std::vector<StoredRow> stored = rows_of_a_store();
    for (const StoredRow& row : stored) {
        rows.push_back({row.key, row.value});
        if (rows.size() % 7 != 1) continue;
        std::string block;
        append_block(rows, block);
        for (const char as_it_is : {'\0', '\1'}) made.push_back(input_of(as_it_is, rows[0].key, block));
    }
    return made;
}

}  // namespace jobyard::fuzz
