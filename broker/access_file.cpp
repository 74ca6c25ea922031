#include "access_file.hpp"

#include <set>
#include <utility>

#include "jobyard/codec.hpp"
#include "peer/keys.hpp"
#include "program/reference.hpp"
#include "program/toml_file.hpp"

namespace jobyard::broker {
namespace {

using program::Setting;
using program::Unit;

constexpr const char* kLocalName = "local";

/// A section as it is written.
struct Entry {
    std::string name;
    std::string public_key;
    std::vector<std::string> roles;
    std::vector<std::string> queues;
    Quota quota;
    std::uint64_t max_sessions = 0;
    std::uint64_t max_instances = 0;
};

Setting quota_setting(const char* key, std::uint64_t& field, Unit unit, const char* text) {
    return {.key = key, .field = &field, .unit = unit, .text = text, .unset = "no limit"};
}

void add_rights(program::Table& table, Entry& entry) {
    table.settings.push_back({.key = "roles",
                              .field = &entry.roles,
                              .text = "What it may do: submit, work, observe, operate, admin (PROTOCOL.md, Roles)",
                              .required = true});
    table.settings.push_back({.key = "queues",
                              .field = &entry.queues,
                              .text = "Where: names of queues, with * for any characters and ? for one",
                              .unset = "none, so that an observe key sees no payloads; other roles must say it"});
}

void add_quota_of_peers(program::Table& table, Entry& entry, const std::string& whose, const char* instances_unset) {
    table.settings.push_back({.key = "max_sessions",
                              .field = &entry.max_sessions,
                              .text = "Connected clients and workers at a time" + whose,
                              .unset = "no limit"});
    table.settings.push_back({.key = "max_instances",
                              .field = &entry.max_instances,
                              .text = "Client instances that are remembered at a time" + whose,
                              .unset = instances_unset});
}

void add_quota(program::Table& table, Quota& quota, const std::string& whose) {
    table.settings.push_back(
        quota_setting("max_jobs", quota.jobs, Unit::things, "Unended jobs at a time, scheduled and running included"));
    table.settings.push_back(
        quota_setting("max_bytes", quota.bytes, Unit::bytes, "Payload bytes of unended jobs at a time"));
    table.settings.push_back(
        quota_setting("max_rate", quota.rate, Unit::things, "Jobs a second; a second's worth may come at once"));
    for (Setting& setting : table.settings)
        if (setting.key.starts_with("max_")) setting.text += whose;
}

program::Table key_table(Entry& entry) {
    program::Table table{"keys.NAME", "", {}, {}};
    table.settings.push_back({.key = "public_key",
                              .field = &entry.public_key,
                              .text = "The public key: the 40 characters, or the file that has them",
                              .required = true});
    add_rights(table, entry);
    add_quota(table, entry.quota, ", of this key");
    add_quota_of_peers(table, entry, ", of this key", "a tenth of the limit `instances`");
    return table;
}

program::Table local_table(Entry& entry) {
    program::Table table{"local", "", {}, {}};
    add_rights(table, entry);
    add_quota(table, entry.quota, ", of all who come through ipc");
    add_quota_of_peers(table, entry, ", of all who come through ipc", "no limit but `instances`");
    return table;
}

program::Table queue_table(Entry& entry) {
    program::Table table{"queues.PATTERN", "", {}, {}};
    add_quota(table, entry.quota, ", of each queue that fits");
    return table;
}

Error wrong(const std::string& from, const std::string& text) { return {Code::bad_field, from + ": " + text}; }

Result<Principal> principal_of(const Entry& entry, const std::string& from) {
    Principal who;
    who.name = entry.name;
    who.roles = 0;
    who.queues = entry.queues;
    who.quota = entry.quota;
    who.max_sessions = entry.max_sessions;
    who.max_instances = entry.max_instances;
    for (const std::string& word : entry.roles) {
        const auto role = key_role_from(word);
        if (!role)
            return wrong(from, "there is no role \"" + word + "\": expected submit, work, observe, operate or admin");
        who.roles |= static_cast<KeyRoles>(*role);
    }
    if (who.roles == 0) return wrong(from, "roles is empty, so " + entry.name + " could do nothing; remove it instead");
    const KeyRoles acts = static_cast<KeyRoles>(KeyRole::submit) | static_cast<KeyRoles>(KeyRole::work) |
                          static_cast<KeyRoles>(KeyRole::operate);
    if (who.queues.empty() && who.has(acts) && !who.is_admin())
        return wrong(from,
                     entry.name + " has no queues: say which, such as queues = [\"mail\", \"web.*\"], or [\"*\"]");
    for (const std::string& pattern : who.queues)
        if (!is_name(pattern)) return wrong(from, "a queue has 1 to 255 bytes of UTF-8 without control characters");
    return who;
}

}  // namespace

Result<Access> read_access_file(const std::string& path) {
    Access access;
    Entry entry;
    const auto begin = [&entry](auto table_of) {
        return [&entry, table_of](const std::string& name) {
            entry = {};
            entry.name = name;
            return table_of(entry);
        };
    };
    const auto end_key = [&](const std::string& from) -> Result<void> {
        if (!is_name(entry.name)) return wrong(from, "a name has 1 to 255 bytes of UTF-8 without control characters");
        if (entry.name == kLocalName) return wrong(from, "local is the name of those who come through ipc");
        auto who = principal_of(entry, from);
        if (!who) return who.error();
        const auto key = read_public_key(entry.public_key);
        if (!key) return wrong(from, "public_key of " + entry.name + ": " + key.error().text);
        who->public_key = *key;
        const auto [place, is_new] = access.keys.emplace(*key, nullptr);
        if (!is_new) return wrong(from, entry.name + " has the same public key as " + place->second->name);
        place->second = std::make_shared<const Principal>(*std::move(who));
        return {};
    };
    const auto end_local = [&](const std::string& from) -> Result<void> {
        entry.name = kLocalName;
        auto who = principal_of(entry, from);
        if (!who) return who.error();
        access.local = std::make_shared<const Principal>(*std::move(who));
        return {};
    };
    const auto end_queue = [&](const std::string& from) -> Result<void> {
        if (!is_name(entry.name)) return wrong(from, "a queue has 1 to 255 bytes of UTF-8 without control characters");
        if (!entry.quota.is_set()) return wrong(from, "expected max_jobs, max_bytes or max_rate");
        access.queues.emplace_back(entry.name, entry.quota);
        return {};
    };
    const auto read = program::read_sections(path, {{"keys", true, begin(key_table), end_key},
                                                    {"local", false, begin(local_table), end_local},
                                                    {"queues", true, begin(queue_table), end_queue}});
    if (!read) return read.error();
    return access;
}

std::string access_reference() {
    Entry entry;
    return program::section_markdown(key_table(entry)) + "\n" + program::section_markdown(local_table(entry)) + "\n" +
           program::section_markdown(queue_table(entry));
}

}  // namespace jobyard::broker
