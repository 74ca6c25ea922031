// The reader of stored rows: which kind, and a row's bytes, with the right checksum or as they are.

#include "record.hpp"

#include "rows.hpp"
#include "target.hpp"

namespace jobyard::fuzz {
namespace {

using namespace broker;  // NOLINT: the rows are its

/// What is read can be written, and what was written is read as the same.
template <class Row>
void read(std::string_view bytes) {
    Row row;
    if (!read_row(bytes, row)) return;
    Batch batch;
    const std::string written(batch.view(append_row(batch, row)));
    Row again;
    must(read_row(written, again), "a row that was read can be written and read");
    Batch other;
    must(other.view(append_row(other, again)) == written, "and is the same");
    if constexpr (std::is_same_v<Row, EventsRow>)
        for (const EventsRow::Entry& entry : row.events)
            static_cast<void>(row.subject_of(entry).queue.size() + row.subject_of(entry).text.size());
}

}  // namespace

void run(std::string_view bytes) {
    Input input(bytes);
    const unsigned kind = input.byte();
    const std::string row = input.byte() % 2 == 0 ? with_checksum(input.rest()) : std::string(input.rest());
    switch (kind % 14) {
        case 0: return read<LiveRow>(row);
        case 1: return read<StateRow>(row);
        case 2: return read<AttemptRow>(row);
        case 3: return read<EndRow>(row);
        case 4: return read<KeyRow>(row);
        case 5: return read<QueueRow>(row);
        case 6: return read<TaskRow>(row);
        case 7: return read<ArrayRow>(row);
        case 8: return read<LeftoverRow>(row);
        case 9: return read<InstanceRow>(row);
        case 10: return read<WorkerRow>(row);
        case 11: return read<NumbersRow>(row);
        case 12: return read<EventsRow>(row);
        default: return read<ClassRow>(row);
    }
}

std::vector<std::string> seeds() {
    std::vector<std::string> made;
    const std::vector<Table> kinds{Table::live,    Table::state, Table::attempts, Table::done,      Table::keys,
                                   Table::queues,  Table::tasks, Table::counts,   Table::leftovers, Table::instances,
                                   Table::workers, Table::meta,  Table::events,   Table::classes};
    for (const StoredRow& row : rows_of_a_store())
        for (std::size_t kind = 0; kind < kinds.size(); ++kind)
            if (row.table == kinds[kind] && (row.table != Table::meta || row.key == kMetaNumbers))
                for (const char sum : {'\0', '\1'})
                    made.push_back(std::string{static_cast<char>(kind), sum} +
                                   (sum == 0 ? row.value.substr(kPrefixBytes) : row.value));
    return made;
}

}  // namespace jobyard::fuzz
