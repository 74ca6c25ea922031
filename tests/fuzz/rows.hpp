#pragma once
// Rows as a core makes them, for the targets that read rows.

#include <string>
#include <string_view>
#include <vector>

#include "batch.hpp"

namespace jobyard::fuzz {

inline constexpr std::size_t kPrefixBytes = 5;  // of a row: its version and checksum

struct StoredRow {
    broker::Table table;
    std::string key;
    std::string value;
};

/// Of a yard in which something of everything has happened: rows of every table.
std::vector<StoredRow> rows_of_a_store();

/// The bytes as a row that passes for a whole one.
std::string with_checksum(std::string_view fields);

}  // namespace jobyard::fuzz
