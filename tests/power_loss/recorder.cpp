// To be loaded before a program (LD_PRELOAD). Notes in the file RECORD_TO whatever the program does to files below the
// directory RECORD_ROOT, and all that it says to its peers and hears from them. Only what a call has done is noted, so
// a write that a signal cut off is noted as far as it went.

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>

#include "trace.hpp"

namespace {

using jobyard::power_loss::Header;
using jobyard::power_loss::Kind;

template <class Call>
Call real(const char* name) {
    return reinterpret_cast<Call>(::dlsym(RTLD_NEXT, name));
}
// NOLINTNEXTLINE: a name and a cast, for each call below
#define REAL(name) static const auto kReal = real<decltype(&::name)>(#name)

constexpr std::size_t kMostFds = 4096;

struct Traced {
    std::atomic<std::uint64_t> inode{0};  // 0: not one of ours
    std::atomic<bool> sync{false};        // each write is durable when it returns
};
std::array<Traced, kMostFds> traced;
std::array<std::atomic<bool>, kMostFds> talks;  // has sent or received something
std::atomic<std::uint64_t> syncs{0};

[[noreturn]] void give_up(std::string_view why) {
    static_cast<void>(!::syscall(1, 2, why.data(), why.size()));  // SYS_write, past ourselves
    std::abort();
}

std::string_view root() {
    static const char* const kRoot = std::getenv("RECORD_ROOT");
    return kRoot != nullptr ? kRoot : "";
}

bool is_ours(std::string_view path) {
    return !root().empty() && path.starts_with(root()) && path.size() > root().size() && path[root().size()] == '/';
}

void note(Kind kind, std::uint64_t id, std::uint64_t offset, std::string_view path, std::string_view bytes) {
    static std::mutex mutex;
    const std::lock_guard lock(mutex);
    REAL(writev);
    static const int kTo = [] {
        const char* file = std::getenv("RECORD_TO");
        if (file == nullptr) give_up("recorder: RECORD_TO is not set\n");
        return real<int (*)(const char*, int, ...)>("open")(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    }();
    const int error = errno;
    Header header{kind, static_cast<std::uint32_t>(path.size()), id, offset, bytes.size()};
    const std::array<iovec, 3> parts{{{&header, sizeof header},
                                      {const_cast<char*>(path.data()), path.size()},
                                      {const_cast<char*>(bytes.data()), bytes.size()}}};
    const auto all = static_cast<ssize_t>(sizeof header + path.size() + bytes.size());
    if (kReal(kTo, parts.data(), parts.size()) != all) give_up("recorder: the record cannot be written\n");
    errno = error;
}

std::uint64_t inode_of(int fd) {
    return fd >= 0 && static_cast<std::size_t>(fd) < kMostFds ? traced[static_cast<std::size_t>(fd)].inode.load() : 0;
}

std::uint64_t connection(int fd) {
    return (static_cast<std::uint64_t>(::getpid()) << 32U) | static_cast<std::uint32_t>(fd);
}

int opened(int fd, const char* path, int flags, bool was_there) {
    if (fd < 0 || !is_ours(path)) return fd;
    struct stat info {};
    if (static_cast<std::size_t>(fd) >= kMostFds || ::fstat(fd, &info) != 0) give_up("recorder: too many files\n");
    Traced& file = traced[static_cast<std::size_t>(fd)];
    file.inode = info.st_ino;
    file.sync = (flags & O_DSYNC) != 0;
    if (!was_there) note(Kind::made_file, info.st_ino, 0, path, {});
    else if ((flags & O_TRUNC) != 0) note(Kind::resized, info.st_ino, 0, {}, {});
    return fd;
}

int open_noted(const char* path, int flags, mode_t mode) {
    using Open = int (*)(const char*, int, ...);
    static const auto kReal = real<Open>("open");
    const bool was_there = (flags & O_CREAT) == 0 || ::access(path, F_OK) == 0;
    return opened(kReal(path, flags, mode), path, flags, was_there);
}

template <class Call>
int synced(int fd, const Call& call) {
    const std::uint64_t inode = inode_of(fd);
    if (inode == 0) return call();
    const std::uint64_t number = (static_cast<std::uint64_t>(::getpid()) << 32U) | syncs.fetch_add(1);
    note(Kind::sync_begins, inode, number, {}, {});
    const int result = call();
    if (result == 0) note(Kind::sync_ends, inode, number, {}, {});
    return result;
}

/// `bytes` as far as the call says that it wrote them.
void wrote(int fd, std::uint64_t offset, std::string_view bytes) {
    const std::uint64_t inode = inode_of(fd);
    note(Kind::wrote, inode, offset, {}, bytes);
    if (traced[static_cast<std::size_t>(fd)].sync) synced(fd, [] { return 0; });
}

std::uint64_t position(int fd) { return static_cast<std::uint64_t>(::lseek(fd, 0, SEEK_CUR)); }

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_noted(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_noted(path, flags, mode);
}

int close(int fd) {
    REAL(close);
    if (fd >= 0 && static_cast<std::size_t>(fd) < kMostFds) {
        const auto at = static_cast<std::size_t>(fd);
        traced[at].inode = 0;
        if (talks[at].exchange(false)) note(Kind::hung_up, connection(fd), 0, {}, {});
    }
    return kReal(fd);
}

/// ThreadSanitizer makes the directory of its reports before it is ready for the guard of a static: no REAL here.
int mkdir(const char* path, mode_t mode) {
    const auto result = static_cast<int>(::syscall(SYS_mkdirat, AT_FDCWD, path, mode));
    struct stat info {};
    if (result == 0 && is_ours(path) && ::stat(path, &info) == 0) note(Kind::made_directory, info.st_ino, 0, path, {});
    return result;
}

int rename(const char* from, const char* to) {
    REAL(rename);
    const int result = kReal(from, to);
    if (result == 0 && is_ours(from)) note(Kind::renamed, 0, 0, from, to);
    return result;
}

int unlink(const char* path) {
    REAL(unlink);
    const int result = kReal(path);
    if (result == 0 && is_ours(path)) note(Kind::removed, 0, 0, path, {});
    return result;
}

ssize_t write(int fd, const void* bytes, std::size_t size) {
    REAL(write);
    if (inode_of(fd) == 0) return kReal(fd, bytes, size);
    const std::uint64_t at = position(fd);
    const ssize_t result = kReal(fd, bytes, size);
    if (result > 0) wrote(fd, at, {static_cast<const char*>(bytes), static_cast<std::size_t>(result)});
    return result;
}

ssize_t pwrite(int fd, const void* bytes, std::size_t size, off_t at) {
    REAL(pwrite);
    const ssize_t result = kReal(fd, bytes, size, at);
    if (result > 0 && inode_of(fd) != 0)
        wrote(fd, static_cast<std::uint64_t>(at), {static_cast<const char*>(bytes), static_cast<std::size_t>(result)});
    return result;
}

ssize_t pwrite64(int fd, const void* bytes, std::size_t size, off64_t at) { return pwrite(fd, bytes, size, at); }

ssize_t writev(int fd, const iovec* parts, int count) {
    REAL(writev);
    if (inode_of(fd) == 0) return kReal(fd, parts, count);
    const std::uint64_t at = position(fd);
    const ssize_t result = kReal(fd, parts, count);
    std::string bytes;
    for (int i = 0; i < count; ++i) bytes.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
    if (result > 0) wrote(fd, at, std::string_view(bytes).substr(0, static_cast<std::size_t>(result)));
    return result;
}

int fsync(int fd) {
    REAL(fsync);
    return synced(fd, [fd] { return kReal(fd); });
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return synced(fd, [fd] { return kReal(fd); });
}

int ftruncate(int fd, off_t size) noexcept {
    REAL(ftruncate);
    const int result = kReal(fd, size);
    if (result == 0 && inode_of(fd) != 0) note(Kind::resized, inode_of(fd), static_cast<std::uint64_t>(size), {}, {});
    return result;
}

int ftruncate64(int fd, off64_t size) noexcept { return ftruncate(fd, size); }

/// Only what makes a file longer changes what is in it.
static void allocated(int fd) {
    struct stat info {};
    if (inode_of(fd) != 0 && ::fstat(fd, &info) == 0)
        note(Kind::resized, inode_of(fd), static_cast<std::uint64_t>(info.st_size), {}, {});
}

int fallocate(int fd, int mode, off_t at, off_t size) {
    REAL(fallocate);
    if (mode != 0 && inode_of(fd) != 0) give_up("recorder: fallocate with a mode is not understood\n");
    const int result = kReal(fd, mode, at, size);
    if (result == 0) allocated(fd);
    return result;
}

int posix_fallocate(int fd, off_t at, off_t size) {
    REAL(posix_fallocate);
    const int result = kReal(fd, at, size);
    if (result == 0) allocated(fd);
    return result;
}

void* mmap(void* address, std::size_t size, int protection, int flags, int fd, off_t offset) noexcept {
    REAL(mmap);
    if (inode_of(fd) != 0 && (protection & PROT_WRITE) != 0 && (flags & MAP_SHARED) != 0)
        note(Kind::mapped, inode_of(fd), 0, {}, {});
    return kReal(address, size, protection, flags, fd, offset);
}

ssize_t send(int fd, const void* bytes, std::size_t size, int flags) {
    REAL(send);
    // Noted whole before it leaves: what is told can only be earlier than it was noted, never later. What did not fit
    // is noted as not sent.
    if (static_cast<std::size_t>(fd) >= kMostFds || size == 0) return kReal(fd, bytes, size, flags);
    talks[static_cast<std::size_t>(fd)] = true;
    note(Kind::sends, connection(fd), 0, {}, {static_cast<const char*>(bytes), size});
    const ssize_t result = kReal(fd, bytes, size, flags);
    if (result != static_cast<ssize_t>(size))
        note(Kind::sends, connection(fd), size - static_cast<std::size_t>(result > 0 ? result : 0), {}, {});
    return result;
}

ssize_t recv(int fd, void* bytes, std::size_t size, int flags) {
    REAL(recv);
    const ssize_t result = kReal(fd, bytes, size, flags);
    if (result > 0 && static_cast<std::size_t>(fd) < kMostFds) {
        talks[static_cast<std::size_t>(fd)] = true;
        note(Kind::received, connection(fd), 0, {},
             {static_cast<const char*>(bytes), static_cast<std::size_t>(result)});
    }
    return result;
}
}
