#include "model.hpp"

#include <algorithm>
#include <cmath>

#include "jobyard/assert.hpp"
#include "jobyard/fingerprint.hpp"
#include "maps.hpp"
#include "record.hpp"

namespace jobyard::sim {

using broker::AttemptRow;
using broker::Batch;
using broker::EndRow;
using broker::Op;
using broker::StateRow;
using broker::Table;

namespace {

constexpr std::int64_t kLateMs = 15'000;     ///< a start, and a broker that is busy
constexpr std::int64_t kRounding = 2 * kMs;  ///< times are cut to milliseconds on both sides

std::string text(JobId job) { return "job " + std::to_string(job.value); }
std::string text(LeaseToken token) { return "token " + to_text(token); }
std::string text(JobId job, LeaseToken token) { return text(job) + " under " + text(token); }

/// The broker's pause after so many errors, without jitter.
std::int64_t pause_us(const Backoff& backoff, std::uint32_t errors) {
    const double grown = backoff.initial_ms * std::pow(backoff.factor_percent / 100.0, errors - 1);
    return static_cast<std::int64_t>(std::min<double>(grown, backoff.max_ms) * kMs);
}

}  // namespace

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
                        std::max<std::uint64_t>(number_in(fields, "count"), 1)});
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

// --- the broker's edges ----------------------------------------------------------------------------------------------

void Model::broker_started(const broker::Core& core, std::set<Uuid> known_workers, std::int64_t wall_offset_ms) {
    wall_offset_ms_ = wall_offset_ms;
    touched_.clear();
    awaited_ = std::move(known_workers);
    started_at_ = world_.now();
    picks_ = aged_picks_ = 0;
    candidates_.clear();
    next_candidate_ = 1;
    broker_disturbed(world_.now());
    for (auto& [job, known] : jobs_) {
        known.live = known.leased = {};
        const broker::Job* loaded = core.job(job);
        if ((loaded != nullptr) != known.is_live())
            broken("P1 acknowledged means durable",
                   text(job) + (known.is_live() ? " is not there" : " is there again") + " after a restart");
        if (loaded == nullptr) continue;
        touched_.insert(job);
    }
    for (const auto& [id, array] : arrays_.all())
        if (core.has_array(id) == array.is_forgotten)
            broken("P1 acknowledged means durable", "array " + std::to_string(id.value) +
                                                        (array.is_forgotten ? " is there again" : " is not there") +
                                                        " after a restart");
}

/// The core may think otherwise before anybody is told.
void Model::claim_decided(const broker::Core& core, JobId job, LeaseToken token) {
    if (!core.is_leased(job, token)) return;
    const auto execution = executions_.find(token);
    if (execution != executions_.end() && execution->second.recorded)
        broken("P7 only what still runs is claimed",
               "the claim of " + text(job, token) + " was accepted after its end");
    record(job).leased = token;
    touched_.insert(job);
}

void Model::claim_answered(JobId job, LeaseToken token, Code code) {
    if (code != Code::ok && code != Code::cancel_requested) return;
    Record& known = record(job);
    const auto execution = executions_.find(token);
    if (execution == executions_.end() || execution->second.job != job) return;  // never sent: nothing runs
    if (execution->second.recorded) return;                                      // since the claim was accepted
    if (known.newest_sent > token)
        broken(
            "P3 a token is void once a newer one was sent",
            "the claim of " + text(job, token) + " was accepted after " + text(known.newest_sent) + " had been sent");
    known.live = token;
    ++totals_.claims_kept;
}

void Model::dispatched(const std::string& worker, const DispatchItem& item, std::string_view payload) {
    ++totals_.dispatched;
    Record& known = record(item.job);
    const std::string what = text(item.job, item.token);
    if (known.stage == Record::Stage::absent)
        broken("P1 a job is sent only when it is on disk",
               what + " was sent to " + worker + " before its submit was durable");
    const std::string& expected = known.is.payload.empty() ? known.wish->payload : known.is.payload;
    if (known.stage == Record::Stage::live &&
        (expected != payload || known.is.queue != item.queue || known.is.type != item.type ||
         known.is.priority != item.priority || known.is.max_attempts != item.max_attempts ||
         known.is.timeout_ms != item.timeout_ms))
        broken("P1 acknowledged means durable", what + " was sent with another payload, queue or type than submitted");
    if (known.array != item.array || known.array_index != item.array_index)
        broken("P11 a job of an array keeps its index", what + " was sent with index " +
                                                            std::to_string(item.array_index) + " of array " +
                                                            std::to_string(item.array.value));
    const auto [execution, is_new] = executions_.try_emplace(item.token);
    if (!is_new)
        broken("P3 a token is granted once", what + " was sent to " + worker + "; " + execution->second.worker +
                                                 " has had it for " + text(execution->second.job));
    execution->second.job = item.job;
    execution->second.worker = worker;
    // It may have been lost meanwhile and be a new one: that is on disk before it is handed anything.
    if (const auto drained = granted_to_drained_.find(item.token);
        drained != granted_to_drained_.end() && is_drained(drained->second))
        broken("P5 a drained worker is handed nothing", what + " went to " + worker);
    executions_of_[item.job].push_back(item.token);
    if (const auto ended = ended_unsent_.find(item.token); ended != ended_unsent_.end()) {
        execution->second.recorded = true;
        execution->second.outcome = ended->second;
        return;  // the session it goes to was over before it left
    }
    if (known.newest_sent >= item.token)
        broken("P3 tokens of a job increase", what + " was sent after " + text(known.newest_sent));
    if (known.live && !executions_.at(known.live).recorded)
        broken("P7 what runs is not dispatched again", what + " was sent to " + worker + " while " +
                                                           executions_.at(known.live).worker + " holds " +
                                                           text(known.live));
    if (!awaited_.empty() &&
        world_.now() - started_at_ < std::int64_t{plan_.timing().claim_window_ms} * kMs - kRounding)
        broken("P7 nothing is dispatched in the claim window", what + " was sent to " + worker);
    if (world_.now() < known.not_before - kRounding && plan_.clock_jump == 0)
        broken("P2 delays and pauses are kept", what + " was sent too early");
    known.newest_sent = known.live = item.token;
}

void Model::lost_by_time(JobId job, const std::set<std::string>& unheard) const {
    const auto known = jobs_.find(job);
    if (known == jobs_.end() || !known->second.leased) return;
    const auto execution = executions_.find(known->second.leased);
    if (execution != executions_.end() && unheard.contains(execution->second.worker))
        broken("P6 what has arrived is read before anything expires",
               text(job) + " was taken from " + execution->second.worker + ", which has spoken");
}

/// Certainly, as far as is durable.
bool Model::is_drained(const Uuid& worker) const {
    return std::any_of(worker_rows_.begin(), worker_rows_.end(), [&](const auto& entry) {
        const auto& [instance, drain] = entry.second;
        return instance == worker && drain.draining && !resumed_.contains(drain.name);
    });
}

void Model::granted(const broker::Core& core, const std::vector<Granted>& granted) {
    for (; next_candidate_ < core.numbers().next_job; ++next_candidate_) candidates_.push_back({next_candidate_});
    if (granted.empty()) return;
    std::erase_if(candidates_, [&](JobId job) { return core.job(job) == nullptr; });
    picks_ += granted.size();
    for (const auto& [chosen, token, worker] : granted) {
        const broker::Job& picked = *core.job(chosen);
        Record& grantee = record(chosen);
        if (grantee.cancel_promised) broken("P2 a cancelled job is not dispatched", text(chosen));
        grantee.leased = token;
        touched_.insert(chosen);
        if (is_drained(worker)) granted_to_drained_[token] = worker;
        bool aged = false;
        bool older = false;
        for (const JobId id : candidates_) {
            const broker::Job& waits = *core.job(id);
            if (waits.state != JobState::queued || waits.class_id != picked.class_id) continue;
            if (waits.priority > picked.priority) aged = true;
            if (std::pair(waits.order, waits.id) < std::pair(picked.order, picked.id)) {
                if (waits.priority >= picked.priority)
                    broken("P5 the oldest among equals goes first", text(chosen) + " was chosen before " + text(id));
                older = true;
            }
        }
        if (aged && older)
            broken("P5 the highest priority goes first",
                   text(chosen) + " was chosen and is neither the most urgent nor the oldest");
        if (aged) ++aged_picks_;
        if (grantee.stage != Record::Stage::live || !grantee.changes_asked.empty())
            continue;  // its queue is not certain
        const std::string& queue = grantee.is.queue;
        if (queues_.is_paused(queue, world_.now()))
            broken("P5 a paused queue hands nothing out", text(chosen) + " of " + queue + " was chosen");
        if (const std::uint32_t most = queues_.max_running(queue, world_.now()); most != 0) {
            std::uint32_t running = 0;
            for (const auto& [id, known] : jobs_) {
                const broker::Job* job = core.job(id);
                if (job != nullptr && job->leased() && known.is.queue == queue && known.changes_asked.empty())
                    ++running;
            }
            if (running > most)
                broken("P5 no more of a queue run than may",
                       std::to_string(running) + " of " + queue + " run, and " + std::to_string(most) + " may");
        }
    }
    if (plan_.workers_differ == 0 && aged_picks_ > picks_ / broker::kAgingShare + 1)
        broken("P5 the highest priority goes first", "more than one choice in 20 went to the oldest job");
}

// --- what becomes durable --------------------------------------------------------------------------------------------

void Model::durable(const Batch& batch) {
    arrays_.begin(batch);
    puts_.clear();
    new_payloads_.clear();
    for (const Op& op : batch.ops())
        if (op.table == Table::live && op.kind == Op::Kind::put) puts_[{broker::from_big_endian(batch.key(op))}] = &op;
    for (const auto& [job, slice] : batch.edits()) new_payloads_[job].emplace(batch.view(slice));
    for (const Op& op : batch.ops()) note(batch, op);
    arrays_.end();
    stream_.end();
}

void Model::note(const Batch& batch, const Op& op) {
    const std::string_view key = batch.key(op);
    const std::string_view value = batch.value(op);
    const bool put = op.kind == Op::Kind::put;
    const bool erased = op.kind == Op::Kind::erase;
    switch (op.table) {
        case Table::meta: return;
        case Table::queues: {
            broker::QueueRow row;
            if (put) JOBYARD_ASSERT(read_row(value, row));
            return queues_.written(key, put ? &row : nullptr);
        }
        case Table::events:
            if (put) stream_.written(key, value);
            else if (plan_.limit_events_bytes == 0) broken("P2 events are kept", "one was removed");
            return;
        case Table::keys:
            if (erased) key_freed(key);
            return;
        case Table::tasks:
            if (put) note_task(broker::from_big_endian(key), value);
            return;
        case Table::workers: {
            const std::uint64_t number = broker::from_big_endian(key);
            if (erased) {
                worker_rows_.erase(number);
                return;
            }
            broker::WorkerRow row;
            JOBYARD_ASSERT(read_row(value, row));
            worker_rows_[number] = {row.instance, {std::string(row.name), row.draining}};
            return;
        }
        default: break;
    }
    if (key.size() < 8) return;
    const JobId job{broker::from_big_endian(key)};
    if (op.table == Table::arrays && put) {
        Wish& wish = wish_made(job, batch.view(batch.payload_of(job).value()));
        broker::LiveRow row;
        JOBYARD_ASSERT(read_row(value, row));
        if (!arrays_.is_successor(job)) check_submitted(wish, row);
        arrays_.made(job, wish);
        ++totals_.arrays;
    }
    if (op.table == Table::arrays && erased) array_forgotten(job);
    if (op.table == Table::counts && put) {
        broker::ArrayRow row;
        JOBYARD_ASSERT(read_row(value, row));
        world_.tell("disk", "array ", job.value, " has made ", row.made, " of ", row.count,
                    row.makes ? ", makes more" : "", row.ended_at != 0 ? ", has ended" : "");
    }
    if (op.table == Table::chunks) arrays_.chunk(job, put);
    if (op.table == Table::leftovers && put) arrays_.left(key, value);
    if (op.table == Table::leftovers && erased) {
        const Array* array = arrays_.find(job);
        const auto left = array->jobs.find(broker::from_big_endian(key.substr(8)));
        arrays_.left_no_more(key, left != array->jobs.end() && record(left->second).is_live());
    }
    if (op.table == Table::live && put) {
        broker::LiveRow row;
        JOBYARD_ASSERT(read_row(value, row));
        if (record(job).stage != Record::Stage::absent) {  // from the dead letter queue, and its key is forgotten
            if (!row.key.empty()) broken("P4 a key is forgotten with its time", text(job) + " has it again");
            record(job).key.clear();
            job_redriven(job);
        } else if (!row.array) {
            Wish& wish = wish_made(job, batch.view(batch.payload_of(job).value()));
            check_submitted(wish, row);
            job_made(job, wish, row);
        } else {
            arrays_.made_job(row.array, row.array_index, job);
            const Array& array = *arrays_.find(row.array);
            job_made(job, *array.wish, row);
            Record& known = record(job);
            known.array = row.array;
            known.array_index = row.array_index;
            known.told = true;  // it is in every list
            told_.push_back(job);
            ++totals_.array_jobs;
            if (array.counts.of) {
                known.not_before = 0;
                ++totals_.resubmitted;
            }
        }
    }
    if (op.table == Table::state && put) state_written(job, value);
    if (op.table == Table::dead && put && record(job).stage == Record::Stage::ended) {
        touched_.insert(job);
        return;  // edited: table buried says how
    }
    if ((op.table == Table::done || op.table == Table::dead) && put) job_ended(job, value);
    if (op.table == Table::buried && put) {
        broker::LiveRow row;
        JOBYARD_ASSERT(read_row(value, row));
        edited(job, row);
    }
    if (op.table == Table::dead && op.kind == Op::Kind::move) {
        Record& known = record(job);
        if (known.stage != Record::Stage::ended || known.resubmitted || !known.array)
            broken("P11 what is resubmitted is dead", text(job));
        known.resubmitted = true;
        arrays_.job_left_dead(known.array);
    }
    // What is put into `live` after that is redriven without its key.
    const auto put_after = puts_.find(job);
    const bool is_redriven = put_after != puts_.end() && put_after->second > &op;
    const bool is_buried = op.table == Table::buried && !record(job).resubmitted && !is_redriven;
    if ((op.table == Table::done || is_buried) && erased) job_retired(job);
    if (op.table == Table::buried && op.kind == Op::Kind::move) job_redriven(job);
    if (op.table != Table::attempts || !put) return;
    AttemptRow row;
    JOBYARD_ASSERT(read_row(value, row));
    const Record& known = record(job);
    // A redrive copies the end of the round before among the attempts.
    if (known.is_live() || known.ends.empty() || known.ends.back().token != row.token)
        attempt_ended(job, row, "attempts");
}

/// The wish that has made this job or array. What an array's successor is made of is the same wish.
Wish& Model::wish_made(JobId id, std::string_view payload) {
    const auto found = wishes_.find(std::string(payload.substr(0, payload.find(';'))));
    if (found == wishes_.end() || found->second->payload != payload)
        broken("P1 what is submitted is what is kept", text(id) + " has a payload that nobody submitted");
    Wish& wish = *found->second;
    if (wish.job && arrays_.is_successor(id)) return wish;
    if (wish.job) broken("P4 one job a submit", wish.name + " made " + text(wish.job) + " and " + text(id));
    if (wish.refused) broken("P4 a refused submit makes no job", wish.name + " was refused and made " + text(id));
    if (!wish.key.empty() && !keys_.emplace(wish.queue + "/" + wish.key, id).second)
        broken("P4 one job a key", "key " + wish.key + " of queue " + wish.queue + " made a second job: " + text(id));
    wish.job = id;
    return wish;
}

/// Whether what was written is what was submitted. What that left open is as set for the queue and the type.
void Model::check_submitted(const Wish& wish, const broker::LiveRow& row) const {
    const SubmitItem& item = wish.item;
    const RetryPolicy policy = queues_.policy_of(item);
    Backoff backoff;
    backoff.initial_ms = policy.backoff.initial_ms.value_or(backoff.initial_ms);
    backoff.factor_percent = policy.backoff.factor_percent.value_or(backoff.factor_percent);
    backoff.max_ms = policy.backoff.max_ms.value_or(backoff.max_ms);
    backoff.jitter_percent = policy.backoff.jitter_percent.value_or(backoff.jitter_percent);
    if (row.queue != item.queue || row.type != item.type || row.priority != item.priority || row.key != item.key ||
        row.held != item.held || row.deadline_ms != item.deadline_ms || row.queue_timeout_ms != item.queue_timeout_ms ||
        row.key_ttl_ms != item.key_ttl_ms || (item.run_at == 0 && row.delay_ms != item.delay_ms))
        broken("P1 what is submitted is what is kept", wish.name + " was written otherwise");
    if (row.max_attempts != policy.max_attempts.value_or(kDefaultMaxAttempts) ||
        row.timeout_ms != policy.timeout_ms.value_or(kDefaultTimeoutMs) || row.backoff != backoff)
        broken("P6 a job is tried as it, its type or its queue says",
               wish.name + " is to be tried in another way: max_attempts=" + std::to_string(row.max_attempts) +
                   " timeout_ms=" + std::to_string(row.timeout_ms));
}

void Model::job_made(JobId job, Wish& wish, const broker::LiveRow& row) {
    Record& known = record(job);
    if (known.stage != Record::Stage::absent) broken("P1 a job number is issued once", text(job) + " was made twice");
    known.wish = &wish;
    known.stage = Record::Stage::live;
    known.is.queue = row.queue;
    known.is.type = row.type;
    known.is.priority = row.priority;
    known.is.held = row.held;
    known.is.max_attempts = row.max_attempts;
    known.is.timeout_ms = row.timeout_ms;
    known.is.backoff = row.backoff;
    known.was.push_back(known.is);
    known.deadline_ms = row.deadline_ms;
    known.queue_timeout_ms = row.queue_timeout_ms;
    known.key = row.key;
    known.round_at = wish.wished_at;
    known.begun_by = world_.now();
    known.not_before = wish.wished_at + static_cast<std::int64_t>(wish.item.delay_ms) * kMs;
    known.due_at = row.delay_ms == 0 ? 0 : row.created_at + static_cast<std::int64_t>(row.delay_ms);
    known.waits_as = row.delay_ms != 0 || row.held ? JobState::scheduled : JobState::none;
    touched_.insert(job);
    world_.tell("disk", job, " is submitted: ", wish.name);
    stream_.happened(EventKind::submitted, job);
    ++totals_.submitted;
    ++unended_;
}

/// The rows of a dead job were written anew.
void Model::edited(JobId job, const broker::LiveRow& row) {
    Record& known = record(job);
    if (known.stage != Record::Stage::ended || known.ends.back().state != JobState::dead || known.resubmitted)
        broken("P2 only the dead are edited", text(job));
    const Settings before = known.is;
    known.is.queue = row.queue;
    known.is.type = row.type;
    known.is.priority = row.priority;
    known.is.max_attempts = row.max_attempts;
    known.is.timeout_ms = row.timeout_ms;
    known.is.backoff = row.backoff;
    const std::string& payload = before.payload.empty() ? known.wish->payload : before.payload;
    const std::set<std::string>& new_ones = new_payloads_[job];  // of this batch: one, nearly always
    const auto asked = std::find_if(known.edits_asked.begin(), known.edits_asked.end(), [&](const EditAsked& wanted) {
        const Edit& edit = wanted.edit;
        return row.queue == (edit.queue.empty() ? std::string_view(before.queue) : edit.queue) &&
               row.type == (edit.type.empty() ? std::string_view(before.type) : edit.type) &&
               row.priority == (edit.priority == 0 ? before.priority : edit.priority) &&
               row.max_attempts == edit.retry.max_attempts.value_or(before.max_attempts) &&
               row.timeout_ms == edit.retry.timeout_ms.value_or(before.timeout_ms) &&
               row.payload_size == (edit.new_payload ? wanted.payload : payload).size() &&
               (!edit.new_payload || new_ones.contains(wanted.payload));
    });
    if (asked == known.edits_asked.end())
        broken("P2 what is edited is what was asked for", text(job) + " was written in a way nobody asked for");
    if (asked->edit.new_payload) known.is.payload = asked->payload;
    known.was.push_back(known.is);
    world_.tell("disk", job, " is edited");
    ++totals_.edited;
}

void Model::note_task(std::uint64_t number, std::string_view bytes) {
    broker::TaskRow row;
    JOBYARD_ASSERT(read_row(bytes, row));
    broker::TaskState& state = tasks_.try_emplace(number, broker::TaskState::running).first->second;
    if (state != broker::TaskState::running)
        broken("P2 a task ends once", "task " + std::to_string(number) + " was written after its end");
    state = row.state;
    if (state != broker::TaskState::done) return;
    ++totals_.tasks_done;
    task_ended(number, row);
}

/// A task has seen all that was there when it began.
void Model::task_ended(std::uint64_t number, const broker::TaskRow& row) const {
    if (row.action != TaskAction::cancel || row.count_only || row.job_state != JobState::none || row.made_before != 0 ||
        row.made_after != 0 || plan_.changes != 0 || plan_.edits != 0)
        return;
    for (const auto& [job, known] : jobs_)
        if (job.value < row.end && known.is_live() && known.ends.empty() && !known.cancel_requested &&
            (row.queue.empty() || row.queue == known.is.queue) && (row.type.empty() || row.type == known.is.type))
            broken("P2 a task does all that it is for",
                   "task " + std::to_string(number) + " is done and " + text(job) + " is not cancelled");
}

/// A key names something as long as it was asked to, and no longer.
void Model::key_freed(std::string_view row_key) {
    std::string key(row_key);
    std::replace(key.begin(), key.end(), '\0', '/');
    const auto holder = keys_.find(key);
    if (holder == keys_.end()) return;
    const JobId job = holder->second;
    Record& known = record(job);
    Wish& wish = *known.wish;
    const auto ttl = static_cast<std::int64_t>(wish.item.key_ttl_ms);
    if (known.is_live() && !known.key.empty())  // a redrive in time takes it along
        broken("P4 one job a key", "the key of " + text(job) + " is free, and the job has not ended");
    const std::int64_t wall = wall_offset_ms_ + world_.now_ms();
    if (plan_.clock_jump == 0 && !known.key.empty() && wall < known.ended_at_ms + ttl)
        broken("P4 a key is kept as long as it was asked to", "that of " + text(job) + " is free too early");
    ++totals_.keys_freed;
    freed_keys_.insert(key);
    keys_.erase(holder);
    wish.job = {};
}

/// Its key may name something else from now on.
void Model::array_forgotten(JobId id) {
    if (!retention_) broken("P2 what has ended is kept until retention retires it", text(id) + " was forgotten");
    arrays_.forgotten(id);
    ++totals_.arrays_forgotten;
    Wish& wish = *arrays_.find(id)->wish;
    const auto key = keys_.find(wish.queue + "/" + wish.key);
    if (wish.key.empty() || key == keys_.end() || key->second != id) return;
    freed_keys_.insert(key->first);
    keys_.erase(key);
    wish.job = {};
}

/// `expired`: the job's time was over, which is charged to nobody.
void Model::attempt_ended(JobId job, const AttemptRow& row, const char* table, bool expired) {
    Record& known = record(job);
    touched_.insert(job);
    if (known.leased == row.token) known.leased = {};
    const std::string what = text(job, row.token) + " (" + to_string(row.outcome) + ", table " + table + ")";
    if (!known.is_live()) broken("P2 every job ends once per round", what + " ended after its job had ended");
    const auto sent = executions_.find(row.token);
    if (sent == executions_.end() || sent->second.job != job) {
        const bool of_handler =
            row.outcome == Outcome::completed || row.outcome == Outcome::failed || row.outcome == Outcome::timeout;
        if (of_handler && !expired)
            broken("P3 a result is accepted only with the live token", what + " was never sent to anybody");
        ended_unsent_[row.token] = row.outcome;
    } else {
        Execution& execution = sent->second;
        if (execution.recorded) broken("P3 exactly-once recorded completion", what + " was recorded twice");
        execution.recorded = true;
        execution.outcome = row.outcome;
        if (!expired) check_cause(job, row, execution);
    }
    if (known.newest_sent > row.token)
        broken("P3 a token is void once a newer one was sent",
               what + " was recorded after " + text(known.newest_sent) + " had been sent");
    if (expired) return;
    // A handler that gives up on its own is charged like one that failed.
    const bool own_error = row.outcome == Outcome::failed || row.outcome == Outcome::timeout ||
                           (row.outcome == Outcome::cancelled && !known.cancel_requested);
    const bool ends_the_job = std::string_view(table) == "ended";
    coverage_.outcome(row.outcome);
    if (own_error) {
        ++known.errors;
        std::int64_t since = world_.now();
        if (sent != executions_.end())
            since = row.outcome == Outcome::timeout ? sent->second.began_at : sent->second.ended_at;
        known.not_before = since + pause_us(known.is.backoff, known.errors);
    }
    if (row.outcome == Outcome::released && sent != executions_.end() && row.error == "handed back by its worker")
        known.not_before = sent->second.not_before;
    if (row.outcome == Outcome::worker_lost || row.outcome == Outcome::lease_expired) ++known.crashes;
    if (ends_the_job) return;
    world_.tell("disk", job, " has lost an attempt: ", to_string(row.outcome));
    if (row.outcome != Outcome::released) ++known.attempts;
    if (row.attempt != known.attempts + (row.outcome == Outcome::released ? 1 : 0))
        broken("P6 attempts are charged to the right budget",
               what + " has number " + std::to_string(row.attempt) + " after " + std::to_string(known.attempts));
    known.waits_as = own_error                          ? JobState::retrying
                     : row.outcome == Outcome::released ? JobState::scheduled
                                                        : JobState::none;
    stream_.happened(own_error                          ? EventKind::failed
                     : row.outcome == Outcome::released ? EventKind::released
                                                        : EventKind::worker_lost,
                     job);
}

/// Whether what was recorded is what happened.
void Model::check_cause(JobId job, const AttemptRow& row, const Execution& execution) const {
    const std::string what = text(job, row.token) + " of " + execution.worker;
    const bool finished = execution.ended_at >= 0 && execution.outcome_of_handler != Outcome::none;
    const std::int64_t timeout_us = std::int64_t{jobs_.at(job).is.timeout_ms} * kMs;
    switch (row.outcome) {
        case Outcome::completed:
            if (!finished || !execution.succeeded())
                broken("P3 a result is what a handler gave", what + " is completed without a success");
            break;
        case Outcome::failed:
            if (!finished || execution.outcome_of_handler != Outcome::failed)
                broken("P6 attempts are charged to the right budget",
                       what + " is charged with an error it did not make");
            break;
        case Outcome::timeout:
            if (execution.began_at < 0 || timeout_us == 0 || world_.now() - execution.began_at < timeout_us - kRounding)
                broken("P6 attempts are charged to the right budget", what + " timed out before its time");
            break;
        case Outcome::cancelled:
            if (!cancel_was_asked(job, jobs_.at(job)))
                broken("P2 every job ends once per round", what + " was cancelled by nobody");
            break;
        case Outcome::worker_lost:
        case Outcome::lease_expired: {
            const auto disturbed = disturbed_until_.find(execution.worker);
            const std::int64_t until =
                std::max(broker_disturbed_until_, disturbed == disturbed_until_.end() ? 0 : disturbed->second);
            const std::int64_t patience =
                (std::int64_t{plan_.timing().lease_ms} + plan_.timing().lost_after_ms) * kMs + 10 * kSecond;
            if (by_broker(world_.now()) - until > patience)
                broken("P6 a worker that nothing happened to is not lost",
                       what + " is charged with a " + to_string(row.outcome));
            break;
        }
        case Outcome::released:
        case Outcome::none: break;
    }
}

void Model::job_ended(JobId job, std::string_view bytes) {
    EndRow row;
    JOBYARD_ASSERT(read_row(bytes, row));
    Record& known = record(job);
    if (!known.is_live())
        broken("P2 every job ends exactly once per round",
               text(job) + " ended a second time, as " + to_string(row.state));
    const bool expired = row.reason == Reason::expired;
    if (row.last.outcome != Outcome::none) attempt_ended(job, row.last, "ended", expired);
    if (row.errors != known.errors || row.crashes != known.crashes)
        broken("P6 attempts are charged to the right budget",
               text(job) + " ended with errors=" + std::to_string(row.errors) +
                   " crashes=" + std::to_string(row.crashes) + "; there were " + std::to_string(known.errors) +
                   " and " + std::to_string(known.crashes));
    const bool last_was_retryable =
        row.last.token && executions_.contains(row.last.token) && executions_.at(row.last.token).retryable;
    bool right = false;
    switch (row.state) {
        case JobState::completed: right = row.last.outcome == Outcome::completed; break;
        case JobState::cancelled: right = cancel_was_asked(job, known) && row.last.outcome != Outcome::completed; break;
        case JobState::dead:
            if (row.reason == Reason::crash_loop) right = known.crashes == kCrashBudget;
            if (row.reason == Reason::failed) right = known.errors >= known.is.max_attempts;
            if (row.reason == Reason::not_retryable) right = !last_was_retryable;
            if (expired) right = has_expired(known);
            break;
        default: break;
    }
    if (!right)
        broken("P2 a job ends for a reason", text(job) + " ended as " + to_string(row.state) + " (" +
                                                 to_string(row.reason) + ") after " + to_string(row.last.outcome));
    if (row.queue != known.is.queue || row.type != known.is.type || row.priority != known.is.priority)
        broken("P1 acknowledged means durable", text(job) + " ended with another queue, type or priority");
    known.stage = Record::Stage::ended;
    known.changed_at = world_.now();
    known.ended_at_ms = row.ended_at;
    known.attempts = row.last.attempt;
    known.cancel_requested = false;
    // What is leased now is a grant of the next round: this end has taken its own lease above. A redrive and a grant
    // may be decided before the batch that has both is durable; only the DISPATCH waits for that.
    touched_.insert(job);
    stream_.happened(row.state == JobState::completed ? EventKind::completed
                     : row.state == JobState::dead    ? EventKind::dead
                                                      : EventKind::cancelled,
                     job);
    coverage_.reason(row.reason);
    if (expired) ++totals_.expired;
    world_.tell("disk", job, " has ended: ", to_string(row.state), row.reason == Reason::none ? "" : ", ",
                row.reason == Reason::none ? "" : to_string(row.reason));
    known.ends.push_back({row.state, row.reason, row.last.token, row.result_size});
    if (known.array) arrays_.job_ended(known.array, row.state);
    --unended_;
    (row.state == JobState::completed ? totals_.completed
     : row.state == JobState::dead    ? totals_.dead
                                      : totals_.cancelled) += 1;
}

/// A round is over for want of time. The broker's clock stands still while it does, and is set by the wall at a start.
bool Model::has_expired(const Record& known) const {
    if (known.deadline_ms == 0 && known.queue_timeout_ms == 0) return false;
    if (plan_.clock_jump != 0) return true;
    const auto is_over = [&](std::uint64_t limit_ms, std::int64_t from) {
        return limit_ms != 0 && world_.now() - from + kRounding >= static_cast<std::int64_t>(limit_ms) * kMs;
    };
    return is_over(known.deadline_ms, known.round_at) ||
           is_over(known.queue_timeout_ms, std::max(known.round_at, known.not_before));
}

void Model::state_written(JobId job, std::string_view bytes) {
    StateRow row;
    JOBYARD_ASSERT(read_row(bytes, row));
    Record& known = record(job);
    if (!known.is_live()) return;  // of a batch in which it ends as well
    touched_.insert(job);
    if (row.errors != known.errors || row.crashes != known.crashes || row.attempts != known.attempts)
        broken("P6 attempts are charged to the right budget",
               text(job) + " was written with errors=" + std::to_string(row.errors) +
                   " crashes=" + std::to_string(row.crashes) + " attempts=" + std::to_string(row.attempts) +
                   "; there were " + std::to_string(known.errors) + ", " + std::to_string(known.crashes) + " and " +
                   std::to_string(known.attempts));
    if (row.cancel_requested && !known.cancel_requested) {
        if (!cancel_was_asked(job, known)) broken("P2 a job is cancelled by who asked for it", text(job));
        known.cancel_requested = true;
    }
    Settings now = known.is;
    if (row.priority != 0) now.priority = row.priority;
    if (!row.queue.empty()) now.queue = row.queue;
    now.held = row.held;
    const auto asked_for = [&](auto&& says) {
        return std::any_of(known.changes_asked.begin(), known.changes_asked.end(), says);
    };
    if ((now.priority != known.is.priority &&
         !asked_for([&](const Change& change) { return change.priority == now.priority; })) ||
        (now.queue != known.is.queue && !asked_for([&](const Change& change) { return change.queue == now.queue; })) ||
        (now.held != known.is.held && !asked_for([&](const Change& change) { return change.held == now.held; })))
        broken("P2 what is changed is what was asked for", text(job) + " was written in a way nobody asked for");
    // What is held waits as it did, or if it was queued, as if for a delay.
    if (now.held && (known.errors == 0 || row.scheduled)) known.waits_as = JobState::scheduled;
    if (row.due_at != 0 && known.waits_as == JobState::none) known.waits_as = JobState::scheduled;
    known.is = now;
    known.was.push_back(now);
    known.due_at = row.due_at;
    if (row.due_at == 0 || row.scheduled || known.errors == 0 || plan_.clock_jump != 0) return;
    // The pause after an error: what was asked for, and some more by chance.
    const std::int64_t least_us = pause_us(known.is.backoff, known.errors);
    const std::int64_t least = least_us / kMs;
    const std::int64_t most = least_us * (100 + known.is.backoff.jitter_percent) / 100 / kMs + 1;
    const auto pause = static_cast<std::int64_t>(row.pause_ms);
    if (pause > most || (pause < least - 1 && known.changes_asked.empty()))
        broken("P2 delays and pauses are kept", text(job) + " rests for " + std::to_string(pause) + " ms, not for " +
                                                    std::to_string(least) + " to " + std::to_string(most));
}

void Model::job_redriven(JobId job) {
    Record& known = record(job);
    const bool asked = known.redrive_asked || is_in_task(TaskAction::redrive, job, known);
    if (known.stage != Record::Stage::ended || known.ends.back().state != JobState::dead || !asked || known.resubmitted)
        broken("P2 only the dead are redriven, by who asked for it", text(job));
    known.stage = Record::Stage::live;
    known.errors = known.crashes = 0;
    known.not_before = known.due_at = 0;
    known.is.held = false;
    known.waits_as = JobState::none;
    world_.tell("disk", job, " is redriven");
    known.round_at = (known.ended_at_ms - wall_offset_ms_) * kMs;
    known.changed_at = world_.now();
    known.begun_by = world_.now();
    touched_.insert(job);
    stream_.happened(EventKind::redriven, job);
    candidates_.push_back(job);
    if (known.array) arrays_.job_redriven(known.array);
    ++totals_.redriven;
    ++unended_;
}

void Model::job_retired(JobId job) {
    Record& known = record(job);
    const bool is_dead = !known.ends.empty() && known.ends.back().state == JobState::dead;
    if (!retention_ && !(is_dead && is_in_task(TaskAction::purge, job, known)))
        broken("P2 ended jobs are kept until retention retires them", text(job) + " was retired");
    if (known.stage != Record::Stage::ended) broken("P2 unended jobs are never retired", text(job));
    known.stage = Record::Stage::retired;
    stream_.happened(EventKind::retired, job);
    world_.tell("disk", job, " is retired");
    if (known.array && is_dead && !known.resubmitted) arrays_.job_left_dead(known.array);
    ++totals_.retired;
}

// --- the end ---------------------------------------------------------------------------------------------------------

std::string Model::unended() const {
    std::string list;
    for (const auto& [job, known] : jobs_)
        if (known.is_live()) list += (list.empty() ? "" : ", ") + text(job);
    const std::string arrays = arrays_.unended();
    return list + (list.empty() || arrays.empty() ? "" : ", ") + arrays;
}

void Model::check(const broker::Core& core, std::int64_t wall_offset_ms) {
    if (world_.now() >= next_whole_check_) return check_all(core, wall_offset_ms);
    wall_offset_ms_ = wall_offset_ms;
    const std::int64_t wall_ms = wall_offset_ms + world_.now_ms();
    for (const JobId job : touched_) check_job(core, job, wall_ms);
    touched_.clear();
}

void Model::check_all(const broker::Core& core, std::int64_t wall_offset_ms) {
    wall_offset_ms_ = wall_offset_ms;
    next_whole_check_ = world_.now() + 5 * kSecond;
    const std::int64_t wall_ms = wall_offset_ms + world_.now_ms();
    touched_.clear();
    for (const auto& [job, known] : jobs_) check_job(core, job, wall_ms);
    check_counts(core);
    check_totals(core);
}

void Model::check_job(const broker::Core& core, JobId id, std::int64_t wall_ms) {
    const Record& known = record(id);
    const broker::Job* job = core.job(id);
    ++totals_.states_checked;
    const auto wrong = [&](const std::string& what) {
        broken("P2 the broker's state is that of what happened", text(id) + what);
    };
    if ((job != nullptr) != known.is_live()) wrong(known.is_live() ? " is not in the core" : " is still in the core");
    if (job == nullptr) return;
    const auto same = [&](const char* what, std::uint64_t is, std::uint64_t expected) {
        if (is != expected)
            wrong(std::string(" has ") + what + "=" + std::to_string(is) + ", not " + std::to_string(expected));
    };
    same("errors", job->errors, known.errors);
    same("crashes", job->crashes, known.crashes);
    same("attempts", job->attempts, known.attempts);
    same("priority", job->priority, known.is.priority);
    same("held", job->held ? 1 : 0, known.is.held ? 1 : 0);
    same("max_attempts", job->max_attempts, known.is.max_attempts);
    same("timeout_ms", job->timeout_ms, known.is.timeout_ms);
    same("cancel_requested", job->cancel_requested ? 1 : 0, known.cancel_requested ? 1 : 0);
    same("leased", job->leased() ? 1 : 0, known.leased ? 1 : 0);
    const std::int64_t late_us = stalled_us_ + kLateMs * kMs;
    if (known.deadline_ms != 0 && plan_.clock_jump == 0 && world_.now() > started_at_ + kLateMs * kMs &&
        world_.now() > known.begun_by + static_cast<std::int64_t>(known.deadline_ms) * kMs + late_us)
        wrong(" has outlived its deadline");
    if (job->leased()) return same("token", job->token.value, known.leased.value);
    const bool waits = job->state == JobState::scheduled || job->state == JobState::retrying;
    if (job->state != JobState::queued && job->state != known.waits_as)
        wrong(std::string(" is ") + to_string(job->state) + ", for no reason");
    if (job->state == JobState::queued && known.is.held) wrong(" is queued and held");
    // Its clock stands still while the broker does, and counts on from the wall's time at a start.
    if (waits && !known.is.held && plan_.clock_jump == 0 && world_.now() > started_at_ + kLateMs * kMs &&
        wall_ms > known.due_at + late_us / kMs)
        wrong(std::string(" is still ") + to_string(job->state) + ", and its time has passed");
}

/// What STATS tells.
void Model::check_counts(const broker::Core& core) const {
    const auto wrong = [](const std::string& what, std::uint64_t is, std::uint64_t expected) {
        if (is != expected)
            broken("P2 the broker's counts are those of its jobs",
                   what + " is " + std::to_string(is) + ", not " + std::to_string(expected));
    };
    std::map<JobState, std::uint64_t> states;
    struct Queue {
        std::uint64_t unended = 0;
        std::uint64_t queued = 0;
        std::uint64_t running = 0;
    };
    std::map<std::string, Queue, std::less<>> queues;
    std::uint64_t dead = 0;
    for (const auto& [id, known] : jobs_) {
        if (known.stage == Record::Stage::ended && known.ends.back().state == JobState::dead && !known.resubmitted)
            ++dead;
        if (!known.is_live()) continue;
        const broker::Job& job = *core.job(id);
        ++states[job.state];
        Queue& queue = queues[known.is.queue];
        ++queue.unended;
        if (job.state == JobState::queued) ++queue.queued;
        if (job.leased()) ++queue.running;
    }
    std::string bytes;
    core.append_stats(bytes);
    const MapFields stats = read_map(bytes);
    const MapFields jobs = read_map(stats.at("jobs"));
    for (const JobState state :
         {JobState::scheduled, JobState::queued, JobState::assigned, JobState::running, JobState::retrying})
        wrong(std::string("the number of jobs that are ") + to_string(state), number_in(jobs, to_string(state)),
              states[state]);
    wrong("the number of dead jobs", number_in(jobs, "dead"), dead);
    for (const std::string_view map : read_list(stats.at("queues"))) {
        const MapFields fields = read_map(map);
        const std::string name(text_in(fields, "name"));
        const Queue& queue = queues[name];
        wrong("unended of " + name, number_in(fields, "unended"), queue.unended);
        wrong("queued of " + name, number_in(fields, "queued"), queue.queued);
        wrong("running of " + name, number_in(fields, "running"), queue.running);
    }
}

void Model::check_totals(const broker::Core& core) const {
    const broker::NumbersRow& numbers = core.numbers();
    if (numbers.submitted_total != totals_.submitted || numbers.completed_total != totals_.completed ||
        numbers.dead_total != totals_.dead || numbers.cancelled_total != totals_.cancelled)
        broken("P2 every job ends exactly once per round", "the broker's totals are not those of the jobs that ended");
}

}  // namespace jobyard::sim
