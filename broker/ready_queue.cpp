#include "ready_queue.hpp"

#include <algorithm>
#include <bit>

namespace jobyard::broker {

std::optional<ClassId> ReadyQueue::find_class(std::string_view queue, std::string_view type) const {
    if (last_found_ < classes_.size() && classes_[last_found_].info.queue_name == queue &&
        classes_[last_found_].info.type_name == type)
        return last_found_;
    const auto q = queues_by_name_.find(queue);
    const auto t = types_by_name_.find(type);
    if (q == queues_by_name_.end() || t == types_by_name_.end()) return std::nullopt;
    const auto found = class_ids_.find({q->second, t->second});
    if (found == class_ids_.end()) return std::nullopt;
    return last_found_ = found->second;
}

std::optional<QueueId> ReadyQueue::find_queue(std::string_view queue) const {
    const auto found = queues_by_name_.find(queue);
    return found == queues_by_name_.end() ? std::nullopt : std::optional(found->second);
}

ClassId ReadyQueue::class_of(std::string_view queue, std::string_view type) {
    if (const auto found = find_class(queue, type)) return *found;
    auto q = queues_by_name_.find(queue);
    if (q == queues_by_name_.end()) {
        q = queues_by_name_.emplace(queue, static_cast<QueueId>(queues_.size())).first;
        queues_.emplace_back(queue);
    }
    auto t = types_by_name_.find(type);
    if (t == types_by_name_.end()) {
        t = types_by_name_.emplace(type, static_cast<std::uint32_t>(types_.size())).first;
        types_.emplace_back(type);
    }
    const auto id = static_cast<ClassId>(classes_.size());
    class_ids_[{q->second, t->second}] = id;
    Class& added = classes_.emplace_back();
    added.info = {q->second, queues_[q->second], types_[t->second]};
    for (ServiceId service = 0; service < services_.size(); ++service)
        if (matches(services_[service], added.info)) added.served_by.push_back(service);
    return id;
}

bool ReadyQueue::matches(const Service& service, const ClassInfo& info) {
    return std::binary_search(service.queues.begin(), service.queues.end(), info.queue_name) &&
           std::binary_search(service.types.begin(), service.types.end(), info.type_name);
}

ServiceId ReadyQueue::service_of(std::vector<std::string> queues, std::vector<std::string> types) {
    std::sort(queues.begin(), queues.end());
    queues.erase(std::unique(queues.begin(), queues.end()), queues.end());
    std::sort(types.begin(), types.end());
    types.erase(std::unique(types.begin(), types.end()), types.end());
    const auto [place, made] = service_ids_.try_emplace({queues, types}, static_cast<ServiceId>(services_.size()));
    if (!made) return place->second;
    Service& added = services_.emplace_back();
    added.queues = std::move(queues);
    added.types = std::move(types);
    for (std::size_t id = 0; id < classes_.size(); ++id) {
        Class& c = classes_[id];
        if (!matches(added, c.info)) continue;
        c.served_by.push_back(place->second);
        if (!c.empty()) added.turns[c.info.queue].insert(static_cast<ClassId>(id));
    }
    return place->second;
}

bool ReadyQueue::serves(ServiceId service, ClassId class_id) const {
    return matches(services_[service], classes_[class_id].info);
}

ReadyQueue::Place ReadyQueue::place_of(JobHandle job) const {
    const Job& j = jobs_[job];
    return {static_cast<std::uint8_t>(kPriorityMax - j.priority), j.order, j.id.value, job};
}

void ReadyQueue::push(JobHandle handle) {
    Job& job = jobs_[handle];
    Class& c = classes_[job.class_id];
    const bool was_empty = c.empty();
    List& list = c.lists[job.priority];
    if (list.last != kNoJob && place_of(handle) < place_of(list.last)) {
        job.returned = true;
        c.returned.insert(place_of(handle));
    } else {
        job.previous = list.last;
        job.next = kNoJob;
        (list.last == kNoJob ? list.first : jobs_[list.last].next) = handle;
        list.last = handle;
        c.filled = static_cast<std::uint16_t>(c.filled | 1U << job.priority);
    }
    if (was_empty) became_ready(job.class_id);
}

void ReadyQueue::remove(JobHandle handle) {
    Job& job = jobs_[handle];
    Class& c = classes_[job.class_id];
    if (job.returned) {
        c.returned.erase(place_of(handle));
        job.returned = false;
    } else {
        List& list = c.lists[job.priority];
        (job.previous == kNoJob ? list.first : jobs_[job.previous].next) = job.next;
        (job.next == kNoJob ? list.last : jobs_[job.next].previous) = job.previous;
        job.previous = job.next = kNoJob;
        if (list.first == kNoJob) c.filled = static_cast<std::uint16_t>(c.filled & ~(1U << job.priority));
    }
    if (c.empty()) became_empty(job.class_id);
}

ReadyQueue::Place ReadyQueue::best(const Class& c) const {
    Place place{0xff, 0, 0, kNoJob};
    if (c.filled != 0) place = place_of(c.lists[static_cast<std::size_t>(std::bit_width(c.filled) - 1)].first);
    if (!c.returned.empty()) place = std::min(place, *c.returned.begin());
    return place;
}

ReadyQueue::Place ReadyQueue::oldest(const Class& c) const {
    Place oldest{};
    const auto consider = [&](Place place) {
        place.below_top = 0;  // age only
        if (oldest.job == kNoJob || place < oldest) oldest = place;
    };
    for (const List& list : c.lists)
        if (list.first != kNoJob) consider(place_of(list.first));
    // Those that came back are ordered by priority first: the oldest of each priority is the first at or after its
    // border.
    for (int below_top = 0; below_top < kPriorityMax; ++below_top) {
        const auto at = c.returned.lower_bound({static_cast<std::uint8_t>(below_top), 0, 0, 0});
        if (at != c.returned.end() && at->below_top == below_top) consider(*at);
    }
    return oldest;
}

JobHandle ReadyQueue::pick(ServiceId id) {
    Service& service = services_[id];
    JOBYARD_ASSERT(!service.turns.empty());
    Place chosen{0xff, 0, 0, kNoJob};
    if (++service.picks % kAgingShare == 0) {
        for (const auto& [queue, classes] : service.turns)
            for (const ClassId class_id : classes) {
                const Place place = oldest(classes_[class_id]);
                if (chosen.job == kNoJob || place < chosen) chosen = place;
            }
    } else {
        auto turn = service.turns.upper_bound(service.last_turn);
        if (turn == service.turns.end()) turn = service.turns.begin();
        service.last_turn = turn->first;
        for (const ClassId class_id : turn->second) chosen = std::min(chosen, best(classes_[class_id]));
    }
    remove(chosen.job);
    return chosen.job;
}

void ReadyQueue::became_ready(ClassId id) {
    const Class& c = classes_[id];
    for (const ServiceId service : c.served_by) services_[service].turns[c.info.queue].insert(id);
}

void ReadyQueue::became_empty(ClassId id) {
    const Class& c = classes_[id];
    for (const ServiceId service : c.served_by) {
        auto& turns = services_[service].turns;
        const auto turn = turns.find(c.info.queue);
        turn->second.erase(id);
        if (turn->second.empty()) turns.erase(turn);
    }
}

}  // namespace jobyard::broker
