#pragma once
// Packs events into rows of table events: as many to a row as stay inside a page, what they are about once a row. With
// a thousand types in turns nearly every event is about something else than the one before, and each has to be told
// from up to a hundred: so words and subjects are looked up by hash, unless they are as in the event before.

#include <cstddef>
#include <cstdint>

#include "jobyard/event.hpp"
#include "name_index.hpp"
#include "record.hpp"

namespace jobyard::broker {

class EventPacker {
 public:
    /// A new row.
    void begin(std::int64_t wall);
    /// False: the row is full, and no more may be added to it. The words must be there until the row is written.
    [[nodiscard]] bool add(EventKind kind, JobId job, std::uint64_t count, const EventsRow::Subject& subject);
    [[nodiscard]] const EventsRow& row() const { return row_; }

 private:
    /// `likely` is where it may stand.
    [[nodiscard]] std::uint32_t place_of(std::string_view word, std::uint32_t likely);
    [[nodiscard]] std::uint32_t number_of(const EventsRow::Places& subject);

    EventsRow row_;
    NameIndex words_;
    NameIndex subjects_;
    std::uint64_t next_job_ = 0;  // behind the newest entry
    std::size_t bytes_ = 0;
};

}  // namespace jobyard::broker
