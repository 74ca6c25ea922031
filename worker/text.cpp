#include "text.hpp"

#include "jobyard/codec.hpp"

namespace jobyard::worker {
namespace {

/// How many bytes of `text` are one clean character; 0 if its first byte does not begin one.
std::size_t clean_character(std::string_view text) {
    if (text.front() == '\n' || text.front() == '\t') return 1;
    for (std::size_t size = 1; size <= 4 && size <= text.size(); ++size)
        if (is_clean_text(text.substr(0, size))) return size;
    return 0;
}

bool continues_a_character(char byte) { return (static_cast<unsigned char>(byte) & 0xc0U) == 0x80; }

}  // namespace

std::string clean_head(std::string_view text, std::size_t max_bytes) {
    std::string clean;
    while (!text.empty() && clean.size() < max_bytes) {
        const std::size_t size = clean_character(text);
        if (clean.size() + size > max_bytes) break;
        if (size == 0) {
            clean.push_back('?');
        } else {
            clean.append(text.substr(0, size));
        }
        text.remove_prefix(size == 0 ? 1 : size);
    }
    return clean;
}

std::string clean_tail(std::string_view text, std::size_t max_bytes) {
    if (text.size() > max_bytes) {
        text.remove_prefix(text.size() - max_bytes);
        for (int i = 0; i < 3 && !text.empty() && continues_a_character(text.front()); ++i) text.remove_prefix(1);
    }
    return clean_head(text, max_bytes);
}

}  // namespace jobyard::worker
