#include "usage.hpp"

#include <sys/resource.h>

#include <filesystem>
#include <fstream>

namespace jobyard::bench {

std::uint64_t wake_ups(pid_t pid) {
    std::uint64_t sum = 0;
    std::error_code gone;
    for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", gone)) {
        std::ifstream file(task.path() / "status");
        for (std::string line; std::getline(file, line);)
            if (line.starts_with("voluntary_ctxt_switches:")) sum += std::stoull(line.substr(line.find(':') + 1));
    }
    return sum;
}

std::uint64_t wake_ups(const std::vector<pid_t>& pids) {
    std::uint64_t sum = 0;
    for (const pid_t pid : pids) sum += wake_ups(pid);
    return sum;
}

double own_cpu() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::string filesystem_of(const std::string& path) {
    const std::string at = std::filesystem::absolute(path).string();
    std::ifstream mounts("/proc/self/mounts");
    std::string device;
    std::string point;
    std::string kind;
    std::string rest;
    std::string best = "unknown";
    std::size_t longest = 0;
    while (mounts >> device >> point >> kind && std::getline(mounts, rest)) {
        const bool holds = at == point || point == "/" || at.starts_with(point + "/");
        if (!holds || point.size() < longest) continue;
        longest = point.size();
        best = kind;
    }
    return best;
}

}  // namespace jobyard::bench
