#pragma once
// CURVE keys, as text: 40 characters of Z85, which stand for 32 bytes. And the files that they are in, by the
// convention of czmq (zcert): NAME has the public key, NAME_secret both, for its owner alone. A file that holds nothing
// but the 40 characters is taken as well.
//
// A secret key is in no text, no error and no log: what is told of a key is the name of its file.

#include <optional>
#include <string>

#include "jobyard/result.hpp"

namespace jobyard {

struct KeyPair {
    std::string public_key;
    std::string secret_key;
};

/// What a connection to a broker with keys needs.
struct PeerKeys {
    std::string server;  ///< the broker's public key
    KeyPair own;
};

/// Drawn by the system's generator. Error: this libzmq has no CURVE.
Result<KeyPair> make_key_pair();

/// Whether the text looks like a key: 40 characters of Z85.
bool is_key(const std::string& text);
/// The 32 bytes of a key in its text; from what the network tells.
std::string key_text(const unsigned char* bytes);

/// A public key given as itself, or as the file that it is in (NAME, or NAME_secret if this user may read that).
Result<std::string> read_public_key(const std::string& key_or_file);
/// The pair in the file of a secret key. Refused if others may read it.
Result<KeyPair> read_key_pair(const std::string& secret_file);

/// `name`, for people, is in the files. Both are there afterwards, or none is new. Unless `replace`, neither may exist.
Result<void> write_key_files(const std::string& directory, const std::string& name, const KeyPair& pair, bool replace);
/// Where the secret key of `public_file` is.
std::string secret_file_of(const std::string& public_file);

/// The keys for a connection to `endpoint`: `server_key` (a key or a file), else $JOBYARD_SERVER_KEY; `key_file`, else
/// $JOBYARD_KEY_FILE. Nothing without them, and for ipc, where the system says who may connect.
Result<std::optional<PeerKeys>> keys_for(const std::string& endpoint, std::string server_key, std::string key_file);

}  // namespace jobyard
