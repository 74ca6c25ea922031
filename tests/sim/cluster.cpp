#include "cluster.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "broker.hpp"
#include "client.hpp"
#include "disk.hpp"
#include "network.hpp"
#include "worker.hpp"

namespace jobyard::sim {
namespace {

/// Of calm in which nothing ends, though not all has. An array of hundreds, one at a time, may take longer as a whole.
constexpr std::int64_t kCalmLimit = 1800 * kSecond;
constexpr std::int64_t kLookEvery = 1 * kSecond;

class Cluster {
 public:
    explicit Cluster(const RunOptions& options)
        : world_(options.seed + options.turn * 0x9E3779B97F4A7C15ULL, options.listener),
          plan_(plan_of(options)),
          model_(world_, plan_, coverage_),
          disk_(world_, [this](const broker::Batch& batch) { model_.durable(batch); }),
          network_(world_, plan_,
                   [this](const End& peer, std::int64_t until) { model_.disturbed(peer.process.name(), until); }),
          quotas_(plan_, Random(~options.seed)),  // its own stream
          broker_(world_, network_, disk_, model_, coverage_, quotas_, plan_),
          random_(world_.random().fork()) {
        for (int i = 1; i <= plan_.workers; ++i)
            workers_.push_back(
                std::make_unique<Worker>(world_, network_, model_, plan_, "worker-" + std::to_string(i)));
        for (int i = 1; i <= plan_.clients; ++i)
            clients_.push_back(
                std::make_unique<Client>(world_, network_, model_, plan_, "client-" + std::to_string(i)));
    }

    void run(Report& report) {
        world_.tell("cluster", to_text(plan_));
        try {
            start();
            world_.run_until(plan_.fault_seconds * kSecond);
            end_in_calm();
        } catch (const Broken& broken) {
            world_.tell("MODEL", broken.rule, ": ", broken.how);
            report.broken = broken;
        }
        report.hash = world_.hash();
        report.events = world_.events();
        report.simulated_us = world_.now();
        for (const auto& [kind, n] : faults_) report.counts["fault: " + kind] += n;
        report.counts["messages of connections left behind"] += network_.from_the_past();
        model_.totals().add_to(report.counts);
        coverage_.add_to(report.counts);
    }

 private:
    void start() {
        broker_.start();
        for (const auto& worker : workers_) worker->start();
        for (const auto& client : clients_) client->start();
        const Plan& f = plan_;
        befall("broker crash", f.broker_crash,
               [this] { return if_up(broker_, [](Broker& broker) { broker.crash(); }); });
        befall("broker restart", f.broker_restart,
               [this] { return if_up(broker_, [](Broker& broker) { broker.stop(); }); });
        befall("broker stall", f.broker_stall, [this] {
            return if_up(broker_,
                         [this](Broker& broker) { model_.broker_stalled(pause(broker.process, 40 * kSecond)); });
        });
        befall("reload", f.reload, [this] { return if_up(broker_, [](Broker& broker) { broker.reload(); }); });
        befall("worker crash", f.worker_crash,
               [this] { return if_up(any(workers_), [](Worker& worker) { worker.crash(); }); });
        befall("worker pause", f.worker_pause, [this] {
            return if_up(any(workers_), [this](Worker& worker) {
                model_.disturbed(worker.process.name(), world_.now() + pause(worker.process, 60 * kSecond));
            });
        });
        befall("worker drain", f.worker_drain,
               [this] { return if_up(any(workers_), [](Worker& worker) { worker.drain(); }); });
        befall("client crash", f.client_crash,
               [this] { return if_up(any(clients_), [](Client& client) { client.crash(); }); });
        befall("client close", f.client_close,
               [this] { return if_up(any(clients_), [](Client& client) { client.close(); }); });
        befall("connection cut", f.cut, [this] { return network_.cut_one(); });
        befall("slow connection", f.slow,
               [this] { return network_.slow_one(random_.any_size(10 * kMs, 30 * kSecond)); });
        befall("one-way cut", f.one_way_cut,
               [this] { return network_.cut_one_way(random_.any_size(1 * kSecond, 60 * kSecond)); });
        befall("commit failure", f.commit_failure, [this] {
            disk_.fail_once();
            return true;
        });
        befall("full disk", f.disk_full, [this] { return fill_disk(); });
        befall("store stall", f.store_stall, [this] {
            return if_up(broker_,
                         [this](Broker& broker) { broker.stall_store(random_.any_size(1 * kSecond, 30 * kSecond)); });
        });
        befall("clock jump", f.clock_jump, [this] {
            const std::int64_t ms = random_.any_size(1, 600'000);
            broker_.jump_clock(random_.percent(50) ? ms : -ms);
            return true;
        });
    }

    /// Again and again, until all is calm.
    void befall(std::string kind, std::int64_t mean_ms, std::function<bool()> fault) {
        if (mean_ms == 0) return;
        world_.after(random_.between(1, 2 * mean_ms * kMs),
                     [this, kind = std::move(kind), mean_ms, fault = std::move(fault)] {
                         if (calm_) return;
                         if (fault()) ++faults_[kind];
                         befall(kind, mean_ms, fault);
                     });
    }
    /// For a while: no submits, or nothing is begun either, or nothing can be written at all.
    bool fill_disk() {
        if (disk_.free() != UINT64_MAX) return false;
        const broker::Limits limits;
        const std::uint64_t free[] = {limits.submit_free_bytes - 1, limits.dispatch_free_bytes - 1, 0};
        const std::uint64_t level = free[random_.below(3)];
        world_.tell("disk", "has ", level, " bytes free");
        disk_.set_free(level);
        world_.after(random_.any_size(1 * kSecond, 30 * kSecond), [this] {
            world_.tell("disk", "has room again");
            disk_.set_free(UINT64_MAX);
        });
        return true;
    }
    template <class Actor, class F>
    static bool if_up(Actor& actor, F&& fault) {
        if (!actor.is_up()) return false;
        fault(actor);
        return true;
    }
    template <class Actor>
    Actor& any(const std::vector<std::unique_ptr<Actor>>& actors) {
        return *actors[random_.below(actors.size())];
    }
    std::int64_t pause(Process& process, std::int64_t longest_us) {
        const std::int64_t time = random_.any_size(1 * kMs, longest_us);
        process.tell("is stopped for ", time / kMs, " ms");
        process.pause(time);
        return time;
    }

    void end_in_calm() {
        world_.tell("cluster", "all is calm from now on");
        calm_ = true;
        network_.be_calm();
        broker_.be_calm();
        for (const auto& worker : workers_) worker->be_calm();
        for (const auto& client : clients_) client->be_calm(client == clients_.front());
        std::int64_t limit = world_.now() + kCalmLimit;
        for (std::uint64_t ended = 0; !is_done();) {
            const Totals& totals = model_.totals();
            const std::uint64_t now_ended = totals.completed + totals.dead + totals.cancelled;
            if (std::exchange(ended, now_ended) != now_ended) limit = world_.now() + kCalmLimit;
            if (world_.now() > limit) throw Broken{"P2 everything that was acknowledged ends", what_is_left()};
            world_.run_until(world_.now() + kLookEvery);
        }
        broker_.core()->check_invariants();
        broker_.be_checked();
        check_arrays_on_disk();
    }
    /// What is forgotten is gone from the store as well.
    void check_arrays_on_disk() {
        disk_.apply(UINT64_MAX);
        for (const broker::Table table : {broker::Table::arrays, broker::Table::counts, broker::Table::leftovers})
            for (const auto& [key, value] : disk_.rows(table)) {
                const Array* array = model_.arrays().find({broker::from_big_endian(key)});
                if (array == nullptr || array->is_forgotten)
                    throw Broken{"P11 what is forgotten is not needed, and leaves nothing behind",
                                 std::string("a row of table ") + to_string(table)};
            }
    }
    [[nodiscard]] bool is_done() const {
        return broker_.is_up() && broker_.has_nothing_to_write() && model_.all_ended() &&
               std::all_of(clients_.begin(), clients_.end(), [](const auto& client) { return client->pending() == 0; });
    }
    [[nodiscard]] std::string what_is_left() const {
        std::string left = model_.unended();
        if (!left.empty()) left = "not ended: " + left + "; ";
        for (const auto& client : clients_)
            if (client->pending() > 0) left += client->process.name() + " waits for " + client->pending_text() + "; ";
        return left;
    }

    World world_;
    Plan plan_;
    Coverage coverage_;
    Model model_;
    Disk disk_;
    Network network_;
    Quotas quotas_;
    Broker broker_;
    std::vector<std::unique_ptr<Worker>> workers_;
    std::vector<std::unique_ptr<Client>> clients_;
    Random random_;
    bool calm_ = false;
    std::map<std::string, std::uint64_t> faults_;
};

}  // namespace

Plan plan_of(const RunOptions& options) {
    Plan plan = make_plan(Random(options.seed).fork());
    for (const auto& [knob, value] : options.settings) plan.*knob->value = value;
    return plan;
}

Report run(const RunOptions& options) {
    broker::planted_bug = options.bug;
    Report report;
    report.seed = options.seed;
    Cluster(options).run(report);
    return report;
}

}  // namespace jobyard::sim
