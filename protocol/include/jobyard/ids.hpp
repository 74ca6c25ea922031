#pragma once
// The identities that travel on the wire and live in the store. Each is its own type, so that a job number cannot be
// passed where a lease token is meant. All are plain values.

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

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

/// One conversation of one peer with one run of the broker. Every message after WELCOME carries it.
using SessionId = Id<struct SessionIdTag>;

/// Chosen by whoever asks; the answer repeats it.
using RequestId = Id<struct RequestIdTag>;

inline constexpr int kTokenCounterBits = 44;
inline constexpr std::uint64_t kTokenCounterMask = (std::uint64_t{1} << kTokenCounterBits) - 1;
inline constexpr std::uint32_t kEpochMax = (1U << 20U) - 1;

/// 128 random bits: one start of a client or worker library (an *instance*), or one store.
struct Uuid {
    std::array<unsigned char, 16> bytes{};
    friend auto operator<=>(const Uuid&, const Uuid&) = default;
    [[nodiscard]] std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
    [[nodiscard]] bool is_nil() const { return *this == Uuid{}; }
};

/// 32 lower-case hexadecimal digits.
std::string to_hex(const Uuid& id);
/// `bytes` must be 16 bytes long.
Uuid uuid_from_bytes(std::string_view bytes);

}  // namespace jobyard

template <class Tag>
struct std::hash<jobyard::Id<Tag>> {
    std::size_t operator()(jobyard::Id<Tag> id) const noexcept {
        // As it is: numbers made one after the other are used one after the other, and so are their buckets (of which
        // the library has a prime number).
        return static_cast<std::size_t>(id.value);
    }
};
template <>
struct std::hash<jobyard::Uuid> {
    std::size_t operator()(const jobyard::Uuid& id) const noexcept {
        std::size_t word;  // random bits: any eight of them are a hash
        std::memcpy(&word, id.bytes.data(), sizeof word);
        return word;
    }
};
