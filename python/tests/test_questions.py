"""What is asked and how answers are read, without a broker."""

import unittest
from datetime import datetime, timezone
from typing import Any

import msgpack  # type: ignore[import]

from jobyard import UNSET, BadField, EventsGone, JobSpec, RetryPolicy, Snooze, error_shape, fingerprint
from jobyard import messages as m
from jobyard import questions
from jobyard.client_core import Reply
from jobyard.errors import BadMessage
from jobyard.questions import EventCursor


def page(*maps: dict[str, Any], last: int, gone: int = 0, more: bool = False) -> Reply:
    parts = [msgpack.packb(each) for each in maps]
    return Reply(m.Events(last, gone, more, [m.MapItem(0, len(part)) for part in parts]), b"".join(parts))


def event(number: int, **other: Any) -> dict[str, Any]:
    return {"event": number, "at": 1_000, "kind": "submitted", "job": number + 100, **other}


class ReadingEvents(unittest.TestCase):
    def setUp(self) -> None:
        self.cursor = EventCursor(7, "q", "t", 0, ["failed", "dead"])

    def take_all(self) -> list[int]:
        taken = []
        while (found := self.cursor.take()) is not None:
            taken.append(found.event)
        return taken

    def test_asks_behind_what_was_seen_with_its_filters(self) -> None:
        self.assertEqual(self.cursor.page(2.5).message, m.ReadEvents(7, 1_000, 2_500, "q", "t", 0, [3, 4]))

    def test_a_run_is_as_many_events_of_as_many_jobs(self) -> None:
        self.cursor.page().read(page(event(8, count=3), last=12))
        taken = [self.cursor.take() for _ in range(4)]
        self.assertEqual([(e.event, e.job) for e in taken if e is not None], [(8, 108), (9, 109), (10, 110)])
        self.assertIsNone(taken[3])

    def test_last_is_what_was_taken_and_at_the_end_of_a_page_what_was_looked_at(self) -> None:
        self.cursor.page().read(page(event(8), event(10), last=12, more=True))
        self.cursor.take()
        self.assertEqual((self.cursor.last, self.cursor.at_end), (8, False))
        self.cursor.take()
        self.assertEqual(self.cursor.last, 12)
        self.cursor.page().read(page(last=20))
        self.assertEqual((self.cursor.take(), self.cursor.last, self.cursor.at_end), (None, 20, True))

    def test_what_is_gone_is_said_once_and_what_is_left_follows(self) -> None:
        self.cursor.page().read(page(event(31), last=31, gone=30))
        with self.assertRaisesRegex(EventsGone, "events 8 to 30 are gone") as raised:
            self.cursor.take()
        self.assertEqual((raised.exception.after, raised.exception.upto, self.cursor.last), (7, 30, 30))
        self.assertEqual(self.take_all(), [31])

    def test_who_asks_for_all_that_is_kept_hears_nothing_of_what_is_gone(self) -> None:
        self.cursor = EventCursor(0, "", "", 0, [])
        self.cursor.page().read(page(event(31), last=31, gone=30))
        self.assertEqual(self.take_all(), [31])

    def test_words_and_answers_that_are_none_are_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, '"lost" is no kind of event; one of submitted, .* was expected'):
            EventCursor(0, "", "", 0, ["lost"])
        with self.assertRaises(BadMessage):
            self.cursor.page().read(Reply(m.Stats(0, 0), b""))


class Settings(unittest.TestCase):
    def test_a_policy_says_only_what_is_said(self) -> None:
        policy = RetryPolicy(max_attempts=3, timeout=UNSET, backoff_factor=1.5)
        self.assertEqual(policy.pack(), (3, 0xFFFFFFFF, None, 150, None, None))
        with self.assertRaisesRegex(BadField, "max_attempts: 0; 1 to 1000 was expected"):
            RetryPolicy(max_attempts=0).pack()

    def test_a_time_of_day_must_say_its_zone(self) -> None:
        aware = datetime(2030, 1, 1, tzinfo=timezone.utc)
        item = msgpack.unpackb(JobSpec("t", run_at=aware).pack())
        self.assertEqual(item, msgpack.unpackb(JobSpec("t", run_at=aware.timestamp()).pack()))
        self.assertEqual(item[14], 1_893_456_000_000)
        wrongs: tuple[datetime | float, ...] = (datetime(2030, 1, 1), -1.0)
        for wrong in wrongs:
            with self.assertRaises(BadField):
                JobSpec("t", run_at=wrong).pack()

    def test_a_setting_of_another_type_is_refused_by_its_name(self) -> None:
        wrongs = (("delay", "5s", "a number"), ("priority", 5.5, "a whole number"), ("max_attempts", True, "a whole"))
        for name, wrong, expected in wrongs:
            with self.assertRaisesRegex(BadField, f"{name}: .*; {expected}.* was expected"):
                JobSpec("t", **{name: wrong}).pack()  # type: ignore[arg-type]
        with self.assertRaisesRegex(BadField, "array: '0-9'; a range was expected, such as"):
            JobSpec("t", array="0-9").pack_array()  # type: ignore[arg-type]
        with self.assertRaisesRegex(BadField, "delay: -1; 0 to 31622400 was expected"):
            JobSpec("t", delay=-1).pack()

    def test_what_is_no_array_is_refused(self) -> None:
        for wrong in (range(0), range(-1, 5), range(5, 0, -1), range(2**53 + 1), range(0, 1, 2**53)):
            with self.assertRaisesRegex(BadField, "a range within 0 to 9007199254740991 that grows was expected"):
                JobSpec("t", array=wrong).pack_array()
        for settings in (dict(array_name="seeds"), dict(at_once=5)):
            with self.assertRaisesRegex(BadField, "a range was expected"):
                JobSpec("t", **settings).pack_array()  # type: ignore[arg-type]
        with self.assertRaisesRegex(BadField, "at_once: -1; 0 to "):
            JobSpec("t", array=range(5), at_once=-1).pack_array()
        self.assertIsNone(JobSpec("t").pack_array())

    def test_a_snooze_is_not_longer_than_the_broker_allows(self) -> None:
        with self.assertRaisesRegex(BadField, "delay: -1; 0 to 31622400 seconds were expected"):
            Snooze(-1)

    def test_the_words_of_a_task_are_checked(self) -> None:
        def start(action: str, state: str = "", reason: str = "") -> m.Message:
            return questions.start_task(9, action, state, "", "", reason, "", 1.5, 0, False, "", [7]).message

        self.assertEqual(
            start("purge", reason="expired"), m.StartTask(3, reason=4, older_than_ms=1_500, jobs=[7], nonce=9)
        )
        for wrong in (dict(action="kick"), dict(action="cancel", state="gone"), dict(action="purge", reason="age")):
            with self.assertRaisesRegex(ValueError, "was expected"):
                start(**wrong)


class Fingerprints(unittest.TestCase):
    def test_shape_leaves_out_what_changes(self) -> None:
        self.assertEqual(error_shape("cannot open /data/7.png:  no 'such file' \"x\n\""), 'cannot open # no # "x')

    def test_is_fnv_1a_of_type_and_shape(self) -> None:
        # By hand: the offset basis, then one byte (the zero) of an empty type and error.
        self.assertEqual(fingerprint("", ""), f"{0xCBF29CE484222325 * 0x100000001B3 % (1 << 64):016x}")
        self.assertEqual(fingerprint("t", "after 17 s"), fingerprint("t", "after 4711 s"))
        self.assertNotEqual(fingerprint("t", "after 17 s"), fingerprint("u", "after 17 s"))


if __name__ == "__main__":
    unittest.main()
