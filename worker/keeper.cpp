#include "keeper.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <set>
#include <string>
#include <utility>

namespace jobyard::worker {
namespace {

/// A process group; negative to strike it off.
using Record = pid_t;

/// Async-signal-safe. A socket and not a pipe, because writing to one whose reader is gone can be had without a signal.
bool send_record(int line, Record record) {
    ssize_t sent = 0;
    do sent = send(line, &record, sizeof record, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == static_cast<ssize_t>(sizeof record);
}

/// The keeper's life. It begins with all signals blocked.
[[noreturn]] void keep(int line) {
    // Neither the terminal nor whoever stops the worker stops its keeper: it ends when the worker has.
    setsid();
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGPIPE}) std::signal(signal, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    prctl(PR_SET_NAME, "jobyard-keeper");
    if (chdir("/") != 0) _exit(1);  // holds no file system busy
    // Nor does it hold open what the worker was given: somebody may be waiting for the end of the worker's output.
    const int null = open("/dev/null", O_RDWR);
    if (null < 0) _exit(1);
    for (int fd = 0; fd <= 2; ++fd) dup2(null, fd);
    constexpr int kLine = 3;
    dup2(line, kLine);
    close_range(kLine + 1, ~0U, 0);

    std::set<pid_t> groups;
    for (;;) {
        Record record = 0;
        const ssize_t size = recv(kLine, &record, sizeof record, 0);
        if (size < 0 && errno == EINTR) continue;
        if (size != static_cast<ssize_t>(sizeof record)) break;
        if (record > 0) {
            groups.insert(record);
        } else {
            groups.erase(-record);
        }
    }
    for (const pid_t group : groups) kill(-group, SIGKILL);
    _exit(0);
}

Error failed(const char* what) { return {Code::internal, std::string("cannot ") + what + ": " + std::strerror(errno)}; }

}  // namespace

Result<Keeper> Keeper::start() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return failed("make the keeper's line");
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);  // the keeper must not be stopped before it has learnt to ignore that
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        keep(ends[1]);
    }
    const Error fork_error = failed("fork the keeper");
    sigprocmask(SIG_SETMASK, &before, nullptr);
    close(ends[1]);
    if (child > 0) return Keeper(ends[0], child);
    close(ends[0]);
    return fork_error;
}

Keeper::Keeper(Keeper&& other) noexcept : line_(std::exchange(other.line_, -1)), pid_(std::exchange(other.pid_, -1)) {}

Keeper::~Keeper() {
    if (line_ < 0) return;
    close(line_);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

bool Keeper::enter() const { return send_record(line_, getpid()); }

void Keeper::forget(pid_t group) const { static_cast<void>(send_record(line_, -group)); }

}  // namespace jobyard::worker
