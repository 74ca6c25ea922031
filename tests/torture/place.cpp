#include "place.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace jobyard::torture {
namespace {

constexpr const char* kInside = "JOBYARD_TORTURE_INSIDE";

/// A program of the system; empty if it is not there.
std::string tool(const std::string& name) {
    for (const char* directory : {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"})
        if (::access((directory + name).c_str(), X_OK) == 0) return directory + name;
    return {};
}

/// What went wrong; empty: nothing.
std::string run(std::vector<std::string> words) {
    const std::string path = tool(words[0]);
    if (path.empty()) return words[0] + " is not installed";
    std::string shown;
    for (const std::string& word : words) shown += (shown.empty() ? "" : " ") + word;
    words[0] = path;
    test::Process process({.argv = std::move(words)});
    if (process.wait() == 0) return {};
    std::string errors = process.errors();
    std::replace(errors.begin(), errors.end(), '\n', ' ');
    return shown + ": " + errors;
}

std::string run_all(const std::vector<std::vector<std::string>>& commands) {
    for (const std::vector<std::string>& command : commands)
        if (std::string wrong = run(command); !wrong.empty()) return wrong;
    return {};
}

void demand(const std::string& wrong) {
    if (!wrong.empty()) throw std::runtime_error(wrong);
}

}  // namespace

void enter_own_namespaces(char** argv) {
    if (std::getenv(kInside) != nullptr || tool("unshare").empty()) return;
    const bool is_root = ::geteuid() == 0;
    std::vector<std::string> words{tool("unshare"), is_root ? "-mn" : "-rmn"};
    words.emplace_back("true");
    if (test::Process({.argv = words}).wait() != 0) return;
    words.pop_back();
    for (char** word = argv; *word != nullptr; ++word) words.emplace_back(*word);
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    ::setenv(kInside, "1", 1);
    ::execv(pointers[0], pointers.data());
    throw std::runtime_error("cannot run " + words[0]);
}

Place::Place(const std::string& parent, std::uint64_t bytes) {
    std::string name = parent + "/jobyard-torture-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a directory in " + parent);
    directory_ = name;
    data_ = directory_ + "/disk";
    std::filesystem::create_directory(data_);
    if (std::getenv(kInside) == nullptr) {
        missing_.emplace_back(
            "no namespaces of its own (unshare): nothing happens to the network but at proxies, no disk is filled");
        return;
    }
    const std::string image = directory_ + "/image";
    test::write_file(image, {});
    std::filesystem::resize_file(image, bytes);
    if (const std::string wrong = run_all({{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, data_}});
        wrong.empty())
        has_disk_ = true;
    else missing_.push_back("no disk is filled: " + wrong);
    const std::string lo = run({"ip", "link", "set", "lo", "up"});
    if (!lo.empty()) throw std::runtime_error(lo);
    far_ = std::make_unique<test::Process>(
        test::Process::Options{.argv = {tool("unshare"), "-n", tool("sleep"), "infinity"}});
    const std::string pid = std::to_string(far_->pid());
    // Its network is there as soon as it is another than ours.
    const auto network_of = [](const std::string& who) {
        std::error_code none;
        return std::filesystem::read_symlink("/proc/" + who + "/ns/net", none).string();
    };
    test::eventually([&] { return network_of(pid) != network_of("self") && !network_of(pid).empty(); });
    const std::string near = std::string(kNearAddress) + "/30";
    if (const std::string wrong =
            run_all({{"ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", pid},
                     {"ip", "addr", "add", near, "dev", "near"},
                     {"ip", "link", "set", "near", "up"},
                     {"nsenter", "-t", pid, "-n", "ip", "link", "set", "lo", "up"},
                     {"nsenter", "-t", pid, "-n", "ip", "addr", "add", "10.77.0.2/30", "dev", "far"},
                     {"nsenter", "-t", pid, "-n", "ip", "link", "set", "far", "up"}});
        !wrong.empty()) {
        missing_.push_back("there is no far machine, so no link goes down: " + wrong);
        far_.reset();
        return;
    }
    if (const std::string wrong = run_all({{"nft", "add", "table", "inet", "torture"}}); wrong.empty())
        has_filter_ = true;
    else missing_.push_back("no packets are lost in one direction or at random: " + wrong);
}

Place::~Place() {
    far_.reset();
    if (has_disk_) run({"umount", "-l", data_});
    std::error_code ignored;
    if (keep_) std::filesystem::remove(directory_ + "/image", ignored);
    else std::filesystem::remove_all(directory_, ignored);
}

std::vector<std::string> Place::on_far_machine() const {
    return {tool("nsenter"), "-t", std::to_string(far_->pid()), "-n"};
}

void Place::set_link(bool up) const { demand(run({"ip", "link", "set", "near", up ? "up" : "down"})); }

void Place::set_filter(Lose lose) const {
    demand(run({"nft", "delete", "table", "inet", "torture"}));
    demand(run({"nft", "add", "table", "inet", "torture"}));
    if (lose == Lose::nothing) return;
    const auto chain = [](const char* hook) {
        return std::vector<std::string>{"nft",    "add",  "chain", "inet",     "torture", hook, "{", "type",
                                        "filter", "hook", hook,    "priority", "0",       ";",  "}"};
    };
    const auto rule = [](const char* hook, std::vector<std::string> how) {
        std::vector<std::string> words{
            "nft", "add", "rule", "inet", "torture", hook, hook == std::string("input") ? "iifname" : "oifname",
            "near"};
        words.insert(words.end(), how.begin(), how.end());
        words.emplace_back("drop");
        return words;
    };
    const std::vector<std::string> some{"numgen", "random", "mod", "100", "<", "20"};
    if (lose != Lose::from_broker) {
        demand(run(chain("input")));
        demand(run(rule("input", lose == Lose::some ? some : std::vector<std::string>{})));
    }
    if (lose != Lose::to_broker) {
        demand(run(chain("output")));
        demand(run(rule("output", lose == Lose::some ? some : std::vector<std::string>{})));
    }
}

void Place::fill_disk(std::uint64_t but_bytes) const {
    struct statvfs disk {};
    if (::statvfs(data_.c_str(), &disk) != 0) throw std::runtime_error("statvfs of " + data_);
    const std::uint64_t free = disk.f_bavail * disk.f_frsize;
    const int fd = ::open((data_ + "/ballast").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return;  // so full that nothing can be made: that is what was wanted
    // The broker writes meanwhile, so that not all of it may be had.
    for (std::uint64_t size = free > but_bytes ? free - but_bytes : 0; size > 4096; size -= size / 8)
        if (::posix_fallocate(fd, 0, static_cast<off_t>(size)) == 0) break;
    ::close(fd);
}

void Place::empty_disk() const { std::filesystem::remove(data_ + "/ballast"); }

}  // namespace jobyard::torture
