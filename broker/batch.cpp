#include "batch.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <utility>

#include "jobyard/assert.hpp"
#include "jobyard/result.hpp"

namespace jobyard::broker {
namespace {

constexpr Slice kNowhere{UINT32_MAX, 0};

/// The first eight bytes, filled up with zeros: in the order of the keys.
std::uint64_t leading_number(std::string_view key) {
    std::uint64_t number = 0;
    std::memcpy(&number, key.data(), std::min(key.size(), sizeof number));
    return __builtin_bswap64(number);
}

}  // namespace

const char* to_string(Table table) {
    static constexpr const char* kNames[] = {"meta",    "live",   "state",    "attempts", "chunks",   "done",
                                             "dead",    "buried", "results",  "keys",     "key_ends", "instances",
                                             "workers", "claims", "events",   "classes",  "queues",   "tasks",
                                             "arrays",  "counts", "leftovers"};
    static_assert(std::size(kNames) == kTables);
    return kNames[static_cast<std::size_t>(table)];
}

KeptBytes Batch::kept(Slice slice) const {
    if (kept_.empty()) return std::string_view(arena_).substr(slice.at, slice.size);
    const auto after = std::upper_bound(kept_.begin(), kept_.end(), slice.at,
                                        [](std::size_t at, const Kept& each) { return at < each.at; });
    if (after == kept_.begin()) return std::string_view(arena_).substr(slice.at, slice.size);
    const Kept& before = *std::prev(after);
    const std::size_t offset = slice.at - before.at;
    const std::size_t size = before.bytes.bytes.size();
    if (offset < size) return {before.bytes.bytes.substr(offset, slice.size), before.bytes.owner};
    return std::string_view(arena_).substr(before.arena_at + (offset - size), slice.size);
}

Slice Batch::appended(std::size_t size_before) const {
    return {static_cast<std::uint32_t>(size_before + kept_bytes_),
            static_cast<std::uint32_t>(arena_.size() - size_before)};
}

Slice Batch::append(std::string_view bytes) {
    const std::size_t before = arena_.size();
    arena_.append(bytes);
    return appended(before);
}

Slice Batch::keep(KeptBytes bytes) {
    const std::size_t size = bytes.bytes.size();
    const Slice slice{static_cast<std::uint32_t>(this->bytes()), static_cast<std::uint32_t>(size)};
    kept_.push_back({slice.at, arena_.size(), std::move(bytes)});
    kept_bytes_ += size;
    return slice;
}

std::vector<std::string_view> Batch::pieces() const {
    std::vector<std::string_view> pieces;
    pieces.reserve(2 * kept_.size() + 1);
    std::size_t at = 0;
    for (const Kept& each : kept_) {
        pieces.push_back(std::string_view(arena_).substr(at, each.arena_at - at));
        pieces.push_back(each.bytes.bytes);
        at = each.arena_at;
    }
    pieces.push_back(std::string_view(arena_).substr(at));
    return pieces;
}

void Batch::put(Table table, std::string_view key, std::string_view value) {
    const Slice key_slice = append(key);
    put(table, key_slice, append(value));
}

void Batch::put(Table table, Slice key, Slice value) {
    ops_.push_back({Op::Kind::put, table, table, key, value});
    note(true, table, key);
}

void Batch::erase(Table table, std::string_view key) {
    ops_.push_back({Op::Kind::erase, table, table, append(key), {}});
    note(false, table, ops_.back().key);
}

void Batch::move(Table from, Table to, std::string_view key) {
    ops_.push_back({Op::Kind::move, from, to, append(key), {}});
    note(false, from, ops_.back().key);
    note(true, to, ops_.back().key);
}

void Batch::note(bool put, Table table, Slice key) {
    Range& range = touched_[put ? 0 : 1][static_cast<std::size_t>(table)];
    const std::uint64_t number = leading_number(view(key));
    range.least = std::min(range.least, number);
    range.greatest = std::max(range.greatest, number);
}

bool Batch::may_touch(Table table, std::string_view first, std::string_view last) const {
    const std::uint64_t least = leading_number(first);
    const std::uint64_t greatest = leading_number(last);
    for (const auto& tables : touched_) {
        const Range& range = tables[static_cast<std::size_t>(table)];
        if (range.least <= greatest && least <= range.greatest) return true;
    }
    return false;
}

void Batch::restore(std::uint64_t number, std::string_view ops, std::string_view arena) {
    clear();
    seq = number;
    ops_.resize(ops.size() / sizeof(Op));
    std::memcpy(ops_.data(), ops.data(), ops.size());
    arena_ = arena;
    for (const Op& op : ops_) {
        note(op.kind == Op::Kind::put, op.table, op.key);
        if (op.kind == Op::Kind::move) note(true, op.to, op.key);
    }
}

std::optional<Slice> Batch::payload_of(JobId job) const {
    if (payloads_.empty() || job < first_job || job.value - first_job.value >= payloads_.size()) return std::nullopt;
    const Slice slice = payloads_[job.value - first_job.value];
    return slice.at == kNowhere.at ? std::nullopt : std::optional(slice);
}

void Batch::reserve(const Batch& like) {
    ops_.reserve(like.ops_.size());
    arena_.reserve(like.arena_.size());
    payloads_.reserve(like.payloads_.size());
}

void Batch::clear() {
    seq = 0;
    first_job = {};
    ops_.clear();
    touched_ = {};
    arena_.clear();
    kept_.clear();
    kept_bytes_ = 0;
    payloads_.clear();
    edits_.clear();
}

void Batch::note_payload(JobId job, Slice payload) {
    if (!first_job) first_job = job;
    payloads_.resize(job.value - first_job.value, kNowhere);
    payloads_.push_back(payload);
}

std::string big_endian(std::uint64_t value) {
    static_assert(std::endian::native == std::endian::little);
    value = __builtin_bswap64(value);
    return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::uint64_t from_big_endian(std::string_view bytes) {
    JOBYARD_ASSERT(bytes.size() >= 8);
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return __builtin_bswap64(value);
}

}  // namespace jobyard::broker
