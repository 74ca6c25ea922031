#include "found.hpp"

#include <algorithm>
#include <bitset>
#include <map>
#include <set>

#include "jobyard/assert.hpp"
#include "jobyard/result.hpp"

namespace jobyard::broker {
namespace {

bool is_page(const Need& need) { return need.kind == Need::Kind::after || need.kind == Need::Kind::from; }

}  // namespace

Found::Found(const std::vector<Need>& needs, const Snapshot& snapshot, const std::vector<const Batch*>& newer) {
    JOBYARD_ASSERT(needs.size() == snapshot.rows.size());
    for (std::size_t i = 0; i < needs.size(); ++i) {
        const RowList& rows = snapshot.rows[i];
        entries_.reserve(entries_.size() + rows.size());
        for (const RowView row : rows) entries_.push_back({needs[i].table, row.key, row.value});
        if (!is_page(needs[i])) continue;
        const std::string_view key = needs[i].key;
        const bool full = rows.size() == needs[i].limit;
        Page& page = pages_.emplace_back();
        page.table = needs[i].table;
        page.asked = page.from = key;
        page.last = rows.empty() ? key : entries_.back().key;
        page.ends = full || needs[i].newest_may_lack;
        page.more = full;
        if (needs[i].kind == Need::Kind::after) continue;
        const bool has_start = !rows.empty() && (*rows.begin()).key <= key;
        page.from = has_start ? (*rows.begin()).key : std::string_view{};
        page.with_from = true;
    }
    const auto before = [](const Entry& a, const Entry& b) { return a.place() < b.place(); };
    if (!std::is_sorted(entries_.begin(), entries_.end(), before)) std::sort(entries_.begin(), entries_.end(), before);
    const auto same = [](const Entry& a, const Entry& b) { return a.place() == b.place(); };
    entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());  // needs may overlap
    if (!newer.empty()) lay_over(needs, newer);
}

void Found::lay_over(const std::vector<Need>& needs, const std::vector<const Batch*>& newer) {
    std::set<std::pair<Table, std::string_view>> exact;
    std::vector<const Need*> prefixes;
    std::bitset<kTables> tables;
    for (const Need& need : needs) {
        tables.set(static_cast<std::size_t>(need.table));
        if (need.kind == Need::Kind::row) exact.insert({need.table, need.key});
        else if (need.kind == Need::Kind::prefix) prefixes.push_back(&need);
    }
    const auto covered = [&](Table table, std::string_view key) {
        if (!tables.test(static_cast<std::size_t>(table))) return false;
        if (!exact.empty() && exact.contains({table, key})) return true;
        for (const Need* need : prefixes)
            if (need->table == table && key.starts_with(need->key)) return true;
        return is_in_page(table, key);
    };
    std::map<std::pair<Table, std::string_view>, std::optional<std::string_view>> changes;
    // Nearly all of a busy broker's batches concern other rows.
    struct Range {
        Table table;
        std::string least;
        std::string most;
    };
    std::vector<Range> ranges;
    auto page = pages_.begin();
    for (const Need& need : needs) {
        // A prefix of less than eight bytes is a number followed by zeros at least, and by ones at most.
        Range& range = ranges.emplace_back(Range{need.table, need.key, need.key + std::string(8, '\xff')});
        if (!is_page(need)) continue;
        // What went up to the key is no concern.
        range.least = page->from;
        if (!page->with_from && need.key.size() == 8) range.least = big_endian(from_big_endian(need.key) + 1);
        if (page->ends) range.most = page->last;
        else range.most.assign(8, '\xff');
        ++page;
    }
    const auto concerns_us = [&](const Batch& batch) {
        return std::any_of(ranges.begin(), ranges.end(),
                           [&](const Range& range) { return batch.may_touch(range.table, range.least, range.most); });
    };
    for (const Batch* batch : newer) {
        if (!concerns_us(*batch)) continue;
        for (const Op& op : batch->ops()) {
            const std::string_view key = batch->key(op);
            if (op.kind == Op::Kind::move && covered(op.to, key)) {
                // Where a moved row comes from was needed too (live and buried are always needed together).
                const auto changed = changes.find({op.table, key});
                const auto source = changed != changes.end() ? changed->second : get(op.table, key);
                if (source) changes[{op.to, key}] = source;
            }
            if (!covered(op.table, key)) continue;
            changes[{op.table, key}] = op.kind == Op::Kind::put ? std::optional(batch->value(op)) : std::nullopt;
        }
    }
    if (changes.empty()) return;
    std::vector<Entry> merged;
    merged.reserve(entries_.size() + changes.size());
    auto old = entries_.begin();
    for (const auto& [place, value] : changes) {
        while (old != entries_.end() && old->place() < place) merged.push_back(*old++);
        while (old != entries_.end() && old->place() == place) ++old;
        if (!value) continue;
        // A copy: the open batch is among them, and its bytes move when it grows.
        const auto& [key, copy] = copies_.emplace_back(place.second, *value);
        merged.push_back({place.first, key, copy});
    }
    merged.insert(merged.end(), old, entries_.end());
    entries_ = std::move(merged);
}

/// The first entry at or after the place.
std::vector<Found::Entry>::const_iterator Found::from(Table table, std::string_view key) const {
    return std::lower_bound(entries_.begin(), entries_.end(), std::pair(table, key),
                            [](const Entry& entry, const auto& place) { return entry.place() < place; });
}

bool Found::is_in_page(Table table, std::string_view key) const {
    return std::any_of(pages_.begin(), pages_.end(), [&](const Page& page) {
        return page.table == table && (key > page.from || (key == page.from && page.with_from)) &&
               (!page.ends || key <= page.last);
    });
}

std::optional<std::string_view> Found::get(Table table, std::string_view key) const {
    const auto at = from(table, key);
    if (at == entries_.end() || at->place() != std::pair(table, key)) return std::nullopt;
    return at->value;
}

std::vector<RowView> Found::with_prefix(Table table, std::string_view prefix) const {
    std::vector<RowView> rows;
    for (auto at = from(table, prefix); at != entries_.end() && at->table == table && at->key.starts_with(prefix); ++at)
        rows.push_back({at->key, at->value});
    return rows;
}

std::vector<RowView> Found::after(Table table, std::string_view key, bool& more) const {
    Page of{};
    for (const Page& page : pages_)
        if (page.table == table && page.asked == key) of = page;
    more = of.more;
    std::vector<RowView> rows;
    for (auto at = from(table, of.from); at != entries_.end() && at->table == table; ++at) {
        if (at->key == of.from && !of.with_from) continue;
        if (of.ends && at->key > of.last) break;
        rows.push_back({at->key, at->value});
    }
    return rows;
}

}  // namespace jobyard::broker
