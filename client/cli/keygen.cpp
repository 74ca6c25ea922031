// `jobyard keygen`: a pair of keys in two files, and the lines that let its owner in.

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "peer/keys.hpp"
#include "verbs.hpp"

namespace jobyard::cli {
namespace {

struct KeygenOptions {
    std::string name;
    std::string directory = ".";
    bool force = false;
};

int keygen(const Globals& globals, const KeygenOptions& options) {
    const std::string& name = options.name;
    if (name.find_first_of("/\"\\\n") != std::string::npos || name.starts_with('.'))
        return wrong_usage(globals, "\"" + name + "\" is no name for a file; --output says in which directory it is");
    const auto pair = make_key_pair();
    if (!pair) return complain(globals, pair.error());
    const auto written = write_key_files(options.directory, name, *pair, options.force);
    if (!written) return complain(globals, written.error());
    const std::string public_file = options.directory + "/" + name;
    if (globals.json) {
        print_line(nlohmann::ordered_json{{"name", name},
                                          {"public_key", pair->public_key},
                                          {"public_file", public_file},
                                          {"secret_file", secret_file_of(public_file)}}
                       .dump());
        return kExitOk;
    }
    print_line("public key   " + pair->public_key);
    print_line("in           " + public_file + "   (may be given to anybody)");
    print_line("secret key   in " + secret_file_of(public_file) +
               "   (keep it where it is used, readable by its owner)");
    print_line("");
    print_line("For a client or a worker, in the broker's access file:");
    print_line("");
    print_line(
        "[keys." +
        (name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == std::string::npos
             ? name
             : "\"" + name + "\"") +
        "]");
    print_line("public_key = \"" + pair->public_key + "\"");
    print_line("roles = [\"submit\"]    # submit, work, observe, operate, admin");
    print_line("queues = [\"*\"]");
    return kExitOk;
}

}  // namespace

void add_keygen(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("keygen", "Make a pair of keys, for a broker or for who connects to it");
    auto options = std::make_shared<KeygenOptions>();
    verb->add_option("NAME", options->name, "Whose they are; names the files NAME and NAME_secret")->required();
    verb->add_option("--output", options->directory, "Directory to write them to [.]")->option_text("DIR");
    verb->add_flag("--force", options->force, "Replace files that are there: whoever uses the old key is locked out");
    verb->add_flag("--json", globals.json, "Print JSON, one object a line");
    verb->footer(
        "\nThe files are those of czmq (zcert); the secret one is for its owner alone (mode 0600).\n"
        "The broker needs its own pair and an access file: jobyard-broker --key-file broker_secret --access-file "
        "FILE.\n"
        "Who connects needs the broker's public key and a pair of its own: --server-key broker --key-file "
        "NAME_secret.\n\n"
        "Exit codes: 0 ok; 2 wrong usage; 3 the files cannot be written; 4 they are there already.\n\n"
        "Examples:\n  jobyard keygen broker --output /etc/jobyard\n  jobyard keygen web-1");
    verb->callback([&globals, options] {
        globals.reads_settings = false;
        globals.action = [&globals, options] { return keygen(globals, *options); };
    });
}

}  // namespace jobyard::cli
