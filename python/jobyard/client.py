"""A client for programs with threads.

    with Client() as client:
        job = client.submit("resize", payload=picture)
        print(job.id())                 # it is durable now
        print(job.result(timeout=60))   # the bytes its worker returned

submit() returns at once; what a loop submits travels in lists. The client reconnects by itself and sends again what was
not answered; a job is made once however often that happens.

A Client may be used from several threads, but not in a child process after fork(): there every call raises Forked.
"""

from __future__ import annotations

import builtins
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import Any, TypeVar

from jobyard import messages as m
from jobyard.client_core import ClientCore, Ended, Made, Reply, Submit
from jobyard.endpoint import broker_endpoint
from jobyard.errors import Busy, Forked, JobyardError, TimedOut
from jobyard.job_info import (
    ArrayInfo,
    JobInfo,
    Page,
    array_page,
    cancelled,
    counted,
    listed,
    one_array,
    redriven,
    resubmitted,
    shown,
    stopped,
)
from jobyard.link import LinkLoop
from jobyard.spec import Backoff, JobSpec
from jobyard.words import state_number

T = TypeVar("T")

TIME_LIMIT = 30.0


class Submission:
    """A job that was submitted or is watched. It may outlive its client."""

    def __init__(self, client: Client, made: Future[Made], ended: Future[Ended] | None) -> None:
        self._client = client
        self._made = made
        self._ended = ended

    def id(self, timeout: float | None = TIME_LIMIT) -> int:
        """Waits until the job is durable, or it is certain that it was not made: then the refusal is raised.

        TimedOut says neither; ask again. OutcomeUnknown: it can never be known.
        """
        return _wait(self._made, timeout).job

    def existing(self, timeout: float | None = TIME_LIMIT) -> bool:
        """The key named this job already, so none was made."""
        return _wait(self._made, timeout).existing

    def result(self, timeout: float | None = None) -> bytes:
        """Waits for the job's result. JobDead, JobCancelled or JobRetired is raised if there will be none."""
        return self.wait(timeout).result()

    def wait(self, timeout: float | None = None) -> Ended:
        """Waits until the job has ended, however it ended."""
        limit = None if timeout is None else time.monotonic() + timeout
        if self._ended is None:
            self._ended = self._client._watch([self.id(timeout)])[0]
        return _wait(self._ended, None if limit is None else max(limit - time.monotonic(), 0.0))

    def has_id(self) -> bool:
        """Without waiting: id() would answer at once."""
        return self._made.done()

    def has_result(self) -> bool:
        """Without waiting; only of a job that was submitted with `watch`, or waited for before."""
        return self._ended is not None and self._ended.done()


class Client:
    """`broker` is an endpoint ("ipc://PATH", "tcp://HOST:7466"); without it $JOBYARD_BROKER, else this user's own.

    A broker that is not there yet is no error: what is submitted waits for it up to `submit_limit` seconds, as it does
    for a broker that is too busy. Beyond `max_pending` unanswered jobs, or so many bytes of them, submit() waits.
    `grant` is how many bytes of results the broker may have under way to this client.
    """

    def __init__(
        self,
        broker: str | None = None,
        *,
        submit_limit: float = TIME_LIMIT,
        max_pending: int = 65_536,
        max_pending_bytes: int = 64 << 20,
        grant: int = 16 << 20,
    ) -> None:
        self._submit_limit = submit_limit
        self._process = os.getpid()
        self._core = ClientCore(grant, max_pending, max_pending_bytes)
        self._loop = LinkLoop(self._core, broker_endpoint(broker))
        self._lock = self._loop.lock
        self._closing = False
        self._waiters = 0  # for room, or for the last answer
        self._thread = threading.Thread(target=self._loop.run, args=(self._go_on,), name="jobyard", daemon=True)
        self._thread.start()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close(self._submit_limit if kind is None else 2.0, must_be_answered=kind is None)

    def close(self, timeout: float | None = TIME_LIMIT, must_be_answered: bool = True) -> None:
        """Waits until every submit is answered, then ends the client; TimedOut if they are not."""
        self._require_same_process()
        with self._lock:
            answered = self._wait_until(lambda: self._core.unanswered == 0 or self._core.over is not None, timeout)
            left = self._core.unanswered
            self._core.goodbye(time.monotonic())
            self._closing = True
            self._loop.wake()
        self._thread.join()
        if must_be_answered and not answered:
            raise TimedOut(f"{left} submits were not answered within {timeout:g} s; see their handles")

    def submit(
        self,
        type: str,
        payload: bytes = b"",
        *,
        queue: str = "default",
        priority: int = 5,
        key: str = "",
        delay: float = 0.0,
        timeout: float | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        watch: bool = False,
        array: range | None = None,
        array_name: str = "",
        at_once: int = 0,
    ) -> Submission:
        """Submits a job; the settings are those of JobSpec. What can be seen to be wrong here is raised at once, what
        the broker refuses by the handle's id()."""
        spec = JobSpec(
            type, payload, queue, priority, key, delay, timeout, max_attempts, backoff, watch,
            array=array, array_name=array_name, at_once=at_once,
        )  # fmt: skip
        return self._submit([spec])[0]

    def submit_many(self, specs: Iterable[JobSpec]) -> Sequence[Submission]:
        return self._submit(specs)

    def watch(self, *jobs: int) -> Sequence[Submission]:
        """Has the results of jobs sent here; they need not be this client's."""
        return [Submission(self, known(Made(job, True)), ended) for job, ended in zip(jobs, self._watch(jobs))]

    def wait(self, job: int, timeout: float | None = None) -> Ended:
        """Waits until the job has ended, however it ended."""
        return _wait(self._watch([job])[0], timeout)

    def cancel(self, job: int, timeout: float | None = TIME_LIMIT) -> str:
        """ "cancelled" (it is), "cancel_requested" (it runs; its worker is told), or how it had ended before."""
        return self._ask(m.Cancel([job]), timeout, lambda reply: cancelled(reply, job))

    def redrive(self, job: int, timeout: float | None = TIME_LIMIT) -> None:
        """Takes a job out of the dead letter queue for a new round."""
        self._ask(m.Redrive([job]), timeout, lambda reply: redriven(reply, job))

    def array(self, array: int, timeout: float | None = TIME_LIMIT) -> ArrayInfo:
        """How the jobs of an array fare."""
        return self._ask(m.ListArrays(array=array), timeout, one_array)

    def arrays(self, timeout: float | None = TIME_LIMIT) -> Sequence[ArrayInfo]:
        """The newest first."""
        arrays: builtins.list[ArrayInfo] = []
        while True:
            page = self._ask(m.ListArrays(arrays[-1].array if arrays else 0, 1_024), timeout, array_page)
            arrays += page.arrays
            if not page.more:
                return arrays

    def stop_array(self, array: int, timeout: float | None = TIME_LIMIT) -> bool:
        """Makes no more of its jobs; those made go on. False: all were made."""
        return self._ask(m.SteerArray(array, 1), timeout, lambda reply: stopped(reply, array))

    def resubmit(self, array: int, *, cancelled: bool = False, timeout: float | None = TIME_LIMIT) -> int:
        """The number of another array, of the indices whose jobs are dead, or with `cancelled` were cancelled; if that
        has been made already, of that one. NotDead if there is none."""
        return self._ask(m.SteerArray(array, 2, cancelled), timeout, lambda reply: resubmitted(reply, array))

    def show(self, job: int, timeout: float | None = TIME_LIMIT) -> JobInfo:
        return self._ask(m.Show([job]), timeout, lambda reply: shown(reply, job))

    def list(
        self, *, state: str = "", queue: str = "", type: str = "", page: int = 100, timeout: float | None = TIME_LIMIT
    ) -> Iterator[JobInfo]:
        """All jobs like this, asked for page by page. Jobs that change meanwhile may be missed or come twice."""
        number, cursor = state_number(state) if state else 0, 0
        while True:
            found: Page = self._ask(m.List(number, queue, type, cursor, page), timeout, listed)
            yield from found.jobs
            cursor = found.next_cursor
            if cursor == 0:
                return

    def stats(self, timeout: float | None = TIME_LIMIT) -> dict[str, Any]:
        """The broker's counters; PROTOCOL.md names those that stay."""
        return self._ask(m.AskStats(), timeout, counted)

    @property
    def pending(self) -> int:
        """Submitted and not answered yet."""
        return self._core.unanswered

    def _submit(self, specs: Iterable[JobSpec]) -> Sequence[Submission]:
        self._require_same_process()
        give_up_at = time.monotonic() + self._submit_limit
        handles = []
        for spec in specs:
            submit = Submit(spec.pack(), bytes(spec.payload), spec.watch, give_up_at, array=spec.pack_array())
            with self._lock:
                if not self._wait_until(self._core.has_room, self._submit_limit):
                    raise Busy(f"{self._core.unanswered} submits are unanswered, and no answer came for too long")
                if self._core.submit(submit):
                    self._loop.wake()
            handles.append(Submission(self, submit.made, submit.ended))
        return handles

    def _watch(self, jobs: Sequence[int]) -> Sequence[Future[Ended]]:
        self._require_same_process()
        with self._lock:
            futures = self._core.watch(jobs)
            self._loop.wake()
        return futures

    def _ask(self, message: m.Message, timeout: float | None, read: Callable[[Reply], T]) -> T:
        self._require_same_process()
        with self._lock:
            future = self._core.ask(message)
            self._loop.wake()
        try:
            return read(_wait(future, timeout))
        except TimedOut:
            future.cancel()
            raise

    def _wait_until(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        if condition():
            return True
        self._waiters += 1
        try:
            return self._lock.wait_for(condition, timeout)
        finally:
            self._waiters -= 1

    def _go_on(self) -> bool:
        if self._waiters:
            self._lock.notify_all()
        return not self._closing

    def _require_same_process(self) -> None:
        if os.getpid() != self._process:
            raise Forked("this client belongs to the parent process; make a Client here")


def _wait(future: Future[T], timeout: float | None) -> T:
    try:
        return future.result(timeout)
    except JobyardError:
        raise
    except FutureTimeout:
        raise TimedOut(f"no answer within {timeout:g} s") from None


def known(value: T) -> Future[T]:
    """A future for what is known already."""
    future: Future[T] = Future()
    future.set_result(value)
    return future
