"""Changing, queues, many jobs at once, workers and events, against the real broker."""

import asyncio
import json
import threading
import unittest
from datetime import datetime, timedelta, timezone

from yard import PATIENCE, Yard, eventually

from jobyard import (
    UNSET,
    AsyncClient,
    BadField,
    Client,
    JobDead,
    JobSpec,
    NotDead,
    NotWaiting,
    Refused,
    RetryPolicy,
    TimedOut,
    TypePolicy,
    UnknownJob,
    UnknownQueue,
    UnknownTask,
    UnknownWorker,
    fingerprint,
)
from jobyard.words import Code


class JobsThatWait(Yard):
    def test_a_held_job_waits_until_it_is_released_also_through_a_restart(self) -> None:
        self.start_worker("w")
        client = self.client()
        job = client.submit("echo", payload=b"x", held=True).id()
        self.kill_broker()
        self.start_broker()
        info = client.show(job, timeout=PATIENCE)
        self.assertEqual((info.state, info.reason), ("scheduled", "held"))
        client.change(job, held=False)
        self.assertEqual(client.wait(job, timeout=PATIENCE).payload, b"x")

    def test_jobs_are_moved_and_reprioritized_while_they_wait(self) -> None:
        client = self.client()
        job = client.submit("gated", queue="other").id()
        client.change(job, queue="default", priority=9)
        info = client.show(job)
        self.assertEqual((info.queue, info.priority, info.state), ("default", 9, "queued"))
        self.start_worker("w")
        eventually(lambda: client.show(job).state == "running", "it runs")
        with self.assertRaises(NotWaiting):
            client.change(job, priority=1)
        self.open_gate()

    def test_times_of_a_job_reach_the_broker(self) -> None:
        client = self.client()
        tomorrow = (datetime.now(timezone.utc) + timedelta(days=1)).replace(microsecond=0)
        self.assertEqual(client.show(client.submit("t", run_at=tomorrow).id()).due_at, tomorrow)
        for times in (dict(deadline=0.05), dict(queue_timeout=0.05)):
            with self.assertRaises(JobDead) as raised:
                client.submit("t", **times).result(timeout=PATIENCE)  # type: ignore[arg-type]
            self.assertEqual(raised.exception.ended.reason, "expired")

    def test_a_key_may_end_with_its_job(self) -> None:
        self.start_worker("w")
        client = self.client()
        first = client.submit("echo", key="k", key_ttl=0)
        first.result(timeout=PATIENCE)
        again = client.submit("echo", key="k", key_ttl=0)
        self.assertFalse(again.existing())
        self.assertNotEqual(again.id(), first.id())

    def test_a_snoozed_job_comes_back_later_and_is_charged_to_nobody(self) -> None:
        self.start_worker("w")
        client = self.client()
        soon = client.submit("snoozes", payload=b"0.05", max_attempts=1)
        self.assertEqual(soon.result(timeout=PATIENCE), b"attempt 1")
        late = client.submit("snoozes", payload=b"3600").id()
        eventually(lambda: client.show(late).state == "scheduled", "it is snoozed")
        due = client.show(late).due_at
        assert due is not None
        left = due - datetime.now(timezone.utc)
        self.assertTrue(timedelta(minutes=58) < left < timedelta(minutes=61), left)


class Queues(Yard):
    def test_a_paused_queue_says_who_and_why_and_goes_on_when_resumed(self) -> None:
        self.start_worker("w")
        client = self.client()
        client.set_queue("default", paused=True, by="ann", why="the relay is down")
        job = client.submit("echo", payload=b"x")
        self.assertEqual(client.show(job.id()).reason, "queue_paused")
        queue = client.queue("default")
        self.assertEqual((queue.paused, queue.paused_by, queue.paused_why), (True, "ann", "the relay is down"))
        assert queue.paused_at is not None
        client.set_queue("default", paused=False)
        self.assertEqual(job.result(timeout=PATIENCE), b"x")

    def test_policies_of_queue_and_type_are_set_shown_and_taken_back(self) -> None:
        client = self.client()
        client.set_queue("mail", max_running=3, retry=RetryPolicy(max_attempts=9, timeout=7, backoff_initial=0.5))
        client.set_queue("mail", "send", retry=RetryPolicy(max_attempts=2))
        self.assertEqual(client.show(client.submit("other", queue="mail").id()).max_attempts, 9)
        self.assertEqual(client.show(client.submit("send", queue="mail").id()).max_attempts, 2)
        queue = client.queue("mail")
        self.assertEqual((queue.max_running, queue.queued), (3, 2))
        self.assertEqual(queue.retry, RetryPolicy(max_attempts=9, timeout=7, backoff_initial=0.5))
        self.assertEqual(queue.types, (TypePolicy(type="send", retry=RetryPolicy(max_attempts=2)),))
        client.set_queue("mail", "send", retry=RetryPolicy(max_attempts=UNSET))
        self.assertEqual(client.show(client.submit("send", queue="mail").id()).max_attempts, 9)
        with self.assertRaises(BadField):
            client.set_queue("mail", "send", paused=True)

    def test_all_queues_are_listed_page_by_page(self) -> None:
        client = self.client()
        names = [f"q{n:03}" for n in range(250)]
        client.submit_many(JobSpec("t", queue=name) for name in names)[-1].id()
        self.assertEqual([queue.name for queue in client.queues()], names)
        with self.assertRaises(UnknownQueue):
            client.queue("none")


class Arrays(Yard):
    def test_each_index_is_a_job_and_those_that_died_are_resubmitted(self) -> None:
        self.start_worker("w", "slots=4", "credit=64")
        client = self.client()
        seeds = range(3, 303, 3)
        made = client.submit("odd_ones_fail", array=seeds, array_name="seeds", at_once=20, max_attempts=1, watch=True)
        array = made.id()
        with self.assertRaisesRegex(JobDead, "50 dead of 100 jobs"):
            made.result(timeout=PATIENCE)
        info = client.array(array)
        self.assertEqual((info.name, info.count, info.first, info.step, info.at_once), ("seeds", 100, 3, 3, 20))
        self.assertEqual((info.state, info.making, info.made, info.completed), ("dead", False, 100, 50))
        self.assertEqual((info.dead, info.left_dead, info.resubmitted_as), (50, 50, 0))
        assert info.created_at is not None and info.ended_at is not None
        jobs = list(client.list(array=array))
        self.assertEqual(sorted(job.array_index for job in jobs), list(seeds))
        self.assertEqual({job.array for job in jobs}, {array})
        self.assertEqual(client.show(array).array, array)

        self.open_gate()
        again = client.resubmit(array)
        self.assertEqual(client.resubmit(array), again)
        self.assertEqual(client.wait(again, timeout=PATIENCE).state, "completed")
        info = client.array(again)
        self.assertEqual((info.resubmits, info.count, info.completed, info.first), (array, 50, 50, None))
        self.assertEqual((client.array(array).left_dead, client.array(array).resubmitted_as), (0, again))
        self.assertEqual([each.array for each in client.arrays()], [again, array])
        with self.assertRaises(NotDead):
            client.resubmit(again)
        with self.assertRaises(UnknownJob):
            client.array(again + 1_000)

    def test_one_is_stopped_and_cancelled_and_what_was_cancelled_made_again(self) -> None:
        client = self.client()
        array = client.submit("odd_ones_fail", array=range(100), at_once=10).id()
        eventually(lambda: client.array(array).made == 10, "as many are made as may be at once")
        self.assertTrue(client.array(array).making)
        client.stop_array(array)
        with self.assertRaises(Refused) as raised:
            client.stop_array(array)
        self.assertEqual(raised.exception.code, Code.ended)
        info = client.array(array)
        self.assertEqual((info.making, info.made, info.waiting), (False, 10, 10))
        client.cancel(array)
        self.assertEqual(client.wait(array, timeout=PATIENCE).state, "cancelled")
        with self.assertRaises(NotDead):
            client.resubmit(array)
        again = client.resubmit(array, cancelled=True)
        eventually(lambda: client.array(again).made == 10, "they are made again")
        self.assertEqual(client.array(array).left_cancelled, 0)

    def test_all_are_listed_page_by_page(self) -> None:
        client = self.client()
        made = client.submit_many(JobSpec("t", array=range(1)) for _ in range(250))
        numbers = [each.id() for each in made]
        self.assertEqual([array.array for array in client.arrays()], numbers[::-1])


class ManyJobs(Yard):
    def done(self, client: Client, number: int) -> int:
        eventually(lambda: client.task(number).state == "done", "the task is done")
        return client.task(number).done

    def test_many_are_cancelled_by_filter(self) -> None:
        client = self.client()
        jobs = client.submit_many(JobSpec("a" if n % 3 else "b") for n in range(300))
        jobs[-1].id()
        self.assertEqual(self.done(client, client.start_task("cancel", type="b", count_only=True)), 100)
        self.assertEqual(client.show(jobs[0].id()).state, "queued")
        number = client.start_task("cancel", type="b", by="ann")
        self.assertEqual(self.done(client, number), 100)
        self.assertEqual(len(list(client.list(state="cancelled"))), 100)
        self.assertEqual([task.by for task in client.tasks()][:1], ["ann"])
        with self.assertRaises(Refused):
            client.stop_task(number)
        with self.assertRaises(UnknownTask):
            client.task(number + 1)

    def test_dead_ones_are_redriven_and_purged_by_their_error(self) -> None:
        self.start_worker("w", "slots=4", "credit=64")
        client = self.client()
        dead = client.submit_many([JobSpec("hopeless", watch=True)] * 5)
        other = client.submit_many([JobSpec("blow_up", payload=b"'7' apples", max_attempts=1, watch=True)] * 3)
        for job in (*dead, *other):
            job.wait(timeout=PATIENCE)
        error = client.show(other[0].id()).error
        groups = json.loads("[" + ",".join(self.command("dead", "list", "--group", "--json").stdout.splitlines()) + "]")
        self.assertIn(fingerprint("blow_up", error), [group["fingerprint"] for group in groups])
        self.assertEqual(self.done(client, client.start_task("purge", error=fingerprint("blow_up", error))), 3)
        self.open_gate()
        only = [dead[0].id(), dead[1].id()]
        self.assertEqual(self.done(client, client.start_task("redrive", reason="not_retryable", jobs=only)), 2)
        for number in only:
            self.assertEqual(client.wait(number, timeout=PATIENCE).state, "completed")
        self.assertEqual(len(list(client.list(state="dead"))), 3)


class DeadJobs(Yard):
    def test_one_is_edited_before_its_redrive(self) -> None:
        self.start_worker("w")
        client = self.client()
        job = client.submit("fails_until", payload=b"9", max_attempts=1).id()
        self.assertEqual(client.wait(job, timeout=PATIENCE).state, "dead")
        self.assertEqual(client.payload(job), b"9")
        client.edit(job, payload=b"2", priority=8, retry=RetryPolicy(timeout=7))
        info = client.show(job)
        self.assertEqual((info.priority, info.timeout, info.state), (8, 7.0, "dead"))
        assert info.edited_at is not None and info.ended_at is not None
        self.assertGreaterEqual(info.edited_at, info.ended_at)
        self.kill_broker()
        self.start_broker()
        client.redrive(job, timeout=PATIENCE)
        self.assertEqual(client.wait(job, timeout=PATIENCE).payload, b"attempt 2")
        with self.assertRaises(NotDead):
            client.edit(job, payload=b"")
        with self.assertRaisesRegex(Refused, "completed: only the payload of jobs that are unended or dead is kept"):
            client.payload(job)
        with self.assertRaises(BadField):
            client.edit(job, payload="text")  # type: ignore[arg-type]


class Workers(Yard):
    def test_a_drained_worker_finishes_and_gets_nothing_until_it_is_resumed(self) -> None:
        self.start_worker("w")
        client = self.client()
        running = client.submit("gated", watch=True)
        eventually(lambda: client.show(running.id()).state == "running", "it runs")
        self.assertEqual(client.drain("w"), 1)
        (worker,) = client.workers("w")
        self.assertEqual((worker.state, worker.draining, worker.jobs), ("draining", True, (running.id(),)))
        waits = client.submit("echo", payload=b"x", watch=True)
        waits.id()
        self.open_gate()
        self.assertEqual(running.result(timeout=PATIENCE), b"through")
        self.assertEqual(client.show(waits.id()).state, "queued")
        self.assertEqual(client.resume("w"), 1)
        self.assertEqual(waits.result(timeout=PATIENCE), b"x")
        self.assertEqual([worker.name for worker in client.workers()], ["w"])
        self.assertEqual((worker.slots, worker.queues), (2, ("default",)))
        with self.assertRaises(UnknownWorker):
            client.drain("nobody")


class TheEventStream(Yard):
    def test_what_happens_is_followed_through_restarts_and_nothing_comes_twice(self) -> None:
        client = self.client()
        events = client.events(kinds=["submitted"], timeout=PATIENCE)
        seen = []
        for n in range(3):
            client.submit_many([JobSpec("t")] * 40)[-1].id(timeout=PATIENCE)
            seen += [next(events) for _ in range(40)]
            self.kill_broker()
            self.start_broker()
        self.assertEqual([event.job for event in seen], list(range(1, 121)))
        self.assertEqual({event.kind for event in seen}, {"submitted"})
        # Another life goes on behind the last.
        other = self.client()
        job = other.submit("late").id(timeout=PATIENCE)
        again = other.events(after=events.last, follow=False, kinds=["submitted"])
        self.assertEqual([(event.job, event.type) for event in again], [(job, "late")])
        self.assertEqual(len(list(other.events(after=0, follow=False, kinds=["submitted"]))), 121)

    def test_a_reader_that_waits_is_told_at_once(self) -> None:
        client = self.client()
        events = client.events(queue="mail", timeout=PATIENCE)
        found = []
        reader = threading.Thread(target=lambda: found.append(next(events)))
        reader.start()
        client.submit("t").id()  # is not let through
        job = client.submit("t", queue="mail").id()
        reader.join(PATIENCE)
        self.assertEqual([(event.job, event.queue) for event in found], [(job, "mail")])
        quiet = client.events(queue="mail", timeout=0.05)
        with self.assertRaises(TimedOut):
            next(quiet)
        client.change(job, priority=2)
        self.assertEqual(next(quiet).kind, "changed")


class Asyncio(Yard):
    def test_all_of_it_awaited(self) -> None:
        self.start_worker("w")

        async def use() -> None:
            async with AsyncClient(self.endpoint) as client:
                events = await client.events(kinds=["completed"], timeout=PATIENCE)
                job = await client.submit("echo", payload=b"x", queue="other", held=True)
                await client.change(await job.id(), queue="default", priority=8, held=False)
                self.assertEqual(await job.result(timeout=PATIENCE), b"x")
                async for event in events:
                    self.assertEqual(event.job, await job.id())
                    break
                history = await client.events(after=0, follow=False, job=await job.id())
                self.assertEqual([each.kind async for each in history], ["submitted", "changed", "completed"])
                self.assertGreaterEqual(history.last, events.last)
                await client.set_queue("mail", paused=True, retry=RetryPolicy(timeout=3))
                await (await client.submit("t", queue="mail")).id()
                self.assertEqual((await client.queue("mail")).retry, RetryPolicy(timeout=3))
                self.assertIn("mail", [queue.name for queue in await client.queues()])
                number = await client.start_task("cancel", queue="mail")
                while (await client.task(number)).state != "done":
                    await asyncio.sleep(0.005)
                self.assertEqual([task.done for task in await client.tasks()], [1])
                with self.assertRaises(Refused):
                    await client.stop_task(number)
                dead = await client.submit("hopeless", watch=True)
                with self.assertRaises(JobDead):
                    await dead.result(timeout=PATIENCE)
                await client.edit(await dead.id(), payload=b"y", type="echo")
                self.assertEqual(await client.payload(await dead.id()), b"y")
                await client.redrive(await dead.id())
                self.assertEqual((await client.wait(await dead.id(), timeout=PATIENCE)).payload, b"y")
                self.assertEqual(await client.drain("w"), 1)
                self.assertEqual([worker.state for worker in await client.workers("w")], ["draining"])
                self.assertEqual(await client.resume("w"), 1)

                made = await client.submit("odd_ones_fail", array=range(10), array_name="ten", max_attempts=1)
                self.assertEqual((await made.wait(timeout=PATIENCE)).state, "dead")
                array = await client.array(await made.id())
                self.assertEqual((array.name, array.completed, array.dead), ("ten", 5, 5))
                self.assertEqual([each async for each in client.list(array=array.array, state="cancelled")], [])
                with self.assertRaises(Refused):
                    await client.stop_array(array.array)
                self.open_gate()
                again = await client.resubmit(array.array)
                self.assertEqual((await client.wait(again, timeout=PATIENCE)).state, "completed")
                self.assertEqual([each.array for each in await client.arrays()], [again, array.array])

        asyncio.run(use())


if __name__ == "__main__":
    unittest.main()
