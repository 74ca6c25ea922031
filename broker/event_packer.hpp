#pragma once
// Packs events into rows of table events: as many to a row as stay inside a page, what they are about once a row. With
// a thousand types in turns nearly every event is about something else than the one before, and each has to be told
// from up to a hundred. So where the words of a queue and a type stand in the row, and the subjects of a class, is
// marked by their numbers; only other words, which are few or rare, are looked up by hash.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "job.hpp"
#include "jobyard/event.hpp"
#include "name_index.hpp"
#include "record.hpp"

namespace jobyard::broker {

class EventPacker {
 public:
    /// The numbers of the subject's class, and of its queue's and type's names.
    struct Known {
        ClassId class_id = 0;
        QueueId queue = 0;
        TypeId type = 0;
    };
    /// A new row.
    void begin(std::int64_t wall);
    /// `known`: of a subject that has a class; else null.
    /// False: the row is full, and no more may be added to it. The words must be there until the row is written.
    [[nodiscard]] bool add(EventKind kind, JobId job, std::uint64_t count, const EventsRow::Subject& subject,
                           const Known* known);
    [[nodiscard]] const EventsRow& row() const { return row_; }

 private:
    struct Mark {
        std::uint64_t row = 0;    ///< it holds for this one only
        std::uint32_t place = 0;  ///< in it, from 1
    };
    using Marks = std::vector<Mark>;  // by number
    [[nodiscard]] Mark& mark(Marks& marks, std::size_t number) const;
    [[nodiscard]] std::uint32_t add_word(std::string_view word);
    [[nodiscard]] std::uint32_t place_of(std::string_view word, Mark& mark);
    /// `likely` is where it may stand.
    [[nodiscard]] std::uint32_t place_of(std::string_view word, std::uint32_t likely);
    /// `newest`: of the subjects of its class.
    [[nodiscard]] std::uint32_t number_of(const EventsRow::Places& subject, Mark& newest);

    EventsRow row_;
    std::uint64_t row_number_ = 0;
    Marks queues_;
    Marks types_;
    Marks subjects_;                     // by class; 0: of none
    std::vector<std::uint32_t> before_;  // of a subject: the one of the same class before it; 0: none
    NameIndex words_;                    // those without a mark
    std::uint64_t next_job_ = 0;         // behind the newest entry
    std::size_t bytes_ = 0;
};

}  // namespace jobyard::broker
