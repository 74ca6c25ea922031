#pragma once
// The broker's decisions: a single-threaded state machine. A message or the time goes in; changes for the open batch
// and messages that wait for it come out. No socket, disk, clock, randomness or log in here: those arrive as arguments
// or leave as results, so that the same inputs give the same outputs, byte for byte, in the broker and in the
// simulator.
//
// The core runs ahead of the disk. What keeps that safe is one rule, `rests_on()`: every message leaves only after the
// newest batch that existed when it was decided is durable. Only heartbeats and refusals, which carry no state, leave
// at once, and a first grant, which writes nothing, waits only for what it speaks of: `grant_rests_on()`.
//
// Its parts by file: core.cpp (turn, routing, start-up), core_session.cpp (HELLO to loss, claims), core_submit.cpp
// (windows, keys, submit), core_work.cpp (grants, leases, ends), core_steer.cpp (cancel, redrive, change),
// core_edit.cpp (the dead), core_tasks.cpp (the same for many jobs), core_arrays.cpp (many jobs made of one submit),
// core_queues.cpp (what is set for a queue), core_access.cpp (who may do what), core_quota.cpp (and how much),
// core_workers.cpp (who works here, drain), core_events.cpp (the event stream), core_ask.cpp (watch, show, list,
// stats), retention.cpp (what is forgotten, and when).

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "access.hpp"
#include "deadlines.hpp"
#include "event_packer.hpp"
#include "found.hpp"
#include "in_flight.hpp"
#include "job.hpp"
#include "job_table.hpp"
#include "jobyard/codec.hpp"
#include "limits.hpp"
#include "output.hpp"
#include "ready_queue.hpp"
#include "record.hpp"

namespace jobyard::broker {

inline constexpr std::uint32_t kListPage = 500;  ///< ended jobs looked at for one page of LIST

/// One reading of the world for a whole turn.
struct Turn {
    std::int64_t now = 0;      ///< broker clock: milliseconds; stands still while the broker itself does
    std::int64_t wall = 0;     ///< milliseconds since 1970 UTC, for what is stored and shown
    std::uint64_t random = 0;  ///< for jitter and session numbers
};

struct CoreConfig {
    Limits limits;
    Timing timing;
    Uuid store;
    std::uint32_t epoch = 1;
    std::string software = "jobyard-broker";
};

/// What has been answered already of a list that waits for the disk.
using Settled = std::vector<std::optional<Answer>>;

struct Counters {
    std::array<std::uint64_t, 16> by_state{};  ///< unended jobs by JobState
    std::uint64_t payload_bytes = 0;           ///< of unended jobs
    std::uint64_t dispatched = 0;
    std::uint64_t refused = 0;
    std::uint64_t stale_leases = 0;
    std::uint64_t sessions_lost = 0;
    std::uint64_t denied = 0;  ///< for want of a right
};

/// Somebody tried what he may not do: for the log.
struct Denial {
    std::string who;
    std::string what;
};

class Core {
 public:
    explicit Core(CoreConfig config);

    // --- start-up: the rows of the last run, in any order except that live rows come in job order ---
    void load(const NumbersRow& numbers) {
        numbers_ = numbers;
        newest_event_ = numbers.next_event - 1;
    }
    void load_floor(LeaseToken floor) { floor_ = floor; }
    void load_applied(std::uint64_t seq) { sealed_seq_ = seq; }
    /// Numbers from `first` to before `end` are of jobs that this store never had (kMetaUnknownJobs).
    void load_unknown_jobs(JobId first, JobId end) { unknown_jobs_.emplace_back(first, end); }
    void load_live(JobId id, const LiveRow& row, const StateRow* state, Turn turn);
    void load_claim(JobId id, LeaseToken token) { old_claims_[id] = token; }
    void load_queue(std::string_view key, const QueueRow& row);
    void load_task(std::uint64_t number, const TaskRow& row);
    /// Before the live rows.
    void load_array(JobId id, const LiveRow& submitted, const ArrayRow& row);
    void load_worker(std::uint64_t number, const WorkerRow& row) {
        awaited_[row.instance] = {number, std::string(row.name), row.draining};
    }
    void load_instance(std::uint64_t number, const InstanceRow& row, Turn turn);
    /// Opens the claim window.
    void start(Turn turn);

    // --- one turn ---
    /// The rows this message needs that are not in memory; empty (nearly always): handle it now.
    [[nodiscard]] std::vector<Need> needs(PeerId peer, const Envelope& envelope) const;
    /// Those it needs besides, which only the ones that were found tell; empty (nearly always): handle it now. To be
    /// asked once.
    [[nodiscard]] std::vector<Need> needs_besides(const Envelope& envelope, const Found& found) const;
    /// Any message counts as a sign of life when it arrives, even if it has to wait.
    void heard(PeerId peer, Turn turn);
    /// For a list of ends that has to wait for the disk: takes those that need not wait.
    void settle_live(PeerId peer, const Envelope& envelope, std::string_view payload, Settled& settled, Turn turn,
                     Output& out);
    /// A payload with an owner may be kept rather than copied.
    void handle(PeerId peer, const Envelope& envelope, const KeptBytes& payload, const Found& found,
                const Settled& settled, Turn turn, Output& out);
    /// Bytes that were no message.
    void refuse(PeerId peer, SessionId session, RequestId request, Code code, std::string text, std::string field,
                Output& out, std::uint32_t retry_after_ms = 0);
    /// A result was not there any more when it was to be sent: these of its bytes were not pushed.
    void result_is_gone(PeerId peer, SessionId session, std::uint64_t bytes);
    /// With set_access() a connection's HELLO is refused unless it was introduced before. Null: whose key is not known.
    void introduce(PeerId peer, Who who);
    /// From now on this holds, for sessions that are there too: those of keys that are gone, or that may not do any
    /// more what they do, end and are told so. Gives their peers, whose connections are to be closed.
    std::vector<PeerId> set_access(const Access& access, Turn turn, Output& out);
    [[nodiscard]] std::vector<Denial> take_denials();
    /// Its connection has closed for certain.
    void peer_gone(PeerId peer, Turn turn);
    void expire(Turn turn, Output& out);
    void set_free_disk(std::uint64_t bytes) { free_disk_ = bytes; }
    /// From now on. What is over a lower limit stays; retention takes ended jobs to it step by step. The two that peers
    /// were told when they came stay as they are.
    void set_limits(const Limits& limits);

    /// One bounded step of what is done in the background: what it needs, if there is something to do, and the step.
    [[nodiscard]] std::vector<Need> agenda_needs(Turn turn);
    void agenda_step(const Found& found, Turn turn, Output& out);

    /// Hands ready jobs to workers with room and closes the turn's lists.
    void dispatch(Turn turn, Output& out);

    [[nodiscard]] bool has_writes(const Output& out) const { return touched_ || !out.batch->empty(); }
    /// Completes the open batch with what every batch carries. It may be applied now; the caller opens the next. Only
    /// when the batch before it is durable.
    void seal(Turn turn, Output& out);

    /// When expire() next has something to do (broker clock).
    [[nodiscard]] std::int64_t next_deadline() const;
    /// Says goodbye to everybody.
    void stop(Output& out);

    // --- for people and tests ---
    /// What only the edge can count, as a map: the next STATS carries it as `broker`.
    void set_edge_map(std::string map) { edge_map_ = std::move(map); }
    /// The map of STATS.
    void append_stats(std::string& bytes) const;
    [[nodiscard]] const Counters& counters() const { return counters_; }
    [[nodiscard]] const NumbersRow& numbers() const { return numbers_; }
    [[nodiscard]] bool in_claim_window() const { return window_open_; }
    [[nodiscard]] bool has_array(JobId id) const { return arrays_.contains(id); }
    [[nodiscard]] std::size_t workers() const;
    [[nodiscard]] std::size_t submitters() const;
    [[nodiscard]] const Job* job(JobId id) const;
    /// Whether this token is the live one of the job's lease.
    [[nodiscard]] bool is_leased(JobId id, LeaseToken token) const;
    /// Aborts if what is derived does not agree with what it is derived from. Slow: for tests.
    void check_invariants() const;

 private:
    struct PendingResult {
        JobId job;
        JobState state = JobState::none;
        Reason reason = Reason::none;
        std::uint32_t attempt = 0;
        std::string error;
        PayloadRef payload;
        std::string bytes;  ///< the payload, if it is `own`
    };
    /// What one key has here of what all share: its sessions and its instances, those of earlier runs included.
    struct KeyUsage {
        std::string_view public_key;  ///< empty: of all who come without one
        std::uint64_t sessions = 0;
        std::uint64_t instances = 0;
        std::set<std::pair<std::int64_t, std::uint64_t>> idle;  ///< those without a session and with nothing to know
    };
    struct Session {
        SessionIndex index = 0;
        SessionId id;
        PeerId peer;
        Role role = Role::submitter;
        Uuid instance;
        std::string name;
        Who who = anybody();
        KeyUsage* usage = nullptr;
        std::vector<std::uint8_t> covered;  ///< of covers(), by queue
        OwnerId owner = 0;
        std::int64_t heard_at = 0;
        std::int64_t gone_at = -1;  ///< a worker whose connection has closed: since then
        // A submitter:
        std::uint64_t instance_number = 0;
        std::uint64_t granted = 0;
        std::uint64_t pushed = 0;
        std::uint32_t watches = 0;
        std::deque<PendingResult> results;
        bool listed = false;          ///< in with_results_
        std::uint32_t followers = 0;  ///< in followers_
        // A worker:
        std::uint64_t row = 0;
        std::uint64_t hears_first = 0;  ///< the batch of its WELCOME, or of the last STOP that took a job from it
        bool draining = false;
        std::uint8_t minor = 0;
        std::string software;
        std::string host;  ///< empty, and pid 0: it did not say
        std::uint32_t pid = 0;
        std::int64_t connected_at = 0;  ///< wall clock
        std::uint32_t slots = 0;
        std::uint32_t credit = 0;
        std::uint32_t outstanding = 0;
        ServiceId service = 0;
        JobHandle leases = kNoJob;
        std::optional<std::uint64_t> free_at;  ///< its load, as it stands in free_
        Outgoing dispatch;                     ///< being filled this turn
        std::size_t dispatch_header = 0;
        std::size_t dispatch_bytes = 0;
    };
    struct Instance {
        Uuid id;
        std::uint64_t confirmed = 0;
        std::deque<Run> runs;
        SessionIndex session = 0;
        std::int64_t gone_at = 0;
        bool dirty = false;
        InFlight::Use use;
        KeyUsage* usage = nullptr;
    };
    struct Key {
        std::string row_key;
        std::string name;
        ContentHash content{};
        std::uint64_t ttl_ms = 0;  ///< after the job's end
    };
    /// Of a job that may expire. Broker clock: it is dead from `deadline` on, and if nobody was given it before
    /// `start_by`. Wall clock: what these count from, as in StateRow.
    struct Expiry {
        std::int64_t deadline = INT64_MAX;
        std::int64_t start_by = INT64_MAX;
        std::uint64_t queue_timeout_ms = 0;
        std::int64_t round_at = 0;
        std::int64_t ready_at = 0;
    };
    /// Jobs made of one submit, which differ in their index alone.
    struct Array {
        ArrayRow row;  ///< without its name, which is this
        std::string name;
        LiveRow job;  ///< what each of them is; without texts and payload
        std::string queue;
        std::string type;
        std::string key;
        OwnerId owner = 0;
        std::uint64_t unended = 0;
        std::uint64_t running = 0;          ///< out to a worker
        std::set<SessionIndex> watchers;    ///< sessions that are gone may be among them
        std::int64_t due = INT64_MAX;       ///< its place in array_work_
        std::uint64_t cancelled_up_to = 0;  ///< jobs up to this one have been cancelled, if it cancels
    };
    /// Consecutive jobs of an array, with indices a step apart. Kept while one of them lives.
    struct ArrayRun {
        JobId array;
        std::uint64_t first_index = 0;
        std::uint64_t count = 0;
        std::uint64_t unended = 0;
    };
    enum class ArrayStep : std::uint8_t { make, make_leftovers, cancel, forget };
    struct ArrayPlace {
        JobId array;  ///< 0: in none
        std::uint64_t index = 0;
    };
    /// What somebody has set for a queue.
    struct QueueSettings {
        std::int64_t paused_at = 0;
        std::string by;
        std::string why;
        RetryPolicy retry;
    };
    /// How a job is tried, once nothing is left open.
    struct Retries {
        std::uint32_t max_attempts = kDefaultMaxAttempts;
        std::uint32_t timeout_ms = kDefaultTimeoutMs;
        Backoff backoff;
    };
    static constexpr ClassId kNoClass = 0xffff;
    struct Event {
        EventKind kind;
        ClassId class_id = kNoClass;
        std::uint32_t note = 0;  ///< in notes_, from 1; 0: none
        JobId job;
        std::uint64_t count = 1;  ///< of jobs with consecutive numbers
        std::string_view worker;  ///< of a session, or of one in left_sessions_
        bool mixed = false;       ///< each has a class of its own, in event_classes_ from `classes` on
        std::size_t classes = 0;
    };
    struct Note {
        std::string queue;
        std::string type;
        std::string worker;
        std::string text;
    };
    struct EventFilter {
        std::string queue;
        std::string type;
        JobId job;
        std::vector<EventKind> kinds;
        [[nodiscard]] bool lets_through(const EventsRow::Entry& entry, const EventsRow::Subject& about) const;
    };
    class ClassNames;
    /// An EVENTS in the making.
    struct EventPage {
        Events events;
        Outgoing message;
        std::uint64_t asked_after = 0;
        std::uint32_t left = 0;
        bool take(RowView bytes, const EventFilter& filter, ClassNames& names);
        void append(std::int64_t wall, const EventsRow::Entry& entry, const EventsRow::Subject& about,
                    std::uint64_t number, std::uint64_t skip, std::uint64_t count);
    };
    /// A READ_EVENTS that waits for an event behind `after`, the newest that there is.
    struct Follower {
        SessionIndex session = 0;
        RequestId request;
        std::uint64_t after = 0;
        std::uint32_t limit = 0;
        EventFilter filter;
    };
    /// A worker known at the crash that is not back yet.
    struct Awaited {
        std::uint64_t row = 0;
        std::string name;
        bool draining = false;
    };
    struct Attempted {  // how an attempt ended, as whoever ended it sees it
        Outcome outcome = Outcome::none;
        std::uint32_t duration_ms = 0;
        bool retryable = true;
        std::string_view error;
        std::string_view tail;
        std::string_view result;
        std::uint64_t delay_ms = 0;  ///< released: not before so long from now
    };
    /// Lets through so many a second; what was not used stays for a second.
    struct Bucket {
        std::int64_t at = 0;
        std::uint64_t milli_jobs = 0;
        bool full_once = false;  ///< begun: it begins full
    };
    /// A key with a quota, and what counts to it. It stays when the key is gone: its jobs do.
    struct Owner {
        std::string name;
        Quota quota;
        std::uint64_t jobs = 0;
        std::uint64_t bytes = 0;
        Bucket bucket;
    };
    struct QueueCounts {
        std::uint64_t unended = 0;
        std::uint64_t bytes = 0;  ///< of their payloads; an array's counts once
        Quota quota;
        Bucket bucket;
        std::uint64_t queued = 0;
        std::uint64_t running = 0;
        std::uint32_t max_running = 0;  ///< 0: no limit
        bool paused = false;
        // Since the broker started:
        std::uint64_t completed = 0;
        std::uint64_t failed = 0;  ///< attempts, those with lost workers included
        std::uint64_t dead = 0;
    };

    // core_access.cpp
    [[nodiscard]] Who who_is(PeerId peer) const;
    [[nodiscard]] bool covers(Session& session, QueueId queue) const;
    [[nodiscard]] std::optional<std::string_view> queue_of(JobId id, const Found& found) const;
    [[nodiscard]] std::optional<Answer> may_not(const Session& session, JobId id, const Found& found, Scope scope);
    [[nodiscard]] std::optional<std::string> may_not(const Session& session, const Message& message) const;
    [[nodiscard]] std::optional<std::string> may_not(const Who& who, const Hello& hello, const Session* older) const;
    [[nodiscard]] bool is_of_another_key(const Principal& who, const Hello& hello, const Session* older) const;
    [[nodiscard]] static std::string roles_text(const Principal& who);
    void deny(const Session& session, std::string_view what);
    void deny(const Principal& who, std::string_view what);
    void revoke(Session& session, Turn turn, Output& out);

    // core_quota.cpp
    OwnerId owner_of(std::string_view name);
    OwnerId owner_of(const Principal& who);
    void set_quotas(const Access& access);
    [[nodiscard]] Quota quota_of_queue(std::string_view name) const;
    KeyUsage& usage_of(std::string_view public_key);
    /// Why there is no room for one session, or one instance, more of this key.
    [[nodiscard]] const char* no_room_for_session(const Principal& who);
    [[nodiscard]] const char* no_room_for_instance(const Principal& who, Output& out);
    [[nodiscard]] bool forget_idle_instance(KeyUsage* of, Output& out);
    void count_new_queues();
    static const char* const kQueueIsTooLarge;
    [[nodiscard]] bool queue_has_no_room_for(std::string_view queue, std::uint64_t bytes) const;
    void count_payload(OwnerId owner, QueueId queue, std::uint64_t bytes, bool comes);
    void count_payload(const Array& array, bool comes);
    [[nodiscard]] std::optional<Answer> over_quota(OwnerId owner, std::string_view queue, std::uint64_t bytes,
                                                   bool spend, Turn turn);

    // core.cpp
    [[nodiscard]] std::uint64_t rests_on(const Output& out) const;
    [[nodiscard]] std::uint64_t grant_rests_on(const Session& session, const Job& job, const Output& out) const;
    Outgoing& send(PeerId peer, SessionId session, RequestId request, Message message, std::uint64_t rests_on,
                   Output& out);
    /// The one place that says to whom a message of a session goes.
    static void address(Outgoing& message, const Session& session);
    Outgoing& answer(const Session& session, RequestId request, Message message, Output& out);
    [[nodiscard]] Session* session_of(PeerId peer, SessionId id);
    void set_state(Job& job, JobState state);
    void write_state(JobHandle handle, Turn turn, Output& out);
    JobHandle add_job(JobId id, const LiveRow& row);
    void count_expiry(JobHandle handle, const LiveRow& row, std::int64_t round_at, std::int64_t ready_at, Turn turn);
    [[nodiscard]] std::int64_t expires_at(JobHandle handle) const;
    /// The job wakes at `at`, or before, if it expires before.
    void arm(JobHandle handle, std::int64_t at);
    void enqueue(JobHandle handle);
    /// For a job whose due time is in `granted_at`: it waits until then, or is queued if that has passed.
    void wait_or_enqueue(JobHandle handle, JobState waiting, Turn turn);
    void forget_job(JobHandle handle);
    [[nodiscard]] Backoff backoff(const Job& job) const { return backoffs_[job.backoff]; }
    [[nodiscard]] std::optional<std::uint16_t> intern(const Backoff& backoff);

    // core_events.cpp
    /// Notes an event of a job. The worker's name is a session's; the text is kept.
    void record(EventKind kind, JobId job, ClassId class_id, std::string_view worker = {}, std::string_view text = {});
    /// Notes an event of something else, or of a job whose class is not known here. The words are kept.
    void record_about(EventKind kind, const EventsRow::Subject& subject, JobId job = {});
    [[nodiscard]] std::uint32_t note_of(const EventsRow::Subject& subject);
    [[nodiscard]] bool take_on(Event& last, ClassId class_id);
    [[nodiscard]] std::uint64_t pack(const Event& event, std::uint64_t from, Output& out);
    [[nodiscard]] std::uint32_t class_number(ClassId id, Output& out);
    void write_events(Turn turn, Output& out);
    void needs_of(const ReadEvents& read, std::vector<Need>& needs) const;
    void needs_besides(const ReadEvents& read, const Found& found, std::vector<Need>& needs) const;
    void on_read_events(Session& session, RequestId request, const ReadEvents& read, const Found& found, Turn turn,
                        Output& out);
    void answer_events(const Session& session, RequestId request, EventPage& page, Output& out);
    void tell_followers(Output& out);
    void expire_followers(Turn turn, Output& out);
    void forget_followers(const Session& session);

    // core_workers.cpp
    void append_map(const Session& worker, bool with_jobs, Turn turn, std::string& bytes) const;
    void on_list_workers(Session& session, RequestId request, const ListWorkers& list, Turn turn, Output& out);
    void on_steer_worker(Session& session, RequestId request, const SteerWorker& steer, Output& out);
    /// What of the worker is in memory, and its row, become as `worker` says.
    void set_draining(bool& draining, std::uint64_t row, const WorkerRow& worker, std::string_view why, Output& out);

    // core_session.cpp
    void on_hello(PeerId peer, RequestId request, const Hello& hello, Turn turn, Output& out);
    [[nodiscard]] std::optional<Refusal> check(const Hello& hello, const Session* older, PeerId peer,
                                               const Principal& who);
    /// Why there is no room for it; null: it has joined.
    [[nodiscard]] const char* join_instance(Session& session, const Hello& hello, Welcome& welcome, Turn turn,
                                            Output& out);
    void join_worker(Session& session, const Hello& hello, Session* older, Welcome& welcome, Turn turn, Output& out);
    Code claim(Session& session, const Session* older, const Claim& claim, Turn turn);
    void on_goodbye(Session& session, const Goodbye& goodbye, Turn turn, Output& out);
    void end_session(Session& session, Turn turn);
    void lose_worker(Session& session, Turn turn, Output& out);
    void expire_sessions(Turn turn, Output& out);
    void close_claim_window(Turn turn, Output& out);
    Instance& add_instance(std::uint64_t number, const Uuid& id, std::string_view public_key);
    void leave_instance(std::uint64_t number, Turn turn);
    void forget_instance(std::uint64_t number, Output& out);

    // core_submit.cpp
    /// `array`: the message it came in, if it is to make one.
    void on_submit(Session& session, RequestId request, const Submit& submit, const SubmitArray* array,
                   const KeptBytes& payload, const Found& found, Turn turn, Output& out);
    [[nodiscard]] std::optional<Answer> refusal_of(const SubmitItem& item, std::optional<ClassId> known_class,
                                                   std::uint64_t number, const Session& session,
                                                   const Instance& instance, std::size_t watched, Turn turn,
                                                   Outgoing& texts) const;
    [[nodiscard]] std::optional<Answer> no_room_for(const SubmitItem& item, std::optional<ClassId> known_class) const;
    [[nodiscard]] std::optional<Answer> no_room_to_begin(std::string_view queue,
                                                         std::optional<ClassId> known_class) const;
    /// Of an unended job, or of an array.
    [[nodiscard]] std::optional<JobState> state_of(JobId id) const;
    [[nodiscard]] bool queue_is_full(std::string_view queue) const;
    [[nodiscard]] bool queue_is_full(QueueId queue) const;
    Answer make_job(const SubmitItem& item, const Retries& retries, const KeptBytes& kept, const ContentHash& content,
                    std::string_view owner, Turn turn, Output& out);
    /// The row of what was submitted, as `live`, `arrays` and `buried` have it, and its payload; gives where that
    /// stands.
    static Slice put_submitted(Table table, JobId id, LiveRow& row, const KeptBytes& payload, Batch& batch);
    [[nodiscard]] static LiveRow row_of(const SubmitItem& item, const Retries& retries, Turn turn);
    JobHandle begin_job(JobId id, const LiveRow& row, Turn turn);
    void confirm(Instance& instance, std::uint64_t confirmed);
    void add_run(Instance& instance, std::uint64_t number, JobId job);

    // core_work.cpp
    void on_started(Session& session, const Started& started, Turn turn);
    void on_renew(Session& session, RequestId request, const Renew& renew, Turn turn, Output& out);
    void on_ends(Session& session, RequestId request, const Message& message, std::string_view payload,
                 const Found* found, Settled& settled, Turn turn, Output& out);
    [[nodiscard]] JobHandle held(const Session& session, JobId job, LeaseToken token) const;
    [[nodiscard]] Code repeated(JobId job, LeaseToken token, Outcome outcome, const Found& found) const;
    void grant(Session& session, JobHandle handle, Turn turn, Output& out);
    void drain_for_array(Session& session, JobHandle job, Output& out);
    void flush_dispatch(Session& session, Output& out);
    [[nodiscard]] AttemptRow record_of(const Job& job, const Attempted& attempted, Turn turn) const;
    void end_attempt(JobHandle handle, const Attempted& attempted, Turn turn, Output& out);
    void expire_job(JobHandle handle, Turn turn, Output& out);
    void end_job(JobHandle handle, JobState state, Reason reason, const AttemptRow& last, std::string_view result,
                 Turn turn, Output& out);
    struct PutEnded {
        Slice result;
        std::uint64_t bytes;  ///< of the row and the result, as NumbersRow::done_bytes counts
    };
    /// The final record, and its result.
    static PutEnded put_ended(Table table, JobId id, EndRow& row, std::string_view result, Batch& batch);
    void retry_later(JobHandle handle, Turn turn, Output& out);
    void take_lease(Session& session, JobHandle handle, std::int64_t until);
    void drop_lease(JobHandle handle);
    void reposition(Session& session);
    void tell_room(ServiceId service);
    void queue_stop(Session& session, const Job& job, StopReason reason, Output& out);
    [[nodiscard]] std::string_view worker_name(const Job& job) const;

    // core_queues.cpp
    void on_set_queue(Session& session, RequestId request, const SetQueue& set, Turn turn, Output& out);
    void on_list_queues(Session& session, RequestId request, const ListQueues& list, Output& out);
    void append_queue_map(QueueId id, std::string& bytes) const;
    [[nodiscard]] static std::optional<Answer> refusal_of(const RetryPolicy& policy);
    void reconsider(QueueId queue);
    [[nodiscard]] Retries retries_of(const SubmitItem& item, std::optional<ClassId> known_class) const;

    // core_steer.cpp
    Answer cancel_job(JobHandle handle, Turn turn, Output& out);
    /// The rows of a dead job; or why it is none. `of_array`: what to say of the number of an array.
    [[nodiscard]] std::optional<Answer> read_dead(JobId id, const char* of_array, const Found& found, EndRow& dead,
                                                  LiveRow& submitted) const;
    Answer redrive_job(JobId id, const Found& found, Turn turn, Output& out);
    void on_cancel(Session& session, RequestId request, const Cancel& cancel, const Found& found, Turn turn,
                   Output& out);
    void on_redrive(Session& session, RequestId request, const Redrive& redrive, const Found& found, Turn turn,
                    Output& out);
    void on_change(Session& session, RequestId request, const Change& change, const Found& found, Turn turn,
                   Output& out);
    [[nodiscard]] std::optional<Answer> refusal_of(const Change& change, JobId id, const Found& found) const;
    void apply(const Change& change, JobHandle handle, Turn turn, Output& out);

    // core_edit.cpp
    void on_edit(Session& session, RequestId request, const Edit& edit, const KeptBytes& payload, const Found& found,
                 Turn turn, Output& out);
    Answer edit_job(JobId id, const Edit& edit, const KeptBytes& payload, const Found& found, Turn turn, Output& out);
    [[nodiscard]] std::optional<Answer> refusal_of(const Edit& edit, JobId id, const EndRow& dead) const;
    [[nodiscard]] bool has_room_for(std::string_view queue, std::string_view type) const;

    // core_tasks.cpp
    struct BulkTask {
        TaskRow row;  ///< without its texts, which are these
        std::string queue;
        std::string type;
        std::string error;
        std::string by;
        std::string only;
        std::vector<JobId> chosen;       ///< to redrive, once their rows are here
        std::uint64_t chosen_up_to = 0;  ///< the cursor when that is done
        bool last_page = false;          ///< and nothing comes behind them
        std::int64_t rests_until = 0;
    };
    void on_start_task(Session& session, RequestId request, const StartTask& start, Turn turn, Output& out);
    void on_list_tasks(Session& session, RequestId request, const ListTasks& list, Output& out);
    void on_stop_task(Session& session, RequestId request, const StopTask& stop, Turn turn, Output& out);
    [[nodiscard]] std::int64_t next_bulk_step() const;
    [[nodiscard]] std::vector<Need> bulk_needs(Turn turn);
    void bulk_step(const Found& found, Turn turn, Output& out);
    void cancel_some(BulkTask& task, Turn turn, Output& out);
    void look_at_dead(BulkTask& task, const Found& found, Turn turn, Output& out);
    void redrive_chosen(BulkTask& task, const Found& found, Turn turn, Output& out);
    [[nodiscard]] static bool names(const BulkTask& task, std::string_view job_key);
    [[nodiscard]] static bool wants(const BulkTask& task, std::string_view queue, std::string_view type,
                                    std::int64_t at);
    void end_task(BulkTask& task, TaskState state, Turn turn);
    static void write_task(std::uint64_t number, const BulkTask& task, Output& out);

    // core_arrays.cpp
    [[nodiscard]] std::optional<Answer> refusal_of(const SubmitArray& array) const;
    [[nodiscard]] std::optional<Answer> no_room_for_array(const SubmitItem& item,
                                                          std::optional<ClassId> known_class) const;
    Answer make_array(const LiveRow& submitted, const ArrayRow& row, const KeptBytes& payload, Turn turn, Output& out);
    Array& add_array(JobId id, const LiveRow& submitted, const ArrayRow& row);
    void on_list_arrays(Session& session, RequestId request, const ListArrays& list, Output& out);
    void on_steer_array(Session& session, RequestId request, const SteerArray& steer, const Found& found, Turn turn,
                        Output& out);
    Answer stop_array(JobId id, Array& array, Turn turn);
    Answer resubmit(JobId id, Array& array, bool cancelled, const Found& found, Turn turn, Output& out);
    Answer cancel_array(JobId id, Turn turn);
    void append_array_map(JobId id, const Array& array, std::optional<std::string_view> payload,
                          std::string& bytes) const;
    [[nodiscard]] static JobState state_of(const Array& array);
    [[nodiscard]] static PendingResult result_of(JobId id, const Array& array);
    void watch_array(Session& session, Array& array);
    [[nodiscard]] ArrayPlace place_of(const Job& job) const;
    void join_array(Job& job, JobId array, std::uint64_t index);
    void leave_array(const Job& job);
    void ended_in_array(JobId job, const ArrayPlace& place, JobState state, std::uint64_t row_bytes, Turn turn,
                        Output& out);
    void redriven_in_array(const ArrayPlace& place, Output& out);
    void edited_in_array(JobId job, const ArrayPlace& place, std::uint64_t row_bytes, Output& out);
    void retired_in_array(JobId job, const ArrayPlace& place, Output& out);
    void end_array(JobId id, Array& array, Turn turn);
    void schedule(JobId id, Array& array, std::int64_t at);
    void write_arrays(Output& out);
    [[nodiscard]] static ArrayStep step_of(const Array& array);
    [[nodiscard]] std::int64_t next_array_step() const;
    [[nodiscard]] std::vector<Need> array_needs(Turn turn);
    void array_step(const Found& found, Turn turn, Output& out);
    [[nodiscard]] bool may_make(JobId id, Array& array, Turn turn, const Output& out);
    void make_array_job(JobId id, Array& array, std::uint64_t index, Turn turn, Output& out);
    void make_some(JobId id, Array& array, Turn turn, Output& out);
    void make_leftovers(JobId id, Array& array, const Found& found, Turn turn, Output& out);
    void cancel_some(JobId id, Array& array, Turn turn, Output& out);
    void forget_some(JobId id, Array& array, const Found& found, Turn turn, Output& out);
    void look_for_arrays_to_forget(Turn turn);
    [[nodiscard]] bool may_be_forgotten(JobId id, const Array& array, Turn turn) const;

    // core_ask.cpp
    void answer_maps(const Session& session, RequestId request, std::string_view next,
                     const std::vector<std::string>& maps, Output& out);
    void on_watch(Session& session, RequestId request, const Watch& watch, const Found& found, Turn turn, Output& out);
    void on_show(Session& session, RequestId request, const Show& show, const Found& found, Output& out);
    void on_list(Session& session, RequestId request, const List& list, const Found& found, Output& out);
    void watch(Session& session, Job& job);
    [[nodiscard]] bool watches_enough(const Session& session, std::size_t more) const;
    void push_to_watchers(Job& job, const PendingResult& result);
    void push(Session& session, PendingResult result);
    void list_results(Session& session);
    void flush_results(Session& session, Output& out);
    /// With what SHOW asks for beside it: the attempts, from `found`, or the payload.
    void append_map(const Job& job, const Found* found, std::optional<std::string_view> payload,
                    std::string& bytes) const;
    static void needs_of_payload(JobId job_or_array, std::vector<Need>& needs);
    [[nodiscard]] Code append_with_payload(JobId id, const Found& found, std::string& bytes) const;
    [[nodiscard]] Reason waiting_for(const Job& job) const;
    [[nodiscard]] static std::vector<AttemptRow> attempts_of(const Found& found, JobId id);
    [[nodiscard]] Code code_of_absent(JobId id) const;
    [[nodiscard]] static bool find_ended(const Found& found, JobId id, EndRow& row);
    struct ListPlace {
        std::optional<Table> table;  // none: the unended jobs, in memory
        std::string after;
        std::uint64_t number = 0;
    };
    [[nodiscard]] static ListPlace list_place(const List& list);
    std::uint64_t numbers_go_on(std::uint64_t& next) const;

    // retention.cpp
    [[nodiscard]] bool key_is_over(std::int64_t ended_at, std::uint64_t ttl_ms, Turn turn) const;
    enum class Task : std::uint8_t { none, done, dead, keys, events, bulk, arrays };
    static constexpr std::size_t kTasks = 7;
    [[nodiscard]] std::int64_t trim_due(Task task) const;
    [[nodiscard]] std::uint64_t rows_over(Task task) const;
    [[nodiscard]] std::int64_t next_agenda() const;
    void forget_classes(const Found& found, Output& out);
    void retire(Table table, const RowView& row, const EndRow& ended, Turn turn, Output& out);

    CoreConfig config_;
    NumbersRow numbers_;
    Counters counters_;
    std::vector<std::pair<JobId, JobId>> unknown_jobs_;  // in order
    std::uint64_t sealed_seq_ = 0;                       ///< the newest batch that was completed
    bool touched_ = false;  ///< the open batch will have something although it has no operation yet
    // Jobs from here on were submitted in the newest completed batch, and in the open one.
    JobId sealed_jobs_;
    JobId open_jobs_;
    std::uint64_t window_closed_in_ = 0;  ///< the batch with the floor that voids tokens of earlier epochs
    std::uint64_t free_disk_ = UINT64_MAX;
    std::string edge_map_;

    JobTable jobs_;
    Deadlines deadlines_{jobs_};
    ReadyQueue ready_{jobs_};
    std::vector<QueueCounts> queue_counts_;  // by QueueId
    std::vector<Backoff> backoffs_;
    std::map<std::array<std::uint32_t, 4>, std::uint16_t> backoff_ids_;
    std::uint16_t last_backoff_ = 0;  // most are like the one before
    std::map<JobId, Key> keys_;       // of unended jobs that have one
    std::map<JobHandle, Expiry> expiries_;
    std::map<QueueId, QueueSettings> queue_settings_;
    std::map<ClassId, RetryPolicy> type_policies_;
    std::map<JobHandle, std::pair<double, std::string>> progress_;
    std::map<JobId, std::set<SessionIndex>> more_watchers_;

    std::map<SessionIndex, std::unique_ptr<Session>> sessions_;
    bool guarded_ = false;                        // set_access() was called
    std::unordered_map<PeerId, Who> introduced_;  // connections that are there
    std::vector<std::pair<std::string, Quota>> queue_quotas_;
    std::deque<Owner> owners_{{}};  // by OwnerId; a name is not moved
    std::unordered_map<std::string_view, OwnerId> owner_ids_;
    std::vector<Denial> denials_;
    std::unordered_map<PeerId, SessionIndex> by_peer_;  // 0: a newer session has replaced it
    std::map<Uuid, SessionIndex> by_instance_;
    SessionIndex last_session_ = 0;
    std::int64_t next_session_check_ = 0;
    std::set<SessionIndex> with_results_;
    std::set<SessionIndex> with_dispatch_;

    std::map<std::string, KeyUsage, std::less<>> usage_;  // by public key, of all that have come
    std::map<std::uint64_t, Instance> instances_;
    InFlight in_flight_;
    std::map<Uuid, std::uint64_t> instance_numbers_;
    std::set<std::pair<std::int64_t, std::uint64_t>> gone_instances_;
    std::set<std::uint64_t> dirty_instances_;

    std::vector<std::set<Load>> free_;  // by service: workers with room; ready_ knows the first of each
    std::uint64_t last_token_ = 0;      // its counter part
    LeaseToken floor_;

    bool window_open_ = false;
    std::int64_t window_ends_ = 0;
    std::map<Uuid, Awaited> awaited_;
    std::map<JobId, LeaseToken> old_claims_;
    std::vector<JobId> cancelled_before_;  // cancel requested before the crash

    std::map<std::uint64_t, BulkTask> tasks_;  // those that run, and the last that ended
    std::size_t running_tasks_ = 0;
    std::uint64_t last_bulk_ = 0;  // which of them has, or had, its step

    std::map<JobId, Array> arrays_;                          // those that are remembered
    std::map<std::string, JobId> array_keys_;                // of those that have one
    std::map<JobId, ArrayRun> array_runs_;                   // by their first job
    std::set<JobId> dirty_arrays_;                           // whose counts have changed in the open batch
    std::set<std::pair<std::int64_t, JobId>> array_work_;    // when which has a step to take
    std::set<std::pair<std::int64_t, JobId>> ended_arrays_;  // when which ended
    std::pair<std::int64_t, JobId> too_many_arrays_;         // those of them up to this one
    std::int64_t next_array_look_ = 0;                       // for those to forget
    JobId stepping_;                                         // whose rows are being read
    ArrayStep step_kind_ = ArrayStep::make;

    // Of the open batch:
    std::vector<Event> events_;
    std::vector<ClassId> event_classes_;
    std::vector<Note> notes_;
    std::vector<std::unique_ptr<Session>> left_sessions_;            // events_ name them
    EventPacker event_packer_;                                       // keeps its memory
    std::vector<std::uint32_t> class_numbers_;                       // by ClassId, in rows of this epoch; 0: none yet
    std::vector<ClassId> told_classes_;                              // those that have one, by it
    std::uint64_t newest_event_ = 0;                                 // of the newest sealed batch that has any
    std::multimap<std::int64_t, Follower> followers_;                // by when they are answered at the latest
    std::vector<std::pair<std::string, std::string>> fresh_events_;  // rows that they have not been told of

    // What is done in the background, one step at a time.
    struct Pass {
        std::string trim_cursor;   ///< behind the last row that was removed for a limit
        std::string cursor;        ///< behind the last row that was looked at for its age
        std::int64_t next_at = 0;  ///< when a pass over the whole table for age begins
        bool under_way = false;
        std::int64_t rests_until = 0;  ///< for the store, which has no more of it now
    };
    Task step_ = Task::none;
    bool step_is_for_age_ = false;
    bool bulk_was_last_ = false;
    bool arrays_were_last_ = false;  // of tasks and arrays
    std::array<Pass, kTasks> passes_;
    std::int64_t next_trim_ = 0;  ///< when few rows over a limit are taken
    std::int64_t next_step_ = 0;
    // Epochs: of the classes of those before it no event tells any more; and the rows of those before it are erased.
    std::uint32_t classes_unneeded_before_ = 0;
    std::uint32_t classes_erased_before_ = 0;
    std::uint64_t ended_at_step_ = 0;  ///< how many jobs had ended at the last one
    std::int64_t stepped_at_ = 0;      ///< when that was
    [[nodiscard]] Pass& pass_of(Task task) { return passes_[static_cast<std::size_t>(task)]; }
    [[nodiscard]] const Pass& pass_of(Task task) const { return passes_[static_cast<std::size_t>(task)]; }
};

}  // namespace jobyard::broker
