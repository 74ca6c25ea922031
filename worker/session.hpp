#pragma once
// A worker's side of the conversation with the broker, as a pure state machine: no socket, clock, thread or randomness.
// Connection events, messages, what the slots did and the time go in; messages, jobs to start and jobs to stop come
// out. Same inputs, same outputs. PROTOCOL.md, "Working", is its specification.
//
// The driver (worker.cpp, or a simulator) goes in turns. In each it
//   1. hands in what happened: on_connected and on_disconnected, then on_message for every message that is here, then
//      what the slots report; takes `outbox().starts` after each on_message, because their payloads are views into it;
//   2. calls on_tick once, with the time, when it has read all that had arrived;
//   3. carries out the rest of the outbox and clears it; messages are views into the session, good until the next call;
//   4. sleeps until something happens or until next_deadline_ms().
//
// A job's way: on_message puts it into `starts`; the driver begins it when a slot is free, if its lease has not passed
// by then, and calls on_began; when the handler has returned, on_finished. A job that was asked to stop before it
// began, or whose lease had passed, is handed back with on_unstarted. Every start ends in exactly one on_finished or
// on_unstarted.
//
// What the session owes the broker for a job (its end) and what the slot does are two things: a handler past its
// timeout has been reported as failed and still occupies its slot. Such a slot is *stuck* and is taken off the credit.

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "jobyard/kept_bytes.hpp"
#include "jobyard/message.hpp"

namespace jobyard::worker {

/// How a handler's run ended.
struct Ending {
    Outcome outcome = Outcome::completed;  ///< completed, failed or released; the session may make something else of it
    bool retryable = true;
    std::string result = {};
    std::string error = {};
    std::string tail = {};
    std::uint64_t delay_ms = 0;  ///< released: not before so long from now
};

enum class StopCause : std::uint8_t {
    cancelled,   ///< somebody cancelled the job
    lease_lost,  ///< the job belongs to somebody else by now
    timed_out,   ///< it has run for longer than its timeout
    draining,    ///< this worker is leaving
};

/// A job to begin when a slot is free.
struct Start {
    DispatchItem item;                ///< views into the received header
    std::string_view payload;         ///< view into the received payload frame
    std::int64_t lease_until_ms = 0;  ///< it must not begin at or after this
};

struct StopOrder {
    LeaseToken token;
    StopCause cause = StopCause::cancelled;
};

struct OutgoingMessage {
    Envelope envelope;
    std::vector<KeptBytes> payload;
};

/// Something a person should know; at most a few in each turn, however many jobs it is about.
struct Notice {
    enum class Level : std::uint8_t { info, warning, error } level = Level::info;
    std::string text;
};

struct Outbox {
    std::vector<Start> starts;
    std::vector<StopOrder> stops;
    std::vector<OutgoingMessage> messages;
    std::vector<Notice> notices;
    bool reopen = false;  ///< the connection is dead though it looks open: drop it and make another

    void clear();
};

class Session {
 public:
    struct Options {
        Uuid instance;
        std::string name;
        std::string software;
        std::string host;  ///< empty: not said
        std::uint32_t pid = 0;
        std::uint32_t slots = 1;
        std::uint32_t credit = 0;  ///< jobs held at most; 0: as many as there are slots
        std::vector<std::string> queues;
        std::vector<std::string> types;
        /// How long all slots may be stuck before all_slots_stuck().
        std::int64_t stuck_grace_ms = 15'000;
    };
    Session(Options options, std::int64_t now_ms);
    Session(Session&&) = default;
    Session& operator=(Session&&) = default;

    // --- the connection

    void on_connected(std::int64_t now_ms);
    /// Also when a message could not be sent: whatever was on its way counts as lost and is sent again after WELCOME.
    void on_disconnected();
    void on_message(const Envelope& envelope, std::string_view payload, std::int64_t now_ms);

    // --- the slots

    void on_began(LeaseToken token, std::int64_t at_ms);
    void on_finished(LeaseToken token, Ending ending, std::int64_t at_ms);
    /// The job was not begun. A time: its lease was renewed meanwhile, offer it again until then. None: forget it.
    [[nodiscard]] std::optional<std::int64_t> on_unstarted(LeaseToken token, std::int64_t now_ms);
    /// `value` is 0 to 1; told to the broker with the next renewal.
    void on_progress(LeaseToken token, double value, std::string_view text);

    // --- leaving

    struct Drain {
        std::int64_t stop_at_ms = 0;     ///< running jobs may go on until then, and are then told to stop
        std::int64_t give_up_at_ms = 0;  ///< those that have not stopped by then are handed back all the same
    };
    /// Takes no more jobs, hands back what has not begun, and says GOODBYE when every end was answered. May be called
    /// again with earlier times.
    void drain(const Drain& times);
    /// There will be no connection: ends as if the broker had refused this worker.
    void refuse(Error error);

    // --- time

    void on_tick(std::int64_t now_ms);
    /// When on_tick must be called next, if nothing else happens before.
    [[nodiscard]] std::int64_t next_deadline_ms() const;

    [[nodiscard]] Outbox& outbox() { return outbox_; }

    // --- how it stands

    /// The broker will not have this worker; nothing more is sent.
    [[nodiscard]] const std::optional<Error>& refused() const { return refused_; }
    /// No slot has come back within the grace: the process is of no more use.
    [[nodiscard]] bool all_slots_stuck() const { return all_slots_stuck_; }
    /// After drain(): all is said, or waiting for it was given up.
    [[nodiscard]] bool has_left() const { return has_left_; }
    [[nodiscard]] bool is_draining() const { return drain_.has_value(); }
    [[nodiscard]] bool is_welcomed() const { return link_ == Link::welcomed; }
    /// Jobs begun and not returned.
    [[nodiscard]] std::size_t running() const { return running_.size(); }
    /// Jobs for which the broker waits for an end, or we for its answer.
    [[nodiscard]] std::size_t unsettled() const { return unsettled_; }

 private:
    enum class Link : std::uint8_t { down, up, hello_sent, welcomed };
    enum class Run : std::uint8_t { waiting, running, over };
    enum class Report : std::uint8_t {
        owed,     ///< no end yet
        queued,   ///< the end is in `ends_`
        sent,     ///< the end is in `requests_`
        settled,  ///< nothing left to say
    };
    /// Exists while it runs, waits to run or is not settled.
    struct Held {
        JobId job;
        LeaseToken token;
        Run run = Run::waiting;
        Report report = Report::owed;
        bool cancel_requested = false;
        bool interrupted = false;  ///< told to stop because this worker leaves
        std::uint32_t timeout_ms = 0;
        std::uint32_t running_index = 0;  ///< in `running_`
        std::uint32_t duration_ms = 0;
        std::int64_t lease_until_ms = 0;
        std::int64_t began_ms = 0;
        double progress = 0;
        std::string progress_text;
        Ending ending;  ///< once `report` has left `owed`
    };
    /// What was asked with a list, for when ANSWERS comes: one token for each item.
    struct Request {
        enum class Kind : std::uint8_t { renewal, ends } kind = Kind::ends;
        std::int64_t sent_ms = 0;
        std::vector<LeaseToken> tokens;
    };
    template <class List>
    class ListWriter;

    void on_welcome(const Envelope& envelope, const Welcome& welcome);
    void on_dispatch(const Dispatch& dispatch, std::string_view payload, std::int64_t now_ms);
    void on_answers(RequestId request, const Answers& answers);
    void on_refusal(const Envelope& envelope, const Refusal& refusal, std::int64_t now_ms);
    void on_refused_list(RequestId request, const Refusal& refusal, std::int64_t now_ms);
    void on_stop(const Stop& stop);

    Held* find(LeaseToken token);
    void stop(const Held& held, StopCause cause);
    void cancel(Held& held);
    void lose(Held& held);
    void queue_end(Held& held, Ending ending);
    void queue_release(Held& held) { queue_end(held, {.outcome = Outcome::released}); }
    void settle(Held& held);
    void leave_owed(Held& held, Report next);
    void leave_running(Held& held);
    [[nodiscard]] std::vector<Held*> held_in_order();

    void fail_timed_out(std::int64_t now_ms);
    void advance_drain(std::int64_t now_ms);
    void watch_stuck_slots(std::int64_t now_ms);
    void watch_broker(std::int64_t now_ms);
    void say_hello(std::int64_t now_ms);
    void send_credit(std::int64_t now_ms);
    [[nodiscard]] bool gathers(std::int64_t now_ms) const;
    void send_ends(std::int64_t now_ms);
    void send_started(std::int64_t now_ms, std::int64_t began_until_ms);
    void send_renewals(std::int64_t now_ms);
    void leave_when_done(std::int64_t now_ms);
    void send(Message message, RequestId request, std::int64_t now_ms);
    void notice(Notice::Level level, std::string text);

    [[nodiscard]] std::uint32_t credit() const;
    [[nodiscard]] RequestId next_request() { return {++last_request_}; }

    Options options_;
    Outbox outbox_;

    // The link. A session number exists only while welcomed.
    Link link_ = Link::down;
    SessionId session_;
    RequestId hello_request_;
    std::uint64_t last_request_ = 0;
    std::int64_t hello_at_ms_ = 0;  // earliest, while the link is up
    std::int64_t hello_sent_ms_ = 0;
    std::vector<LeaseToken> claimed_;  // by the HELLO that waits for its answer
    std::uint32_t stated_credit_ = 0;
    std::int64_t heard_ms_;
    std::int64_t sent_ms_ = 0;
    std::optional<Error> refused_;

    // From the last WELCOME; before the first, values to begin with.
    Uuid store_;
    std::uint8_t broker_minor_ = kProtocolMinor;
    bool welcomed_before_ = false;
    std::int64_t heartbeat_ms_ = 5'000;
    std::int64_t lost_after_ms_ = 20'000;
    std::int64_t lease_ms_ = 30'000;
    std::int64_t renew_ms_ = 10'000;
    std::size_t max_result_ = kMaxResultBytes;

    // The jobs. Never iterated in the table's order: held_in_order() sorts.
    std::unordered_map<LeaseToken, Held> held_;
    std::vector<Held*> running_;
    std::size_t owed_ = 0;       // jobs whose `report` is `owed`: what the broker counts against the credit
    std::size_t unsettled_ = 0;  // jobs not `settled`
    std::uint32_t stuck_ = 0;    // running jobs whose report has left `owed`

    // What is to be sent, and what waits for an answer.
    std::vector<LeaseToken> ends_;
    std::int64_t ends_at_ms_ = 0;  // earliest, after the broker was busy
    std::unordered_map<RequestId, Request> requests_;
    std::size_t ends_under_way_ = 0;  // those of `requests_` that tell ends
    std::int64_t ends_sent_ms_ = 0;   // the newest of them
    std::deque<RequestId> renewals_;  // those of `requests_` that are renewals, oldest first
    struct Began {
        std::int64_t at_ms;
        LeaseToken token;
    };
    std::deque<Began> began_;  // not looked at yet by send_started
    std::int64_t renew_at_ms_ = 0;

    // Deadlines of its own.
    static constexpr std::int64_t kNever = INT64_MAX;
    std::int64_t timeout_at_ms_ = kNever;  // not later than the earliest of any running job
    std::int64_t all_stuck_since_ms_ = kNever;
    bool all_slots_stuck_ = false;
    std::int64_t ticked_ms_;

    std::optional<Drain> drain_;
    bool interrupted_ = false;  // running jobs were told that we leave
    bool gave_up_ = false;      // and handed back though they did not stop
    bool has_left_ = false;
};

}  // namespace jobyard::worker
