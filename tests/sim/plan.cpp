#include "plan.hpp"

#include "world.hpp"

namespace jobyard::sim {

Plan make_plan(Random random) {
    const auto sometimes = [&](std::uint64_t percent) { return random.percent(50) ? 1 + random.below(percent) : 0; };
    const auto fault = [&](std::int64_t shortest_s) {
        return random.percent(50) ? random.any_size(shortest_s * 1000, 60'000) : 0;
    };
    Plan plan;
    plan.clients = static_cast<int>(random.between(1, 4));
    plan.workers = static_cast<int>(random.between(1, 5));
    plan.fault_seconds = random.between(60, 180);
    plan.jobs = static_cast<std::uint64_t>(random.any_size(20, 800));
    plan.network_delay = random.any_size(100, 200 * kMs);
    plan.commit_time = random.any_size(100, 200 * kMs);
    plan.read_time = random.any_size(50, 100 * kMs);
    plan.apply_time = random.any_size(50, 3 * kSecond);

    plan.faults.broker_crash = fault(4);
    plan.faults.broker_restart = fault(8);
    plan.faults.broker_stall = fault(10);
    plan.faults.worker_crash = fault(3);
    plan.faults.worker_pause = fault(3);
    plan.faults.worker_drain = fault(5);
    plan.faults.client_crash = fault(5);
    plan.faults.client_close = fault(5);
    plan.faults.cut = fault(1);
    plan.faults.slow = fault(2);
    plan.faults.clock_jump = random.percent(20) ? fault(5) : 0;
    plan.unnoticed_percent = sometimes(50);

    plan.keyed = sometimes(50);
    plan.delayed = sometimes(40);
    plan.watched = sometimes(100);
    plan.large = sometimes(20);
    plan.cancels = sometimes(30);
    plan.redrives = sometimes(30);
    plan.looks = sometimes(20);
    plan.failing = sometimes(60);
    plan.hanging = sometimes(10);
    plan.priorities = random.percent(50) ? 10 : 1;
    plan.queues = static_cast<int>(random.between(1, 3));
    plan.workers_differ = random.percent(50);
    plan.run_time = random.any_size(1 * kMs, 8 * kSecond);
    plan.prefetch = static_cast<std::uint32_t>(sometimes(8));
    plan.result_grant = random.percent(30) ? 500 : std::uint64_t{8} << 20;

    if (random.percent(20)) plan.limits.queue_jobs = static_cast<std::uint64_t>(random.between(5, 50));
    if (random.percent(20)) plan.limits.jobs = static_cast<std::uint64_t>(random.between(5, 100));
    if (random.percent(10)) plan.limits.watches = static_cast<std::uint64_t>(random.between(1, 20));
    if (random.percent(10)) plan.limits.events_bytes = 2000;
    if (random.percent(15)) {
        plan.retention = true;
        plan.limits.kept_jobs = static_cast<std::uint64_t>(random.between(1, 50));
        plan.limits.dead_jobs = static_cast<std::uint64_t>(random.between(1, 20));
        plan.limits.kept_ms = static_cast<std::uint64_t>(random.any_size(1'000, 120'000));
    }
    if (random.percent(30)) {  // everything is noticed sooner, so that more of it happens
        plan.timing.heartbeat_ms = 500;
        plan.timing.lost_after_ms = 2'000;
        plan.timing.lease_ms = 3'000;
        plan.timing.renew_ms = 1'000;
    }
    plan.arrays = sometimes(30);
    return plan;
}

}  // namespace jobyard::sim
