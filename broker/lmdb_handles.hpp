#pragma once
// LMDB's transactions and cursors with one owner each, for the files that know LMDB: store.cpp and
// packed_table.cpp, which write, and store_view.cpp, which reads a store that somebody else may be writing.

#include <lmdb.h>

#include <string_view>
#include <utility>

namespace jobyard::broker {

inline MDB_val to_val(std::string_view bytes) { return {bytes.size(), const_cast<char*>(bytes.data())}; }
inline std::string_view to_view(const MDB_val& val) { return {static_cast<const char*>(val.mv_data), val.mv_size}; }

/// Aborted unless committed.
class Transaction {
 public:
    Transaction(MDB_env* env, unsigned flags) : error_(mdb_txn_begin(env, nullptr, flags, &txn_)) {}
    ~Transaction() {
        if (txn_ != nullptr) mdb_txn_abort(txn_);
    }
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;

    [[nodiscard]] int error() const { return error_; }
    [[nodiscard]] MDB_txn* get() const { return txn_; }
    int commit() { return mdb_txn_commit(std::exchange(txn_, nullptr)); }

 private:
    MDB_txn* txn_ = nullptr;
    int error_;
};

/// Walks a table forward, or looks rows up: one in the page it stands on without a search. Must not outlive its
/// transaction.
class Cursor {
 public:
    Cursor(MDB_txn* txn, MDB_dbi table) : error_(mdb_cursor_open(txn, table, &cursor_)) {}
    ~Cursor() {
        if (cursor_ != nullptr) mdb_cursor_close(cursor_);
    }
    Cursor(const Cursor&) = delete;
    Cursor& operator=(const Cursor&) = delete;

    /// True at a row; then `key()` and `value()` are its. False at the end of the table or on an error.
    bool seek(std::string_view at_or_after) {
        key_ = to_val(at_or_after);
        return move(at_or_after.empty() ? MDB_FIRST : MDB_SET_RANGE);  // LMDB takes no empty key
    }
    /// The last row whose key is not greater; the first of all if each is.
    bool seek_back(std::string_view at_or_before) {
        const bool behind = seek(at_or_before);
        if (behind && key() == at_or_before) return true;
        if (error_ == 0 && (behind ? move(MDB_PREV) : last())) return true;
        return seek({});
    }
    /// The row of this key, which `key()` then is, as a view of the argument. False: there is none, or an error.
    bool find(std::string_view key) {
        key_ = to_val(key);
        return move(MDB_SET);
    }
    bool next() { return move(MDB_NEXT); }
    bool last() { return move(MDB_LAST); }
    [[nodiscard]] std::string_view key() const { return to_view(key_); }
    [[nodiscard]] std::string_view value() const { return to_view(value_); }
    [[nodiscard]] int error() const { return error_; }

 private:
    bool move(MDB_cursor_op op) {
        if (error_ != 0) return false;
        const int rc = mdb_cursor_get(cursor_, &key_, &value_, op);
        if (rc != 0 && rc != MDB_NOTFOUND) error_ = rc;
        return rc == 0;
    }
    MDB_cursor* cursor_ = nullptr;
    MDB_val key_{};
    MDB_val value_{};
    int error_;
};

}  // namespace jobyard::broker
