"""The worker's part of the conversation: credit, leases, ends, claims. No I/O; see conversation.py."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from jobyard import messages as m
from jobyard.conversation import NEVER, SOFTWARE, Conversation, Phase, log
from jobyard.errors import BadMessage, Closed, JobyardError, refusal
from jobyard.words import (
    MAX_ERROR_BYTES,
    MAX_HEADER_BYTES,
    MAX_HELD_JOBS,
    MAX_ITEMS,
    MAX_MESSAGE_BYTES,
    MAX_TAIL_BYTES,
    MINOR,
    VERSION,
    Code,
    Outcome,
)

GATHER = 64  # so many ends do not wait for the answer to those before them
LISTS_OUT = 16
STARTED_AFTER = 0.01
ITEMS_BYTES = MAX_HEADER_BYTES - 64
PAYLOAD_BYTES = MAX_MESSAGE_BYTES - MAX_HEADER_BYTES


class Cause(Enum):
    """Why a handler is to stop."""

    cancelled = auto()
    lease_lost = auto()  # the job belongs to somebody else
    timeout = auto()
    leaving = auto()  # the worker is


@dataclass(frozen=True, slots=True)
class Success:
    result: bytes = b""


@dataclass(frozen=True, slots=True)
class Failure:
    error: str
    retryable: bool = True
    result: bytes = b""
    tail: str = ""


@dataclass(frozen=True, slots=True)
class HandBack:
    """The attempt is charged to nobody, and the job goes back to its queue, for so many seconds at least."""

    delay: float = 0.0


End = Success | Failure | HandBack


@dataclass(eq=False, slots=True)
class Lease:
    """A job this worker holds."""

    item: m.DispatchItem
    payload: bytes
    held_until: float  # at least
    begun_at: float | None = None
    deadline: float = NEVER  # of the attempt
    stop: Cause | None = None
    over: bool = False  # its end is reported, or nobody wants to hear of it
    progress: float = 0.0
    progress_text: str = ""
    tell: Callable[[], None] = field(default=lambda: None)  # the driver's: tells the handler to stop

    @property
    def key(self) -> m.LeaseItem:
        return m.LeaseItem(self.item.job, self.item.token)


@dataclass(eq=False, slots=True)
class _Report:
    """The end of an attempt, kept until it is answered."""

    key: m.LeaseItem
    kind: Any  # Complete, Fail or Release
    item: bytes
    payload: bytes = b""


class WorkerCore(Conversation):
    def __init__(
        self,
        name: str,
        slots: int,
        credit: int,
        queues: Sequence[str],
        types: Sequence[str],
        stop_grace: float = 15.0,
        chance: random.Random | None = None,
        host: str = "",
        pid: int = 0,
    ) -> None:
        super().__init__(longest_pause=1.0, chance=chance)
        self.to_stop: deque[Lease] = deque()  # handlers to tell, by the driver
        self._drained_at: tuple[float, float] | None = None  # when to stop handlers, and when to leave without them
        self._name = name
        self._host = host
        self._pid = pid
        self._slots = slots
        self._credit = credit
        self._credit_said = 0
        self._queues = queues
        self._types = types
        self._stop_grace = stop_grace
        self._all_stuck_at = NEVER  # since when
        self._waiting: deque[Lease] = deque()
        self._running: dict[int, Lease] = {}  # by token; also those that are over, until their handler returns
        self._to_say_started: deque[Lease] = deque()
        self._reports: dict[int, _Report] = {}  # by token; all that are not answered
        self._reports_new: deque[_Report] = deque()
        self._reports_out: dict[int, list[_Report]] = {}  # by request, in this session
        self._reports_later: list[tuple[float, list[_Report]]] = []
        self._renewals_out: dict[int, tuple[float, list[m.LeaseItem]]] = {}  # with when they were sent
        self._renew_at = NEVER
        self._claims: tuple[m.Claim, ...] = ()

    # What the driver says.

    def begin(self, now: float) -> Lease | None:
        """The next job for a free slot."""
        while self._waiting and self._waiting[0].held_until <= now:
            # This process stood still, and the broker may have given the job to somebody else.
            self._report(self._waiting.popleft(), HandBack(), now)
        if not self._waiting or len(self._running) >= self._slots:
            return None
        lease = self._waiting.popleft()
        lease.begun_at = now
        if lease.item.timeout_ms:
            lease.deadline = now + lease.item.timeout_ms / 1000
        self._running[lease.item.token] = lease
        self._to_say_started.append(lease)
        return lease

    def returned(self, lease: Lease, end: End, now: float) -> None:
        """The handler is back; its slot is free."""
        del self._running[lease.item.token]
        if not lease.over:
            self._report(lease, end, now)

    def drain(self, now: float, stop_after: float, grace: float | None = None) -> None:
        """Takes nothing more; what was not begun goes back. What still runs then is told to stop, and goes back too."""
        self._drained_at = now + stop_after, now + stop_after + (self._stop_grace if grace is None else grace)
        self._hand_back_waiting(now)

    def drained(self, now: float) -> bool:
        """Nothing runs and every end is answered; or there is no more time."""
        return self._drained_at is not None and (
            now >= self._drained_at[1] or not (self._running or self._waiting or self._reports)
        )

    @property
    def left_behind(self) -> tuple[int, int]:
        """Handlers that have not returned, and ends that were not answered."""
        return len(self._running), len(self._reports)

    def goodbye(self, now: float) -> None:
        if self.phase is Phase.talking:
            self._say(m.Goodbye(), now)
        self.close(Closed("the worker has stopped"))

    # What a conversation asks for.

    def _greeting(self) -> m.Hello:
        held = [m.Claim(*lease.key) for lease in (*self._running.values(), *self._waiting) if not lease.over]
        finished = [m.Claim(*report.key, finished=True) for report in self._reports.values()]
        self._claims = tuple((held + finished)[:MAX_HELD_JOBS])
        self._credit_said = self._wanted_credit()
        return m.Hello(
            min_version=VERSION,
            max_version=VERSION,
            minor=MINOR,
            role=2,
            instance=self._instance,
            name=self._name,
            software=SOFTWARE,
            store=self.welcome.store if self.welcome else None,
            resumed=self.welcome is not None,
            slots=self._slots,
            credit=self._credit_said,
            queues=self._queues,
            types=self._types,
            claims=self._claims,
            host=self._host,
            pid=self._pid,
        )

    def _welcomed(self, welcome: m.Welcome, before: m.Welcome | None, now: float) -> None:
        if len(welcome.claims) != len(self._claims):
            raise BadMessage(f"{len(welcome.claims)} codes for {len(self._claims)} claims")
        if before is not None and welcome.store != before.store:
            self._forget_store()
        for claim, code in zip(self._claims, welcome.claims):
            self._lease_answered(claim.token, code, self._hello_said_at, now)
        self._claims = ()
        self._reports_new = deque(self._reports.values())
        self._renew_at = now + welcome.renew_ms / 1000

    def _session_lost(self, now: float) -> None:
        self._reports_out.clear()
        self._reports_later.clear()
        self._renewals_out.clear()
        self._renew_at = NEVER

    def _received(self, message: m.Message, request: int, payload: bytes, now: float) -> None:
        if isinstance(message, m.Dispatch):
            assert self.welcome is not None
            # It may have waited here since the last turn, if this process stood still.
            held_until = self._advanced_at + self.welcome.lease_ms / 1000
            for item, part in zip(message.items, m.payloads(message.items, payload)):
                self._waiting.append(Lease(item, part, held_until))
            if self._drained_at is not None:
                self._hand_back_waiting(now)
        elif isinstance(message, m.Stop):
            for stop in message.items:
                self._stop_told(stop, now)
        elif isinstance(message, m.Answers) and request in self._reports_out:
            for report in self._reports_out.pop(request):
                self._reports.pop(report.key.token, None)
        elif isinstance(message, m.Answers) and request in self._renewals_out:
            sent_at, keys = self._renewals_out.pop(request)
            for key, answer in zip(keys, message.items):
                self._lease_answered(key.token, answer.code, sent_at, now)

    def _request_refused(self, error: m.Error, request: int, now: float) -> None:
        reports = self._reports_out.pop(request, None)
        if reports is not None and error.code == Code.busy:
            self._reports_later.append((now + self._retry_after(error.retry_after_ms), reports))
        elif reports is not None:
            for report in reports:
                log.error(
                    "the end of job %d is refused: %s", report.key.job, refusal(error.code, error.text, error.field)
                )
                self._reports.pop(report.key.token, None)
        elif self._renewals_out.pop(request, None) is not None and error.code == Code.busy:
            self._renew_at = min(self._renew_at, now + self._retry_after(error.retry_after_ms))

    def _advance(self, now: float) -> None:
        for lease in self._running.values():
            if now >= lease.deadline and not lease.over:
                self._time_out(lease, now)
            if self._drained_at is not None and now >= self._drained_at[0]:
                self._stop(lease, Cause.leaving)
        if self._stuck < self._slots:
            self._all_stuck_at = NEVER
        elif self._all_stuck_at == NEVER:
            self._all_stuck_at = now
        elif now >= self._all_stuck_at + self._stop_grace and self._drained_at is None:
            self.close(JobyardError(f"no handler has stopped when told to; all {self._slots} slots are stuck"))
            return
        if self.phase is not Phase.talking:
            return
        # Before the ends: a slot that is stuck is not offered again by the end of its job.
        if (credit := self._wanted_credit()) != self._credit_said:
            self._credit_said = credit
            self._say(m.Credit(credit), now)
        self._send_reports(now)
        if now >= self._renew_at:
            self._send_started(now, now)  # a renewal tells of progress, and what has any is known to run
            self._renew(now)
        else:
            self._send_started(now, now - STARTED_AFTER)

    def _due(self) -> float:
        due = [lease.deadline for lease in self._running.values() if not lease.over]
        if self._drained_at is None:
            due.append(self._all_stuck_at + self._stop_grace)
        else:
            stop_at, leave_at = self._drained_at
            due += [leave_at, *(stop_at for lease in self._running.values() if lease.stop is None)]
        if self.phase is Phase.talking:
            due += [self._renew_at, *(at for at, _ in self._reports_later)]
            if self._reports_new and not self._reports_out:
                due.append(0.0)
            if self._to_say_started:
                due.append((self._to_say_started[0].begun_at or 0.0) + STARTED_AFTER)
        return min(due, default=NEVER)

    def _ended(self, reason: JobyardError) -> None:
        for lease in self._running.values():
            self._lose(lease)
        self._waiting.clear()

    # Leases.

    def _wanted_credit(self) -> int:
        """A handler whose lease is over keeps its slot until it returns; nothing can run there."""
        if self._drained_at is not None or self._stuck == self._slots:
            return 0
        return max(self._credit - self._stuck, 0)

    @property
    def _stuck(self) -> int:
        return sum(lease.over for lease in self._running.values())

    def _hand_back_waiting(self, now: float) -> None:
        while self._waiting:
            self._report(self._waiting.popleft(), HandBack(), now)

    def _find(self, token: int) -> Lease | None:
        """Unless it is over."""
        lease = self._running.get(token) or next((each for each in self._waiting if each.item.token == token), None)
        return None if lease is None or lease.over else lease

    def _lease_answered(self, token: int, code: int, asked_at: float, now: float) -> None:
        assert self.welcome is not None
        lease = self._find(token)
        if lease is None:
            return
        if code not in (Code.ok, Code.cancel_requested):
            self._lose(lease)
            return
        lease.held_until = asked_at + self.welcome.lease_ms / 1000  # the broker counts from later
        if code == Code.cancel_requested:
            self._cancel(lease, now)

    def _stop_told(self, stop: m.StopItem, now: float) -> None:
        lease = self._find(stop.token)
        if lease is None:
            return
        if stop.reason == 1:
            self._cancel(lease, now)
        else:
            self._lose(lease)

    def _forget_store(self) -> None:
        """Numbers and tokens mean other jobs there, so not even an end may be told."""
        for lease in (*self._running.values(), *self._waiting):
            self._lose(lease)
        if self._reports:
            log.error("the broker has another store; %d ends of jobs of the old one are dropped", len(self._reports))
        self._reports.clear()

    def _cancel(self, lease: Lease, now: float) -> None:
        if lease.begun_at is None:
            self._waiting.remove(lease)
            lease.stop = Cause.cancelled
            self._report(lease, Failure("cancelled before it began"), now)
        else:
            self._stop(lease, Cause.cancelled)

    def _lose(self, lease: Lease) -> None:
        if lease.begun_at is None:
            self._waiting.remove(lease)
        elif not lease.over:
            lease.over = True
            self._stop(lease, Cause.lease_lost)

    def _time_out(self, lease: Lease, now: float) -> None:
        failure = Failure(f"ran for longer than its timeout of {lease.item.timeout_ms / 1000:g} s")
        outcome = Outcome.cancelled if lease.stop is Cause.cancelled else Outcome.timeout
        self._report_failure(lease, failure, outcome, now)
        self._stop(lease, Cause.timeout)

    def _stop(self, lease: Lease, cause: Cause) -> None:
        if lease.stop is None:
            lease.stop = cause
            self.to_stop.append(lease)

    def _send_started(self, now: float, begun_until: float) -> None:
        late: list[bytes] = []
        while self._to_say_started and len(late) < MAX_ITEMS:
            lease = self._to_say_started[0]
            if lease.item.token in self._running and not lease.over:
                if (lease.begun_at or 0.0) > begun_until:
                    break
                late.append(m.encode_item(lease.key))
            self._to_say_started.popleft()
        if late:
            self._say_list(m.Started, late, now)

    def _renew(self, now: float) -> None:
        assert self.welcome is not None
        self._renew_at = now + self.welcome.renew_ms / 1000
        held = [lease for lease in (*self._running.values(), *self._waiting) if not lease.over]
        items = [
            m.encode_item(m.RenewItem(*lease.key, progress=lease.progress, text=lease.progress_text)) for lease in held
        ]
        at = 0
        while at < len(items):
            end, size = at, 0
            while end < len(items) and end - at < MAX_ITEMS and size + len(items[end]) <= ITEMS_BYTES:
                size += len(items[end])
                end += 1
            request = self._say_list(m.Renew, items[at:end], now)
            self._renewals_out[request] = now, [lease.key for lease in held[at:end]]
            at = end

    # Ends.

    def _report(self, lease: Lease, end: End, now: float) -> None:
        if isinstance(end, Failure) and lease.stop is Cause.leaving:
            end = HandBack()  # it failed because it was told to stop
        if isinstance(end, HandBack) and lease.stop is Cause.cancelled:
            end = Failure("cancelled")
        limit = self.welcome.max_result if self.welcome else PAYLOAD_BYTES
        if isinstance(end, Success) and len(end.result) > limit:
            end = Failure(f"the result has {len(end.result)} bytes; the broker takes {limit}", retryable=False)
        if isinstance(end, Success):
            item = m.CompleteItem(0, len(end.result), *lease.key, duration_ms=_duration(lease, now))
            self._keep(_Report(lease.key, m.Complete, m.encode_item(item), end.result))
        elif isinstance(end, Failure):
            outcome = Outcome.cancelled if lease.stop is Cause.cancelled else Outcome.failed
            self._report_failure(lease, end, outcome, now)
        else:
            release = m.ReleaseItem(*lease.key, round(end.delay * 1000))
            if self.welcome and m.minor_of(release) > self.welcome.minor:
                log.warning(
                    "the broker speaks protocol %d.%d, which has no delay of a release (%d.%d): job %d, which was"
                    " snoozed, comes back at once; upgrade the broker",
                    VERSION,
                    self.welcome.minor,
                    VERSION,
                    m.minor_of(release),
                    lease.key.job,
                )
            self._keep(_Report(lease.key, m.Release, m.encode_item(release)))
        lease.over = True

    def _report_failure(self, lease: Lease, failure: Failure, outcome: Outcome, now: float) -> None:
        error, result = failure.error, failure.result
        limit = self.welcome.max_result if self.welcome else PAYLOAD_BYTES
        if len(result) > limit:
            error, result = f"{error} (its result of {len(result)} bytes is more than the broker takes)", b""
        item = m.FailItem(
            0,
            len(result),
            *lease.key,
            duration_ms=_duration(lease, now),
            outcome=outcome,
            retryable=failure.retryable,
            error=first_bytes(error, MAX_ERROR_BYTES),
            tail=last_bytes(failure.tail, MAX_TAIL_BYTES),
        )
        self._keep(_Report(lease.key, m.Fail, m.encode_item(item), result))
        lease.over = True

    def _keep(self, report: _Report) -> None:
        self._reports[report.key.token] = report
        self._reports_new.append(report)

    def _send_reports(self, now: float) -> None:
        for at, reports in [each for each in self._reports_later if each[0] <= now]:
            self._reports_later.remove((at, reports))
            self._reports_new.extendleft(reversed(reports))
        while self._reports_new and (
            not self._reports_out or (len(self._reports_new) >= GATHER and len(self._reports_out) < LISTS_OUT)
        ):
            kind = self._reports_new[0].kind
            reports, items_bytes, payload_bytes = [], 0, 0
            while self._reports_new and len(reports) < MAX_ITEMS and self._reports_new[0].kind is kind:
                report = self._reports_new[0]
                items_bytes += len(report.item)
                payload_bytes += len(report.payload)
                if reports and (items_bytes > ITEMS_BYTES or payload_bytes > PAYLOAD_BYTES):
                    break
                reports.append(self._reports_new.popleft())
            payload = b"".join([report.payload for report in reports])
            request = self._say_list(kind, [report.item for report in reports], now, payload=payload)
            self._reports_out[request] = reports


def first_bytes(text: str, size: int) -> str:
    """As much of the text as has `size` bytes of UTF-8."""
    return text.encode(errors="replace")[:size].decode(errors="ignore")


def last_bytes(text: str, size: int) -> str:
    return text.encode(errors="replace")[-size:].decode(errors="ignore")


def _duration(lease: Lease, now: float) -> int:
    return 0 if lease.begun_at is None else max(round((now - lease.begun_at) * 1000), 0)
