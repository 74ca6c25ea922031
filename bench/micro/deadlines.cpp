// Setting a job's deadline and dropping it again, with so many others set: what each lease costs.

#include "deadlines.hpp"

#include <benchmark/benchmark.h>

namespace jobyard::broker {
namespace {

void set_and_drop(benchmark::State& state) {
    JobTable jobs;
    Deadlines deadlines(jobs);
    std::int64_t now = 0;
    std::uint64_t next = 0;
    for (std::int64_t i = 0; i < state.range(0); ++i) deadlines.set(jobs.add({++next}), ++now);
    const JobHandle job = jobs.add({++next});
    for (auto _ : state) {
        deadlines.set(job, ++now);
        deadlines.drop(job);
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(set_and_drop)->Arg(0)->Arg(1'000)->Arg(1'000'000);

/// Each time the one that is due first moves to the end: renewals under load.
void move_first_to_last(benchmark::State& state) {
    JobTable jobs;
    Deadlines deadlines(jobs);
    std::int64_t now = 0;
    std::uint64_t next = 0;
    for (std::int64_t i = 0; i < state.range(0); ++i) deadlines.set(jobs.add({++next}), ++now);
    for (auto _ : state) deadlines.set(deadlines.next_job(), ++now);
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(move_first_to_last)->Arg(1'000)->Arg(1'000'000);

}  // namespace
}  // namespace jobyard::broker
