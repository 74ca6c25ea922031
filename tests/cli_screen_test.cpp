// A screen drawn by its differences: the same picture for fewer bytes, and never more than are allowed.

#include "client/cli/screen.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>

namespace jobyard::cli {
namespace {

/// A terminal that knows what the screen may send: clear, move, erase to the end of the line, colours.
class FakeTerminal {
 public:
    explicit FakeTerminal(Screen::Size size) : rows_(size.rows, std::vector<std::string>(size.columns, " ")) {}
    void take(const std::string& bytes) {
        for (std::size_t at = 0; at < bytes.size();) {
            if (bytes[at] != '\033') {
                std::size_t end = at + 1;
                while (end < bytes.size() && (static_cast<unsigned char>(bytes[end]) & 0xc0U) == 0x80) ++end;
                ASSERT_LT(row_, rows_.size());
                ASSERT_LT(column_, rows_[row_].size()) << "written beyond the end of the line";
                rows_[row_][column_++] = bytes.substr(at, end - at);
                at = end;
                continue;
            }
            const std::size_t end = bytes.find_first_of("HJKm", at);
            ASSERT_NE(end, std::string::npos);
            const std::string numbers = bytes.substr(at + 2, end - at - 2);
            if (bytes[end] == 'H') {
                row_ = std::stoul(numbers) - 1;
                column_ = std::stoul(numbers.substr(numbers.find(';') + 1)) - 1;
            } else if (bytes[end] == 'J') {
                for (auto& row : rows_) std::fill(row.begin(), row.end(), " ");
            } else if (bytes[end] == 'K') {
                std::fill(rows_[row_].begin() + static_cast<std::ptrdiff_t>(column_), rows_[row_].end(), " ");
            }
            at = end + 1;
        }
    }
    [[nodiscard]] std::string row(std::size_t row) const {
        std::string text;
        for (const std::string& glyph : rows_[row]) text += glyph;
        return text.erase(text.find_last_not_of(' ') + 1);
    }

 private:
    std::vector<std::vector<std::string>> rows_;
    std::size_t row_ = 0;
    std::size_t column_ = 0;
};

TEST(Screen, SendsOnlyWhatHasChanged) {
    Screen screen(false);
    screen.resize({3, 20});
    EXPECT_EQ(screen.draw({{"queued 10"}, {"running 2"}}, 1000), "\033[2J\033[1;1Hqueued 10\033[2;1Hrunning 2");
    EXPECT_EQ(screen.draw({{"queued 10"}, {"running 2"}}, 1000), "");
    EXPECT_EQ(screen.draw({{"queued 19"}, {"running 2"}}, 1000), "\033[1;9H9");
    EXPECT_EQ(screen.draw({{"queued"}, {"running 2"}}, 1000), "\033[1;8H\033[K") << "the space before it stays";
}

TEST(Screen, CutsLinesAndLeavesTheLastCornerAlone) {
    Screen screen(false);
    screen.resize({2, 5});
    FakeTerminal terminal({2, 5});
    terminal.take(screen.draw({{"äbcdefg"}, {"äbcdefg"}, {"never seen"}}, 1000));
    EXPECT_EQ(terminal.row(0), "äbcd…");
    EXPECT_EQ(terminal.row(1), "äbc…");
}

TEST(Screen, ColoursALineAndRepaintsItWhenTheColourChanges) {
    Screen screen(true);
    screen.resize({2, 20});
    screen.draw({{"dead 1", Colour::none}}, 1000);
    EXPECT_EQ(screen.draw({{"dead 1", Colour::red}}, 1000), "\033[1;1H\033[31mdead 1\033[0m");
}

TEST(Screen, WhatIsNotAllowedNowComesLater) {
    Screen screen(false);
    screen.resize({10, 40});
    FakeTerminal terminal({10, 40});
    const std::vector<ScreenLine> lines(10, {"thirty-nine characters of a line, or so"});
    int draws = 0;
    for (; terminal.row(9).empty(); ++draws) {
        ASSERT_LT(draws, 20);
        const std::string bytes = screen.draw(lines, 100);
        EXPECT_LE(bytes.size(), 100U);
        terminal.take(bytes);
    }
    EXPECT_GE(draws, 4);
    for (std::size_t row = 0; row < 9; ++row) EXPECT_EQ(terminal.row(row), lines[row].text);
    EXPECT_EQ(screen.draw(lines, 100), "");
}

TEST(Screen, AnySequenceOfPicturesAndSizesIsDrawnAsItIs) {
    std::mt19937 random(1);
    const auto any = [&](std::size_t most) { return std::uniform_int_distribution<std::size_t>(0, most)(random); };
    Screen screen(true);
    Screen::Size size{5, 12};
    std::optional<FakeTerminal> terminal;
    for (int round = 0; round < 2000; ++round) {
        if (round % 50 == 0) {
            size = {2 + any(6), 3 + any(20)};
            screen.resize(size);
            terminal.emplace(size);
        }
        std::vector<ScreenLine> lines;
        for (std::size_t row = any(size.rows); row > 0; --row) {
            ScreenLine& line = lines.emplace_back();
            for (std::size_t left = any(size.columns - 1); left > 0; --left)
                line.text += std::vector<std::string>{"a", "b", " ", "é", "…"}[any(4)];
            line.text.erase(line.text.find_last_not_of(' ') + 1);
            line.colour = any(3) == 0 ? Colour::red : Colour::none;
        }
        terminal->take(screen.draw(lines, SIZE_MAX));
        for (std::size_t row = 0; row < size.rows; ++row)
            ASSERT_EQ(terminal->row(row), row < lines.size() ? lines[row].text : "") << "round " << round;
    }
}

}  // namespace
}  // namespace jobyard::cli
