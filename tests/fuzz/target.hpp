#pragma once
// What is given any bytes at all, and must neither crash nor break a rule of its own. Each target is a file that
// defines these two; fuzzer.cpp (libFuzzer, which looks for new ways through the code) or driver.cpp (a bounded number
// of mutations, for ctest) does the rest.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace jobyard::fuzz {

/// Aborts if a rule is broken. Whatever it makes is gone when it returns.
void run(std::string_view bytes);

/// Inputs that make sense, to begin with: made of PROTOCOL.md, of the programs' own tables and of their own rows, so
/// that they change with those.
std::vector<std::string> seeds();

/// A rule of the target.
inline void must(bool holds, const char* rule) {
    if (holds) return;
    std::fprintf(stderr, "broken: %s\n", rule);
    std::abort();
}

/// Takes numbers and pieces off the input; at its end zeros and nothing.
class Input {
 public:
    explicit Input(std::string_view bytes) : left_(bytes) {}
    [[nodiscard]] bool at_end() const { return left_.empty(); }
    unsigned byte() {
        if (left_.empty()) return 0;
        const auto value = static_cast<unsigned char>(left_.front());
        left_.remove_prefix(1);
        return value;
    }
    unsigned number() {
        const unsigned high = byte();
        return high << 8U | byte();
    }
    std::string_view piece(std::size_t size) {
        const std::string_view taken = left_.substr(0, size);
        left_.remove_prefix(taken.size());
        return taken;
    }
    std::string_view rest() { return piece(left_.size()); }

 private:
    std::string_view left_;
};

/// What Input::number() and Input::piece() read.
inline std::string number_bytes(std::size_t number) {
    return {static_cast<char>(number >> 8U), static_cast<char>(number)};
}

}  // namespace jobyard::fuzz
