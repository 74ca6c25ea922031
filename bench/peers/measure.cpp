#include "measure.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../scratch.hpp"
#include "server.hpp"

namespace jobyard::bench {
namespace {

constexpr std::chrono::seconds kLimit{60};

std::uint64_t own_cpu_us() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto us = [](const timeval& time) {
        return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(time.tv_usec);
    };
    return us(usage.ru_utime) + us(usage.ru_stime);
}

void pause_briefly() { std::this_thread::sleep_for(std::chrono::microseconds(100)); }

/// A process of a measurement and its slot of the board. Killed, at the latest, with this object.
class Process {
 public:
    template <class Work>
    Process(Slot& slot, const char* name, bool may_end, Work work) : slot_(slot), name_(name), may_end_(may_end) {
        std::memset(static_cast<void*>(&slot), 0, sizeof slot);
        pid_ = ::fork();
        if (pid_ != 0) return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        try {
            work(slot);
        } catch (const std::exception& error) {
            std::strncpy(slot.error, error.what(), sizeof slot.error - 1);
            std::_Exit(1);
        }
        std::_Exit(0);
    }
    ~Process() {
        ::kill(pid_, SIGKILL);
        if (!ended_) ::waitpid(pid_, nullptr, 0);
    }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    /// Throws its error if it has given up, and if it has ended but should not have.
    void check() {
        if (!ended_) ended_ = ::waitpid(pid_, nullptr, WNOHANG) == pid_;
        if (slot_.error[0] != 0) throw std::runtime_error(std::string(name_) + ": " + slot_.error);
        if (ended_ && !(may_end_ && slot_.done != 0)) throw std::runtime_error(std::string("the ") + name_ + " died");
    }
    [[nodiscard]] double cpu() const { return cpu_seconds(pid_); }

 private:
    Slot& slot_;
    const char* name_;
    bool may_end_;  ///< once its `done` is set
    pid_t pid_ = -1;
    bool ended_ = false;
};

/// All that one measurement is made of, and the phases it has.
class Measurement {
 public:
    Measurement(const Variant& variant, const std::string& parent)
        : variant_(variant), directory_(parent), board_(directory_.path()), peer_(variant.make()) {
        peer_->start(directory_.path());
    }
    ~Measurement() {
        workers_.clear();
        peer_->stop();
        reap_strays();
    }
    Measurement(const Measurement&) = delete;
    Measurement& operator=(const Measurement&) = delete;

    Json run() {
        start_workers();
        run_end_to_end(std::max(variant_.end_to_end_jobs / 10, 1U));  // warm: connections, files, caches
        const Json end_to_end = run_end_to_end(variant_.end_to_end_jobs);
        const Json latency = run_latency();
        workers_.clear();
        const Json submit = run_submit();
        return {{"submit_jobs_per_s", submit["jobs_per_s"]},
                {"end_to_end_jobs_per_s", end_to_end["jobs_per_s"]},
                {"latency_us", latency},
                {"submit_cpu", submit["cpu"]},
                {"end_to_end_cpu", end_to_end["cpu"]}};
    }

 private:
    template <class Ready>
    void wait_until(Ready ready, const char* what, Process* submitter) {
        const auto limit = std::chrono::steady_clock::now() + kLimit;
        while (!ready()) {
            if (submitter != nullptr) submitter->check();
            for (const auto& worker : workers_) worker->check();
            if (std::chrono::steady_clock::now() > limit)
                throw std::runtime_error(std::string(what) + " took too long");
            pause_briefly();
        }
    }

    void start_workers() {
        for (unsigned i = 0; i < kWorkers; ++i)
            workers_.push_back(std::make_unique<Process>(board_->slots[i], "worker", false, [&, i](Slot& slot) {
                peer_->become_client("work", 0, i, board_.path());
                peer_->connect();
                WorkerLine line(slot);
                peer_->work(line);
            }));
        wait_until([&] { return board_->slots[0].ready != 0 && board_->slots[1].ready != 0; }, "starting the workers",
                   nullptr);
    }

    /// A submitter that does `work(slot)` when told to go; returns when it is ready for that.
    template <class Work>
    std::unique_ptr<Process> start_submitter(const char* role, unsigned jobs, Work work) {
        auto submitter = std::make_unique<Process>(board_.submitter(), "submitter", true, [&](Slot& slot) {
            peer_->become_client(role, jobs, kSubmitter, board_.path());
            peer_->connect();
            slot.ready = 1;
            while (slot.go == 0) pause_briefly();
            const std::uint64_t cpu = own_cpu_us();
            slot.began = now_ns();
            work(slot);
            slot.cpu_us = own_cpu_us() - cpu;
            slot.done = 1;
        });
        wait_until([&] { return board_.submitter().ready != 0; }, "starting the submitter", submitter.get());
        return submitter;
    }

    double workers_cpu() const {
        double sum = 0;
        for (const auto& worker : workers_) sum += worker->cpu();
        return sum;
    }

    struct Used {
        double server = 0;
        double workers = 0;
        double machine = 0;
    };
    Used used() const { return {peer_->server_cpu(), workers_cpu(), machine_cpu()}; }

    /// Microseconds of processor time a job; the share of one core that the server had; the share of the whole machine
    /// that somebody else had.
    Json cpu(const Used& before, unsigned jobs, double seconds) const {
        const Used after = used();
        const double ours = after.server - before.server + after.workers - before.workers +
                            static_cast<double>(board_.submitter().cpu_us) / 1e6;
        const double others = (after.machine - before.machine - ours) / seconds / std::thread::hardware_concurrency();
        return {{"server_us_per_job", (after.server - before.server) * 1e6 / jobs},
                {"submitter_us_per_job", static_cast<double>(board_.submitter().cpu_us) / jobs},
                {"workers_us_per_job", (after.workers - before.workers) * 1e6 / jobs},
                {"server_share_of_a_core", (after.server - before.server) / seconds},
                {"others_share_of_the_machine", std::max(others, 0.0)}};
    }

    Json run_end_to_end(unsigned jobs) {
        Slot& slot = board_.submitter();
        const std::uint64_t done_before = board_.done();
        const auto submitter = start_submitter("end_to_end", jobs, [&](Slot& own) {
            peer_->submit(jobs, true);
            own.acked = now_ns();
            if (peer_->await_results()) own.ended = now_ns();
        });
        const Used before = used();
        slot.go = 1;
        wait_until([&] { return slot.done != 0 && board_.done() >= done_before + jobs; }, "end to end",
                   submitter.get());
        const std::uint64_t ended = slot.ended != 0 ? slot.ended.load() : std::max(board_.latest(), slot.acked.load());
        const double seconds = static_cast<double>(ended - slot.began) / 1e9;
        return {{"jobs_per_s", jobs / seconds}, {"cpu", cpu(before, jobs, seconds)}};
    }

    Json run_submit() {
        Slot& slot = board_.submitter();
        const unsigned jobs = variant_.submit_jobs;
        const auto submitter = start_submitter("submit", jobs, [&](Slot& own) {
            peer_->submit(jobs, false);
            own.acked = now_ns();
        });
        const Used before = used();
        slot.go = 1;
        wait_until([&] { return slot.done != 0; }, "submitting", submitter.get());
        const double seconds = static_cast<double>(slot.acked - slot.began) / 1e9;
        return {{"jobs_per_s", jobs / seconds}, {"cpu", cpu(before, jobs, seconds)}};
    }

    Json run_latency() {
        Slot& slot = board_.submitter();
        const unsigned jobs = variant_.latency_jobs;
        const auto submitter = start_submitter("latency", jobs, [&](Slot&) {
            for (unsigned i = 0; i < jobs; ++i) {
                const std::uint64_t done_before = board_.done();
                const std::uint64_t began = now_ns();
                const Peer::Times times = peer_->one();
                while (board_.done() == done_before) pause_briefly();
                board_->acked_ns[i] = times.acked - began;
                board_->ended_ns[i] = (times.ended != 0 ? times.ended : board_.latest()) - began;
            }
        });
        slot.go = 1;
        wait_until([&] { return slot.done != 0; }, "one job at a time", submitter.get());
        const auto us = [&](const std::uint64_t* ns) {
            std::vector<double> values;
            for (unsigned i = jobs / 10; i < jobs; ++i) values.push_back(static_cast<double>(ns[i]) / 1e3);
            const Json all = percentiles(std::move(values));
            return Json{{"p50", all.at("p50")}, {"p99", all.at("p99")}};
        };
        return {{"submit", us(board_->acked_ns)}, {"done", us(board_->ended_ns)}};
    }

    const Variant& variant_;
    ScratchDirectory directory_;
    Board board_;
    std::unique_ptr<Peer> peer_;
    std::vector<std::unique_ptr<Process>> workers_;
};

}  // namespace

Json measure(const Variant& variant, const std::string& directory) { return Measurement(variant, directory).run(); }

}  // namespace jobyard::bench
