#include "model.hpp"

#include <algorithm>
#include <cmath>

#include "jobyard/assert.hpp"
#include "record.hpp"

namespace jobyard::sim {

using broker::AttemptRow;
using broker::Batch;
using broker::EndRow;
using broker::Op;
using broker::StateRow;
using broker::Table;

namespace {

constexpr std::int64_t kRounding = 2 * kMs;  ///< times are cut to milliseconds on both sides

std::string text(JobId job) { return "job " + std::to_string(job.value); }
std::string text(LeaseToken token) { return "token " + to_text(token); }
std::string text(JobId job, LeaseToken token) { return text(job) + " under " + text(token); }

/// The broker's pause after so many errors, without jitter.
std::int64_t pause_us(const BackoffPolicy& asked, std::uint32_t errors) {
    Backoff backoff;
    backoff.initial_ms = asked.initial_ms.value_or(backoff.initial_ms);
    backoff.factor_percent = asked.factor_percent.value_or(backoff.factor_percent);
    backoff.max_ms = asked.max_ms.value_or(backoff.max_ms);
    const double grown = backoff.initial_ms * std::pow(backoff.factor_percent / 100.0, errors - 1);
    return static_cast<std::int64_t>(std::min<double>(grown, backoff.max_ms)) * kMs;
}

}  // namespace

void Totals::add(const Totals& other) {
    submitted += other.submitted;
    completed += other.completed;
    dead += other.dead;
    cancelled += other.cancelled;
    redriven += other.redriven;
    retired += other.retired;
    dispatched += other.dispatched;
    executions += other.executions;
    run_twice += other.run_twice;
    stale_ends += other.stale_ends;
    claims_kept += other.claims_kept;
    refusals += other.refusals;
    arrays += other.arrays;
    array_jobs += other.array_jobs;
    resubmitted += other.resubmitted;
    arrays_forgotten += other.arrays_forgotten;
}

void Model::broken(std::string rule, std::string how) { throw Broken{std::move(rule), std::move(how)}; }

Model::Record& Model::record(JobId job) { return jobs_[job]; }

/// Of the job, or the array, of that number; null if it has never been on disk.
const Wish* Model::wish_of(JobId id) const {
    if (const Array* array = arrays_.find(id)) return array->wish;
    const auto found = jobs_.find(id);
    return found == jobs_.end() ? nullptr : found->second.wish;
}

bool Model::cancel_was_asked(const Record& known) const {
    return known.cancel_asked || (known.array && arrays_.find(known.array)->cancel_asked);
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

void Model::asks_cancel(JobId job) {
    if (Array* array = arrays_.find(job)) array->steered = array->cancel_asked = true;
    else record(job).cancel_asked = true;
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
        const bool went_with_a_redrive = e.state == JobState::dead && payload.empty();
        return e.state == item.state && e.reason == item.reason && (is_whole || went_with_a_redrive);
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

JobId Model::any_array(Random& random) const {
    std::vector<JobId> ids;
    for (const auto& [id, array] : arrays_.all())
        if (!array.is_forgotten || random.percent(5)) ids.push_back(id);
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
        return other != token && earlier.began_at >= 0 && (earlier.ended_at < 0 || earlier.succeeded);
    });
    if (twice) ++totals_.run_twice;
}

void Model::finishes(LeaseToken token, bool succeeded, bool retryable, std::string result) {
    Execution& execution = executions_.at(token);
    execution.ended_at = world_.now();
    execution.succeeded = succeeded;
    execution.retryable = retryable;
    execution.result = std::move(result);
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

void Model::disturbed(const std::string& worker, std::int64_t until_us) {
    std::int64_t& known = disturbed_until_[worker];
    known = std::max(known, until_us);
}

void Model::broker_disturbed(std::int64_t until_us) {
    broker_disturbed_until_ = std::max(broker_disturbed_until_, until_us);
}

// --- the broker's edges ----------------------------------------------------------------------------------------------

void Model::broker_started(const broker::Core& core, std::set<Uuid> known_workers) {
    awaited_ = std::move(known_workers);
    started_at_ = world_.now();
    picks_ = aged_picks_ = 0;
    candidates_.clear();
    next_candidate_ = 1;
    broker_disturbed(world_.now());
    for (auto& [job, known] : jobs_) {
        known.live = {};
        const broker::Job* loaded = core.job(job);
        if ((loaded != nullptr) != known.is_live())
            broken("P1 acknowledged means durable",
                   text(job) + (known.is_live() ? " is not there" : " is there again") + " after a restart");
        if (loaded == nullptr) continue;
        if (loaded->errors != known.errors || loaded->crashes != known.crashes)
            broken("P6 attempts are charged to the right budget",
                   text(job) + " came back with other charges after a restart");
    }
    for (const auto& [id, array] : arrays_.all())
        if (core.has_array(id) == array.is_forgotten)
            broken("P1 acknowledged means durable", "array " + std::to_string(id.value) +
                                                        (array.is_forgotten ? " is there again" : " is not there") +
                                                        " after a restart");
}

void Model::claim_answered(JobId job, LeaseToken token, Code code) {
    if (code != Code::ok && code != Code::cancel_requested) return;
    Record& known = record(job);
    const auto execution = executions_.find(token);
    if (execution == executions_.end() || execution->second.job != job) return;  // never sent: nothing runs
    if (execution->second.recorded)
        broken("P7 only what still runs is claimed",
               "the claim of " + text(job, token) + " was accepted after its end");
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
    if (known.wish->payload != payload || known.wish->queue != item.queue || known.wish->type != item.type)
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
    if (!awaited_.empty() && world_.now() - started_at_ < std::int64_t{plan_.timing.claim_window_ms} * kMs - kRounding)
        broken("P7 nothing is dispatched in the claim window", what + " was sent to " + worker);
    if (world_.now() < known.not_before - kRounding && plan_.faults.clock_jump == 0)
        broken("P2 delays and pauses are kept", what + " was sent too early");
    known.newest_sent = known.live = item.token;
}

void Model::granted(const broker::Core& core, const std::vector<JobId>& jobs) {
    for (; next_candidate_ < core.numbers().next_job; ++next_candidate_) candidates_.push_back({next_candidate_});
    if (jobs.empty()) return;
    std::erase_if(candidates_, [&](JobId job) { return core.job(job) == nullptr; });
    picks_ += jobs.size();
    for (const JobId chosen : jobs) {
        const broker::Job& picked = *core.job(chosen);
        if (record(chosen).cancel_promised) broken("P2 a cancelled job is not dispatched", text(chosen));
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
    }
    if (!plan_.workers_differ && aged_picks_ > picks_ / broker::kAgingShare + 1)
        broken("P5 the highest priority goes first", "more than one choice in 20 went to the oldest job");
}

// --- what becomes durable --------------------------------------------------------------------------------------------

void Model::durable(const Batch& batch) {
    arrays_.begin(batch);
    for (const Op& op : batch.ops())
        if (batch.key(op).size() >= 8) note(batch, op);
    arrays_.end();
}

void Model::note(const Batch& batch, const Op& op) {
    const std::string_view key = batch.key(op);
    const std::string_view value = batch.value(op);
    const JobId job{broker::from_big_endian(key)};
    const bool put = op.kind == Op::Kind::put;
    const bool erased = op.kind == Op::Kind::erase;
    if (op.table == Table::arrays && put) {
        arrays_.made(job, wish_made(job, batch.view(batch.payload_of(job).value())));
        ++totals_.arrays;
    }
    if (op.table == Table::arrays && erased) array_forgotten(job);
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
        if (!row.array) {
            job_made(job, wish_made(job, batch.view(batch.payload_of(job).value())));
        } else {
            arrays_.made_job(row.array, row.array_index, job);
            const Array& array = *arrays_.find(row.array);
            job_made(job, *array.wish);
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
    if ((op.table == Table::done || op.table == Table::dead) && put) job_ended(job, value);
    if (op.table == Table::dead && op.kind == Op::Kind::move) {
        Record& known = record(job);
        if (known.stage != Record::Stage::ended || known.resubmitted || !known.array)
            broken("P11 what is resubmitted is dead", text(job));
        known.resubmitted = true;
        arrays_.job_left_dead(known.array);
    }
    if ((op.table == Table::done || (op.table == Table::buried && !record(job).resubmitted)) && erased)
        job_retired(job);
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

void Model::job_made(JobId job, Wish& wish) {
    Record& known = record(job);
    if (known.stage != Record::Stage::absent) broken("P1 a job number is issued once", text(job) + " was made twice");
    known.wish = &wish;
    known.stage = Record::Stage::live;
    known.not_before = wish.wished_at + static_cast<std::int64_t>(wish.item.delay_ms) * kMs;
    ++totals_.submitted;
    ++unended_;
}

/// Its key may name something else from now on.
void Model::array_forgotten(JobId id) {
    if (!plan_.retention) broken("P2 what has ended is kept until retention retires it", text(id) + " was forgotten");
    arrays_.forgotten(id);
    ++totals_.arrays_forgotten;
    Wish& wish = *arrays_.find(id)->wish;
    const auto key = keys_.find(wish.queue + "/" + wish.key);
    if (wish.key.empty() || key == keys_.end() || key->second != id) return;
    freed_keys_.insert(key->first);
    keys_.erase(key);
    wish.job = {};
}

void Model::attempt_ended(JobId job, const AttemptRow& row, const char* table) {
    Record& known = record(job);
    const std::string what = text(job, row.token) + " (" + to_string(row.outcome) + ", table " + table + ")";
    if (!known.is_live()) broken("P2 every job ends once per round", what + " ended after its job had ended");
    const auto sent = executions_.find(row.token);
    if (sent == executions_.end() || sent->second.job != job) {
        const bool of_handler =
            row.outcome == Outcome::completed || row.outcome == Outcome::failed || row.outcome == Outcome::timeout;
        if (of_handler) broken("P3 a result is accepted only with the live token", what + " was never sent to anybody");
        ended_unsent_[row.token] = row.outcome;
    } else {
        Execution& execution = sent->second;
        if (execution.recorded) broken("P3 exactly-once recorded completion", what + " was recorded twice");
        execution.recorded = true;
        execution.outcome = row.outcome;
        check_cause(job, row, execution);
    }
    if (known.newest_sent > row.token)
        broken("P3 a token is void once a newer one was sent",
               what + " was recorded after " + text(known.newest_sent) + " had been sent");
    if (row.outcome == Outcome::failed || row.outcome == Outcome::timeout) {
        ++known.errors;
        std::int64_t since = world_.now();
        if (sent != executions_.end())
            since = row.outcome == Outcome::failed ? sent->second.ended_at : sent->second.began_at;
        known.not_before = since + pause_us(known.wish->item.backoff, known.errors);
    }
    if (row.outcome == Outcome::worker_lost || row.outcome == Outcome::lease_expired) ++known.crashes;
}

/// Whether what was recorded is what happened.
void Model::check_cause(JobId job, const AttemptRow& row, const Execution& execution) const {
    const std::string what = text(job, row.token) + " of " + execution.worker;
    const bool finished = execution.ended_at >= 0 && !execution.result.empty();
    switch (row.outcome) {
        case Outcome::completed:
            if (!finished || !execution.succeeded)
                broken("P3 a result is what a handler gave", what + " is completed without a success");
            break;
        case Outcome::failed:
            if (!finished || execution.succeeded)
                broken("P6 attempts are charged to the right budget",
                       what + " is charged with an error it did not make");
            break;
        case Outcome::timeout:
            if (execution.began_at < 0 ||
                world_.now() - execution.began_at <
                    std::int64_t{jobs_.at(job).wish->item.timeout_ms.value_or(kDefaultTimeoutMs)} * kMs - kRounding)
                broken("P6 attempts are charged to the right budget", what + " timed out before its time");
            break;
        case Outcome::cancelled:
            if (!cancel_was_asked(jobs_.at(job)))
                broken("P2 every job ends once per round", what + " was cancelled by nobody");
            break;
        case Outcome::worker_lost:
        case Outcome::lease_expired: {
            const auto disturbed = disturbed_until_.find(execution.worker);
            const std::int64_t until =
                std::max(broker_disturbed_until_, disturbed == disturbed_until_.end() ? 0 : disturbed->second);
            const std::int64_t patience =
                (std::int64_t{plan_.timing.lease_ms} + plan_.timing.lost_after_ms) * kMs + 10 * kSecond;
            if (world_.now() - until > patience)
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
    if (row.last.outcome != Outcome::none) attempt_ended(job, row.last, "ended");
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
        case JobState::cancelled: right = cancel_was_asked(known) && row.last.outcome != Outcome::completed; break;
        case JobState::dead:
            if (row.reason == Reason::crash_loop) right = known.crashes == kCrashBudget;
            if (row.reason == Reason::failed) right = known.errors == known.wish->item.max_attempts;
            if (row.reason == Reason::not_retryable) right = !last_was_retryable;
            break;
        default: break;
    }
    if (!right)
        broken("P2 a job ends for a reason", text(job) + " ended as " + to_string(row.state) + " (" +
                                                 to_string(row.reason) + ") after " + to_string(row.last.outcome));
    known.stage = Record::Stage::ended;
    known.ends.push_back({row.state, row.reason, row.last.token, row.result_size});
    if (known.array) arrays_.job_ended(known.array, row.state);
    --unended_;
    (row.state == JobState::completed ? totals_.completed
     : row.state == JobState::dead    ? totals_.dead
                                      : totals_.cancelled) += 1;
}

void Model::state_written(JobId job, std::string_view bytes) {
    StateRow row;
    JOBYARD_ASSERT(read_row(bytes, row));
    const Record& known = record(job);
    if (!known.is_live()) return;  // of a batch in which it ends as well
    if (row.errors != known.errors || row.crashes != known.crashes)
        broken("P6 attempts are charged to the right budget",
               text(job) + " was written with errors=" + std::to_string(row.errors) +
                   " crashes=" + std::to_string(row.crashes) + "; there were " + std::to_string(known.errors) +
                   " and " + std::to_string(known.crashes));
}

void Model::job_redriven(JobId job) {
    Record& known = record(job);
    if (known.stage != Record::Stage::ended || known.ends.back().state != JobState::dead || !known.redrive_asked ||
        known.resubmitted)
        broken("P2 only the dead are redriven, by who asked for it", text(job));
    known.stage = Record::Stage::live;
    known.errors = known.crashes = 0;
    known.not_before = 0;
    candidates_.push_back(job);
    if (known.array) arrays_.job_redriven(known.array);
    ++totals_.redriven;
    ++unended_;
}

void Model::job_retired(JobId job) {
    Record& known = record(job);
    const bool is_dead = !known.ends.empty() && known.ends.back().state == JobState::dead;
    if (!plan_.retention && !(known.purge_asked && is_dead))
        broken("P2 ended jobs are kept until retention retires them", text(job) + " was retired");
    if (known.stage != Record::Stage::ended) broken("P2 unended jobs are never retired", text(job));
    known.stage = Record::Stage::retired;
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

void Model::check_totals(const broker::Core& core) const {
    const broker::NumbersRow& numbers = core.numbers();
    if (numbers.submitted_total != totals_.submitted || numbers.completed_total != totals_.completed ||
        numbers.dead_total != totals_.dead || numbers.cancelled_total != totals_.cancelled)
        broken("P2 every job ends exactly once per round", "the broker's totals are not those of the jobs that ended");
}

}  // namespace jobyard::sim
