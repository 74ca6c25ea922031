#include "config.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>

#include <cstdlib>
#include <iostream>

#include "access_file.hpp"
#include "jobyard/assert.hpp"
#include "jobyard/limits.hpp"
#include "peer/endpoint.hpp"
#include "program/flags.hpp"
#include "program/generate.hpp"
#include "program/usage.hpp"
#include "program/values.hpp"

namespace jobyard::broker {
namespace {

using program::Setting;
using program::Unit;

constexpr const char* kExamples = R"(
Examples:
  jobyard-broker --data /var/lib/jobyard
      for the workers and clients of this user on this machine
  jobyard-broker --data /var/lib/jobyard --listen ipc:///run/jobyard/broker --group jobyard
      for the members of a group, who find it there
  jobyard-broker --data /var/lib/jobyard --listen tcp://127.0.0.1:7466
      for all users of this machine
  jobyard-broker --data /var/lib/jobyard --listen tcp://0.0.0.0:7466 \
      --key-file /etc/jobyard/broker_secret --access-file /etc/jobyard/access.toml
      for who has a key that the access file names (jobyard keygen makes keys)
  jobyard-broker --data /var/lib/jobyard --listen tcp://0.0.0.0:7466 --insecure
      for whoever can reach this machine: only in a network you trust
  jobyard-broker --config /etc/jobyard/broker.toml --check
      shows what would be in force, and where each setting is from
  jobyard-broker --data /tmp/try --limit queue_jobs=1000 --limit payload_bytes=64K

Signals:
  SIGTERM, SIGINT  finish what is in hand, and stop
  SIGHUP           read the settings again: the log says what changes now and what
                   needs a restart; and open the log file anew. Keys that are gone
                   from the access file are cut off at once

Exit status:
  0  stopped by SIGTERM or SIGINT; everything in hand is on disk
  1  something unexpected; the last line logged says what
  2  the command line or another source of settings is wrong
  3  the data directory or the store in it cannot be opened
  4  another broker uses the data directory
  5  an endpoint cannot be bound
  6  a write or a read of the disk failed; what was acknowledged is safe, start again
     when its cause is mended
)";

constexpr std::uint64_t kDayMs = std::uint64_t{24} * 3600 * 1000;
constexpr int kManSection = 8;

Error bad(std::string text) { return {Code::bad_field, std::move(text)}; }

Result<gid_t> group_of(const std::string& name) {
    const ::group* found = ::getgrnam(name.c_str());
    if (found != nullptr) return found->gr_gid;
    return bad("--group " + name + ": there is no group of that name; groupadd makes one");
}

Setting limit_setting(Limits& limits, const LimitName& limit) {
    std::string text(limit.text);
    text[0] = static_cast<char>(text[0] & ~0x20);
    return {.key = "limits." + std::string(limit.name),
            .flag = "--limit",
            .named = true,
            .field = &(limits.*limit.value),
            .unit = limit.name.ends_with("_bytes") ? Unit::bytes
                    : limit.name.ends_with("_ms")  ? Unit::milliseconds
                                                   : Unit::things,
            .max = limit.max,
            .text = std::move(text),
            .reloadable = !limit.told_at_welcome};
}

Setting timing_setting(const char* name, const char* flag, std::uint32_t& field, const char* text) {
    return {.key = "timing." + std::string(name),
            .flag = flag,
            .field = &field,
            .unit = Unit::milliseconds,
            .min = 1,
            .max = kDayMs,
            .text = text};
}

/// A command line that is read into a Config: the same at the start and at each reload.
struct CommandLine {
    Config config;
    program::Table table = settings(config);
    CLI::App app{"jobyard-broker keeps jobs on disk and hands them to workers.", "jobyard-broker"};
    bool check_only = false;
    program::Flags flags{app, table};

    CommandLine() {
        program::add_generate(app, kManSection, &table, {{"access.md", access_reference()}});
        app.set_version_flag("--version", "jobyard-broker " JOBYARD_VERSION);
        app.get_formatter()->column_width(28);
        app.add_flag("--check", check_only,
                     "Read all settings, check them, print them with\nwhere each is from, and start nothing");
        app.add_option("--ready-fd", config.ready_fd,
                       "When all endpoints are bound, write READY and then\neach endpoint, a line each, to this "
                       "descriptor")
            ->check(CLI::NonNegativeNumber)
            ->option_text("FD");
        app.footer("Limits (--limit NAME=VALUE; bytes also as 64K, 16M, 1G; durations as 5s, 2h, 7d):\n" +
                   program::named_settings(table, "--limit") + kExamples);
    }
    CommandLine(const CommandLine&) = delete;
    CommandLine& operator=(const CommandLine&) = delete;

    /// After app.parse().
    Result<void> finish() {
        if (auto read = flags.read_all(table, config.notes); !read) return read;
        if (config.listen.empty())
            JOBYARD_ASSERT(assign(*program::find(table, "listen"), {broker_endpoint({})},
                                  std::getenv("JOBYARD_BROKER") != nullptr ? "$JOBYARD_BROKER" : "this user's own"));
        if (!config.group_name.empty()) {
            const auto group = group_of(config.group_name);
            if (!group) return group.error();
            config.group = *group;
        }
        if (auto read = read_key_files(config); !read) return read;
        return check(config);
    }
};

}  // namespace

program::Table settings(Config& config) {
    program::Table table{"jobyard-broker", "JOBYARD_BROKER_", {"/etc/jobyard/broker.toml"}, {}};
    Timing& timing = config.timing;
    table.settings = {
        {.key = "data",
         .flag = "--data",
         .field = &config.data,
         .takes = "DIR",
         .text = "Directory of the store and its log; made if absent",
         .example = {"/var/lib/jobyard"},
         .required = true},
        {.key = "listen",
         .flag = "--listen",
         .field = &config.listen,
         .takes = "ENDPOINT",
         .text = "Where peers connect: ipc://PATH, or tcp://ADDRESS:PORT (7466 by custom; 0 is any), with ?key=FILE "
                 "to have another key than the others",
         .unset = "$JOBYARD_BROKER, else ipc://$XDG_RUNTIME_DIR/jobyard/broker, else ipc:///tmp/jobyard-UID/broker",
         .example = {"ipc:///run/jobyard/broker", "tcp://127.0.0.1:7466"},
         .reloadable = true},
        {.key = "group",
         .flag = "--group",
         .field = &config.group_name,
         .takes = "GROUP",
         .text = "Let the members of this group use the ipc sockets",
         .unset = "only this user may",
         .example = {"jobyard"}},
        {.key = "insecure",
         .flag = "--insecure",
         .field = &config.insecure,
         .text = "Allow addresses that other machines can reach, without keys"},
        {.key = "key_file",
         .flag = "--key-file",
         .field = &config.key_file,
         .takes = "FILE",
         .text = "The broker's secret key (jobyard keygen): all tcp endpoints want keys then",
         .unset = "no keys",
         .example = {"/etc/jobyard/broker_secret"}},
        {.key = "access_file",
         .flag = "--access-file",
         .field = &config.access_file,
         .takes = "FILE",
         .text = "Which keys may connect and what each may do; SIGHUP reads it again",
         .unset = "whoever connects may do everything",
         .example = {"/etc/jobyard/access.toml"}},
        {.key = "map_size",
         .flag = "--map-size",
         .field = &config.map_bytes,
         .unit = Unit::bytes,
         .min = std::uint64_t{1} << 20,
         .text = "Address space of the store to begin with; it grows by itself"},
        {.key = "log.level",
         .flag = "--log-level",
         .field = &config.log_level,
         .takes = "LEVEL",
         .choices = {"trace", "debug", "info", "warn", "error"},
         .text = "Least of what is logged",
         .reloadable = true},
        {.key = "log.file",
         .flag = "--log-file",
         .field = &config.log_file,
         .takes = "FILE",
         .text = "Where to append the log",
         .unset = "standard error",
         .example = {"/var/log/jobyard/broker.log"},
         .reloadable = true},
        timing_setting("heartbeat", "--heartbeat", timing.heartbeat_ms, "How often a peer with nothing to say says so"),
        timing_setting("lost_after", "--lost-after", timing.lost_after_ms,
                       "How long a peer may be silent before it is lost"),
        timing_setting("lease", "--lease", timing.lease_ms, "How long a dispatched job is held without renewal"),
        timing_setting("renew", "--renew", timing.renew_ms, "How often workers renew"),
        timing_setting("claim_window", "--claim-window", timing.claim_window_ms,
                       "How long after a start known workers may come back first"),
        timing_setting("reconnect_grace", "--reconnect-grace", timing.reconnect_grace_ms,
                       "How long a worker whose connection closed keeps its jobs"),
    };
    for (const LimitName& limit : kLimitNames) table.settings.push_back(limit_setting(config.limits, limit));
    return table;
}

WrittenEndpoint split_endpoint(const std::string& listen) {
    constexpr std::string_view kKey = "?key=";
    const std::size_t at = listen.starts_with("tcp://") ? listen.find(kKey) : std::string::npos;
    if (at == std::string::npos) return {listen, ""};
    return {listen.substr(0, at), listen.substr(at + kKey.size())};
}

Result<void> read_key_files(Config& config) {
    config.endpoints.clear();
    for (const std::string& listen : config.listen) {
        const WrittenEndpoint written = split_endpoint(listen);
        Config::Listen endpoint{written.address, {}};
        const std::string& file = written.key_file.empty() ? config.key_file : written.key_file;
        if (!file.empty() && listen.starts_with("tcp://")) {
            auto key = read_key_pair(file);
            if (!key) return key.error();
            endpoint.key = *std::move(key);
        }
        config.endpoints.push_back(std::move(endpoint));
    }
    config.access = nullptr;
    if (config.access_file.empty()) return {};
    struct stat info {};
    // Who can write it decides who may do what.
    if (::stat(config.access_file.c_str(), &info) == 0 && (info.st_mode & 022U) != 0)
        return bad("the access file " + config.access_file +
                   " can be written by others than its owner; run: chmod go-w " + config.access_file);
    auto access = read_access_file(config.access_file);
    if (!access) return access.error();
    config.access = std::make_shared<const Access>(*std::move(access));
    return {};
}

Result<void> check(const Config& config) {
    for (const std::string& endpoint : config.listen)
        if (!endpoint.starts_with("ipc://") && !endpoint.starts_with("tcp://"))
            return bad("--listen " + endpoint + " is no endpoint: expected ipc://PATH or tcp://ADDRESS:PORT");
    for (const std::string& listen : config.listen) {
        const WrittenEndpoint endpoint = split_endpoint(listen);
        const bool has_key = !config.key_file.empty() || !endpoint.key_file.empty();
        const bool has_access = !config.access_file.empty();
        if (listen.starts_with("ipc://")) continue;
        if (has_key && !has_access)
            return bad("--listen " + listen +
                       " has a key, but nothing says whose keys may connect there: add "
                       "--access-file FILE");
        if (!has_key && has_access)
            return bad("--listen " + listen +
                       " has no key, so nobody who connects there could be told from another, as the access file "
                       "wants: add --key-file FILE (jobyard keygen makes one), or listen on ipc alone");
        if (!has_key && !config.insecure && !is_loopback(endpoint.address))
            return bad("--listen " + listen +
                       " lets in whoever can reach it, without a key: add --key-file FILE and --access-file FILE "
                       "(jobyard keygen makes keys); if it is what you want, add --insecure, else listen on ipc://PATH "
                       "or tcp://127.0.0.1:PORT");
    }
    const Timing& timing = config.timing;
    const auto text = [](std::uint32_t ms) { return program::exact_duration(std::chrono::milliseconds(ms)); };
    if (timing.lost_after_ms <= timing.heartbeat_ms)
        return bad("timing.lost_after (--lost-after), " + text(timing.lost_after_ms) +
                   ", must be more than timing.heartbeat (--heartbeat), " + text(timing.heartbeat_ms));
    if (timing.lease_ms <= timing.renew_ms)
        return bad("timing.lease (--lease), " + text(timing.lease_ms) + ", must be more than timing.renew (--renew), " +
                   text(timing.renew_ms));
    if (config.limits.dispatch_free_bytes > config.limits.submit_free_bytes)
        return bad(
            "limits.dispatch_free_bytes must not be more than limits.submit_free_bytes: with little space left, old "
            "work "
            "is to end before new work is taken");
    if (config.ready_fd >= 0 && ::fcntl(config.ready_fd, F_GETFD) < 0)
        return bad("--ready-fd " + std::to_string(config.ready_fd) + " is not an open descriptor");
    return {};
}

std::variant<Config, Exit> read_command_line(int argc, const char* const* argv) {
    CommandLine line;
    try {
        line.app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return line.app.exit(error) == 0 ? Exit::ok : Exit::usage;
        std::cerr << "jobyard-broker: " << program::wrong_usage(line.app, error) << "\n";
        return Exit::usage;
    }
    if (const auto finished = line.finish(); !finished) {
        std::cerr << "jobyard-broker: " << finished.error().text << "\n";
        return Exit::usage;
    }
    if (!line.check_only) return line.config;
    for (const std::string& note : line.config.notes) std::cerr << "jobyard-broker: " << note << "\n";
    std::cout << program::effective(line.table) << std::flush;
    return Exit::ok;
}

Result<std::vector<program::Change>> reread(Config& running, int argc, const char* const* argv) {
    CommandLine line;
    line.app.parse(argc, argv);  // it was right at the start and has not changed
    line.config.ready_fd = -1;   // was closed when all had been told
    if (const auto finished = line.finish(); !finished) return finished.error();
    program::Table table = settings(running);
    auto changes = program::take_changes(table, line.table);
    running.endpoints = std::move(line.config.endpoints);
    if (running.access_file == line.config.access_file) running.access = std::move(line.config.access);
    return changes;
}

}  // namespace jobyard::broker
