#pragma once
// What a run leaves lying about, and that it is gone when somebody interrupts it.

#include <string>

namespace jobyard::bench {

/// A temporary directory that goes with the object, and when the program is interrupted.
class ScratchDirectory {
 public:
    /// In `parent`, or if that is empty in $TMPDIR or /tmp.
    explicit ScratchDirectory(const std::string& parent);
    ~ScratchDirectory();
    ScratchDirectory(const ScratchDirectory&) = delete;
    ScratchDirectory& operator=(const ScratchDirectory&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

 private:
    std::string path_;
};

/// `given`, or if that is empty $TMPDIR or /tmp.
std::string temporary_directory(const std::string& given);

/// From now on SIGINT, SIGTERM and SIGHUP end every child process with its group, remove the scratch directories and
/// end the program. Call it once, before there are other threads.
void clean_up_when_interrupted();
/// In a child, between fork and exec: signals are what they are for any program.
void restore_signals();

}  // namespace jobyard::bench
