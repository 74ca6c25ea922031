// jobyard-torture: real brokers, workers and clients under faults, and a verdict from what they saw.

#include <signal.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "ending.hpp"
#include "faults.hpp"
#include "yard.hpp"

namespace jobyard::torture {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr double kStormS = 40;  // faults, then calm, then faults
constexpr double kCalmS = 8;

std::atomic<bool> interrupted{false};

struct Options {
    double minutes = 30;
    std::uint64_t seed = std::random_device{}();
    Yard::Options yard;
    std::vector<std::string> only;
    std::string directory = "/tmp";
    bool sabotage = false;
    bool keep = false;
    bool json = false;
};

double seconds_since(Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); }

/// Begins and ends faults until the time is over.
class Storm {
 public:
    Storm(const Options& options, Yard& yard, Place& place)
        : options_(options), yard_(yard), random_(options.seed), faults_(faults(yard, place, random_)) {
        if (!options_.only.empty())
            std::erase_if(faults_, [&](const Fault& fault) {
                return std::find(options_.only.begin(), options_.only.end(), fault.kind) == options_.only.end();
            });
        if (faults_.empty()) throw std::runtime_error("--only: no such fault is possible here");
    }

    void rage() {
        const auto began = Clock::now();
        double shown = 0;
        for (double now = 0; now < options_.minutes * 60 && !interrupted; now = seconds_since(began)) {
            const bool calm = std::fmod(now, kStormS + kCalmS) >= kStormS;
            for (Under& under : under_way_) end(under, now, calm);
            for (Under& under : under_way_)
                if (!calm && !under.heal && now >= under.next) begin(under, now);
            yard_.tend();
            if (now >= shown + 5) {
                shown = now;
                std::fprintf(stderr, "%5.0f s: %llu faults, %llu processes started again%s\n", now,
                             static_cast<unsigned long long>(count_), static_cast<unsigned long long>(yard_.deaths()),
                             calm ? ", calm" : "");
            }
            test::eventually([] { return interrupted.load(); }, 20ms);
        }
        for (Under& under : under_way_) end(under, 0, true);
    }

 private:
    struct Under {
        Fault::Ground ground;
        std::string kind = {};
        std::function<void()> heal = {};
        double until = 0;
        double next = 0;
    };

    double uniform(double limit) { return std::uniform_real_distribution<double>(0, limit)(random_); }

    void begin(Under& under, double now) {
        std::vector<const Fault*> possible;
        for (const Fault& fault : faults_)
            if (fault.ground == under.ground) possible.push_back(&fault);
        under.next = now + 0.5 + uniform(3);
        if (possible.empty()) return;
        const Fault& fault = *possible[std::uniform_int_distribution<std::size_t>(0, possible.size() - 1)(random_)];
        ++count_;
        yard_.own().note({.seen = Seen::fault, .text = fault.kind + " begins"});
        under.kind = fault.kind;
        under.heal = fault.begin();
        if (options_.sabotage && fault.kind == "broker_killed") sabotage();
        under.until = now + uniform(fault.longest_s);
        if (!under.heal) yard_.own().note({.seen = Seen::fault, .text = fault.kind + " ends"});
    }

    void end(Under& under, double now, bool at_once) {
        if (!under.heal || (!at_once && now < under.until)) return;
        under.heal();
        under.heal = {};
        under.next = now + 0.5 + uniform(3);
        yard_.own().note({.seen = Seen::fault, .text = under.kind + " ends"});
    }

    /// To see that the checker finds what is lost. A broker finds by itself that its log was cut or is older than its
    /// store; so all of its files become again what they were when it was killed for the first time.
    void sabotage() {
        const std::filesystem::path data = yard_.data();
        const std::filesystem::path before = data.string() + ".before";
        if (std::filesystem::exists(before)) std::filesystem::remove_all(data);
        const bool again = !std::filesystem::exists(data);
        std::filesystem::copy(again ? before : data, again ? data : before, std::filesystem::copy_options::recursive);
    }

    const Options& options_;
    Yard& yard_;
    std::mt19937_64 random_;
    std::vector<Fault> faults_;
    std::vector<Under> under_way_{{Fault::Ground::broker}, {Fault::Ground::peers}, {Fault::Ground::network}};
    std::uint64_t count_ = 0;
};

int run(const Options& options) {
    Place place(options.directory,
                (std::uint64_t{1} << 30) + static_cast<std::uint64_t>(options.minutes * 60) * (4 << 20));
    for (const std::string& missing : place.missing()) std::cerr << "not possible here: " << missing << '\n';
    Yard yard(options.yard, place);
    Storm(options, yard, place).rage();
    const Verdict verdict = end_and_check(yard).verdict;
    nlohmann::ordered_json told{{"version", JOBYARD_VERSION}, {"seed", options.seed}};
    told.update(report(verdict));
    told["not_possible_here"] = place.missing();
    tell(told, options.json);
    tell_what_is_broken(verdict);
    if (options.keep || !verdict.kept()) keep_record(yard, place);
    return verdict.kept() ? 0 : 1;
}

}  // namespace
}  // namespace jobyard::torture

int main(int argc, char** argv) {
    using jobyard::torture::Options;
    try {
        jobyard::torture::enter_own_namespaces(argv);
        Options options;
        CLI::App app{
            "Real brokers, workers and clients under faults: kill -9, stops, partitions, a full or broken disk, and "
            "more.\n"
            "Each records what it sees; from the record alone it is decided whether anything that was acknowledged "
            "was\n"
            "lost, made twice, ended twice, believed from a holder that had lost its lease, or overtaken. Exit status "
            "1 if so."};
        app.add_option("--minutes", options.minutes, "How long faults go on")->capture_default_str();
        app.add_option("--seed", options.seed,
                       "Of faults and jobs; the same seed gives the same plan, not the same run");
        app.add_option("--clients", options.yard.clients, "Client processes")->capture_default_str();
        app.add_option("--workers", options.yard.workers, "Worker processes; every other one serves the ordered queue")
            ->capture_default_str();
        app.add_option("--rate", options.yard.jobs_per_s, "Jobs a second of each client")->capture_default_str();
        app.add_option("--only", options.only, "Only these faults, separated by commas")->delimiter(',');
        app.add_option("--directory", options.directory, "Where files are made")->capture_default_str();
        app.add_flag("--keep", options.keep, "Keep the record, also if nothing was broken");
        app.add_flag("--json", options.json, "One JSON object");
        app.add_flag(
            "--sabotage", options.sabotage,
            "From the second kill -9 of the broker on, bring all its files back to the first: the run must find what\n"
            "that loses, and fail");
        CLI11_PARSE(app, argc, argv);
        options.yard.seed = options.seed;
        ::signal(SIGINT, [](int) { jobyard::torture::interrupted = true; });
        ::signal(SIGPIPE, SIG_IGN);
        std::cerr << "seed " << options.seed << '\n';
        return jobyard::torture::run(options);
    } catch (const std::exception& e) {
        std::cerr << "jobyard-torture: " << e.what() << '\n';
        return 2;
    }
}
