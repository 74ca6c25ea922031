#pragma once
// What a process test is made of: real programs that are started, stopped and killed, and conditions that are waited
// for.
//
// Nothing here sleeps for a fixed time. Tests wait with eventually() for what they can see from outside (a file, the
// broker's counters, an exit code), up to a limit that only a broken program or a dead machine reaches.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../temporary_directory.hpp"
#include "jobyard/client.hpp"

namespace jobyard::test {

/// Programs run under a sanitizer, which wants terabytes of addresses, and memory that no limit should count.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

/// To be in a program's environment: its sanitizer is told this too, beside what it is told already.
std::map<std::string, std::string> tell_sanitizer(const std::string& option);

inline constexpr std::chrono::seconds kPatience{JOBYARD_TEST_PATIENCE_S};

/// Polls until the condition holds; false if it never did.
bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds patience = kPatience);

/// A program of the build: "jobyard-broker", "jobyard", …
std::string program(const std::string& name);

/// Of 127.0.0.1, at this moment.
int free_port();

std::string read_file(const std::string& path);
void write_file(const std::string& path, std::string_view bytes);
/// Makes the empty file that gated handlers and commands wait for.
void open_gate(const std::string& path);
bool exists(const std::string& path);
std::vector<std::string> lines_of(const std::string& text);
/// Neither gone nor a zombie.
bool is_alive(pid_t pid);

/// A child process. It is killed when the object goes, and when the test itself dies.
class Process {
 public:
    struct Options {
        std::vector<std::string> argv;
        std::map<std::string, std::string> env = {};  ///< beside what the test has
        std::string input = {};                       ///< standard input
        int pass_fd = -1;                             ///< stays open in the child under the same number
        int errors_to = -1;                           ///< standard error goes there, and errors() stays empty
    };
    explicit Process(const Options& options);
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    [[nodiscard]] pid_t pid() const { return pid_; }
    void signal(int number) const;
    /// SIGKILL, and waits until it is gone.
    void kill();
    [[nodiscard]] bool running();
    /// The exit code, or 128 + the signal that ended it; nothing if it still runs after all the patience.
    std::optional<int> wait(std::chrono::milliseconds patience = kPatience);
    /// What it has written so far.
    [[nodiscard]] std::string output() const;
    [[nodiscard]] std::string errors() const;

 private:
    bool collect();
    const std::string name_;
    pid_t pid_ = -1;
    int output_ = -1;
    int errors_ = -1;
    std::optional<int> exit_;
};

/// jobyard-broker on its own data directory, ready when the constructor returns. start() after kill() or terminate()
/// serves the same directory at the same endpoint.
class BrokerProcess {
 public:
    enum class Listen : std::uint8_t { ipc, tcp };
    explicit BrokerProcess(std::vector<std::string> flags = {}, Listen listen = Listen::ipc,
                           std::string name = "jobyard-broker");
    ~BrokerProcess();
    BrokerProcess(const BrokerProcess&) = delete;
    BrokerProcess& operator=(const BrokerProcess&) = delete;

    void start();
    void kill();
    /// SIGTERM; the exit code.
    std::optional<int> terminate();
    /// Which program it is from the next start on.
    void set_program(std::string name) { name_ = std::move(name); }
    void set_flags(std::vector<std::string> flags) { flags_ = std::move(flags); }
    /// Standard error goes there from the next start on.
    void set_errors_to(int fd) { errors_to_ = fd; }

    [[nodiscard]] const std::string& endpoint() const { return endpoint_; }
    [[nodiscard]] int port() const { return port_; }
    [[nodiscard]] std::string data() const { return directory_ / "data"; }
    [[nodiscard]] Process& process() { return *process_; }
    [[nodiscard]] std::string log() const { return log_ + process_->errors(); }
    /// Memory of its own, without mapped files; 0 if kSanitized, because most would be the sanitizer's.
    [[nodiscard]] std::uint64_t private_bytes() const;

 private:
    bool try_start();
    TemporaryDirectory directory_;
    std::vector<std::string> flags_;
    Listen listen_;
    std::string name_;
    int port_ = 0;
    int errors_to_ = -1;
    std::string endpoint_;
    std::string log_;  // of the runs before
    std::unique_ptr<Process> process_;
};

/// One line that a handler of `process_test_worker`, or a command in a test, appended before it did anything else.
struct Execution {
    std::uint64_t job = 0;
    std::uint32_t attempt = 0;
    std::uint64_t token = 0;
    std::string worker;
};
std::vector<Execution> executions(const std::string& log);
std::vector<Execution> executions_of(const std::string& log, JobId job);
/// How often each job was begun.
std::map<std::uint64_t, int> execution_counts(const std::string& log);

/// Runs process_test_worker (its own file says what its handlers do) with settings such as {"slots", "2"}.
std::unique_ptr<Process> start_test_worker(const std::string& broker, std::map<std::string, std::string> settings);
/// Runs jobyard-worker.
std::unique_ptr<Process> start_command_worker(const std::string& broker, std::vector<std::string> flags = {},
                                              const std::string& name = "jobyard-worker");

/// Runs the `jobyard` command to its end.
struct Ran {
    int exit = -1;
    std::string output;
    std::string errors;
};
Ran jobyard_command(const std::string& broker, std::vector<std::string> arguments, const std::string& input = {},
                    const std::string& name = "jobyard", std::map<std::string, std::string> env = {});
/// A payload for type "command".
std::string command_payload(const std::vector<std::string>& argv, const std::map<std::string, std::string>& env = {});

/// `ok`, or what went wrong.
template <class T>
Code code_of(const Result<T>& result) {
    return result ? Code::ok : result.error().code;
}
/// A client with limits that fit a slow machine.
Client::Options client_options(const std::string& broker);
/// The number of this name in the broker's counters, one level deep: "dispatched", "broker.longest_turn_us".
std::uint64_t counter(Client& client, const std::string& name);
/// Waits until so many workers have a session.
bool workers_arrived(Client& client, std::uint64_t count);
JobState state_of(Client& client, JobId job);
/// Every job the broker has, page by page.
std::vector<JobInfo> all_jobs(Client& client, const JobFilter& filter = {});

}  // namespace jobyard::test
