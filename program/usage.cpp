#include "program/usage.hpp"

#include <algorithm>
#include <vector>

#include "program/options.hpp"
#include "program/values.hpp"

namespace jobyard::program {
namespace {

/// The verb that was reached before something was wrong.
const CLI::App& reached(const CLI::App& app) {
    const std::vector<CLI::App*> verbs = app.get_subcommands();
    return verbs.empty() ? app : reached(*verbs.front());
}

/// "; the nearest is NAME", if it is near enough to have been meant.
std::string hint(const std::string& word, const std::vector<std::string>& names) {
    if (names.empty()) return "";
    const auto longer =
        std::ranges::find_if(names, [&](const std::string& name) { return word.size() > 3 && name.starts_with(word); });
    if (longer != names.end()) return "; the nearest is " + *longer;
    const std::string& name = nearest(word, names);
    return edits_between(word, name) * 2 <= word.size() ? "; the nearest is " + name : "";
}

std::string no_such_verb(const std::string& given, const std::vector<std::string>& names) {
    return "there is no verb \"" + given + "\"" + hint(given, names);
}

std::string what_is_wrong(const CLI::App& app, const CLI::App& verb, const CLI::ParseError& error) {
    const bool is_missing = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
    const bool is_extra = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
    if (!is_missing && !is_extra) return error.what();  // "--priority: ...": it names the option and what it takes
    // A slip in a name is often why something else is missing.
    const std::vector<std::string> extras = app.remaining(true);
    const auto option = std::ranges::find_if(extras, [](const std::string& word) { return word.starts_with('-'); });
    if (option != extras.end()) return no_such_option(verb, *option);
    std::vector<std::string> verbs;
    for (const CLI::App* below : verbs_of(verb)) verbs.push_back(below->get_name());
    if (!verbs.empty()) {
        if (!extras.empty()) return no_such_verb(extras.front(), verbs);
        std::string all;
        for (const std::string& name : verbs) all += (all.empty() ? "" : ", ") + name;
        return "a verb is missing: expected one of " + all;
    }
    if (!extras.empty()) return "\"" + extras.front() + "\" was not expected";
    return error.what();  // "ID is required"
}

}  // namespace

std::string no_such_option(const CLI::App& verb, const std::string& given) {
    const std::string name = given.substr(0, given.find('='));
    std::vector<std::string> names;
    for (const OptionInfo& option : options_of(verb))
        std::ranges::copy_if(option.names, std::back_inserter(names),
                             [](const std::string& known) { return known.starts_with("--"); });
    return "there is no option " + name + hint(name, names);
}

std::string wrong_usage(const CLI::App& app, const CLI::ParseError& error) {
    const CLI::App& verb = reached(app);
    return what_is_wrong(app, verb, error) + "; see " + full_name(verb) + " --help";
}

void check_numbers(CLI::App& app) {
    const CLI::Validator digits(
        [](std::string& given) -> std::string {
            const auto number = parse_count(given);
            if (!number) return "\"" + given + "\": expected a whole number, from 0";
            given = std::to_string(*number);
            return {};
        },
        "");
    for (CLI::Option* option : app.get_options())
        if (option->get_type_name().starts_with("UINT")) option->transform(digits);
    for (CLI::App* verb : app.get_subcommands([](CLI::App*) { return true; })) check_numbers(*verb);
}

}  // namespace jobyard::program
