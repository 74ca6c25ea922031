// `jobyard doctor`: what is wrong with an installation, and what to do. Each check is a function that says one thing;
// tests/process/doctor_test.cpp plants the cause of each.

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "doctor.hpp"
#include "peer/endpoint.hpp"
#include "peer/keys.hpp"
#include "verbs.hpp"

namespace jobyard::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kFreeBytes = std::uint64_t{1} << 30;  // the broker's default limit submit_free_bytes
constexpr std::uint64_t kSessions = 10'000;                   // its default limit sessions
constexpr std::uint64_t kOtherDescriptors = 64;               // of a broker: files, events, endpoints
constexpr std::uint64_t kMapBytes = std::uint64_t{64} << 30;  // its default --map-size
constexpr std::chrono::seconds kAnswerLimit{3};

Told check_endpoint_directory(const std::string& endpoint) {
    const Result<void> address = check_address(endpoint);
    const Result<void> checked = address ? check_endpoint(endpoint) : address;
    if (!checked)
        return wrong("endpoint", checked.error().text, "mend what it says, or name another endpoint (--broker)");
    return fine("endpoint", endpoint);
}

Told check_keys(const Globals& globals, const std::string& endpoint) {
    const auto keys = keys_for(endpoint, globals.server_key, globals.key_file);
    if (!keys) return wrong("keys", keys.error().text, "mend what it says; jobyard keygen makes keys");
    if (*keys) return fine("keys", "there are a key of the broker and one of ours, for its owner alone");
    if (is_loopback(endpoint)) return fine("keys", "none, and inside this machine only its broker may want some");
    return wrong("keys", "none, and the broker is on another machine: who is between hears all",
                 "give the broker and this machine keys (SECURITY.md)");
}

Told check_descriptors(int broker) {
    rlimit limit{};
    const bool known = ::prlimit(broker, RLIMIT_NOFILE, nullptr, &limit) == 0;
    const std::string whose =
        broker == 0 ? "a broker started from here" : "the broker, process " + std::to_string(broker);
    if (!known) return fine("descriptors", "not known of " + whose + ": " + std::strerror(errno));
    if (limit.rlim_cur >= kSessions + kOtherDescriptors)
        return fine("descriptors", whose + " may have " + std::to_string(limit.rlim_cur));
    return wrong("descriptors",
                 whose + " may have " + std::to_string(limit.rlim_cur) + " descriptors, so not the " +
                     std::to_string(kSessions) + " connections it would take (limit sessions)",
                 "start it with more (ulimit -n 65536; in a unit of systemd LimitNOFILE=65536)");
}

Told check_address_space(int broker) {
    rlimit limit{};
    const std::string whose =
        broker == 0 ? "a broker started from here" : "the broker, process " + std::to_string(broker);
    if (::prlimit(broker, RLIMIT_AS, nullptr, &limit) != 0)
        return fine("address space", "not known of " + whose + ": " + std::strerror(errno));
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > 2 * kMapBytes) return fine("address space", "enough");
    return wrong("address space",
                 whose + " may map " + gib(limit.rlim_cur) + ", its store begins with " + gib(kMapBytes),
                 "start it without that limit (ulimit -v unlimited), or with a smaller --map-size; a limit of memory "
                 "(MemoryMax=) does no harm");
}

// --- the data directory ----------------------------------------------------------------------------------------------

Told check_access(const std::string& data) {
    struct stat info {};
    if (::stat(data.c_str(), &info) != 0)
        return wrong("data directory", data + ": " + std::strerror(errno), "name what the broker has as --data");
    if (info.st_uid != ::geteuid())
        return wrong("data directory", data + " belongs to user " + std::to_string(info.st_uid),
                     "run this, and the broker, as that user");
    if ((info.st_mode & 077U) != 0)
        return wrong("data directory", data + " is open to other users, payloads and results with it",
                     "chmod 700 " + data);
    return fine("data directory", data);
}

Told check_file_system(const std::string& data) {
    struct statfs disk {};
    if (::statfs(data.c_str(), &disk) != 0) return wrong("file system", std::strerror(errno), "name another directory");
    const char* kind = nullptr;
    switch (static_cast<std::uint32_t>(disk.f_type)) {  // the numbers of statfs(2)
        case 0x6969: kind = "NFS"; break;
        case 0x517b:
        case 0xfe534d42:
        case 0xff534d42: kind = "SMB"; break;
        case 0x00c36400: kind = "CephFS"; break;
        case 0x01021997: kind = "a file system of another machine (9p)"; break;
        case 0x65735546: kind = "a file system of a program (FUSE)"; break;
        case 0x794c7630: kind = "overlayfs"; break;
        case 0x01021994:
        case 0x858458f6: kind = "a memory file system"; break;
        default: return fine("file system", "a local disk");
    }
    return wrong("file system", data + " is on " + kind + ": what is acknowledged may not survive a power loss",
                 "move it to a local disk");
}

Told check_free_space(const std::string& data) {
    struct statvfs disk {};
    if (::statvfs(data.c_str(), &disk) != 0) return wrong("free space", std::strerror(errno), "name another directory");
    const std::uint64_t free = disk.f_bavail * disk.f_frsize;
    if (free >= kFreeBytes) return fine("free space", gib(free));
    return wrong("free space",
                 gib(free) + " are free; below " + gib(kFreeBytes) +
                     " new jobs are refused, below a quarter of that none are started (limits submit_free_bytes, "
                     "dispatch_free_bytes)",
                 "free some, or keep fewer ended jobs (limits kept_jobs, kept_bytes, kept_ms)");
}

/// What jobyard-store, which knows the files, says.
struct StoreSays {
    int exit = -1;
    std::string output;
    std::string errors;
};
StoreSays ask_store(const std::string& data) {
    StoreSays says;
    int output[2];
    int errors[2];
    if (::pipe2(output, O_CLOEXEC) != 0 || ::pipe2(errors, O_CLOEXEC) != 0) return says;
    const std::string program = sibling_program("jobyard-store");
    const pid_t child = ::fork();
    if (child == 0) {
        ::dup2(output[1], STDOUT_FILENO);
        ::dup2(errors[1], STDERR_FILENO);
        ::execlp(program.c_str(), program.c_str(), "info", data.c_str(), "--json", nullptr);
        ::_exit(127);
    }
    ::close(output[1]);
    ::close(errors[1]);
    const auto read_all = [](int fd, std::string& text) {
        std::array<char, 4096> bytes{};
        for (ssize_t got = 0; (got = ::read(fd, bytes.data(), bytes.size())) > 0;)
            text.append(bytes.data(), static_cast<std::size_t>(got));
        ::close(fd);
    };
    read_all(output[0], says.output);  // a few hundred bytes each: neither fills a pipe
    read_all(errors[0], says.errors);
    int status = 0;
    if (child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status)) says.exit = WEXITSTATUS(status);
    return says;
}

Told check_store(const StoreSays& says) {
    if (says.exit == 127)
        return wrong("store", "there is no program jobyard-store beside this one or in PATH",
                     "install the broker's package on its machine, and run this there");
    if (says.exit != 0) {
        std::string text = says.errors.substr(0, says.errors.find('\n'));
        if (const std::string prefix = "jobyard store: "; text.starts_with(prefix)) text.erase(0, prefix.size());
        return wrong("store", text.empty() ? "jobyard-store could not be run" : text,
                     "mend what it says; jobyard store verify tells more");
    }
    const Json info = Json::parse(says.output, nullptr, false);
    return fine("store", "format " + info.value("format", Json()).dump() + ", file of " +
                             gib(info.value("file_bytes", std::uint64_t{0})));
}

Told check_lock(const std::string& data, int holder, bool broker_answers, const std::string& endpoint) {
    if (holder != 0 && !broker_answers)
        return wrong("lock",
                     "process " + std::to_string(holder) + " holds " + data + ", but no broker answers at " + endpoint,
                     "if it listens elsewhere, name its endpoint (--broker); if it hangs, end it: the next one goes on "
                     "with all that was acknowledged");
    if (holder == 0 && broker_answers)
        return wrong("lock", "a broker answers at " + endpoint + ", but it does not use " + data,
                     "name the data directory of that broker, or the endpoint of the one you mean");
    return fine("lock", holder == 0 ? "not held" : "held by process " + std::to_string(holder));
}

// --- the broker ------------------------------------------------------------------------------------------------------

Told check_workers(Client& client, const BrokerStats& stats) {
    std::string unserved;
    std::uint64_t count = 0;
    for (const QueueInfo& queue : stats.queues) {
        if (queue.queued == 0) continue;
        const Result<JobPage> page = client.list({.state = JobState::queued, .queue = queue.name}, 0, 1, kAnswerLimit);
        if (!page || page->jobs.empty() || page->jobs[0].reason != to_string(Reason::no_worker)) continue;
        if (count++ < 3) unserved += (unserved.empty() ? "" : ", ") + queue.name;
    }
    if (count == 0) return fine("workers", std::to_string(stats.workers) + " connected");
    return wrong("workers",
                 "no worker serves the oldest job of " + std::to_string(count) +
                     (count == 1 ? " queue (" : " queues (") + unserved + (count > 3 ? ", …)" : ")"),
                 "start one with that queue and type (jobyard-worker --queue NAME runs commands)");
}

Told check_dead_letters(const BrokerStats& stats) {
    if (stats.dead == 0) return fine("dead letters", "none");
    return wrong("dead letters", std::to_string(stats.dead) + " jobs have failed for good",
                 "jobyard dead list says why; when the cause is mended: jobyard dead redrive --all");
}

Told check_broker_clock(WallTime before, const BrokerStats& stats) {
    const auto after = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
    const Json map = Json::from_msgpack(stats.map, true, false);
    const Json broker = map.value("broker", Json::object());
    if (!broker.contains("now")) return fine("broker's clock", "not known: it is of an older version");
    return check_clocks_agree(before, WallTime(std::chrono::milliseconds(broker["now"].get<std::int64_t>())), after);
}

int doctor(const Globals& globals, const std::string& data, const std::string& root) {
    const std::string endpoint = broker_endpoint(globals.broker);
    std::vector<Told> told;
    told.push_back(check_endpoint_directory(endpoint));
    const bool is_trusted = told.back().what_to_do.empty();
    if (is_trusted && endpoint.starts_with("tcp://")) told.push_back(check_keys(globals, endpoint));
    std::unique_ptr<Client> client;
    Result<void> connected = Error{Code::closed, "its endpoint is not to be trusted", 0};
    if (is_trusted) {
        Client::Options client_options = globals.client_options();
        client_options.broker = endpoint;
        client = std::make_unique<Client>(client_options);
        connected = client->connect(kAnswerLimit);
    }
    told.push_back(connected ? fine("broker", "answers at " + endpoint)
                             : wrong("broker", "no broker answers at " + endpoint + ": " + connected.error().text,
                                     "start jobyard-broker, or name its endpoint with --broker or JOBYARD_BROKER"));
    int holder = 0;
    std::uint64_t jobs = 0;  // that are unended, as far as it is known
    std::uint64_t connections = 0;
    if (!data.empty()) {
        told.push_back(check_access(data));
        const StoreSays says = ask_store(data);
        if (says.exit == 0) {
            const Json info = Json::parse(says.output, nullptr, false);
            holder = info.value("held_by_process", 0);
            jobs = info.value(Json::json_pointer("/tables/live/rows"), std::uint64_t{0});
        }
        told.push_back(check_file_system(data));
        told.push_back(check_barriers(root, data));
        told.push_back(check_free_space(data));
        told.push_back(check_store(says));
        if (says.exit == 0) told.push_back(check_lock(data, holder, connected.has_value(), endpoint));
    }
    Result<BrokerStats> stats = connected.has_value() ? Result<BrokerStats>(BrokerStats{}) : connected.error();
    if (connected) {
        const auto before = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
        stats = client->stats(kAnswerLimit);
        if (stats) {
            told.push_back(check_broker_clock(before, *stats));
            jobs = stats->scheduled + stats->queued + stats->assigned + stats->running + stats->retrying;
            connections = stats->workers + stats->submitters;
        }
    }
    if (!data.empty()) told.push_back(check_clock());
    told.push_back(check_descriptors(holder));
    told.push_back(check_address_space(holder));
    if (!data.empty()) {
        told.push_back(check_memory(root, holder, jobs, connections));
        told.push_back(check_backlog(root));
    }
    if (connected) {
        if (stats) {
            told.push_back(check_workers(*client, *stats));
            told.push_back(check_dead_letters(*stats));
        } else {
            told.push_back(wrong("counters", stats.error().text, "look at the broker's log"));
        }
    }

    const Terminal terminal = Terminal::of(stdout);
    int exit = kExitOk;
    for (const Told& each : told) {
        const bool good = each.what_to_do.empty();
        if (!good) exit = kExitNotCompleted;
        if (globals.json) {
            Json object{{"check", each.check}, {"status", good ? "ok" : "problem"}, {"text", each.text}};
            if (!good) object["do"] = each.what_to_do;
            print_line(object.dump(-1, ' ', false, Json::error_handler_t::replace));
            continue;
        }
        const std::string status = good ? "ok       " : "problem  ";
        print_line(painted(terminal, good ? Colour::green : Colour::red, status) + each.check +
                   std::string(each.check.size() < 16 ? 16 - each.check.size() : 1, ' ') + printable(each.text));
        if (!good) print_line("                         do: " + printable(each.what_to_do));
    }
    return exit;
}

}  // namespace

void add_doctor(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("doctor", "Say what is wrong with this installation, and what to do");
    auto data = std::make_shared<std::string>();
    add_broker(*verb, globals);
    verb->add_option("--data", *data, "Data directory of the broker, on its machine: looked at too")
        ->option_text("DIR");
    auto root = std::make_shared<std::string>();
    verb->add_option("--root", *root, "Where the machine's /proc and /sys are, if not there")->option_text("DIR");
    verb->add_flag("--json", globals.json, "Print JSON, one object a check");
    verb->footer(
        "\nChecks the endpoint, the broker and its clock, limits of the process, jobs that nobody serves and dead "
        "ones;\n"
        "with --data, on the broker's machine, also the directory (its mode, file system, free space, store and "
        "lock),\n"
        "the clock, the memory that the broker may have, and the kernel's settings. Changes nothing.\n\n"
        "Exit codes: 0 nothing is wrong; 1 something is; 2 wrong usage.\n\n"
        "Example:\n  jobyard doctor --data /var/lib/jobyard");
    verb->callback(
        [&globals, data, root] { globals.action = [&globals, data, root] { return doctor(globals, *data, *root); }; });
}

}  // namespace jobyard::cli
