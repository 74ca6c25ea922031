"""The DEALER socket of a conversation, one for each connection, and the thread's loop around it.

libzmq's own reconnecting is off and every connection has a socket of its own. So nothing that was meant for one
connection is ever sent on the next, nothing is queued while the broker is away, and the pauses are the conversation's.
`IMMEDIATE` is said to do the same, but with it libzmq 4.3.4 aborts the process when a connection ends in the middle of
a message.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

import zmq
from zmq.utils.monitor import parse_monitor_message

from jobyard.conversation import Conversation, log
from jobyard.endpoint import require_private
from jobyard.errors import JobyardError, NotAllowed
from jobyard.keys import PeerKeys, keys_for
from jobyard.words import MAX_FRAME_BYTES, Code

_GONE = (
    zmq.Event.DISCONNECTED
    | zmq.Event.CLOSED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)
_MESSAGES_PER_TURN = 256
_TROUBLED = 3  # handshakes in a row that the broker broke off: as one does that cannot read them
_MECHANISM_MISMATCH = 0x11000002  # ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: one side has keys, the other none


class Link:
    """Carries messages between a conversation and its broker. `turn` never waits; one thread at a time may call it."""

    def __init__(self, conversation: Conversation, endpoint: str, server_key: str = "", key_file: str = "") -> None:
        self._conversation = conversation
        self._endpoint = endpoint
        self._keys: PeerKeys | None = None
        try:
            self._keys = keys_for(endpoint, server_key, key_file)
        except JobyardError as wrong:
            conversation.close(wrong)
        self._failed_handshakes = 0
        self._context = zmq.Context(io_threads=1)
        self._dealer: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._gone = False

    def descriptors(self) -> tuple[int, ...]:
        """Readable when there may be something to do. They are others after each connection."""
        if self._dealer is None or self._monitor is None:
            return ()
        return int(self._dealer.getsockopt(zmq.FD)), int(self._monitor.getsockopt(zmq.FD))

    def turn(self) -> bool:
        """Receives, decides and sends; True if there is more to receive."""
        conversation, now = self._conversation, time.monotonic()
        if conversation.should_connect(now):
            self._connect(now)
        events = self._read_monitor()
        if events & zmq.Event.HANDSHAKE_SUCCEEDED:
            conversation.handshake(now)
        more = self._receive(now)
        self._gone = self._gone or bool(events & _GONE)
        if self._gone and not more:  # what came before the end counts
            conversation.hang_up = True
        conversation.advance(now)
        if conversation.hang_up:
            self._disconnect(linger=0)
            conversation.lost(now)
        self._send()
        # A descriptor of libzmq tells of what is new. What came while we sent is told of only here.
        return self._readable(self._dealer) or self._readable(self._monitor)

    def close(self, linger: float = 1.0) -> None:
        """Ends the connection; may wait so long for the last messages to leave."""
        self._send()
        self._disconnect(linger)
        self._context.term()

    def _connect(self, now: float) -> None:
        try:
            require_private(self._endpoint)
            dealer: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
            self._dealer = dealer
            dealer.setsockopt(zmq.RECONNECT_IVL, -1)
            dealer.setsockopt(zmq.IPV6, 1)
            dealer.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
            dealer.setsockopt(zmq.LINGER, 0)
            # No limits here: what may be on its way is limited by windows, credit and grants.
            dealer.setsockopt(zmq.SNDHWM, 0)
            dealer.setsockopt(zmq.RCVHWM, 0)
            if self._keys is not None:
                dealer.curve_serverkey = self._keys.server
                dealer.curve_publickey = self._keys.public
                dealer.curve_secretkey = self._keys.secret
            self._monitor = dealer.get_monitor_socket(int(_GONE | zmq.Event.HANDSHAKE_SUCCEEDED))
            dealer.connect(self._endpoint)
        except zmq.ZMQError as wrong:
            self._disconnect(linger=0)
            text = f'cannot connect to "{self._endpoint}": {wrong}; ipc://PATH or tcp://HOST:PORT was expected'
            self._conversation.close(JobyardError(text, code=Code.bad_field, field="broker"))
        except JobyardError as wrong:
            self._conversation.close(wrong)
        else:
            self._conversation.connecting(now)

    def _disconnect(self, linger: float) -> None:
        if self._dealer is not None:
            self._dealer.disable_monitor()
            if self._monitor is not None:
                self._monitor.close(linger=0)
            self._dealer.close(linger=int(linger * 1000))
        self._dealer = self._monitor = None
        self._gone = False

    def _read_monitor(self) -> int:
        events = 0
        while self._monitor is not None and self._readable(self._monitor):
            event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            events |= int(event["event"])
            self._look_at_handshake(int(event["event"]), int(event["value"]))
        return events

    def _look_at_handshake(self, event: int, value: int) -> None:
        broker = f"the broker at {self._endpoint}"
        if event == zmq.Event.HANDSHAKE_SUCCEEDED:
            self._failed_handshakes = 0
            self._conversation.trouble = ""
        elif event == zmq.Event.HANDSHAKE_FAILED_AUTH:
            self._conversation.close(NotAllowed(f"{broker} refused this key: its access file does not name it"))
        elif event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL and value == _MECHANISM_MISMATCH:
            if self._keys is None:
                text = f"{broker} wants a key: give its public key as server_key and the file of your own as key_file"
            else:
                text = f"{broker} has no key at this endpoint, and here one is expected of it"
            self._conversation.close(NotAllowed(text))
        elif event in (zmq.Event.HANDSHAKE_FAILED_NO_DETAIL, zmq.Event.HANDSHAKE_FAILED_PROTOCOL):
            self._failed_handshakes += 1
            if self._failed_handshakes == _TROUBLED:
                cause = "it may want a key" if self._keys is None else "is the server key right?"
                self._conversation.trouble = f"no answer to the handshake from {broker}: {cause}"
                log.warning(self._conversation.trouble)

    def _receive(self, now: float) -> bool:
        for _ in range(_MESSAGES_PER_TURN):
            if self._dealer is None or not self._readable(self._dealer):
                return False
            frames = self._dealer.recv_multipart(zmq.NOBLOCK)
            if len(frames) == 2:
                self._conversation.receive(frames[0], frames[1], now)
        return True

    def _send(self) -> None:
        outbox = self._conversation.outbox
        if self._dealer is not None:
            try:
                for header, payload in outbox:
                    self._dealer.send_multipart((header, payload), zmq.NOBLOCK)
            except zmq.Again:
                pass  # the connection is gone; the monitor tells
        outbox.clear()

    @staticmethod
    def _readable(socket: zmq.Socket[bytes] | None) -> bool:
        return socket is not None and bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


class LinkLoop:
    """A thread's loop around a link. The lock guards the conversation; whoever changes it holds the lock and may then
    wake() the loop."""

    def __init__(self, conversation: Conversation, endpoint: str, server_key: str = "", key_file: str = "") -> None:
        self.lock = threading.Condition()
        self._conversation = conversation
        self._link = Link(conversation, endpoint, server_key, key_file)
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._asleep = False

    def wake(self) -> None:
        """From any thread and from a signal handler; does nothing while the loop is awake."""
        if self._asleep:
            self._asleep = False
            os.write(self._wake_write, b"\0")

    def run(self, go_on: Callable[[], bool]) -> None:
        """Turns until `go_on`, which is called under the lock after each turn, says no."""
        try:
            while self._turn(go_on):
                pass
        except BaseException as bug:
            with self.lock:
                self._conversation.close(JobyardError(f"the connection to the broker has ended: {bug!r}"))
                go_on()
            raise
        finally:
            with self.lock:
                self._asleep = False  # there is nothing to wake any more
            self._link.close()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _turn(self, go_on: Callable[[], bool]) -> bool:
        with self.lock:
            # Before the turn: a wake() from here on is about what the turn may not have seen.
            self._asleep = True
            more = self._link.turn()
            if not go_on():
                return False
            descriptors = self._link.descriptors()
            due = self._conversation.due()
        if not more:
            self._sleep(descriptors, due)
        return True

    def _sleep(self, descriptors: tuple[int, ...], due: float) -> None:
        poll = select.poll()
        for descriptor in (self._wake_read, *descriptors):
            poll.register(descriptor, select.POLLIN)
        wait = min(max(due - time.monotonic(), 0.0), 3600.0)
        if any(descriptor == self._wake_read for descriptor, _ in poll.poll(wait * 1000)):
            os.read(self._wake_read, 4096)
