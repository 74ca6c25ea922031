#pragma once
// The reference model: what clients were told, what handlers did and what became durable, and the promises that tie
// them together. It decides nothing and knows nothing of how the broker decides; each call says what happened and
// throws Broken if that may not happen. The promises' numbers are those of DESIGN.md.

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "core.hpp"
#include "plan.hpp"
#include "world.hpp"

namespace jobyard::sim {

/// What a client wants done. Every payload begins with the name of its wish, so that a job tells whose it is. The
/// wishes of one key with one content share one.
struct Wish {
    std::string name;
    std::string queue;
    std::string type;
    std::string key;
    std::string payload;
    SubmitItem item;                           ///< views into the strings: a wish never moves
    std::shared_ptr<const SubmitArray> array;  ///< it wants one
    std::int64_t wished_at = 0;
    bool refused = false;  ///< it was said that this makes no job
    JobId job;             ///< the one that it made; or the array
};

/// One run of a handler, or a grant that never came to one.
struct Execution {
    JobId job;
    std::string worker;
    std::int64_t began_at = -1;
    std::int64_t ended_at = -1;
    bool succeeded = false;
    bool retryable = true;
    std::string result;
    bool recorded = false;            ///< its end is on disk
    Outcome outcome = Outcome::none;  ///< as recorded
};

struct Totals {
    std::uint64_t submitted = 0;
    std::uint64_t completed = 0;
    std::uint64_t dead = 0;
    std::uint64_t cancelled = 0;
    std::uint64_t redriven = 0;
    std::uint64_t retired = 0;
    std::uint64_t dispatched = 0;
    std::uint64_t executions = 0;
    std::uint64_t run_twice = 0;   ///< begun although the same job ran elsewhere or had succeeded
    std::uint64_t stale_ends = 0;  ///< ends that came too late and were refused
    std::uint64_t claims_kept = 0;
    std::uint64_t refusals = 0;  ///< submits that came to nothing
    std::uint64_t arrays = 0;
    std::uint64_t array_jobs = 0;
    std::uint64_t resubmitted = 0;  ///< of these
    std::uint64_t arrays_forgotten = 0;

    void add(const Totals& other);
};

class Model {
 public:
    Model(World& world, const Plan& plan) : world_(world), plan_(plan) {}

    // --- clients

    /// The wish of that name, empty if it is new. It stays where it is.
    Wish& wish(const std::string& name);
    [[nodiscard]] std::size_t wishes() const { return wishes_.size(); }
    /// Jobs that are wished for, as far as one knows before arrays are resubmitted.
    [[nodiscard]] std::uint64_t jobs_wished() const { return wishes_.size() + in_arrays_; }
    void wishes_array(std::uint64_t count) { in_arrays_ += count; }
    void was_told(const Wish& wish, Code code, JobId job, JobState state);
    void was_refused(Wish& wish, Code code);
    void asks_cancel(JobId job);
    void cancel_answered(JobId job, Code code, JobState state);
    void asks_redrive(JobId job) { record(job).redrive_asked = true; }
    void redrive_answered(JobId job);
    void asks_purge(JobId job) { record(job).purge_asked = true; }
    void asks_stop(JobId array) { arrays_.find(array)->steered = true; }
    void stop_answered(JobId array, Code code);
    void resubmit_answered(JobId array, const Answer& answer, bool cancelled) const {
        arrays_.resubmit_answered(array, answer, cancelled);
    }
    void ended(const ResultItem& item, std::string_view payload);
    void result_is_missing(JobId job, Code code) const;
    /// Any job that somebody was told of, as far as is durable; none if there is no such.
    enum class Which : std::uint8_t { any, live, dead };
    [[nodiscard]] JobId any_told(Which which, Random& random) const;
    [[nodiscard]] JobId any_array(Random& random) const;

    // --- workers

    void begins(const std::string& worker, LeaseToken token);
    void finishes(LeaseToken token, bool succeeded, bool retryable, std::string result);
    void worker_died(const std::string& worker);
    /// The answer to an end: `recorded_as` is what it was.
    void end_answered(LeaseToken token, Outcome told_as, Code code);
    /// Something happened to the worker or to the broker, which may make one think the other dead until then.
    void disturbed(const std::string& worker, std::int64_t until_us);
    void broker_disturbed(std::int64_t until_us);

    // --- the broker's edges

    void broker_started(const broker::Core& core, std::set<Uuid> known_workers);
    void worker_is_back(const Uuid& instance) { awaited_.erase(instance); }
    void claim_answered(JobId job, LeaseToken token, Code code);
    void dispatched(const std::string& worker, const DispatchItem& item, std::string_view payload);
    /// `jobs` were chosen in this turn; all others are where they were when the choices had been made.
    void granted(const broker::Core& core, const std::vector<JobId>& jobs);
    void durable(const broker::Batch& batch);

    // --- the end

    [[nodiscard]] bool all_ended() const { return unended_ == 0 && arrays_.all_ended(); }
    [[nodiscard]] std::string unended() const;
    void check_totals(const broker::Core& core) const;
    [[nodiscard]] const Arrays& arrays() const { return arrays_; }
    [[nodiscard]] const Totals& totals() const { return totals_; }

 private:
    struct End {
        JobState state = JobState::none;
        Reason reason = Reason::none;
        LeaseToken token;
        std::uint32_t result_size = 0;
    };
    struct Record {
        Wish* wish = nullptr;
        enum class Stage : std::uint8_t { absent, live, ended, retired } stage = Stage::absent;
        std::vector<End> ends;  ///< one a round
        std::uint32_t errors = 0;
        std::uint32_t crashes = 0;
        LeaseToken newest_sent;
        LeaseToken live;  ///< granted or claimed in this life of the broker, and its end not durable
        std::int64_t not_before = 0;
        bool told = false;
        bool cancel_asked = false;
        bool cancel_promised = false;
        bool redrive_asked = false;
        bool purge_asked = false;
        JobId array;  ///< 0: it is of none
        std::uint64_t array_index = 0;
        bool resubmitted = false;  ///< with its array: its end is kept among the others
        [[nodiscard]] bool is_live() const { return stage == Stage::live; }
    };

    [[noreturn]] static void broken(std::string rule, std::string how);
    Record& record(JobId job);
    [[nodiscard]] const Wish* wish_of(JobId id) const;
    [[nodiscard]] bool cancel_was_asked(const Record& known) const;
    Wish& wish_made(JobId id, std::string_view payload);
    void job_made(JobId job, Wish& wish);
    void note(const broker::Batch& batch, const broker::Op& op);
    void array_forgotten(JobId id);
    void attempt_ended(JobId job, const broker::AttemptRow& row, const char* table);
    void check_cause(JobId job, const broker::AttemptRow& row, const Execution& execution) const;
    void job_ended(JobId job, std::string_view row);
    void state_written(JobId job, std::string_view row);
    void job_redriven(JobId job);
    void job_retired(JobId job);

    World& world_;
    const Plan& plan_;
    Totals totals_;
    std::map<std::string, std::unique_ptr<Wish>> wishes_;
    std::map<JobId, Record> jobs_;
    std::map<std::string, JobId> keys_;  // by queue and key
    std::set<std::string> freed_keys_;   // which an array had once that is forgotten
    Arrays arrays_;
    std::uint64_t in_arrays_ = 0;
    std::map<LeaseToken, Execution> executions_;
    std::map<JobId, std::vector<LeaseToken>> executions_of_;
    std::map<LeaseToken, Outcome> ended_unsent_;  ///< grants whose end was durable before they had left
    std::vector<JobId> told_;
    std::size_t unended_ = 0;
    std::map<std::string, std::int64_t> disturbed_until_;
    std::int64_t broker_disturbed_until_ = 0;

    // This life of the broker.
    std::set<Uuid> awaited_;
    std::int64_t started_at_ = 0;
    std::vector<JobId> candidates_;  // for dispatch: may be queued
    std::uint64_t next_candidate_ = 1;
    std::uint64_t picks_ = 0;
    std::uint64_t aged_picks_ = 0;
};

}  // namespace jobyard::sim
