#include "scratch.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace jobyard::bench {
namespace {

constexpr std::chrono::seconds kLimit{3};

std::mutex mutex;
/// Never destroyed: an interruption may come at any time.
std::set<std::string>& directories() {
    static auto* all = new std::set<std::string>;
    return *all;
}

sigset_t interruptions() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
    return set;
}

std::vector<pid_t> children() {
    std::vector<pid_t> all;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream file(task.path() / "children");
        for (pid_t child = 0; file >> child;) all.push_back(child);
    }
    return all;
}

/// Also those that become ours when their parents end (PR_SET_CHILD_SUBREAPER).
void end_children() {
    for (const pid_t child : children()) {
        if (::getpgid(child) == child) ::kill(-child, SIGKILL);
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
    }
}

/// False if something is left.
bool remove_directories() {
    std::error_code ignored;
    for (const std::string& path : directories()) std::filesystem::remove_all(path, ignored);
    return std::none_of(directories().begin(), directories().end(),
                        [&](const std::string& path) { return std::filesystem::exists(path, ignored); });
}

[[noreturn]] void await_interruption() {
    const sigset_t set = interruptions();
    int signal = 0;
    while (::sigwait(&set, &signal) != 0) continue;
    const std::lock_guard lock(mutex);
    // Again, because a child's child may have written meanwhile.
    const auto limit = std::chrono::steady_clock::now() + kLimit;
    do end_children();
    while ((!remove_directories() || !children().empty()) && std::chrono::steady_clock::now() < limit);
    ::_exit(128 + signal);
}

}  // namespace

ScratchDirectory::ScratchDirectory(const std::string& parent)
    : path_(temporary_directory(parent) + "/jobyard-bench-XXXXXX") {
    const std::lock_guard lock(mutex);
    if (::mkdtemp(path_.data()) == nullptr)
        throw std::runtime_error("no temporary directory can be made at " + path_ + ": " + std::strerror(errno));
    directories().insert(path_);
}

ScratchDirectory::~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
    const std::lock_guard lock(mutex);
    directories().erase(path_);
}

std::string temporary_directory(const std::string& given) {
    if (!given.empty()) return given;
    const char* temporary = std::getenv("TMPDIR");
    return temporary != nullptr && *temporary != '\0' ? temporary : "/tmp";
}

void clean_up_when_interrupted() {
    const sigset_t set = interruptions();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    std::thread(await_interruption).detach();
}

void restore_signals() {
    const sigset_t set = interruptions();
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace jobyard::bench
