#pragma once
// A full screen that is drawn by its differences: what has not changed is not sent. How much may be sent at a time is
// bounded; what does not fit is sent the next time, so that a terminal at the end of a thin line stays usable.
//
// Pure: it makes bytes; who owns the terminal writes them.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "terminal.hpp"

namespace jobyard::cli {

struct ScreenLine {
    std::string text = {};  ///< printable
    Colour colour = Colour::none;
    friend bool operator==(const ScreenLine&, const ScreenLine&) = default;
};

class Screen {
 public:
    struct Size {
        std::size_t rows = 24;
        std::size_t columns = 80;
        friend bool operator==(const Size&, const Size&) = default;
    };
    explicit Screen(bool colour) : colour_(colour) {}

    /// The terminal has this size from now on, and nothing is known of what it shows.
    void resize(Size size);
    [[nodiscard]] Size size() const { return size_; }
    /// What to send, at most `most` bytes of it, so that the terminal shows these lines: the first rows first, each cut
    /// to its width.
    std::string draw(const std::vector<ScreenLine>& lines, std::size_t most);

 private:
    struct Shown {
        std::vector<std::string> glyphs;
        Colour colour = Colour::none;
    };
    [[nodiscard]] std::string change(std::size_t row, const Shown& from, const Shown& to) const;

    const bool colour_;
    Size size_;
    bool clear_ = true;
    std::vector<Shown> shown_;
};

}  // namespace jobyard::cli
