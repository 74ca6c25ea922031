"""What every peer of a broker does, whatever it is there for: connect, HELLO, heartbeats, and all of it again.

A conversation is a state machine without any I/O. Whoever drives it (link.py) says what happened and what time it is;
it says what to send (`outbox`), whether to connect or to hang up, and when it wants to be asked again (`due`). Times
are seconds of a monotonic clock. The client's and the worker's part are in client_core.py and worker_core.py.
"""

from __future__ import annotations

import logging
import math
import random
from abc import ABC, abstractmethod
from enum import Enum, auto

from jobyard import messages as m
from jobyard.errors import BadMessage, Closed, JobyardError, refusal
from jobyard.words import VERSION, Code

log = logging.getLogger("jobyard")

SOFTWARE = "jobyard-python/0.1.0"
NEVER = math.inf
FIRST_PAUSE = 0.2  # twice the shortest: half of a pause is chance
CONNECT_PATIENCE = 5.0  # a connection that has not come about by then never will
DEFAULT_LOST_AFTER = 20.0  # until WELCOME says otherwise
SHORTEST_RETRY = 0.02  # after a refusal that names no pause


class Phase(Enum):
    away = auto()  # no socket
    connecting = auto()  # a socket, no handshake yet
    greeting = auto()  # HELLO is said, or will be after a pause
    talking = auto()  # WELCOME came


class Conversation(ABC):
    def __init__(self, longest_pause: float, chance: random.Random | None) -> None:
        self.outbox: list[tuple[bytes, bytes]] = []
        self.hang_up = False  # the driver must close the socket and call lost()
        self.over: JobyardError | None = None  # why nothing will ever come of it
        self.trouble = ""  # why there may be no connection, as it seems
        self.welcome: m.Welcome | None = None  # the newest
        self.phase = Phase.away
        self._chance = chance or random.SystemRandom()
        self._instance = self._chance.randbytes(16)
        self._longest_pause = longest_pause
        self._pause = FIRST_PAUSE
        self._connect_at = 0.0
        self._hello_at = NEVER
        self._hello_request = 0
        self._hello_said_at = 0.0
        self._advanced_at = 0.0
        self._since = 0.0  # of the phase
        self._heard_at = 0.0
        self._said_at = 0.0
        self._session = 0
        self._request = 0

    # What the driver says.

    def should_connect(self, now: float) -> bool:
        return self.phase is Phase.away and self.over is None and now >= self._connect_at

    def connecting(self, now: float) -> None:
        self._enter(Phase.connecting, now)

    def handshake(self, now: float) -> None:
        self._heard_at = now
        self._hello(now)

    def lost(self, now: float) -> None:
        """The connection is gone, or could not be had."""
        if self.phase is Phase.talking and now - self._since >= self._longest_pause:
            self._pause = FIRST_PAUSE
        self._end_session(now)
        self._enter(Phase.away, now)
        self.hang_up = False
        self.outbox.clear()
        self._connect_at = now + self._chance.uniform(self._pause / 2, self._pause)
        self._pause = min(2 * self._pause, self._longest_pause)

    def receive(self, header: bytes, payload: bytes, now: float) -> None:
        self._heard_at = now
        try:
            session, request, message = m.decode(header)
            if isinstance(message, m.Welcome):
                if self.phase is Phase.greeting and request == self._hello_request:
                    self._take(message, session, now)
            elif isinstance(message, m.Error):
                self._refused(message, session, request, now)
            elif self.phase is not Phase.talking or session != self._session:
                pass  # for a session that has ended
            elif isinstance(message, m.Goodbye):
                self.hang_up = True
            elif message is not None:
                self._received(message, request, payload, now)
        except BadMessage as wrong:
            if self._unreadable(wrong):
                return
            log.error("the broker sent what is no message of this protocol (%s); connecting anew", wrong)
            self.hang_up = True

    def advance(self, now: float) -> None:
        """Does what is due, and puts into the outbox what can leave."""
        if self.over is not None:
            return
        if self.phase is Phase.connecting and now >= self._since + CONNECT_PATIENCE:
            self.hang_up = True
        if self.phase in (Phase.greeting, Phase.talking) and now >= self._heard_at + self._lost_after:
            log.warning("nothing heard from the broker for %.0f s; connecting anew", now - self._heard_at)
            self.hang_up = True
        if self.hang_up:
            return
        if now >= self._hello_at:
            self._hello(now)
        self._advance(now)
        self._advanced_at = now
        if self.phase is Phase.talking and now >= self._said_at + self._heartbeat:
            self._say(m.Heartbeat(), now)

    def due(self) -> float:
        """When advance() has something to do, if nothing happens before."""
        if self.over is not None:
            return NEVER
        if self.phase is Phase.away:
            return min(self._connect_at, self._due())
        if self.phase is Phase.connecting:
            return min(self._since + CONNECT_PATIENCE, self._due())
        due = min(self._heard_at + self._lost_after, self._hello_at, self._due())
        return min(due, self._said_at + self._heartbeat) if self.phase is Phase.talking else due

    def close(self, reason: JobyardError | None = None) -> None:
        """The end. What is still open is never answered: it learns `reason`."""
        if self.over is None:
            self.over = reason or Closed("the client was closed")
            self._ended(self.over)

    # What the client's and the worker's part add.

    @abstractmethod
    def _greeting(self) -> m.Hello:
        ...

    @abstractmethod
    def _welcomed(self, welcome: m.Welcome, before: m.Welcome | None, now: float) -> None:
        """A session has begun; `before`: the last WELCOME to this instance, if there was one."""

    @abstractmethod
    def _session_lost(self, now: float) -> None:
        ...

    @abstractmethod
    def _received(self, message: m.Message, request: int, payload: bytes, now: float) -> None:
        ...

    def _unreadable(self, wrong: BadMessage) -> bool:
        """True if only one question suffers from it."""
        return False

    @abstractmethod
    def _request_refused(self, error: m.Error, request: int, now: float) -> None:
        ...

    @abstractmethod
    def _advance(self, now: float) -> None:
        ...

    @abstractmethod
    def _due(self) -> float:
        ...

    @abstractmethod
    def _ended(self, reason: JobyardError) -> None:
        ...

    # What they use.

    def _require_going(self) -> None:
        if self.over is not None:
            raise self.over

    def _say(self, message: m.Message, now: float, payload: bytes = b"") -> int:
        request = self._next_request(type(message))
        self._send(m.encode(message, self._session, request), payload, now)
        return request

    def _say_list(self, kind: type, items: list[bytes], now: float, *before: int, payload: bytes = b"") -> int:
        request = self._next_request(kind)
        self._send(m.encode_list(kind, items, self._session, request, *before), payload, now)
        return request

    def _new_instance(self, now: float) -> None:
        """The broker has forgotten the old one: begin again, in the same connection."""
        self._instance = self._chance.randbytes(16)
        self._end_session(now)
        self.welcome = None
        self._hello(now)

    @property
    def _lost_after(self) -> float:
        return self.welcome.lost_after_ms / 1000 if self.welcome else DEFAULT_LOST_AFTER

    @property
    def _heartbeat(self) -> float:
        return self.welcome.heartbeat_ms / 1000 if self.welcome else NEVER

    def _hello(self, now: float) -> None:
        self._session = 0
        self._hello_at = NEVER
        self._hello_request = self._say(self._greeting(), now)
        self._hello_said_at = now
        self._enter(Phase.greeting, now)

    def _take(self, welcome: m.Welcome, session: int, now: float) -> None:
        if welcome.version != VERSION:
            raise BadMessage(f"WELCOME chose version {welcome.version}; {VERSION} was offered")
        before, self.welcome = self.welcome, welcome
        self._session = session
        self._enter(Phase.talking, now)
        self._welcomed(welcome, before, now)

    def _refused(self, error: m.Error, session: int, request: int, now: float) -> None:
        if self.phase is Phase.greeting:
            if request != self._hello_request:
                return
            if error.code == Code.busy:
                self._hello_at = now + self._retry_after(error.retry_after_ms)
            else:
                text = error.text
                if error.code == Code.version_not_spoken:
                    text += f" (the broker speaks {error.min_version} to {error.max_version}, this library {VERSION})"
                self.close(refusal(error.code, text, error.field))
        elif self.phase is not Phase.talking or session not in (0, self._session):
            pass  # about a session that has ended
        elif error.code == Code.no_session:
            self._end_session(now)
            self._hello(now)
        elif error.code == Code.replaced:
            self.close(refusal(error.code, error.text or "a newer session of this instance exists"))
        elif error.code == Code.not_allowed and request == 0:
            text = f"{error.text}; what was sent and not answered may or may not have been made"
            self.close(refusal(error.code, text))
        else:
            self._request_refused(error, request, now)

    def _end_session(self, now: float) -> None:
        if self.phase is Phase.talking:
            self._session_lost(now)
        self._hello_at = NEVER

    def _retry_after(self, milliseconds: int) -> float:
        return max(milliseconds / 1000, SHORTEST_RETRY) * self._chance.uniform(1.0, 1.25)

    def _next_request(self, kind: type) -> int:
        if kind in m.UNANSWERED:
            return 0
        self._request += 1
        return self._request

    def _send(self, header: bytes, payload: bytes, now: float) -> None:
        self.outbox.append((header, payload))
        self._said_at = now

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase = phase
        self._since = now
