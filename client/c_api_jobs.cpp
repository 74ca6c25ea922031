// The C interface: submitting jobs, waiting for them, and steering them.

#include <limits>

#include "c_api.hpp"
#include "c_api_retry.hpp"

namespace jobyard::c_api {
namespace {

constexpr jobyard_job kUsualJob = JOBYARD_JOB_INIT;
constexpr jobyard_job_change kUsualChange = JOBYARD_JOB_CHANGE_INIT;
constexpr jobyard_job_edit kUsualEdit = JOBYARD_JOB_EDIT_INIT;

Result<std::uint8_t> priority_from(std::int64_t priority, int least) {
    if (priority < least || priority > kPriorityMax)
        return bad_field("priority", std::to_string(priority) + ": expected " + std::to_string(least) + " to " +
                                         std::to_string(kPriorityMax));
    return static_cast<std::uint8_t>(priority);
}

Result<JobSpec> spec_from(const jobyard_job& given) {
    const Result<jobyard_job> taken = take(given, kUsualJob, "job", offsetof(jobyard_job, array));
    if (!taken) return taken.error();
    const jobyard_job& job = *taken;
    const Result<std::uint8_t> priority = priority_from(job.priority, kPriorityMin);
    if (!priority) return priority.error();
    const Result<RetryPolicy> retry = retry_from(job.retry, Takes::unsaid);
    if (!retry) return retry.error();
    if (job.key_ttl_ms < 0) return bad_field("key_ttl_ms", std::to_string(job.key_ttl_ms) + ": expected 0 or more");
    if (job.payload == nullptr && job.payload_size != 0)
        return bad_field("payload", "is NULL, but payload_size is not 0");
    JobSpec spec;
    spec.type = to_string(job.type);
    if (job.payload_size != 0) spec.payload.assign(static_cast<const char*>(job.payload), job.payload_size);
    if (job.queue != nullptr && *job.queue != '\0') spec.queue = job.queue;
    spec.priority = *priority;
    spec.key = to_string(job.key);
    spec.delay_ms = job.delay_ms;
    spec.timeout_ms = retry->timeout_ms;
    spec.max_attempts = retry->max_attempts;
    spec.backoff = retry->backoff;
    spec.watch = job.watch;
    spec.run_at = job.run_at;
    spec.deadline_ms = job.deadline_ms;
    spec.queue_timeout_ms = job.queue_timeout_ms;
    spec.held = job.held;
    spec.key_ttl_ms = static_cast<std::uint64_t>(job.key_ttl_ms);
    spec.array = {job.array.count, job.array.first, job.array.step, job.array.at_once, to_string(job.array.name)};
    return spec;
}

/// Jobs that stand one behind the other, each as long as its caller's jobyard_job is.
Result<std::vector<JobSpec>> specs_from(const jobyard_job* jobs, std::size_t count) {
    std::vector<JobSpec> specs;
    specs.reserve(count);
    const std::size_t stride = count == 0 ? 0 : jobs->size;
    const auto* at = reinterpret_cast<const char*>(jobs);
    for (std::size_t i = 0; i < count; ++i, at += stride) {
        const auto& job = *reinterpret_cast<const jobyard_job*>(at);
        if (job.size != stride) return bad_field("jobs", "have different sizes: expected JOBYARD_JOB_INIT in each");
        Result<JobSpec> spec = spec_from(job);
        if (!spec) return Error{spec.error().code, "job " + std::to_string(i) + ": " + spec.error().text, 0};
        specs.push_back(*std::move(spec));
    }
    return specs;
}

Result<JobChange> change_from(const jobyard_job_change& given) {
    const Result<jobyard_job_change> taken = take(given, kUsualChange, "change");
    if (!taken) return taken.error();
    const Result<std::uint8_t> priority = priority_from(taken->priority, 0);
    if (!priority) return priority.error();
    const auto held = flag_from(taken->held, "held");
    if (!held) return held.error();
    return JobChange{.priority = *priority, .queue = to_string(taken->queue), .held = *held};
}

Result<JobEdit> edit_from(const jobyard_job_edit& given) {
    const Result<jobyard_job_edit> taken = take(given, kUsualEdit, "edit");
    if (!taken) return taken.error();
    const Result<std::uint8_t> priority = priority_from(taken->priority, 0);
    if (!priority) return priority.error();
    const Result<RetryPolicy> retry = retry_from(taken->retry, Takes::unsaid);
    if (!retry) return retry.error();
    if (taken->payload == nullptr && taken->payload_size != 0)
        return bad_field("payload", "is NULL, but payload_size is not 0");
    JobEdit edit;
    if (taken->payload != nullptr) edit.payload.emplace(static_cast<const char*>(taken->payload), taken->payload_size);
    edit.type = to_string(taken->type);
    edit.queue = to_string(taken->queue);
    edit.priority = *priority;
    edit.retry = *retry;
    return edit;
}

using Handles = std::vector<std::unique_ptr<jobyard_submission>>;

/// Made before the jobs are, because afterwards there must be nothing that can fail.
Handles handles_for(std::size_t count) {
    Handles handles(count);
    for (auto& handle : handles) handle = std::make_unique<jobyard_submission>();
    return handles;
}

void hand_out(Handles& handles, std::vector<Submission> made, jobyard_submission** out) {
    for (std::size_t i = 0; i < handles.size(); ++i) {
        handles[i]->submission.emplace(std::move(made[i]));
        out[i] = handles[i].release();
    }
}

void show_result(Reply& reply, Result<JobResult> given, jobyard_result& shown) {
    shown.code = given ? JOBYARD_OK : to_c(given.error().code);
    shown.text = shown.error = shown.bytes = "";
    if (!given) {
        shown.text = reply.text(given.error().text);
        return;
    }
    JobResult& result = *given;
    shown.job = result.job.value;
    shown.state = to_c(result.state);
    shown.reason = to_c(result.reason);
    shown.attempt = result.attempt;
    shown.error = reply.text(std::move(result.error));
    shown.size = result.bytes.size();
    shown.bytes = reply.text(std::move(result.bytes));
}

Result<void> give_one(Result<JobResult> result, jobyard_result** out) {
    return give_result(std::move(result), out, [](Reply& reply, JobResult&& value, jobyard_result& shown) {
        show_result(reply, std::move(value), shown);
    });
}

void show_answer(const Result<CancelAnswer>& answer, jobyard_answer& shown) {
    shown.code = to_c(answer->code);
    shown.state = to_c(answer->state);
}
void show_answer(const Result<void>& /*done*/, jobyard_answer& shown) { shown.code = JOBYARD_OK; }

template <class T>
void give_answers(std::vector<Result<T>> results, std::span<const JobId> jobs, jobyard_answers** out) {
    give(out, [&](Reply& reply, jobyard_answers& answers) {
        answers.count = results.size();
        answers.items = reply.items<jobyard_answer>(std::move(results),
                                                    [](Reply& owner, const Result<T>& result, jobyard_answer& shown) {
                                                        shown.text = "";
                                                        if (result) return show_answer(result, shown);
                                                        shown.code = to_c(result.error().code);
                                                        shown.text = owner.text(result.error().text);
                                                        shown.retry_after_ms = result.error().retry_after_ms;
                                                    });
        for (std::size_t i = 0; i < answers.count; ++i)
            const_cast<jobyard_answer*>(answers.items[i])->job = jobs[i].value;
    });
}

}  // namespace
}  // namespace jobyard::c_api

using namespace jobyard::c_api;  // all that follows is of this interface, and at global scope
using jobyard::JobId;
using jobyard::Result;

// --- submitting ------------------------------------------------------------------------------------------------------

jobyard_code jobyard_submit(jobyard_client* client, const jobyard_job* job, jobyard_submission** submission,
                            jobyard_error* error) {
    return jobyard_submit_all(client, job, 1, submission, error);
}

jobyard_code jobyard_submit_all(jobyard_client* client, const jobyard_job* jobs, size_t count,
                                jobyard_submission** submissions, jobyard_error* error) {
    if (submissions != nullptr) std::fill_n(submissions, count, nullptr);
    return guarded(error, {{client, "client"}, needed_array(jobs, count, "jobs")}, [&]() -> Result<void> {
        auto specs = specs_from(jobs, count);
        if (!specs) return specs.error();
        Handles handles = handles_for(submissions == nullptr ? 0 : count);
        std::vector<jobyard::Submission> made;
        if (count == 1) made.push_back(client->client.submit(std::move(specs->front())));
        else made = client->client.submit_all(*std::move(specs));
        hand_out(handles, std::move(made), submissions);
        return {};
    });
}

jobyard_code jobyard_try_submit(jobyard_client* client, const jobyard_job* job, jobyard_submission** submission,
                                jobyard_error* error) {
    if (submission != nullptr) *submission = nullptr;
    return guarded(error, {{client, "client"}, {job, "job"}}, [&]() -> Result<void> {
        auto spec = spec_from(*job);
        if (!spec) return spec.error();
        auto handle = std::make_unique<jobyard_submission>();
        auto made = client->client.try_submit(*std::move(spec));
        if (!made) return made.error();
        handle->submission.emplace(*std::move(made));
        if (submission != nullptr) *submission = handle.release();
        return {};
    });
}

jobyard_code jobyard_run(jobyard_client* client, const jobyard_job* job, int64_t limit_ms, jobyard_result** result,
                         jobyard_error* error) {
    if (result != nullptr) *result = nullptr;
    return guarded(error, {{client, "client"}, {job, "job"}, {result, "result"}}, [&]() -> Result<void> {
        auto spec = spec_from(*job);
        if (!spec) return spec.error();
        return give_one(client->client.run(*std::move(spec), to_limit(limit_ms)), result);
    });
}

jobyard_code jobyard_submission_id(jobyard_submission* submission, int64_t limit_ms, uint64_t* job,
                                   jobyard_error* error) {
    return guarded(error, {{submission, "submission"}}, [&]() -> Result<void> {
        const Result<JobId> id = submission->submission->id(to_limit(limit_ms));
        if (!id) return id.error();
        if (job != nullptr) *job = id->value;
        return {};
    });
}

jobyard_code jobyard_submission_result(jobyard_submission* submission, int64_t limit_ms, jobyard_result** result,
                                       jobyard_error* error) {
    if (result != nullptr) *result = nullptr;
    return guarded(error, {{submission, "submission"}, {result, "result"}},
                   [&] { return give_one(submission->submission->result(to_limit(limit_ms)), result); });
}

bool jobyard_submission_was_existing(const jobyard_submission* submission) {
    return submission != nullptr && submission->submission->was_existing();
}
bool jobyard_submission_has_id(const jobyard_submission* submission) {
    return submission != nullptr && submission->submission->has_id();
}
bool jobyard_submission_has_result(const jobyard_submission* submission) {
    return submission != nullptr && submission->submission->has_result();
}

void jobyard_submission_free(jobyard_submission* submission) { delete submission; }

// --- waiting ---------------------------------------------------------------------------------------------------------

jobyard_code jobyard_watch(jobyard_client* client, const uint64_t* jobs, size_t count, int64_t limit_ms,
                           jobyard_submission** submissions, jobyard_error* error) {
    if (submissions != nullptr) std::fill_n(submissions, count, nullptr);
    return guarded(
        error, {{client, "client"}, needed_array(jobs, count, "jobs"), needed_array(submissions, count, "submissions")},
        [&]() -> Result<void> {
            Handles handles = handles_for(count);
            hand_out(handles, client->client.watch(to_ids(jobs, count), to_limit(limit_ms)), submissions);
            return {};
        });
}

jobyard_code jobyard_wait(jobyard_client* client, uint64_t job, int64_t limit_ms, jobyard_result** result,
                          jobyard_error* error) {
    if (result != nullptr) *result = nullptr;
    return guarded(error, {{client, "client"}, {result, "result"}},
                   [&] { return give_one(client->client.wait(JobId{job}, to_limit(limit_ms)), result); });
}

jobyard_code jobyard_wait_all(jobyard_client* client, const uint64_t* jobs, size_t count, int64_t limit_ms,
                              jobyard_results** results, jobyard_error* error) {
    if (results != nullptr) *results = nullptr;
    return guarded(
        error, {{client, "client"}, needed_array(jobs, count, "jobs"), {results, "results"}}, [&]() -> Result<void> {
            auto ended = client->client.wait(to_ids(jobs, count), to_limit(limit_ms));
            give(results, [&](Reply& reply, jobyard_results& shown) {
                shown.count = count;
                const uint64_t* job = jobs;
                shown.items = reply.items<jobyard_result>(
                    std::move(ended), [&](Reply& owner, Result<jobyard::JobResult>&& result, jobyard_result& item) {
                        show_result(owner, std::move(result), item);
                        item.job = *job++;
                    });
            });
            return {};
        });
}

// --- steering --------------------------------------------------------------------------------------------------------

jobyard_code jobyard_cancel(jobyard_client* client, uint64_t job, int64_t limit_ms, jobyard_code* outcome,
                            jobyard_state* state, jobyard_error* error) {
    return guarded(error, {{client, "client"}}, [&]() -> Result<void> {
        const auto answer = client->client.cancel(JobId{job}, to_limit(limit_ms));
        if (!answer) return answer.error();
        if (outcome != nullptr) *outcome = to_c(answer->code);
        if (state != nullptr) *state = to_c(answer->state);
        return {};
    });
}

jobyard_code jobyard_redrive(jobyard_client* client, uint64_t job, int64_t limit_ms, jobyard_error* error) {
    return guarded(error, {{client, "client"}}, [&] { return client->client.redrive(JobId{job}, to_limit(limit_ms)); });
}

jobyard_code jobyard_change(jobyard_client* client, uint64_t job, const jobyard_job_change* change, int64_t limit_ms,
                            jobyard_error* error) {
    return guarded(error, {{client, "client"}, {change, "change"}}, [&]() -> Result<void> {
        const auto what = change_from(*change);
        if (!what) return what.error();
        return client->client.change(JobId{job}, *what, to_limit(limit_ms));
    });
}

jobyard_code jobyard_edit(jobyard_client* client, uint64_t job, const jobyard_job_edit* edit, int64_t limit_ms,
                          jobyard_error* error) {
    return guarded(error, {{client, "client"}, {edit, "edit"}}, [&]() -> Result<void> {
        const auto what = edit_from(*edit);
        if (!what) return what.error();
        return client->client.edit(JobId{job}, *what, to_limit(limit_ms));
    });
}

namespace {

/// `ask` gives a result for each job.
template <class Ask>
jobyard_code about_each(jobyard_client* client, const uint64_t* jobs, size_t count, jobyard_answers** answers,
                        jobyard_error* error, Ask ask) {
    if (answers != nullptr) *answers = nullptr;
    return guarded(error, {{client, "client"}, needed_array(jobs, count, "jobs"), {answers, "answers"}},
                   [&]() -> Result<void> {
                       const std::vector<JobId> ids = to_ids(jobs, count);
                       give_answers(ask(client->client, ids), ids, answers);
                       return {};
                   });
}

}  // namespace

jobyard_code jobyard_cancel_all(jobyard_client* client, const uint64_t* jobs, size_t count, int64_t limit_ms,
                                jobyard_answers** answers, jobyard_error* error) {
    return about_each(client, jobs, count, answers, error, [&](jobyard::Client& to, const std::vector<JobId>& ids) {
        return to.cancel(ids, to_limit(limit_ms));
    });
}

jobyard_code jobyard_redrive_all(jobyard_client* client, const uint64_t* jobs, size_t count, int64_t limit_ms,
                                 jobyard_answers** answers, jobyard_error* error) {
    return about_each(client, jobs, count, answers, error, [&](jobyard::Client& to, const std::vector<JobId>& ids) {
        return to.redrive(ids, to_limit(limit_ms));
    });
}

jobyard_code jobyard_change_all(jobyard_client* client, const uint64_t* jobs, size_t count,
                                const jobyard_job_change* change, int64_t limit_ms, jobyard_answers** answers,
                                jobyard_error* error) {
    if (answers != nullptr) *answers = nullptr;
    return guarded(error,
                   {{client, "client"}, needed_array(jobs, count, "jobs"), {change, "change"}, {answers, "answers"}},
                   [&]() -> Result<void> {
                       const auto what = change_from(*change);
                       if (!what) return what.error();
                       const std::vector<JobId> ids = to_ids(jobs, count);
                       give_answers(client->client.change(ids, *what, to_limit(limit_ms)), ids, answers);
                       return {};
                   });
}

jobyard_code jobyard_edit_all(jobyard_client* client, const uint64_t* jobs, size_t count, const jobyard_job_edit* edit,
                              int64_t limit_ms, jobyard_answers** answers, jobyard_error* error) {
    if (answers != nullptr) *answers = nullptr;
    return guarded(error, {{client, "client"}, needed_array(jobs, count, "jobs"), {edit, "edit"}, {answers, "answers"}},
                   [&]() -> Result<void> {
                       const auto what = edit_from(*edit);
                       if (!what) return what.error();
                       const std::vector<JobId> ids = to_ids(jobs, count);
                       give_answers(client->client.edit(ids, *what, to_limit(limit_ms)), ids, answers);
                       return {};
                   });
}
