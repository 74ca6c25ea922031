#include "broker/access_file.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "peer/keys.hpp"
#include "temporary_directory.hpp"

namespace jobyard::broker {
namespace {

struct AccessFile : testing::Test {
    test::TemporaryDirectory files;
    std::string key = make_key_pair()->public_key;
    std::string other = make_key_pair()->public_key;

    Result<Access> read(const std::string& text) {
        std::ofstream(files / "access.toml") << text;
        return read_access_file(files / "access.toml");
    }
    /// What is wrong with it, and where.
    std::string wrong(const std::string& text) {
        const auto access = read(text);
        EXPECT_FALSE(access) << text;
        return access ? "" : access.error().text;
    }
    static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
    std::string section(const std::string& rest) { return "[keys.web]\npublic_key = \"" + key + "\"\n" + rest; }
};

TEST_F(AccessFile, SaysWhoMayDoWhatAndHowMuch) {
    const auto access =
        read("[local]\nroles = [\"observe\"]\n\n[keys.web]\npublic_key = \"" + key +
             "\"\nroles = [\"submit\", \"work\"]\nqueues = [\"mail\", \"web.*\"]\nmax_jobs = 100\nmax_bytes = \"1M\"\n"
             "max_rate = 50\nmax_sessions = 7\nmax_instances = 70\n[keys.root]\npublic_key = \"" +
             other + "\"\nroles = [\"admin\"]\n[queues.mail]\nmax_jobs = 10\n[queues.\"*\"]\nmax_rate = 5\n");
    ASSERT_TRUE(access) << access.error().text;
    ASSERT_EQ(access->keys.size(), 2U);
    const Who web = access->find(key);
    ASSERT_NE(web, nullptr);
    EXPECT_EQ(web->name, "web");
    EXPECT_EQ(web->roles, 3);
    EXPECT_TRUE(web->covers("web.eu"));
    EXPECT_FALSE(web->covers("other"));
    EXPECT_FALSE(web->sees_all());
    EXPECT_EQ(web->quota, (Quota{100, 1 << 20, 50}));
    EXPECT_EQ(web->max_sessions, 7U);
    EXPECT_EQ(web->max_instances, 70U);
    EXPECT_TRUE(access->find(other)->covers("anything"));
    EXPECT_FALSE(access->local->covers("mail"));
    EXPECT_TRUE(access->local->sees_all());
    EXPECT_EQ(access->find("unknown"), nullptr);
    ASSERT_EQ(access->queues.size(), 2U);
    EXPECT_EQ(access->queues[0].first, "mail") << "in the order of the file";
    EXPECT_EQ(access->queues[1].second.rate, 5U);
}

TEST_F(AccessFile, AKeyMayStandInItsOwnFile) {
    const KeyPair pair = make_key_pair().value();
    ASSERT_TRUE(write_key_files(files / "", "ann", pair, false));
    const auto access = read("[keys.ann]\npublic_key = \"" + files / "ann" + "\"\nroles = [\"observe\"]\n");
    ASSERT_TRUE(access) << access.error().text;
    EXPECT_NE(access->find(pair.public_key), nullptr);
}

TEST_F(AccessFile, WithoutLocalWhoComesThroughIpcMayDoEverything) {
    EXPECT_TRUE(read(section("roles = [\"admin\"]\n"))->local->is_admin());
}

TEST_F(AccessFile, AnErrorNamesTheLineAndWhatWasExpected) {
    EXPECT_TRUE(has(wrong(section("roles = [\"sumbit\"]\nqueues = [\"*\"]\n")), "access.toml:1"));
    EXPECT_TRUE(has(wrong(section("roles = [\"sumbit\"]\nqueues = [\"*\"]\n")), "expected submit, work"));
    EXPECT_TRUE(has(wrong(section("roles = [\"submit\"]\n")), "has no queues"));
    EXPECT_TRUE(has(wrong(section("roles = []\n")), "roles is empty"));
    EXPECT_TRUE(has(wrong(section("")), "has no roles"));
    EXPECT_TRUE(has(wrong("[keys.web]\nroles = [\"admin\"]\n"), "has no public_key"));
    EXPECT_TRUE(has(wrong("[keys.web]\npublic_key = \"short\"\nroles = [\"admin\"]\n"), "short"));
    EXPECT_TRUE(has(wrong(section("roles = [\"admin\"]\nmax_job = 1\n")), ":4: there is no setting \"max_job\""));
    EXPECT_TRUE(
        has(wrong(section("roles = [\"admin\"]\n[keys.twin]\npublic_key = \"" + key + "\"\nroles = [\"admin\"]\n")),
            "same public key as web"));
    EXPECT_TRUE(has(wrong("[key.web]\nroles = [\"admin\"]\n"), "the nearest is [keys]"));
    EXPECT_TRUE(has(wrong("keys = 3\n"), "no section [keys]"));
    EXPECT_TRUE(has(wrong("[keys]\nweb = 3\n"), "[keys.NAME]"));
    EXPECT_TRUE(has(wrong("[queues.mail]\n"), "expected max_jobs"));
    EXPECT_TRUE(has(wrong("[keys.web\n"), "not TOML"));
    EXPECT_TRUE(has(read_access_file(files / "missing").error().text, "No such file"));
}

}  // namespace
}  // namespace jobyard::broker
