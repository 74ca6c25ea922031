#include "jobyard/fingerprint.hpp"

#include <algorithm>
#include <cstdint>

namespace jobyard {

std::string error_shape(std::string_view error) {
    error = error.substr(0, error.find('\n'));
    std::string shape;
    for (std::size_t at = 0; at < error.size();) {
        const char first = error[at];
        if (first == '"' || first == '\'') {
            const std::size_t end = error.find(first, at + 1);
            if (end != std::string_view::npos) {
                shape += '#';
                at = end + 1;
                continue;
            }
        }
        if (first == ' ') {
            if (!shape.empty() && shape.back() != ' ') shape += ' ';
            ++at;
            continue;
        }
        const std::size_t end = std::min(error.find_first_of(" \"'", at + 1), error.size());
        const std::string_view word = error.substr(at, end - at);
        if (word.find_first_of("0123456789/") == std::string_view::npos) shape += word;
        else shape += '#';
        at = end;
    }
    return shape;
}

std::string fingerprint(std::string_view type, std::string_view error) {
    std::uint64_t hash = 0xcbf29ce484222325;
    const auto add = [&](std::string_view bytes) {
        for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    };
    add(type);
    add(std::string_view("\0", 1));
    add(error_shape(error));
    std::string text(kFingerprintBytes, '0');
    for (std::size_t i = text.size(); i-- > 0; hash >>= 4U) text[i] = "0123456789abcdef"[hash & 0xfU];
    return text;
}

}  // namespace jobyard
