#pragma once
// Damage to a block of a packed table, which no batch can plant. Nobody may have the store open meanwhile.

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>

#include "batch.hpp"
#include "lmdb_handles.hpp"
#include "packed_table.hpp"

namespace jobyard::test {

/// Damages the block in which the row with this key is. Returns the block's key and the next one's, if there is one.
inline std::pair<std::string, std::string> damage_block(const std::string& store, std::string_view of_row) {
    using namespace broker;  // NOLINT: the blocks are its
    std::string key;
    std::string next;
    MDB_env* env = nullptr;
    EXPECT_EQ(mdb_env_create(&env), 0);
    EXPECT_EQ(mdb_env_set_maxdbs(env, kTables), 0);
    EXPECT_EQ(mdb_env_open(env, store.c_str(), 0, 0600), 0);
    {
        Transaction transaction(env, 0);
        MDB_dbi table = 0;
        EXPECT_EQ(mdb_dbi_open(transaction.get(), to_string(kPackedTable), 0, &table), 0);
        std::string block;
        {
            Cursor blocks(transaction.get(), table);
            EXPECT_TRUE(blocks.seek_back(of_row));
            key = blocks.key();
            block = blocks.value();
            if (blocks.next()) next = blocks.key();
        }
        block[4] = static_cast<char>(block[4] ^ 1);  // how many rows it has
        std::vector<RowView> rows;
        EXPECT_FALSE(unpack(key, block, rows)) << "its values have checksums of their own";
        MDB_val name = to_val(key);
        MDB_val value = to_val(block);
        EXPECT_EQ(mdb_put(transaction.get(), table, &name, &value, 0), 0);
        EXPECT_EQ(transaction.commit(), 0);
    }
    mdb_env_close(env);
    return {key, next};
}

}  // namespace jobyard::test
