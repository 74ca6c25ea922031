#pragma once
// The reference model: what clients were told, what handlers did and what became durable, and the promises that tie
// them together. It decides nothing and knows nothing of how the broker decides; each call says what happened and
// throws Broken if that may not happen. The promises' numbers are those of DESIGN.md.
//
// model.cpp has what clients and workers say; model_grants.cpp grants, claims and their order; model_batches.cpp what
// becomes durable; model_state.cpp the core's own state.

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "client/session.hpp"
#include "core.hpp"
#include "coverage.hpp"
#include "plan.hpp"
#include "queues.hpp"
#include "stream.hpp"
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
    Outcome outcome_of_handler = Outcome::none;  ///< completed, failed, or released
    bool retryable = true;
    std::int64_t not_before = 0;  ///< released: as its worker has said last
    std::string result;
    [[nodiscard]] bool succeeded() const { return outcome_of_handler == Outcome::completed; }
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
    std::uint64_t edited = 0;
    std::uint64_t expired = 0;
    std::uint64_t keys_freed = 0;
    std::uint64_t tasks_done = 0;
    std::uint64_t states_checked = 0;  ///< of jobs, in the core, against what is known here

    void add_to(Counts& counts) const;
};

class Model {
 public:
    Model(World& world, const Plan& plan, Coverage& coverage)
        : world_(world), plan_(plan), coverage_(coverage), retention_(plan.retention()), stream_(coverage) {}

    // --- clients

    /// The wish of that name, empty if it is new. It stays where it is.
    Wish& wish(const std::string& name);
    [[nodiscard]] std::size_t wishes() const { return wishes_.size(); }
    /// Jobs that are wished for, as far as one knows before arrays are resubmitted.
    [[nodiscard]] std::uint64_t jobs_wished() const { return wishes_.size() + in_arrays_; }
    void wishes_array(std::uint64_t count) { in_arrays_ += count; }
    void was_told(const Wish& wish, Code code, JobId job, JobState state);
    void was_refused(Wish& wish, Code code);
    /// Somebody asks; may be asked again until it is answered or given up. The number is for the three below.
    std::uint64_t asks(const client::Question& question);
    void answered(std::uint64_t ask, const client::Question& question, const client::Answered& answer);
    void answered(std::uint64_t ask, const client::Question& question, const std::vector<Answer>& answers);
    void found(std::uint64_t ask, const client::Question& question, const client::Found& found) const;
    /// No answer came, or a refusal; or nobody is there to take one.
    void gives_up(std::uint64_t ask, const client::Question& question);
    void ended(const ResultItem& item, std::string_view payload);
    void result_is_missing(JobId job, Code code) const;
    /// Any job that somebody was told of, as far as is durable; none if there is no such.
    enum class Which : std::uint8_t { any, live, dead };
    [[nodiscard]] JobId any_told(Which which, Random& random) const;
    [[nodiscard]] JobId any_array(Random& random) const;
    [[nodiscard]] std::uint64_t tasks_begun() const { return tasks_.empty() ? 0 : tasks_.rbegin()->first; }
    [[nodiscard]] std::uint64_t newest_event() const { return stream_.newest(); }
    /// What somebody has to let go before everything can end.
    [[nodiscard]] std::vector<JobId> held() const;
    [[nodiscard]] std::vector<std::string> drained_workers() const;
    [[nodiscard]] const Queues& queues() const { return queues_; }

    // --- workers

    void begins(const std::string& worker, LeaseToken token);
    void finishes(LeaseToken token, Outcome outcome, bool retryable, std::string result);
    void hands_back(LeaseToken token, std::uint64_t delay_ms);
    void worker_died(const std::string& worker);
    /// The answer to an end: `recorded_as` is what it was.
    void end_answered(LeaseToken token, Outcome told_as, Code code);
    /// Something happened to the worker or to the broker, which may make one think the other dead until then.
    void disturbed(const std::string& worker, std::int64_t until_us);
    void broker_disturbed(std::int64_t until_us);
    /// The broker stood still for so long: its clock did too.
    void broker_stalled(std::int64_t time_us);

    // --- the broker's edges

    void broker_started(const broker::Core& core, std::set<Uuid> known_workers, std::int64_t wall_offset_ms);
    void worker_is_back(const Uuid& instance) { awaited_.erase(instance); }
    void claim_decided(const broker::Core& core, JobId job, LeaseToken token);
    void claim_answered(JobId job, LeaseToken token, Code code);
    void dispatched(const std::string& worker, const DispatchItem& item, std::string_view payload);
    struct Granted {
        JobId job;
        LeaseToken token;
        Uuid worker;
    };
    /// These were chosen in this turn; all others are where they were when the choices had been made.
    void granted(const broker::Core& core, const std::vector<Granted>& jobs);
    /// The job was taken from its worker, or is dead, because time has passed; of these there are messages unread.
    void lost_by_time(JobId job, const std::set<std::string>& unheard) const;
    void durable(const broker::Batch& batch);
    /// All that the core has decided is durable: it must hold what is known here. Looks at the jobs that have changed
    /// since the last time, and every few seconds at all of them and at all counts.
    void check(const broker::Core& core, std::int64_t wall_offset_ms);
    /// How a job ended that has.
    [[nodiscard]] JobState end_of(JobId job) const;

    // --- the end

    [[nodiscard]] bool all_ended() const { return unended_ == 0 && arrays_.all_ended(); }
    [[nodiscard]] std::string unended() const;
    void check_all(const broker::Core& core, std::int64_t wall_offset_ms);
    [[nodiscard]] const Arrays& arrays() const { return arrays_; }
    [[nodiscard]] const Totals& totals() const { return totals_; }

 private:
    struct End {
        JobState state = JobState::none;
        Reason reason = Reason::none;
        LeaseToken token;
        std::uint32_t result_size = 0;
    };
    /// What can be changed of a job.
    struct Settings {
        std::string queue;
        std::string type;
        std::string payload;  ///< empty: the wish's
        std::uint8_t priority = 0;
        bool held = false;
        std::uint32_t max_attempts = 0;
        std::uint32_t timeout_ms = 0;
        Backoff backoff;
    };
    struct EditAsked {
        Edit edit;
        std::string payload;
    };
    struct Record {
        Wish* wish = nullptr;
        Settings is;
        std::vector<Change> changes_asked;
        std::vector<EditAsked> edits_asked;
        std::vector<Settings> was;  ///< each that was durable once
        std::uint64_t deadline_ms = 0;
        std::uint64_t queue_timeout_ms = 0;
        std::string key;
        std::uint32_t attempts = 0;          ///< charged, of all rounds
        JobState waits_as = JobState::none;  ///< scheduled or retrying, if it was not to be queued at once
        std::int64_t due_at = 0;             ///< wall clock, as decided; 0: it waits for no time
        std::int64_t round_at = 0;           ///< simulated time: its round has not begun before
        std::int64_t begun_by = 0;           ///< nor after this
        std::int64_t ended_at_ms = 0;        ///< wall clock, as written
        std::int64_t changed_at = 0;         ///< simulated time when it last ended or was redriven
        bool cancel_requested = false;
        LeaseToken leased;  ///< by decision; its end is not durable
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
        JobId array;  ///< 0: it is of none
        std::uint64_t array_index = 0;
        bool resubmitted = false;  ///< with its array: its end is kept among the others
        [[nodiscard]] bool is_live() const { return stage == Stage::live; }
    };

    [[noreturn]] static void broken(std::string rule, std::string how);
    Record& record(JobId job);
    [[nodiscard]] const Wish* wish_of(JobId id) const;
    [[nodiscard]] bool cancel_was_asked(JobId job, const Record& known) const;
    struct TaskAsked {
        StartTask task;
        std::set<JobId> jobs;
    };
    [[nodiscard]] bool is_drained(const Uuid& worker) const;
    [[nodiscard]] bool is_in_task(TaskAction action, JobId job, const Record& known) const;
    Wish& wish_made(JobId id, std::string_view payload);
    void job_made(JobId job, Wish& wish, const broker::LiveRow& row);
    void check_submitted(const Wish& wish, const broker::LiveRow& row) const;
    void note(const broker::Batch& batch, const broker::Op& op);
    void note_task(std::uint64_t number, std::string_view bytes);
    void task_ended(std::uint64_t number, const broker::TaskRow& row) const;
    void key_freed(std::string_view key);
    void edited(JobId job, const broker::LiveRow& row);
    [[nodiscard]] bool has_expired(const Record& known) const;
    void check_job(const broker::Core& core, JobId job, std::int64_t wall_ms);
    void check_counts(const broker::Core& core) const;
    void check_totals(const broker::Core& core) const;
    void cancel_answered(JobId job, Code code, JobState state);
    void redrive_answered(JobId job);
    void answered(const Change& change, const std::vector<Answer>& answers) const;
    void answered(const Edit& edit, const std::vector<Answer>& answers) const;
    void answered_task(const Answer& answer) const;
    void stop_answered(JobId array, Code code);
    void job_shown(std::string_view map, std::int64_t asked_at) const;
    void array_forgotten(JobId id);
    void attempt_ended(JobId job, const broker::AttemptRow& row, const char* table, bool expired = false);
    void check_cause(JobId job, const broker::AttemptRow& row, const Execution& execution) const;
    void job_ended(JobId job, std::string_view row);
    void state_written(JobId job, std::string_view row);
    void job_redriven(JobId job);
    void job_retired(JobId job);

    World& world_;
    const Plan& plan_;
    Coverage& coverage_;
    const bool retention_;
    Totals totals_;
    Queues queues_;
    Stream stream_;
    std::vector<std::int64_t> asked_at_;                 // by the number of an ask, from 1
    std::map<std::uint64_t, std::uint64_t> queue_asks_;  // of `queues_`, by that number
    std::vector<TaskAsked> tasks_asked_;
    std::map<std::uint64_t, broker::TaskState> tasks_;  // that are durable
    struct Drain {
        std::string name;
        bool draining = false;
    };
    std::map<std::uint64_t, std::pair<Uuid, Drain>> worker_rows_;
    std::set<std::string> resumed_;            // workers that somebody has ever asked to resume
    std::map<JobId, const broker::Op*> puts_;  // of the batch: the last that puts a job into `live`
    std::map<JobId, std::set<std::string>> new_payloads_;
    std::int64_t stalled_us_ = 0;  ///< in all, up to the end of the last time
    std::int64_t stall_ends_ = 0;
    [[nodiscard]] std::int64_t by_broker(std::int64_t time_us) const;
    std::int64_t wall_offset_ms_ = 0;
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
    // By the broker's clock, about: without the time that it stood still.
    std::map<std::string, std::int64_t> disturbed_until_;
    std::int64_t broker_disturbed_until_ = 0;
    std::map<LeaseToken, Uuid> granted_to_drained_;

    // This life of the broker.
    std::set<Uuid> awaited_;
    std::int64_t started_at_ = 0;
    std::vector<JobId> candidates_;  // for dispatch: may be queued
    std::uint64_t next_candidate_ = 1;
    std::uint64_t picks_ = 0;
    std::uint64_t aged_picks_ = 0;
    std::set<JobId> touched_;
    std::int64_t next_whole_check_ = 0;
};

}  // namespace jobyard::sim
