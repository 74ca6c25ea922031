// A submitter in full: has the words of its arguments counted and prints how many there are. Start a broker and
// examples/worker.cpp first; the worker may also come later.

#include <cstdio>
#include <string>

#include "jobyard/client.hpp"

int main(int argc, char** argv) {
    std::string text;
    for (int i = 1; i < argc; ++i) text += std::string(argv[i]) + " ";

    jobyard::Client client;
    const jobyard::Submission job = client.submit({.type = "count_words", .payload = text, .watch = true});
    const jobyard::Result<jobyard::JobId> id = job.id();
    if (!id) {
        std::fprintf(stderr, "not submitted: %s\n", id.error().text.c_str());
        return 1;
    }
    std::printf("job %llu is durable\n", static_cast<unsigned long long>(id->value));

    const jobyard::Result<jobyard::JobResult> result = job.result(std::chrono::minutes(1));
    if (!result) {
        std::fprintf(stderr, "no result yet: %s\n", result.error().text.c_str());
        return 1;
    }
    if (!result->completed()) {
        std::fprintf(stderr, "the job is %s: %s\n", to_string(result->state), result->error.c_str());
        return 1;
    }
    std::printf("%s words\n", result->bytes.c_str());
}
