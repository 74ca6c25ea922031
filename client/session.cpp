#include "session.hpp"

#include <algorithm>
#include <utility>

#include "jobyard/codec.hpp"

namespace jobyard::client {
namespace {

/// Bytes of a result that the grant counts beyond its payload.
constexpr std::uint64_t kResultOverhead = 64;
/// At most what stands in a header before the items.
constexpr std::size_t kHeaderPrefixBytes = 64;
/// A larger job's bytes are allocated for themselves: the pool keeps what it once had.
constexpr std::size_t kPooledBytes = 512;
constexpr std::int64_t kGatherMs = 1;  // an answer that takes longer is not waited for
constexpr std::int64_t kLongestPauseMs = 5'000;
constexpr const char* kOtherStore =
    "the broker has come back with another store, perhaps restored from a backup: what became of this job in the old "
    "one cannot be known; look for it by its content (jobyard list), and submit it again if it is not there";

template <class... Fs>
struct Overloaded : Fs... {
    using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;  // clang 14 does not deduce it by itself

bool may_succeed_later(Code code) {
    return code == Code::busy || code == Code::queue_full || code == Code::disk_full || code == Code::over_quota;
}

Answer answer_of(Code code, std::string_view text = {}) {
    Answer answer;
    answer.code = code;
    answer.text = text;
    return answer;
}

/// Twice as long after each refusal: a full queue is not asked thousands of times a second by everybody it refused.
std::int64_t pause_ms(std::uint32_t retry_after_ms, unsigned refusals) {
    const std::int64_t first = std::max<std::int64_t>(retry_after_ms, 10);
    return std::min(std::max(kLongestPauseMs, first), first << std::min(refusals, 10U));
}

/// Of a question that has a message of its own.
Message message_of(const Question& question) {
    return std::visit(
        Overloaded{
            [](const JobQuestion&) -> Message { return Show{}; },  // these share messages
            [](const ListQuestion& q) -> Message { return List{q.state, q.queue, q.type, q.cursor, q.limit, q.array}; },
            [](const MessageQuestion& q) -> Message { return q.message; },
            [](const StatsQuestion&) -> Message { return AskStats{}; },
            [](const EventsQuestion& q) -> Message {
                return ReadEvents{q.after, q.limit, q.wait_ms, q.queue, q.type, q.job, q.kinds};
            },
            [](const WorkersQuestion& q) -> Message {
                return ListWorkers{q.cursor, q.limit, q.name};
            },
            [](const SteerQuestion& q) -> Message {
                return SteerWorker{q.name, q.action};
            },
        },
        question);
}

}  // namespace

std::string text_of(const Answer& answer) {
    if (!answer.text.empty())
        return answer.field.empty() ? std::string(answer.text)
                                    : std::string(answer.field) + ": " + std::string(answer.text);
    switch (answer.code) {
        case Code::conflict:
            return "the key names a job with other content; choose another key, or send the same content";
        case Code::retired: return "it ended, and retention has removed its record";
        case Code::ended: return "it has ended already";
        case Code::unknown_job:
            return "the broker has never made this job; check the number, and which broker is asked";
        case Code::not_waiting: return "it runs; only a job that waits can be changed";
        case Code::unknown_task: return "no task of this number runs, or is remembered";
        case Code::not_dead: return "it is not in the dead letter queue, so it cannot be redriven or edited";
        case Code::busy: return "the broker is at one of its limits; try again later";
        case Code::queue_full: return "the queue holds as many jobs as it may; try again when some have ended";
        case Code::over_quota: return "this key or this queue has as much as it may; try again later";
        case Code::not_allowed: return "this key may not do that";
        case Code::disk_full: return "the broker's disk is nearly full; somebody must free space";
        default: return std::string("the broker answered ") + to_string(answer.code);
    }
}

Session::Session(Options options, std::int64_t now_ms)
    : options_(std::move(options)), heard_ms_(now_ms), pool_({0, kPooledBytes}), instance_(options_.new_instance()) {}

// --- what callers want -----------------------------------------------------------------------------------------------

void Session::submit(Ticket ticket, const EncodedItem& item, const KeptBytes& payload, std::int64_t now_ms,
                     std::shared_ptr<const SubmitArray> array) {
    if (ended_) return fail(ticket, ended_->code, ended_->text);
    const std::uint8_t minor = array == nullptr ? item.minor : std::max(item.minor, minor_of(Message(*array)));
    if (const auto why = beyond_broker(minor)) return fail(ticket, Code::unknown_message, *why);
    Job& job = waiting_.emplace_back(Job{.ticket = ticket,
                                         .deadline_ms = now_ms + options_.submit_limit_ms,
                                         .bytes = std::pmr::string(&pool_),
                                         .item_bytes = static_cast<std::uint32_t>(item.bytes.size()),
                                         .array = std::move(array),
                                         .minor = minor,
                                         .watch = item.watch,
                                         .has_key = item.has_key});
    if (payload.owner) {
        job.large = payload;
        job.bytes = item.bytes;
    } else {
        job.bytes.reserve(item.bytes.size() + payload.bytes.size());
        job.bytes.append(item.bytes).append(payload.bytes);
    }
}

void Session::submit(Ticket ticket, SubmitItem item, const KeptBytes& payload, std::int64_t now_ms,
                     std::shared_ptr<const SubmitArray> array) {
    item.payload_length = static_cast<std::uint32_t>(payload.bytes.size());
    std::string bytes;
    submit(ticket, encode_item(item, bytes), payload, now_ms, std::move(array));
}

void Session::ask(Ticket ticket, Question question, std::int64_t deadline_ms) {
    if (ended_) return fail(ticket, ended_->code, ended_->text);
    if (broker_may_be_too_old())
        if (const auto why = beyond_broker(minor_of(message_of(question))))
            return fail(ticket, Code::unknown_message, *why);
    unsent_.insert(remember(ticket, std::move(question), deadline_ms));
}

Session::AskKey Session::remember(Ticket ticket, Question question, std::int64_t deadline_ms) {
    const AskKey key = ++last_ask_;
    if (const auto* about = std::get_if<JobQuestion>(&question); about != nullptr && about->verb == JobVerb::watch)
        watchers_.emplace(about->job, key);
    asks_.emplace(key, Asked{ticket, std::move(question), deadline_ms});
    if (deadline_ms != kNever) deadlines_.emplace(deadline_ms, key);
    return key;
}

void Session::watch(Ticket ticket, JobId job, bool ask) {
    const AskKey key = remember(ticket, JobQuestion{JobVerb::watch, job}, kNever);
    if (ask) unsent_.insert(key);
}

/// In the order of the jobs, because the table has none of its own.
std::vector<std::pair<JobId, Ticket>> Session::take_pushed() {
    std::vector<std::pair<JobId, Ticket>> pushed(pushed_.begin(), pushed_.end());
    pushed_.clear();
    std::sort(pushed.begin(), pushed.end());
    return pushed;
}

void Session::close() {
    const bool nothing_is_open = link_ == Link::welcomed && window_.empty();
    end({Code::closed, "the client was closed; it cannot be known here what became of what was not answered"});
    if (!nothing_is_open) return;
    link_ = Link::welcomed;
    goodbye_due_ = true;
}

void Session::end(Error error) {
    if (ended_) return;
    ended_ = std::move(error);
    link_ = Link::down;
    forget_requests();
    for (const Job& job : window_)
        if (job.state != Job::State::answered) fail(job.ticket, ended_->code, ended_->text);
    for (const auto& [due, job] : refused_) fail(job.ticket, ended_->code, ended_->text);
    for (const Job& job : waiting_) fail(job.ticket, ended_->code, ended_->text);
    window_.clear();
    refused_.clear();
    waiting_.clear();
    for (const auto& [job, ticket] : take_pushed()) fail(ticket, ended_->code, ended_->text);
    while (!asks_.empty()) fail_ask(asks_.begin()->first, *ended_);
}

// --- the connection --------------------------------------------------------------------------------------------------

void Session::on_connected(std::int64_t now_ms) {
    on_disconnected();
    if (ended_) return;
    link_ = Link::hello_due;
    hello_at_ms_ = now_ms;
    heard_ms_ = now_ms;
}

void Session::on_disconnected() {
    link_ = Link::down;
    put_off_.reset();
    session_ = {};
    forget_requests();
    goodbye_due_ = false;
}

void Session::on_message(const Envelope& envelope, std::string_view payload, std::int64_t now_ms) {
    if (link_ == Link::down || ended_) return;
    heard_ms_ = now_ms;
    if (const auto* welcome = std::get_if<Welcome>(&envelope.message)) return on_welcome(envelope, *welcome, now_ms);
    if (const auto* refusal = std::get_if<Refusal>(&envelope.message)) return on_refusal(envelope, *refusal, now_ms);
    if (link_ != Link::welcomed || envelope.session != session_) return;  // of an earlier session
    std::visit(
        Overloaded{
            [&](const Answers& answers) { on_answers(envelope.request, answers, now_ms); },
            [&](const Results& results) { on_results(results, payload); },
            [&](const Jobs& jobs) { on_jobs(envelope.request, jobs, payload); },
            [&](const Maps& maps) {
                on_maps(envelope.request, maps.items, payload, {0, 0, {}, maps.next, 0, false});
            },
            [&](const Events& events) {
                on_maps(envelope.request, events.items, payload, {0, events.last, {}, {}, events.gone, events.more});
            },
            [&](const Stats&) {
                const std::optional<Request> request = take_request(envelope.request);
                if (!request || request->asks.empty() || !asks_.contains(request->asks[0])) return;
                completions_.emplace_back(Found{asks_.at(request->asks[0]).ticket, 0, {payload}, {}, 0, false});
                forget_ask(request->asks[0]);
            },
            // The broker restarts: this session is over, and the connection will say so itself.
            [&](const Goodbye&) { on_disconnected(); },
            [](const auto&) {},
        },
        envelope.message);
}

void Session::on_welcome(const Envelope& envelope, const Welcome& welcome, std::int64_t now_ms) {
    if (link_ != Link::hello_sent || envelope.request != hello_request_) return;
    const bool other_store = !store_.is_nil() && store_ != welcome.store;
    store_ = welcome.store;
    if (other_store) forget_other_store();
    if (other_store || welcome.instance == InstanceState::retired) {
        retire_instance(other_store ? kOtherStore
                                    : "the broker has forgotten this client, which was away too long; the job may or "
                                      "may not have been made (submit with a key to be able to repeat it)");
        link_ = Link::hello_due;
        hello_at_ms_ = now_ms;
        return;
    }
    link_ = Link::welcomed;
    put_off_.reset();
    session_ = envelope.session;
    welcomed_before_ = true;
    broker_minor_ = welcome.minor;
    broker_is_older_ = welcome.minor < protocol_minor();
    if (welcome.heartbeat_ms != 0) heartbeat_ms_ = welcome.heartbeat_ms;
    if (welcome.lost_after_ms != 0) lost_after_ms_ = welcome.lost_after_ms;
    if (welcome.window != 0) window_size_ = welcome.window;
    in_flight_ = SIZE_MAX;
    // An item must fit a message whatever the broker's setting.
    max_payload_ = std::min<std::size_t>(welcome.max_payload, kMaxMessageBytes - kMaxHeaderBytes);
    for (Job& job : window_)
        if (job.state == Job::State::sent) job.state = Job::State::unsent;
    to_send_ = confirmed_ + 1;
    submits_held_until_ms_ = 0;
    granted_ = options_.result_grant;
    received_ = 0;
    refused_asks_.clear();
    for (const auto& [job, ticket] : take_pushed()) watch(ticket, job, false);
    for (const auto& [key, asked] : asks_) unsent_.insert(unsent_.end(), key);
    if (broker_is_older_) fail_what_is_beyond_broker();
}

std::optional<std::string> Session::beyond_broker(std::uint8_t needed) const {
    if (!broker_may_be_too_old() || needed <= broker_minor_) return {};
    return "the broker speaks protocol " + protocol_text(kProtocolVersion, broker_minor_) + ", and this needs " +
           protocol_text(kProtocolVersion, needed) + "; upgrade the broker, or do without";
}

/// What waited for this broker or was on its way to another; later wishes are looked at as they come in.
void Session::fail_what_is_beyond_broker() {
    for (Job& job : window_) {
        if (job.state == Job::State::answered) continue;
        const auto why = beyond_broker(job.minor);
        if (!why) continue;
        job.state = Job::State::answered;
        fail(job.ticket, Code::outcome_unknown, *why + "; a newer broker was sent the job, and may have made it");
    }
    advance_confirmed();
    to_send_ = confirmed_ + 1;
    const auto refuse = [this](const Job& job) {
        const auto why = beyond_broker(job.minor);
        if (why) fail(job.ticket, Code::unknown_message, *why);
        return why.has_value();
    };
    std::erase_if(waiting_, refuse);
    std::erase_if(refused_, [&](const auto& entry) { return refuse(entry.second); });
    for (auto next = asks_.begin(); next != asks_.end();) {
        const auto ask = next++;
        if (const auto why = beyond_broker(minor_of(message_of(ask->second.question))))
            fail_ask(ask->first, {Code::unknown_message, *why, 0});
    }
}

void Session::on_refusal(const Envelope& envelope, const Refusal& refusal, std::int64_t now_ms) {
    const bool ours = envelope.session == session_ || !envelope.session;
    if (link_ == Link::hello_sent && envelope.request == hello_request_) {
        if (may_succeed_later(refusal.code) || refusal.code == Code::no_session) {
            link_ = Link::hello_due;
            hello_at_ms_ = now_ms + pause_ms(refusal.retry_after_ms, 0);
            put_off_ = Error{refusal.code, std::string(refusal.text), refusal.retry_after_ms};
            return;
        }
        std::string text(refusal.text);
        if (refusal.code == Code::version_not_spoken)
            text = "the broker speaks versions " + std::to_string(refusal.min_version) + " to " +
                   std::to_string(refusal.max_version) + " of the protocol and this library " +
                   std::to_string(kProtocolVersion) + "; install versions that have one in common";
        return end({refusal.code, text.empty() ? "the broker refused this client" : text, 0});
    }
    if (link_ != Link::welcomed || !ours) return;
    if (refusal.code == Code::no_session) {
        on_connected(now_ms);  // the connection is there, the session is not: HELLO, and all of it again
    } else if (refusal.code == Code::replaced) {
        end({Code::replaced, "another session of this client's instance has taken over; make a new client", 0});
    } else if (refusal.code == Code::not_allowed && !envelope.request) {
        // It came at once, and answers that wait for the disk after it are not heard any more.
        end({Code::not_allowed,
             std::string(refusal.text) + "; what was sent and not answered may or may not have been made", 0});
    } else if (const std::optional<Request> request = take_request(envelope.request)) {
        if (request->submits > 0 && may_succeed_later(refusal.code)) return send_again_later(*request, refusal, now_ms);
        answer_all(*request, {refusal.code, {}, JobState::none, refusal.text, refusal.field, refusal.retry_after_ms},
                   now_ms);
    }
}

/// The list was refused without a look at its numbers, some of which may have made a job in an earlier session: only
/// the same numbers can be sent again without making it twice.
void Session::send_again_later(const Request& request, const Refusal& refusal, std::int64_t now_ms) {
    for (std::uint64_t i = 0; i < request.submits; ++i) numbered(request.first_number + i).state = Job::State::unsent;
    to_send_ = std::min(to_send_, request.first_number);
    submits_held_until_ms_ = now_ms + pause_ms(refusal.retry_after_ms, 0);
}

/// What was sent may or may not have made a job, and can never be found out: the broker does not know the numbers.
void Session::retire_instance(const char* why) {
    for (const Job& job : window_)
        if (job.state != Job::State::answered) fail(job.ticket, Code::outcome_unknown, why);
    window_.clear();
    confirmed_ = 0;
    instance_ = options_.new_instance();
    welcomed_before_ = false;
}

/// Job numbers may mean other jobs there, and what became of a job here nobody can tell any more.
void Session::forget_other_store() {
    std::vector<AskKey> about_jobs;
    for (const auto& [key, asked] : asks_) {
        const auto* list = std::get_if<ListQuestion>(&asked.question);
        if (std::holds_alternative<JobQuestion>(asked.question) ||
            std::holds_alternative<MessageQuestion>(asked.question) ||
            (list != nullptr && (list->cursor != 0 || list->array)))
            about_jobs.push_back(key);
    }
    for (const AskKey key : about_jobs) fail_ask(key, {Code::outcome_unknown, kOtherStore, 0});
    for (const auto& [job, ticket] : take_pushed()) fail(ticket, Code::outcome_unknown, kOtherStore);
}

// --- answers ---------------------------------------------------------------------------------------------------------

void Session::on_answers(RequestId id, const Answers& answers, std::int64_t now_ms) {
    const std::optional<Request> request = take_request(id);
    if (!request) return;
    if (request->submits > 0) in_flight_ = answers.in_flight == 0 ? SIZE_MAX : answers.in_flight;
    if (request->asks.size() == 1 && !answers.items.empty()) {
        const auto asked = asks_.find(request->asks[0]);
        if (asked != asks_.end() && std::holds_alternative<MessageQuestion>(asked->second.question)) {
            completions_.emplace_back(AnsweredAll{asked->second.ticket, answers.items});
            return forget_ask(asked->first);
        }
        if (asked != asks_.end() && std::holds_alternative<SteerQuestion>(asked->second.question)) {
            const Answer& first = answers.items[0];  // of as many as there are workers of the name
            if (first.code != Code::ok) return answer_ask(asked->first, first, now_ms);
            completions_.emplace_back(Answered{asked->second.ticket, Code::ok, JobState::none, answers.items.size()});
            return forget_ask(asked->first);
        }
    }
    if (answers.items.size() != request->submits + request->asks.size())
        return answer_all(*request, answer_of(Code::outcome_unknown, "the broker's answer does not fit what was asked"),
                          now_ms);
    for (std::size_t i = 0; i < request->submits; ++i)
        answer_submit(numbered(request->first_number + i), answers.items[i], now_ms);
    for (std::size_t i = 0; i < request->asks.size(); ++i) answer_ask(request->asks[i], answers.items[i], now_ms);
    advance_confirmed();
}

void Session::answer_all(const Request& request, const Answer& answer, std::int64_t now_ms) {
    for (std::uint64_t i = 0; i < request.submits; ++i)
        answer_submit(numbered(request.first_number + i), answer, now_ms);
    for (const AskKey key : request.asks) answer_ask(key, answer, now_ms);
    advance_confirmed();
}

void Session::answer_submit(Job& job, const Answer& answer, std::int64_t now_ms) {
    job.state = Job::State::answered;
    if (answer.code == Code::ok || answer.code == Code::existing) {
        completions_.emplace_back(Submitted{job.ticket, answer.code, answer.job, answer.state});
        forget_content(job);
        if (!job.watch) return;
        // Of a job that lives RESULTS is on its way. One that has ended by now (a repeated submit, or an existing key)
        // has to be asked for.
        const bool lives = answer.state != JobState::none && !has_ended(answer.state);
        if (!lives || !pushed_.emplace(answer.job, job.ticket).second) watch(job.ticket, answer.job, !lives);
        return;
    }
    const std::int64_t again_ms = now_ms + pause_ms(answer.retry_after_ms, job.refusals);
    if (!may_succeed_later(answer.code) || !options_.retry_refused || again_ms >= job.deadline_ms) {
        forget_content(job);
        return fail(job.ticket, answer.code, text_of(answer), answer.retry_after_ms);
    }
    Job& again = refused_.emplace(again_ms, std::move(job))->second;
    again.state = Job::State::unsent;
    again.refusals = static_cast<std::uint8_t>(std::min(again.refusals + 1, 255));
}

/// Of one that stays in the window only for those before it.
void Session::forget_content(Job& job) {
    job.bytes = std::pmr::string(&pool_);
    job.item_bytes = 0;
    job.large = {};
    job.array = {};
}

void Session::answer_ask(AskKey key, const Answer& answer, std::int64_t now_ms) {
    const auto found = asks_.find(key);
    if (found == asks_.end()) return;  // its time limit has passed, or its result was faster
    const Asked& asked = found->second;
    if (may_succeed_later(answer.code) && options_.retry_refused) {
        const std::int64_t again_ms = now_ms + pause_ms(answer.retry_after_ms, 0);
        if (again_ms < asked.deadline_ms) {
            refused_asks_.emplace(again_ms, key);
            return;
        }
    }
    const auto* about = std::get_if<JobQuestion>(&asked.question);
    const bool good = about != nullptr &&
                      (answer.code == Code::ok || answer.code == Code::ended || answer.code == Code::cancel_requested);
    if (!good) return fail_ask(key, {answer.code, text_of(answer), answer.retry_after_ms});
    if (about->verb == JobVerb::watch) return;  // its result will come
    completions_.emplace_back(Answered{asked.ticket, answer.code, answer.state});
    forget_ask(key);
}

void Session::on_jobs(RequestId id, const Jobs& jobs, std::string_view payload) {
    const std::optional<Request> request = take_request(id);
    if (!request || request->asks.empty()) return;
    const AskKey key = request->asks[0];
    const auto found = asks_.find(key);
    if (found == asks_.end()) return;
    const bool one = !std::holds_alternative<ListQuestion>(found->second.question);
    if (one && (jobs.items.size() != 1 || jobs.items[0].code != Code::ok)) {
        const Code code = jobs.items.empty() ? Code::bad_message : jobs.items[0].code;
        return fail_ask(key, {code, text_of(answer_of(code)), 0});
    }
    Found page{found->second.ticket, jobs.next_cursor, {}, {}, 0, false};
    std::size_t offset = 0;
    for (const JobItem& item : jobs.items) {
        if (item.code == Code::ok) page.maps.push_back(payload.substr(offset, item.payload_length));
        offset += item.payload_length;
    }
    completions_.emplace_back(std::move(page));
    forget_ask(key);
}

void Session::on_maps(RequestId id, const std::vector<MapItem>& items, std::string_view payload, Found found) {
    const std::optional<Request> request = take_request(id);
    if (!request || request->asks.empty() || !asks_.contains(request->asks[0])) return;
    found.ticket = asks_.at(request->asks[0]).ticket;
    std::size_t offset = 0;
    for (const MapItem& item : items) {
        found.maps.push_back(payload.substr(offset, item.payload_length));
        offset += item.payload_length;
    }
    completions_.emplace_back(std::move(found));
    forget_ask(request->asks[0]);
}

void Session::on_results(const Results& results, std::string_view payload) {
    std::size_t offset = 0;
    for (const ResultItem& item : results.items) {
        received_ += item.payload_length + kResultOverhead;
        const std::string_view result = payload.substr(offset, item.payload_length);
        offset += item.payload_length;
        if (const auto pushed = pushed_.find(item.job); pushed != pushed_.end()) {
            const Ticket ticket = pushed->second;
            pushed_.erase(pushed);
            if (item.state == JobState::retired) fail(ticket, Code::retired, text_of(answer_of(Code::retired)));
            else completions_.emplace_back(Ended{ticket, item, result});
        }
        if (watchers_.empty()) continue;
        for (auto [watcher, last] = watchers_.equal_range(item.job); watcher != last;) {
            const AskKey key = (watcher++)->second;  // forget_ask erases it
            if (item.state == JobState::retired) {
                fail_ask(key, {Code::retired, text_of(answer_of(Code::retired)), 0});
                continue;
            }
            completions_.emplace_back(Ended{asks_.at(key).ticket, item, result});
            forget_ask(key);
        }
    }
}

void Session::advance_confirmed() {
    for (; !window_.empty() && window_.front().state == Job::State::answered; ++confirmed_) window_.pop_front();
}

std::optional<Session::Request> Session::take_request(RequestId id) {
    const auto found = requests_.find(id);
    if (found == requests_.end()) return std::nullopt;  // answered before
    Request request = std::move(found->second);
    requests_.erase(found);
    if (request.submits > 0) --submits_under_way_;
    return request;
}

void Session::forget_requests() {
    requests_.clear();
    submits_under_way_ = 0;
}

void Session::fail(Ticket ticket, Code code, std::string text, std::uint32_t retry_after_ms) {
    completions_.emplace_back(Failed{ticket, {code, std::move(text), retry_after_ms}});
}

void Session::time_out(AskKey key) {
    const auto* about = std::get_if<JobQuestion>(&asks_.at(key).question);
    const bool is_watch = about != nullptr && about->verb == JobVerb::watch;
    fail_ask(key, {Code::timeout,
                   is_watch ? "it has not ended within the time limit" : "no answer within the time limit", 0});
}

void Session::fail_ask(AskKey key, Error error) {
    completions_.emplace_back(Failed{asks_.at(key).ticket, std::move(error)});
    forget_ask(key);
}

void Session::forget_ask(AskKey key) {
    const auto found = asks_.find(key);
    const Asked& asked = found->second;
    if (asked.deadline_ms != kNever) deadlines_.erase({asked.deadline_ms, key});
    if (const auto* about = std::get_if<JobQuestion>(&asked.question);
        about != nullptr && about->verb == JobVerb::watch) {
        auto [watcher, last] = watchers_.equal_range(about->job);
        watchers_.erase(std::find_if(watcher, last, [key](const auto& entry) { return entry.second == key; }));
    }
    unsent_.erase(key);
    asks_.erase(found);
}

// --- time ------------------------------------------------------------------------------------------------------------

void Session::on_tick(std::int64_t now_ms) {
    ticked_ms_ = now_ms;
    // Refused jobs are older than those that wait: they go first, in the order in which they were refused.
    const auto due = refused_.upper_bound(now_ms);
    for (auto job = due; job != refused_.begin();) waiting_.push_front(std::move((--job)->second));
    refused_.erase(refused_.begin(), due);
    // All have the same limit, so the front's passes first.
    for (; !waiting_.empty() && waiting_.front().deadline_ms <= now_ms; waiting_.pop_front())
        fail(waiting_.front().ticket, Code::timeout,
             "the job could not be sent within " + std::to_string(options_.submit_limit_ms) + " ms and was not made");
    for (; !refused_asks_.empty() && refused_asks_.begin()->first <= now_ms; refused_asks_.erase(refused_asks_.begin()))
        if (asks_.contains(refused_asks_.begin()->second)) unsent_.insert(refused_asks_.begin()->second);
    while (!deadlines_.empty() && deadlines_.begin()->first <= now_ms) time_out(deadlines_.begin()->second);
    if (now_ms >= submits_held_until_ms_) submits_held_until_ms_ = 0;
    if (now_ms - heard_ms_ >= lost_after_ms_ && !ended_) {
        on_disconnected();
        wants_reopen_ = true;
        heard_ms_ = now_ms;
    }
}

std::int64_t Session::next_deadline_ms() const {
    std::int64_t next = kNever;
    if (!waiting_.empty()) next = std::min(next, waiting_.front().deadline_ms);
    if (!refused_.empty()) next = std::min(next, refused_.begin()->first);
    if (!refused_asks_.empty()) next = std::min(next, refused_asks_.begin()->first);
    if (!deadlines_.empty()) next = std::min(next, deadlines_.begin()->first);
    if (!ended_) next = std::min(next, heard_ms_ + lost_after_ms_);
    if (submits_held_until_ms_ != 0) next = std::min(next, submits_held_until_ms_);
    if (link_ == Link::hello_due) next = std::min(next, hello_at_ms_);
    if (link_ == Link::welcomed) next = std::min(next, sent_ms_ + heartbeat_ms_);
    if (gathers(ticked_ms_)) next = std::min(next, submit_sent_ms_ + kGatherMs);
    return next;
}

// --- what comes out --------------------------------------------------------------------------------------------------

bool Session::next_message(OutgoingMessage& out, std::int64_t now_ms) {
    out.payload.clear();
    out.envelope.session = session_;
    out.envelope.request = {};
    if (link_ == Link::hello_due && now_ms >= hello_at_ms_) {
        Hello hello;
        hello.minor = protocol_minor();
        hello.role = Role::submitter;
        hello.instance = instance_;
        hello.software = options_.software;
        hello.store = store_;
        hello.resumed = welcomed_before_;
        hello.confirmed = confirmed_;
        hello.grant = options_.result_grant;
        hello_request_ = {++last_request_};
        out.envelope.session = {};
        out.envelope.request = hello_request_;
        out.envelope.message = std::move(hello);
        link_ = Link::hello_sent;
    } else if (link_ != Link::welcomed) {
        return false;
    } else if (goodbye_due_) {
        out.envelope.message = Goodbye{GoodbyeReason::leaving, confirmed_};
        on_disconnected();
    } else if (received_ + options_.result_grant >= granted_ + options_.result_grant / 2) {
        granted_ = received_ + options_.result_grant;
        out.envelope.message = Grant{granted_};
    } else if (!next_ask(out) && !next_submit(out, now_ms)) {
        if (now_ms - sent_ms_ < heartbeat_ms_) return false;
        out.envelope.message = Heartbeat{};
    }
    sent_ms_ = now_ms;
    return true;
}

RequestId Session::new_request(Request request) {
    const RequestId id{++last_request_};
    if (request.submits > 0) ++submits_under_way_;
    requests_.emplace(id, std::move(request));
    return id;
}

bool Session::gathers(std::int64_t now_ms) const {
    if (submits_under_way_ == 0 || now_ms >= submit_sent_ms_ + kGatherMs || waiting_.size() >= kGatheredJobs)
        return false;
    std::size_t bytes = 0;
    for (const Job& job : waiting_) bytes += job.payload_bytes();
    return bytes < kGatheredBytes;
}

/// One run of numbers: first those that were sent before and not answered, then jobs that get their numbers now.
bool Session::next_submit(OutgoingMessage& out, std::int64_t now_ms) {
    if (submits_held_until_ms_ != 0) return false;
    while (to_send_ <= last_number() && numbered(to_send_).state != Job::State::unsent) ++to_send_;
    Submit submit;
    submit.confirmed = confirmed_;
    submit.first_number = to_send_;
    std::vector<std::string_view>& items = submit.encoded;
    items.reserve(std::min(kMaxItems, window_.size() + waiting_.size()));
    std::size_t header_bytes = kHeaderPrefixBytes;
    std::size_t bytes = 0;
    bool ends = false;  // what is there goes alone
    std::shared_ptr<const SubmitArray> array;
    for (; items.size() < kMaxItems; ++to_send_) {
        const bool is_new = to_send_ > last_number();
        if (is_new && (waiting_.empty() || window_.size() >= std::min(window_size_, in_flight_))) break;
        if (is_new && items.empty() && gathers(now_ms)) break;
        const Job& next = is_new ? waiting_.front() : numbered(to_send_);
        if (next.state != Job::State::unsent) break;
        header_bytes += next.item_bytes;
        bytes += next.payload_bytes();
        // Not with a key: such a message waits for rows, and only some may wait at a time.
        const bool is_large = next.payload_bytes() >= kLargePayloadBytes && !next.has_key;
        const bool full = header_bytes > kMaxHeaderBytes || header_bytes + bytes > kCutListBytes;
        const bool goes_alone = is_large || next.array != nullptr;
        if ((full || goes_alone || ends) && !items.empty()) break;
        ends = goes_alone;
        if (is_new) {
            window_.push_back(std::move(waiting_.front()));
            waiting_.pop_front();
        }
        Job& job = numbered(to_send_);
        job.state = Job::State::sent;
        array = job.array;
        items.push_back(job.item());
        out.payload.push_back(job.payload());
    }
    if (items.empty()) return false;
    out.envelope.request = new_request({submit.first_number, items.size(), {}});
    submit_sent_ms_ = now_ms;
    if (array != nullptr) {
        SubmitArray& message = out.envelope.message.emplace<SubmitArray>(*array);
        message.confirmed = submit.confirmed;
        message.first_number = submit.first_number;
        message.encoded = std::move(items);
    } else {
        out.envelope.message = std::move(submit);
    }
    return true;
}

bool Session::next_ask(OutgoingMessage& out) {
    if (unsent_.empty()) return false;
    const AskKey key = *unsent_.begin();
    const Asked& asked = asks_.at(key);
    if (const auto* about = std::get_if<JobQuestion>(&asked.question)) return next_job_question(out, about->verb);
    unsent_.erase(unsent_.begin());
    out.envelope.request = new_request({0, 0, {key}});
    out.envelope.message = message_of(asked.question);
    if (const auto* whole = std::get_if<MessageQuestion>(&asked.question); whole != nullptr && !whole->payload.empty())
        out.payload.push_back({whole->payload, whole->owner});
    return true;
}

/// As many as came with the same verb one after the other.
bool Session::next_job_question(OutgoingMessage& out, JobVerb verb) {
    // A job can be shown with a thousand attempts, so that two of them may not fit an answer.
    const std::size_t most = verb == JobVerb::show ? 1 : kMaxItems;
    std::vector<JobId> jobs;
    Request request;
    while (!unsent_.empty() && jobs.size() < most) {
        const AskKey key = *unsent_.begin();
        const auto* about = std::get_if<JobQuestion>(&asks_.at(key).question);
        if (about == nullptr || about->verb != verb) break;
        jobs.push_back(about->job);
        request.asks.push_back(key);
        unsent_.erase(unsent_.begin());
    }
    out.envelope.request = new_request(std::move(request));
    switch (verb) {
        case JobVerb::watch: out.envelope.message = Watch{std::move(jobs)}; break;
        case JobVerb::cancel: out.envelope.message = Cancel{std::move(jobs)}; break;
        case JobVerb::redrive: out.envelope.message = Redrive{std::move(jobs)}; break;
        case JobVerb::show: out.envelope.message = Show{std::move(jobs)}; break;
    }
    return true;
}

}  // namespace jobyard::client
