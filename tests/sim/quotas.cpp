#include "quotas.hpp"

#include <algorithm>

#include "queues.hpp"
#include "record.hpp"
#include "world.hpp"

namespace jobyard::sim {
namespace {

using broker::Core;
using broker::Job;
using broker::Quota;

constexpr const char* kRule = "P8 nobody has more than may be";
constexpr std::int64_t kSecondMs = 1000;

std::string key_of(std::string_view peer) { return "key of " + std::string(peer); }

[[noreturn]] void broken(const std::string& what, std::uint64_t is, std::uint64_t may) {
    throw Broken{kRule, what + ": " + std::to_string(is) + ", and " + std::to_string(may) + " may be"};
}

template <class F>
void each_job(const Core& core, JobId first, F&& f) {
    for (JobId id = first; id.value < core.numbers().next_job; ++id.value)
        if (const Job* job = core.job(id)) f(*job);
}

}  // namespace

Quotas::Quotas(const Plan& plan, Random random) : plan_(plan), random_(random) { change(); }

bool Quotas::are_used() const { return plan_.quota_jobs != 0 || plan_.quota_bytes != 0 || plan_.quota_rate != 0; }

/// As the plan says, less, or none. Never so few that what is in calm cannot end.
Quota Quotas::any_quota() {
    const auto any = [this](std::int64_t most, std::int64_t least) -> std::uint64_t {
        if (most == 0 || random_.percent(25)) return 0;
        return static_cast<std::uint64_t>(random_.any_size(std::min(least, most), most));
    };
    return {any(plan_.quota_jobs, 5), any(plan_.quota_bytes, 100), any(plan_.quota_rate, 1)};
}

void Quotas::change() {
    limits_ = plan_.limits();
    made_at_.clear();
    if (plan_.reload != 0) {
        if (plan_.limit_jobs != 0) limits_.jobs *= 1 + random_.below(3);
        if (plan_.limit_queue_jobs != 0) limits_.queue_jobs *= 1 + random_.below(3);
    }
    if (!are_used()) return;
    access_ = {};
    for (const std::string_view queue : kQueues) access_.queues.emplace_back(queue, any_quota());
    for (std::int64_t n = 1; n <= plan_.clients; ++n) {
        broker::Principal client;
        client.name = "client-" + std::to_string(n);
        client.public_key = key_of(client.name);
        if (plan_.key_quotas != 0) client.quota = any_quota();
        access_.keys[client.public_key] = std::make_shared<const broker::Principal>(client);
    }
}

broker::Who Quotas::who(std::string_view peer) const {
    const broker::Who client = access_.find(key_of(peer));
    return client ? client : access_.local;
}

Quota Quotas::of_queue(std::string_view name) const {
    for (const auto& [queue, quota] : access_.queues)
        if (queue == name) return quota;
    return {};
}

Quota Quotas::of_key(std::string_view peer) const { return who(peer)->quota; }

Quotas::Amount Quotas::in_queue(const Core& core, std::string_view queue) const {
    Amount amount;
    each_job(core, {1}, [&](const Job& job) {
        const auto known = queues_.find(job.class_id);
        if (known == queues_.end() || known->second != queue) return;
        ++amount.jobs;
        if (!job.in_array) amount.bytes += job.payload_size;
    });
    return amount;
}

Quotas::Amount Quotas::of_owner(const Core& core, std::string_view peer) const {
    Amount amount;
    for (const auto& [id, owner] : owners_) {
        const Job* job = owner == peer ? core.job(id) : nullptr;
        if (job == nullptr) continue;
        ++amount.jobs;
        amount.bytes += job->payload_size;
    }
    return amount;
}

void Quotas::starts() {
    if (plan_.reload != 0) change();
    queues_.clear();
    made_at_.clear();
}

void Quotas::started(const Core& core) {
    owners_.erase(owners_.lower_bound({core.numbers().next_job}), owners_.end());  // were never durable
}

void Quotas::answered(const Core& core, std::string_view peer, const std::vector<SubmitItem>& items, bool is_array,
                      const std::vector<Answer>& answers, JobId first, std::int64_t now_ms) {
    const std::string name(peer);
    for (std::size_t i = 0; i < answers.size(); ++i) {
        const bool is_new = answers[i].code == Code::ok && answers[i].job >= first;
        const Job* made = is_new ? core.job(answers[i].job) : nullptr;
        if (made == nullptr || is_array) continue;
        const std::string queue(items[i].queue);
        queues_[made->class_id] = queue;
        owners_.erase(made->id);
        if (of_key(peer).is_set()) owners_[made->id] = name;
        count(queue, of_queue(queue).rate, now_ms);
        count(name, of_key(peer).rate, now_ms);
    }
    for (std::size_t i = 0; i < answers.size(); ++i) {
        const std::string queue(items[i].queue);
        if (answers[i].code == Code::over_quota || answers[i].code == Code::queue_full)
            check_refused(core, name, queue, items[i].payload_length, answers[i].code, true);
        if (answers[i].code != Code::ok || answers[i].job < first || is_array) continue;
        check_unended(core);
        check_room(core, queue, items[i].payload_length);
        check_room_of(core, name, items[i].payload_length);
    }
}

std::vector<Quotas::Wanted> Quotas::wanted(const Core& core, const Message& message, const broker::Found& found) const {
    std::vector<Wanted> all;
    if (const auto* redrive = std::get_if<Redrive>(&message)) {
        for (const JobId id : redrive->jobs) {
            Wanted& want = all.emplace_back();
            const std::string key = broker::job_key(id);
            const auto dead_row = found.get(broker::Table::dead, key);
            const auto buried_row = found.get(broker::Table::buried, key);
            broker::EndRow dead;
            broker::LiveRow submitted;
            if (!dead_row || !buried_row || !read_row(*dead_row, dead) || !read_row(*buried_row, submitted)) continue;
            want.queue = dead.queue;
            want.lives_again = true;
            want.bytes = submitted.array ? 0 : submitted.payload_size;
            if (const auto owner = owners_.find(id); owner != owners_.end()) want.owner = owner->second;
            want.is_known = !submitted.array;  // whose array it is is not known here
        }
    } else if (const auto* change = std::get_if<Change>(&message)) {
        for (const JobId id : change->jobs) {
            Wanted& want = all.emplace_back();
            const Job* job = core.job(id);
            if (job == nullptr || change->queue.empty()) continue;
            const auto known = queues_.find(job->class_id);
            want.is_known = known != queues_.end();
            if (want.is_known && known->second == change->queue) continue;
            want.queue = change->queue;
            want.bytes = job->in_array ? 0 : job->payload_size;
        }
    }
    return all;
}

void Quotas::steered(const Core& core, const std::vector<JobId>& jobs, const std::vector<Wanted>& wanted,
                     const std::vector<Answer>& answers) {
    for (std::size_t i = 0; i < answers.size(); ++i) {
        const Wanted& want = wanted[i];
        const Code code = answers[i].code;
        if (code == Code::ok && !want.queue.empty()) queues_[core.job(jobs[i])->class_id] = want.queue;
        if (want.queue.empty() || !want.is_known) continue;
        if (code == Code::ok) {
            if (want.lives_again) check_unended(core);
            check_room(core, want.queue, want.bytes);
            if (!want.owner.empty()) check_room_of(core, want.owner, want.bytes);
        } else if (code == Code::over_quota || code == Code::queue_full) {
            check_refused(core, want.owner, want.queue, want.bytes, code, false);
        }
    }
}

void Quotas::stepped(const Core& core, JobId first, const std::vector<JobId>& redriven) const {
    std::map<std::string, std::uint64_t> queues;  // and the largest payload that has come there
    const auto came = [&](const Job& job) {
        const auto known = queues_.find(job.class_id);
        if (known == queues_.end()) return;
        std::uint64_t& bytes = queues[known->second];
        if (!job.in_array) bytes = std::max<std::uint64_t>(bytes, job.payload_size);
    };
    each_job(core, first, came);
    for (const JobId id : redriven) {
        const Job* job = core.job(id);
        if (job == nullptr) continue;
        came(*job);
        if (const auto owner = owners_.find(id); owner != owners_.end())
            check_room_of(core, owner->second, job->payload_size);
    }
    for (const auto& [queue, bytes] : queues) check_room(core, queue, bytes);
    if (core.numbers().next_job != first.value || !redriven.empty()) check_unended(core);
}

void Quotas::check_unended(const Core& core) const {
    std::uint64_t unended = 0;
    for (const std::uint64_t count : core.counters().by_state) unended += count;
    if (unended > limits_.jobs) broken("unended jobs", unended, limits_.jobs);
}

/// Something of so many bytes has come there, so it is within what may be: as far as is known here, which is no more
/// than there is.
void Quotas::check_room(const Core& core, const std::string& queue, std::uint64_t bytes) const {
    const Quota quota = of_queue(queue);
    const Amount has = in_queue(core, queue);
    if (has.jobs > limits_.queue_jobs) broken("unended jobs in " + queue, has.jobs, limits_.queue_jobs);
    if (quota.jobs != 0 && has.jobs > quota.jobs) broken("unended jobs in " + queue, has.jobs, quota.jobs);
    if (quota.bytes != 0 && has.bytes > quota.bytes && bytes != 0) broken("bytes in " + queue, has.bytes, quota.bytes);
}

void Quotas::check_room_of(const Core& core, const std::string& peer, std::uint64_t bytes) const {
    const Quota quota = of_key(peer);
    const Amount has = of_owner(core, peer);
    if (quota.jobs != 0 && has.jobs > quota.jobs) broken("unended jobs of " + peer, has.jobs, quota.jobs);
    if (quota.bytes != 0 && has.bytes > quota.bytes && bytes != 0) broken("bytes of " + peer, has.bytes, quota.bytes);
}

/// Nobody is refused for what is not there. Where arrays are, whose payloads count too, that is not known here; nor
/// while there are jobs of a class that has not been seen. `peer` is empty where no key must have room.
void Quotas::check_refused(const Core& core, const std::string& peer, const std::string& queue, std::uint64_t bytes,
                           Code code, bool counts_to_rates) const {
    bool all_known = plan_.arrays == 0;
    each_job(core, {1}, [&](const Job& job) { all_known = all_known && queues_.contains(job.class_id); });
    const Quota quota = of_queue(queue);
    if (code == Code::queue_full) {
        std::uint64_t most = limits_.queue_jobs;
        if (quota.jobs != 0) most = std::min(most, quota.jobs);
        const Amount has = in_queue(core, queue);
        if (all_known && has.jobs < most) broken("queue_full, and unended jobs in " + queue, has.jobs, most);
        return;
    }
    const Quota own = peer.empty() ? Quota{} : of_key(peer);
    const bool is_by_rate = counts_to_rates && (own.rate != 0 || quota.rate != 0);
    if (own.jobs == 0 && own.bytes == 0 && quota.bytes == 0 && !is_by_rate)
        throw Broken{kRule, "a job of " + (peer.empty() ? queue : peer) + " is refused for a quota, and there is none"};
    if (!all_known || is_by_rate) return;
    const Amount its = of_owner(core, peer);
    const Amount has = in_queue(core, queue);
    const bool is_over = (own.jobs != 0 && its.jobs >= own.jobs) || (own.bytes != 0 && its.bytes + bytes > own.bytes) ||
                         (quota.bytes != 0 && has.bytes + bytes > quota.bytes);
    if (!is_over) broken("a job of " + peer + " in " + queue + " is refused, and unended are", its.jobs, own.jobs);
}

/// Of a rate a second's jobs may come at once, and as many again while that second passes.
void Quotas::count(const std::string& whose, std::uint64_t rate, std::int64_t now_ms) {
    if (rate == 0) return;
    std::deque<std::int64_t>& made = made_at_[whose];
    made.push_back(now_ms);
    while (made.front() <= now_ms - kSecondMs) made.pop_front();
    if (made.size() > 2 * rate) broken("jobs of " + whose + " within a second", made.size(), 2 * rate);
}

}  // namespace jobyard::sim
