#include "cluster.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <deque>
#include <memory>

#include "broker.hpp"
#include "client.hpp"
#include "disk.hpp"
#include "network.hpp"
#include "worker.hpp"

namespace jobyard::sim {
namespace {

constexpr std::int64_t kCalmLimit = 1800 * kSecond;  ///< of calm, in which everything must have ended
constexpr std::int64_t kLookEvery = 1 * kSecond;

thread_local std::uint64_t current_seed = 0;

class Cluster {
 public:
    explicit Cluster(const RunOptions& options)
        : world_(options.seed, options.listener),
          plan_(make_plan(world_.random().fork())),
          model_(world_, plan_),
          disk_(world_, [this](const broker::Batch& batch) { model_.durable(batch); }),
          network_(world_, plan_,
                   [this](const End& peer, std::int64_t until) { model_.disturbed(peer.process.name(), until); }),
          broker_(world_, network_, disk_, model_, plan_),
          random_(world_.random().fork()) {
        if (options.fault_seconds != 0) plan_.fault_seconds = options.fault_seconds;
        for (int i = 1; i <= plan_.workers; ++i)
            workers_.push_back(
                std::make_unique<Worker>(world_, network_, model_, plan_, "worker-" + std::to_string(i)));
        for (int i = 1; i <= plan_.clients; ++i)
            clients_.push_back(
                std::make_unique<Client>(world_, network_, model_, plan_, "client-" + std::to_string(i)));
    }

    void run(Report& report) {
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
        report.faults = faults_;
        report.totals = model_.totals();
    }

 private:
    void start() {
        broker_.start();
        for (const auto& worker : workers_) worker->start();
        for (const auto& client : clients_) client->start();
        const Plan::Faults& f = plan_.faults;
        befall("broker crash", f.broker_crash,
               [this] { return if_up(broker_, [](Broker& broker) { broker.crash(); }); });
        befall("broker restart", f.broker_restart,
               [this] { return if_up(broker_, [](Broker& broker) { broker.stop(); }); });
        befall("broker stall", f.broker_stall, [this] {
            return if_up(broker_, [this](Broker& broker) {
                model_.broker_disturbed(world_.now() + pause(broker.process, 40 * kSecond));
            });
        });
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
        for (const auto& client : clients_) client->be_calm();
        const std::int64_t limit = world_.now() + kCalmLimit;
        while (!is_done()) {
            if (world_.now() > limit) throw Broken{"P2 everything that was acknowledged ends", what_is_left()};
            world_.run_until(world_.now() + kLookEvery);
        }
        broker_.core()->check_invariants();
        model_.check_totals(*broker_.core());
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
        return broker_.is_up() && model_.all_ended() &&
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
    Model model_;
    Disk disk_;
    Network network_;
    Broker broker_;
    std::vector<std::unique_ptr<Worker>> workers_;
    std::vector<std::unique_ptr<Client>> clients_;
    Random random_;
    bool calm_ = false;
    std::map<std::string, std::uint64_t> faults_;
};

void write_text(std::string_view text) {
    if (::write(STDERR_FILENO, text.data(), text.size()) < 0) return;  // there is nobody else to tell
}

extern "C" void tell_seed(int) {
    char digits[24];
    const auto end = std::to_chars(digits, digits + sizeof digits, current_seed).ptr;
    write_text("the simulation of seed ");
    write_text({digits, static_cast<std::size_t>(end - digits)});
    write_text(" was aborted\n");
}

}  // namespace

Report run(const RunOptions& options) {
    current_seed = options.seed;
    broker::planted_bug = options.bug;
    Report report;
    report.seed = options.seed;
    Cluster(options).run(report);
    return report;
}

std::vector<std::string> last_of_story(RunOptions options, std::size_t lines) {
    std::deque<std::string> last;
    options.listener = [&](const std::string& line) {
        last.push_back(line);
        if (last.size() > lines) last.pop_front();
    };
    run(options);
    return {last.begin(), last.end()};
}

void name_seed_on_abort() {
    struct sigaction action {};
    action.sa_handler = tell_seed;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(SIGABRT, &action, nullptr);
}

}  // namespace jobyard::sim
