"""Client and worker against the real broker, and each against the other language's."""

import asyncio
import os
import signal
import subprocess
import sys
import unittest

import msgpack  # type: ignore[import]
from yard import PROGRAMS, SOURCE, Yard, counter, eventually

from jobyard import (
    AsyncClient,
    BadField,
    Backoff,
    Client,
    Conflict,
    Forked,
    JobCancelled,
    JobDead,
    JobSpec,
    NotDead,
    QueueFull,
    TimedOut,
    TooLarge,
    UnknownJob,
)

QUICK = Backoff(initial=0.01, jitter=0)


class BothLanguages(Yard):
    def test_a_cpp_worker_runs_what_a_python_client_submits(self) -> None:
        self.start([str(PROGRAMS / "jobyard-worker"), "--broker", self.endpoint])
        client = self.client()
        command = msgpack.packb({"argv": ["sh", "-c", "echo $WORD; exit 3"], "env": {"WORD": "hello"}})
        job = client.submit("command", payload=command, max_attempts=1)
        ended = job.wait(timeout=30)
        self.assertEqual((ended.state, ended.reason, ended.error), ("dead", "failed", "exit status 3"))
        self.assertEqual(msgpack.unpackb(ended.payload)["stdout"], b"hello\n")

    def test_a_python_worker_runs_what_the_command_line_submits(self) -> None:
        self.start_worker("w")
        told = self.command("submit", "--type", "echo", "--payload", str(self.input("from outside")), "--wait")
        self.assertEqual((told.returncode, told.stdout), (0, "from outside"), told.stderr)

    def test_the_examples_do_what_they_say(self) -> None:
        self.start([sys.executable, str(SOURCE / "python/examples/worker.py")])
        environment = dict(os.environ, JOBYARD_BROKER=self.endpoint, PYTHONPATH=str(SOURCE / "python"))
        submit = [sys.executable, str(SOURCE / "python/examples/submit.py")]
        ran = subprocess.run([*submit, "three", "short", "words"], env=environment, capture_output=True, text=True)
        self.assertEqual((ran.stdout, ran.stderr), ("job 1 is durable\n3 words\n", ""))
        ran = subprocess.run(submit, env=environment, capture_output=True, text=True)
        self.assertEqual((ran.returncode, ran.stderr), (1, "job 2 is dead (not_retryable): there is no text\n"))


class Submitting(Yard):
    def test_a_list_of_jobs_is_made_and_its_results_come(self) -> None:
        self.start_worker("w", "slots=4", "credit=64")
        client = self.client()
        specs = [JobSpec("echo", payload=b"%d" % n, watch=True) for n in range(2_000)]
        jobs = client.submit_many(specs)
        self.assertEqual([job.result(timeout=30) for job in jobs], [spec.payload for spec in specs])
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
        self.assertEqual(first.result(timeout=30), b"x")
        again = client.submit("echo", payload=b"x", key="once", watch=True)
        self.assertEqual((again.id(), again.existing(), first.existing()), (first.id(), True, False))
        self.assertEqual(again.result(timeout=30), b"x")
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
            watched.wait(timeout=30)
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


class OverTcp(Yard):
    listen = "tcp://127.0.0.1:0"

    def test_all_of_it_works_there_too_also_after_a_kill(self) -> None:
        self.start_worker("w")
        client = self.client()
        for payload in (b"before", b"after"):
            self.assertEqual(client.submit("echo", payload=payload).result(timeout=30), payload)
            self.kill_broker()
            self.start_broker()


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
        self.assertEqual(waiting.result(timeout=30), b"room")


class Results(Yard):
    def test_results_larger_than_the_grant_all_come(self) -> None:
        self.start_worker("w")
        client = self.client(grant=64 << 10)
        sizes = [300_000, 10, 65_536, 390_000, 0, 100_000, 65_473, 200_000]
        jobs = [client.submit("blow_up", payload=b"%d" % size, watch=True) for size in sizes]
        self.assertEqual([len(job.result(timeout=30)) for job in jobs], sizes)

    def test_a_result_beyond_the_limit_fails_the_job_and_says_why(self) -> None:
        self.start_worker("w")
        for size in (400_000, 5_000_000):
            with self.assertRaisesRegex(JobDead, "not_retryable.*393216"):
                self.client().submit("blow_up", payload=b"%d" % size).result(timeout=30)

    def test_any_job_can_be_watched_before_and_after_its_end(self) -> None:
        mine, other = self.client(), self.client()
        job = mine.submit("echo", payload=b"x").id()
        before = other.watch(job)[0]
        self.start_worker("w")
        self.assertEqual(before.result(timeout=30), b"x")
        self.assertEqual(other.wait(job, timeout=30).payload, b"x")
        with self.assertRaises(UnknownJob):
            other.wait(job + 1, timeout=30)

    def test_a_handler_that_returns_no_bytes_fails_for_good(self) -> None:
        self.start_worker("w")
        with self.assertRaisesRegex(JobDead, "returned str; bytes or None was expected"):
            self.client().submit("returns_text").result(timeout=30)


class Lives(Yard):
    def test_a_failed_attempt_is_tried_again(self) -> None:
        self.start_worker("w")
        client = self.client()
        job = client.submit("fails_until", payload=b"3", backoff=QUICK)
        self.assertEqual(job.result(timeout=30), b"attempt 3")
        attempts = client.show(job.id()).attempts
        self.assertEqual([each.outcome for each in attempts], ["failed", "failed", "completed"])
        self.assertEqual((attempts[0].error, attempts[0].tail), ("not yet at attempt 1", "the tail"))

    def test_a_dead_job_is_redriven(self) -> None:
        self.start_worker("w")
        client = self.client()
        job = client.submit("hopeless")
        with self.assertRaisesRegex(JobDead, "there is no hope") as raised:
            job.result(timeout=30)
        self.assertEqual(
            (raised.exception.ended.reason, raised.exception.ended.payload), ("not_retryable", b"what is left")
        )
        self.assertEqual([each.id for each in client.list(state="dead")], [job.id()])
        self.open_gate()
        client.redrive(job.id())
        self.assertEqual(client.wait(job.id(), timeout=30).state, "completed")
        with self.assertRaises(NotDead):
            client.redrive(job.id())

    def test_a_released_job_is_charged_to_nobody(self) -> None:
        self.start_worker("w")
        self.assertEqual(self.client().submit("released_once", max_attempts=1).result(timeout=30), b"attempt 1")

    def test_cancel_stops_what_runs_and_what_waits(self) -> None:
        client = self.client()
        waiting = client.submit("echo", watch=True)
        self.assertEqual(client.cancel(waiting.id()), "cancelled")
        with self.assertRaises(JobCancelled):
            waiting.result(timeout=30)
        self.assertEqual(client.cancel(waiting.id()), "cancelled")
        self.start_worker("w")
        for handler in ("gated", "gated_async"):
            running = client.submit(handler, watch=True)
            eventually(lambda: bool(self.begun(running.id())), "it runs")
            self.assertEqual(client.cancel(running.id()), "cancel_requested")
            with self.assertRaises(JobCancelled):
                running.result(timeout=30)
        with self.assertRaises(UnknownJob):
            client.cancel(1_000)

    def test_an_attempt_that_takes_too_long_fails_and_its_slot_is_not_offered(self) -> None:
        self.start_worker("stuck", "slots=1")
        client = self.client()
        job = client.submit("deaf", timeout=0.05, max_attempts=1)
        ended = job.wait(timeout=30)
        self.assertEqual((ended.state, ended.error), ("dead", "ran for longer than its timeout of 0.05 s"))
        self.assertEqual(client.show(job.id()).attempts[0].outcome, "timeout")
        other = client.submit("echo", payload=b"x", watch=True)
        eventually(lambda: client.show(other.id()).reason == "no_free_slot", "the broker knows that no slot is free")
        self.open_gate()
        self.assertEqual(other.result(timeout=30), b"x")


class Renewals(Yard):
    flags = ("--renew", "50", "--lease", "400", "--heartbeat", "100", "--lost-after", "1000")

    def test_a_long_job_keeps_its_lease_and_tells_its_progress(self) -> None:
        self.start_worker("w")
        client = self.client()
        job = client.submit("gated", watch=True)
        eventually(lambda: client.show(job.id()).progress_text == "at the gate", "its progress is known")
        info = client.show(job.id())
        self.assertEqual((info.progress, info.state, info.worker), (0.25, "running", "w"))
        before = counter(client, "dispatched")
        client.submit("echo", delay=1.0).result(timeout=30)  # two leases later
        self.open_gate()
        self.assertEqual(job.wait(timeout=30).attempt, 1)
        self.assertEqual((counter(client, "dispatched"), self.begun(job.id())), (before + 1, ["w"]))

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


class Asyncio(Yard):
    def test_all_of_it_awaited(self) -> None:
        self.start_worker("w", "slots=4", "credit=64")

        async def use() -> None:
            async with AsyncClient(self.endpoint) as client:
                jobs = await client.submit_many([JobSpec("echo", payload=b"%d" % n, watch=True) for n in range(500)])
                results = await asyncio.gather(*(job.result(timeout=30) for job in jobs))
                self.assertEqual(results, [b"%d" % n for n in range(500)])
                gated = await client.submit("gated")
                with self.assertRaises(TimedOut):
                    await gated.result(timeout=0.05)
                self.assertIn(await client.cancel(await gated.id()), ("cancelled", "cancel_requested"))
                with self.assertRaises(JobCancelled):
                    await gated.result(timeout=30)
                self.assertEqual((await client.show(await gated.id())).state, "cancelled")
                self.assertEqual(len([info async for info in client.list(state="completed")]), 500)
                self.assertEqual((await client.wait(await jobs[0].id(), timeout=30)).payload, b"0")
                self.assertEqual((await client.stats())["jobs"]["completed_total"], 500)
                dead = await client.submit("hopeless")
                with self.assertRaises(JobDead):
                    await dead.result(timeout=30)
                self.open_gate()
                await client.redrive(await dead.id())
                self.assertEqual((await client.wait(await dead.id(), timeout=30)).state, "completed")

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
