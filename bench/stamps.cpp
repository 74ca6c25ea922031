#include "stamps.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <ctime>
#include <stdexcept>

namespace jobyard::bench {

std::int64_t monotonic_ns() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

Stamps::Stamps(std::size_t count) : fd_(::memfd_create("jobyard-bench-stamps", MFD_CLOEXEC)), count_(count) {
    if (fd_ < 0 || ::ftruncate(fd_, static_cast<off_t>(count * sizeof(std::int64_t))) != 0)
        throw std::runtime_error("no shared memory can be made");
    map();
}

Stamps::Stamps(const std::string& path) : fd_(::open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    struct stat status {};
    if (fd_ < 0 || ::fstat(fd_, &status) != 0)
        throw std::runtime_error("the shared memory " + path + " cannot be opened");
    count_ = static_cast<std::size_t>(status.st_size) / sizeof(std::int64_t);
    map();
}

Stamps::~Stamps() {
    ::munmap(values_, count_ * sizeof(std::int64_t));
    ::close(fd_);
}

void Stamps::map() {
    void* memory = ::mmap(nullptr, count_ * sizeof(std::int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("shared memory cannot be mapped");
    values_ = static_cast<std::int64_t*>(memory);
}

std::string Stamps::path() const { return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd_); }

std::int64_t Stamps::get(std::size_t index) const {
    return std::atomic_ref(values_[index]).load(std::memory_order_acquire);
}

void Stamps::set(std::size_t index, std::int64_t value) {
    std::atomic_ref(values_[index]).store(value, std::memory_order_release);
}

std::string Stamps::payload(std::size_t index, std::size_t size) {
    std::string bytes(std::max(size, sizeof index), 'x');
    std::memcpy(bytes.data(), &index, sizeof index);
    return bytes;
}

void Stamps::stamp(std::string_view payload) {
    std::size_t index = count_;
    if (payload.size() >= sizeof index) std::memcpy(&index, payload.data(), sizeof index);
    if (index < count_) set(index, monotonic_ns());
}

}  // namespace jobyard::bench
