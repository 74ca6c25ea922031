// `jobyard submit --batch`: a job a line, streamed. Lines are read while earlier ones are on their way; the numbers are
// printed in the order of the lines, each when its job is durable.

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <fstream>
#include <iostream>

#include "batch_line.hpp"
#include "job_json.hpp"
#include "submit.hpp"
#include "values.hpp"

namespace jobyard::cli {
namespace {

/// With --wait, jobs that have not ended: fewer than the watches a broker allows a session.
constexpr std::size_t kMaxUnended = 16'384;
constexpr std::size_t kMaxLineBytes = std::size_t{4} << 20;

/// The lines whose jobs are on their way, in order, and what came of those before.
class Batch {
 public:
    Batch(const Globals& globals, const SubmitOptions& options, std::uint64_t size)
        : globals_(globals), wait_(options.wait), name_(options.batch), size_(size), progress_("submitting") {}

    void add(std::uint64_t line, std::uint64_t bytes_read, Submission job) {
        bytes_read_ = bytes_read;
        open_.push_back({line, std::move(job)});
        while (!open_.empty() && (wait_ ? open_.front().job.has_result() : open_.front().job.has_id())) settle();
        if (wait_ && open_.size() >= kMaxUnended) settle();
        draw();
    }
    void finish() {
        for (; !open_.empty(); draw()) settle();
        progress_.clear();
    }
    void fail(std::uint64_t line, const std::string& text, int exit) {
        progress_.clear();
        complain(name_ + ":" + std::to_string(line) + ": " + text);
        worst_ = std::max(worst_, exit);
    }
    [[nodiscard]] int worst() const { return worst_; }
    /// The broker does not answer: there is no use in going on.
    [[nodiscard]] bool is_stuck() const { return stuck_; }
    [[nodiscard]] std::uint64_t settled() const { return settled_; }

 private:
    struct Open {
        std::uint64_t line;
        Submission job;
    };
    /// Waits for the oldest and tells what became of it.
    void settle() {
        const auto [line, job] = std::move(open_.front());
        open_.pop_front();
        // Once one has run into its limit the others need not each wait for as long again.
        const Result<JobId> id = job.id(stuck_ ? std::chrono::milliseconds(0) : globals_.call_limit());
        if (!id) {
            stuck_ = stuck_ || id.error().code == Code::timeout;
            return fail(line, id.error().text, stuck_ ? kExitUnreachable : kExitRefused);
        }
        ++settled_;
        if (wait_) {
            const Result<JobResult> result = job.result(globals_.wait_limit());
            progress_.clear();
            worst_ = std::max(worst_, report_end(globals_, *id, result));
            return;
        }
        if (has_terminal_) progress_.clear();
        print_line(globals_.json ? submitted_json(*id, job.was_existing()) : std::to_string(id->value));
    }
    void draw() {
        const double fraction = size_ == 0 ? -1 : static_cast<double>(bytes_read_) / static_cast<double>(size_);
        progress_.show(
            open_.empty() && size_ != 0 ? 1 : fraction,
            std::to_string(settled_) + (wait_ ? " ended, " : " durable, ") + std::to_string(open_.size()) + " open");
    }

    const Globals& globals_;
    const bool wait_;
    const std::string name_;
    const std::uint64_t size_;  // of the file; 0 if not known
    const bool has_terminal_ = Terminal::of(stdout).width != 0;
    Progress progress_;
    std::deque<Open> open_;
    std::uint64_t bytes_read_ = 0;
    std::uint64_t settled_ = 0;
    int worst_ = kExitOk;
    bool stuck_ = false;
};

std::uint64_t size_of(const std::string& name) {
    struct stat found {};
    return stat(name.c_str(), &found) == 0 && S_ISREG(found.st_mode) ? static_cast<std::uint64_t>(found.st_size) : 0;
}

}  // namespace

int submit_batch(const Globals& globals, const SubmitOptions& options) {
    std::ifstream file;
    if (options.batch != "-") {
        file.open(options.batch, std::ios::binary);
        if (!file) return wrong_usage(globals, "cannot open " + options.batch + ": " + std::strerror(errno));
    }
    std::istream& in = options.batch == "-" ? std::cin : file;
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;

    JobSpec defaults = common_spec(options);
    defaults.watch = options.wait;
    Batch batch(globals, options, options.batch == "-" ? 0 : size_of(options.batch));
    std::uint64_t bytes = 0;
    std::string line;
    for (std::uint64_t number = 1; !batch.is_stuck() && std::getline(in, line); ++number) {
        bytes += line.size() + 1;
        if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
        try {
            if (line.size() > kMaxLineBytes) throw BadLine("the line is longer than 4 MiB");
            batch.add(number, bytes, client->submit(read_batch_line(line, defaults)));
        } catch (const BadLine& bad) {
            batch.finish();
            batch.fail(number, std::string(bad.what()) + "; this line and those after it were not submitted",
                       kExitUsage);
            return kExitUsage;
        }
    }
    batch.finish();
    if (in.bad()) return wrong_usage(globals, "cannot read " + options.batch + ": " + std::strerror(errno));
    if (batch.is_stuck())
        complain("gave up; run it again when the broker is there (lines with a key make no second job)");
    return batch.worst();
}

}  // namespace jobyard::cli
