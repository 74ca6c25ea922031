// Editing the dead: another payload, type, queue, priority or policy, before a redrive. A dead job's rows are written
// anew, all in one batch; what is not said stays.

#include <algorithm>

#include "core.hpp"

namespace jobyard::broker {
namespace {

// Of payload, once for each job of the list: what one message may make the store write.
constexpr std::size_t kEditBytes = kMaxMessageBytes;

/// What an event tells: "edited: payload, queue".
std::string summary(const Edit& edit) {
    std::string words;
    const auto add = [&](bool said, const char* word) {
        if (said) words += (words.empty() ? "edited: " : ", ") + std::string(word);
    };
    add(edit.new_payload, "payload");
    add(!edit.type.empty(), "type");
    add(!edit.queue.empty(), "queue");
    add(edit.priority != 0, "priority");
    add(edit.retry.max_attempts.has_value(), "max_attempts");
    add(edit.retry.timeout_ms.has_value(), "timeout");
    add(edit.retry.backoff != BackoffPolicy{}, "backoff");
    return words;
}

void take_over(const RetryPolicy& said, LiveRow& row) {
    const auto set = [](std::uint32_t& value, const std::optional<std::uint32_t>& now) { value = now.value_or(value); };
    set(row.max_attempts, said.max_attempts);
    set(row.timeout_ms, said.timeout_ms);
    set(row.backoff.initial_ms, said.backoff.initial_ms);
    set(row.backoff.factor_percent, said.backoff.factor_percent);
    set(row.backoff.max_ms, said.backoff.max_ms);
    set(row.backoff.jitter_percent, said.backoff.jitter_percent);
}

/// Gives the size of the row.
template <class Row>
std::size_t put(Table table, JobId id, const Row& row, Batch& batch) {
    const Slice key = batch.append(job_key(id));
    const Slice value = append_row(batch, row);
    batch.put(table, key, value);
    return value.size;
}

}  // namespace

void Core::on_edit(Session& session, RequestId request, const Edit& edit, const KeptBytes& payload, const Found& found,
                   Turn turn, Output& out) {
    const auto refused = [&](Code code, std::string_view field, std::string text) {
        refuse(session.peer, session.id, request, code, std::move(text), std::string(field), out);
    };
    const char* const kName = "1 to 255 bytes of UTF-8 without control characters";
    const std::size_t bytes = payload.bytes.size();
    if (summary(edit).empty()) return refused(Code::bad_field, "new_payload", "say what is to be another way");
    if (!edit.new_payload && bytes != 0)
        return refused(Code::bad_field, "new_payload", "there is a payload, so this must be true");
    if (!edit.type.empty() && !is_name(edit.type)) return refused(Code::bad_field, "type", kName);
    if (!edit.queue.empty() && !is_name(edit.queue)) return refused(Code::bad_field, "queue", kName);
    if (edit.priority > kPriorityMax)
        return refused(Code::bad_field, "priority", "a priority is 1 (last) to 10 (first)");
    if (const auto wrong = refusal_of(edit.retry)) return refused(wrong->code, wrong->field, std::string(wrong->text));
    if (bytes > config_.limits.payload_bytes)
        return refused(Code::too_large, "payload_length",
                       "the payload has " + std::to_string(bytes) + " bytes, at most " +
                           std::to_string(config_.limits.payload_bytes) + " are taken (limit payload_bytes)");
    if (edit.jobs.size() > 1 && bytes * edit.jobs.size() > kEditBytes)
        return refused(Code::too_large, "jobs",
                       "the payload, once for each job, has more than " + std::to_string(kEditBytes) +
                           " bytes: send fewer jobs at a time");
    Answers answers;
    for (const JobId id : edit.jobs) {
        const auto refusal = may_not(session, id, found, Scope::act);
        answers.items.push_back(refusal ? *refusal : edit_job(id, edit, payload, found, turn, out));
    }
    answer(session, request, std::move(answers), out);
}

Answer Core::edit_job(JobId id, const Edit& edit, const KeptBytes& payload, const Found& found, Turn turn,
                      Output& out) {
    EndRow dead;
    LiveRow row;
    if (const auto refusal = read_dead(id, "it is an array; its dead jobs can be edited", found, dead, row))
        return *refusal;
    if (const auto refusal = refusal_of(edit, id, dead)) return *refusal;
    take_over(edit.retry, row);
    if (edit.retry.backoff != BackoffPolicy{} && !intern(row.backoff))
        return {Code::busy, id, JobState::dead, "too many different backoffs are in use", "backoff_initial_ms", 60'000};

    Batch& batch = *out.batch;
    if (!edit.queue.empty()) dead.queue = edit.queue;
    if (!edit.type.empty()) dead.type = edit.type;
    if (edit.priority != 0) dead.priority = edit.priority;
    row.queue = dead.queue;
    row.type = dead.type;
    row.priority = dead.priority;
    dead.max_attempts = row.max_attempts;
    dead.timeout_ms = row.timeout_ms;
    dead.edited_at = turn.wall;
    if (edit.new_payload) batch.note_edit(id, put_submitted(Table::buried, id, row, payload, batch));
    else if (row.chunks == 0 && !row.array)  // it may have to leave the row for longer names
        static_cast<void>(put_submitted(Table::buried, id, row, row.payload, batch));
    else put(Table::buried, id, row, batch);
    for (std::uint32_t n = row.chunks; n < dead.payload_chunks; ++n) batch.erase(Table::chunks, job_part_key(id, n));
    dead.payload_size = row.payload_size;
    dead.payload_chunks = row.chunks;
    std::uint64_t bytes = 0;
    if (dead.result_chunks == 0) bytes = put_ended(Table::dead, id, dead, dead.result, batch).bytes;
    else bytes = put(Table::dead, id, dead, batch) + dead.result_size;
    if (dead.array) edited_in_array(id, {dead.array, dead.array_index}, bytes, out);
    record_about(EventKind::changed, {.queue = dead.queue, .type = dead.type, .text = summary(edit)}, id);
    return {Code::ok, id, JobState::dead};
}

std::optional<Answer> Core::refusal_of(const Edit& edit, JobId id, const EndRow& dead) const {
    const auto refused = [id](Code code, const char* text, const char* field = "", std::uint32_t retry_after_ms = 0) {
        return Answer{code, id, JobState::dead, text, field, retry_after_ms};
    };
    if (edit.new_payload && dead.array)
        return refused(Code::bad_field,
                       "the jobs of an array have one payload: submit a job with the new one, and purge this",
                       "new_payload");
    if (!edit.queue.empty() && edit.queue != dead.queue && !dead.key.empty())
        return refused(Code::bad_field, "a job with a key stays in the queue of its key", "queue");
    if (free_disk_ < config_.limits.submit_free_bytes)
        return refused(Code::disk_full, "the broker's disk is nearly full", "", 5000);
    if (!has_room_for(edit.queue.empty() ? dead.queue : edit.queue, edit.type.empty() ? dead.type : edit.type))
        return refused(Code::busy, "there are as many queues as there may be (limits queues, classes)", "", 60'000);
    return std::nullopt;
}

/// For a job of this queue and type: a new name only while the limits leave room.
bool Core::has_room_for(std::string_view queue, std::string_view type) const {
    if (ready_.find_class(queue, type)) return true;
    const Limits& limits = config_.limits;
    return (ready_.find_queue(queue) || ready_.queues() < limits.queues) && ready_.classes() < limits.classes;
}

}  // namespace jobyard::broker
