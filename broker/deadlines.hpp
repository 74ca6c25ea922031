#pragma once
// Which job is due next: one deadline a job, whatever it is for (delay, backoff or lease; the job's state says which).

#include <cstdint>

#include "heap.hpp"
#include "job_table.hpp"

namespace jobyard::broker {

class Deadlines {
 public:
    explicit Deadlines(JobTable& jobs) : heap_(Timers{&jobs}) {}

    /// Sets or moves the job's deadline (broker clock, milliseconds).
    void set(JobHandle job, std::int64_t at) { heap_.put(job, at); }
    /// The same for those that are set in the order in which they are due, as leases are.
    void append(JobHandle job, std::int64_t at) { heap_.append(job, at); }
    void drop(JobHandle job) { heap_.drop(job); }

    [[nodiscard]] bool empty() const { return heap_.empty(); }
    [[nodiscard]] std::int64_t next_at() const { return heap_.first().key; }
    [[nodiscard]] JobHandle next_job() const { return heap_.first().member; }
    [[nodiscard]] std::int64_t at(JobHandle job) const { return heap_.key_of(job); }

 private:
    /// Jobs keep their place themselves.
    struct Timers {
        JobTable* jobs;
        [[nodiscard]] std::uint32_t of(JobHandle job) const { return (*jobs)[job].timer; }
        void set(JobHandle job, std::uint32_t place) { (*jobs)[job].timer = place; }
    };
    template <class T>
    using Chunked = ChunkedVector<T>;
    Heap<std::int64_t, Timers, Chunked> heap_;
};

}  // namespace jobyard::broker
