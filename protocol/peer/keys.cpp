#include "peer/keys.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>

namespace jobyard {
namespace {

constexpr std::size_t kTextBytes = 40;
constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kMaxFileBytes = 16384;  // more is no key file
constexpr std::string_view kZ85 =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

Error failed(const std::string& what) { return {Code::internal, what + ": " + std::strerror(errno)}; }
Error wrong(std::string text) { return {Code::bad_field, std::move(text)}; }

Error no_curve() {
    return {Code::internal,
            "this libzmq was built without CURVE, so it has no keys; install one that has (Debian's does)"};
}

std::string without_space(std::string_view text) {
    constexpr const char* kSpace = " \t\r\n";
    const std::size_t first = text.find_first_not_of(kSpace);
    if (first == std::string_view::npos) return {};
    return std::string(text.substr(first, text.find_last_not_of(kSpace) - first + 1));
}

struct File {
    std::string text;
    mode_t mode = 0;
};

Result<File> read_file(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return failed("the key file " + path + " cannot be read");
    File file;
    struct stat info {};
    std::array<char, kMaxFileBytes> bytes{};
    const bool is_known = ::fstat(fd, &info) == 0;
    const ssize_t got = is_known && S_ISREG(info.st_mode) ? ::read(fd, bytes.data(), bytes.size()) : -1;
    if (got < 0 && is_known && !S_ISREG(info.st_mode)) errno = EINVAL;
    const Error error = failed("the key file " + path + " cannot be read");
    ::close(fd);
    if (got < 0) return error;
    file.text.assign(bytes.data(), static_cast<std::size_t>(got));
    file.mode = info.st_mode;
    return file;
}

/// The value of `name = "value"` in the section `curve`, as czmq writes it; empty if there is none.
std::string value_of(const std::string& text, std::string_view name) {
    bool in_curve = false;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::string_view whole = std::string_view(text).substr(at, end - at);
        at = end + 1;
        const std::string line = without_space(whole);
        if (line.empty() || line[0] == '#') continue;
        const bool is_section = whole[0] != ' ' && whole[0] != '\t';
        if (is_section) in_curve = line == "curve";
        const std::size_t equals = line.find('=');
        if (is_section || !in_curve || equals == std::string::npos) continue;
        if (without_space(std::string_view(line).substr(0, equals)) != name) continue;
        const std::string value = without_space(std::string_view(line).substr(equals + 1));
        if (value.size() >= 2 && value.front() == value.back() && (value[0] == '"' || value[0] == '\''))
            return value.substr(1, value.size() - 2);
        return value;
    }
    return {};
}

Result<std::string> public_key_of(const std::string& secret) {
    std::array<char, kTextBytes + 1> text{};
    if (::zmq_has("curve") == 0) return no_curve();
    if (::zmq_curve_public(text.data(), secret.c_str()) != 0) return wrong("not a key");
    return std::string(text.data());
}

std::string file_text(const std::string& name, const KeyPair& pair, bool with_secret) {
    std::array<char, 64> now{};
    const std::time_t seconds = std::time(nullptr);
    std::tm parts{};
    std::strftime(now.data(), now.size(), "%Y-%m-%dT%H:%M:%SZ", ::gmtime_r(&seconds, &parts));
    std::string text = "#   ";
    text += with_secret ? "A CURVE secret key of jobyard. Keep it secret, and on its machine.\n"
                        : "A CURVE public key of jobyard. It may be given to anybody.\n";
    text += "#   Made at " + std::string(now.data()) + "\nmetadata\n    name = \"" + name + "\"\ncurve\n";
    text += "    public-key = \"" + pair.public_key + "\"\n";
    if (with_secret) text += "    secret-key = \"" + pair.secret_key + "\"\n";
    return text;
}

/// Complete and on the disk under a name of its own.
Result<std::string> write_beside(const std::string& path, const std::string& text) {
    std::string made = path + ".XXXXXX";
    const int fd = ::mkostemp(made.data(), O_CLOEXEC);  // mode 0600
    if (fd < 0) return failed("cannot write " + path);
    const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(fd) == 0;
    const Error error = failed("cannot write " + path);
    ::close(fd);
    if (written) return made;
    ::unlink(made.c_str());
    return error;
}

bool sync_directory(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = fd >= 0 && ::fsync(fd) == 0;
    if (fd >= 0) ::close(fd);
    return synced;
}

std::string or_variable(std::string given, const char* variable) {
    const char* value = given.empty() ? std::getenv(variable) : nullptr;
    return value == nullptr ? given : value;
}

}  // namespace

Result<KeyPair> make_key_pair() {
    std::array<char, kTextBytes + 1> public_key{};
    std::array<char, kTextBytes + 1> secret_key{};
    if (::zmq_has("curve") == 0 || ::zmq_curve_keypair(public_key.data(), secret_key.data()) != 0) return no_curve();
    return KeyPair{public_key.data(), secret_key.data()};
}

bool is_key(const std::string& text) {
    return text.size() == kTextBytes && text.find_first_not_of(kZ85) == std::string::npos;
}

std::string key_text(const unsigned char* bytes) {
    std::array<char, kTextBytes + 1> text{};
    ::zmq_z85_encode(text.data(), bytes, kKeyBytes);
    return text.data();
}

Result<std::string> read_public_key(const std::string& key_or_file) {
    if (is_key(key_or_file)) return key_or_file;
    const auto file = read_file(key_or_file);
    if (!file) return file.error();
    const std::string bare = without_space(file->text);
    const std::string key = is_key(bare) ? bare : value_of(file->text, "public-key");
    if (is_key(key)) return key;
    return wrong("the key file " + key_or_file +
                 " has no public key: expected a file that jobyard keygen wrote, or the 40 characters of a key");
}

Result<KeyPair> read_key_pair(const std::string& secret_file) {
    const auto file = read_file(secret_file);
    if (!file) return file.error();
    if ((file->mode & 077U) != 0)
        return wrong("the key file " + secret_file + " can be used by others than its owner; run: chmod 600 " +
                     secret_file);
    const std::string bare = without_space(file->text);
    const std::string secret = is_key(bare) ? bare : value_of(file->text, "secret-key");
    if (!is_key(secret)) {
        const bool is_public = is_key(value_of(file->text, "public-key"));
        return wrong("the key file " + secret_file + " has no secret key: " +
                     (is_public ? "it is the public half; name " + secret_file_of(secret_file)
                                : "expected a file NAME_secret that jobyard keygen wrote"));
    }
    const auto public_key = public_key_of(secret);
    if (!public_key && public_key.error().code == Code::internal) return public_key.error();
    const std::string stated = value_of(file->text, "public-key");
    if (!public_key || (!stated.empty() && stated != *public_key))
        return wrong("the key file " + secret_file +
                     " is damaged: its two keys do not belong together; make a pair with jobyard keygen");
    return KeyPair{*public_key, secret};
}

std::string secret_file_of(const std::string& public_file) { return public_file + "_secret"; }

Result<void> write_key_files(const std::string& directory, const std::string& name, const KeyPair& pair, bool replace) {
    const std::string public_file = (directory.empty() ? "." : directory) + "/" + name;
    const std::string secret_file = secret_file_of(public_file);
    const auto secret = write_beside(secret_file, file_text(name, pair, true));
    if (!secret) return secret.error();
    const auto open = write_beside(public_file, file_text(name, pair, false));
    if (!open) {
        ::unlink(secret->c_str());
        return open.error();
    }
    // link() refuses a name that is taken, rename() does not. The secret first: a public key without one is of no use.
    const auto place = [&](const std::string& made, const std::string& path) -> Result<void> {
        const bool placed =
            replace ? ::rename(made.c_str(), path.c_str()) == 0 : ::link(made.c_str(), path.c_str()) == 0;
        if (placed) return {};
        if (errno == EEXIST)
            return wrong(path +
                         " is there already, and whoever uses it would be locked out; choose another name, or "
                         "replace it with --force");
        return failed("cannot write " + path);
    };
    ::chmod(open->c_str(), 0644);
    Result<void> placed = place(*secret, secret_file);
    if (placed) {
        placed = place(*open, public_file);
        if (!placed && !replace) ::unlink(secret_file.c_str());
    }
    ::unlink(secret->c_str());
    ::unlink(open->c_str());
    if (placed && !sync_directory(directory.empty() ? "." : directory))
        return failed("cannot make sure that " + secret_file + " survives a power loss");
    return placed;
}

Result<std::optional<PeerKeys>> keys_for(const std::string& endpoint, std::string server_key, std::string key_file) {
    if (!endpoint.starts_with("tcp://")) return std::optional<PeerKeys>();
    server_key = or_variable(std::move(server_key), "JOBYARD_SERVER_KEY");
    key_file = or_variable(std::move(key_file), "JOBYARD_KEY_FILE");
    if (server_key.empty() && key_file.empty()) return std::optional<PeerKeys>();
    if (key_file.empty())
        return wrong(
            "there is a key of the broker, and none of your own; name its file with --key-file or "
            "$JOBYARD_KEY_FILE (jobyard keygen makes one)");
    if (server_key.empty())
        return wrong(
            "there is a key of your own, and none of the broker, whose public key says that it is the right "
            "one; give it with --server-key or $JOBYARD_SERVER_KEY");
    const auto server = read_public_key(server_key);
    if (!server) return server.error();
    auto own = read_key_pair(key_file);
    if (!own) return own.error();
    return std::optional<PeerKeys>(PeerKeys{*server, *std::move(own)});
}

}  // namespace jobyard
