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

import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

from jobyard import questions
from jobyard.client_core import ClientCore, Ended, Made, Submit
from jobyard.endpoint import broker_endpoint
from jobyard.errors import Busy, Forked, JobyardError, TimedOut
from jobyard.job_info import ArrayInfo, EventInfo, JobInfo, QueueInfo, TaskInfo, WorkerInfo
from jobyard.link import LinkLoop
from jobyard.questions import LONGEST_WAIT, EventCursor, NamedPage, Question
from jobyard.spec import Backoff, JobSpec, RetryPolicy

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


class Events(Iterator[EventInfo]):
    """Events in their order, without a gap: none is missed or seen twice, also when the broker restarts meanwhile.

    Keep `last`, and give it to Client.events(after=…) to go on in another life; it may be beyond the last event seen,
    because what the filters hold back has been looked at too. EventsGone is raised where the broker has removed
    events; the next one is then the first that is left.
    """

    def __init__(self, client: Client, cursor: EventCursor, follow: bool, timeout: float | None) -> None:
        self._client = client
        self._cursor = cursor
        self._follow = follow
        self._timeout = timeout

    @property
    def last(self) -> int:
        """Go on behind this one."""
        return self._cursor.last or 0

    def __next__(self) -> EventInfo:
        limit = math.inf if self._timeout is None else time.monotonic() + self._timeout
        while (event := self._cursor.take()) is None:
            if self._cursor.at_end and not self._follow:
                raise StopIteration
            left = limit - time.monotonic()
            wait = min(max(left, 0.0), LONGEST_WAIT) if self._follow else 0.0
            self._client._ask(self._cursor.page(wait), None if self._timeout is None else max(left, 0.0))
        return event


class Client:
    """`broker` is an endpoint ("ipc://PATH", "tcp://HOST:7466"); without it $JOBYARD_BROKER, else this user's own.

    A broker that is not there yet is no error: what is submitted waits for it up to `submit_limit` seconds, as it does
    for a broker that is too busy. Beyond `max_pending` unanswered jobs, or so many bytes of them, submit() waits.
    `grant` is how many bytes of results the broker may have under way to this client.

    For a broker with keys: `server_key` is its public key or the file of it, `key_file` that of this client's secret key
    (`jobyard keygen`); without them $JOBYARD_SERVER_KEY and $JOBYARD_KEY_FILE.
    """

    def __init__(
        self,
        broker: str | None = None,
        *,
        submit_limit: float = TIME_LIMIT,
        max_pending: int = 65_536,
        max_pending_bytes: int = 64 << 20,
        grant: int = 16 << 20,
        server_key: str = "",
        key_file: str = "",
    ) -> None:
        self._submit_limit = submit_limit
        self._process = os.getpid()
        self._core = ClientCore(grant, max_pending, max_pending_bytes)
        self._loop = LinkLoop(self._core, broker_endpoint(broker), server_key, key_file)
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
        key_ttl: float = 86_400.0,
        delay: float = 0.0,
        run_at: datetime | float = 0.0,
        deadline: float = 0.0,
        queue_timeout: float = 0.0,
        timeout: float | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        held: bool = False,
        watch: bool = False,
        array: range | None = None,
        array_name: str = "",
        at_once: int = 0,
    ) -> Submission:
        """Submits a job; the settings are those of JobSpec. What can be seen to be wrong here is raised at once, what
        the broker refuses by the handle's id()."""
        spec = JobSpec(
            type=type,
            payload=payload,
            queue=queue,
            priority=priority,
            key=key,
            key_ttl=key_ttl,
            delay=delay,
            run_at=run_at,
            deadline=deadline,
            queue_timeout=queue_timeout,
            timeout=timeout,
            max_attempts=max_attempts,
            backoff=backoff,
            held=held,
            watch=watch,
            array=array,
            array_name=array_name,
            at_once=at_once,
        )
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
        return self._ask(questions.cancel(job), timeout)

    def redrive(self, job: int, timeout: float | None = TIME_LIMIT) -> None:
        """Takes a job out of the dead letter queue for a new round."""
        self._ask(questions.redrive(job), timeout)

    def change(
        self,
        job: int,
        *,
        priority: int | None = None,
        queue: str = "",
        held: bool | None = None,
        timeout: float | None = TIME_LIMIT,
    ) -> None:
        """Reprioritizes, moves, holds or releases a job that waits; what is not said stays. NotWaiting if it runs."""
        self._ask(questions.change(job, priority, queue, held), timeout)

    def show(self, job: int, timeout: float | None = TIME_LIMIT) -> JobInfo:
        return self._ask(questions.show(job), timeout)

    def list(
        self,
        *,
        state: str = "",
        queue: str = "",
        type: str = "",
        array: int = 0,
        page: int = 100,
        timeout: float | None = TIME_LIMIT,
    ) -> Iterator[JobInfo]:
        """All jobs like this, asked for page by page. Jobs that change meanwhile may be missed or come twice."""
        cursor = 0
        while True:
            found = self._ask(questions.jobs(state, queue, type, array, cursor, page), timeout)
            yield from found.jobs
            cursor = found.next_cursor
            if cursor == 0:
                return

    def edit(
        self,
        job: int,
        *,
        payload: bytes | None = None,
        type: str = "",
        queue: str = "",
        priority: int | None = None,
        retry: RetryPolicy = RetryPolicy(),
        timeout: float | None = TIME_LIMIT,
    ) -> None:
        """Another payload, type, queue, priority or policy of a dead job, before its redrive; what is not said stays."""
        self._ask(questions.edit(job, payload, type, queue, priority, retry), timeout)

    def payload(self, job: int, timeout: float | None = TIME_LIMIT) -> bytes:
        """Of a job that is unended or dead; others have none any more."""
        return self._ask(questions.payload(job), timeout)

    def set_queue(
        self,
        queue: str,
        type: str = "",
        *,
        paused: bool | None = None,
        by: str = "",
        why: str = "",
        max_running: int | None = None,
        retry: RetryPolicy = RetryPolicy(),
        timeout: float | None = TIME_LIMIT,
    ) -> None:
        """Pauses, resumes or limits a queue (0: no limit), or says how its jobs are tried; with `type` only those of
        this type (in all queues, if the queue is "*"), of which there is `retry` alone. What is not said stays; UNSET takes a value of `retry` back.
        """
        self._ask(questions.set_queue(queue, type, paused, by, why, max_running, retry), timeout)

    def queues(self, timeout: float | None = TIME_LIMIT) -> Sequence[QueueInfo]:
        """All that have had jobs since the broker started, or for which something is set, in order of their names."""
        return self._all(questions.queues, timeout)

    def queue(self, name: str, timeout: float | None = TIME_LIMIT) -> QueueInfo:
        found: QueueInfo = self._ask(questions.queues(name=name), timeout).found[0]
        return found

    def start_task(
        self,
        action: str,
        *,
        state: str = "",
        queue: str = "",
        type: str = "",
        reason: str = "",
        error: str = "",
        older_than: float = 0.0,
        newer_than: float = 0.0,
        count_only: bool = False,
        by: str = "",
        jobs: Iterable[int] = (),
        timeout: float | None = TIME_LIMIT,
    ) -> int:
        """Begins to "cancel", "redrive" or "purge" all jobs that are there now and that every filter lets through;
        gives the task's number. It goes on in the broker, also without this client, and after a restart.

        `state` is for cancel; `reason`, `error` (a fingerprint) and `jobs` (only these, at most 1,024) for redrive and
        purge. Ages are in seconds since the submit; of dead jobs since the end. With `count_only` nothing is changed:
        TaskInfo.done says how many it would be.
        """
        about = (state, queue, type, reason, error, older_than, newer_than, count_only, by, tuple(jobs))
        return self._ask(questions.start_task(secrets.randbits(64), action, *about), timeout)

    def tasks(self, timeout: float | None = TIME_LIMIT) -> Sequence[TaskInfo]:
        """Those that run and the last 100 that ended, the newest first."""
        return self._ask(questions.tasks(), timeout)

    def task(self, number: int, timeout: float | None = TIME_LIMIT) -> TaskInfo:
        return self._ask(questions.tasks(number), timeout)[0]

    def stop_task(self, number: int, timeout: float | None = TIME_LIMIT) -> None:
        """What it has done stays done."""
        self._ask(questions.stop_task(number), timeout)

    def arrays(self, timeout: float | None = TIME_LIMIT) -> Sequence[ArrayInfo]:
        """All that are remembered, the newest first."""
        return self._all(questions.arrays, timeout)

    def array(self, array: int, timeout: float | None = TIME_LIMIT) -> ArrayInfo:
        found: ArrayInfo = self._ask(questions.arrays(array=array), timeout).found[0]
        return found

    def stop_array(self, array: int, timeout: float | None = TIME_LIMIT) -> None:
        """Makes no more of its jobs; those that are made go on. To cancel them too: cancel()."""
        self._ask(questions.stop_array(array), timeout)

    def resubmit(self, array: int, *, cancelled: bool = False, timeout: float | None = TIME_LIMIT) -> int:
        """Another array, of the indices whose jobs are dead, or with `cancelled` were cancelled: its number. If that
        has been done already, the number of that one. NotDead if there is none."""
        return self._ask(questions.resubmit(array, cancelled), timeout)

    def workers(self, name: str = "", timeout: float | None = TIME_LIMIT) -> Sequence[WorkerInfo]:
        """All that are connected, or away for a moment; or those of that name, each with its jobs."""
        return self._all(lambda cursor: questions.workers(cursor, name), timeout)

    def drain(self, name: str, timeout: float | None = TIME_LIMIT) -> int:
        """All workers of that name are handed nothing more, finish what they hold, and stay; how many they are."""
        return self._ask(questions.drain(name), timeout)

    def resume(self, name: str, timeout: float | None = TIME_LIMIT) -> int:
        """Takes that back."""
        return self._ask(questions.resume(name), timeout)

    def events(
        self,
        *,
        after: int | None = None,
        follow: bool = True,
        queue: str = "",
        type: str = "",
        job: int = 0,
        kinds: Iterable[str] = (),
        timeout: float | None = None,
    ) -> Events:
        """What happens from now on; with `after` what has happened behind the event of that number (0: all that is
        kept), and then what happens. Without `follow` it ends where nothing more has happened yet.

        If nothing comes for `timeout` seconds, TimedOut is raised; the iterator may be asked again.
        """
        cursor = EventCursor(after, queue, type, job, [*kinds])
        if after is None:
            self._ask(cursor.page(), TIME_LIMIT)
        return Events(self, cursor, follow, timeout)

    def stats(self, timeout: float | None = TIME_LIMIT) -> dict[str, Any]:
        """The broker's counters; PROTOCOL.md names those that stay."""
        return self._ask(questions.stats(), timeout)

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

    def _ask(self, question: Question[T], timeout: float | None) -> T:
        self._require_same_process()
        with self._lock:
            future = self._core.ask(question.message, question.payload)
            self._loop.wake()
        try:
            return question.read(_wait(future, timeout))
        except TimedOut:
            future.cancel()
            raise

    def _all(self, page: Callable[[str], Question[NamedPage]], timeout: float | None) -> Sequence[Any]:
        found = self._ask(page(""), timeout)
        every = [*found.found]
        while found.next:
            found = self._ask(page(found.next), timeout)
            every += found.found
        return every

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
