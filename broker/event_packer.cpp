#include "event_packer.hpp"

#include <algorithm>
#include <functional>
#include <utility>

namespace jobyard::broker {
namespace {

constexpr std::size_t kRowRoom = kRowBytes - 40;  // what precedes the lists, and their lengths

std::size_t uint_bytes(std::uint64_t value) {
    if (value < 0x80) return 1;
    if (value < 0x100) return 2;
    if (value < 0x10000) return 3;
    return value < 0x100000000ULL ? 5 : 9;
}

std::size_t word_bytes(std::string_view word) { return (word.size() < 32 ? 1 : 3) + word.size(); }

}  // namespace

void EventPacker::begin(std::int64_t wall, std::uint32_t epoch) {
    row_.wall = wall;
    row_.epoch = epoch;
    row_.events.clear();
    row_.subjects.clear();
    row_.words.clear();
    words_.clear();
    bytes_ = 0;
}

bool EventPacker::add(EventKind kind, JobId job, std::uint64_t count, std::uint32_t class_number,
                      const EventsRow::Subject& subject) {
    const std::size_t words = row_.words.size();
    const std::size_t subjects = row_.subjects.size();
    if (add({static_cast<std::uint8_t>(kind), job, count, class_number, subject_number(subject)})) return true;
    row_.words.resize(words);
    row_.subjects.resize(subjects);
    return false;
}

bool EventPacker::add_next(std::uint32_t class_number) {
    EventsRow::Entry next = row_.events.back();
    next.job.value += std::exchange(next.count, 1);
    next.class_number = class_number;
    return add(next);
}

bool EventPacker::add(const EventsRow::Entry& entry) {
    std::vector<EventsRow::Entry>& entries = row_.events;
    const auto length_bytes = [](std::uint64_t jobs) { return uint_bytes(jobs << 1U | 1U); };
    bytes_ += uint_bytes(entry.class_number);
    if (!entries.empty() && entry.follows(entries.back())) {
        ++run_;
        bytes_ += length_bytes(run_) - length_bytes(run_ - 1);
    } else {
        const std::uint64_t expected = entries.empty() ? 0 : entries.back().job.value + entries.back().count;
        const std::uint64_t distance = entry.job.value - expected;  // backwards: nine bytes either way
        bytes_ += uint_bytes(entry.kind) + uint_bytes(distance) + uint_bytes(entry.subject) + length_bytes(entry.count);
        run_ = 1;
    }
    if (bytes_ > kRowRoom && !entries.empty()) return false;
    entries.push_back(entry);
    return true;
}

std::uint32_t EventPacker::subject_number(const EventsRow::Subject& subject) {
    const auto& [queue, type, worker, text] = subject;
    if (queue.empty() && type.empty() && worker.empty() && text.empty()) return 0;
    // What one worker did comes together.
    const std::uint32_t last = row_.events.empty() ? 0 : row_.events.back().subject;
    const EventsRow::Places likely = last == 0 ? EventsRow::Places{} : row_.subjects[last - 1];
    const std::size_t words = row_.words.size();
    const EventsRow::Places places{place_of(queue, likely[0]), place_of(type, likely[1]), place_of(worker, likely[2]),
                                   place_of(text, likely[3])};
    if (last != 0 && places == likely) return last;
    if (words == row_.words.size())  // else it has a new word, and is new
        if (const auto known = std::find(row_.subjects.begin(), row_.subjects.end(), places);
            known != row_.subjects.end())
            return static_cast<std::uint32_t>(known - row_.subjects.begin()) + 1;
    row_.subjects.push_back(places);
    for (const std::uint32_t place : places) bytes_ += uint_bytes(place);
    return static_cast<std::uint32_t>(row_.subjects.size());
}

std::uint32_t EventPacker::place_of(std::string_view word, std::uint32_t likely) {
    if (word.empty()) return 0;
    if (likely != 0 && row_.words[likely - 1] == word) return likely;
    const auto hash = static_cast<std::uint32_t>(std::hash<std::string_view>{}(word));
    if (const auto found = words_.find(hash, [&](std::uint32_t place) { return row_.words[place - 1] == word; }))
        return *found;
    row_.words.push_back(word);
    bytes_ += word_bytes(word);
    const auto place = static_cast<std::uint32_t>(row_.words.size());
    words_.add(hash, place);
    return place;
}

}  // namespace jobyard::broker
