#pragma once
// Who runs next. Holds the queued jobs by class (queue and type) and priority, and picks the next one for a *service*:
// what a group of like workers can take.
//
//  - The queues a service serves take turns.
//  - Within a queue the highest priority goes first, the oldest (by order, then number) among equals.
//  - One pick in kAgingShare of a queue goes to its longest-waiting job instead, so that nothing starves and an old
//    backlog still does not overtake urgent work wholesale.
//  - A job of a type no free worker serves is in another class, so it is never in anybody's way.
//
// Jobs arrive almost always in order and are kept in lists through the jobs themselves; those that come back older than
// the end of their list are few and stand in an ordered set beside it.
//
// How many classes, queues and services there are hardly matters for what a push or a pick costs. The classes of one
// queue that workers with the same types take form a *line*, which the services with these types share. A line keeps
// its ready classes in a heap by best job and, once its jobs have had two priorities, in one by oldest job; a service
// keeps a bit for each of its lines that is ready. What a job that leaves makes untrue in these heaps is put right when
// it comes to the top: a key may say better than it is, never worse, and what became empty may still stand there. A
// push therefore writes to them only if its job is better than every key that is about for its class; `placed` and
// `aged` remember how good that is. Only a class that becomes ready or empty, or has a priority that it had not, is
// told to all its lines, and only a line that becomes ready or empty to all its services.
//
// A service is there as long as it has workers, a line and a set of types as long as a service has them: what workers
// once came with takes no memory, and no time of those that push. The next new service goes on with the turn, and the
// next new line of a queue with the count of picks, of those that are gone, so that workers that come for a job each
// starve nobody either.

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "heap.hpp"
#include "job_table.hpp"
#include "jobyard/limits.hpp"
#include "name_index.hpp"

namespace jobyard::broker {

inline constexpr std::uint32_t kAgingShare = 20;

using ServiceId = std::uint32_t;

/// How much a worker has to do, and which one it is: the least goes first.
using Load = std::pair<std::uint64_t, SessionIndex>;

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
    [[nodiscard]] ClassInfo info(ClassId id) const {
        const Class& c = classes_[id];
        return {c.queue, c.queue_name, c.type_name};
    }
    [[nodiscard]] std::size_t classes() const { return classes_.size(); }
    [[nodiscard]] std::size_t queues() const { return queues_.size(); }
    [[nodiscard]] std::string_view queue_name(QueueId id) const { return queues_[id].name; }
    /// Those whose names come after `after`, in their order, until `tell` gives false.
    template <class Tell>
    void for_each_queue(std::string_view after, Tell&& tell) const {
        for (auto queue = queues_by_name_.upper_bound(after); queue != queues_by_name_.end(); ++queue)
            if (!tell(std::string_view(queue->first), queue->second)) return;
    }

    /// The queue of this name, made if new; as with classes the caller bounds how many there are.
    QueueId queue_of(std::string_view queue);
    /// Jobs of a queue that is not open stay where they are and are not picked. All are open at first.
    void set_open(QueueId queue, bool open);
    [[nodiscard]] bool open(QueueId queue) const { return queues_[queue].open; }

    /// The service of workers with these queues and types, made if new, for one worker more.
    ServiceId join(std::vector<std::string> queues, std::vector<std::string> types);
    /// A worker less: with its last one a service is forgotten, and its number is the next new one's.
    void leave(ServiceId service);
    /// Numbers of services are below.
    [[nodiscard]] std::size_t services() const { return services_.size(); }
    /// The names of queues and types in the lists that services have, equal lists of types once; and how many join()
    /// would add. The caller bounds them.
    [[nodiscard]] std::size_t served_names() const { return served_names_; }
    [[nodiscard]] std::size_t new_names(std::vector<std::string> queues, std::vector<std::string> types) const;
    /// What there is in memory for services; for tests.
    struct Sizes {
        std::size_t services = 0;
        std::size_t type_sets = 0;
        std::size_t lines = 0;
        std::size_t names = 0;
        bool operator==(const Sizes&) const = default;
    };
    [[nodiscard]] Sizes sizes() const { return {services_.size(), type_sets_.size(), lines_.size(), served_names_}; }
    [[nodiscard]] const std::vector<std::string>& queues_of(ServiceId id) const { return services_[id].queues; }
    [[nodiscard]] const std::vector<std::string>& types_of(ServiceId id) const {
        return type_sets_[services_[id].types].names;
    }
    /// When the job that is longest in the queue was submitted (wall clock); 0 if it has none that is ready.
    [[nodiscard]] std::int64_t oldest_in(QueueId queue) const;
    [[nodiscard]] bool serves(ServiceId service, ClassId class_id) const;
    /// Whether it has a job it can take.
    [[nodiscard]] bool ready(ServiceId service) const { return services_[service].ready > 0; }

    /// The load of its least loaded worker with room, if it has one.
    void set_room(ServiceId service, std::optional<Load> room);
    /// Of the services that are ready() and have room, the one with the least load.
    [[nodiscard]] std::optional<ServiceId> next_service() const {
        return offers_.empty() ? std::nullopt : std::optional(offers_.first().member);
    }

    void push(JobHandle job);
    void remove(JobHandle job);
    /// Takes the next job for a service that is ready().
    JobHandle pick(ServiceId service);

 private:
    using LineId = std::uint32_t;
    using TypesId = std::uint32_t;
    struct List {
        JobHandle first = kNoJob;
        JobHandle last = kNoJob;
    };
    /// Higher priority first, then order, then number. In two words, because heaps of these are most of a pick's cost
    /// where there are many classes.
    struct Place {
        std::uint64_t rank = 0;  ///< how far the priority is below the top, and below that byte the order
        std::uint64_t id = 0;
        JobHandle job = kNoJob;
        [[nodiscard]] static Place first_of(std::uint64_t below_top) { return {below_top << 56U, 0, kNoJob}; }
        [[nodiscard]] std::uint64_t below_top() const { return rank >> 56U; }
        /// The same without its priority.
        [[nodiscard]] Place age() const { return {rank << 8U >> 8U, id, job}; }
        friend bool operator<(const Place& a, const Place& b) {
            return a.rank != b.rank ? a.rank < b.rank : a.id < b.id;
        }
    };
    /// Where a class stands in a line, or a line in a service.
    struct Listing {
        std::uint32_t in = 0;
        std::uint32_t member = 0;
    };
    // With ten thousand queues or a thousand types what a job costs more than with one is memory that was not touched
    // for a while. So names stand in the class, short ones in its first cache line, and what nearly every job touches
    // in the next.
    struct alignas(64) Class {
        std::string queue_name;
        std::string type_name;
        QueueId queue = 0;
        std::uint16_t filled = 0;   // bit p: lists[p] is not empty
        bool has_returned = false;  // `returned` is not empty
        std::vector<Listing> lines;
        // While it is ready, no line has a worse key for it, and no job of it is better than these.
        Place placed;
        Place aged;
        std::array<List, kPriorityMax + 1> lists;  // by priority
        std::set<Place> returned;
        [[nodiscard]] bool empty() const { return filled == 0 && !has_returned; }
        /// What a pick reads.
        void prefetch() const {
            __builtin_prefetch(&queue, 1);
            __builtin_prefetch(&lists[kDefaultPriority], 1);
        }
        [[nodiscard]] bool is(std::string_view a_queue, std::string_view a_type) const {
            return type_name == a_type && queue_name == a_queue;
        }
    };
    struct Queue {
        std::string name;
        std::vector<ClassId> classes;
        std::vector<LineId> lines;
        std::uint32_t picks_to_go_on = 0;  // of its lines that are gone
        bool open = true;
    };
    struct alignas(64) Line {
        std::uint32_t ready = 0;  // of its classes
        TypesId types = 0;
        QueueId queue = 0;
        std::uint16_t priorities = 0;  // bit p: it has had a job of this one
        ClassId first = 0;             // of `classes`
        bool plain = false;            // it has but one class
        bool open = true;              // as its queue is; its services know it as ready only while it is
        std::uint32_t picks = 0;       // since the last one that went to the oldest
        std::vector<Listing> services;
        std::vector<ClassId> classes;
        Heap<Place> by_place;  // its ready classes, and some that became empty; unused while it is plain
        Heap<Place> by_age;    // the same; unused until its jobs have had two priorities
        [[nodiscard]] bool mixed() const { return (priorities & (priorities - 1)) != 0; }
    };
    struct TypeSet {
        std::vector<std::string> names;
        std::uint32_t services = 0;  // that have it
    };
    struct Service {
        std::vector<std::string> queues;
        TypesId types = 0;
        std::uint32_t workers = 0;
        std::uint32_t ready = 0;  // of its lines
        std::vector<LineId> lines;
        std::vector<std::uint64_t> turns;  // a bit for each of its lines: it is ready
        std::uint32_t turn = 0;            // of the first one that is ready from here on, around
        std::optional<Load> room;
        LineId take_turn();
    };
    [[nodiscard]] Place place_of(JobHandle job) const;
    [[nodiscard]] Place place_of(JobHandle job, unsigned priority) const;
    [[nodiscard]] Place best(const Class& c) const;
    [[nodiscard]] Place oldest(const Class& c) const;
    Place best(Line& line);
    Place oldest(Line& line);
    void improved(Class& c, const Place& place, bool was_empty);
    void saw_priorities(Line& line, unsigned priorities);
    void became_empty(const Class& c);
    void became_ready(const Listing& listing);
    void became_empty(const Listing& listing);
    void offer(ServiceId id);
    void join_line(LineId id, ClassId class_id);
    [[nodiscard]] LineId line_of(QueueId queue, TypesId types);
    void forget_line(LineId id);
    void serve(ServiceId id, LineId line);
    [[nodiscard]] bool has_type(TypesId types, std::string_view type) const;
    [[nodiscard]] static bool has_queue(const Service& service, std::string_view queue);

    JobTable& jobs_;
    std::deque<Class> classes_;
    NameIndex class_ids_;
    mutable ClassId last_found_ = 0;  // a new job's class is looked up twice
    Place newest_;                    // of all that were ever pushed, without their priority
    std::deque<Queue> queues_;
    std::map<std::string, QueueId, std::less<>> queues_by_name_;

    // Of those that are forgotten the numbers are free for new ones.
    std::deque<Line> lines_;
    std::vector<LineId> free_lines_;
    std::deque<TypeSet> type_sets_;
    std::vector<TypesId> free_type_sets_;
    std::map<std::vector<std::string>, TypesId> type_set_ids_;
    std::deque<Service> services_;
    std::vector<ServiceId> free_services_;
    std::map<std::pair<std::vector<std::string>, TypesId>, ServiceId> service_ids_;
    std::size_t served_names_ = 0;
    std::uint32_t turn_to_go_on_ = 0;
    Heap<Load> offers_;  // services that are ready and have room
};

}  // namespace jobyard::broker
