#pragma once
// How a function says that the world failed: Result<T>, shaped like std::expected (C++23) so that it can become it.

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

#include "jobyard/export.hpp"

namespace jobyard {

/// Stable numbers, on the wire and in exit messages. A new one only where a caller would act differently.
/// PROTOCOL.md, "Codes", says for each what the sender should do.
enum class Code : std::uint8_t {
    ok = 0,
    existing = 1,          ///< submit: the key already names a job; the answer carries it and its state
    conflict = 2,          ///< submit: the key names a job with other content
    stale_lease = 3,       ///< this token no longer holds the job: stop it, drop its result
    retired = 4,           ///< the job ended and retention removed it
    unknown_job = 5,       ///< no such job was ever made here
    ended = 6,             ///< the job has ended already; the state says how
    cancel_requested = 7,  ///< the job runs; its worker is being told to stop it
    not_dead = 8,          ///< redrive: the job is not in the dead letter queue
    busy = 9,              ///< a bound was reached; try again after retry_after_ms
    queue_full = 10,       ///< the queue holds as many jobs as it may
    disk_full = 11,        ///< the disk is below its watermark; nothing new is taken
    too_large = 12,        ///< names the size and the limit
    bad_field = 13,        ///< names the field and what was expected
    bad_message = 14,      ///< not a message of this protocol; nothing in it was looked at
    unknown_message = 15,  ///< a message type this broker does not know
    version_not_spoken = 16,
    no_session = 17,       ///< say HELLO (again)
    replaced = 18,         ///< a newer session of this instance has taken over
    not_allowed = 19,      ///< not for this role, or not for this key
    outcome_unknown = 20,  ///< library only: it cannot be known whether the submit was taken
    timeout = 21,          ///< library only: no answer within the time limit
    closed = 22,           ///< library only: the client or worker was closed
    forked = 23,           ///< library only: used in a child process after fork()
    not_accepted = 24,     ///< library only: the window is full and waiting was not wanted
    internal = 25,         ///< the system refused something the library needs; the text says what
    unknown_worker = 26,   ///< no worker of this name is here
    not_waiting = 27,      ///< change: the job runs
    unknown_queue = 28,    ///< no queue of this name was ever used or set here
    unknown_task = 29,     ///< no task of this number runs or is remembered
    over_quota = 30,       ///< this key, or this queue, has as much as it may; try again after retry_after_ms
};

/// The word for a code, as PROTOCOL.md writes it ("stale_lease").
JOBYARD_API const char* to_string(Code code);

/// What went wrong, for a program (`code`) and for a person (`text`: what is wrong, what was expected, what to do).
struct Error {
    Code code = Code::internal;
    std::string text;
    std::uint32_t retry_after_ms = 0;  ///< with `busy`, `queue_full`, `disk_full`, `over_quota`
};

/// A T or an Error. Test it, then use `*r` or `r->`; `value()` throws std::runtime_error with the error's text.
template <class T>
class [[nodiscard]] Result {
 public:
    Result(T value) : held_(std::move(value)) {}
    Result(Error error) : held_(std::move(error)) {}

    [[nodiscard]] bool has_value() const { return std::holds_alternative<T>(held_); }
    [[nodiscard]] explicit operator bool() const { return has_value(); }
    [[nodiscard]] T& operator*() & { return std::get<T>(held_); }
    [[nodiscard]] const T& operator*() const& { return std::get<T>(held_); }
    [[nodiscard]] T&& operator*() && { return std::get<T>(std::move(held_)); }
    [[nodiscard]] T* operator->() { return &std::get<T>(held_); }
    [[nodiscard]] const T* operator->() const { return &std::get<T>(held_); }
    [[nodiscard]] const Error& error() const { return std::get<Error>(held_); }
    T& value() & {
        require();
        return std::get<T>(held_);
    }
    T&& value() && {
        require();
        return std::get<T>(std::move(held_));
    }

 private:
    void require() const {
        if (!has_value()) throw std::runtime_error(std::string(to_string(error().code)) + ": " + error().text);
    }
    std::variant<T, Error> held_;
};

/// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
    Result() = default;
    Result(Error error) : error_(std::move(error)), failed_(true) {}
    [[nodiscard]] bool has_value() const { return !failed_; }
    [[nodiscard]] explicit operator bool() const { return !failed_; }
    [[nodiscard]] const Error& error() const { return error_; }
    void value() const {
        if (failed_) throw std::runtime_error(std::string(to_string(error_.code)) + ": " + error_.text);
    }

 private:
    Error error_;
    bool failed_ = false;
};

}  // namespace jobyard
