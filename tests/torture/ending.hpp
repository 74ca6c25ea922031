#pragma once
// The end of a run, of whichever plan: everything is waited for, the broker says its last word, and the record is
// checked.

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "checker.hpp"
#include "jobyard/client.hpp"
#include "yard.hpp"

namespace jobyard::torture {

/// Puts into the record what the broker's event stream has behind event `after`, and moves that. False if the broker
/// does not answer in time. That some were removed before they were read is in the verdict.
bool read_events(Client& client, const Yard& yard, std::uint64_t& after, std::chrono::milliseconds patience,
                 Verdict& verdict);

struct Ending {
    Verdict verdict;
    std::vector<Entry> history;
};
/// When all faults have ended. Waits for all that was acknowledged, reads jobs and events, ends all processes, verifies
/// the store and checks the record. `events_read`: those are in the record already.
Ending end_and_check(Yard& yard, std::uint64_t events_read = 0, Verdict verdict_so_far = {});

nlohmann::ordered_json report(const Verdict& verdict);
/// On standard output, as one line of JSON or as a table.
void tell(const nlohmann::ordered_json& report, bool as_json);
/// On standard error, a sentence each.
void tell_what_is_broken(const Verdict& verdict);
/// Leaves the record, with a copy of the store, when the run is over.
void keep_record(const Yard& yard, Place& place);

}  // namespace jobyard::torture
