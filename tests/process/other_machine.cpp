// To be loaded before a program (LD_PRELOAD), which then lives at another time of day, or on a machine whose clock is
// said to be kept right, or not, or whose disk is something else: CLOCK_AHEAD, in seconds; CLOCK_SAID, what adjtimex()
// answers; FILE_SYSTEM, the kind that statfs() tells.

#include <dlfcn.h>
#include <sys/statfs.h>
#include <sys/timex.h>

#include <cstdlib>
#include <ctime>

extern "C" int clock_gettime(clockid_t clock, timespec* time) {
    using Real = int (*)(clockid_t, timespec*);
    static const auto kReal = reinterpret_cast<Real>(::dlsym(RTLD_NEXT, "clock_gettime"));
    const int result = kReal(clock, time);
    const char* ahead = std::getenv("CLOCK_AHEAD");
    if (clock == CLOCK_REALTIME && ahead != nullptr) time->tv_sec += std::atol(ahead);
    return result;
}

extern "C" int adjtimex(timex* state) {
    const char* said = std::getenv("CLOCK_SAID");
    if (said != nullptr) return std::atoi(said);
    using Real = int (*)(timex*);
    static const auto kReal = reinterpret_cast<Real>(::dlsym(RTLD_NEXT, "adjtimex"));
    return kReal(state);
}

extern "C" int statfs(const char* path, struct statfs* disk) {
    using Real = int (*)(const char*, struct statfs*);
    static const auto kReal = reinterpret_cast<Real>(::dlsym(RTLD_NEXT, "statfs"));
    const int result = kReal(path, disk);
    if (const char* kind = std::getenv("FILE_SYSTEM"); kind != nullptr) disk->f_type = std::strtol(kind, nullptr, 16);
    return result;
}
