#include "keeper.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <set>
#include <string>
#include <utility>

namespace jobyard::worker {
namespace {

// A record is a process group; negative to strike it off. It is far below PIPE_BUF, so records do not mix.
using Record = pid_t;

bool write_record(int pipe, Record record) {
    ssize_t written = 0;
    do written = write(pipe, &record, sizeof record);
    while (written < 0 && errno == EINTR);
    return written == static_cast<ssize_t>(sizeof record);
}

/// The keeper's life.
[[noreturn]] void keep(int pipe) {
    // Neither the terminal nor whoever stops the worker stops its keeper: it ends when the worker has.
    setsid();
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGPIPE}) std::signal(signal, SIG_IGN);
    prctl(PR_SET_NAME, "jobyard-keeper");
    if (chdir("/") != 0) _exit(1);  // holds no file system busy
    // Nor does it hold open what the worker was given: somebody may be waiting for the end of the worker's output.
    const int null = open("/dev/null", O_RDWR);
    if (null < 0) _exit(1);
    for (int fd = 0; fd <= 2; ++fd) dup2(null, fd);
    constexpr int kPipe = 3;
    if (pipe != kPipe) dup2(pipe, kPipe);
    close_range(kPipe + 1, ~0U, 0);

    std::set<pid_t> groups;
    for (;;) {
        Record record = 0;
        const ssize_t size = read(kPipe, &record, sizeof record);
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

}  // namespace

Result<Keeper> Keeper::start() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return Error{Code::internal, std::string("cannot make the keeper's pipe: ") + std::strerror(errno)};
    const pid_t child = fork();
    if (child < 0) {
        const Error error{Code::internal, std::string("cannot fork the keeper: ") + std::strerror(errno)};
        close(ends[0]);
        close(ends[1]);
        return error;
    }
    if (child == 0) {
        close(ends[1]);
        keep(ends[0]);
    }
    close(ends[0]);
    return Keeper(ends[1]);
}

Keeper::Keeper(Keeper&& other) noexcept : pipe_(std::exchange(other.pipe_, -1)) {}

Keeper::~Keeper() {
    if (pipe_ >= 0) close(pipe_);
}

bool Keeper::enter() const { return write_record(pipe_, getpid()); }

void Keeper::forget(pid_t group) const { static_cast<void>(write_record(pipe_, -group)); }

}  // namespace jobyard::worker
