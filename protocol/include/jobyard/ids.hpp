#pragma once
// Numbers with a meaning. Each is its own type, so that a job number cannot be passed where a lease token is meant. All
// are plain values.

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace jobyard {

/// A number of its own type. `value` is public on purpose: these are values, not objects with secrets.
template <class Tag>
struct Id {
    std::uint64_t value = 0;
    friend auto operator<=>(Id, Id) = default;
    [[nodiscard]] explicit operator bool() const { return value != 0; }
};

/// Made by the broker, increasing, never issued twice by one store; 0 means "none". Printed in decimal; in JSON a
/// string of digits, because with shard bits it passes 2^53. The 8 high bits are reserved for a shard and are 0 today.
using JobId = Id<struct JobIdTag>;

/// One worker's claim on one attempt: 20 bits of broker epoch above 44 bits of counter. Greater means granted later.
/// Pass it to whatever the job changes outside (fencing): a greater token that was seen there makes a smaller one void.
using LeaseToken = Id<struct LeaseTokenTag>;

}  // namespace jobyard

template <class Tag>
struct std::hash<jobyard::Id<Tag>> {
    std::size_t operator()(jobyard::Id<Tag> id) const noexcept {
        // As it is: numbers made one after the other are used one after the other, and so are their buckets (of which
        // the library has a prime number).
        return static_cast<std::size_t>(id.value);
    }
};
