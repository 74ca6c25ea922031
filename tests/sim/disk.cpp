#include "disk.hpp"

#include <algorithm>
#include <utility>

#include "jobyard/assert.hpp"
#include "jobyard/result.hpp"
#include "record.hpp"

namespace jobyard::sim {

using broker::Batch;
using broker::Need;
using broker::Op;
using broker::Passing;
using broker::Snapshot;
using broker::Table;

void Disk::write(const Batch& batch, std::int64_t time_us, Process& process, std::function<void(bool)> done) {
    JOBYARD_ASSERT(!writing_);
    writing_ = batch;
    world_.after(time_us, [this, number = ++writes_, &process, told = std::move(done)] {
        if (!writing_ || number != writes_) return;  // the crash has decided about it
        const bool written = !fails();
        if (written) become_durable(*std::exchange(writing_, std::nullopt));
        process.after(0, [told, written] { told(written); });
    });
}

bool Disk::write_now(const Batch& batch) {
    if (fails()) return false;
    become_durable(batch);
    apply(batch.seq);
    return true;
}

void Disk::become_durable(Batch batch) {
    watcher_(batch);
    log_.push_back(std::move(batch));
}

void Disk::apply(std::uint64_t up_to) {
    note_all();
    for (; !log_.empty() && log_.front().seq <= up_to; log_.pop_front()) apply(log_.front());
    if (log_.empty()) passing_.applied_all();
    else passing_.applied(log_.front().seq - 1, log_.front().first_job.value);
}

void Disk::note_all() {
    std::uint64_t bound = 0;
    for (const Table table : {Table::live, Table::buried})
        if (!rows(table).empty()) bound = std::max(bound, broker::from_big_endian(rows(table).rbegin()->first));
    for (const Batch& batch : log_) passing_.note(batch, bound);
}

std::uint64_t Disk::applied() const {
    const std::string* applied = get(Table::meta, std::string(broker::kMetaApplied));
    return applied == nullptr ? 0 : broker::from_big_endian(*applied);
}

void Disk::crash() {
    passing_ = Passing();
    if (!writing_) return;
    const bool made_it = random_.percent(50);
    world_.tell("disk", "batch ", writing_->seq, made_it ? " had just become durable" : " is lost");
    if (made_it) become_durable(*std::move(writing_));
    writing_.reset();
}

void Disk::apply(const Batch& batch) {
    for (const Op& op : batch.ops()) {
        if (passing_.contains(batch, op)) continue;
        Rows& rows = tables_[static_cast<std::size_t>(op.table)];
        const std::string key(batch.key(op));
        if (op.kind == Op::Kind::put) {
            rows[key] = batch.value(op);
            continue;
        }
        const auto row = rows.find(key);
        if (row == rows.end()) continue;
        if (op.kind == Op::Kind::move) tables_[static_cast<std::size_t>(op.to)][key] = std::move(row->second);
        rows.erase(row);
    }
}

const std::string* Disk::get(Table table, const std::string& key) const {
    const auto row = rows(table).find(key);
    return row == rows(table).end() ? nullptr : &row->second;
}

Snapshot Disk::read(const std::vector<Need>& needs) const {
    Snapshot snapshot;
    snapshot.applied_seq = applied();
    for (const Need& need : needs) {
        broker::RowList& found = snapshot.rows.emplace_back();
        if (need.kind == Need::Kind::payload || need.kind == Need::Kind::result) {
            read_bytes(need, found);
            continue;
        }
        const Rows& table = rows(need.table);
        const bool from = need.kind == Need::Kind::from;
        auto row = from || need.kind == Need::Kind::after ? table.upper_bound(need.key) : table.lower_bound(need.key);
        if (from && row != table.begin()) --row;
        for (; row != table.end(); ++row) {
            if (need.kind == Need::Kind::row && row->first != need.key) break;
            if (need.kind == Need::Kind::prefix && !row->first.starts_with(need.key)) break;
            if ((from || need.kind == Need::Kind::after) && found.size() == need.limit) break;
            found.push_back({row->first, row->second});
        }
    }
    return snapshot;
}

/// As store.cpp: the payload or result of one job, however it is stored.
void Disk::read_bytes(const Need& need, broker::RowList& found) const {
    const bool payload = need.kind == Need::Kind::payload;
    const std::string* row = get(payload ? Table::live : Table::done, need.key);
    if (row == nullptr) row = get(payload ? Table::arrays : Table::dead, need.key);
    if (row == nullptr) return;
    broker::LiveRow live;
    broker::EndRow ended;
    JOBYARD_ASSERT(payload ? read_row(*row, live) : read_row(*row, ended));
    std::string bytes(payload ? live.payload : ended.result);
    const Rows& slices = rows(payload ? Table::chunks : Table::results);
    for (auto slice = slices.lower_bound(need.key); slice != slices.end() && slice->first.starts_with(need.key);
         ++slice)
        bytes += slice->second;
    found.push_back({need.key, bytes});
}

}  // namespace jobyard::sim
