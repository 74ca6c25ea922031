// `jobyard store`: back up, restore, verify, dump, load and describe the store of a broker, by its files.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "backup.hpp"
#include "dump.hpp"
#include "info.hpp"
#include "program/generate.hpp"
#include "program/usage.hpp"
#include "verify.hpp"
#include "words.hpp"

namespace jobyard::store {
namespace {

enum Exit : int {
    kExitOk = 0,
    kExitFindings = 1,  ///< verify: something is wrong with the store
    kExitUsage = 2,
    kExitFailed = 3,  ///< it could not be done; nothing that was there was changed
};

constexpr const char* kExitCodes = "\nExit codes: 0 ok; 2 wrong usage; 3 it could not be done (the reason is told).";

using Json = nlohmann::ordered_json;

struct Options {
    std::string path;
    std::string to;
    bool json = false;
    std::function<int()> action;
};

void complain(const std::string& text) {
    std::fflush(stdout);
    std::fprintf(stderr, "jobyard store: %s\n", text.c_str());
}

void print_line(const std::string& text) { std::printf("%s\n", text.c_str()); }

/// Says what is wrong, with --json also as an object on standard output.
int fail(const Options& options, const Error& error) {
    if (options.json) print_line(Json{{"code", to_string(error.code)}, {"text", error.text}}.dump());
    complain(error.text);
    return kExitFailed;
}

/// One line on standard error that is drawn again and again; nothing if that is no terminal.
class Bar {
 public:
    explicit Bar(std::string what) : what_(std::move(what)) {}
    ~Bar() {
        if (drawn_) std::fputs("\r\033[K", stderr);
    }
    Bar(const Bar&) = delete;
    Bar& operator=(const Bar&) = delete;

    [[nodiscard]] Progress progress() {
        return [this](std::uint64_t done, std::uint64_t all) {
            const auto now = std::chrono::steady_clock::now();
            if (!is_terminal_ || now < next_) return;
            next_ = now + std::chrono::milliseconds(100);
            drawn_ = true;
            if (all == 0) std::fprintf(stderr, "\r\033[K%s: %lu", what_.c_str(), done);
            else std::fprintf(stderr, "\r\033[K%s: %lu%% of %lu rows", what_.c_str(), done * 100 / all, all);
        };
    }

 private:
    const std::string what_;
    const bool is_terminal_ = ::isatty(STDERR_FILENO) == 1;
    bool drawn_ = false;
    std::chrono::steady_clock::time_point next_;
};

int back_up_verb(const Options& options) {
    const auto copied = [&] {
        Bar bar("backing up");
        return back_up(options.path, options.to, bar.progress());
    }();
    if (!copied) return fail(options, copied.error());
    if (options.json)
        print_line(Json{{"backup", options.to},
                        {"store", to_hex(copied->store)},
                        {"rows", copied->rows},
                        {"bytes", copied->bytes},
                        {"last_batch", copied->last_batch}}
                       .dump());
    else
        print_line("backed up " + std::to_string(copied->rows) + " rows (" + bytes_text(copied->bytes) +
                   "), all that was acknowledged up to batch " + std::to_string(copied->last_batch) + ", to " +
                   options.to);
    return kExitOk;
}

int restore_verb(const Options& options) {
    const auto copied = [&] {
        Bar bar("restoring");
        return restore(options.path, options.to, bar.progress());
    }();
    if (!copied) return fail(options, copied.error());
    if (options.json) print_line(Json{{"data", options.to}, {"rows", copied->rows}, {"bytes", copied->bytes}}.dump());
    else
        print_line("restored " + std::to_string(copied->rows) + " rows (" + bytes_text(copied->bytes) + ") to " +
                   options.to + "; start it with: jobyard-broker --data " + options.to);
    return kExitOk;
}

int tell(const Options& options, const Verified& verified) {
    if (options.json) {
        Json told{{"path", options.path},     {"rows", verified.rows}, {"unended", verified.unended},
                  {"done", verified.done},    {"dead", verified.dead}, {"found", verified.found},
                  {"findings", Json::array()}};
        for (const Finding& finding : verified.findings)
            told["findings"].push_back(
                {{"kind", to_string(finding.kind)}, {"table", to_string(finding.table)}, {"text", finding.text}});
        print_line(told.dump());
    } else {
        for (const Finding& finding : verified.findings)
            print_line(std::string(to_string(finding.kind)) + "  " + to_string(finding.table) + "  " + finding.text);
        if (verified.found > verified.findings.size())
            print_line("and " + std::to_string(verified.found - verified.findings.size()) + " more like these");
        const std::string looked_at = std::to_string(verified.rows) + " rows, of " + std::to_string(verified.unended) +
                                      " unended, " + std::to_string(verified.done) + " done and " +
                                      std::to_string(verified.dead) + " dead jobs";
        print_line(verified.found == 0
                       ? "whole: " + looked_at
                       : "found " + std::to_string(verified.found) + " faults in " + looked_at +
                             ": keep a copy of the directory, and restore a backup (jobyard store restore)");
    }
    return verified.found == 0 ? kExitOk : kExitFindings;
}

/// Damage in LMDB's own pages, which have no checksum, may end whoever reads them. So another process does, and this
/// one can tell.
int verify_verb(const Options& options) {
    const pid_t reader = ::fork();
    if (reader < 0)
        return fail(options, {Code::internal, std::string("cannot start a process: ") + std::strerror(errno)});
    if (reader == 0) {
        const auto verified = [&] {
            Bar bar("verifying");
            return verify(options.path, bar.progress());
        }();
        const int exit = verified ? tell(options, *verified) : fail(options, verified.error());
        ::_exit(std::fflush(stdout) == 0 ? exit : kExitFailed);
    }
    int status = 0;
    while (::waitpid(reader, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    Verified verified;
    verified.found = 1;
    verified.findings.push_back(
        {Finding::Kind::damaged, Table::meta,
         std::string("the pages of data.mdb cannot be read: ") + ::strsignal(WTERMSIG(status))});
    return tell(options, verified);
}

int info_verb(const Options& options) {
    const auto text = options.json ? info_json(options.path) : info_text(options.path);
    if (!text) return fail(options, text.error());
    std::fputs(text->c_str(), stdout);
    return kExitOk;
}

int dump_verb(const Options& options) {
    std::ofstream file;
    if (!options.to.empty()) {
        const int fd = ::open(options.to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
            return fail(options, {Code::internal, "cannot make " + options.to + ": " + std::strerror(errno) +
                                                      "; name a file that is not there yet"});
        ::close(fd);
        file.open(options.to, std::ios::binary);
    }
    const auto lines = [&] {
        Bar bar("dumping");
        return dump(options.path, options.to.empty() ? std::cout : file, bar.progress());
    }();
    if (!lines) return fail(options, lines.error());
    return kExitOk;
}

int load_verb(const Options& options) {
    std::ifstream file;
    if (options.path != "-") {
        file.open(options.path, std::ios::binary);
        if (!file) return fail(options, {Code::internal, "cannot read " + options.path + ": " + std::strerror(errno)});
    }
    const auto lines = [&] {
        Bar bar("lines loaded");
        return load(options.path == "-" ? std::cin : file, options.to, bar.progress());
    }();
    if (!lines)
        return fail(options, {lines.error().code, options.path == "-" || lines.error().code != Code::bad_field
                                                      ? lines.error().text
                                                      : options.path + ", " + lines.error().text});
    print_line("loaded " + std::to_string(*lines) + " lines to " + options.to +
               "; start it with: jobyard-broker --data " + options.to);
    return kExitOk;
}

void add_verbs(CLI::App& app, Options& options) {
    const auto add = [&](const char* name, const char* what, int (*action)(const Options&)) {
        CLI::App* verb = app.add_subcommand(name, what);
        verb->callback([&options, action] { options.action = [&options, action] { return action(options); }; });
        return verb;
    };
    const auto json = [&options](CLI::App* verb) { verb->add_flag("--json", options.json, "Print JSON"); };

    CLI::App* backup = add("backup", "Copy a store as of this moment; its broker may go on", back_up_verb);
    backup->add_option("DIR", options.path, "Data directory of a broker, running or not")->required();
    backup->add_option("--to", options.to, "Directory of the backup; made, or empty")->required();
    json(backup);
    backup->footer(std::string("\nWhat was acknowledged before the command began is in the backup. As long as it is\n"
                               "being made, the store's file may grow.\n\n"
                               "Example:\n  jobyard store backup /var/lib/jobyard --to /backup/$(date +%F)\n") +
                   kExitCodes);

    CLI::App* again = add("restore", "Make a data directory of a backup", restore_verb);
    again->add_option("BACKUP", options.path, "What backup has made")->required();
    again->add_option("--to", options.to, "The new data directory; made, or empty")->required();
    json(again);
    again->footer(std::string("\nJobs keep their numbers; new ones begin 2^32 above those of the backup. Jobs that\n"
                              "ended after the backup run again; jobs made after it are gone.\n\n"
                              "Example:\n  jobyard store restore /backup/2026-11-21 --to /var/lib/jobyard\n") +
                  kExitCodes);

    CLI::App* check = add("verify", "Look for anything lost, doubled or orphaned", verify_verb);
    check->add_option("PATH", options.path, "Data directory of a broker, running or not, or a backup")->required();
    json(check);
    check->footer(
        "\nExit codes: 0 whole; 1 something was found; 2 wrong usage; 3 it cannot be read (the reason is told).");

    CLI::App* info = add("info", "Tell what a store is, and how large", info_verb);
    info->add_option("PATH", options.path, "Data directory of a broker, running or not, or a backup")->required();
    json(info);
    info->footer(kExitCodes);

    CLI::App* out = add("dump", "Write jobs and keys as JSON lines", dump_verb);
    out->add_option("PATH", options.path, "Data directory of a broker, running or not, or a backup")->required();
    out->add_option("--to", options.to, "A new file [standard output]");
    out->footer(
        std::string("\nExample:\n  jobyard store dump /var/lib/jobyard | jq -c 'select(.state == \"dead\")'\n") +
        kExitCodes);

    CLI::App* in = add("load", "Make a data directory of what dump has written", load_verb);
    in->add_option("FILE", options.path, "The dump; - for standard input")->required();
    in->add_option("--to", options.to, "The new data directory; made, or empty")->required();
    in->footer(kExitCodes);
}

int run(int argc, char** argv) {
    CLI::App app("Back up, restore, verify, dump, load and describe the store of a broker, by its files.");
    app.name("jobyard store");
    app.set_version_flag("--version", "jobyard-store " JOBYARD_VERSION);
    app.require_subcommand(1);
    app.footer(
        "\nAll of them read the files of the data directory themselves, so run them on the broker's machine and\n"
        "as its user. None changes a store that is there; whatever is made is made in a new directory.\n"
        "docs/BACKUP.md tells more; jobyard store VERB --help about each.");
    program::add_generate(app, 1, nullptr);
    Options options;
    add_verbs(app, options);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error) == 0 ? kExitOk : kExitUsage;
        complain(program::wrong_usage(app, error));
        return kExitUsage;
    }
    const int exit = options.action();
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit;
    complain(std::string("cannot write to standard output: ") + std::strerror(errno));
    return kExitFailed;
}

}  // namespace
}  // namespace jobyard::store

int main(int argc, char** argv) try { return jobyard::store::run(argc, argv); } catch (const std::exception& error) {
    jobyard::store::complain(error.what());
    return jobyard::store::kExitFailed;
}
