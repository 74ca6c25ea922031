#pragma once
// A write batch is a value: an ordered list of changes to named tables, with a sequence number. Applied again it gives
// the same result; serialised it is the entry of a journal. It holds primary facts only: counters, ready order and
// whatever can be rebuilt are derived by whoever applies it.
//
// Its bytes stand in one arena, payloads whole and in one piece, so that what a batch carries can be sent from it while
// it is still in hand. Large ones that somebody keeps are not copied into it: to slices, and in the log, they are part
// of it all the same. Made by the core, owned by the server; unchanged from when it is sealed, so that the commit log,
// the store and the server may all read it at once. `Op` and `Table` stand in the log as they are (commit_log.cpp).

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jobyard/ids.hpp"
#include "jobyard/kept_bytes.hpp"

namespace jobyard::broker {

/// Keys are big-endian numbers, so that byte order is numeric order and new rows go to the end. record.hpp has the
/// rows.
enum class Table : std::uint8_t {
    meta,       ///< by name: store and format, epoch, token floor, the numbers every batch carries
    live,       ///< job → what was submitted, small payload included; written once
    state,      ///< job → what has changed since (attempts that ended, cancel, redrive); most jobs never have one
    attempts,   ///< job, attempt → the record of an attempt that ended without ending the job
    chunks,     ///< job, n → a slice of a payload too large for its row
    done,       ///< job → completed or cancelled: the final record, small result included
    dead,       ///< job → the dead letter queue: the final record
    buried,     ///< job → a dead job's row of `live`, for its redrive
    results,    ///< job, n → a slice of a result too large for its row
    keys,       ///< queue, name → the job of an idempotency key
    key_ends,   ///< time, job → the key to forget then
    instances,  ///< number → a client instance's submit window
    workers,    ///< number → a worker that was not lost and has not left
    claims,     ///< job → a token of an earlier epoch that is still good
    events,     ///< first event number → packed events
    classes,    ///< epoch, number → a queue and a type, as the events of that epoch name them
    queues,     ///< queue, or queue and type → what was set for it
    tasks,      ///< number → something done to many jobs
    arrays,     ///< array → what was submitted, as in `live`, with the payload of all of its jobs; written once
    counts,     ///< array → its indices, how many of its jobs have been made, and how they ended
    leftovers,  ///< array, index → a job of it that is dead or cancelled, and has not been resubmitted
};
inline constexpr std::size_t kTables = 21;
const char* to_string(Table table);

struct Slice {
    std::uint32_t at = 0;
    std::uint32_t size = 0;
};

struct Op {
    enum class Kind : std::uint8_t {
        put,
        erase,  ///< of a row that may be absent
        move,   ///< the row of `table` under this key becomes the row of `to`; nothing if absent
    };
    Kind kind = Kind::put;
    Table table = Table::meta;
    Table to = Table::meta;
    Slice key;
    Slice value;
};

class Batch {
 public:
    std::uint64_t seq = 0;
    JobId first_job;  ///< jobs submitted in it, or in a later one, have this number or a greater one

    [[nodiscard]] bool empty() const { return ops_.empty(); }
    [[nodiscard]] const std::vector<Op>& ops() const { return ops_; }
    [[nodiscard]] std::size_t bytes() const { return arena_.size() + kept_bytes_; }
    [[nodiscard]] std::string_view view(Slice slice) const { return kept(slice).bytes; }
    /// With an owner if it is a part of what was kept.
    [[nodiscard]] KeptBytes kept(Slice slice) const;
    [[nodiscard]] std::string_view key(const Op& op) const { return view(op.key); }
    [[nodiscard]] std::string_view value(const Op& op) const { return view(op.value); }

    void put(Table table, std::string_view key, std::string_view value);
    void erase(Table table, std::string_view key);
    void move(Table from, Table to, std::string_view key);

    /// For rows built in place: append to `arena()`, then name what was appended: all from what was its size before.
    [[nodiscard]] std::string& arena() { return arena_; }
    [[nodiscard]] Slice appended(std::size_t size_before) const;
    [[nodiscard]] Slice append(std::string_view bytes);
    /// Copies nothing; lets go of the owner when it is cleared.
    [[nodiscard]] Slice keep(KeptBytes bytes);
    /// All bytes, in pieces that follow one another.
    [[nodiscard]] std::vector<std::string_view> pieces() const;
    void put(Table table, Slice key, Slice value);

    /// Remembers where a submitted job's payload stands. Jobs come in increasing order, with few numbers left out.
    void note_payload(JobId job, Slice payload);
    [[nodiscard]] std::optional<Slice> payload_of(JobId job) const;

    /// Remembers where the new payload of a dead job stands.
    void note_edit(JobId job, Slice payload) { edits_.emplace_back(job, payload); }
    [[nodiscard]] const std::vector<std::pair<JobId, Slice>>& edits() const { return edits_; }

    /// What `ops()` and `pieces()` once were, as bytes. Where payloads stand is not known of such a batch.
    void restore(std::uint64_t number, std::string_view ops, std::string_view arena);
    /// False only if no operation of this batch concerns a row of the table whose key begins with bytes between those
    /// of `first` and `last`, their first eight each.
    [[nodiscard]] bool may_touch(Table table, std::string_view first, std::string_view last) const;
    /// Makes room for as much as the other one has.
    void reserve(const Batch& like);
    /// Empty again, with its memory kept.
    void clear();

 private:
    /// Of keys, their first eight bytes as a number.
    struct Range {
        std::uint64_t least = UINT64_MAX;
        std::uint64_t greatest = 0;
    };
    void note(bool put, Table table, Slice key);

    std::vector<Op> ops_;
    std::array<std::array<Range, kTables>, 2> touched_;  // by what is put, and by what goes
    std::string arena_;
    struct Kept {
        std::size_t at;        ///< as slices say
        std::size_t arena_at;  ///< where the arena goes on behind it
        KeptBytes bytes;
    };
    std::vector<Kept> kept_;
    std::size_t kept_bytes_ = 0;
    std::vector<Slice> payloads_;  // of job first_job + i
    std::vector<std::pair<JobId, Slice>> edits_;
};

/// As a key or part of one.
std::string big_endian(std::uint64_t value);
std::uint64_t from_big_endian(std::string_view bytes);

}  // namespace jobyard::broker
