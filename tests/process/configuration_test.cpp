// How the real programs are told what to do: files, environment, flags, reload; and what is made from their tables:
// references, manual pages, completion.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Contains;
using testing::ContainsRegex;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Not;

using Environment = std::map<std::string, std::string>;

Ran run(std::vector<std::string> argv, const Environment& env = {}) {
    if (!argv.front().starts_with('/')) argv.front() = program(argv.front());
    Process process({.argv = argv, .env = env});
    Ran ran;
    ran.exit = process.wait().value_or(-1);
    ran.output = process.output();
    ran.errors = process.errors();
    return ran;
}

std::string tool(const std::string& name) {
    for (const std::string directory : {"/usr/bin/", "/bin/", "/usr/local/bin/"})
        if (exists(directory + name)) return directory + name;
    throw std::runtime_error(name + " is not installed; scripts/setup does that");
}

bool eventually_logs(Process& process, const std::string& text) {
    return eventually([&] { return process.errors().find(text) != std::string::npos; });
}

// --- sources ---------------------------------------------------------------------------------------------------------

TEST(Sources, FlagsWinOverTheEnvironmentWhichWinsOverTheFile) {
    const TemporaryDirectory files;
    write_file(files / "broker.toml",
               "data = \"/from/file\"\n[timing]\nheartbeat = \"1s\"\nlease = \"40s\"\n[limits]\nqueue_jobs = 1\n");
    const Environment env{{"JOBYARD_BROKER_TIMING_HEARTBEAT", "2s"}, {"JOBYARD_BROKER_LIMITS_QUEUE_JOBS", "2"}};
    const Ran ran =
        run({"jobyard-broker", "--config", files / "broker.toml", "--limit", "queue_jobs=3", "--check"}, env);
    ASSERT_EQ(ran.exit, 0) << ran.errors;
    EXPECT_THAT(ran.output,
                AllOf(ContainsRegex("data +/from/file +" + files / "broker.toml" + ":1\n"),
                      ContainsRegex("timing.lease +40s +" + files / "broker.toml" + ":4\n"),
                      ContainsRegex("timing.heartbeat +2s +\\$JOBYARD_BROKER_TIMING_HEARTBEAT\n"),
                      ContainsRegex("limits.queue_jobs +3 +--limit\n"), ContainsRegex("log.level +info +default\n")));
    EXPECT_FALSE(exists("/from/file")) << "it started something";
}

TEST(Sources, ABrokenFileIsRefusedByEveryProgram) {
    const TemporaryDirectory files;
    write_file(files / "bad.toml", "broker = \"ipc:///x\"\nbrokr = \"ipc:///y\"\n");
    const std::string where = files / "bad.toml" + ":2: there is no setting \"brokr\"; the nearest is broker";
    const Ran worker = run({"jobyard-worker", "--config", files / "bad.toml", "--check"});
    EXPECT_EQ(worker.exit, 2);
    EXPECT_THAT(worker.errors, HasSubstr(where));
    const Ran client = run({"jobyard", "stats", "--config", files / "bad.toml"});
    EXPECT_EQ(client.exit, 2);
    EXPECT_THAT(client.errors, HasSubstr(where));
    write_file(files / "broker.toml", "data = \"/x\"\n[timing]\nlease = \"1s\"\n");
    const Ran broker = run({"jobyard-broker", "--config", files / "broker.toml"});
    EXPECT_EQ(broker.exit, 2);
    EXPECT_THAT(broker.errors, AllOf(HasSubstr("timing.lease"), HasSubstr("timing.renew"))) << "they contradict";
    EXPECT_EQ(run({"jobyard-broker", "--config", files / "none.toml", "--data", "/x"}).exit, 2);
}

TEST(Sources, TheWorkerAndTheCommandFindTheBrokerInTheirFiles) {
    const TemporaryDirectory files;
    const BrokerProcess broker;
    const std::string text = "broker = \"" + broker.endpoint() + "\"\n";
    write_file(files / "worker.toml", text + "slots = 2\nname = \"filed\"\n");
    std::filesystem::create_directory(files / "jobyard");
    write_file(files / "jobyard/client.toml", text);
    Process worker(
        {.argv = {program("jobyard-worker"), "--config", files / "worker.toml"}, .env = {{"JOBYARD_BROKER", ""}}});
    const Environment env{{"XDG_CONFIG_HOME", files.path()}, {"JOBYARD_CONFIG", ""}, {"JOBYARD_BROKER", ""}};
    const Ran ran = run({"jobyard", "submit", "--wait", "--", "echo", "found"}, env);
    EXPECT_EQ(ran.exit, 0) << ran.errors;
    EXPECT_EQ(ran.output, "found\n");
    const json job = json::parse(run({"jobyard", "show", "--json", "1"}, env).output);
    EXPECT_EQ(job["worker"], "filed");
}

TEST(Sources, ConfigCheckKnowsAFileByItsNameOrIsTold) {
    const TemporaryDirectory files;
    write_file(files / "my-broker.toml", "[limits]\nqueue_jobs = 5\n");
    const Ran good = run({"jobyard", "config", "check", files / "my-broker.toml"});
    EXPECT_EQ(good.exit, 0) << good.errors;
    EXPECT_THAT(good.output, HasSubstr("sets 1 of "));
    EXPECT_EQ(run({"jobyard", "config", "check", files / "my-broker.toml", "--for", "worker"}).exit, 2);
    write_file(files / "x.toml", "slots = 9999\n");
    EXPECT_THAT(run({"jobyard", "config", "check", files / "x.toml"}).errors, HasSubstr("--for"));
    const Ran bad = run({"jobyard", "config", "check", files / "x.toml", "--for", "worker"});
    EXPECT_EQ(bad.exit, 2);
    EXPECT_THAT(bad.errors, HasSubstr("expected a number, from 1 to 1024"));
}

TEST(Sources, ConfigShowTellsWhatIsInForceAndWhereItIsFrom) {
    const TemporaryDirectory files;
    write_file(files / "client.toml", "time_limit = \"5s\"\n");
    const Ran ran = run({"jobyard", "config", "show", "--config", files / "client.toml", "--json"},
                        {{"JOBYARD_BROKER", "ipc:///here"}});
    ASSERT_EQ(ran.exit, 0) << ran.errors;
    std::set<std::string> shown;
    for (const std::string& line : lines_of(ran.output)) shown.insert(line);
    EXPECT_EQ(shown, (std::set<std::string>{
                         R"({"key":"broker","value":"ipc:///here","from":"$JOBYARD_BROKER"})",
                         R"x({"key":"key_file","value":"(none)","from":"default"})x",
                         R"x({"key":"server_key","value":"(a broker without keys)","from":"default"})x",
                         R"({"key":"time_limit","value":"5s","from":")" + files / "client.toml" + ":1\"}"}));
    EXPECT_THAT(run({"jobyard", "config", "show", "--for", "broker"}).output,
                ContainsRegex("limits.jobs +20000000 +default"));
}

// --- reload ----------------------------------------------------------------------------------------------------------

class Reload : public testing::Test {
 protected:
    void configure(const std::string& text) { write_file(files_ / "broker.toml", text); }
    static Code submit(Client& client) { return code_of(client.submit({.type = "nobody"}).id(kPatience)); }
    const TemporaryDirectory files_;
};

TEST_F(Reload, SighupChangesWhatItCanAndTellsWhatNeedsARestart) {
    configure("[limits]\nqueue_jobs = 1\n");
    BrokerProcess broker({"--config", files_ / "broker.toml"});
    Client client({.broker = broker.endpoint(), .retry_refused = false});
    EXPECT_EQ(submit(client), Code::ok);
    EXPECT_EQ(submit(client), Code::queue_full);
    configure("[limits]\nqueue_jobs = 2\npayload_bytes = 100\n[timing]\nlease = \"60s\"\n[log]\nlevel = \"warn\"\n");
    broker.process().signal(SIGHUP);
    ASSERT_TRUE(eventually_logs(broker.process(), "reloaded: limits.queue_jobs is 2 now; it was 1"));
    EXPECT_THAT(broker.log(),
                AllOf(HasSubstr("reloaded: log.level is warn now; it was info"),
                      HasSubstr("needs a restart: timing.lease is to be 1m; it stays 30s until then"),
                      HasSubstr("needs a restart: limits.payload_bytes is to be 100; it stays 256K until then")));
    EXPECT_EQ(submit(client), Code::ok);
    EXPECT_EQ(submit(client), Code::queue_full);
    EXPECT_EQ(broker.terminate(), 0);
    EXPECT_THAT(broker.log(), Not(HasSubstr("stopped"))) << "that is a line of level info";
}

TEST_F(Reload, AFileThatIsWrongChangesNothingAndTheLogSaysWhy) {
    configure("[limits]\nqueue_jobs = 1\n");
    BrokerProcess broker({"--config", files_ / "broker.toml"});
    Client client({.broker = broker.endpoint(), .retry_refused = false});
    EXPECT_EQ(submit(client), Code::ok);
    configure("[limits]\nqueue_jobs = 5\nqeueus = 5\n");
    broker.process().signal(SIGHUP);
    ASSERT_TRUE(eventually_logs(broker.process(), "nothing is reloaded: " + files_ / "broker.toml" + ":3: "))
        << broker.log();
    EXPECT_THAT(broker.log(), HasSubstr("the nearest is limits.queues"));
    EXPECT_EQ(submit(client), Code::queue_full);
}

TEST_F(Reload, FlagsStillWin) {
    configure("");
    BrokerProcess broker({"--config", files_ / "broker.toml", "--limit", "queue_jobs=1"});
    configure("[limits]\nqueue_jobs = 5\nkeys = 7\n");
    broker.process().signal(SIGHUP);
    ASSERT_TRUE(eventually_logs(broker.process(), "reloaded: limits.keys is 7 now"));
    EXPECT_THAT(broker.log(), Not(HasSubstr("limits.queue_jobs")));
}

TEST_F(Reload, TheLogFileIsOpenedAnew) {
    const std::string log = files_ / "log";
    BrokerProcess broker({"--log-file", log});
    ASSERT_TRUE(exists(log));
    std::filesystem::rename(log, log + ".1");
    broker.process().signal(SIGHUP);
    EXPECT_TRUE(eventually([&] { return exists(log); }));
    EXPECT_EQ(broker.terminate(), 0);
    EXPECT_THAT(read_file(log), AllOf(HasSubstr("no setting has changed"), HasSubstr("stopped")));
    EXPECT_THAT(read_file(log + ".1") + read_file(log), HasSubstr("serves"))
        << "the log's thread may come late to a line";
}

TEST_F(Reload, AWorkerReloadsItsLogAndRunsOn) {
    BrokerProcess broker;
    write_file(files_ / "worker.toml", "slots = 1\n");
    Process worker(
        {.argv = {program("jobyard-worker"), "--broker", broker.endpoint(), "--config", files_ / "worker.toml"}});
    Client client(client_options(broker.endpoint()));
    ASSERT_TRUE(workers_arrived(client, 1));
    write_file(files_ / "worker.toml",
               "slots = 2\n[log]\nlevel = \"error\"\nfile = \"" + files_ / "worker.log" + "\"\n");
    worker.signal(SIGHUP);
    const auto log = [&] { return read_file(files_ / "worker.log"); };
    ASSERT_TRUE(eventually([&] { return log().find("log.level is error now; it was info") != std::string::npos; }))
        << worker.errors();
    EXPECT_THAT(log(), HasSubstr("needs a restart: slots is to be 2; it stays 1 until then"));
    const Result<JobResult> result = client.run({.type = "command", .payload = command_payload({"true"})}, kPatience);
    ASSERT_TRUE(result) << result.error().text;
    worker.signal(SIGTERM);
    EXPECT_EQ(worker.wait(), 0) << "the first stop signal is still the first";
    EXPECT_THAT(log(), Not(HasSubstr("ended:"))) << "that is a line of level info";
}

// --- what is made from the tables ------------------------------------------------------------------------------------

TEST(Documents, TheReferenceAndTheDefaultFilesAreWhatTheProgramsWrite) {
    const Ran ran = run({"/bin/bash", JOBYARD_SOURCE_DIR "/scripts/generate", "--check"},
                        {{"JOBYARD_BIN_DIR", std::filesystem::path(program("jobyard")).parent_path()}});
    EXPECT_EQ(ran.exit, 0) << ran.output << ran.errors;
}

TEST(Documents, EveryDefaultFileIsRightWithAllItsSettingsOn) {
    const TemporaryDirectory files;
    for (const std::string role : {"broker", "worker", "client"}) {
        const std::string text = read_file(JOBYARD_SOURCE_DIR "/deploy/" + role + ".toml");
        std::string on;
        int settings = 0;
        for (const std::string& line : lines_of(text)) {
            const bool is_setting = line.size() > 1 && line[0] == '#' && line[1] != ' ';
            settings += is_setting ? 1 : 0;
            on += (is_setting ? line.substr(1) : line) + "\n";
        }
        write_file(files / role + ".toml", on);
        const Ran ran = run({"jobyard", "config", "check", files / role + ".toml"});
        EXPECT_EQ(ran.exit, 0) << ran.errors;
        const std::string all = std::to_string(settings);
        EXPECT_THAT(ran.output, HasSubstr("sets " + all + " of " + all + " settings"));
        EXPECT_THAT(run({"jobyard", "config", "check", JOBYARD_SOURCE_DIR "/deploy/" + role + ".toml"}).output,
                    HasSubstr("sets 0 of "));
    }
}

/// The verbs that --help lists.
std::set<std::string> verbs() {
    std::set<std::string> found;
    bool inside = false;
    for (const std::string& line : lines_of(run({"jobyard", "--help"}).output)) {
        if (line.starts_with("Subcommands:")) inside = true;
        else if (inside && line.starts_with("  ") && line[2] != ' ')
            found.insert(line.substr(2, line.find(' ', 2) - 2));
        else if (inside && !line.starts_with("  ")) inside = false;
    }
    EXPECT_THAT(found, IsSupersetOf({"submit", "list", "completion"}));
    return found;
}

TEST(Documents, EveryVerbHasAManualPageAndAllPagesAreSoundRoff) {
    const TemporaryDirectory made;
    for (const std::string name : {"jobyard", "jobyard-broker", "jobyard-worker", "jobyard-bench"})
        EXPECT_EQ(run({name, "--generate", made.path()}).exit, 0) << name;
    for (const std::string& verb : verbs()) EXPECT_TRUE(exists(made / "man/jobyard-" + verb + ".1")) << verb;
    for (const auto& page : std::filesystem::directory_iterator(made / "man")) {
        // Without a date a page is the same whenever it is made. Long lines are a matter of taste in generated text.
        const Ran mandoc = run({tool("mandoc"), "-T", "lint", "-W", "warning", page.path()});
        for (const std::string& line : lines_of(mandoc.output))
            EXPECT_THAT(line, testing::AnyOf(HasSubstr("missing date"), HasSubstr("STYLE")));
        const Ran groff = run({tool("groff"), "-ww", "-z", "-man", "-Tutf8", page.path()});
        EXPECT_EQ(groff.errors, "") << page.path();
        const std::string text = run({tool("mandoc"), "-T", "ascii", page.path()}).output;
        EXPECT_THAT(text, AllOf(HasSubstr("N\bNA\bAM\bME\bE"), HasSubstr("O\bOP\bPT"))) << page.path();
    }
    const std::string dead = read_file(made / "man/jobyard-dead.1");
    EXPECT_THAT(dead, AllOf(HasSubstr(".SS jobyard dead redrive"), HasSubstr("\\fB\\-\\-all\\fR")))
        << "verbs below a verb";
}

TEST(Documents, EveryProgramTellsItsVersion) {
    for (const std::string name : {"jobyard", "jobyard-broker", "jobyard-worker", "jobyard-bench"}) {
        const Ran ran = run({name, "--version"});
        EXPECT_EQ(ran.exit, 0);
        EXPECT_THAT(ran.output, ContainsRegex("^" + name + " [0-9]+\\.[0-9]+\\.[0-9]+\n$"));
    }
}

TEST(Documents, VersionTellsTheBrokersToo) {
    BrokerProcess broker;
    const json both = json::parse(run({"jobyard", "version", "--json", "--broker", broker.endpoint()}).output);
    EXPECT_EQ(both["broker"]["version"], both["version"]);
    EXPECT_EQ(both["broker"]["protocol"], both["protocol"]);
    EXPECT_EQ(both["broker"]["protocol_minor"], both["protocol_minor"]);
    const std::string gone = broker.endpoint();
    const Ran own = run({"jobyard", "version", "--client", "--broker", gone});
    EXPECT_EQ(lines_of(own.output).size(), 1U);
    EXPECT_EQ(broker.terminate(), 0);
    const Ran alone = run({"jobyard", "version", "--broker", gone, "--time-limit", "10ms"});
    EXPECT_EQ(alone.exit, 0);
    EXPECT_THAT(alone.output, AllOf(HasSubstr(own.output), HasSubstr("no broker answers at " + gone)));
}

// --- completion ------------------------------------------------------------------------------------------------------

class Completion : public testing::Test {
 protected:
    /// The script for the shell in a file.
    std::string script(const std::string& shell) {
        const Ran ran = run({"jobyard", "completion", shell});
        EXPECT_EQ(ran.exit, 0) << ran.errors;
        write_file(files_ / shell, ran.output);
        return files_ / shell;
    }
    /// What the shell offers in the place of the last word.
    std::vector<std::string> offered_by_bash(const std::vector<std::string>& words) {
        std::string line;
        for (const std::string& word : words) line += " '" + word + "'";
        const Ran ran =
            run({tool("bash"), "--norc", "-c",
                 "compopt() { :; }; source " + script("bash") + "; COMP_WORDS=(" + line +
                     "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _jobyard; printf '%s\\n' \"${COMPREPLY[@]}\""},
                {{"PATH", "/usr/bin:/bin"}});
        EXPECT_EQ(ran.errors, "");
        return lines_of(ran.output);
    }
    const TemporaryDirectory files_;
};

TEST_F(Completion, BashOffersVerbsOptionsAndFixedValues) {
    const std::vector<std::string> top = offered_by_bash({"jobyard", ""});
    for (const std::string& verb : verbs()) EXPECT_THAT(top, Contains(verb));
    EXPECT_THAT(offered_by_bash({"jobyard", "sub"}), ElementsAre("submit"));
    EXPECT_THAT(offered_by_bash({"jobyard", "dead", ""}), IsSupersetOf({"list", "redrive"}));
    EXPECT_THAT(offered_by_bash({"jobyard", "dead", "redrive", "--a"}), ElementsAre("--all"));
    EXPECT_THAT(offered_by_bash({"jobyard", "list", "--st"}), ElementsAre("--state"));
    EXPECT_THAT(offered_by_bash({"jobyard", "list", "--state", "r"}), ElementsAre("running", "retrying"));
    EXPECT_THAT(offered_by_bash({"jobyard", "list", "--state", "=", "dea"}), ElementsAre("dead"));
    EXPECT_THAT(offered_by_bash({"jobyard", "--broker", "list", "sub"}), ElementsAre("submit")) << "a value is no verb";
    EXPECT_THAT(offered_by_bash({"jobyard", "completion", "z"}), ElementsAre("zsh"));
}

TEST_F(Completion, BashOffersFilesWhereAFileStandsAndCommandsAfterTheDashes) {
    write_file(files_ / "jobs.jsonl", "");
    EXPECT_THAT(offered_by_bash({"jobyard", "submit", "--batch", files_ / "jobs"}), ElementsAre(files_ / "jobs.jsonl"));
    EXPECT_THAT(offered_by_bash({"jobyard", "config", "check", files_ / "jobs"}), ElementsAre(files_ / "jobs.jsonl"));
    EXPECT_THAT(offered_by_bash({"jobyard", "submit", "--", "gzi"}), Contains("gzip"));
    EXPECT_THAT(offered_by_bash({"jobyard", "submit", "--", "gzip", files_ / "jobs"}),
                ElementsAre(files_ / "jobs.jsonl"));
}

TEST_F(Completion, ZshOffersTheSame) {
    const std::string file = script("zsh");
    EXPECT_EQ(run({tool("zsh"), "-n", file}).exit, 0);
    const auto offered = [&](const std::string& words) {
        // Completion needs a terminal; what it would be asked to offer does not.
        const Ran ran = run({tool("zsh"), "-f", "-c",
                             "compdef() { :; }; compadd() { shift; print -l -- $@; }; _files() { print files; };"
                             "_describe() { print -l -- ${(P)@[-1]}; };"
                             "source " +
                                 file + "; words=(" + words + "); CURRENT=$#words; _jobyard"});
        EXPECT_EQ(ran.errors, "");
        return lines_of(ran.output);
    };
    EXPECT_THAT(offered("jobyard ''"), Contains("cancel:Cancel jobs, running or not"));
    EXPECT_THAT(offered("jobyard list --"), Contains(HasSubstr("--state:")));
    EXPECT_THAT(offered("jobyard list --state ''"), IsSupersetOf({"running", "dead"}));
    EXPECT_THAT(offered("jobyard dead ''"), Contains(HasSubstr("redrive:")));
    EXPECT_THAT(offered("jobyard submit --batch ''"), ElementsAre("files"));
}

TEST_F(Completion, FishOffersTheSame) {
    const std::string file = script("fish");
    EXPECT_EQ(run({tool("fish"), "-n", file}).exit, 0);
    const auto offered = [&](const std::string& line) {
        const Ran ran = run({tool("fish"), "--no-config", "-c", "source " + file + "; complete -C '" + line + "'"},
                            {{"HOME", files_.path()}, {"PATH", "/usr/bin:/bin"}});
        std::vector<std::string> words;
        for (const std::string& offer : lines_of(ran.output)) words.push_back(offer.substr(0, offer.find('\t')));
        return words;
    };
    EXPECT_THAT(offered("jobyard "), IsSupersetOf({"submit", "list", "config"}));
    EXPECT_THAT(offered("jobyard list --sta"), ElementsAre("--state"));
    EXPECT_THAT(offered("jobyard list --state r"), testing::UnorderedElementsAre("running", "retrying"));
    EXPECT_THAT(offered("jobyard dead r"), ElementsAre("redrive"));
    EXPECT_THAT(offered("jobyard submit -- gzi"), Contains("gzip"));
}

}  // namespace
}  // namespace jobyard::test
