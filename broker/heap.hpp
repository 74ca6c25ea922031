#pragma once
// A 4-ary min-heap of numbered members that knows where each one stands, so that a key is moved or dropped in place and
// no member stands in it twice. Members are small consecutive numbers of whoever owns the heap.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "jobyard/result.hpp"

namespace jobyard::broker {

template <class Key>
class Heap {
 public:
    struct Entry {
        Key key;
        std::uint32_t member = 0;
    };

    [[nodiscard]] bool empty() const { return entries_.empty(); }
    [[nodiscard]] const Entry& first() const { return entries_[0]; }

    /// Inserts the member, or moves it.
    void put(std::uint32_t member, const Key& key) {
        std::uint32_t place = place_of(member);
        if (place == kNone) {
            if (member >= places_.size()) places_.resize(member + std::size_t{1}, kNone);
            place = static_cast<std::uint32_t>(entries_.size());
            entries_.push_back({key, member});
            return rise(place, {key, member});
        }
        key < entries_[place].key ? rise(place, {key, member}) : sink(place, {key, member});
    }

    /// Inserts the member, or moves it forward; never back.
    void advance(std::uint32_t member, const Key& key) {
        const std::uint32_t place = place_of(member);
        if (place == kNone || key < entries_[place].key) put(member, key);
    }

    void drop(std::uint32_t member) {
        const std::uint32_t place = place_of(member);
        if (place == kNone) return;
        places_[member] = kNone;
        const Entry last = entries_.back();
        entries_.pop_back();
        if (last.member == member) return;
        last.key < key_above(place, last.key) ? rise(place, last) : sink(place, last);
    }

 private:
    static constexpr std::uint32_t kNone = 0xffffffff;

    [[nodiscard]] std::uint32_t place_of(std::uint32_t member) const {
        return member < places_.size() ? places_[member] : kNone;
    }
    [[nodiscard]] const Key& key_above(std::uint32_t place, const Key& none) const {
        return place == 0 ? none : entries_[(place - 1) / 4].key;
    }
    void set(std::uint32_t place, const Entry& entry) {
        entries_[place] = entry;
        places_[entry.member] = place;
    }
    void rise(std::uint32_t place, const Entry& entry) {
        while (place > 0) {
            const std::uint32_t parent = (place - 1) / 4;
            if (!(entry.key < entries_[parent].key)) break;
            set(place, entries_[parent]);
            place = parent;
        }
        set(place, entry);
    }
    void sink(std::uint32_t place, const Entry& entry) {
        for (;;) {
            const std::size_t first = std::size_t{place} * 4 + 1;
            if (first >= entries_.size()) break;
            std::size_t least = first;
            for (std::size_t child = first + 1; child < first + 4 && child < entries_.size(); ++child)
                if (entries_[child].key < entries_[least].key) least = child;
            if (!(entries_[least].key < entry.key)) break;
            set(place, entries_[least]);
            place = static_cast<std::uint32_t>(least);
        }
        set(place, entry);
    }

    std::vector<Entry> entries_;
    std::vector<std::uint32_t> places_;  // by member
};

}  // namespace jobyard::broker
