#include "network.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/random.h>

#include <algorithm>
#include <bitset>
#include <utility>

#include "jobyard/assert.hpp"
#include "jobyard/codec.hpp"
#include "peer/endpoint.hpp"

namespace jobyard::client {
namespace {

/// Messages read before others get their turn.
constexpr int kMessagesPerTurn = 256;
constexpr int kReconnectMaxMs = 5'000;
constexpr std::size_t kSmallBytes = kGatheredBytes / kGatheredJobs;
constexpr int kSocketLingerMs = 1'000;
/// More is given back once it was used.
constexpr std::size_t kKeptParcelBytes = std::size_t{1} << 20;

Uuid random_uuid() {
    Uuid id;
    JOBYARD_ASSERT(getrandom(id.bytes.data(), id.bytes.size(), 0) == static_cast<ssize_t>(id.bytes.size()));
    return id;
}

Session::Options session_options(const Client::Options& options) {
    Session::Options session;
    session.new_instance = random_uuid;
    session.software = "jobyard-cpp/" JOBYARD_VERSION;
    session.submit_limit_ms = std::min(options.submit_limit, std::chrono::milliseconds(std::chrono::years(10))).count();
    session.retry_refused = options.retry_refused;
    return session;
}

SubmitItem item_of(const JobSpec& spec) {
    SubmitItem item;
    item.payload_length = static_cast<std::uint32_t>(spec.payload.size());
    item.queue = spec.queue;
    item.type = spec.type;
    item.priority = spec.priority;
    item.watch = spec.watch;
    item.delay_ms = spec.delay_ms;
    item.timeout_ms = spec.timeout_ms;
    item.max_attempts = spec.max_attempts;
    item.key = spec.key;
    item.backoff = spec.backoff;
    item.run_at = spec.run_at;
    item.deadline_ms = spec.deadline_ms;
    item.queue_timeout_ms = spec.queue_timeout_ms;
    item.held = spec.held;
    item.key_ttl_ms = spec.key_ttl_ms;
    return item;
}

std::shared_ptr<const SubmitArray> array_of(const ArrayRange& range) {
    struct Named {
        std::string name;
        SubmitArray array;
    };
    auto named = std::make_shared<Named>(Named{range.name, {}});
    named->array = {0, 0, {}, range.count, range.first, range.step, range.at_once, named->name};
    return {named, &named->array};
}

template <class... Fs>
struct Overloaded : Fs... {
    using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

}  // namespace

Network::Network(const Client::Options& options)
    : room_(std::make_shared<Room>()),
      max_pending_(options.max_pending),
      max_pending_bytes_(options.max_pending_bytes),
      max_payload_(kMaxPayloadBytes),
      session_(session_options(options), steady_ms()) {
    room_->endpoint = client_endpoint(options.broker);
    if (Result<void> checked = check_endpoint(room_->endpoint); !checked) {
        refusal_ = checked.error();
    } else if (auto keys = keys_for(room_->endpoint, options.server_key, options.key_file); !keys) {
        refusal_ = keys.error();
    } else if (auto socket = PeerSocket::open({room_->endpoint, kReconnectMaxMs, kSocketLingerMs, *std::move(keys)});
               !socket) {
        refusal_ = socket.error();
    } else {
        socket_ = *std::move(socket);
        turns_ = room_->turns = std::make_shared<Turns>(*socket_, [this] { return turn(); });
        // The program's signals are for its own threads.
        sigset_t all;
        sigset_t before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        thread_ = std::thread([this] { run(); });
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    if (refusal_) room_->ended = refusal_;
}

Network::~Network() { JOBYARD_ASSERT(!thread_.joinable()); }

// --- callers' threads ------------------------------------------------------------------------------------------------

void Network::Parcel::add(JobSpec& spec, const std::shared_ptr<Watched>& job) {
    auto& posting = std::get<Posting>(calls.emplace_back(std::in_place_type<Posting>));
    posting.job = job;
    const std::size_t begin = bytes.size();
    posting.item = encode_item(item_of(spec), bytes);
    posting.item_bytes = static_cast<std::uint32_t>(bytes.size() - begin);
    posting.payload_bytes = static_cast<std::uint32_t>(spec.payload.size());
    if (spec.array.count != 0) posting.array = array_of(spec.array);
    if (posting.payload_bytes < kLargePayloadBytes) bytes.append(spec.payload);
    else posting.large = std::make_shared<const std::string>(std::move(spec.payload));
}

void Network::Parcel::clear() {
    calls.clear();
    bytes.clear();
    if (bytes.capacity() > kKeptParcelBytes) bytes = {};
}

std::size_t Network::submit(std::span<JobSpec> specs, std::span<const std::shared_ptr<Watched>> jobs,
                            std::chrono::milliseconds limit) {
    thread_local Parcel parcel;  // what is written before the lock is taken
    Handover handover{limit};
    std::size_t taken = 0;
    for (bool full = false; taken < jobs.size() && !full;) {
        parcel.clear();
        std::size_t end = taken;
        for (; end < jobs.size() && parcel.calls.size() < kGatheredJobs && parcel.bytes.size() < kGatheredBytes; ++end)
            if (jobs[end]->stage == Stage::open) parcel.add(specs[end], jobs[end]);
        std::string_view bytes = parcel.bytes;
        std::unique_lock lock(mutex_);
        for (Posted& call : parcel.calls) {
            auto& posting = std::get<Posting>(call);
            full = !wait_for_room(lock, handover);
            if (full) {
                end = static_cast<std::size_t>(std::find(jobs.begin(), jobs.end(), posting.job) - jobs.begin());
                break;
            }
            const std::size_t size = posting.item_bytes + (posting.large ? 0 : posting.payload_bytes);
            post(std::move(posting), bytes.substr(0, size), handover);
            bytes.remove_prefix(size);
        }
        taken = end;
        handover.alone = pending_ == handover.posted;
    }
    parcel.clear();  // what was not taken must not live on in it
    // While others are unanswered it is better to let some come together.
    if (handover.wake) handover.alone ? turns_->take() : turns_->wake();
    return taken;
}

/// False: there is none within the limit, or nothing is taken any more.
bool Network::wait_for_room(std::unique_lock<std::mutex>& lock, Handover& handover) {
    if (!has_room() && !refusal_) {
        if (std::exchange(handover.wake, false)) turns_->wake();
        if (!handover.deadline) handover.deadline = deadline_after(handover.limit);
        ++waiting_for_room_;
        room_came_.wait_until(lock, *handover.deadline, [this] { return has_room() || refusal_; });
        --waiting_for_room_;
    }
    return has_room() && !refusal_;
}

void Network::post(Posting&& posting, std::string_view bytes, Handover& handover) {
    const bool joins = gathering_ && posted_.calls.size() + 1 < kGatheredJobs && posting.payload_bytes < kSmallBytes;
    handover.wake = handover.wake || (gathering_ ? !joins : posted_.calls.empty());
    ++handover.posted;
    ++pending_;
    pending_bytes_ += posting.payload_bytes;
    posted_.bytes.append(bytes);
    posted_.calls.emplace_back(std::move(posting));
}

void Network::refuse(std::span<const std::shared_ptr<Watched>> jobs, Error why) {
    {
        const std::lock_guard lock(mutex_);
        if (refusal_) why = *refusal_;
    }
    for (const std::shared_ptr<Watched>& job : jobs) {
        if (job->stage != Stage::open) continue;
        job->failure = std::make_unique<Error>(why);
        job->stage = Stage::done;  // nobody else has seen it
    }
}

void Network::watch(std::span<const std::shared_ptr<Watched>> jobs, Deadline deadline) {
    std::vector<Posted> calls;
    calls.reserve(jobs.size());
    for (const std::shared_ptr<Watched>& job : jobs) calls.emplace_back(Watching{job, deadline});
    if (post(std::move(calls))) return;
    for (const std::shared_ptr<Watched>& job : jobs) {
        job->failure = std::make_unique<Error>(*refusal_);
        job->stage = Stage::done;
    }
}

void Network::ask(std::span<const std::shared_ptr<Asked>> calls) {
    if (post({calls.begin(), calls.end()})) return;
    for (const std::shared_ptr<Asked>& call : calls) {
        call->error = refusal_;
        call->stage = Stage::done;
    }
}

bool Network::post(std::vector<Posted> calls) {
    bool is_first = false;
    {
        const std::lock_guard lock(mutex_);
        if (refusal_) return false;
        is_first = posted_.calls.empty() || gathering_;
        std::move(calls.begin(), calls.end(), std::back_inserter(posted_.calls));
    }
    if (is_first) turns_->take();  // else whoever posted before does, and has not come to it yet
    return true;
}

std::size_t Network::pending() {
    const std::lock_guard lock(mutex_);
    return pending_;
}

bool Network::close(Deadline deadline) {
    const std::lock_guard one_at_a_time(closing_);
    if (!thread_.joinable()) return true;
    std::unique_lock lock(mutex_);
    ++waiting_for_room_;
    const bool answered = room_came_.wait_until(lock, deadline, [this] { return pending_ == 0; });
    --waiting_for_room_;
    refusal_ = Error{Code::closed, "this client was closed; make another one", 0};
    stopping_ = true;
    turns_->wake();
    room_came_.notify_all();
    lock.unlock();
    thread_.join();
    return answered;
}

// --- turns -----------------------------------------------------------------------------------------------------------

void Network::run() {
    ::pthread_setname_np(::pthread_self(), "jobyard-client");
    turns_->run();
    socket_->close();
}

Turns::After Network::turn() {
    const bool stopping = take_posted();
    bool woke = false;
    const bool drained = receive(woke);
    session_.on_tick(steady_ms());
    if (stopping) session_.close();
    woke = finish(session_.completions()) || woke;
    send();
    if (session_.wants_reopen()) socket_->reopen();
    publish_link();
    const std::lock_guard lock(mutex_);
    gathering_ = session_.gathers(steady_ms());
    const bool gathered = !gathering_ && !posted_.calls.empty();
    // Who has just had his answer is likely to come back for the next; and nobody else wants one.
    const std::size_t open_calls = tickets_.size() - free_tickets_.size();
    const bool alone = open_calls <= 1 && room_->awaited == 0 && waiting_for_room_ == 0;
    return {stopping, !drained || gathered, woke && alone, session_.next_deadline_ms()};
}

/// True if this is the last turn.
bool Network::take_posted() {
    bool stopping = false;
    {
        const std::lock_guard lock(mutex_);
        std::swap(taken_, posted_);
        gathering_ = false;
        stopping = stopping_;
    }
    const std::int64_t now = steady_ms();
    std::string_view bytes = taken_.bytes;
    const auto next_bytes = [&](std::size_t size) {
        const std::string_view next = bytes.substr(0, size);
        bytes.remove_prefix(size);
        return next;
    };
    for (Posted& posted : taken_.calls) {
        std::visit(Overloaded{
                       [&](Posting& job) {
                           job.item.bytes = next_bytes(job.item_bytes);
                           const KeptBytes payload =
                               job.large ? KeptBytes(*job.large, job.large) : KeptBytes(next_bytes(job.payload_bytes));
                           const Ticket ticket = take_ticket({std::move(job.job), job.payload_bytes});
                           session_.submit(ticket, job.item, payload, now, std::move(job.array));
                       },
                       [&](Watching& watch) {
                           const JobId job = watch.job->job();
                           session_.ask(take_ticket({std::move(watch.job)}), JobQuestion{JobVerb::watch, job},
                                        to_ms(watch.deadline));
                       },
                       [&](std::shared_ptr<Asked>& call) {
                           session_.ask(take_ticket({call}), call->question, to_ms(call->deadline));
                       },
                   },
                   posted);
    }
    taken_.clear();
    return stopping;
}

Ticket Network::take_ticket(Open call) {
    if (free_tickets_.empty()) {
        free_tickets_.push_back(tickets_.size());
        tickets_.emplace_back();
    }
    const Ticket ticket = free_tickets_.back();
    free_tickets_.pop_back();
    tickets_[ticket] = std::move(call);
    return ticket;
}

/// False if more may be there. `woke`: somebody who waited.
bool Network::receive(bool& woke) {
    for (Connection event{}; socket_->next_event(event);) {
        switch (event) {
            case Connection::connected: session_.on_connected(steady_ms()); break;
            case Connection::disconnected: session_.on_disconnected(); break;
            case Connection::refused: session_.end(socket_->trouble()); break;
            case Connection::troubled: {
                const std::lock_guard lock(room_->mutex);
                room_->trouble = socket_->trouble();
                room_->link_changed.notify_all();
            }
        }
    }
    for (int i = 0; i < kMessagesPerTurn; ++i) {
        PeerSocket::Frames frames;
        if (!socket_->receive(frames)) return true;
        const auto decoded = decode_header(frames.header, frames.payload.size());
        // What cannot be read comes from a broker of another version; there is nobody to tell but its operator, who
        // sees what this side does not answer.
        const auto* envelope = std::get_if<Envelope>(&decoded);
        if (envelope == nullptr) continue;
        session_.on_message(*envelope, frames.payload, steady_ms());
        woke = finish(session_.completions()) || woke;
    }
    return false;
}

void Network::send() {
    while (session_.next_message(outgoing_, steady_ms())) {
        header_.clear();
        encode_header(outgoing_.envelope, header_);
        const bool sent = socket_->send(header_, outgoing_.payload);
        outgoing_.payload.clear();
        if (sent) continue;
        // The connection has just gone, or its queue is full of what the broker does not read: a new one in both cases.
        session_.on_disconnected();
        socket_->reopen();
    }
}

/// Tells the callers. One lock for all that came with a message; only who waits is woken. True if somebody did.
bool Network::finish(std::vector<Completion>& completions) {
    if (completions.empty()) return false;
    std::bitset<std::tuple_size_v<decltype(Room::doors)>> doors;
    std::size_t answered = 0;
    std::size_t answered_bytes = 0;
    const auto move_to = [&](Call& call, Stage stage) {
        call.stage.store(stage, std::memory_order_release);
        if (call.awaited == Stage::open || stage < call.awaited) return;
        call.awaited = Stage::open;
        --room_->awaited;
        doors.set(room_->door_of(call));
    };
    const auto free_ticket = [&](Ticket ticket) {
        tickets_[ticket] = {};
        free_tickets_.push_back(ticket);
    };
    const auto answered_submit = [&](Ticket ticket) {
        ++answered;
        answered_bytes += tickets_[ticket].payload_bytes;
    };
    const auto job_of = [&](Ticket ticket) -> Watched& {
        return *std::get<std::shared_ptr<Watched>>(tickets_[ticket].call);
    };
    const auto question_of = [&](Ticket ticket) -> Asked& {
        return *std::get<std::shared_ptr<Asked>>(tickets_[ticket].call);
    };
    std::unique_lock lock(room_->mutex);
    for (Completion& completion : completions) {
        std::visit(
            Overloaded{
                [&](const Submitted& submitted) {
                    Watched& job = job_of(submitted.ticket);
                    job.result.job = submitted.job;
                    job.code = submitted.code;
                    answered_submit(submitted.ticket);
                    move_to(job, job.watch ? Stage::known : Stage::done);
                    if (!job.watch) free_ticket(submitted.ticket);
                },
                [&](const Ended& ended) {
                    Watched& job = job_of(ended.ticket);
                    const ResultItem& item = ended.item;
                    job.result.state = item.state;
                    job.result.reason = item.reason;
                    job.result.attempt = item.attempt;
                    if (!item.error.empty()) job.result.error = item.error;
                    if (!ended.payload.empty()) job.result.bytes = ended.payload;
                    move_to(job, Stage::done);
                    free_ticket(ended.ticket);
                },
                [&](const Answered& answer) {
                    Asked& call = question_of(answer.ticket);
                    call.answer = {answer.code, answer.state};
                    call.count = answer.count;
                    move_to(call, Stage::done);
                    free_ticket(answer.ticket);
                },
                [&](const AnsweredAll& all) {
                    Asked& call = question_of(all.ticket);
                    for (const Answer& item : all.items)
                        call.items.push_back({item.code, item.job, item.state, text_of(item), item.retry_after_ms});
                    move_to(call, Stage::done);
                    free_ticket(all.ticket);
                },
                [&](const Found& found) {
                    Asked& call = question_of(found.ticket);
                    call.maps.assign(found.maps.begin(), found.maps.end());
                    call.next_cursor = found.next_cursor;
                    call.next = found.next;
                    call.gone = found.gone;
                    call.more = found.more;
                    move_to(call, Stage::done);
                    free_ticket(found.ticket);
                },
                [&](Failed& failure) {
                    if (failure.error.code == Code::timeout) failure.error.text += room_->why_silent();
                    std::visit(Overloaded{
                                   [&](const std::shared_ptr<Watched>& job) {
                                       if (job->stage == Stage::open) answered_submit(failure.ticket);
                                       job->failure = std::make_unique<Error>(failure.error);
                                       move_to(*job, Stage::done);
                                   },
                                   [&](const std::shared_ptr<Asked>& call) {
                                       call->error = failure.error;
                                       move_to(*call, Stage::done);
                                   },
                               },
                               tickets_[failure.ticket].call);
                    free_ticket(failure.ticket);
                },
            },
            completion);
    }
    lock.unlock();
    completions.clear();
    for (std::size_t i = 0; i < doors.size(); ++i)
        if (doors[i]) room_->doors[i].notify_all();
    if (answered == 0) return doors.any();
    const std::lock_guard pending_lock(mutex_);
    pending_ -= answered;
    pending_bytes_ -= answered_bytes;
    // Not at each answer: who waits for room gets a quarter of it at once, and then works for a while.
    const bool much_room = pending_ <= max_pending_ / 4 * 3 && pending_bytes_ <= max_pending_bytes_ / 4 * 3;
    if (waiting_for_room_ > 0 && much_room) room_came_.notify_all();
    return doors.any();
}

void Network::publish_link() {
    max_payload_.store(session_.max_payload(), std::memory_order_relaxed);
    const bool is_put_off = session_.put_off().has_value();
    if (session_.is_welcomed() == was_welcomed_ && is_put_off == was_put_off_ && !session_.ended()) return;
    was_welcomed_ = session_.is_welcomed();
    was_put_off_ = is_put_off;
    const std::lock_guard lock(room_->mutex);
    room_->welcomed = was_welcomed_;
    if (was_welcomed_) room_->trouble.reset();
    else if (is_put_off) room_->trouble = session_.put_off();
    room_->ended = session_.ended();
    room_->link_changed.notify_all();
}

}  // namespace jobyard::client
