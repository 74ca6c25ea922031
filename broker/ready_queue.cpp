#include "ready_queue.hpp"

#include <algorithm>
#include <bit>
#include <functional>

#include "jobyard/assert.hpp"
#include "simulated.hpp"

namespace jobyard::broker {

namespace {

constexpr unsigned kEveryPriority = (2U << kPriorityMax) - 1;

std::uint32_t hash_of(std::string_view queue, std::string_view type) {
    const std::hash<std::string_view> hash;
    return static_cast<std::uint32_t>(hash(queue) * 31 + hash(type));
}

void sort_names(std::vector<std::string>& names) {
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
}

/// One that is free again, or a new one at the end.
template <class T>
std::uint32_t take_place(std::deque<T>& all, std::vector<std::uint32_t>& free) {
    if (free.empty()) {
        all.emplace_back();
        return static_cast<std::uint32_t>(all.size() - 1);
    }
    const std::uint32_t place = free.back();
    free.pop_back();
    return place;
}

template <class T>
void give_back(std::uint32_t place, std::deque<T>& all, std::vector<std::uint32_t>& free) {
    all[place] = T{};
    free.push_back(place);
}

}  // namespace

std::optional<ClassId> ReadyQueue::find_class(std::string_view queue, std::string_view type) const {
    if (last_found_ < classes_.size() && classes_[last_found_].is(queue, type)) return last_found_;
    const auto found =
        class_ids_.find(hash_of(queue, type), [&](std::uint32_t id) { return classes_[id].is(queue, type); });
    if (!found) return std::nullopt;
    return last_found_ = static_cast<ClassId>(*found);
}

std::optional<QueueId> ReadyQueue::find_queue(std::string_view queue) const {
    const auto found = queues_by_name_.find(queue);
    return found == queues_by_name_.end() ? std::nullopt : std::optional(found->second);
}

QueueId ReadyQueue::queue_of(std::string_view queue) {
    const auto found = queues_by_name_.find(queue);
    if (found != queues_by_name_.end()) return found->second;
    const auto id = static_cast<QueueId>(queues_.size());
    queues_by_name_.emplace(queue, id);
    queues_.emplace_back().name = queue;
    for (ServiceId service = 0; service < services_.size(); ++service)  // a forgotten one has no queues
        if (has_queue(services_[service], queue)) serve(service, line_of(id, services_[service].types));
    return id;
}

void ReadyQueue::set_open(QueueId id, bool open) {
    Queue& queue = queues_[id];
    if (queue.open == open) return;
    queue.open = open;
    for (const LineId line_id : queue.lines) {
        Line& line = lines_[line_id];
        line.open = open;
        if (line.ready == 0) continue;
        for (const Listing& service : line.services) {
            if (open) became_ready(service);
            else became_empty(service);
        }
    }
}

ClassId ReadyQueue::class_of(std::string_view queue, std::string_view type) {
    if (const auto found = find_class(queue, type)) return *found;
    const QueueId q = queue_of(queue);
    const auto id = static_cast<ClassId>(classes_.size());
    Class& added = classes_.emplace_back();
    added.queue = q;
    added.queue_name = queue;
    added.type_name = type;
    class_ids_.add(hash_of(queue, type), id);
    queues_[q].classes.push_back(id);
    for (const LineId line : queues_[q].lines)
        if (has_type(lines_[line].types, type)) join_line(line, id);
    return id;
}

ServiceId ReadyQueue::join(std::vector<std::string> queues, std::vector<std::string> types) {
    sort_names(queues);
    sort_names(types);
    const auto known_types = type_set_ids_.find(types);
    const TypesId set =
        known_types == type_set_ids_.end() ? take_place(type_sets_, free_type_sets_) : known_types->second;
    if (known_types == type_set_ids_.end()) {
        served_names_ += types.size();
        type_set_ids_[types] = set;
        type_sets_[set].names = std::move(types);
    }
    const auto known = service_ids_.find({queues, set});
    if (known != service_ids_.end()) {
        ++services_[known->second].workers;
        return known->second;
    }
    const ServiceId id = take_place(services_, free_services_);
    served_names_ += queues.size();
    service_ids_[{queues, set}] = id;
    ++type_sets_[set].services;
    Service& added = services_[id];
    added.queues = std::move(queues);
    added.types = set;
    added.workers = 1;
    added.turn = std::exchange(turn_to_go_on_, 0);
    for (const std::string& name : added.queues)
        if (const auto queue = find_queue(name)) serve(id, line_of(*queue, set));
    return id;
}

void ReadyQueue::leave(ServiceId id) {
    Service& service = services_[id];
    JOBYARD_ASSERT(service.workers > 0);
    if (--service.workers > 0) return;
    set_room(id, std::nullopt);
    for (const LineId line : service.lines) {
        std::erase_if(lines_[line].services, [id](const Listing& listing) { return listing.in == id; });
        if (lines_[line].services.empty()) forget_line(line);
    }
    const TypesId set = service.types;
    service_ids_.erase({service.queues, set});
    served_names_ -= service.queues.size();
    turn_to_go_on_ = service.turn;
    give_back(id, services_, free_services_);
    TypeSet& types = type_sets_[set];
    if (--types.services > 0) return;
    type_set_ids_.erase(types.names);
    served_names_ -= types.names.size();
    give_back(set, type_sets_, free_type_sets_);
}

std::size_t ReadyQueue::new_names(std::vector<std::string> queues, std::vector<std::string> types) const {
    sort_names(queues);
    sort_names(types);
    const auto set = type_set_ids_.find(types);
    if (set == type_set_ids_.end()) return queues.size() + types.size();
    const std::size_t count = queues.size();
    return service_ids_.contains({std::move(queues), set->second}) ? 0 : count;
}

bool ReadyQueue::has_type(TypesId types, std::string_view type) const {
    const std::vector<std::string>& names = type_sets_[types].names;
    return std::binary_search(names.begin(), names.end(), type);
}

bool ReadyQueue::has_queue(const Service& service, std::string_view queue) {
    return std::binary_search(service.queues.begin(), service.queues.end(), queue);
}

bool ReadyQueue::serves(ServiceId service, ClassId class_id) const {
    const Class& c = classes_[class_id];
    return has_queue(services_[service], c.queue_name) && has_type(services_[service].types, c.type_name);
}

ReadyQueue::LineId ReadyQueue::line_of(QueueId queue, TypesId types) {
    for (const LineId line : queues_[queue].lines)
        if (lines_[line].types == types) return line;
    const LineId id = take_place(lines_, free_lines_);
    Line& added = lines_[id];
    added.queue = queue;
    added.types = types;
    added.open = queues_[queue].open;
    added.picks = std::exchange(queues_[queue].picks_to_go_on, 0);
    queues_[queue].lines.push_back(id);
    for (const ClassId class_id : queues_[queue].classes)
        if (has_type(types, classes_[class_id].type_name)) join_line(id, class_id);
    return id;
}

void ReadyQueue::forget_line(LineId id) {
    Line& line = lines_[id];
    for (const ClassId class_id : line.classes)
        std::erase_if(classes_[class_id].lines, [id](const Listing& listing) { return listing.in == id; });
    std::erase(queues_[line.queue].lines, id);
    std::uint32_t& to_go_on = queues_[line.queue].picks_to_go_on;
    to_go_on = std::min(to_go_on + line.picks, kAgingShare - 1);
    give_back(id, lines_, free_lines_);
}

void ReadyQueue::join_line(LineId id, ClassId class_id) {
    Line& line = lines_[id];
    Class& c = classes_[class_id];
    const auto member = static_cast<std::uint32_t>(line.classes.size());
    line.classes.push_back(class_id);
    line.plain = member == 0;
    line.first = line.classes.front();
    c.lines.push_back({id, member});
    const auto list = [&](std::uint32_t listed) {
        const Class& ready = classes_[line.classes[listed]];
        if (ready.empty()) return;
        line.by_place.append(listed, ready.placed);
        if (line.mixed()) line.by_age.append(listed, ready.aged);
    };
    if (member == 1) list(0);  // no longer plain
    if (member >= 1) list(member);
    if (c.empty()) return;
    saw_priorities(line, c.filled | (c.has_returned ? kEveryPriority : 0));
    JOBYARD_ASSERT(line.services.empty());  // a ready class meets new lines only
    ++line.ready;
}

void ReadyQueue::serve(ServiceId id, LineId line_id) {
    Service& service = services_[id];
    Line& line = lines_[line_id];
    const Listing listing{id, static_cast<std::uint32_t>(service.lines.size())};
    service.lines.push_back(line_id);
    service.turns.resize((service.lines.size() + 63) / 64);
    line.services.push_back(listing);
    if (line.ready > 0 && line.open) became_ready(listing);
}

ReadyQueue::Place ReadyQueue::place_of(JobHandle job) const { return place_of(job, jobs_[job].priority); }

ReadyQueue::Place ReadyQueue::place_of(JobHandle job, unsigned priority) const {
    const Job& j = jobs_[job];
    return {Place::first_of(kPriorityMax - priority).rank | j.order, j.id.value, job};
}

void ReadyQueue::push(JobHandle handle) {
    Job& job = jobs_[handle];
    Class& c = classes_[job.class_id];
    const bool was_empty = c.empty();
    const bool new_priority = (c.filled >> job.priority & 1U) == 0;
    const Place place = place_of(handle);
    List& list = c.lists[job.priority];
    // The end of the list is seldom at hand.
    const bool is_newest = newest_ < place.age();
    if (is_newest) newest_ = place.age();
    if (!is_newest && list.last != kNoJob && place < place_of(list.last)) {
        job.returned = true;
        c.returned.insert(place);
        c.has_returned = true;
    } else {
        job.previous = list.last;
        job.next = kNoJob;
        (list.last == kNoJob ? list.first : jobs_[list.last].next) = handle;
        list.last = handle;
        c.filled = static_cast<std::uint16_t>(c.filled | 1U << job.priority);
    }
    if (new_priority || place < c.placed || place.age() < c.aged) improved(c, place, was_empty);
}

void ReadyQueue::remove(JobHandle handle) {
    Job& job = jobs_[handle];
    Class& c = classes_[job.class_id];
    if (job.returned) {
        c.returned.erase(place_of(handle));
        c.has_returned = !c.returned.empty();
        job.returned = false;
    } else {
        List& list = c.lists[job.priority];
        (job.previous == kNoJob ? list.first : jobs_[job.previous].next) = job.next;
        (job.next == kNoJob ? list.last : jobs_[job.next].previous) = job.previous;
        job.previous = job.next = kNoJob;
        if (list.first == kNoJob) c.filled = static_cast<std::uint16_t>(c.filled & ~(1U << job.priority));
    }
    if (c.empty()) became_empty(c);
}

ReadyQueue::Place ReadyQueue::best(const Class& c) const {
    Place place = Place::first_of(0xff);
    if (c.filled != 0) {
        const auto highest = static_cast<unsigned>(std::bit_width(c.filled) - 1);
        place = place_of(c.lists[highest].first, highest);
    }
    if (c.has_returned) place = std::min(place, *c.returned.begin());
    return place;
}

ReadyQueue::Place ReadyQueue::oldest(const Class& c) const {
    Place oldest = Place::first_of(0xff);
    const auto consider = [&](const Place& place) { oldest = std::min(oldest, place.age()); };
    for (unsigned filled = c.filled; filled != 0; filled &= filled - 1) {
        const auto priority = static_cast<unsigned>(std::countr_zero(filled));
        consider(place_of(c.lists[priority].first, priority));
    }
    if (!c.has_returned) return oldest;
    // Those that came back are ordered by priority first: the oldest of each priority is the first at or after its
    // border.
    for (std::uint64_t below_top = 0; below_top < kPriorityMax; ++below_top) {
        const auto at = c.returned.lower_bound(Place::first_of(below_top));
        if (at != c.returned.end() && at->below_top() == below_top) consider(*at);
    }
    return oldest;
}

std::int64_t ReadyQueue::oldest_in(QueueId queue) const {
    Place first = Place::first_of(0xff);
    for (const ClassId id : queues_[queue].classes)
        if (!classes_[id].empty()) first = std::min(first, oldest(classes_[id]));
    return first.job == kNoJob ? 0 : jobs_[first.job].created_at;
}

// In each of these the first key may be too good, or of what became empty. It is put right until it is the first all
// the same.

ReadyQueue::Place ReadyQueue::best(Line& line) {
    if (line.plain) return best(classes_[line.first]);
    if (const auto* coming = line.by_place.coming()) {
        jobs_.prefetch(coming->key.job);
        classes_[line.classes[coming->member]].prefetch();
    }
    for (;;) {
        const std::uint32_t member = line.by_place.first().member;
        Class& c = classes_[line.classes[member]];
        if (c.empty()) {
            line.by_place.drop(member);
            continue;
        }
        c.placed = best(c);
        if (!(line.by_place.first().key < c.placed)) return c.placed;
        line.by_place.append(member, c.placed);
    }
}

ReadyQueue::Place ReadyQueue::oldest(Line& line) {
    if (line.plain) return oldest(classes_[line.first]);
    if (!line.mixed()) return best(line).age();  // with one priority the oldest is the best
    for (;;) {
        const std::uint32_t member = line.by_age.first().member;
        Class& c = classes_[line.classes[member]];
        if (c.empty()) {
            line.by_age.drop(member);
            continue;
        }
        c.aged = oldest(c);
        if (!(line.by_age.first().key < c.aged)) return c.aged;
        line.by_age.append(member, c.aged);
    }
}

ReadyQueue::LineId ReadyQueue::Service::take_turn() {
    std::size_t word = turn / 64;
    std::uint64_t ready_from = word < turns.size() ? turns[word] & ~std::uint64_t{0} << turn % 64 : 0;
    while (ready_from == 0) {
        word = word + 1 < turns.size() ? word + 1 : 0;
        ready_from = turns[word];
    }
    const auto member = static_cast<std::uint32_t>(word * 64 + static_cast<unsigned>(std::countr_zero(ready_from)));
    turn = member + 1;
    return lines[member];
}

JobHandle ReadyQueue::pick(ServiceId id) {
    Service& service = services_[id];
    JOBYARD_ASSERT(service.ready > 0);
    Line& line = lines_[service.take_turn()];
    const bool for_age = ++line.picks >= kAgingShare || planted(PlantedBug::priority_inversion);
    if (for_age) line.picks = 0;
    const JobHandle chosen = (for_age ? oldest(line) : best(line)).job;
    remove(chosen);
    return chosen;
}

/// A job came that is better or older than every key of its class, or the first of its priority there.
void ReadyQueue::improved(Class& c, const Place& place, bool was_empty) {
    const Place age = place.age();
    if (was_empty || place < c.placed) c.placed = place;
    if (was_empty || age < c.aged) c.aged = age;
    for (const auto& [line_id, member] : c.lines) {
        Line& line = lines_[line_id];
        saw_priorities(line, 1U << (kPriorityMax - place.below_top()));
        if (!line.plain) {
            line.by_place.advance(member, c.placed);
            if (line.mixed()) line.by_age.advance(member, c.aged);
        }
        if (was_empty && line.ready++ == 0 && line.open)
            for (const Listing& service : line.services) became_ready(service);
    }
}

void ReadyQueue::saw_priorities(Line& line, unsigned priorities) {
    const bool was_mixed = line.mixed();
    line.priorities = static_cast<std::uint16_t>(line.priorities | priorities);
    if (was_mixed || !line.mixed() || line.plain) return;
    for (std::uint32_t member = 0; member < line.classes.size(); ++member)
        if (const Class& c = classes_[line.classes[member]]; !c.empty()) line.by_age.advance(member, c.aged);
}

void ReadyQueue::became_empty(const Class& c) {
    for (const Listing& listing : c.lines) {
        Line& line = lines_[listing.in];
        if (--line.ready > 0 || !line.open) continue;
        for (const Listing& service : line.services) became_empty(service);
    }
}

void ReadyQueue::became_ready(const Listing& listing) {
    Service& service = services_[listing.in];
    service.turns[listing.member / 64] |= std::uint64_t{1} << listing.member % 64;
    if (service.ready++ == 0) offer(listing.in);
}

void ReadyQueue::became_empty(const Listing& listing) {
    Service& service = services_[listing.in];
    service.turns[listing.member / 64] &= ~(std::uint64_t{1} << listing.member % 64);
    if (--service.ready == 0) offer(listing.in);
}

void ReadyQueue::set_room(ServiceId id, std::optional<Load> room) {
    services_[id].room = room;
    offer(id);
}

void ReadyQueue::offer(ServiceId id) {
    const Service& service = services_[id];
    if (service.room && ready(id)) offers_.put(id, *service.room);
    else offers_.drop(id);
}

}  // namespace jobyard::broker
