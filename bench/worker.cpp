#include "worker.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <thread>

#include "jobyard/worker.hpp"
#include "subcommand.hpp"

namespace jobyard::bench {
namespace {

/// The command line of a worker process.
struct Arguments {
    std::string broker;
    WorkerProcess::Options options;
    std::string stamps;
};

void run_worker(const Arguments& arguments) {
    std::optional<Stamps> stamps;
    if (!arguments.stamps.empty()) stamps.emplace(arguments.stamps);
    const std::chrono::microseconds nap(arguments.options.handler_us);
    const Handler handler = [&stamps, nap](const Job& job, Context&) -> HandlerResult {
        if (stamps) stamps->stamp(job.payload);
        if (nap.count() > 0) std::this_thread::sleep_for(nap);
        return Success{};
    };
    std::vector<std::thread> sessions;
    sessions.reserve(arguments.options.sessions);
    for (unsigned i = 0; i < arguments.options.sessions; ++i) {
        sessions.emplace_back([&] {
            Worker worker({.broker = arguments.broker,
                           .slots = arguments.options.slots,
                           .credit = arguments.options.credit,
                           .queues = arguments.options.queues});
            for (const std::string& type : arguments.options.types) worker.on(type, handler);
            const WorkerEnd end = worker.run();
            std::cerr << "jobyard-bench worker: " << end.error.text << std::endl;
            std::_Exit(1);  // it is to run until it is killed
        });
    }
    for (std::thread& session : sessions) session.join();
}

std::vector<std::string> command_line(const std::string& endpoint, const WorkerProcess::Options& options) {
    std::vector<std::string> words{program_beside_this("jobyard-bench"),
                                   "worker",
                                   "--broker",
                                   endpoint,
                                   "--sessions",
                                   std::to_string(options.sessions),
                                   "--slots",
                                   std::to_string(options.slots),
                                   "--credit",
                                   std::to_string(options.credit),
                                   "--handler-us",
                                   std::to_string(options.handler_us)};
    for (const std::string& type : options.types) words.insert(words.end(), {"--type", type});
    for (const std::string& queue : options.queues) words.insert(words.end(), {"--queue", queue});
    if (options.stamps != nullptr) words.insert(words.end(), {"--stamps", options.stamps->path()});
    return words;
}

}  // namespace

WorkerProcess::WorkerProcess(const std::string& endpoint, const Options& options)
    : process_(command_line(endpoint, options)) {}

Subcommand add_worker(CLI::App& app) {
    const auto arguments = std::make_shared<Arguments>();
    WorkerProcess::Options& options = arguments->options;
    CLI::App* command = app.add_subcommand("worker", "runs jobs for the other subcommands")->group("");
    command->add_option("--broker", arguments->broker, "endpoint")->required();
    command->add_option("--type", options.types, "types served");
    command->add_option("--queue", options.queues, "queues served");
    command->add_option("--sessions", options.sessions, "connections");
    command->add_option("--slots", options.slots, "slots of each");
    command->add_option("--credit", options.credit, "jobs each may hold");
    command->add_option("--handler-us", options.handler_us, "how long a handler sleeps");
    command->add_option("--stamps", arguments->stamps, "shared memory for the times handlers start");
    return {command, [arguments] { run_worker(*arguments); }};
}

}  // namespace jobyard::bench
