// The `jobyard` command: submit jobs, wait for them, look at them, steer them. One file for each group of verbs.

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>

#include "jobyard/limits.hpp"
#include "verbs.hpp"

namespace {

void add_version(CLI::App& app, jobyard::cli::Globals& globals) {
    CLI::App* verb = app.add_subcommand("version", "Print the version");
    verb->add_flag("--json", globals.json, "Print JSON");
    verb->callback([&globals] {
        globals.action = [&globals] {
            const std::string protocol = std::to_string(jobyard::kProtocolVersion);
            jobyard::cli::print_line(globals.json
                                         ? "{\"version\":\"" JOBYARD_VERSION "\",\"protocol\":" + protocol + "}"
                                         : "jobyard " JOBYARD_VERSION ", protocol " + protocol);
            return jobyard::cli::kExitOk;
        };
    });
}

}  // namespace

int main(int argc, char** argv) try {
    using namespace jobyard::cli;
    CLI::App app("jobyard: submit jobs to a broker, wait for them, look at them, steer them");
    app.name("jobyard");
    app.require_subcommand(1);
    app.footer(
        "\nThe broker: --broker, else $JOBYARD_BROKER, else this user's own ($XDG_RUNTIME_DIR/jobyard/broker) if it "
        "is\n"
        "there, else the machine's (/run/jobyard/broker) if this user may use it.\n"
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
    app.add_option("--broker", globals.broker, "Endpoint of the broker");
    add_submit(app, globals);
    add_wait(app, globals);
    add_result(app, globals);
    add_show(app, globals);
    add_list(app, globals);
    add_cancel(app, globals);
    add_stats(app, globals);
    add_dead(app, globals);
    add_version(app, globals);
    // The command's words are its own, whatever they look like.
    char** const end = argv + argc;
    char** const dashes = std::find_if(argv, end, [](const char* word) { return std::strcmp(word, "--") == 0; });
    if (dashes != end) globals.command.assign(dashes + 1, end);
    try {
        app.parse(static_cast<int>(dashes - argv), argv);
        if (dashes != end && !app.got_subcommand("submit")) throw CLI::ExtrasError(globals.command);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? kExitOk : kExitUsage;
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
