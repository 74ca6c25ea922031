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
    made.result_grant = plan.result_grant;
    return made;
}

}  // namespace

Client::Life::Life(Client& client)
    : link(client.network_, client, kLongestReconnectUs),
      loop(client.process, [&client] { client.turn(); }),
      session(options(client.plan_, client.random_), client.now_ms()) {}

Client::Client(World& world, Network& network, Model& model, const Plan& plan, std::string name)
    : End(world, std::move(name)), network_(network), model_(model), plan_(plan), random_(world.random().fork()) {}

void Client::start() {
    process.tell("starts");
    life_ = std::make_unique<Life>(*this);
    life_->loop.wake_at(process.world().now());
    act_later();
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
    const std::int64_t mean = plan_.fault_seconds * kSecond * plan_.clients * 5 / static_cast<std::int64_t>(plan_.jobs);
    process.after(random_.between(1, 2 * mean), [this] {
        if (calm_) return;
        act();
        act_later();
        life_->loop.wake_at(process.world().now());
    });
}

void Client::act() {
    const auto any_or = [&](Model::Which which) {
        return model_.any_told(random_.percent(80) ? which : Model::Which::any, random_);
    };
    if (random_.percent(plan_.cancels))
        if (const JobId job = any_or(Model::Which::live)) {
            model_.asks_cancel(job);
            ask(client::JobQuestion{client::JobVerb::cancel, job});
        }
    if (random_.percent(plan_.redrives))
        if (const JobId job = any_or(Model::Which::dead)) {
            model_.asks_redrive(job);
            ask(client::JobQuestion{client::JobVerb::redrive, job});
        }
    if (plan_.arrays > 0 && random_.percent(plan_.arrays)) steer_array();
    if (random_.percent(plan_.looks)) {
        for (const client::JobVerb verb : {client::JobVerb::show, client::JobVerb::watch})
            if (const JobId job = any_or(Model::Which::live)) ask(client::JobQuestion{verb, job});
        const JobState state = random_.percent(50) ? JobState::none : JobState::dead;
        ask(client::ListQuestion{state, {}, {}, 0, 1 + static_cast<std::uint32_t>(random_.below(50))});
        ask(client::StatsQuestion{});
    }
    for (std::uint64_t jobs = random_.below(10); jobs > 0 && model_.jobs_wished() < plan_.jobs; --jobs) submit();
}

void Client::steer_array() {
    const JobId array = model_.any_array(random_);
    const auto steer = [&](ArrayAction action, bool cancelled = false) {
        process.tell("asks with action ", static_cast<std::uint32_t>(action), " for array ", array.value);
        ask(client::MessageQuestion{SteerArray{array, action, cancelled}, nullptr});
    };
    const auto task = [&](TaskAction action, JobId job) {
        process.tell("asks for a task to ", action == TaskAction::purge ? "purge " : "redrive ", job);
        StartTask start;
        start.action = action;
        start.jobs = {job};
        ask(client::MessageQuestion{start, nullptr});
    };
    if (!array) return;
    const std::uint64_t draw = random_.below(100);
    if (draw < 40) return steer(ArrayAction::resubmit, random_.percent(50));
    if (draw < 50) return ask(client::JobQuestion{client::JobVerb::watch, array});
    if (draw < 60) return ask(client::MessageQuestion{ListArrays{{}, 10, {}}, nullptr});
    if (draw < 65) {
        model_.asks_stop(array);
        return steer(ArrayAction::stop);
    }
    if (draw < 70) {
        model_.asks_cancel(array);
        return ask(client::JobQuestion{client::JobVerb::cancel, array});
    }
    const JobId job = model_.any_told(Model::Which::dead, random_);
    if (!job) return;
    const bool redrives = plan_.redrives > 0 && draw < 85;
    if (redrives) model_.asks_redrive(job);
    else model_.asks_purge(job);
    task(redrives ? TaskAction::redrive : TaskAction::purge, job);
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
    const std::string queue = "queue-" + std::to_string(random_.below(static_cast<std::uint64_t>(plan_.queues)));
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
    wish.type = random_.percent(70) ? "steady" : "other";
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
    if (random_.percent(plan_.delayed)) item.delay_ms = static_cast<std::uint64_t>(random_.any_size(1, 20'000));
    if (plan_.hanging > 0) item.timeout_ms = static_cast<std::uint32_t>(random_.any_size(500, 10'000));
    item.max_attempts = static_cast<std::uint32_t>(random_.between(1, 5));
    item.backoff.initial_ms = static_cast<std::uint32_t>(random_.any_size(10, 2'000));
    item.backoff.factor_percent = static_cast<std::uint32_t>(random_.between(100, 300));
    item.backoff.max_ms = 10'000;
    item.backoff.jitter_percent = static_cast<std::uint32_t>(random_.below(50));
    return wish;
}

std::shared_ptr<const SubmitArray> Client::new_array() {
    const std::uint64_t wished = std::min(model_.jobs_wished(), plan_.jobs - 1);
    SubmitArray array;
    array.count = static_cast<std::uint64_t>(random_.any_size(1, static_cast<std::int64_t>(plan_.jobs - wished)));
    array.first = random_.below(3) * 1000;
    array.step = 1 + random_.below(2) * random_.below(5);
    if (random_.percent(40)) array.at_once = static_cast<std::uint32_t>(random_.any_size(1, 50));
    model_.wishes_array(array.count);
    return std::make_shared<const SubmitArray>(std::move(array));
}

void Client::ask(client::Question question) {
    const client::Ticket ticket = ++life_->last_ticket;
    const auto* about = std::get_if<client::JobQuestion>(&question);
    if (about != nullptr) process.tell("asks with verb ", static_cast<std::uint32_t>(about->verb), " for ", about->job);
    const bool watch = about != nullptr && about->verb == client::JobVerb::watch;
    life_->calls[ticket] = question;
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
    const auto asked = std::get<client::JobQuestion>(std::get<client::Question>(life_->calls.at(done.ticket)));
    process.tell("is answered ", to_string(done.code), " about ", asked.job);
    if (asked.verb == client::JobVerb::cancel) model_.cancel_answered(asked.job, done.code, done.state);
    else model_.redrive_answered(asked.job);
    life_->calls.erase(done.ticket);
}

void Client::take(const client::AnsweredAll& done) {
    const client::Question asked = std::get<client::Question>(life_->calls.at(done.ticket));
    life_->calls.erase(done.ticket);
    const auto* steer = std::get_if<SteerArray>(&std::get<client::MessageQuestion>(asked).message);
    if (steer == nullptr) return;
    const Answer& answer = done.items.front();
    process.tell("is answered ", to_string(answer.code), " about array ", steer->array.value, ": ", answer.job);
    if (steer->action == ArrayAction::stop) model_.stop_answered(steer->array, answer.code);
    else model_.resubmit_answered(steer->array, answer, steer->cancelled);
}

void Client::take(const client::Found& done) {
    client::Question asked = std::get<client::Question>(life_->calls.at(done.ticket));
    life_->calls.erase(done.ticket);
    auto* list = std::get_if<client::ListQuestion>(&asked);
    if (list == nullptr || done.next_cursor == 0) return;
    list->cursor = done.next_cursor;
    ask(std::move(asked));
}

void Client::take(const client::Failed& done) {
    const Call call = life_->calls.at(done.ticket);
    life_->calls.erase(done.ticket);
    const Code code = done.error.code;
    if (const auto* submitting = std::get_if<Submitting>(&call)) {
        process.tell("is refused ", submitting->wish->name, ": ", done.error.text);
        if (!submitting->job) return model_.was_refused(*submitting->wish, code);
        if (code != Code::closed) model_.result_is_missing(submitting->job, code);
        return;
    }
    const auto* about = std::get_if<client::JobQuestion>(&std::get<client::Question>(call));
    if (about == nullptr) return;
    process.tell("is refused about ", about->job, ": ", done.error.text);
    if (code == Code::retired || code == Code::unknown_job) model_.result_is_missing(about->job, code);
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
        if (const auto* submitting = std::get_if<Submitting>(&call)) {
            list += submitting->job ? "the end of job " + std::to_string(submitting->job.value)
                                    : "the answer to " + submitting->wish->name;
        } else if (const auto* about = std::get_if<client::JobQuestion>(&std::get<client::Question>(call))) {
            list +=
                "verb " + std::to_string(static_cast<int>(about->verb)) + " on job " + std::to_string(about->job.value);
        } else {
            list += "a list";
        }
    }
    return list;
}

}  // namespace jobyard::sim
