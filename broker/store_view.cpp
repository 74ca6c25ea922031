#include "store_view.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "fd.hpp"
#include "jobyard/assert.hpp"
#include "lmdb_handles.hpp"
#include "packed_table.hpp"
#include "record.hpp"

namespace jobyard::broker {

Error other_format(const std::string& path, std::string_view format) {
    const std::string ours = std::to_string(kFormatVersion);
    const bool is_older = format.size() < ours.size() || (format.size() == ours.size() && format < ours);
    return {Code::internal,
            "the store in " + path + " has format " + std::string(format) + "; this jobyard reads format " + ours +
                ". " +
                (is_older ? "An older jobyard wrote it, and this one cannot bring it forward: let the older one finish "
                            "its jobs, or run `jobyard store dump DIRECTORY --to jobs.jsonl` of the older one and "
                            "`jobyard store load jobs.jsonl --to NEW-DIRECTORY` of this one, and start it with "
                            "--data NEW-DIRECTORY. Nothing in it was changed"
                          : "A newer jobyard wrote it: install that version again, or restore a backup that this "
                            "version made (`jobyard store restore`). Nothing in it was changed")};
}

Result<std::unique_ptr<StoreView>> StoreView::open(const std::string& directory, Sharing sharing) {
    MDB_env* env = nullptr;
    if (const int rc = mdb_env_create(&env); rc != 0)
        return Error{Code::internal, std::string("cannot prepare the store: ") + mdb_strerror(rc)};
    std::unique_ptr<StoreView> view(new StoreView(directory, env));  // closes env on every way out
    JOBYARD_ASSERT(mdb_env_set_maxdbs(env, kTables) == 0);
    const unsigned unshared = sharing == Sharing::none ? MDB_NOLOCK : 0U;
    int rc = mdb_env_open(env, directory.c_str(), MDB_RDONLY | MDB_NOTLS | unshared, 0600);
    if (rc != 0) return view->failure("cannot open the store", rc);
    rc = mdb_txn_begin(env, nullptr, MDB_RDONLY, &view->txn_);
    if (rc != 0) return view->failure("cannot read the store", rc);
    // A page that is missing would be a SIGBUS.
    if (const Pages pages = view->pages(); pages.file_bytes < pages.used_bytes)
        return Error{Code::internal, directory + "/data.mdb is cut short: it has " + std::to_string(pages.file_bytes) +
                                         " bytes of " + std::to_string(pages.used_bytes) + "; restore a backup"};
    for (std::size_t i = 0; i < kTables; ++i) {
        unsigned handle = 0;
        rc = mdb_dbi_open(view->txn_, to_string(static_cast<Table>(i)), 0, &handle);
        if (rc == 0) view->tables_[i] = handle;
        else if (rc != MDB_NOTFOUND) return view->failure("cannot open the tables", rc);
        if (static_cast<Table>(i) != Table::meta) continue;
        const auto format = view->get(Table::meta, kMetaFormat);
        if (!format) return format.error();
        if (!*format) return Error{Code::internal, directory + "/data.mdb is no store of jobyard"};
        if (**format != std::to_string(kFormatVersion)) return other_format(directory, **format);
    }
    return view;
}

StoreView::~StoreView() {
    if (txn_ != nullptr) mdb_txn_abort(txn_);
    mdb_env_close(env_);
}

Result<std::optional<std::string_view>> StoreView::get(Table table, std::string_view key) const {
    const std::optional<unsigned> handle = tables_[static_cast<std::size_t>(table)];
    if (!handle || key.empty()) return std::optional<std::string_view>();
    std::optional<std::string_view> value;
    Cursor rows(txn_, *handle);
    if (const int rc = find_row(rows, table, key, value); rc != 0)
        return failure(std::string("cannot read the table ") + to_string(table), rc);
    return value;
}

Result<void> StoreView::for_each(Table table, const Row& row) const {
    const std::optional<unsigned> handle = tables_[static_cast<std::size_t>(table)];
    if (!handle) return {};
    RowCursor cursor(txn_, *handle, table);
    for (bool at_row = cursor.seek({}); at_row; at_row = cursor.next())
        if (auto done = row(cursor.key(), cursor.value()); !done) return done;
    if (cursor.error() != 0) return failure(std::string("cannot read the table ") + to_string(table), cursor.error());
    return {};
}

StoreView::TableSize StoreView::size(Table table) const {
    const std::optional<unsigned> handle = tables_[static_cast<std::size_t>(table)];
    MDB_stat stat;
    if (!handle || mdb_stat(txn_, *handle, &stat) != 0) return {};
    const std::uint64_t pages = stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    return {stat.ms_entries, pages * stat.ms_psize};
}

StoreView::Pages StoreView::pages() const {
    Pages pages;
    MDB_envinfo info;
    MDB_stat stat;
    struct stat file {};
    JOBYARD_ASSERT(mdb_env_info(env_, &info) == 0 && mdb_env_stat(env_, &stat) == 0);
    if (::stat((path_ + "/data.mdb").c_str(), &file) == 0) pages.file_bytes = static_cast<std::uint64_t>(file.st_size);
    pages.used_bytes = (info.me_last_pgno + 1) * stat.ms_psize;
    pages.map_bytes = info.me_mapsize;
    if (pages.file_bytes < pages.used_bytes) return pages;  // open() refuses it
    constexpr MDB_dbi kFreeList = 0;  // its rows: a transaction, and how many pages it freed, and which
    Cursor cursor(txn_, kFreeList);
    for (bool at_row = cursor.seek({}); at_row; at_row = cursor.next()) {
        std::size_t count = 0;
        std::memcpy(&count, cursor.value().data(), sizeof count);
        pages.free_bytes += count * stat.ms_psize;
    }
    return pages;
}

Error StoreView::failure(const std::string& what, int error) const {
    const char* hint = error == EACCES ? "; run this as the user whose broker it is" : "";
    return {Code::internal, what + " (" + path_ + "): " + mdb_strerror(error) + hint};
}

}  // namespace jobyard::broker
