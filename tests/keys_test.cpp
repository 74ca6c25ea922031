// Key files: by the convention of czmq, for their owner alone, and never half written.

#include "peer/keys.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "temporary_directory.hpp"

namespace jobyard {
namespace {

std::string read(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}
void write(const std::string& path, const std::string& text, mode_t mode = 0600) {
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
}
mode_t mode_of(const std::string& path) {
    struct stat info {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 0777U;
}

struct Keys : testing::Test {
    test::TemporaryDirectory files;
    KeyPair pair = make_key_pair().value();
    std::string place = files / "";
};

TEST_F(Keys, APairIsTwoTextsThatBelongTogether) {
    EXPECT_TRUE(is_key(pair.public_key));
    EXPECT_TRUE(is_key(pair.secret_key));
    EXPECT_NE(pair.public_key, pair.secret_key);
    EXPECT_NE(make_key_pair()->secret_key, pair.secret_key);
    EXPECT_FALSE(is_key(pair.public_key + "x"));
    EXPECT_FALSE(is_key(std::string(40, ' ')));
}

TEST_F(Keys, WhatIsWrittenIsReadAgainAndTheSecretIsItsOwnersAlone) {
    ASSERT_TRUE(write_key_files(place, "web", pair, false));
    EXPECT_EQ(mode_of(files / "web_secret"), 0600U);
    EXPECT_EQ(mode_of(files / "web"), 0644U);
    EXPECT_EQ(*read_public_key(files / "web"), pair.public_key);
    EXPECT_EQ(*read_public_key(files / "web_secret"), pair.public_key);
    EXPECT_EQ(read_key_pair(files / "web_secret")->secret_key, pair.secret_key);
    EXPECT_EQ(read_key_pair(files / "web_secret")->public_key, pair.public_key);
    EXPECT_EQ(read(files / "web").find(pair.secret_key), std::string::npos) << "the secret is in the public file";
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(place), {}), 2) << "something is left";
}

TEST_F(Keys, NothingIsReplacedUnlessItIsWanted) {
    ASSERT_TRUE(write_key_files(place, "web", pair, false));
    const KeyPair other = make_key_pair().value();
    const auto refused = write_key_files(place, "web", other, false);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find("--force"), std::string::npos);
    EXPECT_EQ(read_key_pair(files / "web_secret")->secret_key, pair.secret_key);
    EXPECT_EQ(*read_public_key(files / "web"), pair.public_key);
    ASSERT_TRUE(write_key_files(place, "web", other, true));
    EXPECT_EQ(read_key_pair(files / "web_secret")->secret_key, other.secret_key);
    EXPECT_EQ(*read_public_key(files / "web"), other.public_key);
    // Half of a pair is there: the other half is not put beside it.
    write(files / "half", "somebody's");
    EXPECT_FALSE(write_key_files(place, "half", other, false));
    EXPECT_FALSE(std::filesystem::exists(files / "half_secret"));
    EXPECT_FALSE(write_key_files(files / "no such directory", "web", other, false));
}

TEST_F(Keys, WhatCzmqWritesIsRead) {
    write(files / "cert_secret",
          "#   ****  Generated on 2026-01-01 by CZMQ  ****\n#   ZeroMQ CURVE **Secret** Certificate\n"
          "\nmetadata\n    email = \"a@b\"\ncurve\n    public-key = \"" +
              pair.public_key + "\"\n    secret-key = \"" + pair.secret_key + "\"\n");
    EXPECT_EQ(read_key_pair(files / "cert_secret")->secret_key, pair.secret_key);
    write(files / "bare_secret", pair.secret_key + "\n");
    EXPECT_EQ(read_key_pair(files / "bare_secret")->public_key, pair.public_key);
    write(files / "bare", "  " + pair.public_key + "\n", 0644);
    EXPECT_EQ(*read_public_key(files / "bare"), pair.public_key);
    EXPECT_EQ(*read_public_key(pair.public_key), pair.public_key) << "a key is taken as itself";
}

TEST_F(Keys, AnErrorSaysWhatToDoAndNeverTheSecret) {
    ASSERT_TRUE(write_key_files(place, "web", pair, false));
    const auto error = [&](const std::string& file) {
        const auto read = read_key_pair(files / file);
        EXPECT_FALSE(read) << file;
        const std::string text = read ? "" : read.error().text;
        EXPECT_EQ(text.find(pair.secret_key), std::string::npos) << text;
        return text;
    };
    EXPECT_NE(error("web").find("chmod 600"), std::string::npos) << "mode 0644";
    ::chmod((files / "web").c_str(), 0600);
    EXPECT_NE(error("web").find("web_secret"), std::string::npos) << "it is the public half";
    ::chmod((files / "web_secret").c_str(), 0640);
    EXPECT_NE(error("web_secret").find("chmod 600"), std::string::npos);
    write(files / "mixed_secret", "curve\n    public-key = \"" + make_key_pair()->public_key +
                                      "\"\n    secret-key = \"" + pair.secret_key + "\"\n");
    EXPECT_NE(error("mixed_secret").find("do not belong together"), std::string::npos);
    write(files / "damaged_secret", "curve\n    secret-key = \"" + pair.secret_key.substr(1) + "\"\n");
    EXPECT_NE(error("damaged_secret").find("no secret key"), std::string::npos);
    EXPECT_NE(error("missing").find("No such file"), std::string::npos);
    std::filesystem::create_directory(files / "directory");
    EXPECT_NE(error("directory").find("cannot be read"), std::string::npos);
}

TEST_F(Keys, OfAConnectionBothAreNeededAndIpcHasNone) {
    ::unsetenv("JOBYARD_SERVER_KEY");
    ::unsetenv("JOBYARD_KEY_FILE");
    ASSERT_TRUE(write_key_files(place, "web", pair, false));
    const std::string tcp = "tcp://127.0.0.1:7466";
    EXPECT_FALSE(keys_for(tcp, "", "").value().has_value());
    EXPECT_NE(keys_for(tcp, pair.public_key, "").error().text.find("--key-file"), std::string::npos);
    EXPECT_NE(keys_for(tcp, "", files / "web_secret").error().text.find("--server-key"), std::string::npos);
    const auto keys = keys_for(tcp, files / "web", files / "web_secret").value();
    ASSERT_TRUE(keys);
    EXPECT_EQ(keys->server, pair.public_key);
    EXPECT_EQ(keys->own.secret_key, pair.secret_key);
    ::setenv("JOBYARD_SERVER_KEY", pair.public_key.c_str(), 1);
    ::setenv("JOBYARD_KEY_FILE", (files / "web_secret").c_str(), 1);
    EXPECT_TRUE(keys_for(tcp, "", "").value().has_value());
    EXPECT_FALSE(keys_for("ipc:///x", "", "").value().has_value());
    ::unsetenv("JOBYARD_SERVER_KEY");
    ::unsetenv("JOBYARD_KEY_FILE");
}

}  // namespace
}  // namespace jobyard
