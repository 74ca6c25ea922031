"""What the broker tells of jobs and of itself: SHOW, LIST and STATS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from typing import Any

from jobyard import messages as m
from jobyard.client_core import Reply
from jobyard.errors import BadMessage, refusal
from jobyard.words import Code, state_word


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptInfo:
    """One attempt that has begun; `outcome` is a word of PROTOCOL.md, "The life of a job"."""

    attempt: int
    worker: str = ""
    token: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str = ""
    error: str = ""
    tail: str = ""  # the end of what it wrote


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """All that is known of a job. Times of day are the broker's."""

    id: int
    queue: str = ""
    type: str = ""
    priority: int = 0
    state: str = ""
    reason: str = ""
    attempt: int = 0  # the last or running one; 0: none yet
    max_attempts: int = 0
    errors: int = 0  # charged to max_attempts
    crashes: int = 0  # charged to the crash budget
    timeout: float = 0.0  # seconds; 0: none
    key: str = ""
    created_at: datetime | None = None
    due_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    payload_bytes: int = 0
    result_bytes: int = 0
    worker: str = ""
    token: int = 0
    cancel_requested: bool = False
    progress: float = 0.0  # 0 to 1
    progress_text: str = ""
    error: str = ""
    array: int = 0  # one of the jobs of this array; 0: of none
    array_index: int = 0
    attempts: tuple[AttemptInfo, ...] = ()  # only from show()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayInfo:
    """Many jobs of one submit."""

    array: int
    name: str = ""
    queue: str = ""
    type: str = ""
    state: str = ""  # running; or how it ended: completed, dead (one is), cancelled
    key: str = ""
    created_at: datetime | None = None
    ended_at: datetime | None = None
    count: int = 0  # jobs in all
    first: int = 0
    step: int = 0  # 0: not a range, because it resubmits
    at_once: int = 0
    making: bool = False  # there are jobs to make yet
    made: int = 0  # of these are:
    waiting: int = 0
    running: int = 0
    completed: int = 0
    dead: int = 0
    cancelled: int = 0
    left_dead: int = 0  # dead and not resubmitted
    left_cancelled: int = 0
    resubmits: int = 0  # another array's leftovers
    resubmitted_as: int = 0


@dataclass(frozen=True, slots=True)
class ArrayPage:
    arrays: list[ArrayInfo]
    more: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs of a list. It may have few, even none, and not be the last."""

    jobs: list[JobInfo]
    next_cursor: int  # 0: this was the last


def steered(reply: Reply, job: int) -> m.AnswerItem:
    """The one answer to a CANCEL or REDRIVE of one job."""
    answers = reply.message
    if not isinstance(answers, m.Answers) or len(answers.items) != 1:
        raise BadMessage("one answer was expected")
    answer: m.AnswerItem = answers.items[0]
    return answer


def cancelled(reply: Reply, job: int) -> str:
    """What became of a cancel: a word for the job's state, or "cancel_requested"."""
    answer = steered(reply, job)
    if answer.code == Code.ok:
        return state_word(9)
    if answer.code == Code.cancel_requested:
        return Code.cancel_requested.name
    if answer.code == Code.ended:
        return state_word(answer.state)
    raise refusal(answer.code, answer.text or f"job {job}", answer.field, answer.retry_after_ms)


def redriven(reply: Reply, job: int) -> None:
    answer = steered(reply, job)
    if answer.code != Code.ok:
        raise refusal(answer.code, answer.text or f"job {job}", answer.field, answer.retry_after_ms)


def stopped(reply: Reply, array: int) -> bool:
    answer = steered(reply, array)
    if answer.code not in (Code.ok, Code.ended):
        raise refusal(answer.code, answer.text or f"array {array}", answer.field, answer.retry_after_ms)
    return answer.code == Code.ok


def resubmitted(reply: Reply, array: int) -> int:
    answer = steered(reply, array)
    if answer.code not in (Code.ok, Code.existing):
        raise refusal(answer.code, answer.text or f"array {array}", answer.field, answer.retry_after_ms)
    return answer.job


def array_page(reply: Reply) -> ArrayPage:
    if not isinstance(reply.message, m.Maps):
        raise BadMessage("MAPS was expected")
    parts = m.payloads(reply.message.items, reply.payload)
    return ArrayPage([_read(ArrayInfo, m.unpack(part)) for part in parts], reply.message.next != "")


def one_array(reply: Reply) -> ArrayInfo:
    arrays = array_page(reply).arrays
    if len(arrays) != 1:
        raise BadMessage("one array was expected")
    return arrays[0]


def shown(reply: Reply, job: int) -> JobInfo:
    item, found = _maps(reply)[0]
    if item.code != Code.ok or found is None:
        raise refusal(item.code, f"job {job}")
    info: JobInfo = _read(JobInfo, found)
    return info


def listed(reply: Reply) -> Page:
    assert isinstance(reply.message, m.Jobs)
    return Page([_read(JobInfo, found) for _, found in _maps(reply) if found is not None], reply.message.next_cursor)


def counted(reply: Reply) -> dict[str, Any]:
    stats = m.unpack(reply.payload)
    if not isinstance(stats, dict):
        raise BadMessage("STATS was expected to carry a map")
    return stats


def _maps(reply: Reply) -> list[tuple[m.JobItem, Mapping[str, Any] | None]]:
    if not isinstance(reply.message, m.Jobs):
        raise BadMessage("JOBS was expected")
    parts = m.payloads(reply.message.items, reply.payload)
    return [(item, m.unpack(part) if part else None) for item, part in zip(reply.message.items, parts)]


def _read(cls: Any, found: Mapping[str, Any]) -> Any:
    """Times become datetimes, durations seconds; keys that nobody knows here are left out."""
    known = {field.name for field in fields(cls)}
    values: dict[str, Any] = {}
    for key, value in found.items():
        if key.endswith("_at"):
            value = datetime.fromtimestamp(value / 1000, timezone.utc)
        elif key.endswith("_ms"):
            key, value = key.removesuffix("_ms"), value / 1000
        elif key == "attempts":
            value = tuple(_read(AttemptInfo, each) for each in value)
        if key in known:
            values[key] = value
    return cls(**values)
