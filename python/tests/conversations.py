"""A broker by hand: what the tests of the two conversations say to them and hear from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobyard import messages as m
from jobyard.conversation import Conversation
from jobyard.words import MINOR

STORE = b"S" * 16


class Talk:
    """A conversation, its clock, and the broker's side of the connection."""

    def __init__(self, core: Conversation) -> None:
        self.core = core
        self.now = 100.0
        self.session = 0
        self.request = 0

    def connect(self) -> m.Hello:
        assert self.core.should_connect(self.now), "it does not want to connect"
        self.core.connecting(self.now)
        self.core.handshake(self.now)
        (hello,) = self.heard(m.Hello)
        return hello  # type: ignore[no-any-return]

    def welcome(self, session: int, instance: int = 0, claims: Sequence[int] = (), **other: Any) -> None:
        fields: dict[str, Any] = dict(
            version=1, minor=MINOR, store=STORE, epoch=1, software="test", instance=instance, heartbeat_ms=5_000,
            lost_after_ms=20_000, lease_ms=30_000, renew_ms=10_000, window=8_192, max_payload=262_144,
            max_result=393_216, claims=claims,
        )  # fmt: skip
        self.session = session
        self.tell(m.Welcome(**{**fields, **other}), request=self.request)

    def begin(self, **other: Any) -> m.Hello:
        hello = self.connect()
        self.welcome(1, **other)
        return hello

    def break_off(self) -> None:
        """The connection ends, and the pause before the next one passes."""
        self.core.lost(self.now)
        self.pass_time(10)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.core.advance(self.now)

    def tell(self, message: m.Message, payload: bytes = b"", request: int = 0) -> None:
        self.core.receive(m.encode(message, self.session, request), payload, self.now)
        self.core.advance(self.now)

    def heard(self, *kinds: type) -> list[Any]:
        """What it has sent since the last time, which must be of these kinds; `request` is that of the last."""
        self.core.advance(self.now)
        messages = []
        for header, payload in self.core.outbox:
            session, request, message = m.decode(header)
            assert session == self.session or isinstance(message, m.Hello), f"session {session}"
            if request:
                self.request = request
            assert message is not None
            messages.append(message)
        self.core.outbox.clear()
        names = [type(message).__name__ for message in messages]
        assert names == [kind.__name__ for kind in kinds], f"heard {names}"
        return messages

    def answer(self, *codes: int, jobs: Sequence[int], state: int = 3, request: int | None = None) -> None:
        items = [m.AnswerItem(code, job, state) for code, job in zip(codes, jobs)]
        self.tell(m.Answers(items), request=self.request if request is None else request)
