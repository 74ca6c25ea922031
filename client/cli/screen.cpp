#include "screen.hpp"

#include <algorithm>

namespace jobyard::cli {
namespace {

constexpr std::string_view kClear = "\033[2J";
constexpr std::string_view kEraseToEnd = "\033[K";

/// One for each column, at most so many; the last is an ellipsis if that is not all. No spaces at the end.
std::vector<std::string> glyphs_of(std::string_view text, std::size_t most) {
    std::vector<std::string> glyphs;
    for (const char byte : text) {
        const bool continues = (static_cast<unsigned char>(byte) & 0xc0U) == 0x80;
        if (continues && !glyphs.empty()) {
            glyphs.back() += byte;
            continue;
        }
        if (glyphs.size() == most) {
            if (most > 0) glyphs.back() = "…";
            break;
        }
        glyphs.emplace_back(1, byte);
    }
    while (!glyphs.empty() && glyphs.back() == " ") glyphs.pop_back();
    return glyphs;
}

}  // namespace

void Screen::resize(Size size) {
    size_ = size;
    clear_ = true;
}

/// One stretch, from the first column that differs to the last.
std::string Screen::change(std::size_t row, const Shown& from, const Shown& to) const {
    const bool repaint = from.colour != to.colour;
    const auto at = [](const Shown& line, std::size_t column) {
        static const std::string kBlank = " ";
        return std::string_view(column < line.glyphs.size() ? line.glyphs[column] : kBlank);
    };
    const std::size_t width = std::max(from.glyphs.size(), to.glyphs.size());
    std::size_t first = 0;
    while (!repaint && first < width && at(from, first) == at(to, first)) ++first;
    if (first == width && !repaint) return {};
    std::size_t end = to.glyphs.size();
    while (!repaint && end > first && at(from, end - 1) == at(to, end - 1)) --end;
    std::string bytes = "\033[" + std::to_string(row + 1) + ";" + std::to_string(first + 1) + "H";
    std::string text;
    for (std::size_t column = first; column < end; ++column) text += to.glyphs[column];
    bytes += painted({size_.columns, colour_}, to.colour, std::move(text));
    if (from.glyphs.size() > to.glyphs.size()) {
        if (end < to.glyphs.size())
            bytes += "\033[" + std::to_string(row + 1) + ";" + std::to_string(to.glyphs.size() + 1) + "H";
        bytes += kEraseToEnd;
    }
    return bytes;
}

std::string Screen::draw(const std::vector<ScreenLine>& lines, std::size_t most) {
    std::string bytes;
    if (clear_) {
        if (most < kClear.size()) return {};
        bytes = kClear;
        clear_ = false;
        shown_.assign(size_.rows, {});
    }
    for (std::size_t row = 0; row < size_.rows; ++row) {
        static const ScreenLine kEmpty;
        const ScreenLine& line = row < lines.size() ? lines[row] : kEmpty;
        // The last column of the last row would scroll some terminals.
        Shown wanted{glyphs_of(line.text, row + 1 < size_.rows ? size_.columns : size_.columns - 1), line.colour};
        if (wanted.glyphs.empty()) wanted.colour = Colour::none;
        const std::string changed = change(row, shown_[row], wanted);
        if (bytes.size() + changed.size() > most) continue;  // a shorter one may still fit
        bytes += changed;
        shown_[row] = std::move(wanted);
    }
    return bytes;
}

}  // namespace jobyard::cli
