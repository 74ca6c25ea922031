#include "plan.hpp"

#include <algorithm>

#include "world.hpp"

namespace jobyard::sim {
namespace {

constexpr Knob kKnobs[] = {
    // The faults and features first: without them there is less to read.
    {"arrays", &Plan::arrays},
    {"broker_crash", &Plan::broker_crash},
    {"broker_restart", &Plan::broker_restart},
    {"broker_stall", &Plan::broker_stall},
    {"commit_failure", &Plan::commit_failure},
    {"disk_full", &Plan::disk_full},
    {"store_stall", &Plan::store_stall},
    {"worker_crash", &Plan::worker_crash},
    {"worker_pause", &Plan::worker_pause},
    {"worker_drain", &Plan::worker_drain},
    {"client_crash", &Plan::client_crash},
    {"client_close", &Plan::client_close},
    {"cut", &Plan::cut},
    {"one_way_cut", &Plan::one_way_cut},
    {"slow", &Plan::slow},
    {"clock_jump", &Plan::clock_jump},
    {"unnoticed", &Plan::unnoticed},
    {"reload", &Plan::reload},
    {"looks", &Plan::looks},
    {"follows", &Plan::follows},
    {"watched", &Plan::watched},
    {"large", &Plan::large},
    {"wrong", &Plan::wrong},
    {"cancels", &Plan::cancels},
    {"redrives", &Plan::redrives},
    {"pauses", &Plan::pauses},
    {"queue_limits", &Plan::queue_limits},
    {"policies", &Plan::policies},
    {"changes", &Plan::changes},
    {"edits", &Plan::edits},
    {"tasks", &Plan::tasks},
    {"worker_drains", &Plan::worker_drains},
    {"keyed", &Plan::keyed},
    {"short_keys", &Plan::short_keys},
    {"delayed", &Plan::delayed},
    {"held", &Plan::held},
    {"deadlines", &Plan::deadlines},
    {"queue_timeouts", &Plan::queue_timeouts},
    {"open_policy", &Plan::open_policy},
    {"failing", &Plan::failing},
    {"hanging", &Plan::hanging},
    {"snoozing", &Plan::snoozing},
    {"limit_queue_jobs", &Plan::limit_queue_jobs},
    {"limit_jobs", &Plan::limit_jobs},
    {"limit_watches", &Plan::limit_watches},
    {"limit_sessions", &Plan::limit_sessions},
    {"limit_keys", &Plan::limit_keys},
    {"limit_queues", &Plan::limit_queues},
    {"limit_result_bytes", &Plan::limit_result_bytes},
    {"limit_events_bytes", &Plan::limit_events_bytes},
    {"limit_kept_jobs", &Plan::limit_kept_jobs},
    {"limit_dead_jobs", &Plan::limit_dead_jobs},
    {"limit_kept_ms", &Plan::limit_kept_ms},
    {"key_quotas", &Plan::key_quotas},
    {"quota_jobs", &Plan::quota_jobs},
    {"quota_bytes", &Plan::quota_bytes},
    {"quota_rate", &Plan::quota_rate},
    {"unapplied_batches", &Plan::unapplied_batches},
    {"result_grant", &Plan::result_grant},
    {"quick_timing", &Plan::quick_timing},
    {"priorities", &Plan::priorities, 1},
    {"queues", &Plan::queues, 1},
    {"workers_differ", &Plan::workers_differ},
    {"prefetch", &Plan::prefetch},
    {"clients", &Plan::clients, 1},
    {"workers", &Plan::workers, 1},
    {"jobs", &Plan::jobs, 1},
    {"fault_seconds", &Plan::fault_seconds, 1},
    {"network_delay", &Plan::network_delay, 100},
    {"commit_time", &Plan::commit_time, 100},
    {"read_time", &Plan::read_time, 50},
    {"apply_time", &Plan::apply_time, 50},
    {"run_time", &Plan::run_time, 1000},
};
static_assert(sizeof(Plan) == std::size(kKnobs) * sizeof(std::int64_t), "every number of a plan is a knob");

}  // namespace

std::span<const Knob> knobs() { return kKnobs; }

const Knob* find_knob(std::string_view name) {
    const auto* const found =
        std::find_if(std::begin(kKnobs), std::end(kKnobs), [&](const Knob& knob) { return knob.name == name; });
    return found == std::end(kKnobs) ? nullptr : found;
}

std::string to_text(const Plan& plan) {
    std::string text;
    for (const Knob& knob : kKnobs)
        if (plan.*knob.value != knob.calm)
            text += (text.empty() ? "" : " ") + std::string(knob.name) + "=" + std::to_string(plan.*knob.value);
    return text;
}

broker::Limits Plan::limits() const {
    broker::Limits limits;
    const auto set = [](std::uint64_t& limit, std::int64_t value) {
        if (value != 0) limit = static_cast<std::uint64_t>(value);
    };
    set(limits.queue_jobs, limit_queue_jobs);
    set(limits.jobs, limit_jobs);
    set(limits.watches, limit_watches);
    set(limits.sessions, limit_sessions);
    set(limits.keys, limit_keys);
    set(limits.queues, limit_queues);
    set(limits.result_bytes, limit_result_bytes);
    set(limits.events_bytes, limit_events_bytes);
    set(limits.kept_jobs, limit_kept_jobs);
    set(limits.dead_jobs, limit_dead_jobs);
    set(limits.kept_ms, limit_kept_ms);
    return limits;
}

broker::Timing Plan::timing() const {
    broker::Timing timing;
    if (quick_timing == 0) return timing;
    timing.heartbeat_ms = 500;
    timing.lost_after_ms = 2'000;
    timing.lease_ms = 3'000;
    timing.renew_ms = 1'000;
    return timing;
}

Plan make_plan(Random random) {
    const auto sometimes = [&](std::uint64_t percent) {
        return random.percent(50) ? static_cast<std::int64_t>(1 + random.below(percent)) : 0;
    };
    const auto seldom = [&](std::uint64_t percent_of_runs, std::int64_t least, std::int64_t most) {
        return random.percent(percent_of_runs) ? random.between(least, most) : 0;
    };
    const auto fault = [&](std::int64_t shortest_s, std::uint64_t percent_of_runs = 50) {
        return random.percent(percent_of_runs) ? random.any_size(shortest_s * 1000, 60'000) : 0;
    };
    Plan plan;
    plan.clients = random.between(1, 4);
    plan.workers = random.between(1, 5);
    plan.fault_seconds = random.between(60, 180);
    plan.jobs = random.any_size(20, 800);
    plan.network_delay = random.any_size(100, 200 * kMs);
    plan.commit_time = random.any_size(100, 200 * kMs);
    plan.read_time = random.any_size(50, 100 * kMs);
    plan.apply_time = random.any_size(50, 3 * kSecond);

    plan.broker_crash = fault(4);
    plan.broker_restart = fault(8);
    plan.broker_stall = fault(10);
    plan.commit_failure = fault(10, 30);
    plan.disk_full = fault(10, 30);
    plan.store_stall = fault(10, 30);
    plan.worker_crash = fault(3);
    plan.worker_pause = fault(3);
    plan.worker_drain = fault(5);
    plan.client_crash = fault(5);
    plan.client_close = fault(5);
    plan.cut = fault(1);
    plan.one_way_cut = fault(5, 30);
    plan.slow = fault(2);
    plan.clock_jump = fault(5, 10);
    plan.unnoticed = sometimes(50);

    plan.keyed = sometimes(50);
    plan.short_keys = plan.keyed == 0 ? 0 : sometimes(100);
    plan.delayed = sometimes(40);
    plan.watched = sometimes(100);
    plan.large = sometimes(20);
    plan.held = random.percent(30) ? random.between(1, 30) : 0;
    plan.deadlines = random.percent(30) ? random.between(1, 40) : 0;
    plan.queue_timeouts = random.percent(30) ? random.between(1, 40) : 0;
    plan.open_policy = sometimes(60);
    plan.wrong = random.percent(20) ? random.between(1, 20) : 0;
    plan.failing = sometimes(60);
    plan.hanging = sometimes(10);
    plan.snoozing = sometimes(20);
    plan.cancels = sometimes(30);
    plan.redrives = sometimes(30);
    plan.looks = sometimes(20);
    plan.arrays = random.percent(30) ? random.between(1, 30) : 0;
    plan.pauses = random.percent(30) ? random.between(1, 20) : 0;
    plan.queue_limits = random.percent(30) ? random.between(1, 20) : 0;
    plan.policies = random.percent(30) ? random.between(1, 20) : 0;
    plan.changes = random.percent(40) ? random.between(1, 40) : 0;
    plan.edits = random.percent(30) ? random.between(1, 30) : 0;
    plan.tasks = random.percent(30) ? random.between(1, 15) : 0;
    plan.worker_drains = random.percent(30) ? random.between(1, 15) : 0;
    plan.follows = random.percent(40) ? random.between(1, 50) : 0;
    plan.priorities = random.percent(50) ? 10 : 1;
    plan.queues = random.between(1, 3);
    plan.workers_differ = random.percent(50) ? 1 : 0;
    plan.run_time = random.any_size(1 * kMs, 8 * kSecond);
    plan.prefetch = sometimes(8);
    plan.result_grant = random.percent(30) ? 500 : 0;

    plan.limit_queue_jobs = seldom(20, 5, 50);
    plan.limit_jobs = seldom(20, 5, 100);
    plan.limit_watches = seldom(10, 1, 20);
    if (random.percent(10)) plan.limit_sessions = plan.clients + plan.workers + random.between(0, 2);  // room for all
    plan.limit_keys = seldom(10, 1, 8);
    plan.limit_queues = seldom(3, 1, 3);
    plan.limit_result_bytes = seldom(5, 100, 5000);
    plan.limit_events_bytes = seldom(10, 2000, 20'000);
    if (random.percent(15)) {
        plan.limit_kept_jobs = random.between(1, 50);
        plan.limit_dead_jobs = random.between(1, 20);
        plan.limit_kept_ms = random.any_size(1'000, 120'000);
    }
    plan.unapplied_batches = seldom(20, 3, 30);
    plan.quick_timing = random.percent(30) ? 1 : 0;
    plan.quota_jobs = seldom(20, 5, 50);
    plan.quota_bytes = seldom(15, 300, 40'000);
    plan.quota_rate = seldom(10, 1, 20);
    plan.key_quotas = random.percent(50) ? 1 : 0;
    plan.reload = fault(5, 30);
    return plan;
}

}  // namespace jobyard::sim
