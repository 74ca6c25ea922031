// jobyard-simulate: runs whole clusters in one process, one a seed, and checks the promises. Several seeds run at a
// time, each process by itself.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <thread>

#include "runs.hpp"
#include "shrink.hpp"

namespace {

using jobyard::broker::PlantedBugName;
using jobyard::sim::Broken;
using jobyard::sim::Many;
using jobyard::sim::RunOptions;
using jobyard::sim::Sum;

constexpr std::size_t kFailuresShown = 20;
constexpr std::uint64_t kShrinkTries = 1000;
constexpr int kExitBroken = 1;
constexpr int kExitUsage = 2;

constexpr const char* kUsage =
    "usage: jobyard-simulate [--seeds N | --minutes M] [--first S] [--processes N] [--bug NAME] [--set KNOB=VALUE]\n"
    "                        [--coverage] [--no-shrink] [--verbose SEED] [--shrink SEED] [--turn N] [--plan SEED]\n"
    "  --seeds N         how many seeds to run (200)\n"
    "  --minutes M       as many as there are in that time\n"
    "  --first S         the first of them (1)\n"
    "  --processes N     seeds that run at a time; as many as there are processors if not given\n"
    "  --bug NAME        plants a bug (below)\n"
    "  --set KNOB=VALUE  in place of what the seed says, as often as you like; --plan shows the knobs\n"
    "  --coverage        prints what was reached: states, answers, events; and what was not\n"
    "  --no-shrink       does not make the smallest seed that breaks a promise small\n"
    "  --verbose SEED    runs this seed only and prints its story\n"
    "  --shrink SEED     runs this seed only, and if it breaks a promise makes it small\n"
    "  --turn N          another run of the same plan, for --verbose and --shrink (0)\n"
    "  --plan SEED       prints what this seed says\n"
    "exit status: 0 all promises held, 1 one was broken (the smallest seed is shrunk and told), 2 wrong usage\n"
    "planted bugs:\n";

struct Arguments {
    enum class What { many, verbose, shrink, plan } what = What::many;
    Many many;
    bool coverage = false;
    bool shrinks = true;
};

std::optional<Arguments> parse(int argc, char** argv) {
    Arguments arguments;
    arguments.many.processes = std::max(1U, std::thread::hardware_concurrency());
    RunOptions& each = arguments.many.each;
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        if (name == "--coverage" || name == "--no-shrink") {
            (name == "--coverage" ? arguments.coverage : arguments.shrinks) = name == "--coverage";
            continue;
        }
        if (++i == argc) return std::nullopt;
        const std::string value = argv[i];
        char* end = nullptr;
        const std::uint64_t number = std::strtoull(value.c_str(), &end, 10);
        const bool is_number = end != value.c_str() && *end == '\0';
        const auto one = [&](Arguments::What what) {
            arguments.what = what;
            each.seed = number;
        };
        if (name == "--bug") {
            const auto* const bug =
                std::find_if(std::begin(jobyard::broker::kPlantedBugs), std::end(jobyard::broker::kPlantedBugs),
                             [&](const PlantedBugName& known) { return known.name == value; });
            if (bug == std::end(jobyard::broker::kPlantedBugs)) return std::nullopt;
            each.bug = bug->bug;
        } else if (name == "--set") {
            const std::size_t equals = value.find('=');
            const auto* const knob = jobyard::sim::find_knob(value.substr(0, equals));
            if (equals == std::string::npos || knob == nullptr) return std::nullopt;
            each.settings.emplace_back(knob, std::strtoll(value.c_str() + equals + 1, nullptr, 10));
        } else if (name == "--minutes") {
            arguments.many.seconds = std::strtod(value.c_str(), nullptr) * 60;
            if (arguments.many.seconds <= 0) return std::nullopt;
        } else if (!is_number) {
            return std::nullopt;
        } else if (name == "--seeds") {
            arguments.many.seeds = number;
        } else if (name == "--first") {
            arguments.many.first = number;
        } else if (name == "--processes") {
            arguments.many.processes = static_cast<unsigned>(std::clamp<std::uint64_t>(number, 1, 256));
        } else if (name == "--turn") {
            each.turn = number;
        } else if (name == "--verbose") {
            one(Arguments::What::verbose);
        } else if (name == "--shrink") {
            one(Arguments::What::shrink);
        } else if (name == "--plan") {
            one(Arguments::What::plan);
        } else {
            return std::nullopt;
        }
    }
    if (arguments.many.seconds == 0 && arguments.many.seeds == 0) arguments.many.seeds = 200;
    return arguments;
}

void print_usage(FILE* out) {
    std::fputs(kUsage, out);
    for (const PlantedBugName& bug : jobyard::broker::kPlantedBugs)
        std::fprintf(out, "  %-28s %s\n", std::string(bug.name).c_str(), std::string(bug.text).c_str());
}

void print_broken(std::uint64_t seed, const Broken& broken) {
    std::printf("seed %llu broke a promise\n  %s\n  %s\n", static_cast<unsigned long long>(seed), broken.rule.c_str(),
                broken.how.c_str());
}

std::string summary(const Sum& sum, double seconds) {
    char line[200];
    const double hours = static_cast<double>(sum.simulated_us) / 3.6e9;
    std::snprintf(
        line, sizeof line,
        "%llu seeds, %.1f simulated hours, %llu events in %.1f s: %.2f M events/s, %.0f x real time, %zu broken",
        static_cast<unsigned long long>(sum.seeds), hours, static_cast<unsigned long long>(sum.events), seconds,
        static_cast<double>(sum.events) / seconds / 1e6, hours * 3600 / seconds, sum.broken.size());
    return line;
}

/// How to see it again.
std::string command(const RunOptions& options) {
    std::string line = "scripts/simulate --verbose " + std::to_string(options.seed);
    if (options.turn != 0) line += " --turn " + std::to_string(options.turn);
    for (const PlantedBugName& bug : jobyard::broker::kPlantedBugs)
        if (bug.bug == options.bug) line += " --bug " + std::string(bug.name);
    for (const auto& [knob, value] : options.settings)
        line += " --set " + std::string(knob->name) + "=" + std::to_string(value);
    return line;
}

void tell_shrunk(const RunOptions& options, const Broken& broken) {
    std::printf("making seed %llu small, in %llu runs at most …\n", static_cast<unsigned long long>(options.seed),
                static_cast<unsigned long long>(kShrinkTries));
    std::fflush(stdout);
    const jobyard::sim::Shrunk shrunk = jobyard::sim::shrink(options, broken, kShrinkTries);
    std::printf("%llu runs later: %s\n  %s\n  %s\nwhat concerns it, of %zu lines:\n",
                static_cast<unsigned long long>(shrunk.tried), to_text(plan_of(shrunk.options)).c_str(),
                shrunk.broken.rule.c_str(), shrunk.broken.how.c_str(), shrunk.lines);
    for (const std::string& line : shrunk.story) std::printf("%s\n", line.c_str());
    std::printf("all of it:\n  %s\n", command(shrunk.options).c_str());
}

int run_all(const Arguments& arguments) {
    const auto began = std::chrono::steady_clock::now();
    const bool on_terminal = ::isatty(STDERR_FILENO) == 1;
    const auto seconds = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    };
    const Sum sum = run_many(arguments.many, [&](const Sum& so_far) {
        if (on_terminal) std::fprintf(stderr, "\r%s\033[K", summary(so_far, seconds()).c_str());
    });
    if (on_terminal) std::fputs("\r\033[K", stderr);
    std::printf("%s\n", summary(sum, seconds()).c_str());
    const auto is_coverage = [](const std::string& name) {
        for (const char* kind : {"state ", "answer ", "event ", "outcome ", "reason ", "instance ", "code "})
            if (name.starts_with(kind)) return true;
        return false;
    };
    for (const auto& [name, n] : sum.counts)
        if (is_coverage(name) == arguments.coverage)
            std::printf("  %-48s %12llu\n", name.c_str(), static_cast<unsigned long long>(n));
    if (arguments.coverage) std::fputs(jobyard::sim::what_is_missing(sum.counts).c_str(), stdout);
    for (std::size_t i = 0; i < std::min(sum.broken.size(), kFailuresShown); ++i)
        print_broken(sum.broken[i].first, sum.broken[i].second);
    if (sum.broken.empty()) return 0;
    std::printf("%zu of the seeds broke a promise\n", sum.broken.size());
    RunOptions options = arguments.many.each;
    options.seed = sum.broken.front().first;
    if (arguments.shrinks) tell_shrunk(options, sum.broken.front().second);
    return kExitBroken;
}

int tell_one(const Arguments& arguments) {
    RunOptions options = arguments.many.each;
    const bool verbose = arguments.what == Arguments::What::verbose;
    const jobyard::sim::Apart apart = run_apart(options, verbose);
    for (const std::string& line : apart.story) std::printf("%s\n", line.c_str());
    if (!apart.broken) {
        std::puts("all promises held");
        return 0;
    }
    print_broken(options.seed, *apart.broken);
    if (!verbose) tell_shrunk(options, *apart.broken);
    return kExitBroken;
}

int print_plan(const RunOptions& options) {
    const jobyard::sim::Plan plan = plan_of(options);
    for (const jobyard::sim::Knob& knob : jobyard::sim::knobs())
        std::printf("%-20s %12lld%s\n", std::string(knob.name).c_str(), static_cast<long long>(plan.*knob.value),
                    plan.*knob.value == knob.calm ? "  (calm)" : "");
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], "--help") == 0) {
        print_usage(stdout);
        return 0;
    }
    const std::optional<Arguments> arguments = parse(argc, argv);
    if (!arguments) {
        print_usage(stderr);
        return kExitUsage;
    }
    switch (arguments->what) {
        case Arguments::What::plan: return print_plan(arguments->many.each);
        case Arguments::What::many: return run_all(*arguments);
        default: return tell_one(*arguments);
    }
}
