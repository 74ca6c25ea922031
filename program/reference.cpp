#include "program/reference.hpp"

namespace jobyard::program {
namespace {

std::string section_of(const Setting& setting) {
    const std::size_t dot = setting.key.rfind('.');
    return dot == std::string::npos ? "" : setting.key.substr(0, dot);
}

/// A | in a cell would end it.
std::string cell(const std::string& text) {
    std::string out;
    for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
    return out;
}

std::string code(const std::string& text) { return "`" + cell(text) + "`"; }

std::string initial(const Setting& setting) {
    if (setting.required) return "none: it must be set";
    return setting.unset.empty() ? code(value_text(setting)) : cell(setting.unset);
}

std::string quoted(const std::string& text) { return "\"" + text + "\""; }

/// The value as TOML has it.
std::string toml_value(const Setting& setting) {
    const std::vector<std::string> words = setting.example.empty() ? words_of(setting) : setting.example;
    if (std::holds_alternative<std::vector<std::string>*>(setting.field)) {
        std::string list;
        for (const std::string& word : words) list += (list.empty() ? "" : ", ") + quoted(word);
        return "[" + list + "]";
    }
    const std::string& word = words.at(0);
    const bool is_text = std::holds_alternative<std::string*>(setting.field);
    const bool is_digits = word.find_first_not_of("0123456789") == std::string::npos;
    if (std::holds_alternative<bool*>(setting.field)) return word;
    return is_text || !is_digits ? quoted(word) : word;
}

}  // namespace

std::string reference_markdown(const Table& table) {
    std::string text = "## " + table.program + "\n\nThe file: ";
    for (const std::string& file : table.files) text += code(file) + (&file == &table.files.back() ? "" : ", then ");
    text += "; or the one that `--config` or `" + table.prefix + "CONFIG` names.\n";
    std::string section = "-";
    for (const Setting& setting : table.settings) {
        if (section_of(setting) != section) {
            section = section_of(setting);
            text += section.empty() ? "" : "\n### [" + section + "]\n";
            text += "\n| Key | Default | Takes | Reloads | Meaning | Flag, environment |\n|---|---|---|---|---|---|\n";
        }
        text += "| " + code(setting.key.substr(section.empty() ? 0 : section.size() + 1)) + " | " + initial(setting) +
                " | " + cell(accepted(setting)) + " | " + (setting.reloadable ? "yes" : "no") + " | " +
                cell(setting.text) + " | " + code(flag_of(setting)) + "<br>" + code(variable_of(table, setting)) +
                " |\n";
    }
    return text;
}

std::string section_markdown(const Table& table) {
    std::string text = "### [" + table.program + "]\n\n| Key | Default | Takes | Meaning |\n|---|---|---|---|\n";
    for (const Setting& setting : table.settings)
        text += "| " + code(setting.key) + " | " + initial(setting) + " | " + cell(accepted(setting)) + " | " +
                cell(setting.text) + " |\n";
    return text;
}

std::string commented_file(const Table& table) {
    std::string text = "# Settings of " + table.program +
                       ". A line that begins with #name shows a setting and its default, or an\n"
                       "# example if there is no default: remove the # to change it. The environment ($" +
                       table.prefix + "…) weighs\n# more than this file, and flags more than that. Try it: " +
                       (table.program == "jobyard" ? "jobyard config check" : table.program + " --check") +
                       ". All about it: docs/CONFIGURATION.md.\n";
    std::string section;
    for (const Setting& setting : table.settings) {
        if (section_of(setting) != section) {
            section = section_of(setting);
            text += "\n[" + section + "]\n";
        }
        text += "\n# " + setting.text + ".\n# Takes: " + accepted(setting) + ".";
        if (setting.required) text += " It must be set.";
        else if (!setting.unset.empty()) text += " Default: " + setting.unset + ".";
        if (setting.reloadable) text += " SIGHUP reloads it.";
        text +=
            "\n#" + setting.key.substr(section.empty() ? 0 : section.size() + 1) + " = " + toml_value(setting) + "\n";
    }
    return text;
}

}  // namespace jobyard::program
