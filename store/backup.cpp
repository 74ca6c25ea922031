#include "backup.hpp"

#include <dirent.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <utility>

#include "fd.hpp"

namespace jobyard::store {
namespace {

/// A transaction, as the applier makes them.
constexpr std::size_t kBatchBytes = std::size_t{8} << 20;
constexpr std::size_t kBatchRows = 100'000;
constexpr std::uint64_t kRowsBetween = 1'000;  // between two calls of Progress

/// The name of something in it, or nothing.
Result<std::string> first_in(const std::string& directory) {
    DIR* opened = ::opendir(directory.c_str());
    if (opened == nullptr)
        return Error{Code::internal, "cannot read the directory " + directory + ": " + broker::errno_text(errno)};
    std::string found;
    while (const dirent* entry = ::readdir(opened)) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") found = name;
    }
    ::closedir(opened);
    return found;
}

bool belongs_to_this_store_alone(std::string_view name) {
    return name == broker::kMetaFormat || name == broker::kMetaRelied || name == broker::kMetaLogSecret ||
           name == broker::kMetaBackup;
}

using Wanted = bool (*)(Table table, std::string_view key);

Result<Copied> copy(const Image& image, NewStore& to, Wanted wanted, const Progress& progress) {
    Copied copied;
    copied.last_batch = image.last_batch();
    const std::uint64_t all = image.rows();
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < kTables; ++i) {
        const auto table = static_cast<Table>(i);
        auto done = image.for_each(table, [&](std::string_view key, std::string_view value) -> Result<void> {
            if (seen++ % kRowsBetween == 0) progress(seen - 1, std::max(seen, all));
            if (!wanted(table, key)) return {};
            ++copied.rows;
            copied.bytes += key.size() + value.size();
            return to.put(table, key, value);
        });
        if (!done) return done.error();
    }
    progress(seen, seen);
    return copied;
}

std::int64_t wall_now() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

}  // namespace

// --- a store being made ----------------------------------------------------------------------------------------------

Result<std::unique_ptr<NewStore>> NewStore::begin(const std::string& directory) {
    if (auto made = broker::make_directory(directory, "directory"); !made) return made.error();
    const auto found = first_in(directory);
    if (!found) return found.error();
    if (!found->empty())
        return Error{Code::internal,
                     directory + " is not empty (" + *found +
                         " is in it); name a directory that is empty or not there yet, because nothing is overwritten"};
    auto store = broker::Store::open({directory + "/store.unfinished"});
    if (!store) return store.error();
    return std::unique_ptr<NewStore>(new NewStore(directory, *std::move(store)));
}

NewStore::~NewStore() {
    store_.reset();
    std::error_code ignored;  // nothing is there any more, or it cannot be helped
    std::filesystem::remove_all(unfinished(), ignored);
}

Result<void> NewStore::put(Table table, std::string_view key, std::string_view value) {
    batch_.put(table, key, value);
    return flush_if_large();
}

Result<void> NewStore::flush_if_large() {
    return batch_.bytes() < kBatchBytes && batch_.ops().size() < kBatchRows ? Result<void>{} : flush();
}

Result<void> NewStore::flush() {
    auto applied = batch_.empty() ? Result<void>{} : store_->apply(batch_);
    batch_.clear();
    return applied;
}

Result<void> NewStore::make_log() {
    const auto log = broker::CommitLog::open(unfinished());
    if (!log) return log.error();
    return {};
}

Result<void> NewStore::finish() {
    if (auto flushed = flush(); !flushed) return flushed;
    store_.reset();
    // Only whoever shares a store needs it, and makes it.
    static_cast<void>(::unlink((unfinished() + "/lock.mdb").c_str()));
    if (auto synced = broker::sync_directory(unfinished()); !synced) return synced;
    if (::rename(unfinished().c_str(), (directory_ + "/store").c_str()) != 0)
        return Error{Code::internal, "cannot rename " + unfinished() + ": " + broker::errno_text(errno)};
    return broker::sync_directory(directory_);
}

Result<void> begin_anew(NewStore& store, broker::NumbersRow numbers, std::uint64_t epoch, std::string unknown_jobs) {
    if (epoch + kEpochsAhead >= kEpochMax)
        return Error{Code::internal, "this store has been started or restored too often (epoch " +
                                         std::to_string(epoch) + " of " + std::to_string(kEpochMax) +
                                         "); dump its jobs and load them into a new one"};
    Uuid id;
    if (::getrandom(id.bytes.data(), id.bytes.size(), 0) != static_cast<ssize_t>(id.bytes.size()))
        return Error{Code::internal, "the system gave no random bytes"};
    const std::uint64_t next_job = numbers.next_job + kJobNumbersAhead;
    unknown_jobs += broker::big_endian(std::exchange(numbers.next_job, next_job)) + broker::big_endian(next_job);
    Batch& batch = store.batch();
    batch.put(Table::meta, broker::kMetaStore, id.view());
    batch.put(Table::meta, broker::kMetaEpoch, broker::big_endian(epoch + kEpochsAhead));
    batch.put(Table::meta, broker::kMetaFloor, broker::big_endian((epoch + kEpochsAhead) << kTokenCounterBits));
    batch.put(Table::meta, broker::kMetaUnknownJobs, unknown_jobs);
    const broker::Slice key = batch.append(broker::kMetaNumbers);
    batch.put(Table::meta, key, append_row(batch, numbers));
    return {};
}

// --- backup and restore ----------------------------------------------------------------------------------------------

Result<Copied> back_up(const std::string& data, const std::string& to, const Progress& progress) {
    const std::int64_t at = wall_now();
    auto image = Image::open(data);
    if (!image) return image.error();
    const auto id = (*image)->store_id();
    if (!id) return id.error();
    auto store = NewStore::begin(to);
    if (!store) return store.error();
    auto copied = copy(
        **image, **store,
        [](Table table, std::string_view key) { return table != Table::meta || !belongs_to_this_store_alone(key); },
        progress);
    if (!copied) return copied;
    copied->store = *id;
    (*store)->batch().put(Table::meta, broker::kMetaBackup, broker::big_endian(static_cast<std::uint64_t>(at)));
    if (auto finished = (*store)->finish(); !finished) return finished.error();
    return copied;
}

Result<Copied> restore(const std::string& from, const std::string& to, const Progress& progress) {
    auto image = Image::open(from);
    if (!image) return image.error();
    const auto is_backup = (*image)->backup_at();
    if (!is_backup) return is_backup.error();
    if (!*is_backup)
        return Error{Code::internal, from +
                                         " is the data directory of a broker, not a backup; make one first: "
                                         "jobyard store backup " +
                                         from + " --to BACKUP"};
    const auto numbers = (*image)->numbers();
    if (!numbers) return numbers.error();
    const auto epoch = (*image)->number(broker::kMetaEpoch);
    if (!epoch) return epoch.error();
    const auto unknown_jobs = (*image)->get(Table::meta, broker::kMetaUnknownJobs);
    if (!unknown_jobs) return unknown_jobs.error();
    auto store = NewStore::begin(to);
    if (!store) return store.error();
    // Nobody holds anything of this store: no worker is waited for, no token is good, no window is open.
    auto copied = copy(
        **image, **store,
        [](Table table, std::string_view key) {
            return table == Table::meta
                       ? !belongs_to_this_store_alone(key)
                       : table != Table::workers && table != Table::claims && table != Table::instances;
        },
        progress);
    if (!copied) return copied;
    if (auto anew = begin_anew(**store, *numbers, *epoch, std::string(unknown_jobs->value_or(""))); !anew)
        return anew.error();
    if (auto made = (*store)->make_log(); !made) return made.error();
    if (auto finished = (*store)->finish(); !finished) return finished.error();
    return copied;
}

}  // namespace jobyard::store
