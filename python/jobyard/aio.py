"""A client for asyncio, with the same conversation as the one for threads and no thread of its own.

    async with AsyncClient() as client:
        job = await client.submit("resize", payload=picture)
        print(await job.id())                 # it is durable now
        print(await job.result(timeout=60))   # the bytes its worker returned
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

from jobyard import questions
from jobyard.client import TIME_LIMIT, known
from jobyard.client_core import ClientCore, Ended, Made, Submit
from jobyard.conversation import NEVER
from jobyard.endpoint import broker_endpoint
from jobyard.errors import Busy, Closed, JobyardError, TimedOut
from jobyard.job_info import ArrayInfo, EventInfo, JobInfo, QueueInfo, TaskInfo, WorkerInfo
from jobyard.link import Link
from jobyard.questions import LONGEST_WAIT, EventCursor, NamedPage, Question
from jobyard.spec import Backoff, JobSpec, RetryPolicy

T = TypeVar("T")


class AsyncSubmission:
    """A job that was submitted or is watched: Submission, to be awaited."""

    def __init__(self, client: AsyncClient, made: Future[Made], ended: Future[Ended] | None) -> None:
        self._client = client
        self._made = made
        self._ended = ended

    async def id(self, timeout: float | None = TIME_LIMIT) -> int:
        return (await _wait(self._made, timeout)).job

    async def existing(self, timeout: float | None = TIME_LIMIT) -> bool:
        return (await _wait(self._made, timeout)).existing

    async def result(self, timeout: float | None = None) -> bytes:
        return (await self.wait(timeout)).result()

    async def wait(self, timeout: float | None = None) -> Ended:
        limit = None if timeout is None else time.monotonic() + timeout
        job = await self.id(timeout)
        if self._ended is None:
            self._ended = self._client._watch([job])[0]
        return await _wait(self._ended, None if limit is None else max(limit - time.monotonic(), 0.0))


class AsyncEvents(AsyncIterator[EventInfo]):
    """Events, to be awaited."""

    def __init__(self, client: AsyncClient, cursor: EventCursor, follow: bool, timeout: float | None) -> None:
        self._client = client
        self._cursor = cursor
        self._follow = follow
        self._timeout = timeout

    @property
    def last(self) -> int:
        return self._cursor.last or 0

    async def __anext__(self) -> EventInfo:
        limit = math.inf if self._timeout is None else time.monotonic() + self._timeout
        while (event := self._cursor.take()) is None:
            if self._cursor.at_end and not self._follow:
                raise StopAsyncIteration
            left = limit - time.monotonic()
            wait = min(max(left, 0.0), LONGEST_WAIT) if self._follow else 0.0
            await self._client._ask(self._cursor.page(wait), None if self._timeout is None else max(left, 0.0))
        return event


class AsyncClient:
    """The settings and the calls are those of Client. It belongs to the event loop that runs when it is made."""

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
        self._events = asyncio.get_running_loop()
        self._core = ClientCore(grant, max_pending, max_pending_bytes)
        self._link = Link(self._core, broker_endpoint(broker), server_key, key_file)
        self._read: tuple[int, ...] = ()
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._schedule()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close(self._submit_limit if kind is None else 2.0, must_be_answered=kind is None)

    async def close(self, timeout: float | None = TIME_LIMIT, must_be_answered: bool = True) -> None:
        answered = await self._wait_until(lambda: self._core.unanswered == 0 or self._core.over is not None, timeout)
        left = self._core.unanswered
        self._core.goodbye(time.monotonic())
        self._stop_turning()
        await asyncio.to_thread(self._link.close)
        if must_be_answered and not answered:
            raise TimedOut(f"{left} submits were not answered within {timeout:g} s; see their handles")

    async def submit(
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
    ) -> AsyncSubmission:
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
        return (await self.submit_many([spec]))[0]

    async def submit_many(self, specs: Iterable[JobSpec]) -> Sequence[AsyncSubmission]:
        give_up_at = time.monotonic() + self._submit_limit
        handles = []
        for spec in specs:
            submit = Submit(spec.pack(), bytes(spec.payload), spec.watch, give_up_at, array=spec.pack_array())
            if not await self._wait_until(self._core.has_room, self._submit_limit):
                raise Busy(f"{self._core.unanswered} submits are unanswered, and no answer came for too long")
            if self._core.submit(submit):
                self._schedule()
            handles.append(AsyncSubmission(self, submit.made, submit.ended))
        return handles

    def watch(self, *jobs: int) -> Sequence[AsyncSubmission]:
        return [AsyncSubmission(self, known(Made(job, True)), ended) for job, ended in zip(jobs, self._watch(jobs))]

    async def wait(self, job: int, timeout: float | None = None) -> Ended:
        return await _wait(self._watch([job])[0], timeout)

    async def cancel(self, job: int, timeout: float | None = TIME_LIMIT) -> str:
        return await self._ask(questions.cancel(job), timeout)

    async def redrive(self, job: int, timeout: float | None = TIME_LIMIT) -> None:
        await self._ask(questions.redrive(job), timeout)

    async def change(
        self,
        job: int,
        *,
        priority: int | None = None,
        queue: str = "",
        held: bool | None = None,
        timeout: float | None = TIME_LIMIT,
    ) -> None:
        await self._ask(questions.change(job, priority, queue, held), timeout)

    async def show(self, job: int, timeout: float | None = TIME_LIMIT) -> JobInfo:
        return await self._ask(questions.show(job), timeout)

    async def list(
        self,
        *,
        state: str = "",
        queue: str = "",
        type: str = "",
        array: int = 0,
        page: int = 100,
        timeout: float | None = TIME_LIMIT,
    ) -> AsyncIterator[JobInfo]:
        cursor = 0
        while True:
            found = await self._ask(questions.jobs(state, queue, type, array, cursor, page), timeout)
            for job in found.jobs:
                yield job
            cursor = found.next_cursor
            if cursor == 0:
                return

    async def edit(
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
        await self._ask(questions.edit(job, payload, type, queue, priority, retry), timeout)

    async def payload(self, job: int, timeout: float | None = TIME_LIMIT) -> bytes:
        return await self._ask(questions.payload(job), timeout)

    async def set_queue(
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
        await self._ask(questions.set_queue(queue, type, paused, by, why, max_running, retry), timeout)

    async def queues(self, timeout: float | None = TIME_LIMIT) -> Sequence[QueueInfo]:
        return await self._all(questions.queues, timeout)

    async def queue(self, name: str, timeout: float | None = TIME_LIMIT) -> QueueInfo:
        found: QueueInfo = (await self._ask(questions.queues(name=name), timeout)).found[0]
        return found

    async def start_task(
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
        about = (state, queue, type, reason, error, older_than, newer_than, count_only, by, tuple(jobs))
        return await self._ask(questions.start_task(secrets.randbits(64), action, *about), timeout)

    async def tasks(self, timeout: float | None = TIME_LIMIT) -> Sequence[TaskInfo]:
        return await self._ask(questions.tasks(), timeout)

    async def task(self, number: int, timeout: float | None = TIME_LIMIT) -> TaskInfo:
        return (await self._ask(questions.tasks(number), timeout))[0]

    async def stop_task(self, number: int, timeout: float | None = TIME_LIMIT) -> None:
        await self._ask(questions.stop_task(number), timeout)

    async def arrays(self, timeout: float | None = TIME_LIMIT) -> Sequence[ArrayInfo]:
        return await self._all(questions.arrays, timeout)

    async def array(self, array: int, timeout: float | None = TIME_LIMIT) -> ArrayInfo:
        found: ArrayInfo = (await self._ask(questions.arrays(array=array), timeout)).found[0]
        return found

    async def stop_array(self, array: int, timeout: float | None = TIME_LIMIT) -> None:
        await self._ask(questions.stop_array(array), timeout)

    async def resubmit(self, array: int, *, cancelled: bool = False, timeout: float | None = TIME_LIMIT) -> int:
        return await self._ask(questions.resubmit(array, cancelled), timeout)

    async def workers(self, name: str = "", timeout: float | None = TIME_LIMIT) -> Sequence[WorkerInfo]:
        return await self._all(lambda cursor: questions.workers(cursor, name), timeout)

    async def drain(self, name: str, timeout: float | None = TIME_LIMIT) -> int:
        return await self._ask(questions.drain(name), timeout)

    async def resume(self, name: str, timeout: float | None = TIME_LIMIT) -> int:
        return await self._ask(questions.resume(name), timeout)

    async def events(
        self,
        *,
        after: int | None = None,
        follow: bool = True,
        queue: str = "",
        type: str = "",
        job: int = 0,
        kinds: Iterable[str] = (),
        timeout: float | None = None,
    ) -> AsyncEvents:
        """`async for event in await client.events()`: where it begins is known when this has been awaited."""
        cursor = EventCursor(after, queue, type, job, [*kinds])
        if after is None:
            await self._ask(cursor.page(), TIME_LIMIT)
        return AsyncEvents(self, cursor, follow, timeout)

    async def stats(self, timeout: float | None = TIME_LIMIT) -> dict[str, Any]:
        return await self._ask(questions.stats(), timeout)

    @property
    def pending(self) -> int:
        return self._core.unanswered

    def _watch(self, jobs: Sequence[int]) -> Sequence[Future[Ended]]:
        futures = self._core.watch(jobs)
        self._schedule()
        return futures

    async def _ask(self, question: Question[T], timeout: float | None) -> T:
        future = self._core.ask(question.message, question.payload)
        self._schedule()
        try:
            return question.read(await _wait(future, timeout))
        except (TimedOut, asyncio.CancelledError):
            future.cancel()
            raise

    async def _all(self, page: Callable[[str], Question[NamedPage]], timeout: float | None) -> Sequence[Any]:
        found = await self._ask(page(""), timeout)
        every = [*found.found]
        while found.next:
            found = await self._ask(page(found.next), timeout)
            every += found.found
        return every

    async def _wait_until(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        if condition():
            return True
        waiter = condition, self._events.create_future()
        self._waiters.append(waiter)
        try:
            await asyncio.wait_for(waiter[1], timeout)
            return True
        except asyncio.TimeoutError:
            return False
        finally:
            self._waiters.remove(waiter)

    def _schedule(self) -> None:
        """A turn soon: what is submitted until then goes together."""
        if self._soon is None and not isinstance(self._core.over, Closed):
            self._soon = self._events.call_soon(self._turn)

    def _turn(self) -> None:
        self._stop_turning()
        try:
            more = self._link.turn()
        except BaseException as bug:
            self._core.close(JobyardError(f"the connection to the broker has ended: {bug!r}"))
            raise
        self._read = self._link.descriptors()
        for descriptor in self._read:
            self._events.add_reader(descriptor, self._schedule)
        for condition, waiter in self._waiters:
            if not waiter.done() and condition():
                waiter.set_result(None)
        due = self._core.due()
        if more:
            self._schedule()
        elif due != NEVER:
            self._timer = self._events.call_later(max(due - time.monotonic(), 0.0), self._schedule)

    def _stop_turning(self) -> None:
        for descriptor in self._read:
            self._events.remove_reader(descriptor)
        self._read = ()
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        self._soon = self._timer = None


async def _wait(future: Future[T], timeout: float | None) -> T:
    try:
        # Shielded: that one caller no longer waits is no reason to forget what others may wait for.
        return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), timeout)
    except JobyardError:
        raise
    except asyncio.TimeoutError:
        raise TimedOut(f"no answer within {timeout:g} s") from None
