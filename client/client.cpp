// The public calls: each makes a call (calls.hpp), hands it to the network and waits for as long as its caller
// wants to.

#include "jobyard/client.hpp"

#include <pthread.h>
#include <sys/random.h>

#include <algorithm>

#include "jobyard/assert.hpp"
#include "jobyard/codec.hpp"
#include "network.hpp"

namespace jobyard {
namespace client {
namespace {

std::atomic<unsigned> forks_seen{0};

Error bad_field(const char* field, const std::string& value, const char* expected) {
    constexpr std::size_t kShown = 80;
    const std::string shown = value.size() <= kShown ? value : value.substr(0, kShown) + "…";
    return {Code::bad_field, std::string(field) + " \"" + shown + "\": expected " + expected, 0};
}

/// What must not even be sent: it would cost the other jobs of its list, or the connection.
std::optional<Error> find_fault(const JobSpec& spec, std::size_t max_payload) {
    constexpr const char* kName = "1 to 255 bytes of UTF-8 without control characters";
    if (!is_name(spec.type)) return bad_field("type", spec.type, kName);
    if (!is_name(spec.queue)) return bad_field("queue", spec.queue, kName);
    if (!spec.key.empty() && !is_name(spec.key)) return bad_field("key", spec.key, kName);
    if (!spec.array.name.empty() && !is_name(spec.array.name)) return bad_field("array.name", spec.array.name, kName);
    if (spec.payload.size() > max_payload)
        return Error{Code::too_large,
                     "the payload has " + std::to_string(spec.payload.size()) + " bytes and at most " +
                         std::to_string(max_payload) + " are taken; put it into a file or a store and submit its name",
                     0};
    return std::nullopt;
}

}  // namespace

unsigned fork_count() {
    // Registered once, at the first use; counted in the child, where only the calling thread exists.
    [[maybe_unused]] static const int registered =
        pthread_atfork(nullptr, nullptr, [] { forks_seen.fetch_add(1, std::memory_order_relaxed); });
    return forks_seen.load(std::memory_order_relaxed);
}

Error forked_error() {
    return {Code::forked, "this client belongs to the parent process; make a new one after fork()", 0};
}

bool Room::wait(Call& call, Stage stage, std::chrono::milliseconds limit) {
    return has_reached(call, stage) || wait(call, stage, deadline_after(limit));
}

bool Room::wait(Call& call, Stage stage, Deadline deadline) {
    const auto reached = [&] { return has_reached(call, stage); };
    for (;;) {
        {
            const std::lock_guard lock(mutex);
            if (reached()) return true;
            if (call.awaited == Stage::open) ++awaited;
            if (call.awaited == Stage::open || stage < call.awaited) call.awaited = stage;
        }
        if (turns) turns->lead(reached, to_ms(deadline));
        // Woken also when only another who waits for this call has what he waits for: then once more from the start.
        std::unique_lock lock(mutex);
        const bool in_time =
            doors[door_of(call)].wait_until(lock, deadline, [&] { return reached() || call.awaited == Stage::open; });
        if (reached()) return true;
        if (in_time) continue;
        stop_awaiting(call);
        return false;
    }
}

void Room::stop_awaiting(Call& call) {
    if (std::exchange(call.awaited, Stage::open) == Stage::open) return;
    --awaited;
    doors[door_of(call)].notify_all();
}

std::string Room::why_silent() const {
    if (welcomed) return {};
    if (trouble) return "; " + trouble->text;
    return "; the broker at " + endpoint +
           " cannot be reached: start jobyard-broker, or name the endpoint it listens on";
}

Error Room::no_answer(std::chrono::milliseconds limit, const char* what) {
    const std::lock_guard lock(mutex);
    return {Code::timeout, std::string(what) + " within " + std::to_string(limit.count()) + " ms" + why_silent(), 0};
}

}  // namespace client

using client::Asked;
using client::Deadline;
using client::deadline_after;
using client::JobQuestion;
using client::JobVerb;
using client::Stage;
using client::Watched;

// --- Submission ------------------------------------------------------------------------------------------------------

Result<JobId> Submission::id(std::chrono::milliseconds limit) const {
    if (watched_->room->is_forked()) return client::forked_error();
    if (!watched_->room->wait(*watched_, Stage::known, limit)) return watched_->room->no_answer(limit);
    if (!watched_->job()) return *watched_->failure;
    return watched_->job();
}

Result<JobResult> Submission::result(std::chrono::milliseconds limit) const {
    if (!watched_->watch)
        return Error{Code::not_allowed,
                     "the result of this job was not asked for; submit it with watch = true, or use Client::wait()", 0};
    if (watched_->room->is_forked()) return client::forked_error();
    if (!watched_->room->wait(*watched_, Stage::done, limit))
        return watched_->room->no_answer(limit, "it has not ended");
    if (watched_->failure) return *watched_->failure;
    return watched_->result;
}

bool Submission::has_id() const { return watched_->stage.load(std::memory_order_acquire) >= Stage::known; }
bool Submission::has_result() const { return watched_->stage.load(std::memory_order_acquire) >= Stage::done; }
bool Submission::was_existing() const { return has_id() && watched_->code == Code::existing; }

// --- Client ----------------------------------------------------------------------------------------------------------

struct Client::Impl {
    explicit Impl(Options given) : options(std::move(given)), network(options) {}
    Options options;
    client::Network network;

    [[nodiscard]] bool is_forked() const { return network.room()->is_forked(); }

    /// Done at once if it cannot be submitted.
    [[nodiscard]] std::shared_ptr<Watched> make(const JobSpec& spec) const {
        auto job = std::make_shared<Watched>(network.room(), spec.watch);
        if (std::optional<Error> fault =
                is_forked() ? client::forked_error() : client::find_fault(spec, network.max_payload())) {
            job->failure = std::make_unique<Error>(*std::move(fault));
            job->stage = Stage::done;
        }
        return job;
    }
    void submit(std::span<JobSpec> specs, std::span<const std::shared_ptr<Watched>> jobs) {
        const std::size_t taken = network.submit(specs, jobs, options.submit_limit);
        if (taken == jobs.size()) return;
        const std::string limit = std::to_string(options.submit_limit.count());
        network.refuse(jobs.subspan(taken),
                       {Code::timeout, "no room within " + limit + " ms: as many jobs are pending as may be", 0});
    }

    /// Asks about each job and waits for all; `take` makes an answer of a call that did not fail.
    template <class T, class Take>
    std::vector<Result<T>> ask(std::vector<client::Question> questions, std::chrono::milliseconds limit, Take take) {
        std::vector<Result<T>> answers;
        answers.reserve(questions.size());
        if (is_forked()) {
            answers.assign(questions.size(), client::forked_error());
            return answers;
        }
        const Deadline deadline = deadline_after(limit);
        std::vector<std::shared_ptr<Asked>> calls;
        calls.reserve(questions.size());
        for (client::Question& question : questions)
            calls.push_back(std::make_shared<Asked>(network.room(), std::move(question), deadline));
        network.ask(calls);
        for (const std::shared_ptr<Asked>& call : calls) {
            if (!network.room()->wait(*call, Stage::done, deadline))
                answers.emplace_back(network.room()->no_answer(limit));
            else if (call->error) answers.emplace_back(*call->error);
            else answers.emplace_back(take(*call));
        }
        return answers;
    }
    template <class T, class Take>
    Result<T> ask_one(client::Question question, std::chrono::milliseconds limit, Take take) {
        std::vector<client::Question> one;
        one.push_back(std::move(question));
        return std::move(ask<T>(std::move(one), limit, take).front());
    }
    /// Each question is about a list of jobs, of that size; an answer for each job.
    std::vector<Result<void>> ask_lists(std::vector<client::Question> questions, const std::vector<std::size_t>& sizes,
                                        std::chrono::milliseconds limit);
    static std::vector<client::Question> about(std::span<const JobId> jobs, JobVerb verb) {
        std::vector<client::Question> questions;
        questions.reserve(jobs.size());
        for (const JobId job : jobs) questions.emplace_back(JobQuestion{verb, job});
        return questions;
    }
};

Client::Client() : Client(Options{}) {}
Client::Client(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}

Client::~Client() {
    // In a child the thread, and whoever held a lock, do not exist: there is nothing that could be ended in order.
    if (impl_->is_forked()) static_cast<void>(impl_.release());
    else impl_->network.close(deadline_after(impl_->options.linger));
}

Result<void> Client::connect(std::chrono::milliseconds limit) {
    if (impl_->is_forked()) return client::forked_error();
    client::Room& room = *impl_->network.room();
    std::unique_lock lock(room.mutex);
    room.link_changed.wait_until(lock, deadline_after(limit), [&] {
        return room.welcomed || room.ended || (room.trouble && room.trouble->code == Code::not_allowed);
    });
    if (room.ended) return *room.ended;
    if (room.welcomed) return {};
    if (room.trouble && room.trouble->code == Code::not_allowed) return *room.trouble;
    return Error{Code::timeout, "no connection within " + std::to_string(limit.count()) + " ms" + room.why_silent(), 0};
}

Result<void> Client::close(std::chrono::milliseconds limit) {
    if (impl_->is_forked()) return client::forked_error();
    if (impl_->network.close(deadline_after(limit))) return {};
    return Error{Code::timeout,
                 "not everything was answered within " + std::to_string(limit.count()) +
                     " ms; what was not may or may not have been made",
                 0};
}

Submission Client::submit(JobSpec spec) {
    std::shared_ptr<Watched> job = impl_->make(spec);
    impl_->submit({&spec, 1}, {&job, 1});
    return Submission(std::move(job));
}

std::vector<Submission> Client::submit_all(std::vector<JobSpec> specs) {
    std::vector<std::shared_ptr<Watched>> jobs;
    jobs.reserve(specs.size());
    for (const JobSpec& spec : specs) jobs.push_back(impl_->make(spec));
    impl_->submit(specs, jobs);
    std::vector<Submission> submissions;
    submissions.reserve(jobs.size());
    for (std::shared_ptr<Watched>& job : jobs) submissions.push_back(Submission(std::move(job)));
    return submissions;
}

Result<Submission> Client::try_submit(JobSpec spec) {
    std::shared_ptr<Watched> job = impl_->make(spec);
    if (impl_->network.submit({&spec, 1}, {&job, 1}, std::chrono::milliseconds(0)) == 0)
        impl_->network.refuse({&job, 1},
                              {Code::not_accepted, "as many jobs are pending as may be; wait for some of them", 0});
    if (job->stage == Stage::done && !job->job()) return *job->failure;
    return Submission(std::move(job));
}

Result<JobResult> Client::run(JobSpec spec, std::chrono::milliseconds limit) {
    spec.watch = true;
    return submit(std::move(spec)).result(limit);
}

std::size_t Client::pending() const { return impl_->is_forked() ? 0 : impl_->network.pending(); }
std::size_t Client::max_payload() const { return impl_->network.max_payload(); }

std::vector<Submission> Client::watch(std::span<const JobId> jobs, std::chrono::milliseconds limit) {
    const Deadline deadline = deadline_after(limit);
    std::vector<std::shared_ptr<Watched>> calls;
    std::vector<Submission> submissions;
    calls.reserve(jobs.size());
    submissions.reserve(jobs.size());
    for (const JobId job : jobs) {
        calls.push_back(std::make_shared<Watched>(impl_->network.room(), job));
        submissions.push_back(Submission(calls.back()));
    }
    if (!impl_->is_forked()) impl_->network.watch(calls, deadline);  // else each handle says so itself
    return submissions;
}

Submission Client::watch(JobId job, std::chrono::milliseconds limit) {
    return watch(std::span(&job, 1), limit).front();
}

Result<JobResult> Client::wait(JobId job, std::chrono::milliseconds limit) { return watch(job, limit).result(limit); }

std::vector<Result<JobResult>> Client::wait(std::span<const JobId> jobs, std::chrono::milliseconds limit) {
    const Deadline deadline = deadline_after(limit);
    std::vector<Result<JobResult>> results;
    results.reserve(jobs.size());
    for (const Submission& job : watch(jobs, limit)) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        results.push_back(job.result(std::max(left, std::chrono::milliseconds(0))));
    }
    return results;
}

std::vector<Result<CancelAnswer>> Client::cancel(std::span<const JobId> jobs, std::chrono::milliseconds limit) {
    return impl_->ask<CancelAnswer>(Impl::about(jobs, JobVerb::cancel), limit, [](Asked& call) { return call.answer; });
}

Result<CancelAnswer> Client::cancel(JobId job, std::chrono::milliseconds limit) {
    return cancel(std::span(&job, 1), limit).front();
}

std::vector<Result<void>> Client::redrive(std::span<const JobId> jobs, std::chrono::milliseconds limit) {
    return impl_->ask<void>(Impl::about(jobs, JobVerb::redrive), limit, [](Asked&) { return Result<void>(); });
}

Result<void> Client::redrive(JobId job, std::chrono::milliseconds limit) {
    return redrive(std::span(&job, 1), limit).front();
}

namespace {

Result<void> result_of(const Asked::Item& item) {
    if (item.code == Code::ok) return {};
    return Error{item.code, item.text, item.retry_after_ms};
}

const Error kShortAnswer{Code::bad_message, "the broker's answer has less in it than was asked for", 0};

Result<void> first_result(const Asked& call) { return call.items.empty() ? kShortAnswer : result_of(call.items[0]); }

template <class T>
Result<T> decode_first(const Asked& call, Result<T> (*decode)(std::string_view)) {
    if (call.maps.empty()) return kShortAnswer;
    return decode(call.maps[0]);
}

/// A question whose message looks into a copy of `spec`.
template <class Spec, class Make>
client::MessageQuestion question(Spec spec, Make make) {
    auto owner = std::make_shared<const Spec>(std::move(spec));
    Message message = make(*owner);
    return {std::move(message), std::move(owner)};
}

template <class T>
Result<std::vector<T>> decode_all(const std::vector<std::string>& maps, Result<T> (*decode)(std::string_view)) {
    std::vector<T> values;
    for (const std::string& map : maps) {
        Result<T> value = decode(map);
        if (!value) return value.error();
        values.push_back(*std::move(value));
    }
    return values;
}

}  // namespace

std::vector<Result<void>> Client::Impl::ask_lists(std::vector<client::Question> questions,
                                                  const std::vector<std::size_t>& sizes,
                                                  std::chrono::milliseconds limit) {
    using Items = std::vector<Asked::Item>;
    const auto lists = ask<Items>(std::move(questions), limit, [](Asked& call) { return call.items; });
    std::vector<Result<void>> results;
    for (std::size_t i = 0; i < lists.size(); ++i)
        for (std::size_t n = 0; n < sizes[i]; ++n) {
            if (!lists[i]) results.emplace_back(lists[i].error());
            else if (n >= lists[i]->size()) results.emplace_back(kShortAnswer);
            else results.push_back(result_of((*lists[i])[n]));
        }
    return results;
}

std::vector<Result<void>> Client::change(std::span<const JobId> jobs, const JobChange& change,
                                         std::chrono::milliseconds limit) {
    std::vector<client::Question> questions;
    std::vector<std::size_t> sizes;
    for (std::size_t at = 0; at < jobs.size(); at += kMaxItems) {
        const auto list = jobs.subspan(at, std::min(kMaxItems, jobs.size() - at));
        sizes.push_back(list.size());
        questions.emplace_back(question(change, [&](const JobChange& what) {
            return Change{{list.begin(), list.end()}, what.priority, what.queue, what.held};
        }));
    }
    return impl_->ask_lists(std::move(questions), sizes, limit);
}

Result<void> Client::change(JobId job, const JobChange& change, std::chrono::milliseconds limit) {
    return this->change(std::span(&job, 1), change, limit).front();
}

std::vector<Result<void>> Client::edit(std::span<const JobId> jobs, const JobEdit& edit,
                                       std::chrono::milliseconds limit) {
    // The broker takes a payload once for each job, up to a message's size.
    const std::size_t payload = edit.payload ? edit.payload->size() : 0;
    const std::size_t most =
        std::clamp<std::size_t>(kMaxMessageBytes / std::max<std::size_t>(payload, 1), 1, kMaxItems);
    const auto owner = std::make_shared<const JobEdit>(edit);
    std::vector<client::Question> questions;
    std::vector<std::size_t> sizes;
    for (std::size_t at = 0; at < jobs.size(); at += most) {
        const auto list = jobs.subspan(at, std::min(most, jobs.size() - at));
        sizes.push_back(list.size());
        Edit message{{list.begin(), list.end()},
                     static_cast<std::uint32_t>(payload),
                     edit.payload.has_value(),
                     owner->type,
                     owner->queue,
                     owner->priority,
                     owner->retry};
        questions.emplace_back(
            client::MessageQuestion{std::move(message), owner, owner->payload ? *owner->payload : std::string_view{}});
    }
    return impl_->ask_lists(std::move(questions), sizes, limit);
}

Result<void> Client::edit(JobId job, const JobEdit& edit, std::chrono::milliseconds limit) {
    return this->edit(std::span(&job, 1), edit, limit).front();
}

Result<std::string> Client::payload(JobId job, std::chrono::milliseconds limit) {
    return impl_->ask_one<std::string>(client::MessageQuestion{Show{{job}, true}, nullptr}, limit,
                                       [](Asked& call) -> Result<std::string> {
                                           Result<JobInfo> info = decode_first(call, decode_job_info);
                                           if (!info) return info.error();
                                           if (info->payload) return *std::move(info->payload);
                                           return Error{Code::ended,
                                                        std::string("it is ") + to_string(info->state) +
                                                            ": only the payload of jobs that are unended "
                                                            "or dead is kept",
                                                        0};
                                       });
}

Result<void> Client::set_queue(const std::string& queue, const QueueChange& change, const std::string& type,
                               std::chrono::milliseconds limit) {
    struct Spec {
        std::string queue;
        std::string type;
        QueueChange change;
    };
    auto ask = question(Spec{queue, type, change}, [](const Spec& spec) {
        const QueueChange& what = spec.change;
        return SetQueue{spec.queue, spec.type, what.paused, what.by, what.why, what.max_running, what.retry};
    });
    return impl_->ask_one<void>(std::move(ask), limit, [](Asked& call) { return first_result(call); });
}

Result<QueueInfo> Client::queue(const std::string& name, std::chrono::milliseconds limit) {
    auto ask = question(name, [](const std::string& text) { return ListQueues{{}, 1, text}; });
    return impl_->ask_one<QueueInfo>(std::move(ask), limit,
                                     [](Asked& call) { return decode_first(call, decode_queue_info); });
}

Result<std::vector<QueueInfo>> Client::queues(std::chrono::milliseconds limit) {
    struct Page {
        std::vector<QueueInfo> queues;
        std::string next;
    };
    std::vector<QueueInfo> queues;
    std::string cursor;
    do {
        auto ask = question(cursor, [](const std::string& text) { return ListQueues{text, kMaxItems, {}}; });
        Result<Page> page = impl_->ask_one<Page>(std::move(ask), limit, [](Asked& call) -> Result<Page> {
            auto some = decode_all(call.maps, decode_queue_info);
            if (!some) return some.error();
            return Page{*std::move(some), call.next};
        });
        if (!page) return page.error();
        std::move(page->queues.begin(), page->queues.end(), std::back_inserter(queues));
        cursor = page->next;
    } while (!cursor.empty());
    return queues;
}

Result<std::uint64_t> Client::start_task(const TaskSpec& task, std::chrono::milliseconds limit) {
    // If its answer is lost it is asked for again, and must not begin twice.
    std::uint64_t nonce = 0;
    JOBYARD_ASSERT(getrandom(&nonce, sizeof nonce, 0) == sizeof nonce);
    auto ask = question(task, [&](const TaskSpec& what) {
        return StartTask{what.action,        what.state,         what.queue,      what.type, what.reason, what.error,
                         what.older_than_ms, what.newer_than_ms, what.count_only, what.by,   what.jobs,   nonce};
    });
    return impl_->ask_one<std::uint64_t>(std::move(ask), limit, [](Asked& call) -> Result<std::uint64_t> {
        if (const auto done = first_result(call); !done) return done.error();
        return call.items[0].job.value;
    });
}

Result<std::vector<TaskInfo>> Client::tasks(std::chrono::milliseconds limit) {
    return impl_->ask_one<std::vector<TaskInfo>>(client::MessageQuestion{ListTasks{}, nullptr}, limit,
                                                 [](Asked& call) { return decode_all(call.maps, decode_task_info); });
}

Result<TaskInfo> Client::task(std::uint64_t number, std::chrono::milliseconds limit) {
    return impl_->ask_one<TaskInfo>(client::MessageQuestion{ListTasks{number}, nullptr}, limit,
                                    [](Asked& call) { return decode_first(call, decode_task_info); });
}

Result<void> Client::stop_task(std::uint64_t number, std::chrono::milliseconds limit) {
    return impl_->ask_one<void>(client::MessageQuestion{StopTask{number}, nullptr}, limit,
                                [](Asked& call) { return first_result(call); });
}

Result<std::vector<ArrayInfo>> Client::arrays(std::chrono::milliseconds limit) {
    struct Page {
        std::vector<ArrayInfo> arrays;
        std::string next;
    };
    std::vector<ArrayInfo> arrays;
    JobId cursor;
    do {
        const client::MessageQuestion ask{ListArrays{cursor, kMaxItems, {}}, nullptr};
        Result<Page> page = impl_->ask_one<Page>(ask, limit, [](Asked& call) -> Result<Page> {
            auto some = decode_all(call.maps, decode_array_info);
            if (!some) return some.error();
            return Page{*std::move(some), call.next};
        });
        if (!page) return page.error();
        std::move(page->arrays.begin(), page->arrays.end(), std::back_inserter(arrays));
        cursor = page->next.empty() ? JobId{} : arrays.back().array;
    } while (cursor);
    return arrays;
}

Result<ArrayInfo> Client::array(JobId array, std::chrono::milliseconds limit) {
    return impl_->ask_one<ArrayInfo>(client::MessageQuestion{ListArrays{{}, 1, array}, nullptr}, limit,
                                     [](Asked& call) { return decode_first(call, decode_array_info); });
}

Result<void> Client::stop_array(JobId array, std::chrono::milliseconds limit) {
    return impl_->ask_one<void>(client::MessageQuestion{SteerArray{array, ArrayAction::stop}, nullptr}, limit,
                                [](Asked& call) { return first_result(call); });
}

Result<JobId> Client::resubmit(JobId array, bool cancelled, std::chrono::milliseconds limit) {
    const client::MessageQuestion ask{SteerArray{array, ArrayAction::resubmit, cancelled}, nullptr};
    return impl_->ask_one<JobId>(ask, limit, [](Asked& call) -> Result<JobId> {
        if (!call.items.empty() && call.items[0].code == Code::existing) return call.items[0].job;
        if (const auto done = first_result(call); !done) return done.error();
        return call.items[0].job;
    });
}

Result<JobInfo> Client::show(JobId job, std::chrono::milliseconds limit) {
    return impl_->ask_one<JobInfo>(JobQuestion{JobVerb::show, job}, limit,
                                   [](Asked& call) { return decode_job_info(call.maps.front()); });
}

Result<JobPage> Client::list(const JobFilter& filter, std::uint64_t cursor, std::uint32_t size,
                             std::chrono::milliseconds limit) {
    return impl_->ask_one<JobPage>(
        client::ListQuestion{filter.state, filter.queue, filter.type, cursor, size, filter.array}, limit,
        [](Asked& call) -> Result<JobPage> {
            JobPage page;
            page.next_cursor = call.next_cursor;
            for (const std::string& map : call.maps) {
                Result<JobInfo> job = decode_job_info(map);
                if (!job) return job.error();
                page.jobs.push_back(*std::move(job));
            }
            return page;
        });
}

Result<BrokerStats> Client::stats(std::chrono::milliseconds limit) {
    return impl_->ask_one<BrokerStats>(client::StatsQuestion{}, limit,
                                       [](Asked& call) { return decode_stats(call.maps.front()); });
}

Result<EventPage> Client::events(const EventFilter& filter, std::uint64_t after, std::chrono::milliseconds wait,
                                 std::uint32_t size, std::chrono::milliseconds limit) {
    wait = std::clamp(wait, std::chrono::milliseconds(0), std::chrono::milliseconds(30'000));
    const std::chrono::milliseconds both = limit > kNoTimeLimit - wait ? limit : limit + wait;
    return impl_->ask_one<EventPage>(client::EventsQuestion{after, size, static_cast<std::uint32_t>(wait.count()),
                                                            filter.queue, filter.type, filter.job, filter.kinds},
                                     both, [](Asked& call) -> Result<EventPage> {
                                         Result<std::vector<EventInfo>> events = decode_events(call.maps);
                                         if (!events) return events.error();
                                         return EventPage{*std::move(events), call.next_cursor, call.gone, call.more};
                                     });
}

Result<std::vector<WorkerInfo>> Client::workers(const std::string& name, std::chrono::milliseconds limit) {
    const Deadline deadline = deadline_after(limit);
    std::vector<WorkerInfo> workers;
    std::string cursor;
    do {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        const Result<std::string> next = impl_->ask_one<std::string>(
            client::WorkersQuestion{cursor, 500, name}, std::max(left, std::chrono::milliseconds(0)),
            [&](Asked& call) -> Result<std::string> {
                for (const std::string& map : call.maps) {
                    Result<WorkerInfo> worker = decode_worker(map);
                    if (!worker) return worker.error();
                    workers.push_back(*std::move(worker));
                }
                return call.next;
            });
        if (!next) return next.error();
        cursor = *next;
    } while (!cursor.empty());
    return workers;
}

Result<std::size_t> Client::drain(const std::string& name, std::chrono::milliseconds limit) {
    return impl_->ask_one<std::size_t>(client::SteerQuestion{name, WorkerAction::drain}, limit,
                                       [](Asked& call) { return call.count; });
}

Result<std::size_t> Client::resume(const std::string& name, std::chrono::milliseconds limit) {
    return impl_->ask_one<std::size_t>(client::SteerQuestion{name, WorkerAction::resume}, limit,
                                       [](Asked& call) { return call.count; });
}

}  // namespace jobyard
