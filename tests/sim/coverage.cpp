#include "coverage.hpp"

#include <algorithm>

namespace jobyard::sim {
namespace {

/// How a job may go from state to state: from, what makes it go, to. "none" is a job that is not in memory: not made
/// yet, or the broker has not started.
constexpr std::string_view kTransitions[] = {
    "assigned, COMPLETE: completed", "assigned, FAIL: cancelled",    "assigned, FAIL: dead",
    "assigned, FAIL: retrying",      "assigned, GOODBYE: queued",    "assigned, HELLO: cancelled",
    "assigned, HELLO: queued",       "assigned, RELEASE: cancelled", "assigned, RELEASE: queued",
    "assigned, RELEASE: scheduled",  "assigned, STARTED: running",   "assigned, time: cancelled",
    "assigned, time: dead",          "assigned, time: queued",       "cancelled, agenda: retired",
    "completed, agenda: retired",    "dead, REDRIVE: queued",        "dead, agenda: queued",
    "dead, agenda: retired",         "none, SUBMIT: queued",         "none, SUBMIT: scheduled",
    "none, agenda: queued",          "none, agenda: scheduled",      "none, start: queued",
    "none, start: retrying",         "none, start: scheduled",       "queued, CANCEL: cancelled",
    "queued, CHANGE: scheduled",     "queued, HELLO: running",       "queued, agenda: cancelled",
    "queued, dispatch: assigned",    "queued, time: cancelled",      "queued, time: dead",
    "retrying, CANCEL: cancelled",   "retrying, CHANGE: queued",     "retrying, HELLO: running",
    "retrying, agenda: cancelled",   "retrying, time: dead",         "retrying, time: queued",
    "running, COMPLETE: completed",  "running, FAIL: cancelled",     "running, FAIL: dead",
    "running, FAIL: retrying",       "running, RELEASE: cancelled",  "running, RELEASE: queued",
    "running, RELEASE: scheduled",   "running, time: cancelled",     "running, time: dead",
    "running, time: queued",         "scheduled, CANCEL: cancelled", "scheduled, CHANGE: queued",
    "scheduled, HELLO: running",     "scheduled, agenda: cancelled", "scheduled, time: dead",
    "scheduled, time: queued",
};

constexpr Excuse kExcuses[] = {
    {"code outcome_unknown", "inside the libraries"},
    {"code timeout", "inside the libraries"},
    {"code closed", "inside the libraries"},
    {"code forked", "inside the libraries"},
    {"code not_accepted", "inside the libraries"},
    {"code internal", "inside the libraries"},
    {"code bad_message", "the sessions send no nonsense: tests/process/hostile_test.cpp, fuzzing"},
    {"code unknown_message", "likewise"},
    {"code not_allowed", "keys may do everything here: CoreAccess, CoreAccessMatrix"},
    {"code version_not_spoken", "all peers are of this version: tests/old_minor"},
    {"instance retired", "an instance is kept for a day of the broker's time: CoreWindow"},
};

template <class Enum>
void each_word(std::string_view kind, std::string_view of_none, auto&& f) {
    const std::string_view unknown = to_string(static_cast<Enum>(255));
    for (int value = of_none.empty() ? 1 : 0; value < 255; ++value)
        if (const std::string_view word = to_string(static_cast<Enum>(value)); !word.empty() && word != unknown)
            f(std::string(kind) + std::string(word));
}

}  // namespace

void add(Counts& sum, const Counts& more) {
    for (const auto& [name, n] : more) sum[name] += n;
}

void Coverage::add_to(Counts& counts) const {
    for (const auto& [transition, n] : transitions_) {
        const auto& [from, why, to] = transition;
        counts["state " + std::string(to_string(from)) + ", " + std::string(why) + ": " + to_string(to)] += n;
    }
    for (const auto& [answer, n] : answers_) {
        counts["answer " + std::string(answer.first) + " " + to_string(answer.second)] += n;
        counts["code " + std::string(to_string(answer.second))] += n;
    }
    for (const auto& [kind, n] : events_) counts["event " + std::string(to_string(kind))] += n;
    for (const auto& [outcome, n] : outcomes_) counts["outcome " + std::string(to_string(outcome))] += n;
    for (const auto& [reason, n] : reasons_)
        if (!reason.empty()) counts["reason " + reason] += n;
    for (const auto& [state, n] : instances_) counts["instance " + std::string(state)] += n;
}

std::span<const Excuse> excuses() { return kExcuses; }

std::string what_is_missing(const Counts& counts) {
    std::string missing;
    const auto wants = [&](const std::string& name) {
        const bool excused = std::any_of(std::begin(kExcuses), std::end(kExcuses),
                                         [&](const Excuse& excuse) { return excuse.name == name; });
        if (counts.contains(name) == excused)
            missing += name + (excused ? " is reached, and excused\n" : " was never reached\n");
    };
    each_word<Code>("code ", "ok", wants);
    each_word<EventKind>("event ", "", wants);
    each_word<Outcome>("outcome ", "", wants);
    each_word<Reason>("reason ", "", wants);
    for (const char* state : {"fresh", "resumed", "retired"}) wants("instance " + std::string(state));
    for (const std::string_view transition : kTransitions) wants("state " + std::string(transition));
    for (const auto& [name, n] : counts)
        if (name.starts_with("state ") && std::find(std::begin(kTransitions), std::end(kTransitions),
                                                    std::string_view(name).substr(6)) == std::end(kTransitions))
            missing += name + " is not listed\n";
    return missing;
}

}  // namespace jobyard::sim
