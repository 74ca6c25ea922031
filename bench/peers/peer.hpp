#pragma once
// One system to be measured, at one durability. start() and stop() are called in the process that measures; submit(),
// one() and work() each in a process of its own, forked from that one after start(), each after connect(). All of them
// throw std::exception with what is wrong.

#include <memory>
#include <string>

#include "board.hpp"

namespace jobyard::bench {

inline const std::string kPayload(100, 'x');

class Peer {
 public:
    Peer() = default;
    virtual ~Peer() = default;
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    /// The server, fresh, with all its files in `directory`, and whatever it needs to take jobs. Returns when it does.
    virtual void start(const std::string& directory) = 0;
    virtual void stop() = 0;
    /// User and system time of the server so far, in seconds.
    [[nodiscard]] virtual double server_cpu() const = 0;

    virtual void connect() = 0;
    /// Submits that many, as many at a time as this system likes, and returns when every one is acknowledged.
    /// `watched`: their results will be waited for.
    virtual void submit(unsigned jobs, bool watched) = 0;
    /// Waits for the results of the jobs submitted `watched`. False: this system sends none.
    virtual bool await_results() { return false; }
    struct Times {
        std::uint64_t acked = 0;
        std::uint64_t ended = 0;  ///< 0: this system sends no results
    };
    /// One job, waited for.
    virtual Times one() = 0;
    /// Takes and acknowledges jobs until it is killed.
    virtual void work(WorkerLine& line) = 0;

    /// For a system whose client is no C++: becomes that program, which keeps to the board. `role` is "submit",
    /// "end_to_end", "latency" or "work". Others return at once.
    virtual void become_client(const std::string& /*role*/, unsigned /*jobs*/, unsigned /*slot*/,
                               const std::string& /*board*/) {}
};

/// What can be measured, in the order of the table.
struct Variant {
    const char* system;
    const char* durability;  ///< short, for the table
    bool strictest;
    /// Jobs in one measurement: about a second or two of work.
    unsigned submit_jobs;
    unsigned end_to_end_jobs;
    unsigned latency_jobs;
    std::unique_ptr<Peer> (*make)();
};

std::unique_ptr<Peer> make_jobyard();
std::unique_ptr<Peer> make_gearmand(unsigned threads, bool sqlite);
std::unique_ptr<Peer> make_beanstalkd(bool fsync);
std::unique_ptr<Peer> make_nats(bool memory);
std::unique_ptr<Peer> make_rabbitmq(bool quorum);
std::unique_ptr<Peer> make_bullmq(bool fsync);

}  // namespace jobyard::bench
