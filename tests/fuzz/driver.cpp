// The target without a fuzzer, as ctest runs it: all seeds, all of the corpus, and so many mutations of them, the same
// with the same seed.  fuzz_TARGET [--inputs N] [--seed S] [CORPUS...]   An input that is found is left in
// `crash-input`.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>

#include "target.hpp"

namespace {

constexpr std::size_t kLongest = 8192;

std::string running;  // the input in work, for whoever is called when it was the last

extern "C" void keep_input(int number) {
    const int fd = ::open("crash-input", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0 && ::write(fd, running.data(), running.size()) == static_cast<ssize_t>(running.size())) {
        constexpr std::string_view kKept = "the input is in crash-input\n";
        static_cast<void>(!::write(2, kKept.data(), kKept.size()));
    }
    ::_exit(128 + number);
}

void run(const std::string& input) {
    running = input;
    jobyard::fuzz::run(running);
}

std::string read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
}

class Mutator {
 public:
    explicit Mutator(std::uint64_t seed) : random_(seed) {}

    std::string operator()(const std::vector<std::string>& all) {
        std::string bytes = all[random_() % all.size()];
        for (std::uint64_t n = 1 + random_() % 6; n > 0; --n) mutate(bytes, all);
        if (bytes.size() > kLongest) bytes.resize(kLongest);
        return bytes;
    }

 private:
    void mutate(std::string& bytes, const std::vector<std::string>& all) {
        static constexpr unsigned char kOdd[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0xc0, 0xc1, 0xcf,
                                                 0xd3, 0xdd, 0xdf, '\n', '"',  '[',  '{'};
        if (bytes.empty()) bytes = "x";
        const std::size_t at = random_() % bytes.size();
        const std::size_t some = 1 + random_() % 8;
        switch (random_() % 8) {
            case 0: bytes[at] = static_cast<char>(random_()); break;
            case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1U << random_() % 8)); break;
            case 2: bytes[at] = static_cast<char>(kOdd[random_() % std::size(kOdd)]); break;
            case 3: bytes.insert(at, some, static_cast<char>(kOdd[random_() % std::size(kOdd)])); break;
            case 4: bytes.erase(at, some); break;
            case 5: bytes.insert(at, bytes.substr(random_() % bytes.size(), some * 4)); break;
            case 6: {
                const std::string& other = all[random_() % all.size()];
                bytes.replace(at, std::string::npos, other.substr(other.empty() ? 0 : random_() % other.size()));
                break;
            }
            default:
                for (std::size_t i = at; i < std::min(at + 8, bytes.size()); ++i) bytes[i] = '\xff';
        }
    }
    std::mt19937_64 random_;
};

}  // namespace

int main(int argc, char** argv) {
    std::uint64_t inputs = 1000;
    std::uint64_t seed = 1;
    std::vector<std::string> all = jobyard::fuzz::seeds();
    const std::size_t seeds = all.size();
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if ((word == "--inputs" || word == "--seed") && i + 1 < argc) {
            (word == "--inputs" ? inputs : seed) = std::strtoull(argv[++i], nullptr, 10);
            continue;
        }
        if (word.starts_with("-") || !std::filesystem::exists(word)) {
            std::fprintf(stderr, "usage: %s [--inputs N] [--seed S] [FILE or DIRECTORY...]\n", argv[0]);
            return 2;
        }
        if (!std::filesystem::is_directory(word)) all.push_back(read_file(word));
        else
            for (const auto& entry : std::filesystem::directory_iterator(word)) all.push_back(read_file(entry.path()));
    }
    // On a stack of its own: an input may have used up the other one.
    static std::string stack(std::size_t{64} << 10, '\0');
    const stack_t other{stack.data(), 0, stack.size()};
    ::sigaltstack(&other, nullptr);
    struct sigaction action {};
    action.sa_handler = keep_input;
    action.sa_flags = SA_ONSTACK;
    for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) ::sigaction(number, &action, nullptr);
    for (const std::string& input : all) run(input);
    Mutator mutate(seed);
    for (std::uint64_t i = 0; i < inputs; ++i) run(mutate(all));
    std::printf("%zu seeds, %zu of the corpus, %llu mutations: fine\n", seeds, all.size() - seeds,
                static_cast<unsigned long long>(inputs));
    return 0;
}
