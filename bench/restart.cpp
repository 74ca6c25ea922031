#include "restart.hpp"

#include <chrono>
#include <stdexcept>

namespace jobyard::bench {

Restart restart(Yard& yard, const JobSpec& job) {
    const auto killed = std::chrono::steady_clock::now();
    const auto since = [killed] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - killed).count();
    };
    Restart took;
    yard.broker.kill();
    yard.broker.start();
    took.ready_s = since();
    {
        Client newcomer({.broker = yard.broker.endpoint()});  // one of before might be in a pause between two attempts
        JobSpec watched = job;
        watched.watch = true;
        const Submission submitted = newcomer.submit(watched);
        submitted.id().value();
        took.answered_s = since();
        if (!submitted.result().value().completed()) throw std::runtime_error("a job did not complete after a restart");
        took.first_job_s = since();
    }
    yard.client.stats(std::chrono::minutes(1)).value();
    return took;
}

}  // namespace jobyard::bench
