// A worker for the process tests. Settings come as NAME=VALUE: broker, name, slots, credit, queue, drain_ms, grace_ms,
// log (a file to which every execution appends "JOB ATTEMPT TOKEN WORKER" before it does anything else) and gate (a
// file).
//
// Types: `echo` returns its payload. `work` sleeps as many milliseconds as the payload says. `gated` waits for the
// gate; `deaf` does so too, whatever it is told; `hang` never returns. `fail` fails as many attempts as the payload
// says. `refuse` fails for good. `mend` fails until the file that the payload names is there. `crash` kills the process
// with -9. `large` returns as many bytes as the payload says. `wordy` fails once with texts of 5,000 bytes. `report`
// says how far it is, in 1,000 bytes, then waits for the gate. `index` appends "JOB INDEX" to the file that the payload
// names; with an index that ends in 7 it fails for good, unless the file with .mended behind its name is there.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>

#include "jobyard/worker.hpp"

namespace {

using jobyard::Context;
using jobyard::Failure;
using jobyard::HandlerResult;
using jobyard::Job;
using jobyard::Success;
using namespace std::chrono_literals;

std::map<std::string, std::string> settings;

std::string setting(const std::string& name, const std::string& otherwise) {
    const auto found = settings.find(name);
    return found == settings.end() ? otherwise : found->second;
}

bool is_there(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

void append_line(const std::string& path, const std::string& line) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || ::write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::abort();
    ::close(fd);
}

void note(const Job& job) {
    const std::string path = setting("log", "");
    if (path.empty()) return;
    append_line(path, std::to_string(job.id.value) + " " + std::to_string(job.attempt) + " " +
                          std::to_string(job.token.value) + " " + setting("name", "worker") + "\n");
}

unsigned long number_in(const Job& job) { return std::strtoul(std::string(job.payload).c_str(), nullptr, 10); }

HandlerResult wait_for_gate(Context* context) {
    while (!is_there(setting("gate", ""))) {
        if (context != nullptr && context->cancelled()) return Failure{.message = "told to stop"};
        std::this_thread::sleep_for(5ms);
    }
    return Success{setting("name", "worker")};
}

void add_handlers(jobyard::Worker& worker) {
    const auto on = [&worker](const char* type, auto body) {
        worker.on(type, [body](const Job& job, Context& context) -> HandlerResult {
            note(job);
            return body(job, context);
        });
    };
    on("echo", [](const Job& job, Context&) { return Success{std::string(job.payload)}; });
    on("work", [](const Job& job, Context&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(number_in(job)));
        return Success{setting("name", "worker")};
    });
    on("gated", [](const Job&, Context& context) { return wait_for_gate(&context); });
    on("deaf", [](const Job&, Context&) { return wait_for_gate(nullptr); });
    on("hang", [](const Job&, Context&) -> HandlerResult {
        for (;;) std::this_thread::sleep_for(1h);
    });
    on("fail", [](const Job& job, Context&) -> HandlerResult {
        if (job.attempt > number_in(job)) return Success{"after " + std::to_string(number_in(job)) + " failures"};
        return Failure{.message = "attempt " + std::to_string(job.attempt) + " fails on purpose", .result = "partial"};
    });
    on("refuse", [](const Job&, Context&) { return Failure{.message = "this can never work", .retryable = false}; });
    on("mend", [](const Job& job, Context&) -> HandlerResult {
        if (is_there(std::string(job.payload))) return Success{"mended"};
        return Failure{.message = std::string(job.payload) + " is not there"};
    });
    on("await", [](const Job& job, Context&) -> HandlerResult {
        if (is_there(std::string(job.payload))) return Success{"attempt " + std::to_string(job.attempt)};
        return jobyard::Snooze{100ms};
    });
    on("mend_large", [](const Job& job, Context&) -> HandlerResult {
        if (is_there(std::string(job.payload))) return Success{std::string(5000, 'n')};
        return Failure{.message = "not there", .result = std::string(5000, 'o')};
    });
    on("crash", [](const Job&, Context&) -> HandlerResult {
        ::kill(::getpid(), SIGKILL);
        return Failure{.message = "not reached"};
    });
    on("large", [](const Job& job, Context&) { return Success{std::string(number_in(job), 'r')}; });
    on("wordy", [](const Job&, Context&) {
        return Failure{.message = std::string(5000, 'e'), .retryable = false, .tail = std::string(5000, 't')};
    });
    on("report", [](const Job&, Context& context) {
        context.progress(0.25, std::string(1000, 'p'));
        return wait_for_gate(&context);
    });
    on("index", [](const Job& job, Context&) -> HandlerResult {
        const std::string file(job.payload);
        append_line(file, std::to_string(job.id.value) + " " + std::to_string(job.array_index) + "\n");
        if (job.array_index % 10 == 7 && !is_there(file + ".mended"))
            return Failure{.message = "an unlucky index", .retryable = false};
        return Success{std::to_string(job.array.value)};
    });
}

jobyard::Worker* to_stop = nullptr;

}  // namespace

int main(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        settings[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
    }
    const auto number = [](const char* name, const char* otherwise) {
        return std::atoi(setting(name, otherwise).c_str());
    };
    jobyard::WorkerOptions options;
    options.broker = setting("broker", "");
    options.name = setting("name", "worker");
    options.slots = static_cast<unsigned>(number("slots", "1"));
    options.credit = static_cast<unsigned>(number("credit", "0"));
    options.queues = {setting("queue", "default")};
    options.drain = std::chrono::milliseconds(number("drain_ms", "60000"));
    options.stop_grace = std::chrono::milliseconds(number("grace_ms", "15000"));
    options.log = [](jobyard::LogLevel, const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
    jobyard::Worker worker(options);
    add_handlers(worker);
    to_stop = &worker;
    ::signal(SIGTERM, [](int) { to_stop->stop(); });

    const jobyard::WorkerEnd end = worker.run();
    int exit = 0;
    if (end.cause == jobyard::WorkerEnd::Cause::all_slots_stuck) exit = 4;
    if (end.cause == jobyard::WorkerEnd::Cause::refused) {
        std::fprintf(stderr, "refused: %s\n", end.error.text.c_str());
        exit = 3;
    }
    std::_Exit(exit);
}
