#include "program/settings.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "jobyard/assert.hpp"
#include "program/toml_file.hpp"
#include "program/values.hpp"

extern char** environ;

namespace jobyard::program {
namespace {

using std::chrono::milliseconds;

template <class... Cases>
struct Overloaded : Cases... {
    using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

Error bad(std::string text) { return {Code::bad_field, std::move(text)}; }

bool is_duration(const Setting& setting) { return setting.unit == Unit::milliseconds; }

std::optional<std::uint64_t> parse_number(const Setting& setting, std::string_view word) {
    if (setting.unit == Unit::bytes) return parse_bytes(word);
    if (!is_duration(setting)) return parse_count(word);
    const auto duration = parse_duration(word, setting.alone);
    if (!duration) return std::nullopt;
    return static_cast<std::uint64_t>(duration->count());
}

std::string number_text(const Setting& setting, std::uint64_t number) {
    if (setting.unit == Unit::bytes) return exact_bytes(number);
    if (is_duration(setting)) return exact_duration(milliseconds(number));
    return std::to_string(number);
}

/// The number a field holds, or nothing.
std::optional<std::uint64_t> number_of(const Setting& setting) {
    return std::visit(Overloaded{[](std::uint32_t* field) -> std::optional<std::uint64_t> { return *field; },
                                 [](std::uint64_t* field) -> std::optional<std::uint64_t> { return *field; },
                                 [](milliseconds* field) -> std::optional<std::uint64_t> { return field->count(); },
                                 [](auto*) -> std::optional<std::uint64_t> { return std::nullopt; }},
                      setting.field);
}

std::vector<std::string> split_at_commas(const std::string& text) {
    std::vector<std::string> words;
    for (std::size_t at = 0; at <= text.size();) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        if (comma > at) words.push_back(text.substr(at, comma - at));
        at = comma + 1;
    }
    return words;
}

bool is_list(const Setting& setting) { return std::holds_alternative<std::vector<std::string>*>(setting.field); }

std::string choices_text(const Setting& setting) {
    std::string all;
    for (const std::string& choice : setting.choices) all += (all.empty() ? "" : ", ") + choice;
    return all;
}

std::string word_kind(const Setting& setting) {
    if (std::holds_alternative<bool*>(setting.field)) return "true or false";
    return is_list(setting) ? "list of texts" : "text";
}

Result<void> read_environment(Table& table, std::vector<std::string>& notes) {
    std::vector<std::string> known{table.prefix + "CONFIG"};
    for (Setting& setting : table.settings) {
        const std::string variable = known.emplace_back(variable_of(table, setting));
        const char* value = std::getenv(variable.c_str());
        if (value == nullptr || *value == '\0') continue;  // as good as unset, as everywhere
        const std::vector<std::string> words =
            is_list(setting) ? split_at_commas(value) : std::vector<std::string>{value};
        if (auto assigned = assign(setting, words, "$" + variable); !assigned)
            return bad("$" + variable + " is \"" + value + "\": " + assigned.error().text);
    }
    // Others may use the prefix as well (Kubernetes makes such names for a service): so a slip is a note, no error.
    constexpr std::size_t kSlip = 2;
    for (char** variable = environ; *variable != nullptr; ++variable) {
        const std::string_view line = *variable;
        const std::string_view name = line.substr(0, line.find('='));
        if (!name.starts_with(table.prefix) || std::ranges::find(known, name) != known.end()) continue;
        const std::string& meant = nearest(name, known);
        if (edits_between(name, meant) <= kSlip)
            notes.push_back("$" + std::string(name) + " is not read; if it is to set something, it is $" + meant);
    }
    return {};
}

}  // namespace

Result<void> assign(Setting& setting, const std::vector<std::string>& words, std::string from) {
    const auto refused = [&] { return bad("expected " + expected(setting)); };
    const auto take_number = [&]() -> std::optional<std::uint64_t> {
        if (words.size() != 1) return std::nullopt;
        const auto number = parse_number(setting, words[0]);
        return number && *number >= setting.min && *number <= setting.max ? number : std::nullopt;
    };
    const auto number_into = [&](auto* field) -> Result<void> {
        const auto number = take_number();
        if (!number) return refused();
        *field = std::remove_reference_t<decltype(*field)>(*number);
        return {};
    };
    const auto assigned =
        std::visit(Overloaded{[&](std::string* field) -> Result<void> {
                                  if (words.size() != 1) return refused();
                                  if (!setting.choices.empty() &&
                                      std::ranges::find(setting.choices, words[0]) == setting.choices.end())
                                      return refused();
                                  *field = words[0];
                                  return {};
                              },
                              [&](bool* field) -> Result<void> {
                                  if (words.size() != 1 || (words[0] != "true" && words[0] != "false"))
                                      return refused();
                                  *field = words[0] == "true";
                                  return {};
                              },
                              [&](std::vector<std::string>* field) -> Result<void> {
                                  *field = words;
                                  return {};
                              },
                              [&](std::uint32_t* field) { return number_into(field); },
                              [&](std::uint64_t* field) { return number_into(field); },
                              [&](milliseconds* field) { return number_into(field); }},
                   setting.field);
    if (assigned) setting.from = std::move(from);
    return assigned;
}

std::vector<std::string> words_of(const Setting& setting) {
    return std::visit(Overloaded{[](std::string* field) { return std::vector{*field}; },
                                 [](bool* field) { return std::vector<std::string>{*field ? "true" : "false"}; },
                                 [](std::vector<std::string>* field) { return *field; },
                                 [&](auto*) { return std::vector{number_text(setting, *number_of(setting))}; }},
                      setting.field);
}

std::string value_text(const Setting& setting) {
    const std::vector<std::string> words = words_of(setting);
    const bool is_unset = words.empty() || words[0].empty() || number_of(setting).value_or(UINT64_MAX) < setting.min;
    if (is_unset && !setting.unset.empty()) return "(" + setting.unset + ")";
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
    return text;
}

std::string expected(const Setting& setting) {
    if (std::holds_alternative<bool*>(setting.field)) return "true or false";
    if (is_list(setting)) return "a list of texts, in a file such as [\"one\", \"two\"]";
    if (!setting.choices.empty()) return "one of " + choices_text(setting);
    if (std::holds_alternative<std::string*>(setting.field)) return "a text";
    std::string what = "a number";
    if (setting.unit == Unit::bytes) what = "a number of bytes, such as 4096, 64K, 16M or 1G";
    if (is_duration(setting))
        what = "a duration such as 250ms, 5s, 2h or 7d (a number alone is " +
               std::string(setting.alone == milliseconds(1) ? "milliseconds" : "seconds") + ")";
    const std::string least = number_text(setting, setting.min);
    return what + (setting.max == kNoMax ? ", at least " + least
                                         : ", from " + least + " to " + number_text(setting, setting.max));
}

std::string accepted(const Setting& setting) {
    if (!number_of(setting)) return setting.choices.empty() ? word_kind(setting) : choices_text(setting);
    const bool is_plain = setting.unit == Unit::things;
    std::string text = is_plain ? "number" : setting.unit == Unit::bytes ? "bytes" : "duration";
    if (setting.max != kNoMax)
        text += ", " + number_text(setting, setting.min) + " to " + number_text(setting, setting.max);
    else if (setting.min != 0) text += ", at least " + number_text(setting, setting.min);
    if (is_duration(setting))
        text += std::string("; a plain number is ") + (setting.alone == milliseconds(1) ? "milliseconds" : "seconds");
    return text;
}

std::string variable_of(const Table& table, const Setting& setting) {
    if (!setting.variable.empty()) return setting.variable;
    std::string name = table.prefix;
    for (const char c : setting.key)
        name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return name;
}

std::string flag_of(const Setting& setting) {
    return setting.named ? setting.flag + " " + setting.key.substr(setting.key.rfind('.') + 1) + "=" : setting.flag;
}

std::string placeholder(const Setting& setting) {
    if (setting.named) return "NAME=VALUE";
    if (!setting.takes.empty()) return setting.takes;
    if (std::holds_alternative<bool*>(setting.field)) return "";
    if (!setting.choices.empty()) return "WORD";
    if (setting.unit == Unit::bytes) return "BYTES";
    if (is_duration(setting)) return "DURATION";
    return number_of(setting) ? "N" : "TEXT";
}

Setting* find(Table& table, std::string_view key) {
    const auto found = std::ranges::find(table.settings, key, &Setting::key);
    return found == table.settings.end() ? nullptr : &*found;
}

Result<void> read_files_and_environment(Table& table, const std::string& given, std::vector<std::string>& notes) {
    const char* variable = std::getenv((table.prefix + "CONFIG").c_str());
    const std::string named = !given.empty() ? given : variable != nullptr ? variable : "";
    const std::vector<std::string> files = named.empty() ? table.files : std::vector{named};
    for (const std::string& written : files) {
        const std::string file = named.empty() ? expanded(written) : written;
        if (named.empty() && ::access(file.c_str(), F_OK) != 0) continue;
        if (auto read = read_toml_file(table, file); !read) return read;
    }
    return read_environment(table, notes);
}

Result<void> check_required(const Table& table) {
    for (const Setting& setting : table.settings)
        if (setting.required && setting.from == "default")
            return bad(setting.key + " is not set and has no default: give " + setting.flag + " " +
                       placeholder(setting) + ", set $" + variable_of(table, setting) + ", or write " + setting.key +
                       " = \"…\" in the configuration file");
    return {};
}

std::string effective(const Table& table) {
    std::size_t key_width = 0;
    std::size_t value_width = 0;
    for (const Setting& setting : table.settings) {
        key_width = std::max(key_width, setting.key.size());
        value_width = std::max(value_width, value_text(setting).size());
    }
    std::string text;
    for (const Setting& setting : table.settings) {
        std::string line = setting.key;
        line.resize(key_width + 2, ' ');
        line += value_text(setting);
        line.resize(key_width + value_width + 4, ' ');
        text += line + setting.from + "\n";
    }
    return text;
}

std::vector<Change> take_changes(Table& running, const Table& fresh) {
    std::vector<Change> changes;
    for (std::size_t i = 0; i < running.settings.size(); ++i) {
        Setting& old = running.settings[i];
        const Setting& now = fresh.settings[i];
        if (words_of(old) == words_of(now)) continue;
        changes.push_back({old.key, value_text(old), value_text(now), old.reloadable});
        if (old.reloadable) JOBYARD_ASSERT(assign(old, words_of(now), now.from));
    }
    return changes;
}

}  // namespace jobyard::program
