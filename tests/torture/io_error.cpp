// Preloaded into a broker: while the file that TORTURE_IO_ERROR names is there, whatever is written or synced fails as
// a broken disk fails it.

#include <dlfcn.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace {

bool is_broken() {
    static const char* const path = std::getenv("TORTURE_IO_ERROR");
    return path != nullptr && ::access(path, F_OK) == 0;
}

template <class F>
F next(const char* name) {
    return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

int fail() {
    errno = EIO;
    return -1;
}

}  // namespace

extern "C" {

int fdatasync(int fd) {
    static const auto real = next<int (*)(int)>("fdatasync");
    return is_broken() ? fail() : real(fd);
}
int fsync(int fd) {
    static const auto real = next<int (*)(int)>("fsync");
    return is_broken() ? fail() : real(fd);
}
ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t at) {
    static const auto real = next<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64");
    return is_broken() ? fail() : real(fd, bytes, size, at);
}
ssize_t pwritev64(int fd, const struct iovec* pieces, int count, off64_t at) {
    static const auto real = next<ssize_t (*)(int, const struct iovec*, int, off64_t)>("pwritev64");
    return is_broken() ? fail() : real(fd, pieces, count, at);
}
ssize_t pwrite(int fd, const void* bytes, size_t size, off_t at) { return pwrite64(fd, bytes, size, at); }
ssize_t pwritev(int fd, const struct iovec* pieces, int count, off_t at) { return pwritev64(fd, pieces, count, at); }

}  // extern "C"
