"""What can go wrong, as exceptions. All of them are a JobyardError; `code` is the word of PROTOCOL.md, "Codes"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobyard.words import Code

if TYPE_CHECKING:
    from jobyard.client_core import Ended


class JobyardError(Exception):
    """`retry_after` is in seconds; it is set where trying again later may help."""

    code: int = Code.closed

    def __init__(self, text: str, *, code: int | None = None, field: str = "", retry_after: float = 0.0) -> None:
        super().__init__(text)
        if code is not None:
            self.code = code
        self.field = field
        self.retry_after = retry_after


class Refused(JobyardError):
    """The broker said no, and nothing has changed."""


class Busy(Refused):
    """A limit of the broker is reached; again after `retry_after`."""

    code = Code.busy


class QueueFull(Busy):
    code = Code.queue_full


class DiskFull(Busy):
    code = Code.disk_full


class OverQuota(Busy):
    """This key, or this queue, has as much as the broker lets it."""

    code = Code.over_quota


class NotAllowed(Refused):
    """The key may not do that, or the broker does not know it."""

    code = Code.not_allowed


class Conflict(Refused):
    """The key names a job with other content."""

    code = Code.conflict


class UnknownJob(Refused):
    code = Code.unknown_job


class Retired(Refused):
    """The job ended and its record is gone."""

    code = Code.retired


class NotDead(Refused):
    """Only a job in the dead letter queue can be redriven."""

    code = Code.not_dead


class NotWaiting(Refused):
    """It runs; only a job that waits can be changed."""

    code = Code.not_waiting


class UnknownQueue(Refused):
    code = Code.unknown_queue


class UnknownWorker(Refused):
    code = Code.unknown_worker


class UnknownTask(Refused):
    code = Code.unknown_task


class TooLarge(Refused, ValueError):
    code = Code.too_large


class BadField(Refused, ValueError):
    """`field` names what is wrong, the text says what was expected."""

    code = Code.bad_field


class BadMessage(JobyardError):
    """The broker sent what cannot be read; it may speak something else."""

    code = Code.bad_message
    request = 0  # that it answers, as far as that could be read


class OutcomeUnknown(JobyardError):
    """A submit was sent, and it can never be known whether it made a job."""

    code = Code.outcome_unknown


class EventsGone(JobyardError):
    """Events that a reader had not seen have been removed: those behind `after`, up to `upto`. The iterator that raised
    this goes on behind them."""

    code = Code.retired

    def __init__(self, after: int, upto: int) -> None:
        super().__init__(f"events {after + 1} to {upto} are gone; the broker keeps only the newest")
        self.after = after
        self.upto = upto

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.after, self.upto)


class TimedOut(JobyardError, TimeoutError):
    """No answer within the time limit. What was asked for may still happen."""

    code = Code.timeout


class Closed(JobyardError):
    """The client was closed."""

    code = Code.closed


class Forked(JobyardError):
    """The client belongs to the parent process; make one here."""

    code = Code.forked


class JobFailed(JobyardError):
    """The job ended without a result; `ended` tells how."""

    def __init__(self, text: str, ended: Ended) -> None:
        super().__init__(text, code=Code.ended)
        self.ended = ended

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.ended)


class JobDead(JobFailed):
    """It is in the dead letter queue, from where `redrive` takes it."""


class JobCancelled(JobFailed):
    pass


class JobRetired(JobFailed):
    """It ended, and its record was removed before its result could be sent."""


_REFUSALS: dict[int, type[Refused]] = {
    kind.code: kind
    for kind in (
        Busy,
        QueueFull,
        DiskFull,
        OverQuota,
        NotAllowed,
        Conflict,
        UnknownJob,
        Retired,
        NotDead,
        NotWaiting,
        UnknownQueue,
        UnknownWorker,
        UnknownTask,
        TooLarge,
        BadField,
    )
}


def refusal(code: int, text: str, field: str = "", retry_after_ms: int = 0) -> Refused:
    """The exception for a code of the broker."""
    word = Code(code).name if code in Code._value2member_map_ else f"code {code}"
    said = f"{word}: {text}" if text else word
    if field:
        said += f" (field {field})"
    return _REFUSALS.get(code, Refused)(said, code=code, field=field, retry_after=retry_after_ms / 1000)
