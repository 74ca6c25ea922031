#include "proc.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace jobyard::torture {

std::uint64_t descriptors_of(pid_t pid) {
    std::error_code gone;
    std::uint64_t count = 0;
    for (std::filesystem::directory_iterator at("/proc/" + std::to_string(pid) + "/fd", gone), end; !gone && at != end;
         at.increment(gone))
        ++count;
    return count;
}

std::uint64_t memory_of(pid_t pid, const std::string& line) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    for (std::string text; std::getline(status, text);)
        if (text.starts_with(line + ":")) return std::strtoull(text.c_str() + line.size() + 1, nullptr, 10) << 10;
    return 0;
}

}  // namespace jobyard::torture
