// `jobyard config`, `jobyard completion` and `jobyard version`: about the programs themselves rather than about jobs.

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "broker/config.hpp"
#include "job_json.hpp"
#include "jobyard/codec.hpp"
#include "jobyard/limits.hpp"
#include "peer/endpoint.hpp"
#include "program/completion.hpp"
#include "program/toml_file.hpp"
#include "program/values.hpp"
#include "verbs.hpp"
#include "worker/config.hpp"

namespace jobyard::cli {
namespace {

/// One program's settings with their table, and the check of them all together.
template <class Config>
struct Settable {
    Config config;
    program::Table table = table_of_config(config);
    static program::Table table_of_config(Config& config) { return settings(config); }
    [[nodiscard]] Result<void> check_all() const { return check(config); }
};
template <>
struct Settable<Settings> {
    Settings config;
    program::Table table = table_of(config);
    [[nodiscard]] static Result<void> check_all() { return {}; }
};

constexpr const char* kRoles[] = {"client", "broker", "worker"};

/// Calls `use` with the settings of the program in that role.
template <class Use>
auto with_role(const std::string& role, Use use) {
    if (role == "broker") {
        Settable<broker::Config> settable;
        return use(settable);
    }
    if (role == "worker") {
        Settable<worker::Config> settable;
        return use(settable);
    }
    Settable<Settings> settable;
    return use(settable);
}

struct ConfigOptions {
    std::string role;  ///< empty: not given
    std::string file;
};

int show_config(const Globals& globals, const ConfigOptions& options) {
    return with_role(options.role.empty() ? "client" : options.role, [&](auto& settable) -> int {
        std::vector<std::string> notes;
        if (const auto read = read_files_and_environment(settable.table, globals.config, notes); !read) {
            complain(read.error().text);
            return kExitUsage;
        }
        for (const std::string& note : notes) complain(note);
        if (!globals.json) {
            print(program::effective(settable.table));
            return kExitOk;
        }
        for (const program::Setting& setting : settable.table.settings)
            print_line(nlohmann::ordered_json{
                {"key", setting.key}, {"value", program::value_text(setting)}, {"from", setting.from}}
                           .dump());
        return kExitOk;
    });
}

/// Reads it as the program would, without the environment and flags of a certain start.
Result<std::string> check_file(const std::string& role, const std::string& file) {
    return with_role(role, [&](auto& settable) -> Result<std::string> {
        if (const auto read = program::read_toml_file(settable.table, file); !read) return read.error();
        if (const auto checked = settable.check_all(); !checked)
            return Error{Code::bad_field, file + ": " + checked.error().text};
        const auto set = std::ranges::count_if(
            settable.table.settings, [](const program::Setting& setting) { return setting.from != "default"; });
        return file + ": fine, sets " + std::to_string(set) + " of " + std::to_string(settable.table.settings.size()) +
               " settings of " + settable.table.program;
    });
}

/// Which program a file is for, by its name: "broker.toml", "jobyard-worker-2.toml".
std::string role_of(const std::string& file) {
    const std::string name = std::filesystem::path(file).filename();
    for (const char* role : kRoles)
        if (name.find(role) != std::string::npos) return role;
    return "";
}

int check_config(const ConfigOptions& options) {
    std::vector<std::pair<std::string, std::string>> files;  // role, path
    if (!options.file.empty()) {
        const std::string role = options.role.empty() ? role_of(options.file) : options.role;
        if (role.empty()) {
            complain("which program is " + options.file + " for? Say --for broker, --for worker or --for client");
            return kExitUsage;
        }
        files.emplace_back(role, options.file);
    } else {
        for (const char* role : kRoles) {
            if (!options.role.empty() && options.role != role) continue;
            with_role(role, [&](const auto& settable) {
                for (const std::string& written : settable.table.files) {
                    const std::string file = program::expanded(written);
                    if (std::filesystem::exists(file)) files.emplace_back(role, file);
                    else print_line(file + ": there is none");
                }
            });
        }
    }
    int exit = kExitOk;
    for (const auto& [role, file] : files) {
        const Result<std::string> checked = check_file(role, file);
        if (checked) {
            print_line(*checked);
            continue;
        }
        complain(checked.error().text);
        exit = kExitUsage;
    }
    return exit;
}

int print_version(const Globals& globals, bool client_only) {
    using nlohmann::ordered_json;
    constexpr std::chrono::milliseconds kMoment{1'000};
    const std::chrono::milliseconds limit = globals.time_limit.empty() ? kMoment : duration_of(globals.time_limit);
    ordered_json versions{
        {"version", JOBYARD_VERSION}, {"protocol", kProtocolVersion}, {"protocol_minor", protocol_minor()}};
    std::string text = "jobyard " JOBYARD_VERSION ", protocol " + protocol_text(kProtocolVersion, protocol_minor());
    if (!client_only) {
        const std::string endpoint = broker_endpoint(globals.broker);
        Client client(globals.client_options());
        const Result<void> connected = client.connect(limit);
        const Result<BrokerStats> stats = connected ? client.stats(limit) : connected.error();
        ordered_json broker;
        if (stats) {
            const auto map = nlohmann::json::from_msgpack(stats->map, true, false);
            const auto told =
                map.is_object() ? map.value("broker", nlohmann::json::object()) : nlohmann::json::object();
            const unsigned version = told.value("protocol", unsigned{kProtocolVersion});
            const unsigned minor = told.value("protocol_minor", 0U);  // before 1.1 it was not told
            broker = {{"version", told.value("version", "unknown")},
                      {"protocol", version},
                      {"protocol_minor", minor},
                      {"endpoint", endpoint}};
            text += "\njobyard-broker " + broker["version"].get<std::string>() + ", protocol " +
                    protocol_text(version, minor) + ", at " + endpoint;
        } else if (stats.error().code == Code::timeout) {
            text += "\nno broker answers at " + endpoint;
        } else {
            text += "\nno broker: " + stats.error().text;
        }
        versions["broker"] = std::move(broker);
    }
    print_line(globals.json ? versions.dump() : text);
    return kExitOk;
}

}  // namespace

void add_config(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("config", "Check and show the settings of the programs");
    add_group_help(*verb, "  jobyard config check\n  jobyard config show --for worker\n");
    auto options = std::make_shared<ConfigOptions>();
    const auto add_role = [&options](CLI::App* to, const std::string& text) {
        to->add_option("--for", options->role, text)->check(CLI::IsMember({"broker", "worker", "client"}));
    };

    CLI::App* check = verb->add_subcommand("check", "Say whether configuration files are right");
    check->add_option("FILE", options->file, "A file to check; without it, all that are where they are by custom")
        ->type_name("FILE");
    add_role(check, "Whose file it is [by its name: broker.toml, worker.toml, client.toml]");
    check->footer(
        "\nA file is checked alone, without environment and flags; jobyard-broker --check and jobyard-worker --check\n"
        "check a start with all of them.\n\n"
        "Examples:\n  jobyard config check\n  jobyard config check --for broker new.toml\n\n"
        "Exit codes: 0 all are right; 2 one is not, and it is said why.");
    check->callback([&globals, options] {
        globals.reads_settings = false;
        globals.action = [options] { return check_config(*options); };
    });

    CLI::App* show = verb->add_subcommand("show", "Show what is in force here, and where each setting is from");
    add_role(show, "Whose settings [client]");
    show->add_option("--config", globals.config, "File of settings instead of those by custom")->option_text("FILE");
    show->add_flag("--json", globals.json, "Print JSON, one object a line");
    show->footer(
        "\nThat is what a program started in this shell without flags would take from files and environment.\n\n"
        "Example:\n  jobyard config show --for worker\n\n"
        "Exit codes: 0 ok; 2 a source is wrong, and it is said why.");
    show->callback([&globals, options] {
        globals.reads_settings = false;
        globals.action = [&globals, options] { return show_config(globals, *options); };
    });
}

void add_completion(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("completion", "Print a completion script for a shell");
    auto shell = std::make_shared<std::string>();
    verb->add_option("SHELL", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
    verb->footer(
        "\nExamples:\n"
        "  source <(jobyard completion bash)                                          # this shell\n"
        "  jobyard completion bash > ~/.local/share/bash-completion/completions/jobyard\n"
        "  jobyard completion zsh > ~/.zfunc/_jobyard                                 # a directory in $fpath\n"
        "  jobyard completion fish > ~/.config/fish/completions/jobyard.fish");
    verb->callback([&app, &globals, shell] {
        globals.reads_settings = false;
        globals.action = [&app, shell]() -> int {
            using program::Shell;
            const Shell which = *shell == "bash" ? Shell::bash : *shell == "zsh" ? Shell::zsh : Shell::fish;
            print(program::completion_script(app, which));
            return kExitOk;
        };
    });
}

void add_version(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("version", "Print the version, and the broker's if one answers");
    auto client_only = std::make_shared<bool>(false);
    verb->add_flag("--client", *client_only, "Only this program's; asks nobody");
    add_common(*verb, globals);
    verb->footer("\nWithout --time-limit a broker has one second to answer.\n\nExit codes: 0 ok; 2 wrong usage.");
    verb->callback([&globals, client_only] {
        globals.reads_settings = !*client_only;
        globals.action = [&globals, client_only] { return print_version(globals, *client_only); };
    });
}

}  // namespace jobyard::cli
