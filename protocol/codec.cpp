#include "jobyard/codec.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <type_traits>

#include "wire.hpp"

// Each message names its fields once, in `fields(archive, message, defaults)`; the Writer and Reader archives below
// turn that list into both directions. `required` fields must be present; `optional` ones may be cut off at the end
// (the reader keeps the default) or be nil. To add a field: append an `optional` line, never reorder; a golden test
// pins the bytes. What was appended after minor version 0 stands behind `since(minor)`, and so does a new message's row
// in kTypes (PROTOCOL.md, "Versions").

namespace jobyard {
namespace {

// tests/old_minor builds this file as it was at an earlier minor version: what came since is neither written nor read.
// Known says whether the fields from the last `since` on are known; of today's codec all are, which costs nothing.
#ifdef JOBYARD_TEST_MINOR
constexpr std::uint8_t kMinor = JOBYARD_TEST_MINOR;
class Known {
 public:
    void since(std::uint8_t minor) { known_ = minor <= kMinor; }
    bool operator()() const { return known_; }

 private:
    bool known_ = true;
};
#else
constexpr std::uint8_t kMinor = kProtocolMinor;
struct Known {
    static void since(std::uint8_t) {}
    constexpr bool operator()() const { return true; }
};
#endif

template <class Archive, class T>
void lease_fields(Archive& archive, T& item) {
    archive.required("job", item.job);
    archive.required("token", item.token);
}

template <class A>
void fields(A& a, Claim& m, const Claim& d) {
    lease_fields(a, m);
    a.optional("finished", m.finished, d.finished);
}
template <class A>
void fields(A& a, Lease& m, const Lease&) {
    lease_fields(a, m);
}

template <class A>
void fields(A& a, Hello& m, const Hello& d) {
    a.required("min_version", m.min_version);
    a.required("max_version", m.max_version);
    a.required("minor", m.minor);
    a.required("role", m.role);
    a.required("instance", m.instance);
    a.optional("name", m.name, d.name);
    a.optional("software", m.software, d.software);
    a.optional("store", m.store, d.store);
    a.optional("resumed", m.resumed, d.resumed);
    a.optional("confirmed", m.confirmed, d.confirmed);
    a.optional("grant", m.grant, d.grant);
    a.optional("slots", m.slots, d.slots);
    a.optional("credit", m.credit, d.credit);
    a.list("queues", m.queues);
    a.list("types", m.types);
    a.list("claims", m.claims);
    a.since(1);
    a.optional("host", m.host, d.host);
    a.optional("pid", m.pid, d.pid);
}
template <class A>
void fields(A& a, Welcome& m, const Welcome& d) {
    a.required("version", m.version);
    a.required("minor", m.minor);
    a.required("store", m.store);
    a.required("epoch", m.epoch);
    a.required("software", m.software);
    a.required("instance", m.instance);
    a.required("heartbeat_ms", m.heartbeat_ms);
    a.required("lost_after_ms", m.lost_after_ms);
    a.required("lease_ms", m.lease_ms);
    a.required("renew_ms", m.renew_ms);
    a.required("window", m.window);
    a.required("max_payload", m.max_payload);
    a.required("max_result", m.max_result);
    a.list("features", m.features);
    a.list("claims", m.claims);
    static_cast<void>(d);
}
template <class A>
void fields(A&, Heartbeat&, const Heartbeat&) {}
template <class A>
void fields(A& a, Goodbye& m, const Goodbye& d) {
    a.optional("reason", m.reason, d.reason);
    a.optional("confirmed", m.confirmed, d.confirmed);
}
template <class A>
void fields(A& a, Refusal& m, const Refusal& d) {
    a.required("code", m.code);
    a.optional("text", m.text, d.text);
    a.optional("field", m.field, d.field);
    a.optional("retry_after_ms", m.retry_after_ms, d.retry_after_ms);
    a.optional("min_version", m.min_version, d.min_version);
    a.optional("max_version", m.max_version, d.max_version);
}
template <class A>
void backoff_fields(A& a, BackoffPolicy& m) {
    a.optional("backoff_initial_ms", m.initial_ms, {});
    a.optional("backoff_factor_percent", m.factor_percent, {});
    a.optional("backoff_max_ms", m.max_ms, {});
    a.optional("backoff_jitter_percent", m.jitter_percent, {});
}
template <class A>
void fields(A& a, SubmitItem& m, const SubmitItem& d) {
    a.payload(m.payload_length);
    a.required("queue", m.queue);
    a.required("type", m.type);
    a.optional("priority", m.priority, d.priority);
    a.optional("watch", m.watch, d.watch);
    a.optional("delay_ms", m.delay_ms, d.delay_ms);
    a.optional("timeout_ms", m.timeout_ms, d.timeout_ms);
    a.optional("max_attempts", m.max_attempts, d.max_attempts);
    a.optional("key", m.key, d.key);
    backoff_fields(a, m.backoff);
    a.since(1);
    a.optional("run_at", m.run_at, d.run_at);
    a.optional("deadline_ms", m.deadline_ms, d.deadline_ms);
    a.optional("queue_timeout_ms", m.queue_timeout_ms, d.queue_timeout_ms);
    a.optional("held", m.held, d.held);
    a.optional("key_ttl_ms", m.key_ttl_ms, d.key_ttl_ms);
}
template <class A>
void fields(A& a, Submit& m, const Submit&) {
    a.required("confirmed", m.confirmed);
    a.required("first_number", m.first_number);
    a.list("items", m.items, &m.encoded);
}
template <class A>
void fields(A& a, SubmitArray& m, const SubmitArray& d) {
    a.required("confirmed", m.confirmed);
    a.required("first_number", m.first_number);
    a.list("items", m.items, &m.encoded);
    a.required("count", m.count);
    a.optional("first", m.first, d.first);
    a.optional("step", m.step, d.step);
    a.optional("at_once", m.at_once, d.at_once);
    a.optional("name", m.name, d.name);
}
template <class A>
void fields(A& a, Answer& m, const Answer& d) {
    a.required("code", m.code);
    a.required("job", m.job);
    a.optional("state", m.state, d.state);
    a.optional("text", m.text, d.text);
    a.optional("field", m.field, d.field);
    a.optional("retry_after_ms", m.retry_after_ms, d.retry_after_ms);
}
template <class A>
void fields(A& a, Answers& m, const Answers& d) {
    a.list("items", m.items);
    a.optional("in_flight", m.in_flight, d.in_flight);
}
template <class A>
void fields(A& a, Watch& m, const Watch&) {
    a.list("jobs", m.jobs);
}
template <class A>
void fields(A& a, ResultItem& m, const ResultItem& d) {
    a.payload(m.payload_length);
    a.required("job", m.job);
    a.required("state", m.state);
    a.optional("reason", m.reason, d.reason);
    a.optional("attempt", m.attempt, d.attempt);
    a.optional("error", m.error, d.error);
}
template <class A>
void fields(A& a, Results& m, const Results&) {
    a.list("items", m.items);
}
template <class A>
void fields(A& a, Grant& m, const Grant&) {
    a.required("total_bytes", m.total_bytes);
}
template <class A>
void fields(A& a, Cancel& m, const Cancel&) {
    a.list("jobs", m.jobs);
}
template <class A>
void fields(A& a, Redrive& m, const Redrive&) {
    a.list("jobs", m.jobs);
}
template <class A>
void fields(A& a, Change& m, const Change& d) {
    a.list("jobs", m.jobs);
    a.optional("priority", m.priority, d.priority);
    a.optional("queue", m.queue, d.queue);
    a.optional("held", m.held, d.held);
}
template <class A>
void fields(A& a, Edit& m, const Edit& d) {
    a.list("jobs", m.jobs);
    a.payload(m.payload_length);
    a.optional("new_payload", m.new_payload, d.new_payload);
    a.optional("type", m.type, d.type);
    a.optional("queue", m.queue, d.queue);
    a.optional("priority", m.priority, d.priority);
    a.optional("max_attempts", m.retry.max_attempts, d.retry.max_attempts);
    a.optional("timeout_ms", m.retry.timeout_ms, d.retry.timeout_ms);
    backoff_fields(a, m.retry.backoff);
}
template <class A>
void fields(A& a, SetQueue& m, const SetQueue& d) {
    a.required("queue", m.queue);
    a.optional("type", m.type, d.type);
    a.optional("paused", m.paused, d.paused);
    a.optional("by", m.by, d.by);
    a.optional("why", m.why, d.why);
    a.optional("max_running", m.max_running, d.max_running);
    a.optional("max_attempts", m.retry.max_attempts, d.retry.max_attempts);
    a.optional("timeout_ms", m.retry.timeout_ms, d.retry.timeout_ms);
    backoff_fields(a, m.retry.backoff);
}
template <class A>
void fields(A& a, Show& m, const Show& d) {
    a.list("jobs", m.jobs);
    a.since(1);
    a.optional("payload", m.payload, d.payload);
}
template <class A>
void fields(A& a, List& m, const List& d) {
    a.optional("state", m.state, d.state);
    a.optional("queue", m.queue, d.queue);
    a.optional("type", m.type, d.type);
    a.optional("cursor", m.cursor, d.cursor);
    a.optional("limit", m.limit, d.limit);
    a.since(1);
    a.optional("array", m.array, d.array);
}
template <class A>
void fields(A& a, JobItem& m, const JobItem&) {
    a.payload(m.payload_length);
    a.required("code", m.code);
    a.required("job", m.job);
}
template <class A>
void fields(A& a, Jobs& m, const Jobs&) {
    a.required("next_cursor", m.next_cursor);
    a.list("items", m.items);
}
template <class A>
void fields(A&, AskStats&, const AskStats&) {}
template <class A>
void fields(A& a, Stats& m, const Stats&) {
    a.payload(m.payload_length);
}
template <class A>
void fields(A& a, ReadEvents& m, const ReadEvents& d) {
    a.optional("after", m.after, d.after);
    a.optional("limit", m.limit, d.limit);
    a.optional("wait_ms", m.wait_ms, d.wait_ms);
    a.optional("queue", m.queue, d.queue);
    a.optional("type", m.type, d.type);
    a.optional("job", m.job, d.job);
    a.list("kinds", m.kinds);
}
template <class A>
void fields(A& a, MapItem& m, const MapItem&) {
    a.payload(m.payload_length);
}
template <class A>
void fields(A& a, Events& m, const Events& d) {
    a.required("last", m.last);
    a.optional("gone", m.gone, d.gone);
    a.optional("more", m.more, d.more);
    a.list("items", m.items);
}
template <class A>
void fields(A& a, ListQueues& m, const ListQueues& d) {
    a.optional("cursor", m.cursor, d.cursor);
    a.optional("limit", m.limit, d.limit);
    a.optional("name", m.name, d.name);
}
template <class A>
void fields(A& a, StartTask& m, const StartTask& d) {
    a.required("action", m.action);
    a.optional("state", m.state, d.state);
    a.optional("queue", m.queue, d.queue);
    a.optional("type", m.type, d.type);
    a.optional("reason", m.reason, d.reason);
    a.optional("error", m.error, d.error);
    a.optional("older_than_ms", m.older_than_ms, d.older_than_ms);
    a.optional("newer_than_ms", m.newer_than_ms, d.newer_than_ms);
    a.optional("count_only", m.count_only, d.count_only);
    a.optional("by", m.by, d.by);
    a.list("jobs", m.jobs);
    a.optional("nonce", m.nonce, d.nonce);
}
template <class A>
void fields(A& a, ListTasks& m, const ListTasks& d) {
    a.optional("task", m.task, d.task);
}
template <class A>
void fields(A& a, StopTask& m, const StopTask&) {
    a.required("task", m.task);
}
template <class A>
void fields(A& a, ListArrays& m, const ListArrays& d) {
    a.optional("cursor", m.cursor, d.cursor);
    a.optional("limit", m.limit, d.limit);
    a.optional("array", m.array, d.array);
}
template <class A>
void fields(A& a, SteerArray& m, const SteerArray& d) {
    a.required("array", m.array);
    a.required("action", m.action);
    a.optional("cancelled", m.cancelled, d.cancelled);
}
template <class A>
void fields(A& a, ListWorkers& m, const ListWorkers& d) {
    a.optional("cursor", m.cursor, d.cursor);
    a.optional("limit", m.limit, d.limit);
    a.optional("name", m.name, d.name);
}
template <class A>
void fields(A& a, Maps& m, const Maps& d) {
    a.optional("next", m.next, d.next);
    a.list("items", m.items);
}
template <class A>
void fields(A& a, SteerWorker& m, const SteerWorker&) {
    a.required("name", m.name);
    a.required("action", m.action);
}
template <class A>
void fields(A& a, DispatchItem& m, const DispatchItem& d) {
    a.payload(m.payload_length);
    lease_fields(a, m);
    a.required("attempt", m.attempt);
    a.required("queue", m.queue);
    a.required("type", m.type);
    a.optional("priority", m.priority, d.priority);
    a.optional("timeout_ms", m.timeout_ms, d.timeout_ms);
    a.optional("max_attempts", m.max_attempts, d.max_attempts);
    a.since(1);
    a.optional("array", m.array, d.array);
    a.optional("array_index", m.array_index, d.array_index);
}
template <class A>
void fields(A& a, Dispatch& m, const Dispatch&) {
    a.list("items", m.items);
}
template <class A>
void fields(A& a, Credit& m, const Credit&) {
    a.required("credit", m.credit);
}
template <class A>
void fields(A& a, Started& m, const Started&) {
    a.list("items", m.items);
}
template <class A>
void fields(A& a, RenewItem& m, const RenewItem& d) {
    lease_fields(a, m);
    a.optional("progress", m.progress, d.progress);
    a.optional("text", m.text, d.text);
}
template <class A>
void fields(A& a, Renew& m, const Renew&) {
    a.list("items", m.items);
}
template <class A>
void fields(A& a, CompleteItem& m, const CompleteItem& d) {
    a.payload(m.payload_length);
    lease_fields(a, m);
    a.optional("duration_ms", m.duration_ms, d.duration_ms);
}
template <class A>
void fields(A& a, Complete& m, const Complete&) {
    a.list("items", m.items);
}
template <class A>
void fields(A& a, FailItem& m, const FailItem& d) {
    a.payload(m.payload_length);
    lease_fields(a, m);
    a.optional("duration_ms", m.duration_ms, d.duration_ms);
    a.optional("outcome", m.outcome, d.outcome);
    a.optional("retryable", m.retryable, d.retryable);
    a.optional("error", m.error, d.error);
    a.optional("tail", m.tail, d.tail);
}
template <class A>
void fields(A& a, Fail& m, const Fail&) {
    a.list("items", m.items);
}
template <class A>
void fields(A& a, ReleaseItem& m, const ReleaseItem& d) {
    lease_fields(a, m);
    a.since(1);
    a.optional("delay_ms", m.delay_ms, d.delay_ms);
}
template <class A>
void fields(A& a, Release& m, const Release&) {
    a.list("items", m.items);
}
template <class A>
void fields(A& a, StopItem& m, const StopItem& d) {
    lease_fields(a, m);
    a.optional("reason", m.reason, d.reason);
}
template <class A>
void fields(A& a, Stop& m, const Stop&) {
    a.list("items", m.items);
}

using EncodedItems = std::vector<std::string_view>;

template <class T>
concept Scalar = std::is_arithmetic_v<T> || std::is_enum_v<T> || std::is_same_v<T, std::string_view> ||
    std::is_same_v<T, Uuid> || std::is_same_v<T, JobId> || std::is_same_v<T, LeaseToken>;

// --- writing ---------------------------------------------------------------------------------------------------------

void write(wire::Writer& out, bool value) { out.boolean(value); }
void write(wire::Writer& out, double value) { out.real(value); }
void write(wire::Writer& out, std::string_view value) { out.str(value); }
void write(wire::Writer& out, const Uuid& value) { value.is_nil() ? out.nil() : out.bin(value.view()); }
template <class Tag>
void write(wire::Writer& out, Id<Tag> value) {
    out.uint(value.value);
}
template <class T>
requires std::is_unsigned_v<T> || std::is_enum_v<T>
void write(wire::Writer& out, T value) { out.uint(static_cast<std::uint64_t>(value)); }
template <class T>
void write(wire::Writer& out, const std::optional<T>& value) {
    if (value) write(out, *value);
    else out.nil();
}

/// Counts the fields up to the last one that differs from its default: what follows need not be written.
struct Count {
    std::uint32_t seen = 0;
    std::uint32_t used = 0;
    [[no_unique_address]] Known knows = {};
    void since(std::uint8_t minor) { knows.since(minor); }
    template <class T>
    void required(const char*, const T&) {
        used = ++seen;
    }
    template <class T>
    void optional(const char*, const T& value, const T& fallback) {
        ++seen;
        if (knows() && !(value == fallback)) used = seen;
    }
    template <class T>
    void list(const char*, const std::vector<T>& items, const EncodedItems* encoded = nullptr) {
        ++seen;
        if (knows() && (!items.empty() || (encoded != nullptr && !encoded->empty()))) used = seen;
    }
    void payload(const std::uint32_t&) { used = seen += 2; }
};

template <class T>
void write_item(wire::Writer& out, T& item);

struct WriteFields {
    wire::Writer& out;
    std::uint32_t left;
    void since(std::uint8_t) {}  // Count has seen to it
    template <class T>
    void required(const char*, const T& value) {
        --left;
        write(out, value);
    }
    template <class T>
    void optional(const char*, const T& value, const T&) {
        if (left == 0) return;
        --left;
        write(out, value);
    }
    template <class T>
    void list(const char*, std::vector<T>& items, const EncodedItems* encoded = nullptr) {
        if (left == 0) return;
        --left;
        if (encoded != nullptr && !encoded->empty()) {
            out.array(static_cast<std::uint32_t>(encoded->size()));
            for (const std::string_view item : *encoded) out.raw(item);
            return;
        }
        out.array(static_cast<std::uint32_t>(items.size()));
        for (T& item : items) {
            if constexpr (Scalar<T>) write(out, item);
            else write_item(out, item);
        }
    }
    void payload(std::uint32_t& length) {
        left -= 2;
        out.uint(0);  // payload_kind: inline
        out.uint(length);
    }
};

template <class T>
void write_item(wire::Writer& out, T& item) {
    static const T kDefaults{};
    Count count;
    fields(count, item, kDefaults);
    out.array(count.used);
    WriteFields inner{out, count.used};
    fields(inner, item, kDefaults);
}

/// The greatest `since` of what is said.
struct Needs {
    std::uint8_t minor = 0;
    std::uint8_t newest = 0;
    void since(std::uint8_t now) { minor = now; }
    template <class T>
    void required(const char*, const T&) {}
    template <class T>
    void optional(const char*, const T& value, const T& fallback) {
        if (!(value == fallback)) newest = std::max(newest, minor);
    }
    template <class T>
    void list(const char*, std::vector<T>& items, const EncodedItems* = nullptr) {
        if (!items.empty()) newest = std::max(newest, minor);
        if constexpr (!Scalar<T>)
            for (T& item : items) {
                static const T kDefaults{};
                Needs inner;
                fields(inner, item, kDefaults);
                newest = std::max(newest, inner.newest);
            }
    }
    void payload(const std::uint32_t&) {}
};

// --- reading ---------------------------------------------------------------------------------------------------------

struct Problem {
    bool found = false;
    Code code = Code::bad_field;
    std::string field;
    std::string text;
};

bool read(wire::Reader& in, bool& value) {
    value = in.boolean();
    return true;
}
bool read(wire::Reader& in, double& value) {
    value = in.real();
    return true;
}
bool read(wire::Reader& in, std::string_view& value) {
    value = in.str();
    return true;
}
bool read(wire::Reader& in, Uuid& value) {
    const std::string_view bytes = in.bin();
    if (in.failed() || bytes.size() != 16) return false;
    value = uuid_from_bytes(bytes);
    return true;
}
template <class Tag>
bool read(wire::Reader& in, Id<Tag>& value) {
    value.value = in.uint();
    return true;
}
template <class T>
requires std::is_unsigned_v<T>
bool read(wire::Reader& in, T& value) {
    const std::uint64_t number = in.uint();
    if (number > std::numeric_limits<T>::max()) return false;
    value = static_cast<T>(number);
    return true;
}
template <class T>
requires std::is_enum_v<T>
bool read(wire::Reader& in, T& value) {
    std::underlying_type_t<T> number{};
    if (!read(in, number)) return false;
    value = static_cast<T>(number);  // values the receiver does not know are refused where they are used
    return true;
}

template <class T>
bool read(wire::Reader& in, std::optional<T>& value) {  // which is not nil: that is looked at before
    return read(in, value.emplace());
}

struct ReadFields {
    wire::Reader& in;
    std::uint32_t left;
    Problem& problem;
    std::uint64_t& payload_total;
    std::string_view list_name = {};
    std::size_t index = 0;
    [[no_unique_address]] Known knows = {};

    void since(std::uint8_t minor) { knows.since(minor); }
    std::string where(const char* name) const {
        if (list_name.empty()) return name;
        return std::string(list_name) + "[" + std::to_string(index) + "]." + name;
    }
    void complain(const char* name, const char* text, Code code = Code::bad_field) {
        if (!problem.found) problem = {true, code, where(name), text};
        in.fail();
    }
    template <class T>
    void value(const char* name, T& field) {
        --left;
        if (!read(in, field)) {
            complain(name, "the value is out of range");
        } else if (in.failed()) {
            complain(name, "the value is missing or of another type");
        }
    }
    template <class T>
    void required(const char* name, T& field) {
        if (problem.found) return;
        if (left == 0) return complain(name, "this field is required");
        value(name, field);
    }
    template <class T>
    void optional(const char* name, T& field, const T&) {
        if (problem.found || left == 0 || !knows()) return;
        if (in.take_nil()) {
            --left;
            return;
        }
        value(name, field);
    }
    template <class T>
    void list(const char* name, std::vector<T>& items, const EncodedItems* = nullptr) {
        if (problem.found || left == 0 || !knows()) return;
        --left;
        if (in.take_nil()) return;
        const std::uint32_t count = in.array();
        if (in.failed()) return complain(name, "expected a list");
        if (count > kMaxItems) return complain(name, "a list has at most 1024 items", Code::too_large);
        items.reserve(count);
        for (std::uint32_t i = 0; i < count && !problem.found; ++i) {
            T item{};
            if constexpr (Scalar<T>) {
                if (!read(in, item) || in.failed()) complain(name, "an item is of another type or out of range");
            } else {
                const std::uint32_t size = in.array();
                if (in.failed()) return complain(name, "every item is a list of fields");
                static const T kDefaults{};
                ReadFields inner{in, size, problem, payload_total, name, i};
                fields(inner, item, kDefaults);
                inner.skip_rest();
            }
            items.push_back(item);
        }
    }
    void payload(std::uint32_t& length) {
        std::uint8_t kind = 0;
        required("payload_kind", kind);
        if (!problem.found && kind != 0) return complain("payload_kind", "only 0 (inline) is spoken");
        required("payload_length", length);
        payload_total += length;
    }
    /// Fields of a newer minor version.
    void skip_rest() {
        for (; left > 0 && !in.failed(); --left) in.skip();
        if (in.failed() && !problem.found) problem = {true, Code::bad_message, {}, "the header ends inside a value"};
    }
};

// --- types -----------------------------------------------------------------------------------------------------------

struct TypeRow {
    std::uint8_t type;
    const char* name;
    std::uint8_t since = 0;
};
constexpr TypeRow kTypes[] = {
    {1, "HELLO"},
    {2, "WELCOME"},
    {3, "HEARTBEAT"},
    {4, "GOODBYE"},
    {5, "ERROR"},
    {10, "SUBMIT"},
    {11, "ANSWERS"},
    {12, "WATCH"},
    {13, "RESULTS"},
    {14, "GRANT"},
    {15, "CANCEL"},
    {16, "REDRIVE"},
    {17, "CHANGE", 1},
    {18, "SET_QUEUE", 1},
    {19, "SUBMIT_ARRAY", 1},
    {20, "SHOW"},
    {21, "LIST"},
    {22, "JOBS"},
    {23, "ASK_STATS"},
    {24, "STATS"},
    {25, "READ_EVENTS", 1},
    {26, "EVENTS", 1},
    {27, "LIST_QUEUES", 1},
    {28, "LIST_WORKERS", 1},
    {29, "MAPS", 1},
    {30, "DISPATCH"},
    {31, "CREDIT"},
    {32, "STARTED"},
    {33, "RENEW"},
    {34, "COMPLETE"},
    {35, "FAIL"},
    {36, "RELEASE"},
    {37, "STOP"},
    {41, "STEER_WORKER", 1},
    {42, "START_TASK", 1},
    {43, "LIST_TASKS", 1},
    {44, "STOP_TASK", 1},
    {45, "LIST_ARRAYS", 1},
    {46, "STEER_ARRAY", 1},
    {47, "EDIT", 1},
};
static_assert(std::size(kTypes) == std::variant_size_v<Message>);

template <std::size_t Index = 0>
bool emplace_type(std::uint8_t type, Message& message) {
    if constexpr (Index < std::variant_size_v<Message>) {
        if (kTypes[Index].type == type && kTypes[Index].since <= kMinor) {
            message.emplace<Index>();
            return true;
        }
        return emplace_type<Index + 1>(type, message);
    } else {
        return false;
    }
}

constexpr std::uint32_t kPrefix = 4;  // version, type, session, request

}  // namespace

std::uint8_t message_type(const Message& message) { return kTypes[message.index()].type; }
const char* message_name(const Message& message) { return kTypes[message.index()].name; }

std::uint8_t protocol_minor() { return kMinor; }

std::uint8_t minor_of(const Message& constant) {
    Message& message = const_cast<Message&>(constant);  // as in encode_header
    Needs needs;
    std::visit(
        [&]<class T>(T& kind) {
            static const T kDefaults{};
            fields(needs, kind, kDefaults);
        },
        message);
    return std::max(needs.newest, kTypes[message.index()].since);
}

std::uint8_t minor_of(const SubmitItem& item) {
    static const SubmitItem kDefaults{};
    Needs needs;
    fields(needs, const_cast<SubmitItem&>(item), kDefaults);
    return needs.newest;
}

EncodedItem encode_item(const SubmitItem& constant, std::string& out) {
    SubmitItem& item = const_cast<SubmitItem&>(constant);  // as in encode_header
    const std::size_t begin = out.size();
    {
        wire::Writer writer(out);
        write_item(writer, item);
    }
    return {std::string_view(out).substr(begin), minor_of(item), item.watch, !item.key.empty()};
}

std::string protocol_text(unsigned version, unsigned minor) {
    return std::to_string(version) + "." + std::to_string(minor);
}

void encode_header(const Envelope& envelope, std::string& out) {
    wire::Writer writer(out);
    std::visit(
        [&]<class T>(const T& constant) {
            T& message = const_cast<T&>(constant);  // `fields` serves both directions; writing changes nothing
            static const T kDefaults{};
            Count count;
            fields(count, message, kDefaults);
            writer.array(kPrefix + count.used);
            writer.uint(kProtocolVersion);
            writer.uint(message_type(envelope.message));
            writer.uint(envelope.session.value);
            writer.uint(envelope.request.value);
            WriteFields archive{writer, count.used};
            fields(archive, message, kDefaults);
        },
        envelope.message);
}

namespace {

// Not in decode_header, where these many words would cost every message a twentieth of its time.
[[gnu::noinline]] std::string about_version(std::uint64_t version) {
    return "this side speaks protocol version " + std::to_string(kProtocolVersion) +
           ", and the message is of version " + std::to_string(version);
}
[[gnu::noinline]] std::string about_type(std::uint64_t type) {
    return "message type " + std::to_string(type) + " is not known here, where protocol " +
           protocol_text(kProtocolVersion, kMinor) + " is spoken";
}

}  // namespace

std::variant<Envelope, DecodeError> decode_header(std::string_view header, std::size_t payload_size) {
    DecodeError error;
    const auto refuse = [&](Code code, std::string text, std::string field = {}) {
        error.code = code;
        error.text = std::move(text);
        error.field = std::move(field);
        return error;
    };
    if (header.size() > kMaxHeaderBytes || header.size() + payload_size > kMaxMessageBytes)
        return refuse(Code::too_large, "a header has at most 64 KiB and a message at most 2 MiB");
    wire::Reader in(header);
    const std::uint32_t count = in.array();
    const std::uint64_t version = in.uint();
    const std::uint64_t type = in.uint();
    const std::uint64_t session = in.uint();
    const std::uint64_t request = in.uint();
    if (in.failed() || count < kPrefix)
        return refuse(Code::bad_message, "the first frame must be a list that begins version, type, session, request");
    error.session = {session};
    error.request = {request};
    if (version != kProtocolVersion) return refuse(Code::version_not_spoken, about_version(version), "version");
    Envelope envelope{{session}, {request}, {}};
    if (type > 255 || !emplace_type(static_cast<std::uint8_t>(type), envelope.message))
        return refuse(Code::unknown_message, about_type(type), "type");
    Problem problem;
    std::uint64_t payload_total = 0;
    std::visit(
        [&]<class T>(T& message) {
            static const T kDefaults{};
            ReadFields archive{in, count - kPrefix, problem, payload_total};
            fields(archive, message, kDefaults);
            archive.skip_rest();
        },
        envelope.message);
    if (problem.found) return refuse(problem.code, problem.text, problem.field);
    if (!in.at_end()) return refuse(Code::bad_message, "bytes follow the header's list");
    if (payload_total != payload_size)
        return refuse(Code::bad_message, "the items' payload lengths sum to " + std::to_string(payload_total) +
                                             " but the second frame has " + std::to_string(payload_size) + " bytes");
    return envelope;
}

bool is_clean_text(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if (byte < 0x20 || byte == 0x7f) return false;
        if (byte < 0x80) {
            ++i;
            continue;
        }
        const int length = byte >= 0xc2 && byte < 0xe0   ? 2
                           : (byte & 0xf0U) == 0xe0      ? 3
                           : byte >= 0xf0 && byte < 0xf5 ? 4
                                                         : 0;
        if (length == 0 || text.size() - i < static_cast<std::size_t>(length)) return false;
        std::uint32_t point = byte & (0xffU >> (length + 1));
        for (int k = 1; k < length; ++k) {
            const auto next = static_cast<unsigned char>(text[i + static_cast<std::size_t>(k)]);
            if ((next & 0xc0U) != 0x80) return false;
            point = point << 6U | (next & 0x3fU);
        }
        const bool shortest = length == 2 || (length == 3 && point >= 0x800) || (length == 4 && point >= 0x10000);
        if (!shortest || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff) || (point >= 0x80 && point < 0xa0))
            return false;
        i += static_cast<std::size_t>(length);
    }
    return true;
}

bool is_name(std::string_view text) { return !text.empty() && text.size() <= kMaxNameBytes && is_clean_text(text); }

}  // namespace jobyard
