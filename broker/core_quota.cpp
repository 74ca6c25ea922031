// How much one key, or one queue, may have here: unended jobs, bytes of their payloads, jobs a second. The limits are
// in the access file; without one nobody has any. What counts to a key is noted with each job that a key with a quota
// submits, and so is known after a restart.
//
// Of what all share a key has its part: sessions, if its section says how many, and instances, of which it has a tenth
// if that says nothing. A key that operates is let in however much the others have taken: the limits of all count for
// it as if it were alone.

#include <algorithm>

#include "core.hpp"

namespace jobyard::broker {
namespace {

constexpr std::uint32_t kRetryAfterMs = 1000;
constexpr std::uint64_t kMilliJobs = 1000;  // one job
constexpr std::uint64_t kKeysShareInstances = 10;

/// What has no bytes crosses no limit of theirs: the jobs of an array whose payload is more than may be by now are
/// made.
bool is_too_much(std::uint64_t bytes, std::uint64_t has, std::uint64_t most) {
    return bytes != 0 && most != 0 && has + bytes > most;
}

}  // namespace

const char* const Core::kQueueIsTooLarge =
    "the unended jobs of this queue are as large as they may be (max_bytes of the queue)";

OwnerId Core::owner_of(std::string_view name) {
    if (name.empty()) return 0;
    const auto known = owner_ids_.find(name);
    if (known != owner_ids_.end()) return known->second;
    if (owners_.size() > UINT16_MAX) return 0;  // of 65,535 keys that once had a quota; the broker forgets at a restart
    const auto id = static_cast<OwnerId>(owners_.size());
    owners_.emplace_back().name = name;
    owner_ids_[owners_.back().name] = id;
    return id;
}

OwnerId Core::owner_of(const Principal& who) {
    if (!who.quota.is_set()) return 0;
    const OwnerId id = owner_of(who.name);
    if (id != 0) owners_[id].quota = who.quota;
    return id;
}

void Core::set_quotas(const Access& access) {
    queue_quotas_ = access.queues;
    for (std::size_t id = 0; id < queue_counts_.size(); ++id)
        queue_counts_[id].quota = quota_of_queue(ready_.queue_name(static_cast<QueueId>(id)));
    for (Owner& owner : owners_) owner.quota = {};  // whoever has one yet gets it below, or with its next HELLO
    for (const auto& [key, who] : access.keys) owner_of(*who);
    owner_of(*access.local);
}

Quota Core::quota_of_queue(std::string_view name) const {
    const auto fits = std::find_if(queue_quotas_.begin(), queue_quotas_.end(),
                                   [name](const auto& quota) { return matches(quota.first, name); });
    return fits == queue_quotas_.end() ? Quota{} : fits->second;
}

void Core::count_new_queues() {
    while (queue_counts_.size() < ready_.queues()) {
        const Quota quota = quota_of_queue(ready_.queue_name(static_cast<QueueId>(queue_counts_.size())));
        queue_counts_.emplace_back().quota = quota;
    }
}

void Core::count_payload(OwnerId owner, QueueId queue, std::uint64_t bytes, bool comes) {
    for (std::uint64_t* sum : {&counters_.payload_bytes, &owners_[owner].bytes, &queue_counts_[queue].bytes})
        comes ? * sum += bytes : * sum -= bytes;
}

void Core::count_payload(const Array& array, bool comes) {
    count_payload(array.owner, *ready_.find_queue(array.queue), array.job.payload_size, comes);
}

/// Whether so many payload bytes more would be too many for a queue, known yet or not.
bool Core::queue_has_no_room_for(std::string_view queue, std::uint64_t bytes) const {
    const auto id = ready_.find_queue(queue);
    const std::uint64_t limit = id ? queue_counts_[*id].quota.bytes : quota_of_queue(queue).bytes;
    return is_too_much(bytes, id ? queue_counts_[*id].bytes : 0, limit);
}

/// What of the quotas a new job, or one that lives again, would cross. With `spend` it counts to the rates if it
/// crosses none. A queue's jobs are elsewhere: queue_is_full().
std::optional<Answer> Core::over_quota(OwnerId owner_id, std::string_view queue, std::uint64_t bytes, bool spend,
                                       Turn turn) {
    if (owner_id == 0 && queue_quotas_.empty()) return std::nullopt;
    const auto over = [](const char* text, std::uint64_t retry_after_ms = kRetryAfterMs) {
        return Answer{Code::over_quota, {}, {}, text, {}, static_cast<std::uint32_t>(retry_after_ms)};
    };
    Owner& owner = owners_[owner_id];
    const auto queue_id = ready_.find_queue(queue);
    QueueCounts* counts = queue_id ? &queue_counts_[*queue_id] : nullptr;
    const Quota limit = counts != nullptr ? counts->quota : quota_of_queue(queue);  // a first job counts, too
    if (owner.quota.jobs != 0 && owner.jobs >= owner.quota.jobs)
        return over("this key has as many unended jobs as it may (max_jobs of its section in the access file)");
    if (is_too_much(bytes, owner.bytes, owner.quota.bytes))
        return over("the unended jobs of this key are as large as they may be (max_bytes of its section)");
    if (is_too_much(bytes, counts != nullptr ? counts->bytes : 0, limit.bytes)) return over(kQueueIsTooLarge);
    if (!spend) return std::nullopt;
    /// Milliseconds until one more may come; 0: now.
    const auto wait_of = [&](const Quota& quota, Bucket& bucket) -> std::uint64_t {
        if (quota.rate == 0) return 0;
        const std::uint64_t full = quota.rate * kMilliJobs;
        const auto passed = static_cast<std::uint64_t>(std::max<std::int64_t>(turn.now - bucket.at, 0));
        bucket.milli_jobs =
            !bucket.full_once || passed >= kMilliJobs ? full : std::min(full, bucket.milli_jobs + passed * quota.rate);
        bucket.full_once = true;
        bucket.at = turn.now;
        if (bucket.milli_jobs >= kMilliJobs) return 0;
        return (kMilliJobs - bucket.milli_jobs + quota.rate - 1) / quota.rate;
    };
    if (const std::uint64_t wait = wait_of(owner.quota, owner.bucket); wait != 0)
        return over("this key submits more jobs a second than it may (max_rate of its section in the access file)",
                    wait);
    if (limit.rate != 0) {
        if (counts == nullptr) {
            const QueueId made = ready_.queue_of(queue);
            count_new_queues();
            counts = &queue_counts_[made];
        }
        if (const std::uint64_t wait = wait_of(limit, counts->bucket); wait != 0)
            return over("this queue gets more jobs a second than it may (max_rate of the queue)", wait);
        counts->bucket.milli_jobs -= kMilliJobs;
    }
    if (owner.quota.rate != 0) owner.bucket.milli_jobs -= kMilliJobs;
    return std::nullopt;
}

// --- sessions and instances ------------------------------------------------------------------------------------------

Core::KeyUsage& Core::usage_of(std::string_view public_key) {
    const auto place = usage_.try_emplace(std::string(public_key)).first;
    place->second.public_key = place->first;
    return place->second;
}

const char* Core::no_room_for_session(const Principal& who) {
    const KeyUsage& usage = usage_of(who.public_key);
    const std::uint64_t limit = config_.limits.sessions;
    if (who.max_sessions != 0 && usage.sessions >= who.max_sessions)
        return "this key has as many sessions as it may (max_sessions of its section in the access file)";
    if ((who.is_let_in_always() ? usage.sessions : sessions_.size()) >= limit)
        return "this broker has as many sessions as it may (limit sessions)";
    return nullptr;
}

const char* Core::no_room_for_instance(const Principal& who, Output& out) {
    KeyUsage& usage = usage_of(who.public_key);
    const std::uint64_t limit = config_.limits.instances;
    const bool is_key = !who.public_key.empty();
    const std::uint64_t tenth = std::max<std::uint64_t>(limit / kKeysShareInstances, 1);
    const std::uint64_t own_limit = who.max_instances != 0 ? who.max_instances : is_key ? tenth : limit;
    if (usage.instances >= own_limit && !forget_idle_instance(&usage, out))
        return who.max_instances != 0
                   ? "this key has as many client instances as it may (max_instances of its section in the access file)"
               : is_key ? "this key has as many client instances as it may: a tenth of the limit instances, because "
                          "its section in the access file says no max_instances"
                        : "this broker remembers as many client instances as it may (limit instances)";
    if (instances_.size() >= limit && !forget_idle_instance(nullptr, out) &&
        (!who.is_let_in_always() || usage.instances >= limit))
        return "this broker remembers as many client instances as it may (limit instances)";
    return nullptr;
}

/// The one that has had no session for the longest, of those of which there is nothing to know; null: of all keys.
bool Core::forget_idle_instance(KeyUsage* of, Output& out) {
    if (of == nullptr)
        for (auto& [key, usage] : usage_)
            if (!usage.idle.empty() && (of == nullptr || *usage.idle.begin() < *of->idle.begin())) of = &usage;
    if (of == nullptr || of->idle.empty()) return false;
    forget_instance(of->idle.begin()->second, out);
    return true;
}

}  // namespace jobyard::broker
