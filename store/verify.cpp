#include "verify.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace jobyard::store {
namespace {

using namespace broker;  // NOLINT: the rows are its

static_assert(kTables == 21, "a table was added: say here what must be true of its rows");

constexpr std::uint64_t kToldOfEachKind = 20;
constexpr std::uint64_t kRowsBetween = 1'000;
// Kinds of events (core.hpp).
constexpr std::uint8_t kSubmitted = 1;
constexpr std::uint8_t kRetired = 10;

/// Of numbers, in runs.
class Numbers {
 public:
    void add(std::uint64_t first, std::uint64_t count = 1) {
        if (!runs_.empty() && runs_.back().second == first) runs_.back().second += count;
        else runs_.emplace_back(first, first + count);
    }
    [[nodiscard]] const std::vector<std::pair<std::uint64_t, std::uint64_t>>& runs() const { return runs_; }
    void sort() { std::sort(runs_.begin(), runs_.end()); }
    /// After sort(): how many of [first, end) are in none of the runs, and the first of those.
    [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> missing(std::uint64_t first, std::uint64_t end) const {
        std::uint64_t count = 0;
        std::uint64_t example = 0;
        auto run = std::upper_bound(runs_.begin(), runs_.end(), std::pair(first, UINT64_MAX));
        // Runs may overlap: a job that is in two places is another finding, told elsewhere.
        std::uint64_t at = first;
        for (auto before = run; before != runs_.begin() && at == first;) at = std::max(at, (--before)->second);
        for (; at < end && run != runs_.end() && run->first < end; ++run) {
            if (run->first > at) {
                if (count == 0) example = at;
                count += run->first - at;
            }
            at = std::max(at, run->second);
        }
        if (at < end) {
            if (count == 0) example = at;
            count += end - at;
        }
        return {count, example};
    }

 private:
    std::vector<std::pair<std::uint64_t, std::uint64_t>> runs_;
};

std::string job_text(std::uint64_t job) { return "job " + std::to_string(job); }
std::string pieces_text(std::uint64_t pieces, std::uint64_t bytes) {
    return std::to_string(pieces) + " pieces of " + std::to_string(bytes) + " bytes";
}

/// One pass over the tables. A read that fails ends it; everything else is a finding.
class Check {
 public:
    Check(const Image& image, const Progress& progress) : image_(image), progress_(progress), all_(image.rows()) {}

    Result<Verified> run() {
        using Pass = Result<void> (Check::*)();
        for (const Pass pass : {&Check::meta,
                                &Check::live,
                                &Check::ended<Table::done>,
                                &Check::ended<Table::dead>,
                                &Check::buried,
                                &Check::state,
                                &Check::attempts,
                                &Check::slices<Table::chunks>,
                                &Check::slices<Table::results>,
                                &Check::claims,
                                &Check::key_ends,
                                &Check::keys,
                                &Check::instances,
                                &Check::workers,
                                &Check::queues,
                                &Check::tasks,
                                &Check::arrays,
                                &Check::counts,
                                &Check::leftovers,
                                &Check::classes,
                                &Check::events})
            if (auto passed = (this->*pass)(); !passed) return passed.error();
        progress_(verified_.rows, verified_.rows);
        return std::move(verified_);
    }

 private:
    using Kind = Finding::Kind;

    void find(Kind kind, Table table, std::string text) {
        ++verified_.found;
        if (told_[{kind, table}]++ < kToldOfEachKind) verified_.findings.push_back({kind, table, std::move(text)});
    }

    /// Rows whose keys have `key_bytes` (0: any); the job, or whatever number the key begins with, is given too.
    template <class F>
    Result<void> each(Table table, std::size_t key_bytes, F&& check) {
        return image_.for_each(table, [&](std::string_view key, std::string_view value) -> Result<void> {
            if (verified_.rows++ % kRowsBetween == 0) progress_(verified_.rows - 1, std::max(verified_.rows, all_));
            if (key_bytes != 0 && key.size() != key_bytes) {
                find(Kind::damaged, table,
                     "a key of " + std::to_string(key.size()) + " bytes, expected " + std::to_string(key_bytes));
                return {};
            }
            return check(key, value, key_bytes == 0 ? 0 : from_big_endian(key));
        });
    }
    /// The row of this job in another table: absent, damaged (told where that table is looked through), or there.
    template <class Row>
    Result<bool> row_of(Table table, std::string_view key, Row& row, bool& there) {
        auto bytes = image_.get(table, key);
        if (!bytes) return bytes.error();
        there = bytes->has_value();
        return there && read_row(**bytes, row);
    }
    Result<bool> has(Table table, std::string_view key) {
        auto bytes = image_.get(table, key);
        if (!bytes) return bytes.error();
        return bytes->has_value();
    }
    void damaged(Table table, std::uint64_t number) {
        find(Kind::damaged, table,
             "the row of number " + std::to_string(number) + " cannot be read" +
                 (table == Table::done ? ", or the block of rows that begins with it" : ""));
    }

    Result<void> meta() {
        for (const auto& [name, size] :
             {std::pair(kMetaStore, std::size_t{16}), {kMetaEpoch, 8}, {kMetaApplied, 8}, {kMetaNumbers, 0}}) {
            const auto bytes = image_.get(Table::meta, name);
            if (!bytes) return bytes.error();
            if (!*bytes) {
                // A broker that never took a job has written no numbers.
                if (name == kMetaNumbers) continue;
                find(Kind::lost, Table::meta, "there is no row " + std::string(name));
            } else if (size != 0 && (*bytes)->size() != size) {
                find(Kind::damaged, Table::meta, "the row " + std::string(name) + " has another length");
            } else if (size == 0 && !read_row(**bytes, numbers_)) {
                find(Kind::damaged, Table::meta, "the row " + std::string(name) + " cannot be read");
            } else if (name == kMetaEpoch) {
                epoch_ = from_big_endian(**bytes);
            }
        }
        return each(Table::meta, 0, [](auto, auto, auto) { return Result<void>{}; });
    }

    Result<void> live() {
        return each(
            Table::live, 8, [this](std::string_view key, std::string_view value, std::uint64_t job) -> Result<void> {
                ++verified_.unended;
                present_.add(job);
                number_was_given(Table::live, job);
                LiveRow row;
                if (!read_row(value, row)) {
                    damaged(Table::live, job);
                    return {};
                }
                for (const Table other : {Table::done, Table::dead}) {
                    EndRow end;  // one that is damaged may be a block of other jobs' rows
                    bool there = false;
                    const auto doubled = row_of(other, key, end, there);
                    if (!doubled) return doubled.error();
                    if (*doubled)
                        find(Kind::doubled, Table::live, job_text(job) + " is unended and also in " + to_string(other));
                }
                if (auto checked = first_slice(Table::chunks, job, row.chunks); !checked) return checked;
                if (row.array)
                    if (auto checked = one_of_array(job, row.array, &Fared::unended); !checked) return checked;
                if (row.key.empty()) return {};
                const std::string name = name_pair_key(row.queue, row.key);
                KeyRow named;
                bool there = false;
                const auto read = row_of(Table::keys, name, named, there);
                if (!read) return read.error();
                if (!there) find(Kind::lost, Table::keys, job_text(job) + " has a key that is not remembered");
                else if (*read &&
                         (named.job.value != job || named.state != JobState::none || named.content != row.content))
                    find(Kind::unlike, Table::keys,
                         "the key of " + job_text(job) + " names " + job_text(named.job.value) + " (" +
                             to_string(named.state) + "), or other content");
                return {};
            });
    }

    template <Table table>
    Result<void> ended() {
        std::uint64_t rows = 0;
        std::uint64_t bytes = 0;
        auto done =
            each(table, 8, [&](std::string_view key, std::string_view value, std::uint64_t job) -> Result<void> {
                ++rows;
                bytes += value.size();
                present_.add(job);
                number_was_given(table, job);
                EndRow row;
                if (!read_row(value, row)) {
                    damaged(table, job);
                    return {};
                }
                if (row.result_chunks != 0) bytes += row.result_size;
                const bool is_dead = row.state == JobState::dead;
                // A dead job that was resubmitted with its array is no longer in the dead letter queue.
                const bool resubmitted = is_dead && row.array && table == Table::done;
                if (!has_ended(row.state) || is_dead != (table == Table::dead || resubmitted))
                    find(Kind::unlike, table, job_text(job) + " is there as " + to_string(row.state));
                if (table == Table::done) {
                    const auto doubled = has(Table::dead, key);
                    if (!doubled) return doubled.error();
                    if (*doubled) find(Kind::doubled, table, job_text(job) + " is done and also dead");
                } else {
                    const auto kept = has(Table::buried, key);
                    if (!kept) return kept.error();
                    if (!*kept) find(Kind::lost, Table::buried, job_text(job) + " is dead, and its payload is gone");
                    if (auto checked = first_slice(Table::chunks, job, row.payload_chunks); !checked) return checked;
                    if (row.array)
                        if (auto checked = one_of_array(job, row.array, &Fared::buried); !checked) return checked;
                }
                if (auto checked = first_slice(Table::results, job, row.result_chunks); !checked) return checked;
                if (row.key.empty()) return {};
                KeyRow named;
                bool there = false;
                const auto read = row_of(Table::keys, name_pair_key(row.queue, row.key), named, there);
                if (!read) return read.error();
                // It may have been forgotten since, or name a newer job.
                if (there && *read && named.job.value == job && named.state != row.state)
                    find(Kind::unlike, Table::keys,
                         "the key of " + job_text(job) + " says " + to_string(named.state) + ", its record " +
                             to_string(row.state));
                return {};
            });
        if (!done) return done;
        if (table == Table::dead) {
            verified_.dead = rows;
            count("dead_rows", numbers_.dead_rows, rows);
        } else {
            verified_.done = rows;
            count("done_rows", numbers_.done_rows, rows);
            count("done_bytes", numbers_.done_bytes, bytes);
        }
        return {};
    }

    Result<void> buried() {
        return each(Table::buried, 8,
                    [this](std::string_view key, std::string_view value, std::uint64_t job) -> Result<void> {
                        LiveRow row;
                        if (!read_row(value, row)) damaged(Table::buried, job);
                        return owned(Table::buried, key, job, {Table::dead});
                    });
    }

    Result<void> state() {
        return each(Table::state, 8,
                    [this](std::string_view key, std::string_view value, std::uint64_t job) -> Result<void> {
                        StateRow row;
                        if (!read_row(value, row)) damaged(Table::state, job);
                        return owned(Table::state, key, job, {Table::live});
                    });
    }

    Result<void> claims() {
        return each(Table::claims, 8,
                    [this](std::string_view key, std::string_view value, std::uint64_t job) -> Result<void> {
                        if (value.size() != 8) damaged(Table::claims, job);
                        return owned(Table::claims, key, job, {Table::live});
                    });
    }

    Result<void> attempts() {
        return each(
            Table::attempts, 12,
            [this](std::string_view key, std::string_view value, std::uint64_t job) -> Result<void> {
                const std::uint64_t n = from_big_endian(std::string(4, '\0') + std::string(key.substr(8)));
                AttemptRow row;
                if (!read_row(value, row)) {
                    damaged(Table::attempts, job);
                    return {};
                }
                const std::string_view job_bytes = key.substr(0, 8);
                if (auto checked = owned(Table::attempts, job_bytes, job, {Table::live, Table::done, Table::dead});
                    !checked)
                    return checked;
                // One that was charged to nobody gives its number to the next.
                std::uint64_t last = UINT64_MAX;
                StateRow state;
                EndRow end;
                bool there = false;
                const auto has_state = row_of(Table::state, job_bytes, state, there);
                if (!has_state) return has_state.error();
                if (*has_state) last = state.attempts + 1;
                for (const Table table : {Table::done, Table::dead}) {
                    const auto has_end = row_of(table, job_bytes, end, there);
                    if (!has_end) return has_end.error();
                    if (*has_end) last = end.attempts;
                }
                if (row.attempt != n || n == 0 || n > last)
                    find(Kind::unlike, Table::attempts,
                         "attempt " + std::to_string(n) + " of " + job_text(job) + ", whose record says " +
                             std::to_string(row.attempt) + " of " + std::to_string(last));
                return {};
            });
    }

    /// Pieces of payloads and of results: all of a job's, in order, and as many bytes as its row says.
    template <Table table>
    Result<void> slices() {
        std::uint64_t job = 0;
        std::uint64_t pieces = 0;
        std::uint64_t bytes = 0;
        bool in_order = true;
        const auto finish = [&]() -> Result<void> {
            if (pieces == 0) return {};
            std::uint64_t wanted_pieces = 0;
            std::uint64_t wanted_bytes = 0;
            const std::string key = job_key({job});
            bool there = false;
            if (table == Table::chunks) {
                LiveRow row;
                for (const Table owner : {Table::live, Table::buried, Table::arrays}) {
                    const auto read = row_of(owner, key, row, there);
                    if (!read) return read.error();
                    if (there && !*read) return {};  // told already
                    if (!there) continue;
                    wanted_pieces = row.chunks;
                    wanted_bytes = row.payload_size;
                    break;
                }
            } else {
                EndRow row;
                for (const Table owner : {Table::done, Table::dead}) {
                    const auto read = row_of(owner, key, row, there);
                    if (!read) return read.error();
                    if (there && !*read) return {};
                    if (!there) continue;
                    wanted_pieces = row.result_chunks;
                    wanted_bytes = row.result_size;
                    break;
                }
            }
            if (wanted_pieces == 0)
                find(Kind::orphaned, table, pieces_text(pieces, bytes) + " of " + job_text(job) + ", which has none");
            else if (!in_order || pieces != wanted_pieces || bytes != wanted_bytes)
                find(Kind::lost, table,
                     job_text(job) + " has " + pieces_text(pieces, bytes) + ", not all of its " +
                         pieces_text(wanted_pieces, wanted_bytes));
            return {};
        };
        auto done =
            each(table, 12, [&](std::string_view key, std::string_view value, std::uint64_t of) -> Result<void> {
                if (of != job) {
                    if (auto finished = finish(); !finished) return finished;
                    job = of;
                    pieces = bytes = 0;
                    in_order = true;
                }
                if (key != job_part_key({job}, static_cast<std::uint32_t>(pieces))) in_order = false;
                ++pieces;
                bytes += value.size();
                return {};
            });
        return done ? finish() : done;
    }

    Result<void> key_ends() {
        return each(
            Table::key_ends, 16, [this](std::string_view key, std::string_view value, std::uint64_t) -> Result<void> {
                const std::uint64_t job = from_big_endian(key.substr(8));
                to_forget_.insert(std::string(value));
                KeyRow row;
                bool there = false;
                const auto read = row_of(Table::keys, value, row, there);
                if (!read) return read.error();
                if (!there)
                    find(Kind::orphaned, Table::key_ends, "a key of " + job_text(job) + " that is not remembered");
                else if (*read && (row.job.value != job || row.state == JobState::none))
                    find(Kind::unlike, Table::key_ends,
                         "a key of " + job_text(job) + " is to be forgotten, but names " + job_text(row.job.value) +
                             " (" + to_string(row.state) + ")");
                return {};
            });
    }

    Result<void> keys() {
        std::uint64_t rows = 0;
        auto done =
            each(Table::keys, 0, [&](std::string_view key, std::string_view value, std::uint64_t) -> Result<void> {
                ++rows;
                KeyRow row;
                if (!read_row(value, row)) {
                    find(Kind::damaged, Table::keys,
                         "a row of " + std::to_string(value.size()) + " bytes cannot be read");
                    return {};
                }
                const std::uint64_t job = row.job.value;
                if (row.state != JobState::none) {
                    if (!to_forget_.contains(std::string(key)))
                        find(Kind::lost, Table::key_ends,
                             "the key of " + job_text(job) + ", which has ended, is never forgotten");
                    return {};
                }
                LiveRow live;
                bool there = false;
                const auto read = row_of(Table::live, job_key(row.job), live, there);
                if (!read) return read.error();
                if (!there)
                    find(Kind::orphaned, Table::keys, "a key names " + job_text(job) + " as unended, which it is not");
                else if (*read && name_pair_key(live.queue, live.key) != key)
                    find(Kind::unlike, Table::keys, "a key names " + job_text(job) + ", which has another key");
                return {};
            });
        if (done) count("key_rows", numbers_.key_rows, rows);
        return done;
    }

    Result<void> instances() {
        std::map<std::string, std::uint64_t> known;
        Numbers made;
        auto done = each(
            Table::instances, 8, [&](std::string_view, std::string_view value, std::uint64_t number) -> Result<void> {
                InstanceRow row;
                if (!read_row(value, row)) {
                    damaged(Table::instances, number);
                    return {};
                }
                if (number >= numbers_.next_instance) next_is_wrong("instance", number);
                if (!known.emplace(row.instance.view(), number).second)
                    find(Kind::doubled, Table::instances,
                         "windows " + std::to_string(number) + " and " +
                             std::to_string(known[std::string(row.instance.view())]) + " are of the same client");
                for (const Run& run : row.runs) {
                    made.add(run.first_job, run.count);
                    number_was_given(Table::instances, run.first_job + run.count - 1);
                }
                return {};
            });
        made.sort();
        std::uint64_t end = 0;
        for (const auto& [first, last] : made.runs()) {
            if (first < end) find(Kind::doubled, Table::instances, job_text(first) + " was made by two submits");
            end = std::max(end, last);
        }
        return done;
    }

    Result<void> workers() {
        return each(Table::workers, 8,
                    [this](std::string_view, std::string_view value, std::uint64_t number) -> Result<void> {
                        WorkerRow row;
                        if (!read_row(value, row)) damaged(Table::workers, number);
                        if (number >= numbers_.next_worker) next_is_wrong("worker", number);
                        return {};
                    });
    }

    /// Each stands alone: what is set for a queue, what is done to many jobs.
    Result<void> queues() {
        return each(Table::queues, 0, [this](std::string_view, std::string_view value, std::uint64_t) -> Result<void> {
            QueueRow row;
            if (!read_row(value, row)) damaged(Table::queues, 0);
            return {};
        });
    }
    Result<void> tasks() {
        return each(Table::tasks, 8,
                    [this](std::string_view, std::string_view value, std::uint64_t number) -> Result<void> {
                        TaskRow row;
                        if (!read_row(value, row)) damaged(Table::tasks, number);
                        if (number >= numbers_.next_task) next_is_wrong("task", number);
                        return {};
                    });
    }

    /// Those in `live` and `dead` say of which arrays they are; these passes come later.
    Result<void> arrays() {
        return each(Table::arrays, 8,
                    [this](std::string_view key, std::string_view value, std::uint64_t array) -> Result<void> {
                        number_was_given(Table::arrays, array);
                        LiveRow row;
                        if (!read_row(value, row)) {
                            damaged(Table::arrays, array);
                            return {};
                        }
                        const auto counted = has(Table::counts, key);
                        if (!counted) return counted.error();
                        if (!*counted) find(Kind::lost, Table::counts, "those of array " + std::to_string(array));
                        return first_slice(Table::chunks, array, row.chunks);
                    });
    }
    Result<void> counts() {
        return each(Table::counts, 8,
                    [this](std::string_view key, std::string_view value, std::uint64_t array) -> Result<void> {
                        ArrayRow row;
                        if (!read_row(value, row)) {
                            damaged(Table::counts, array);
                            return {};
                        }
                        const Fared fared = fared_[array];
                        const std::string whose = " of array " + std::to_string(array);
                        if (const std::uint64_t ended = row.completed + row.dead + row.cancelled_jobs;
                            row.made != ended + fared.unended)
                            find(Kind::miscounted, Table::counts,
                                 std::to_string(row.made) + " jobs" + whose + " were made, of which " +
                                     std::to_string(ended) + " have ended and " + std::to_string(fared.unended) +
                                     " have not");
                        if (row.buried != fared.buried)
                            find(Kind::miscounted, Table::counts,
                                 std::to_string(row.buried) + " jobs" + whose + " are dead, counted are " +
                                     std::to_string(fared.buried));
                        left_[array] = row.left_dead + row.left_cancelled;
                        return owned(Table::counts, key, array, {Table::arrays});
                    });
    }
    Result<void> leftovers() {
        auto done = each(Table::leftovers, 16,
                         [this](std::string_view, std::string_view value, std::uint64_t array) -> Result<void> {
                             LeftoverRow row;
                             if (!read_row(value, row)) damaged(Table::leftovers, array);
                             --left_[array];
                             return {};
                         });
        if (!done) return done;
        for (const auto& [array, missing] : left_)
            if (missing != 0)
                find(Kind::miscounted, Table::leftovers,
                     "array " + std::to_string(array) + " has others than its counts say");
        return {};
    }

    Result<void> classes() {
        return each(Table::classes, 12,
                    [this](std::string_view key, std::string_view value, std::uint64_t epoch) -> Result<void> {
                        const std::uint64_t number = from_big_endian(std::string(4, '\0').append(key.substr(8)));
                        ClassRow row;
                        if (!read_row(value, row))
                            find(Kind::damaged, Table::classes,
                                 "number " + std::to_string(number) + " of epoch " + std::to_string(epoch));
                        event_bytes_ += value.size();
                        epoch_was_given(Table::classes, epoch);
                        auto& [first, end] = classes_.try_emplace(epoch, number, number).first->second;
                        if (number != end)
                            find(Kind::lost, Table::classes,
                                 "numbers " + std::to_string(end) + " to before " + std::to_string(number) +
                                     " of epoch " + std::to_string(epoch));
                        end = number + 1;
                        return {};
                    });
    }

    /// They say which jobs there must be: those that were submitted and not retired.
    Result<void> events() {
        std::optional<std::uint64_t> next;
        std::uint32_t epoch = 0;
        Numbers submitted;
        auto done =
            each(Table::events, 8, [&](std::string_view, std::string_view value, std::uint64_t number) -> Result<void> {
                event_bytes_ += value.size();
                if (next && *next != number)
                    find(Kind::lost, Table::events,
                         "events " + std::to_string(*next) + " to before " + std::to_string(number));
                EventsRow row;
                if (!read_row(value, row)) {
                    damaged(Table::events, number);
                    next.reset();
                    return {};
                }
                epoch_was_given(Table::events, row.epoch);
                if (row.epoch < epoch)
                    find(Kind::unlike, Table::events,
                         "those from " + std::to_string(number) + " on are of an earlier epoch than those before");
                epoch = row.epoch;
                std::uint32_t last_class = 0;
                for (const EventsRow::Entry& entry : row.events) {
                    number += entry.count;
                    last_class = std::max(last_class, entry.class_number);
                    if (entry.kind == kSubmitted) submitted.add(entry.job.value, entry.count);
                    if (entry.kind == kRetired) present_.add(entry.job.value, entry.count);
                }
                const auto known = classes_.find(row.epoch);
                if (last_class > 0 &&
                    (known == classes_.end() || known->second.first != 1 || last_class >= known->second.second))
                    find(Kind::lost, Table::classes,
                         "number " + std::to_string(last_class) + " of epoch " + std::to_string(row.epoch) +
                             " or one before it, which events name");
                next = number;
                return {};
            });
        if (!done) return done;
        count("event_bytes", numbers_.event_bytes, event_bytes_);
        if (next) count("next_event", numbers_.next_event, *next);
        present_.sort();
        for (const auto& [first, end] : submitted.runs()) {
            const auto [missing, example] = present_.missing(first, end);
            if (missing != 0)
                find(Kind::lost, Table::live,
                     std::to_string(missing) + " jobs of those from " + std::to_string(first) + " to " +
                         std::to_string(end - 1) + " were submitted, did not retire, and are nowhere; the first is " +
                         job_text(example));
        }
        return {};
    }

    // What several tables have in common.

    struct Fared {
        std::uint64_t unended = 0;
        std::uint64_t buried = 0;
    };
    Result<void> one_of_array(std::uint64_t job, JobId array, std::uint64_t Fared::*how) {
        ++(fared_[array.value].*how);
        const auto there = has(Table::arrays, job_key(array));
        if (!there) return there.error();
        if (!*there)
            find(Kind::lost, Table::arrays,
                 "array " + std::to_string(array.value) + ", which has the payload of " + job_text(job));
        return {};
    }

    Result<void> owned(Table table, std::string_view key, std::uint64_t job, std::initializer_list<Table> owners) {
        for (const Table owner : owners) {
            const auto there = has(owner, key);
            if (!there) return there.error();
            if (*there) return {};
        }
        find(Kind::orphaned, table, "a row of " + job_text(job) + ", which is not in " + to_string(*owners.begin()));
        return {};
    }
    /// Whether any is there; slices() looks at all that are.
    Result<void> first_slice(Table table, std::uint64_t job, std::uint32_t pieces) {
        if (pieces == 0) return {};
        const auto there = has(table, job_part_key({job}, 0));
        if (!there) return there.error();
        if (!*there)
            find(Kind::lost, table, job_text(job) + " lacks the first of " + std::to_string(pieces) + " pieces");
        return {};
    }
    void number_was_given(Table table, std::uint64_t job) {
        if (job == 0 || job >= numbers_.next_job)
            find(Kind::miscounted, Table::meta,
                 std::string("next_job is ") + std::to_string(numbers_.next_job) + ", but " + to_string(table) +
                     " has " + job_text(job));
    }
    void epoch_was_given(Table table, std::uint64_t epoch) {
        if (epoch > epoch_)
            find(Kind::miscounted, Table::meta,
                 "epoch is " + std::to_string(epoch_) + ", but " + to_string(table) + " has epoch " +
                     std::to_string(epoch));
    }
    void next_is_wrong(const std::string& what, std::uint64_t number) {
        find(Kind::miscounted, Table::meta, "next_" + what + " is not above " + std::to_string(number));
    }
    void count(const std::string& name, std::uint64_t said, std::uint64_t counted) {
        if (said != counted)
            find(Kind::miscounted, Table::meta,
                 name + " is " + std::to_string(said) + ", counted are " + std::to_string(counted));
    }

    const Image& image_;
    const Progress& progress_;
    const std::uint64_t all_;
    NumbersRow numbers_;
    std::uint64_t epoch_ = 0;        // the last start's
    std::uint64_t event_bytes_ = 0;  // of events and the names of their classes
    Numbers present_;                // jobs that are somewhere, or retired
    std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> classes_;  // by epoch: the first, behind the last
    std::set<std::string> to_forget_;
    std::map<std::uint64_t, Fared> fared_;         // of the jobs of each array
    std::map<std::uint64_t, std::uint64_t> left_;  // leftovers that its counts have, and the table not yet
    std::map<std::pair<Kind, Table>, std::uint64_t> told_;
    Verified verified_;
};

}  // namespace

const char* to_string(Finding::Kind kind) {
    switch (kind) {
        case Finding::Kind::damaged: return "damaged";
        case Finding::Kind::lost: return "lost";
        case Finding::Kind::doubled: return "doubled";
        case Finding::Kind::orphaned: return "orphaned";
        case Finding::Kind::miscounted: return "miscounted";
        case Finding::Kind::unlike: return "unlike";
    }
    return "?";
}

Result<Verified> verify(const std::string& path, const Progress& progress) {
    const auto image = Image::open(path);
    if (!image) return image.error();
    return Check(**image, progress).run();
}

}  // namespace jobyard::store
