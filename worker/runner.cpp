#include "runner.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <msgpack.hpp>
#include <stdexcept>
#include <tuple>

#include "jobyard/limits.hpp"
#include "text.hpp"

namespace jobyard::worker {
namespace {

using Clock = std::chrono::steady_clock;

// --- the payload -----------------------------------------------------------------------------------------------------

/// A string that the system can be given: without a NUL, which would cut it.
std::string system_text(const msgpack::object& value, const std::string& what) {
    if (value.type != msgpack::type::STR) throw std::runtime_error(what + " must be text");
    auto text = value.as<std::string>();
    if (text.find('\0') != std::string::npos) throw std::runtime_error(what + " contains a NUL");
    return text;
}

Command to_command(const msgpack::object& payload) {
    if (payload.type != msgpack::type::MAP) throw std::runtime_error("expected a map");
    Command command;
    for (const auto& [key_object, value] : payload.via.map) {
        const std::string key = system_text(key_object, "a key");
        if (key == "argv") {
            if (value.type != msgpack::type::ARRAY) throw std::runtime_error("argv must be a list of text");
            for (const msgpack::object& word : value.via.array) command.argv.push_back(system_text(word, "argv"));
        } else if (key == "env") {
            if (value.type != msgpack::type::MAP) throw std::runtime_error("env must be a map of text");
            for (const auto& [name_object, setting] : value.via.map) {
                std::string name = system_text(name_object, "a name in env");
                if (name.empty() || name.find('=') != std::string::npos)
                    throw std::runtime_error("\"" + name + "\" cannot be the name of an environment variable");
                command.env.emplace_back(std::move(name), system_text(setting, "a value in env"));
            }
        } else if (key == "cwd") {
            command.cwd = system_text(value, "cwd");
        } else if (key == "stdin") {
            if (value.type != msgpack::type::BIN) throw std::runtime_error("stdin must be bytes");
            command.input.assign(value.via.bin.ptr, value.via.bin.size);
        } else {
            // Not passed over: what a newer submitter asks for might matter.
            throw std::runtime_error("\"" + key + "\" is not known; there are argv, env, cwd and stdin");
        }
    }
    if (command.argv.empty() || command.argv.front().empty()) throw std::runtime_error("argv is missing or empty");
    return command;
}

// --- descriptors -----------------------------------------------------------------------------------------------------

class Fd {
 public:
    explicit Fd(int fd = -1) : fd_(fd) {}
    ~Fd() { reset(); }
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        if (this != &other) {
            reset();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }
    void reset() {
        if (fd_ >= 0) close(fd_);
        fd_ = -1;
    }

 private:
    int fd_;
};

struct Pipe {
    Fd reader;
    Fd writer;
};

std::optional<Pipe> make_pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);  // the command's end stays as commands expect it
    return Pipe{Fd(ends[0]), Fd(ends[1])};
}

/// Standard input as a file in memory: nobody has to feed it while the command runs.
Fd input_file(const std::string& input) {
    if (input.empty()) return Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    Fd file(memfd_create("jobyard-stdin", MFD_CLOEXEC));
    if (!file) return file;
    for (std::size_t at = 0; at < input.size();) {
        const ssize_t written = write(file.get(), input.data() + at, input.size() - at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return Fd();
        at += static_cast<std::size_t>(written);
    }
    return lseek(file.get(), 0, SEEK_SET) == 0 ? std::move(file) : Fd();
}

// --- the child's side ------------------------------------------------------------------------------------------------

/// Where a child failed on its way to becoming the command, sent through a pipe that exec closes.
struct ChildError {
    enum class Step : int { keeper, group, descriptors, cwd, exec } step;
    int error;
};

/// All that the child needs, made before the fork: between fork and exec in a program with threads only
/// async-signal-safe calls are allowed, so no memory can be had there.
struct Prepared {
    std::vector<std::string> paths;  // to try in this order
    std::vector<std::string> env;
    std::vector<const char*> argv_pointers;
    std::vector<const char*> env_pointers;
    const char* cwd = nullptr;
};

std::vector<std::string> environment(const Command& command, const AttemptName& name) {
    auto settings = command.env;
    settings.emplace_back("JOBYARD_JOB_ID", std::to_string(name.job.value));
    settings.emplace_back("JOBYARD_ATTEMPT", std::to_string(name.attempt));
    settings.emplace_back("JOBYARD_LEASE_TOKEN", std::to_string(name.token.value));
    if (name.array) {
        settings.emplace_back("JOBYARD_ARRAY_ID", std::to_string(name.array.value));
        settings.emplace_back("JOBYARD_ARRAY_INDEX", std::to_string(name.array_index));
    }
    std::vector<std::string> env;
    for (char** inherited = environ; *inherited != nullptr; ++inherited) {
        const std::string_view line = *inherited;
        const std::string_view variable = line.substr(0, line.find('='));
        const auto is_set = [&](const auto& setting) { return setting.first == variable; };
        if (std::none_of(settings.begin(), settings.end(), is_set)) env.emplace_back(line);
    }
    for (const auto& [variable, value] : settings) env.push_back(variable + "=" + value);
    return env;
}

/// What execvp would try, in the command's own PATH.
std::vector<std::string> search_path(const std::string& program, const std::vector<std::string>& env) {
    if (program.find('/') != std::string::npos) return {program};
    std::string_view path = "/usr/local/bin:/usr/bin:/bin";
    for (const std::string& line : env)
        if (line.starts_with("PATH=")) path = std::string_view(line).substr(5);
    std::vector<std::string> paths;
    for (;;) {
        const std::size_t end = path.find(':');
        const std::string_view directory = path.substr(0, end);
        paths.push_back((directory.empty() ? "." : std::string(directory)) + "/" + program);
        if (end == std::string_view::npos) return paths;
        path.remove_prefix(end + 1);
    }
}

Prepared prepare(const Command& command, const AttemptName& name) {
    Prepared prepared;
    prepared.env = environment(command, name);
    prepared.paths = search_path(command.argv.front(), prepared.env);
    for (const std::string& word : command.argv) prepared.argv_pointers.push_back(word.c_str());
    prepared.argv_pointers.push_back(nullptr);
    for (const std::string& line : prepared.env) prepared.env_pointers.push_back(line.c_str());
    prepared.env_pointers.push_back(nullptr);
    if (command.cwd) prepared.cwd = command.cwd->c_str();
    return prepared;
}

[[noreturn]] void give_up(int status, ChildError::Step step, int error) {
    const ChildError failed{step, error};
    static_cast<void>(!write(status, &failed, sizeof failed));
    _exit(127);
}

/// Between fork and exec. `descriptors` are to become 0, 1 and 2.
[[noreturn]] void become(const Prepared& prepared, const Keeper& keeper, const std::array<int, 3>& descriptors,
                         int status) {
    using Step = ChildError::Step;
    if (setpgid(0, 0) != 0) give_up(status, Step::group, errno);
    if (!keeper.enter()) give_up(status, Step::keeper, errno);
    for (int i = 0; i < 3; ++i)
        if (dup2(descriptors[static_cast<std::size_t>(i)], i) < 0) give_up(status, Step::descriptors, errno);
    // Not only ours, which are marked already: also what the worker itself was started with.
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    // What is ignored or blocked stays so through exec; commands expect a clean slate.
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &action, nullptr);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (prepared.cwd != nullptr && chdir(prepared.cwd) != 0) give_up(status, Step::cwd, errno);

    int error = ENOENT;
    for (const std::string& path : prepared.paths) {
        execve(path.c_str(), const_cast<char* const*>(prepared.argv_pointers.data()),
               const_cast<char* const*>(prepared.env_pointers.data()));
        if (errno == ENOENT || errno == ENOTDIR) continue;
        error = errno;
        if (errno != EACCES) break;  // as execvp: a later directory may have one that may be run
    }
    give_up(status, Step::exec, error);
}

// --- the worker's side -----------------------------------------------------------------------------------------------

/// What is read of a stream: all of it is counted, some of it kept.
struct Capture {
    enum class Keep : std::uint8_t { beginning, end } keep;
    std::size_t limit;
    std::string bytes = {};
    std::uint64_t total = 0;

    void add(std::string_view more) {
        total += more.size();
        if (keep == Keep::beginning) {
            bytes.append(more.substr(0, limit - bytes.size()));
            return;
        }
        bytes.append(more);
        if (bytes.size() > 2 * limit) cut();
    }
    /// Call it once all was added.
    void cut() {
        if (bytes.size() > limit) bytes.erase(0, bytes.size() - limit);
    }
    [[nodiscard]] bool truncated() const { return total > bytes.size(); }
};

/// Reads what is there; closes at the end of the stream.
void read_available(Fd& from, Capture& into) {
    char buffer[16384];
    while (from) {
        const ssize_t size = read(from.get(), buffer, sizeof buffer);
        if (size > 0) {
            into.add({buffer, static_cast<std::size_t>(size)});
        } else if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
            from.reset();
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

struct Ran {
    int wait_status = 0;
    std::optional<ChildError> child_error = std::nullopt;
    Capture out{Capture::Keep::beginning, kStdoutKept};
    Capture err{Capture::Keep::end, kStderrKept};
    std::chrono::milliseconds duration{0};
};

/// How long the streams of a command that has ended may still be held open, by a process that left its group.
constexpr std::chrono::milliseconds kStreamsGrace{500};

struct Process {
    pid_t pid = -1;
    Fd ended;  ///< readable when it has
    Fd out;
    Fd err;
    Fd status;
};

/// Reads both streams until the process has ended, and stops its group when told to. Leaves no process of the group,
/// and the leader not waited for.
void attend(Process& process, int cancel_fd, std::chrono::milliseconds kill_grace, Ran& ran) {
    auto kill_at = Clock::time_point::max();
    bool told_to_stop = cancel_fd < 0;
    for (;;) {
        pollfd fds[] = {{process.ended.get(), POLLIN, 0},
                        {process.out.get(), POLLIN, 0},
                        {process.err.get(), POLLIN, 0},
                        {told_to_stop ? -1 : cancel_fd, POLLIN, 0}};
        int timeout = -1;
        if (kill_at != Clock::time_point::max()) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(kill_at - Clock::now());
            timeout = static_cast<int>(std::max<std::int64_t>(left.count(), 0));
        }
        poll(fds, std::size(fds), timeout);
        if (fds[1].revents != 0) read_available(process.out, ran.out);
        if (fds[2].revents != 0) read_available(process.err, ran.err);
        if (fds[0].revents != 0) break;
        if (fds[3].revents != 0) {
            told_to_stop = true;
            kill(-process.pid, SIGTERM);
            kill(-process.pid, SIGCONT);  // one that is stopped would not notice
            kill_at = Clock::now() + kill_grace;
        }
        if (Clock::now() >= kill_at) {
            kill(-process.pid, SIGKILL);
            kill_at = Clock::time_point::max();
        }
    }
    kill(-process.pid, SIGKILL);  // what it left running in its group
    const auto until = Clock::now() + kStreamsGrace;
    while (process.out || process.err) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
        if (left.count() <= 0) break;
        pollfd fds[] = {{process.out.get(), POLLIN, 0}, {process.err.get(), POLLIN, 0}};
        poll(fds, std::size(fds), static_cast<int>(left.count()));
        read_available(process.out, ran.out);
        read_available(process.err, ran.err);
    }
}

/// The error of the system call that failed, if the command could not even be begun.
Result<Ran> run(const Command& command, const AttemptName& name, const Keeper& keeper, int cancel_fd,
                std::chrono::milliseconds kill_grace) {
    const auto failed = [](const char* what) {
        return Error{Code::internal, std::string("cannot ") + what + ": " + std::strerror(errno)};
    };
    const Prepared prepared = prepare(command, name);
    const Fd in = input_file(command.input);
    auto out = make_pipe();
    auto err = make_pipe();
    auto status = make_pipe();
    if (!in || !out || !err || !status) return failed("make the command's streams");

    const auto began = Clock::now();
    Process process;
    process.pid = fork();
    if (process.pid < 0) return failed("fork");
    if (process.pid == 0)
        become(prepared, keeper, {in.get(), out->writer.get(), err->writer.get()}, status->writer.get());
    // Here as well as in the child, so that the group exists before we signal it; whoever comes second fails.
    setpgid(process.pid, process.pid);
    process.ended = Fd(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
    process.out = std::move(out->reader);
    process.err = std::move(err->reader);
    process.status = std::move(status->reader);
    out.reset();
    err.reset();
    status.reset();

    Ran ran;
    std::optional<Error> unwatched;
    if (process.ended) {
        attend(process, cancel_fd, kill_grace, ran);
    } else {
        unwatched = failed("watch the command");
        kill(-process.pid, SIGKILL);
        siginfo_t info;
        while (waitid(P_PID, static_cast<id_t>(process.pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
        }
    }
    // In this order: the number cannot be another group's until the leader is waited for.
    keeper.forget(process.pid);
    while (waitpid(process.pid, &ran.wait_status, 0) < 0 && errno == EINTR) {
    }
    if (unwatched) return *unwatched;
    ran.duration = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began);
    ran.err.cut();
    ChildError child_error{};
    if (read(process.status.get(), &child_error, sizeof child_error) == static_cast<ssize_t>(sizeof child_error))
        ran.child_error = child_error;
    return ran;
}

// --- the result ------------------------------------------------------------------------------------------------------

/// Why the command could not be begun, and the exit status a shell would give for it.
std::pair<std::string, int> explain(const ChildError& failed, const Command& command) {
    const std::string why = std::strerror(failed.error);
    const std::string program = "\"" + command.argv.front() + "\"";
    switch (failed.step) {
        case ChildError::Step::keeper: return {"the keeper process is gone; restart this worker (" + why + ")", 126};
        case ChildError::Step::group: return {"cannot make a process group: " + why, 126};
        case ChildError::Step::descriptors: return {"cannot set up the command's streams: " + why, 126};
        case ChildError::Step::cwd: return {"cannot enter directory \"" + command.cwd.value_or("") + "\": " + why, 126};
        case ChildError::Step::exec: break;
    }
    if (failed.error == ENOENT) return {"command not found: " + program, 127};
    return {"cannot run " + program + ": " + why, 126};
}

std::string to_map(const Ran& ran, int exit_status, int signal) {
    msgpack::sbuffer buffer;
    msgpack::packer<msgpack::sbuffer> packer(buffer);
    const auto pack_bytes = [&packer](const std::string& bytes) {
        packer.pack_bin(static_cast<std::uint32_t>(bytes.size()));
        packer.pack_bin_body(bytes.data(), static_cast<std::uint32_t>(bytes.size()));
    };
    packer.pack_map(8);
    packer.pack("exit_status");
    packer.pack(exit_status);
    packer.pack("signal");
    packer.pack(signal);
    packer.pack("stdout");
    pack_bytes(ran.out.bytes);
    packer.pack("stdout_bytes");
    packer.pack(ran.out.total);
    packer.pack("truncated");
    packer.pack(ran.out.truncated() || ran.err.truncated());
    packer.pack("stderr");
    pack_bytes(ran.err.bytes);
    packer.pack("stderr_bytes");
    packer.pack(ran.err.total);
    packer.pack("duration_ms");
    packer.pack(static_cast<std::uint64_t>(ran.duration.count()));
    return {buffer.data(), buffer.size()};
}

}  // namespace

Result<Command> decode_command(std::string_view payload) {
    constexpr std::size_t kMostWords = 65536;
    const msgpack::unpack_limit limit(kMostWords, kMostWords, payload.size(), payload.size(), 0, 4);
    try {
        std::size_t read = 0;
        const msgpack::object_handle handle =
            msgpack::unpack(payload.data(), payload.size(), read, nullptr, nullptr, limit);
        if (read != payload.size()) throw std::runtime_error("bytes follow the map");
        return to_command(handle.get());
    } catch (const std::exception& e) {
        return Error{Code::bad_field, std::string("the payload is not a command: ") + e.what()};
    }
}

HandlerResult run_command(const Command& command, const AttemptName& name, const Keeper& keeper, int cancel_fd,
                          std::chrono::milliseconds kill_grace) {
    const Result<Ran> ran = run(command, name, keeper, cancel_fd, kill_grace);
    if (!ran) return Failure{.message = ran.error().text};
    const int signal = WIFSIGNALED(ran->wait_status) ? WTERMSIG(ran->wait_status) : 0;
    int exit_status = signal != 0 ? 128 + signal : WEXITSTATUS(ran->wait_status);
    std::string message =
        signal != 0 ? "killed by signal " + std::to_string(signal) : "exit status " + std::to_string(exit_status);
    if (ran->child_error) std::tie(message, exit_status) = explain(*ran->child_error, command);
    std::string map = to_map(*ran, exit_status, signal);
    if (exit_status == 0) return Success{std::move(map)};
    return Failure{
        .message = std::move(message), .result = std::move(map), .tail = clean_tail(ran->err.bytes, kMaxTailBytes)};
}

}  // namespace jobyard::worker
