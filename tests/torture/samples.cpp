#include "samples.hpp"

#include <algorithm>
#include <unordered_map>

namespace jobyard::torture {
namespace {

/// The smallest value that so many of a hundred do not exceed.
std::uint64_t percentile(std::vector<std::uint64_t>& values, std::size_t percent) {
    if (values.empty()) return 0;
    const std::size_t rank = (values.size() * percent + 99) / 100;
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(std::max<std::size_t>(rank, 1) - 1);
    std::nth_element(values.begin(), at, values.end());
    return *at;
}

}  // namespace

std::vector<Disturbance> disturbances(const std::vector<Entry>& history) {
    std::vector<Disturbance> all;
    for (const Entry& entry : history) {
        if (entry.seen != Seen::fault) continue;
        const std::string kind = entry.text.substr(0, entry.text.find(' '));
        if (entry.text.ends_with(" begins")) {
            all.push_back({entry.us, INT64_MAX, kind});
            continue;
        }
        const auto open = std::find_if(all.rbegin(), all.rend(), [&](const Disturbance& one) {
            return one.kind == kind && one.ended == INT64_MAX;
        });
        if (open != all.rend()) open->ended = entry.us;
    }
    return all;
}

void add_what_clients_saw(std::vector<Sample>& samples, const std::vector<Entry>& history, std::int64_t settle_us) {
    const std::vector<Disturbance> faults = disturbances(history);
    std::unordered_map<std::uint64_t, std::int64_t> wanted;
    auto entry = history.begin();
    std::int64_t from = history.empty() ? 0 : history.front().us;
    for (Sample& sample : samples) {
        std::vector<std::uint64_t> waits;
        std::uint64_t results = 0;
        for (; entry != history.end() && entry->us <= sample.us; ++entry) {
            if (entry->seen == Seen::wants) wanted[entry->wish] = entry->us;
            if (entry->seen == Seen::result) ++results;
            if (entry->seen != Seen::has) continue;
            if (const auto found = wanted.find(entry->wish); found != wanted.end()) {
                waits.push_back(static_cast<std::uint64_t>(entry->us - found->second));
                wanted.erase(found);
            }
        }
        sample.answers = waits.size();
        sample.p50_us = percentile(waits, 50);
        sample.p99_us = percentile(waits, 99);
        if (sample.us > from)
            sample.jobs_per_s = static_cast<double>(results) * 1e6 / static_cast<double>(sample.us - from);
        sample.disturbed = std::any_of(faults.begin(), faults.end(), [&](const Disturbance& fault) {
            return fault.began <= sample.us && (fault.ended == INT64_MAX || from <= fault.ended + settle_us);
        });
        from = sample.us;
    }
}

}  // namespace jobyard::torture
