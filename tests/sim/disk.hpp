#pragma once
// The broker's store, simulated: tables as maps. One batch at a time is being written; a crash loses what is still in
// the broker's memory, and of the batch being written chance decides whether it became durable.

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "found.hpp"
#include "world.hpp"

namespace jobyard::sim {

class Disk {
 public:
    /// `watcher` sees every batch at the moment it becomes durable.
    Disk(World& world, std::function<void(const broker::Batch&)> watcher)
        : world_(world), random_(world.random().fork()), watcher_(std::move(watcher)) {}

    /// `done` is an event of the process.
    void write(const broker::Batch& batch, std::int64_t time_us, Process& process, std::function<void()> done);
    /// As at start-up, where nobody waits for anything else.
    void write_now(const broker::Batch& batch);
    void crash();

    using Rows = std::map<std::string, std::string>;
    [[nodiscard]] const Rows& rows(broker::Table table) const { return tables_[static_cast<std::size_t>(table)]; }
    [[nodiscard]] const std::string* get(broker::Table table, const std::string& key) const;
    [[nodiscard]] broker::Snapshot read(const std::vector<broker::Need>& needs) const;

 private:
    void apply(const broker::Batch& batch);

    World& world_;
    Random random_;
    std::function<void(const broker::Batch&)> watcher_;
    std::array<Rows, broker::kTables> tables_;
    std::optional<broker::Batch> writing_;  // a copy: it outlives the process that wrote it
    std::uint64_t writes_ = 0;
};

}  // namespace jobyard::sim
