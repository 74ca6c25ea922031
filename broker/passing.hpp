#pragma once
// Which jobs come and go before the store must have them. Their rows in `live` are put once and erased once, and with
// them the slices of their payloads; neither need be written. It sees batches before they are applied, as far ahead as
// they are in hand: the log has them, so a store that lacks such a job is brought to the same state by what follows.
//
// Pure; of one thread.

#include <cstdint>
#include <string_view>
#include <vector>

#include "batch.hpp"

namespace jobyard::broker {

class Passing {
 public:
    /// A batch that is durable and not applied, once each, in order. `bound`: the greatest number of a job that has a
    /// row in `live` or in `buried` (from where it might come back).
    void note(const Batch& batch, std::uint64_t bound);
    /// The operation, of a batch that was noted, need not be carried out.
    [[nodiscard]] bool contains(const Batch& batch, const Op& op) const;
    /// What was noted has been applied, apart from batches that put no job below `next`.
    void applied_before(std::uint64_t next);
    void applied_all() { fates_.clear(); }

 private:
    enum class Fate : std::uint8_t {
        unknown,
        put,      ///< and not applied yet
        gone,     ///< put and erased, both before either was applied
        written,  ///< or otherwise to be left to the store
    };

    void note(std::uint64_t job, const Op& op, std::uint64_t bound);

    std::uint64_t first_ = 0;
    std::uint64_t applied_ = 0;  ///< what applied_before() was told last
    std::vector<Fate> fates_;    ///< of job first_ + i
};

}  // namespace jobyard::broker
