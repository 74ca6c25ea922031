#pragma once
// Who submits all it can, and who submits a little and need not wait behind that.
//
// What limits a submitter is how many submits it may have unanswered. With its whole window it keeps the loop, the disk
// and the cores at work without a pause, and whoever submits a single job meanwhile waits behind thousands. Smaller
// batches do not help, they cost more of what is short; fewer unanswered do: then those who submit much go as fast as
// answers come, and the broker rests in between. So while somebody submits little, those who submit much are told to
// have few unanswered, and are slower by as much. Alone, or among themselves, they are told nothing.
// `jobyard-bench greedy` measures both.

#include <cstdint>

namespace jobyard::broker {

class InFlight {
 public:
    /// Who has no more submits unanswered than this submits little.
    static constexpr std::uint64_t kLittle = 32;
    /// For how long who has submitted is thought to go on as it did.
    static constexpr std::int64_t kGoesOnMs = 1'000;

    /// Of one submitter.
    struct Use {
        std::int64_t much_at = -kGoesOnMs;  ///< when it last submitted much
        std::int64_t counted_in = -1;       ///< the piece of time in which it was last counted
    };

    /// Submitter `who`, never 0, submits, and has now so many unanswered. Returns how many it should have at most from
    /// now on, 0 for as many as its window has: its part of the `together` that those who submit much have while
    /// somebody submits little, but so many that it does not look as if it submitted little. `now` never goes back.
    std::uint32_t submits(std::uint64_t who, Use& use, std::uint64_t unanswered, std::uint64_t together,
                          std::int64_t now);
    /// It is gone: nobody need be kept waiting for it.
    void leaves(std::uint64_t who) {
        if (little_ == who) little_ = 0;
    }

 private:
    std::uint64_t little_ = 0;  ///< who last submitted little; 0: nobody, or it has gone since
    std::int64_t little_at_ = 0;
    // How many submitted much, by pieces of time.
    std::int64_t piece_ = 0;
    std::uint64_t much_ = 0;         ///< in this one, so far
    std::uint64_t much_before_ = 0;  ///< in the one before it
};

}  // namespace jobyard::broker
