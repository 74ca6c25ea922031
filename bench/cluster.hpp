#pragma once
// What a benchmark runs against: a broker of its own on a temporary directory (or one that runs already), and workers
// as processes of their own. What was started ends, and the directory goes, when the object does.

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "scratch.hpp"

namespace jobyard::bench {

class StartBoard;

class Cluster {
 public:
    struct Options {
        std::string directory = {};  ///< where to make the broker's temporary directory; empty: $TMPDIR or /tmp
        unsigned workers = 2;
        unsigned slots = 1;
        unsigned credit = 1024;
        unsigned kept_jobs = 1'000'000;  ///< ended jobs the broker keeps
        std::string broker = {};         ///< endpoint of a running broker, instead of one of its own
        bool hold_workers = false;       ///< they connect only at release_workers()
        StartBoard* board = nullptr;     ///< where handlers write when they began; outlives the object
    };
    /// Throws std::runtime_error with what went wrong.
    explicit Cluster(const Options& options);
    ~Cluster();
    Cluster(const Cluster&) = delete;
    Cluster& operator=(const Cluster&) = delete;

    [[nodiscard]] const std::string& endpoint() const { return endpoint_; }
    void release_workers();
    /// 0 if the broker is somebody else's.
    [[nodiscard]] pid_t broker_pid() const { return broker_; }
    [[nodiscard]] const std::vector<pid_t>& worker_pids() const { return workers_; }
    /// Bytes the broker has caused to be written to disk so far.
    [[nodiscard]] std::uint64_t broker_write_bytes() const;
    /// User and system time of the broker and of all workers so far, in seconds.
    [[nodiscard]] double broker_cpu() const;
    [[nodiscard]] double workers_cpu() const;

 private:
    void start_broker(const Options& options);
    std::optional<ScratchDirectory> directory_;
    std::string endpoint_;
    pid_t broker_ = 0;
    std::vector<pid_t> workers_;
    int gate_ = -1;  // workers that are held wait until it is closed
};

}  // namespace jobyard::bench
