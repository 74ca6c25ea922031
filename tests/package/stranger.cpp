// Submits a job to the broker it is given, and runs it.

#include <iostream>
#include <thread>

#include <jobyard/client.hpp>
#include <jobyard/worker.hpp>

int main(int argc, char** argv) try {
    const std::string broker = argc > 1 ? argv[1] : "";
    jobyard::Worker worker({.broker = broker, .name = "stranger", .slots = 1, .queues = {"strangers"}});
    worker.on("greet", [](const jobyard::Job& job, jobyard::Context&) -> jobyard::HandlerResult {
        return jobyard::Success{"hello " + std::string(job.payload)};
    });
    std::thread running([&worker] { worker.run(); });
    {
        jobyard::Client client({.broker = broker});
        const auto result = client.run({.type = "greet", .payload = "stranger", .queue = "strangers"});
        std::cout << (result ? result->bytes : result.error().text) << " ("
                  << to_string(result ? result->state : jobyard::JobState::none) << ")\n";
    }
    worker.stop_now();
    running.join();
} catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
}
