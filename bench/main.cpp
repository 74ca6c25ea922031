// jobyard-bench: one subcommand a question.

#include <exception>
#include <iostream>

#include "latency.hpp"
#include "limits.hpp"
#include "options.hpp"
#include "program/generate.hpp"
#include "scratch.hpp"
#include "subcommand.hpp"
#include "throughput.hpp"

namespace {

using namespace jobyard::bench;

constexpr int kWrongUsage = 2;

/// What all that run a broker share.
template <class Options>
void add_common(CLI::App& command, Options& options) {
    add_count(command, "--slots", options.slots, "slots of each worker", 1, kMaxCredit);
    add_count(command, "--credit", options.credit, "jobs each worker may hold; more than slots is prefetch", 1,
              kMaxCredit);
    command
        .add_option("--broker", options.broker,
                    "a running broker's endpoint, instead of a broker of its own; workers are still started.\n"
                    "What needs the broker's process (bytes written, its time) is left out. With\n"
                    "keys: $JOBYARD_SERVER_KEY and $JOBYARD_KEY_FILE")
        ->check([](const std::string& endpoint) {
            return endpoint.empty() ? std::string("expected an endpoint, as in tcp://127.0.0.1:7466") : std::string();
        });
    add_directory(command, options.directory);
    command.add_flag(
        "--against-limits", options.against_limits,
        "measure what libzmq, LMDB and the disk do alone in turns with it (5 rounds), and print the ratios");
    add_json(command, options.json);
}

void add_throughput(CLI::App& app, ThroughputOptions& options) {
    CLI::App& command = *app.add_subcommand(
        "throughput",
        "Jobs a second, submitted and end to end at the same time, and what each job costs. Handlers do nothing.\n"
        "Every combination of the lists is a row; the first row is run once more without prefetch and with 64 slots.");
    command
        .add_option("--jobs", options.jobs,
                    "jobs of a row [200000; 128 MiB of payload beyond 8 KiB; a quarter in the row without prefetch]")
        ->check(CLI::Range(1U, 100'000'000U));
    add_payload(command, options.payloads, "bytes a job, 0 to 256KiB; a list (0,100,4KiB) gives a row each");
    add_count(command, "--clients", options.clients,
              "callers, each a thread with its own Client; a list gives a row each", 1, 256);
    add_count(command, "--workers", options.workers,
              "worker processes; a list gives a row each. 0 with --broker: somebody else's serve type \"bench\"", 0,
              256);
    add_count(command, "--batch", options.batches,
              "jobs a submit_all(); 1: submit() in a plain loop. A list gives a row each", 1, 65'536);
    add_count(command, "--kept-jobs", options.kept_jobs,
              "ended jobs the broker keeps; the older ones it removes meanwhile");
    command.add_flag("--brief", options.brief,
                     "the rows alone: neither the run without workers nor the row without prefetch; for profilers");
    add_common(command, options);
    command.callback([&options] {
        for (const unsigned workers : options.workers)
            if (workers == 0 && options.broker.empty())
                throw CLI::ValidationError("--workers", "0 needs --broker, whose workers then run the jobs");
        run_throughput(options);
    });
}

void add_latency(CLI::App& app, LatencyOptions& options) {
    CLI::App& command = *app.add_subcommand("latency",
                                            "How long one job takes, in microseconds: until its submit is answered, "
                                            "its handler starts, its result is seen.\n"
                                            "One at a time, each when the one before has ended; or with --rate as many "
                                            "a second as are wanted, counted from\n"
                                            "when each was due, also if it was sent late. There a job that is ready "
                                            "before an older one is noted with that\n"
                                            "one, so its time can only come out longer.");
    command
        .add_option("--jobs", options.jobs,
                    "jobs to run, after a tenth as many to warm up [5000; with pauses 500; --seconds of a rate]")
        ->check(CLI::Range(1U, 10'000'000U));
    add_payload(command, options.payload, "bytes a job, 8 to 256KiB", 8);
    add_count(command, "--workers", options.workers,
              "worker processes; 0 with --broker: somebody else's serve type \"bench\", and start_us is left out", 0,
              256);
    command.add_option("--pause", options.pause_ms, "milliseconds between one job's end and the next")
        ->check(CLI::Range(0U, 60'000U));
    command.add_option("--rate", options.rate,
                       "jobs a second to offer, or \"half\" of a maximum that is measured first");
    command.add_option("--seconds", options.seconds, "how long a rate is offered")
        ->check(CLI::Range(0.1, 3600.0))
        ->capture_default_str();
    add_common(command, options);
    command.callback([&options] {
        if (options.workers == 0 && options.broker.empty())
            throw CLI::ValidationError("--workers", "0 needs --broker, whose workers then run the jobs");
        run_latency(options);
    });
}

void add_limits(CLI::App& app, LimitsOptions& options) {
    CLI::App& command = *app.add_subcommand(
        "limits",
        "What the parts alone do here. libzmq: client, forwarder, worker and back over tcp, 100 bytes a job, by jobs "
        "a\n"
        "message. LMDB: put and later delete with fsync, by jobs a transaction. The disk: fdatasync of 4 KiB.");
    add_count(command, "--rounds", options.rounds, "rounds; rates are medians of theirs", 1, 1'000);
    add_directory(command, options.directory);
    add_json(command, options.json);
    command.callback([&options] { run_limits(options); });
}

}  // namespace

int main(int argc, char** argv) {
    clean_up_when_interrupted();
    CLI::App app{"Measures jobyard on this machine. Runs a broker on a temporary directory and workers of its own."};
    app.name("jobyard-bench");
    app.set_version_flag("--version", "jobyard-bench " JOBYARD_VERSION);
    jobyard::program::add_generate(app, 1, nullptr);
    app.require_subcommand(1);
    ThroughputOptions throughput;
    LatencyOptions latency;
    LimitsOptions limits;
    add_throughput(app, throughput);
    add_latency(app, latency);
    add_limits(app, limits);
    const Subcommand subcommands[] = {add_backlog(app),  add_cost(app),   add_fanout(app), add_priority(app),
                                      add_failover(app), add_greedy(app), add_worker(app), add_flood(app)};
    try {
        app.parse(argc, argv);
        for (const auto& [parsed, run] : subcommands)
            if (parsed->parsed()) run();
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kWrongUsage;
    } catch (const std::exception& error) {
        std::cerr << "jobyard-bench: " << error.what() << '\n';
        return 1;
    }
    if (std::cout.flush()) return 0;
    std::cerr << "jobyard-bench: the result could not be written to standard output\n";
    return 1;
}
