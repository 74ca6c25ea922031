// jobyard-bench-peers: the same work for jobyard and for other job systems, in turns. bench/peers/run installs what it
// needs and calls it; docs/BENCHMARKS.md says what is measured.

#include <sys/prctl.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "../scratch.hpp"
#include "measure.hpp"

namespace jobyard::bench {
namespace {

struct Options {
    unsigned rounds = 3;
    std::vector<std::string> only = {};
    std::string json_file = {};
    std::string directory = {};
};

const std::vector<Variant>& variants() {
    static const std::vector<Variant> all{
        {"jobyard", "fsync, its only mode", true, 600'000, 400'000, 4000, [] { return make_jobyard(); }},
        {"gearmand", "memory, -t 1", false, 600'000, 400'000, 4000, [] { return make_gearmand(1, false); }},
        {"gearmand", "memory, default (-t 4)", false, 500'000, 300'000, 4000, [] { return make_gearmand(4, false); }},
        {"gearmand", "sqlite", true, 400, 300, 200, [] { return make_gearmand(4, true); }},
        {"beanstalkd", "memory", false, 150'000, 40'000, 4000, [] { return make_beanstalkd(false); }},
        {"beanstalkd", "fsync", true, 15'000, 5'000, 1000, [] { return make_beanstalkd(true); }},
        {"nats", "JetStream, memory", false, 150'000, 60'000, 4000, [] { return make_nats(true); }},
        {"nats", "JetStream, file, no fsync", true, 150'000, 60'000, 4000, [] { return make_nats(false); }},
        {"rabbitmq", "classic, transient", false, 60'000, 40'000, 2000, [] { return make_rabbitmq(false); }},
        {"rabbitmq", "quorum", true, 50'000, 30'000, 1000, [] { return make_rabbitmq(true); }},
        {"bullmq", "Redis, default", false, 20'000, 8'000, 1000, [] { return make_bullmq(false); }},
        {"bullmq", "Redis, fsync", true, 15'000, 5'000, 500, [] { return make_bullmq(true); }},
    };
    return all;
}

/// What the rounds gave for one variant, or why there is nothing.
struct Outcome {
    std::vector<Json> rounds = {};
    std::string failed = {};
};

Json medians(const std::vector<Json>& rounds) {
    Json result = Json::object();
    for (const auto& [key, first] : rounds.front().items()) {
        std::vector<Json> inner;
        std::vector<double> numbers;
        for (const Json& round : rounds) {
            if (first.is_object()) inner.push_back(round.at(key));
            else numbers.push_back(round.at(key).get<double>());
        }
        if (first.is_object()) result[key] = medians(inner);
        else result[key] = median(std::move(numbers));
    }
    return result;
}

/// The table has a column for each measure; the file has all that was measured.
Json row(const Variant& variant, const Outcome& outcome) {
    Json row{{"system", variant.system}, {"durability", variant.durability}};
    if (outcome.rounds.empty()) {
        row["failed"] = outcome.failed.substr(0, 120);
        return row;
    }
    const Json all = medians(outcome.rounds);
    row["submit/s"] = all["submit_jobs_per_s"];
    row["end_to_end/s"] = all["end_to_end_jobs_per_s"];
    row["submit_us"] = all["latency_us"]["submit"];
    row["done_us"] = all["latency_us"]["done"];
    const Json& cpu = all["end_to_end_cpu"];
    row["cpu_us_per_job"] =
        fmt::format("{:.1f} = {:.1f} + {:.1f} + {:.1f}",
                    cpu["server_us_per_job"].get<double>() + cpu["submitter_us_per_job"].get<double>() +
                        cpu["workers_us_per_job"].get<double>(),
                    cpu["server_us_per_job"].get<double>(), cpu["submitter_us_per_job"].get<double>(),
                    cpu["workers_us_per_job"].get<double>());
    row["server_core"] = fmt::format("{:.0f} %", cpu["server_share_of_a_core"].get<double>() * 100);
    row["others"] = fmt::format("{:.0f} %", cpu["others_share_of_the_machine"].get<double>() * 100);
    if (!outcome.failed.empty()) row["failed"] = outcome.failed.substr(0, 120);
    return row;
}

/// Whether all could be measured.
bool run(const Options& options) {
    std::vector<const Variant*> chosen;
    for (const Variant& variant : variants())
        if (options.only.empty() || std::count(options.only.begin(), options.only.end(), variant.system) > 0)
            chosen.push_back(&variant);
    std::vector<Outcome> outcomes(chosen.size());
    for (unsigned round = 1; round <= options.rounds; ++round) {
        for (std::size_t i = 0; i < chosen.size(); ++i) {
            Outcome& outcome = outcomes[i];
            if (!outcome.failed.empty()) continue;
            const std::string name = fmt::format("{} ({})", chosen[i]->system, chosen[i]->durability);
            try {
                outcome.rounds.push_back(measure(*chosen[i], options.directory));
                const Json& got = outcome.rounds.back();
                std::cerr << fmt::format("round {} of {}: {}: submit {:.0f}/s, end to end {:.0f}/s\n", round,
                                         options.rounds, name, got["submit_jobs_per_s"].get<double>(),
                                         got["end_to_end_jobs_per_s"].get<double>());
            } catch (const std::exception& error) {
                outcome.failed = error.what();
                std::cerr << fmt::format("round {} of {}: {}: FAILED: {}\n", round, options.rounds, name, error.what());
            }
        }
    }
    Json table = heading("peers");
    table["durability"] = "see each row";
    table["rounds"] = options.rounds;
    table["payload_bytes"] = kPayload.size();
    table["workers"] = kWorkers;
    Json file = table;
    for (std::size_t i = 0; i < chosen.size(); ++i) {
        const Variant& variant = *chosen[i];
        table["results"].push_back(row(variant, outcomes[i]));
        Json full{{"system", variant.system},
                  {"durability", variant.durability},
                  {"strictest", variant.strictest},
                  {"submit_jobs", variant.submit_jobs},
                  {"end_to_end_jobs", variant.end_to_end_jobs}};
        if (!outcomes[i].failed.empty()) full["failed"] = outcomes[i].failed;
        if (!outcomes[i].rounds.empty()) full["medians"] = medians(outcomes[i].rounds);
        full["rounds"] = outcomes[i].rounds;
        file["results"].push_back(full);
    }
    print(table, false);
    if (!options.json_file.empty()) {
        std::ofstream out(options.json_file);
        out << file.dump(1) << '\n';
        if (!out.flush()) throw std::runtime_error("cannot write " + options.json_file);
    }
    return std::all_of(outcomes.begin(), outcomes.end(), [](const Outcome& each) { return each.failed.empty(); });
}

}  // namespace
}  // namespace jobyard::bench

int main(int argc, char** argv) {
    using namespace jobyard::bench;
    CLI::App app{"Measures jobyard beside other job systems, in turns. bench/peers/run installs them and calls this."};
    app.name("jobyard-bench-peers");
    Options options;
    const char* temporary = std::getenv("TMPDIR");
    options.directory = temporary != nullptr ? temporary : "/tmp";
    app.add_option("--rounds", options.rounds, "times each system is measured; medians are printed")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    std::vector<std::string> systems;
    for (const Variant& variant : variants())
        if (systems.empty() || systems.back() != variant.system) systems.emplace_back(variant.system);
    app.add_option("--only", options.only, "systems, separated by commas")
        ->delimiter(',')
        ->check(CLI::IsMember(systems));
    app.add_option("--json", options.json_file, "a file for all that was measured");
    app.add_option("--directory", options.directory, "where temporary directories are made")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // what a server's start script leaves behind is ours to end
    clean_up_when_interrupted();
    try {
        return run(options) ? 0 : 1;
    } catch (const std::exception& error) {
        std::cerr << "jobyard-bench-peers: " << error.what() << '\n';
        return 1;
    }
}
