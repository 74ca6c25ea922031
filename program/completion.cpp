#include "program/completion.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

#include "program/options.hpp"

namespace jobyard::program {
namespace {

/// A command with its place in the tree.
struct Place {
    std::string path;  ///< "jobyard dead list"
    const CLI::App* app;
};

void collect(const CLI::App& app, std::vector<Place>& places) {
    places.push_back({full_name(app), &app});
    for (const CLI::App* verb : verbs_of(app)) collect(*verb, places);
}

/// Within '…', where a shell sees nothing but the quote itself.
std::string quoted(const std::string& text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

std::string joined(const std::vector<std::string>& words, const std::string& between = " ") {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
    return text;
}

/// "'jobyard list --state'|'jobyard list --x'": patterns of `case` for all options that take what `wanted` says.
template <class Wanted>
std::string patterns(const std::vector<Place>& places, Wanted wanted) {
    std::vector<std::string> found;
    for (const Place& place : places)
        for (const OptionInfo& option : options_of(*place.app))
            if (wanted(option))
                for (const std::string& name : option.names) found.push_back(quoted(place.path + " " + name));
    return found.empty() ? "''" : joined(found, "|");
}

/// What may stand where a positional stands, if that is known.
std::vector<std::string> positional_choices(const CLI::App& app) {
    for (const OptionInfo& option : options_of(app))
        if (option.names.empty()) return option.choices;
    return {};
}

bool takes_files(const CLI::App& app) {
    return std::ranges::any_of(
        options_of(app), [](const OptionInfo& option) { return option.names.empty() && option.takes == Takes::file; });
}

std::string subcommand_patterns(const std::vector<Place>& places) {
    std::vector<std::string> found;
    for (const Place& place : places)
        if (place.app->get_parent() != nullptr) found.push_back(quoted(place.path));
    return joined(found, "|");
}

/// The text of a template with the parts that the tree decides in the places of @NAME@.
std::string filled(std::string text, const std::vector<std::pair<std::string_view, std::string>>& parts) {
    for (const auto& [name, part] : parts)
        for (std::size_t at = 0; (at = text.find(name, at)) != std::string::npos; at += part.size())
            text.replace(at, name.size(), part);
    return text;
}

// --- bash ------------------------------------------------------------------------------------------------------------

constexpr const char* kBash = R"(# bash completion of @PROGRAM@; made by: @PROGRAM@ completion bash
_@PROGRAM@() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} at=@PROGRAM@ i
    COMPREPLY=()
    # --state=ru is three words here.
    if [[ $cur == = ]]; then cur=
    elif [[ $prev == = && COMP_CWORD -gt 1 ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == -- ]]; then
            compopt -o filenames
            if ((i == COMP_CWORD - 1)); then mapfile -t COMPREPLY < <(compgen -c -- "$cur")
            else mapfile -t COMPREPLY < <(compgen -f -- "$cur"); fi
            return
        fi
        case "$at ${COMP_WORDS[i]}" in
            @TAKES_VALUE@) ((i++)) ;;
            @VERBS@) at="$at ${COMP_WORDS[i]}" ;;
        esac
    done
    case "$at $prev" in
@CHOICES@        @FILES@) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        @DIRECTORIES@) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
        @TAKES_VALUE@) return ;;
    esac
    case $at in
@WORDS@    esac
}
complete -F _@PROGRAM@ @PROGRAM@
)";

std::string bash(const CLI::App& app, const std::vector<Place>& places) {
    const auto reply = [](const std::vector<std::string>& words) {
        return "mapfile -t COMPREPLY < <(compgen -W " + quoted(joined(words)) + " -- \"$cur\")";
    };
    std::string choices;
    std::string words;
    for (const Place& place : places) {
        std::vector<std::string> here = positional_choices(*place.app);
        for (const CLI::App* verb : verbs_of(*place.app)) here.push_back(verb->get_name());
        for (const OptionInfo& option : options_of(*place.app)) {
            here.insert(here.end(), option.names.begin(), option.names.end());
            if (option.takes != Takes::choice) continue;
            for (const std::string& name : option.names)
                choices +=
                    "        " + quoted(place.path + " " + name) + ") " + reply(option.choices) + "; return ;;\n";
        }
        words += "        " + quoted(place.path) + ") " + reply(here);
        if (takes_files(*place.app))
            words += "\n            [[ $cur == -* ]] || mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")";
        words += " ;;\n";
    }
    return filled(kBash,
                  {{"@PROGRAM@", app.get_name()},
                   {"@VERBS@", subcommand_patterns(places)},
                   {"@CHOICES@", choices},
                   {"@FILES@", patterns(places, [](const auto& o) { return o.takes == Takes::file; })},
                   {"@DIRECTORIES@", patterns(places, [](const auto& o) { return o.takes == Takes::directory; })},
                   {"@TAKES_VALUE@", patterns(places, [](const auto& o) { return o.takes != Takes::nothing; })},
                   {"@WORDS@", words}});
}

// --- zsh -------------------------------------------------------------------------------------------------------------

constexpr const char* kZsh = R"(#compdef @PROGRAM@
# zsh completion of @PROGRAM@; made by: @PROGRAM@ completion zsh
_@PROGRAM@() {
    local at=@PROGRAM@ i
    local -a verbs options
    for ((i = 2; i < CURRENT; i++)); do
        if [[ $words[i] == -- ]]; then
            shift i words
            ((CURRENT -= i))
            _normal
            return
        fi
        case "$at $words[i]" in
            @TAKES_VALUE@) ((i++)) ;;
            @VERBS@) at="$at $words[i]" ;;
        esac
    done
    case "$at $words[CURRENT-1]" in
@CHOICES@        @FILES@) _files; return ;;
        @DIRECTORIES@) _files -/; return ;;
        @TAKES_VALUE@) return ;;
    esac
    case $at in
@WORDS@    esac
    if [[ $words[CURRENT] == -* ]]; then _describe -o option options
    else _describe verb verbs; fi
}
if [[ $funcstack[1] == _@PROGRAM@ ]]; then _@PROGRAM@ "$@"; else compdef _@PROGRAM@ @PROGRAM@; fi
)";

/// For _describe: a colon ends the word.
std::string described(const std::string& word, const std::string& text) {
    std::string escaped;
    for (const char c : word) escaped += c == ':' ? std::string("\\:") : std::string(1, c);
    return quoted(escaped + ":" + text);
}

std::string zsh(const CLI::App& app, const std::vector<Place>& places) {
    std::string choices;
    std::string words;
    for (const Place& place : places) {
        std::vector<std::string> verbs;
        std::vector<std::string> options;
        for (const std::string& choice : positional_choices(*place.app)) verbs.push_back(quoted(choice));
        for (const CLI::App* verb : verbs_of(*place.app))
            verbs.push_back(described(verb->get_name(), on_one_line(verb->get_description())));
        for (const OptionInfo& option : options_of(*place.app)) {
            for (const std::string& name : option.names) {
                options.push_back(described(name, option.text));
                if (option.takes == Takes::choice)
                    choices += "        " + quoted(place.path + " " + name) + ") compadd -- " + joined(option.choices) +
                               "; return ;;\n";
            }
        }
        words += "        " + quoted(place.path) + ")\n            verbs=(" + joined(verbs) +
                 ")\n            options=(" + joined(options) + ")";
        if (takes_files(*place.app)) words += "\n            [[ $words[CURRENT] == -* ]] || { _files; return; }";
        words += " ;;\n";
    }
    return filled(kZsh, {{"@PROGRAM@", app.get_name()},
                         {"@VERBS@", subcommand_patterns(places)},
                         {"@CHOICES@", choices},
                         {"@FILES@", patterns(places, [](const auto& o) { return o.takes == Takes::file; })},
                         {"@DIRECTORIES@", patterns(places, [](const auto& o) { return o.takes == Takes::directory; })},
                         {"@TAKES_VALUE@", patterns(places, [](const auto& o) { return o.takes != Takes::nothing; })},
                         {"@WORDS@", words}});
}

// --- fish ------------------------------------------------------------------------------------------------------------

constexpr const char* kFish = R"(# fish completion of @PROGRAM@; made by: @PROGRAM@ completion fish
# True where the words so far lead to the command that is named.
function __@PROGRAM@_at
    set -l at @PROGRAM@
    set -l skip 0
    for word in (commandline -opc)[2..]
        if test $skip = 1
            set skip 0
            continue
        end
        switch "$word"
            case --
                set at '-- command'
                break
        end
        switch "$at $word"
            case @TAKES_VALUE@
                set skip 1
            case @VERBS@
                set at "$at $word"
        end
    end
    test "$at" = "$argv"
end
complete -c @PROGRAM@ -f
complete -c @PROGRAM@ -n '__@PROGRAM@_at -- command' -Fa '(__fish_complete_command)'
)";

std::string spaced(std::string shell_patterns) {
    for (std::size_t at = 0; (at = shell_patterns.find("'|'", at)) != std::string::npos; at += 3)
        shell_patterns.replace(at, 3, "' '");
    return shell_patterns;
}

/// Within '…' fish reads \' as a quote.
std::string fish_quoted(const std::string& text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    return out + "'";
}

std::string fish(const CLI::App& app, const std::vector<Place>& places) {
    std::string script = kFish;
    const std::string complete = "complete -c " + app.get_name() + " -n ";
    for (const Place& place : places) {
        const std::string here = complete + fish_quoted("__" + app.get_name() + "_at " + place.path);
        for (const std::string& choice : positional_choices(*place.app)) script += here + " -a " + choice + "\n";
        if (takes_files(*place.app)) script += here + " -F\n";
        for (const CLI::App* verb : verbs_of(*place.app))
            script +=
                here + " -a " + verb->get_name() + " -d " + fish_quoted(on_one_line(verb->get_description())) + "\n";
        for (const OptionInfo& option : options_of(*place.app)) {
            if (option.names.empty()) continue;
            std::string line = here;
            for (const std::string& name : option.names)
                line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
            switch (option.takes) {
                case Takes::nothing: break;
                case Takes::word: line += " -x"; break;
                case Takes::choice: line += " -xa " + fish_quoted(joined(option.choices)); break;
                case Takes::file: line += " -rF"; break;
                case Takes::directory: line += " -xa '(__fish_complete_directories)'"; break;
            }
            script += line + " -d " + fish_quoted(option.text) + "\n";
        }
    }
    return filled(
        script, {{"@PROGRAM@", app.get_name()},
                 {"@VERBS@", spaced(subcommand_patterns(places))},
                 {"@TAKES_VALUE@", spaced(patterns(places, [](const auto& o) { return o.takes != Takes::nothing; }))}});
}

}  // namespace

std::string completion_script(const CLI::App& app, Shell shell) {
    std::vector<Place> places;
    collect(app, places);
    switch (shell) {
        case Shell::bash: return bash(app, places);
        case Shell::zsh: return zsh(app, places);
        case Shell::fish: return fish(app, places);
    }
    return {};
}

}  // namespace jobyard::program
