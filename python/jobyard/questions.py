"""What can be asked of a broker: the message that asks, and how its answer is read. No I/O.

The clients for threads and for asyncio ask the same questions; what differs is how they wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from jobyard import messages as m
from jobyard.client_core import Reply
from jobyard.errors import BadField, BadMessage, EventsGone, refusal
from jobyard.job_info import ArrayInfo, EventInfo, JobInfo, QueueInfo, TaskInfo, WorkerInfo, read_info
from jobyard.spec import RetryPolicy
from jobyard.words import Code, action_number, event_number, reason_number, state_number, state_word

T = TypeVar("T")

LONGEST_WAIT = 25.0  # of a READ_EVENTS; the broker allows a little more
EVENTS_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    message: m.Message
    read: Callable[[Reply], T]
    payload: bytes = b""


class Page(NamedTuple):
    """Some jobs of a list. It may have few, even none, and not be the last."""

    jobs: Sequence[JobInfo]
    next_cursor: int  # 0: this was the last


class NamedPage(NamedTuple):
    """Some queues, workers or arrays."""

    found: Sequence[Any]
    next: str  # "": this was the last


# Jobs.


def cancel(job: int) -> Question[str]:
    """What became of it: a word for the job's state, or "cancel_requested"."""

    def read(reply: Reply) -> str:
        answer = _answer(reply)
        if answer.code == Code.ok:
            return state_word(9)
        if answer.code == Code.cancel_requested:
            return Code.cancel_requested.name
        if answer.code == Code.ended:
            return state_word(answer.state)
        raise _refusal(answer, f"job {job}")

    return Question(m.Cancel([job]), read)


def redrive(job: int) -> Question[None]:
    return Question(m.Redrive([job]), _done(f"job {job}"))


def change(job: int, priority: int | None, queue: str, held: bool | None) -> Question[None]:
    return Question(m.Change([job], priority or 0, queue, held), _done(f"job {job}"))


def edit(
    job: int, payload: bytes | None, type: str, queue: str, priority: int | None, retry: RetryPolicy
) -> Question[None]:
    if payload is not None and not isinstance(payload, (bytes, bytearray, memoryview)):
        raise BadField(f"bytes were expected, not {payload.__class__.__name__}", field="payload")
    new = bytes(payload or b"")
    message = m.Edit([job], 0, len(new), payload is not None, type, queue, priority or 0, *retry.pack())
    return Question(message, _done(f"job {job}"), new)


def payload(job: int) -> Question[bytes]:
    def read(reply: Reply) -> bytes:
        item, found = _job_maps(reply)[0]
        if item.code != Code.ok or found is None:
            raise refusal(item.code, f"job {job}")
        if "payload" not in found:
            text = f"job {job} is {found.get('state')}: only the payload of jobs that are unended or dead is kept"
            raise refusal(Code.ended, text)
        return bytes(found["payload"])

    return Question(m.Show([job], True), read)


def show(job: int) -> Question[JobInfo]:
    def read(reply: Reply) -> JobInfo:
        item, found = _job_maps(reply)[0]
        if item.code != Code.ok or found is None:
            raise refusal(item.code, f"job {job}")
        info: JobInfo = read_info(JobInfo, found)
        return info

    return Question(m.Show([job]), read)


def jobs(state: str, queue: str, type: str, array: int, cursor: int, page: int) -> Question[Page]:
    def read(reply: Reply) -> Page:
        found = [read_info(JobInfo, each) for _, each in _job_maps(reply) if each is not None]
        return Page(found, reply.message[0])

    return Question(m.List(state_number(state) if state else 0, queue, type, cursor, page, array), read)


def stats() -> Question[dict[str, Any]]:
    def read(reply: Reply) -> dict[str, Any]:
        return _map(reply.payload)

    return Question(m.AskStats(), read)


# Arrays.


def arrays(cursor: str = "", array: int = 0) -> Question[NamedPage]:
    return Question(m.ListArrays(int(cursor or 0), array=array), lambda reply: _maps(reply, ArrayInfo))


def stop_array(array: int) -> Question[None]:
    return Question(m.SteerArray(array, 1), _done(f"array {array}"))


def resubmit(array: int, cancelled: bool) -> Question[int]:
    def read(reply: Reply) -> int:
        answer = _answer(reply)
        if answer.code not in (Code.ok, Code.existing):
            raise _refusal(answer, f"array {array}")
        return answer.job

    return Question(m.SteerArray(array, 2, cancelled), read)


# Queues.


def set_queue(
    queue: str,
    type: str,
    paused: bool | None,
    by: str,
    why: str,
    max_running: int | None,
    retry: RetryPolicy,
) -> Question[None]:
    return Question(m.SetQueue(queue, type, paused, by, why, max_running, *retry.pack()), _done(queue))


def queues(cursor: str = "", name: str = "") -> Question[NamedPage]:
    return Question(m.ListQueues(cursor, name=name), lambda reply: _maps(reply, QueueInfo))


# Many jobs at once.


def start_task(
    nonce: int,
    action: str,
    state: str,
    queue: str,
    type: str,
    reason: str,
    error: str,
    older_than: float,
    newer_than: float,
    count_only: bool,
    by: str,
    jobs: Sequence[int],
) -> Question[int]:
    """If its answer is lost it is asked again; by the nonce the broker sees that it is to begin no second task."""

    def read(reply: Reply) -> int:
        answer = _answer(reply)
        if answer.code != Code.ok:
            raise _refusal(answer, action)
        return answer.job

    return Question(
        m.StartTask(
            action_number(action),
            state_number(state) if state else 0,
            queue,
            type,
            reason_number(reason),
            error,
            round(older_than * 1000),
            round(newer_than * 1000),
            count_only,
            by,
            list(jobs),
            nonce,
        ),
        read,
    )


def tasks(task: int = 0) -> Question[Sequence[TaskInfo]]:
    return Question(m.ListTasks(task), lambda reply: _maps(reply, TaskInfo).found)


def stop_task(task: int) -> Question[None]:
    return Question(m.StopTask(task), _done(f"task {task}"))


# Workers.


def workers(cursor: str = "", name: str = "") -> Question[NamedPage]:
    return Question(m.ListWorkers(cursor, name=name), lambda reply: _maps(reply, WorkerInfo))


def drain(name: str) -> Question[int]:
    return _steer_worker(name, 1)


def resume(name: str) -> Question[int]:
    return _steer_worker(name, 2)


def _steer_worker(name: str, action: int) -> Question[int]:
    """How many workers of that name there are."""

    def read(reply: Reply) -> int:
        answers = _answers(reply)
        for answer in answers:
            if answer.code != Code.ok:
                raise _refusal(answer, f"worker {name}")
        return len(answers)

    return Question(m.SteerWorker(name, action), read)


# Events.


class EventCursor:
    """Where a reader of the event stream is, and what it has read but not taken."""

    def __init__(self, after: int | None, queue: str, type: str, job: int, kinds: Sequence[str]) -> None:
        self.last = after  # go on behind this one; None: from now on, not known yet
        self.at_end = False  # as of the last page
        self._filter: dict[str, Any] = dict(queue=queue, type=type, job=job, kinds=[event_number(k) for k in kinds])
        self._found: deque[EventInfo] = deque()
        self._read_upto = 0
        self._gone: EventsGone | None = None

    def take(self) -> EventInfo | None:
        """The next event; None if there must be another page first."""
        if self._gone is not None:
            gone, self._gone = self._gone, None
            self.last = gone.upto
            raise gone
        if self._found:
            event = self._found.popleft()
            self.last = event.event if self._found else self._read_upto
            return event
        return None

    def page(self, wait: float = 0.0) -> Question[None]:
        """With `wait` it is answered when there is something, or after so many seconds."""
        message = m.ReadEvents(self.last, EVENTS_PAGE, round(wait * 1000), **self._filter)
        return Question(message, self._read)

    def _read(self, reply: Reply) -> None:
        events = reply.message
        if not isinstance(events, m.Events):
            raise BadMessage("EVENTS was expected")
        # Who asks for all that is kept wants to hear nothing of what is not.
        if self.last and events.gone > self.last:
            self._gone = EventsGone(self.last, events.gone)
        for part in m.payloads(events.items, reply.payload):
            found = _map(part)
            first: EventInfo = read_info(EventInfo, found)
            for n in range(found.get("count", 1)):
                self._found.append(_nth(first, n))
        self._read_upto = events.last
        if not self._found and self._gone is None:
            self.last = events.last
        self.at_end = not events.more


def _nth(first: EventInfo, n: int) -> EventInfo:
    """Of a run: the same happened to jobs with consecutive numbers."""
    if n == 0:
        return first
    return EventInfo(
        event=first.event + n,
        kind=first.kind,
        at=first.at,
        job=first.job + n if first.job else 0,
        queue=first.queue,
        type=first.type,
        worker=first.worker,
        text=first.text,
    )


# How answers are read.


def _done(what: str) -> Callable[[Reply], None]:
    def read(reply: Reply) -> None:
        answer = _answer(reply)
        if answer.code != Code.ok:
            raise _refusal(answer, what)

    return read


def _answers(reply: Reply) -> Sequence[m.AnswerItem]:
    if not isinstance(reply.message, m.Answers):
        raise BadMessage("ANSWERS was expected")
    return reply.message.items


def _answer(reply: Reply) -> m.AnswerItem:
    answers = _answers(reply)
    if len(answers) != 1:
        raise BadMessage("one answer was expected")
    return answers[0]


def _refusal(answer: m.AnswerItem, what: str) -> Exception:
    return refusal(answer.code, answer.text or what, answer.field, answer.retry_after_ms)


def _map(data: bytes) -> dict[str, Any]:
    found = m.unpack(data)
    if not isinstance(found, dict):
        raise BadMessage("a map was expected")
    return found


def _job_maps(reply: Reply) -> list[tuple[m.JobItem, Mapping[str, Any] | None]]:
    if not isinstance(reply.message, m.Jobs):
        raise BadMessage("JOBS was expected")
    parts = m.payloads(reply.message.items, reply.payload)
    return [(item, _map(part) if part else None) for item, part in zip(reply.message.items, parts)]


def _maps(reply: Reply, cls: Any) -> NamedPage:
    if not isinstance(reply.message, m.Maps):
        raise BadMessage("MAPS was expected")
    parts = m.payloads(reply.message.items, reply.payload)
    return NamedPage([read_info(cls, _map(part)) for part in parts], reply.message.next)
