#include "program/flags.hpp"

#include <algorithm>
#include <sstream>

#include "program/values.hpp"

namespace jobyard::program {
namespace {

constexpr std::size_t kHelpWidth = 54;  // beside the column of the options

std::string wrapped(const std::string& text) {
    std::istringstream words(text);
    std::string lines;
    std::size_t used = 0;
    for (std::string word; words >> word;) {
        const bool fits = used != 0 && used + 1 + word.size() <= kHelpWidth;
        if (used != 0) lines += fits ? ' ' : '\n';
        used = fits ? used + 1 + word.size() : word.size();
        lines += word;
    }
    return lines;
}

std::string help(const Setting& setting) {
    const bool is_list = std::holds_alternative<std::vector<std::string>*>(setting.field);
    std::string text = setting.text;
    if (is_list) text += "; may be given several times";
    if (!setting.choices.empty()) text += ": " + expected(setting).substr(std::string_view("one of ").size());
    const std::string value = setting.unset.empty() ? value_text(setting) : setting.unset;
    if (!setting.required && !std::holds_alternative<bool*>(setting.field)) text += " [" + value + "]";
    return wrapped(text);
}

std::string name_of(const Setting& setting) { return setting.key.substr(setting.key.rfind('.') + 1); }

}  // namespace

Flags::Flags(CLI::App& app, const Table& table) {
    std::string files;
    for (const std::string& file : table.files) files += (files.empty() ? "" : ", ") + file;
    app.add_option("--config", config_, wrapped("Configuration file [$" + table.prefix + "CONFIG, else " + files + "]"))
        ->option_text("FILE");
    for (const Setting& setting : table.settings) {
        if (given_.contains(setting.flag)) continue;  // shared
        std::vector<std::string>& words = given_[setting.flag];
        if (std::holds_alternative<bool*>(setting.field)) {
            app.add_flag_callback(
                setting.flag, [&words] { words = {"true"}; }, help(setting));
            continue;
        }
        const std::string text =
            setting.named ? wrapped("Change a setting of the table below; may be given several times") : help(setting);
        CLI::Option* option = app.add_option(setting.flag, words, text)->allow_extra_args(false);
        option->option_text(placeholder(setting));
        // For man pages and completion; refusing is assign()'s, in the same words for every source.
        if (!setting.choices.empty()) option->type_name(CLI::detail::generate_set(setting.choices));
    }
}

Result<void> Flags::assign_named(Table& table, const std::string& flag, const std::string& assignment) const {
    const auto bad = [&](const std::string& text) {
        return Error{Code::bad_field, flag + " " + assignment + ": " + text};
    };
    const std::size_t equals = assignment.find('=');
    if (equals == std::string::npos) return bad("expected NAME=VALUE");
    const std::string name = assignment.substr(0, equals);
    std::vector<std::string> names;
    for (Setting& setting : table.settings) {
        if (setting.flag != flag) continue;
        if (names.emplace_back(name_of(setting)) != name) continue;
        const auto assigned = assign(setting, {assignment.substr(equals + 1)}, flag);
        return assigned ? assigned : bad(assigned.error().text);
    }
    return bad("there is none of that name; the nearest is " + nearest(name, names));
}

Result<void> Flags::read_all(Table& table, std::vector<std::string>& notes) const {
    if (auto read = read_files_and_environment(table, config_, notes); !read) return read;
    for (const auto& [flag, words] : given_) {
        if (words.empty()) continue;
        const auto setting = std::ranges::find(table.settings, flag, &Setting::flag);
        if (setting->named) {
            for (const std::string& assignment : words)
                if (auto done = assign_named(table, flag, assignment); !done) return done;
        } else if (const auto done = assign(*setting, words, flag); !done) {
            std::string given = flag;
            for (const std::string& word : words) given += " " + word;
            return Error{Code::bad_field, given + ": " + done.error().text};
        }
    }
    return check_required(table);
}

std::string named_settings(const Table& table, const std::string& flag) {
    std::string lines;
    for (const Setting& setting : table.settings) {
        if (setting.flag != flag) continue;
        std::string line = "  " + name_of(setting);
        line.resize(24, ' ');
        line += value_text(setting);
        line.resize(34, ' ');
        lines += line + setting.text + "\n";
    }
    return lines;
}

}  // namespace jobyard::program
