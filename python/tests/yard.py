"""What the tests with real programs are made of. Nothing here sleeps for a fixed time: tests wait for what they can see
from outside, up to a limit that only a broken program or a dead machine reaches."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobyard import Client

SOURCE = Path(__file__).resolve().parents[2]
PROGRAMS = Path(os.environ.get("JOBYARD_BIN_DIR", SOURCE / "build" / "bin"))
PATIENCE = float(os.environ.get("JOBYARD_TEST_PATIENCE_S", "60"))
INTERVAL = 0.005


def eventually(condition: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > limit:
            raise AssertionError(f"waited {PATIENCE:g} s in vain until {what}")
        time.sleep(INTERVAL)  # between two looks


class Yard(unittest.TestCase):
    """A test with a directory, a broker in it, and whatever programs it starts; all gone at its end."""

    flags: tuple[str, ...] = ("--reconnect-grace", "300")
    listen = ""  # an ipc socket in the directory

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="jobyard-python-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.endpoint = self.listen or f"ipc://{self.directory}/broker"
        self.start_broker()

    def start_broker(self, data: str = "data") -> None:
        read, write = os.pipe()
        self.broker = self.start(
            [str(PROGRAMS / "jobyard-broker"), "--data", str(self.directory / data), "--listen", self.endpoint,
             "--ready-fd", str(write), *self.flags],
            pass_fds=(write,),
        )  # fmt: skip
        os.close(write)
        with os.fdopen(read) as ready:
            if ready.readline() != "READY\n":
                raise AssertionError("the broker did not start:\n" + (self.directory / "errors").read_text())
            self.endpoint = ready.readline().strip()

    def kill_broker(self) -> None:
        kill(self.broker)

    def start(self, argv: list[str], pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        environment = dict(os.environ, JOBYARD_BROKER=self.endpoint, PYTHONPATH=str(SOURCE / "python"))
        with open(self.directory / "errors", "ab") as errors:
            process = subprocess.Popen(argv, env=environment, stderr=errors, pass_fds=pass_fds)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def start_worker(self, name: str, *settings: str) -> subprocess.Popen[bytes]:
        """Runs test_worker.py, which tells in `executions` what it begins."""
        program = Path(__file__).with_name("worker_program.py")
        return self.start([sys.executable, str(program), str(self.directory), name, *settings])

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the `jobyard` command to its end."""
        argv = [str(PROGRAMS / "jobyard"), "--broker", self.endpoint, *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE)

    def input(self, text: str) -> Path:
        """A file with this text."""
        file = self.directory / "input"
        file.write_text(text)
        return file

    def client(self, **settings: Any) -> Client:
        client = Client(self.endpoint, **settings)
        self.addCleanup(client.close, 0.0, must_be_answered=False)
        return client

    def executions(self) -> list[tuple[str, int, int]]:
        """Worker, job and attempt of all that was begun, in order."""
        file = self.directory / "executions"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(name, int(job), int(attempt)) for name, job, attempt in map(str.split, lines)]

    def begun(self, job: int) -> list[str]:
        """The workers that began it, in order."""
        return [name for name, number, _ in self.executions() if number == job]

    def open_gate(self) -> None:
        (self.directory / "gate").touch()


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def counter(client: Client, *names: str) -> int:
    """A number in the broker's counters. Waits while the broker is away."""
    found = client.stats(timeout=PATIENCE)
    for name in names:
        found = found[name]
    assert isinstance(found, int)
    return found
