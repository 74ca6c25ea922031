// jobyard, through its own client and worker libraries.

#include <stdexcept>
#include <vector>

#include "../cluster.hpp"
#include "jobyard/client.hpp"
#include "jobyard/worker.hpp"
#include "peer.hpp"

namespace jobyard::bench {
namespace {

constexpr std::chrono::minutes kLimit{1};

class JobyardPeer : public Peer {
 public:
    void start(const std::string& directory) override {
        // Few ended jobs kept: retention removes as much as is added, as in a broker that has run for a while.
        cluster_ =
            std::make_unique<Cluster>(Cluster::Options{.directory = directory, .workers = 0, .kept_jobs = 10'000});
    }
    void stop() override { cluster_.reset(); }
    double server_cpu() const override { return cluster_->broker_cpu(); }

    void connect() override {
        client_ = std::make_unique<Client>(Client::Options{.broker = cluster_->endpoint()});
        client_->connect().value();
    }
    void submit(unsigned jobs, bool watched) override {
        jobs_.reserve(jobs);
        for (unsigned i = 0; i < jobs; ++i)
            jobs_.push_back(client_->submit({.type = "bench", .payload = kPayload, .watch = watched}));
        for (const Submission& job : jobs_) job.id(kLimit).value();
    }
    bool await_results() override {
        for (const Submission& job : jobs_)
            if (!job.result(kLimit).value().completed()) throw std::runtime_error("a job did not complete");
        return true;
    }
    Times one() override {
        const Submission job = client_->submit({.type = "bench", .payload = kPayload, .watch = true});
        job.id().value();
        const std::uint64_t acked = now_ns();
        if (!job.result().value().completed()) throw std::runtime_error("a job did not complete");
        return {acked, now_ns()};
    }
    void work(WorkerLine& line) override {
        client_.reset();
        Worker worker({.broker = cluster_->endpoint(), .slots = 1, .credit = 1024});
        worker.on("bench", [&](const Job&, Context&) -> HandlerResult {
            line.done(1);
            return Success{};
        });
        line.ready();
        const WorkerEnd end = worker.run();
        throw std::runtime_error("the worker ended: " + end.error.text);
    }

 private:
    std::unique_ptr<Cluster> cluster_;
    std::unique_ptr<Client> client_;
    std::vector<Submission> jobs_;
};

}  // namespace

std::unique_ptr<Peer> make_jobyard() { return std::make_unique<JobyardPeer>(); }

}  // namespace jobyard::bench
