#include "packed_table.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "record.hpp"
#include "store.hpp"
#include "store_view.hpp"
#include "temporary_directory.hpp"

namespace jobyard::broker {
namespace {

using Rows = std::map<std::string, std::string>;

// --- a block ---------------------------------------------------------------------------------------------------------

std::string block_of(const Rows& rows) {
    std::vector<RowView> views;
    for (const auto& [key, value] : rows) views.push_back({key, value});
    std::string block;
    append_block(views, block);
    return block;
}

TEST(Block, HasTheRowsThatWerePutIntoIt) {
    const Rows rows{{"a", ""}, {"bb", "value"}, {"c", std::string(3000, 'x')}};
    const std::string block = block_of(rows);
    std::vector<RowView> found;
    ASSERT_TRUE(unpack("a", block, found));
    Rows again;
    for (const RowView& row : found) again.emplace(row.key, row.value);
    EXPECT_EQ(again, rows);
}

TEST(Block, ThatIsDamagedIsOneRowThatNobodyCanRead) {
    const std::string block = block_of({{"key1", "one"}, {"key2", "two"}});
    const std::size_t sizes_and_keys = block.size() - std::string("onetwo").size();
    std::vector<RowView> found;
    for (std::size_t at = 0; at < sizes_and_keys; ++at) {
        std::string damaged = block;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
        EXPECT_FALSE(unpack("key1", damaged, found)) << "byte " << at;
        ASSERT_EQ(found.size(), 1U);
        EXPECT_EQ(found[0].key, "key1");
        EXPECT_EQ(found[0].value, damaged);
    }
    for (std::size_t size = 0; size < block.size(); ++size)
        EXPECT_FALSE(unpack("key1", std::string_view(block).substr(0, size), found)) << size << " bytes";
    EXPECT_FALSE(unpack("key1", block + "x", found));
    EXPECT_TRUE(unpack("key1", block, found)) << "the test itself";
}

// --- a table of blocks -----------------------------------------------------------------------------------------------

struct PackedTable : testing::Test {
    test::TemporaryDirectory directory;
    std::unique_ptr<Store> store;
    std::uint64_t seq = 0;

    void open() {
        store.reset();
        auto opened = Store::open({directory / "store", std::uint64_t{1} << 30});
        ASSERT_TRUE(opened) << opened.error().text;
        store = std::move(*opened);
    }
    void SetUp() override { open(); }

    void apply(Batch& batch) {
        batch.seq = ++seq;
        batch.put(Table::meta, kMetaApplied, big_endian(seq));
        ASSERT_TRUE(store->apply(batch));
    }
    Rows rows() {
        Rows found;
        EXPECT_TRUE(store->for_each(kPackedTable,
                                    [&](std::string_view key, std::string_view value) { found.emplace(key, value); }));
        return found;
    }
    RowList read(Need::Kind kind, const std::string& key, std::uint32_t limit) {
        auto snapshot = store->read({{kind, kPackedTable, key, limit}});
        EXPECT_TRUE(snapshot);
        return snapshot ? std::move(snapshot->rows.at(0)) : RowList{};
    }
    /// How many blocks there are. LMDB must not have a file open twice.
    std::uint64_t blocks() {
        store.reset();
        auto counted = blocks_of_closed();
        open();
        return counted;
    }

 private:
    std::uint64_t blocks_of_closed() const {
        const auto view = StoreView::open(directory / "store", StoreView::Sharing::none);
        EXPECT_TRUE(view);
        return view ? (*view)->size(kPackedTable).rows : 0;
    }
};

Rows in(const RowList& list) {
    Rows rows;
    for (const RowView row : list) rows.emplace(row.key, row.value);
    return rows;
}

TEST_F(PackedTable, IsTheSameAsOneWhereEachRowStandsAlone) {
    std::mt19937 rng(7);
    Rows expected;
    std::uint64_t next = 1;
    for (int round = 0; round < 150; ++round) {
        Batch batch;
        for (std::uint32_t n = rng() % 400; n > 0; --n) {
            const std::uint64_t known = next - std::min<std::uint64_t>(next - 1, rng() % (round % 3 == 0 ? 2000 : 60));
            const std::string key = big_endian(rng() % 3 == 0 ? next++ : known);
            const std::string value(rng() % 50 == 0 ? rng() % 5000 : rng() % 120, static_cast<char>('a' + rng() % 26));
            switch (rng() % 6) {
                case 0:
                case 1:
                    batch.erase(kPackedTable, key);
                    expected.erase(key);
                    break;
                case 2:
                    batch.put(Table::dead, key, value);
                    batch.move(Table::dead, kPackedTable, key);
                    expected[key] = value;
                    break;
                default: batch.put(kPackedTable, key, value); expected[key] = value;
            }
        }
        for (auto old = expected.begin(); round % 10 == 9 && old != expected.end() && expected.size() > 300;) {
            batch.erase(kPackedTable, old->first);  // as retention does, from the front
            old = expected.erase(old);
        }
        apply(batch);
        if (round % 20 == 19) open();
        ASSERT_EQ(rows(), expected) << "round " << round;
        const std::string key = big_endian(rng() % (next + 1));
        const auto from = expected.lower_bound(key);
        EXPECT_EQ(store->get(kPackedTable, key).value(),
                  from != expected.end() && from->first == key ? std::optional(from->second) : std::nullopt);
        const auto after = expected.upper_bound(key);
        Rows page;
        for (auto row = after; row != expected.end() && page.size() < 100; ++row) page.insert(*row);
        EXPECT_EQ(in(read(Need::Kind::after, key, 100)), page);
        page.clear();
        auto back = after == expected.begin() ? after : std::prev(after);
        for (; back != expected.end() && page.size() < 3; ++back) page.insert(*back);
        EXPECT_EQ(in(read(Need::Kind::from, key, 3)), page);
    }
    EXPECT_GE(expected.size(), 300U) << "the test itself";
}

TEST_F(PackedTable, RowsThatComeInOrderFillTheirBlocks) {
    constexpr std::uint64_t kRows = 20'000;
    constexpr std::size_t kBytes = 60;
    const std::uint64_t puts = store->counters().puts;
    for (std::uint64_t i = 0; i < kRows;) {
        Batch batch;
        for (const std::uint64_t end = i + 700; i < end && i < kRows; ++i)
            batch.put(kPackedTable, big_endian(i), std::string(kBytes, 'x'));
        apply(batch);
    }
    const std::uint64_t written = store->counters().puts - puts;
    const std::uint64_t there = blocks();
    EXPECT_LT(there * kBlockBytes, kRows * (kBytes + 14) * 105 / 100) << there;
    EXPECT_LT(written, there * 130 / 100) << "nor is a block written many times";
}

TEST_F(PackedTable, RowsThatComeInAnyOrderFillHalfOfTheirBlocks) {
    constexpr std::uint64_t kRows = 20'000;
    constexpr std::size_t kBytes = 60;
    std::vector<std::uint64_t> keys(kRows);
    for (std::uint64_t i = 0; i < kRows; ++i) keys[i] = i;
    std::shuffle(keys.begin(), keys.end(), std::mt19937(3));
    for (auto key = keys.begin(); key != keys.end();) {
        Batch batch;
        for (int n = 0; n < 50 && key != keys.end(); ++n)
            batch.put(kPackedTable, big_endian(*key++), std::string(kBytes, 'x'));
        apply(batch);
    }
    EXPECT_EQ(rows().size(), kRows);
    EXPECT_LT(blocks() * kBlockBytes / 2, kRows * (kBytes + 14));
}

TEST_F(PackedTable, ABlockGoesWithItsLastRow) {
    Batch put;
    for (std::uint64_t i = 0; i < 500; ++i) put.put(kPackedTable, big_endian(i), std::string(60, 'x'));
    apply(put);
    Batch erase;
    for (std::uint64_t i = 0; i < 499; ++i) erase.erase(kPackedTable, big_endian(i));
    apply(erase);
    EXPECT_EQ(rows(), (Rows{{big_endian(499), std::string(60, 'x')}}));
    EXPECT_EQ(blocks(), 1U);
    Batch last;
    last.erase(kPackedTable, big_endian(499));
    apply(last);
    EXPECT_EQ(blocks(), 0U);
    EXPECT_EQ(rows(), Rows{});
}

TEST_F(PackedTable, WhoLooksForARowInADamagedBlockIsToldOfDamage) {
    Batch batch;
    for (std::uint64_t i = 0; i < 200; ++i) {
        EndRow row;
        row.queue = "default";
        row.type = "bench";
        row.state = JobState::completed;
        const Slice key = batch.append(job_key({i}));
        batch.put(kPackedTable, key, append_row(batch, row));
    }
    apply(batch);
    store.reset();
    std::uint64_t first = 0;   // of the block
    std::uint64_t behind = 0;  // of the next one
    {
        MDB_env* env = nullptr;
        ASSERT_EQ(mdb_env_create(&env), 0);
        ASSERT_EQ(mdb_env_set_maxdbs(env, kTables), 0);
        ASSERT_EQ(mdb_env_open(env, (directory / "store").c_str(), 0, 0600), 0);
        {
            Transaction transaction(env, 0);
            MDB_dbi table = 0;
            ASSERT_EQ(mdb_dbi_open(transaction.get(), to_string(kPackedTable), 0, &table), 0);
            std::string key;
            std::string block;
            {
                Cursor blocks(transaction.get(), table);
                ASSERT_TRUE(blocks.seek({}) && blocks.next());
                key = blocks.key();
                block = blocks.value();
                ASSERT_TRUE(blocks.next());
                behind = from_big_endian(blocks.key());
            }
            first = from_big_endian(key);
            block[10] = static_cast<char>(block[10] ^ 1);
            MDB_val name = to_val(key);
            MDB_val value = to_val(block);
            ASSERT_EQ(mdb_put(transaction.get(), table, &name, &value, 0), 0);
            ASSERT_EQ(transaction.commit(), 0);
        }
        mdb_env_close(env);
    }
    ASSERT_GT(behind, first + 2);
    open();
    for (std::uint64_t job = 0; job < 200; ++job) {
        const auto row = store->get(kPackedTable, job_key({job})).value();
        ASSERT_TRUE(row) << job;
        EndRow ended;
        EXPECT_EQ(read_row(*row, ended), job < first || job >= behind) << job;
    }
    EXPECT_EQ(rows().size(), 200 - (behind - first) + 1) << "in a list it is one row";
    Batch gone;
    gone.erase(kPackedTable, job_key({first}));
    apply(gone);
    EXPECT_EQ(rows().size(), 200 - (behind - first)) << "and goes like one";
}

}  // namespace
}  // namespace jobyard::broker
