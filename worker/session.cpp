#include "session.hpp"

#include <algorithm>
#include <utility>

#include "jobyard/assert.hpp"
#include "jobyard/codec.hpp"
#include "text.hpp"

namespace jobyard::worker {
namespace {

/// A job that still runs this long after it began is told to the broker as started. Most jobs never are.
constexpr std::int64_t kStartedAfterMs = 10;
/// How long leaving waits for answers once every handler has ended or was given up.
constexpr std::int64_t kAnswersWaitMs = 3'000;
constexpr std::int64_t kMinRetryMs = 100;
constexpr std::uint8_t kDelayedReleaseMinor = 1;  // what came before neglects the delay
constexpr std::size_t kGatheredEnds = 64;         // worth a message of their own
constexpr std::int64_t kGatherMs = 1;             // an answer that takes longer is not waited for
/// Most that an item of any of our lists takes in a header besides its texts.
constexpr std::size_t kItemHeaderBytes = 48;
constexpr std::size_t kListHeaderBytes = kMaxHeaderBytes - 1024;
static_assert(kMaxItems * kItemHeaderBytes < kListHeaderBytes);

std::string job_text(JobId job) { return "job=" + std::to_string(job.value); }

}  // namespace

void Outbox::clear() {
    starts.clear();
    stops.clear();
    messages.clear();
    notices.clear();
    reopen = false;
}

/// Gathers items to lists that keep the bounds of a message, and sends them.
template <class List>
class Session::ListWriter {
 public:
    using Item = typename decltype(List::items)::value_type;

    /// Without a kind no answer is wanted.
    ListWriter(Session& session, std::optional<Request::Kind> kind, std::int64_t now_ms)
        : session_(session), kind_(kind), now_ms_(now_ms) {}

    void add(const Item& item, std::size_t text_bytes = 0, std::string_view payload = {}) {
        const std::size_t header = kItemHeaderBytes + text_bytes;
        if (list_.items.size() == kMaxItems || header_bytes_ + header > kListHeaderBytes ||
            payload_bytes_ + payload.size() > kCutListBytes)
            flush();
        list_.items.push_back(item);
        header_bytes_ += header;
        payload_bytes_ += payload.size();
        if (!payload.empty()) payload_.push_back(payload);
        if (kind_) tokens_.push_back(item.token);
    }

    void flush() {
        if (list_.items.empty()) return;
        RequestId request;
        if (kind_) {
            request = session_.next_request();
            if (*kind_ == Request::Kind::renewal) {
                session_.renewals_.push_back(request);
            } else {
                ++session_.ends_under_way_;
                session_.ends_sent_ms_ = now_ms_;
            }
            session_.requests_.emplace(request, Request{*kind_, now_ms_, std::exchange(tokens_, {})});
        }
        session_.send(std::exchange(list_, {}), request, now_ms_);
        session_.outbox_.messages.back().payload = std::exchange(payload_, {});
        header_bytes_ = payload_bytes_ = 0;
    }

 private:
    Session& session_;
    std::optional<Request::Kind> kind_;
    std::int64_t now_ms_;
    List list_;
    std::vector<LeaseToken> tokens_;
    std::vector<KeptBytes> payload_;
    std::size_t header_bytes_ = 0;
    std::size_t payload_bytes_ = 0;
};

Session::Session(Options options, std::int64_t now_ms)
    : options_(std::move(options)), heard_ms_(now_ms), ticked_ms_(now_ms) {
    held_.reserve(2 * kMaxCredit);
}

// --- the connection --------------------------------------------------------------------------------------------------

void Session::on_connected(std::int64_t now_ms) {
    on_disconnected();
    link_ = Link::up;
    hello_at_ms_ = now_ms;
    heard_ms_ = now_ms;
}

void Session::on_disconnected() {
    link_ = Link::down;
    session_ = {};
    requests_.clear();
    ends_under_way_ = 0;
    renewals_.clear();
}

void Session::on_message(const Envelope& envelope, std::string_view payload, std::int64_t now_ms) {
    if (refused_ || has_left_) return;
    if (const auto* welcome = std::get_if<Welcome>(&envelope.message)) {
        if (link_ != Link::hello_sent || envelope.request != hello_request_) return;  // of an earlier HELLO
        heard_ms_ = now_ms;
        return on_welcome(envelope, *welcome);
    }
    if (const auto* refusal = std::get_if<Refusal>(&envelope.message)) return on_refusal(envelope, *refusal, now_ms);

    if (link_ != Link::welcomed || envelope.session != session_) return;
    heard_ms_ = now_ms;
    if (const auto* dispatch = std::get_if<Dispatch>(&envelope.message)) {
        on_dispatch(*dispatch, payload, now_ms);
    } else if (const auto* answers = std::get_if<Answers>(&envelope.message)) {
        on_answers(envelope.request, *answers);
    } else if (const auto* stops = std::get_if<Stop>(&envelope.message)) {
        on_stop(*stops);
    } else if (std::holds_alternative<Goodbye>(envelope.message)) {
        notice(Notice::Level::info, "the broker says goodbye; running jobs go on, and so do we when it is back");
        on_disconnected();
    }
}

void Session::on_welcome(const Envelope& envelope, const Welcome& welcome) {
    link_ = Link::welcomed;
    session_ = envelope.session;
    heartbeat_ms_ = std::max<std::int64_t>(welcome.heartbeat_ms, 1);
    lost_after_ms_ = std::max<std::int64_t>(welcome.lost_after_ms, 1);
    lease_ms_ = std::max<std::int64_t>(welcome.lease_ms, 1);
    renew_ms_ = std::max<std::int64_t>(welcome.renew_ms, 1);
    max_result_ = std::min<std::size_t>(welcome.max_result, kCutListBytes);
    broker_minor_ = welcome.minor;
    notice(Notice::Level::info, "welcomed by " + std::string(welcome.software) + " epoch=" +
                                    std::to_string(welcome.epoch) + " session=" + std::to_string(session_.value));

    if (welcomed_before_ && welcome.store != store_) {
        if (unsettled_ > 0)
            notice(Notice::Level::error, "the broker has another store (" + to_hex(welcome.store) +
                                             "); dropping jobs=" + std::to_string(unsettled_) + " of the old one");
        for (Held* held : held_in_order()) lose(*held);
    }
    welcomed_before_ = true;
    store_ = welcome.store;

    for (std::size_t i = 0; i < claimed_.size() && i < welcome.claims.size(); ++i) {
        Held* held = find(claimed_[i]);
        if (held == nullptr || held->report == Report::settled) continue;
        switch (welcome.claims[i]) {
            case Code::ok: break;
            case Code::cancel_requested: cancel(*held); break;
            default:
                notice(Notice::Level::warning, job_text(held->job) + " belongs to somebody else by now; stopping it");
                lose(*held);
                continue;
        }
        held->lease_until_ms = hello_sent_ms_ + lease_ms_;
    }
    claimed_.clear();

    // Whatever the last session was told and did not answer, this one is told again.
    ends_.clear();
    ends_at_ms_ = 0;
    began_.clear();
    for (Held* held : held_in_order()) {
        if (held->report == Report::sent) held->report = Report::queued;
        if (held->report == Report::queued) ends_.push_back(held->token);
        if (held->report == Report::owed && held->run == Run::running) began_.push_back({held->began_ms, held->token});
    }
    std::stable_sort(began_.begin(), began_.end(), [](const Began& a, const Began& b) { return a.at_ms < b.at_ms; });
    renew_at_ms_ = 0;
}

void Session::on_dispatch(const Dispatch& dispatch, std::string_view payload, std::int64_t now_ms) {
    std::size_t offset = 0;
    for (const DispatchItem& item : dispatch.items) {
        const std::string_view job_payload = payload.substr(offset, item.payload_length);
        offset += item.payload_length;
        const auto [at, is_new] = held_.try_emplace(item.token);
        if (!is_new) {
            notice(Notice::Level::warning, job_text(item.job) + " was dispatched twice under one token; ignored");
            continue;
        }
        Held& held = at->second;
        held.job = item.job;
        held.token = item.token;
        held.timeout_ms = item.timeout_ms;
        // The broker's clock ran from when it sent this. All we know is that it was not here at the last tick, when
        // everything that had arrived had been read: a message that waited while this process was stopped is old.
        held.lease_until_ms = ticked_ms_ + lease_ms_;
        ++owed_;
        ++unsettled_;
        if (drain_ || owed_ > kMaxCredit || held.lease_until_ms <= now_ms) {
            held.run = Run::over;
            queue_release(held);
            continue;
        }
        outbox_.starts.push_back({item, job_payload, held.lease_until_ms});
    }
}

void Session::on_answers(RequestId request, const Answers& answers) {
    const auto at = requests_.find(request);
    if (at == requests_.end()) return;
    const Request asked = std::move(at->second);
    requests_.erase(at);
    if (asked.kind == Request::Kind::ends) --ends_under_way_;
    std::size_t late = 0;
    for (std::size_t i = 0; i < asked.tokens.size() && i < answers.items.size(); ++i) {
        Held* held = find(asked.tokens[i]);
        if (held == nullptr) continue;
        const Answer& answer = answers.items[i];
        if (asked.kind == Request::Kind::ends) {
            if (held->report != Report::sent) continue;
            if (answer.code == Code::too_large)
                notice(Notice::Level::warning,
                       job_text(held->job) + " result refused: " + clean_head(answer.text, kMaxErrorBytes));
            if (answer.code == Code::stale_lease) ++late;
            settle(*held);
            continue;
        }
        if (held->report != Report::owed) continue;  // it ended since; its end is answered by itself
        switch (answer.code) {
            // The lease runs from when the broker had the renewal, which is not before it was sent.
            case Code::ok: held->lease_until_ms = asked.sent_ms + lease_ms_; break;
            case Code::cancel_requested:
                held->lease_until_ms = asked.sent_ms + lease_ms_;
                cancel(*held);
                break;
            default: ++late; lose(*held);
        }
    }
    if (late > 0)
        notice(Notice::Level::warning, "the leases of jobs=" + std::to_string(late) +
                                           " had been lost; their results are dropped (first asked: token=" +
                                           std::to_string(asked.tokens.front().value) + ")");
}

void Session::on_refusal(const Envelope& envelope, const Refusal& refusal, std::int64_t now_ms) {
    const std::string text = clean_head(refusal.text, kMaxErrorBytes);
    if (link_ == Link::hello_sent && envelope.request == hello_request_) {
        heard_ms_ = now_ms;
        if (refusal.code == Code::busy || refusal.code == Code::no_session) {
            link_ = Link::up;
            hello_at_ms_ = now_ms + std::max<std::int64_t>(refusal.retry_after_ms, kMinRetryMs);
            notice(Notice::Level::warning, "the broker is busy and takes no more workers for now: " + text);
        } else if (refusal.code == Code::version_not_spoken) {
            refuse({refusal.code, "the broker speaks protocol versions " + std::to_string(refusal.min_version) +
                                      " to " + std::to_string(refusal.max_version) + ", this worker only " +
                                      std::to_string(kProtocolVersion)});
        } else {
            const std::string field = clean_head(refusal.field, kMaxNameBytes);
            refuse({refusal.code, "the broker refused this worker: " + (field.empty() ? "" : field + ": ") + text});
        }
        return;
    }
    if (link_ != Link::welcomed) return;
    // A broker that does not know our session may not know its number either.
    if (refusal.code == Code::no_session && (envelope.session == session_ || !envelope.session)) {
        on_connected(now_ms);
        return;
    }
    if (envelope.session != session_) return;
    heard_ms_ = now_ms;
    if (refusal.code == Code::replaced) {
        refuse({refusal.code, "another worker process has taken over this instance"});
    } else if (refusal.code == Code::not_allowed && !envelope.request) {
        refuse({refusal.code, "the broker cut this worker off: " + text});
    } else {
        on_refused_list(envelope.request, refusal, now_ms);
    }
}

void Session::on_refused_list(RequestId request, const Refusal& refusal, std::int64_t now_ms) {
    const auto at = requests_.find(request);
    if (at != requests_.end()) {
        const Request asked = std::move(at->second);
        requests_.erase(at);
        if (asked.kind == Request::Kind::ends) --ends_under_way_;
        for (const LeaseToken token : asked.tokens) {
            Held* held = find(token);
            if (held == nullptr || held->report != Report::sent) continue;
            if (refusal.code == Code::busy) {
                held->report = Report::queued;
                ends_.push_back(token);
            } else {
                settle(*held);  // it would be refused for ever
            }
        }
        if (refusal.code == Code::busy) {
            const std::int64_t again_ms = now_ms + std::max<std::int64_t>(refusal.retry_after_ms, kMinRetryMs);
            (asked.kind == Request::Kind::ends ? ends_at_ms_ : renew_at_ms_) = again_ms;
            return;
        }
    }
    notice(Notice::Level::error, std::string("the broker refused a message: ") + to_string(refusal.code) + ": " +
                                     clean_head(refusal.text, kMaxErrorBytes));
}

void Session::on_stop(const Stop& stops) {
    for (const StopItem& item : stops.items) {
        Held* held = find(item.token);
        if (held == nullptr || held->report == Report::settled) continue;
        if (item.reason == StopReason::lease_lost) {
            lose(*held);
        } else if (held->report == Report::owed) {
            cancel(*held);
        }
    }
}

void Session::refuse(Error error) {
    refused_ = std::move(error);
    on_disconnected();
    for (Held* held : held_in_order()) lose(*held);
}

// --- the slots -------------------------------------------------------------------------------------------------------

void Session::on_began(LeaseToken token, std::int64_t at_ms) {
    Held* held = find(token);
    JOBYARD_ASSERT(held != nullptr && held->run == Run::waiting);
    held->run = Run::running;
    held->began_ms = at_ms;
    held->running_index = static_cast<std::uint32_t>(running_.size());
    running_.push_back(held);
    if (held->report != Report::owed) {  // lost while it was beginning
        ++stuck_;
        return;
    }
    began_.push_back({at_ms, token});
    if (held->timeout_ms != 0) timeout_at_ms_ = std::min(timeout_at_ms_, at_ms + held->timeout_ms);
}

void Session::on_finished(LeaseToken token, Ending ending, std::int64_t at_ms) {
    Held* held = find(token);
    JOBYARD_ASSERT(held != nullptr && held->run == Run::running);
    leave_running(*held);
    if (held->report != Report::owed) {
        if (held->report == Report::settled) held_.erase(token);
        return;
    }
    held->duration_ms = static_cast<std::uint32_t>(std::clamp<std::int64_t>(at_ms - held->began_ms, 0, UINT32_MAX));
    if (ending.result.size() > max_result_) {
        const std::string size = std::to_string(ending.result.size());
        ending = {Outcome::failed, false, {}, {}, std::move(ending.tail), 0};
        ending.error = "the result has " + size + " bytes, the broker takes " + std::to_string(max_result_);
    }
    if (ending.outcome != Outcome::completed && held->cancel_requested) ending.outcome = Outcome::cancelled;
    if (ending.outcome != Outcome::completed && held->interrupted && !held->cancel_requested)
        return queue_release(*held);
    queue_end(*held, std::move(ending));
}

std::optional<std::int64_t> Session::on_unstarted(LeaseToken token, std::int64_t now_ms) {
    Held* held = find(token);
    JOBYARD_ASSERT(held != nullptr && held->run == Run::waiting);
    if (held->report == Report::owed && !held->cancel_requested && !drain_ && now_ms < held->lease_until_ms)
        return held->lease_until_ms;
    held->run = Run::over;
    if (held->report == Report::settled) {
        held_.erase(token);
    } else if (held->cancel_requested) {
        queue_end(*held, {.outcome = Outcome::cancelled, .error = "cancelled before it began"});
    } else {
        queue_release(*held);
    }
    return std::nullopt;
}

void Session::on_progress(LeaseToken token, double value, std::string_view text) {
    Held* held = find(token);
    if (held == nullptr) return;
    held->progress = value >= 0 && value <= 1 ? value : 0;  // false for a NaN
    held->progress_text = clean_head(text, kMaxProgressTextBytes);
}

Session::Held* Session::find(LeaseToken token) {
    const auto at = held_.find(token);
    return at == held_.end() ? nullptr : &at->second;
}

std::vector<Session::Held*> Session::held_in_order() {
    std::vector<Held*> all;
    all.reserve(held_.size());
    for (auto& [token, held] : held_) all.push_back(&held);
    std::sort(all.begin(), all.end(), [](const Held* a, const Held* b) { return a->token < b->token; });
    return all;
}

void Session::stop(const Held& held, StopCause cause) {
    if (held.run != Run::over) outbox_.stops.push_back({held.token, cause});
}

void Session::cancel(Held& held) {
    if (held.cancel_requested || held.report != Report::owed) return;
    held.cancel_requested = true;
    stop(held, StopCause::cancelled);
}

/// The job is somebody else's, or nobody's: stop it and say nothing. `held` may be gone afterwards.
void Session::lose(Held& held) {
    if (held.report == Report::settled) return;
    stop(held, StopCause::lease_lost);
    settle(held);
}

void Session::queue_end(Held& held, Ending ending) {
    held.ending = std::move(ending);
    if (!held.ending.error.empty()) held.ending.error = clean_head(held.ending.error, kMaxErrorBytes);
    if (!held.ending.tail.empty()) held.ending.tail = clean_tail(held.ending.tail, kMaxTailBytes);
    leave_owed(held, Report::queued);
    ends_.push_back(held.token);
}

/// Nothing is left to say about it. `held` may be gone afterwards.
void Session::settle(Held& held) {
    leave_owed(held, Report::settled);
    --unsettled_;
    if (held.run == Run::over) {
        held_.erase(held.token);
    } else {
        held.ending = {};
    }
}

void Session::leave_owed(Held& held, Report next) {
    if (held.report == Report::owed) {
        --owed_;
        if (held.run == Run::running) ++stuck_;
    }
    held.report = next;
}

void Session::leave_running(Held& held) {
    if (held.report != Report::owed) --stuck_;
    held.run = Run::over;
    running_.back()->running_index = held.running_index;
    std::swap(running_[held.running_index], running_.back());
    running_.pop_back();
}

std::uint32_t Session::credit() const {
    if (drain_ || stuck_ >= options_.slots) return 0;
    const std::uint32_t wanted = options_.credit == 0 ? options_.slots : options_.credit;
    const std::uint32_t most = std::min(wanted, kMaxCredit);
    return most > stuck_ ? most - stuck_ : 0;
}

// --- time ------------------------------------------------------------------------------------------------------------

void Session::on_tick(std::int64_t now_ms) {
    ticked_ms_ = now_ms;
    if (refused_ || has_left_) return;
    fail_timed_out(now_ms);
    watch_stuck_slots(now_ms);
    advance_drain(now_ms);
    watch_broker(now_ms);
    if (link_ == Link::up && now_ms >= hello_at_ms_) say_hello(now_ms);
    if (link_ == Link::welcomed) {
        send_credit(now_ms);  // before the ends: the end of a job whose slot is stuck makes no room for another
        if (now_ms >= ends_at_ms_ && !gathers(now_ms)) send_ends(now_ms);
        if (now_ms >= renew_at_ms_) {
            send_started(now_ms, now_ms);  // renewals tell of progress, and what has any is known to run
            send_renewals(now_ms);
        }
    }
    send_started(now_ms, now_ms - kStartedAfterMs);
    if (drain_) leave_when_done(now_ms);
    if (link_ == Link::welcomed && now_ms - sent_ms_ >= heartbeat_ms_) send(Heartbeat{}, {}, now_ms);
}

std::int64_t Session::next_deadline_ms() const {
    if (refused_ || has_left_) return kNever;
    std::int64_t next = std::min(heard_ms_ + lost_after_ms_, timeout_at_ms_);
    if (link_ == Link::up) next = std::min(next, hello_at_ms_);
    if (link_ == Link::welcomed) {
        next = std::min({next, sent_ms_ + heartbeat_ms_, renew_at_ms_});
        if (!ends_.empty()) next = std::min(next, gathers(ticked_ms_) ? ends_sent_ms_ + kGatherMs : ends_at_ms_);
    }
    if (!began_.empty()) next = std::min(next, began_.front().at_ms + kStartedAfterMs);
    if (all_stuck_since_ms_ != kNever && !all_slots_stuck_)
        next = std::min(next, all_stuck_since_ms_ + options_.stuck_grace_ms);
    if (drain_) {
        if (!interrupted_) next = std::min(next, drain_->stop_at_ms);
        next = std::min(next, gave_up_ ? drain_->give_up_at_ms + kAnswersWaitMs : drain_->give_up_at_ms);
    }
    return next;
}

void Session::fail_timed_out(std::int64_t now_ms) {
    if (now_ms < timeout_at_ms_) return;
    timeout_at_ms_ = kNever;
    for (Held* held : running_) {
        if (held->report != Report::owed || held->timeout_ms == 0) continue;
        const std::int64_t at = held->began_ms + held->timeout_ms;
        if (now_ms < at) {
            timeout_at_ms_ = std::min(timeout_at_ms_, at);
            continue;
        }
        held->duration_ms = static_cast<std::uint32_t>(std::min<std::int64_t>(now_ms - held->began_ms, UINT32_MAX));
        stop(*held, StopCause::timed_out);
        queue_end(*held, {.outcome = held->cancel_requested ? Outcome::cancelled : Outcome::timeout,
                          .error = "ran for longer than its timeout of " + std::to_string(held->timeout_ms) + " ms"});
    }
}

void Session::watch_stuck_slots(std::int64_t now_ms) {
    if (stuck_ < options_.slots) {
        all_stuck_since_ms_ = kNever;
    } else if (all_stuck_since_ms_ == kNever) {
        all_stuck_since_ms_ = now_ms;
    } else if (!all_slots_stuck_ && now_ms - all_stuck_since_ms_ >= options_.stuck_grace_ms) {
        all_slots_stuck_ = true;
        notice(Notice::Level::error,
               "no handler has stopped when told to; all slots=" + std::to_string(options_.slots) + " are stuck");
    }
}

void Session::watch_broker(std::int64_t now_ms) {
    if (now_ms - heard_ms_ < lost_after_ms_) return;
    if (link_ != Link::down)
        notice(Notice::Level::warning,
               "nothing heard from the broker for " + std::to_string(now_ms - heard_ms_) + " ms; connecting anew");
    on_disconnected();
    heard_ms_ = now_ms;
    outbox_.reopen = true;
}

void Session::say_hello(std::int64_t now_ms) {
    Hello hello;
    hello.minor = protocol_minor();
    hello.role = Role::worker;
    hello.instance = options_.instance;
    hello.name = options_.name;
    hello.software = options_.software;
    hello.store = store_;
    hello.resumed = welcomed_before_;
    hello.slots = options_.slots;
    hello.credit = stated_credit_ = credit();
    hello.queues.assign(options_.queues.begin(), options_.queues.end());
    hello.types.assign(options_.types.begin(), options_.types.end());
    hello.host = options_.host;
    hello.pid = options_.pid;

    // At most kMaxItems claims. Ends that wait for their answer are held on top of the credit, so there may be more:
    // then what has not begun goes back to its queue, which costs nothing, and after it ends are told without a claim.
    const std::vector<Held*> all = held_in_order();
    claimed_.clear();
    const auto claim = [&](const Held& held) {
        if (hello.claims.size() == kMaxItems) return false;
        hello.claims.push_back({held.job, held.token, held.report != Report::owed});
        claimed_.push_back(held.token);
        return true;
    };
    for (const Held* held : all)
        if (held->report == Report::owed && held->run != Run::waiting) claim(*held);
    for (const Held* held : all)
        if (held->report == Report::queued || held->report == Report::sent) claim(*held);
    for (Held* held : all)
        if (held->report == Report::owed && held->run == Run::waiting && !claim(*held)) lose(*held);

    hello_request_ = next_request();
    hello_sent_ms_ = now_ms;
    send(std::move(hello), hello_request_, now_ms);
    link_ = Link::hello_sent;
}

void Session::send_credit(std::int64_t now_ms) {
    const std::uint32_t now_credit = credit();
    if (now_credit == stated_credit_) return;
    stated_credit_ = now_credit;
    send(Credit{now_credit}, {}, now_ms);
}

/// Whether ends wait for others (Nagle, RFC 896): a few of them, while earlier ones are unanswered, and if nothing is
/// held up by it: there are jobs here to go on with, or the broker has credit enough to send more. A message for each
/// end of a short job would cost more than the job.
bool Session::gathers(std::int64_t now_ms) const {
    const bool has_work = owed_ > options_.slots || unsettled_ < credit() / 2;
    return ends_under_way_ > 0 && now_ms < ends_sent_ms_ + kGatherMs && ends_.size() < kGatheredEnds && has_work &&
           !drain_;
}

void Session::send_ends(std::int64_t now_ms) {
    if (ends_.empty()) return;
    ListWriter<Complete> completes(*this, Request::Kind::ends, now_ms);
    ListWriter<Fail> fails(*this, Request::Kind::ends, now_ms);
    ListWriter<Release> releases(*this, Request::Kind::ends, now_ms);
    for (const LeaseToken token : ends_) {
        Held* held = find(token);
        if (held == nullptr || held->report != Report::queued) continue;  // lost since
        held->report = Report::sent;
        const Ending& end = held->ending;
        const auto length = static_cast<std::uint32_t>(end.result.size());
        if (end.outcome == Outcome::completed) {
            completes.add({length, held->job, token, held->duration_ms}, 0, end.result);
        } else if (end.outcome == Outcome::released) {
            releases.add({held->job, token, end.delay_ms});
            if (end.delay_ms > 0 && broker_minor_ < kDelayedReleaseMinor)
                notice(Notice::Level::warning, "the broker speaks protocol " +
                                                   protocol_text(kProtocolVersion, broker_minor_) +
                                                   ", which has no delay of a release (" +
                                                   protocol_text(kProtocolVersion, kDelayedReleaseMinor) +
                                                   "): a job that was snoozed comes back at once; upgrade the broker");
        } else {
            fails.add({length, held->job, token, held->duration_ms, end.outcome, end.retryable, end.error, end.tail},
                      end.error.size() + end.tail.size(), end.result);
        }
    }
    ends_.clear();
    completes.flush();
    fails.flush();
    releases.flush();
}

void Session::send_started(std::int64_t now_ms, std::int64_t began_until_ms) {
    // Told or not, a job leaves the list: WELCOME makes a new one of all that run.
    ListWriter<Started> list(*this, std::nullopt, now_ms);
    for (; !began_.empty() && began_.front().at_ms <= began_until_ms; began_.pop_front()) {
        const Held* held = find(began_.front().token);
        if (link_ != Link::welcomed || held == nullptr) continue;
        if (held->run == Run::running && held->report == Report::owed) list.add({held->job, held->token});
    }
    list.flush();
}

void Session::send_renewals(std::int64_t now_ms) {
    renew_at_ms_ = now_ms + renew_ms_;
    // An answer to a renewal as old as a lease would renew nothing.
    while (!renewals_.empty()) {
        const auto at = requests_.find(renewals_.front());
        if (at != requests_.end() && now_ms - at->second.sent_ms < lease_ms_) break;
        if (at != requests_.end()) requests_.erase(at);
        renewals_.pop_front();
    }
    ListWriter<Renew> list(*this, Request::Kind::renewal, now_ms);
    for (const Held* held : held_in_order())
        if (held->report == Report::owed)
            list.add({held->job, held->token, held->progress, held->progress_text}, held->progress_text.size());
    list.flush();
}

void Session::send(Message message, RequestId request, std::int64_t now_ms) {
    outbox_.messages.push_back({Envelope{session_, request, std::move(message)}, {}});
    sent_ms_ = now_ms;
}

void Session::notice(Notice::Level level, std::string text) { outbox_.notices.push_back({level, std::move(text)}); }

// --- leaving ---------------------------------------------------------------------------------------------------------

void Session::drain(const Drain& times) {
    if (drain_) {
        drain_->stop_at_ms = std::min(drain_->stop_at_ms, times.stop_at_ms);
        drain_->give_up_at_ms = std::min(drain_->give_up_at_ms, times.give_up_at_ms);
        return;
    }
    drain_ = times;
    for (const Held* held : held_in_order())
        if (held->run == Run::waiting) stop(*held, StopCause::draining);
}

void Session::advance_drain(std::int64_t now_ms) {
    if (!drain_) return;
    if (!interrupted_ && now_ms >= drain_->stop_at_ms) {
        interrupted_ = true;
        for (Held* held : running_) {
            if (held->report != Report::owed) continue;
            held->interrupted = true;
            stop(*held, StopCause::draining);
        }
    }
    if (!gave_up_ && now_ms >= drain_->give_up_at_ms) {
        gave_up_ = true;
        for (Held* held : running_)
            if (held->report == Report::owed) queue_release(*held);
    }
}

void Session::leave_when_done(std::int64_t now_ms) {
    if (unsettled_ > 0 && now_ms < drain_->give_up_at_ms + kAnswersWaitMs) return;
    if (unsettled_ > 0)
        notice(Notice::Level::warning, "leaving without an answer to the ends of jobs=" + std::to_string(unsettled_));
    if (link_ == Link::welcomed) send(Goodbye{}, {}, now_ms);
    has_left_ = true;
}

}  // namespace jobyard::worker
