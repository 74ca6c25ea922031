#pragma once
// Which jobs come and go before the store must have them. Their rows in `live` are put once and erased once, and with
// them the slices of their payloads; neither need be written. It sees batches before they are applied, as far ahead as
// they are in hand: the log has them, so a store that lacks such a job is brought to the same state by what follows.
//
// Pure; of one thread.

#include <cstdint>
#include <deque>
#include <vector>

#include "batch.hpp"

namespace jobyard::broker {

class Passing {
 public:
    /// Batches up to `noted` are not its business: their operations are all to be carried out.
    explicit Passing(std::uint64_t noted = 0) : noted_(noted) {}

    /// A batch that is durable and not applied; in order, and passed over if it was noted before. `bound`: the greatest
    /// number of a job that has a row in `live`, or in `buried`, from where a redrive takes it back.
    void note(const Batch& batch, std::uint64_t bound);
    /// The last batch that it knows.
    [[nodiscard]] std::uint64_t noted() const { return noted_; }
    /// The operation, of a batch that was noted, need not be carried out.
    [[nodiscard]] bool contains(const Batch& batch, const Op& op) const;
    /// The batches up to `seq` have been applied; those after it put no job below `next`.
    void applied(std::uint64_t seq, std::uint64_t next);
    void applied_all();

 private:
    enum class Fate : std::uint8_t {
        put,      ///< and not applied yet
        gone,     ///< put and erased, both before either was applied
        written,  ///< or otherwise to be left to the store
    };

    void note(std::uint64_t job, Op::Kind kind, std::uint64_t bound);

    /// Jobs below `next` are forgotten once batch `seq` has been applied.
    struct Over {
        std::uint64_t seq;
        std::uint64_t next;
    };

    std::uint64_t noted_;
    std::uint64_t first_ = 0;
    std::vector<Fate> fates_;  ///< of job first_ + i
    std::deque<Over> over_;    ///< in order
};

}  // namespace jobyard::broker
