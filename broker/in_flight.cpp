#include "in_flight.hpp"

#include <algorithm>

namespace jobyard::broker {

std::uint32_t InFlight::submits(std::uint64_t who, Use& use, std::uint64_t unanswered, std::uint64_t together,
                                std::int64_t now) {
    // Who submits all it can has few unanswered now and then, and before its first submits are answered.
    if (unanswered <= kLittle && now >= use.much_at + kGoesOnMs) {
        little_ = who;
        little_at_ = now;
        return 0;
    }
    leaves(who);
    const std::int64_t piece = now / kGoesOnMs;
    if (piece != piece_) {
        much_before_ = piece == piece_ + 1 ? much_ : 0;
        much_ = 0;
        piece_ = piece;
    }
    if (unanswered > kLittle) use.much_at = now;
    if (use.counted_in != piece) {
        use.counted_in = piece;
        ++much_;
    }
    if (together == 0 || little_ == 0 || now >= little_at_ + kGoesOnMs) return 0;
    const std::uint64_t part = together / std::max({much_, much_before_, std::uint64_t{1}});
    return static_cast<std::uint32_t>(std::max(part, 2 * kLittle));
}

}  // namespace jobyard::broker
