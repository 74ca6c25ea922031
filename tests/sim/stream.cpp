#include "stream.hpp"

#include <algorithm>
#include <string>

#include "jobyard/assert.hpp"
#include "record.hpp"
#include "world.hpp"

namespace jobyard::sim {
namespace {

constexpr const char* kRule = "P2 whatever happens is told once, in order";

/// What the rows of jobs tell besides.
bool is_expected(EventKind kind) {
    switch (kind) {
        case EventKind::submitted:
        case EventKind::completed:
        case EventKind::failed:
        case EventKind::dead:
        case EventKind::cancelled:
        case EventKind::redriven:
        case EventKind::worker_lost:
        case EventKind::released:
        case EventKind::retired: return true;
        default: return false;
    }
}

std::string text(const std::pair<EventKind, JobId>& event) {
    return std::string(to_string(event.first)) + " of job " + std::to_string(event.second.value);
}

}  // namespace

void Stream::named(std::string_view key, std::string_view bytes) {
    broker::ClassRow row;
    JOBYARD_ASSERT(read_row(bytes, row));
    const Names names{row.queue, row.type};
    if (const auto known = classes_.emplace(key, names); !known.second && known.first->second != names)
        throw Broken{kRule, "a number of a class is given again"};
}

void Stream::written(std::string_view key, std::string_view bytes) {
    broker::EventsRow row;
    JOBYARD_ASSERT(read_row(bytes, row));
    if (broker::from_big_endian(key) != events_.size() + 1)
        throw Broken{kRule, "after event " + std::to_string(events_.size()) + " comes number " +
                                std::to_string(broker::from_big_endian(key))};
    for (const broker::EventsRow::Entry& entry : row.events) {
        const auto names = classes_.find(broker::class_key(row.epoch, entry.class_number));
        if (entry.class_number != 0 && names == classes_.end())
            throw Broken{kRule, "the class of event " + std::to_string(events_.size() + 1) + " is not on disk"};
        names_.insert(names_.end(), entry.count, entry.class_number == 0 ? nullptr : &names->second);
        for (std::uint64_t i = 0; i < entry.count; ++i) {
            const Happened event{static_cast<EventKind>(entry.kind), JobId{entry.job.value + i}};
            coverage_.event(event.first);
            events_.push_back(event);
            if (is_expected(event.first)) told_.push_back(event);
        }
    }
}

void Stream::end() {
    std::sort(expected_.begin(), expected_.end());
    std::sort(told_.begin(), told_.end());
    if (expected_ != told_) {
        const auto [left, right] = std::mismatch(expected_.begin(), expected_.end(), told_.begin(), told_.end());
        if (left != expected_.end() && (right == told_.end() || *left < *right))
            throw Broken{kRule, "there is no event " + text(*left)};
        throw Broken{kRule, "there is an event " + text(*right) + ", and it has not happened"};
    }
    expected_.clear();
    told_.clear();
}

void Stream::told(std::uint64_t after, std::uint64_t gone, std::uint64_t last, const std::vector<Told>& events) const {
    std::uint64_t next = std::max(after, gone) + 1;
    for (const Told& event : events) {
        if (event.number != next)
            throw Broken{kRule, "who has read up to " + std::to_string(next - 1) + " is told of event " +
                                    std::to_string(event.number)};
        for (std::uint64_t i = 0; i < event.count; ++i, ++next) {
            if (next > events_.size())
                throw Broken{"P1 acknowledged means durable", "event " + std::to_string(next) + " is not on disk"};
            const Happened& happened = events_[next - 1];
            if (to_string(happened.first) != event.kind || (event.job && happened.second != JobId{event.job.value + i}))
                throw Broken{kRule, "event " + std::to_string(next) + " is " + text(happened) + " and was told as " +
                                        std::string(event.kind) + " of job " + std::to_string(event.job.value)};
            const Names* names = names_[next - 1];
            if (names != nullptr && (names->first != event.queue || names->second != event.type))
                throw Broken{kRule, "event " + std::to_string(next) + " is of " + names->first + ", " + names->second +
                                        " and was told as of " + std::string(event.queue) + ", " +
                                        std::string(event.type)};
        }
    }
    if (last + 1 < next || last > events_.size())
        throw Broken{kRule,
                     "who was told up to " + std::to_string(next - 1) + " is to go on behind " + std::to_string(last)};
}

}  // namespace jobyard::sim
