// jobyard-power-loss: records a run of a real broker and cuts the power at every point of it, in several ways each.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>

#include "../temporary_directory.hpp"
#include "replay.hpp"
#include "run.hpp"

namespace {

using jobyard::power_loss::Replayed;
using jobyard::power_loss::ReplayOptions;

constexpr int kExitWrong = 1;
constexpr int kExitUsage = 2;

constexpr const char* kUsage =
    "usage: jobyard-power-loss [--rounds N] [--seeds N] [--first S] [--stride N] [--processes N] [--ignore NAME]\n"
    "                          [--point P] [--keep DIR] [--run DIR]\n"
    "  --rounds N   how much load is recorded (2)\n"
    "  --seeds N    power losses at each point (5), from seed S on (1)\n"
    "  --stride N   only every Nth point (1: all)\n"
    "  --processes N  as many as there are processors if not given\n"
    "  --ignore NAME  plants a bug: syncs of files of this name do not happen (log.0, data.mdb, store, data)\n"
    "  --point P    this point alone, of a run that was kept\n"
    "  --keep DIR   where what a power loss left is kept if it is wrong\n"
    "  --run DIR    where the run and its trace are kept; one that is there already is used again\n"
    "exit status: 0 nothing was lost, 1 something was, 2 wrong usage\n";

struct Arguments {
    unsigned rounds = 2;
    std::string run;
    ReplayOptions replay;
};

std::optional<Arguments> parse(int argc, char** argv) {
    Arguments arguments;
    arguments.replay.seeds = 5;
    arguments.replay.processes = std::max(1U, std::thread::hardware_concurrency());
    for (int i = 1; i < argc; i += 2) {
        const std::string name = argv[i];
        if (i + 1 == argc) return std::nullopt;
        const std::string value = argv[i + 1];
        const auto number = [&] { return std::max(1ULL, std::strtoull(value.c_str(), nullptr, 10)); };
        if (name == "--rounds") arguments.rounds = static_cast<unsigned>(number());
        else if (name == "--seeds") arguments.replay.seeds = number();
        else if (name == "--first") arguments.replay.first_seed = number();
        else if (name == "--stride") arguments.replay.stride = number();
        else if (name == "--processes") arguments.replay.processes = static_cast<unsigned>(number());
        else if (name == "--ignore") arguments.replay.ignored = value;
        else if (name == "--point") arguments.replay.only = number();
        else if (name == "--keep") arguments.replay.keep = value;
        else if (name == "--run") arguments.run = value;
        else return std::nullopt;
    }
    return arguments;
}

void print(const Replayed& replayed, double seconds) {
    const auto count = [](const char* what, std::uint64_t n) {
        std::printf("  %-28s %10llu\n", what, static_cast<unsigned long long>(n));
    };
    count("records", replayed.records);
    count("writes", replayed.writes);
    count("syncs", replayed.syncs);
    count("jobs acknowledged", replayed.jobs);
    count("of those, forgotten", replayed.retired);
    count("things told", replayed.facts);
    count("files made longer", replayed.growths);
    count("KiB of the store at the end", replayed.store_bytes >> 10U);
    count("points", replayed.points);
    count("power losses", replayed.checked);
    count("wrong", replayed.wrong);
    std::printf("  %-28s %10.0f\n", "power losses a second", static_cast<double>(replayed.checked) / seconds);
}

int run(Arguments& arguments) {
    const jobyard::test::TemporaryDirectory temporary;
    const std::string place = arguments.run.empty() ? temporary.path() : arguments.run;
    const std::string root = place + "/run";
    const std::string trace = place + "/trace";
    if (!std::filesystem::exists(trace)) {
        std::filesystem::create_directories(root);
        jobyard::power_loss::record_run(root, trace, arguments.rounds);
    }
    const auto began = std::chrono::steady_clock::now();
    if (::isatty(2) != 0)
        arguments.replay.progress = [](std::uint64_t checked, std::uint64_t all) {
            std::fprintf(stderr, "\r%llu of %llu", static_cast<unsigned long long>(checked),
                         static_cast<unsigned long long>(all));
        };
    const Replayed replayed = jobyard::power_loss::replay(root, trace, arguments.replay);
    if (::isatty(2) != 0) std::fputs("\r", stderr);
    print(replayed, std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    if (replayed.wrong == 0) return 0;
    std::printf("%s\n", replayed.first_wrong.c_str());
    return kExitWrong;
}

}  // namespace

int main(int argc, char** argv) {
    auto arguments = parse(argc, argv);
    if (!arguments) {
        std::fputs(kUsage, stderr);
        return kExitUsage;
    }
    try {
        return run(*arguments);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "jobyard-power-loss: %s\n", error.what());
        return kExitWrong;
    }
}
