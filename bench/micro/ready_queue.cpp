// Queueing a job and picking one, with so many waiting; in order, as jobs arrive, at mixed priorities, of many types
// and in many queues.

#include "ready_queue.hpp"

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

namespace jobyard::broker {
namespace {

struct Spread {
    std::size_t priorities = 1;
    std::size_t types = 1;
    std::size_t queues = 1;
};

std::vector<std::string> names(std::size_t count) {
    std::vector<std::string> all;
    for (std::size_t i = 0; i < count; ++i) all.push_back("name-" + std::to_string(i));
    return all;
}

void push_and_pick(benchmark::State& state, const Spread& spread) {
    JobTable jobs;
    ReadyQueue ready(jobs);
    const auto types = names(spread.types);
    const auto queues = names(spread.queues);
    const ServiceId service = ready.join(queues, types);
    std::uint64_t next = 0;
    const auto push = [&] {
        const JobHandle job = jobs.add({++next});
        jobs[job].order = next;
        jobs[job].class_id = ready.class_of(queues[next % queues.size()], types[next % types.size()]);
        jobs[job].priority = static_cast<std::uint8_t>(kPriorityMax - next % spread.priorities);
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
BENCHMARK_CAPTURE(push_and_pick, one_priority, {})->Arg(0)->Arg(1'000)->Arg(1'000'000);
BENCHMARK_CAPTURE(push_and_pick, ten_priorities, {.priorities = 10})->Arg(1'000)->Arg(1'000'000);
BENCHMARK_CAPTURE(push_and_pick, thousand_types, {.types = 1'000})->Arg(100)->Arg(3'000)->Arg(1'000'000);
BENCHMARK_CAPTURE(push_and_pick, thousand_types_two_priorities, {.priorities = 2, .types = 1'000})->Arg(2)->Arg(3'000);
BENCHMARK_CAPTURE(push_and_pick, hundred_queues, {.queues = 100})->Arg(100)->Arg(3'000)->Arg(1'000'000);

}  // namespace
}  // namespace jobyard::broker
