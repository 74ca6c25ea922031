#pragma once
// Which job is due next: one deadline a job, whatever it is for (delay, backoff or lease; the job's state says which).
// A 4-ary min-heap that knows where each job stands, so that a deadline is moved or dropped in place and none is stale.

#include <cstdint>

#include "job_table.hpp"

namespace jobyard::broker {

class Deadlines {
 public:
    explicit Deadlines(JobTable& jobs) : jobs_(jobs) {}

    /// Sets or moves the job's deadline (broker clock, milliseconds).
    void set(JobHandle job, std::int64_t at) {
        std::uint32_t place = jobs_[job].timer;
        if (place == kNone) {
            place = static_cast<std::uint32_t>(heap_.size());
            heap_.push_back({at, job});
            jobs_[job].timer = place;
            rise(place);
            return;
        }
        const std::int64_t before = heap_[place].at;
        heap_[place].at = at;
        at < before ? rise(place) : sink(place);
    }

    void drop(JobHandle job) {
        const std::uint32_t place = jobs_[job].timer;
        if (place == kNone) return;
        jobs_[job].timer = kNone;
        const Entry last = heap_[heap_.size() - 1];
        heap_.pop_back();
        if (last.job == job) return;
        put(place, last);
        rise(place);
        sink(jobs_[last.job].timer);
    }

    [[nodiscard]] bool empty() const { return heap_.empty(); }
    [[nodiscard]] std::int64_t next_at() const { return heap_[0].at; }
    [[nodiscard]] JobHandle next_job() const { return heap_[0].job; }
    [[nodiscard]] std::int64_t at(JobHandle job) const { return heap_[jobs_[job].timer].at; }

 private:
    static constexpr std::uint32_t kNone = 0xffffffff;
    struct Entry {
        std::int64_t at = 0;
        JobHandle job = kNoJob;
    };
    void put(std::uint32_t place, Entry entry) {
        heap_[place] = entry;
        jobs_[entry.job].timer = place;
    }
    void rise(std::uint32_t place) {
        const Entry entry = heap_[place];
        while (place > 0) {
            const std::uint32_t parent = (place - 1) / 4;
            if (heap_[parent].at <= entry.at) break;
            put(place, heap_[parent]);
            place = parent;
        }
        put(place, entry);
    }
    void sink(std::uint32_t place) {
        const Entry entry = heap_[place];
        for (;;) {
            const std::size_t first = std::size_t{place} * 4 + 1;
            if (first >= heap_.size()) break;
            std::size_t least = first;
            for (std::size_t child = first + 1; child < first + 4 && child < heap_.size(); ++child)
                if (heap_[child].at < heap_[least].at) least = child;
            if (heap_[least].at >= entry.at) break;
            put(place, heap_[least]);
            place = static_cast<std::uint32_t>(least);
        }
        put(place, entry);
    }

    JobTable& jobs_;
    ChunkedVector<Entry> heap_;
};

}  // namespace jobyard::broker
