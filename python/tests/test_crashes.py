"""Nothing is lost and nothing is made twice, whatever is killed."""

import signal
import threading
import unittest

from yard import PATIENCE, Yard, counter, eventually, kill

from jobyard import JobSpec, Submission


class BrokerKill(Yard):
    def test_each_job_is_made_once_and_every_result_arrives(self) -> None:
        """kill -9 of the broker, again and again, while submits are unanswered."""
        self.start_worker("w", "slots=4", "credit=256")
        client = self.client(submit_limit=60)
        specs = [JobSpec("echo", payload=b"%d" % number, watch=True) for number in range(6_000)]
        jobs: list[Submission] = []
        kills = 0

        def submit() -> None:
            for start in range(0, len(specs), 100):
                jobs.extend(client.submit_many(specs[start : start + 100]))

        submitter = threading.Thread(target=submit)
        submitter.start()
        for number in (200, 2_000, 4_000, 5_900):
            eventually(lambda: len(jobs) >= number, f"{number} jobs are submitted")
            kills += client.pending > 0
            self.kill_broker()
            self.start_broker()
        submitter.join()
        self.assertGreater(kills, 0, "no kill met an unanswered submit")
        self.assertEqual([job.result(timeout=PATIENCE) for job in jobs], [spec.payload for spec in specs])
        self.assertEqual(len({job.id() for job in jobs}), len(specs))
        self.assertEqual(counter(client, "jobs", "submitted_total"), len(specs))
        self.assertEqual(counter(client, "jobs", "completed_total"), len(specs))

    def test_an_array_is_made_once_and_each_of_its_indices(self) -> None:
        self.start_worker("w", "slots=4", "credit=64")
        client = self.client(submit_limit=60)
        submitted = client.submit("echo", payload=b"x", array=range(2_000), at_once=100, watch=True)
        for number in (1, 500, 1_500):
            eventually(lambda: len(self.executions()) >= number, f"{number} jobs were begun")
            self.kill_broker()
            self.start_broker()
        self.assertEqual(submitted.wait(timeout=PATIENCE).state, "completed")
        self.assertEqual([each.array for each in client.arrays()], [submitted.id()])
        indices = [job.array_index for job in client.list(array=submitted.id(), page=1_000)]
        self.assertEqual(sorted(indices), list(range(2_000)))
        self.assertEqual(counter(client, "jobs", "submitted_total"), 2_000)

    def test_a_running_job_runs_on(self) -> None:
        """Its worker claims it from the new broker."""
        self.start_worker("w", "slots=3")
        client = self.client()
        jobs = [client.submit(handler, watch=True, max_attempts=1) for handler in ("gated", "gated_async")]
        eventually(lambda: all(self.begun(job.id()) for job in jobs), "both run")
        tokens = [client.show(job.id()).token for job in jobs]
        self.kill_broker()
        self.start_broker()
        eventually(lambda: counter(client, "jobs", "running") == 2, "the worker has claimed them")
        self.assertEqual(client.submit("echo", payload=b"new").result(timeout=PATIENCE), b"new")
        self.open_gate()
        self.assertEqual([job.result(timeout=PATIENCE) for job in jobs], [b"through"] * 2)
        infos = [client.show(job.id()) for job in jobs]
        self.assertEqual([(len(info.attempts), info.token) for info in infos], [(1, token) for token in tokens])
        self.assertEqual([self.begun(job.id()) for job in jobs], [["w"]] * 2)

    def test_a_result_that_comes_while_the_broker_is_away_is_kept(self) -> None:
        self.start_worker("w", "slots=1")
        client = self.client()
        job = client.submit("gated", watch=True)
        eventually(lambda: bool(self.begun(job.id())), "it runs")
        self.kill_broker()
        self.open_gate()
        eventually((self.directory / f"through-{job.id()}").exists, "the handler returns")
        self.start_broker()
        self.assertEqual(job.result(timeout=PATIENCE), b"through")
        self.assertEqual(self.begun(job.id()), ["w"])


class WorkerKill(Yard):
    def test_the_jobs_of_a_killed_worker_run_elsewhere(self) -> None:
        first = self.start_worker("first", "slots=2", "credit=4")
        client = self.client()
        jobs = client.submit_many([JobSpec("gated", watch=True, max_attempts=1)] * 4)
        eventually(lambda: len(self.executions()) == 2, "two run and two wait in the worker")
        kill(first)
        self.start_worker("second", "slots=4")
        self.open_gate()
        self.assertEqual([job.result(timeout=PATIENCE) for job in jobs], [b"through"] * 4)
        attempts = [client.show(job.id()).attempts for job in jobs]
        self.assertEqual([each[-1].worker for each in attempts], ["second"] * 4)
        self.assertEqual(sum(each[0].outcome == "worker_lost" for each in attempts), 4)


class Leaving(Yard):
    def test_sigterm_hands_back_what_waits_and_lets_run_what_runs(self) -> None:
        leaving = self.start_worker("leaving", "slots=1", "credit=3")
        client = self.client()
        jobs = client.submit_many([JobSpec("gated", watch=True, max_attempts=1)] * 3)
        eventually(lambda: counter(client, "dispatched") == 3 and len(self.executions()) == 1, "one runs, two wait")
        leaving.send_signal(signal.SIGTERM)
        eventually(lambda: counter(client, "jobs", "queued") == 2, "two are back in their queue")
        self.assertIsNone(leaving.poll())
        self.start_worker("staying", "slots=2")
        eventually(lambda: len(self.executions()) == 3, "they run elsewhere")
        self.open_gate()
        self.assertEqual([job.result(timeout=PATIENCE) for job in jobs], [b"through"] * 3)
        self.assertEqual(leaving.wait(timeout=PATIENCE), 0)
        self.assertEqual(
            [name for name, _, attempt in self.executions() if attempt == 1], ["leaving", *["staying"] * 2]
        )

    def test_what_does_not_end_in_time_is_stopped_and_handed_back(self) -> None:
        for handler in ("gated", "gated_async"):
            with self.subTest(handler):
                leaving = self.start_worker("leaving", "slots=1", "drain=0.01")
                client = self.client()
                job = client.submit(handler, watch=True, max_attempts=1)
                eventually(lambda: bool(self.begun(job.id())), "it runs")
                leaving.send_signal(signal.SIGTERM)
                self.assertEqual(leaving.wait(timeout=PATIENCE), 0)
                self.assertEqual(client.show(job.id()).state, "queued")
                self.assertEqual(client.cancel(job.id()), "cancelled")

    def test_a_second_signal_does_not_wait_for_the_deaf(self) -> None:
        leaving = self.start_worker("leaving", "slots=1", "credit=2")
        client = self.client()
        client.submit_many([JobSpec("deaf")] * 2)
        eventually(lambda: counter(client, "dispatched") == 2 and len(self.executions()) == 1, "one runs, one waits")
        leaving.send_signal(signal.SIGTERM)
        eventually(lambda: counter(client, "jobs", "queued") == 1, "the one that waited is back in its queue")
        self.assertIsNone(leaving.poll())
        leaving.send_signal(signal.SIGTERM)
        self.assertEqual(leaving.wait(timeout=PATIENCE), 0)


if __name__ == "__main__":
    unittest.main()
