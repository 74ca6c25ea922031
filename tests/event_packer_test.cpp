// Events in rows: nothing is lost or twice there, and no row is larger than it may be.

#include "event_packer.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace jobyard::broker {
namespace {

struct Event {
    EventKind kind = EventKind::submitted;
    JobId job;
    std::uint64_t count = 1;
    std::uint32_t class_number = 0;
    std::string worker = {};
    std::string text = {};
    std::string queue = {};
    std::string type = {};
    bool follows = false;  ///< to be added as the next of what is before it
    friend bool operator==(const Event& a, const Event& b) {
        const auto all = [](const Event& e) {
            return std::tie(e.kind, e.job, e.count, e.class_number, e.worker, e.text, e.queue, e.type);
        };
        return all(a) == all(b);
    }
};

// As long as they can be.
constexpr std::int64_t kWall = INT64_MAX;
constexpr std::uint32_t kEpoch = UINT32_MAX;

/// The bytes of the rows that they take.
std::vector<std::string> rows_of(const std::vector<Event>& events) {
    std::vector<std::string> rows;
    EventPacker packer;
    for (std::size_t at = 0; at < events.size();) {
        packer.begin(kWall, kEpoch);
        for (; at < events.size(); ++at) {
            const Event& e = events[at];
            const bool is_next = e.follows && !packer.row().events.empty();
            if (!(is_next ? packer.add_next(e.class_number)
                          : packer.add(e.kind, e.job, e.count, e.class_number, {e.queue, e.type, e.worker, e.text})))
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
        EXPECT_EQ(row.wall, kWall);
        EXPECT_EQ(row.epoch, kEpoch);
        for (const EventsRow::Entry& entry : row.events) {
            const EventsRow::Subject s = row.subject_of(entry);
            events.push_back({static_cast<EventKind>(entry.kind), entry.job, entry.count, entry.class_number,
                              std::string(s.worker), std::string(s.text), std::string(s.queue), std::string(s.type)});
        }
    }
    return events;
}

/// Of jobs in turns of so many classes, submitted and completed, by workers with names that many letters long.
std::vector<Event> in_turns(std::uint32_t classes, std::size_t letters) {
    std::vector<Event> events;
    const std::string name(letters, 'n');
    for (std::uint32_t i = 0; i < 2'000; ++i) {
        const std::uint32_t number = i % classes * 60 + 1;
        events.push_back({EventKind::submitted, {1'000'000 + i}, 1, number});
        if (i % 3 != 0) continue;
        events.push_back({EventKind::completed, {i + 1}, 70'000, number, name + std::to_string(i % 20)});
        events.push_back({EventKind::failed, {i + 1}, 1, number, name, std::string(i % 200, 'e')});
        events.push_back({EventKind::queue_paused, {}, 1, 0, {}, "because", name, std::string(i % 2, 't')});
    }
    return events;
}

/// Lists of so many jobs of other classes each that one worker completed.
std::vector<Event> in_lists(std::uint32_t length) {
    std::vector<Event> events;
    for (std::uint32_t i = 0; i < 5'000; ++i)
        events.push_back(
            {EventKind::completed, {i + i / length}, 1, i * 37 % 70'000, "w", {}, {}, {}, i % length != 0});
    return events;
}

TEST(EventPacker, WhatWasAddedIsReadInItsOrder) {
    for (const auto& events : {in_turns(1, 5), in_turns(1'000, 5), in_turns(1'000, 100)})
        EXPECT_EQ(events_of(rows_of(events)), events);
    for (const std::uint32_t length : {1U, 2U, 64U, 200U, 5'000U})
        EXPECT_EQ(events_of(rows_of(in_lists(length))), in_lists(length)) << length;
    const std::vector<Event> nameless{{EventKind::submitted, {1}}, {EventKind::dead, {2}, 1, 0, {}, "why"}};
    EXPECT_EQ(events_of(rows_of(nameless)), nameless);
}

TEST(EventPacker, ARowStaysInsideAPageAndIsNearlyFull) {
    for (const std::size_t letters : {5U, 24U, 30U, 120U, 250U}) {
        const auto rows = rows_of(in_turns(1'000, letters));
        for (std::size_t i = 0; i < rows.size(); ++i) {
            EXPECT_LE(rows[i].size(), kRowBytes) << letters << " letters";
            const std::size_t most_of_one = 2 * (letters + 6) + 225;  // which did not fit any more
            if (i + 1 < rows.size()) {
                EXPECT_GT(rows[i].size() + most_of_one, kRowBytes - 40) << letters << " letters";
            }
        }
    }
}

TEST(EventPacker, OfJobsThatFollowEachOtherOnlyTheClassIsWritten) {
    std::size_t bytes = 0;
    const auto rows = rows_of(in_lists(64));
    for (const std::string& row : rows) bytes += row.size();
    EXPECT_LT(bytes, 5'000 * 3.5);  // three of them for the class
    for (std::size_t i = 0; i < rows.size(); ++i) {
        EXPECT_LE(rows[i].size(), kRowBytes);
        if (i + 1 < rows.size()) {
            EXPECT_GT(rows[i].size() + 60, kRowBytes - 40);
        }
    }
}

TEST(EventPacker, TheNextOfARunOfOneClassIsBehindAllOfIt) {
    EventPacker packer;
    packer.begin(1, 1);
    ASSERT_TRUE(packer.add(EventKind::submitted, {10}, 70, 1, {}));
    ASSERT_TRUE(packer.add_next(2));
    EXPECT_EQ(packer.row().events.back().job.value, 80U);
    EXPECT_EQ(packer.row().events.back().count, 1U);
}

TEST(EventPacker, EachWordStandsOnceARowAndSoDoesEachSubject) {
    for (const auto& events : {in_turns(1, 5), in_turns(10, 30), in_turns(1'000, 5)})
        for (const std::string& bytes : rows_of(events)) {
            EventsRow row;
            ASSERT_TRUE(read_row(bytes, row));
            std::set<std::uint32_t> used;
            for (const EventsRow::Places& subject : row.subjects) used.insert(subject.begin(), subject.end());
            used.erase(0);
            EXPECT_EQ(used.size(), row.words.size()) << "a word is there that nothing names";
            EXPECT_EQ(std::set(row.words.begin(), row.words.end()).size(), row.words.size());
            EXPECT_EQ(std::set(row.subjects.begin(), row.subjects.end()).size(), row.subjects.size());
        }
}

}  // namespace
}  // namespace jobyard::broker
