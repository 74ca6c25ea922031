// The `jobyard` command against a real broker and a real worker: every verb, its JSON, its exit codes.

#include <gtest/gtest.h>
#include <signal.h>

#include <nlohmann/json.hpp>
#include <set>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using nlohmann::json;

class Cli : public testing::Test {
 protected:
    Ran run(const std::vector<std::string>& arguments, const std::string& input = {}) {
        return jobyard_command(broker_.endpoint(), arguments, input);
    }
    /// One JSON object a line.
    std::vector<json> objects(const std::vector<std::string>& arguments, int exit = 0) {
        const Ran ran = run(arguments);
        EXPECT_EQ(ran.exit, exit) << ran.errors;
        std::vector<json> found;
        for (const std::string& line : lines_of(ran.output)) {
            found.push_back(json::parse(line, nullptr, false));
            EXPECT_TRUE(found.back().is_object()) << line;
        }
        return found;
    }
    json object(const std::vector<std::string>& arguments, int exit = 0) {
        const std::vector<json> found = objects(arguments, exit);
        EXPECT_EQ(found.size(), 1U);
        return found.empty() ? json::object() : found[0];
    }
    void start_worker() { worker_ = start_command_worker(broker_.endpoint(), {"--name", "here", "--slots", "2"}); }
    std::string submitted(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), "submit");
        const Ran ran = run(arguments);
        EXPECT_EQ(ran.exit, 0) << ran.errors;
        const std::vector<std::string> lines = lines_of(ran.output);
        EXPECT_EQ(lines.size(), 1U);
        return lines.empty() ? "" : lines[0];
    }
    const TemporaryDirectory files_;
    BrokerProcess broker_;
    std::unique_ptr<Process> worker_;
};

TEST_F(Cli, SubmitPrintsTheNumberOfEachJobAndShowKnowsAllItsOptions) {
    write_file(files_ / "payload", "twelve bytes");
    EXPECT_EQ(submitted({"--", "true"}), "1");
    EXPECT_EQ(submitted({"--queue", "images", "--priority", "8", "--type", "resize", "--payload", files_ / "payload",
                         "--delay", "1h", "--key", "mine", "--max-attempts", "2", "--timeout", "30s"}),
              "2");
    const json job = object({"show", "--json", "2"});
    EXPECT_EQ(job["id"], "2") << "a string of digits";
    EXPECT_EQ(job["queue"], "images");
    EXPECT_EQ(job["type"], "resize");
    EXPECT_EQ(job["priority"], 8);
    EXPECT_EQ(job["state"], "scheduled");
    EXPECT_EQ(job["reason"], "delayed");
    EXPECT_EQ(job["attempt"], 0);
    EXPECT_EQ(job["max_attempts"], 2);
    EXPECT_EQ(job["timeout_ms"], 30'000);
    EXPECT_EQ(job["payload_bytes"], 12);
    EXPECT_EQ(job["key"], "mine");
    ASSERT_TRUE(job["created_at"].is_string());
    EXPECT_TRUE(job["created_at"].get<std::string>().ends_with("Z")) << job["created_at"];
    EXPECT_TRUE(job.contains("due_at"));
}

TEST_F(Cli, SubmitJsonSaysWhetherAKeyWasThere) {
    const json made = object({"submit", "--json", "--key", "k", "--", "true"});
    EXPECT_EQ(made, (json{{"id", "1"}, {"code", "created"}}));
    EXPECT_EQ(object({"submit", "--json", "--key", "k", "--", "true"}), (json{{"id", "1"}, {"code", "existing"}}));
    const Ran conflict = run({"submit", "--key", "k", "--", "false"});
    EXPECT_EQ(conflict.exit, 4);
    EXPECT_FALSE(conflict.errors.empty());
}

TEST_F(Cli, SubmitTakesAPayloadFromStandardInput) {
    EXPECT_EQ(run({"submit", "--type", "t", "--payload", "-"}, "from standard input").exit, 0);
    EXPECT_EQ(object({"show", "--json", "1"})["payload_bytes"], 19);
    start_worker();
    const Ran cat = run({"submit", "--wait", "--payload", "-", "--", "cat"}, std::string("bytes \0 and all\n", 16));
    EXPECT_EQ(cat.exit, 0);
    EXPECT_EQ(cat.output, std::string("bytes \0 and all\n", 16));
}

TEST_F(Cli, WaitingForOneCommandPassesOnItsOutputItsErrorsAndItsExitCode) {
    start_worker();
    const Ran ran = run({"submit", "--wait", "--max-attempts", "1", "--env", "NAME=value", "--env", "EMPTY=", "--cwd",
                         files_.path(), "--", "sh", "-c", "echo $NAME in $PWD; echo to errors >&2; exit 7"});
    EXPECT_EQ(ran.exit, 7);
    EXPECT_EQ(ran.output, "value in " + files_.path() + "\n");
    EXPECT_EQ(ran.errors, "to errors\n");
    EXPECT_EQ(run({"submit", "--wait", "--", "true"}).exit, 0);
    EXPECT_EQ(run({"submit", "--wait", "--max-attempts", "1", "--", "/no/such/program"}).exit, 127)
        << "as a shell says it";
}

TEST_F(Cli, ABatchIsSubmittedInOrderAndMayBeRunAgainForLinesWithAKey) {
    start_worker();
    std::string lines;
    for (int i = 0; i < 200; ++i)
        lines += json{{"command", {"sh", "-c", "echo " + std::to_string(i)}},
                      {"key", "n" + std::to_string(i)},
                      {"priority", 1 + i % 10}}
                     .dump() +
                 "\n";
    lines +=
        R"({"type": "resize", "payload": "text", "queue": "images", "key": "picture", "max_attempts": 9, "timeout": "90s", "delay": "1h"})"
        "\n\n"
        R"({"type": "resize", "payload": {"width": 10}, "queue": "images", "key": "other", "delay": 3600})"
        "\n";
    write_file(files_ / "batch.jsonl", lines);
    const Ran first = run({"submit", "--batch", files_ / "batch.jsonl"});
    EXPECT_EQ(first.exit, 0) << first.errors;
    ASSERT_EQ(lines_of(first.output).size(), 202U);
    for (std::size_t i = 0; i < 202; ++i) EXPECT_EQ(lines_of(first.output)[i], std::to_string(i + 1));
    const json job = object({"show", "--json", "201"});
    EXPECT_EQ(job["queue"], "images");
    EXPECT_EQ(job["max_attempts"], 9);
    EXPECT_EQ(job["timeout_ms"], 90'000);
    EXPECT_EQ(job["payload_bytes"], 4);

    broker_.kill();
    broker_.start();
    const Ran again = run({"submit", "--batch", "-"}, lines);
    EXPECT_EQ(again.exit, 0) << again.errors;
    EXPECT_EQ(again.output, first.output) << "no job was made twice";
    EXPECT_EQ(object({"stats", "--json"})["jobs"]["submitted_total"], 202);
    EXPECT_EQ(objects({"submit", "--json", "--batch", files_ / "batch.jsonl"}).at(0),
              (json{{"id", "1"}, {"code", "existing"}}));

    std::vector<std::string> wait{"wait"};
    for (int i = 1; i <= 200; ++i) wait.push_back(std::to_string(i));
    EXPECT_EQ(run(wait).exit, 0);
    EXPECT_EQ(run({"result", "200"}).output, "199\n");
}

TEST_F(Cli, ABatchWithALineThatIsNoneSaysWhichAndWhy) {
    const Ran ran =
        run({"submit", "--batch", "-"}, "{\"type\": \"t\"}\n{\"type\": \"t\", \"priority\": 11}\n{\"type\": \"t\"}\n");
    EXPECT_EQ(ran.exit, 2);
    EXPECT_EQ(ran.output, "1\n") << "what came before it is durable";
    EXPECT_NE(ran.errors.find(":2: "), std::string::npos) << ran.errors;
    EXPECT_NE(ran.errors.find("priority"), std::string::npos) << ran.errors;
    EXPECT_EQ(object({"stats", "--json"})["jobs"]["submitted_total"], 1);
    for (const std::string line : {"no json", "[]", "{}", R"({"command": []})", R"({"command": ["a"], "type": "t"})",
                                   R"({"type": "t", "colour": 1})"})
        EXPECT_EQ(run({"submit", "--batch", "-"}, line + "\n").exit, 2) << line;
    EXPECT_EQ(run({"submit", "--batch", files_ / "missing"}).exit, 2);
}

TEST_F(Cli, WaitTellsHowEachJobEndedAndExitsAsTheWorst) {
    start_worker();
    EXPECT_EQ(submitted({"--", "true"}), "1");
    EXPECT_EQ(submitted({"--max-attempts", "1", "--", "false"}), "2");
    EXPECT_EQ(run({"wait", "1"}).exit, 0);
    const std::vector<json> ends = objects({"wait", "--json", "1", "2"}, 1);
    ASSERT_EQ(ends.size(), 2U);
    EXPECT_EQ(ends[0]["id"], "1");
    EXPECT_EQ(ends[0]["state"], "completed");
    EXPECT_EQ(ends[0]["attempt"], 1);
    EXPECT_EQ(ends[1]["state"], "dead");
    EXPECT_EQ(ends[1]["reason"], "failed");
    EXPECT_FALSE(ends[1]["error"].get<std::string>().empty());
    EXPECT_EQ(run({"wait", "1", "999", "2"}).exit, 4) << "one that is not known is the worst of these";
    EXPECT_EQ(submitted({"--type", "nobody"}), "3");
    const Ran impatient = run({"wait", "--time-limit", "200ms", "3"});
    EXPECT_EQ(impatient.exit, 3);
    EXPECT_FALSE(impatient.errors.empty());
}

TEST_F(Cli, ResultPrintsWhatACommandWrote) {
    start_worker();
    submitted({"--max-attempts", "1", "--", "sh", "-c", "echo out; echo err >&2; exit 4"});
    EXPECT_EQ(run({"wait", "1"}).exit, 1);
    const Ran text = run({"result", "1"});
    EXPECT_EQ(text.exit, 1) << "it did not complete";
    EXPECT_EQ(text.output, "out\n");
    EXPECT_NE(text.errors.find("err\n"), std::string::npos);
    const json result = object({"result", "--json", "1"}, 1);
    EXPECT_EQ(result["id"], "1");
    EXPECT_EQ(result["state"], "dead");
    EXPECT_EQ(result["result"]["exit_status"], 4);
    EXPECT_EQ(result["result"]["stdout"], "out\n");
    EXPECT_EQ(result["result"]["stderr"], "err\n");
    EXPECT_EQ(result["result"]["truncated"], false);
    submitted({"--type", "nobody"});
    const Ran early = run({"result", "2"});
    EXPECT_EQ(early.exit, 1);
    EXPECT_NE(early.errors.find("queued"), std::string::npos) << early.errors;
    EXPECT_EQ(run({"result", "999"}).exit, 4);
}

TEST_F(Cli, ShowHasEveryAttempt) {
    start_worker();
    submitted({"--max-attempts", "1", "--", "sh", "-c", "echo the reason >&2; exit 3"});
    run({"wait", "1"});
    const json job = object({"show", "--json", "1"});
    EXPECT_EQ(job["state"], "dead");
    EXPECT_EQ(job["reason"], "failed");
    EXPECT_EQ(job["attempt"], 1);
    EXPECT_EQ(job["errors"], 1);
    EXPECT_EQ(job["result"]["exit_status"], 3);
    ASSERT_EQ(job["attempts"].size(), 1U);
    const json& attempt = job["attempts"][0];
    EXPECT_EQ(attempt["attempt"], 1);
    EXPECT_EQ(attempt["worker"], "here");
    EXPECT_EQ(attempt["outcome"], "failed");
    EXPECT_TRUE(attempt.contains("started_at") && attempt.contains("ended_at"));
    EXPECT_FALSE(attempt["error"].get<std::string>().empty());
    EXPECT_EQ(attempt["tail"], "the reason\n");
    const Ran text = run({"show", "1"});
    EXPECT_EQ(text.exit, 0);
    EXPECT_NE(text.output.find("the reason"), std::string::npos);
    EXPECT_EQ(run({"show", "999"}).exit, 4);
}

TEST_F(Cli, ListShowsWhatIsAskedForAndNothingElse) {
    start_worker();
    submitted({"--", "true"});
    submitted({"--max-attempts", "1", "--", "false"});
    run({"wait", "1", "2"});
    for (int i = 0; i < 3; ++i) submitted({"--queue", "a", "--type", "x"});
    for (int i = 0; i < 2; ++i) submitted({"--queue", "b", "--type", "y"});
    const auto ids = [&](std::vector<std::string> filter) {
        filter.insert(filter.begin(), {"list", "--json", "--limit", "0"});
        std::set<std::string> found;
        for (const json& job : objects(filter)) found.insert(job["id"].get<std::string>());
        return found;
    };
    using Ids = std::set<std::string>;
    EXPECT_EQ(ids({}), (Ids{"1", "2", "3", "4", "5", "6", "7"}));
    EXPECT_EQ(ids({"--queue", "a"}), (Ids{"3", "4", "5"}));
    EXPECT_EQ(ids({"--type", "y"}), (Ids{"6", "7"}));
    EXPECT_EQ(ids({"--state", "completed"}), (Ids{"1"}));
    EXPECT_EQ(ids({"--state", "dead"}), (Ids{"2"}));
    EXPECT_EQ(ids({"--state", "queued", "--queue", "b"}), (Ids{"6", "7"}));
    EXPECT_EQ(ids({"--state", "running"}), (Ids{}));
    EXPECT_EQ(objects({"list", "--json", "--limit", "2"}).size(), 2U);
    EXPECT_NE(run({"list", "--limit", "2"}).errors.find("more"), std::string::npos);
    EXPECT_EQ(run({"list", "--state", "no such state"}).exit, 2);
}

TEST_F(Cli, DeadListAndRedriveBringAJobBackWhenItsCauseIsMended) {
    start_worker();
    const std::string cause = files_ / "cause";
    for (int i = 0; i < 3; ++i)
        submitted({"--queue", i == 2 ? "other" : "default", "--max-attempts", "1", "--", "test", "-e", cause});
    auto other = start_command_worker(broker_.endpoint(), {"--queue", "other"});
    EXPECT_EQ(run({"wait", "1", "2", "3"}).exit, 1);
    const std::vector<json> dead = objects({"dead", "list", "--json"});
    ASSERT_EQ(dead.size(), 3U);
    for (const json& job : dead) EXPECT_EQ(job["state"], "dead");
    EXPECT_EQ(objects({"dead", "list", "--json", "--queue", "other"}).size(), 1U);
    write_file(cause, "");
    const json redriven = object({"dead", "redrive", "--json", "1"});
    EXPECT_EQ(redriven["id"], "1");
    EXPECT_EQ(redriven["code"], "ok");
    EXPECT_EQ(run({"wait", "1"}).exit, 0);
    EXPECT_EQ(run({"dead", "redrive", "1"}).exit, 4) << "it is not dead any more";
    EXPECT_EQ(objects({"dead", "redrive", "--json", "--all"}).at(0)["redriven"], 2);
    EXPECT_EQ(run({"wait", "2", "3"}).exit, 0);
    EXPECT_TRUE(objects({"dead", "list", "--json"}).empty());
    EXPECT_EQ(run({"dead", "redrive"}).exit, 2);
}

TEST_F(Cli, DeadListShowsTheJobsOfOneErrorOrReason) {
    start_worker();
    for (int i = 0; i < 3; ++i) submitted({"--max-attempts", "1", "--", "sh", "-c", "exit 3"});
    submitted({"--max-attempts", "1", "--", "/no/such/program"});
    submitted({"--queue", "unserved", "--queue-timeout", "1ms", "--", "true"});
    EXPECT_EQ(run({"wait", "1", "2", "3", "4", "5"}).exit, 1);
    const std::vector<json> groups = objects({"dead", "list", "--group", "--json"});
    ASSERT_EQ(groups.size(), 3U);
    EXPECT_EQ(groups[0]["count"], 3);
    const std::string error = groups[0]["fingerprint"];
    const std::vector<json> alike = objects({"dead", "list", "--json", "--error", error});
    ASSERT_EQ(alike.size(), 3U);
    for (const json& job : alike) EXPECT_EQ(job["error"], "exit status 3");
    const Ran two = run({"dead", "list", "--json", "--error", error, "--limit", "2"});
    EXPECT_EQ(lines_of(two.output).size(), 2U);
    EXPECT_NE(two.errors.find("there are more than these 2"), std::string::npos) << two.errors;
    const std::vector<json> expired = objects({"dead", "list", "--json", "--reason", "expired"});
    ASSERT_EQ(expired.size(), 1U);
    EXPECT_EQ(expired[0]["id"], "5");
    EXPECT_EQ(run({"dead", "list", "--group", "--error", error}).exit, 2);
}

TEST_F(Cli, CancelTellsWhatBecameOfIt) {
    submitted({"--type", "nobody"});
    const json answer = object({"cancel", "--json", "1"});
    EXPECT_EQ(answer["id"], "1");
    EXPECT_EQ(answer["code"], "ok");
    EXPECT_EQ(object({"cancel", "--json", "1"})["code"], "ended");
    EXPECT_EQ(run({"cancel", "1", "999"}).exit, 4);
    start_worker();
    const std::string id = submitted({"--", "sleep", "1000"});
    ASSERT_TRUE(eventually([&] {
        const std::string state = object({"show", "--json", id})["state"].get<std::string>();
        return state == "assigned" || state == "running";
    }));
    EXPECT_EQ(object({"cancel", "--json", id})["code"], "cancel_requested");
    EXPECT_EQ(object({"wait", "--json", id}, 1)["state"], "cancelled");
}

TEST_F(Cli, StatsHaveTheCountersThatScriptsRelyOn) {
    start_worker();
    EXPECT_EQ(run({"submit", "--wait", "--", "true"}).exit, 0);
    submitted({"--type", "nobody"});
    EXPECT_EQ(run({"submit", "--wait", "--max-attempts", "1", "--", "false"}).exit, 1);
    const json stats = object({"stats", "--json"});
    EXPECT_EQ(stats["jobs"]["queued"], 1);
    EXPECT_EQ(stats["jobs"]["running"], 0);
    EXPECT_EQ(stats["jobs"]["submitted_total"], 3);
    EXPECT_EQ(stats["jobs"]["completed_total"], 1);
    EXPECT_EQ(stats["jobs"]["completed_kept"], 1);
    EXPECT_EQ(stats["jobs"]["dead"], 1);
    EXPECT_EQ(stats["workers"], 1);
    EXPECT_EQ(stats["slots"], 2);
    ASSERT_TRUE(stats["queues"].is_array());
    EXPECT_EQ(stats["queues"][0]["name"], "default");
    const Ran text = run({"stats"});
    EXPECT_NE(text.output.find("workers"), std::string::npos) << text.output;
}

TEST_F(Cli, ABrokerThatCannotBeReachedIsSaidClearly) {
    const std::string nowhere = "ipc://" + files_ / "nobody";
    for (const std::vector<std::string>& verb :
         std::vector<std::vector<std::string>>{{"submit", "--time-limit", "200ms", "--", "true"},
                                               {"wait", "--time-limit", "200ms", "1"},
                                               {"show", "--time-limit", "200ms", "1"},
                                               {"result", "--time-limit", "200ms", "1"},
                                               {"list", "--time-limit", "200ms"},
                                               {"stats", "--time-limit", "200ms"},
                                               {"cancel", "--time-limit", "200ms", "1"},
                                               {"dead", "list", "--time-limit", "200ms"},
                                               {"dead", "redrive", "--time-limit", "200ms", "1"}}) {
        const Ran ran = jobyard_command(nowhere, verb);
        EXPECT_EQ(ran.exit, 3) << verb[0];
        EXPECT_NE(ran.errors.find(nowhere), std::string::npos) << verb[0] << ": " << ran.errors;
        EXPECT_TRUE(ran.output.empty()) << verb[0];
    }
    EXPECT_EQ(jobyard_command("nonsense", {"stats"}).exit, 3);
}

TEST_F(Cli, WrongUsageIsAnsweredWithTheUsage) {
    for (const std::vector<std::string>& wrong :
         std::vector<std::vector<std::string>>{{},
                                               {"submit"},
                                               {"submit", "--priority", "11", "--", "true"},
                                               {"submit", "--delay", "soon", "--", "true"},
                                               {"wait"},
                                               {"wait", "no number"},
                                               {"show"},
                                               {"no such verb"},
                                               {"dead"},
                                               {"submit", "--no-such-option", "--", "true"},
                                               {"submit", "--type", "t", "--", "true"}}) {
        const Ran ran = run(wrong);
        EXPECT_EQ(ran.exit, 2) << (wrong.empty() ? "nothing" : wrong.back());
        EXPECT_FALSE(ran.errors.empty());
    }
    for (const std::vector<std::string>& help : std::vector<std::vector<std::string>>{{"--help"},
                                                                                      {"submit", "--help"},
                                                                                      {"wait", "--help"},
                                                                                      {"show", "--help"},
                                                                                      {"result", "--help"},
                                                                                      {"list", "--help"},
                                                                                      {"cancel", "--help"},
                                                                                      {"stats", "--help"},
                                                                                      {"dead", "--help"},
                                                                                      {"dead", "list", "--help"},
                                                                                      {"dead", "redrive", "--help"}}) {
        const Ran ran = run(help);
        EXPECT_EQ(ran.exit, 0);
        EXPECT_FALSE(ran.output.empty());
    }
}

TEST_F(Cli, WrongUsageSaysWhatIsWrongTheNearestNameAndWhereToReadOn) {
    const auto told = [&](const std::vector<std::string>& wrong) {
        const Ran ran = run(wrong);
        EXPECT_EQ(ran.exit, 2);
        return ran.errors;
    };
    EXPECT_EQ(told({"submt", "--", "true"}),
              "jobyard: there is no verb \"submt\"; the nearest is submit; see jobyard --help\n");
    EXPECT_EQ(told({"queue"}),
              "jobyard: a verb is missing: expected one of list, show, pause, resume, set; see jobyard queue --help\n");
    EXPECT_EQ(told({"queue", "pasue", "mail"}),
              "jobyard: there is no verb \"pasue\"; the nearest is pause; see jobyard queue --help\n");
    EXPECT_EQ(told({"list", "--quue", "mail"}),
              "jobyard: there is no option --quue; the nearest is --queue; see jobyard list --help\n");
    EXPECT_EQ(told({"submit", "--prio", "3", "--", "true"}),
              "jobyard: there is no option --prio; the nearest is --priority; see jobyard submit --help\n");
    EXPECT_EQ(told({"wait"}), "jobyard: ID is required; see jobyard wait --help\n");
    EXPECT_EQ(told({"list", "--", "true"}), "jobyard: only jobyard submit takes a command after --\n");
    EXPECT_EQ(told({"submit", "--delay", "1s", "--at", "2026-12-01T10:00:00Z", "--", "true"}),
              "jobyard: --delay and --at exclude each other; see jobyard submit --help\n");
    EXPECT_EQ(told({"queue", "set", "mail", "--max-running", "0"}),
              "jobyard: --max-running: \"0\": expected a number from 1 to 4294967294, or none; see jobyard queue set "
              "--help\n");
}

TEST_F(Cli, ANumberIsDigitsAndNothingElse) {
    for (const std::string wrong : {"-1", "1x", "99999999999999999999", ""})
        EXPECT_EQ(run({"show", wrong}).exit, 2) << wrong;
    EXPECT_EQ(run({"show", "-1"}).errors,
              "jobyard: ID: \"-1\": expected a whole number, from 0; see jobyard show --help\n");
    EXPECT_EQ(run({"list", "--limit", "-1"}).exit, 2);
    for (int job = 1; job <= 10; ++job) submitted({"--", "true"});
    EXPECT_EQ(object({"show", "--json", "010"})["id"], "10") << "not octal";
}

TEST_F(Cli, WithJsonAnErrorIsAnObjectToo) {
    const auto code = [&](const std::vector<std::string>& arguments, int exit) {
        const json error = object(arguments, exit);
        EXPECT_FALSE(error.value("text", "").empty()) << arguments[0];
        return error.value("code", "");
    };
    submitted({"--key", "k", "--", "true"});
    EXPECT_EQ(code({"submit", "--json", "--key", "k", "--", "false"}, 4), "conflict");
    EXPECT_EQ(code({"submit", "--json"}, 2), "usage");
    EXPECT_EQ(code({"list", "--json", "--quue", "mail"}, 2), "usage");
    EXPECT_EQ(code({"no such verb", "--json"}, 2), "usage");
    EXPECT_EQ(code({"queue", "show", "--json", "nowhere"}, 4), "unknown_queue");
    EXPECT_EQ(code({"worker", "show", "--json", "nobody"}, 4), "unknown_worker");
    EXPECT_EQ(code({"task", "stop", "--json", "99"}, 4), "unknown_task");
    EXPECT_EQ(code({"dead", "purge", "--json", "1"}, 2), "usage") << "it is not said that it is meant";
    EXPECT_EQ(code({"dead", "redrive", "--json"}, 2), "usage");
    EXPECT_EQ(code({"cancel", "--json", "--queue", "mail"}, 2), "usage") << "without --all";
    for (const char* verb : {"show", "wait", "result", "cancel", "release"}) {
        const json error = object({verb, "--json", "99"}, 4);
        EXPECT_EQ(error["id"], "99") << verb;
        EXPECT_EQ(error["code"], "unknown_job") << verb;
    }
    const Ran away = jobyard_command("ipc://" + files_ / "nobody", {"stats", "--json", "--time-limit", "200ms"});
    EXPECT_EQ(away.exit, 3);
    EXPECT_EQ(json::parse(away.output, nullptr, false).value("code", ""), "timeout") << away.output;
}

TEST_F(Cli, WaitingForACommandThatNeverRanSaysWhy) {
    start_worker();
    const Ran none = run({"submit", "--wait", "--max-attempts", "1", "--", "/no/such/program"});
    EXPECT_EQ(none.exit, 127);
    EXPECT_NE(none.errors.find("command not found"), std::string::npos) << none.errors;
    const Ran nowhere = run({"submit", "--wait", "--max-attempts", "1", "--cwd", "/no/such", "--", "true"});
    EXPECT_EQ(nowhere.exit, 126);
    EXPECT_NE(nowhere.errors.find("cannot enter directory"), std::string::npos) << nowhere.errors;
    const Ran killed = run({"submit", "--wait", "--max-attempts", "1", "--", "sh", "-c", "kill -9 $$"});
    EXPECT_EQ(killed.exit, 137);
    EXPECT_NE(killed.errors.find("killed by signal 9"), std::string::npos) << killed.errors;
}

TEST_F(Cli, AJobThatDoesNotEndInTimeIsNotCalledABrokerThatDoesNotAnswer) {
    submitted({"--hold", "--", "true"});
    EXPECT_EQ(run({"wait", "--time-limit", "100ms", "1"}).errors.find("no answer"), std::string::npos);
    const Ran ran = run({"submit", "--hold", "--wait", "--time-limit", "1s", "--", "true"});
    EXPECT_EQ(ran.exit, 3);
    EXPECT_NE(ran.errors.find("job 2: it has not ended within"), std::string::npos) << ran.errors;
}

TEST_F(Cli, AJobSaysItselfWithWhichPausesItIsTried) {
    start_worker();
    submitted({"--max-attempts", "2", "--backoff-initial", "1h", "--backoff-factor", "300", "--backoff-max", "2h",
               "--backoff-jitter", "0", "--", "false"});
    EXPECT_EQ(run({"submit", "--batch", "-"},
                  R"({"command": ["false"], "max_attempts": 2, "backoff_initial": "1h", "backoff_max": "2h"})"
                  "\n")
                  .exit,
              0);
    EXPECT_EQ(run({"events", "--follow", "--after", "0", "--kind", "failed", "--limit", "2"}).exit, 0);
    for (const char* job : {"1", "2"}) EXPECT_EQ(object({"show", "--json", job})["state"], "retrying") << job;
    EXPECT_EQ(run({"submit", "--backoff-factor", "99", "--", "true"}).exit, 2);
}

TEST_F(Cli, NothingIsPaintedIntoAPipe) {
    start_worker();
    submitted({"--max-attempts", "1", "--", "false"});
    run({"wait", "1"});
    for (const std::vector<std::string>& verb :
         std::vector<std::vector<std::string>>{{"list"}, {"show", "1"}, {"stats"}, {"dead", "list"}, {"wait", "1"}}) {
        const Ran ran = run(verb);
        EXPECT_FALSE(ran.output.empty()) << verb[0];
        EXPECT_EQ((ran.output + ran.errors).find('\x1b'), std::string::npos) << verb[0];
    }
}

TEST(CliEndpoint, EveryProgramFindsTheBrokerOfItsUserWithoutBeingTold) {
    const TemporaryDirectory runtime;
    const std::map<std::string, std::string> env{{"XDG_RUNTIME_DIR", runtime.path()}};
    Process broker({.argv = {program("jobyard-broker"), "--data", runtime / "data"}, .env = env});
    Process worker({.argv = {program("jobyard-worker")}, .env = env});
    Process submit({.argv = {program("jobyard"), "submit", "--wait", "--", "echo", "found"}, .env = env});
    EXPECT_EQ(submit.wait(), 0) << submit.errors();
    EXPECT_EQ(submit.output(), "found\n");
    EXPECT_TRUE(exists(runtime / "jobyard/broker"));
}

TEST(CliEndpoint, TheOptionGoesBeforeTheEnvironment) {
    BrokerProcess broker;
    const Ran ran = jobyard_command("ipc:///nowhere", {"--broker", broker.endpoint(), "stats", "--json"});
    EXPECT_EQ(ran.exit, 0) << ran.errors;
    EXPECT_EQ(jobyard_command("ipc:///nowhere", {"stats", "--json", "--broker", broker.endpoint()}).exit, 0);
}

}  // namespace
}  // namespace jobyard::test
