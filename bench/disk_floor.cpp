#include "disk_floor.hpp"

#include <fcntl.h>
#include <lmdb.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "scratch.hpp"

namespace jobyard::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kJobBytes = 100;
constexpr std::uint64_t kKept = 10'000;  // jobs between a put and its delete

void must(bool done, const char* what) {
    if (!done) throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}
void must_lmdb(int rc, const char* what) {
    if (rc != 0) throw std::runtime_error(std::string(what) + ": " + mdb_strerror(rc));
}

}  // namespace

std::vector<double> synced_writes_us(const std::string& directory, std::size_t size, unsigned count) {
    const ScratchDirectory scratch(directory);
    const int fd = ::open((scratch.path() + "/file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0, "cannot make a file to measure the disk with");
    struct Closed {
        int fd;
        ~Closed() { ::close(fd); }
    } const closed{fd};
    const std::string bytes(size, 'x');
    const auto write_at = [&](unsigned i) {
        must(::pwrite(fd, bytes.data(), size, static_cast<off_t>(size) * i) == static_cast<ssize_t>(size),
             "cannot write to the file that the disk is measured with");
    };
    for (unsigned i = 0; i < count; ++i) write_at(i);
    must(::fsync(fd) == 0, "fsync");
    std::vector<double> took;
    for (unsigned i = 0; i < count; ++i) {
        const auto began = Clock::now();
        write_at(i);
        must(::fdatasync(fd) == 0, "fdatasync");
        took.push_back(std::chrono::duration<double, std::micro>(Clock::now() - began).count());
    }
    return took;
}

double disk_mb_per_s(const std::string& directory, std::size_t size) {
    const auto sum = [](const std::vector<double>& took) {
        double us = 0;
        for (const double one : took) us += one;
        return us;
    };
    constexpr unsigned kFew = 16;
    const double each = sum(synced_writes_us(directory, size, kFew)) / kFew;
    const auto count = static_cast<unsigned>(std::clamp(500'000 / each, 16.0, 2'000.0));
    return static_cast<double>(size) * count / sum(synced_writes_us(directory, size, count));
}

struct LmdbFloor::Impl {
    ScratchDirectory scratch;
    MDB_env* env = nullptr;
    MDB_dbi table = 0;
    std::uint64_t next = 1;
    std::uint64_t oldest = 1;

    explicit Impl(const std::string& directory) : scratch(directory) {}
    ~Impl() { mdb_env_close(env); }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    static std::array<char, 8> key_of(std::uint64_t job) {
        std::array<char, 8> key{};
        for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<char>(job >> (56 - 8 * i));
        return key;
    }

    void transact(std::uint64_t puts, std::uint64_t deletes) {
        MDB_txn* txn = nullptr;
        must_lmdb(mdb_txn_begin(env, nullptr, 0, &txn), "LMDB, begin");
        std::array<char, kJobBytes> job{};
        int rc = 0;
        for (std::uint64_t i = 0; i < puts && rc == 0; ++i) {
            auto bytes = key_of(next++);
            MDB_val key{bytes.size(), bytes.data()};
            MDB_val value{job.size(), job.data()};
            rc = mdb_put(txn, table, &key, &value, MDB_APPEND);
        }
        for (std::uint64_t i = 0; i < deletes && rc == 0; ++i) {
            auto bytes = key_of(oldest++);
            MDB_val key{bytes.size(), bytes.data()};
            rc = mdb_del(txn, table, &key, nullptr);
        }
        if (rc == 0) return must_lmdb(mdb_txn_commit(txn), "LMDB, commit");
        mdb_txn_abort(txn);
        must_lmdb(rc, "LMDB, put or delete");
    }
};

LmdbFloor::LmdbFloor(const std::string& directory) : impl_(std::make_unique<Impl>(directory)) {
    must_lmdb(mdb_env_create(&impl_->env), "LMDB");
    must_lmdb(mdb_env_set_mapsize(impl_->env, std::size_t{4} << 30), "LMDB, map size");
    must_lmdb(mdb_env_set_maxdbs(impl_->env, 4), "LMDB, number of tables");
    must_lmdb(mdb_env_open(impl_->env, impl_->scratch.path().c_str(), MDB_NOTLS, 0600), "LMDB, open");
    MDB_txn* txn = nullptr;
    must_lmdb(mdb_txn_begin(impl_->env, nullptr, 0, &txn), "LMDB, begin");
    must_lmdb(mdb_dbi_open(txn, "jobs", MDB_CREATE, &impl_->table), "LMDB, table");
    must_lmdb(mdb_txn_commit(txn), "LMDB, commit");
    impl_->transact(kKept, 0);
}

LmdbFloor::~LmdbFloor() = default;

double LmdbFloor::jobs_per_s(unsigned batch) {
    std::uint64_t jobs = 0;
    const auto began = Clock::now();
    auto now = began;
    for (; now - began < std::chrono::milliseconds(330); now = Clock::now()) {
        impl_->transact(batch, batch);
        jobs += batch;
    }
    return static_cast<double>(jobs) / std::chrono::duration<double>(now - began).count();
}

}  // namespace jobyard::bench
