#include "packed_table.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "damaged_block.hpp"
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
    EXPECT_FALSE(unpack("key0", block, found)) << "it is another row's";
    EXPECT_FALSE(unpack("key1", block_of({}), found)) << "of no row";
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
    /// How many blocks there are, and the bytes of LMDB's pages that have them.
    std::uint64_t blocks() { return size().rows; }
    std::uint64_t bytes() { return size().bytes; }

 private:
    /// LMDB must not have a file open twice.
    StoreView::TableSize size() {
        store.reset();
        const auto counted = size_of_closed();
        open();
        return counted;
    }
    StoreView::TableSize size_of_closed() const {
        const auto view = StoreView::open(directory / "store", StoreView::Sharing::none);
        EXPECT_TRUE(view);
        return view ? (*view)->size(kPackedTable) : StoreView::TableSize{};
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
        for (const std::size_t size : {key.size(), key.size() - 1}) {
            const std::string prefix = key.substr(0, size);
            page.clear();
            for (auto row = expected.lower_bound(prefix); row != expected.end() && row->first.starts_with(prefix);)
                page.insert(*row++);
            EXPECT_EQ(in(read(Need::Kind::prefix, prefix, 0)), page);
        }
    }
    EXPECT_GE(expected.size(), 300U) << "the test itself";
}

/// Changes are gathered a thousand at a time: of a row that is changed in several gatherings the last counts too, and
/// LMDB's cursors go on though what they stood on is gone.
TEST_F(PackedTable, ATransactionOfManyThousandChangesIsTheSameAsOneAfterTheOther) {
    std::mt19937 rng(11);
    Rows expected;
    std::uint64_t next = 1;
    for (int round = 0; round < 12; ++round) {
        std::deque<Batch> batches;
        std::vector<const Batch*> run;
        for (int n = 0; n < 5; ++n) {
            Batch& batch = batches.emplace_back();
            for (int op = 0; op < 1500; ++op) {
                const std::uint64_t known = next - std::min<std::uint64_t>(next - 1, rng() % 3000);
                const std::string key = big_endian(rng() % 4 == 0 ? next++ : known);
                if (rng() % 2 == 0) {
                    batch.erase(kPackedTable, key);
                    expected.erase(key);
                } else {
                    const std::string value(rng() % 120, static_cast<char>('a' + rng() % 26));
                    batch.put(kPackedTable, key, value);
                    expected[key] = value;
                }
            }
            if (n == round % 5 && round % 2 == 0) {  // all at once, from the front or from the back
                std::vector<std::string> keys;
                for (const auto& [key, value] : expected) keys.push_back(key);
                if (round % 4 == 0) std::reverse(keys.begin(), keys.end());
                for (const std::string& key : keys) batch.erase(kPackedTable, key);
                expected.clear();
            }
            batch.seq = ++seq;
            batch.put(Table::meta, kMetaApplied, big_endian(seq));
            run.push_back(&batch);
        }
        ASSERT_TRUE(store->apply(run));
        ASSERT_EQ(rows(), expected) << "round " << round;
    }
    EXPECT_GE(expected.size(), 1000U) << "the test itself";
}

TEST_F(PackedTable, MovedRowsArePackedAThousandAtATimeToo) {
    constexpr std::uint64_t kRows = 5000;
    Batch dead;
    for (std::uint64_t i = 0; i < kRows; ++i) dead.put(Table::dead, big_endian(i), std::to_string(i));
    apply(dead);
    Batch moves;
    for (std::uint64_t i = 0; i < kRows; ++i) moves.move(Table::dead, kPackedTable, big_endian(i));
    apply(moves);
    Rows expected;
    for (std::uint64_t i = 0; i < kRows; ++i) expected.emplace(big_endian(i), std::to_string(i));
    EXPECT_EQ(rows(), expected);
}

TEST_F(PackedTable, RowsAreWrittenWholeThoughTheMapIsFullInTheMiddle) {
    store.reset();
    auto small = Store::open({directory / "small", std::uint64_t{256} << 10});
    ASSERT_TRUE(small);
    store = std::move(*small);
    Batch batch;
    Rows expected;
    for (std::uint64_t i = 0; i < 20'000; ++i) {
        const std::string key = big_endian(i * 7919 % 20'011);
        batch.put(kPackedTable, key, std::string(60, 'x'));
        expected.emplace(key, std::string(60, 'x'));
    }
    apply(batch);
    EXPECT_GE(store->counters().growths, 3U) << "the test itself";
    EXPECT_EQ(rows(), expected);
}

TEST_F(PackedTable, WhoeverWritesIsAskedBetweenBlocks) {
    Batch batch;
    for (std::uint64_t i = 0; i < 20'000; ++i) batch.put(kPackedTable, big_endian(i), std::string(60, 'x'));
    batch.seq = ++seq;
    int asked = 0;
    ASSERT_TRUE(store->apply({&batch}, {}, [&] { ++asked; }));
    EXPECT_GE(asked, 30) << "of some 730 blocks";
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
    EXPECT_LT(bytes(), (there / 2 + 10) * 4096) << "two are a page of LMDB";
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

EndRow end_row(std::string_view result = {}) {
    EndRow row;
    row.queue = "default";
    row.type = "bench";
    row.state = JobState::completed;
    row.result = result;
    row.result_size = static_cast<std::uint32_t>(result.size());
    return row;
}

/// Jobs 100 to 299 are in it, in several blocks.
struct DamagedTable : PackedTable {
    static constexpr std::uint64_t kFirst = 100;
    static constexpr std::uint64_t kEnd = 300;
    std::uint64_t damaged = 0;    ///< the first job of the block that is damaged
    std::uint64_t behind = kEnd;  ///< the first one of the next

    void SetUp() override {
        PackedTable::SetUp();
        Batch batch;
        for (std::uint64_t job = kFirst; job < kEnd; ++job) put(batch, Table::done, job, end_row());
        apply(batch);
    }
    static void put(Batch& batch, Table table, std::uint64_t job, const EndRow& row) {
        const Slice key = batch.append(job_key({job}));
        batch.put(table, key, append_row(batch, row));
    }
    void damage(std::uint64_t job) {
        store.reset();
        const auto [first, next] = test::damage_block(directory / "store", job_key({job}));
        damaged = from_big_endian(first);
        if (!next.empty()) behind = from_big_endian(next);
        ASSERT_GT(behind, damaged + 10);
        open();
    }
    enum class Is { readable, damaged, absent };
    Is look_up(std::uint64_t job) {
        const auto row = store->get(kPackedTable, job_key({job})).value();
        EndRow ended;
        return !row ? Is::absent : read_row(*row, ended) ? Is::readable : Is::damaged;
    }
};

TEST_F(DamagedTable, WhoLooksForARowInADamagedBlockIsToldOfDamage) {
    damage((kFirst + kEnd) / 2);
    for (std::uint64_t job = kFirst; job < kEnd; ++job)
        EXPECT_EQ(look_up(job), job < damaged || job >= behind ? Is::readable : Is::damaged) << job;
    EXPECT_EQ(rows().size(), kEnd - kFirst - (behind - damaged) + 1) << "in a list it is one row";
    Batch gone;
    gone.erase(kPackedTable, job_key({damaged + 1}));
    apply(gone);
    EXPECT_EQ(rows().size(), kEnd - kFirst - (behind - damaged) + 1) << "nobody can erase a row in it";
    gone.clear();
    gone.erase(kPackedTable, job_key({damaged}));
    apply(gone);
    EXPECT_EQ(rows().size(), kEnd - kFirst - (behind - damaged)) << "but it goes like one";
}

TEST_F(DamagedTable, ADamagedBlockStaysAsItIsWhenRowsComeAfterIt) {
    damage(kEnd - 1);
    Batch batch;
    for (std::uint64_t job = kEnd; job < kEnd + 50; ++job) put(batch, Table::done, job, end_row());
    apply(batch);
    for (std::uint64_t job = damaged; job < kEnd + 50; ++job)
        EXPECT_EQ(look_up(job), job < kEnd ? Is::damaged : Is::readable) << job;
}

TEST_F(DamagedTable, ADamagedBlockStaysAsItIsWhenRowsComeBeforeIt) {
    damage(kFirst);
    Batch batch;
    for (std::uint64_t job = kFirst - 50; job < kFirst; ++job) put(batch, Table::done, job, end_row());
    batch.erase(kPackedTable, job_key({1}));
    apply(batch);
    for (std::uint64_t job = kFirst - 50; job < behind + 1; ++job)
        EXPECT_EQ(look_up(job), job >= kFirst && job < behind ? Is::damaged : Is::readable) << job;
}

TEST_F(DamagedTable, RowsThatComeBeforeADamagedBlockAndAmongItsNumbersAreRead) {
    damage(kFirst);
    Batch batch;
    put(batch, Table::done, kFirst - 1, end_row());
    put(batch, Table::done, behind - 3, end_row());
    apply(batch);
    for (std::uint64_t job = kFirst; job < behind - 3; ++job) EXPECT_EQ(look_up(job), Is::damaged) << job;
    EXPECT_EQ(look_up(kFirst - 1), Is::readable);
    EXPECT_EQ(look_up(behind - 3), Is::readable);
    EXPECT_EQ(look_up(behind - 2), Is::absent) << "from there on it is the new row's block";
    EXPECT_EQ(look_up(behind), Is::readable);
}

TEST_F(DamagedTable, ARowWhoseKeyIsThatOfADamagedBlockTakesItsPlace) {
    damage((kFirst + kEnd) / 2);
    Batch batch;
    put(batch, Table::done, damaged, end_row());
    put(batch, Table::done, damaged + 5, end_row());
    apply(batch);
    for (std::uint64_t job = damaged; job <= behind; ++job)
        EXPECT_EQ(look_up(job), job == damaged || job == damaged + 5 || job == behind ? Is::readable : Is::absent);
}

TEST_F(DamagedTable, ADeadJobsResultIsReadThoughItsNumberIsAmongThoseOfADamagedBlock) {
    damage((kFirst + kEnd) / 2);
    Batch batch;
    put(batch, Table::dead, damaged + 1, end_row("result"));
    apply(batch);
    auto snapshot = store->read({{Need::Kind::result, kPackedTable, job_key({damaged + 1})}});
    ASSERT_TRUE(snapshot);
    EXPECT_EQ(in(snapshot->rows.at(0)), (Rows{{job_key({damaged + 1}), "result"}}));
}

}  // namespace
}  // namespace jobyard::broker
