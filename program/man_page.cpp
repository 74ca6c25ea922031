#include "program/man_page.hpp"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <sstream>
#include <utility>

#include "program/options.hpp"

namespace jobyard::program {
namespace {

/// Text in which roff sees nothing but text: no escapes, no requests, no hyphens where minus signs are meant.
std::string roff(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const bool begins_line = i == 0 || text[i - 1] == '\n';
        if (begins_line && (byte == '.' || byte == '\'')) out += "\\&";
        if (byte == '\\') out += "\\e";
        else if (byte == '-') out += "\\-";
        else if (byte < 0x80) out += text[i];
        else {
            const std::size_t more = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
            std::uint32_t point = byte & (0x3fU >> more);
            for (std::size_t n = 0; n < more && i + 1 < text.size(); ++n)
                point = point << 6 | (static_cast<unsigned char>(text[++i]) & 0x3fU);
            char escape[16];
            std::snprintf(escape, sizeof escape, "\\[u%04X]", point);
            out += escape;
        }
    }
    return out;
}

std::string bold(const std::string& text) { return "\\fB" + roff(text) + "\\fR"; }
std::string italic(const std::string& text) { return "\\fI" + roff(text) + "\\fR"; }

std::string upper(std::string text) {
    for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return text;
}

/// Dashes for spaces: "jobyard-dead".
std::string page_name(const CLI::App& app) {
    std::string name = full_name(app);
    std::ranges::replace(name, ' ', '-');
    return name;
}

/// The first sentence, without what a list of verbs does not need.
std::string short_text(const CLI::App& app) {
    std::string text = on_one_line(app.get_description());
    text.resize(std::min(text.size(), text.find(". ")));
    if (text.ends_with('.')) text.pop_back();
    for (const std::string& prefix : {full_name(app) + ": ", full_name(app) + " "})
        if (text.starts_with(prefix)) text.erase(0, prefix.size());
    return text;
}

std::string lower_first(std::string text) {
    if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1])) != 0)
        text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
    return text;
}

/// A heading begins a paragraph already.
void begin_paragraph(std::string& text) {
    const std::size_t line = text.size() < 2 ? std::string::npos : text.rfind('\n', text.size() - 2);
    const std::size_t last = line == std::string::npos ? 0 : line + 1;
    if (text.compare(last, 2, ".S") != 0) text += ".PP\n";
}

/// What --help prints below the options. It is written for the terminal; a line that ends with a colon is a heading,
/// indented lines are as they are, and the rest is paragraphs.
struct Footer {
    std::string paragraphs;
    std::string sections;
};
Footer footer_of(const CLI::App& app) {
    Footer footer;
    // A verb without a footer of its own has its parent's, which is about the whole.
    if (app.get_parent() != nullptr && app.get_footer() == app.get_parent()->get_footer()) return footer;
    std::istringstream input(app.get_footer());
    std::string filled;
    std::string kept;
    std::string* into = &footer.paragraphs;
    const auto flush = [&] {
        if (!filled.empty() || !kept.empty()) begin_paragraph(*into);
        if (!filled.empty()) *into += roff(on_one_line(filled)) + "\n";
        if (!filled.empty() && !kept.empty()) *into += ".PP\n";
        if (!kept.empty()) *into += ".nf\n" + roff(kept) + ".fi\n";
        filled.clear();
        kept.clear();
    };
    const auto open_section = [&](std::string title) {
        flush();
        into = &footer.sections;
        *into += ".SH " + roff(upper(std::move(title))) + "\n";
    };
    bool after_blank = true;
    for (std::string line; std::getline(input, line);) {
        if (line.empty()) {
            flush();
            after_blank = true;
            continue;
        }
        constexpr std::string_view kExitCodes = "Exit codes";
        if (after_blank && line.front() != ' ') into = &footer.paragraphs;
        if (line.ends_with(':') && line.front() != ' ') {
            const std::size_t aside = line.find(" (");
            open_section(line.substr(0, std::min(aside, line.size() - 1)));
            if (aside != std::string::npos) filled = line.substr(aside + 2, line.rfind(')') - aside - 2);
            flush();
        } else if (line.starts_with(kExitCodes)) {
            open_section("Exit status");
            const std::size_t text = line.find_first_not_of(":, ", kExitCodes.size());
            if (text != std::string::npos) filled = line.substr(text) + " ";
        } else if (line.front() == ' ') {
            if (!filled.empty()) flush();
            kept += line + "\n";
        } else {
            if (!kept.empty()) flush();
            filled += line + " ";
        }
        after_blank = false;
    }
    flush();
    return footer;
}

std::string options_text(const CLI::App& app) {
    std::string text;
    for (const OptionInfo& option : options_of(app)) {
        text += ".TP\n";
        std::string names;
        for (const std::string& name : option.names) names += (names.empty() ? "" : ", ") + bold(name);
        text += names + (names.empty() || option.value.empty() ? "" : " ") +
                (option.value.empty() ? "" : italic(option.value)) + "\n";
        text += roff(option.text) + (option.required && option.names.empty() ? ""
                                     : option.required                       ? " (required)"
                                                                             : "");
        if (!option.choices.empty() && option.text.find(option.choices.front()) == std::string::npos) {
            std::string choices;
            for (const std::string& choice : option.choices) choices += (choices.empty() ? "" : ", ") + choice;
            text += ": one of " + roff(choices);
        }
        text += "\n";
    }
    return text;
}

std::string synopsis(const CLI::App& app) {
    std::string text = bold(full_name(app)) + " [" + italic("OPTIONS") + "]";
    for (const OptionInfo& option : options_of(app))
        if (option.names.empty())
            text += " " + std::string(option.required ? "" : "[") + italic(option.value) +
                    (option.repeated ? "..." : "") + (option.required ? "" : "]");
    if (!verbs_of(app).empty()) text += " " + italic(app.get_parent() == nullptr ? "VERB" : "COMMAND");
    return text + "\n";
}

std::string settings_text(const Table& table) {
    std::string text =
        ".SH CONFIGURATION\nThe configuration file is TOML. Each setting is also in the environment, "
        "which weighs more than the file; flags weigh more than both.\n";
    const Setting* shared = nullptr;
    for (const Setting& setting : table.settings) {
        if (setting.named) {
            shared = &setting;
            continue;
        }
        text += ".TP\n" + bold(setting.key) + ", " + bold("$" + variable_of(table, setting)) + "\n" +
                roff(setting.text) + ". Takes: " + roff(accepted(setting)) + "." +
                (setting.reloadable ? " SIGHUP reloads it." : "") + "\n";
    }
    if (shared != nullptr)
        text += ".PP\nThe section [" + roff(shared->key.substr(0, shared->key.find('.'))) + "] has the names that " +
                bold(shared->flag) + " takes.\n";
    text += ".SH FILES\n";
    for (const std::string& file : table.files) text += ".TP\n" + italic(file) + "\nThe configuration file.\n";
    return text;
}

std::string heading(const CLI::App& app, int section) {
    return ".\\\" Generated from the program's own help.\n.TH " + roff(upper(page_name(app))) + " " +
           std::to_string(section) + " \"\" \"jobyard " JOBYARD_VERSION "\" \"jobyard\"\n.SH NAME\n" +
           roff(page_name(app)) + " \\- " + roff(lower_first(short_text(app))) + "\n";
}

/// A command below a verb, as a part of its verb's page.
std::string inner(const CLI::App& app) {
    const Footer footer = footer_of(app);
    std::string sections = footer.sections;
    // One level down.
    for (std::size_t at = 0; (at = sections.find(".SH ", at)) != std::string::npos; at += 4)
        if (at == 0 || sections[at - 1] == '\n') sections.replace(at, 4, ".SS ");
    return ".SS " + roff(full_name(app)) + "\n" + synopsis(app) + ".PP\n" + roff(on_one_line(app.get_description())) +
           ".\n" + footer.paragraphs + options_text(app) + sections;
}

std::string page(const CLI::App& app, int section, const Table* table) {
    const Footer footer = footer_of(app);
    const std::string options = options_text(app);
    std::string text = heading(app, section) + ".SH SYNOPSIS\n" + synopsis(app) + ".SH DESCRIPTION\n" +
                       roff(on_one_line(app.get_description())) + (app.get_description().ends_with('.') ? "" : ".") +
                       "\n" + footer.paragraphs + ".SH OPTIONS\n" + options;
    const bool is_program = app.get_parent() == nullptr;
    if (!verbs_of(app).empty()) text += is_program ? ".SH VERBS\n" : ".SH COMMANDS\n";
    for (const CLI::App* verb : verbs_of(app)) {
        if (is_program) {
            text += ".TP\n" + bold(page_name(*verb)) + "(" + std::to_string(section) + ")\n" + roff(short_text(*verb)) +
                    "\n";
        } else {
            text += inner(*verb);
        }
    }
    text += footer.sections;
    if (table != nullptr) text += settings_text(*table);
    text += ".SH SEE ALSO\n";
    std::string others;
    for (const auto& [name, number] : {std::pair("jobyard", 1), {"jobyard-broker", 8}, {"jobyard-worker", 8}})
        if (name != page_name(app))
            others += (others.empty() ? "" : ", ") + bold(name) + "(" + std::to_string(number) + ")";
    text += others + "\n";
    return text;
}

}  // namespace

std::vector<ManPage> man_pages(const CLI::App& app, int section, const Table* table) {
    const auto file = [section](const CLI::App& of) { return page_name(of) + "." + std::to_string(section); };
    std::vector<ManPage> pages{{file(app), page(app, section, table)}};
    for (const CLI::App* verb : verbs_of(app)) pages.push_back({file(*verb), page(*verb, section, nullptr)});
    return pages;
}

}  // namespace jobyard::program
