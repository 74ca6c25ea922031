// What the command prints: JSON that programs rely on, tables that people read, and the durations they write.

#include <gtest/gtest.h>

#include <map>

#include "client/cli/batch_line.hpp"
#include "client/cli/command_job.hpp"
#include "client/cli/job_json.hpp"
#include "client/cli/terminal.hpp"
#include "client/cli/values.hpp"

namespace jobyard::cli {
namespace {

using std::chrono::milliseconds;

WallTime at(std::int64_t ms) { return WallTime(milliseconds(ms)); }

TEST(CliFormat, ACommandIsTextForPeopleAndComesBackFromIt) {
    const std::string payload = encode_command({{"sh", "-c", "echo \"x\""}, {{"A", "1"}}, "/tmp", "in\nput"});
    const Result<std::string> text = command_text(payload);
    ASSERT_TRUE(text);
    EXPECT_EQ(*text,
              "{\n  \"command\": [\n    \"sh\",\n    \"-c\",\n    \"echo \\\"x\\\"\"\n  ],\n"
              "  \"env\": {\n    \"A\": \"1\"\n  },\n  \"cwd\": \"/tmp\",\n  \"stdin\": \"in\\nput\"\n}\n");
    const Result<std::string> back = command_payload_of(*text);
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, payload);
    for (const auto& [wrong, says] : std::map<std::string, std::string>{
             {"{", "no JSON object"},
             {"{\"command\": []}", "\"command\" is missing or empty"},
             {"{\"command\": [1]}", "\"command\" is [1]: expected a list of strings"},
             {"{\"command\": [\"a\"], \"env\": {\"A\": 1}}", "expected an object of strings"},
             {"{\"command\": [\"a\"], \"cwd\": 1}", "\"cwd\" is 1: expected a string"},
             {"{\"comand\": [\"a\"]}", "unknown key \"comand\""}}) {
        const Result<std::string> refused = command_payload_of(wrong);
        ASSERT_FALSE(refused) << wrong;
        EXPECT_NE(refused.error().text.find(says), std::string::npos) << refused.error().text;
    }
    EXPECT_FALSE(command_text(encode_command({{"cat"}, {}, {}, "\xff"}))) << "bytes that are no text";
    EXPECT_FALSE(command_text("x"));
}

TEST(CliFormat, AJobIsOneLineOfJson) {
    JobInfo job;
    job.id = {9'007'199'254'740'993};  // above 2^53
    job.queue = "images";
    job.type = "resize";
    job.priority = 8;
    job.state = JobState::dead;
    job.reason = "failed";
    job.attempt = 1;
    job.max_attempts = 1;
    job.created_at = at(1'795'246'500'123);
    AttemptInfo attempt;
    attempt.attempt = 1;
    attempt.worker = "w1";
    attempt.token = {17};
    attempt.started_at = at(1'795'246'501'000);
    attempt.outcome = "failed";
    attempt.error = "bad \"picture\"";
    job.attempts.push_back(attempt);
    EXPECT_EQ(
        job_json(job),
        R"({"id":"9007199254740993","queue":"images","type":"resize","priority":8,"state":"dead","reason":"failed",)"
        R"("attempt":1,"max_attempts":1,"errors":0,"crashes":0,"timeout_ms":0,"created_at":"2026-11-21T07:35:00.123Z",)"
        R"("payload_bytes":0,"attempts":[{"attempt":1,"worker":"w1","token":"17",)"
        R"("started_at":"2026-11-21T07:35:01.000Z","outcome":"failed","error":"bad \"picture\""}]})");
}

TEST(CliFormat, AResultThatIsNoTextIsBase64) {
    JobResult result;
    result.job = {7};
    result.state = JobState::completed;
    result.attempt = 1;
    result.bytes = "plain";
    EXPECT_EQ(result_json(result, true),
              R"({"id":"7","state":"completed","reason":"","attempt":1,"error":"","result":"plain"})");
    for (const auto& [bytes, base64] :
         {std::pair("\xff", "/w=="), std::pair("\xff\xfe", "//4="), std::pair("\xff\xfe\xfd", "//79")}) {
        result.bytes = bytes;
        EXPECT_NE(result_json(result, true).find(std::string(R"("result_base64":")") + base64 + "\""),
                  std::string::npos);
    }
}

TEST(CliFormat, BytesThatAreNoUtf8AreReplacedInJson) {
    JobResult result;
    result.error = "broken \xff text";
    EXPECT_NE(result_json(result, false).find("broken \xef\xbf\xbd text"), std::string::npos);
}

TEST(CliFormat, ACommandIsAMapOfTextAndBytes) {
    const std::string encoded = encode_command({{"cat", "-"}, {{"A", "1"}}, "/tmp", "in"});
    EXPECT_EQ(encoded,
              "\x84\xa4"
              "argv\x92\xa3"
              "cat\xa1-\xa3"
              "cwd\xa4/tmp\xa3"
              "env\x81\xa1"
              "A\xa1"
              "1\xa5stdin\xc4\x02in");
    EXPECT_EQ(encode_command({{"ls"}, {}, {}, {}}),
              "\x81\xa4"
              "argv\x91\xa2ls");
}

TEST(CliFormat, OnlyACommandsResultIsTakenForOne) {
    const std::string map =
        "\x83\xab"
        "exit_status\x07\xa6stdout\xc4\x03out\xa9truncated\xc3";
    const std::optional<CommandResult> result = decode_command_result(map);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->exit_status, 7);
    EXPECT_EQ(result->output, "out");
    EXPECT_TRUE(result->truncated);
    EXPECT_FALSE(decode_command_result("any bytes"));
    EXPECT_FALSE(decode_command_result(map.substr(0, 20)));
    EXPECT_FALSE(decode_command_result("\x80"));
    EXPECT_FALSE(decode_command_result(""));
}

Table table() {
    Table table({{"ID", Table::Kind::right}, {"STATE"}, {"ERROR", Table::Kind::flexible}});
    table.add({"7", {"dead", Colour::red}, "the picture is\n\033[31mbroken"});
    table.add({"1234", "queued", ""});
    return table;
}

TEST(CliFormat, ATableInAFileIsPlainAndWhole) {
    EXPECT_EQ(table().format({}),
              "  ID  STATE   ERROR\n"
              "   7  dead    the picture is  [31mbroken\n"
              "1234  queued\n");
}

TEST(CliFormat, ATableFitsItsTerminal) {
    EXPECT_EQ(table().format({24, false}),
              "  ID  STATE   ERROR\n"
              "   7  dead    the pictu…\n"
              "1234  queued\n");
}

TEST(CliFormat, ColourIsForTerminals) {
    EXPECT_EQ(painted({80, true}, Colour::red, "dead"), "\033[31mdead\033[0m");
    EXPECT_EQ(painted({80, false}, Colour::red, "dead"), "dead");
}

TEST(CliFormat, WhatAJobSaysCannotSteerTheTerminal) {
    EXPECT_EQ(printable("a\033]0;title\007b\nc"), "a ]0;title b c");
    EXPECT_EQ(printable("käse"), "käse");
    EXPECT_EQ(printable("\xff\xfe"), "??");
}

TEST(CliFormat, ReadsDurations) {
    EXPECT_EQ(parse_duration("1500ms"), milliseconds(1'500));
    EXPECT_EQ(parse_duration("90"), milliseconds(90'000));
    EXPECT_EQ(parse_duration("1.5h"), milliseconds(5'400'000));
    EXPECT_EQ(parse_duration("2d"), milliseconds(172'800'000));
    for (const char* bad : {"", "s", "-1s", "1x", "1s ", "nan", "inf", "1e99", "99999999999999999999d"})
        EXPECT_FALSE(parse_duration(bad)) << bad;
}

TEST(CliFormat, WritesDurationsShort) {
    EXPECT_EQ(short_duration(milliseconds(350)), "350ms");
    EXPECT_EQ(short_duration(milliseconds(250'000)), "4m10s");
    EXPECT_EQ(short_duration(std::chrono::hours(51)), "2d3h");
}

// A reader that calls itself for what is nested runs out of stack where somebody else chooses how deep that is.

constexpr std::size_t kDeep = 500'000;

TEST(NestedDeep, AResultOrAPayloadThatIsAskedForIsNoCommandAndHarmsNobody) {
    const std::string lists(kDeep, '\x91');
    EXPECT_FALSE(decode_command_result(lists));
    EXPECT_FALSE(command_text(lists));
    EXPECT_FALSE(
        command_text("\x81\xa4"
                     "argv" +
                     lists + '\xc0'));
    const std::string good = encode_command({{"true"}, {{"A", "b"}}, "/", "input"});
    EXPECT_TRUE(command_text(good));
    EXPECT_FALSE(command_text(good + "x")) << "nothing follows it";
}

TEST(NestedDeep, ALineOfABatchOrAnEditedCommandIsRefused) {
    const std::string lists = std::string(kDeep, '[') + std::string(kDeep, ']');
    EXPECT_THROW(read_batch_line(R"({"type": )" + lists + "}", {}), BadLine);
    EXPECT_THROW(read_batch_line(R"({"type": "t", "payload": )" + lists + "}", {}), BadLine);
    EXPECT_FALSE(command_payload_of(R"({"command": )" + lists + "}"));
    const std::string usual = std::string(50, '[') + std::string(50, ']');
    EXPECT_EQ(read_batch_line(R"({"type": "t", "payload": )" + usual + "}", {}).payload, usual);
}

}  // namespace
}  // namespace jobyard::cli
