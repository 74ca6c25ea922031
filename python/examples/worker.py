"""A worker in full: counts the words of whatever it is sent, and estimates pi from the seeds of an array. Start a broker
first, then this; submit jobs of type "count_words" (submit.py) or "estimate_pi" (simulate.py). Ctrl-C stops it: what
runs may end, the rest goes back to the broker."""

import logging
import random

from jobyard import Fail, Job, Worker

logging.basicConfig(format="%(message)s")
worker = Worker(slots=4)


@worker.job("count_words")
def count_words(job: Job) -> bytes:
    words = job.payload.split()
    if not words:
        raise Fail("there is no text", retryable=False)
    return str(len(words)).encode()


@worker.job("estimate_pi")
def estimate_pi(job: Job) -> bytes:
    chance = random.Random(job.array_index)
    points = int(job.payload)
    within = sum(chance.random() ** 2 + chance.random() ** 2 < 1 for _ in range(points))
    return str(4 * within / points).encode()


worker.run()
