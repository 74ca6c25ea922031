#pragma once
// `jobyard store verify`: whether the rows of a store agree with each other, and with what its events say happened.
// Reads only; a broker may go on meanwhile.

#include <string>
#include <vector>

#include "backup.hpp"
#include "image.hpp"

namespace jobyard::store {

struct Finding {
    enum class Kind : std::uint8_t {
        damaged,     ///< bytes that are no row: a checksum or a key is wrong
        lost,        ///< something is missing that must be there
        doubled,     ///< a job is in two places at once
        orphaned,    ///< a row of something that is not there
        miscounted,  ///< a counter, or a number to be given next, is wrong
        unlike,      ///< two rows disagree about the same thing
    };
    Kind kind = Kind::damaged;
    Table table = Table::meta;
    std::string text;
};
const char* to_string(Finding::Kind kind);

struct Verified {
    std::uint64_t rows = 0;
    std::uint64_t unended = 0;
    std::uint64_t done = 0;
    std::uint64_t dead = 0;
    std::uint64_t found = 0;        ///< in all
    std::vector<Finding> findings;  ///< the first of each kind in each table
};

/// An error: the store cannot be read at all, or its log does not continue it.
Result<Verified> verify(const std::string& path, const Progress& progress);

}  // namespace jobyard::store
