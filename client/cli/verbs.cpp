#include "verbs.hpp"

#include <pwd.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "command_job.hpp"
#include "job_json.hpp"
#include "peer/endpoint.hpp"
#include "program/values.hpp"
#include "values.hpp"

namespace jobyard::cli {

std::chrono::milliseconds Globals::call_limit() const {
    return time_limit.empty() ? settings.time_limit : duration_of(time_limit);
}
std::chrono::milliseconds Globals::wait_limit() const {
    return time_limit.empty() ? kNoTimeLimit : duration_of(time_limit);
}

Client::Options Globals::client_options() const {
    return {.broker = broker, .submit_limit = call_limit(), .server_key = server_key, .key_file = key_file};
}

void add_broker(CLI::App& verb, Globals& globals) {
    verb.add_option("--broker", globals.broker,
                    "Endpoint of the broker [$JOBYARD_BROKER, else this user's own, else the machine's]");
    verb.add_option("--server-key", globals.server_key,
                    "The broker's public key, or its file, if it has one [$JOBYARD_SERVER_KEY]")
        ->option_text("KEY");
    verb.add_option("--key-file", globals.key_file, "File of the secret key to come with [$JOBYARD_KEY_FILE]")
        ->option_text("FILE");
}

void add_common(CLI::App& verb, Globals& globals) {
    add_broker(verb, globals);
    verb.add_flag("--json", globals.json, "Print JSON, one object a line");
    verb.add_option("--time-limit", globals.time_limit, "Give up after this long [30s; waiting for jobs: never]")
        ->check(is_duration(std::chrono::days(3650)));
    verb.add_option("--config", globals.config, "File of settings [$JOBYARD_CONFIG, else client.toml by custom]")
        ->option_text("FILE");
}

Result<void> read_settings(Globals& globals) {
    program::Table table = table_of(globals.settings);
    std::vector<std::string> notes;
    if (auto read = read_files_and_environment(table, globals.config, notes); !read) return read;
    for (const std::string& note : notes) complain(note);
    if (globals.broker.empty()) globals.broker = globals.settings.broker;
    if (globals.server_key.empty()) globals.server_key = globals.settings.server_key;
    if (globals.key_file.empty()) globals.key_file = globals.settings.key_file;
    return {};
}

CLI::Validator is_duration(std::chrono::milliseconds most) {
    return {[most](const std::string& given) -> std::string {
                const auto duration = parse_duration(given);
                if (duration && *duration <= most) return {};
                return "\"" + given + "\": expected " + kDurationForm + ", at most " + short_duration(most);
            },
            "DURATION"};
}

CLI::Validator is_time() {
    return {[](const std::string& given) -> std::string {
                return parse_time(given) ? "" : "\"" + given + "\": expected " + kTimeForm;
            },
            "TIME"};
}

CLI::Validator is_number(std::uint32_t least, std::uint32_t most) {
    return {[=](const std::string& given) -> std::string {
                const auto number = program::parse_count(given);
                if (number && *number >= least && *number <= most) return {};
                return "\"" + given + "\": expected a number from " + std::to_string(least) + " to " +
                       std::to_string(most);
            },
            "N"};
}

CLI::Validator or_word(const CLI::Validator& other, const std::string& word) {
    return {[=](const std::string& given) -> std::string {
                const std::string wrong = given == word ? "" : other(given);
                return wrong.empty() ? "" : wrong + ", or " + word;
            },
            other.get_description() + "|" + word};
}

void add_group_help(CLI::App& group, const std::string& examples) {
    group.require_subcommand(1);
    group.footer("\nExamples:\n" + examples + "  jobyard " + group.get_name() + " VERB --help tells more about each.");
}

std::string who() {
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
    const passwd* user = ::getpwuid(::geteuid());
    return (user != nullptr ? std::string(user->pw_name) : std::to_string(::geteuid())) + "@" + host.data();
}

std::chrono::milliseconds duration_of(const std::string& given) {
    return parse_duration(given).value_or(std::chrono::milliseconds(0));
}

std::unique_ptr<Client> connected_client(const Globals& globals) {
    auto client = std::make_unique<Client>(globals.client_options());
    const std::string endpoint = client_endpoint(globals.broker);
    const std::chrono::milliseconds at_first = std::min(globals.call_limit(), std::chrono::milliseconds(1'000));
    Result<void> connected = client->connect(at_first);
    if (connected) return client;
    // A permission comes with no waiting.
    if (connected.error().code == Code::timeout && at_first < globals.call_limit() && !is_closed_to_us(endpoint)) {
        Progress progress("waiting for the broker at " + endpoint);
        progress.show(-1, "…");
        connected = client->connect(globals.call_limit() - at_first);
    }
    if (connected) return client;
    Error error = connected.error();
    if (error.code == Code::timeout) {
        const std::string not_allowed = why_not_allowed(endpoint);
        error.text = "the broker at " + endpoint;
        if (not_allowed.empty())
            error.text += " could not be reached within " + short_duration(globals.call_limit()) +
                          "; start jobyard-broker, or name its endpoint with --broker or JOBYARD_BROKER";
        else error.text += " could not be reached: " + not_allowed;
    }
    complain(globals, error);
    return nullptr;
}

void complain(const std::string& text) {
    std::fflush(stdout);
    std::fprintf(stderr, "jobyard: %s\n", printable(text).c_str());
}

int complain(const Error& error) {
    complain(error.text);
    const bool unreachable = error.code == Code::timeout || error.code == Code::closed ||
                             error.code == Code::internal || error.code == Code::version_not_spoken;
    return unreachable ? kExitUnreachable : kExitRefused;
}

int complain(const Globals& globals, const Error& error) {
    if (globals.json) print_line(error_json(to_string(error.code), error.text));
    return complain(error);
}

int complain_about(JobId job, const Error& error) {
    Error about = error;
    about.text = "job " + std::to_string(job.value) + ": " + error.text;
    return complain(about);
}

int complain_about(const Globals& globals, JobId job, const Error& error) {
    if (globals.json) print_line(answer_json(job, error.code, error.text));
    return complain_about(job, error);
}

int wrong_usage(const Globals& globals, const std::string& text) {
    if (globals.json) print_line(error_json("usage", text));
    complain(text);
    return kExitUsage;
}

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }
void print_line(const std::string& text) {
    print(text);
    std::fputc('\n', stdout);
}

std::vector<JobId> job_ids(const std::vector<std::uint64_t>& numbers) {
    std::vector<JobId> jobs;
    for (const std::uint64_t number : numbers) jobs.push_back({number});
    return jobs;
}

int report_end(const Globals& globals, JobId job, const Result<JobResult>& result) {
    if (!result) {
        if (globals.json) print_line(answer_json(job, result.error().code, result.error().text));
        return complain_about(job, result.error());
    }
    if (globals.json) {
        print_line(result_json(*result, false));
    } else {
        std::string text = std::to_string(job.value) + "  " +
                           painted(Terminal::of(stdout), colour_of(result->state), to_string(result->state));
        if (result->reason != Reason::none) text += std::string("  ") + to_string(result->reason);
        if (!result->error.empty()) text += "  " + printable(result->error);
        print_line(text);
    }
    return result->completed() ? kExitOk : kExitNotCompleted;
}

int report_result(const Globals& globals, const JobResult& result, bool is_command, bool pass_status) {
    const int exit = result.completed() ? kExitOk : kExitNotCompleted;
    const std::optional<CommandResult> command =
        is_command ? decode_command_result(result.bytes) : std::optional<CommandResult>();
    if (globals.json) {
        print_line(result_json(result, true));
    } else if (command) {
        print(command->output);
        std::fflush(stdout);
        std::fwrite(command->errors.data(), 1, command->errors.size(), stderr);
        if (command->truncated)
            complain("only the first " + std::to_string(command->output.size()) + " of " +
                     std::to_string(command->output_bytes) + " bytes of standard output were kept");
    } else {
        print(result.bytes);
    }
    // A command's status that is passed on tells all, but for a command that never ran, or did not end by itself.
    const bool by_itself = command && result.error == "exit status " + std::to_string(command->exit_status);
    const bool told = globals.json || (by_itself && pass_status);
    if (!result.completed() && !told) {
        std::string text = "job " + std::to_string(result.job.value) + " is " + to_string(result.state);
        if (result.reason != Reason::none) text += std::string(" (") + to_string(result.reason) + ")";
        if (!result.error.empty()) text += ": " + result.error;
        complain(text);
    }
    return pass_status && command && !(exit != kExitOk && command->exit_status == 0) ? command->exit_status : exit;
}

}  // namespace jobyard::cli
