#pragma once
// What the files of the C interface (jobyard.h) share: how a call is guarded, how structs that may grow are taken, and
// how an answer is kept until it is freed.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <deque>
#include <exception>
#include <initializer_list>
#include <memory>
#include <memory_resource>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jobyard/client.hpp"
#include "jobyard/jobyard.h"

struct jobyard_client {
    explicit jobyard_client(jobyard::Client::Options options) : client(std::move(options)) {}
    jobyard::Client client;
};

struct jobyard_submission {
    std::optional<jobyard::Submission> submission;  // there from the moment that a caller has it
};

namespace jobyard::c_api {

// --- calls -----------------------------------------------------------------------------------------------------------

/// Writes how a call ended; gives its code.
jobyard_code report(jobyard_error* error, jobyard_code code, std::string_view text = {},
                    std::uint32_t retry_after_ms = 0) noexcept;

inline jobyard_code to_c(Code code) { return static_cast<jobyard_code>(code); }

Error bad_field(const char* name, const std::string& problem);

/// A pointer that must not be NULL.
struct Needed {
    const void* pointer;
    const char* name;
};
/// The array of `count` items; where there are none it may be NULL.
inline Needed needed_array(const void* items, std::size_t count, const char* name) {
    return {count == 0 ? name : items, name};
}

/// Runs `body`, which gives a Result<void>. Nothing that is thrown gets out.
template <class Body>
jobyard_code guarded(jobyard_error* error, std::initializer_list<Needed> all_needed, Body body) noexcept {
    try {
        for (const Needed& needed : all_needed) {
            if (needed.pointer != nullptr) continue;
            const Error wrong = bad_field(needed.name, "is NULL: expected a pointer");
            return report(error, to_c(wrong.code), wrong.text);
        }
        const Result<void> done = body();
        if (done) return report(error, JOBYARD_OK);
        return report(error, to_c(done.error().code), done.error().text, done.error().retry_after_ms);
    } catch (const std::bad_alloc&) {
        return report(error, JOBYARD_NO_MEMORY, "out of memory");
    } catch (const std::length_error&) {
        return report(error, JOBYARD_NO_MEMORY, "more was asked for than any memory has");
    } catch (const std::exception& thrown) {
        return report(error, JOBYARD_INTERNAL, thrown.what());
    } catch (...) {
        return report(error, JOBYARD_INTERNAL, "an exception of an unknown kind");
    }
}

inline std::chrono::milliseconds to_limit(std::int64_t limit_ms) {
    return limit_ms < 0 ? kNoTimeLimit : std::chrono::milliseconds(limit_ms);
}

inline std::string to_string(const char* text) { return text == nullptr ? std::string() : std::string(text); }

inline std::vector<JobId> to_ids(const std::uint64_t* jobs, std::size_t count) {
    std::vector<JobId> ids;
    ids.reserve(count);
    for (std::size_t i = 0; i < count; ++i) ids.push_back(JobId{jobs[i]});
    return ids;
}

// Words that a newer broker may have sent are none here.
inline jobyard_state to_c(JobState state) {
    return state > JobState::retired ? JOBYARD_STATE_NONE : static_cast<jobyard_state>(state);
}
inline jobyard_reason to_c(Reason reason) {
    return reason > Reason::queue_limit ? JOBYARD_REASON_NONE : static_cast<jobyard_reason>(reason);
}

/// The struct as this library knows it; `usual` (its ..._INIT) where the caller was compiled before a field was there.
/// To append a field: behind the last, without padding at the end, and with the size of before as `least` here.
template <class T>
Result<T> take(const T& given, const T& usual, const char* name, std::size_t least = sizeof(T)) {
    if (given.size < least)
        return bad_field(name, "has not been initialised: begin with the INIT of its struct (jobyard.h)");
    if (given.size > sizeof(T))
        return bad_field(name, "is of a newer version than the library (" + std::string(jobyard_version()) +
                                   "): install that, or compile with the older header");
    T taken = usual;
    std::memcpy(&taken, &given, given.size);
    return taken;
}

// --- answers ---------------------------------------------------------------------------------------------------------

/// All that one answer points to. It goes at once.
class Reply {
 public:
    Reply() = default;
    Reply(const Reply&) = delete;
    Reply& operator=(const Reply&) = delete;

    const char* text(std::string text) { return text.empty() ? "" : texts_.emplace_back(std::move(text)).c_str(); }

    template <class T>
    T* array(std::size_t count) {
        static_assert(std::is_trivially_destructible_v<T>);
        T* items = std::pmr::polymorphic_allocator<T>(&memory_).allocate(count);
        std::uninitialized_value_construct_n(items, count);
        return items;
    }

    /// Each value as `show` shows it, and pointers to them: so the struct can grow.
    template <class Shown, class Value, class Show>
    const Shown* const* items(std::vector<Value> values, Show show) {
        Shown* shown = array<Shown>(values.size());
        const Shown** pointers = array<const Shown*>(values.size());
        for (std::size_t i = 0; i < values.size(); ++i) {
            show(*this, std::move(values[i]), shown[i]);
            pointers[i] = &shown[i];
        }
        return pointers;
    }

 private:
    std::pmr::monotonic_buffer_resource memory_{256};
    std::deque<std::string> texts_;
};

/// What a caller gets is in its own reply, which stands before it, where jobyard_free finds it.
template <class Answer>
struct Kept {
    Reply* reply;
    Answer answer;
};

/// Makes an answer; `fill` says what is in it.
template <class Answer, class Fill>
void give(Answer** out, Fill fill) {
    static_assert(offsetof(Kept<Answer>, answer) == sizeof(void*));
    auto reply = std::make_unique<Reply>();
    auto* kept = reply->array<Kept<Answer>>(1);
    fill(*reply, kept->answer);
    kept->reply = reply.get();
    *out = &kept->answer;
    static_cast<void>(reply.release());
}

/// For calls whose answer is shown by one function.
template <class Answer, class Value, class Show>
Result<void> give_result(Result<Value> result, Answer** out, Show show) {
    if (!result) return result.error();
    give(out, [&](Reply& reply, Answer& answer) { show(reply, *std::move(result), answer); });
    return {};
}

}  // namespace jobyard::c_api
