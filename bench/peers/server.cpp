#include "server.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "../scratch.hpp"
#include "wire.hpp"

namespace jobyard::bench {
namespace {

struct ProcessStat {
    pid_t group = 0;
    double cpu = 0;
};

ProcessStat stat_of(const std::string& pid) {
    std::ifstream file("/proc/" + pid + "/stat");
    std::string text;
    std::getline(file, text);
    const std::size_t name_end = text.rfind(')');
    if (name_end == std::string::npos) return {};
    std::istringstream fields(text.substr(name_end + 2));
    std::string skipped;
    ProcessStat stat;
    fields >> skipped >> skipped >> stat.group;
    for (int i = 0; i < 8; ++i) fields >> skipped;
    std::uint64_t user = 0;
    std::uint64_t system = 0;
    fields >> user >> system;
    stat.cpu = static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
    return stat;
}

std::string end_of(const std::string& path) {
    std::ifstream file(path);
    std::string text((std::istreambuf_iterator<char>(file)), {});
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text.substr(text.size() > 300 ? text.size() - 300 : 0);
}

}  // namespace

Server::Server(const Options& options) {
    const std::string& program = options.command.front();
    if (!is_installed(program)) throw std::runtime_error(program + " is not installed");
    group_ = ::fork();
    if (group_ < 0) throw std::runtime_error("no process can be made for " + program);
    if (group_ == 0) {
        ::setpgid(0, 0);
        restore_signals();
        for (const std::string& pair : options.environment) ::putenv(::strdup(pair.c_str()));
        const int null = ::open("/dev/null", O_RDONLY);
        const int log = ::open(options.log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        ::dup2(null, STDIN_FILENO);
        ::dup2(log, STDOUT_FILENO);
        ::dup2(log, STDERR_FILENO);
        std::vector<char*> arguments;
        for (const std::string& word : options.command) arguments.push_back(::strdup(word.c_str()));
        arguments.push_back(nullptr);
        ::execvp(arguments[0], arguments.data());
        ::perror(arguments[0]);
        std::_Exit(127);
    }
    ::setpgid(group_, group_);  // here too: whoever of the two comes first
    if (options.port == 0) return;
    const auto limit = std::chrono::steady_clock::now() + options.limit;
    while (!port_answers(options.port)) {
        const bool ended = ::waitpid(group_, nullptr, WNOHANG) == group_;
        if (!ended && std::chrono::steady_clock::now() < limit) {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            continue;
        }
        end();
        throw std::runtime_error(program + (ended ? " ended at once: " : " did not come up in time: ") +
                                 end_of(options.log));
    }
}

Server::~Server() { end(); }

void Server::end() {
    ::kill(-group_, SIGKILL);
    // All of the group: what the server had started has become ours (see main()).
    while (::waitpid(-group_, nullptr, 0) > 0) {
    }
}

double Server::cpu() const {
    double sum = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        const ProcessStat stat = stat_of(name);
        if (stat.group == group_) sum += stat.cpu;
    }
    return sum;
}

void reap_strays() {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    for (pid_t ended = 0; ended >= 0 && std::chrono::steady_clock::now() < limit;) {
        ended = ::waitpid(-1, nullptr, WNOHANG);
        if (ended == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

double cpu_seconds(pid_t pid) { return stat_of(std::to_string(pid)).cpu; }

double machine_cpu() {
    std::ifstream file("/proc/stat");
    std::string name;
    file >> name;  // "cpu": user nice system idle iowait irq softirq steal
    double busy = 0;
    for (int i = 0; i < 8; ++i) {
        double ticks = 0;
        file >> ticks;
        if (i != 3 && i != 4) busy += ticks;
    }
    return busy / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

bool is_installed(const std::string& program) {
    if (program.find('/') != std::string::npos) return ::access(program.c_str(), X_OK) == 0;
    const char* path = std::getenv("PATH");
    std::istringstream folders(path != nullptr ? path : "");
    for (std::string folder; std::getline(folders, folder, ':');)
        if (::access((folder + "/" + program).c_str(), X_OK) == 0) return true;
    return false;
}

}  // namespace jobyard::bench
