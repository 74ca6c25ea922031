#pragma once
// Who may do what. A connection is somebody, a Principal: ZAP has found it by the connection's key (zap.hpp), or it
// came through an ipc socket and is whom the system let in. The core authorises each message by principal, message and
// queue.
//
// `rule_of` is the one table: which roles may send a message, and which queues it is about. PROTOCOL.md, "Roles", shows
// it, and tests/core_access_test.cpp holds code, page and behaviour together. A new message without a rule does not
// compile.
//
// Pure: no file, no socket. What is said here holds from the moment it is swapped in.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jobyard/message.hpp"

namespace jobyard::broker {

/// What a key is for. A key may have several.
enum class KeyRole : std::uint8_t {
    submit = 1,   ///< make jobs, wait for them, cancel them; see those in its queues
    work = 2,     ///< run jobs
    observe = 4,  ///< see the state of everything; payloads and results in its queues only
    operate = 8,  ///< observe, and steer what is in its queues
    admin = 16,   ///< everything
};
using KeyRoles = std::uint8_t;  ///< of them, as bits
inline constexpr KeyRoles kAllRoles = 31;

const char* to_string(KeyRole role);
std::optional<KeyRole> key_role_from(std::string_view word);

/// Limits of what one key, or one queue, may have here. 0: none.
struct Quota {
    std::uint64_t jobs = 0;   ///< unended
    std::uint64_t bytes = 0;  ///< of their payloads
    std::uint64_t rate = 0;   ///< jobs a second
    [[nodiscard]] bool is_set() const { return jobs != 0 || bytes != 0 || rate != 0; }
    bool operator==(const Quota&) const = default;
};

struct Principal {
    std::string name = {};        ///< for people: in the log and in refusals
    std::string public_key = {};  ///< empty: through ipc
    KeyRoles roles = kAllRoles;
    std::vector<std::string> queues{"*"};  ///< patterns; of an admin it does not matter
    Quota quota = {};
    std::uint64_t max_sessions = 0;   ///< clients and workers at a time; 0: no limit
    std::uint64_t max_instances = 0;  ///< client instances remembered; 0: as core_quota.cpp says

    [[nodiscard]] bool has(KeyRoles any_of) const { return (roles & any_of) != 0; }
    [[nodiscard]] bool is_admin() const { return has(static_cast<KeyRoles>(KeyRole::admin)); }
    /// Whether it is let in however much other keys have taken.
    [[nodiscard]] bool is_let_in_always() const { return is_admin() || has(static_cast<KeyRoles>(KeyRole::operate)); }
    /// Whether it may act on this queue, and see the payloads in it.
    [[nodiscard]] bool covers(std::string_view queue) const;
    [[nodiscard]] bool covers_all() const;
    /// Whether it may see the states of jobs in every queue.
    [[nodiscard]] bool sees_all() const;
};
using Who = std::shared_ptr<const Principal>;

/// Whoever can connect to a broker without keys: may do everything.
const Who& anybody();

/// What one file says (access_file.hpp).
struct Access {
    std::map<std::string, Who, std::less<>> keys;  ///< by public key
    Who local = anybody();                         ///< who comes through an ipc socket
    /// Each queue that a pattern fits is limited so; the first that does, in order.
    std::vector<std::pair<std::string, Quota>> queues;

    /// Null: nobody.
    [[nodiscard]] Who find(std::string_view public_key) const;
};

/// `*` is any run of characters, `?` any one; all else is itself.
bool matches(std::string_view pattern, std::string_view text);

enum class Scope : std::uint8_t {
    none,  ///< about no queue
    see,   ///< the queues it is about must be covered, or the principal sees all
    act,   ///< they must be covered
};
struct Rule {
    KeyRoles roles = 0;  ///< admin is always among them; 0: the broker's own message
    Scope scope = Scope::none;
};
Rule rule_of(const Message& message);
/// Whether one of its roles may send it; says nothing of queues. HELLO depends on the role that it asks for.
bool may_send(const Principal& who, const Message& message);

}  // namespace jobyard::broker
