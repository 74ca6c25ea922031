#pragma once
// Every message of the protocol as a plain struct; PROTOCOL.md says what each means and which answers it may get. The
// order of the fields here is their order on the wire.
//
// Text and bytes are views: into the received frames when decoded, into whatever the sender owns when encoding. A
// message with payloads carries only their lengths; the bytes are the second frame, end to end in the order of the
// items. Durations are milliseconds. Nothing here is a timestamp to compare with another machine's clock.

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "jobyard/event.hpp"
#include "jobyard/ids.hpp"
#include "jobyard/job.hpp"
#include "jobyard/limits.hpp"
#include "jobyard/result.hpp"
#include "jobyard/retry_policy.hpp"
#include "jobyard/session_ids.hpp"

namespace jobyard {

enum class Role : std::uint8_t { submitter = 1, worker = 2 };

/// What a worker says about a job it holds when it comes back.
struct Claim {
    JobId job;
    LeaseToken token;
    bool finished = false;  ///< it holds a result (or failure) that was not answered yet
};

struct Hello {
    std::uint8_t min_version = kProtocolVersion;
    std::uint8_t max_version = kProtocolVersion;
    std::uint8_t minor = kProtocolMinor;
    Role role = Role::submitter;
    Uuid instance;                   ///< new at each start of a library
    std::string_view name = {};      ///< for people; a worker's stands in its attempts' records
    std::string_view software = {};  ///< "jobyard-cpp/0.1.0"
    Uuid store;                      ///< the store this instance last spoke to; nil if none
    bool resumed = false;            ///< this instance was welcomed before (so a missing window row means "retired")
    // A submitter:
    std::uint64_t confirmed = 0;  ///< every submit up to this number has been answered
    std::uint64_t grant = 0;      ///< bytes of results the broker may push, counted from WELCOME
    // A worker:
    std::uint32_t slots = 0;
    std::uint32_t credit = 0;
    std::vector<std::string_view> queues;
    std::vector<std::string_view> types;
    std::vector<Claim> claims;
    std::string_view host = {};  ///< where it runs, for people
    std::uint32_t pid = 0;       ///< its process there
};

enum class InstanceState : std::uint8_t { fresh = 0, resumed = 1, retired = 2 };

struct Welcome {
    std::uint8_t version = kProtocolVersion;
    std::uint8_t minor = kProtocolMinor;
    Uuid store;
    std::uint32_t epoch = 0;  ///< one more at every start of the broker
    std::string_view software = {};
    InstanceState instance = InstanceState::fresh;
    std::uint32_t heartbeat_ms = 0;
    std::uint32_t lost_after_ms = 0;
    std::uint32_t lease_ms = 0;
    std::uint32_t renew_ms = 0;
    std::uint32_t window = 0;  ///< how far submit numbers may run ahead of `confirmed`
    std::uint32_t max_payload = 0;
    std::uint32_t max_result = 0;
    std::vector<std::string_view> features;
    std::vector<Code> claims;  ///< one for each claim of HELLO: ok, stale_lease or cancel_requested
};

struct Heartbeat {};

enum class GoodbyeReason : std::uint8_t { leaving = 0, restarting = 1 };
/// From a peer: it leaves for good. From the broker: reconnect, and go on with what is running.
struct Goodbye {
    GoodbyeReason reason = GoodbyeReason::leaving;
    std::uint64_t confirmed = 0;  ///< a submitter's last word on its window, which is then deleted
};

/// A message (not an item) that was refused.
struct Refusal {
    Code code = Code::bad_message;
    std::string_view text = {};
    std::string_view field = {};
    std::uint32_t retry_after_ms = 0;
    std::uint8_t min_version = kProtocolVersion;
    std::uint8_t max_version = kProtocolVersion;
};

struct SubmitItem {
    std::uint32_t payload_length = 0;
    std::string_view queue = "default";
    std::string_view type = {};
    std::uint8_t priority = kDefaultPriority;
    bool watch = false;  ///< push the result to this session
    std::uint64_t delay_ms = 0;
    std::optional<std::uint32_t> timeout_ms = {};  ///< as in RetryPolicy, and so are the next and `backoff`
    std::optional<std::uint32_t> max_attempts = {};
    std::string_view key = {};  ///< idempotency key; empty: none
    BackoffPolicy backoff = {};
    std::uint64_t run_at = 0;            ///< not before then, by the broker's wall clock (ms since 1970); 0: at once
    std::uint64_t deadline_ms = 0;       ///< dead if it has not ended so long after its submit; 0: none
    std::uint64_t queue_timeout_ms = 0;  ///< dead if no attempt has begun so long after it could have; 0: none
    bool held = false;                   ///< waits until somebody lets it go
    std::uint64_t key_ttl_ms = kDefaultKeyTtlMs;  ///< how long after its end the key still names it
};

/// Items number themselves: `first_number`, `first_number` + 1, …
struct Submit {
    std::uint64_t confirmed = 0;
    std::uint64_t first_number = 0;
    std::vector<SubmitItem> items;
    std::vector<std::string_view> encoded = {};  ///< when sent, if there are any: the items, by encode_item()
};

/// One item that makes an array: `count` jobs that differ in their indices `first`, `first` + `step`, …
struct SubmitArray {
    std::uint64_t confirmed = 0;
    std::uint64_t first_number = 0;
    std::vector<SubmitItem> items;  ///< exactly one
    std::uint64_t count = 0;
    std::uint64_t first = 0;
    std::uint64_t step = 1;
    std::uint32_t at_once = 0;                   ///< no more of its jobs are unended at a time; 0: no limit
    std::string_view name = {};                  ///< for people
    std::vector<std::string_view> encoded = {};  ///< as in Submit
};

/// The answer to one item of a list.
struct Answer {
    Code code = Code::ok;
    JobId job;
    JobState state = JobState::none;
    std::string_view text = {};
    std::string_view field = {};
    std::uint32_t retry_after_ms = 0;
};

/// Answers a list: one for each item, in order.
struct Answers {
    std::vector<Answer> items;
    /// To a submit: how many submits the instance should have unanswered at most from now on; 0: as many as its window
    /// has.
    std::uint32_t in_flight = 0;
};

struct Watch {
    std::vector<JobId> jobs;
};

/// An ended job, pushed to who watches it.
struct ResultItem {
    std::uint32_t payload_length = 0;
    JobId job;
    JobState state = JobState::none;
    Reason reason = Reason::none;
    std::uint32_t attempt = 0;
    std::string_view error = {};
};
struct Results {
    std::vector<ResultItem> items;
};

/// Bytes of results the broker may push, in total since WELCOME.
struct Grant {
    std::uint64_t total_bytes = 0;
};

struct Cancel {
    std::vector<JobId> jobs;
};

struct Redrive {
    std::vector<JobId> jobs;
};

/// For jobs that wait. What is not said stays.
struct Change {
    std::vector<JobId> jobs;
    std::uint8_t priority = 0;
    std::string_view queue = {};
    std::optional<bool> held = {};
};

/// For dead jobs, before a redrive. What is not said stays.
struct Edit {
    std::vector<JobId> jobs;
    std::uint32_t payload_length = 0;
    bool new_payload = false;  ///< the message's payload is that of the jobs from now on
    std::string_view type = {};
    std::string_view queue = {};
    std::uint8_t priority = 0;
    RetryPolicy retry = {};
};

/// What is not said stays.
struct SetQueue {
    std::string_view queue = {};
    std::string_view type = {};  ///< empty: the queue; else a type in it, which has a policy only
    std::optional<bool> paused = {};
    std::string_view by = {};  ///< who paused it, and why; for people
    std::string_view why = {};
    std::optional<std::uint32_t> max_running = {};  ///< 0: no limit
    RetryPolicy retry = {};                         ///< kUnset in a field takes it back
};

/// Asks for jobs by number.
struct Show {
    std::vector<JobId> jobs;
    bool payload = false;  ///< with their payloads, and without their attempts
};

/// Asks for a page of jobs. `cursor` is 0 for the first page, then what `Listed` gave.
struct List {
    JobState state = JobState::none;  ///< none: any
    std::string_view queue = {};      ///< empty: any
    std::string_view type = {};
    std::uint64_t cursor = 0;
    std::uint32_t limit = 100;
    JobId array = {};  ///< only its jobs; 0: any
};

/// The payload is the job as a map (PROTOCOL.md, "A job as a map"); empty if `code` is not ok.
struct JobItem {
    std::uint32_t payload_length = 0;
    Code code = Code::ok;
    JobId job;
};
/// Answers Show and List.
struct Jobs {
    std::uint64_t next_cursor = 0;  ///< 0: no more
    std::vector<JobItem> items;
};

struct AskStats {};
/// The payload is one map (PROTOCOL.md, "Counters").
struct Stats {
    std::uint32_t payload_length = 0;
};

/// Events in the order of their numbers, those behind `after` that all of the filters let through.
struct ReadEvents {
    std::uint64_t after = kFromNow;  ///< kFromNow: none, but where to go on from
    std::uint32_t limit = 1000;
    std::uint32_t wait_ms = 0;          ///< if there are none yet, answer with the next, or after this long
    std::string_view queue = {};        ///< empty: any
    std::string_view type = {};         ///< empty: any
    JobId job = {};                     ///< 0: any
    std::vector<EventKind> kinds = {};  ///< none: all
};

/// An item that is nothing but its payload, a map.
struct MapItem {
    std::uint32_t payload_length = 0;
};
/// Answers ReadEvents. PROTOCOL.md, "An event as a map".
struct Events {
    std::uint64_t last = 0;  ///< all up to this one have been looked at: go on behind it
    std::uint64_t gone = 0;  ///< those up to this one have been removed
    bool more = false;       ///< there are some behind `last` already
    std::vector<MapItem> items;
};

/// Asks for a page of queues, in the order of their names. `cursor` is empty for the first page, then what `Maps` gave.
struct ListQueues {
    std::string_view cursor = {};
    std::uint32_t limit = 100;
    std::string_view name = {};  ///< only this one; empty: all
};

/// Asks for a page of workers. `cursor` is empty for the first page, then what `Maps` gave.
struct ListWorkers {
    std::string_view cursor = {};
    std::uint32_t limit = 100;
    std::string_view name = {};  ///< only those of this name, each with its jobs; empty: all
};

/// Answers questions about whatever is described by maps: a page of them.
struct Maps {
    std::string_view next = {};  ///< the cursor of the next page; empty: no more
    std::vector<MapItem> items;
};

struct DispatchItem {
    std::uint32_t payload_length = 0;
    JobId job;
    LeaseToken token;
    std::uint32_t attempt = 0;
    std::string_view queue = {};
    std::string_view type = {};
    std::uint8_t priority = 0;
    std::uint32_t timeout_ms = 0;
    std::uint32_t max_attempts = 0;
    JobId array = {};  ///< 0: it is of none
    std::uint64_t array_index = 0;
};
struct Dispatch {
    std::vector<DispatchItem> items;
};

/// How many jobs the worker can hold in all, from now on.
struct Credit {
    std::uint32_t credit = 0;
};

struct Lease {
    JobId job;
    LeaseToken token;
};
struct Started {
    std::vector<Lease> items;
};

struct RenewItem {
    JobId job;
    LeaseToken token;
    double progress = 0;  ///< 0 to 1
    std::string_view text = {};
};
struct Renew {
    std::vector<RenewItem> items;
};

struct CompleteItem {
    std::uint32_t payload_length = 0;
    JobId job;
    LeaseToken token;
    std::uint32_t duration_ms = 0;
};
struct Complete {
    std::vector<CompleteItem> items;
};

/// The payload is the attempt's result, kept if this was the job's last attempt.
struct FailItem {
    std::uint32_t payload_length = 0;
    JobId job;
    LeaseToken token;
    std::uint32_t duration_ms = 0;
    Outcome outcome = Outcome::failed;  ///< failed, timeout or cancelled
    bool retryable = true;
    std::string_view error = {};
    std::string_view tail = {};  ///< of standard error
};
struct Fail {
    std::vector<FailItem> items;
};

struct ReleaseItem {
    JobId job;
    LeaseToken token;
    std::uint64_t delay_ms = 0;  ///< not before so long from now
};
/// Hands jobs back that were not (fully) run; charged to nobody.
struct Release {
    std::vector<ReleaseItem> items;
};

enum class StopReason : std::uint8_t { cancel = 1, lease_lost = 2 };
struct StopItem {
    JobId job;
    LeaseToken token;
    StopReason reason = StopReason::cancel;
};
/// From the broker: stop these. A cancelled one still wants its end reported; a lost one does not.
struct Stop {
    std::vector<StopItem> items;
};

enum class WorkerAction : std::uint8_t {
    drain = 1,  ///< hand it nothing more; it stays connected and finishes what it holds
    resume = 2,
};
/// To all workers of that name.
struct SteerWorker {
    std::string_view name = {};
    WorkerAction action = WorkerAction::drain;
};

/// Something done to many jobs, one after the other, while the broker does its other work.
struct StartTask {
    TaskAction action = TaskAction::cancel;
    // To which jobs: those that are there when it starts and that all of these let through.
    JobState state = JobState::none;  ///< of cancel: none: any
    std::string_view queue = {};      ///< empty: any
    std::string_view type = {};
    Reason reason = Reason::none;     ///< of the dead; none: any
    std::string_view error = {};      ///< fingerprint of their last error; empty: any
    std::uint64_t older_than_ms = 0;  ///< made (the dead: ended) at least so long ago
    std::uint64_t newer_than_ms = 0;  ///< at most so long ago; 0: any
    bool count_only = false;          ///< change nothing
    std::string_view by = {};         ///< for people
    std::vector<JobId> jobs = {};     ///< of redrive and purge: only these; none: all
    std::uint64_t nonce = 0;          ///< drawn by who asks; the same again is the same task; 0: every one is another
};
/// Asks for a page of tasks, the newest first.
struct ListTasks {
    std::uint64_t task = 0;  ///< only this one; 0: all that are remembered
};
struct StopTask {
    std::uint64_t task = 0;
};

/// Asks for a page of arrays, the newest first. `cursor` is 0 for the first page, then the last array of that one.
struct ListArrays {
    JobId cursor = {};
    std::uint32_t limit = 100;
    JobId array = {};  ///< only this one; 0: all that are remembered
};
enum class ArrayAction : std::uint8_t {
    stop = 1,      ///< make no more jobs; those made go on
    resubmit = 2,  ///< another array, of the indices whose jobs are dead
};
struct SteerArray {
    JobId array;
    ArrayAction action = ArrayAction::stop;
    bool cancelled = false;  ///< of resubmit: those whose jobs were cancelled too
};

/// In the order of their numbers on the wire (message_type() in codec.hpp).
using Message =
    std::variant<Hello, Welcome, Heartbeat, Goodbye, Refusal, Submit, Answers, Watch, Results, Grant, Cancel, Redrive,
                 Change, SetQueue, SubmitArray, Show, List, Jobs, AskStats, Stats, ReadEvents, Events, ListQueues,
                 ListWorkers, Maps, Dispatch, Credit, Started, Renew, Complete, Fail, Release, Stop, SteerWorker,
                 StartTask, ListTasks, StopTask, ListArrays, SteerArray, Edit>;

struct Envelope {
    SessionId session;  ///< 0 before WELCOME
    RequestId request;  ///< 0 where no answer is wanted
    Message message;
};

}  // namespace jobyard
