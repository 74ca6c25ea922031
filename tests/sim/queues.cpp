#include "queues.hpp"

#include <algorithm>

#include "world.hpp"

namespace jobyard::sim {
namespace {

std::string key_of(const SetQueue& set) {
    return set.type.empty() ? std::string(set.queue) : broker::name_pair_key(set.queue, set.type);
}

/// The fields of a policy, one by one.
template <class A, class B, class F>
void each_field(A& a, B& b, F&& f) {
    f(a.max_attempts, b.max_attempts);
    f(a.timeout_ms, b.timeout_ms);
    f(a.backoff.initial_ms, b.backoff.initial_ms);
    f(a.backoff.factor_percent, b.backoff.factor_percent);
    f(a.backoff.max_ms, b.backoff.max_ms);
    f(a.backoff.jitter_percent, b.backoff.jitter_percent);
}

}  // namespace

std::uint64_t Queues::asks(const SetQueue& set) {
    const auto history = history_.find(key_of(set));
    asked_.push_back({set, INT64_MAX, history == history_.end() ? 0 : history->second.size()});
    return asked_.size();
}

/// What was acknowledged has been so, now or for a while.
void Queues::answered(std::uint64_t ask) const {
    const SetQueue& set = asked_.at(ask - 1).set;
    const auto says_so = [&](const Set& row) {
        bool same =
            (!set.paused || *set.paused == row.paused) && (!set.max_running || *set.max_running == row.max_running);
        each_field(set.retry, row.retry, [&](const auto& said, const auto& is) {
            if (said) same = same && is == (*said == kUnset ? std::nullopt : said);
        });
        return same;
    };
    const auto history = history_.find(key_of(set));
    if (history == history_.end() ? says_so({})
                                  : says_so({}) || std::any_of(history->second.begin(), history->second.end(), says_so))
        return;
    throw Broken{"P1 acknowledged means durable", "what was set for " + std::string(set.queue) + " is not on disk"};
}

void Queues::written(std::string_view key, const broker::QueueRow* row) {
    Set now;
    if (row != nullptr) now = {row->paused, row->max_running, row->retry};
    const auto asked_for = [&](auto&& says, const auto& value, const auto& before) {
        return value == before || std::any_of(asked_.begin(), asked_.end(), [&](const Asked& asked) {
                   return key_of(asked.set) == key && says(asked.set);
               });
    };
    const Set* known = find(key);
    const Set before = known == nullptr ? Set{} : *known;
    if (!asked_for([&](const SetQueue& set) { return set.paused == now.paused; }, now.paused, before.paused) ||
        !asked_for([&](const SetQueue& set) { return set.max_running == now.max_running; }, now.max_running,
                   before.max_running))
        throw Broken{"P1 what is set for a queue is what was asked for", std::string(key)};
    history_[std::string(key)].push_back(now);
}

const Queues::Set* Queues::find(std::string_view key) const {
    const auto history = history_.find(key);
    return history == history_.end() ? nullptr : &history->second.back();
}

RetryPolicy Queues::policy_of(const SubmitItem& item) const {
    RetryPolicy policy{item.max_attempts, item.timeout_ms, item.backoff};
    for (const std::string& key :
         {broker::name_pair_key(item.queue, item.type), broker::name_pair_key("*", item.type), std::string(item.queue)})
        if (const Set* set = find(key))
            each_field(policy, set->retry, [](auto& value, const auto& other) {
                if (!value) value = other;
            });
    return policy;
}

template <class Says>
bool Queues::is_under_way(std::string_view queue, std::int64_t now_us, Says&& says) const {
    return std::any_of(asked_.begin(), asked_.end(), [&](const Asked& asked) {
        return asked.set.queue == queue && asked.until_us >= now_us && says(asked.set);
    });
}

bool Queues::has_paused(std::string_view queue) const {
    const Set* set = find(queue);
    return set != nullptr && set->paused;
}

bool Queues::is_paused(std::string_view queue, std::int64_t now_us) const {
    return has_paused(queue) && !is_under_way(queue, now_us, [](const SetQueue& set) { return set.paused == false; });
}

std::uint32_t Queues::max_running(std::string_view queue, std::int64_t now_us) const {
    const Set* set = find(queue);
    if (set == nullptr || set->max_running == 0) return 0;
    return is_under_way(queue, now_us, [](const SetQueue& s) { return s.max_running.has_value(); }) ? 0
                                                                                                    : set->max_running;
}

}  // namespace jobyard::sim
