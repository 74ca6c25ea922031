// jobyard-bench: one subcommand a question.

#include <CLI/CLI.hpp>

#include <exception>
#include <iostream>

#include "latency.hpp"
#include "subcommand.hpp"
#include "throughput.hpp"

int main(int argc, char** argv) {
    CLI::App app{"Measures jobyard on this machine. Runs a broker on a temporary directory and workers of its own."};
    app.name("jobyard-bench");
    app.require_subcommand(1);
    jobyard::bench::ThroughputOptions throughput;
    CLI::App* command =
        app.add_subcommand("throughput", "jobs a second, submitted and end to end, with what each costs");
    command->add_option("--jobs", throughput.jobs, "jobs to run")->capture_default_str();
    command->add_option("--payload", throughput.payload, "bytes a job")->capture_default_str();
    command->add_option("--workers", throughput.workers, "worker processes")->capture_default_str();
    command->add_option("--slots", throughput.slots, "slots of each")->capture_default_str();
    command->add_option("--credit", throughput.credit, "jobs each may hold (prefetch)")->capture_default_str();
    command
        ->add_option("--kept-jobs", throughput.kept_jobs,
                     "ended jobs the broker keeps; the older ones it removes meanwhile")
        ->capture_default_str();
    command->add_option("--directory", throughput.directory, "where the broker's temporary directory is made");
    command->add_flag("--json", throughput.json, "one JSON object");
    jobyard::bench::LatencyOptions latency;
    CLI::App* one =
        app.add_subcommand("latency", "how long one job takes when its caller waits for each, in microseconds");
    one->add_option("--jobs", latency.jobs, "jobs to run")->capture_default_str();
    one->add_option("--payload", latency.payload, "bytes a job")->capture_default_str();
    one->add_option("--workers", latency.workers, "worker processes")->capture_default_str();
    one->add_option("--directory", latency.directory, "where the broker's temporary directory is made");
    one->add_flag("--json", latency.json, "one JSON object");
    const jobyard::bench::Subcommand subcommands[] = {
        jobyard::bench::add_backlog(app),  jobyard::bench::add_cost(app),     jobyard::bench::add_fanout(app),
        jobyard::bench::add_priority(app), jobyard::bench::add_failover(app), jobyard::bench::add_worker(app)};
    CLI11_PARSE(app, argc, argv);
    try {
        for (const auto& [parsed, run] : subcommands)
            if (parsed->parsed()) return run(), 0;
        if (command->parsed()) jobyard::bench::run_throughput(throughput);
        else jobyard::bench::run_latency(latency);
    } catch (const std::exception& error) {
        std::cerr << "jobyard-bench: " << error.what() << '\n';
        return 1;
    }
    return 0;
}
