// The core's own state, against what is known here.

#include "maps.hpp"
#include "model.hpp"
#include "model_text.hpp"

namespace jobyard::sim {

namespace {

constexpr std::int64_t kLateMs = 15'000;  ///< a start, and a broker that is busy

}  // namespace

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
    // In the claim window, which is of its own clock too, nothing expires and nothing is handed out.
    const bool has_had_time = plan_.clock_jump == 0 && world_.now() > started_at_ + late_us;
    if (known.deadline_ms != 0 && has_had_time &&
        world_.now() > known.begun_by + static_cast<std::int64_t>(known.deadline_ms) * kMs + late_us)
        wrong(" has outlived its deadline");
    if (job->leased()) return same("token", job->token.value, known.leased.value);
    const bool waits = job->state == JobState::scheduled || job->state == JobState::retrying;
    if (job->state != JobState::queued && job->state != known.waits_as)
        wrong(std::string(" is ") + to_string(job->state) + ", for no reason");
    if (job->state == JobState::queued && known.is.held) wrong(" is queued and held");
    // Its clock stands still while the broker does, and counts on from the wall's time at a start.
    if (waits && !known.is.held && has_had_time && wall_ms > known.due_at + late_us / kMs)
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
