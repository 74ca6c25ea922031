#include "found.hpp"

#include <bitset>
#include <set>

#include "jobyard/result.hpp"

namespace jobyard::broker {

Found::Found(const std::vector<Need>& needs, const Snapshot& snapshot, const std::vector<const Batch*>& newer) {
    JOBYARD_ASSERT(needs.size() == snapshot.rows.size());
    for (std::size_t i = 0; i < needs.size(); ++i) {
        for (const Row& row : snapshot.rows[i]) rows_[{needs[i].table, row.key}] = row;
        if (needs[i].kind != Need::Kind::after) continue;
        Page page{needs[i].table, needs[i].key, {}, snapshot.rows[i].size() == needs[i].limit};
        if (!snapshot.rows[i].empty()) page.last = snapshot.rows[i].back().key;
        pages_.push_back(std::move(page));
    }
    if (newer.empty()) return;
    std::set<std::pair<Table, std::string_view>> exact;
    std::vector<const Need*> ranges;
    std::bitset<kTables> tables;
    for (const Need& need : needs) {
        tables.set(static_cast<std::size_t>(need.table));
        if (need.kind == Need::Kind::row) exact.insert({need.table, need.key});
        else ranges.push_back(&need);
    }
    const auto covered = [&](Table table, std::string_view key) {
        if (!tables.test(static_cast<std::size_t>(table))) return false;
        if (exact.contains({table, key})) return true;
        for (const Need* need : ranges)
            if (need->table == table &&
                (need->kind == Need::Kind::prefix ? key.starts_with(need->key) : key > need->key))
                return true;
        return false;
    };
    for (const Batch* batch : newer) {
        for (const Op& op : batch->ops()) {
            const std::string_view key = batch->key(op);
            if (op.kind == Op::Kind::move && covered(op.to, key)) {
                // Where a moved row comes from was needed too (live and buried are always needed together).
                const auto source = rows_.find({op.table, std::string(key)});
                if (source != rows_.end()) rows_[{op.to, std::string(key)}] = source->second;
            }
            if (!covered(op.table, key)) continue;
            if (op.kind == Op::Kind::put)
                rows_[{op.table, std::string(key)}] = {std::string(key), std::string(batch->value(op))};
            else rows_.erase({op.table, std::string(key)});
        }
    }
}

const std::string* Found::get(Table table, std::string_view key) const {
    const auto found = rows_.find({table, std::string(key)});
    return found == rows_.end() ? nullptr : &found->second.value;
}

std::vector<const Row*> Found::with_prefix(Table table, std::string_view prefix) const {
    std::vector<const Row*> rows;
    for (auto at = rows_.lower_bound({table, std::string(prefix)});
         at != rows_.end() && at->first.first == table && at->second.key.starts_with(prefix); ++at)
        rows.push_back(&at->second);
    return rows;
}

std::vector<const Row*> Found::after(Table table, std::string_view key, bool& more) const {
    more = false;
    std::string_view last;
    for (const Page& page : pages_)
        if (page.table == table && page.from == key) {
            more = page.more;
            last = page.last;
        }
    std::vector<const Row*> rows;
    for (auto at = rows_.upper_bound({table, std::string(key)}); at != rows_.end() && at->first.first == table; ++at) {
        if (more && at->second.key > last) break;  // beyond the page: the next one has it in its place
        rows.push_back(&at->second);
    }
    return rows;
}

}  // namespace jobyard::broker
