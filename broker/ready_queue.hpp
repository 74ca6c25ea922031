#pragma once
// Who runs next. Holds the queued jobs by class (queue and type) and priority, and picks the next one for a *service*:
// what a group of like workers can take.
//
//  - Within a queue the highest priority goes first, the oldest (by order, then number) among equals.
//  - The queues a service serves take turns.
//  - One pick in kAgingShare goes to the longest-waiting job instead, so that nothing starves and an old backlog still
//    does not overtake urgent work wholesale.
//  - A job of a type no free worker serves is in another class, so it is never in anybody's way.
//
// Jobs arrive almost always in order and are kept in lists through the jobs themselves; those that come back older than
// the end of their list are few and stand in an ordered set beside it.

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "job_table.hpp"
#include "jobyard/limits.hpp"

namespace jobyard::broker {

inline constexpr std::uint32_t kAgingShare = 20;

using QueueId = std::uint16_t;
using ServiceId = std::uint32_t;

class ReadyQueue {
 public:
    explicit ReadyQueue(JobTable& jobs) : jobs_(jobs) {}

    struct ClassInfo {
        QueueId queue = 0;
        std::string_view queue_name;
        std::string_view type_name;
    };
    /// The class of a (queue, type) pair, made if new. Names are kept for ever; the caller bounds how many there are.
    ClassId class_of(std::string_view queue, std::string_view type);
    [[nodiscard]] std::optional<ClassId> find_class(std::string_view queue, std::string_view type) const;
    [[nodiscard]] std::optional<QueueId> find_queue(std::string_view queue) const;
    [[nodiscard]] const ClassInfo& info(ClassId id) const { return classes_[id].info; }
    [[nodiscard]] std::size_t classes() const { return classes_.size(); }
    [[nodiscard]] std::size_t queues() const { return queues_.size(); }
    [[nodiscard]] std::string_view queue_name(QueueId id) const { return queues_[id]; }

    /// The service of workers with these queues and types, made if new.
    ServiceId service_of(std::vector<std::string> queues, std::vector<std::string> types);
    [[nodiscard]] std::size_t services() const { return services_.size(); }
    [[nodiscard]] bool serves(ServiceId service, ClassId class_id) const;
    /// Whether it has a job it can take.
    [[nodiscard]] bool ready(ServiceId service) const { return !services_[service].turns.empty(); }

    void push(JobHandle job);
    void remove(JobHandle job);
    /// Takes the next job for a service that is ready().
    JobHandle pick(ServiceId service);

 private:
    struct List {
        JobHandle first = kNoJob;
        JobHandle last = kNoJob;
    };
    /// Higher priority first, then order, then number.
    struct Place {
        std::uint8_t below_top = 0;
        std::uint64_t order = 0;
        std::uint64_t id = 0;
        JobHandle job = kNoJob;
        friend auto operator<=>(const Place&, const Place&) = default;
    };
    struct Class {
        ClassInfo info;
        std::array<List, kPriorityMax + 1> lists;  // by priority
        std::uint16_t filled = 0;                  // bit p: lists[p] is not empty
        std::set<Place> returned;
        std::vector<ServiceId> served_by;
        [[nodiscard]] bool empty() const { return filled == 0 && returned.empty(); }
    };
    struct Service {
        std::vector<std::string> queues;
        std::vector<std::string> types;
        std::map<QueueId, std::set<ClassId>> turns;  // queues with ready jobs, and their classes that have them
        QueueId last_turn = 0xffff;
        std::uint32_t picks = 0;
    };

    [[nodiscard]] Place place_of(JobHandle job) const;
    [[nodiscard]] Place best(const Class& c) const;
    [[nodiscard]] Place oldest(const Class& c) const;
    void became_ready(ClassId id);
    void became_empty(ClassId id);
    [[nodiscard]] static bool matches(const Service& service, const ClassInfo& info);

    JobTable& jobs_;
    std::deque<Class> classes_;
    std::deque<std::string> queues_;
    std::deque<std::string> types_;
    std::map<std::string, QueueId, std::less<>> queues_by_name_;
    std::map<std::string, std::uint32_t, std::less<>> types_by_name_;
    std::map<std::pair<QueueId, std::uint32_t>, ClassId> class_ids_;
    mutable ClassId last_found_ = 0;  // most lookups repeat the one before
    std::deque<Service> services_;
    std::map<std::pair<std::vector<std::string>, std::vector<std::string>>, ServiceId> service_ids_;
};

}  // namespace jobyard::broker
