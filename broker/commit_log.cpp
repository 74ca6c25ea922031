#include "commit_log.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace jobyard::broker {
namespace {

constexpr std::uint64_t kMagic = 0x31676f6c2d79626aULL;  // "jby-log1"
constexpr std::uint64_t kPage = 4096;
/// Written once when a file is made, because the first write to a block costs a second flush.
constexpr std::uint64_t kFirstBytes = std::uint64_t{2} << 20;
/// What a file that grows leaves free of the disk: the store must be able to take what is in the other one.
constexpr std::uint64_t kLeaveFree = std::uint64_t{256} << 20;

/// What is written at once of a record.
constexpr std::size_t kBlock = std::size_t{1} << 20;
/// A record from this size on goes past the page cache. A smaller one gains nothing by it.
constexpr std::size_t kDirect = std::size_t{512} << 10;
/// What is copied at once when the checksum has read it.
constexpr std::size_t kCached = std::size_t{16} << 10;

struct Header {
    std::uint64_t magic = kMagic;
    std::uint64_t store = 0;
    std::uint64_t seq = 0;
    std::uint64_t checksum = 0;
    std::uint64_t ops = 0;
    std::uint64_t bytes = 0;
};
static_assert(sizeof(Header) == 48);
static_assert(sizeof(Op) == 20, "operations stand in the log as they are: another layout is another kMagic");

std::uint64_t pages(std::uint64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }
std::uint64_t record_bytes(const Header& header) { return sizeof header + header.ops * sizeof(Op) + header.bytes; }

/// Of the whole record, its own place excepted.
class Checksum {
 public:
    Checksum(Header header, std::uint64_t secret) {
        header.checksum = 0;
        XXH3_INITSTATE(&state_);
        XXH3_64bits_reset_withSeed(&state_, secret);
        add({reinterpret_cast<const char*>(&header), sizeof header});
    }
    void add(std::string_view bytes) { XXH3_64bits_update(&state_, bytes.data(), bytes.size()); }
    [[nodiscard]] std::uint64_t value() const { return XXH3_64bits_digest(&state_); }

 private:
    XXH3_state_t state_;
};

/// The record at the beginning of `bytes`, if there is a whole one.
bool read_record(std::string_view bytes, std::uint64_t secret, Header& header, Batch& batch) {
    if (bytes.size() < sizeof header) return false;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.magic != kMagic || header.ops > bytes.size() / sizeof(Op) || header.bytes > bytes.size() ||
        record_bytes(header) > bytes.size())
        return false;
    const std::string_view ops = bytes.substr(sizeof header, header.ops * sizeof(Op));
    const std::string_view arena = bytes.substr(sizeof header + ops.size(), header.bytes);
    Checksum checksum(header, secret);
    checksum.add(ops);
    checksum.add(arena);
    if (checksum.value() != header.checksum) return false;
    batch.restore(header.seq, ops, arena);
    return true;
}

/// Whether the bytes of a record that cannot be read are followed by the next one, which can: then this is damage, not
/// the end, because a record is written when the one before it is durable.
bool goes_on_behind(std::string_view bytes, std::uint64_t secret, std::uint64_t seq) {
    Header header;
    if (bytes.size() < sizeof header) return false;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.magic != kMagic || header.seq != seq || header.ops > bytes.size() || header.bytes > bytes.size())
        return false;
    const std::uint64_t size = pages(record_bytes(header));
    Header next;
    Batch batch;
    return size < bytes.size() && read_record(bytes.substr(size), secret, next, batch) && next.seq == seq + 1;
}

int write_whole(int fd, std::string_view bytes, std::uint64_t at) {
    while (!bytes.empty()) {
        const ssize_t wrote = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return errno;
        if (wrote == 0) return ENOSPC;
        at += static_cast<std::uint64_t>(wrote);
        bytes.remove_prefix(static_cast<std::size_t>(wrote));
    }
    return 0;
}

/// Writes one record, in blocks of our own memory: what the checksum has read is copied while it is in the processor's
/// cache, and the disk can take a block from there. For large records that saves the way through the page cache, which
/// is another copy and more; a small one is one write, as it would be without blocks.
class RecordWriter {
 public:
    /// `blocks`: room for two, at a page's border. `direct`: past the page cache, if not null and open; it is closed if
    /// the file system does not take what is written so.
    RecordWriter(int fd, Fd* direct, std::uint64_t file_at, char* blocks, const Checksum& checksum)
        : fd_(fd),
          direct_(direct),
          file_at_(file_at),
          first_(blocks),
          later_(blocks + kBlock),
          block_(blocks),
          checksum_(checksum) {}

    void add(std::string_view bytes) {
        while (!bytes.empty()) {
            const std::size_t in_block = at_ % kBlock;
            const std::string_view some = bytes.substr(0, std::min(kCached, kBlock - in_block));
            checksum_.add(some);
            std::memcpy(block_ + in_block, some.data(), some.size());
            at_ += some.size();
            bytes.remove_prefix(some.size());
            if (at_ % kBlock == 0) next_block();
        }
    }

    /// The first block has the header, and so the checksum of all: it is written last. Zero or the errno.
    int finish(Header header) {
        const std::size_t rest = at_ % kBlock;
        const std::uint64_t size = pages(at_);
        std::memset(block_ + rest, 0, size - at_);
        at_ = size;
        if (rest > 0 && block_ == later_) next_block();
        header.checksum = checksum_.value();
        std::memcpy(first_, &header, sizeof header);
        write(first_, std::min(size, kBlock), 0);
        return error_;
    }

 private:
    void next_block() {
        const std::size_t bytes = (at_ - 1) % kBlock + 1;
        if (block_ == later_) write(later_, bytes, at_ - bytes);
        block_ = later_;
    }

    void write(const char* block, std::size_t bytes, std::uint64_t at) {
        if (error_ == 0 && direct_ != nullptr && *direct_) {
            error_ = write_whole(direct_->get(), {block, bytes}, file_at_ + at);
            if (error_ != EINVAL) return;
            error_ = 0;
            *direct_ = Fd();
        }
        if (error_ == 0) error_ = write_whole(fd_, {block, bytes}, file_at_ + at);
    }

    int fd_;
    Fd* direct_;
    std::uint64_t file_at_;
    char* first_;
    char* later_;
    char* block_;                        // one of the two
    std::uint64_t at_ = sizeof(Header);  // in the record
    Checksum checksum_;
    int error_ = 0;
};

/// Gives the space beyond back. No record stands there, so it does no harm if that fails.
void shorten(int fd, std::uint64_t bytes) {
    [[maybe_unused]] const int done = ::ftruncate(fd, static_cast<off_t>(bytes));
}

/// False, with nothing taken, if there is not that much space and some to spare. A file system that cannot allocate
/// ahead does it when the file is written.
bool allocate(int fd, std::uint64_t bytes) {
    struct stat info {};
    struct statvfs disk {};
    if (::fstat(fd, &info) != 0 || ::fstatvfs(fd, &disk) != 0) return false;
    const auto now = static_cast<std::uint64_t>(info.st_size);
    if (bytes > now && disk.f_bavail * disk.f_frsize < bytes - now + kLeaveFree) return false;
    while (::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) != 0) {
        if (errno == EINTR) continue;
        if (errno != ENOSPC && errno != EDQUOT) return true;
        shorten(fd, now);  // what it did get
        return false;
    }
    return true;
}

}  // namespace

Result<std::unique_ptr<CommitLog>> CommitLog::open(const std::string& directory, std::uint64_t max_bytes) {
    std::unique_ptr<CommitLog> log(new CommitLog(directory, max_bytes));
    for (std::size_t i = 0; i < log->files_.size(); ++i) {
        File& file = log->files_[i];
        const std::string path = directory + "/log." + std::to_string(i);
        file.fd = Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        struct stat info {};
        if (!file.fd || ::fstat(file.fd.get(), &info) != 0) return log->failure("cannot open the commit log", errno);
        file.found_bytes = static_cast<std::uint64_t>(info.st_size);
        if (file.found_bytes < kFirstBytes) {
            const std::string zeros(kFirstBytes - file.found_bytes, '\0');
            const int error = write_whole(file.fd.get(), zeros, file.found_bytes);
            if (error != 0) return log->failure("cannot make the commit log", error);
            if (::fsync(file.fd.get()) != 0) return log->failure("cannot make the commit log", errno);
            log->is_new_ = true;
        }
        file.direct = Fd(::open(path.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC));  // not every file system has it
        file.bytes = std::min(std::max(kFirstBytes, static_cast<std::uint64_t>(info.st_size)), max_bytes);
    }
    if (log->is_new_)
        if (auto synced = sync_directory(directory); !synced) return synced.error();
    return log;
}

Result<std::unique_ptr<CommitLog>> CommitLog::open_to_read(const std::string& directory) {
    std::unique_ptr<CommitLog> log(new CommitLog(directory, kMaxLogBytes));
    for (std::size_t i = 0; i < log->files_.size(); ++i) {
        const std::string path = directory + "/log." + std::to_string(i);
        struct stat info {};
        File& file = log->files_[i];
        file.fd = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!file.fd || ::fstat(file.fd.get(), &info) != 0) return log->failure("cannot open the commit log", errno);
        file.bytes = static_cast<std::uint64_t>(info.st_size);
        if (file.bytes < kFirstBytes)
            return Error{Code::internal, path +
                                             " is cut short, and with it perhaps jobs that were acknowledged; "
                                             "restore a backup"};
    }
    return log;
}

Result<void> CommitLog::replay(std::uint64_t applied, const std::function<Result<void>(Batch&& batch)>& apply) {
    // Each file's records, and which of the two begins earlier.
    std::array<std::string, 2> contents;
    std::array<std::uint64_t, 2> begins{};
    for (std::size_t i = 0; i < files_.size(); ++i) {
        struct stat info {};
        if (::fstat(files_[i].fd.get(), &info) != 0) return failure("cannot read the commit log", errno);
        contents[i].resize(static_cast<std::size_t>(info.st_size));
        for (std::size_t got = 0; got < contents[i].size();) {
            const ssize_t more = ::pread(files_[i].fd.get(), contents[i].data() + got, contents[i].size() - got,
                                         static_cast<off_t>(got));
            if (more < 0 && errno == EINTR) continue;
            if (more <= 0) return failure("cannot read the commit log", more == 0 ? EIO : errno);
            got += static_cast<std::size_t>(more);
        }
        Header header;
        Batch batch;
        if (read_record(contents[i], secret_, header, batch)) begins[i] = header.seq;
        std::memcpy(&header, contents[i].data(), sizeof header);  // a file holds two megabytes at least
        if (header.magic == kMagic && header.store != store_)
            return Error{Code::internal,
                         "the commit log in " + directory_ +
                             " is another store's; put back the one of this store, or restore both from one backup"};
    }
    const std::size_t first = begins[0] <= begins[1] ? 0 : 1;
    for (const std::size_t i : {first, 1 - first}) {
        std::uint64_t before = 0;
        for (std::string_view left = contents[i]; !left.empty();) {
            Header header;
            Batch batch;
            if (!read_record(left, secret_, header, batch)) {
                if (before != 0 && goes_on_behind(left, secret_, before + 1))
                    return Error{Code::internal,
                                 "the commit log in " + directory_ + " is damaged at batch " +
                                     std::to_string(before + 1) +
                                     ", which had been durable; restore a backup of the data directory"};
                break;
            }
            if (before != 0 && header.seq != before + 1) break;
            before = header.seq;
            left.remove_prefix(std::min<std::size_t>(left.size(), pages(record_bytes(header))));
            if (header.seq <= applied) continue;
            if (header.seq != applied + 1)
                return Error{Code::internal,
                             "the commit log in " + directory_ + " begins with batch " + std::to_string(header.seq) +
                                 " but the store has only those up to " + std::to_string(applied) +
                                 ": they do not belong together, or the log is damaged; restore both from one backup"};
            if (auto done = apply(std::move(batch)); !done) return done;
            applied = header.seq;
        }
    }
    set_applied(applied);
    return {};
}

Result<void> CommitLog::append(const Batch& batch) {
    const auto began = std::chrono::steady_clock::now();
    Header header;
    header.store = store_;
    header.seq = batch.seq;
    header.ops = batch.ops().size();
    header.bytes = batch.bytes();
    const std::uint64_t size = pages(record_bytes(header));
    if (at_ != 0 && at_ + size > files_[current_].bytes)
        if (auto made = make_room(size); !made) return made;
    File& file = files_[current_];
    if (blocks_.empty()) blocks_.resize(2 * kBlock / sizeof(Page));
    RecordWriter writer(file.fd.get(), size < kDirect ? nullptr : &file.direct, at_, blocks_.front().bytes.data(),
                        Checksum(header, secret_));
    writer.add({reinterpret_cast<const char*>(batch.ops().data()), batch.ops().size() * sizeof(Op)});
    for (const std::string_view piece : batch.pieces()) writer.add(piece);
    if (const int error = writer.finish(header); error != 0) return failure("cannot write the commit log", error);
    if (::fdatasync(file.fd.get()) != 0) return failure("cannot write the commit log", errno);
    at_ += size;
    file.last_seq = batch.seq;
    const auto took = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - began).count());
    counted_.commits.fetch_add(1, std::memory_order_relaxed);
    counted_.commit_us.fetch_add(took, std::memory_order_relaxed);
    if (took > counted_.commit_us_max.load(std::memory_order_relaxed)) counted_.commit_us_max = took;
    return {};
}

/// Goes on at the beginning of the other file if the store has all that is in it, else in this one if it can grow, else
/// waits for the store.
Result<void> CommitLog::make_room(std::uint64_t size) {
    const File& other = files_[1 - current_];
    std::unique_lock lock(mutex_);
    const auto is_free = [&] { return other.last_seq <= applied_; };
    if (!is_free()) {
        lock.unlock();
        if (grow(files_[current_], at_ + size)) return {};
        lock.lock();
    }
    if (!is_free() && on_full_ && !given_up_) on_full_();
    room_.wait(lock, [&] { return is_free() || given_up_; });
    if (given_up_) return Error{Code::internal, "the commit log is full of what the store could not take"};
    current_ = 1 - current_;
    at_ = 0;
    return {};
}

bool CommitLog::grow(File& file, std::uint64_t least) const {
    const std::uint64_t bytes = std::min(std::max(file.bytes * 2, least), max_bytes_);
    if (bytes < least || !allocate(file.fd.get(), bytes)) return false;
    file.bytes = bytes;
    return true;
}

void CommitLog::set_applied(std::uint64_t seq) {
    const std::lock_guard lock(mutex_);
    applied_ = seq;
    room_.notify_one();
}

void CommitLog::give_up() {
    const std::lock_guard lock(mutex_);
    given_up_ = true;
    room_.notify_one();
}

void CommitLog::take_back() const {
    for (std::size_t i = 0; i < files_.size(); ++i) {
        const std::string path = directory_ + "/log." + std::to_string(i);
        if (files_[i].found_bytes == 0) ::unlink(path.c_str());
        else if (files_[i].found_bytes < kFirstBytes) shorten(files_[i].fd.get(), files_[i].found_bytes);
    }
}

void CommitLog::belongs_to(const Uuid& store, std::uint64_t secret) {
    std::memcpy(&store_, store.bytes.data(), sizeof store_);
    secret_ = secret;
}

CommitLog::Counters CommitLog::counters() const {
    const auto get = [](const std::atomic<std::uint64_t>& value) { return value.load(std::memory_order_relaxed); };
    return {get(counted_.commits), get(counted_.commit_us), get(counted_.commit_us_max)};
}

Error CommitLog::failure(const char* what, int error) const {
    const bool full = error == ENOSPC || error == EDQUOT;
    return {full ? Code::disk_full : Code::internal,
            std::string(what) + " (" + directory_ +
                "): " + (full ? "the disk is full; free some space" : errno_text(error))};
}

}  // namespace jobyard::broker
