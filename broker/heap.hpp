#pragma once
// A 4-ary min-heap of numbered members that knows where each one stands, so that a key is moved or dropped in place and
// no member stands in it twice. Members are small numbers of whoever owns the heap.
//
// Keys that come in order need no heap. append() puts them into a list beside it, in constant time, and the first of
// all is the first of the one or of the other. Who leaves the list leaves a hole, which goes when it comes to the
// front; where holes are most of a list, who keeps them there by staying moves to the heap. The list is one piece: a
// million in it take some milliseconds when it grows.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace jobyard::broker {

/// Where the members of a heap stand, for members that keep no place for that themselves.
class PlacesByMember {
 public:
    [[nodiscard]] std::uint32_t of(std::uint32_t member) const {
        return member < places_.size() ? places_[member] : 0xffffffff;
    }
    void set(std::uint32_t member, std::uint32_t place) {
        if (member >= places_.size()) places_.resize(member + std::size_t{1}, 0xffffffff);
        places_[member] = place;
    }

 private:
    std::vector<std::uint32_t> places_;
};

template <class T>
using Contiguous = std::vector<T>;

/// `Places` says and keeps the place of a member, all ones at first; `Entries` is the vector of the heap proper.
template <class Key, class Places = PlacesByMember, template <class> class Entries = Contiguous>
class Heap {
 public:
    struct Entry {
        Key key;
        std::uint32_t member = 0;
    };

    Heap() = default;
    explicit Heap(Places places) : places_(places) {}

    [[nodiscard]] bool empty() const { return heap_.empty() && list_.empty(); }
    [[nodiscard]] const Entry& first() const {
        if (list_.empty()) return heap_[0];
        return heap_.empty() || list_[front_].key < heap_[0].key ? list_[front_] : heap_[0];
    }
    [[nodiscard]] bool contains(std::uint32_t member) const { return places_.of(member) != kNone; }
    /// One that may soon be first, if one is known: to have at hand what it stands for.
    [[nodiscard]] const Entry* coming() const {
        const std::size_t at = front_ + kAhead;
        return at < list_.size() && list_[at].member != kNone ? &list_[at] : nullptr;
    }
    /// How many entries there is memory for; for tests.
    [[nodiscard]] std::size_t entries() const { return heap_.size() + list_.size(); }
    /// It must be there.
    [[nodiscard]] const Key& key_of(std::uint32_t member) const { return entry_at(places_.of(member)).key; }

    /// Inserts the member, or moves it.
    void put(std::uint32_t member, const Key& key) {
        const std::uint32_t place = places_.of(member);
        if (is_in_heap(place)) return key < heap_[place].key ? rise(place, {key, member}) : sink(place, {key, member});
        drop(member);
        insert({key, member});
    }

    /// The same, in constant time if no key that was appended comes after this one.
    void append(std::uint32_t member, const Key& key) {
        if (!list_.empty() && key < list_.back().key) return put(member, key);
        drop(member);
        places_.set(member, kListed | ((first_number_ + static_cast<std::uint32_t>(list_.size())) & (kListed - 1)));
        list_.push_back({key, member});
    }

    /// Appends the member, or moves it forward; never back.
    void advance(std::uint32_t member, const Key& key) {
        const std::uint32_t place = places_.of(member);
        if (place == kNone) append(member, key);
        else if (key < entry_at(place).key) put(member, key);
    }

    void drop(std::uint32_t member) {
        const std::uint32_t place = places_.of(member);
        if (place == kNone) return;
        places_.set(member, kNone);
        if (!is_in_heap(place)) return unlist(place);
        const Entry last = heap_[heap_.size() - 1];
        heap_.pop_back();
        if (last.member == member) return;
        place > 0 && last.key < heap_[(place - 1) / 4].key ? rise(place, last) : sink(place, last);
    }

 private:
    static constexpr std::uint32_t kNone = 0xffffffff;
    static constexpr std::uint32_t kListed = std::uint32_t{1}
                                             << 30U;  // of a place: it is in the list, its number below
    static constexpr std::size_t kFewHoles = 64;      // not worth a move
    static constexpr std::size_t kAhead = 2;          // what takes a pick or two comes from memory in time

    [[nodiscard]] static bool is_in_heap(std::uint32_t place) { return place < kListed; }
    /// A number in the list stays what it is while others leave.
    [[nodiscard]] std::size_t listed_at(std::uint32_t place) const { return (place - first_number_) & (kListed - 1); }
    [[nodiscard]] const Entry& entry_at(std::uint32_t place) const {
        return is_in_heap(place) ? heap_[place] : list_[listed_at(place)];
    }

    // --- the list

    void unlist(std::uint32_t place) {
        leave_hole(listed_at(place));
        if (holes_ <= kFewHoles || 2 * holes_ <= list_.size() - front_) return;
        const Entry stays = list_[front_];
        leave_hole(front_);
        insert(stays);
    }
    void leave_hole(std::size_t at) {
        list_[at].member = kNone;
        ++holes_;
        for (; front_ < list_.size() && list_[front_].member == kNone; ++front_) --holes_;
        if (front_ < list_.size() / 2) return;  // so that what is kept and moved was paid for by what went
        first_number_ += static_cast<std::uint32_t>(front_);
        list_.erase(list_.begin(), list_.begin() + static_cast<std::ptrdiff_t>(front_));
        front_ = 0;
    }

    // --- the heap

    void insert(const Entry& entry) {
        heap_.push_back(entry);
        rise(static_cast<std::uint32_t>(heap_.size() - 1), entry);
    }
    void set(std::uint32_t place, const Entry& entry) {
        heap_[place] = entry;
        places_.set(entry.member, place);
    }
    void rise(std::uint32_t place, const Entry& entry) {
        while (place > 0) {
            const std::uint32_t parent = (place - 1) / 4;
            if (!(entry.key < heap_[parent].key)) break;
            set(place, heap_[parent]);
            place = parent;
        }
        set(place, entry);
    }
    void sink(std::uint32_t place, const Entry& entry) {
        for (;;) {
            const std::size_t first = std::size_t{place} * 4 + 1;
            if (first >= heap_.size()) break;
            std::size_t least = first;
            for (std::size_t child = first + 1; child < first + 4 && child < heap_.size(); ++child)
                if (heap_[child].key < heap_[least].key) least = child;
            if (!(heap_[least].key < entry.key)) break;
            set(place, heap_[least]);
            place = static_cast<std::uint32_t>(least);
        }
        set(place, entry);
    }

    Places places_;
    Entries<Entry> heap_;
    std::vector<Entry> list_;  // in order, from front_ on; a hole has no member
    std::size_t front_ = 0;
    std::size_t holes_ = 0;           // behind the front
    std::uint32_t first_number_ = 0;  // of list_[0]
};

}  // namespace jobyard::broker
