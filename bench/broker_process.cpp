#include "broker_process.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <stdexcept>

namespace jobyard::bench {

BrokerProcess::BrokerProcess(Options options) : options_(std::move(options)), directory_(options_.directory) {
    start();
}

BrokerProcess::~BrokerProcess() { kill(); }

void BrokerProcess::kill() { process_.reset(); }

void BrokerProcess::start() {
    std::array<int, 2> ready{};
    if (::pipe2(ready.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe can be made");
    std::vector<std::string> command{program_beside_this("jobyard-broker"),
                                     "--config",
                                     "/dev/null",  // not what this machine's own broker is set to
                                     "--data",
                                     directory_.path() + "/data",
                                     "--listen",
                                     endpoint_,
                                     "--log-level",
                                     "error",
                                     "--ready-fd",
                                     std::to_string(ready[1])};
    command.insert(command.end(), options_.arguments.begin(), options_.arguments.end());
    process_.emplace(command, ready[1]);
    ::close(ready[1]);
    std::string text;
    std::array<char, 256> bytes{};
    for (ssize_t got = 0; (got = ::read(ready[0], bytes.data(), bytes.size())) > 0;)
        text.append(bytes.data(), static_cast<std::size_t>(got));
    ::close(ready[0]);
    std::istringstream lines(text);
    std::string word;
    if (!(lines >> word >> endpoint_)) throw std::runtime_error("the broker did not start; its words are above");
}

}  // namespace jobyard::bench
