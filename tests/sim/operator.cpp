#include "operator.hpp"

#include <memory>
#include <utility>

#include "jobyard/codec.hpp"

namespace jobyard::sim {

const Operator::Action Operator::kActions[] = {
    {&Plan::cancels, &Operator::cancel},           {&Plan::redrives, &Operator::redrive},
    {&Plan::arrays, &Operator::steer_array},       {&Plan::pauses, &Operator::pause_queue},
    {&Plan::queue_limits, &Operator::limit_queue}, {&Plan::policies, &Operator::set_policy},
    {&Plan::changes, &Operator::change},           {&Plan::edits, &Operator::edit},
    {&Plan::tasks, &Operator::start_task},         {&Plan::worker_drains, &Operator::drain_worker},
    {&Plan::follows, &Operator::follow},           {&Plan::looks, &Operator::look},
};

void Operator::act() {
    for (const Action& action : kActions)
        if (plan_.*action.often > 0 && random_.percent(plan_.*action.often)) (this->*action.act)();
}

void Operator::let_go() {
    for (const std::string_view queue : kQueues)
        if (model_.queues().has_paused(queue)) ask(SetQueue{.queue = queue, .paused = false});
    for (const JobId job : model_.held()) ask(Change{.jobs = {job}, .held = false});
    for (const std::string& worker : model_.drained_workers()) ask(client::SteerQuestion{worker, WorkerAction::resume});
}

void Operator::ask(client::Question question) {
    edge_.tell("asks: " + text_of(question));
    edge_.ask(std::move(question));
}

JobId Operator::any_or(Model::Which which) {
    if (random_.percent(plan_.wrong)) return {kWrong + random_.below(1000)};
    return model_.any_told(random_.percent(80) ? which : Model::Which::any, random_);
}

std::string_view Operator::any_queue() { return kQueues.at(random_.below(static_cast<std::uint64_t>(plan_.queues))); }

RetryPolicy Operator::any_policy(bool may_unset) {
    RetryPolicy policy;
    const auto set = [&](std::optional<std::uint32_t>& value, std::int64_t low, std::int64_t high) {
        if (random_.percent(50)) value = static_cast<std::uint32_t>(random_.between(low, high));
        else if (may_unset && random_.percent(20)) value = kUnset;
    };
    set(policy.max_attempts, 1, 6);
    set(policy.timeout_ms, 1'000, 20'000);
    set(policy.backoff.initial_ms, 10, 2'000);
    set(policy.backoff.factor_percent, 100, 300);
    set(policy.backoff.max_ms, 2'000, 10'000);
    set(policy.backoff.jitter_percent, 0, 50);
    if (random_.percent(plan_.wrong)) policy.max_attempts = 100'000;
    return policy;
}

// --- the actions -----------------------------------------------------------------------------------------------------

void Operator::cancel() {
    if (const JobId job = any_or(Model::Which::live)) ask(client::JobQuestion{client::JobVerb::cancel, job});
}

void Operator::redrive() {
    if (const JobId job = any_or(Model::Which::dead)) ask(client::JobQuestion{client::JobVerb::redrive, job});
}

void Operator::look() {
    for (const client::JobVerb verb : {client::JobVerb::show, client::JobVerb::watch})
        if (const JobId job = any_or(Model::Which::live)) ask(client::JobQuestion{verb, job});
    const JobState state = random_.percent(50) ? JobState::none : JobState::dead;
    ask(client::ListQuestion{state, {}, {}, 0, 1 + static_cast<std::uint32_t>(random_.below(50))});
    ask(client::StatsQuestion{});
    ask(client::WorkersQuestion{{}, 10, random_.percent(50) ? "worker-1" : ""});
    ask(ListQueues{{}, 10, random_.percent(plan_.wrong) ? "nobody's" : std::string_view{}});
    ask(ListTasks{random_.percent(plan_.wrong) ? kWrong : random_.below(model_.tasks_begun() + 1)});
    if (const JobId job = any_or(Model::Which::any)) ask(Show{{job}, true});
    const JobId array = random_.percent(plan_.wrong) ? JobId{kWrong} : model_.any_array(random_);
    if (array) ask(ListArrays{{}, 10, array});
}

void Operator::steer_array() {
    const JobId array = random_.percent(plan_.wrong) ? JobId{kWrong} : model_.any_array(random_);
    if (!array) return;
    const std::uint64_t draw = random_.below(80);
    if (draw < 40) return ask(SteerArray{array, ArrayAction::resubmit, random_.percent(50)});
    if (draw < 50) return ask(client::JobQuestion{client::JobVerb::watch, array});
    if (draw < 60) return ask(ListArrays{{}, 10, random_.percent(50) ? array : JobId{}});
    if (draw < 65) return ask(client::JobQuestion{client::JobVerb::show, array});
    if (draw < 75) return ask(SteerArray{array, ArrayAction::stop, false});
    ask(client::JobQuestion{client::JobVerb::cancel, array});
}

/// Paused as often as resumed, so that it is sometimes either for long.
void Operator::pause_queue() {
    ask(SetQueue{.queue = random_.percent(plan_.wrong) ? std::string_view("*") : any_queue(),
                 .paused = random_.percent(50),
                 .by = "operator",
                 .why = "by chance"});
}

void Operator::limit_queue() {
    const std::int64_t most = random_.percent(30) ? 0 : random_.any_size(1, 6);
    ask(SetQueue{.queue = any_queue(), .max_running = static_cast<std::uint32_t>(most)});
}

void Operator::set_policy() {
    SetQueue set{.queue = any_queue(), .retry = any_policy(true)};
    if (random_.percent(60)) set.type = any_type();
    if (!set.type.empty() && random_.percent(40)) set.queue = "*";
    ask(set);
}

void Operator::change() {
    if (const std::vector<JobId> held = model_.held(); !held.empty() && random_.percent(30))
        return ask(Change{.jobs = {held[random_.below(held.size())]}, .held = false});
    const JobId job = any_or(Model::Which::live);
    if (!job) return;
    Change change{.jobs = {job}};
    if (random_.percent(50)) change.priority = static_cast<std::uint8_t>(random_.between(1, plan_.priorities));
    if (random_.percent(30)) change.queue = any_queue();
    if (random_.percent(20)) change.held = random_.percent(50);
    if (random_.percent(plan_.wrong)) change.priority = kPriorityMax + 1;
    ask(change);
}

void Operator::edit() {
    const JobId job = any_or(Model::Which::dead);
    if (!job) return;
    Edit edit{.jobs = {job}};
    auto payload = std::make_shared<const std::string>(
        random_.percent(50) ? std::string()
                            : "edited-" + std::to_string(random_.next()) + std::string(random_.below(4000), 'e'));
    edit.new_payload = !payload->empty();
    edit.payload_length = static_cast<std::uint32_t>(payload->size());
    if (random_.percent(30)) edit.type = any_type();
    if (random_.percent(30)) edit.queue = any_queue();
    if (random_.percent(30)) edit.priority = static_cast<std::uint8_t>(random_.between(1, plan_.priorities));
    if (random_.percent(50)) edit.retry = any_policy(false);
    const std::string_view bytes = *payload;
    ask(client::MessageQuestion{std::move(edit), std::move(payload), bytes});
}

void Operator::start_task() {
    if (random_.percent(20)) return ask(StopTask{random_.percent(plan_.wrong) ? kWrong : model_.tasks_begun()});
    StartTask task;
    const std::uint64_t draw = random_.below(100);
    task.action = draw < 30 ? TaskAction::cancel : draw < 75 ? TaskAction::redrive : TaskAction::purge;
    if (random_.percent(50)) task.queue = any_queue();
    if (random_.percent(50)) task.type = any_type();
    if (task.action == TaskAction::cancel) {
        if (random_.percent(30)) task.state = random_.percent(50) ? JobState::queued : JobState::running;
    } else {
        if (random_.percent(30)) task.reason = random_.percent(50) ? Reason::failed : Reason::crash_loop;
        const JobId job = model_.any_told(Model::Which::dead, random_);
        if (job && random_.percent(40)) task.jobs = {job};
    }
    if (random_.percent(10)) task.older_than_ms = static_cast<std::uint64_t>(random_.any_size(1, 60'000));
    task.count_only = random_.percent(10);
    task.nonce = random_.next();
    if (random_.percent(plan_.wrong)) task.state = JobState::dead;
    ask(task);
}

void Operator::drain_worker() {
    const std::string name =
        random_.percent(plan_.wrong)
            ? "nobody"
            : "worker-" + std::to_string(1 + random_.below(static_cast<std::uint64_t>(plan_.workers)));
    ask(client::SteerQuestion{name, random_.percent(50) ? WorkerAction::drain : WorkerAction::resume});
}

void Operator::follow() {
    if (std::exchange(follows_, true)) return;
    client::EventsQuestion events;
    events.after = random_.percent(50) ? 0 : random_.below(model_.newest_event() + 1);
    events.wait_ms = static_cast<std::uint32_t>(random_.below(20'000));
    events.limit = static_cast<std::uint32_t>(random_.any_size(1, 1000));
    if (random_.percent(20)) events.queue = any_queue();
    if (random_.percent(plan_.wrong)) events.after = kWrong;
    ask(std::move(events));
}

void Operator::follow_on(const client::Found& found) {
    if (!follows_) return;
    client::EventsQuestion events;
    events.after = found.next_cursor;
    events.wait_ms = static_cast<std::uint32_t>(random_.below(20'000));
    if (random_.percent(10)) follows_ = false;
    else edge_.ask(std::move(events));
}

// --- words -----------------------------------------------------------------------------------------------------------

namespace {

std::string text(JobId job) { return " job " + std::to_string(job.value); }
std::string text(std::string_view name) { return name.empty() ? std::string{} : " " + std::string(name); }

std::string text_of(const SetQueue& set) {
    std::string line = text(set.queue) + text(set.type);
    if (set.paused) line += *set.paused ? " paused" : " resumed";
    if (set.max_running) line += " max_running=" + std::to_string(*set.max_running);
    if (set.retry != RetryPolicy{}) line += " with a policy";
    return line;
}

std::string text_of(const Change& change) {
    std::string line = text(change.jobs.front());
    if (change.priority != 0) line += " priority=" + std::to_string(change.priority);
    if (!change.queue.empty()) line += " to " + std::string(change.queue);
    if (change.held) line += *change.held ? " held" : " let go";
    return line;
}

std::string text_of(const Edit& edit) {
    return text(edit.jobs.front()) + (edit.new_payload ? " another payload" : "") + text(edit.type) + text(edit.queue);
}

std::string text_of(const StartTask& task) {
    const char* action = task.action == TaskAction::cancel    ? " cancel"
                         : task.action == TaskAction::redrive ? " redrive"
                                                              : " purge";
    return action + (task.jobs.empty() ? std::string(" all") : text(task.jobs.front())) + text(task.queue) +
           text(task.type);
}

std::string text_of(const SteerArray& steer) {
    return std::string(steer.action == ArrayAction::stop ? " stop" : " resubmit") + " array " +
           std::to_string(steer.array.value);
}

}  // namespace

std::string text_of(const client::Question& question) {
    if (const auto* about = std::get_if<client::JobQuestion>(&question)) {
        static constexpr const char* kVerbs[] = {"WATCH", "CANCEL", "REDRIVE", "SHOW"};
        return kVerbs[static_cast<std::size_t>(about->verb)] + text(about->job);
    }
    if (const auto* steer = std::get_if<client::SteerQuestion>(&question))
        return "STEER_WORKER " + steer->name + (steer->action == WorkerAction::drain ? " drain" : " resume");
    if (const auto* asked = std::get_if<client::MessageQuestion>(&question)) {
        std::string line = message_name(asked->message);
        if (const auto* set = std::get_if<SetQueue>(&asked->message)) line += text_of(*set);
        if (const auto* change = std::get_if<Change>(&asked->message)) line += text_of(*change);
        if (const auto* edit = std::get_if<Edit>(&asked->message)) line += text_of(*edit);
        if (const auto* task = std::get_if<StartTask>(&asked->message)) line += text_of(*task);
        if (const auto* steer_array = std::get_if<SteerArray>(&asked->message)) line += text_of(*steer_array);
        return line;
    }
    if (std::holds_alternative<client::ListQuestion>(question)) return "LIST";
    if (std::holds_alternative<client::EventsQuestion>(question)) return "READ_EVENTS";
    if (std::holds_alternative<client::WorkersQuestion>(question)) return "LIST_WORKERS";
    return "ASK_STATS";
}

}  // namespace jobyard::sim
