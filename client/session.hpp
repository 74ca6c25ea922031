#pragma once
// A submitter's side of the conversation with the broker, as a pure state machine: no socket, clock, thread or
// randomness. What callers want, connection events, messages and the time go in; messages and completions come out.
// Same inputs, same outputs. PROTOCOL.md, "Sessions", "Submitting" and "Asking and steering", is its specification.
//
// What it promises: a job that went in comes out in exactly one Submitted or Failed; it was made at most once, however
// often connections broke meanwhile; a Failed that is not `outcome_unknown` or `closed` made no job.
//
// The driver (client.cpp, or a simulator) goes in turns. In each it
//   1. hands in what callers want, then what happened: on_connected / on_disconnected, then on_message for every
//   message
//      that is here; takes the completions after each on_message, because some are views into it;
//   2. calls on_tick once, with the time, when it has read all that had arrived, and takes the completions;
//   3. sends what next_message gives until it gives nothing: whatever has come together by then shares lists;
//   4. reopens its connection if wants_reopen(), and sleeps until something happens or until next_deadline_ms().

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <memory_resource>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "jobyard/codec.hpp"
#include "jobyard/kept_bytes.hpp"

namespace jobyard::client {

inline constexpr std::int64_t kNever = INT64_MAX;

/// What is worth a message of its own while others are unanswered.
inline constexpr std::size_t kGatheredJobs = 64;
inline constexpr std::size_t kGatheredBytes = std::size_t{16} << 10;

/// The driver's name for something it asked for; completions carry it back. It is in use until its last completion.
using Ticket = std::uint64_t;

/// The job was made (`ok`), or its key named one that was there before (`existing`). The ticket's last completion
/// unless the job is watched: then Ended or Failed follows.
struct Submitted {
    Ticket ticket = 0;
    Code code = Code::ok;
    JobId job;
    JobState state = JobState::none;
};
/// A watched job has ended. Views into the message.
struct Ended {
    Ticket ticket = 0;
    ResultItem item;
    std::string_view payload;
};
/// To cancel and redrive: `ok`, `cancel_requested` or `ended`; to steering workers `ok`, and how many.
struct Answered {
    Ticket ticket = 0;
    Code code = Code::ok;
    JobState state = JobState::none;
    std::size_t count = 1;
};
/// To a MessageQuestion that is answered by a list. Views into the message.
struct AnsweredAll {
    Ticket ticket = 0;
    std::vector<Answer> items;
};
/// To all other questions: maps, as views into the message, and where they go on.
struct Found {
    Ticket ticket = 0;
    std::uint64_t next_cursor = 0;  ///< of events: the last one looked at
    std::vector<std::string_view> maps;
    std::string_view next = {};  ///< the cursor, where that is text
    std::uint64_t gone = 0;      ///< of events
    bool more = false;           ///< of events
};
struct Failed {
    Ticket ticket = 0;
    Error error;
};
using Completion = std::variant<Submitted, Ended, Answered, AnsweredAll, Found, Failed>;

// What can be asked besides submits. All may be sent twice without harm, so all are sent again after each WELCOME until
// they are answered.
enum class JobVerb : std::uint8_t { watch, cancel, redrive, show };
struct JobQuestion {
    JobVerb verb = JobVerb::show;
    JobId job;
};
struct ListQuestion {
    JobState state = JobState::none;
    std::string queue;
    std::string type;
    std::uint64_t cursor = 0;
    std::uint32_t limit = 100;
    JobId array = {};
};
struct StatsQuestion {};
/// A message as it is to be sent, and what owns that its views look into.
struct MessageQuestion {
    Message message;
    std::shared_ptr<const void> owner;
    std::string_view payload = {};  ///< `owner` has it, too
};
struct EventsQuestion {
    std::uint64_t after = kFromNow;
    std::uint32_t limit = 1000;
    std::uint32_t wait_ms = 0;
    std::string queue;
    std::string type;
    JobId job;
    std::vector<EventKind> kinds;
};
struct WorkersQuestion {
    std::string cursor;
    std::uint32_t limit = 100;
    std::string name;
};
struct SteerQuestion {
    std::string name;
    WorkerAction action = WorkerAction::drain;
};
using Question = std::variant<JobQuestion, ListQuestion, StatsQuestion, EventsQuestion, WorkersQuestion, SteerQuestion,
                              MessageQuestion>;

struct OutgoingMessage {
    Envelope envelope;
    std::vector<KeptBytes> payload;
};

/// What a person can do about an answer, also where the broker gave the code alone.
std::string text_of(const Answer& answer);

class Session {
 public:
    struct Options {
        /// Called for the first instance and for each that follows a retired one. 128 random bits; seeded in a
        /// simulator.
        std::function<Uuid()> new_instance;
        std::string software;
        /// A job that the broker has not taken by then fails, unless it is on its way: such a one ends with its answer.
        std::int64_t submit_limit_ms = 30'000;
        /// Try jobs again that were refused `busy`, `queue_full` or `disk_full`, until the limit.
        bool retry_refused = true;
        /// Bytes of results that the broker may push ahead of what was handed in here.
        std::uint64_t result_grant = std::uint64_t{8} << 20;
    };
    Session(Options options, std::int64_t now_ms);

    // --- what callers want

    /// The item and a payload without an owner are copied. A payload with an owner, of kLargePayloadBytes or more, goes
    /// in a message of its own and may be sent from where it stands. The item's payload_length must be right.
    /// `array`: it makes one; what SUBMIT_ARRAY says of it, without its item.
    void submit(Ticket ticket, const EncodedItem& item, const KeptBytes& payload, std::int64_t now_ms,
                std::shared_ptr<const SubmitArray> array = {});
    /// The same, where the item is not encoded yet; its payload_length is set here.
    void submit(Ticket ticket, SubmitItem item, const KeptBytes& payload, std::int64_t now_ms,
                std::shared_ptr<const SubmitArray> array = {});
    /// Fails with `timeout` at the deadline. A watch ends with Ended.
    void ask(Ticket ticket, Question question, std::int64_t deadline_ms);
    /// Ends everything with `closed`. If no submit is unanswered then a GOODBYE is the last message, else the broker
    /// keeps the window for a day.
    void close();
    /// Ends everything with this error, and nothing is sent any more.
    void end(Error error);

    // --- the connection

    void on_connected(std::int64_t now_ms);
    /// Also when a message could not be sent: whatever was on its way counts as lost and is sent again after WELCOME.
    void on_disconnected();
    void on_message(const Envelope& envelope, std::string_view payload, std::int64_t now_ms);
    void on_tick(std::int64_t now_ms);

    // --- what comes out

    /// The next message to send now. Its views hold until the next call of anything else.
    bool next_message(OutgoingMessage& out, std::int64_t now_ms);
    /// Appended to until the driver empties it.
    [[nodiscard]] std::vector<Completion>& completions() { return completions_; }
    /// Once: nothing was heard for too long, whether or not there seems to be a connection; make a new one.
    [[nodiscard]] bool wants_reopen() { return std::exchange(wants_reopen_, false); }
    [[nodiscard]] std::int64_t next_deadline_ms() const;

    // --- how it stands

    /// New jobs wait for others (Nagle, RFC 896): a few small ones, while earlier ones are unanswered. They lose
    /// little, because they would wait for the broker's commit anyway; and at a rate that is no trouble in lists, a
    /// message a job can be too much. The driver need not hand them in before an answer comes or they are many.
    [[nodiscard]] bool gathers(std::int64_t now_ms) const;
    [[nodiscard]] bool is_welcomed() const { return link_ == Link::welcomed; }
    /// Why the broker has no room for this client, which asks again from time to time: until the next WELCOME.
    [[nodiscard]] const std::optional<Error>& put_off() const { return put_off_; }
    /// Why nothing will ever be sent again: closed, replaced, or no common version.
    [[nodiscard]] const std::optional<Error>& ended() const { return ended_; }
    [[nodiscard]] std::uint64_t confirmed() const { return confirmed_; }
    /// From the last WELCOME.
    [[nodiscard]] std::size_t max_payload() const { return max_payload_; }

 private:
    enum class Link : std::uint8_t { down, hello_due, hello_sent, welcomed };
    struct Job {
        Ticket ticket = 0;
        std::int64_t deadline_ms = 0;
        std::pmr::string bytes;  ///< the item, and behind it the payload if that is not `large`
        std::uint32_t item_bytes = 0;
        KeptBytes large = {};
        std::shared_ptr<const SubmitArray> array;
        std::uint8_t minor = 0;  ///< of the protocol, which it needs
        bool watch = false;
        bool has_key = false;
        std::uint8_t refusals = 0;
        enum class State : std::uint8_t {
            unsent,    ///< in this session
            sent,      ///< one of `requests_` has it
            answered,  ///< waits in the window only for those before it
        } state = State::unsent;

        [[nodiscard]] std::string_view item() const { return std::string_view(bytes).substr(0, item_bytes); }
        [[nodiscard]] KeptBytes payload() const {
            return large.owner ? large : KeptBytes(std::string_view(bytes).substr(item_bytes));
        }
        [[nodiscard]] std::size_t payload_bytes() const {
            return large.owner ? large.bytes.size() : bytes.size() - item_bytes;
        }
    };
    struct Asked {
        Ticket ticket = 0;
        Question question;
        std::int64_t deadline_ms = kNever;
    };
    using AskKey = std::uint64_t;
    /// What a message on its way asked for, in the order of its items: submits by number, or asks by key.
    struct Request {
        std::uint64_t first_number = 0;
        std::uint64_t submits = 0;
        std::vector<AskKey> asks;
    };

    void on_welcome(const Envelope& envelope, const Welcome& welcome, std::int64_t now_ms);
    void on_refusal(const Envelope& envelope, const Refusal& refusal, std::int64_t now_ms);
    void on_results(const Results& results, std::string_view payload);
    void on_jobs(RequestId request, const Jobs& jobs, std::string_view payload);
    void on_maps(RequestId request, const std::vector<MapItem>& items, std::string_view payload, Found found);
    void on_answers(RequestId request, const Answers& answers, std::int64_t now_ms);
    void answer_all(const Request& request, const Answer& answer, std::int64_t now_ms);
    void send_again_later(const Request& request, const Refusal& refusal, std::int64_t now_ms);
    void answer_submit(Job& job, const Answer& answer, std::int64_t now_ms);
    void forget_content(Job& job);
    void answer_ask(AskKey key, const Answer& answer, std::int64_t now_ms);

    bool next_submit(OutgoingMessage& out, std::int64_t now_ms);
    bool next_ask(OutgoingMessage& out);
    bool next_job_question(OutgoingMessage& out, JobVerb verb);

    [[nodiscard]] bool broker_may_be_too_old() const { return broker_is_older_ && link_ == Link::welcomed; }
    /// Why the broker is not asked for what needs this: it is too old, and would neglect what it does not know (run a
    /// job now that is to run tomorrow).
    [[nodiscard]] std::optional<std::string> beyond_broker(std::uint8_t minor) const;
    void fail_what_is_beyond_broker();

    [[nodiscard]] Job& numbered(std::uint64_t number) { return window_[number - confirmed_ - 1]; }
    [[nodiscard]] std::uint64_t last_number() const { return confirmed_ + window_.size(); }
    void advance_confirmed();
    std::optional<Request> take_request(RequestId id);
    void forget_requests();
    RequestId new_request(Request request);
    AskKey remember(Ticket ticket, Question question, std::int64_t deadline_ms);
    void watch(Ticket ticket, JobId job, bool ask);
    std::vector<std::pair<JobId, Ticket>> take_pushed();
    void fail(Ticket ticket, Code code, std::string text, std::uint32_t retry_after_ms = 0);
    void fail_ask(AskKey key, Error error);
    void time_out(AskKey key);
    void forget_ask(AskKey key);
    void retire_instance(const char* why);
    void forget_other_store();

    Options options_;
    std::vector<Completion> completions_;
    bool wants_reopen_ = false;
    std::optional<Error> ended_;

    // The link. A session number exists only while welcomed.
    Link link_ = Link::down;
    SessionId session_;
    RequestId hello_request_;
    std::uint64_t last_request_ = 0;
    std::int64_t hello_at_ms_ = 0;
    std::optional<Error> put_off_;
    std::int64_t heard_ms_;
    std::int64_t sent_ms_ = 0;
    std::int64_t ticked_ms_ = 0;
    bool goodbye_due_ = false;
    std::unordered_map<RequestId, Request> requests_;  // of this session; never iterated
    std::size_t submits_under_way_ = 0;                // those of them that have submits
    std::int64_t submit_sent_ms_ = 0;                  // the newest of these

    // From the last WELCOME; before the first, values to begin with.
    Uuid store_;
    std::uint8_t broker_minor_ = kProtocolMinor;
    bool broker_is_older_ = false;
    std::int64_t heartbeat_ms_ = 5'000;
    std::int64_t lost_after_ms_ = 20'000;
    std::size_t window_size_ = kSubmitWindow;
    std::size_t in_flight_ = SIZE_MAX;  ///< what the broker would have it keep to at present
    std::size_t max_payload_ = kMaxPayloadBytes;

    // Jobs come and go by the hundred thousand a second: what is small of them has one home.
    std::pmr::unsynchronized_pool_resource pool_;

    // Submits. A job is in exactly one of these. Numbers begin when a job is first sent.
    Uuid instance_;
    bool welcomed_before_ = false;              // as this instance
    std::deque<Job> waiting_;                   // have no number
    std::multimap<std::int64_t, Job> refused_;  // by when they go back to `waiting_`
    std::deque<Job> window_;                    // numbers confirmed_ + 1, + 2, …
    std::uint64_t confirmed_ = 0;               // up to here all are answered
    std::uint64_t to_send_ = 1;                 // no number below it is unsent
    std::int64_t submits_held_until_ms_ = 0;    // the broker refused a whole list: 0 if it did not

    // Asks, in the order they came: one of `unsent_`, `refused_asks_`, a request, or (a watch) waiting for its result.
    std::map<AskKey, Asked> asks_;
    AskKey last_ask_ = 0;
    std::set<AskKey> unsent_;
    std::multimap<std::int64_t, AskKey> refused_asks_;
    std::set<std::pair<std::int64_t, AskKey>> deadlines_;
    std::unordered_multimap<JobId, AskKey> watchers_;  // those that are watches; looked up by job, never iterated

    // Jobs of our own whose result this session will be given without asking; the next session has to ask.
    std::pmr::unordered_map<JobId, Ticket> pushed_{&pool_};

    // Results since WELCOME.
    std::uint64_t granted_ = 0;
    std::uint64_t received_ = 0;
};

}  // namespace jobyard::client
