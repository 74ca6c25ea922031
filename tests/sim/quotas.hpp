#pragma once
// What the access file and the limits say at the time, and the model's part about it: how much each queue and each
// client may have. Both are drawn anew at each SIGHUP and each start of the broker. What is checked is checked when it
// is decided, because what may be made depends on all that is in memory then.
//
// Every client has a key of its own; workers come through an ipc socket.

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "access.hpp"
#include "core.hpp"
#include "plan.hpp"
#include "random.hpp"

namespace jobyard::sim {

class Quotas {
 public:
    Quotas(const Plan& plan, Random random);

    /// Another file, other limits.
    void change();
    /// There are quotas, so connections must be introduced.
    [[nodiscard]] bool are_used() const;
    [[nodiscard]] const broker::Access& access() const { return access_; }
    [[nodiscard]] const broker::Limits& limits() const { return limits_; }
    /// Whom a connection of this client or worker belongs to.
    [[nodiscard]] broker::Who who(std::string_view peer) const;

    // --- what the broker does

    /// A start, then what the rows say about which queue a class of this life is, then all is loaded.
    void starts();
    void started(const broker::Core& core);
    void loaded(const broker::Job& job, std::string_view queue) { queues_.insert_or_assign(job.class_id, queue); }
    /// What was answered to this client; jobs from `first` on are new.
    void answered(const broker::Core& core, std::string_view peer, const std::vector<SubmitItem>& items, bool is_array,
                  const std::vector<Answer>& answers, JobId first, std::int64_t now_ms);
    /// What the jobs of a REDRIVE or CHANGE will need, one for each: of the time before it is decided.
    struct Wanted {
        std::string queue;  ///< empty: nothing
        std::uint64_t bytes = 0;
        bool lives_again = false;
        std::string owner;      ///< the client whose key must have room for it, if one must
        bool is_known = false;  ///< who that is, and that the queue is another one
    };
    [[nodiscard]] std::vector<Wanted> wanted(const broker::Core& core, const Message& message,
                                             const broker::Found& found) const;
    void steered(const broker::Core& core, const std::vector<JobId>& jobs, const std::vector<Wanted>& wanted,
                 const std::vector<Answer>& answers);
    /// A step for arrays and tasks is over; jobs from `first` on are new, and these live again.
    void stepped(const broker::Core& core, JobId first, const std::vector<JobId>& redriven) const;

 private:
    struct Amount {
        std::uint64_t jobs = 0;
        std::uint64_t bytes = 0;
    };
    [[nodiscard]] broker::Quota any_quota();
    [[nodiscard]] broker::Quota of_queue(std::string_view queue) const;
    [[nodiscard]] broker::Quota of_key(std::string_view peer) const;
    /// Of the jobs that are in memory; those of arrays have no bytes of their own.
    [[nodiscard]] Amount in_queue(const broker::Core& core, std::string_view queue) const;
    [[nodiscard]] Amount of_owner(const broker::Core& core, std::string_view peer) const;
    void check_unended(const broker::Core& core) const;
    void check_room(const broker::Core& core, const std::string& queue, std::uint64_t bytes) const;
    void check_room_of(const broker::Core& core, const std::string& peer, std::uint64_t bytes) const;
    void check_refused(const broker::Core& core, const std::string& peer, const std::string& queue, std::uint64_t bytes,
                       Code code, bool counts_to_rates) const;
    void count(const std::string& whose, std::uint64_t rate, std::int64_t now_ms);

    const Plan& plan_;
    Random random_;
    broker::Access access_;
    broker::Limits limits_;
    std::map<broker::ClassId, std::string> queues_;            // as far as known in this life of the broker
    std::map<JobId, std::string> owners_;                      // of jobs that count to a key, but those of arrays
    std::map<std::string, std::deque<std::int64_t>> made_at_;  // since the last change, by key or queue
};

}  // namespace jobyard::sim
