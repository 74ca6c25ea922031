#include "shrink.hpp"

#include <algorithm>
#include <cctype>
#include <optional>

#include "runs.hpp"

namespace jobyard::sim {
namespace {

constexpr std::uint64_t kTurns = 12;      ///< runs of one plan, before it is said not to fail
constexpr std::uint64_t kLastTurns = 60;  ///< of which the shortest is told
constexpr std::size_t kMostLines = 120;

class Shrinker {
 public:
    Shrinker(RunOptions options, const Broken& broken, std::uint64_t tries)
        : options_(std::move(options)), rule_(broken.rule), most_(tries) {}

    Shrunk shrink() {
        while (make_smaller() && !is_late()) {
        }
        most_ += kLastTurns;
        const std::uint64_t events = run_apart(options_, false).events;
        std::uint64_t fewest = events == 0 ? UINT64_MAX : events;
        for (std::uint64_t turn = 0; turn < kLastTurns && !is_late(); ++turn) {
            RunOptions other = options_;
            other.turn = turn;
            const Apart apart = run_apart(other, false);
            ++tried_;
            if (!fails(apart) || apart.events == 0 || apart.events >= fewest) continue;
            fewest = apart.events;
            options_ = other;
        }
        const Apart told = run_apart(options_, true);
        Shrunk shrunk{
            options_, told.broken.value_or(Broken{rule_, "it did not fail again"}), {}, told.story.size(), tried_};
        shrunk.story = cut(told.story, shrunk.broken);
        return shrunk;
    }

 private:
    [[nodiscard]] bool is_late() const { return tried_ >= most_; }
    [[nodiscard]] bool fails(const Apart& apart) const { return apart.broken && apart.broken->rule == rule_; }

    bool make_smaller() {
        bool smaller = false;
        for (const Knob& knob : knobs()) {
            const std::int64_t value = plan_of(options_).*knob.value;
            const bool is_limit = knob.name.starts_with("limit_");  // a lower one is no smaller run
            for (const std::int64_t less : {knob.calm, value / 4, value / 2, value * 3 / 4}) {
                if (less >= value || (is_limit && less != knob.calm) || less < knob.calm || is_late()) continue;
                if (!still_fails_with(knob, less)) continue;
                smaller = true;
                break;
            }
        }
        return smaller;
    }

    bool still_fails_with(const Knob& knob, std::int64_t value) {
        RunOptions other = options_;
        std::erase_if(other.settings, [&](const auto& setting) { return setting.first == &knob; });
        other.settings.emplace_back(&knob, value);
        for (std::uint64_t turn = 0; turn < kTurns && !is_late(); ++turn) {
            other.turn = (options_.turn + turn) % (kTurns + kLastTurns);
            ++tried_;
            if (!fails(run_apart(other, false))) continue;
            options_ = other;
            return true;
        }
        return false;
    }

    RunOptions options_;
    const std::string rule_;
    std::uint64_t most_;
    std::uint64_t tried_ = 0;
};

/// "job 17", "worker-2", …: what a broken promise is about, the first of these that it names.
std::optional<std::string> subject(const std::string& how) {
    for (const std::string& word :
         {std::string("job "), std::string("array "), std::string("worker-"), std::string("client-")}) {
        const std::size_t at = how.find(word);
        if (at == std::string::npos) continue;
        std::size_t end = at + word.size();
        while (end < how.size() && std::isdigit(static_cast<unsigned char>(how[end])) != 0) ++end;
        if (end > at + word.size()) return how.substr(at, end - at);
    }
    return std::nullopt;
}

bool names(const std::string& line, const std::string& subject) {
    for (std::size_t at = 0; (at = line.find(subject, at)) != std::string::npos; ++at) {
        const std::size_t end = at + subject.size();
        if (end == line.size() || std::isdigit(static_cast<unsigned char>(line[end])) == 0) return true;
    }
    return false;
}

/// Something that befalls whoever it is.
bool is_fate(const std::string& line) {
    if (line.find("  disk ") != std::string::npos)  // what has become durable of others is of no interest
        return line.find(" job ") == std::string::npos && line.find(" array ") == std::string::npos;
    for (const char* words : {" crashes", " starts", " is stopped", " is told to", " has ended", " has left",
                              "could not", "cannot", "  network ", "  cluster ", "  MODEL ", " closes", "clock"})
        if (line.find(words) != std::string::npos) return true;
    return false;
}

}  // namespace

std::vector<std::string> cut(const std::vector<std::string>& story, const Broken& broken) {
    const auto about = subject(broken.how);
    std::vector<std::string> lines;
    bool has_begun = !about;
    for (const std::string& line : story) {
        const bool concerned = about && names(line, *about);
        has_begun = has_begun || concerned;
        if (concerned || is_fate(line)) lines.push_back(line);
        if (!has_begun && lines.size() > 12) lines.erase(lines.begin() + 1);  // long before it
    }
    if (!about || lines.size() < 4) {
        lines = story;
        if (lines.size() > 60) lines.erase(lines.begin(), lines.end() - 60);
    }
    if (lines.size() > kMostLines)
        lines.erase(lines.begin() + 10, lines.end() - static_cast<std::ptrdiff_t>(kMostLines - 10));
    return lines;
}

Shrunk shrink(const RunOptions& options, const Broken& broken, std::uint64_t tries) {
    return Shrinker(options, broken, tries).shrink();
}

}  // namespace jobyard::sim
