// The settings of broker and worker: which program, and the text of a file; or of one, words for one setting.

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

#include "broker/config.hpp"
#include "program/reference.hpp"
#include "target.hpp"
#include "worker/config.hpp"

namespace jobyard::fuzz {
namespace {

/// What was read in words is read from these words as the same.
void must_be_stable(program::Table& table) {
    for (program::Setting& setting : table.settings) {
        const std::vector<std::string> words = program::words_of(setting);
        const std::string text = program::value_text(setting);
        if (setting.from == "default") continue;
        must(program::assign(setting, words, "again").has_value(), "a value that was taken is taken again");
        must(program::value_text(setting) == text, "and is the same");
    }
}

template <class Config, class Check>
void read_file(const std::string& path, program::Table (*settings)(Config&), const Check& check) {
    Config config;
    program::Table table = settings(config);
    std::vector<std::string> notes;
    const auto read = program::read_files_and_environment(table, path, notes);
    if (!read) {
        must(!read.error().text.empty(), "an error says what is wrong");
        return;
    }
    must_be_stable(table);
    static_cast<void>(check(config));
    static_cast<void>(program::check_required(table));
    static_cast<void>(program::effective(table));
}

template <class Config>
void take_words(Input input, program::Table (*settings)(Config&)) {
    Config config;
    program::Table table = settings(config);
    program::Setting& setting = table.settings[input.byte() % table.settings.size()];
    std::vector<std::string> words;
    std::string word;
    for (const char c : input.rest()) {
        if (c != '\n') word += c;
        else words.push_back(std::exchange(word, {}));
    }
    words.push_back(word);
    if (program::assign(setting, words, "words")) must_be_stable(table);
}

const std::string& file() {
    static const std::string kFile = [] {
        const char* directory = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        return std::string(directory) + "/jobyard-fuzz-" + std::to_string(::getpid()) + ".toml";
    }();
    return kFile;
}

}  // namespace

void run(std::string_view bytes) {
    Input input(bytes);
    const unsigned what = input.byte() % 4;
    if (what == 2) return take_words<broker::Config>(input, broker::settings);
    if (what == 3) return take_words<worker::Config>(input, worker::settings);
    std::ofstream(file(), std::ios::binary | std::ios::trunc) << input.rest();
    if (what == 0) read_file<broker::Config>(file(), broker::settings, broker::check);
    else read_file<worker::Config>(file(), worker::settings, worker::check);
    ::unlink(file().c_str());
}

std::vector<std::string> seeds() {
    std::vector<std::string> made;
    broker::Config broker;
    worker::Config worker;
    char program = 0;
    for (const program::Table& table : {broker::settings(broker), worker::settings(worker)}) {
        const std::string commented = program::commented_file(table);
        made.push_back(program + commented);
        std::string uncommented;  // all settings said
        std::istringstream lines(commented);
        for (std::string line; std::getline(lines, line);)
            uncommented +=
                (line.starts_with("# ") || line.find('=') == std::string::npos || line[0] != '#' ? line
                                                                                                 : line.substr(1)) +
                "\n";
        made.push_back(program + uncommented);
        for (std::size_t i = 0; i < table.settings.size(); ++i)
            for (const char* words : {"5s", "64K", "1", "true", "a\nb", "18446744073709551615", "-1", "1e9d"})
                made.push_back(std::string{static_cast<char>(program + 2), static_cast<char>(i)} + words);
        ++program;
    }
    made.push_back(std::string(1, 0) + "a = " + std::string(3000, '['));
    return made;
}

}  // namespace jobyard::fuzz
