// The table of settings and its sources, on a table made for the purpose: what is taken, what is refused, and in which
// words; which source wins; what a reload changes.

#include "program/settings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "program/reference.hpp"
#include "program/values.hpp"
#include "temporary_directory.hpp"

namespace jobyard::program {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Values, DurationsAreReadInEveryUnitAndAloneInTheGivenOne) {
    EXPECT_EQ(parse_duration("250ms", 1s), 250ms);
    EXPECT_EQ(parse_duration("5s", 1ms), 5s);
    EXPECT_EQ(parse_duration("1.5h", 1ms), 90min);
    EXPECT_EQ(parse_duration("7d", 1ms), 168h);
    EXPECT_EQ(parse_duration("20", 1s), 20s);
    EXPECT_EQ(parse_duration("20", 1ms), 20ms);
    for (const char* word : {"", "s", "5 s", "-1s", "5w", "1e3s", "99999999999999d"})
        EXPECT_EQ(parse_duration(word, 1s), std::nullopt) << word;
}

TEST(Values, BytesAreReadInUnitsOf1024) {
    EXPECT_EQ(parse_bytes("4096"), 4096U);
    EXPECT_EQ(parse_bytes("64K"), 65536U);
    EXPECT_EQ(parse_bytes("2g"), std::uint64_t{2} << 30);
    for (const char* word : {"", "K", "1KB", "1T", "-1", "1.5K", "99999999999G", "99999999999999999999"})
        EXPECT_EQ(parse_bytes(word), std::nullopt) << word;
}

TEST(Values, WhatIsPrintedIsReadBackTheSame) {
    for (const std::int64_t ms : {0L, 1L, 1'500L, 60'000L, 90'000L, 3'600'000L, 604'800'000L, 604'800'001L})
        EXPECT_EQ(parse_duration(exact_duration(milliseconds(ms)), 1s), milliseconds(ms));
    for (const std::uint64_t bytes : {0UL, 1UL, 1000UL, 1024UL, 65537UL, 8UL << 30U})
        EXPECT_EQ(parse_bytes(exact_bytes(bytes)), bytes);
    EXPECT_EQ(exact_duration(168h), "7d");
    EXPECT_EQ(exact_bytes(std::uint64_t{64} << 30), "64G");
}

struct Config {
    std::string name;
    bool strict = false;
    std::vector<std::string> queues = {"default"};
    std::uint32_t slots = 4;
    std::uint64_t room = 65536;
    milliseconds pause{5'000};
    std::string level = "info";
};

Table table_of(Config& config) {
    Table table{"jobyard-try", "JOBYARD_TRY_", {}, {}};
    table.settings = {
        {.key = "name", .flag = "--name", .field = &config.name, .text = "Name", .unset = "HOST", .example = {"here"}},
        {.key = "strict", .flag = "--strict", .field = &config.strict, .text = "Be strict"},
        {.key = "queues", .flag = "--queue", .field = &config.queues, .text = "Queues"},
        {.key = "limits.slots", .flag = "--slots", .field = &config.slots, .min = 1, .max = 9, .text = "Slots"},
        {.key = "limits.room", .flag = "--room", .field = &config.room, .unit = Unit::bytes, .text = "Room"},
        {.key = "limits.pause",
         .flag = "--pause",
         .field = &config.pause,
         .unit = Unit::milliseconds,
         .alone = 1s,
         .max = 3'600'000,
         .text = "Pause",
         .reloadable = true},
        {.key = "log.level",
         .flag = "--log-level",
         .field = &config.level,
         .choices = {"info", "warn"},
         .text = "Level"},
    };
    return table;
}

struct SettingsTest : testing::Test {
    Config config;
    Table table = table_of(config);
    std::vector<std::string> notes;
    test::TemporaryDirectory files;
    const std::string file = files / "try.toml";

    ~SettingsTest() override {
        for (const char* name : {"CONFIG", "LIMITS_SLOTS", "LIMITS_SLOT", "QUEUES", "SERVICE_HOST"})
            ::unsetenv((std::string("JOBYARD_TRY_") + name).c_str());
    }
    static void set(const char* name, const char* value) {
        ::setenv((std::string("JOBYARD_TRY_") + name).c_str(), value, 1);
    }
    Result<void> read(const std::string& text) {
        std::ofstream(file) << text;
        return read_files_and_environment(table, file, notes);
    }
    std::string refused(const std::string& text) {
        const auto result = read(text);
        EXPECT_FALSE(result) << text;
        return result ? "" : result.error().text;
    }
};

TEST_F(SettingsTest, AFileSetsEveryKindOfValue) {
    const auto done = read(
        "name = \"n\"\nstrict = true\nqueues = [\"a\", \"b\"]\n"
        "[limits]\nslots = 7\nroom = \"2M\"\npause = \"1m\"\n[log]\nlevel = \"warn\"\n");
    ASSERT_TRUE(done) << done.error().text;
    EXPECT_EQ(config.name, "n");
    EXPECT_TRUE(config.strict);
    EXPECT_EQ(config.queues, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(config.slots, 7U);
    EXPECT_EQ(config.room, 2U << 20U);
    EXPECT_EQ(config.pause, 1min);
    EXPECT_EQ(config.level, "warn");
    EXPECT_EQ(find(table, "limits.slots")->from, file + ":5");
}

TEST_F(SettingsTest, APlainNumberCountsWhatTheSettingSays) {
    ASSERT_TRUE(read("[limits]\npause = 3\nroom = 4096\n"));
    EXPECT_EQ(config.pause, 3s);
    EXPECT_EQ(config.room, 4096U);
}

TEST_F(SettingsTest, AnUnknownKeyIsRefusedWithFileLineAndTheNearest) {
    EXPECT_EQ(refused("\n[limits]\nslot = 1\n"),
              file + ":3: there is no setting \"limits.slot\"; the nearest is limits.slots");
    EXPECT_THAT(refused("slots = 1\n"), AllOf(HasSubstr(file + ":1: "), HasSubstr("the nearest is limits.slots")));
    EXPECT_THAT(refused("[limit]\nslots = 1\n"), HasSubstr("there is no section [limit]; the nearest is [limits]"));
    EXPECT_THAT(refused("[name]\nx = 1\n"), HasSubstr(file + ":1: "));
}

TEST_F(SettingsTest, AWrongTypeOrRangeIsRefusedWithWhatWasExpected) {
    for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
             {"limits.slots = \"7\"", "a number, from 1 to 9"},
             {"limits.slots = 0", "a number, from 1 to 9"},
             {"limits.slots = 10", "a number, from 1 to 9"},
             {"limits.slots = -1", "a number, from 1 to 9"},
             {"limits.slots = 1.5", "a number, from 1 to 9"},
             {"limits.room = \"2T\"", "a number of bytes, such as 4096, 64K, 16M or 1G, at least 0"},
             {"limits.pause = \"2h\"",
              "a duration such as 250ms, 5s, 2h or 7d (a number alone is seconds), from 0s to 1h"},
             {"strict = \"yes\"", "true or false"},
             {"strict = 1", "true or false"},
             {"name = 7", "a text"},
             {"queues = \"a\"", "a list of texts"},
             {"queues = [1]", "a list of texts"},
             {"log.level = \"loud\"", "one of info, warn"}}) {
        EXPECT_THAT(refused(text + "\n"), AllOf(HasSubstr(file + ":1: "), HasSubstr("expected " + expected))) << text;
    }
}

TEST_F(SettingsTest, WhatIsNoTomlAndWhatCannotBeReadIsRefused) {
    EXPECT_THAT(refused("name = \"a\"\nname =\n"), AllOf(HasSubstr(file + ":2: "), HasSubstr("not TOML")));
    EXPECT_THAT(refused("name = \"a\"\nname = \"b\"\n"), HasSubstr(file + ":2: "));
    const auto missing = read_files_and_environment(table, files / "none.toml", notes);
    ASSERT_FALSE(missing);
    EXPECT_THAT(missing.error().text, AllOf(HasSubstr("none.toml"), HasSubstr("No such file")));
    EXPECT_FALSE(read_files_and_environment(table, files.path(), notes)) << "a directory";
}

TEST_F(SettingsTest, AFileThatIsOnlyThereByCustomMayBeMissing) {
    table.files = {files / "none.toml", file};
    std::ofstream(file) << "name = \"here\"\n";
    ASSERT_TRUE(read_files_and_environment(table, "", notes));
    EXPECT_EQ(config.name, "here");
}

TEST_F(SettingsTest, TheEnvironmentWinsOverTheFile) {
    set("LIMITS_SLOTS", "9");
    set("QUEUES", "x,y");
    ASSERT_TRUE(read("queues = [\"a\"]\n[limits]\nslots = 2\nroom = 5\n"));
    EXPECT_EQ(config.slots, 9U);
    EXPECT_EQ(config.queues, (std::vector<std::string>{"x", "y"}));
    EXPECT_EQ(config.room, 5U);
    EXPECT_EQ(find(table, "limits.slots")->from, "$JOBYARD_TRY_LIMITS_SLOTS");
    set("LIMITS_SLOTS", "");
    ASSERT_TRUE(read("[limits]\nslots = 2\n"));
    EXPECT_EQ(config.slots, 2U) << "an empty one counts as unset";
    set("LIMITS_SLOTS", "many");
    EXPECT_THAT(refused(""),
                AllOf(HasSubstr("$JOBYARD_TRY_LIMITS_SLOTS"), HasSubstr("many"), HasSubstr("from 1 to 9")));
}

TEST_F(SettingsTest, TheEnvironmentMayNameTheFile) {
    std::ofstream(file) << "name = \"here\"\n";
    set("CONFIG", file.c_str());
    ASSERT_TRUE(read_files_and_environment(table, "", notes));
    EXPECT_EQ(config.name, "here");
}

TEST_F(SettingsTest, ASlipInTheEnvironmentIsNotedAndWhatOthersPutThereIsNot) {
    set("LIMITS_SLOT", "9");
    set("SERVICE_HOST", "10.0.0.1");
    ASSERT_TRUE(read(""));
    ASSERT_EQ(notes.size(), 1U);
    EXPECT_THAT(notes[0], AllOf(HasSubstr("$JOBYARD_TRY_LIMITS_SLOT "), HasSubstr("$JOBYARD_TRY_LIMITS_SLOTS")));
}

TEST_F(SettingsTest, WhatIsRequiredMustBeInSomeSource) {
    table.settings[0].required = true;
    const auto missing = check_required(table);
    ASSERT_FALSE(missing);
    EXPECT_THAT(missing.error().text, AllOf(HasSubstr("--name"), HasSubstr("$JOBYARD_TRY_NAME")));
    ASSERT_TRUE(read("name = \"n\"\n"));
    EXPECT_TRUE(check_required(table));
}

TEST_F(SettingsTest, AReloadTakesOverWhatItMayAndTellsAll) {
    Config fresh_config;
    Table fresh = table_of(fresh_config);
    std::ofstream(file) << "[limits]\nslots = 2\npause = \"1s\"\n";
    ASSERT_TRUE(read_files_and_environment(fresh, file, notes));
    const std::vector<Change> changes = take_changes(table, fresh);
    ASSERT_EQ(changes.size(), 2U);
    EXPECT_EQ(changes[0].key, "limits.slots");
    EXPECT_FALSE(changes[0].reloadable);
    EXPECT_EQ(changes[0].before, "4");
    EXPECT_EQ(changes[0].after, "2");
    EXPECT_EQ(changes[1].key, "limits.pause");
    EXPECT_TRUE(changes[1].reloadable);
    EXPECT_EQ(config.slots, 4U);
    EXPECT_EQ(config.pause, 1s);
}

TEST_F(SettingsTest, EffectiveSaysWhereEachValueIsFrom) {
    ASSERT_TRUE(read("[limits]\nroom = \"1G\"\n"));
    EXPECT_THAT(effective(table), AllOf(HasSubstr("limits.room   1G"), HasSubstr(file + ":2\n"), HasSubstr("(HOST)"),
                                        HasSubstr("default\n")));
}

/// The file that packages bring, with every setting in it switched on, is right and changes no default.
TEST_F(SettingsTest, TheCommentedFileSetsTheDefaults) {
    std::string text = commented_file(table);
    EXPECT_TRUE(read(text)) << "as it comes it sets nothing";
    for (const Setting& setting : table.settings) EXPECT_EQ(setting.from, "default") << setting.key;
    for (std::size_t at = 0; (at = text.find("\n#", at)) != std::string::npos; ++at)
        if (text[at + 2] != ' ') text.erase(at + 1, 1);
    const auto done = read(text);
    ASSERT_TRUE(done) << done.error().text << "\n" << text;
    Config defaults;
    const Table initial = table_of(defaults);
    for (std::size_t i = 0; i < table.settings.size(); ++i) {
        EXPECT_NE(table.settings[i].from, "default") << table.settings[i].key;
        EXPECT_EQ(words_of(table.settings[i]),
                  initial.settings[i].example.empty() ? words_of(initial.settings[i]) : initial.settings[i].example);
    }
}

}  // namespace
}  // namespace jobyard::program
