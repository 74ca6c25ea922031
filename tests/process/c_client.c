/* Drives the C interface (jobyard.h) through every function. It is started by c_api_test.cpp with a scenario, the
 * broker's endpoint, and a directory where a worker's gates are. Exit status 0 if all was as expected; else every line
 * that was not is on standard error. */

#define _POSIX_C_SOURCE 200809L

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jobyard/jobyard.h"

static int failures = 0;
static jobyard_error error;
static const char* endpoint;
static const char* directory;

static void check(int holds, const char* what, int line) {
    if (holds) return;
    fprintf(stderr, "c_client.c:%d: %s\n", line, what);
    ++failures;
}
#define CHECK(condition) check((condition), #condition, __LINE__)

static void check_code(jobyard_code got, jobyard_code expected, const char* what, int line) {
    if (got != expected)
        fprintf(stderr, "c_client.c:%d: %s is %s (%s), expected %s\n", line, what, jobyard_code_word(got), error.text,
                jobyard_code_word(expected));
    if (error.code != got) fprintf(stderr, "c_client.c:%d: the error has another code than %s\n", line, what);
    if (got != expected || error.code != got) ++failures;
    if ((got == JOBYARD_OK) != (error.text[0] == '\0')) {
        fprintf(stderr, "c_client.c:%d: %s: a text says what is wrong, and only that: \"%s\"\n", line, what,
                error.text);
        ++failures;
    }
}
/* The code, and that `error` says the same. */
#define GIVES(expected, call) check_code((call), (expected), #call, __LINE__)
#define FINE(call) GIVES(JOBYARD_OK, call)
/* Without this the rest makes no sense. */
#define NEEDED(call)                \
    do {                            \
        FINE(call);                 \
        if (failures != 0) exit(1); \
    } while (0)
#define SAYS(words) CHECK(strstr(error.text, (words)) != NULL)

static int same(const char* a, const char* b) { return strcmp(a, b) == 0; }

static const int64_t kLimit = 60000;

static jobyard_client* open_client(void) {
    jobyard_client_options options = JOBYARD_CLIENT_OPTIONS_INIT;
    jobyard_client* client = NULL;
    options.broker = endpoint;
    options.submit_limit_ms = kLimit;
    NEEDED(jobyard_client_open(&options, &client, &error));
    return client;
}

static jobyard_job job_of(const char* type, const char* payload) {
    jobyard_job job = JOBYARD_JOB_INIT;
    job.type = type;
    job.payload = payload;
    job.payload_size = strlen(payload);
    return job;
}

/* Submits it and waits until it is durable. */
static uint64_t submitted(jobyard_client* client, const jobyard_job* job) {
    jobyard_submission* submission = NULL;
    uint64_t id = 0;
    NEEDED(jobyard_submit(client, job, &submission, &error));
    NEEDED(jobyard_submission_id(submission, kLimit, &id, &error));
    jobyard_submission_free(submission);
    CHECK(id != 0);
    return id;
}

static void open_gate(const char* name) {
    char path[4096];
    FILE* file;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    file = fopen(path, "w");
    CHECK(file != NULL);
    if (file != NULL) fclose(file);
}

/* ---- scenarios -------------------------------------------------------------------------------------------------- */

static void words(void) {
    char digits[17];
    char again[17];
    int number;
    CHECK(same(jobyard_version(), directory)); /* here: the version of the build */
    CHECK(same(jobyard_code_word(JOBYARD_STALE_LEASE), "stale_lease"));
    CHECK(same(jobyard_code_word(JOBYARD_NO_MEMORY), "no_memory"));
    CHECK(same(jobyard_code_word((jobyard_code)255), "unknown"));
    for (number = 1; number <= 10; ++number) {
        const char* word = jobyard_state_word((jobyard_state)number);
        if (number != 2) CHECK(jobyard_state_from(word) == (jobyard_state)number);
    }
    CHECK(jobyard_state_from("none") == JOBYARD_STATE_NONE && jobyard_state_from(NULL) == JOBYARD_STATE_NONE);
    CHECK(jobyard_reason_from(jobyard_reason_word(JOBYARD_REASON_QUEUE_LIMIT)) == JOBYARD_REASON_QUEUE_LIMIT);
    CHECK(jobyard_reason_from("crash_loop") == JOBYARD_REASON_CRASH_LOOP);
    CHECK(jobyard_reason_from("") == JOBYARD_REASON_NONE && jobyard_reason_from("nonsense") == JOBYARD_REASON_NONE);
    CHECK(jobyard_event_from(jobyard_event_word(JOBYARD_EVENT_QUEUE_PAUSED)) == JOBYARD_EVENT_QUEUE_PAUSED);
    for (number = JOBYARD_EVENT_ARRAY_SUBMITTED; number <= JOBYARD_EVENT_ARRAY_ENDED; ++number)
        CHECK(jobyard_event_from(jobyard_event_word((jobyard_event_kind)number)) == (jobyard_event_kind)number);
    CHECK(same(jobyard_event_word(JOBYARD_EVENT_ARRAY_STOPPED), "array_stopped"));
    CHECK(same(jobyard_event_word((jobyard_event_kind)67), "unknown"));
    CHECK(jobyard_event_from("nonsense") == JOBYARD_EVENT_NONE && jobyard_event_from(NULL) == JOBYARD_EVENT_NONE);
    FINE(jobyard_fingerprint("resize", "no file /tmp/a1", digits, &error));
    FINE(jobyard_fingerprint("resize", "no file /tmp/b22", again, &error));
    CHECK(strlen(digits) == 16 && same(digits, again));
    jobyard_free(NULL);
    jobyard_client_free(NULL);
    jobyard_submission_free(NULL);
    CHECK(jobyard_client_pending(NULL) == 0 && jobyard_client_max_payload(NULL) == 0);
    CHECK(!jobyard_submission_has_id(NULL) && !jobyard_submission_has_result(NULL) &&
          !jobyard_submission_was_existing(NULL));
}

static void submit(void) {
    enum { kMany = 3000 };
    jobyard_client* client = open_client();
    jobyard_job job = job_of("echo", "");
    jobyard_job* jobs = calloc(kMany, sizeof *jobs);
    jobyard_submission** many = calloc(kMany, sizeof(jobyard_submission*));
    uint64_t* ids = calloc(kMany, sizeof *ids);
    jobyard_submission* submission = NULL;
    jobyard_result* result = NULL;
    jobyard_results* results = NULL;
    uint64_t id = 0;
    size_t i;
    if (jobs == NULL || many == NULL || ids == NULL) exit(1);

    FINE(jobyard_client_connect(client, kLimit, &error));
    CHECK(jobyard_client_max_payload(client) == 256 * 1024);

    /* One, with any bytes. */
    job.payload = "a\0b";
    job.payload_size = 3;
    job.watch = true;
    NEEDED(jobyard_submit(client, &job, &submission, &error));
    FINE(jobyard_submission_id(submission, kLimit, &id, &error));
    CHECK(id == 1 && jobyard_submission_has_id(submission) && !jobyard_submission_was_existing(submission));
    NEEDED(jobyard_submission_result(submission, JOBYARD_NO_LIMIT, &result, &error));
    CHECK(jobyard_submission_has_result(submission));
    CHECK(result->code == JOBYARD_OK && result->job == 1 && result->state == JOBYARD_STATE_COMPLETED);
    CHECK(result->reason == JOBYARD_REASON_NONE && result->attempt == 1 && same(result->error, ""));
    CHECK(result->size == 3 && memcmp(result->bytes, "a\0b", 4) == 0);
    jobyard_free(result);
    jobyard_submission_free(submission);

    /* The result of one that was not watched is not here, but can be waited for; and nobody need know of it at all. */
    job.watch = false;
    NEEDED(jobyard_submit(client, &job, &submission, &error));
    GIVES(JOBYARD_NOT_ALLOWED, jobyard_submission_result(submission, kLimit, &result, &error));
    CHECK(result == NULL);
    NEEDED(jobyard_submission_id(submission, kLimit, &id, &error));
    jobyard_submission_free(submission);
    NEEDED(jobyard_wait(client, id, kLimit, &result, &error));
    CHECK(result->job == id && result->size == 3);
    jobyard_free(result);
    FINE(jobyard_submit(client, &job, NULL, &error));

    /* How a job fails. */
    job = job_of("refuse", "");
    NEEDED(jobyard_run(client, &job, kLimit, &result, &error));
    CHECK(result->state == JOBYARD_STATE_DEAD && result->reason == JOBYARD_REASON_NOT_RETRYABLE);
    CHECK(same(result->error, "this can never work") && result->size == 0 && result->bytes != NULL);
    jobyard_free(result);
    job = job_of("fail", "1");
    job.retry.max_attempts = 2;
    job.retry.backoff_initial_ms = 1;
    NEEDED(jobyard_run(client, &job, kLimit, &result, &error));
    CHECK(result->state == JOBYARD_STATE_COMPLETED && result->attempt == 2);
    jobyard_free(result);

    /* A key. */
    job = job_of("echo", "once");
    job.key = "mine";
    id = submitted(client, &job);
    NEEDED(jobyard_submit(client, &job, &submission, &error));
    {
        uint64_t same_id = 0;
        FINE(jobyard_submission_id(submission, kLimit, &same_id, &error));
        CHECK(same_id == id && jobyard_submission_was_existing(submission));
    }
    jobyard_submission_free(submission);
    job.payload = "twice";
    job.payload_size = 5;
    NEEDED(jobyard_submit(client, &job, &submission, &error));
    GIVES(JOBYARD_CONFLICT, jobyard_submission_id(submission, kLimit, NULL, &error));
    jobyard_submission_free(submission);

    /* Many. */
    for (i = 0; i < kMany; ++i) {
        jobs[i] = job_of("echo", "xyz");
        jobs[i].watch = true;
        jobs[i].priority = 1 + (int)(i % 10);
    }
    NEEDED(jobyard_submit_all(client, jobs, kMany, many, &error));
    for (i = 0; i < kMany; ++i) {
        FINE(jobyard_submission_id(many[i], kLimit, &ids[i], &error));
        CHECK(i == 0 || ids[i] > ids[i - 1]);
    }
    for (i = 0; i < kMany; ++i) {
        NEEDED(jobyard_submission_result(many[i], kLimit, &result, &error));
        CHECK(result->job == ids[i] && result->size == 3);
        jobyard_free(result);
        jobyard_submission_free(many[i]);
    }
    CHECK(jobyard_client_pending(client) <= 1);
    ids[1] = 1000000000;
    NEEDED(jobyard_wait_all(client, ids, 3, kLimit, &results, &error));
    CHECK(results->count == 3);
    CHECK(results->items[0]->code == JOBYARD_OK && results->items[0]->job == ids[0]);
    CHECK(results->items[1]->code == JOBYARD_UNKNOWN_JOB && results->items[1]->job == ids[1]);
    CHECK(results->items[1]->text[0] != '\0' && results->items[1]->bytes != NULL);
    CHECK(results->items[2]->code == JOBYARD_OK && same(results->items[2]->bytes, "xyz"));
    jobyard_free(results);
    NEEDED(jobyard_watch(client, ids, 2, kLimit, many, &error));
    FINE(jobyard_submission_result(many[0], kLimit, &result, &error));
    jobyard_free(result);
    GIVES(JOBYARD_UNKNOWN_JOB, jobyard_submission_result(many[1], kLimit, &result, &error));
    jobyard_submission_free(many[0]);
    jobyard_submission_free(many[1]);
    FINE(jobyard_submit_all(client, NULL, 0, NULL, &error));
    FINE(jobyard_wait_all(client, NULL, 0, kLimit, &results, &error));
    CHECK(results->count == 0);
    jobyard_free(results);

    /* What is refused without asking. */
    job = job_of("echo", "");
    job.payload = calloc(1, 300 * 1024);
    job.payload_size = 300 * 1024;
    NEEDED(jobyard_submit(client, &job, &submission, &error));
    GIVES(JOBYARD_TOO_LARGE, jobyard_submission_id(submission, kLimit, NULL, &error));
    SAYS("307200");
    jobyard_submission_free(submission);
    GIVES(JOBYARD_TOO_LARGE, jobyard_try_submit(client, &job, &submission, &error));
    CHECK(submission == NULL);
    free((void*)job.payload);
    job = job_of("echo", "a try");
    FINE(jobyard_try_submit(client, &job, NULL, &error));
    job = job_of("echo", "later");
    job.delay_ms = 3600000;
    id = submitted(client, &job);
    GIVES(JOBYARD_TIMEOUT, jobyard_wait(client, id, 0, &result, &error));

    /* After the end. */
    FINE(jobyard_client_close(client, kLimit, &error));
    GIVES(JOBYARD_CLOSED, jobyard_run(client, &job, kLimit, &result, &error));
    GIVES(JOBYARD_CLOSED, jobyard_client_connect(client, kLimit, &error));
    jobyard_client_free(client);
    free(jobs);
    free(many);
    free(ids);
}

static void steer(void) {
    jobyard_client* client = open_client();
    jobyard_job job = job_of("echo", "held");
    jobyard_job_change change = JOBYARD_JOB_CHANGE_INIT;
    jobyard_job_edit edit = JOBYARD_JOB_EDIT_INIT;
    jobyard_job_info* info = NULL;
    jobyard_bytes* payload = NULL;
    jobyard_answers* answers = NULL;
    jobyard_result* result = NULL;
    jobyard_code outcome = JOBYARD_INTERNAL;
    jobyard_state state = JOBYARD_STATE_NONE;
    uint64_t ids[3];
    uint64_t running;

    /* A held job, changed and let go. */
    job.held = true;
    ids[0] = submitted(client, &job);
    ids[1] = submitted(client, &job);
    ids[2] = 1000000000;
    change.priority = 9;
    change.queue = "elsewhere";
    FINE(jobyard_change(client, ids[0], &change, kLimit, &error));
    NEEDED(jobyard_show(client, ids[0], kLimit, &info, &error));
    CHECK(info->priority == 9 && same(info->queue, "elsewhere"));
    CHECK(jobyard_reason_from(info->reason) == JOBYARD_REASON_HELD);
    jobyard_free(info);
    change = (jobyard_job_change)JOBYARD_JOB_CHANGE_INIT;
    change.held = 0;
    change.queue = "default";
    NEEDED(jobyard_change_all(client, ids, 3, &change, kLimit, &answers, &error));
    CHECK(answers->count == 3 && answers->items[0]->code == JOBYARD_OK && answers->items[1]->code == JOBYARD_OK);
    CHECK(answers->items[1]->job == ids[1] && same(answers->items[1]->text, ""));
    CHECK(answers->items[2]->code == JOBYARD_UNKNOWN_JOB && answers->items[2]->job == ids[2]);
    CHECK(answers->items[2]->text[0] != '\0');
    jobyard_free(answers);
    FINE(jobyard_wait(client, ids[0], kLimit, &result, &error));
    CHECK(result != NULL && result->state == JOBYARD_STATE_COMPLETED);
    jobyard_free(result);
    GIVES(JOBYARD_ENDED, jobyard_change(client, ids[0], &change, kLimit, &error));

    /* Cancelled: waiting, running, ended, never made. */
    ids[0] = submitted(client, &job);
    FINE(jobyard_cancel(client, ids[0], kLimit, &outcome, &state, &error));
    CHECK(outcome == JOBYARD_OK && state == JOBYARD_STATE_CANCELLED);
    FINE(jobyard_cancel(client, ids[0], kLimit, &outcome, &state, &error));
    CHECK(outcome == JOBYARD_ENDED && state == JOBYARD_STATE_CANCELLED);
    FINE(jobyard_cancel(client, ids[0], kLimit, NULL, NULL, &error));
    GIVES(JOBYARD_UNKNOWN_JOB, jobyard_cancel(client, ids[2], kLimit, &outcome, &state, &error));
    job = job_of("report", "");
    running = submitted(client, &job);
    info = NULL;
    do { /* its progress tells that it runs */
        jobyard_free(info);
        NEEDED(jobyard_show(client, running, kLimit, &info, &error));
        CHECK(info->progress < 0 || (info->progress == 0.25 && info->progress_text[0] == 'p'));
    } while (info->progress < 0);
    CHECK(info->state == JOBYARD_STATE_RUNNING && same(info->worker, "here") && info->started_at >= info->created_at);
    CHECK(info->result_bytes < 0 && info->ended_at == 0 && info->token != 0);
    jobyard_free(info);
    GIVES(JOBYARD_NOT_WAITING, jobyard_change(client, running, &change, kLimit, &error));
    ids[1] = running;
    NEEDED(jobyard_cancel_all(client, ids, 3, kLimit, &answers, &error));
    CHECK(answers->items[0]->code == JOBYARD_ENDED && answers->items[0]->state == JOBYARD_STATE_CANCELLED);
    CHECK(answers->items[1]->code == JOBYARD_CANCEL_REQUESTED && answers->items[1]->job == running);
    CHECK(answers->items[2]->code == JOBYARD_UNKNOWN_JOB);
    jobyard_free(answers);
    FINE(jobyard_wait(client, running, kLimit, &result, &error));
    CHECK(result != NULL && result->state == JOBYARD_STATE_CANCELLED);
    jobyard_free(result);

    /* The dead, and back. */
    {
        char path[4096];
        snprintf(path, sizeof path, "%s/mended", directory);
        job = job_of("mend", path);
        job.retry.max_attempts = 1;
        NEEDED(jobyard_run(client, &job, kLimit, &result, &error));
        CHECK(result->state == JOBYARD_STATE_DEAD && result->reason == JOBYARD_REASON_FAILED);
        ids[0] = result->job;
        jobyard_free(result);
        GIVES(JOBYARD_NOT_DEAD, jobyard_redrive(client, running, kLimit, &error));
        open_gate("mended");
        FINE(jobyard_redrive(client, ids[0], kLimit, &error));
        NEEDED(jobyard_wait(client, ids[0], kLimit, &result, &error));
        CHECK(result->state == JOBYARD_STATE_COMPLETED && same(result->bytes, "mended"));
        jobyard_free(result);
        NEEDED(jobyard_redrive_all(client, ids, 3, kLimit, &answers, &error));
        CHECK(answers->items[0]->code == JOBYARD_NOT_DEAD && answers->items[2]->code == JOBYARD_UNKNOWN_JOB);
        jobyard_free(answers);

        /* Edited before it comes back. */
        job.payload = "/nowhere";
        job.payload_size = 8;
        NEEDED(jobyard_run(client, &job, kLimit, &result, &error));
        CHECK(result->state == JOBYARD_STATE_DEAD);
        ids[0] = result->job;
        jobyard_free(result);
        NEEDED(jobyard_payload(client, ids[0], kLimit, &payload, &error));
        CHECK(payload->size == 8 && same(payload->bytes, "/nowhere"));
        jobyard_free(payload);
        edit.payload = path;
        edit.payload_size = strlen(path);
        edit.retry.timeout_ms = 7000;
        FINE(jobyard_edit(client, ids[0], &edit, kLimit, &error));
        NEEDED(jobyard_show(client, ids[0], kLimit, &info, &error));
        CHECK(info->state == JOBYARD_STATE_DEAD && info->timeout_ms == 7000 && info->edited_at >= info->ended_at);
        jobyard_free(info);
        FINE(jobyard_redrive(client, ids[0], kLimit, &error));
        NEEDED(jobyard_wait(client, ids[0], kLimit, &result, &error));
        CHECK(result->state == JOBYARD_STATE_COMPLETED && same(result->bytes, "mended"));
        jobyard_free(result);
        GIVES(JOBYARD_NOT_DEAD, jobyard_edit(client, ids[0], &edit, kLimit, &error));
        GIVES(JOBYARD_ENDED, jobyard_payload(client, ids[0], kLimit, &payload, &error));
        CHECK(payload == NULL);
        NEEDED(jobyard_edit_all(client, ids, 3, &edit, kLimit, &answers, &error));
        CHECK(answers->items[1]->code == JOBYARD_NOT_DEAD && answers->items[2]->code == JOBYARD_UNKNOWN_JOB);
        jobyard_free(answers);
    }
    jobyard_client_free(client);
}

/* How many jobs there are on all pages; with `only` not 0 that is all that may be among them. */
static size_t listed(jobyard_client* client, const jobyard_job_filter* filter, uint64_t only) {
    jobyard_job_page* page = NULL;
    uint64_t cursor = 0;
    size_t seen = 0;
    size_t i;
    do {
        NEEDED(jobyard_list(client, filter, cursor, 2, kLimit, &page, &error));
        CHECK(page->count <= 2);
        for (i = 0; i < page->count; ++i) {
            CHECK(only == 0 || page->items[i]->id == only);
            CHECK(filter == NULL || filter->queue == NULL || same(page->items[i]->queue, filter->queue));
            CHECK(page->items[i]->attempt_count == 0);
        }
        seen += page->count;
        cursor = page->next_cursor;
        jobyard_free(page);
    } while (cursor != 0);
    return seen;
}

static void ask(void) {
    jobyard_client* client = open_client();
    jobyard_job job = job_of("wordy", "");
    jobyard_job_info* info = NULL;
    jobyard_result* result = NULL;
    jobyard_job_filter filter = JOBYARD_JOB_FILTER_INIT;
    jobyard_broker_stats* stats = NULL;
    uint64_t dead;
    int i;

    job.key = "long";
    NEEDED(jobyard_run(client, &job, kLimit, &result, &error));
    dead = result->job;
    jobyard_free(result);
    NEEDED(jobyard_show(client, dead, kLimit, &info, &error));
    CHECK(info->id == dead && same(info->queue, "default") && same(info->type, "wordy") && info->priority == 5);
    CHECK(info->state == JOBYARD_STATE_DEAD && jobyard_reason_from(info->reason) == JOBYARD_REASON_NOT_RETRYABLE);
    CHECK(info->attempt == 1 && info->max_attempts == 4 && info->timeout_ms == 300000 && info->errors == 1);
    CHECK(info->created_at > 1600000000000 && info->ended_at >= info->started_at && same(info->key, "long"));
    CHECK(info->due_at == 0 && !info->cancel_requested && info->progress < 0);
    CHECK(info->array == 0 && info->array_index < 0);
    CHECK(info->attempt_count == 1 && same(info->attempts[0]->worker, "here") && info->attempts[0]->attempt == 1);
    CHECK(same(info->attempts[0]->outcome, "failed") && strlen(info->attempts[0]->error) == 512);
    CHECK(info->attempts[0]->tail_size == 1024 && info->attempts[0]->tail[1023] == 't');
    jobyard_free(info);
    GIVES(JOBYARD_UNKNOWN_JOB, jobyard_show(client, 1000000000, kLimit, &info, &error));
    CHECK(info == NULL);

    job = job_of("echo", "");
    job.queue = "other";
    job.held = true;
    for (i = 0; i < 5; ++i) submitted(client, &job);
    filter.queue = "other";
    CHECK(listed(client, &filter, 0) == 5);
    filter = (jobyard_job_filter)JOBYARD_JOB_FILTER_INIT;
    filter.state = JOBYARD_STATE_DEAD;
    CHECK(listed(client, &filter, dead) == 1);
    filter.type = "echo";
    CHECK(listed(client, &filter, dead) == 0);
    CHECK(listed(client, NULL, 0) == 6);

    NEEDED(jobyard_stats(client, kLimit, &stats, &error));
    CHECK(stats->submitted_total == 6 && stats->dead == 1 && stats->dead_total == 1 && stats->workers == 1);
    CHECK(stats->submitters == 1 && stats->slots == 1 && stats->queue_count == 2 && stats->map_size > 100);
    CHECK(same(stats->queues[0]->name, "default") || same(stats->queues[1]->name, "default"));
    jobyard_free(stats);
    jobyard_client_free(client);
}

/* How many jobs of the array there are in that state. The index of each is one of `indices`, and of no other. */
static size_t listed_of(jobyard_client* client, uint64_t array, jobyard_state state, const int64_t indices[4]) {
    jobyard_job_filter filter = JOBYARD_JOB_FILTER_INIT;
    jobyard_job_page* page = NULL;
    uint64_t cursor = 0;
    int seen[4] = {0, 0, 0, 0};
    size_t count = 0;
    size_t i;
    int k;
    filter.array = array;
    filter.state = state;
    do {
        NEEDED(jobyard_list(client, &filter, cursor, 2, kLimit, &page, &error));
        for (i = 0; i < page->count; ++i) {
            CHECK(page->items[i]->array == array && page->items[i]->id != array);
            for (k = 0; k < 4 && indices[k] != page->items[i]->array_index;) ++k;
            CHECK(k < 4 && seen[k]++ == 0);
        }
        count += page->count;
        cursor = page->next_cursor;
        jobyard_free(page);
    } while (cursor != 0);
    return count;
}

static void arrays(void) {
    static const int64_t indices[4] = {7, 12, 17, 22};
    static const int64_t unlucky[4] = {7, 17, -2, -2};
    const uint64_t nothing = 1000000000;
    jobyard_client* client = open_client();
    char path[4096];
    jobyard_job job = JOBYARD_JOB_INIT;
    jobyard_job_filter filter = JOBYARD_JOB_FILTER_INIT;
    jobyard_submission* submission = NULL;
    jobyard_result* result = NULL;
    jobyard_array_info* info = NULL;
    jobyard_array_list* list = NULL;
    jobyard_job_info* shown = NULL;
    jobyard_bytes* payload = NULL;
    jobyard_code outcome = JOBYARD_INTERNAL;
    uint64_t first = 0;
    uint64_t again = 0;
    uint64_t gated;
    uint64_t number = 0;

    /* One of which two jobs fail for good. */
    snprintf(path, sizeof path, "%s/indices", directory);
    job = job_of("index", path);
    job.key = "mine";
    job.watch = true;
    job.array.count = 4;
    job.array.first = 7;
    job.array.step = 5;
    job.array.at_once = 2;
    job.array.name = "seeds";
    NEEDED(jobyard_submit(client, &job, &submission, &error));
    NEEDED(jobyard_submission_id(submission, kLimit, &first, &error));
    NEEDED(jobyard_submission_result(submission, kLimit, &result, &error));
    jobyard_submission_free(submission);
    CHECK(result->job == first && result->state == JOBYARD_STATE_DEAD && result->reason == JOBYARD_REASON_FAILED);
    CHECK(same(result->error, "2 dead of 4 jobs") && result->size == 0);
    jobyard_free(result);
    CHECK(submitted(client, &job) == first); /* its key names it */
    NEEDED(jobyard_array(client, first, kLimit, &info, &error));
    CHECK(info->array == first && same(info->name, "seeds") && same(info->queue, "default"));
    CHECK(same(info->type, "index") && same(info->key, "mine") && info->state == JOBYARD_STATE_DEAD);
    CHECK(info->created_at > 1600000000000 && info->ended_at >= info->created_at);
    CHECK(info->count == 4 && info->first == 7 && info->step == 5 && info->at_once == 2);
    CHECK(!info->making && info->made == 4 && info->waiting == 0 && info->running == 0);
    CHECK(info->completed == 2 && info->dead == 2 && info->cancelled == 0);
    CHECK(info->left_dead == 2 && info->left_cancelled == 0 && info->resubmits == 0 && info->resubmitted_as == 0);
    jobyard_free(info);
    CHECK(listed_of(client, first, JOBYARD_STATE_NONE, indices) == 4);
    CHECK(listed_of(client, first, JOBYARD_STATE_DEAD, unlucky) == 2);
    NEEDED(jobyard_show(client, first, kLimit, &shown, &error));
    CHECK(shown->id == first && shown->array == first && shown->array_index < 0);
    jobyard_free(shown);
    NEEDED(jobyard_payload(client, first, kLimit, &payload, &error));
    CHECK(same(payload->bytes, path));
    jobyard_free(payload);
    GIVES(JOBYARD_ENDED, jobyard_stop_array(client, first, kLimit, &error));

    /* What failed, once more; asked twice it is done once. */
    open_gate("indices.mended");
    NEEDED(jobyard_resubmit(client, first, false, kLimit, &again, &error));
    NEEDED(jobyard_resubmit(client, first, false, kLimit, &number, &error));
    CHECK(again != first && number == again);
    NEEDED(jobyard_wait(client, again, kLimit, &result, &error));
    CHECK(result->job == again && result->state == JOBYARD_STATE_COMPLETED);
    jobyard_free(result);
    CHECK(listed_of(client, again, JOBYARD_STATE_COMPLETED, unlucky) == 2);
    NEEDED(jobyard_array(client, again, kLimit, &info, &error));
    CHECK(info->count == 2 && info->completed == 2 && info->resubmits == first && same(info->name, "seeds"));
    CHECK(info->step == 0 && same(info->key, "") && info->state == JOBYARD_STATE_COMPLETED);
    jobyard_free(info);
    NEEDED(jobyard_array(client, first, kLimit, &info, &error));
    CHECK(info->resubmitted_as == again && info->left_dead == 0 && info->dead == 2);
    jobyard_free(info);
    GIVES(JOBYARD_NOT_DEAD, jobyard_resubmit(client, again, true, kLimit, &number, &error));

    /* Stopped when one job is made, which is cancelled, and made again. */
    job = job_of("gated", "");
    job.array.count = 1000;
    job.array.at_once = 1;
    gated = submitted(client, &job);
    info = NULL;
    do {
        jobyard_free(info);
        NEEDED(jobyard_array(client, gated, kLimit, &info, &error));
    } while (info->made == 0);
    CHECK(info->made == 1 && info->making && info->waiting + info->running == 1 && info->ended_at == 0);
    CHECK(info->state == JOBYARD_STATE_RUNNING && info->first == 0 && info->step == 1 && same(info->name, ""));
    jobyard_free(info);
    FINE(jobyard_stop_array(client, gated, kLimit, &error));
    GIVES(JOBYARD_ENDED, jobyard_stop_array(client, gated, kLimit, &error));
    number = 77;
    GIVES(JOBYARD_NOT_DEAD, jobyard_resubmit(client, gated, true, kLimit, &number, &error));
    CHECK(number == 77);
    FINE(jobyard_cancel(client, gated, kLimit, &outcome, NULL, &error));
    CHECK(outcome == JOBYARD_CANCEL_REQUESTED);
    NEEDED(jobyard_wait(client, gated, kLimit, &result, &error));
    CHECK(result->state == JOBYARD_STATE_CANCELLED);
    jobyard_free(result);
    NEEDED(jobyard_array(client, gated, kLimit, &info, &error));
    CHECK(info->count == 1000 && info->made == 1 && !info->making && info->state == JOBYARD_STATE_CANCELLED);
    CHECK(info->cancelled == 1 && info->left_cancelled == 1);
    jobyard_free(info);
    GIVES(JOBYARD_NOT_DEAD, jobyard_resubmit(client, gated, false, kLimit, &number, &error));
    NEEDED(jobyard_resubmit(client, gated, true, kLimit, &number, &error));
    open_gate("gate");
    NEEDED(jobyard_wait(client, number, kLimit, &result, &error));
    CHECK(result->state == JOBYARD_STATE_COMPLETED);
    jobyard_free(result);

    NEEDED(jobyard_arrays(client, kLimit, &list, &error));
    CHECK(list->count == 4 && list->items[0]->array == number && list->items[0]->resubmits == gated);
    CHECK(list->items[1]->array == gated && list->items[2]->array == again && list->items[3]->array == first);
    CHECK(same(list->items[3]->name, "seeds") && list->items[3]->resubmitted_as == again);
    jobyard_free(list);

    /* A program that was compiled before there were arrays: what is behind its structs is not read. */
    job = job_of("echo", "");
    job.array.count = 4;
    job.size = offsetof(jobyard_job, array);
    number = submitted(client, &job);
    NEEDED(jobyard_show(client, number, kLimit, &shown, &error));
    CHECK(shown->array == 0 && shown->array_index < 0);
    jobyard_free(shown);
    filter.type = "echo";
    filter.array = nothing;
    CHECK(listed(client, &filter, 0) == 0);
    filter.size = offsetof(jobyard_job_filter, array);
    CHECK(listed(client, &filter, number) == 1);

    /* What is none. */
    GIVES(JOBYARD_UNKNOWN_JOB, jobyard_array(client, nothing, kLimit, &info, &error));
    CHECK(info == NULL);
    GIVES(JOBYARD_UNKNOWN_JOB, jobyard_stop_array(client, nothing, kLimit, &error));
    GIVES(JOBYARD_UNKNOWN_JOB, jobyard_resubmit(client, nothing, false, kLimit, &number, &error));
    job.size = sizeof job;
    job.array.step = 0;
    NEEDED(jobyard_submit(client, &job, &submission, &error));
    GIVES(JOBYARD_BAD_FIELD, jobyard_submission_id(submission, kLimit, NULL, &error));
    SAYS("step");
    jobyard_submission_free(submission);
    job.array.step = 1;
    job.array.name = "a\nb";
    NEEDED(jobyard_submit(client, &job, &submission, &error));
    GIVES(JOBYARD_BAD_FIELD, jobyard_submission_id(submission, kLimit, NULL, &error));
    SAYS("array.name");
    jobyard_submission_free(submission);
    jobyard_client_free(client);
}

static void queues(void) {
    jobyard_client* client = open_client();
    jobyard_queue_change change = JOBYARD_QUEUE_CHANGE_INIT;
    jobyard_queue_info* queue = NULL;
    jobyard_queue_list* list = NULL;
    jobyard_task task = JOBYARD_TASK_INIT;
    jobyard_task_info* info = NULL;
    jobyard_task_list* tasks = NULL;
    jobyard_job job = job_of("echo", "");
    uint64_t number = 0;
    int i;

    change.paused = 1;
    change.by = "me";
    change.why = "a look";
    change.max_running = 3;
    change.retry.max_attempts = 7;
    change.retry.timeout_ms = 0;
    FINE(jobyard_set_queue(client, "mail", NULL, &change, kLimit, &error));
    change = (jobyard_queue_change)JOBYARD_QUEUE_CHANGE_INIT;
    change.retry.backoff_max_ms = 5000;
    FINE(jobyard_set_queue(client, "mail", "letter", &change, kLimit, &error));
    NEEDED(jobyard_queue(client, "mail", kLimit, &queue, &error));
    CHECK(same(queue->name, "mail") && queue->paused && queue->paused_at != 0);
    CHECK(same(queue->paused_by, "me") && same(queue->paused_why, "a look") && queue->max_running == 3);
    CHECK(queue->retry.max_attempts == 7 && queue->retry.timeout_ms == 0);
    CHECK(queue->retry.backoff_initial_ms == JOBYARD_UNSAID && queue->retry.backoff_jitter_percent == JOBYARD_UNSAID);
    CHECK(queue->type_count == 1 && same(queue->types[0]->type, "letter"));
    CHECK(queue->types[0]->retry.backoff_max_ms == 5000 && queue->types[0]->retry.max_attempts == JOBYARD_UNSAID);
    jobyard_free(queue);
    change = (jobyard_queue_change)JOBYARD_QUEUE_CHANGE_INIT;
    change.paused = 0;
    change.retry.max_attempts = JOBYARD_UNSET;
    FINE(jobyard_set_queue(client, "mail", NULL, &change, kLimit, &error));
    NEEDED(jobyard_queues(client, kLimit, &list, &error));
    CHECK(list->count == 1 && same(list->items[0]->name, "mail") && !list->items[0]->paused);
    CHECK(list->items[0]->retry.max_attempts == JOBYARD_UNSAID && list->items[0]->retry.timeout_ms == 0);
    jobyard_free(list);
    GIVES(JOBYARD_UNKNOWN_QUEUE, jobyard_queue(client, "nowhere", kLimit, &queue, &error));
    CHECK(queue == NULL);

    /* Many jobs at once. There is no worker of this queue. */
    job.queue = "mail";
    for (i = 0; i < 4; ++i) submitted(client, &job);
    task.queue = "mail";
    task.by = "me";
    NEEDED(jobyard_start_task(client, &task, kLimit, &number, &error)); /* as it is, it counts */
    for (i = 0; i < 2; ++i) {
        do {
            jobyard_free(info);
            NEEDED(jobyard_show_task(client, number, kLimit, &info, &error));
        } while (same(info->state, "running"));
        CHECK(same(info->action, "cancel") && same(info->state, "done") && same(info->queue, "mail"));
        CHECK(info->task == number && info->done == 4 && info->count_only == (i == 0) && same(info->by, "me"));
        CHECK(info->started_at != 0 && info->ended_at >= info->started_at);
        task.count_only = false;
        if (i == 0) NEEDED(jobyard_start_task(client, &task, kLimit, &number, &error));
    }
    jobyard_free(info);
    NEEDED(jobyard_tasks(client, kLimit, &tasks, &error));
    CHECK(tasks->count == 2 && tasks->items[0]->task == number && tasks->items[0]->done == 4);
    jobyard_free(tasks);
    GIVES(JOBYARD_ENDED, jobyard_stop_task(client, number, kLimit, &error));
    GIVES(JOBYARD_UNKNOWN_TASK, jobyard_show_task(client, 99, kLimit, &info, &error));
    task = (jobyard_task)JOBYARD_TASK_INIT;
    task.action = JOBYARD_TASK_PURGE;
    task.jobs = &number;
    task.job_count = 1;
    task.reason = JOBYARD_REASON_FAILED;
    task.error = "0123456789abcdef";
    FINE(jobyard_start_task(client, &task, kLimit, &number, &error));
    jobyard_client_free(client);
}

static void watch(void) {
    jobyard_client* client = open_client();
    jobyard_job job = job_of("gated", "");
    jobyard_event_filter filter = JOBYARD_EVENT_FILTER_INIT;
    jobyard_event_kind kinds[2] = {JOBYARD_EVENT_SUBMITTED, JOBYARD_EVENT_COMPLETED};
    jobyard_event_page* page = NULL;
    jobyard_worker_list* workers = NULL;
    uint64_t id;
    uint64_t after;
    size_t count = 0;

    NEEDED(jobyard_events(client, NULL, JOBYARD_FROM_NOW, 0, 10, kLimit, &page, &error));
    CHECK(page->count == 0 && page->gone == 0 && !page->more);
    after = page->last;
    jobyard_free(page);
    filter.kinds = kinds;
    filter.kind_count = 2;
    id = submitted(client, &job);
    NEEDED(jobyard_events(client, &filter, after, 30000, 10, kLimit, &page, &error));
    CHECK(page->count == 1 && page->items[0]->job == id && page->items[0]->event > after && page->items[0]->at != 0);
    CHECK(jobyard_event_from(page->items[0]->kind) == JOBYARD_EVENT_SUBMITTED && same(page->items[0]->type, "gated"));
    after = page->last;
    jobyard_free(page);

    do { /* until it is there, and has it */
        jobyard_free(workers);
        NEEDED(jobyard_workers(client, "here", kLimit, &workers, &error));
    } while (workers->count == 0 || workers->items[0]->job_count == 0);
    CHECK(workers->count == 1);
    CHECK(same(workers->items[0]->name, "here") && same(workers->items[0]->state, "busy"));
    CHECK(workers->items[0]->jobs[0] == id && workers->items[0]->slots == 1 && workers->items[0]->running == 1);
    CHECK(workers->items[0]->queue_count == 1 && same(workers->items[0]->queues[0], "default"));
    CHECK(workers->items[0]->type_count > 5 && workers->items[0]->type_count == workers->items[0]->types_total);
    CHECK(workers->items[0]->connected_at != 0 && workers->items[0]->software[0] != '\0');
    CHECK(workers->items[0]->host[0] != '\0' && workers->items[0]->pid > 1);
    jobyard_free(workers);
    NEEDED(jobyard_drain(client, "here", kLimit, &count, &error));
    CHECK(count == 1);
    NEEDED(jobyard_workers(client, NULL, kLimit, &workers, &error));
    CHECK(workers->count == 1 && workers->items[0]->draining && workers->items[0]->job_count == 0);
    jobyard_free(workers);
    FINE(jobyard_resume(client, "here", kLimit, NULL, &error));
    GIVES(JOBYARD_UNKNOWN_WORKER, jobyard_drain(client, "nobody", kLimit, &count, &error));

    filter.job = id;
    open_gate("gate");
    NEEDED(jobyard_events(client, &filter, after, 30000, 10, kLimit, &page, &error));
    CHECK(page->count == 1 && same(page->items[0]->kind, "completed") && page->items[0]->job == id);
    jobyard_free(page);
    jobyard_client_free(client);
}

/* Nobody listens at the endpoint. */
static void away(void) {
    jobyard_client_options options = JOBYARD_CLIENT_OPTIONS_INIT;
    jobyard_client* client = NULL;
    jobyard_job job = job_of("echo", "");
    jobyard_submission* submission = NULL;
    jobyard_submission* second = NULL;
    jobyard_result* result = NULL;
    jobyard_results* results = NULL;
    jobyard_job_info* info = NULL;
    uint64_t ids[2] = {1, 2};
    uint64_t id = 77;
    pid_t child;
    int status = 0;

    options.broker = endpoint;
    options.max_pending = 1;
    options.linger_ms = 0;
    options.submit_limit_ms = JOBYARD_NO_LIMIT;
    NEEDED(jobyard_client_open(&options, &client, &error));
    GIVES(JOBYARD_TIMEOUT, jobyard_client_connect(client, 10, &error));
    SAYS(endpoint);
    NEEDED(jobyard_try_submit(client, &job, &submission, &error));
    GIVES(JOBYARD_TIMEOUT, jobyard_submission_id(submission, 10, &id, &error));
    SAYS("cannot be reached");
    CHECK(id == 77 && !jobyard_submission_has_id(submission) && jobyard_client_pending(client) == 1);
    GIVES(JOBYARD_NOT_ACCEPTED, jobyard_try_submit(client, &job, &second, &error));
    CHECK(second == NULL);
    GIVES(JOBYARD_TIMEOUT, jobyard_show(client, 1, 10, &info, &error));
    GIVES(JOBYARD_TIMEOUT, jobyard_wait(client, 1, 0, &result, &error));
    NEEDED(jobyard_wait_all(client, ids, 2, 10, &results, &error));
    CHECK(results->count == 2 && results->items[1]->code == JOBYARD_TIMEOUT);
    jobyard_free(results);
    CHECK(jobyard_stats(client, 0, NULL, NULL) == JOBYARD_BAD_FIELD); /* nobody need ask why */

    /* A child has to open its own. */
    child = fork();
    if (child == 0) _exit(jobyard_client_connect(client, 0, NULL) == JOBYARD_FORKED ? 0 : 1);
    CHECK(waitpid(child, &status, 0) == child && status == 0);

    GIVES(JOBYARD_TIMEOUT, jobyard_client_close(client, 0, &error));
    GIVES(JOBYARD_CLOSED, jobyard_submission_id(submission, 10, &id, &error));
    jobyard_client_free(client);
    GIVES(JOBYARD_CLOSED, jobyard_submission_id(submission, 10, &id, &error)); /* it outlives its client */
    jobyard_submission_free(submission);

    /* An endpoint that is none: every call says so. */
    options.broker = "nonsense";
    NEEDED(jobyard_client_open(&options, &client, &error));
    CHECK(jobyard_client_connect(client, JOBYARD_LIMIT_MS, &error) != JOBYARD_OK);
    SAYS("nonsense");
    jobyard_client_free(client);
}

/* Wrong arguments. */
static void wrong(void) {
    jobyard_client_options options = JOBYARD_CLIENT_OPTIONS_INIT;
    jobyard_client* client = NULL;
    jobyard_job job = JOBYARD_JOB_INIT;
    jobyard_job jobs[2] = {JOBYARD_JOB_INIT, JOBYARD_JOB_INIT};
    jobyard_job_change change = JOBYARD_JOB_CHANGE_INIT;
    jobyard_job_edit edit = JOBYARD_JOB_EDIT_INIT;
    jobyard_job_filter filter = JOBYARD_JOB_FILTER_INIT;
    jobyard_queue_change queue = JOBYARD_QUEUE_CHANGE_INIT;
    jobyard_task task = JOBYARD_TASK_INIT;
    jobyard_event_filter events = JOBYARD_EVENT_FILTER_INIT;
    jobyard_submission* submission = NULL;
    jobyard_submission* two[2];
    jobyard_result* result = NULL;
    jobyard_results* results = NULL;
    jobyard_answers* answers = NULL;
    jobyard_job_page* page = NULL;
    jobyard_event_page* event_page = NULL;
    char long_name[600];
    char digits[17];
    uint64_t id = 1;

    GIVES(JOBYARD_BAD_FIELD, jobyard_client_open(&options, NULL, &error));
    SAYS("client is NULL");
    options.size = 0;
    GIVES(JOBYARD_BAD_FIELD, jobyard_client_open(&options, &client, &error));
    SAYS("INIT");
    options.size = sizeof options + 8;
    GIVES(JOBYARD_BAD_FIELD, jobyard_client_open(&options, &client, &error));
    SAYS("newer");
    CHECK(client == NULL);
    options = (jobyard_client_options)JOBYARD_CLIENT_OPTIONS_INIT;
    options.broker = endpoint;
    options.linger_ms = 0;
    NEEDED(jobyard_client_open(&options, &client, &error));

    /* A pointer that is needed and is not there. */
    job.type = "echo";
#define NEEDS(name, call)           \
    GIVES(JOBYARD_BAD_FIELD, call); \
    SAYS(name " is NULL")
    NEEDS("client", jobyard_client_connect(NULL, 0, &error));
    NEEDS("client", jobyard_client_close(NULL, 0, &error));
    NEEDS("client", jobyard_submit(NULL, &job, &submission, &error));
    NEEDS("jobs", jobyard_submit(client, NULL, &submission, &error));
    NEEDS("jobs", jobyard_submit_all(client, NULL, 2, two, &error));
    CHECK(two[0] == NULL && two[1] == NULL);
    NEEDS("job", jobyard_try_submit(client, NULL, &submission, &error));
    NEEDS("job", jobyard_run(client, NULL, 0, &result, &error));
    NEEDS("result", jobyard_run(client, &job, 0, NULL, &error));
    NEEDS("submission", jobyard_submission_id(NULL, 0, &id, &error));
    NEEDS("submission", jobyard_submission_result(NULL, 0, &result, &error));
    NEEDS("jobs", jobyard_watch(client, NULL, 1, 0, &submission, &error));
    NEEDS("submissions", jobyard_watch(client, &id, 1, 0, NULL, &error));
    NEEDS("result", jobyard_wait(client, 1, 0, NULL, &error));
    NEEDS("results", jobyard_wait_all(client, &id, 1, 0, NULL, &error));
    NEEDS("jobs", jobyard_wait_all(client, NULL, 1, 0, &results, &error));
    NEEDS("client", jobyard_cancel(NULL, 1, 0, NULL, NULL, &error));
    NEEDS("answers", jobyard_cancel_all(client, &id, 1, 0, NULL, &error));
    NEEDS("client", jobyard_redrive(NULL, 1, 0, &error));
    NEEDS("jobs", jobyard_redrive_all(client, NULL, 1, 0, &answers, &error));
    NEEDS("change", jobyard_change(client, 1, NULL, 0, &error));
    NEEDS("change", jobyard_change_all(client, &id, 1, NULL, 0, &answers, &error));
    NEEDS("edit", jobyard_edit(client, 1, NULL, 0, &error));
    NEEDS("edit", jobyard_edit_all(client, &id, 1, NULL, 0, &answers, &error));
    NEEDS("info", jobyard_show(client, 1, 0, NULL, &error));
    NEEDS("payload", jobyard_payload(client, 1, 0, NULL, &error));
    NEEDS("page", jobyard_list(client, NULL, 0, 10, 0, NULL, &error));
    NEEDS("arrays", jobyard_arrays(client, 0, NULL, &error));
    NEEDS("info", jobyard_array(client, 1, 0, NULL, &error));
    NEEDS("client", jobyard_stop_array(NULL, 1, 0, &error));
    NEEDS("number", jobyard_resubmit(client, 1, false, 0, NULL, &error));
    NEEDS("queue", jobyard_set_queue(client, NULL, NULL, &queue, 0, &error));
    NEEDS("change", jobyard_set_queue(client, "q", NULL, NULL, 0, &error));
    NEEDS("queues", jobyard_queues(client, 0, NULL, &error));
    NEEDS("name", jobyard_queue(client, NULL, 0, NULL, &error));
    NEEDS("task", jobyard_start_task(client, NULL, 0, &id, &error));
    NEEDS("number", jobyard_start_task(client, &task, 0, NULL, &error));
    NEEDS("tasks", jobyard_tasks(client, 0, NULL, &error));
    NEEDS("task", jobyard_show_task(client, 1, 0, NULL, &error));
    NEEDS("client", jobyard_stop_task(NULL, 1, 0, &error));
    NEEDS("stats", jobyard_stats(client, 0, NULL, &error));
    NEEDS("page", jobyard_events(client, NULL, 0, 0, 10, 0, NULL, &error));
    NEEDS("workers", jobyard_workers(client, NULL, 0, NULL, &error));
    NEEDS("name", jobyard_drain(client, NULL, 0, NULL, &error));
    NEEDS("name", jobyard_resume(client, NULL, 0, NULL, &error));
    NEEDS("type", jobyard_fingerprint(NULL, "", digits, &error));

    /* A struct that was not initialised, or is not of this library. */
    job.size = 0;
    GIVES(JOBYARD_BAD_FIELD, jobyard_submit(client, &job, &submission, &error));
    SAYS("INIT");
    jobs[0].type = jobs[1].type = "echo";
    jobs[1].size = 0;
    GIVES(JOBYARD_BAD_FIELD, jobyard_submit_all(client, jobs, 2, two, &error));
    job.size = offsetof(jobyard_job, array) - 8; /* there never was one like this */
    GIVES(JOBYARD_BAD_FIELD, jobyard_submit(client, &job, &submission, &error));
    SAYS("INIT");
    change.size = 4;
    GIVES(JOBYARD_BAD_FIELD, jobyard_change(client, 1, &change, 0, &error));
    edit.size = 4;
    GIVES(JOBYARD_BAD_FIELD, jobyard_edit(client, 1, &edit, 0, &error));
    filter.size = 0;
    GIVES(JOBYARD_BAD_FIELD, jobyard_list(client, &filter, 0, 10, 0, &page, &error));
    queue.size = 0;
    GIVES(JOBYARD_BAD_FIELD, jobyard_set_queue(client, "q", NULL, &queue, 0, &error));
    task.size = 0;
    GIVES(JOBYARD_BAD_FIELD, jobyard_start_task(client, &task, 0, &id, &error));
    events.size = 0;
    GIVES(JOBYARD_BAD_FIELD, jobyard_events(client, &events, 0, 0, 10, 0, &event_page, &error));

    /* Values that are none. */
#define REFUSES(name, call)         \
    GIVES(JOBYARD_BAD_FIELD, call); \
    SAYS(name)
    job = (jobyard_job)JOBYARD_JOB_INIT;
    job.type = "echo";
    job.priority = 261; /* which is 5 in a byte */
    REFUSES("priority 261", jobyard_submit(client, &job, &submission, &error));
    job.priority = 5;
    job.retry.max_attempts = JOBYARD_UNSET;
    REFUSES("max_attempts -2", jobyard_submit(client, &job, &submission, &error));
    job.retry.max_attempts = (int64_t)UINT32_MAX + 5;
    REFUSES("max_attempts 4294967300", jobyard_submit(client, &job, &submission, &error));
    job.retry.max_attempts = JOBYARD_UNSAID;
    job.key_ttl_ms = -1;
    REFUSES("key_ttl_ms", jobyard_submit(client, &job, &submission, &error));
    job.key_ttl_ms = 0;
    job.payload_size = 1;
    REFUSES("payload is NULL", jobyard_submit(client, &job, &submission, &error));
    CHECK(submission == NULL);
    change = (jobyard_job_change)JOBYARD_JOB_CHANGE_INIT;
    change.held = 2;
    REFUSES("held 2", jobyard_change(client, 1, &change, 0, &error));
    edit = (jobyard_job_edit)JOBYARD_JOB_EDIT_INIT;
    edit.priority = 11;
    REFUSES("priority 11", jobyard_edit(client, 1, &edit, 0, &error));
    edit.priority = 0;
    edit.payload_size = 1;
    REFUSES("payload is NULL", jobyard_edit(client, 1, &edit, 0, &error));
    edit.payload_size = 0;
    edit.retry.timeout_ms = JOBYARD_UNSET;
    REFUSES("timeout_ms -2", jobyard_edit(client, 1, &edit, 0, &error));
    queue = (jobyard_queue_change)JOBYARD_QUEUE_CHANGE_INIT;
    queue.paused = -2;
    REFUSES("paused -2", jobyard_set_queue(client, "q", NULL, &queue, 0, &error));
    queue.paused = JOBYARD_UNSAID;
    queue.max_running = -7;
    REFUSES("max_running -7", jobyard_set_queue(client, "q", NULL, &queue, 0, &error));
    task = (jobyard_task)JOBYARD_TASK_INIT;
    task.job_count = 1;
    REFUSES("jobs", jobyard_start_task(client, &task, 0, &id, &error));
    events = (jobyard_event_filter)JOBYARD_EVENT_FILTER_INIT;
    events.kind_count = 1;
    REFUSES("kinds", jobyard_events(client, &events, 0, 0, 10, 0, &event_page, &error));

    /* And those that the library or the broker knows: a text that is too long is cut between two characters. */
    job = (jobyard_job)JOBYARD_JOB_INIT;
    NEEDED(jobyard_submit(client, &job, &submission, &error));
    REFUSES("type", jobyard_submission_id(submission, kLimit, &id, &error));
    jobyard_submission_free(submission);
    memset(long_name, 'n', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    job.type = long_name;
    NEEDED(jobyard_submit(client, &job, &submission, &error));
    REFUSES("expected 1 to 255 bytes", jobyard_submission_id(submission, kLimit, &id, &error));
    jobyard_submission_free(submission);
    job.type = "echo";
    job.retry.max_attempts = 5000;
    REFUSES("max_attempts", jobyard_run(client, &job, kLimit, &result, &error));
    task = (jobyard_task)JOBYARD_TASK_INIT;
    task.action = (jobyard_task_action)0;
    REFUSES("action", jobyard_start_task(client, &task, kLimit, &id, &error));
    jobyard_client_free(client);
}

/* More is asked for than any memory has. */
static void memory(void) {
    jobyard_client* client = open_client();
    jobyard_job job = job_of("echo", "");
    jobyard_submission* submission = NULL;
    jobyard_answers* answers = NULL;
    const uint64_t id = 1;

    job.payload = "";
    job.payload_size = (size_t)1 << 50;
    GIVES(JOBYARD_NO_MEMORY, jobyard_submit(client, &job, &submission, &error));
    CHECK(submission == NULL);
    GIVES(JOBYARD_NO_MEMORY, jobyard_cancel_all(client, &id, (size_t)1 << 50, 0, &answers, &error));
    CHECK(answers == NULL);
    jobyard_client_free(client);
}

int main(int argc, char** argv) {
    static const struct {
        const char* name;
        void (*run)(void);
    } scenarios[] = {{"words", words},   {"submit", submit}, {"steer", steer}, {"ask", ask},     {"arrays", arrays},
                     {"queues", queues}, {"watch", watch},   {"away", away},   {"wrong", wrong}, {"memory", memory}};
    size_t i;
    if (argc != 4) return 2;
    endpoint = argv[2];
    directory = argv[3];
    for (i = 0; i < sizeof scenarios / sizeof scenarios[0]; ++i) {
        if (!same(argv[1], scenarios[i].name)) continue;
        scenarios[i].run();
        return failures == 0 ? 0 : 1;
    }
    return 2;
}
