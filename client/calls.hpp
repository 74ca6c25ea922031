#pragma once
// What callers and turns share: the calls that are open, and where their callers wait.
//
// A call's fields are written in a turn, whoever takes it, under the room's mutex, before its stage says that they are
// there, and never again after. So whoever has seen the stage reads them without a lock, and who only looks takes none.

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "jobyard/client.hpp"
#include "jobyard/limits.hpp"
#include "peer/turns.hpp"
#include "session.hpp"

namespace jobyard::client {

using Deadline = std::chrono::steady_clock::time_point;

/// `limit` from now; far away, but within the clock's range, for kNoTimeLimit.
inline Deadline deadline_after(std::chrono::milliseconds limit) {
    return std::chrono::steady_clock::now() + std::min(limit, std::chrono::milliseconds(std::chrono::years(10)));
}

/// As steady_ms() says it.
inline std::int64_t to_ms(Deadline time) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

/// How many forks this process is away from the first one.
unsigned fork_count();

enum class Stage : std::uint8_t {
    open,
    known,  ///< a job has its number, and its result is still to come
    done,
};

struct Call;

struct Room {
    std::string endpoint;
    const unsigned forks = fork_count();  ///< where this is not fork_count(), the network thread does not exist

    std::mutex mutex;
    /// Callers wait at the door of their call, so that one answer does not wake everybody.
    std::array<std::condition_variable, 16> doors;
    std::condition_variable link_changed;
    std::atomic<unsigned> awaited{0};  ///< calls that somebody waits for; written under `mutex`
    std::shared_ptr<Turns> turns;      ///< where one may wait first; null if there is no network
    bool welcomed = false;             ///< there is a session now; guarded by `mutex`
    std::optional<Error> ended;        ///< nothing will be answered any more; guarded by `mutex`
    std::optional<Error> trouble;      ///< why there may be no session, as it seems; guarded by `mutex`

    [[nodiscard]] bool is_forked() const { return forks != fork_count(); }
    [[nodiscard]] std::size_t door_of(const Call& call) const {
        return std::hash<const Call*>{}(&call) / 64 % doors.size();
    }
    /// False if the deadline came first.
    bool wait(Call& call, Stage stage, Deadline deadline);
    /// Nobody waits for the call any more, or will say so again. Needs the mutex.
    void stop_awaiting(Call& call);
    /// Looks at the clock only if it has to wait.
    bool wait(Call& call, Stage stage, std::chrono::milliseconds limit);
    /// What to tell a caller whose time limit has passed.
    Error no_answer(std::chrono::milliseconds limit, const char* what = "no answer");
    /// Added to a time-out's text; empty if the broker can be reached. Needs the mutex.
    [[nodiscard]] std::string why_silent() const;
};

Error forked_error();

struct Call {
    explicit Call(std::shared_ptr<Room> where) : room(std::move(where)) {}
    std::shared_ptr<Room> room;
    std::atomic<Stage> stage{Stage::open};
    Stage awaited = Stage::open;  ///< by somebody, the lowest; open: by nobody; guarded by the room's mutex
};

inline bool has_reached(const Call& call, Stage stage) { return call.stage.load(std::memory_order_acquire) >= stage; }

/// A job that was submitted, or is watched by its number. Small, because a caller may hold millions: what it was made
/// of is not here (Network::Posting).
struct Watched : Call {
    Watched(std::shared_ptr<Room> where, bool is_watched) : Call(std::move(where)), watch(is_watched) {}
    Watched(std::shared_ptr<Room> where, JobId number) : Call(std::move(where)), watch(true) {
        result.job = number;
        stage = Stage::known;
    }
    [[nodiscard]] JobId job() const { return result.job; }

    const bool watch;
    // From `known` on, or when done, if it was made: result.job, and
    Code code = Code::ok;
    // When done:
    JobResult result;
    std::unique_ptr<Error> failure;  ///< why it was not made, if it has no number, or why there is no result
};

/// A question.
struct Asked : Call {
    Asked(std::shared_ptr<Room> where, Question what, Deadline until)
        : Call(std::move(where)), question(std::move(what)), deadline(until) {}
    Question question;
    const Deadline deadline;

    // When done:
    std::optional<Error> error;
    CancelAnswer answer;
    struct Item {
        Code code = Code::ok;
        JobId job;
        JobState state = JobState::none;
        std::string text;
        std::uint32_t retry_after_ms = 0;
    };
    std::vector<Item> items;
    std::size_t count = 0;
    std::vector<std::string> maps;
    std::uint64_t next_cursor = 0;
    std::string next;
    std::uint64_t gone = 0;
    bool more = false;
};

}  // namespace jobyard::client
