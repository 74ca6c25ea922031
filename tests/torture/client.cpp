// A client of the torture run: submits jobs of all kinds for as long as it lives, and records what it wants and what it
// is told. On SIGTERM it submits no more and waits for everything, however long that takes.
//
//   torture_client ENDPOINT RECORD NAME FIRST_WISH SEED JOBS_PER_S MIX
//
// MIX is `rough`, or `gentle`: then no job kills its worker or keeps a processor busy.

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <random>
#include <string>

#include "checker.hpp"
#include "history.hpp"
#include "jobyard/client.hpp"

namespace {

using namespace std::chrono_literals;
using jobyard::Code;
using jobyard::JobSpec;
using jobyard::Submission;
using jobyard::torture::Entry;
using jobyard::torture::Recorder;
using jobyard::torture::Seen;

constexpr std::size_t kMostUnended = 400;
constexpr auto kLook = 20ms;

std::atomic<bool> asked_to_stop{false};

struct Open {
    std::uint64_t wish = 0;
    Submission submission;
    bool told = false;
};

class TortureClient {
 public:
    TortureClient(const std::string& endpoint, const Recorder& record, std::uint64_t first_wish, std::uint64_t seed,
                  double jobs_per_s, bool is_gentle)
        : client_({.broker = endpoint, .submit_limit = 10s}),
          record_(record),
          wish_(first_wish),
          random_(seed),
          pause_us_(static_cast<std::int64_t>(1e6 / jobs_per_s)),
          is_gentle_(is_gentle) {}

    void run() {
        std::int64_t due = jobyard::torture::now_us();
        while (!asked_to_stop || !open_.empty()) {
            const std::int64_t now = jobyard::torture::now_us();
            // Nothing is made up for later: a client that was stopped does not flood the broker when it goes on.
            due = std::max(due, now - 100 * pause_us_);
            for (; !asked_to_stop && due <= now && open_.size() < kMostUnended; due += pause_us_) submit();
            look();
        }
    }

 private:
    std::uint64_t below(std::uint64_t limit) {
        return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(random_);
    }

    void submit() {
        JobSpec spec;
        const std::uint64_t kind = below(10'000);
        const bool is_ordered = kind < 4'000;
        spec.type = is_ordered     ? jobyard::torture::kOrderedType
                    : kind < 5'200 ? "slow"
                    : kind < 6'100 ? "flaky"
                    : kind < 6'400 ? "poison"
                    : is_gentle_   ? "quick"
                    : kind < 6'410 ? "killer"
                    : kind < 6'411 ? "long"
                                   : "quick";
        if (is_ordered) spec.queue = jobyard::torture::kOrderedQueue;
        spec.priority = static_cast<std::uint8_t>(1 + below(10));
        spec.watch = true;
        spec.backoff.initial_ms = 50;
        spec.backoff.max_ms = 1'000;
        if (!is_ordered) {
            spec.max_attempts = 4;
            if (below(10) == 0) spec.delay_ms = below(2'000);
        }
        spec.payload = std::to_string(wish_) + ' ' + std::to_string(below(UINT32_MAX)) + ' ';
        spec.payload.append(below(100) == 0 ? 100'000 : below(600), 'p');
        Entry entry{.seen = Seen::wants, .wish = wish_};
        entry.priority = spec.priority;
        entry.text = spec.type;
        record_.note(std::move(entry));
        open_.push_back({wish_++, client_.submit(std::move(spec))});
    }

    /// Waits a moment for the oldest that is not answered (so the record says when it was), else for the oldest result,
    /// then takes what has come of all.
    void look() {
        const auto unanswered = std::find_if(open_.begin(), open_.end(), [](const Open& open) { return !open.told; });
        if (unanswered != open_.end()) static_cast<void>(unanswered->submission.id(kLook));
        else if (!open_.empty()) static_cast<void>(open_.front().submission.result(kLook));
        else static_cast<void>(client_.stats(kLook));  // a moment, and the broker is asked something else, too
        std::erase_if(open_, [this](Open& open) { return take(open); });
    }

    /// True if nothing more will be told of it.
    bool take(Open& open) {
        if (!open.told && open.submission.has_id()) {
            open.told = true;
            const jobyard::Result<jobyard::JobId> id = open.submission.id(0ms);
            Entry entry{.wish = open.wish};
            if (id) {
                entry.seen = Seen::has;
                entry.job = id->value;
                entry.text = open.submission.was_existing() ? "existing" : "made";
            } else {
                // PROTOCOL.md, "Submitting": every other refusal says that there is no job.
                const bool may_exist = id.error().code == Code::outcome_unknown || id.error().code == Code::closed;
                entry.seen = may_exist ? Seen::unknown : Seen::refused;
                entry.text = std::string(to_string(id.error().code)) + ' ' + id.error().text;
            }
            record_.note(std::move(entry));
            if (!id) return true;
        }
        if (!open.told || !open.submission.has_result()) return false;
        const jobyard::Result<jobyard::JobResult> result = open.submission.result(0ms);
        if (!result) return true;  // the final reading shows what became of it
        record_.note({.seen = Seen::result,
                      .wish = open.wish,
                      .job = result->job.value,
                      .attempt = result->attempt,
                      .text = std::string(to_string(result->state)) + ' ' + result->bytes});
        return true;
    }

    jobyard::Client client_;
    const Recorder& record_;
    std::uint64_t wish_;
    std::mt19937_64 random_;
    const std::int64_t pause_us_;
    const bool is_gentle_;
    std::deque<Open> open_;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 8) {
        std::cerr << "usage: torture_client ENDPOINT RECORD NAME FIRST_WISH SEED JOBS_PER_S MIX\n";
        return 2;
    }
    ::signal(SIGTERM, [](int) { asked_to_stop = true; });
    const Recorder record(argv[2], argv[3]);
    TortureClient(argv[1], record, std::strtoull(argv[4], nullptr, 10), std::strtoull(argv[5], nullptr, 10),
                  std::strtod(argv[6], nullptr), argv[7] == std::string("gentle"))
        .run();
}
