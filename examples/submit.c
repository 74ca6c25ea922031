/* A submitter in C: has the words of its arguments counted and prints how many there are. Start a broker and
 * examples/worker.cpp first; the worker may also come later. To build it:
 *
 *     cc -o submit submit.c $(pkg-config --cflags --libs jobyard-client-c)
 */

#include <stdio.h>
#include <string.h>

#include "jobyard/jobyard.h"

static int count_words(jobyard_client* client, const char* text) {
    jobyard_error error;
    jobyard_submission* submission;
    jobyard_result* result;
    uint64_t id;
    int status = 1;

    jobyard_job job = JOBYARD_JOB_INIT;
    job.type = "count_words";
    job.payload = text;
    job.payload_size = strlen(text);
    job.watch = true;
    if (jobyard_submit(client, &job, &submission, &error) != JOBYARD_OK ||
        jobyard_submission_id(submission, JOBYARD_LIMIT_MS, &id, &error) != JOBYARD_OK) {
        fprintf(stderr, "not submitted: %s\n", error.text);
    } else {
        printf("job %llu is durable\n", (unsigned long long)id);
        if (jobyard_submission_result(submission, 60000, &result, &error) != JOBYARD_OK) {
            fprintf(stderr, "no result yet: %s\n", error.text);
        } else if (result->state != JOBYARD_STATE_COMPLETED) {
            fprintf(stderr, "the job is %s: %s\n", jobyard_state_word(result->state), result->error);
        } else {
            printf("%.*s words\n", (int)result->size, result->bytes);
            status = 0;
        }
        jobyard_free(result);
    }
    jobyard_submission_free(submission);
    return status;
}

int main(int argc, char** argv) {
    jobyard_error error;
    jobyard_client* client;
    char text[4096] = "";
    int status;
    int i;
    for (i = 1; i < argc && strlen(text) + strlen(argv[i]) + 2 <= sizeof text; ++i) {
        strcat(text, argv[i]);
        strcat(text, " ");
    }

    if (jobyard_client_open(NULL, &client, &error) != JOBYARD_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    status = count_words(client, text);
    jobyard_client_free(client);
    return status;
}
