#include "client.hpp"

#include <algorithm>
#include <utility>

namespace jobyard::sim {
namespace {

constexpr std::int64_t kLongestReconnectUs = 5 * kSecond;
constexpr std::int64_t kAskLimitMs = 30'000;
constexpr std::uint64_t kResultOverhead = 64;
constexpr std::uint64_t kKeys = 12;

client::Session::Options options(const Plan& plan, Random& random) {
    client::Session::Options made;
    made.new_instance = [&random] { return random.uuid(); };
    made.software = "simulated";
    made.submit_limit_ms = 30'000;
    if (plan.result_grant != 0) made.result_grant = static_cast<std::uint64_t>(plan.result_grant);
    return made;
}

}  // namespace

Client::Life::Life(Client& client)
    : link(client.network_, client, kLongestReconnectUs),
      loop(client.process, [&client] { client.turn(); }),
      session(options(client.plan_, client.random_), client.now_ms()) {}

Client::Client(World& world, Network& network, Model& model, const Plan& plan, std::string name)
    : End(world, std::move(name)),
      network_(network),
      model_(model),
      plan_(plan),
      random_(world.random().fork()),
      operator_(*this, model, plan, random_) {}

void Client::start() {
    process.tell("starts");
    life_ = std::make_unique<Life>(*this);
    life_->loop.wake_at(process.world().now());
    act_later();
    if (is_caretaker_) take_care();
}

void Client::be_calm(bool is_caretaker) {
    calm_ = true;
    is_caretaker_ = is_caretaker;
    if (is_caretaker_ && life_ != nullptr) take_care();
}

/// Again and again, because it is not known what still is under way.
void Client::take_care() {
    operator_.let_go();
    life_->loop.wake_at(process.world().now());
    process.after(3 * kSecond, [this] { take_care(); });
}

void Client::crash() {
    process.tell("crashes, waiting for ", life_->calls.size(), " answers");
    end_process();
}

void Client::close() {
    process.tell("closes, waiting for ", life_->calls.size(), " answers");
    life_->session.close();
    turn();
    if (!life_->calls.empty())
        throw Broken{"P4 what went in comes out", process.name() + " has closed and waits for " + pending_text()};
    end_process();
}

void Client::end_process() {
    for (const auto& [ticket, call] : life_->calls)
        if (const auto* asked = std::get_if<Asked>(&call)) model_.gives_up(asked->number, asked->question);
    operator_.forget();
    process.die();
    life_.reset();
    process.after(random_.any_size(10 * kMs, 5 * kSecond), [this] { start(); });
}

void Client::on_opened(ConnectionId connection) {
    if (life_ == nullptr) return;
    life_->link.opened(connection);
    life_->loop.wake_at(process.world().now() + random_.between(0, 300));
}

void Client::on_frames(ConnectionId, Frames frames) {
    if (life_ == nullptr) return;
    life_->link.arrived(std::move(frames));
    life_->loop.wake_at(process.world().now() + random_.between(0, 300));
}

void Client::on_closed(ConnectionId connection) {
    if (life_ == nullptr) return;
    life_->link.closed(connection);
    life_->loop.wake_at(process.world().now() + random_.between(0, 300));
}

// --- a turn ----------------------------------------------------------------------------------------------------------

void Client::turn() {
    client::Session& session = life_->session;
    for (bool connected = false; life_->link.next_event(connected);) {
        if (connected) session.on_connected(now_ms());
        else session.on_disconnected();
    }
    for (Frames frames; life_->link.next_message(frames);) {
        const Envelope envelope = decode_or_die(frames);
        note_received(envelope.message);
        session.on_message(envelope, frames.payload, now_ms());
        take_completions();
    }
    session.on_tick(now_ms());
    take_completions();
    for (client::OutgoingMessage message; session.next_message(message, now_ms());) {
        note_sent(message.envelope.message);
        if (life_->link.send(message.envelope, message.payload)) continue;
        session.on_disconnected();
        life_->link.reopen();
    }
    if (session.wants_reopen()) life_->link.reopen();
    if (session.ended() && session.ended()->code != Code::closed)
        throw Broken{"P9 a good client is not refused", process.name() + ": " + session.ended()->text};
    if (session.next_deadline_ms() != client::kNever)
        life_->loop.wake_at(std::max(session.next_deadline_ms(), now_ms() + 1) * kMs);
}

// --- what it wants ---------------------------------------------------------------------------------------------------

void Client::act_later() {
    const std::int64_t mean = plan_.fault_seconds * kSecond * plan_.clients * 5 / std::max<std::int64_t>(plan_.jobs, 5);
    process.after(random_.between(1, 2 * mean), [this] {
        if (calm_) return;
        act();
        act_later();
        life_->loop.wake_at(process.world().now());
    });
}

void Client::act() {
    operator_.act();
    const auto most = static_cast<std::uint64_t>(plan_.jobs);
    for (std::uint64_t jobs = random_.below(10); jobs > 0 && model_.jobs_wished() < most; --jobs) submit();
}

void Client::submit() {
    Wish& wish = new_wish();
    SubmitItem item = wish.item;
    item.watch = random_.percent(plan_.watched);
    const client::Ticket ticket = ++life_->last_ticket;
    life_->calls[ticket] = Submitting{&wish, item.watch, {}};
    process.tell("submits ", wish.name);
    life_->session.submit(ticket, item, wish.payload, now_ms(), wish.array);
}

Wish& Client::new_wish() {
    const std::string queue(kQueues.at(random_.below(static_cast<std::uint64_t>(plan_.queues))));
    const bool keyed = random_.percent(plan_.keyed);
    const std::string key = keyed ? "key-" + std::to_string(random_.below(kKeys)) : std::string{};
    const bool in_array = plan_.arrays > 0 && random_.percent(plan_.arrays);
    const std::string name = keyed ? queue + "/" + key +
                                         (in_array              ? "/array"
                                          : random_.percent(90) ? "/usual"
                                                                : "/other")
                                   : "wish-" + std::to_string(model_.wishes());
    Wish& wish = model_.wish(name);
    if (!wish.payload.empty()) return wish;
    wish.queue = queue;
    wish.key = key;
    wish.type = kTypes.at(random_.percent(70) ? 0 : 1);
    if (in_array) wish.array = new_array();
    wish.payload = name + ";";
    std::int64_t size = random_.percent(plan_.large) ? random_.any_size(500, 20'000) : random_.any_size(1, 200);
    if (size > 10'000 && random_.percent(20)) size += kLargePayloadBytes;
    wish.payload.append(static_cast<std::size_t>(size), 'p');
    SubmitItem& item = wish.item;
    item.queue = wish.queue;
    item.type = wish.type;
    item.key = wish.key;
    item.priority = static_cast<std::uint8_t>(random_.between(1, plan_.priorities));
    const auto ms = [&](std::int64_t low, std::int64_t high) {
        return static_cast<std::uint32_t>(random_.any_size(low, high));
    };
    if (random_.percent(plan_.delayed)) item.delay_ms = ms(1, 20'000);
    if (random_.percent(plan_.short_keys)) item.key_ttl_ms = random_.percent(50) ? 0 : ms(1, 60'000);
    if (random_.percent(plan_.deadlines)) item.deadline_ms = ms(100, 60'000);
    if (random_.percent(plan_.queue_timeouts)) item.queue_timeout_ms = ms(100, 60'000);
    if (!in_array) item.held = random_.percent(plan_.held);
    if (random_.percent(plan_.wrong)) item.priority = kPriorityMax + 1;
    else if (random_.percent(plan_.wrong)) wish.payload.append(kMaxPayloadBytes, 'l');
    if (random_.percent(plan_.open_policy)) return wish;
    if (plan_.hanging > 0) item.timeout_ms = ms(500, 10'000);
    item.max_attempts = static_cast<std::uint32_t>(random_.between(1, 5));
    item.backoff.initial_ms = ms(10, 2'000);
    item.backoff.factor_percent = static_cast<std::uint32_t>(random_.between(100, 300));
    item.backoff.max_ms = 10'000;
    item.backoff.jitter_percent = static_cast<std::uint32_t>(random_.below(50));
    return wish;
}

std::shared_ptr<const SubmitArray> Client::new_array() {
    const auto most = static_cast<std::uint64_t>(plan_.jobs);
    const std::uint64_t wished = std::min(model_.jobs_wished(), most - 1);
    SubmitArray array;
    array.count = static_cast<std::uint64_t>(random_.any_size(1, static_cast<std::int64_t>(most - wished)));
    array.first = random_.below(3) * 1000;
    array.step = 1 + random_.below(2) * random_.below(5);
    if (random_.percent(40)) array.at_once = static_cast<std::uint32_t>(random_.any_size(1, 50));
    model_.wishes_array(array.count);
    return std::make_shared<const SubmitArray>(std::move(array));
}

void Client::ask(client::Question question) {
    const client::Ticket ticket = ++life_->last_ticket;
    const auto* about = std::get_if<client::JobQuestion>(&question);
    const bool watch = about != nullptr && about->verb == client::JobVerb::watch;
    life_->calls[ticket] = Asked{question, model_.asks(question)};
    life_->session.ask(ticket, std::move(question), watch ? client::kNever : now_ms() + kAskLimitMs);
}

// --- what it is told -------------------------------------------------------------------------------------------------

void Client::take_completions() {
    for (const client::Completion& completion : std::exchange(life_->session.completions(), {}))
        std::visit([this](const auto& done) { take(done); }, completion);
}

void Client::take(const client::Submitted& done) {
    Submitting& call = std::get<Submitting>(life_->calls.at(done.ticket));
    process.tell("is told that ", call.wish->name, " is ", done.job, done.code == Code::existing ? ", as before" : "");
    if (call.job) throw Broken{"P4 what went in comes out once", call.wish->name + " was answered twice"};
    model_.was_told(*call.wish, done.code, done.job, done.state);
    call.job = done.job;
    if (!call.watch) life_->calls.erase(done.ticket);
}

void Client::take(const client::Ended& done) {
    process.tell("is told that ", done.item.job, " is ", to_string(done.item.state));
    model_.ended(done.item, done.payload);
    life_->calls.erase(done.ticket);
}

void Client::take(const client::Answered& done) {
    const Asked asked = take_asked(done.ticket);
    process.tell("is answered ", to_string(done.code), " to ", text_of(asked.question));
    model_.answered(asked.number, asked.question, done);
}

void Client::take(const client::AnsweredAll& done) {
    const Asked asked = take_asked(done.ticket);
    for (const Answer& answer : done.items)
        process.tell("is answered ", to_string(answer.code), " to ", text_of(asked.question));
    model_.answered(asked.number, asked.question, done.items);
}

void Client::take(const client::Found& done) {
    Asked asked = take_asked(done.ticket);
    model_.found(asked.number, asked.question, done);
    if (auto* list = std::get_if<client::ListQuestion>(&asked.question); list != nullptr && done.next_cursor != 0) {
        list->cursor = done.next_cursor;
        ask(std::move(asked.question));
    }
    if (std::holds_alternative<client::EventsQuestion>(asked.question) && !calm_) operator_.follow_on(done);
}

void Client::take(const client::Failed& done) {
    const Code code = done.error.code;
    if (auto* submitting = std::get_if<Submitting>(&life_->calls.at(done.ticket))) {
        const Submitting call = *submitting;
        life_->calls.erase(done.ticket);
        process.tell("is refused ", call.wish->name, ": ", done.error.text);
        if (!call.job) return model_.was_refused(*call.wish, code);
        if (code != Code::closed) model_.result_is_missing(call.job, code);
        return;
    }
    const Asked asked = take_asked(done.ticket);
    process.tell("is refused ", text_of(asked.question), ": ", to_string(code), " (", done.error.text, ")");
    model_.gives_up(asked.number, asked.question);
    if (std::holds_alternative<client::EventsQuestion>(asked.question)) operator_.forget();
    const auto* about = std::get_if<client::JobQuestion>(&asked.question);
    if (about != nullptr && (code == Code::retired || code == Code::unknown_job) && !Operator::is_wrong(about->job))
        model_.result_is_missing(about->job, code);
}

Client::Asked Client::take_asked(client::Ticket ticket) {
    Asked asked = std::get<Asked>(life_->calls.at(ticket));
    life_->calls.erase(ticket);
    return asked;
}

// --- what is checked -------------------------------------------------------------------------------------------------

void Client::note_sent(const Message& message) {
    if (const auto* hello = std::get_if<Hello>(&message)) life_->granted = hello->grant;
    if (const auto* grant = std::get_if<Grant>(&message)) life_->granted = std::max(life_->granted, grant->total_bytes);
}

/// The broker pushes while what it has pushed does not exceed the grant: the last result may go beyond it.
void Client::note_received(const Message& message) {
    if (std::holds_alternative<Welcome>(message)) life_->pushed = 0;
    const auto* results = std::get_if<Results>(&message);
    if (results == nullptr) return;
    for (const ResultItem& item : results->items) {
        if (life_->pushed > life_->granted)
            throw Broken{"P8 results are pushed within the grant",
                         process.name() + " has been pushed " + std::to_string(life_->pushed) +
                             " bytes and more, and granted " + std::to_string(life_->granted)};
        life_->pushed += item.payload_length + kResultOverhead;
    }
}

std::string Client::pending_text() const {
    std::string list;
    for (const auto& [ticket, call] : life_->calls) {
        if (!list.empty()) list += ", ";
        if (const auto* submitting = std::get_if<Submitting>(&call))
            list += submitting->job ? "the end of job " + std::to_string(submitting->job.value)
                                    : "the answer to " + submitting->wish->name;
        else list += text_of(std::get<Asked>(call).question);
    }
    return list;
}

}  // namespace jobyard::sim
