// The target under libFuzzer. `--seeds DIR` writes them there, and ends.

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "target.hpp"

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
    if (*argc != 3 || std::strcmp((*argv)[1], "--seeds") != 0) return 0;
    const std::filesystem::path to = (*argv)[2];
    std::filesystem::create_directories(to);
    std::size_t number = 0;
    for (const std::string& seed : jobyard::fuzz::seeds())
        std::ofstream(to / ("seed-" + std::to_string(number++)), std::ios::binary) << seed;
    std::printf("%zu seeds\n", number);
    std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    jobyard::fuzz::run({reinterpret_cast<const char*>(data), size});
    return 0;
}
