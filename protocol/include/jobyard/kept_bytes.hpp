#pragma once
// Bytes that are passed on without being copied.

#include <concepts>
#include <memory>
#include <string_view>
#include <utility>

namespace jobyard {

/// Stay as they are while `owner` is held. Without an owner they are somebody else's: to be used now, or copied.
struct KeptBytes {
    std::string_view bytes;
    std::shared_ptr<const void> owner;

    KeptBytes() = default;
    template <std::convertible_to<std::string_view> View>
    KeptBytes(const View& view, std::shared_ptr<const void> keeper = {}) : bytes(view), owner(std::move(keeper)) {}
};

}  // namespace jobyard
