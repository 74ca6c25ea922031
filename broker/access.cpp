#include "access.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace jobyard::broker {
namespace {

constexpr KeyRoles bits(KeyRole role) { return static_cast<KeyRoles>(role); }
constexpr KeyRoles kSubmit = bits(KeyRole::submit);
constexpr KeyRoles kWork = bits(KeyRole::work);
constexpr KeyRoles kObserve = bits(KeyRole::observe);
constexpr KeyRoles kOperate = bits(KeyRole::operate);
constexpr KeyRoles kAdmin = bits(KeyRole::admin);
constexpr KeyRoles kLook = kSubmit | kObserve | kOperate;

constexpr std::array<std::pair<KeyRole, const char*>, 5> kWords{{{KeyRole::submit, "submit"},
                                                                 {KeyRole::work, "work"},
                                                                 {KeyRole::observe, "observe"},
                                                                 {KeyRole::operate, "operate"},
                                                                 {KeyRole::admin, "admin"}}};

/// One line a message. There is no other: a message that is not here does not compile.
template <class M>
struct RuleOf;
template <KeyRoles roles, Scope scope = Scope::none>
struct Allowed {
    static constexpr Rule kRule{roles == 0 ? KeyRoles{0} : KeyRoles{roles | kAdmin}, scope};
};
struct FromBroker : Allowed<0> {};

// clang-format off
template <> struct RuleOf<Hello> : Allowed<kLook | kWork> {};  // and see may_send()
template <> struct RuleOf<Heartbeat> : Allowed<kLook | kWork> {};
template <> struct RuleOf<Goodbye> : Allowed<kLook | kWork> {};
template <> struct RuleOf<Submit> : Allowed<kSubmit, Scope::act> {};
template <> struct RuleOf<SubmitArray> : Allowed<kSubmit, Scope::act> {};
template <> struct RuleOf<Watch> : Allowed<kLook, Scope::act> {};
template <> struct RuleOf<Grant> : Allowed<kLook> {};
template <> struct RuleOf<Cancel> : Allowed<kSubmit | kOperate, Scope::act> {};
template <> struct RuleOf<Redrive> : Allowed<kOperate, Scope::act> {};
template <> struct RuleOf<Change> : Allowed<kOperate, Scope::act> {};
template <> struct RuleOf<Edit> : Allowed<kOperate, Scope::act> {};
template <> struct RuleOf<SetQueue> : Allowed<kOperate, Scope::act> {};
template <> struct RuleOf<Show> : Allowed<kLook, Scope::see> {};
template <> struct RuleOf<List> : Allowed<kLook, Scope::see> {};
template <> struct RuleOf<ListQueues> : Allowed<kLook, Scope::see> {};
template <> struct RuleOf<ListArrays> : Allowed<kLook, Scope::see> {};
template <> struct RuleOf<AskStats> : Allowed<kObserve | kOperate> {};
template <> struct RuleOf<ReadEvents> : Allowed<kObserve | kOperate> {};
template <> struct RuleOf<ListWorkers> : Allowed<kObserve | kOperate> {};
template <> struct RuleOf<ListTasks> : Allowed<kObserve | kOperate> {};
template <> struct RuleOf<StartTask> : Allowed<kOperate, Scope::act> {};  // purge: admin alone
template <> struct RuleOf<StopTask> : Allowed<kOperate, Scope::act> {};  // likewise
template <> struct RuleOf<SteerArray> : Allowed<kSubmit | kOperate, Scope::act> {};
template <> struct RuleOf<SteerWorker> : Allowed<kOperate, Scope::act> {};
template <> struct RuleOf<Credit> : Allowed<kWork> {};
// Of jobs that this session holds, so in queues that its HELLO was let in for.
template <> struct RuleOf<Started> : Allowed<kWork> {};
template <> struct RuleOf<Renew> : Allowed<kWork> {};
template <> struct RuleOf<Complete> : Allowed<kWork> {};
template <> struct RuleOf<Fail> : Allowed<kWork> {};
template <> struct RuleOf<Release> : Allowed<kWork> {};
template <> struct RuleOf<Welcome> : FromBroker {};
template <> struct RuleOf<Refusal> : FromBroker {};
template <> struct RuleOf<Answers> : FromBroker {};
template <> struct RuleOf<Results> : FromBroker {};
template <> struct RuleOf<Jobs> : FromBroker {};
template <> struct RuleOf<Stats> : FromBroker {};
template <> struct RuleOf<Events> : FromBroker {};
template <> struct RuleOf<Maps> : FromBroker {};
template <> struct RuleOf<Dispatch> : FromBroker {};
template <> struct RuleOf<Stop> : FromBroker {};
// clang-format on

template <std::size_t... i>
constexpr auto make_rules(std::index_sequence<i...>) {
    return std::array<Rule, sizeof...(i)>{RuleOf<std::variant_alternative_t<i, Message>>::kRule...};
}
/// By the message's place in the variant.
constexpr auto kRules = make_rules(std::make_index_sequence<std::variant_size_v<Message>>());

bool is_every(const std::string& pattern) { return pattern == "*"; }

}  // namespace

const char* to_string(KeyRole role) {
    for (const auto& [each, word] : kWords)
        if (each == role) return word;
    return "unknown_role";
}

std::optional<KeyRole> key_role_from(std::string_view word) {
    for (const auto& [role, each] : kWords)
        if (word == each) return role;
    return std::nullopt;
}

bool matches(std::string_view pattern, std::string_view text) {
    // At a mismatch the last * takes one character more: linear but for patterns that nobody writes.
    std::size_t p = 0;
    std::size_t t = 0;
    std::size_t star = std::string_view::npos;
    std::size_t resume = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
            ++p;
            ++t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
}

bool Principal::covers_all() const { return is_admin() || std::ranges::any_of(queues, is_every); }

bool Principal::covers(std::string_view queue) const {
    return is_admin() ||
           std::ranges::any_of(queues, [queue](const std::string& pattern) { return matches(pattern, queue); });
}

bool Principal::sees_all() const { return has(kObserve | kOperate | kAdmin) || covers_all(); }

const Who& anybody() {
    static const Who who = std::make_shared<const Principal>(Principal{.name = "anybody"});
    return who;
}

Who Access::find(std::string_view public_key) const {
    const auto found = keys.find(public_key);
    return found == keys.end() ? nullptr : found->second;
}

Rule rule_of(const Message& message) { return kRules[message.index()]; }

bool may_send(const Principal& who, const Message& message) {
    if (const auto* hello = std::get_if<Hello>(&message))
        return who.has(hello->role == Role::worker ? kWork | kAdmin : kLook | kAdmin);
    if (const auto* task = std::get_if<StartTask>(&message); task != nullptr && task->action == TaskAction::purge)
        return who.is_admin();
    return who.has(rule_of(message).roles);
}

}  // namespace jobyard::broker
