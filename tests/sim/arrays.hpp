#pragma once
// The model's part about arrays: which index became which job, what is left to resubmit, and what the store's counts
// must be then. Like the model it decides nothing; a batch goes in operation by operation, and is checked as a whole.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "batch.hpp"
#include "jobyard/job.hpp"
#include "jobyard/session_ids.hpp"
#include "record.hpp"

namespace jobyard::sim {

struct Wish;

struct Array {
    Wish* wish = nullptr;
    broker::ArrayRow counts;                 ///< as the store has them, without the name
    std::map<std::uint64_t, JobId> jobs;     ///< by index
    std::map<std::uint64_t, JobState> left;  ///< its leftovers, by index
    std::set<std::uint64_t> due;             ///< of those that it resubmits: it has to make them
    std::uint64_t unended = 0;
    std::uint64_t completed = 0;
    std::uint64_t dead = 0;
    std::uint64_t cancelled = 0;
    std::uint64_t buried = 0;
    std::uint64_t chunks = 0;  ///< of its payload
    bool steered = false;      ///< somebody asked that it make no more
    bool cancel_asked = false;
    bool makes_no_more = false;  ///< and was told so
    bool is_forgotten = false;
};

class Arrays {
 public:
    /// Null if there is no such array on disk, and never was.
    [[nodiscard]] Array* find(JobId id);
    [[nodiscard]] const Array* find(JobId id) const;
    [[nodiscard]] const std::map<JobId, Array>& all() const { return arrays_; }

    // --- a batch that became durable

    /// What it will have counted at its end, which tells what is what in it.
    void begin(const broker::Batch& batch);
    /// Of an array that was made in it: whether it resubmits another.
    [[nodiscard]] bool is_successor(JobId id) const;
    void made(JobId id, Wish& wish);
    void made_job(JobId id, std::uint64_t index, JobId job);
    void job_ended(JobId id, JobState state);
    void job_redriven(JobId id);
    /// Out of the dead letter queue, and for good.
    void job_left_dead(JobId id) { --touched(id).buried; }
    void left(std::string_view key, std::string_view row);
    void left_no_more(std::string_view key, bool lives);
    void forgotten(JobId id) { touched(id).is_forgotten = true; }
    void chunk(JobId id, bool put);
    /// Checks all arrays that it concerned.
    void end();

    // --- what somebody was told

    void said_to_make_no_more(JobId id);
    void resubmit_answered(JobId id, const Answer& answer, bool cancelled) const;
    void said_to_have_ended(JobId id, JobState state) const;

    // --- the end

    [[nodiscard]] bool all_ended() const;
    [[nodiscard]] std::string unended() const;

 private:
    Array& touched(JobId id);
    void check(JobId id, const Array& array) const;

    std::map<JobId, Array> arrays_;
    // Of the batch:
    std::map<JobId, broker::ArrayRow> counts_;
    std::set<JobId> touched_;
    std::set<std::pair<JobId, std::uint64_t>> resubmitted_;  ///< made anew, and still to leave the leftovers
};

}  // namespace jobyard::sim
