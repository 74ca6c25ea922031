#pragma once
// What the broker had told its peers by a point of a trace, read from the bytes of its connections: what must be true
// of whatever a power loss leaves.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jobyard/message.hpp"
#include "trace.hpp"

namespace jobyard::power_loss {

/// One thing that was told, by the record of the trace with whose bytes it left.
struct Fact {
    enum class Kind : std::uint8_t {
        exists,   ///< the job: a submit was answered, or it was handed to a worker
        ended,    ///< in `state`, with the result `text`
        tried,    ///< the attempt with `number` as token has ended without ending the job
        window,   ///< submit `number` of `instance` made the job
        left,     ///< `instance` said goodbye, so its window may go
        paused,   ///< the queue `text`
        started,  ///< in the epoch `number`
    };
    std::size_t at = 0;
    Kind kind = Kind::exists;
    JobId job = {};
    JobState state = JobState::none;
    std::uint64_t number = 0;
    Uuid instance = {};
    std::optional<std::string> text = {};
};

/// In the order in which they were told.
std::vector<Fact> read_told(const std::vector<Record>& trace);

/// All that was told up to some point.
struct Told {
    struct Job {
        std::optional<JobState> ended;
        std::optional<std::string> result;
        std::set<std::uint64_t> tried;
    };
    std::map<JobId, Job> jobs;
    std::map<std::pair<std::string, std::uint64_t>, JobId> windows;
    std::set<std::string> left;
    std::set<std::string> paused;
    std::uint64_t epoch = 0;

    void add(const Fact& fact);
};

}  // namespace jobyard::power_loss
