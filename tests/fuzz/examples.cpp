#include "examples.hpp"

#include <fstream>
#include <sstream>

#include "target.hpp"

namespace jobyard::fuzz {
namespace {

std::string from_hex(const std::string& text) {
    std::string bytes;
    std::istringstream pairs(text);
    for (std::string pair; pairs >> pair;) bytes.push_back(static_cast<char>(std::stoi(pair, nullptr, 16)));
    return bytes;
}

}  // namespace

std::vector<Example> protocol_examples() {
    std::ifstream document(JOBYARD_SOURCE_DIR "/protocol/PROTOCOL.md");
    std::vector<Example> examples;
    std::string header;
    std::string payload;
    std::string* part = nullptr;
    bool inside = false;
    for (std::string line; std::getline(document, line);) {
        if (line.starts_with("```")) {
            if (inside && !header.empty()) examples.push_back({from_hex(header), from_hex(payload)});
            inside = !inside;
            header.clear();
            payload.clear();
            part = nullptr;
        } else if (inside && line.starts_with("header:")) {
            *(part = &header) = line.substr(7);
        } else if (inside && line.starts_with("payload:")) {
            *(part = &payload) = line.substr(8);
        } else if (inside && line.starts_with("means:")) {
            part = nullptr;
        } else if (part != nullptr) {
            *part += " " + line;
        }
    }
    must(examples.size() > 10, "PROTOCOL.md has its worked examples");
    return examples;
}

}  // namespace jobyard::fuzz
