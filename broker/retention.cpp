// What is forgotten, and when: ended jobs by age, count and bytes, dead ones by age and count, keys a day after their
// job ended, the oldest events. One bounded step at a time, each a page of rows that the edge reads; what a step
// decides goes into the open batch like everything else. Nothing here is remembered across a restart: the limits say
// again what to do.
//
// While a limit is exceeded a step is asked for in every turn, and a page is larger than what ends in one, so retention
// cannot be starved by load.

#include <algorithm>

#include "core.hpp"

namespace jobyard::broker {
namespace {

constexpr std::uint32_t kPage = 1000;
constexpr std::int64_t kKeyKeptMs = std::int64_t{24} * 3600 * 1000;
constexpr std::int64_t kPassEveryMs = 60'000;  // how often tables are looked through for what is too old

}  // namespace

std::vector<Need> Core::agenda_needs(Turn turn) {
    if (step_ != Task::none) return {};
    const Limits& limits = config_.limits;
    const auto begin = [&](Task task, Table table) {
        step_ = task;
        return std::vector<Need>{{Need::Kind::after, table, passes_[task].cursor, kPage}};
    };
    const auto pass_is_due = [&](Task task) {
        Pass& pass = passes_[task];
        if (!pass.under_way && turn.now >= pass.next_at) pass.under_way = true;
        return pass.under_way;
    };
    if (numbers_.done_rows > limits.kept_jobs || numbers_.done_bytes > limits.kept_bytes)
        return begin(Task::done, Table::done);
    if (numbers_.dead_rows > limits.dead_jobs) return begin(Task::dead, Table::dead);
    if (numbers_.event_bytes > limits.events_bytes) return begin(Task::events, Table::events);
    if (numbers_.done_rows > 0 && pass_is_due(Task::done)) return begin(Task::done, Table::done);
    if (numbers_.dead_rows > 0 && pass_is_due(Task::dead)) return begin(Task::dead, Table::dead);
    if (numbers_.key_rows > 0 && pass_is_due(Task::keys)) return begin(Task::keys, Table::key_ends);
    return {};
}

void Core::agenda_step(const Found& found, Turn turn, Output& out) {
    const Task task = std::exchange(step_, Task::none);
    const Limits& limits = config_.limits;
    Pass& pass = passes_[task];
    bool more = false;
    const Table table = task == Task::done   ? Table::done
                        : task == Task::dead ? Table::dead
                        : task == Task::keys ? Table::key_ends
                                             : Table::events;
    for (const Row* row : found.after(table, pass.cursor, more)) {
        if (task == Task::events) {
            if (numbers_.event_bytes <= limits.events_bytes) break;
            numbers_.event_bytes -= std::min<std::uint64_t>(numbers_.event_bytes, row->value.size());
            out.batch->erase(Table::events, row->key);
        } else if (task == Task::keys) {
            if (!key_is_over(static_cast<std::int64_t>(from_big_endian(row->key)), turn)) {
                more = false;  // in order of time: the rest is younger
                break;
            }
            out.batch->erase(Table::key_ends, row->key);
            out.batch->erase(Table::keys, row->value);
            numbers_.key_rows -= std::min<std::uint64_t>(numbers_.key_rows, 1);
        } else {
            EndRow ended;
            if (!read_row(row->value, ended)) ended.ended_at = turn.wall;  // damaged: kept, for somebody to look at
            const bool dead = task == Task::dead;
            const auto age = static_cast<std::uint64_t>(std::max<std::int64_t>(turn.wall - ended.ended_at, 0));
            const bool too_many =
                dead ? numbers_.dead_rows > limits.dead_jobs
                     : numbers_.done_rows > limits.kept_jobs || numbers_.done_bytes > limits.kept_bytes;
            if (too_many || age > (dead ? limits.dead_ms : limits.kept_ms)) retire(table, *row, ended, turn, out);
            else if (!pass.under_way) break;
        }
        pass.cursor = row->key;
    }
    if (more) return;
    pass.cursor.clear();
    pass.under_way = false;
    const std::uint64_t kept = task == Task::dead ? limits.dead_ms : limits.kept_ms;
    pass.next_at = turn.now + std::min<std::int64_t>(kPassEveryMs,
                                                     std::max<std::int64_t>(static_cast<std::int64_t>(kept / 4), 100));
}

/// Kept for a day after the job ended. A redrive takes the end back, unless the day is over.
bool Core::key_is_over(std::int64_t ended_at, Turn turn) { return ended_at + kKeyKeptMs <= turn.wall; }

void Core::retire(Table table, const Row& row, const EndRow& ended, Turn turn, Output& out) {
    Batch& batch = *out.batch;
    const JobId id{from_big_endian(row.key)};
    batch.erase(table, row.key);
    for (std::uint32_t n = 1; n <= ended.attempts; ++n) batch.erase(Table::attempts, job_part_key(id, n));
    for (std::uint32_t n = 0; n < ended.result_chunks; ++n) batch.erase(Table::results, job_part_key(id, n));
    if (table == Table::dead) {
        batch.erase(Table::buried, row.key);
        for (std::uint32_t n = 0; n < ended.payload_chunks; ++n) batch.erase(Table::chunks, job_part_key(id, n));
        --numbers_.dead_rows;
    } else {
        --numbers_.done_rows;
        numbers_.done_bytes -= row.value.size() + (ended.result_chunks == 0 ? 0 : ended.result_size);
    }
    if (!ended.key.empty() && !key_is_over(ended.ended_at, turn)) {
        const Slice key = batch.append(idempotency_row_key(ended.queue, ended.key));
        batch.put(Table::keys, key, append_row(batch, KeyRow{id, ended.content, JobState::retired}));
    }
    record(EventKind::retired, id);
}

}  // namespace jobyard::broker
