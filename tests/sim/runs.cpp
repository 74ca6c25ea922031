#include "runs.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string_view>

#include "jobyard/assert.hpp"

namespace jobyard::sim {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLongestRunS = 120;  ///< of a processor's time: it waits for nobody, and may be kept from running
constexpr auto kTellEvery = std::chrono::milliseconds(200);
constexpr const char* kEnded = "P9 nothing ends the broker";

double seconds_since(Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); }

std::string one_line(std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

/// What a child says, a line each: a letter, a blank, and the rest. What it prints when it dies has no such beginning.
class Voice {
 public:
    explicit Voice(int fd) : fd_(fd) {}
    void say(char what, std::string_view text) {
        lines_ += what;
        lines_ += ' ';
        lines_ += text;
        lines_ += '\n';
    }
    void flush() {
        for (std::string_view left = lines_; !left.empty();) {
            const ssize_t wrote = ::write(fd_, left.data(), left.size());
            if (wrote <= 0) ::_exit(0);  // nobody listens any more
            left.remove_prefix(static_cast<std::size_t>(wrote));
        }
        lines_.clear();
    }

 private:
    int fd_;
    std::string lines_;
};

struct Child {
    pid_t pid = -1;
    int fd = -1;
    std::string unread;
};

/// Runs `what` in another process.
Child fork_child(const std::function<void(Voice&)>& what) {
    int ends[2];
    JOBYARD_ASSERT(::pipe(ends) == 0);
    const pid_t pid = ::fork();
    JOBYARD_ASSERT(pid >= 0);
    if (pid > 0) {
        ::close(ends[1]);
        return {pid, ends[0], {}};
    }
    ::close(ends[0]);
    ::dup2(ends[1], STDERR_FILENO);  // its last words
    Voice voice(ends[1]);
    what(voice);
    voice.flush();
    ::_exit(0);
}

/// This process, a run in which something goes on for ever: by SIGPROF.
void end_by_signal_if_too_long() {
    const itimerval once{{}, {kLongestRunS, 0}};
    JOBYARD_ASSERT(::setitimer(ITIMER_PROF, &once, nullptr) == 0);
}

/// What has come, line by line. False: that was the end.
bool read_lines(Child& child, const std::function<void(std::string_view)>& take) {
    char bytes[65536];
    const ssize_t size = ::read(child.fd, bytes, sizeof bytes);
    if (size < 0 && errno == EINTR) return true;
    if (size > 0) child.unread.append(bytes, static_cast<std::size_t>(size));
    std::size_t at = 0;
    for (std::size_t end; (end = child.unread.find('\n', at)) != std::string::npos; at = end + 1)
        take(std::string_view(child.unread).substr(at, end - at));
    child.unread.erase(0, at);
    return size > 0;
}

/// How the child ended, if not well.
std::optional<Broken> wait_for(Child& child, const std::string& last_words) {
    ::close(child.fd);
    int status = 0;
    ::waitpid(child.pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return std::nullopt;
    std::string how = last_words;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF)
        how = "the run has not ended after " + std::to_string(kLongestRunS) + " s of a processor's time";
    else if (how.empty())
        how = WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                                  : "exit status " + std::to_string(WEXITSTATUS(status));
    return Broken{kEnded, how};
}

std::pair<std::string, std::string> split(std::string_view text) {
    const std::size_t tab = text.find('\t');
    return {std::string(text.substr(0, tab)), std::string(tab == std::string_view::npos ? "" : text.substr(tab + 1))};
}

std::uint64_t number(std::string_view text) { return std::strtoull(std::string(text).c_str(), nullptr, 10); }

bool is_said(std::string_view line) { return line.size() >= 2 && line[1] == ' '; }

// --- many ------------------------------------------------------------------------------------------------------------

void run_some(const Many& many, std::uint64_t seed, Clock::time_point began, Voice& voice) {
    Sum sum;
    auto told = Clock::now();
    const auto tell = [&] {
        voice.say('D', std::to_string(sum.events));
        voice.say('U', std::to_string(sum.simulated_us));
        for (const auto& [name, n] : sum.counts) voice.say('C', name + "\t" + std::to_string(n));
        voice.flush();
        sum = {};
        told = Clock::now();
    };
    for (; many.seeds == 0 || seed < many.first + many.seeds; seed += many.processes) {
        if (many.seconds != 0 && seconds_since(began) > many.seconds) break;
        voice.say('S', std::to_string(seed));
        voice.flush();
        end_by_signal_if_too_long();
        RunOptions options = many.each;
        options.seed = seed;
        const Report report = run(options);
        sum.events += report.events;
        sum.simulated_us += report.simulated_us;
        add(sum.counts, report.counts);
        if (report.broken) {
            voice.say('R', report.broken->rule);
            voice.say('H', one_line(report.broken->how));
            voice.flush();
        }
        if (Clock::now() - told > kTellEvery) tell();
    }
    tell();
}

}  // namespace

Apart run_apart(const RunOptions& options, bool with_story) {
    Apart apart;
    Broken broken;
    std::string last_words;
    Child child = fork_child([&](Voice& voice) {
        end_by_signal_if_too_long();
        RunOptions heard = options;
        if (with_story) {
            heard.listener = [&](const std::string& line) {
                voice.say('L', line);
                voice.flush();  // it may be the last
            };
        }
        const Report report = run(heard);
        if (report.broken) {
            voice.say('R', report.broken->rule);
            voice.say('H', one_line(report.broken->how));
        }
        voice.say('E', std::to_string(report.events));
    });
    while (read_lines(child, [&](std::string_view line) {
        const std::string text(is_said(line) ? line.substr(2) : line);
        if (!is_said(line)) last_words += (last_words.empty() ? "" : " ") + text;
        else if (line[0] == 'L') apart.story.push_back(text);
        else if (line[0] == 'R') broken.rule = text;
        else if (line[0] == 'H') broken.how = text;
        else if (line[0] == 'E') apart.events = number(text);
    })) {
    }
    apart.broken = wait_for(child, last_words);
    if (!broken.rule.empty()) apart.broken = broken;
    return apart;
}

Sum run_many(const Many& many, const std::function<void(const Sum&)>& progress) {
    struct Running {
        Child child;
        std::uint64_t seed = 0;
        std::string rule;
        std::string last_words;
    };
    Sum sum;
    const auto began = Clock::now();
    auto told = began;
    std::vector<Running> running;
    const auto begin = [&](std::uint64_t seed) {
        Running next;
        next.child = fork_child([&](Voice& voice) { run_some(many, seed, began, voice); });
        running.push_back(std::move(next));
    };
    for (unsigned i = 0; i < many.processes; ++i) begin(many.first + i);
    while (!running.empty()) {
        std::vector<pollfd> fds;
        fds.reserve(running.size());
        for (const Running& one : running) fds.push_back({one.child.fd, POLLIN, 0});
        ::poll(fds.data(), fds.size(), 200);
        for (std::size_t i = running.size(); i-- > 0;) {
            if (fds[i].revents == 0) continue;
            Running& one = running[i];
            const bool more = read_lines(one.child, [&](std::string_view line) {
                const auto [text, rest] = split(is_said(line) ? line.substr(2) : line);
                if (!is_said(line)) one.last_words += (one.last_words.empty() ? "" : " ") + text;
                else if (line[0] == 'S') one.seed = number(text), ++sum.seeds;
                else if (line[0] == 'R') one.rule = text;
                else if (line[0] == 'H') sum.broken.emplace_back(one.seed, Broken{one.rule, text});
                else if (line[0] == 'U') sum.simulated_us += static_cast<std::int64_t>(number(text));
                else if (line[0] == 'D') sum.events += number(text);
                else if (line[0] == 'C') sum.counts[text] += number(rest);
            });
            if (more) continue;
            const auto broken = wait_for(one.child, one.last_words);
            const std::uint64_t next = one.seed + many.processes;
            if (broken) sum.broken.emplace_back(one.seed, *broken);
            running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
            if (broken && sum.broken.size() < many.failures && (many.seeds == 0 || next < many.first + many.seeds))
                begin(next);
        }
        if (sum.broken.size() >= many.failures) {
            for (Running& one : running) {
                ::kill(one.child.pid, SIGKILL);
                static_cast<void>(wait_for(one.child, {}));
            }
            break;
        }
        if (Clock::now() - told < kTellEvery) continue;
        progress(sum);
        told = Clock::now();
    }
    std::sort(sum.broken.begin(), sum.broken.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    return sum;
}

}  // namespace jobyard::sim
