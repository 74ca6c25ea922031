"""The worker of the tests: worker_program.py DIRECTORY NAME [slots=N] [credit=N] [drain=S].

Each handler first adds a line to DIRECTORY/executions: name, job, attempt.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from jobyard import Fail, Job, Snooze, Worker

directory, name = Path(sys.argv[1]), sys.argv[2]
settings = dict(each.split("=") for each in sys.argv[3:])
worker = Worker(
    name=name,
    slots=int(settings.get("slots", 2)),
    credit=int(settings.get("credit", 0)),
    drain=float(settings.get("drain", 25)),
    stop_grace=5.0,
)
log = os.open(directory / "executions", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
gate = directory / "gate"


def began(job: Job) -> None:
    os.write(log, f"{name} {job.id} {job.attempt}\n".encode())


@worker.job("echo")
def echo(job: Job) -> bytes:
    began(job)
    return job.payload


@worker.job("blow_up")
def blow_up(job: Job) -> bytes:
    """A result of as many bytes as the payload says."""
    return b"x" * int(job.payload)


@worker.job("gated")
def gated(job: Job) -> bytes:
    """Waits until the gate is open, or it is to stop."""
    began(job)
    job.progress(0.25, "at the gate")
    while not gate.exists():
        if job.cancelled.wait(0.005):
            raise Fail("stopped at the gate")
    (directory / f"through-{job.id}").touch()
    return b"through"


@worker.job("gated_async")
async def gated_async(job: Job) -> bytes:
    began(job)
    while not gate.exists():
        await asyncio.sleep(0.005)
    return b"through"


@worker.job("deaf")
def deaf(job: Job) -> bytes:
    """Waits for the gate and for nothing else."""
    began(job)
    while not gate.exists():
        time.sleep(0.005)
    return b"at last"


@worker.job("fails_until")
def fails_until(job: Job) -> bytes:
    """Fails before the attempt that the payload names."""
    began(job)
    if job.attempt < int(job.payload):
        raise Fail(f"not yet at attempt {job.attempt}", tail="the tail")
    return f"attempt {job.attempt}".encode()


@worker.job("hopeless")
def hopeless(job: Job) -> None:
    began(job)
    if not gate.exists():
        raise Fail("there is no hope", retryable=False, result=b"what is left")


@worker.job("odd_ones_fail")
def odd_ones_fail(job: Job) -> None:
    """Of an array those with an odd index, until the gate is open."""
    began(job)
    if job.array_index % 2 and not gate.exists():
        raise Fail(f"{job.array_index} of array {job.array} is odd")


@worker.job("released_once")
def released_once(job: Job) -> bytes:
    marker = directory / f"released-{job.id}"
    if not marker.exists():
        marker.touch()
        raise Snooze
    return f"attempt {job.attempt}".encode()


@worker.job("snoozes")
def snoozes(job: Job) -> bytes:
    """The first time, for as many seconds as the payload says."""
    marker = directory / f"snoozed-{job.id}"
    if not marker.exists():
        marker.touch()
        raise Snooze(float(job.payload))
    return f"attempt {job.attempt}".encode()


@worker.job("returns_text")
def returns_text(job: Job) -> bytes:
    return "text"  # type: ignore[return-value]


worker.run()
