// jobyard-worker: runs commands for a broker. Wiring only.

#include <fcntl.h>
#include <poll.h>
#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "jobyard/worker.hpp"
#include "keeper.hpp"
#include "peer/endpoint.hpp"
#include "runner.hpp"
#include "service/notifier.hpp"

namespace {

enum Exit : int { kDrained = 0, kUnexpected = 1, kUsage = 2, kRefused = 3, kStuck = 4 };

struct Config {
    jobyard::WorkerOptions worker;
    bool allow_commands = false;
    std::chrono::milliseconds kill_grace{10'000};
};

/// Beyond the kill grace: SIGKILL has been sent, the process only has to be gone.
constexpr std::chrono::milliseconds kAfterKill{5'000};

constexpr const char* kFooter = R"(Signals:
  SIGTERM, SIGINT   drain: take no more jobs, let running commands end; those that
                    have not after --drain are stopped and handed back uncharged.
                    The second time: stop and hand back at once.

A command that is to stop (timeout, cancel, end of the drain) gets SIGTERM, then
SIGKILL after --kill-grace, with its whole process group. If this worker dies, even
by kill -9, its keeper process kills the groups. A process that leaves its group
(setsid) is out of their reach.

Exit codes:
  0  drained            3  the broker refused this worker
  1  unexpected error   4  all slots are stuck: no command could be stopped
  2  bad usage)";

/// An exit code if the program is to end here.
std::optional<int> parse(int argc, char** argv, Config& config) {
    CLI::App app("Runs commands for a jobyard broker.", "jobyard-worker");
    app.footer(kFooter);
    app.set_version_flag("--version", "jobyard-worker " JOBYARD_VERSION);
    int drain_s = 25;
    int kill_grace_s = 10;
    jobyard::WorkerOptions& worker = config.worker;
    app.add_option("--broker", worker.broker,
                   "where the broker is (default: $JOBYARD_BROKER, else the broker of this user on this machine)")
        ->type_name("ENDPOINT");
    app.add_option("--name", worker.name, "for logs and the records of attempts (default: HOST-PID)")
        ->type_name("NAME");
    app.add_option("--slots", worker.slots, "commands at once (default: half as many as there are cores)")
        ->type_name("N")
        ->check(CLI::Range(1, 1024));
    app.add_option("--credit", worker.credit, "jobs held at most, running ones included (default: as many as slots)")
        ->type_name("N")
        ->check(CLI::Range(1, 1024));
    app.add_option("--queue", worker.queues, "a queue to serve; may be repeated (default: default)")
        ->type_name("QUEUE")
        ->allow_extra_args(false);
    app.add_flag("--allow-commands", config.allow_commands,
                 "run commands though they come over the network: whoever reaches the broker runs programs here");
    app.add_option("--drain", drain_s, "how long running commands may go on after SIGTERM (default: 25)")
        ->type_name("SECONDS")
        ->check(CLI::Range(0, 86400));
    app.add_option("--kill-grace", kill_grace_s, "from SIGTERM to SIGKILL of a command (default: 10)")
        ->type_name("SECONDS")
        ->check(CLI::Range(0, 3600));
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        return app.exit(e) == 0 ? kDrained : kUsage;  // --help and --version are errors of code 0
    }
    worker.drain = std::chrono::seconds(drain_s);
    config.kill_grace = std::chrono::seconds(kill_grace_s);
    worker.stop_grace = config.kill_grace + kAfterKill;
    worker.broker = jobyard::broker_endpoint(worker.broker);
    if (!worker.broker.starts_with("ipc://") && !config.allow_commands) {
        std::fprintf(
            stderr,
            "jobyard-worker: %s is reached over the network: whoever can submit there would run programs here.\n"
            "Start with --allow-commands if that is meant, or use an ipc endpoint.\n",
            worker.broker.c_str());
        return kUsage;
    }
    return std::nullopt;
}

/// Descriptors 0 to 2 are open in every process we start, so they must be in ours, or other files would take their
/// place.
void open_standard_streams() {
    for (int fd = 0; fd <= 2; ++fd)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) std::_Exit(kUnexpected);
}

sigset_t block_stop_signals() {
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stops, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    return stops;
}

/// Turns signals into calls, in a thread of its own, until it is destroyed.
class SignalThread {
 public:
    SignalThread(const sigset_t& signals, jobyard::Worker& worker, const jobyard::service::Notifier& manager)
        : signals_(signalfd(-1, &signals, SFD_CLOEXEC)),
          quit_(eventfd(0, EFD_CLOEXEC)),
          thread_([this, &worker, &manager] {
              pollfd fds[] = {{signals_, POLLIN, 0}, {quit_, POLLIN, 0}};
              for (bool first = true;; first = false) {
                  while (poll(fds, 2, -1) < 0) {
                  }
                  if (fds[1].revents != 0) return;
                  signalfd_siginfo signal{};
                  if (read(signals_, &signal, sizeof signal) < 0) continue;
                  if (first) manager.stopping();
                  first ? worker.stop() : worker.stop_now();
              }
          }) {}
    ~SignalThread() {
        eventfd_write(quit_, 1);
        thread_.join();
        close(signals_);
        close(quit_);
    }
    SignalThread(const SignalThread&) = delete;
    SignalThread& operator=(const SignalThread&) = delete;

 private:
    int signals_;
    int quit_;
    std::thread thread_;
};

void log_line(jobyard::LogLevel level, const std::string& text) {
    constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::info, spdlog::level::warn, spdlog::level::err};
    spdlog::log(kLevels[static_cast<std::size_t>(level)], "{}", text);
}

/// False if whoever reads the log has stopped reading: its last lines get a moment, and then the process ends all the
/// same.
bool close_log() {
    constexpr std::chrono::seconds kMoment{2};
    const auto closed = std::make_shared<std::promise<void>>();
    std::thread([closed] {
        spdlog::shutdown();
        closed->set_value();
    }).detach();
    return closed->get_future().wait_for(kMoment) == std::future_status::ready;
}

int run(const Config& config, const jobyard::worker::Keeper& keeper, jobyard::service::Notifier& manager) {
    const sigset_t stops = block_stop_signals();
    spdlog::set_default_logger(spdlog::create_async_nb<spdlog::sinks::stderr_sink_mt>("jobyard-worker"));
    spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l jobyard-worker[%P] %v");
    spdlog::flush_on(spdlog::level::info);

    jobyard::WorkerOptions options = config.worker;
    options.log = log_line;
    options.pulse_interval = manager.watchdog_interval().value_or(options.pulse_interval);
    options.pulse = [&, first = true]() mutable {
        if (std::exchange(first, false)) manager.ready("serves " + config.worker.broker);
        manager.alive();
    };
    jobyard::Worker worker(options);
    worker.on(std::string(jobyard::worker::kCommandType),
              [&](const jobyard::Job& job, jobyard::Context& context) -> jobyard::HandlerResult {
                  const auto command = jobyard::worker::decode_command(job.payload);
                  if (!command) return jobyard::Failure{.message = command.error().text, .retryable = false};
                  return jobyard::worker::run_command(*command, {job.id, job.attempt, job.token}, keeper,
                                                      context.cancel_fd(), config.kill_grace);
              });
    spdlog::info("starting: broker={}", config.worker.broker);
    jobyard::WorkerEnd end;
    {
        const SignalThread signals(stops, worker, manager);
        end = worker.run();
    }
    int code = kUnexpected;
    switch (end.cause) {
        case jobyard::WorkerEnd::Cause::stopped: code = kDrained; break;
        case jobyard::WorkerEnd::Cause::all_slots_stuck: code = kStuck; break;
        case jobyard::WorkerEnd::Cause::refused:
            code = end.error.code == jobyard::Code::internal ? kUnexpected : kRefused;
    }
    if (end.cause == jobyard::WorkerEnd::Cause::refused) spdlog::error("{}", end.error.text);
    spdlog::info("ended: exit={} commands_left={}", code, end.handlers_left);
    const bool log_closed = close_log();
    // Threads of commands that could not be stopped still use what is on this stack; the keeper sees to the commands.
    if (end.handlers_left > 0 || !log_closed) std::_Exit(code);
    return code;
}

}  // namespace

int main(int argc, char** argv) {
    Config config;
    if (const auto code = parse(argc, argv, config)) return *code;
    open_standard_streams();
    jobyard::service::Notifier manager = jobyard::service::Notifier::from_environment();
    // First of all, while there is one thread and nothing is open that the keeper would hold.
    const auto keeper = jobyard::worker::Keeper::start();
    if (!keeper) {
        std::fprintf(stderr, "jobyard-worker: %s\n", keeper.error().text.c_str());
        return kUnexpected;
    }
    try {
        return run(config, *keeper, manager);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "jobyard-worker: %s\n", e.what());
        return kUnexpected;
    }
}
