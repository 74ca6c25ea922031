"""The words and numbers of PROTOCOL.md: states, codes and limits."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any


class State(StrEnum):
    """Where a job is. The library hands states out as text, so that a newer broker's words do no harm."""

    scheduled = "scheduled"
    queued = "queued"
    assigned = "assigned"
    running = "running"
    retrying = "retrying"
    completed = "completed"
    dead = "dead"
    cancelled = "cancelled"
    retired = "retired"


_STATES = {
    1: State.scheduled,
    3: State.queued,
    4: State.assigned,
    5: State.running,
    6: State.retrying,
    7: State.completed,
    8: State.dead,
    9: State.cancelled,
    10: State.retired,
}
_NUMBERS = {word: number for number, word in _STATES.items()}
_REASONS = {
    0: "",
    1: "failed",
    2: "not_retryable",
    3: "crash_loop",
    4: "expired",
    16: "no_worker",
    17: "no_free_slot",
    18: "claim_window",
    19: "disk_full",
    20: "delayed",
    21: "backoff",
    22: "held",
    23: "queue_paused",
    24: "queue_limit",
}
_REASON_NUMBERS = {word: number for number, word in _REASONS.items()}
_ACTIONS = {"cancel": 1, "redrive": 2, "purge": 3}
_EVENTS = {
    "submitted": 1,
    "completed": 2,
    "failed": 3,
    "dead": 4,
    "cancelled": 5,
    "cancel_requested": 6,
    "redriven": 7,
    "worker_lost": 8,
    "released": 9,
    "retired": 10,
    "changed": 11,
    "worker_joined": 32,
    "worker_left": 33,
    "worker_drained": 34,
    "worker_resumed": 35,
    "queue_paused": 48,
    "queue_resumed": 49,
    "queue_set": 50,
}
ENDED = frozenset({7, 8, 9, 10})


def state_word(number: int) -> str:
    return _STATES.get(number, f"state {number}")


def state_number(word: str) -> int:
    return _number(word, _NUMBERS, "state of a job")


def reason_word(number: int) -> str:
    return _REASONS.get(number, f"reason {number}")


def reason_number(word: str) -> int:
    """Of why a job is dead, or waits; "" is 0."""
    return _number(word, _REASON_NUMBERS, "reason")


def action_number(word: str) -> int:
    return _number(word, _ACTIONS, "action of a task")


def event_number(word: str) -> int:
    return _number(word, _EVENTS, "kind of event")


def _number(word: str, numbers: Mapping[Any, int], what: str) -> int:
    number = numbers.get(word)
    if number is None:
        raise ValueError(f'"{word}" is no {what}; one of {", ".join(filter(None, numbers))} was expected')
    return number


class Code(IntEnum):
    """What an answer says; 20 to 25 exist only inside the libraries."""

    ok = 0
    existing = 1
    conflict = 2
    stale_lease = 3
    retired = 4
    unknown_job = 5
    ended = 6
    cancel_requested = 7
    not_dead = 8
    busy = 9
    queue_full = 10
    disk_full = 11
    too_large = 12
    bad_field = 13
    bad_message = 14
    unknown_message = 15
    version_not_spoken = 16
    no_session = 17
    replaced = 18
    not_allowed = 19
    outcome_unknown = 20
    timeout = 21
    closed = 22
    forked = 23
    unknown_worker = 26
    not_waiting = 27
    unknown_queue = 28
    unknown_task = 29
    over_quota = 30


class Outcome(IntEnum):
    """How an attempt ended, as far as a worker may say."""

    failed = 2
    timeout = 3
    cancelled = 4


VERSION = 1
MINOR = 1
MAX_FRAME_BYTES = 2_162_688
MAX_MESSAGE_BYTES = 2 << 20
MAX_HEADER_BYTES = 64 << 10
MAX_ITEMS = 1_024
MAX_NAME_BYTES = 255
MAX_ERROR_BYTES = 512
MAX_TAIL_BYTES = 1_024
MAX_HELD_JOBS = 1_024
MAX_QUEUES_OF_WORKER = 256
MAX_TYPES_OF_WORKER = 1_024
