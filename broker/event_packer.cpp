#include "event_packer.hpp"

#include <functional>

namespace jobyard::broker {
namespace {

constexpr std::size_t kMostRuns = 100;            // so that one that reads a few events need not read many
constexpr std::size_t kRowRoom = kRowBytes - 40;  // what precedes the lists, and their lengths

std::size_t uint_bytes(std::uint64_t value) {
    if (value < 0x80) return 1;
    if (value < 0x100) return 2;
    if (value < 0x10000) return 3;
    return value < 0x100000000ULL ? 5 : 9;
}

std::size_t word_bytes(std::string_view word) { return (word.size() < 32 ? 1 : 3) + word.size(); }

}  // namespace

void EventPacker::begin(std::int64_t wall) {
    row_.wall = wall;
    row_.events.clear();
    row_.subjects.clear();
    row_.words.clear();
    words_.clear();
    before_.clear();
    ++row_number_;
    next_job_ = 0;
    bytes_ = 0;
}

bool EventPacker::add(EventKind kind, JobId job, std::uint64_t count, const EventsRow::Subject& subject,
                      const Known* known) {
    if (row_.events.size() == kMostRuns) return false;
    const std::size_t words = row_.words.size();
    const std::size_t subjects = row_.subjects.size();
    const EventsRow::Places last =
        row_.events.empty() ? EventsRow::Places{} : row_.subjects[row_.events.back().subject - 1];
    const EventsRow::Places places{
        known != nullptr ? place_of(subject.queue, mark(queues_, known->queue)) : place_of(subject.queue, last[0]),
        known != nullptr ? place_of(subject.type, mark(types_, known->type)) : place_of(subject.type, last[1]),
        place_of(subject.worker, last[2]), place_of(subject.text, last[3])};
    const std::size_t class_number = known != nullptr ? known->class_id + std::size_t{1} : 0;
    const EventsRow::Entry entry{static_cast<std::uint8_t>(kind), job, count,
                                 number_of(places, mark(subjects_, class_number))};
    const std::uint64_t distance = job.value - next_job_;  // backwards: nine bytes either way
    bytes_ += uint_bytes(entry.kind) + uint_bytes(distance) + uint_bytes(count) + uint_bytes(entry.subject);
    if (bytes_ > kRowRoom && !row_.events.empty()) {
        row_.words.resize(words);
        row_.subjects.resize(subjects);
        return false;
    }
    row_.events.push_back(entry);
    next_job_ = job.value + count;
    return true;
}

EventPacker::Mark& EventPacker::mark(Marks& marks, std::size_t number) const {
    if (number >= marks.size()) marks.resize(number + 1);
    Mark& mark = marks[number];
    if (mark.row != row_number_) mark = {row_number_, 0};
    return mark;
}

std::uint32_t EventPacker::add_word(std::string_view word) {
    row_.words.push_back(word);
    bytes_ += word_bytes(word);
    return static_cast<std::uint32_t>(row_.words.size());
}

std::uint32_t EventPacker::place_of(std::string_view word, Mark& mark) {
    if (mark.place == 0) mark.place = add_word(word);
    return mark.place;
}

std::uint32_t EventPacker::place_of(std::string_view word, std::uint32_t likely) {
    if (word.empty()) return 0;
    if (likely != 0 && row_.words[likely - 1] == word) return likely;
    const auto hash = static_cast<std::uint32_t>(std::hash<std::string_view>{}(word));
    if (const auto found = words_.find(hash, [&](std::uint32_t place) { return row_.words[place - 1] == word; }))
        return *found;
    const std::uint32_t place = add_word(word);
    words_.add(hash, place);
    return place;
}

std::uint32_t EventPacker::number_of(const EventsRow::Places& subject, Mark& newest) {
    for (std::uint32_t number = newest.place; number != 0; number = before_[number - 1])
        if (row_.subjects[number - 1] == subject) return number;
    row_.subjects.push_back(subject);
    before_.push_back(newest.place);
    newest.place = static_cast<std::uint32_t>(row_.subjects.size());
    for (const std::uint32_t place : subject) bytes_ += uint_bytes(place);
    return newest.place;
}

}  // namespace jobyard::broker
