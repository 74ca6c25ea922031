// `jobyard dead edit`: what is to be another way with dead jobs before they are redriven.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "command_job.hpp"
#include "dead.hpp"
#include "job_json.hpp"
#include "submit.hpp"

namespace jobyard::cli {
namespace {

struct EditOptions {
    std::vector<std::uint64_t> numbers;
    std::string payload;  ///< a file, or "-"
    std::string command;  ///< likewise, of JSON
    std::string type;
    std::string queue;
    int priority = 0;
    std::optional<std::uint32_t> max_attempts;
    std::string timeout;
    std::string backoff_initial;
    std::optional<std::uint32_t> backoff_factor;
    std::string backoff_max;
    std::optional<std::uint32_t> backoff_jitter;
};

int usage(const Globals& globals, const std::string& text) {
    return wrong_usage(globals, text + "; see jobyard dead edit --help");
}

std::optional<std::uint32_t> milliseconds_of(const std::string& given) {
    if (given.empty()) return std::nullopt;
    return static_cast<std::uint32_t>(duration_of(given).count());
}

/// Without the payload.
JobEdit edit_of(const EditOptions& options) {
    JobEdit edit;
    edit.type = options.type;
    edit.queue = options.queue;
    edit.priority = static_cast<std::uint8_t>(options.priority);
    edit.retry.max_attempts = options.max_attempts;
    edit.retry.timeout_ms = milliseconds_of(options.timeout);
    edit.retry.backoff = {milliseconds_of(options.backoff_initial), options.backoff_factor,
                          milliseconds_of(options.backoff_max), options.backoff_jitter};
    return edit;
}

bool says_something(const JobEdit& edit) {
    return edit.payload || !edit.type.empty() || !edit.queue.empty() || edit.priority != 0 ||
           edit.retry != RetryPolicy{};
}

int send(const Globals& globals, Client& client, const std::vector<JobId>& jobs, const JobEdit& edit) {
    const std::vector<Result<void>> answers = client.edit(jobs, edit, globals.call_limit());
    int worst = kExitOk;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        const Code code = answers[i] ? Code::ok : answers[i].error().code;
        if (globals.json) print_line(answer_json(jobs[i], code, answers[i] ? "" : answers[i].error().text));
        else if (answers[i]) print_line(std::to_string(jobs[i].value) + "  edited");
        if (!answers[i]) worst = std::max(worst, complain_about(jobs[i], answers[i].error()));
    }
    return worst;
}

/// A file that is gone at the end, unless somebody may want it.
class Draft {
 public:
    explicit Draft(const std::string& text) {
        const char* place = std::getenv("TMPDIR");
        path_ = std::string(place != nullptr && *place != '\0' ? place : "/tmp") + "/jobyard-XXXXXX.json";
        const int file = ::mkstemps(path_.data(), 5);  // readable by its user alone
        if (file < 0) {
            path_.clear();
            return;
        }
        is_written_ = ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
        ::close(file);
    }
    ~Draft() {
        std::error_code none;
        if (!path_.empty() && !kept_) std::filesystem::remove(path_, none);
    }
    Draft(const Draft&) = delete;
    Draft& operator=(const Draft&) = delete;

    [[nodiscard]] bool is_written() const { return is_written_; }
    [[nodiscard]] const std::string& path() const { return path_; }
    void keep() { kept_ = true; }

 private:
    std::string path_;  // empty: it could not be made
    bool is_written_ = false;
    bool kept_ = false;
};

/// As git does: the shell takes it apart, so that it may have arguments, and Ctrl-C is the editor's alone.
bool run_editor(const std::string& editor, const std::string& path) {
    const std::string script = editor + " \"$1\"";
    struct sigaction ignore {};
    struct sigaction interrupt {};
    struct sigaction quit {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGINT, &ignore, &interrupt);
    ::sigaction(SIGQUIT, &ignore, &quit);
    const pid_t child = ::fork();
    if (child == 0) {
        ::sigaction(SIGINT, &interrupt, nullptr);
        ::sigaction(SIGQUIT, &quit, nullptr);
        ::execl("/bin/sh", "sh", "-c", script.c_str(), editor.c_str(), path.c_str(), nullptr);
        ::_exit(127);
    }
    int status = 0;
    pid_t ended = child;
    while (child > 0 && (ended = ::waitpid(child, &status, 0)) < 0 && errno == EINTR) continue;
    ::sigaction(SIGINT, &interrupt, nullptr);
    ::sigaction(SIGQUIT, &quit, nullptr);
    return ended > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string editor() {
    for (const char* name : {"VISUAL", "EDITOR"})
        if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
    return ::isatty(STDIN_FILENO) != 0 ? "vi" : "";
}

int edit_command(const Globals& globals, Client& client, JobId job) {
    const Result<JobInfo> info = client.show(job, globals.call_limit());
    if (!info) return complain_about(globals, job, info.error());
    if (info->type != kCommandType)
        return usage(globals,
                     "job " + std::to_string(job.value) + " is of type " + printable(info->type) +
                         ", and only commands are edited as text: say --payload FILE, or what else is to change");
    if (info->state != JobState::dead)
        return complain_about(
            globals, job,
            {Code::not_dead,
             std::string("it is ") + to_string(info->state) + ", and only jobs in the dead letter queue can be edited",
             0});
    if (info->array)
        return usage(globals,
                     "job " + std::to_string(job.value) + " is one of array " + std::to_string(info->array.value) +
                         ", whose jobs have one command: submit the one you want, and purge this; say what else is to "
                         "change");
    const Result<std::string> payload = client.payload(job, globals.call_limit());
    if (!payload) return complain_about(globals, job, payload.error());
    const Result<std::string> before = command_text(*payload);
    if (!before) return complain_about(globals, job, before.error());
    const std::string with = editor();
    if (with.empty())
        return usage(globals, "there is no terminal, and neither VISUAL nor EDITOR: say what is to change");
    Draft draft(*before);
    if (!draft.is_written())
        return wrong_usage(globals, "cannot write a file to edit; TMPDIR names the directory for it");
    if (!run_editor(with, draft.path()))
        return wrong_usage(globals, "the editor (" + with + ") failed; nothing was changed");
    const Result<std::string> after = read_all(draft.path());
    if (after && *after == *before) {
        complain("nothing was changed");
        return kExitOk;
    }
    Result<std::string> bytes = after ? command_payload_of(*after) : after.error();
    JobEdit edit;
    int exit = kExitUsage;
    if (bytes) {
        edit.payload = *std::move(bytes);
        exit = send(globals, client, {job}, edit);
    } else {
        wrong_usage(globals, bytes.error().text);
    }
    if (exit != kExitOk) {
        draft.keep();
        complain("what you wrote is kept in " + draft.path() + "; jobyard dead edit --command FILE takes it");
    }
    return exit;
}

int edit(const Globals& globals, const EditOptions& options) {
    JobEdit edit = edit_of(options);
    if (!options.payload.empty() && !options.command.empty())
        return usage(globals, "--payload and --command exclude each other");
    if (!options.payload.empty()) {
        Result<std::string> bytes = read_all(options.payload);
        if (!bytes) return usage(globals, bytes.error().text);
        edit.payload = *std::move(bytes);
    } else if (!options.command.empty()) {
        const Result<std::string> text = read_all(options.command);
        if (!text) return usage(globals, text.error().text);
        Result<std::string> bytes = command_payload_of(*text);
        if (!bytes) return usage(globals, bytes.error().text);
        edit.payload = *std::move(bytes);
    }
    const std::vector<JobId> jobs = job_ids(options.numbers);
    if (!says_something(edit) && jobs.size() > 1)
        return usage(globals, "an editor is for one job at a time: say what is to change of all of them");
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    if (!says_something(edit)) return edit_command(globals, *client, jobs.front());
    return send(globals, *client, jobs, edit);
}

}  // namespace

void add_dead_edit(CLI::App& dead, Globals& globals) {
    CLI::App* verb = dead.add_subcommand("edit", "Change dead jobs before a redrive");
    auto options = std::make_shared<EditOptions>();
    verb->add_option("ID", options->numbers, "Numbers of dead jobs")->required();
    verb->add_option("--payload", options->payload, "File with the new payload; - reads it here")->type_name("FILE");
    verb->add_option("--command", options->command, "File with the new command, as JSON; - reads it here")
        ->type_name("FILE");
    verb->add_option("--type", options->type, "Another type");
    verb->add_option("--queue", options->queue, "Another queue; a job with a key stays where it is");
    verb->add_option("--priority", options->priority, "1 to 10; 10 goes first")
        ->check(CLI::Range(kPriorityMin, kPriorityMax));
    verb->add_option("--max-attempts", options->max_attempts, "How often it may be tried in a round")
        ->check(CLI::Range(1U, kMaxAttemptsLimit));
    verb->add_option("--timeout", options->timeout, "Of one attempt; 0 for none")
        ->check(is_duration(std::chrono::milliseconds(kMaxTimeoutMs)));
    verb->add_option("--backoff-initial", options->backoff_initial, "Pause after the first error")
        ->check(is_duration(std::chrono::milliseconds(kMaxBackoffMs)));
    verb->add_option("--backoff-factor", options->backoff_factor, "Percent of the pause before (200: twice)")
        ->check(CLI::Range(100U, kMaxBackoffFactorPercent));
    verb->add_option("--backoff-max", options->backoff_max, "Longest pause")
        ->check(is_duration(std::chrono::milliseconds(kMaxBackoffMs)));
    verb->add_option("--backoff-jitter", options->backoff_jitter, "Percent that chance adds to a pause")
        ->check(CLI::Range(0U, 100U));
    verb->footer(
        "\nWhat is not said stays; so do number, attempts and error. With an ID alone $VISUAL or $EDITOR opens the\n"
        "command, as JSON: command, and where they are set env, cwd and stdin. `jobyard show --payload ID` prints the\n"
        "same, or the payload of any other job. The jobs of an array keep their payload, which is that of all of "
        "them.\n\n"
        "Examples:\n  jobyard dead edit 17\n  jobyard dead edit 17 18 --timeout 1h --max-attempts 8\n"
        "  jobyard show --payload 17 | sed s/a.png/b.png/ | jobyard dead edit 17 --command -\n"
        "  jobyard dead redrive 17\n"
        "\nExit codes: 0 ok; 2 wrong usage, or text that is no command; 3 no broker, or the time limit passed;\n"
        "4 refused (it is not dead), or no such job.");
    add_common(*verb, globals);
    verb->callback([&globals, options] { globals.action = [&globals, options] { return edit(globals, *options); }; });
}

}  // namespace jobyard::cli
