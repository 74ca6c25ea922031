#pragma once
// The broker's directory: one broker at a time, a little space set aside for the day the disk is full, and how much of
// the disk is left. In `store/` are the commit log's files and LMDB's.
//
// Used by one thread; the lock lasts as long as the object.

#include <cstdint>
#include <memory>
#include <string>

#include "fd.hpp"
#include "jobyard/result.hpp"

namespace jobyard::broker {

inline constexpr std::uint64_t kBallastBytes = std::uint64_t{16} << 20;

class DataDirectory {
 public:
    /// Makes the directory (mode 0700) if absent and locks it. Error `busy` if another broker holds it, and
    /// `disk_full`.
    static Result<std::unique_ptr<DataDirectory>> open(const std::string& path,
                                                       std::uint64_t ballast_bytes = kBallastBytes);

    [[nodiscard]] std::string store_path() const { return path_ + "/store"; }

    /// Not empty if the file system cannot keep the promise that what is committed stays: text for the log.
    [[nodiscard]] std::string warning() const;
    /// What this process may still write. Zero if that cannot be known.
    [[nodiscard]] std::uint64_t free_bytes() const;

    /// Sets the ballast aside again once four times its size is free. True if it is there.
    bool ensure_ballast();
    /// Gives its space back, so that a store on a full disk can be opened and emptied. True if there was one.
    bool drop_ballast();

 private:
    DataDirectory(std::string path, std::uint64_t ballast_bytes, Fd lock)
        : path_(std::move(path)), ballast_bytes_(ballast_bytes), lock_(std::move(lock)) {}
    [[nodiscard]] std::string ballast_path() const { return path_ + "/ballast"; }

    std::string path_;
    std::uint64_t ballast_bytes_;
    Fd lock_;
};

}  // namespace jobyard::broker
