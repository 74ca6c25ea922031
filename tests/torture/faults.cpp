#include "faults.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "proc.hpp"

namespace jobyard::torture {
namespace {

using Heal = std::function<void()>;
using Ground = Fault::Ground;

constexpr std::size_t kFlood = 400;
constexpr rlim_t kDescriptorsLeft = 4;
constexpr rlim_t kMemoryLeft = rlim_t{2} << 20;

std::size_t below(std::mt19937_64& random, std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random);
}

/// Of that process, until it is given back; nothing if the process has gone.
Heal limit(pid_t pid, __rlimit_resource what, rlim_t value) {
    rlimit before{};
    if (::prlimit(pid, what, nullptr, &before) != 0) return {};
    const rlimit lowered{value, before.rlim_max};
    ::prlimit(pid, what, &lowered, nullptr);
    return [=] { ::prlimit(pid, what, &before, nullptr); };
}

std::vector<int> connect_often(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::vector<int> sockets;
    for (std::size_t i = 0; i < kFlood; ++i) {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) break;
        static_cast<void>(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address));
        sockets.push_back(fd);
    }
    return sockets;
}

}  // namespace

std::vector<Fault> faults(Yard& yard, Place& place, std::mt19937_64& random) {
    std::vector<Fault> all;
    const auto add = [&](std::string kind, Ground ground, double longest_s, std::function<Heal()> begin) {
        all.push_back({std::move(kind), ground, longest_s, std::move(begin)});
    };
    const auto restart = [&yard]() -> Heal { return [&yard] { yard.hold_broker(false); }; };

    add("broker_killed", Ground::broker, 3, [&yard, restart] {
        yard.stop_broker(SIGKILL);
        return restart();
    });
    add("broker_restarted", Ground::broker, 1, [&yard, restart] {
        yard.stop_broker(SIGTERM);
        return restart();
    });
    add("broker_stopped", Ground::broker, 8, [&yard]() -> Heal {
        yard.broker().signal(SIGSTOP);
        return [&yard] { yard.broker().signal(SIGCONT); };
    });
    add("disk_broken", Ground::broker, 2, [&yard]() -> Heal {
        test::write_file(yard.io_error_file(), {});
        return [&yard] { std::filesystem::remove(yard.io_error_file()); };
    });
    add("descriptors_exhausted", Ground::broker, 4, [&yard]() -> Heal {
        const pid_t pid = yard.broker().pid();
        const Heal give_back = limit(pid, RLIMIT_NOFILE, descriptors_of(pid) + kDescriptorsLeft);
        const std::vector<int> sockets = connect_often(yard.port());
        return [=] {
            for (const int fd : sockets) ::close(fd);
            if (give_back) give_back();
        };
    });
    if (!test::kSanitized)
        add("memory_short", Ground::broker, 4, [&yard]() -> Heal {
            const pid_t pid = yard.broker().pid();
            return limit(pid, RLIMIT_DATA, memory_of(pid, "VmData") + kMemoryLeft);
        });
    if (place.has_small_disk())
        add("disk_full", Ground::broker, 5, [&place, &random]() -> Heal {
            place.fill_disk(below(random, 3) << 22);
            return [&place] { place.empty_disk(); };
        });

    const auto some_peer = [&yard, &random](const std::string& kind) -> Yard::Peer& {
        for (;;)
            if (Yard::Peer& peer = yard.peers()[below(random, yard.peers().size())]; peer.kind == kind) return peer;
    };
    for (const char* kind : {"worker", "client"}) {
        add(std::string(kind) + "_killed", Ground::peers, 0, [some_peer, kind]() -> Heal {
            some_peer(kind).process->signal(SIGKILL);
            return {};
        });
        add(std::string(kind) + "_stopped", Ground::peers, 10, [some_peer, kind]() -> Heal {
            Yard::Peer& peer = some_peer(kind);
            const unsigned life = peer.lives;
            peer.process->signal(SIGSTOP);
            return [&peer, life] {
                if (peer.lives == life) peer.process->signal(SIGCONT);
            };
        });
    }
    add("worker_leaves", Ground::peers, 0, [some_peer]() -> Heal {
        some_peer("worker").process->signal(SIGTERM);
        return {};
    });

    const auto proxy = [&](const char* kind, test::Proxy::Mode mode) {
        add(kind, Ground::network, 6, [&yard, mode]() -> Heal {
            yard.proxy().set(mode);
            return [&yard] { yard.proxy().set(test::Proxy::Mode::forward); };
        });
    };
    proxy("answers_lost", test::Proxy::Mode::lose_answers);
    proxy("questions_lost", test::Proxy::Mode::lose_questions);
    proxy("half_open", test::Proxy::Mode::freeze);
    proxy("delayed", test::Proxy::Mode::slow);
    proxy("refused", test::Proxy::Mode::refuse);
    add("connections_cut", Ground::network, 0, [&yard]() -> Heal {
        yard.proxy().cut();
        return {};
    });
    if (place.has_far_machine())
        add("link_down", Ground::network, 8, [&place]() -> Heal {
            place.set_link(false);
            return [&place] { place.set_link(true); };
        });
    if (place.has_packet_filter()) {
        const auto filter = [&](const char* kind, Place::Lose lose) {
            add(kind, Ground::network, 8, [&place, lose]() -> Heal {
                place.set_filter(lose);
                return [&place] { place.set_filter(Place::Lose::nothing); };
            });
        };
        filter("cut_to_broker", Place::Lose::to_broker);
        filter("cut_from_broker", Place::Lose::from_broker);
        filter("packets_lost", Place::Lose::some);
    }
    return all;
}

}  // namespace jobyard::torture
