#pragma once
// What the checks of `jobyard doctor` tell, and those about the machine (machine.cpp).

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>

#include "jobyard/job_info.hpp"

namespace jobyard::cli {

struct Told {
    std::string check;
    std::string what_to_do;  ///< empty: nothing is wrong
    std::string text;
};
inline Told fine(std::string check, std::string text) { return {std::move(check), {}, std::move(text)}; }
inline Told wrong(std::string check, std::string text, std::string what_to_do) {
    return {std::move(check), std::move(what_to_do), std::move(text)};
}

std::string gib(std::uint64_t bytes);

// `root`: under which /proc and /sys are looked for; empty: the machine's own.

/// Of this machine, which is the broker's.
Told check_clock();
/// The broker said `now` between two readings of the clock here.
Told check_clocks_agree(WallTime before, WallTime now, WallTime after);
/// `process`: the broker's; 0: one that is started from here. `jobs`: that it holds, or would.
Told check_memory(const std::string& root, pid_t process, std::uint64_t jobs, std::uint64_t connections);
Told check_backlog(const std::string& root);
Told check_barriers(const std::string& root, const std::string& data);

}  // namespace jobyard::cli
