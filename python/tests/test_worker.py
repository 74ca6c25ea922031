"""The worker against the real broker, and both against the other language's."""

import json
import os
import socket
import subprocess
import sys
import unittest

import msgpack  # type: ignore[import]
from yard import PATIENCE, PROGRAMS, SOURCE, Yard, counter, eventually

from jobyard import Backoff, JobCancelled, JobDead, NotDead, UnknownJob

QUICK = Backoff(initial=0.01, jitter=0)


class BothLanguages(Yard):
    def test_a_cpp_worker_runs_what_a_python_client_submits(self) -> None:
        self.start([str(PROGRAMS / "jobyard-worker"), "--broker", self.endpoint])
        client = self.client()
        command = msgpack.packb({"argv": ["sh", "-c", "echo $WORD; exit 3"], "env": {"WORD": "hello"}})
        job = client.submit("command", payload=command, max_attempts=1)
        ended = job.wait(timeout=PATIENCE)
        self.assertEqual((ended.state, ended.reason, ended.error), ("dead", "failed", "exit status 3"))
        self.assertEqual(msgpack.unpackb(ended.payload)["stdout"], b"hello\n")

    def test_a_python_worker_runs_what_the_command_line_submits(self) -> None:
        self.start_worker("w")
        told = self.command("submit", "--type", "echo", "--payload", str(self.input("from outside")), "--wait")
        self.assertEqual((told.returncode, told.stdout), (0, "from outside"), told.stderr)

    def test_a_worker_says_where_it_runs(self) -> None:
        worker = self.start_worker("w")
        client = self.client()
        eventually(lambda: len(client.workers()) == 1, "it is there")
        here = ("w", socket.gethostname(), worker.pid)
        (info,) = client.workers()
        self.assertEqual((info.name, info.host, info.pid), here)
        shown = json.loads(self.command("worker", "list", "--json").stdout)
        self.assertEqual((shown["name"], shown["host"], shown["pid"]), here)

    def test_the_examples_do_what_they_say(self) -> None:
        self.start([sys.executable, str(SOURCE / "python/examples/worker.py")])
        environment = dict(os.environ, JOBYARD_BROKER=self.endpoint, PYTHONPATH=str(SOURCE / "python"))
        submit = [sys.executable, str(SOURCE / "python/examples/submit.py")]
        ran = subprocess.run([*submit, "three", "short", "words"], env=environment, capture_output=True, text=True)
        self.assertEqual((ran.stdout, ran.stderr), ("job 1 is durable\n3 words\n", ""))
        ran = subprocess.run(submit, env=environment, capture_output=True, text=True)
        self.assertEqual((ran.returncode, ran.stderr), (1, "job 2 is dead (not_retryable): there is no text\n"))
        simulate = [sys.executable, str(SOURCE / "python/examples/simulate.py")]
        ran = subprocess.run(simulate, env=environment, capture_output=True, text=True)
        self.assertEqual((ran.stdout, ran.stderr), ("pi is about 3.14\n", ""))


class Results(Yard):
    def test_results_larger_than_the_grant_all_come(self) -> None:
        self.start_worker("w")
        client = self.client(grant=64 << 10)
        sizes = [300_000, 10, 65_536, 390_000, 0, 100_000, 65_473, 200_000]
        jobs = [client.submit("blow_up", payload=b"%d" % size, watch=True) for size in sizes]
        self.assertEqual([len(job.result(timeout=PATIENCE)) for job in jobs], sizes)

    def test_a_result_beyond_the_limit_fails_the_job_and_says_why(self) -> None:
        self.start_worker("w")
        for size in (400_000, 5_000_000):
            with self.assertRaisesRegex(JobDead, "not_retryable.*393216"):
                self.client().submit("blow_up", payload=b"%d" % size).result(timeout=PATIENCE)

    def test_any_job_can_be_watched_before_and_after_its_end(self) -> None:
        mine, other = self.client(), self.client()
        job = mine.submit("echo", payload=b"x").id()
        before = other.watch(job)[0]
        self.start_worker("w")
        self.assertEqual(before.result(timeout=PATIENCE), b"x")
        self.assertEqual(other.wait(job, timeout=PATIENCE).payload, b"x")
        with self.assertRaises(UnknownJob):
            other.wait(job + 1, timeout=PATIENCE)

    def test_a_handler_that_returns_no_bytes_fails_for_good(self) -> None:
        self.start_worker("w")
        with self.assertRaisesRegex(JobDead, "returned str; bytes or None was expected"):
            self.client().submit("returns_text").result(timeout=PATIENCE)


class Lives(Yard):
    def test_a_failed_attempt_is_tried_again(self) -> None:
        self.start_worker("w")
        client = self.client()
        job = client.submit("fails_until", payload=b"3", backoff=QUICK)
        self.assertEqual(job.result(timeout=PATIENCE), b"attempt 3")
        attempts = client.show(job.id()).attempts
        self.assertEqual([each.outcome for each in attempts], ["failed", "failed", "completed"])
        self.assertEqual((attempts[0].error, attempts[0].tail), ("not yet at attempt 1", "the tail"))

    def test_a_dead_job_is_redriven(self) -> None:
        self.start_worker("w")
        client = self.client()
        job = client.submit("hopeless")
        with self.assertRaisesRegex(JobDead, "there is no hope") as raised:
            job.result(timeout=PATIENCE)
        self.assertEqual(
            (raised.exception.ended.reason, raised.exception.ended.payload), ("not_retryable", b"what is left")
        )
        self.assertEqual([each.id for each in client.list(state="dead")], [job.id()])
        self.open_gate()
        client.redrive(job.id())
        self.assertEqual(client.wait(job.id(), timeout=PATIENCE).state, "completed")
        with self.assertRaises(NotDead):
            client.redrive(job.id())

    def test_a_released_job_is_charged_to_nobody(self) -> None:
        self.start_worker("w")
        self.assertEqual(self.client().submit("released_once", max_attempts=1).result(timeout=PATIENCE), b"attempt 1")

    def test_cancel_stops_what_runs_and_what_waits(self) -> None:
        client = self.client()
        waiting = client.submit("echo", watch=True)
        self.assertEqual(client.cancel(waiting.id()), "cancelled")
        with self.assertRaises(JobCancelled):
            waiting.result(timeout=PATIENCE)
        self.assertEqual(client.cancel(waiting.id()), "cancelled")
        self.start_worker("w")
        for handler in ("gated", "gated_async"):
            running = client.submit(handler, watch=True)
            eventually(lambda: bool(self.begun(running.id())), "it runs")
            self.assertEqual(client.cancel(running.id()), "cancel_requested")
            with self.assertRaises(JobCancelled):
                running.result(timeout=PATIENCE)
        with self.assertRaises(UnknownJob):
            client.cancel(1_000)

    def test_an_attempt_that_takes_too_long_fails_and_its_slot_is_not_offered(self) -> None:
        self.start_worker("stuck", "slots=1")
        client = self.client()
        job = client.submit("deaf", timeout=0.05, max_attempts=1)
        ended = job.wait(timeout=PATIENCE)
        self.assertEqual((ended.state, ended.error), ("dead", "ran for longer than its timeout of 0.05 s"))
        self.assertEqual(client.show(job.id()).attempts[0].outcome, "timeout")
        other = client.submit("echo", payload=b"x", watch=True)
        eventually(lambda: client.show(other.id()).reason == "no_free_slot", "the broker knows that no slot is free")
        self.open_gate()
        self.assertEqual(other.result(timeout=PATIENCE), b"x")


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
        client.submit("echo", delay=1.0).result(timeout=PATIENCE)  # two leases later
        self.open_gate()
        self.assertEqual(job.wait(timeout=PATIENCE).attempt, 1)
        self.assertEqual((counter(client, "dispatched"), self.begun(job.id())), (before + 1, ["w"]))


if __name__ == "__main__":
    unittest.main()
