#pragma once
// What libzmq alone does on this machine: a client (DEALER, this process), a forwarder (ROUTER, with an I/O thread as
// any) and a worker (DEALER), each a process, over tcp on loopback. Nothing is parsed, stored or kept.

#include <sys/types.h>

#include <string>
#include <vector>

namespace jobyard::bench {

class ZmqFloor {
 public:
    static constexpr std::size_t kJobBytes = 100;

    /// Forks: before this process has threads. This and all calls throw std::runtime_error.
    ZmqFloor();
    ~ZmqFloor();
    ZmqFloor(const ZmqFloor&) = delete;
    ZmqFloor& operator=(const ZmqFloor&) = delete;

    /// One message of kJobBytes to the worker and back, the next when it is there; microseconds each.
    std::vector<double> round_trips_us(unsigned count);
    /// Jobs that reach the worker in messages of `jobs_a_message`, each answered with a few bytes; at most 16,384 jobs
    /// (and at least 8 messages) are unanswered. Runs for about a third of a second.
    double forward_jobs_per_s(unsigned jobs_a_message);

 private:
    void connect();
    void send(std::size_t size);
    void receive();

    pid_t forwarder_ = -1;
    pid_t worker_ = -1;
    std::string endpoint_;
    void* context_ = nullptr;
    void* socket_ = nullptr;
};

}  // namespace jobyard::bench
