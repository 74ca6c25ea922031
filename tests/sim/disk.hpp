#pragma once
// The broker's disk, simulated: a log that makes one batch at a time durable, and a store, tables as maps, that is
// brought up to it later. A crash loses what is still in the broker's memory, and of the batch being written chance
// decides whether it became durable. As the real store (Store::apply) it leaves out the jobs that come and go before it
// must have them. A write or a flush may fail, as on a disk that is full or broken: nobody knows whether the batch is
// durable then.

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "found.hpp"
#include "passing.hpp"
#include "world.hpp"

namespace jobyard::sim {

class Disk {
 public:
    /// `watcher` sees every batch at the moment it becomes durable.
    Disk(World& world, std::function<void(const broker::Batch&)> watcher)
        : world_(world), random_(world.random().fork()), watcher_(std::move(watcher)) {}

    /// `done` is an event of the process, and says whether it was written.
    void write(const broker::Batch& batch, std::int64_t time_us, Process& process, std::function<void(bool)> done);
    /// As at start-up, where nobody waits for anything else. False: it was not.
    [[nodiscard]] bool write_now(const broker::Batch& batch);
    /// The next write fails.
    void fail_once() { fails_once_ = true; }
    /// What is free from now on; with nothing every write fails.
    void set_free(std::uint64_t bytes) { free_ = bytes; }
    [[nodiscard]] std::uint64_t free() const { return free_; }
    /// Durable batches that the store does not have.
    [[nodiscard]] std::size_t unapplied() const { return log_.size(); }
    /// The store has what is durable, as far as that batch; it looks ahead at the rest.
    void apply(std::uint64_t up_to);
    /// The last batch that the store has.
    [[nodiscard]] std::uint64_t applied() const;
    /// The broker's process is gone.
    void crash();

    using Rows = std::map<std::string, std::string>;
    [[nodiscard]] const Rows& rows(broker::Table table) const { return tables_[static_cast<std::size_t>(table)]; }
    [[nodiscard]] const std::string* get(broker::Table table, const std::string& key) const;
    [[nodiscard]] broker::Snapshot read(const std::vector<broker::Need>& needs) const;

 private:
    void become_durable(broker::Batch batch);
    [[nodiscard]] bool fails() { return std::exchange(fails_once_, false) || free_ == 0; }
    void apply(const broker::Batch& batch);
    void note_all();
    void read_bytes(const broker::Need& need, broker::RowList& found) const;

    World& world_;
    Random random_;
    std::function<void(const broker::Batch&)> watcher_;
    std::deque<broker::Batch> log_;  // what the store does not have yet
    broker::Passing passing_;        // of this life of the broker
    std::array<Rows, broker::kTables> tables_;
    std::optional<broker::Batch> writing_;  // a copy: it outlives the process that wrote it
    std::uint64_t writes_ = 0;
    std::uint64_t free_ = UINT64_MAX;
    bool fails_once_ = false;
};

}  // namespace jobyard::sim
