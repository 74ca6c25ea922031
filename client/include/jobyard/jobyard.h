#ifndef JOBYARD_JOBYARD_H
#define JOBYARD_JOBYARD_H
/*
 * The client library for C (C99): submitting jobs, waiting for them, steering and asking. It is the interface of
 * client.hpp, call for call; what a field or an answer means in detail stands there and in PROTOCOL.md.
 *
 *     jobyard_error error;
 *     jobyard_client *client;
 *     if (jobyard_client_open(NULL, &client, &error) != JOBYARD_OK) ...
 *     jobyard_job job = JOBYARD_JOB_INIT;
 *     job.type = "resize";
 *     job.payload = bytes;
 *     job.payload_size = size;
 *     jobyard_result *result;
 *     if (jobyard_run(client, &job, JOBYARD_LIMIT_MS, &result, &error) != JOBYARD_OK) ...
 *     ...
 *     jobyard_free(result);
 *     jobyard_client_free(client);
 *
 * Errors. A function that can fail returns JOBYARD_OK or says why not, and then has changed none of its results, except
 * that a pointer it was to set is NULL. With `error` not NULL it is written on every call: the code again, and a text
 * for people (what is wrong, what was expected, what to do). A required pointer that is NULL, and a struct that was not
 * initialised, are JOBYARD_BAD_FIELD. Too little memory for what a call copies or answers is JOBYARD_NO_MEMORY; where
 * there is not even enough for the client's own thread, or for libzmq, the process ends, as in C++. Nothing is thrown.
 *
 * Ownership. What is passed in is copied, or used only during the call: it stays yours. Answers (jobyard_result,
 * jobyard_job_page, ...) are yours, with all that they point to, until one jobyard_free() of the answer itself.
 * Clients and submissions have a free of their own. All these take NULL and do nothing then.
 *
 * Texts are UTF-8 and end with a 0. In what is passed in, NULL and "" both mean: not said. In an answer no text is
 * NULL; what does not apply is "" or 0. Payloads and results are any bytes, with their length.
 *
 * Time limits are milliseconds from the call, after which it returns JOBYARD_TIMEOUT. 0 only looks; JOBYARD_NO_LIMIT
 * waits as long as it takes. Times of day are milliseconds since 1970 UTC by the broker's clock.
 *
 * Threads. A client and a submission may be used from several threads at once, but for their free. Everything else
 * belongs to whoever has it. The client has a thread of its own, which never runs your code. In a child process after
 * fork() every call is JOBYARD_FORKED: open a client there. A thread that is in a call must not be cancelled
 * (pthread_cancel).
 *
 * Growth. Structs that are passed in begin with their size and are initialised with their JOBYARD_..._INIT, so that a
 * later version can append fields; a program that was compiled before keeps its meaning. Answers may have fields
 * appended too: do not copy them as a whole into arrays of your own.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define JOBYARD_C_API __attribute__((visibility("default")))
#else
#define JOBYARD_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- words ------------------------------------------------------------------------------------------------------ */

/* Stable numbers, the same as on the wire. PROTOCOL.md, "Codes", says for each what to do. */
typedef enum jobyard_code {
    JOBYARD_OK = 0,
    JOBYARD_EXISTING = 1,
    JOBYARD_CONFLICT = 2, /* the key names a job with other content */
    JOBYARD_STALE_LEASE = 3,
    JOBYARD_RETIRED = 4,     /* the job ended and retention removed it */
    JOBYARD_UNKNOWN_JOB = 5, /* no such job was ever made here */
    JOBYARD_ENDED = 6,       /* it has ended already */
    JOBYARD_CANCEL_REQUESTED = 7,
    JOBYARD_NOT_DEAD = 8,    /* redrive, edit: it is not in the dead letter queue */
    JOBYARD_BUSY = 9,        /* a bound was reached: try again after error.retry_after_ms */
    JOBYARD_QUEUE_FULL = 10, /* likewise */
    JOBYARD_DISK_FULL = 11,  /* likewise */
    JOBYARD_TOO_LARGE = 12,  /* the text names the size and the limit */
    JOBYARD_BAD_FIELD = 13,  /* the text names the field and what was expected */
    JOBYARD_BAD_MESSAGE = 14,
    JOBYARD_UNKNOWN_MESSAGE = 15, /* the broker is older than this library and does not know this */
    JOBYARD_VERSION_NOT_SPOKEN = 16,
    JOBYARD_NO_SESSION = 17,
    JOBYARD_REPLACED = 18,
    JOBYARD_NOT_ALLOWED = 19,     /* this key may not do that, or is not known to the broker */
    JOBYARD_OUTCOME_UNKNOWN = 20, /* it cannot be known whether the submit was taken */
    JOBYARD_TIMEOUT = 21,         /* no answer within the time limit */
    JOBYARD_CLOSED = 22,          /* the client was closed */
    JOBYARD_FORKED = 23,          /* the client belongs to the parent process */
    JOBYARD_NOT_ACCEPTED = 24,    /* jobyard_try_submit: there is no room */
    JOBYARD_INTERNAL = 25,        /* the system refused something the library needs */
    JOBYARD_UNKNOWN_WORKER = 26,
    JOBYARD_NOT_WAITING = 27, /* change: the job runs */
    JOBYARD_UNKNOWN_QUEUE = 28,
    JOBYARD_UNKNOWN_TASK = 29,
    JOBYARD_OVER_QUOTA = 30, /* this key, or this queue, has as much as it may: try again, as BUSY */
    JOBYARD_NO_MEMORY = 256  /* of this interface only */
} jobyard_code;

typedef enum jobyard_state {
    JOBYARD_STATE_NONE = 0, /* not known; in a filter: any */
    JOBYARD_STATE_SCHEDULED = 1,
    JOBYARD_STATE_QUEUED = 3,
    JOBYARD_STATE_ASSIGNED = 4,
    JOBYARD_STATE_RUNNING = 5,
    JOBYARD_STATE_RETRYING = 6,
    JOBYARD_STATE_COMPLETED = 7,
    JOBYARD_STATE_DEAD = 8, /* in the dead letter queue */
    JOBYARD_STATE_CANCELLED = 9,
    JOBYARD_STATE_RETIRED = 10
} jobyard_state;

/* Why a job is dead, or what it waits for. */
typedef enum jobyard_reason {
    JOBYARD_REASON_NONE = 0, /* in a filter: any */
    JOBYARD_REASON_FAILED = 1,
    JOBYARD_REASON_NOT_RETRYABLE = 2,
    JOBYARD_REASON_CRASH_LOOP = 3,
    JOBYARD_REASON_EXPIRED = 4,
    JOBYARD_REASON_NO_WORKER = 16,
    JOBYARD_REASON_NO_FREE_SLOT = 17,
    JOBYARD_REASON_CLAIM_WINDOW = 18,
    JOBYARD_REASON_DISK_FULL = 19,
    JOBYARD_REASON_DELAYED = 20,
    JOBYARD_REASON_BACKOFF = 21,
    JOBYARD_REASON_HELD = 22,
    JOBYARD_REASON_QUEUE_PAUSED = 23,
    JOBYARD_REASON_QUEUE_LIMIT = 24
} jobyard_reason;

typedef enum jobyard_event_kind {
    JOBYARD_EVENT_NONE = 0, /* one that this library does not know */
    JOBYARD_EVENT_SUBMITTED = 1,
    JOBYARD_EVENT_COMPLETED = 2,
    JOBYARD_EVENT_FAILED = 3, /* an attempt; another follows */
    JOBYARD_EVENT_DEAD = 4,
    JOBYARD_EVENT_CANCELLED = 5,
    JOBYARD_EVENT_CANCEL_REQUESTED = 6,
    JOBYARD_EVENT_REDRIVEN = 7,
    JOBYARD_EVENT_WORKER_LOST = 8, /* an attempt ended with its worker; another follows */
    JOBYARD_EVENT_RELEASED = 9,
    JOBYARD_EVENT_RETIRED = 10,
    JOBYARD_EVENT_CHANGED = 11,
    JOBYARD_EVENT_WORKER_JOINED = 32,
    JOBYARD_EVENT_WORKER_LEFT = 33,
    JOBYARD_EVENT_WORKER_DRAINED = 34,
    JOBYARD_EVENT_WORKER_RESUMED = 35,
    JOBYARD_EVENT_QUEUE_PAUSED = 48,
    JOBYARD_EVENT_QUEUE_RESUMED = 49,
    JOBYARD_EVENT_QUEUE_SET = 50,
    JOBYARD_EVENT_ARRAY_SUBMITTED = 64, /* of arrays, with the array's number as `job` */
    JOBYARD_EVENT_ARRAY_STOPPED = 65,
    JOBYARD_EVENT_ARRAY_ENDED = 66
} jobyard_event_kind;

typedef enum jobyard_task_action {
    JOBYARD_TASK_CANCEL = 1,  /* unended jobs */
    JOBYARD_TASK_REDRIVE = 2, /* dead ones */
    JOBYARD_TASK_PURGE = 3    /* dead ones: removed for good */
} jobyard_task_action;

/* The word for it, as PROTOCOL.md, the command line and the texts of answers write it ("stale_lease"); "unknown" for a
 * number that is none. Static: never freed. */
JOBYARD_C_API const char* jobyard_code_word(jobyard_code code);
JOBYARD_C_API const char* jobyard_state_word(jobyard_state state);
JOBYARD_C_API const char* jobyard_reason_word(jobyard_reason reason);
JOBYARD_C_API const char* jobyard_event_word(jobyard_event_kind kind);
/* And back; ..._NONE for what is no such word, or NULL. */
JOBYARD_C_API jobyard_state jobyard_state_from(const char* word);
JOBYARD_C_API jobyard_reason jobyard_reason_from(const char* word);
JOBYARD_C_API jobyard_event_kind jobyard_event_from(const char* word);

/* The version of the library that is linked: "0.1.0". */
JOBYARD_C_API const char* jobyard_version(void);

/* What went wrong. Yours, on the stack or anywhere; never grows. */
typedef struct jobyard_error {
    jobyard_code code;
    uint32_t retry_after_ms; /* with BUSY, QUEUE_FULL, DISK_FULL; else 0 */
    char text[504];          /* for people; cut off where it is longer */
} jobyard_error;

#define JOBYARD_LIMIT_MS 30000 /* the usual time limit */
#define JOBYARD_NO_LIMIT (-1)

/* In number fields that say so: */
#define JOBYARD_UNSAID (-1) /* as it is, or as others decide */
#define JOBYARD_UNSET (-2)  /* of a queue's policy: nothing is set any more */

/* Frees an answer, and with it all that it points to. Not for clients and submissions. */
JOBYARD_C_API void jobyard_free(void* answer);

/* ---- the client ------------------------------------------------------------------------------------------------- */

typedef struct jobyard_client jobyard_client;

typedef struct jobyard_client_options {
    size_t size;
    /* ipc://PATH or tcp://HOST:PORT. Not said: $JOBYARD_BROKER, else this user's own broker if it is there, else that
     * of the machine (ipc:///run/jobyard/broker) if this user may use it. */
    const char* broker;
    int64_t submit_limit_ms;  /* how long a submit may wait for room here, or for the broker to take it */
    bool retry_refused;       /* try jobs again that the broker refused BUSY, QUEUE_FULL or DISK_FULL, until that */
    size_t max_pending;       /* jobs that may be unanswered; beyond them jobyard_submit waits */
    size_t max_pending_bytes; /* and the bytes of their payloads */
    int64_t linger_ms;        /* how long jobyard_client_free waits for answers */
    /* For a broker with keys, over tcp. Its public key, 40 characters or the file that has them; not said:
     * $JOBYARD_SERVER_KEY. */
    const char* server_key;
    const char* key_file; /* of this client's secret key (jobyard keygen); not said: $JOBYARD_KEY_FILE */
} jobyard_client_options;

#define JOBYARD_CLIENT_OPTIONS_INIT \
    { sizeof(jobyard_client_options), NULL, 30000, true, 65536, 67108864, 2000, NULL, NULL }

/* Makes a client, which starts to connect in the background; a broker that is not there yet is no error. `options` may
 * be NULL. Free it with jobyard_client_free. If the client can never work (an endpoint that is none, a directory that
 * others can write to) every call says so. */
JOBYARD_C_API jobyard_code jobyard_client_open(const jobyard_client_options* options, jobyard_client** client,
                                               jobyard_error* error);

/* Waits until the broker has taken this client in, for those who want to know before they begin. */
JOBYARD_C_API jobyard_code jobyard_client_connect(jobyard_client* client, int64_t limit_ms, jobyard_error* error);

/* Waits until every submit is answered (TIMEOUT if they are not), then ends the client: calls that wait, and all that
 * come later, get CLOSED. May wait a second more for the last message to leave. */
JOBYARD_C_API jobyard_code jobyard_client_close(jobyard_client* client, int64_t limit_ms, jobyard_error* error);

/* Closes it, with options.linger_ms as the limit, and frees it. No other call may be under way or come later.
 * Submissions may outlive it. */
JOBYARD_C_API void jobyard_client_free(jobyard_client* client);

/* Jobs submitted and not answered yet; right after an answer one may still be counted. 0 for NULL. */
JOBYARD_C_API size_t jobyard_client_pending(const jobyard_client* client);
/* The largest payload the broker takes, in bytes, as far as it is known. 0 for NULL. */
JOBYARD_C_API size_t jobyard_client_max_payload(const jobyard_client* client);

/* ---- submitting, and what becomes of it ------------------------------------------------------------------------- */

/* How often, for how long and with which pauses a job is tried. Each may be UNSAID; of a queue also UNSET. */
typedef struct jobyard_retry {
    int64_t max_attempts;
    int64_t timeout_ms; /* of one attempt; 0: none */
    int64_t backoff_initial_ms;
    int64_t backoff_factor_percent;
    int64_t backoff_max_ms;
    int64_t backoff_jitter_percent;
} jobyard_retry;

#define JOBYARD_RETRY_INIT \
    { JOBYARD_UNSAID, JOBYARD_UNSAID, JOBYARD_UNSAID, JOBYARD_UNSAID, JOBYARD_UNSAID, JOBYARD_UNSAID }

/* Many jobs of one submit, which differ in their index alone: `first`, `first` + `step`, ... The handler of each is
 * told its index. An array has a number as a job has one, and is watched, waited for and cancelled as a job is: its
 * result comes when all of its jobs have ended, completed if they all have completed. `held` is not for arrays. */
typedef struct jobyard_array_range {
    uint64_t count; /* 0: no array, one job; at most 100,000,000 */
    uint64_t first;
    uint64_t step;
    uint32_t at_once; /* no more of its jobs are unended at a time; 0: as many as there is room for */
    const char* name; /* for people */
} jobyard_array_range;

#define JOBYARD_ARRAY_RANGE_INIT \
    { 0, 0, 1, 0, NULL }

/* A job to make. */
typedef struct jobyard_job {
    size_t size;
    const char* type;          /* required: decides which workers can run it */
    const void* payload;       /* any bytes; may be NULL if there are none */
    size_t payload_size;       /* see jobyard_client_max_payload */
    const char* queue;         /* not said: "default" */
    const char* key;           /* your own name for it within its queue: the same key again makes no second job */
    int64_t key_ttl_ms;        /* how long after its end the key still names it; 0: only till then. Usual: 24 h */
    int priority;              /* 1 to 10, 10 first; usual: 5 */
    bool watch;                /* have the result sent here, for jobyard_submission_result */
    bool held;                 /* waits until jobyard_change lets it go */
    uint64_t delay_ms;         /* not before so long after it is made */
    uint64_t run_at;           /* not before that time of day; or delay_ms */
    uint64_t deadline_ms;      /* dead (expired) if it has not ended so long after its submit; 0: none */
    uint64_t queue_timeout_ms; /* dead (expired) if no worker was given it so long after it was ready; 0: none */
    jobyard_retry retry;       /* what is UNSAID is as the type's policy says, else the queue's, else the usual */
    jobyard_array_range array; /* with a count: an array of such jobs; `key` names it as long as it is remembered */
} jobyard_job;

#define JOBYARD_JOB_INIT                                                                                           \
    {                                                                                                              \
        sizeof(jobyard_job), NULL, NULL, 0, NULL, NULL, 86400000, 5, false, false, 0, 0, 0, 0, JOBYARD_RETRY_INIT, \
            JOBYARD_ARRAY_RANGE_INIT                                                                               \
    }

/* How a job ended, or why that is not known. */
typedef struct jobyard_result {
    jobyard_code code; /* OK; in lists also why there is no result, and then only `job` and `text` apply */
    const char* text;  /* with any other code: for people */
    uint64_t job;
    jobyard_state state;   /* completed, dead or cancelled */
    jobyard_reason reason; /* of a dead one */
    uint32_t attempt;      /* the last */
    const char* error;     /* of the last attempt, if it failed */
    const char* bytes;     /* the result (a 0 follows it); of a dead job that of its last attempt, if that gave one */
    size_t size;           /* of `bytes` */
} jobyard_result;

typedef struct jobyard_results {
    size_t count;
    const jobyard_result* const* items;
} jobyard_results;

/* A job that was submitted or is watched. What is known of the job, its result included, stays in memory as long as
 * this does. */
typedef struct jobyard_submission jobyard_submission;

/* Submits a job. Returns at once while there is room (options.max_pending), else waits for room up to
 * options.submit_limit_ms. A number that is out of its range is said here, and there is no submission; whatever else
 * cannot be submitted says so in jobyard_submission_id. `submission` may be NULL: then nobody will know. */
JOBYARD_C_API jobyard_code jobyard_submit(jobyard_client* client, const jobyard_job* job,
                                          jobyard_submission** submission, jobyard_error* error);

/* The same for `count` jobs that stand one behind the other. `submissions` has room for as many pointers, in the same
 * order; or is NULL. Either all are set or, if this fails, none. */
JOBYARD_C_API jobyard_code jobyard_submit_all(jobyard_client* client, const jobyard_job* jobs, size_t count,
                                              jobyard_submission** submissions, jobyard_error* error);

/* Never waits: JOBYARD_NOT_ACCEPTED if there is no room. `submission` may be NULL. */
JOBYARD_C_API jobyard_code jobyard_try_submit(jobyard_client* client, const jobyard_job* job,
                                              jobyard_submission** submission, jobyard_error* error);

/* Submits and waits for the result, whatever job->watch says. */
JOBYARD_C_API jobyard_code jobyard_run(jobyard_client* client, const jobyard_job* job, int64_t limit_ms,
                                       jobyard_result** result, jobyard_error* error);

/* Waits until the job is durable (`job` gets its number), or it is certain that it was not made (why). TIMEOUT says
 * neither: ask again. OUTCOME_UNKNOWN: it can never be known. `job` may be NULL. */
JOBYARD_C_API jobyard_code jobyard_submission_id(jobyard_submission* submission, int64_t limit_ms, uint64_t* job,
                                                 jobyard_error* error);

/* Waits until the job has ended, however it ended. NOT_ALLOWED if it was submitted without `watch`. */
JOBYARD_C_API jobyard_code jobyard_submission_result(jobyard_submission* submission, int64_t limit_ms,
                                                     jobyard_result** result, jobyard_error* error);

/* Without waiting. Once the id is there: the key named this job already, so none was made. */
JOBYARD_C_API bool jobyard_submission_was_existing(const jobyard_submission* submission);
/* Without waiting: jobyard_submission_id (or _result) would answer at once. */
JOBYARD_C_API bool jobyard_submission_has_id(const jobyard_submission* submission);
JOBYARD_C_API bool jobyard_submission_has_result(const jobyard_submission* submission);

/* Forgets it here; the job goes on. */
JOBYARD_C_API void jobyard_submission_free(jobyard_submission* submission);

/* Has the results of jobs sent here; they need not be of this client. Each ends with TIMEOUT after `limit_ms`.
 * `submissions` as in jobyard_submit_all. */
JOBYARD_C_API jobyard_code jobyard_watch(jobyard_client* client, const uint64_t* jobs, size_t count, int64_t limit_ms,
                                         jobyard_submission** submissions, jobyard_error* error);

/* Waits for the end of a job. */
JOBYARD_C_API jobyard_code jobyard_wait(jobyard_client* client, uint64_t job, int64_t limit_ms, jobyard_result** result,
                                        jobyard_error* error);
/* Of all of them, in order, within one limit. Each item has its own code. */
JOBYARD_C_API jobyard_code jobyard_wait_all(jobyard_client* client, const uint64_t* jobs, size_t count,
                                            int64_t limit_ms, jobyard_results** results, jobyard_error* error);

/* ---- steering jobs ---------------------------------------------------------------------------------------------- */

/* What became of a request about one job of many. */
typedef struct jobyard_answer {
    uint64_t job;
    jobyard_code code;
    jobyard_state state;     /* of a cancel that was answered */
    const char* text;        /* if it was refused: for people */
    uint32_t retry_after_ms; /* with BUSY */
} jobyard_answer;

typedef struct jobyard_answers {
    size_t count;
    const jobyard_answer* const* items; /* in the order of the jobs asked about */
} jobyard_answers;

/* What is to be another way with jobs that wait. */
typedef struct jobyard_job_change {
    size_t size;
    int priority;      /* 1 to 10; 0: as it is */
    int held;          /* 1 or 0, or UNSAID */
    const char* queue; /* not said: where it is; a job with a key stays in its queue */
} jobyard_job_change;

#define JOBYARD_JOB_CHANGE_INIT \
    { sizeof(jobyard_job_change), 0, JOBYARD_UNSAID, NULL }

/* What is to be another way with dead jobs, before a redrive. */
typedef struct jobyard_job_edit {
    size_t size;
    const void* payload; /* NULL: as it is; any other pointer: so many bytes, which may be none */
    size_t payload_size;
    const char* type;    /* not said: as it is */
    const char* queue;   /* not said: where it is; a job with a key stays in its queue */
    int64_t priority;    /* 1 to 10; 0: as it is */
    jobyard_retry retry; /* what is UNSAID is as it is */
} jobyard_job_edit;

#define JOBYARD_JOB_EDIT_INIT \
    { sizeof(jobyard_job_edit), NULL, 0, NULL, NULL, 0, JOBYARD_RETRY_INIT }

/* Cancels a job. `outcome` gets JOBYARD_OK (cancelled now), JOBYARD_CANCEL_REQUESTED (it runs; its worker is told) or
 * JOBYARD_ENDED (before, as `state` says); none of these is an error. Either pointer may be NULL. Of an array no more
 * jobs are made, and those that are made are cancelled. */
JOBYARD_C_API jobyard_code jobyard_cancel(jobyard_client* client, uint64_t job, int64_t limit_ms, jobyard_code* outcome,
                                          jobyard_state* state, jobyard_error* error);
JOBYARD_C_API jobyard_code jobyard_cancel_all(jobyard_client* client, const uint64_t* jobs, size_t count,
                                              int64_t limit_ms, jobyard_answers** answers, jobyard_error* error);

/* Takes a job out of the dead letter queue for a new round. To find the dead: jobyard_list with
 * JOBYARD_STATE_DEAD; to redrive or purge by filter: jobyard_start_task. */
JOBYARD_C_API jobyard_code jobyard_redrive(jobyard_client* client, uint64_t job, int64_t limit_ms,
                                           jobyard_error* error);
JOBYARD_C_API jobyard_code jobyard_redrive_all(jobyard_client* client, const uint64_t* jobs, size_t count,
                                               int64_t limit_ms, jobyard_answers** answers, jobyard_error* error);

/* Priority, queue, held or not, of jobs that wait; NOT_WAITING for one that runs. */
JOBYARD_C_API jobyard_code jobyard_change(jobyard_client* client, uint64_t job, const jobyard_job_change* change,
                                          int64_t limit_ms, jobyard_error* error);
JOBYARD_C_API jobyard_code jobyard_change_all(jobyard_client* client, const uint64_t* jobs, size_t count,
                                              const jobyard_job_change* change, int64_t limit_ms,
                                              jobyard_answers** answers, jobyard_error* error);

/* Payload, type, queue, priority or policy of dead jobs: all that is said, or nothing; NOT_DEAD for others. A job of an
 * array keeps its payload, which is that of the whole array. */
JOBYARD_C_API jobyard_code jobyard_edit(jobyard_client* client, uint64_t job, const jobyard_job_edit* edit,
                                        int64_t limit_ms, jobyard_error* error);
JOBYARD_C_API jobyard_code jobyard_edit_all(jobyard_client* client, const uint64_t* jobs, size_t count,
                                            const jobyard_job_edit* edit, int64_t limit_ms, jobyard_answers** answers,
                                            jobyard_error* error);

/* ---- asking about jobs ------------------------------------------------------------------------------------------ */

typedef struct jobyard_attempt_info {
    uint32_t attempt;
    const char* worker;
    uint64_t token;
    uint64_t started_at;
    uint64_t ended_at;
    const char* outcome; /* "completed", "failed", "timeout", ... */
    const char* error;
    const char* tail; /* the end of standard error: any bytes, `tail_size` of them */
    size_t tail_size;
} jobyard_attempt_info;

typedef struct jobyard_job_info {
    uint64_t id;
    const char* queue;
    const char* type;
    uint32_t priority;
    jobyard_state state;
    const char* reason; /* of a dead job, what killed it; of a waiting one, what it waits for: jobyard_reason_from */
    uint32_t attempt;   /* the last or the running one */
    uint32_t max_attempts;
    uint32_t errors;
    uint32_t crashes;
    uint32_t timeout_ms;
    uint64_t created_at;
    uint64_t payload_bytes;
    const char* key;
    uint64_t due_at;
    uint64_t started_at;
    uint64_t ended_at;
    const char* worker;
    uint64_t token;
    bool cancel_requested;
    double progress; /* 0 to 1; negative: none was said */
    const char* progress_text;
    const char* error;
    int64_t result_bytes; /* negative: there is no result */
    size_t attempt_count; /* only from jobyard_show */
    const jobyard_attempt_info* const* attempts;
    uint64_t edited_at;  /* of a dead job */
    uint64_t array;      /* one of the jobs of this array; its own number: it is the array; 0: of none */
    int64_t array_index; /* negative: not a job of an array */
} jobyard_job_info;

/* All about one job, its attempts included. */
JOBYARD_C_API jobyard_code jobyard_show(jobyard_client* client, uint64_t job, int64_t limit_ms, jobyard_job_info** info,
                                        jobyard_error* error);

typedef struct jobyard_bytes {
    const char* bytes; /* a 0 follows them */
    size_t size;
} jobyard_bytes;

/* The payload of an array, or of a job that is unended or dead; ENDED for others, which have none any more. */
JOBYARD_C_API jobyard_code jobyard_payload(jobyard_client* client, uint64_t job, int64_t limit_ms,
                                           jobyard_bytes** payload, jobyard_error* error);

/* Jobs that all of these let through. */
typedef struct jobyard_job_filter {
    size_t size;
    jobyard_state state; /* NONE: any */
    const char* queue;   /* not said: any */
    const char* type;
    uint64_t array; /* the jobs of this array; 0: any */
} jobyard_job_filter;

#define JOBYARD_JOB_FILTER_INIT \
    { sizeof(jobyard_job_filter), JOBYARD_STATE_NONE, NULL, NULL, 0 }

typedef struct jobyard_job_page {
    size_t count;
    const jobyard_job_info* const* items;
    uint64_t next_cursor; /* for the next page; 0: this was the last */
} jobyard_job_page;

/* One page of jobs, from `cursor` on (0: the first), at most `page_size` of them. It may have fewer, even none, and not
 * be the last. `filter` may be NULL. */
JOBYARD_C_API jobyard_code jobyard_list(jobyard_client* client, const jobyard_job_filter* filter, uint64_t cursor,
                                        uint32_t page_size, int64_t limit_ms, jobyard_job_page** page,
                                        jobyard_error* error);

/* ---- arrays ----------------------------------------------------------------------------------------------------- */

/* Many jobs of one submit (jobyard_job.array). Its jobs: jobyard_list with the filter's `array`. */
typedef struct jobyard_array_info {
    uint64_t array;
    const char* name;
    const char* queue;
    const char* type;
    jobyard_state state; /* running; or how it ended: completed, dead (one is), cancelled */
    uint64_t created_at;
    uint64_t ended_at;
    const char* key;
    uint64_t count; /* jobs in all */
    uint64_t first; /* indices; not of an array that resubmits, where `step` is 0 */
    uint64_t step;
    uint32_t at_once; /* 0: no limit */
    bool making;      /* there are jobs to make yet */
    uint64_t made;    /* of these are: */
    uint64_t waiting;
    uint64_t running;
    uint64_t completed;
    uint64_t dead;
    uint64_t cancelled;
    uint64_t left_dead; /* dead and not resubmitted */
    uint64_t left_cancelled;
    uint64_t resubmits;      /* it makes what another array left; 0: it does not */
    uint64_t resubmitted_as; /* the last array that was made of what it left; 0: none was */
} jobyard_array_info;

typedef struct jobyard_array_list {
    size_t count;
    const jobyard_array_info* const* items; /* the newest first */
} jobyard_array_list;

/* All arrays that are remembered. With more than 1,024 of them `limit_ms` is of each so many. */
JOBYARD_C_API jobyard_code jobyard_arrays(jobyard_client* client, int64_t limit_ms, jobyard_array_list** arrays,
                                          jobyard_error* error);
/* One of those; UNKNOWN_JOB or RETIRED if it is none. */
JOBYARD_C_API jobyard_code jobyard_array(jobyard_client* client, uint64_t array, int64_t limit_ms,
                                         jobyard_array_info** info, jobyard_error* error);
/* Makes no more of its jobs; those that are made go on. ENDED if all were made. To cancel them too: jobyard_cancel. */
JOBYARD_C_API jobyard_code jobyard_stop_array(jobyard_client* client, uint64_t array, int64_t limit_ms,
                                              jobyard_error* error);
/* Another array, of the indices whose jobs are dead and, with `cancelled`, of those whose jobs were cancelled; `number`
 * gets its number. If that has been done already, the number of that one. NOT_DEAD if there is no such job. */
JOBYARD_C_API jobyard_code jobyard_resubmit(jobyard_client* client, uint64_t array, bool cancelled, int64_t limit_ms,
                                            uint64_t* number, jobyard_error* error);

/* ---- queues ----------------------------------------------------------------------------------------------------- */

/* What is to be another way with a queue. Of a type in a queue there is `retry` only. */
typedef struct jobyard_queue_change {
    size_t size;
    int paused;     /* 1 or 0, or UNSAID */
    const char* by; /* who pauses, and why; for people */
    const char* why;
    int64_t max_running; /* jobs of it that may be out to workers; 0: no limit; UNSAID */
    jobyard_retry retry; /* of jobs that do not say themselves */
} jobyard_queue_change;

#define JOBYARD_QUEUE_CHANGE_INIT \
    { sizeof(jobyard_queue_change), JOBYARD_UNSAID, NULL, NULL, JOBYARD_UNSAID, JOBYARD_RETRY_INIT }

/* How jobs of a type in a queue are tried; UNSAID where nothing is set. */
typedef struct jobyard_type_policy {
    const char* type;
    jobyard_retry retry;
} jobyard_type_policy;

typedef struct jobyard_queue_info {
    const char* name;
    uint64_t queued;
    uint64_t running;
    uint64_t unended;
    uint64_t completed; /* this and the next two: since the broker started */
    uint64_t failed;    /* attempts */
    uint64_t dead;
    uint64_t oldest_at; /* when the oldest of the queued was submitted */
    uint64_t waiting;   /* for a time, a backoff, or to be let go. This and what follows: not in jobyard_stats */
    bool paused;
    uint64_t paused_at;
    const char* paused_by;
    const char* paused_why;
    uint32_t max_running; /* 0: no limit */
    jobyard_retry retry;  /* UNSAID where nothing is set */
    size_t type_count;    /* the first 100 types that have a policy */
    const jobyard_type_policy* const* types;
} jobyard_queue_info;

typedef struct jobyard_queue_list {
    size_t count;
    const jobyard_queue_info* const* items; /* in order of their names */
} jobyard_queue_list;

/* Pauses, resumes or limits a queue, or says how its jobs are tried; with `type` not NULL only those of this type. A
 * queue need not have jobs yet. Survives restarts of the broker. */
JOBYARD_C_API jobyard_code jobyard_set_queue(jobyard_client* client, const char* queue, const char* type,
                                             const jobyard_queue_change* change, int64_t limit_ms,
                                             jobyard_error* error);
/* All queues that have had jobs since the broker started, or for which something is set. */
JOBYARD_C_API jobyard_code jobyard_queues(jobyard_client* client, int64_t limit_ms, jobyard_queue_list** queues,
                                          jobyard_error* error);
/* One queue; UNKNOWN_QUEUE if it is none of those. */
JOBYARD_C_API jobyard_code jobyard_queue(jobyard_client* client, const char* name, int64_t limit_ms,
                                         jobyard_queue_info** queue, jobyard_error* error);

/* ---- many jobs at once ------------------------------------------------------------------------------------------ */

/* Something to do to those jobs that are there now and that all of these let through. */
typedef struct jobyard_task {
    size_t size;
    jobyard_task_action action; /* required */
    jobyard_state state;        /* of cancel; NONE: any */
    const char* queue;          /* not said: any */
    const char* type;
    jobyard_reason reason;  /* of the dead; NONE: any */
    const char* error;      /* fingerprint of their last error (jobyard_fingerprint); not said: any */
    uint64_t older_than_ms; /* made (the dead: ended) at least so long ago */
    uint64_t newer_than_ms; /* at most so long ago; 0: any */
    bool count_only;        /* change nothing: `done` of its info says how many it would be */
    const char* by;         /* for people */
    const uint64_t* jobs;   /* of redrive and purge: only these, at most 1,024 */
    size_t job_count;
} jobyard_task;

#define JOBYARD_TASK_INIT                                                                                           \
    {                                                                                                               \
        sizeof(jobyard_task), JOBYARD_TASK_CANCEL, JOBYARD_STATE_NONE, NULL, NULL, JOBYARD_REASON_NONE, NULL, 0, 0, \
            true, NULL, NULL, 0                                                                                     \
    }

typedef struct jobyard_task_info {
    uint64_t task;
    const char* action;
    const char* state; /* "running", "done" or "stopped" */
    bool count_only;
    const char* job_state;
    const char* reason;
    const char* queue;
    const char* type;
    const char* error;
    const char* by;
    uint64_t started_at;
    uint64_t ended_at;
    uint64_t total;   /* about how many jobs there are to look at */
    uint64_t looked;  /* of these, so far */
    uint64_t done;    /* jobs cancelled, redriven, purged or, with count_only, counted */
    uint64_t refused; /* that somebody else was faster with, or that are damaged */
} jobyard_task_info;

typedef struct jobyard_task_list {
    size_t count;
    const jobyard_task_info* const* items; /* the newest first */
} jobyard_task_list;

/* Begins it and gives its number. It goes on in the broker, also without this client, and after a restart. A task that
 * is as JOBYARD_TASK_INIT left it counts only: set count_only to false. */
JOBYARD_C_API jobyard_code jobyard_start_task(jobyard_client* client, const jobyard_task* task, int64_t limit_ms,
                                              uint64_t* number, jobyard_error* error);
/* Those that run and the last 100 that ended. */
JOBYARD_C_API jobyard_code jobyard_tasks(jobyard_client* client, int64_t limit_ms, jobyard_task_list** tasks,
                                         jobyard_error* error);
/* One of those; UNKNOWN_TASK if it is not remembered. */
JOBYARD_C_API jobyard_code jobyard_show_task(jobyard_client* client, uint64_t number, int64_t limit_ms,
                                             jobyard_task_info** task, jobyard_error* error);
/* What it has done stays done. ENDED if it was over. */
JOBYARD_C_API jobyard_code jobyard_stop_task(jobyard_client* client, uint64_t number, int64_t limit_ms,
                                             jobyard_error* error);

/* Of a type's error: what is the same for errors that differ only in numbers, addresses, quoted names or paths. 16
 * hexadecimal digits and a 0 go to `digits`. BAD_FIELD if a pointer is NULL. */
JOBYARD_C_API jobyard_code jobyard_fingerprint(const char* type, const char* text, char digits[17],
                                               jobyard_error* error);

/* ---- the broker as a whole -------------------------------------------------------------------------------------- */

typedef struct jobyard_broker_stats {
    uint64_t scheduled; /* jobs in each state, now */
    uint64_t queued;
    uint64_t assigned;
    uint64_t running;
    uint64_t retrying;
    uint64_t submitted_total; /* since the broker started */
    uint64_t completed_total;
    uint64_t cancelled_total;
    uint64_t dead_total;
    uint64_t retried_total;
    uint64_t completed_kept; /* ended jobs that retention has not removed yet */
    uint64_t dead;           /* in the dead letter queue */
    uint64_t workers;
    uint64_t submitters;
    uint64_t slots;
    size_t queue_count;
    const jobyard_queue_info* const* queues;
    const void* map; /* all that the broker said, as MessagePack; it may have more from version to version */
    size_t map_size;
} jobyard_broker_stats;

/* Counters. */
JOBYARD_C_API jobyard_code jobyard_stats(jobyard_client* client, int64_t limit_ms, jobyard_broker_stats** stats,
                                         jobyard_error* error);

/* Events that all of this lets through. */
typedef struct jobyard_event_filter {
    size_t size;
    const char* queue; /* not said: any */
    const char* type;
    uint64_t job;                    /* 0: any */
    const jobyard_event_kind* kinds; /* none: all */
    size_t kind_count;
} jobyard_event_filter;

#define JOBYARD_EVENT_FILTER_INIT \
    { sizeof(jobyard_event_filter), NULL, NULL, 0, NULL, 0 }

typedef struct jobyard_event_info {
    uint64_t event; /* its number; the one after it has the next */
    uint64_t at;
    const char* kind; /* jobyard_event_from; or a word that this library does not know */
    uint64_t job;     /* 0: it is about no job */
    const char* queue;
    const char* type;
    const char* worker;
    const char* text; /* why */
} jobyard_event_info;

typedef struct jobyard_event_page {
    size_t count;
    const jobyard_event_info* const* items;
    uint64_t last; /* go on behind this one; it may be beyond the last of `items` */
    uint64_t gone; /* if not 0: those up to this one, behind what was asked for, have been removed */
    bool more;     /* there is something behind `last` already */
} jobyard_event_page;

#define JOBYARD_FROM_NOW UINT64_MAX

/* What has happened behind event `after`, at most `page_size` events. To follow: ask for JOBYARD_FROM_NOW (which gives
 * none, and the newest as `last`), or for 0, or for where one came to in another life; then go on behind `last`, with a
 * wait. So nothing is missed or seen twice, whatever breaks meanwhile. While it waits (`wait_ms`, at most 30,000) it
 * returns when something happens that the filter lets through, or with none; `limit_ms` begins when it may return.
 * `filter` may be NULL. */
JOBYARD_C_API jobyard_code jobyard_events(jobyard_client* client, const jobyard_event_filter* filter, uint64_t after,
                                          int64_t wait_ms, uint32_t page_size, int64_t limit_ms,
                                          jobyard_event_page** page, jobyard_error* error);

typedef struct jobyard_worker_info {
    const char* name;
    const char* state; /* "idle", "busy", "draining" or "away" */
    bool draining;     /* it is handed nothing more */
    uint32_t slots;
    uint32_t credit;
    uint64_t running;
    size_t queue_count; /* the first hundred, of `queues_total` */
    const char* const* queues;
    size_t type_count;
    const char* const* types;
    uint64_t queues_total;
    uint64_t types_total;
    const char* software;
    uint64_t connected_at;
    uint64_t heard_at;
    size_t job_count; /* those it holds; only if it was asked for by name */
    const uint64_t* jobs;
    const char* host; /* the machine it says it runs on, and its process id there; "" and 0: it did not say */
    uint32_t pid;
} jobyard_worker_info;

typedef struct jobyard_worker_list {
    size_t count;
    const jobyard_worker_info* const* items;
} jobyard_worker_list;

/* All workers that are connected, or away for a moment; with `name` only those of that name, each with its jobs. */
JOBYARD_C_API jobyard_code jobyard_workers(jobyard_client* client, const char* name, int64_t limit_ms,
                                           jobyard_worker_list** workers, jobyard_error* error);
/* All workers of that name are handed nothing more, finish what they hold, and stay. `count`, which may be NULL, gets
 * how many they are. UNKNOWN_WORKER if there is none. */
JOBYARD_C_API jobyard_code jobyard_drain(jobyard_client* client, const char* name, int64_t limit_ms, size_t* count,
                                         jobyard_error* error);
/* Takes that back. */
JOBYARD_C_API jobyard_code jobyard_resume(jobyard_client* client, const char* name, int64_t limit_ms, size_t* count,
                                          jobyard_error* error);

#ifdef __cplusplus
}
#endif

#endif
