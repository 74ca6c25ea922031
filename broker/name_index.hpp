#pragma once
// Finds numbered things by their names. The names stand with the things; here are their hashes, side by side, so that a
// look-up reads one place of this table and then the thing itself. For some ten thousands: it grows by a copy.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace jobyard::broker {

class NameIndex {
 public:
    /// `same` says whether a number is that of the thing that is looked for.
    template <class Same>
    [[nodiscard]] std::optional<std::uint32_t> find(std::uint32_t hash, const Same& same) const {
        if (slots_.empty()) return std::nullopt;
        for (std::size_t at = hash;; ++at) {
            const Slot& slot = slots_[at & (slots_.size() - 1)];
            if (slot.number == kNone) return std::nullopt;
            if (slot.hash == hash && same(slot.number)) return slot.number;
        }
    }
    /// It must not be there.
    void add(std::uint32_t hash, std::uint32_t number) {
        if (2 * ++count_ > slots_.size()) {
            std::vector<Slot> larger(slots_.empty() ? 16 : 4 * slots_.size());
            for (const Slot& slot : slots_)
                if (slot.number != kNone) place(larger, slot);
            slots_ = std::move(larger);
        }
        place(slots_, {hash, number});
    }
    /// Empty again, with its memory kept.
    void clear() {
        if (count_ > 0) std::fill(slots_.begin(), slots_.end(), Slot{});
        count_ = 0;
    }

 private:
    static constexpr std::uint32_t kNone = 0xffffffff;
    struct Slot {
        std::uint32_t hash = 0;
        std::uint32_t number = kNone;
    };
    static void place(std::vector<Slot>& slots, Slot slot) {
        std::size_t at = slot.hash;
        while (slots[at & (slots.size() - 1)].number != kNone) ++at;
        slots[at & (slots.size() - 1)] = slot;
    }
    std::vector<Slot> slots_;  // 2^n
    std::size_t count_ = 0;
};

}  // namespace jobyard::broker
