#pragma once
// The rows of the store as values, and their bytes. Every row is
//
//     version (1 byte) · checksum of the rest (4 bytes, the low half of XXH3) · fields (a MessagePack array) · tail
//     (bytes)
//
// To change one: append a field; in a shorter row it has its usual value. Only a change that an older broker would
// misread raises kFormatVersion; a store of another format is refused, with what to do. Times are milliseconds since
// 1970 UTC by the broker's wall clock (`_at`).

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "batch.hpp"
#include "jobyard/ids.hpp"
#include "jobyard/job.hpp"
#include "jobyard/message.hpp"

namespace jobyard::broker {

inline constexpr std::uint8_t kFormatVersion = 5;

/// A row of at most this many bytes stays inside one LMDB page (a node of 4 KiB pages holds 2,038 with key and header).
inline constexpr std::size_t kRowBytes = 1990;

using ContentHash = std::array<unsigned char, 16>;

/// Tables live and arrays: what was submitted. The tail is the payload, or nothing if it stands in chunks, or if it is
/// the array's.
struct LiveRow {
    std::string_view queue = {};
    std::string_view type = {};
    std::uint8_t priority = kDefaultPriority;
    std::int64_t created_at = 0;
    std::uint64_t delay_ms = 0;
    std::uint32_t timeout_ms = kDefaultTimeoutMs;
    std::uint32_t max_attempts = kDefaultMaxAttempts;
    std::uint32_t payload_size = 0;
    std::uint32_t chunks = 0;
    Backoff backoff;
    std::string_view key = {};  ///< idempotency key; empty: none
    ContentHash content{};      ///< of a job with a key
    std::uint64_t deadline_ms = 0;
    std::uint64_t queue_timeout_ms = 0;
    bool held = false;
    std::uint64_t key_ttl_ms = kDefaultKeyTtlMs;
    JobId array = {};  ///< 0: it is of none
    std::uint64_t array_index = 0;
    std::string_view owner = {};  ///< name of the key whose quota it counts to; empty: none
    std::string_view payload = {};
};

/// Table state: what has changed since the submit.
struct StateRow {
    std::uint64_t order = 0;        ///< place among its priority
    std::uint32_t errors = 0;       ///< attempts charged to max_attempts in this round
    std::uint32_t crashes = 0;      ///< attempts charged to the crash budget in this round
    std::uint32_t attempts = 0;     ///< number of the last attempt with a record
    std::uint64_t token_floor = 0;  ///< every smaller token is void
    std::int64_t due_at = 0;        ///< retrying or scheduled until then; 0: neither
    std::uint64_t pause_ms = 0;     ///< the pause due_at came from (bounds it when the wall clock has jumped)
    bool cancel_requested = false;
    bool scheduled = false;       ///< what it waits for until due_at is a delay, not a backoff
    bool held = false;            ///< in place of the live row's
    std::uint8_t priority = 0;    ///< in place of the live row's; 0: that one
    std::string_view queue = {};  ///< likewise; empty: that one
    std::int64_t round_at = 0;    ///< its deadline counts from then; 0: from its submit
    std::int64_t ready_at = 0;    ///< its queue timeout counts from then; 0: from its submit and delay; -1: it is over
};

/// Table attempts.
struct AttemptRow {
    std::uint32_t attempt = 0;
    std::string_view worker = {};
    LeaseToken token;
    std::int64_t started_at = 0;
    std::int64_t ended_at = 0;
    Outcome outcome = Outcome::none;
    std::string_view error = {};
    std::string_view tail = {};
};

/// Tables done and dead: the final record, with the last attempt in it. A dead job of an array that was resubmitted
/// stands in `done`. The tail is the result, unless in `results`.
struct EndRow {
    JobState state = JobState::none;
    Reason reason = Reason::none;
    std::string_view queue = {};
    std::string_view type = {};
    std::uint8_t priority = kDefaultPriority;
    std::int64_t created_at = 0;
    std::int64_t ended_at = 0;
    std::uint32_t max_attempts = kDefaultMaxAttempts;
    std::uint32_t timeout_ms = kDefaultTimeoutMs;
    std::uint32_t errors = 0;
    std::uint32_t crashes = 0;
    std::uint32_t attempts = 0;  ///< no row of table `attempts` has a greater number
    std::uint32_t payload_size = 0;
    std::uint32_t payload_chunks = 0;  ///< of a dead job; others have dropped their payload
    std::uint32_t result_size = 0;
    std::uint32_t result_chunks = 0;
    AttemptRow last;  ///< outcome none: it ended without running
    std::string_view key = {};
    ContentHash content{};
    std::uint64_t key_ttl_ms = kDefaultKeyTtlMs;
    JobId array = {};  ///< 0: it is of none
    std::uint64_t array_index = 0;
    std::int64_t edited_at = 0;  ///< of a dead job, the last time; 0: never
    std::string_view result = {};
};

/// Table keys, under queue, NUL, name.
struct KeyRow {
    JobId job;
    ContentHash content{};
    JobState state = JobState::none;  ///< none while the job lives
};

/// Table queues, under the queue, or under queue, NUL, type: what somebody has set for it.
struct QueueRow {
    bool paused = false;
    std::int64_t paused_at = 0;
    std::string_view by = {};
    std::string_view why = {};
    std::uint32_t max_running = 0;  ///< 0: no limit
    RetryPolicy retry = {};
};

enum class TaskState : std::uint8_t { running = 0, done = 1, stopped = 2 };
/// Table tasks: something done to many jobs, and how far it is.
struct TaskRow {
    TaskAction action = TaskAction::cancel;
    TaskState state = TaskState::running;
    bool count_only = false;
    JobState job_state = JobState::none;
    Reason reason = Reason::none;
    std::string_view queue = {};
    std::string_view type = {};
    std::string_view error = {};
    std::int64_t made_before = 0;  ///< 0: whenever
    std::int64_t made_after = 0;
    std::string_view by = {};
    std::int64_t started_at = 0;
    std::int64_t ended_at = 0;
    std::uint64_t cursor = 0;  ///< jobs below it, or up to it, are done with
    std::uint64_t end = 0;     ///< jobs from this number on came too late
    std::uint64_t total = 0;   ///< about how many there are to look at
    std::uint64_t looked = 0;
    std::uint64_t done = 0;
    std::uint64_t refused = 0;
    std::string_view only = {};  ///< numbers of jobs, 8 bytes each, big-endian and in order; empty: all
    std::uint64_t nonce = 0;     ///< of the START_TASK; 0: it had none
};

/// Table counts. Its jobs that live are counted at start; what is here changes with a batch in which one ended.
struct ArrayRow {
    std::string_view name = {};
    std::uint64_t count = 0;  ///< jobs to make in all
    std::uint64_t first = 0;
    std::uint64_t step = 1;
    std::uint32_t at_once = 0;
    JobId of;                 ///< not these indices, but the leftovers of this array; 0: these
    bool cancelled = false;   ///< of these, the cancelled ones too
    bool makes = true;        ///< there are jobs to make
    bool cancels = false;     ///< those made are being cancelled
    bool is_leaving = false;  ///< it is being forgotten: not all of its leftovers are there any more
    std::uint64_t made = 0;
    std::uint64_t cursor = 0;  ///< of `of`: indices below it have been looked at
    std::uint64_t completed = 0;
    std::uint64_t dead = 0;
    std::uint64_t cancelled_jobs = 0;
    std::uint64_t buried = 0;  ///< in the dead letter queue
    // Of its leftovers:
    std::uint64_t left_dead = 0;
    std::uint64_t left_cancelled = 0;
    JobId resubmitted_as;  ///< the last array that was made of those; 0: none
    std::int64_t ended_at = 0;
};

/// Table leftovers, under array and index.
struct LeftoverRow {
    JobId job;
    JobState state = JobState::none;  ///< dead: in the dead letter queue; retired: it was; or cancelled
    std::uint64_t bytes = 0;          ///< of its row in `dead` and of its result, as NumbersRow::done_bytes counts
};

/// A run of submits that made jobs: number first + i made job first_job + i.
struct Run {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
    std::uint64_t first_job = 0;
};

/// Table instances.
struct InstanceRow {
    Uuid instance;
    std::uint64_t confirmed = 0;
    std::vector<Run> runs;
    std::string_view key = {};  ///< the public key it belongs to; empty: it came without one
};

/// Table workers.
struct WorkerRow {
    Uuid instance;
    std::string_view name = {};
    bool draining = false;
};

/// Table classes: what the entries of EventsRow mean by a number, from 1.
struct ClassRow {
    std::string_view queue = {};
    std::string_view type = {};
};

/// Table events: what happened, in order. One entry stands for `count` jobs with consecutive numbers, each an event.
/// Queue and type of a job are told by a number of its class. What there is to tell besides (who worked, why it failed,
/// which queue was paused) is written once for all entries of the row, and so is each word of it. Of entries that
/// follow each other only the class is written.
struct EventsRow {
    struct Subject {
        std::string_view queue = {};
        std::string_view type = {};
        std::string_view worker = {};
        std::string_view text = {};
    };
    struct Entry {
        std::uint8_t kind = 0;
        JobId job;
        std::uint64_t count = 0;
        std::uint32_t class_number = 0;  ///< of those of `epoch`; 0: none, and the subject has queue and type
        std::uint32_t subject = 0;       ///< in `subjects`, from 1; 0: none
        /// The same happened to the next job.
        [[nodiscard]] bool follows(const Entry& before) const {
            return kind == before.kind && subject == before.subject && count == 1 && before.count == 1 &&
                   job.value == before.job.value + 1;
        }
    };
    /// Of the words of a subject, in their order there: each one's place in `words`, from 1; 0: empty.
    using Places = std::array<std::uint32_t, 4>;
    std::int64_t wall = 0;
    std::uint32_t epoch = 0;
    std::vector<Entry> events = {};
    std::vector<Places> subjects = {};
    std::vector<std::string_view> words = {};

    /// Without queue and type if it has a class.
    [[nodiscard]] Subject subject_of(const Entry& entry) const;
};

/// Table meta, row "numbers": written by every batch.
struct NumbersRow {
    std::uint64_t next_job = 1;
    std::uint64_t next_event = 1;
    std::uint64_t next_instance = 1;
    std::uint64_t next_worker = 1;
    std::uint64_t submitted_total = 0;
    std::uint64_t completed_total = 0;
    std::uint64_t cancelled_total = 0;
    std::uint64_t dead_total = 0;
    std::uint64_t retried_total = 0;
    std::uint64_t done_rows = 0;
    std::uint64_t done_bytes = 0;
    std::uint64_t dead_rows = 0;
    std::uint64_t event_bytes = 0;  ///< of the rows of `events` and `classes`
    std::uint64_t key_rows = 0;
    std::uint64_t next_task = 1;
    std::uint64_t keys_freed_to = 0;  ///< wall clock: the latest end of a key that was forgotten with its time
};

inline constexpr std::string_view kMetaFormat = "format";    ///< kFormatVersion in decimal, since the store was made
inline constexpr std::string_view kMetaApplied = "applied";  ///< number of the last batch applied, 8 bytes big-endian
inline constexpr std::string_view kMetaRelied = "relied";    ///< of the last batch that the store relies on the log for
inline constexpr std::string_view kMetaNumbers = "numbers";
inline constexpr std::string_view kMetaStore = "store";           ///< the store's random id, 16 bytes
inline constexpr std::string_view kMetaEpoch = "epoch";           ///< one more at every start, 8 bytes big-endian
inline constexpr std::string_view kMetaLogSecret = "log_secret";  ///< CommitLog::belongs_to
inline constexpr std::string_view kMetaFloor = "floor";  ///< no token below it is good without a claim, 8 bytes
/// In a backup: when it was made, 8 bytes big-endian. Such a store is to be restored, not to be served.
inline constexpr std::string_view kMetaBackup = "backup";
/// Job numbers that may have been given by the stores this one was restored from, after the backup: from, up to and
/// without, 8 bytes big-endian each, once for each restore.
inline constexpr std::string_view kMetaUnknownJobs = "unknown_jobs";

/// Appends the row's bytes to the batch's arena.
Slice append_row(Batch& batch, const LiveRow& row);
Slice append_row(Batch& batch, const StateRow& row);
Slice append_row(Batch& batch, const AttemptRow& row);
Slice append_row(Batch& batch, const EndRow& row);
Slice append_row(Batch& batch, const KeyRow& row);
Slice append_row(Batch& batch, const QueueRow& row);
Slice append_row(Batch& batch, const TaskRow& row);
Slice append_row(Batch& batch, const ArrayRow& row);
Slice append_row(Batch& batch, const LeftoverRow& row);
Slice append_row(Batch& batch, const InstanceRow& row);
Slice append_row(Batch& batch, const WorkerRow& row);
Slice append_row(Batch& batch, const NumbersRow& row);
Slice append_row(Batch& batch, const ClassRow& row);
Slice append_row(Batch& batch, const EventsRow& row);

/// False: damaged, or of a format this broker does not know. Views point into `bytes`.
[[nodiscard]] bool read_row(std::string_view bytes, LiveRow& row);
[[nodiscard]] bool read_row(std::string_view bytes, StateRow& row);
[[nodiscard]] bool read_row(std::string_view bytes, AttemptRow& row);
[[nodiscard]] bool read_row(std::string_view bytes, EndRow& row);
[[nodiscard]] bool read_row(std::string_view bytes, KeyRow& row);
[[nodiscard]] bool read_row(std::string_view bytes, QueueRow& row);
[[nodiscard]] bool read_row(std::string_view bytes, TaskRow& row);
[[nodiscard]] bool read_row(std::string_view bytes, ArrayRow& row);
[[nodiscard]] bool read_row(std::string_view bytes, LeftoverRow& row);
[[nodiscard]] bool read_row(std::string_view bytes, InstanceRow& row);
[[nodiscard]] bool read_row(std::string_view bytes, WorkerRow& row);
[[nodiscard]] bool read_row(std::string_view bytes, NumbersRow& row);
[[nodiscard]] bool read_row(std::string_view bytes, ClassRow& row);
[[nodiscard]] bool read_row(std::string_view bytes, EventsRow& row);

std::string job_key(JobId job);
std::string job_part_key(JobId job, std::uint32_t part);  ///< attempts, chunks, results
std::string class_key(std::uint32_t epoch, std::uint32_t number);
std::string array_index_key(JobId array, std::uint64_t index);
/// Two names as one key: queue and idempotency key, or queue and type.
std::string name_pair_key(std::string_view queue, std::string_view name);

/// When a key is forgotten, as the first half of its key in `key_ends`.
std::string key_end(std::int64_t ended_at, std::uint64_t ttl_ms);

/// What makes two submits with one key the same: everything that was asked for, payload included. `array`: its message,
/// if the item makes one.
ContentHash content_hash(const SubmitItem& item, std::string_view payload, const SubmitArray* array = nullptr);

/// What the numbers of a row take in it, keyed or not, with their tags.
inline constexpr std::size_t kLiveFieldsAtMost = 150;
inline constexpr std::size_t kEndFieldsAtMost = 180;

}  // namespace jobyard::broker
