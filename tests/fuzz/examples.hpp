#pragma once
// The worked examples of PROTOCOL.md.

#include <string>
#include <vector>

namespace jobyard::fuzz {

struct Example {
    std::string header;
    std::string payload;
};
std::vector<Example> protocol_examples();

}  // namespace jobyard::fuzz
