// Submits: the window that makes a resend harmless, the keys, the checks, and the row.

#include <algorithm>

#include "core.hpp"

namespace jobyard::broker {
namespace {

constexpr std::uint32_t kRetryAfterMs = 200;

}  // namespace

void Core::on_submit(Session& session, RequestId request, const Submit& submit, const SubmitArray* array,
                     const KeptBytes& payload, const Found& found, Turn turn, Output& out) {
    if (session.instance_number == 0)
        return refuse(session.peer, session.id, request, Code::no_session,
                      "this instance was retired: go on with a new one", "instance", out);
    Instance& instance = instances_.at(session.instance_number);
    if (submit.first_number == 0)
        return refuse(session.peer, session.id, request, Code::bad_field, "submits are numbered from 1", "first_number",
                      out);
    confirm(instance, submit.confirmed);

    Answers answers;
    answers.items.reserve(submit.items.size());
    Outgoing texts;                           // keeps what the answers' views point to until they are in their message
    std::map<std::string, KeyRow> keys_made;  // by this very message: `found` cannot know them
    std::vector<JobId> watched;
    watched.reserve(submit.items.size());
    std::size_t payload_at = 0;
    for (std::size_t i = 0; i < submit.items.size(); ++i) {
        const SubmitItem& item = submit.items[i];
        const std::uint64_t number = submit.first_number + i;
        KeptBytes item_payload = payload.bytes.substr(payload_at, item.payload_length);
        payload_at += item.payload_length;
        // Alone, so that it keeps no other payload with it.
        if (item_payload.bytes.size() == payload.bytes.size()) item_payload.owner = payload.owner;

        // A repeated number is answered before anything else is looked at: it made its job whatever has changed since.
        const auto run = std::upper_bound(instance.runs.begin(), instance.runs.end(), number,
                                          [](std::uint64_t n, const Run& r) { return n < r.first; });
        if (number > instance.confirmed && run != instance.runs.begin() &&
            number < (run - 1)->first + (run - 1)->count) {
            const JobId job{(run - 1)->first_job + (number - (run - 1)->first)};
            // Whose key has lost the queue meanwhile may know that the job was made, and no more: it has to ask, and
            // hears why not.
            const bool may_watch = item.watch && !may_not(session, job, found, Scope::act);
            const bool is_hidden = item.watch && !may_watch;
            answers.items.push_back(
                {Code::ok, job, is_hidden ? JobState::none : state_of(job).value_or(JobState::none)});
            if (may_watch) watched.push_back(job);
            continue;
        }
        const auto known_class = ready_.find_class(item.queue, item.type);
        auto refusal = refusal_of(item, known_class, number, session, instance, watched.size(), turn, texts);
        if (!refusal && array != nullptr) refusal = refusal_of(*array);
        if (!refusal && !session.who->covers_all() &&
            !(known_class ? covers(session, ready_.info(*known_class).queue) : session.who->covers(item.queue))) {
            deny(session, "submit to this queue");
            refusal = Answer{Code::not_allowed, {}, {}, "this key does not cover the queue", "queue"};
        }
        if (refusal) {
            ++counters_.refused;
            answers.items.push_back(*refusal);
            continue;
        }
        ContentHash content{};
        std::string key;
        if (!item.key.empty()) {
            key = name_pair_key(item.queue, item.key);
            content = content_hash(item, item_payload.bytes, array);
            KeyRow known;
            const auto made = keys_made.find(key);
            const auto of_array = array_keys_.find(key);
            const auto stored = found.get(Table::keys, key);
            if (made != keys_made.end()) known = made->second;
            else if (of_array != array_keys_.end())
                known = {of_array->second, arrays_.at(of_array->second).job.content};
            else if (stored && !read_row(*stored, known)) known = {};
            if (known.job.value != 0) {
                Answer answer{known.content == content ? Code::existing : Code::conflict, known.job, known.state};
                if (const auto state = state_of(known.job)) answer.state = *state;
                answers.items.push_back(answer);
                if (item.watch && answer.code == Code::existing) watched.push_back(known.job);
                continue;
            }
        }
        // Only what makes a job needs room: a key that names one is answered however full the broker is.
        refusal = array != nullptr ? no_room_for_array(item, known_class) : no_room_for(item, known_class);
        if (!refusal) refusal = over_quota(session.owner, item.queue, item.payload_length, array == nullptr, turn);
        if (refusal) {
            ++counters_.refused;
            answers.items.push_back(*refusal);
            continue;
        }
        const Retries retries = retries_of(item, known_class);
        if (!intern(retries.backoff)) {
            answers.items.push_back(
                {Code::busy, {}, {}, "too many different backoffs are in use", "backoff_initial_ms", 60'000});
            continue;
        }
        Answer answer;
        if (array == nullptr) {
            answer = make_job(item, retries, item_payload, content, owners_[session.owner].name, turn, out);
        } else {
            LiveRow row = row_of(item, retries, turn);
            row.content = content;
            row.owner = owners_[session.owner].name;
            ArrayRow range;
            range.name = array->name;
            range.count = array->count;
            range.first = array->first;
            range.step = array->step;
            range.at_once = array->at_once;
            answer = make_array(row, range, item_payload, turn, out);
        }
        add_run(instance, number, answer.job);
        answers.items.push_back(answer);
        if (!key.empty()) keys_made[key] = {answer.job, content, JobState::none};
        if (item.watch) watched.push_back(answer.job);
    }
    const std::uint64_t before = std::max(submit.first_number, instance.confirmed + 1) - (instance.confirmed + 1);
    answers.in_flight = in_flight_.submits(session.instance_number, instance.use, before + submit.items.size(),
                                           config_.limits.shared_window, turn.now);
    Outgoing& message = answer(session, request, std::move(answers), out);
    message.texts = std::move(texts.texts);
    for (const JobId id : watched) {
        // Of what has ended the answer tells: ask with WATCH.
        if (const JobHandle handle = jobs_.find(id); handle != kNoJob) watch(session, jobs_[handle]);
        else if (const auto made = arrays_.find(id); made != arrays_.end() && made->second.row.ended_at == 0)
            watch_array(session, made->second);
    }
}

/// All that can be wrong with an item, in one place and before anything changes.
std::optional<Answer> Core::refusal_of(const SubmitItem& item, std::optional<ClassId> known_class, std::uint64_t number,
                                       const Session& session, const Instance& instance, std::size_t watched, Turn turn,
                                       Outgoing& texts) const {
    const auto bad = [](const char* field, const char* text) {
        return Answer{Code::bad_field, {}, {}, text, field, 0};
    };
    if (number <= instance.confirmed) return bad("first_number", "this number is at or below the confirmed mark");
    if (number > instance.confirmed + kSubmitWindow)
        return Answer{Code::busy, {},           {}, "the submit window is full: confirm what has been answered",
                      {},         kRetryAfterMs};
    if (!known_class && !is_name(item.queue)) return bad("queue", "1 to 255 bytes of UTF-8 without control characters");
    if (!known_class && !is_name(item.type)) return bad("type", "1 to 255 bytes of UTF-8 without control characters");
    if (item.priority < kPriorityMin || item.priority > kPriorityMax)
        return bad("priority", "a priority is 1 (last) to 10 (first)");
    if (!item.key.empty() && !is_name(item.key))
        return bad("key", "1 to 255 bytes of UTF-8 without control characters");
    if (item.delay_ms > kMaxDelayMs) return bad("delay_ms", "at most 366 days");
    if (item.run_at > 0 && item.delay_ms > 0) return bad("run_at", "a job has a delay or a time to run at, not both");
    if (item.run_at > static_cast<std::uint64_t>(turn.wall) + kMaxDelayMs)
        return bad("run_at", "at most 366 days from now, in milliseconds since 1970 UTC");
    if (item.deadline_ms > kMaxDelayMs) return bad("deadline_ms", "at most 366 days; 0 for none");
    if (item.queue_timeout_ms > kMaxDelayMs) return bad("queue_timeout_ms", "at most 366 days; 0 for none");
    if (item.key_ttl_ms > kMaxKeyTtlMs) return bad("key_ttl_ms", "at most 366 days");
    if (const auto wrong = refusal_of({item.max_attempts, item.timeout_ms, item.backoff})) return wrong;
    const std::uint64_t payload_bytes = config_.limits.payload_bytes;
    if (item.payload_length > payload_bytes)
        return Answer{Code::too_large,
                      {},
                      {},
                      texts.keep("the payload has " + std::to_string(item.payload_length) + " bytes, at most " +
                                 std::to_string(payload_bytes) + " are taken (limit payload_bytes)"),
                      "payload_length",
                      0};
    if (item.watch && watches_enough(session, watched))
        return Answer{Code::busy, {}, {}, "this session watches as many jobs as it may (limit watches)", {}, 1000};
    return std::nullopt;
}

/// The bounds that a new job would cross.
std::optional<Answer> Core::no_room_for(const SubmitItem& item, std::optional<ClassId> known_class) const {
    const auto full = [](Code code, const char* text, std::uint32_t retry_after_ms = kRetryAfterMs) {
        return Answer{code, {}, {}, text, {}, retry_after_ms};
    };
    const Limits& limits = config_.limits;
    if (const auto refusal = no_room_to_begin(item.queue, known_class)) return refusal;
    if (jobs_.size() >= limits.jobs)
        return full(Code::busy, "the broker holds as many unended jobs as it may (limit jobs)");
    if (item.payload_length != 0 && counters_.payload_bytes + item.payload_length > limits.payload_total_bytes)
        return full(Code::busy, "the unended jobs' payloads are as large as they may be (limit payload_total_bytes)");
    if (known_class ? queue_is_full(ready_.info(*known_class).queue) : queue_is_full(item.queue))
        return full(Code::queue_full, "this queue holds as many jobs as it may (limit queue_jobs)");
    if (!item.key.empty() && numbers_.key_rows >= limits.keys)
        return full(Code::busy, "as many idempotency keys are remembered as may be (limit keys)", 60'000);
    return std::nullopt;
}

/// Those of the disk, and of names that are new.
std::optional<Answer> Core::no_room_to_begin(std::string_view queue, std::optional<ClassId> known_class) const {
    const auto full = [](Code code, const char* text, std::uint32_t retry_after_ms) {
        return Answer{code, {}, {}, text, {}, retry_after_ms};
    };
    const Limits& limits = config_.limits;
    if (free_disk_ < limits.submit_free_bytes)
        return full(Code::disk_full, "the broker's disk is nearly full (limit submit_free_bytes)", 5000);
    if (known_class) return std::nullopt;
    if (!ready_.find_queue(queue) && ready_.queues() >= limits.queues)
        return full(Code::busy, "there are as many queues as there may be (limit queues)", 60'000);
    if (ready_.classes() >= limits.classes)
        return full(Code::busy, "there are as many pairs of queue and type as there may be (limit classes)", 60'000);
    return std::nullopt;
}

std::optional<JobState> Core::state_of(JobId id) const {
    if (const Job* live = job(id)) return live->state;
    const auto array = arrays_.find(id);
    return array == arrays_.end() ? std::nullopt : std::optional(state_of(array->second));
}

bool Core::queue_is_full(std::string_view queue) const {
    const auto id = ready_.find_queue(queue);
    return id && queue_is_full(*id);
}

bool Core::queue_is_full(QueueId queue) const {
    const QueueCounts& counts = queue_counts_[queue];
    return counts.unended >= config_.limits.queue_jobs ||
           (counts.quota.jobs != 0 && counts.unended >= counts.quota.jobs);
}

LiveRow Core::row_of(const SubmitItem& item, const Retries& retries, Turn turn) {
    LiveRow row;
    row.queue = item.queue;
    row.type = item.type;
    row.priority = item.priority;
    row.created_at = turn.wall;
    row.delay_ms = item.delay_ms;
    if (item.run_at > static_cast<std::uint64_t>(turn.wall))
        row.delay_ms = item.run_at - static_cast<std::uint64_t>(turn.wall);
    row.timeout_ms = retries.timeout_ms;
    row.max_attempts = retries.max_attempts;
    row.deadline_ms = item.deadline_ms;
    row.queue_timeout_ms = item.queue_timeout_ms;
    row.held = item.held;
    row.key_ttl_ms = item.key_ttl_ms;
    row.backoff = retries.backoff;
    row.key = item.key;
    return row;
}

Slice Core::put_submitted(Table table, JobId id, LiveRow& row, const KeptBytes& kept, Batch& batch) {
    const std::string_view payload = kept.bytes;
    row.payload_size = static_cast<std::uint32_t>(payload.size());
    row.chunks = 0;
    const std::size_t fixed =
        kLiveFieldsAtMost + row.queue.size() + row.type.size() + row.key.size() + row.owner.size();
    const std::string row_key = job_key(id);
    if (fixed + payload.size() <= kRowBytes) {
        row.payload = payload;
        const Slice key = batch.append(row_key);
        const Slice value = append_row(batch, row);
        batch.put(table, key, value);
        const auto size = static_cast<std::uint32_t>(payload.size());
        return {value.at + value.size - size, size};
    }
    row.payload = {};
    row.chunks = static_cast<std::uint32_t>((payload.size() + kRowBytes - 1) / kRowBytes);
    const Slice key = batch.append(row_key);
    batch.put(table, key, append_row(batch, row));
    const bool keep = kept.owner != nullptr && payload.size() >= kLargePayloadBytes;
    const Slice whole = keep ? batch.keep(kept) : batch.append(payload);
    for (std::uint32_t n = 0; n < row.chunks; ++n) {
        const auto at = static_cast<std::uint32_t>(n * kRowBytes);
        const Slice chunk_key = batch.append(job_part_key(id, n));
        batch.put(Table::chunks, chunk_key,
                  {whole.at + at, std::min<std::uint32_t>(whole.size - at, static_cast<std::uint32_t>(kRowBytes))});
    }
    return whole;
}

Answer Core::make_job(const SubmitItem& item, const Retries& retries, const KeptBytes& payload,
                      const ContentHash& content, std::string_view owner, Turn turn, Output& out) {
    Batch& batch = *out.batch;
    const JobId id{numbers_.next_job++};
    LiveRow row = row_of(item, retries, turn);
    row.content = content;
    row.owner = owner;
    batch.note_payload(id, put_submitted(Table::live, id, row, payload, batch));
    const JobHandle handle = begin_job(id, row, turn);
    const Job& job = jobs_[handle];
    if (job.has_key) {
        const Slice key = batch.append(keys_.at(id).row_key);
        batch.put(Table::keys, key, append_row(batch, KeyRow{id, content, JobState::none}));
        ++numbers_.key_rows;
    }
    return {Code::ok, id, job.state};
}

/// A job that has just been written begins to wait.
JobHandle Core::begin_job(JobId id, const LiveRow& row, Turn turn) {
    const JobHandle handle = add_job(id, row);
    Job& job = jobs_[handle];
    if (row.delay_ms > 0) job.granted_at = turn.wall + static_cast<std::int64_t>(row.delay_ms);
    count_expiry(handle, row, 0, 0, turn);
    wait_or_enqueue(handle, JobState::scheduled, turn);
    ++numbers_.submitted_total;
    record(EventKind::submitted, id, job.class_id);
    return handle;
}

/// Forgets the runs up to the confirmed number: their answers have arrived.
void Core::confirm(Instance& instance, std::uint64_t confirmed) {
    if (confirmed <= instance.confirmed) return;
    instance.confirmed = confirmed;
    while (!instance.runs.empty() && instance.runs.front().first + instance.runs.front().count - 1 <= confirmed)
        instance.runs.pop_front();
    // Not worth a write of its own: it goes with the next run, and a smaller mark on disk only remembers more.
}

void Core::add_run(Instance& instance, std::uint64_t number, JobId job) {
    if (!instance.dirty) {
        instance.dirty = true;
        dirty_instances_.insert(instance_numbers_.at(instance.id));
    }
    Run* last = instance.runs.empty() ? nullptr : &instance.runs.back();
    if (last != nullptr && last->first + last->count == number && last->first_job + last->count == job.value) {
        ++last->count;
        return;
    }
    // Numbers come in order but for resends of what was refused or lost on the way; then the run goes in its place.
    const auto place = std::upper_bound(instance.runs.begin(), instance.runs.end(), number,
                                        [](std::uint64_t n, const Run& r) { return n < r.first; });
    instance.runs.insert(place, {number, 1, job.value});
}

}  // namespace jobyard::broker
