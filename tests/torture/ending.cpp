#include "ending.hpp"

#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace jobyard::torture {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds kPatience{300};
constexpr std::uint32_t kPage = 1000;

/// The broker's last word on everything, as far as it can be had.
void read_all(Yard& yard, std::uint64_t events_read, Verdict& verdict) {
    Client client({.broker = yard.endpoint()});
    // Also what nobody waits for any more: of clients that were killed.
    const bool quiet = test::eventually(
        [&] {
            yard.tend();
            const auto queues = client.queues();
            return queues && std::all_of(queues->begin(), queues->end(),
                                         [](const QueueInfo& queue) { return queue.unended == 0; });
        },
        kPatience);
    if (!quiet) verdict.breaks("lost", "there are unended jobs 5 minutes after all faults have ended");
    for (std::uint64_t cursor = 0;;) {
        const auto page = client.list({}, cursor, kPage, kPatience);
        if (!page) return verdict.breaks("lost", "the jobs cannot be listed: " + page.error().text);
        for (const JobInfo& job : page->jobs)
            yard.own().note({.seen = Seen::final,
                             .job = job.id.value,
                             .attempt = job.attempt,
                             .text = std::string(to_string(job.state)) + ' ' + job.reason});
        cursor = page->next_cursor;
        if (cursor == 0) break;
    }
    if (!read_events(client, yard, events_read, kPatience, verdict))
        verdict.breaks("lost", "the events cannot be read");
}

void print(const nlohmann::ordered_json& report, const std::string& indent = "") {
    for (const auto& [key, value] : report.items()) {
        if (value.is_object() && !value.empty()) {
            std::cout << indent << key << '\n';
            print(value, indent + "  ");
        } else if (value.is_array()) {
            for (const auto& one : value) std::cout << indent << key << ": " << one.get<std::string>() << '\n';
        } else {
            std::cout << indent << std::left << std::setw(28 - static_cast<int>(indent.size())) << key
                      << (value.is_object() ? "nothing" : value.dump()) << '\n';
        }
    }
}

}  // namespace

bool read_events(Client& client, const Yard& yard, std::uint64_t& after, std::chrono::milliseconds patience,
                 Verdict& verdict) {
    for (;;) {
        const auto page = client.events({}, after, 0ms, kPage, patience);
        if (!page) return false;
        if (page->gone != 0) verdict.breaks("lost", "events up to " + std::to_string(page->gone) + " are gone");
        for (const EventInfo& event : page->events)
            yard.own().note(
                {.seen = Seen::event, .job = event.job.value, .attempt = 1, .token = event.event, .text = event.kind});
        after = page->last;
        if (!page->more) return true;
    }
}

Ending end_and_check(Yard& yard, std::uint64_t events_read, Verdict verdict_so_far) {
    std::cerr << "all faults have ended; waiting for everything that was acknowledged\n";
    Verdict at_the_end = std::move(verdict_so_far);
    yard.hold_broker(false);
    for (const std::string& late : yard.finish_clients(kPatience))
        at_the_end.breaks("lost", late + " waits for answers 5 minutes after all faults have ended");
    read_all(yard, events_read, at_the_end);
    yard.stop_workers();
    yard.hold_broker(true);
    yard.broker().signal(SIGTERM);
    if (const auto code = yard.broker().wait(); code != 0)
        at_the_end.breaks("store", "the broker ended with " + std::to_string(code.value_or(-1)));
    const test::Ran verified = test::jobyard_command("", {"store", "verify", yard.data()});
    if (verified.exit != 0) at_the_end.breaks("store", "store verify: " + verified.output + verified.errors);

    std::cerr << "checking the record\n";
    Ending ending;
    ending.history = read_history(yard.records());
    ending.verdict = check(ending.history);
    for (const auto& [kind, told] : at_the_end.broken)
        for (const std::string& how : told) ending.verdict.breaks(kind, how);
    return ending;
}

nlohmann::ordered_json report(const Verdict& verdict) {
    return {{"seconds", static_cast<double>(verdict.span_us) / 1e6},
            {"submits", verdict.wanted},
            {"acknowledged", verdict.acknowledged},
            {"refused", verdict.refused},
            {"never_answered", verdict.unknown},
            {"ended", verdict.ended},
            {"retired", verdict.retired},
            {"results_seen", verdict.results},
            {"executions", verdict.executions},
            {"executed_again", verdict.executed_again},
            {"order_judged", verdict.ordered},
            {"order_aged", verdict.aged},
            {"faults", verdict.faults},
            {"broker_starts", verdict.restarts},
            {"longest_without_answer_s", static_cast<double>(verdict.longest_without_answer_us) / 1e6},
            {"broken", verdict.broken_count}};
}

void tell(const nlohmann::ordered_json& report, bool as_json) {
    if (as_json) std::cout << report.dump() << '\n';
    else print(report);
}

void tell_what_is_broken(const Verdict& verdict) {
    for (const auto& [kind, sentences] : verdict.broken)
        for (const std::string& how : sentences) std::cerr << kind << ": " << how << '\n';
}

void keep_record(const Yard& yard, Place& place) {
    std::error_code ignored;
    std::filesystem::copy(yard.data(), place.directory() + "/data", std::filesystem::copy_options::recursive, ignored);
    place.keep();
    std::cerr << "the record is in " << place.directory() << '\n';
}

}  // namespace jobyard::torture
