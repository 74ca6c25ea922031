#pragma once
// The store as the core's tests have it: its tables in memory, and what it reads for the core.

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "batch.hpp"
#include "found.hpp"

namespace jobyard::broker::test {

/// The store's tables in memory; a batch is applied as the store applies it.
class FakeStore {
 public:
    using Rows = std::map<std::string, std::string>;

    Rows& operator[](Table table) { return tables_[static_cast<std::size_t>(table)]; }
    const Rows& operator[](Table table) const { return tables_[static_cast<std::size_t>(table)]; }

    void apply(const Batch& batch) {
        for (const Op& op : batch.ops()) {
            const std::string key(batch.key(op));
            Rows& rows = (*this)[op.table];
            if (op.kind == Op::Kind::put) {
                rows[key] = batch.value(op);
                continue;
            }
            const auto row = rows.find(key);
            if (row == rows.end()) continue;
            if (op.kind == Op::Kind::move) (*this)[op.to][key] = row->second;
            rows.erase(row);
        }
        applied = batch.seq;
    }

    [[nodiscard]] Snapshot read(const std::vector<Need>& needs) const {
        Snapshot snapshot;
        snapshot.applied_seq = applied;
        for (const Need& need : needs) {
            RowList& rows = snapshot.rows.emplace_back();
            const Rows& table = (*this)[need.table];
            const bool from = need.kind == Need::Kind::from;
            auto at =
                from || need.kind == Need::Kind::after ? table.upper_bound(need.key) : table.lower_bound(need.key);
            if (from && at != table.begin()) --at;
            for (; at != table.end(); ++at) {
                if (need.kind == Need::Kind::row && at->first != need.key) break;
                if (need.kind == Need::Kind::prefix && !at->first.starts_with(need.key)) break;
                if ((from || need.kind == Need::Kind::after) && rows.size() == need.limit) break;
                rows.push_back({at->first, at->second});
            }
        }
        return snapshot;
    }

    [[nodiscard]] std::size_t rows() const {
        std::size_t count = 0;
        for (const Rows& table : tables_) count += table.size();
        return count;
    }

    friend bool operator==(const FakeStore&, const FakeStore&) = default;
    std::uint64_t applied = 0;

 private:
    std::array<Rows, kTables> tables_;
};

}  // namespace jobyard::broker::test
