#pragma once
// Workers as processes: this program again, with the hidden subcommand `worker`. They can be started and killed at any
// time, and may hold several sessions each (a session is a Worker of the library, with its own connection and slots).

#include <string>
#include <vector>

#include "process.hpp"
#include "stamps.hpp"

namespace jobyard::bench {

class WorkerProcess {
 public:
    struct Options {
        std::vector<std::string> types = {"bench"};
        std::vector<std::string> queues = {"default"};
        unsigned sessions = 1;
        unsigned slots = 1;
        unsigned credit = 1024;
        unsigned handler_us = 0;         ///< how long a handler sleeps
        const Stamps* stamps = nullptr;  ///< where handlers write when they started
    };
    WorkerProcess(const std::string& endpoint, const Options& options);
    /// kill -9; returns when it is gone.
    void kill() { process_.kill(); }
    [[nodiscard]] const Process& process() const { return process_; }

 private:
    Process process_;
};

}  // namespace jobyard::bench
