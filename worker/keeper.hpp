#pragma once
// A small process beside the worker that outlives it: whatever way the worker dies, kill -9 included, the keeper kills
// the process groups of the commands that were running. A command whose worker is gone would run twice.
//
// The worker holds a line to it. A command's process writes its own number there before it becomes the command, so
// there is no moment at which it runs unknown; the worker strikes a group off when it is empty, before its number can
// be used again. When the line closes, because the last process that holds it has ended, the keeper kills what is left.
//
// Out of reach: a process that leaves its group (setsid, setpgid). Only a control group would hold those.

#include <sys/types.h>

#include "jobyard/result.hpp"

namespace jobyard::worker {

class Keeper {
 public:
    /// Forks the keeper. In a process that has no second thread yet.
    static Result<Keeper> start();
    Keeper(Keeper&& other) noexcept;
    Keeper& operator=(Keeper&&) = delete;
    Keeper(const Keeper&) = delete;
    Keeper& operator=(const Keeper&) = delete;
    /// Lets the keeper kill the groups that were not struck off, and waits until it has.
    ~Keeper();

    /// Notes the calling process as the leader of a group of its own. Async-signal-safe: for a child between fork and
    /// exec. False: the keeper is gone.
    [[nodiscard]] bool enter() const;
    /// Strikes a group off. It must be empty but for its leader, which must not have been waited for.
    void forget(pid_t group) const;

    [[nodiscard]] pid_t pid() const { return pid_; }

 private:
    Keeper(int line, pid_t pid) : line_(line), pid_(pid) {}
    int line_;
    pid_t pid_;
};

}  // namespace jobyard::worker
