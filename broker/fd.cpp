#include "fd.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

#include "jobyard/assert.hpp"

namespace jobyard::broker {

Fd::~Fd() {
    if (fd_ >= 0) ::close(fd_);
}

Result<Fd> lock_file(const std::string& path) {
    Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file)
        return Error{errno == ENOSPC ? Code::disk_full : Code::internal,
                     "cannot open the lock file " + path + ": " + errno_text(errno)};
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return Error{Code::internal, "cannot lock " + path + ": " + errno_text(errno)};
        char holder[16] = {};
        const long pid = ::pread(file.get(), holder, sizeof holder - 1, 0) > 0 ? std::strtol(holder, nullptr, 10) : 0;
        return Error{Code::busy,
                     path + " is locked by " + (pid > 0 ? "process " + std::to_string(pid) : "another process")};
    }
    // Of constant length and written over the old one: needs no space on a full disk. It only serves the text above, so
    // a failure leaves an empty file and no more.
    char pid[16];
    const int length = std::snprintf(pid, sizeof pid, "%10d\n", static_cast<int>(::getpid()));
    if (::pwrite(file.get(), pid, static_cast<std::size_t>(length), 0) != length && ::ftruncate(file.get(), 0) != 0)
        return Error{Code::internal, "cannot write " + path + ": " + errno_text(errno)};
    return file;
}

Result<void> sync_directory(const std::string& path) {
    const Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory || ::fsync(directory.get()) != 0)
        return Error{Code::internal, "cannot sync the directory " + path + ": " + errno_text(errno)};
    return {};
}

Result<void> make_directory(const std::string& path, const char* what) {
    const bool made = ::mkdir(path.c_str(), 0700) == 0;
    if (!made && errno != EEXIST)
        return Error{errno == ENOSPC ? Code::disk_full : Code::internal,
                     std::string("cannot make the ") + what + " " + path + ": " + errno_text(errno)};
    const std::size_t slash = path.find_last_of('/', path.find_last_not_of('/'));
    auto synced = sync_directory(slash == std::string::npos ? "." : path.substr(0, slash + 1));
    // Whoever may not read what it is in has not made it.
    return made ? synced : Result<void>{};
}

Event::Event() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (!fd_) throw std::system_error(errno, std::generic_category(), "eventfd");
}

void Event::signal() {
    const std::uint64_t one = 1;
    JOBYARD_ASSERT(::write(fd_.get(), &one, sizeof one) == sizeof one);
}

void Event::clear() {
    std::uint64_t count;
    JOBYARD_ASSERT(::read(fd_.get(), &count, sizeof count) == sizeof count || errno == EAGAIN);
}

std::string errno_text(int error) { return std::generic_category().message(error); }

}  // namespace jobyard::broker
