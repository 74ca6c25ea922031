// A store and a commit log that do not belong together are refused, whatever they are.

#include "recovery.hpp"

#include <gtest/gtest.h>

#include <filesystem>

#include "record.hpp"
#include "temporary_directory.hpp"

namespace jobyard::broker {
namespace {

struct RecoveryTest : testing::Test {
    test::TemporaryDirectory directory;
    std::unique_ptr<Store> store;
    std::unique_ptr<CommitLog> log;

    Result<Recovered> start() {
        store.reset();
        log.reset();
        auto opened = Store::open({directory.path(), std::uint64_t{1} << 30});
        EXPECT_TRUE(opened) << opened.error().text;
        store = std::move(*opened);
        auto opened_log = CommitLog::open(directory.path());
        EXPECT_TRUE(opened_log) << opened_log.error().text;
        log = std::move(*opened_log);
        return recover(*store, *log, {}, {});
    }
    static Batch batch(std::uint64_t seq) {
        Batch made;
        made.seq = seq;
        made.first_job = {seq};
        made.put(Table::meta, kMetaApplied, big_endian(seq));
        return made;
    }
};

/// The store has left out what the lost batch would have ended.
TEST_F(RecoveryTest, ALogThatLacksWhatTheStoreHasLookedAheadToIsRefused) {
    const auto first = start();
    ASSERT_TRUE(first) << first.error().text;
    const Batch applied = batch(first->applied_seq + 1);
    const Batch kept = batch(first->applied_seq + 2);
    const Batch lost = batch(first->applied_seq + 3);
    ASSERT_TRUE(log->append(applied));
    ASSERT_TRUE(log->append(kept));
    ASSERT_TRUE(store->apply({&applied}, {&kept, &lost}));
    for (int attempt = 0; attempt < 2; ++attempt) {
        const auto refused = start();
        ASSERT_FALSE(refused) << "the second attempt, which finds `kept` applied, no more than the first";
        EXPECT_NE(refused.error().text.find("restore a backup"), std::string::npos) << refused.error().text;
    }
}

/// The refused start must not leave a log behind that the next one takes for the store's.
TEST_F(RecoveryTest, AStoreWhoseLogIsGoneIsRefusedEveryTime) {
    ASSERT_TRUE(start());
    std::filesystem::remove(directory / "log.0");
    std::filesystem::resize_file(directory / "log.1", 4096);
    for (int attempt = 0; attempt < 2; ++attempt) {
        const auto refused = start();
        ASSERT_FALSE(refused) << "attempt " << attempt;
        EXPECT_NE(refused.error().text.find("missing or cut short"), std::string::npos) << refused.error().text;
    }
}

/// Two empty pages are taken for a store that was never finished; not beside a log that has been used.
TEST_F(RecoveryTest, AStoreThatIsGoneWhileItsLogIsThereIsRefused) {
    const auto first = start();
    ASSERT_TRUE(first) << first.error().text;
    ASSERT_TRUE(log->append(batch(first->applied_seq + 1)));
    store.reset();
    std::filesystem::resize_file(directory / "data.mdb", 0);
    std::filesystem::resize_file(directory / "data.mdb", 8192);
    for (int attempt = 0; attempt < 2; ++attempt) {
        const auto refused = start();
        ASSERT_FALSE(refused) << "attempt " << attempt;
        EXPECT_NE(refused.error().text.find("another store's"), std::string::npos) << refused.error().text;
    }
}

/// An error that says which, not the end of the process.
TEST_F(RecoveryTest, RowsThatAreNoneAreToldOf) {
    struct Damage {
        Table table;
        std::string_view key;
        std::string_view value;
    };
    const std::string number = big_endian(7);
    for (const Damage& damage :
         {Damage{Table::meta, kMetaApplied, "short"}, Damage{Table::meta, kMetaEpoch, "short"},
          Damage{Table::meta, kMetaStore, "no uuid"}, Damage{Table::meta, kMetaLogSecret, "ninebytes"},
          Damage{Table::meta, kMetaFloor, "short"}, Damage{Table::live, "key", "value"},
          Damage{Table::live, number, "value"}, Damage{Table::claims, number, "short"},
          Damage{Table::claims, "key", number}, Damage{Table::instances, "key", "value"}}) {
        test::TemporaryDirectory place;
        const std::string what = std::string(to_string(damage.table)) + " " + std::string(damage.key);
        {
            auto made = Store::open({place.path(), std::uint64_t{1} << 30});
            auto made_log = CommitLog::open(place.path());
            ASSERT_TRUE(recover(**made, **made_log, {}, {})) << what;
            Batch batch;
            batch.put(damage.table, damage.key, damage.value);
            ASSERT_TRUE((*made)->apply(batch)) << what;
        }
        const auto opened = Store::open({place.path(), std::uint64_t{1} << 30});
        if (!opened) {
            EXPECT_NE(opened.error().text.find("damaged"), std::string::npos) << what << ": " << opened.error().text;
            continue;
        }
        auto opened_log = CommitLog::open(place.path());
        const auto refused = recover(**opened, **opened_log, {}, {});
        ASSERT_FALSE(refused) << what;
        EXPECT_NE(refused.error().text.find("damaged"), std::string::npos) << what << ": " << refused.error().text;
    }
}

TEST_F(RecoveryTest, ABackupIsNotServed) {
    ASSERT_TRUE(start());
    Batch marked = batch(9);
    marked.put(Table::meta, kMetaBackup, big_endian(1));
    ASSERT_TRUE(store->apply(marked));
    const auto refused = start();
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find("jobyard store restore"), std::string::npos) << refused.error().text;
}

TEST_F(RecoveryTest, ALogThatHasItIsReplayed) {
    const auto first = start();
    ASSERT_TRUE(first) << first.error().text;
    const Batch applied = batch(first->applied_seq + 1);
    const Batch ahead = batch(first->applied_seq + 2);
    ASSERT_TRUE(log->append(applied));
    ASSERT_TRUE(log->append(ahead));
    ASSERT_TRUE(store->apply({&applied}, {&ahead}));
    const auto second = start();
    ASSERT_TRUE(second) << second.error().text;
    EXPECT_EQ(second->applied_seq, ahead.seq + 1) << "and the batch of this start";
    const auto third = start();
    ASSERT_TRUE(third) << third.error().text;
}

}  // namespace
}  // namespace jobyard::broker
