#pragma once
// Times that handlers in other processes write down, and this one reads: an array in shared memory. A job whose payload
// begins with its index (8 bytes, as in memory) is stamped when its handler starts.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace jobyard::bench {

/// Nanoseconds of CLOCK_MONOTONIC, the same in all processes.
std::int64_t monotonic_ns();

class Stamps {
 public:
    static constexpr std::size_t kLeastPayload = sizeof(std::uint64_t);

    /// New ones, all 0.
    explicit Stamps(std::size_t count);
    /// Those of another process, by its path().
    explicit Stamps(const std::string& path);
    ~Stamps();
    Stamps(const Stamps&) = delete;
    Stamps& operator=(const Stamps&) = delete;

    /// What a child process can open, while this process lives.
    [[nodiscard]] std::string path() const;
    [[nodiscard]] std::size_t size() const { return count_; }
    /// 0: not stamped.
    [[nodiscard]] std::int64_t get(std::size_t index) const;
    void set(std::size_t index, std::int64_t value);
    /// For a job's payload: the index, filled up to `size` bytes.
    [[nodiscard]] static std::string payload(std::size_t index, std::size_t size = kLeastPayload);
    /// By the handler.
    void stamp(std::string_view payload);

 private:
    void map();

    int fd_ = -1;
    std::size_t count_ = 0;
    std::int64_t* values_ = nullptr;
};

}  // namespace jobyard::bench
