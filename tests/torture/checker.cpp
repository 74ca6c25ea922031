#include "checker.hpp"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

namespace jobyard::torture {
namespace {

constexpr std::size_t kMostTold = 100;

struct Run {
    std::string who;
    std::int64_t began = 0;
    std::optional<std::int64_t> ended;
    std::uint64_t attempt = 0;
    std::uint64_t token = 0;
};

struct Story {
    std::uint64_t job = 0;
    std::uint64_t wish = 0;
    std::optional<std::int64_t> told;  ///< a client has its number
    std::string type;
    int priority = 0;
    std::vector<Run> runs;
    std::string final;  ///< the broker's last word; empty: it has none
    std::uint64_t final_attempt = 0;
    std::vector<std::string> results;   ///< as clients were told, each one once
    std::vector<std::string> happened;  ///< kinds of events
};

std::string first_word(const std::string& text) { return text.substr(0, text.find(' ')); }
std::string second_word(const std::string& text) {
    const std::size_t space = text.find(' ');
    return space == std::string::npos ? std::string{} : text.substr(space + 1);
}
bool is_end(const std::string& kind) { return kind == "completed" || kind == "dead" || kind == "cancelled"; }
bool ends_attempt(const std::string& kind) { return kind == "failed" || kind == "worker_lost" || kind == "released"; }

class Checker {
 public:
    explicit Checker(const std::vector<Entry>& history) : history_(history) {}

    Verdict check() {
        gather();
        for (auto& [number, story] : stories_) judge(story);
        judge_order();
        judge_silence();
        return std::move(verdict_);
    }

 private:
    struct Wish {
        std::int64_t wanted = 0;
        std::string type;
        int priority = 0;
        std::optional<std::uint64_t> job;
        bool refused = false;
        bool answered = false;
    };

    static std::string name(const Story& story) {
        return "job " + std::to_string(story.job) + " (wish " + std::to_string(story.wish) + ", " + story.type + ")";
    }

    void gather() {
        if (!history_.empty()) verdict_.span_us = history_.back().us - history_.front().us;
        for (const Entry& entry : history_) {
            switch (entry.seen) {
                case Seen::wants:
                    ++verdict_.wanted;
                    wishes_[entry.wish] = {entry.us, entry.text, entry.priority, {}, false, false};
                    break;
                case Seen::has: {
                    ++verdict_.acknowledged;
                    Wish& wish = wishes_[entry.wish];
                    wish.answered = true;
                    Story& story = bind(entry.wish, entry.job);
                    if (!story.told) story.told = entry.us;
                    break;
                }
                case Seen::refused:
                    ++verdict_.refused;
                    wishes_[entry.wish].refused = wishes_[entry.wish].answered = true;
                    break;
                case Seen::unknown: break;
                case Seen::result: {
                    ++verdict_.results;
                    Story& story = stories_[entry.job];
                    if (std::find(story.results.begin(), story.results.end(), entry.text) == story.results.end())
                        story.results.push_back(entry.text);
                    break;
                }
                case Seen::begins: {
                    ++verdict_.executions;
                    Story& story = bind(entry.wish, entry.job);
                    if (!story.runs.empty()) ++verdict_.executed_again;
                    for (const Run& run : story.runs)
                        if (run.token == entry.token)
                            verdict_.breaks("begun_twice", name(story) + ": lease " + std::to_string(run.token) +
                                                               " was begun by " + run.who + " and by " + entry.who);
                    story.runs.push_back({entry.who, entry.us, {}, entry.attempt, entry.token});
                    break;
                }
                case Seen::ends:
                    for (Run& run : stories_[entry.job].runs)
                        if (run.token == entry.token && run.who == entry.who) run.ended = entry.us;
                    break;
                case Seen::final: {
                    Story& story = stories_[entry.job];
                    story.job = entry.job;
                    story.final = entry.text;
                    story.final_attempt = entry.attempt;
                    break;
                }
                case Seen::event:
                    for (std::uint64_t job = entry.job; entry.job != 0 && job < entry.job + entry.attempt; ++job)
                        stories_[job].happened.push_back(entry.text);
                    break;
                case Seen::fault:
                    if (second_word(entry.text) == "begins") ++verdict_.faults[first_word(entry.text)];
                    break;
                case Seen::restart:
                    ++verdict_.restarts;
                    restarts_.push_back(entry.us);
                    break;
                case Seen::starts: break;
            }
        }
        for (const auto& [number, wish] : wishes_)
            if (!wish.answered) ++verdict_.unknown;
    }

    /// The job is the wish's.
    Story& bind(std::uint64_t number, std::uint64_t job) {
        Wish& wish = wishes_[number];
        Story& story = stories_[job];
        if (wish.refused)
            verdict_.breaks("made_though_refused", "wish " + std::to_string(number) + " was refused, and job " +
                                                       std::to_string(job) + " was made of it");
        if (wish.job && *wish.job != job)
            verdict_.breaks("made_twice", "wish " + std::to_string(number) + " made jobs " + std::to_string(*wish.job) +
                                              " and " + std::to_string(job));
        if (story.wish != 0 && story.wish != number)
            verdict_.breaks("made_twice", "job " + std::to_string(job) + " is of wish " + std::to_string(story.wish) +
                                              " and of wish " + std::to_string(number));
        wish.job = job;
        story.job = job;
        story.wish = number;
        story.type = wish.type;
        story.priority = wish.priority;
        return story;
    }

    /// How it ended, of what retention has removed since then: by the event stream, or else as its client was told.
    /// Empty if it was not retired, or nobody was told of its end.
    static std::string end_before_it_was_retired(const Story& story) {
        const auto retired = std::find(story.happened.begin(), story.happened.end(), "retired");
        if (retired == story.happened.end()) return {};
        const auto end = std::find_if(story.happened.begin(), retired, is_end);
        if (end != retired) return *end;
        return story.results.empty() ? std::string{} : first_word(story.results.front());
    }

    void judge(const Story& story) {
        std::string state = first_word(story.final);
        if (state.empty()) {
            state = end_before_it_was_retired(story);
            if (!state.empty() && story.told) ++verdict_.retired;
        }
        if (story.told) {
            if (!is_end(state))
                verdict_.breaks("lost", name(story) + " was acknowledged; the broker says: " +
                                            (story.final.empty() ? "nothing" : story.final));
            ++verdict_.ended[state.empty() ? "unknown" : state];
        }
        // The event stream, in order: one end a round.
        bool ended = false;
        for (const std::string& kind : story.happened) {
            if (kind == "redriven") {
                ended = false;
            } else if (ends_attempt(kind) || is_end(kind)) {
                if (ended) verdict_.breaks("ended_twice", name(story) + ": " + kind + " after its end");
                ended = ended || is_end(kind);
            }
        }
        if (story.results.size() > 1)
            verdict_.breaks("ended_twice", name(story) + ": clients were told \"" + story.results[0] + "\" and \"" +
                                               story.results[1] + "\"");
        for (const std::string& result : story.results) {
            if (!state.empty() && first_word(result) != state)
                verdict_.breaks(
                    "ended_twice",
                    name(story).append(" ended as ").append(state).append(", and a client was told ") + result);
            if (first_word(result) == "completed") judge_result(story, second_word(result));
        }
    }

    /// A handler returns its lease's token: so the result says whose word was believed. A lease is given only when the
    /// one before has ended, with a greater token: a job whose end came from one lease was never begun with a later
    /// one.
    void judge_result(const Story& story, const std::string& bytes) {
        const Run* believed = nullptr;
        for (const Run& run : story.runs)
            if (std::to_string(run.token) == bytes) believed = &run;
        if (believed == nullptr)
            return verdict_.breaks("wrong_result", name(story) + ": no handler was begun with the lease \"" + bytes +
                                                       "\", which its result names");
        for (const Run& run : story.runs)
            if (run.token > believed->token)
                verdict_.breaks("stale_believed", name(story) + " was completed with lease " + bytes + ", and lease " +
                                                      std::to_string(run.token) + " had been given after it");
        if (!story.final.empty() && believed->attempt != story.final_attempt)
            verdict_.breaks("stale_believed", name(story) + " was completed by attempt " +
                                                  std::to_string(story.final_attempt) + ", its result is of " +
                                                  std::to_string(believed->attempt));
    }

    /// A worker of the ordered queue has one slot and no prefetch, so it is handed its next job after it has said the
    /// end of the one before. A job that was acknowledged before that said end, and was begun by a worker whose own job
    /// before it ended after this one began, stood in the queue while this one was handed out.
    void judge_order() {
        struct Begun {
            std::int64_t before;  ///< when the worker ended its job before
            std::int64_t began;
            const Story* story;
        };
        std::unordered_map<std::string, std::vector<std::pair<std::int64_t, const Run*>>> by_worker;
        std::unordered_map<const Run*, const Story*> stories;
        for (const auto& [number, story] : stories_) {
            if (story.type != kOrderedType) continue;
            for (const Run& run : story.runs) {
                by_worker[run.who].emplace_back(run.began, &run);
                stories[&run] = &story;
            }
        }
        std::vector<Begun> all;
        for (auto& [who, runs] : by_worker) {
            std::sort(runs.begin(), runs.end());
            for (std::size_t i = 1; i < runs.size(); ++i) {
                const Run& run = *runs[i].second;
                const Story& story = *stories[&run];
                // Only jobs that were handed out once: one that came back has a place of its own.
                const bool came_back =
                    story.runs.size() != 1 || std::any_of(story.happened.begin(), story.happened.end(), ends_attempt);
                if (!runs[i - 1].second->ended || came_back || !story.told) continue;
                all.push_back({*runs[i - 1].second->ended, run.began, &story});
            }
        }
        std::sort(all.begin(), all.end(), [](const Begun& a, const Begun& b) { return a.began < b.began; });
        for (std::size_t i = 0; i < all.size(); ++i) {
            const Begun& one = all[i];
            ++verdict_.ordered;
            const Story* higher = nullptr;
            const Story* older = nullptr;
            // Those that were begun later, as far as they can have stood in the queue.
            for (std::size_t k = i + 1; k < all.size() && all[k].began < one.began + kLongestWaitUs; ++k) {
                const Begun& other = all[k];
                if (*other.story->told >= one.before || other.before <= one.began) continue;
                // What a broker that died had handed out, and no worker held, comes back without an event.
                if (restarted_between(*other.story->told, other.began)) continue;
                if (other.story->priority > one.story->priority) higher = other.story;
                if (other.story->job < one.story->job) older = other.story;
            }
            if (higher == nullptr) continue;
            ++verdict_.aged;
            if (older != nullptr)
                verdict_.breaks("overtaken", name(*one.story) + " of priority " + std::to_string(one.story->priority) +
                                                 " passed " + name(*higher) + " of priority " +
                                                 std::to_string(higher->priority) + ", and " + name(*older) +
                                                 " had waited longer");
        }
        // One dispatch in twenty goes to the longest waiting; with room for chance, because only some are judged.
        if (verdict_.aged > 100 && verdict_.aged * 10 > verdict_.ordered)
            verdict_.breaks("overtaken", std::to_string(verdict_.aged) + " of " + std::to_string(verdict_.ordered) +
                                             " judged dispatches passed a higher priority; one in twenty may");
    }

    /// The longest time in which some client waited for an answer and none had one.
    void judge_silence() {
        std::uint64_t waiting = 0;
        std::int64_t since = 0;
        std::unordered_map<std::string, std::uint64_t> open;  // by client
        for (const Entry& entry : history_) {
            const bool answer = entry.seen == Seen::has || entry.seen == Seen::refused || entry.seen == Seen::unknown;
            if (entry.seen == Seen::wants) {
                if (waiting++ == 0) since = entry.us;
                ++open[entry.who];
            } else if (answer) {
                verdict_.longest_without_answer_us = std::max(verdict_.longest_without_answer_us, entry.us - since);
                since = entry.us;
                if (waiting > 0) --waiting;
                if (open[entry.who] > 0) --open[entry.who];
            } else if (entry.seen == Seen::starts) {  // a client's next life: nobody waits for what the last one did
                waiting -= std::exchange(open[second_word(entry.text)], 0);
            }
        }
    }

    static constexpr std::int64_t kLongestWaitUs = 60'000'000;

    [[nodiscard]] bool restarted_between(std::int64_t first, std::int64_t last) const {
        const auto next = std::lower_bound(restarts_.begin(), restarts_.end(), first);
        return next != restarts_.end() && *next < last;
    }

    const std::vector<Entry>& history_;
    std::vector<std::int64_t> restarts_;
    Verdict verdict_;
    std::map<std::uint64_t, Wish> wishes_;
    std::map<std::uint64_t, Story> stories_;  // by job
};

}  // namespace

void Verdict::breaks(const std::string& kind, std::string how) {
    ++broken_count[kind];
    std::vector<std::string>& told = broken[kind];
    if (told.size() < kMostTold) told.push_back(std::move(how));
}

Verdict check(const std::vector<Entry>& history) { return Checker(history).check(); }

}  // namespace jobyard::torture
