"""What the broker tells of jobs, arrays, queues, tasks, workers and events, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from typing import Any

from jobyard.spec import RetryPolicy


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
    edited_at: datetime | None = None  # of a dead job
    worker: str = ""
    token: int = 0
    cancel_requested: bool = False
    progress: float = 0.0  # 0 to 1
    progress_text: str = ""
    error: str = ""
    array: int = 0  # one of the jobs of this array; its own number: it is the array; 0: of none
    array_index: int = 0
    attempts: tuple[AttemptInfo, ...] = ()  # only from show()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayInfo:
    """Many jobs of one submit, and how they fare."""

    array: int
    name: str = ""
    queue: str = ""
    type: str = ""
    state: str = ""  # running; or how it ended: completed, dead (one is) or cancelled
    created_at: datetime | None = None
    ended_at: datetime | None = None
    key: str = ""
    count: int = 0  # jobs in all
    first: int | None = None  # indices; not of an array that resubmits
    step: int | None = None
    at_once: int = 0
    making: bool = False  # there are jobs to make yet
    made: int = 0  # of these are
    waiting: int = 0
    running: int = 0
    completed: int = 0
    dead: int = 0
    cancelled: int = 0
    left_dead: int = 0  # of the dead, not resubmitted
    left_cancelled: int = 0
    resubmits: int = 0  # it makes what this array left; 0: it does not
    resubmitted_as: int = 0  # the last array that was made of what it left


@dataclass(frozen=True, slots=True, kw_only=True)
class TypePolicy:
    """How jobs of a type in a queue are tried."""

    type: str
    retry: RetryPolicy = RetryPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    name: str
    queued: int = 0
    running: int = 0
    waiting: int = 0  # for a time, a backoff, or to be let go
    paused: bool = False
    paused_at: datetime | None = None
    paused_by: str = ""
    paused_why: str = ""
    max_running: int = 0  # 0: no limit
    retry: RetryPolicy = RetryPolicy()  # of jobs that do not say themselves
    types: tuple[TypePolicy, ...] = ()  # the first 100 that have one


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """Something done to many jobs."""

    task: int
    action: str = ""
    state: str = ""  # running, done or stopped
    count_only: bool = False
    job_state: str = ""
    reason: str = ""
    queue: str = ""
    type: str = ""
    error: str = ""
    by: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    total: int = 0  # about how many jobs there are to look at
    looked: int = 0  # of these, so far
    done: int = 0  # jobs cancelled, redriven, purged or, with `count_only`, counted
    refused: int = 0  # that somebody else was faster with, or that are damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    name: str
    state: str = ""  # idle, busy, draining or away
    draining: bool = False  # it is handed nothing more
    slots: int = 0
    credit: int = 0
    running: int = 0
    queues: tuple[str, ...] = ()  # the first hundred, of `queues_total`
    types: tuple[str, ...] = ()
    queues_total: int = 0
    types_total: int = 0
    software: str = ""
    host: str = ""  # where it says it runs; "": it does not say
    pid: int = 0  # its process there
    connected_at: datetime | None = None
    heard_at: datetime | None = None
    jobs: tuple[int, ...] = ()  # that it holds; only if it was asked for by name


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInfo:
    """What happened. A newer broker may have kinds that PROTOCOL.md does not name yet."""

    event: int  # its number; the one after it has the next
    kind: str = ""
    at: datetime | None = None
    job: int = 0  # 0: it is about no job
    queue: str = ""
    type: str = ""
    worker: str = ""
    text: str = ""  # why


# What the maps in a list are.
_ITEMS: dict[str, Any] = {"attempts": AttemptInfo, "types": TypePolicy}


def read_info(cls: Any, found: Mapping[str, Any]) -> Any:
    """A value from its map: times become datetimes, durations seconds; keys that nobody knows here are left out."""
    known = {field.name for field in fields(cls)}
    values: dict[str, Any] = {"retry": RetryPolicy.from_map(found)} if "retry" in known else {}
    for key, value in found.items():
        if key.endswith("_at"):
            value = datetime.fromtimestamp(value / 1000, timezone.utc)
        elif key.endswith("_ms"):
            key, value = key.removesuffix("_ms"), value / 1000
        elif key in _ITEMS:
            value = tuple(read_info(_ITEMS[key], each) if isinstance(each, Mapping) else each for each in value)
        elif isinstance(value, list):
            value = tuple(value)
        if key in known:
            values[key] = value
    return cls(**values)
