// Keys, and who may do what with them, of real programs (ENGINEERING: wrong server key, unknown key, revoked while it
// works, no key where one is wanted and the reverse, a role that is not enough; a server's key that changes under
// load).

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// Keys made by `jobyard keygen`, and an access file.
class KeyRing {
 public:
    std::string file(const std::string& name) const { return files_ / name; }
    std::string secret_file(const std::string& name) const { return files_ / (name + "_secret"); }
    /// The public key of a new pair.
    std::string make(const std::string& name) {
        const Ran ran = jobyard_command("", {"keygen", name, "--output", files_ / "", "--json"});
        EXPECT_EQ(ran.exit, 0) << ran.errors;
        return nlohmann::json::parse(ran.output)["public_key"];
    }
    void allow(const std::string& name, const std::string& roles, const std::string& queues = "\"*\"",
               const std::string& more = "") {
        sections_[name] = "[keys." + name + "]\npublic_key = \"" + make(name) + "\"\nroles = [" + roles +
                          "]\nqueues = [" + queues + "]\n" + more;
    }
    void forget(const std::string& name) { sections_.erase(name); }
    void set(const std::string& name, const std::string& section) { sections_[name] = section; }
    std::string access() const {
        std::string text;
        for (const auto& [name, section] : sections_) text += section;
        write_file(files_ / "access.toml", text);
        ::chmod((files_ / "access.toml").c_str(), 0600);
        return files_ / "access.toml";
    }
    Client::Options options(const std::string& broker, const std::string& name,
                            const std::string& server = "broker") const {
        Client::Options options = client_options(broker);
        options.server_key = file(server);
        options.key_file = secret_file(name);
        return options;
    }
    std::vector<std::string> flags(const std::string& name, const std::string& server = "broker") const {
        return {"--server-key", file(server), "--key-file", secret_file(name)};
    }

 private:
    TemporaryDirectory files_;
    std::map<std::string, std::string> sections_;
};

struct Security : testing::Test {
    KeyRing ring;
    std::unique_ptr<BrokerProcess> broker;

    void SetUp() override {
        ring.make("broker");
        ring.allow("root", "\"admin\"");
        ring.allow("web", "\"submit\"", "\"mail\", \"web.*\"");
        ring.allow("arm", "\"work\"", "\"mail\"");
        ring.allow("eye", "\"observe\"", "");
        start();
    }
    void start() {
        broker = std::make_unique<BrokerProcess>(
            std::vector<std::string>{"--key-file", ring.secret_file("broker"), "--access-file", ring.access()},
            BrokerProcess::Listen::tcp);
    }
    void reload() {
        ring.access();
        const std::size_t before = count("access: ");
        broker->process().signal(SIGHUP);
        ASSERT_TRUE(eventually([&] { return count("access: ") > before; })) << broker->log();
    }
    std::size_t count(const std::string& text) {
        std::size_t found = 0;
        const std::string log = broker->log();
        for (std::size_t at = 0; (at = log.find(text, at)) != std::string::npos; ++at) ++found;
        return found;
    }
    Client::Options as(const std::string& name) const { return ring.options(broker->endpoint(), name); }
    std::unique_ptr<Process> worker(const std::string& name, std::vector<std::string> more = {}) const {
        std::vector<std::string> flags = ring.flags(name);
        flags.push_back("--allow-commands");
        flags.insert(flags.end(), more.begin(), more.end());
        return start_command_worker(broker->endpoint(), flags);
    }
};

// --- connecting ------------------------------------------------------------------------------------------------------

TEST_F(Security, WithKeysJobsAreSubmittedRunAndSeenByTheirRoles) {
    const auto arm = worker("arm", {"--queue", "mail"});
    Client web(as("web"));
    ASSERT_TRUE(web.connect(kPatience));
    const auto job =
        web.submit({.type = "command", .payload = command_payload({"true"}), .queue = "mail", .watch = true});
    const auto result = job.result(kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_TRUE(result->completed());
    EXPECT_EQ(code_of(web.submit({.type = "t", .queue = "other"}).id(kPatience)), Code::not_allowed);
    EXPECT_TRUE(web.submit({.type = "t", .queue = "web.eu"}).id(kPatience));
    EXPECT_EQ(code_of(web.set_queue("mail", {.paused = true})), Code::not_allowed);
    EXPECT_EQ(code_of(web.stats()), Code::not_allowed);
    Client eye(as("eye"));
    EXPECT_TRUE(eye.stats(kPatience));
    EXPECT_TRUE(eye.show(*job.id(), kPatience));
    EXPECT_EQ(code_of(eye.wait(*job.id(), kPatience)), Code::not_allowed) << "that gives the result";
    Client arm_too(as("arm"));
    EXPECT_EQ(code_of(arm_too.connect(kPatience)), Code::not_allowed) << "a worker's key may not submit";
    Client root(as("root"));
    EXPECT_GE(counter(root, "denied"), 5U);
    EXPECT_THAT(broker->log(), HasSubstr("the key web may not"));
    const Ran ran = jobyard_command(broker->endpoint(), [&] {
        std::vector<std::string> words{"submit", "--queue", "mail"};
        for (const std::string& flag : ring.flags("web")) words.push_back(flag);
        for (const char* word : {"--wait", "--", "echo", "hello"}) words.emplace_back(word);
        return words;
    }());
    EXPECT_EQ(ran.exit, 0) << ran.errors;
    EXPECT_EQ(ran.output, "hello\n");
}

TEST_F(Security, AnUnknownKeyIsToldSoAtOnceAndTheLogNamesItsPublicHalf) {
    const std::string public_key = ring.make("stranger");
    Client client(as("stranger"));
    const auto connected = client.connect(kPatience);
    ASSERT_FALSE(connected);
    EXPECT_EQ(connected.error().code, Code::not_allowed);
    EXPECT_THAT(connected.error().text, HasSubstr("refused this key"));
    EXPECT_EQ(code_of(client.submit({.type = "t"}).id(kPatience)), Code::not_allowed) << "it would wait in vain";
    EXPECT_TRUE(eventually([&] { return count(public_key) > 0; })) << broker->log();
    const auto refused = worker("stranger");
    EXPECT_EQ(refused->wait(), 3) << refused->errors();
    EXPECT_THAT(refused->errors(), HasSubstr("refused this key"));
}

TEST_F(Security, AWrongServerKeyIsToldAsThat) {
    ring.make("other");
    Client client(ring.options(broker->endpoint(), "web", "other"));
    const auto connected = client.connect(kPatience);
    ASSERT_FALSE(connected);
    EXPECT_EQ(connected.error().code, Code::not_allowed);
    EXPECT_THAT(connected.error().text, HasSubstr("is the server key right?"));
    const auto arm = start_command_worker(broker->endpoint(), [&] {
        auto flags = ring.flags("arm", "other");
        flags.emplace_back("--allow-commands");
        return flags;
    }());
    EXPECT_TRUE(eventually([&] { return arm->errors().find("is the server key right?") != std::string::npos; }));
    EXPECT_TRUE(arm->running()) << "the broker may only be on its way";
}

TEST_F(Security, OneSideWithKeysAndTheOtherWithoutTellEachOther) {
    Client plain(client_options(broker->endpoint()));
    const auto connected = plain.connect(kPatience);
    ASSERT_FALSE(connected);
    EXPECT_THAT(connected.error().text, AllOf(HasSubstr("wants a key"), HasSubstr("--server-key")));
    const BrokerProcess open({}, BrokerProcess::Listen::tcp);
    Client keyed(ring.options(open.endpoint(), "web"));
    const auto other = keyed.connect(kPatience);
    ASSERT_FALSE(other);
    EXPECT_THAT(other.error().text, HasSubstr("has no key at this endpoint"))
        << "for certain or perhaps: that is a race";
    Client root(as("root"));
    EXPECT_TRUE(root.stats(kPatience)) << "the broker was harmed";
}

TEST(SecurityLocal, WhoComesThroughIpcNeedsNoKeyAndHasTheRightsOfTheFile) {
    KeyRing ring;
    ring.set("local", "[local]\nroles = [\"submit\"]\nqueues = [\"mail\"]\n");
    BrokerProcess broker({"--access-file", ring.access()});
    Client client(client_options(broker.endpoint()));
    EXPECT_TRUE(client.submit({.type = "t", .queue = "mail"}).id(kPatience));
    EXPECT_EQ(code_of(client.submit({.type = "t", .queue = "other"}).id(kPatience)), Code::not_allowed);
    EXPECT_EQ(code_of(client.stats(kPatience)), Code::not_allowed);
}

// --- starting --------------------------------------------------------------------------------------------------------

TEST_F(Security, ABrokerDoesNotStartWithWhatLetsInStrangers) {
    const auto refused = [&](std::vector<std::string> flags) {
        TemporaryDirectory data;
        std::vector<std::string> argv{program("jobyard-broker"), "--data", data / "data"};
        argv.insert(argv.end(), flags.begin(), flags.end());
        Process process({.argv = argv});
        EXPECT_EQ(process.wait(), 2) << process.errors();
        return process.errors();
    };
    const std::string key = ring.secret_file("broker");
    const std::string access = ring.access();
    EXPECT_THAT(refused({"--listen", "tcp://0.0.0.0:0"}), HasSubstr("without a key"));
    EXPECT_THAT(refused({"--listen", "tcp://0.0.0.0:0", "--key-file", key}), HasSubstr("--access-file"));
    EXPECT_THAT(refused({"--listen", "tcp://127.0.0.1:0", "--access-file", access}), HasSubstr("--key-file"));
    EXPECT_THAT(refused({"--listen", "tcp://127.0.0.1:0", "--key-file", ring.file("broker"), "--access-file", access}),
                HasSubstr("chmod 600"));
    EXPECT_THAT(refused({"--listen", "tcp://127.0.0.1:0", "--key-file", "/nonexistent", "--access-file", access}),
                HasSubstr("/nonexistent"));
    ::chmod(access.c_str(), 0666);
    EXPECT_THAT(refused({"--listen", "tcp://127.0.0.1:0", "--key-file", key, "--access-file", access}),
                HasSubstr("chmod go-w"));
}

// --- changes while it runs -------------------------------------------------------------------------------------------

TEST_F(Security, ARevokedKeyIsCutOffAtOnceAndItsJobsGoToOthersUncharged) {
    ring.allow("leg", "\"work\"", "\"mail\"");
    reload();
    const TemporaryDirectory files;
    const auto arm = worker("arm", {"--queue", "mail", "--slots", "1"});
    Client root(as("root"));
    Client web(as("web"));
    ASSERT_TRUE(workers_arrived(root, 1));
    const auto job = web.submit({.type = "command",
                                 .payload = command_payload({"sh", "-c",
                                                             "echo begun >>" + files / "begun" + "; while [ ! -e " +
                                                                 files / "gate" + " ]; do sleep 0.01; done"}),
                                 .queue = "mail",
                                 .watch = true});
    ASSERT_TRUE(eventually([&] { return exists(files / "begun"); }));
    ring.forget("arm");
    ring.forget("web");
    reload();
    EXPECT_EQ(arm->wait(), 3) << arm->errors();
    EXPECT_THAT(arm->errors(), HasSubstr("revoked"));
    EXPECT_EQ(code_of(web.submit({.type = "t", .queue = "mail"}).id(kPatience)), Code::not_allowed);
    EXPECT_EQ(code_of(job.result(kPatience)), Code::not_allowed);
    Client again(as("web"));
    EXPECT_EQ(code_of(again.connect(kPatience)), Code::not_allowed);
    const auto leg = worker("leg", {"--queue", "mail", "--slots", "1"});
    ASSERT_TRUE(eventually([&] { return lines_of(read_file(files / "begun")).size() == 2; }));
    open_gate(files / "gate");
    const auto ended = root.wait(*job.id(), kPatience);
    ASSERT_TRUE(ended) << ended.error().text;
    EXPECT_TRUE(ended->completed());
    EXPECT_EQ(ended->attempt, 1U) << "it was charged";
}

TEST_F(Security, AWrongAccessFileChangesNothing) {
    Client web(as("web"));
    ASSERT_TRUE(web.connect(kPatience));
    write_file(ring.access(), "[keys.web]\nroles = [\"sumbit\"]\n");
    broker->process().signal(SIGHUP);
    ASSERT_TRUE(eventually([&] { return count("nothing is reloaded") == 1; })) << broker->log();
    EXPECT_THAT(broker->log(), HasSubstr("access.toml:1"));
    EXPECT_TRUE(web.submit({.type = "t", .queue = "mail"}).id(kPatience));
    Client again(as("web"));
    EXPECT_TRUE(again.connect(kPatience));
}

/// Rotation: the new key at another address, clients move, the old address goes. Jobs go through all the time.
TEST(SecurityRotation, TheServersKeyChangesUnderLoadAndNoJobIsLost) {
    KeyRing ring;
    ring.make("broker");
    ring.make("next");
    ring.allow("root", "\"admin\"");
    const TemporaryDirectory files;
    const auto configure = [&](const std::string& listen) {
        write_file(files / "broker.toml", "data = \"" + files / "data" + "\"\nlisten = [" + listen +
                                              "]\nkey_file = \"" + ring.secret_file("broker") + "\"\naccess_file = \"" +
                                              ring.access() + "\"\n");
    };
    // Two words for any port that is free.
    const std::string old_one = "\"tcp://127.0.0.1:*\"";
    const std::string new_one = "\"tcp://127.0.0.1:0?key=" + ring.secret_file("next") + "\"";
    configure(old_one);
    Process broker({.argv = {program("jobyard-broker"), "--config", files / "broker.toml"}});
    const auto logs = [&](const std::string& text) {
        return eventually([&] { return broker.errors().find(text) != std::string::npos; });
    };
    const auto listening = [&] {
        std::vector<std::string> endpoints;
        for (const std::string& line : lines_of(broker.errors()))
            if (const std::size_t at = line.find(" listening on ");
                at != std::string::npos && line.find("not ") == std::string::npos)
                endpoints.push_back(line.substr(at + 14));
        return endpoints;
    };
    ASSERT_TRUE(eventually([&] { return listening().size() == 1; })) << broker.errors();
    const std::string old_at = listening()[0];
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> made{0};
    const auto load_by = [&](const std::string& at, const std::string& server) {
        return std::thread([&, at, server] {
            Client client(ring.options(at, "root", server));
            while (!stop) {
                const auto id = client.submit({.type = "t"}).id(kPatience);
                EXPECT_TRUE(id) << id.error().text;
                ++made;
            }
            EXPECT_TRUE(client.close(kPatience));
        });
    };
    const auto go_on = [&] {
        const std::uint64_t now = made;
        EXPECT_TRUE(eventually([&] { return made > now + 20; })) << "jobs do not go through any more";
    };
    std::thread load = load_by(old_at, "broker");
    go_on();
    configure(old_one + ", " + new_one);
    broker.signal(SIGHUP);
    ASSERT_TRUE(eventually([&] { return listening().size() == 2; })) << broker.errors();
    const std::string new_at = listening()[1];
    go_on();
    Client mistaken(ring.options(new_at, "root", "broker"));
    EXPECT_EQ(code_of(mistaken.connect(kPatience)), Code::not_allowed) << "the new address has the new key";
    stop = true;  // the client moves
    load.join();
    stop = false;
    load = load_by(new_at, "next");
    go_on();
    configure(new_one);
    broker.signal(SIGHUP);
    ASSERT_TRUE(logs("not listening on " + old_at)) << broker.errors();
    go_on();
    stop = true;
    load.join();
    Client late(ring.options(old_at, "root"));
    EXPECT_EQ(code_of(late.connect(1s)), Code::timeout);
    Client after(ring.options(new_at, "root", "next"));
    EXPECT_EQ(counter(after, "jobs.submitted_total"), made);
}

TEST_F(Security, AQuotaIsToldWithAPauseAndALibraryWaitsForRoom) {
    ring.allow("greedy", "\"submit\", \"operate\"", "\"*\"", "max_jobs = 1\n");
    reload();
    Client::Options at_once = as("greedy");
    at_once.retry_refused = false;
    Client client(at_once);
    const auto first = client.submit({.type = "t"}).id(kPatience);
    ASSERT_TRUE(first) << first.error().text;
    const auto refused = client.submit({.type = "t"}).id(kPatience);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::over_quota);
    EXPECT_GT(refused.error().retry_after_ms, 0U);
    EXPECT_THAT(refused.error().text, HasSubstr("max_jobs"));
    Client patient(as("greedy"));
    const auto waits = patient.submit({.type = "t"});
    Client root(as("root"));
    ASSERT_TRUE(eventually([&] { return counter(root, "refused") >= 2; }));
    EXPECT_TRUE(client.cancel(*first, kPatience));
    EXPECT_TRUE(waits.id(kPatience)) << "it does not try again";
}

TEST_F(Security, AKeyHasItsPartOfTheInstancesAlsoAfterARestartAndWhoOperatesGetsInAllTheSame) {
    ring.allow("web2", "\"submit\"");
    const std::vector<std::string> flags{
        "--key-file", ring.secret_file("broker"), "--limit", "instances=3", "--access-file", ring.access()};
    broker = std::make_unique<BrokerProcess>(flags, BrokerProcess::Listen::tcp);
    // A client that is killed leaves its instance behind: nobody has confirmed what it was answered.
    const auto leave_one_behind = [&](const std::string& name) {
        std::vector<std::string> argv{program("jobyard"), "--broker", broker->endpoint()};
        const std::vector<std::string> keys = ring.flags(name);
        argv.insert(argv.end(), keys.begin(), keys.end());
        argv.insert(argv.end(), {"submit", "--queue", "mail", "--wait", "--", "true"});
        Client root(as("root"));
        const std::uint64_t before = counter(root, "jobs.submitted_total");
        Process client({.argv = argv});
        ASSERT_TRUE(eventually([&] { return counter(root, "jobs.submitted_total") > before; })) << client.errors();
        client.kill();
    };
    const auto expect_busy = [&](const std::string& name, const std::string& why) {
        Client root(as("root"));
        const std::uint64_t before = counter(root, "refused");
        Client client(as(name));
        ASSERT_TRUE(eventually([&] { return counter(root, "refused") > before; }));
        EXPECT_TRUE(eventually([&] {
            const auto connected = client.connect(1ms);
            return !connected && connected.error().text.find(why) != std::string::npos;
        })) << why;
    };
    leave_one_behind("web");
    expect_busy("web", "max_instances");
    broker->kill();
    broker->start();
    expect_busy("web", "max_instances");
    leave_one_behind("web2");
    expect_busy("eye", "limit instances");
    ring.set("web", "[keys.web]\npublic_key = \"" + ring.file("web") +
                        "\"\nroles = [\"submit\", \"operate\"]\nqueues = [\"*\"]\nmax_instances = 2\n");
    reload();
    Client root(as("root"));
    ASSERT_TRUE(root.connect(kPatience));
    Client web(as("web"));
    const auto connected = web.connect(kPatience);
    EXPECT_TRUE(connected) << connected.error().text;
}

TEST_F(Security, ARedriveAndAMoveNeedRoomInTheirQueue) {
    ring.set("light", "[queues.light]\nmax_bytes = 10\n[queues.few]\nmax_jobs = 1\n");
    reload();
    Client::Options at_once = as("root");
    at_once.retry_refused = false;
    Client root(at_once);
    JobSpec dies{.type = "t", .payload = "1234567", .queue = "light"};
    dies.deadline_ms = 1;
    const auto dead = root.submit(dies).id(kPatience);
    ASSERT_TRUE(dead) << dead.error().text;
    ASSERT_TRUE(eventually([&] { return counter(root, "jobs.dead_total") == 1; }));
    const auto in_the_way = root.submit({.type = "t", .payload = "1234", .queue = "light"}).id(kPatience);
    ASSERT_TRUE(in_the_way);
    const auto redriven = root.redrive(*dead, kPatience);
    EXPECT_EQ(code_of(redriven), Code::over_quota);
    EXPECT_THAT(redriven.error().text, HasSubstr("max_bytes"));
    const auto moves = root.submit({.type = "t", .payload = "1234567", .queue = "mail"}).id(kPatience);
    ASSERT_TRUE(moves);
    ASSERT_TRUE(root.submit({.type = "t", .queue = "few"}).id(kPatience));
    EXPECT_EQ(code_of(root.change(*moves, {.queue = "light"}, kPatience)), Code::over_quota);
    EXPECT_EQ(code_of(root.change(*moves, {.queue = "few"}, kPatience)), Code::queue_full);
    EXPECT_TRUE(root.cancel(*in_the_way, kPatience));
    EXPECT_TRUE(root.redrive(*dead, kPatience));
}

TEST_F(Security, TheLogSaysHowManyKeysThereAreAndFromWhereAndAtAReloadWhatBecameOfSessions) {
    EXPECT_TRUE(eventually([&] { return count("access: 4 keys, from " + ring.access()) == 1; })) << broker->log();
    EXPECT_EQ(count("access: "), 1U) << "at a start no sessions end";
    Client web(as("web"));
    ASSERT_TRUE(web.connect(kPatience));
    ring.forget("web");
    reload();
    EXPECT_THAT(broker->log(), HasSubstr("access: 3 keys; 1 sessions were ended by this"));
}

// --- secrets ---------------------------------------------------------------------------------------------------------

TEST_F(Security, NoSecretKeyIsInAnyLogStatisticsEventOrFileOfTheBroker) {
    broker = std::make_unique<BrokerProcess>(
        std::vector<std::string>{"--key-file", ring.secret_file("broker"), "--access-file", ring.access(),
                                 "--log-level", "trace"},
        BrokerProcess::Listen::tcp);
    const auto arm = worker("arm", {"--queue", "mail"});
    Client root(as("root"));
    Client web(as("web"));
    ASSERT_TRUE(web.submit({.type = "command", .payload = command_payload({"env"}), .queue = "mail", .watch = true})
                    .result(kPatience));
    EXPECT_FALSE(web.stats(kPatience));
    reload();
    const auto stats = root.stats(kPatience);
    const auto events = root.events({}, 0);
    ASSERT_TRUE(stats && events);
    std::string said = broker->log() + arm->errors() + stats->map;
    for (const EventInfo& event : events->events) said += event.text + event.worker;
    EXPECT_EQ(broker->terminate(), 0);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(broker->data()))
        if (entry.is_regular_file() && entry.file_size() < (64U << 20U)) said += read_file(entry.path());
    for (const std::string name : {"broker", "root", "web", "arm", "eye"}) {
        const std::string file = read_file(ring.secret_file(name));
        const std::size_t at = file.find("secret-key = \"") + 14;
        const std::string secret = file.substr(at, 40);
        ASSERT_EQ(secret.size(), 40U);
        EXPECT_EQ(said.find(secret), std::string::npos) << "the secret key of " << name;
    }
}

// --- keygen ----------------------------------------------------------------------------------------------------------

TEST(Keygen, MakesTwoFilesOnceAndShowsTheLinesForTheAccessFile) {
    const TemporaryDirectory files;
    const Ran ran = jobyard_command("", {"keygen", "web.1", "--output", files / ""});
    EXPECT_EQ(ran.exit, 0) << ran.errors;
    EXPECT_THAT(ran.output,
                AllOf(HasSubstr("[keys.\"web.1\"]"), HasSubstr("public_key = \""), Not(HasSubstr("secret-key"))));
    struct stat info {};
    ASSERT_EQ(::stat((files / "web.1_secret").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0600U);
    const std::string before = read_file(files / "web.1_secret");
    EXPECT_EQ(jobyard_command("", {"keygen", "web.1", "--output", files / ""}).exit, 4);
    EXPECT_EQ(read_file(files / "web.1_secret"), before);
    EXPECT_EQ(jobyard_command("", {"keygen", "web.1", "--force", "--output", files / ""}).exit, 0);
    EXPECT_NE(read_file(files / "web.1_secret"), before);
    EXPECT_EQ(jobyard_command("", {"keygen", "a/b"}).exit, 2);
    EXPECT_EQ(jobyard_command("", {"keygen", "x", "--output", files / "none"}).exit, 3);
}

}  // namespace
}  // namespace jobyard::test
