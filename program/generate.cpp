#include "program/generate.hpp"

#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include "program/man_page.hpp"
#include "program/reference.hpp"

namespace jobyard::program {
namespace {

/// What a file's name calls the program: "broker", "worker", "client".
std::string role(const Table& table) {
    const std::size_t dash = table.program.find('-');
    return dash == std::string::npos ? "client" : table.program.substr(dash + 1);
}

bool write(const std::filesystem::path& path, const std::string& text) {
    std::error_code failed;
    std::filesystem::create_directories(path.parent_path(), failed);
    std::ofstream file(path, std::ios::binary);
    if (file << text << std::flush) return true;
    std::cerr << "--generate: cannot write " << path.string() << "\n";
    return false;
}

bool generate(const std::string& directory, const CLI::App& app, int section, const Table* table,
              const std::map<std::string, std::string>& more) {
    const std::filesystem::path into = directory;
    bool written = true;
    for (const ManPage& page : man_pages(app, section, table)) written &= write(into / "man" / page.file, page.text);
    if (table != nullptr) {
        const std::filesystem::path settings = into / "settings" / role(*table);
        written &= write(settings.string() + ".md", reference_markdown(*table));
        written &= write(settings.string() + ".toml", commented_file(*table));
    }
    for (const auto& [file, text] : more) written &= write(into / "settings" / file, text);
    return written;
}

}  // namespace

void add_generate(CLI::App& app, int section, const Table* table, const std::map<std::string, std::string>& more) {
    // Before anything is required of the rest of the command line.
    const auto run = [&app, section, table, more](const std::string& directory) {
        throw CLI::RuntimeError(generate(directory, app, section, table, more) ? 0 : 1);
    };
    app.add_option_function<std::string>("--generate", run, "Write man pages and references there")->group("");
}

}  // namespace jobyard::program
