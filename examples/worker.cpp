// A worker in full: counts the words of whatever it is sent. Start a broker first, then this; submit jobs of type
// "count_words". Ctrl-C stops it: what runs may end, the rest goes back to the broker.

#include <csignal>
#include <cstdio>
#include <sstream>
#include <string>

#include "jobyard/worker.hpp"

namespace {

jobyard::Worker* to_stop = nullptr;  // a signal handler can reach nothing else

jobyard::HandlerResult count_words(const jobyard::Job& job, jobyard::Context& context) {
    if (job.payload.empty()) return jobyard::Failure{.message = "there is no text", .retryable = false};
    std::istringstream text{std::string(job.payload)};
    std::size_t words = 0;
    for (std::string word; text >> word; ++words)
        if (context.cancelled()) return jobyard::Failure{.message = "stopped"};
    return jobyard::Success{std::to_string(words)};
}

}  // namespace

int main() {
    jobyard::Worker worker({.slots = 4, .log = [](jobyard::LogLevel, const std::string& line) {
                                std::fprintf(stderr, "%s\n", line.c_str());
                            }});
    worker.on("count_words", count_words);
    to_stop = &worker;
    std::signal(SIGINT, [](int) { to_stop->stop(); });

    const jobyard::WorkerEnd end = worker.run();
    if (end.cause == jobyard::WorkerEnd::Cause::stopped) return 0;
    std::fprintf(stderr, "the worker ended: %s\n", end.error.text.c_str());
    return 1;
}
