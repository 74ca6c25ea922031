#include "record.hpp"

#include <algorithm>
#include <optional>
#include <type_traits>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "jobyard/result.hpp"
#include "wire.hpp"

// As in codec.cpp, each row names its fields once; the two archives below make that list write and read.

namespace jobyard::broker {
namespace {

constexpr std::size_t kPrefixBytes = 5;  // version, checksum

std::uint32_t checksum(std::string_view bytes) {
    return static_cast<std::uint32_t>(XXH3_64bits(bytes.data(), bytes.size()));
}

/// Counts the fields up to the last one that must be written.
struct CountRow {
    std::uint32_t seen = 0;
    std::uint32_t used = 0;
    template <class T>
    void operator()(const T&) {
        used = ++seen;
    }
    template <class T>
    void rare(const T& value, const T& usual) {
        ++seen;
        if (!(value == usual)) used = seen;
    }
};

struct WriteRow {
    wire::Writer& out;
    std::uint32_t left;
    template <class T>
    void operator()(const T& value) {
        --left;
        if constexpr (std::is_same_v<T, bool>) out.boolean(value);
        else if constexpr (std::is_same_v<T, std::string_view>) out.str(value);
        else if constexpr (std::is_same_v<T, Uuid>) out.bin(value.view());
        else if constexpr (std::is_same_v<T, ContentHash>)
            out.bin({reinterpret_cast<const char*>(value.data()), value.size()});
        else if constexpr (std::is_enum_v<T>) out.uint(static_cast<std::uint64_t>(value));
        else if constexpr (std::is_same_v<T, std::int64_t>) out.integer(value);
        else if constexpr (std::is_unsigned_v<T>) out.uint(value);
        else if constexpr (std::is_same_v<T, std::optional<std::uint32_t>>) out.uint(value.value_or(kUnset));
        else out.uint(value.value);  // an Id
    }
    template <class T>
    void rare(const T& value, const T&) {
        if (left > 0) (*this)(value);
    }
};

struct ReadRow {
    wire::Reader& in;
    std::uint32_t left;
    template <class T>
    void operator()(T& value) {
        if (left == 0) return;  // it has its usual value, or was written before this field existed
        --left;
        if constexpr (std::is_same_v<T, bool>) value = in.boolean();
        else if constexpr (std::is_same_v<T, std::string_view>) value = in.str();
        else if constexpr (std::is_same_v<T, Uuid> || std::is_same_v<T, ContentHash>) {
            const std::string_view bytes = in.bin();
            if (bytes.size() != 16) return in.fail();
            if constexpr (std::is_same_v<T, Uuid>) value = uuid_from_bytes(bytes);
            else std::memcpy(value.data(), bytes.data(), 16);
        } else if constexpr (std::is_enum_v<T>) value = static_cast<T>(in.uint());
        else if constexpr (std::is_same_v<T, std::int64_t>) value = in.integer();
        else if constexpr (std::is_unsigned_v<T>) value = static_cast<T>(in.uint());
        else if constexpr (std::is_same_v<T, std::optional<std::uint32_t>>) {
            const auto number = static_cast<std::uint32_t>(in.uint());
            value = number == kUnset ? std::nullopt : std::optional(number);
        } else value.value = in.uint();
    }
    template <class T>
    void rare(T& value, const T&) {
        (*this)(value);
    }
};

// A row of a job is written for every job, so what nearly always has its usual value (`u`) stands at the end, where it
// need not be written.
template <class A>
void fields(A& a, LiveRow& r, const LiveRow& u) {
    a(r.queue), a(r.type), a(r.created_at), a(r.payload_size);
    a.rare(r.priority, u.priority), a.rare(r.chunks, u.chunks), a.rare(r.delay_ms, u.delay_ms);
    a.rare(r.timeout_ms, u.timeout_ms), a.rare(r.max_attempts, u.max_attempts);
    a.rare(r.backoff.initial_ms, u.backoff.initial_ms), a.rare(r.backoff.factor_percent, u.backoff.factor_percent);
    a.rare(r.backoff.max_ms, u.backoff.max_ms), a.rare(r.backoff.jitter_percent, u.backoff.jitter_percent);
    a.rare(r.key, u.key), a.rare(r.content, u.content);
    a.rare(r.deadline_ms, u.deadline_ms), a.rare(r.queue_timeout_ms, u.queue_timeout_ms), a.rare(r.held, u.held);
    a.rare(r.key_ttl_ms, u.key_ttl_ms);
    a.rare(r.array, u.array), a.rare(r.array_index, u.array_index);
    a.rare(r.owner, u.owner);
}
template <class A>
void fields(A& a, EndRow& r, const EndRow& u) {
    a(r.state), a(r.queue), a(r.type), a(r.created_at), a(r.ended_at), a(r.payload_size);
    a(r.last.outcome), a(r.last.attempt), a(r.last.worker), a(r.last.token), a(r.last.started_at);
    a.rare(r.result_size, u.result_size), a.rare(r.priority, u.priority), a.rare(r.reason, u.reason);
    a.rare(r.max_attempts, u.max_attempts), a.rare(r.timeout_ms, u.timeout_ms), a.rare(r.errors, u.errors);
    a.rare(r.crashes, u.crashes), a.rare(r.attempts, u.attempts), a.rare(r.payload_chunks, u.payload_chunks);
    a.rare(r.result_chunks, u.result_chunks), a.rare(r.last.ended_at, u.last.ended_at);
    a.rare(r.last.error, u.last.error), a.rare(r.last.tail, u.last.tail);
    a.rare(r.key, u.key), a.rare(r.content, u.content), a.rare(r.key_ttl_ms, u.key_ttl_ms);
    a.rare(r.array, u.array), a.rare(r.array_index, u.array_index);
    a.rare(r.edited_at, u.edited_at);
}
template <class A>
void fields(A& a, StateRow& r, const StateRow& u) {
    a(r.order), a(r.errors), a(r.crashes), a(r.attempts), a(r.token_floor), a(r.due_at), a(r.pause_ms),
        a(r.cancel_requested);
    a.rare(r.priority, u.priority), a.rare(r.scheduled, u.scheduled), a.rare(r.held, u.held);
    a.rare(r.queue, u.queue), a.rare(r.round_at, u.round_at), a.rare(r.ready_at, u.ready_at);
}
template <class A>
void fields(A& a, QueueRow& r, const QueueRow& u) {
    a(r.paused), a(r.max_running);
    a.rare(r.paused_at, u.paused_at), a.rare(r.by, u.by), a.rare(r.why, u.why);
    a.rare(r.retry.max_attempts, u.retry.max_attempts), a.rare(r.retry.timeout_ms, u.retry.timeout_ms);
    BackoffPolicy& backoff = r.retry.backoff;
    a.rare(backoff.initial_ms, {}), a.rare(backoff.factor_percent, {}), a.rare(backoff.max_ms, {});
    a.rare(backoff.jitter_percent, {});
}
template <class A>
void fields(A& a, AttemptRow& r, const AttemptRow&) {
    a(r.attempt), a(r.worker), a(r.token), a(r.started_at), a(r.ended_at), a(r.outcome), a(r.error), a(r.tail);
}
template <class A>
void fields(A& a, KeyRow& r, const KeyRow&) {
    a(r.job), a(r.content), a(r.state);
}
template <class A>
void fields(A& a, WorkerRow& r, const WorkerRow& u) {
    a(r.instance), a(r.name), a.rare(r.draining, u.draining);
}
template <class A>
void fields(A& a, NumbersRow& r, const NumbersRow&) {
    a(r.next_job), a(r.next_event), a(r.next_instance), a(r.next_worker), a(r.submitted_total), a(r.completed_total);
    a(r.cancelled_total), a(r.dead_total), a(r.retried_total), a(r.done_rows), a(r.done_bytes), a(r.dead_rows);
    a(r.event_bytes), a(r.key_rows), a(r.next_task), a(r.keys_freed_to);
}
template <class A>
void fields(A& a, TaskRow& r, const TaskRow& u) {
    a(r.action), a(r.state), a(r.count_only), a(r.job_state), a(r.reason), a(r.queue), a(r.type), a(r.error);
    a(r.made_before), a(r.made_after), a(r.by), a(r.started_at), a(r.ended_at), a(r.cursor), a(r.end), a(r.total);
    a(r.looked), a(r.done), a(r.refused), a(r.only), a.rare(r.nonce, u.nonce);
}

template <class A>
void fields(A& a, ArrayRow& r, const ArrayRow& u) {
    a(r.name), a(r.count), a(r.first), a(r.step), a(r.at_once), a(r.of), a(r.cancelled), a(r.makes), a(r.cancels);
    a(r.made), a(r.cursor), a(r.completed), a(r.dead), a(r.cancelled_jobs), a(r.buried), a(r.left_dead);
    a(r.left_cancelled), a(r.resubmitted_as), a(r.ended_at), a.rare(r.is_leaving, u.is_leaving);
}
template <class A>
void fields(A& a, LeftoverRow& r, const LeftoverRow&) {
    a(r.job), a(r.state), a(r.bytes);
}
template <class A>
void fields(A& a, ClassRow& r, const ClassRow&) {
    a(r.queue), a(r.type);
}

std::size_t begin_row(std::string& arena) {
    const std::size_t start = arena.size();
    constexpr char kPrefix[kPrefixBytes] = {static_cast<char>(kFormatVersion)};
    arena.append(kPrefix, sizeof kPrefix);
    return start;
}

Slice finish_row(Batch& batch, std::size_t start) {
    std::string& arena = batch.arena();
    const std::uint32_t sum = checksum(std::string_view(arena).substr(start + kPrefixBytes));
    std::memcpy(arena.data() + start + 1, &sum, sizeof sum);
    return batch.appended(start);
}

template <class R>
Slice append_fields(Batch& batch, const R& row, std::string_view tail = {}) {
    std::string& arena = batch.arena();
    const std::size_t start = begin_row(arena);
    R& mutable_row = const_cast<R&>(row);  // `fields` serves both directions; writing changes nothing
    static const R kUsual{};
    CountRow count;
    fields(count, mutable_row, kUsual);
    wire::Writer out(arena);
    out.array(count.used);
    WriteRow write{out, count.used};
    fields(write, mutable_row, kUsual);
    out.flush();
    arena.append(tail);
    return finish_row(batch, start);
}

bool open_row(std::string_view bytes, std::string_view& body) {
    if (bytes.size() < kPrefixBytes || static_cast<std::uint8_t>(bytes[0]) != kFormatVersion) return false;
    std::uint32_t sum = 0;
    std::memcpy(&sum, bytes.data() + 1, sizeof sum);
    body = bytes.substr(kPrefixBytes);
    return sum == checksum(body);
}

template <class R>
bool read_fields(std::string_view bytes, R& row, std::string_view* tail = nullptr) {
    std::string_view body;
    if (!open_row(bytes, body)) return false;
    row = R{};
    wire::Reader in(body);
    ReadRow read{in, in.array()};
    fields(read, row, row);
    for (; read.left > 0 && !in.failed(); --read.left) in.skip();
    if (tail != nullptr) *tail = in.rest();
    return !in.failed();
}

}  // namespace

Slice append_row(Batch& batch, const LiveRow& row) { return append_fields(batch, row, row.payload); }
Slice append_row(Batch& batch, const StateRow& row) { return append_fields(batch, row); }
Slice append_row(Batch& batch, const AttemptRow& row) { return append_fields(batch, row); }
Slice append_row(Batch& batch, const EndRow& row) {
    // The last attempt nearly always ended with the job.
    if (row.last.ended_at != row.ended_at) return append_fields(batch, row, row.result);
    EndRow shorter = row;
    shorter.last.ended_at = 0;
    return append_fields(batch, shorter, row.result);
}
Slice append_row(Batch& batch, const KeyRow& row) { return append_fields(batch, row); }
Slice append_row(Batch& batch, const QueueRow& row) { return append_fields(batch, row); }
Slice append_row(Batch& batch, const TaskRow& row) { return append_fields(batch, row); }
Slice append_row(Batch& batch, const ArrayRow& row) { return append_fields(batch, row); }
Slice append_row(Batch& batch, const LeftoverRow& row) { return append_fields(batch, row); }
Slice append_row(Batch& batch, const WorkerRow& row) { return append_fields(batch, row); }
Slice append_row(Batch& batch, const ClassRow& row) { return append_fields(batch, row); }
Slice append_row(Batch& batch, const NumbersRow& row) { return append_fields(batch, row); }

Slice append_row(Batch& batch, const InstanceRow& row) {
    std::string& arena = batch.arena();
    const std::size_t start = begin_row(arena);
    wire::Writer out(arena);
    out.array(row.key.empty() ? 3 : 4);
    out.bin(row.instance.view());
    out.uint(row.confirmed);
    out.array(static_cast<std::uint32_t>(row.runs.size() * 3));
    for (const Run& run : row.runs) {
        out.uint(run.first);
        out.uint(run.count);
        out.uint(run.first_job);
    }
    if (!row.key.empty()) out.str(row.key);
    out.flush();
    return finish_row(batch, start);
}

namespace {

/// Whoever puts a job into a place by it relies on it.
bool is_priority(std::uint8_t value) { return value >= kPriorityMin && value <= kPriorityMax; }

}  // namespace

bool read_row(std::string_view bytes, LiveRow& row) {
    return read_fields(bytes, row, &row.payload) && is_priority(row.priority);
}
bool read_row(std::string_view bytes, StateRow& row) {
    return read_fields(bytes, row) && (row.priority == 0 || is_priority(row.priority));
}
bool read_row(std::string_view bytes, AttemptRow& row) { return read_fields(bytes, row); }
bool read_row(std::string_view bytes, EndRow& row) {
    if (!read_fields(bytes, row, &row.result) || !is_priority(row.priority)) return false;
    if (row.last.ended_at == 0 && row.last.outcome != Outcome::none) row.last.ended_at = row.ended_at;
    return true;
}
bool read_row(std::string_view bytes, KeyRow& row) { return read_fields(bytes, row); }
bool read_row(std::string_view bytes, QueueRow& row) { return read_fields(bytes, row); }
bool read_row(std::string_view bytes, TaskRow& row) { return read_fields(bytes, row); }
bool read_row(std::string_view bytes, ArrayRow& row) { return read_fields(bytes, row); }
bool read_row(std::string_view bytes, LeftoverRow& row) { return read_fields(bytes, row); }
bool read_row(std::string_view bytes, WorkerRow& row) { return read_fields(bytes, row); }
bool read_row(std::string_view bytes, ClassRow& row) { return read_fields(bytes, row); }
bool read_row(std::string_view bytes, NumbersRow& row) { return read_fields(bytes, row); }

bool read_row(std::string_view bytes, InstanceRow& row) {
    std::string_view body;
    if (!open_row(bytes, body)) return false;
    wire::Reader in(body);
    const std::uint32_t there = in.array();
    if (there < 3) return false;
    const std::string_view id = in.bin();
    if (id.size() != 16) return false;
    row.instance = uuid_from_bytes(id);
    row.confirmed = in.uint();
    row.runs.clear();
    for (std::uint32_t left = in.array() / 3; left > 0 && !in.failed(); --left) {
        Run& run = row.runs.emplace_back();
        run.first = in.uint();
        run.count = in.uint();
        run.first_job = in.uint();
    }
    row.key = there > 3 ? in.str() : std::string_view{};
    return !in.failed();
}

EventsRow::Subject EventsRow::subject_of(const Entry& entry) const {
    if (entry.subject == 0) return {};
    const auto word = [this](std::uint32_t place) { return place == 0 ? std::string_view{} : words[place - 1]; };
    const auto& [queue, type, worker, text] = subjects[entry.subject - 1];
    return {word(queue), word(type), word(worker), word(text)};
}

namespace {

constexpr std::size_t kRunFields = 4;         // beside the classes
constexpr std::uint64_t kEachOfItsClass = 1;  // the lowest bit of how many jobs a run has; else all have one class
constexpr std::uint32_t kSubjectFields = std::tuple_size_v<EventsRow::Places>;

/// Behind the entries that follow the first one, each the one before it.
std::size_t end_of_run(const std::vector<EventsRow::Entry>& entries, std::size_t first) {
    std::size_t end = first + 1;
    while (end < entries.size() && entries[end].follows(entries[end - 1])) ++end;
    return end;
}

}  // namespace

Slice append_row(Batch& batch, const EventsRow& row) {
    std::string& arena = batch.arena();
    const std::size_t start = begin_row(arena);
    wire::Writer out(arena);
    out.array(5);
    out.integer(row.wall);
    out.uint(row.epoch);
    std::size_t fields = row.events.size();
    for (std::size_t at = 0; at < row.events.size(); at = end_of_run(row.events, at)) fields += kRunFields;
    out.array(static_cast<std::uint32_t>(fields));
    std::uint64_t expected = 0;  // jobs are written as the distance from where the run before ended: mostly 0
    for (std::size_t at = 0; at < row.events.size();) {
        const std::size_t end = end_of_run(row.events, at);
        const EventsRow::Entry& first = row.events[at];
        out.uint(first.kind);
        out.integer(static_cast<std::int64_t>(first.job.value - expected));
        out.uint(first.subject);
        out.uint(end - at == 1 ? first.count << 1U : (end - at) << 1U | kEachOfItsClass);
        for (; at < end; ++at) out.uint(row.events[at].class_number);
        expected = row.events[end - 1].job.value + row.events[end - 1].count;
    }
    out.array(static_cast<std::uint32_t>(row.subjects.size() * kSubjectFields));
    for (const EventsRow::Places& subject : row.subjects)
        for (const std::uint32_t place : subject) out.uint(place);
    out.array(static_cast<std::uint32_t>(row.words.size()));
    for (const std::string_view word : row.words) out.str(word);
    out.flush();
    return finish_row(batch, start);
}

bool read_row(std::string_view bytes, EventsRow& row) {
    std::string_view body;
    if (!open_row(bytes, body)) return false;
    wire::Reader in(body);
    if (in.array() < 5) return false;
    row.wall = in.integer();
    row.epoch = static_cast<std::uint32_t>(in.uint());
    row.events.clear();
    row.subjects.clear();
    row.words.clear();
    std::uint64_t expected = 0;
    std::uint64_t last_subject = 0;
    for (std::size_t left = in.array(); left > 0 && !in.failed();) {
        EventsRow::Entry entry;
        entry.kind = static_cast<std::uint8_t>(in.uint());
        entry.job.value = expected + static_cast<std::uint64_t>(in.integer());
        entry.subject = static_cast<std::uint32_t>(in.uint());
        const std::uint64_t jobs = in.uint();
        const bool each_of_its_class = (jobs & kEachOfItsClass) != 0;
        entry.count = each_of_its_class ? 1 : jobs >> 1U;
        const std::uint64_t entries = each_of_its_class ? jobs >> 1U : 1;
        if (left < kRunFields || left - kRunFields < entries) return false;
        left -= kRunFields + entries;
        for (std::uint64_t n = 0; n < entries && !in.failed(); ++n) {
            entry.class_number = static_cast<std::uint32_t>(in.uint());
            row.events.push_back(entry);
            entry.job.value += entry.count;
        }
        expected = entry.job.value;
        last_subject = std::max<std::uint64_t>(last_subject, entry.subject);
    }
    std::uint64_t last_place = 0;
    for (std::uint32_t left = in.array() / kSubjectFields; left > 0 && !in.failed(); --left)
        for (std::uint32_t& place : row.subjects.emplace_back()) {
            place = static_cast<std::uint32_t>(in.uint());
            last_place = std::max<std::uint64_t>(last_place, place);
        }
    for (std::uint32_t left = in.array(); left > 0 && !in.failed(); --left) row.words.push_back(in.str());
    return !in.failed() && last_subject <= row.subjects.size() && last_place <= row.words.size();
}

std::string job_key(JobId job) { return big_endian(job.value); }

std::string job_part_key(JobId job, std::uint32_t part) { return big_endian(job.value) + big_endian(part).substr(4); }

std::string class_key(std::uint32_t epoch, std::uint32_t number) { return job_part_key({epoch}, number); }

std::string array_index_key(JobId array, std::uint64_t index) { return job_key(array) + big_endian(index); }

std::string name_pair_key(std::string_view queue, std::string_view name) {
    std::string key(queue);
    key.push_back('\0');
    key.append(name);
    return key;
}

std::string key_end(std::int64_t ended_at, std::uint64_t ttl_ms) {
    return big_endian(static_cast<std::uint64_t>(ended_at) + ttl_ms);
}

ContentHash content_hash(const SubmitItem& item, std::string_view payload, const SubmitArray* array) {
    std::string text;
    wire::Writer out(text);
    out.str(item.type);
    out.uint(item.priority);
    out.uint(item.delay_ms);
    const Backoff usual;
    out.uint(item.timeout_ms.value_or(kDefaultTimeoutMs));
    out.uint(item.max_attempts.value_or(kDefaultMaxAttempts));
    out.uint(item.backoff.initial_ms.value_or(usual.initial_ms));
    out.uint(item.backoff.factor_percent.value_or(usual.factor_percent));
    out.uint(item.backoff.max_ms.value_or(usual.max_ms));
    out.uint(item.backoff.jitter_percent.value_or(usual.jitter_percent));
    const SubmitItem plain;
    const auto rare = [&](std::uint64_t which, std::uint64_t value, std::uint64_t unless) {
        if (value != unless) out.uint(which), out.uint(value);
    };
    rare(1, item.run_at, plain.run_at);
    rare(2, item.deadline_ms, plain.deadline_ms);
    rare(3, item.queue_timeout_ms, plain.queue_timeout_ms);
    rare(4, item.held, plain.held);
    rare(5, item.key_ttl_ms, plain.key_ttl_ms);
    if (array != nullptr)
        for (const std::uint64_t number : {std::uint64_t{6}, array->count, array->first, array->step}) out.uint(number);
    out.flush();
    text.append(payload);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(text.data(), text.size()));
    ContentHash hash;
    std::memcpy(hash.data(), canonical.digest, hash.size());
    return hash;
}

}  // namespace jobyard::broker
