#pragma once
// A program run as a child of this one, and what the kernel knows of it. It is killed when the object goes, and also
// when this program dies without getting so far.

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace jobyard::bench {

class Process {
 public:
    /// `command` begins with the program's path. `inherited_fd` stays open in the child; -1: none. May be called when
    /// this process has threads. The child may open as many descriptors as the system lets it. Throws
    /// std::runtime_error.
    explicit Process(const std::vector<std::string>& command, int inherited_fd = -1);
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    /// kill -9; returns when it is gone. The object stays, for its second call to do nothing.
    void kill();
    /// User and system time so far.
    [[nodiscard]] double cpu_seconds() const;
    /// Memory that is the process's own, no page of a file.
    [[nodiscard]] std::uint64_t anonymous_bytes() const;

 private:
    pid_t pid_ = 0;
};

/// The path of a program that stands beside this one.
std::string program_beside_this(const char* name);

}  // namespace jobyard::bench
