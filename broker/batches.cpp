#include "batches.hpp"

#include <algorithm>
#include <utility>

#include "found.hpp"
#include "jobyard/assert.hpp"
#include "jobyard/result.hpp"
#include "record.hpp"

namespace jobyard::broker {
namespace {

constexpr std::size_t kSpare = 4;

}  // namespace

Batches::Batches(std::uint64_t applied, JobId next_job, Keep keep)
    : keep_(keep), open_(make(applied + 1, next_job)), durable_(applied), applied_(applied) {}

std::unique_ptr<Batch> Batches::make(std::uint64_t seq, JobId next_job) {
    std::unique_ptr<Batch> batch;
    if (spare_.empty()) {
        batch = std::make_unique<Batch>();
    } else {
        batch = std::move(spare_.back());
        spare_.pop_back();
    }
    batch->seq = seq;
    batch->first_job = next_job;
    return batch;
}

const Batch& Batches::hand_over(JobId next_job) {
    JOBYARD_ASSERT(in_flight_ == nullptr);
    in_flight_ = std::move(open_);
    open_ = make(in_flight_->seq + 1, next_job);
    open_->reserve(*in_flight_);  // it will probably be like this one
    return *in_flight_;
}

const Batch& Batches::land() {
    JOBYARD_ASSERT(in_flight_ != nullptr);
    durable_ = in_flight_->seq;
    edits_ += in_flight_->edits().size();
    retained_.push_back(std::move(in_flight_));
    return *retained_.back();
}

void Batches::trim(std::uint64_t read) {
    const std::uint64_t needless = std::min(read, applied_);
    std::size_t bytes = 0;
    for (const auto& batch : retained_) bytes += batch->bytes();
    while (!retained_.empty() && (bytes > keep_.bytes || retained_.size() > keep_.count) &&
           retained_.front()->seq <= needless) {
        bytes -= retained_.front()->bytes();
        edits_ -= retained_.front()->edits().size();
        if (spare_.size() < kSpare) {
            retained_.front()->clear();
            spare_.push_back(std::move(retained_.front()));
        }
        retained_.pop_front();
    }
}

std::vector<const Batch*> Batches::after(std::uint64_t seq) const {
    std::vector<const Batch*> newer;
    auto batch =
        std::partition_point(retained_.begin(), retained_.end(), [seq](const auto& each) { return each->seq <= seq; });
    for (; batch != retained_.end(); ++batch) newer.push_back(batch->get());
    if (in_flight_ != nullptr) newer.push_back(in_flight_.get());
    newer.push_back(open_.get());
    JOBYARD_ASSERT(newer.front()->seq == seq + 1);
    return newer;
}

const Batch* Batches::by_number(std::uint64_t seq) const {
    if (seq == open_->seq) return open_.get();
    if (in_flight_ != nullptr && seq == in_flight_->seq) return in_flight_.get();
    if (retained_.empty() || seq < retained_.front()->seq || seq > durable_) return nullptr;
    return retained_[seq - retained_.front()->seq].get();
}

/// The last one that begins at or before the job; it may be one without the job.
const Batch* Batches::with_job(JobId job) const {
    if (open_->first_job <= job) return open_.get();
    if (in_flight_ != nullptr && in_flight_->first_job <= job) return in_flight_.get();
    const auto later = std::upper_bound(retained_.begin(), retained_.end(), job,
                                        [](JobId wanted, const auto& batch) { return wanted < batch->first_job; });
    return later == retained_.begin() ? nullptr : std::prev(later)->get();
}

/// The newest that is durable, if its payload became another one while it was dead. As long as the batch of that is in
/// hand the one it was submitted in, and a store that lacks the edit, may have the old one.
bool Batches::find_edited(JobId job, KeptBytes& bytes) const {
    if (edits_ == 0) return false;
    return std::any_of(retained_.rbegin(), retained_.rend(), [&](const auto& batch) {
        const auto edit = std::find_if(batch->edits().rbegin(), batch->edits().rend(),
                                       [job](const auto& each) { return each.first == job; });
        if (edit == batch->edits().rend()) return false;
        bytes = batch->kept(edit->second);
        return true;
    });
}

bool Batches::find(const PayloadRef& payload, KeptBytes& bytes) const {
    bytes = {};
    if (payload.slice.size == 0) return true;
    if (payload.kind == PayloadRef::Kind::in_batch) {
        const Batch* batch = by_number(payload.number);
        JOBYARD_ASSERT(batch != nullptr);
        bytes = batch->kept(payload.slice);
        return true;
    }
    if (payload.kind != PayloadRef::Kind::of_job) return false;
    const JobId job{payload.number};
    if (!find_edited(job, bytes)) {
        const Batch* batch = with_job(job);
        const auto slice = batch == nullptr ? std::nullopt : batch->payload_of(job);
        if (slice) bytes = batch->kept(*slice);
    }
    // Of another size: the job has died and was edited since.
    return bytes.bytes.size() == payload.slice.size;
}

bool Batches::append_result(JobId job, std::uint64_t seq, std::string& bytes) const {
    const std::string key = job_key(job);
    const std::vector<Need> needs{{Need::Kind::row, Table::done, key},
                                  {Need::Kind::row, Table::dead, key},
                                  {Need::Kind::prefix, Table::results, key}};
    const Snapshot nothing{0, std::vector<RowList>(needs.size())};
    std::vector<const Batch*> newer = after(seq);
    std::erase_if(newer, [this](const Batch* batch) { return batch->seq > durable_; });
    const Found found(needs, nothing, newer);
    for (const Table table : {Table::done, Table::dead}) {
        const auto row = found.get(table, key);
        EndRow ended;
        if (!row || !read_row(*row, ended)) continue;
        bytes.append(ended.result);
        for (const RowView& slice : found.with_prefix(Table::results, key)) bytes.append(slice.value);
        return true;
    }
    return false;
}

}  // namespace jobyard::broker
