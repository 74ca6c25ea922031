// What the parts under jobyard can do on this machine, measured in turns: no broker can be faster than these.

#include "limits.hpp"

#include <array>
#include <map>
#include <vector>

#include "disk_floor.hpp"
#include "report.hpp"
#include "scratch.hpp"
#include "usage.hpp"
#include "zmq_floor.hpp"

namespace jobyard::bench {
namespace {

constexpr std::array<unsigned, 3> kJobsAMessage{1, 64, 256};
constexpr std::array<unsigned, 3> kJobsACommit{64, 256, 1024};
constexpr unsigned kRoundTrips = 5'000;
constexpr unsigned kSyncs = 500;
constexpr std::size_t kSyncedBytes = 4096;

void append(std::vector<double>& all, const std::vector<double>& more) {
    all.insert(all.end(), more.begin(), more.end());
}

Json medians(const std::map<unsigned, std::vector<double>>& by_batch) {
    Json out = Json::object();
    for (const auto& [batch, rates] : by_batch) out[std::to_string(batch)] = median(rates);
    return out;
}

}  // namespace

void run_limits(const LimitsOptions& options) {
    ZmqFloor zmq;
    LmdbFloor lmdb(options.directory);
    Progress progress("limits");
    std::vector<double> round_trips;
    std::vector<double> syncs;
    std::map<unsigned, std::vector<double>> forwarded;
    std::map<unsigned, std::vector<double>> stored;
    for (unsigned round = 0; round < options.rounds; ++round) {
        append(round_trips, zmq.round_trips_us(kRoundTrips));
        for (const unsigned jobs : kJobsAMessage) forwarded[jobs].push_back(zmq.forward_jobs_per_s(jobs));
        for (const unsigned jobs : kJobsACommit) stored[jobs].push_back(lmdb.jobs_per_s(jobs));
        append(syncs, synced_writes_us(options.directory, kSyncedBytes, kSyncs));
        progress.show(round + 1, options.rounds, "rounds");
    }
    Json out = heading("limits");
    out.update({
        {"filesystem", filesystem_of(temporary_directory(options.directory))},
        {"rounds", options.rounds},
        {"payload_bytes", ZmqFloor::kJobBytes},
        {"transport", "tcp"},
        {"zmq_round_trip_us", percentiles(std::move(round_trips))},
        {"zmq_forward_jobs_per_s", medians(forwarded)},  // by jobs a message
        {"lmdb_jobs_per_s", medians(stored)},            // by jobs a transaction
        {"fdatasync_us", percentiles(std::move(syncs))},
    });
    print(out, options.json);
}

}  // namespace jobyard::bench
