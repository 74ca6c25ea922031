// The `jobyard` command: submit jobs, wait for them, look at them, steer them. One file for each group of verbs.

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>

#include "program/generate.hpp"
#include "program/usage.hpp"
#include "verbs.hpp"

int main(int argc, char** argv) try {
    using namespace jobyard::cli;
    if (argc > 1 && std::strcmp(argv[1], "store") == 0) return run_store(argv + 1);
    CLI::App app("jobyard: submit jobs to a broker, wait for them, look at them, steer them");
    app.name("jobyard");
    app.require_subcommand(1);
    app.footer(
        "\nThe broker: --broker, else $JOBYARD_BROKER, else `broker` in the file of settings, else this user's own\n"
        "($XDG_RUNTIME_DIR/jobyard/broker) if it is there, else the machine's (/run/jobyard/broker) if this user may\n"
        "use it. Settings: --config, else $JOBYARD_CONFIG, else $XDG_CONFIG_HOME/jobyard/client.toml over\n"
        "/etc/jobyard/client.toml; jobyard config show.\n"
        "Colour and progress bars appear on a terminal only; NO_COLOR turns colour off.\n\n"
        "Exit codes: 0 ok; 1 a job did not complete; 2 wrong usage; 3 no broker, or the time limit passed; 4 refused.\n"
        "submit --wait exits as the command did.\n\n"
        "Examples:\n"
        "  jobyard submit -- gzip -k /data/a.log\n"
        "  jobyard submit --batch jobs.jsonl\n"
        "  jobyard wait 17\n"
        "  jobyard list --state running\n"
        "  jobyard VERB --help tells more about each.");
    Globals globals;
    Settings documented;
    const jobyard::program::Table table = table_of(documented);
    jobyard::program::add_generate(app, 1, &table);
    app.set_version_flag("--version", "jobyard " JOBYARD_VERSION);
    app.add_option("--broker", globals.broker, "Endpoint of the broker")->option_text("ENDPOINT");
    app.add_option("--server-key", globals.server_key, "The broker's public key, or its file")->option_text("KEY");
    app.add_option("--key-file", globals.key_file, "File of the secret key to come with")->option_text("FILE");
    app.add_option("--config", globals.config, "File of settings")->option_text("FILE");
    add_submit(app, globals);
    add_wait(app, globals);
    add_result(app, globals);
    add_show(app, globals);
    add_list(app, globals);
    add_cancel(app, globals);
    add_changes(app, globals);
    add_queue(app, globals);
    add_stats(app, globals);
    add_dead(app, globals);
    add_events(app, globals);
    add_worker(app, globals);
    add_watch(app, globals);
    add_task(app, globals);
    add_array(app, globals);
    add_config(app, globals);
    add_completion(app, globals);
    add_store(app);
    add_doctor(app, globals);
    add_keygen(app, globals);
    add_version(app, globals);
    jobyard::program::check_numbers(app);
    // The command's words are its own, whatever they look like.
    char** const end = argv + argc;
    char** const dashes = std::find_if(argv, end, [](const char* word) { return std::strcmp(word, "--") == 0; });
    if (dashes != end) globals.command.assign(dashes + 1, end);
    try {
        app.parse(static_cast<int>(dashes - argv), argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error) == 0 ? kExitOk : kExitUsage;  // --help and the like
        // How far it was read is not known, so the words are looked at.
        globals.json = std::any_of(argv, dashes, [](const char* word) { return std::strcmp(word, "--json") == 0; });
        return wrong_usage(globals, jobyard::program::wrong_usage(app, error));
    }
    if (dashes != end && !app.got_subcommand("submit"))
        return wrong_usage(globals, "only jobyard submit takes a command after --");
    if (globals.reads_settings)
        if (const auto read = read_settings(globals); !read) {
            return wrong_usage(globals, read.error().text);
        }
    const int exit = globals.action();
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
        complain(std::string("cannot write to standard output: ") + std::strerror(errno));
        return kExitUnreachable;
    }
    return exit;
} catch (const std::bad_alloc&) {
    std::fputs("jobyard: out of memory\n", stderr);
    return jobyard::cli::kExitUnreachable;
}
