#include "broker/config.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace jobyard::broker {
namespace {

struct ConfigTest : testing::Test {
    std::string printed;  ///< to standard output and standard error

    // What this machine is configured with is not what is tested.
    ConfigTest() { ::setenv("JOBYARD_BROKER_CONFIG", "/dev/null", 1); }

    std::variant<Config, Exit> read(const std::vector<const char*>& options) {
        std::vector<const char*> arguments{"jobyard-broker"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        testing::internal::CaptureStdout();
        testing::internal::CaptureStderr();
        auto result = read_command_line(static_cast<int>(arguments.size()), arguments.data());
        printed = testing::internal::GetCapturedStdout() + testing::internal::GetCapturedStderr();
        return result;
    }
    Config accepted(const std::vector<const char*>& options) {
        const auto result = read(options);
        const Config* config = std::get_if<Config>(&result);
        EXPECT_NE(config, nullptr) << printed;
        return config != nullptr ? *config : Config{};
    }
    /// What a refusal says.
    std::string refused(const std::vector<const char*>& options) {
        const auto result = read(options);
        EXPECT_TRUE(std::holds_alternative<Exit>(result) && std::get<Exit>(result) == Exit::usage);
        return printed;
    }
    static bool mentions(const std::string& text, const std::string& part) {
        return text.find(part) != std::string::npos;
    }
};

TEST_F(ConfigTest, DataIsAllItNeeds) {
    ::setenv("XDG_RUNTIME_DIR", "/run/me", 1);
    ::unsetenv("JOBYARD_BROKER");
    const Config config = accepted({"--data", "/d"});
    EXPECT_EQ(config.data, "/d");
    ASSERT_EQ(config.listen.size(), 1U);
    EXPECT_EQ(config.listen[0], "ipc:///run/me/jobyard/broker");
    EXPECT_TRUE(mentions(refused({}), "--data"));
}

TEST_F(ConfigTest, AGroupIsNamedAndMustExist) {
    EXPECT_FALSE(accepted({"--data", "/d"}).group);
    EXPECT_EQ(accepted({"--data", "/d", "--group", "root"}).group, gid_t{0});
    EXPECT_TRUE(mentions(refused({"--data", "/d", "--group", "no such"}), "there is no group of that name"));
}

TEST_F(ConfigTest, EveryOptionReachesItsField) {
    const Config config = accepted({"--data",
                                    "/d",
                                    "--listen",
                                    "ipc:///a",
                                    "--listen",
                                    "tcp://127.0.0.1:1",
                                    "--log-level",
                                    "debug",
                                    "--log-file",
                                    "/l",
                                    "--map-size",
                                    "3M",
                                    "--ready-fd",
                                    "1",
                                    "--heartbeat",
                                    "1",
                                    "--lost-after",
                                    "2",
                                    "--renew",
                                    "3",
                                    "--lease",
                                    "4",
                                    "--claim-window",
                                    "5",
                                    "--reconnect-grace",
                                    "6"});
    ASSERT_EQ(config.listen.size(), 2U);
    EXPECT_EQ(config.listen[0], "ipc:///a");
    EXPECT_EQ(config.listen[1], "tcp://127.0.0.1:1");
    EXPECT_EQ(config.log_level, "debug");
    EXPECT_EQ(config.log_file, "/l");
    EXPECT_EQ(config.map_bytes, std::uint64_t{3} << 20);
    EXPECT_EQ(config.ready_fd, 1);
    EXPECT_EQ(config.timing.heartbeat_ms, 1U);
    EXPECT_EQ(config.timing.lost_after_ms, 2U);
    EXPECT_EQ(config.timing.renew_ms, 3U);
    EXPECT_EQ(config.timing.lease_ms, 4U);
    EXPECT_EQ(config.timing.claim_window_ms, 5U);
    EXPECT_EQ(config.timing.reconnect_grace_ms, 6U);
}

TEST_F(ConfigTest, DurationsMayHaveAUnit) {
    const Config config = accepted({"--data", "/d", "--heartbeat", "250ms", "--lost-after", "1m", "--limit",
                                    "kept_ms=7d", "--limit", "dead_ms=9"});
    EXPECT_EQ(config.timing.heartbeat_ms, 250U);
    EXPECT_EQ(config.timing.lost_after_ms, 60'000U);
    EXPECT_EQ(config.limits.kept_ms, 7U * 24 * 3600 * 1000);
    EXPECT_EQ(config.limits.dead_ms, 9U);
    EXPECT_TRUE(mentions(refused({"--data", "/d", "--heartbeat", "2d"}), "from 1ms to 1d"));
}

TEST_F(ConfigTest, EveryLimitCanBeSetByItsName) {
    for (const LimitName& limit : kLimitNames) {
        // The two marks of free space must stay in order, so both are set.
        const std::string setting = std::string(limit.name) + "=7";
        const Config config =
            accepted({"--data", "/d", "--limit", "dispatch_free_bytes=7", "--limit", setting.c_str()});
        EXPECT_EQ(config.limits.*limit.value, 7U) << limit.name;
    }
}

TEST_F(ConfigTest, BytesMayHaveAUnitAndCountsMayNot) {
    EXPECT_EQ(accepted({"--data", "/d", "--limit", "payload_bytes=64K"}).limits.payload_bytes, 65536U);
    EXPECT_EQ(accepted({"--data", "/d", "--limit", "kept_bytes=2g"}).limits.kept_bytes, std::uint64_t{2} << 30);
    for (const char* setting : {"queue_jobs=1K", "payload_bytes=1T", "payload_bytes=1KB", "payload_bytes=", "jobs=-1",
                                "kept_bytes=99999999999G", "jobs=1.5", "jobs=99999999999999999999"})
        EXPECT_TRUE(mentions(refused({"--data", "/d", "--limit", setting}), "expected a number")) << setting;
}

TEST_F(ConfigTest, AnUnknownLimitIsRefusedNamingTheNearest) {
    EXPECT_TRUE(mentions(refused({"--data", "/d", "--limit", "payload_byte=1"}), "nearest is payload_bytes"));
    EXPECT_TRUE(mentions(refused({"--data", "/d", "--limit", "quue_jobs=1"}), "nearest is queue_jobs"));
    EXPECT_TRUE(mentions(refused({"--data", "/d", "--limit", "jobs"}), "NAME=VALUE"));
}

TEST_F(ConfigTest, APayloadMustFitAMessage) {
    EXPECT_TRUE(mentions(refused({"--data", "/d", "--limit", "payload_bytes=2M"}), "from 0 to 1984K"));
}

TEST_F(ConfigTest, AnAddressBeyondThisMachineNeedsInsecure) {
    EXPECT_TRUE(mentions(refused({"--data", "/d", "--listen", "tcp://0.0.0.0:7466"}), "--insecure"));
    EXPECT_TRUE(accepted({"--data", "/d", "--listen", "tcp://0.0.0.0:7466", "--insecure"}).insecure);
}

TEST_F(ConfigTest, WhatContradictsItselfIsRefused) {
    EXPECT_TRUE(mentions(refused({"--data", "/d", "--heartbeat", "20000"}), "--lost-after"));
    EXPECT_TRUE(mentions(refused({"--data", "/d", "--lease", "10000"}), "--renew"));
    EXPECT_TRUE(mentions(refused({"--data", "/d", "--limit", "dispatch_free_bytes=2G"}), "submit_free_bytes"));
    EXPECT_TRUE(mentions(refused({"--data", "/d", "--ready-fd", "999"}), "not an open descriptor"));
    EXPECT_TRUE(mentions(refused({"--data", "/d", "--log-level", "loud"}), "--log-level"));
    EXPECT_TRUE(mentions(refused({"--data", "/d", "--what"}), "--what"));
}

TEST_F(ConfigTest, HelpNamesEveryLimitWithItsDefaultAndEveryExitStatus) {
    const auto result = read({"--help"});
    ASSERT_TRUE(std::holds_alternative<Exit>(result));
    EXPECT_EQ(std::get<Exit>(result), Exit::ok);
    for (const LimitName& limit : kLimitNames)
        EXPECT_TRUE(mentions(printed, "\n  " + std::string(limit.name) + " ")) << limit.name;
    EXPECT_TRUE(mentions(printed, " 10000000 ") && mentions(printed, " 64G ") && mentions(printed, " 30d ")) << printed;
    for (int status = 0; status <= static_cast<int>(Exit::disk); ++status)
        EXPECT_TRUE(mentions(printed, "\n  " + std::to_string(status) + "  ")) << status;
}

}  // namespace
}  // namespace jobyard::broker
