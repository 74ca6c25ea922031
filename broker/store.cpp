#include "store.hpp"

#include <fcntl.h>
#include <lmdb.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <mutex>

#include "fd.hpp"
#include "jobyard/assert.hpp"
#include "lmdb_handles.hpp"
#include "packed_table.hpp"
#include "record.hpp"
#include "store_view.hpp"

namespace jobyard::broker {
namespace {

/// How many operations go between two calls of `between`: some ten microseconds' work, which a look at the clock is
/// not.
constexpr std::size_t kOpsBetween = 16;

constexpr unsigned kMaxReaders = 126;
/// What LMDB makes of that many readers, rounded up to pages.
constexpr off_t kLockFileBytes = 8192;
/// With less than this free, a failed write is taken for a full disk: LMDB reports short writes as EIO.
constexpr std::uint64_t kFullBelowBytes = std::uint64_t{1} << 20;
/// LMDB's own bound of a key.
constexpr std::size_t kMaxKeyBytes = 511;

/// LMDB writes its lock file through a map; on a full disk that would be a SIGBUS instead of an error. So its space is
/// taken before.
int reserve_lock_file(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    return file ? ::posix_fallocate(file.get(), 0, kLockFileBytes) : errno;
}

/// Until its first transaction a store is LMDB's two first pages, each with a few words at its beginning. LMDB does not
/// sync them, and refuses what a power loss may leave of them: some sectors, and zeros. But nothing was in it, so it is
/// made anew. (If there was, the commit log tells: recover().)
void drop_if_never_finished(const std::string& path) {
    constexpr std::size_t kSector = 512;
    constexpr std::string_view kMagic = "\xde\xc0\xef\xbe";
    constexpr std::size_t kMagicAt = 16;
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    std::string bytes(2 * page + 1, '\0');
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const ssize_t size = file ? ::pread(file.get(), bytes.data(), bytes.size(), 0) : -1;
    if (size < 0 || size == static_cast<ssize_t>(bytes.size())) return;
    bytes.resize(static_cast<std::size_t>(size));
    for (std::size_t at = 0; at < bytes.size(); at += kSector) {
        const std::string_view sector = std::string_view(bytes).substr(at, kSector);
        const bool is_first = at % page == 0 && sector.substr(std::min(kMagicAt, sector.size())).starts_with(kMagic);
        if (!is_first && sector.find_first_not_of('\0') != std::string_view::npos) return;  // not LMDB's: it says so
    }
    ::unlink(path.c_str());
}

/// Reading ahead makes a cold start fast, but in a file larger than memory it evicts what is needed for what is not.
bool larger_than_memory(const std::string& file) {
    struct stat info {};
    return ::stat(file.c_str(), &info) == 0 && info.st_size / ::sysconf(_SC_PAGESIZE) > ::sysconf(_SC_PHYS_PAGES);
}

void raise(std::atomic<std::uint64_t>& value, std::uint64_t by) { value.fetch_add(by, std::memory_order_relaxed); }

}  // namespace

Result<std::unique_ptr<Store>> Store::open(const Options& options) {
    if (auto made = make_directory(options.path, "directory of the store"); !made) return made.error();
    MDB_env* env = nullptr;
    if (const int rc = mdb_env_create(&env); rc != 0)
        return Error{Code::internal, std::string("cannot prepare the store: ") + mdb_strerror(rc)};
    std::unique_ptr<Store> store(new Store(options.path, env));  // closes env on every way out
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    JOBYARD_ASSERT(mdb_env_set_mapsize(env, (options.map_bytes + page - 1) / page * page) == 0);
    JOBYARD_ASSERT(mdb_env_set_maxdbs(env, kTables) == 0);
    JOBYARD_ASSERT(mdb_env_set_maxreaders(env, kMaxReaders) == 0);
    // Never MDB_NOSYNC, MDB_NOMETASYNC or MDB_WRITEMAP: each gives up a promise at a power loss or on a full disk.
    unsigned flags = MDB_NOTLS;
    const std::string file = options.path + "/data.mdb";
    if (larger_than_memory(file)) flags |= MDB_NORDAHEAD;
    drop_if_never_finished(file);
    int rc = reserve_lock_file(options.path + "/lock.mdb");
    if (rc == 0) rc = mdb_env_open(env, options.path.c_str(), flags, 0600);
    if (rc == 0) rc = mdb_env_sync(env, 1);  // a longer file has these pages whole
    if (rc != 0) return store->failure("cannot open the store", rc);
    if (auto opened = store->open_tables(); !opened) return opened.error();
    if (auto checked = store->check_readers(); !checked) return checked.error();
    if (auto synced = sync_directory(options.path); !synced) return synced.error();
    store->measure();
    return store;
}

Store::~Store() { mdb_env_close(env_); }

Result<void> Store::open_tables() {
    // A write transaction even if nothing is missing: then its commit writes nothing, so a full disk does not hinder
    // it.
    Transaction transaction(env_, 0);
    int rc = transaction.error();
    for (std::size_t i = 0; rc == 0 && i < kTables; ++i) {
        const auto table = static_cast<Table>(i);
        rc = mdb_dbi_open(transaction.get(), to_string(table), MDB_CREATE, &tables_[i]);
        if (rc == 0 && table == Table::meta) {
            // Before anything else of the store is touched.
            MDB_val key = to_val(kMetaFormat);
            MDB_val found;
            const std::string ours = std::to_string(kFormatVersion);
            rc = mdb_get(transaction.get(), handle(table), &key, &found);
            if (rc == 0 && to_view(found) != ours) return other_format(path_, to_view(found));
            MDB_val value = to_val(ours);
            if (rc == MDB_NOTFOUND) rc = mdb_put(transaction.get(), handle(table), &key, &value, 0);
            MDB_val relied_key = to_val(kMetaRelied);
            if (rc == 0 && mdb_get(transaction.get(), handle(table), &relied_key, &found) == 0) {
                if (found.mv_size != sizeof(std::uint64_t)) return damaged(kMetaRelied);
                passing_ = Passing(from_big_endian(to_view(found)));
            }
        }
        if (rc == 0) {
            Cursor cursor(transaction.get(), tables_[i]);
            if (cursor.last()) bounds_[i] = cursor.key();
            rc = cursor.error();
        }
    }
    if (rc == 0) rc = transaction.commit();
    if (rc == MDB_MAP_FULL)
        return Error{Code::internal, "the map is too small to create a store in: give a larger --map-size"};
    if (rc != 0) return failure("cannot open the tables", rc);
    return {};
}

Result<void> Store::apply(const std::vector<const Batch*>& batches, const std::vector<const Batch*>& ahead,
                          const std::function<void()>& between) {
    JOBYARD_ASSERT(ahead.empty() || ahead.front()->first_job);
    const auto began = std::chrono::steady_clock::now();
    const auto greatest = [this](Table table) {
        const std::string& bound = bounds_[static_cast<std::size_t>(table)];
        return bound.size() == sizeof(std::uint64_t) ? from_big_endian(bound) : 0;
    };
    const std::uint64_t bound = std::max(greatest(Table::live), greatest(Table::buried));
    std::chrono::steady_clock::duration waited{};
    const auto wait_between = [&] {
        const auto since = std::chrono::steady_clock::now();
        between();
        waited += std::chrono::steady_clock::now() - since;
    };
    for (const auto* list : {&batches, &ahead}) {
        for (const Batch* batch : *list) {
            passing_.note(*batch, bound);
            wait_between();
        }
    }
    int rc = write(batches, wait_between);
    while (rc == MDB_MAP_FULL) {
        if (auto grown = grow(); !grown) return grown;
        rc = write(batches, wait_between);
    }
    if (rc != 0) return failure("cannot write batch " + std::to_string(batches.back()->seq), rc);
    if (ahead.empty()) passing_.applied_all();
    else passing_.applied(batches.back()->seq, ahead.front()->first_job.value);
    const auto took = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - began - waited)
            .count());
    raise(counted_.transactions, 1);
    raise(counted_.apply_us, took);
    if (took > counted_.apply_us_max.load(std::memory_order_relaxed))
        counted_.apply_us_max.store(took, std::memory_order_relaxed);
    raise(counted_.puts, written_[static_cast<std::size_t>(Op::Kind::put)]);
    raise(counted_.erases, written_[static_cast<std::size_t>(Op::Kind::erase)]);
    raise(counted_.moves, written_[static_cast<std::size_t>(Op::Kind::move)]);
    raise(counted_.value_bytes, written_bytes_);
    measure();
    // Before it is full, because then a batch is written twice.
    if (counted_.used_bytes > counted_.map_bytes / 100 * 85) return grow();
    return {};
}

/// One transaction being written. Whatever fails is LMDB's error; then nothing more may be written.
class Store::Writing {
 public:
    Writing(Store& store, MDB_txn* txn) : store_(store), txn_(txn), blocks_(txn, store.handle(kPackedTable)) {}

    int write(const Batch& batch, const Op& op) {
        const std::string_view key = batch.key(op);
        JOBYARD_ASSERT(!key.empty() && key.size() <= kMaxKeyBytes);
        int rc = 0;
        if (op.kind == Op::Kind::move) rc = move(op.table, op.to, key);
        else if (op.table != kPackedTable)
            rc = op.kind == Op::Kind::put ? put(op.table, key, batch.value(op)) : erase(op.table, key);
        else if (op.kind == Op::Kind::put) packed_.put(key, batch.value(op));
        else packed_.erase(key);
        return rc == 0 && packed_.is_full() ? packed_.write() : rc;
    }
    int put(Table table, std::string_view key, std::string_view value) {
        MDB_cursor* at = cursor(table);
        count(Op::Kind::put);
        store_.written_bytes_ += value.size();
        return at == nullptr ? error_ : store_.put(at, table, key, value);
    }
    /// Before the transaction ends.
    int finish() { return packed_.write(); }

 private:
    int erase(Table table, std::string_view key) {
        count(Op::Kind::erase);
        MDB_val ignored;
        const int rc = find(table, key, ignored);
        return rc == 0 ? mdb_cursor_del(cursor(table), 0) : none_is_fine(rc);
    }
    int move(Table from, Table to, std::string_view key) {
        JOBYARD_ASSERT(from != to && from != kPackedTable);
        count(Op::Kind::move);
        MDB_val value;
        if (const int rc = find(from, key, value); rc != 0) return none_is_fine(rc);
        if (to == kPackedTable) {
            packed_.put_copy(key, to_view(value));
        } else {
            moved_.assign(to_view(value));  // LMDB's view of it ends with the next write
            MDB_cursor* at = cursor(to);
            const int rc = at == nullptr ? error_ : store_.put(at, to, key, moved_);
            if (rc != 0) return rc;
        }
        return mdb_cursor_del(cursor(from), 0);
    }
    int find(Table table, std::string_view key_bytes, MDB_val& value) {
        MDB_cursor* at = cursor(table);
        MDB_val key = to_val(key_bytes);
        return at == nullptr ? error_ : mdb_cursor_get(at, &key, &value, MDB_SET);
    }
    static int none_is_fine(int rc) { return rc == MDB_NOTFOUND ? 0 : rc; }
    /// One a table: the next key is nearly always in the page it stands on. They end with the transaction.
    MDB_cursor* cursor(Table table) {
        MDB_cursor*& opened = cursors_[static_cast<std::size_t>(table)];
        if (opened == nullptr) error_ = mdb_cursor_open(txn_, store_.handle(table), &opened);
        return opened;
    }
    void count(Op::Kind kind) { ++store_.written_[static_cast<std::size_t>(kind)]; }

    Store& store_;
    MDB_txn* txn_;
    std::array<MDB_cursor*, kTables> cursors_{};
    int error_ = 0;
    std::string moved_;
    Cursor blocks_;
    BlockWriter packed_{blocks_,
                        [this](std::string_view key, std::string_view block) { return put(kPackedTable, key, block); },
                        [this](std::string_view key) { return erase(kPackedTable, key); }};
};

int Store::write(const std::vector<const Batch*>& batches, const std::function<void()>& between) {
    written_ = {};
    written_bytes_ = 0;
    Transaction transaction(env_, 0);
    if (transaction.error() != 0) return transaction.error();
    {
        Writing writing(*this, transaction.get());
        int rc = 0;
        std::size_t ops = 0;
        for (const Batch* batch : batches) {
            for (const Op& op : batch->ops()) {
                if (!passing_.contains(*batch, op) && (rc = writing.write(*batch, op)) != 0) return rc;
                if (++ops % kOpsBetween == 0) between();
            }
        }
        if (rc == 0) rc = writing.put(Table::meta, kMetaRelied, big_endian(passing_.noted()));
        if (rc == 0) rc = writing.finish();
        if (rc != 0) return rc;
    }
    return transaction.commit();
}

int Store::put(MDB_cursor* cursor, Table table, std::string_view key_bytes, std::string_view value_bytes) {
    // The bound stays when its row is erased or the transaction is given up: that makes it greater than it need be,
    // which costs a search, never a wrong place.
    std::string& bound = bounds_[static_cast<std::size_t>(table)];
    unsigned flags = 0;
    if (key_bytes > bound) {
        bound = key_bytes;
        flags = MDB_APPEND;
    }
    MDB_val key = to_val(key_bytes);
    MDB_val value = to_val(value_bytes);
    return mdb_cursor_put(cursor, &key, &value, flags);
}

Result<void> Store::grow() {
    const std::unique_lock alone(map_);
    MDB_envinfo info;
    JOBYARD_ASSERT(mdb_env_info(env_, &info) == 0);
    if (const int rc = mdb_env_set_mapsize(env_, info.me_mapsize * 2); rc != 0)
        return failure("cannot map " + std::to_string(info.me_mapsize * 2) + " bytes of address space", rc);
    raise(counted_.growths, 1);
    measure();
    return {};
}

void Store::measure() {
    MDB_envinfo info;
    MDB_stat stat;
    JOBYARD_ASSERT(mdb_env_info(env_, &info) == 0 && mdb_env_stat(env_, &stat) == 0);
    counted_.map_bytes = info.me_mapsize;
    counted_.used_bytes = (info.me_last_pgno + 1) * stat.ms_psize;
}

/// What is read in one transaction. Whatever fails is LMDB's error, else 0; after one nothing more may be read.
class Store::Reading {
 public:
    Reading(const Store& store, MDB_txn* txn) : store_(store), txn_(txn) {}

    /// Appends what `need` names to `rows`.
    int read(const Need& need, RowList& rows) {
        switch (need.kind) {
            case Need::Kind::row: return row(need, rows);
            case Need::Kind::payload:
            case Need::Kind::result: return bytes(need, rows);
            case Need::Kind::prefix:
            case Need::Kind::after:
            case Need::Kind::from: break;
        }
        return page(need, rows);
    }

 private:
    int row(const Need& need, RowList& rows) {
        std::optional<std::string_view> value;
        const int rc = find_row(cursor(need.table), need.table, need.key, value);
        if (value) rows.push_back({need.key, *value});
        return rc;
    }
    int page(const Need& need, RowList& rows) const {
        RowCursor at(txn_, store_.handle(need.table), need.table);
        const bool from = need.kind == Need::Kind::from;
        bool at_row = from ? at.seek_back(need.key) : at.seek(need.key);
        if (from || need.kind == Need::Kind::after) {
            if (!from && at_row && at.key() == need.key) at_row = at.next();
            for (; at_row && rows.size() < need.limit; at_row = at.next()) rows.push_back({at.key(), at.value()});
        } else {
            for (; at_row && at.key().starts_with(need.key); at_row = at.next()) rows.push_back({at.key(), at.value()});
        }
        return at.error();
    }
    /// The payload or result of one job, or the payload of an array; nothing if it is not where it would have one.
    int bytes(const Need& need, RowList& rows) {
        const bool payload = need.kind == Need::Kind::payload;
        LiveRow live;
        EndRow ended;
        bool found = false;
        for (const Table table :
             payload ? std::array{Table::live, Table::arrays} : std::array{Table::done, Table::dead}) {
            if (found) break;
            std::optional<std::string_view> value;  // that cannot be read: perhaps of other jobs (packed_table.hpp)
            if (const int rc = find_row(cursor(table), table, need.key, value); rc != 0) return rc;
            found = value && (payload ? read_row(*value, live) : read_row(*value, ended));
        }
        if (!found) return 0;
        if (live.chunks + ended.result_chunks == 0) {
            rows.push_back({need.key, payload ? live.payload : ended.result});
            return 0;
        }
        std::string whole;
        Cursor& slices = cursor(payload ? Table::chunks : Table::results);
        for (bool at_row = slices.seek(need.key); at_row && slices.key().starts_with(need.key); at_row = slices.next())
            whole.append(slices.value());
        rows.push_back({need.key, whole});
        return slices.error();
    }
    /// One a table: what is read next is mostly near.
    Cursor& cursor(Table table) {
        std::optional<Cursor>& opened = cursors_[static_cast<std::size_t>(table)];
        if (!opened) opened.emplace(txn_, store_.handle(table));
        return *opened;
    }

    const Store& store_;
    MDB_txn* txn_;
    std::array<std::optional<Cursor>, kTables> cursors_;
};

Result<Snapshot> Store::read(const std::vector<Need>& needs) {
    Snapshot snapshot;
    snapshot.rows.resize(needs.size());
    const std::shared_lock mapped(map_);
    const Transaction transaction(env_, MDB_RDONLY);
    if (transaction.error() != 0) return failure("cannot read", transaction.error());
    MDB_val key = to_val(kMetaApplied);
    MDB_val applied;
    int rc = mdb_get(transaction.get(), handle(Table::meta), &key, &applied);
    if (rc == 0 && applied.mv_size != sizeof(std::uint64_t)) return damaged(kMetaApplied);
    if (rc == 0) snapshot.applied_seq = from_big_endian(to_view(applied));
    if (rc == MDB_NOTFOUND) rc = 0;
    Reading reading(*this, transaction.get());
    for (std::size_t i = 0; rc == 0 && i < needs.size(); ++i) rc = reading.read(needs[i], snapshot.rows[i]);
    if (rc != 0) return failure("cannot read", rc);
    return snapshot;
}

Result<std::optional<std::string>> Store::get(Table table, std::string_view key) {
    auto snapshot = read({{Need::Kind::row, table, std::string(key)}});
    if (!snapshot) return snapshot.error();
    const RowList& rows = snapshot->rows.front();
    return rows.empty() ? std::nullopt : std::optional(std::string((*rows.begin()).value));
}

Result<void> Store::for_each(Table table,
                             const std::function<void(std::string_view key, std::string_view value)>& row) {
    const std::shared_lock mapped(map_);
    const Transaction transaction(env_, MDB_RDONLY);
    if (transaction.error() != 0) return failure("cannot read", transaction.error());
    RowCursor cursor(transaction.get(), handle(table), table);
    for (bool at_row = cursor.seek({}); at_row; at_row = cursor.next()) row(cursor.key(), cursor.value());
    if (cursor.error() != 0) return failure(std::string("cannot read the table ") + to_string(table), cursor.error());
    return {};
}

StoreCounters Store::counters() const {
    const auto get = [](const std::atomic<std::uint64_t>& value) { return value.load(std::memory_order_relaxed); };
    return {get(counted_.transactions), get(counted_.puts),     get(counted_.erases),       get(counted_.moves),
            get(counted_.value_bytes),  get(counted_.apply_us), get(counted_.apply_us_max), get(counted_.map_bytes),
            get(counted_.used_bytes),   get(counted_.growths)};
}

Result<void> Store::check_readers() {
    int dead = 0;
    if (const int rc = mdb_reader_check(env_, &dead); rc != 0) return failure("cannot check the readers", rc);
    return {};
}

Error Store::damaged(std::string_view name) const {
    return {Code::internal, "the row " + std::string(name) + " of table meta is damaged (" + path_ +
                                "); restore a backup of the data directory"};
}

Error Store::failure(const std::string& what, int error) const {
    struct statvfs disk {};
    const bool full = error == ENOSPC || (error == EIO && ::statvfs(path_.c_str(), &disk) == 0 &&
                                          disk.f_bavail * disk.f_frsize < kFullBelowBytes);
    return {full ? Code::disk_full : Code::internal,
            what + " (" + path_ + "): " + (full ? "the disk is full; free some space" : mdb_strerror(error))};
}

}  // namespace jobyard::broker
