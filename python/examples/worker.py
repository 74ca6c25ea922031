"""A worker in full: counts the words of whatever it is sent. Start a broker first, then this; submit jobs of type
"count_words". Ctrl-C stops it: what runs may end, the rest goes back to the broker."""

import logging

from jobyard import Fail, Job, Worker

logging.basicConfig(format="%(message)s")
worker = Worker(slots=4)


@worker.job("count_words")
def count_words(job: Job) -> bytes:
    words = job.payload.split()
    if not words:
        raise Fail("there is no text", retryable=False)
    return str(len(words)).encode()


worker.run()
