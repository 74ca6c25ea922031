#include "config.hpp"

#include <fcntl.h>
#include <grp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <iostream>
#include <iterator>
#include <numeric>
#include <string_view>

#include "jobyard/limits.hpp"
#include "jobyard/result.hpp"
#include "peer/endpoint.hpp"
#include "socket.hpp"

namespace jobyard::broker {
namespace {

constexpr const char* kExamples = R"(
Examples:
  jobyard-broker --data /var/lib/jobyard
      for the workers and clients of this user on this machine
  jobyard-broker --data /var/lib/jobyard --listen ipc:///run/jobyard/broker --group jobyard
      for the members of a group, who find it there
  jobyard-broker --data /var/lib/jobyard --listen tcp://127.0.0.1:7466
      for all users of this machine
  jobyard-broker --data /var/lib/jobyard --listen tcp://0.0.0.0:7466 --insecure
      for whoever can reach this machine: only in a network you trust
  jobyard-broker --data /tmp/try --limit queue_jobs=1000 --limit payload_bytes=64K

Exit status:
  0  stopped by SIGTERM or SIGINT; everything in hand is on disk
  1  something unexpected; the last line logged says what
  2  the command line is wrong
  3  the data directory or the store in it cannot be opened
  4  another broker uses the data directory
  5  an endpoint cannot be bound
  6  a write or a read of the disk failed; what was acknowledged is safe, start again
     when its cause is mended
)";

Error bad(std::string text) { return {Code::bad_field, std::move(text)}; }

/// Digits; for bytes also with a unit of 1024.
Result<std::uint64_t> read_number(std::string_view text, bool bytes) {
    const Error error = bad("'" + std::string(text) + "' is not a number" +
                            (bytes ? " of bytes; expected digits, and perhaps K, M or G" : "; expected digits"));
    std::uint64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc{}) return error;
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    if (unit.empty()) return value;
    constexpr std::string_view kUnits = "KMG";
    const std::size_t power =
        unit.size() == 1 ? kUnits.find(static_cast<char>(unit[0] & ~0x20)) : std::string_view::npos;
    if (!bytes || power == std::string_view::npos) return error;
    const int shift = 10 * static_cast<int>(power + 1);
    if (value > UINT64_MAX >> shift) return error;
    return value << shift;
}

std::size_t edits_between(std::string_view one, std::string_view other) {
    std::vector<std::size_t> row(other.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= one.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= other.size(); ++j) {
            const std::size_t replaced = diagonal + (one[i - 1] == other[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row.back();
}

Result<void> set_limit(Limits& limits, std::string_view setting) {
    const std::string_view name = setting.substr(0, setting.find('='));
    if (name.size() == setting.size()) return bad("--limit " + std::string(setting) + ": expected NAME=VALUE");
    const auto nearer = [name](const LimitName& a, const LimitName& b) {
        return edits_between(name, a.name) < edits_between(name, b.name);
    };
    const LimitName& limit = *std::min_element(std::begin(kLimitNames), std::end(kLimitNames), nearer);
    if (limit.name != name)
        return bad("--limit " + std::string(setting) + ": there is no limit of that name; the nearest is " +
                   std::string(limit.name));
    const auto value = read_number(setting.substr(name.size() + 1), name.ends_with("_bytes"));
    if (!value) return bad("--limit " + std::string(setting) + ": " + value.error().text);
    if (*value > limit.max) return bad("--limit " + std::string(setting) + ": at most " + std::to_string(limit.max));
    limits.*limit.value = *value;
    return {};
}

Result<gid_t> group_of(const std::string& name) {
    const ::group* found = ::getgrnam(name.c_str());
    if (found != nullptr) return found->gr_gid;
    return bad("--group " + name + ": there is no group of that name; groupadd makes one");
}

std::string limits_table() {
    std::string table = "\nLimits (--limit NAME=VALUE; bytes also as 64K, 16M, 1G):\n";
    for (const LimitName& limit : kLimitNames) {
        std::string line = "  " + std::string(limit.name);
        line.resize(24, ' ');
        line += std::to_string(Limits{}.*limit.value);
        line.resize(38, ' ');
        table += line + std::string(limit.text) + "\n";
    }
    return table;
}

/// What no single option can tell.
Result<void> check(const Config& config) {
    for (const std::string& endpoint : config.listen)
        if (!config.insecure && !is_loopback(endpoint))
            return bad("--listen " + endpoint +
                       " lets in whoever can reach it, without a key; if that is what you want, add "
                       "--insecure, else listen on ipc://PATH or tcp://127.0.0.1:PORT");
    const Timing& timing = config.timing;
    if (timing.lost_after_ms <= timing.heartbeat_ms) return bad("--lost-after must be more than --heartbeat");
    if (timing.lease_ms <= timing.renew_ms) return bad("--lease must be more than --renew");
    if (config.limits.dispatch_free_bytes > config.limits.submit_free_bytes)
        return bad(
            "--limit dispatch_free_bytes must not be more than submit_free_bytes: with little space left, old work "
            "is to end before new work is taken");
    if (config.ready_fd >= 0 && ::fcntl(config.ready_fd, F_GETFD) < 0)
        return bad("--ready-fd " + std::to_string(config.ready_fd) + " is not an open descriptor");
    return {};
}

}  // namespace

std::variant<Config, Exit> read_command_line(int argc, const char* const* argv) {
    Config config;
    std::string map_size;
    std::string group;
    std::vector<std::string> limits;

    CLI::App app("jobyard-broker keeps jobs on disk and hands them to workers.", "jobyard-broker");
    app.set_version_flag("--version", "jobyard-broker " JOBYARD_VERSION);
    app.get_formatter()->column_width(28);
    app.add_option("--data", config.data, "Directory of the store and its log; made if absent")
        ->required()
        ->option_text("DIR");
    app.add_option("--listen", config.listen,
                   "Where peers connect; may be given several times:\n"
                   "ipc://PATH, or tcp://ADDRESS:PORT (7466 by custom; 0 is any).\n"
                   "Default: $JOBYARD_BROKER,\n"
                   "else ipc://$XDG_RUNTIME_DIR/jobyard/broker,\n"
                   "else ipc:///tmp/jobyard-UID/broker")
        ->option_text("ENDPOINT...");
    app.add_option("--group", group,
                   "Let the members of this group use the ipc sockets;\nwithout it only this user may")
        ->option_text("GROUP");
    app.add_flag("--insecure", config.insecure, "Allow addresses that other machines can reach");
    app.add_option("--log-level", config.log_level,
                   "Least of what is logged: trace, debug, info (default),\nwarn, error")
        ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}))
        ->option_text("LEVEL");
    app.add_option("--log-file", config.log_file, "Where to append the log (standard error)")->option_text("FILE");
    app.add_option("--map-size", map_size, "Address space of the store to begin with (64G);\nit grows by itself")
        ->option_text("BYTES");
    app.add_option("--limit", limits, "Change a limit of the table below; may be given\nseveral times")
        ->option_text("NAME=VALUE");
    app.add_option("--ready-fd", config.ready_fd,
                   "When all endpoints are bound, write READY and then\neach endpoint, a line each, to this descriptor")
        ->check(CLI::NonNegativeNumber)
        ->option_text("FD");
    const auto milliseconds = [&app](const char* name, std::uint32_t& value, const std::string& text) {
        app.add_option(name, value, text + " (" + std::to_string(value) + ")")
            ->check(CLI::Range(1U, 24U * 3600 * 1000))
            ->option_text("MS");
    };
    Timing& timing = config.timing;
    milliseconds("--heartbeat", timing.heartbeat_ms, "How often a peer with nothing to say says so");
    milliseconds("--lost-after", timing.lost_after_ms, "How long a peer may be silent before it is lost");
    milliseconds("--lease", timing.lease_ms, "How long a dispatched job is held without renewal");
    milliseconds("--renew", timing.renew_ms, "How often workers renew");
    milliseconds("--claim-window", timing.claim_window_ms, "How long after a start known workers may\ncome back first");
    milliseconds("--reconnect-grace", timing.reconnect_grace_ms,
                 "How long a worker whose connection closed\nkeeps its jobs");
    app.footer(limits_table() + kExamples);

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? Exit::ok : Exit::usage;
    }
    if (config.listen.empty()) config.listen.push_back(broker_endpoint({}));
    const auto finish = [&]() -> Result<void> {
        if (!group.empty()) {
            const auto gid = group_of(group);
            if (!gid) return gid.error();
            config.group = *gid;
        }
        if (!map_size.empty()) {
            const auto bytes = read_number(map_size, true);
            if (!bytes) return bad("--map-size: " + bytes.error().text);
            config.map_bytes = *bytes;
        }
        for (const std::string& limit : limits)
            if (auto set = set_limit(config.limits, limit); !set) return set;
        return check(config);
    };
    if (const auto finished = finish(); !finished) {
        std::cerr << "jobyard-broker: " << finished.error().text << "\n";
        return Exit::usage;
    }
    return config;
}

}  // namespace jobyard::broker
