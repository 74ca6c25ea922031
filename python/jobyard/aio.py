"""A client for asyncio, with the same conversation as the one for threads and no thread of its own.

    async with AsyncClient() as client:
        job = await client.submit("resize", payload=picture)
        print(await job.id())                 # it is durable now
        print(await job.result(timeout=60))   # the bytes its worker returned
"""

from __future__ import annotations

import builtins
import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from jobyard import messages as m
from jobyard.client import TIME_LIMIT, known
from jobyard.client_core import ClientCore, Ended, Made, Reply, Submit
from jobyard.conversation import NEVER
from jobyard.endpoint import broker_endpoint
from jobyard.errors import Busy, Closed, JobyardError, TimedOut
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
from jobyard.link import Link
from jobyard.spec import Backoff, JobSpec
from jobyard.words import state_number

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
    ) -> None:
        self._submit_limit = submit_limit
        self._events = asyncio.get_running_loop()
        self._core = ClientCore(grant, max_pending, max_pending_bytes)
        self._link = Link(self._core, broker_endpoint(broker))
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
        delay: float = 0.0,
        timeout: float | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        watch: bool = False,
        array: range | None = None,
        array_name: str = "",
        at_once: int = 0,
    ) -> AsyncSubmission:
        spec = JobSpec(
            type, payload, queue, priority, key, delay, timeout, max_attempts, backoff, watch,
            array=array, array_name=array_name, at_once=at_once,
        )  # fmt: skip
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
        return await self._ask(m.Cancel([job]), timeout, lambda reply: cancelled(reply, job))

    async def redrive(self, job: int, timeout: float | None = TIME_LIMIT) -> None:
        await self._ask(m.Redrive([job]), timeout, lambda reply: redriven(reply, job))

    async def array(self, array: int, timeout: float | None = TIME_LIMIT) -> ArrayInfo:
        """How the jobs of an array fare."""
        return await self._ask(m.ListArrays(array=array), timeout, one_array)

    async def arrays(self, timeout: float | None = TIME_LIMIT) -> Sequence[ArrayInfo]:
        """The newest first."""
        arrays: builtins.list[ArrayInfo] = []
        while True:
            page = await self._ask(m.ListArrays(arrays[-1].array if arrays else 0, 1_024), timeout, array_page)
            arrays += page.arrays
            if not page.more:
                return arrays

    async def stop_array(self, array: int, timeout: float | None = TIME_LIMIT) -> bool:
        """Makes no more of its jobs; those made go on. False: all were made."""
        return await self._ask(m.SteerArray(array, 1), timeout, lambda reply: stopped(reply, array))

    async def resubmit(self, array: int, *, cancelled: bool = False, timeout: float | None = TIME_LIMIT) -> int:
        """The number of another array, of the indices whose jobs are dead, or with `cancelled` were cancelled; if that
        has been made already, of that one. NotDead if there is none."""
        return await self._ask(m.SteerArray(array, 2, cancelled), timeout, lambda reply: resubmitted(reply, array))

    async def show(self, job: int, timeout: float | None = TIME_LIMIT) -> JobInfo:
        return await self._ask(m.Show([job]), timeout, lambda reply: shown(reply, job))

    async def list(
        self, *, state: str = "", queue: str = "", type: str = "", page: int = 100, timeout: float | None = TIME_LIMIT
    ) -> AsyncIterator[JobInfo]:
        number, cursor = state_number(state) if state else 0, 0
        while True:
            found: Page = await self._ask(m.List(number, queue, type, cursor, page), timeout, listed)
            for job in found.jobs:
                yield job
            cursor = found.next_cursor
            if cursor == 0:
                return

    async def stats(self, timeout: float | None = TIME_LIMIT) -> dict[str, Any]:
        return await self._ask(m.AskStats(), timeout, counted)

    @property
    def pending(self) -> int:
        return self._core.unanswered

    def _watch(self, jobs: Sequence[int]) -> Sequence[Future[Ended]]:
        futures = self._core.watch(jobs)
        self._schedule()
        return futures

    async def _ask(self, message: m.Message, timeout: float | None, read: Callable[[Reply], T]) -> T:
        future = self._core.ask(message)
        self._schedule()
        try:
            return read(await _wait(future, timeout))
        except (TimedOut, asyncio.CancelledError):
            future.cancel()
            raise

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
