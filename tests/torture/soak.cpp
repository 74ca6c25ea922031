// jobyard-soak: the processes of a torture run at a steady rate for an hour, with retention and a fault now and then,
// and whether the broker is as well at the end as in the middle.

#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "chart.hpp"
#include "ending.hpp"
#include "faults.hpp"
#include "health.hpp"
#include "proc.hpp"
#include "samples.hpp"
#include "yard.hpp"

namespace jobyard::torture {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// In less the last half would begin before the broker, killed in the first third, is as large as its work makes it:
/// that takes some minutes.
constexpr double kMinutesToJudge = 20;
constexpr double kSamples = 720;
constexpr std::chrono::milliseconds kAnswerLimit = 1s;

std::atomic<bool> interrupted{false};

struct Options {
    double minutes = 60;
    unsigned faults = 30;
    std::uint64_t seed = std::random_device{}();
    Yard::Options yard;
    std::string svg;
    std::string directory = "/tmp";
    bool keep = false;
    bool json = false;
};

/// What retention keeps is small, so that it is as much as it may be after a tenth of the time: a twentieth of all
/// jobs.
struct Kept {
    explicit Kept(const Options& options)
        : jobs(std::max<std::uint64_t>(
              static_cast<std::uint64_t>(options.minutes * 60 * options.yard.jobs_per_s * options.yard.clients / 20),
              100)),
          done_bytes(jobs << 10),
          dead_jobs(std::max<std::uint64_t>(jobs / 40, 10)),
          // So that what happens while the broker is away or has just come back is not gone before it is read.
          event_bytes(std::max<std::uint64_t>(jobs << 8, 1 << 20)) {}

    [[nodiscard]] std::vector<std::string> limits() const {
        return {"kept_jobs=" + std::to_string(jobs), "kept_bytes=" + std::to_string(done_bytes),
                "dead_jobs=" + std::to_string(dead_jobs), "events_bytes=" + std::to_string(event_bytes)};
    }
    /// Twice what may be kept, because pages are half full at worst and freed ones wait for the next transactions; a
    /// dead job has its payload still, of two kilobytes on the average at most; and room for what is unended, what the
    /// store has not got to yet, and what was sent while a partition lasted.
    [[nodiscard]] std::uint64_t store_bound() const {
        return 2 * (done_bytes + event_bytes + dead_jobs * 2048) + (std::uint64_t{16} << 20);
    }

    std::uint64_t jobs;
    std::uint64_t done_bytes;
    std::uint64_t dead_jobs;
    std::uint64_t event_bytes;
};

struct Planned {
    double at_s = 0;
    std::string kind;
};

/// One after the other, at equal distances. The broker is killed in the first third alone: in the last half its process
/// is to be one that has served for some time (health.hpp says why). Before that half it has had one of each other
/// kind, so that its memory is as large as the work makes it that waits while it is stopped or cut off.
std::vector<Planned> plan(double seconds, double every_s, bool has_far_machine) {
    std::vector<std::string> kinds{"broker_killed", "broker_stopped", "half_open", "worker_killed"};
    if (has_far_machine) kinds.emplace_back("link_down");
    std::vector<Planned> all;
    std::size_t next = 0;
    for (double at = every_s; at < seconds - every_s / 2; at += every_s) {
        if (kinds[next % kinds.size()] == "broker_killed" && at > seconds / 3) ++next;
        all.push_back({at, kinds[next++ % kinds.size()]});
    }
    return all;
}

class Soak {
 public:
    Soak(const Options& options, Yard& yard, Place& place)
        : seconds_(options.minutes * 60),
          every_s_(std::max(seconds_ / (options.faults + 1), 3.0)),
          sample_s_(std::clamp(seconds_ / kSamples, 0.5, 5.0)),
          yard_(yard),
          client_({.broker = yard.endpoint()}),
          random_(options.seed),
          faults_(faults(yard, place, random_)),
          plan_(plan(seconds_, every_s_, place.has_far_machine())) {}

    /// After a fault, until peers are back, connections that nobody ends are noticed, and what waited is done.
    [[nodiscard]] std::int64_t settle_us() const { return static_cast<std::int64_t>(every_s_ / 3 * 1e6); }

    void run() {
        const auto began = Clock::now();
        const auto passed = [&] { return std::chrono::duration<double>(Clock::now() - began).count(); };
        double next_sample = sample_s_;
        double next_word = 0;
        for (double now = 0; now < seconds_ && !interrupted; now = passed()) {
            if (heal_ && now >= until_) end();
            if (!heal_ && next_ < plan_.size() && now >= plan_[next_].at_s) begin(now);
            yard_.tend();
            if (now >= next_sample) {
                next_sample = now + sample_s_;
                sample();
            }
            if (now >= next_word) {
                next_word += 60;
                std::fprintf(stderr, "%5.0f s: %zu samples, %zu of %zu faults\n", now, samples_.size(), next_,
                             plan_.size());
            }
            test::eventually([] { return interrupted.load(); }, 20ms);
        }
        if (heal_) end();
    }

    std::vector<Sample> take_samples() { return std::move(samples_); }
    [[nodiscard]] std::uint64_t events_read() const { return events_read_; }
    [[nodiscard]] const Verdict& verdict_so_far() const { return verdict_; }

 private:
    void begin(double now) {
        const std::string& kind = plan_[next_++].kind;
        const auto fault =
            std::find_if(faults_.begin(), faults_.end(), [&](const Fault& one) { return one.kind == kind; });
        yard_.own().note({.seen = Seen::fault, .text = kind + " begins"});
        under_way_ = kind;
        heal_ = fault->begin();
        until_ = now + std::min(fault->longest_s, every_s_ / 4);
        if (!heal_) yard_.own().note({.seen = Seen::fault, .text = kind + " ends"});
    }

    void end() {
        heal_();
        heal_ = {};
        yard_.own().note({.seen = Seen::fault, .text = under_way_ + " ends"});
    }

    /// None while the broker is away.
    void sample() {
        if (!read_events(client_, yard_, events_read_, kAnswerLimit, verdict_)) return;
        const auto stats = client_.stats(kAnswerLimit);
        if (!stats) return;
        const nlohmann::json map = nlohmann::json::from_msgpack(stats->map);
        Sample& sample = samples_.emplace_back();
        sample.us = now_us();
        sample.life = yard_.broker().pid();
        sample.memory_bytes = memory_of(sample.life, "RssAnon");
        sample.descriptors = descriptors_of(sample.life);
        sample.store_used_bytes = map.at("broker").at("store_bytes").get<std::uint64_t>();
        sample.store_bytes = std::filesystem::file_size(yard_.data() + "/store/data.mdb");
        for (const char* file : {"/store/log.0", "/store/log.1"}) {
            std::error_code none;
            const std::uintmax_t bytes = std::filesystem::file_size(yard_.data() + file, none);
            if (!none) sample.log_bytes += bytes;
        }
    }

    const double seconds_;
    const double every_s_;
    const double sample_s_;
    Yard& yard_;
    Client client_;
    std::mt19937_64 random_;
    std::vector<Fault> faults_;
    std::vector<Planned> plan_;
    std::size_t next_ = 0;
    std::string under_way_;
    std::function<void()> heal_;
    double until_ = 0;
    std::vector<Sample> samples_;
    std::uint64_t events_read_ = 0;
    Verdict verdict_;
};

nlohmann::ordered_json report(const Health& health, const Bounds& bounds, bool is_judged) {
    const auto ms = [](std::uint64_t us) { return static_cast<double>(us) / 1e3; };
    return {{"samples", health.samples},
            {"undisturbed", health.undisturbed},
            {"memory_bytes", {{"before", health.memory_before}, {"after", health.memory_after}}},
            {"memory_growth_percent", 100 * health.memory_growth},
            {"descriptors", {{"before", health.descriptors_before}, {"after", health.descriptors_after}}},
            {"store_bytes", {{"largest", health.largest_store}, {"bound", bounds.store_bytes}}},
            {"log_bytes", {{"largest", health.largest_log}, {"bound", bounds.log_bytes}}},
            {"submit_p99_ms", {{"first_half", ms(health.p99_us_first)}, {"last_half", ms(health.p99_us_last)}}},
            {"submit_p99_ratio", health.p99_ratio},
            {"judged", is_judged}};
}

nlohmann::ordered_json to_json(const std::vector<Sample>& samples) {
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const Sample& sample : samples)
        all.push_back({{"s", static_cast<double>(sample.us - samples.front().us) / 1e6},
                       {"broker", sample.life},
                       {"memory_bytes", sample.memory_bytes},
                       {"descriptors", sample.descriptors},
                       {"store_bytes", sample.store_bytes},
                       {"store_used_bytes", sample.store_used_bytes},
                       {"log_bytes", sample.log_bytes},
                       {"disturbed", sample.disturbed},
                       {"answers", sample.answers},
                       {"submit_p50_us", sample.p50_us},
                       {"submit_p99_us", sample.p99_us},
                       {"jobs_per_s", sample.jobs_per_s}});
    return all;
}

/// Of the picture.
std::string words_below(const Verdict& verdict, const Health& health) {
    char text[200];
    std::snprintf(text, sizeof text,
                  "jobyard " JOBYARD_VERSION
                  ": %llu jobs, %s; in the last half memory %+.2f %%, descriptors %+lld; p99 of "
                  "the last half %.2f times that of the first",
                  static_cast<unsigned long long>(verdict.acknowledged),
                  verdict.kept() ? "nothing lost" : "a promise was broken", 100 * health.memory_growth,
                  static_cast<long long>(health.descriptors_after) - static_cast<long long>(health.descriptors_before),
                  health.p99_ratio);
    return text;
}

int run(const Options& options) {
    Place place(options.directory, std::uint64_t{2} << 30);
    for (const std::string& missing : place.missing()) std::cerr << "not possible here: " << missing << '\n';
    const Kept kept(options);
    const Bounds bounds{.store_bytes = kept.store_bound(), .log_bytes = std::uint64_t{2 * 96} << 20};
    Yard::Options yard_options = options.yard;
    yard_options.seed = options.seed;
    yard_options.gentle = true;
    yard_options.limits = kept.limits();
    Yard yard(yard_options, place);
    Soak soak(options, yard, place);
    soak.run();
    const auto [verdict, history] = end_and_check(yard, soak.events_read(), soak.verdict_so_far());

    std::vector<Sample> samples = soak.take_samples();
    add_what_clients_saw(samples, history, soak.settle_us());
    const Health health = judge_health(samples, bounds);
    const bool is_judged = options.minutes >= kMinutesToJudge && !interrupted;
    const bool is_good = verdict.kept() && (!is_judged || health.broken.empty());
    if (!options.svg.empty())
        test::write_file(options.svg, draw(samples, disturbances(history), bounds, words_below(verdict, health)));
    nlohmann::ordered_json told{{"version", JOBYARD_VERSION}, {"seed", options.seed}};
    told.update(report(verdict));
    told.update(report(health, bounds, is_judged));
    told["not_possible_here"] = place.missing();
    if (options.json) {
        if (is_judged) told["unwell"] = health.broken;
        told["sampled"] = to_json(samples);
    }
    tell(told, options.json);
    tell_what_is_broken(verdict);
    if (is_judged)
        for (const std::string& how : health.broken) std::cerr << "soak: " << how << '\n';
    else
        std::cerr << "memory, descriptors, files and p99 are shown and not judged: that takes a run of "
                  << kMinutesToJudge << " minutes\n";
    if (options.keep || !is_good) keep_record(yard, place);
    return is_good ? 0 : 1;
}

}  // namespace
}  // namespace jobyard::torture

int main(int argc, char** argv) {
    using jobyard::torture::Options;
    try {
        jobyard::torture::enter_own_namespaces(argv);
        Options options;
        options.yard.jobs_per_s = 25;
        CLI::App app{
            "A real broker, workers and clients at a steady rate, with small retention limits and a fault every few\n"
            "minutes: kill -9 of a worker, a partition, a stopped broker, and in the first third kill -9 of it. The\n"
            "broker is sampled meanwhile. Exit status 1, and a sentence for each, if\n"
            "  in the last half its own memory grows by 2 % or more, or its descriptors become more or fewer;\n"
            "  its files are larger than its limits let them be;\n"
            "  99 of 100 submits are answered 1.5 times as late in the last half as in the first;\n"
            "  anything that was acknowledged is lost, or another promise broken, as jobyard-torture has it.\n"
            "Samples in a fault, and for a third of the time between two faults after it, are drawn and not judged."};
        app.add_option("--minutes", options.minutes, "How long; below 20 only promises are judged")
            ->capture_default_str();
        app.add_option("--faults", options.faults, "How many things go wrong; at most one in 3 seconds")
            ->capture_default_str();
        app.add_option("--svg", options.svg, "Draw the samples into this file");
        app.add_option("--seed", options.seed, "Of the jobs; the same seed gives the same jobs, not the same run");
        app.add_option("--clients", options.yard.clients, "Client processes")->capture_default_str();
        app.add_option("--workers", options.yard.workers, "Worker processes; every other one serves the ordered queue")
            ->capture_default_str();
        app.add_option("--rate", options.yard.jobs_per_s, "Jobs a second of each client")->capture_default_str();
        app.add_option("--directory", options.directory, "Where files are made")->capture_default_str();
        app.add_flag("--keep", options.keep, "Keep the record, also if nothing was broken");
        app.add_flag("--json", options.json, "One JSON object, with all samples");
        CLI11_PARSE(app, argc, argv);
        ::signal(SIGINT, [](int) { jobyard::torture::interrupted = true; });
        ::signal(SIGPIPE, SIG_IGN);
        std::cerr << "seed " << options.seed << '\n';
        return jobyard::torture::run(options);
    } catch (const std::exception& e) {
        std::cerr << "jobyard-soak: " << e.what() << '\n';
        return 2;
    }
}
