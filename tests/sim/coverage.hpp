#pragma once
// What a run has reached: how jobs went from state to state and why, and what the broker answered to what. The words
// are the code's own (message_name, to_string), so that a new one is counted without anybody's thinking of it.

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <tuple>

#include "jobyard/event.hpp"
#include "jobyard/job.hpp"
#include "jobyard/result.hpp"

namespace jobyard::sim {

/// Anything that is counted, by its name.
using Counts = std::map<std::string, std::uint64_t>;
void add(Counts& sum, const Counts& more);

class Coverage {
 public:
    /// `why`: the message, or "time", "dispatch", "agenda", "gone", "start".
    void transition(JobState from, std::string_view why, JobState to) { ++transitions_[{from, why, to}]; }
    /// One item's answer, or the refusal of a whole message.
    void answer(std::string_view message, Code code) { ++answers_[{message, code}]; }
    void event(EventKind kind) { ++events_[kind]; }
    void outcome(Outcome outcome) { ++outcomes_[outcome]; }
    void reason(Reason reason) { shown(to_string(reason)); }
    /// As somebody is told.
    void shown(std::string_view reason) {
        if (const auto known = reasons_.find(reason); known != reasons_.end()) ++known->second;
        else reasons_.emplace(reason, 1);
    }
    /// Of a client's instance at its HELLO.
    void instance(std::string_view state) { ++instances_[state]; }

    /// "state queued, dispatch: assigned", "answer SUBMIT busy", "event failed", …
    void add_to(Counts& counts) const;

 private:
    std::map<std::tuple<JobState, std::string_view, JobState>, std::uint64_t> transitions_;
    std::map<std::pair<std::string_view, Code>, std::uint64_t> answers_;
    std::map<EventKind, std::uint64_t> events_;
    std::map<Outcome, std::uint64_t> outcomes_;
    std::map<std::string, std::uint64_t, std::less<>> reasons_;
    std::map<std::string_view, std::uint64_t> instances_;
};

/// What cannot be reached here, and why.
struct Excuse {
    std::string_view name;
    std::string_view why;
};
[[nodiscard]] std::span<const Excuse> excuses();

/// What `counts` lacks, a line each: of the codes, events, outcomes and reasons that the code has, and of the
/// transitions that are listed as possible; and which it has that are not listed, or are excused. Empty after enough
/// seeds.
[[nodiscard]] std::string what_is_missing(const Counts& counts);

}  // namespace jobyard::sim
