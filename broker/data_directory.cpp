#include "data_directory.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

namespace jobyard::broker {

Result<std::unique_ptr<DataDirectory>> DataDirectory::open(const std::string& path, std::uint64_t ballast_bytes) {
    if (auto made = make_directory(path, "data directory"); !made) return made.error();
    auto lock = lock_file(path + "/lock");
    if (!lock) {
        if (lock.error().code != Code::busy) return lock.error();
        return Error{Code::busy, "another broker uses the data directory " + path + ": " + lock.error().text};
    }
    std::unique_ptr<DataDirectory> directory(new DataDirectory(path, ballast_bytes, std::move(*lock)));
    directory->ensure_ballast();
    return directory;
}

std::string DataDirectory::warning() const {
    struct statfs disk {};
    if (::statfs(path_.c_str(), &disk) != 0) return {};
    const char* kind = nullptr;
    switch (static_cast<std::uint32_t>(disk.f_type)) {  // the numbers of statfs(2)
        case 0x6969: kind = "NFS"; break;
        case 0x517b:
        case 0xfe534d42:
        case 0xff534d42: kind = "SMB"; break;
        case 0x794c7630: kind = "overlayfs"; break;
        case 0x01021994:
        case 0x858458f6: kind = "a memory file system"; break;
        default: return {};
    }
    return path_ + " is on " + kind + ": what is acknowledged may not survive a power loss; use a local disk";
}

std::uint64_t DataDirectory::free_bytes() const {
    struct statvfs disk {};
    return ::statvfs(path_.c_str(), &disk) == 0 ? disk.f_bavail * disk.f_frsize : 0;
}

bool DataDirectory::ensure_ballast() {
    struct stat info {};
    if (::stat(ballast_path().c_str(), &info) == 0) return true;
    if (free_bytes() < 4 * ballast_bytes_) return false;
    const Fd file(::open(ballast_path().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file) return false;
    // Half a ballast is none: somebody else was faster with the space.
    if (::posix_fallocate(file.get(), 0, static_cast<off_t>(ballast_bytes_)) == 0) return true;
    ::unlink(ballast_path().c_str());
    return false;
}

bool DataDirectory::drop_ballast() { return ::unlink(ballast_path().c_str()) == 0; }

}  // namespace jobyard::broker
