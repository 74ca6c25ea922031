#pragma once
// File descriptors with one owner, and what the broker makes of them: a lock that one process holds, and an event by
// which one thread wakes another that is in poll().

#include <cstdint>
#include <string>
#include <utility>

#include "jobyard/result.hpp"

namespace jobyard::broker {

class Fd {
 public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    ~Fd();
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }

 private:
    int fd_ = -1;
};

/// Takes the lock that is the file `path` (made if absent) and writes this process's number into it. The lock lasts as
/// long as the descriptor; the file stays, because removing it would let two processes each lock a file of that name.
/// Error `busy` if it is held; its text names the holder.
Result<Fd> lock_file(const std::string& path);

/// Makes what was created or renamed in the directory survive a power loss.
Result<void> sync_directory(const std::string& path);

/// Makes the directory (mode 0700) if absent, and its name survive a power loss: also if it was made by somebody who
/// was killed before he could. `what` it is, for the error, which is `disk_full` if space was what lacked.
Result<void> make_directory(const std::string& path, const char* what);

/// Readable from `signal()` to `clear()`. Both may be called from any thread.
class Event {
 public:
    Event();  ///< throws std::system_error when the process is out of descriptors
    [[nodiscard]] int fd() const { return fd_.get(); }
    void signal();
    void clear();

 private:
    Fd fd_;
};

/// "No space left on device", for the texts of errors.
std::string errno_text(int error);

}  // namespace jobyard::broker
