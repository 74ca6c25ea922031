#pragma once
// The batches that are still in hand: the open one, the one in flight to the disk, and the durable ones that the store
// may lack or that payloads are sent from. Whatever is read from the store is laid over with them (found.hpp), so that
// nobody can tell how far behind it is.
//
// One thread. The committer and the applier read a batch where it stands, as long as it is here.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "batch.hpp"
#include "output.hpp"

namespace jobyard::broker {

class Batches {
 public:
    /// How much of what is durable and in the store is kept, to send payloads from: no more than either.
    struct Keep {
        std::size_t bytes = std::size_t{32} << 20;
        std::size_t count = 256;
    };
    /// The store has every batch up to `applied`; the next job is `next_job`.
    Batches(std::uint64_t applied, JobId next_job, Keep keep);

    [[nodiscard]] Batch& open() { return *open_; }
    [[nodiscard]] const Batch& open() const { return *open_; }
    /// Sealed and not yet durable, if there is one.
    [[nodiscard]] const Batch* in_flight() const { return in_flight_.get(); }
    /// The open batch goes into flight, and another one is open. Only when none is in flight.
    const Batch& hand_over(JobId next_job);

    /// The batch in flight has become durable.
    const Batch& land();
    [[nodiscard]] std::uint64_t durable() const { return durable_; }
    /// The store has every batch up to this one.
    void set_applied(std::uint64_t seq) { applied_ = seq; }
    [[nodiscard]] std::uint64_t applied() const { return applied_; }
    /// Lets go of what is kept beyond the bounds, unless the store lacks it, or a snapshot that is still to come may:
    /// each of those has the batches up to `read` at least.
    void trim(std::uint64_t read);

    /// Those above `seq`, oldest first, the open one included.
    [[nodiscard]] std::vector<const Batch*> after(std::uint64_t seq) const;
    /// A payload that is in hand, as a view that lasts until the open batch changes if it has no owner. False: look in
    /// the store. Edits that are not durable do not count: what is sent rests on older batches.
    [[nodiscard]] bool find(const PayloadRef& payload, KeptBytes& bytes) const;
    /// Appends the result of a job whose end is in a durable batch above `seq`; false if it is not. What is not durable
    /// does not count: nobody may be told of a result that retention is about to remove that it is gone.
    bool append_result(JobId job, std::uint64_t seq, std::string& bytes) const;

 private:
    std::unique_ptr<Batch> make(std::uint64_t seq, JobId next_job);
    [[nodiscard]] const Batch* by_number(std::uint64_t seq) const;
    [[nodiscard]] const Batch* with_job(JobId job) const;
    [[nodiscard]] bool find_edited(JobId job, KeptBytes& bytes) const;

    Keep keep_;
    std::deque<std::unique_ptr<Batch>> retained_;  // durable, oldest first
    std::unique_ptr<Batch> in_flight_;
    std::vector<std::unique_ptr<Batch>> spare_;
    std::unique_ptr<Batch> open_;  // made by make(), which looks into spare_
    std::uint64_t durable_;
    std::uint64_t applied_;
    std::size_t edits_ = 0;  // of dead jobs, in durable batches in hand
};

}  // namespace jobyard::broker
