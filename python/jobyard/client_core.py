"""The client's part of the conversation: submit windows, results under a grant, questions. No I/O; see conversation.py.

What a caller waits for is a concurrent.futures.Future: threads wait for it, asyncio wraps it. A question whose future
was cancelled is not asked again.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from jobyard import messages as m
from jobyard.conversation import NEVER, SOFTWARE, Conversation, Phase
from jobyard.errors import (
    BadMessage,
    Busy,
    JobCancelled,
    JobDead,
    JobFailed,
    JobRetired,
    JobyardError,
    OutcomeUnknown,
    Refused,
    TimedOut,
    UnknownJob,
    refusal,
)
from jobyard.words import (
    ENDED,
    MAX_HEADER_BYTES,
    MAX_ITEMS,
    MAX_MESSAGE_BYTES,
    MINOR,
    VERSION,
    Code,
    State,
    reason_word,
    state_word,
)

GATHER = 64  # so many submits do not wait for the answer to those before them
LISTS_OUT = 16  # of the 64 messages of a session that may wait for the disk
ASKS_OUT = 32
ITEMS_BYTES = MAX_HEADER_BYTES - 64  # what a header has room for beside its numbers
PAYLOAD_BYTES = MAX_MESSAGE_BYTES - MAX_HEADER_BYTES
LONGEST_RETRY_MS = 5_000
RESULT_OVERHEAD = 64  # what a result counts beside its payload

T = TypeVar("T")


class Made(NamedTuple):
    """What became of a submit."""

    job: int
    existing: bool  # the key named this job already, so none was made


class Reply(NamedTuple):
    """What answers a question."""

    message: m.Message
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended."""

    job: int
    state: str  # completed, dead, cancelled or retired
    reason: str = ""  # of a dead one: failed, not_retryable or crash_loop
    attempt: int = 0
    error: str = ""  # of the last attempt, if it failed
    payload: bytes = b""  # the result; of a dead job that of its last attempt, if that gave one

    @property
    def completed(self) -> bool:
        return self.state == State.completed

    def result(self) -> bytes:
        """The result, or the exception that says why there is none."""
        if self.completed:
            return self.payload
        kinds: dict[str, type[JobFailed]] = {State.cancelled: JobCancelled, State.retired: JobRetired}
        text = f"job {self.job} is {self.state}"
        if self.reason:
            text += f" ({self.reason})"
        raise kinds.get(self.state, JobDead)(f"{text}: {self.error}" if self.error else text, self)


@dataclass(eq=False, slots=True)
class Submit:
    """A job on its way to being durable."""

    item: bytes
    payload: bytes
    watch: bool
    give_up_at: float  # if the broker has not taken it by then
    made: Future[Made] = field(default_factory=Future)
    ended: Future[Ended] | None = None
    sent: bool = False
    refused: JobyardError | None = None  # the last time
    refusals: int = 0
    array: m.SubmitArray | None = None  # what it makes, if not one job; it travels alone

    @property
    def size(self) -> int:
        return len(self.item) + len(self.payload)


@dataclass(eq=False, slots=True)
class _SubmitList:
    """Consecutive numbers that were sent together. It is sent again as it is, until it is answered."""

    first: int
    submits: list[Submit]


@dataclass(eq=False, slots=True)
class _Ask:
    """A question, asked again in each session until it is answered."""

    message: m.Message
    payload: bytes = b""
    future: Future[Reply] = field(default_factory=Future)


class ClientCore(Conversation):
    def __init__(
        self,
        grant: int = 16 << 20,
        max_pending: int = 65_536,
        max_pending_bytes: int = 64 << 20,
        chance: random.Random | None = None,
    ) -> None:
        super().__init__(longest_pause=5.0, chance=chance)
        self.unanswered = 0  # submits
        self._unanswered_bytes = 0
        self._max_pending = max_pending
        self._max_pending_bytes = max_pending_bytes
        # Submits. A number is given when a list is made; `_lists` has all that are not answered, in order.
        self._waiting: deque[Submit] = deque()
        self._next_number = 1
        self._in_flight = 0  # what the broker would have us keep to at present; 0: the window
        self._lists: dict[int, _SubmitList] = {}
        self._lists_again: deque[_SubmitList] = deque()
        self._lists_out: dict[int, _SubmitList] = {}  # by request, in this session
        self._time_limits: list[tuple[float, int, Submit]] = []
        # Questions.
        self._asks: deque[_Ask] = deque()
        self._asks_out: dict[int, _Ask] = {}
        # Results.
        self._watched: dict[int, list[Future[Ended]]] = {}
        self._to_watch: dict[int, None] = {}  # in order
        self._grant = grant
        self._granted = 0
        self._pushed = 0
        # What the broker was too busy for: submits, lists, questions, and jobs to watch.
        self._later: list[tuple[float, int, Submit | _SubmitList | _Ask | int]] = []
        self._tie = itertools.count()

    # What the caller wants.

    def has_room(self) -> bool:
        """For another submit. Also when there is nothing to wait for any more."""
        return self.over is not None or (
            self.unanswered < self._max_pending and self._unanswered_bytes < self._max_pending_bytes
        )

    def submit(self, submit: Submit) -> bool:
        """True if it need not wait for others to leave."""
        self._require_going()
        self.unanswered += 1
        self._unanswered_bytes += submit.size
        if submit.watch:
            submit.ended = Future()
        heapq.heappush(self._time_limits, (submit.give_up_at, next(self._tie), submit))
        self._waiting.append(submit)
        return self._may_send_list()

    def ask(self, message: m.Message, payload: bytes = b"") -> Future[Reply]:
        self._require_going()
        ask = _Ask(message, payload)
        self._asks.append(ask)
        return ask.future

    def watch(self, jobs: Sequence[int]) -> list[Future[Ended]]:
        self._require_going()
        return [self._watch(job, Future(), ask=True) for job in jobs]

    def goodbye(self, now: float) -> None:
        if self.phase is Phase.talking:
            self._say(m.Goodbye(0, self._confirmed), now)
        self.close()

    # What a conversation asks for.

    def _greeting(self) -> m.Hello:
        self._granted, self._pushed = self._grant, 0
        return m.Hello(
            min_version=VERSION,
            max_version=VERSION,
            minor=MINOR,
            role=1,
            instance=self._instance,
            software=SOFTWARE,
            store=self.welcome.store if self.welcome else None,
            resumed=self.welcome is not None,
            confirmed=self._confirmed,
            grant=self._grant,
        )

    def _welcomed(self, welcome: m.Welcome, before: m.Welcome | None, now: float) -> None:
        if before is not None and welcome.store != before.store:
            self._forget_jobs()
        if before is not None and (welcome.store != before.store or welcome.instance != 1):
            self._forget_window()
            self._new_instance(now)
            return
        self._in_flight = 0
        self._to_watch = dict.fromkeys(self._watched)

    def _session_lost(self, now: float) -> None:
        self._lists_again = deque(self._lists.values())
        self._lists_out.clear()
        # Lists go again anyway, and watches are asked for afresh.
        self._later = [each for each in self._later if isinstance(each[2], (Submit, _Ask))]
        heapq.heapify(self._later)
        self._asks.extendleft(ask for ask in reversed(self._asks_out.values()) if not isinstance(ask.message, m.Watch))
        self._asks_out.clear()

    def _received(self, message: m.Message, request: int, payload: bytes, now: float) -> None:
        if isinstance(message, m.Results):
            self._results(message, payload)
        elif request in self._lists_out and isinstance(message, m.Answers):
            self._answered(self._lists_out.pop(request), message, now)
        elif request in self._asks_out and isinstance(message, (m.Answers, m.Jobs, m.Stats, m.Maps, m.Events)):
            ask = self._asks_out.pop(request)
            if isinstance(ask.message, m.Watch):
                self._watches_answered(ask.message, message, now)
            else:
                _settle(ask.future, Reply(message, payload))

    def _unreadable(self, wrong: BadMessage) -> bool:
        ask = self._asks_out.pop(wrong.request, None)
        if ask is None or isinstance(ask.message, m.Watch):
            return False
        _settle(ask.future, wrong)
        return True

    def _request_refused(self, error: m.Error, request: int, now: float) -> None:
        refused: _SubmitList | _Ask | None = self._lists_out.pop(request, None) or self._asks_out.pop(request, None)
        if refused is None:
            return
        if error.code == Code.busy:
            self._put_off(refused, error.retry_after_ms, now)
            return
        why = refusal(error.code, error.text, error.field)
        if isinstance(refused, _SubmitList):
            del self._lists[refused.first]
            for submit in refused.submits:
                self._fail(submit, why)
        elif isinstance(refused.message, m.Watch):
            for job in refused.message.jobs:
                self._settle_watch(job, why)
        else:
            _settle(refused.future, why)

    def _advance(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            self._again(heapq.heappop(self._later)[2])
        self._give_up(now)
        if self.phase is not Phase.talking:
            return
        while self._lists_again and len(self._lists_out) < LISTS_OUT:
            self._send_list_again(self._lists_again.popleft(), now)
        while self._waiting and self._may_send_list() and self._next_number <= self._window_end:
            self._send_new_list(now)
        while self._to_watch and len(self._asks_out) < ASKS_OUT:
            jobs = list(itertools.islice(self._to_watch, MAX_ITEMS))
            for job in jobs:
                del self._to_watch[job]
            ask = _Ask(m.Watch(jobs))
            self._asks_out[self._say(ask.message, now)] = ask
        while self._asks and len(self._asks_out) < ASKS_OUT:
            ask = self._asks.popleft()
            if why := self._beyond_broker(ask.message):
                _settle(ask.future, why)
            if not ask.future.done():
                self._asks_out[self._say(ask.message, now, ask.payload)] = ask
        if self._granted - self._pushed <= self._grant // 2:
            self._granted = self._pushed + self._grant
            self._say(m.Grant(self._granted), now)

    def _due(self) -> float:
        later = self._later[0][0] if self._later else NEVER
        return min(later, self._time_limits[0][0]) if self._time_limits else later

    def _ended(self, reason: JobyardError) -> None:
        unknown = OutcomeUnknown(f"{reason}; the job was sent, and may or may not have been made")
        for each in self._lists.values():
            for submit in each.submits:
                self._fail(submit, unknown)
        for submit in (*self._waiting, *(each for _, _, each in self._later if isinstance(each, Submit))):
            self._fail(submit, reason)
        for ask in (*self._asks, *self._asks_out.values(), *(a for _, _, a in self._later if isinstance(a, _Ask))):
            _settle(ask.future, reason)
        for job in list(self._watched):
            self._settle_watch(job, reason)
        self._lists.clear()
        self._waiting.clear()
        self._later.clear()

    # Submits.

    @property
    def _confirmed(self) -> int:
        """Every number up to this one has been answered."""
        return next(iter(self._lists), self._next_number) - 1

    @property
    def _window_end(self) -> int:
        window = self.welcome.window if self.welcome else 0
        return self._confirmed + min(window, self._in_flight or window)

    def _may_send_list(self) -> bool:
        """While an answer is on its way, a few jobs wait for it and go together: lists make the rate."""
        return self.phase is Phase.talking and (
            not self._lists_out or (len(self._waiting) >= GATHER and len(self._lists_out) < LISTS_OUT)
        )

    def _send_new_list(self, now: float) -> None:
        submits: list[Submit] = []
        room = min(MAX_ITEMS, self._window_end - self._next_number + 1)
        items_bytes = payload_bytes = 0
        while self._waiting and len(submits) < room:
            submit = self._waiting[0]
            if why := self._beyond_broker(submit):
                self._fail(submit, why)
            if not submit.made.done():  # it may have been given up
                items_bytes += len(submit.item)
                payload_bytes += len(submit.payload)
                full = items_bytes > ITEMS_BYTES or payload_bytes > PAYLOAD_BYTES
                if submits and (full or submit.array or submits[0].array):
                    break
                submits.append(submit)
                submit.sent = True
            self._waiting.popleft()
        if submits:
            new = _SubmitList(self._next_number, submits)
            self._next_number += len(submits)
            self._lists[new.first] = new
            self._send_list(new, now)

    def _send_list_again(self, each: _SubmitList, now: float) -> None:
        if why := next(filter(None, map(self._beyond_broker, each.submits)), None):
            del self._lists[each.first]
            for submit in each.submits:
                self._fail(submit, OutcomeUnknown(f"{why}; a newer broker was sent the job, and may have made it"))
        else:
            self._send_list(each, now)

    def _beyond_broker(self, what: Submit | m.Message) -> Refused | None:
        """The broker is too old for it, and would neglect what it does not know: run a job now that is held."""
        assert self.welcome is not None
        minor = self.welcome.minor
        if minor >= MINOR or (isinstance(what, Submit) and what.made.done()):
            return None
        needed = m.minor_of(m.decode_item(m.SubmitItem, what.item) if isinstance(what, Submit) else what)
        if needed <= minor:
            return None
        return refusal(
            Code.unknown_message,
            f"the broker speaks protocol {VERSION}.{minor}, and this needs {VERSION}.{needed};"
            " upgrade the broker, or do without",
        )

    def _send_list(self, each: _SubmitList, now: float) -> None:
        array = each.submits[0].array
        if array is not None:
            message = array._replace(confirmed=self._confirmed, first_number=each.first)
            self._lists_out[self._say(message, now, each.submits[0].payload)] = each
            return
        items = [submit.item for submit in each.submits]
        payload = b"".join([submit.payload for submit in each.submits])
        request = self._say_list(m.Submit, items, now, self._confirmed, each.first, payload=payload)
        self._lists_out[request] = each

    def _answered(self, each: _SubmitList, answers: m.Answers, now: float) -> None:
        if len(answers.items) != len(each.submits):
            raise BadMessage(f"{len(answers.items)} answers to {len(each.submits)} submits")
        del self._lists[each.first]
        self._in_flight = answers.in_flight
        for submit, answer in zip(each.submits, answers.items):
            if answer.code in (Code.ok, Code.existing):
                self._made(submit, answer)
                continue
            why = refusal(answer.code, answer.text, answer.field, answer.retry_after_ms)
            if isinstance(why, Busy) and now < submit.give_up_at:
                submit.sent, submit.refused = False, why
                heapq.heappush(self._time_limits, (submit.give_up_at, next(self._tie), submit))
                # Twice as long each time: a full queue is not asked again and again by all it refused.
                self._put_off(submit, min(answer.retry_after_ms << submit.refusals, LONGEST_RETRY_MS), now)
                submit.refusals = min(submit.refusals + 1, 10)
            else:
                self._fail(submit, why)

    def _made(self, submit: Submit, answer: m.AnswerItem) -> None:
        self._forget(submit)
        if submit.ended is not None:
            # One that has ended already is not watched; state 0: the broker did not look.
            self._watch(answer.job, submit.ended, ask=answer.state == 0 or answer.state in ENDED)
        _settle(submit.made, Made(answer.job, answer.code == Code.existing))

    def _fail(self, submit: Submit, why: JobyardError) -> None:
        if not submit.made.done():
            self._forget(submit)
            _settle(submit.made, why)
            if submit.ended is not None:
                _settle(submit.ended, why)

    def _forget(self, submit: Submit) -> None:
        self.unanswered -= 1
        self._unanswered_bytes -= submit.size
        submit.item = submit.payload = b""

    def _give_up(self, now: float) -> None:
        while self._time_limits:
            at, _, submit = self._time_limits[0]
            if not submit.made.done():
                if at > now:
                    return
                if not submit.sent:  # of one that was sent, the answer decides
                    self._fail(
                        submit,
                        submit.refused
                        or TimedOut(
                            f"the broker was away: the job was never sent{'; ' * bool(self.trouble)}{self.trouble}"
                        ),
                    )
            heapq.heappop(self._time_limits)

    def _forget_window(self) -> None:
        """The broker has forgotten what this instance sent, or it is another one."""
        why = OutcomeUnknown(
            "the broker was away for too long, or lost its store: the job may or may not have been made"
        )
        for each in self._lists.values():
            for submit in each.submits:
                self._fail(submit, why)
        self._lists.clear()
        self._lists_again.clear()
        self._next_number = 1

    def _put_off(self, what: Submit | _SubmitList | _Ask | int, retry_after_ms: int, now: float) -> None:
        heapq.heappush(self._later, (now + self._retry_after(retry_after_ms), next(self._tie), what))

    def _again(self, what: Submit | _SubmitList | _Ask | int) -> None:
        if isinstance(what, Submit):
            if not what.made.done():
                self._waiting.append(what)
        elif isinstance(what, _SubmitList):
            self._lists_again.append(what)
        elif isinstance(what, int):
            self._to_watch[what] = None
        elif isinstance(what.message, m.Watch):
            self._to_watch.update(dict.fromkeys(what.message.jobs))
        else:
            self._asks.append(what)

    # Results.

    def _watch(self, job: int, future: Future[Ended], ask: bool) -> Future[Ended]:
        if ask and job not in self._watched:
            self._to_watch[job] = None
        self._watched.setdefault(job, []).append(future)
        return future

    def _watches_answered(self, watch: m.Watch, answers: m.Message, now: float) -> None:
        if not isinstance(answers, m.Answers) or len(answers.items) != len(watch.jobs):
            raise BadMessage("WATCH was expected to be answered with a code for each job")
        for job, answer in zip(watch.jobs, answers.items):
            if answer.code == Code.retired:
                self._settle_watch(job, Ended(job, State.retired))
            elif answer.code == Code.busy:
                self._put_off(job, answer.retry_after_ms, now)
            elif answer.code not in (Code.ok, Code.ended):
                self._settle_watch(job, refusal(answer.code, answer.text or f"job {job}"))

    def _results(self, results: m.Results, payload: bytes) -> None:
        for item, part in zip(results.items, m.payloads(results.items, payload)):
            self._pushed += len(part) + RESULT_OVERHEAD
            reason = reason_word(item.reason)
            ended = Ended(item.job, state_word(item.state), reason, item.attempt, item.error, part)
            self._settle_watch(item.job, ended)

    def _settle_watch(self, job: int, how: Ended | JobyardError) -> None:
        self._to_watch.pop(job, None)
        for future in self._watched.pop(job, ()):
            _settle(future, how)

    def _forget_jobs(self) -> None:
        why = UnknownJob("the broker has another store now, with other jobs")
        for job in list(self._watched):
            self._settle_watch(job, why)
        later = [each for _, _, each in self._later if isinstance(each, _Ask)]
        for ask in [ask for ask in (*self._asks, *later) if _of_this_store(ask.message)]:
            _settle(ask.future, why)  # and so it is not asked any more


def _of_this_store(question: m.Message) -> bool:
    """It names a job, an array, a task or an event by its number, which is another one's in another store."""
    if isinstance(question, m.ReadEvents):
        return question.after is not None or question.job != 0
    if isinstance(question, m.StartTask):
        return bool(question.jobs)
    if isinstance(question, m.ListTasks):
        return question.task != 0
    if isinstance(question, (m.List, m.ListArrays)):
        return question.cursor != 0 or question.array != 0
    return isinstance(question, (m.Cancel, m.Redrive, m.Change, m.Edit, m.Show, m.StopTask, m.SteerArray))


def _settle(future: Future[T], how: T | JobyardError) -> None:
    if future.set_running_or_notify_cancel():
        if isinstance(how, JobyardError):
            future.set_exception(how)
        else:
            future.set_result(how)
