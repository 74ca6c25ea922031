#pragma once
// What all verbs share: the options every one has, a connected client, how errors are told, and the exit codes. Each
// add_… function adds its verb with its help; the verb chosen on the command line puts itself into Globals::action.

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jobyard/client.hpp"
#include "settings.hpp"
#include "terminal.hpp"

namespace jobyard::cli {

enum Exit : int {
    kExitOk = 0,
    kExitNotCompleted = 1,  ///< a job that was waited for is dead, cancelled or not at its end
    kExitUsage = 2,
    kExitUnreachable = 3,  ///< no broker, or a time limit passed
    kExitRefused = 4,      ///< the broker will not do it
};

struct Globals {
    std::string config;      ///< the file of settings; empty: where they are by custom
    std::string broker;      ///< as given; once settings are read, as they say
    std::string server_key;  ///< likewise
    std::string key_file;    ///< likewise
    bool json = false;
    std::vector<std::string> command;  ///< what stands after --
    std::string time_limit;            ///< as given; empty: each verb's own
    Settings settings;
    bool reads_settings = true;  ///< a verb that works though they are wrong says no
    std::function<int()> action;

    /// For calls that are answered at once.
    [[nodiscard]] std::chrono::milliseconds call_limit() const;
    /// Where the broker is, and the keys.
    [[nodiscard]] Client::Options client_options() const;
    /// For waiting for jobs.
    [[nodiscard]] std::chrono::milliseconds wait_limit() const;
};

void add_submit(CLI::App& app, Globals& globals);
void add_wait(CLI::App& app, Globals& globals);
void add_result(CLI::App& app, Globals& globals);
void add_show(CLI::App& app, Globals& globals);
void add_list(CLI::App& app, Globals& globals);
void add_stats(CLI::App& app, Globals& globals);
void add_cancel(CLI::App& app, Globals& globals);
void add_changes(CLI::App& app, Globals& globals);
void add_queue(CLI::App& app, Globals& globals);
void add_task(CLI::App& app, Globals& globals);
void add_array(CLI::App& app, Globals& globals);
void add_dead(CLI::App& app, Globals& globals);
void add_events(CLI::App& app, Globals& globals);
void add_worker(CLI::App& app, Globals& globals);
void add_watch(CLI::App& app, Globals& globals);
void add_config(CLI::App& app, Globals& globals);
void add_completion(CLI::App& app, Globals& globals);
void add_version(CLI::App& app, Globals& globals);
void add_store(CLI::App& app);
void add_doctor(CLI::App& app, Globals& globals);
void add_keygen(CLI::App& app, Globals& globals);

/// Becomes jobyard-store, whose words are its own; argv[0] is "store". Comes back only if there is none.
int run_store(char** argv);
/// A program that stands beside this one, or its name if it must be looked for in PATH.
std::string sibling_program(const std::string& name);

/// File and environment under what was given on the command line.
Result<void> read_settings(Globals& globals);

/// --broker, --server-key, --key-file.
void add_broker(CLI::App& verb, Globals& globals);
/// The same, --json, --time-limit, --config.
void add_common(CLI::App& verb, Globals& globals);
/// Refuses what is none, with what was expected.
CLI::Validator is_duration(std::chrono::milliseconds most);
std::chrono::milliseconds duration_of(const std::string& given);
CLI::Validator is_time();
CLI::Validator is_number(std::uint32_t least, std::uint32_t most);
/// What the other takes, or this word.
CLI::Validator or_word(const CLI::Validator& other, const std::string& word);
/// The help of a verb that has verbs of its own.
void add_group_help(CLI::App& group, const std::string& examples);
/// Who does this: "user@host", for records that people read.
std::string who();

/// A client with a session. If there is none it says why; exit with kExitUnreachable then.
std::unique_ptr<Client> connected_client(const Globals& globals);

/// "jobyard: TEXT" on standard error.
void complain(const std::string& text);
/// Says what is wrong, with --json also as an object on standard output, and gives the exit code for it.
int complain(const Globals& globals, const Error& error);
int complain_about(const Globals& globals, JobId job, const Error& error);
/// For those who have printed the object themselves.
int complain(const Error& error);
int complain_about(JobId job, const Error& error);
/// The same for a command line that makes no sense.
int wrong_usage(const Globals& globals, const std::string& text);

void print(const std::string& text);
void print_line(const std::string& text);

std::vector<JobId> job_ids(const std::vector<std::uint64_t>& numbers);

/// Prints how a job ended, as `jobyard wait` does, and gives its exit code.
int report_end(const Globals& globals, JobId job, const Result<JobResult>& result);
/// Prints the result itself; of a command its standard output and error. With `pass_status` the exit code is the
/// command's.
int report_result(const Globals& globals, const JobResult& result, bool is_command, bool pass_status);

}  // namespace jobyard::cli
