// What somebody has set for a queue: whether it is paused, how many of its jobs may run, and how jobs in it are tried
// that do not say so themselves. For a type in a queue there is the last only.

#include <algorithm>

#include "core.hpp"
#include "job_map.hpp"
#include "simulated.hpp"

namespace jobyard::broker {
namespace {

constexpr std::string_view kEveryQueue = "*";
constexpr std::size_t kTypesShown = 100;  // of one queue, that have a policy of their own

/// What `first` leaves open is as in `second`.
RetryPolicy over(RetryPolicy first, const RetryPolicy& second) {
    const auto fill = [](auto& value, const auto& other) {
        if (!value) value = other;
    };
    fill(first.max_attempts, second.max_attempts);
    fill(first.timeout_ms, second.timeout_ms);
    fill(first.backoff.initial_ms, second.backoff.initial_ms);
    fill(first.backoff.factor_percent, second.backoff.factor_percent);
    fill(first.backoff.max_ms, second.backoff.max_ms);
    fill(first.backoff.jitter_percent, second.backoff.jitter_percent);
    return first;
}

/// What was said is set, or taken back; the rest stays.
RetryPolicy changed(RetryPolicy policy, const RetryPolicy& said) {
    const auto set = [](auto& value, const auto& now) {
        if (now) value = *now == kUnset ? std::nullopt : now;
    };
    set(policy.max_attempts, said.max_attempts);
    set(policy.timeout_ms, said.timeout_ms);
    set(policy.backoff.initial_ms, said.backoff.initial_ms);
    set(policy.backoff.factor_percent, said.backoff.factor_percent);
    set(policy.backoff.max_ms, said.backoff.max_ms);
    set(policy.backoff.jitter_percent, said.backoff.jitter_percent);
    return policy;
}

}  // namespace

std::optional<Answer> Core::refusal_of(const RetryPolicy& policy) {
    const auto wrong = [](const std::optional<std::uint32_t>& value, std::uint32_t least, std::uint32_t most) {
        return value && (*value < least || *value > most);
    };
    const auto bad = [](const char* field, const char* text) {
        return Answer{Code::bad_field, {}, {}, text, field, 0};
    };
    if (wrong(policy.max_attempts, 1, kMaxAttemptsLimit)) return bad("max_attempts", "1 to 1000");
    if (wrong(policy.timeout_ms, 0, kMaxTimeoutMs)) return bad("timeout_ms", "at most 30 days; 0 for none");
    const BackoffPolicy& backoff = policy.backoff;
    if (wrong(backoff.initial_ms, 0, kMaxBackoffMs)) return bad("backoff_initial_ms", "at most 7 days");
    if (wrong(backoff.max_ms, 0, kMaxBackoffMs)) return bad("backoff_max_ms", "at most 7 days");
    if (wrong(backoff.factor_percent, 100, kMaxBackoffFactorPercent))
        return bad("backoff_factor_percent", "100 to 10000");
    if (wrong(backoff.jitter_percent, 0, 100)) return bad("backoff_jitter_percent", "0 to 100");
    return std::nullopt;
}

/// The job's own word first, then its type's in its queue, its type's in all queues, its queue's, and the usual.
Core::Retries Core::retries_of(const SubmitItem& item, std::optional<ClassId> known_class) const {
    RetryPolicy policy{item.max_attempts, item.timeout_ms, item.backoff};
    if (!type_policies_.empty())
        for (const auto& id : {known_class, ready_.find_class(kEveryQueue, item.type)})
            if (const auto type = id ? type_policies_.find(*id) : type_policies_.end(); type != type_policies_.end())
                policy = over(policy, type->second);
    if (!queue_settings_.empty())
        if (const auto id = ready_.find_queue(item.queue))
            if (const auto queue = queue_settings_.find(*id); queue != queue_settings_.end())
                policy = over(policy, queue->second.retry);
    Retries retries;
    retries.max_attempts = policy.max_attempts.value_or(retries.max_attempts);
    retries.timeout_ms = policy.timeout_ms.value_or(retries.timeout_ms);
    Backoff& backoff = retries.backoff;
    backoff.initial_ms = policy.backoff.initial_ms.value_or(backoff.initial_ms);
    backoff.factor_percent = policy.backoff.factor_percent.value_or(backoff.factor_percent);
    backoff.max_ms = policy.backoff.max_ms.value_or(backoff.max_ms);
    backoff.jitter_percent = policy.backoff.jitter_percent.value_or(backoff.jitter_percent);
    return retries;
}

void Core::on_set_queue(Session& session, RequestId request, const SetQueue& set, Turn turn, Output& out) {
    const auto refused = [&](Code code, const char* field, std::string_view text, std::uint32_t retry_after_ms = 0) {
        refuse(session.peer, session.id, request, code, std::string(text), field, out, retry_after_ms);
    };
    if (!is_name(set.queue))
        return refused(Code::bad_field, "queue", "1 to 255 bytes of UTF-8 without control characters");
    if (!set.type.empty() && !is_name(set.type))
        return refused(Code::bad_field, "type", "1 to 255 bytes of UTF-8 without control characters");
    if (!set.type.empty() && (set.paused || set.max_running))
        return refused(Code::bad_field, "type", "a whole queue is paused or limited, not a type in it");
    if (set.queue == kEveryQueue && set.type.empty())
        return refused(Code::bad_field, "type", "for all queues (*) only the policy of a type can be set: name one");
    for (const auto& [field, text] : {std::pair("by", set.by), {"why", set.why}})
        if (text.size() > kMaxWhyBytes || !is_clean_text(text))
            return refused(Code::bad_field, field, "at most 255 bytes of UTF-8 without control characters");
    if (const auto wrong = refusal_of(changed({}, set.retry)))
        return refused(wrong->code, std::string(wrong->field).c_str(), wrong->text);
    const bool no_queue = !ready_.find_queue(set.queue) && ready_.queues() >= config_.limits.queues;
    const bool no_class =
        !set.type.empty() && !ready_.find_class(set.queue, set.type) && ready_.classes() >= config_.limits.classes;
    if (no_queue || no_class)
        return refused(Code::busy, "queue", "there are as many queues as there may be (limits queues, classes)",
                       60'000);

    QueueRow row;
    std::string key(set.queue);
    if (!set.type.empty()) {
        key = name_pair_key(set.queue, set.type);
        const ClassId id = ready_.class_of(set.queue, set.type);
        row.retry = changed(type_policies_[id], set.retry);
        type_policies_[id] = row.retry;
        if (row.retry == RetryPolicy{}) type_policies_.erase(id);
        count_new_queues();
    } else {
        const QueueId id = ready_.queue_of(set.queue);
        count_new_queues();
        QueueCounts& counts = queue_counts_[id];
        QueueSettings& settings = queue_settings_[id];
        if (set.paused) {
            counts.paused = *set.paused;
            settings.paused_at = counts.paused ? turn.wall : 0;
            settings.by = counts.paused ? set.by : std::string_view{};
            settings.why = counts.paused ? set.why : std::string_view{};
            record_about(counts.paused ? EventKind::queue_paused : EventKind::queue_resumed,
                         {.queue = set.queue, .text = set.why});
        }
        counts.max_running = set.max_running.value_or(counts.max_running);
        settings.retry = changed(settings.retry, set.retry);
        row = {counts.paused, settings.paused_at, settings.by, settings.why, counts.max_running, settings.retry};
        reconsider(id);
    }
    if (!set.paused) record_about(EventKind::queue_set, {.queue = set.queue, .type = set.type});
    const bool nothing_set = !row.paused && row.max_running == 0 && row.retry == RetryPolicy{};
    if (nothing_set) {
        out.batch->erase(Table::queues, key);
    } else {
        const Slice row_key = out.batch->append(key);
        out.batch->put(Table::queues, row_key, append_row(*out.batch, row));
    }
    Answers answers;
    answers.items.push_back({Code::ok, {}});
    answer(session, request, std::move(answers), out);
}

void Core::load_queue(std::string_view key, const QueueRow& row) {
    const std::size_t end = key.find('\0');
    if (end != std::string_view::npos) {
        type_policies_[ready_.class_of(key.substr(0, end), key.substr(end + 1))] = row.retry;
        count_new_queues();
        return;
    }
    const QueueId id = ready_.queue_of(key);
    count_new_queues();
    queue_counts_[id].paused = row.paused && !planted(PlantedBug::pause_forgotten_on_restart);
    queue_counts_[id].max_running = row.max_running;
    queue_settings_[id] = {row.paused_at, std::string(row.by), std::string(row.why), row.retry};
    reconsider(id);
}

void Core::append_queue_map(QueueId id, std::string& bytes) const {
    const QueueCounts& counts = queue_counts_[id];
    const auto settings = queue_settings_.find(id);
    const auto policy = [](MapWriter& map, const RetryPolicy& retry) {
        const auto field = [&](const char* name, const std::optional<std::uint32_t>& value) {
            if (value) map.uint(name, *value);
        };
        field("max_attempts", retry.max_attempts);
        field("timeout_ms", retry.timeout_ms);
        field("backoff_initial_ms", retry.backoff.initial_ms);
        field("backoff_factor_percent", retry.backoff.factor_percent);
        field("backoff_max_ms", retry.backoff.max_ms);
        field("backoff_jitter_percent", retry.backoff.jitter_percent);
    };
    MapWriter map;
    map.text("name", ready_.queue_name(id));
    map.uint("queued", counts.queued);
    map.uint("running", counts.running);
    map.uint("waiting", counts.unended - counts.queued - counts.running);
    map.boolean("paused", counts.paused);
    if (counts.max_running != 0) map.uint("max_running", counts.max_running);
    if (settings != queue_settings_.end()) {
        if (counts.paused) {
            map.integer("paused_at", settings->second.paused_at);
            map.text("paused_by", settings->second.by);
            map.text("paused_why", settings->second.why);
        }
        policy(map, settings->second.retry);
    }
    std::vector<std::string> types;
    for (const auto& [class_id, retry] : type_policies_) {
        if (ready_.info(class_id).queue != id || types.size() == kTypesShown) continue;
        MapWriter type;
        type.text("type", ready_.info(class_id).type_name);
        policy(type, retry);
        type.append_to(types.emplace_back());
    }
    map.list("types", types);
    map.append_to(bytes);
}

void Core::on_list_queues(Session& session, RequestId request, const ListQueues& list, Output& out) {
    if (!list.name.empty()) {
        const auto id = ready_.find_queue(list.name);
        if (!id)
            return refuse(session.peer, session.id, request, Code::unknown_queue,
                          "no job was ever submitted to this queue since the broker started, and nothing is set for it",
                          "name", out);
        std::vector<std::string> one(1);
        append_queue_map(*id, one[0]);
        return answer_maps(session, request, {}, one, out);
    }
    const std::size_t limit = std::clamp<std::size_t>(list.limit, 1, kMaxItems);
    std::vector<std::string> maps;
    std::string_view last;
    std::size_t bytes = 0;
    bool more = false;
    ready_.for_each_queue(list.cursor, [&](std::string_view name, QueueId id) {
        more = maps.size() == limit || bytes > kCutListBytes;
        if (more) return false;
        append_queue_map(id, maps.emplace_back());
        bytes += maps.back().size();
        last = name;
        return true;
    });
    answer_maps(session, request, more ? last : std::string_view{}, maps, out);
}

/// Whether jobs of the queue may be picked.
void Core::reconsider(QueueId id) {
    const QueueCounts& counts = queue_counts_[id];
    const std::uint64_t most = counts.max_running + (planted(PlantedBug::queue_limit_overrun) ? 1U : 0U);
    ready_.set_open(id, !counts.paused && (counts.max_running == 0 || counts.running < most));
}

}  // namespace jobyard::broker
