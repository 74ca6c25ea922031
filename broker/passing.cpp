#include "passing.hpp"

#include <algorithm>

namespace jobyard::broker {
namespace {

constexpr std::uint64_t kMost = std::uint64_t{1} << 22;  // of jobs it knows; what is beyond is simply written
constexpr std::size_t kJobKeyBytes = 8;

}  // namespace

void Passing::note(const Batch& batch, std::uint64_t bound) {
    if (batch.seq <= noted_) return;
    noted_ = batch.seq;
    for (const Op& op : batch.ops())
        if ((op.table == Table::live || op.to == Table::live) && op.key.size == kJobKeyBytes)
            note(from_big_endian(batch.key(op)), op.kind, bound);
}

void Passing::note(std::uint64_t job, Op::Kind kind, std::uint64_t bound) {
    if (kind == Op::Kind::put && job > bound && job >= first_ + fates_.size()) {  // a new one
        if (fates_.empty()) first_ = job;
        if (job - first_ >= kMost) return;
        fates_.resize(job - first_, Fate::written);
        fates_.push_back(Fate::put);
    } else if (job >= first_ && job - first_ < fates_.size()) {
        Fate& fate = fates_[job - first_];
        fate = kind == Op::Kind::erase && fate == Fate::put ? Fate::gone : Fate::written;
    }
}

bool Passing::contains(const Batch& batch, const Op& op) const {
    const bool of_job = (op.table == Table::live && op.key.size == kJobKeyBytes) || op.table == Table::chunks;
    if (!of_job || op.kind == Op::Kind::move || fates_.empty()) return false;
    const std::uint64_t job = from_big_endian(batch.key(op));
    return job >= first_ && job - first_ < fates_.size() && fates_[job - first_] == Fate::gone;
}

void Passing::applied(std::uint64_t seq, std::uint64_t next) {
    const auto at = [this](std::uint64_t job) {
        return fates_.begin() +
               static_cast<std::ptrdiff_t>(std::clamp<std::uint64_t>(job, first_, first_ + fates_.size()) - first_);
    };
    std::replace(fates_.begin(), at(next), Fate::put, Fate::written);
    // What is gone of these was erased by a batch that is noted now: until that is applied it must be known.
    over_.push_back({noted_, next});
    for (; !over_.empty() && over_.front().seq <= seq; over_.pop_front()) {
        const auto over = at(over_.front().next);
        first_ += static_cast<std::uint64_t>(over - fates_.begin());
        fates_.erase(fates_.begin(), over);
    }
}

void Passing::applied_all() {
    fates_.clear();
    over_.clear();
}

}  // namespace jobyard::broker
