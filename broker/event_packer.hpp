#pragma once
// Packs events into rows of table events: as many to a row as stay inside a page, and what there is to tell beside a
// job's class once a row.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "jobyard/event.hpp"
#include "name_index.hpp"
#include "record.hpp"

namespace jobyard::broker {

class EventPacker {
 public:
    /// A new row.
    void begin(std::int64_t wall, std::uint32_t epoch);
    /// `class_number`: 0 for none; with one the subject has no queue and type.
    /// False: the row is full, and no more may be added to it. The words must be there until the row is written.
    [[nodiscard]] bool add(EventKind kind, JobId job, std::uint64_t count, std::uint32_t class_number,
                           const EventsRow::Subject& subject);
    /// The same happened to one job more, the next after what was added last, of this class.
    [[nodiscard]] bool add_next(std::uint32_t class_number);
    [[nodiscard]] const EventsRow& row() const { return row_; }

 private:
    [[nodiscard]] bool add(const EventsRow::Entry& entry);
    [[nodiscard]] std::uint32_t subject_number(const EventsRow::Subject& subject);
    /// `likely` is where it may stand.
    [[nodiscard]] std::uint32_t place_of(std::string_view word, std::uint32_t likely);

    EventsRow row_;
    NameIndex words_;        // of the row, by where they stand
    std::uint64_t run_ = 0;  // how many entries the last one follows, itself included
    std::size_t bytes_ = 0;
};

}  // namespace jobyard::broker
