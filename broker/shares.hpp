#pragma once
// How unequally clients submit. While a busy one and small ones submit, batches are short and the busy ones are paced
// (pace.hpp), so that who has one job now and then need not wait for thousands of another's. Else batches may be long,
// which costs less for each job.
//
// Pure; of one thread.

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "output.hpp"

namespace jobyard::broker {

class Shares {
 public:
    /// What has been submitted counts for so long, and up to twice as long.
    static constexpr std::int64_t kMemoryMs = 5000;
    /// In that time. Less keeps nobody waiting, whatever the others do.
    static constexpr std::uint64_t kBusy = 100'000;
    /// A client with less than this part of what the busiest one submits is a small one.
    static constexpr std::uint64_t kSmall = 8;

    /// `amount`: of jobs, and of KiB.
    void note(PeerId peer, std::uint64_t amount, std::int64_t now) {
        if (now >= began_ + kMemoryMs) turn_over(now);
        since_[peer] += amount;
        most_ = std::max(most_, sum_of(peer));
        if (!is_small(peer)) {
            small_.erase(peer);
            return;
        }
        if (!are_uneven(now)) small_.clear();
        small_.insert(peer);
        uneven_until_ = now + kMemoryMs;
    }
    [[nodiscard]] bool is_small(PeerId peer) const { return most_ >= kBusy && sum_of(peer) < most_ / kSmall; }
    /// A small client and a busy one have both submitted lately.
    [[nodiscard]] bool are_uneven(std::int64_t now) const { return !small_.empty() && now < uneven_until_; }
    /// The peer is gone.
    void drop(PeerId peer) {
        const bool was_busiest = sum_of(peer) == most_;
        since_.erase(peer);
        before_.erase(peer);
        small_.erase(peer);
        if (!was_busiest) return;
        most_ = 0;
        for (const Amounts* amounts : {&since_, &before_})
            for (const auto& [other, amount] : *amounts) most_ = std::max(most_, sum_of(other));
        std::erase_if(small_, [this](PeerId other) { return !is_small(other); });
    }

 private:
    using Amounts = std::map<PeerId, std::uint64_t>;

    [[nodiscard]] std::uint64_t sum_of(PeerId peer) const { return of(since_, peer) + of(before_, peer); }
    [[nodiscard]] static std::uint64_t of(const Amounts& amounts, PeerId peer) {
        const auto found = amounts.find(peer);
        return found == amounts.end() ? 0 : found->second;
    }
    void turn_over(std::int64_t now) {
        before_ = now >= began_ + 2 * kMemoryMs ? Amounts() : std::move(since_);
        since_.clear();
        began_ = now;
        most_ = 0;
        for (const auto& [peer, amount] : before_) most_ = std::max(most_, amount);
        std::erase_if(small_, [this](PeerId peer) { return !is_small(peer); });
    }

    std::int64_t began_ = 0;
    Amounts since_;           ///< submitted since then
    Amounts before_;          ///< and in the time before
    std::uint64_t most_ = 0;  ///< of one client, in both
    std::set<PeerId> small_;  ///< when they last submitted, and they have since uneven_until_ was in the past
    std::int64_t uneven_until_ = 0;
};

}  // namespace jobyard::broker
