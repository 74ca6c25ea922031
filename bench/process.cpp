#include "process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "scratch.hpp"

namespace jobyard::bench {
namespace {

/// Between fork and exec: nothing here may take a lock, another thread may have held it.
[[noreturn]] void become(char* const* command, int inherited_fd, pid_t parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    restore_signals();
    if (::getppid() != parent) ::_exit(1);  // it died before that took effect
    rlimit descriptors{};
    ::getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &descriptors);
    if (inherited_fd >= 0) ::fcntl(inherited_fd, F_SETFD, 0);
    ::execv(command[0], command);
    ::_exit(127);
}

}  // namespace

Process::Process(const std::vector<std::string>& command, int inherited_fd) {
    if (::access(command.front().c_str(), X_OK) != 0)
        throw std::runtime_error(command.front() + " cannot be run: " + std::strerror(errno));
    std::vector<char*> words;
    words.reserve(command.size() + 1);
    for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    const pid_t self = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error(std::string("no process can be made: ") + std::strerror(errno));
    if (pid_ == 0) become(words.data(), inherited_fd, self);
}

Process::~Process() { kill(); }

void Process::kill() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
}

double Process::cpu_seconds() const {
    clockid_t clock{};
    timespec time{};
    if (::clock_getcpuclockid(pid_, &clock) != 0 || ::clock_gettime(clock, &time) != 0)
        throw std::runtime_error("the processor time of a process cannot be read; it may have died");
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

std::uint64_t Process::anonymous_bytes() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/status");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("RssAnon:")) return std::stoull(line.substr(8)) * 1024;
    throw std::runtime_error("the memory of a process cannot be read; it may have died");
}

std::string program_beside_this(const char* name) {
    return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).string();
}

}  // namespace jobyard::bench
