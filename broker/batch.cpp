#include "batch.hpp"

#include <algorithm>

#include "jobyard/result.hpp"

namespace jobyard::broker {

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
    const auto found = std::lower_bound(payloads_.begin(), payloads_.end(), job,
                                        [](const Payload& payload, JobId wanted) { return payload.job < wanted; });
    if (found == payloads_.end() || found->job != job) return std::nullopt;
    return found->slice;
}

void Batch::clear() {
    seq = 0;
    ops_.clear();
    arena_.clear();
    payloads_.clear();
}

std::string big_endian(std::uint64_t value) {
    std::string bytes(8, '\0');
    for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (8 * (7 - i)));
    return bytes;
}

std::uint64_t from_big_endian(std::string_view bytes) {
    JOBYARD_ASSERT(bytes.size() >= 8);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < 8; ++i) value = value << 8U | static_cast<unsigned char>(bytes[i]);
    return value;
}

}  // namespace jobyard::broker
