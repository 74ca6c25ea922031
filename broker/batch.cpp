#include "batch.hpp"

#include <bit>
#include <cstring>

#include "jobyard/result.hpp"

namespace jobyard::broker {
namespace {

constexpr Slice kNowhere{UINT32_MAX, 0};

}  // namespace

const char* to_string(Table table) {
    static constexpr const char* kNames[] = {"meta",     "live",      "state",   "attempts", "chunks",
                                             "done",     "dead",      "buried",  "results",  "keys",
                                             "key_ends", "instances", "workers", "claims",   "events"};
    static_assert(std::size(kNames) == kTables);
    return kNames[static_cast<std::size_t>(table)];
}

Slice Batch::append(std::string_view bytes) {
    const Slice slice{static_cast<std::uint32_t>(arena_.size()), static_cast<std::uint32_t>(bytes.size())};
    arena_.append(bytes);
    return slice;
}

void Batch::put(Table table, std::string_view key, std::string_view value) {
    const Slice key_slice = append(key);
    ops_.push_back({Op::Kind::put, table, table, key_slice, append(value)});
}

void Batch::put(Table table, Slice key, Slice value) { ops_.push_back({Op::Kind::put, table, table, key, value}); }

void Batch::erase(Table table, std::string_view key) {
    ops_.push_back({Op::Kind::erase, table, table, append(key), {}});
}

void Batch::move(Table from, Table to, std::string_view key) {
    ops_.push_back({Op::Kind::move, from, to, append(key), {}});
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
    arena_.clear();
    payloads_.clear();
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
