// A snapshot with the newer batches laid over it.

#include "found.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "record.hpp"

namespace jobyard::broker {
namespace {

using Rows = std::map<std::string, std::string>;

Need row(Table table, std::string key) { return {Need::Kind::row, table, std::move(key), 1}; }
Need prefix(Table table, std::string key) { return {Need::Kind::prefix, table, std::move(key), 1024}; }
Need after(Table table, std::string key, std::uint32_t limit) {
    return {Need::Kind::after, table, std::move(key), limit};
}

std::string keys_of(const std::vector<RowView>& rows) {
    std::string keys;
    for (const RowView& one : rows) keys += std::string(one.key) + "=" + std::string(one.value) + " ";
    return keys;
}

TEST(Found, EmptyFoundHasNothing) {
    const Found found;
    bool more = true;
    EXPECT_FALSE(found.get(Table::done, "a"));
    EXPECT_TRUE(found.with_prefix(Table::done, "").empty());
    EXPECT_TRUE(found.after(Table::done, "", more).empty());
    EXPECT_FALSE(more);
}

TEST(Found, RowsOfTheSnapshotAreGivenByTableAndKey) {
    const std::vector<Need> needs{row(Table::done, "a"), row(Table::dead, "a"), row(Table::keys, "k")};
    const Snapshot snapshot{5, {{{"a", "in done"}}, {}, {{"k", "v"}}}};
    const Found found(needs, snapshot, {});
    ASSERT_TRUE(found.get(Table::done, "a"));
    EXPECT_EQ(*found.get(Table::done, "a"), "in done");
    EXPECT_FALSE(found.get(Table::dead, "a"));
    EXPECT_EQ(*found.get(Table::keys, "k"), "v");
}

TEST(Found, NewerPutReplacesAndNewerEraseRemoves) {
    Batch batch;
    batch.put(Table::done, "a", "new");
    batch.put(Table::done, "b", "made");
    batch.erase(Table::done, "c");
    const std::vector<Need> needs{row(Table::done, "a"), row(Table::done, "b"), row(Table::done, "c")};
    const Snapshot snapshot{5, {{{"a", "old"}}, {}, {{"c", "old"}}}};
    const Found found(needs, snapshot, {&batch});
    EXPECT_EQ(*found.get(Table::done, "a"), "new");
    EXPECT_EQ(*found.get(Table::done, "b"), "made");
    EXPECT_FALSE(found.get(Table::done, "c"));
}

TEST(Found, BatchesAreLaidOverInOrder) {
    Batch first;
    first.put(Table::keys, "k", "first");
    Batch second;
    second.erase(Table::keys, "k");
    Batch third;
    third.put(Table::keys, "k", "third");
    const std::vector<Need> needs{row(Table::keys, "k")};
    const Snapshot snapshot{5, {{{"k", "old"}}}};
    EXPECT_EQ(*Found(needs, snapshot, {&first}).get(Table::keys, "k"), "first");
    EXPECT_FALSE(Found(needs, snapshot, {&first, &second}).get(Table::keys, "k"));
    EXPECT_EQ(*Found(needs, snapshot, {&first, &second, &third}).get(Table::keys, "k"), "third");
}

TEST(Found, MoveTakesTheRowAlong) {
    Batch batch;
    batch.move(Table::live, Table::buried, "a");
    const std::vector<Need> needs{row(Table::buried, "a"), row(Table::live, "a")};
    const Snapshot snapshot{5, {{}, {{"a", "payload"}}}};
    const Found found(needs, snapshot, {&batch});
    EXPECT_EQ(*found.get(Table::buried, "a"), "payload");
    EXPECT_FALSE(found.get(Table::live, "a"));
}

TEST(Found, MoveOfWhatTheSameBatchPutAndBackAgain) {
    Batch batch;
    batch.put(Table::live, "a", "payload");
    batch.move(Table::live, Table::buried, "a");
    const std::vector<Need> needs{row(Table::buried, "a"), row(Table::live, "a")};
    const Snapshot nothing{5, {{}, {}}};
    EXPECT_EQ(*Found(needs, nothing, {&batch}).get(Table::buried, "a"), "payload");
    batch.move(Table::buried, Table::live, "a");
    const Found again(needs, nothing, {&batch});
    EXPECT_FALSE(again.get(Table::buried, "a"));
    EXPECT_EQ(*again.get(Table::live, "a"), "payload");
}

TEST(Found, MoveOfAnAbsentRowDoesNothing) {
    Batch batch;
    batch.move(Table::live, Table::buried, "a");
    const std::vector<Need> needs{row(Table::buried, "a"), row(Table::live, "a")};
    const Snapshot snapshot{5, {{{"a", "was buried before"}}, {}}};
    const Found found(needs, snapshot, {&batch});
    EXPECT_EQ(*found.get(Table::buried, "a"), "was buried before");
}

TEST(Found, WhatNobodyNeededIsNotTakenFromBatches) {
    Batch batch;
    batch.put(Table::done, "b", "x");
    batch.put(Table::dead, "a", "x");
    const std::vector<Need> needs{row(Table::done, "a")};
    const Snapshot snapshot{5, {{}}};
    const Found found(needs, snapshot, {&batch});
    EXPECT_FALSE(found.get(Table::done, "b"));
    EXPECT_FALSE(found.get(Table::dead, "a"));
}

TEST(Found, RowsWithAPrefixComeInKeyOrderWithTheNewerOnesAmongThem) {
    Batch batch;
    batch.put(Table::attempts, "job1-2", "new");
    batch.erase(Table::attempts, "job1-3");
    batch.put(Table::attempts, "job2-1", "another job");
    const std::vector<Need> needs{prefix(Table::attempts, "job1")};
    const Snapshot snapshot{5, {{{"job1-1", "a"}, {"job1-3", "c"}, {"job1-4", "d"}}}};
    const Found found(needs, snapshot, {&batch});
    EXPECT_EQ(keys_of(found.with_prefix(Table::attempts, "job1")), "job1-1=a job1-2=new job1-4=d ");
    EXPECT_EQ(keys_of(found.with_prefix(Table::attempts, "job1-4")), "job1-4=d ");
}

TEST(Found, PageThatIsFullGoesOn) {
    const std::vector<Need> needs{after(Table::done, "", 2)};
    bool more = false;
    const Snapshot snapshot_full{5, {{{"a", "1"}, {"b", "2"}}}};
    const Found full(needs, snapshot_full, {});
    EXPECT_EQ(keys_of(full.after(Table::done, "", more)), "a=1 b=2 ");
    EXPECT_TRUE(more);
    const Snapshot snapshot_last{5, {{{"a", "1"}}}};
    const Found last(needs, snapshot_last, {});
    EXPECT_EQ(keys_of(last.after(Table::done, "", more)), "a=1 ");
    EXPECT_FALSE(more);
}

TEST(Found, NewerRowsBehindAFullPageWaitForTheNextOne) {
    Batch batch;
    batch.put(Table::done, "aa", "inside");
    batch.put(Table::done, "z", "behind");
    const std::vector<Need> needs{after(Table::done, "", 2)};
    bool more = false;
    const Snapshot snapshot_full{5, {{{"a", "1"}, {"b", "2"}}}};
    const Found full(needs, snapshot_full, {&batch});
    EXPECT_EQ(keys_of(full.after(Table::done, "", more)), "a=1 aa=inside b=2 ");
    const Snapshot snapshot_last{5, {{{"a", "1"}}}};
    const Found last(needs, snapshot_last, {&batch});
    EXPECT_EQ(keys_of(last.after(Table::done, "", more)), "a=1 aa=inside z=behind ")
        << "of the last page they are part";
}

TEST(Found, RowsErasedFromAPageAreMissingButItGoesOn) {
    Batch batch;
    batch.erase(Table::done, "a");
    batch.erase(Table::done, "b");
    const std::vector<Need> needs{after(Table::done, "", 2)};
    bool more = false;
    const Snapshot snapshot{5, {{{"a", "1"}, {"b", "2"}}}};
    const Found found(needs, snapshot, {&batch});
    EXPECT_TRUE(found.after(Table::done, "", more).empty());
    EXPECT_TRUE(more);
}

TEST(Found, PageBeginsBehindItsKey) {
    Batch batch;
    batch.put(Table::done, "a", "before");
    batch.put(Table::done, "b", "at");
    batch.put(Table::done, "c", "behind");
    const std::vector<Need> needs{after(Table::done, "b", 10)};
    bool more = false;
    const Snapshot nothing{5, {{}}};
    EXPECT_EQ(keys_of(Found(needs, nothing, {&batch}).after(Table::done, "b", more)), "c=behind ");
}

/// Against the truth: reading at one moment and laying the rest over it is reading at the end.
TEST(Found, SnapshotAndBatchesTogetherAreTheNewestState) {
    std::mt19937 rng(1);
    const auto key = [&] { return std::string(1, static_cast<char>('a' + rng() % 6)); };
    const Table tables[] = {Table::live, Table::buried, Table::done};
    for (int round = 0; round < 2000; ++round) {
        std::map<Table, Rows> state;
        std::vector<Batch> batches(rng() % 4 + 1);
        const std::size_t read_after = rng() % (batches.size() + 1);
        std::vector<Need> needs{row(Table::live, key()),        row(Table::done, key()), prefix(Table::done, ""),
                                after(Table::buried, "b", 100), prefix(Table::live, ""), prefix(Table::buried, "")};
        Snapshot snapshot;
        const auto read = [&] {
            for (const Need& need : needs) {
                auto& rows = snapshot.rows.emplace_back();
                for (const auto& [k, v] : state[need.table])
                    if (need.kind == Need::Kind::row      ? k == need.key
                        : need.kind == Need::Kind::prefix ? k.starts_with(need.key)
                                                          : k > need.key)
                        rows.push_back({k, v});
            }
        };
        std::vector<const Batch*> newer;
        for (std::size_t i = 0; i <= batches.size(); ++i) {
            if (i == read_after) read();
            if (i == batches.size()) break;
            if (i >= read_after) newer.push_back(&batches[i]);
            for (std::uint32_t n = rng() % 8; n > 0; --n) {
                const Table table = tables[rng() % 3];
                const std::string k = key();
                Rows& rows = state[table];
                switch (rng() % 4) {
                    case 0:
                    case 1: {
                        const std::string value = std::to_string(rng());
                        batches[i].put(table, k, value);
                        rows[k] = value;
                        break;
                    }
                    case 2:
                        batches[i].erase(table, k);
                        rows.erase(k);
                        break;
                    default: {
                        const Table from = rng() % 2 == 0 ? Table::live : Table::buried;
                        const Table to = from == Table::live ? Table::buried : Table::live;
                        batches[i].move(from, to, k);
                        if (const auto found = state[from].find(k); found != state[from].end()) {
                            state[to][k] = found->second;
                            state[from].erase(k);
                        }
                    }
                }
            }
        }
        const Found found(needs, snapshot, newer);
        for (const Need& need : needs) {
            const Rows& truth = state[need.table];
            if (need.kind == Need::Kind::row) {
                const auto got = found.get(need.table, need.key);
                ASSERT_EQ(got.has_value(), truth.contains(need.key)) << "round " << round;
                ASSERT_TRUE(!got || *got == truth.at(need.key)) << "round " << round;
                continue;
            }
            std::string expected;
            for (const auto& [k, v] : truth)
                if (need.kind == Need::Kind::prefix ? k.starts_with(need.key) : k > need.key)
                    expected.append(k).append("=").append(v).append(" ");
            bool more = false;
            ASSERT_EQ(keys_of(need.kind == Need::Kind::prefix ? found.with_prefix(need.table, need.key)
                                                              : found.after(need.table, need.key, more)),
                      expected)
                << "round " << round;
        }
    }
}

TEST(Found, APageFromAKeyBeginsWithTheLastRowThatIsNotBehindIt) {
    const auto from = [](std::uint64_t key, std::uint32_t limit) {
        return std::vector<Need>{{Need::Kind::from, Table::events, big_endian(key), limit}};
    };
    const auto numbers_of = [](const Found& found, std::uint64_t key, bool& more) {
        std::vector<std::uint64_t> numbers;
        for (const RowView& one : found.after(Table::events, big_endian(key), more))
            numbers.push_back(from_big_endian(one.key));
        return numbers;
    };
    using Numbers = std::vector<std::uint64_t>;
    bool more = true;
    const std::string ten = big_endian(10);
    const std::string twenty = big_endian(20);
    const std::vector<Need> whole = from(15, 9);
    const Snapshot snapshot{5, {{{ten, ""}, {twenty, ""}}}};
    EXPECT_EQ(numbers_of(Found(whole, snapshot, {}), 15, more), (Numbers{10, 20}));
    EXPECT_FALSE(more);

    Batch newer;
    newer.put(Table::events, big_endian(14), "the store lacked it");
    newer.put(Table::events, big_endian(30), "");
    newer.erase(Table::events, ten);
    EXPECT_EQ(numbers_of(Found(whole, snapshot, {&newer}), 15, more), (Numbers{14, 20, 30}));

    const std::vector<Need> full = from(15, 2);
    EXPECT_EQ(numbers_of(Found(full, snapshot, {&newer}), 15, more), (Numbers{14, 20}));
    EXPECT_TRUE(more) << "what is behind a full page belongs to the next";

    const Snapshot none{5, {{}}};
    EXPECT_EQ(numbers_of(Found(whole, none, {&newer}), 15, more), (Numbers{14, 30}));
    const Snapshot later{5, {{{twenty, ""}}}};
    EXPECT_EQ(numbers_of(Found(whole, later, {&newer}), 15, more), (Numbers{14, 20, 30}));
}

}  // namespace
}  // namespace jobyard::broker
