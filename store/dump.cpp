#include "dump.hpp"

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>

#include "words.hpp"

namespace jobyard::store {
namespace {

using namespace broker;  // NOLINT: the rows are its
using Json = nlohmann::ordered_json;

static_assert(kTables == 21, "a table was added: dump and load it too, or say in dump.hpp why not");

constexpr std::uint64_t kRowsBetween = 1'000;

std::string digits(std::uint64_t number) { return std::to_string(number); }
std::string_view view_of(const ContentHash& hash) { return {reinterpret_cast<const char*>(hash.data()), hash.size()}; }

void put_bytes(Json& out, const std::string& name, std::string_view bytes) {
    if (is_text(bytes)) out[name] = std::string(bytes);
    else out[name + "_base64"] = base64(bytes);
}

void put_key(Json& out, std::string_view key, const ContentHash& content) {
    if (key.empty()) return;
    out["key"] = std::string(key);
    out["content"] = hex(view_of(content));
}

void put_array(Json& out, JobId array, std::uint64_t index) {
    out["array"] = digits(array.value);
    out["array_index"] = digits(index);
}

Json attempt_object(const AttemptRow& row) {
    return {{"attempt", row.attempt},          {"worker", std::string(row.worker)}, {"token", digits(row.token.value)},
            {"started_at", row.started_at},    {"ended_at", row.ended_at},          {"outcome", to_string(row.outcome)},
            {"error", std::string(row.error)}, {"tail", std::string(row.tail)}};
}

class Dump {
 public:
    Dump(const Image& image, std::ostream& out, const Progress& progress)
        : image_(image), out_(out), progress_(progress), all_(image.rows()) {}

    Result<std::uint64_t> run() {
        for (const auto part : {&Dump::header, &Dump::arrays, &Dump::unended, &Dump::ended, &Dump::leftovers,
                                &Dump::keys, &Dump::queues, &Dump::totals})
            if (auto done = (this->*part)(); !done) return done.error();
        out_.flush();
        if (!out_) return Error{Code::internal, "the dump cannot be written"};
        progress_(rows_, rows_);
        return lines_;
    }

 private:
    void line(const Json& object) {
        out_ << object.dump() << '\n';
        ++lines_;
    }
    Result<void> each(Table table, const StoreView::Row& row) {
        return image_.for_each(table, [&](std::string_view key, std::string_view value) -> Result<void> {
            if (rows_++ % kRowsBetween == 0) progress_(rows_ - 1, std::max(rows_, all_));
            if (!out_) return Error{Code::internal, "the dump cannot be written"};
            if (key.size() < least_key(table)) return damaged(table, key);
            try {
                return row(key, value);
            } catch (const Json::type_error&) {  // a text that is none
                return damaged(table, key);
            }
        });
    }
    /// Bytes of numbers, with which its keys begin.
    static std::size_t least_key(Table table) {
        switch (table) {
            case Table::meta:
            case Table::keys:
            case Table::queues: return 0;
            case Table::attempts:
            case Table::chunks:
            case Table::results: return sizeof(std::uint64_t) + sizeof(std::uint32_t);
            case Table::leftovers: return 2 * sizeof(std::uint64_t);
            default: return sizeof(std::uint64_t);
        }
    }
    static Error damaged(Table table, std::string_view key) {
        return {Code::internal, std::string("a row of table ") + to_string(table) + " cannot be read (number " +
                                    (key.size() >= 8 ? digits(from_big_endian(key)) : "?") +
                                    "); jobyard store verify tells more; restore a backup"};
    }

    Result<void> header() {
        const auto id = image_.store_id();
        if (!id) return id.error();
        const auto epoch = image_.number(kMetaEpoch);
        if (!epoch) return epoch.error();
        using namespace std::chrono;
        const auto now = duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
        line({{"kind", "store"},
              {"format", kDumpFormat},
              {"store", to_hex(*id)},
              {"epoch", *epoch},
              {"dumped_at", now}});
        return {};
    }

    Result<void> pieces(Table table, std::string_view job, std::uint32_t count, std::string& bytes) {
        for (std::uint32_t n = 0; n < count; ++n) {
            const std::string key = job_part_key({from_big_endian(job)}, n);
            const auto piece = image_.get(table, key);
            if (!piece) return piece.error();
            if (!*piece) return damaged(table, key);
            bytes += **piece;
        }
        return {};
    }

    /// What a submit asked for.
    Result<void> add_submitted(Json& job, std::string_view key, const LiveRow& row) {
        job["delay_ms"] = row.delay_ms;
        if (row.deadline_ms != 0) job["deadline_ms"] = row.deadline_ms;
        if (row.queue_timeout_ms != 0) job["queue_timeout_ms"] = row.queue_timeout_ms;
        if (row.held) job["held"] = true;
        if (!row.key.empty()) job["key_ttl_ms"] = row.key_ttl_ms;
        if (!row.owner.empty()) job["owner"] = row.owner;
        job["backoff"] = {{"initial_ms", row.backoff.initial_ms},
                          {"factor_percent", row.backoff.factor_percent},
                          {"max_ms", row.backoff.max_ms},
                          {"jitter_percent", row.backoff.jitter_percent}};
        if (row.array) {  // which has its payload
            put_array(job, row.array, row.array_index);
            return {};
        }
        std::string payload(row.payload);
        if (auto whole = pieces(Table::chunks, key, row.chunks, payload); !whole) return whole;
        put_bytes(job, "payload", payload);
        return {};
    }

    Result<void> add_attempts(Json& job, std::string_view key, std::uint32_t most) {
        for (std::uint32_t n = 1; n <= most; ++n) {
            const std::string attempt_key = job_part_key({from_big_endian(key)}, n);
            const auto bytes = image_.get(Table::attempts, attempt_key);
            if (!bytes) return bytes.error();
            if (!*bytes) continue;
            AttemptRow row;
            if (!read_row(**bytes, row)) return damaged(Table::attempts, attempt_key);
            job["attempts"].push_back(attempt_object(row));
        }
        return {};
    }

    /// Before their jobs.
    Result<void> arrays() {
        return each(Table::arrays, [this](std::string_view key, std::string_view value) -> Result<void> {
            LiveRow row;
            if (!read_row(value, row)) return damaged(Table::arrays, key);
            const auto bytes = image_.get(Table::counts, key);
            if (!bytes) return bytes.error();
            ArrayRow counts;
            if (!*bytes || !read_row(**bytes, counts)) return damaged(Table::counts, key);
            Json array{{"kind", "array"},
                       {"id", digits(from_big_endian(key))},
                       {"name", std::string(counts.name)},
                       {"queue", std::string(row.queue)},
                       {"type", std::string(row.type)},
                       {"priority", row.priority},
                       {"created_at", row.created_at},
                       {"max_attempts", row.max_attempts},
                       {"timeout_ms", row.timeout_ms},
                       {"count", counts.count},
                       {"first", digits(counts.first)},
                       {"step", digits(counts.step)},
                       {"at_once", counts.at_once},
                       {"resubmits", digits(counts.of.value)},
                       {"resubmits_cancelled", counts.cancelled},
                       {"makes", counts.makes},
                       {"cancels", counts.cancels},
                       {"is_leaving", counts.is_leaving},
                       {"made", counts.made},
                       {"cursor", digits(counts.cursor)},
                       {"completed", counts.completed},
                       {"dead", counts.dead},
                       {"cancelled", counts.cancelled_jobs},
                       {"in_dead_letter_queue", counts.buried},
                       {"left_dead", counts.left_dead},
                       {"left_cancelled", counts.left_cancelled},
                       {"resubmitted_as", digits(counts.resubmitted_as.value)},
                       {"ended_at", counts.ended_at}};
            put_key(array, row.key, row.content);
            if (auto added = add_submitted(array, key, row); !added) return added;
            line(array);
            return {};
        });
    }
    Result<void> leftovers() {
        return each(Table::leftovers, [this](std::string_view key, std::string_view value) -> Result<void> {
            LeftoverRow row;
            if (key.size() != 16 || !read_row(value, row)) return damaged(Table::leftovers, key);
            Json left{{"kind", "leftover"}};
            put_array(left, {from_big_endian(key)}, from_big_endian(key.substr(8)));
            left["id"] = digits(row.job.value);
            left["state"] = to_string(row.state);
            line(left);
            return {};
        });
    }

    Result<void> unended() {
        return each(Table::live, [this](std::string_view key, std::string_view value) -> Result<void> {
            LiveRow row;
            if (!read_row(value, row)) return damaged(Table::live, key);
            Json job{{"kind", "job"},
                     {"id", digits(from_big_endian(key))},
                     {"state", "unended"},
                     {"queue", std::string(row.queue)},
                     {"type", std::string(row.type)},
                     {"priority", row.priority},
                     {"created_at", row.created_at},
                     {"max_attempts", row.max_attempts},
                     {"timeout_ms", row.timeout_ms}};
            put_key(job, row.key, row.content);
            if (auto added = add_submitted(job, key, row); !added) return added;
            const auto bytes = image_.get(Table::state, key);
            if (!bytes) return bytes.error();
            if (*bytes) {
                StateRow state;
                if (!read_row(**bytes, state)) return damaged(Table::state, key);
                job["past"] = {{"order", digits(state.order)},
                               {"errors", state.errors},
                               {"crashes", state.crashes},
                               {"attempts", state.attempts},
                               {"token_floor", digits(state.token_floor)},
                               {"due_at", state.due_at},
                               {"pause_ms", state.pause_ms},
                               {"cancel_requested", state.cancel_requested},
                               {"scheduled", state.scheduled},
                               {"held", state.held},
                               {"priority", state.priority},
                               {"queue", std::string(state.queue)},
                               {"round_at", state.round_at},
                               {"ready_at", state.ready_at}};
                if (auto added = add_attempts(job, key, state.attempts + 1); !added) return added;
            }
            line(job);
            return {};
        });
    }

    Result<void> ended() {
        for (const Table table : {Table::dead, Table::done}) {
            auto done = each(table, [this, table](std::string_view key, std::string_view value) -> Result<void> {
                EndRow row;
                if (!read_row(value, row)) return damaged(table, key);
                Json job{{"kind", "job"},
                         {"id", digits(from_big_endian(key))},
                         {"state", to_string(row.state)},
                         {"queue", std::string(row.queue)},
                         {"type", std::string(row.type)},
                         {"priority", row.priority},
                         {"created_at", row.created_at},
                         {"max_attempts", row.max_attempts},
                         {"timeout_ms", row.timeout_ms},
                         {"reason", to_string(row.reason)},
                         {"ended_at", row.ended_at},
                         {"errors", row.errors},
                         {"crashes", row.crashes},
                         {"attempts_kept", row.attempts},
                         {"payload_bytes", row.payload_size}};
                put_key(job, row.key, row.content);
                if (!row.key.empty()) job["key_ttl_ms"] = row.key_ttl_ms;
                if (row.array) put_array(job, row.array, row.array_index);
                if (row.array && row.state == JobState::dead && table == Table::done) job["resubmitted"] = true;
                if (row.edited_at != 0) job["edited_at"] = row.edited_at;
                if (row.last.outcome != Outcome::none) job["last"] = attempt_object(row.last);
                std::string result(row.result);
                if (auto whole = pieces(Table::results, key, row.result_chunks, result); !whole) return whole;
                put_bytes(job, "result", result);
                if (table == Table::dead) {
                    const auto bytes = image_.get(Table::buried, key);
                    if (!bytes) return bytes.error();
                    LiveRow buried;
                    if (!*bytes || !read_row(**bytes, buried)) return damaged(Table::buried, key);
                    if (auto added = add_submitted(job, key, buried); !added) return added;
                }
                if (auto added = add_attempts(job, key, row.attempts); !added) return added;
                line(job);
                return {};
            });
            if (!done) return done;
        }
        return {};
    }

    Result<void> keys() {
        std::map<std::string, std::int64_t, std::less<>> forget_at;
        auto done = each(Table::key_ends, [&](std::string_view key, std::string_view value) -> Result<void> {
            forget_at[std::string(value)] = static_cast<std::int64_t>(from_big_endian(key));
            return {};
        });
        if (!done) return done;
        return each(Table::keys, [&](std::string_view key, std::string_view value) -> Result<void> {
            KeyRow row;
            const std::size_t nul = key.find('\0');
            if (nul == std::string_view::npos || !read_row(value, row)) return damaged(Table::keys, {});
            if (row.state == JobState::none) return {};  // its job says it
            Json object{{"kind", "key"},
                        {"queue", std::string(key.substr(0, nul))},
                        {"key", std::string(key.substr(nul + 1))},
                        {"content", hex(view_of(row.content))},
                        {"id", digits(row.job.value)},
                        {"state", to_string(row.state)}};
            if (const auto end = forget_at.find(key); end != forget_at.end()) object["forget_at"] = end->second;
            line(object);
            return {};
        });
    }

    /// What is set for queues, and for types in them.
    Result<void> queues() {
        return each(Table::queues, [&](std::string_view key, std::string_view value) -> Result<void> {
            QueueRow row;
            if (!read_row(value, row)) return damaged(Table::queues, {});
            const std::size_t nul = std::min(key.find('\0'), key.size());
            Json object{{"kind", "queue"},
                        {"queue", std::string(key.substr(0, nul))},
                        {"paused", row.paused},
                        {"paused_at", row.paused_at},
                        {"by", std::string(row.by)},
                        {"why", std::string(row.why)},
                        {"max_running", row.max_running}};
            if (nul < key.size()) object["type"] = std::string(key.substr(nul + 1));
            const auto put = [&](const char* name, const std::optional<std::uint32_t>& setting) {
                if (setting) object[name] = *setting;
            };
            put("max_attempts", row.retry.max_attempts);
            put("timeout_ms", row.retry.timeout_ms);
            put("backoff_initial_ms", row.retry.backoff.initial_ms);
            put("backoff_factor_percent", row.retry.backoff.factor_percent);
            put("backoff_max_ms", row.retry.backoff.max_ms);
            put("backoff_jitter_percent", row.retry.backoff.jitter_percent);
            line(object);
            return {};
        });
    }

    Result<void> totals() {
        const auto numbers = image_.numbers();
        if (!numbers) return numbers.error();
        line({{"kind", "totals"},
              {"submitted", numbers->submitted_total},
              {"completed", numbers->completed_total},
              {"cancelled", numbers->cancelled_total},
              {"dead", numbers->dead_total},
              {"retried", numbers->retried_total}});
        return {};
    }

    const Image& image_;
    std::ostream& out_;
    const Progress& progress_;
    const std::uint64_t all_;
    std::uint64_t rows_ = 0;
    std::uint64_t lines_ = 0;
};

}  // namespace

Result<std::uint64_t> dump(const std::string& path, std::ostream& out, const Progress& progress) {
    const auto image = Image::open(path);
    if (!image) return image.error();
    return Dump(**image, out, progress).run();
}

}  // namespace jobyard::store
