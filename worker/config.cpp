#include "config.hpp"

#include <CLI/CLI.hpp>

#include <iostream>

#include "jobyard/assert.hpp"
#include "peer/endpoint.hpp"
#include "program/flags.hpp"
#include "program/generate.hpp"
#include "program/usage.hpp"

namespace jobyard::worker {
namespace {

using namespace std::chrono_literals;
using program::Unit;

constexpr const char* kFooter = R"(Signals:
  SIGTERM, SIGINT   drain: take no more jobs, let running commands end; those that
                    have not after --drain are stopped and handed back uncharged.
                    The second time: stop and hand back at once.
  SIGHUP            read the settings again: the log says what changes now and what
                    needs a restart; and open the log file anew

A command that is to stop (timeout, cancel, end of the drain) gets SIGTERM, then
SIGKILL after --kill-grace, with its whole process group. If this worker dies, even
by kill -9, its keeper process kills the groups. A process that leaves its group
(setsid) is out of their reach.

Exit codes:
  0  drained            3  the broker refused this worker
  1  unexpected error   4  all slots are stuck: no command could be stopped
  2  bad usage)";

constexpr int kManSection = 8;
/// Beyond the kill grace: SIGKILL has been sent, the process only has to be gone.
constexpr std::chrono::milliseconds kAfterKill{5'000};

constexpr std::uint64_t ms(std::chrono::milliseconds duration) { return static_cast<std::uint64_t>(duration.count()); }

/// A command line that is read into a Config: the same at the start and at each reload.
struct CommandLine {
    Config config;
    program::Table table = settings(config);
    CLI::App app{"Runs commands for a jobyard broker.", "jobyard-worker"};
    bool check_only = false;
    program::Flags flags{app, table};

    CommandLine() {
        program::add_generate(app, kManSection, &table);
        app.set_version_flag("--version", "jobyard-worker " JOBYARD_VERSION);
        app.get_formatter()->column_width(28);
        app.add_flag("--check", check_only,
                     "Read all settings, check them, print them with\nwhere each is from, and start nothing");
        app.footer(kFooter);
    }
    CommandLine(const CommandLine&) = delete;
    CommandLine& operator=(const CommandLine&) = delete;

    /// After app.parse().
    Result<void> finish() {
        if (auto read = flags.read_all(table, config.notes); !read) return read;
        if (config.worker.broker.empty())
            JOBYARD_ASSERT(assign(*program::find(table, "broker"), {broker_endpoint({})}, "this user's own"));
        config.worker.stop_grace = config.kill_grace + kAfterKill;
        return check(config);
    }
};

}  // namespace

program::Table settings(Config& config) {
    program::Table table{"jobyard-worker", "JOBYARD_WORKER_", {"/etc/jobyard/worker.toml"}, {}};
    WorkerOptions& worker = config.worker;
    table.settings = {
        {.key = "broker",
         .flag = "--broker",
         .field = &worker.broker,
         .takes = "ENDPOINT",
         .text = "Where the broker is: ipc://PATH or tcp://HOST:PORT",
         .unset = "the broker of this user on this machine",
         .example = {"ipc:///run/jobyard/broker"},
         .variable = "JOBYARD_BROKER"},
        {.key = "server_key",
         .flag = "--server-key",
         .field = &worker.server_key,
         .takes = "KEY",
         .text = "The broker's public key, over tcp: the 40 characters, or the file that has them",
         .unset = "a broker without keys",
         .example = {"/etc/jobyard/broker"},
         .variable = "JOBYARD_SERVER_KEY"},
        {.key = "key_file",
         .flag = "--key-file",
         .field = &worker.key_file,
         .takes = "FILE",
         .text = "The secret key to come with (jobyard keygen makes keys)",
         .unset = "none",
         .example = {"/etc/jobyard/worker_secret"},
         .variable = "JOBYARD_KEY_FILE"},
        {.key = "name",
         .flag = "--name",
         .field = &worker.name,
         .takes = "NAME",
         .text = "For logs and the records of attempts",
         .unset = "HOST-PID",
         .example = {"worker-1"}},
        {.key = "slots",
         .flag = "--slots",
         .field = &worker.slots,
         .min = 1,
         .max = 1024,
         .text = "Commands at once",
         .unset = "half as many as there are cores",
         .example = {"4"}},
        {.key = "credit",
         .flag = "--credit",
         .field = &worker.credit,
         .min = 1,
         .max = 1024,
         .text = "Jobs held at most, running ones included",
         .unset = "as many as slots",
         .example = {"8"}},
        {.key = "queues",
         .flag = "--queue",
         .field = &worker.queues,
         .takes = "QUEUE",
         .text = "The queues to serve, in turns"},
        {.key = "allow_commands",
         .flag = "--allow-commands",
         .field = &config.allow_commands,
         .text = "Run commands though they come over the network: whoever reaches the broker runs programs here"},
        {.key = "drain",
         .flag = "--drain",
         .field = &worker.drain,
         .unit = Unit::milliseconds,
         .alone = 1s,
         .max = ms(24h),
         .text = "How long running commands may go on after SIGTERM"},
        {.key = "kill_grace",
         .flag = "--kill-grace",
         .field = &config.kill_grace,
         .unit = Unit::milliseconds,
         .alone = 1s,
         .max = ms(1h),
         .text = "From SIGTERM to SIGKILL of a command"},
        {.key = "log.level",
         .flag = "--log-level",
         .field = &config.log_level,
         .takes = "LEVEL",
         .choices = {"info", "warn", "error"},
         .text = "Least of what is logged",
         .reloadable = true},
        {.key = "log.file",
         .flag = "--log-file",
         .field = &config.log_file,
         .takes = "FILE",
         .text = "Where to append the log",
         .unset = "standard error",
         .example = {"/var/log/jobyard/worker.log"},
         .reloadable = true},
    };
    return table;
}

Result<void> check(const Config& config) {
    if (!config.worker.broker.empty() && !config.worker.broker.starts_with("ipc://") && !config.allow_commands)
        return Error{Code::bad_field,
                     config.worker.broker +
                         " is reached over the network: whoever can submit there would run programs here.\n"
                         "Start with --allow-commands if that is meant, or use an ipc endpoint."};
    return {};
}

std::variant<Config, Exit> read_command_line(int argc, const char* const* argv) {
    CommandLine line;
    try {
        line.app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        // --help and --version are errors of code 0.
        if (error.get_exit_code() == 0) return line.app.exit(error) == 0 ? Exit::drained : Exit::usage;
        std::cerr << "jobyard-worker: " << program::wrong_usage(line.app, error) << "\n";
        return Exit::usage;
    }
    if (const auto finished = line.finish(); !finished) {
        std::cerr << "jobyard-worker: " << finished.error().text << "\n";
        return Exit::usage;
    }
    if (!line.check_only) return line.config;
    for (const std::string& note : line.config.notes) std::cerr << "jobyard-worker: " << note << "\n";
    std::cout << program::effective(line.table) << std::flush;
    return Exit::drained;
}

Result<std::vector<program::Change>> reread(Config& running, int argc, const char* const* argv) {
    CommandLine line;
    line.app.parse(argc, argv);  // it was right at the start and has not changed
    if (const auto finished = line.finish(); !finished) return finished.error();
    program::Table table = settings(running);
    return program::take_changes(table, line.table);
}

}  // namespace jobyard::worker
