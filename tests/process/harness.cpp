#include "harness.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>
#include <thread>

extern char** environ;

namespace jobyard::test {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

int memory_file(const std::string& contents = {}) {
    const int fd = ::memfd_create("jobyard-process-test", MFD_CLOEXEC);
    if (fd < 0) throw std::runtime_error("memfd_create");
    if (::write(fd, contents.data(), contents.size()) != static_cast<ssize_t>(contents.size()) ||
        ::lseek(fd, 0, SEEK_SET) != 0)
        throw std::runtime_error("write to a file in memory");
    return fd;
}

std::string contents_of(int fd) {
    if (fd < 0) return {};
    std::string text;
    char bytes[65536];
    for (ssize_t got = 0; (got = ::pread(fd, bytes, sizeof bytes, static_cast<off_t>(text.size()))) > 0;)
        text.append(bytes, static_cast<std::size_t>(got));
    return text;
}

}  // namespace

// Outside the range the system takes ports of outgoing connections from: a peer that reconnects to a port of that
// range while nobody listens can meet itself.
int free_port() {
    std::random_device random;
    for (;;) {
        const int port = 18000 + static_cast<int>(random() % 14000);
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const bool is_free = ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
        ::close(fd);
        if (is_free) return port;
    }
}

std::map<std::string, std::string> tell_sanitizer(const std::string& option) {
    std::map<std::string, std::string> env;
    for (const char* name : {"ASAN_OPTIONS", "TSAN_OPTIONS"}) {
        const char* const told = std::getenv(name);
        env[name] = (told != nullptr ? std::string(told) + ':' : std::string()) + option;
    }
    return env;
}

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds patience) {
    const auto until = Clock::now() + patience;
    for (auto pause = 2ms;; pause = std::min(pause * 2, std::chrono::milliseconds(40))) {
        if (condition()) return true;
        if (Clock::now() > until) return false;
        std::this_thread::sleep_for(pause);
    }
}

std::string program(const std::string& name) {
    for (const std::string directory : {JOBYARD_BIN_DIR, JOBYARD_TEST_BIN_DIR})
        if (exists(directory + "/" + name)) return directory + "/" + name;
    throw std::runtime_error("there is no program " + name + " in " JOBYARD_BIN_DIR);
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, std::string_view bytes) { std::ofstream(path, std::ios::binary) << bytes; }

void open_gate(const std::string& path) { write_file(path, ""); }

bool exists(const std::string& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

bool is_alive(pid_t pid) {
    const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    const std::size_t name_end = stat.rfind(')');
    return name_end != std::string::npos && stat.substr(name_end + 2, 1) != "Z";
}

// --- processes -------------------------------------------------------------------------------------------------------

Process::Process(const Options& options) : name_(options.argv.front()) {
    const int input = memory_file(options.input);
    output_ = memory_file();
    if (options.errors_to < 0) errors_ = memory_file();
    const int errors = options.errors_to < 0 ? errors_ : options.errors_to;
    // All that needs memory is made before the fork: this process has threads.
    std::vector<char*> argv;
    for (const std::string& word : options.argv) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    std::vector<std::string> settings;
    for (char** inherited = environ; *inherited != nullptr; ++inherited) {
        const std::string line = *inherited;
        if (!options.env.contains(line.substr(0, line.find('=')))) settings.push_back(line);
    }
    for (const auto& [name, value] : options.env) settings.push_back(name + "=" + value);
    // What this machine is configured with is not what is tested.
    for (const std::string name : {"JOBYARD_CONFIG", "JOBYARD_BROKER_CONFIG", "JOBYARD_WORKER_CONFIG"})
        if (!options.env.contains(name)) settings.push_back(name + "=/dev/null");
    std::vector<char*> env;
    for (std::string& line : settings) env.push_back(line.data());
    env.push_back(nullptr);

    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork");
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::dup2(input, 0) < 0 || ::dup2(output_, 1) < 0 || ::dup2(errors, 2) < 0) ::_exit(126);
        if (options.pass_fd >= 0) ::fcntl(options.pass_fd, F_SETFD, 0);
        ::execve(argv[0], argv.data(), env.data());
        constexpr std::string_view kFailed = "this program could not be started\n";
        static_cast<void>(!::write(2, kFailed.data(), kFailed.size()));
        ::_exit(127);
    }
    ::close(input);
}

Process::~Process() {
    if (running()) kill();
    if (const std::string text = errors(); testing::Test::HasFailure() && !text.empty())
        std::cerr << "--- standard error of " << name_ << ":\n" << text << "---\n";
    ::close(output_);
    if (errors_ >= 0) ::close(errors_);
}

bool Process::collect() {
    if (exit_) return true;
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) return false;
    exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
}

void Process::signal(int number) const {
    if (!exit_) ::kill(pid_, number);
}

void Process::kill() {
    signal(SIGKILL);
    if (!wait()) ADD_FAILURE() << "process " << pid_ << " cannot be killed";
}

bool Process::running() { return !collect(); }

std::optional<int> Process::wait(std::chrono::milliseconds patience) {
    eventually([this] { return collect(); }, patience);
    return exit_;
}

std::string Process::output() const { return contents_of(output_); }
std::string Process::errors() const { return contents_of(errors_); }

// --- the broker ------------------------------------------------------------------------------------------------------

BrokerProcess::BrokerProcess(std::vector<std::string> flags, Listen listen, std::string name)
    : flags_(std::move(flags)), listen_(listen), name_(std::move(name)) {
    for (int tries = 0; tries < 20; ++tries) {
        if (listen_ == Listen::tcp) port_ = free_port();
        endpoint_ =
            listen_ == Listen::tcp ? "tcp://127.0.0.1:" + std::to_string(port_) : "ipc://" + directory_ / "broker";
        if (try_start()) return;
        if (listen_ == Listen::ipc || process_->wait() != 5) break;  // 5: somebody was faster with the port
    }
    throw std::runtime_error("the broker did not start: " + process_->errors());
}

BrokerProcess::~BrokerProcess() {
    if (process_) process_->kill();
    if (testing::Test::HasFailure() && !log_.empty())
        std::cerr << "--- log of the broker's runs before:\n" << log_ << "---\n";
}

bool BrokerProcess::try_start() {
    int ready[2];
    if (::pipe2(ready, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    std::vector<std::string> argv{program(name_),          "--data", data(), "--listen", endpoint_, "--ready-fd",
                                  std::to_string(ready[1])};
    argv.insert(argv.end(), flags_.begin(), flags_.end());
    if (process_) log_ += process_->errors();
    process_ = std::make_unique<Process>(Process::Options{.argv = argv, .pass_fd = ready[1], .errors_to = errors_to_});
    ::close(ready[1]);
    std::string text;
    char bytes[256];
    for (ssize_t got = 0; (got = ::read(ready[0], bytes, sizeof bytes)) > 0;)
        text.append(bytes, static_cast<std::size_t>(got));
    ::close(ready[0]);
    return text.starts_with("READY\n");
}

void BrokerProcess::start() {
    if (process_->running()) throw std::runtime_error("the broker runs already");
    // The port is ours, but connections of the last run may hold it for a moment.
    if (!eventually([this] { return try_start(); }))
        throw std::runtime_error("the broker did not start again: " + process_->errors());
}

void BrokerProcess::kill() { process_->kill(); }

std::optional<int> BrokerProcess::terminate() {
    process_->signal(SIGTERM);
    return process_->wait();
}

std::uint64_t BrokerProcess::private_bytes() const {
    if (kSanitized) return 0;
    std::istringstream status(read_file("/proc/" + std::to_string(process_->pid()) + "/status"));
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("RssAnon:")) return std::strtoull(line.c_str() + 8, nullptr, 10) << 10U;
    return 0;
}

// --- workers ---------------------------------------------------------------------------------------------------------

std::vector<Execution> executions(const std::string& log) {
    std::vector<Execution> found;
    for (const std::string& line : lines_of(read_file(log))) {
        std::istringstream words(line);
        Execution execution;
        if (words >> execution.job >> execution.attempt >> execution.token) {
            words >> execution.worker;
            found.push_back(execution);
        }
    }
    return found;
}

std::vector<Execution> executions_of(const std::string& log, JobId job) {
    std::vector<Execution> found = executions(log);
    std::erase_if(found, [&](const Execution& execution) { return execution.job != job.value; });
    return found;
}

std::map<std::uint64_t, int> execution_counts(const std::string& log) {
    std::map<std::uint64_t, int> counts;
    for (const Execution& execution : executions(log)) ++counts[execution.job];
    return counts;
}

std::unique_ptr<Process> start_test_worker(const std::string& broker, std::map<std::string, std::string> settings) {
    settings["broker"] = broker;
    std::vector<std::string> argv{program("process_test_worker")};
    for (const auto& [name, value] : settings) argv.push_back(name + "=" + value);
    return std::make_unique<Process>(Process::Options{.argv = argv});
}

std::unique_ptr<Process> start_command_worker(const std::string& broker, std::vector<std::string> flags,
                                              const std::string& name) {
    std::vector<std::string> argv{program(name), "--broker", broker};
    argv.insert(argv.end(), flags.begin(), flags.end());
    return std::make_unique<Process>(Process::Options{.argv = argv});
}

// --- clients ---------------------------------------------------------------------------------------------------------

Ran jobyard_command(const std::string& broker, std::vector<std::string> arguments, const std::string& input,
                    const std::string& name, std::map<std::string, std::string> env) {
    std::vector<std::string> argv{program(name)};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    env["JOBYARD_BROKER"] = broker;
    Process process({.argv = argv, .env = std::move(env), .input = input});
    Ran ran;
    ran.exit = process.wait().value_or(-1);
    ran.output = process.output();
    ran.errors = process.errors();
    return ran;
}

std::string command_payload(const std::vector<std::string>& argv, const std::map<std::string, std::string>& env) {
    nlohmann::json map{{"argv", argv}};
    if (!env.empty()) map["env"] = env;
    std::string payload;
    nlohmann::json::to_msgpack(map, payload);
    return payload;
}

Client::Options client_options(const std::string& broker) { return {.broker = broker, .submit_limit = 100s}; }

std::uint64_t counter(Client& client, const std::string& name) {
    const Result<BrokerStats> stats = client.stats(kPatience);
    if (!stats) {
        ADD_FAILURE() << stats.error().text;
        return 0;
    }
    nlohmann::json value = nlohmann::json::from_msgpack(stats->map);
    std::istringstream path(name);
    for (std::string key; std::getline(path, key, '.');)
        value = nlohmann::json(value.value(key, nlohmann::json::object()));
    if (value.is_number()) return value.get<std::uint64_t>();
    ADD_FAILURE() << "there is no counter " << name;
    return 0;
}

bool workers_arrived(Client& client, std::uint64_t count) {
    std::string last;
    const bool arrived = eventually([&] {
        const Result<BrokerStats> stats = client.stats(kPatience);
        last = stats ? std::to_string(stats->workers) + " workers" : stats.error().text;
        return stats && stats->workers == count;
    });
    if (!arrived) std::cerr << "waited for " << count << " workers; at last: " << last << "\n";
    return arrived;
}

JobState state_of(Client& client, JobId job) {
    const Result<JobInfo> info = client.show(job, kPatience);
    if (!info) ADD_FAILURE() << info.error().text;
    return info ? info->state : JobState::none;
}

std::vector<JobInfo> all_jobs(Client& client, const JobFilter& filter) {
    std::vector<JobInfo> jobs;
    std::uint64_t cursor = 0;
    do {
        Result<JobPage> page = client.list(filter, cursor, 500, kPatience);
        if (!page) {
            ADD_FAILURE() << page.error().text;
            break;
        }
        cursor = page->next_cursor;
        std::move(page->jobs.begin(), page->jobs.end(), std::back_inserter(jobs));
    } while (cursor != 0);
    return jobs;
}

}  // namespace jobyard::test
