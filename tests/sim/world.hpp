#pragma once
// Simulated time: one queue of events, in order of time and, at one time, of their making. Nothing else moves the
// simulation, so a seed gives the same run each time; the hash over all that happened shows it.
//
// A Process is what can die or be stopped: its events go with it, or wait for it. A Loop runs a process's turns.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jobyard/session_ids.hpp"
#include "random.hpp"

namespace jobyard::sim {

inline constexpr std::int64_t kMs = 1000;  ///< in microseconds, the unit of simulated time
inline constexpr std::int64_t kSecond = 1000 * kMs;

/// A rule of the reference model was broken: ends the run.
struct Broken {
    std::string rule;  ///< the promise, and what it says
    std::string how;
};

class Process;

class World {
 public:
    /// Gets every line of the story, if somebody wants to read it.
    using Listener = std::function<void(const std::string& line)>;

    explicit World(std::uint64_t seed, Listener listener) : random_(seed), listener_(std::move(listener)) {}
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    [[nodiscard]] std::int64_t now() const { return now_us_; }
    [[nodiscard]] std::int64_t now_ms() const { return now_us_ / kMs; }
    [[nodiscard]] Random& random() { return random_; }

    /// Of nobody: happens whoever has died meanwhile.
    void after(std::int64_t delay_us, std::function<void()> what) { add(delay_us, nullptr, std::move(what)); }
    /// Runs all that is due until then.
    void run_until(std::int64_t time_us);

    /// Adds bytes that travelled to the hash.
    void note(std::string_view bytes);
    [[nodiscard]] std::uint64_t hash() const { return hash_; }
    [[nodiscard]] std::uint64_t events() const { return events_; }

    /// A line of the story: costs nothing while nobody reads it.
    template <class... Parts>
    void tell(std::string_view who, const Parts&... parts) {
        if (!listener_) return;
        std::string line;
        begin_line(who, line);
        (append(line, parts), ...);
        listener_(line);
    }

 private:
    friend class Process;
    struct Event {
        std::int64_t time_us;
        std::uint64_t number;
        Process* process;
        std::uint32_t life;
        std::function<void()> what;
    };
    /// For a heap whose top is the next.
    static bool later(const Event& a, const Event& b) {
        return std::pair(a.time_us, a.number) > std::pair(b.time_us, b.number);
    }
    void add(std::int64_t delay_us, Process* process, std::function<void()> what);
    void begin_line(std::string_view who, std::string& line) const;
    static void append(std::string& line, std::string_view text) { line += text; }
    static void append(std::string& line, std::int64_t number) { line += std::to_string(number); }
    static void append(std::string& line, std::uint64_t number) { line += std::to_string(number); }
    static void append(std::string& line, std::uint32_t number) { line += std::to_string(number); }
    static void append(std::string& line, JobId job) { line += "job " + std::to_string(job.value); }
    static void append(std::string& line, LeaseToken token);

    Random random_;
    Listener listener_;
    std::int64_t now_us_ = 0;
    std::uint64_t last_number_ = 0;
    std::vector<Event> queue_;  // a heap
    std::uint64_t hash_ = 0;
    std::uint64_t events_ = 0;
};

/// "epoch:counter".
std::string to_text(LeaseToken token);

class Process {
 public:
    Process(World& world, std::string name) : world_(world), name_(std::move(name)) {}
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    void after(std::int64_t delay_us, std::function<void()> what) { world_.add(delay_us, this, std::move(what)); }
    /// What it had ahead of it never happens. It may go on as another life at once.
    void die();
    /// SIGSTOP, and SIGCONT after that time: whatever becomes due meanwhile waits.
    void pause(std::int64_t time_us);

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] World& world() const { return world_; }
    template <class... Parts>
    void tell(const Parts&... parts) const {
        world_.tell(name_, parts...);
    }

 private:
    friend class World;
    World& world_;
    std::string name_;
    std::uint32_t life_ = 0;
    std::int64_t paused_until_us_ = 0;
};

/// A process's main loop: a turn when something happened, or when it is time.
class Loop {
 public:
    Loop(Process& process, std::function<void()> turn) : process_(process), turn_(std::move(turn)) {}
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;
    /// At that time, unless it is to wake before.
    void wake_at(std::int64_t time_us);

 private:
    Process& process_;
    std::function<void()> turn_;
    std::int64_t due_us_ = INT64_MAX;
};

}  // namespace jobyard::sim
