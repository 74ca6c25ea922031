#include "callers.hpp"

#include <algorithm>
#include <stdexcept>

namespace jobyard::bench {
namespace {

constexpr std::chrono::minutes kPatience{2};  // with one job
constexpr std::chrono::seconds kConnect{10};
constexpr unsigned kCountEvery = 64;

template <class T>
T value_of(Result<T> result, const char* what) {
    if (!result) throw std::runtime_error(std::string(what) + ": " + result.error().text);
    return *std::move(result);
}

}  // namespace

struct Callers::Caller {
    std::unique_ptr<Client> client;
    unsigned jobs = 0;
    std::vector<Submission> submissions;
    std::atomic<std::uint64_t> seen = 0;  // answers, then results: for the progress line
    Clock::time_point submitted;
    Clock::time_point ended;
    std::exception_ptr failure;
    std::thread thread;
};

Callers::Callers(Options options) : options_(std::move(options)) {
    for (unsigned i = 0; i < options_.callers; ++i) {
        auto caller = std::make_unique<Caller>();
        caller->client =
            std::make_unique<Client>(Client::Options{.broker = options_.endpoint, .submit_limit = kPatience});
        if (Result<void> connected = caller->client->connect(kConnect); !connected)
            throw std::runtime_error(connected.error().text);
        callers_.push_back(std::move(caller));
    }
    if (options_.payload > callers_.front()->client->max_payload())
        throw std::runtime_error("--payload: expected at most " +
                                 std::to_string(callers_.front()->client->max_payload()) +
                                 " bytes, which is what the broker takes");
    for (auto& caller : callers_) caller->thread = std::thread([this, &caller = *caller] { live(caller); });
}

Callers::~Callers() {
    {
        const std::lock_guard lock(mutex_);
        task_ = Task::leave;
        ++round_;
    }
    begins_.notify_all();
    for (auto& caller : callers_) caller->thread.join();
}

Client& Callers::client() { return *callers_.front()->client; }

Callers::Times Callers::run(unsigned jobs, Progress& progress) { return perform(Task::both, jobs, progress); }
Callers::Times Callers::submit(unsigned jobs, Progress& progress) { return perform(Task::submit, jobs, progress); }
void Callers::wait_for_results(Progress& progress) {
    unsigned jobs = 0;
    for (const auto& caller : callers_) jobs += caller->jobs;
    perform(Task::results, jobs, progress);
}

Callers::Times Callers::perform(Task task, unsigned jobs, Progress& progress) {
    const auto count = static_cast<unsigned>(callers_.size());
    for (unsigned i = 0; i < count; ++i) {
        callers_[i]->jobs = jobs / count + (i < jobs % count ? 1 : 0);
        callers_[i]->seen = 0;
    }
    const auto began = Clock::now();
    std::unique_lock lock(mutex_);
    task_ = task;
    busy_ = count;
    ++round_;
    begins_.notify_all();
    const double all = task == Task::both ? 2.0 * jobs : jobs;  // an answer and a result are half a job each
    while (!ends_.wait_for(lock, std::chrono::milliseconds(250), [this] { return busy_ == 0; })) {
        std::uint64_t seen = 0;
        for (const auto& caller : callers_) seen += caller->seen.load(std::memory_order_relaxed);
        progress.show(static_cast<double>(seen) * jobs / all, jobs, "jobs");
    }
    Times times;
    for (const auto& caller : callers_) {
        if (caller->failure) std::rethrow_exception(caller->failure);
        const auto seconds = [&](Clock::time_point end) { return std::chrono::duration<double>(end - began).count(); };
        times.submitted = std::max(times.submitted, seconds(caller->submitted));
        times.ended = std::max(times.ended, seconds(caller->ended));
    }
    return times;
}

void Callers::live(Caller& caller) {
    for (unsigned seen_round = 0;;) {
        Task task = Task::none;
        {
            std::unique_lock lock(mutex_);
            begins_.wait(lock, [&] { return round_ != seen_round; });
            seen_round = round_;
            task = task_;
        }
        if (task == Task::leave) return;
        try {
            if (task != Task::results) submit_all_of(caller);
            if (task != Task::submit) wait_for_all_of(caller);
        } catch (...) {
            caller.failure = std::current_exception();
        }
        const std::lock_guard lock(mutex_);
        if (--busy_ == 0) ends_.notify_all();
    }
}

void Callers::submit_all_of(Caller& caller) {
    const std::string payload(options_.payload, 'x');
    const auto spec = [&]() -> JobSpec { return {.type = "bench", .payload = payload, .watch = true}; };
    caller.submissions.reserve(caller.jobs);
    if (options_.batch == 1) {
        for (unsigned i = 0; i < caller.jobs; ++i) caller.submissions.push_back(caller.client->submit(spec()));
    } else {
        for (unsigned left = caller.jobs; left > 0;) {
            const unsigned take = std::min(left, options_.batch);
            std::vector<JobSpec> list;
            list.reserve(take);
            for (unsigned i = 0; i < take; ++i) list.push_back(spec());
            for (Submission& one : caller.client->submit_all(std::move(list)))
                caller.submissions.push_back(std::move(one));
            left -= take;
        }
    }
    for (std::size_t i = 0; i < caller.submissions.size(); ++i) {
        value_of(caller.submissions[i].id(kPatience), "a job was not taken");
        if (i % kCountEvery == 0) caller.seen.fetch_add(kCountEvery, std::memory_order_relaxed);
    }
    caller.submitted = Clock::now();
}

void Callers::wait_for_all_of(Caller& caller) {
    for (std::size_t i = 0; i < caller.submissions.size(); ++i) {
        if (!value_of(caller.submissions[i].result(kPatience), "a result did not come").completed())
            throw std::runtime_error("a job did not complete");
        if (i % kCountEvery == 0) caller.seen.fetch_add(kCountEvery, std::memory_order_relaxed);
    }
    caller.ended = Clock::now();
    caller.submissions.clear();
}

}  // namespace jobyard::bench
