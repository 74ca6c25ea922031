// What each lease costs: its deadline comes after all others of leases, and goes when its job has ended.

#include "deadlines.hpp"

#include <benchmark/benchmark.h>

#include <random>
#include <vector>

namespace jobyard::broker {
namespace {

/// So many jobs are leased, and the one that was first ends.
void append_last_drop_first(benchmark::State& state) {
    JobTable jobs;
    Deadlines deadlines(jobs);
    std::int64_t now = 0;
    std::vector<JobHandle> leased;
    for (std::int64_t i = 0; i < state.range(0); ++i) leased.push_back(jobs.add({static_cast<std::uint64_t>(i + 1)}));
    for (const JobHandle job : leased) deadlines.append(job, ++now);
    std::size_t first = 0;
    for (auto _ : state) {
        deadlines.drop(leased[first]);
        deadlines.append(leased[first], ++now);
        if (++first == leased.size()) first = 0;
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(append_last_drop_first)->Arg(1)->Arg(2'000)->Arg(1'000'000);

/// The same beside as many that are set for any time: delays, backoffs.
void set_and_drop(benchmark::State& state) {
    JobTable jobs;
    Deadlines deadlines(jobs);
    std::uint64_t next = 0;
    std::mt19937_64 rng(1);
    for (std::int64_t i = 0; i < state.range(0); ++i)
        deadlines.set(jobs.add({++next}), static_cast<std::int64_t>(rng() % 1'000'000));
    const JobHandle job = jobs.add({++next});
    for (auto _ : state) {
        deadlines.set(job, static_cast<std::int64_t>(rng() % 1'000'000));
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
    for (std::int64_t i = 0; i < state.range(0); ++i) deadlines.append(jobs.add({++next}), ++now);
    for (auto _ : state) deadlines.append(deadlines.next_job(), ++now);
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(move_first_to_last)->Arg(1'000)->Arg(1'000'000);

}  // namespace
}  // namespace jobyard::broker
