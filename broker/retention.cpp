// What is forgotten, and when: ended jobs by age, count and bytes, dead ones by age and count, keys when their time
// after the job's end is over, the oldest events. One bounded step at a time, each a page of rows that the edge reads;
// what a step decides goes into the open batch like everything else. Nothing here is remembered across a restart: the
// limits say again what to do.
//
// A step takes twice as many rows as have ended since the one before, up to as many as can end in a turn, so that
// retention can neither be starved by load nor make others wait for long; when little ends, a few rows a millisecond.
// Less than kWorthAStep over a limit waits a moment for more, because each step costs a read. What the store does not
// have yet is left for later: at its end, or at rows that it does not know to be erased, a table rests for a moment.

#include <algorithm>

#include "core.hpp"

namespace jobyard::broker {
namespace {

constexpr std::uint64_t kFewestRows = 250;
constexpr std::uint64_t kMostRows = 4096;
constexpr std::uint64_t kWorthAStep = 1000;
constexpr std::uint64_t kEventsRowBytes = 100;  // of a small one: the step leaves what need not go
constexpr std::int64_t kTrimEveryMs = 100;
constexpr std::int64_t kPassEveryMs = 60'000;  // how often tables are looked through for what is too old

}  // namespace

/// About how many rows a table is over its limits.
std::uint64_t Core::rows_over(Task task) const {
    const Limits& limits = config_.limits;
    const auto over = [](std::uint64_t value, std::uint64_t limit) { return value > limit ? value - limit : 0; };
    // At the rows' average size.
    const auto over_bytes = [&](std::uint64_t bytes, std::uint64_t limit, std::uint64_t row_bytes) {
        return bytes > limit ? (bytes - limit) / std::max<std::uint64_t>(row_bytes, 1) + 1 : 0;
    };
    switch (task) {
        case Task::done:
            return std::max(over(numbers_.done_rows, limits.kept_jobs),
                            over_bytes(numbers_.done_bytes, limits.kept_bytes,
                                       numbers_.done_bytes / std::max<std::uint64_t>(numbers_.done_rows, 1)));
        case Task::dead: return over(numbers_.dead_rows, limits.dead_jobs);
        case Task::events: return over_bytes(numbers_.event_bytes, limits.events_bytes, kEventsRowBytes);
        default: return 0;
    }
}

/// When a table that is over its limits is to be looked at again.
std::int64_t Core::trim_due(Task task) const {
    const std::uint64_t rows = rows_over(task);
    if (rows == 0) return INT64_MAX;
    return std::max({pass_of(task).rests_until, next_step_, rows < kWorthAStep ? next_trim_ : 0});
}

/// When there is a step to take.
std::int64_t Core::next_agenda() const {
    if (step_ != Task::none) return INT64_MAX;
    std::int64_t next = std::min(
        {trim_due(Task::done), trim_due(Task::dead), trim_due(Task::events), next_bulk_step(), next_array_step()});
    for (const auto& [task, rows] :
         {std::pair(Task::done, numbers_.done_rows), {Task::dead, numbers_.dead_rows}, {Task::keys, numbers_.key_rows}})
        if (const Pass& pass = pass_of(task); pass.under_way && rows > 0)
            next = std::min(next, std::max(pass.rests_until, next_step_));
    return next;
}

std::vector<Need> Core::agenda_needs(Turn turn) {
    if (step_ != Task::none || turn.now < next_step_) return {};
    const std::uint64_t ended = numbers_.completed_total + numbers_.cancelled_total + numbers_.dead_total;
    const auto begin = [&](Task task, Table table, bool for_age, std::uint64_t over = kMostRows) {
        step_ = task;
        step_is_for_age_ = for_age;
        next_step_ = turn.now + 1;
        // Twice what has ended since the step before, so that it catches up. Not what has ended while it rested: a step
        // of thousands is felt by all whose jobs are in its batch.
        const bool has_rested = turn.now - stepped_at_ >= kTrimEveryMs / 2;
        const std::uint64_t rows =
            has_rested ? kFewestRows : std::clamp(2 * (ended - ended_at_step_), kFewestRows, kMostRows);
        ended_at_step_ = ended;
        stepped_at_ = turn.now;
        const Pass& pass = pass_of(task);
        const std::string& cursor = for_age ? pass.cursor : pass.trim_cursor;
        std::vector<Need> needs{
            {Need::Kind::after, table, cursor, static_cast<std::uint32_t>(std::min(over, rows)), true}};
        if (task == Task::events && classes_erased_before_ < classes_unneeded_before_)
            needs.push_back({Need::Kind::after, Table::classes, {}, static_cast<std::uint32_t>(kMostRows), true});
        return needs;
    };
    // Many jobs at once and retention take turns, so that neither waits for the other for long; so do tasks and arrays.
    const auto bulk = [&] {
        for (int n = 0; n < 2; ++n) {
            arrays_were_last_ = !arrays_were_last_;
            auto needs = arrays_were_last_ ? array_needs(turn) : bulk_needs(turn);
            bulk_was_last_ = !needs.empty();
            if (!bulk_was_last_) continue;
            step_ = arrays_were_last_ ? Task::arrays : Task::bulk;
            next_step_ = turn.now + 1;
            return needs;
        }
        return std::vector<Need>{};
    };
    if (!bulk_was_last_)
        if (auto needs = bulk(); !needs.empty()) return needs;
    bulk_was_last_ = false;
    const auto pass_is_due = [&](Task task) {
        Pass& due = pass_of(task);
        if (!due.under_way && turn.now >= due.next_at) due.under_way = true;
        return due.under_way && turn.now >= due.rests_until;
    };
    for (const auto& [task, table] :
         {std::pair(Task::done, Table::done), {Task::dead, Table::dead}, {Task::events, Table::events}}) {
        if (turn.now < trim_due(task)) continue;
        next_trim_ = turn.now + kTrimEveryMs;
        return begin(task, table, false, rows_over(task));
    }
    if (numbers_.done_rows > 0 && pass_is_due(Task::done)) return begin(Task::done, Table::done, true);
    if (numbers_.dead_rows > 0 && pass_is_due(Task::dead)) return begin(Task::dead, Table::dead, true);
    if (numbers_.key_rows > 0 && pass_is_due(Task::keys)) return begin(Task::keys, Table::key_ends, true);
    return bulk();
}

void Core::agenda_step(const Found& found, Turn turn, Output& out) {
    const Task task = std::exchange(step_, Task::none);
    if (task == Task::bulk) return bulk_step(found, turn, out);
    if (task == Task::arrays) return array_step(found, turn, out);
    const Limits& limits = config_.limits;
    Pass& pass = pass_of(task);
    std::string& cursor = step_is_for_age_ ? pass.cursor : pass.trim_cursor;
    bool more = false;
    std::string_view last_erased;  // of events
    const Table table = task == Task::done   ? Table::done
                        : task == Task::dead ? Table::dead
                        : task == Task::keys ? Table::key_ends
                                             : Table::events;
    if (task == Task::events && classes_erased_before_ < classes_unneeded_before_) forget_classes(found, out);
    const std::vector<RowView> rows = found.after(table, cursor, more);
    for (const RowView& row : rows) {
        if (task == Task::events) {
            if (numbers_.event_bytes <= limits.events_bytes) break;
            numbers_.event_bytes -= std::min<std::uint64_t>(numbers_.event_bytes, row.value.size());
            out.batch->erase(Table::events, row.key);
            last_erased = row.value;
        } else if (task == Task::keys) {
            const std::uint64_t end = from_big_endian(row.key);
            if (static_cast<std::int64_t>(end) > turn.wall) {
                more = false;  // in order of time: the rest is later
                break;
            }
            numbers_.keys_freed_to = std::max(numbers_.keys_freed_to, end);
            out.batch->erase(Table::key_ends, row.key);
            out.batch->erase(Table::keys, row.value);
            numbers_.key_rows -= std::min<std::uint64_t>(numbers_.key_rows, 1);
        } else {
            EndRow ended;
            if (!read_row(row.value, ended)) ended.ended_at = turn.wall;  // damaged: kept, for somebody to look at
            const bool dead = task == Task::dead;
            const auto age = static_cast<std::uint64_t>(std::max<std::int64_t>(turn.wall - ended.ended_at, 0));
            const bool too_many =
                dead ? numbers_.dead_rows > limits.dead_jobs
                     : numbers_.done_rows > limits.kept_jobs || numbers_.done_bytes > limits.kept_bytes;
            if (too_many || age > (dead ? limits.dead_ms : limits.kept_ms)) retire(table, row, ended, turn, out);
            else if (!step_is_for_age_) break;
        }
        cursor = row.key;
    }
    // Epochs do not go back: no row behind it names classes of those before its own.
    if (EventsRow events; !last_erased.empty() && read_row(last_erased, events))
        classes_unneeded_before_ = events.epoch;
    // The end of what the store has, or rows that are erased and the store does not know it yet.
    if (!more || rows.empty()) pass.rests_until = turn.now + kTrimEveryMs;
    if (more) return;
    cursor.clear();
    if (!step_is_for_age_) return;
    pass.under_way = false;
    const std::uint64_t kept = task == Task::dead ? limits.dead_ms : limits.kept_ms;
    pass.next_at = turn.now + std::min<std::int64_t>(kPassEveryMs,
                                                     std::max<std::int64_t>(static_cast<std::int64_t>(kept / 4), 100));
}

/// Those of epochs of which there are no events any more.
void Core::forget_classes(const Found& found, Output& out) {
    bool more = false;
    for (const RowView& row : found.after(Table::classes, {}, more)) {
        if (from_big_endian(row.key.substr(0, 8)) >= classes_unneeded_before_) {
            more = false;
            break;
        }
        numbers_.event_bytes -= std::min<std::uint64_t>(numbers_.event_bytes, row.value.size());
        out.batch->erase(Table::classes, row.key);
    }
    if (!more) classes_erased_before_ = classes_unneeded_before_;
}

/// A redrive takes the end back, unless the key is over by then. It stays over wherever the wall clock is set: one that
/// names a job only while that lives was over with it, and one that was freed may be another job's.
bool Core::key_is_over(std::int64_t ended_at, std::uint64_t ttl_ms, Turn turn) const {
    const std::int64_t end = ended_at + static_cast<std::int64_t>(ttl_ms);
    return ttl_ms == 0 || end <= turn.wall || end <= static_cast<std::int64_t>(numbers_.keys_freed_to);
}

void Core::retire(Table table, const RowView& row, const EndRow& ended, Turn turn, Output& out) {
    Batch& batch = *out.batch;
    const JobId id{from_big_endian(row.key)};
    batch.erase(table, row.key);
    for (std::uint32_t n = 1; n <= ended.attempts; ++n) batch.erase(Table::attempts, job_part_key(id, n));
    for (std::uint32_t n = 0; n < ended.result_chunks; ++n) batch.erase(Table::results, job_part_key(id, n));
    if (table == Table::dead) {
        batch.erase(Table::buried, row.key);
        for (std::uint32_t n = 0; n < ended.payload_chunks; ++n) batch.erase(Table::chunks, job_part_key(id, n));
        --numbers_.dead_rows;
        if (ended.array) retired_in_array(id, {ended.array, ended.array_index}, out);
    } else {
        --numbers_.done_rows;
        // A damaged row may be larger than what was counted.
        numbers_.done_bytes -= std::min<std::uint64_t>(
            numbers_.done_bytes, row.value.size() + (ended.result_chunks == 0 ? 0 : ended.result_size));
    }
    if (!ended.key.empty() && !key_is_over(ended.ended_at, ended.key_ttl_ms, turn)) {
        const Slice key = batch.append(name_pair_key(ended.queue, ended.key));
        batch.put(Table::keys, key, append_row(batch, KeyRow{id, ended.content, JobState::retired}));
    }
    const auto class_id = ready_.find_class(ended.queue, ended.type);
    if (class_id) record(EventKind::retired, id, *class_id);
    else record_about(EventKind::retired, {ended.queue, ended.type, {}, {}}, id);
}

}  // namespace jobyard::broker
