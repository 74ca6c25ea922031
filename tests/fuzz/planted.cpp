// A reader with a bug, which the driver must find.

#include "target.hpp"

namespace jobyard::fuzz {

void run(std::string_view bytes) {
    Input input(bytes);
    const unsigned size = input.byte();
    if (input.byte() == 0xff) must(input.piece(size).size() == size, "it believes a length that it was told");
}

std::vector<std::string> seeds() { return {std::string("\x04\x01text", 6)}; }

}  // namespace jobyard::fuzz
