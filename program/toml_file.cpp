#include "program/toml_file.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "program/values.hpp"

namespace jobyard::program {
namespace {

struct Reader {
    Table& table;
    const std::string& path;

    [[nodiscard]] std::string place(const toml::source_region& source) const {
        return path + ":" + std::to_string(source.begin.line);
    }
    [[nodiscard]] Error wrong(const toml::source_region& source, const std::string& text) const {
        return {Code::bad_field, place(source) + ": " + text};
    }

    [[nodiscard]] Result<void> read(const toml::table& from, const std::string& section) const;
    [[nodiscard]] Result<void> read(const toml::node& value, Setting& setting) const;
    [[nodiscard]] Error unknown(const toml::key& key, const toml::node& value, const std::string& name) const;
};

/// Without its section too: the key that is at the wrong place is the nearest to itself.
std::string nearest_key(const Table& table, const std::string& name) {
    std::vector<std::string> names;
    for (const Setting& setting : table.settings) names.push_back(setting.key);
    const auto last_part = [](const std::string& key) { return key.substr(key.rfind('.') + 1); };
    for (const std::string& key : names)
        if (last_part(key) == last_part(name)) return key;
    return nearest(name, names);
}

Error Reader::unknown(const toml::key& key, const toml::node& value, const std::string& name) const {
    if (!value.is_table())
        return wrong(key.source(), "there is no setting \"" + name + "\"; the nearest is " + nearest_key(table, name));
    std::vector<std::string> sections;
    for (const Setting& setting : table.settings)
        if (const std::size_t dot = setting.key.rfind('.'); dot != std::string::npos)
            sections.push_back(setting.key.substr(0, dot));
    return wrong(key.source(), "there is no section [" + name + "]" +
                                   (sections.empty() ? "; this file has none"
                                                     : "; the nearest is [" + nearest(name, sections) + "]"));
}

Result<void> Reader::read(const toml::table& from, const std::string& section) const {
    for (const auto& [key, value] : from) {
        const std::string name = section + std::string(key.str());
        const auto is_section = [&] {
            for (const Setting& setting : table.settings)
                if (setting.key.starts_with(name + ".")) return true;
            return false;
        };
        if (const toml::table* inner = value.as_table(); inner != nullptr && is_section()) {
            if (auto done = read(*inner, name + "."); !done) return done;
        } else if (Setting* setting = find(table, name)) {
            if (auto done = read(value, *setting); !done) return done;
        } else {
            return unknown(key, value, name);
        }
    }
    return {};
}

/// How a value looks in TOML decides whether it is meant as what the setting wants; "yes" is no boolean there.
Result<void> Reader::read(const toml::node& value, Setting& setting) const {
    std::ostringstream written;
    value.visit([&](const auto& node) { written << node; });
    const auto refused = [&] {
        return wrong(value.source(), setting.key + " = " + written.str() + ": expected " + expected(setting));
    };
    const bool is_number = !std::holds_alternative<std::string*>(setting.field) &&
                           !std::holds_alternative<bool*>(setting.field) &&
                           !std::holds_alternative<std::vector<std::string>*>(setting.field);
    std::vector<std::string> words;
    if (std::holds_alternative<bool*>(setting.field)) {
        if (!value.is_boolean()) return refused();
        words = {value.ref<bool>() ? "true" : "false"};
    } else if (std::holds_alternative<std::vector<std::string>*>(setting.field)) {
        if (!value.is_array()) return refused();
        for (const toml::node& item : *value.as_array()) {
            if (!item.is_string()) return refused();
            words.push_back(item.ref<std::string>());
        }
    } else if (is_number && value.is_integer()) {
        words = {std::to_string(value.ref<std::int64_t>())};
    } else if (value.is_string() && !(is_number && setting.unit == Unit::things)) {
        words = {value.ref<std::string>()};
    } else {
        return refused();
    }
    if (auto assigned = assign(setting, words, place(value.source())); !assigned) return refused();
    return {};
}

}  // namespace

std::string expanded(const std::string& file) {
    constexpr std::string_view kUsers = "$XDG_CONFIG_HOME";
    if (!file.starts_with(kUsers)) return file;
    const auto variable = [](const char* name) -> std::string {
        const char* value = std::getenv(name);
        return value == nullptr ? "" : value;
    };
    const std::string configured = variable("XDG_CONFIG_HOME");
    return (configured.empty() ? variable("HOME") + "/.config" : configured) + file.substr(kUsers.size());
}

namespace {

/// An error of any kind becomes one that names file and line.
template <class Use>
Result<void> with_file(const std::string& what, const std::string& path, Use use) {
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    file.peek();  // a directory can be opened, and not read
    if (!file.is_open() || file.bad())
        return Error{Code::bad_field,
                     "the " + what + " " + path + " cannot be read: " + std::strerror(errno == 0 ? EIO : errno)};
    std::ostringstream text;
    text << file.rdbuf();
    try {
        return use(toml::parse(text.str(), path));
    } catch (const toml::parse_error& error) {
        return Error{Code::bad_field, path + ":" + std::to_string(error.source().begin.line) +
                                          ": this is not TOML: " + std::string(error.description())};
    }
}

struct NamedTable {
    std::string name;
    const toml::table* table = nullptr;
    std::string place;
    std::uint32_t line = 0;
};

Result<void> read_kind(const toml::table& from, const SectionKind& kind, const std::string& path) {
    std::vector<NamedTable> sections;
    const auto place = [&](const toml::source_region& source) {
        return path + ":" + std::to_string(source.begin.line);
    };
    if (!kind.has_names) sections.push_back({"", &from, place(from.source()), 0});
    else
        for (const auto& [key, value] : from) {
            const std::string name(key.str());
            const toml::table* table = value.as_table();
            if (table == nullptr)
                return Error{Code::bad_field,
                             place(key.source()) + ": expected sections [" + kind.kind + ".NAME], not a value"};
            sections.push_back({name, table, place(key.source()), key.source().begin.line});
        }
    std::stable_sort(sections.begin(), sections.end(),
                     [](const NamedTable& a, const NamedTable& b) { return a.line < b.line; });
    for (const NamedTable& section : sections) {
        Table settings = kind.settings(section.name);
        if (auto read = Reader{settings, path}.read(*section.table, ""); !read) return read;
        for (const Setting& setting : settings.settings)
            if (setting.required && setting.from == "default")
                return Error{Code::bad_field, section.place + ": [" + kind.kind + "." + section.name + "] has no " +
                                                  setting.key + ": " + setting.text};
        if (auto done = kind.done(section.place); !done) return done;
    }
    return {};
}

}  // namespace

Result<void> read_toml_file(Table& table, const std::string& path) {
    return with_file("configuration file", path, [&](const toml::table& file) {
        return Reader{table, path}.read(file, "");
    });
}

Result<void> read_sections(const std::string& path, const std::vector<SectionKind>& kinds) {
    return with_file("file", path, [&](const toml::table& file) -> Result<void> {
        for (const auto& [key, value] : file) {
            const auto kind = std::find_if(kinds.begin(), kinds.end(),
                                           [&](const SectionKind& each) { return each.kind == key.str(); });
            const std::string place = path + ":" + std::to_string(key.source().begin.line);
            if (kind == kinds.end() || !value.is_table()) {
                std::vector<std::string> names;
                for (const SectionKind& each : kinds) names.push_back(each.kind);
                return Error{Code::bad_field, place + ": there is no section [" + std::string(key.str()) +
                                                  "] here; the nearest is [" + nearest(std::string(key.str()), names) +
                                                  "]"};
            }
            if (auto read = read_kind(*value.as_table(), *kind, path); !read) return read;
        }
        return {};
    });
}

}  // namespace jobyard::program
