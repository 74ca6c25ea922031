#include "cluster.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "jobyard/worker.hpp"
#include "start_board.hpp"

namespace jobyard::bench {
namespace {

std::string program_beside_this(const char* name) {
    return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).string();
}

[[noreturn]] void run_worker(const std::string& endpoint, const Cluster::Options& options) {
    Worker worker({.broker = endpoint, .slots = options.slots, .credit = options.credit});
    if (options.board == nullptr) {
        worker.on("bench", [](const Job&, Context&) -> HandlerResult { return Success{}; });
    } else {
        worker.on("bench", [board = options.board](const Job& job, Context&) -> HandlerResult {
            board->began(job.payload);
            return Success{};
        });
    }
    worker.run();
    std::_Exit(0);
}

void end(pid_t pid) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
}

double cpu_seconds(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(file, text);
    std::istringstream fields(text.substr(text.rfind(')') + 2));
    std::string skipped;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    std::uint64_t user = 0;
    std::uint64_t system = 0;
    fields >> user >> system;
    return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace

Cluster::Cluster(const Options& options) {
    if (options.broker.empty()) start_broker(options);
    else endpoint_ = options.broker;
    std::array<int, 2> gate{};
    if (::pipe(gate.data()) != 0) throw std::runtime_error("no pipe can be made");
    // Before this process has threads: a worker is this program forked.
    for (unsigned i = 0; i < options.workers; ++i) {
        const pid_t worker = ::fork();
        if (worker == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            restore_signals();
            ::close(gate[1]);
            char none = 0;
            if (options.hold_workers && ::read(gate[0], &none, 1) != 0) std::_Exit(1);
            ::close(gate[0]);
            run_worker(endpoint_, options);
        }
        workers_.push_back(worker);
    }
    ::close(gate[0]);
    gate_ = gate[1];
}

void Cluster::start_broker(const Options& options) {
    directory_.emplace(options.directory);
    std::array<int, 2> ready{};
    if (::pipe(ready.data()) != 0) throw std::runtime_error("no pipe can be made");
    broker_ = ::fork();
    if (broker_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::close(ready[0]);
        const std::string program = program_beside_this("jobyard-broker");
        restore_signals();
        const std::string data = directory_->path() + "/data";
        const std::string fd = std::to_string(ready[1]);
        const std::string kept = "kept_jobs=" + std::to_string(options.kept_jobs);
        ::execl(program.c_str(), program.c_str(), "--data", data.c_str(), "--listen", "tcp://127.0.0.1:*", "--ready-fd",
                fd.c_str(), "--log-level", "warn", "--limit", kept.c_str(), nullptr);
        ::perror(program.c_str());
        std::_Exit(127);
    }
    ::close(ready[1]);
    std::string text;
    std::array<char, 256> bytes{};
    for (ssize_t got = 0; (got = ::read(ready[0], bytes.data(), bytes.size())) > 0;)
        text.append(bytes.data(), static_cast<std::size_t>(got));
    ::close(ready[0]);
    std::istringstream lines(text);
    std::string word;
    if (!(lines >> word >> endpoint_)) throw std::runtime_error("the broker did not start");
}

void Cluster::release_workers() {
    if (gate_ >= 0) ::close(std::exchange(gate_, -1));
}

Cluster::~Cluster() {
    release_workers();
    for (const pid_t worker : workers_) end(worker);
    if (broker_ > 0) end(broker_);
}

std::uint64_t Cluster::broker_write_bytes() const {
    std::ifstream file("/proc/" + std::to_string(broker_) + "/io");
    std::string name;
    std::uint64_t value = 0;
    while (file >> name >> value)
        if (name == "write_bytes:") return value;
    return 0;
}

double Cluster::broker_cpu() const { return cpu_seconds(broker_); }

double Cluster::workers_cpu() const {
    double sum = 0;
    for (const pid_t worker : workers_) sum += cpu_seconds(worker);
    return sum;
}

}  // namespace jobyard::bench
