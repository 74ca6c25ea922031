#pragma once
// Decides from the record of a run alone whether a promise was broken. Pure.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "history.hpp"

namespace jobyard::torture {

struct Verdict {
    /// What was broken, a sentence each; the first hundred of a kind. By kind: lost, made_twice, made_though_refused,
    /// ended_twice, stale_believed, wrong_result, begun_twice, overtaken, store.
    std::map<std::string, std::vector<std::string>> broken;
    std::map<std::string, std::uint64_t> broken_count;

    std::uint64_t wanted = 0;
    std::uint64_t acknowledged = 0;
    std::uint64_t refused = 0;
    std::uint64_t unknown = 0;  ///< nobody was told: the client was killed, or the outcome cannot be known
    std::uint64_t results = 0;
    std::map<std::string, std::uint64_t> ended;  ///< acknowledged jobs by how they ended
    std::uint64_t retired = 0;                   ///< of them those that retention had removed
    std::uint64_t executions = 0;
    std::uint64_t executed_again = 0;  ///< executions beyond the first of a job
    std::uint64_t ordered = 0;         ///< dispatches whose order was judged
    std::uint64_t aged = 0;            ///< of them those that passed a higher priority, as the longest waiting may
    std::map<std::string, std::uint64_t> faults;
    std::uint64_t restarts = 0;
    std::int64_t longest_without_answer_us = 0;  ///< no client had an answer, though one waited
    std::int64_t span_us = 0;

    [[nodiscard]] bool kept() const { return broken.empty(); }
    void breaks(const std::string& kind, std::string how);
};

/// The queue in which order is judged: its workers have one slot and no prefetch, and its jobs one type, no delay and
/// are never failed.
inline constexpr const char* kOrderedQueue = "ordered";
inline constexpr const char* kOrderedType = "ordered";

/// The entries in order of time. What a promise means here:
///   lost            a job that a client was told of has not ended, or the broker does not know it, though the event
///                   stream does not say that it was retired; or one was retired whose end nobody was told
///   made_twice      two jobs of one submit
///   made_though_refused
///   ended_twice     two ends in the event stream without a redrive between them, or clients were told different ends
///   stale_believed  it ended as completed with a lease after which another had been given
///   wrong_result    the result is not what that attempt's handler returned
///   begun_twice     a lease was begun twice, or an attempt after the job's end began with a new lease
///   overtaken       a job was handed out while one of higher priority and one that waited longer stood in its queue
Verdict check(const std::vector<Entry>& history);

}  // namespace jobyard::torture
