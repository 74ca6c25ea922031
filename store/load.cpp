// From JSON lines to a store: the other half of dump.cpp, member by member. What was added to a dump since the first
// version may be missing: dumps are what brings a store from an older jobyard to a newer one.

#include <algorithm>
#include <istream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "dump.hpp"
#include "jobyard/codec.hpp"
#include "jobyard/limits.hpp"
#include "words.hpp"

namespace jobyard::store {
namespace {

using namespace broker;  // NOLINT: the rows are its
using Json = nlohmann::json;

constexpr std::uint64_t kLinesBetween = 1'000;

/// What is wrong with a line; leaves load() only as an Error.
struct Wrong {
    std::string text;
};

[[noreturn]] void wrong(const std::string& text) { throw Wrong{text}; }

/// The members of one object, each of the kind it must be.
class Members {
 public:
    explicit Members(const Json& object) : object_(object) {
        if (!object.is_object()) wrong("expected a JSON object");
    }
    [[nodiscard]] bool has(const std::string& name) const { return object_.contains(name); }
    [[nodiscard]] const Json& at(const std::string& name) const {
        const auto found = object_.find(name);
        if (found == object_.end()) wrong("there is no \"" + name + "\"");
        return *found;
    }
    [[nodiscard]] const std::string& text(const std::string& name) const {
        const Json& value = at(name);
        if (!value.is_string()) wrong("\"" + name + "\" must be a string");
        return value.get_ref<const std::string&>();
    }
    [[nodiscard]] const std::string& name(const std::string& name) const {
        const std::string& value = text(name);
        if (!is_name(value)) wrong("\"" + name + "\" must be 1 to 255 bytes without control characters");
        return value;
    }
    template <class T>
    [[nodiscard]] T number(const std::string& name) const {
        const Json& value = at(name);
        const bool fits = value.is_number_unsigned()
                              ? value.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<T>::max())
                              : std::is_signed_v<T> && value.is_number_integer();
        if (!fits) wrong("\"" + name + "\" must be a whole number that is not too large");
        return value.get<T>();
    }
    /// Greater than what JSON readers keep exactly, so it is a string.
    [[nodiscard]] std::uint64_t big(const std::string& name) const {
        const auto value = number_of(text(name));
        if (!value) wrong("\"" + name + "\" must be a string of digits");
        return *value;
    }
    [[nodiscard]] bool flag(const std::string& name) const {
        if (!at(name).is_boolean()) wrong("\"" + name + "\" must be true or false");
        return at(name).get<bool>();
    }
    [[nodiscard]] std::string bytes(const std::string& name) const {
        if (has(name)) return text(name);
        auto decoded = from_base64(text(name + "_base64"));
        if (!decoded) wrong("\"" + name + "_base64\" is no base64");
        return *std::move(decoded);
    }
    [[nodiscard]] ContentHash content() const {
        const auto bytes = from_hex(text("content"));
        ContentHash hash{};
        if (!bytes || bytes->size() != hash.size()) wrong("\"content\" must be 32 hexadecimal digits");
        std::copy(bytes->begin(), bytes->end(), hash.begin());
        return hash;
    }
    /// The value whose word it is.
    template <class E>
    [[nodiscard]] E word(const std::string& name, std::initializer_list<E> values) const {
        for (const E value : values)
            if (text(name) == to_string(value)) return value;
        wrong("\"" + name + "\" is \"" + text(name) + "\", which is not one of its words");
    }

 private:
    const Json& object_;
};

class Load {
 public:
    explicit Load(NewStore& store) : store_(store) {}

    /// An Error is the disk's; what is wrong with the line is thrown.
    Result<void> take(const std::string& text) {
        const Json parsed = Json::parse(text, nullptr, false);
        if (parsed.is_discarded()) wrong("no JSON");
        const Members line(parsed);
        const std::string& kind = line.text("kind");
        if (!begun_) {
            if (kind != "store") wrong("a dump begins with a line of kind \"store\"");
            const auto format = line.number<std::uint64_t>("format");
            if (format != kDumpFormat)
                wrong("the dump has format " + std::to_string(format) + ", this jobyard reads " +
                      std::to_string(kDumpFormat) + "; load it with the version that made it");
            epoch_ = line.number<std::uint64_t>("epoch");
            begun_ = true;
            return {};
        }
        if (ended_) wrong("there is something behind the totals");
        if (kind == "job") return line.text("state") == "unended" ? unended(line) : ended(line);
        if (kind == "key") return key(line);
        if (kind == "queue") return queue(line);
        if (kind == "array") return array(line);
        if (kind == "leftover") return leftover(line);
        if (kind != "totals") wrong("the kind \"" + kind + "\" is not known");
        numbers_.submitted_total = line.number<std::uint64_t>("submitted");
        numbers_.completed_total = line.number<std::uint64_t>("completed");
        numbers_.cancelled_total = line.number<std::uint64_t>("cancelled");
        numbers_.dead_total = line.number<std::uint64_t>("dead");
        numbers_.retried_total = line.number<std::uint64_t>("retried");
        ended_ = true;
        return {};
    }

    Result<void> finish() {
        if (!ended_) wrong("the dump ends before its totals: it is not whole");
        std::sort(jobs_.begin(), jobs_.end());
        if (const auto twice = std::adjacent_find(jobs_.begin(), jobs_.end()); twice != jobs_.end())
            wrong("job " + std::to_string(*twice) + " is there twice");
        if (auto anew = begin_anew(store_, numbers_, epoch_, {}); !anew) return anew;
        store_.batch().put(Table::meta, kMetaApplied, big_endian(1));
        if (auto made = store_.make_log(); !made) return made;
        return store_.finish();
    }

 private:
    template <class Row>
    Slice put_row(Table table, std::string_view key_bytes, const Row& row) {
        Batch& batch = store_.batch();
        const Slice key = batch.append(key_bytes);
        const Slice value = append_row(batch, row);
        batch.put(table, key, value);
        return value;
    }

    JobId new_job(const Members& line) {
        const JobId id{line.big("id")};
        if (id.value == 0 || id.value >= kMostJobs) wrong("\"id\" is not a job's number");
        jobs_.push_back(id.value);
        numbers_.next_job = std::max(numbers_.next_job, id.value + 1);
        return id;
    }

    /// Its pieces, if it is too large for its row.
    std::uint32_t put_pieces(Table table, JobId id, std::string_view bytes) {
        std::uint32_t n = 0;
        for (std::size_t at = 0; at < bytes.size(); at += kRowBytes)
            store_.batch().put(table, job_part_key(id, n++), bytes.substr(at, kRowBytes));
        return n;
    }

    /// The row of `live` or `buried`. `payload` must hold until it is put.
    LiveRow submitted(const Members& line, JobId id, const std::string& payload) {
        const Members backoff(line.at("backoff"));
        LiveRow row;
        row.queue = line.name("queue");
        row.type = line.name("type");
        row.priority = line.number<std::uint8_t>("priority");
        if (row.priority < kPriorityMin || row.priority > kPriorityMax) wrong("\"priority\" must be 1 to 10");
        row.created_at = line.number<std::int64_t>("created_at");
        row.delay_ms = line.number<std::uint64_t>("delay_ms");
        row.timeout_ms = line.number<std::uint32_t>("timeout_ms");
        row.max_attempts = line.number<std::uint32_t>("max_attempts");
        if (line.has("deadline_ms")) row.deadline_ms = line.number<std::uint64_t>("deadline_ms");
        if (line.has("queue_timeout_ms")) row.queue_timeout_ms = line.number<std::uint64_t>("queue_timeout_ms");
        if (line.has("held")) row.held = line.flag("held");
        if (line.has("key_ttl_ms")) row.key_ttl_ms = line.number<std::uint64_t>("key_ttl_ms");
        if (line.has("owner")) row.owner = line.name("owner");
        row.backoff.initial_ms = backoff.number<std::uint32_t>("initial_ms");
        row.backoff.factor_percent = backoff.number<std::uint32_t>("factor_percent");
        row.backoff.max_ms = backoff.number<std::uint32_t>("max_ms");
        row.backoff.jitter_percent = backoff.number<std::uint32_t>("jitter_percent");
        if (line.has("key")) {
            row.key = line.name("key");
            row.content = line.content();
        }
        if (line.has("array")) {
            row.array = {line.big("array")};
            row.array_index = line.big("array_index");
            const auto array = arrays_.find(row.array.value);
            if (array == arrays_.end()) wrong("\"array\" is none that stands before its jobs");
            row.payload_size = array->second;
            return row;
        }
        if (payload.size() > kMaxMessageBytes) wrong("the payload is larger than any message");
        row.payload_size = static_cast<std::uint32_t>(payload.size());
        const std::size_t fixed =
            kLiveFieldsAtMost + row.queue.size() + row.type.size() + row.key.size() + row.owner.size();
        if (fixed + payload.size() <= kRowBytes) row.payload = payload;
        else row.chunks = put_pieces(Table::chunks, id, payload);
        return row;
    }

    static AttemptRow attempt(const Members& line) {
        AttemptRow row;
        row.attempt = line.number<std::uint32_t>("attempt");
        row.worker = line.text("worker");
        row.token = {line.big("token")};
        row.started_at = line.number<std::int64_t>("started_at");
        row.ended_at = line.number<std::int64_t>("ended_at");
        row.outcome = line.word("outcome", {Outcome::completed, Outcome::failed, Outcome::timeout, Outcome::cancelled,
                                            Outcome::released, Outcome::worker_lost, Outcome::lease_expired});
        row.error = line.text("error");
        row.tail = line.text("tail");
        return row;
    }

    void put_attempts(const Members& line, JobId id) {
        if (!line.has("attempts")) return;
        if (!line.at("attempts").is_array()) wrong("\"attempts\" must be a list");
        for (const Json& each : line.at("attempts")) {
            const AttemptRow row = attempt(Members(each));
            put_row(Table::attempts, job_part_key(id, row.attempt), row);
        }
    }

    Result<void> unended(const Members& line) {
        const JobId id = new_job(line);
        const std::string payload = line.has("array") ? "" : line.bytes("payload");
        const LiveRow row = submitted(line, id, payload);
        put_row(Table::live, job_key(id), row);
        if (!row.key.empty()) {
            put_row(Table::keys, name_pair_key(row.queue, row.key), KeyRow{id, row.content, JobState::none});
            ++numbers_.key_rows;
        }
        if (line.has("past")) {
            const Members past(line.at("past"));
            StateRow state;
            state.order = past.big("order");
            state.errors = past.number<std::uint32_t>("errors");
            state.crashes = past.number<std::uint32_t>("crashes");
            state.attempts = past.number<std::uint32_t>("attempts");
            state.token_floor = past.big("token_floor");
            state.due_at = past.number<std::int64_t>("due_at");
            state.pause_ms = past.number<std::uint64_t>("pause_ms");
            state.cancel_requested = past.flag("cancel_requested");
            if (past.has("scheduled")) state.scheduled = past.flag("scheduled");
            if (past.has("held")) state.held = past.flag("held");
            if (past.has("priority")) state.priority = past.number<std::uint8_t>("priority");
            if (past.has("queue") && !past.text("queue").empty()) state.queue = past.name("queue");
            if (past.has("round_at")) state.round_at = past.number<std::int64_t>("round_at");
            if (past.has("ready_at")) state.ready_at = past.number<std::int64_t>("ready_at");
            put_row(Table::state, job_key(id), state);
        }
        put_attempts(line, id);
        return store_.flush_if_large();
    }

    Result<void> array(const Members& line) {
        const JobId id = new_job(line);
        const std::string payload = line.bytes("payload");
        const LiveRow row = submitted(line, id, payload);
        put_row(Table::arrays, job_key(id), row);
        arrays_[id.value] = row.payload_size;
        ArrayRow counts;
        if (!line.text("name").empty()) counts.name = line.name("name");
        counts.count = line.number<std::uint64_t>("count");
        counts.first = line.big("first");
        counts.step = line.big("step");
        counts.at_once = line.number<std::uint32_t>("at_once");
        counts.of = {line.big("resubmits")};
        counts.cancelled = line.flag("resubmits_cancelled");
        counts.makes = line.flag("makes");
        counts.cancels = line.flag("cancels");
        if (line.has("is_leaving")) counts.is_leaving = line.flag("is_leaving");
        counts.made = line.number<std::uint64_t>("made");
        counts.cursor = line.big("cursor");
        counts.completed = line.number<std::uint64_t>("completed");
        counts.dead = line.number<std::uint64_t>("dead");
        counts.cancelled_jobs = line.number<std::uint64_t>("cancelled");
        counts.buried = line.number<std::uint64_t>("in_dead_letter_queue");
        counts.left_dead = line.number<std::uint64_t>("left_dead");
        counts.left_cancelled = line.number<std::uint64_t>("left_cancelled");
        counts.resubmitted_as = {line.big("resubmitted_as")};
        counts.ended_at = line.number<std::int64_t>("ended_at");
        put_row(Table::counts, job_key(id), counts);
        return store_.flush_if_large();
    }

    Result<void> leftover(const Members& line) {
        LeftoverRow row;
        row.job = {line.big("id")};
        row.state = line.word("state", {JobState::dead, JobState::retired, JobState::cancelled});
        const auto dead = dead_bytes_.find(row.job.value);
        if ((row.state == JobState::dead) != (dead != dead_bytes_.end())) wrong("\"state\" is not that of the job");
        if (dead != dead_bytes_.end()) row.bytes = dead->second;
        put_row(Table::leftovers, array_index_key({line.big("array")}, line.big("array_index")), row);
        return store_.flush_if_large();
    }

    Result<void> ended(const Members& line) {
        const JobId id = new_job(line);
        EndRow row;
        row.state = line.word("state", {JobState::completed, JobState::cancelled, JobState::dead});
        row.reason = line.word(
            "reason", {Reason::none, Reason::failed, Reason::not_retryable, Reason::crash_loop, Reason::expired});
        row.queue = line.name("queue");
        row.type = line.name("type");
        row.priority = line.number<std::uint8_t>("priority");
        row.created_at = line.number<std::int64_t>("created_at");
        row.ended_at = line.number<std::int64_t>("ended_at");
        row.max_attempts = line.number<std::uint32_t>("max_attempts");
        row.timeout_ms = line.number<std::uint32_t>("timeout_ms");
        row.errors = line.number<std::uint32_t>("errors");
        row.crashes = line.number<std::uint32_t>("crashes");
        row.attempts = line.number<std::uint32_t>("attempts_kept");
        row.payload_size = line.number<std::uint32_t>("payload_bytes");
        if (line.has("last")) row.last = attempt(Members(line.at("last")));
        if (line.has("key")) {
            row.key = line.name("key");
            row.content = line.content();
            if (line.has("key_ttl_ms")) row.key_ttl_ms = line.number<std::uint64_t>("key_ttl_ms");
        }
        if (line.has("edited_at")) row.edited_at = line.number<std::int64_t>("edited_at");
        if (line.has("array")) {
            row.array = {line.big("array")};
            row.array_index = line.big("array_index");
        }
        const bool is_dead = row.state == JobState::dead && !line.has("resubmitted");
        if (is_dead) {
            const std::string payload = line.has("array") ? "" : line.bytes("payload");
            const LiveRow buried = submitted(line, id, payload);
            row.payload_chunks = buried.chunks;
            put_row(Table::buried, job_key(id), buried);
        }
        const std::string result = line.bytes("result");
        if (result.size() > kMaxMessageBytes) wrong("the result is larger than any message");
        row.result_size = static_cast<std::uint32_t>(result.size());
        const std::size_t fixed = kEndFieldsAtMost + row.queue.size() + row.type.size() + row.key.size() +
                                  row.last.worker.size() + row.last.error.size() + row.last.tail.size();
        if (fixed + result.size() <= kRowBytes) row.result = result;
        else row.result_chunks = put_pieces(Table::results, id, result);
        const Slice value = put_row(is_dead ? Table::dead : Table::done, job_key(id), row);
        if (is_dead) {
            ++numbers_.dead_rows;
            if (row.array) dead_bytes_[id.value] = value.size + (row.result_chunks == 0 ? 0 : row.result_size);
        } else {
            ++numbers_.done_rows;
            numbers_.done_bytes += value.size + (row.result_chunks == 0 ? 0 : row.result_size);
        }
        put_attempts(line, id);
        return store_.flush_if_large();
    }

    /// Of a job that has ended: it names that job until it is forgotten.
    Result<void> key(const Members& line) {
        const JobId id{line.big("id")};
        const JobState state =
            line.word("state", {JobState::completed, JobState::cancelled, JobState::dead, JobState::retired});
        const std::string name = name_pair_key(line.name("queue"), line.name("key"));
        put_row(Table::keys, name, KeyRow{id, line.content(), state});
        const auto forget_at = line.has("forget_at") ? line.number<std::uint64_t>("forget_at")
                                                     : line.number<std::uint64_t>("ended_at") + kDefaultKeyTtlMs;
        store_.batch().put(Table::key_ends, big_endian(forget_at) + job_key(id), name);
        ++numbers_.key_rows;
        return store_.flush_if_large();
    }

    Result<void> queue(const Members& line) {
        QueueRow row;
        row.paused = line.flag("paused");
        row.paused_at = line.number<std::int64_t>("paused_at");
        row.by = line.text("by");
        row.why = line.text("why");
        row.max_running = line.number<std::uint32_t>("max_running");
        const auto take = [&](const char* name, std::optional<std::uint32_t>& setting) {
            if (line.has(name)) setting = line.number<std::uint32_t>(name);
        };
        take("max_attempts", row.retry.max_attempts);
        take("timeout_ms", row.retry.timeout_ms);
        take("backoff_initial_ms", row.retry.backoff.initial_ms);
        take("backoff_factor_percent", row.retry.backoff.factor_percent);
        take("backoff_max_ms", row.retry.backoff.max_ms);
        take("backoff_jitter_percent", row.retry.backoff.jitter_percent);
        const std::string queue(line.name("queue"));
        put_row(Table::queues, line.has("type") ? name_pair_key(queue, line.name("type")) : queue, row);
        return store_.flush_if_large();
    }

    static constexpr std::uint64_t kMostJobs = std::uint64_t{1} << 62U;
    NewStore& store_;
    bool begun_ = false;
    bool ended_ = false;
    std::uint64_t epoch_ = 0;
    NumbersRow numbers_;
    std::vector<std::uint64_t> jobs_;
    std::map<std::uint64_t, std::uint32_t> arrays_;      // with the sizes of their payloads
    std::map<std::uint64_t, std::uint64_t> dead_bytes_;  // of jobs of arrays
};

}  // namespace

Result<std::uint64_t> load(std::istream& in, const std::string& to, const Progress& progress) {
    auto store = NewStore::begin(to);
    if (!store) return store.error();
    Load loading(**store);
    std::uint64_t lines = 0;
    try {
        for (std::string line; std::getline(in, line);) {
            if (lines++ % kLinesBetween == 0) progress(lines - 1, 0);
            if (auto taken = loading.take(line); !taken) return taken.error();
        }
        if (in.bad()) return Error{Code::internal, "the dump cannot be read"};
        if (auto finished = loading.finish(); !finished) return finished.error();
    } catch (const Wrong& error) {
        return Error{Code::bad_field, "line " + std::to_string(lines) + ": " + error.text};
    }
    return lines;
}

}  // namespace jobyard::store
