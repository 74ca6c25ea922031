#pragma once
// A server of somebody else, started in a process group of its own; ended, with all it started, when this object goes.

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace jobyard::bench {

class Server {
 public:
    struct Options {
        std::vector<std::string> command;
        std::vector<std::string> environment = {};  ///< "NAME=value", besides what this process has
        std::string log;                            ///< a file for what it prints
        int port = 0;                               ///< it is up when this answers; 0: do not wait
        std::chrono::seconds limit{15};
    };
    /// Throws std::runtime_error with the end of the log if the server does not come up.
    explicit Server(const Options& options);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    /// User and system time of the whole group so far, in seconds.
    [[nodiscard]] double cpu() const;

 private:
    void end();

    pid_t group_ = 0;
};

/// Waits a moment for processes that servers had started outside their groups, and which end with them. To be called
/// when no other child is left. Only if this process is their reaper (PR_SET_CHILD_SUBREAPER).
void reap_strays();
/// User and system time of one process so far, in seconds.
double cpu_seconds(pid_t pid);
/// Time that all cores together have been busy since the machine started, or were taken by its host, in seconds.
double machine_cpu();
/// Whether a program of this name is on the PATH or, given with slashes, is there.
bool is_installed(const std::string& program);

}  // namespace jobyard::bench
