#pragma once
// A broker on a temporary directory that can be killed and started again at the same endpoint. Broker and directory go
// with the object.

#include <optional>
#include <string>
#include <vector>

#include "process.hpp"
#include "scratch.hpp"

namespace jobyard::bench {

class BrokerProcess {
 public:
    struct Options {
        std::string directory = {};               ///< where to make the temporary one; empty: $TMPDIR or /tmp
        std::vector<std::string> arguments = {};  ///< further words of its command line
    };
    /// Returns when the broker is ready. Throws std::runtime_error with what went wrong.
    explicit BrokerProcess(Options options);
    ~BrokerProcess();
    BrokerProcess(const BrokerProcess&) = delete;
    BrokerProcess& operator=(const BrokerProcess&) = delete;

    /// kill -9; returns when it is gone.
    void kill();
    /// After kill(): on the same data. Returns when it is ready.
    void start();

    [[nodiscard]] const std::string& endpoint() const { return endpoint_; }
    [[nodiscard]] const Process& process() const { return *process_; }

 private:
    Options options_;
    ScratchDirectory directory_;
    std::string endpoint_ = "tcp://127.0.0.1:*";
    std::optional<Process> process_;
};

}  // namespace jobyard::bench
