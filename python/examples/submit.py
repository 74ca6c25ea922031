"""A submitter in full: has the words of its arguments counted and prints how many there are. Start a broker and
examples/worker.py first; the worker may also come later."""

import sys

from jobyard import Client, JobyardError


def main() -> int:
    text = " ".join(sys.argv[1:]).encode()
    try:
        with Client() as client:
            job = client.submit("count_words", payload=text, watch=True)
            print(f"job {job.id()} is durable", flush=True)
            print(f"{job.result(timeout=60).decode()} words")
    except JobyardError as wrong:  # a refusal, a time limit, or a job that failed: the text says which
        print(wrong, file=sys.stderr)
        return 1
    return 0


sys.exit(main())
