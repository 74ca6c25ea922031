#include "program/options.hpp"

#include <algorithm>
#include <sstream>

namespace jobyard::program {
namespace {

/// CLI::IsMember and CLI::Transformer say what they take as {a,b,c} in the name of the type; of a map, {a->1,b->2}.
std::vector<std::string> choices_in(const std::string& type) {
    const std::size_t open = type.find('{');
    const std::size_t close = type.rfind('}');
    if (open == std::string::npos || close == std::string::npos || close < open) return {};
    std::vector<std::string> choices;
    std::istringstream words(type.substr(open + 1, close - open - 1));
    for (std::string word; std::getline(words, word, ',');) choices.push_back(word.substr(0, word.find("->")));
    return choices;
}

/// "TEXT:FILE", "UINT:INT in [1 - 10]" and the like, as a word. The last part is of the last check, and says most.
std::string plain_type(std::string type) {
    type = type.substr(type.rfind(':') == std::string::npos ? 0 : type.rfind(':') + 1);
    if (type.find(" in [") != std::string::npos || type == "UINT" || type == "INT" || type == "NONNEGATIVE" ||
        type == "POSITIVE")
        return "N";
    return type.empty() || type.find('{') != std::string::npos ? "WORD" : type;
}

}  // namespace

std::string on_one_line(const std::string& text) {
    std::istringstream words(text);
    std::string line;
    for (std::string word; words >> word;) line += (line.empty() ? "" : " ") + word;
    return line;
}

std::vector<OptionInfo> options_of(const CLI::App& app) {
    std::vector<OptionInfo> options;
    for (const CLI::Option* option : app.get_options()) {
        if (option->get_group().empty()) continue;
        OptionInfo info;
        for (const std::string& name : option->get_snames()) info.names.push_back("-" + name);
        for (const std::string& name : option->get_lnames()) info.names.push_back("--" + name);
        info.text = on_one_line(option->get_description());
        info.required = option->get_required();
        info.repeated = option->get_expected_max() > 1;
        if (!option->get_default_str().empty()) info.text += " [" + option->get_default_str() + "]";
        if (option->get_items_expected_max() != 0) {
            const std::string type = option->get_type_name();
            info.choices = choices_in(type);
            info.value = option->get_option_text().empty() ? plain_type(type) : option->get_option_text();
            info.takes = !info.choices.empty()                          ? Takes::choice
                         : info.value == "FILE" || info.value == "PATH" ? Takes::file
                         : info.value == "DIR" || info.value == "DIRECTORY" || info.value == "PATH(existing)"
                             ? Takes::directory
                             : Takes::word;
        }
        if (option->get_positional()) {
            info.names.clear();
            info.value = option->get_name(true);
        }
        options.push_back(std::move(info));
    }
    return options;
}

std::vector<const CLI::App*> verbs_of(const CLI::App& app) {
    return app.get_subcommands(
        [](const CLI::App* verb) { return !verb->get_name().empty() && !verb->get_group().empty(); });
}

std::string full_name(const CLI::App& app) {
    return app.get_parent() == nullptr ? app.get_name() : full_name(*app.get_parent()) + " " + app.get_name();
}

}  // namespace jobyard::program
