#include "model.hpp"

#include <algorithm>

#include "maps.hpp"
#include "model_text.hpp"

namespace jobyard::sim {

void Totals::add_to(Counts& counts) const {
    counts["jobs"] += submitted;
    counts["completed"] += completed;
    counts["dead"] += dead;
    counts["of these expired"] += expired;
    counts["cancelled"] += cancelled;
    counts["redriven"] += redriven;
    counts["edited"] += edited;
    counts["retired"] += retired;
    counts["arrays"] += arrays;
    counts["jobs of arrays"] += array_jobs;
    counts["of these resubmitted"] += resubmitted;
    counts["arrays forgotten"] += arrays_forgotten;
    counts["tasks done"] += tasks_done;
    counts["keys free again"] += keys_freed;
    counts["submits refused"] += refusals;
    counts["dispatches"] += dispatched;
    counts["executions"] += executions;
    counts["executions run twice"] += run_twice;
    counts["ends refused as stale"] += stale_ends;
    counts["claims kept"] += claims_kept;
    counts["states checked"] += states_checked;
}

void Model::broken(std::string rule, std::string how) { throw Broken{std::move(rule), std::move(how)}; }

Model::Record& Model::record(JobId job) { return jobs_[job]; }

/// Of the job, or the array, of that number; null if it has never been on disk.
const Wish* Model::wish_of(JobId id) const {
    if (const Array* array = arrays_.find(id)) return array->wish;
    const auto found = jobs_.find(id);
    return found == jobs_.end() ? nullptr : found->second.wish;
}

bool Model::cancel_was_asked(JobId job, const Record& known) const {
    return known.cancel_asked || (known.array && arrays_.find(known.array)->cancel_asked) ||
           is_in_task(TaskAction::cancel, job, known);
}

/// Whether somebody has asked for a task that may do this to the job.
bool Model::is_in_task(TaskAction action, JobId job, const Record& known) const {
    return std::any_of(tasks_asked_.begin(), tasks_asked_.end(), [&](const TaskAsked& asked) {
        const StartTask& task = asked.task;
        // It may have been edited between being looked at and its turn.
        const bool fits = std::any_of(known.was.begin(), known.was.end(), [&](const Settings& settings) {
            return (task.queue.empty() || task.queue == settings.queue) &&
                   (task.type.empty() || task.type == settings.type);
        });
        return task.action == action && !task.count_only && fits && (asked.jobs.empty() || asked.jobs.contains(job)) &&
               (task.reason == Reason::none || (!known.ends.empty() && known.ends.back().reason == task.reason));
    });
}

// --- clients ---------------------------------------------------------------------------------------------------------

Wish& Model::wish(const std::string& name) {
    std::unique_ptr<Wish>& wish = wishes_[name];
    if (wish == nullptr) {
        wish = std::make_unique<Wish>();
        wish->name = name;
        wish->wished_at = world_.now();
    }
    return *wish;
}

void Model::was_told(const Wish& wish, Code code, JobId job, JobState state) {
    const Wish* known_wish = wish_of(job);
    if (known_wish == nullptr)
        broken("P1 acknowledged means durable", text(job) + " was acknowledged and is not on disk");
    if (known_wish != &wish)
        broken("P4 submit is idempotent",
               "the submit of " + wish.name + " was answered with " + text(job) + ", which is " + known_wish->name);
    if (code == Code::existing && wish.key.empty())
        broken("P4 submit is idempotent", wish.name + " has no key and was answered `existing`");
    if (wish.array) return;
    Record& known = record(job);
    if (state == JobState::retired && known.stage != Record::Stage::retired)
        broken("P2 every job ends", text(job) + " was said to be retired and is not");
    if (!known.told) told_.push_back(job);
    known.told = true;
}

void Model::was_refused(Wish& wish, Code code) {
    if (code == Code::outcome_unknown || code == Code::closed) return;  // nobody knows
    ++totals_.refusals;
    if (code == Code::conflict) {
        const auto holder = keys_.find(wish.queue + "/" + wish.key);
        if (freed_keys_.contains(wish.queue + "/" + wish.key)) return;
        if (wish.key.empty() || holder == keys_.end() || wish_of(holder->second) == &wish)
            broken("P4 submit is idempotent", wish.name + " was answered `conflict` and has none");
        return;
    }
    if (!wish.key.empty()) return;  // the same wish may have been granted to somebody else
    wish.refused = true;
    if (wish.job)
        broken("P4 a refused submit makes no job",
               wish.name + " was refused (" + to_string(code) + ") and is " + text(wish.job));
}

std::uint64_t Model::asks(const client::Question& question) {
    asked_at_.push_back(world_.now());
    const std::uint64_t ask = asked_at_.size();
    if (const auto* about = std::get_if<client::JobQuestion>(&question)) {
        Array* array = arrays_.find(about->job);
        if (about->verb == client::JobVerb::cancel) {
            if (array != nullptr) array->steered = array->cancel_asked = true;
            else record(about->job).cancel_asked = true;
        }
        if (about->verb == client::JobVerb::redrive) record(about->job).redrive_asked = true;
    }
    if (const auto* steer = std::get_if<client::SteerQuestion>(&question))
        if (steer->action == WorkerAction::resume) resumed_.insert(steer->name);
    const auto* asked = std::get_if<client::MessageQuestion>(&question);
    if (asked == nullptr) return ask;
    if (const auto* steer = std::get_if<SteerArray>(&asked->message))
        if (steer->action == ArrayAction::stop)
            if (Array* array = arrays_.find(steer->array)) array->steered = true;
    if (const auto* set = std::get_if<SetQueue>(&asked->message)) queue_asks_[ask] = queues_.asks(*set);
    if (const auto* change = std::get_if<Change>(&asked->message))
        for (const JobId job : change->jobs) record(job).changes_asked.push_back(*change);
    if (const auto* edit = std::get_if<Edit>(&asked->message))
        for (const JobId job : edit->jobs) record(job).edits_asked.push_back({*edit, std::string(asked->payload)});
    if (const auto* task = std::get_if<StartTask>(&asked->message))
        tasks_asked_.push_back({*task, {task->jobs.begin(), task->jobs.end()}});
    return ask;
}

void Model::gives_up(std::uint64_t ask, const client::Question&) {
    // What was sent before may still arrive.
    if (const auto queue = queue_asks_.find(ask); queue != queue_asks_.end())
        queues_.settled(queue->second, world_.now() + 120 * kSecond);
}

void Model::answered(std::uint64_t, const client::Question& question, const client::Answered& answer) {
    const auto* asked = std::get_if<client::JobQuestion>(&question);
    if (asked == nullptr) return;
    if (asked->verb == client::JobVerb::cancel) cancel_answered(asked->job, answer.code, answer.state);
    if (asked->verb == client::JobVerb::redrive) redrive_answered(asked->job);
}

void Model::answered(std::uint64_t ask, const client::Question& question, const std::vector<Answer>& answers) {
    const Message& message = std::get<client::MessageQuestion>(question).message;
    if (const auto* steer = std::get_if<SteerArray>(&message)) {
        if (arrays_.find(steer->array) == nullptr && answers.front().code == Code::unknown_job) return;
        if (steer->action == ArrayAction::stop) stop_answered(steer->array, answers.front().code);
        else arrays_.resubmit_answered(steer->array, answers.front(), steer->cancelled);
    } else if (std::holds_alternative<SetQueue>(message)) {
        queues_.answered(queue_asks_.at(ask));
        queues_.settled(queue_asks_.at(ask), world_.now());
    } else if (const auto* change = std::get_if<Change>(&message)) {
        answered(*change, answers);
    } else if (const auto* edit = std::get_if<Edit>(&message)) {
        answered(*edit, answers);
    } else if (std::holds_alternative<StartTask>(message)) {
        answered_task(answers.front());
    }
}

void Model::answered(const Change& change, const std::vector<Answer>& answers) const {
    for (std::size_t i = 0; i < answers.size(); ++i) {
        if (answers[i].code != Code::ok) continue;
        const Record& known = jobs_.at(change.jobs[i]);
        const bool was = std::any_of(known.was.begin(), known.was.end(), [&](const Settings& settings) {
            return (change.priority == 0 || change.priority == settings.priority) &&
                   (change.queue.empty() || change.queue == settings.queue) &&
                   (!change.held || *change.held == settings.held);
        });
        if (!was)
            broken("P1 acknowledged means durable",
                   text(change.jobs[i]) + " was said to be changed and is as before on disk");
    }
}

void Model::answered(const Edit& edit, const std::vector<Answer>& answers) const {
    for (std::size_t i = 0; i < answers.size(); ++i) {
        if (answers[i].code != Code::ok) continue;
        const Record& known = jobs_.at(edit.jobs[i]);
        const bool was = std::any_of(known.was.begin(), known.was.end(), [&](const Settings& settings) {
            return (edit.priority == 0 || edit.priority == settings.priority) &&
                   (edit.queue.empty() || edit.queue == settings.queue) &&
                   (edit.type.empty() || edit.type == settings.type) &&
                   edit.retry.max_attempts.value_or(settings.max_attempts) == settings.max_attempts &&
                   (!edit.new_payload || !settings.payload.empty());
        });
        if (!was)
            broken("P1 acknowledged means durable",
                   text(edit.jobs[i]) + " was said to be edited and is as before on disk");
    }
}

void Model::answered_task(const Answer& answer) const {
    if (answer.code == Code::ok && !tasks_.contains(answer.job.value))
        broken("P1 acknowledged means durable", "task " + std::to_string(answer.job.value) + " is not on disk");
}

/// What somebody is shown was so at the earliest when it was asked for.
void Model::found(std::uint64_t ask, const client::Question& question, const client::Found& found) const {
    const std::int64_t asked_at = asked_at_.at(ask - 1);
    const auto* about = std::get_if<client::JobQuestion>(&question);
    if ((about != nullptr && about->verb == client::JobVerb::show && arrays_.find(about->job) == nullptr) ||
        std::holds_alternative<client::ListQuestion>(question))
        for (const std::string_view map : found.maps) job_shown(map, asked_at);
    const auto* events = std::get_if<client::EventsQuestion>(&question);
    if (events == nullptr || events->after == kFromNow || !events->queue.empty() || !events->kinds.empty()) return;
    std::vector<Stream::Told> told;
    for (const std::string_view map : found.maps) {
        const MapFields fields = read_map(map);
        told.push_back({number_in(fields, "event"),
                        text_in(fields, "kind"),
                        {number_in(fields, "job")},
                        std::max<std::uint64_t>(number_in(fields, "count"), 1),
                        text_in(fields, "queue"),
                        text_in(fields, "type")});
    }
    if (found.gone != 0 && plan_.limit_events_bytes == 0)
        broken("P2 whatever happens is told once, in order", "events are gone, and no limit was reached");
    stream_.told(events->after, found.gone, found.next_cursor, told);
}

void Model::job_shown(std::string_view map, std::int64_t asked_at) const {
    const MapFields fields = read_map(map);
    const JobId job{number_in(fields, "id")};
    const std::string_view state = text_in(fields, "state");
    coverage_.shown(text_in(fields, "reason"));
    if (arrays_.find(job) != nullptr) return;
    const auto known = jobs_.find(job);
    if (known == jobs_.end() || known->second.stage == Record::Stage::absent)
        broken("P1 acknowledged means durable", text(job) + " is shown and is not on disk");
    const Record& record = known->second;
    const bool ended_so = std::any_of(record.ends.begin(), record.ends.end(),
                                      [&](const End& end) { return to_string(end.state) == state; });
    const bool is_ended = state == to_string(JobState::completed) || state == to_string(JobState::dead) ||
                          state == to_string(JobState::cancelled);
    if (is_ended && !ended_so)
        broken("P1 acknowledged means durable", text(job) + " is shown as " + std::string(state) + ", and is not");
    if (!is_ended && !record.is_live() && record.changed_at < asked_at)
        broken("P2 who asks is told of what was before",
               text(job) + " is shown as " + std::string(state) + ", and had ended before that was asked for");
    if (is_ended && record.is_live() && record.changed_at < asked_at)
        broken("P2 who asks is told of what was before",
               text(job) + " is shown as " + std::string(state) + ", and had been redriven before");
}

void Model::cancel_answered(JobId job, Code code, JobState state) {
    if (arrays_.find(job) != nullptr) return arrays_.said_to_make_no_more(job);
    Record& known = record(job);
    if (code == Code::ok && (known.ends.empty() || known.ends.back().state != JobState::cancelled))
        broken("P1 acknowledged means durable", text(job) + " was said to be cancelled and is not on disk");
    if (code != Code::ended) {
        known.cancel_promised = true;
    } else if (std::none_of(known.ends.begin(), known.ends.end(), [&](const End& end) { return end.state == state; })) {
        broken("P1 acknowledged means durable",
               text(job) + " was said to be " + to_string(state) + " and is not on disk");
    }
}

void Model::redrive_answered(JobId job) {
    if (record(job).ends.empty())
        broken("P1 acknowledged means durable", text(job) + " was said to be redriven and has never ended");
    if (record(job).is_live() || record(job).ends.size() > 1 || record(job).stage == Record::Stage::retired) return;
    broken("P1 acknowledged means durable", text(job) + " was said to be redriven and is still dead on disk");
}

void Model::stop_answered(JobId array, Code code) {
    if (code == Code::ok || code == Code::ended) arrays_.said_to_make_no_more(array);
    else result_is_missing(array, code);
}

void Model::ended(const ResultItem& item, std::string_view payload) {
    if (arrays_.find(item.job) != nullptr) return arrays_.said_to_have_ended(item.job, item.state);
    const Record& known = record(item.job);
    const auto end = std::find_if(known.ends.begin(), known.ends.end(), [&](const End& e) {
        const bool is_whole = e.result_size == payload.size();
        // The watcher's grant may come when retention has been there, or a redrive. Without its result a completed job
        // is told as retired; of the others it is no promise.
        const bool may_be_gone = e.state == JobState::dead || known.stage == Record::Stage::retired;
        const bool is_gone = payload.empty() && e.state != JobState::completed && may_be_gone;
        return e.state == item.state && e.reason == item.reason && (is_whole || is_gone);
    });
    if (end == known.ends.end())
        broken("P1 acknowledged means durable",
               "a watcher was told that " + text(item.job) + " is " + to_string(item.state) + ", which is not on disk");
    if (item.state != JobState::completed) return;
    if (executions_.at(end->token).result != payload)
        broken("P3 exactly-once recorded completion",
               "the result of " + text(item.job) + " is not what " + text(end->token) + " gave");
}

void Model::result_is_missing(JobId job, Code code) const {
    const Array* array = arrays_.find(job);
    const bool is_gone = array != nullptr ? array->is_forgotten : jobs_.at(job).stage == Record::Stage::retired;
    if (code == Code::unknown_job || (code == Code::retired && !is_gone))
        broken("P2 every job is somewhere a person can see it", text(job) + " was asked for and is " + to_string(code));
}

JobId Model::any_told(Which which, Random& random) const {
    std::vector<JobId> jobs;
    for (const JobId job : told_) {
        const Record& known = jobs_.at(job);
        const bool dead = known.stage == Record::Stage::ended && known.ends.back().state == JobState::dead;
        if (which == Which::any || (which == Which::live && known.is_live()) || (which == Which::dead && dead))
            jobs.push_back(job);
    }
    return jobs.empty() ? JobId{} : jobs[random.below(jobs.size())];
}

std::vector<JobId> Model::held() const {
    std::vector<JobId> jobs;
    for (const auto& [job, known] : jobs_)
        if (known.is_live() && known.is.held) jobs.push_back(job);
    return jobs;
}

std::vector<std::string> Model::drained_workers() const {
    std::vector<std::string> names;
    for (const auto& [number, row] : worker_rows_)
        if (row.second.draining) names.push_back(row.second.name);
    return names;
}

JobState Model::end_of(JobId job) const {
    const auto known = jobs_.find(job);
    return known == jobs_.end() || known->second.ends.empty() ? JobState::none : known->second.ends.back().state;
}

JobId Model::any_array(Random& random) const {
    std::vector<JobId> ids;
    for (const auto& [id, array] : arrays_.all())
        if (!array.is_forgotten || random.percent(20)) ids.push_back(id);
    return ids.empty() ? JobId{} : ids[random.below(ids.size())];
}

// --- workers ---------------------------------------------------------------------------------------------------------

void Model::begins(const std::string& worker, LeaseToken token) {
    Execution& execution = executions_.at(token);
    if (execution.began_at >= 0 || execution.worker != worker)
        broken("P3 one token, one execution", worker + " begins " + text(execution.job, token) + " for a second time");
    if (execution.recorded && execution.outcome == Outcome::released)
        broken("P3 what was handed back is not begun", worker + " begins " + text(execution.job, token));
    execution.began_at = world_.now();
    ++totals_.executions;
    const std::vector<LeaseToken>& all = executions_of_[execution.job];
    const bool twice = std::any_of(all.begin(), all.end(), [&](LeaseToken other) {
        const Execution& earlier = executions_.at(other);
        return other != token && earlier.began_at >= 0 && (earlier.ended_at < 0 || earlier.succeeded());
    });
    if (twice) ++totals_.run_twice;
}

void Model::finishes(LeaseToken token, Outcome outcome, bool retryable, std::string result) {
    Execution& execution = executions_.at(token);
    execution.ended_at = world_.now();
    const bool too_large = result.size() > plan_.limits().result_bytes;  // is an error, for good
    execution.outcome_of_handler = too_large ? Outcome::failed : outcome;
    execution.retryable = retryable && !too_large;
    execution.result = std::move(result);
}

void Model::hands_back(LeaseToken token, std::uint64_t delay_ms) {
    executions_.at(token).not_before = world_.now() + static_cast<std::int64_t>(delay_ms) * kMs;
}

void Model::worker_died(const std::string& worker) {
    for (auto& [token, execution] : executions_)
        if (execution.worker == worker && execution.began_at >= 0 && execution.ended_at < 0)
            execution.ended_at = world_.now();
    disturbed(worker, world_.now());
}

void Model::end_answered(LeaseToken token, Outcome told_as, Code code) {
    const Execution& execution = executions_.at(token);
    if (code == Code::stale_lease) ++totals_.stale_ends;
    if (code != Code::ok) return;
    if (!execution.recorded)
        broken("P3 a result is accepted only with the live token",
               text(execution.job, token) + " was answered ok and its end is not on disk");
    const bool completed = execution.outcome == Outcome::completed;
    if (completed != (told_as == Outcome::completed))
        broken("P3 a result is accepted only with the live token", text(execution.job, token) + " was answered ok as " +
                                                                       to_string(told_as) + " and recorded as " +
                                                                       to_string(execution.outcome));
}

void Model::broker_stalled(std::int64_t time_us) {
    const std::int64_t ends = std::max(stall_ends_, world_.now() + time_us);
    stalled_us_ += ends - std::max(stall_ends_, world_.now());
    stall_ends_ = ends;
}

/// What its clock shows then, about.
std::int64_t Model::by_broker(std::int64_t time_us) const {
    return time_us - stalled_us_ + std::max<std::int64_t>(stall_ends_ - time_us, 0);
}

void Model::disturbed(const std::string& worker, std::int64_t until_us) {
    std::int64_t& known = disturbed_until_[worker];
    known = std::max(known, by_broker(until_us));
}

void Model::broker_disturbed(std::int64_t until_us) {
    broker_disturbed_until_ = std::max(broker_disturbed_until_, by_broker(until_us));
}

}  // namespace jobyard::sim
