#include "passing.hpp"

#include <algorithm>

namespace jobyard::broker {
namespace {

constexpr std::uint64_t kMost = std::uint64_t{1} << 22;  // of jobs it knows; what is beyond is simply written
constexpr std::size_t kJobKeyBytes = 8;

}  // namespace

void Passing::note(const Batch& batch, std::uint64_t bound) {
    for (const Op& op : batch.ops())
        if ((op.table == Table::live || op.to == Table::live) && op.key.size == kJobKeyBytes)
            note(from_big_endian(batch.key(op)), op, bound);
}

void Passing::note(std::uint64_t job, const Op& op, std::uint64_t bound) {
    const bool put = op.kind == Op::Kind::put;
    if (fates_.empty()) {
        if (!put || job <= bound) return;
        first_ = job;
    }
    if (job < first_ || job - first_ >= kMost) return;
    if (job - first_ >= fates_.size()) {
        if (!put) return;
        fates_.resize(job - first_ + 1, Fate::unknown);
    }
    Fate& fate = fates_[job - first_];
    if (put && fate == Fate::unknown) fate = Fate::put;
    else if (op.kind == Op::Kind::erase && fate == Fate::put) fate = Fate::gone;
    else fate = Fate::written;
}

bool Passing::contains(const Batch& batch, const Op& op) const {
    const bool of_job = (op.table == Table::live && op.key.size == kJobKeyBytes) || op.table == Table::chunks;
    if (!of_job || op.kind == Op::Kind::move || fates_.empty()) return false;
    const std::uint64_t job = from_big_endian(batch.key(op));
    return job >= first_ && job - first_ < fates_.size() && fates_[job - first_] == Fate::gone;
}

void Passing::applied_before(std::uint64_t next) {
    const auto at = [this](std::uint64_t job) {
        return fates_.begin() +
               static_cast<std::ptrdiff_t>(std::clamp<std::uint64_t>(job, first_, first_ + fates_.size()) - first_);
    };
    std::replace(fates_.begin(), at(next), Fate::put, Fate::written);
    // Those that were applied the time before and are gone: what erased them had been noted then, and is applied now.
    const auto over = at(applied_);
    first_ += static_cast<std::uint64_t>(over - fates_.begin());
    fates_.erase(fates_.begin(), over);
    applied_ = next;
}

}  // namespace jobyard::broker
