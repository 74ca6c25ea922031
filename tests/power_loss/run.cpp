#include "run.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "../process/harness.hpp"
#include "disk.hpp"
#include "trace.hpp"

namespace jobyard::power_loss {
namespace {

using namespace jobyard::test;

void must(bool holds, const std::string& what) {
    if (!holds) throw std::runtime_error("the run did not come about: " + what);
}

template <class T>
void must(const Result<T>& result, const std::string& what) {
    must(result.has_value(), result.has_value() ? "" : what + ": " + result.error().text);
}

/// jobyard-broker under the recorder.
class RecordedBroker {
 public:
    RecordedBroker(std::string root, std::string trace)
        : root_(std::move(root)),
          env_{{"LD_PRELOAD", JOBYARD_RECORDER}, {"RECORD_ROOT", root_}, {"RECORD_TO", std::move(trace)}} {}

    void start() {
        int ready[2];
        must(::pipe2(ready, O_CLOEXEC) == 0, "pipe2");
        process_ = std::make_unique<Process>(Process::Options{
            .argv = {program("jobyard-broker"), "--data", data(), "--listen", endpoint(), "--map-size", "1M", "--limit",
                     "kept_jobs=" + std::to_string(kKeptJobs), "--limit", "payload_bytes=1M", "--limit",
                     "submit_free_bytes=0", "--limit", "dispatch_free_bytes=0", "--claim-window", "200", "--ready-fd",
                     std::to_string(ready[1])},
            .env = env_,
            .pass_fd = ready[1]});
        ::close(ready[1]);
        std::string text(5, ' ');
        const bool is_ready = ::read(ready[0], text.data(), text.size()) == 5 && text == "READY";
        ::close(ready[0]);
        must(is_ready, process_->errors());
    }
    void stop() {
        process_->signal(SIGTERM);
        must(process_->wait() == 0, process_->errors());
    }
    /// What it had written when it was killed, and not noted yet, is noted now.
    void kill() {
        process_->kill();
        const std::string& file = env_.at("RECORD_TO");
        std::string bytes = read_file(file);
        must(::truncate(file.c_str(), static_cast<off_t>(whole_records(bytes))) == 0, "truncate");
        const std::vector<Record> records = read_trace(bytes);
        Disk disk(root_);
        for (const Record& record : records) disk.take(record);
        for (const auto& [path, noted] : disk.contents()) {
            if (disk.is_mapped(path)) continue;
            const std::string there = read_file(root_ + "/" + path);
            if (without_zeros(there) == noted) continue;
            const auto differ = std::mismatch(there.begin(), there.end(), noted.begin(), noted.end());
            const auto at = static_cast<std::size_t>(differ.first - there.begin());
            append_record(file, {Kind::wrote, disk.inode_of(path), at, {}, std::string_view(there).substr(at)});
        }
    }
    void back_up(const std::string& name) {
        const std::string& file = env_.at("RECORD_TO");
        append_record(file, {Kind::mark, 0, 0, {}, kBackupBegins + name});
        Process tool({.argv = {program("jobyard-store"), "backup", data(), "--to", root_ + "/" + name}, .env = env_});
        must(tool.wait() == 0, tool.errors());
        append_record(file, {Kind::mark, 0, 0, {}, kBackupDone + name});
    }
    [[nodiscard]] std::string data() const { return root_ + "/data"; }
    [[nodiscard]] std::string endpoint() const { return "ipc://" + root_ + ".socket"; }

 private:
    std::string root_;
    std::map<std::string, std::string> env_;
    std::unique_ptr<Process> process_;
};

using Jobs = std::vector<Submission>;

void all_end(const Jobs& jobs) {
    for (const Submission& job : jobs) {
        const auto result = job.result(kPatience);
        must(result, "a job");
    }
}

void submit_some(Client& client, unsigned count, Jobs& jobs) {
    for (unsigned i = 0; i < count; ++i) {
        jobs.push_back(client.submit({.type = "echo", .payload = std::string(10 + 37 * i, 'e'), .watch = true}));
        if (i % 3 == 0) must(jobs.back().id(kPatience), "a submit");  // a commit of its own
        if (i % 5 == 0)
            jobs.push_back(
                client.submit({.type = "fail", .payload = "1", .backoff = {.initial_ms = 1}, .watch = true}));
        if (i % 9 == 0) jobs.push_back(client.submit({.type = "refuse", .watch = true}));
        if (i % 7 == 0)
            must(client.submit({.type = "nobody", .payload = std::string(3'000 * i, 'n')}).id(kPatience), "a submit");
    }
}

}  // namespace

void record_run(const std::string& root, const std::string& trace, unsigned rounds) {
    RecordedBroker broker(root, trace);
    broker.start();
    auto worker = start_test_worker(broker.endpoint(), {{"slots", "3"}});
    Client client(client_options(broker.endpoint()));
    must(workers_arrived(client, 1), "a worker");
    Jobs jobs;
    for (unsigned round = 0; round < rounds; ++round) {
        submit_some(client, 20, jobs);
        // Each a batch past the page cache; all together more than the two files of the log and the map.
        Jobs large;
        for (int i = 0; i < 6; ++i)
            large.push_back(client.submit({.type = "nobody", .payload = std::string(700'000, 'L')}));
        for (const Submission& job : large) must(job.id(kPatience), "a submit");
        must(client.set_queue("stopped" + std::to_string(round), {.paused = true}, {}, kPatience), "a pause");
        const JobId cancelled = client.submit({.type = "nobody"}).id(kPatience).value();
        must(client.cancel(cancelled, kPatience), "a cancel");
        if (round == 0) {
            Jobs meanwhile;
            for (int i = 0; i < 3; ++i)
                meanwhile.push_back(client.submit({.type = "echo", .payload = "b", .watch = true}));
            broker.back_up("backup");
            all_end(meanwhile);
        }
        all_end(jobs);
        broker.stop();
        broker.start();
        must(workers_arrived(client, 1), "the worker again");
        Jobs interrupted;
        submit_some(client, 10, interrupted);
        must(interrupted[interrupted.size() / 2].id(kPatience), "a submit");
        broker.kill();
        broker.start();
        all_end(interrupted);
    }
    broker.stop();
}

}  // namespace jobyard::power_loss
