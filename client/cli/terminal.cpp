#include "terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "jobyard/codec.hpp"

namespace jobyard::cli {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kNarrowest = 8;  // a flexible column

bool starts_character(char byte) { return (static_cast<unsigned char>(byte) & 0xc0U) != 0x80; }

/// Columns on the screen: one for each character, which is wrong only for the wide ones of East Asia.
std::size_t columns_of(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), starts_character));
}

std::string cut(const std::string& text, std::size_t columns) {
    if (columns_of(text) <= columns) return text;
    std::size_t end = 0;
    for (std::size_t seen = 0; end < text.size(); ++end)
        if (starts_character(text[end]) && ++seen == columns) break;
    return text.substr(0, end) + "…";
}

const char* escape_of(Colour colour) {
    switch (colour) {
        case Colour::none: return "";
        case Colour::red: return "\033[31m";
        case Colour::green: return "\033[32m";
        case Colour::yellow: return "\033[33m";
        case Colour::cyan: return "\033[36m";
        case Colour::dim: return "\033[2m";
        case Colour::bold: return "\033[1m";
    }
    return "";
}

}  // namespace

Terminal Terminal::of(std::FILE* stream) {
    const int fd = fileno(stream);
    if (isatty(fd) == 0) return {};
    Terminal terminal;
    winsize size{};
    terminal.width = ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    const char* no_color = std::getenv("NO_COLOR");
    terminal.colour = no_color == nullptr || *no_color == '\0';
    return terminal;
}

std::string painted(const Terminal& terminal, Colour colour, std::string text) {
    if (!terminal.colour || colour == Colour::none) return text;
    return escape_of(colour) + text + "\033[0m";
}

Colour colour_of(JobState state) {
    switch (state) {
        case JobState::completed: return Colour::green;
        case JobState::dead: return Colour::red;
        case JobState::running:
        case JobState::assigned: return Colour::cyan;
        case JobState::retrying: return Colour::yellow;
        case JobState::cancelled:
        case JobState::retired: return Colour::dim;
        case JobState::none:
        case JobState::scheduled:
        case JobState::queued: return Colour::none;
    }
    return Colour::none;
}

std::string printable(std::string_view text) {
    std::string out(text);
    if (is_clean_text(out)) return out;
    for (char& byte : out)
        if (static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f) byte = ' ';
    if (is_clean_text(out)) return out;
    std::replace_if(
        out.begin(), out.end(), [](char byte) { return static_cast<unsigned char>(byte) >= 0x80; }, '?');
    return out;
}

std::vector<std::size_t> Table::widths(std::size_t terminal_width) const {
    std::vector<std::size_t> widths;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        std::size_t width = columns_of(columns_[i].title);
        for (const std::vector<Cell>& row : rows_) width = std::max(width, columns_of(row[i].text));
        widths.push_back(width);
    }
    if (terminal_width == 0) return widths;
    std::size_t total = std::accumulate(widths.begin(), widths.end(), kGap * (widths.size() - 1));
    while (total > terminal_width) {
        std::size_t* widest = nullptr;
        for (std::size_t i = 0; i < widths.size(); ++i)
            if (columns_[i].kind == Kind::flexible && widths[i] > kNarrowest &&
                (widest == nullptr || widths[i] > *widest))
                widest = &widths[i];
        if (widest == nullptr) break;
        --*widest;
        --total;
    }
    return widths;
}

std::string Table::format(const Terminal& terminal) const {
    const std::vector<std::size_t> width = widths(terminal.width);
    std::string out;
    const auto append = [&](std::size_t i, const std::string& whole, Colour colour) {
        const std::string text = terminal.width == 0 ? whole : cut(whole, width[i]);
        const std::string pad(width[i] - std::min(width[i], columns_of(text)), ' ');
        const bool right = columns_[i].kind == Kind::right;
        const bool last = i + 1 == columns_.size();
        if (right) out += pad;
        out += painted(terminal, colour, text);
        if (!right && !last) out += pad;
        out += std::string(kGap, ' ');
        if (!last) return;
        out.erase(out.find_last_not_of(' ') + 1);
        out += '\n';
    };
    for (std::size_t i = 0; i < columns_.size(); ++i) append(i, columns_[i].title, Colour::bold);
    for (const std::vector<Cell>& row : rows_)
        for (std::size_t i = 0; i < row.size(); ++i) append(i, row[i].text, row[i].colour);
    return out;
}

Progress::Progress(std::string what) : what_(std::move(what)), terminal_(Terminal::of(stderr)) {}

void Progress::show(double fraction, const std::string& text) {
    if (terminal_.width == 0) return;
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return;
    next_ = now + std::chrono::milliseconds(100);
    constexpr std::size_t kBar = 24;
    std::string line = what_ + " ";
    if (fraction >= 0) {
        const auto full = static_cast<std::size_t>(std::clamp(fraction, 0.0, 1.0) * kBar);
        line += "[" + std::string(full, '#') + std::string(kBar - full, '.') + "] ";
    }
    std::fprintf(stderr, "\r%s\033[K", cut(line + text, terminal_.width - 1).c_str());
    std::fflush(stderr);
    drawn_ = true;
}

void Progress::clear() {
    if (!drawn_) return;
    std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
    drawn_ = false;
}

}  // namespace jobyard::cli
