// Queues, jobs that wait, and many jobs at once, by the `jobyard` command against a real broker and worker.

#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <ctime>
#include <nlohmann/json.hpp>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using nlohmann::json;

std::string in_an_hour() {
    const std::time_t then = std::time(nullptr) + 3600;
    std::tm parts{};
    gmtime_r(&then, &parts);
    std::array<char, 40> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text.data();
}

class Operate : public testing::Test {
 protected:
    Ran run(const std::vector<std::string>& arguments) { return jobyard_command(broker_.endpoint(), arguments, {}); }
    /// Of the first line.
    json object(std::vector<std::string> arguments) {
        arguments.push_back("--json");
        const Ran ran = run(arguments);
        EXPECT_EQ(ran.exit, 0) << ran.errors;
        const std::vector<std::string> lines = lines_of(ran.output);
        return lines.empty() ? json::object() : json::parse(lines[0], nullptr, false);
    }
    std::string submit(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), "submit");
        const Ran ran = run(arguments);
        EXPECT_EQ(ran.exit, 0) << ran.errors;
        return lines_of(ran.output).at(0);
    }
    void start_worker() {
        worker_ = start_command_worker(broker_.endpoint(), {"--slots", "4", "--queue", "default", "--queue", "mail"});
    }
    BrokerProcess broker_;
    std::unique_ptr<Process> worker_;
};

TEST_F(Operate, APausedQueueStaysPausedWhenTheBrokerIsKilledAndSaysWhoAndWhy) {
    EXPECT_EQ(run({"queue", "pause", "mail", "--why", "the relay is down"}).exit, 0);
    const std::string job = submit({"--queue", "mail", "--", "true"});
    broker_.kill();
    broker_.start();
    start_worker();
    EXPECT_EQ(run({"submit", "--wait", "--", "true"}).exit, 0) << "other queues go on";
    const json queue = object({"queue", "show", "mail"});
    EXPECT_EQ(queue["paused"], true);
    EXPECT_EQ(queue["paused_why"], "the relay is down");
    EXPECT_TRUE(queue["paused_by"].get<std::string>().find('@') != std::string::npos);
    EXPECT_EQ(object({"show", job})["reason"], "queue_paused");
    EXPECT_EQ(run({"queue", "resume", "mail"}).exit, 0);
    EXPECT_EQ(run({"wait", job}).exit, 0);
}

TEST_F(Operate, AQueuesLimitAndPolicyAreThoseOfItsJobs) {
    EXPECT_EQ(run({"queue", "set", "mail", "--max-running", "1", "--max-attempts", "1", "--timeout", "7s"}).exit, 0);
    start_worker();
    const std::string first = submit({"--queue", "mail", "--", "sleep", "30"});
    const std::string second = submit({"--queue", "mail", "--", "false"});
    ASSERT_TRUE(eventually([&] { return object({"show", first})["state"] == "running"; }));
    EXPECT_EQ(object({"show", second})["reason"], "queue_limit");
    EXPECT_EQ(object({"show", second})["timeout_ms"], 7000);
    EXPECT_EQ(run({"cancel", first}).exit, 0);
    EXPECT_EQ(run({"wait", second}).exit, 1);
    EXPECT_EQ(object({"show", second})["attempt"], 1) << "its queue gives it one attempt";
    EXPECT_EQ(run({"queue", "set", "mail"}).exit, 2);
    EXPECT_EQ(run({"queue", "set", "mail", "--max-running", "-1"}).exit, 2);
    EXPECT_EQ(run({"queue", "show", "nowhere"}).exit, 4);
    EXPECT_NE(run({"queue", "list"}).output.find("mail"), std::string::npos);
}

TEST_F(Operate, JobsThatWaitAreHeldReleasedMovedAndGivenAnotherPriority) {
    const std::string job = submit({"--hold", "--queue", "elsewhere", "--", "true"});
    EXPECT_EQ(object({"show", job})["reason"], "held");
    EXPECT_EQ(run({"move", "default", job}).exit, 0);
    EXPECT_EQ(run({"reprioritize", "9", job}).exit, 0);
    const json shown = object({"show", job});
    EXPECT_EQ(shown["queue"], "default");
    EXPECT_EQ(shown["priority"], 9);
    start_worker();
    EXPECT_EQ(run({"release", job}).exit, 0);
    EXPECT_EQ(run({"wait", job}).exit, 0);
    EXPECT_EQ(run({"hold", job}).exit, 4) << "it has ended";
    EXPECT_EQ(run({"hold", "999"}).exit, 4);
}

TEST_F(Operate, TimesOfAJobAreKept) {
    start_worker();
    EXPECT_EQ(run({"submit", "--wait", "--at", "2020-01-01T00:00:00Z", "--", "true"}).exit, 0);
    EXPECT_EQ(object({"show", submit({"--at", in_an_hour(), "--", "true"})})["reason"], "delayed");
    EXPECT_EQ(run({"submit", "--at", "tomorrow", "--", "true"}).exit, 2);
    const std::string late = submit({"--type", "nobody", "--queue-timeout", "200ms"});
    EXPECT_EQ(run({"wait", late}).exit, 1);
    EXPECT_EQ(object({"show", late})["reason"], "expired");
    const std::string dead = submit({"--deadline", "300ms", "--", "sleep", "30"});
    EXPECT_EQ(run({"wait", dead}).exit, 1);
    EXPECT_EQ(object({"show", dead})["reason"], "expired");
}

TEST_F(Operate, ManyJobsAreCancelledRedrivenAndPurgedByWhatTheyHaveInCommon) {
    for (int i = 0; i < 5; ++i) submit({"--queue", i < 3 ? "mail" : "other", "--type", "nobody"});
    EXPECT_EQ(object({"cancel", "--all", "--queue", "mail", "--dry-run"})["would_be"], 3);
    EXPECT_EQ(object({"cancel", "--all", "--queue", "mail"})["cancelled"], 3);
    EXPECT_EQ(run({"cancel"}).exit, 2);
    start_worker();
    std::vector<std::string> wait{"wait"};
    for (const char* code : {"3", "4", "5"})
        wait.push_back(submit({"--max-attempts", "1", "--", "sh", "-c", std::string("exit ") + code}));
    EXPECT_EQ(run(wait).exit, 1);
    const json group = object({"dead", "list", "--group"});
    EXPECT_EQ(group["count"], 3) << "they differ in a number only";
    const std::string print = group["fingerprint"];
    EXPECT_EQ(object({"dead", "redrive", "--all", "--error", print})["redriven"], 3);
    EXPECT_EQ(run(wait).exit, 1);
    EXPECT_EQ(run({"dead", "purge", "--all"}).exit, 2) << "without a terminal it wants --yes";
    EXPECT_EQ(object({"dead", "purge", "--yes", wait[1]})["purged"], 1);
    EXPECT_EQ(object({"dead", "purge", "--all", "--yes"})["purged"], 2);
    EXPECT_TRUE(run({"dead", "list"}).output.empty());
    EXPECT_EQ(run({"task", "stop", "1"}).exit, 4) << "it is over";
    EXPECT_NE(run({"task", "list"}).output.find("purge"), std::string::npos);
}

TEST_F(Operate, ADeadJobIsEditedKeptThroughAKillAndRunsAnewWithWhatItSays) {
    start_worker();
    const std::string job = submit({"--max-attempts", "1", "--", "sh", "-c", "echo wrong >&2; exit 3"});
    EXPECT_EQ(run({"wait", job}).exit, 1);
    const TemporaryDirectory files;
    const std::string command = files / "command.json";
    write_file(command, R"({"command": ["sh", "-c", "cat; echo $WORD"], "env": {"WORD": "right"}, "stdin": "all "})");
    const Ran edited = run({"dead", "edit", job, "--command", command, "--timeout", "9s", "--priority", "7"});
    EXPECT_EQ(edited.exit, 0) << edited.errors;
    EXPECT_EQ(edited.output, job + "  edited\n");
    broker_.kill();
    broker_.start();
    const json shown = object({"dead", "show", job});
    EXPECT_TRUE(shown.contains("edited_at")) << shown;
    EXPECT_EQ(shown["timeout_ms"], 9000);
    EXPECT_EQ(shown["error"], "exit status 3");
    EXPECT_NE(run({"events", "--job", job}).output.find("edited: payload, priority, timeout"), std::string::npos);
    EXPECT_NE(run({"dead", "show", "--payload", job}).output.find("\"WORD\": \"right\""), std::string::npos);
    EXPECT_EQ(run({"dead", "redrive", job}).exit, 0);
    broker_.kill();
    broker_.start();
    EXPECT_EQ(run({"wait", job}).exit, 0);
    EXPECT_EQ(run({"result", job}).output, "all right\n");
    const Ran late = run({"dead", "edit", job, "--priority", "1"});
    EXPECT_EQ(late.exit, 4);
    EXPECT_NE(late.errors.find("it is not in the dead letter queue"), std::string::npos) << late.errors;
    EXPECT_EQ(run({"show", "--payload", job}).exit, 4) << "of a completed job it is gone";
}

TEST_F(Operate, AnEditorOpensTheCommandOfADeadJob) {
    start_worker();
    const std::string job = submit({"--max-attempts", "1", "--", "false"});
    EXPECT_EQ(run({"wait", job}).exit, 1);
    const TemporaryDirectory files;
    const auto with = [&](const std::string& editor) {
        Process process({.argv = {program("jobyard"), "dead", "edit", job},
                         .env = {{"JOBYARD_BROKER", broker_.endpoint()},
                                 {"VISUAL", ""},
                                 {"EDITOR", editor},
                                 {"TMPDIR", files.path()}}});
        const int exit = process.wait().value_or(-1);
        return Ran{exit, process.output(), process.errors()};
    };
    EXPECT_EQ(with("true").errors, "jobyard: nothing was changed\n");
    EXPECT_EQ(with("false").exit, 2) << "an editor that fails changes nothing";
    EXPECT_EQ(with("").exit, 2) << "there is no terminal either";
    const Ran broken = with("sed -i s/command/comand/");
    EXPECT_EQ(broken.exit, 2);
    EXPECT_NE(broken.errors.find("unknown key \"comand\""), std::string::npos) << broken.errors;
    EXPECT_NE(broken.errors.find("is kept in " + files / "jobyard-"), std::string::npos) << broken.errors;
    EXPECT_EQ(with("sed -i s/false/true/").exit, 0);
    EXPECT_EQ(run({"dead", "redrive", job}).exit, 0);
    EXPECT_EQ(run({"wait", job}).exit, 0);
    const std::string other = submit({"--type", "nobody", "--deadline", "1ms"});
    EXPECT_EQ(run({"wait", other}).exit, 1);
    EXPECT_EQ(run({"dead", "edit", other}).exit, 2) << "only commands are text";
    const std::string payload = files / "payload";
    write_file(payload, std::string("any\0bytes", 9));
    EXPECT_EQ(run({"dead", "edit", other, "--payload", payload, "--type", "else"}).exit, 0);
    EXPECT_EQ(run({"show", "--payload", other}).output, std::string("any\0bytes", 9));
}

TEST_F(Operate, ADeadJobOfAnArrayIsEditedButForItsCommand) {
    start_worker();
    const std::string array = submit({"--array", "0-1", "--max-attempts", "1", "--", "false"});
    EXPECT_EQ(run({"wait", array}).exit, 1);
    const std::string job = object({"dead", "list"})["id"];
    const TemporaryDirectory files;
    const std::string command = files / "command.json";
    write_file(command, R"({"command": ["true"]})");
    const Ran refused = run({"dead", "edit", job, "--command", command});
    EXPECT_EQ(refused.exit, 4);
    EXPECT_NE(refused.errors.find("the jobs of an array have one payload: submit a job with the new one"),
              std::string::npos)
        << refused.errors;
    EXPECT_EQ(run({"dead", "edit", job}).exit, 2) << "nor is there anything to open an editor for";
    EXPECT_EQ(run({"dead", "edit", job, "--timeout", "9s", "--queue", "mail"}).exit, 0);
    for (const std::string& of : {job, array})
        EXPECT_NE(run({"show", "--payload", of}).output.find("\"false\""), std::string::npos) << of;
    EXPECT_EQ(run({"dead", "redrive", job}).exit, 0);
    EXPECT_EQ(run({"wait", job}).exit, 1);
    EXPECT_EQ(object({"show", job})["queue"], "mail");
}

TEST_F(Operate, AKeyMayNameItsJobOnlyWhileItLives) {
    start_worker();
    const std::string first = submit({"--key", "nightly", "--key-for", "active", "--", "true"});
    EXPECT_EQ(run({"wait", first}).exit, 0);
    EXPECT_NE(submit({"--key", "nightly", "--key-for", "active", "--", "true"}), first);
}

}  // namespace
}  // namespace jobyard::test
