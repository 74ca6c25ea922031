// Queueing a job and picking one, with so many waiting; in order, as jobs arrive, and at mixed priorities.

#include "ready_queue.hpp"

#include <benchmark/benchmark.h>

namespace jobyard::broker {
namespace {

void push_and_pick(benchmark::State& state, std::uint8_t priorities) {
    JobTable jobs;
    ReadyQueue ready(jobs);
    const ClassId class_id = ready.class_of("default", "bench");
    const ServiceId service = ready.service_of({"default"}, {"bench"});
    std::uint64_t next = 0;
    const auto push = [&] {
        const JobHandle job = jobs.add({++next});
        jobs[job].order = next;
        jobs[job].class_id = class_id;
        jobs[job].priority = static_cast<std::uint8_t>(kPriorityMax - next % priorities);
        jobs[job].state = JobState::queued;
        ready.push(job);
    };
    for (std::int64_t i = 0; i < state.range(0); ++i) push();
    for (auto _ : state) {
        push();
        const JobHandle job = ready.pick(service);
        benchmark::DoNotOptimize(job);
        jobs.remove(job);
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK_CAPTURE(push_and_pick, one_priority, 1)->Arg(0)->Arg(1'000)->Arg(1'000'000);
BENCHMARK_CAPTURE(push_and_pick, ten_priorities, 10)->Arg(1'000)->Arg(1'000'000);

}  // namespace
}  // namespace jobyard::broker
