"""A worker: a handler for each type of job, and run().

    worker = Worker(slots=4)

    @worker.job("count_words")
    def count_words(job: Job) -> bytes:
        return str(len(job.payload.split())).encode()

    worker.run()

A handler returns the result, or None for an empty one. It raises Fail or any other exception if the attempt failed,
and Snooze to hand the job back uncharged, perhaps for later. A handler that is `async` runs in one event loop with all others of its
kind, and is cancelled where it awaits when it should stop; the others have a thread each and look at `job.cancelled`.

A job may be run more than once (a worker may die between doing and reporting); its end is recorded once. What a handler
changes elsewhere should bear that: pass on `job.token`, which only grows, and refuse what comes with a smaller one.

Handlers share the interpreter, and its lock, with the thread that renews their leases. Run what computes for long in
more workers of few slots each; a call into C that keeps the lock for longer than a lease loses its job.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import signal
import socket
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType
from typing import TypeVar

from jobyard.conversation import log
from jobyard.endpoint import broker_endpoint
from jobyard.errors import BadField, Closed
from jobyard.link import LinkLoop
from jobyard.spec import require_name
from jobyard.words import (
    MAX_HEADER_BYTES,
    MAX_HELD_JOBS,
    MAX_NAME_BYTES,
    MAX_QUEUES_OF_WORKER,
    MAX_TYPES_OF_WORKER,
)
from jobyard.worker_core import End, Failure, HandBack, Lease, Success, WorkerCore, first_bytes

STOP_NOW_GRACE = 1.0
LONGEST_SNOOZE = 366 * 86_400.0
CLAIM_BYTES = 24  # at most, in a HELLO, of which there may be 1,024


class Fail(Exception):
    """The attempt failed. The job is tried again while it has attempts left, unless that is of no use."""

    def __init__(self, message: str, *, retryable: bool = True, result: bytes = b"", tail: str = "") -> None:
        super().__init__(message)
        self.retryable = retryable
        self.result = result  # kept if this was the last attempt
        self.tail = tail  # the end of what the job wrote; the last 1 KiB is kept


class Snooze(Exception):
    """Hands the job back, charged to nobody: another attempt begins not before `delay` seconds from now (0: as soon as a
    worker has room), perhaps elsewhere. Whoever waits for something outside says so with this rather than by sleeping
    in a slot."""

    def __init__(self, delay: float = 0.0) -> None:
        if not 0 <= delay <= LONGEST_SNOOZE:
            raise BadField(f"delay: {delay}; 0 to {LONGEST_SNOOZE:.0f} seconds were expected", field="delay")
        super().__init__(f"snoozed for {delay:g} s")
        self.delay = delay


class Job:
    """One attempt of one job, as its handler sees it."""

    def __init__(self, lease: Lease) -> None:
        item = lease.item
        self.id = item.job
        self.token = item.token  # of this attempt's lease; greater than that of any attempt before
        self.attempt = item.attempt  # counted from 1
        self.max_attempts = item.max_attempts
        self.priority = item.priority
        self.queue = item.queue
        self.type = item.type
        self.payload = lease.payload
        self.array = item.array  # one of the jobs of this array; 0: of none
        self.array_index = item.array_index
        self.deadline = lease.deadline  # when the attempt will have run too long, by time.monotonic()
        # Set when the job should stop: it was cancelled, its lease was lost, its time is up, or the worker leaves. A
        # result that is returned nevertheless counts if nothing was reported before.
        self.cancelled = threading.Event()
        self._lease = lease

    def progress(self, fraction: float, text: str = "") -> None:
        """How far the job is, from 0 to 1. Cheap; the broker learns the latest with the next renewal of the lease."""
        self._lease.progress = min(max(fraction, 0.0), 1.0)
        self._lease.progress_text = first_bytes(text, MAX_NAME_BYTES)


Returned = bytes | None
Handler = Callable[[Job], Returned | Awaitable[Returned]]
H = TypeVar("H", bound=Handler)


class Worker:
    """`slots` handlers run at once; `credit` jobs at most are held, running ones included (default: as many as slots).
    After stop(), handlers may go on for `drain` seconds. One that was told to stop has `stop_grace` seconds; when none
    of all slots has stopped by then, run() raises: a thread cannot be ended from outside, so end the process."""

    def __init__(
        self,
        broker: str | None = None,
        *,
        name: str = "",
        slots: int = 0,
        credit: int = 0,
        queues: Sequence[str] = ("default",),
        drain: float = 25.0,
        stop_grace: float = 15.0,
        server_key: str = "",
        key_file: str = "",
    ) -> None:
        self._broker = broker
        self._keys = (server_key, key_file)
        self._name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._slots = slots or max((os.cpu_count() or 1) // 2, 1)
        self._credit = credit or self._slots
        self._queues = tuple(queues)
        self._drain = drain
        self._stop_grace = stop_grace
        self._handlers: dict[str, Handler] = {}
        self._stop_asked = 0  # times
        self._stop_taken = 0
        self._core: WorkerCore | None = None
        self._loop: LinkLoop | None = None
        self._begun: queue.SimpleQueue[tuple[Lease, Job] | None] = queue.SimpleQueue()
        self._events: asyncio.AbstractEventLoop | None = None

    def job(self, type: str) -> Callable[[H], H]:
        """Says who runs the jobs of a type. Before run()."""

        def register(handler: H) -> H:
            require_name("type", type)
            self._handlers[type] = handler
            return handler

        return register

    def run(self, *, signals: bool = True) -> None:
        """Connects, and runs jobs until stopped. It keeps trying while the broker is away, and through any number of
        its restarts; ends are kept until the broker has answered them. Once in the life of a Worker.

        In the main thread SIGTERM and SIGINT stop it, the second time at once; `signals=False` leaves them alone.
        """
        self._check()
        types = tuple(self._handlers)
        host = socket.gethostname()
        self._core = WorkerCore(
            self._name,
            self._slots,
            self._credit,
            self._queues,
            types,
            self._stop_grace,
            host=host if host.isprintable() else "",  # a broker would refuse it
            pid=os.getpid(),
        )
        self._loop = LinkLoop(self._core, broker_endpoint(self._broker), *self._keys)
        threads = 0
        if any(not inspect.iscoroutinefunction(handler) for handler in self._handlers.values()):
            threads = self._slots
        for number in range(threads):
            threading.Thread(target=self._slot, name=f"jobyard-slot-{number}", daemon=True).start()
        if any(inspect.iscoroutinefunction(handler) for handler in self._handlers.values()):
            self._events = asyncio.new_event_loop()
            threading.Thread(target=self._events.run_forever, name="jobyard-async", daemon=True).start()
        before = {}
        if signals and threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self._signalled) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._loop.run(self._go_on)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for _ in range(threads):
                self._begun.put(None)
            if self._events is not None:
                self._events.call_soon_threadsafe(self._events.stop)
        if not isinstance(self._core.over, Closed):
            assert self._core.over is not None
            raise self._core.over

    def stop(self) -> None:
        """Makes run() finish: nothing new is begun, jobs that were not begun go back at once, running ones may end.
        From any thread and from a signal handler."""
        self._ask_to_stop(1)

    def stop_now(self) -> None:
        """The same without waiting: handlers are told to stop at once and have a second."""
        self._ask_to_stop(2)

    def _check(self) -> None:
        if self._core is not None:
            raise RuntimeError("this worker has run; make a new one")
        if not self._handlers:
            raise BadField('no handler; @worker.job("TYPE") names at least one', field="types")
        require_name("name", self._name)
        for each in self._queues:
            require_name("queue", each)
        _within("slots", self._slots, MAX_HELD_JOBS)
        _within("credit", self._credit, MAX_HELD_JOBS)
        _within("queues", len(self._queues), MAX_QUEUES_OF_WORKER)
        _within("types", len(self._handlers), MAX_TYPES_OF_WORKER)
        room = MAX_HEADER_BYTES - CLAIM_BYTES * MAX_HELD_JOBS - 1_024
        _within("bytes of queues and types", sum(len(n.encode()) + 3 for n in (*self._queues, *self._handlers)), room)

    def _ask_to_stop(self, times: int) -> None:
        # No lock: the thread in run() may hold it when a signal interrupts it.
        self._stop_asked = max(self._stop_asked, times)
        if self._loop is not None:
            self._loop.wake()

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._ask_to_stop(self._stop_asked + 1)

    # In the thread of run().

    def _go_on(self) -> bool:
        assert self._core is not None and self._loop is not None
        now = time.monotonic()
        if self._stop_asked > self._stop_taken:
            self._stop_taken = self._stop_asked
            if self._stop_taken == 1:
                self._core.drain(now, self._drain)
            else:
                self._core.drain(now, 0.0, STOP_NOW_GRACE)
            self._loop.wake()  # another turn: there is something to say
        while lease := self._core.begin(now):
            self._begin(lease)
        while self._core.to_stop:
            self._core.to_stop.popleft().tell()
        if self._core.drained(now):
            running, unanswered = self._core.left_behind
            if running or unanswered:
                log.warning("leaving with %d handlers running and %d ends unanswered", running, unanswered)
            self._core.goodbye(now)
        return self._core.over is None

    def _begin(self, lease: Lease) -> None:
        job = Job(lease)
        lease.tell = job.cancelled.set
        handler = self._handlers[lease.item.type]
        if inspect.iscoroutinefunction(handler):
            self._begin_async(lease, job, handler)
        else:
            self._begun.put((lease, job))

    def _begin_async(self, lease: Lease, job: Job, handler: Callable[[Job], Awaitable[Returned]]) -> None:
        assert self._events is not None
        events = self._events
        tasks: list[asyncio.Task[End]] = []

        def begin() -> None:
            task = events.create_task(self._attend_async(job, handler))
            task.add_done_callback(lambda task: self._returned(lease, task.result()))
            tasks.append(task)

        def tell() -> None:
            job.cancelled.set()
            events.call_soon_threadsafe(lambda: tasks[0].cancel())

        lease.tell = tell
        events.call_soon_threadsafe(begin)

    # In the threads of handlers.

    def _slot(self) -> None:
        while begun := self._begun.get():
            lease, job = begun
            self._returned(lease, self._attend(job))

    def _attend(self, job: Job) -> End:
        try:
            return _success(self._handlers[job.type](job))
        except BaseException as raised:  # a slot outlives whatever a handler raises
            return _end_of(raised)

    async def _attend_async(self, job: Job, handler: Callable[[Job], Awaitable[Returned]]) -> End:
        try:
            return _success(await handler(job))
        except BaseException as raised:
            return _end_of(raised)

    def _returned(self, lease: Lease, end: End) -> None:
        assert self._core is not None and self._loop is not None
        with self._loop.lock:
            self._core.returned(lease, end, time.monotonic())
            self._loop.wake()


def _success(result: object) -> End:
    if result is None:
        return Success()
    if isinstance(result, (bytes, bytearray, memoryview)):
        return Success(bytes(result))
    return Failure(f"the handler returned {type(result).__name__}; bytes or None was expected", retryable=False)


def _end_of(raised: BaseException) -> End:
    if isinstance(raised, Snooze):
        return HandBack(raised.delay)
    if isinstance(raised, Fail):
        return Failure(str(raised), raised.retryable, raised.result, raised.tail)
    if isinstance(raised, asyncio.CancelledError):
        return Failure("stopped")
    log.info("a handler raised", exc_info=raised)
    text = f"{type(raised).__name__}: {raised}"
    return Failure(text, tail="".join(traceback.format_exception(raised)))


def _within(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise BadField(f"{name}: {value}; 1 to {most} was expected", field=name)
