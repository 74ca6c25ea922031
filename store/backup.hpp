#pragma once
// A backup is a store of its own: all rows of an image, in one data.mdb without a log. It can be made beside a running
// broker, which is neither asked nor held up. It is not a data directory: restore() makes one of it, in which no old
// number, token or window is taken for a new one.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "image.hpp"
#include "store.hpp"

namespace jobyard::store {

/// How many rows are done, and about how many there are.
using Progress = std::function<void(std::uint64_t done, std::uint64_t all)>;

struct Copied {
    std::uint64_t rows = 0;
    std::uint64_t bytes = 0;       ///< of keys and values
    std::uint64_t last_batch = 0;  ///< all that was acknowledged up to it is in the copy
    Uuid store;                    ///< what it is a copy of
};

/// A restored store's numbers begin so far above those of its backup, and its epochs, because the store that the backup
/// was made of may have gone on since.
inline constexpr std::uint64_t kJobNumbersAhead = std::uint64_t{1} << 32;
inline constexpr std::uint64_t kEpochsAhead = 1024;

/// `to` is made if absent, and must be empty.
Result<Copied> back_up(const std::string& data, const std::string& to, const Progress& progress);
/// Makes a data directory of a backup. Its jobs keep their numbers.
Result<Copied> restore(const std::string& from, const std::string& to, const Progress& progress);

/// A store being made. Until finish() it has another name, so that one that was interrupted is not taken for whole.
class NewStore {
 public:
    /// Makes `directory` (mode 0700) if absent. Error if there is something in it.
    static Result<std::unique_ptr<NewStore>> begin(const std::string& directory);
    /// Removes what is not finished.
    ~NewStore();
    NewStore(const NewStore&) = delete;
    NewStore& operator=(const NewStore&) = delete;

    /// What the batch has goes to disk now and then.
    Result<void> put(Table table, std::string_view key, std::string_view value);
    /// For rows built in place; then flush_if_large().
    [[nodiscard]] Batch& batch() { return batch_; }
    Result<void> flush_if_large();
    /// For a store that a broker will serve.
    Result<void> make_log();
    Result<void> finish();

 private:
    NewStore(std::string directory, std::unique_ptr<broker::Store> store)
        : directory_(std::move(directory)), store_(std::move(store)) {}
    Result<void> flush();
    [[nodiscard]] std::string unfinished() const { return directory_ + "/store.unfinished"; }

    std::string directory_;
    std::unique_ptr<broker::Store> store_;
    Batch batch_;
};

/// The rows of `meta` that make a new store of one that others may know under another name: its id, and numbers and
/// epochs that the other one will not have given.
Result<void> begin_anew(NewStore& store, broker::NumbersRow numbers, std::uint64_t epoch, std::string unknown_jobs);

}  // namespace jobyard::store
