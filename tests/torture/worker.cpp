// A worker of the torture run. Every handler records that it was begun before it does anything else, and its end before
// it returns; its result is its lease's token, so that whoever sees a result sees whose word was believed.
//
//   torture_worker ENDPOINT RECORD NAME QUEUE SLOTS LEASE_MS
//
// Types: `ordered` and `quick` return at once or after a few milliseconds; `slow` takes up to half a second; `flaky`
// fails some attempts; `poison` fails for good; `killer` kills the process in some attempts; `long` keeps a processor
// busy for twice a lease.

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>

#include "history.hpp"
#include "jobyard/worker.hpp"

namespace {

using jobyard::Context;
using jobyard::Failure;
using jobyard::HandlerResult;
using jobyard::Job;
using jobyard::Success;
using jobyard::torture::Entry;
using jobyard::torture::Recorder;
using jobyard::torture::Seen;

jobyard::Worker* leaving = nullptr;

struct Wish {
    std::uint64_t number = 0;
    std::uint64_t dice = 0;  ///< chosen by the client: what the job does is the same wherever it runs
};

Wish wish_of(const Job& job) {
    char* rest = nullptr;
    const std::string payload(job.payload.substr(0, 64));
    const std::uint64_t number = std::strtoull(payload.c_str(), &rest, 10);
    return {number, std::strtoull(rest, nullptr, 10)};
}

/// As long as it is not told to stop.
void wait(Context& context, std::uint64_t ms) {
    pollfd cancelled{context.cancel_fd(), POLLIN, 0};
    ::poll(&cancelled, 1, static_cast<int>(ms));
}

void keep_busy(const Context& context, std::chrono::milliseconds time) {
    const auto until = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < until && !context.cancelled()) {
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 7) {
        std::cerr << "usage: torture_worker ENDPOINT RECORD NAME QUEUE SLOTS LEASE_MS\n";
        return 2;
    }
    const Recorder record(argv[2], argv[3]);
    const std::chrono::milliseconds lease(std::strtoul(argv[6], nullptr, 10));
    jobyard::WorkerOptions options;
    options.broker = argv[1];
    options.name = argv[3];
    options.queues = {argv[4]};
    options.slots = static_cast<unsigned>(std::strtoul(argv[5], nullptr, 10));
    options.drain = std::chrono::seconds(2);
    options.stop_grace = std::chrono::seconds(2);
    jobyard::Worker worker(options);

    const auto on = [&](const std::string& type, auto handle) {
        worker.on(type, [&record, handle](const Job& job, Context& context) -> HandlerResult {
            const Wish wish = wish_of(job);
            Entry entry{.wish = wish.number, .job = job.id.value, .attempt = job.attempt, .token = job.token.value};
            entry.priority = job.priority;
            entry.seen = Seen::begins;
            record.note(entry);
            HandlerResult result = handle(job, context, wish.dice);
            if (auto* success = std::get_if<Success>(&result)) success->result = std::to_string(job.token.value);
            entry.seen = Seen::ends;
            entry.text = std::holds_alternative<Success>(result) ? "succeeds" : "fails";
            record.note(entry);
            return result;
        });
    };
    on("ordered", [](const Job&, Context& context, std::uint64_t dice) -> HandlerResult {
        if (dice % 4 == 0) wait(context, dice / 4 % 8);
        return Success{};
    });
    on("quick", [](const Job&, Context&, std::uint64_t) -> HandlerResult { return Success{}; });
    on("slow", [](const Job&, Context& context, std::uint64_t dice) -> HandlerResult {
        wait(context, dice % 500);
        return Success{};
    });
    on("flaky", [](const Job& job, Context& context, std::uint64_t dice) -> HandlerResult {
        wait(context, dice % 20);
        if ((dice >> (job.attempt % 32)) % 2 == 0) return Failure{.message = "the dice were against it"};
        return Success{};
    });
    on("poison", [](const Job&, Context&, std::uint64_t) -> HandlerResult {
        return Failure{.message = "of no use", .retryable = false};
    });
    on("killer", [](const Job& job, Context&, std::uint64_t dice) -> HandlerResult {
        if ((dice >> (job.attempt % 32)) % 2 == 0) ::kill(::getpid(), SIGKILL);
        return Success{};
    });
    on("long", [&](const Job&, Context& context, std::uint64_t) -> HandlerResult {
        keep_busy(context, 2 * lease);
        return Success{};
    });
    leaving = &worker;
    ::signal(SIGTERM, [](int) { leaving->stop(); });
    const jobyard::WorkerEnd end = worker.run();
    if (end.cause == jobyard::WorkerEnd::Cause::refused) std::cerr << end.error.text << '\n';
    std::_Exit(end.cause == jobyard::WorkerEnd::Cause::refused ? 1 : 0);
}
