#include "job_map.hpp"

namespace jobyard::broker {

void MapWriter::attempts(const std::vector<AttemptRow>& attempts) {
    std::vector<std::string> maps;
    for (const AttemptRow& attempt : attempts) {
        MapWriter map;
        map.uint("attempt", attempt.attempt);
        map.text("worker", attempt.worker);
        map.uint("token", attempt.token.value);
        map.integer("started_at", attempt.started_at);
        if (attempt.ended_at != 0) map.integer("ended_at", attempt.ended_at);
        map.text("outcome", to_string(attempt.outcome));
        map.text("error", attempt.error);
        map.text("tail", attempt.tail);
        map.append_to(maps.emplace_back());
    }
    list("attempts", maps);
}

void append_ended_map(JobId id, const EndRow& row, const std::vector<AttemptRow>* attempts,
                      std::optional<std::string_view> payload, std::string& out) {
    MapWriter map;
    map.uint("id", id.value);
    map.text("queue", row.queue);
    map.text("type", row.type);
    map.uint("priority", row.priority);
    map.text("state", to_string(row.state));
    map.text("reason", to_string(row.reason));
    map.uint("attempt", row.last.attempt);
    map.uint("max_attempts", row.max_attempts);
    map.uint("errors", row.errors);
    map.uint("crashes", row.crashes);
    map.uint("timeout_ms", row.timeout_ms);
    map.integer("created_at", row.created_at);
    map.uint("payload_bytes", row.payload_size);
    if (!row.key.empty()) map.text("key", row.key);
    if (row.array) {
        map.uint("array", row.array.value);
        map.uint("array_index", row.array_index);
    }
    if (row.last.outcome != Outcome::none) {
        map.integer("started_at", row.last.started_at);
        map.text("worker", row.last.worker);
        map.uint("token", row.last.token.value);
    }
    map.integer("ended_at", row.ended_at);
    map.text("error", row.last.error);
    map.uint("result_bytes", row.result_size);
    if (row.edited_at != 0) map.integer("edited_at", row.edited_at);
    if (attempts != nullptr) map.attempts(*attempts);
    if (payload) map.bytes("payload", *payload);
    map.append_to(out);
}

}  // namespace jobyard::broker
