#pragma once
// What LMDB and the disk alone do: the same calls that the broker's store makes, with nothing around them.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace jobyard::bench {

/// Microseconds that each of `count` pwrite()s of `size` bytes took with its fdatasync(), one after the other in a file
/// that was written before. Throws std::runtime_error, as all here do.
std::vector<double> synced_writes_us(const std::string& directory, std::size_t size, unsigned count);
/// Megabytes a second in such writes, for about half a second.
double disk_mb_per_s(const std::string& directory, std::size_t size);

/// LMDB with fsync: each transaction puts so many jobs of 100 bytes under sequential keys (append) and deletes as many
/// that were put a while before.
class LmdbFloor {
 public:
    explicit LmdbFloor(const std::string& directory);
    ~LmdbFloor();
    LmdbFloor(const LmdbFloor&) = delete;
    LmdbFloor& operator=(const LmdbFloor&) = delete;

    /// Jobs put (and deleted) a second. Runs for about a third of a second.
    double jobs_per_s(unsigned batch);

 private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace jobyard::bench
