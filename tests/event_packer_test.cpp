// Events in rows: nothing is lost or twice there, and no row is larger than it may be.

#include "event_packer.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

namespace jobyard::broker {
namespace {

struct Event {
    EventKind kind = EventKind::submitted;
    JobId job;
    std::uint64_t count = 1;
    std::string queue = {};
    std::string type = {};
    std::string worker = {};
    std::string text = {};
    friend bool operator==(const Event&, const Event&) = default;
};

/// Names get numbers as the ready queue gives them.
struct Numbers {
    std::map<std::string, QueueId> queues;
    std::map<std::string, TypeId> types;
    std::map<std::pair<QueueId, TypeId>, ClassId> classes;
    template <class Key, class Id>
    static Id number(std::map<Key, Id>& numbers, const Key& key) {
        return numbers.try_emplace(key, static_cast<Id>(numbers.size())).first->second;
    }
    EventPacker::Known of(const Event& event) {
        const QueueId queue = number(queues, event.queue);
        const TypeId type = number(types, event.type);
        return {number(classes, {queue, type}), queue, type};
    }
};

/// The bytes of the rows that they take. `some_unknown`: some of what has a class is told without its numbers.
std::vector<std::string> rows_of(const std::vector<Event>& events, bool some_unknown = true) {
    std::vector<std::string> rows;
    EventPacker packer;
    Numbers numbers;
    for (std::size_t at = 0; at < events.size();) {
        packer.begin(77);
        for (; at < events.size(); ++at) {
            const Event& e = events[at];
            const EventPacker::Known known = numbers.of(e);
            const bool has_class = !e.queue.empty() && !e.type.empty() && !(some_unknown && at % 7 == 3);
            if (!packer.add(e.kind, e.job, e.count, {e.queue, e.type, e.worker, e.text}, has_class ? &known : nullptr))
                break;
        }
        Batch batch;
        const Slice slice = append_row(batch, packer.row());
        rows.emplace_back(batch.view(slice));
    }
    return rows;
}

std::vector<Event> events_of(const std::vector<std::string>& rows) {
    std::vector<Event> events;
    for (const std::string& bytes : rows) {
        EventsRow row;
        EXPECT_TRUE(read_row(bytes, row));
        EXPECT_EQ(row.wall, 77);
        for (const EventsRow::Entry& entry : row.events) {
            const EventsRow::Subject s = row.subject_of(entry);
            events.push_back({static_cast<EventKind>(entry.kind), entry.job, entry.count, std::string(s.queue),
                              std::string(s.type), std::string(s.worker), std::string(s.text)});
        }
    }
    return events;
}

/// Of jobs in turns of so many types and queues, submitted and completed, with names that many letters long.
std::vector<Event> in_turns(std::size_t types, std::size_t queues, std::size_t letters) {
    std::vector<Event> events;
    const std::string name(letters, 'n');
    for (std::uint64_t i = 0; i < 2'000; ++i) {
        const std::string queue = name + std::to_string(i % queues);
        const std::string type = name + std::to_string(i % types);  // may be the same word
        events.push_back({EventKind::submitted, {1'000'000 + i}, 1, queue, type});
        if (i % 3 != 0) continue;
        events.push_back({EventKind::completed, {i + 1}, 70'000, queue, type, "w" + std::to_string(i % 2)});
        events.push_back({EventKind::failed, {i + 1}, 1, queue, type, "w", std::string(i % 200, 'e')});
    }
    return events;
}

TEST(EventPacker, WhatWasAddedIsReadInItsOrder) {
    for (const auto& events : {in_turns(1, 1, 5), in_turns(1'000, 1, 5), in_turns(1'000, 700, 5)})
        EXPECT_EQ(events_of(rows_of(events)), events);
    const std::vector<Event> nameless{{EventKind::submitted, {1}}, {EventKind::dead, {2}, 1, {}, {}, {}, "why"}};
    EXPECT_EQ(events_of(rows_of(nameless)), nameless);
}

TEST(EventPacker, ARowStaysInsideAPageAndIsNearlyFull) {
    for (const std::size_t letters : {5U, 24U, 30U, 120U, 250U}) {
        const auto rows = rows_of(in_turns(1'000, 700, letters));
        for (std::size_t i = 0; i < rows.size(); ++i) {
            EXPECT_LE(rows[i].size(), kRowBytes) << letters << " letters";
            EventsRow row;
            ASSERT_TRUE(read_row(rows[i], row));
            const std::size_t most_of_one = 2 * (letters + 6) + 230;  // which did not fit any more
            if (row.events.size() < 100 && i + 1 < rows.size()) {
                EXPECT_GT(rows[i].size() + most_of_one, kRowBytes - 40) << letters << " letters";
            }
        }
    }
}

TEST(EventPacker, EachWordStandsOnceARowForWhatItNamesAndEachSubjectOnce) {
    for (const auto& events : {in_turns(1, 1, 5), in_turns(10, 3, 5), in_turns(1'000, 700, 5)})
        for (const std::string& bytes : rows_of(events, false)) {
            EventsRow row;
            ASSERT_TRUE(read_row(bytes, row));
            std::set<std::uint32_t> used;
            for (std::size_t what = 0; what < EventsRow::Places{}.size(); ++what) {
                std::set<std::uint32_t> places;
                std::set<std::string_view> words;
                for (const EventsRow::Places& subject : row.subjects) {
                    if (subject[what] == 0) continue;
                    places.insert(subject[what]);
                    words.insert(row.words[subject[what] - 1]);
                }
                EXPECT_EQ(words.size(), places.size());
                used.merge(places);
            }
            EXPECT_EQ(used.size(), row.words.size()) << "a word is there that nothing names";
            EXPECT_EQ(std::set(row.subjects.begin(), row.subjects.end()).size(), row.subjects.size());
        }
}

}  // namespace
}  // namespace jobyard::broker
