"""The client against the real broker."""

import asyncio
import os
import signal
import unittest

from yard import PATIENCE, Yard, counter, eventually

from jobyard import (
    AsyncClient,
    BadField,
    Client,
    Conflict,
    Forked,
    JobCancelled,
    JobDead,
    JobSpec,
    QueueFull,
    TimedOut,
    TooLarge,
    UnknownJob,
)


class Submitting(Yard):
    def test_a_list_of_jobs_is_made_and_its_results_come(self) -> None:
        self.start_worker("w", "slots=4", "credit=64")
        client = self.client()
        specs = [JobSpec("echo", payload=b"%d" % n, watch=True) for n in range(2_000)]
        jobs = client.submit_many(specs)
        self.assertEqual([job.result(timeout=PATIENCE) for job in jobs], [spec.payload for spec in specs])
        self.assertEqual(len({job.id() for job in jobs}), 2_000)

    def test_settings_reach_the_broker(self) -> None:
        client = self.client()
        job = client.submit("t", queue="q", priority=9, key="k", delay=3600, timeout=7, max_attempts=11).id()
        info = client.show(job)
        self.assertEqual(
            (info.queue, info.priority, info.key, info.state, info.timeout, info.max_attempts),
            ("q", 9, "k", "scheduled", 7.0, 11),
        )
        assert info.due_at is not None and info.created_at is not None
        self.assertEqual((info.due_at - info.created_at).total_seconds(), 3600)

    def test_a_key_makes_its_job_once(self) -> None:
        self.start_worker("w")
        client = self.client()
        first = client.submit("echo", payload=b"x", key="once", watch=True)
        self.assertEqual(first.result(timeout=PATIENCE), b"x")
        again = client.submit("echo", payload=b"x", key="once", watch=True)
        self.assertEqual((again.id(), again.existing(), first.existing()), (first.id(), True, False))
        self.assertEqual(again.result(timeout=PATIENCE), b"x")
        with self.assertRaises(Conflict):
            client.submit("echo", payload=b"other", key="once").id()

    def test_what_is_wrong_is_said_at_once_and_harms_no_other_job(self) -> None:
        client = self.client()
        for wrong in (dict(priority=11), dict(queue=""), dict(key="a\nb"), dict(max_attempts=0), dict(delay=-1)):
            with self.assertRaises(BadField):
                client.submit("t", **wrong)  # type: ignore[arg-type]
        with self.assertRaises(BadField):
            client.submit("t", payload="text")  # type: ignore[arg-type]
        # A limit of the broker: only it knows.
        large, fine = client.submit("t", payload=b"x" * 300_000), client.submit("t")
        with self.assertRaisesRegex(TooLarge, "too_large.*262144"):
            large.id()
        self.assertGreater(fine.id(), 0)

    def test_a_client_may_come_before_its_broker(self) -> None:
        self.kill_broker()
        client = self.client()
        job = client.submit("t")
        with self.assertRaises(TimedOut):
            job.id(timeout=0.3)
        self.start_broker()
        self.assertEqual(job.id(), 1)

    def test_a_job_that_no_broker_takes_in_time_is_not_made(self) -> None:
        self.kill_broker()
        client = self.client(submit_limit=0.2)
        with self.assertRaisesRegex(TimedOut, "never sent"):
            client.submit("t").id()
        self.start_broker()
        self.assertEqual(self.client().submit("t").id(), 1)

    def test_another_store_gets_no_number_of_the_one_before(self) -> None:
        client = self.client()
        gone = client.submit("t")
        gone.id()
        watched = client.watch(gone.id())[0]
        self.assertEqual(counter(client, "submitters"), 1)
        self.kill_broker()
        self.start_broker(data="other")
        with self.assertRaisesRegex(UnknownJob, "another store"):
            watched.wait(timeout=PATIENCE)
        self.assertEqual([client.submit("t").id() for _ in range(3)], [1, 2, 3])

    def test_a_child_process_is_told_to_make_its_own_client(self) -> None:
        client = self.client()
        client.submit("t").id()
        child = os.fork()
        if child == 0:
            try:
                client.submit("t")
            except Forked:
                os._exit(0)
            os._exit(1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(client.submit("t").id(), 2)


class FullQueue(Yard):
    flags = ("--limit", "queue_jobs=10")

    def test_a_full_queue_is_waited_for_and_then_said(self) -> None:
        client = self.client(submit_limit=0.3)
        jobs = client.submit_many([JobSpec("echo", watch=True)] * 11)
        with self.assertRaises(QueueFull):
            jobs[10].id()
        patient = self.client()
        waiting = patient.submit("echo", payload=b"room", watch=True)
        with self.assertRaises(TimedOut):
            waiting.id(timeout=0.2)
        self.start_worker("w")
        self.assertEqual(waiting.result(timeout=PATIENCE), b"room")


class SilentBroker(Yard):
    flags = ("--heartbeat", "100", "--lost-after", "1000")

    def test_a_silent_broker_is_given_up_and_found_again(self) -> None:
        client = self.client()
        client.submit("t").id()
        self.broker.send_signal(signal.SIGSTOP)
        job = client.submit("t")
        with self.assertLogs("jobyard", "WARNING") as logged:
            eventually(lambda: bool(logged.output), "the client gives the connection up")
        self.assertIn("nothing heard from the broker for 1 s", logged.output[0])
        self.broker.send_signal(signal.SIGCONT)
        self.assertEqual(job.id(), 2)


class Asking(Yard):
    def test_a_list_goes_through_all_pages(self) -> None:
        client = self.client()
        jobs = [job.id() for job in client.submit_many([JobSpec("a" if n % 2 else "b", queue="q") for n in range(250)])]
        self.assertEqual(sorted(info.id for info in client.list(page=30)), jobs)
        self.assertEqual(len(list(client.list(queue="q", type="a", state="queued"))), 125)
        self.assertEqual(list(client.list(queue="other")), [])
        with self.assertRaisesRegex(ValueError, '"lost" is no state'):
            list(client.list(state="lost"))

    def test_stats_count(self) -> None:
        client = self.client()
        client.submit("t").id()
        stats = client.stats()
        self.assertEqual((stats["jobs"]["queued"], stats["submitters"]), (1, 1))


class OverTcp(Yard):
    listen = "tcp://127.0.0.1:0"

    def test_all_of_it_works_there_too_also_after_a_kill(self) -> None:
        self.start_worker("w")
        client = self.client()
        for payload in (b"before", b"after"):
            self.assertEqual(client.submit("echo", payload=payload).result(timeout=PATIENCE), payload)
            self.kill_broker()
            self.start_broker()


class Asyncio(Yard):
    def test_all_of_it_awaited(self) -> None:
        self.start_worker("w", "slots=4", "credit=64")

        async def use() -> None:
            async with AsyncClient(self.endpoint) as client:
                jobs = await client.submit_many([JobSpec("echo", payload=b"%d" % n, watch=True) for n in range(500)])
                results = await asyncio.gather(*(job.result(timeout=PATIENCE) for job in jobs))
                self.assertEqual(results, [b"%d" % n for n in range(500)])
                gated = await client.submit("gated")
                with self.assertRaises(TimedOut):
                    await gated.result(timeout=0.05)
                self.assertIn(await client.cancel(await gated.id()), ("cancelled", "cancel_requested"))
                with self.assertRaises(JobCancelled):
                    await gated.result(timeout=PATIENCE)
                self.assertEqual((await client.show(await gated.id())).state, "cancelled")
                self.assertEqual(len([info async for info in client.list(state="completed")]), 500)
                self.assertEqual((await client.wait(await jobs[0].id(), timeout=PATIENCE)).payload, b"0")
                self.assertEqual((await client.stats())["jobs"]["completed_total"], 500)
                dead = await client.submit("hopeless")
                with self.assertRaises(JobDead):
                    await dead.result(timeout=PATIENCE)
                self.open_gate()
                await client.redrive(await dead.id())
                self.assertEqual((await client.wait(await dead.id(), timeout=PATIENCE)).state, "completed")

        asyncio.run(use())

    def test_leaving_waits_for_the_answers(self) -> None:
        async def use() -> None:
            async with AsyncClient(self.endpoint, max_pending=100) as client:
                for _ in range(1_000):
                    await client.submit("t")

        asyncio.run(use())
        with Client(self.endpoint) as client:
            self.assertEqual(counter(client, "jobs", "queued"), 1_000)

    def test_the_broker_may_restart_meanwhile(self) -> None:
        async def use() -> None:
            async with AsyncClient(self.endpoint) as client:
                self.assertEqual(await (await client.submit("t")).id(), 1)
                self.kill_broker()
                jobs = await client.submit_many([JobSpec("t")] * 100)
                self.start_broker()
                self.assertEqual([await job.id() for job in jobs], list(range(2, 102)))

        asyncio.run(use())


if __name__ == "__main__":
    unittest.main()
