"""A job to make: what may be said of it, and its bytes."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobyard import messages as m
from jobyard.errors import BadField, TooLarge
from jobyard.words import MAX_MESSAGE_BYTES, MAX_HEADER_BYTES, MAX_NAME_BYTES

LARGEST_PAYLOAD = MAX_MESSAGE_BYTES - MAX_HEADER_BYTES  # of any message; the broker's own limit is lower
LARGEST_INDEX = 2**53 - 1
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pause before attempt n+1: `initial` × `factor`^(n-1), at most `longest`, plus up to `jitter` of it.
    In seconds."""

    initial: float = 1.0
    factor: float = 2.0
    longest: float = 60.0
    jitter: float = 0.2


UNSET = -1  # in place of a value of a RetryPolicy: nothing is set any more
_UNSET_ON_THE_WIRE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How jobs that do not say themselves are tried: of a queue, or of a type in a queue. None: not said here; what no
    policy says is the usual. Times are in seconds."""

    max_attempts: int | None = None
    timeout: float | None = None  # of one attempt; 0: none
    backoff_initial: float | None = None
    backoff_factor: float | None = None
    backoff_longest: float | None = None
    backoff_jitter: float | None = None

    def pack(self) -> tuple[int | None, ...]:
        """The fields of a SET_QUEUE."""
        return (
            _set("max_attempts", self.max_attempts, 1, 1000),
            _set("timeout", self.timeout, 0, 30 * _DAY, 1000),
            _set("backoff_initial", self.backoff_initial, 0, 7 * _DAY, 1000),
            _set("backoff_factor", self.backoff_factor, 1, 100, 100),
            _set("backoff_longest", self.backoff_longest, 0, 7 * _DAY, 1000),
            _set("backoff_jitter", self.backoff_jitter, 0, 1, 100),
        )

    @classmethod
    def from_map(cls, found: Mapping[str, Any]) -> RetryPolicy:
        def scaled(key: str, scale: int) -> float | None:
            return found[key] / scale if key in found else None

        return cls(
            found.get("max_attempts"),
            scaled("timeout_ms", 1000),
            scaled("backoff_initial_ms", 1000),
            scaled("backoff_factor_percent", 100),
            scaled("backoff_max_ms", 1000),
            scaled("backoff_jitter_percent", 100),
        )


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job to make. Times are in seconds."""

    type: str  # decides which workers can run it
    payload: bytes = b""
    queue: str = "default"
    priority: int = 5  # 1 to 10, 10 first
    key: str = ""  # your own name for it within its queue: the same key again makes no second job
    delay: float = 0.0
    # What is None is as the policy of the type or the queue says, else 300 s, 4, and Backoff().
    timeout: float | None = None  # of one attempt; 0: none
    max_attempts: int | None = None
    backoff: Backoff | None = None
    watch: bool = False  # have the result sent as soon as there is one, without being asked for it
    run_at: datetime | float = 0.0  # not before then: an aware time, or seconds since 1970 UTC; or `delay`
    deadline: float = 0.0  # dead if it has not ended so long after its submit; 0: none
    queue_timeout: float = 0.0  # dead if no worker was given it so long after it could have begun; 0: none
    held: bool = False  # waits until somebody lets it go (`Client.change`)
    key_ttl: float = 86_400.0  # how long after its end the key still names it; 0: only till then
    # With a range, an array: a job for each index in it, which its handler finds as `job.array_index`. The number is
    # the array's, and so is the key; it is watched and cancelled as a job is.
    array: range | None = None
    array_name: str = ""  # for people
    at_once: int = 0  # of an array: no more of its jobs are unended at a time; 0: as many as there is room for

    def pack(self) -> bytes:
        """The item of a SUBMIT. What is wrong with it is raised here, where whoever wrote it can see it."""
        return m.encode_item(self._item())

    def pack_array(self) -> m.SubmitArray | None:
        """The SUBMIT_ARRAY, if it is one; its numbers are set when it is sent."""
        indices = self.array
        if indices is None:
            if self.array_name or self.at_once:
                raise BadField("array_name and at_once are of an array; a range was expected", field="array")
            return None
        if not isinstance(indices, range):
            raise BadField(f"array: {indices!r:.60}; a range was expected, such as range(100)", field="array")
        if not indices or indices.start < 0 or indices.step < 1 or max(indices[-1], indices.step) > LARGEST_INDEX:
            raise BadField(
                f"array: {indices}; a range within 0 to {LARGEST_INDEX} that grows was expected", field="array"
            )
        if self.array_name:
            require_name("array_name", self.array_name)
        at_once = _within("at_once", self.at_once, 0, 0xFFFFFFFF)
        return m.SubmitArray(0, 0, [self._item()], len(indices), indices.start, indices.step, at_once, self.array_name)

    def _item(self) -> m.SubmitItem:
        require_name("type", self.type)
        require_name("queue", self.queue)
        if self.key:
            require_name("key", self.key)
        if not isinstance(self.payload, (bytes, bytearray, memoryview)):
            raise BadField(f"bytes were expected, not {type(self.payload).__name__}", field="payload")
        if len(self.payload) > LARGEST_PAYLOAD:
            raise TooLarge(f"{len(self.payload)} bytes; no message holds more than {LARGEST_PAYLOAD}", field="payload")
        backoff = self.backoff
        pauses: tuple[int | None, int | None, int | None, int | None] = (None, None, None, None)
        if backoff is not None:
            pauses = (
                _within("backoff.initial", backoff.initial, 0, 7 * _DAY, 1000),
                _within("backoff.factor", backoff.factor, 1, 100, 100),
                _within("backoff.longest", backoff.longest, 0, 7 * _DAY, 1000),
                _within("backoff.jitter", backoff.jitter, 0, 1, 100),
            )
        return m.SubmitItem(
            0,
            len(self.payload),
            self.queue,
            self.type,
            _within("priority", self.priority, 1, 10),
            self.watch,
            _within("delay", self.delay, 0, 366 * _DAY, 1000),
            None if self.timeout is None else _within("timeout", self.timeout, 0, 30 * _DAY, 1000),
            None if self.max_attempts is None else _within("max_attempts", self.max_attempts, 1, 1000),
            self.key,
            pauses[0],
            pauses[1],
            pauses[2],
            pauses[3],
            run_at=_moment("run_at", self.run_at),
            deadline_ms=_within("deadline", self.deadline, 0, 366 * _DAY, 1000),
            queue_timeout_ms=_within("queue_timeout", self.queue_timeout, 0, 366 * _DAY, 1000),
            held=self.held,
            key_ttl_ms=_within("key_ttl", self.key_ttl, 0, 366 * _DAY, 1000),
        )


def require_name(name: str, value: str) -> None:
    """Queues, types, keys and names of workers: 1 to 255 bytes of UTF-8 without control characters."""
    if not isinstance(value, str) or not 1 <= len(value.encode()) <= MAX_NAME_BYTES:
        raise BadField(f"{name}: {value!r:.60}; text of 1 to {MAX_NAME_BYTES} bytes was expected", field=name)
    if not value.isprintable() and any(ord(each) < 32 or ord(each) == 127 for each in value):
        raise BadField(f"{name}: {value!r:.60}; text without control characters was expected", field=name)


def _moment(name: str, value: datetime | float) -> int:
    """Milliseconds since 1970 UTC; 0: none."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise BadField(f"{name}: {value} has no time zone; an aware time was expected", field=name)
        value = value.timestamp()
    if value < 0:
        raise BadField(f"{name}: {value}; a time since 1970 was expected", field=name)
    return round(value * 1000)


def _set(name: str, value: float | None, least: float, most: float, scale: int = 1) -> int | None:
    if value is None:
        return None
    return _UNSET_ON_THE_WIRE if value == UNSET else _within(name, value, least, most, scale)


def _within(name: str, value: float, least: float, most: float, scale: int = 1) -> int:
    counts = scale == 1  # else it is a time in seconds, or a share
    if isinstance(value, bool) or not isinstance(value, numbers.Integral if counts else numbers.Real):
        raise BadField(f"{name}: {value!r:.60}; a {'whole ' * counts}number was expected", field=name)
    if not least <= value <= most:
        raise BadField(f"{name}: {value}; {least:.10g} to {most:.10g} was expected", field=name)
    return round(value * scale)
