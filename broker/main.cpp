// Wiring: configuration, log, directory, store, socket, server; and the exit code for each way this can end.

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <string>

#include <spdlog/spdlog.h>

#include "commit_log.hpp"
#include "config.hpp"
#include "data_directory.hpp"
#include "program/log.hpp"
#include "recovery.hpp"
#include "server.hpp"
#include "service/notifier.hpp"
#include "socket.hpp"
#include "store.hpp"

namespace jobyard::broker {
namespace {

std::int64_t wall_now() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

int fail(Exit exit, const Error& error) {
    spdlog::critical("{}", error.text);
    return static_cast<int>(exit);
}

program::LogOptions log_options(const Config& config) {
    return {.name = "broker",
            .pattern = "%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v",
            .level = config.log_level,
            .file = config.log_file};
}

struct Opened {
    std::unique_ptr<Store> store;
    std::unique_ptr<CommitLog> log;
    Recovered recovered;
};

Result<Opened> open_store(const Config& config, const DataDirectory& directory) {
    auto store = Store::open({directory.store_path(), config.map_bytes});
    if (!store) return store.error();
    auto log = CommitLog::open(directory.store_path());
    if (!log) return log.error();
    CoreConfig core;
    core.limits = config.limits;
    core.timing = config.timing;
    core.software = "jobyard-broker/" JOBYARD_VERSION;
    auto recovered = recover(**store, **log, core, {0, wall_now(), 0});
    if (!recovered) return recovered.error();
    return Opened{*std::move(store), *std::move(log), *std::move(recovered)};
}

/// A store that lacks only space gets the ballast's, and goes on with submits and dispatch refused until there is more.
Result<Opened> open_store_or_make_room(const Config& config, DataDirectory& directory) {
    auto opened = open_store(config, directory);
    if (opened || opened.error().code != Code::disk_full || !directory.drop_ballast()) return opened;
    spdlog::warn("the disk is full: the ballast file was removed to be able to start");
    return open_store(config, directory);
}

void tell_ready(const Config& config, const Socket& socket, const service::Notifier& manager) {
    std::string listening = "listening on";
    for (const std::string& endpoint : socket.endpoints()) {
        spdlog::info("listening on {}", endpoint);
        listening += ' ' + endpoint;
    }
    manager.ready(listening);
    if (config.ready_fd < 0) return;
    std::string text = "READY\n";
    for (const std::string& endpoint : socket.endpoints()) text += endpoint + "\n";
    if (::write(config.ready_fd, text.data(), text.size()) < 0)
        spdlog::warn("--ready-fd {} cannot be written", config.ready_fd);
    ::close(config.ready_fd);
}

std::vector<Endpoint> endpoints_of(const Config& config) {
    std::vector<Endpoint> endpoints;
    for (const Config::Listen& listen : config.endpoints) endpoints.emplace_back(listen.address, listen.key);
    return endpoints;
}

/// What SIGHUP asks for. The log says what came of it.
class Reload {
 public:
    Reload(Config& running, int argc, const char* const* argv) : running_(running), argc_(argc), argv_(argv) {}
    std::optional<Server::Settings> operator()() {
        const auto changes = reread(running_, argc_, argv_);
        if (!changes) {
            spdlog::error("nothing is reloaded: {}", changes.error().text);
            return std::nullopt;
        }
        if (const auto opened = program::reopen_log(log_options(running_)); !opened)
            spdlog::error("{}; it goes on where it was", opened.error().text);
        program::log_changes(*changes, running_.log_level);
        return Server::Settings{running_.limits, endpoints_of(running_), running_.group, running_.access};
    }

 private:
    Config& running_;
    const int argc_;
    const char* const* const argv_;
};

int run(Config& config, int argc, const char* const* argv) {
    service::Notifier manager = service::Notifier::from_environment();
    // Every thread made from here on inherits the mask: signals are read where the loop waits.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    ::signal(SIGPIPE, SIG_IGN);

    if (const auto opened = program::open_log(log_options(config)); !opened) {
        std::fprintf(stderr, "jobyard-broker: %s\n", opened.error().text.c_str());
        return static_cast<int>(Exit::unexpected);
    }
    for (const std::string& note : config.notes) spdlog::warn("{}", note);
    auto directory = DataDirectory::open(config.data);
    if (!directory)
        return fail(directory.error().code == Code::busy ? Exit::in_use : Exit::data_directory, directory.error());
    if (const std::string warning = (*directory)->warning(); !warning.empty()) spdlog::warn("{}", warning);
    const auto opened = open_store_or_make_room(config, **directory);
    if (!opened) return fail(Exit::data_directory, opened.error());
    std::shared_ptr<SharedAccess> access;
    IsKnownKey is_known;
    if (config.access) {
        access = std::make_shared<SharedAccess>();
        access->set(config.access);
        is_known = [access](std::string_view key) { return access->get()->find(key) != nullptr; };
    }
    // Last, so that nobody meets half a broker.
    auto socket = Socket::open(endpoints_of(config), config.group, std::move(is_known));
    if (!socket) return fail(Exit::bind, socket.error());
    const Recovered& recovered = opened->recovered;
    Server server(*recovered.core, recovered.applied_seq, **directory, *opened->store, *opened->log, **socket, manager);
    if (access) {
        server.set_access(access);
        spdlog::info("access: {} keys, from {}", config.access->keys.size(), config.access_file);
    }
    server.set_reload(Reload(config, argc, argv));
    spdlog::info("jobyard-broker {} serves {} (epoch {})", JOBYARD_VERSION, config.data, recovered.epoch);
    tell_ready(config, **socket, manager);
    if (auto ended = server.run(); !ended) {
        spdlog::critical("{}; nothing that was not on disk has been answered: start again when the cause is mended",
                         ended.error().text);
        return static_cast<int>(Exit::disk);
    }
    spdlog::info("stopped");
    return static_cast<int>(Exit::ok);
}

}  // namespace
}  // namespace jobyard::broker

int main(int argc, char** argv) {
    using jobyard::broker::Exit;
    int code = static_cast<int>(Exit::unexpected);
    try {
        auto parsed = jobyard::broker::read_command_line(argc, argv);
        if (const Exit* exit = std::get_if<Exit>(&parsed)) return static_cast<int>(*exit);
        code = jobyard::broker::run(std::get<jobyard::broker::Config>(parsed), argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "jobyard-broker: %s\n", error.what());
    }
    static_cast<void>(jobyard::program::close_log());
    std::_Exit(code);  // threads that write for a reader who has gone may still be there
}
