// Grants, claims and their order: what the broker does at its edges.

#include <algorithm>

#include "model.hpp"
#include "model_text.hpp"

namespace jobyard::sim {

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
    // Of a lease that is over by now it is as it was when it was granted; nobody gets it, for its session is over too.
    if (known.stage == Record::Stage::live && !ended_unsent_.contains(item.token) &&
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
                // One that was dead may have been edited, and its batch not be on disk yet.
                const bool is_certain = known.stage == Record::Stage::live && known.changes_asked.empty();
                if (job != nullptr && job->leased() && known.is.queue == queue && is_certain) ++running;
            }
            if (running > most)
                broken("P5 no more of a queue run than may",
                       std::to_string(running) + " of " + queue + " run, and " + std::to_string(most) + " may");
        }
    }
    if (plan_.workers_differ == 0 && aged_picks_ > picks_ / broker::kAgingShare + 1)
        broken("P5 the highest priority goes first", "more than one choice in 20 went to the oldest job");
}

}  // namespace jobyard::sim
