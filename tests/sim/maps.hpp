#pragma once
// Reading the maps that the broker answers questions with.

#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "jobyard/assert.hpp"
#include "wire.hpp"

namespace jobyard::sim {

/// The bytes of each value, by its key.
using MapFields = std::map<std::string_view, std::string_view>;

inline std::string_view next_value(wire::Reader& reader) {
    const std::string_view before = reader.rest();
    reader.skip();
    return before.substr(0, before.size() - reader.rest().size());
}

inline MapFields read_map(std::string_view bytes) {
    MapFields fields;
    wire::Reader reader(bytes);
    for (std::uint32_t left = reader.map(); left > 0; --left) {
        const std::string_view key = reader.str();
        fields[key] = next_value(reader);
    }
    JOBYARD_ASSERT(!reader.failed());
    return fields;
}

inline std::vector<std::string_view> read_list(std::string_view bytes) {
    std::vector<std::string_view> values;
    wire::Reader reader(bytes);
    for (std::uint32_t left = reader.array(); left > 0; --left) values.push_back(next_value(reader));
    JOBYARD_ASSERT(!reader.failed());
    return values;
}

/// 0, or empty, if there is no such field.
inline std::uint64_t number_in(const MapFields& fields, std::string_view key) {
    const auto field = fields.find(key);
    return field == fields.end() ? 0 : wire::Reader(field->second).uint();
}
inline std::string_view text_in(const MapFields& fields, std::string_view key) {
    const auto field = fields.find(key);
    return field == fields.end() ? std::string_view{} : wire::Reader(field->second).str();
}

}  // namespace jobyard::sim
