#pragma once
// What a person sees: tables that fit the terminal, colour, progress bars. Nothing here writes anything special into a
// pipe or a file, and nothing a job says can steer the terminal.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "jobyard/job.hpp"

namespace jobyard::cli {

enum class Colour : std::uint8_t { none, red, green, yellow, cyan, dim, bold };

/// Where the output goes.
struct Terminal {
    std::size_t width = 0;  ///< columns; 0: no terminal, nothing is cut
    bool colour = false;    ///< a terminal, and NO_COLOR is not set

    static Terminal of(std::FILE* stream);
};

/// Text in a colour if the terminal has them.
std::string painted(const Terminal& terminal, Colour colour, std::string text);
Colour colour_of(JobState state);

/// Without control characters and broken UTF-8, on one line.
std::string printable(std::string_view text);

/// Columns as wide as what is in them. On a terminal that is too narrow the flexible columns give way.
class Table {
 public:
    enum class Kind : std::uint8_t { left, right, flexible };
    struct Column {
        std::string title;
        Kind kind = Kind::left;
    };
    struct Cell {
        std::string text;
        Colour colour = Colour::none;
        Cell(const std::string& what, Colour in = Colour::none) : text(printable(what)), colour(in) {}
        Cell(const char* what) : Cell(std::string(what)) {}
    };
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
    void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
    [[nodiscard]] std::string format(const Terminal& terminal) const;

 private:
    [[nodiscard]] std::vector<std::size_t> widths(std::size_t terminal_width) const;
    std::vector<Column> columns_;
    std::vector<std::vector<Cell>> rows_;
};

/// One line on standard error that is drawn again and again; nothing if that is no terminal.
class Progress {
 public:
    explicit Progress(std::string what);
    ~Progress() { clear(); }
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    /// `fraction` below 0: not known. Draws at most ten times a second.
    void show(double fraction, const std::string& text);
    /// Before anything else is printed.
    void clear();

 private:
    const std::string what_;
    const Terminal terminal_;
    bool drawn_ = false;
    std::chrono::steady_clock::time_point next_;
};

}  // namespace jobyard::cli
