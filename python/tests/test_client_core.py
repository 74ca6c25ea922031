"""The rules a client keeps, without a socket or a clock."""

import random
import unittest
from typing import Any

from conversations import Talk

from jobyard import messages as m
from jobyard.client_core import ClientCore, Submit
from jobyard.errors import (
    BadMessage,
    Busy,
    Closed,
    Conflict,
    OutcomeUnknown,
    Refused,
    Retired,
    TimedOut,
    TooLarge,
    UnknownJob,
)
from jobyard.spec import JobSpec
from jobyard.words import Code, State


class Case(unittest.TestCase):
    def setUp(self) -> None:
        self.core = ClientCore(grant=1_000, chance=random.Random(1))
        self.talk = Talk(self.core)

    def submit(self, payload: bytes = b"", watch: bool = False, limit: float = 1e9, **settings: Any) -> Submit:
        spec = JobSpec("t", payload, watch=watch, **settings)
        submit = Submit(spec.pack(), spec.payload, watch, limit, array=spec.pack_array())
        self.core.submit(submit)
        return submit


class Sessions(Case):
    def test_hello_comes_at_every_handshake_and_says_what_it_resumes(self) -> None:
        first = self.talk.begin()
        self.assertEqual((first.role, first.resumed, first.store, first.grant), (1, False, None, 1_000))
        self.assertEqual(len(first.instance), 16)
        self.talk.break_off()
        second = self.talk.connect()
        self.assertEqual((second.resumed, second.store, second.instance), (True, b"S" * 16, first.instance))

    def test_nothing_is_sent_before_welcome(self) -> None:
        self.submit()
        self.talk.connect()
        self.talk.heard()
        self.talk.welcome(1)
        self.talk.heard(m.Submit)

    def test_pauses_grow_are_jittered_and_bounded(self) -> None:
        pauses = []
        for _ in range(12):
            self.core.connecting(self.talk.now)
            self.core.lost(self.talk.now)
            pauses.append(self.core.due() - self.talk.now)
            self.assertFalse(self.core.should_connect(self.talk.now + pauses[-1] - 0.001))
            self.assertTrue(self.core.should_connect(self.talk.now + pauses[-1] + 0.001))
        self.assertGreaterEqual(min(pauses), 0.1)
        self.assertLessEqual(max(pauses), 5.0)
        self.assertGreater(pauses[-1], 2.5)
        self.assertEqual(len(set(pauses)), 12)

    def test_heartbeats_are_said_and_expected(self) -> None:
        self.talk.begin()
        self.talk.pass_time(4.9)
        self.talk.heard()
        self.talk.pass_time(0.2)
        self.talk.heard(m.Heartbeat)
        self.talk.tell(m.Heartbeat())
        for _ in range(3):
            self.talk.pass_time(6)
            self.talk.heard(m.Heartbeat)
        self.assertFalse(self.core.hang_up)
        with self.assertLogs("jobyard", "WARNING"):
            self.talk.pass_time(2.1)
        self.assertTrue(self.core.hang_up)

    def test_a_busy_broker_is_greeted_again_later(self) -> None:
        self.talk.connect()
        self.talk.tell(m.Error(Code.busy, retry_after_ms=500), request=self.talk.request)
        self.talk.heard()
        self.talk.pass_time(0.7)
        self.talk.heard(m.Hello)
        self.talk.welcome(1)
        self.submit()
        self.talk.heard(m.Submit)

    def test_no_session_is_answered_with_hello_and_nothing_is_lost(self) -> None:
        self.talk.begin()
        submit = self.submit()
        self.talk.heard(m.Submit)
        self.talk.tell(m.Error(Code.no_session), request=self.talk.request)
        self.talk.heard(m.Hello)
        self.talk.welcome(2, instance=1)
        self.assertEqual(self.talk.heard(m.Submit)[0].first_number, 1)
        self.talk.answer(Code.ok, jobs=[41])
        self.assertEqual(submit.made.result(0).job, 41)

    def test_a_broker_of_another_version_is_the_end_and_says_so(self) -> None:
        submit = self.submit()
        self.talk.connect()
        error = m.Error(Code.version_not_spoken, "no", min_version=3, max_version=4)
        self.talk.tell(error, request=self.talk.request)
        says = "the broker speaks 3 to 4, this library 1"
        with self.assertRaisesRegex(Refused, says):
            submit.made.result(0)
        with self.assertRaisesRegex(Refused, says):
            self.submit()

    def test_a_broker_of_an_older_minor_version_is_asked_for_nothing_that_it_would_neglect(self) -> None:
        says = "the broker speaks protocol 1.0, and this needs 1.1; upgrade the broker"
        held, plain = self.submit(held=True), self.submit()
        events, shown = self.core.ask(m.ReadEvents()), self.core.ask(m.Show([5]))
        listed = self.core.ask(m.List(array=7))
        self.talk.begin(minor=0)
        submit, _ = self.talk.heard(m.Submit, m.Show)
        self.assertEqual(len(submit.items), 1)
        refused: Any
        for refused in (held.made, events, listed):
            with self.assertRaisesRegex(Refused, says):
                refused.result(0)
        self.assertFalse(plain.made.done() or shown.done())

    def test_an_older_broker_in_the_place_of_a_newer_one_cannot_say_what_became_of_a_job(self) -> None:
        self.talk.begin()
        held = self.submit(held=True)
        self.talk.heard(m.Submit)
        self.talk.break_off()
        self.talk.connect()
        self.talk.welcome(2, instance=1, minor=0)
        self.talk.heard()
        with self.assertRaisesRegex(OutcomeUnknown, "this needs 1.1"):
            held.made.result(0)
        self.submit()
        (next_one,) = self.talk.heard(m.Submit)
        self.assertEqual(next_one.first_number, 2)

    def test_replaced_ends_only_the_session_it_names(self) -> None:
        self.talk.begin()
        old, self.talk.session = self.talk.session, 99
        self.talk.tell(m.Error(Code.replaced))
        self.assertIsNone(self.core.over)
        self.talk.session = old
        self.talk.tell(m.Error(Code.replaced))
        self.assertIsNotNone(self.core.over)

    def test_what_is_for_an_older_session_is_not_looked_at(self) -> None:
        self.talk.begin()
        submit = self.submit()
        self.talk.heard(m.Submit)
        self.talk.session = 99
        self.talk.answer(Code.ok, jobs=[41])
        self.assertFalse(submit.made.done())

    def test_what_cannot_be_read_costs_the_question_it_answers_or_the_connection(self) -> None:
        self.talk.begin()
        asked = self.core.ask(m.AskStats())
        self.talk.heard(m.AskStats)
        self.core.receive(b"\x96\x01\x18\x01" + bytes([self.talk.request]) + b"\xa1x\xa1y", b"", self.talk.now)
        self.assertIsInstance(asked.exception(0), BadMessage)
        self.assertFalse(self.core.hang_up)
        with self.assertLogs("jobyard", "ERROR"):
            self.core.receive(b"nonsense", b"", self.talk.now)
        self.assertTrue(self.core.hang_up)


class SubmitWindow(Case):
    def test_what_comes_while_an_answer_is_on_its_way_goes_together(self) -> None:
        self.talk.begin()
        self.submit()
        self.assertEqual(len(self.talk.heard(m.Submit)[0].items), 1)
        for _ in range(10):
            self.submit()
        self.talk.heard()
        self.talk.answer(Code.ok, jobs=[1])
        (submit,) = self.talk.heard(m.Submit)
        self.assertEqual((submit.confirmed, submit.first_number, len(submit.items)), (1, 2, 10))

    def test_many_do_not_wait_for_the_answer(self) -> None:
        self.talk.begin()
        for _ in range(65):
            self.submit()
        self.talk.heard(m.Submit)
        for _ in range(64):
            self.submit()
        self.assertEqual(self.talk.heard(m.Submit)[0].first_number, 66)

    def test_lists_are_cut_to_the_limits_of_a_message(self) -> None:
        self.talk.begin()
        for _ in range(1_500):
            self.submit()
        self.assertEqual([len(each.items) for each in self.talk.heard(m.Submit, m.Submit)], [1_024, 476])

    def test_lists_are_cut_to_the_bytes_of_a_message(self) -> None:
        self.talk.begin()
        for _ in range(200):
            self.submit(queue="q" * 255, key="k" * 255)
        for _ in range(40):
            self.submit(payload=b"x" * 250_000)
        lists = 0
        while self.core.unanswered:
            self.core.advance(self.talk.now)
            outbox, self.core.outbox = self.core.outbox, []
            for header, payload in outbox:
                self.assertLessEqual(len(header), 64 << 10)
                self.assertLessEqual(len(header) + len(payload), 2 << 20)
                _, request, submit = m.decode(header)
                assert isinstance(submit, m.Submit)
                self.talk.answer(*[Code.ok] * len(submit.items), jobs=range(len(submit.items)), request=request)
                lists += 1
        self.assertEqual(lists, 6)

    def test_a_list_is_sent_again_with_its_numbers_until_it_is_answered(self) -> None:
        self.talk.begin()
        submits = [self.submit(b"%d" % n) for n in range(3)]
        (before,) = self.talk.heard(m.Submit)
        self.talk.break_off()
        later = self.submit(b"later")
        self.talk.connect()
        self.talk.welcome(2, instance=1)
        (again,) = self.talk.heard(m.Submit)
        self.assertEqual((again.first_number, again.items), (before.first_number, before.items))
        self.talk.answer(Code.ok, Code.ok, Code.ok, jobs=[7, 8, 9])
        self.assertEqual([each.made.result(0).job for each in submits], [7, 8, 9])
        self.assertEqual(self.talk.heard(m.Submit)[0].first_number, 4)
        self.talk.answer(Code.ok, jobs=[10])
        self.assertEqual(later.made.result(0).job, 10)

    def test_an_array_travels_alone_and_is_sent_again_with_its_number(self) -> None:
        self.talk.begin()
        submits = [self.submit(), self.submit(b"all", array=range(5, 100, 10), array_name="seeds", at_once=3)]
        submits.append(self.submit())
        self.talk.heard(m.Submit)
        self.talk.answer(Code.ok, jobs=[41])
        (array,) = self.talk.heard(m.SubmitArray)
        self.assertEqual((array.confirmed, array.first_number), (1, 2))
        self.assertEqual((array.count, array.first, array.step, array.at_once, array.name), (10, 5, 10, 3, "seeds"))
        self.assertEqual([(item.type, item.payload_length) for item in array.items], [("t", 3)])
        self.talk.break_off()
        self.talk.connect()
        self.talk.welcome(2, instance=1)
        self.assertEqual(self.talk.heard(m.SubmitArray), [array])
        self.talk.answer(Code.ok, jobs=[57])
        self.assertEqual(self.talk.heard(m.Submit)[0].first_number, 3)
        self.talk.answer(Code.ok, jobs=[58])
        self.assertEqual([each.made.result(0).job for each in submits], [41, 57, 58])

    def test_confirmed_stays_below_the_oldest_unanswered_number(self) -> None:
        self.talk.begin()
        for _ in range(65):
            self.submit()
        self.talk.heard(m.Submit)
        first = self.talk.request
        for _ in range(64):
            self.submit()
        self.talk.heard(m.Submit)
        self.talk.answer(*[Code.ok] * 64, jobs=range(66, 130))
        self.submit()
        self.assertEqual(self.talk.heard(), [])
        self.talk.answer(*[Code.ok] * 65, jobs=range(1, 66), request=first)
        self.assertEqual(self.talk.heard(m.Submit)[0].confirmed, 129)

    def test_no_number_goes_beyond_the_window(self) -> None:
        self.talk.begin(window=100)
        for _ in range(150):
            self.submit()
        (submit,) = self.talk.heard(m.Submit)
        self.assertEqual(len(submit.items), 100)
        self.talk.answer(*[Code.ok] * 100, jobs=range(1, 101))
        (submit,) = self.talk.heard(m.Submit)
        self.assertEqual((submit.confirmed, submit.first_number, len(submit.items)), (100, 101, 50))

    def test_no_more_is_unanswered_than_the_broker_would_have(self) -> None:
        self.talk.begin(window=1_000)
        for _ in range(500):
            self.submit()
        self.talk.heard(m.Submit)
        for _ in range(500):
            self.submit()
        items = [m.AnswerItem(Code.ok, job, 3) for job in range(1, 501)]
        self.talk.tell(m.Answers(items, 64), request=self.talk.request)
        (submit,) = self.talk.heard(m.Submit)
        self.assertEqual((submit.first_number, len(submit.items)), (501, 64))
        self.talk.answer(*[Code.ok] * 64, jobs=range(501, 565))
        (submit,) = self.talk.heard(m.Submit)
        self.assertEqual((submit.first_number, len(submit.items)), (565, 436))

    def test_a_refused_number_is_given_up_and_its_job_tries_with_a_new_one(self) -> None:
        self.talk.begin()
        submit = self.submit(b"x", limit=self.talk.now + 30)
        self.talk.heard(m.Submit)
        self.talk.tell(m.Answers([m.AnswerItem(Code.queue_full, 0, 0, "full", "", 200)]), request=self.talk.request)
        self.talk.heard()
        self.talk.pass_time(0.3)
        (again,) = self.talk.heard(m.Submit)
        self.assertEqual((again.confirmed, again.first_number), (1, 2))
        self.talk.answer(Code.ok, jobs=[5])
        self.assertEqual(submit.made.result(0).job, 5)

    def test_a_job_that_is_refused_for_too_long_says_why(self) -> None:
        self.talk.begin()
        submit = self.submit(limit=self.talk.now + 1)
        for pause in (0.3, 0.6):  # twice as long each time
            self.talk.heard(m.Submit)
            self.talk.tell(m.Answers([m.AnswerItem(Code.busy, 0, 0, "many", "", 300)]), request=self.talk.request)
            self.talk.pass_time(pause - 0.01)
            self.talk.heard()
            self.talk.pass_time(pause)
        with self.assertRaisesRegex(Busy, "many"):
            submit.made.result(0)
        self.assertEqual(self.core.unanswered, 0)

    def test_a_busy_error_for_a_list_repeats_the_same_numbers(self) -> None:
        self.talk.begin()
        self.submit()
        (before,) = self.talk.heard(m.Submit)
        self.talk.tell(m.Error(Code.busy, retry_after_ms=100), request=self.talk.request)
        self.talk.heard()
        self.talk.pass_time(0.2)
        self.assertEqual(self.talk.heard(m.Submit), [before])

    def test_any_other_error_for_a_list_fails_its_jobs(self) -> None:
        self.talk.begin()
        submit = self.submit(watch=True)
        self.talk.heard(m.Submit)
        self.talk.tell(m.Error(Code.too_large, "the message"), request=self.talk.request)
        assert submit.ended is not None
        for why in (submit.made.exception(0), submit.ended.exception(0)):
            self.assertEqual((type(why), str(why)), (TooLarge, "too_large: the message"))
        self.submit()
        self.assertEqual(self.talk.heard(m.Submit)[0].confirmed, 1)

    def test_a_forgotten_window_makes_outcomes_unknown_and_a_new_instance(self) -> None:
        instance = self.talk.begin().instance
        sent = self.submit()
        self.talk.heard(m.Submit)
        self.talk.break_off()
        waiting = self.submit()
        self.talk.connect()
        self.talk.welcome(2, instance=2)
        with self.assertRaises(OutcomeUnknown):
            sent.made.result(0)
        (hello,) = self.talk.heard(m.Hello)
        self.assertNotEqual(hello.instance, instance)
        self.assertEqual((hello.resumed, hello.confirmed), (False, 0))
        self.talk.welcome(3)
        self.assertEqual(self.talk.heard(m.Submit)[0].first_number, 1)
        self.talk.answer(Code.ok, jobs=[3])
        self.assertEqual(waiting.made.result(0).job, 3)

    def test_what_was_sent_is_never_given_up_but_by_an_answer(self) -> None:
        self.talk.begin()
        sent = self.submit(limit=self.talk.now + 1)
        self.talk.heard(m.Submit)
        self.talk.break_off()
        unsent = self.submit(limit=self.talk.now + 1)
        self.talk.pass_time(2)
        with self.assertRaisesRegex(TimedOut, "never sent"):
            unsent.made.result(0)
        self.assertFalse(sent.made.done())
        self.core.close()
        with self.assertRaises(OutcomeUnknown):
            sent.made.result(0)

    def test_existing_and_conflict(self) -> None:
        self.talk.begin()
        existing, conflict = self.submit(key="a"), self.submit(key="b")
        self.talk.heard(m.Submit)
        self.talk.answer(Code.existing, Code.conflict, jobs=[12, 13])
        self.assertEqual(existing.made.result(0), (12, True))
        with self.assertRaises(Conflict):
            conflict.made.result(0)

    def test_goodbye_confirms_and_ends_everything(self) -> None:
        self.talk.begin()
        self.submit()
        self.talk.heard(m.Submit)
        self.talk.answer(Code.ok, jobs=[1])
        watched, asked = self.core.watch([1])[0], self.core.ask(m.AskStats())
        self.core.outbox.clear()
        self.core.goodbye(self.talk.now)
        self.assertEqual(m.decode(self.core.outbox[0][0])[2], m.Goodbye(0, 1))
        for why in (watched.exception(0), asked.exception(0)):
            self.assertIsInstance(why, Closed)
        with self.assertRaises(Closed):
            self.submit()


class Broker:
    """Just so much of a broker that makes jobs. Answers get lost with their connection; it is busy by chance."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.made: dict[tuple[bytes, int], int] = {}  # by instance and number
        self.payloads: list[bytes] = []
        self.confirmed: dict[bytes, int] = {}

    def submit(self, instance: bytes, submit: m.Submit | m.SubmitArray, payload: bytes) -> m.Message:
        if self.chance.random() < 0.1:
            return m.Error(Code.busy, retry_after_ms=10)
        confirmed = self.confirmed[instance] = max(self.confirmed.get(instance, 0), submit.confirmed)
        answers = []
        for place, part in enumerate(m.payloads(submit.items, payload)):
            number = submit.first_number + place
            if (instance, number) not in self.made:
                if number <= confirmed or number > confirmed + 500:
                    raise AssertionError(f"number {number} with {confirmed} confirmed")
                if self.chance.random() < 0.1:
                    answers.append(m.AnswerItem(Code.queue_full, 0, 0, "", "", 10))
                    continue
                if (int(part) % 7 == 0) != isinstance(submit, m.SubmitArray):
                    raise AssertionError(f"{int(part)} came as another thing than it is")
                self.payloads.append(part)
                self.made[instance, number] = len(self.payloads)
            answers.append(m.AnswerItem(Code.ok, self.made[instance, number], 3))
        return m.Answers(answers)


class Chaos(unittest.TestCase):
    def test_each_job_is_made_once_whatever_is_lost(self) -> None:
        for seed in range(10):
            with self.subTest(seed=seed):
                self.run_with(random.Random(seed))

    def run_with(self, chance: random.Random) -> None:
        broker, core = Broker(chance), ClientCore(chance=chance)
        talk, session, hello = Talk(core), 0, None
        submits: list[Submit] = []
        steps = 0
        while core.unanswered or len(submits) < 1_000:
            steps += 1
            self.assertLess(steps, 20_000, "it does not come to an end")
            for _ in range(chance.choice((0, 0, 1, 100)) if len(submits) < 1_000 else 0):
                payload = b"%d" % len(submits)
                spec = JobSpec("t", payload, array=range(3) if len(submits) % 7 == 0 else None)
                submits.append(Submit(spec.pack(), payload, False, 1e9, array=spec.pack_array()))
                core.submit(submits[-1])
            if core.should_connect(talk.now):
                hello = talk.connect()
                session += 1
                talk.welcome(session, instance=1 if hello.resumed else 0, window=500)
            talk.pass_time(chance.uniform(0, 0.1))
            outbox = core.outbox[:]
            core.outbox.clear()
            for header, payload in outbox:
                _, request, message = m.decode(header)
                if isinstance(message, (m.Submit, m.SubmitArray)):
                    assert hello is not None
                    answer = broker.submit(hello.instance, message, payload)
                    if chance.random() < 0.3:
                        core.lost(talk.now)
                        break
                    talk.tell(answer, request=request)
        self.assertEqual(sorted(broker.payloads), sorted(b"%d" % number for number in range(len(submits))))
        for number, submit in enumerate(submits):
            self.assertEqual(broker.payloads[submit.made.result(0).job - 1], b"%d" % number)


class Results(Case):
    def result(self, job: int, state: int = 7, payload: bytes = b"") -> None:
        self.talk.tell(m.Results([m.ResultItem(0, len(payload), job, state, 0, 1)]), payload)

    def test_a_watched_submit_gets_its_result(self) -> None:
        self.talk.begin()
        submit = self.submit(watch=True)
        self.assertTrue(self.talk.heard(m.Submit)[0].items[0].watch)
        self.talk.answer(Code.ok, jobs=[41])
        self.talk.heard()
        self.result(41, payload=b"done")
        assert submit.ended is not None
        self.assertEqual(submit.ended.result(0).result(), b"done")

    def test_a_repeated_submit_whose_job_has_ended_is_asked_for(self) -> None:
        self.talk.begin()
        for state in (0, 7, 8, 9):
            self.submit(watch=True)
            self.talk.heard(m.Submit)
            self.talk.answer(Code.ok, jobs=[50 + state], state=state)
            self.assertEqual(self.talk.heard(m.Watch)[0].jobs, [50 + state])

    def test_watches_are_said_again_in_a_new_session(self) -> None:
        self.talk.begin()
        submit = self.submit(watch=True)
        self.talk.heard(m.Submit)
        self.talk.answer(Code.ok, jobs=[41])
        other = self.core.watch([7])[0]
        self.talk.heard(m.Watch)
        self.talk.break_off()
        self.talk.connect()
        self.talk.welcome(2, instance=1)
        self.assertEqual(self.talk.heard(m.Watch)[0].jobs, [41, 7])
        self.result(7, state=9)
        self.result(41)
        assert submit.ended is not None
        self.assertEqual((submit.ended.result(0).state, other.result(0).state), (State.completed, State.cancelled))

    def test_what_becomes_of_watches(self) -> None:
        self.talk.begin()
        futures = self.core.watch([1, 2, 3, 4, 1])
        self.assertEqual(self.talk.heard(m.Watch)[0].jobs, [1, 2, 3, 4])
        self.talk.answer(Code.retired, Code.unknown_job, Code.ended, Code.busy, jobs=[1, 2, 3, 4])
        self.assertEqual(futures[0].result(0).state, State.retired)
        self.assertIs(futures[4].result(0), futures[0].result(0))
        self.assertIsInstance(futures[1].exception(0), UnknownJob)
        self.assertFalse(futures[2].done() or futures[3].done())
        self.talk.pass_time(1)
        self.assertEqual(self.talk.heard(m.Watch)[0].jobs, [4])

    def test_grants_follow_what_was_pushed(self) -> None:
        self.talk.begin()
        self.core.watch([1, 2, 3])
        self.talk.heard(m.Watch)
        self.result(1, payload=b"x" * 400)  # 464 of 1,000
        self.talk.heard()
        self.result(2, payload=b"x" * 2_000)
        self.assertEqual(self.talk.heard(m.Grant)[0].total_bytes, 464 + 2_064 + 1_000)
        self.talk.break_off()
        self.assertEqual(self.talk.connect().grant, 1_000)
        self.talk.welcome(2, instance=1)
        self.talk.heard(m.Watch)
        self.result(3, payload=b"x" * 936)
        self.assertEqual(self.talk.heard(m.Grant)[0].total_bytes, 2_000)

    def test_another_store_has_other_jobs(self) -> None:
        self.talk.begin()
        watched = self.core.watch([1])[0]
        cancel = self.core.ask(m.Cancel([1]))
        stats = self.core.ask(m.AskStats())
        self.talk.heard(m.Watch, m.Cancel, m.AskStats)
        self.talk.break_off()
        self.talk.connect()
        self.talk.welcome(2, instance=2, store=b"T" * 16)
        for why in (watched.exception(0), cancel.exception(0)):
            self.assertIsInstance(why, UnknownJob)
        self.talk.heard(m.Hello)
        self.talk.welcome(3, store=b"T" * 16)
        self.talk.heard(m.AskStats)
        self.talk.tell(m.Stats(0, 1), b"\x80", request=self.talk.request)
        self.assertEqual(stats.result(0).payload, b"\x80")

    def test_a_question_that_names_a_number_of_another_store_is_not_asked_there(self) -> None:
        self.talk.begin()
        questions: list[m.Message] = [m.Change([1], 9), m.ReadEvents(7), m.StopTask(1), m.ListTasks(1)]
        questions += [m.StartTask(3, jobs=[1]), m.List(array=1), m.ListArrays(2), m.SteerArray(1, 2)]
        numbered = [self.core.ask(question) for question in questions]
        from_now = self.core.ask(m.ReadEvents())
        self.talk.heard(*map(type, questions), m.ReadEvents)
        # One was put off, until after the other store is there.
        self.talk.tell(m.Error(Code.busy, retry_after_ms=11_000), request=self.talk.request - 7)
        self.talk.break_off()
        self.talk.connect()
        self.talk.welcome(2, instance=2, store=b"T" * 16)
        for future in numbered:
            self.assertIsInstance(future.exception(0), UnknownJob)
        self.talk.heard(m.Hello)
        self.talk.welcome(3, store=b"T" * 16)
        self.assertIsNone(self.talk.heard(m.ReadEvents)[0].after)
        self.talk.pass_time(4.5)
        self.talk.heard()
        self.assertFalse(from_now.done())


class Questions(Case):
    def test_are_asked_again_until_they_are_answered(self) -> None:
        self.talk.begin()
        stats = self.core.ask(m.AskStats())
        self.talk.heard(m.AskStats)
        self.talk.break_off()
        self.talk.connect()
        self.talk.welcome(2, instance=1)
        self.talk.heard(m.AskStats)
        self.talk.tell(m.Error(Code.busy, retry_after_ms=100), request=self.talk.request)
        self.talk.pass_time(0.2)
        self.talk.heard(m.AskStats)
        self.talk.tell(m.Stats(0, 1), b"\x80", request=self.talk.request)
        self.assertEqual(stats.result(0).payload, b"\x80")

    def test_whoever_gave_up_is_not_asked_for_again(self) -> None:
        asked = self.core.ask(m.Cancel([1]))
        asked.cancel()
        self.talk.begin()
        self.talk.heard()

    def test_refusals_are_typed(self) -> None:
        self.talk.begin()
        asked = self.core.ask(m.List(queue="x" * 300))
        self.talk.heard(m.List)
        self.talk.tell(m.Error(Code.retired, "gone", "queue"), request=self.talk.request)
        with self.assertRaisesRegex(Retired, r"retired: gone \(field queue\)"):
            asked.result(0)


if __name__ == "__main__":
    unittest.main()
