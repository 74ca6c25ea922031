#include "peer/endpoint.hpp"

#include <arpa/inet.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

namespace jobyard {
namespace {

constexpr std::string_view kIpc = "ipc://";
constexpr std::string_view kTcp = "tcp://";

std::string default_directory() {
    const char* runtime = std::getenv("XDG_RUNTIME_DIR");
    if (runtime != nullptr && *runtime != '\0') return std::string(runtime) + "/jobyard";
    return "/tmp/jobyard-" + std::to_string(getuid());
}

bool is_closed(const std::string& path, int mode) { return access(path.c_str(), mode) != 0 && errno == EACCES; }

/// What somebody has asked for; empty if nobody has.
std::string named_endpoint(std::string given) {
    if (!given.empty()) return given;
    const char* configured = std::getenv("JOBYARD_BROKER");
    return configured == nullptr ? "" : configured;
}

}  // namespace

std::string broker_endpoint(std::string given) {
    std::string named = named_endpoint(std::move(given));
    return named.empty() ? std::string(kIpc) + default_directory() + "/broker" : named;
}

std::string client_endpoint(std::string given, const std::string& machine_directory) {
    std::string named = named_endpoint(std::move(given));
    if (!named.empty()) return named;
    const bool has_own = access((default_directory() + "/broker").c_str(), F_OK) == 0;
    // The directory and not the socket, which is away while that broker starts again.
    if (!has_own && access(machine_directory.c_str(), X_OK) == 0)
        return std::string(kIpc) + machine_directory + "/broker";
    return broker_endpoint({});
}

bool is_closed_to_us(const std::string& endpoint) {
    return endpoint.starts_with(kIpc) && is_closed(endpoint.substr(kIpc.size()), R_OK | W_OK);
}

std::string why_not_allowed(const std::string& endpoint, const std::string& machine_directory) {
    if (is_closed_to_us(endpoint))
        return "permission denied: only its user and, with jobyard-broker --group, members of a group may use it; who "
               "has become one may from the next login on";
    if (endpoint != broker_endpoint({}) || !is_closed(machine_directory, X_OK)) return {};
    struct stat found {};
    const ::group* group = stat(machine_directory.c_str(), &found) == 0 ? getgrgid(found.st_gid) : nullptr;
    return "there is a broker for this machine at " + machine_directory + ", which only members of " +
           (group == nullptr ? "its group" : std::string("the group ") + group->gr_name) +
           " may use: adduser USER GROUP lets one in, from the next login on";
}

Result<void> check_address(const std::string& endpoint) {
    if (endpoint.starts_with(kIpc) && endpoint.size() > kIpc.size()) return {};
    if (endpoint.starts_with(kTcp)) {
        const std::size_t colon = endpoint.rfind(':');
        const std::string_view text = std::string_view(endpoint).substr(colon + 1);
        unsigned port = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
        const bool is_port = error == std::errc{} && end == text.data() + text.size() && port >= 1 && port <= 65535;
        if (is_port && colon > kTcp.size()) return {};
    }
    return Error{Code::bad_field, '"' + endpoint + "\" is not the endpoint of a broker: expected ipc://PATH or " +
                                      "tcp://HOST:PORT, such as tcp://127.0.0.1:7466"};
}

bool is_loopback(const std::string& endpoint) {
    if (endpoint.starts_with(kIpc)) return true;
    if (!endpoint.starts_with(kTcp)) return false;
    std::string host = endpoint.substr(kTcp.size());
    host.resize(std::min(host.size(), host.rfind(':')));
    if (host == "localhost" || host == "[::1]") return true;
    in_addr address;
    return ::inet_pton(AF_INET, host.c_str(), &address) == 1 && ntohl(address.s_addr) >> 24U == 127;
}

int send_buffer_bytes(const std::string& endpoint) {
    constexpr int kInsideMachine = 512 << 10;
    return endpoint.starts_with(kTcp) && is_loopback(endpoint) ? kInsideMachine : -1;
}

Result<void> check_endpoint(const std::string& endpoint) {
    const std::string directory = default_directory();
    if (!endpoint.starts_with(std::string(kIpc) + directory + "/")) return {};
    if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
        return Error{Code::internal, "cannot make " + directory + ": " + std::strerror(errno)};
    struct stat found {};
    // lstat: a link would be somebody's way to put another directory in the place of ours.
    if (lstat(directory.c_str(), &found) != 0)
        return Error{Code::internal, "cannot look at " + directory + ": " + std::strerror(errno)};
    if (!S_ISDIR(found.st_mode)) return Error{Code::internal, directory + " is not a directory; remove it"};
    if (found.st_uid != getuid())
        return Error{Code::internal, directory + " belongs to user " + std::to_string(found.st_uid) +
                                         ", who could be listening there; name another endpoint"};
    if ((found.st_mode & 077U) != 0)
        return Error{Code::internal, directory + " is open to other users; run: chmod 700 " + directory};
    return {};
}

}  // namespace jobyard
