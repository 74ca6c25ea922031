// jobyard-worker: runs commands for a broker. Wiring only.

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include "config.hpp"
#include "jobyard/worker.hpp"
#include "keeper.hpp"
#include "program/log.hpp"
#include "runner.hpp"
#include "service/notifier.hpp"

namespace {

using jobyard::worker::Config;
using jobyard::worker::Exit;

/// Descriptors 0 to 2 are open in every process we start, so they must be in ours, or other files would take their
/// place.
void open_standard_streams() {
    for (int fd = 0; fd <= 2; ++fd)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) std::_Exit(static_cast<int>(Exit::unexpected));
}

sigset_t block_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    return signals;
}

jobyard::program::LogOptions log_options(const Config& config) {
    return {.name = "jobyard-worker",
            .pattern = "%Y-%m-%dT%H:%M:%S.%e%z %l jobyard-worker[%P] %v",
            .level = config.log_level,
            .flush_from = "info",
            .file = config.log_file};
}

/// What SIGHUP asks for. The log says what came of it.
void reload(Config& running, int argc, const char* const* argv) {
    const auto changes = jobyard::worker::reread(running, argc, argv);
    if (!changes) {
        spdlog::error("nothing is reloaded: {}", changes.error().text);
        return;
    }
    if (const auto opened = jobyard::program::reopen_log(log_options(running)); !opened)
        spdlog::error("{}; it goes on where it was", opened.error().text);
    jobyard::program::log_changes(*changes, running.log_level);
}

/// Turns signals into calls, in a thread of its own, until it is destroyed.
class SignalThread {
 public:
    SignalThread(const sigset_t& signals, jobyard::Worker& worker, const jobyard::service::Notifier& manager,
                 std::function<void()> reload)
        : signals_(signalfd(-1, &signals, SFD_CLOEXEC)),
          quit_(eventfd(0, EFD_CLOEXEC)),
          thread_([this, &worker, &manager, reload = std::move(reload)] {
              pollfd fds[] = {{signals_, POLLIN, 0}, {quit_, POLLIN, 0}};
              for (bool first = true;;) {
                  while (poll(fds, 2, -1) < 0) {
                  }
                  if (fds[1].revents != 0) return;
                  signalfd_siginfo signal{};
                  if (read(signals_, &signal, sizeof signal) < 0) continue;
                  if (signal.ssi_signo == SIGHUP) {
                      reload();
                      continue;
                  }
                  if (first) manager.stopping();
                  first ? worker.stop() : worker.stop_now();
                  first = false;
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

int run(Config& config, int argc, const char* const* argv, const jobyard::worker::Keeper& keeper,
        jobyard::service::Notifier& manager) {
    const sigset_t signal_set = block_signals();
    if (const auto opened = jobyard::program::open_log(log_options(config)); !opened) {
        std::fprintf(stderr, "jobyard-worker: %s\n", opened.error().text.c_str());
        return static_cast<int>(Exit::unexpected);
    }
    for (const std::string& note : config.notes) spdlog::warn("{}", note);

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
                  return jobyard::worker::run_command(*command,
                                                      {job.id, job.attempt, job.token, job.array, job.array_index},
                                                      keeper, context.cancel_fd(), config.kill_grace);
              });
    spdlog::info("starting: broker={}", config.worker.broker);
    jobyard::WorkerEnd end;
    {
        const SignalThread signals(signal_set, worker, manager, [&] { reload(config, argc, argv); });
        end = worker.run();
    }
    Exit code = Exit::unexpected;
    switch (end.cause) {
        case jobyard::WorkerEnd::Cause::stopped: code = Exit::drained; break;
        case jobyard::WorkerEnd::Cause::all_slots_stuck: code = Exit::stuck; break;
        case jobyard::WorkerEnd::Cause::refused:
            code = end.error.code == jobyard::Code::internal ? Exit::unexpected : Exit::refused;
    }
    if (end.cause == jobyard::WorkerEnd::Cause::refused) spdlog::error("{}", end.error.text);
    spdlog::info("ended: exit={} commands_left={}", static_cast<int>(code), end.handlers_left);
    const bool log_closed = jobyard::program::close_log();
    // Threads of commands that could not be stopped still use what is on this stack; the keeper sees to the commands.
    if (end.handlers_left > 0 || !log_closed) std::_Exit(static_cast<int>(code));
    return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
    auto parsed = jobyard::worker::read_command_line(argc, argv);
    if (const Exit* exit = std::get_if<Exit>(&parsed)) return static_cast<int>(*exit);
    open_standard_streams();
    jobyard::service::Notifier manager = jobyard::service::Notifier::from_environment();
    // First of all, while there is one thread and nothing is open that the keeper would hold.
    const auto keeper = jobyard::worker::Keeper::start();
    if (!keeper) {
        std::fprintf(stderr, "jobyard-worker: %s\n", keeper.error().text.c_str());
        return static_cast<int>(Exit::unexpected);
    }
    try {
        return run(std::get<Config>(parsed), argc, argv, *keeper, manager);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "jobyard-worker: %s\n", e.what());
        return static_cast<int>(Exit::unexpected);
    }
}
