// What `cmake --install` leaves in a prefix, as those meet it who have only that: a program of a stranger, a linker, a
// service manager. What the Debian packages add is looked at by scripts/test-packages.

#include <gtest/gtest.h>

#include <signal.h>

#include <filesystem>
#include <iostream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>

#include "harness.hpp"

namespace jobyard::test {
namespace {

constexpr std::chrono::seconds kCompiling{110};

/// A program of the system, or of a path.
Ran run(std::vector<std::string> argv, std::map<std::string, std::string> env = {}) {
    argv.insert(argv.begin(), "/usr/bin/env");
    Process process({.argv = std::move(argv), .env = std::move(env)});
    Ran ran;
    ran.exit = process.wait(kCompiling).value_or(-1);
    ran.output = process.output();
    ran.errors = process.errors();
    return ran;
}

std::string succeeded(const Ran& ran) {
    EXPECT_EQ(ran.exit, 0) << ran.output << ran.errors;
    return ran.output;
}

struct InstallTest : testing::Test {
    TemporaryDirectory files;
    const std::string prefix = files / "prefix";
    InstallTest() { succeeded(run({"cmake", "--install", JOBYARD_BUILD_DIR, "--prefix", prefix})); }

    std::string library(const std::string& file) const { return prefix + "/" JOBYARD_LIBDIR "/" + file; }
    /// The program speaks with a broker.
    void expect_to_work(const std::string& stranger) {
        BrokerProcess broker;
        EXPECT_EQ(succeeded(run({stranger, broker.endpoint()}, {{"LD_LIBRARY_PATH", library("")}})),
                  "hello stranger (completed)\n");
    }
    /// So does one in C, examples/submit.c.
    void expect_to_count(const std::string& submit) {
        BrokerProcess broker;
        const std::map<std::string, std::string> env{{"JOBYARD_BROKER", broker.endpoint()},
                                                     {"LD_LIBRARY_PATH", library("")}};
        Process worker({.argv = {program("example_worker")}, .env = env});
        EXPECT_EQ(succeeded(run({submit, "one", "two"}, env)), "job 1 is durable\n2 words\n");
    }
};

TEST_F(InstallTest, AStrangerFindsTheCMakePackageOfItsVersion) {
    const std::string build = files / "build";
    const std::vector<std::string> configure{"cmake", "-S",  JOBYARD_SOURCE_DIR "/tests/package",
                                             "-B",    build, "-DCMAKE_PREFIX_PATH=" + prefix};
    auto next_minor = configure;
    next_minor.push_back("-DWANTED=0.2");
    const Ran refused = run(next_minor);
    EXPECT_NE(refused.exit, 0) << "before 1.0 another minor version is another interface";
    EXPECT_NE(refused.errors.find("compatible with requested version"), std::string::npos) << refused.errors;

    auto this_one = configure;
    this_one.push_back("-DWANTED=0.1");
    succeeded(run(this_one));
    succeeded(run({"cmake", "--build", build}));
    expect_to_work(build + "/stranger");
    expect_to_work(build + "/stranger_static");
    expect_to_count(build + "/stranger_c");
    EXPECT_EQ(succeeded(run({"ldd", build + "/stranger_static"})).find("libjobyard"), std::string::npos);
}

TEST_F(InstallTest, AStrangerFindsThePkgConfigFiles) {
    const auto compile = [&](const std::string& flags, const std::string& out) {
        succeeded(run({"sh", "-ec", "g++ -o " + out + " " JOBYARD_SOURCE_DIR "/tests/package/stranger.cpp " + flags},
                      {{"PKG_CONFIG_PATH", library("pkgconfig")}}));
    };
    const auto compile_c = [&](const std::string& flags, const std::string& out) {
        succeeded(run({"sh", "-ec",
                       "cc -std=c99 -Wall -Wextra -pedantic -Werror -o " + out +
                           " " JOBYARD_SOURCE_DIR "/examples/submit.c " + flags},
                      {{"PKG_CONFIG_PATH", library("pkgconfig")}}));
    };
    compile("$(pkg-config --cflags --libs jobyard-client jobyard-worker)", files / "stranger");
    expect_to_work(files / "stranger");
    compile_c("$(pkg-config --cflags --libs jobyard-client-c)", files / "submit");
    expect_to_count(files / "submit");
    // Where there are archives only, --static is all there is to say.
    for (const auto& file : std::filesystem::directory_iterator(library("")))
        if (file.path().filename().string().find(".so") != std::string::npos) std::filesystem::remove(file.path());
    compile("$(pkg-config --static --cflags --libs jobyard-client jobyard-worker)", files / "stranger_static");
    expect_to_work(files / "stranger_static");
    compile_c("$(pkg-config --static --cflags --libs jobyard-client-c)", files / "submit_static");
    expect_to_count(files / "submit_static");
}

/// As it declares them.
std::set<std::string> functions_of_jobyard_h() {
    const std::string header = read_file(JOBYARD_SOURCE_DIR "/client/include/jobyard/jobyard.h");
    const std::regex declared(R"(JOBYARD_C_API [^;(]*?(jobyard_[a-z_]+)\()");
    std::set<std::string> functions;
    for (std::sregex_iterator at(header.begin(), header.end(), declared), end; at != end; ++at)
        functions.insert((*at)[1]);
    EXPECT_GE(functions.size(), 40U);
    return functions;
}

TEST_F(InstallTest, TheSharedLibrariesShowTheirInterfaceAndNothingElse) {
    const std::regex ours(
        R"(^[0-9a-f]+ [TVWBDR] jobyard::(Client|Submission|Worker|Context|to_string|decode_[a-z_]+|)"
        R"(job_state_from|event_kind_from|fingerprint|error_shape)(\[abi:cxx11\])?(::|\().*@@JOBYARD_0$)");
    const std::regex ours_in_c(R"(^[0-9a-f]+ T (jobyard_[a-z_]+)@@JOBYARD_0$)");
    const std::regex version(R"(^[0-9a-f]+ A JOBYARD_0(@@JOBYARD_0)?$)");
    for (const std::string name : {"client", "worker"}) {
        const std::string file = library("libjobyard-" + name + ".so");
        std::size_t symbols = 0;
        std::set<std::string> in_c;
        for (const std::string& line : lines_of(succeeded(run({"nm", "-DC", "--defined-only", file})))) {
            if (std::regex_match(line, version)) continue;
            if (std::smatch found; std::regex_match(line, found, ours_in_c)) {
                in_c.insert(found[1]);
                continue;
            }
            EXPECT_TRUE(std::regex_match(line, ours) && line.find("Impl") == std::string::npos) << line;
            ++symbols;
        }
        EXPECT_GE(symbols, 10U);
        EXPECT_EQ(in_c, name == "client" ? functions_of_jobyard_h() : std::set<std::string>());
        std::cout << name << ": " << symbols << " symbols, " << in_c.size() << " in C\n";
        const std::string dynamic = succeeded(run({"readelf", "-d", file}));
        EXPECT_NE(dynamic.find("Library soname: [libjobyard-" + name + ".so.0]"), std::string::npos) << dynamic;
    }
}

TEST_F(InstallTest, OnlyPublicHeadersAreThereAndEachStandsAlone) {
    const std::regex includes(R"(#include [<"]([^>"]+)[>"])");
    std::set<std::string> installed;
    for (const auto& file : std::filesystem::directory_iterator(prefix + "/include/jobyard")) {
        installed.insert("jobyard/" + file.path().filename().string());
        const std::string text = read_file(file.path());
        for (std::sregex_iterator at(text.begin(), text.end(), includes), end; at != end; ++at) {
            const std::string name = (*at)[1];
            EXPECT_TRUE(name.find('.') == std::string::npos || name.starts_with("jobyard/") || name.starts_with("std"))
                << file << ": " << name;
        }
    }
    EXPECT_EQ(installed,
              (std::set<std::string>{"jobyard/client.hpp", "jobyard/event.hpp", "jobyard/export.hpp",
                                     "jobyard/fingerprint.hpp", "jobyard/ids.hpp", "jobyard/job.hpp",
                                     "jobyard/job_info.hpp", "jobyard/jobyard.h", "jobyard/limits.hpp",
                                     "jobyard/result.hpp", "jobyard/retry_policy.hpp", "jobyard/worker.hpp"}));
    std::vector<std::string> check{"g++",     "-std=c++20", "-fsyntax-only",           "-Wall",
                                   "-Wextra", "-Werror",    "-I" + prefix + "/include"};
    for (const std::string& header : installed) {
        check.push_back(files / ("alone" + std::to_string(check.size()) + ".cpp"));
        write_file(check.back(), "#include \"" + header + "\"\n");
    }
    succeeded(run(check));
    write_file(files / "alone.c", "#include \"jobyard/jobyard.h\"\n");
    succeeded(run({"cc", "-std=c99", "-fsyntax-only", "-Wall", "-Wextra", "-pedantic", "-Werror",
                   "-I" + prefix + "/include", files / "alone.c"}));
}

TEST_F(InstallTest, SystemdHasNothingToSayAgainstTheUnits) {
    const std::string units = prefix + "/lib/systemd/system/";
    const Ran verified = run(
        {"systemd-analyze", "verify", "--man=no", units + "jobyard-broker.service", units + "jobyard-worker.service"});
    EXPECT_EQ(verified.exit, 0);
    EXPECT_EQ(verified.errors, "") << "it says what it does not know, and still exits with 0";
}

/// The first line of the unit that begins with `key`, in words.
std::vector<std::string> words_of(const std::string& unit, const std::string& key) {
    for (const std::string& line : lines_of(unit)) {
        if (!line.starts_with(key + "=")) continue;
        std::istringstream in(line.substr(key.size() + 1));
        return {std::istream_iterator<std::string>(in), {}};
    }
    return {};
}

TEST_F(InstallTest, TheProgramsTakeTheCommandLinesAndTheFilesOfTheirUnits) {
    for (const std::string name : {"broker", "worker"}) {
        const std::string program = "jobyard-" + name;
        const auto argv = words_of(read_file(prefix + "/lib/systemd/system/" + program + ".service"), "ExecStart");
        const std::string file = prefix + "/etc/jobyard/" + name + ".toml";
        ASSERT_EQ(argv, (std::vector<std::string>{prefix + "/bin/" + program, "--config", file}));
        std::string settings = read_file(file);
        EXPECT_NE(settings.find("\n#level = "), std::string::npos) << "what is not needed is there to be found";
        // In the place of what only an installed system has.
        settings = std::regex_replace(settings, std::regex("/(var/lib|run)/jobyard"), files.path());
        settings = std::regex_replace(settings, std::regex("\ngroup = \"jobyard\""), "\ngroup = \"root\"");
        write_file(file, settings);
        Process process({.argv = argv});
        const std::string says = program == "jobyard-broker" ? "listening on" : "starting";
        EXPECT_TRUE(eventually([&] { return process.errors().find(says) != std::string::npos || !process.running(); }));
        process.signal(SIGTERM);
        EXPECT_EQ(process.wait(), 0) << process.errors();
    }
}

TEST_F(InstallTest, ASettingsFileThatIsThereStays) {
    const std::string file = prefix + "/etc/jobyard/client.toml";
    write_file(file, "time_limit = \"5s\"\n");
    succeeded(run({"cmake", "--install", JOBYARD_BUILD_DIR, "--prefix", prefix}));
    EXPECT_EQ(read_file(file), "time_limit = \"5s\"\n");
}

TEST_F(InstallTest, ShellsFindTheCompletions) {
    for (const std::string path : {"bash-completion/completions/jobyard", "zsh/site-functions/_jobyard",
                                   "fish/vendor_completions.d/jobyard.fish"})
        EXPECT_NE(read_file(prefix + "/share/" + path).find("reprioritize"), std::string::npos) << path;
    EXPECT_EQ(succeeded(run(
                  {"bash", "-ec",
                   ". " + prefix +
                       "/share/bash-completion/completions/jobyard; COMP_WORDS=(jobyard repr); "
                       "COMP_CWORD=1; $(complete -p jobyard | sed 's/.*-F \\([^ ]*\\).*/\\1/') jobyard repr jobyard; "
                       "echo ${COMPREPLY[*]}"})),
              "reprioritize\n");
}

}  // namespace
}  // namespace jobyard::test
