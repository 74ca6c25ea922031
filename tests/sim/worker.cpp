#include "worker.hpp"

#include <algorithm>
#include <utility>

namespace jobyard::sim {
namespace {

constexpr std::int64_t kLongestReconnectUs = 1 * kSecond;

/// The broker has been told, or has told, that it does not hold the job any more.
bool counts_no_more(const worker::StopOrder& order) {
    return order.cause == worker::StopCause::lease_lost || order.cause == worker::StopCause::timed_out;
}

worker::Session::Options options(const Plan& plan, const std::string& name, Random& random) {
    worker::Session::Options made;
    made.instance = random.uuid();
    made.name = name;
    made.software = "simulated";
    made.slots = static_cast<std::uint32_t>(random.between(1, 4));
    if (plan.prefetch > 0) made.credit = made.slots + static_cast<std::uint32_t>(plan.prefetch);
    // The first worker serves everything, so that every job can run.
    const auto serves = [&] { return plan.workers_differ == 0 || name == "worker-1" || random.percent(70); };
    for (int queue = 0; queue < plan.queues; ++queue)
        if (serves() || (queue == plan.queues - 1 && made.queues.empty()))
            made.queues.emplace_back(kQueues.at(static_cast<std::size_t>(queue)));
    made.types = {std::string(kTypes[0])};
    if (serves()) made.types.emplace_back(kTypes[1]);
    return made;
}

}  // namespace

Worker::Life::Life(Worker& worker, worker::Session::Options options)
    : link(worker.network_, worker, kLongestReconnectUs),
      loop(worker.process, [&worker] { worker.turn(); }),
      session(options, worker.now_ms()),
      slots(options.slots) {}

Worker::Worker(World& world, Network& network, Model& model, const Plan& plan, std::string name)
    : End(world, std::move(name)), network_(network), model_(model), plan_(plan), random_(world.random().fork()) {}

void Worker::start() {
    process.tell("starts");
    life_ = std::make_unique<Life>(*this, options(plan_, process.name(), random_));
    life_->loop.wake_at(process.world().now());
}

void Worker::crash() {
    process.tell("crashes, running ", life_->busy, " jobs");
    end_process();
    start_later();
}

void Worker::drain() {
    if (life_->session.is_draining()) return;
    process.tell("is told to drain");
    const std::int64_t stop_at = now_ms() + random_.any_size(1, 5'000);
    life_->session.drain({stop_at, stop_at + random_.any_size(1, 3'000)});
    life_->loop.wake_at(process.world().now());
}

void Worker::end_process() {
    model_.worker_died(process.name());
    process.die();
    life_.reset();
}

void Worker::start_later() {
    process.after(random_.any_size(100 * kMs, calm_ ? 1 * kSecond : 10 * kSecond), [this] { start(); });
}

void Worker::on_opened(ConnectionId connection) {
    if (life_ == nullptr) return;
    life_->link.opened(connection);
    life_->loop.wake_at(process.world().now() + random_.between(0, 300));
}

void Worker::on_frames(ConnectionId, Frames frames) {
    if (life_ == nullptr) return;
    life_->link.arrived(std::move(frames));
    life_->loop.wake_at(process.world().now() + random_.between(0, 300));
}

void Worker::on_closed(ConnectionId connection) {
    if (life_ == nullptr) return;
    life_->link.closed(connection);
    life_->loop.wake_at(process.world().now() + random_.between(0, 300));
}

// --- a turn ----------------------------------------------------------------------------------------------------------

void Worker::turn() {
    worker::Session& session = life_->session;
    for (bool connected = false; life_->link.next_event(connected);) {
        if (connected) session.on_connected(now_ms());
        else session.on_disconnected();
    }
    take_messages();
    take_reports();
    session.on_tick(now_ms());
    carry_out();
    if (session.all_slots_stuck() && !session.is_draining()) session.drain({now_ms(), now_ms()});
    if (session.refused())
        throw Broken{"P9 a good worker is not refused", process.name() + ": " + session.refused()->text};
    if (session.has_left()) {
        process.tell("has left");
        end_process();
        return start_later();
    }
    life_->loop.wake_at(session.next_deadline_ms() * kMs);
}

void Worker::take_messages() {
    for (Frames frames; life_->link.next_message(frames);) {
        const Envelope envelope = decode_or_die(frames);
        note_received(envelope);
        life_->session.on_message(envelope, frames.payload, now_ms());
        take_starts();
    }
}

void Worker::take_starts() {
    for (const worker::Start& start : life_->session.outbox().starts) {
        const DispatchItem& item = start.item;
        life_->tasks[item.token] = {item.job, item.token, std::string(item.type), start.lease_until_ms};
        life_->ready.push_back(item.token);
    }
    if (!life_->session.outbox().starts.empty()) check_credit();
    life_->session.outbox().starts.clear();
    begin_ready();
}

void Worker::take_reports() {
    for (Report& report : std::exchange(life_->reports, {})) {
        switch (report.kind) {
            case Report::Kind::began: life_->session.on_began(report.token, report.at_ms); break;
            case Report::Kind::finished:
                life_->session.on_finished(report.token, std::move(report.ending), report.at_ms);
                life_->tasks.erase(report.token);
                break;
            case Report::Kind::unstarted: unstarted(report.token); break;
        }
    }
}

void Worker::unstarted(LeaseToken token) {
    const auto until = life_->session.on_unstarted(token, now_ms());
    if (!until) {
        life_->tasks.erase(token);
        return;
    }
    life_->tasks.at(token).lease_until_ms = *until;
    life_->ready.push_back(token);
    begin_ready();
}

void Worker::carry_out() {
    worker::Outbox& out = life_->session.outbox();
    for (const worker::Notice& notice : out.notices) process.tell("says: ", notice.text);
    for (const worker::OutgoingMessage& message : out.messages) {
        note_sent(message.envelope);
        if (life_->link.send(message.envelope, message.payload)) continue;
        life_->session.on_disconnected();
        break;
    }
    if (out.reopen) life_->link.reopen();
    const std::vector<worker::StopOrder> stops = std::exchange(out.stops, {});
    out.clear();
    for (const worker::StopOrder& order : stops) stop(order);
}

void Worker::stop(const worker::StopOrder& order) {
    const auto found = life_->tasks.find(order.token);
    if (found == life_->tasks.end()) return;
    Task& task = found->second;
    if (counts_no_more(order)) task.lost = true;
    if (!task.running) {
        std::erase(life_->ready, order.token);
        // Its report that it was not begun may be on the way already.
        const bool reported = std::any_of(life_->reports.begin(), life_->reports.end(),
                                          [&](const Report& report) { return report.token == order.token; });
        if (!reported) unstarted(order.token);
    } else if (!std::exchange(task.stopped, true) && random_.percent(80)) {
        // It may hand its job back.
        const Outcome outcome = !calm_ && random_.percent(10) ? Outcome::released : Outcome::failed;
        process.after(random_.any_size(1 * kMs, 500 * kMs), [this, token = order.token, outcome] {
            finish(token, {outcome, true, 0});
        });
    }
}

// --- slots -----------------------------------------------------------------------------------------------------------

void Worker::begin_ready() {
    while (life_->busy < life_->slots && !life_->ready.empty()) {
        Task& task = life_->tasks.at(life_->ready.front());
        life_->ready.pop_front();
        const bool too_late = now_ms() >= task.lease_until_ms;
        life_->reports.push_back({too_late ? Report::Kind::unstarted : Report::Kind::began, task.token, now_ms(), {}});
        life_->loop.wake_at(process.world().now());
        if (!too_late) run(task);
    }
}

/// What the handler will do is decided as it begins.
void Worker::run(Task& task) {
    model_.begins(process.name(), task.token);
    process.tell("begins ", task.job, " under ", task.token);
    task.running = true;
    ++life_->busy;
    const bool hangs = !calm_ && random_.percent(plan_.hanging);
    How how;
    if (random_.percent(plan_.failing)) how.outcome = Outcome::failed;
    how.retryable = random_.percent(85);
    if (!calm_ && random_.percent(plan_.snoozing)) {
        how.outcome = Outcome::released;
        if (random_.percent(80)) how.delay_ms = static_cast<std::uint64_t>(random_.any_size(1, 20'000));
    }
    const std::int64_t takes =
        hangs ? random_.any_size(10 * kSecond, 60 * kSecond) : random_.any_size(500, plan_.run_time);
    process.after(takes, [this, token = task.token, how] { finish(token, how); });
}

void Worker::finish(LeaseToken token, const How& how) {
    const auto found = life_->tasks.find(token);
    if (found == life_->tasks.end() || !found->second.running) return;  // it was told to stop, and has
    Task& task = found->second;
    task.running = false;
    --life_->busy;
    Report report{Report::Kind::finished, token, now_ms(), {}};
    report.ending.outcome = how.outcome;
    report.ending.retryable = how.retryable;
    report.ending.delay_ms = how.delay_ms;
    report.ending.result = "result of " + to_text(token) + ";";
    if (random_.percent(plan_.large))
        report.ending.result.append(static_cast<std::size_t>(random_.any_size(500, 20'000)), 'r');
    if (how.outcome == Outcome::failed) report.ending.error = "it did not work";
    process.tell("ends ", task.job, " under ", token, ": ", to_string(how.outcome));
    model_.finishes(token, how.outcome, how.retryable, report.ending.result);
    life_->reports.push_back(std::move(report));
    life_->loop.wake_at(process.world().now() + random_.between(0, 100));
    begin_ready();
}

// --- what is checked -------------------------------------------------------------------------------------------------

void Worker::note_sent(const Envelope& envelope) {
    const auto ends = [&](const auto& items, auto&& outcome_of) {
        for (const auto& item : items) {
            life_->ends_sent[envelope.request].emplace_back(item.token, outcome_of(item));
            process.tell("reports the end of ", item.job, " under ", item.token);
        }
    };
    const Message& message = envelope.message;
    if (const auto* complete = std::get_if<Complete>(&message))
        ends(complete->items, [](auto&) { return Outcome::completed; });
    if (const auto* fail = std::get_if<Fail>(&message)) ends(fail->items, [](auto& item) { return item.outcome; });
    if (const auto* release = std::get_if<Release>(&message))
        for (const ReleaseItem& item : release->items) model_.hands_back(item.token, item.delay_ms);
    if (const auto* release = std::get_if<Release>(&message))
        ends(release->items, [](auto&) { return Outcome::released; });
    if (const auto* credit = std::get_if<Credit>(&message))
        life_->most_credit = std::max(life_->most_credit, credit->credit);
    if (const auto* hello = std::get_if<Hello>(&message)) life_->most_credit = hello->credit;
}

void Worker::check_credit() const {
    std::size_t held = 0;
    for (const auto& [token, task] : life_->tasks) {
        const auto& stops = life_->session.outbox().stops;  // not carried out yet
        const bool lost = task.lost || std::any_of(stops.begin(), stops.end(), [&](const worker::StopOrder& order) {
                              return order.token == task.token && counts_no_more(order);
                          });
        if (!lost) ++held;
    }
    if (held > life_->most_credit)
        throw Broken{"P8 credit is never exceeded", process.name() + " holds " + std::to_string(held) +
                                                        " jobs and stated credit " +
                                                        std::to_string(life_->most_credit)};
}

void Worker::note_received(const Envelope& envelope) {
    const auto* answers = std::get_if<Answers>(&envelope.message);
    const auto sent = life_->ends_sent.find(envelope.request);
    if (answers == nullptr || sent == life_->ends_sent.end()) return;
    for (std::size_t i = 0; i < sent->second.size(); ++i)
        model_.end_answered(sent->second[i].first, sent->second[i].second, answers->items[i].code);
    life_->ends_sent.erase(sent);
}

}  // namespace jobyard::sim
