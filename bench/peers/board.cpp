#include "board.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

namespace jobyard::bench {

Board::Board(const std::string& directory) : path_(directory + "/board") {
    const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    void* page = MAP_FAILED;
    if (fd >= 0 && ::ftruncate(fd, sizeof(BoardPage)) == 0)
        page = ::mmap(nullptr, sizeof(BoardPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) ::close(fd);
    if (page == MAP_FAILED) throw std::runtime_error("no shared file can be made at " + path_);
    page_ = static_cast<BoardPage*>(page);
}

Board::~Board() { ::munmap(page_, sizeof(BoardPage)); }

std::uint64_t Board::done() const {
    std::uint64_t sum = 0;
    for (unsigned i = 0; i < kWorkers; ++i) sum += page_->slots[i].done.load(std::memory_order_acquire);
    return sum;
}

std::uint64_t Board::latest() const {
    std::uint64_t latest = 0;
    for (unsigned i = 0; i < kWorkers; ++i)
        latest = std::max(latest, page_->slots[i].at.load(std::memory_order_acquire));
    return latest;
}

}  // namespace jobyard::bench
