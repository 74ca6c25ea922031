"""The rules a worker keeps, without a socket or a clock."""

import random
import unittest
from unittest import mock

from conversations import Talk

from jobyard import messages as m
from jobyard.words import MINOR, Code
from jobyard.worker_core import Cause, Failure, HandBack, Lease, Success, WorkerCore


class Case(unittest.TestCase):
    credit = 2

    def setUp(self) -> None:
        self.core = WorkerCore("w", 2, self.credit, ("default",), ("t",), 15.0, random.Random(1))
        self.talk = Talk(self.core)

    def dispatch(self, *jobs: int, timeout_ms: int = 0) -> None:
        items = [m.DispatchItem(0, 1, job, 1_000 + job, 1, "default", "t", 5, timeout_ms, 4) for job in jobs]
        self.talk.tell(m.Dispatch(items), b"p" * len(jobs))

    def begin(self) -> Lease:
        lease = self.core.begin(self.talk.now)
        assert lease is not None
        return lease

    def started(self, job: int, timeout_ms: int = 0) -> Lease:
        self.dispatch(job, timeout_ms=timeout_ms)
        return self.begin()

    def stops(self) -> list[tuple[int, Cause | None]]:
        found = [(lease.item.job, lease.stop) for lease in self.core.to_stop]
        self.core.to_stop.clear()
        return found

    def settle(self) -> None:
        self.talk.answer(Code.ok, jobs=[0])


class Working(Case):
    credit = 3

    def test_hello_says_who_it_is_and_what_it_can_hold(self) -> None:
        hello = self.talk.connect()
        self.assertEqual((hello.role, hello.name, hello.slots, hello.credit), (2, "w", 2, 3))
        self.assertEqual((hello.queues, hello.types, hello.claims), (["default"], ["t"], ()))

    def test_slots_bound_what_runs_and_ends_are_reported(self) -> None:
        self.talk.begin()
        self.dispatch(1, 2, 3)
        first, _ = self.begin(), self.begin()
        self.assertIsNone(self.core.begin(self.talk.now))
        self.talk.now += 0.005
        self.core.returned(first, Success(b"result"), self.talk.now)
        (complete,) = self.talk.heard(m.Complete)
        self.assertEqual(complete.items, [m.CompleteItem(0, 6, 1, 1_001, 5)])
        self.assertEqual(self.begin().item.job, 3)

    def test_started_is_said_of_what_still_runs_after_ten_milliseconds(self) -> None:
        self.talk.begin()
        quick, slow = self.started(1), self.started(2)
        self.core.returned(quick, Success(), self.talk.now)
        self.talk.heard(m.Complete)
        self.assertAlmostEqual(self.core.due(), self.talk.now + 0.01)
        self.talk.now += 0.011
        self.assertEqual(self.talk.heard(m.Started)[0].items, [m.LeaseItem(2, 1_002)])
        self.core.returned(slow, Success(), self.talk.now)

    def test_all_that_is_held_is_renewed_with_its_progress(self) -> None:
        self.talk.begin()
        self.dispatch(1, 2, 3)
        lease = self.begin()
        lease.progress, lease.progress_text = 0.5, "half"
        self.talk.now += 0.02
        self.talk.heard(m.Started)
        self.talk.now += 10
        renew = self.talk.heard(m.Renew)[0]
        self.assertEqual(
            [tuple(item) for item in renew.items], [(1, 1_001, 0.5, "half"), (2, 1_002, 0, ""), (3, 1_003, 0, "")]
        )
        self.talk.answer(Code.ok, Code.stale_lease, Code.cancel_requested, jobs=[1, 2, 3])
        self.assertEqual(self.talk.heard(m.Fail)[0].items[0].outcome, 4)  # 3, which had not begun; 2 is dropped
        self.assertIsNone(self.core.begin(self.talk.now))

    def test_stale_stops_the_handler_and_its_result_is_dropped(self) -> None:
        self.talk.begin()
        lease = self.started(1)
        self.talk.tell(m.Stop([m.StopItem(1, 1_001, 2)]))
        self.assertEqual(self.stops(), [(1, Cause.lease_lost)])
        self.assertEqual(self.talk.heard(m.Credit)[0].credit, 2)  # its slot is not free yet
        self.core.returned(lease, Success(b"late"), self.talk.now)
        self.assertEqual(self.talk.heard(m.Credit)[0].credit, 3)

    def test_cancel_stops_the_handler_and_its_end_counts(self) -> None:
        self.talk.begin()
        finished, failed = self.started(1), self.started(2)
        self.talk.tell(m.Stop([m.StopItem(1, 1_001), m.StopItem(2, 1_002)]))
        self.assertEqual(self.stops(), [(1, Cause.cancelled), (2, Cause.cancelled)])
        self.core.returned(finished, Success(), self.talk.now)
        self.talk.heard(m.Complete)
        self.settle()
        self.core.returned(failed, HandBack(), self.talk.now)
        self.assertEqual(self.talk.heard(m.Fail)[0].items[0].outcome, 4)

    def test_a_broker_of_an_older_minor_version_neglects_the_delay_and_the_log_says_so(self) -> None:
        for minor, warnings in ((0, 1), (MINOR, 0)):
            self.setUp()
            self.talk.begin(minor=minor)
            with mock.patch("jobyard.worker_core.log.warning") as warning:
                self.core.returned(self.started(1), HandBack(5.0), self.talk.now)
            self.assertEqual(self.talk.heard(m.Release)[0].items[0].delay_ms, 5_000)
            self.assertEqual(warning.call_count, warnings)

    def test_a_handler_past_its_time_is_failed_at_once_and_not_renewed(self) -> None:
        self.talk.begin()
        lease = self.started(1, timeout_ms=3_000)
        self.talk.now += 0.02
        self.talk.heard(m.Started)
        self.assertAlmostEqual(self.core.due(), lease.deadline)
        self.talk.now += 3
        credit, fail = self.talk.heard(m.Credit, m.Fail)
        self.assertEqual((credit.credit, fail.items[0].outcome), (2, 3))
        self.assertEqual(self.stops(), [(1, Cause.timeout)])
        self.settle()
        self.talk.now += 10
        self.talk.heard(m.Heartbeat)
        self.core.returned(lease, Success(b"late"), self.talk.now)
        self.talk.heard(m.Credit)

    def test_with_all_slots_stuck_nothing_is_taken(self) -> None:
        self.talk.begin()
        self.started(1), self.started(2)
        self.talk.tell(m.Stop([m.StopItem(1, 1_001, 2), m.StopItem(2, 1_002, 2)]))
        self.assertEqual(self.talk.heard(m.Credit)[0].credit, 0)
        self.talk.now += 0.02
        self.talk.heard()
        self.talk.pass_time(14.9)
        self.assertIsNone(self.core.over)
        self.talk.pass_time(0.2)
        self.assertIn("all 2 slots are stuck", str(self.core.over))

    def test_failures_and_releases(self) -> None:
        self.talk.begin()
        lease = self.started(1)
        self.core.returned(lease, Failure("é" * 300, retryable=False, result=b"left", tail="x" * 2_000), self.talk.now)
        (fail,) = self.talk.heard(m.Fail)
        item = fail.items[0]
        self.assertEqual((item.payload_length, item.outcome, item.retryable), (4, 2, False))
        self.assertEqual((item.error, item.tail), ("é" * 256, "x" * 1_024))
        self.settle()
        self.core.returned(self.started(2), HandBack(), self.talk.now)
        self.assertEqual(self.talk.heard(m.Release)[0].items, [m.ReleaseItem(2, 1_002)])

    def test_a_result_that_no_message_holds_is_a_failure_for_good(self) -> None:
        self.talk.begin()
        self.core.returned(self.started(1), Success(b"x" * 393_217), self.talk.now)
        item = self.talk.heard(m.Fail)[0].items[0]
        self.assertEqual((item.payload_length, item.retryable), (0, False))
        self.assertIn("393217 bytes", item.error)

    def test_ends_are_cut_to_the_limits_of_a_message(self) -> None:
        core = WorkerCore("w", 20, 20, ("default",), ("t",), 15.0, random.Random(1))
        self.core, self.talk = core, Talk(core)
        self.talk.begin()
        self.dispatch(*range(1, 21))
        for lease in [self.begin() for _ in range(20)]:
            core.returned(lease, Success(b"x" * 390_000), self.talk.now)
        ended = 0
        while ended < 20:
            core.advance(self.talk.now)
            ((header, payload),) = core.outbox
            self.assertLessEqual(len(header) + len(payload), 2 << 20)
            (complete,) = self.talk.heard(m.Complete)
            ended += len(complete.items)
            self.talk.answer(*[Code.ok] * len(complete.items), jobs=range(len(complete.items)))


class ComingBack(Case):
    def test_an_end_is_kept_and_sent_until_it_is_answered(self) -> None:
        self.talk.begin()
        lease = self.started(1)
        self.core.returned(lease, Success(b"r"), self.talk.now)
        (before,) = self.talk.heard(m.Complete)
        for session in (2, 3):
            self.talk.break_off()
            self.assertEqual(self.talk.connect().claims, [m.Claim(1, 1_001, True)])
            self.talk.welcome(session, instance=1, claims=[Code.ok])
            self.assertEqual(self.talk.heard(m.Complete), [before])
        self.talk.answer(Code.stale_lease, jobs=[1])  # any code settles it
        self.talk.break_off()
        self.assertEqual(list(self.talk.connect().claims), [])

    def test_an_end_that_comes_while_the_broker_is_away_is_sent_later(self) -> None:
        self.talk.begin()
        lease = self.started(1)
        self.talk.break_off()
        self.core.returned(lease, Success(b"r"), self.talk.now)
        self.talk.connect()
        self.talk.welcome(2, instance=1, claims=[Code.ok])
        self.talk.heard(m.Complete)

    def test_busy_for_a_list_of_ends_sends_it_again_and_any_other_code_drops_it(self) -> None:
        self.talk.begin()
        self.core.returned(self.started(1), Success(), self.talk.now)
        (before,) = self.talk.heard(m.Complete)
        self.talk.tell(m.Error(Code.busy, retry_after_ms=100), request=self.talk.request)
        self.talk.heard()
        self.talk.pass_time(0.2)
        self.assertEqual(self.talk.heard(m.Complete), [before])
        with self.assertLogs("jobyard", "ERROR"):
            self.talk.tell(m.Error(Code.too_large), request=self.talk.request)
        self.assertEqual(self.core.left_behind, (0, 0))

    def test_claims_decide_what_goes_on(self) -> None:
        self.talk.begin()
        goes_on, stale = self.started(1), self.started(2)
        self.talk.break_off()
        hello = self.talk.connect()
        self.assertEqual(hello.claims, [m.Claim(1, 1_001), m.Claim(2, 1_002)])
        self.talk.welcome(2, instance=1, claims=[Code.ok, Code.stale_lease])
        self.assertEqual(self.stops(), [(2, Cause.lease_lost)])
        self.core.returned(stale, Success(), self.talk.now)
        self.core.returned(goes_on, Success(), self.talk.now)
        *_, complete = self.talk.heard(m.Credit, m.Started, m.Credit, m.Complete)
        self.assertEqual([item.job for item in complete.items], [1])

    def test_another_store_is_told_of_nothing(self) -> None:
        """Its numbers and tokens may be the same, and mean other jobs."""
        self.talk.begin()
        ended, runs = self.started(1), self.started(2)
        self.core.returned(ended, Success(), self.talk.now)
        self.talk.heard(m.Complete)
        self.talk.break_off()
        self.talk.connect()
        with self.assertLogs("jobyard", "ERROR"):
            self.talk.welcome(2, claims=[Code.stale_lease] * 2, store=b"T" * 16)
        self.assertEqual(self.stops(), [(2, Cause.lease_lost)])
        self.assertEqual(self.core.left_behind, (1, 0))
        self.core.returned(runs, Success(), self.talk.now)
        self.talk.heard(m.Credit, m.Credit)

    def test_what_was_held_for_too_long_is_not_begun(self) -> None:
        """As after a stop of this process: the broker may have given it to somebody else."""
        self.talk.begin()
        self.talk.now += 31  # since the last turn
        self.dispatch(1)
        self.talk.heard(m.Renew)
        self.assertIsNone(self.core.begin(self.talk.now))
        self.assertLess(self.core.due(), self.talk.now)
        self.assertEqual(self.talk.heard(m.Release)[0].items, [m.ReleaseItem(1, 1_001)])

    def test_a_cancel_that_was_asked_for_meanwhile_is_told(self) -> None:
        self.talk.begin()
        self.started(1)
        self.talk.break_off()
        self.talk.connect()
        self.talk.welcome(2, instance=1, claims=[Code.cancel_requested])
        self.assertEqual(self.stops(), [(1, Cause.cancelled)])

    def test_a_restarting_broker_is_left_at_once(self) -> None:
        self.talk.begin()
        self.talk.tell(m.Goodbye(1))
        self.assertTrue(self.core.hang_up)


class Leaving(Case):
    credit = 4

    def test_draining_hands_back_what_waits_and_waits_for_what_runs(self) -> None:
        self.talk.begin()
        self.dispatch(1, 2, 3)
        first, second = self.begin(), self.begin()
        self.core.drain(self.talk.now, 25, 15)
        credit, release = self.talk.heard(m.Credit, m.Release)
        self.assertEqual((credit.credit, release.items), (0, [m.ReleaseItem(3, 1_003)]))
        self.settle()
        self.dispatch(4)  # sent before the broker knew
        self.assertEqual(self.talk.heard(m.Release)[0].items, [m.ReleaseItem(4, 1_004)])
        self.settle()
        self.core.returned(first, Success(), self.talk.now)
        self.talk.heard(m.Complete)
        self.settle()
        self.assertFalse(self.core.drained(self.talk.now))
        self.core.returned(second, Success(), self.talk.now)
        self.talk.heard(m.Complete)
        self.assertFalse(self.core.drained(self.talk.now), "the end is not answered")
        self.settle()
        self.assertTrue(self.core.drained(self.talk.now))

    def test_what_runs_for_too_long_is_stopped_handed_back_and_at_last_left_behind(self) -> None:
        self.talk.begin()
        stops, deaf = self.started(1), self.started(2)
        self.core.drain(self.talk.now, 2, 3)
        self.talk.heard(m.Credit)
        self.talk.now += 1.9
        self.talk.heard(m.Started)
        self.assertEqual(self.stops(), [])
        self.assertAlmostEqual(self.core.due(), self.talk.now + 0.1)
        self.talk.now += 0.2
        self.talk.heard()
        self.assertEqual(self.stops(), [(1, Cause.leaving), (2, Cause.leaving)])
        self.core.returned(stops, Failure("stopped"), self.talk.now)
        self.talk.heard(m.Release)
        self.settle()
        self.assertFalse(self.core.drained(self.talk.now))
        self.assertTrue(self.core.drained(self.talk.now + 3))
        self.assertEqual(self.core.left_behind, (1, 0))
        self.assertFalse(deaf.over)


if __name__ == "__main__":
    unittest.main()
