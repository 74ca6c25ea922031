"""The messages of PROTOCOL.md and their bytes.

Each class is a row of its tables: the names, the order and the defaults are those written there. `encode` leaves out
what stands at the end and has its default; `decode` puts defaults in place of what is nil or left out, and ignores what
is beyond the fields it knows.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgpack  # type: ignore[import]

from jobyard.errors import BadMessage
from jobyard.words import VERSION


class Hello(NamedTuple):
    min_version: int
    max_version: int
    minor: int
    role: int
    instance: bytes
    name: str = ""
    software: str = ""
    store: bytes | None = None
    resumed: bool = False
    confirmed: int = 0
    grant: int = 0
    slots: int = 0
    credit: int = 0
    queues: Sequence[str] = ()
    types: Sequence[str] = ()
    claims: Sequence[Claim] = ()
    host: str = ""
    pid: int = 0


class Claim(NamedTuple):
    job: int
    token: int
    finished: bool = False


class Welcome(NamedTuple):
    version: int
    minor: int
    store: bytes
    epoch: int
    software: str
    instance: int
    heartbeat_ms: int
    lost_after_ms: int
    lease_ms: int
    renew_ms: int
    window: int
    max_payload: int
    max_result: int
    features: Sequence[object] = ()
    claims: Sequence[int] = ()


class Heartbeat(NamedTuple):
    pass


class Goodbye(NamedTuple):
    reason: int = 0
    confirmed: int = 0


class Error(NamedTuple):
    code: int
    text: str = ""
    field: str = ""
    retry_after_ms: int = 0
    min_version: int = 1
    max_version: int = 1


class Submit(NamedTuple):
    confirmed: int
    first_number: int
    items: Sequence[SubmitItem]


class SubmitItem(NamedTuple):
    payload_kind: int
    payload_length: int
    queue: str
    type: str
    priority: int = 5
    watch: bool = False
    delay_ms: int = 0
    timeout_ms: int | None = None
    max_attempts: int | None = None
    key: str = ""
    backoff_initial_ms: int | None = None
    backoff_factor_percent: int | None = None
    backoff_max_ms: int | None = None
    backoff_jitter_percent: int | None = None
    run_at: int = 0
    deadline_ms: int = 0
    queue_timeout_ms: int = 0
    held: bool = False
    key_ttl_ms: int = 86_400_000


class SubmitArray(NamedTuple):
    confirmed: int
    first_number: int
    items: Sequence[SubmitItem]  # one
    count: int  # type: ignore[assignment]  # which nobody needs as a tuple's method
    first: int = 0
    step: int = 1
    at_once: int = 0
    name: str = ""


class Answers(NamedTuple):
    items: Sequence[AnswerItem]
    in_flight: int = 0


class AnswerItem(NamedTuple):
    code: int
    job: int
    state: int = 0
    text: str = ""
    field: str = ""
    retry_after_ms: int = 0


class Watch(NamedTuple):
    jobs: Sequence[int]


class Results(NamedTuple):
    items: Sequence[ResultItem]


class ResultItem(NamedTuple):
    payload_kind: int
    payload_length: int
    job: int
    state: int
    reason: int = 0
    attempt: int = 0
    error: str = ""


class Grant(NamedTuple):
    total_bytes: int


class Cancel(NamedTuple):
    jobs: Sequence[int]


class Redrive(NamedTuple):
    jobs: Sequence[int]


class Change(NamedTuple):
    jobs: Sequence[int]
    priority: int = 0
    queue: str = ""
    held: bool | None = None


class Edit(NamedTuple):
    jobs: Sequence[int]
    payload_kind: int
    payload_length: int
    new_payload: bool = False
    type: str = ""
    queue: str = ""
    priority: int = 0
    max_attempts: int | None = None
    timeout_ms: int | None = None
    backoff_initial_ms: int | None = None
    backoff_factor_percent: int | None = None
    backoff_max_ms: int | None = None
    backoff_jitter_percent: int | None = None


class SetQueue(NamedTuple):
    queue: str
    type: str = ""
    paused: bool | None = None
    by: str = ""
    why: str = ""
    max_running: int | None = None
    max_attempts: int | None = None
    timeout_ms: int | None = None
    backoff_initial_ms: int | None = None
    backoff_factor_percent: int | None = None
    backoff_max_ms: int | None = None
    backoff_jitter_percent: int | None = None


class Show(NamedTuple):
    jobs: Sequence[int]
    payload: bool = False


class List(NamedTuple):
    state: int = 0
    queue: str = ""
    type: str = ""
    cursor: int = 0
    limit: int = 100
    array: int = 0


class Jobs(NamedTuple):
    next_cursor: int
    items: Sequence[JobItem] = ()


class JobItem(NamedTuple):
    payload_kind: int
    payload_length: int
    code: int
    job: int


class AskStats(NamedTuple):
    pass


class Stats(NamedTuple):
    payload_kind: int
    payload_length: int


class ReadEvents(NamedTuple):
    after: int | None = None
    limit: int = 1_000
    wait_ms: int = 0
    queue: str = ""
    type: str = ""
    job: int = 0
    kinds: Sequence[int] = ()


class MapItem(NamedTuple):
    payload_kind: int
    payload_length: int


class Events(NamedTuple):
    last: int
    gone: int = 0
    more: bool = False
    items: Sequence[MapItem] = ()


class ListQueues(NamedTuple):
    cursor: str = ""
    limit: int = 100
    name: str = ""


class ListWorkers(NamedTuple):
    cursor: str = ""
    limit: int = 100
    name: str = ""


class Maps(NamedTuple):
    next: str = ""
    items: Sequence[MapItem] = ()


class Dispatch(NamedTuple):
    items: Sequence[DispatchItem]


class DispatchItem(NamedTuple):
    payload_kind: int
    payload_length: int
    job: int
    token: int
    attempt: int
    queue: str
    type: str
    priority: int = 0
    timeout_ms: int = 0
    max_attempts: int = 0
    array: int = 0
    array_index: int = 0


class Credit(NamedTuple):
    credit: int


class Started(NamedTuple):
    items: Sequence[LeaseItem]


class LeaseItem(NamedTuple):
    job: int
    token: int


class Renew(NamedTuple):
    items: Sequence[RenewItem]


class RenewItem(NamedTuple):
    job: int
    token: int
    progress: float = 0
    text: str = ""


class Complete(NamedTuple):
    items: Sequence[CompleteItem]


class CompleteItem(NamedTuple):
    payload_kind: int
    payload_length: int
    job: int
    token: int
    duration_ms: int = 0


class Fail(NamedTuple):
    items: Sequence[FailItem]


class FailItem(NamedTuple):
    payload_kind: int
    payload_length: int
    job: int
    token: int
    duration_ms: int = 0
    outcome: int = 2
    retryable: bool = True
    error: str = ""
    tail: str = ""


class Release(NamedTuple):
    items: Sequence[ReleaseItem]


class ReleaseItem(NamedTuple):
    job: int
    token: int
    delay_ms: int = 0


class Stop(NamedTuple):
    items: Sequence[StopItem]


class StopItem(NamedTuple):
    job: int
    token: int
    reason: int = 1


class SteerWorker(NamedTuple):
    name: str
    action: int


class StartTask(NamedTuple):
    action: int
    state: int = 0
    queue: str = ""
    type: str = ""
    reason: int = 0
    error: str = ""
    older_than_ms: int = 0
    newer_than_ms: int = 0
    count_only: bool = False
    by: str = ""
    jobs: Sequence[int] = ()
    nonce: int = 0


class ListTasks(NamedTuple):
    task: int = 0


class StopTask(NamedTuple):
    task: int


class ListArrays(NamedTuple):
    cursor: int = 0
    limit: int = 100
    array: int = 0


class SteerArray(NamedTuple):
    array: int
    action: int
    cancelled: bool = False


Message = tuple[Any, ...]
UNANSWERED = (Heartbeat, Goodbye, Grant, Credit, Started)  # their request is 0

_CLASSES: dict[int, Any] = {
    1: Hello,
    2: Welcome,
    3: Heartbeat,
    4: Goodbye,
    5: Error,
    10: Submit,
    11: Answers,
    12: Watch,
    13: Results,
    14: Grant,
    15: Cancel,
    16: Redrive,
    17: Change,
    18: SetQueue,
    19: SubmitArray,
    20: Show,
    21: List,
    22: Jobs,
    23: AskStats,
    24: Stats,
    25: ReadEvents,
    26: Events,
    27: ListQueues,
    28: ListWorkers,
    29: Maps,
    30: Dispatch,
    31: Credit,
    32: Started,
    33: Renew,
    34: Complete,
    35: Fail,
    36: Release,
    37: Stop,
    41: SteerWorker,
    42: StartTask,
    43: ListTasks,
    44: StopTask,
    45: ListArrays,
    46: SteerArray,
    47: Edit,
}
_NUMBERS = {message: number for number, message in _CLASSES.items()}

# What came with which minor version (PROTOCOL.md, "Versions"): messages, and of others the fields from one on.
_SINCE: dict[Any, int] = {
    Change: 1,
    SetQueue: 1,
    SubmitArray: 1,
    ReadEvents: 1,
    Events: 1,
    ListQueues: 1,
    ListWorkers: 1,
    Maps: 1,
    SteerWorker: 1,
    StartTask: 1,
    ListTasks: 1,
    StopTask: 1,
    ListArrays: 1,
    SteerArray: 1,
    Edit: 1,
}
_APPENDED: dict[Any, tuple[str, int]] = {
    Hello: ("host", 1),
    SubmitItem: ("run_at", 1),
    Show: ("payload", 1),
    List: ("array", 1),
    DispatchItem: ("array", 1),
    ReleaseItem: ("delay_ms", 1),
}


class _Field(NamedTuple):
    name: str
    kinds: tuple[type, ...]
    optional: bool
    default: Any
    item: Any  # of a list: the class of its items, if they are arrays, else their type


class _Form:
    """How one class is written: what the NamedTuple says, looked up once."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.fields: list[_Field] = []
        hints = get_type_hints(cls)
        for name in cls._fields:
            hint = hints[name]
            if get_origin(hint) in (Union, types.UnionType):
                hint = next(kind for kind in get_args(hint) if kind is not type(None))
            item = None
            kinds: tuple[type, ...] = (hint,)
            if get_origin(hint) is Sequence:
                item, kinds = get_args(hint)[0], (list,)
            elif hint is float:
                kinds = (float, int)
            optional = name in cls._field_defaults
            self.fields.append(_Field(name, kinds, optional, cls._field_defaults.get(name), item))
        self.required = sum(not field.optional for field in self.fields)

    def to_array(self, value: Any) -> list[Any]:
        count = len(value)
        while count > self.required and value[count - 1] == self.fields[count - 1].default:
            count -= 1
        array = list(value[:count])
        for index in range(count):
            item = self.fields[index].item
            if item is not None and hasattr(item, "_fields"):
                form = _FORMS[item]
                array[index] = [form.to_array(each) for each in array[index]]
        return array

    def from_array(self, array: Any) -> Any:
        if not isinstance(array, list):
            raise BadMessage(f"{self.cls.__name__}: an array was expected")
        values = []
        for index, field in enumerate(self.fields):
            value = array[index] if index < len(array) else None
            if value is None and field.optional:
                values.append(field.default)
                continue
            if not isinstance(value, field.kinds):
                expected = "/".join(kind.__name__ for kind in field.kinds)
                raise BadMessage(f"{self.cls.__name__}.{field.name}: {expected} was expected")
            if field.item is not None:
                value = self._items(field, value)
            values.append(value)
        return self.cls(*values)

    def _items(self, field: _Field, array: list[Any]) -> list[Any]:
        if hasattr(field.item, "_fields"):
            form = _FORMS[field.item]
            return [form.from_array(each) for each in array]
        if not all(isinstance(each, field.item) for each in array):
            raise BadMessage(f"{self.cls.__name__}.{field.name}: each was expected to be {field.item.__name__}")
        return array


_ITEMS = (
    Claim,
    SubmitItem,
    AnswerItem,
    ResultItem,
    JobItem,
    DispatchItem,
    LeaseItem,
    MapItem,
    ReleaseItem,
    RenewItem,
    CompleteItem,
    FailItem,
    StopItem,
)
_FORMS: dict[Any, _Form] = {cls: _Form(cls) for cls in (*_CLASSES.values(), *_ITEMS)}


def encode(message: Message, session: int = 0, request: int = 0) -> bytes:
    """The header of a message."""
    kind = type(message)
    packed: bytes = msgpack.packb([VERSION, _NUMBERS[kind], session, request, *_FORMS[kind].to_array(message)])
    return packed


def encode_item(item: Message) -> bytes:
    """One item of a list, for `encode_list`: packed once, though it may be sent again."""
    packed: bytes = msgpack.packb(_FORMS[type(item)].to_array(item))
    return packed


def decode_item(kind: Any, packed: bytes) -> Any:
    return _FORMS[kind].from_array(unpack(packed))


def minor_of(message: Message) -> int:
    """The least minor version whose readers miss nothing that a message, or an item of a list, says."""
    kind: Any = type(message)
    if kind in _APPENDED:
        first, minor = _APPENDED[kind]
        appended = kind._fields[kind._fields.index(first) :]
        if any(getattr(message, name) != kind._field_defaults[name] for name in appended):
            return minor
    return _SINCE.get(kind, 0)


def encode_list(kind: Any, items: Sequence[bytes], session: int, request: int, *before: int) -> bytes:
    """The header of a message whose last field is a list of items that are packed already."""
    packer = msgpack.Packer(autoreset=False)
    packer.pack_array_header(4 + len(before) + 1)
    for number in (VERSION, _NUMBERS[kind], session, request, *before):
        packer.pack(number)
    packer.pack_array_header(len(items))
    head: bytes = packer.bytes()
    return head + b"".join(items)


def decode(header: bytes) -> tuple[int, int, Message | None]:
    """Session, request and message of a header; None for a message of a later minor version."""
    array = unpack(header)
    if not isinstance(array, list) or len(array) < 4 or not all(isinstance(each, int) for each in array[:4]):
        raise BadMessage("a header is an array that begins version, type, session, request")
    version, number, session, request = array[:4]
    if version != VERSION:
        raise BadMessage(f"version {version}; {VERSION} was expected")
    cls = _CLASSES.get(number)
    try:
        return session, request, None if cls is None else _FORMS[cls].from_array(array[4:])
    except BadMessage as wrong:
        wrong.request = request
        raise


def payloads(items: Sequence[Any], payload: bytes) -> list[bytes]:
    """What each item has of the payload frame."""
    parts, at = [], 0
    for item in items:
        if item.payload_kind != 0:
            raise BadMessage(f"payload_kind {item.payload_kind}; 0 was expected")
        parts.append(payload[at : at + item.payload_length])
        at += item.payload_length
    if at != len(payload):
        raise BadMessage(f"the payload frame has {len(payload)} bytes; its items say {at}")
    return parts


def unpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False, unicode_errors="replace")
    except ValueError as wrong:
        raise BadMessage(f"this is not MessagePack: {wrong}") from None
