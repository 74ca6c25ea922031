#include "recovery.hpp"

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/random.h>

namespace jobyard::broker {
namespace {

constexpr std::size_t kApplyBytes = std::size_t{24} << 20;

struct Identity {
    Uuid store;
    std::uint64_t log_secret = 0;
    std::uint32_t epoch = 0;
};

/// A row of `meta` that has so many bytes; nothing if it is not there.
Result<std::optional<std::string>> meta_row(Store& store, std::string_view name, std::size_t bytes) {
    auto row = store.get(Table::meta, name);
    if (row && *row && (*row)->size() != bytes)
        return Error{Code::internal, "the row " + std::string(name) +
                                         " of table meta is damaged; restore a backup of the data directory"};
    return row;
}

/// 0 if it is not there.
Result<std::uint64_t> meta_number(Store& store, std::string_view name) {
    const auto row = meta_row(store, name, sizeof(std::uint64_t));
    if (!row) return row.error();
    return *row ? from_big_endian(**row) : 0;
}

constexpr std::size_t kUuidBytes = 16;

/// Every start is an epoch of its own, on disk before the first token of it is granted.
Result<Identity> begin_epoch(Store& store) {
    auto epoch = meta_number(store, kMetaEpoch);
    if (!epoch) return epoch.error();
    auto applied = meta_number(store, kMetaApplied);
    if (!applied) return applied.error();
    auto id = meta_row(store, kMetaStore, kUuidBytes);
    if (!id) return id.error();
    if (*epoch >= kEpochMax)
        return Error{Code::internal, "this store has been started 2^20 times; move its jobs to a new one"};
    Identity identity;
    identity.epoch = static_cast<std::uint32_t>(*epoch + 1);
    if (::getrandom(&identity.log_secret, sizeof identity.log_secret, 0) != sizeof identity.log_secret)
        return Error{Code::internal, "the system gave no random bytes"};
    Batch batch;
    batch.seq = *applied + 1;
    if (*id) {
        identity.store = uuid_from_bytes(**id);
    } else {
        if (::getrandom(identity.store.bytes.data(), identity.store.bytes.size(), 0) != 16)
            return Error{Code::internal, "the system gave no random bytes"};
        batch.put(Table::meta, kMetaStore, identity.store.view());
    }
    batch.put(Table::meta, kMetaLogSecret, big_endian(identity.log_secret));
    batch.put(Table::meta, kMetaEpoch, big_endian(identity.epoch));
    batch.put(Table::meta, kMetaApplied, big_endian(batch.seq));
    if (auto applied_now = store.apply(batch); !applied_now) return applied_now.error();
    return identity;
}

/// Every row that the core keeps in memory. Gives the number of the last batch.
Result<std::uint64_t> load(Store& store, Core& core, Turn now) {
    std::uint64_t applied = 0;
    std::string damage;
    // Keys are numbers, but those of these two.
    const auto each = [&](Table table, auto&& take) -> Result<void> {
        const bool has_number = table != Table::queues && table != Table::meta;
        return store.for_each(table, [&](std::string_view key, std::string_view value) {
            if (((has_number && key.size() != sizeof(std::uint64_t)) || !take(key, value)) && damage.empty())
                damage = std::string("a row of table ") + to_string(table) + " is damaged (key of " +
                         std::to_string(key.size()) + " bytes, number " +
                         (key.size() >= 8 ? std::to_string(from_big_endian(key)) : "?") + ")";
        });
    };
    std::deque<std::string> moved_to;                // queues, which the rows of `states` look into
    std::vector<std::pair<JobId, StateRow>> states;  // both tables come in job order: one pass merges them
    auto read = each(Table::state, [&](std::string_view key, std::string_view value) {
        states.emplace_back(JobId{from_big_endian(key)}, StateRow{});
        StateRow& row = states.back().second;
        if (!read_row(value, row)) return false;
        if (!row.queue.empty()) row.queue = moved_to.emplace_back(row.queue);
        return true;
    });
    if (!read) return read.error();
    std::map<JobId, ArrayRow> arrays;
    std::deque<std::string> array_names;
    read = each(Table::counts, [&](std::string_view key, std::string_view value) {
        ArrayRow& row = arrays[{from_big_endian(key)}];
        const bool good = read_row(value, row);
        row.name = array_names.emplace_back(row.name);
        return good;
    });
    if (!read) return read.error();
    read = each(Table::arrays, [&](std::string_view key, std::string_view value) {
        const JobId id{from_big_endian(key)};
        LiveRow row;
        if (!arrays.contains(id) || !read_row(value, row)) return false;
        core.load_array(id, row, arrays.at(id));
        return true;
    });
    if (!read) return read.error();
    auto state = states.begin();
    read = each(Table::live, [&](std::string_view key, std::string_view value) {
        const JobId id{from_big_endian(key)};
        LiveRow row;
        if (!read_row(value, row) || (row.array && !core.has_array(row.array))) return false;
        while (state != states.end() && state->first < id) ++state;
        core.load_live(id, row, state != states.end() && state->first == id ? &state->second : nullptr, now);
        return true;
    });
    if (!read) return read.error();
    read = each(Table::queues, [&](std::string_view key, std::string_view value) {
        QueueRow row;
        const bool good = read_row(value, row);
        if (good) core.load_queue(key, row);
        return good;
    });
    if (!read) return read.error();
    read = each(Table::tasks, [&](std::string_view key, std::string_view value) {
        TaskRow row;
        const bool good = read_row(value, row);
        if (good) core.load_task(from_big_endian(key), row);
        return good;
    });
    if (!read) return read.error();
    read = each(Table::claims, [&](std::string_view key, std::string_view value) {
        if (value.size() != sizeof(std::uint64_t)) return false;
        core.load_claim({from_big_endian(key)}, {from_big_endian(value)});
        return true;
    });
    if (!read) return read.error();
    read = each(Table::workers, [&](std::string_view key, std::string_view value) {
        WorkerRow row;
        const bool good = read_row(value, row);
        if (good) core.load_worker(from_big_endian(key), row);
        return good;
    });
    if (!read) return read.error();
    read = each(Table::instances, [&](std::string_view key, std::string_view value) {
        InstanceRow row;
        const bool good = read_row(value, row);
        if (good) core.load_instance(from_big_endian(key), row, now);
        return good;
    });
    if (!read) return read.error();
    read = each(Table::meta, [&](std::string_view key, std::string_view value) {
        const bool is_number = key == kMetaFloor || key == kMetaApplied;
        if (is_number && value.size() != sizeof(std::uint64_t)) return false;
        if (key == kMetaNumbers) {
            NumbersRow numbers;
            if (!read_row(value, numbers)) return false;
            core.load(numbers);
        } else if (key == kMetaFloor) {
            core.load_floor({from_big_endian(value)});
        } else if (key == kMetaApplied) {
            applied = from_big_endian(value);
            core.load_applied(applied);
        } else if (key == kMetaUnknownJobs) {
            for (std::size_t at = 0; at + 16 <= value.size(); at += 16)
                core.load_unknown_jobs({from_big_endian(value.substr(at))}, {from_big_endian(value.substr(at + 8))});
        }
        return true;
    });
    if (!read) return read.error();
    if (!damage.empty()) return Error{Code::internal, damage + "; restore a backup of the data directory"};
    return applied;
}

}  // namespace

Result<Recovered> recover(Store& store, CommitLog& log, CoreConfig config, Turn now) {
    const auto in_store = meta_number(store, kMetaApplied);
    if (!in_store) return in_store.error();
    const auto relied = meta_number(store, kMetaRelied);
    if (!relied) return relied.error();
    const auto owner = meta_row(store, kMetaStore, kUuidBytes);
    if (!owner) return owner.error();
    const auto secret = meta_number(store, kMetaLogSecret);
    if (!secret) return secret.error();
    const auto backup = store.get(Table::meta, kMetaBackup);
    if (!backup) return backup.error();
    if (*backup || (*owner && log.is_new())) log.take_back();
    if (*backup)
        return Error{Code::internal,
                     "this is a backup, which must not be served: another broker may still hold what it holds. Make a "
                     "data directory of it: jobyard store restore BACKUP --to DIR"};
    if (*owner && log.is_new())
        return Error{
            Code::internal,
            "the commit log (log.0 and log.1 beside data.mdb) is missing or cut short, and with it perhaps jobs "
            "that were acknowledged; restore a backup of the whole data directory"};
    if (*owner) log.belongs_to(uuid_from_bytes(**owner), *secret);
    std::vector<Batch> group;  // as the applier does: a transaction for many
    std::size_t bytes = 0;
    const auto apply = [&]() -> Result<void> {
        std::vector<const Batch*> batches;
        for (const Batch& batch : group) batches.push_back(&batch);
        auto done = batches.empty() ? Result<void>{} : store.apply(batches);
        group.clear();
        bytes = 0;
        return done;
    };
    auto replayed = log.replay(*in_store, [&](Batch&& batch) -> Result<void> {
        bytes += batch.bytes();
        group.push_back(std::move(batch));
        return bytes < kApplyBytes ? Result<void>{} : apply();
    });
    if (replayed) replayed = apply();
    if (!replayed) return replayed.error();
    const auto last = meta_number(store, kMetaApplied);
    if (!last) return last.error();
    if (*relied > *last)
        return Error{Code::internal, "the commit log ends with batch " + std::to_string(*last) + " but had batch " +
                                         std::to_string(*relied) +
                                         ", which was durable: its end is missing or damaged; restore a backup of the "
                                         "whole data directory"};
    const auto identity = begin_epoch(store);
    if (!identity) return identity.error();
    log.belongs_to(identity->store, identity->log_secret);
    config.store = identity->store;
    config.epoch = identity->epoch;
    Recovered recovered{std::make_unique<Core>(std::move(config)), 0, identity->epoch};
    const auto applied = load(store, *recovered.core, now);
    if (!applied) return applied.error();
    recovered.applied_seq = *applied;
    return recovered;
}

}  // namespace jobyard::broker
