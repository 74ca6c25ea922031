// What `jobyard doctor` looks at of the machine: clocks, memory, the kernel's settings, how the disk is mounted.

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

#include "doctor.hpp"
#include "values.hpp"

namespace jobyard::cli {
namespace {

// docs/PRODUCTION.md, Sizes: what a broker takes.
constexpr std::uint64_t kBrokerBytes = std::uint64_t{256} << 20;
constexpr std::uint64_t kJobBytes = 200;
constexpr std::uint64_t kConnectionBytes = std::uint64_t{50} << 10;

constexpr std::uint64_t kBacklog = 1024;  // of connections that have come and are not taken yet (ZMQ_BACKLOG)
constexpr std::chrono::milliseconds kClocksApart(2'000);

std::optional<std::uint64_t> number_in(const std::string& path) {
    std::ifstream file(path);
    std::string text;
    file >> text;
    std::uint64_t number = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || read.ptr != text.data() + text.size()) return std::nullopt;  // "max" too
    return number;
}

struct MemoryLimit {
    std::uint64_t bytes = UINT64_MAX;
    std::string where;
};

/// The lowest of the groups that a process is in, and of those around them.
MemoryLimit memory_limit(const std::string& root, pid_t process) {
    MemoryLimit lowest;
    std::ifstream groups(root + "/proc/" + (process == 0 ? "self" : std::to_string(process)) + "/cgroup");
    for (std::string line; std::getline(groups, line);) {
        // "0::/system.slice/jobyard-broker.service", and of the first version "4:memory:/some/group".
        const std::size_t first = line.find(':');
        const std::size_t second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const bool is_second = controllers.empty();
        if (!is_second && ("," + controllers + ",").find(",memory,") == std::string::npos) continue;
        const std::string top = root + "/sys/fs/cgroup" + (is_second ? "" : "/memory");
        for (std::string group = line.substr(second + 1); !group.empty(); group.resize(group.rfind('/'))) {
            const std::string path = top + group + (is_second ? "/memory.max" : "/memory.limit_in_bytes");
            const auto limit = number_in(path);
            if (limit && *limit < lowest.bytes) lowest = {*limit, path.substr(root.size())};
        }
    }
    return lowest;
}

}  // namespace

std::string gib(std::uint64_t bytes) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f GiB", static_cast<double>(bytes) / (1U << 30U));
    return text.data();
}

Told check_clock() {
    timex state{};  // asks; sets nothing
    const int said = ::adjtimex(&state);
    if (said < 0) return fine("clock", "not known");
    if (said != TIME_ERROR) return fine("clock", "synchronised");
    return wrong(
        "clock",
        "nothing keeps this machine's clock right: times of day (--at, when jobs ended, what is kept for days) "
        "are as wrong as it is",
        "run a time service (systemd-timesyncd, chrony); a jump does no harm to pauses, leases and timeouts");
}

Told check_clocks_agree(WallTime before, WallTime now, WallTime after) {
    const auto ahead = now > after ? now - after : std::chrono::milliseconds(0);
    const auto behind = now < before ? before - now : std::chrono::milliseconds(0);
    const auto apart = std::max(ahead, behind);
    if (apart < kClocksApart) return fine("broker's clock", "agrees with the one here");
    return wrong("broker's clock",
                 "it is " + short_duration(apart) + (ahead.count() > 0 ? " ahead of" : " behind") +
                     " the one here: times of day that are given here (--at) mean other moments there",
                 "have a time service on both machines; until then say how long (--delay), not when");
}

Told check_memory(const std::string& root, pid_t process, std::uint64_t jobs, std::uint64_t connections) {
    const std::uint64_t needed = kBrokerBytes + kJobBytes * jobs + kConnectionBytes * connections;
    const MemoryLimit limit = memory_limit(root, process);
    const std::string why =
        gib(needed) + " (" + std::to_string(jobs) + " jobs, " + std::to_string(connections) + " connections)";
    if (limit.bytes >= needed) {
        return fine("memory", limit.where.empty() ? "no limit" : "up to " + gib(limit.bytes) + ", for about " + why);
    }
    return wrong("memory",
                 (process == 0 ? "a broker started from here" : "the broker, process " + std::to_string(process)) +
                     " may have " + gib(limit.bytes) + " (" + limit.where + "), and needs about " + why +
                     ": the kernel would end it",
                 "raise the limit (in a unit of systemd MemoryMax=), or lower the limits jobs and sessions");
}

Told check_backlog(const std::string& root) {
    const auto most = number_in(root + "/proc/sys/net/core/somaxconn");
    if (!most) return fine("connections", "what the kernel allows is not known");
    if (*most >= kBacklog) return fine("connections", std::to_string(*most) + " may come at once");
    return wrong("connections",
                 "only " + std::to_string(*most) +
                     " may come at once (net.core.somaxconn): when a broker with many "
                     "workers restarts, some wait seconds longer than they must",
                 "sysctl -w net.core.somaxconn=4096, before the broker starts");
}

Told check_barriers(const std::string& root, const std::string& data) {
    struct stat info {};
    if (::stat(data.c_str(), &info) != 0) return fine("write barriers", "not known");
    const std::string device = std::to_string(major(info.st_dev)) + ":" + std::to_string(minor(info.st_dev));
    bool is_known = false;
    std::ifstream mounts(root + "/proc/self/mountinfo");
    for (std::string line; std::getline(mounts, line);) {
        // "36 25 8:1 / /data rw,noatime shared:1 - ext4 /dev/sda1 rw,nobarrier"
        std::istringstream words(line);
        std::vector<std::string> fields;
        for (std::string word; words >> word;) fields.push_back(word);
        if (fields.size() < 6 || fields[2] != device) continue;
        is_known = true;
        const std::string options = "," + fields[5] + "," + fields.back() + ",";
        for (const char* off : {",nobarrier,", ",barrier=0,"})
            if (options.find(off) != std::string::npos)
                return wrong("write barriers",
                             fields[4] + " is mounted with " + std::string(off + 1, std::string_view(off).size() - 2) +
                                 ": what is acknowledged may not survive a power loss",
                             "mount it without that option");
    }
    return fine("write barriers", is_known ? "not switched off" : "not known");
}

}  // namespace jobyard::cli
