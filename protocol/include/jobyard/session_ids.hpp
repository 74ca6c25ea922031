#pragma once
// The identities of a conversation and of a store, which travel on the wire and which no user of the libraries needs.

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

#include "jobyard/ids.hpp"

namespace jobyard {

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

template <>
struct std::hash<jobyard::Uuid> {
    std::size_t operator()(const jobyard::Uuid& id) const noexcept {
        std::size_t word;  // random bits: any eight of them are a hash
        std::memcpy(&word, id.bytes.data(), sizeof word);
        return word;
    }
};
