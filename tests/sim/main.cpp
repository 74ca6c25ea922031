// jobyard-simulate: runs whole clusters in one process, one a seed, and checks the promises. Several seeds run at a
// time; each is by itself.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cluster.hpp"

namespace {

using jobyard::broker::PlantedBug;
using jobyard::sim::Broken;
using jobyard::sim::Report;
using jobyard::sim::RunOptions;
using jobyard::sim::Totals;

constexpr std::size_t kStoryLines = 60;
constexpr std::uint64_t kFailuresShown = 20;
constexpr int kExitBroken = 1;
constexpr int kExitUsage = 2;

constexpr const char* kUsage =
    "usage: jobyard-simulate [--seeds N] [--first S] [--seconds T] [--threads N] [--bug NAME] [--verbose SEED]\n"
    "  --seeds N       how many seeds to run (200)\n"
    "  --first S       the first of them (1)\n"
    "  --seconds T     simulated seconds of faults in each; as each seed says if not given\n"
    "  --threads N     seeds that run at a time; as many as there are processors if not given\n"
    "  --bug NAME      plants a bug: answer_before_commit, token_reuse_after_restart\n"
    "  --verbose SEED  runs this seed only and prints its story\n"
    "exit status: 0 all promises held, 1 one was broken, 2 wrong usage\n";

struct Arguments {
    std::uint64_t first = 1;
    std::uint64_t seeds = 200;
    unsigned threads = std::max(1U, std::thread::hardware_concurrency());
    bool verbose = false;
    RunOptions run;
};

std::optional<Arguments> parse(int argc, char** argv) {
    Arguments arguments;
    for (int i = 1; i < argc; i += 2) {
        const std::string name = argv[i];
        if (i + 1 == argc) return std::nullopt;
        const std::string value = argv[i + 1];
        const auto number = [&] { return std::strtoull(value.c_str(), nullptr, 10); };
        if (name == "--seeds") arguments.seeds = number();
        else if (name == "--first") arguments.first = number();
        else if (name == "--seconds") arguments.run.fault_seconds = static_cast<std::int64_t>(number());
        else if (name == "--threads") arguments.threads = static_cast<unsigned>(std::max(1ULL, number()));
        else if (name == "--bug" && value == "answer_before_commit")
            arguments.run.bug = PlantedBug::answer_before_commit;
        else if (name == "--bug" && value == "token_reuse_after_restart")
            arguments.run.bug = PlantedBug::token_reuse_after_restart;
        else if (name == "--verbose") arguments.first = number(), arguments.seeds = 1, arguments.verbose = true;
        else return std::nullopt;
    }
    return arguments;
}

void print_broken(const Report& report) {
    std::printf("seed %llu broke a promise\n  %s\n  %s\n", static_cast<unsigned long long>(report.seed),
                report.broken->rule.c_str(), report.broken->how.c_str());
}

void print_totals(std::uint64_t seeds, const Report& sum, double real_seconds) {
    const auto count = [](const char* what, std::uint64_t n) {
        std::printf("  %-28s %12llu\n", what, static_cast<unsigned long long>(n));
    };
    const double hours = static_cast<double>(sum.simulated_us) / 3.6e9;
    std::printf("%llu seeds, %.1f simulated hours, %llu events in %.1f s: %.0f events/s, %.0f x real time\n",
                static_cast<unsigned long long>(seeds), hours, static_cast<unsigned long long>(sum.events),
                real_seconds, static_cast<double>(sum.events) / real_seconds, hours * 3600 / real_seconds);
    const Totals& t = sum.totals;
    count("jobs", t.submitted);
    count("completed", t.completed);
    count("dead", t.dead);
    count("cancelled", t.cancelled);
    count("redriven", t.redriven);
    count("retired", t.retired);
    count("arrays", t.arrays);
    count("jobs of arrays", t.array_jobs);
    count("of these resubmitted", t.resubmitted);
    count("arrays forgotten", t.arrays_forgotten);
    count("submits refused", t.refusals);
    count("dispatches", t.dispatched);
    count("executions", t.executions);
    count("executions run twice", t.run_twice);
    count("ends refused as stale", t.stale_ends);
    count("claims kept", t.claims_kept);
    for (const auto& [kind, n] : sum.faults) count(kind.c_str(), n);
}

int run_all(const Arguments& arguments) {
    const auto began = std::chrono::steady_clock::now();
    std::atomic<std::uint64_t> next{0};
    std::mutex mutex;  // guards what follows
    Report sum;
    std::uint64_t failed = 0;
    std::optional<Report> broken;  // of the smallest seed
    const auto work = [&] {
        for (;;) {
            const std::uint64_t index = next++;
            if (index >= arguments.seeds) return;
            RunOptions options = arguments.run;
            options.seed = arguments.first + index;
            const Report report = jobyard::sim::run(options);
            const std::lock_guard lock(mutex);
            sum.events += report.events;
            sum.simulated_us += report.simulated_us;
            sum.totals.add(report.totals);
            for (const auto& [kind, n] : report.faults) sum.faults[kind] += n;
            if (!report.broken) continue;
            if (++failed <= kFailuresShown) print_broken(report);
            if (!broken || report.seed < broken->seed) broken = report;
        }
    };
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < arguments.threads; ++i) threads.emplace_back(work);
    for (std::thread& thread : threads) thread.join();
    print_totals(arguments.seeds, sum, std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    if (!broken) return 0;
    std::printf("%llu of the seeds broke a promise\n", static_cast<unsigned long long>(failed));
    RunOptions options = arguments.run;
    options.seed = broken->seed;
    std::printf("the end of the story of seed %llu:\n", static_cast<unsigned long long>(broken->seed));
    for (const std::string& line : jobyard::sim::last_of_story(options, kStoryLines)) std::printf("%s\n", line.c_str());
    return kExitBroken;
}

int tell_story(const Arguments& arguments) {
    RunOptions options = arguments.run;
    options.seed = arguments.first;
    options.listener = [](const std::string& line) { std::printf("%s\n", line.c_str()); };
    const Report report = jobyard::sim::run(options);
    if (report.broken) print_broken(report);
    return report.broken ? kExitBroken : 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::optional<Arguments> arguments = parse(argc, argv);
    if (!arguments) {
        std::fputs(kUsage, argc == 2 && std::strcmp(argv[1], "--help") == 0 ? stdout : stderr);
        return argc == 2 && std::strcmp(argv[1], "--help") == 0 ? 0 : kExitUsage;
    }
    jobyard::sim::name_seed_on_abort();
    return arguments->verbose ? tell_story(*arguments) : run_all(*arguments);
}
