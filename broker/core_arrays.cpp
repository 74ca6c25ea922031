// Arrays: many jobs made of one submit, which differ in their index alone. An array has a number as a job has one, so
// that whatever makes a submit exact (the window, the key) makes an array's, and it can be watched and cancelled as a
// job is. Its payload stands once, with it; its jobs are made in steps among the broker's other work, and how far that
// is goes with each step's batch. Which index a job has is known by the run of numbers that it was made in.
//
// Jobs of it that died or were cancelled are its leftovers until they are resubmitted: then another array makes their
// indices anew, and a dead one leaves the dead letter queue for the ended jobs, so that nobody redrives it beside its
// successor.

#include <algorithm>

#include "core.hpp"
#include "job_map.hpp"
#include "jobyard/assert.hpp"

namespace jobyard::broker {
namespace {

constexpr std::size_t kMadePerStep = 200;     // and cancelled
constexpr std::size_t kLookedPerStep = 4096;  // jobs, ended ones too, for some to cancel
constexpr std::uint32_t kForgottenPerStep = 1000;
constexpr std::size_t kOpsBeforeRest = 2048;  // in the open batch: the disk is slower than this
constexpr std::int64_t kRestMs = 200;         // while there is no room
constexpr std::size_t kArrays = 10'000;
constexpr std::size_t kEndedKept = 1'000;
constexpr const char* kNoArray = "no array of this number is remembered";
constexpr std::int64_t kLookEveryMs = 60'000;  // for those to forget
constexpr std::int64_t kLookSoonMs = 1'000;    // when one more has ended than are kept

std::string jobs_text(std::uint64_t count) { return std::to_string(count) + (count == 1 ? " job" : " jobs"); }

/// What the leftovers of `of` with this index, and greater ones, come after. As long as their keys (Found).
std::string before_leftover(JobId of, std::uint64_t index) {
    return index == 0 ? array_index_key({of.value - 1}, UINT64_MAX) : array_index_key(of, index - 1);
}

}  // namespace

// --- which jobs are whose --------------------------------------------------------------------------------------------

Core::ArrayPlace Core::place_of(const Job& job) const {
    if (!job.in_array) return {};
    const auto& [first, run] = *std::prev(array_runs_.upper_bound(job.id));
    return {run.array, run.first_index + (job.id.value - first.value) * arrays_.at(run.array).row.step};
}

void Core::join_array(Job& job, JobId id, std::uint64_t index) {
    Array& array = arrays_.at(id);
    job.in_array = true;
    ++array.unended;
    const auto after = array_runs_.upper_bound(job.id);
    if (after != array_runs_.begin()) {
        auto& [first, run] = *std::prev(after);
        const std::uint64_t n = job.id.value - first.value;
        if (run.array == id && n <= run.count && run.first_index + n * array.row.step == index) {
            ++run.unended;
            run.count = std::max(run.count, n + 1);
            return;
        }
    }
    array_runs_.emplace_hint(after, job.id, ArrayRun{id, index, 1, 1});
}

void Core::leave_array(const Job& job) {
    const auto run = std::prev(array_runs_.upper_bound(job.id));
    --arrays_.at(run->second.array).unended;
    if (--run->second.unended == 0) array_runs_.erase(run);
}

// --- beginning -------------------------------------------------------------------------------------------------------

std::optional<Answer> Core::refusal_of(const SubmitArray& array) const {
    const auto bad = [](const char* field, const char* text) {
        return Answer{Code::bad_field, {}, {}, text, field, 0};
    };
    if (array.items.front().held) return bad("held", "an array is not held; pause its queue instead");
    if (array.count == 0 || array.count > kMaxArrayJobs) return bad("count", "an array has 1 to 100,000,000 jobs");
    if (array.step == 0) return bad("step", "indices are at least 1 apart");
    if (array.first > kMaxArrayIndex || array.count - 1 > (kMaxArrayIndex - array.first) / array.step)
        return bad("first", "an index is at most 9007199254740991");
    if (!array.name.empty() && !is_name(array.name))
        return bad("name", "1 to 255 bytes of UTF-8 without control characters");
    return std::nullopt;
}

/// A full queue is none of these: the array waits for it.
std::optional<Answer> Core::no_room_for_array(const SubmitItem& item, std::optional<ClassId> known_class) const {
    if (const auto refusal = no_room_to_begin(item.queue, known_class)) return refusal;
    if (counters_.payload_bytes + item.payload_length > config_.limits.payload_total_bytes)
        return Answer{Code::busy, {},
                      {},         "the unended jobs' payloads are as large as they may be (limit payload_total_bytes)",
                      {},         1000};
    if (arrays_.size() >= kArrays)
        return Answer{
            Code::busy, {},
            {},         "as many arrays are remembered as may be (10,000): purge or resubmit the dead of old ones",
            {},         60'000};
    return std::nullopt;
}

Answer Core::make_array(const LiveRow& submitted, const ArrayRow& row, const KeptBytes& payload, Turn turn,
                        Output& out) {
    const JobId id{numbers_.next_job++};
    LiveRow job = submitted;
    out.batch->note_payload(id, put_submitted(Table::arrays, id, job, payload, *out.batch));
    Array& array = add_array(id, job, row);
    dirty_arrays_.insert(id);
    record(EventKind::array_submitted, id, ready_.class_of(array.queue, array.type), {},
           jobs_text(row.count) + (row.of ? " of array " + std::to_string(row.of.value) + " again" : ""));
    schedule(id, array, turn.now);
    return {Code::ok, id, state_of(array)};
}

Core::Array& Core::add_array(JobId id, const LiveRow& submitted, const ArrayRow& row) {
    Array& array = arrays_[id];
    array.name = row.name;
    array.queue = submitted.queue;
    array.type = submitted.type;
    array.key = submitted.key;
    array.row = row;
    array.row.name = {};
    array.job = submitted;
    array.job.queue = array.queue;
    array.job.type = array.type;
    array.job.key = array.job.payload = {};
    array.owner = owner_of(submitted.owner);
    array.job.owner = owners_[array.owner].name;
    if (!array.key.empty()) array_keys_[name_pair_key(array.queue, array.key)] = id;
    ready_.class_of(array.queue, array.type);
    count_new_queues();
    if (row.ended_at != 0) ended_arrays_.insert({row.ended_at, id});
    else count_payload(array, true);
    return array;
}

void Core::load_array(JobId id, const LiveRow& submitted, const ArrayRow& row) {
    Array& array = add_array(id, submitted, row);
    if (row.makes || row.cancels || row.is_leaving) schedule(id, array, 0);
}

void Core::write_arrays(Output& out) {
    Batch& batch = *out.batch;
    for (const JobId id : dirty_arrays_) {
        const Array& array = arrays_.at(id);
        ArrayRow row = array.row;
        row.name = array.name;
        const Slice key = batch.append(job_key(id));
        batch.put(Table::counts, key, append_row(batch, row));
    }
    dirty_arrays_.clear();
}

// --- how its jobs fare -----------------------------------------------------------------------------------------------

/// `row_bytes`: what the job's final record counts for among the ended ones.
void Core::ended_in_array(JobId job, const ArrayPlace& place, JobState state, std::uint64_t row_bytes, Turn turn,
                          Output& out) {
    Array& array = arrays_.at(place.array);
    ArrayRow& row = array.row;
    if (state == JobState::completed) {
        ++row.completed;
    } else {
        if (state == JobState::dead) ++row.dead, ++row.buried, ++row.left_dead;
        else ++row.cancelled_jobs, ++row.left_cancelled;
        const Slice key = out.batch->append(array_index_key(place.array, place.index));
        out.batch->put(Table::leftovers, key, append_row(*out.batch, LeftoverRow{job, state, row_bytes}));
    }
    dirty_arrays_.insert(place.array);
    if (row.makes) {
        if (array.due == INT64_MAX) schedule(place.array, array, turn.now);  // it waited for this
    } else if (array.unended == 0) {
        end_array(place.array, array, turn);
    }
}

/// A dead one has begun a new round.
void Core::redriven_in_array(const ArrayPlace& place, Output& out) {
    Array& array = arrays_.at(place.array);
    ArrayRow& row = array.row;
    --row.dead, --row.buried, --row.left_dead;
    out.batch->erase(Table::leftovers, array_index_key(place.array, place.index));
    dirty_arrays_.insert(place.array);
    if (row.ended_at == 0) return;
    ended_arrays_.erase({row.ended_at, place.array});
    row.ended_at = 0;
    count_payload(array, true);
}

/// A dead one has another final record, which counts for as much.
void Core::edited_in_array(JobId job, const ArrayPlace& place, std::uint64_t row_bytes, Output& out) {
    const Slice key = out.batch->append(array_index_key(place.array, place.index));
    out.batch->put(Table::leftovers, key, append_row(*out.batch, LeftoverRow{job, JobState::dead, row_bytes}));
}

/// A dead one has left the dead letter queue for good. It can still be resubmitted.
void Core::retired_in_array(JobId job, const ArrayPlace& place, Output& out) {
    const auto found = arrays_.find(place.array);
    if (found == arrays_.end()) return;
    --found->second.row.buried;
    dirty_arrays_.insert(place.array);
    const Slice key = out.batch->append(array_index_key(place.array, place.index));
    out.batch->put(Table::leftovers, key, append_row(*out.batch, LeftoverRow{job, JobState::retired, 0}));
}

void Core::end_array(JobId id, Array& array, Turn turn) {
    array.row.makes = array.row.cancels = false;
    array.row.ended_at = turn.wall;
    schedule(id, array, INT64_MAX);
    dirty_arrays_.insert(id);
    count_payload(array, false);
    ended_arrays_.insert({turn.wall, id});
    if (ended_arrays_.size() > kEndedKept) next_array_look_ = std::min(next_array_look_, turn.now + kLookSoonMs);
    const PendingResult result = result_of(id, array);
    record(EventKind::array_ended, id, ready_.class_of(array.queue, array.type), {},
           std::string(to_string(result.state)) + (result.error.empty() ? "" : ": " + result.error));
    for (const SessionIndex index : std::exchange(array.watchers, {})) {
        const auto session = sessions_.find(index);
        if (session == sessions_.end()) continue;
        --session->second->watches;
        push(*session->second, result);
    }
}

JobState Core::state_of(const Array& array) {
    const ArrayRow& row = array.row;
    if (row.ended_at == 0) return JobState::running;
    if (row.dead > 0) return JobState::dead;
    return row.cancelled_jobs > 0 || row.made < row.count ? JobState::cancelled : JobState::completed;
}

Core::PendingResult Core::result_of(JobId id, const Array& array) {
    const ArrayRow& row = array.row;
    PendingResult result;
    result.job = id;
    result.state = state_of(array);
    if (result.state == JobState::dead) result.reason = Reason::failed;
    const auto add = [&](std::uint64_t count, const char* what) {
        if (count != 0) result.error += (result.error.empty() ? "" : ", ") + std::to_string(count) + what;
    };
    add(row.dead, " dead");
    add(row.cancelled_jobs, " cancelled");
    add(row.count - row.made, " not made");
    if (!result.error.empty()) result.error += " of " + jobs_text(row.count);
    return result;
}

void Core::watch_array(Session& session, Array& array) {
    std::erase_if(array.watchers, [this](SessionIndex index) { return !sessions_.contains(index); });
    if (array.watchers.insert(session.index).second) ++session.watches;
}

// --- asking and steering ---------------------------------------------------------------------------------------------

void Core::append_array_map(JobId id, const Array& array, std::optional<std::string_view> payload,
                            std::string& bytes) const {
    const ArrayRow& row = array.row;
    MapWriter map;
    map.uint("id", id.value);
    map.uint("array", id.value);
    map.text("queue", array.queue);
    map.text("type", array.type);
    map.uint("priority", array.job.priority);
    map.text("state", to_string(state_of(array)));
    map.integer("created_at", array.job.created_at);
    if (row.ended_at != 0) map.integer("ended_at", row.ended_at);
    map.uint("max_attempts", array.job.max_attempts);
    map.uint("timeout_ms", array.job.timeout_ms);
    map.uint("payload_bytes", array.job.payload_size);
    if (!array.key.empty()) map.text("key", array.key);
    map.text("name", array.name);
    if (!row.of) {
        map.uint("first", row.first);
        map.uint("step", row.step);
    }
    map.uint("count", row.count);
    map.uint("at_once", row.at_once);
    map.boolean("making", row.makes);
    map.uint("made", row.made);
    map.uint("waiting", array.unended - array.running);
    map.uint("running", array.running);
    map.uint("completed", row.completed);
    map.uint("dead", row.dead);
    map.uint("cancelled", row.cancelled_jobs);
    map.uint("left_dead", row.left_dead);
    map.uint("left_cancelled", row.left_cancelled);
    if (row.of) map.uint("resubmits", row.of.value);
    if (row.resubmitted_as) map.uint("resubmitted_as", row.resubmitted_as.value);
    if (payload) map.bytes("payload", *payload);
    map.append_to(bytes);
}

void Core::on_list_arrays(Session& session, RequestId request, const ListArrays& list, Output& out) {
    std::vector<std::string> maps;
    if (list.array) {
        const auto found = arrays_.find(list.array);
        if (found == arrays_.end())
            return refuse(session.peer, session.id, request, code_of_absent(list.array), kNoArray, "array", out);
        append_array_map(list.array, found->second, {}, maps.emplace_back());
        return answer_maps(session, request, {}, maps, out);
    }
    const std::size_t limit = std::clamp<std::size_t>(list.limit, 1, kMaxItems);
    std::string next;
    std::size_t bytes = 0;
    auto at = list.cursor ? arrays_.lower_bound(list.cursor) : arrays_.end();
    while (at != arrays_.begin()) {
        if (maps.size() == limit || bytes > kCutListBytes) {
            next = std::to_string(at->first.value);
            break;
        }
        --at;
        append_array_map(at->first, at->second, {}, maps.emplace_back());
        bytes += maps.back().size();
    }
    answer_maps(session, request, next, maps, out);
}

void Core::on_steer_array(Session& session, RequestId request, const SteerArray& steer, const Found& found, Turn turn,
                          Output& out) {
    if (steer.action != ArrayAction::stop && steer.action != ArrayAction::resubmit)
        return refuse(session.peer, session.id, request, Code::bad_field, "1 (stop) or 2 (resubmit)", "action", out);
    Answers answers;
    const auto at = arrays_.find(steer.array);
    if (at == arrays_.end())
        answers.items.push_back({code_of_absent(steer.array), steer.array, JobState::none, kNoArray});
    else if (steer.action == ArrayAction::stop) answers.items.push_back(stop_array(at->first, at->second, turn));
    else answers.items.push_back(resubmit(at->first, at->second, steer.cancelled, found, turn, out));
    answer(session, request, std::move(answers), out);
}

Answer Core::stop_array(JobId id, Array& array, Turn turn) {
    if (!array.row.makes) return {Code::ended, id, state_of(array)};
    array.row.makes = false;
    dirty_arrays_.insert(id);
    record(EventKind::array_stopped, id, ready_.class_of(array.queue, array.type), {},
           jobs_text(array.row.made) + " of " + std::to_string(array.row.count) + " made");
    schedule(id, array, INT64_MAX);
    if (array.unended == 0) end_array(id, array, turn);
    return {Code::ok, id, state_of(array)};
}

/// Makes no more, and cancels those made, in steps.
Answer Core::cancel_array(JobId id, Turn turn) {
    Array& array = arrays_.at(id);
    if (array.row.ended_at != 0) return {Code::ended, id, state_of(array)};
    stop_array(id, array, turn);
    if (array.row.ended_at != 0) return {Code::ok, id, state_of(array)};
    if (!array.row.cancels) {
        array.row.cancels = true;
        array.cancelled_up_to = 0;
        dirty_arrays_.insert(id);
        record(EventKind::cancel_requested, id, ready_.class_of(array.queue, array.type));
        schedule(id, array, turn.now);
    }
    return {Code::cancel_requested, id, state_of(array)};
}

/// Asked again after a lost answer it is answered with the same array: it is still being made, or nothing is left.
Answer Core::resubmit(JobId id, Array& array, bool cancelled, const Found& found, Turn turn, Output& out) {
    const JobId last_id = array.row.resubmitted_as;
    const auto last = arrays_.find(last_id);
    const std::uint64_t left = array.row.left_dead + (cancelled ? array.row.left_cancelled : 0);
    if (array.row.is_leaving) return {Code::retired, id, state_of(array), "it is being forgotten"};
    const bool is_made = last != arrays_.end() && last->second.row.makes;
    if (is_made && cancelled && !last->second.row.cancelled && array.row.left_cancelled > 0)
        return {Code::busy,  id,  state_of(array), "it is being resubmitted without its cancelled jobs",
                "cancelled", 1000};
    if (last_id && (left == 0 || is_made))
        return {Code::existing, last_id, last == arrays_.end() ? JobState::retired : state_of(last->second)};
    if (left == 0)
        return {Code::not_dead, id, state_of(array),
                cancelled ? "none of its jobs is dead or cancelled" : "none of its jobs is dead"};
    LiveRow submitted;
    const auto bytes = found.get(Table::arrays, job_key(id));
    if (!bytes || !read_row(*bytes, submitted)) return {Code::retired, id, state_of(array), "its record is damaged"};
    std::string payload(submitted.payload);
    for (const RowView& piece : found.with_prefix(Table::chunks, job_key(id))) payload += piece.value;
    SubmitItem item;
    item.queue = submitted.queue;
    item.type = submitted.type;
    item.payload_length = submitted.payload_size;
    auto refusal = no_room_for_array(item, ready_.find_class(item.queue, item.type));
    if (!refusal) refusal = over_quota(array.owner, item.queue, item.payload_length, false, turn);
    if (refusal) {
        refusal->job = id;
        return *refusal;
    }
    submitted.key = {};
    submitted.content = {};
    submitted.delay_ms = 0;
    submitted.created_at = turn.wall;
    ArrayRow row;
    row.name = array.name;
    row.count = left;
    row.step = array.row.step;
    row.at_once = array.row.at_once;
    row.of = id;
    row.cancelled = cancelled;
    const Answer made = make_array(submitted, row, payload, turn, out);
    array.row.resubmitted_as = made.job;
    dirty_arrays_.insert(id);
    return made;
}

// --- steps -----------------------------------------------------------------------------------------------------------

/// It has a step to take at `at`; INT64_MAX: none.
void Core::schedule(JobId id, Array& array, std::int64_t at) {
    if (array.due != INT64_MAX) array_work_.erase({array.due, id});
    array.due = at;
    if (at != INT64_MAX) array_work_.insert({at, id});
}

Core::ArrayStep Core::step_of(const Array& array) {
    if (array.row.cancels) return ArrayStep::cancel;
    if (!array.row.makes) return ArrayStep::forget;
    return array.row.of ? ArrayStep::make_leftovers : ArrayStep::make;
}

/// Also counts, from the last one that ended on, how many are kept, and how large payloads.
void Core::look_for_arrays_to_forget(Turn turn) {
    next_array_look_ = turn.now + kLookEveryMs;
    too_many_arrays_ = {};
    std::size_t kept = 0;
    std::uint64_t bytes = 0;
    for (auto ended = ended_arrays_.rbegin(); ended != ended_arrays_.rend(); ++ended) {
        Array& array = arrays_.at(ended->second);
        bytes += array.job.payload_size;
        if ((++kept > kEndedKept || bytes > config_.limits.kept_bytes) && !too_many_arrays_.second)
            too_many_arrays_ = *ended;
        if (may_be_forgotten(ended->second, array, turn)) schedule(ended->second, array, turn.now);
    }
}

/// What died may still be redriven, and needs its payload then. Whoever has begun to go goes: a resubmit of what is
/// left of its leftovers would leave indices out.
bool Core::may_be_forgotten(JobId id, const Array& array, Turn turn) const {
    const ArrayRow& row = array.row;
    if (row.is_leaving) return true;
    if (row.ended_at == 0 || row.buried != 0) return false;
    const auto again = arrays_.find(row.resubmitted_as);
    if (again != arrays_.end() && again->second.row.makes) return false;
    return std::pair(row.ended_at, id) <= too_many_arrays_ ||
           turn.wall - row.ended_at > static_cast<std::int64_t>(std::min(config_.limits.kept_ms, kMaxDelayMs * 100));
}

std::int64_t Core::next_array_step() const {
    if (window_open_) return INT64_MAX;
    std::int64_t next = ended_arrays_.empty() ? INT64_MAX : next_array_look_;
    if (!array_work_.empty()) next = std::min(next, array_work_.begin()->first);
    return next == INT64_MAX ? next : std::max(next, next_step_);
}

/// Whichever has waited the longest.
std::vector<Need> Core::array_needs(Turn turn) {
    if (window_open_) return {};
    if (!ended_arrays_.empty() && turn.now >= next_array_look_) look_for_arrays_to_forget(turn);
    if (array_work_.empty() || array_work_.begin()->first > turn.now) return {};
    stepping_ = array_work_.begin()->second;
    const Array& array = arrays_.at(stepping_);
    step_kind_ = step_of(array);
    switch (step_kind_) {
        case ArrayStep::make_leftovers:
            return {
                {Need::Kind::after, Table::leftovers, before_leftover(array.row.of, array.row.cursor), kMadePerStep}};
        case ArrayStep::forget:
            return {{Need::Kind::after, Table::leftovers, before_leftover(stepping_, 0), kForgottenPerStep}};
        default: return {{Need::Kind::row, Table::meta, std::string(kMetaNumbers), 1}};  // all is in memory
    }
}

void Core::array_step(const Found& found, Turn turn, Output& out) {
    const auto at = arrays_.find(stepping_);
    if (at == arrays_.end()) return;
    auto& [id, array] = *at;
    if (array.due == INT64_MAX || step_of(array) != step_kind_) return;  // steered meanwhile
    schedule(id, array, turn.now);                                       // behind the others
    switch (step_kind_) {
        case ArrayStep::make: return make_some(id, array, turn, out);
        case ArrayStep::make_leftovers: return make_leftovers(id, array, found, turn, out);
        case ArrayStep::cancel: return cancel_some(id, array, turn, out);
        case ArrayStep::forget: return forget_some(id, array, found, turn, out);
    }
}

/// If not, it has been put off.
bool Core::may_make(JobId id, Array& array, Turn turn, const Output& out) {
    if (array.row.at_once != 0 && array.unended >= array.row.at_once) {
        schedule(id, array, INT64_MAX);  // until one of its jobs ends
        return false;
    }
    if (out.batch->ops().size() > kOpsBeforeRest) {
        schedule(id, array, turn.now + 1);
        return false;
    }
    SubmitItem item;
    item.queue = array.queue;
    item.type = array.type;
    if (!no_room_for(item, ready_.find_class(array.queue, array.type)) &&
        !over_quota(array.owner, array.queue, 0, false, turn))
        return true;
    schedule(id, array, turn.now + kRestMs);
    return false;
}

void Core::make_array_job(JobId id, Array& array, std::uint64_t index, Turn turn, Output& out) {
    const JobId job{numbers_.next_job++};
    LiveRow row = array.job;
    row.content = {};
    row.chunks = 0;
    row.created_at = turn.wall;
    const std::int64_t left = array.job.created_at + static_cast<std::int64_t>(array.job.delay_ms) - turn.wall;
    row.delay_ms =
        static_cast<std::uint64_t>(std::clamp<std::int64_t>(left, 0, static_cast<std::int64_t>(row.delay_ms)));
    row.array = id;
    row.array_index = index;
    const Slice key = out.batch->append(job_key(job));
    out.batch->put(Table::live, key, append_row(*out.batch, row));
    begin_job(job, row, turn);
    ++array.row.made;
    dirty_arrays_.insert(id);
}

void Core::make_some(JobId id, Array& array, Turn turn, Output& out) {
    ArrayRow& row = array.row;
    for (std::size_t n = 0; n < kMadePerStep && row.made < row.count; ++n) {
        if (!may_make(id, array, turn, out)) return;
        make_array_job(id, array, row.first + row.made * row.step, turn, out);
    }
    if (row.made < row.count) return;
    row.makes = false;
    dirty_arrays_.insert(id);
    touched_ = true;  // this step may have made nothing; but who stops the array now is told that it had stopped
    schedule(id, array, INT64_MAX);
}

void Core::make_leftovers(JobId id, Array& array, const Found& found, Turn turn, Output& out) {
    Batch& batch = *out.batch;
    const auto source = arrays_.find(array.row.of);
    bool more = false;
    if (source != arrays_.end()) {
        for (const RowView& row :
             found.after(Table::leftovers, before_leftover(array.row.of, array.row.cursor), more)) {
            if (!row.key.starts_with(job_key(array.row.of))) {
                more = false;
                break;
            }
            const std::uint64_t index = from_big_endian(row.key.substr(8));
            LeftoverRow left;
            const bool known = read_row(row.value, left);
            if (known && (left.state != JobState::cancelled || array.row.cancelled)) {
                // Others may have died since it was asked for, and come in too.
                array.row.count = std::max(array.row.count, array.row.made + 1);
                if (!may_make(id, array, turn, out)) return;
                make_array_job(id, array, index, turn, out);
                batch.erase(Table::leftovers, row.key);
                --(left.state == JobState::cancelled ? source->second.row.left_cancelled
                                                     : source->second.row.left_dead);
                if (left.state == JobState::dead) {
                    const std::string key = job_key(left.job);
                    batch.move(Table::dead, Table::done, key);
                    batch.erase(Table::buried, key);
                    --source->second.row.buried;
                    --numbers_.dead_rows;
                    ++numbers_.done_rows;
                    numbers_.done_bytes += left.bytes;
                }
                dirty_arrays_.insert(array.row.of);
            }
            array.row.cursor = index + 1;
        }
        dirty_arrays_.insert(id);
    }
    if (more) return;
    array.row.makes = false;
    array.row.count = array.row.made;  // or were redriven
    dirty_arrays_.insert(id);
    touched_ = true;  // as in make_some
    schedule(id, array, INT64_MAX);
    if (array.unended == 0) end_array(id, array, turn);
}

void Core::cancel_some(JobId id, Array& array, Turn turn, Output& out) {
    std::vector<JobId> jobs;
    std::size_t budget = kLookedPerStep;
    std::uint64_t& up_to = array.cancelled_up_to;
    auto run = array_runs_.upper_bound({up_to});
    if (run != array_runs_.begin()) --run;
    for (; run != array_runs_.end() && budget > 0 && jobs.size() < kMadePerStep; --budget) {
        const std::uint64_t next = std::max(up_to + 1, run->first.value);
        const std::uint64_t end = run->first.value + run->second.count;
        if (run->second.array != id || next >= end) {
            up_to = std::max(up_to, end - 1);
            ++run;
            continue;
        }
        up_to = next;
        if (jobs_.find({next}) != kNoJob) jobs.push_back({next});
    }
    const bool over = run == array_runs_.end();
    for (const JobId job : jobs) cancel_job(jobs_.find(job), turn, out);
    if (!over || array.row.ended_at != 0) return;
    array.row.cancels = false;  // what runs has been told to stop
    dirty_arrays_.insert(id);
    schedule(id, array, INT64_MAX);
}

void Core::forget_some(JobId id, Array& array, const Found& found, Turn turn, Output& out) {
    if (!may_be_forgotten(id, array, turn)) return schedule(id, array, INT64_MAX);
    array.row.is_leaving = true;
    Batch& batch = *out.batch;
    bool more = false;
    for (const RowView& row : found.after(Table::leftovers, before_leftover(id, 0), more)) {
        if (!row.key.starts_with(job_key(id))) {
            more = false;
            break;
        }
        LeftoverRow left;
        if (read_row(row.value, left))
            --(left.state == JobState::cancelled ? array.row.left_cancelled : array.row.left_dead);
        batch.erase(Table::leftovers, row.key);
        dirty_arrays_.insert(id);
    }
    if (more) return;
    for (std::uint32_t n = 0; n < array.job.chunks; ++n) batch.erase(Table::chunks, job_part_key(id, n));
    batch.erase(Table::arrays, job_key(id));
    batch.erase(Table::counts, job_key(id));
    if (!array.key.empty()) array_keys_.erase(name_pair_key(array.queue, array.key));
    ended_arrays_.erase({array.row.ended_at, id});
    dirty_arrays_.erase(id);
    schedule(id, array, INT64_MAX);
    arrays_.erase(id);
}

}  // namespace jobyard::broker
