// `jobyard store`: a program of its own, jobyard-store, because it needs LMDB and a broker's rows, and this one only a
// connection.

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "verbs.hpp"

namespace jobyard::cli {

std::string sibling_program(const std::string& name) {
    std::string path(4096, '\0');
    const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size());
    if (length <= 0) return name;
    path.resize(static_cast<std::size_t>(length));
    path.replace(path.rfind('/') + 1, std::string::npos, name);
    return ::access(path.c_str(), X_OK) == 0 ? path : name;
}

void add_store(CLI::App& app) {
    app.add_subcommand("store", "Back up, restore, verify, dump, load or describe the store of a broker");
}

int run_store(char** argv) {
    const std::string program = sibling_program("jobyard-store");
    ::execvp(program.c_str(), argv);
    complain("cannot run " + program + ": " + std::strerror(errno) +
             "; it comes with the broker: run this on the broker's machine");
    return kExitUnreachable;
}

}  // namespace jobyard::cli
