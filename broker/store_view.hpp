#pragma once
// A store's rows as of one moment, read only, whoever else has it open: for the tools that run beside a broker
// (store/). What was committed to the log and not applied yet is not in it; store/image.hpp lays that over.
//
// One thread. As long as a view lives, the pages of its moment are not used again, so the store's file may grow.

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "batch.hpp"
#include "jobyard/result.hpp"

struct MDB_env;
struct MDB_txn;

namespace jobyard::broker {

/// What to do about the store in `path`, whose format is not kFormatVersion.
Error other_format(const std::string& path, std::string_view format);

class StoreView {
 public:
    enum class Sharing : std::uint8_t {
        with_broker,  ///< announced in lock.mdb, so that a broker leaves the pages alone
        none,         ///< a backup: nobody writes it, and nothing is written beside it
    };
    /// `directory` has the files of a store. It must not be open in this process already (LMDB).
    static Result<std::unique_ptr<StoreView>> open(const std::string& directory, Sharing sharing);
    ~StoreView();
    StoreView(const StoreView&) = delete;
    StoreView& operator=(const StoreView&) = delete;

    /// What is given out lasts as long as the view.
    [[nodiscard]] Result<std::optional<std::string_view>> get(Table table, std::string_view key) const;
    using Row = std::function<Result<void>(std::string_view key, std::string_view value)>;
    /// In key order, until the end or an error.
    [[nodiscard]] Result<void> for_each(Table table, const Row& row) const;

    struct TableSize {
        std::uint64_t rows = 0;   ///< of LMDB; a packed table has more
        std::uint64_t bytes = 0;  ///< of its pages
    };
    [[nodiscard]] TableSize size(Table table) const;
    struct Pages {
        std::uint64_t file_bytes = 0;
        std::uint64_t used_bytes = 0;  ///< the file up to its last page in use, with the free ones inside
        std::uint64_t free_bytes = 0;  ///< of pages inside that will be used again
        std::uint64_t map_bytes = 0;   ///< how far the file may grow before the map must
    };
    [[nodiscard]] Pages pages() const;

 private:
    StoreView(std::string path, MDB_env* env) : path_(std::move(path)), env_(env) {}
    [[nodiscard]] Error failure(const std::string& what, int error) const;

    std::string path_;
    MDB_env* env_;
    MDB_txn* txn_ = nullptr;
    std::array<std::optional<unsigned>, kTables> tables_;  ///< one that an older store lacks is empty
};

}  // namespace jobyard::broker
