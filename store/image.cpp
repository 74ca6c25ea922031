#include "image.hpp"

#include <sys/stat.h>

#include <utility>

namespace jobyard::store {
namespace {

bool exists(const std::string& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0;
}

}  // namespace

Result<std::unique_ptr<Image>> Image::open(const std::string& path) {
    const std::string directory = path + "/store";
    if (!exists(directory + "/data.mdb"))
        return Error{Code::internal,
                     "there is no store in " + path + " (" + directory +
                         "/data.mdb); expected the data directory of a broker (what it has as --data), or a backup"};
    const bool is_backup = !exists(directory + "/log.0") && !exists(directory + "/log.1");
    std::uint64_t tried = UINT64_MAX;
    for (;;) {
        std::unique_ptr<Image> image(new Image);
        auto view = StoreView::open(directory, is_backup ? StoreView::Sharing::none : StoreView::Sharing::with_broker);
        if (!view) return view.error();
        image->view_ = *std::move(view);
        auto applied = image->number(broker::kMetaApplied);
        if (!applied) return applied.error();
        image->applied_ = image->last_batch_ = *applied;
        const auto made_at = image->backup_at();
        if (!made_at) return made_at.error();
        if (is_backup && !*made_at)
            return Error{Code::internal, "the commit log (log.0 and log.1) is missing in " + directory +
                                             ", and with it perhaps jobs that were acknowledged; restore a backup"};
        if (is_backup) return image;
        auto laid = image->lay_over(directory);
        if (laid) return image;
        // The store goes on only while a broker runs, and only then can a log file have been used again meanwhile.
        if (std::exchange(tried, *applied) == *applied) return laid.error();
    }
}

Result<void> Image::lay_over(const std::string& directory) {
    auto log = broker::CommitLog::open_to_read(directory);
    if (!log) return log.error();
    const auto store = store_id();
    if (!store) return store.error();
    const auto secret = number(broker::kMetaLogSecret);
    if (!secret) return secret.error();
    const auto relied = number(broker::kMetaRelied);
    if (!relied) return relied.error();
    (*log)->belongs_to(*store, *secret);
    auto replayed = (*log)->replay(applied_, [this](Batch&& batch) {
        batches_.push_back(std::move(batch));
        last_batch_ = batches_.back().seq;
        log_batch_bytes_ += batches_.back().bytes();
        return lay_over(batches_.back());
    });
    if (!replayed) return replayed;
    if (*relied > last_batch_)
        return Error{Code::internal, "the commit log in " + directory + " ends with batch " +
                                         std::to_string(last_batch_) + " but had batch " + std::to_string(*relied) +
                                         ", which was durable: its end is missing or damaged; restore a backup"};
    return {};
}

Result<void> Image::lay_over(const Batch& batch) {
    using broker::Op;
    for (const Op& op : batch.ops()) {
        const std::string_view key = batch.key(op);
        auto& table = over_[static_cast<std::size_t>(op.table)];
        if (op.kind == Op::Kind::put) {
            table.insert_or_assign(std::string(key), batch.value(op));
            continue;
        }
        if (op.kind == Op::Kind::move) {
            auto value = get(op.table, key);
            if (!value) return value.error();
            if (*value) over_[static_cast<std::size_t>(op.to)].insert_or_assign(std::string(key), *value);
        }
        table.insert_or_assign(std::string(key), std::nullopt);
    }
    return {};
}

Result<std::optional<std::string_view>> Image::get(Table table, std::string_view key) const {
    const auto& over = over_[static_cast<std::size_t>(table)];
    if (const auto found = over.find(key); found != over.end()) return found->second;
    return view_->get(table, key);
}

Result<void> Image::for_each(Table table, const StoreView::Row& row) const {
    const auto& over = over_[static_cast<std::size_t>(table)];
    auto next = over.begin();
    const auto give = [&row](const auto& laid) { return laid.second ? row(laid.first, *laid.second) : Result<void>{}; };
    auto done = view_->for_each(table, [&](std::string_view key, std::string_view value) -> Result<void> {
        for (; next != over.end() && next->first < key; ++next)
            if (auto given = give(*next); !given) return given;
        if (next == over.end() || next->first != key) return row(key, value);
        return give(*next++);
    });
    for (; done && next != over.end(); ++next) done = give(*next);
    return done;
}

Result<std::uint64_t> Image::number(std::string_view name) const {
    const auto bytes = get(Table::meta, name);
    if (!bytes) return bytes.error();
    if (*bytes && (*bytes)->size() != sizeof(std::uint64_t))
        return Error{Code::internal, "the row " + std::string(name) + " of table meta is damaged; restore a backup"};
    return *bytes ? broker::from_big_endian(**bytes) : 0;
}

Result<broker::NumbersRow> Image::numbers() const {
    const auto bytes = get(Table::meta, broker::kMetaNumbers);
    if (!bytes) return bytes.error();
    broker::NumbersRow numbers;
    if (*bytes && !read_row(**bytes, numbers))
        return Error{Code::internal, "the row numbers of table meta is damaged; restore a backup"};
    return numbers;
}

Result<Uuid> Image::store_id() const {
    const auto bytes = get(Table::meta, broker::kMetaStore);
    if (!bytes) return bytes.error();
    if (!*bytes) return Uuid{};  // no broker has finished a start on it yet
    if ((*bytes)->size() != Uuid{}.bytes.size())
        return Error{Code::internal, "the row store of table meta is damaged; restore a backup"};
    return uuid_from_bytes(**bytes);
}

Result<std::optional<std::int64_t>> Image::backup_at() const {
    const auto bytes = get(Table::meta, broker::kMetaBackup);
    if (!bytes) return bytes.error();
    if (!*bytes) return std::optional<std::int64_t>();
    const auto at = number(broker::kMetaBackup);
    if (!at) return at.error();
    return std::optional(static_cast<std::int64_t>(*at));
}

std::uint64_t Image::rows() const {
    std::uint64_t rows = 0;
    for (std::size_t i = 0; i < kTables; ++i) rows += view_->size(static_cast<Table>(i)).rows + over_[i].size();
    const auto known = numbers();  // a packed table's rows are many in one of LMDB's
    return rows + (known ? known->done_rows : 0);
}

}  // namespace jobyard::store
